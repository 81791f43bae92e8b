//! The limits of a container, and what it uses of them: of its cgroups' files, cgroups(7), in both versions.
//!
//! /proc/PID/cgroup says where the cgroups are, [`GAUGES`] what of them is shown.

use crate::error::printable;
use crate::idmap::field;
use crate::look::{number, read, read_path, split, word, words, Subject, REFUSED};
use crate::look_mounts::has;
use crate::look_page::{Page, HALF};

/// A limit and what is used of it.
struct Gauge {
    controller: &'static str,
    /// A name, and the files for use and limit, in version 1 and in version 2.
    files: [[&'static str; 3]; 2],
    show: fn(&str, &str) -> String,
}

/// The rows of cgroup.rs.
const GAUGES: &[Gauge] = &[
    Gauge {
        controller: "memory",
        files: [
            ["memory", "memory.usage_in_bytes", "memory.limit_in_bytes"],
            ["memory", "memory.current", "memory.max"],
        ],
        show: bytes_of,
    },
    Gauge {
        controller: "memory",
        files: [
            ["with swap", "memory.memsw.usage_in_bytes", "memory.memsw.limit_in_bytes"],
            ["swap", "memory.swap.current", "memory.swap.max"],
        ],
        show: bytes_of,
    },
    Gauge {
        controller: "cpuset",
        files: [["cpuset", "cpuset.effective_cpus", "cpuset.cpus"], ["cpuset", "cpuset.cpus.effective", "cpuset.cpus"]],
        show: |used, _| format!("CPUs {used}"),
    },
    Gauge {
        controller: "pids",
        files: [["pids", "pids.current", "pids.max"], ["pids", "pids.current", "pids.max"]],
        show: |used, limit| format!("{used} of {limit}"),
    },
    Gauge {
        controller: "cpu",
        files: [["cpu", "cpu.stat", "cpu.cfs_quota_us"], ["cpu", "cpu.stat", "cpu.max"]],
        show: cpu,
    },
];

fn bytes_of(used: &str, limit: &str) -> String {
    format!("{} of {}", bytes(used), bytes(limit))
}

/// In a unit that leaves less than five digits, or no rest.
fn bytes(text: &str) -> String {
    let Ok(mut n) = text.parse::<u64>() else { return text.to_string() };
    // Version 1 has the largest number of whole pages where there is no limit.
    if n >= 1 << 62 {
        return "max".to_string();
    }
    let mut unit = 0;
    while unit < 3 && (n >= 10 << 10 || (n > 0 && n % 1024 == 0)) {
        n /= 1024;
        unit += 1;
    }
    format!("{n}{}", ["", "K", "M", "G"][unit])
}

/// `stat` is cpu.stat; `limit` microseconds in each 100 ms, the quota alone in version 1, quota and period in 2.
fn cpu(stat: &str, limit: &str) -> String {
    let limit = match number(word(&words(limit), 0)) {
        Some(quota) => format!("{} of each 100 ms", quota / 1000),
        None => "max".to_string(),
    };
    let throttled = field(stat, "nr_throttled");
    match field(stat, "usage_usec").parse::<u64>() {
        Ok(used) => format!("{} ms used, {limit}, throttled {throttled} times", used / 1000),
        Err(_) => format!("{limit}, throttled {throttled} times"),
    }
}

pub fn limits(page: &mut Page, subject: &Subject) {
    page.part("CGROUP");
    let Some(text) = read(subject.first.pid, "cgroup", "where its limits are") else {
        return page.line(format_args!("{REFUSED}"));
    };
    let own = format!("/mydocker/{}", subject.id);
    let mut shown = false;
    for gauge in GAUGES {
        let Some((version, path)) = cgroup_of(&text, gauge.controller).filter(|(_, path)| path.ends_with(&own)) else {
            continue;
        };
        let [name, used, limit] = gauge.files[version - 1];
        let dir = if version == 1 { gauge.controller } else { "" };
        let value = |file, why| read_path(format!("/sys/fs/cgroup/{dir}{path}/{file}"), why);
        let Some(limit) = value(limit, "a limit") else { continue };
        let used = value(used, "what is used of it").unwrap_or_default();
        let (used, limit) = (used.trim_end_matches('\n'), limit.trim_end_matches('\n'));
        if !shown {
            page.line(format_args!("version {version}, {} below /sys/fs/cgroup", printable(&path)));
            page.list("");
            shown = true;
        }
        page.item(HALF, format_args!("{name:<9} {}", (gauge.show)(used, limit)));
    }
    if !shown {
        page.line(format_args!("no limits of its own: it is where its engine is"));
    }
}

/// The version and path of the cgroup that a controller is in. A line is `hierarchy:controllers:path`; version 2 has
/// hierarchy 0 and names no controllers.
fn cgroup_of(text: &str, controller: &str) -> Option<(usize, String)> {
    let mut of_version_2 = None;
    for line in split(text, '\n') {
        // A path may have a colon of its own.
        let [_, names, path @ ..] = &split(line, ':')[..] else { continue };
        if names.is_empty() {
            of_version_2 = Some((2, path.join(":")));
        } else if has(names, controller) {
            return Some((1, path.join(":")));
        }
    }
    of_version_2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cgroups_of_both_versions_are_found() {
        let v1 = "8:pids:/mydocker/a\n1:cpu,cpuacct:/x:y\n0::/\n";
        assert_eq!(cgroup_of(v1, "pids"), Some((1, "/mydocker/a".to_string())));
        assert_eq!(cgroup_of(v1, "cpu"), Some((1, "/x:y".to_string())));
        assert_eq!(cgroup_of("0::/mydocker/a\n", "cpu"), Some((2, "/mydocker/a".to_string())));
    }

    #[test]
    fn limits_are_for_people() {
        let stat = "usage_usec 12345\nnr_throttled 3";
        assert_eq!(cpu(stat, "50000 100000"), "12 ms used, 50 of each 100 ms, throttled 3 times");
        assert_eq!(cpu("nr_throttled 0", "-1"), "max, throttled 0 times");
        assert_eq!(bytes_of("6340608", "67108864"), "6192K of 64M");
        assert_eq!(bytes_of("0", "9223372036854771712"), "0 of max");
        assert_eq!(["10239", "10241", "4096", "10737418240", "max"].map(bytes), ["10239", "10K", "4K", "10G", "max"]);
    }
}
