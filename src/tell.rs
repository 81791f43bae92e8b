//! The narrator: under `-v` each system call is one line on standard error, written as strace writes it,
//! and behind it why it is made, at which step of the story, and where in the source.
//!
//! ```text
//! child  pivot_root(".", ".") = 0   the container's tree becomes /   [world, rootfs.rs:148]
//! WHO    CALL(ARGUMENTS) = RESULT   REASON   [STEP, FILE:LINE]
//! ```
//!
//! One call's life: a step of the story begins (`sys::step("world")`); whoever makes the call says why
//! (`sys::why("the container's tree becomes /")`); the function of sys.rs makes it and tells it (`tell("pivot_root",
//! ...)`), which takes the reason away: it was for this call alone. Where a caller gave none, sys.rs may have one
//! (`why_else`); a line without a reason is a defect, and a test finds it.
//!
//! A reason that begins with `if possible: ` says that the run goes on when the call fails; one with another condition
//! before the colon names the one failure that is no error: `if there is one: ` (ENOENT), `unless it is there: `
//! (EEXIST), `if it is empty: ` (ENOTEMPTY), `if what is above it is there: ` (ENOENT), `if all are mapped here: `
//! (EPERM), or what stands behind it in parentheses, `(ENOSYS: ...)`. Every other call is required. How arguments look
//! is in show.rs. scripts/test-trace.sh holds the narrator against strace: same calls, same order, same arguments.

use std::cell::{Cell, RefCell};
use std::fmt::Display;
use std::io;
use std::panic::Location;

use libc::c_long;

use crate::show::Outcome;
use crate::sys;

/// What is told of a process, and how.
struct Narrator {
    /// `-v` was given, and somebody still reads.
    verbose: Cell<bool>,
    /// The lines are for a terminal.
    colour: Cell<bool>,
    /// The terminal is in raw mode: a new line does not begin at the left by itself.
    raw: Cell<bool>,
    /// Where the lines go: standard error, or a copy of it in a helper that redirects its own.
    voice: Cell<i32>,
    /// `engine`, `child`, or the path of a helper: `engine/curl`.
    who: Cell<&'static str>,
    step: Cell<&'static str>,
    /// The reason for the next call.
    why: Cell<&'static str>,
    /// What is read and written now is not shown.
    secret: Cell<bool>,
    /// Whatever fails now, the run goes on.
    lenient: Cell<bool>,
    /// Calls that are counted instead of told, by name in the order in which they first came.
    folded: RefCell<Option<Vec<(&'static str, usize)>>>,
}

thread_local! {
    // There is one thread: this is how safe Rust has a variable of the whole program.
    static NARRATOR: Narrator = const {
        Narrator {
            verbose: Cell::new(false),
            colour: Cell::new(false),
            raw: Cell::new(false),
            voice: Cell::new(sys::STDERR),
            who: Cell::new("engine"),
            step: Cell::new("start"),
            why: Cell::new(""),
            secret: Cell::new(false),
            lenient: Cell::new(false),
            folded: RefCell::new(None),
        }
    };
}

/// Switches the narrator on, in colour or not.
pub fn speak(colour: bool) {
    NARRATOR.with(|narrator| {
        narrator.verbose.set(true);
        narrator.colour.set(colour);
    });
}

pub fn verbose() -> bool {
    NARRATOR.with(|narrator| narrator.verbose.get())
}

/// Who tells from here on. A process gets a name a few times at most, so it may be kept for ever.
pub fn set_who(who: String) {
    NARRATOR.with(|narrator| {
        narrator.who.set(String::leak(who));
        narrator.folded.take();
    });
}

pub fn who() -> &'static str {
    NARRATOR.with(|narrator| narrator.who.get())
}

/// The lines go to this descriptor from here on.
pub fn set_voice(fd: i32) {
    NARRATOR.with(|narrator| narrator.voice.set(fd));
}

pub fn voice() -> i32 {
    NARRATOR.with(|narrator| narrator.voice.get())
}

/// The caller's terminal goes into raw mode, or leaves it.
pub fn set_raw(raw: bool) {
    NARRATOR.with(|narrator| narrator.raw.set(raw));
}

/// Which part of the story comes now, in one of the words of [`COLOURS`].
pub fn step(step: &'static str) {
    NARRATOR.with(|narrator| narrator.step.set(step));
}

/// The reason for the next call, in a few words. It costs nothing when nobody listens.
pub fn why(reason: &'static str) {
    NARRATOR.with(|narrator| narrator.why.set(reason));
}

/// The reason for the next call, if nobody has given a better one.
pub fn why_else(reason: &'static str) {
    NARRATOR.with(|narrator| {
        if narrator.why.get().is_empty() {
            narrator.why.set(reason);
        }
    });
}

/// Takes the reason back: the call is not made here.
pub fn no_reason() {
    why("");
}

/// Makes calls whose bytes are nobody's business: passwords, tokens.
pub fn secretly<T>(calls: impl FnOnce() -> T) -> T {
    NARRATOR.with(|narrator| narrator.secret.set(true));
    let result = calls();
    NARRATOR.with(|narrator| narrator.secret.set(false));
    result
}

/// Makes calls of which any may fail: their caller goes on all the same, whatever each is to others.
pub fn if_possible<T>(calls: impl FnOnce() -> T) -> T {
    let before = NARRATOR.with(|narrator| narrator.lenient.replace(true));
    let result = calls();
    NARRATOR.with(|narrator| narrator.lenient.set(before));
    result
}

/// Takes the reason of the next call for a later one; where nobody has given one, this.
pub fn reason_or(reason: &'static str) -> &'static str {
    let given = NARRATOR.with(|narrator| narrator.why.take());
    if given.is_empty() {
        reason
    } else {
        given
    }
}

/// Whether the bytes of a call are not to be shown.
pub fn secret() -> bool {
    NARRATOR.with(|narrator| narrator.secret.get())
}

/// Makes calls that repeat a thousand times: one line at their end says how many of each there were.
#[track_caller]
pub fn fold<T>(reason: &'static str, calls: impl FnOnce() -> T) -> T {
    if !verbose() || NARRATOR.with(|narrator| narrator.folded.borrow().is_some()) {
        return calls();
    }
    NARRATOR.with(|narrator| narrator.folded.replace(Some(Vec::new())));
    let result = calls();
    unfold(reason);
    result
}

/// Says what was folded until now, and tells each call again.
#[track_caller]
pub fn unfold(reason: &'static str) {
    let folded = NARRATOR.with(|narrator| narrator.folded.take()).unwrap_or_default();
    if !folded.is_empty() && verbose() {
        let counts: Vec<String> = folded.iter().map(|(name, count)| format!("{count} {name}")).collect();
        why(reason);
        line(format!("... {}", counts.join(", ")), Location::caller());
    }
}

/// Tells one call and its result.
#[track_caller]
pub fn tell(name: &'static str, arguments: &[&dyn Display], result: &io::Result<c_long>) {
    if verbose() {
        tell_outcome(name, arguments, &Outcome(result));
    }
}

/// The same where strace adds something to the result, as in `17 (SIGCHLD)`.
#[track_caller]
pub fn tell_outcome(name: &'static str, arguments: &[&dyn Display], outcome: &dyn Display) {
    if verbose() && !counted(name) {
        line(format!("{}) = {outcome}", call(name, arguments)), Location::caller());
    }
}

/// Tells a call that does not come back when it succeeds, before it is made.
#[track_caller]
pub fn tell_before(name: &'static str, arguments: &[&dyn Display]) {
    if verbose() && !counted(name) {
        line(format!("{} <unfinished ...>", call(name, arguments)), Location::caller());
    }
}

/// It did come back.
#[track_caller]
pub fn tell_failed(name: &'static str, result: &io::Result<c_long>) {
    if verbose() {
        line(format!("<... {name} resumed>) = {}", Outcome(result)), Location::caller());
    }
}

/// `name(argument, argument`, without the last parenthesis.
fn call(name: &str, arguments: &[&dyn Display]) -> String {
    use std::fmt::Write;
    let mut text = format!("{name}(");
    for (i, argument) in arguments.iter().enumerate() {
        let separator = if i == 0 { "" } else { ", " };
        let _a_string_takes_all = write!(text, "{separator}{argument}");
    }
    text
}

/// Whether the call was only counted, because it is folded.
fn counted(name: &'static str) -> bool {
    NARRATOR.with(|narrator| {
        let mut folded = narrator.folded.borrow_mut();
        let Some(counts) = folded.as_mut() else { return false };
        match counts.iter_mut().find(|(counted, _)| *counted == name) {
            Some((_, count)) => *count += 1,
            None => counts.push((name, 1)),
        }
        true
    })
}

/// The colour of each step on a terminal: the number of an SGR attribute, ECMA-48 8.3.117.
const COLOURS: &[(&str, u8)] = &[
    ("image", 36),
    ("clone", 35),
    ("bundle", 33),
    ("world", 32),
    ("network", 34),
    ("command", 95),
    ("power", 31),
    ("end", 90),
    ("ask", 36),
    ("fetch", 34),
    ("unpack", 33),
    ("put", 32),
    ("query", 32),
    ("store", 36),
    ("boot", 33),
];

/// A reason without its `if possible: `, `unless it is there: ` or the like.
fn unconditional(reason: &str) -> &str {
    match reason.split_once(": ") {
        Some((condition, rest)) if condition.starts_with("if ") || condition.starts_with("unless ") => rest,
        _ => reason,
    }
}

/// One line in one `write(2)`, so that those of several processes stay whole.
fn line(text: String, place: &Location) {
    NARRATOR.with(|narrator| {
        let (who, step, mut reason) = (narrator.who.get(), narrator.step.get(), narrator.why.take());
        let file = place.file().rsplit('/').next().unwrap_or_default();
        let may_fail = if narrator.lenient.get() { "if possible: " } else { "" };
        if narrator.lenient.get() {
            reason = unconditional(reason);
        }
        let behind = format!("{may_fail}{reason}   [{step}, {file}:{}]", place.line());
        let end = if narrator.raw.get() { "\r\n" } else { "\n" };
        let line = if narrator.colour.get() {
            let colour = COLOURS.iter().find(|(name, _)| *name == step).map_or(0, |(_, colour)| *colour);
            format!("\x1b[{colour}m{who:<6} {text}\x1b[0m   \x1b[2m{behind}\x1b[0m{end}")
        } else {
            format!("{who:<6} {text}   {behind}{end}")
        };
        if !sys::print_to(narrator.voice.get(), line.as_bytes()) {
            narrator.verbose.set(false); // nobody listens any more
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_folded_is_counted_by_name() {
        NARRATOR.with(|narrator| narrator.folded.replace(Some(Vec::new())));
        assert!(counted("tee") && counted("splice") && counted("tee"));
        let counts = NARRATOR.with(|narrator| narrator.folded.take());
        assert_eq!(counts, Some(vec![("tee", 2), ("splice", 1)]));
        assert!(!counted("tee"), "nothing is folded any more");
    }

    #[test]
    fn a_reason_is_for_one_call() {
        why("first");
        why_else("second");
        assert_eq!(NARRATOR.with(|narrator| narrator.why.take()), "first");
        why_else("second");
        assert_eq!(NARRATOR.with(|narrator| narrator.why.take()), "second");
    }
}
