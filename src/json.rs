//! JSON (RFC 8259) in memory: parse and write. Pure: no system call is made here.
//!
//! Manifests and image configs come from strangers, so the parser is bounded: nesting ends at 64
//! levels, nothing is read twice, and any input ends in a value or an error that names its offset.
//! Strings are **bytes**: a container's argv need not be UTF-8, and must survive the way through
//! `config.json`. A byte that is not part of valid UTF-8 is written as the lone surrogate
//! `\udc80`..`\udcff` and read back as that byte, as Python's `surrogateescape` (PEP 383) does.
//!
//! [`parse`] reads, `to_string()` writes; [`Json::get`], [`Json::str`] and [`Json::list`] look inside.

use std::fmt::{self, Write};

/// Deeper nesting than any OCI document has; recursion stops there.
const MAX_DEPTH: usize = 64;

#[derive(Debug, Clone, PartialEq)]
pub enum Json {
    Null,
    Bool(bool),
    /// The standard's documents hold whole numbers only; one with a fraction or exponent, or a larger one, is kept
    /// as it is written.
    Int(i64),
    Number(String),
    /// A document that was written already; nothing is read as this.
    Written(String),
    Str(Vec<u8>),
    List(Vec<Json>),
    /// In the order of the text; of a name that occurs twice the last one counts, as in Go.
    Object(Vec<(String, Json)>),
}

impl Json {
    /// The member `name` of an object; `Null` where there is none, so that look-ups chain.
    pub fn get(&self, name: &str) -> &Json {
        match self {
            Json::Object(members) => {
                members.iter().rev().find(|(n, _)| n == name).map_or(&Json::Null, |(_, value)| value)
            }
            _ => &Json::Null,
        }
    }

    /// A string that is UTF-8.
    pub fn str(&self) -> Option<&str> {
        self.bytes().and_then(|bytes| std::str::from_utf8(bytes).ok())
    }

    pub fn bytes(&self) -> Option<&[u8]> {
        match self {
            Json::Str(bytes) => Some(bytes),
            _ => None,
        }
    }

    pub fn int(&self) -> Option<i64> {
        match self {
            Json::Int(number) => Some(*number),
            _ => None,
        }
    }

    pub fn bool(&self) -> Option<bool> {
        match self {
            Json::Bool(value) => Some(*value),
            _ => None,
        }
    }

    /// The elements of a list; none where it is not a list (Go writes an empty one as `null`).
    pub fn list(&self) -> &[Json] {
        match self {
            Json::List(elements) => elements,
            _ => &[],
        }
    }

    /// The members of an object; none where it is not one.
    pub fn members(&self) -> &[(String, Json)] {
        match self {
            Json::Object(members) => members,
            _ => &[],
        }
    }

    pub fn is_null(&self) -> bool {
        matches!(self, Json::Null)
    }
}

impl From<&str> for Json {
    fn from(text: &str) -> Json {
        Json::Str(text.as_bytes().to_vec())
    }
}

impl From<String> for Json {
    fn from(text: String) -> Json {
        Json::Str(text.into_bytes())
    }
}

impl From<bool> for Json {
    fn from(value: bool) -> Json {
        Json::Bool(value)
    }
}

impl From<i64> for Json {
    fn from(number: i64) -> Json {
        Json::Int(number)
    }
}

impl From<u32> for Json {
    fn from(number: u32) -> Json {
        Json::Int(number.into())
    }
}

impl<T: Into<Json>> FromIterator<T> for Json {
    fn from_iter<I: IntoIterator<Item = T>>(elements: I) -> Json {
        Json::List(elements.into_iter().map(Into::into).collect())
    }
}

/// An object from a table of names and values: `object([("path", "rootfs".into())])`.
pub fn object<const N: usize>(members: [(&str, Json); N]) -> Json {
    Json::Object(members.into_iter().map(|(name, value)| (name.to_string(), value)).collect())
}

// ---- writing ----

impl fmt::Display for Json {
    /// Compact; members in their own order.
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Json::Null => f.write_str("null"),
            Json::Bool(value) => value.fmt(f),
            Json::Int(number) => number.fmt(f),
            Json::Number(text) | Json::Written(text) => f.write_str(text),
            Json::Str(bytes) => write_string(f, bytes),
            Json::List(elements) => {
                f.write_char('[')?;
                for (i, element) in elements.iter().enumerate() {
                    f.write_str(if i == 0 { "" } else { "," })?;
                    element.fmt(f)?;
                }
                f.write_char(']')
            }
            Json::Object(members) => {
                f.write_char('{')?;
                for (i, (name, value)) in members.iter().enumerate() {
                    f.write_str(if i == 0 { "" } else { "," })?;
                    write_string(f, name.as_bytes())?;
                    f.write_char(':')?;
                    value.fmt(f)?;
                }
                f.write_char('}')
            }
        }
    }
}

/// In stretches without an escape: each run writes two thousand characters.
fn write_string(f: &mut fmt::Formatter, bytes: &[u8]) -> fmt::Result {
    f.write_char('"')?;
    for chunk in bytes.utf8_chunks() {
        let mut rest = chunk.valid();
        while let Some(at) = rest.bytes().position(|byte| matches!(byte, ..b' ' | b'"' | b'\\' | 0x7f)) {
            f.write_str(&rest[..at])?;
            match rest.as_bytes()[at] {
                b'"' => f.write_str("\\\"")?,
                b'\\' => f.write_str("\\\\")?,
                b'\n' => f.write_str("\\n")?,
                byte => write!(f, "\\u{byte:04x}")?,
            }
            rest = &rest[at + 1..];
        }
        f.write_str(rest)?;
        for byte in chunk.invalid() {
            write!(f, "\\udc{byte:02x}")?;
        }
    }
    f.write_char('"')
}

// ---- reading ----

/// Reads one document; anything but white space behind it is an error.
pub fn parse(text: &[u8]) -> Result<Json, String> {
    let mut parser = Parser { text, at: 0 };
    let value = parser.value(0)?;
    parser.space();
    match parser.text.get(parser.at) {
        None => Ok(value),
        Some(_) => Err(parser.wrong("the end")),
    }
}

struct Parser<'a> {
    text: &'a [u8],
    at: usize,
}

impl Parser<'_> {
    fn wrong(&self, expected: &str) -> String {
        format!("not JSON: expected {expected} at byte {}", self.at)
    }

    fn space(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.text.get(self.at) {
            self.at += 1;
        }
    }

    /// Steps over `byte` if it is next.
    fn eat(&mut self, byte: u8) -> bool {
        let there = self.text.get(self.at) == Some(&byte);
        self.at += usize::from(there);
        there
    }

    fn value(&mut self, depth: usize) -> Result<Json, String> {
        if depth > MAX_DEPTH {
            return Err(self.wrong("less nesting"));
        }
        self.space();
        match self.text.get(self.at) {
            Some(b'{') => self.object(depth),
            Some(b'[') => self.list(depth),
            Some(b'"') => self.string().map(Json::Str),
            Some(b't') => self.word("true", Json::Bool(true)),
            Some(b'f') => self.word("false", Json::Bool(false)),
            Some(b'n') => self.word("null", Json::Null),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ => Err(self.wrong("a value")),
        }
    }

    fn word(&mut self, word: &str, value: Json) -> Result<Json, String> {
        if !self.text[self.at..].starts_with(word.as_bytes()) {
            return Err(self.wrong(word));
        }
        self.at += word.len();
        Ok(value)
    }

    fn list(&mut self, depth: usize) -> Result<Json, String> {
        let mut elements = Vec::new();
        self.at += 1;
        self.space();
        if self.eat(b']') {
            return Ok(Json::List(elements));
        }
        loop {
            elements.push(self.value(depth + 1)?);
            self.space();
            if self.eat(b']') {
                return Ok(Json::List(elements));
            }
            if !self.eat(b',') {
                return Err(self.wrong("',' or ']'"));
            }
        }
    }

    fn object(&mut self, depth: usize) -> Result<Json, String> {
        let mut members = Vec::new();
        self.at += 1;
        self.space();
        if self.eat(b'}') {
            return Ok(Json::Object(members));
        }
        loop {
            self.space();
            if self.text.get(self.at) != Some(&b'"') {
                return Err(self.wrong("a member's name"));
            }
            let name = String::from_utf8(self.string()?).map_err(|_| self.wrong("a name in UTF-8"))?;
            self.space();
            if !self.eat(b':') {
                return Err(self.wrong("':'"));
            }
            members.push((name, self.value(depth + 1)?));
            self.space();
            if self.eat(b'}') {
                return Ok(Json::Object(members));
            }
            if !self.eat(b',') {
                return Err(self.wrong("',' or '}'"));
            }
        }
    }

    /// number = [ "-" ] int [ frac ] [ exp ] (RFC 8259 section 6)
    fn number(&mut self) -> Result<Json, String> {
        let start = self.at;
        self.eat(b'-');
        let leading_zero = self.text.get(self.at) == Some(&b'0');
        let digits = self.digits()?;
        if leading_zero && digits > 1 {
            return Err(self.wrong("no leading zero"));
        }
        let mut whole = true;
        if self.eat(b'.') {
            whole = false;
            self.digits()?;
        }
        if self.eat(b'e') || self.eat(b'E') {
            whole = false;
            let _sign = self.eat(b'+') || self.eat(b'-');
            self.digits()?;
        }
        let text = String::from_utf8_lossy(&self.text[start..self.at]);
        Ok(match text.parse() {
            Ok(number) if whole => Json::Int(number),
            _ => Json::Number(text.into_owned()),
        })
    }

    fn digits(&mut self) -> Result<usize, String> {
        let start = self.at;
        while let Some(b'0'..=b'9') = self.text.get(self.at) {
            self.at += 1;
        }
        if self.at == start {
            return Err(self.wrong("a digit"));
        }
        Ok(self.at - start)
    }

    /// A string, its opening quote next. Raw bytes pass as they are.
    fn string(&mut self) -> Result<Vec<u8>, String> {
        let mut out = Vec::new();
        self.at += 1;
        loop {
            let Some(&byte) = self.text.get(self.at) else { return Err(self.wrong("'\"'")) };
            self.at += 1;
            match byte {
                b'"' => return Ok(out),
                b'\\' => self.escape(&mut out)?,
                0..=0x1f => return Err(self.wrong("no control character in a string")),
                byte => out.push(byte),
            }
        }
    }

    fn escape(&mut self, out: &mut Vec<u8>) -> Result<(), String> {
        let Some(&byte) = self.text.get(self.at) else { return Err(self.wrong("an escape")) };
        self.at += 1;
        match byte {
            b'"' | b'\\' | b'/' => out.push(byte),
            b'b' => out.push(8),
            b'f' => out.push(12),
            b'n' => out.push(b'\n'),
            b'r' => out.push(b'\r'),
            b't' => out.push(b'\t'),
            b'u' => self.unicode(out)?,
            _ => return Err(self.wrong("an escape")),
        }
        Ok(())
    }

    /// `\uXXXX`: a character, half of a surrogate pair, or one of our lone surrogates for a raw byte.
    fn unicode(&mut self, out: &mut Vec<u8>) -> Result<(), String> {
        let unit = self.hex4()?;
        let character = match unit {
            0xd800..=0xdbff => {
                if !(self.eat(b'\\') && self.eat(b'u')) {
                    return Err(self.wrong("the second half of a surrogate pair"));
                }
                let low = self.hex4()?;
                if !(0xdc00..=0xdfff).contains(&low) {
                    return Err(self.wrong("the second half of a surrogate pair"));
                }
                0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00)
            }
            0xdc80..=0xdcff => {
                out.push((unit & 0xff) as u8);
                return Ok(());
            }
            unit => unit,
        };
        let character = char::from_u32(character).ok_or_else(|| self.wrong("a character"))?;
        out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        Ok(())
    }

    fn hex4(&mut self) -> Result<u32, String> {
        let digits = self.text.get(self.at..self.at + 4).unwrap_or_default();
        if digits.len() != 4 || !digits.iter().all(u8::is_ascii_hexdigit) {
            return Err(self.wrong("four hex digits"));
        }
        self.at += 4;
        let text = std::str::from_utf8(digits).unwrap_or_default();
        u32::from_str_radix(text, 16).map_err(|_| self.wrong("four hex digits"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let text = r#"{"a":[1,-2,true,false,null,"x\"\\\n\u0001é"],"b":{}}"#;
        let value = parse(text.as_bytes()).unwrap();
        assert_eq!(value.to_string(), text);
        assert_eq!(value.get("a").list()[1].int(), Some(-2));
        assert!(value.get("none").get("deeper").is_null());
    }

    #[test]
    fn bytes_that_are_not_utf8_survive() {
        let value = Json::Str(vec![b'a', 0xff, 0xc3, b'z']);
        assert_eq!(value.to_string(), r#""a\udcff\udcc3z""#);
        assert_eq!(parse(value.to_string().as_bytes()).unwrap(), value);
    }

    #[test]
    fn surrogate_pairs_make_one_character() {
        assert_eq!(parse(br#""\ud83d\ude00""#).unwrap().str(), Some("😀"));
        assert!(parse(br#""\ud83d""#).is_err());
        assert!(parse(br#""\udc00""#).is_err());
    }

    #[test]
    fn what_is_wrong_is_refused_with_its_offset() {
        for text in ["", "{", "[1,]", "{\"a\"}", "01", "1.", "nul", "\"\x01\"", "[] []", "-", "\"\\u12\"", "{1:2}"] {
            assert!(parse(text.as_bytes()).is_err(), "{text:?} was accepted");
        }
        assert!(parse(b"[1,]").unwrap_err().contains("byte 3"));
    }

    #[test]
    fn nesting_is_bounded() {
        let text = "[".repeat(100_000);
        assert!(parse(text.as_bytes()).unwrap_err().contains("nesting"));
    }

    #[test]
    fn the_last_of_two_members_counts() {
        assert_eq!(parse(br#"{"a":1,"a":2}"#).unwrap().get("a").int(), Some(2));
    }
}
