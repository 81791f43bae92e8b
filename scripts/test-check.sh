#!/bin/bash
# test-check.sh: `mydocker check`: as root, as users, and where one thing after another is
# taken away. What it says is held against what the engine then does. And the errors of
# run and pull where an early host lacks something.
. "$(dirname "$0")/lib-guest.sh"
registry main 5000
ordinary_users
ok 'pull' mydocker pull busybox
as sub "$mydocker" pull busybox 2>/dev/null
as bare "$mydocker" pull busybox 2>/dev/null
remember

# says DESCRIPTION WORD NAME REGEX COMMAND...: a line of the page that the command prints.
says() {
    try "${@:5}"
    grep -qE "^$2 +$3 +.*$4" <<<"$out"
    report $((!$?)) "$1" || { note wanted "$2 $3 ... $4"; tell_try; }
}
page_is() { # DESCRIPTION CODE: of the command tried last
    local last='^A container can run here\.$'
    (($2 == 0)) || last='^No container can run here without: .*\.$'
    is "$1: exit code" "$rc" "$2"
    like '  and the last line says so' "$(tail -n 1 <<<"$out")" "$last"
    is '  nothing on standard error' "$err" ''
}
# A shell in a mount namespace of its own, where `$1` is done first.
without() { # COMMANDS COMMAND...
    unshare -m sh -c "$1"' && exec "$@"' sh "${@:2}"
}
# Everything with its times, but for access.
trace_of() { find "$@" -printf '%p %m %u %s %T@ %C@\n' | sort; }

# ---------------------------------------------------------------- with everything

says 'root: a container can run' ok overlayfs 'user\.\*' mydocker check
page_is 'root' 0
unlike '  nothing is missing that run needs' "$(sed -n '/^run:/,/^$/p' <<<"$out")" '^missing'
is '  each line is a word, a name, and a text' \
    "$(grep -vE '^((ok|limited|missing) +[^ ].* +[^ ]|[a-z, ]+:$|$|A container can run here\.$)' <<<"$out")" ''
is '  every name stands in one column' \
    "$(grep -E '^(ok|limited|missing) ' <<<"$out" | cut -c 1-9 | sort -u | grep -vE '^(ok|limited|missing) *$')" ''
gives '  and one does' here run busybox echo here
says 'slirp4netns was tried' ok slirp4netns '.' mydocker check
gives '  and works' tap0 mydocker run --rm busybox sh -c 'ls /sys/class/net | grep tap'
ok '--help says what the exit code means' mydocker check --help
like '  and does' "$out" 'exit code 0 if a container can run'
before=$(trace_of "$MYDOCKER_HOME" "$HOME" /sys/fs/cgroup -maxdepth 1)
try mydocker check
# The directory for things in the making is the one that a trial was in.
is 'no trace in the store, in /root, among the cgroups' \
    "$(diff <(grep -v "^$MYDOCKER_HOME/tmp " <<<"$before") <(trace_of "$MYDOCKER_HOME" "$HOME" /sys/fs/cgroup -maxdepth 1 | grep -v "^$MYDOCKER_HOME/tmp "))" ''
is '  nothing is left of the trial' "$(ls "$MYDOCKER_HOME/tmp")" ''
mkdir "$room/none"
before=$(trace_of "$room/none")
says 'a store that is not there' ok store "$room/none/a/b .*made when" env MYDOCKER_HOME="$room/none/a/b" mydocker check
like '  is asked about xattrs all the same' "$out" '^ok +overlayfs .*user\.\*'
is '  and is not made, nor anything in its place' "$(trace_of "$room/none")" "$before"
nothing_remains '  nor does anything run or stay mounted'
try mydocker -v check
unlike '-v: every call has a reason, and a place of ours' "$err" ' {6}\[|: {3}\[|function\.rs'
ok '  and there are many' test "$(wc -l <<<"$err")" -gt 200

# ---------------------------------------------------------------- users

says 'a user with subordinate ids' ok ids 'newuidmap' as sub "$mydocker" check
page_is '  a container can run' 0
like '  no limits, and how to get them' "$out" '^missing +memory .*--memory.*systemd-run --user --scope'
fails '    as run says' 125 systemd-run as sub run --memory 64m busybox true
gives '  and one does' here as sub run busybox echo here
says 'a user without' limited ids 'one only.*/etc/subuid' as bare "$mydocker" check
page_is '  a container can run' 0
try as bare run busybox echo here
is '  and one does' "$rc:$out" 0:here
like '    with the same reason' "$err" 'one id only.*/etc/subuid'
is '  nothing is left of the trials' "$(find "$room"/home/{sub,bare}/.config/mydocker/tmp -mindepth 1)" ''
says 'a tool that has lost its power: no_new_privs' limited ids no_new_privs as sub setpriv --no-new-privs "$mydocker" check
says 'the store of somebody else' missing store 'belongs to user' env MYDOCKER_HOME="$room/home/sub/.config/mydocker" mydocker check
page_is '  no container' 1
says 'no HOME' missing store 'MYDOCKER_HOME nor HOME' env -u HOME -u MYDOCKER_HOME mydocker check
page_is '  no container' 1
fails '  as run says' 125 'MYDOCKER_HOME nor HOME' env -u HOME -u MYDOCKER_HOME mydocker run busybox true
no_passwd='mount --bind /dev/null /etc/passwd'
try without "$no_passwd" setpriv --reuid=4242 --regid=4242 --clear-groups \
    env -i PATH="$PATH" MYDOCKER_HOME="$room/tmp/4242" MYDOCKER_MIRROR="$MYDOCKER_MIRROR" run busybox echo here
is 'no /etc/passwd: an id that has no name runs one' "$rc:$out" 0:here

# ---------------------------------------------------------------- namespaces

limited_to() { # SETTING COMMAND...: none of these in a user namespace
    unshare -U -r -m sh -c 'echo 0 >/proc/sys/user/'"$1"'; exec "$@"' sh "${@:2}"
}
for kind in user mnt pid net ipc uts cgroup; do
    says "no $kind namespaces: which setting" missing namespaces "sysctl -w user.max_${kind}_namespaces" \
        limited_to "max_${kind}_namespaces" mydocker check
    is '  no container' "$rc" 1
done
# shellcheck disable=SC2154 # out: of try
like '  slirp4netns could not be tried' "$out" '^missing +slirp4netns'
fails 'as run says' 125 'clone.*sysctl -w user.max_user_namespaces' limited_to max_user_namespaces run busybox true
no_programs_in_memory() { # COMMAND...: a sysctl of each pid namespace's
    unshare -p -f --mount-proc sh -c 'echo 2 >/proc/sys/vm/memfd_noexec && "$@"' sh "$@"
}
says 'no programs in memory' missing memfd 'vm.memfd_noexec' no_programs_in_memory mydocker check
page_is '  no container' 1
fails '  as run says' 125 'memfd_create: Permission denied .*vm.memfd_noexec' no_programs_in_memory run busybox true
mkdir -p "$room/chroot/bin" && cp "$mydocker" "$room/chroot/bin/"
for dir in proc dev tmp; do mkdir "$room/chroot/$dir"; done
in_chroot() { without "mount --rbind /proc $room/chroot/proc && mount --rbind /dev $room/chroot/dev" chroot "$room/chroot" /bin/mydocker "$@"; }
says 'in a chroot' missing namespaces 'chroot' in_chroot check
page_is '  no container' 1

# ---------------------------------------------------------------- file systems and devices

no_proc='umount -l /proc && umount -l /proc' # that of the test's pid namespace, and that of the host's

says 'no /proc' missing ids '/proc' without "$no_proc" mydocker check
page_is '  no container' 1
fails '  as run says' 125 'mount -t proc proc /proc' without "$no_proc" run busybox true
fails '  and pull' 125 'mount -t proc proc /proc' without "$no_proc" mydocker pull test/layers
says "a /proc of another pid namespace" missing ids 'mount -t proc proc /proc' without 'umount -l /proc' mydocker check
fails '  as run says' 125 'mount -t proc proc /proc' without 'umount -l /proc' run busybox true
covered='mount -t tmpfs t /proc/sys'
says 'a /proc with something over it' missing proc 'mount -t proc proc /proc' without "$covered" mydocker check
page_is '  no container' 1
fails '  as run says' 125 'mount proc' without "$covered" run busybox true
no_sys='umount -R /sys'
says 'no /sys' missing sysfs 'mount -t sysfs sysfs /sys' without "$no_sys" mydocker check
page_is '  no container' 1
fails '  as run says' 125 'sysfs' without "$no_sys" run busybox true
for device in null zero full random urandom tty; do
    few="mkdir $room/dev.$device && cp -a /dev/{null,zero,full,random,urandom,tty} $room/dev.$device/ && rm $room/dev.$device/$device"
    bash -c "$few"
    gone="mount --bind $room/dev.$device /dev"
    says "no /dev/$device" missing devices "/dev/$device" without "$gone" mydocker check
    is '  no container' "$rc" 1
done
fails '  as run says' 125 '/dev/tty' without "$gone" run busybox true
says 'no /dev/net/tun' missing slirp4netns '/dev/net/tun' without "$gone; mknod /dev/tty c 5 0" mydocker check
rm -f "$room/dev.tty/tty"

# ---------------------------------------------------------------- the store

on() { without "mkdir -p $room/fs && mount $1 $room/fs" env MYDOCKER_HOME="$room/fs/store" "${@:2}"; }
says 'a store on ramfs' limited overlayfs 'ramfs.*copy' on '-t ramfs r' mydocker check
page_is '  a container can run' 0
says '  one that is there' limited overlayfs 'ramfs.*copy' on "-t ramfs r $room/fs; mkdir -p $room/fs/store/tmp; true" mydocker check
gives '  as run does' here on '-t ramfs r' run busybox echo here
says 'on tmpfs' '(ok|limited)' overlayfs 'tmpfs: ' on '-t tmpfs t' mydocker check
gives '  as run does' here on '-t tmpfs t' run busybox echo here
says 'little room' limited store ' [0-9] MB free' on '-t tmpfs -o size=4m t' mydocker check
says 'a store that cannot be written' missing store 'Read-only' on '-t tmpfs -o ro t' mydocker check
page_is '  no container' 1
fails '  as run says' 125 'Read-only' on '-t tmpfs -o ro t' run busybox true
mkdir -p "$room"/{l,u,w}
overlaid="-t overlay -o lowerdir=$room/l,upperdir=$room/u,workdir=$room/w overlay"
says 'on an overlay' missing overlayfs 'overlay: no upper directory' on "$overlaid" mydocker check
says '  that has one' missing overlayfs 'overlay: no upper directory' on "$overlaid $room/fs; mkdir -p $room/fs/store/tmp; true" mydocker check
page_is '  no container' 1
fails '  as run says' 125 'mount overlay.*MYDOCKER_HOME' on "$overlaid" run busybox true

# ---------------------------------------------------------------- helpers

# A directory with each program that the engine calls, but for some.
tools() { # BUT...: -> $bin
    bin=$room/tools.$1
    mkdir -p "$bin"
    local tool
    for tool in curl tar openssl sha256sum igzip pigz gzip zstd cat slirp4netns newuidmap newgidmap; do
        [[ " $* " == *" $tool "* ]] || ! command -v $tool >/dev/null || ln -sf "$(command -v $tool)" "$bin/"
    done
}
lacks() { # NAME-ON-THE-PAGE IMAGE REGEX PROGRAM...: says so, and a pull fails with it
    tools "${@:4}"
    says "without ${*:4}" missing "$1" 'apt-get install' env PATH="$bin" "$mydocker" check
    is '  a container can run' "$rc" 0
    fails '  a pull fails as told' 125 "$3" env PATH="$bin" MYDOCKER_HOME="$room/store.$1" "$mydocker" pull "$2"
}
lacks tar busybox 'tar is not installed' tar
lacks sha256 busybox 'sha256sum is not installed' openssl sha256sum
lacks gzip busybox 'gzip is not installed' igzip pigz gzip
lacks zstd test/formats:zstd 'zstd is not installed' zstd
lacks curl busybox 'curl is not installed' curl
tools slirp4netns
says 'without slirp4netns' missing slirp4netns 'apt-get install' env PATH="$bin" "$mydocker" check
is '  a container can run' "$rc" 0
try env PATH="$bin" "$mydocker" run --rm busybox echo here
is '  and one does' "$rc:$out" 0:here
like '    with a warning' "$err" 'slirp4netns is not installed'
tools openssl
says 'sha256sum alone' ok sha256 sha256sum env PATH="$bin" "$mydocker" check
tools tar
ln -s "$(command -v busybox)" "$bin/tar"
says 'busybox tar' limited tar 'xattrs' env PATH="$bin" "$mydocker" check
ok '  a pull works' env PATH="$bin" MYDOCKER_HOME="$room/store.busybox" "$mydocker" pull busybox
tools zstd
printf '#!/bin/sh\nexit 127\n' >"$bin/zstd"
chmod 755 "$bin/zstd"
says 'a program that does not work' missing zstd 'does not decompress' env PATH="$bin:/bin" "$mydocker" check

no_bundle='for d in /etc/ssl /etc/pki; do [ ! -d $d ] || mount -t tmpfs t $d; done'
says 'no certificates' missing certificates 'MYDOCKER_CACERT' without "$no_bundle" mydocker check
says '  named by a variable' ok certificates /x.pem env SSL_CERT_FILE=/x.pem mydocker check
no_name_server='mount --bind /dev/null /etc/resolv.conf'
says 'no name server' missing 'name server' '/etc/resolv.conf' without "$no_name_server" mydocker check
fails '  as pull says' 125 'resolv.conf names none' without "$no_name_server" mydocker pull registry.invalid/x
says 'the clock of this machine' ok clock . mydocker check

# ---------------------------------------------------------------- limits

no_cgroup='umount -R /sys/fs/cgroup'
says 'no cgroups' missing cgroup 'mount -t cgroup2 none /sys/fs/cgroup' without "$no_cgroup" mydocker check
page_is '  a container can run' 0
gives '    and one does' here without "$no_cgroup" run busybox echo here
fails '  a limit is refused with the same words' 125 'limits: .*mount -t cgroup2 none /sys/fs/cgroup' \
    without "$no_cgroup" run --memory 64m busybox true
for pair in memory=64m pids-limit=20 cpus=0.5 cpuset-cpus=0; do
    option=--${pair%=*}
    word=$(mydocker check | grep -e " $option$" -e " $option is" | cut -d' ' -f1)
    try run "$option" "${pair#*=}" busybox true
    is "$option: run does as check says ($word)" "$rc" "$([[ $word == ok ]] && echo 0 || echo 125)"
done
# The bare version 2 of a hybrid host in the place of version 1: whatever it has.
bare_v2='umount -R /sys/fs/cgroup; mount -t cgroup2 none /sys/fs/cgroup'
says 'version 2' ok cgroup 'version 2' without "$bare_v2" mydocker check
for pair in memory=64m pids-limit=20 cpus=0.5 cpuset-cpus=0; do
    option=--${pair%=*}
    word=$(without "$bare_v2" mydocker check | grep -e " $option$" -e " $option is" | cut -d' ' -f1)
    try without "$bare_v2" run "$option" "${pair#*=}" busybox true
    is "version 2, $option: run does as check says ($word)" "$rc" "$([[ $word == ok ]] && echo 0 || echo 125)"
done

# ---------------------------------------------------------------- dns

says 'the port is free' ok 'port 8053' 'free' mydocker check
mydocker dns --upstream 127.0.0.1:1 --listen 127.0.0.1:8053 2>/dev/null &
server=$!
eventually 50 listening 8053
says 'the port is taken' limited 'port 8053' '--listen' mydocker check
page_is '  a container can run' 0
fails '  as dns says' 125 '8053.*--listen' mydocker dns --upstream 127.0.0.1:1 --listen 127.0.0.1:8053
stop "$server"

# ---------------------------------------------------------------- an initramfs, early

# mydocker, busybox, and a curl that says what curl says to a clock that was never set.
if [[ $(uname -m) != x86_64 ]]; then
    skip 'a virtual machine' 'only for x86_64'
else
    early=$room/early
    mkdir -p "$early"/{bin,dev,proc,sys,modules,tmp,etc}
    cp "$(command -v busybox)" "$mydocker" "$early/bin/"
    for applet in $(busybox --list); do ln -s busybox "$early/bin/$applet" 2>/dev/null; done
    cp /var/cache/mydocker-guest/overlay.ko "$early/modules/"
    cat >"$early/bin/curl" <<'END'
#!/bin/busybox sh
[ "$*" != --version ] || exec echo 'curl 1 Protocols: http https ftp'
echo 'curl: (60) SSL certificate problem: certificate is not yet valid' >&2
exit 60
END
    cat >"$early/init" <<'END'
#!/bin/busybox sh
export PATH=/bin HOME=/
part() { echo; echo "=== $*"; }
part bare
mydocker check
echo "exit code $?"
part mounted
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mydocker check
echo "exit code $?"
part traces
find / -xdev -name '*mydocker*' -o -xdev -name '*check*' -o -xdev -name upper
part pull
mydocker pull registry.test/x 2>&1
part overlay
insmod /modules/overlay.ko
mount -t cgroup2 c /sys/fs/cgroup
mydocker check
echo "exit code $?"
part user
mkdir -m 700 /tmp/user && chown 1000:1000 /tmp/user
echo user:x:1000:1000::/tmp/user:/bin/sh >/etc/passwd
su user -c 'mydocker check; echo "exit code $?"'
part scratch
find / -xdev -name 'check-*' -o -xdev -name upper
part end
poweroff -f
END
    chmod 755 "$early/init" "$early/bin/curl"
    pack "$early" "$room/early.gz"
    machine "$room/early.gz" 512 '' -rtc base=1999-12-31T12:00:00 >"$room/console"
    section() { sed -n "/^=== $1\$/,/^=== /p" "$room/console"; }
    shows() { like "an initramfs: $1" "$(section "$2")" "$3"; } # DESCRIPTION SECTION REGEX
    shows 'nothing mounted: no container, and what to do' bare '^missing  proc .*mount -t proc proc /proc|^missing  ids .*mount -t proc proc /proc'
    shows '  no devices' bare '^missing  devices .*mount -t devtmpfs dev /dev'
    shows '  the exit code' bare '^exit code 1$'
    shows 'proc, sys, dev: a container can run' mounted '^exit code 0$'
    shows '  pivot_root works: on a mount of / ' mounted '^ok       pivot_root'
    shows '  no overlayfs in the kernel' mounted '^limited  overlayfs .*copy.*modprobe overlay'
    shows '  busybox tar' mounted '^limited  tar .*xattrs'
    shows '  busybox sha256sum and gzip' mounted '^ok       sha256 +sha256sum$'
    shows '  a clock that was never set' mounted '^missing  clock .*the clock says 1999: date -s'
    shows '  no name server' mounted '^missing  name server .*/etc/resolv.conf'
    shows '  no cgroups' mounted '^missing  cgroup .*mount -t cgroup2 none /sys/fs/cgroup'
    shows '  no slirp4netns' mounted '^missing  slirp4netns '
    shows '  no certificates' mounted '^missing  certificates '
    shows '  pull blames the clock' pull '^mydocker: .*not yet valid.*the clock says 1999: date -s'
    shows 'overlayfs, a store on tmpfs of Linux 6.1: marks of the host'"'"'s root' overlay '^ok       overlayfs .*tmpfs: layers are stacked .with root.s trusted'
    shows '  every limit of version 2' overlay '^ok       cpuset '
    is '    four of them' "$(section overlay | grep -cE '^ok       (memory|pids|cpu|cpuset) ')" 4
    shows '  a user there gets copies' user '^limited  overlayfs .*copy'
    shows '  and one id' user '^limited  ids .*one only'
    shows '  and no limits' user '^missing  memory .*systemd-run'
    shows '    but a container' user '^exit code 0$'
    is 'no trace where there was no store' "$(section traces | grep -v '^===' | xargs)" /bin/mydocker
    is '  nor where there was one' "$(section scratch | grep -v '^===' | xargs)" ''
    shows 'the guest came to its end' end .
fi
nothing_remains 'nothing remains'
done_testing
