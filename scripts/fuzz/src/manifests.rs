//! Fuzz target: whatever documents a registry or archive has, those that are taken name their content by `sha256:`
//! and 64 lower-case hex digits alone, which are what gets into paths and URLs; no document means two things; the
//! search for a platform ends after few of them.
//!
//! The input is in parts: a platform, the media type of the first document, that document, and those that are fetched
//! one after the other.

#![no_main]

use libfuzzer_sys::fuzz_target;

use mydocker_fuzz::claims::{is_digest, is_hex, texts_and_parts, told};
use mydocker_fuzz::error::printable;
use mydocker_fuzz::json::{parse, Json};
use mydocker_fuzz::manifest::{choose, contents, diff_ids, read, Descriptor, Document, Platform, Shape};

/// Media types, and whether they are of an index.
const NAMED: [(&str, bool); 4] = [
    ("application/vnd.oci.image.index.v1+json", true),
    ("application/vnd.docker.distribution.manifest.list.v2+json", true),
    ("application/vnd.oci.image.manifest.v1+json", false),
    ("application/vnd.docker.distribution.manifest.v2+json", false),
];

fuzz_target!(|data: &[u8]| {
    let Some(([platform, content_type], documents)) = texts_and_parts(data) else { return };
    // What is asked for is the user's own word, and is shown as it is.
    let platform = Some(platform).filter(|text| printable(text) == *text).and_then(|text| Platform::parse(text).ok());
    let platform = platform.unwrap_or_else(Platform::here);
    let document =
        |bytes: &[u8]| Document { bytes: bytes.to_vec(), digest: String::new(), content_type: String::new() };
    let Some((top, nested)) = documents.split_first() else { return };
    for document in &documents {
        is_read_as_one_thing(document);
    }
    let mut fetched = Vec::new();
    let top = Document { content_type: content_type.to_string(), ..document(top) };
    let chosen = choose(top, &platform, "it", &mut |descriptor| {
        is_safe(descriptor);
        fetched.push(descriptor.clone());
        Ok(document(nested.get((fetched.len() - 1) % nested.len().max(1)).unwrap_or(&&b""[..])))
    });
    assert!(fetched.len() <= 16, "{} documents were fetched", fetched.len());
    if let Some((document, json)) = told(chosen) {
        assert_eq!(parse(&document.bytes).expect("read already"), json);
        assert!(matches!(read(&document.bytes, ""), Ok((Shape::Manifest, _))));
    }
});

fn is_safe(descriptor: &Descriptor) {
    assert!(is_digest(&descriptor.digest), "{}", descriptor.digest);
    assert!(is_hex(descriptor.hex()));
    assert_eq!(descriptor.blob_name(), format!("blobs/sha256/{}", &descriptor.digest[7..]));
}

fn is_read_as_one_thing(document: &[u8]) {
    let Ok(json) = parse(document) else { return };
    if let Some((shape, read)) = told(read(document, "")) {
        let (manifests, layers) = (!json.get("manifests").is_null(), !json.get("layers").is_null());
        assert_eq!((manifests, layers), (shape == Shape::Index, shape == Shape::Manifest));
        assert_eq!(read, json);
        let media_type = json.get("mediaType").str().unwrap_or_default();
        let lies = NAMED.iter().any(|(name, is_index)| *name == media_type && *is_index != manifests);
        assert!(!lies, "{media_type} as {shape:?}");
    }
    if let Some((config, layers)) = told(contents(&json)) {
        is_safe(&config);
        assert_eq!(layers.len(), json.get("layers").list().len());
        for (layer, json) in layers.iter().zip(json.get("layers").list()) {
            is_safe(layer);
            assert!(json.get("urls").list().is_empty(), "a layer from elsewhere");
            assert_eq!(json.get("size").int(), i64::try_from(layer.size).ok());
        }
    }
    if let Some(ids) = told(diff_ids(&json)) {
        assert!((1..=480).contains(&ids.len()));
        assert!(ids.iter().all(|id| is_digest(id)));
        let named: Vec<Option<&str>> = json.get("rootfs").get("diff_ids").list().iter().map(Json::str).collect();
        assert_eq!(ids.iter().map(|id| Some(id.as_str())).collect::<Vec<_>>(), named);
    }
}
