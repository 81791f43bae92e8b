//! A terminal for the container: pty(7), termios(3).
//!
//! The pty is made inside, from the container's own devpts, so `tty` in there names a device that
//! exists there. Its master comes out to the engine, which copies bytes between it and the caller's
//! terminal. That one is in raw mode meanwhile: every key, Ctrl-C included, goes to the container.
//! The container never holds the caller's terminal, so it cannot type into it (CVE-2017-5226).
//!
//! [`make`] is the child's part, [`RawMode`] and [`Relay`] are the engine's.

use std::io;
use std::sync::Mutex;

use crate::error::{Context, Result};
use crate::sys::{self, Fd, Termios, STDERR, STDIN, STDOUT};

/// Whether a standard stream is a terminal: only a terminal has settings.
pub fn is_terminal(fd: i32) -> bool {
    sys::why("a terminal? (ENOTTY: no)");
    sys::tcgetattr(fd).is_ok()
}

// ---- the child's part ----

/// Opens a new pty of the container's devpts: (master, slave). `/dev/console` becomes another name
/// for it: runtime-spec config.md, `terminal`.
pub fn make(owner: u32) -> Result<(Fd, Fd)> {
    sys::why("a new pseudoterminal, from the container's own devpts");
    let master = sys::open("/dev/ptmx", libc::O_RDWR | libc::O_NOCTTY, 0).context("open /dev/ptmx")?;
    sys::unlock_pty(&master).context("ioctl(TIOCSPTLCK)")?;
    let slave = sys::pty_peer(&master).context("ioctl(TIOCGPTPEER)")?;
    let path = format!("/dev/pts/{}", sys::pty_number(&master).context("ioctl(TIOCGPTN)")?);
    sys::why("the terminal belongs to the command's user");
    sys::lchown(&path, owner, u32::MAX).context(format_args!("chown {path}"))?;
    sys::mknod("/dev/console", libc::S_IFREG | 0o600, 0).context("mknod /dev/console")?;
    sys::why("/dev/console is the same terminal");
    sys::mount(&path, "/dev/console", "", libc::MS_BIND, "").context("mount /dev/console")?;
    Ok((master, slave))
}

/// Makes `slave` the controlling terminal of this new session, and its standard streams.
pub fn control(slave: &Fd) -> Result<()> {
    sys::why("Ctrl-C in this terminal is a signal to this session");
    sys::ioctl(slave.raw(), libc::TIOCSCTTY, 0, "TIOCSCTTY").context("ioctl(TIOCSCTTY)")?;
    for stream in [STDIN, STDOUT, STDERR] {
        sys::dup2(slave.raw(), stream).context("dup2")?;
    }
    Ok(())
}

// ---- the engine's part ----

/// The caller's settings while raw mode is on. A panic aborts without running destructors, so the
/// panic hook needs them in a place that it can reach.
static SAVED: Mutex<Option<Termios>> = Mutex::new(None);

/// Raw mode of the caller's terminal, until this value is dropped.
pub struct RawMode;

impl RawMode {
    pub fn enter() -> Result<RawMode> {
        let settings = sys::tcgetattr(STDIN).context("tcgetattr of standard input")?;
        if let Ok(mut saved) = SAVED.lock() {
            *saved = Some(settings);
        }
        let old_hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            restore();
            old_hook(panic);
        }));
        sys::why("every key goes to the container as it is");
        sys::tcsetattr(STDIN, &sys::raw_mode(settings)).context("tcsetattr of standard input")?;
        Ok(RawMode)
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        restore();
    }
}

fn restore() {
    let settings = SAVED.try_lock().ok().and_then(|mut saved| saved.take());
    if let Some(settings) = settings {
        sys::why("the caller's terminal as it was");
        // A terminal that has hung up needs no settings any more.
        let _hung_up = sys::tcsetattr(STDIN, &settings);
    }
}

/// Copies between the caller's terminal and the container's.
pub struct Relay {
    master: Fd,
    /// Bytes typed that the container's terminal has not taken yet.
    typed: Vec<u8>,
    /// Standard input can still bring something.
    input_open: bool,
    /// The container's terminal can still bring something.
    output_open: bool,
}

/// What [`Relay::step`] came back for.
#[derive(PartialEq)]
pub enum Event {
    Copied,
    /// A signal is waiting in the signalfd.
    Signal,
}

impl Relay {
    /// The master must not block: a container that reads nothing would hold up what it writes.
    pub fn new(master: Fd) -> Result<Relay> {
        sys::set_nonblocking(&master).context("fcntl(F_SETFL)")?;
        Ok(Relay { master, typed: Vec::new(), input_open: true, output_open: true })
    }

    /// Gives the container's terminal the size of the caller's window.
    pub fn resize(&self) {
        // A window without a size (a serial line) leaves the pty without one.
        let _no_size = sys::copy_window_size(STDIN, self.master.raw());
    }

    /// Waits until something can be copied or a signal has come, and copies.
    pub fn step(&mut self, signals: &Fd) -> Result<Event> {
        let entry = |fd, wanted, events| libc::pollfd { fd: if wanted { fd } else { -1 }, events, revents: 0 };
        let master_events = libc::POLLIN | if self.typed.is_empty() { 0 } else { libc::POLLOUT };
        let mut fds = [
            entry(signals.raw(), true, libc::POLLIN),
            entry(self.master.raw(), self.output_open, master_events),
            // Nothing more is read while the container has not taken the last.
            entry(STDIN, self.input_open && self.typed.is_empty(), libc::POLLIN),
        ];
        sys::poll(&mut fds, -1).context("poll")?;
        let [signal, master, input] = fds.map(|entry| entry.revents);
        if input != 0 {
            self.take_input();
        }
        if master & libc::POLLOUT != 0 {
            self.pass_input();
        }
        if master & !libc::POLLOUT != 0 {
            self.output_open = self.copy_output();
        }
        Ok(if signal != 0 { Event::Signal } else { Event::Copied })
    }

    fn take_input(&mut self) {
        let mut buffer = [0; 4096];
        match sys::read(STDIN, &mut buffer) {
            Ok(n) if n > 0 => self.typed.extend_from_slice(&buffer[..n]),
            // The terminal has hung up; the container goes on without input.
            _ => self.input_open = false,
        }
    }

    /// A pty takes what its line discipline has room for, in one write that may be short.
    fn pass_input(&mut self) {
        let chunk = self.typed.len().min(256);
        match sys::write(self.master.raw(), &self.typed[..chunk]) {
            Ok(n) => drop(self.typed.drain(..n)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => self.typed.clear(),
        }
    }

    /// `false` once the other side is closed: a pty answers EIO then.
    fn copy_output(&self) -> bool {
        let mut buffer = [0; 16 * 1024];
        match sys::read(self.master.raw(), &mut buffer) {
            Ok(0) | Err(_) => false,
            Ok(n) => sys::write_all(STDOUT, &buffer[..n]).is_ok(),
        }
    }

    /// Copies what the container wrote before it ended.
    pub fn drain(&mut self) {
        while self.output_open {
            let mut fds = [libc::pollfd { fd: self.master.raw(), events: libc::POLLIN, revents: 0 }];
            if !matches!(sys::poll(&mut fds, 0), Ok(1..)) {
                return;
            }
            self.output_open = self.copy_output();
        }
    }
}
