//! Fields as `mydocker dns decode` prints them: the kinds there are, how long each is, and what its octets say.
//! Which fields a record's data has is in dns_tables.rs.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::dns_record::{class_name, name_of, type_name, Names};
use crate::dns_tables::TYPES;
use Kind::*;

/// The data of one type of record, EDNS option or SVCB parameter, field by field.
pub struct Layout {
    pub number: u16,
    /// `RFC 1035 3.4.1`: section 3.4.1 of RFC 1035.
    pub rfc: &'static str,
    /// Of a type what it is, of an option or a parameter its name.
    pub what: &'static str,
    pub fields: &'static [Field],
}

/// Name, what it holds, and a word on what that means.
pub type Field = (&'static str, Kind, &'static str);

#[derive(Clone, Copy)]
pub enum Kind {
    /// A number of so many octets.
    Number(usize),
    /// The same, each value of which has a name.
    Code(usize, Names),
    /// A record type's number.
    Type,
    /// 32 bits.
    Seconds,
    /// Seconds since 1970, of so many octets.
    Date(usize),
    V4,
    V6,
    Name,
    /// A length octet and so much text.
    CharString,
    /// A length of so many octets, and so much that is no text.
    Counted(usize),
    /// So many octets that are no text.
    Octets(usize),
    // These go on to the end of the data:
    CharStrings,
    Text,
    Rest,
    /// RFC 4034 section 4.1.2: the types that exist, a bit each.
    Types,
    V4s,
    V6s,
    /// Code, length and value, over and over.
    Pairs(&'static Pairs),
}

/// How code, length and value are called, and the layouts of the values.
pub struct Pairs {
    pub fields: [&'static str; 3],
    pub table: &'static [Layout],
}

impl Kind {
    /// Octets, where those of the message do not matter; otherwise 0.
    pub fn size(self) -> usize {
        match self {
            Number(size) | Code(size, _) | Date(size) | Octets(size) => size,
            Type => 2,
            Seconds | V4 => 4,
            V6 => 16,
            _ => 0,
        }
    }

    /// What so many octets say.
    pub fn value(self, octets: &[u8]) -> String {
        let number = number(octets);
        match self {
            Number(_) => number.to_string(),
            Code(_, names) => format!("{number} {}", name_of(names, "", number as u16)),
            Type => type_meaning(number as u16),
            Seconds => seconds(number as u32),
            Date(_) => date(number),
            V4 => Ipv4Addr::from(number as u32).to_string(),
            V6 => octets.try_into().map(|octets: [u8; 16]| Ipv6Addr::from(octets).to_string()).unwrap_or_default(),
            _ => count(octets.len()),
        }
    }
}

/// The first octet has the highest bits.
pub fn number(octets: &[u8]) -> u64 {
    octets.iter().fold(0, |all, octet| all << 8 | u64::from(*octet))
}

/// `1 octet`, `2 octets`
pub fn count(octets: usize) -> String {
    format!("{octets} octet{}", if octets == 1 { "" } else { "s" })
}

/// `3660 seconds, 1 h 1 min`
pub fn seconds(seconds: u32) -> String {
    let mut text = format!("{seconds} second{}", if seconds == 1 { "" } else { "s" });
    let units = [(seconds / 86400, "d"), (seconds / 3600 % 24, "h"), (seconds / 60 % 60, "min"), (seconds % 60, "s")];
    let parts: Vec<_> = units.iter().filter(|(n, _)| *n > 0).map(|(n, unit)| format!("{n} {unit}")).collect();
    if seconds >= 60 {
        text += &format!(", {}", parts.join(" "));
    }
    text
}

/// `2025-12-31 23:59:59 UTC`, from seconds since 1970.
fn date(seconds: u64) -> String {
    // Counted from 1 March of the year 0, so that a leap day is the last of its year.
    let days = seconds / 86400 + 719_468;
    let of_era = days % 146_097; // an era: 400 years
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * of_year + 2) / 153; // 0: March
    let (day, month) = (of_year - (153 * month + 2) / 5 + 1, (month + 2) % 12 + 1);
    let year = days / 146_097 * 400 + year_of_era + u64::from(month <= 2);
    format!("{year}-{month:02}-{day:02} {:02}:{:02}:{:02} UTC", seconds / 3600 % 24, seconds / 60 % 60, seconds % 60)
}

/// `1 A: an IPv4 address`
pub fn type_meaning(rtype: u16) -> String {
    let what = find(TYPES, rtype).map(|layout| format!(": {}", layout.what)).unwrap_or_default();
    format!("{rtype} {}{what}", type_name(rtype))
}

pub fn class_meaning(class: u16) -> String {
    let what = match class {
        1 => ": the Internet",
        3 => ": Chaos, a server's own affairs",
        254 => ": RFC 2136",
        255 => ": any class",
        _ => "",
    };
    format!("{class} {}{what}", class_name(class))
}

/// The types of RFC 4034 section 4.1.2: windows of 256, each with a number, a length and as many octets of
/// bits. `None` where that is not what these octets are.
pub fn type_bit_maps(octets: &[u8]) -> Option<String> {
    let (mut names, mut rest) = (Vec::new(), octets);
    while let [window, length, tail @ ..] = rest {
        let (bits, others) = tail.split_at_checked(usize::from(*length))?;
        let set = (0..8 * bits.len()).filter(|bit| bits[bit / 8] & 0x80 >> (bit % 8) != 0);
        // No bit is beyond the 256 of its window: RFC 4034 has at most 32 octets.
        names.extend(set.filter(|bit| *bit < 256).map(|bit| type_name(u16::from(*window) << 8 | bit as u16)));
        rest = others;
    }
    rest.is_empty().then(|| names.join(" "))
}

/// The layout with this number.
pub fn find(table: &'static [Layout], number: u16) -> Option<&'static Layout> {
    table.iter().find(|layout| layout.number == number)
}

/// Bits of a word of 16.
pub struct Flag {
    pub name: &'static str,
    /// The lowest bit, and how many.
    pub shift: u32,
    pub width: u32,
    /// What it says when zero, and when not.
    pub meanings: [&'static str; 2],
    pub rfc: &'static str,
}

impl Flag {
    pub fn mask(&self) -> u16 {
        (((1u32 << self.width) - 1) << self.shift) as u16
    }

    pub fn value(&self, word: u16) -> u16 {
        (word & self.mask()) >> self.shift
    }
}

pub fn opcode_meaning(opcode: u8) -> &'static str {
    match opcode {
        0 => ": a standard query",
        1 => ": obsolete (RFC 3425)",
        2 => ": a server's status",
        4 => ": a zone has changed (RFC 1996)",
        5 => ": a change to a zone (RFC 2136)",
        6 => ": about the connection (RFC 8490)",
        _ => "",
    }
}

pub fn rcode_meaning(rcode: u16) -> &'static str {
    match rcode {
        0 => ": no error",
        1 => ": the query could not be read",
        2 => ": the server could not find out",
        3 => ": there is no such name",
        4 => ": the server does not do that",
        5 => ": the server does not want to",
        16 => ": not this version of EDNS",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_and_durations() {
        for (seconds, text) in [
            (0, "1970-01-01 00:00:00 UTC"),
            (951_782_399, "2000-02-28 23:59:59 UTC"),
            (951_782_400, "2000-02-29 00:00:00 UTC"),
            (1_767_225_599, "2025-12-31 23:59:59 UTC"),
            (4_294_967_295, "2106-02-07 06:28:15 UTC"),
        ] {
            assert_eq!(date(seconds), text);
        }
        assert_eq!((seconds(59), seconds(1)), ("59 seconds".into(), "1 second".into()));
        assert_eq!(seconds(93784), "93784 seconds, 1 d 2 h 3 min 4 s");
    }

    #[test]
    fn bit_maps() {
        assert_eq!(type_bit_maps(b"\0\x06\x40\x01\0\0\0\x03").unwrap(), "A MX RRSIG NSEC");
        assert_eq!(type_bit_maps(b"\xff\x01\x80").unwrap(), "TYPE65280");
        assert_eq!(type_bit_maps(b"").unwrap(), "");
        assert!(type_bit_maps(b"\0\x06\x40").is_none() && type_bit_maps(b"\0").is_none());
    }
}
