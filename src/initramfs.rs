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
//! not locked, and only the capabilities that nothing in a container has (CAP_SYS_ADMIN) keep it in its place.

use crate::error::{Context, Result};
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

/// Whether the mount at `/` is its own parent: `ID PARENT DEVICE ROOT POINT ...`.
fn is_own_parent(mountinfo: &str) -> bool {
    mountinfo.lines().any(|line| {
        let columns: Vec<&str> = line.split(' ').take(5).collect();
        columns.len() == 5 && columns[4] == "/" && columns[0] == columns[1]
    })
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
    sys::mount("", "/", "", libc::MS_REC | libc::MS_PRIVATE, "").context("make / private")?;
    step_off()?;
    Ok(true)
}

/// Puts the tree of `/` on `/` once more, and goes there. The mounts must be this process's own.
pub fn step_off() -> Result<()> {
    sys::why("where are we? paths of the user's begin here");
    let here = sys::getcwd().context("getcwd")?;
    sys::why("the same tree once more, on itself: what is above a mount can be left");
    sys::mount("/", "/", "", libc::MS_BIND | libc::MS_REC, "").context("bind / on itself")?;
    sys::why("/ is still the mount below; .. leads to the one on top of it");
    sys::chdir("/..").context("chdir /..")?;
    sys::why("from here on / is the one on top");
    sys::chroot(".").context("chroot")?;
    sys::why("if possible: back to where we were");
    let _gone_meanwhile = sys::chdir(here);
    Ok(())
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
}
