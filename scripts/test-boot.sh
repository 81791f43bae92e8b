#!/bin/bash
# test-boot.sh: mydocker as pid 1 of a machine, src/boot.rs: QEMU starts a kernel with an initramfs that has the engine,
# busybox, modules and an archive of an image, and no /init. What is looked at is the console, and how QEMU ends.
. "$(dirname "$0")/lib-guest.sh"
only_x86_64
need_images
limit=100

# ---------------------------------------------------------------- the initramfs

root=$room/guest
mkdir -p "$root"/{bin,dev,modules,images}
cp "$mydocker" "$root/mydocker"
cp "$(command -v busybox)" "$root/bin/busybox"
for applet in sh tar gzip sha256sum sleep mount insmod; do ln -s busybox "$root/bin/$applet"; done
number=10
# In the order in which they need each other; what is no module here is in the kernel.
for module in overlay virtio_ring virtio virtio_pci_legacy_dev virtio_pci_modern_dev virtio_pci failover net_failover virtio_net; do
    cp "$guest/$module.ko" "$root/modules/$number-$module.ko" || bail "no $module.ko in $guest"
    number=$((number + 1))
done
skopeo copy -q "oci:$images/layouts/busybox:latest" "docker-archive:$root/images/busybox.tar:busybox:latest"
cp -r "$images/layouts/layers" "$root/images/layers"
# boot INITRAMFS APPEND OPTION...: starts the machine and waits for its end: $rc and $console, which is without
# carriage returns. What a shell function called `meanwhile` does happens while the machine runs.
boot() {
    timeout -k 5 "$limit" qemu-system-x86_64 -accel tcg,thread=multi -cpu max -m 512 -smp 2 -display none -no-reboot \
        -serial "file:$room/console" -monitor "unix:$room/monitor,server,nowait" \
        -kernel "$guest/vmlinuz" -initrd "$1" -append "console=ttyS0 panic=-1 $2" "${@:3}" </dev/null >"$room/qemu" 2>&1 &
    local qemu=$!
    [[ $(type -t meanwhile) != function ]] || meanwhile
    wait "$qemu"
    rc=$?
    unset -f meanwhile
    console=$(tr -d '\r' <"$room/console" | sed 's/\x1b\[[0-9;?]*[a-zA-Z]//g')
    ended_in_order
}
# The kernel's own words at the end; a panic would be -no-reboot's end with code 0, too.
ended_in_order() {
    local last
    last=$(tail -n 1 <<<"$console")
    [[ $rc == 0 && $last == *'reboot: Power down' && $console != *'Kernel panic'* ]]
    report $((!$?)) '  the machine is powered off' || { note "exit code $rc, console" "$(tail -n 20 <<<"$console")"; note qemu "$(<"$room/qemu")"; }
}
said() { grep -c "^mydocker: $1\$" <<<"$console"; }
count() { grep -cE -- "$1" <<<"$console"; }
shows() { # DESCRIPTION REGEX: on the console, where the lines of several processes may run into each other
    grep -qE -- "$2" <<<"$console"
    report $((!$?)) "$1" || { note 'wanted a line' "$2"; note console "$(tail -n 25 <<<"$console")"; }
}

# ---------------------------------------------------------------- a container, and what it stands in

# What is seen of the machine through its root directory, mounted as /host. Each line begins with a word of its own.
cat >"$root/bin/look" <<'END'
#!/bin/sh
echo "shm $(grep -c '^tmpfs /host/dev/shm tmpfs rw,nosuid,nodev' /proc/self/mounts)"
echo "pts $(grep -cE '^devpts /host/dev/pts devpts .*gid=5,mode=620,ptmxmode=666' /proc/self/mounts)"
echo "fs $(for place in dev proc sys sys/fs/cgroup; do grep " /host/$place " /proc/self/mounts | cut -d ' ' -f 3; done | xargs)"
echo "tmp $(stat -c %a /host/tmp /host/run /host/etc | xargs)"
echo "links $(for link in fd stdin stdout stderr; do readlink /host/dev/$link; done | xargs)"
echo "controllers $(cat /host/sys/fs/cgroup/cgroup.subtree_control)"
echo "images $(ls /host/images | xargs)"
echo "hosts $(cat /host/etc/hosts | xargs)"
echo "resolv $(cat /host/etc/resolv.conf | xargs)"
echo "limit $(cat /host/sys/fs/cgroup/mydocker/*/memory.max)"
echo "address $(ip -o -4 addr | awk '{print $2, $4}' | xargs)"
echo "route $(ip route | grep ^default)"
echo "flags $(ip link | grep -o '<.*eth0\|eth0.*>' | grep -c 'MULTICAST,UP')"
echo "zombies $(cat /host/proc/[0-9]*/stat 2>/dev/null | grep -c ') Z ')"
echo "udhcpc $(cat /host/proc/[0-9]*/cmdline 2>/dev/null | tr '\0' ' ' | grep -c 'busybox udhcpc')"
END
cat >"$root/bin/trap" <<'END'
trap 'echo got INT; exit 130' INT
echo ready
while :; do sleep 0.1; done
END
pack "$root" "$room/initramfs"

boot "$room/initramfs" "quiet rdinit=/mydocker mydocker.ip=10.0.2.77/24,10.0.2.2,10.0.2.3 \
mydocker=\"run --rm --network host -m 64m -v /:/host -v /bin/look:/look busybox sh -c 'sh /look; exit 7'\"" \
    -nic user,restrict=on,model=virtio-net-pci
shows 'an archive in /images is loaded' 'Loaded image: busybox:latest'
shows '  a directory, too' 'Loaded image: layers:latest'
shows '  and both are removed' '^images $'
shows 'pid 1 has mounted dev, proc, sys, cgroup2' 'fs devtmpfs proc sysfs cgroup2'
shows '  devpts' 'pts 1'
shows '  shm' 'shm 1'
shows '  made run, tmp, etc' 'tmp 1777 755 755'
shows '  links in /dev' 'links /proc/self/fd /proc/self/fd/0 /proc/self/fd/1 /proc/self/fd/2'
shows '  /etc/hosts' 'hosts 127.0.0.1 localhost ::1 localhost'
like '  handed the controllers down' "$(grep '^controllers ' <<<"$console")" 'cpuset cpu io memory.* pids'
shows 'a limit holds' 'limit 67108864'
shows 'lo is up, and the first card has its address' 'address lo 127.0.0.1/8 eth0 10.0.2.77/24$'
shows '  and can do multicast' 'flags 1'
shows '  its router' 'route default via 10.0.2.2 dev eth0 *'
shows '  its name server' 'resolv nameserver 10.0.2.3'
is 'the exit code is said, once' "$(said 'the command ended with exit code 7')" 1
is '  and there was no warning' "$(count '^mydocker: warning')" 0

# ---------------------------------------------------------------- dhcp

# Without restrict=on QEMU's server offers a router and a name server, too; the test's network has no way out.
boot "$room/initramfs" "quiet rdinit=/mydocker mydocker.ip=dhcp \
mydocker=\"run --rm --network host -v /:/host busybox sh -c 'sh /host/bin/look; nc 10.0.2.100 80'\"" \
    -nic "user,model=virtio-net-pci,guestfwd=tcp:10.0.2.100:80-cmd:echo answered"
shows 'dhcp: the address of the lease' 'address lo 127.0.0.1/8 eth0 10.0.2.15/24'
shows '  its router' 'route default via 10.0.2.2 dev eth0 *'
shows '  its name server' 'resolv nameserver 10.0.2.3'
shows '  somebody answers' 'answered'
shows '  udhcpc stays' 'udhcpc 1'
is '  and says nothing' "$(count '^udhcpc: ')" 0
is 'the exit code' "$(said 'the command ended with exit code 0')" 1

# ---------------------------------------------------------------- after another init, with what it has left

# Everything that can be there already is; standard input, output and error are closed; processes without a parent:
# one ends soon, one does not end at SIGTERM, one sends signals to pid 1.
second=$room/second
cp -a "$root" "$second"
mkdir "$second/mnt"
cp "$guest/loop.ko" "$second/"
truncate -s 8M "$second/disk.ext4"
mke2fs -q -t ext4 "$second/disk.ext4" || bail 'mke2fs failed'
cat >"$second/first" <<'END'
#!/bin/busybox sh
export PATH=/bin mydocker="-v run --rm --network none -v /:/host busybox sh -c 'trap \"echo got USR1\" USR1; trap \"echo got TERM; exit 9\" TERM; sh /host/bin/look; echo looked; while :; do sleep 0.1; done'"
busybox mkdir -p /proc /dev /sys /tmp /etc /dev/pts
busybox chmod 700 /tmp
mount -t devtmpfs dev /dev
busybox mkdir -p /dev/pts
mount -t proc proc /proc
mount -t devpts devpts /dev/pts
mount -t sysfs sys /sys
echo earlier >/proc/sys/kernel/hostname
echo 192.0.2.1 own >/etc/hosts
insmod /modules/10-overlay.ko
insmod /loop.ko
mount -t ext4 -o loop /disk.ext4 /mnt
(sleep 0.5 &)
(busybox sh -c 'trap "" TERM; sleep 1000; sleep 1000' &)
(busybox sh -c 'until [ -e /tmp/go ]; do sleep 0.1; done; kill -USR1 1; sleep 1; kill -PWR 1' &)
exec /mydocker <&- >&- 2>&-
END
sed -i 's/echo looked;/echo looked; touch \/host\/tmp\/go;/' "$second/first"
chmod 755 "$second/first"
pack "$second" "$room/initramfs2"
boot "$room/initramfs2" 'rdinit=/first quiet' -nic none
shows 'after another init: its file systems stay' 'fs devtmpfs proc sysfs cgroup2'
shows '  its devpts' 'pts 0'
shows '  its directories' 'tmp 700 755 755'
shows '  its /etc/hosts' 'hosts 192.0.2.1 own'
is '  a module that is loaded is no error' "$(count 'finit_module\([0-9]+, "", 0\) = -1 EEXIST')" 1
is '  nor is anything else' "$(count '^mydocker: warning')" 0
shows 'closed standard streams: it speaks all the same' '^looked'
shows 'every orphan is waited for' 'zombies 0'
shows 'a signal to pid 1 is the command'"'"'s' '(^|")got USR1'
shows '  SIGPWR is a SIGTERM for it' '(^|")got TERM'
is '  and it has ended so' "$(said 'the command ended with exit code 9')" 1
is '  so is the host name' "$(count '^init +sethostname')" 0
like 'a process that ignores SIGTERM is killed' "$console" '^init +\.\.\. .* 2 kill, .*   until all have ended'
like '  then the disk is unmounted' "$console" '^init +umount2\("/mnt", 0\) = 0'

# ---------------------------------------------------------------- Ctrl-Alt-Del, and nobody to wait for

meanwhile() {
    eventually 600 grep -q '^ready' "$room/console" || return
    /usr/bin/python3 -c 'import socket, sys, time
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
s.recv(4096)
s.sendall(b"sendkey ctrl-alt-delete\n")
time.sleep(0.5)' "$room/monitor"
}
boot "$room/initramfs" "quiet rdinit=/mydocker \
mydocker=\"-v run --rm --network none -v /bin/trap:/trap busybox sh /trap\"" -nic none
shows 'Ctrl-Alt-Del is a SIGINT for the command' '(^|")got INT'
is '  and not the end of the machine' "$(said 'the command ended with exit code 130')" 1
like '-v: pid 1 tells its own calls' "$console" '^init +mount\("tmpfs", "/dev/shm", "tmpfs", MS_NOSUID\|MS_NODEV, "mode=1777"\) = 0 +.*\[boot, boot\.rs:[0-9]+\]$'
like '  it has given the machine a name' "$console" '^init +sethostname\("mydocker", 8\) = 0'
is '  each has a reason' "$(count '^init .* {6}\[boot, ')" 0
like '  and the command its own' "$console" '^engine clone\(.*CLONE_NEWPID'

# ---------------------------------------------------------------- what cannot be

boot "$room/initramfs" "quiet rdinit=/mydocker mydocker.ip=10.0.2.15 mydocker=images" -nic none
is 'an ip= that is nonsense' "$(said 'mydocker.ip=10.0.2.15 is not understood (mydocker.ip=dhcp, or ADDRESS/BITS,GATEWAY,DNS as in .*)')" 1
is '  nothing runs' "$(count 'Loaded|REPOSITORY|ended with')" 0

boot "$room/initramfs" "quiet rdinit=/mydocker" -nic none
is 'no command' "$(said "no command given, or a ' is not closed (mydocker=\"run IMAGE\" on the kernel's command line)")" 1

boot "$room/initramfs" "quiet rdinit=/mydocker mydocker.ip=10.0.2.15/24 mydocker=nonsense" -nic none
is 'no card: a warning' "$(said 'warning: mydocker.ip=: there is no network card (.*)')" 1
is '  and on it goes: a command that is none' "$(said 'unknown command "nonsense" (usage: .*)')" 1
is '  its exit code' "$(said 'the command ended with exit code 125')" 1
done_testing
