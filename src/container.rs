//! The parent's story of one container: `mydocker run`.
//!
//! ```text
//! engine                                    child (pid 1 of the container)
//! ------                                    ------------------------------
//! find or pull the image
//! containers/<id>/, cgroup with limits
//! clone(new namespaces) ------------------> moves itself into the cgroup
//! id maps                                   network and cgroup namespaces
//! config.json
//! "build" --------------------------------> mounts, pivot_root
//!                         <---------------- "terminal" with the pty's master
//! slirp4netns, if asked for <-------------- "namespace"
//! "network" ------------------------------> capabilities, filter, groups, ids; the stub
//!                         <---------------- end of file: execve has happened
//! relays the terminal and signals           the command
//! wait4 <---------------------------------- exits
//! cgroup, slirp4netns, --rm: all goes
//! ```
//!
//! One socket carries the conversation. An error in the child comes back over it as text, and the
//! command has then not run. [`run`] is the story, told in this order.

use std::fmt::Write;
use std::mem::ManuallyDrop;

use libc::{CLONE_NEWIPC, CLONE_NEWNS, CLONE_NEWPID, CLONE_NEWUSER, CLONE_NEWUTS};

use crate::bundle::{Bundle, Network};
use crate::cgroup::Cgroups;
use crate::confine;
use crate::describe;
use crate::error::{say, Context, Error, Result};
use crate::facts::{self, Facts};
use crate::idmap::IdMap;
use crate::image;
use crate::init::{self, say, Plan};
use crate::initramfs;
use crate::job;
use crate::network;
use crate::options::{PullPolicy, RunOptions};
use crate::pull;
use crate::reference::Reference;
use crate::rlimits;
use crate::rootfs;
use crate::state::Container;
use crate::store::{self, Store};
use crate::stub;
use crate::sys::{self, Fd, Pid, STDIN, STDOUT};
use crate::terminal::{self, Event, RawMode, Relay};
use crate::user;

/// So many SIGINTs or SIGTERMs that the command does not end at, then it is killed, as docker does: pid 1
/// of a container does not die of a signal that it has no handler for, pid_namespaces(7).
const PATIENCE: u32 = 3;

/// Runs a container from beginning to end; returns the command's exit code.
pub fn run(options: &RunOptions) -> Result<i32> {
    let terminal = wants_terminal(options)?;
    sys::default_ignored_signals().context("read /proc/self/status")?;
    sys::step("image");
    let store = Store::of_caller()?;
    let map = IdMap::of_caller()?;
    let (image, lock) = find_image(&store, options, &map)?;
    let of_image = describe::string(image.config.get("config"), "User")?;
    let found = user::find(options.user.as_deref().unwrap_or(of_image), &image.passwd, &image.group, &map)?;

    let on_rootfs = initramfs::is_left_to_child()?;
    let id = store::random_hex()?;
    let name = options.name.clone().unwrap_or_else(|| id.clone());
    let bundle = describe::bundle(options, &image, found, &map, &id, &name, terminal)?;

    // From here on a signal waits until the engine can do something sensible with it.
    sys::step("clone");
    sys::why("signals wait from here on, and are passed to the command");
    sys::block_signals().context("rt_sigprocmask")?;
    let run = Run { store: &store, map: &map, options, image: &image, bundle: &bundle, id: &id, on_rootfs };
    let (container, running) = run.start(lock)?;
    let code = supervise(running);
    container.stopped(code)?;
    if options.remove {
        container.remove(&store, &name, &map)?;
    } else {
        std::mem::forget(container); // the exit, which is next, gives the lock back
    }
    Ok(code)
}

/// With a terminal on both sides the container gets one; `-t` insists on it.
fn wants_terminal(options: &RunOptions) -> Result<bool> {
    let both = terminal::is_terminal(STDIN) && terminal::is_terminal(STDOUT);
    if options.terminal && !both {
        return Err(Error::new("-t: standard input and output are not both a terminal")
            .hint("leave -t out: without it they are passed as they are"));
    }
    Ok(both)
}

// ---- the image ----

/// The image, and a lock that keeps `rmi` away from it until the container's `config.json` says that it is in use.
fn find_image(store: &Store, options: &RunOptions, map: &IdMap) -> Result<(Facts, Fd)> {
    let reference = Reference::parse(&options.image)?;
    if options.pull != PullPolicy::Always {
        if let Some(found) = find_locked(store, &reference, &options.image, map)? {
            if fits(&found.0, options.platform.as_deref()) {
                return Ok(found);
            }
        }
        if options.pull == PullPolicy::Never {
            return Err(
                Error::new(format!("no image {reference} in the store")).hint("--pull never forbids to fetch it")
            );
        }
    }
    let how = pull::Options { platform: options.platform.clone(), mirror: options.mirror.clone() };
    pull::pull(store, &reference, &how, map)?;
    sys::step("image");
    if let Some(found) = find_locked(store, &reference, &options.image, map)? {
        return Ok(found);
    }
    // An rmi came in between.
    pull::pull(store, &reference, &how, map)?;
    sys::step("image");
    let found = find_locked(store, &reference, &options.image, map)?;
    found.ok_or_else(|| Error::new(format!("{reference} was removed just now")))
}

/// A name counts before an ID, as in docker.
fn find_locked(store: &Store, name: &Reference, id: &str, map: &IdMap) -> Result<Option<(Facts, Fd)>> {
    let lock = match image::lock(store, libc::LOCK_SH) {
        Err(error) if error.errno == Some(libc::ENOENT) => return Ok(None), // there is no store yet
        lock => lock?,
    };
    let found = match facts::find(store, name, map)? {
        None => facts::find_id(store, id, map)?,
        found => found,
    };
    Ok(found.map(|facts| (facts, lock)))
}

/// Whether an image in the store is of the platform that was asked for.
fn fits(image: &Facts, platform: Option<&str>) -> bool {
    let Some(platform) = platform else { return true };
    let mut parts = platform.split('/');
    let is = |field: &str, part: Option<&str>| part.is_none_or(|part| image.config.get(field).str() == Some(part));
    is("os", parts.next()) && is("architecture", parts.next()) && is("variant", parts.next())
}

// ---- start ----

/// Writes everything that the child will need into the container's directory.
fn write_bundle(container: &Container, image: &Facts, bundle: &Bundle) -> Result<()> {
    let upper = container.dir.join("upper");
    sys::why("overlayfs's upper directory: what the container writes");
    network::make_like(&upper, image.root)?;
    network::write_etc(&upper, image.etc, bundle.network, &bundle.hostname)?;
    for (name, reason) in
        [("work", "overlayfs's room to prepare changes in"), ("rootfs", "where the layers appear as one tree")]
    {
        sys::why(reason);
        let dir = container.dir.join(name);
        sys::mkdir(&dir, 0o700).context(format_args!("mkdir {}", dir.display()))?;
    }
    let file = container.dir.join("config.json");
    let mut text = String::with_capacity(32 << 10); // most of it is the filter, which always has that size
    let _a_string_takes_all = write!(text, "{}", bundle.to_json());
    sys::why("what this container is to be: runtime-spec config.md");
    sys::write_file(&file, 0o600, text.as_bytes()).context(format_args!("write {}", file.display()))
}

/// All that a container is started from.
struct Run<'a> {
    store: &'a Store,
    map: &'a IdMap,
    options: &'a RunOptions,
    image: &'a Facts,
    bundle: &'a Bundle,
    id: &'a str,
    /// `/` is a rootfs still: the child has to leave it.
    on_rootfs: bool,
}

/// A container under way. Whatever goes wrong, dropping it ends and removes its process, cgroups and network.
struct Running {
    pid: Pid,
    /// The exit status has been taken: the pid is nobody's any more.
    ended: bool,
    /// The engine's end of the conversation; the engine's exit closes it.
    control: ManuallyDrop<Fd>,
    /// They go when this is dropped, after the process has ended.
    cgroups: Cgroups,
    network: Option<network::Helper>,
    terminal: Option<Fd>,
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.ended {
            // The child may be dead already; waited for it must be in any case.
            sys::why("if possible: there will be no command: its process ends");
            let _already_dead = sys::kill(self.pid, libc::SIGKILL);
            sys::why("if possible: and is waited for");
            let _status = sys::wait(self.pid);
        }
    }
}

impl Run<'_> {
    fn plan<'a>(&'a self, cgroups: &'a Cgroups) -> Plan<'a> {
        Plan {
            store: self.store,
            id: self.id,
            bundle: self.bundle,
            cgroups,
            marks: self.image.marks,
            on_rootfs: self.on_rootfs,
        }
    }

    /// From nothing to a command that runs. On an error the command has never run, and nothing stays.
    fn start(&self, lock: Fd) -> Result<(Container, Running)> {
        // First of all: whatever is left of an engine that was killed, `rm` finds by it.
        let container = Container::create(self.store, self.id)?;
        match self.launch(&container, lock) {
            Ok(running) => Ok((container, running)),
            Err(error) => {
                let _told_already = container.remove(self.store, &self.bundle.name, self.map);
                Err(error)
            }
        }
    }

    /// An error ends the child before it is returned: that may have mounted what is then to be removed.
    fn launch(&self, container: &Container, lock: Fd) -> Result<Running> {
        let mut running = self.clone_child()?;
        match self.bring_up(container, &mut running, lock) {
            Ok(()) => Ok(running),
            Err(error) => Err(reported(&running).unwrap_or(error)),
        }
    }

    /// The child gets a copy of everything here; init.rs goes on with it.
    fn clone_child(&self) -> Result<Running> {
        rlimits::raise(&self.bundle.confinement.rlimits)?;
        let cgroups = Cgroups::create(self.id, &self.bundle.limits)?;
        sys::why("engine and child talk over this");
        let (control, theirs) = sys::socketpair().context("socketpair")?;
        let namespaces = CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWUTS | CLONE_NEWIPC;
        sys::why("pid 1 of the container: a copy of the engine in namespaces of its own");
        let Some(pid) = sys::clone(namespaces).map_err(job::clone_failed)? else {
            init::start(control, &theirs, &self.plan(&cgroups))
        };
        let control = ManuallyDrop::new(control);
        Ok(Running { pid, ended: false, control, cgroups, network: None, terminal: None })
    }

    fn bring_up(&self, container: &Container, running: &mut Running, lock: Fd) -> Result<()> {
        sys::step("bundle");
        self.map.write(running.pid)?;
        confine::set_oom_score(running.pid, self.bundle.confinement.oom_score)?;
        // The rest is made while the child makes its network namespace, which takes longest of all.
        if self.bundle.name != self.id {
            container.claim_name(self.store, &self.bundle.name)?;
        }
        write_bundle(container, self.image, self.bundle)?;
        drop(lock); // from here on `rmi` sees that the image is in use
        container.running(running.pid)?;
        let layers = rootfs::prepare(&self.plan(&running.cgroups), self.map)?;
        sys::why("ids and directory are there: the child can build");
        sys::send_message(&running.control, say::BUILD, layers.as_ref()).or_else(child_is_gone)?;
        drop(layers);
        if self.bundle.network == Network::Slirp {
            self.connect(running)?;
        }
        wait_for_command(running)
    }

    /// Connects the network namespace to the outside, once the child has one.
    fn connect(&self, running: &mut Running) -> Result<()> {
        let asked_for = self.options.network.is_some();
        let mut message = vec![0; say::LONGEST];
        sys::step("network");
        sys::why("wait until the child has a network namespace");
        let (length, _) = sys::receive_message(&running.control, &mut message, 0).context("recvmsg from the child")?;
        if &message[..length] != say::NAMESPACE {
            return Err(failed(&message[..length]));
        }
        running.network = network::start(running.pid, asked_for, self.on_rootfs)?;
        wait_for_network(running, asked_for)?;
        sys::why("the network is up");
        sys::send_message(&running.control, say::NETWORK, None).or_else(child_is_gone)
    }
}

/// What the child reported: the exit code as one byte, then the text. Or what the stub did.
fn failed(message: &[u8]) -> Error {
    if let Some(error) = stub::failure(message) {
        return error;
    }
    match message {
        [code, text @ ..] => Error::new(String::from_utf8_lossy(text)).with_code((*code).into()),
        [] => Error::new("the child ended before the command ran"),
    }
}

/// What a child that has failed has reported: our own error may be no more than a consequence of its.
fn reported(running: &Running) -> Option<Error> {
    let mut message = vec![0; say::LONGEST];
    loop {
        sys::why("if possible: has the child reported an error? (EAGAIN: no)");
        match sys::receive_message(&running.control, &mut message, libc::MSG_DONTWAIT) {
            Ok((0, _)) | Err(_) => return None,
            Ok((length, _)) => match &message[..length] {
                say::NAMESPACE | say::TERMINAL => {}
                report => return Some(failed(report)),
            },
        }
    }
}

/// A network that nobody asked for by name may be missing, with a warning.
fn wait_for_network(running: &mut Running, asked_for: bool) -> Result<()> {
    let Some(helper) = &running.network else { return Ok(()) };
    match helper.ready() {
        Err(error) if !asked_for => {
            if let Some(report) = reported(running) {
                return Err(report);
            }
            say(format_args!("warning: no network but loopback: {error}"));
            running.network = None;
            Ok(())
        }
        ready => ready,
    }
}

/// The child has failed meanwhile: what it reported is in the socket, and says more than EPIPE.
fn child_is_gone(error: std::io::Error) -> Result<()> {
    match error.kind() {
        std::io::ErrorKind::BrokenPipe => Ok(()),
        _ => Err(error).context("sendmsg to the child"),
    }
}

/// Listens until `execve` has closed the child's end: then the command runs. An error instead is returned.
fn wait_for_command(running: &mut Running) -> Result<()> {
    let mut message = vec![0; say::LONGEST];
    sys::step("end");
    loop {
        sys::why("until execve closes the other end: then the command runs");
        let (length, fd) = sys::receive_message(&running.control, &mut message, 0).context("recvmsg from the child")?;
        match (&message[..length], fd) {
            ([], _) => return Ok(()),
            (say::TERMINAL, Some(master)) => running.terminal = Some(master),
            (report, _) => return Err(failed(report)),
        }
    }
}

// ---- the command runs ----

/// Passes the terminal and signals until the command ends; returns its exit code.
fn supervise(mut running: Running) -> i32 {
    let code = match running.terminal.take() {
        Some(master) => with_terminal(running.pid, master),
        None => pass_signals(running.pid),
    };
    // Without its exit code the command is still to be ended; Running does that.
    running.ended = code.is_ok();
    code.unwrap_or_else(|error| {
        say(error);
        crate::error::ENGINE_FAILED
    })
}

fn pass_signals(pid: Pid) -> Result<i32> {
    let mut impatience = 0;
    loop {
        sys::why("a signal: the command's end, or one to pass on");
        let signal = sys::wait_for_signal().context("rt_sigtimedwait")?;
        if let Some(code) = handle(signal, pid, &mut impatience)? {
            return Ok(code);
        }
    }
}

fn with_terminal(pid: Pid, master: Fd) -> Result<i32> {
    sys::why("signals come as something to read, beside the terminal");
    let signals = sys::signalfd().context("signalfd4")?;
    let mut relay = Relay::new(master)?;
    let raw = RawMode::enter()?;
    let mut impatience = 0;
    let code = loop {
        if relay.step(&signals)? == Event::Copied {
            continue;
        }
        sys::why("which signal?");
        match sys::read_signal(&signals).context("read from signalfd")? {
            libc::SIGWINCH => relay.resize(),
            // The terminal is gone. The command gets its SIGHUP from its own terminal.
            libc::SIGHUP => relay.hang_up(),
            signal => {
                if let Some(code) = handle(signal, pid, &mut impatience)? {
                    break code;
                }
            }
        }
    };
    relay.drain();
    drop(raw);
    Ok(code)
}

/// One signal: the exit code, if it was the command's end; any other is passed to the command.
fn handle(signal: i32, pid: Pid, impatience: &mut u32) -> Result<Option<i32>> {
    if signal == libc::SIGCHLD {
        sys::why("how did it end?");
        let ended = sys::wait4(pid, libc::WNOHANG).context("wait4")?;
        return Ok(ended.map(|(_, status)| status.code()));
    }
    if signal == libc::SIGPIPE {
        return Ok(None); // of a write of the engine's own, whose reader is gone
    }
    *impatience += u32::from(matches!(signal, libc::SIGINT | libc::SIGTERM));
    let signal = if *impatience >= PATIENCE { libc::SIGKILL } else { signal };
    // A command that ended just now needs no signal; its SIGCHLD comes next.
    sys::why("if possible: the signal is the command's");
    let _ended_just_now = sys::kill(pid, signal);
    Ok(None)
}
