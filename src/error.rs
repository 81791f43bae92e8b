//! One error type: what was tried, on what, what the kernel answered, what to do about it,
//! and the exit code that docker's users expect for it.
//!
//! A system call returns `io::Result`; `.context(..)` names the call and its object, and
//! `.hint(..)` adds what a beginner should do next:
//! `mount proc on /proc: Operation not permitted (os error 1)`.

use std::fmt::{self, Write};
use std::io;

use crate::sys;

/// The engine itself failed, the container's command never ran (docker's exit code).
pub const ENGINE_FAILED: i32 = 125;
/// The command was found but could not be executed.
pub const NOT_EXECUTABLE: i32 = 126;
/// The command was not found.
pub const NOT_FOUND: i32 = 127;

/// An error on its way to the one line that the user sees.
#[derive(Debug)]
pub struct Error {
    /// The exit code of the whole program: 125, 126 or 127.
    pub code: i32,
    /// The line without the leading `mydocker: `.
    pub message: String,
    /// The errno below it, where a system call failed.
    pub errno: Option<i32>,
}

pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An error of our own making, exit code 125.
    pub fn new(message: impl fmt::Display) -> Error {
        Error { code: ENGINE_FAILED, message: message.to_string(), errno: None }
    }

    /// The same error with another exit code.
    pub fn with_code(self, code: i32) -> Error {
        Error { code, ..self }
    }

    /// The same error with a word on what to do, in parentheses behind it.
    pub fn hint(self, advice: impl fmt::Display) -> Error {
        Error { message: format!("{} ({advice})", self.message), ..self }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// Says what was being done when a call failed.
pub trait Context<T> {
    /// `what` is the call and its object, such as `format_args!("open {}", path.display())`.
    fn context(self, what: impl fmt::Display) -> Result<T>;
}

impl<T> Context<T> for io::Result<T> {
    fn context(self, what: impl fmt::Display) -> Result<T> {
        self.map_err(|error| Error {
            code: ENGINE_FAILED,
            message: format!("{what}: {error}"),
            errno: error.raw_os_error(),
        })
    }
}

impl<T> Context<T> for Result<T> {
    fn context(self, what: impl fmt::Display) -> Result<T> {
        self.map_err(|error| Error { message: format!("{what}: {}", error.message), ..error })
    }
}

/// One line on standard error, whatever is in it: names of an image's may be part of it. Unlike `eprintln!` it does
/// not panic where that is closed or full.
pub fn say(text: impl fmt::Display) {
    sys::print_error(format!("mydocker: {}\n", printable(&text.to_string())).as_bytes());
}

/// Text that came from outside (a registry, an image, a name, a process), made safe to print on a terminal. What is
/// no mark of its own is escaped: control characters, so a hostile name cannot move the cursor or set the title,
/// and those that turn the direction of writing or take no room. Quotes and backslashes stay as they are.
pub fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        // Writing to a String does not fail.
        let _ = match c {
            '"' | '\'' | '\\' => out.write_char(c),
            c => write!(out, "{}", c.escape_debug()),
        };
    }
    out
}

/// The error of a helper program that could not be started, and which package brings it.
pub fn not_started(program: &str, error: io::Error) -> Error {
    /// Debian's names, where they differ from the program's.
    const PACKAGES: &[(&str, &str)] = &[("sha256sum", "coreutils"), ("newuidmap", "uidmap"), ("newgidmap", "uidmap")];
    if error.kind() != io::ErrorKind::NotFound {
        return Err::<(), _>(error).context(format_args!("start {program}")).unwrap_err();
    }
    let package = PACKAGES.iter().find(|(name, _)| *name == program).map_or(program, |(_, package)| package);
    Error::new(format!("{program} is not installed")).hint(format_args!("apt-get install {package}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn context_names_the_call_and_keeps_errno() {
        let failed: io::Result<()> = Err(io::Error::from_raw_os_error(libc::EPERM));
        let error = failed.context("mount proc on /proc").unwrap_err();
        assert_eq!(error.message, "mount proc on /proc: Operation not permitted (os error 1)");
        assert_eq!((error.code, error.errno), (ENGINE_FAILED, Some(libc::EPERM)));
    }

    #[test]
    fn what_is_no_mark_of_its_own_is_escaped() {
        assert_eq!(printable("a\x1b]0;x\x07ü"), "a\\u{1b}]0;x\\u{7}ü");
        assert_eq!(printable("\u{202e}\u{200b}\u{feff}\u{9b}\n"), "\\u{202e}\\u{200b}\\u{feff}\\u{9b}\\n");
        assert_eq!(printable("\"it's\" C:\\x"), "\"it's\" C:\\x");
    }
}
