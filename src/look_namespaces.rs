//! The namespaces of a container, namespaces(7), and whom its users and groups stand for, user_namespaces(7): of the
//! links in /proc/PID/ns, and of /proc/PID/uid_map and gid_map.

use crate::idmap::{self, Range};
use crate::look::{number, read, read_link, split, word, Subject, REFUSED};
use crate::look_page::{Page, HALF};
use crate::sys::Pid;

/// Each has an inode number, to be read from its link.
pub fn namespaces(page: &mut Page, subject: &Subject) {
    page.part("NAMESPACES");
    page.list("");
    let pid = subject.first.pid;
    for name in &["user", "mnt", "pid", "net", "ipc", "uts", "cgroup", "time"] {
        let host =
            read_link(format!("/proc/self/ns/{name}").into(), "the namespace that this process is in, the host's");
        let Some(here) = host.and_then(inode) else { continue };
        let container = read_link(format!("/proc/{pid}/ns/{name}").into(), "and the container's");
        match container.and_then(inode) {
            None => page.item(HALF, format_args!("{name:<7} {REFUSED}")),
            Some(there) if there == here => page.item(HALF, format_args!("{name:<7} {there} same as the host's")),
            Some(there) => page.item(HALF, format_args!("{name:<7} {there} own (host: {here})")),
        }
    }
}

/// The number in `user:[4026531837]`.
fn inode(target: String) -> Option<u32> {
    number(word(&split(&target, '['), 1).trim_end_matches(']'))
}

pub fn id_maps(page: &mut Page, subject: &Subject) {
    page.part("ID MAPS");
    page.list("uid  ");
    id_map(page, &subject.uids);
    page.list("gid  ");
    id_map(page, &subject.gids);
}

fn id_map(page: &mut Page, ranges: &[Range]) {
    for range in ranges {
        let (there, here) = (ids(range.inside, range.count), ids(range.outside, range.count));
        page.item(0, format_args!("container {there} = host {here}  "));
    }
    if ranges.is_empty() {
        page.word(REFUSED);
    }
}

/// `100000-165535`, or one number alone.
fn ids(first: u32, count: u32) -> String {
    match count {
        0 | 1 => first.to_string(),
        count => format!("{first}-{}", first.wrapping_add(count - 1)),
    }
}

/// The ranges of `uid_map` or `gid_map`.
pub fn ranges(pid: Pid, file: &str, why: &'static str) -> Vec<Range> {
    idmap::parse(&read(pid, file, why).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_ranges() {
        assert_eq!([ids(1000, 1), ids(1, 65_536), ids(0, u32::MAX)], ["1000", "1-65536", "0-4294967294"]);
    }

    #[test]
    fn a_namespace_is_a_number() {
        let inode = |target: &str| inode(target.to_string());
        assert_eq!(inode("user:[4026531837]"), Some(4_026_531_837));
        assert_eq!([inode("/usr/bin/true"), inode("user:[x]")], [None, None]);
    }
}
