#!/bin/busybox sh
# attack-inside-guest.sh: /init of the virtual machine that test-attack-inside.sh boots: Linux 6.1, whose / is the rootfs
# of an initramfs, and cgroup version 2. The attacks of attacks-inside.sh as root and as the user tester; what they
# answer is printed, `ATTACK user|options|line`, and judged by the test. The checks are of what the host is afterwards.
# shellcheck shell=dash disable=SC2154,SC2086,SC3045 # canary: from the kernel's command line, key_root by eval; names are one word; it is busybox's read
export HOME=/root PATH=/tools:/bin:/sbin:/usr/bin:/usr/sbin HOST_SECRET='the secret of the host'
if [ "$1" != inner ]; then
    mount -t proc proc /proc
    mount -t sysfs sys /sys
    mount -t devtmpfs dev /dev
    # A session with a terminal of its own, as a login has.
    setsid -c sh /init inner </dev/ttyS0 >/dev/ttyS0 2>&1
    [ ! -e /switched ] || poweroff -f
    # Once more on another root, with /proc and /sys left mounted on the rootfs below it.
    mount -t tmpfs -o mode=755 none /mnt
    mkdir /mnt/proc /mnt/sys /mnt/dev
    cp -a /attack /bin /etc /hostile /init /guest-checks.sh /lib* /root /sbin /tmp /tools /usr /mnt/
    mkdir -p "/mnt$canary"
    cp -a "$canary/secret" "/mnt$canary/"
    touch /mnt/switched
    exec switch_root /mnt /init
fi
if [ -e /switched ]; then
    /bin/mydocker run --rm --network none --cap-add ALL --security-opt seccomp=unconfined -e CANARY="$canary/secret" \
        -v /attack:/attack:ro hostile /attack/attack all </dev/null 2>&1 | sed 's/^/ATTACK switched||/'
    echo 'GUEST done'
    exit
fi
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mkdir -p /dev/pts /dev/shm /run
mount -t devpts devpts /dev/pts
for module in overlay tun; do insmod /modules/$module.ko || echo "GUEST # insmod $module failed"; done
chmod 666 /dev/net/tun
chown -R tester:tester /home/tester
ip link set lo up
hostname guest
httpd -p 127.0.0.1:8001 -h "$canary"
. /guest-checks.sh

# tester's engine is his own file, which he may write.
cp /bin/mydocker /home/tester/mydocker
chown tester:tester /home/tester/mydocker
command engine-root 'exec /bin/mydocker "$@"'
command engine-tester 'exec /home/tester/mydocker "$@"'
# by USER COMMAND...
command by 'user=$1
    shift
    [ "$user" = tester ] || exec "$@"
    cd /home/tester && HOME=/home/tester exec /attack/attack as 1000 "$@"'

# What an attacker must not have changed.
command state "ls -ld --full-time $canary $canary/*
    cat $canary/secret"'
    sha256sum /bin/mydocker /home/tester/mydocker
    ls -la --full-time /bin/mydocker /home/tester/mydocker
    ls -la /dev/null /dev/zero /dev/full /dev/random /dev/urandom /dev/tty
    for dir in kernel vm fs; do
        find /proc/sys/$dir -type f -perm -200 ! -path "*/random/*" ! -name ns_last_pid -exec grep -sH "" {} +
    done
    hostname
    cat /tmp/caught
    sed "s/^[0-9]* [0-9]* //" /proc/1/mountinfo
    find /sys/fs/cgroup -type d ! -path /sys/fs/cgroup/mydocker'
: >/tmp/caught
mkdir /held
cp /bin/busybox /held/sh
mkdir -m 777 /volume
echo mine >/volume/secret

/attack/attack shm 21554
/attack/attack listen mydocker-canary &
handle=$(/attack/attack handle "$canary")
(trap 'echo caught >>/tmp/caught' URG; while :; do sleep 1000 & wait $!; done) &

tries() { # USER OPTION...
    user=$1
    shift
    # shellcheck disable=SC2046 # words
    by "$user" engine-"$user" run --rm --network none $(printf -- '-e %s ' CANARY="$canary/secret" HANDLE="$handle" SHM=21554 \
        ABSTRACT=mydocker-canary $(eval "echo \$key_$user")) -v /attack:/attack:ro "$@" hostile \
        sh -c '(ls /proc/1/fd >/tmp/fds); exec /attack/attacks-inside.sh all' </dev/null 9</ 2>&1 | sed "s/^/ATTACK $user|$*|/"
}
stub() { # its pid
    for exe in /proc/[0-9]*/exe; do
        [ "$(readlink "$exe")" != '/memfd:stub (deleted)' ] || echo "$exe" | cut -d / -f 3
    done
}
program() { echo "$(readlink "/proc/$1/exe"): $(sha256sum <"/proc/$1/exe" | cut -d ' ' -f 1)"; } # PID
until_there() { # COMMAND...: for 20 seconds at most
    for _ in $(seq 200); do
        [ -z "$("$@" 2>/dev/null)" ] || return
        sleep 0.1
    done
}
own_program() { # USER OPTION...: the stub is attacked: see test-attack-inside.sh
    user=$1
    shift
    rm -f /held/go /tmp/holder /tmp/kept
    /attack/attack hold /held/sh >/tmp/holder 2>&1 &
    holder=$!
    until_there grep held /tmp/holder
    by "$user" engine-"$user" run --rm --network none "$@" -v /attack:/attack:ro -v /held:/held:ro hostile \
        /held/sh -c 'until [ -e /held/go ]; do sleep 0.1; done; echo "let go"' >/tmp/let 2>/tmp/err </dev/null &
    engine=$!
    until_there stub
    pid=$(stub)
    was=$(program "$pid")
    /attack/attack into "$pid" /attack/attacks-inside.sh exe 2>&1 | sed "s/^/ATTACK $user|$*|/"
    is=$(program "$pid")
    /attack/attack into "$pid" /attack/attack kept 1 >/tmp/kept 2>&1 &
    kept=$!
    until_there grep 'kept open' /tmp/kept
    kill "$holder"
    wait "$kept"
    touch /held/go
    wait "$engine"
    ended="$is $? $(cat /tmp/let)"
    verdict "$user $*: the stub is attacked, and stays the same; let go, it becomes the command" \
        "/memfd:stub (deleted): ${was##* } 0 let go" "$ended"
    sed "s/^/ATTACK $user|$*|/" /tmp/kept
}
terminal() { # USER OPTION...: the console is standard input alone
    user=$1
    shift
    by "$user" engine-"$user" run --rm --network none "$@" -v /attack:/attack:ro hostile /attack/attack tty </dev/ttyS0 2>&1 | sed "s/^/ATTACK $user|$*|/"
    typed=
    read -r -t 1 typed </dev/ttyS0
    echo "ATTACK $user|$*|tty end: <$typed>"
}

for user in root tester; do
    check "$user: load" '0' by $user sh -c "engine-$user load -i /hostile >/dev/null"
    eval "key_$user=\$(by $user /attack/attack key \"\$HOST_SECRET\")"
done
state >/tmp/was
powerful='--cap-add ALL --security-opt seccomp=unconfined'
for user in root tester; do
    tries $user
    {
        tries $user $powerful
        own_program $user $powerful
        terminal $user $powerful
        if [ $user = root ]; then # a container of tester's takes longer: its layers are copied
            tries $user --cap-add SYS_ADMIN
            own_program $user
            terminal $user
        fi
    }
    check "$user: an image whose command is /proc/self/exe, or a script of it (CVE-2019-5736), runs no engine" '0 127 127 127' \
        by $user sh -c "for command in /proc/self/exe '/proc/self/exe pull x' /script; do
            engine-$user run --rm --network none hostile \$command; echo \$?; done"
    escaped=
    for path in /proc/self/fd/7 /fd; do
        by $user engine-$user run --rm --network none -w $path hostile sh -c 'cat canary/secret; ls modules' </dev/null >/tmp/out 2>&1 9</
        case "$? $(grep -v '^mydocker' /tmp/out)" in '125 ' | '126 ') ;; *) escaped="$escaped $path" ;; esac
    done
    check "$user: -w /proc/self/fd/N (CVE-2024-21626) is refused" '0' echo "$escaped"
    escaped=
    for odd in -1 4294967295 4294967296 18446744073709551616 0x0 +0 ' 0' ../../x root:nobody-here; do
        id=$(by $user engine-$user run --rm --network none -u "$odd" hostile id -u 2>/dev/null </dev/null)
        [ "$?:$id" = 125: ] || escaped="$escaped $odd"
    done
    check "$user: -u with odd numbers (CVE-2026-30892) and names such as ../../x never becomes root" '0' echo "$escaped"
    check "$user: a volume's target that is a symlink (CVE-2021-30465) stays inside" '0 mine' \
        by $user engine-$user run --rm --network none -v /volume:/up/new hostile cat /up/new/secret
    check "$user: a layer that sets user.overlay.* and trusted.* itself shows what is in it; host environment" '0 of the image of layer 2 0' \
        by $user engine-$user run --rm --network none hostile sh -c \
        'cat /marked/file /plain; { env; tr "\0" "\n" </proc/1/environ; } | grep -c "HOST_SECRET\|secret of"; true'
    check "$user: host loopback through slirp4netns is not visible" '0 lo tap0' by $user engine-$user run --rm hostile sh -c \
        'ls /sys/class/net; for at in 10.0.2.2 127.0.0.1; do timeout 2 wget -q -O - http://$at:8001/secret 2>/dev/null; done; true'
    check "$user: arguments with terminal escapes are printed escaped" '0 0' by $user sh -c \
        "engine-$user"' run --rm --network none hostile "$(printf "\033[2J")" 2>&1 | grep -c "$(printf "\033")"; true'
done
check 'the host is as it was: canary, engine, sysctls, devices, mounts, cgroups' '0' sh -c 'state | diff /tmp/was -'
