//! The teaching view of a message: the walk over all of its fields, in the order of RFC 1035 section 4.1. Each
//! octet is shown, in order and once, also where they are no DNS message; what is wrong is said behind a `!`.

use std::fmt::Display;

use crate::dns_fields::{
    class_meaning, count, find, number, opcode_meaning, rcode_meaning, seconds, type_bit_maps, type_meaning,
};
use crate::dns_fields::{Field, Flag, Kind, Pairs};
use crate::dns_message::{rtype, Header};
use crate::dns_name::{read_name, Malformed, Parsed, Work};
use crate::dns_page::Page;
use crate::dns_record::{opcode_name, rcode_name, type_name, Quoted};
use crate::dns_tables::{FLAGS, OPT_FLAGS, TYPES};

/// The walk over a message.
pub struct View<'a> {
    message: &'a [u8],
    /// All before this has been printed.
    at: usize,
    /// Fields must end here: the message's end, or that of the data that they are in.
    end: usize,
    work: Work,
    page: Page,
}

impl<'a> View<'a> {
    pub fn new(message: &'a [u8]) -> View<'a> {
        View { message, at: 0, end: message.len(), work: Work::for_message(message), page: Page::default() }
    }

    /// Walks over all of it, and returns what has been printed.
    pub fn print(mut self) -> String {
        let whole = self.whole();
        if let Err(malformed) = whole {
            self.wrong(malformed);
        }
        if self.at < self.end {
            let what = if whole.is_err() { "What is left" } else { "Behind the last record" };
            self.page.heading(&format!("{what}: {}", count(self.end - self.at)), "");
            self.rest();
        }
        self.page.text
    }

    fn whole(&mut self) -> Parsed<()> {
        let short = Malformed { at: self.end, what: "the end, but a header has 12 octets" };
        let header = Header::read(self.message).ok_or(short)?;
        self.header(&header);
        for i in 0..header.qdcount() {
            self.question(&format!("Question {} of {}", i + 1, header.qdcount()))?;
        }
        // RFC 2136 section 2 has other names for them.
        let first_two = if header.opcode() == 5 { ["Prerequisite", "Update"] } else { ["Answer", "Authority"] };
        let counts = [header.ancount(), header.nscount(), header.arcount()];
        for (section, count) in [first_two[0], first_two[1], "Additional"].into_iter().zip(counts) {
            for i in 0..count {
                self.record(&format!("{section} {} of {count}", i + 1), &header)?;
            }
        }
        Ok(())
    }

    fn header(&mut self, header: &Header) {
        let kind = if header.qr() { "response" } else { "query" };
        self.page.heading(&format!("Header of a {kind} of {}", count(self.end)), "RFC 1035 section 4.1.1");
        self.field(2, "ID", format_args!("{}: given back with the response", header.id()), "");
        let flags = number(&self.message[2..4]) as u16;
        self.field(2, "", "bit by bit:", "");
        self.bits(flags, FLAGS);
        for (name, number, what) in [
            ("QDCOUNT", header.qdcount(), "in the question section"),
            ("ANCOUNT", header.ancount(), "in the answer section"),
            ("NSCOUNT", header.nscount(), "in the authority section"),
            ("ARCOUNT", header.arcount(), "in the additional section"),
        ] {
            self.field(2, name, format_args!("{number} {what}"), "");
        }
    }

    fn bits(&mut self, word: u16, flags: &[Flag]) {
        for flag in flags {
            let value = flag.value(word);
            let meaning = match flag.name {
                "OPCODE" => opcode_name(value as u8) + opcode_meaning(value as u8),
                "RCODE" => rcode_name(value) + rcode_meaning(value),
                _ => flag.meanings[usize::from(value > 0)].into(),
            };
            self.page.bits(word, flag, &format!("{value} {meaning}"));
        }
    }

    fn question(&mut self, title: &str) -> Parsed<()> {
        self.page.heading(title, "RFC 1035 section 4.1.2");
        self.name("QNAME", "")?;
        let qtype = self.number(2)?;
        self.field(2, "QTYPE", type_meaning(qtype as u16), "RFC 1035 3.2.3");
        let qclass = self.number(2)?;
        self.field(2, "QCLASS", class_meaning(qclass as u16), "RFC 1035 3.2.5");
        Ok(())
    }

    fn record(&mut self, title: &str, header: &Header) -> Parsed<()> {
        let (owner, end) = read_name(self.message, self.at, &mut self.work)?;
        let rtype = number(self.message.get(end..end + 2).unwrap_or_default()) as u16;
        let is_opt = rtype == rtype::OPT;
        let rfc = if is_opt { "RFC 6891 section 6.1.2" } else { "RFC 1035 section 4.1.3" };
        self.page.heading(&format!("{title}: {owner} {}", type_name(rtype)), rfc);
        self.name("NAME", "")?;
        self.number(2)?;
        self.field(2, "TYPE", type_meaning(rtype), "RFC 1035 3.2.2");
        if is_opt {
            self.edns(header)?;
        } else {
            self.class_and_ttl()?;
        }
        let length = self.number(2)? as usize;
        self.field(2, "RDLENGTH", count(length), "");
        if self.at + length > self.end {
            return Err(Malformed { at: self.at, what: "data that goes on beyond the end" });
        }
        let known = find(TYPES, rtype).filter(|layout| !layout.fields.is_empty());
        let unknown = (&[("RDATA", Kind::Rest, "")][..], "RFC 3597 3");
        let (fields, rfc) = known.map_or(unknown, |layout| (layout.fields, layout.rfc));
        self.data(length, fields, rfc);
        Ok(())
    }

    fn class_and_ttl(&mut self) -> Parsed<()> {
        let class = self.number(2)?;
        self.field(2, "CLASS", class_meaning(class as u16), "RFC 1035 3.2.4");
        let ttl = self.number(4)? as u32;
        let odd = if ttl > i32::MAX as u32 { ", counts as 0" } else { "" };
        self.field(4, "TTL", format_args!("{}{odd}", seconds(ttl)), "RFC 2181 8");
        Ok(())
    }

    /// What an OPT has in place of class and TTL.
    fn edns(&mut self, header: &Header) -> Parsed<()> {
        let size = self.number(2)?;
        self.field(2, "CLASS", format_args!("{size} octets of UDP that it can take"), "RFC 6891 6.2.3");
        let ttl = self.number(4)? as u32;
        let [high, version, ..] = ttl.to_be_bytes();
        let rcode = u16::from(high) << 4 | header.rcode();
        let rcode = format!("{high}, so in all {rcode} {}{}", rcode_name(rcode), rcode_meaning(rcode));
        self.field(1, "EXTENDED-RCODE", rcode, "RFC 6891 6.1.3");
        self.field(1, "VERSION", format_args!("{version} of EDNS"), "");
        self.field(2, "", "bit by bit:", "");
        self.bits(ttl as u16, OPT_FLAGS);
        Ok(())
    }

    /// So many octets of data, by their fields; what is wrong in them goes no further.
    fn data(&mut self, length: usize, fields: &[Field], rfc: &str) {
        let outer = std::mem::replace(&mut self.end, self.at + length);
        let mut rfcs = std::iter::once(rfc).chain(std::iter::repeat(""));
        // Without any: in an update (RFC 2136 section 2.4), or an option that asks for one.
        for (name, kind, meaning) in fields.iter().filter(|_| length > 0) {
            if let Err(malformed) = self.one(name, *kind, meaning, rfcs.next().unwrap_or_default()) {
                self.wrong(malformed);
                break;
            }
        }
        if self.at < self.end {
            self.page.wrong(&format!("{} that no field explains:", count(self.end - self.at)));
            self.rest();
        }
        self.end = outer;
    }

    /// One field, whose kind tells how long it is.
    fn one(&mut self, name: &str, kind: Kind, meaning: &str, rfc: &str) -> Parsed<()> {
        let rest = self.end - self.at;
        let (length, value) = match kind {
            Kind::Name => return self.name(name, rfc),
            Kind::Pairs(pairs) => return self.pairs(pairs),
            Kind::CharStrings => return self.each(name, Kind::CharString, rfc),
            Kind::V4s => return self.each(name, Kind::V4, rfc),
            Kind::V6s => return self.each(name, Kind::V6, rfc),
            Kind::CharString => {
                let length = 1 + self.number(1)? as usize;
                (length, format!("{} {}", length - 1, Quoted(&self.octets(length)?[1..])))
            }
            Kind::Counted(size) => {
                let length = self.number(size)? as usize;
                (size + length, format!("length, and {}", count(length)))
            }
            Kind::Rest | Kind::Text if rest == 0 => return Ok(()),
            Kind::Text => (rest, Quoted(self.octets(rest)?).to_string()),
            Kind::Types => {
                let none = Malformed { at: self.at, what: "bit maps that do not end" };
                (rest, type_bit_maps(self.octets(rest)?).ok_or(none)?)
            }
            Kind::Rest => (rest, count(rest)),
            fixed => (fixed.size(), fixed.value(self.octets(fixed.size())?)),
        };
        self.octets(length)?;
        let colon = if meaning.is_empty() { "" } else { ": " };
        self.field(length, name, format_args!("{value}{colon}{meaning}"), rfc);
        Ok(())
    }

    /// Fields of one kind, until the end.
    fn each(&mut self, name: &str, kind: Kind, rfc: &str) -> Parsed<()> {
        while self.at < self.end {
            self.one(name, kind, "", rfc)?;
        }
        Ok(())
    }

    /// Code, length and value, until the end.
    fn pairs(&mut self, pairs: &'static Pairs) -> Parsed<()> {
        let [code_name, length_name, value_name] = pairs.fields;
        while self.at < self.end {
            let code = self.number(2)? as u16;
            let layout = find(pairs.table, code);
            let (what, rfc) = layout.map_or(("unknown here", ""), |layout| (layout.what, layout.rfc));
            self.field(2, code_name, format_args!("{code} {what}"), rfc);
            let length = self.number(2)? as usize;
            self.field(2, length_name, count(length), "");
            if self.at + length > self.end {
                return Err(Malformed { at: self.at, what: "a value that goes on beyond the data" });
            }
            let unknown = [(value_name, Kind::Rest, "")];
            self.data(length, layout.map_or(&unknown[..], |layout| layout.fields), "");
        }
        Ok(())
    }

    /// A name: label by label as it stands here, and as a whole where it ends or a pointer leads away.
    fn name(&mut self, field: &str, rfc: &str) -> Parsed<()> {
        let (name, end) = read_name(&self.message[..self.end], self.at, &mut self.work)?;
        let (mut field, mut rfc) = (field, rfc);
        while self.at < end {
            let here = &self.message[self.at..end];
            let so = if field.is_empty() { ", so" } else { ":" };
            let (length, value) = match here {
                [length @ 1..=63, label @ ..] => {
                    let length = usize::from(*length);
                    (1 + length, format!("{length} {}", Quoted(&label[..length])))
                }
                [high, low] => {
                    rfc = "RFC 1035 4.1.4";
                    (2, format!("pointer to {}{so} {name}", u16::from_be_bytes([high & 0x3f, *low])))
                }
                _ => (1, format!("0, the root{so} {name}")),
            };
            self.field(length, field, value, rfc);
            (field, rfc) = ("", "");
        }
        Ok(())
    }

    /// The octets that come next, as far as they belong to the data.
    fn octets(&self, length: usize) -> Parsed<&'a [u8]> {
        let ended = Malformed { at: self.at, what: "the end, in the middle of a field" };
        self.message[..self.end].get(self.at..self.at + length).ok_or(ended)
    }

    fn number(&self, length: usize) -> Parsed<u64> {
        self.octets(length).map(number)
    }

    /// Prints a field of so many octets, which must be there, and passes over it.
    fn field(&mut self, length: usize, name: &str, value: impl Display, rfc: &str) {
        let value = value.to_string();
        self.page.field(self.at, &self.message[self.at..self.at + length], name, &value, rfc);
        self.at += length;
    }

    /// What is left of the data, as octets.
    fn rest(&mut self) {
        self.page.dump(self.at, &self.message[self.at..self.end]);
        self.at = self.end;
    }

    fn wrong(&mut self, Malformed { at, what }: Malformed) {
        self.page.wrong(&format!("at octet {at}: {what}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns_message::{class, Question, Writer};
    use crate::dns_name::Name;

    fn name(text: &str) -> Name {
        Name::from_text(text).unwrap()
    }

    /// A response to `a.test.` of one record.
    fn response(rtype: u16, rdata: &[u8]) -> Vec<u8> {
        let mut header = Header::default();
        header.set_qr(true);
        header.set_qdcount(1);
        header.set_ancount(1);
        let mut writer = Writer::new(&header);
        writer.question(&Question { name: name("a.test."), qtype: rtype, qclass: class::IN });
        writer.record(&name("a.test."), (rtype, 1), 60, |w| w.octets(rdata));
        writer.message
    }

    fn print(message: &[u8]) -> String {
        View::new(message).print()
    }

    /// The octets of the hex column.
    fn shown(text: &str) -> Vec<u8> {
        let lines =
            text.lines().filter(|line| line.get(..5).is_some_and(|offset| offset.trim().parse::<u32>().is_ok()));
        let hex = lines.flat_map(|line| line[7..line.len().min(30)].split_whitespace());
        hex.map(|octet| u8::from_str_radix(octet, 16).unwrap()).collect()
    }

    #[test]
    fn a_response_as_it_is_printed() {
        let wanted = "
Question 1 of 1                                                               RFC 1035 section 4.1.2
   12  01 61                    QNAME          1 \"a\"
   14  04 74 65 73 74                          4 \"test\"
   19  00                                      0, the root, so a.test.
   20  00 0f                    QTYPE          15 MX: who takes mail for the name     RFC 1035 3.2.3
   22  00 01                    QCLASS         1 IN: the Internet                     RFC 1035 3.2.5

Answer 1 of 1: a.test. MX                                                     RFC 1035 section 4.1.3
   24  c0 0c                    NAME           pointer to 12: a.test.                 RFC 1035 4.1.4
   26  00 0f                    TYPE           15 MX: who takes mail for the name     RFC 1035 3.2.2
   28  00 01                    CLASS          1 IN: the Internet                     RFC 1035 3.2.4
   30  00 00 00 3c              TTL            60 seconds, 1 min                          RFC 2181 8
   34  00 06                    RDLENGTH       6 octets
   36  00 0a                    PREFERENCE     10: the lowest is tried first          RFC 1035 3.3.9
   38  01 6d                    EXCHANGE       1 \"m\"
   40  c0 0e                                   pointer to 14, so m.test.              RFC 1035 4.1.4
";
        let text = print(&response(rtype::MX, b"\0\x0a\x01m\xc0\x0e"));
        assert!(text.ends_with(wanted), "{text}");
    }

    #[test]
    fn what_is_wrong_stays_in_its_record() {
        for (rtype, rdata, what) in [
            (1, &b"\x7f\0\0"[..], "at octet 36: the end, in the middle of a field"),
            (1, b"\x7f\0\0\x01\0", "1 octet that no field explains"),
            (15, b"\0\x0a\xc0\x28", "at octet 38: a compression pointer that does not lead back to a name"),
            (16, b"\x05abc", "at octet 36: the end, in the middle of a field"),
            (47, b"\0\0\x09\x40", "at octet 37: bit maps that do not end"),
            (41, b"\0\x0a\0\x09abc", "at octet 40: a value that goes on beyond the data"),
            (41, b"\0\x0a\0\x03abc", "at octet 40: the end, in the middle of a field"),
        ] {
            let mut message = response(rtype, rdata);
            message[9] = 1;
            message.extend(b"\0\0\x10\0\x01\0\0\0\0\0\x02\x01z");
            let text = print(&message);
            assert!(text.contains(&format!("    !  {what}")), "{text}");
            assert!(text.trim_end().ends_with("RFC 1035 3.3.14") && text.contains("TXT-DATA       1 \"z\" "), "{text}");
        }
    }

    #[test]
    fn whatever_comes_is_shown() {
        let rdata = [&b"\0\x01\0\x0f\0\x01\0\x09h2\x05h3-29\0\x04\0\x08"[..], &[9; 8], b"\x01\x02\0\x05hello"].concat();
        let svcb = response(64, &rdata);
        let nsec3 = response(50, b"\x01\0\0\x0a\x02\xab\xcd\x03xyz\0\x01\x40");
        let opt =
            response(rtype::OPT, b"\0\x0a\0\x08cookie!!\0\x08\0\x07\0\x01\x18\0\x7f\0\0\0\x0b\0\0\0\x0f\0\x02\0\x06");
        for message in [svcb, nsec3, opt, response(65280, b"\xff\n\x1b[2J"), b"\0".repeat(40), b"\xff".repeat(300)] {
            let cut = (0..=message.len()).map(|length| message[..length].to_vec());
            let flipped = (0..message.len()).map(|at| {
                let mut message = message.clone();
                message[at] ^= 0xff;
                message
            });
            for message in cut.chain(flipped) {
                let text = print(&message);
                assert_eq!(shown(&text), message, "{text}");
                let plain = |line: &str| line.len() <= 100 && line.bytes().all(|octet| matches!(octet, b' '..=b'~'));
                assert!(text.lines().all(plain), "{text}");
            }
        }
    }
}
