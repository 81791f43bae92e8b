//! What several targets claim of what they get, and how an input falls into parts.

/// An input without the end of its last line, which a file of text has.
pub fn without_end(data: &[u8]) -> &[u8] {
    data.strip_suffix(b"\n").unwrap_or(data)
}

/// The parts of an input: what stands between lines `----`, each without the end of its last line.
pub fn parts(data: &[u8]) -> Vec<&[u8]> {
    const LINE: &[u8] = b"\n----\n";
    let mut parts = Vec::new();
    let mut rest = without_end(data);
    while let Some(at) = rest.windows(LINE.len()).position(|window| window == LINE) {
        parts.push(&rest[..at]);
        rest = &rest[at + LINE.len()..];
    }
    parts.push(rest);
    parts
}

/// The first parts, which must be text, and the others.
pub fn texts_and_parts<const N: usize>(data: &[u8]) -> Option<([&str; N], Vec<&[u8]>)> {
    let mut parts = parts(data);
    if parts.len() < N {
        return None;
    }
    let rest = parts.split_off(N);
    let texts: Option<Vec<&str>> = parts.into_iter().map(|part| std::str::from_utf8(part).ok()).collect();
    Some((texts?.try_into().ok()?, rest))
}

/// What may be shown to the user: one line, nothing in it that steers a terminal, turns the direction of writing or
/// takes no room.
pub fn fit_for_terminal(text: &str) {
    let steers = |c: char| {
        let unseen =
            matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
        c.is_control() || unseen
    };
    assert!(!text.contains(steers), "{text:?}");
}

/// The outcome, whose error the user may see.
pub fn told<T>(outcome: crate::error::Result<T>) -> Option<T> {
    outcome.map_err(|error| fit_for_terminal(&error.message)).ok()
}

/// What may be a part of a path: digits of a digest.
pub fn is_hex(digits: &str) -> bool {
    digits.len() == 64 && digits.chars().all(|c| matches!(c, '0'..='9' | 'a'..='f'))
}

pub fn is_digest(text: &str) -> bool {
    text.split_once(':').is_some_and(|(algorithm, digits)| algorithm == "sha256" && is_hex(digits))
}
