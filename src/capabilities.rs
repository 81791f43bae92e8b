//! The pieces that root's power has come in since Linux 2.2: capabilities(7).
//!
//! A container keeps docker's default set, more or less what `--cap-add` and `--cap-drop` say. The set becomes the
//! bounding set: no program in there, setuid or not, gets more. All of it is bounded by the user namespace as well:
//! it reaches what the container owns and nothing else.
//!
//! Of the five sets of a process: bounding is this one; permitted and effective are the same for root and empty for
//! anybody else, as execve(2) would make them; inheritable and ambient are always empty (CVE-2022-24769).

use crate::error::{Context, Error, Result};
use crate::show;
use crate::sys;

/// What docker leaves to a container, bit n for capability n: CapBnd in /proc/1/status of any docker container. The
/// test below has the names.
pub const DEFAULT: u64 = 0xa804_25fb;

/// CAP_CHECKPOINT_RESTORE, the last one that Linux 5.9 and later know; a newer one, if the kernel
/// has it, is dropped as well.
const LAST: u32 = 40;

const ALL: u64 = (1 << (LAST + 1)) - 1;

/// With it a container may mount: see mount_lock.rs.
pub const SYS_ADMIN: u32 = 21;

/// The names of a set, without `CAP_`.
pub fn names_of(set: u64) -> Vec<&'static str> {
    (0..=LAST).filter(|number| set & 1 << number != 0).map(show::capability).collect()
}

/// The set that has these names; `None` where one is unknown. The other way round of [`names_of`].
pub fn set_of<'a>(names: impl Iterator<Item = &'a str>) -> Option<u64> {
    names.map(|name| number(name).map(|number| 1 << number)).try_fold(0, |set, bit| Some(set | bit?))
}

/// By its name, with or without `CAP_`, in any case.
fn number(name: &str) -> Option<u32> {
    let upper = name.to_ascii_uppercase();
    let plain = upper.strip_prefix("CAP_").unwrap_or(&upper);
    (0..=LAST).find(|number| show::capability(*number) == plain)
}

/// Docker's sum of both options: `--cap-add ALL` is everything but what is dropped, `--cap-drop ALL` nothing but what
/// is added.
pub fn changed(added: &[String], dropped: &[String]) -> Result<u64> {
    let (added, all_added) = read("--cap-add", added)?;
    let (dropped, all_dropped) = read("--cap-drop", dropped)?;
    Ok(match (all_added, all_dropped) {
        (true, _) => ALL & !dropped,
        (_, true) => added,
        _ => DEFAULT & !dropped | added,
    })
}

/// The capabilities that an option's values name, with commas between them, and whether `ALL` is among them.
fn read(option: &str, values: &[String]) -> Result<(u64, bool)> {
    let (mut set, mut all) = (0, false);
    for name in values.iter().flat_map(|value| value.split(',')) {
        match number(name) {
            Some(number) => set |= 1 << number,
            None if name.eq_ignore_ascii_case("all") => all = true,
            None => return Err(unknown(option, name)),
        }
    }
    Ok((set, all))
}

fn unknown(option: &str, name: &str) -> Error {
    Error::new(format!("{option} {name:?}: no such capability"))
        .hint(format_args!("ALL, or one of {}", names_of(ALL).join(", ")))
}

/// Leaves the bounding set with these capabilities alone. It needs CAP_SETPCAP, so it comes before the change of user.
pub fn bound(set: u64) -> Result<()> {
    for number in (0..64).filter(|number| set & 1 << number == 0) {
        sys::why(if number > LAST {
            "if there is one: a capability of a later kernel (EINVAL: there is none)"
        } else {
            "not the container's: no program in here gets it, setuid or not"
        });
        match sys::drop_bounding(number) {
            // EINVAL: this kernel has no such capability, nor any after it.
            Err(error) if number > LAST && error.raw_os_error() == Some(libc::EINVAL) => break,
            dropped => dropped.context(format_args!("prctl(PR_CAPBSET_DROP, {number})"))?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_set_is_dockers() {
        let names = "CHOWN DAC_OVERRIDE FOWNER FSETID KILL SETGID SETUID SETPCAP NET_BIND_SERVICE NET_RAW SYS_CHROOT \
                     MKNOD AUDIT_WRITE SETFCAP";
        assert_eq!(names_of(DEFAULT).join(" "), names);
        assert_eq!(set_of(names.split_whitespace()), Some(DEFAULT));
        assert_eq!(number("cap_sys_admin"), Some(SYS_ADMIN));
    }

    #[test]
    fn added_and_dropped_as_docker_does() {
        let changed = |added: &[&str], dropped: &[&str]| {
            let words = |words: &[&str]| words.iter().map(|word| word.to_string()).collect::<Vec<_>>();
            changed(&words(added), &words(dropped)).ok()
        };
        assert_eq!(changed(&[], &[]), Some(DEFAULT));
        assert_eq!(changed(&["net_admin"], &["CAP_CHOWN,kill"]), Some(DEFAULT & !(1 | 1 << 5) | 1 << 12));
        assert_eq!(changed(&["ALL"], &["Chown"]), Some(ALL & !1));
        assert_eq!(changed(&["CHOWN"], &["all"]), Some(1));
        assert_eq!(changed(&["all"], &["all"]), Some(ALL));
        for odd in ["", "?", "CAP_", "CHOWN,", "CAP_ALL", "CAP_CAP_CHOWN", "41"] {
            assert_eq!(changed(&[odd], &[]), None, "{odd}");
        }
    }
}
