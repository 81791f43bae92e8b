//! mydocker: a container engine and a DNS forwarder, one static binary, written to be read.
//!
//! Below stands the table of contents in reading order, then the table of commands. `main` looks the
//! command up, runs it, prints the one line of an error, and exits with its code.

// `main` is in sys.rs: without the start-up of Rust's standard library the trace shows the program alone.
#![cfg_attr(not(test), no_main)]

// One container, from above:
mod options; // what the command line may say
mod options_confine; // and about power
mod container; // the parent's story: clone, maps, bundle, wait, clean up
mod describe; // image config and options, made one bundle
mod init; // the child's story: the container's world, and the command
mod stub; // the last program before the command
mod rootfs; // every mount, and the step into the new root
mod merge; // without overlayfs: the layers copied into one tree
mod initramfs; // where / is the kernel's rootfs: the way off it
mod mountinfo; // what is mounted
mod mount_lock; // mounts that not even CAP_SYS_ADMIN undoes
mod confine; // the order in which power is given up
mod capabilities; // the pieces of root's power
mod seccomp; // the filter on system calls
mod seccomp_table; // which calls, and when
mod rlimits; // what one process may use
mod user; // USER of an image: its own passwd and group
mod idmap; // uid_map and gid_map
mod job; // processes of our own inside namespaces
mod cgroup; // limits
mod network; // slirp4netns, /etc/hosts, /etc/resolv.conf
mod terminal; // the pty and raw mode
mod bundle; // what a container is to be: the OCI config.json
mod state; // containers on disk: ps, rm
mod look; // look: a living one, against the host
mod look_page; // margins, lists, trees
mod look_processes; // each with both its numbers
mod look_namespaces; // whose namespaces, and which ids stand for which
mod look_limits; // what it may use, and uses
mod look_mounts; // the tree of its mounts, and the layers of its root
mod look_network; // addresses, counters, routes
mod look_power; // what its pid 1 may do
mod check; // check: what a host has and lacks
mod check_run; // namespaces, file systems, devices, tried in a child
mod check_store; // what the store's file system carries
mod check_helpers; // the programs that are started, with little to do
mod check_limits; // cgroups

// A machine of its own:
mod boot; // pid 1: from the kernel's start to power off
mod boot_network; // mydocker.ip=, the first card

// One image:
mod pull; // the story of a pull
mod load; // the story of a load: docker-archive, OCI image layout
mod archive; // a directory or tar as files with names
mod reference; // docker.io/library/busybox:latest
mod registry; // the distribution API
mod login; // challenges and credentials
mod curl; // one request, by curl
mod manifest; // indexes, manifests, platforms
mod workers; // layers side by side, a process each
mod progress; // what is seen of a pull
mod layer; // one blob becomes one directory
mod source; // where its bytes come from, decompressed
mod tar; // what tar is told, and what it says
mod whiteout; // what a layer takes away
mod parents; // directories that a layer implies but does not describe
mod digest; // sha256, by openssl or sha256sum
mod helper; // a program, or another that can do the same
mod image; // what an image in the store is, and how it appears
mod rmi; // images, rmi
mod facts; // what a run needs to know of an image, in one file
mod store; // where things are kept

// One DNS query:
mod dns; // the loop, and the story of a query
mod dns_options; // what its command line may say
mod dns_listen; // where queries come in
mod dns_query; // what a client asks, and the replies it gets
mod dns_reply; // replies on their way, and the log
mod dns_local; // names that are answered here
mod dns_hosts; // hosts(5)
mod dns_cache; // answers by question, aged
mod dns_forward; // the way to the upstreams and back
mod dns_flight; // queries that wait for an upstream
mod dns_upstream; // the servers that are asked, and the sockets to them
mod dns_answer; // what an upstream says
mod dns_tcp; // messages on a stream, and the clients that have one open
mod dns_dial; // asked by TCP

// One DNS message:
mod dns_message; // RFC 1035 in memory: header bits, questions, records
mod dns_name; // names on the wire, and pointers
mod dns_record; // the data of records: A, CNAME, SOA, ...
mod dns_whole; // a message taken apart, and put together
mod dns_decode; // a message explained: the command
mod dns_view; // field by field
mod dns_fields; // what is in a field
mod dns_tables; // the fields of each type
mod dns_page; // how a field is shown
mod dns_index; // by hash, and in a row

// The ground:
mod error; // what was tried, on what, and what to do
mod json; // RFC 8259
mod order; // sorted lists
mod tell; // the narrator: -v
mod show; // how the arguments of system calls look
mod sys; // system calls: the only unsafe

use std::ffi::OsString;

use getopts::Options;

use error::{say, Context, Error, Result, ENGINE_FAILED};
use idmap::IdMap;
use options::{Parsed, RunOptions};
use reference::Reference;
use store::Store;

/// A command: its name, its arguments and a word on it for `--help`, and what it does.
struct Command {
    name: &'static str,
    arguments: &'static str,
    summary: &'static str,
    run: fn(&[OsString]) -> Result<i32>,
}

const COMMANDS: &[Command] = &[
    Command {
        name: "run",
        arguments: "[OPTIONS] IMAGE [COMMAND [ARG...]]",
        summary: "Runs a command in a new container",
        run,
    },
    Command {
        name: "pull",
        arguments: "[OPTIONS] IMAGE",
        summary: "Fetches an image from its registry",
        run: pull_image,
    },
    Command {
        name: "load",
        arguments: "[-i FILE|DIR]",
        summary: "Takes images from an archive: docker save's, or an OCI layout",
        run: load_images,
    },
    Command { name: "images", arguments: "", summary: "Lists the images in the store", run: images },
    Command { name: "rmi", arguments: "[-f] IMAGE...", summary: "Removes images", run: rmi },
    Command { name: "ps", arguments: "[-a]", summary: "Lists running containers, with -a all", run: ps },
    Command { name: "rm", arguments: "[-f] CONTAINER...", summary: "Removes containers", run: rm },
    Command { name: "check", arguments: "", summary: CHECK, run: check_host },
    Command { name: "seccomp", arguments: "", summary: SECCOMP, run: print_seccomp },
    Command { name: "look", arguments: "CONTAINER", summary: "Draws a running container against the host", run: look },
    Command {
        name: "dns",
        arguments: "[OPTIONS]",
        summary: "Forwards DNS queries, and keeps the answers",
        run: dns::main,
    },
];

const SECCOMP: &str = "Prints the filter on system calls, as docker's JSON";

const CHECK: &str = "Says what this host has and lacks; exit code 0 if a container can run, else 1";

/// The whole program: arguments in, exit code out. `main` in sys.rs calls it.
pub fn entry(arguments: &[OsString]) -> i32 {
    let arguments = arguments.get(1..).unwrap_or_default();
    if boot::is_wanted(arguments) {
        boot::main();
    }
    perform(arguments)
}

/// What the command line says: exit code out, and an error said.
fn perform(arguments: &[OsString]) -> i32 {
    match dispatch(arguments) {
        Ok(code) => code,
        Err(error) => {
            say(&error);
            error.code
        }
    }
}

/// What is so for every command.
fn prepare() -> Result<()> {
    sys::why("if possible: files of the store and of containers are not the caller's umask's business");
    sys::umask(0o022);
    check_standard_streams()
}

/// Standard input, output and error go into the container as they are. A closed one is filled, or the next file
/// opened would take its place; a directory is refused: it would be a way back to the host (CVE-2024-21626).
fn check_standard_streams() -> Result<()> {
    for (stream, name) in [(sys::STDIN, "input"), (sys::STDOUT, "output"), (sys::STDERR, "error")] {
        if sys::fill_standard_stream(stream).context(format_args!("fstat standard {name}"))?.is_dir() {
            return Err(Error::new(format!("standard {name} is a directory")));
        }
    }
    Ok(())
}

fn dispatch(arguments: &[OsString]) -> Result<i32> {
    let mut table = engine_table();
    let Parsed { matches, rest } = options::split(&mut table, arguments).map_err(usage)?;
    if matches.opt_present("v") {
        narrate();
    }
    if matches.opt_present("help") {
        return print(&help(&table));
    }
    if matches.opt_present("version") {
        return print(&format!("mydocker {}\n", env!("CARGO_PKG_VERSION")));
    }
    prepare()?;
    let [name, rest @ ..] = &rest[..] else {
        return Err(usage(Error::new("no command given")));
    };
    let command = COMMANDS.iter().find(|command| name == command.name);
    let command = command.ok_or_else(|| usage(Error::new(format!("unknown command {name:?}"))))?;
    // `mydocker --rm run ...` means what `mydocker run --rm ...` means.
    let rm = matches.opt_present("rm").then(|| OsString::from("--rm"));
    let rest: Vec<OsString> = rm.into_iter().chain(rest.iter().cloned()).collect();
    if !["run", "pull", "dns"].contains(&command.name) {
        sys::step("store");
    }
    (command.run)(&rest)
}

/// `-v`: in colour on a terminal, unless NO_COLOR says otherwise (no-color.org).
fn narrate() {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let wanted = !refused && std::env::var_os("TERM").is_none_or(|terminal| terminal != "dumb");
    tell::speak(false);
    if wanted && terminal::is_terminal(sys::STDERR) {
        tell::speak(true);
    }
}

fn engine_table() -> Options {
    let mut table = Options::new();
    table.optflagmulti("h", "help", "print this help");
    table.optflagmulti("", "rm", "run: remove the container when it has ended (also -rm)");
    table.optflagmulti("v", "", "debug: print every system call and helper, and why");
    table.optflagmulti("", "version", "print the version");
    table
}

fn usage(error: Error) -> Error {
    error.hint("usage: mydocker [-v] COMMAND [OPTIONS] [ARG...]; mydocker --help lists the commands")
}

fn help(table: &Options) -> String {
    let commands: String = COMMANDS.iter().map(|c| format!("    {:<8}{}\n", c.name, c.summary)).collect();
    let brief = format!(
        "Usage: mydocker [-v] COMMAND [OPTIONS] [ARG...]\n\nCommands:\n{commands}\nmydocker COMMAND --help says more."
    );
    table.usage(&brief)
}

fn print(text: &str) -> Result<i32> {
    sys::print(text).context("write to standard output")?;
    Ok(0)
}

/// Reads a command's options; `None` when its help was asked for, and has been printed.
fn parse(name: &str, mut table: Options, arguments: &[OsString]) -> Result<Option<Parsed>> {
    table.optflagmulti("h", "help", "print this help");
    let command = COMMANDS.iter().find(|command| command.name == name);
    let line =
        command.map(|c| format!("Usage: mydocker {} {}\n\n{}.", c.name, c.arguments, c.summary)).unwrap_or_default();
    let parsed = options::split(&mut table, arguments);
    let parsed = parsed.map_err(|error| error.hint(line.lines().next().unwrap_or_default()))?;
    if parsed.matches.opt_present("help") {
        print(&table.usage(&line))?;
        return Ok(None);
    }
    Ok(Some(parsed))
}

/// For a command that takes options alone.
fn nothing_more(name: &str, rest: &[OsString]) -> Result<()> {
    match rest.first() {
        None => Ok(()),
        Some(first) => Err(Error::new(format!("{name}: what is {first:?}?")).hint(usage_of(name))),
    }
}

/// Of one command.
fn usage_of(name: &str) -> String {
    let arguments = COMMANDS.iter().find(|command| command.name == name).map_or("", |c| c.arguments);
    format!("usage: mydocker {name} {arguments}").trim_end().to_string()
}

/// The arguments of a command as text; at least one.
fn names(name: &str, rest: &[OsString]) -> Result<Vec<String>> {
    if rest.is_empty() {
        return Err(Error::new(format!("{name}: nothing given")).hint(usage_of(name)));
    }
    let text = |argument: &OsString| argument.to_str().map(str::to_string);
    rest.iter().map(|a| text(a).ok_or_else(|| Error::new(format!("{a:?} is not UTF-8")))).collect()
}

fn run(arguments: &[OsString]) -> Result<i32> {
    let usage = "usage: mydocker run [OPTIONS] IMAGE [COMMAND [ARG...]]; mydocker run --help lists the options";
    // The host's refusal of something is no wrong use.
    match RunOptions::parse(arguments).map_err(|error| if error.errno.is_none() { error.hint(usage) } else { error })? {
        Some(options) => container::run(&options),
        None => print(&options::run_help()),
    }
}

fn pull_image(arguments: &[OsString]) -> Result<i32> {
    let mut table = Options::new();
    options::pull_table(&mut table);
    let Some(Parsed { matches, rest }) = parse("pull", table, arguments)? else { return Ok(0) };
    let names = names("pull", &rest)?;
    let [name] = &names[..] else {
        return Err(Error::new("pull: one image at a time").hint("usage: mydocker pull [OPTIONS] IMAGE"));
    };
    let reference = Reference::parse(name)?;
    let how =
        pull::Options { platform: options::last(&matches, "platform"), mirror: options::last(&matches, "mirror") };
    sys::default_ignored_signals().context("read /proc/self/status")?;
    pull::pull(&Store::of_caller()?, &reference, &how, &IdMap::of_caller()?)?;
    Ok(0)
}

fn load_images(arguments: &[OsString]) -> Result<i32> {
    let mut table = Options::new();
    table.optmulti("i", "input", "the archive, a file or a directory; else standard input", "FILE|DIR");
    table.optmulti("", "platform", "of an index that platform's image", "OS/ARCH[/VARIANT]");
    let Some(Parsed { matches, rest }) = parse("load", table, arguments)? else { return Ok(0) };
    nothing_more("load", &rest)?;
    let (path, platform) = (options::last(&matches, "input"), options::last(&matches, "platform"));
    sys::default_ignored_signals().context("read /proc/self/status")?;
    let path = path.as_ref().map(std::path::Path::new);
    print(&load::load(&Store::of_caller()?, path, platform.as_deref(), &IdMap::of_caller()?)?)
}

fn images(arguments: &[OsString]) -> Result<i32> {
    let Some(Parsed { rest, .. }) = parse("images", Options::new(), arguments)? else { return Ok(0) };
    nothing_more("images", &rest)?;
    print(&rmi::table(&Store::of_caller()?)?)
}

fn rmi(arguments: &[OsString]) -> Result<i32> {
    remove_each("rmi", arguments, crate::rmi::remove)
}

fn ps(arguments: &[OsString]) -> Result<i32> {
    let mut table = Options::new();
    table.optflagmulti("a", "all", "those that have ended as well");
    let Some(Parsed { matches, rest }) = parse("ps", table, arguments)? else { return Ok(0) };
    nothing_more("ps", &rest)?;
    print(&state::table(&Store::of_caller()?, matches.opt_present("all"))?)
}

fn rm(arguments: &[OsString]) -> Result<i32> {
    remove_each("rm", arguments, |store, name, force, map| {
        state::remove(store, name, force, map).map(|name| format!("{name}\n"))
    })
}

fn look(arguments: &[OsString]) -> Result<i32> {
    let Some(Parsed { rest, .. }) = parse("look", Options::new(), arguments)? else { return Ok(0) };
    let [name] = &names("look", &rest)?[..] else {
        return Err(Error::new("look: one container at a time").hint("usage: mydocker look CONTAINER"));
    };
    print(&look::picture(&Store::of_caller()?, name)?)
}

fn check_host(arguments: &[OsString]) -> Result<i32> {
    let Some(Parsed { rest, .. }) = parse("check", Options::new(), arguments)? else { return Ok(0) };
    nothing_more("check", &rest)?;
    let _without_proc = sys::if_possible(|| sys::default_ignored_signals());
    check::check()
}

fn print_seccomp(arguments: &[OsString]) -> Result<i32> {
    let Some(Parsed { rest, .. }) = parse("seccomp", Options::new(), arguments)? else { return Ok(0) };
    nothing_more("seccomp", &rest)?;
    print(&seccomp::profile())
}

/// Removes one after another, and prints what each removal says. The first error is returned when all have
/// been tried.
fn remove_each(
    command: &str,
    arguments: &[OsString],
    remove: impl Fn(&Store, &str, bool, &IdMap) -> Result<String>,
) -> Result<i32> {
    let mut table = Options::new();
    table.optflagmulti("f", "force", "also what is in use");
    let Some(Parsed { matches, rest }) = parse(command, table, arguments)? else { return Ok(0) };
    let (store, map) = (Store::of_caller()?, IdMap::of_caller()?);
    let mut code = 0;
    for name in names(command, &rest)? {
        match remove(&store, &name, matches.opt_present("force"), &map) {
            Ok(said) => drop(print(&said)?),
            Err(error) => {
                say(&error);
                code = ENGINE_FAILED;
            }
        }
    }
    Ok(code)
}
