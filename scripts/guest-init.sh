#!/bin/busybox sh
# guest-init.sh: /init of the virtual machine that test-guest.sh boots: Linux 6.1, with
# every cgroup controller in version 2. Prints a line for each check.
# shellcheck shell=dash
export PATH=/bin:/sbin:/usr/bin:/usr/sbin HOME=/root MYDOCKER_MIRROR=http://127.0.0.1:5000
if [ -e /disk.ext4 ]; then
    # First as the initramfs: a rootfs cannot be left by pivot_root(2), a disk can.
    mount -t devtmpfs dev /dev
    insmod /modules/loop.ko
    mount -t ext4 -o loop /disk.ext4 /mnt
    mount -o move /dev /mnt/dev
    exec switch_root /mnt /init
fi
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mkdir -p /dev/pts /dev/shm /run
mount -t devpts devpts /dev/pts
exec </dev/console >/dev/console 2>&1
for module in overlay tun; do insmod /modules/$module.ko || echo "GUEST # insmod $module failed"; done
chmod 666 /dev/net/tun
ip link set lo up
hostname guest
httpd -p 127.0.0.1:5000 -h /registry

. /guest-checks.sh

# ---------------------------------------------------------------- Linux 6.1

check 'pull' '0' mydocker pull busybox
check 'run' '0 here' run busybox echo here
check 'layers: whiteouts, opaque directories' '0 last' run test/layers ls /opaque
check 'a lower directory can be removed' '0 new' run test/layers sh -c 'rm -r /odd && mkdir /odd && touch /odd/new && ls /odd'
check 'capabilities' '0 00000000a80425fb' run busybox sh -c 'grep CapEff /proc/self/status | cut -f2'
check 'no mount may be undone' '1' run busybox sh -c 'umount -l /proc/sys || umount -l /proc || exit 1'
check 'slirp4netns' '0 10.0.2.100/24' mydocker run --rm busybox sh -c 'ip -4 addr show tap0 | awk "/inet/ {print \$2}"'
check 'exit code' '7' run busybox sh -c 'exit 7'

# ---------------------------------------------------------------- cgroup version 2, root

run --memory 32m --cpus 0.5 --pids-limit 20 --cpuset-cpus 0 busybox sleep 1000 &
# shellcheck disable=SC2009 # Debian's busybox has no pgrep
for _ in $(seq 100); do ps -o comm | grep -qx sleep && break; usleep 100000; done
check 'memory.max' "0 $((32 << 20))" value memory.max
check 'memory.swap.max: as much again' "0 $((32 << 20))" value memory.swap.max
check 'cpu.max' '0 50000 100000' value cpu.max
check 'pids.max' '0 20' value pids.max
check 'cpuset.cpus' '0 0' value cpuset.cpus
check 'one process in it' '0 1' value pids.current
check 'memory.events: no OOM kill yet' '0 0' sh -c 'value memory.events | sed -n "s/^oom_kill //p"'
mydocker rm -f "$(mydocker ps | awk 'NR == 2 {print $1}')"
wait %2 2>/dev/null
check 'its cgroup is gone' '0 0' sh -c 'find /sys/fs/cgroup/mydocker -mindepth 1 -type d | wc -l'
check '64 MB do not fit into 32' '137' run --memory 32m --memory-swap 32m busybox dd if=/dev/zero of=/dev/null bs=64M count=1
check 'one CPU of two' '0 1' run --cpuset-cpus 1 busybox nproc
check 'more processes than --pids-limit: sh cannot fork' '2' \
    run --pids-limit 5 busybox sh -c 'for i in 1 2 3 4 5 6; do sleep 1 & done'
check 'memory.events: the OOM kill of a child' '0 1' sh -c 'run --memory 32m --memory-swap 32m busybox \
    sh -c "dd if=/dev/zero of=/dev/null bs=64M count=1; sleep 5" & sleep 4; value memory.events | sed -n "s/^oom_kill //p"; wait'
check '64 MB fit into 128' '0' run --memory 128m busybox dd if=/dev/zero of=/dev/null bs=64M count=1
check 'its cgroup reads as /' '0 0::/' run busybox cat /proc/self/cgroup
check 'cgroups cannot be written inside' '1' run busybox sh -c 'mkdir /sys/fs/cgroup/x || exit 1'
check 'the default limit of processes' '0 2048' sh -c 'mydocker run --rm --network none busybox sleep 5 & sleep 2
    cat /sys/fs/cgroup/mydocker/*/pids.max; wait'

# ---------------------------------------------------------------- a user

chown tester:tester /home/tester
mkdir /tmpfs
mount -t tmpfs -o mode=1777 none /tmpfs
check "a user's store on this kernel's tmpfs: without overlay" '0 last' \
    tester MYDOCKER_HOME=/tmpfs/store mydocker run --rm --network none test/layers ls /opaque
check 'a user pulls and runs' '0 0 here' tester 'mydocker run --rm --network none busybox sh -c "echo \$(id -u) here" 2>/dev/null'
check 'with all his ids' '0 0 1000 1 1 100000 65536' tester 'mydocker run --rm --network none busybox cat /proc/self/uid_map'
check 'layers' '0 last' tester 'mydocker run --rm --network none test/layers ls /opaque 2>/dev/null'
complains 'a limit without a delegated cgroup names the way out' 'systemd-run --user --scope -p Delegate=yes' \
    tester 'mydocker run --rm --network none --memory 32m busybox true'
# What systemd does for Delegate=yes: a cgroup of his own, with the controllers.
controllers='+memory +pids +cpu +cpuset'
slice=/sys/fs/cgroup/user.slice
mkdir -p $slice
echo "$controllers" >/sys/fs/cgroup/cgroup.subtree_control
echo "$controllers" >$slice/cgroup.subtree_control
# Each command in a new scope, as with systemd-run.
command delegated "scope=\$(mktemp -d $slice/scope.XXXXXX) && chmod 755 \$scope
    chown tester \$scope \$scope/cgroup.procs \$scope/cgroup.subtree_control \$scope/cgroup.threads
    echo \$\$ >\$scope/cgroup.procs; exec su tester -c \"\$*\" </dev/null"
check 'in a delegated cgroup a limit holds' '137' delegated \
    'mydocker run --rm --network none --memory 32m --memory-swap 32m busybox dd if=/dev/zero of=/dev/null bs=64M count=1'
check '  and 64 MB fit into 128' '0' delegated \
    'mydocker run --rm --network none --memory 128m busybox dd if=/dev/zero of=/dev/null bs=64M count=1'
command delegated-pids 'delegated "mydocker run --rm --network none --pids-limit 10 busybox sleep 2" &
    for _ in $(seq 50); do find /sys/fs/cgroup/user.slice -name pids.max -exec grep -hx 10 {} + && break; usleep 100000; done
    wait'
check '  pids' '0 10' delegated-pids
check '  no container is left in it' '0 0' sh -c "find $slice -type d -name '[0-9a-f]*' | wc -l"
echo 'GUEST done'
sync
poweroff -f
