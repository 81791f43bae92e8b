//! Which system calls a container may make: docker's default allow-list (moby/profiles, seccomp/default_linux.go).
//!
//! A call that stands here nowhere is one that this table does not know: it gets ENOSYS, as from a kernel that is too
//! old for it, and programs fall back to what they did before it. seccomp.rs makes a filter of the table, and
//! `mydocker seccomp` prints it.

use crate::capabilities::SYS_ADMIN;

use When::{Always, Clone3, CloneFlags, Never, Personality, Socket, With};

/// When a call is let through to the kernel. Else it gets EPERM, but for clone3.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum When {
    Always,
    Never,
    /// The container has one of these capabilities.
    With(&'static [u32]),
    /// socket(2) of an address family that a container has a use for.
    Socket,
    /// personality(2) that asks, or sets what 32-bit and System V programs need.
    Personality,
    /// clone(2) without new namespaces, but with CAP_SYS_ADMIN any.
    CloneFlags,
    /// clone3(2): its flags are in memory, where no filter can read them. ENOSYS makes libraries fall back to clone(2).
    Clone3,
}

/// Calls by name, with a space between them, and their numbers on this architecture in the same order.
pub struct Calls {
    pub names: &'static str,
    pub numbers: &'static [u16],
}

/// Some calls, and when they are let through.
pub struct Row {
    pub when: When,
    pub calls: Calls,
}

const fn row(when: When, calls: Calls) -> Row {
    Row { when, calls }
}

/// The names as the libc crate has them; a number where it has none. From 424 on they are the same everywhere.
macro_rules! calls {
    ($($name:ident $(= $number:literal)?)*) => {
        Calls { names: concat!($(stringify!($name), " "),*), numbers: &[$(calls!(@ $name $($number)?)),*] }
    };
    (@ $name:ident) => { libc::$name as u16 };
    (@ $name:ident $number:literal) => { $number };
}

impl Calls {
    /// Without the `SYS_`.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.names.split_ascii_whitespace().map(|name| &name["SYS_".len()..])
    }
}

// Numbers of capabilities: linux/capability.h.
const DAC_READ_SEARCH: u32 = 2;
const SYS_MODULE: u32 = 16;
const SYS_RAWIO: u32 = 17;
const SYS_CHROOT: u32 = 18;
const SYS_PTRACE: u32 = 19;
const SYS_PACCT: u32 = 20;
const SYS_BOOT: u32 = 22;
const SYS_NICE: u32 = 23;
const SYS_TIME: u32 = 25;
const SYS_TTY_CONFIG: u32 = 26;
const SYSLOG: u32 = 34;
const PERFMON: u32 = 38;
const BPF: u32 = 39;

#[rustfmt::skip]
pub const TABLE: &[Row] = &[
    // What programs live on.
    row(
        Always,
        calls![
            SYS_accept SYS_accept4 SYS_adjtimex SYS_bind SYS_brk SYS_cachestat = 451 SYS_capget SYS_capset SYS_chdir
            SYS_clock_adjtime SYS_clock_getres SYS_clock_gettime SYS_clock_nanosleep SYS_close SYS_close_range
            SYS_connect SYS_copy_file_range SYS_dup SYS_dup3 SYS_epoll_create1 SYS_epoll_ctl SYS_epoll_pwait
            SYS_epoll_pwait2 SYS_eventfd2 SYS_execve SYS_execveat SYS_exit SYS_exit_group SYS_faccessat
            SYS_faccessat2 SYS_fadvise64 SYS_fallocate SYS_fanotify_mark SYS_fchdir SYS_fchmod SYS_fchmodat
            SYS_fchmodat2 = 452 SYS_fchown SYS_fchownat SYS_fcntl SYS_fdatasync SYS_fgetxattr SYS_flistxattr SYS_flock
            SYS_fremovexattr SYS_fsetxattr SYS_fstat SYS_fstatfs SYS_fsync SYS_ftruncate SYS_futex
            SYS_futex_requeue = 456 SYS_futex_wait = 455 SYS_futex_waitv SYS_futex_wake = 454 SYS_get_robust_list
            SYS_getcpu SYS_getcwd SYS_getdents64 SYS_getegid SYS_geteuid SYS_getgid SYS_getgroups SYS_getitimer
            SYS_getpeername SYS_getpgid SYS_getpid SYS_getppid SYS_getpriority SYS_getrandom SYS_getresgid
            SYS_getresuid SYS_getrusage SYS_getsid SYS_getsockname SYS_getsockopt SYS_gettid SYS_gettimeofday
            SYS_getuid SYS_getxattr SYS_getxattrat = 464 SYS_inotify_add_watch SYS_inotify_init1 SYS_inotify_rm_watch
            SYS_io_cancel SYS_io_destroy SYS_io_getevents SYS_io_setup SYS_io_submit SYS_ioctl SYS_ioprio_get
            SYS_ioprio_set SYS_kill SYS_landlock_add_rule SYS_landlock_create_ruleset SYS_landlock_restrict_self
            SYS_lgetxattr SYS_linkat SYS_listen SYS_listmount = 458 SYS_listxattr SYS_listxattrat = 465 SYS_llistxattr
            SYS_lremovexattr SYS_lseek SYS_lsetxattr SYS_madvise SYS_map_shadow_stack = 453 SYS_membarrier
            SYS_memfd_create SYS_memfd_secret SYS_mincore SYS_mkdirat SYS_mknodat SYS_mlock SYS_mlock2 SYS_mlockall
            SYS_mmap SYS_mprotect SYS_mq_getsetattr SYS_mq_notify SYS_mq_open SYS_mq_timedreceive SYS_mq_timedsend
            SYS_mq_unlink SYS_mremap SYS_mseal = 462 SYS_msgctl SYS_msgget SYS_msgrcv SYS_msgsnd SYS_msync SYS_munlock
            SYS_munlockall SYS_munmap SYS_name_to_handle_at SYS_nanosleep SYS_newfstatat SYS_openat SYS_openat2
            SYS_pidfd_open SYS_pidfd_send_signal SYS_pipe2 SYS_pkey_alloc SYS_pkey_free SYS_pkey_mprotect SYS_ppoll
            SYS_prctl SYS_pread64 SYS_preadv SYS_preadv2 SYS_prlimit64 SYS_process_mrelease SYS_process_vm_readv
            SYS_process_vm_writev SYS_pselect6 SYS_ptrace SYS_pwrite64 SYS_pwritev SYS_pwritev2 SYS_read
            SYS_readahead SYS_readlinkat SYS_readv SYS_recvfrom SYS_recvmmsg SYS_recvmsg SYS_remap_file_pages
            SYS_removexattr SYS_removexattrat = 466 SYS_renameat2 SYS_restart_syscall SYS_rseq SYS_rt_sigaction
            SYS_rt_sigpending SYS_rt_sigprocmask SYS_rt_sigqueueinfo SYS_rt_sigreturn SYS_rt_sigsuspend
            SYS_rt_sigtimedwait SYS_rt_tgsigqueueinfo SYS_sched_get_priority_max SYS_sched_get_priority_min
            SYS_sched_getaffinity SYS_sched_getattr SYS_sched_getparam SYS_sched_getscheduler
            SYS_sched_rr_get_interval SYS_sched_setaffinity SYS_sched_setattr SYS_sched_setparam
            SYS_sched_setscheduler SYS_sched_yield SYS_seccomp SYS_semctl SYS_semget SYS_semop SYS_semtimedop
            SYS_sendfile SYS_sendmmsg SYS_sendmsg SYS_sendto SYS_set_robust_list SYS_set_tid_address SYS_setfsgid
            SYS_setfsuid SYS_setgid SYS_setgroups SYS_setitimer SYS_setpgid SYS_setpriority SYS_setregid
            SYS_setresgid SYS_setresuid SYS_setreuid SYS_setsid SYS_setsockopt SYS_setuid SYS_setxattr
            SYS_setxattrat = 463 SYS_shmat SYS_shmctl SYS_shmdt SYS_shmget SYS_shutdown SYS_sigaltstack SYS_signalfd4
            SYS_socketpair SYS_splice SYS_statfs SYS_statmount = 457 SYS_statx SYS_symlinkat SYS_sync SYS_syncfs
            SYS_sysinfo SYS_tee SYS_tgkill SYS_timer_create SYS_timer_delete SYS_timer_getoverrun SYS_timer_gettime
            SYS_timer_settime SYS_timerfd_create SYS_timerfd_gettime SYS_timerfd_settime SYS_times SYS_tkill
            SYS_truncate SYS_umask SYS_uname SYS_unlinkat SYS_utimensat SYS_vmsplice SYS_wait4 SYS_waitid SYS_write
            SYS_writev
        ],
    ),
    // Calls of old, for which later architectures have better ones.
    #[cfg(target_arch = "x86_64")]
    row(
        Always,
        calls![
            SYS_access SYS_alarm SYS_arch_prctl SYS_chmod SYS_chown SYS_creat SYS_dup2 SYS_epoll_create
            SYS_epoll_ctl_old SYS_epoll_wait SYS_epoll_wait_old SYS_eventfd SYS_fork SYS_futimesat
            SYS_get_thread_area SYS_getdents SYS_getpgrp SYS_getrlimit SYS_inotify_init SYS_io_pgetevents = 333
            SYS_lchown SYS_link SYS_lstat SYS_mkdir SYS_mknod SYS_modify_ldt SYS_open SYS_pause SYS_pipe SYS_poll
            SYS_readlink SYS_rename SYS_renameat SYS_rmdir SYS_select SYS_set_thread_area SYS_setrlimit SYS_signalfd
            SYS_stat SYS_symlink SYS_sync_file_range SYS_time SYS_unlink SYS_uretprobe = 335 SYS_utime SYS_utimes
            SYS_vfork
        ],
    ),
    // The same numbers of their own.
    #[cfg(target_arch = "aarch64")]
    row(
        Always,
        calls![
            SYS_getrlimit = 163 SYS_io_pgetevents = 292 SYS_renameat = 38 SYS_setrlimit = 164 SYS_sync_file_range = 84
        ],
    ),
    // Allowed with some arguments: see seccomp.rs.
    row(Socket, calls![SYS_socket]),
    row(Personality, calls![SYS_personality]),
    row(CloneFlags, calls![SYS_clone]),
    row(Clone3, calls![SYS_clone3]),
    // Allowed to whom a capability was given that the call needs anyway.
    row(With(&[DAC_READ_SEARCH]), calls![SYS_open_by_handle_at]),
    row(
        With(&[SYS_ADMIN]),
        calls![
            SYS_fanotify_init SYS_fsconfig SYS_fsmount SYS_fsopen SYS_fspick SYS_lookup_dcookie
            SYS_lsm_get_self_attr = 459 SYS_lsm_list_modules = 461 SYS_lsm_set_self_attr = 460 SYS_mount
            SYS_mount_setattr SYS_move_mount SYS_open_tree SYS_quotactl SYS_quotactl_fd SYS_setdomainname
            SYS_sethostname SYS_setns SYS_umount2 SYS_unshare
        ],
    ),
    row(With(&[SYS_ADMIN, BPF]), calls![SYS_bpf]),
    row(With(&[SYS_ADMIN, PERFMON]), calls![SYS_perf_event_open]),
    row(With(&[SYS_ADMIN, SYSLOG]), calls![SYS_syslog]),
    row(With(&[SYS_BOOT]), calls![SYS_reboot]),
    row(With(&[SYS_CHROOT]), calls![SYS_chroot]),
    row(With(&[SYS_MODULE]), calls![SYS_delete_module SYS_finit_module SYS_init_module]),
    row(With(&[SYS_PACCT]), calls![SYS_acct]),
    row(With(&[SYS_PTRACE]), calls![SYS_kcmp SYS_pidfd_getfd SYS_process_madvise]),
    #[cfg(target_arch = "x86_64")]
    row(With(&[SYS_RAWIO]), calls![SYS_ioperm SYS_iopl]),
    row(With(&[SYS_TIME]), calls![SYS_clock_settime SYS_settimeofday]),
    row(With(&[SYS_TTY_CONFIG]), calls![SYS_vhangup]),
    row(
        With(&[SYS_NICE]),
        calls![
            SYS_get_mempolicy SYS_mbind SYS_set_mempolicy SYS_set_mempolicy_home_node
        ],
    ),
    // What docker refuses: the kernel's keys, a kernel for the next boot, io_uring, userfaultfd, swap.
    row(
        Never,
        calls![
            SYS_add_key SYS_io_uring_enter SYS_io_uring_register SYS_io_uring_setup SYS_kexec_load SYS_keyctl SYS_migrate_pages SYS_move_pages SYS_nfsservctl SYS_pivot_root SYS_request_key
            SYS_swapoff SYS_swapon SYS_userfaultfd
        ],
    ),
    // And what only ever was on this architecture.
    #[cfg(target_arch = "x86_64")]
    row(
        Never,
        calls![
            SYS__sysctl SYS_afs_syscall SYS_create_module = 174 SYS_get_kernel_syms = 177 SYS_getpmsg
            SYS_kexec_file_load = 320 SYS_putpmsg SYS_query_module = 178 SYS_security SYS_sysfs SYS_tuxcall SYS_uselib
            SYS_ustat SYS_vserver
        ],
    ),
    #[cfg(target_arch = "aarch64")]
    row(Never, calls![SYS_kexec_file_load = 294]),
];

/// Address families from which on there is none that a container needs.
pub const FAMILIES: u32 = 46;

/// Families below that are refused: gone from Linux, or a way past namespaces (AF_VSOCK reaches the hypervisor and
/// other guests) or to code that nobody needs and attackers like (AF_ALG, CVE-2026-31431).
pub const REFUSED_FAMILIES: &[u32] = &[
    12, // AF_DECnet
    19, // AF_ECONET
    20, // AF_ATMSVC
    23, // AF_IRDA
    25, // AF_WANPIPE
    34, // AF_ISDN
    37, // AF_CAIF
    38, // AF_ALG
    40, // AF_VSOCK
];

/// personality(2): PER_LINUX32 and UNAME26, in any combination.
pub const LINUX32: u32 = 0x8;
pub const UNAME26: u32 = 0x2_0000;
pub const PERSONALITIES: u32 = LINUX32 | UNAME26;

/// And the question which it is.
pub const WHICH_PERSONALITY: u32 = u32::MAX;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_call_stands_here_once() {
        let mut numbers: Vec<u16> = TABLE.iter().flat_map(|row| row.calls.numbers).copied().collect();
        let mut names: Vec<&str> = TABLE.iter().flat_map(|row| row.calls.names()).collect();
        assert_eq!(numbers.len(), names.len());
        let count = numbers.len();
        assert!(numbers.iter().all(|number| *number < 512), "as seccomp.rs has it");
        numbers.sort_unstable();
        numbers.dedup();
        names.sort_unstable();
        names.dedup();
        assert_eq!((numbers.len(), names.len()), (count, count));
    }
}
