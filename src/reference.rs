//! The name of an image, read as docker reads it: `[host[:port]/]path[:tag][@digest]`. Pure.
//!
//! `busybox` is short for `docker.io/library/busybox:latest`. The first part is a host only when it
//! has a `.` or a `:`, is `localhost`, or has a capital letter, which no path may have. The grammar is
//! that of github.com/distribution/reference.
//!
//! [`Reference::parse`] reads, `to_string()` gives the whole name, [`Reference::file_name`] its name in
//! the store.

use std::fmt;

use crate::digest::is_digest;
use crate::error::{printable, Error, Result};

/// The Hub, as references name it.
pub const HUB: &str = "docker.io";

/// The name of an image, all defaults filled in.
#[derive(Debug, Clone, PartialEq)]
pub struct Reference {
    /// `docker.io`, `host` or `host:port`.
    pub host: String,
    /// Such as `library/busybox`.
    pub path: String,
    /// Always there unless a digest is.
    pub tag: Option<String>,
    /// `sha256:` and 64 hex digits; where it is given, it alone says which image is meant.
    pub digest: Option<String>,
}

impl Reference {
    pub fn parse(text: &str) -> Result<Reference> {
        Reader { text }.read().map_err(|(wrong, at)| {
            let (before, after) = text.split_at(at);
            let there = match after.chars().next() {
                Some(c) => format!("at \"{}\", byte {at}", printable(&c.to_string())),
                None if before.is_empty() => "it is empty".to_string(),
                None => "at its end".to_string(),
            };
            Error::new(format!("image name \"{}\": {wrong} ({there})", printable(text)))
                .hint("[host[:port]/]name[:tag][@sha256:digest]")
        })
    }

    /// What the registry is asked for: the digest, else the tag.
    pub fn version(&self) -> &str {
        self.digest.as_deref().or(self.tag.as_deref()).unwrap_or_default()
    }

    /// The whole name as one path component. No part of a reference may hold a `+`, so the way
    /// back is clear: [`Reference::of_file_name`].
    pub fn file_name(&self) -> String {
        self.to_string().replace('/', "+")
    }

    /// Reads a name that [`Reference::file_name`] made.
    pub fn of_file_name(name: &str) -> Option<Reference> {
        Reference::parse(&name.replace('+', "/")).ok().filter(|reference| reference.file_name() == name)
    }

    /// Without tag and digest, as `docker images` prints it: the Hub's own parts are left out, unless what is left
    /// would mean another image, such as `ghcr.io/a` of `docker.io/ghcr.io/a`.
    pub fn repository(&self) -> String {
        let library = self.path.strip_prefix("library/").filter(|name| !name.contains('/'));
        match (self.host.as_str(), library, self.path.split_once('/')) {
            (HUB, Some(name), _) => name.to_string(),
            (HUB, None, Some((first, _))) if !is_host(first) => self.path.clone(),
            (host, ..) => format!("{host}/{}", self.path),
        }
    }

    /// The whole name as docker shows it: `busybox:latest`.
    pub fn familiar(&self) -> String {
        format!("{}{}", self.repository(), &self.to_string()[self.host.len() + 1 + self.path.len()..])
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}/{}", self.host, self.path)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

/// What is wrong, and the offset of the place.
type Wrong = (&'static str, usize);

struct Reader<'a> {
    text: &'a str,
}

impl Reader<'_> {
    fn read(&self) -> std::result::Result<Reference, Wrong> {
        let (name, digest) = match self.text.split_once('@') {
            Some((name, digest)) => (name, Some(self.digest(digest, name.len() + 1)?)),
            None => (self.text, None),
        };
        let (host, start) = match name.split_once('/') {
            Some((first, _)) if is_host(first) => (self.host(first)?, first.len() + 1),
            _ => (HUB, 0),
        };
        let (path, tag) = match name[start..].split_once(':') {
            Some((path, tag)) => (path, Some(self.tag(tag, start + path.len() + 1)?)),
            None => (&name[start..], None),
        };
        self.path(path, start)?;
        let host = if host == "index.docker.io" { HUB } else { host };
        let library = if host == HUB && !path.contains('/') { "library/" } else { "" };
        let tag = tag.or(if digest.is_none() { Some("latest".to_string()) } else { None });
        let reference = Reference { host: host.to_string(), path: format!("{library}{path}"), tag, digest };
        // It becomes a file's name: NAME_MAX.
        if reference.file_name().len() > 255 {
            return Err(("longer than 255 bytes", self.text.len()));
        }
        Ok(reference)
    }

    fn digest(&self, digest: &str, at: usize) -> std::result::Result<String, Wrong> {
        if is_digest(digest) {
            Ok(digest.to_string())
        } else {
            Err(("a digest is sha256: and 64 lower-case hex digits", at))
        }
    }

    /// domain-name [":" port-number], or an IPv6 address in brackets
    fn host<'a>(&self, host: &'a str) -> std::result::Result<&'a str, Wrong> {
        let (name, port) = match host.rfind(':').filter(|colon| !host[*colon..].contains(']')) {
            Some(colon) => (&host[..colon], Some(&host[colon + 1..])),
            None => (host, None),
        };
        if let Some(port) = port {
            if port.parse::<u16>().is_err() || !port.bytes().all(|b| b.is_ascii_digit()) {
                return Err(("a port is a number up to 65535", name.len() + 1));
            }
        }
        if let Some(address) = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            return match address.parse::<std::net::Ipv6Addr>() {
                Ok(_) => Ok(host),
                Err(_) => Err(("not an IPv6 address", 1)),
            };
        }
        let mut at = 0;
        for label in name.split('.') {
            let bytes = label.as_bytes();
            if let Some(odd) = bytes.iter().position(|b| !b.is_ascii_alphanumeric() && *b != b'-') {
                return Err(("a host is made of letters, digits, '-' and '.'", at + odd));
            }
            if bytes.is_empty() || bytes[0] == b'-' || bytes[bytes.len() - 1] == b'-' {
                return Err(("a host's part begins and ends with a letter or digit", at));
            }
            at += label.len() + 1;
        }
        Ok(host)
    }

    /// [\w][\w.-]{0,127}
    fn tag(&self, tag: &str, at: usize) -> std::result::Result<String, Wrong> {
        let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        let odd = tag.bytes().enumerate().position(|(i, b)| !(word(b) || i > 0 && matches!(b, b'.' | b'-')));
        match odd {
            Some(odd) => Err(("a tag is made of letters, digits, '_', '.' and '-'", at + odd)),
            None if tag.is_empty() => Err(("a tag is missing", at)),
            None if tag.len() > 128 => Err(("a tag has up to 128 characters", at + 128)),
            None => Ok(tag.to_string()),
        }
    }

    /// path-component ["/" path-component]*, each of [a-z0-9]+ joined by `.`, `_`, `__` or dashes
    fn path(&self, path: &str, start: usize) -> std::result::Result<(), Wrong> {
        let mut at = start;
        for component in path.split('/') {
            if component.is_empty() {
                return Err(("a part of the name is missing", at));
            }
            self.component(component.as_bytes(), at)?;
            at += component.len() + 1;
        }
        Ok(())
    }

    fn component(&self, component: &[u8], at: usize) -> std::result::Result<(), Wrong> {
        let alphanumeric = |b: &u8| matches!(b, b'a'..=b'z' | b'0'..=b'9');
        let mut from = 0;
        while from < component.len() {
            let run = component[from..].iter().take_while(|b| !alphanumeric(b)).count();
            let separator = &component[from..from + run];
            let good = match separator {
                [] | b"." | b"_" | b"__" => true,
                dashes => dashes.iter().all(|b| *b == b'-'),
            };
            if !good {
                let upper = separator[0].is_ascii_uppercase();
                let wrong = if upper { "capital letters are not allowed in a name" } else { "not allowed in a name" };
                return Err((wrong, at + from));
            }
            if run > 0 && (from == 0 || from + run == component.len()) {
                return Err(("a part of the name begins and ends with a letter or digit", at + from));
            }
            from += run + component[from + run..].iter().take_while(|b| alphanumeric(b)).count();
        }
        Ok(())
    }
}

fn is_host(first: &str) -> bool {
    first == "localhost" || first.contains(['.', ':']) || first.bytes().any(|b| b.is_ascii_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(text: &str) -> String {
        Reference::parse(text).unwrap_or_else(|error| panic!("{error}")).to_string()
    }

    fn refused(text: &str) -> String {
        match Reference::parse(text) {
            Ok(reference) => panic!("{text:?} was read as {reference}"),
            Err(error) => error.message,
        }
    }

    #[test]
    fn defaults_are_filled_in_as_docker_does() {
        let digest = format!("sha256:{}", "ab".repeat(32));
        for (text, expected) in [
            ("busybox", "docker.io/library/busybox:latest"),
            ("busybox:1.36", "docker.io/library/busybox:1.36"),
            ("user/app", "docker.io/user/app:latest"),
            ("docker.io/busybox", "docker.io/library/busybox:latest"),
            ("index.docker.io/busybox", "docker.io/library/busybox:latest"),
            ("localhost/a", "localhost/a:latest"),
            ("localhost:5000/a/b_c/d__e--f.g:T_1.2-3", "localhost:5000/a/b_c/d__e--f.g:T_1.2-3"),
            ("[::1]:5000/a", "[::1]:5000/a:latest"),
            ("Host/a", "Host/a:latest"),
            (&format!("ghcr.io/a/b@{digest}"), &format!("ghcr.io/a/b@{digest}")),
            (&format!("a:1@{digest}"), &format!("docker.io/library/a:1@{digest}")),
        ] {
            assert_eq!(whole(text), expected);
        }
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        for (text, place) in [
            ("", "it is empty"),
            ("busyBox", "at \"B\", byte 4"),
            ("a:", "at its end"),
            ("a:b c", "at \" \", byte 3"),
            ("a//b", "at \"/\", byte 2"),
            ("-a", "at \"-\", byte 0"),
            ("a..b", "at \".\", byte 1"),
            ("a-", "at \"-\", byte 1"),
            ("../a", "at \".\", byte 0"),
            ("a.b:70000/c", "at \"7\", byte 4"),
            ("a.b:+80/c", "at \"+\", byte 4"),
            ("[::g]/c", "at \":\", byte 1"),
            ("a@sha256:AB", "at \"s\", byte 2"),
            ("a\n", "at \"\\n\", byte 1"),
            ("a:é", "byte 2"),
        ] {
            let message = refused(text);
            assert!(message.contains(place), "{text:?}: {message}");
        }
        assert!(refused(&"a".repeat(300)).contains("255"));
    }

    #[test]
    fn file_names_lead_back() {
        for text in [
            "busybox",
            "localhost:5000/a/b:c",
            "a@sha256:0000000000000000000000000000000000000000000000000000000000000000",
        ] {
            let reference = Reference::parse(text).unwrap();
            assert_eq!(Reference::of_file_name(&reference.file_name()), Some(reference));
        }
        assert_eq!(Reference::of_file_name("0a0b"), None);
        assert_eq!(Reference::parse("docker.io/library/busybox").unwrap().repository(), "busybox");
        assert_eq!(Reference::parse("docker.io/library/busybox").unwrap().familiar(), "busybox:latest");
        assert_eq!(Reference::parse("localhost:5000/a/b:c").unwrap().familiar(), "localhost:5000/a/b:c");
    }

    #[test]
    fn no_short_name_means_another_image() {
        for (text, short) in [
            ("docker.io/ghcr.io/a", "docker.io/ghcr.io/a:latest"),
            ("docker.io/localhost/a", "docker.io/localhost/a:latest"),
            ("docker.io/library/a/b", "library/a/b:latest"),
            ("docker.io/library/a.b", "a.b:latest"),
        ] {
            assert_eq!(Reference::parse(text).unwrap().familiar(), short);
            assert_eq!(whole(short), whole(text));
        }
    }
}
