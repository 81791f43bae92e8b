//! `mydocker dns decode`: a message printed field by field, to be read with RFC 1035 beside it. Each line has
//! the offset, the octets in hex, the field's name, what it says, and the section that defines it where that is
//! another than its heading's.

use std::ffi::OsString;

use getopts::Options;

use crate::dns_message::HEADER_LENGTH;
use crate::dns_page::hex;
use crate::dns_view::View;
use crate::dns_whole::Message;
use crate::error::{Context, Error, Result};
use crate::options::{split, Parsed};
use crate::sys;

const MOST: usize = 65535;

const HELP: &str = "Usage: mydocker dns decode <MESSAGE

Prints a DNS message field by field, each with its octets and the section of the
RFC that defines it. The message comes from standard input, as it is or in hex
(with white space, `:` and 0x anywhere), with or without the two octets of its
length that TCP puts before it.

    echo abcd 0100 0001 0000 0000 0000 03777777 076578616d706c65 00 0001 0001 |
        mydocker dns decode";

pub fn main(arguments: &[OsString]) -> Result<i32> {
    let mut table = Options::new();
    table.optflagmulti("h", "help", "print this help");
    let usage = "usage: mydocker dns decode <MESSAGE; the message in binary or hex";
    let Parsed { matches, rest } = split(&mut table, arguments).map_err(|error| error.hint(usage))?;
    let text = if matches.opt_present("help") {
        table.usage(HELP)
    } else if let Some(argument) = rest.first() {
        return Err(Error::new(format!("dns decode: what is {argument:?}?")).hint(usage));
    } else {
        decode(&octets(standard_input()?)?)
    };
    sys::why("explained");
    sys::print(&text).context("write to standard output")?;
    Ok(0)
}

/// All of a message, whatever it is, as lines of at most 100 columns of ASCII.
pub fn describe(message: &[u8]) -> String {
    View::new(message).print()
}

fn too_long() -> Error {
    Error::new(format!("dns decode: more than {MOST} octets, which no DNS message has"))
}

fn standard_input() -> Result<Vec<u8>> {
    // In hex an octet may be as long as `0xab, `, and a little more.
    sys::why("a message, in hex or binary");
    match sys::read_to_end(&sys::inherited(sys::STDIN), 8 * MOST) {
        Err(error) if error.kind() == std::io::ErrorKind::FileTooLarge => Err(too_long()),
        input => input.context("read standard input"),
    }
}

/// The message in what was typed, or piped.
fn octets(input: Vec<u8>) -> Result<Vec<u8>> {
    // No message begins like this: it would have ten thousands of records.
    let is_hex = |octet: &u8| octet.is_ascii_hexdigit() || octet.is_ascii_whitespace() || b":xX".contains(octet);
    let message = if input.iter().take(HEADER_LENGTH).all(is_hex) { from_hex(&input)? } else { input };
    match message.len() {
        0 => Err(Error::new("dns decode: nothing on standard input").hint("mydocker dns decode <MESSAGE")),
        length if length > MOST + 2 || length > MOST && framed(&message).is_none() => Err(too_long()),
        _ => Ok(message),
    }
}

fn from_hex(text: &[u8]) -> Result<Vec<u8>> {
    let mut digits = Vec::new();
    for (at, octet) in text.iter().enumerate() {
        match *octet {
            b'x' | b'X' if at > 0 && text[at - 1] == b'0' => drop(digits.pop()),
            b':' => {}
            octet if octet.is_ascii_whitespace() => {}
            octet => digits.push(char::from(octet).to_digit(16).ok_or_else(|| {
                let octet = octet.escape_ascii();
                Error::new(format!("dns decode: the input begins as hex, but has a `{octet}` at {at}"))
            })? as u8),
        }
    }
    if digits.len() % 2 != 0 {
        return Err(Error::new(format!("dns decode: {} hex digits: half an octet is left over", digits.len())));
    }
    Ok(digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}

/// The message behind the two octets that TCP puts before it, if these are its length.
fn framed(input: &[u8]) -> Option<&[u8]> {
    let (length, message) = input.split_first_chunk()?;
    (usize::from(u16::from_be_bytes(*length)) == message.len()).then_some(message)
}

/// What is to be printed of what came from outside.
fn decode(input: &[u8]) -> String {
    // An ID may look like the length: whichever can be read is meant.
    let framed = framed(input).filter(|message| Message::read(input).is_err() && Message::read(message).is_ok());
    let (before, message) = match framed {
        Some(message) => {
            (format!("{}: the length, as over TCP (RFC 1035 section 4.2.2)\n\n", hex(&input[..2])), message)
        }
        None => (String::new(), input),
    };
    let behind = match Message::read(message).map(|whole| whole.write()) {
        Ok(written) if written == message => "\nWritten by this program it is the same, octet for octet.\n".to_string(),
        Ok(written) => format!("\nWritten by this program, its names compressed, it has {} octets.\n", written.len()),
        Err(_) => String::new(),
    };
    before + &describe(message) + &behind
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A query for `a. A`.
    const QUERY: &[u8] = b"\xab\xcd\x01\0\0\x01\0\0\0\0\0\0\x01a\0\0\x01\0\x01";

    #[test]
    fn hex_and_binary() {
        let text = "abcd 0100:0001\n0000 0x0000 0000 01 61 00 0x00 0X01 00:01";
        assert_eq!(octets(text.into()).unwrap(), QUERY);
        assert_eq!(octets(QUERY.to_vec()).unwrap(), QUERY);
        assert_eq!(octets("0x0x00 aB".into()).unwrap(), [0, 0xab]);
        for wrong in ["abc", "abcd 0100 0001, or so", "xab", "a0xxb", " \n", ""] {
            assert!(octets(wrong.into()).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn no_message_is_longer_than_64_kib() {
        assert!(octets(vec![0; MOST]).is_ok());
        assert!(octets(vec![0; MOST + 1]).is_err() && octets(vec![0; MOST + 2]).is_err());
        assert!(octets([vec![0xff; 2], vec![0; MOST]].concat()).is_ok(), "as over TCP");
        assert!(octets(b"00".repeat(MOST + 1)).is_err());
    }

    #[test]
    fn the_length_of_tcp() {
        let framed = [&[0, QUERY.len() as u8], QUERY].concat();
        assert_eq!(
            decode(&framed),
            format!("00 13: the length, as over TCP (RFC 1035 section 4.2.2)\n\n{}", decode(QUERY))
        );
        // A query whose ID is its length without the ID.
        let query = [&[0, 17], &QUERY[2..]].concat();
        assert!(decode(&query).starts_with("Header of a query of 19 octets"));
    }
}
