//! Fuzz target: whatever tar lists and complains of, and whatever a layer's files are called, a name that is taken
//! leads to a member of that archive, and is no option of tar's and no pattern; a whiteout hides a name in its own
//! directory; the user is told one line.
//!
//! The input is in parts: names, a line each; what tar lists; what it complains of.

#![no_main]

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use libfuzzer_sys::fuzz_target;

use mydocker_fuzz::archive::Archive;
use mydocker_fuzz::claims::{parts, told};
use mydocker_fuzz::source::decompressor;
use mydocker_fuzz::store::Store;
use mydocker_fuzz::sys::{self, Answer, Play, Status};
use mydocker_fuzz::tar::Complaints;
use mydocker_fuzz::whiteout::{hides, Hides, Marks, PREFIX};

fuzz_target!(|data: &[u8]| {
    let [names, list, words] = parts(data)[..] else { return };
    for name in names.split(|byte| [b'\n', b'/', 0].contains(byte)).filter(|name| name.starts_with(PREFIX)) {
        if let Some(Hides::Name(name)) = hides(OsStr::from_bytes(name)) {
            assert!(!matches!(name.as_bytes(), b"" | b"." | b".."), "{name:?}");
            assert!(!name.as_bytes().starts_with(PREFIX), "a whiteout of a whiteout");
        }
    }
    told(decompressor(names, "it"));
    complain(words, names.len() as i32 % 3);
    let list = Answer { output: list.to_vec(), errors: words.to_vec(), code: i32::from(words.starts_with(b"!")) };
    look_up(&String::from_utf8_lossy(names), list, if names.len() % 2 == 0 { "tar (GNU tar) 1.34" } else { "BusyBox" });
});

fn complain(words: &[u8], code: i32) {
    let (reader, writer) = sys::pipe2().expect("a pipe");
    sys::write_all(writer.raw(), words).expect("room in a pipe");
    drop(writer);
    let complaints = Complaints::listen(&reader, 1).expect("a pipe");
    let nodes = complaints.nodes;
    let is_well = told(complaints.judge(Status::exited(code))).is_some();
    assert!(!is_well || code == 0 || code == 2 && nodes > 0, "what tar could not do is forgiven");
}

fn look_up(names: &str, list: Answer, version: &'static str) {
    let listed = String::from_utf8_lossy(&list.output).into_owned();
    let found = Answer { output: b"found".to_vec(), ..Answer::default() };
    let answers = [list].into_iter().chain(std::iter::repeat_n(found, 64)).collect();
    sys::play(Play { answers, version, ..Play::default() });
    // An empty tar: what is in it is played.
    let file = sys::memfd_create("archive").expect("a memfd");
    sys::write_all(file.raw(), &[0; 512]).expect("memory");
    let store = Store { root: "/nowhere".into(), marks: Marks::User };
    if let Some(archive) = told(Archive::open(Some(file.path().as_ref()), &store)) {
        for name in names.lines().take(64) {
            let size = told(archive.size(name)).flatten();
            let before = sys::runs();
            let read = told(archive.read(name, 100));
            assert_eq!(read.is_some(), size.is_some(), "{name}");
            assert_eq!(sys::runs() - before, usize::from(read.is_some()));
        }
    }
    for run in sys::take().runs.iter().skip(2) {
        let at = run.arguments.iter().position(|argument| argument == "--").expect("-- before a name");
        let [member] = &run.arguments[at + 1..] else { panic!("{:?}", run.arguments) };
        assert!(run.arguments[..at]
            .iter()
            .all(|own| ["-xO", "-f", "/proc/self/fd/0", "--occurrence=1"].contains(&&own[..])));
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-+:=@/".contains(&byte);
        assert!(!member.is_empty() && member.bytes().all(plain), "{member}");
        // It is a plain file's line that it comes from, and it leads nowhere else.
        let is_it =
            |line: &str| line.trim_start().starts_with('-') && line.split_whitespace().any(|word| word == member);
        assert!(listed.lines().any(is_it), "{member} is not in {listed}");
        let mut depth = 0;
        for part in member.split('/') {
            depth += match part {
                "." => 0,
                ".." => -1,
                _ => 1,
            };
            assert!(depth >= 0 && !part.is_empty(), "{member} leads out");
        }
    }
}
