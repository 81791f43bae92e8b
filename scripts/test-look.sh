#!/bin/bash
# test-look.sh: `mydocker look`. What it draws is compared with what lsns, findmnt, ps, ip and the
# files of /proc and of the cgroup say of the same container.
. "$(dirname "$0")/lib.sh"
registry main 5000
ok 'pull' mydocker pull busybox
mydocker pull test/layers 2>/dev/null
mydocker pull test/many:127 2>/dev/null
remember

# start NAME OPTIONS... IMAGE COMMAND...: a container, whose command ends by running sleep; $engine, $pid.
start() {
    mydocker run --rm --name "$@" 2>"$room/start.err" &
    engine=$!
    eventually 100 runs "$MYDOCKER_HOME" "$1" || note 'it does not run' "$(cat "$room/start.err")"
}
runs() { # STORE NAME
    pid=$(sed -n 's/.*"pid":\([0-9]*\).*/\1/p' "$1/containers/$2/state")
    [[ $pid && $(tr '\0' ' ' <"/proc/$pid/cmdline") != *mydocker* ]] && pgrep -x sleep
}
finish() { # NAME
    mydocker rm -f "$1" >/dev/null
    wait "$engine"
}
# look DESCRIPTION COMMAND...: the picture, for `part`.
look() {
    ok "$@"
    picture=$out
}
# The lines of a part of the picture, without the margin and the heads of columns.
part() { # PART
    awk -v part="$1" '/^[A-Z]/ {on = index($0, part) == 1} on {print substr($0, 13)}' <<<"$picture" |
        sed '/^on the host/d; /^pid     uid /d'
}

# ---------------------------------------------------------------- what others say of the same

descendants() { # PID: it and all below it
    local child
    echo "$1"
    for child in $(ps -o pid= --ppid "$1"); do descendants "$child"; done
}
processes() { # host pid, host uid, container's pid, container's uid: of ps, NSpid and the id map
    local process
    for process in $(descendants "$engine_seen"); do
        awk -v map="$(cat "/proc/$pid/uid_map")" '
            $1 == "NSpid:" {here = $2; there = NF > 2 ? $3 : "-"}
            $1 == "Uid:" {uid = $2}
            END {
                inside = "-"
                lines = split(map, line, "\n")
                for (i = 1; i <= lines; i++) {
                    split(line[i], n, " ")
                    if (there != "-" && uid >= n[2] && uid < n[2] + n[3]) inside = n[1] + uid - n[2]
                }
                print here, uid, there, inside
            }' "/proc/$process/status"
    done | sort -n
}
namespaces() { # of lsns, here and there
    local kind here there
    for kind in user mnt pid net ipc uts cgroup time; do
        here=$(lsns -n -p $$ -t $kind -o NS | tr -d ' ')
        there=$(lsns -n -p "$pid" -t $kind -o NS | tr -d ' ')
        [[ $here ]] || continue
        if [[ $here == "$there" ]]; then echo "$kind $there same as the host's"; else echo "$kind $there own (host: $here)"; fi
    done
}
id_maps() {
    local kind
    for kind in uid gid; do
        awk -v kind=$kind 'function ids(first) {return $3 == 1 ? first : sprintf("%d-%.0f", first, first + $3 - 1)}
            {line = line " container " ids($1) " = host " ids($2)} END {print kind line}' "/proc/$pid/${kind}_map"
    done
}
# Paths of all mounts: those of rows, and those that are folded into one row of names.
drawn_mounts() {
    part MOUNTS | awk '
        function path(name) {return up == "/" ? "/" name : up "/" name}
        {
            match($0, /^([|` ] *-? )*/)
            depth = RLENGTH / 3
            text = substr($0, RLENGTH + 1)
            up = at[depth - 1]
            if (sub(/^(the host.s|masked|read-only): */, "", text)) {
                names = split(text, name, " ")
                for (i = 1; i <= names; i++) print path(name[i])
            } else {
                sub(/ .*/, "", text)
                at[depth] = text
                print text
            }
        }' | sort
}
mounts() { findmnt -N "$pid" -l -n -o TARGET | sed 's/ *$//' | sort; }
addresses() { nsenter -t "$pid" -n ip -o addr | awk '{print $2, $4}' | sort; }
drawn_addresses() {
    part NETWORK | awk '$1 != "routes" && / bytes in, / {for (i = 2; $i ~ /\//; i++) print $1, $i}' | sort
}
layers() { # the image's, topmost first, as the store has them
    local image n
    image=$MYDOCKER_HOME/images/$(readlink "$MYDOCKER_HOME/images/$1")
    for n in $(find "$image/" -mindepth 1 -maxdepth 1 -name '[0-9]*' -printf '%f\n' | sort -rn); do
        if [[ -L $image/$n ]]; then basename "$(readlink "$image/$n")" | cut -c -12; else echo own; fi | sed "s/^/$n=/"
    done
}

agrees() { # DESCRIPTION: the picture against all of them; the container is $pid, its engine $engine_seen
    is "$1: processes, under both numbers" \
        "$(part PROCESSES | awk '{print $1, $2, $3, $4}' | sort -n)" "$(processes)"
    is "$1: namespaces" "$(part NAMESPACES | sed 's/./&\n/46' | tr -s ' ' | sed 's/ $//' | sort)" \
        "$(namespaces | sort)"
    is "$1: id maps" "$(part 'ID MAPS' | tr -s ' ')" "$(id_maps)"
    is "$1: mounts" "$(drawn_mounts)" "$(mounts)"
    ok "$1: it fits the screen" test "$(wc -l <<<"$picture")" -le 50 -a "$(wc -L <<<"$picture")" -le 100
}

# ---------------------------------------------------------------- root

start web --network none --hostname box test/layers sh -c 'sleep 1001 & (sleep 1002; :) & sleep 1003; :'
engine_seen=$engine
eventually 50 eval '(($(descendants "$engine" | wc -l) == 6))'
look 'look' mydocker look web
agrees root
like 'whose it is' "$picture" "^CONTAINER   web = $(readlink "$MYDOCKER_HOME/containers/web"), of docker.io/test/layers:latest, up [0-9]+ seconds?, hostname box$"
like 'the engine at the top' "$(part PROCESSES | head -n 1)" "^$engine +0 +- +- +mydocker run --rm --name web"
like 'below it pid 1' "$(part PROCESSES | sed -n 2p)" "^$pid +0 +1 +0 +\`- sh -c sleep 1001 "
like 'and its children' "$(part PROCESSES)" '   \|- sleep 1001$'
like 'down to the last' "$(part PROCESSES)" '   \|  `- sleep 1002$'
is 'the layers, topmost first' "$(part OVERLAY | grep -v upper | sed 's/^layers//' | xargs -n 1 | sed 1d)" \
    "$(layers docker.io+test+layers:latest)"
like 'above them the skeleton' "$(part OVERLAY)" '^layers  skeleton 5=own 4=[0-9a-f]{12} '
like 'and who takes the changes' "$(part OVERLAY)" "^upper   containers/$(readlink "$MYDOCKER_HOME/containers/web")/upper "
is 'addresses' "$(drawn_addresses)" "$(addresses)"
like 'no way out' "$(part NETWORK)" '^none$'
like 'no routes' "$(part NETWORK)" '^routes  none$'
like 'masks in one row' "$(part MOUNTS)" '^\|  \|- masked: .*keys'
like 'read-only parts of /proc in one' "$(part MOUNTS)" '^\|  `- read-only: .*sys'
like 'devices of the host in one' "$(part MOUNTS)" "the host's: +dev/null dev/zero dev/full dev/random dev/urandom dev/tty$"
mask=$(sed -n 's/^CapBnd:\t//p' "/proc/$pid/status")
names=$(part 'PID 1' | sed -n '/^CapBnd/,/^CapEff/p' | sed '/^CapEff/d; s/^CapBnd//')
is 'capabilities are those of capsh' "$(xargs -n 1 <<<"$names" | sort)" \
    "$(capsh --decode="$mask" | cut -d= -f2 | tr , '\n' | sed 's/^cap_//' | tr '[:lower:]' '[:upper:]' | sort)"
like 'all of them in effect' "$(part 'PID 1')" '^CapEff  the same$'
is 'seccomp and no_new_privs' "$(part 'PID 1' | head -n 1)" 'uid 0, gid 0, no_new_privs off, seccomp filter'
ok 'by id' mydocker look "$(readlink "$MYDOCKER_HOME/containers/web")"
ok 'by its beginning' mydocker look "$(readlink "$MYDOCKER_HOME/containers/web" | cut -c -5)"
gives 'standard output alone' '' sh -c 'mydocker look web >/dev/null'
gives '-v tells why each file is read' 0 sh -c 'mydocker -v look web 2>&1 >/dev/null | grep "openat(.*/proc/" | grep -vc "   [a-z]"; :'
fails 'a full standard output' 125 'write to standard output: No space' sh -c 'mydocker look web >/dev/full'
finish web

# ---------------------------------------------------------------- limits

cgroup=/sys/fs/cgroup
start limited --network none --memory 64m --cpus 0.5 --pids-limit 20 --cpuset-cpus 0 busybox sh -c 'true & wait; exec sleep 1000'
id=$(readlink "$MYDOCKER_HOME/containers/limited")
value() { cat "$cgroup/$1/mydocker/$id/$2" 2>/dev/null || cat "$cgroup/mydocker/$id/$3"; } # CONTROLLER FILE-OF-1 FILE-OF-2
look 'look at limits' mydocker look limited
limits=$(part CGROUP)
like 'which cgroup' "$limits" "^version [12], /mydocker/$id below /sys/fs/cgroup$"
like 'memory' "$limits" '^memory +[0-9]+[KM]? of 64M( |$)'
is '  as much as the kernel says, to a megabyte' "$(($(sed -n 's/^memory *\([0-9]*\)K .*/\1/p' <<<"$limits") / 1024))" \
    "$(($(value memory memory.usage_in_bytes memory.current) >> 20))"
like 'pids' "$limits" "(^| )pids +$(value pids pids.current pids.current) of 20( |$)"
like 'cpuset' "$limits" '(^| )cpuset +CPUs 0( |$)'
like 'cpu' "$limits" "(^| )cpu +(.* used, )?50 of each 100 ms, throttled [0-9]+ times"
if [[ -e $cgroup/memory/memory.memsw.limit_in_bytes ]]; then
    like 'swap' "$limits" ' with swap +[0-9]+[KM]? of 128M'
elif [[ -e $cgroup/mydocker/$id/memory.swap.max ]]; then
    like 'swap' "$limits" ' swap +[0-9]+[KM]? of 64M'
else
    unlike 'no row for swap, which this kernel does not count' "$limits" swap
fi
finish limited
start free --network none --pids-limit -1 busybox sleep 1000
look 'look at no limits' mydocker look free
unlike 'one row at most' "$(part CGROUP)" 'memory|cpu'
finish free

# ---------------------------------------------------------------- slirp4netns, volumes, a user in it

if [[ -c /dev/net/tun ]]; then
    mkdir "$room/data" "$room/a b"
    start slirp --network slirp4netns -u 7:8 -v "$room/data:/data:ro" -v "$room/a b:/b	c\\d" --tmpfs /cache:size=1m \
        --security-opt seccomp=unconfined --security-opt no-new-privileges busybox sleep 1000
    engine_seen=$engine
    look 'look at slirp4netns' mydocker look slirp
    is 'processes, the helper among them' "$(part PROCESSES | awk '{print $1, $2, $3, $4}' | sort -n)" "$(processes)"
    is 'the pid of the helper' "$(part NETWORK | head -n 1)" "slirp4netns, pid $(pgrep -x slirp4netns)"
    like 'is in the tree' "$(part PROCESSES)" "^$(pgrep -x slirp4netns) +0 +- +- +\`- slirp4netns "
    is 'its addresses' "$(drawn_addresses)" "$(addresses)"
    is 'its routes' "$(part NETWORK | sed -n 's/^routes *//p' | sed 's/   */\n/g' | sort)" "$(
        nsenter -t "$pid" -n ip route | sed -n 's/^default/0.0.0.0\/0/; s/^\([^ ]*\( via [^ ]*\)* dev [^ ]*\).*/\1/p' | sort)"
    like 'a volume as findmnt has it' "$(part MOUNTS)" \
        "/data +$(findmnt -N "$pid" -n -o FSTYPE /data) +ro .*$(findmnt -N "$pid" -n -o SOURCE /data | sed 's/[][]/\\&/g')$"
    like 'a hostile mount point' "$(part MOUNTS)" '`?- /b\\tc\\d +tmpfs +rw .*\["/.*a b"\]$'
    like 'a tmpfs with its size' "$(part MOUNTS)" '/cache +tmpfs +rw .*size=1024k'
    is 'another user, otherwise confined' "$(part 'PID 1' | head -n 1)" 'uid 7, gid 8, no_new_privs on, seccomp off'
    like 'who has no capability' "$(part 'PID 1')" '^CapEff  none$'
    finish slirp
else
    skip 'slirp4netns' 'no /dev/net/tun'
fi
start host --network host busybox sleep 1000
engine_seen=$engine
look 'look at --network host' mydocker look host
agrees '--network host'
like 'it says so' "$(part NETWORK)" '^host$'
like 'and the namespace is the same' "$(part NAMESPACES)" "net +[0-9]+ same as the host's"
finish host

# ---------------------------------------------------------------- strangers

start evil --network none busybox sh -c '(printf "x\n\033[2J" >/proc/self/comm) & exec sleep 1000'
eventually 50 grep -q '^State:.*zombie' "/proc/$(pgrep -P "$pid")/status"
look 'look at a hostile name' mydocker look evil
is 'no control character comes out' "$(tr -d '\n' <<<"$picture" | grep -c '[[:cntrl:]]')" 0
like 'but what they are' "$(part PROCESSES)" '\[x\\n\\u\{1b\}\[2J\] has ended, and nobody has waited'
finish evil
start args --network none busybox sh -c 'sleep 1000; :' "$(printf '\033]0;\007\r\n9 1')" "$(printf '\342\200\256\134')"
look 'look at hostile arguments' mydocker look args
like 'are escaped' "$(part PROCESSES)" '- sh -c sleep 1000; : \\u\{1b\}\]0;\\u\{7\}\\r\\n9 1 \\u\{202e\}\\$'
is 'and forge no row' "$(part PROCESSES | wc -l)" 3
finish args
start many --network none test/many:127 sh -c 'i=0; while test $i -lt 100; do sleep 1000 & i=$((i + 1)); done; sleep 1001'
engine_seen=$engine
eventually 100 eval '(($(descendants "$engine" | wc -l) == 102))'
look 'look at 102 processes and 127 layers' mydocker look many
is 'not all are shown, all are counted' "$(part PROCESSES | sed -n '16,$p' | sed 's/^[0-9].*/shown/')" $'shown\n... and 86 more'
like 'layers' "$(part OVERLAY | tail -n 2)" "\.\.\. and $((1 + $(layers docker.io+test+many:127 | wc -l) - 20)) more"
ok 'and it fits the screen' test "$(wc -l <<<"$picture")" -le 60
finish many
start chroot --network none busybox chroot /bin/.. sleep 1000
look 'a root that is the same' mydocker look chroot
finish chroot
start chroot --network none busybox sh -c 'mkdir /new /new/bin; cp /bin/busybox /new/bin/sleep; exec chroot /new /bin/sleep 1000'
look 'look at a pid 1 that has changed its root' mydocker look chroot
like 'it is told' "$(part MOUNTS)" '^pid 1 has another root'
finish chroot

# Each thread has the children that it has started: proc(5), /proc/PID/task/TID/children.
volumes=()
for dir in /usr /lib /lib64; do
    [[ ! -d $dir ]] || volumes+=(-v "$dir:$dir:ro")
done
# More mounts than read(2) gives of /proc/PID/mountinfo at once.
long=$(printf '%0200d' 1)
lots=()
for i in {1..10}; do lots+=(-v "$room/tmp:/$long/$long$i:ro"); done
start lots --network none "${lots[@]}" busybox sleep 1000
ok 'mountinfo is longer than a page' eval '(($(wc -c <"/proc/$pid/mountinfo") > 4096))'
look 'look at so many' mydocker look lots
is 'all are seen: what is read-only comes after the volumes' "$(part MOUNTS | grep -o 'read-only:.*' | xargs)" \
    "read-only: $(findmnt -N "$pid" -rno TARGET,OPTIONS | awk '$1 ~ "^/proc/" && $2 ~ /(^|,)ro(,|$)/ {sub("/proc/", "", $1); print $1}' |
        grep -vxF -e interrupts -e kcore -e keys -e latency_stats -e timer_list -e acpi -e asound -e scsi | xargs)"
finish lots
start threads --network none "${volumes[@]}" busybox /usr/bin/python3 -c '
import subprocess, threading
threading.Thread(target=lambda: subprocess.run(["sleep", "1001"])).start()
subprocess.run(["sleep", "1002"])'
engine_seen=$engine
eventually 50 eval '(($(descendants "$engine" | wc -l) == 4))'
look 'look at the children of two threads' mydocker look threads
is 'both are there' "$(part PROCESSES | awk '{print $1, $2, $3, $4}' | sort -n)" "$(processes)"
is '  and nobody else' "$(part PROCESSES | grep -c 'sleep 100[12]$')" 2
finish threads

# Processes that come and go while it looks.
start busy --network none busybox sh -c 'while :; do true & true & wait; done & sleep 1000; :'
good=0
for _ in $(seq 30); do mydocker look busy >/dev/null 2>&1 && good=$((good + 1)); done
is '30 looks while processes come and go' $good 30
finish busy
nothing_remains 'nothing remains'

# ---------------------------------------------------------------- an ordinary user

ordinary_users
as sub "$mydocker" pull busybox 2>/dev/null
store=$room/home/sub/.config/mydocker
options=(--network none)
[[ ! -c /dev/net/tun ]] || options=(--network slirp4netns)
as sub "$mydocker" run --rm --name mine "${options[@]}" busybox sh -c 'sleep 1000 & exec sleep 1001' 2>/dev/null &
engine=$!
eventually 100 runs "$store" mine
eventually 50 eval '(($(pgrep -x sleep | wc -l) == 2))'
engine_seen=$(awk '$1 == "PPid:" {print $2}' "/proc/$pid/status")
uid=$(id -u mydocker-sub)
look 'look, rootless' as sub "$mydocker" look mine
agrees rootless
like 'root in there is the user' "$(part PROCESSES)" "^$pid +$uid +1 +0 "
subuid=$(sed -n 's/^mydocker-sub:\([0-9]*\):.*/\1/p' /etc/subuid)
like 'the map' "$(part 'ID MAPS')" "^uid  container 0 = host $uid   container 1-65536 = host $subuid-$((subuid + 65535))$"
is 'addresses' "$(drawn_addresses)" "$(addresses)"
fails 'not that of somebody else' 125 'no such container: mine' mydocker look mine
fails 'nor does root use the store of a user' 125 'belongs to user' env MYDOCKER_HOME="$store" mydocker look mine
as sub "$mydocker" rm -f mine >/dev/null
wait "$engine"
# A program that the user may run but not read cannot be looked into by the user: proc(5), PR_SET_DUMPABLE.
mkdir "$room/closed"
cp "$images/busybox/bin/busybox" "$room/closed/sleep"
chmod 711 "$room/closed/sleep"
as sub "$mydocker" run --rm --name closed --network none -v "$room/closed:/closed" busybox /closed/sleep 1000 &
engine=$!
eventually 100 runs "$store" closed
look 'look at what /proc refuses' as sub "$mydocker" look closed
like 'namespaces' "$(part NAMESPACES)" '^user +not readable +mnt +not readable$'
is 'mounts, which it does not' "$(drawn_mounts)" "$(mounts)"
like 'the rest is there' "$(part PROCESSES)" "^$pid +$uid +1 +0 +\`- /closed/sleep 1000$"
as sub "$mydocker" rm -f closed >/dev/null
wait "$engine"

# ---------------------------------------------------------------- nothing to look at

fails 'unknown' 125 'no such container: nobody' mydocker look nobody
fails 'a hostile name' 125 'no such container: \.\./x\\u\{1b\}' mydocker look "$(printf '../x\033')"
fails 'no name' 125 'nothing given.*usage: mydocker look CONTAINER' mydocker look
fails 'two names' 125 'one container at a time' mydocker look a b
fails 'an option it does not have' 125 'usage: mydocker look' mydocker look --all
gives '--help' 'Usage: mydocker look CONTAINER' sh -c 'mydocker look --help | head -n 1'
like 'and mydocker --help has it' "$(mydocker --help)" '^    look    '
mydocker run --network none --name ended busybox true
fails 'one that has ended' 125 'container ended is not running .*ps -a' mydocker look ended
mydocker rm ended >/dev/null
start killed --network none busybox sleep 1000
kill -KILL "$engine"
wait "$engine" 2>/dev/null
fails 'one whose engine was killed' 125 'container killed is not running' mydocker look killed
mydocker rm -f killed >/dev/null
done_testing
