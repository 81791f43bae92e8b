//! The child's story: from the clone to `execve` of the user's command.
//!
//! The process that the engine cloned is pid 1 of the container, and becomes its command in two steps.
//! [`start`] runs in the copy of the engine that clone(2) made: it moves into its cgroup, makes the
//! namespaces that are left to make, waits for its ids, and executes the engine anew from a sealed copy
//! in memory. [`main`] is that new program, `mydocker child`: it builds the root, gives up power, and
//! becomes the command.
//!
//! Why the copy: a container can reach the binary that runs in it through /proc/PID/exe, and a root in
//! there whose id is the owner's could write to it (CVE-2019-5736). A sealed memfd nobody can write.

use std::ffi::{CString, OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use crate::bundle::{Bundle, Network};
use crate::cgroup::Cgroups;
use crate::confine;
use crate::error::{Context, Error, Result, NOT_EXECUTABLE, NOT_FOUND};
use crate::json;
use crate::rootfs;
use crate::sys::{self, Fd};
use crate::terminal;

/// The descriptor that the control socket has in `mydocker child`.
const CONTROL: i32 = 3;

/// What the engine and its child say to each other, one message each.
pub mod say {
    /// Engine: the ids are set; with it comes the program to execute.
    pub const GO: &[u8] = b"go";
    /// Child: there is a network namespace, slirp4netns can have it.
    pub const NAMESPACE: &[u8] = b"namespace";
    /// Engine: the network is up.
    pub const NETWORK: &[u8] = b"network";
    /// Child: here is the terminal's master (with the descriptor).
    pub const TERMINAL: &[u8] = b"terminal";
    /// Child, as the first byte: the exit code; the rest is the error's text.
    pub const LONGEST: usize = 4096;
}

/// The first step: the cloned process, still a copy of the engine. It returns only by exiting.
pub fn start(engines: Fd, control: &Fd, bundle: &Path, cgroups: &Cgroups, network: Network) -> ! {
    sys::set_who("child");
    sys::why("the engine's end of the socket: only the engine may hold it open");
    drop(engines);
    let error = prepare(control, bundle, cgroups, network).err();
    report(control, error.unwrap_or_else(|| Error::new("mydocker child did not start")))
}

fn prepare(control: &Fd, bundle: &Path, cgroups: &Cgroups, network: Network) -> Result<()> {
    sys::why("when the engine dies, so does its child");
    sys::set_parent_death_signal(libc::SIGKILL).context("prctl(PR_SET_PDEATHSIG)")?;
    cgroups.enter()?;
    let namespaces = libc::CLONE_NEWCGROUP | if network == Network::Host { 0 } else { libc::CLONE_NEWNET };
    // A cgroup namespace takes the cgroup that the process is in for its root: only now. The network
    // namespace takes longest of all to make: here it does while the engine writes maps and the copy.
    sys::why("its cgroup reads as / from here on; a network of its own");
    sys::unshare(namespaces).context("unshare")?;
    if network == Network::Slirp {
        sys::why("slirp4netns can have it now");
        sys::send_message(control, say::NAMESPACE, None).context("sendmsg")?;
    }
    let mut word = [0; 16];
    sys::why("wait until the engine has written the id maps: execve before would lose every capability");
    let (_, program) = sys::receive_message(control, &mut word, 0).context("recvmsg")?;
    let Some(program) = program else {
        sys::exit(1) // The engine has failed, and says so itself.
    };
    sys::why("the control socket has a number that the new program knows");
    sys::dup2(control.raw(), CONTROL).context("dup2")?;
    let mut argv = vec![c"mydocker".into(), c"child".into(), sys::cstr(bundle).context("the bundle's path")?];
    if sys::verbose() {
        argv.push(c"-v".into());
    }
    sys::why("/proc/PID/exe in the container is a copy that nobody can write (CVE-2019-5736)");
    Err(sys::execveat(&program, &argv, &[])).context("execveat of the sealed copy")
}

/// The engine's own program in a memfd, sealed.
pub fn sealed_copy() -> Result<Fd> {
    let own = sys::open("/proc/self/exe", libc::O_RDONLY, 0).context("open /proc/self/exe")?;
    let copy = sys::memfd_create("mydocker").context("memfd_create")?;
    // Less than was asked for is the end of a regular file.
    const PLENTY: usize = 1 << 30;
    sys::why("a copy of this program");
    while sys::sendfile(&copy, &own, PLENTY).context("sendfile")? == PLENTY {}
    sys::why("nobody can write it from here on");
    sys::seal(&copy).context("fcntl(F_ADD_SEALS)")?;
    Ok(copy)
}

/// Tells the engine why there will be no command, and ends.
fn report(control: &Fd, error: Error) -> ! {
    let mut message = vec![error.code as u8];
    message.extend_from_slice(error.message.as_bytes());
    message.truncate(say::LONGEST);
    // An engine that is gone needs no report.
    let _nobody_left = sys::send_message(control, &message, None);
    sys::exit(error.code)
}

/// The second step: `mydocker child BUNDLE [-v]`, pid 1 of the container. It returns only by exiting.
pub fn main(arguments: &[OsString]) -> ! {
    sys::set_who("child");
    sys::set_verbose(arguments.get(1).is_some_and(|a| a == "-v"));
    let control = sys::inherited(CONTROL);
    let error = match arguments.first() {
        Some(bundle) => become_command(&control, Path::new(bundle)).err(),
        None => None,
    };
    report(&control, error.unwrap_or_else(|| Error::new("mydocker child is started by mydocker run alone")))
}

/// Everything between here and the command, in order.
fn become_command(control: &Fd, bundle_dir: &Path) -> Result<()> {
    // Whatever the caller had open ends here: a directory of the host would be a way back
    // (CVE-2024-21626). The control socket closes when the command starts, and so tells the engine.
    sys::why("nothing that the caller had open but standard input, output and error");
    sys::close_range(CONTROL + 1).context("close_range")?;
    sys::why("and the control socket only until the command starts: its closing tells the engine so");
    sys::close_on_exec(control).context("fcntl(F_SETFD)")?;

    let bundle = read_bundle(bundle_dir)?;
    let (store, id) = store_and_id(bundle_dir)?;
    rootfs::build(&bundle, store, &id)?;
    if bundle.network != Network::Host {
        sys::why("127.0.0.1 of the container's own");
        sys::interface_up("lo").context("bring lo up")?;
    }
    sys::why("the name of this UTS namespace");
    sys::sethostname(&bundle.hostname).context("sethostname")?;

    sys::why("a session of its own: no controlling terminal of the caller's (CVE-2017-5226)");
    sys::setsid().context("setsid")?;
    if bundle.terminal {
        let (master, slave) = terminal::make(bundle.user.uid)?;
        sys::why("the engine gets the other end");
        sys::send_message(control, say::TERMINAL, Some(&master)).context("sendmsg")?;
        terminal::control(&slave)?;
    }
    rootfs::seal(&bundle)?;
    enter_directory(&bundle.cwd)?;

    confine::own_keyring()?;
    confine::bound_capabilities()?;
    let single = bundle.gids.iter().map(|range| u64::from(range.count)).sum::<u64>() == 1;
    if confine::become_user(&bundle.user, !single)? {
        stay_bound(control)?;
    }
    wait_for_network(control, bundle.network)?;
    sys::why("the engine had blocked them");
    sys::unblock_signals().context("rt_sigprocmask")?;
    execute(&bundle)
}

fn read_bundle(dir: &Path) -> Result<Bundle> {
    let file = dir.join("config.json");
    sys::why("what this container is to be");
    let text = sys::read_file(&file, 16 << 20).context(format_args!("read {}", file.display()))?;
    let config = json::parse(&text).map_err(|wrong| Error::new(format!("{}: {wrong}", file.display())))?;
    Bundle::from_json(&config).ok_or_else(|| Error::new(format!("{}: not a bundle of mydocker's", file.display())))
}

/// `STORE/containers/ID` -> `STORE` and `ID`.
fn store_and_id(bundle: &Path) -> Result<(&Path, String)> {
    let store = bundle.parent().and_then(Path::parent);
    match (store, bundle.file_name()) {
        (Some(store), Some(id)) => Ok((store, id.to_string_lossy().into_owned())),
        _ => Err(Error::new(format!("{} is no container's directory", bundle.display()))),
    }
}

/// The working directory, made where the image has none, as docker does. It must lie inside the root: a
/// link in /proc could name a directory that does not (CVE-2024-21626).
fn enter_directory(cwd: &OsStr) -> Result<()> {
    let path = Path::new(cwd);
    if path == Path::new("/") {
        return Ok(()); // pivot_root(2) has left us there
    }
    let entered = match sys::chdir(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            rootfs::make_dirs(path)?;
            sys::chdir(path)
        }
        entered => entered,
    };
    entered.context(format_args!("chdir to the working directory {}", path.display()))?;
    if std::env::current_dir().is_ok_and(|dir| dir.is_absolute()) {
        return Ok(());
    }
    Err(Error::new(format!("the working directory {} lies outside the container", path.display())))
}

fn wait_for_network(control: &Fd, network: Network) -> Result<()> {
    if network == Network::Slirp {
        sys::why("wait until the network is up");
        let (length, _) = sys::receive_message(control, &mut [0; 16], 0).context("recvmsg")?;
        if length == 0 {
            sys::exit(1); // The engine has failed, and says so itself.
        }
    }
    Ok(())
}

/// The container must not outlive its engine. A change of uid has cleared the parent-death signal, prctl(2):
/// it is set again, and then a look whether the engine is still there, for it may have died in between.
fn stay_bound(control: &Fd) -> Result<()> {
    sys::why("when the engine dies, so does the container");
    sys::set_parent_death_signal(libc::SIGKILL).context("prctl(PR_SET_PDEATHSIG)")?;
    sys::why("is the engine still there? (EAGAIN: it is)");
    match sys::receive_message(control, &mut [0; 16], libc::MSG_DONTWAIT | libc::MSG_PEEK) {
        Ok((0, _)) => sys::exit(1),
        // A message waits, or none does (EAGAIN): somebody is there to send it.
        _ => Ok(()),
    }
}

/// Looks the command up in the container's own PATH, as execvp(3) does, and becomes it.
fn execute(bundle: &Bundle) -> Result<()> {
    let strings = |list: &[OsString]| list.iter().map(sys::cstr).collect::<std::io::Result<Vec<CString>>>();
    let argv = strings(&bundle.args).context("the command's arguments")?;
    let env = strings(&bundle.env).context("the command's environment")?;
    let name = bundle.args.first().cloned().unwrap_or_default();
    let candidates = candidates(&name, &bundle.env);
    let mut denied = None;
    for path in &candidates {
        sys::why("the user's command");
        let error = sys::execve(path, &argv, &env);
        if !matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR)) {
            denied = denied.or(Some(cannot_execute(path, error)));
        }
    }
    // ENOENT is also what a file answers whose interpreter is missing.
    let without_interpreter = candidates.iter().find(|path| path.exists());
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
    fn a_bundle_names_its_store() {
        let (store, id) = store_and_id(Path::new("/s/containers/abc")).unwrap();
        assert_eq!((store, id.as_str()), (Path::new("/s"), "abc"));
    }
}
