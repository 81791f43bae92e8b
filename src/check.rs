//! `mydocker check`: what this host has and lacks for each thing that the engine does, and what to do about it.
//!
//! ```text
//! ok       overlayfs            layers are stacked; marks: user.* xattrs of ext4
//! missing  slirp4netns          containers have loopback alone: apt-get install slirp4netns
//! ```
//!
//! One line for each: `ok`, `limited` where a container runs with less, `missing`. A claim is found out by trying: a
//! child makes the namespaces and mounts (check_run.rs), helpers are started with a few bytes to work on
//! (check_helpers.rs), a cgroup is made and removed (check_limits.rs), a port is bound. A version number alone says
//! nothing, for distributions take things out and put them in. Nothing of it stays behind: what a child mounts goes with
//! it, and a directory is made only in a store that is there (check_store.rs).

use std::fmt::{self, Write};
use std::net::{Ipv4Addr, SocketAddr};

use crate::dns_listen::Listeners;
use crate::dns_options::Listen;
use crate::error::{printable, Context, Result};
use crate::{check_helpers, check_limits, check_run, sys};

/// Exit codes, as `--help` has them.
const CAN_RUN: i32 = 0;
const CANNOT_RUN: i32 = 1;

/// How it is about something.
#[derive(Clone, Copy, PartialEq)]
pub enum Word {
    Ok,
    /// Containers run with less.
    Limited,
    Missing,
    /// Missing, and no container runs without it.
    Needed,
}

/// The lines, and the names of those without which no container runs.
#[derive(Default)]
pub struct Page {
    text: String,
    needed: Vec<&'static str>,
}

impl Page {
    pub fn part(&mut self, name: &str) {
        let gap = if self.text.is_empty() { "" } else { "\n" };
        self.write(format_args!("{gap}{name}:\n"));
    }

    #[inline(never)] // every line comes here
    pub fn line(&mut self, word: Word, what: &'static str, text: fmt::Arguments) {
        let text = printable(&text.to_string());
        let shown = match word {
            Word::Ok => "ok",
            Word::Limited => "limited",
            Word::Missing | Word::Needed => "missing",
        };
        if word == Word::Needed && !self.needed.contains(&what) {
            self.needed.push(what);
        }
        self.write(format_args!("{shown:<8} {what:<20} {text}\n"));
    }

    fn write(&mut self, text: fmt::Arguments) {
        // Writing to a String does not fail.
        let _ = self.text.write_fmt(text);
    }

    /// The last line, and the exit code.
    fn verdict(&mut self) -> i32 {
        if self.needed.is_empty() {
            self.write(format_args!("\nA container can run here.\n"));
            return CAN_RUN;
        }
        let needed = self.needed.join(", ");
        self.write(format_args!("\nNo container can run here without: {needed}.\n"));
        CANNOT_RUN
    }
}

/// The whole command. Its exit code says whether a container can run here at all.
pub fn check() -> Result<i32> {
    let mut page = Page::default();
    check_run::check(&mut page);
    check_helpers::check(&mut page);
    check_limits::check(&mut page);
    dns(&mut page);
    let code = page.verdict();
    sys::print(&page.text).context("write to standard output")?;
    Ok(code)
}

/// The port that `mydocker dns` takes when nothing is said.
fn dns(page: &mut Page) {
    page.part("dns");
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 8053));
    match sys::if_possible(|| Listeners::open(&[Listen { address, is_optional: false }])) {
        Ok(_closed_at_once) => page.line(Word::Ok, "port 8053", format_args!("free, UDP and TCP")),
        Err(error) => page.line(Word::Limited, "port 8053", format_args!("{error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_needed_is_named_once() {
        let mut page = Page::default();
        page.part("run");
        page.line(Word::Limited, "ids", format_args!("one\nonly"));
        assert_eq!(page.verdict(), CAN_RUN);
        page.line(Word::Needed, "devices", format_args!("null"));
        page.line(Word::Needed, "devices", format_args!("tty"));
        assert_eq!(page.verdict(), CANNOT_RUN);
        assert!(page.text.starts_with("run:\nlimited  ids                  one\\nonly\n"));
        assert!(page
            .text
            .ends_with("\nmissing  devices              tty\n\nNo container can run here without: devices.\n"));
    }
}
