//! The child's story: from the clone to `execve` of the user's command.
//!
//! The process that the engine cloned is pid 1 of the container. It is a copy of the engine until it becomes the
//! command: it moves into its cgroup, makes the namespaces that are left to make, and builds the container's world, as
//! root of its user namespace (where the command may mount, a helper of its own does: mount_lock.rs). Then it gives up
//! what it may, finds the command, and becomes it by way of the stub (stub.rs). Until then nobody but us is in the
//! container.

use std::convert::Infallible;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use libc::{CLONE_NEWCGROUP, CLONE_NEWIPC, CLONE_NEWNET, CLONE_NEWUSER, CLONE_NEWUTS};

use crate::bundle::{Bundle, Network};
use crate::cgroup::Cgroups;
use crate::confine;
use crate::error::{Context, Error, Result, NOT_FOUND};
use crate::mount_lock;
use crate::rlimits;
use crate::rootfs;
use crate::store::Store;
use crate::stub::{self, CONTROL};
use crate::sys::{self, Fd};
use crate::tell;
use crate::terminal;
use crate::whiteout::Marks;

/// The narrator's descriptor, where standard error is the container's terminal.
const VOICE: i32 = 4;

/// What the engine and its child say to each other, one message each.
pub mod say {
    /// Engine: the id maps are written, the container's directory is there (with the overlay, where the child may
    /// not make it).
    pub const BUILD: &[u8] = b"build";
    /// Engine: the network is up.
    pub const NETWORK: &[u8] = b"network";
    /// Child: there is a network namespace, slirp4netns can have it.
    pub const NAMESPACE: &[u8] = b"namespace";
    /// Child: here is the terminal's master (with the descriptor).
    pub const TERMINAL: &[u8] = b"terminal";
    /// Child, as the first byte: the exit code; the rest is the error's text. (What the stub says: stub.rs.)
    pub const LONGEST: usize = 4096;
}

/// What the child needs from the engine's memory.
pub struct Plan<'a> {
    pub store: &'a Store,
    pub id: &'a str,
    pub bundle: &'a Bundle,
    pub cgroups: &'a Cgroups,
    /// How the layers are marked.
    pub marks: Marks,
    /// `/` is a rootfs, which the engine may not leave: the child does.
    pub on_rootfs: bool,
}

/// The cloned process, a copy of the engine. It returns only by exiting.
pub fn start(engines: Fd, control: &Fd, plan: &Plan) -> ! {
    sys::set_who("child".to_string());
    sys::why("if possible: the engine's end of the socket: only the engine may hold it open");
    drop(engines);
    if let Err(error) = build_world(control, plan) {
        report(control, error);
    }
    let control = sys::inherited(CONTROL); // the same under the number that stays
    let Err(error) = become_command(&control, plan.bundle);
    report(&control, error)
}

// ---- the world ----

/// Everything around the command.
fn build_world(control: &Fd, plan: &Plan) -> Result<()> {
    sys::why("when the engine dies, so does its child");
    sys::set_parent_death_signal(libc::SIGKILL).context("prctl(PR_SET_PDEATHSIG)")?;
    plan.cgroups.enter()?;
    // Whatever has that number is the engine's and of no more use here; from now on nothing else gets it.
    sys::why("the control socket has a number that the stub will know");
    sys::dup2(control.raw(), CONTROL).context("dup2")?;
    if sys::verbose() && plan.bundle.terminal {
        sys::why("only with -v: where this is told, when standard error is the container's terminal");
        sys::dup2_cloexec(sys::STDERR, VOICE).context("dup3")?;
        tell::set_voice(VOICE);
    }
    let network = plan.bundle.network;
    let may_mount = plan.bundle.confinement.may_mount();
    // A cgroup namespace takes the cgroup that the process is in for its root: only now.
    if may_mount {
        sys::why("its cgroup reads as / from here on");
        sys::unshare(CLONE_NEWCGROUP).context("unshare(CLONE_NEWCGROUP)")?;
    } else {
        make_namespaces(control, network, CLONE_NEWCGROUP | of_network(network))?;
    }
    sys::step("world");
    sys::why("wait until the id maps are written: until then this is nobody's root");
    let layers = hear(control)?;
    rootfs::detach(plan)?;
    if may_mount {
        let inner = of_network(network) | CLONE_NEWUTS | CLONE_NEWIPC;
        let enter = || make_namespaces(control, network, inner | CLONE_NEWUSER);
        mount_lock::build(control, inner, enter, || build_tree(control, plan, layers))?;
    } else {
        build_tree(control, plan, layers)?;
    }
    if network != Network::Host {
        sys::why("for 127.0.0.1 of the container's own: interfaces are spoken to through any socket");
        sys::interface_up("lo").context("socket, or ioctl(SIOCSIFFLAGS) lo")?;
    }
    sys::why("the name of this UTS namespace");
    sys::sethostname(&plan.bundle.hostname).context("sethostname")?;
    sys::why("a session of its own: no controlling terminal of the caller's (CVE-2017-5226)");
    sys::setsid().context("setsid")?;
    if plan.bundle.terminal {
        terminal::control()?;
    }
    Ok(())
}

/// Every mount, and `/` is the container's.
fn build_tree(control: &Fd, plan: &Plan, layers: Option<Fd>) -> Result<()> {
    rootfs::build(plan, layers)?;
    if plan.bundle.terminal {
        let master = terminal::make(plan.bundle.user.uid)?;
        sys::why("the engine gets the other end");
        sys::send_message(control, say::TERMINAL, Some(&master)).context("sendmsg")?;
    }
    rootfs::seal(plan.bundle)
}

fn of_network(network: Network) -> libc::c_int {
    if network == Network::Host {
        0
    } else {
        CLONE_NEWNET
    }
}

/// The network namespace takes longest of all to make: here it does while the engine writes the id maps.
fn make_namespaces(control: &Fd, network: Network, namespaces: libc::c_int) -> Result<()> {
    sys::why("namespaces of its own: the network's, and those not made with the clone");
    sys::unshare(namespaces).context("unshare")?;
    if network == Network::Slirp {
        sys::why("slirp4netns can have it now");
        sys::send_message(control, say::NAMESPACE, None).context("sendmsg")?;
    }
    Ok(())
}

/// Waits for the engine's next word, and what it hands over. An engine that has failed says so itself; then the child
/// just ends.
fn hear(control: &Fd) -> Result<Option<Fd>> {
    match sys::receive_message(control, &mut [0; 16], 0).context("recvmsg")? {
        (0, _) => sys::exit(1),
        (_, fd) => Ok(fd),
    }
}

/// Tells the engine why there will be no command, and ends.
pub fn report(control: &Fd, error: Error) -> ! {
    let mut message = vec![error.code as u8];
    message.extend_from_slice(error.message.as_bytes());
    message.truncate(say::LONGEST);
    sys::why("if possible: the engine learns why there is no command");
    let _nobody_left = sys::send_message(control, &message, None);
    sys::exit(error.code)
}

// ---- the command ----

/// Gives up what the command is not to have, and becomes it.
fn become_command(control: &Fd, bundle: &Bundle) -> Result<Infallible> {
    sys::step("power");
    // Whatever the caller or the engine had open ends here: a directory of the host would be a way back
    // (CVE-2024-21626). The narrator's closes with the next execve.
    let last = if tell::voice() == VOICE { VOICE } else { CONTROL };
    sys::why("nothing that anybody had open but standard input, output and error");
    sys::close_range(last + 1).context("close_range")?;
    enter_directory(&bundle.cwd)?;
    let stub = stub::make()?;
    // A map of one id was written by a user alone, and the kernel forbids setgroups(2) in it.
    let single = bundle.gids.iter().map(|range| u64::from(range.count)).sum::<u64>() == 1;
    let ids_changed = confine::step_down(&bundle.confinement, &bundle.user, !single)?;
    if bundle.network == Network::Slirp {
        sys::why("wait until the network is up");
        hear(control)?;
    }
    stay_bound(control, ids_changed)?;
    sys::step("command");
    let file = find_command(bundle.args.first().map_or(OsStr::new(""), |name| name), &bundle.env)?;
    rlimits::set(&bundle.confinement.rlimits)?;
    sys::why("the engine had blocked them");
    sys::unblock_signals().context("rt_sigprocmask")?;
    stub::become_file(&stub, &file, &bundle.args, &bundle.env)
}

/// The working directory, made where the image has none, as docker does. It must lie inside the root: a
/// link in /proc could name a directory that does not (CVE-2024-21626).
fn enter_directory(cwd: &OsStr) -> Result<()> {
    let path = Path::new(cwd);
    if path == Path::new("/") {
        return Ok(()); // pivot_root(2) has left us there
    }
    sys::why("if there is one: the working directory");
    let entered = match sys::chdir(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            rootfs::make_dirs(path)?;
            sys::why("the working directory, now that it is there");
            sys::chdir(path)
        }
        entered => entered,
    };
    entered.context(format_args!("chdir to the working directory {}", path.display()))?;
    sys::why("does it lie inside the container's root? (CVE-2024-21626)");
    if sys::getcwd().context("getcwd")?.is_absolute() {
        return Ok(());
    }
    Err(Error::new(format!("the working directory {} lies outside the container", path.display())))
}

/// The container must not outlive its engine. A change of uid has cleared the parent-death signal, prctl(2): it is set
/// again. No signal comes for an engine that died before it was set, the first time or this one: so a last look
/// whether the engine is still there. It has nothing more to say.
fn stay_bound(control: &Fd, ids_changed: bool) -> Result<()> {
    if ids_changed {
        sys::why("when the engine dies, so does the container");
        sys::set_parent_death_signal(libc::SIGKILL).context("prctl(PR_SET_PDEATHSIG)")?;
    }
    sys::why("if possible: is the engine still there? (EAGAIN: it is)");
    match sys::receive_message(control, &mut [0; 16], libc::MSG_DONTWAIT) {
        Ok((0, _)) => sys::exit(1),
        _ => Ok(()),
    }
}

/// The file to execute, looked up in the container's own PATH: the first that may be executed, else the first that is
/// there at all, of which execve(2) will say what is wrong with it.
fn find_command(name: &OsStr, env: &[OsString]) -> Result<PathBuf> {
    let mut other = None;
    for path in candidates(name, env) {
        sys::why("if possible: is the command in this directory of its PATH?");
        match sys::stat(&path) {
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR)) => {}
            Ok(file) if file.kind() == libc::S_IFREG => {
                sys::why("if possible: may it be executed?");
                if sys::access(&path, libc::X_OK).is_ok() {
                    return Ok(path);
                }
                other = other.or(Some(path));
            }
            _ => other = other.or(Some(path)),
        }
    }
    other.ok_or_else(|| {
        let hint = if name.as_bytes().contains(&b'/') {
            "is it in the image?"
        } else {
            "is it in the image, and in its PATH?"
        };
        Error::new(format!("{name:?}: no such command in the container")).with_code(NOT_FOUND).hint(hint)
    })
}

/// The paths to try: the name itself if it has a slash, else the name in each directory of PATH.
fn candidates(name: &OsStr, env: &[OsString]) -> Vec<PathBuf> {
    if name.is_empty() {
        return Vec::new();
    }
    if name.as_bytes().contains(&b'/') {
        return vec![PathBuf::from(name)];
    }
    let path = env.iter().rev().find_map(|entry| entry.as_bytes().strip_prefix(b"PATH=")).unwrap_or_default();
    std::env::split_paths(&OsString::from_vec(path.to_vec())).map(|dir| dir.join(name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_looked_up_in_the_containers_path() {
        let env = ["PATH=/a:/b".into(), "X=PATH=/c".into()];
        assert_eq!(candidates("sh".as_ref(), &env), [PathBuf::from("/a/sh"), PathBuf::from("/b/sh")]);
        assert_eq!(candidates("./sh".as_ref(), &env), [PathBuf::from("./sh")]);
        assert!(candidates("".as_ref(), &env).is_empty());
    }
}
