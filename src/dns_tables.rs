//! What the fields of a record's data are called, what they hold, and which section defines them: the
//! tables behind `mydocker dns decode`. The names are those of the RFCs, a few of them shortened.

use crate::dns_fields::Kind::*;
use crate::dns_fields::{Field, Flag, Layout, Pairs as Codes};
use crate::dns_message::rtype;
use crate::dns_record::Names;

const fn row(number: u16, rfc: &'static str, what: &'static str, fields: &'static [Field]) -> Layout {
    Layout { number, rfc, what, fields }
}

const fn flag(name: &'static str, shift: u32, width: u32, meanings: [&'static str; 2], rfc: &'static str) -> Flag {
    Flag { name, shift, width, meanings, rfc }
}

/// The third and the fourth octet of a header.
pub const FLAGS: &[Flag] = &[
    flag("QR", 15, 1, ["a query", "a response"], ""),
    flag("OPCODE", 11, 4, ["", ""], ""),
    flag("AA", 10, 1, ["not from a server in charge of the name", "from a server in charge of the name"], ""),
    flag("TC", 9, 1, ["all is here", "truncated: ask again over TCP"], ""),
    flag("RD", 8, 1, ["recursion is not desired", "recursion desired: find it out for me"], ""),
    flag("RA", 7, 1, ["no recursion available", "recursion available"], ""),
    flag("Z", 6, 1, ["reserved", "reserved, and should be 0"], ""),
    flag("AD", 5, 1, ["no word on signatures", "authentic data: signatures checked"], "RFC 4035 3.2.3"),
    flag("CD", 4, 1, ["signatures may be checked", "do not check signatures"], "RFC 4035 3.2.2"),
    flag("RCODE", 0, 4, ["", ""], ""),
];

/// The last two octets of an OPT's TTL.
pub const OPT_FLAGS: &[Flag] = &[
    flag("DO", 15, 1, ["no signatures wanted", "DNSSEC OK: signatures wanted"], "RFC 3225 3"),
    flag("Z", 0, 15, ["reserved", "reserved, and should be 0"], ""),
];

/// RDATA. A type that has no fields here is octets to us, or is none that a record can have.
pub const TYPES: &[Layout] = &[
    row(rtype::A, "RFC 1035 3.4.1", "an IPv4 address", &[("ADDRESS", V4, "")]),
    row(rtype::NS, "RFC 1035 3.3.11", "a server of the zone", &[("NSDNAME", Name, "")]),
    row(3, "RFC 1035 3.3.4", "obsolete: see MX", &[("MADNAME", Name, "")]),
    row(4, "RFC 1035 3.3.5", "obsolete: see MX", &[("MADNAME", Name, "")]),
    row(rtype::CNAME, "RFC 1035 3.3.1", "the name is an alias", &[("CNAME", Name, "")]),
    row(rtype::SOA, "RFC 1035 3.3.13", "where a zone begins", SOA),
    row(7, "RFC 1035 3.3.3", "experimental: a mailbox", &[("MADNAME", Name, "")]),
    row(8, "RFC 1035 3.3.6", "experimental: a member of a mail group", &[("MGMNAME", Name, "")]),
    row(9, "RFC 1035 3.3.8", "experimental: a mailbox's new name", &[("NEWNAME", Name, "")]),
    row(10, "RFC 1035 3.3.10", "experimental: anything", &[("anything", Rest, "")]),
    row(11, "RFC 1035 3.4.2", "well known services", &[("ADDRESS", V4, ""), ("PROTOCOL", Number(1), ""), BIT_MAP]),
    row(rtype::PTR, "RFC 1035 3.3.12", "the name that belongs to an address", &[("PTRDNAME", Name, "")]),
    row(rtype::HINFO, "RFC 1035 3.3.2", "the kind of host", &[("CPU", CharString, ""), ("OS", CharString, "")]),
    row(14, "RFC 1035 3.3.7", "mailboxes", &[("RMAILBX", Name, ""), ("EMAILBX", Name, "")]),
    row(rtype::MX, "RFC 1035 3.3.9", "who takes mail for the name", MX),
    row(rtype::TXT, "RFC 1035 3.3.14", "text", &[("TXT-DATA", CharStrings, "")]),
    row(17, "RFC 1183 2.2", "who is responsible", &[("mbox-dname", Name, ""), ("txt-dname", Name, "")]),
    row(18, "RFC 1183 1", "an AFS server", &[("subtype", Number(2), ""), ("hostname", Name, "")]),
    row(rtype::AAAA, "RFC 3596 2.2", "an IPv6 address", &[("ADDRESS", V6, "")]),
    row(rtype::SRV, "RFC 2782", "where a service is", SRV),
    row(35, "RFC 3403 4.1", "a rule to rewrite a name", NAPTR),
    row(39, "RFC 6672 2.1", "all names below are aliases", &[("TARGET", Name, "")]),
    row(rtype::OPT, "RFC 6891 6.1.2", "EDNS, no record of the name", &[("options", Pairs(&OPTIONS), "")]),
    row(43, "RFC 4034 5.1", "the hash of a key of the zone below", DS),
    row(44, "RFC 4255 3.1", "the hash of an SSH key", SSHFP),
    row(46, "RFC 4034 3.1", "a signature", RRSIG),
    row(47, "RFC 4034 4.1", "the next name: none lies between", &[("Next Name", Name, ""), TYPE_BIT_MAPS]),
    row(48, "RFC 4034 2.1", "a key of the zone", DNSKEY),
    row(50, "RFC 5155 3.2", "the hash of the next name", NSEC3),
    row(51, "RFC 5155 4.2", "how names are hashed", NSEC3PARAM),
    row(52, "RFC 6698 2.1", "which certificate a server has", TLSA),
    row(59, "RFC 7344 3.1", "the DS that the zone above shall have", DS),
    row(60, "RFC 7344 3.2", "the key for which it shall have one", DNSKEY),
    row(64, "RFC 9460 2.2", "how to reach a service", SVCB),
    row(65, "RFC 9460 2.2", "how to reach a web site", SVCB),
    row(rtype::TSIG, "RFC 8945 4.2", "a signature of the whole message", TSIG),
    row(rtype::IXFR, "RFC 1995", "what has changed in the zone", &[]),
    row(rtype::AXFR, "RFC 5936", "the whole zone", &[]),
    row(rtype::ANY, "RFC 1035 3.2.3", "whatever there is", &[]),
    row(256, "RFC 7553 4.5", "where a service is, as a URI", URI),
    row(257, "RFC 8659 4.1", "who may issue certificates", CAA),
];

const BIT_MAP: Field = ("BIT MAP", Rest, "");
const TYPE_BIT_MAPS: Field = ("Type Bit Maps", Types, "");

const SOA: &[Field] = &[
    ("MNAME", Name, ""),
    ("RNAME", Name, ""),
    ("SERIAL", Number(4), "the zone's version"),
    ("REFRESH", Seconds, "how often a secondary asks"),
    ("RETRY", Seconds, "and after a failure"),
    ("EXPIRE", Seconds, "then it gives up"),
    ("MINIMUM", Seconds, "how long a \"no\" is kept"),
];

const MX: &[Field] = &[("PREFERENCE", Number(2), "the lowest is tried first"), ("EXCHANGE", Name, "")];

const SRV: &[Field] = &[
    ("Priority", Number(2), "the lowest is tried first"),
    ("Weight", Number(2), "the share among equals"),
    ("Port", Number(2), ""),
    ("Target", Name, ""),
];

const NAPTR: &[Field] = &[
    ("ORDER", Number(2), "the lowest comes first"),
    ("PREFERENCE", Number(2), ""),
    ("FLAGS", CharString, ""),
    ("SERVICES", CharString, ""),
    ("REGEXP", CharString, ""),
    ("REPLACEMENT", Name, ""),
];

const URI: &[Field] = &[("Priority", Number(2), ""), ("Weight", Number(2), ""), ("Target", Text, "")];

const CAA: &[Field] = &[("Flags", Number(1), "128: critical"), ("Tag", CharString, ""), ("Value", Text, "")];

/// IANA's registry "DNS security algorithm numbers".
const ALGORITHMS: Names = &[
    (1, &["RSAMD5", "DH", "DSA"]),
    (5, &["RSASHA1", "DSA-NSEC3-SHA1", "RSASHA1-NSEC3-SHA1", "RSASHA256"]),
    (10, &["RSASHA512"]),
    (12, &["ECC-GOST", "ECDSAP256SHA256", "ECDSAP384SHA384", "ED25519", "ED448"]),
];
const DIGESTS: Names = &[(1, &["SHA-1", "SHA-256", "GOST R 34.11-94", "SHA-384"])];
const ALGORITHM: Field = ("Algorithm", Code(1, ALGORITHMS), "");

const DS: &[Field] =
    &[("Key Tag", Number(2), ""), ALGORITHM, ("Digest Type", Code(1, DIGESTS), ""), ("Digest", Rest, "")];

const DNSKEY: &[Field] = &[
    ("Flags", Number(2), "256: zone key, 257: secure entry point too"),
    ("Protocol", Number(1), "always 3"),
    ALGORITHM,
    ("Public Key", Rest, ""),
];

const RRSIG: &[Field] = &[
    ("Type Covered", Type, ""),
    ALGORITHM,
    ("Labels", Number(1), "fewer than the name has: a wildcard"),
    ("Original TTL", Seconds, ""),
    ("Expiration", Date(4), ""),
    ("Inception", Date(4), ""),
    ("Key Tag", Number(2), "which key it was made with"),
    ("Signer's Name", Name, ""),
    ("Signature", Rest, ""),
];

const NSEC3_HASH: Field = ("Hash Algorithm", Code(1, &[(1, &["SHA-1"])]), "");
const NSEC3: &[Field] = &[
    NSEC3_HASH,
    ("Flags", Number(1), "1: unsigned zones may lie between"),
    ("Iterations", Number(2), ""),
    ("Salt", Counted(1), ""),
    ("Next Hashed", Counted(1), ""),
    TYPE_BIT_MAPS,
];
const NSEC3PARAM: &[Field] =
    &[NSEC3_HASH, ("Flags", Number(1), ""), ("Iterations", Number(2), ""), ("Salt", Counted(1), "")];

const SSHFP: &[Field] = &[
    ("Algorithm", Code(1, &[(1, &["RSA", "DSA", "ECDSA", "Ed25519"])]), ""),
    ("FP Type", Code(1, &[(1, &["SHA-1", "SHA-256"])]), ""),
    ("Fingerprint", Rest, ""),
];

const TLSA: &[Field] = &[
    ("Usage", Code(1, &[(0, &["PKIX-TA", "PKIX-EE", "DANE-TA", "DANE-EE"])]), ""),
    ("Selector", Code(1, &[(0, &["Cert", "SPKI"])]), ""),
    ("Matching Type", Code(1, &[(0, &["Full", "SHA2-256", "SHA2-512"])]), ""),
    ("Data", Rest, ""),
];

const TSIG: &[Field] = &[
    ("Algorithm Name", Name, ""),
    ("Time Signed", Date(6), ""),
    ("Fudge", Number(2), "seconds the clocks may differ"),
    ("MAC", Counted(2), ""),
    ("Original ID", Number(2), ""),
    ("Error", Number(2), ""),
    ("Other Data", Counted(2), ""),
];

const SVCB: &[Field] =
    &[("SvcPriority", Number(2), "0: an alias"), ("TargetName", Name, ""), ("SvcParams", Pairs(&PARAMETERS), "")];

/// RFC 9460 section 14.3.2.
const PARAMETERS: Codes = Codes {
    fields: ["SvcParamKey", "length", "SvcParamValue"],
    table: &[
        row(0, "RFC 9460 8", "mandatory", &[("keys", Rest, "")]),
        row(1, "RFC 9460 7.1", "alpn", &[("alpn-id", CharStrings, "")]),
        row(2, "RFC 9460 7.1", "no-default-alpn", &[]),
        row(3, "RFC 9460 7.2", "port", &[("port", Number(2), "")]),
        row(4, "RFC 9460 7.3", "ipv4hint", &[("address", V4s, "")]),
        row(6, "RFC 9460 7.3", "ipv6hint", &[("address", V6s, "")]),
        row(7, "RFC 9461 5", "dohpath", &[("template", Text, "")]),
    ],
};

/// IANA's registry "DNS EDNS0 option codes".
const OPTIONS: Codes = Codes {
    fields: ["OPTION-CODE", "OPTION-LENGTH", "OPTION-DATA"],
    table: &[
        row(3, "RFC 5001 2.3", "NSID: which server this is", &[("NSID", Text, "")]),
        row(5, "RFC 6975 3", "DAU: signatures understood", &[("ALG-CODE", Rest, "")]),
        row(6, "RFC 6975 3", "DHU: DS hashes understood", &[("ALG-CODE", Rest, "")]),
        row(7, "RFC 6975 3", "N3U: NSEC3 hashes understood", &[("ALG-CODE", Rest, "")]),
        row(8, "RFC 7871 6", "Client Subnet: who asks", SUBNET),
        row(9, "RFC 7314 2", "EXPIRE", &[("EXPIRE", Seconds, "")]),
        row(10, "RFC 7873 4", "COOKIE", &[("Client Cookie", Octets(8), ""), ("Server Cookie", Rest, "")]),
        row(11, "RFC 7828 3.1", "edns-tcp-keepalive", &[("TIMEOUT", Number(2), "tenths of a second")]),
        row(12, "RFC 7830 3", "Padding: to hide the length", &[("PADDING", Rest, "")]),
        row(13, "RFC 7901 4", "CHAIN", &[("Closest Point", Name, "")]),
        row(14, "RFC 8145 4.1", "edns-key-tag", &[("KEY-TAG", Rest, "")]),
        row(15, "RFC 8914 2", "Extended DNS Error: why", ERROR),
    ],
};

const SUBNET: &[Field] = &[
    ("FAMILY", Code(2, &[(1, &["IPv4", "IPv6"])]), ""),
    ("SOURCE PREFIX", Number(1), "bits of the address that are told"),
    ("SCOPE PREFIX", Number(1), "bits that the answer is for"),
    ("ADDRESS", Rest, ""),
];

const ERROR: &[Field] = &[("INFO-CODE", Code(2, ERRORS), ""), ("EXTRA-TEXT", Text, "")];

/// RFC 8914 section 4.
const ERRORS: Names = &[
    (0, &["Other", "Unsupported DNSKEY Algorithm", "Unsupported DS Digest Type", "Stale Answer", "Forged Answer"]),
    (5, &["DNSSEC Indeterminate", "DNSSEC Bogus", "Signature Expired", "Signature Not Yet Valid"]),
    (9, &["DNSKEY Missing", "RRSIGs Missing", "No Zone Key Bit Set", "NSEC Missing", "Cached Error", "Not Ready"]),
    (15, &["Blocked", "Censored", "Filtered", "Prohibited", "Stale NXDOMAIN Answer", "Not Authoritative"]),
    (21, &["Not Supported", "No Reachable Authority", "Network Error", "Invalid Data"]),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_in_order_and_cite() {
        for table in [TYPES, OPTIONS.table, PARAMETERS.table] {
            assert!(table.windows(2).all(|pair| pair[0].number < pair[1].number));
            assert!(table.iter().all(|layout| layout.rfc.starts_with("RFC ") && layout.rfc.len() <= 15));
        }
        let bits = FLAGS.iter().fold(0, |bits, flag| bits ^ flag.mask());
        assert_eq!((bits, OPT_FLAGS[0].mask() ^ OPT_FLAGS[1].mask()), (0xffff, 0xffff));
    }
}
