//! What the command may do: capabilities(7), groups and ids, a keyring of its own.
//!
//! Docker's default set of capabilities is the bounding set of everything in the container: no
//! program, setuid or not, gets more. All of it is bounded by the user namespace as well: the set
//! reaches what the container owns and nothing else.
//!
//! [`become_user`] is the last step but `execve`.

use std::path::Path;

use crate::bundle::User;
use crate::error::{Context, Result};
use crate::show;
use crate::sys;

/// What docker leaves to a container, bit n for capability n: CapBnd in /proc/1/status of any docker container. The
/// test below has the names.
pub const DEFAULT_CAPABILITIES: u64 = 0xa804_25fb;

/// CAP_CHECKPOINT_RESTORE, the last one that Linux 5.9 and later know; a newer one, if the kernel
/// has it, is dropped as well.
const LAST_CAPABILITY: u32 = 40;

/// The names of a set, without `CAP_`.
pub fn names_of(set: u64) -> Vec<&'static str> {
    (0..=LAST_CAPABILITY).filter(|number| set & 1 << number != 0).map(show::capability).collect()
}

/// Leaves the bounding set with the default capabilities alone. It needs CAP_SETPCAP, so it comes
/// before the change of user.
pub fn bound_capabilities() -> Result<()> {
    for number in (0..64).filter(|number| DEFAULT_CAPABILITIES & 1 << number == 0) {
        sys::why(if number > LAST_CAPABILITY {
            "if there is one: a capability of a later kernel (EINVAL: there is none)"
        } else {
            "none of docker's defaults: no program in here gets it, setuid or not"
        });
        match sys::drop_bounding(number) {
            // EINVAL: this kernel has no such capability, nor any after it.
            Err(error) if number > LAST_CAPABILITY && error.raw_os_error() == Some(libc::EINVAL) => break,
            dropped => dropped.context(format_args!("prctl(PR_CAPBSET_DROP, {number})"))?,
        }
    }
    Ok(())
}

/// Whether nobody may set groups here: so it is in each user namespace inside of one that a user alone has made,
/// user_namespaces(7).
fn setgroups_denied() -> bool {
    sys::why("has the engine's own user namespace forbidden it to all inside?");
    sys::read_file("/proc/self/setgroups", 64).is_ok_and(|text| text == b"deny\n")
}

/// Becomes the container's user with no more capabilities than docker leaves: root keeps the default
/// set, anybody else has none. Groups come first: without CAP_SETGID it would be too late. Returns whether
/// ids have changed; the first process of a user namespace is 0:0 already. Where a user alone wrote the id
/// map, the kernel forbids setgroups(2) in it.
pub fn become_user(user: &User, may_set_groups: bool) -> Result<bool> {
    if may_set_groups {
        sys::why("the groups of the image's user, none of the caller's");
        match sys::setgroups(&user.groups) {
            Err(error) if error.raw_os_error() == Some(libc::EPERM) && setgroups_denied() => {}
            set => set.context(format_args!("setgroups {:?}", user.groups))?,
        }
    }
    if user.gid != 0 {
        sys::why("the group of the command's user");
        sys::setresgid(user.gid, user.gid, user.gid).context(format_args!("setresgid {}", user.gid))?;
    }
    if user.uid != 0 {
        sys::why("leaving uid 0 clears every capability");
        sys::setresuid(user.uid, user.uid, user.uid).context(format_args!("setresuid {}", user.uid))?;
    } else {
        sys::why("root in here has docker's default capabilities and no other");
        sys::capset(DEFAULT_CAPABILITIES, DEFAULT_CAPABILITIES, 0).context("capset")?;
    }
    Ok(user.uid != 0 || user.gid != 0)
}

/// No user namespace inside the container, as docker's seccomp filter has it. Whoever makes one has every
/// capability in it, and with it namespaces and mounts whose files belong to the host's ids: a root of a container
/// whose number is root's own could write the host's cgroups by them. `proc` is the container's /proc, where the
/// sysctl is the one of its user namespace: namespaces(7), "/proc/sys/user".
pub fn forbid_user_namespaces(proc: &Path) -> Result<()> {
    let file = proc.join("sys/user/max_user_namespaces");
    sys::why("no user namespaces in here: their roots would have capabilities again");
    sys::write_kernel_file(&file, "0").context(format_args!("write 0 to {}", file.display()))
}

/// A keyring of its own, so that the container finds no key of the caller's session: keyrings(7).
/// A kernel without keyrings has nothing to hide.
pub fn own_keyring() -> Result<()> {
    sys::why(
        "if there is one: a session keyring of its own, with none of the caller's keys (ENOSYS: no kernel's keyrings)",
    );
    match sys::new_session_keyring() {
        Err(error) if error.raw_os_error() == Some(libc::ENOSYS) => Ok(()),
        joined => joined.context("keyctl(KEYCTL_JOIN_SESSION_KEYRING)"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_set_is_dockers() {
        let names = "CHOWN DAC_OVERRIDE FOWNER FSETID KILL SETGID SETUID SETPCAP NET_BIND_SERVICE NET_RAW SYS_CHROOT \
                     MKNOD AUDIT_WRITE SETFCAP";
        assert_eq!(names_of(DEFAULT_CAPABILITIES).join(" "), names);
    }
}
