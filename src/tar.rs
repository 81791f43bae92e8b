//! tar(1), GNU's or busybox's: what it is told, and what it says.
//!
//! [`Tar::installed`] finds out once which tar there is; each way of calling it is a list of arguments.
//! [`Complaints`] tells what went wrong from what always does: in a user namespace nobody can make a device node.

use std::ffi::OsString;
use std::io;
use std::path::Path;

use crate::error::{not_started, printable, Context, Error, Result};
use crate::idmap::IdMap;
use crate::sys::{self, Fd, Pid, Program};

/// The kinds of tar whose options we know.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Tar {
    Gnu,
    /// Keeps no xattrs.
    Busybox,
}

/// Those that GNU tar keeps; overlayfs obeys its own, and an image must not set them.
const XATTRS: &[&str] =
    &["--xattrs", "--xattrs-include=security.capability", "--xattrs-include=user.*", "--xattrs-exclude=user.overlay.*"];

/// Names and times are the image's: a clock at 1970 is older than all of them.
const NO_WARNING: &[&str] = &["--warning=no-timestamp"];

/// GNU tar's options. Names and times are the image's: no translation, no warning about a clock.
const GNU_TAR: &[&str] = &[
    "--extract",
    "--file=-",
    "--numeric-owner", // a name of the image says nothing about the ids of this host
    "--preserve-permissions",
    "--delay-directory-restore", // members of a directory may come after others
    "--warning=no-timestamp",
    "--warning=no-unknown-keyword",
    XATTRS[0],
    XATTRS[1],
    XATTRS[2],
    XATTRS[3],
    "--anchored",
    "--exclude=dev/*", // the container gets a /dev of its own
    "--exclude=./dev/*",
    "--blocking-factor=512",
];

const BUSYBOX_TAR: &[&str] = &["-x", "-p", "--numeric-owner", "-f", "-"];

impl Tar {
    /// Asks tar which one it is.
    pub fn installed() -> Result<Tar> {
        sys::why("what tar says of itself");
        let (output, writer) = sys::pipe2().context("pipe2")?;
        let program = Program { name: "tar", arguments: vec!["--version".into()], environment: Vec::new() };
        sys::why("GNU tar keeps xattrs, busybox tar does not know the option");
        let pid = sys::spawn(&program, [None, Some(&writer), Some(&writer)], &[]).map_err(|e| not_started("tar", e))?;
        drop(writer);
        let text = sys::read_to_end(&output, 64 * 1024).context("read tar's version")?;
        sys::why("no zombie stays");
        sys::wait(pid).context("wait4")?;
        let gnu = String::from_utf8_lossy(&text).contains("GNU tar");
        Ok(if gnu { Tar::Gnu } else { Tar::Busybox })
    }

    /// For an archive of all that is in `dir`, on standard output.
    pub fn copy_from(self, dir: &Path) -> Vec<OsString> {
        let xattrs = if self == Tar::Gnu { XATTRS } else { &[] };
        let words = ["-c", "-f", "-", "-C"].iter().map(OsString::from);
        words.chain([dir.into()]).chain(xattrs.iter().map(OsString::from)).chain([".".into()]).collect()
    }

    /// For such an archive's files in `dir`.
    pub fn copy_to(self, dir: &Path, map: &IdMap) -> Vec<OsString> {
        let (xattrs, owner) = match (self, map.is_single()) {
            (Tar::Gnu, false) => (&[XATTRS, NO_WARNING].concat()[..], "--same-owner"),
            (Tar::Gnu, true) => (&[XATTRS, NO_WARNING].concat()[..], "--no-same-owner"),
            (Tar::Busybox, false) => (&[][..], "-p"),
            (Tar::Busybox, true) => (&[][..], "-o"),
        };
        let words = ["-x", "-p", "--numeric-owner", owner, "-f", "-", "-C"];
        let words = words.into_iter().map(OsString::from).chain([dir.into()]);
        words.chain(xattrs.iter().map(OsString::from)).collect()
    }

    /// For the archive of a layer, on standard input, in the working directory.
    pub fn arguments(self, map: &IdMap) -> Vec<OsString> {
        let (options, owner) = match (self, map.is_single()) {
            (Tar::Gnu, false) => (GNU_TAR, "--same-owner"),
            (Tar::Gnu, true) => (GNU_TAR, "--no-same-owner"),
            (Tar::Busybox, false) => (BUSYBOX_TAR, "-p"),
            (Tar::Busybox, true) => (BUSYBOX_TAR, "-o"),
        };
        options.iter().chain([&owner]).map(OsString::from).collect()
    }
}

// ---- where it can write ----

/// Memory that tar may use: a header in an archive can claim gigabytes for a name, and tar would believe it. It takes
/// 3 MB as a rule, and 15 MB for 50,000 directories.
const MEMORY: u64 = 256 << 20;

/// For a process that is going to be tar, in a mount namespace of its own: `dir` alone can be written, and a hard link
/// to what lies outside is one from one mount to another, which link(2) refuses (EXDEV). So no name in an archive
/// leads out, whichever tar it is: busybox's takes a link to `/etc/shadow` as it is. `dir` is the working directory
/// then.
pub fn contain(dir: &Path) -> Result<()> {
    sys::why("what is mounted from here on stays in this mount namespace");
    sys::mount("", "/", "", libc::MS_REC | libc::MS_PRIVATE, "").context("mount(MS_PRIVATE) /")?;
    sys::why("the directory as a mount of its own: no hard link leads out of it");
    sys::mount(dir, dir, "", libc::MS_BIND, "").context(format_args!("mount(MS_BIND) {}", dir.display()))?;
    sys::why("if possible: tar cannot write anywhere (ENOSYS: before Linux 5.12 links alone are refused)");
    match sys::mount_read_only("/") {
        Err(error) if error.raw_os_error() == Some(libc::ENOSYS) => {}
        set => {
            set.context("mount_setattr / read-only")?;
            sys::why("but in its directory");
            sys::mount_writable(dir).context(format_args!("mount_setattr {} writable", dir.display()))?;
        }
    }
    sys::why("tar works here");
    sys::chdir(dir).context(format_args!("chdir {}", dir.display()))?;
    sys::why("a name in an archive may claim any length");
    sys::lower_limit(0, libc::RLIMIT_DATA as _, MEMORY).context("prlimit64(RLIMIT_DATA)")
}

// ---- what it says ----

/// By these words tars say that no room is left.
const FULL: &[&str] = &[": No space left on device", ": Wrote only "];

/// What tar said, in little memory however much it was.
#[derive(Default)]
pub struct Complaints {
    /// Device nodes that nobody can make in a user namespace.
    pub nodes: usize,
    /// The first complaint of another kind.
    first: Option<String>,
}

impl Complaints {
    /// Until tar, which is `pid`, ends. It is ended where the disk is full: it would go on with what is left of the
    /// archive, which may be a bomb, to no use.
    pub fn listen(words: &Fd, pid: Pid) -> io::Result<Complaints> {
        let mut complaints = Complaints::default();
        let mut line = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            sys::why("what it says");
            let length = sys::read(words.raw(), &mut buffer)?;
            for byte in &buffer[..length] {
                match byte {
                    b'\n' => complaints.hear(&String::from_utf8_lossy(&std::mem::take(&mut line))),
                    // A name has up to 4096 bytes, four times as many where each is escaped.
                    byte if line.len() < 20 * 1024 => line.push(*byte),
                    _ => {}
                }
            }
            if length == 0 {
                return Ok(complaints);
            }
            if complaints.first.as_ref().is_some_and(|line| FULL.iter().any(|words| line.contains(words))) {
                sys::why("if possible: the disk is full: tar ends here");
                let _has_ended = sys::kill(pid, libc::SIGKILL);
            }
        }
    }

    fn hear(&mut self, line: &str) {
        let node = line.ends_with(": Cannot mknod: Operation not permitted")
            || line.starts_with("tar: can't create node ") && line.ends_with(": Operation not permitted");
        let remark = line.starts_with("tar: Removing leading ") || line.starts_with("tar: Exiting with failure status");
        if node {
            self.nodes += 1;
        } else if !remark && self.first.is_none() {
            self.first = Some(line.to_string());
        }
    }

    /// tar(1): 0 all is well, 2 something could not be made.
    pub fn judge(self, status: sys::Status) -> Result<()> {
        match self.first {
            _ if status.success() => Ok(()),
            None if status.code() == 2 && self.nodes > 0 => Ok(()),
            None => Err(Error::new(format!("tar failed: {status}"))),
            Some(first) => {
                let hint = HINTS.iter().find(|(words, _)| first.contains(words));
                let error = Error::new(printable(&first));
                Err(match hint {
                    Some((_, advice)) => error.hint(advice),
                    None => error,
                })
            }
        }
    }
}

/// What to do about a complaint of tar.
const HINTS: &[(&str, &str)] = &[
    ("Cannot change ownership", "the image uses ids that you have not: more in /etc/subuid and /etc/subgid would help"),
    ("Wrote only", "is the disk full?"),
    ("Cannot write", "is the disk full?"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_nodes_that_cannot_be_made_are_forgiven() {
        let judge = |text: &str, code: i32| {
            let mut complaints = Complaints::default();
            text.lines().for_each(|line| complaints.hear(line));
            complaints.judge(sys::Status::exited(code))
        };
        let node = "tar: a/b: Cannot mknod: Operation not permitted\n";
        let end = "tar: Exiting with failure status due to previous errors\n";
        assert!(judge(&format!("{node}{node}{end}"), 2).is_ok());
        assert!(judge("tar: Removing leading `/' from member names\n", 0).is_ok());
        assert!(judge(end, 2).is_err());
        assert!(judge(node, 1).is_err());
        assert!(judge(&format!("{node}tar: x: Cannot open: No space left on device\n"), 2).is_err());
        assert!(judge("tar: x\\: Cannot mknod: Operation not permitted: Cannot open: File exists", 2).is_err());
        let ids = "tar: a: Cannot change ownership to uid 70000, gid 5: Invalid argument\n";
        assert!(judge(ids, 2).unwrap_err().message.contains("/etc/subuid"));
    }
}
