//! Fuzz target: whatever a header `WWW-Authenticate` and docker's config.json hold, a challenge is read back as it is
//! read, of nothing that the header does not say; and a login is what config.json has for that very registry, in
//! characters that a header may have.
//!
//! The input is in parts: a host, config.json, and headers.

#![no_main]

use libfuzzer_sys::fuzz_target;

use mydocker_fuzz::claims::{texts_and_parts, told};
use mydocker_fuzz::json::{parse, Json};
use mydocker_fuzz::login::{challenges, of_host, Challenge, Login};
use mydocker_fuzz::sys::{play, Play};

fuzz_target!(|data: &[u8]| {
    let Some(([host, config], headers)) = texts_and_parts(data) else { return };
    for header in headers {
        if let Ok(header) = std::str::from_utf8(header) {
            a_header_is_read(header);
        }
    }
    play(Play { config: Some(config.into()), ..Play::default() });
    // A host comes from a name that was read already.
    let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b".-:[]".contains(&byte);
    if !host.is_empty() && host.bytes().all(is_host) {
        a_login_is_found(host, config);
    }
});

const NAMES: [&str; 4] = ["realm", "service", "scope", "error"];

fn a_header_is_read(header: &str) {
    let read = challenges(header);
    let mut length = 0;
    for challenge in &read {
        let odd = [' ', '\t', ',', '='];
        assert!(!challenge.scheme.is_empty() && !challenge.scheme.contains(odd), "scheme {}", challenge.scheme);
        assert!(header.contains(&challenge.scheme));
        length += challenge.scheme.len();
        for value in NAMES.iter().filter_map(|name| challenge.get(name)) {
            length += value.len();
            assert!(occurs_in_order(value, header), "{value} in {header}");
        }
    }
    assert!(length <= header.len());
    // Written anew, in quotes, it says the same.
    let written: Vec<String> = read.iter().map(write).collect();
    let again = challenges(&written.join(", "));
    assert_eq!(again.iter().map(write).collect::<Vec<_>>(), written);
}

fn write(challenge: &Challenge) -> String {
    let quoted = |value: &str| value.replace('\\', "\\\\").replace('"', "\\\"");
    let values = NAMES.iter().filter_map(|name| Some(format!("{name}=\"{}\"", quoted(challenge.get(name)?))));
    format!("{} {}", challenge.scheme, values.collect::<Vec<_>>().join(","))
}

fn occurs_in_order(part: &str, text: &str) -> bool {
    let mut characters = text.chars();
    part.chars().all(|wanted| characters.any(|c| c == wanted))
}

fn a_login_is_found(host: &str, config: &str) {
    let Some(login) = told(of_host(host)).flatten() else { return };
    let config = parse(config.as_bytes()).expect("read already");
    let entries = config.get("auths").members().iter();
    let mut entries = entries.filter(|(name, _)| names(name, host)).map(|(_, entry)| entry);
    let says = |entry: &Json, member: &str, text: &str| entry.get(member).str() == Some(text);
    match login {
        Login::Basic(basic) => {
            let base64 = |byte: u8| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte);
            assert!(!basic.is_empty() && basic.bytes().all(base64), "{basic}");
            assert!(entries.any(|entry| says(entry, "auth", &basic)), "a login of another registry");
        }
        Login::Identity(token) => {
            assert!(!token.is_empty() && entries.any(|entry| says(entry, "identitytoken", &token)));
        }
    }
}

/// Whether a member of `auths` is this registry's: by its host, alone or in a URL.
fn names(name: &str, host: &str) -> bool {
    let hub = ["docker.io", "index.docker.io", "registry-1.docker.io"];
    let mut hosts = if host == "docker.io" { hub.to_vec() } else { vec![host] };
    hosts.retain(|host| {
        let place = name.find(host).filter(|at| name[..*at].is_empty() || name[..*at].ends_with("://"));
        place.is_some_and(|at| name[at + host.len()..].is_empty() || name[at + host.len()..].starts_with('/'))
    });
    !hosts.is_empty()
}
