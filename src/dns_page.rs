//! Lines of `mydocker dns decode`: offset, octets in hex, field, value, and at the right end the section that
//! defines it. At most 100 columns, plain ASCII.

use std::fmt::Arguments;

use crate::dns_fields::Flag;

/// Octets a line, and columns: offset, hex, field, value.
const OCTETS: usize = 8;
const WIDTH: usize = 100;
const VALUE: usize = 47;

#[derive(Default)]
pub struct Page {
    pub text: String,
}

impl Page {
    /// Begins a part, an empty line before it.
    pub fn heading(&mut self, title: &str, rfc: &str) {
        let room = WIDTH - rfc.len() - 2;
        let title = if title.len() > room { format!("{}...", &title[..room - 3]) } else { title.to_string() };
        let gap = if self.text.is_empty() { "" } else { "\n" };
        self.push(format_args!("{gap}{title:<room$}  {rfc}"));
    }

    /// Says what is wrong.
    pub fn wrong(&mut self, what: &str) {
        self.push(format_args!("    !  {what}"));
    }

    /// A field, whose octets begin at this offset of the message.
    pub fn field(&mut self, at: usize, octets: &[u8], name: &str, value: &str, rfc: &str) {
        let hex: Vec<_> = octets.chunks(OCTETS).map(hex).collect();
        self.lines(at, &hex, name, value, rfc);
    }

    /// Octets of unknown meaning, with what is ASCII in them.
    pub fn dump(&mut self, at: usize, octets: &[u8]) {
        for (i, chunk) in octets.chunks(OCTETS).enumerate() {
            let plain = |octet: &u8| if octet.is_ascii_graphic() { char::from(*octet) } else { '.' };
            self.field(at + OCTETS * i, chunk, "", &chunk.iter().map(plain).collect::<String>(), "");
        }
    }

    /// Part of a word of 16 bits, shown at its place among dots.
    pub fn bits(&mut self, word: u16, flag: &Flag, value: &str) {
        let mut picture = String::new();
        for bit in (0..16).rev() {
            picture.push(if flag.mask() >> bit & 1 == 0 { '.' } else { char::from(b'0' + (word >> bit & 1) as u8) });
            picture.push_str(if bit % 4 == 0 && bit > 0 { " " } else { "" });
        }
        self.lines(0, &[picture], flag.name, value, flag.rfc);
    }

    /// The octets at the left, the value at the right, each over as many lines as it takes. A picture of bits
    /// has no offset of its own.
    fn lines(&mut self, at: usize, left: &[String], name: &str, value: &str, rfc: &str) {
        let values = wrap(value, WIDTH - VALUE, if rfc.is_empty() { 0 } else { rfc.len() + 2 });
        let (mut name, mut rfc) = (name, rfc);
        for i in 0..left.len().max(values.len()) {
            let text = |column: &[String]| column.get(i).cloned().unwrap_or_default();
            let offset =
                if i < left.len() && !left[i].contains('.') { (at + OCTETS * i).to_string() } else { String::new() };
            let (left, value, room) = (text(left), text(&values), WIDTH - VALUE - rfc.len());
            self.push(format_args!("{offset:>5}  {left:<23}  {name:<14} {value:<room$}{rfc}"));
            (name, rfc) = ("", "");
        }
    }

    fn push(&mut self, line: Arguments) {
        self.text.push_str(line.to_string().trim_end());
        self.text.push('\n');
    }
}

/// `c0 0c`
pub fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect::<Vec<_>>().join(" ")
}

/// Lines of at most so many columns, the first shorter by some; broken at spaces where there are any.
fn wrap(text: &str, columns: usize, less: usize) -> Vec<String> {
    let (mut lines, mut rest) = (Vec::new(), text);
    loop {
        let room = if lines.is_empty() { columns - less } else { columns };
        if rest.len() <= room {
            lines.push(rest.to_string());
            return lines;
        }
        let cut = rest[..=room].rfind(' ').filter(|at| *at > 0).unwrap_or(room);
        lines.push(rest[..cut].to_string());
        rest = rest[cut..].strip_prefix(' ').unwrap_or(&rest[cut..]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_over_several_lines() {
        let mut page = Page::default();
        page.heading("Title", "RFC 1");
        page.field(4, &[0xab; 17], "NAME", "v ".repeat(40).trim_end(), "RFC 1035 3.3.14");
        page.dump(21, b"a\n");
        page.wrong("bad");
        let wanted = "\
Title                                                                                          RFC 1
    4  ab ab ab ab ab ab ab ab  NAME           v v v v v v v v v v v v v v v v v v   RFC 1035 3.3.14
   12  ab ab ab ab ab ab ab ab                 v v v v v v v v v v v v v v v v v v v v v v
   20  ab
   21  61 0a                                   a.
    !  bad
";
        assert_eq!(page.text, wanted);
    }

    #[test]
    fn bits_stand_in_their_place() {
        let mut page = Page::default();
        page.bits(0x8180, &Flag { name: "RCODE", shift: 0, width: 4, meanings: ["", ""], rfc: "" }, "0");
        page.bits(0x8180, &Flag { name: "QR", shift: 15, width: 1, meanings: ["", ""], rfc: "" }, "1");
        assert_eq!(
            page.text,
            "       .... .... .... 0000      RCODE          0\n       1... .... .... ....      QR             1\n"
        );
    }

    #[test]
    fn long_words_are_cut() {
        assert_eq!(wrap("abcdefghij", 4, 1), ["abc", "defg", "hij"]);
        assert_eq!(wrap("ab cd efghij", 5, 0), ["ab cd", "efghi", "j"]);
        assert_eq!(wrap("", 5, 2), [""]);
    }
}
