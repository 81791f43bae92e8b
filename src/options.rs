//! What a command line may say: getopts(3) tables, sizes, volumes.
//!
//! Options before the command are the engine's, those behind it the command's, and everything behind
//! the image belongs to the container and is not even looked at: it is bytes. [`split`] finds that
//! border; [`RunOptions::parse`] reads `run`'s options.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use getopts::{Matches, Options, ParsingStyle};

use crate::bundle::{Mount, Network, NETWORKS};
use crate::cgroup::{Limits, DEFAULT_PIDS};
use crate::confine::Confinement;
use crate::error::{Context, Error, Result};
use crate::options_confine;
use crate::order;
use crate::sys;

/// Options that have been read, and the arguments behind them as they were.
pub struct Parsed {
    pub matches: Matches,
    pub rest: Vec<OsString>,
}

/// Reads options up to the first argument that is none. `-rm` in option position is docker's `--rm`,
/// as people type it.
pub fn split(options: &mut Options, arguments: &[OsString]) -> Result<Parsed> {
    options.parsing_style(ParsingStyle::StopAtFirstFree);
    // getopts takes UTF-8 alone. It gets a copy with replacement characters, says how many arguments
    // are left over, and those are taken from the original.
    let copy: Vec<String> = arguments.iter().map(|a| a.to_string_lossy().into_owned()).collect();
    let matches = options.parse(with_long_rm(options, copy)).map_err(Error::new)?;
    let rest = arguments[arguments.len() - matches.free.len()..].to_vec();
    let own = &arguments[..arguments.len() - rest.len()];
    if let Some(odd) = own.iter().find(|a| a.to_str().is_none()) {
        return Err(Error::new(format!("the option {odd:?} is not UTF-8")));
    }
    Ok(Parsed { matches, rest })
}

/// Writes `-rm` as `--rm` where an option may stand: not as the value of the option before it, and not
/// behind the first argument that is no option.
fn with_long_rm(options: &Options, mut arguments: Vec<String>) -> Vec<String> {
    let mut at = 0;
    while let Some(argument) = arguments.get(at).filter(|a| a.starts_with('-') && *a != "-" && *a != "--") {
        if argument == "-rm" {
            arguments[at] = "--rm".to_string();
        }
        // An option whose value is the next argument fails when it stands alone.
        let alone = options.parse([&arguments[at]]);
        at += if matches!(alone, Err(getopts::Fail::ArgumentMissing(_))) { 2 } else { 1 };
    }
    arguments
}

/// Of an option that is given twice the last one counts, as docker has it: aliases rely on it.
pub fn last(matches: &Matches, name: &str) -> Option<String> {
    matches.opt_strs(name).pop()
}

/// When an image is asked for at its registry.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum PullPolicy {
    Missing,
    Always,
    Never,
}

/// Options of `pull`, and of the pull inside `run`.
pub fn pull_table(options: &mut Options) {
    options.optmulti("", "platform", "another platform's image", "OS/ARCH[/VARIANT]");
    options.optmulti("", "mirror", "ask this registry first for images of the Hub", "URL");
}

fn run_table() -> Options {
    let mut o = Options::new();
    o.optmulti("e", "env", "an environment variable; without =VALUE the caller's own", "NAME[=VALUE]");
    o.optmulti("", "entrypoint", "run this instead of the image's entrypoint", "PROGRAM");
    o.optmulti("", "hostname", "the container's host name", "NAME");
    o.optflagmulti("h", "help", "print this help");
    o.optflagmulti("i", "interactive", "accepted: standard input is always passed");
    o.optflagmulti("t", "tty", "insist on a terminal");
    o.optmulti("", "cpus", "CPU time, in CPUs", "0.5");
    o.optmulti("", "cpuset-cpus", "the CPUs to run on", "0-2,5");
    o.optmulti("m", "memory", "memory, in bytes or with k, m, g", "64m");
    o.optmulti("", "memory-swap", "memory and swap together; -1 for no limit", "128m");
    o.optmulti("", "name", "the container's name", "NAME");
    o.optmulti("", "network", "slirp4netns (the default), none or host", "NETWORK");
    o.optmulti("", "pids-limit", "processes and threads; -1 for no limit", "N");
    o.optmulti("", "pull", "missing (the default), always or never", "WHEN");
    o.optflagmulti("", "read-only", "nothing but volumes and --tmpfs can be written");
    o.optflagmulti("", "rm", "remove the container when it has ended (also -rm)");
    o.optmulti("", "tmpfs", "an empty directory in memory", "DIR[:OPTIONS]");
    o.optmulti("u", "user", "who the command runs as", "USER[:GROUP]");
    o.optmulti("v", "volume", "a directory or file of the host", "SRC:DST[:ro]");
    o.optmulti("w", "workdir", "the working directory", "DIR");
    options_confine::table(&mut o);
    pull_table(&mut o);
    o
}

/// The help text of `run`.
pub fn run_help() -> String {
    run_table()
        .usage("Usage: mydocker [-v] run [OPTIONS] IMAGE [COMMAND [ARG...]]\n\nRuns a command in a new container.")
}

/// Everything that `run` was told.
pub struct RunOptions {
    pub env: Vec<OsString>,
    /// An empty text takes the image's entrypoint away.
    pub entrypoint: Option<String>,
    pub hostname: Option<String>,
    pub terminal: bool,
    pub limits: Limits,
    pub confinement: Confinement,
    pub name: Option<String>,
    /// `None` where nothing was said.
    pub network: Option<Network>,
    pub pull: PullPolicy,
    pub read_only: bool,
    pub remove: bool,
    pub user: Option<String>,
    /// Volumes and tmpfs in the order of the command line's groups.
    pub mounts: Vec<Mount>,
    pub workdir: Option<String>,
    pub platform: Option<String>,
    pub mirror: Option<String>,
    pub image: String,
    /// Command and arguments.
    pub command: Vec<OsString>,
}

impl RunOptions {
    /// `None`: help was asked for.
    pub fn parse(arguments: &[OsString]) -> Result<Option<RunOptions>> {
        let Parsed { matches, rest } = split(&mut run_table(), arguments)?;
        if matches.opt_present("help") {
            return Ok(None);
        }
        let [image, command @ ..] = &rest[..] else {
            return Err(Error::new("run: no image given").hint("mydocker run [OPTIONS] IMAGE [COMMAND [ARG...]]"));
        };
        let image = image.to_str().ok_or_else(|| Error::new(format!("the image name {image:?} is not UTF-8")))?;
        Ok(Some(RunOptions {
            env: matches.opt_strs("env").into_iter().filter_map(environment).collect::<Result<_>>()?,
            entrypoint: last(&matches, "entrypoint"),
            hostname: last(&matches, "hostname").map(hostname).transpose()?,
            terminal: matches.opt_present("tty"),
            limits: limits(&matches)?,
            confinement: options_confine::parse(&matches)?,
            name: last(&matches, "name").map(name).transpose()?,
            network: last(&matches, "network").map(network).transpose()?,
            pull: pull_policy(&matches)?,
            read_only: matches.opt_present("read-only"),
            remove: matches.opt_present("rm"),
            user: last(&matches, "user"),
            mounts: mounts(&matches)?,
            workdir: last(&matches, "workdir").map(workdir).transpose()?,
            platform: last(&matches, "platform"),
            mirror: last(&matches, "mirror"),
            image: image.to_string(),
            command: command.to_vec(),
        }))
    }
}

/// `NAME=value`, or `NAME` for the caller's own value (nothing where the caller has none).
fn environment(text: String) -> Option<Result<OsString>> {
    let name = text.split('=').next().unwrap_or("");
    if name.is_empty() || text.contains('\0') {
        return Some(Err(Error::new(format!("-e {text:?}: a variable is NAME or NAME=VALUE"))));
    }
    if text.contains('=') {
        return Some(Ok(text.into()));
    }
    let mut entry = OsString::from(format!("{text}="));
    entry.push(std::env::var_os(&text)?);
    Some(Ok(entry))
}

/// Host names as in RFC 1123, at most the kernel's 64 bytes.
fn hostname(text: String) -> Result<String> {
    let label = |l: &str| {
        !l.is_empty()
            && !l.starts_with('-')
            && !l.ends_with('-')
            && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    if text.len() <= 64 && text.split('.').all(label) {
        return Ok(text);
    }
    Err(Error::new(format!("--hostname {text:?}: letters, digits, '-' and '.', at most 64")))
}

/// Docker's rule for container names.
pub fn name(text: String) -> Result<String> {
    let first = text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
    let rest = text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b));
    if first && rest && (2..=128).contains(&text.len()) {
        return Ok(text);
    }
    Err(Error::new(format!("--name {text:?}: 2 to 128 letters, digits, '_', '.' and '-', the first a letter or digit")))
}

fn network(text: String) -> Result<Network> {
    Network::parse(&text).ok_or_else(|| {
        let names: Vec<&str> = NETWORKS.iter().map(|(name, _)| *name).collect();
        Error::new(format!("--network {text:?}: one of {}", names.join(", ")))
    })
}

fn pull_policy(matches: &Matches) -> Result<PullPolicy> {
    match last(matches, "pull").as_deref() {
        None | Some("missing") => Ok(PullPolicy::Missing),
        Some("always") => Ok(PullPolicy::Always),
        Some("never") => Ok(PullPolicy::Never),
        Some(other) => Err(Error::new(format!("--pull {other:?}: one of missing, always, never"))),
    }
}

fn workdir(text: String) -> Result<String> {
    if text.starts_with('/') {
        return Ok(text);
    }
    Err(Error::new(format!("-w {text:?}: the working directory must be an absolute path")))
}

// ---- limits ----

fn limits(matches: &Matches) -> Result<Limits> {
    let option = |name: &str, read: fn(&str) -> Option<i64>, form: &str| -> Result<Option<i64>> {
        let Some(text) = last(matches, name) else { return Ok(None) };
        read(&text).map(Some).ok_or_else(|| Error::new(format!("--{name} {text:?}: {form}")))
    };
    let pids = option("pids-limit", pids, "a number of processes, at least 1, or -1 for no limit")?;
    let limits = Limits {
        memory: option("memory", memory, "a size from 6m on, such as 67108864, 65536k, 64m or 1g")?,
        memory_swap: option("memory-swap", swap, "a size such as 128m, or -1 for no limit")?,
        cpu_quota: option("cpus", cpus, "a number of CPUs from 0.01 to 1024, such as 0.5")?,
        cpuset: last(matches, "cpuset-cpus").map(cpuset).transpose()?,
        pids: Some(pids.unwrap_or(DEFAULT_PIDS)),
        pids_by_default: pids.is_none(),
    };
    match (limits.memory, limits.memory_swap) {
        (None, Some(_)) => Err(Error::new("--memory-swap needs --memory as well: it is the sum of both")),
        (Some(memory), Some(sum)) if sum >= 0 && sum < memory => {
            Err(Error::new("--memory-swap is the sum of memory and swap: it cannot be smaller than --memory"))
        }
        _ => Ok(limits),
    }
}

/// Bytes: a whole number, with one of b, k, m, g, t behind it (powers of 1024).
fn size(text: &str) -> Option<i64> {
    let lower = text.to_ascii_lowercase();
    let digits = lower.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match &lower[digits.len()..] {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        _ => return None,
    };
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    digits.parse::<i64>().ok()?.checked_mul(1 << shift)
}

/// Docker's least memory limit: with less no program starts.
fn memory(text: &str) -> Option<i64> {
    size(text).filter(|bytes| *bytes >= 6 << 20)
}

fn swap(text: &str) -> Option<i64> {
    if text == "-1" {
        Some(-1)
    } else {
        size(text).filter(|bytes| *bytes > 0)
    }
}

/// CPUs as microseconds in each 100 ms. The kernel takes no less than 1 ms.
fn cpus(text: &str) -> Option<i64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let is_number = !(whole.is_empty() && fraction.is_empty()) && text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    // Five places behind the point are microseconds.
    let micros = format!("{whole}{:0<5.5}", fraction).parse().ok()?;
    (is_number && !fraction.contains('.') && (1_000..=102_400_000).contains(&micros)).then_some(micros)
}

fn pids(text: &str) -> Option<i64> {
    text.parse().ok().filter(|n| *n == -1 || *n > 0)
}

/// Numbers and ranges, cpuset(7) "List format".
fn cpuset(text: String) -> Result<String> {
    let number = |t: &str| t.parse::<u32>().ok().filter(|_| !t.starts_with('+'));
    let item = |t: &str| match t.split_once('-') {
        Some((from, to)) => matches!((number(from), number(to)), (Some(from), Some(to)) if from <= to),
        None => number(t).is_some(),
    };
    if text.split(',').all(item) {
        return Ok(text);
    }
    Err(Error::new(format!("--cpuset-cpus {text:?}: CPU numbers and ranges, such as 0-2,5")))
}

// ---- mounts ----

fn mounts(matches: &Matches) -> Result<Vec<Mount>> {
    let tmpfs = matches.opt_strs("tmpfs").into_iter().map(|text| tmpfs(&text));
    let volumes = matches.opt_strs("volume").into_iter().map(|text| volume(&text));
    let mut all: Vec<Mount> = tmpfs.chain(volumes).collect::<Result<_>>()?;
    // What lies deeper is mounted later, however the options were ordered: else it would be covered.
    order::sort_by_key(&mut all, |mount| mount.destination.components().count());
    Ok(all)
}

/// What `--tmpfs` may say: tmpfs(5), and the flags of mount(8) that make sense for it.
const TMPFS_OPTIONS: &[&str] = &["ro", "rw", "suid", "nosuid", "dev", "nodev", "exec", "noexec"];
const TMPFS_VALUES: &[&str] = &["size", "nr_blocks", "nr_inodes", "mode", "uid", "gid"];

/// `DIR[:OPTIONS]`, with docker's defaults.
fn tmpfs(text: &str) -> Result<Mount> {
    let (destination, options) = text.split_once(':').unwrap_or((text, ""));
    let destination =
        inside(destination).ok_or_else(|| Error::new(format!("--tmpfs {text:?}: DIR[:OPTIONS], {WHERE}")))?;
    let known = |option: &str| match option.split_once('=') {
        Some((name, _)) => TMPFS_VALUES.contains(&name),
        None => option.is_empty() || TMPFS_OPTIONS.contains(&option),
    };
    match options.split(',').find(|option| !known(option)) {
        Some(odd) => {
            let all = [TMPFS_OPTIONS, TMPFS_VALUES].concat().join(", ");
            Err(Error::new(format!("--tmpfs {text:?}: unknown option {odd:?}")).hint(format_args!("known are {all}")))
        }
        None => Ok(Mount::new("tmpfs", "tmpfs", destination, &format!("nosuid,nodev,noexec,{options}"))),
    }
}

/// `SRC:DST[:ro|rw]`. The source must exist: docker makes a missing one as a directory of root's, which
/// surprises everybody.
fn volume(text: &str) -> Result<Mount> {
    let form =
        || Error::new(format!("-v {text:?}: SRC:DST[:ro], SRC absolute or beginning with ./ or ../, DST {WHERE}"));
    let (paths, read_only) = match text.strip_suffix(":ro") {
        Some(paths) => (paths, true),
        None => (text.strip_suffix(":rw").unwrap_or(text), false),
    };
    let (source, destination) = paths.rsplit_once(':').ok_or_else(form)?;
    let destination = inside(destination).ok_or_else(form)?;
    if !source.starts_with(['/', '.']) {
        return Err(form().hint("named volumes do not exist here"));
    }
    let source = resolve(Path::new(source), text)?;
    let options = if read_only { "rbind,rprivate,ro" } else { "rbind,rprivate" };
    Ok(Mount::new("bind", source, destination, options))
}

/// The path that all symbolic links lead to: the kernel knows it of what it has opened, proc(5) on /proc/PID/fd.
fn resolve(path: &Path, text: &str) -> Result<PathBuf> {
    sys::why("a volume's source: where do its links lead?");
    let there = sys::open(path, libc::O_PATH, 0).context(format_args!("open the source of -v {text:?}"))?;
    sys::why("there");
    sys::readlink(there.path()).context(format_args!("readlink the source of -v {text:?}"))
}

/// Where something may be mounted, in words.
const WHERE: &str = "an absolute path in the container, not /, /dev or /sys, not in /proc, and without ..";

/// A path inside the container at which something may be mounted. /proc has the masks, and /dev the devices.
fn inside(text: &str) -> Option<PathBuf> {
    let path: PathBuf = PathBuf::from(text).components().collect();
    let plain = !path.components().any(|part| part == std::path::Component::ParentDir);
    let taken = ["/", "/dev", "/sys"].iter().any(|place| path == OsStr::new(place));
    let place_ok = !taken && !path.starts_with("/proc");
    (text.starts_with('/') && plain && place_ok).then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStringExt;

    fn run(arguments: &[&str]) -> Result<RunOptions> {
        let arguments: Vec<OsString> = arguments.iter().map(OsString::from).collect();
        RunOptions::parse(&arguments).map(Option::unwrap)
    }

    #[test]
    fn everything_behind_the_image_is_the_containers() {
        let options = run(&["-rm", "-eA=b", "-it", "image", "-rm", "--", "-x"]).unwrap();
        assert!(options.remove && options.terminal);
        assert_eq!((options.image.as_str(), options.env.as_slice()), ("image", &[OsString::from("A=b")][..]));
        assert_eq!(options.command, ["-rm", "--", "-x"]);
        assert!(!run(&["-u", "-rm", "image"]).unwrap().remove, "-rm is the value of -u here");
    }

    #[test]
    fn the_containers_arguments_are_bytes() {
        let odd = OsString::from_vec(vec![0xff, 0xfe]);
        let options = RunOptions::parse(&["image".into(), odd.clone()]).unwrap().unwrap();
        assert_eq!(options.command, std::slice::from_ref(&odd));
        assert!(RunOptions::parse(&["-e".into(), odd, "image".into()]).is_err());
    }

    #[test]
    fn of_two_options_the_last_counts() {
        assert_eq!(run(&["--network", "none", "--network", "host", "i"]).unwrap().network, Some(Network::Host));
        assert!(tmpfs("/x:exec,size=1m").is_ok() && tmpfs("/x:bind").is_err() && tmpfs("/x:junk=1").is_err());
    }

    #[test]
    fn sizes() {
        assert_eq!(size("64m"), Some(64 << 20));
        assert_eq!(size("1G"), Some(1 << 30));
        assert_eq!(size("10"), Some(10));
        for text in ["12q", "", "m", "-1", "1.5g", "99999999999999999999", "9000000000t"] {
            assert_eq!(size(text), None, "{text}");
        }
        for (text, micros) in
            [("0.5", 50_000), (".5", 50_000), ("2.", 200_000), ("1.234567", 123_456), ("1024", 102_400_000)]
        {
            assert_eq!(cpus(text), Some(micros), "{text}");
        }
        for text in ["0", "-1", "x", "inf", "NaN", "1e3", "0.001", "", ".", "1.2.3", "1024.1", "+1"] {
            assert_eq!(cpus(text), None, "{text}");
        }
    }

    #[test]
    fn limits_that_contradict_are_refused() {
        assert!(run(&["--memory-swap", "1g", "image"]).is_err());
        assert!(run(&["--memory", "1g", "--memory-swap", "64m", "image"]).is_err());
        assert!(run(&["--memory", "12q", "image"]).is_err());
        assert!(run(&["--cpuset-cpus", "3-1", "image"]).is_err());
        let options = run(&["--memory", "64m", "image"]).unwrap();
        assert_eq!((options.limits.pids, options.limits.pids_by_default), (Some(DEFAULT_PIDS), true));
    }

    #[test]
    fn volumes() {
        let mount = volume("/etc:/mnt/x:ro").unwrap();
        assert_eq!((mount.source.to_str(), mount.has("ro")), (Some("/etc"), true));
        for text in [
            "/etc",
            "/etc:relative",
            "name:/x",
            "/no/such/dir:/x",
            "/etc:/",
            "/etc:/proc/x",
            "/etc:/sys",
            "/etc:/a/../../b",
        ] {
            assert!(volume(text).is_err(), "{text} was accepted");
        }
    }

    #[test]
    fn names() {
        assert!(name("web-1".into()).is_ok());
        for text in ["", "a", "../x", "a/b", "-x", ".x"] {
            assert!(name(text.into()).is_err(), "{text}");
        }
        assert!(hostname("a.b-c".into()).is_ok() && hostname("-a".into()).is_err() && hostname("a..b".into()).is_err());
    }
}
