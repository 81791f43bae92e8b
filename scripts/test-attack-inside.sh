#!/bin/bash
# test-attack-inside.sh: a hostile process in a container: the second table of attacks.md, as root, as ordinary users
# with and without subordinate ids (sub, bare), and in a virtual machine whose / is an initramfs (root, tester); by
# default, as another user, and with the options that give it more: --cap-add, seccomp=unconfined, both.
#
#   line of attacks.md                              here   and before, as root unless it says otherwise
#   write to /proc/1/exe, /proc/self/exe            yes    test-inside.sh (with every capability, by nsenter)
#   descriptors, -w /proc/self/fd/N                 yes    test-run.sh
#   chroot, .., remounts, umount -l, nested ...     yes    test-rootfs.sh (34 ways, in guests, by default)
#   /proc/kcore, keys, sysrq-trigger, core_pattern  yes    test-inside.sh
#   the five sets of capabilities                   yes    test-inside.sh, test-rootless.sh
#   TIOCSTI, TIOCLINUX                              yes    test-terminal.sh (the pty is the container's own)
#   mknod, release_agent, keyrings, abstract ...    yes    test-inside.sh (mknod, cgroups)
#   -u with odd numbers, names such as ../../x      yes    test-run.sh, test-store.sh (`exec` is not there yet)
#   a volume's target that is a symlink             yes    test-inside.sh
#   a fork bomb, memory eaten                       yes    test-limits.sh, test-guest.sh (limits)
#   a layer's own user.overlay.*, trusted.*         yes    test-refused.sh (nothing is reached)
#   host environment, host loopback                 yes    test-run.sh, test-network.sh (also rootless)
#   names and logs with terminal escapes            yes    test-store.sh, test-look.sh, test-refused.sh
#
# attacks-inside.sh is what runs inside; each line that it prints is one attack and its answer. The same runs in three
# jails without any confinement first: there each attack must reach the host, or it proves nothing here. In the machine
# it is tried once more after switch_root, with the /proc of the initramfs still mounted below the new root.
. "$(dirname "$0")/lib-guest.sh"
need_images

# ---------------------------------------------------------------- the attacker's image, and what he is after

mkdir -p "$room/probe" "$room/probed"
probe=$room/probe
cc -static -s -Os -Wall -o "$probe/attack" "$scripts/attack.c" 2>"$room/cc.log" || bail "cc: $(tail -n 3 "$room/cc.log")"
install -m 755 "$scripts/attacks-inside.sh" "$probe/"

# A busybox with few links, for it is copied often; programs that are setuid, or have capabilities; a script whose
# interpreter is /proc/self/exe; links that a volume's target may name; and marks of overlayfs in a second layer.
tree=$room/tree
mkdir -p "$tree"/{bin,etc,tmp,root}
chmod 1777 "$tree/tmp"
# shellcheck disable=SC2154 # images, room: lib.sh
cp -a "$images/busybox/bin/busybox" "$tree/bin/"
cp -a "$images/busybox/etc/"{passwd,group} "$tree/etc/"
for applet in sh awk cat chmod chown cp echo env grep head id ls mkdir mount nc ps rm sleep tail touch tr true truncate \
    umount wget xargs; do
    ln -s busybox "$tree/bin/$applet"
done
mkdir "$tree/marked"
echo 'of the image' | tee "$tree/marked/file" >"$tree/plain"
canary=$room/canary
/usr/bin/python3 - "$scripts" "$tree" "$probe/attack" "$room/hostile" "$canary" <<'END_OF_PYTHON' || bail 'no image'
import struct, sys
scripts, tree, attack, out, canary = sys.argv[1:]
sys.path.insert(0, scripts)
import oci
from oci import Layer, entry

def capabilities(*numbers):  # struct vfs_cap_data of version 2, effective
    low = sum(1 << number for number in numbers)
    return struct.pack("<IIIII", 0x02000001, low, 0, 0, 0).decode("utf-8", "surrogateescape")

with open(attack, "rb") as file:
    program = file.read()
CHOWN, NET_RAW, SYS_ADMIN = 0, 13, 21
up = "../" * 40
marks = {"overlay.redirect": canary, "overlay.opaque": "y", "overlay.metacopy": "", "overlay.origin": "x", "overlay.whiteout": "y"}
marks = {kind + name: value for kind in ("user.", "trusted.") for name, value in marks.items()}
marked = [entry("marked/", xattrs=marks), entry("plain", "of layer 2\n", xattrs=marks)]
base = Layer(oci.tar_tree(tree))
tools = Layer(oci.tar([
    entry("setuid", program, mode=0o4755),
    entry("capable", program, mode=0o755, xattrs={"security.capability": capabilities(CHOWN, NET_RAW)}),
    entry("over", program, mode=0o755, xattrs={"security.capability": capabilities(SYS_ADMIN, NET_RAW)}),
    entry("script", "#!/proc/self/exe pull\n", mode=0o755),
    entry("out", link=canary), entry("up", link=up + canary[1:]), entry("fd", link="/proc/self/fd/9"),
    entry("root.link", link="/proc/1/root" + canary),
    # Where the links lead, in the image, too.
    *(entry(canary[1:end] + "/") for end in range(2, len(canary) + 1) if end == len(canary) or canary[end] == "/"),
    *marked,
]))
layout = oci.Layout(out)
config = {"Cmd": ["sh"], "Env": ["PATH=/bin"]}
layout.image("latest", [base, tools], config)
layout.image("fd", [base, tools], dict(config, WorkingDir="/proc/self/fd/9"))
END_OF_PYTHON

# ---------------------------------------------------------------- the machine, beside all that follows

if [[ $(uname -m) == x86_64 ]]; then
    host=$room/machine
    cp -a "$images/busybox" "$host"
    rm -f "$host"/{sbin/modprobe,bin/tar,bin/gzip} # the kernel would call the first; the others are not busybox's
    mkdir -p "$host"/{modules,home/tester,proc,sys,dev,etc,root,tmp,tools,mnt} "$host$canary"
    chmod 1777 "$host/tmp"
    cp "$scripts/attack-inside-guest.sh" "$host/init"
    cp "$scripts/guest-checks.sh" "$host/"
    cp "$guest"/{overlay,tun}.ko "$host/modules/"
    cp "$mydocker" "$host/bin/mydocker"
    cp -a "$probe" "$host/attack"
    cp -a "$room/hostile" "$host/hostile"
    chmod 755 "$host/init"
    echo 'the secret of the host' >"$host$canary/secret"
    mkdir "$room/none" # curl, openssl and their libraries are the most of a host, and of no use here
    for program in curl openssl; do printf '#!/bin/sh\n' >"$room/none/$program" && chmod 755 "$room/none/$program"; done
    PATH=$room/none:$PATH guest_host "$host" tools 2>"$room/none/log" # out of the way of busybox's own
    rm "$host"/tools/{curl,openssl}
    pack "$host" "$room/initramfs"
    machine "$room/initramfs" 768 "canary=$canary" -smp 1 >"$room/console" &
    machine=$!
fi

# ---------------------------------------------------------------- what he is after

ordinary_users
mkdir -m 755 "$canary"
echo 'the secret of the host' >"$canary/secret"
chmod 644 "$canary/secret"
export HOST_SECRET='the secret of the host'
declare -A binary_of=([root]=$mydocker) facts_of=()
caught=$room/caught
(trap 'echo caught >>"$caught"' URG; while :; do sleep 1000 & wait $!; done) &
"$probe/attack" shm 21554
"$probe/attack" listen mydocker-canary &
handle=$("$probe/attack" handle "$canary")

as_root() { timeout --foreground -k 5 "$limit" "$@"; }
who() { # USER: the command that runs as that user
    if [[ $1 == root ]]; then echo as_root; else echo "as $1"; fi
}
for user in sub bare; do
    # His own: what he may write, an attacker that runs with his id might, too.
    install -m 755 -o "mydocker-$user" "$mydocker" "$room/home/$user/mydocker"
    binary_of[$user]=$room/home/$user/mydocker
done
for user in root sub bare; do
    # shellcheck disable=SC2046 # two words
    ok "$user: load" $(who $user) "${binary_of[$user]}" load -i "$room/hostile"
    # shellcheck disable=SC2046
    facts_of[$user]=$($(who $user) "$probe/attack" key "$HOST_SECRET")
done

key_of() { # USER: the serial in `KEY=... RING=...`
    local words=${facts_of[$1]#KEY=}
    echo "${words% *}"
}
# What an attacker must not change. Beside it stands what `remains` looks for.
host_state() {
    /usr/bin/python3 "$scripts/tree.py" "$canary"
    stat -c '%n %Y %Z' "$canary" "$canary/secret"
    sha256sum "${binary_of[@]}"
    stat -c '%n %a %u %g %Y' "${binary_of[@]}" /dev/{null,zero,full,random,urandom}
    stat -c '%n %a %u %g' /dev/tty # whoever writes to it anywhere changes its time
    find /proc/sys/{kernel,vm,fs,user} -type f -perm -u+w ! -path '*/random/*' ! -name ns_last_pid -exec grep -sH '' {} +
    grep -sH '' /sys/fs/cgroup/*/release_agent /sys/kernel/uevent_helper
    uname -n
    awk '{ print $1, $2, $3, $4 }' /proc/sysvipc/shm
    "$probe/attack" read "$(key_of root)"
    cat "$caught" 2>/dev/null
}

# ---------------------------------------------------------------- the attacks, and what they mean

declare -A line_of=(
    [fds]='descriptors left open (CVE-2024-21626)'
    [leave]='leave by chroot, .., remounts, umount -l, nested namespaces with a fresh proc'
    [read]='read /proc/kcore, /proc/keys; write sysrq-trigger, core_pattern'
    [caps]='capabilities, own, by setuid and by a file'
    [host]='mknod, release_agent (CVE-2022-0492), abstract sockets, IPC, processes'
    [key]='keyrings'
    [env]='host environment'
    [xattr]='marks of overlayfs, set from inside'
    [calls]='calls that the filter shuts'
)
tags=(fds leave read caps host key env xattr calls)
variables() { # USER: what the attacks are told
    # shellcheck disable=SC2086 # words
    printf -- '-e %s ' CANARY="$canary/secret" HANDLE="$handle" SHM=21554 ABSTRACT=mydocker-canary ${facts_of[$1]}
}

names() { sed 's/: .*//'; }
values() { sed 's/.*: //'; }
# probed FILE TAG: its lines without the tag.
probed() { sed -n "s/^$2 //p" "$1"; }

# judge_probe NAME FILE CAPS FREE: a test for each line of the table. CAPS are the sets that are right, in the order of
# the lines; FREE are tags that these options open.
judge_probe() {
    local tag got wanted=$3
    for tag in "${tags[@]}"; do
        [[ " $4 " != *" $tag "* ]] || continue
        got=$(probed "$2" "$tag")
        if [[ $tag == caps ]]; then
            is "$1: ${line_of[caps]}" "$(values <<<"$got")" "$wanted"
            continue
        fi
        # Each attack of the control has been made, and none has got through.
        is "$1: ${line_of[$tag]}" "$(diff <(probed "$room/probed/control" "$tag" | names) <(names <<<"$got"); grep -E ': (REACHED|signal)' <<<"$got")" ''
    done
}

# Three jails as a beginner builds them: by chroot, by pivot_root, and without masks; nothing else holds there.
jail() { # chroot|pivot_root|bare
    # shellcheck disable=SC2086 # words
    unshare --mount --propagation private sh -c '
        how=$1 room=$2; shift 2
        mkdir -p $room/jail && mount --bind $room/jail $room/jail && cd $room/jail && cp -a ../tree/. . || exit
        for name in setuid capable over; do cp ../probe/attack $name; done
        mkdir -p proc sys dev/shm attack && mount --bind ../probe attack && mount -o remount,bind,ro attack
        mount -t proc proc proc && mount -t sysfs -o ro sysfs sys && mount -t tmpfs tmpfs dev/shm
        for name in null zero full random urandom tty; do : >dev/$name; mount --bind /dev/$name dev/$name; done
        if [ $how != bare ]; then
            mount -t tmpfs -o ro tmpfs sys/firmware
            [ ! -e proc/acpi ] || mount -t tmpfs -o ro tmpfs proc/acpi
            for name in interrupts kcore keys latency_stats timer_list; do
                [ ! -e proc/$name ] || mount --bind /dev/null proc/$name
            done
            for name in bus fs irq sys sysrq-trigger; do
                [ ! -e proc/$name ] || { mount --bind proc/$name proc/$name && mount -o remount,bind,ro proc/$name; }
            done
        fi
        if [ $how = pivot_root ]; then pivot_root . . && umount -l . || exit; fi
        exec env "$@" chroot . sh -c "(ls /proc/1/fd >/tmp/fds); exec /attack/attacks-inside.sh all"
        ' sh "$1" "$room" CANARY="$canary/secret" HANDLE="$handle" SHM=21554 ABSTRACT=mydocker-canary ${facts_of[root]} 9</
}

# What no jail opens, and why it is tried all the same: `nothing` is the measure, signals are counted, a root below
# which another lies is met in an initramfs alone; the rest is a matter of the kernel and its devices here.
unproven='xattr user.overlay.\*|leave (nothing at all|umount (-l )?/|pivot_root . .|mount --(move|bind|rbind|make-rshared) /|remount /|a new proc, subset=pid|fspick /proc|a mount namespace, umount -l /|setns /proc/1/ns/\*|NS_GET_.*|a volume.s \.\.)|host (signals to every pid|mknod of a disk)|read (open max_user_namespaces.*|a file of /sys.*|init_module|kexec_load|iopl|/proc/(kcore|timer_list))|leave (MOVE_MOUNT_BENEATH|an overlay of /sys).*|calls .*'
for how in chroot pivot_root bare; do jail $how >"$room/probed/$how" 2>"$room/probed/$how.err"; done
mv "$room/probed/chroot" "$room/probed/control"
ok 'the control: three jails' test ! -s "$room/probed/chroot.err" || note 'standard error' "$(cat "$room/probed/chroot.err")"
# What could be reached in none of them, where it is there at all.
is 'in a jail each attack reaches the host' "$(cat "$room/probed/"{control,pivot_root} <(grep ^read "$room/probed/bare") |
    awk -F ': ' '$1 !~ /^caps/ { seen[$1]; if ($2 ~ /^(REACHED|absent)/) reached[$1] } END { for (name in seen) if (!(name in reached)) print name }' |
    grep -vxE "$unproven" | sort)" ''
ok '  and the signals came' test -s "$caught"
was=$(host_state)

# ---------------------------------------------------------------- containers: who, with which options

# The documented sets, Inh Prm Eff Bnd Amb: of itself, after execve of a setuid program, of one with CHOWN and
# NET_RAW, and of one with SYS_ADMIN and NET_RAW, which does not start where the bound lacks one of them.
docker=a80425fb all=1ffffffffff
sets() { # USER BOUND [no-new-privileges]
    local of_over='exit code 126'
    (( !(0x$2 >> 21 & 1) )) || of_over=1
    if [[ $1 == root ]]; then
        printf "0 $2 $2 $2 0\n%.0s" 1 2 3
        [[ $of_over != 1 ]] && echo "$of_over" || echo "0 $2 $2 $2 0"
    elif [[ ${3-} ]]; then
        printf "0 0 0 $2 0\n%.0s" 1 2 3
        echo "$of_over" # too much is refused all the same
    else
        printf '%s\n' "0 0 0 $2 0" "0 $2 $2 $2 0" "0 2001 2001 $2 0"
        [[ $of_over != 1 ]] && echo "$of_over" || echo "0 202000 202000 $2 0"
    fi
}
attacked() { # USER ID-INSIDE BOUND FREE OPTION...: all attacks, judged
    local name="$1${5:+, ${*:5}}"
    # shellcheck disable=SC2046
    try $(who "$1") env HOST_SECRET="$HOST_SECRET" "${binary_of[$1]}" run --rm --network none $(variables "$1") -v "$probe:/attack:ro" "${@:5}" hostile \
        sh -c '(ls /proc/1/fd >/tmp/fds); exec /attack/attacks-inside.sh all' 9</ 8<"$canary"
    printf '%s\n' "$out" >"$room/probed/$1"
    [[ $rc == 0 ]] || tell_try
    judge_probe "$name" "$room/probed/$1" "$(sets "$2" "$3" "$(grep -o no-new <<<"$*")")" "$4"
}
# Without the filter the host's keys of the same number are within reach, as in docker; and whoever has every
# capability of a container may make the calls that it shuts.
for user in root sub bare; do
    attacked $user root $docker ''
    attacked $user root a82425fb '' --cap-add SYS_ADMIN
    attacked $user root $all 'calls' --cap-add ALL
    attacked $user root $docker 'calls key' --security-opt seccomp=unconfined
    attacked $user root $all 'calls key' --cap-add ALL --security-opt seccomp=unconfined
    if [[ $user != bare ]]; then # he has no other id
        attacked $user 1000 $docker '' -u 1000
        attacked $user 1000 $docker '' -u 1000 --security-opt no-new-privileges
        attacked $user 1000 $all 'calls key' -u 1000 --cap-add ALL --security-opt seccomp=unconfined
    fi
done
attacked root root $all 'calls key' --read-only --tmpfs /tmp --cap-add ALL --security-opt seccomp=unconfined
is 'after all of these the host is as it was: canary, engine, sysctls, devices' "$(diff <(echo "$was") <(host_state))" ''

# ---------------------------------------------------------------- the engine's program, descriptors, the terminal

# Victims that nothing protects tell which tries at /proc/PID/exe succeed then: a file, and a memfd without seals.
mkdir "$room/victim"
cp "$tree/bin/busybox" "$room/victim/"
victim='"$0" exe $$; "$0" kept $$ & sleep 0.5; exec /bin/sleep 0.5'
unshare --mount --propagation private "$room/victim/busybox" sh -c "$victim" "$probe/attack" | cat >"$room/probed/exe"
like 'a program that runs unprotected is changed' "$(grep -c REACHED "$room/probed/exe")" '^([89]|1[0-9])$'
is '  once it has ended, too' "$(grep 'kept: REACHED' "$room/probed/exe" | values | xargs)" 'REACHED REACHED REACHED'
/usr/bin/python3 - "$tree/bin/busybox" "$victim" "$probe/attack" <<'END_OF_PYTHON' | cat >"$room/probed/memfd"
import os, sys
victim = os.memfd_create("victim", os.MFD_ALLOW_SEALING)
with open(sys.argv[1], "rb") as file:
    os.write(victim, file.read())
os.set_inheritable(victim, True)
os.execve(victim, ["sh", "-c", *sys.argv[2:]], os.environ)
END_OF_PYTHON
is '  and so is a memfd without seals' "$(grep REACHED "$room/probed/memfd" | names | grep -E 'writable|ch(mod|own)|kept')" \
    "$(printf 'exe %s\n' 'a mount that is writable' chmod chown {write,resize,map}' what was kept')"

engine_of() { # USER ARGUMENT...
    # shellcheck disable=SC2046
    $(who "$1") env HOST_SECRET="$HOST_SECRET" "${binary_of[$1]}" "${@:2}"
}
contained() { engine_of "$1" run --rm --network none "${@:2}"; } # USER ARGUMENT...

# Before it is the command pid 1 is the stub for the blink of an eye. A command whose file is leased (attack.c, hold)
# lasts until the lease ends: as long as that the stub is attacked, and then once more when it is no longer executed.
mkdir "$room/held"
cp "$tree/bin/busybox" "$room/held/sh"
stub() { find /proc/[0-9]*/exe -lname '/memfd:stub (deleted)' 2>/dev/null | grep -o '[0-9]*'; }
program() { readlink "/proc/$1/exe" && sha256sum <"/proc/$1/exe"; } # PID
attacked_stub() { # USER OPTION...
    local name="$1${2:+, ${*:2}}" engine holder kept pid was is own
    own=$(sha256sum <"${binary_of[$1]}")
    rm -f "$room/held/go" "$room/holder" "$room/answers"*
    "$probe/attack" hold "$room/held/sh" >"$room/holder" 2>&1 &
    holder=$!
    eventually 50 grep -q held "$room/holder"
    contained "$1" "${@:2}" -v "$probe:/attack:ro" -v "$room/held:/held:ro" hostile \
        /held/sh -c 'until [ -e /held/go ]; do sleep 0.1; done; echo "let go"' >"$room/let.out" 2>"$room/let.err" &
    engine=$!
    eventually 200 eval '[[ $(stub) ]]'
    pid=$(stub)
    was=$(program "$pid")
    "$probe/attack" into "$pid" /attack/attacks-inside.sh exe >"$room/answers.exe" 2>&1
    is=$(program "$pid")
    "$probe/attack" into "$pid" /attack/attack kept 1 >"$room/answers.kept" 2>&1 &
    kept=$!
    eventually 50 grep -q 'kept open' "$room/answers.kept"
    stop $holder
    wait $kept
    touch "$room/held/go"
    wait $engine
    rc=$?
    is "$name: write to /proc/1/exe (CVE-2019-5736), which is not yet the command" \
        "$(diff <({ names <"$room/probed/exe"; echo 'exe end'; } | sort) <(sort "$room/answers"* | names | sort)
        grep -hE 'REACHED|signal' "$room/answers"*)" ''
    is '  it is the stub, and stays the same' "$is" $'/memfd:stub (deleted)\n'"${was#*$'\n'}"
    is '  let go, it becomes the command, and the engine is as it was' \
        "$rc $(<"$room/let.out") $(sha256sum <"${binary_of[$1]}")" "0 let go $own" || note stderr "$(<"$room/let.err")"
}

# at_terminal USER COMMAND...: a terminal is standard input alone; then what can be read from it. Prints the answers.
install -m 755 "$scripts/pty.py" "$room/pty.py"
at_terminal() {
    local user=() home=$HOME
    if [[ $1 != root ]]; then
        home=$room/home/$1
        user=(setpriv --reuid="mydocker-$1" --regid="mydocker-$1" --init-groups env -i -C "$home" HOME="$home" PATH="$PATH")
    fi
    printf 'wait\noutput\n' | "${user[@]}" /usr/bin/python3 "$room/pty.py" bash -c '"$@" | cat; read -r -t 0.3 line; echo "typed <$line>"' bash "${@:2}"
}
try at_terminal root "$probe/attack" tty
typing=$(grep -c 'tty [T/]' <<<"$out") # what is typed may be echoed in front of one
like 'at a terminal that nothing protects, TIOCSTI types' "$out" 'typed <stolen>'

/usr/bin/python3 -m http.server -d "$canary" --bind 127.0.0.1 8001 >"$room/http.log" 2>&1 &
eventually 100 listening 8001 || bail 'no server on 127.0.0.1'
is 'the host reaches its loopback' "$(curl -s http://127.0.0.1:8001/secret)" "$HOST_SECRET"

for user in root sub bare; do
    for how in '' '--cap-add ALL --security-opt seccomp=unconfined'; do
        # shellcheck disable=SC2086 # words
        {
            attacked_stub $user $how
            # A terminal on one side only is the caller's own.
            try at_terminal $user "${binary_of[$user]}" run --rm --network none $how -v "$probe:/attack:ro" hostile /attack/attack tty
            is "$user${how:+, $how}: TIOCSTI, TIOCLINUX (CVE-2017-5226)" \
                "$(grep -c '^tty' <<<"$out") $(grep -E 'REACHED|typed' <<<"$out")" "$typing typed <>\\r"
        }
    done
    # An image's command that is /proc/self/exe is the stub once more, which has no socket by then, and ends.
    store=$room/home/$user/.config/mydocker
    [[ $user != root ]] || store=$MYDOCKER_HOME
    was=$(store_list "$store"; sha256sum <"${binary_of[$user]}")
    said=
    for command in /proc/self/exe '/proc/self/exe pull' '/proc/self/exe pull x' '/proc/self/exe run --rm hostile true' \
        '/proc/self/exe /bin/echo echo x' /proc/1/exe /script '/script x'; do
        # shellcheck disable=SC2086 # words
        try contained $user hostile $command
        said+="$rc$out$(grep -v 'warning: one id only' <<<"$err") "
    done
    is "$user: an image whose command is /proc/self/exe, or a script of it (CVE-2019-5736), runs nothing" \
        "$said" "$(printf '127 %.0s' {1..8})"
    is '  and changes nothing' "$(store_list "$store"; sha256sum <"${binary_of[$user]}")" "$was"

    # The host's root is 8 and 9.
    escaped=
    for path in /proc/self/fd/{0..11} /proc/1/fd/{3..9}/tmp /fd /proc/self/fd/../fd/9; do
        try contained $user -w "$path" hostile cat secret canary/secret ../../canary/secret "${canary:1}/secret" 9</ 8<"$canary"
        [[ $rc == 12[56] && -z $out ]] || escaped+="$path: $rc $out "
    done
    is "$user: -w /proc/self/fd/N (CVE-2024-21626) is refused, of any N" "$escaped" ''
    try contained $user hostile:fd cat secret canary/secret 9</ 8<"$canary"
    is "$user: the same as WorkingDir of the image" "$rc:$out" 125:

    # ------------------------------------------------------------ who it is, and where

    escaped=
    for odd in -1 4294967295 4294967296 18446744073709551616 99999999999999999999 0x0 00x0 +0 ' 0' '0 ' ' ' : 0: 1: 0:-1 \
        ../../x ../../etc/passwd / "$(printf 'root\nx')" "$(printf '\0330')" root:nobody-here; do
        try contained $user -u "$odd" hostile id -u
        # What is 0 must have said so; bare has no other id.
        [[ $rc == 125 && -z $out || $rc:$out == 0:[1-9]* || $odd == 0: && $out == 0 ]] || escaped+="${odd@Q}: $rc $out "
    done
    is "$user: -u with odd numbers (CVE-2026-30892) and names such as ../../x never becomes root" "$escaped" ''
    escaped=
    for odd in ../../x .. . / a/b '' "$(printf 'a\nb')" "$(printf '\033[31m')" -x; do
        try contained $user --name="$odd" hostile true
        [[ $rc == 125 ]] || escaped+="--name ${odd@Q}: $rc "
        try engine_of $user rm -- "$odd"
        [[ $rc == 125 ]] || escaped+="rm ${odd@Q}: $rc "
        [[ $err != *$'\033'* ]] || escaped+="an escape is printed "
    done
    is "$user: names such as ../../x are refused" "$escaped" ''

    # A volume's target that is a link out of the image.
    escaped='' inside=0
    mkdir -p "$room/volume"
    echo mine >"$room/volume/secret"
    for path in /out /up /out/new /up/new/dir /root.link /root.link/new /fd /fd/new; do
        for option in "-v $room/volume:$path:ro" "--tmpfs $path"; do
            shows="cat $path/secret"
            [[ $option == -v* ]] || shows='grep -o "^tmpfs /tmp/.*/canary" /proc/mounts'
            # shellcheck disable=SC2086 # two words
            try contained $user $option hostile sh -c "$shows"
            [[ $rc:$out == 125: || $rc:$out == 0:mine || $rc:$out == "0:tmpfs $canary" ]] || escaped+="$option: $rc $out "
            [[ $rc != 0 ]] || inside=$((inside + 1))
        done
    done
    is "$user: a volume's target that is a symlink (CVE-2021-30465) is resolved inside the root" "$escaped$inside" 8

    # ------------------------------------------------------------ marks of overlayfs, of the image and of a process

    gives "$user: a layer that sets user.overlay.* and trusted.* itself shows what is in it" $'of the image\nof layer 2' \
        contained $user hostile cat /marked/file /plain
    is '  and none of them is in the store' "$(/usr/bin/python3 - "$store/layers" <<'END'
import glob, os, sys
for path in glob.glob(sys.argv[1] + "/*/**", recursive=True):
    if not path.endswith("/"):  # the layer itself has marks of the engine's
        print(*(f"{path} {name}" for name in os.listxattr(path, follow_symlinks=False) if ".overlay." in name), end="")
END
    )" ''

    engine_of $user run --network none --name marked -v "$probe:/attack:ro" hostile /attack/attack mark 2>"$room/tmp/rm"
    is "$user: nor one that a process sets, as overlayfs would take it for its own" "$(/usr/bin/python3 - "$store/containers/marked/upper/attack.marked" <<'END'
import os, sys
own = ("user.overlay.origin", "user.overlay.impure", "trusted.overlay.origin", "trusted.overlay.impure")  # what overlayfs writes
print(*(name for name in os.listxattr(sys.argv[1]) if name not in own and not name.startswith("user.overlay.overlay.")))
END
    )" ''
    engine_of $user rm marked >"$room/tmp/rm" 2>&1

    # ------------------------------------------------------------ environment, loopback, escapes

    # shellcheck disable=SC2016
    try engine_of $user run --rm --network none -e A=1 hostile sh -c 'env; tr "\0" "\n" </proc/1/environ; xargs -0 -n 1 </proc/1/cmdline'
    unlike "$user: host environment is not visible unless asked" "$out" "HOST_SECRET|$HOST_SECRET|MYDOCKER|$room"
    like '  and what is asked for is' "$out" '^A=1$'
    for how in '' '--cap-add ALL --security-opt seccomp=unconfined'; do
        # shellcheck disable=SC2086 # words
        try engine_of $user run --rm $how hostile sh -c 'ls /sys/class/net; for at in 10.0.2.2 10.0.2.3 127.0.0.1 [::1]; do
            timeout 2 wget -q -O - http://$at:8001/secret; done; true'
        is "$user${how:+, $how}: host loopback through slirp4netns is not visible" "$rc $(xargs <<<"$out")" '0 lo tap0'
    done
    evil=$(printf '\033]0;title\007\033[2J')
    printed=
    for words in "hostile $evil" "-w $evil hostile true" "-w /$evil/$evil:$evil hostile /$evil" "-u $evil hostile true" "--hostname $evil hostile true" \
        "--name $evil hostile true" "$evil" "hostile:$evil true" "-v /$evil:/x hostile true" "-v $room/volume:$evil hostile true" "--network $evil hostile true"; do
        # shellcheck disable=SC2086 # words
        try contained $user $words
        [[ $err$out != *$'\033'* ]] || printed+="$words "
    done
    contained $user --name escapes hostile sh -c 'sleep 3; :' "$evil" 2>"$room/escapes.err" &
    engine=$!
    eventually 50 eval 'try engine_of $user ps; [[ $out == *escapes* ]]'
    [[ $out$err != *$'\033'* && $out == *escapes* ]] || printed+='ps '
    engine_of $user rm -f escapes >"$room/tmp/rm" 2>&1
    wait $engine
    is "$user: names and arguments with terminal escapes are printed escaped" "$(cat -v <<<"$printed")" ''
done

# ---------------------------------------------------------------- too much

# bomb USER OPTION...: forks without end, which an option holds at 40.
bomb() {
    local most=0 now i
    contained "$1" --name bomb "${@:2}" hostile sh -c 'f() { f & f & sleep 5; }; (sleep 0.2; f) & exec sleep 20' 2>"$room/bomb.err" &
    engine=$!
    for ((i = 0; i < 15; i++)); do
        now=$(in_bomb)
        ((now <= most)) || most=$now
        sleep 0.1
    done
    like "$1, ${*:2}: a fork bomb is held by the limit" "$most $(grep -cE "can.t fork" "$room/bomb.err")" '^(1.|2.|3.|40) [1-9]' ||
        note 'standard error' "$(cat "$room/bomb.err")"
    ok "$1:   and the host ends it" engine_of "$1" rm -f bomb
    wait $engine
}
# shellcheck disable=SC2009 # zombies, too
in_bomb() { ps -e -o comm= -o args= | grep -cE '^(sh|sleep) +(sh -c f|\[sh\]|sleep (5|20)$)'; }
if [[ -d /sys/fs/cgroup/pids ]] || grep -qw pids /sys/fs/cgroup/cgroup.controllers 2>/dev/null; then
    bomb root --pids-limit 40
else
    skip 'root: a fork bomb is held by the limit' 'this machine has no pids controller'
fi
for user in sub bare; do bomb $user --ulimit nproc=40:40; done
for user in root sub bare; do
    # Debian's busybox has no ulimit -u; /proc/self/limits says what holds.
    try contained $user --tmpfs /t:size=8m hostile sh -c 'for to in /dev/shm/x /t/x; do cat /dev/zero >$to; ls -l $to | awk "{ print \$5 }"; rm $to; done'
    is "$user: memory eaten by files in it: held at their limits" "$(xargs <<<"$out")" "$((64 << 20)) $((8 << 20))"
done

# The keys were the host's.
for user in root sub bare; do
    # shellcheck disable=SC2046 # words
    $(who $user) "$probe/attack" forget "$(key_of $user)"
done

# ---------------------------------------------------------------- the same in the machine

only_x86_64
wait "$machine"
sed -n 's/^.*ATTACK //p' "$room/console" >"$room/answers"
of_machine() { # USER OPTION...: its answers
    awk -v who="$1|${*:2}|" 'index($0, who) == 1 { print substr($0, length(who) + 1) }' "$room/answers"
}
for user in root tester; do
    while IFS='|' read -r id bound free options; do
        # shellcheck disable=SC2086 # words
        {
            of_machine $user $options >"$room/probed/machine"
            judge_probe "machine, $user${options:+, $options}" "$room/probed/machine" "$(sets "$id" "$bound")" "$free"
        }
    done < <(
        echo "root|$docker||"
        [[ $user != root ]] || echo 'root|a82425fb||--cap-add SYS_ADMIN'
        echo "root|$all|calls key|--cap-add ALL --security-opt seccomp=unconfined"
    )
    for how in '' '--cap-add ALL --security-opt seccomp=unconfined'; do
        [[ $user == root || $how ]] || continue
        # shellcheck disable=SC2086 # words
        answers=$(of_machine $user $how)
        is "machine, $user${how:+, $how}: write to /proc/1/exe (CVE-2019-5736), which is not yet the command" \
            "$(diff <({ names <"$room/probed/exe"; echo 'exe end'; } | sort) <(grep ^exe <<<"$answers" | names | sort)
            grep -E '^exe.*(REACHED|signal)' <<<"$answers")" ''
        is "machine, $user${how:+, $how}: TIOCSTI, TIOCLINUX (CVE-2017-5226)" \
            "$(grep -c '^tty' <<<"$answers") $(grep -E '^tty (.*REACHED|end)' <<<"$answers")" "$((typing + 1)) tty end: <>"
    done
done
# Its root switched, with a whole /proc left below: refused, or held.
of_machine switched >"$room/probed/switched"
if grep -q '^mydocker: ' "$room/probed/switched"; then
    like 'machine, switched: --cap-add ALL is refused, for a /proc without masks lies below' "$(cat "$room/probed/switched")" '^mydocker: .*(proc|sysfs|SYS_ADMIN)'
else
    is "machine, switched: ${line_of[leave]}" \
        "$(diff <(probed "$room/probed/control" leave | names) <(probed "$room/probed/switched" leave | names); grep '^leave.*REACHED' "$room/probed/switched")" ''
fi
judge machine "$room/console" 20
done_testing
