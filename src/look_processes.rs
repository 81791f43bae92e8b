//! The processes of a container as the host sees them, each with both its numbers: of /proc/PID/status, and of
//! /proc/PID/task/TID/children for the tree.
//!
//! The engine is at the top, and pid 1 and slirp4netns below it: they are its children.

use crate::error::printable;
use crate::idmap::{field, inside, status};
use crate::look::{number, read, word, words, Subject, MOST_READ};
use crate::look_page::{branch, Page, WIDTH};
use crate::sys::{self, Pid};

/// So many are shown, and the rest is counted.
const MOST_PROCESSES: usize = 16;

pub struct Process {
    pub pid: Pid,
    /// Its /proc/PID/status.
    pub status: String,
}

impl Process {
    /// `None` where it has ended, or /proc hides it.
    pub fn read(pid: Pid) -> Option<Process> {
        sys::why("its numbers, ids and threads");
        Some(Process { pid, status: status(&pid.to_string()).ok()? })
    }

    pub fn number(&self, name: &str, index: usize) -> Option<u32> {
        number(word(&words(field(&self.status, name)), index))
    }

    /// Its number in the container; `None` for a process outside. NSpid begins with the number here; a third one
    /// would be of a namespace inside the container.
    pub fn inside(&self) -> Option<u32> {
        self.number("NSpid:", 1)
    }

    fn name(&self) -> String {
        printable(field(&self.status, "Name:"))
    }

    /// What it says it was called with: the kernel reads that from the process's own memory. As in ps(1) a process
    /// without has its name in brackets.
    fn command(&self) -> String {
        let mut bytes = [0; 2 * WIDTH];
        sys::why("its command line");
        let file = sys::open(format!("/proc/{}/cmdline", self.pid), libc::O_RDONLY, 0);
        let length = file.and_then(|file| sys::read(file.raw(), &mut bytes)).unwrap_or(0);
        // A NUL ends each argument.
        for byte in &mut bytes {
            *byte = if *byte == 0 { b' ' } else { *byte };
        }
        match String::from_utf8_lossy(&bytes[..length]).trim_end_matches(' ') {
            "" if field(&self.status, "State:").starts_with('Z') => {
                format!("[{}] has ended, and nobody has waited for it", self.name())
            }
            "" => format!("[{}]", self.name()),
            text => printable(text),
        }
    }

    /// Its children, by number: each thread has those that it has started. `budget` threads may be asked.
    fn children(&self, budget: &mut usize) -> Vec<Pid> {
        let threads = if self.number("Threads:", 0) == Some(1) { vec![self.pid] } else { threads(self.pid) };
        let mut all: Vec<Pid> = Vec::new();
        for thread in threads {
            let Some(left) = budget.checked_sub(1) else { break };
            *budget = left;
            let file = format!("task/{thread}/children");
            let text = read(self.pid, &file, "which processes it has started").unwrap_or_default();
            for child in words(&text) {
                let child = number(child).unwrap_or(0) as Pid;
                all.insert(all.partition_point(|other| *other < child), child);
            }
        }
        all
    }
}

/// The first thousand of its threads: as many as one getdents64(2) brings.
fn threads(pid: Pid) -> Vec<Pid> {
    let mut all = Vec::new();
    sys::why("its threads");
    let dir = sys::open(format!("/proc/{pid}/task"), libc::O_RDONLY | libc::O_DIRECTORY, 0);
    for entry in dir.and_then(|dir| sys::list_some(&dir)).unwrap_or_default() {
        all.extend(entry.name.to_str().and_then(number).map(|thread| thread as Pid));
    }
    all
}

/// The tree from the engine down, with the numbers of both sides. Returns the pid of slirp4netns.
pub fn processes(page: &mut Page, subject: &Subject) -> Option<Pid> {
    page.part("PROCESSES");
    page.line(format_args!("on the host     in the container"));
    page.line(format_args!("pid     uid     pid     uid"));
    let (depths, shown, more) = tree(&subject.first);
    let mut helper = None;
    for (row, process) in shown.iter().enumerate() {
        let (uid, pid_inside) = (process.number("Uid:", 0), process.inside());
        // The engine and its helper are not in there.
        let uid_inside = pid_inside.and_then(|_| inside(&subject.uids, uid?));
        let (uid, pid_there, uid_there) = (or_dash(uid), or_dash(pid_inside), or_dash(uid_inside));
        let (pid, branch, command) = (process.pid, branch(&depths[row..]), process.command());
        page.line(format_args!("{pid:<7} {uid:<7} {pid_there:<7} {uid_there:<7} {branch}{command}"));
        if pid_inside.is_none() && process.name() == "slirp4netns" {
            helper = Some(pid);
        }
    }
    page.more(more);
    helper
}

pub fn or_dash(number: Option<u32>) -> String {
    number.map_or("-".to_string(), |number| number.to_string())
}

/// The processes in preorder, their depths, and how many more there are. The engine's own children are always among
/// them.
fn tree(first: &Process) -> (Vec<usize>, Vec<Process>, usize) {
    let (mut depths, mut shown, mut more, mut budget) = (Vec::new(), Vec::new(), 0, MOST_READ);
    // An engine that cannot be seen is in a pid namespace above this one.
    let engine = first.number("PPid:", 0).and_then(|pid| Process::read(pid as Pid));
    let mut waiting = vec![(0, engine.map_or(first.pid, |engine| engine.pid))];
    while let Some((depth, pid)) = waiting.pop() {
        let Some(process) = Process::read(pid) else { continue };
        for child in process.children(&mut budget).iter().rev().filter(|child| **child != first.pid) {
            waiting.push((depth + 1, *child));
        }
        if depth == 0 && pid != first.pid {
            waiting.push((1, first.pid)); // the first of them, and where the kernel has no lists of children, too
        }
        if shown.len() < MOST_PROCESSES || (depth < 2 && shown.len() < 2 * MOST_PROCESSES) {
            depths.push(depth);
            shown.push(process);
        } else {
            more += 1;
        }
        if budget == 0 {
            more += waiting.len();
            break;
        }
    }
    (depths, shown, more)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_in_the_container_is_the_second_of_nspid() {
        let inside = |status: &str| Process { pid: 1, status: status.to_string() }.inside();
        assert_eq!(inside("Name:\tx\nNSpid:\t28692\t1\n"), Some(1));
        assert_eq!(inside("NSpid:\t28692\t7\t1\n"), Some(7));
        assert_eq!(inside("NSpid:\t28689\n"), None);
        assert_eq!(inside("Name:\tNSpid:\\n1 2\n"), None);
    }

    #[test]
    fn a_process_has_its_threads_and_a_name() {
        let own = sys::getpid();
        assert!(threads(own).contains(&own));
        let status = "Name:\tx\\n\x1b[2J\nUid:\t0\t7\n".to_string();
        let process = Process { pid: own, status };
        assert_eq!(process.name(), "x\\n\\u{1b}[2J");
        assert_eq!(
            (process.number("Uid:", 1), process.number("Uid:", 4), process.number("Gid:", 0)),
            (Some(7), None, None)
        );
        assert_eq!([None, Some(7)].map(or_dash), ["-", "7"]);
    }
}
