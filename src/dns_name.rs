//! Domain names: RFC 1035 sections 3.1 (labels), 4.1.4 (compression), 5.1 (as text).
//!
//! On the wire a name is a row of labels, each a length octet (1-63) and that many octets of any value,
//! and the root's empty label at the end; 255 octets at most. In place of a label a pointer may stand:
//! two octets `11xxxxxx xxxxxxxx`, the offset in the message where the rest of the name is.
//!
//! [`Name`] is a name without pointers, [`read_name`] takes one out of a message, [`Compressor`] writes
//! names with pointers to what stands in the message already.

use std::collections::BTreeMap;
use std::fmt;

use crate::dns_message::HEADER_LENGTH;

/// RFC 1035 section 2.3.4, length octets and the root's included.
pub const MAX_NAME: usize = 255;
pub const MAX_LABEL: usize = 63;

/// Why something is not a DNS message, and at which octet that was seen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Malformed {
    pub at: usize,
    pub what: &'static str,
}

pub type Parsed<T> = std::result::Result<T, Malformed>;

/// A name as it is on the wire, without pointers: `3 w w w 7 e x a m p l e 0`. Compares without ASCII case.
#[derive(Clone)]
pub struct Name {
    length: u8,
    octets: [u8; MAX_NAME],
}

impl Name {
    /// `.`
    pub fn root() -> Name {
        Name { length: 1, octets: [0; MAX_NAME] }
    }

    /// Octets that are a whole name.
    pub fn from_wire(octets: &[u8]) -> Parsed<Name> {
        let mut name = Name::root();
        let mut rest = octets;
        while let [length @ 1..=63, tail @ ..] = rest {
            let malformed = |what| Malformed { at: octets.len() - rest.len(), what };
            let (label, others) =
                tail.split_at_checked(usize::from(*length)).ok_or(malformed("a label beyond the end"))?;
            name.push(label).map_err(malformed)?;
            rest = others;
        }
        match rest {
            [0] => Ok(name),
            _ => Err(Malformed { at: octets.len() - rest.len(), what: "not the end of a name" }),
        }
    }

    pub fn octets(&self) -> &[u8] {
        &self.octets[..usize::from(self.length)]
    }

    /// The labels from the left, without the root's.
    pub fn labels(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = self.octets();
        std::iter::from_fn(move || match rest {
            [length @ 1..=63, tail @ ..] => {
                let (label, others) = tail.split_at(usize::from(*length));
                rest = others;
                Some(label)
            }
            _ => None,
        })
    }

    /// Whether this name is `zone` or below it.
    pub fn is_within(&self, zone: &Name) -> bool {
        let (own, of) = (self.labels().count(), zone.labels().count());
        own >= of && self.labels().skip(own - of).zip(zone.labels()).all(|(a, b)| a.eq_ignore_ascii_case(b))
    }

    /// Puts a label at the right end, before the root's.
    fn push(&mut self, label: &[u8]) -> std::result::Result<(), &'static str> {
        if label.is_empty() {
            return Err("an empty label");
        }
        if label.len() > MAX_LABEL {
            return Err("a label of more than 63 octets");
        }
        let (at, end) = (usize::from(self.length) - 1, usize::from(self.length) + label.len());
        if end >= MAX_NAME {
            return Err("a name of more than 255 octets");
        }
        self.octets[at] = label.len() as u8;
        self.octets[at + 1..end].copy_from_slice(label);
        self.octets[end] = 0;
        self.length = end as u8 + 1;
        Ok(())
    }

    /// Reads a name as a person writes it: labels with dots between them, `\.` for a dot in a label,
    /// `\DDD` for any octet; the dot at the end may be missing.
    pub fn from_text(text: &str) -> std::result::Result<Name, &'static str> {
        let mut name = Name::root();
        if text == "." {
            return Ok(name);
        }
        let mut label = Vec::new();
        let mut rest = text.as_bytes();
        loop {
            rest = match rest {
                [b'\\', a @ b'0'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9', tail @ ..] => {
                    let value = [a, b, c].iter().fold(0u32, |sum, digit| sum * 10 + u32::from(**digit - b'0'));
                    label.push(u8::try_from(value).map_err(|_| "an escape above \\255")?);
                    tail
                }
                [b'\\', octet, tail @ ..] => {
                    label.push(*octet);
                    tail
                }
                [b'\\'] => return Err("a backslash at the end"),
                [b'.', tail @ ..] => {
                    name.push(&label)?;
                    label.clear();
                    if tail.is_empty() {
                        return Ok(name);
                    }
                    tail
                }
                [octet, tail @ ..] => {
                    label.push(*octet);
                    tail
                }
                [] => {
                    name.push(&label)?;
                    return Ok(name);
                }
            };
        }
    }
}

impl PartialEq for Name {
    fn eq(&self, other: &Name) -> bool {
        // Length octets are below `A`: they have no case.
        self.octets().eq_ignore_ascii_case(other.octets())
    }
}

/// With a dot at the end; what is not a plain character is escaped, so that a name can neither end a
/// line nor steer a terminal.
impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.length == 1 {
            return f.write_str(".");
        }
        for label in self.labels() {
            for octet in label {
                match octet {
                    b'.' | b'\\' | b'"' | b'(' | b')' | b';' | b'@' | b'$' => write!(f, "\\{}", *octet as char)?,
                    b'!'..=b'~' => write!(f, "{}", *octet as char)?,
                    _ => write!(f, "\\{octet:03}")?,
                }
            }
            f.write_str(".")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// How many labels and pointers may be walked in one message before it is taken for an attack. Honest
/// ones stay far below four for each of their octets; 64 KiB of pointer chains would ask for millions.
///
/// It also remembers where names were found by pointers that reach beyond `near`: an answer whose octets change
/// (TTLs count down) must know what is read as a name.
pub struct Work {
    left: usize,
    /// What ends before this, within the question, is of no interest.
    pub near: usize,
    /// (start, end) of parts of names that pointers have led to.
    pub far: Vec<(usize, usize)>,
}

/// More such parts no honest answer has; from then on none is noted.
pub const MAX_FAR: usize = 1024;

impl Work {
    pub fn for_message(message: &[u8]) -> Work {
        Work { left: 4 * message.len() + 512, near: usize::MAX, far: Vec::new() }
    }

    /// A part of a name ends at `end`; where it is one that a pointer has led to, `start` is there.
    fn end_part(&mut self, start: Option<usize>, end: usize) {
        // Also one that begins inside the question, but not with one of its labels, may run beyond it.
        if let Some(start) = start.filter(|_| end > self.near && self.far.len() < MAX_FAR) {
            self.far.push((start, end));
        }
    }

    fn step(&mut self, at: usize) -> Parsed<()> {
        self.left = self.left.checked_sub(1).ok_or(Malformed { at, what: "compression without end" })?;
        Ok(())
    }
}

/// Follows the name at `at` and hands each label over. Returns the offset behind the name.
///
/// Why this ends: a pointer must lead to before the part of the name that it ends, and what it leads to must
/// end before that part begins, so no octet is walked twice (RFC 9267 section 2 tells what happens without).
fn walk(message: &[u8], at: usize, work: &mut Work, mut label: impl FnMut(&[u8])) -> Parsed<usize> {
    let malformed = |at, what| Err(Malformed { at, what });
    let (mut part, mut limit, mut here, mut end, mut length) = (at, message.len(), at, None, 1);
    let mut led_to = None;
    loop {
        work.step(here)?;
        match message.get(here..limit).unwrap_or_default() {
            [0, ..] => {
                work.end_part(led_to, here + 1);
                return Ok(end.unwrap_or(here + 1));
            }
            [octets @ 1..=63, rest @ ..] => {
                let octets = usize::from(*octets);
                length += 1 + octets;
                if length > MAX_NAME {
                    return malformed(here, "a name of more than 255 octets");
                }
                label(rest.get(..octets).ok_or(Malformed { at: here, what: "a label beyond the end" })?);
                here += 1 + octets;
            }
            [high @ 0xc0..=0xff, low, ..] => {
                let target = usize::from(u16::from_be_bytes([high & 0x3f, *low]));
                if target >= part || target < HEADER_LENGTH {
                    return malformed(here, "a compression pointer that does not lead back to a name");
                }
                end = end.or(Some(here + 2));
                work.end_part(led_to.replace(target), here + 2);
                (limit, part, here) = (part, target, target);
            }
            [0x40..=0xbf, ..] => return malformed(here, "a label type that does not exist"),
            _ => return malformed(here, "a name beyond the end"),
        }
    }
}

/// Checks the name at `at`; returns the offset behind it.
pub fn skip_name(message: &[u8], at: usize, work: &mut Work) -> Parsed<usize> {
    // Most owners are the question's name: a pointer to it.
    if let Some([0xc0, 12]) = message.get(at..at + 2) {
        if at > HEADER_LENGTH {
            return Ok(at + 2);
        }
    }
    walk(message, at, work, |_| {})
}

/// Takes the name at `at` out of a message, pointers resolved; returns the offset behind it, too.
pub fn read_name(message: &[u8], at: usize, work: &mut Work) -> Parsed<(Name, usize)> {
    let mut name = Name::root();
    let end = walk(message, at, work, |label| {
        let pushed = name.push(label);
        debug_assert_eq!(pushed, Ok(())); // walk has the same limits
    })?;
    Ok((name, end))
}

/// Remembers where names stand in a message that is being written.
#[derive(Default)]
pub struct Compressor {
    /// By what a name has from a label on, the offset of that label: below 0x4000, where a pointer can still
    /// lead. Case counts: a pointer gives a name back as it was spelled.
    known: BTreeMap<Box<[u8]>, u16>,
}

impl Compressor {
    /// Appends a name: as many labels as must be, then a pointer to the longest tail that is there already.
    pub fn write(&mut self, message: &mut Vec<u8>, name: &Name) {
        let mut rest = name.octets();
        while let [length @ 1..=63, ..] = rest {
            if let Some(at) = self.known.get(rest) {
                message.extend((0xc000 | at).to_be_bytes());
                return;
            }
            if let Some(at) = u16::try_from(message.len()).ok().filter(|at| *at < 0x4000) {
                self.known.insert(rest.into(), at);
            }
            let (label, others) = rest.split_at(1 + usize::from(*length));
            message.extend(label);
            rest = others;
        }
        message.push(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::from_text(text).unwrap()
    }

    /// A message of an empty header and these octets.
    fn message(octets: &[u8]) -> Vec<u8> {
        [&[0; 12], octets].concat()
    }

    fn read(octets: &[u8], at: usize) -> Parsed<(Name, usize)> {
        let message = message(octets);
        read_name(&message, at, &mut Work::for_message(&message))
    }

    #[test]
    fn text_and_wire() {
        for (text, wire) in [
            (".", &b"\0"[..]),
            ("a.", b"\x01a\0"),
            ("www.Example.", b"\x03www\x07Example\0"),
            ("a\\.b.c.", b"\x03a.b\x01c\0"),
            ("\\000\\255\\032.", b"\x03\0\xff \0"),
        ] {
            assert_eq!(name(text).octets(), wire);
            assert_eq!(name(text).to_string(), text);
        }
        assert_eq!(name("no.dot").to_string(), "no.dot.");
        for wrong in ["", "..", "a..b", ".a", "\\256.", "a\\"] {
            assert!(Name::from_text(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn limits() {
        let long = "a".repeat(63);
        assert!(Name::from_text(&long).is_ok());
        assert!(Name::from_text(&format!("{long}a")).is_err());
        // 3 * 64 + 1 + 61 + 1 = 255
        let most = format!("{long}.{long}.{long}.{}", "b".repeat(61));
        assert_eq!(name(&most).octets().len(), 255);
        assert!(Name::from_text(&format!("{most}b")).is_err());
        assert_eq!(read(name(&most).octets(), 12).unwrap().1, 12 + 255);
        let octets = [name(&most).octets(), b"\x01x\xc0\x0c"].concat();
        assert_eq!(read(&octets, 12 + 255).unwrap_err().what, "a name of more than 255 octets");
    }

    #[test]
    fn case_and_zones() {
        assert_eq!(name("WWW.example."), name("www.EXAMPLE."));
        assert_ne!(name("www.example."), name("wwwexample."));
        assert!(name("a.B.c.").is_within(&name("b.C")));
        assert!(name("b.c.").is_within(&name("b.c.")));
        assert!(!name("ab.c.").is_within(&name("b.c.")));
        assert!(!name("c.").is_within(&name("b.c.")));
        assert!(name("c.").is_within(&Name::root()));
    }

    #[test]
    fn pointers() {
        let octets = b"\x01a\x01b\0\x01c\xc0\x0e";
        assert_eq!(read(octets, 17).unwrap(), (name("c.b."), 21));
        for (octets, at) in [
            (&b"\xc0\x0c"[..], 12),          // to itself
            (b"\x01a\xc0\x0c", 12),          // to the part it ends
            (b"\xc0\x0e\xc0\x0c", 12),       // forward
            (b"\0\xc0\xff", 13),             // out of the message
            (b"\0\xc0\x00", 13),             // into the header
            (b"\0\xc0", 13),                 // half
            (b"\x02\xc0\x0c\0\xc0\x0d", 16), // a label over the pointer that led there
            (b"\x40a\0", 12),                // label types
            (b"\x80a\0", 12),
            (b"\x05ab\0", 12),
            (b"\x01a", 12),
            (b"", 12),
        ] {
            assert!(read(octets, at).is_err(), "{octets:?}");
        }
    }

    #[test]
    fn work_is_bounded() {
        let work = |left| Work { left, near: usize::MAX, far: Vec::new() };
        // Each pointer leads to the one before it.
        let mut octets = vec![0, 0];
        octets.extend((12..0x3ff0u16).step_by(2).flat_map(|at| (0xc000 | at).to_be_bytes()));
        let message = message(&octets);
        assert!(read_name(&message, 0x3000, &mut work(7000)).is_ok());
        let read = read_name(&message, 0x3000, &mut work(5000));
        assert_eq!(read.unwrap_err().what, "compression without end");
    }

    #[test]
    fn compression() {
        let (mut message, mut compressor) = (message(b""), Compressor::default());
        let names = [name("www.example."), name("mail.example."), name("example."), name("."), name("MAIL.example.")];
        for name in &names {
            compressor.write(&mut message, name);
        }
        assert_eq!(&message[12..], b"\x03www\x07example\0\x04mail\xc0\x10\xc0\x10\0\x04MAIL\xc0\x10");
        let mut at = 12;
        for name in &names {
            let (read, end) = read_name(&message, at, &mut Work::for_message(&message)).unwrap();
            assert_eq!(read.octets(), name.octets());
            at = end;
        }
    }
}
