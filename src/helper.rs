//! A helper program of which there are several: the first one that is installed does the work.

use std::io;

use crate::error::{not_started, Result};
use crate::sys::{self, Fd, Pid, Program};

/// A program, and its arguments for the work at hand.
pub type Choice = (&'static str, &'static [&'static str]);

/// Starts the first that is installed; returns its name and pid. `usual` is the one to install where there is none.
pub fn start_first(
    choices: &mut dyn Iterator<Item = &Choice>,
    streams: [Option<&Fd>; 3],
    usual: &str,
) -> Result<(&'static str, Pid)> {
    let reason = sys::reason_or("a helper");
    for (name, arguments) in choices {
        let arguments = arguments.iter().map(Into::into).collect();
        let program = Program { name, arguments, environment: Vec::new() };
        sys::why(reason);
        match sys::spawn(&program, streams, &[]) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            started => return started.map(|pid| (*name, pid)).map_err(|error| not_started(name, error)),
        }
    }
    Err(not_started(usual, io::ErrorKind::NotFound.into()))
}
