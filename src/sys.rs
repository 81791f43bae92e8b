//! The kernel's door: one safe function per system call, under the call's own name.
//!
//! This is the only file with `unsafe`. A function here does what its man page says and nothing
//! else: it turns paths into C strings, -1 into `io::Error`, new descriptors into [`Fd`], and it
//! *tells*: under `-v` every call is printed as strace would print it, who made it in front and,
//! when the caller said [`why`], the reason behind it.
//!
//! What is not one system call but a few that always go together stands at the end:
//! [`read_file`], [`write_file`], [`spawn`], [`send_message`] and [`receive_message`].

use std::cell::Cell;
use std::ffi::{CString, OsStr, OsString};
use std::fmt;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use libc::{c_char, c_int, c_long, c_ulong};

pub type Pid = libc::pid_t;

// ---- telling ----

static VERBOSE: AtomicBool = AtomicBool::new(false);

thread_local! {
    static WHO: Cell<&'static str> = const { Cell::new("engine") };
    static WHY: Cell<&'static str> = const { Cell::new("") };
    /// How many more calls are told, where not all are.
    static UNTOLD: Cell<Option<u32>> = const { Cell::new(None) };
}

/// Switches the telling on (`-v`).
pub fn set_verbose(on: bool) {
    VERBOSE.store(on, Ordering::Relaxed);
}

pub fn verbose() -> bool {
    VERBOSE.load(Ordering::Relaxed)
}

/// Who tells from here on: `engine`, `child`, or the name of a helper before its `execve`.
pub fn set_who(who: &'static str) {
    WHO.set(who);
}

/// The reason for the next call, in a few words. It costs nothing when nobody listens.
pub fn why(reason: &'static str) {
    WHY.set(reason);
}

/// Makes calls without telling: those that repeat a thousand times teach nothing.
pub fn quietly<T>(calls: impl FnOnce() -> T) -> T {
    let told = verbose();
    set_verbose(false);
    let result = calls();
    set_verbose(told);
    result
}

/// Makes calls that repeat a few: the first few are told, then a line says that it goes on like that.
pub fn quietly_after_first<T>(calls: impl FnOnce() -> T) -> T {
    UNTOLD.set(Some(3));
    let result = calls();
    if UNTOLD.take() == Some(0) {
        tell_line(format_args!("... and so on"));
    }
    result
}

/// Prints one call and its result in one `write(2)`, so that lines of several processes stay whole.
fn tell(result: &io::Result<c_long>, call: fmt::Arguments) {
    if !verbose() {
        return;
    }
    let outcome = match result {
        Ok(value) => format!("{value}"),
        Err(error) => format!("-1 ({error})"),
    };
    tell_line(format_args!("{call} = {outcome}"));
}

fn tell_line(text: fmt::Arguments) {
    if !verbose() {
        return;
    }
    match UNTOLD.get() {
        Some(0) => return,
        left => UNTOLD.set(left.map(|left| left - 1)),
    }
    let reason = WHY.take();
    let gap = if reason.is_empty() { "" } else { "   " };
    let line = format!("{:<6} {text}{gap}{reason}\n", WHO.get());
    if !print_error(line.as_bytes()) {
        set_verbose(false); // nobody listens any more
    }
}

/// Writes to standard error past any buffer; `false` when nobody is left to tell.
pub fn print_error(bytes: &[u8]) -> bool {
    // SAFETY: the pointer and length are those of a live slice.
    unsafe { libc::write(2, bytes.as_ptr().cast(), bytes.len()) >= 0 }
}

/// Names of the bits of a flag word, `A|B|0x40`, as strace writes them.
struct Flags(u64, &'static [(u64, &'static str)]);

impl fmt::Display for Flags {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let mut rest = self.0;
        let mut separator = "";
        for (bit, name) in self.1 {
            if rest & bit == *bit && *bit != 0 {
                write!(f, "{separator}{name}")?;
                separator = "|";
                rest &= !bit;
            }
        }
        match (rest, separator) {
            (0, "") => f.write_str("0"),
            (0, _) => Ok(()),
            (rest, _) => write!(f, "{separator}{rest:#x}"),
        }
    }
}

macro_rules! names {
    ($table:ident: $($flag:ident)*) => {
        const $table: &[(u64, &str)] = &[$((libc::$flag as u64, stringify!($flag))),*];
    };
}

names!(OPEN: O_WRONLY O_RDWR O_CREAT O_EXCL O_TRUNC O_APPEND O_NOFOLLOW O_DIRECTORY O_PATH O_CLOEXEC O_NOCTTY O_NONBLOCK);
names!(MOUNT: MS_RDONLY MS_NOSUID MS_NODEV MS_NOEXEC MS_REMOUNT MS_BIND MS_REC MS_PRIVATE MS_SLAVE MS_MOVE);
names!(CLONE: CLONE_NEWNS CLONE_NEWCGROUP CLONE_NEWUTS CLONE_NEWIPC CLONE_NEWUSER CLONE_NEWPID CLONE_NEWNET);

// ---- results, descriptors, strings ----

/// Every return value goes through here: -1 becomes the errno.
fn check(value: impl Into<c_long>) -> io::Result<c_long> {
    match value.into() {
        -1 => Err(io::Error::last_os_error()),
        value => Ok(value),
    }
}

/// An open file descriptor, closed when it is dropped.
#[derive(Debug)]
pub struct Fd(c_int);

impl Fd {
    pub fn raw(&self) -> c_int {
        self.0
    }

    /// The path under which `mount(2)` reaches what this descriptor stands for.
    pub fn path(&self) -> String {
        format!("/proc/self/fd/{}", self.0)
    }
}

impl Drop for Fd {
    fn drop(&mut self) {
        // SAFETY: this value owns the descriptor, and it is gone after this.
        let result = check(unsafe { libc::close(self.0) });
        tell(&result, format_args!("close({})", self.0));
    }
}

/// Standard input, output, error: open for the whole life of the program, see [`fill_standard_stream`].
pub const STDIN: c_int = 0;
pub const STDOUT: c_int = 1;
pub const STDERR: c_int = 2;

fn owned(result: io::Result<c_long>) -> io::Result<Fd> {
    result.map(|fd| Fd(fd as c_int))
}

/// A path for the kernel; a NUL byte inside is refused, as the kernel would cut it there.
pub fn cstr(text: impl AsRef<OsStr>) -> io::Result<CString> {
    CString::new(text.as_ref().as_bytes()).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))
}

fn pointers(strings: &[CString]) -> Vec<*const c_char> {
    strings.iter().map(|s| s.as_ptr()).chain([std::ptr::null()]).collect()
}

/// The entry that the C runtime calls. Rust's own would make a dozen system calls first and leave SIGPIPE
/// ignored; this one goes straight to the program.
#[cfg(not(test))]
#[no_mangle]
extern "C" fn main(argc: c_int, argv: *const *const c_char) -> c_int {
    let argument = |i| {
        // SAFETY: the C runtime passes argc valid C strings in argv.
        let bytes = unsafe { std::ffi::CStr::from_ptr(*argv.add(i)) }.to_bytes();
        OsString::from_vec(bytes.to_vec())
    };
    let arguments: Vec<OsString> = (0..usize::try_from(argc).unwrap_or(0)).map(argument).collect();
    exit(crate::entry(&arguments))
}

// ---- files ----

pub fn open(path: impl AsRef<Path>, flags: c_int, mode: u32) -> io::Result<Fd> {
    openat(None, path, flags, mode)
}

/// openat(2); `O_CLOEXEC` is always added, so that no descriptor reaches a program by accident.
pub fn openat(dir: Option<&Fd>, path: impl AsRef<Path>, flags: c_int, mode: u32) -> io::Result<Fd> {
    let path = path.as_ref();
    let at = dir.map_or(libc::AT_FDCWD, Fd::raw);
    let c = cstr(path)?;
    let flags = flags | libc::O_CLOEXEC;
    // SAFETY: `c` is a C string that outlives the call.
    let result = check(unsafe { libc::openat(at, c.as_ptr(), flags, mode) });
    tell(&result, format_args!("openat({}, {path:?}, {}{})", At(at), Flags(flags as u64, OPEN), OpenMode(flags, mode)));
    owned(result)
}

/// openat2(2) that takes `dir` for the root, follows no magic link and so cannot leave it.
pub fn openat2_in_root(dir: &Fd, path: impl AsRef<Path>, flags: c_int, mode: u32) -> io::Result<Fd> {
    let path = path.as_ref();
    let c = cstr(path)?;
    // SAFETY: an all-zero open_how is valid: open_how has no pointers.
    let mut how: libc::open_how = unsafe { std::mem::zeroed() };
    how.flags = (flags | libc::O_CLOEXEC) as u64;
    how.mode = mode.into();
    how.resolve = libc::RESOLVE_IN_ROOT | libc::RESOLVE_NO_MAGICLINKS;
    let size = std::mem::size_of::<libc::open_how>();
    // SAFETY: the path and the struct, whose size is passed along, outlive the call.
    let result = check(unsafe { libc::syscall(libc::SYS_openat2, dir.0, c.as_ptr(), &how, size) });
    tell(
        &result,
        format_args!(
            "openat2({}, {path:?}, {{flags={}, mode={mode:#o}, resolve=RESOLVE_NO_MAGICLINKS|RESOLVE_IN_ROOT}}, {size})",
            dir.0,
            Flags(how.flags, OPEN)
        ),
    );
    owned(result)
}

/// Permission bits as strace writes them: `0755`.
struct Mode(u32);

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "0{:o}", self.0)
    }
}

/// The mode of an open that makes a file; another one has none.
struct OpenMode(c_int, u32);

impl fmt::Display for OpenMode {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        if self.0 & libc::O_CREAT != 0 {
            write!(f, ", {}", Mode(self.1))
        } else {
            Ok(())
        }
    }
}

/// A directory descriptor argument: `AT_FDCWD` or its number.
struct At(c_int);

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        if self.0 == libc::AT_FDCWD {
            f.write_str("AT_FDCWD")
        } else {
            write!(f, "{}", self.0)
        }
    }
}

/// Calls that take one path and an integer, all alike.
macro_rules! path_calls {
    ($($(#[$doc:meta])* $name:ident($($argument:ident: $type:ty),*) $format:literal;)*) => {$(
        $(#[$doc])*
        pub fn $name(path: impl AsRef<Path>, $($argument: $type),*) -> io::Result<()> {
            let path = path.as_ref();
            let c = cstr(path)?;
            // SAFETY: the C string outlives the call.
            let result = check(unsafe { libc::$name(c.as_ptr(), $($argument),*) });
            tell(&result, format_args!(concat!(stringify!($name), "({:?}", $format, ")"), path, $($argument),*));
            result.map(drop)
        }
    )*};
}

path_calls! {
    mkdir(mode: u32) ", 0{:o}";
    rmdir() "";
    unlink() "";
    chmod(mode: u32) ", 0{:o}";
    chdir() "";
    /// mknod(2): an empty regular file, or with `S_IFCHR` and device 0 a whiteout of overlayfs.
    mknod(mode: u32, device: libc::dev_t) ", 0{:o}, {}";
    umount2(flags: c_int) ", {:#x}";
}

/// lchown(2): the link itself, never what it points to.
pub fn lchown(path: impl AsRef<Path>, uid: u32, gid: u32) -> io::Result<()> {
    let path = path.as_ref();
    let c = cstr(path)?;
    // SAFETY: the C string outlives the call.
    let result = check(unsafe { libc::lchown(c.as_ptr(), uid, gid) });
    tell(&result, format_args!("lchown({path:?}, {uid}, {gid})"));
    result.map(drop)
}

pub fn mkdirat(dir: &Fd, path: impl AsRef<Path>, mode: u32) -> io::Result<()> {
    let path = path.as_ref();
    let c = cstr(path)?;
    // SAFETY: the C string outlives the call.
    let result = check(unsafe { libc::mkdirat(dir.0, c.as_ptr(), mode) });
    tell(&result, format_args!("mkdirat({}, {path:?}, {})", dir.0, Mode(mode)));
    result.map(drop)
}

/// unlinkat(2); `flags` 0 or `AT_REMOVEDIR`.
pub fn unlinkat(dir: &Fd, path: impl AsRef<Path>, flags: c_int) -> io::Result<()> {
    let path = path.as_ref();
    let c = cstr(path)?;
    // SAFETY: the C string outlives the call.
    let result = check(unsafe { libc::unlinkat(dir.0, c.as_ptr(), flags) });
    let name = if flags == libc::AT_REMOVEDIR { "AT_REMOVEDIR" } else { "0" };
    tell(&result, format_args!("unlinkat({}, {path:?}, {name})", dir.0));
    result.map(drop)
}

pub fn symlink(target: impl AsRef<Path>, path: impl AsRef<Path>) -> io::Result<()> {
    let (target, path) = (target.as_ref(), path.as_ref());
    let (from, to) = (cstr(target)?, cstr(path)?);
    // SAFETY: both C strings outlive the call.
    let result = check(unsafe { libc::symlink(from.as_ptr(), to.as_ptr()) });
    tell(&result, format_args!("symlink({target:?}, {path:?})"));
    result.map(drop)
}

pub fn rename(from: impl AsRef<Path>, to: impl AsRef<Path>) -> io::Result<()> {
    let (from, to) = (from.as_ref(), to.as_ref());
    let (f, t) = (cstr(from)?, cstr(to)?);
    // SAFETY: both C strings outlive the call.
    let result = check(unsafe { libc::rename(f.as_ptr(), t.as_ptr()) });
    tell(&result, format_args!("rename({from:?}, {to:?})"));
    result.map(drop)
}

pub fn renameat(from_dir: &Fd, from: impl AsRef<Path>, to_dir: &Fd, to: impl AsRef<Path>) -> io::Result<()> {
    let (from, to) = (from.as_ref(), to.as_ref());
    let (f, t) = (cstr(from)?, cstr(to)?);
    // SAFETY: both C strings outlive the call.
    let result = check(unsafe { libc::renameat(from_dir.0, f.as_ptr(), to_dir.0, t.as_ptr()) });
    tell(&result, format_args!("renameat({}, {from:?}, {}, {to:?})", from_dir.0, to_dir.0));
    result.map(drop)
}

pub fn readlink(path: impl AsRef<Path>) -> io::Result<PathBuf> {
    let path = path.as_ref();
    let c = cstr(path)?;
    let mut buffer = vec![0u8; libc::PATH_MAX as usize];
    // SAFETY: the buffer is as long as the length passed.
    let result = check(unsafe { libc::readlink(c.as_ptr(), buffer.as_mut_ptr().cast(), buffer.len()) } as c_long);
    tell(&result, format_args!("readlink({path:?}, ..., {})", buffer.len()));
    buffer.truncate(result? as usize);
    Ok(PathBuf::from(OsString::from_vec(buffer)))
}

/// See [`Stat::version`]: (device, inode), size, time of the last change in seconds and nanoseconds.
pub type Version = ((u64, u64), u64, i64, i64);

/// What `fstatat` says of a file, as far as the engine asks.
pub struct Stat(libc::stat);

impl Stat {
    /// One of `S_IFREG`, `S_IFDIR`, `S_IFLNK`, ...
    pub fn kind(&self) -> u32 {
        self.0.st_mode & libc::S_IFMT
    }

    pub fn is_dir(&self) -> bool {
        self.kind() == libc::S_IFDIR
    }

    /// The permission bits.
    pub fn mode(&self) -> u32 {
        self.0.st_mode & 0o7777
    }

    pub fn uid(&self) -> u32 {
        self.0.st_uid
    }

    pub fn gid(&self) -> u32 {
        self.0.st_gid
    }

    /// In bytes.
    pub fn size(&self) -> u64 {
        self.0.st_size as u64
    }

    /// Device and inode: two paths with the same pair are the same file.
    pub fn identity(&self) -> (u64, u64) {
        (self.0.st_dev, self.0.st_ino)
    }

    /// When the inode was last touched, a rename included; seconds since 1970.
    pub fn changed(&self) -> i64 {
        self.0.st_ctime
    }

    /// What tells a file from every earlier state of it, as fine as the kernel's clock tick.
    pub fn version(&self) -> Version {
        (self.identity(), self.size(), self.0.st_ctime, self.0.st_ctime_nsec)
    }

    /// Overlayfs's mark for "nothing here": a character device 0/0.
    pub fn is_whiteout(&self) -> bool {
        self.kind() == libc::S_IFCHR && self.0.st_rdev == 0
    }
}

/// lstat(2): a symbolic link is not followed.
pub fn lstat(path: impl AsRef<Path>) -> io::Result<Stat> {
    let path = path.as_ref();
    let c = cstr(path)?;
    // SAFETY: an all-zero stat is valid, it holds numbers only.
    let mut stat: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are to live values of the right type.
    let result = check(unsafe { libc::lstat(c.as_ptr(), &mut stat) });
    tell(&result, format_args!("lstat({path:?}, {{st_mode={:#o}, ...}})", stat.st_mode));
    result.map(|_| Stat(stat))
}

/// stat(2): of what a symbolic link leads to.
pub fn stat(path: impl AsRef<Path>) -> io::Result<Stat> {
    let path = path.as_ref();
    let c = cstr(path)?;
    // SAFETY: an all-zero stat is valid, it holds numbers only.
    let mut stat: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are to live values of the right type.
    let result = check(unsafe { libc::stat(c.as_ptr(), &mut stat) });
    tell(&result, format_args!("stat({path:?}, {{st_mode={:#o}, st_uid={}, ...}})", stat.st_mode, stat.st_uid));
    result.map(|_| Stat(stat))
}

pub fn fstat(fd: &Fd) -> io::Result<Stat> {
    // SAFETY: as above.
    let mut stat: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to a live value of the right type.
    let result = check(unsafe { libc::fstat(fd.0, &mut stat) });
    tell(&result, format_args!("fstat({}, {{st_mode={:#o}, st_size={}, ...}})", fd.0, stat.st_mode, stat.st_size));
    result.map(|_| Stat(stat))
}

/// statfs(2): the magic number of the file system at `path`, such as `libc::TMPFS_MAGIC`.
pub fn statfs(path: impl AsRef<Path>) -> io::Result<i64> {
    let path = path.as_ref();
    let c = cstr(path)?;
    // SAFETY: an all-zero statfs is valid, it holds numbers only.
    let mut fs: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are to live values of the right type.
    let result = check(unsafe { libc::statfs(c.as_ptr(), &mut fs) });
    tell(&result, format_args!("statfs({path:?}, {{f_type={:#x}, ...}})", fs.f_type));
    result.map(|_| fs.f_type)
}

pub fn setxattr(path: impl AsRef<Path>, name: &str, value: &[u8]) -> io::Result<()> {
    let path = path.as_ref();
    let (c, n) = (cstr(path)?, cstr(name)?);
    // SAFETY: the strings and the value, whose length is passed along, outlive the call.
    let result = check(unsafe { libc::lsetxattr(c.as_ptr(), n.as_ptr(), value.as_ptr().cast(), value.len(), 0) });
    let text = String::from_utf8_lossy(value);
    tell(&result, format_args!("lsetxattr({path:?}, {name:?}, {text:?}, {}, 0)", value.len()));
    result.map(drop)
}

/// lgetxattr(2) for a value of at most 64 bytes.
pub fn getxattr(path: impl AsRef<Path>, name: &str) -> io::Result<Vec<u8>> {
    let path = path.as_ref();
    let (c, n) = (cstr(path)?, cstr(name)?);
    let mut value = vec![0u8; 64];
    // SAFETY: the strings and the buffer, whose length is passed along, outlive the call.
    let result = unsafe { libc::lgetxattr(c.as_ptr(), n.as_ptr(), value.as_mut_ptr().cast(), value.len()) };
    let result = check(result as c_long);
    tell(&result, format_args!("lgetxattr({path:?}, {name:?}, ..., {})", value.len()));
    value.truncate(result? as usize);
    Ok(value)
}

/// utimensat(2): gives a file the times that `stat` holds.
pub fn set_times(path: impl AsRef<Path>, stat: &Stat) -> io::Result<()> {
    let path = path.as_ref();
    let c = cstr(path)?;
    let times = [
        libc::timespec { tv_sec: stat.0.st_atime, tv_nsec: stat.0.st_atime_nsec },
        libc::timespec { tv_sec: stat.0.st_mtime, tv_nsec: stat.0.st_mtime_nsec },
    ];
    // SAFETY: the string and the two times outlive the call.
    let result =
        check(unsafe { libc::utimensat(libc::AT_FDCWD, c.as_ptr(), times.as_ptr(), libc::AT_SYMLINK_NOFOLLOW) });
    tell(&result, format_args!("utimensat(AT_FDCWD, {path:?}, [...], AT_SYMLINK_NOFOLLOW)"));
    result.map(drop)
}

/// read(2), begun again when a signal cut it short.
pub fn read(fd: c_int, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        // SAFETY: pointer and length are those of a live, writable slice.
        let result = check(unsafe { libc::read(fd, buffer.as_mut_ptr().cast(), buffer.len()) } as c_long);
        match result {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            result => {
                tell(&result, format_args!("read({fd}, ..., {})", buffer.len()));
                return result.map(|n| n as usize);
            }
        }
    }
}

/// write(2), once; it may write less than asked.
pub fn write(fd: c_int, bytes: &[u8]) -> io::Result<usize> {
    loop {
        // SAFETY: pointer and length are those of a live slice.
        let result = check(unsafe { libc::write(fd, bytes.as_ptr().cast(), bytes.len()) } as c_long);
        match result {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            result => {
                tell(&result, format_args!("write({fd}, {}, {})", Excerpt(bytes), bytes.len()));
                return result.map(|n| n as usize);
            }
        }
    }
}

/// The first 32 bytes of a buffer in quotes, as strace shows them.
struct Excerpt<'a>(&'a [u8]);

impl fmt::Display for Excerpt<'_> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let shown = &self.0[..self.0.len().min(32)];
        write!(f, "{:?}", String::from_utf8_lossy(shown))?;
        f.write_str(if shown.len() < self.0.len() { "..." } else { "" })
    }
}

pub fn write_all(fd: c_int, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let written = write(fd, bytes)?;
        bytes = &bytes[written..];
    }
    Ok(())
}

/// flock(2): `LOCK_EX`, `LOCK_SH`, with `LOCK_NB` an error `WouldBlock` instead of waiting.
pub fn flock(fd: &Fd, operation: c_int) -> io::Result<()> {
    // SAFETY: integers only.
    let result = check(unsafe { libc::flock(fd.0, operation) });
    tell(&result, format_args!("flock({}, {operation})", fd.0));
    result.map(drop)
}

pub fn ftruncate(fd: &Fd, length: u64) -> io::Result<()> {
    // SAFETY: integers only.
    let result = check(unsafe { libc::ftruncate(fd.0, length as libc::off_t) });
    tell(&result, format_args!("ftruncate({}, {length})", fd.0));
    result.map(drop)
}

pub fn dup2(from: c_int, to: c_int) -> io::Result<()> {
    // SAFETY: integers only.
    let result = check(unsafe { libc::dup2(from, to) });
    tell(&result, format_args!("dup2({from}, {to})"));
    result.map(drop)
}

/// close_range(2) from `first` on: nothing but what is below stays open.
pub fn close_range(first: c_int) -> io::Result<()> {
    // SAFETY: integers only; the descriptors' owners are about to be replaced by execve.
    let result = check(unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, 0) });
    tell(&result, format_args!("close_range({first}, 0xffffffff, 0)"));
    result.map(drop)
}

/// What a standard stream is; one that the caller left closed becomes /dev/null first.
pub fn fill_standard_stream(number: c_int) -> io::Result<Stat> {
    let stream = std::mem::ManuallyDrop::new(Fd(number)); // it stays open for the whole life of the program
    why("a standard stream of the container: open, and no directory?");
    match fstat(&stream) {
        Err(error) if error.raw_os_error() == Some(libc::EBADF) => {}
        stat => return stat,
    }
    // The lower ones are open: this one gets the number.
    std::mem::forget(open("/dev/null", libc::O_RDWR, 0)?);
    fstat(&stream)
}

/// poll(2); `timeout` in milliseconds, -1 for none. Returns how many entries have events.
pub fn poll(fds: &mut [libc::pollfd], timeout: c_int) -> io::Result<usize> {
    loop {
        // SAFETY: pointer and length are those of a live, writable slice.
        let result = check(unsafe { libc::poll(fds.as_mut_ptr(), fds.len() as libc::nfds_t, timeout) });
        match result {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            result => {
                tell(&result, format_args!("poll([{} fds], {timeout})", fds.len()));
                return result.map(|n| n as usize);
            }
        }
    }
}

/// Whether a write to `fd` would not have to wait, or would fail at once: poll(2) for POLLOUT.
pub fn is_writable(fd: c_int) -> bool {
    let mut fds = [libc::pollfd { fd, events: libc::POLLOUT, revents: 0 }];
    poll(&mut fds, 0).is_ok_and(|ready| ready > 0)
}

/// pipe2(2): (read end, write end).
pub fn pipe2() -> io::Result<(Fd, Fd)> {
    let mut fds = [0; 2];
    // SAFETY: the pointer is to two live ints.
    let result = check(unsafe { libc::pipe2(fds.as_mut_ptr(), libc::O_CLOEXEC) });
    tell(&result, format_args!("pipe2([{}, {}], O_CLOEXEC)", fds[0], fds[1]));
    result.map(|_| (Fd(fds[0]), Fd(fds[1])))
}

/// A pair of connected sockets that keep the borders of messages, unix(7).
pub fn socketpair() -> io::Result<(Fd, Fd)> {
    let mut fds = [0; 2];
    let kind = libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC;
    // SAFETY: the pointer is to two live ints.
    let result = check(unsafe { libc::socketpair(libc::AF_UNIX, kind, 0, fds.as_mut_ptr()) });
    tell(&result, format_args!("socketpair(AF_UNIX, SOCK_SEQPACKET|SOCK_CLOEXEC, 0, [{}, {}])", fds[0], fds[1]));
    result.map(|_| (Fd(fds[0]), Fd(fds[1])))
}

/// fcntl(F_SETPIPE_SZ): a larger pipe means fewer turns between the programs at its ends.
pub fn set_pipe_size(fd: &Fd, bytes: c_int) -> io::Result<()> {
    // SAFETY: integers only.
    let result = check(unsafe { libc::fcntl(fd.0, libc::F_SETPIPE_SZ, bytes) });
    tell(&result, format_args!("fcntl({}, F_SETPIPE_SZ, {bytes})", fd.0));
    result.map(drop)
}

/// fcntl(F_SETFL, O_NONBLOCK): a read or write that would wait is `WouldBlock` instead. The flag
/// belongs to the open file, so only a file that is ours alone may have it.
pub fn set_nonblocking(fd: &Fd) -> io::Result<()> {
    // SAFETY: integers only.
    let result = check(unsafe { libc::fcntl(fd.0, libc::F_SETFL, libc::O_NONBLOCK) });
    tell(&result, format_args!("fcntl({}, F_SETFL, O_NONBLOCK)", fd.0));
    result.map(drop)
}

/// The opposite of [`keep_on_exec`].
pub fn close_on_exec(fd: &Fd) -> io::Result<()> {
    // SAFETY: integers only.
    let result = check(unsafe { libc::fcntl(fd.0, libc::F_SETFD, libc::FD_CLOEXEC) });
    tell(&result, format_args!("fcntl({}, F_SETFD, FD_CLOEXEC)", fd.0));
    result.map(drop)
}

/// A descriptor that the program was started with, such as the child's control socket.
pub fn inherited(number: c_int) -> Fd {
    Fd(number)
}

/// Clears the close-on-exec flag: the next program shall have this descriptor.
pub fn keep_on_exec(fd: &Fd) -> io::Result<()> {
    // SAFETY: integers only.
    let result = check(unsafe { libc::fcntl(fd.0, libc::F_SETFD, 0) });
    tell(&result, format_args!("fcntl({}, F_SETFD, 0)", fd.0));
    result.map(drop)
}

/// tee(2): copies up to `length` bytes from pipe to pipe without consuming them. 0 at the end.
pub fn tee(from: &Fd, to: &Fd, length: usize) -> io::Result<usize> {
    // SAFETY: integers only.
    let result = check(unsafe { libc::tee(from.0, to.0, length, 0) } as c_long);
    tell(&result, format_args!("tee({}, {}, {length}, 0)", from.0, to.0));
    result.map(|n| n as usize)
}

/// splice(2): moves up to `length` bytes from a pipe to a pipe, inside the kernel. 0 at the end.
pub fn splice(from: &Fd, to: &Fd, length: usize) -> io::Result<usize> {
    let none = std::ptr::null_mut();
    // SAFETY: no offsets are passed, the rest are integers.
    let result = check(unsafe { libc::splice(from.0, none, to.0, none, length, 0) } as c_long);
    tell(&result, format_args!("splice({}, NULL, {}, NULL, {length}, 0)", from.0, to.0));
    result.map(|n| n as usize)
}

/// memfd_create(2): an anonymous file in memory that can be sealed and executed.
pub fn memfd_create(name: &str) -> io::Result<Fd> {
    let c = cstr(name)?;
    let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
    // MFD_EXEC (Linux 6.3) says that it is to be executed; older kernels refuse the unknown flag.
    // SAFETY: the C string outlives the call.
    let mut result = check(unsafe { libc::memfd_create(c.as_ptr(), flags | libc::MFD_EXEC) });
    tell(&result, format_args!("memfd_create({name:?}, MFD_CLOEXEC|MFD_ALLOW_SEALING|MFD_EXEC)"));
    if matches!(&result, Err(error) if error.raw_os_error() == Some(libc::EINVAL)) {
        // SAFETY: as above.
        result = check(unsafe { libc::memfd_create(c.as_ptr(), flags) });
        tell(&result, format_args!("memfd_create({name:?}, MFD_CLOEXEC|MFD_ALLOW_SEALING)"));
    }
    owned(result)
}

/// sendfile(2) from the file's current offset. 0 at the end of `from`.
pub fn sendfile(to: &Fd, from: &Fd, length: usize) -> io::Result<usize> {
    // SAFETY: no offset is passed, the rest are integers.
    let result = check(unsafe { libc::sendfile(to.0, from.0, std::ptr::null_mut(), length) } as c_long);
    tell(&result, format_args!("sendfile({}, {}, NULL, {length})", to.0, from.0));
    result.map(|n| n as usize)
}

/// fcntl(F_ADD_SEALS): from here on nobody, root included, can write, grow or shrink the memfd.
pub fn seal(fd: &Fd) -> io::Result<()> {
    let seals = libc::F_SEAL_SEAL | libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_WRITE;
    // SAFETY: integers only.
    let result = check(unsafe { libc::fcntl(fd.0, libc::F_ADD_SEALS, seals) });
    tell(&result, format_args!("fcntl({}, F_ADD_SEALS, F_SEAL_SEAL|F_SEAL_SHRINK|F_SEAL_GROW|F_SEAL_WRITE)", fd.0));
    result.map(drop)
}

// ---- mounts ----

/// mount(2). An empty `source`, `fstype` or `data` is passed as NULL.
pub fn mount(
    source: impl AsRef<Path>,
    target: impl AsRef<Path>,
    fstype: &str,
    flags: c_ulong,
    data: impl AsRef<OsStr>,
) -> io::Result<()> {
    let (source, target, data) = (source.as_ref(), target.as_ref(), data.as_ref());
    let (s, t, f, d) = (cstr(source)?, cstr(target)?, cstr(fstype)?, cstr(data)?);
    let or_null = |c: &CString| if c.is_empty() { std::ptr::null() } else { c.as_ptr() };
    // SAFETY: every pointer is NULL or a C string that outlives the call.
    let result = check(unsafe { libc::mount(or_null(&s), t.as_ptr(), or_null(&f), flags, or_null(&d).cast()) });
    let shown = |text: &OsStr| if text.is_empty() { "NULL".into() } else { format!("{text:?}") };
    tell(
        &result,
        format_args!(
            "mount({}, {target:?}, {}, {}, {})",
            shown(source.as_os_str()),
            shown(fstype.as_ref()),
            Flags(flags, MOUNT),
            shown(data)
        ),
    );
    result.map(drop)
}

/// pivot_root(2): `new` becomes `/`, the old root is stacked at `old`.
pub fn pivot_root(new: &str, old: &str) -> io::Result<()> {
    let (n, o) = (cstr(new)?, cstr(old)?);
    // SAFETY: both C strings outlive the call.
    let result = check(unsafe { libc::syscall(libc::SYS_pivot_root, n.as_ptr(), o.as_ptr()) });
    tell(&result, format_args!("pivot_root({new:?}, {old:?})"));
    result.map(drop)
}

/// mount_setattr(2) (Linux 5.12): a mount and all below it become read-only; what else they are stays.
pub fn mount_read_only(path: impl AsRef<Path>) -> io::Result<()> {
    mount_setattr_read_only(libc::AT_FDCWD, path.as_ref(), libc::AT_RECURSIVE, "AT_RECURSIVE")
}

/// The same of the one mount that a descriptor stands for.
pub fn mount_set_read_only(mount: &Fd) -> io::Result<()> {
    mount_setattr_read_only(mount.0, Path::new(""), libc::AT_EMPTY_PATH, "AT_EMPTY_PATH")
}

fn mount_setattr_read_only(at: c_int, path: &Path, flags: c_int, flags_name: &str) -> io::Result<()> {
    let c = cstr(path)?;
    // SAFETY: an all-zero mount_attr is valid, it holds numbers only.
    let mut attributes: libc::mount_attr = unsafe { std::mem::zeroed() };
    attributes.attr_set = libc::MOUNT_ATTR_RDONLY;
    let size = std::mem::size_of::<libc::mount_attr>();
    // SAFETY: the path and the struct, whose size is passed along, outlive the call.
    let result = check(unsafe { libc::syscall(libc::SYS_mount_setattr, at, c.as_ptr(), flags, &attributes, size) });
    tell(
        &result,
        format_args!("mount_setattr({}, {path:?}, {flags_name}, {{attr_set=MOUNT_ATTR_RDONLY}}, {size})", At(at)),
    );
    result.map(drop)
}

/// open_tree(2) with OPEN_TREE_CLONE: a new mount of what is at `path`, attached nowhere.
pub fn open_tree_clone(path: impl AsRef<Path>) -> io::Result<Fd> {
    let path = path.as_ref();
    let c = cstr(path)?;
    let flags = libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC;
    // SAFETY: the C string outlives the call.
    let result = check(unsafe { libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, c.as_ptr(), flags) });
    tell(&result, format_args!("open_tree(AT_FDCWD, {path:?}, OPEN_TREE_CLONE|OPEN_TREE_CLOEXEC)"));
    owned(result)
}

// ---- processes ----

/// clone(2) with these namespaces and SIGCHLD at its end, as fork(2) otherwise: the child has a
/// copy of everything. Returns the child's pid, and `None` in the child.
/// The engine never starts a thread, so the copy is a complete and consistent program.
pub fn clone(namespaces: c_int) -> io::Result<Option<Pid>> {
    let flags = c_long::from(namespaces | libc::SIGCHLD);
    // SAFETY: without CLONE_VM the child runs on its own copy of this stack; no pointer is passed.
    let result = check(unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) });
    if matches!(result, Ok(0)) {
        WHY.take(); // the parent tells it
    } else {
        let separator = if namespaces == 0 { "" } else { "|" };
        let names = Flags(namespaces as u64, CLONE).to_string();
        let names = if namespaces == 0 { "" } else { &names };
        tell(&result, format_args!("clone(child_stack=NULL, flags={names}{separator}SIGCHLD)"));
    }
    result.map(|pid| (pid != 0).then_some(pid as Pid))
}

pub fn unshare(namespaces: c_int) -> io::Result<()> {
    // SAFETY: integers only.
    let result = check(unsafe { libc::unshare(namespaces) });
    tell(&result, format_args!("unshare({})", Flags(namespaces as u64, CLONE)));
    result.map(drop)
}

/// execve(2). Returns only when it failed.
pub fn execve(path: impl AsRef<Path>, argv: &[CString], env: &[CString]) -> io::Error {
    let path = path.as_ref();
    let c = match cstr(path) {
        Ok(c) => c,
        Err(error) => return error,
    };
    tell_line(format_args!("execve({path:?}, {argv:?}, [/* {} vars */])", env.len()));
    let (a, e) = (pointers(argv), pointers(env));
    // SAFETY: NULL-terminated arrays of C strings that outlive the call.
    let result = check(unsafe { libc::execve(c.as_ptr(), a.as_ptr(), e.as_ptr()) });
    tell(&result, format_args!("execve({path:?})"));
    result.err().unwrap_or_else(|| io::Error::from_raw_os_error(libc::EINVAL))
}

/// execveat(2) of an open file itself (`AT_EMPTY_PATH`). Returns only when it failed.
pub fn execveat(fd: &Fd, argv: &[CString], env: &[CString]) -> io::Error {
    tell_line(format_args!("execveat({}, \"\", {argv:?}, [/* {} vars */], AT_EMPTY_PATH)", fd.0, env.len()));
    let (a, e) = (pointers(argv), pointers(env));
    let empty = c"";
    // SAFETY: NULL-terminated arrays of C strings that outlive the call.
    let result = check(unsafe {
        libc::syscall(libc::SYS_execveat, fd.0, empty.as_ptr(), a.as_ptr(), e.as_ptr(), libc::AT_EMPTY_PATH)
    });
    tell(&result, format_args!("execveat({})", fd.0));
    result.err().unwrap_or_else(|| io::Error::from_raw_os_error(libc::EINVAL))
}

/// How a process ended, as `wait4` reports it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Status(c_int);

impl Status {
    /// As if a process had exited with this code.
    #[cfg(test)]
    pub fn exited(code: i32) -> Status {
        Status(code << 8)
    }

    /// The exit code as shells and docker report it: 0-255, or 128 + the signal that killed it.
    pub fn code(self) -> i32 {
        if libc::WIFSIGNALED(self.0) {
            128 + libc::WTERMSIG(self.0)
        } else {
            libc::WEXITSTATUS(self.0)
        }
    }

    pub fn success(self) -> bool {
        self.0 == 0
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        if libc::WIFSIGNALED(self.0) {
            write!(f, "killed by signal {}", libc::WTERMSIG(self.0))
        } else {
            write!(f, "exit code {}", libc::WEXITSTATUS(self.0))
        }
    }
}

/// wait4(2) for one child, or for any with -1. With `WNOHANG` it may return `None`.
pub fn wait4(pid: Pid, options: c_int) -> io::Result<Option<(Pid, Status)>> {
    loop {
        let mut status = 0;
        // SAFETY: the pointer is to a live int; no rusage is asked for.
        let result = check(unsafe { libc::wait4(pid, &mut status, options, std::ptr::null_mut()) });
        match result {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            result => {
                tell(&result, format_args!("wait4({pid}, [{}], {options}, NULL)", Status(status)));
                return result.map(|child| (child > 0).then_some((child as Pid, Status(status))));
            }
        }
    }
}

/// Waits until this child has ended.
pub fn wait(pid: Pid) -> io::Result<Status> {
    loop {
        if let Some((_, status)) = wait4(pid, 0)? {
            return Ok(status);
        }
    }
}

/// Calls that take integers alone, all alike. `Ok` holds the value returned.
macro_rules! integer_calls {
    ($($(#[$doc:meta])* $name:ident($($argument:ident: $type:ty),*);)*) => {$(
        $(#[$doc])*
        pub fn $name($($argument: $type),*) -> io::Result<c_long> {
            // SAFETY: integers only.
            let result = check(unsafe { libc::$name($($argument),*) });
            let arguments: &[c_long] = &[$($argument as c_long),*];
            tell(&result, format_args!("{}({})", stringify!($name), Integers(arguments)));
            result
        }
    )*};
}

struct Integers<'a>(&'a [c_long]);

impl fmt::Display for Integers<'_> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        for (i, number) in self.0.iter().enumerate() {
            write!(f, "{}{number}", if i == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

integer_calls! {
    kill(pid: Pid, signal: c_int);
    setsid();
    setresuid(real: u32, effective: u32, saved: u32);
    setresgid(real: u32, effective: u32, saved: u32);
}

/// The effective uid that the program was started with: the kernel has put it on the stack, getauxval(3),
/// and nothing in the engine changes it.
pub fn euid() -> u32 {
    // SAFETY: cannot fail for an entry that every kernel passes.
    unsafe { libc::getauxval(libc::AT_EUID) as u32 }
}

/// The effective gid, from the same place.
pub fn egid() -> u32 {
    // SAFETY: as above.
    unsafe { libc::getauxval(libc::AT_EGID) as u32 }
}

pub fn getpid() -> Pid {
    // SAFETY: cannot fail.
    unsafe { libc::getpid() }
}

/// umask(2): the permission bits that new files of this process and its children do not get.
pub fn umask(mask: u32) {
    // SAFETY: cannot fail.
    let previous = unsafe { libc::umask(mask) };
    tell(&Ok(previous.into()), format_args!("umask({})", Mode(mask)));
}

/// setrlimit(RLIMIT_NOFILE): as many open files as this process may have.
pub fn raise_open_files() -> io::Result<()> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointer is to a live rlimit.
    check(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) })?;
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: the pointer is to a live rlimit.
    let result = check(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) });
    tell(&result, format_args!("setrlimit(RLIMIT_NOFILE, {{rlim_cur={}}})", limit.rlim_cur));
    result.map(drop)
}

/// setrlimit(RLIMIT_FSIZE): a file that this process or its children write grows to `bytes` and no
/// further; `None` is as far as the hard limit allows.
pub fn limit_file_size(bytes: Option<u64>) -> io::Result<()> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointer is to a live rlimit.
    check(unsafe { libc::getrlimit(libc::RLIMIT_FSIZE, &mut limit) })?;
    limit.rlim_cur = bytes.map_or(limit.rlim_max, |bytes| limit.rlim_max.min(bytes));
    // SAFETY: the pointer is to a live rlimit.
    let result = check(unsafe { libc::setrlimit(libc::RLIMIT_FSIZE, &limit) });
    tell(&result, format_args!("setrlimit(RLIMIT_FSIZE, {{rlim_cur={}}})", limit.rlim_cur));
    result.map(drop)
}

/// pidfd_open(2): a process that stays the same one, whatever becomes of its number.
pub fn pidfd_open(pid: Pid) -> io::Result<Fd> {
    // SAFETY: integers only.
    let result = check(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) });
    tell(&result, format_args!("pidfd_open({pid}, 0)"));
    owned(result)
}

pub fn pidfd_send_signal(process: &Fd, signal: c_int) -> io::Result<()> {
    // SAFETY: no siginfo is passed, the rest are integers.
    let result = check(unsafe { libc::syscall(libc::SYS_pidfd_send_signal, process.0, signal, 0, 0) });
    tell(&result, format_args!("pidfd_send_signal({}, {signal}, NULL, 0)", process.0));
    result.map(drop)
}

pub fn setgroups(groups: &[u32]) -> io::Result<()> {
    // SAFETY: pointer and length are those of a live slice.
    let result = check(unsafe { libc::setgroups(groups.len(), groups.as_ptr()) });
    tell(&result, format_args!("setgroups({}, {groups:?})", groups.len()));
    result.map(drop)
}

/// prctl(PR_SET_NO_NEW_PRIVS): nothing that this process might execute has more power than it has itself.
pub fn no_new_privs() -> io::Result<()> {
    // SAFETY: integers only.
    let result = check(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) });
    tell(&result, format_args!("prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)"));
    result.map(drop)
}

/// prctl(PR_SET_PDEATHSIG): this signal when the parent dies. A change of uid clears it.
pub fn set_parent_death_signal(signal: c_int) -> io::Result<()> {
    // SAFETY: integers only.
    let result = check(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, signal as c_ulong) });
    tell(&result, format_args!("prctl(PR_SET_PDEATHSIG, {signal})"));
    result.map(drop)
}

/// prctl(PR_CAPBSET_DROP): one capability leaves the bounding set for ever.
pub fn drop_bounding(capability: u32) -> io::Result<()> {
    // SAFETY: integers only.
    let result = check(unsafe { libc::prctl(libc::PR_CAPBSET_DROP, c_ulong::from(capability)) });
    tell(&result, format_args!("prctl(PR_CAPBSET_DROP, {capability})"));
    result.map(drop)
}

/// capset(2), version 3: bit n of each word is capability n of capabilities(7).
pub fn capset(effective: u64, permitted: u64, inheritable: u64) -> io::Result<()> {
    // linux/capability.h: a header, and two halves of 32 capabilities each.
    const VERSION_3: u32 = 0x2008_0522;
    let header: [u32; 2] = [VERSION_3, 0];
    let half = |shift: u32| [effective, permitted, inheritable].map(|set| (set >> shift) as u32);
    let data: [[u32; 3]; 2] = [half(0), half(32)];
    // SAFETY: the arrays have the layout of the kernel's structs and outlive the call.
    let result = check(unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), data.as_ptr()) });
    tell(
        &result,
        format_args!(
            "capset({{v3, 0}}, {{effective={effective:#x}, permitted={permitted:#x}, inheritable={inheritable:#x}}})"
        ),
    );
    result.map(drop)
}

/// keyctl(KEYCTL_JOIN_SESSION_KEYRING, NULL): a new, empty session keyring, keyrings(7).
pub fn new_session_keyring() -> io::Result<()> {
    const KEYCTL_JOIN_SESSION_KEYRING: c_int = 1;
    // SAFETY: integers and NULL only.
    let result = check(unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, 0) });
    tell(&result, format_args!("keyctl(KEYCTL_JOIN_SESSION_KEYRING, NULL)"));
    result.map(drop)
}

pub fn sethostname(name: &str) -> io::Result<()> {
    // SAFETY: pointer and length are those of a live string.
    let result = check(unsafe { libc::sethostname(name.as_ptr().cast(), name.len()) });
    tell(&result, format_args!("sethostname({name:?}, {})", name.len()));
    result.map(drop)
}

/// Ends the process at once: no destructor runs, no buffer is flushed.
pub fn exit(code: i32) -> ! {
    // SAFETY: it does not return.
    unsafe { libc::_exit(code) }
}

/// getrandom(2).
pub fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    // SAFETY: pointer and length are those of a live array; up to 256 bytes come whole.
    let result = check(unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), N, 0) } as c_long);
    tell(&result, format_args!("getrandom(..., {N}, 0)"));
    result.map(|_| bytes)
}

/// Seconds since 1970 (clock_gettime, answered by the vDSO without entering the kernel).
pub fn now() -> i64 {
    // SAFETY: NULL asks for the return value alone.
    unsafe { libc::time(std::ptr::null_mut()) }
}

// ---- signals ----

fn all_signals() -> libc::sigset_t {
    // SAFETY: an all-zero sigset_t is valid, and sigfillset fills it.
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigfillset(&mut set);
        set
    }
}

/// Blocks every signal, so that each is taken in turn by [`wait_for_signal`] or a [`signalfd`].
pub fn block_signals() -> io::Result<()> {
    set_mask(&all_signals(), "~[]")
}

/// Lets every signal through again.
pub fn unblock_signals() -> io::Result<()> {
    // SAFETY: an all-zero sigset_t is the empty set.
    set_mask(&unsafe { std::mem::zeroed() }, "[]")
}

fn set_mask(set: &libc::sigset_t, name: &str) -> io::Result<()> {
    // SAFETY: the set outlives the call; the old one is not asked for.
    let result = check(unsafe { libc::sigprocmask(libc::SIG_SETMASK, set, std::ptr::null_mut()) });
    tell(&result, format_args!("rt_sigprocmask(SIG_SETMASK, {name}, NULL, 8)"));
    result.map(drop)
}

/// Gives `signal` its default action: an ignored one would stay ignored across `execve`. The kernel is
/// asked itself: the C library keeps signals 32 and 33 for its threads and refuses them.
fn default_action(signal: c_int) -> io::Result<()> {
    // struct sigaction of the kernel: handler (SIG_DFL is 0), flags, restorer, mask; the mask's size is 8.
    let action = [0u64; 4];
    let none: *mut u64 = std::ptr::null_mut();
    // SAFETY: the array has the size of the kernel's struct and outlives the call.
    let result = check(unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, action.as_ptr(), none, 8) });
    tell(&result, format_args!("rt_sigaction({signal}, {{sa_handler=SIG_DFL}}, NULL, 8)"));
    result.map(drop)
}

/// Gives every signal that the caller ignores its default action, SIGCHLD and SIGPIPE among them:
/// `nohup`, a shell's `&` and many a language's runtime hand ignored signals on, and they would
/// reach the container's command.
pub fn default_ignored_signals() -> io::Result<()> {
    why("which signals does the caller ignore?");
    let status = read_file("/proc/self/status", 64 * 1024)?;
    let status = String::from_utf8_lossy(&status);
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    for signal in (1..=64).filter(|signal| mask & 1 << (signal - 1) != 0) {
        why("ignored signals would stay ignored in the container");
        default_action(signal)?;
    }
    Ok(())
}

/// The next blocked signal (rt_sigtimedwait without a timeout).
pub fn wait_for_signal() -> io::Result<c_int> {
    loop {
        // SAFETY: the set outlives the call; no siginfo is asked for.
        let result = check(unsafe { libc::sigwaitinfo(&all_signals(), std::ptr::null_mut()) });
        match result {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            result => {
                tell(&result, format_args!("rt_sigtimedwait(~[], NULL, NULL, 8)"));
                return result.map(|signal| signal as c_int);
            }
        }
    }
}

/// signalfd(2) for every signal: readable when one is pending.
pub fn signalfd() -> io::Result<Fd> {
    // SAFETY: the set outlives the call.
    let result = check(unsafe { libc::signalfd(-1, &all_signals(), libc::SFD_CLOEXEC) });
    tell(&result, format_args!("signalfd4(-1, ~[], 8, SFD_CLOEXEC)"));
    owned(result)
}

/// Blocks these signals and lets them be read from a descriptor; all others do what they did.
pub fn signals_to_fd(signals: &[c_int], names: &str) -> io::Result<Fd> {
    // SAFETY: an all-zero sigset_t is the empty set, and it outlives the calls.
    let (masked, result) = unsafe {
        let mut set = std::mem::zeroed();
        for signal in signals {
            libc::sigaddset(&mut set, *signal);
        }
        let masked = check(libc::sigprocmask(libc::SIG_BLOCK, &set, std::ptr::null_mut()));
        (masked, check(libc::signalfd(-1, &set, libc::SFD_CLOEXEC)))
    };
    tell(&masked, format_args!("rt_sigprocmask(SIG_BLOCK, [{names}], NULL, 8)"));
    masked?;
    tell(&result, format_args!("signalfd4(-1, [{names}], 8, SFD_CLOEXEC)"));
    owned(result)
}

/// Takes one signal from a [`signalfd`].
pub fn read_signal(fd: &Fd) -> io::Result<c_int> {
    let mut info = [0u8; std::mem::size_of::<libc::signalfd_siginfo>()];
    read(fd.0, &mut info)?;
    // ssi_signo is the first field, 32 bits wide: signalfd(2).
    Ok(i32::from_ne_bytes([info[0], info[1], info[2], info[3]]))
}

// ---- sockets ----

/// A socket's address as the kernel has it: `sockaddr_in` or `sockaddr_in6`, told apart by the family.
#[derive(Clone, Copy)]
#[repr(C)]
union RawAddress {
    family: libc::sa_family_t,
    v4: libc::sockaddr_in,
    v6: libc::sockaddr_in6,
}

impl RawAddress {
    fn new(address: &SocketAddr) -> RawAddress {
        // SAFETY: all-zero bytes are a valid sockaddr_in6.
        let mut raw = RawAddress { v6: unsafe { std::mem::zeroed() } };
        match address {
            SocketAddr::V4(address) => {
                raw.v4 = libc::sockaddr_in {
                    sin_family: libc::AF_INET as _,
                    sin_port: address.port().to_be(),
                    sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(address.ip().octets()) },
                    sin_zero: [0; 8],
                }
            }
            SocketAddr::V6(address) => {
                raw.v6 = libc::sockaddr_in6 {
                    sin6_family: libc::AF_INET6 as _,
                    sin6_port: address.port().to_be(),
                    sin6_flowinfo: address.flowinfo(),
                    sin6_addr: libc::in6_addr { s6_addr: address.ip().octets() },
                    sin6_scope_id: address.scope_id(),
                }
            }
        }
        raw
    }

    fn length(&self) -> libc::socklen_t {
        // SAFETY: every variant begins with the family, and all bytes of the union are initialised.
        match c_int::from(unsafe { self.family }) {
            libc::AF_INET => std::mem::size_of::<libc::sockaddr_in>() as _,
            _ => std::mem::size_of::<libc::sockaddr_in6>() as _,
        }
    }

    fn address(&self) -> SocketAddr {
        // SAFETY: every variant begins with the family, which says which one it is; any bytes are valid.
        unsafe {
            match c_int::from(self.family) {
                libc::AF_INET => {
                    let ip = Ipv4Addr::from(self.v4.sin_addr.s_addr.to_ne_bytes());
                    SocketAddr::from((ip, u16::from_be(self.v4.sin_port)))
                }
                _ => {
                    let (ip, port) = (Ipv6Addr::from(self.v6.sin6_addr.s6_addr), u16::from_be(self.v6.sin6_port));
                    SocketAddrV6::new(ip, port, self.v6.sin6_flowinfo, self.v6.sin6_scope_id).into()
                }
            }
        }
    }
}

/// socket(2) of the address's family; `kind` is SOCK_DGRAM or SOCK_STREAM, with SOCK_NONBLOCK if wished.
pub fn socket(address: &SocketAddr, kind: c_int) -> io::Result<Fd> {
    let (family, name) = match address {
        SocketAddr::V4(_) => (libc::AF_INET, "AF_INET"),
        SocketAddr::V6(_) => (libc::AF_INET6, "AF_INET6"),
    };
    // SAFETY: integers only.
    let result = check(unsafe { libc::socket(family, kind | libc::SOCK_CLOEXEC, 0) });
    tell(&result, format_args!("socket({name}, {}, 0)", Flags((kind | libc::SOCK_CLOEXEC) as u64, SOCKET)));
    owned(result)
}

names!(SOCKET: SOCK_DGRAM SOCK_STREAM SOCK_NONBLOCK SOCK_CLOEXEC);

const LEVELS: &[(c_int, &str)] =
    &[(libc::SOL_SOCKET, "SOL_SOCKET"), (libc::IPPROTO_IP, "SOL_IP"), (libc::IPPROTO_IPV6, "SOL_IPV6")];

/// setsockopt(2) of an option that is an int; `name` is for the telling.
pub fn setsockopt(socket: &Fd, level: c_int, option: c_int, value: c_int, name: &str) -> io::Result<()> {
    let (pointer, size) = (std::ptr::from_ref(&value).cast(), std::mem::size_of::<c_int>() as _);
    // SAFETY: the pointer is to a live int of that size.
    let result = check(unsafe { libc::setsockopt(socket.0, level, option, pointer, size) });
    let level = LEVELS.iter().find(|(number, _)| *number == level).map_or("?", |(_, name)| name);
    tell(&result, format_args!("setsockopt({}, {level}, {name}, [{value}], 4)", socket.0));
    result.map(drop)
}

/// The calls that hand one address to the kernel.
macro_rules! address_call {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        pub fn $name(socket: &Fd, address: &SocketAddr) -> io::Result<()> {
            let raw = RawAddress::new(address);
            // SAFETY: the pointer is to a live address of that length.
            let result = check(unsafe { libc::$name(socket.0, std::ptr::from_ref(&raw).cast(), raw.length()) });
            tell(&result, format_args!("{}({}, {address}, {})", stringify!($name), socket.0, raw.length()));
            result.map(drop)
        }
    };
}

address_call!(
    /// bind(2): the address at which a socket receives.
    bind
);
address_call!(
    /// connect(2): whom a socket talks to. A connected UDP socket gets a random port of
    /// `ip_local_port_range`, hears nobody else, and is told when nobody listens there (ECONNREFUSED).
    connect
);

pub fn listen(socket: &Fd, backlog: c_int) -> io::Result<()> {
    // SAFETY: integers only.
    let result = check(unsafe { libc::listen(socket.0, backlog) });
    tell(&result, format_args!("listen({}, {backlog})", socket.0));
    result.map(drop)
}

/// accept4(2): the next connection, its socket non-blocking, and who it is from.
pub fn accept4(socket: &Fd) -> io::Result<(Fd, SocketAddr)> {
    // SAFETY: all-zero bytes are a valid sockaddr_in6.
    let mut raw = RawAddress { v6: unsafe { std::mem::zeroed() } };
    let mut length = std::mem::size_of::<RawAddress>() as libc::socklen_t;
    let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: the pointers are to a live address and its length.
    let result = check(unsafe { libc::accept4(socket.0, std::ptr::from_mut(&mut raw).cast(), &mut length, flags) });
    let from = result.as_ref().map_or("NULL".to_string(), |_| raw.address().to_string());
    tell(&result, format_args!("accept4({}, {from}, SOCK_NONBLOCK|SOCK_CLOEXEC)", socket.0));
    owned(result).map(|fd| (fd, raw.address()))
}

/// send(2) on a stream; a peer that is gone is an error, no SIGPIPE.
pub fn send(socket: &Fd, bytes: &[u8]) -> io::Result<usize> {
    // SAFETY: pointer and length are those of a live slice.
    let result =
        check(unsafe { libc::send(socket.0, bytes.as_ptr().cast(), bytes.len(), libc::MSG_NOSIGNAL) } as c_long);
    tell(&result, format_args!("sendto({}, {}, {}, MSG_NOSIGNAL)", socket.0, Excerpt(bytes), bytes.len()));
    result.map(|n| n as usize)
}

/// Who sent a datagram, and to which of our addresses: what an answer must go back to and leave from.
#[derive(Clone, Copy)]
pub struct Peer {
    name: RawAddress,
    /// The control message of IP_PKTINFO or IPV6_PKTINFO as it came, ip(7): sent back with the answer
    /// it sets the answer's source address.
    control: PacketInfo,
    control_length: u32,
}

/// Room for one `in6_pktinfo` in a control message, aligned as cmsg(3) wants it.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct PacketInfo([u8; 40]);

impl Peer {
    pub fn address(&self) -> SocketAddr {
        self.name.address()
    }

    /// Forgets on which interface a datagram came, so that routing decides about the answer's; only a
    /// link-local address means nothing without it.
    fn forget_interface(&mut self) {
        const DATA: usize = std::mem::size_of::<libc::cmsghdr>();
        // SAFETY: every variant begins with the family.
        match c_int::from(unsafe { self.name.family }) {
            libc::AF_INET => self.control.0[DATA..DATA + 4].fill(0),
            _ if self.control.0[DATA] == 0xfe => {}
            _ => self.control.0[DATA + 16..DATA + 20].fill(0),
        }
    }
}

/// A row of datagrams that recvmmsg(2) fills or sendmmsg(2) empties in one call, each with room for
/// `size` octets.
pub struct Datagrams {
    size: usize,
    used: usize,
    octets: Vec<u8>,
    peers: Vec<Peer>,
    vectors: Vec<libc::iovec>,
    headers: Vec<libc::mmsghdr>,
}

impl Datagrams {
    /// `with_peers`: for a socket that is not connected.
    pub fn new(count: usize, size: usize, with_peers: bool) -> Datagrams {
        // SAFETY: all-zero bytes are valid for these structs of integers and pointers.
        let (peer, vector, header) = unsafe { (std::mem::zeroed(), std::mem::zeroed(), std::mem::zeroed()) };
        let mut row = Datagrams {
            size,
            used: 0,
            octets: vec![0; count * size],
            peers: vec![peer; if with_peers { count } else { 0 }],
            vectors: vec![vector; count],
            headers: vec![header; count],
        };
        // The vectors never grow, so what points into them stays right, wherever the row itself is moved.
        for (index, header) in row.headers.iter_mut().enumerate() {
            row.vectors[index].iov_base = row.octets[index * size..].as_mut_ptr().cast();
            header.msg_hdr.msg_iov = &mut row.vectors[index];
            header.msg_hdr.msg_iovlen = 1;
            if let Some(peer) = row.peers.get_mut(index) {
                header.msg_hdr.msg_name = std::ptr::from_mut(&mut peer.name).cast();
                header.msg_hdr.msg_control = peer.control.0.as_mut_ptr().cast();
            }
        }
        row.set_room(count);
        row
    }

    /// Makes the first `count` ready to receive: all their room is free.
    fn set_room(&mut self, count: usize) {
        for index in 0..count {
            self.vectors[index].iov_len = self.size;
            let header = &mut self.headers[index].msg_hdr;
            header.msg_flags = 0;
            if !self.peers.is_empty() {
                header.msg_namelen = std::mem::size_of::<RawAddress>() as _;
                header.msg_controllen = std::mem::size_of::<PacketInfo>() as _;
            }
        }
    }

    /// How many are in the row.
    pub fn len(&self) -> usize {
        self.used
    }

    pub fn is_full(&self) -> bool {
        self.used == self.headers.len()
    }

    /// Datagram `index`, who it is from, and whether it was longer than its room.
    pub fn get(&self, index: usize) -> (&[u8], &Peer, bool) {
        let header = &self.headers[index];
        let octets = &self.octets[index * self.size..][..(header.msg_len as usize).min(self.size)];
        (octets, &self.peers[index], header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0)
    }

    /// The room of the next one to send; [`push`](Self::push) puts it into the row.
    pub fn room(&mut self) -> &mut [u8] {
        &mut self.octets[self.used * self.size..][..self.size]
    }

    /// `peer`: to whom; a connected socket knows.
    pub fn push(&mut self, length: usize, peer: Option<&Peer>) {
        let index = self.used;
        self.vectors[index].iov_len = length.min(self.size);
        if let (Some(peer), Some(place)) = (peer, self.peers.get_mut(index)) {
            *place = *peer;
            self.headers[index].msg_hdr.msg_namelen = peer.name.length();
            self.headers[index].msg_hdr.msg_controllen = peer.control_length as _;
        }
        self.used += 1;
    }

    /// recvmmsg(2) without waiting: how many came, 0 where there was none.
    pub fn receive(&mut self, socket: &Fd) -> io::Result<usize> {
        self.set_room(self.used);
        self.used = 0;
        let (count, flags) = (self.headers.len() as u32, libc::MSG_DONTWAIT);
        let headers = self.headers.as_mut_ptr();
        // SAFETY: the headers point into this value's own vectors (see `new`), which outlive the call.
        let result = check(unsafe { libc::recvmmsg(socket.0, headers, count, flags, std::ptr::null_mut()) });
        tell(&result, format_args!("recvmmsg({}, ..., {count}, MSG_DONTWAIT, NULL)", socket.0));
        match result {
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => Ok(0),
            result => {
                self.used = result? as usize;
                for (peer, header) in self.peers.iter_mut().zip(&self.headers[..self.used]) {
                    peer.control_length = header.msg_hdr.msg_controllen as u32;
                    if peer.control_length > 0 {
                        peer.forget_interface();
                    }
                }
                Ok(self.used)
            }
        }
    }

    /// sendmmsg(2) without waiting, and empties the row. One that cannot be sent is left out: to the
    /// other side it is a lost datagram, which UDP has anyway. The last such error is returned.
    pub fn send(&mut self, socket: &Fd) -> io::Result<()> {
        let (mut done, mut outcome, mut is_second) = (0, Ok(()), false);
        while done < self.used {
            let headers = self.headers[done..self.used].as_mut_ptr();
            let count = (self.used - done) as u32;
            // SAFETY: the headers point into this value's own vectors (see `new`), which outlive the call.
            let result = check(unsafe { libc::sendmmsg(socket.0, headers, count, libc::MSG_DONTWAIT) });
            tell(&result, format_args!("sendmmsg({}, ..., {count}, MSG_DONTWAIT)", socket.0));
            match result {
                Ok(sent) => (done, is_second) = (done + sent as usize, false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // On a connected socket this may be news of an earlier datagram: this one was not tried.
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused && !is_second => {
                    (outcome, is_second) = (Err(error), true);
                }
                Err(error) => (outcome, done, is_second) = (Err(error), done + 1, false),
            }
        }
        self.used = 0;
        outcome
    }
}

/// Microseconds since the machine started, time asleep included (answered by the vDSO, no entry into the kernel).
pub fn clock() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a live timespec; CLOCK_BOOTTIME cannot fail since Linux 2.6.39.
    unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &mut time) };
    time.tv_sec as u64 * 1_000_000 + time.tv_nsec as u64 / 1000
}

/// epoll_create1(2): one place to wait for many descriptors.
pub fn epoll_create1() -> io::Result<Fd> {
    // SAFETY: integers only.
    let result = check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) });
    tell(&result, format_args!("epoll_create1(EPOLL_CLOEXEC)"));
    owned(result)
}

/// epoll_ctl(2): wait for `events` of `fd`, `operation` is EPOLL_CTL_ADD or EPOLL_CTL_MOD; `token` comes
/// back with them. A closed descriptor leaves by itself.
pub fn epoll_ctl(epoll: &Fd, operation: c_int, fd: &Fd, events: c_int, token: u64) -> io::Result<()> {
    let mut event = libc::epoll_event { events: events as u32, u64: token };
    // SAFETY: the pointer is to a live event.
    let result = check(unsafe { libc::epoll_ctl(epoll.0, operation, fd.0, &mut event) });
    let name = if operation == libc::EPOLL_CTL_ADD { "EPOLL_CTL_ADD" } else { "EPOLL_CTL_MOD" };
    let events = Flags(events as u64, EPOLL);
    tell(&result, format_args!("epoll_ctl({}, {name}, {}, {{{events}, {token}}})", epoll.0, fd.0));
    result.map(drop)
}

names!(EPOLL: EPOLLIN EPOLLOUT EPOLLERR EPOLLHUP);

/// What [`epoll_wait`] found: (token, events).
pub type Ready = Vec<(u64, c_int)>;

/// epoll_wait(2): at most 64 of those that are ready; `timeout` in milliseconds, -1 for none.
pub fn epoll_wait(epoll: &Fd, ready: &mut Ready, timeout: c_int) -> io::Result<()> {
    let mut events = [libc::epoll_event { events: 0, u64: 0 }; 64];
    // SAFETY: pointer and length are those of a live, writable array.
    let result = check(unsafe { libc::epoll_wait(epoll.0, events.as_mut_ptr(), events.len() as c_int, timeout) });
    tell(&result, format_args!("epoll_wait({}, ..., {}, {timeout})", epoll.0, events.len()));
    let count = match result {
        Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
        result => result? as usize,
    };
    ready.clear();
    ready.extend(events[..count].iter().map(|event| (event.u64, event.events as c_int)));
    Ok(())
}

// ---- terminals ----

pub type Termios = libc::termios;

pub fn tcgetattr(fd: c_int) -> io::Result<Termios> {
    // SAFETY: an all-zero termios is valid, it holds numbers only.
    let mut termios = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to a live termios.
    let result = check(unsafe { libc::tcgetattr(fd, &mut termios) });
    tell(&result, format_args!("ioctl({fd}, TCGETS)"));
    result.map(|_| termios)
}

/// tcsetattr(3) after what was written has gone out.
pub fn tcsetattr(fd: c_int, termios: &Termios) -> io::Result<()> {
    // SAFETY: the pointer is to a live termios.
    let result = check(unsafe { libc::tcsetattr(fd, libc::TCSADRAIN, termios) });
    tell(&result, format_args!("ioctl({fd}, TCSETSW)"));
    result.map(drop)
}

/// The same settings in raw mode: every byte passes at once and unchanged, cfmakeraw(3).
pub fn raw_mode(mut termios: Termios) -> Termios {
    // SAFETY: the pointer is to a live termios.
    unsafe { libc::cfmakeraw(&mut termios) };
    termios
}

/// ioctl(2) whose argument is an integer.
pub fn ioctl(fd: c_int, request: c_ulong, argument: c_int, name: &str) -> io::Result<c_long> {
    // SAFETY: only requests with integer arguments are passed (TIOCSCTTY, TIOCGPTPEER).
    let result = check(unsafe { libc::ioctl(fd, request, argument) });
    tell(&result, format_args!("ioctl({fd}, {name}, {argument:#x})"));
    result
}

/// TIOCSPTLCK: unlocks the other side of a pty, so that it can be opened.
pub fn unlock_pty(master: &Fd) -> io::Result<()> {
    let zero: c_int = 0;
    // SAFETY: the request reads one int.
    let result = check(unsafe { libc::ioctl(master.0, libc::TIOCSPTLCK, &zero) });
    tell(&result, format_args!("ioctl({}, TIOCSPTLCK, [0])", master.0));
    result.map(drop)
}

/// TIOCGPTPEER: the other side of a pty, without a path that could be something else.
pub fn pty_peer(master: &Fd) -> io::Result<Fd> {
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    ioctl(master.0, libc::TIOCGPTPEER as c_ulong, flags, "TIOCGPTPEER").map(|fd| Fd(fd as c_int))
}

/// TIOCGPTN: the number of a pty under /dev/pts.
pub fn pty_number(master: &Fd) -> io::Result<u32> {
    let mut number: libc::c_uint = 0;
    // SAFETY: the request writes one unsigned int.
    let result = check(unsafe { libc::ioctl(master.0, libc::TIOCGPTN, &mut number) });
    tell(&result, format_args!("ioctl({}, TIOCGPTN, [{number}])", master.0));
    result.map(|_| number)
}

/// Copies the window size of one terminal to another.
pub fn copy_window_size(from: c_int, to: c_int) -> io::Result<()> {
    // SAFETY: an all-zero winsize is valid, it holds numbers only.
    let mut size: libc::winsize = unsafe { std::mem::zeroed() };
    // SAFETY: the request writes one winsize.
    let result = check(unsafe { libc::ioctl(from, libc::TIOCGWINSZ, &mut size) });
    tell(&result, format_args!("ioctl({from}, TIOCGWINSZ, {{ws_row={}, ws_col={}}})", size.ws_row, size.ws_col));
    result?;
    // SAFETY: the request reads one winsize.
    let result = check(unsafe { libc::ioctl(to, libc::TIOCSWINSZ, &size) });
    tell(&result, format_args!("ioctl({to}, TIOCSWINSZ, {{ws_row={}, ws_col={}}})", size.ws_row, size.ws_col));
    result.map(drop)
}

/// The size of a terminal's window: (rows, columns).
pub fn window_size(fd: c_int) -> io::Result<(usize, usize)> {
    // SAFETY: an all-zero winsize is valid, it holds numbers only.
    let mut size: libc::winsize = unsafe { std::mem::zeroed() };
    // SAFETY: the request writes one winsize.
    let result = check(unsafe { libc::ioctl(fd, libc::TIOCGWINSZ, &mut size) });
    tell(&result, format_args!("ioctl({fd}, TIOCGWINSZ, {{ws_row={}, ws_col={}}})", size.ws_row, size.ws_col));
    result.map(|_| (size.ws_row.into(), size.ws_col.into()))
}

// ---- network ----

/// Brings an interface up (SIOCSIFFLAGS with IFF_UP, netdevice(7)).
pub fn interface_up(name: &str) -> io::Result<()> {
    // SAFETY: integers only.
    let result = check(unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) });
    tell(&result, format_args!("socket(AF_INET, SOCK_DGRAM|SOCK_CLOEXEC, IPPROTO_IP)"));
    let socket = owned(result)?;
    // SAFETY: an all-zero ifreq is valid, it holds numbers and bytes only.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // One byte less than the field, so that it stays NUL-terminated.
    for (to, from) in request.ifr_name[..libc::IFNAMSIZ - 1].iter_mut().zip(name.bytes()) {
        *to = from as c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as i16;
    // SAFETY: the request reads one ifreq.
    let result = check(unsafe { libc::ioctl(socket.0, libc::SIOCSIFFLAGS, &request) });
    tell(
        &result,
        format_args!("ioctl({}, SIOCSIFFLAGS, {{ifr_name={name:?}, ifr_flags=IFF_UP|IFF_RUNNING}})", socket.0),
    );
    result.map(drop)
}

// ---- a few calls that always go together ----

/// Reads a whole file; more than `limit` bytes are `FileTooLarge`.
pub fn read_file(path: impl AsRef<Path>, limit: usize) -> io::Result<Vec<u8>> {
    read_open_file(&open(path, libc::O_RDONLY, 0)?, limit)
}

/// The same of an open file. A regular file answers with less than was asked for only at its end, and so
/// does one of the kernel's that is shorter than a page: most need no second read(2) to see the end.
pub fn read_open_file(file: &Fd, limit: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; 16 * 1024];
    let length = read(file.raw(), &mut bytes)?;
    let whole = length < bytes.len();
    bytes.truncate(length);
    if !whole {
        bytes.extend(read_to_end(file, limit)?);
    }
    if bytes.len() > limit {
        Err(io::ErrorKind::FileTooLarge.into())
    } else {
        Ok(bytes)
    }
}

/// Reads to the end of a file, pipe or socket; more than `limit` bytes are `FileTooLarge`.
pub fn read_to_end(fd: &Fd, limit: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 16 * 1024];
    loop {
        match read(fd.0, &mut buffer)? {
            0 => return Ok(bytes),
            n => bytes.extend_from_slice(&buffer[..n]),
        }
        if bytes.len() > limit {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
    }
}

/// Prints to standard output; where that is gone or full, an error instead of a panic.
pub fn print(text: &str) -> io::Result<()> {
    write_all(STDOUT, text.as_bytes())
}

/// Writes to a file that exists, as the kernel's own files in /proc and cgroups do, in one write.
pub fn write_kernel_file(path: impl AsRef<Path>, value: &str) -> io::Result<()> {
    let fd = open(path, libc::O_WRONLY, 0)?;
    write(fd.0, value.as_bytes()).map(drop)
}

/// Makes a file or empties it, and writes it.
pub fn write_file(path: impl AsRef<Path>, mode: u32, bytes: &[u8]) -> io::Result<()> {
    let fd = open(path, libc::O_WRONLY | libc::O_CREAT | libc::O_TRUNC | libc::O_NOFOLLOW, mode)?;
    write_all(fd.0, bytes)
}

/// Room for one descriptor in a control message, aligned as cmsg(3) wants it.
#[repr(C, align(8))]
struct ControlBuffer([u8; 32]);

/// Sends one message, with a descriptor along where one is given (SCM_RIGHTS, unix(7)).
pub fn send_message(socket: &Fd, bytes: &[u8], fd: Option<&Fd>) -> io::Result<()> {
    let mut io = libc::iovec { iov_base: bytes.as_ptr() as *mut _, iov_len: bytes.len() };
    let mut control = ControlBuffer([0; 32]);
    // SAFETY: an all-zero msghdr is valid: no name, no control, no data.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &mut io;
    message.msg_iovlen = 1;
    if let Some(fd) = fd {
        let size = std::mem::size_of::<c_int>() as u32;
        message.msg_control = control.0.as_mut_ptr().cast();
        // SAFETY: the control buffer holds CMSG_SPACE(one int) = 24 bytes and is aligned.
        unsafe {
            message.msg_controllen = libc::CMSG_SPACE(size) as _;
            let header = libc::CMSG_FIRSTHDR(&message);
            (*header).cmsg_level = libc::SOL_SOCKET;
            (*header).cmsg_type = libc::SCM_RIGHTS;
            (*header).cmsg_len = libc::CMSG_LEN(size) as _;
            libc::CMSG_DATA(header).cast::<c_int>().write_unaligned(fd.0);
        }
    }
    // SAFETY: everything the header points to is alive; MSG_NOSIGNAL: a dead peer is an error, no SIGPIPE.
    let result = check(unsafe { libc::sendmsg(socket.0, &message, libc::MSG_NOSIGNAL) } as c_long);
    let along = fd.map(|fd| format!(", SCM_RIGHTS [{}]", fd.0)).unwrap_or_default();
    tell(&result, format_args!("sendmsg({}, {}{along}, MSG_NOSIGNAL)", socket.0, Excerpt(bytes)));
    result.map(drop)
}

/// Receives one message into `buffer`: its length (0 when the other side is gone), and a descriptor
/// that came along. `flags` 0 or `MSG_DONTWAIT`.
pub fn receive_message(socket: &Fd, buffer: &mut [u8], flags: c_int) -> io::Result<(usize, Option<Fd>)> {
    let mut io = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    let mut control = ControlBuffer([0; 32]);
    // SAFETY: an all-zero msghdr is valid: no name, no control, no data.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &mut io;
    message.msg_iovlen = 1;
    message.msg_control = control.0.as_mut_ptr().cast();
    message.msg_controllen = control.0.len() as _;
    let result = loop {
        // SAFETY: everything the header points to is alive and writable.
        match check(unsafe { libc::recvmsg(socket.0, &mut message, flags | libc::MSG_CMSG_CLOEXEC) } as c_long) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            result => break result,
        }
    };
    tell(&result, format_args!("recvmsg({}, ..., {flags:#x})", socket.0));
    let length = result? as usize;
    // SAFETY: the kernel filled the header; a control message that it wrote is inside the buffer.
    let fd = unsafe {
        let header = libc::CMSG_FIRSTHDR(&message);
        let is_fd =
            !header.is_null() && (*header).cmsg_level == libc::SOL_SOCKET && (*header).cmsg_type == libc::SCM_RIGHTS;
        is_fd.then(|| Fd(libc::CMSG_DATA(header).cast::<c_int>().read_unaligned()))
    };
    Ok((length, fd))
}

/// A helper program to start: curl, tar, newuidmap, ...
pub struct Program {
    /// Its name in `PATH`, or a path.
    pub name: &'static str,
    pub arguments: Vec<OsString>,
    /// Its whole environment, `NAME=value`; nothing of ours goes along.
    pub environment: Vec<CString>,
}

/// Starts a helper with these standard streams (`None`: ours) and these further descriptors. It
/// dies when this process dies: `PR_SET_PDEATHSIG`. A helper that cannot be started ends with 127.
pub fn spawn(program: &Program, streams: [Option<&Fd>; 3], keep: &[&Fd]) -> io::Result<Pid> {
    let path = find_program(program.name).ok_or(io::ErrorKind::NotFound)?;
    let argv: io::Result<Vec<CString>> = [OsStr::new(program.name)]
        .into_iter()
        .chain(program.arguments.iter().map(|a| a.as_os_str()))
        .map(cstr)
        .collect();
    let argv = argv?;
    let parent = getpid();
    if let Some(pid) = clone(0)? {
        return Ok(pid);
    }
    // Its standard error may be a pipe of ours from here on, which is no place to tell: what is left to do is
    // told now.
    set_who(program.name);
    tell_line(format_args!("execve({path:?}, {argv:?}, [/* {} vars */])", program.environment.len()));
    set_verbose(false);
    let failed = become_program(parent, &path, &argv, &program.environment, streams, keep);
    print_error(format!("mydocker: execve {}: {failed}\n", path.display()).as_bytes());
    exit(127)
}

fn become_program(
    parent: Pid,
    path: &Path,
    argv: &[CString],
    environment: &[CString],
    streams: [Option<&Fd>; 3],
    keep: &[&Fd],
) -> io::Error {
    let prepare = || -> io::Result<()> {
        set_parent_death_signal(libc::SIGKILL)?;
        // The signal comes for a death from now on; one that came before shows in the parent's id.
        // SAFETY: cannot fail.
        if unsafe { libc::getppid() } != parent {
            exit(1);
        }
        for (number, stream) in streams.into_iter().enumerate() {
            if let Some(fd) = stream {
                dup2(fd.0, number as c_int)?;
            }
        }
        for fd in keep {
            keep_on_exec(fd)?;
        }
        unblock_signals()
    };
    match prepare() {
        Ok(()) => execve(path, argv, environment),
        Err(error) => error,
    }
}

/// Looks a program up in `PATH`; a name with a slash is taken as it is.
pub fn find_program(name: &str) -> Option<PathBuf> {
    if name.contains('/') {
        return Some(PathBuf::from(name));
    }
    let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/sbin:/usr/bin:/sbin:/bin".into());
    std::env::split_paths(&path).filter(|dir| dir.is_absolute()).map(|dir| dir.join(name)).find(|file| {
        // SAFETY: the C string outlives the call.
        cstr(file).is_ok_and(|c| unsafe { libc::access(c.as_ptr(), libc::X_OK) } == 0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_named_as_strace_names_them() {
        let shown = |flags| Flags(flags, MOUNT).to_string();
        assert_eq!(shown(libc::MS_NOSUID | libc::MS_NODEV), "MS_NOSUID|MS_NODEV");
        assert_eq!(shown(0), "0");
        assert_eq!(shown(libc::MS_BIND | 0x40000000), "MS_BIND|0x40000000");
    }

    #[test]
    fn a_descriptor_travels_through_a_socket() {
        let (a, b) = socketpair().unwrap();
        let (reader, writer) = pipe2().unwrap();
        send_message(&a, b"here", Some(&writer)).unwrap();
        drop(writer);
        let mut buffer = [0; 16];
        let (length, fd) = receive_message(&b, &mut buffer, 0).unwrap();
        assert_eq!(&buffer[..length], b"here");
        write_all(fd.unwrap().raw(), b"through").unwrap();
        assert_eq!(read_to_end(&reader, 100).unwrap(), b"through");
        drop(a);
        assert_eq!(receive_message(&b, &mut buffer, 0).unwrap().0, 0);
    }

    #[test]
    fn a_path_with_nul_is_refused() {
        assert_eq!(mkdir("a\0b", 0o700).unwrap_err().raw_os_error(), Some(libc::EINVAL));
    }

    #[test]
    fn a_file_longer_than_the_limit_is_refused() {
        assert_eq!(read_file("/proc/self/status", 10).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
    }
}
