//! A terminal for the container: pty(7), termios(3).
//!
//! The pty is made inside, from the container's own devpts, so `tty` in there names a device that
//! exists there. Its master comes out to the engine, which copies bytes between it and the caller's
//! terminal. That one is in raw mode meanwhile: every key, Ctrl-C included, goes to the container.
//! The container never holds the caller's terminal, so it cannot type into it (CVE-2017-5226).
//!
//! [`make`] is the child's part, [`RawMode`] and [`Relay`] are the engine's.

use std::io;
use std::mem::ManuallyDrop;
use std::sync::Mutex;

use crate::error::{Context, Result};
use crate::sys::{self, Fd, Termios, STDERR, STDIN, STDOUT};
use crate::tell;

/// Whether a standard stream is a terminal: only a terminal has settings.
pub fn is_terminal(fd: i32) -> bool {
    sys::why("if possible: a terminal? (ENOTTY: no)");
    sys::tcgetattr(fd).is_ok()
}

// ---- the child's part ----

/// Opens a new pty of the container's devpts, and returns its master. `/dev/console` becomes another name
/// for its other side: runtime-spec config.md, `terminal`.
pub fn make(owner: u32) -> Result<Fd> {
    sys::why("a new pseudoterminal, from the container's own devpts");
    let master = sys::open("/dev/ptmx", libc::O_RDWR | libc::O_NOCTTY, 0).context("open /dev/ptmx")?;
    sys::why("its other side may be opened");
    sys::unlock_pty(&master).context("ioctl(TIOCSPTLCK)")?;
    sys::why("which number has it in /dev/pts?");
    let path = format!("/dev/pts/{}", sys::pty_number(&master).context("ioctl(TIOCGPTN)")?);
    resize(&master);
    sys::why("the terminal belongs to the command's user");
    sys::lchown(&path, owner, u32::MAX).context(format_args!("chown {path}"))?;
    sys::why("a file to mount it on");
    sys::mknod("/dev/console", libc::S_IFREG | 0o600, 0).context("mknod /dev/console")?;
    sys::why("/dev/console is the same terminal");
    sys::mount(&path, "/dev/console", "", libc::MS_BIND, "").context("mount /dev/console")?;
    Ok(master)
}

/// Gives the container's terminal the size of the caller's window. One without a size (a serial line) leaves it without.
fn resize(master: &Fd) {
    sys::why("if possible: how large is the caller's window?");
    let _no_size = sys::copy_window_size(STDIN, master.raw());
}

/// Makes /dev/console the controlling terminal of this new session, and its standard streams.
pub fn control() -> Result<()> {
    sys::why("the terminal from inside");
    let slave = sys::open("/dev/console", libc::O_RDWR | libc::O_NOCTTY, 0).context("open /dev/console")?;
    sys::why("Ctrl-C in this terminal is a signal to this session");
    sys::ioctl(slave.raw(), libc::TIOCSCTTY as _, 0, "TIOCSCTTY", &0).context("ioctl(TIOCSCTTY)")?;
    for stream in [STDIN, STDOUT, STDERR] {
        sys::why("standard input, output and error are the terminal");
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
        sys::why("the settings of the caller's terminal, to be given back");
        let settings = sys::tcgetattr(STDIN).context("tcgetattr of standard input")?;
        if let Ok(mut saved) = SAVED.lock() {
            *saved = Some(settings);
        }
        let old_hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            restore();
            old_hook(panic);
        }));
        tell::set_raw(sys::verbose() && is_terminal(STDERR));
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
        tell::set_raw(false);
        sys::why("if possible: the caller's terminal as it was");
        // A terminal that has hung up needs no settings any more.
        let _hung_up = sys::tcsetattr(STDIN, &settings);
    }
}

/// Copies between the caller's terminal and the container's. No write may wait: a container that reads nothing, or a
/// window that nobody looks at, would hold up signals.
pub struct Relay {
    /// `None` once the caller's terminal has hung up, or the container's is closed.
    master: Option<Fd>,
    /// The caller's terminal, opened anew: the flag not to wait would hold for everybody who shares the old one. Where
    /// it is another user's (su), the old one, and a write may wait. It stays open either way.
    screen: ManuallyDrop<Fd>,
    /// Typed, and not taken by the container's terminal yet.
    typed: Vec<u8>,
    /// Written by the container, and not taken by the caller's terminal yet.
    shown: Vec<u8>,
}

/// What [`Relay::step`] came back for.
#[derive(PartialEq)]
pub enum Event {
    Copied,
    /// A signal is waiting in the signalfd.
    Signal,
}

impl Relay {
    pub fn new(master: Fd) -> Result<Relay> {
        sys::why("no write to it may wait");
        sys::set_nonblocking(&master).context("fcntl(F_SETFL)")?;
        sys::why("if possible: the caller's terminal, not to wait at each write (EACCES after su: it waits)");
        let screen = sys::open("/proc/self/fd/1", libc::O_WRONLY | libc::O_NONBLOCK | libc::O_NOCTTY, 0)
            .unwrap_or_else(|_| sys::inherited(STDOUT));
        let screen = ManuallyDrop::new(screen);
        Ok(Relay { master: Some(master), screen, typed: Vec::new(), shown: Vec::new() })
    }

    /// The caller's window has another size.
    pub fn resize(&self) {
        self.master.iter().for_each(resize);
    }

    /// Hangs up: the container's session gets SIGHUP, its reads end.
    pub fn hang_up(&mut self) {
        sys::why("if possible: the terminal is gone: hang up");
        self.master = None;
    }

    /// Waits until something can be copied or a signal has come, and copies. Nothing is read while the last has not
    /// been taken.
    pub fn step(&mut self, signals: &Fd) -> Result<Event> {
        let entry = |fd: i32, events: i16| libc::pollfd { fd: if events == 0 { -1 } else { fd }, events, revents: 0 };
        let wants = |wanted: bool, events: i16| if wanted { events } else { 0 };
        let open = self.master.is_some();
        let (typed, shown) = (!self.typed.is_empty(), !self.shown.is_empty());
        let mut fds = [
            entry(signals.raw(), libc::POLLIN),
            entry(
                self.master.as_ref().map_or(-1, Fd::raw),
                wants(open && !shown, libc::POLLIN) | wants(open && typed, libc::POLLOUT),
            ),
            entry(STDIN, wants(open && !typed, libc::POLLIN)),
            entry(self.screen.raw(), wants(shown, libc::POLLOUT)),
        ];
        sys::why("until there is something to copy, or a signal");
        sys::poll(&mut fds, -1).context("poll")?;
        let [signal, master, input, screen] = fds.map(|entry| entry.revents);
        if screen != 0 {
            self.show();
        }
        if master & libc::POLLOUT != 0 {
            self.pass_input();
        }
        if master & !libc::POLLOUT != 0 {
            self.take_output();
        }
        if input != 0 {
            self.take_input();
        }
        Ok(if signal != 0 { Event::Signal } else { Event::Copied })
    }

    fn take_input(&mut self) {
        let mut buffer = [0; 4096];
        sys::why("if possible: what was typed");
        match sys::secretly(|| sys::read(STDIN, &mut buffer)) {
            Ok(n) if n > 0 => self.typed.extend_from_slice(&buffer[..n]),
            _ => self.hang_up(),
        }
    }

    /// A pty takes what its line discipline has room for.
    fn pass_input(&mut self) {
        let Some(master) = &self.master else { return };
        sys::why("if possible: to the container");
        match sys::secretly(|| sys::write(master.raw(), &self.typed)) {
            Ok(n) => drop(self.typed.drain(..n)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => self.typed.clear(),
        }
    }

    /// A pty answers EIO once its other side is closed.
    fn take_output(&mut self) {
        let Some(master) = &self.master else { return };
        let mut buffer = [0; 16 * 1024];
        sys::why("if possible: what the container wrote (EIO: it has closed its terminal)");
        match sys::read(master.raw(), &mut buffer) {
            Ok(n) if n > 0 => self.shown.extend_from_slice(&buffer[..n]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            _ => self.master = None,
        }
        if !self.shown.is_empty() {
            self.show();
        }
    }

    fn show(&mut self) {
        sys::why("if possible: to the caller");
        match sys::write(self.screen.raw(), &self.shown) {
            Ok(n) => drop(self.shown.drain(..n)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => {
                self.shown.clear();
                self.hang_up();
            }
        }
    }

    /// Copies what the container wrote before it ended, as far as somebody reads it within a second.
    pub fn drain(&mut self) {
        const LAST_WORDS: i32 = 1000;
        while self.master.is_some() || !self.shown.is_empty() {
            if self.shown.is_empty() {
                self.take_output();
                if self.shown.is_empty() {
                    return;
                }
                continue;
            }
            let mut screen = [libc::pollfd { fd: self.screen.raw(), events: libc::POLLOUT, revents: 0 }];
            sys::why("if possible: until the caller's terminal takes more");
            if !matches!(sys::poll(&mut screen, LAST_WORDS), Ok(1..)) {
                return;
            }
            self.show();
        }
    }
}
