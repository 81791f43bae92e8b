//! What a record says: RDATA, RFC 1035 section 3.3, for the types that the program knows, octets for all
//! others (RFC 3597), and the names of types, classes and codes.
//!
//! [`Rdata::read`] takes it out of a message, [`Rdata::write`] puts it into one, and printed it is what a
//! zone file would have (RFC 1035 section 5.1): `10 mail.example.` for an MX.

use std::borrow::Cow;
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use crate::dns_message::{class, rtype, Header, Reader, Record, Writer, HEADER_LENGTH};
use crate::dns_name::{Malformed, Name, Parsed};

#[derive(Debug, Clone, PartialEq)]
pub enum Rdata {
    /// RFC 1035 section 3.4.1.
    A(Ipv4Addr),
    /// RFC 3596 section 2.2.
    Aaaa(Ipv6Addr),
    /// The name that the owner is an alias of, RFC 1035 section 3.3.1.
    Cname(Name),
    /// A server of the zone, RFC 1035 section 3.3.11.
    Ns(Name),
    /// RFC 1035 section 3.3.12.
    Ptr(Name),
    Soa(Box<Soa>),
    /// RFC 1035 section 3.3.9; the lowest preference comes first.
    Mx {
        preference: u16,
        exchange: Name,
    },
    /// Strings of at most 255 octets, RFC 1035 section 3.3.14.
    Txt(Vec<Vec<u8>>),
    /// RFC 2782.
    Srv {
        priority: u16,
        weight: u16,
        port: u16,
        target: Name,
    },
    /// RFC 1035 section 3.3.2, and the answer to ANY of RFC 8482 section 4.2.
    Hinfo {
        cpu: Vec<u8>,
        os: Vec<u8>,
    },
    /// EDNS's options, code and value, RFC 6891 section 6.1.2.
    Opt(Vec<(u16, Vec<u8>)>),
    /// Any other type, and A and AAAA of a class other than IN, RFC 3597.
    Other {
        rtype: u16,
        octets: Vec<u8>,
    },
}

/// Where a zone begins, RFC 1035 section 3.3.13.
#[derive(Debug, Clone, PartialEq)]
pub struct Soa {
    /// The zone's first server.
    pub mname: Name,
    /// The mailbox of who is in charge: the first label is what stands before the `@`.
    pub rname: Name,
    pub serial: u32,
    /// Seconds until a secondary server asks for news, until it asks again, and until it gives up.
    pub refresh: u32,
    pub retry: u32,
    pub expire: u32,
    /// How many seconds a "no" may be kept, RFC 2308 section 4.
    pub minimum: u32,
}

impl Rdata {
    /// Reads the data of a record that [`Reader::record`] found in this message.
    pub fn read(message: &[u8], record: &Record) -> Parsed<Rdata> {
        // Pointers lead backwards alone, so nothing behind the RDATA is needed, or can be read by mistake.
        let mut reader = Reader::new(message.get(..record.rdata.end).unwrap_or(message));
        reader.at = record.rdata.start;
        let rdata = Rdata::read_fields(&mut reader, record)?;
        if reader.at != record.rdata.end {
            return Err(Malformed { at: reader.at, what: "RDATA that is not as long as it says" });
        }
        Ok(rdata)
    }

    /// The types of RFC 1035 section 3.3 are the same in all classes, an address is of its class.
    fn read_fields(reader: &mut Reader, record: &Record) -> Parsed<Rdata> {
        Ok(match record.rtype {
            rtype::A if record.class == class::IN => Rdata::A(reader.u32()?.into()),
            rtype::AAAA if record.class == class::IN => {
                let high_to_low = [reader.u32()?, reader.u32()?, reader.u32()?, reader.u32()?];
                Rdata::Aaaa(high_to_low.iter().fold(0, |all, part| all << 32 | u128::from(*part)).into())
            }
            rtype::CNAME => Rdata::Cname(reader.name()?),
            rtype::NS => Rdata::Ns(reader.name()?),
            rtype::PTR => Rdata::Ptr(reader.name()?),
            rtype::SOA => Rdata::Soa(Box::new(Soa {
                mname: reader.name()?,
                rname: reader.name()?,
                serial: reader.u32()?,
                refresh: reader.u32()?,
                retry: reader.u32()?,
                expire: reader.u32()?,
                minimum: reader.u32()?,
            })),
            rtype::MX => Rdata::Mx { preference: reader.u16()?, exchange: reader.name()? },
            rtype::TXT => {
                let mut strings = Vec::new();
                while reader.at < record.rdata.end {
                    strings.push(reader.string()?.to_vec());
                }
                Rdata::Txt(strings)
            }
            rtype::SRV => Rdata::Srv {
                priority: reader.u16()?,
                weight: reader.u16()?,
                port: reader.u16()?,
                target: reader.name()?,
            },
            rtype::HINFO => Rdata::Hinfo { cpu: reader.string()?.to_vec(), os: reader.string()?.to_vec() },
            rtype::OPT => {
                let mut options = Vec::new();
                while reader.at < record.rdata.end {
                    let (code, length) = (reader.u16()?, reader.u16()?);
                    options.push((code, take(reader, usize::from(length))?));
                }
                Rdata::Opt(options)
            }
            rtype => Rdata::Other { rtype, octets: take(reader, record.rdata.len())? },
        })
    }

    pub fn rtype(&self) -> u16 {
        match self {
            Rdata::A(_) => rtype::A,
            Rdata::Aaaa(_) => rtype::AAAA,
            Rdata::Cname(_) => rtype::CNAME,
            Rdata::Ns(_) => rtype::NS,
            Rdata::Ptr(_) => rtype::PTR,
            Rdata::Soa(_) => rtype::SOA,
            Rdata::Mx { .. } => rtype::MX,
            Rdata::Txt(_) => rtype::TXT,
            Rdata::Srv { .. } => rtype::SRV,
            Rdata::Hinfo { .. } => rtype::HINFO,
            Rdata::Opt(_) => rtype::OPT,
            Rdata::Other { rtype, .. } => *rtype,
        }
    }

    /// Appends the data, without the length before it. Names are compressed in the types of RFC 1035 alone:
    /// what does not know a type could not tell that there is a pointer in it (RFC 3597 section 4).
    pub fn write(&self, writer: &mut Writer) {
        match self {
            Rdata::A(address) => writer.octets(&address.octets()),
            Rdata::Aaaa(address) => writer.octets(&address.octets()),
            Rdata::Cname(name) | Rdata::Ns(name) | Rdata::Ptr(name) => writer.name(name),
            Rdata::Soa(soa) => {
                writer.name(&soa.mname);
                writer.name(&soa.rname);
                for number in [soa.serial, soa.refresh, soa.retry, soa.expire, soa.minimum] {
                    writer.u32(number);
                }
            }
            Rdata::Mx { preference, exchange } => {
                writer.u16(*preference);
                writer.name(exchange);
            }
            Rdata::Txt(strings) => strings.iter().for_each(|string| write_string(writer, string)),
            Rdata::Srv { priority, weight, port, target } => {
                for number in [*priority, *weight, *port] {
                    writer.u16(number);
                }
                writer.octets(target.octets()); // RFC 2782: never compressed
            }
            Rdata::Hinfo { cpu, os } => {
                write_string(writer, cpu);
                write_string(writer, os);
            }
            Rdata::Opt(options) => {
                for (code, value) in options {
                    writer.u16(*code);
                    writer.u16(value.len() as u16);
                    writer.octets(value);
                }
            }
            Rdata::Other { octets, .. } => writer.octets(octets),
        }
    }
}

fn take(reader: &mut Reader, length: usize) -> Parsed<Vec<u8>> {
    let end = Malformed { at: reader.at, what: "the end, in the middle of a field" };
    let octets = reader.at.checked_add(length).and_then(|end| reader.message.get(reader.at..end)).ok_or(end)?;
    reader.at += length;
    Ok(octets.to_vec())
}

/// A `<character-string>`; what is beyond its 255 octets cannot be said.
fn write_string(writer: &mut Writer, string: &[u8]) {
    let string = &string[..string.len().min(255)];
    writer.octets(&[string.len() as u8]);
    writer.octets(string);
}

/// As in a zone file. OPT is in none: it is printed as an unknown type is.
impl fmt::Display for Rdata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Rdata::A(address) => write!(f, "{address}"),
            Rdata::Aaaa(address) => write!(f, "{address}"),
            Rdata::Cname(name) | Rdata::Ns(name) | Rdata::Ptr(name) => write!(f, "{name}"),
            Rdata::Soa(soa) => {
                let Soa { mname, rname, serial, refresh, retry, expire, minimum } = &**soa;
                write!(f, "{mname} {rname} {serial} {refresh} {retry} {expire} {minimum}")
            }
            Rdata::Mx { preference, exchange } => write!(f, "{preference} {exchange}"),
            Rdata::Txt(strings) if strings.is_empty() => write!(f, "{}", Unknown(&[])),
            Rdata::Txt(strings) => {
                for (i, string) in strings.iter().enumerate() {
                    write!(f, "{}{}", if i == 0 { "" } else { " " }, Quoted(string))?;
                }
                Ok(())
            }
            Rdata::Srv { priority, weight, port, target } => write!(f, "{priority} {weight} {port} {target}"),
            Rdata::Hinfo { cpu, os } => write!(f, "{} {}", Quoted(cpu), Quoted(os)),
            Rdata::Opt(_) => {
                let mut writer = Writer::new(&Header::default());
                self.write(&mut writer);
                write!(f, "{}", Unknown(&writer.message[HEADER_LENGTH..]))
            }
            Rdata::Other { octets, .. } => write!(f, "{}", Unknown(octets)),
        }
    }
}

/// A `<character-string>` in quotes, all that is not plain ASCII escaped: it cannot steer a terminal.
pub struct Quoted<'a>(pub &'a [u8]);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"")?;
        for octet in self.0 {
            match octet {
                b'"' | b'\\' => write!(f, "\\{}", *octet as char)?,
                b' '..=b'~' => write!(f, "{}", *octet as char)?,
                _ => write!(f, "\\{octet:03}")?,
            }
        }
        f.write_str("\"")
    }
}

/// RFC 3597 section 5: `\# 3 abcdef`.
struct Unknown<'a>(&'a [u8]);

impl fmt::Display for Unknown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\\# {}{}", self.0.len(), if self.0.is_empty() { "" } else { " " })?;
        self.0.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

/// Names of numbers that follow each other, from the first on: IANA's registry "DNS parameters".
pub type Names = &'static [(u16, &'static [&'static str])];

const TYPES: Names = &[
    (1, &["A", "NS", "MD", "MF", "CNAME", "SOA", "MB", "MG", "MR", "NULL", "WKS", "PTR", "HINFO", "MINFO", "MX"]),
    (16, &["TXT", "RP", "AFSDB", "X25", "ISDN", "RT", "NSAP", "NSAP-PTR", "SIG", "KEY", "PX", "GPOS", "AAAA", "LOC"]),
    (30, &["NXT", "EID", "NIMLOC", "SRV", "ATMA", "NAPTR", "KX", "CERT", "A6", "DNAME", "SINK", "OPT", "APL", "DS"]),
    (44, &["SSHFP", "IPSECKEY", "RRSIG", "NSEC", "DNSKEY", "DHCID", "NSEC3", "NSEC3PARAM", "TLSA", "SMIMEA"]),
    (55, &["HIP"]),
    (59, &["CDS", "CDNSKEY", "OPENPGPKEY", "CSYNC", "ZONEMD", "SVCB", "HTTPS"]),
    (99, &["SPF"]),
    (104, &["NID", "L32", "L64", "LP", "EUI48", "EUI64"]),
    (249, &["TKEY", "TSIG", "IXFR", "AXFR", "MAILB", "MAILA", "ANY", "URI", "CAA"]),
];

const CLASSES: Names = &[(1, &["IN"]), (3, &["CH", "HS"]), (254, &["NONE", "ANY"])];

const RCODES: Names = &[
    (0, &["NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED"]),
    (6, &["YXDOMAIN", "YXRRSET", "NXRRSET", "NOTAUTH", "NOTZONE", "DSOTYPENI"]),
    (16, &["BADVERS", "BADKEY", "BADTIME", "BADMODE", "BADNAME", "BADALG", "BADTRUNC", "BADCOOKIE"]),
];

const OPCODES: Names = &[(0, &["QUERY", "IQUERY", "STATUS"]), (4, &["NOTIFY", "UPDATE", "DSO"])];

/// The name, or for a number without one the prefix and the number.
pub fn name_of(names: Names, prefix: &str, number: u16) -> Cow<'static, str> {
    let in_run = |(first, run): &(u16, &'static [&'static str])| run.get(usize::from(number.checked_sub(*first)?));
    names.iter().find_map(in_run).map_or_else(|| format!("{prefix}{number}").into(), |name| (*name).into())
}

/// `A`, or `TYPE65280` (RFC 3597 section 5).
pub fn type_name(rtype: u16) -> Cow<'static, str> {
    name_of(TYPES, "TYPE", rtype)
}

/// `IN`, or `CLASS32` (RFC 3597 section 5).
pub fn class_name(class: u16) -> Cow<'static, str> {
    name_of(CLASSES, "CLASS", class)
}

/// `NXDOMAIN`, or `RCODE24`; the whole code, with the bits of an OPT.
pub fn rcode_name(rcode: u16) -> Cow<'static, str> {
    name_of(RCODES, "RCODE", rcode)
}

/// `QUERY`, or `OPCODE7`.
pub fn opcode_name(opcode: u8) -> Cow<'static, str> {
    name_of(OPCODES, "OPCODE", opcode.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::from_text(text).unwrap()
    }

    /// A message of one record with this data, and the record read from it.
    fn record(rtype: u16, class: u16, rdata: &[u8]) -> (Vec<u8>, Parsed<Record>) {
        let mut writer = Writer::new(&Header::default());
        writer.record(&name("a.example."), (rtype, 1), 60, |w| w.octets(rdata));
        writer.message[12 + 11 + 2..][..2].copy_from_slice(&class.to_be_bytes());
        let record = Reader::new(&writer.message).record();
        (writer.message, record)
    }

    fn read(rtype: u16, class: u16, rdata: &[u8]) -> Parsed<Rdata> {
        let (message, record) = record(rtype, class, rdata);
        Rdata::read(&message, &record?)
    }

    /// Each type: its data on the wire (pointers lead to `example.`, at 14), as text, and written again
    /// behind a name `example.`, to which pointers can lead.
    #[test]
    fn each_type_is_read_printed_and_written() {
        let soa = b"\x02ns\xc0\x0e\x01h\xc0\x0e\0\0\0\x01\0\0\0\x02\0\0\0\x03\0\0\0\x04\0\0\0\x05";
        let soa_again = b"\x02ns\xc0\x0c\x01h\xc0\x0c\0\0\0\x01\0\0\0\x02\0\0\0\x03\0\0\0\x04\0\0\0\x05";
        let v6 = b"\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01";
        let table: &[(u16, &[u8], &str, &[u8])] = &[
            (1, b"\xc0\0\x02\x01", "192.0.2.1", b"\xc0\0\x02\x01"),
            (28, v6, "2001:db8::1", v6),
            (5, b"\x01b\xc0\x0e", "b.example.", b"\x01b\xc0\x0c"),
            (2, b"\xc0\x0e", "example.", b"\xc0\x0c"),
            (12, b"\0", ".", b"\0"),
            (6, soa, "ns.example. h.example. 1 2 3 4 5", soa_again),
            (15, b"\0\x0a\x04mail\xc0\x0e", "10 mail.example.", b"\0\x0a\x04mail\xc0\x0c"),
            (16, b"\x03a\"b\0\x02\x1b\xff", "\"a\\\"b\" \"\" \"\\027\\255\"", b"\x03a\"b\0\x02\x1b\xff"),
            (16, b"", "\\# 0", b""),
            (33, b"\0\x01\0\x02\0\x35\x01s\xc0\x0e", "1 2 53 s.example.", b"\0\x01\0\x02\0\x35\x01s\x07example\0"),
            (13, b"\x07RFC8482\0", "\"RFC8482\" \"\"", b"\x07RFC8482\0"),
            (41, b"\0\x0a\0\x02\xab\xcd\0\x0c\0\0", "\\# 10 000a0002abcd000c0000", b"\0\x0a\0\x02\xab\xcd\0\x0c\0\0"),
            (65280, b"\xab\xcd\xef", "\\# 3 abcdef", b"\xab\xcd\xef"),
        ];
        for (rtype, wire, text, again) in table {
            let rdata = read(*rtype, class::IN, wire).unwrap();
            assert_eq!((rdata.rtype(), rdata.to_string().as_str()), (*rtype, *text));
            let mut writer = Writer::new(&Header::default());
            writer.name(&name("example."));
            rdata.write(&mut writer);
            assert_eq!(&writer.message[21..], *again, "{text}");
        }
    }

    #[test]
    fn fields_fill_the_data_and_no_more() {
        for (rtype, rdata) in [
            (1, &b"\x7f\0\0"[..]),
            (1, b"\x7f\0\0\x01\0"),
            (28, b"\x7f\0\0\x01"),
            (16, b"\x05abc"),
            (13, b"\x01a"),
            (41, b"\0\x0a\0\x09abc"),
            (41, b"\0\x0a\0"),
            (2, b"\x01a"),
            (15, b"\0"),
        ] {
            assert!(read(rtype, class::IN, rdata).is_err(), "{rtype} {rdata:?}");
        }
    }

    #[test]
    fn what_a_class_changes() {
        let text = b"\x059.9.9";
        assert_eq!(read(16, 3, text).unwrap().to_string(), "\"9.9.9\"");
        let address = b"\x01a\0\0\x01";
        assert_eq!(read(1, 3, address), Ok(Rdata::Other { rtype: 1, octets: address.to_vec() }));
        let options = Rdata::Opt(vec![(3, b"ns1".to_vec())]);
        assert_eq!(read(41, 1232, b"\0\x03\0\x03ns1"), Ok(options), "its class is a size");
    }

    #[test]
    fn no_range_is_trusted() {
        let (message, record) = record(16, class::IN, b"\x03abc");
        for range in [0..0, 0..3, 5..100, 90..100, 29..32, usize::MAX - 1..usize::MAX] {
            for rtype in [1, 2, 6, 16, 28, 33, 41, 65280] {
                let record = Record { rdata: range.clone(), rtype, ..record.clone().unwrap() };
                let _ = Rdata::read(&message, &record); // that it returns is all
            }
        }
    }

    #[test]
    fn a_string_has_255_octets_at_most() {
        let mut writer = Writer::new(&Header::default());
        Rdata::Txt(vec![vec![b'x'; 300]]).write(&mut writer);
        assert_eq!((writer.message[12], writer.message.len()), (255, 12 + 256));
    }

    #[test]
    fn names_of_numbers() {
        for (number, name) in [(1, "A"), (28, "AAAA"), (43, "DS"), (51, "NSEC3PARAM"), (65, "HTTPS"), (257, "CAA")] {
            assert_eq!(type_name(number), name);
        }
        assert_eq!(
            (type_name(0), type_name(54), type_name(65280)),
            ("TYPE0".into(), "TYPE54".into(), "TYPE65280".into())
        );
        assert_eq!((class_name(1), class_name(255), class_name(2)), ("IN".into(), "ANY".into(), "CLASS2".into()));
        assert_eq!(
            (rcode_name(3), rcode_name(23), rcode_name(24)),
            ("NXDOMAIN".into(), "BADCOOKIE".into(), "RCODE24".into())
        );
        assert_eq!(
            (opcode_name(0), opcode_name(5), opcode_name(3)),
            ("QUERY".into(), "UPDATE".into(), "OPCODE3".into())
        );
    }
}
