//! Fuzz target: whatever JSON comes in as a container's config.json, what is read of it is what it says, is written as
//! such again, and reads back as the same container.

#![no_main]

use std::sync::Once;

use libfuzzer_sys::fuzz_target;

use mydocker_fuzz::bundle::Bundle;
use mydocker_fuzz::json::{parse, Json};

/// What is read, and not written anew each time.
const READ: &[&str] = &[
    "process/terminal",
    "process/user",
    "process/args",
    "process/env",
    "process/cwd",
    "process/noNewPrivileges",
    "process/rlimits",
    "process/oomScoreAdj",
    "root/readonly",
    "hostname",
    "mounts",
    "annotations/org.mydocker.image",
    "annotations/org.mydocker.reference",
    "annotations/org.mydocker.name",
    "annotations/org.mydocker.network",
    "linux/uidMappings",
    "linux/gidMappings",
    "linux/resources/memory",
    "linux/resources/pids",
    "linux/resources/cpu/quota",
    "linux/resources/cpu/cpus",
];

static SEEDS: Once = Once::new();

fuzz_target!(|text: &[u8]| {
    // Where a new field is wanted, no input would get far: mydocker's own documents tell.
    SEEDS.call_once(|| {
        for seed in include_str!("../seeds/bundle").split("\n====\n").skip(1) {
            let json = parse(seed.as_bytes()).expect("a document of mydocker's");
            Bundle::from_json(&json).expect("../seeds/bundle is a container's config.json of this version");
        }
    });
    let Ok(json) = parse(text) else { return };
    let Some(bundle) = Bundle::from_json(&json) else { return };
    let written = bundle.to_json();
    for path in READ {
        let find = |json: &Json| path.split('/').fold(json.clone(), |json, name| json.get(name).clone());
        agree(path, &find(&written), &find(&json));
    }
    let bounding = |json: &Json| json.get("process").get("capabilities").get("bounding").list().to_vec();
    let plain =
        |name: &Json| name.str().unwrap_or_default().to_ascii_uppercase().trim_start_matches("CAP_").to_string();
    let named: Vec<String> = bounding(&json).iter().map(plain).collect();
    assert!(bounding(&written).iter().all(|name| named.contains(&plain(name))), "a capability from nowhere");
    let again = parse(written.to_string().as_bytes()).expect("what we write ourselves");
    let again = Bundle::from_json(&again).expect("what we write ourselves");
    assert_eq!(again, bundle);
});

/// Where both say something it is the same.
fn agree(path: &str, written: &Json, read: &Json) {
    match (written, read) {
        (Json::Null, _) | (_, Json::Null) => {}
        (Json::Object(members), _) => members.iter().for_each(|(name, value)| agree(path, value, read.get(name))),
        (Json::List(elements), _) => {
            assert_eq!(elements.len(), read.list().len(), "{path}");
            elements.iter().zip(read.list()).for_each(|(written, read)| agree(path, written, read));
        }
        _ => assert_eq!(written.to_string(), read.to_string(), "{path}"),
    }
}
