//! Containers on disk: `ps`, `rm`, and what they need to know.
//!
//! A container is a directory, `containers/<id>`, an OCI bundle with a file `state` beside its
//! `config.json`. The engine that runs the container holds an flock(2) on `state` as long as it lives: the
//! lock *is* the answer to "does it run?", and the kernel gives it back however the engine ends. Each
//! change is one line of JSON at the end of the file; the last line counts.

use std::path::{Path, PathBuf};

use crate::bundle::Bundle;
use crate::cgroup;
use crate::error::{printable, Context, Error, Result};
use crate::idmap::IdMap;
use crate::json::{self, object, Json};
use crate::order;
use crate::store::{self, Store};
use crate::sys::{self, Fd, Pid};

/// A container's directory, made and locked by this engine.
pub struct Container {
    pub id: String,
    pub dir: PathBuf,
    state: Fd,
}

impl Container {
    /// Makes `containers/<id>`, which must not be there, and locks it.
    pub fn create(store: &Store, id: &str) -> Result<Container> {
        let dir = store.containers().join(id);
        sys::why("if what is above it is there: the container's directory, an OCI bundle");
        let made = match sys::mkdir(&dir, 0o700) {
            // Somebody has tidied up `containers` itself.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                sys::why("unless it is there: somebody has tidied up");
                store::make_dir(&store.containers(), 0o700)?;
                sys::why("now that what is above it is there");
                sys::mkdir(&dir, 0o700)
            }
            made => made,
        };
        made.context(format_args!("mkdir {}", dir.display()))?;
        match lock_state(&dir) {
            Ok(state) => Ok(Container { id: id.to_string(), dir, state }),
            Err(error) => {
                // Nothing stays; the first error is the one to tell.
                let _told_already = store::remove_tree(&dir);
                Err(error)
            }
        }
    }

    /// Claims a name: a symbolic link, which only one can make.
    pub fn claim_name(&self, store: &Store, name: &str) -> Result<()> {
        let link = store.containers().join(name);
        sys::why("a name, which only one container can have");
        match sys::symlink(&self.id, &link) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                Err(Error::new(format!("the container name {name} is in use")).hint(format_args!("mydocker rm {name}")))
            }
            claimed => claimed.context(format_args!("symlink {}", link.display())),
        }
    }

    /// The container runs, its first process is `pid`.
    pub fn running(&self, pid: Pid) -> Result<()> {
        sys::why("what `ps` will say of it");
        let (at, clock) = (sys::now(), (sys::clock() / 1000) as i64);
        self.line(object([
            ("status", "running".into()),
            ("pid", Json::Int(pid.into())),
            ("at", at.into()),
            ("clock", clock.into()),
        ]))
    }

    /// The container's command has ended.
    pub fn stopped(&self, code: i32) -> Result<()> {
        sys::why("how it ended");
        self.line(object([
            ("status", "stopped".into()),
            ("exitCode", Json::Int(code.into())),
            ("at", sys::now().into()),
        ]))
    }

    fn line(&self, line: Json) -> Result<()> {
        sys::write_all(self.state.raw(), format!("{line}\n").as_bytes()).context("write to the container's state")
    }

    /// Removes the directory and the name.
    pub fn remove(self, store: &Store, name: &str, map: &IdMap) -> Result<()> {
        remove_files(store, &self.id, name, map)
    }
}

fn lock_state(dir: &Path) -> Result<Fd> {
    let file = dir.join("state");
    sys::why("its state, a line for each change");
    let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL | libc::O_APPEND;
    let state = sys::open(&file, flags, 0o600).context(format_args!("open {}", file.display()))?;
    sys::why("held while the engine lives: locked means running");
    sys::flock(&state, libc::LOCK_EX | libc::LOCK_NB).context(format_args!("flock {}", file.display()))?;
    Ok(state)
}

/// A container as `ps` shows it.
pub struct Listed {
    pub id: String,
    /// The first process that its engine wrote down.
    pub pid: Option<Pid>,
    /// When it did.
    began: Moment,
    /// `None`: its config cannot be read, the engine was killed before it was written.
    pub bundle: Option<Bundle>,
    pub status: Status,
}

/// A moment by both clocks, in milliseconds: since 1970, and since the machine started.
struct Moment {
    date: i64,
    clock: i64,
}

#[derive(Debug, PartialEq)]
pub enum Status {
    /// Being made: its engine lives, the command does not run yet.
    Created,
    /// Since when, seconds since 1970.
    Up {
        since: i64,
    },
    Exited {
        code: i64,
        at: i64,
    },
    /// Its engine was killed.
    Dead,
}

/// All containers, the newest first.
pub fn list(store: &Store) -> Result<Vec<Listed>> {
    let dir = store.containers();
    sys::why("if there is one: the containers, a directory each");
    let entries = match sys::list_path(&dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.context(format_args!("list {}", dir.display()))?,
    };
    let mut all = Vec::new();
    for entry in entries {
        // A symbolic link is a name; the directory comes by itself.
        if let (libc::S_IFDIR, Some(id)) = (entry.kind, entry.name.to_str().filter(|name| is_id(name))) {
            all.push(look(&dir.join(id), id));
        }
    }
    let age = |listed: &Listed| std::cmp::Reverse(listed.bundle.as_ref().map_or(0, |bundle| bundle.created));
    order::sort_by_key(&mut all, age);
    Ok(all)
}

/// What is known of the container in this directory.
pub fn look(dir: &Path, id: &str) -> Listed {
    sys::why("if possible: what it was to be");
    let bundle = sys::read_file(dir.join("config.json"), 64 << 20).ok();
    let bundle = bundle.and_then(|text| json::parse(&text).ok()).and_then(|config| Bundle::from_json(&config));
    sys::why("if possible: what became of it");
    let text = sys::read_file(dir.join("state"), 1 << 20).unwrap_or_default();
    let lines: Vec<Json> =
        String::from_utf8_lossy(&text).lines().map(|line| json::parse(line.as_bytes()).unwrap_or(Json::Null)).collect();
    let running = lines.iter().find(|line| line.get("pid").int().is_some()).unwrap_or(&Json::Null);
    let pid = running.get("pid").int().and_then(|pid| Pid::try_from(pid).ok());
    let number = |name: &str| running.get(name).int().unwrap_or(0);
    let began = Moment { date: number("at").saturating_mul(1000), clock: number("clock") };
    let status = status(lines.last().unwrap_or(&Json::Null), is_locked(&dir.join("state")));
    Listed { id: id.to_string(), pid, began, bundle, status }
}

/// The last line, and whether its engine lives.
fn status(last: &Json, locked: bool) -> Status {
    let at = last.get("at").int().unwrap_or(0);
    match (last.get("status").str(), locked) {
        (Some("stopped"), _) => Status::Exited { code: last.get("exitCode").int().unwrap_or(0), at },
        (Some("running"), true) => Status::Up { since: at },
        (_, true) => Status::Created,
        (_, false) => Status::Dead,
    }
}

fn is_locked(file: &Path) -> bool {
    sys::why("if possible: its state, to look whether it is locked");
    let Ok(file) = sys::open(file, libc::O_RDONLY, 0) else { return false };
    sys::why("if possible: locked (EAGAIN) means that its engine lives");
    matches!(sys::flock(&file, libc::LOCK_SH | libc::LOCK_NB), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
}

/// `rm`: by name, id, or the beginning of one. A running container only with `force`.
pub fn remove(store: &Store, wanted: &str, force: bool, map: &IdMap) -> Result<String> {
    let id = find(store, wanted)?;
    let listed = look(&store.containers().join(&id), &id);
    let running = matches!(listed.status, Status::Up { .. } | Status::Created);
    if running && !force {
        return Err(Error::new(format!("container {wanted} is running")).hint("end it first, or rm -f"));
    }
    refuse_mounts(&store.containers().join(&id))?;
    if let Some(pid) = listed.pid {
        end_process(&id, pid, &listed.began)?;
    }
    if running {
        wait_for_engine(&store.containers().join(&id).join("state"))?;
    }
    let name = match listed.bundle {
        Some(bundle) => bundle.name,
        None => name_of(store, &id)?,
    };
    cgroup::remove_all(&id);
    if store::exists(store.containers().join(&id))? {
        remove_files(store, &id, &name, map)?;
    }
    Ok(wanted.to_string())
}

/// The name that a container without a config has claimed, or nothing.
fn name_of(store: &Store, id: &str) -> Result<String> {
    let dir = store.containers();
    sys::why("has it a name? its engine was killed before that was written down");
    let entries = sys::list_path(&dir).context(format_args!("list {}", dir.display()))?;
    let leads_here = |name: &std::ffi::OsString| {
        sys::why("if possible: is this its name?");
        sys::readlink(dir.join(name)).is_ok_and(|target| target == Path::new(id))
    };
    let mut names = entries.into_iter().filter(|entry| entry.kind == libc::S_IFLNK).map(|entry| entry.name);
    Ok(names.find(leads_here).map(|name| name.to_string_lossy().into_owned()).unwrap_or_default())
}

/// What somebody has mounted in a container's directory, such as its overlay on `rootfs`, is not the container's to
/// be removed.
fn refuse_mounts(dir: &Path) -> Result<()> {
    sys::why("if there is one: the container, to look whether something is mounted in it");
    let there = match sys::open(dir, libc::O_PATH | libc::O_DIRECTORY, 0) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        there => there.context(format_args!("open {}", dir.display()))?,
    };
    for name in ["rootfs", "upper", "work"] {
        sys::why("if there is one: no mount (EXDEV: one, which is no part of the container)");
        match sys::openat2_same_mount(&there, name, libc::O_PATH | libc::O_NOFOLLOW) {
            Err(error) if error.raw_os_error() == Some(libc::EXDEV) => {
                let place = dir.join(name);
                let error = Error::new(format!("something is mounted on {}", place.display()));
                return Err(error.hint(format_args!("umount {} first", place.display())));
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            opened => drop(opened.context(format_args!("open {}", dir.join(name).display()))?),
        }
    }
    Ok(())
}

/// Ends the container's first process, and with it all others (pid_namespaces(7)). It may live on although its
/// engine was killed: a process can ask the kernel to forget the parent-death signal, and execve of a setuid program
/// forgets it too, prctl(2). The number may long be somebody else's: the process is held by a pidfd first, and then
/// must prove to be the one.
fn end_process(id: &str, pid: Pid, began: &Moment) -> Result<()> {
    if pid <= 1 {
        return Ok(());
    }
    sys::why("if possible: the first process, held so that its number cannot become another's");
    let Ok(process) = sys::pidfd_open(pid) else { return Ok(()) };
    if !has_root_of(id, pid) && !started_before(pid, began) {
        return Ok(());
    }
    sys::why("it ends, and with it all in its pid namespace");
    match sys::pidfd_send_signal(&process, libc::SIGKILL) {
        Err(error) if error.raw_os_error() != Some(libc::ESRCH) => Err(error).context(format_args!("kill {pid}")),
        // A pidfd is readable when its process has ended: pidfd_open(2).
        _ => {
            let mut ended = [libc::pollfd { fd: process.raw(), events: libc::POLLIN, revents: 0 }];
            sys::why("until it has ended");
            sys::poll(&mut ended, PATIENCE).context("poll").map(drop)
        }
    }
}

/// Whether a process has the container's root: an overlay whose upper directory is this container's.
fn has_root_of(id: &str, pid: Pid) -> bool {
    sys::why("if possible: is it this container's? its root tells");
    let mounts = sys::read_kernel_list(format!("/proc/{pid}/mountinfo"), 16 << 20).unwrap_or_default();
    String::from_utf8_lossy(&mounts).contains(&format!("upperdir=../../containers/{id}/upper"))
}

/// A process that has chrooted in its container shows no mounts any more. When the engine wrote the number down, it
/// was its child's: who has it now and was there before that is the one. Only within one boot, and while nobody has
/// set the clock, do both clocks tell the same time.
fn started_before(pid: Pid, began: &Moment) -> bool {
    let now = Moment { date: sys::now().saturating_mul(1000), clock: (sys::clock() / 1000) as i64 };
    let boot = |moment: &Moment| moment.date.saturating_sub(moment.clock);
    sys::why("if possible: or has it had this number since its engine wrote it down?");
    let stat = sys::read_file(format!("/proc/{pid}/stat"), 64 * 1024).unwrap_or_default();
    let stat = String::from_utf8_lossy(&stat);
    // Field 22, the 20th behind the name, which may hold anything: hundredths of a second since boot, proc(5).
    let behind_name = stat.rsplit(')').next().unwrap_or_default();
    let started = behind_name.split_whitespace().nth(19).and_then(|ticks| ticks.parse::<i64>().ok());
    let same_boot = boot(&now).abs_diff(boot(began)) <= 2000;
    same_boot && started.is_some_and(|ticks| ticks.saturating_mul(10) <= began.clock)
}

/// How long `rm -f` waits for a process or an engine to end, in milliseconds.
const PATIENCE: i32 = 10_000;

/// The engine gives the lock back as it ends; with `--rm` the file may be gone by then.
fn wait_for_engine(state: &Path) -> Result<()> {
    const STEP: i32 = 20;
    for _ in 0..PATIENCE / STEP {
        if !is_locked(state) {
            return Ok(());
        }
        sys::why("a moment, for its engine to end");
        sys::poll(&mut [], STEP).context("poll")?;
    }
    Err(Error::new("the container has ended, its engine has not").hint("is that stopped? kill -CONT, or kill -9"))
}

/// The name first: a kill in between leaves a container without a name, which can still be removed.
fn remove_files(store: &Store, id: &str, name: &str, map: &IdMap) -> Result<()> {
    if !name.is_empty() && name != id {
        let link = store.containers().join(name);
        sys::why("if possible: is the name still this container's?");
        if sys::readlink(&link).is_ok_and(|target| target == Path::new(id)) {
            sys::why("the name goes first: what is left then can still be removed");
            sys::unlink(&link).context(format_args!("unlink {}", link.display()))?;
        }
    }
    store.remove(&store.containers().join(id), map)
}

/// The id that a name, an id or the only id beginning so stands for.
pub fn find(store: &Store, wanted: &str) -> Result<String> {
    let unknown = || Error::new(format!("no such container: {}", printable(wanted))).hint("mydocker ps -a lists them");
    if !store::is_plain_name(wanted.as_ref()) {
        return Err(unknown());
    }
    let path = store.containers().join(wanted);
    sys::why("if possible: is it a name?");
    if let Ok(target) = sys::readlink(&path) {
        // A name leads to an id beside it and nowhere else.
        let id = target.to_string_lossy().into_owned();
        sys::why("if possible: the container of that name");
        let beside = is_id(&id) && sys::lstat(store.containers().join(&id)).is_ok_and(|stat| stat.is_dir());
        return if beside { Ok(id) } else { Err(unknown()) };
    }
    if is_id(wanted) && store::exists(&path)? {
        return Ok(wanted.to_string());
    }
    let ids = list(store)?.into_iter().map(|listed| listed.id).filter(|id| id.starts_with(wanted));
    match ids.collect::<Vec<_>>().as_slice() {
        [id] => Ok(id.clone()),
        [] => Err(unknown()),
        _ => Err(Error::new(format!("{wanted} is the beginning of more than one container's id"))),
    }
}

/// 12 hex digits.
fn is_id(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// `ps`: running containers, with `all` the others too, as a table.
pub fn table(store: &Store, all: bool) -> Result<String> {
    let mut rows = vec![["CONTAINER ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "NAMES"].map(str::to_string)];
    let now = sys::now();
    for listed in list(store)? {
        let running = matches!(listed.status, Status::Up { .. } | Status::Created);
        if running || all {
            rows.push(row(&listed, now));
        }
    }
    Ok(columns(&rows))
}

fn row(listed: &Listed, now: i64) -> [String; 6] {
    let status = match listed.status {
        Status::Created => "Created".to_string(),
        Status::Up { since } => format!("Up {}", duration(now - since)),
        Status::Exited { code, at } => format!("Exited ({code}) {} ago", duration(now - at)),
        Status::Dead => "Dead (its engine was killed)".to_string(),
    };
    let Some(bundle) = &listed.bundle else {
        return [listed.id.clone(), String::new(), String::new(), String::new(), status, String::new()];
    };
    let command: Vec<String> = bundle.args.iter().map(|a| a.to_string_lossy().into_owned()).collect();
    let command: String = printable(&command.join(" ")).chars().take(20).collect();
    let created = format!("{} ago", duration(now - bundle.created));
    let reference = bundle.reference.trim_start_matches("docker.io/library/").trim_start_matches("docker.io/");
    let reference = reference.strip_suffix(":latest").unwrap_or(reference);
    [listed.id.clone(), printable(reference), format!("\"{command}\""), created, status, bundle.name.clone()]
}

/// Seconds in words, as docker's users know them.
pub fn duration(seconds: i64) -> String {
    const UNITS: &[(i64, &str)] = &[
        (86_400 * 365, "year"),
        (86_400 * 30, "month"),
        (86_400 * 7, "week"),
        (86_400, "day"),
        (3_600, "hour"),
        (60, "minute"),
        (1, "second"),
    ];
    let (size, unit) = UNITS.iter().find(|(size, _)| seconds >= *size).copied().unwrap_or((1, "second"));
    let count = seconds.max(0) / size;
    format!("{count} {unit}{}", if count == 1 { "" } else { "s" })
}

/// A table with its columns as wide as their widest entry.
pub fn columns<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..N).map(width).collect();
    let line = |row: &[String; N]| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}   "));
        format!("{}\n", cells.collect::<String>().trim_end())
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lock_and_the_last_line_make_the_status() {
        let running = json::parse(br#"{"status":"running","pid":7,"at":5}"#).unwrap();
        let stopped = json::parse(br#"{"status":"stopped","exitCode":3,"at":9}"#).unwrap();
        assert_eq!(status(&Json::Null, true), Status::Created);
        assert_eq!(status(&running, true), Status::Up { since: 5 });
        assert_eq!(status(&running, false), Status::Dead);
        assert_eq!(status(&stopped, false), Status::Exited { code: 3, at: 9 });
    }

    #[test]
    fn durations_in_words() {
        assert_eq!(duration(0), "0 seconds");
        assert_eq!(duration(61), "1 minute");
        assert_eq!(duration(86_400 * 3), "3 days");
    }
}
