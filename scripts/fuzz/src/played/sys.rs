//! The program's sys.rs, played in part: no program is started, no file of the host's is read, nobody waits. A target
//! says by [`play`] what a helper answers and what is in a file; [`take`] tells what came of it.

use std::cell::RefCell;
use std::io;
use std::path::Path;

pub use crate::kernel::*;

use crate::claims::fit_for_terminal;

/// What a target plays.
#[derive(Default)]
pub struct Play {
    /// What is read from any file whose name is `config.json`; where there is none, there is no file.
    pub config: Option<Vec<u8>>,
    /// What curl answers and what tar finds, by turns.
    pub answers: Vec<Answer>,
    /// What tar says when it is asked for its version.
    pub version: &'static str,
    /// The helpers that were started, but for those that compute digests.
    pub runs: Vec<Run>,
}

/// What a helper says.
#[derive(Default, Clone)]
pub struct Answer {
    pub output: Vec<u8>,
    pub errors: Vec<u8>,
    pub code: i32,
}

/// A helper that was started.
pub struct Run {
    pub name: &'static str,
    pub arguments: Vec<String>,
    pub environment: Vec<String>,
    /// What came to its standard input.
    pub input: Vec<u8>,
    pub output: Vec<u8>,
    source: Option<Fd>,
    code: i32,
}

thread_local! {
    static PLAY: RefCell<Play> = RefCell::default();
}

/// From here on this is played.
pub fn play(play: Play) {
    PLAY.set(play);
}

/// The end of the play.
pub fn take() -> Play {
    PLAY.take()
}

/// How many helpers there have been.
pub fn runs() -> usize {
    PLAY.with_borrow(|play| play.runs.len())
}

/// The first pid of a played helper; one that computes a digest has the pid 1.
const FIRST_PID: usize = 1000;

/// A helper's part, played in the moment in which it would start. A pipe holds what it says.
pub fn spawn(program: &Program, streams: [Option<&Fd>; 3], _keep: &[&Fd]) -> io::Result<Pid> {
    let say = |stream: usize, bytes: &[u8]| streams[stream].map_or(Ok(()), |fd| write_all(fd.raw(), bytes));
    if matches!(program.name, "openssl" | "sha256sum") {
        let document = read_to_end(streams[0].expect("a document"), usize::MAX)?;
        say(1, &digest(&document).as_bytes()["sha256:".len()..])?;
        return Ok(1);
    }
    let arguments = program.arguments.iter().map(|argument| argument.to_str().expect("UTF-8").to_string());
    let environment = program.environment.iter().map(|line| line.to_str().expect("UTF-8").to_string());
    let mut run = Run {
        name: program.name,
        arguments: arguments.collect(),
        environment: environment.collect(),
        input: Vec::new(),
        output: Vec::new(),
        source: None,
        code: 0,
    };
    let answer = PLAY.with_borrow_mut(|play| match (program.name, &run.arguments[..]) {
        ("tar", [only]) if only == "--version" => Answer { output: play.version.into(), ..Answer::default() },
        _ if play.answers.is_empty() => Answer { code: 7, ..Answer::default() }, // to curl: nobody is there
        _ => play.answers.remove(0),
    });
    say(1, &answer.output)?;
    say(2, &answer.errors)?;
    (run.output, run.code) = (answer.output, answer.code);
    // What comes to it is written later: it is read when the helper has ended.
    run.source =
        streams[0].filter(|_| program.name == "curl").map(|fd| open(fd.path(), libc::O_RDONLY, 0)).transpose()?;
    Ok(PLAY.with_borrow_mut(|play| {
        play.runs.push(run);
        (FIRST_PID + play.runs.len() - 1) as Pid
    }))
}

pub fn wait(pid: Pid) -> io::Result<Status> {
    let Some(number) = (pid as usize).checked_sub(FIRST_PID) else { return Ok(Status::exited(0)) };
    PLAY.with_borrow_mut(|play| {
        let run = &mut play.runs[number];
        if let Some(source) = run.source.take() {
            run.input = read_to_end(&source, usize::MAX)?;
        }
        Ok(Status::exited(run.code))
    })
}

/// The digest that is played: one of sixteen, so that documents find each other.
pub fn digest(document: &[u8]) -> String {
    let sum: usize = document.iter().map(|byte| usize::from(*byte)).sum();
    format!("sha256:{}", format!("{:x}", sum % 16).repeat(64))
}

pub fn read_file(path: impl AsRef<Path>, limit: usize) -> io::Result<Vec<u8>> {
    let is_config = path.as_ref().ends_with("config.json");
    match PLAY.with_borrow(|play| play.config.clone().filter(|_| is_config)) {
        Some(bytes) if bytes.len() > limit => Err(io::ErrorKind::FileTooLarge.into()),
        Some(bytes) => Ok(bytes),
        // A kernel that has nothing.
        None if path.as_ref().starts_with("/proc") => Ok(Vec::new()),
        None => Err(io::ErrorKind::NotFound.into()),
    }
}

/// Whatever the user is told is one line, and does not steer the terminal.
pub fn print_error(bytes: &[u8]) {
    let text = std::str::from_utf8(bytes).expect("UTF-8");
    fit_for_terminal(text.strip_suffix('\n').expect("a whole line"));
}

/// No process is started; who tries to find out whether there is an overlayfs hears that there is none.
pub fn clone(_namespaces: i32) -> io::Result<Option<Pid>> {
    Err(io::Error::from_raw_os_error(libc::ENODEV))
}

pub fn lower_limit(_pid: Pid, _resource: u32, _bytes: u64) -> io::Result<()> {
    Ok(())
}

/// There is nobody to be ended.
pub fn kill(_pid: Pid, _signal: i32) -> io::Result<()> {
    Ok(())
}

/// Nobody waits for a moment only.
pub fn poll(fds: &mut [libc::pollfd], timeout: i32) -> io::Result<usize> {
    match fds {
        [] => Ok(0),
        fds => crate::kernel::poll(fds, timeout),
    }
}
