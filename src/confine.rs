//! What the command may do, and how its process comes down to that: the order in which power is given up.
//!
//! The pieces are elsewhere: capabilities.rs, seccomp.rs, rlimits.rs. Here is what the user chose of them, and
//! the keyring, groups and ids. After [`step_down`] there is no power left to give up; each step of it must succeed.
//! Limits come still later (init.rs), for they would be limits on what remains to be done.

use crate::bundle::User;
use crate::capabilities;
use crate::error::{Context, Result};
use crate::rlimits::Rlimit;
use crate::seccomp;
use crate::sys::{self, Fd, Pid};

/// How a container is confined.
#[derive(Debug, Clone, PartialEq)]
pub struct Confinement {
    /// Bit n for capability n.
    pub capabilities: u64,
    /// No program in the container has more power than who starts it: setuid bits count for nothing.
    pub no_new_privileges: bool,
    /// The filter on system calls is in place.
    pub seccomp: bool,
    pub rlimits: Vec<Rlimit>,
    /// `--oom-score-adj`, -1000 to 1000.
    pub oom_score: Option<i32>,
}

impl Default for Confinement {
    /// Docker's.
    fn default() -> Confinement {
        let capabilities = capabilities::DEFAULT;
        Confinement { capabilities, no_new_privileges: false, seccomp: true, rlimits: Vec::new(), oom_score: None }
    }
}

impl Confinement {
    /// With CAP_SYS_ADMIN the command can mount and unmount.
    pub fn may_mount(&self) -> bool {
        self.capabilities & 1 << capabilities::SYS_ADMIN != 0
    }
}

/// Gives up what the command is not to have, in the one order that works: CAP_SETPCAP bounds the capabilities,
/// CAP_SYS_ADMIN installs the filter, CAP_SETGID and CAP_SETUID become the user, and with that all of them are gone.
/// Returns whether ids have changed.
pub fn step_down(confinement: &Confinement, user: &User, may_set_groups: bool) -> Result<bool> {
    own_keyring()?;
    capabilities::bound(confinement.capabilities)?;
    if confinement.no_new_privileges {
        sys::why("--security-opt no-new-privileges: from here on execve(2) gives nobody more power");
        sys::no_new_privs().context("prctl(PR_SET_NO_NEW_PRIVS)")?;
    }
    if confinement.seccomp {
        seccomp::install(confinement.capabilities)?;
    }
    become_user(user, confinement.capabilities, may_set_groups)
}

/// The engine's part: when memory is short, the container is killed as soon as anything else, or as the user says.
/// Left alone it would inherit a score that makes a service's own processes immune.
pub fn set_oom_score(child: Pid, score: Option<i32>) -> Result<()> {
    let file = format!("/proc/{child}/oom_score_adj");
    match score {
        Some(score) => {
            sys::why("--oom-score-adj: how soon it is killed when memory is short");
            let set = sys::write_kernel_file(&file, &score.to_string());
            set.context(format_args!("write {score} to {file}")).map_err(|error| match error.errno {
                Some(libc::EACCES) => error.hint("a score below the caller's own needs CAP_SYS_RESOURCE on the host"),
                _ => error,
            })
        }
        None => {
            sys::why("if possible: when memory is short it is killed as soon as others (EACCES: the caller's score is higher, and stays)");
            let _stays = sys::write_kernel_file(&file, "0");
            Ok(())
        }
    }
}

/// Whether nobody may set groups here: so it is in each user namespace inside of one that a user alone has made,
/// user_namespaces(7).
fn setgroups_denied() -> bool {
    sys::why("has the engine's own user namespace forbidden it to all inside?");
    sys::read_file("/proc/self/setgroups", 64).is_ok_and(|text| text == b"deny\n")
}

/// Becomes the container's user: root keeps the container's capabilities, anybody else has none. Groups come first:
/// without CAP_SETGID it would be too late. Returns whether ids have changed; the first process of a user namespace is
/// 0:0 already. Where a user alone wrote the id map, the kernel forbids setgroups(2) in it.
fn become_user(user: &User, capabilities: u64, may_set_groups: bool) -> Result<bool> {
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
        sys::why("root in here has the container's capabilities and no other");
        sys::capset(capabilities, capabilities, 0).context("capset")?;
    }
    Ok(user.uid != 0 || user.gid != 0)
}

/// No user namespace inside the container. Whoever makes one has every capability in it, and with it namespaces and
/// mounts whose files belong to the host's ids: a root of a container whose number is root's own could write the
/// host's cgroups by them. So could a container that may mount, in a cgroup namespace of its own: none of these
/// either. The filter forbids both as well, but can be left off. `proc` is the container's own /proc, where the
/// sysctls are those of our user namespace: namespaces(7), "/proc/sys/user".
pub fn forbid_namespaces(proc: &Fd, may_mount: bool) -> Result<()> {
    let forbid = |kind: &str, reason| {
        let file = format!("sys/user/max_{kind}_namespaces");
        sys::why(reason);
        sys::write_kernel_file(format!("{}/{file}", proc.path()), "0").context(format_args!("write 0 to /proc/{file}"))
    };
    forbid("user", "no user namespaces in here: their roots would have capabilities again")?;
    if may_mount {
        forbid("cgroup", "no cgroup namespaces: with one of its own it could mount the host's cgroups")?;
    }
    Ok(())
}

/// A keyring of its own, so that the container finds no key of the caller's session: keyrings(7).
/// A kernel without keyrings has nothing to hide.
fn own_keyring() -> Result<()> {
    sys::why(
        "if there is one: a session keyring of its own, with none of the caller's keys (ENOSYS: no kernel's keyrings)",
    );
    match sys::new_session_keyring() {
        Err(error) if error.raw_os_error() == Some(libc::ENOSYS) => Ok(()),
        joined => joined.context("keyctl(KEYCTL_JOIN_SESSION_KEYRING)"),
    }
}
