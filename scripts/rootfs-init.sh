#!/bin/busybox sh
# rootfs-init.sh: /init of the virtual machines that test-rootfs.sh boots: Linux 6.1, whose / is a rootfs that this
# script does not leave, but for the machine `disk`, which is there to be compared with. Prints a line for each check.
# shellcheck shell=dash disable=SC2154 # machine: from the kernel's command line
export HOME=/root MYDOCKER_MIRROR=http://127.0.0.1:5000
PATH=/bin:/sbin:/usr/bin:/usr/sbin
if [ "$machine" = disk ] && [ -e /registry ]; then
    mount -t tmpfs -o mode=755 none /mnt
    for entry in /*; do [ "$entry" = /mnt ] || cp -a "$entry" /mnt/; done
    mkdir -p /mnt/mnt
    mv /mnt/registry /mnt/served
    exec switch_root /mnt /init
fi
[ "$machine" = bare ] || PATH=/tools:$PATH

. /guest-checks.sh
# says DESCRIPTION REGEX COMMAND...: success, and a line on standard error that matches.
says() {
    description=$1 regex=$2
    shift 2
    timeout 60 "$@" >/dev/null 2>/tmp/said </dev/null
    check "$description" '0 0 1' sh -c "cat /tmp/said >&2; echo $? \$(grep -cE '$regex' /tmp/said)"
}
command root 'exec sh -c "$*"'
# What stays behind: processes, user namespaces, mounts, cgroups.
command remains 'cat /proc/[0-9]*/comm 2>/dev/null | grep -xE "mydocker|slirp4netns|curl|tar|gzip|openssl|sleep"
    ls -l /proc/[0-9]*/ns/user 2>/dev/null | sed "s/.* -> //" | sort -u
    sed "s/^[0-9]* [0-9]* //" /proc/1/mountinfo
    find /sys/fs/cgroup/mydocker -mindepth 1 -type d 2>/dev/null'
remember() { remains >/tmp/remained; }
command nothing-remains 'for _ in 1 2 3 4 5 6 7 8 9; do remains >/tmp/remains.now; cmp -s /tmp/remained /tmp/remains.now && exit; usleep 200000; done
    diff /tmp/remained /tmp/remains.now'
# Of a store: all that is being made, and containers.
command leftovers 'cd "$1" && find tmp containers -mindepth 1 ! -name "*lock*"'
await() { for _ in $(seq 100); do "$@" >/dev/null 2>&1 && return; usleep 100000; done; }
# shellcheck disable=SC2009 # Debian's busybox has no pgrep
running() { ps -o args | grep -q "^$1"; }

mount_all() {
    mount -t proc proc /proc
    mount -t sysfs sys /sys
    mount -t devtmpfs dev /dev
    exec </dev/console >/dev/console 2>&1
    ip link set lo up
    hostname guest
    [ "$machine" = bare ] && return
    mount -t cgroup2 cgroup2 /sys/fs/cgroup
    mkdir -p /dev/pts /dev/shm /run
    mount -t devpts devpts /dev/pts
    for module in overlay tun; do insmod /modules/$module.ko || echo "GUEST # insmod $module failed"; done
    chmod 666 /dev/net/tun
    chown tester:tester /home/tester
    registry=/registry
    [ -e $registry ] || registry=/served
    httpd -p 127.0.0.1:5000 -h $registry
}

# ---------------------------------------------------------------- ways out

# The same answers everywhere, whatever / is and whoever calls.
cat >/answers <<'END'
nothing at all: harmless
chroot, fchdir and .. x 100: harmless
the same in a chroot: harmless
umount /: EPERM
umount -l /: EPERM
umount -l /proc/sys: EPERM
umount -l /proc: EPERM
pivot_root . .: EPERM
mount --move /: EPERM
mount --rbind /: EPERM
remount /: EPERM
remount /proc/sys rw: EPERM
mount --make-rshared /: EPERM
mount -t proc: EPERM
mount -t tmpfs: EPERM
open_tree: EPERM
fsopen: EPERM
unshare -U: ENOSPC
unshare -Um: ENOSPC
unshare -m: EPERM
setns /proc/1/ns/mnt: EPERM
setns /proc/1/ns/user: EINVAL
umount -l / and setns: EPERM
/proc/self/root/..: harmless
/proc/1/root: harmless
/proc/1/cwd: harmless
/proc/*/root: harmless
a volume's ..: harmless
open_by_handle_at: EPERM
mknod of a disk: EPERM
mknod of the memory: EPERM
descriptors beyond 0-2: harmless
write core_pattern: EROFS
write sysrq-trigger: EROFS
END
mounts='/ /dev/full /dev/mqueue /dev/null /dev/pts /dev/random /dev/shm /dev/tty /dev/urandom /dev/zero'
# escapes WHO COMMAND: each try and its answer. The canary is one: outside it is found.
escapes() {
    who=$1 as=$2
    # These belong to the host's root: to a user's container the kernel says so first.
    sed "$([ "$who" = root ] || echo s/EROFS/EACCES/)" /answers >/tmp/answers
    # Without the filter, which would refuse most of them before the kernel has to.
    "$as" mydocker run --rm --network none --security-opt seccomp=unconfined -v /escape:/escape:ro busybox /escape all </dev/null >/tmp/tried 2>/tmp/err 9</canary
    while IFS= read -r wanted; do
        tried=
        IFS= read -r tried <&3
        verdict "$who: $wanted" "$wanted" "$tried"
    done </tmp/answers 3</tmp/tried
    check "$who: no mount of the host's" "0 $mounts" "$as" "mydocker run --rm --network none busybox cat /proc/self/mountinfo |
        awk '{ print \$5 }' | grep -vE '^/(proc|sys)(/|$)' | sort"
}


# powerful WHO COMMAND WANTED...: what somebody could do who had every capability that nobody in there has.
command into 'pid=$(ps -o pid,args | awk "\$2 == \"sleep\" && \$3 == 77 { print \$1 }"); exec /escape into $pid'
powerful() {
    who=$1 as=$2 wanted=$3
    "$as" mydocker run --rm --network none busybox sleep 77 </dev/null &
    await running 'sleep 77'
    check "$who: with every capability of its namespace" "0 $wanted" into
    "$as" mydocker rm -f "$("$as" mydocker ps | awk 'NR == 2 { print $1 }')" >/dev/null
    wait $!
}
locked='nothing at all: harmless chroot, fchdir and .. x 100: harmless umount /: EINVAL mount --move /: EINVAL pivot_root . .: EINVAL umount -l / and setns: EINVAL'
# A user's container on a rootfs has left it by itself, and what lies below is not locked: it is the capability alone
# that keeps the container there. To be known, and to fail when that has changed.
loose='nothing at all: harmless chroot, fchdir and .. x 100: harmless umount /: EPERM mount --move /: ELOOP pivot_root . .: EBUSY umount -l / and setns: ESCAPED'

# ---------------------------------------------------------------- containers

# containers WHO COMMAND: what a container is on any host.
containers() {
    who=$1 as=$2
    check "$who: pull" '0' "$as" mydocker pull busybox
    check "$who: run" '0 0 here' "$as" 'mydocker run --rm --network none busybox sh -c "echo \$(id -u) here"'
    check "$who: exit code" '7' "$as" 'mydocker run --rm --network none busybox sh -c "exit 7"'
    check "$who: no such command" '127' "$as" 'mydocker run --rm --network none busybox /nowhere'
    check "$who: a signal" '137' "$as" 'mydocker run --rm --network none busybox sh -c "sleep 1 & kill -9 \$!; wait \$!"'
    check "$who: -u" '0 1000 1000' "$as" 'mydocker run --rm --network none -u alice busybox sh -c "echo \$(id -u) \$(id -g)"'
    check "$who: a volume" '0 in the volume' "$as" 'mydocker run --rm --network none -v /tmp/volume:/data busybox sh -c "cat /data/file; touch /data/new"'
    check "$who: the host sees what is written there" '0 file new' ls /tmp/volume
    check "$who: a volume that is read-only" '1' "$as" 'mydocker run --rm --network none -v /tmp/volume:/data:ro busybox rm /data/new'
    rm /tmp/volume/new
    check "$who: --tmpfs" '0 tmpfs' "$as" 'mydocker run --rm --network none --tmpfs /data busybox awk "\$2 == \"/data\" {print \$3}" /proc/mounts'
    check "$who: --read-only" '1' "$as" 'mydocker run --rm --network none --read-only busybox touch /x'
    check "$who: what a container writes, the next one does not see" '1' \
        "$as" 'mydocker run --rm --network none busybox touch /x && mydocker run --rm --network none busybox ls /x'
    check "$who: two at once" '0 one two' "$as" 'for word in one two; do
        mydocker run --rm --network none busybox sh -c "echo $word; sleep 1" >/tmp/$word & done; wait; cat /tmp/one /tmp/two; rm /tmp/one /tmp/two'
    "$as" mydocker run --name loop --network none busybox sleep 88 </dev/null 2>/dev/null &
    await running 'sleep 88'
    check "$who: rm of a running one" '125' "$as" 'mydocker rm loop'
    check "$who: rm -f" '0 loop' "$as" 'mydocker rm -f loop'
    wait $!
    check "$who: it had been killed" '0 137' echo $?
    check "$who: nothing remains" '0' nothing-remains
}
# killed WHO COMMAND STORE: kill -9 of the engine.
command engine 'ps -o pid,args | awk "\$2 == \"mydocker\" && \$3 == \"run\" { print \$1 }"'
killed() {
    who=$1 as=$2 store=$3
    "$as" 'exec mydocker run --name killed --network none busybox sleep 99' </dev/null 2>/dev/null &
    await running 'sleep 99'
    kill -9 "$(engine)"
    wait $!
    check "$who: kill -9 of the engine ends the container" '0' sh -c 'sleep 1; ps -o args | grep "^sleep 99"; true'
    check "$who: ps -a knows it" '0 1' "$as" 'mydocker ps -a | grep -c killed'
    check "$who: rm" '0 killed' "$as" 'mydocker rm killed'
    check "$who: nothing of it is left" '0' leftovers "$store"
    check "$who: nothing remains" '0' nothing-remains
}
# network WHO COMMAND FLAG: slirp4netns, and whether it is in a sandbox of its own.
command sandbox 'for file in /proc/[0-9]*/cmdline; do tr "\\0" " " <$file | grep slirp4netns; done 2>/dev/null | grep -c -e --enable-sandbox'
network() {
    check "$1: slirp4netns" '0 10.0.2.100/24' "$2" 'mydocker run --rm busybox sh -c "ip -4 addr show tap0 | awk \"/inet/ {print \\\$2}\""'
    "$2" mydocker run --rm busybox sleep 66 </dev/null &
    await running 'sleep 66'
    check "$1: its sandbox" "$3" sandbox
    "$2" mydocker rm -f "$("$2" mydocker ps | awk 'NR == 2 { print $1 }')" >/dev/null
    wait $!
    check "$1: nothing remains" '0' nothing-remains
}
# Which way a run takes off `/`, as -v tells it.
command way 'mydocker -v run --rm --network none busybox true 2>&1 | grep -oE "engine.*the same tree once more|child.*the same tree once more|fsopen\(\"overlay|, \"overlay\", |copied the layers here" |
    sed "s/[ :[].*the same/: the same/" | tr -d "\"" | sort -u'

# Memory: an image once, and nothing of its blobs.
shmem() { sync; awk '/^Shmem:/ { print $2 }' /proc/meminfo; }
once() { # WHAT COMMAND...: the store's layers and what memory grew by, in KB
    before=$(shmem)
    "$@" >/tmp/out 2>&1 </dev/null || cat /tmp/out
    grown=$(($(shmem) - before))
    layers=$(du -sk "$MYDOCKER_HOME"/layers | cut -f1)
    echo "GUEST # $*: layers $layers KB, memory grew by $grown KB"
    check "$*: memory grows by the layers once" '0 1' sh -c "echo $((grown * 10 > layers * 8 && grown * 10 < layers * 12))"
    check "$*: nothing is left in tmp" '0' leftovers "$MYDOCKER_HOME"
}
memory() {
    export MYDOCKER_HOME=/tmp/store
    once mydocker load -i /archives/noise.tar
    rm -r "$MYDOCKER_HOME"
    once mydocker pull noise
    check 'no file is there twice' '0 1' sh -c "find $MYDOCKER_HOME -size +4000k | wc -l"
    rm -r "$MYDOCKER_HOME"
    unset MYDOCKER_HOME
}

# ---------------------------------------------------------------- what an initramfs lacks

lacking() {
    complains 'no /proc: run' 'mount -t proc proc /proc' run busybox true
    complains 'no /proc: load' 'mount -t proc proc /proc' mydocker load -i /archives/layers.tar
    check '  and made no store' '1' sh -c 'find /root/.config /containers 2>/dev/null | grep .'
    mount_all
    date -s @1000 >/dev/null
    mv /etc/passwd /etc/group /tmp/
    check 'no file of these' '1' sh -c 'ls /etc/passwd /etc/resolv.conf /dev/pts/ptmx /sys/fs/cgroup/* 2>/dev/null | grep .'
    check 'no program but busybox' '1' sh -c 'for program in tar gzip sha256sum; do readlink -f $(which $program); done | grep -v /bin/busybox'
    check 'load: gzip and sha256sum of busybox' '0 Loaded image: noise:latest' mydocker load -i /archives/noise.tar
    check 'load: tar of busybox' '0 Loaded image: test/layers:latest' mydocker load -i /archives/layers.tar
    mydocker load -i /archives/busybox.tar >/dev/null
    remember
    check 'run in 1970' '0 here' run busybox echo here
    check 'files keep their times' '0 1700000000' run busybox date -r /bin/busybox +%s
    check 'the clock is that of the host' '0 1970' run busybox date +%Y
    check 'whiteouts' '0 last' run test/layers ls /opaque
    check '  none is to be seen' '0' run test/layers find / -xdev -name '.wh.*' ! -name '.wh-not'
    check 'the layers are copied' '0 copied the layers here engine: the same tree once more' way
    complains '--memory: mount -t cgroup2' 'mount -t cgroup2 none /sys/fs/cgroup' run --memory 32m busybox true
    echo 0 >/proc/sys/user/max_user_namespaces
    complains 'no user namespaces are allowed' 'sysctl -w user.max_user_namespaces' run busybox true
    echo 4096 >/proc/sys/user/max_user_namespaces
    mkdir /small
    export MYDOCKER_HOME=/small/store
    mount -t tmpfs -o size=4m none /small
    complains 'the store is full: load' 'No space left on device' mydocker load -i /archives/noise.tar
    check '  nothing half-made is left' '0' sh -c 'cd /small/store && find layers images tmp containers -mindepth 1 ! -name "*lock*"'
    umount /small
    mount -t tmpfs -o size=10m none /small
    mydocker load -i /archives/noise.tar >/dev/null
    complains 'the store is full: run' 'No space left on device' run noise true
    check '  nothing half-made is left' '0' leftovers /small/store
    umount /small
    unset MYDOCKER_HOME
    check 'nothing remains' '0' nothing-remains
    mv /tmp/passwd /tmp/group /etc/
    chown tester:tester /home/tester
    tester mydocker load -i /archives/busybox.tar >/dev/null
    says 'no newuidmap: one id, and a warning' 'one id only.*newuidmap' tester mydocker run --rm --network none busybox true
    check '  and it runs' '0 0 here' tester 'mydocker run --rm --network none busybox sh -c "echo \$(id -u) here"'
    check '  its layers copied' '0 child: the same tree once more copied the layers here' tester way
    check 'nothing remains' '0' nothing-remains
}

if [ "$machine" = bare ]; then
    lacking
else
    mount_all
    mkdir -m 777 /tmp/volume
    echo 'in the volume' >/tmp/volume/file
    remember
    for user in root tester; do
        check "$user: load" '0 Loaded image: busybox:latest' $user mydocker load -i /archives/busybox.tar
    done
fi
check 'the canary is found where it is' '0 found' /escape
escapes root root
escapes tester tester
powerful root root "$locked"
if [ "$machine" = disk ]; then powerful tester tester "$locked"; else powerful tester tester "$loose"; fi
case $machine in
    tmpfs)
        containers root root
        containers tester tester
        killed root root /root/.config/mydocker
        killed tester tester /home/tester/.config/mydocker
        network root root '0 1'
        network tester tester '1 0'
        check 'root: the way off the rootfs' '0 engine: the same tree once more fsopen(overlay' way
        check 'tester: the way off the rootfs' '0 child: the same tree once more copied the layers here' tester way
        ;;
    ramfs)
        network root root '0 1'
        network tester tester '1 0'
        check 'root: the way off the rootfs' '0 copied the layers here engine: the same tree once more' way
        check 'tester: the way off the rootfs' '0 child: the same tree once more copied the layers here' tester way
        ;;
    disk)
        network root root '0 1'
        network tester tester '0 1'
        check 'root: the way is the plain one' '0 fsopen(overlay' way
        check 'tester: the way is the plain one' '0 copied the layers here' tester way
        memory
        ;;
esac
echo 'GUEST done'
poweroff -f
