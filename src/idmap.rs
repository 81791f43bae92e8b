//! Who is who: the id maps of a user namespace, user_namespaces(7).
//!
//! A container always has a user namespace of its own. Run by root, every id is itself, so files
//! belong to whom the image says and yet no capability reaches past the namespace. Run by anybody
//! else, the container's root *is* that user, and ids 1.. are the user's subordinate ids, which the
//! setuid helpers `newuidmap` and `newgidmap` may map because /etc/subuid and /etc/subgid say so.
//! Without them there is one id alone.
//!
//! [`IdMap::of_caller`] decides, [`IdMap::write`] tells the kernel, [`IdMap::key`] names the map in
//! the store (a layer on disk depends on it). job.rs puts processes inside such a namespace.

use crate::error::{printable, say, Context, Error, Result};
use crate::sys::{self, Fd, Pid, Program};

/// `count` ids from `inside` in the namespace are those from `outside` on the host.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Range {
    pub inside: u32,
    pub outside: u32,
    pub count: u32,
}

/// The ids of a container.
#[derive(Debug, Clone, PartialEq)]
pub struct IdMap {
    pub uids: Vec<Range>,
    pub gids: Vec<Range>,
    writer: Writer,
}

/// Who may write the map.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Writer {
    /// Root writes any.
    Root,
    /// `newuidmap` and `newgidmap` write what /etc/subuid and /etc/subgid allow.
    Helper,
    /// A user alone may map nobody but itself.
    Nobody,
}

/// All ids but the last, (uid_t) -1, which is no id: user_namespaces(7).
const ALL: Range = Range { inside: 0, outside: 0, count: u32::MAX };

impl IdMap {
    /// The map for whoever runs the engine. Warns on standard error where there is one id only.
    pub fn of_caller() -> Result<IdMap> {
        let (map, why_single) = IdMap::or_why_single()?;
        if let Some(missing) = why_single {
            say(format_args!("warning: one id only in the container: {missing}"));
        }
        Ok(map)
    }

    /// The same, and where there is one id only, why.
    pub fn or_why_single() -> Result<(IdMap, Option<String>)> {
        let uid = sys::euid();
        if uid == 0 {
            return Ok((IdMap { uids: vec![ALL], gids: vec![ALL], writer: Writer::Root }, None));
        }
        let gid = sys::egid();
        let own = |id| Range { inside: 0, outside: id, count: 1 };
        let name = user_name(uid);
        let uids = subordinate("/etc/subuid", uid, &name);
        let gids = subordinate("/etc/subgid", uid, &name);
        let powerless = if uids.is_empty() || gids.is_empty() { None } else { why_powerless()? };
        let helped = !uids.is_empty() && !gids.is_empty() && powerless.is_none();
        if helped && sys::find_program("newuidmap").is_some() {
            let all = |id, ranges: Vec<Range>| [own(id)].into_iter().chain(ranges).collect();
            return Ok((IdMap { uids: all(uid, uids), gids: all(gid, gids), writer: Writer::Helper }, None));
        }
        let missing = if uids.is_empty() || gids.is_empty() {
            format!("/etc/subuid and /etc/subgid have no entry for {name} (usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {name})")
        } else {
            powerless.unwrap_or("newuidmap is not installed (apt-get install uidmap)").to_string()
        };
        Ok((IdMap { uids: vec![own(uid)], gids: vec![own(gid)], writer: Writer::Nobody }, Some(missing)))
    }

    /// The map's name in the store: empty where every id is itself, else its ranges, such as
    /// `.0-1000-1.1-100000-65536`, and those of the groups where they differ.
    pub fn key(&self) -> String {
        if self.is_root() {
            return String::new();
        }
        let text = |ranges: &[Range]| -> String {
            ranges.iter().map(|r| format!(".{}-{}-{}", r.inside, r.outside, r.count)).collect()
        };
        let (uids, gids) = (text(&self.uids), text(&self.gids));
        if uids == gids {
            uids
        } else {
            format!("{uids}.gids{gids}")
        }
    }

    /// Whether there is one id only, so that nothing in the container can belong to anybody else.
    pub fn is_single(&self) -> bool {
        self.writer == Writer::Nobody
    }

    /// Whether root runs the engine, and every id is itself.
    pub fn is_root(&self) -> bool {
        self.writer == Writer::Root
    }

    /// The container's number for an id of the host's; 65534, nobody, for one that the map does not have.
    pub fn uid_inside(&self, id: u32) -> u32 {
        inside(&self.uids, id).unwrap_or(OVERFLOW_ID)
    }

    pub fn gid_inside(&self, id: u32) -> u32 {
        inside(&self.gids, id).unwrap_or(OVERFLOW_ID)
    }

    pub fn maps_uid(&self, id: u32) -> bool {
        maps(&self.uids, id)
    }

    pub fn maps_gid(&self, id: u32) -> bool {
        maps(&self.gids, id)
    }

    /// Writes both maps of the namespace that `pid` lives in; a map can be written once only.
    pub fn write(&self, pid: Pid) -> Result<()> {
        match self.writer {
            Writer::Root => {
                sys::why("if all are mapped here: the container's users are the host's of the same number");
                write_as_root(pid, "uid_map", &self.uids)?;
                sys::why("if all are mapped here: so are its groups");
                write_as_root(pid, "gid_map", &self.gids)
            }
            Writer::Helper => {
                sys::why("what the helpers complain of");
                let (words, complain) = sys::pipe2().context("pipe2")?;
                // Side by side: most of their time is their own start.
                let uids = start_helper("newuidmap", pid, &self.uids, &complain)?;
                let gids = start_helper("newgidmap", pid, &self.gids, &complain);
                drop(complain);
                finish_helper("newuidmap", uids, &words)?;
                finish_helper("newgidmap", gids?, &words)
            }
            Writer::Nobody => {
                // Dropping a group could open a file that is closed to that group, so the kernel wants
                // setgroups forbidden before a user alone may write gid_map: user_namespaces(7).
                sys::why("no setgroups(2) in there: required before an unprivileged gid_map");
                let process = format!("/proc/{pid}");
                write_file(&process, "setgroups", "deny")?;
                sys::why("root in the container is the user outside");
                write_file(&process, "uid_map", &lines(&self.uids))?;
                sys::why("and root's group is the user's");
                write_file(&process, "gid_map", &lines(&self.gids))
            }
        }
    }
}

fn maps(ranges: &[Range], id: u32) -> bool {
    ranges.iter().any(|r| id >= r.inside && id - r.inside < r.count)
}

/// /proc/sys/kernel/overflowuid: nobody.
const OVERFLOW_ID: u32 = 65534;

/// The container's number for an id of the host's, if it has one.
pub fn inside(ranges: &[Range], id: u32) -> Option<u32> {
    let range = ranges.iter().find(|r| id >= r.outside && id - r.outside < r.count)?;
    Some(range.inside + (id - range.outside))
}

/// The ranges of a /proc/PID/uid_map or gid_map, three columns: the first id inside, the first outside, how many.
pub fn parse(map: &str) -> Vec<Range> {
    let range = |line: &str| {
        let mut columns = line.split_whitespace().map(|column| column.parse().ok());
        Some(Range { inside: columns.next()??, outside: columns.next()??, count: columns.next()?? })
    };
    map.lines().filter_map(range).collect()
}

fn lines(ranges: &[Range]) -> String {
    ranges.iter().map(|r| format!("{} {} {}\n", r.inside, r.outside, r.count)).collect()
}

fn write_file(process: &str, file: &str, text: &str) -> Result<()> {
    let path = format!("{process}/{file}");
    sys::write_kernel_file(&path, text).context(format_args!("write {path}")).map_err(|error| match error.errno {
        Some(libc::ENOENT) => error.hint("no /proc of this pid namespace: mount -t proc proc /proc"),
        _ => error,
    })
}

/// Root maps all ids. Where root is itself root of a user namespace only, the kernel answers EPERM;
/// then each id that this namespace has is mapped to itself.
fn write_as_root(pid: Pid, file: &str, ranges: &[Range]) -> Result<()> {
    match write_file(&format!("/proc/{pid}"), file, &lines(ranges)) {
        Err(error) if error.errno == Some(libc::EPERM) => {}
        result => return result,
    }
    write_identity(&format!("/proc/{pid}"), file)
}

/// Maps each id that this user namespace has to itself, in the `uid_map` or `gid_map` of a process's directory.
pub fn write_identity(process: &str, file: &str) -> Result<()> {
    let own = format!("/proc/self/{file}");
    sys::why("which ids are there in this user namespace?");
    let text = sys::read_kernel_list(&own, 64 * 1024).context(format_args!("read {own}"))?;
    let there = parse(&String::from_utf8_lossy(&text));
    let identity: Vec<Range> = there.into_iter().map(|range| Range { outside: range.inside, ..range }).collect();
    sys::why("each of them is itself");
    write_file(process, file, &lines(&identity))
}

fn start_helper(name: &'static str, pid: Pid, ranges: &[Range], complain: &Fd) -> Result<Pid> {
    let numbers = ranges.iter().flat_map(|r| [r.inside, r.outside, r.count]);
    let arguments = [pid.to_string()].into_iter().chain(numbers.map(|n| n.to_string()));
    let program = Program { name, arguments: arguments.map(Into::into).collect(), environment: Vec::new() };
    sys::why("setuid root: it may map the ids that /etc/subuid and /etc/subgid give to the user");
    sys::spawn(&program, [None, None, Some(complain)], &[]).context(format_args!("clone for {name}"))
}

fn finish_helper(name: &str, child: Pid, words: &Fd) -> Result<()> {
    sys::why("the map is written when it has ended well");
    let status = sys::wait(child).context("wait4")?;
    if status.success() {
        return Ok(());
    }
    sys::why("what did it complain of?");
    let words = sys::if_possible(|| sys::read_to_end(words, 4096)).unwrap_or_default();
    let words = printable(String::from_utf8_lossy(&words).trim());
    Err(Error::new(format!("{name} failed: {status}: {words}"))
        .hint("it must be setuid root, and is powerless under strace: use strace -u USER as root"))
}

/// Why a setuid program such as `newuidmap` has no power here, if that is so: execve(2) ignores the bit under
/// no_new_privs, and under a tracer without CAP_SYS_PTRACE.
fn why_powerless() -> Result<Option<&'static str>> {
    const CAP_SYS_PTRACE: u32 = 19;
    sys::why("has a setuid program such as newuidmap power here?");
    let own = status("self")?;
    if field(&own, "NoNewPrivs:") == "1" {
        return Ok(Some("newuidmap is a setuid program, and has no power under no_new_privs"));
    }
    let tracer = field(&own, "TracerPid:");
    if tracer.is_empty() || tracer == "0" {
        return Ok(None);
    }
    sys::why("under a tracer: only if that one has CAP_SYS_PTRACE");
    let capabilities = u64::from_str_radix(field(&status(tracer)?, "CapEff:"), 16).unwrap_or(0);
    let reason = "newuidmap is a setuid program, and has no power under this tracer (as root, strace -u USER keeps it)";
    Ok((capabilities & 1 << CAP_SYS_PTRACE == 0).then_some(reason))
}

/// /proc/PID/status, proc(5).
pub fn status(pid: &str) -> Result<String> {
    let file = format!("/proc/{pid}/status");
    let text = sys::read_file(&file, 64 * 1024).context(format_args!("read {file}"))?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// The value behind a name in it, such as `Uid:`; empty where the kernel does not have it.
pub fn field<'a>(status: &'a str, name: &str) -> &'a str {
    status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim()
}

/// The ranges that `file` (subuid(5)) gives to a user, by name or number, as container ids from 1 on.
fn subordinate(file: &str, uid: u32, name: &str) -> Vec<Range> {
    // A file that is not there, or not readable, gives nobody any id.
    sys::why("which ids may the user give to a container?");
    let text = sys::if_possible(|| sys::read_file(file, 1 << 20)).unwrap_or_default();
    parse_subordinate(&String::from_utf8_lossy(&text), uid, name)
}

fn parse_subordinate(text: &str, uid: u32, name: &str) -> Vec<Range> {
    let mut inside = 1;
    let mut ranges = Vec::new();
    for line in text.lines() {
        let fields: Vec<&str> = line.trim().split(':').collect();
        let [owner, start, count] = fields[..] else { continue };
        let (Ok(outside), Ok(count)) = (start.parse::<u32>(), count.parse::<u32>()) else { continue };
        let ours = owner == name || owner == uid.to_string();
        if ours && count > 0 && inside + u64::from(count) < u64::from(u32::MAX) {
            ranges.push(Range { inside: inside as u32, outside, count });
            inside += u64::from(count);
        }
    }
    ranges
}

/// The user's name in /etc/passwd, else the number as text.
fn user_name(uid: u32) -> String {
    sys::why("the user's name: /etc/subuid may go by it");
    let text = sys::if_possible(|| sys::read_file("/etc/passwd", 1 << 20)).unwrap_or_default();
    String::from_utf8_lossy(&text)
        .lines()
        .find_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_string())
        })
        .unwrap_or_else(|| uid.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subordinate_ids_follow_the_one_of_the_user() {
        let text = "alice:100000:65536\nbob:200000:10\n1000:300000:5\nbroken\nalice:x:1\n";
        let ranges = parse_subordinate(text, 1000, "alice");
        let expected =
            [Range { inside: 1, outside: 100000, count: 65536 }, Range { inside: 65537, outside: 300000, count: 5 }];
        assert_eq!(ranges, expected);
        assert_eq!(lines(&ranges), "1 100000 65536\n65537 300000 5\n");
    }

    #[test]
    fn the_key_names_the_map() {
        let own = Range { inside: 0, outside: 1000, count: 1 };
        let map = |gids| IdMap { uids: vec![own], gids, writer: Writer::Nobody };
        assert_eq!(map(vec![own]).key(), ".0-1000-1");
        assert_eq!(map(vec![Range { outside: 50, ..own }]).key(), ".0-1000-1.gids.0-50-1");
        assert_eq!(IdMap { uids: vec![ALL], gids: vec![ALL], writer: Writer::Root }.key(), "");
    }

    #[test]
    fn ids_of_the_host_have_numbers_inside() {
        let ranges = [Range { inside: 0, outside: 1000, count: 1 }, Range { inside: 1, outside: 100000, count: 10 }];
        assert_eq!([1000, 100000, 100009].map(|id| inside(&ranges, id)), [Some(0), Some(1), Some(10)]);
        assert_eq!([100010, 0].map(|id| inside(&ranges, id)), [None, None]);
    }

    #[test]
    fn a_map_is_three_columns() {
        let map = parse("         0       1000          1\n         1     100000      65536\nx\n");
        assert_eq!(lines(&map), "0 1000 1\n1 100000 65536\n");
    }

    #[test]
    fn what_a_map_holds() {
        let map =
            IdMap { uids: vec![ALL], gids: vec![Range { inside: 1, outside: 5, count: 2 }], writer: Writer::Root };
        assert!(map.maps_uid(4294967294) && !map.maps_uid(u32::MAX));
        assert!(!map.maps_gid(0) && map.maps_gid(1) && map.maps_gid(2) && !map.maps_gid(3));
    }
}
