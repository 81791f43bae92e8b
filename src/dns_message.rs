//! DNS messages in memory: RFC 1035 section 4, and EDNS, RFC 6891.
//!
//! ```text
//!  +---------------------+
//!  |       Header        |  12 octets: ID, flags, four counts
//!  |      Question       |  what is asked: QNAME, QTYPE, QCLASS
//!  |       Answer        |  resource records
//!  |      Authority      |  records that point to who knows, or the SOA of a "no"
//!  |     Additional      |  records that help, and EDNS's OPT
//!  +---------------------+
//! ```
//! A message stays what it is: octets. [`Header`] reads and writes the first twelve, bit by bit;
//! [`Reader`] walks over the rest and takes nothing on trust; [`Writer`] makes messages of our own.
//! Whoever forwards keeps the octets and patches a few of them: what is never rewritten cannot be lost.

use std::ops::Range;

use crate::dns_name::{read_name, skip_name, Compressor, Malformed, Name, Parsed, Work};

pub const HEADER_LENGTH: usize = 12;
/// What a UDP message may have without EDNS, RFC 1035 section 2.3.4.
pub const MIN_UDP_SIZE: u16 = 512;
/// What we say that we take over UDP: it crosses every network unfragmented (DNS flag day 2020).
pub const OUR_UDP_SIZE: u16 = 1232;
/// An OPT without options: root, type, size, extended RCODE and flags, no data.
pub const OPT_LENGTH: usize = 11;

/// Numbers that the program knows, by the names of IANA's registry "DNS parameters".
pub mod rtype {
    pub const A: u16 = 1;
    pub const NS: u16 = 2;
    pub const CNAME: u16 = 5;
    pub const SOA: u16 = 6;
    pub const PTR: u16 = 12;
    pub const HINFO: u16 = 13;
    pub const MX: u16 = 15;
    pub const TXT: u16 = 16;
    pub const AAAA: u16 = 28;
    pub const SRV: u16 = 33;
    pub const OPT: u16 = 41;
    pub const TSIG: u16 = 250;
    pub const IXFR: u16 = 251;
    pub const AXFR: u16 = 252;
    pub const ANY: u16 = 255;
}

pub mod class {
    pub const IN: u16 = 1;
    pub const ANY: u16 = 255;
}

pub mod opcode {
    pub const QUERY: u8 = 0;
}

/// RFC 1035 section 4.1.1; the values above 15 need an OPT, RFC 6891 section 6.1.3.
pub mod rcode {
    pub const NOERROR: u16 = 0;
    pub const FORMERR: u16 = 1;
    pub const SERVFAIL: u16 = 2;
    pub const NXDOMAIN: u16 = 3;
    pub const NOTIMP: u16 = 4;
    pub const REFUSED: u16 = 5;
    pub const BADVERS: u16 = 16;
}

/// The first twelve octets, RFC 1035 section 4.1.1 with AD and CD of RFC 4035 section 3.2:
///
/// ```text
///                                 1  1  1  1  1  1
///   0  1  2  3  4  5  6  7  8  9  0  1  2  3  4  5
/// +--+--+--+--+--+--+--+--+--+--+--+--+--+--+--+--+
/// |                      ID                       |
/// |QR|   OPCODE  |AA|TC|RD|RA| Z|AD|CD|   RCODE   |
/// |                    QDCOUNT                    |
/// |                    ANCOUNT                    |
/// |                    NSCOUNT                    |
/// |                    ARCOUNT                    |
/// +--+--+--+--+--+--+--+--+--+--+--+--+--+--+--+--+
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Header([u8; HEADER_LENGTH]);

/// The getter and the setter of a flag: octet, bit.
macro_rules! flag {
    ($(#[$doc:meta])* $get:ident, $set:ident, $octet:literal, $bit:literal) => {
        $(#[$doc])*
        #[allow(dead_code)] // a pair, also where only one of the two is called
        pub fn $get(&self) -> bool {
            self.0[$octet] & (1 << $bit) != 0
        }

        pub fn $set(&mut self, on: bool) {
            self.0[$octet] = self.0[$octet] & !(1 << $bit) | u8::from(on) << $bit;
        }
    };
}

/// The getter and the setter of a number of 16 bits: octet.
macro_rules! number {
    ($(#[$doc:meta])* $get:ident, $set:ident, $octet:literal) => {
        $(#[$doc])*
        pub fn $get(&self) -> u16 {
            u16::from_be_bytes([self.0[$octet], self.0[$octet + 1]])
        }

        pub fn $set(&mut self, value: u16) {
            self.0[$octet..$octet + 2].copy_from_slice(&value.to_be_bytes());
        }
    };
}

impl Header {
    /// `None` where a message has fewer than twelve octets.
    pub fn read(message: &[u8]) -> Option<Header> {
        message.first_chunk().map(|octets| Header(*octets))
    }

    /// Puts the header in its place, which must be there.
    pub fn write(&self, message: &mut [u8]) {
        message[..HEADER_LENGTH].copy_from_slice(&self.0);
    }

    number!(
        /// Chosen by who asks, and given back by who answers.
        id, set_id, 0
    );
    flag!(
        /// A response, not a query.
        qr, set_qr, 2, 7
    );
    flag!(
        /// The answer comes from who is in charge of the name (authoritative).
        aa, set_aa, 2, 2
    );
    flag!(
        /// Truncated: more was to be said than fits; ask again by TCP.
        tc, set_tc, 2, 1
    );
    flag!(
        /// Recursion desired: find it out for me.
        rd, set_rd, 2, 0
    );
    flag!(
        /// Recursion available: I do that.
        ra, set_ra, 3, 7
    );
    flag!(
        /// Reserved: zero.
        z, set_z, 3, 6
    );
    flag!(
        /// Authentic data: whoever answers has checked the signatures (in a query: tell me whether).
        ad, set_ad, 3, 5
    );
    flag!(
        /// Checking disabled: give me the data though its signatures are wrong.
        cd, set_cd, 3, 4
    );

    /// What kind of query: 0 is a standard one.
    pub fn opcode(&self) -> u8 {
        self.0[2] >> 3 & 0x0f
    }

    pub fn set_opcode(&mut self, opcode: u8) {
        self.0[2] = self.0[2] & 0x87 | (opcode & 0x0f) << 3;
    }

    /// The low four bits of the response code; an OPT may hold eight more.
    pub fn rcode(&self) -> u16 {
        u16::from(self.0[3] & 0x0f)
    }

    pub fn set_rcode(&mut self, rcode: u16) {
        self.0[3] = self.0[3] & 0xf0 | (rcode & 0x0f) as u8;
    }

    number!(
        /// Questions.
        qdcount, set_qdcount, 4
    );
    number!(
        /// Records of the answer.
        ancount, set_ancount, 6
    );
    number!(
        /// Records of the authority section.
        nscount, set_nscount, 8
    );
    number!(
        /// Additional records, OPT among them.
        arcount, set_arcount, 10
    );

    /// All the records behind the questions.
    pub fn records(&self) -> usize {
        [self.ancount(), self.nscount(), self.arcount()].into_iter().map(usize::from).sum()
    }
}

/// RFC 1035 section 4.1.2.
#[derive(Debug, Clone, PartialEq)]
pub struct Question {
    pub name: Name,
    pub qtype: u16,
    pub qclass: u16,
}

/// A record as the reader walks over it, RFC 1035 section 4.1.3: where its parts are in the message.
#[derive(Debug, Clone)]
pub struct Record {
    /// Where the owner's name begins.
    pub at: usize,
    pub rtype: u16,
    /// For an OPT the sender's UDP size.
    pub class: u16,
    /// Seconds; for an OPT extended RCODE, version and flags.
    pub ttl: u32,
    /// Where the TTL's four octets are.
    pub ttl_at: usize,
    pub rdata: Range<usize>,
}

impl Record {
    /// RFC 2181 section 8: a TTL with the top bit set counts as zero.
    pub fn seconds(&self) -> u32 {
        if self.ttl > i32::MAX as u32 {
            0
        } else {
            self.ttl
        }
    }

    /// The owner in the message that the record was read from.
    pub fn owner(&self, message: &[u8]) -> Parsed<Name> {
        read_name(message, self.at, &mut Work::for_message(message)).map(|(name, _)| name)
    }
}

/// What an OPT record says, RFC 6891 section 6.1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Edns {
    /// The UDP size that its sender can take, in octets.
    pub size: u16,
    /// The high eight bits of the response code.
    pub rcode_high: u8,
    pub version: u8,
    /// DNSSEC OK, RFC 3225: send signatures along.
    pub dnssec_ok: bool,
}

impl Edns {
    pub fn read(opt: &Record) -> Edns {
        let [rcode_high, version, flags, _] = opt.ttl.to_be_bytes();
        Edns { size: opt.class, rcode_high, version, dnssec_ok: flags & 0x80 != 0 }
    }

    /// The whole record, without options.
    pub fn record(&self) -> [u8; OPT_LENGTH] {
        let mut record = [0; OPT_LENGTH];
        record[1..3].copy_from_slice(&rtype::OPT.to_be_bytes());
        record[3..5].copy_from_slice(&self.size.to_be_bytes());
        record[5..9].copy_from_slice(&[self.rcode_high, self.version, u8::from(self.dnssec_ok) << 7, 0]);
        record
    }
}

/// Whether an option is among those of an OPT, RFC 6891 section 6.1.2.
pub fn has_option(mut options: &[u8], wanted: u16) -> bool {
    while let [code_high, code_low, length_high, length_low, rest @ ..] = options {
        if u16::from_be_bytes([*code_high, *code_low]) == wanted {
            return true;
        }
        options = rest.get(usize::from(u16::from_be_bytes([*length_high, *length_low]))..).unwrap_or_default();
    }
    false
}

/// Option code of EDNS Client Subnet, RFC 7871.
pub const CLIENT_SUBNET: u16 = 8;

/// Walks over a message, part by part.
pub struct Reader<'a> {
    pub message: &'a [u8],
    /// How far the walk has come.
    pub at: usize,
    work: Work,
}

impl<'a> Reader<'a> {
    /// Begins behind the header.
    pub fn new(message: &'a [u8]) -> Reader<'a> {
        Reader { message, at: HEADER_LENGTH, work: Work::for_message(message) }
    }

    /// From here on remembers where names are that lie behind this point and that pointers lead to.
    pub fn note_far_names(&mut self) {
        self.work.near = self.at;
    }

    /// (start, end) of what was noted.
    pub fn far_names(self) -> Vec<(usize, usize)> {
        self.work.far
    }

    fn take(&mut self, octets: usize) -> Parsed<&'a [u8]> {
        let taken = self.at.checked_add(octets).and_then(|end| self.message.get(self.at..end));
        let taken = taken.ok_or(Malformed { at: self.at, what: "the end, in the middle of a field" })?;
        self.at += octets;
        Ok(taken)
    }

    pub fn u8(&mut self) -> Parsed<u8> {
        Ok(self.take(1)?[0])
    }

    pub fn u16(&mut self) -> Parsed<u16> {
        self.take(2).map(|b| u16::from_be_bytes([b[0], b[1]]))
    }

    pub fn u32(&mut self) -> Parsed<u32> {
        self.take(4).map(|b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]))
    }

    pub fn name(&mut self) -> Parsed<Name> {
        let (name, end) = read_name(self.message, self.at, &mut self.work)?;
        self.at = end;
        Ok(name)
    }

    pub fn skip_name(&mut self) -> Parsed<()> {
        self.at = skip_name(self.message, self.at, &mut self.work)?;
        Ok(())
    }

    /// A `<character-string>`, RFC 1035 section 3.3: a length octet, and that many.
    pub fn string(&mut self) -> Parsed<&'a [u8]> {
        let length = self.u8()?;
        self.take(usize::from(length))
    }

    /// Checks a question; returns its type and class.
    pub fn skip_question(&mut self) -> Parsed<(u16, u16)> {
        self.skip_name()?;
        Ok((self.u16()?, self.u16()?))
    }

    pub fn question(&mut self) -> Parsed<Question> {
        Ok(Question { name: self.name()?, qtype: self.u16()?, qclass: self.u16()? })
    }

    /// The next record, its RDATA within bounds and, where a type is known to hold names, those checked.
    pub fn record(&mut self) -> Parsed<Record> {
        let at = self.at;
        self.skip_name()?;
        let (rtype, class, ttl_at, ttl, length) = (self.u16()?, self.u16()?, self.at, self.u32()?, self.u16()?);
        let rdata = self.at..self.at + usize::from(length);
        self.check_rdata(rtype, rdata.end)?;
        self.at = rdata.start;
        self.take(usize::from(length))?;
        Ok(Record { at, rtype, class, ttl, ttl_at, rdata })
    }

    /// The types of RFC 1035 and RFC 2782 whose names may be compressed are where a pointer can lead
    /// astray whoever reads the answer.
    fn check_rdata(&mut self, rtype: u16, end: usize) -> Parsed<()> {
        let (before, names, behind) = match rtype {
            rtype::NS | rtype::CNAME | rtype::PTR => (0, 1, 0),
            rtype::SOA => (0, 2, 20),
            rtype::MX => (2, 1, 0),
            rtype::SRV => (6, 1, 0),
            _ => return Ok(()),
        };
        self.take(before)?;
        for _ in 0..names {
            self.skip_name()?;
        }
        self.take(behind)?;
        if self.at != end {
            return Err(Malformed { at: self.at, what: "RDATA that is not as long as it says" });
        }
        Ok(())
    }
}

/// Makes a message of our own, field by field.
pub struct Writer {
    pub message: Vec<u8>,
    compressor: Compressor,
}

impl Writer {
    /// Begins with the header; what it counts is what will be written.
    pub fn new(header: &Header) -> Writer {
        Writer { message: header.0.to_vec(), compressor: Compressor::default() }
    }

    pub fn u16(&mut self, value: u16) {
        self.message.extend(value.to_be_bytes());
    }

    pub fn u32(&mut self, value: u32) {
        self.message.extend(value.to_be_bytes());
    }

    pub fn octets(&mut self, octets: &[u8]) {
        self.message.extend(octets);
    }

    pub fn name(&mut self, name: &Name) {
        self.compressor.write(&mut self.message, name);
    }

    pub fn question(&mut self, question: &Question) {
        self.name(&question.name);
        self.u16(question.qtype);
        self.u16(question.qclass);
    }

    /// A record; `rdata` writes its data, whose length is put in afterwards.
    pub fn record(&mut self, owner: &Name, (rtype, class): (u16, u16), ttl: u32, rdata: impl FnOnce(&mut Writer)) {
        self.name(owner);
        self.u16(rtype);
        self.u16(class);
        self.u32(ttl);
        let at = self.message.len();
        self.u16(0);
        rdata(self);
        let length = (self.message.len() - at - 2) as u16;
        self.message[at..at + 2].copy_from_slice(&length.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flag_is_its_own_bit() {
        type Flag = (fn(&Header) -> bool, fn(&mut Header, bool), u16);
        let flags: [Flag; 8] = [
            (Header::qr, Header::set_qr, 0x8000),
            (Header::aa, Header::set_aa, 0x0400),
            (Header::tc, Header::set_tc, 0x0200),
            (Header::rd, Header::set_rd, 0x0100),
            (Header::ra, Header::set_ra, 0x0080),
            (Header::z, Header::set_z, 0x0040),
            (Header::ad, Header::set_ad, 0x0020),
            (Header::cd, Header::set_cd, 0x0010),
        ];
        for (get, set, bit) in flags {
            for before in [0u16, 0xffff] {
                let mut header = Header::default();
                header.0[2..4].copy_from_slice(&before.to_be_bytes());
                for on in [true, false, true] {
                    set(&mut header, on);
                    assert_eq!(get(&header), on);
                    let wanted = if on { before | bit } else { before & !bit };
                    assert_eq!(header.0[2..4], wanted.to_be_bytes());
                }
            }
        }
    }

    #[test]
    fn the_numbers_of_a_header() {
        let mut header = Header::default();
        header.set_id(0xabcd);
        header.set_opcode(5);
        header.set_rcode(3);
        header.set_qdcount(1);
        header.set_ancount(2);
        header.set_nscount(3);
        header.set_arcount(0x0405);
        assert_eq!(header.0, [0xab, 0xcd, 0x28, 3, 0, 1, 0, 2, 0, 3, 4, 5]);
        assert_eq!((header.id(), header.opcode(), header.rcode()), (0xabcd, 5, 3));
        assert_eq!(header.records(), 2 + 3 + 0x0405);
        assert_eq!(Header::read(&header.0), Some(header));
        assert_eq!(Header::read(&header.0[..11]), None);
    }

    #[test]
    fn what_is_written_is_read() {
        let mut header = Header::default();
        header.set_qdcount(1);
        header.set_ancount(1);
        header.set_arcount(1);
        let question = Question { name: Name::from_text("Www.Example.").unwrap(), qtype: rtype::MX, qclass: class::IN };
        let edns = Edns { size: 1232, rcode_high: 1, version: 0, dnssec_ok: true };
        let mut writer = Writer::new(&header);
        writer.question(&question);
        writer.record(&question.name, (rtype::MX, class::IN), 300, |w| {
            w.u16(10);
            w.name(&Name::from_text("mail.Example.").unwrap());
        });
        writer.octets(&edns.record());
        let message = writer.message;
        let mut reader = Reader::new(&message);
        assert_eq!(reader.question(), Ok(question.clone()));
        let record = reader.record().unwrap();
        assert_eq!((record.rtype, record.ttl, record.rdata.len()), (rtype::MX, 300, 2 + 5 + 2));
        assert_eq!(record.owner(&message), Ok(question.name));
        assert_eq!(Edns::read(&reader.record().unwrap()), edns);
        assert_eq!(reader.at, message.len());
        for length in 0..message.len() {
            let mut reader = Reader::new(&message[..length]);
            let whole = reader.question().and_then(|_| reader.record()).and_then(|_| reader.record());
            assert!(whole.is_err(), "cut to {length}");
        }
    }

    #[test]
    fn rdata_is_as_long_as_it_says() {
        // An NS whose name is shorter, and one whose name is longer than RDLENGTH.
        for rdata in [&b"\0\x05\x01a\0\0\0"[..], b"\0\x02\x01a\0"] {
            let message = [&[0; 12][..], b"\0\0\x02\0\x01\0\0\0\0", rdata].concat();
            assert!(Reader::new(&message).record().is_err());
        }
    }

    #[test]
    fn pointer_chains_cost_little() {
        // 64 KiB: a chain of pointers, and records whose owners all ask for the whole chain.
        let mut message = vec![0; 12];
        message.extend([0, 0]);
        message.extend((12..0x3ffe).step_by(2).flat_map(|at: u16| (0xc000 | at).to_be_bytes()));
        let start = message.len();
        while message.len() < 65500 {
            message.extend([0xff, 0xfe, 0, 16, 0, 1, 0, 0, 0, 0, 0, 0]);
        }
        let mut reader = Reader::new(&message);
        reader.at = start;
        let mut records = 0;
        while reader.record().is_ok() {
            records += 1;
        }
        assert!(records < 64, "{records}");
    }
}
