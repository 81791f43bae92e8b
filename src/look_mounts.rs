//! What a container sees of file systems: the tree of its mounts, of /proc/PID/mountinfo, and the layers of its root.
//!
//! What every container has (masks, read-only parts of /proc, devices) is names in one row, but only where it is
//! what it shall be: [`Mount::folded`].

use crate::bundle::{MASKED_DIRECTORIES, MASKED_FILES, READ_ONLY_PATHS};
use crate::error::printable;
use crate::look::{number, read, read_link, split, Subject, MOST_READ, REFUSED};
use crate::look_page::{branch, Page};
use crate::mountinfo::unescape;
use crate::store::DEVICES;

/// So many rows are shown, and the rest is counted.
const MOST_MOUNTS: usize = 24;

/// A line of /proc/PID/mountinfo, proc(5); paths as they are there, with `\040` for a space.
#[derive(Debug, PartialEq)]
struct Mount<'a> {
    id: u32,
    parent: u32,
    /// What of the file system is mounted, and where.
    root: &'a str,
    point: &'a str,
    /// Of the mount itself, with commas: `ro`, `nosuid`, ...
    flags: &'a str,
    kind: &'a str,
    source: &'a str,
    /// Of the file system, likewise.
    data: &'a str,
}

impl<'a> Mount<'a> {
    fn parse(line: &'a str) -> Option<Mount<'a>> {
        let fields = split(line, ' ');
        // Optional fields come before the dash: whom propagation reaches.
        let dash = fields.iter().skip(6).position(|field| *field == "-")? + 6;
        let [kind, source, data] = fields.get(dash + 1..dash + 4)? else { return None };
        Some(Mount {
            id: number(fields[0])?,
            parent: number(fields[1])?,
            root: fields[3],
            point: fields[4],
            flags: fields[5],
            kind,
            source,
            data,
        })
    }

    /// What a mount is that every container has and that needs no line of its own. Nothing is taken for a mask that
    /// does not hide: a file needs /dev/null above it, a directory an empty tmpfs that is read-only.
    fn folded(&self) -> Option<&'static str> {
        let read_only = has(self.flags, "ro");
        let device = self.point.strip_prefix("/dev/").filter(|name| DEVICES.contains(name));
        if (MASKED_FILES.contains(&self.point) && self.root.ends_with("/null"))
            || (MASKED_DIRECTORIES.contains(&self.point) && self.kind == "tmpfs" && read_only)
        {
            Some("masked:")
        } else if READ_ONLY_PATHS.contains(&self.point) && self.kind == "proc" && read_only {
            Some("read-only:")
        } else if device.and_then(|name| self.root.strip_suffix(name)).is_some_and(|dir| dir.ends_with('/')) {
            Some("the host's:")
        } else {
            None
        }
    }

    /// Type, flags, and what is mounted, as findmnt(8) writes it: `/dev/vda[/tmp/data]`.
    fn described(&self) -> String {
        // A file system may be read-only as a whole.
        let read_only = has(self.flags, "ro") || has(self.data, "ro");
        let mut text = format!("{:<9} {}", printable(self.kind), if read_only { "ro" } else { "rw" });
        for flag in &["nosuid", "nodev", "noexec"] {
            if has(self.flags, flag) {
                text.extend([" ", flag]);
            }
        }
        for option in split(self.data, ',') {
            if option.starts_with("size=") {
                text.extend([" ", option]);
            }
        }
        match (self.root, self.source == self.kind) {
            ("/", true) => text,
            ("/", false) => format!("{text}  {}", path(self.source)),
            (root, _) => format!("{text}  {}[{}]", path(self.source), path(root)),
        }
    }
}

pub fn has(list: &str, wanted: &str) -> bool {
    split(list, ',').contains(&wanted)
}

/// A path of mountinfo to be shown; one with a space in it in quotes.
fn path(raw: &str) -> String {
    let text = printable(&unescape(raw));
    if text.contains(' ') {
        return format!("\"{text}\"");
    }
    text
}

/// A row of the tree.
struct Row {
    depth: usize,
    name: String,
    columns: String,
}

pub fn mounts(page: &mut Page, subject: &Subject) {
    page.part("MOUNTS");
    let Some(text) = read(subject.first.pid, "mountinfo", "every mount that it sees") else {
        return page.line(format_args!("{REFUSED}"));
    };
    let mut all = Vec::new();
    let lines = split(&text, '\n');
    for line in &lines[..lines.len().min(MOST_READ)] {
        all.extend(Mount::parse(line));
    }
    let rows = mount_rows(&all);
    let depths: Vec<usize> = rows.iter().map(|row| row.depth).collect();
    let shown = rows.len().min(MOST_MOUNTS);
    for (row, Row { name, columns, .. }) in rows[..shown].iter().enumerate() {
        let branch = branch(&depths[row..shown]);
        page.list(&branch);
        page.item(26_usize.saturating_sub(branch.len()), format_args!("{name}"));
        page.word(columns);
    }
    page.more(rows.len() - shown);
    match all.iter().find(|mount| mount.kind == "overlay" && mount.point == "/") {
        Some(root) => overlay(page, subject, root.data),
        None => page.line(format_args!("pid 1 has another root: what is mounted outside it does not show")),
    }
}

/// The mounts in preorder, by the numbers of their parents. Those that every container has are names in one row.
fn mount_rows(all: &[Mount]) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    let mut waiting: Vec<(usize, &Mount)> = Vec::new();
    for mount in all.iter().rev() {
        // The parent of the root is outside: not listed.
        if !all.iter().any(|other| other.id == mount.parent && mount.parent != mount.id) {
            waiting.push((0, mount));
        }
    }
    while let Some((depth, mount)) = waiting.pop() {
        rows.push(Row { depth, name: path(mount.point), columns: mount.described() });
        let first = rows.len();
        let at = waiting.len();
        for child in all.iter().filter(|child| child.parent == mount.id && child.id != mount.id) {
            let Some(kind) = child.folded() else {
                waiting.insert(at, (depth + 1, child)); // the first one is the next to be taken
                continue;
            };
            let name = child.point.strip_prefix(mount.point).unwrap_or(child.point).trim_start_matches('/');
            if !rows[first..].iter().any(|row| row.name == kind) {
                rows.push(Row { depth: depth + 1, name: kind.to_string(), columns: String::new() });
            }
            for row in rows[first..].iter_mut().filter(|row| row.name == kind) {
                row.columns.extend([name, " "]);
            }
        }
    }
    rows
}

/// The layers of the root, topmost first: rootfs.rs mounts them by the names that they have in the image's directory.
fn overlay(page: &mut Page, subject: &Subject, data: &str) {
    page.part("OVERLAY");
    for option in split(data, ',') {
        if let Some(upper) = option.strip_prefix("upperdir=") {
            page.line(format_args!("upper   {} takes what is written", printable(upper.trim_start_matches("../"))));
        } else if let Some(lower) = option.strip_prefix("lowerdir=") {
            page.list("layers  ");
            layers(page, subject, &split(lower, ':'));
        }
    }
}

fn layers(page: &mut Page, subject: &Subject, names: &[&str]) {
    let image = subject.bundle.as_ref().map_or("", |bundle| &bundle.image);
    let image = subject.store.images().join(image);
    for name in names {
        let Some(_) = number(name).filter(|_| !page.is_full()) else {
            page.word(&printable(name.trim_start_matches("../")));
            continue;
        };
        let link = read_link(image.join(name), "which layer it is; a directory of the image's own is no link");
        let link = link.unwrap_or_default();
        let digest = split(&link, '/').last().and_then(|name| name.get(..12)).unwrap_or("own");
        page.item(0, format_args!("{name}={}", printable(digest)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_is_taken_apart() {
        let line = r"76 75 254:0 /a\040b /c\134\012d ro,relatime shared:5 - ext4 /dev/vda rw,discard";
        let mount = Mount::parse(line).unwrap();
        assert_eq!((mount.id, mount.parent), (76, 75));
        assert_eq!((unescape(mount.root), unescape(mount.point)), ("/a b".to_string(), "/c\\\nd".to_string()));
        assert_eq!(mount.described(), "ext4      ro  /dev/vda[\"/a b\"]");
        assert_eq!(path(mount.point), r"/c\\nd");
        assert_eq!(Mount::parse("76 75 254:0 / /"), None);
        assert_eq!(unescape(r"\x\04"), r"\x\04");
    }

    #[test]
    fn only_what_hides_is_a_mask() {
        let folded = |line| Mount::parse(line).unwrap().folded();
        assert_eq!(folded("1 0 0:6 /null /proc/keys rw - devtmpfs devtmpfs rw"), Some("masked:"));
        assert_eq!(folded("1 0 0:6 /zero /proc/keys rw - devtmpfs devtmpfs rw"), None);
        assert_eq!(folded("1 0 0:6 / /proc/acpi ro - tmpfs tmpfs ro"), Some("masked:"));
        assert_eq!(folded("1 0 0:6 / /proc/acpi rw - tmpfs tmpfs ro"), None);
        assert_eq!(folded("1 0 0:6 /sys /proc/sys ro - proc proc rw"), Some("read-only:"));
        assert_eq!(folded("1 0 0:6 /sys /proc/sys rw - proc proc rw"), None);
        assert_eq!(folded("1 0 0:6 /tty /dev/tty rw - devtmpfs devtmpfs rw"), Some("the host's:"));
        assert_eq!(folded("1 0 0:6 /sda /dev/tty rw - devtmpfs devtmpfs rw"), None);
    }

    fn names(lines: &[&str]) -> Vec<(usize, String)> {
        let mounts: Vec<Mount> = lines.iter().filter_map(|line| Mount::parse(line)).collect();
        mount_rows(&mounts).into_iter().map(|row| (row.depth, row.name)).collect()
    }

    #[test]
    fn mounts_become_a_tree() {
        let rows = names(&[
            "1 0 0:1 / / rw - overlay overlay rw",
            "2 1 0:2 / /proc rw - proc proc rw",
            "4 2 0:3 /null /proc/keys rw - tmpfs dev rw",
            "5 2 0:3 /null /proc/kcore rw - tmpfs dev rw",
            "3 1 0:3 / /sys ro - sysfs sysfs rw",
        ]);
        assert_eq!(rows, [(0, "/"), (1, "/proc"), (2, "masked:"), (1, "/sys")].map(|(d, n)| (d, n.to_string())));
        // A circle has no beginning, and does not hang.
        assert_eq!(names(&["1 2 0:1 / /a rw - x x rw", "2 1 0:1 / /b rw - x x rw"]), []);
        assert_eq!(names(&["1 1 0:1 / / rw - x x rw"]).len(), 1);
    }
}
