//! What a container is made of, tried: namespaces, ids, file systems, the way into the new root, devices.
//!
//! A child makes what rootfs.rs makes, in namespaces of its own with the caller's id map, and reports [`Outcomes`]. Then
//! it waits: slirp4netns is tried on its network namespace. Killed, it takes all its mounts along.

use std::io;

use libc::{MS_NODEV, MS_NOEXEC, MS_NOSUID, MS_PRIVATE, MS_REC};

use crate::check::{Page, Word};
use crate::check_helpers;
use crate::check_store::{self, Ground};
use crate::error::{Context, Result};
use crate::idmap::IdMap;
use crate::initramfs;
use crate::job::{self, errno, in_child, Job};
use crate::seccomp;
use crate::store::DEVICES;
use crate::stub;
use crate::sys;

/// What the child tries: each is 0, an errno, or [`UNTRIED`]. First the file systems, then these.
pub type Outcomes = [u8; FILE_SYSTEMS.len() + 3];
const PRIVATE: usize = FILE_SYSTEMS.len();
const OVERLAY: usize = PRIVATE + 1;
const PIVOT: usize = PRIVATE + 2;
pub const UNTRIED: u8 = 255;

/// The file systems of every container, in bundle.rs's words; where the child mounts them; what is often wrong. The
/// first is the place for the others: on /dev, a directory that every host has.
const FILE_SYSTEMS: [(&str, &str, &str, &str); 5] = [
    ("tmpfs", "/dev", "", "is there a directory /dev?"),
    ("proc", "/dev/proc", "", "the host's own must be there and whole: mount -t proc proc /proc"),
    ("sysfs", "/dev/sys", "", "the host's own must be there and whole: mount -t sysfs sysfs /sys"),
    ("devpts", "/dev/pts", "newinstance,ptmxmode=0666,mode=0620", "CONFIG_UNIX98_PTYS"),
    ("mqueue", "/dev/mqueue", "", "CONFIG_POSIX_MQUEUE"),
];

/// The namespaces of a container besides the user namespace.
const NAMESPACES: i32 = libc::CLONE_NEWNS
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWCGROUP;

pub fn check(page: &mut Page) {
    page.part("run");
    let release = job::setting("/proc/sys/kernel/osrelease");
    page.line(Word::Ok, "kernel", format_args!("Linux {}", release.trim_end()));
    let ground = check_store::ground(page);
    // As container.rs does it: on an initramfs's rootfs pivot_root(2) works on a mount of it only.
    let on_rootfs = initramfs::is_left_to_child().unwrap_or(false);
    let job = if namespaces(page) {
        filter(page);
        stub(page);
        ids(page, ground.as_ref(), on_rootfs)
    } else {
        None
    };
    devices(page);
    let Some((job, outcomes)) = job else { return check_helpers::network(page, None, on_rootfs) };
    file_systems(page, &outcomes);
    if let Some(ground) = ground {
        ground.overlay(page, outcomes[OVERLAY]);
    }
    check_helpers::network(page, Some(job.pid), on_rootfs);
    sys::why("if possible: it has served, and its mounts go with it");
    let _already_dead = sys::kill(job.pid, libc::SIGKILL);
    let _was_killed = sys::if_possible(|| job.wait());
}

pub fn error(errno: u8) -> io::Error {
    io::Error::from_raw_os_error(errno.into())
}

/// All that a container is in; a child that ends at once has tried it.
fn namespaces(page: &mut Page) -> bool {
    sys::why("if possible: every namespace that a container has, in a child that ends at once");
    let errno = in_child(libc::CLONE_NEWUSER | NAMESPACES, &|| Ok(()));
    match errno {
        0 => page.line(Word::Ok, "namespaces", format_args!("user mnt pid net ipc uts cgroup")),
        _ => page.line(Word::Needed, "namespaces", format_args!("{}", job::clone_failed(error(errno)))),
    }
    errno == 0
}

/// The filter on system calls, by a child that puts itself under it.
fn filter(page: &mut Page) {
    sys::why("if possible: the filter on system calls, in a child that ends at once");
    match in_child(libc::CLONE_NEWUSER, &seccomp::try_on) {
        0 => page.line(Word::Ok, "seccomp", format_args!("system calls can be filtered")),
        errno => page.line(
            Word::Needed,
            "seccomp",
            format_args!("{} (CONFIG_SECCOMP_FILTER; or run --security-opt seccomp=unconfined)", error(errno)),
        ),
    }
}

/// The program by which every command is executed.
fn stub(page: &mut Page) {
    match sys::if_possible(stub::make) {
        Ok(_) => page.line(Word::Ok, "memfd", format_args!("the stub, which becomes the command, can be made")),
        Err(error) => page.line(Word::Needed, "memfd", format_args!("{error}")),
    }
}

/// The id map, by writing it for the child that tries the rest; and what that reports.
fn ids(page: &mut Page, ground: Option<&Ground>, on_rootfs: bool) -> Option<(Job, Outcomes)> {
    let tried = IdMap::or_why_single().and_then(|(map, why)| Ok((try_world(&map, ground, on_rootfs)?, map, why)));
    match tried {
        Ok((found, map, why)) => {
            match why {
                Some(why) => page.line(Word::Limited, "ids", format_args!("one only, root: {why}")),
                None if map.is_root() => page.line(Word::Ok, "ids", format_args!("root maps those of this host")),
                None => page.line(Word::Ok, "ids", format_args!("you are root, newuidmap adds your subordinate ids")),
            }
            Some(found)
        }
        Err(error) => {
            page.line(Word::Needed, "ids", format_args!("{error}"));
            None
        }
    }
}

/// The child, waiting, and its report.
fn try_world(map: &IdMap, ground: Option<&Ground>, on_rootfs: bool) -> Result<(Job, Outcomes)> {
    sys::why("over this the child reports");
    let (reader, report) = sys::pipe2().context("pipe2")?;
    sys::why("a child to try in what a container is made of");
    let job = map.enter_with(NAMESPACES, || {
        let outcomes = sys::if_possible(|| build(ground, on_rootfs));
        sys::why("how all of it went");
        sys::write(report.raw(), &outcomes).context("write")?;
        sys::why("wait to be killed: slirp4netns may need the network namespace");
        sys::poll(&mut [], -1).context("poll").map(drop)
    })?;
    drop(report);
    let mut outcomes = [UNTRIED; FILE_SYSTEMS.len() + 3];
    sys::why("until the child has tried everything");
    sys::read(reader.raw(), &mut outcomes).context("read from the child")?;
    Ok((job, outcomes))
}

/// What rootfs.rs does, each step tried.
fn build(ground: Option<&Ground>, on_rootfs: bool) -> Outcomes {
    let mut outcomes = [UNTRIED; FILE_SYSTEMS.len() + 3];
    sys::why("what is mounted from here on stays in this mount namespace");
    outcomes[PRIVATE] = errno(sys::mount("", "/", "", MS_REC | MS_PRIVATE, ""));
    if outcomes[PRIVATE] != 0 {
        return outcomes;
    }
    if on_rootfs {
        let _told_by_pivot_root = initramfs::step_off(false);
    }
    if let Some(ground) = ground {
        outcomes[OVERLAY] = ground.try_overlay();
    }
    for (outcome, (kind, place, data, _)) in outcomes.iter_mut().zip(FILE_SYSTEMS) {
        if place != "/dev" {
            sys::why("a place to mount on");
            let _told_by_the_mount = sys::mkdir(place, 0o755);
        }
        sys::why("a file system that every container gets");
        *outcome = errno(sys::mount(kind, place, kind, MS_NOSUID | MS_NODEV | MS_NOEXEC, data));
    }
    if outcomes[OVERLAY] == UNTRIED {
        sys::why("is there an overlayfs at all?");
        outcomes[OVERLAY] = errno(sys::fsopen("overlay").map(drop));
    }
    sys::why("a mount that can become the root");
    let _told_by_the_next = sys::chdir("/dev");
    sys::why("as a container's tree becomes its root");
    outcomes[PIVOT] = errno(sys::pivot_root(".", "."));
    outcomes
}

fn file_systems(page: &mut Page, outcomes: &Outcomes) {
    const WHAT: &str = "file systems";
    if outcomes[PRIVATE] != 0 {
        let error = error(outcomes[PRIVATE]);
        return page.line(
            Word::Needed,
            WHAT,
            format_args!(
                "nothing can be mounted: {error} (AppArmor? sysctl -w kernel.apparmor_restrict_unprivileged_userns=0)"
            ),
        );
    }
    for (outcome, (kind, .., advice)) in outcomes.iter().zip(FILE_SYSTEMS) {
        match outcome {
            0 => page.line(Word::Ok, kind, format_args!("can be mounted")),
            errno => page.line(Word::Needed, kind, format_args!("{} ({advice})", error(*errno))),
        }
    }
    match outcomes[PIVOT] {
        0 => page.line(Word::Ok, "pivot_root", format_args!("a container's tree can become its root")),
        errno => page.line(Word::Needed, "pivot_root", format_args!("{} (is this a chroot?)", error(errno))),
    }
}

fn devices(page: &mut Page) {
    let is_missing = |name: &&&str| {
        sys::why("if possible: a device that every container gets");
        !sys::stat(format!("/dev/{name}")).is_ok_and(|stat| stat.kind() == libc::S_IFCHR)
    };
    match DEVICES.iter().find(is_missing) {
        None => page.line(Word::Ok, "devices", format_args!("null zero full random urandom tty")),
        Some(name) => page.line(
            Word::Needed,
            "devices",
            format_args!("there is no /dev/{name} (mount -t devtmpfs dev /dev, or mknod: null(4), random(4), tty(4))"),
        ),
    }
}
