//! Pid 1 of a machine: `rdinit=/mydocker` and `mydocker="run busybox sh"` on the kernel's command line.
//!
//! ```text
//! kernel: unpacks the initramfs, starts /mydocker with the variable mydocker=run busybox sh
//! pid 1                                           the others
//! -----                                           ----------
//! mounts: dev proc sys devpts shm cgroup2
//! one mount more on the rootfs (initramfs.rs)
//! modules, lo, the first card ------------------> busybox udhcpc, which stays
//! for each of /images --------------------------> mydocker load -i ..., a copy of pid 1
//! the command ----------------------------------> mydocker run busybox sh, another copy
//! passes signals on, reaps every orphan
//! "the command ended with exit code 0" <--------- exits
//! SIGTERM, SIGKILL, sync, umount, power off
//! ```
//!
//! The kernel hands a `name=value` that it does not know to pid 1 as a variable, without the double quotes around it
//! (Documentation/admin-guide/kernel-parameters.rst), and panics when pid 1 ends: whatever goes wrong here is said, and
//! the machine is powered off. What is there already, made by an init before us, stays as it is.
//!
//! [`story`] is the story, told in this order; [`power_off`] is its end.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use libc::{c_ulong, MS_NODEV, MS_NOEXEC, MS_NOSUID, MS_RDONLY, MS_REMOUNT};

use crate::boot_network::{self, Wanted};
use crate::error::{say, Error, Result, ENGINE_FAILED};
use crate::initramfs;
use crate::mountinfo::unescape;
use crate::rmi::names;
use crate::store::remove_tree;
use crate::sys::{self, Pid, Status};

/// The variable that holds the command.
const VARIABLE: &str = "mydocker";

/// Whether the kernel has started this program as the machine's first. A container's pid 1 has the number, too, but
/// there reboot(2) is refused: EINVAL outside of the first pid namespace (kernel/reboot.c), or EPERM. Nobody else is
/// asked anything: the kernel's own environment is `HOME=/` and what its command line brings.
pub fn is_wanted(arguments: &[OsString]) -> bool {
    let variable = |name| std::env::var_os(name);
    if variable(VARIABLE).is_none() && !arguments.is_empty() && variable("HOME").is_none_or(|home| home != "/") {
        return false;
    }
    sys::why("the machine's first process?");
    if sys::getpid() != 1 {
        return false;
    }
    sys::why("if possible: Ctrl-Alt-Del is a SIGINT for pid 1 (EINVAL: of a container)");
    sys::reboot(libc::RB_DISABLE_CAD).is_ok()
}

/// Pid 1.
pub fn main() -> ! {
    sys::set_who("init".to_string());
    sys::step("boot");
    let command = words(&std::env::var_os(VARIABLE).unwrap_or_default(), b'\'').unwrap_or_default();
    narrate_if(&command);
    if let Err(error) = story(command) {
        say(error);
    }
    power_off()
}

/// `-v` is for pid 1, too.
fn narrate_if(command: &[OsString]) {
    if command.first().is_some_and(|first| first == "-v") && !sys::verbose() {
        crate::narrate();
    }
}

/// From the kernel's start to the command's end. Where something fails that the command may do without, a warning
/// says so. No PATH is needed: where there is none, helpers are looked for in the usual places.
fn story(command: Vec<OsString>) -> Result<()> {
    furnish(); // first of all: where there is no console, nobody would see the next error
    narrate_if(&command); // again: a narrator that nobody could hear has fallen silent
    if command.is_empty() {
        return Err(Error::new("no command given, or a ' is not closed")
            .hint("mydocker=\"run IMAGE\" on the kernel's command line"));
    }
    sys::why("if possible: signals wait until there is somebody to pass them to");
    let _cannot_fail = sys::block_signals();
    sys::why("if there is one: mydocker.ip=");
    let line = sys::read_file("/proc/cmdline", 64 * 1024).unwrap_or_default();
    let wanted = Wanted::parse(&words(&OsString::from_vec(line), b'"').unwrap_or_default())?;
    leave_rootfs();
    sys::why("if there is one: modules that have been given along");
    for module in given("/modules") {
        load_module(&format!("/modules/{module}"));
    }
    sys::why("if possible: 127.0.0.1, interfaces are spoken to through any socket");
    check("bring up", "lo", sys::interface_up("lo"));
    boot_network::bring_up(wanted);
    sys::why("if there is one: images that have been given along");
    for archive in given("/images") {
        load_image(&format!("/images/{archive}"));
    }
    let code = supervise(start(&command)).code();
    say(format_args!("the command ended with exit code {code}"));
    Ok(())
}

/// Says what has failed. That something is there or mounted already is no failure.
pub fn check(call: &str, object: &str, done: io::Result<()>) -> bool {
    match done {
        Err(error) if !matches!(error.raw_os_error(), Some(libc::EEXIST | libc::EBUSY)) => {
            say(format_args!("warning: {call} {object}: {error}"));
            false
        }
        _ => true,
    }
}

/// The words of a text: what stands between spaces, and a pair of quotes keeps a word together. `None`: one is not
/// closed. Quotes of the kernel's own command line are double ones, those inside the variable single ones.
fn words(text: &OsStr, quote: u8) -> Option<Vec<OsString>> {
    let (mut words, mut word, mut is_word, mut quoted) = (Vec::new(), Vec::new(), false, false);
    for byte in text.as_bytes().iter().chain(b" ") {
        if *byte == quote {
            quoted = !quoted;
            is_word = true;
        } else if quoted || !byte.is_ascii_whitespace() {
            word.push(*byte);
            is_word = true;
        } else if is_word {
            words.push(OsString::from_vec(std::mem::take(&mut word)));
            is_word = false;
        }
    }
    (!quoted).then_some(words)
}

// ---- what every machine has ----

const CGROUPS: &str = "/sys/fs/cgroup";
const SAFE: c_ulong = MS_NOSUID | MS_NODEV;

/// The kernel's file systems: where, what, flags, options. /dev comes first: whatever is opened before the console is
/// could become standard output.
const FILE_SYSTEMS: &[(&str, &str, c_ulong, &str)] = &[
    ("/dev", "devtmpfs", MS_NOSUID, "mode=755"),
    ("/proc", "proc", SAFE | MS_NOEXEC, ""),
    ("/sys", "sysfs", SAFE | MS_NOEXEC, ""),
    ("/dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "gid=5,mode=620,ptmxmode=666"),
    ("/dev/shm", "tmpfs", SAFE, "mode=1777"),
    // Delegated as cgroup-v2.rst has it, "Delegation Containment".
    (CGROUPS, "cgroup2", SAFE | MS_NOEXEC, "nsdelegate"),
];

/// Directories that are more than a place to mount on.
const DIRECTORIES: &[(&str, u32)] = &[("/etc", 0o755), ("/run", 0o755), ("/tmp", 0o1777)];

/// Symbolic links: what they point to, and their names.
const LINKS: &[(&str, &str)] = &[
    ("/proc/self/fd", "/dev/fd"),
    ("/proc/self/fd/0", "/dev/stdin"),
    ("/proc/self/fd/1", "/dev/stdout"),
    ("/proc/self/fd/2", "/dev/stderr"),
];

/// Mounts and makes what programs expect to find, as far as it is missing.
fn furnish() {
    sys::why("modes of files mean what they say");
    sys::umask(0);
    for (path, kind, flags, data) in FILE_SYSTEMS {
        // Until there is a /proc nobody knows: then EBUSY says it.
        if !mounts().contains(&format!(" {path} ")) {
            make_dir(path, 0o755);
            sys::why("if possible: one of the kernel's file systems (EBUSY: it is there)");
            check("mount", path, sys::mount(*kind, *path, kind, *flags, data));
        }
        if *path == "/dev" {
            open_console();
        }
    }
    hand_controllers_down();
    for (path, mode) in DIRECTORIES {
        make_dir(path, *mode);
    }
    for (target, link) in LINKS {
        sys::why("if possible: a name that programs know (EEXIST: it is there)");
        check("symlink", link, sys::symlink(*target, *link));
    }
    write_new("/etc/hosts", "127.0.0.1 localhost\n::1 localhost\n");
    sys::why("if there is one: the machine's name");
    if sys::read_file("/proc/sys/kernel/hostname", 4096).is_ok_and(|name| name == b"(none)\n") {
        sys::why("if possible: it has none");
        check("sethostname", "", sys::sethostname("mydocker"));
    }
}

/// Once for all that will run here, users' containers and slirp4netns's sandbox among them; initramfs.rs says why.
fn leave_rootfs() {
    let left = initramfs::is_rootfs().and_then(|is_rootfs| if is_rootfs { initramfs::step_off(true) } else { Ok(()) });
    if let Err(error) = left {
        say(format_args!("warning: {error}"));
    }
}

/// What is mounted, proc(5): `SOURCE PLACE TYPE ...`
fn mounts() -> String {
    sys::why("if there is one: what is mounted?");
    let mounts = sys::read_kernel_list("/proc/mounts", 1 << 20).unwrap_or_default();
    String::from_utf8_lossy(&mounts).into_owned()
}

fn make_dir(path: &str, mode: u32) {
    sys::why("if possible: a directory that programs know (EEXIST: it is there)");
    check("mkdir", path, sys::mkdir(path, mode));
}

/// A file of the machine's, unless whoever made the machine has put one there.
pub fn write_new(path: &str, text: &str) {
    sys::why("if possible: what programs look up names by (EEXIST: it is there)");
    let file = sys::open(path, libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL, 0o644);
    check("write", path, file.and_then(|file| sys::write_all(file.raw(), text.as_bytes())));
}

/// Standard input, output and error, where the initramfs had no /dev/console for the kernel to open.
fn open_console() {
    loop {
        sys::why("if possible: the console, should standard input, output or error be closed");
        match sys::open("/dev/console", libc::O_RDWR | libc::O_NOCTTY, 0) {
            Ok(console) if console.raw() <= sys::STDERR => {
                sys::why("if possible: one was, this takes its place, for programs, too");
                let _of_an_open_file = sys::keep_on_exec(&console);
                std::mem::forget(console);
            }
            _ => return,
        }
    }
}

/// cgroups below the root get the controllers that the root names in `cgroup.subtree_control`, cgroup-v2.rst.
fn hand_controllers_down() {
    sys::why("if there is one: which controllers has this kernel?");
    let list = sys::read_file("/sys/fs/cgroup/cgroup.controllers", 4096).unwrap_or_default();
    let list = String::from_utf8_lossy(&list);
    if !list.is_empty() {
        let list = format!("+{}", list.trim_end().replace(' ', " +"));
        sys::why("if possible: all of them for the cgroups below");
        check("hand down", "controllers", sys::write_kernel_file("/sys/fs/cgroup/cgroup.subtree_control", &list));
    }
}

// ---- what this machine has ----

/// What lies in a directory that the initramfs may have brought.
fn given(dir: &str) -> Vec<String> {
    names(dir.as_ref()).unwrap_or_else(|error| {
        say(format_args!("warning: {error}"));
        Vec::new()
    })
}

/// A module of the kernel's. They are loaded by name: each stands behind those that it needs (else: ENOENT).
fn load_module(path: &str) {
    sys::why("if possible: a module of the kernel's");
    let loaded = sys::open(path, libc::O_RDONLY | libc::O_NONBLOCK, 0).and_then(|file| {
        sys::why("if possible: taken into the kernel (EEXIST: it is there)");
        sys::finit_module(&file)
    });
    check("load the module", path, loaded);
}

/// An image that the initramfs has brought. An archive is removed as soon as it is in the store: both are in memory.
fn load_image(path: &str) {
    sys::why("if possible: a file or a directory? of anything else nobody knows when it ends");
    if !sys::lstat(path).is_ok_and(|stat| matches!(stat.kind(), libc::S_IFREG | libc::S_IFDIR)) {
        return say(format_args!("warning: {path} is neither a file nor a directory"));
    }
    let narrated = if sys::verbose() { "-v" } else { "--" };
    // What goes wrong, load itself says.
    if supervise(start(&[narrated, "load", "-i", path].map(OsString::from))).success() {
        sys::why("if possible: loaded, it is of no more use (EISDIR: a directory)");
        check("remove", path, sys::unlink(path).or_else(|_| remove_tree(path.as_ref())));
    } else {
        say(format_args!("warning: {path} is not loaded, and stays"));
    }
}

// ---- the command ----

/// Starts `mydocker WORD...`: a copy of this process, which goes the program's ordinary way.
fn start(words: &[OsString]) -> io::Result<Pid> {
    sys::why("a copy of pid 1, which does what it is told");
    if let Some(pid) = sys::clone(0)? {
        return Ok(pid);
    }
    sys::set_who("engine".to_string());
    sys::step("start");
    // A console that is no terminal is as good, only that nothing typed there becomes a signal.
    sys::why("if possible: a session of its own");
    let _is_one_already = sys::setsid();
    sys::why("if possible: its terminal is the console: Ctrl-C there is a SIGINT here");
    let _no_terminal = sys::ioctl(sys::STDIN, libc::TIOCSCTTY as _, 0, "TIOCSCTTY", &0);
    sys::why("if possible: pid 1 had blocked them");
    let _cannot_fail = sys::unblock_signals();
    sys::exit(crate::perform(words))
}

/// Waits until the command has ended; returns how. Meanwhile every process without a parent becomes our child, and
/// is waited for when it ends; signals go to the command.
fn supervise(command: io::Result<Pid>) -> Status {
    let pid = match command {
        Ok(pid) => pid,
        Err(error) => {
            say(format_args!("clone: {error}"));
            return Status::exited(ENGINE_FAILED);
        }
    };
    loop {
        match reap(pid) {
            Ok(None) => {}
            Ok(Some(status)) => return status,
            Err(_) => return Status::exited(ENGINE_FAILED), // it was never started
        }
        sys::why("if possible: a signal, the end of a process or one to pass on");
        let signal = match sys::wait_for_signal() {
            Ok(libc::SIGPWR) => libc::SIGTERM, // the power fails, signal(7)
            Ok(signal) if PASSED_ON.contains(&signal) => signal,
            _ => continue,
        };
        sys::why("if possible: the signal is the command's");
        let _ended_just_now = sys::kill(pid, signal);
    }
}

const PASSED_ON: &[i32] =
    &[libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGQUIT, libc::SIGUSR1, libc::SIGUSR2, libc::SIGWINCH];

/// Waits for all that have ended; returns how the command has, if it is one of them. ECHILD: nobody is left.
fn reap(command: Pid) -> io::Result<Option<Status>> {
    let mut ended = None;
    loop {
        sys::why("if possible: who has ended? (ECHILD: nobody is left)");
        match sys::wait4(-1, libc::WNOHANG) {
            Ok(Some((pid, status))) if pid == command => ended = Some(status),
            Ok(Some(_)) => {}
            Err(error) if ended.is_none() => return Err(error),
            _ => return Ok(ended),
        }
    }
}

// ---- the end ----

/// The machine's end, in order. Pid 1 never ends itself: the kernel would panic.
fn power_off() -> ! {
    sys::fold("until all have ended, by SIGTERM, or SIGKILL a second later", end_processes);
    sys::why("what is to be written to disks is written");
    sys::sync();
    for line in mounts().lines().rev() {
        leave_disk(line);
    }
    for command in [libc::RB_POWER_OFF, libc::RB_HALT_SYSTEM] {
        sys::why("if possible: the end of the machine");
        let _next_way = sys::reboot(command);
    }
    loop {
        sys::why("if possible: the power is to be switched off by hand");
        let _nothing_else_to_do = sys::poll(&mut [], -1);
    }
}

/// Nobody is waited for where nobody is left, and not for ever.
fn end_processes() {
    for turn in 0..100 {
        if reap(0).is_err() {
            return;
        }
        let signal = [(0, libc::SIGTERM), (50, libc::SIGKILL)].iter().find(|(when, _)| *when == turn);
        if let Some((_, signal)) = signal {
            sys::why("if possible: to every process but pid 1");
            let _nobody_is_left = sys::kill(-1, *signal);
        }
        sys::why("if possible: time passes");
        let _time_passes = sys::poll(&mut [], 20);
    }
}

/// Unmounts a disk; one that is in use, as the root is, can be read only from here on.
fn leave_disk(line: &str) {
    if let Some(point) = disk(line) {
        sys::why("if possible: a disk is left in order");
        if sys::umount2(&point, 0).is_err() {
            sys::why("if possible: or at least nothing more is written to it");
            check("remount", &point, sys::mount("", &point, "", MS_REMOUNT | MS_RDONLY, ""));
        }
    }
}

/// Where a disk is mounted: its source is a path.
fn disk(line: &str) -> Option<String> {
    let (_, rest) = line.strip_prefix('/')?.split_once(' ')?;
    Some(unescape(rest.split_once(' ')?.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_kept_together_by_quotes() {
        let split = |text: &str| words(text.as_ref(), b'\'').unwrap();
        assert_eq!(split("run busybox sh"), ["run", "busybox", "sh"]);
        assert_eq!(split("  run\tbusybox  "), ["run", "busybox"]);
        assert_eq!(split("run busybox sh -c 'echo a  b'"), ["run", "busybox", "sh", "-c", "echo a  b"]);
        assert_eq!(split("a'b c'd '' \"x y\""), ["ab cd", "", "\"x", "y\""], "double quotes are the kernel's");
        assert!(split(" ").is_empty() && split("").is_empty());
        assert_eq!(words(OsStr::from_bytes(b"\xff 'a b'"), b'\'').unwrap()[0], OsStr::from_bytes(b"\xff"));
        assert_eq!(words("run 'busybox sh".as_ref(), b'\''), None);
        assert_eq!(words("a=\"b c\" 'd e\n".as_ref(), b'"').unwrap(), ["a=b c", "'d", "e"]);
    }

    #[test]
    fn disks_are_told_from_the_kernels_own() {
        let table = "rootfs / rootfs rw 0 0\nproc /proc proc rw,nosuid 0 0\n/dev/sda1 /mnt/a\\040b ext4 rw 0 0\nx\n/";
        assert_eq!(table.lines().filter_map(disk).collect::<Vec<_>>(), ["/mnt/a b"]);
    }
}
