//! The program's modules as they lie in ../../../src, for the targets beside this file, and what those share: claims.rs.
//! Two modules are played in part, by files of the same names in played: sys.rs starts no program and reads no file of
//! the host's, pull.rs fetches no layer. So a target can be a registry or an archive, and see what the engine makes of it.
//!
//! A target is a `[[bin]]` in ../Cargo.toml, and begins with the inputs in ../seeds.

// The program uses all of it, and is no library.
#![allow(dead_code, clippy::new_without_default, clippy::len_without_is_empty)]

use std::ffi::{c_char, c_int, CString, OsString};
use std::os::unix::ffi::OsStrExt;

pub mod claims;
#[path = "../../../src/sys.rs"]
mod kernel;
#[path = "played/pull.rs"]
pub mod pull;
#[path = "../../../src/pull.rs"]
mod puller;
#[path = "played/sys.rs"]
pub mod sys;

#[path = "../../../src/archive.rs"]
pub mod archive;
#[path = "../../../src/bundle.rs"]
pub mod bundle;
#[path = "../../../src/capabilities.rs"]
pub mod capabilities;
#[path = "../../../src/cgroup.rs"]
pub mod cgroup;
#[path = "../../../src/confine.rs"]
pub mod confine;
#[path = "../../../src/curl.rs"]
pub mod curl;
#[path = "../../../src/digest.rs"]
pub mod digest;
#[path = "../../../src/dns_answer.rs"]
pub mod dns_answer;
#[path = "../../../src/dns_cache.rs"]
pub mod dns_cache;
#[path = "../../../src/dns_fields.rs"]
pub mod dns_fields;
#[path = "../../../src/dns_index.rs"]
pub mod dns_index;
#[path = "../../../src/dns_message.rs"]
pub mod dns_message;
#[path = "../../../src/dns_name.rs"]
pub mod dns_name;
#[path = "../../../src/dns_page.rs"]
pub mod dns_page;
#[path = "../../../src/dns_query.rs"]
pub mod dns_query;
#[path = "../../../src/dns_record.rs"]
pub mod dns_record;
#[path = "../../../src/dns_tables.rs"]
pub mod dns_tables;
#[path = "../../../src/dns_view.rs"]
pub mod dns_view;
#[path = "../../../src/dns_whole.rs"]
pub mod dns_whole;
#[path = "../../../src/error.rs"]
pub mod error;
#[path = "../../../src/facts.rs"]
pub mod facts;
#[path = "../../../src/helper.rs"]
pub mod helper;
#[path = "../../../src/idmap.rs"]
pub mod idmap;
#[path = "../../../src/image.rs"]
pub mod image;
#[path = "../../../src/initramfs.rs"]
pub mod initramfs;
#[path = "../../../src/mountinfo.rs"]
pub mod mountinfo;
#[path = "../../../src/job.rs"]
pub mod job;
#[path = "../../../src/json.rs"]
pub mod json;
#[path = "../../../src/layer.rs"]
pub mod layer;
#[path = "../../../src/load.rs"]
pub mod load;
#[path = "../../../src/login.rs"]
pub mod login;
#[path = "../../../src/manifest.rs"]
pub mod manifest;
#[path = "../../../src/order.rs"]
pub mod order;
#[path = "../../../src/parents.rs"]
pub mod parents;
#[path = "../../../src/progress.rs"]
pub mod progress;
#[path = "../../../src/reference.rs"]
pub mod reference;
#[path = "../../../src/registry.rs"]
pub mod registry;
#[path = "../../../src/rlimits.rs"]
pub mod rlimits;
#[path = "../../../src/rmi.rs"]
pub mod rmi;
#[path = "../../../src/seccomp.rs"]
pub mod seccomp;
#[path = "../../../src/seccomp_table.rs"]
pub mod seccomp_table;
#[path = "../../../src/show.rs"]
pub mod show;
#[path = "../../../src/source.rs"]
pub mod source;
#[path = "../../../src/state.rs"]
pub mod state;
#[path = "../../../src/store.rs"]
pub mod store;
#[path = "../../../src/tar.rs"]
pub mod tar;
#[path = "../../../src/tell.rs"]
pub mod tell;
#[path = "../../../src/terminal.rs"]
pub mod terminal;
#[path = "../../../src/user.rs"]
pub mod user;
#[path = "../../../src/whiteout.rs"]
pub mod whiteout;
#[path = "../../../src/workers.rs"]
pub mod workers;

extern "C" {
    // libFuzzer's, FuzzerInterface.h and FuzzerDriver.cpp
    fn LLVMFuzzerTestOneInput(data: *const u8, size: usize) -> c_int;
    fn LLVMFuzzerRunDriver(
        argc: *mut c_int,
        argv: *mut *mut *mut c_char,
        target: unsafe extern "C" fn(*const u8, usize) -> c_int,
    ) -> c_int;
}

/// What the program's `main`, which is in sys.rs, goes on with: that `main` is the target's, too.
fn entry(arguments: &[OsString]) -> i32 {
    let strings = arguments.iter().map(|argument| CString::new(argument.as_bytes()).expect("an argument"));
    // For ever: libFuzzer keeps what it finds there.
    let argv: Vec<*mut c_char> = strings.map(CString::into_raw).chain([std::ptr::null_mut()]).collect();
    let mut argv = Vec::leak(argv).as_mut_ptr();
    let mut argc = arguments.len() as c_int;
    // SAFETY: argc C strings and a NULL, all of which live on.
    unsafe { LLVMFuzzerRunDriver(&mut argc, &mut argv, LLVMFuzzerTestOneInput) }
}
