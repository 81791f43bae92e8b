//! The kernel's door: one safe function per system call, under the call's own name.
//!
//! This is the only file with `unsafe`. A function here does what its man page says and nothing
//! else: it turns paths into C strings, -1 into `io::Error`, new descriptors into [`Fd`], and it
//! *tells* (tell.rs): under `-v` every call is a line on standard error, as strace would write it. Where the C
//! library would make another call than the one it is named after, the kernel is asked directly, so that
//! `strace` shows the name that stands here.
//!
//! A function that takes any kind of path has its body in a `plain` one inside, which is compiled once: 20 KB less.
//!
//! What is not one system call but a few that always go together stands at the end:
//! [`read_file`], [`write_file`], [`list`], [`spawn`], [`send_message`] and [`receive_message`].

use std::cell::RefCell;
use std::ffi::{CString, OsStr, OsString};
use std::fmt;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use libc::{c_char, c_int, c_long, c_ulong};

use crate::show::*;
use crate::tell::{secret, tell, tell_before, tell_failed, tell_outcome};

pub use crate::tell::{fold, if_possible, reason_or, secretly, set_who, step, verbose, who, why, why_else};

pub type Pid = libc::pid_t;

/// Writes to standard error past any buffer; nobody may be left to read it.
#[track_caller]
pub fn print_error(bytes: &[u8]) {
    why("if possible: a word to the user");
    let _nobody_is_left = write_all(STDERR, bytes);
}

/// The narrator's own write(2), of which nobody tells; whoever reads slowly is waited for. `false` when nobody is
/// left to read it.
pub fn print_to(fd: c_int, mut bytes: &[u8]) -> bool {
    while !bytes.is_empty() {
        // SAFETY: the pointer and length are those of a live slice.
        match check(unsafe { libc::write(fd, bytes.as_ptr().cast(), bytes.len()) } as c_long) {
            Ok(written) => bytes = &bytes[written as usize..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let mut room = libc::pollfd { fd, events: libc::POLLOUT, revents: 0 };
                // SAFETY: the pointer is to one live, writable entry.
                unsafe { libc::poll(&mut room, 1, -1) };
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return false,
        }
    }
    true
}

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
        why_else("if possible: done with it");
        tell("close", &[self], &result);
    }
}

impl fmt::Display for Fd {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        self.0.fmt(f)
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
    fn plain(text: &OsStr) -> io::Result<CString> {
        CString::new(text.as_bytes()).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))
    }
    plain(text.as_ref())
}

/// A C string as the narrator shows it.
fn text(string: &CString) -> Text<'_> {
    Text(string.as_bytes())
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

#[track_caller]
pub fn open(path: impl AsRef<Path>, flags: c_int, mode: u32) -> io::Result<Fd> {
    #[track_caller]
    fn plain(path: &Path, flags: c_int, mode: u32) -> io::Result<Fd> {
        openat(None, path, flags, mode)
    }
    plain(path.as_ref(), flags, mode)
}

/// openat(2); `O_CLOEXEC` is always added, so that no descriptor reaches a program by accident.
#[track_caller]
pub fn openat(dir: Option<&Fd>, path: impl AsRef<Path>, flags: c_int, mode: u32) -> io::Result<Fd> {
    #[track_caller]
    fn plain(dir: Option<&Fd>, path: &Path, flags: c_int, mode: u32) -> io::Result<Fd> {
        let at = dir.map_or(libc::AT_FDCWD, Fd::raw);
        let c = cstr(path)?;
        let flags = flags | libc::O_CLOEXEC;
        // SAFETY: `c` is a C string that outlives the call.
        let result = check(unsafe { libc::openat(at, c.as_ptr(), flags, mode) });
        let arguments: [&dyn fmt::Display; 4] = [&At(at), &text(&c), &Flags(flags as u64, OPEN), &Mode(mode)];
        let has_mode = flags & (libc::O_CREAT | libc::O_TMPFILE & !libc::O_DIRECTORY) != 0;
        tell("openat", &arguments[..if has_mode { 4 } else { 3 }], &result);
        owned(result)
    }
    plain(dir, path.as_ref(), flags, mode)
}

/// openat2(2) that takes `dir` for the root, follows no magic link and so cannot leave it.
#[track_caller]
pub fn openat2_in_root(dir: &Fd, path: impl AsRef<Path>, flags: c_int, mode: u32) -> io::Result<Fd> {
    #[track_caller]
    fn plain(dir: &Fd, path: &Path, flags: c_int, mode: u32) -> io::Result<Fd> {
        openat2(dir, path, flags, mode, libc::RESOLVE_IN_ROOT | libc::RESOLVE_NO_MAGICLINKS)
    }
    plain(dir, path.as_ref(), flags, mode)
}

/// openat2(2) that crosses into no other mount: there it is EXDEV.
#[track_caller]
pub fn openat2_same_mount(dir: &Fd, path: impl AsRef<Path>, flags: c_int) -> io::Result<Fd> {
    #[track_caller]
    fn plain(dir: &Fd, path: &Path, flags: c_int) -> io::Result<Fd> {
        openat2(dir, path, flags, 0, libc::RESOLVE_NO_XDEV)
    }
    plain(dir, path.as_ref(), flags)
}

#[track_caller]
fn openat2(dir: &Fd, path: &Path, flags: c_int, mode: u32, resolve: u64) -> io::Result<Fd> {
    let c = cstr(path)?;
    // SAFETY: an all-zero open_how is valid: open_how has no pointers.
    let mut how: libc::open_how = unsafe { std::mem::zeroed() };
    how.flags = (flags | libc::O_CLOEXEC) as u64;
    how.mode = mode.into();
    how.resolve = resolve;
    let size = std::mem::size_of::<libc::open_how>();
    let reason = reason_or("a place in there");
    // EAGAIN: a rename or mount anywhere on the host while `..` was resolved, openat2(2).
    for _ in 0..PATIENCE {
        why(reason);
        // SAFETY: the path and the struct, whose size is passed along, outlive the call.
        let result = check(unsafe { libc::syscall(libc::SYS_openat2, dir.0, c.as_ptr(), &how, size) });
        tell("openat2", &[dir, &text(&c), &How(&how), &size], &result);
        if !matches!(&result, Err(error) if error.kind() == io::ErrorKind::WouldBlock) {
            return owned(result);
        }
    }
    Err(io::ErrorKind::WouldBlock.into())
}

/// How often openat2(2) is asked again.
const PATIENCE: u32 = 100;

/// What openat2(2) is to do.
struct How<'a>(&'a libc::open_how);

impl fmt::Display for How<'_> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let flags = Flags(self.0.flags, OPEN);
        write!(f, "{{flags={flags}, resolve={}}}", Flags(self.0.resolve, RESOLVE))
    }
}

/// Calls that take one path and an integer, all alike: name, argument, and how it is shown.
macro_rules! path_calls {
    ($($(#[$doc:meta])* $name:ident($($argument:ident: $type:ty => $shown:expr),*);)*) => {$(
        $(#[$doc])*
        #[track_caller]
        pub fn $name(path: impl AsRef<Path>, $($argument: $type),*) -> io::Result<()> {
            // Compiled once for all kinds of paths.
            #[track_caller]
            fn plain(path: &Path, $($argument: $type),*) -> io::Result<()> {
                let c = cstr(path)?;
                // SAFETY: the C string outlives the call.
                let result = check(unsafe { libc::$name(c.as_ptr(), $($argument),*) });
                tell(stringify!($name), &[&text(&c), $(&$shown),*], &result);
                result.map(drop)
            }
            plain(path.as_ref(), $($argument),*)
        }
    )*};
}

path_calls! {
    mkdir(mode: u32 => Mode(mode));
    rmdir();
    unlink();
    chmod(mode: u32 => Mode(mode));
    chdir();
    umount2(flags: c_int => Flags(flags as u64, UMOUNT));
    /// access(2): whether the caller may do that, one of `X_OK`, ...
    access(mode: c_int => Flags(mode as u64, ACCESS));
}

/// mknod(2): an empty regular file, or with `S_IFCHR` and device 0 a whiteout of overlayfs.
#[track_caller]
pub fn mknod(path: impl AsRef<Path>, mode: u32, device: libc::dev_t) -> io::Result<()> {
    #[track_caller]
    fn plain(path: &Path, mode: u32, device: libc::dev_t) -> io::Result<()> {
        let c = cstr(path)?;
        // SAFETY: the C string outlives the call.
        let result = check(unsafe { libc::syscall(libc::SYS_mknodat, libc::AT_FDCWD, c.as_ptr(), mode, device) });
        let arguments: [&dyn fmt::Display; 4] = [&At(libc::AT_FDCWD), &text(&c), &FileMode(mode), &Device(device)];
        let is_device = mode & libc::S_IFMT == libc::S_IFCHR;
        tell("mknodat", &arguments[..if is_device { 4 } else { 3 }], &result);
        result.map(drop)
    }
    plain(path.as_ref(), mode, device)
}

/// lchown(2): the link itself, never what it points to.
#[track_caller]
pub fn lchown(path: impl AsRef<Path>, uid: u32, gid: u32) -> io::Result<()> {
    #[track_caller]
    fn plain(path: &Path, uid: u32, gid: u32) -> io::Result<()> {
        let c = cstr(path)?;
        // SAFETY: the C string outlives the call.
        let result = check(unsafe { libc::lchown(c.as_ptr(), uid, gid) });
        tell("lchown", &[&text(&c), &Id(uid), &Id(gid)], &result);
        result.map(drop)
    }
    plain(path.as_ref(), uid, gid)
}

#[track_caller]
pub fn mkdirat(dir: &Fd, path: impl AsRef<Path>, mode: u32) -> io::Result<()> {
    #[track_caller]
    fn plain(dir: &Fd, path: &Path, mode: u32) -> io::Result<()> {
        let c = cstr(path)?;
        // SAFETY: the C string outlives the call.
        let result = check(unsafe { libc::mkdirat(dir.0, c.as_ptr(), mode) });
        tell("mkdirat", &[dir, &text(&c), &Mode(mode)], &result);
        result.map(drop)
    }
    plain(dir, path.as_ref(), mode)
}

/// unlinkat(2); `flags` 0 or `AT_REMOVEDIR`.
#[track_caller]
pub fn unlinkat(dir: &Fd, path: impl AsRef<Path>, flags: c_int) -> io::Result<()> {
    #[track_caller]
    fn plain(dir: &Fd, path: &Path, flags: c_int) -> io::Result<()> {
        let c = cstr(path)?;
        // SAFETY: the C string outlives the call.
        let result = check(unsafe { libc::unlinkat(dir.0, c.as_ptr(), flags) });
        tell("unlinkat", &[dir, &text(&c), &Flags(flags as u64, AT)], &result);
        result.map(drop)
    }
    plain(dir, path.as_ref(), flags)
}

#[track_caller]
pub fn symlink(target: impl AsRef<Path>, path: impl AsRef<Path>) -> io::Result<()> {
    #[track_caller]
    fn plain(target: &Path, path: &Path) -> io::Result<()> {
        let (from, to) = (cstr(target)?, cstr(path)?);
        // SAFETY: both C strings outlive the call.
        let result = check(unsafe { libc::symlink(from.as_ptr(), to.as_ptr()) });
        tell("symlink", &[&text(&from), &text(&to)], &result);
        result.map(drop)
    }
    plain(target.as_ref(), path.as_ref())
}

#[track_caller]
pub fn rename(from: impl AsRef<Path>, to: impl AsRef<Path>) -> io::Result<()> {
    #[track_caller]
    fn plain(from: &Path, to: &Path) -> io::Result<()> {
        let (f, t) = (cstr(from)?, cstr(to)?);
        // SAFETY: both C strings outlive the call.
        let result = check(unsafe { libc::rename(f.as_ptr(), t.as_ptr()) });
        tell("rename", &[&text(&f), &text(&t)], &result);
        result.map(drop)
    }
    plain(from.as_ref(), to.as_ref())
}

#[track_caller]
pub fn renameat(from_dir: &Fd, from: impl AsRef<Path>, to_dir: &Fd, to: impl AsRef<Path>) -> io::Result<()> {
    #[track_caller]
    fn plain(from_dir: &Fd, from: &Path, to_dir: &Fd, to: &Path) -> io::Result<()> {
        let (f, t) = (cstr(from)?, cstr(to)?);
        // SAFETY: both C strings outlive the call.
        let result = check(unsafe { libc::renameat(from_dir.0, f.as_ptr(), to_dir.0, t.as_ptr()) });
        tell("renameat", &[from_dir, &text(&f), to_dir, &text(&t)], &result);
        result.map(drop)
    }
    plain(from_dir, from.as_ref(), to_dir, to.as_ref())
}

#[track_caller]
pub fn readlink(path: impl AsRef<Path>) -> io::Result<PathBuf> {
    #[track_caller]
    fn plain(path: &Path) -> io::Result<PathBuf> {
        let c = cstr(path)?;
        let mut buffer = vec![0u8; libc::PATH_MAX as usize];
        // SAFETY: the buffer is as long as the length passed.
        let result = check(unsafe { libc::readlink(c.as_ptr(), buffer.as_mut_ptr().cast(), buffer.len()) } as c_long);
        let length = *result.as_ref().unwrap_or(&0) as usize;
        let shown = Struct(result.is_ok(), &buffer[0], Text(&buffer[..length]));
        tell("readlink", &[&text(&c), &shown, &buffer.len()], &result);
        result?;
        buffer.truncate(length);
        Ok(PathBuf::from(OsString::from_vec(buffer)))
    }
    plain(path.as_ref())
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
#[track_caller]
pub fn lstat(path: impl AsRef<Path>) -> io::Result<Stat> {
    #[track_caller]
    fn plain(path: &Path) -> io::Result<Stat> {
        newfstatat(libc::AT_FDCWD, &cstr(path)?, libc::AT_SYMLINK_NOFOLLOW)
    }
    plain(path.as_ref())
}

/// stat(2): of what a symbolic link leads to.
#[track_caller]
pub fn stat(path: impl AsRef<Path>) -> io::Result<Stat> {
    #[track_caller]
    fn plain(path: &Path) -> io::Result<Stat> {
        newfstatat(libc::AT_FDCWD, &cstr(path)?, 0)
    }
    plain(path.as_ref())
}

/// fstat(2): of an open file.
#[track_caller]
pub fn fstat(fd: &Fd) -> io::Result<Stat> {
    newfstatat(fd.0, c"", libc::AT_EMPTY_PATH)
}

/// lstat(2) of an entry of a directory.
#[track_caller]
pub fn fstatat(dir: &Fd, name: &OsStr) -> io::Result<Stat> {
    newfstatat(dir.0, &cstr(name)?, libc::AT_SYMLINK_NOFOLLOW)
}

/// The one call of the kernel's behind stat(2), lstat(2) and fstat(2).
#[track_caller]
fn newfstatat(at: c_int, path: &std::ffi::CStr, flags: c_int) -> io::Result<Stat> {
    // SAFETY: an all-zero stat is valid, it holds numbers only.
    let mut stat: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are to live values of the right type.
    let result = check(unsafe { libc::syscall(libc::SYS_newfstatat, at, path.as_ptr(), &mut stat, flags) });
    let shown = Struct(result.is_ok(), &stat, FileStatus(&stat));
    tell("newfstatat", &[&At(at), &Text(path.to_bytes()), &shown, &Flags(flags as u64, AT)], &result);
    result.map(|_| Stat(stat))
}

/// statfs(2): the magic number of the file system at `path`, such as `libc::TMPFS_MAGIC`.
#[track_caller]
pub fn statfs(path: impl AsRef<Path>) -> io::Result<i64> {
    #[track_caller]
    fn plain(path: &Path) -> io::Result<i64> {
        full_statfs(path).map(|fs| fs.f_type as _)
    }
    plain(path.as_ref())
}

/// fstatfs(2): the magic number of the file system that an open file is on.
#[track_caller]
pub fn fstatfs(file: &Fd) -> io::Result<i64> {
    // SAFETY: an all-zero statfs is valid, it holds numbers only.
    let mut fs: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to a live statfs.
    let result = check(unsafe { libc::fstatfs(file.0, &mut fs) });
    let shown = format_args!("{{f_type={}, ...}}", OneOf(fs.f_type as u64, FILE_SYSTEM));
    tell("fstatfs", &[file, &Struct(result.is_ok(), &fs, shown)], &result);
    result.map(|_| fs.f_type as _)
}

#[track_caller]
fn full_statfs(path: &Path) -> io::Result<libc::statfs> {
    let c = cstr(path)?;
    // SAFETY: an all-zero statfs is valid, it holds numbers only.
    let mut fs: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are to live values of the right type.
    let result = check(unsafe { libc::statfs(c.as_ptr(), &mut fs) });
    let shown = format_args!("{{f_type={}, ...}}", OneOf(fs.f_type as u64, FILE_SYSTEM));
    tell("statfs", &[&text(&c), &Struct(result.is_ok(), &fs, shown)], &result);
    result.map(|_| fs)
}

#[track_caller]
pub fn setxattr(path: impl AsRef<Path>, name: &str, value: &[u8]) -> io::Result<()> {
    #[track_caller]
    fn plain(path: &Path, name: &str, value: &[u8]) -> io::Result<()> {
        let (c, n) = (cstr(path)?, cstr(name)?);
        // SAFETY: the strings and the value, whose length is passed along, outlive the call.
        let result = check(unsafe { libc::lsetxattr(c.as_ptr(), n.as_ptr(), value.as_ptr().cast(), value.len(), 0) });
        tell("lsetxattr", &[&text(&c), &text(&n), &Bytes(value), &value.len(), &0], &result);
        result.map(drop)
    }
    plain(path.as_ref(), name, value)
}

/// lgetxattr(2) for a value of at most 64 bytes.
#[track_caller]
pub fn getxattr(path: impl AsRef<Path>, name: &str) -> io::Result<Vec<u8>> {
    #[track_caller]
    fn plain(path: &Path, name: &str) -> io::Result<Vec<u8>> {
        let (c, n) = (cstr(path)?, cstr(name)?);
        let mut value = vec![0u8; 64];
        // SAFETY: the strings and the buffer, whose length is passed along, outlive the call.
        let result = unsafe { libc::lgetxattr(c.as_ptr(), n.as_ptr(), value.as_mut_ptr().cast(), value.len()) };
        let result = check(result as c_long);
        tell("lgetxattr", &[&text(&c), &text(&n), &Filled(&result, &value), &value.len()], &result);
        value.truncate(result? as usize);
        Ok(value)
    }
    plain(path.as_ref(), name)
}

/// utimensat(2): gives a file the times that `stat` holds.
#[track_caller]
pub fn set_times(path: impl AsRef<Path>, stat: &Stat) -> io::Result<()> {
    #[track_caller]
    fn plain(path: &Path, stat: &Stat) -> io::Result<()> {
        let c = cstr(path)?;
        let times = [
            libc::timespec { tv_sec: stat.0.st_atime, tv_nsec: stat.0.st_atime_nsec },
            libc::timespec { tv_sec: stat.0.st_mtime, tv_nsec: stat.0.st_mtime_nsec },
        ];
        // SAFETY: the string and the two times outlive the call.
        let result =
            check(unsafe { libc::utimensat(libc::AT_FDCWD, c.as_ptr(), times.as_ptr(), libc::AT_SYMLINK_NOFOLLOW) });
        tell("utimensat", &[&At(libc::AT_FDCWD), &text(&c), &"[...]", &"AT_SYMLINK_NOFOLLOW"], &result);
        result.map(drop)
    }
    plain(path.as_ref(), stat)
}

/// read(2), begun again when a signal cut it short.
#[track_caller]
pub fn read(fd: c_int, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        // SAFETY: pointer and length are those of a live, writable slice.
        let result = check(unsafe { libc::read(fd, buffer.as_mut_ptr().cast(), buffer.len()) } as c_long);
        why_else("what it says");
        tell("read", &[&fd, &UnlessSecret(secret(), &Filled(&result, buffer)), &buffer.len()], &result);
        if !is_interrupted(&result) {
            return result.map(|n| n as usize);
        }
    }
}

/// write(2), once; it may write less than asked.
#[track_caller]
pub fn write(fd: c_int, bytes: &[u8]) -> io::Result<usize> {
    loop {
        // SAFETY: pointer and length are those of a live slice.
        let result = check(unsafe { libc::write(fd, bytes.as_ptr().cast(), bytes.len()) } as c_long);
        why_else("what it is to say");
        tell("write", &[&fd, &UnlessSecret(secret(), &Bytes(bytes)), &bytes.len()], &result);
        if !is_interrupted(&result) {
            return result.map(|n| n as usize);
        }
    }
}

/// EINTR: a signal came while the call waited, and nothing has been done yet.
fn is_interrupted(result: &io::Result<c_long>) -> bool {
    matches!(result, Err(error) if error.kind() == io::ErrorKind::Interrupted)
}

#[track_caller]
pub fn write_all(fd: c_int, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let written = write(fd, bytes)?;
        bytes = &bytes[written..];
    }
    Ok(())
}

/// flock(2): `LOCK_EX`, `LOCK_SH`, with `LOCK_NB` an error `WouldBlock` instead of waiting.
#[track_caller]
pub fn flock(fd: &Fd, operation: c_int) -> io::Result<()> {
    // SAFETY: integers only.
    let result = check(unsafe { libc::flock(fd.0, operation) });
    tell("flock", &[fd, &Flags(operation as u64, LOCK)], &result);
    result.map(drop)
}

#[track_caller]
pub fn ftruncate(fd: &Fd, length: u64) -> io::Result<()> {
    // SAFETY: integers only.
    let result = check(unsafe { libc::ftruncate(fd.0, length as libc::off_t) });
    tell("ftruncate", &[fd, &length], &result);
    result.map(drop)
}

#[track_caller]
pub fn dup2(from: c_int, to: c_int) -> io::Result<()> {
    // SAFETY: integers only.
    let result = check(unsafe { libc::dup2(from, to) });
    tell("dup2", &[&from, &to], &result);
    result.map(drop)
}

/// The same, and the copy is closed when another program is executed: dup3(2).
#[track_caller]
pub fn dup2_cloexec(from: c_int, to: c_int) -> io::Result<()> {
    // SAFETY: integers only.
    let result = check(unsafe { libc::dup3(from, to, libc::O_CLOEXEC) });
    tell("dup3", &[&from, &to, &"O_CLOEXEC"], &result);
    result.map(drop)
}

/// close_range(2) from `first` on: nothing but what is below stays open. What owns one of these must not be used again.
#[track_caller]
pub fn close_range(first: c_int) -> io::Result<()> {
    // SAFETY: integers only.
    let result = check(unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, 0) });
    tell("close_range", &[&first, &u32::MAX, &0], &result);
    result.map(drop)
}

/// What a standard stream is; one that the caller left closed becomes /dev/null first.
#[track_caller]
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
#[track_caller]
pub fn poll(fds: &mut [libc::pollfd], timeout: c_int) -> io::Result<usize> {
    loop {
        // SAFETY: pointer and length are those of a live, writable slice.
        let result = check(unsafe { libc::poll(fds.as_mut_ptr(), fds.len() as libc::nfds_t, timeout) });
        if verbose() {
            let shown: Vec<PollFd> = fds.iter().map(PollFd).collect();
            tell_outcome("poll", &[&List(&shown), &fds.len(), &timeout], &Polled(&result, fds));
        }
        if !is_interrupted(&result) {
            return result.map(|n| n as usize);
        }
    }
}

/// Whether a write to `fd` would not have to wait, or would fail at once: poll(2) for POLLOUT.
pub fn is_writable(fd: c_int) -> bool {
    let mut fds = [libc::pollfd { fd, events: libc::POLLOUT, revents: 0 }];
    why_else("if possible: would it take something without waiting?");
    poll(&mut fds, 0).is_ok_and(|ready| ready > 0)
}

/// pipe2(2): (read end, write end).
#[track_caller]
pub fn pipe2() -> io::Result<(Fd, Fd)> {
    let mut fds = [0; 2];
    // SAFETY: the pointer is to two live ints.
    let result = check(unsafe { libc::pipe2(fds.as_mut_ptr(), libc::O_CLOEXEC) });
    tell("pipe2", &[&Struct(result.is_ok(), &fds, List(&fds)), &"O_CLOEXEC"], &result);
    result.map(|_| (Fd(fds[0]), Fd(fds[1])))
}

/// A pair of connected sockets that keep the borders of messages, unix(7).
#[track_caller]
pub fn socketpair() -> io::Result<(Fd, Fd)> {
    let mut fds = [0; 2];
    let kind = libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC;
    // SAFETY: the pointer is to two live ints.
    let result = check(unsafe { libc::socketpair(libc::AF_UNIX, kind, 0, fds.as_mut_ptr()) });
    tell("socketpair", &[&"AF_UNIX", &SocketKind(kind), &0, &Struct(result.is_ok(), &fds, List(&fds))], &result);
    result.map(|_| (Fd(fds[0]), Fd(fds[1])))
}

/// fcntl(F_SETPIPE_SZ): a larger pipe means fewer turns between the programs at its ends.
#[track_caller]
pub fn set_pipe_size(fd: &Fd, bytes: c_int) -> io::Result<()> {
    // SAFETY: integers only.
    let result = check(unsafe { libc::fcntl(fd.0, libc::F_SETPIPE_SZ, bytes) });
    tell("fcntl", &[fd, &"F_SETPIPE_SZ", &bytes], &result);
    result.map(drop)
}

/// fcntl(F_SETFL, O_NONBLOCK): a read or write that would wait is `WouldBlock` instead. The flag
/// belongs to the open file, so only a file that is ours alone may have it.
#[track_caller]
pub fn set_nonblocking(fd: &Fd) -> io::Result<()> {
    // SAFETY: integers only.
    let result = check(unsafe { libc::fcntl(fd.0, libc::F_SETFL, libc::O_NONBLOCK) });
    tell("fcntl", &[fd, &"F_SETFL", &Flags(libc::O_NONBLOCK as u64, OPEN)], &result);
    result.map(drop)
}

/// A descriptor that the program was started with, such as standard input.
pub fn inherited(number: c_int) -> Fd {
    Fd(number)
}

/// Clears the close-on-exec flag: the next program shall have this descriptor.
#[track_caller]
pub fn keep_on_exec(fd: &Fd) -> io::Result<()> {
    // SAFETY: integers only.
    let result = check(unsafe { libc::fcntl(fd.0, libc::F_SETFD, 0) });
    tell("fcntl", &[fd, &"F_SETFD", &0], &result);
    result.map(drop)
}

/// tee(2): copies up to `length` bytes from pipe to pipe without consuming them. 0 at the end.
#[track_caller]
pub fn tee(from: &Fd, to: &Fd, length: usize) -> io::Result<usize> {
    // SAFETY: integers only.
    let result = check(unsafe { libc::tee(from.0, to.0, length, 0) } as c_long);
    tell("tee", &[from, to, &length, &0], &result);
    result.map(|n| n as usize)
}

/// splice(2): moves up to `length` bytes from a pipe to a pipe, inside the kernel. 0 at the end.
#[track_caller]
pub fn splice(from: &Fd, to: &Fd, length: usize) -> io::Result<usize> {
    let none = std::ptr::null_mut();
    // SAFETY: no offsets are passed, the rest are integers.
    let result = check(unsafe { libc::splice(from.0, none, to.0, none, length, 0) } as c_long);
    tell("splice", &[from, &"NULL", to, &"NULL", &length, &0], &result);
    result.map(|n| n as usize)
}

/// memfd_create(2): an anonymous file in memory.
#[track_caller]
pub fn memfd_create(name: &str) -> io::Result<Fd> {
    memfd(name, libc::MFD_CLOEXEC, "MFD_CLOEXEC")
}

/// The same, to be sealed and executed. MFD_EXEC (Linux 6.3) says so; older kernels refuse the unknown flag.
#[track_caller]
pub fn memfd_create_executable(name: &str) -> io::Result<Fd> {
    let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
    match memfd(name, flags | libc::MFD_EXEC, "MFD_CLOEXEC|MFD_ALLOW_SEALING|MFD_EXEC") {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
            why("as kernels before 6.3 know it");
            memfd(name, flags, "MFD_CLOEXEC|MFD_ALLOW_SEALING")
        }
        made => made,
    }
}

#[track_caller]
fn memfd(name: &str, flags: libc::c_uint, shown: &str) -> io::Result<Fd> {
    let c = cstr(name)?;
    // SAFETY: the C string outlives the call.
    let result = check(unsafe { libc::memfd_create(c.as_ptr(), flags) });
    tell("memfd_create", &[&text(&c), &shown], &result);
    owned(result)
}

/// fcntl(F_ADD_SEALS): from here on nobody, root included, can write, grow or shrink the memfd.
#[track_caller]
pub fn seal(fd: &Fd) -> io::Result<()> {
    let seals = libc::F_SEAL_SEAL | libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_WRITE;
    // SAFETY: integers only.
    let result = check(unsafe { libc::fcntl(fd.0, libc::F_ADD_SEALS, seals) });
    tell("fcntl", &[fd, &"F_ADD_SEALS", &"F_SEAL_SEAL|F_SEAL_SHRINK|F_SEAL_GROW|F_SEAL_WRITE"], &result);
    result.map(drop)
}

// ---- mounts ----

/// An empty string stands for none.
struct TextOrNull<'a>(&'a CString);

impl fmt::Display for TextOrNull<'_> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        if self.0.is_empty() {
            f.write_str("NULL")
        } else {
            text(self.0).fmt(f)
        }
    }
}

/// mount(2). An empty `source`, `fstype` or `data` is passed as NULL.
#[track_caller]
pub fn mount(
    source: impl AsRef<Path>,
    target: impl AsRef<Path>,
    fstype: &str,
    flags: c_ulong,
    data: impl AsRef<OsStr>,
) -> io::Result<()> {
    mount_plain(source.as_ref(), target.as_ref(), fstype, flags, data.as_ref())
}

/// The same, compiled once for all kinds of arguments.
#[track_caller]
fn mount_plain(source: &Path, target: &Path, fstype: &str, flags: c_ulong, data: &OsStr) -> io::Result<()> {
    let (s, t, f, d) = (cstr(source)?, cstr(target)?, cstr(fstype)?, cstr(data)?);
    let or_null = |c: &CString| if c.is_empty() { std::ptr::null() } else { c.as_ptr() };
    // SAFETY: every pointer is NULL or a C string that outlives the call.
    let result = check(unsafe { libc::mount(or_null(&s), t.as_ptr(), or_null(&f), flags, or_null(&d).cast()) });
    let flags = Flags(flags, MOUNT);
    tell("mount", &[&TextOrNull(&s), &text(&t), &TextOrNull(&f), &flags, &TextOrNull(&d)], &result);
    result.map(drop)
}

/// chroot(2): `path` becomes what `/` means to this process and those that it makes.
#[track_caller]
pub fn chroot(path: &str) -> io::Result<()> {
    let c = cstr(path)?;
    // SAFETY: the C string outlives the call.
    let result = check(unsafe { libc::chroot(c.as_ptr()) });
    tell("chroot", &[&text(&c)], &result);
    result.map(drop)
}

/// pivot_root(2): `new` becomes `/`, the old root is stacked at `old`.
#[track_caller]
pub fn pivot_root(new: &str, old: &str) -> io::Result<()> {
    let (n, o) = (cstr(new)?, cstr(old)?);
    // SAFETY: both C strings outlive the call.
    let result = check(unsafe { libc::syscall(libc::SYS_pivot_root, n.as_ptr(), o.as_ptr()) });
    tell("pivot_root", &[&text(&n), &text(&o)], &result);
    result.map(drop)
}

/// mount_setattr(2) (Linux 5.12): the mount at `/` becomes read-only; what else it is stays.
#[track_caller]
pub fn mount_root_read_only() -> io::Result<()> {
    mount_setattr_read_only(libc::AT_FDCWD, Path::new("/"), 0)
}

/// mount_setattr(2) (Linux 5.12): a mount and all below it become read-only; what else they are stays.
#[track_caller]
pub fn mount_read_only(path: impl AsRef<Path>) -> io::Result<()> {
    #[track_caller]
    fn plain(path: &Path) -> io::Result<()> {
        mount_setattr_read_only(libc::AT_FDCWD, path, libc::AT_RECURSIVE)
    }
    plain(path.as_ref())
}

/// mount_setattr(2): this one mount can be written again.
#[track_caller]
pub fn mount_writable(path: &Path) -> io::Result<()> {
    mount_setattr(libc::AT_FDCWD, path, 0, false)
}

#[track_caller]
fn mount_setattr_read_only(at: c_int, path: &Path, flags: c_int) -> io::Result<()> {
    mount_setattr(at, path, flags, true)
}

#[track_caller]
fn mount_setattr(at: c_int, path: &Path, flags: c_int, read_only: bool) -> io::Result<()> {
    let c = cstr(path)?;
    // SAFETY: an all-zero mount_attr is valid, it holds numbers only.
    let mut attributes: libc::mount_attr = unsafe { std::mem::zeroed() };
    if read_only {
        attributes.attr_set = libc::MOUNT_ATTR_RDONLY;
    } else {
        attributes.attr_clr = libc::MOUNT_ATTR_RDONLY;
    }
    let size = std::mem::size_of::<libc::mount_attr>();
    // SAFETY: the path and the struct, whose size is passed along, outlive the call.
    let result = check(unsafe { libc::syscall(libc::SYS_mount_setattr, at, c.as_ptr(), flags, &attributes, size) });
    let set =
        if read_only { "{attr_set=MOUNT_ATTR_RDONLY, ...}" } else { "{attr_set=0, attr_clr=MOUNT_ATTR_RDONLY, ...}" };
    tell("mount_setattr", &[&At(at), &text(&c), &Flags(flags as u64, AT), &set, &size], &result);
    result.map(drop)
}

/// fsopen(2) (Linux 5.2): the beginning of a new instance of a file system, to be configured step by step.
#[track_caller]
pub fn fsopen(kind: &str) -> io::Result<Fd> {
    const FSOPEN_CLOEXEC: c_int = 1;
    let c = cstr(kind)?;
    // SAFETY: the C string outlives the call.
    let result = check(unsafe { libc::syscall(libc::SYS_fsopen, c.as_ptr(), FSOPEN_CLOEXEC) });
    tell("fsopen", &[&text(&c), &"FSOPEN_CLOEXEC"], &result);
    owned(result)
}

/// fsconfig(2): one option of it.
#[track_caller]
pub fn fsconfig_set(fs: &Fd, key: &str, value: &str) -> io::Result<()> {
    const FSCONFIG_SET_STRING: c_int = 1;
    let (k, v) = (cstr(key)?, cstr(value)?);
    let (key, value) = (k.as_ptr(), v.as_ptr());
    // SAFETY: both C strings outlive the call.
    let result = check(unsafe { libc::syscall(libc::SYS_fsconfig, fs.0, FSCONFIG_SET_STRING, key, value, 0) });
    tell("fsconfig", &[fs, &"FSCONFIG_SET_STRING", &text(&k), &text(&v), &0], &result);
    result.map(drop)
}

/// fsconfig(2): with these options it is made.
#[track_caller]
pub fn fsconfig_create(fs: &Fd) -> io::Result<()> {
    const FSCONFIG_CMD_CREATE: c_int = 6;
    let none = std::ptr::null::<u8>();
    // SAFETY: NULL is what this command wants.
    let result = check(unsafe { libc::syscall(libc::SYS_fsconfig, fs.0, FSCONFIG_CMD_CREATE, none, none, 0) });
    tell("fsconfig", &[fs, &"FSCONFIG_CMD_CREATE", &"NULL", &"NULL", &0], &result);
    result.map(drop)
}

/// fsmount(2) without devices: a mount of it, attached nowhere.
#[track_caller]
pub fn fsmount(fs: &Fd) -> io::Result<Fd> {
    const FSMOUNT_CLOEXEC: c_int = 1;
    let attributes = libc::MOUNT_ATTR_NODEV as c_int;
    // SAFETY: integers only.
    let result = check(unsafe { libc::syscall(libc::SYS_fsmount, fs.0, FSMOUNT_CLOEXEC, attributes) });
    tell("fsmount", &[fs, &"FSMOUNT_CLOEXEC", &"MOUNT_ATTR_NODEV"], &result);
    owned(result)
}

/// move_mount(2): attaches it.
#[track_caller]
pub fn move_mount(mount: &Fd, path: impl AsRef<Path>) -> io::Result<()> {
    #[track_caller]
    fn plain(mount: &Fd, path: &Path) -> io::Result<()> {
        const MOVE_MOUNT_F_EMPTY_PATH: c_int = 4;
        let c = cstr(path)?;
        let (from, at, flags) = (c"".as_ptr(), libc::AT_FDCWD, MOVE_MOUNT_F_EMPTY_PATH);
        // SAFETY: both C strings outlive the call.
        let result = check(unsafe { libc::syscall(libc::SYS_move_mount, mount.0, from, at, c.as_ptr(), flags) });
        tell("move_mount", &[mount, &Text(b""), &At(at), &text(&c), &"MOVE_MOUNT_F_EMPTY_PATH"], &result);
        result.map(drop)
    }
    plain(mount, path.as_ref())
}

// ---- processes ----

/// clone(2) with these namespaces and SIGCHLD at its end, as fork(2) otherwise: the child has a
/// copy of everything. Returns the child's pid, and `None` in the child.
/// The engine never starts a thread, so the copy is a complete and consistent program.
#[track_caller]
pub fn clone(namespaces: c_int) -> io::Result<Option<Pid>> {
    let flags = c_long::from(namespaces | libc::SIGCHLD);
    // SAFETY: without CLONE_VM the child runs on its own copy of this stack; no pointer is passed.
    let result = check(unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) });
    if matches!(result, Ok(0)) {
        crate::tell::no_reason(); // the parent tells it
    } else {
        tell("clone", &[&"child_stack=NULL", &CloneFlags(namespaces)], &result);
    }
    result.map(|pid| (pid != 0).then_some(pid as Pid))
}

#[track_caller]
pub fn unshare(namespaces: c_int) -> io::Result<()> {
    // SAFETY: integers only.
    let result = check(unsafe { libc::unshare(namespaces) });
    tell("unshare", &[&Flags(namespaces as u64, CLONE)], &result);
    result.map(drop)
}

/// setns(2) with a process (Linux 5.8): into these namespaces of its.
#[track_caller]
pub fn setns(process: &Fd, namespaces: c_int) -> io::Result<()> {
    // SAFETY: integers only.
    let result = check(unsafe { libc::setns(process.0, namespaces) });
    tell("setns", &[process, &Flags(namespaces as u64, CLONE)], &result);
    result.map(drop)
}

/// execve(2). Returns only when it failed.
#[track_caller]
pub fn execve(path: impl AsRef<Path>, argv: &[CString], env: &[CString]) -> io::Error {
    #[track_caller]
    fn plain(path: &Path, argv: &[CString], env: &[CString]) -> io::Error {
        let c = match cstr(path) {
            Ok(c) => c,
            Err(error) => return error,
        };
        let (a, e) = (pointers(argv), pointers(env));
        let words: Vec<Text> = argv.iter().map(text).collect();
        tell_before("execve", &[&text(&c), &List(&words), &Variables(Some(e.as_ptr()), env.len())]);
        // SAFETY: NULL-terminated arrays of C strings that outlive the call.
        let result = check(unsafe { libc::execve(c.as_ptr(), a.as_ptr(), e.as_ptr()) });
        why_else("it has failed");
        tell_failed("execve", &result);
        result.err().unwrap_or_else(|| io::Error::from_raw_os_error(libc::EINVAL))
    }
    plain(path.as_ref(), argv, env)
}

/// execveat(2) of an open file itself (`AT_EMPTY_PATH`). Returns only when it failed. `foretell` tells the calls that
/// the next program makes, where it is one that cannot tell them.
#[track_caller]
pub fn execveat(fd: &Fd, argv: &[CString], env: &[CString], foretell: &dyn Fn()) -> io::Error {
    let (a, e) = (pointers(argv), pointers(env));
    let (empty, flags) = (c"", libc::AT_EMPTY_PATH);
    let words: Vec<Text> = argv.iter().map(text).collect();
    let variables = Variables(Some(e.as_ptr()), env.len());
    tell_before("execveat", &[fd, &Text(b""), &List(&words), &variables, &Flags(flags as u64, AT)]);
    foretell();
    // SAFETY: NULL-terminated arrays of C strings that outlive the call.
    let result =
        check(unsafe { libc::syscall(libc::SYS_execveat, fd.0, empty.as_ptr(), a.as_ptr(), e.as_ptr(), flags) });
    why_else("it has failed, and the next program is not there to make its calls");
    tell_failed("execveat", &result);
    result.err().unwrap_or_else(|| io::Error::from_raw_os_error(libc::EINVAL))
}

/// Tells fcntl(F_SETFD) of another program, before it is made.
#[track_caller]
pub fn foretell_close_on_exec(fd: c_int) {
    tell_before("fcntl", &[&fd, &"F_SETFD", &"FD_CLOEXEC"]);
}

/// Tells execve(2) of another program, before it is made.
#[track_caller]
pub fn foretell_execve(path: &CString, argv: &[CString], env: &[CString]) {
    let words: Vec<Text> = argv.iter().map(text).collect();
    tell_before("execve", &[&text(path), &List(&words), &Variables(None::<*const c_char>, env.len())]);
}

/// The instructions of the stub: the bytes between its two labels.
pub fn stub_code() -> &'static [u8] {
    extern "C" {
        static stub_begin: u8;
        static stub_end: u8;
    }
    let (begin, end) = (&raw const stub_begin, &raw const stub_end);
    // SAFETY: stub.rs puts both labels around bytes of one section that nobody writes.
    unsafe { std::slice::from_raw_parts(begin, end as usize - begin as usize) }
}

/// How a process ended, as `wait4` reports it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Status(c_int);

impl Status {
    /// As if a process had exited with this code.
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
#[track_caller]
pub fn wait4(pid: Pid, options: c_int) -> io::Result<Option<(Pid, Status)>> {
    loop {
        let mut status = 0;
        // SAFETY: the pointer is to a live int; no rusage is asked for.
        let result = check(unsafe { libc::wait4(pid, &mut status, options, std::ptr::null_mut()) });
        let shown = Struct(matches!(result, Ok(1..)), &status, WaitStatus(status));
        tell("wait4", &[&pid, &shown, &Flags(options as u64, WAIT), &"NULL"], &result);
        if !is_interrupted(&result) {
            return result.map(|child| (child > 0).then_some((child as Pid, Status(status))));
        }
    }
}

/// Waits until this child has ended.
#[track_caller]
pub fn wait(pid: Pid) -> io::Result<Status> {
    loop {
        if let Some((_, status)) = wait4(pid, 0)? {
            return Ok(status);
        }
    }
}

/// Calls that take integers alone, all alike, and how each is shown. `Ok` holds the value returned.
macro_rules! integer_calls {
    ($($(#[$doc:meta])* $name:ident($($argument:ident: $type:ty => $shown:expr),*);)*) => {$(
        $(#[$doc])*
        #[track_caller]
        pub fn $name($($argument: $type),*) -> io::Result<c_long> {
            // SAFETY: integers only.
            let result = check(unsafe { libc::$name($($argument),*) });
            tell(stringify!($name), &[$(&$shown),*], &result);
            result
        }
    )*};
}

integer_calls! {
    kill(pid: Pid => pid, signal: c_int => Signal(signal));
    setsid();
    setresuid(real: u32 => Id(real), effective: u32 => Id(effective), saved: u32 => Id(saved));
    setresgid(real: u32 => Id(real), effective: u32 => Id(effective), saved: u32 => Id(saved));
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

#[track_caller]
pub fn getpid() -> Pid {
    // SAFETY: cannot fail.
    let pid = unsafe { libc::getpid() };
    tell("getpid", &[], &Ok(pid.into()));
    pid
}

#[track_caller]
pub fn getppid() -> Pid {
    // SAFETY: cannot fail.
    let pid = unsafe { libc::getppid() };
    tell("getppid", &[], &Ok(pid.into()));
    pid
}

/// umask(2): the permission bits that new files of this process and its children do not get.
#[track_caller]
pub fn umask(mask: u32) {
    // SAFETY: cannot fail.
    let previous = unsafe { libc::umask(mask) };
    tell_outcome("umask", &[&Mode(mask)], &Mode(previous));
}

/// prlimit(RLIMIT_NOFILE): as many open files as this process may have.
#[track_caller]
pub fn raise_open_files() -> io::Result<()> {
    let limit = get_limit(0, libc::RLIMIT_NOFILE as c_int)?;
    set_limit(0, libc::RLIMIT_NOFILE as c_int, libc::rlimit { rlim_cur: limit.rlim_max, ..limit })
}

/// prlimit(2): this child's use of a resource goes to `bytes` and no further.
#[track_caller]
pub fn lower_limit(pid: Pid, resource: u32, bytes: u64) -> io::Result<()> {
    let limit = get_limit(pid, resource as c_int)?;
    set_limit(pid, resource as c_int, libc::rlimit { rlim_cur: limit.rlim_max.min(bytes), ..limit })
}

#[track_caller]
fn get_limit(pid: Pid, resource: c_int) -> io::Result<libc::rlimit> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointers are NULL or to a live rlimit.
    let result = check(unsafe { libc::prlimit(pid, resource as _, std::ptr::null(), &mut limit) });
    why_else("how far can the limit be raised?");
    tell("prlimit64", &[&pid, &OneOf(resource as u64, LIMIT), &"NULL", &Limit(&limit)], &result);
    result.map(|_| limit)
}

#[track_caller]
fn set_limit(pid: Pid, resource: c_int, limit: libc::rlimit) -> io::Result<()> {
    // SAFETY: the pointers are to a live rlimit or NULL.
    let result = check(unsafe { libc::prlimit(pid, resource as _, &limit, std::ptr::null_mut()) });
    why_else("the limit from here on");
    tell("prlimit64", &[&pid, &OneOf(resource as u64, LIMIT), &Limit(&limit), &"NULL"], &result);
    result.map(drop)
}

/// prlimit(2) of this process: the soft and the hard limit of this resource, a number of [`LIMIT`].
#[track_caller]
pub fn getrlimit(resource: usize) -> io::Result<(u64, u64)> {
    get_limit(0, resource as c_int).map(|limit| (limit.rlim_cur, limit.rlim_max))
}

#[track_caller]
pub fn setrlimit(resource: usize, soft: u64, hard: u64) -> io::Result<()> {
    set_limit(0, resource as c_int, libc::rlimit { rlim_cur: soft, rlim_max: hard })
}

/// pidfd_open(2): a process that stays the same one, whatever becomes of its number.
#[track_caller]
pub fn pidfd_open(pid: Pid) -> io::Result<Fd> {
    // SAFETY: integers only.
    let result = check(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) });
    tell("pidfd_open", &[&pid, &0], &result);
    owned(result)
}

#[track_caller]
pub fn pidfd_send_signal(process: &Fd, signal: c_int) -> io::Result<()> {
    // SAFETY: no siginfo is passed, the rest are integers.
    let result = check(unsafe { libc::syscall(libc::SYS_pidfd_send_signal, process.0, signal, 0, 0) });
    tell("pidfd_send_signal", &[process, &Signal(signal), &"NULL", &0], &result);
    result.map(drop)
}

#[track_caller]
pub fn setgroups(groups: &[u32]) -> io::Result<()> {
    // SAFETY: pointer and length are those of a live slice.
    let result = check(unsafe { libc::setgroups(groups.len(), groups.as_ptr()) });
    tell("setgroups", &[&groups.len(), &List(groups)], &result);
    result.map(drop)
}

/// prctl(PR_SET_NO_NEW_PRIVS): nothing that this process might execute has more power than it has itself.
#[track_caller]
pub fn no_new_privs() -> io::Result<()> {
    // SAFETY: integers only.
    let result = check(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) });
    tell("prctl", &[&"PR_SET_NO_NEW_PRIVS", &1, &0, &0, &0], &result);
    result.map(drop)
}

/// seccomp(SECCOMP_SET_MODE_FILTER): each further call of this process and its children is put to this program.
#[track_caller]
pub fn seccomp(program: &[libc::sock_filter]) -> io::Result<()> {
    let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_ptr().cast_mut() };
    // SAFETY: the kernel only reads the program, which has the length given, and both outlive the call.
    let result = check(unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &filter) });
    let shown = format_args!("{{len={}, filter={:p}}}", filter.len, filter.filter);
    tell("seccomp", &[&"SECCOMP_SET_MODE_FILTER", &0, &shown], &result);
    result.map(drop)
}

/// prctl(PR_SET_PDEATHSIG): this signal when the parent dies. A change of uid clears it.
#[track_caller]
pub fn set_parent_death_signal(signal: c_int) -> io::Result<()> {
    // SAFETY: integers only.
    let result = check(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, signal as c_ulong) });
    tell("prctl", &[&"PR_SET_PDEATHSIG", &Signal(signal)], &result);
    result.map(drop)
}

/// prctl(PR_CAPBSET_DROP): one capability leaves the bounding set for ever.
#[track_caller]
pub fn drop_bounding(capability: u32) -> io::Result<()> {
    // SAFETY: integers only.
    let result = check(unsafe { libc::prctl(libc::PR_CAPBSET_DROP, c_ulong::from(capability)) });
    tell("prctl", &[&"PR_CAPBSET_DROP", &Capability(capability)], &result);
    result.map(drop)
}

/// capset(2), version 3: bit n of each word is capability n of capabilities(7).
#[track_caller]
pub fn capset(effective: u64, permitted: u64, inheritable: u64) -> io::Result<()> {
    // linux/capability.h: a header, and two halves of 32 capabilities each.
    const VERSION_3: u32 = 0x2008_0522;
    let header: [u32; 2] = [VERSION_3, 0];
    let half = |shift: u32| [effective, permitted, inheritable].map(|set| (set >> shift) as u32);
    let data: [[u32; 3]; 2] = [half(0), half(32)];
    // SAFETY: the arrays have the layout of the kernel's structs and outlive the call.
    let result = check(unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), data.as_ptr()) });
    let (effective, permitted) = (Capabilities(effective), Capabilities(permitted));
    let sets =
        format_args!("{{effective={effective}, permitted={permitted}, inheritable={}}}", Capabilities(inheritable));
    tell("capset", &[&"{version=_LINUX_CAPABILITY_VERSION_3, pid=0}", &sets], &result);
    result.map(drop)
}

/// keyctl(KEYCTL_JOIN_SESSION_KEYRING, NULL): a new, empty session keyring, keyrings(7).
#[track_caller]
pub fn new_session_keyring() -> io::Result<()> {
    const KEYCTL_JOIN_SESSION_KEYRING: c_int = 1;
    // SAFETY: integers and NULL only.
    let result = check(unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, 0) });
    tell("keyctl", &[&"KEYCTL_JOIN_SESSION_KEYRING", &"NULL"], &result);
    result.map(drop)
}

#[track_caller]
pub fn sethostname(name: &str) -> io::Result<()> {
    // SAFETY: pointer and length are those of a live string.
    let result = check(unsafe { libc::sethostname(name.as_ptr().cast(), name.len()) });
    tell("sethostname", &[&Text(name.as_bytes()), &name.len()], &result);
    result.map(drop)
}

/// Ends the process at once: no destructor runs, no buffer is flushed.
#[track_caller]
pub fn exit(code: i32) -> ! {
    crate::tell::unfold("until here");
    why_else("the end");
    tell_outcome("exit_group", &[&code], &"?");
    // SAFETY: it does not return.
    unsafe { libc::_exit(code) }
}

/// getrandom(2).
#[track_caller]
pub fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    // SAFETY: pointer and length are those of a live array; up to 256 bytes come whole.
    let result = check(unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), N, 0) } as c_long);
    tell("getrandom", &[&Struct(result.is_ok(), &bytes, Hex(&bytes)), &N, &0], &result);
    result.map(|_| bytes)
}

/// Seconds since 1970 (clock_gettime, answered by the vDSO without entering the kernel).
pub fn now() -> i64 {
    // SAFETY: NULL asks for the return value alone.
    unsafe { libc::time(std::ptr::null_mut()) }
}

// ---- signals ----

/// Sets of signals as the kernel has them: bit n - 1 for signal n. The C library would keep 32 and 33 out.
const ALL_SIGNALS: u64 = u64::MAX;
const SET_SIZE: usize = std::mem::size_of::<u64>();

/// Blocks every signal, so that each is taken in turn by [`wait_for_signal`] or a [`signalfd`].
#[track_caller]
pub fn block_signals() -> io::Result<()> {
    set_mask(libc::SIG_SETMASK, "SIG_SETMASK", ALL_SIGNALS)
}

/// Lets every signal through again.
#[track_caller]
pub fn unblock_signals() -> io::Result<()> {
    set_mask(libc::SIG_SETMASK, "SIG_SETMASK", 0)
}

#[track_caller]
fn set_mask(how: c_int, name: &str, set: u64) -> io::Result<()> {
    let old: *mut u64 = std::ptr::null_mut();
    // SAFETY: the set, of that size, outlives the call; the old one is not asked for.
    let result = check(unsafe { libc::syscall(libc::SYS_rt_sigprocmask, how, &set, old, SET_SIZE) });
    tell("rt_sigprocmask", &[&name, &Signals(set), &"NULL", &SET_SIZE], &result);
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
    tell("rt_sigaction", &[&Signal(signal), &"{sa_handler=SIG_DFL, sa_mask=[], sa_flags=0}", &"NULL", &8], &result);
    result.map(drop)
}

/// Where /proc is not mounted, what to do; only a host that boots is without.
fn no_proc(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::NotFound => io::Error::new(error.kind(), "no /proc is mounted: mount -t proc proc /proc"),
        _ => error,
    }
}

/// Gives every signal that the caller ignores its default action, SIGCHLD and SIGPIPE among them:
/// `nohup`, a shell's `&` and many a language's runtime hand ignored signals on, and they would
/// reach the container's command.
#[track_caller]
pub fn default_ignored_signals() -> io::Result<()> {
    why("which signals does the caller ignore?");
    let status = read_file("/proc/self/status", 64 * 1024).map_err(no_proc)?;
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
#[track_caller]
pub fn wait_for_signal() -> io::Result<c_int> {
    let none: *mut libc::siginfo_t = std::ptr::null_mut();
    loop {
        // SAFETY: the set, of that size, outlives the call; neither siginfo nor timeout is passed.
        let result = check(unsafe { libc::syscall(libc::SYS_rt_sigtimedwait, &ALL_SIGNALS, none, none, SET_SIZE) });
        let arguments: [&dyn fmt::Display; 4] = [&Signals(ALL_SIGNALS), &"NULL", &"NULL", &SET_SIZE];
        match &result {
            Ok(signal) => {
                let outcome = format_args!("{signal} ({})", Signal(*signal as c_int));
                tell_outcome("rt_sigtimedwait", &arguments, &outcome);
            }
            Err(_) => tell("rt_sigtimedwait", &arguments, &result),
        }
        if !is_interrupted(&result) {
            return result.map(|signal| signal as c_int);
        }
    }
}

/// signalfd(2) for every signal: readable when one is pending.
#[track_caller]
pub fn signalfd() -> io::Result<Fd> {
    signalfd4(ALL_SIGNALS)
}

#[track_caller]
fn signalfd4(set: u64) -> io::Result<Fd> {
    // SAFETY: the set, of that size, outlives the call.
    let result = check(unsafe { libc::syscall(libc::SYS_signalfd4, -1, &set, SET_SIZE, libc::SFD_CLOEXEC) });
    tell("signalfd4", &[&-1, &Signals(set), &SET_SIZE, &"SFD_CLOEXEC"], &result);
    owned(result)
}

/// Blocks these signals and lets them be read from a descriptor; all others do what they did.
#[track_caller]
pub fn signals_to_fd(signals: &[c_int]) -> io::Result<Fd> {
    let set = signals.iter().fold(0, |set, signal| set | 1 << (signal - 1));
    set_mask(libc::SIG_BLOCK, "SIG_BLOCK", set)?;
    why_else("and come as something to read");
    signalfd4(set)
}

/// Takes one signal from a [`signalfd`].
#[track_caller]
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
#[track_caller]
pub fn socket(address: &SocketAddr, kind: c_int) -> io::Result<Fd> {
    let (family, name) = match address {
        SocketAddr::V4(_) => (libc::AF_INET, "AF_INET"),
        SocketAddr::V6(_) => (libc::AF_INET6, "AF_INET6"),
    };
    // SAFETY: integers only.
    let result = check(unsafe { libc::socket(family, kind | libc::SOCK_CLOEXEC, 0) });
    tell("socket", &[&name, &SocketKind(kind | libc::SOCK_CLOEXEC), &"IPPROTO_IP"], &result);
    owned(result)
}

/// setsockopt(2) of an option that is an int; `name` is for the telling.
#[track_caller]
pub fn setsockopt(socket: &Fd, level: c_int, option: c_int, value: c_int, name: &str) -> io::Result<()> {
    let (pointer, size) = (std::ptr::from_ref(&value).cast(), std::mem::size_of::<c_int>() as _);
    // SAFETY: the pointer is to a live int of that size.
    let result = check(unsafe { libc::setsockopt(socket.0, level, option, pointer, size) });
    tell("setsockopt", &[socket, &OneOf(level as u64, LEVEL), &name, &List(&[value]), &4], &result);
    result.map(drop)
}

/// The calls that hand one address to the kernel.
macro_rules! address_call {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[track_caller]
        pub fn $name(socket: &Fd, address: &SocketAddr) -> io::Result<()> {
            let raw = RawAddress::new(address);
            // SAFETY: the pointer is to a live address of that length.
            let result = check(unsafe { libc::$name(socket.0, std::ptr::from_ref(&raw).cast(), raw.length()) });
            tell(stringify!($name), &[socket, &SocketAddress(*address), &raw.length()], &result);
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

#[track_caller]
pub fn listen(socket: &Fd, backlog: c_int) -> io::Result<()> {
    // SAFETY: integers only.
    let result = check(unsafe { libc::listen(socket.0, backlog) });
    tell("listen", &[socket, &backlog], &result);
    result.map(drop)
}

/// accept4(2): the next connection, its socket non-blocking, and who it is from.
#[track_caller]
pub fn accept4(socket: &Fd) -> io::Result<(Fd, SocketAddr)> {
    // SAFETY: all-zero bytes are a valid sockaddr_in6.
    let mut raw = RawAddress { v6: unsafe { std::mem::zeroed() } };
    let mut length = std::mem::size_of::<RawAddress>() as libc::socklen_t;
    let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: the pointers are to a live address and its length.
    let result = check(unsafe { libc::accept4(socket.0, std::ptr::from_mut(&mut raw).cast(), &mut length, flags) });
    let from = Struct(result.is_ok(), &raw, SocketAddress(raw.address()));
    let lengths = Lengths(std::mem::size_of::<RawAddress>(), length as usize);
    tell("accept4", &[socket, &from, &lengths, &"SOCK_CLOEXEC|SOCK_NONBLOCK"], &result);
    owned(result).map(|fd| (fd, raw.address()))
}

/// send(2) on a stream; a peer that is gone is an error, no SIGPIPE.
#[track_caller]
pub fn send(socket: &Fd, bytes: &[u8]) -> io::Result<usize> {
    // SAFETY: pointer and length are those of a live slice.
    let result =
        check(unsafe { libc::send(socket.0, bytes.as_ptr().cast(), bytes.len(), libc::MSG_NOSIGNAL) } as c_long);
    tell("sendto", &[socket, &Bytes(bytes), &bytes.len(), &"MSG_NOSIGNAL", &"NULL", &0], &result);
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
    #[track_caller]
    pub fn receive(&mut self, socket: &Fd) -> io::Result<usize> {
        self.set_room(self.used);
        self.used = 0;
        let (count, flags) = (self.headers.len() as u32, libc::MSG_DONTWAIT);
        let headers = self.headers.as_mut_ptr();
        // SAFETY: the headers point into this value's own vectors (see `new`), which outlive the call.
        let result = check(unsafe { libc::recvmmsg(socket.0, headers, count, flags as _, std::ptr::null_mut()) });
        tell("recvmmsg", &[socket, &Row::received(self, &result), &count, &"MSG_DONTWAIT", &"NULL"], &result);
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
    #[track_caller]
    pub fn send(&mut self, socket: &Fd) -> io::Result<()> {
        let (mut done, mut outcome, mut is_second) = (0, Ok(()), false);
        while done < self.used {
            let headers = self.headers[done..self.used].as_mut_ptr();
            let count = (self.used - done) as u32;
            // SAFETY: the headers point into this value's own vectors (see `new`), which outlive the call.
            let result = check(unsafe { libc::sendmmsg(socket.0, headers, count, libc::MSG_DONTWAIT as _) });
            tell("sendmmsg", &[socket, &Row::sent(self, done, &result), &count, &"MSG_DONTWAIT"], &result);
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

/// Datagrams as the narrator shows them: those that came, or those that are to go.
struct Row<'a> {
    row: &'a Datagrams,
    first: usize,
    /// How many came or went; `None`: the call failed.
    done: Option<usize>,
    received: bool,
}

impl<'a> Row<'a> {
    fn received(row: &'a Datagrams, result: &io::Result<c_long>) -> Row<'a> {
        Row { row, first: 0, done: result.as_ref().ok().map(|count| *count as usize), received: true }
    }

    fn sent(row: &'a Datagrams, first: usize, result: &io::Result<c_long>) -> Row<'a> {
        Row { row, first, done: result.as_ref().ok().map(|count| *count as usize), received: false }
    }

    /// One message: who from or to, and what.
    fn message(&self, index: usize) -> String {
        let header = &self.row.headers[index];
        let octets = &self.row.octets[index * self.row.size..][..self.row.size];
        let room = self.row.vectors[index].iov_len;
        let shown = Bytes(&octets[..if self.received { (header.msg_len as usize).min(room) } else { room }]);
        let (name, length) = match self.row.peers.get(index) {
            Some(peer) => (SocketAddress(peer.address()).to_string(), header.msg_hdr.msg_namelen),
            None => ("NULL".to_string(), 0),
        };
        let room_for_name = match (self.received, self.row.peers.is_empty()) {
            (true, false) => format!("{} => ", std::mem::size_of::<RawAddress>()),
            _ => String::new(),
        };
        format!(
            "{{msg_hdr={{msg_name={name}, msg_namelen={room_for_name}{length}, msg_iov=[{{iov_base={shown}, iov_len={room}}}], msg_iovlen=1, ...}}, ...}}"
        )
    }
}

impl fmt::Display for Row<'_> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Some(done) = self.done else { return Address(self.row.headers[self.first..].as_ptr()).fmt(f) };
        let shown: Vec<String> = (self.first..self.first + done).map(|index| self.message(index)).collect();
        List(&shown).fmt(f)
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
#[track_caller]
pub fn epoll_create1() -> io::Result<Fd> {
    // SAFETY: integers only.
    let result = check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) });
    tell("epoll_create1", &[&"EPOLL_CLOEXEC"], &result);
    owned(result)
}

/// epoll_ctl(2): wait for `events` of `fd`, `operation` is EPOLL_CTL_ADD or EPOLL_CTL_MOD; `token` comes
/// back with them. A closed descriptor leaves by itself.
#[track_caller]
pub fn epoll_ctl(epoll: &Fd, operation: c_int, fd: &Fd, events: c_int, token: u64) -> io::Result<()> {
    let mut event = libc::epoll_event { events: events as u32, u64: token };
    // SAFETY: the pointer is to a live event.
    let result = check(unsafe { libc::epoll_ctl(epoll.0, operation, fd.0, &mut event) });
    let name = if operation == libc::EPOLL_CTL_ADD { "EPOLL_CTL_ADD" } else { "EPOLL_CTL_MOD" };
    tell("epoll_ctl", &[epoll, &name, fd, &Event(events as u32, token)], &result);
    result.map(drop)
}

/// What [`epoll_wait`] found: (token, events).
pub type Ready = Vec<(u64, c_int)>;

/// epoll_wait(2): at most 64 of those that are ready; `timeout` in milliseconds, -1 for none.
#[track_caller]
pub fn epoll_wait(epoll: &Fd, ready: &mut Ready, timeout: c_int) -> io::Result<()> {
    let mut events = [libc::epoll_event { events: 0, u64: 0 }; 64];
    // SAFETY: pointer and length are those of a live, writable array.
    let result = check(unsafe { libc::epoll_wait(epoll.0, events.as_mut_ptr(), events.len() as c_int, timeout) });
    if verbose() {
        let came = events.iter().take(*result.as_ref().unwrap_or(&0) as usize);
        let came: Vec<Event> = came.map(|event| Event(event.events, event.u64)).collect();
        let shown = Struct(result.is_ok(), &events, List(&came));
        tell("epoll_wait", &[epoll, &shown, &events.len(), &timeout], &result);
    }
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

#[track_caller]
pub fn tcgetattr(fd: c_int) -> io::Result<Termios> {
    // SAFETY: an all-zero termios is valid, it holds numbers only.
    let mut termios: Termios = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to a live termios, whose beginning is the kernel's struct.
    let result = check(unsafe { libc::ioctl(fd, libc::TCGETS as _, &mut termios) });
    tell("ioctl", &[&fd, &"TCGETS", &Struct(result.is_ok(), &termios, Terminal(&termios))], &result);
    result.map(|_| termios)
}

/// tcsetattr(3) after what was written has gone out.
#[track_caller]
pub fn tcsetattr(fd: c_int, termios: &Termios) -> io::Result<()> {
    // SAFETY: the pointer is to a live termios, whose beginning is the kernel's struct.
    let result = check(unsafe { libc::ioctl(fd, libc::TCSETSW as _, termios) });
    tell("ioctl", &[&fd, &"TCSETSW", &Terminal(termios)], &result);
    result.map(drop)
}

/// The same settings in raw mode: every byte passes at once and unchanged, cfmakeraw(3).
pub fn raw_mode(mut termios: Termios) -> Termios {
    // SAFETY: the pointer is to a live termios.
    unsafe { libc::cfmakeraw(&mut termios) };
    termios
}

/// ioctl(2) whose argument is an integer.
#[track_caller]
pub fn ioctl(fd: c_int, request: c_ulong, argument: c_int, name: &str, shown: &dyn fmt::Display) -> io::Result<c_long> {
    // SAFETY: only requests with integer arguments are passed (TIOCSCTTY, TIOCGPTPEER).
    let result = check(unsafe { libc::ioctl(fd, request as _, argument) });
    tell("ioctl", &[&fd, &name, shown], &result);
    result
}

/// TIOCSPTLCK: unlocks the other side of a pty, so that it can be opened.
#[track_caller]
pub fn unlock_pty(master: &Fd) -> io::Result<()> {
    let zero: c_int = 0;
    // SAFETY: the request reads one int.
    let result = check(unsafe { libc::ioctl(master.0, libc::TIOCSPTLCK as _, &zero) });
    tell("ioctl", &[master, &"TIOCSPTLCK", &List(&[zero])], &result);
    result.map(drop)
}

/// TIOCGPTN: the number of a pty under /dev/pts.
#[track_caller]
pub fn pty_number(master: &Fd) -> io::Result<u32> {
    let mut number: libc::c_uint = 0;
    // SAFETY: the request writes one unsigned int.
    let result = check(unsafe { libc::ioctl(master.0, libc::TIOCGPTN as _, &mut number) });
    tell("ioctl", &[master, &"TIOCGPTN", &Struct(result.is_ok(), &number, List(&[number]))], &result);
    result.map(|_| number)
}

/// Copies the window size of one terminal to another.
#[track_caller]
pub fn copy_window_size(from: c_int, to: c_int) -> io::Result<()> {
    let size = get_window_size(from)?;
    // SAFETY: the request reads one winsize.
    let result = check(unsafe { libc::ioctl(to, libc::TIOCSWINSZ as _, &size) });
    why_else("and gives it to the container's");
    tell("ioctl", &[&to, &"TIOCSWINSZ", &WindowSize(&size)], &result);
    result.map(drop)
}

/// The size of a terminal's window: (rows, columns).
#[track_caller]
pub fn window_size(fd: c_int) -> io::Result<(usize, usize)> {
    get_window_size(fd).map(|size| (size.ws_row.into(), size.ws_col.into()))
}

#[track_caller]
fn get_window_size(fd: c_int) -> io::Result<libc::winsize> {
    // SAFETY: an all-zero winsize is valid, it holds numbers only.
    let mut size: libc::winsize = unsafe { std::mem::zeroed() };
    // SAFETY: the request writes one winsize.
    let result = check(unsafe { libc::ioctl(fd, libc::TIOCGWINSZ as _, &mut size) });
    tell("ioctl", &[&fd, &"TIOCGWINSZ", &Struct(result.is_ok(), &size, WindowSize(&size))], &result);
    result.map(|_| size)
}

// ---- network ----

/// Brings an interface up (SIOCSIFFLAGS with IFF_UP, netdevice(7)).
#[track_caller]
pub fn interface_up(name: &str) -> io::Result<()> {
    // SAFETY: integers only.
    let result = check(unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) });
    why_else("interfaces are spoken to through any socket");
    tell("socket", &[&"AF_INET", &"SOCK_DGRAM|SOCK_CLOEXEC", &"IPPROTO_IP"], &result);
    let socket = owned(result)?;
    // SAFETY: an all-zero ifreq is valid, it holds numbers and bytes only.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // One byte less than the field, so that it stays NUL-terminated.
    for (to, from) in request.ifr_name[..libc::IFNAMSIZ - 1].iter_mut().zip(name.bytes()) {
        *to = from as c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as i16;
    // SAFETY: the request reads one ifreq.
    let result = check(unsafe { libc::ioctl(socket.0, libc::SIOCSIFFLAGS as _, &request) });
    let shown = format_args!("{{ifr_name={}, ifr_flags=IFF_UP|IFF_RUNNING}}", Text(name.as_bytes()));
    why_else("up from here on");
    tell("ioctl", &[&socket, &"SIOCSIFFLAGS", &shown], &result);
    result.map(drop)
}

// ---- what a host has ----

/// statfs(2): the file system's magic number, and the bytes that the caller may still write there.
#[track_caller]
pub fn room(path: impl AsRef<Path>) -> io::Result<(i64, u64)> {
    #[track_caller]
    fn plain(path: &Path) -> io::Result<(i64, u64)> {
        full_statfs(path).map(|fs| (fs.f_type as _, fs.f_bavail.saturating_mul(fs.f_bsize as u64)))
    }
    plain(path.as_ref())
}

/// The same as [`setxattr`] of an open file.
#[track_caller]
pub fn fsetxattr(file: &Fd, name: &str, value: &[u8]) -> io::Result<()> {
    let n = cstr(name)?;
    // SAFETY: the string and the value, whose length is passed along, outlive the call.
    let result = check(unsafe { libc::fsetxattr(file.0, n.as_ptr(), value.as_ptr().cast(), value.len(), 0) });
    tell("fsetxattr", &[file, &text(&n), &Bytes(value), &value.len(), &0], &result);
    result.map(drop)
}

// ---- a machine of its own ----

/// What reboot(2) is to do.
const REBOOT: &[(u64, &str)] = &[
    (libc::RB_DISABLE_CAD as u32 as u64, "LINUX_REBOOT_CMD_CAD_OFF"),
    (libc::RB_POWER_OFF as u32 as u64, "LINUX_REBOOT_CMD_POWER_OFF"),
    (libc::RB_HALT_SYSTEM as u32 as u64, "LINUX_REBOOT_CMD_HALT"),
];

/// reboot(2); `command` is `RB_DISABLE_CAD`, or one that does not come back when it succeeds.
#[track_caller]
pub fn reboot(command: c_int) -> io::Result<()> {
    let shown = OneOf(command as u32 as u64, REBOOT);
    tell_before("reboot", &[&"LINUX_REBOOT_MAGIC1", &"LINUX_REBOOT_MAGIC2", &shown]);
    // SAFETY: an integer only.
    let result = check(unsafe { libc::reboot(command) });
    why_else("if possible: not this way");
    tell_failed("reboot", &result);
    result.map(drop)
}

/// finit_module(2) without parameters: the kernel takes in a module from an open file.
#[track_caller]
pub fn finit_module(file: &Fd) -> io::Result<()> {
    // SAFETY: the C string is a constant.
    let result = check(unsafe { libc::syscall(libc::SYS_finit_module, file.0, c"".as_ptr(), 0) });
    tell("finit_module", &[file, &Text(b""), &0], &result);
    result.map(drop)
}

/// sync(2): whatever is to be written to disks is written.
#[track_caller]
pub fn sync() {
    // SAFETY: cannot fail.
    unsafe { libc::sync() };
    tell("sync", &[], &Ok(0));
}

/// An address as netdevice(7) has it, without a port.
fn plain_address(address: Ipv4Addr) -> libc::sockaddr {
    let raw = RawAddress::new(&SocketAddr::from((address, 0)));
    // SAFETY: it begins with a sockaddr_in, which has the size of a sockaddr; any bytes are valid.
    unsafe { std::ptr::from_ref(&raw).cast::<libc::sockaddr>().read_unaligned() }
}

/// A network card, by its name: netdevice(7).
pub struct Card(libc::ifreq);

/// What a card is given.
pub enum Setting {
    /// SIOCSIFFLAGS: up, and with multicast, as every card is; [`interface_up`] is for `lo`, which has none.
    Up,
    /// SIOCSIFADDR
    Address(Ipv4Addr),
    /// SIOCSIFNETMASK: which addresses are reached without a router.
    Netmask(Ipv4Addr),
}

impl Card {
    /// SIOCGIFNAME: the interface with this number.
    #[track_caller]
    pub fn of_number(socket: &Fd, number: c_int) -> io::Result<Card> {
        // SAFETY: an all-zero ifreq is valid, it holds numbers and bytes only.
        let mut card = Card(unsafe { std::mem::zeroed() });
        card.0.ifr_ifru.ifru_ifindex = number;
        // SAFETY: the request reads and writes one ifreq.
        let result = check(unsafe { libc::ioctl(socket.0, libc::SIOCGIFNAME as _, &mut card.0) });
        if verbose() {
            let name =
                if result.is_ok() { format!(", ifr_name={}", Text(card.name().as_bytes())) } else { String::new() };
            tell("ioctl", &[socket, &"SIOCGIFNAME", &format_args!("{{ifr_ifindex={number}{name}}}")], &result);
        }
        result.map(|_| card)
    }

    pub fn name(&self) -> String {
        let bytes = self.0.ifr_name.iter().take_while(|byte| **byte != 0);
        bytes.map(|byte| char::from(*byte as u8)).collect()
    }

    #[track_caller]
    pub fn set(&mut self, socket: &Fd, setting: Setting) -> io::Result<()> {
        let (request, shown, address) = match setting {
            Setting::Up => (libc::SIOCSIFFLAGS, ("SIOCSIFFLAGS", "flags=IFF_UP|IFF_MULTICAST"), None),
            Setting::Address(address) => (libc::SIOCSIFADDR, ("SIOCSIFADDR", "addr="), Some(address)),
            Setting::Netmask(mask) => (libc::SIOCSIFNETMASK, ("SIOCSIFNETMASK", "netmask="), Some(mask)),
        };
        match address {
            Some(address) => self.0.ifr_ifru.ifru_addr = plain_address(address),
            None => self.0.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_MULTICAST) as i16,
        }
        // SAFETY: these requests read one ifreq.
        let result = check(unsafe { libc::ioctl(socket.0, request as _, &self.0) });
        if verbose() {
            let value = address.map_or(String::new(), |ip| SocketAddress(SocketAddr::from((ip, 0))).to_string());
            let name = self.name();
            let fields = format_args!("{{ifr_name={}, ifr_{}{value}}}", Text(name.as_bytes()), shown.1).to_string();
            tell("ioctl", &[socket, &shown.0, &fields], &result);
        }
        result.map(drop)
    }
}

/// struct rtentry of linux/route.h.
#[repr(C)]
struct Route {
    pad1: c_ulong,
    destination: libc::sockaddr,
    gateway: libc::sockaddr,
    mask: libc::sockaddr,
    flags: u16,
    pad2: u16,
    pad3: c_ulong,
    pad4: c_ulong,
    metric: i16,
    device: *const c_char,
    mtu: c_ulong,
    window: c_ulong,
    round_trip: u16,
}

/// SIOCADDRT: every address that is not reached without a router is reached by this one.
#[track_caller]
pub fn add_default_route(socket: &Fd, gateway: Ipv4Addr) -> io::Result<()> {
    // SAFETY: an all-zero rtentry is valid: numbers, and a device that is not named.
    let mut route: Route = unsafe { std::mem::zeroed() };
    let everything = plain_address(Ipv4Addr::UNSPECIFIED);
    (route.destination, route.mask, route.gateway) = (everything, everything, plain_address(gateway));
    route.flags = libc::RTF_UP | libc::RTF_GATEWAY;
    // SAFETY: the request reads one rtentry.
    let result = check(unsafe { libc::ioctl(socket.0, libc::SIOCADDRT as _, &route) });
    tell("ioctl", &[socket, &"SIOCADDRT", &Address(&route)], &result);
    result.map(drop)
}

// ---- a few calls that always go together ----

/// Reads a whole file; more than `limit` bytes are `FileTooLarge`.
#[track_caller]
pub fn read_file(path: impl AsRef<Path>, limit: usize) -> io::Result<Vec<u8>> {
    #[track_caller]
    fn plain(path: &Path, limit: usize) -> io::Result<Vec<u8>> {
        read_open_file(&open(path, libc::O_RDONLY, 0)?, limit)
    }
    plain(path.as_ref(), limit)
}

/// A list of the kernel's in /proc, to its end: read(2) gives as many whole entries as fit in a page and no more.
#[track_caller]
pub fn read_kernel_list(path: impl AsRef<Path>, limit: usize) -> io::Result<Vec<u8>> {
    #[track_caller]
    fn plain(path: &Path, limit: usize) -> io::Result<Vec<u8>> {
        read_to_end(&open(path, libc::O_RDONLY, 0)?, limit)
    }
    plain(path.as_ref(), limit)
}

/// The same of an open file. A regular file answers with less than was asked for only at its end, and so does one of
/// the kernel's that is a single entry, such as /proc/PID/status: they need no second read(2) to see the end.
#[track_caller]
pub fn read_open_file(file: &Fd, limit: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; 4 * 1024];
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
#[track_caller]
pub fn read_to_end(fd: &Fd, limit: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 16 * 1024];
    loop {
        if !bytes.is_empty() {
            why("to its end");
        }
        match read(fd.0, &mut buffer)? {
            0 => return Ok(bytes),
            n => bytes.extend_from_slice(&buffer[..n]),
        }
        if bytes.len() > limit {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
    }
}

/// What is in a directory: the name, and the kind of file as in [`Stat::kind`].
pub struct Entry {
    pub name: OsString,
    pub kind: u32,
}

/// Everything in an open directory but `.` and `..`.
#[track_caller]
pub fn list(dir: &Fd) -> io::Result<Vec<Entry>> {
    let mut all = Vec::new();
    loop {
        let mut some = list_some(dir)?;
        if some.is_empty() {
            return Ok(all);
        }
        all.append(&mut some);
        why("and more?");
    }
}

/// The next entries of an open directory, by getdents64(2); none at its end. However many there are, they
/// need no more memory than their 32 KiB.
#[track_caller]
pub fn list_some(dir: &Fd) -> io::Result<Vec<Entry>> {
    /// A buffer aligned as the records in it.
    #[repr(C, align(8))]
    struct Records([u8; 32 * 1024]);
    let mut records = Records([0; 32 * 1024]);
    let mut entries = Vec::new();
    while entries.is_empty() {
        let (buffer, size) = (records.0.as_mut_ptr(), records.0.len());
        // SAFETY: pointer and length are those of a live, writable array.
        let result = check(unsafe { libc::syscall(libc::SYS_getdents64, dir.0, buffer, size) });
        let count = parse_records(&records.0[..*result.as_ref().unwrap_or(&0) as usize], &mut entries);
        why_else("what is in it");
        let entries = Entries(buffer, result.is_ok().then_some(count));
        tell("getdents64", &[dir, &entries, &size], &result);
        if result? == 0 {
            break;
        }
    }
    // A file system that does not say what its entries are is asked for each.
    for entry in &mut entries {
        if entry.kind == 0 {
            why("what is it?");
            entry.kind = fstatat(dir, &entry.name)?.kind();
        }
    }
    Ok(entries)
}

/// Takes the records of getdents64(2) apart: inode and offset, 8 bytes each, length (2), type (1), name. Returns
/// how many there were, `.` and `..` among them.
fn parse_records(mut records: &[u8], entries: &mut Vec<Entry>) -> usize {
    const NAME: usize = 19;
    let mut count = 0;
    while let Some(header) = records.get(..NAME) {
        let length = usize::from(u16::from_ne_bytes([header[16], header[17]]));
        let Some(record) = records.get(..length.max(NAME)) else { break };
        let name = record[NAME..].split(|byte| *byte == 0).next().unwrap_or_default();
        if name != b"." && name != b".." {
            // DT_DIR and its like are the kind's bits of st_mode, shifted: inode(7).
            entries.push(Entry { name: OsStr::from_bytes(name).into(), kind: u32::from(header[18]) << 12 });
        }
        count += 1;
        records = &records[record.len()..];
    }
    count
}

/// The same of a path.
#[track_caller]
pub fn list_path(path: impl AsRef<Path>) -> io::Result<Vec<Entry>> {
    #[track_caller]
    fn plain(path: &Path) -> io::Result<Vec<Entry>> {
        list(&open(path, libc::O_RDONLY | libc::O_DIRECTORY, 0)?)
    }
    plain(path.as_ref())
}

/// getcwd(2). A directory outside the root is told by a path that does not begin with `/`.
#[track_caller]
pub fn getcwd() -> io::Result<PathBuf> {
    let mut buffer = vec![0u8; libc::PATH_MAX as usize];
    // SAFETY: pointer and length are those of a live, writable slice.
    let result = check(unsafe { libc::syscall(libc::SYS_getcwd, buffer.as_mut_ptr(), buffer.len()) });
    let length = result.as_ref().map_or(0, |length| *length as usize - 1); // without the NUL
    let shown = Struct(result.is_ok(), &buffer[0], Text(&buffer[..length]));
    tell("getcwd", &[&shown, &libc::PATH_MAX], &result);
    buffer.truncate(length);
    result.map(|_| PathBuf::from(OsString::from_vec(buffer)))
}

/// Prints to standard output; where that is gone or full, an error instead of a panic.
#[track_caller]
pub fn print(text: &str) -> io::Result<()> {
    why_else("for the caller");
    write_all(STDOUT, text.as_bytes())
}

/// Writes to a file that exists, as the kernel's own files in /proc and cgroups do, in one write.
#[track_caller]
pub fn write_kernel_file(path: impl AsRef<Path>, value: &str) -> io::Result<()> {
    #[track_caller]
    fn plain(path: &Path, value: &str) -> io::Result<()> {
        let reason = reason_or("a setting of the kernel's");
        why(reason);
        let fd = open(path, libc::O_WRONLY, 0)?;
        why(reason);
        write(fd.0, value.as_bytes()).map(drop)
    }
    plain(path.as_ref(), value)
}

/// Makes a file or empties it, and writes it.
#[track_caller]
pub fn write_file(path: impl AsRef<Path>, mode: u32, bytes: &[u8]) -> io::Result<()> {
    #[track_caller]
    fn plain(path: &Path, mode: u32, bytes: &[u8]) -> io::Result<()> {
        let fd = open(path, libc::O_WRONLY | libc::O_CREAT | libc::O_TRUNC | libc::O_NOFOLLOW, mode)?;
        write_all(fd.0, bytes)
    }
    plain(path.as_ref(), mode, bytes)
}

/// Room for one descriptor in a control message, aligned as cmsg(3) wants it.
#[repr(C, align(8))]
struct ControlBuffer([u8; 32]);

/// Sends one message, with a descriptor along where one is given (SCM_RIGHTS, unix(7)).
#[track_caller]
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
    let shown =
        Message { bytes, room: bytes.len(), fd: fd.map(Fd::raw), control: message.msg_controllen as usize, flags: 0 };
    tell("sendmsg", &[socket, &shown, &"MSG_NOSIGNAL"], &result);
    result.map(drop)
}

/// Receives one message into `buffer`: its length (0 when the other side is gone), and a descriptor
/// that came along. `flags` 0 or `MSG_DONTWAIT`.
#[track_caller]
pub fn receive_message(socket: &Fd, buffer: &mut [u8], flags: c_int) -> io::Result<(usize, Option<Fd>)> {
    let mut io = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    let mut control = ControlBuffer([0; 32]);
    // SAFETY: an all-zero msghdr is valid: no name, no control, no data.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &mut io;
    message.msg_iovlen = 1;
    message.msg_control = control.0.as_mut_ptr().cast();
    message.msg_controllen = control.0.len() as _;
    let asked = flags | libc::MSG_CMSG_CLOEXEC;
    loop {
        // SAFETY: everything the header points to is alive and writable.
        let result = check(unsafe { libc::recvmsg(socket.0, &mut message, asked) } as c_long);
        // SAFETY: the kernel filled the header; a control message that it wrote is inside the buffer.
        let fd = unsafe { result.as_ref().ok().and_then(|_| descriptor_in(&message)) };
        let room = buffer.len();
        let bytes = &buffer[..*result.as_ref().unwrap_or(&0) as usize];
        let shown = Message { bytes, room, fd, control: message.msg_controllen as usize, flags: message.msg_flags };
        let shown = Received(result.is_ok(), shown);
        tell("recvmsg", &[socket, &shown, &Flags(asked as u64, MESSAGE)], &result);
        if !is_interrupted(&result) {
            return result.map(|length| (length as usize, fd.map(Fd)));
        }
    }
}

/// A message that came, or that none did.
struct Received<'a>(bool, Message<'a>);

impl fmt::Display for Received<'_> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self.0 {
            true => self.1.fmt(f),
            false => f.write_str("{msg_namelen=0}"),
        }
    }
}

/// The descriptor that came along with a message.
///
/// # Safety
/// The control message, if there is one, is as the kernel wrote it.
unsafe fn descriptor_in(message: &libc::msghdr) -> Option<c_int> {
    // SAFETY: the caller's promise.
    unsafe {
        let header = libc::CMSG_FIRSTHDR(message);
        let is_fd =
            !header.is_null() && (*header).cmsg_level == libc::SOL_SOCKET && (*header).cmsg_type == libc::SCM_RIGHTS;
        is_fd.then(|| libc::CMSG_DATA(header).cast::<c_int>().read_unaligned())
    }
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
#[track_caller]
pub fn spawn(program: &Program, streams: [Option<&Fd>; 3], keep: &[&Fd]) -> io::Result<Pid> {
    let reason = reason_or("a helper");
    let path = find_program(program.name).ok_or(io::ErrorKind::NotFound)?;
    let argv: io::Result<Vec<CString>> = [OsStr::new(program.name)]
        .into_iter()
        .chain(program.arguments.iter().map(|a| a.as_os_str()))
        .map(cstr)
        .collect();
    let argv = argv?;
    why("who is the parent? the helper is to end with it");
    let parent = getpid();
    why(reason);
    if let Some(pid) = clone(0)? {
        return Ok(pid);
    }
    set_who(format!("{}/{}", who(), program.name.rsplit('/').next().unwrap_or_default()));
    let (call, failed) = become_program(parent, &path, &argv, &program.environment, streams, keep);
    let complain = streams[2].map_or(STDERR, |fd| fd.0);
    why("if possible: what has failed, to where the helper would complain");
    let _nobody_listens = write_all(complain, format!("mydocker: {call} {}: {failed}\n", path.display()).as_bytes());
    exit(127)
}

#[track_caller]
fn become_program(
    parent: Pid,
    path: &Path,
    argv: &[CString],
    environment: &[CString],
    streams: [Option<&Fd>; 3],
    keep: &[&Fd],
) -> (&'static str, io::Error) {
    match prepare(parent, streams, keep) {
        Ok(()) => {
            why("the helper itself");
            ("execve", execve(path, argv, environment))
        }
        Err(failed) => failed,
    }
}

/// What a helper has of us: its standard streams, the descriptors to keep, and signals that come through.
#[track_caller]
fn prepare(parent: Pid, streams: [Option<&Fd>; 3], keep: &[&Fd]) -> Result<(), (&'static str, io::Error)> {
    why("it dies with its parent");
    set_parent_death_signal(libc::SIGKILL).map_err(|error| ("prctl for", error))?;
    // The signal comes for a death from now on; one that came before shows in the parent's id.
    why("or is the parent dead already?");
    if getppid() != parent {
        exit(1);
    }
    if verbose() && streams[2].is_some() {
        keep_voice().map_err(|error| ("fcntl for", error))?;
    }
    for (number, stream) in streams.into_iter().enumerate() {
        if let Some(fd) = stream {
            why(["its standard input", "its standard output", "its standard error"][number]);
            dup2(fd.0, number as c_int).map_err(|error| ("dup2 for", error))?;
        }
    }
    for fd in keep {
        why("it gets this one as well");
        keep_on_exec(fd).map_err(|error| ("fcntl for", error))?;
    }
    why("signals reach it");
    unblock_signals().map_err(|error| ("rt_sigprocmask for", error))
}

/// The narrator's standard error is about to be another: it goes on on a copy, which the helper does not get.
#[track_caller]
fn keep_voice() -> io::Result<()> {
    // SAFETY: integers only.
    let result = check(unsafe { libc::fcntl(STDERR, libc::F_DUPFD_CLOEXEC, 0) });
    why("only with -v: where this is told");
    tell("fcntl", &[&STDERR, &"F_DUPFD_CLOEXEC", &0], &result);
    result.map(|fd| crate::tell::set_voice(fd as c_int))
}

thread_local! {
    /// What has been found in `PATH`, by this process and those that it is a copy of.
    static FOUND: RefCell<Vec<PathBuf>> = const { RefCell::new(Vec::new()) };
}

/// Looks a program up in `PATH`, once; a name with a slash is taken as it is.
#[track_caller]
pub fn find_program(name: &str) -> Option<PathBuf> {
    if name.contains('/') {
        return Some(PathBuf::from(name));
    }
    let is_it = |file: &&PathBuf| file.file_name() == Some(OsStr::new(name));
    if let Some(found) = FOUND.with(|found| found.borrow().iter().find(is_it).cloned()) {
        return Some(found);
    }
    let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/sbin:/usr/bin:/sbin:/bin".into());
    let files = std::env::split_paths(&path).filter(|dir| dir.is_absolute()).map(|dir| dir.join(name));
    let found = files.into_iter().find(|file| {
        why("if possible: the helper, from this directory of PATH");
        access(file, libc::X_OK).is_ok()
    })?;
    FOUND.with(|all| all.borrow_mut().push(found.clone()));
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

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
