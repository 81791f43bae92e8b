//! What pid 1 of a container may do: of /proc/PID/status; capabilities(7), prctl(2), seccomp(2).

use crate::idmap::inside;
use crate::idmap::{field, Range};
use crate::look::{hex, number, Subject};
use crate::look_page::Page;
use crate::look_processes::or_dash;
use crate::show;

pub fn power(page: &mut Page, subject: &Subject) {
    page.part("PID 1");
    let first = &subject.first;
    let id = |name, ranges: &[Range]| or_dash(first.number(name, 0).and_then(|id| inside(ranges, id)));
    let (uid, gid) = (id("Uid:", &subject.uids), id("Gid:", &subject.gids));
    let privileges = named(field(&first.status, "NoNewPrivs:"), &["off", "on"]);
    let filter = named(field(&first.status, "Seccomp:"), &["off", "strict", "filter"]);
    page.line(format_args!("uid {uid}, gid {gid}, no_new_privs {privileges}, seccomp {filter}"));
    let (bounding, effective) = (field(&first.status, "CapBnd:"), field(&first.status, "CapEff:"));
    page.list("CapBnd  ");
    capabilities(page, bounding);
    page.list("CapEff  ");
    if effective == bounding {
        page.word("the same");
    } else {
        capabilities(page, effective);
    }
}

fn named(value: &str, names: &[&'static str]) -> &'static str {
    number(value).and_then(|n| names.get(n as usize)).copied().unwrap_or("unknown")
}

/// The bits of a set by name; one that is newer than this program goes by its number.
fn capabilities(page: &mut Page, set: &str) {
    let set = hex(set).unwrap_or(0);
    for bit in (0..64).filter(|bit| set >> bit & 1 == 1) {
        match show::capability(bit) {
            "?" => page.word(&bit.to_string()),
            name => page.word(name),
        }
    }
    if set == 0 {
        page.word("none");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_kernel_does_not_say_is_unknown() {
        assert_eq!(["0", "1", "2", ""].map(|value| named(value, &["off", "on"])), ["off", "on", "unknown", "unknown"]);
    }

    #[test]
    fn a_set_is_its_names() {
        let shown = |set| {
            let mut page = Page::default();
            page.list("");
            capabilities(&mut page, set);
            page.finished().trim().to_string()
        };
        assert_eq!(shown("0000000000000003"), "CHOWN DAC_OVERRIDE");
        assert_eq!(shown("8000010000000000"), "CHECKPOINT_RESTORE 63");
        assert_eq!(shown("0000000000000000"), "none");
    }
}
