//! Fuzz target: whatever text comes in as the name of an image or platform, what is read of it is spelled with the
//! few characters that it may have, so it is a safe part of a path, of a URL and of an argument; it reads back as it
//! is printed, whole or as docker shows it, and by the name of its file.
//!
//! The input is the text; it is read as the name of a file of the store, too.

#![no_main]

use libfuzzer_sys::fuzz_target;

use mydocker_fuzz::claims::{fit_for_terminal, is_digest, told, without_end};
use mydocker_fuzz::error::printable;
use mydocker_fuzz::manifest::Platform;
use mydocker_fuzz::reference::Reference;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(without_end(data)) else { return };
    fit_for_terminal(&printable(text));
    if let Some(reference) = told(Reference::parse(text)) {
        is_spelled_well(&reference, text);
        reads_back(&reference);
    }
    if let Some(reference) = Reference::of_file_name(text) {
        assert_eq!(reference.file_name(), text, "two file names for one image");
    }
    if let Some(platform) = told(Platform::parse(text)) {
        assert!(text.starts_with(&platform.to_string()), "{text} became {platform}");
    }
});

fn made_of(text: &str, more: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || more.as_bytes().contains(&byte))
}

fn begins_and_ends_plainly(text: &str) -> bool {
    let plain = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
    plain(text.bytes().next()) && plain(text.bytes().last())
}

fn is_spelled_well(reference: &Reference, text: &str) {
    let host = reference.host.to_ascii_lowercase();
    assert!(made_of(&host, ".-:[]"), "host {host}");
    assert!(begins_and_ends_plainly(&host) || host.starts_with('[') && !host.contains("]-"), "host {host}");
    assert!(!host.contains("..") && !host.contains(".-"), "host {host}");
    if host != "docker.io" {
        assert!(text.to_ascii_lowercase().starts_with(&host), "{text} became a name at {host}");
    }
    for component in reference.path.split('/') {
        assert!(made_of(component, "._-") && begins_and_ends_plainly(component), "path {}", reference.path);
        assert!(!component.contains(".."), "path {}", reference.path);
    }
    if let Some(tag) = &reference.tag {
        let plain = made_of(&tag.to_ascii_lowercase(), "._-") && !tag.starts_with(['.', '-']);
        assert!(plain && (1..=128).contains(&tag.len()), "tag {tag}");
    }
    assert!(reference.digest.as_deref().is_none_or(is_digest));
    assert!(!reference.version().is_empty());
    let file = reference.file_name();
    assert!(file.len() <= 255 && !file.contains('/') && !file.starts_with(['.', '-']), "{file}");
}

fn reads_back(reference: &Reference) {
    let again = |text: &str| Reference::parse(text).unwrap_or_else(|error| panic!("{}", error.message));
    assert_eq!(again(&reference.to_string()), *reference);
    assert_eq!(again(&reference.familiar()), *reference, "docker's short name means another image");
    assert_eq!(Reference::of_file_name(&reference.file_name()).as_ref(), Some(reference));
}
