//! The child's story: from the clone to `execve` of the user's command.
//!
//! The process that the engine cloned is pid 1 of the container, and becomes its command in two steps.
//! [`start`] runs in the copy of the engine that clone(2) made: it moves into its cgroup, makes the
//! namespaces that are left to make, and builds the container's world, as root of its user namespace (where the command
//! may mount, a helper of its own does: mount_lock.rs). Then it executes the engine anew, sealed. [`main`] is that new
//! program, `mydocker child`: it gives up what it may, and becomes the command.
//!
//! Why anew: a container can reach the binary that runs in it through /proc/PID/exe, and a root in there whose id
//! is the owner's could write to it (CVE-2019-5736). So what runs there is the engine as seen through a mount that
//! is read-only and attached nowhere: no process can change such a mount, and none can write through it. Where the
//! kernel makes none, it is a copy in a sealed memfd, which costs a quarter of a run. Until then nobody but us is
//! in the container.

use std::ffi::{CString, OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use libc::{CLONE_NEWCGROUP, CLONE_NEWIPC, CLONE_NEWNET, CLONE_NEWUSER, CLONE_NEWUTS};

use crate::bundle::{Bundle, Network, User};
use crate::cgroup::Cgroups;
use crate::confine::{self, Confinement};
use crate::error::{Context, Error, Result, NOT_EXECUTABLE, NOT_FOUND};
use crate::mount_lock;
use crate::rlimits;
use crate::rootfs;
use crate::store::Store;
use crate::sys::{self, Fd};
use crate::tell;
use crate::terminal;
use crate::whiteout::Marks;

/// The descriptor that the control socket has in `mydocker child`.
const CONTROL: i32 = 3;

/// The narrator's descriptor there, where standard error is the container's terminal.
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
    /// Child, as the first byte: the exit code; the rest is the error's text.
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

// ---- the first step: the world ----

/// The cloned process, still a copy of the engine. It returns only by exiting.
pub fn start(engines: Fd, control: &Fd, plan: &Plan) -> ! {
    sys::set_who("child".to_string());
    sys::why("if possible: the engine's end of the socket: only the engine may hold it open");
    drop(engines);
    let error = build_world(control, plan).and_then(|program| execute(&program, plan.bundle)).err();
    report(control, error.unwrap_or_else(|| Error::new("mydocker child did not start")))
}

/// Everything around the command. Returns the program to execute, which has no path any more in there.
fn build_world(control: &Fd, plan: &Plan) -> Result<Fd> {
    sys::why("when the engine dies, so does its child");
    sys::set_parent_death_signal(libc::SIGKILL).context("prctl(PR_SET_PDEATHSIG)")?;
    plan.cgroups.enter()?;
    // Whatever has that number is the engine's and of no more use here; from now on nothing else gets it.
    sys::why("the control socket has a number that mydocker child will know");
    sys::dup2(control.raw(), CONTROL).context("dup2")?;
    if sys::verbose() && plan.bundle.terminal {
        sys::why("only with -v: where this is told, when standard error is the container's terminal");
        sys::dup2(sys::STDERR, VOICE).context("dup2")?;
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
    let program = sealed_program()?;
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
    Ok(program)
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

/// The engine's own program, as nobody in the container can write it.
fn sealed_program() -> Result<Fd> {
    sys::why("where is the engine's program?");
    let path = sys::readlink("/proc/self/exe").context("readlink /proc/self/exe")?;
    sys::why("if possible: it through a mount of its own, attached nowhere (else: a sealed copy)");
    let clone = sys::open_tree_clone(&path).and_then(|tree| {
        sys::why("if possible: read-only: through it nobody can write the program (CVE-2019-5736)");
        sys::mount_set_read_only(&tree)?;
        Ok(tree)
    });
    // Linux before 5.12, or the file is gone: an engine that was replaced meanwhile.
    clone.or_else(|_| sealed_copy())
}

/// The engine's own program in a memfd that nobody can write, root included.
fn sealed_copy() -> Result<Fd> {
    sys::why("the engine's program");
    let own = sys::open("/proc/self/exe", libc::O_RDONLY, 0).context("open /proc/self/exe")?;
    sys::why("a file in memory that can be sealed");
    let copy = sys::memfd_create_executable("mydocker").context("memfd_create")?;
    // Less than was asked for is the end of a regular file.
    const PLENTY: usize = 1 << 30;
    sys::why("a copy of this program");
    while sys::sendfile(&copy, &own, PLENTY).context("sendfile")? == PLENTY {}
    sys::why("nobody can write it from here on");
    sys::seal(&copy).context("fcntl(F_ADD_SEALS)")?;
    Ok(copy)
}

/// Becomes `mydocker child`. What that needs to know goes along as arguments, which everybody on the host can read
/// in /proc/PID/cmdline; the command's variables, which may hold secrets, as its environment, which only we can.
fn execute(program: &Fd, bundle: &Bundle) -> Result<()> {
    let order = Order::of(bundle);
    let words = [OsString::from("mydocker"), "child".into()].into_iter().chain(order.to_words());
    let argv = words.map(sys::cstr).collect::<std::io::Result<Vec<CString>>>().context("the command")?;
    let env = order.env.iter().map(|variable| sys::cstr(hide(variable))).collect::<std::io::Result<Vec<CString>>>();
    let env = env.context("the command's environment")?;
    sys::step("sealed");
    sys::why("the engine anew: from here on /proc/PID/exe is the sealed program");
    Err(sys::execveat(program, &argv, &env)).context("execveat of the sealed program")
}

/// A variable of the image's or the user's under a name that no C library obeys: some of them, such as
/// GLIBC_TUNABLES, are orders to it.
fn hide(variable: &OsStr) -> OsString {
    [OsStr::new("."), variable].into_iter().collect()
}

/// The variable that was hidden so.
fn unhide(hidden: &OsString) -> Option<OsString> {
    hidden.as_bytes().strip_prefix(b".").map(|variable| OsStr::from_bytes(variable).into())
}

/// Tells the engine why there will be no command, and ends.
pub fn report(control: &Fd, error: Error) -> ! {
    let mut message = vec![error.code as u8];
    message.extend_from_slice(error.message.as_bytes());
    message.truncate(say::LONGEST);
    sys::why("if possible: the engine learns why there is no command");
    if sys::send_message(control, &message, None).is_err() {
        crate::error::say(&error); // no engine is there: somebody has typed `mydocker child`
    }
    sys::exit(error.code)
}

// ---- the second step: the command ----

/// What `mydocker child` is told: the command's environment as its own, hidden, and the rest on its command line,
/// word by word: `UID GID GROUP,GROUP,...|none CONFINEMENT NETWORK|no NARRATOR|no CWD COMMAND ARGUMENT...`.
#[derive(Debug, PartialEq)]
struct Order {
    user: User,
    may_set_groups: bool,
    confinement: Confinement,
    wait_for_network: bool,
    narrator: String,
    cwd: OsString,
    env: Vec<OsString>,
    args: Vec<OsString>,
}

impl Order {
    fn of(bundle: &Bundle) -> Order {
        // A map of one id was written by a user alone, and the kernel forbids setgroups(2) in it.
        let single = bundle.gids.iter().map(|range| u64::from(range.count)).sum::<u64>() == 1;
        Order {
            user: bundle.user.clone(),
            may_set_groups: !single,
            confinement: bundle.confinement.clone(),
            wait_for_network: bundle.network == Network::Slirp,
            narrator: tell::state(),
            cwd: bundle.cwd.clone(),
            env: bundle.env.clone(),
            args: bundle.args.clone(),
        }
    }

    fn to_words(&self) -> Vec<OsString> {
        let groups: Vec<String> = self.user.groups.iter().map(u32::to_string).collect();
        let groups = if self.may_set_groups { groups.join(",") } else { "none".to_string() };
        let word = |yes: bool, word: &str| if yes { word.to_string() } else { "no".to_string() };
        let own = [self.user.uid.to_string(), self.user.gid.to_string(), groups]
            .into_iter()
            .chain([self.confinement.to_word(), word(self.wait_for_network, "network"), self.narrator.clone()])
            .map(OsString::from);
        own.chain([self.cwd.clone()]).chain(self.args.iter().cloned()).collect()
    }

    fn from_words(words: &[OsString], environment: &[OsString]) -> Option<Order> {
        let [uid, gid, groups, confinement, network, narrator, cwd, args @ ..] = words else { return None };
        let may_set_groups = groups != "none";
        let number = |word: &str| word.parse::<u32>().ok();
        let groups: Option<Vec<u32>> = match groups.to_str()? {
            "none" | "" => Some(Vec::new()),
            list => list.split(',').map(number).collect(),
        };
        Some(Order {
            user: User { uid: number(uid.to_str()?)?, gid: number(gid.to_str()?)?, groups: groups? },
            may_set_groups,
            confinement: Confinement::from_word(confinement.to_str()?)?,
            wait_for_network: network == "network",
            narrator: narrator.to_str()?.to_string(),
            cwd: cwd.clone(),
            env: environment.iter().filter_map(unhide).collect(),
            args: args.to_vec(),
        })
    }
}

/// `mydocker child`, pid 1 of the container. It returns only by exiting.
pub fn main(words: &[OsString]) -> ! {
    sys::set_who("child".to_string());
    let control = sys::inherited(CONTROL);
    let error = match Order::from_words(words, &sys::environment()) {
        Some(order) => become_command(&control, &order).err(),
        None => None,
    };
    report(&control, error.unwrap_or_else(|| Error::new("mydocker child is started by mydocker run alone")))
}

/// Everything between here and the command, in order.
fn become_command(control: &Fd, order: &Order) -> Result<()> {
    tell::resume(&order.narrator);
    sys::step("power");
    // Whatever the caller had open ends here: a directory of the host would be a way back
    // (CVE-2024-21626). The control socket closes when the command starts, and so tells the engine.
    let has_voice = tell::voice() == VOICE;
    sys::why("nothing that the caller had open but standard input, output and error");
    sys::close_range(if has_voice { VOICE } else { CONTROL } + 1).context("close_range")?;
    if has_voice {
        sys::why("only with -v: the narrator's is not the command's");
        let voice = std::mem::ManuallyDrop::new(sys::inherited(VOICE));
        sys::close_on_exec(&voice).context("fcntl(F_SETFD)")?;
    }
    sys::why("and the control socket only until the command starts: its closing tells the engine so");
    sys::close_on_exec(control).context("fcntl(F_SETFD)")?;
    enter_directory(&order.cwd)?;
    let ids_changed = confine::step_down(&order.confinement, &order.user, order.may_set_groups)?;
    if order.wait_for_network {
        sys::why("wait until the network is up");
        hear(control)?;
    }
    stay_bound(control, ids_changed)?;
    rlimits::set(&order.confinement.rlimits)?;
    sys::why("the engine had blocked them");
    sys::unblock_signals().context("rt_sigprocmask")?;
    execute_command(order)
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

/// Looks the command up in the container's own PATH, as execvp(3) does, and becomes it.
fn execute_command(order: &Order) -> Result<()> {
    let strings = |list: &[OsString]| list.iter().map(sys::cstr).collect::<std::io::Result<Vec<CString>>>();
    let argv = strings(&order.args).context("the command's arguments")?;
    let env = strings(&order.env).context("the command's environment")?;
    let name = order.args.first().cloned().unwrap_or_default();
    let candidates = candidates(&name, &order.env);
    let mut denied = None;
    for (i, path) in candidates.iter().enumerate() {
        sys::why(if i + 1 < candidates.len() {
            "if possible: the user's command, in a directory of its PATH"
        } else {
            "the user's command"
        });
        let error = sys::execve(path, &argv, &env);
        if !matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR)) {
            denied = denied.or(Some(cannot_execute(path, error)));
        }
    }
    // ENOENT is also what a file answers whose interpreter is missing.
    let without_interpreter = candidates.iter().find(|path| {
        sys::why("if there is one: then it is its interpreter that is missing");
        sys::stat(path).is_ok()
    });
    Err(match (denied, without_interpreter) {
        (Some(error), _) => error,
        (None, Some(path)) => cannot_execute(path, std::io::Error::from_raw_os_error(libc::ENOENT)),
        (None, None) => Error::new(format!("execve {name:?}: no such command in the container"))
            .with_code(NOT_FOUND)
            .hint("is it in the image, and in its PATH?"),
    })
}

fn cannot_execute(path: &Path, error: std::io::Error) -> Error {
    let advice = match error.raw_os_error() {
        Some(libc::EACCES) => "is it executable, and no directory?",
        Some(libc::ENOEXEC) => "is it a program of this machine's architecture, or a script that begins with #! ?",
        Some(libc::ENOENT) => "the file is there, but not the interpreter that it names",
        _ => "see execve(2)",
    };
    let missing = error.raw_os_error() == Some(libc::ENOENT);
    let code = if missing { NOT_FOUND } else { NOT_EXECUTABLE };
    Err::<(), _>(error).context(format_args!("execve {}", path.display())).unwrap_err().with_code(code).hint(advice)
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

    #[test]
    fn an_order_survives_the_command_line() {
        let order = |groups: &[u32], may_set_groups| Order {
            user: User { uid: 5, gid: 6, groups: groups.to_vec() },
            may_set_groups,
            confinement: Confinement::default(),
            wait_for_network: true,
            narrator: "-v2".to_string(),
            cwd: "/x y".into(),
            env: vec!["A=1".into(), OsString::from_vec(vec![b'B', b'=', 0xff])],
            args: vec!["sh".into(), "".into(), "-v".into()],
        };
        for order in [order(&[6, 7], true), order(&[], true), order(&[], false)] {
            let hidden: Vec<OsString> = order.env.iter().map(|variable| hide(variable)).collect();
            assert_eq!(Order::from_words(&order.to_words(), &hidden), Some(order));
        }
        assert_eq!(Order::from_words(&["0".into(), "0".into()], &[]), None);
        assert_eq!(unhide(&"PATH=/".into()), None, "not ours: somebody has typed `mydocker child`");
    }
}
