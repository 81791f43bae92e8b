#!/bin/bash
# test-rootfs.sh: containers whose host's / is the rootfs of an initramfs, with a busybox script as pid 1: a tmpfs, a
# ramfs, one with nothing but busybox and no overlayfs, and for comparison one that was left by switch_root. Under
# QEMU's TCG, without network. What each checks stands in rootfs-init.sh; what it has to do so is gathered here.
. "$(dirname "$0")/lib-guest.sh"
only_x86_64
need_images
root=$room/rootfs
cp -a "$images/busybox" "$root"
rm "$root/sbin/modprobe" # the kernel would call it
mkdir -p "$root"/{modules,home/tester,proc,sys,dev,registry,etc,root,tmp,tools,archives,mnt}
cp "$scripts/rootfs-init.sh" "$root/init"
cp "$scripts/guest-checks.sh" "$root/"
cp "$guest"/{overlay,tun}.ko "$root/modules/"
cp "$mydocker" "$root/bin/mydocker"
chmod 755 "$root/init"
echo 'the secret of the host' >"$root/canary"

guest_host "$root" tools # out of the way of busybox's own

image() { # NAME: a layout, its archive, and in the registry
    skopeo copy -q "oci:$room/$1:latest" "oci-archive:$root/archives/$1.tar:$1:latest" || bail 'skopeo'
    publish "$root" "library/$1" "$room/$1" latest
}
# A busybox with few links, for it is copied often; and the same with 6 MB that do not compress, to be weighed.
mkdir -p "$room/tree"/{bin,etc,tmp}
cp -a "$images/busybox/bin/busybox" "$room/tree/bin/"
cp -a "$images/busybox/etc/"{passwd,group} "$room/tree/etc/"
for applet in sh awk cat date dd echo find grep id ip ls nproc rm sleep touch true; do ln -s busybox "$room/tree/bin/$applet"; done
find "$room/tree" -exec touch -h -d @1700000000 {} +
umoci init --layout "$room/busybox"
umoci new --image "$room/busybox:latest"
umoci insert --image "$room/busybox:latest" "$room/tree" /
umoci config --image "$room/busybox:latest" --config.cmd sh --config.env PATH=/bin || bail 'umoci'
cp -r "$room/busybox" "$room/noise"
head -c 6144000 /dev/urandom >"$room/noise.bin"
umoci insert --image "$room/noise:latest" "$room/noise.bin" /noise || bail 'umoci'
image busybox
image noise
skopeo copy -q "oci:$images/layouts/layers:latest" "docker-archive:$root/archives/layers.tar:test/layers:latest" || bail 'skopeo'

# ---------------------------------------------------------------- ways out of a container

# Each is tried by a process of its own, which then looks for the canary. A line for each: its name, and what the
# kernel answered; ESCAPED whatever it was, if the canary can be read.
cat >"$room/escape.c" <<'END'
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

static int secret(const char *path) {
    char text[64] = "";
    int fd = open(path, O_RDONLY);
    if (fd < 0) return 0;
    if (read(fd, text, sizeof text - 1) < 0) text[0] = 0;
    close(fd);
    return strstr(text, "the secret of the host") != NULL;
}

static void up(char *path, const char *from, const char *to) {
    strcpy(path, from);
    for (int i = 0; i < 100; i++) strcat(path, "../");
    strcat(path, to);
}

static int found(void) {
    char path[512];
    up(path, "", "canary");
    return secret("/canary") || secret("canary") || secret(path);
}

static int look(const char *from) { /* is the canary to be seen from there? */
    char path[512];
    snprintf(path, sizeof path, "%s/canary", from);
    if (secret(path)) return 1;
    up(path, from, "canary");
    return secret(path);
}

static int nothing(void) { return 0; }
static int chroot_out(void) {
    mkdir("/tmp/d", 0700);
    int fd = open(".", O_RDONLY);
    if (chroot("/tmp/d") || fchdir(fd)) return -1;
    for (int i = 0; i < 100; i++) if (chdir("..")) return -1;
    return chroot(".");
}
static int chroot_twice(void) {
    mkdir("/tmp/d", 0700);
    mkdir("/tmp/d/e", 0700);
    if (chroot("/tmp/d/e")) return -1;
    return chroot_out() && chroot("../../../../../../../.") ? -1 : 0;
}
static int umount_root(void) { return umount2("/", 0); }
static int detach_root(void) { return umount2("/", MNT_DETACH); }
static int detach_proc_sys(void) { return umount2("/proc/sys", MNT_DETACH); }
static int detach_proc(void) { return umount2("/proc", MNT_DETACH); }
static int pivot(void) { return syscall(SYS_pivot_root, ".", "."); }
static int move_root(void) { return mount("/", "/tmp", NULL, MS_MOVE, NULL); }
static int bind_root(void) { return mount("/", "/tmp", NULL, MS_BIND | MS_REC, NULL); }
static int remount_root(void) { return mount("", "/", NULL, MS_REMOUNT, NULL); }
static int remount_proc_sys(void) { return mount("", "/proc/sys", NULL, MS_REMOUNT | MS_BIND, NULL); }
static int share_root(void) { return mount("", "/", NULL, MS_REC | MS_SHARED, NULL); }
static int new_proc(void) { return mount("proc", "/tmp", "proc", 0, NULL); }
static int new_tmpfs(void) { return mount("t", "/tmp", "tmpfs", 0, NULL); }
static int clone_tree(void) { return syscall(SYS_open_tree, AT_FDCWD, "/", 1 /* OPEN_TREE_CLONE */); }
static int open_fs(void) { return syscall(SYS_fsopen, "tmpfs", 0); }
static int user_namespace(void) { /* unshare -Ur, and what it would be good for */
    return unshare(CLONE_NEWUSER) || unshare(CLONE_NEWNS) || umount2("/", MNT_DETACH) ? -1 : 0;
}
static int user_and_mounts(void) { return unshare(CLONE_NEWUSER | CLONE_NEWNS) || umount2("/", MNT_DETACH) ? -1 : 0; }
static int mount_namespace(void) { return unshare(CLONE_NEWNS) || umount2("/", MNT_DETACH) ? -1 : 0; }
static int set_namespace(const char *path, int kind) {
    int fd = open(path, O_RDONLY);
    return fd < 0 ? -1 : setns(fd, kind);
}
static int own_mounts = -1; /* the mount namespace, for a process that /proc does not show */
static int detach_and_enter(void) { /* setns(2) goes to the root of the namespace: what had been below */
    int fd = own_mounts < 0 ? open("/proc/self/ns/mnt", O_RDONLY) : own_mounts;
    return umount2("/", MNT_DETACH) || setns(fd, CLONE_NEWNS) ? -1 : 0;
}
static int setns_mnt(void) { return set_namespace("/proc/1/ns/mnt", CLONE_NEWNS); }
static int setns_user(void) { return set_namespace("/proc/1/ns/user", CLONE_NEWUSER); }
static int self_root(void) { return look("/proc/self/root/"); }
static int one_root(void) { return look("/proc/1/root/"); }
static int one_cwd(void) { return look("/proc/1/cwd/"); }
static int volume_up(void) { return look("/escape/"); }
static int by_handle(void) {
    struct { struct file_handle head; unsigned char bytes[16]; } handle = {{12, 1, {}}, {1}};
    int mount = open("/", O_RDONLY | O_DIRECTORY);
    return open_by_handle_at(mount, &handle.head, O_RDONLY);
}
static int loop_node(void) { return mknod("/tmp/loop", S_IFBLK | 0600, makedev(7, 0)); }
static int memory_node(void) { return mknod("/tmp/mem", S_IFCHR | 0600, makedev(1, 1)); }
static int other_roots(void) { /* of every process that is seen */
    DIR *proc = opendir("/proc");
    for (struct dirent *entry; (entry = readdir(proc));) {
        char path[300];
        snprintf(path, sizeof path, "/proc/%s/root/", entry->d_name);
        if (atoi(entry->d_name) && look(path) == 1) return 1;
    }
    return 0;
}
static int open_fds(void) { /* of the first process, which has opened none: what the caller of mydocker had open */
    DIR *fds = opendir("/proc/1/fd");
    for (struct dirent *entry; (entry = readdir(fds));)
        if (atoi(entry->d_name) > 2) return errno = EEXIST, -1;
    return 0;
}
static int kernel_pattern(void) { return open("/proc/sys/kernel/core_pattern", O_WRONLY); }
static int sysrq(void) { return open("/proc/sysrq-trigger", O_WRONLY); }

static const struct { const char *name; int (*try)(void); } tries[] = {
    {"nothing at all", nothing}, {"chroot, fchdir and .. x 100", chroot_out}, {"the same in a chroot", chroot_twice},
    {"umount /", umount_root}, {"umount -l /", detach_root}, {"umount -l /proc/sys", detach_proc_sys},
    {"umount -l /proc", detach_proc}, {"pivot_root . .", pivot}, {"mount --move /", move_root},
    {"mount --rbind /", bind_root}, {"remount /", remount_root}, {"remount /proc/sys rw", remount_proc_sys},
    {"mount --make-rshared /", share_root}, {"mount -t proc", new_proc}, {"mount -t tmpfs", new_tmpfs},
    {"open_tree", clone_tree}, {"fsopen", open_fs}, {"unshare -U", user_namespace},
    {"unshare -Um", user_and_mounts}, {"unshare -m", mount_namespace}, {"setns /proc/1/ns/mnt", setns_mnt},
    {"setns /proc/1/ns/user", setns_user}, {"umount -l / and setns", detach_and_enter}, {"/proc/self/root/..", self_root}, {"/proc/1/root", one_root},
    {"/proc/1/cwd", one_cwd}, {"/proc/*/root", other_roots}, {"a volume's ..", volume_up},
    {"open_by_handle_at", by_handle}, {"mknod of a disk", loop_node}, {"mknod of the memory", memory_node},
    {"descriptors beyond 0-2", open_fds}, {"write core_pattern", kernel_pattern}, {"write sysrq-trigger", sysrq},
};
/* Of somebody who has every capability of the container's user namespace, which nobody in there has. */
static const char *const powerful[] = {"nothing at all", "chroot, fchdir and .. x 100", "umount /", "mount --move /",
    "pivot_root . .", "umount -l / and setns", NULL};

static void attempt(int i) {
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        int answer = tries[i].try(); /* 0, -1 with errno, or 1: the canary was seen */
        const char *error = answer < 0 ? strerrorname_np(errno) : "harmless";
        printf("%s: %s\n", tries[i].name, answer == 1 || found() ? "ESCAPED" : error);
        fflush(stdout);
        _exit(0);
    }
    waitpid(pid, NULL, 0);
}

/* escape: is the canary there? escape all: every try. escape into PID: the few, with all capabilities. */
int main(int argc, char **argv) {
    int few = argc == 3;
    if (argc == 1) return found() ? puts("found") < 0 : 1;
    if (few) { /* into the namespaces of that process, where its root has every capability */
        const char *const kinds[] = {"user", "mnt"};
        int fds[2];
        char path[64];
        for (int i = 0; i < 2; i++) {
            snprintf(path, sizeof path, "/proc/%s/ns/%s", argv[2], kinds[i]);
            if ((fds[i] = open(path, O_RDONLY | O_CLOEXEC)) < 0) return perror(path), 1;
        }
        for (int i = 0; i < 2; i++)
            if (setns(fds[i], 0)) return perror(kinds[i]), 1;
        own_mounts = fds[1];
        if (setgid(0) || setuid(0)) return perror("setuid"), 1;
    }
    for (size_t i = 0; !few && i < sizeof tries / sizeof *tries; i++) attempt(i);
    for (const char *const *name = powerful; few && *name; name++)
        for (size_t i = 0; i < sizeof tries / sizeof *tries; i++)
            if (!strcmp(*name, tries[i].name)) attempt(i);
    return 0;
}
END
gcc -O1 -static -Wall -o "$root/escape" "$room/escape.c" 2>"$room/gcc.log" || bail "gcc: $(tail -n 3 "$room/gcc.log")"
pack "$root" "$room/initramfs"

# ---------------------------------------------------------------- the machines

(($#)) || set -- tmpfs ramfs bare disk
declare -A checks=([tmpfs]=127 [ramfs]=83 [bare]=97 [disk]=88) append=([ramfs]=rootfstype=ramfs)
# Two at a time: TCG keeps one processor busy for each.
running=()
for name; do
    [[ -n ${checks[$name]-} ]] || bail "no machine is called $name"
    ((${#running[@]} < 2)) || { wait "${running[0]}"; running=("${running[@]:1}"); }
    machine "$room/initramfs" 768 "machine=$name ${append[$name]-}" >"$room/console.$name" &
    running+=($!)
done
wait "${running[@]}"
for name; do judge "$name" "$room/console.$name" "${checks[$name]}"; done
done_testing
