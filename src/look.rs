//! A living container against the host, in text: `mydocker look`.
//!
//! Everything is read from outside, in /proc and in the cgroup's files: nothing enters the container, and nothing in
//! it notices. What a process in there can write itself (its command line, its name) is a stranger's: read up to a
//! bound, escaped, cut at the edge, and of a long list only the beginning is shown. A process that ends meanwhile is
//! left out, and where /proc refuses, the picture says so.
//!
//! [`picture`] is the whole page; each of its parts is a function that names the file which it has its facts from.

use std::path::PathBuf;

use crate::bundle::Bundle;
use crate::error::{printable, Error, Result};
use crate::idmap::Range;
use crate::look_limits::limits;
use crate::look_mounts::mounts;
use crate::look_namespaces::{id_maps, namespaces, ranges};
use crate::look_network::network;
use crate::look_page::Page;
use crate::look_power::power;
use crate::look_processes::{processes, Process};
use crate::state::{self, Status};
use crate::store::Store;
use crate::sys::{self, Pid};

/// What is looked at.
pub struct Subject<'a> {
    pub store: &'a Store,
    pub id: &'a str,
    pub bundle: Option<Bundle>,
    /// Pid 1 of the container.
    pub first: Process,
    pub uids: Vec<Range>,
    pub gids: Vec<Range>,
}

/// The page for a running container: by name, id, or the beginning of one.
pub fn picture(store: &Store, wanted: &str) -> Result<String> {
    let id = state::find(store, wanted)?;
    let listed = state::look(&store.containers().join(&id), &id);
    let (Status::Up { since }, Some(pid)) = (listed.status, listed.pid) else {
        return Err(Error::new(format!("container {wanted} is not running")).hint("mydocker ps -a lists it"));
    };
    // Nobody else is pid 1 of a pid namespace below ours, whatever has become of the number.
    let Some(first) = Process::read(pid).filter(|process| process.inside() == Some(1)) else {
        return Err(Error::new(format!("container {wanted}: its first process, {pid}, is not to be seen"))
            .hint("it has ended just now, or /proc hides it: hidepid in proc(5)"));
    };
    // Whatever cannot be read from here on is left out, or the page says so.
    Ok(sys::if_possible(|| {
        let uids = ranges(pid, "uid_map", "whom the users of the container stand for");
        let gids = ranges(pid, "gid_map", "and its groups");
        draw(&Subject { store, id: &id, bundle: listed.bundle, first, uids, gids }, since)
    }))
}

fn draw(subject: &Subject, since: i64) -> String {
    let mut page = Page::default();
    head(&mut page, subject, since);
    let helper = processes(&mut page, subject);
    namespaces(&mut page, subject);
    id_maps(&mut page, subject);
    limits(&mut page, subject);
    mounts(&mut page, subject);
    network(&mut page, subject, helper);
    power(&mut page, subject);
    page.finished()
}

/// What it was to be: its config.json in the store.
fn head(page: &mut Page, subject: &Subject, since: i64) {
    page.part("CONTAINER");
    let up = state::duration(sys::now() - since);
    match &subject.bundle {
        Some(Bundle { name, reference, hostname, .. }) => {
            let (name, reference, hostname) = (printable(name), printable(reference), printable(hostname));
            page.line(format_args!("{name} = {}, of {reference}, up {up}, hostname {hostname}", subject.id));
        }
        None => page.line(format_args!("{}, up {up}", subject.id)),
    }
}

// ---- reading, for every part ----

/// Of a long list so many entries are read.
pub const MOST_READ: usize = 4096;
/// Where the page cannot say what it should.
pub const REFUSED: &str = "not readable";

/// A file of /proc/PID; `None` where the process has ended, or /proc refuses. One that is too long counts as refused.
pub fn read(pid: Pid, file: &str, why: &'static str) -> Option<String> {
    read_path(format!("/proc/{pid}/{file}"), why)
}

pub fn read_path(path: String, why: &'static str) -> Option<String> {
    sys::why(why);
    let bytes = sys::read_kernel_list(path, 16 << 20).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// Where a symbolic link leads to.
pub fn read_link(path: PathBuf, why: &'static str) -> Option<String> {
    sys::why(why);
    Some(sys::readlink(&path).ok()?.to_string_lossy().into_owned())
}

#[inline(never)] // it is called everywhere
pub fn split(text: &str, at: char) -> Vec<&str> {
    text.split(at).collect()
}

/// Words with any white space between them.
pub fn words(text: &str) -> Vec<&str> {
    text.split_ascii_whitespace().collect()
}

/// One of them; an empty one where there are not so many.
pub fn word<'a>(words: &[&'a str], index: usize) -> &'a str {
    words.get(index).copied().unwrap_or_default()
}

pub fn number(text: &str) -> Option<u32> {
    text.parse().ok()
}

pub fn hex(text: &str) -> Option<u64> {
    u64::from_str_radix(text, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_is_no_word_and_no_number() {
        let all = words(" 0 \t1000\n");
        assert_eq!(all, ["0", "1000"]);
        assert_eq!([1, 2].map(|i| number(word(&all, i))), [Some(1000), None]);
        assert_eq!(["a80425fb", "max", ""].map(hex), [Some(0xa804_25fb), None, None]);
    }
}
