//! Work for a process of our own, inside namespaces: as root of a user namespace, which may own, give away and remove
//! what the user outside may not.
//!
//! [`IdMap::enter`] starts a job with the id map written, [`Job::wait`] brings its result; [`in_child`] makes one call
//! in namespaces that need no map. Where the kernel makes none, [`clone_failed`] finds out why.

use std::io;

use crate::error::{Context, Error, Result};
use crate::idmap::IdMap;
use crate::sys::{self, Fd, Pid};
use crate::whiteout::Marks;

impl IdMap {
    /// Runs `job` in a child process that is root of a new user namespace with this map. The caller goes on at
    /// once; [`Job::wait`] brings the result.
    pub fn enter(&self, job: impl FnOnce() -> Result<()>) -> Result<Job> {
        self.within(libc::CLONE_NEWUSER, job)
    }

    /// The same in further namespaces.
    pub fn enter_with(&self, namespaces: i32, job: impl FnOnce() -> Result<()>) -> Result<Job> {
        self.within(libc::CLONE_NEWUSER | namespaces, job)
    }

    /// The same for a job that reads or sets marks of this kind: those of the host's root are closed to any other.
    pub fn enter_for(&self, marks: Marks, job: impl FnOnce() -> Result<()>) -> Result<Job> {
        self.within(if marks == Marks::Trusted { 0 } else { libc::CLONE_NEWUSER }, job)
    }

    fn within(&self, namespaces: i32, job: impl FnOnce() -> Result<()>) -> Result<Job> {
        let mut job = Some(job);
        self.start(namespaces, &mut || job.take().map_or(Ok(()), |job| job()))
    }

    /// `job` is called once; compiled for each it would be as often in the binary.
    fn start(&self, namespaces: i32, job: &mut dyn FnMut() -> Result<()>) -> Result<Job> {
        let reason = sys::reason_or("root in there, and nobody outside");
        sys::why("engine and job talk over this");
        let (ours, theirs) = sys::socketpair().context("socketpair")?;
        sys::why(reason);
        let pid = sys::clone(namespaces).map_err(clone_failed)?;
        let Some(pid) = pid else {
            sys::set_who(format!("{}/job", sys::who()));
            drop(ours);
            run_job(&theirs, job)
        };
        drop(theirs);
        let started = Job { pid, socket: ours };
        let written = if namespaces == 0 { Ok(()) } else { self.write(pid) };
        if let Err(error) = written {
            // Without its message the child ends by itself; its own report says less than this error.
            let Job { pid, socket } = started;
            drop(socket);
            sys::why("if possible: no zombie stays");
            let _status = sys::wait(pid);
            return Err(error);
        }
        sys::why("the maps are written: go");
        sys::send_message(&started.socket, b"go", None).context("sendmsg")?;
        Ok(started)
    }
}

/// A job in a namespace of its own, under way.
pub struct Job {
    pub pid: Pid,
    socket: Fd,
}

impl Job {
    /// Waits for the end; the job's own error comes back as it was.
    pub fn wait(self) -> Result<()> {
        let mut message = vec![0; 4096];
        sys::why("wait for the job: its error, or nothing");
        let (length, _) = sys::receive_message(&self.socket, &mut message, 0).context("recvmsg")?;
        sys::why("and how it ended");
        let status = sys::wait(self.pid).context("wait4")?;
        match length {
            0 if status.success() => Ok(()),
            0 => Err(Error::new(format!("a process of the engine ended early: {status}"))),
            n => Err(Error::new(String::from_utf8_lossy(&message[..n]))),
        }
    }
}

fn run_job(socket: &Fd, job: &mut dyn FnMut() -> Result<()>) -> ! {
    let mut go = [0; 2];
    sys::why("it dies with its parent");
    let released = sys::set_parent_death_signal(libc::SIGKILL).and_then(|()| {
        sys::why("until the id maps are written this is nobody's root");
        sys::receive_message(socket, &mut go, 0)
    });
    let released = released.is_ok_and(|(length, _)| length > 0);
    if !released {
        sys::exit(1);
    }
    match job() {
        Ok(()) => sys::exit(0),
        Err(error) => {
            let text = &error.message.as_bytes()[..error.message.len().min(4096)];
            // Where the parent is gone there is nobody left to tell.
            sys::why("if possible: the error, for the parent to report");
            let _nobody_left = sys::send_message(socket, text, None);
            sys::exit(1)
        }
    }
}

/// A call's errno, 0 where it succeeded.
#[inline(never)]
pub fn errno(result: io::Result<()>) -> u8 {
    result.map_or_else(|error| error.raw_os_error().unwrap_or(libc::EIO) as u8, |()| 0)
}

/// Runs `job` in a child in these namespaces, which ends at once: as its exit code the job's errno comes back.
pub fn in_child(namespaces: i32, job: &dyn Fn() -> io::Result<()>) -> u8 {
    match sys::clone(namespaces) {
        Ok(None) => {
            sys::set_who(format!("{}/try", sys::who()));
            sys::exit(errno(job()).into())
        }
        Ok(Some(pid)) => {
            sys::why("if possible: how did it end?");
            sys::wait(pid).map_or(libc::EIO as u8, |status| status.code() as u8)
        }
        Err(error) => errno(Err(error)),
    }
}

// ---- no namespaces ----

/// The error where the kernel makes no namespaces, with what stands in the way as far as it can be known.
pub fn clone_failed(error: io::Error) -> Error {
    let reason = match error.raw_os_error() {
        Some(libc::EPERM) => forbidden(),
        Some(libc::ENOSPC | libc::EUSERS) => used_up(),
        Some(libc::EINVAL) => not_in_kernel(),
        _ => "see clone(2)".to_string(),
    };
    Err::<(), _>(error).context("clone with new namespaces").unwrap_err().hint(reason)
}

/// Settings that forbid user namespaces: Debian's and Ubuntu's, and the filter of an outer container.
const FORBIDDEN: &[(&str, &str, &str)] = &[
    ("/proc/sys/kernel/unprivileged_userns_clone", "0", "sysctl -w kernel.unprivileged_userns_clone=1"),
    (
        "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
        "1",
        "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0, or an AppArmor profile for mydocker",
    ),
    ("/proc/self/status", "\nSeccomp:\t2", "by a seccomp filter: of an outer container?"),
];

/// Who says EPERM, credentials(7), namespaces(7).
fn forbidden() -> String {
    let found = FORBIDDEN.iter().find(|(file, value, _)| setting(file).contains(value));
    format!("user namespaces are forbidden here: {}", found.map_or("in a chroot, or by a security module", |f| f.2))
}

/// The kinds of namespaces: as /proc/self/ns and /proc/sys/user call them, and the kernel's configuration.
const KINDS: &[(&str, &str)] = &[
    ("user", "USER_NS"),
    ("mnt", "NAMESPACES"),
    ("pid", "PID_NS"),
    ("net", "NET_NS"),
    ("ipc", "IPC_NS"),
    ("uts", "UTS_NS"),
    ("cgroup", "CGROUPS"),
];

/// Who says ENOSPC: namespaces(7), /proc/sys/user, of this user namespace or of one around it.
fn used_up() -> String {
    let file = |kind: &str| format!("/proc/sys/user/max_{kind}_namespaces");
    match KINDS.iter().find(|(kind, _)| setting(&file(kind)).trim() == "0") {
        Some((kind, _)) => format!("none are allowed: sysctl -w user.max_{kind}_namespaces=10000"),
        None => "no more of them: user.max_user_namespaces or another of its kind is reached, here or around this user namespace, or 32 are nested".to_string(),
    }
}

/// Who says EINVAL: a kernel that was built without some of them.
fn not_in_kernel() -> String {
    let is_missing = |kind: &str| {
        sys::why("if there is one: does the kernel have this kind of namespace?");
        sys::readlink(format!("/proc/self/ns/{kind}")).is_err()
    };
    let missing = KINDS.iter().find(|(kind, _)| is_missing(kind));
    format!(
        "this kernel lacks one of the namespaces: CONFIG_{}",
        missing.map_or("USER_NS, CONFIG_NET_NS, ...", |m| m.1)
    )
}

/// What a file of the kernel's or the host's says; empty where it cannot be read.
pub fn setting(file: &str) -> String {
    sys::why("what does the host say?");
    let text = sys::if_possible(|| sys::read_kernel_list(file, 1 << 20)).unwrap_or_default();
    String::from_utf8_lossy(&text).into_owned()
}
