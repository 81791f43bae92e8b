#!/bin/bash
# test-rootless.sh: pull and run as ordinary users, one with and one without subordinate
# ids. (The unpacked tree is compared in test-pull.sh, the network in test-network.sh.)
. "$(dirname "$0")/lib.sh"
registry main 5000
ordinary_users
uid=$(id -u mydocker-sub)
first=$(grep ^mydocker-sub: /etc/subuid | cut -d: -f2)
store=$room/home/sub/.config/mydocker
sub() { as sub run "$@"; }
bare() { as bare run "$@"; }
remember

# ---------------------------------------------------------------- with subordinate ids

gives 'a user pulls and runs' here sub busybox echo here
is '  into his own store, closed to others' "$(stat -c '%a %U' "$store")" '700 mydocker-sub'
try sub busybox true
is '  without a word on standard error' "$err" ''
gives 'root inside is the user outside, the rest his subordinate ids' "0 $uid 1 1 $first 65536" \
    sub busybox sh -c 'echo $(cat /proc/self/uid_map)'
gives '  and for groups' "0 $(id -g mydocker-sub) 1 1 $(grep ^mydocker-sub: /etc/subgid | cut -d: -f2) 65536" \
    sub busybox sh -c 'echo $(cat /proc/self/gid_map)'
gives 'owners of the image' $'0 0\n1000 1000' sub busybox stat -c '%u %g' /bin/busybox /home/alice
gives 'setuid files' '-rwsr-xr-x' sub test/layers sh -c 'ls -l /odd/mode-4755 | cut -c 1-10'
gives 'User by name' '1000 29 44 1000' sub test/config:user sh -c 'echo $(id -u) $(id -G | tr " " "\n" | sort -n)'
gives '-u with any id of the map' '65535 65534' sub -u 65535:65534 busybox sh -c 'echo $(id -u) $(id -g)'
fails '-u past the map' 125 '70000' sub -u 70000 busybox id
fails 'a layer whose owners are past the map' 125 '70000|subuid|not enough|ids' sub test/formats:ids true
is '  stays nowhere' "$(find "$store/tmp" -mindepth 1 ! -name '*lock*')" ''
gives 'capabilities are docker'"'"'s' '00000000a80425fb 00000000a80425fb' sub busybox sh -c 'echo $(grep -E "Cap(Eff|Bnd)" /proc/self/status | cut -f2)'
gives 'root inside owns what it makes' '0 0' sub busybox sh -c 'touch /x; stat -c "%u %g" /x'
gives '127 layers' 127 sub test/many:127 cat /number
gives 'whiteouts and opaque directories' 'last' sub test/layers ls /opaque
exits '  (gone-file is gone)' 1 sub test/layers test -e /gone-file
gives 'a lower directory can be removed and made again' new sub test/layers sh -c 'rm -r /odd && mkdir /odd && touch /odd/new && ls /odd'
for tag in tar gzip zstd docker implied device; do
    ok "format: $tag" sub test/formats:$tag test -e /etc/passwd
done
for code in 0 42 255; do exits "exit $code" "$code" sub busybox sh -c "exit $code"; done
fails '127' 127 'no-such' sub busybox no-such
fails '126' 126 '/etc' sub busybox /etc
install -d -o mydocker-sub "$room/v"
ok '-v' sub -v "$room/v:/v" busybox sh -c 'echo x >/v/root; touch /v/daemon; chown 1:1 /v/daemon'
is '  files of the container'"'"'s root are the user'"'"'s' "$(stat -c %u "$room/v/root")" "$uid"
is '  those of daemon his first subordinate id'"'"'s' "$(stat -c %u "$room/v/daemon")" "$first"
install -d -m 700 "$room/closed"
fails '-v of what the user may not read' 125 'closed' sub -v "$room/closed/x:/v" busybox true
exits '-v :ro' 1 sub -v "$room/v:/v:ro" busybox touch /v/x
exits '--read-only' 1 sub --read-only busybox touch /x
gives '--tmpfs' x sub --read-only --tmpfs /t busybox sh -c 'echo x >/t/x; cat /t/x'
gives '--hostname' box sub --hostname box busybox hostname
exits 'the host'"'"'s processes are out of sight' 1 sub busybox sh -c 'ps | grep -q [d]ocker-registry'
exits '/proc/sys is read-only' 1 sub busybox sh -c 'echo x >/proc/sys/kernel/hostname'
gives '/proc/kcore is masked' 0 sub busybox sh -c 'head -c 1 /proc/kcore | wc -c'
exits 'no mount may be undone' 1 sub busybox sh -c 'umount -l /proc/kcore || umount -l /proc'
exits 'SIGCHLD ignored' 7 as sub env --ignore-signal=CHLD run busybox sh -c 'exit 7'

# A user in many groups keeps his own to himself.
groupadd extra-group && usermod -aG extra-group mydocker-sub
gives 'supplementary groups of the caller' '0' sub busybox sh -c 'echo $(id -G | tr " " "\n" | grep -vx 65534)'

# 50 at once.
mkdir "$room/50"
engines=()
for ((i = 0; i < 50; i++)); do
    sub busybox sh -c "sleep 0.2; echo $i" >"$room/50/$i" 2>&1 &
    engines+=($!)
done
good=0
for engine in "${engines[@]}"; do wait "$engine" && good=$((good + 1)); done
is '50 at once all succeed' "$good" 50
is 'each printed its own line' "$(sort -n "$room"/50/* | xargs)" "$(seq -s' ' 0 49)"

# What belongs to subordinate ids can be removed by the user.
ok 'a container with files of other ids' as sub "$mydocker" run --network none --name deep busybox sh -c \
    'mkdir -p /a/b; chown -R 1000:1000 /a; chmod 700 /a/b; touch /a/b/c'
ok '  rm' as sub "$mydocker" rm deep
exits '  --rm' 0 sub busybox sh -c 'mkdir -p /a/b; touch /a/b/c; chown -R 1000:1000 /a; chmod 0 /a/b /a'
is '  no container directory is left' "$(ls -A "$store/containers")" ''
ok '  rmi of all' sh -c 'setpriv --reuid=mydocker-sub --regid=mydocker-sub --init-groups env -i -C "$1" HOME="$1" PATH="$PATH" sh -c "
    mydocker rmi \$(mydocker images | awk \"NR > 1 {print \\\$3}\" | sort -u)"' sh "$room/home/sub"
is '  no layer is left' "$(find "$store/layers" "$store/tmp" -mindepth 1 ! -name '*lock*')" ''

# A killed pull leaves nothing that the user cannot clear away.
as sub "$mydocker" pull test/big 2>/dev/null &
engine=$!
sleep 0.4
pkill -KILL -x mydocker
wait $engine
eventually 50 sh -c '! pgrep -x "curl|tar"'
ok 'after a killed pull the next succeeds' as sub "$mydocker" pull test/big
is '  and clears what the first left' "$(find "$store/tmp" -mindepth 1 ! -name '*lock*')" ''

# ---------------------------------------------------------------- without

try bare busybox sh -c 'echo $(id -u) $(id -g) $(cat /proc/self/uid_map)'
is 'a user without subordinate ids: root, and one id' "$rc:$out" "0:0 0 0 $(id -u mydocker-bare) 1"
try bare busybox true
is '  one warning' "$rc:$(wc -l <<<"$err")" 0:1
like '  that says where ids come from' "$err" '^mydocker: .*/etc/subuid'
gives 'files of other ids are the user'"'"'s own' '0 0' bare busybox stat -c '%u %g' /home/alice
gives 'layers, whiteouts' last bare test/layers ls /opaque
try bare -u alice busybox true
like 'another user is an error' "$rc:$(tail -n 1 <<<"$err")" '^125:mydocker: .*(alice|1000)'
ok 'rm and rmi' sh -c 'setpriv --reuid=mydocker-bare --regid=mydocker-bare --init-groups env -i -C "$1" HOME="$1" PATH="$PATH" sh -c "
    mydocker run --network none --name one busybox true; mydocker rm one && mydocker rmi busybox"' sh "$room/home/bare"
# newuidmap that is not installed is the same case.
mkdir "$room/tools"
for tool in curl tar gzip sha256sum; do ln -s "$(command -v $tool)" "$room/tools/$tool"; done
try as sub env PATH="$room/tools" "$mydocker" run --rm --network none busybox echo here
is 'without newuidmap: one id' "$rc:$out" 0:here
like '  and a warning that names it' "$err" 'newuidmap'
# Root of a user namespace with one id: an image whose files are all root's has no group tty to give terminals to.
mkdir -p "$room/alone/bin"
cp "$images/busybox/bin/busybox" "$room/alone/bin/"
ln -s busybox "$room/alone/bin/ls"
umoci init --layout "$room/one"
umoci new --image "$room/one:latest"
umoci insert --image "$room/one:latest" "$room/alone" / || bail 'umoci failed'
one() { unshare -Ur env MYDOCKER_HOME="$room/one.store" "$mydocker" "$@"; }
try one load -i "$room/one"
gives 'root of a user namespace with one id' /dev/pts/ptmx one run --rm --network none one /bin/ls /dev/pts/ptmx
# An image is called by its ID, too; one that was loaded without a name has no other.
id=$(one images | awk 'NR == 2 {print $3}')
gives 'an image by its ID' /bin/ls one run --rm --network none "$id" /bin/ls /bin/ls
gives '  or more of it' /bin/ls one run --rm --network none "sha256:$id" /bin/ls /bin/ls
fails '  but not by another' 125 'not found|resolve|connect' one run --rm --network none "${id//[0-9]/f}" /bin/ls
nothing_remains 'nothing remains'

# The two maps have layers of their own, one store holds both.
ok 'back with newuidmap' sub busybox true
is 'two maps, two layer directories' "$(find "$store/layers" -mindepth 1 -maxdepth 1 -type d -name '*.*' | sed 's/.*\/[0-9a-f]*//' | sort -u | wc -l)" 2
done_testing
