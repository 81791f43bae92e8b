//! /proc/PID/mountinfo, a line for each mount: proc_pid_mountinfo(5). Pure.
//!
//! `ID PARENT DEVICE ROOT POINT FLAGS OPTIONAL... - TYPE SOURCE OPTIONS`. look_mounts.rs draws all of it; here is what
//! others ask.

use std::path::{Path, PathBuf};

/// mountinfo has space, tab, newline and backslash as `\040` and so on.
pub fn unescape(text: &str) -> String {
    let mut out = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        if let [b'\\', a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', tail @ ..] = rest {
            out.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
            rest = tail;
        } else {
            out.push(*first);
            rest = tail;
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Whether the mount at `/` is its own parent: `ID PARENT DEVICE ROOT POINT ...`.
pub fn is_own_parent(mountinfo: &str) -> bool {
    mountinfo.lines().any(|line| {
        let columns: Vec<&str> = line.split(' ').take(5).collect();
        columns.len() == 5 && columns[4] == "/" && columns[0] == columns[1]
    })
}

/// The mounts on `/` itself, and their types; not those on them.
pub fn topmost(mountinfo: &str) -> Vec<(PathBuf, String)> {
    let mut found: Vec<(PathBuf, String)> = Vec::new();
    for line in mountinfo.lines() {
        let (Some(point), Some((_, rest))) = (line.split(' ').nth(4), line.split_once(" - ")) else { continue };
        let point = PathBuf::from(unescape(point));
        if point != Path::new("/") && !found.iter().any(|(above, _)| point.starts_with(above)) {
            found.push((point, rest.split(' ').next().unwrap_or_default().to_string()));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rootfs_is_its_own_parent() {
        let mounts = |root: &str| format!("{root} / / rw shared:1 - x x rw\n20 1 0:21 / /proc rw - proc proc rw\n");
        assert!(is_own_parent(&mounts("1 1 0:2")));
        assert!(!is_own_parent(&mounts("30 1 0:2")));
        assert!(!is_own_parent("") && !is_own_parent("1 1 0:2 / /x rw"));
    }

    #[test]
    fn mounts_on_mounts_go_with_them() {
        let text = "1 1 0:2 / / rw - rootfs x rw\n2 1 0:3 / /proc rw - proc p rw\n3 2 0:4 / /proc/x rw - tmpfs t rw\n\
                    4 1 0:5 / /a\\040b rw shared:1 - sysfs s rw\n";
        let wanted = [("/proc", "proc"), ("/a b", "sysfs")].map(|(point, kind)| (point.into(), kind.to_string()));
        assert_eq!(topmost(text), wanted);
    }
}
