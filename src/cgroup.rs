//! Limits: cgroups(7), one table for both versions.
//!
//! Version 2 is one tree under /sys/fs/cgroup; version 1 is a tree for each controller. A limit is a
//! row: the controller, the file and value in either version. The engine makes a cgroup `mydocker/<id>`,
//! writes the rows, and opens the file that processes are moved in by; the container's first process
//! moves itself in, and all that it starts is born there. A limit that was asked for and cannot be set
//! is an error, never ignored.
//!
//! That the process moves *itself* is for speed: to move another one, or a whole group of threads, the
//! kernel waits until all CPUs have let go of the threads' lock, 13 ms here; one thread that moves itself
//! (a `0` written to version 1's `tasks`) needs no lock (kernel/cgroup/cgroup.c, cgroup_procs_write_start).

use std::io;
use std::mem::ManuallyDrop;
use std::path::{Path, PathBuf};

use crate::error::{Context, Error, Result};
use crate::json::{object, Json};
use crate::sys::{self, Fd};

pub const ROOT: &str = "/sys/fs/cgroup";
/// What to do where nothing is there.
pub const MOUNT_IT: &str = "mount -t cgroup2 none /sys/fs/cgroup, if need be after mount -t sysfs sysfs /sys";
/// What to do where a user may not.
pub const DELEGATE: &str =
    "a user may set limits only in a delegated cgroup v2: systemd-run --user --scope -p Delegate=yes mydocker run ...";
/// The length of the period in which a CPU quota is spent, the kernel's own default, in microseconds.
const CPU_PERIOD: u64 = 100_000;
/// As many processes as a container may have when nothing is said: a fork bomb ends there.
pub const DEFAULT_PIDS: i64 = 2048;

/// What the container may use.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Limits {
    /// Bytes of memory.
    pub memory: Option<i64>,
    /// Bytes of memory and swap together, as docker counts; -1 for no limit.
    pub memory_swap: Option<i64>,
    /// Microseconds of CPU time in each 100 ms.
    pub cpu_quota: Option<i64>,
    /// CPUs by number, such as `0-2,5`.
    pub cpuset: Option<String>,
    /// Processes and threads; -1 for no limit.
    pub pids: Option<i64>,
    /// Set where `pids` is the engine's own default: then it is tried, not demanded.
    pub pids_by_default: bool,
}

/// One value of one file, in both versions.
struct Row {
    controller: &'static str,
    v2: (&'static str, String),
    v1: (&'static str, String),
    /// A kernel without this file is tolerated (one that does not account for swap has none).
    may_lack: bool,
    /// Nobody asked for this limit: a host that cannot set it is tolerated.
    by_default: bool,
}

impl Limits {
    /// The table: memory before swap, because version 1 refuses a sum smaller than its part.
    fn rows(&self) -> Vec<Row> {
        let max = |n: i64| if n < 0 { "max".to_string() } else { n.to_string() };
        let row = |controller, v2, v1| Row { controller, v2, v1, may_lack: false, by_default: false };
        let mut rows = Vec::new();
        if let Some(bytes) = self.memory {
            let number = bytes.to_string();
            rows.push(row("memory", ("memory.max", number.clone()), ("memory.limit_in_bytes", number)));
            // Without a word on swap the sum is twice the memory, as docker has it.
            let sum = self.memory_swap.unwrap_or(bytes.saturating_mul(2));
            let swap = if sum < 0 { -1 } else { sum - bytes };
            let v1 = ("memory.memsw.limit_in_bytes", sum.to_string());
            let may_lack = self.memory_swap.is_none();
            rows.push(Row { may_lack, ..row("memory", ("memory.swap.max", max(swap)), v1) });
        }
        if let Some(quota) = self.cpu_quota {
            let v2 = ("cpu.max", format!("{quota} {CPU_PERIOD}"));
            rows.push(row("cpu", v2, ("cpu.cfs_quota_us", quota.to_string())));
        }
        if let Some(cpus) = &self.cpuset {
            rows.push(row("cpuset", ("cpuset.cpus", cpus.clone()), ("cpuset.cpus", cpus.clone())));
        }
        if let Some(pids) = self.pids {
            let by_default = self.pids_by_default;
            rows.push(Row { by_default, ..row("pids", ("pids.max", max(pids)), ("pids.max", max(pids))) });
        }
        rows
    }

    /// runtime-spec config-linux.md, "Control groups".
    pub fn to_json(&self) -> Json {
        let number = |n: Option<i64>| n.map(Json::Int);
        let members = |list: Vec<(&str, Option<Json>)>| {
            Json::Object(list.into_iter().filter_map(|(n, v)| Some((n.to_string(), v?))).collect())
        };
        let memory = members(vec![("limit", number(self.memory)), ("swap", number(self.memory_swap))]);
        let cpu = members(vec![
            ("quota", number(self.cpu_quota)),
            ("period", self.cpu_quota.map(|_| Json::Int(CPU_PERIOD as i64))),
            ("cpus", self.cpuset.as_deref().map(Json::from)),
        ]);
        let pids = self.pids.map(|n| object([("limit", n.into())]));
        let some = |value: Json| (!value.members().is_empty()).then_some(value);
        members(vec![("memory", some(memory)), ("cpu", some(cpu)), ("pids", pids)])
    }

    pub fn from_json(resources: &Json) -> Limits {
        let (memory, cpu) = (resources.get("memory"), resources.get("cpu"));
        Limits {
            memory: memory.get("limit").int(),
            memory_swap: memory.get("swap").int(),
            cpu_quota: cpu.get("quota").int(),
            cpuset: cpu.get("cpus").str().map(str::to_string),
            pids: resources.get("pids").get("limit").int(),
            pids_by_default: false,
        }
    }
}

/// Which cgroups the host has.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Version {
    V1,
    V2,
    Nothing,
}

pub fn version() -> Version {
    sys::why("if possible: which version of cgroups is here?");
    match sys::statfs(ROOT) {
        Ok(libc::CGROUP2_SUPER_MAGIC) => Version::V2,
        Ok(libc::TMPFS_MAGIC) => Version::V1,
        _ => Version::Nothing,
    }
}

/// The cgroups of one container: a directory for version 2, one for each controller for version 1.
#[derive(Default)]
pub struct Cgroups {
    dirs: Vec<PathBuf>,
    /// The files that a process moves itself in by, open for writing; the engine's exit closes them.
    entrances: Vec<ManuallyDrop<Fd>>,
}

impl Cgroups {
    /// Makes the cgroup `mydocker/<id>` with these limits; nobody is in it yet.
    pub fn create(id: &str, limits: &Limits) -> Result<Cgroups> {
        let rows = limits.rows();
        if !rows.iter().any(|row| row.by_default) {
            return create_rows(id, &rows).map_err(unsettable);
        }
        match sys::if_possible(|| create_rows(id, &rows)) {
            Err(_) => {
                let asked_for: Vec<Row> = rows.into_iter().filter(|row| !row.by_default).collect();
                create_rows(id, &asked_for).map_err(unsettable)
            }
            made => made,
        }
    }

    /// Moves the calling process in.
    pub fn enter(&self) -> Result<()> {
        for file in &self.entrances {
            sys::why("this process moves itself in: the limits hold for it and all that it starts");
            sys::write(file.raw(), b"0").context("move into the container's cgroup")?;
        }
        Ok(())
    }
}

impl Drop for Cgroups {
    fn drop(&mut self) {
        remove(&self.dirs);
    }
}

fn create_rows(id: &str, rows: &[Row]) -> Result<Cgroups> {
    if rows.is_empty() {
        return Ok(Cgroups::default());
    }
    let version = version();
    // Dropped on an error, this removes what has been made.
    let mut made = Cgroups { dirs: dirs(version, id, &controllers(rows))?, entrances: Vec::new() };
    let entrance = match version {
        Version::V1 => {
            limit_v1(id, rows)?;
            "tasks"
        }
        Version::V2 => {
            limit_v2(id, rows)?;
            "cgroup.procs"
        }
        Version::Nothing => return Err(Error::new(format!("no cgroups are mounted at {ROOT}")).hint(MOUNT_IT)),
    };
    for dir in &made.dirs {
        let file = dir.join(entrance);
        sys::why("the file that a process enters the cgroup by, for the child");
        let fd = sys::open(&file, libc::O_WRONLY, 0).context(format_args!("open {}", file.display()))?;
        made.entrances.push(ManuallyDrop::new(fd));
    }
    Ok(made)
}

/// Where the cgroups of a container are.
fn dirs(version: Version, id: &str, controllers: &[&str]) -> Result<Vec<PathBuf>> {
    Ok(match version {
        Version::V1 => controllers.iter().map(|name| dir_v1(name, id)).collect(),
        Version::V2 => vec![base_v2()?.join("mydocker").join(id)],
        Version::Nothing => Vec::new(),
    })
}

fn unsettable(error: Error) -> Error {
    let advice = if version() == Version::Nothing {
        return Err::<(), _>(error).context("limits").unwrap_err(); // says what to mount
    } else if matches!(error.errno, Some(libc::EINVAL | libc::ERANGE | libc::EBUSY)) {
        "the kernel refuses this value here"
    } else if sys::euid() == 0 {
        "the kernel has no such controller, or keeps it elsewhere: mydocker check lists them, and /proc/cgroups"
    } else {
        DELEGATE
    };
    Err::<(), _>(error).context("limits").unwrap_err().hint(advice)
}

// ---- version 1 ----

fn limit_v1(id: &str, rows: &[Row]) -> Result<()> {
    let mut previous = "";
    for row in rows {
        let dir = dir_v1(row.controller, id);
        if row.controller != previous {
            make_v1(row, &dir)?;
        }
        previous = row.controller;
        write_row(row, &dir.join(row.v1.0), &row.v1.1)?;
    }
    Ok(())
}

fn dir_v1(controller: &str, id: &str) -> PathBuf {
    Path::new(ROOT).join(controller).join("mydocker").join(id)
}

fn controllers(rows: &[Row]) -> Vec<&'static str> {
    let mut names: Vec<&str> = rows.iter().map(|row| row.controller).collect();
    names.dedup();
    names
}

/// Makes the directory, and `mydocker` above it the first time. A cpuset is born without CPUs and
/// memory nodes and takes no process until it has both: cpuset(7).
fn make_v1(row: &Row, dir: &Path) -> Result<()> {
    make_with_parent(dir)?;
    if row.controller == "cpuset" {
        let parent = dir.parent().unwrap_or(dir);
        for (from, to) in [(Path::new(ROOT).join(row.controller).as_path(), parent), (parent, dir)] {
            for file in ["cpuset.cpus", "cpuset.mems"] {
                sys::why("a new cpuset is empty, and takes no process so, cpuset(7): it gets what is above it");
                let value = sys::read_file(from.join(file), 4096).context(format_args!("read {}", from.display()))?;
                let value = String::from_utf8_lossy(&value);
                sys::why("here");
                sys::write_kernel_file(to.join(file), value.trim()).context(format_args!("write {}", to.display()))?;
            }
        }
    }
    Ok(())
}

// ---- version 2 ----

/// Controllers reach a cgroup only when its parent names them in `cgroup.subtree_control`, and no
/// cgroup but the root may have both processes and controllers for its children: cgroup-v2.rst,
/// "No Internal Process Constraint".
fn limit_v2(id: &str, rows: &[Row]) -> Result<()> {
    let base = base_v2()?;
    let dir = base.join("mydocker").join(id);
    make_with_parent(&dir)?;
    if write_rows_v2(&dir, rows).is_err() {
        delegate(&base, rows)?;
        write_rows_v2(&dir, rows)?;
    }
    Ok(())
}

fn write_rows_v2(dir: &Path, rows: &[Row]) -> Result<()> {
    rows.iter().try_for_each(|row| write_row(row, &dir.join(row.v2.0), &row.v2.1))
}

/// Where the engine may make cgroups: root everywhere, a user below the cgroup that it is in.
pub fn base_v2() -> Result<PathBuf> {
    if sys::euid() == 0 {
        return Ok(PathBuf::from(ROOT));
    }
    sys::why("in which cgroup is this? below it a user may make some");
    let text = sys::read_kernel_list("/proc/self/cgroup", 64 * 1024).context("read /proc/self/cgroup")?;
    let text = String::from_utf8_lossy(&text);
    let own = text.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
    // An engine that has moved itself to its leaf (below) works in the cgroup above it.
    let own = own.strip_suffix("mydocker-engine").unwrap_or(own);
    Ok(Path::new(ROOT).join(own))
}

/// Hands the controllers down from `base` to `base/mydocker/*`. A user's base is the cgroup that the engine itself is
/// in, so the engine first moves to a leaf of its own. (memory would answer EBUSY otherwise; pids and cpu, which may
/// divide threads, would be handed down, and leave cgroups that no process can enter: "Threads".)
fn delegate(base: &Path, rows: &[Row]) -> Result<()> {
    let wanted: String = controllers(rows).iter().map(|name| format!("+{name} ")).collect();
    let hand_down = |dir: &Path| {
        let file = dir.join("cgroup.subtree_control");
        sys::why("controllers for the cgroups below");
        sys::write_kernel_file(&file, wanted.trim()).context(format_args!("write {}", file.display()))
    };
    if sys::euid() != 0 {
        move_to_leaf(base)?;
    }
    match hand_down(base) {
        // Root of a container whose cgroup namespace begins here.
        Err(error) if error.errno == Some(libc::EBUSY) => {
            move_to_leaf(base)?;
            hand_down(base)?;
        }
        done => done?,
    }
    hand_down(&base.join("mydocker"))
}

fn move_to_leaf(base: &Path) -> Result<()> {
    let leaf = base.join("mydocker-engine");
    sys::why("if possible: a leaf for the engine itself");
    make_with_parent(&leaf)?;
    let file = leaf.join("cgroup.procs");
    sys::why("no process may stay in a cgroup that hands controllers down");
    sys::write_kernel_file(&file, "0").context(format_args!("write 0 to {}", file.display()))
}

// ---- both ----

fn make_with_parent(dir: &Path) -> Result<()> {
    sys::why_else("if what is above it is there: a cgroup of its own for the container");
    let made = match sys::mkdir(dir, 0o755) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let parent = dir.parent().unwrap_or(dir);
            sys::why("if possible: the first container here: one directory above all of ours");
            match sys::mkdir(parent, 0o755) {
                // Another engine was faster.
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
                _ => {
                    sys::why("now that it is there");
                    sys::mkdir(dir, 0o755)
                }
            }
        }
        made => made,
    };
    match made {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made.context(format_args!("mkdir {}", dir.display())),
    }
}

fn write_row(row: &Row, file: &Path, value: &str) -> Result<()> {
    sys::why(match (row.by_default, row.may_lack) {
        (true, _) => "a limit against fork bombs, where nothing else was asked for",
        (false, true) => "if there is one: a limit",
        (false, false) => "a limit that was asked for",
    });
    match sys::write_kernel_file(file, value) {
        Err(error) if row.may_lack && error.kind() == io::ErrorKind::NotFound => Ok(()),
        written => written.context(format_args!("write {value} to {}", file.display())),
    }
}

/// Removes the cgroups of a container that has ended. One that is not there is no error.
fn remove(dirs: &[PathBuf]) {
    for dir in dirs {
        sys::why("if possible: nobody is in it, or is to be: the container's cgroup goes");
        let _not_there = sys::rmdir(dir);
    }
}

/// Removes what an engine that was killed left behind.
pub fn remove_all(id: &str) {
    // Without a cgroup of ours there is nothing to remove.
    remove(&dirs(version(), id, &["memory", "cpu", "cpuset", "pids"]).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(limits: &Limits, v2: bool) -> Vec<String> {
        let pick =
            |row: &Row| if v2 { format!("{}={}", row.v2.0, row.v2.1) } else { format!("{}={}", row.v1.0, row.v1.1) };
        limits.rows().iter().map(pick).collect()
    }

    #[test]
    fn memory_alone_means_twice_as_much_with_swap() {
        let limits = Limits { memory: Some(1000), ..Limits::default() };
        assert_eq!(values(&limits, true), ["memory.max=1000", "memory.swap.max=1000"]);
        assert_eq!(values(&limits, false), ["memory.limit_in_bytes=1000", "memory.memsw.limit_in_bytes=2000"]);
        let unlimited = Limits { memory_swap: Some(-1), ..limits };
        assert_eq!(values(&unlimited, true)[1], "memory.swap.max=max");
        assert_eq!(values(&unlimited, false)[1], "memory.memsw.limit_in_bytes=-1");
    }

    #[test]
    fn the_other_rows() {
        let limits = Limits { cpu_quota: Some(50_000), cpuset: Some("0".into()), pids: Some(-1), ..Limits::default() };
        assert_eq!(values(&limits, true), ["cpu.max=50000 100000", "cpuset.cpus=0", "pids.max=max"]);
        assert_eq!(values(&limits, false), ["cpu.cfs_quota_us=50000", "cpuset.cpus=0", "pids.max=max"]);
    }

    #[test]
    fn limits_travel_through_config_json() {
        let limits = Limits { memory: Some(5), memory_swap: Some(-1), cpuset: Some("1".into()), ..Limits::default() };
        assert_eq!(Limits::from_json(&limits.to_json()), limits);
        assert_eq!(Limits::from_json(&Limits::default().to_json()), Limits::default());
    }
}
