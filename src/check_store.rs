//! What the file system of the store can carry: writing, room, xattrs, an overlay's upper directory.
//!
//! In a store that is there the trial is a directory of its own under `tmp`, removed again. One that is not there stays
//! so: its nearest directory is asked by a file that has no name (`O_TMPFILE`), and the overlay is tried in memory.

use std::io;
use std::path::{Path, PathBuf};

use libc::{MS_NODEV, MS_PRIVATE, MS_REC};

use crate::check::{Page, Word};
use crate::check_run::{error, UNTRIED};
use crate::error::{Context, Result};
use crate::idmap::IdMap;
use crate::initramfs::RAMFS_MAGIC;
use crate::job::{errno, in_child};
use crate::store::{self, Store};
use crate::sys;
use crate::whiteout::Marks;

/// Less room than this is told: an image of a distribution is as large.
const LITTLE: u64 = 100 << 20;

/// File systems by statfs(2)'s magic numbers, linux/magic.h.
const NAMES: &[(i64, &str)] = &[
    (libc::EXT4_SUPER_MAGIC, "ext4"),
    (libc::XFS_SUPER_MAGIC, "xfs"),
    (libc::BTRFS_SUPER_MAGIC, "btrfs"),
    (libc::TMPFS_MAGIC, "tmpfs"),
    (RAMFS_MAGIC, "ramfs"),
    (libc::OVERLAYFS_SUPER_MAGIC, "overlay"),
    (libc::NFS_SUPER_MAGIC, "nfs"),
    (0x0102_1997, "9p"),
    (libc::FUSE_SUPER_MAGIC, "fuse"),
];

/// Where the store is, or would be.
pub struct Ground {
    kind: &'static str,
    marks: Marks,
    /// Only in a store that is there.
    scratch: Option<PathBuf>,
}

impl Drop for Ground {
    fn drop(&mut self) {
        if let Some(scratch) = &self.scratch {
            // overlayfs has left a directory that only root of its user namespace may remove.
            let _stays = sys::if_possible(|| match IdMap::or_why_single() {
                Ok((map, _)) => store::remove_tree_mapped(scratch, &map),
                Err(error) => Err(error),
            });
        }
    }
}

/// Says where the store is; `None` where nothing can be written there.
pub fn ground(page: &mut Page) -> Option<Ground> {
    match Store::of_caller().and_then(|store| explore(page, &store)) {
        Ok(ground) => Some(ground),
        Err(error) => {
            page.line(Word::Needed, "store", format_args!("{error}"));
            None
        }
    }
}

fn explore(page: &mut Page, store: &Store) -> Result<Ground> {
    let is_there = |dir: &&Path| {
        sys::why("if there is one: the store, or what is on the way to it");
        sys::stat(dir).is_ok_and(|stat| stat.is_dir())
    };
    let dir = store.root.ancestors().find(is_there).unwrap_or(Path::new("/"));
    sys::why("which file system, and how much room?");
    let (magic, room) = sys::room(dir).context("statfs of the store")?;
    let kind = NAMES.iter().find(|(number, _)| *number == magic).map_or("another file system", |(_, name)| name);
    sys::why("may the caller write here?");
    sys::access(dir, libc::W_OK)
        .context(format_args!("{} cannot be written", dir.display()))
        .map_err(|error| error.hint("MYDOCKER_HOME=DIR puts the store elsewhere"))?;
    let scratch = make_scratch(store)?;
    let ground = Ground { marks: marks(dir, scratch.as_deref()), kind, scratch };
    let place = store.root.display();
    let kind = &ground.kind;
    let state = if ground.scratch.is_some() { "" } else { ", made when it is needed" };
    if magic == RAMFS_MAGIC {
        page.line(Word::Ok, "store", format_args!("{place} ({kind}, as much as there is memory{state})"));
        return Ok(ground);
    }
    let word = if room >= LITTLE { Word::Ok } else { Word::Limited };
    page.line(word, "store", format_args!("{place} ({kind}, {} MB free{state})", room >> 20));
    Ok(ground)
}

/// `None`: there is no store yet.
fn make_scratch(store: &Store) -> Result<Option<PathBuf>> {
    let scratch = store.fresh_tmp("check")?;
    sys::why("if what is above it is there: room for trials, removed again");
    match sys::mkdir(&scratch, 0o700) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        made => made.context("mkdir in the store").map(|()| Some(scratch)),
    }
}

/// Which marks the file system carries: found on the scratch directory, or on a file without a name.
fn marks(dir: &Path, scratch: Option<&Path>) -> Marks {
    let carries = |marks: &Marks| {
        sys::why("if possible: does this file system carry overlayfs's marks?");
        match scratch {
            Some(scratch) => marks.set(scratch, "check"),
            None => sys::open(dir, libc::O_TMPFILE | libc::O_WRONLY, 0o600).and_then(|file| {
                sys::why("if possible: does this file system carry overlayfs's marks?");
                sys::fsetxattr(&file, &marks.xattr("check").unwrap_or_default(), b"y")
            }),
        }
        .is_ok()
    };
    [Marks::User, Marks::Trusted].into_iter().find(carries).unwrap_or(Marks::Files)
}

/// Stacks two directories made in `dir`, and takes a lower one away: that needs a mark. An errno.
fn stack(dir: &Path, options: &str) -> u8 {
    for name in ["lower", "lower/gone", "upper", "work", "merged"] {
        sys::why("two layers, and where they appear as one");
        let _told_by_the_mount = sys::mkdir(dir.join(name), 0o755);
    }
    sys::why("short names: a path may have a `:` or `,` in it");
    let _told_by_the_mount = sys::chdir(dir);
    let options = format!("lowerdir=lower,upperdir=upper,workdir=work{options}");
    sys::why("an overlay as a container has it");
    errno(sys::mount("overlay", "merged", "overlay", MS_NODEV, options).and_then(|()| {
        sys::why("what the lower layer has goes: overlayfs makes a mark");
        sys::rmdir("merged/gone")
    }))
}

impl Ground {
    /// In the child, inside the user namespace: the overlay in a store that is there, if it can carry one.
    pub fn try_overlay(&self) -> u8 {
        match &self.scratch {
            Some(scratch) if self.marks == Marks::User => stack(scratch, ",userxattr"),
            // Never an upper directory, overlayfs.rst: said before a store is there, too.
            _ if self.kind == "overlay" => libc::EINVAL as u8,
            _ => UNTRIED,
        }
    }

    /// Which of its three ways the engine takes.
    pub fn overlay(&self, page: &mut Page, outcome: u8) {
        const COPY: &str = "each container gets a copy of its image's files";
        let kind = &self.kind;
        let outcome = if self.marks == Marks::Trusted && outcome == 0 { self.try_as_root() } else { outcome };
        let (word, state, advice) = match (i32::from(outcome), self.marks) {
            (0, Marks::User) => (Word::Ok, "layers are stacked", "with user.* marks"),
            (0, Marks::Trusted) => (Word::Ok, "layers are stacked", "with root's trusted.* marks"),
            (0, Marks::Files) => {
                (Word::Limited, COPY, "no xattrs: MYDOCKER_HOME on ext4, xfs, btrfs, or tmpfs of Linux 6.6")
            }
            (libc::ENODEV, _) => (Word::Limited, COPY, "the kernel has no overlayfs: modprobe overlay"),
            (libc::EINVAL, _) => {
                (Word::Needed, "no upper directory here", "MYDOCKER_HOME on ext4, xfs, btrfs or tmpfs")
            }
            (libc::EPERM, _) => (Word::Needed, "not in a user namespace", "needs Linux 5.11"),
            _ => return page.line(Word::Needed, "overlayfs", format_args!("{kind}: {}", error(outcome))),
        };
        page.line(word, "overlayfs", format_args!("{kind}: {state} ({advice})"));
    }

    /// With `trusted.*` marks root mounts the overlay before it enters the user namespace.
    fn try_as_root(&self) -> u8 {
        let Some(scratch) = &self.scratch else { return 0 };
        sys::why("if possible: an overlay mounted by root, outside the user namespace");
        in_child(libc::CLONE_NEWNS, &|| {
            sys::why("if possible: what is mounted here stays here");
            sys::mount("", "/", "", MS_REC | MS_PRIVATE, "")?;
            match sys::if_possible(|| stack(scratch, "")) {
                0 => Ok(()),
                errno => Err(error(errno)),
            }
        })
    }
}
