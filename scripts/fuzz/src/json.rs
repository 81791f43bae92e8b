//! Fuzz target: whatever bytes come in as JSON, json.rs takes what RFC 8259 allows and nothing else, makes of it what
//! a second reading does that was written apart from it, and reads back what it writes, which is one line.

#![no_main]

use libfuzzer_sys::fuzz_target;

use mydocker_fuzz::claims::fit_for_terminal;
use mydocker_fuzz::json::{parse, Json};

/// As json.rs has it: so many brackets may be open around a value.
const MAX_DEPTH: usize = 64;

/// A document as a row of what stands in it.
#[derive(Debug, PartialEq)]
enum Token {
    Open(u8),
    Close(u8),
    Name(Vec<u8>),
    Str(Vec<u8>),
    /// A number as it is written, or a word.
    Plain(String),
}

fuzz_target!(|text: &[u8]| {
    let value = match parse(text) {
        Ok(value) => value,
        Err(error) => {
            fit_for_terminal(&error);
            return assert!(second_reading(text).is_none(), "refused: {error}");
        }
    };
    let mut tokens = Vec::new();
    flatten(&value, &mut tokens);
    assert_eq!(second_reading(text).expect("no JSON, but accepted"), tokens);
    let written = value.to_string();
    assert!(!written.bytes().any(|byte| byte < b' ' || byte == 0x7f), "{written:?}");
    let again = parse(written.as_bytes()).expect("what we write ourselves");
    assert_eq!(again, value);
    assert_eq!(again.to_string(), written);
    the_last_member_counts(&value);
});

fn the_last_member_counts(value: &Json) {
    for (number, (name, _)) in value.members().iter().enumerate() {
        let later = value.members()[number..].iter().rfind(|(other, _)| other == name);
        assert_eq!(value.get(name), &later.expect("itself").1);
    }
}

fn flatten(value: &Json, tokens: &mut Vec<Token>) {
    match value {
        Json::Null => tokens.push(Token::Plain("null".to_string())),
        Json::Bool(value) => tokens.push(Token::Plain(value.to_string())),
        Json::Int(number) => tokens.push(Token::Plain(number.to_string())),
        Json::Number(text) => tokens.push(Token::Plain(text.clone())),
        Json::Written(_) => unreachable!("nothing is read as this"),
        Json::Str(bytes) => tokens.push(Token::Str(bytes.clone())),
        Json::List(elements) => {
            tokens.push(Token::Open(b'['));
            elements.iter().for_each(|element| flatten(element, tokens));
            tokens.push(Token::Close(b']'));
        }
        Json::Object(members) => {
            tokens.push(Token::Open(b'{'));
            for (name, value) in members {
                tokens.push(Token::Name(name.clone().into_bytes()));
                flatten(value, tokens);
            }
            tokens.push(Token::Close(b'}'));
        }
    }
}

// ---- the second reading: no recursion, a list of open brackets and of what may come next ----

#[derive(Clone, Copy, PartialEq)]
enum Next {
    Value,
    /// Behind `[` or `{`.
    ValueOrEnd,
    NameOrEnd,
    Name,
    CommaOrEnd,
}

fn second_reading(text: &[u8]) -> Option<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut open: Vec<u8> = Vec::new();
    let mut next = Next::Value;
    let mut rest = without_space(text);
    while let Some((&first, behind)) = rest.split_first() {
        let is_end = matches!(first, b']' | b'}');
        let after_value = Next::CommaOrEnd;
        (next, rest) = match (next, first) {
            (Next::ValueOrEnd | Next::NameOrEnd | Next::CommaOrEnd, _) if is_end => {
                if open.pop()? != first - 2 {
                    return None; // `]` and `}` are two behind what opens them
                }
                tokens.push(Token::Close(first));
                (after_value, behind)
            }
            (Next::CommaOrEnd, b',') => match open.last()? {
                b'[' => (Next::Value, behind),
                _ => (Next::Name, behind),
            },
            (Next::Name | Next::NameOrEnd, b'"') => {
                let (name, behind) = string(behind)?;
                std::str::from_utf8(&name).ok()?;
                tokens.push(Token::Name(name));
                (Next::Value, without_space(behind).strip_prefix(b":")?)
            }
            (Next::Value | Next::ValueOrEnd, _) if open.len() > MAX_DEPTH => return None,
            (Next::Value | Next::ValueOrEnd, b'[' | b'{') => {
                open.push(first);
                tokens.push(Token::Open(first));
                (if first == b'[' { Next::ValueOrEnd } else { Next::NameOrEnd }, behind)
            }
            (Next::Value | Next::ValueOrEnd, b'"') => {
                let (bytes, behind) = string(behind)?;
                tokens.push(Token::Str(bytes));
                (after_value, behind)
            }
            (Next::Value | Next::ValueOrEnd, _) => {
                let is_part = |byte: &&u8| byte.is_ascii_alphanumeric() || b"+-.".contains(byte);
                let (word, behind) = rest.split_at(rest.iter().take_while(is_part).count());
                tokens.push(Token::Plain(plain(std::str::from_utf8(word).ok()?)?));
                (after_value, behind)
            }
            _ => return None,
        };
        rest = without_space(rest);
        if open.is_empty() {
            break;
        }
    }
    let is_whole = rest.is_empty() && open.is_empty() && next == Next::CommaOrEnd;
    is_whole.then_some(tokens)
}

fn without_space(text: &[u8]) -> &[u8] {
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
    &text[text.iter().position(|byte| !is_space(byte)).unwrap_or(text.len())..]
}

/// A word, or a number as json.rs would write it.
fn plain(word: &str) -> Option<String> {
    if matches!(word, "null" | "true" | "false") {
        return Some(word.to_string());
    }
    let number = word.strip_prefix('-').unwrap_or(word);
    let (mantissa, exponent) = match number.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent.strip_prefix(['+', '-']).unwrap_or(exponent))),
        None => (number, None),
    };
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (mantissa, None),
    };
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let good = digits(whole)
        && (whole == "0" || !whole.starts_with('0'))
        && fraction.is_none_or(digits)
        && exponent.is_none_or(digits);
    // -0 is 0, the one whole number that can be written in two ways.
    let is_int = fraction.is_none() && exponent.is_none();
    good.then(|| if is_int && word == "-0" { "0".to_string() } else { word.to_string() })
}

/// The rest of a string, its opening quote gone; and what is behind it.
fn string(mut text: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut out = Vec::new();
    loop {
        let end = text.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1f))?;
        let (before, behind) = text.split_at(end);
        out.extend_from_slice(before);
        text = match behind {
            [b'"', behind @ ..] => return Some((out, behind)),
            [b'\\', b'u', behind @ ..] => {
                let (bytes, behind) = characters(behind)?;
                out.extend(bytes);
                behind
            }
            [b'\\', escape, behind @ ..] => {
                let at = b"\"\\/bfnrt".iter().position(|known| known == escape)?;
                out.push(b"\"\\/\x08\x0c\n\r\t"[at]);
                behind
            }
            _ => return None,
        };
    }
}

/// What one escape `\uXXXX`, or two that are a pair, stand for: json.rs says what a lone `\udc80` and the like mean.
fn characters(text: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let unit = |text: &[u8]| {
        let digits = text.get(..4)?.iter().map(|digit| char::from(*digit).to_digit(16));
        digits
            .collect::<Option<Vec<u32>>>()
            .map(|digits| digits.iter().fold(0, |unit, digit| unit << 4 | *digit as u16))
    };
    let first = unit(text)?;
    let behind = &text[4..];
    if let 0xdc80..=0xdcff = first {
        return Some((vec![first as u8], behind));
    }
    if let Ok(character) = String::from_utf16(&[first]) {
        return Some((character.into_bytes(), behind));
    }
    let behind = behind.strip_prefix(b"\\u")?;
    let pair = String::from_utf16(&[first, unit(behind)?]).ok()?;
    (pair.chars().count() == 1).then(|| (pair.into_bytes(), &behind[4..]))
}
