//! How the arguments and results of system calls look: as strace writes them.
//!
//! Each type here is one kind of argument, and its `Display` is the lesson. Numbers, names and structures
//! only: nothing in this file talks to the kernel.

use std::fmt::{self, Display, Formatter};
use std::io;
use std::net::SocketAddr;

use libc::{c_int, c_long};

// ---- bytes ----

/// Bytes in quotes, all of them: a path, a name, an argument.
pub struct Text<'a>(pub &'a [u8]);

impl Display for Text<'_> {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        f.write_str("\"")?;
        for (i, byte) in self.0.iter().enumerate() {
            match byte {
                b'"' | b'\\' => write!(f, "\\{}", char::from(*byte))?,
                b'\t' => f.write_str("\\t")?,
                b'\n' => f.write_str("\\n")?,
                0x0b => f.write_str("\\v")?,
                0x0c => f.write_str("\\f")?,
                b'\r' => f.write_str("\\r")?,
                0x20..=0x7e => write!(f, "{}", char::from(*byte))?,
                // Octal, and three digits of it where another one of these follows.
                byte if matches!(self.0.get(i + 1), Some(b'0'..=b'7')) => write!(f, "\\{byte:03o}")?,
                byte => write!(f, "\\{byte:o}")?,
            }
        }
        f.write_str("\"")
    }
}

/// The first 32 bytes of a buffer in quotes.
pub struct Bytes<'a>(pub &'a [u8]);

impl Display for Bytes<'_> {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        let shown = &self.0[..self.0.len().min(32)];
        write!(f, "{}{}", Text(shown), if shown.len() < self.0.len() { "..." } else { "" })
    }
}

/// Random bytes, which are no text: the first 32.
pub struct Hex<'a>(pub &'a [u8]);

impl Display for Hex<'_> {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        let shown = &self.0[..self.0.len().min(32)];
        f.write_str("\"")?;
        shown.iter().try_for_each(|byte| write!(f, "\\x{byte:02x}"))?;
        f.write_str(if shown.len() < self.0.len() { "\"..." } else { "\"" })
    }
}

/// What a call wrote into a buffer: the bytes, or where it failed the buffer's address.
pub struct Filled<'a>(pub &'a io::Result<c_long>, pub &'a [u8]);

impl Display for Filled<'_> {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        match self.0 {
            Ok(length) => Bytes(&self.1[..(*length as usize).min(self.1.len())]).fmt(f),
            Err(_) => Address(self.1.as_ptr()).fmt(f),
        }
    }
}

/// What nobody shall read along: a password, a token.
pub struct UnlessSecret<'a>(pub bool, pub &'a dyn Display);

impl Display for UnlessSecret<'_> {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        if self.0 {
            f.write_str("\"[secret]\"")
        } else {
            self.1.fmt(f)
        }
    }
}

/// A pointer that is not followed.
pub struct Address<T>(pub *const T);

impl<T> Display for Address<T> {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        if self.0.is_null() {
            f.write_str("NULL")
        } else {
            write!(f, "{:#x}", self.0 as usize)
        }
    }
}

/// Directory entries, which strace counts: `0x7ffe... /* 3 entries */`; where the call failed, only their place.
pub struct Entries(pub *const u8, pub Option<usize>);

impl Display for Entries {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        Address(self.0).fmt(f)?;
        self.1.map_or(Ok(()), |count| write!(f, " /* {count} entries */"))
    }
}

/// `[a, b, c]`
pub struct List<'a, T>(pub &'a [T]);

impl<T: Display> Display for List<'_, T> {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        f.write_str("[")?;
        for (i, item) in self.0.iter().enumerate() {
            write!(f, "{}{item}", if i == 0 { "" } else { ", " })?;
        }
        f.write_str("]")
    }
}

/// What a call was to fill: shown (the third) where it was filled (the first), else the address (of the second).
pub struct Struct<'a, T, D>(pub bool, pub &'a T, pub D);

impl<T, D: Display> Display for Struct<'_, T, D> {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        if self.0 {
            self.2.fmt(f)
        } else {
            Address(self.1).fmt(f)
        }
    }
}

// ---- results ----

/// Behind the `=`: a number, or -1 with the errno's name and meaning.
pub struct Outcome<'a>(pub &'a io::Result<c_long>);

impl Display for Outcome<'_> {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        match self.0 {
            Ok(value) => value.fmt(f),
            Err(error) => {
                let number = error.raw_os_error().unwrap_or(0);
                let meaning = error.to_string();
                let meaning = meaning.split(" (os error").next().unwrap_or_default();
                write!(f, "-1 {} ({meaning})", numbered(ERRORS, number - 1))
            }
        }
    }
}

/// errno(3) from 1 on, include/uapi/asm-generic/errno.h.
const ERRORS: &str =
    "EPERM ENOENT ESRCH EINTR EIO ENXIO E2BIG ENOEXEC EBADF ECHILD EAGAIN ENOMEM EACCES EFAULT ENOTBLK \
EBUSY EEXIST EXDEV ENODEV ENOTDIR EISDIR EINVAL ENFILE EMFILE ENOTTY ETXTBSY EFBIG ENOSPC ESPIPE EROFS EMLINK EPIPE \
EDOM ERANGE EDEADLK ENAMETOOLONG ENOLCK ENOSYS ENOTEMPTY ELOOP 41 ENOMSG EIDRM ECHRNG EL2NSYNC EL3HLT EL3RST ELNRNG \
EUNATCH ENOCSI EL2HLT EBADE EBADR EXFULL ENOANO EBADRQC EBADSLT 58 EBFONT ENOSTR ENODATA ETIME ENOSR ENONET ENOPKG \
EREMOTE ENOLINK EADV ESRMNT ECOMM EPROTO EMULTIHOP EDOTDOT EBADMSG EOVERFLOW ENOTUNIQ EBADFD EREMCHG ELIBACC ELIBBAD \
ELIBSCN ELIBMAX ELIBEXEC EILSEQ ERESTART ESTRPIPE EUSERS ENOTSOCK EDESTADDRREQ EMSGSIZE EPROTOTYPE ENOPROTOOPT \
EPROTONOSUPPORT ESOCKTNOSUPPORT EOPNOTSUPP EPFNOSUPPORT EAFNOSUPPORT EADDRINUSE EADDRNOTAVAIL ENETDOWN ENETUNREACH \
ENETRESET ECONNABORTED ECONNRESET ENOBUFS EISCONN ENOTCONN ESHUTDOWN ETOOMANYREFS ETIMEDOUT ECONNREFUSED EHOSTDOWN \
EHOSTUNREACH EALREADY EINPROGRESS ESTALE EUCLEAN ENOTNAM ENAVAIL EISNAM EREMOTEIO EDQUOT ENOMEDIUM EMEDIUMTYPE \
ECANCELED ENOKEY EKEYEXPIRED EKEYREVOKED EKEYREJECTED EOWNERDEAD ENOTRECOVERABLE ERFKILL EHWPOISON";

/// Word `index` of a list of names, counted from 0.
fn numbered(names: &'static str, index: c_int) -> &'static str {
    usize::try_from(index).ok().and_then(|index| names.split(' ').nth(index)).unwrap_or("?")
}

// ---- numbers with a meaning ----

/// Names of the bits of a flag word, `A|B|0x40`.
pub struct Flags(pub u64, pub &'static [(u64, &'static str)]);

impl Display for Flags {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        let mut rest = self.0;
        let mut separator = "";
        for (bit, name) in self.1 {
            // One of value 0 is the name of none set in the lowest bits: O_RDONLY.
            if rest & bit == *bit && (*bit != 0 || rest & 3 == 0) {
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
    ($($table:ident: $($flag:ident)*;)*) => {$(
        pub const $table: &[(u64, &str)] = &[$((libc::$flag as u64, stringify!($flag))),*];
    )*};
}

// Within each table in strace's order.
names! {
    OPEN: O_RDONLY O_WRONLY O_RDWR O_CREAT O_EXCL O_NOCTTY O_TRUNC O_APPEND O_NONBLOCK O_NOFOLLOW O_CLOEXEC O_PATH O_TMPFILE O_DIRECTORY;
    RESOLVE: RESOLVE_NO_XDEV RESOLVE_NO_MAGICLINKS RESOLVE_IN_ROOT;
    AT: AT_SYMLINK_NOFOLLOW AT_REMOVEDIR AT_EMPTY_PATH AT_RECURSIVE;
    MOUNT: MS_RDONLY MS_NOSUID MS_NODEV MS_NOEXEC MS_REMOUNT MS_BIND MS_MOVE MS_REC MS_PRIVATE MS_SLAVE;
    UMOUNT: MNT_DETACH;
    CLONE: CLONE_NEWNS CLONE_NEWCGROUP CLONE_NEWUTS CLONE_NEWIPC CLONE_NEWUSER CLONE_NEWPID CLONE_NEWNET;
    LOCK: LOCK_SH LOCK_EX LOCK_NB LOCK_UN;
    WAIT: WNOHANG;
    ACCESS: R_OK W_OK X_OK;
    MESSAGE: MSG_PEEK MSG_DONTWAIT MSG_NOSIGNAL MSG_CMSG_CLOEXEC;
    POLL: POLLIN POLLOUT POLLERR POLLHUP POLLNVAL;
    EPOLL: EPOLLIN EPOLLOUT EPOLLERR EPOLLHUP EPOLLRDHUP;
    INPUT: IGNBRK BRKINT IGNPAR PARMRK INPCK ISTRIP INLCR IGNCR ICRNL IUCLC IXON IXANY IXOFF IMAXBEL IUTF8;
    // By number.
    LIMIT: RLIMIT_CPU RLIMIT_FSIZE RLIMIT_DATA RLIMIT_STACK RLIMIT_CORE RLIMIT_RSS RLIMIT_NPROC RLIMIT_NOFILE RLIMIT_MEMLOCK RLIMIT_AS RLIMIT_LOCKS RLIMIT_SIGPENDING RLIMIT_MSGQUEUE RLIMIT_NICE RLIMIT_RTPRIO RLIMIT_RTTIME;
}

/// Some of statfs(2)'s magic numbers.
pub const FILE_SYSTEM: &[(u64, &str)] = &[
    (libc::TMPFS_MAGIC as u64, "TMPFS_MAGIC"),
    (crate::initramfs::RAMFS_MAGIC as u64, "RAMFS_MAGIC"),
    (libc::XFS_SUPER_MAGIC as u64, "XFS_SUPER_MAGIC"),
    (libc::BTRFS_SUPER_MAGIC as u64, "BTRFS_SUPER_MAGIC"),
    (libc::CGROUP2_SUPER_MAGIC as u64, "CGROUP2_SUPER_MAGIC"),
    (libc::OVERLAYFS_SUPER_MAGIC as u64, "OVERLAYFS_SUPER_MAGIC"),
    (libc::EXT4_SUPER_MAGIC as u64, "EXT2_SUPER_MAGIC"),
    (libc::PROC_SUPER_MAGIC as u64, "PROC_SUPER_MAGIC"),
    (libc::SYSFS_MAGIC as u64, "SYSFS_MAGIC"),
];

/// The levels of setsockopt(2).
pub const LEVEL: &[(u64, &str)] = &[
    (libc::SOL_SOCKET as u64, "SOL_SOCKET"),
    (libc::IPPROTO_IP as u64, "SOL_IP"),
    (libc::IPPROTO_IPV6 as u64, "SOL_IPV6"),
];

/// A number that is one of a table's, not a set of bits.
pub struct OneOf(pub u64, pub &'static [(u64, &'static str)]);

impl Display for OneOf {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        match self.1.iter().find(|(number, _)| *number == self.0) {
            Some((_, name)) => f.write_str(name),
            None => write!(f, "{:#x}", self.0),
        }
    }
}

/// A directory descriptor argument: `AT_FDCWD` or its number.
pub struct At(pub c_int);

impl Display for At {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        if self.0 == libc::AT_FDCWD {
            f.write_str("AT_FDCWD")
        } else {
            self.0.fmt(f)
        }
    }
}

/// A user or group; -1 stands for none.
pub struct Id(pub u32);

impl Display for Id {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        (self.0 as i32).fmt(f)
    }
}

/// Permission bits: `0755`, `000`.
pub struct Mode(pub u32);

impl Display for Mode {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        if self.0 < 0o100 {
            write!(f, "{:03o}", self.0)
        } else {
            write!(f, "0{:o}", self.0)
        }
    }
}

/// The kind of a file and its permission bits: `S_IFDIR|0755`.
pub struct FileMode(pub u32);

impl Display for FileMode {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        const KINDS: &[(u64, &str)] = &[
            (libc::S_IFREG as u64, "S_IFREG|"),
            (libc::S_IFDIR as u64, "S_IFDIR|"),
            (libc::S_IFLNK as u64, "S_IFLNK|"),
            (libc::S_IFCHR as u64, "S_IFCHR|"),
            (libc::S_IFBLK as u64, "S_IFBLK|"),
            (libc::S_IFIFO as u64, "S_IFIFO|"),
            (libc::S_IFSOCK as u64, "S_IFSOCK|"),
            (0, ""),
        ];
        OneOf((self.0 & libc::S_IFMT).into(), KINDS).fmt(f)?;
        for (bit, name) in [(libc::S_ISUID, "S_ISUID|"), (libc::S_ISGID, "S_ISGID|"), (libc::S_ISVTX, "S_ISVTX|")] {
            f.write_str(if self.0 & bit != 0 { name } else { "" })?;
        }
        Mode(self.0 & 0o777).fmt(f)
    }
}

/// A device number: `makedev(0x1, 0x3)`.
pub struct Device(pub libc::dev_t);

impl Display for Device {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        let number = |number: u32| if number == 0 { "0".to_string() } else { format!("{number:#x}") };
        write!(f, "makedev({}, {})", number(libc::major(self.0)), number(libc::minor(self.0)))
    }
}

/// What a file is, the part of it that strace shows.
pub struct FileStatus<'a>(pub &'a libc::stat);

impl Display for FileStatus<'_> {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        write!(f, "{{st_mode={}, ", FileMode(self.0.st_mode))?;
        match self.0.st_mode & libc::S_IFMT {
            libc::S_IFCHR | libc::S_IFBLK => write!(f, "st_rdev={}, ...}}", Device(self.0.st_rdev)),
            _ => write!(f, "st_size={}, ...}}", self.0.st_size),
        }
    }
}

/// A resource limit, getrlimit(2).
pub struct Limit<'a>(pub &'a libc::rlimit);

impl Display for Limit<'_> {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        let value = |value: libc::rlim_t| match value {
            libc::RLIM_INFINITY => "RLIM64_INFINITY".to_string(),
            value if value > 1024 && value % 1024 == 0 => format!("{}*1024", value / 1024),
            value => value.to_string(),
        };
        write!(f, "{{rlim_cur={}, rlim_max={}}}", value(self.0.rlim_cur), value(self.0.rlim_max))
    }
}

// ---- processes ----

/// The program that an `execve` starts gets so many variables; where they stand, if that is known.
pub struct Variables<T>(pub Option<*const T>, pub usize);

impl<T> Display for Variables<T> {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        if let Some(place) = self.0 {
            write!(f, "{} ", Address(place))?;
        }
        write!(f, "/* {} var{} */", self.1, if self.1 == 1 { "" } else { "s" })
    }
}

/// What clone(2) is to make, and the signal at the child's end.
pub struct CloneFlags(pub c_int);

impl Display for CloneFlags {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        let names = Flags(self.0 as u64, CLONE);
        match self.0 {
            0 => f.write_str("flags=SIGCHLD"),
            _ => write!(f, "flags={names}|SIGCHLD"),
        }
    }
}

/// signal(7), from 1 on.
const SIGNALS: &str =
    "HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT CHLD CONT STOP TSTP \
TTIN TTOU URG XCPU XFSZ VTALRM PROF WINCH IO PWR SYS RTMIN";

/// A signal: `SIGTERM`, `SIGRT_1`.
pub struct Signal(pub c_int);

impl Display for Signal {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        match self.0 {
            0 => f.write_str("0"),
            1..=32 => write!(f, "SIG{}", numbered(SIGNALS, self.0 - 1)),
            number => write!(f, "SIGRT_{}", number - 32),
        }
    }
}

/// A set of signals, bit n - 1 for signal n: `[INT TERM]`, `~[]` for all.
pub struct Signals(pub u64);

impl Display for Signals {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        if self.0 == u64::MAX {
            return f.write_str("~[]");
        }
        let members = (1..=32).filter(|signal| self.0 & 1 << (signal - 1) != 0);
        let names: Vec<&str> = members.map(|signal| numbered(SIGNALS, signal - 1)).collect();
        write!(f, "[{}]", names.join(" "))
    }
}

/// How a process ended, wait(2).
pub struct WaitStatus(pub c_int);

impl Display for WaitStatus {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        if libc::WIFSIGNALED(self.0) {
            let core = if libc::WCOREDUMP(self.0) { " && WCOREDUMP(s)" } else { "" };
            write!(f, "[{{WIFSIGNALED(s) && WTERMSIG(s) == {}{core}}}]", Signal(libc::WTERMSIG(self.0)))
        } else {
            write!(f, "[{{WIFEXITED(s) && WEXITSTATUS(s) == {}}}]", libc::WEXITSTATUS(self.0))
        }
    }
}

/// capabilities(7), from 0 on.
const CAPABILITIES: &str = "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE \
NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT \
SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP \
MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE";

/// The name of a capability without `CAP_`; `?` for a number that has none here.
pub fn capability(number: u32) -> &'static str {
    numbered(CAPABILITIES, number as c_int)
}

/// One capability by its number.
pub struct Capability(pub u32);

impl Display for Capability {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        match capability(self.0) {
            "?" => write!(f, "{:#x} /* CAP_??? */", self.0),
            name => write!(f, "CAP_{name}"),
        }
    }
}

/// A set of capabilities, bit n for capability n.
pub struct Capabilities(pub u64);

impl Display for Capabilities {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        let mut separator = "";
        for number in (0..64).filter(|number| self.0 & 1 << number != 0) {
            write!(f, "{separator}1<<{}", Capability(number))?;
            separator = "|";
        }
        f.write_str(if self.0 == 0 { "0" } else { "" })
    }
}

// ---- sockets, terminals ----

/// The room for an address, and what of it was used.
pub struct Lengths(pub usize, pub usize);

impl Display for Lengths {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        if self.0 == self.1 {
            write!(f, "[{}]", self.0)
        } else {
            write!(f, "[{} => {}]", self.0, self.1)
        }
    }
}

/// The kind of a socket: one number, and two flags.
pub struct SocketKind(pub c_int);

impl Display for SocketKind {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        const KINDS: &[(u64, &str)] = &[(1, "SOCK_STREAM"), (2, "SOCK_DGRAM"), (5, "SOCK_SEQPACKET")];
        OneOf((self.0 & 0xf) as u64, KINDS).fmt(f)?;
        f.write_str(if self.0 & libc::SOCK_CLOEXEC != 0 { "|SOCK_CLOEXEC" } else { "" })?;
        f.write_str(if self.0 & libc::SOCK_NONBLOCK != 0 { "|SOCK_NONBLOCK" } else { "" })
    }
}

/// A socket address: `{sa_family=AF_INET, sin_port=htons(53), sin_addr=inet_addr("127.0.0.1")}`.
pub struct SocketAddress(pub SocketAddr);

impl Display for SocketAddress {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        match &self.0 {
            SocketAddr::V4(address) => write!(
                f,
                "{{sa_family=AF_INET, sin_port=htons({}), sin_addr=inet_addr(\"{}\")}}",
                address.port(),
                address.ip()
            ),
            SocketAddr::V6(address) => write!(
                f,
                "{{sa_family=AF_INET6, sin6_port=htons({}), sin6_flowinfo=htonl({}), inet_pton(AF_INET6, \"{}\", &sin6_addr), sin6_scope_id={}}}",
                address.port(),
                address.flowinfo(),
                address.ip(),
                address.scope_id()
            ),
        }
    }
}

/// A message of sendmsg(2) or recvmsg(2) on a connected socket.
pub struct Message<'a> {
    pub bytes: &'a [u8],
    /// As long as the buffer is.
    pub room: usize,
    /// The descriptor that goes along, SCM_RIGHTS.
    pub fd: Option<c_int>,
    pub control: usize,
    pub flags: c_int,
}

impl Display for Message<'_> {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        write!(f, "{{msg_name=NULL, msg_namelen=0, msg_iov=[{{iov_base={}, ", Bytes(self.bytes))?;
        write!(f, "iov_len={}}}], msg_iovlen=1, ", self.room)?;
        if let Some(fd) = self.fd {
            f.write_str("msg_control=[{cmsg_len=20, cmsg_level=SOL_SOCKET, cmsg_type=SCM_RIGHTS, ")?;
            write!(f, "cmsg_data=[{fd}]}}], ")?;
        }
        write!(f, "msg_controllen={}, msg_flags={}}}", self.control, Flags(self.flags as u64, MESSAGE))
    }
}

/// What epoll_wait(2) found.
pub struct Event(pub u32, pub u64);

impl Display for Event {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        let (events, token) = (Flags(self.0.into(), EPOLL), self.1);
        write!(f, "{{events={events}, data={{u32={}, u64={token}}}}}", token as u32)
    }
}

/// What poll(2) is to wait for: `{fd=0, events=POLLIN}`.
pub struct PollFd<'a>(pub &'a libc::pollfd);

impl Display for PollFd<'_> {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        match self.0.fd {
            fd if fd < 0 => write!(f, "{{fd={fd}}}"),
            fd => write!(f, "{{fd={fd}, events={}}}", Flags(self.0.events as u64, POLL)),
        }
    }
}

/// What poll(2) found: the number of descriptors, and which.
pub struct Polled<'a>(pub &'a io::Result<c_long>, pub &'a [libc::pollfd]);

impl Display for Polled<'_> {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        Outcome(self.0).fmt(f)?;
        match self.0 {
            Ok(0) => f.write_str(" (Timeout)"),
            Ok(_) => {
                let ready = self.1.iter().filter(|one| one.revents != 0);
                let one =
                    |one: &libc::pollfd| format!("{{fd={}, revents={}}}", one.fd, Flags(one.revents as u64, POLL));
                write!(f, " ({})", List(&ready.map(one).collect::<Vec<_>>()))
            }
            Err(_) => Ok(()),
        }
    }
}

/// How large a terminal's window is, in characters.
pub struct WindowSize<'a>(pub &'a libc::winsize);

impl Display for WindowSize<'_> {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        let libc::winsize { ws_row, ws_col, ws_xpixel, ws_ypixel } = self.0;
        write!(f, "{{ws_row={ws_row}, ws_col={ws_col}, ws_xpixel={ws_xpixel}, ws_ypixel={ws_ypixel}}}")
    }
}

/// The settings of a terminal, the first of them.
pub struct Terminal<'a>(pub &'a libc::termios);

impl Display for Terminal<'_> {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        let flags = self.0.c_iflag;
        match flags {
            0 => f.write_str("{c_iflag=, ...}"),
            _ => write!(f, "{{c_iflag={}, ...}}", Flags(flags.into(), INPUT)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_quoted_as_strace_quotes_them() {
        assert_eq!(Text(b"a\"\\\n\0").to_string(), r#""a\"\\\n\0""#);
        assert_eq!(Text(b"\x001\xe9x").to_string(), r#""\0001\351x""#);
        assert_eq!(Text(b"sleep\x008").to_string(), r#""sleep\08""#);
        assert_eq!(Bytes(&[b'x'; 33]).to_string(), format!("\"{}\"...", "x".repeat(32)));
    }

    #[test]
    fn flags_are_named_as_strace_names_them() {
        let shown = |flags| Flags(flags, MOUNT).to_string();
        assert_eq!(shown(libc::MS_NOSUID | libc::MS_NODEV), "MS_NOSUID|MS_NODEV");
        assert_eq!(shown(0), "0");
        assert_eq!(shown(libc::MS_BIND | 0x40000000), "MS_BIND|0x40000000");
        let shown = |flags: i32| Flags(flags as u64, OPEN).to_string();
        assert_eq!(shown(libc::O_CLOEXEC), "O_RDONLY|O_CLOEXEC");
        assert_eq!(shown(libc::O_RDWR | libc::O_NOCTTY), "O_RDWR|O_NOCTTY");
    }

    #[test]
    fn the_tables_of_names_are_numbered_right() {
        for (number, name) in [(libc::EPERM, "EPERM"), (libc::ENOTEMPTY, "ENOTEMPTY"), (libc::EHWPOISON, "EHWPOISON")] {
            let error = Err(io::Error::from_raw_os_error(number));
            assert!(Outcome(&error).to_string().starts_with(&format!("-1 {name} (")), "{name}");
        }
        assert_eq!(Signal(libc::SIGSYS).to_string(), "SIGSYS");
        assert_eq!(Signal(34).to_string(), "SIGRT_2");
        assert_eq!(Capability(40).to_string(), "CAP_CHECKPOINT_RESTORE");
        assert_eq!(Capability(41).to_string(), "0x29 /* CAP_??? */");
        assert_eq!(Signals(1 << 1 | 1 << 14).to_string(), "[INT TERM]");
    }

    #[test]
    fn modes_have_three_digits_at_least() {
        assert_eq!(Mode(0o22).to_string(), "022");
        assert_eq!(Mode(0).to_string(), "000");
        assert_eq!(Mode(0o755).to_string(), "0755");
        assert_eq!(FileMode(libc::S_IFDIR | 0o1777).to_string(), "S_IFDIR|S_ISVTX|0777");
    }
}
