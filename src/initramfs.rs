//! Where `/` is the kernel's rootfs: the way off it.
//!
//! An initramfs is unpacked into the file system that the kernel mounts first and never unmounts, a tmpfs or ramfs
//! called rootfs (filesystems/ramfs-rootfs-initramfs.rst). A mount cannot be moved away that has nothing below it, so
//! pivot_root(2) answers EINVAL there, to us and to slirp4netns. Other engines fall back to MS_MOVE and chroot(2),
//! and leave the host's tree mounted below the container.
//!
//! Here one more mount is put on `/` first: the same tree, bound on itself. What is above a mount has a parent, and
//! pivot_root works as on any disk. As pid 1 (boot.rs) we do it once for the whole machine. Else the engine does it in
//! a mount namespace of its own, and what the container inherits of that is locked: nothing in there can uncover what
//! lies below, mount_namespaces(7). A user alone may not do that; then the container's own process does. That mount is
//! not locked unless the container may mount (mount_lock.rs); else the want of CAP_SYS_ADMIN keeps it in its place.
//!
//! What was mounted on the lower tree goes: out of reach as it is, the kernel would take its /proc, which has no masks,
//! as a reason to let a container with CAP_SYS_ADMIN mount another without.

use std::path::{Path, PathBuf};

use crate::error::{Context, Result};
use crate::mountinfo::{is_own_parent, topmost};
use crate::sys;

/// statfs(2): of a rootfs where the kernel was told `root=` or `rootfstype=ramfs`, or has no tmpfs.
pub const RAMFS_MAGIC: i64 = 0x8584_58f6;

/// Whether `/` is a rootfs. Never by EINVAL, which has five other causes: the rootfs is the one mount that is its
/// own parent.
pub fn is_rootfs() -> Result<bool> {
    sys::why("is / a file system in memory? the rootfs of an initramfs cannot be left by pivot_root(2)");
    let kind = sys::statfs("/").context("statfs /")?;
    if kind != libc::TMPFS_MAGIC && kind != RAMFS_MAGIC {
        return Ok(false);
    }
    sys::why("is it the first mount of all, whose parent is itself? proc_pid_mountinfo(5)");
    let text = sys::read_kernel_list("/proc/self/mountinfo", 4 << 20)
        .context("read /proc/self/mountinfo")
        .map_err(|error| error.hint("a container needs it: mount -t proc proc /proc"))?;
    Ok(is_own_parent(&String::from_utf8_lossy(&text)))
}

/// Whether the container's own process has to leave a rootfs: the engine has not, for there is none, or it has done so
/// itself, which only root may.
pub fn is_left_to_child() -> Result<bool> {
    Ok(is_rootfs()? && !(sys::euid() == 0 && leave()?))
}

/// Root's engine, before anything else of a run: a mount namespace of its own, in which [`step_off`] is done. `false`
/// where it may not: root of a container, without CAP_SYS_ADMIN.
fn leave() -> Result<bool> {
    sys::why("if possible: mounts of the engine's own (EPERM: the container's process makes its own)");
    match sys::unshare(libc::CLONE_NEWNS) {
        Err(error) if error.raw_os_error() == Some(libc::EPERM) => return Ok(false),
        unshared => unshared.context("unshare(CLONE_NEWNS)")?,
    }
    sys::why("what is mounted from here on stays in this mount namespace");
    sys::mount("", "/", "", libc::MS_REC | libc::MS_PRIVATE, "").context("mount(MS_PRIVATE) /")?;
    step_off(true)?;
    Ok(true)
}

/// Puts the tree of `/` on `/` once more, and goes there. The mounts must be this process's own; `may_unmount`, whether
/// all are, or some are inherited and locked.
pub fn step_off(may_unmount: bool) -> Result<()> {
    sys::why("where are we? paths of the user's begin here");
    let here = sys::getcwd().context("getcwd")?;
    let below = mounts()?;
    sys::why("the same tree once more, on itself: what is above a mount can be left");
    sys::mount("/", "/", "", libc::MS_BIND | libc::MS_REC, "").context("mount(MS_BIND) / on itself")?;
    below.iter().for_each(|(point, kind)| if may_unmount { detach(point) } else { cover(point, kind) });
    sys::why("/ is still the mount below; .. leads to the one on top of it");
    sys::chdir("/..").context("chdir /..")?;
    sys::why("from here on / is the one on top");
    sys::chroot(".").context("chroot")?;
    sys::why("if possible: back to where we were");
    let _gone_meanwhile = sys::chdir(here);
    Ok(())
}

/// The mounts on `/` itself, and their types; not those on them.
fn mounts() -> Result<Vec<(PathBuf, String)>> {
    sys::why("what is mounted on /?");
    let text = sys::read_kernel_list("/proc/self/mountinfo", 4 << 20).context("read /proc/self/mountinfo")?;
    Ok(topmost(&String::from_utf8_lossy(&text)))
}

/// Whether this or [`cover`] was enough is looked at where it matters: mount_lock.rs.
fn detach(point: &Path) {
    sys::why("if possible: it is on the upper / as well; on the lower one it must not stay");
    let _not_there_any_more = sys::umount2(point, libc::MNT_DETACH);
}

/// What is locked can only be covered: a proc or sysfs that has something mounted on it counts no more.
fn cover(point: &Path, kind: &str) {
    let place = match kind {
        "proc" => point.join("sys"),
        "sysfs" => point.join("kernel"),
        _ => return,
    };
    sys::why("if possible: on the lower /: so this one is no reason to let anybody mount another");
    let _not_there = sys::mount("tmpfs", &place, "tmpfs", libc::MS_RDONLY, "");
}
