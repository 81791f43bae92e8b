//! Fuzz target: whatever archive `mydocker load` is given, what it would unpack goes by digests and lies inside the
//! archive (played/pull.rs claims it), no document of an OCI layout is believed whose digest is another than that of its
//! name, and the user is told one line.
//!
//! The input is in parts: what tar lists; and the files that the load asks for, one after the other.

#![no_main]

use libfuzzer_sys::fuzz_target;

use mydocker_fuzz::claims::{fit_for_terminal, is_digest, parts};
use mydocker_fuzz::idmap::IdMap;
use mydocker_fuzz::load::load;
use mydocker_fuzz::pull;
use mydocker_fuzz::store::Store;
use mydocker_fuzz::sys::{self, Answer, Play};
use mydocker_fuzz::whiteout::Marks;

fuzz_target!(|data: &[u8]| {
    let answers = parts(data).into_iter().map(|part| Answer { output: part.to_vec(), ..Answer::default() });
    sys::play(Play { answers: answers.collect(), version: "tar (GNU tar) 1.34", ..Play::default() });
    // Another than the user's: fuzz.sh says where.
    let root = std::env::var_os("FUZZ_STORE").expect("FUZZ_STORE").into();
    let store = Store { root, marks: Marks::User };
    // An empty tar: what is in it is played.
    let file = sys::memfd_create("archive").expect("a memfd");
    sys::write_all(file.raw(), &[0; 512]).expect("memory");
    let map = IdMap::of_caller().expect("a map");
    let error = load(&store, Some(file.path().as_ref()), Some("linux/amd64"), &map).expect_err("no layer was fetched");
    fit_for_terminal(&error.message);
    let runs = sys::take().runs;
    assert!(runs.len() <= 4 + 20 * 256, "{} runs of tar", runs.len());
    for run in runs.iter().filter(|_| error.message == pull::WOULD_FETCH) {
        let member = run.arguments.last().and_then(|member| member.strip_prefix("blobs/sha256/"));
        if let Some(digits) = member.filter(|digits| is_digest(&format!("sha256:{digits}"))) {
            assert_eq!(sys::digest(&run.output), format!("sha256:{digits}"), "it is not what it is called");
        }
    }
});
