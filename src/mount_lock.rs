//! For a container with CAP_SYS_ADMIN: mounts that it cannot undo.
//!
//! Such a container may mount and unmount, so it could take the masks off /proc, make /proc/sys writable, or look
//! below its root. Where its root is the host's, to the kernel's files that is enough: /proc/sys belongs to uid 0,
//! whatever capabilities that uid has. But the kernel locks what a mount namespace inherits from one of a user
//! namespace above: those mounts stay where they are, read-only what is read-only, and no fresh /proc can be mounted
//! beside a masked one: mount_namespaces(7), "Restrictions on mount namespaces".
//!
//! So there are two user namespaces, one inside the other, with the same ids. The container is the inner one's, with a
//! network and names of its own. Its cgroup namespace stays with the outer one, or it could mount the host's cgroups.
//! A process of ours, the builder, stays outside, makes every mount, and ends. Then the container copies the mounts, and
//! has them locked.
//!
//! ```text
//! child, pid 1                              builder
//! ------------                              -------
//! clone() --------------------------------> waits
//! unshare(NEWUSER, NEWNET, NEWUTS, ...)
//! closes the pipe ------------------------> id maps of the inner user namespace
//!                                           setns: /sys and /dev/mqueue show what it has
//!                                           every mount, pivot_root
//! wait4 <---------------------------------- exits
//! unshare(NEWNS): the copy, locked
//! tries to mount another /sys and /proc: must fail
//! ```

use std::io;

use crate::error::{Context, Error, Result};
use crate::idmap;
use crate::init;
use crate::job;
use crate::sys::{self, Fd};

/// Has `build` make the mounts, out there, while this process goes inside: `enter` makes the inner user namespace and
/// the namespaces `inner` that belong to it.
pub fn build(
    control: &Fd,
    inner: libc::c_int,
    enter: impl FnOnce() -> Result<()>,
    build: impl FnOnce() -> Result<()>,
) -> Result<()> {
    sys::why("this process, for one to which its number means nothing");
    let own = sys::open("/proc/self", libc::O_PATH | libc::O_DIRECTORY, 0).context("open /proc/self")?;
    sys::why("the builder waits for its end");
    let (go, waiting) = sys::pipe2().context("pipe2")?;
    sys::why("with CAP_SYS_ADMIN: a builder, who stays in the outer user namespace and makes the mounts");
    let Some(builder) = sys::clone(0).context("clone").map_err(too_few)? else {
        sys::set_who(format!("{}/builder", sys::who()));
        drop(waiting);
        let built = wait_for(&go).and_then(|()| join(&own, inner)).and_then(|()| build());
        match built {
            Ok(()) => sys::exit(0),
            Err(error) => init::report(control, error),
        }
    };
    if let Err(error) = enter() {
        std::mem::forget(waiting); // the builder would go on, fail, and be heard first
        return Err(error);
    }
    drop(waiting);
    sys::why("until every mount is made");
    if !sys::wait(builder).context("wait4")?.success() {
        sys::exit(1); // the builder has reported
    }
    sys::why("the mounts once more, as the inner user namespace has them: locked, whatever its root tries");
    sys::unshare(libc::CLONE_NEWNS).context("unshare(CLONE_NEWNS)")?;
    sys::why("the working directory was one of the host's");
    sys::chdir("/").context("chdir /")?;
    refuse_fresh("sysfs", job::errno(mount_fresh("sysfs")))?;
    sys::why("a child in a pid namespace of its own: could it mount that one's /proc?");
    let Some(other) = sys::clone(libc::CLONE_NEWPID).context("clone(CLONE_NEWPID)")? else {
        sys::set_who(format!("{}/try", sys::who()));
        sys::exit(job::errno(mount_fresh("proc")).into())
    };
    sys::why("it says so by its exit code");
    refuse_fresh("proc", sys::wait(other).context("wait4")?.code() as u8)
}

/// What a container with CAP_SYS_ADMIN could do with a proc or sysfs that has no masks. It may not.
fn mount_fresh(kind: &str) -> io::Result<()> {
    sys::why("if possible: may one be mounted without the masks? (EPERM: no)");
    let fs = sys::fsopen(kind)?;
    sys::why("if possible: may one be mounted without the masks? (EPERM: no)");
    sys::fsconfig_create(&fs)?;
    sys::why("if possible: may one be mounted without the masks? (EPERM: no)");
    sys::fsmount(&fs).map(drop)
}

/// The kernel decides by what it finds mounted, and that includes what nobody can see: a machine's initramfs may have
/// left its own /proc and /sys below `/` when it switched to the disk.
fn refuse_fresh(kind: &str, errno: u8) -> Result<()> {
    match i32::from(errno) {
        libc::EPERM | libc::ENODEV => Ok(()),
        0 => Err(Error::new(format!("fsmount {kind}: the container could mount one without masks"))
            .hint("the host's initramfs has left its own below /: no --cap-add SYS_ADMIN here")),
        other => Err(io::Error::from_raw_os_error(other))
            .context(format_args!("fsmount {kind}, to see whether it is refused")),
    }
}

fn too_few(error: Error) -> Error {
    match error.errno {
        Some(libc::EAGAIN) => {
            error.hint("with CAP_SYS_ADMIN a container starts with two processes: --pids-limit 2 at least")
        }
        _ => error,
    }
}

fn wait_for(go: &Fd) -> Result<()> {
    sys::why("until the child is in its inner user namespace");
    sys::read(go.raw(), &mut [0]).context("read").map(drop)
}

/// Gives the inner user namespace its ids, and goes into those of its namespaces that mounts belong to. Its own root
/// may not map them: a user namespace's maps are written from outside.
fn join(child: &Fd, inner: libc::c_int) -> Result<()> {
    for file in ["uid_map", "gid_map"] {
        idmap::write_identity(&child.path(), file)?;
    }
    sys::why("pid 1, whose namespaces they are");
    let first = sys::pidfd_open(1).context("pidfd_open of pid 1")?;
    sys::why("/sys and /dev/mqueue show the namespaces of who mounts them");
    sys::setns(&first, inner).context("setns")
}
