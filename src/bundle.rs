//! What a container is to be: an OCI runtime bundle, runtime-spec `config.md` and `config-linux.md`.
//!
//! The engine turns an image's config and the user's options into a [`Bundle`]. The child, a copy of the
//! engine, builds the container from it, and it is written as `config.json` into the container's directory,
//! where `ps` reads it back and another runtime can start it. Pure: no system call here.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use crate::capabilities;
use crate::cgroup::Limits;
use crate::confine::Confinement;
use crate::idmap::{IdMap, Range};
use crate::json::{object, Json};
use crate::rlimits;
use crate::seccomp;

/// Annotations of ours: what the standard has no field for.
const IMAGE: &str = "org.mydocker.image";
const LAYERS: &str = "org.mydocker.layers";
const REFERENCE: &str = "org.mydocker.reference";
const NAME: &str = "org.mydocker.name";
const CREATED: &str = "org.mydocker.created";
const NETWORK: &str = "org.mydocker.network";

/// A container, ready to be made.
#[derive(Debug, Clone, PartialEq)]
pub struct Bundle {
    /// The command and its arguments: bytes, as execve(2) takes them.
    pub args: Vec<OsString>,
    /// `NAME=value`, nothing of the host's.
    pub env: Vec<OsString>,
    /// Working directory inside.
    pub cwd: OsString,
    pub user: User,
    /// Whether the container gets a pseudoterminal of its own.
    pub terminal: bool,
    pub hostname: String,
    pub read_only: bool,
    pub mounts: Vec<Mount>,
    pub network: Network,
    pub limits: Limits,
    pub confinement: Confinement,
    pub uids: Vec<Range>,
    pub gids: Vec<Range>,
    /// The image's directory in the store, and how many layers it has.
    pub image: String,
    pub layers: usize,
    /// What the user called the image and the container, and when it was made (seconds since 1970).
    pub reference: String,
    pub name: String,
    pub created: i64,
}

/// Who the command runs as, in ids of the container.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct User {
    pub uid: u32,
    pub gid: u32,
    pub groups: Vec<u32>,
}

/// One mount, as runtime-spec `config.md` writes it.
#[derive(Debug, Clone, PartialEq)]
pub struct Mount {
    pub destination: PathBuf,
    /// `proc`, `tmpfs`, ..., or `bind`.
    pub kind: String,
    pub source: PathBuf,
    pub options: Vec<String>,
}

/// Where the container's network comes from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Network {
    /// A network namespace with `lo` alone.
    None,
    /// The host's own network namespace.
    Host,
    /// A network namespace connected to the outside by slirp4netns.
    Slirp,
}

/// `--network` names.
pub const NETWORKS: &[(&str, Network)] =
    &[("slirp4netns", Network::Slirp), ("none", Network::None), ("host", Network::Host)];

impl Network {
    pub fn parse(name: &str) -> Option<Network> {
        NETWORKS.iter().find(|(n, _)| *n == name).map(|(_, network)| *network)
    }

    fn name(self) -> &'static str {
        NETWORKS.iter().find(|(_, network)| *network == self).map_or("", |(name, _)| name)
    }
}

/// Files and directories of /proc and /sys that tell of the host or reach it; docker hides the same.
pub const MASKED_FILES: &[&str] =
    &["/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/sched_debug", "/proc/timer_list"];
pub const MASKED_DIRECTORIES: &[&str] =
    &["/proc/acpi", "/proc/asound", "/proc/scsi", "/sys/devices/virtual/powercap", "/sys/firmware"];

/// Paths of /proc that may be read but not written.
pub const READ_ONLY_PATHS: &[&str] =
    &["/proc/bus", "/proc/dynamic_debug", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// The file systems that every container gets, in the order in which they are mounted: type, source,
/// destination, options. /dev itself is a directory of the skeleton, see store.rs.
const STANDARD_MOUNTS: &[(&str, &str, &str, &str)] = &[
    ("proc", "proc", "/proc", "nosuid,noexec,nodev"),
    ("sysfs", "sysfs", "/sys", "nosuid,noexec,nodev,ro"),
    ("cgroup", "cgroup", "/sys/fs/cgroup", "nosuid,noexec,nodev,ro"),
    ("devpts", "devpts", "/dev/pts", "nosuid,noexec,newinstance,ptmxmode=0666,mode=0620"),
    ("tmpfs", "shm", "/dev/shm", "nosuid,noexec,nodev,mode=1777,size=65536k"),
    ("mqueue", "mqueue", "/dev/mqueue", "nosuid,noexec,nodev"),
];

/// The mounts of a container, in order: the user's, the standard ones, and what the user wants below those.
pub fn mounts(network: Network, map: &IdMap, of_user: Vec<Mount>) -> Vec<Mount> {
    let standard = STANDARD_MOUNTS.iter().map(|&(kind, source, destination, options)| {
        let mut mount = Mount::new(kind, source, destination, options);
        match destination {
            // sysfs belongs to the owner of the network namespace; the host's can only be bound.
            "/sys" if network == Network::Host => {
                mount = Mount::new("bind", "/sys", "/sys", "rbind,nosuid,noexec,nodev,ro");
            }
            // Group tty owns terminals, where there is such a group: devpts in filesystems/devpts.rst.
            "/dev/pts" if map.maps_gid(5) => mount.options.push("gid=5".to_string()),
            _ => {}
        }
        mount
    });
    // With the host's /sys, its cgroups come along.
    let standard = standard.filter(|mount| network != Network::Host || mount.kind != "cgroup");
    // A link of the image may lead a volume to /proc or /sys: mounted later, those cover it, and the masks hold.
    let late = |mount: &Mount| mount.destination.starts_with("/dev") || mount.destination.starts_with("/sys");
    let (late, early): (Vec<Mount>, Vec<Mount>) = of_user.into_iter().partition(late);
    early.into_iter().chain(standard).chain(late).collect()
}

impl Mount {
    /// `options` are separated by commas.
    pub fn new(kind: &str, source: impl Into<PathBuf>, destination: impl Into<PathBuf>, options: &str) -> Mount {
        let options = options.split(',').filter(|o| !o.is_empty()).map(str::to_string).collect();
        Mount { destination: destination.into(), kind: kind.to_string(), source: source.into(), options }
    }

    pub fn has(&self, option: &str) -> bool {
        self.options.iter().any(|o| o == option)
    }
}

// ---- writing ----

fn text(value: &OsStr) -> Json {
    Json::Str(value.as_bytes().to_vec())
}

impl Bundle {
    /// The document `config.json`.
    pub fn to_json(&self) -> Json {
        object([
            ("ociVersion", "1.0.2".into()),
            ("process", self.process()),
            ("root", object([("path", "rootfs".into()), ("readonly", self.read_only.into())])),
            ("hostname", self.hostname.as_str().into()),
            ("mounts", self.mounts.iter().map(mount_json).collect()),
            ("annotations", self.annotations()),
            ("linux", self.linux()),
        ])
    }

    fn process(&self) -> Json {
        let names = capabilities::names_of(self.confinement.capabilities);
        let names: Json = names.iter().map(|name| format!("CAP_{name}")).collect();
        let none = || Json::List(Vec::new());
        let active = if self.user.uid == 0 { names.clone() } else { none() };
        let oom_score = self.confinement.oom_score.map(|score| ("oomScoreAdj", i64::from(score).into()));
        let process = object([
            ("terminal", self.terminal.into()),
            (
                "user",
                object([
                    ("uid", self.user.uid.into()),
                    ("gid", self.user.gid.into()),
                    ("additionalGids", self.user.groups.iter().copied().collect()),
                ]),
            ),
            ("args", self.args.iter().map(|a| text(a)).collect()),
            ("env", self.env.iter().map(|e| text(e)).collect()),
            ("cwd", text(&self.cwd)),
            (
                "capabilities",
                object([
                    ("bounding", names),
                    ("effective", active.clone()),
                    ("permitted", active),
                    ("inheritable", none()),
                    ("ambient", none()),
                ]),
            ),
            ("noNewPrivileges", self.confinement.no_new_privileges.into()),
            ("rlimits", self.confinement.rlimits.iter().map(rlimits::to_json).collect()),
        ]);
        with(process, oom_score)
    }

    fn annotations(&self) -> Json {
        object([
            (IMAGE, self.image.as_str().into()),
            (LAYERS, self.layers.to_string().into()),
            (REFERENCE, self.reference.as_str().into()),
            (NAME, self.name.as_str().into()),
            (CREATED, self.created.to_string().into()),
            (NETWORK, self.network.name().into()),
        ])
    }

    fn linux(&self) -> Json {
        let mut kinds = vec!["user", "mount", "pid", "uts", "ipc", "cgroup"];
        if self.network != Network::Host {
            kinds.push("network");
        }
        let confinement = &self.confinement;
        let filter = confinement.seccomp.then(|| ("seccomp", seccomp::of_bundle(confinement.capabilities)));
        let linux = object([
            ("uidMappings", self.uids.iter().map(range_json).collect()),
            ("gidMappings", self.gids.iter().map(range_json).collect()),
            ("namespaces", kinds.into_iter().map(|kind| object([("type", kind.into())])).collect()),
            ("resources", self.limits.to_json()),
            ("maskedPaths", MASKED_FILES.iter().chain(MASKED_DIRECTORIES).copied().collect()),
            ("readonlyPaths", READ_ONLY_PATHS.iter().copied().collect()),
        ]);
        with(linux, filter)
    }
}

/// An object with one more member, if there is one.
fn with(mut json: Json, member: Option<(&str, Json)>) -> Json {
    if let Json::Object(members) = &mut json {
        members.extend(member.map(|(name, value)| (name.to_string(), value)));
    }
    json
}

fn mount_json(mount: &Mount) -> Json {
    object([
        ("destination", text(mount.destination.as_os_str())),
        ("type", mount.kind.as_str().into()),
        ("source", text(mount.source.as_os_str())),
        ("options", mount.options.iter().map(|o| Json::from(o.as_str())).collect()),
    ])
}

fn range_json(range: &Range) -> Json {
    object([("containerID", range.inside.into()), ("hostID", range.outside.into()), ("size", range.count.into())])
}

// ---- reading ----

fn os(value: &Json) -> Option<OsString> {
    value.bytes().map(|bytes| OsString::from_vec(bytes.to_vec()))
}

fn all<T>(list: &Json, read: impl Fn(&Json) -> Option<T>) -> Option<Vec<T>> {
    list.list().iter().map(read).collect()
}

fn id(value: &Json) -> Option<u32> {
    u32::try_from(value.int()?).ok()
}

impl Bundle {
    /// Reads what [`Bundle::to_json`] wrote; `None` where a field is missing or of the wrong kind.
    pub fn from_json(config: &Json) -> Option<Bundle> {
        let (process, linux) = (config.get("process"), config.get("linux"));
        let user = process.get("user");
        let note = |name| config.get("annotations").get(name).str();
        Some(Bundle {
            args: all(process.get("args"), os)?,
            env: all(process.get("env"), os)?,
            cwd: os(process.get("cwd"))?,
            user: User {
                uid: id(user.get("uid"))?,
                gid: id(user.get("gid"))?,
                groups: all(user.get("additionalGids"), id)?,
            },
            terminal: process.get("terminal").bool()?,
            hostname: config.get("hostname").str()?.to_string(),
            read_only: config.get("root").get("readonly").bool()?,
            mounts: all(config.get("mounts"), read_mount)?,
            network: Network::parse(note(NETWORK)?)?,
            limits: Limits::from_json(linux.get("resources")),
            confinement: Confinement {
                capabilities: read_capabilities(process.get("capabilities").get("bounding"))?,
                no_new_privileges: process.get("noNewPrivileges").bool()?,
                seccomp: !linux.get("seccomp").is_null(),
                rlimits: all(process.get("rlimits"), rlimits::from_json)?,
                oom_score: match process.get("oomScoreAdj") {
                    Json::Null => None,
                    score => Some(i32::try_from(score.int()?).ok()?),
                },
            },
            uids: all(linux.get("uidMappings"), read_range)?,
            gids: all(linux.get("gidMappings"), read_range)?,
            image: note(IMAGE)?.to_string(),
            layers: note(LAYERS)?.parse().ok()?,
            reference: note(REFERENCE)?.to_string(),
            name: note(NAME)?.to_string(),
            created: note(CREATED)?.parse().ok()?,
        })
    }
}

fn read_mount(mount: &Json) -> Option<Mount> {
    Some(Mount {
        destination: os(mount.get("destination"))?.into(),
        kind: mount.get("type").str()?.to_string(),
        source: os(mount.get("source"))?.into(),
        options: all(mount.get("options"), |o| o.str().map(str::to_string))?,
    })
}

fn read_capabilities(names: &Json) -> Option<u64> {
    capabilities::set_of(names.list().iter().map(|name| name.str().unwrap_or_default()))
}

fn read_range(range: &Json) -> Option<Range> {
    Some(Range {
        inside: id(range.get("containerID"))?,
        outside: id(range.get("hostID"))?,
        count: id(range.get("size"))?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json;

    fn example() -> Bundle {
        Bundle {
            args: vec!["sh".into(), OsString::from_vec(vec![0xff, b'x'])],
            env: vec!["PATH=/bin".into()],
            cwd: "/".into(),
            user: User { uid: 5, gid: 6, groups: vec![7] },
            terminal: true,
            hostname: "h".into(),
            read_only: true,
            mounts: vec![Mount::new("tmpfs", "tmpfs", "/tmp", "size=1m,ro")],
            network: Network::None,
            limits: Limits { pids: Some(10), ..Limits::default() },
            confinement: Confinement {
                rlimits: rlimits::parse(&["nofile=1:-1".to_string()]).unwrap(),
                oom_score: Some(-5),
                ..Confinement::default()
            },
            uids: vec![Range { inside: 0, outside: 1000, count: 1 }],
            gids: vec![],
            image: "abc".into(),
            layers: 3,
            reference: "docker.io/library/busybox:latest".into(),
            name: "n".into(),
            created: 1,
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        let text = example().to_json().to_string();
        let read = json::parse(text.as_bytes()).unwrap();
        assert_eq!(Bundle::from_json(&read), Some(example()));
    }

    #[test]
    fn a_document_with_a_hole_is_no_bundle() {
        assert_eq!(Bundle::from_json(&json::parse(b"{\"process\":{}}").unwrap()), None);
    }
}
