//! Which limits can be set: a cgroup is made where cgroup.rs makes those of containers, and removed.

use std::path::{Path, PathBuf};

use crate::cgroup::{self, Version, MOUNT_IT, ROOT};
use crate::check::{Page, Word};
use crate::job::setting;
use crate::look;
use crate::sys;

/// Controllers, and the options that need them.
const LIMITS: &[(&str, &str)] =
    &[("memory", "--memory"), ("pids", "--pids-limit"), ("cpu", "--cpus"), ("cpuset", "--cpuset-cpus")];

pub fn check(page: &mut Page) {
    page.part("limits");
    let version = cgroup::version();
    if version == Version::Nothing {
        return page.line(Word::Missing, "cgroup", format_args!("no limit can be set: {MOUNT_IT}"));
    }
    // Of version 2 one cgroup has all; version 1 has a tree for each.
    let base = if version == Version::V2 { cgroup::base_v2().unwrap_or_default() } else { PathBuf::from(ROOT) };
    let hindrance = if version == Version::V2 { try_base(&base) } else { String::new() };
    let number = if version == Version::V2 { 2 } else { 1 };
    page.line(Word::Ok, "cgroup", format_args!("version {number}, containers get theirs in {}", base.display()));
    for (controller, option) in LIMITS {
        let hindrance = match version {
            Version::V2 if !has(&base, "cgroup.controllers", controller) => {
                "the kernel has it not, or not here: see /proc/cgroups".to_string()
            }
            Version::V2 if has(&base, "cgroup.subtree_control", controller) && !hindrance.starts_with("mkdir") => {
                String::new()
            }
            Version::V2 => hindrance.clone(),
            _ => try_cgroup(&base.join(controller)),
        };
        match hindrance.is_empty() {
            true => page.line(Word::Ok, controller, format_args!("{option}")),
            false => page.line(Word::Missing, controller, format_args!("{option} is refused: {hindrance}")),
        }
    }
}

/// Makes a cgroup and removes it; what hinders.
fn try_cgroup(dir: &Path) -> String {
    let ours = dir.join("mydocker");
    sys::why("if there is one: where containers have theirs");
    let dir = if sys::stat(&ours).is_ok() { &ours } else { dir };
    let child = dir.join("mydocker-check");
    sys::why("if possible: a cgroup, to be removed at once");
    let made = sys::mkdir(&child, 0o755);
    if let Err(error) = made {
        let advice = match sys::euid() {
            0 => "is this controller mounted there?",
            _ => cgroup::DELEGATE,
        };
        return format!("mkdir {}: {error} ({advice})", child.display());
    }
    sys::why("if possible: it was a trial");
    let _stays = sys::rmdir(&child);
    String::new()
}

/// What keeps controllers from being handed down from here, if anything; see cgroup.rs, `delegate`.
fn try_base(base: &Path) -> String {
    let hindrance = try_cgroup(base);
    sys::why("if possible: may controllers be handed down?");
    if !hindrance.is_empty() || sys::access(base.join("cgroup.subtree_control"), libc::W_OK).is_err() {
        return if hindrance.is_empty() { cgroup::DELEGATE.to_string() } else { hindrance };
    }
    sys::why("if there is one: the first cgroup of all, which has no type, may have processes and controllers");
    let is_first = sys::stat(base.join("cgroup.type")).is_err();
    // The engine moves itself to a leaf; anybody else stays.
    let own = sys::getpid().to_string();
    let others = || setting(&format!("{}/cgroup.procs", base.display())).lines().any(|pid| pid != own);
    if is_first || !others() {
        return String::new();
    }
    format!("other processes are in {} ({})", base.display(), cgroup::DELEGATE)
}

fn has(dir: &Path, file: &str, controller: &str) -> bool {
    look::words(&setting(&format!("{}/{file}", dir.display()))).contains(&controller)
}
