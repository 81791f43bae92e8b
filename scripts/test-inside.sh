#!/bin/bash
# test-inside.sh: what the command finds around it, as root: namespaces, capabilities,
# mounts, /dev, names, volumes; and that nothing of it remains.
. "$(dirname "$0")/lib.sh"
registry main 5000
ok 'pull' mydocker pull busybox
remember

# ---------------------------------------------------------------- namespaces, capabilities

gives 'the command is pid 1' 1 run busybox sh -c 'echo $$'
gives 'leader of a session of its own' '1 1' run busybox awk '{print $5, $6}' /proc/self/stat
try run busybox sh -c 'for n in cgroup ipc mnt net pid user uts; do readlink /proc/self/ns/$n; done'
is 'seven namespaces' "$(wc -l <<<"$out")" 7
is 'none of them is the host'"'"'s' \
    "$(comm -12 <(sort <<<"$out") <(for n in cgroup ipc mnt net pid user uts; do readlink /proc/self/ns/$n; done | sort))" ''
try mydocker run --rm --network host busybox readlink /proc/self/ns/net
is '--network host is the host'"'"'s network' "$out" "$(readlink /proc/self/ns/net)"
gives 'root maps every id to itself, as docker does' '0 0 4294967295' \
    run busybox sh -c 'echo $(cat /proc/self/uid_map)'
gives 'its cgroup reads as /' '' run busybox sh -c 'grep -v ":/$" /proc/self/cgroup; true'

caps='grep Cap /proc/self/status'
docker=00000000a80425fb # docker's default fourteen: moby profiles, oci/caps/defaults.go
gives 'capabilities of root, all five sets' \
    "$(printf 'Cap%s:\t%s\n' Inh 0000000000000000 Prm $docker Eff $docker Bnd $docker Amb 0000000000000000)" \
    run busybox sh -c "$caps"
gives 'capabilities of a user, all five sets' \
    "$(printf 'Cap%s:\t%s\n' Inh 0000000000000000 Prm 0000000000000000 Eff 0000000000000000 Bnd $docker Amb 0000000000000000)" \
    run -u alice busybox sh -c "$caps"
gives 'umask 022, whatever the caller'"'"'s' 0022 sh -c 'umask 077; exec run busybox sh -c umask'

# ---------------------------------------------------------------- /proc and /sys

# Readable bytes of files, entries of directories: both 0 behind a mask.
for path in /proc/acpi /proc/asound /proc/kcore /proc/keys /proc/latency_stats /proc/timer_list \
    /proc/scsi /sys/firmware /sys/devices/virtual/powercap; do
    if [[ ! -e $path ]]; then
        ok "$path: this kernel has none, and nothing is in its place" run busybox test ! -e "$path"
    elif [[ -d $path ]]; then
        gives "$path is masked" '' run busybox ls -A "$path"
    else
        gives "$path is masked" 0 run busybox sh -c "head -c 1 $path | wc -c"
    fi
done
for path in /proc/sysrq-trigger /proc/sys/kernel/core_pattern /proc/sys/vm/drop_caches /proc/irq/default_smp_affinity; do
    if [[ ! -e $path ]]; then
        ok "$path: this kernel has none, and nothing is in its place" run busybox test ! -e "$path"
        continue
    fi
    before=$(cat "$path" 2>/dev/null)
    exits "$path is read-only" 1 run busybox sh -c "echo h 2>/dev/null >>$path"
    is "$path is unchanged" "$(cat "$path" 2>/dev/null)" "$before"
done
exits '/sys is read-only' 1 run busybox sh -c 'echo 1 >/sys/kernel/mm/ksm/run || mkdir /sys/kernel/x'
exits 'cgroups are read-only' 1 run busybox sh -c 'mkdir /sys/fs/cgroup/x || mkdir /sys/fs/cgroup/*/x'
exits 'no mount may be undone' 1 run busybox sh -c 'umount -l /proc/sys || umount -l /proc/kcore || umount -l /proc || exit 1'
exits 'no file system may be mounted' 1 run busybox sh -c 'mount -t tmpfs none /tmp || mount --bind /etc /tmp || exit 1'
try run busybox cat /proc/self/mountinfo
unlike 'no mount shows the host' "$(awk '{print $5}' <<<"$out")" "^/(etc|home|var|usr|boot|root|work|old|$room)"
is 'the root is an overlay' "$(awk '$5 == "/"' <<<"$out" | grep -c ' - overlay ')" 1
is 'nothing is shared with the host' "$(grep -cE ' (shared|master):' <<<"$out")" 0
gives 'the root has what the image has, and dev, proc, sys' \
    "$( (ls "$images/busybox"; printf '%s\n' dev proc sys) | sort)" run busybox ls /

# ---------------------------------------------------------------- /dev

gives '/dev' 'fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero' \
    run busybox sh -c 'echo $(ls /dev | grep -vx -e core -e console)'
for node in null zero full random urandom tty; do
    ok "/dev/$node is a device" run busybox test -c /dev/$node
done
gives '/dev/zero gives zeros' '0000000 00 00 00 00' run busybox sh -c 'head -c 4 /dev/zero | od -An -tx1 | sed "s/^/0000000/"'
# The nodes are the host's own, and of its root. Where /dev is no mount of its own, or Linux before 5.12, each for itself.
before=$(stat -c '%a %u %Z' /dev/null)
exits '/dev/null keeps its mode' 1 run busybox chmod 600 /dev/null
exits '  each by its own mount as well' 1 strace -f -qq -o "$room/trace" -e inject=mount_setattr:error=EINVAL:when=1 \
    "$mydocker" run --rm --network none busybox chmod 600 /dev/null
like '    as it was without the first way' "$(<"$room/trace")" '"/dev".* = -1 EINVAL .*INJECTED'
is '  the host has it as before' "$(stat -c '%a %u %Z' /dev/null)" "$before"
ok '/dev/null takes all, from any user' run -u alice busybox sh -c 'echo x >/dev/null && test ! -s /dev/null'
exits '/dev/full is full' 1 run busybox sh -c 'echo x >/dev/full'
ok '/dev/urandom is random' run busybox sh -c 'test "$(head -c 8 /dev/urandom | od)" != "$(head -c 8 /dev/urandom | od)"'
gives '/dev/stdin' through sh -c 'echo through | run busybox cat /dev/stdin'
gives '/dev/shm is writable for all' x run -u alice busybox sh -c 'echo x >/dev/shm/x && cat /dev/shm/x'
ok 'a pty can be opened' run busybox sh -c 'exec 3<>/dev/ptmx'
exits 'no device node can be made' 1 run busybox mknod /x b 254 0
exits 'no terminal to reach' 1 run busybox sh -c ': </dev/tty'

# ---------------------------------------------------------------- names

try run busybox sh -c 'hostname; cat /etc/hostname; echo $HOSTNAME; cat /etc/hosts'
like 'the id is the hostname' "$(head -n 1 <<<"$out")" '^[0-9a-f]{12}$'
is '/etc/hostname and HOSTNAME say the same' "$(head -n 3 <<<"$out" | sort -u | wc -l)" 1
like '/etc/hosts has localhost' "$out" '^127\.0\.0\.1[[:space:]]+localhost'
like '/etc/hosts has the hostname' "$(sed 1,3d <<<"$out")" "[[:space:]]$(head -n 1 <<<"$out")"
name=$(uname -n)
gives '--hostname' $'box\nbox' run --hostname box busybox sh -c 'hostname; cat /etc/hostname'
is 'the host keeps its own' "$(uname -n)" "$name"
ok '/etc/resolv.conf is there' run busybox test -f /etc/resolv.conf
gives 'these three can be written' 3 run busybox sh -c 'for f in hosts hostname resolv.conf; do echo x >>/etc/$f; done; grep -lx x /etc/hosts /etc/hostname /etc/resolv.conf | wc -l'

# ---------------------------------------------------------------- the root, tmpfs, volumes

gives 'the root is writable' x run busybox sh -c 'echo x >/x && mv /bin /bim && /bim/busybox cat /x'
exits '--read-only: the root' 1 run --read-only busybox touch /x
exits '--read-only: /etc' 1 run --read-only busybox sh -c 'echo x >>/etc/hosts'
gives '--read-only: /dev/shm stays writable' x run --read-only busybox sh -c 'echo x >/dev/shm/x; cat /dev/shm/x'
gives '--read-only with a --tmpfs' x run --read-only --tmpfs /data busybox sh -c 'echo x >/data/x; cat /data/x'
gives '--tmpfs is a tmpfs, no setuid, no devices' 'tmpfs nodev nosuid' run --tmpfs /data busybox sh -c \
    'grep " /data " /proc/mounts | { read _ _ type options _; echo $type $(echo $options | tr , "\n" | grep -E "^(nosuid|nodev)$" | sort); }'
exits '--tmpfs with a size' 1 run --tmpfs /data:size=64k busybox dd if=/dev/zero of=/data/x bs=1k count=128
gives '--tmpfs with a mode' 'drwx-----T' run --tmpfs /data:mode=1700 busybox sh -c 'ls -ld /data | cut -c 1-10'

mkdir -p "$room/v/dir" "$room/v/with space"
echo one >"$room/v/file"
echo in >"$room/v/with space/file"
gives '-v of a directory' one run -v "$room/v:/data" busybox cat /data/file
gives '-v attached, and several' $'one\nin' run "-v$room/v:/a" --volume "$room/v/with space:/b c" busybox cat /a/file '/b c/file'
gives '-v of a file' one run -v "$room/v/file:/etc/one" busybox cat /etc/one
ok '-v is writable' run -v "$room/v:/data" busybox sh -c 'echo two >/data/new'
is 'and the host sees it' "$(cat "$room/v/new")" two
exits '-v :ro' 1 run -v "$room/v:/data:ro" busybox touch /data/x
exits '-v :ro cannot be made writable again' 1 run -v "$room/v:/data:ro" busybox mount -o remount,rw /data
ok '-v :ro left nothing' test ! -e "$room/v/x"
gives '-v below a --tmpfs' one run -v "$room/v:/data/in" --tmpfs /data busybox cat /data/in/file
gives '-v below a -v, in any order' one run -v "$room/v/file:/data/dir/f" -v "$room/v:/data" busybox cat /data/dir/f
mkdir "$room/v/mounted"
mount -t tmpfs none "$room/v/mounted"
echo deep >"$room/v/mounted/file"
gives '-v brings the mounts below it' deep run -v "$room/v:/data" busybox cat /data/mounted/file
exits '-v :ro holds for the mounts below it too' 1 run -v "$room/v:/data:ro" busybox touch /data/mounted/x
umount "$room/v/mounted"
# A symlink of the image as the target is followed inside the root, never out of it.
pwned=pwned-${room##*.}
for link in out up; do
    gives "-v through the image's symlink links/$link stays inside" one \
        run -v "$room/v:/links/$link/$pwned" test/layers cat "/tmp/$pwned/file"
    ok 'and makes nothing on the host' test ! -e "/tmp/$pwned"
    rm -rf "/tmp/${pwned:?}"
done

# ---------------------------------------------------------------- the overlay

gives 'a directory of a lower layer can be removed and made again' new run test/layers sh -c \
    'rm -r /odd && mkdir /odd && touch /odd/new && ls /odd'
gives 'a lower file can be changed and linked' $'old new\n2' run test/layers sh -c \
    'echo old new >/change/content; ln /change/content /x; cat /x; stat -c %h /x'
gives 'changes of one container are not in the next' 'new content' run test/layers cat /change/content
gives '127 layers' 127 run test/many:127 cat /number
gives 'all of them' 126 run test/many:127 sh -c 'ls /many | wc -l'
export MYDOCKER_HOME="$room/store: a,b\\c"
gives 'a store whose path has : , \ and a space' 'x 127' run test/many:127 sh -c 'echo x $(cat /number)'
ok 'and without --rm' mydocker run --network none test/many:127 true
export MYDOCKER_HOME=$room/store

# ---------------------------------------------------------------- what remains

nothing_remains 'after all of these no process, mount or cgroup remains'
is 'with --rm no container directory remains' "$(ls "$MYDOCKER_HOME/containers")" ''
exits '--rm also when the command is not there' 127 run busybox no-such
is 'and the directory is gone' "$(ls "$MYDOCKER_HOME/containers")" ''
ok '-rm before run' mydocker -rm run --network none busybox true
ok '-rm after run' mydocker run -rm --network none busybox true
is 'are both --rm' "$(ls "$MYDOCKER_HOME/containers")" ''
ok 'without --rm' mydocker run --network none --name kept busybox sh -c 'echo data >/data'
is 'the directory stays, and the changes in it' "$(cat "$MYDOCKER_HOME/containers/kept/upper/data")" data
ok 'the store is closed to others' test "$(stat -c %a "$MYDOCKER_HOME")" = 700

# 50 at once, of one image.
mkdir "$room/50"
engines=()
for ((i = 0; i < 50; i++)); do
    run busybox sh -c "sleep 0.2; echo $i \$(hostname)" >"$room/50/$i" 2>&1 &
    engines+=($!)
done
good=0
for engine in "${engines[@]}"; do
    wait "$engine" && good=$((good + 1))
done
is '50 at once all succeed' "$good" 50
is 'each printed its own line' "$(sort -n "$room"/50/* | cut -d' ' -f1 | xargs)" "$(seq -s' ' 0 49)"
is 'each had its own hostname' "$(cut -d' ' -f2 "$room"/50/* | sort -u | wc -l)" 50
nothing_remains 'after 50 at once nothing remains'
# CVE-2019-5736: before pid 1 is the command it is not the engine, but the stub. A lease on the command's file holds it
# there, until its holder is gone; and a root who has every capability in there tries to write it.
mkdir "$room/exe"
cp "$images/busybox/bin/busybox" "$room/exe/sleep"
before=$(sha256sum <"$mydocker")
/usr/bin/python3 -c 'import fcntl, signal, sys
file = open(sys.argv[1])
signal.signal(signal.SIGIO, signal.SIG_IGN)
fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)
print("held", flush=True)
signal.pause()' "$room/exe/sleep" >"$room/exe/holder" &
holder=$!
eventually 50 grep -q held "$room/exe/holder"
run --name exe -v "$room/exe:/exe" busybox /exe/sleep 60 &
engine=$!
the_stub() { find /proc/[0-9]*/exe -lname '/memfd:stub (deleted)' 2>/dev/null | grep -o '[0-9]*'; }
eventually 100 eval '[[ $(the_stub) ]]'
pid=$(the_stub)
inside() { nsenter -t "$pid" -U -m -p --preserve-credentials sh -c "$1" 2>/dev/null; }
program() { readlink "/proc/$pid/exe" && sha256sum <"/proc/$pid/exe"; }
stub=$(program)
for attack in 'echo x >/proc/1/exe' 'truncate -s 0 /proc/1/exe' 'mount -o remount,rw /proc/1/exe' \
    'mount --bind /proc/1/exe /bin/true' 'cp /bin/true /proc/1/exe' 'exec 9<>/proc/1/exe'; do
    inside "$attack"
    report $(($? != 0)) "CVE-2019-5736: $attack"
done
like '  it was the stub' "$stub" '^/memfd:stub'
is '  and is unchanged' "$(program)" "$stub"
# Once it is executed no more, whoever kept it can open it, but not write it.
inside 'exec 9</proc/1/exe; echo kept; until (: <>/proc/self/fd/9); do sleep 0.1; done
    echo opened; echo x 1<>/proc/self/fd/9 && echo written' >"$room/exe/kept" &
kept=$!
eventually 50 grep -q kept "$room/exe/kept"
stop $holder
wait $kept
is 'CVE-2019-5736: kept until the command has started' "$(xargs <"$room/exe/kept")" 'kept opened'
like '  which it has' "$(readlink "/proc/$pid/exe")" '/exe/sleep$'
mydocker rm -f exe >/dev/null
wait $engine 2>/dev/null
is '  the engine is unchanged' "$(sha256sum <"$mydocker")" "$before"
# Without user namespaces nobody inside gets new capabilities, and with them the host's cgroups.
for attack in 'unshare -r true' 'unshare -Ur true' 'mkdir /c; mount -t cgroup2 none /c' 'mount -t cgroup -o pids none /tmp'; do
    exits "no way to the host's cgroups: $attack" 1 run busybox sh -c "$attack || exit 1"
done
exits 'standard input that is a directory' 125 sh -c 'mydocker run --rm --network none busybox true </'
exits 'standard error that is a directory' 125 sh -c 'mydocker run --rm --network none busybox true 2</'
done_testing
