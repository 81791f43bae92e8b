#!/bin/bash
# test-trace.sh: what `mydocker -v` tells and what strace sees are the same calls, in the same
# order, with the same arguments and results: of each process, up to the helper or command
# that it executes. Both look at the same run, so nothing has to be made alike; tracecmp.py
# compares, and says what it lets pass.
. "$(dirname "$0")/lib.sh"
. "$scripts/lib-dns.sh"
registry main 5000
ordinary_users

compare() { /usr/bin/python3 "$scripts/tracecmp.py" "$@"; }
# agrees DESCRIPTION [OPTION...] TRACE [LINES]: the comparison finds nothing.
agrees() { ok "$1" compare "${@:2}"; }

# traced CODE DESCRIPTION ARGS...: `mydocker -v ARGS`, traced, exits with CODE (a pattern), and the two agree.
traced() {
    try strace -f -s "${strings:-32}" ${inject:+"--inject=$inject"} -o "$room/trace" \
        ${descriptors:+prlimit --nofile="$descriptors"} "$mydocker" -v "${@:3}"
    cp "$room/tmp/.err" "$room/lines"
    cat "$room/lines" >>"$room/all"
    [[ $rc =~ ^$1$ ]] || report 0 "$2: exit code $1" || note "$rc, and" "$(grep '^mydocker: ' "$room/lines")"
    agrees "$2" "$room/trace" "$room/lines"
}

# ---------------------------------------------------------------- a run, in each form of strace

none=(run --rm --network none)
try mydocker "${none[@]}" busybox true # the host's first run makes the directory of our cgroups, which stays
traced 0 'run' run --network none busybox true
ok '  whatever else were told or traced would be noticed' compare --prove "$room/trace" "$room/lines"
unlike '  nothing of it is a secret' "$(<"$room/lines")" '\[secret\]'
cp "$room/trace" "$room/told"
try strace -f -qq -o "$room/silent" "$mydocker" run --network none busybox true
is 'without -v nothing is told' "$rc:$out$err" 0:
ok '  the calls are the same' compare --same "$room/silent" "$room/told"
calls=$(grep -cE '^[0-9]+ +[a-z_0-9]+\(' "$room/silent")
report $((calls > 100 && calls <= 250)) '  they are at most 250, of all processes' || note calls "$calls"

try strace -ff -o "$room/each" "$mydocker" -v "${none[@]}" busybox true
cp "$room/tmp/.err" "$room/lines"
agrees 'run, strace -ff' "$room/each" "$room/lines"
filter=clone,setns,mount,pivot_root,chroot,openat,write
try strace -f -e "trace=$filter" -s 200 "$mydocker" -v "${none[@]}" busybox true
cp "$room/tmp/.err" "$room/both"
agrees 'run, the filter of the lesson, all on one standard error' --only $filter "$room/both"
ok '  whatever else were told or traced would be noticed' compare --only $filter --prove "$room/both"
try strace -f "$mydocker" -v "${none[@]}" busybox true
cp "$room/tmp/.err" "$room/both"
agrees 'run, all calls, all on one standard error' "$room/both"
strings=4096 traced 0 'run, strings in full' "${none[@]}" busybox true

# ---------------------------------------------------------------- more of run

mkdir "$room/v"
limits=(--pids-limit 50)
[[ ! -d /sys/fs/cgroup/memory && $(cat /sys/fs/cgroup/cgroup.controllers 2>/dev/null) != *memory* ]] || limits+=(-m 64m)
traced 0 'run with volumes, tmpfs, a user, limits' "${none[@]}" -v "$room/v:/v" -v "/etc/hostname:/h:ro" \
    --tmpfs /t:size=1m --read-only -u 1000:1000 -w /t "${limits[@]}" -e A=1 -e HOME --hostname box \
    busybox sh -c 'echo $A >one; exec cat /h'
traced 0 'run with other powers and limits' "${none[@]}" --cap-add NET_ADMIN --cap-drop CHOWN --oom-score-adj 500 \
    --ulimit nofile=100:200 --ulimit core=0 --security-opt no-new-privileges --security-opt seccomp=unconfined busybox true
traced 0 'run of one that may mount: a builder makes its mounts' "${none[@]}" --cap-add SYS_ADMIN --read-only busybox true
like '  it does' "$(<"$room/lines")" '^child/builder pivot_root'
like '  and the child copies them' "$(<"$room/lines")" '^child +unshare\(CLONE_NEWNS\) = 0'
traced 0 'run -w where nothing is, --entrypoint' "${none[@]}" -w /new/dir --entrypoint /bin/ls busybox /
traced 0 'run --name, without --rm' run --network none --name kept busybox true
traced 7 'run, exit code 7' "${none[@]}" busybox sh -c 'exit 7'
traced 0 'run --network host' run --rm --network host busybox true
traced 0 'run, slirp4netns' run --rm busybox true
traced 127 'run, no such command' "${none[@]}" busybox no-such-command
traced 125 'run, no such image' "${none[@]}" 127.0.0.1:5000/no/such true
traced 125 'run, a mount that fails' "${none[@]}" --tmpfs /etc/passwd busybox true
traced 125 'run, no such option' run --no-such-option busybox
traced 126 'run, a command that is a directory' "${none[@]}" busybox /etc
like '  it is the stub that says so' "$(<"$room/trace")" ' writev\(3, '
printf 'no program' >"$room/v/odd"
chmod 755 "$room/v/odd"
traced 126 'run, a command that is no program' "${none[@]}" -v "$room/v/odd:/bin/odd" busybox odd
inject=execveat:error=ENOMEM traced 125 'run, without a stub' "${none[@]}" busybox true
# Before Linux 6.3 there is no MFD_EXEC.
inject=memfd_create:error=EINVAL:when=1 traced 0 'run, on an older kernel' "${none[@]}" busybox true
like '  the stub is sealed there as well' "$(<"$room/lines")" '^child +memfd_create\(.*MFD_ALLOW_SEALING\) = [0-9]'
# A store whose file system has no user.* xattrs, and one without any: the engine makes the overlay, tar the tree.
try env MYDOCKER_HOME="$room/trusted" strace -f -o "$room/silent" -P "$room/trusted/layers" \
    --inject=lsetxattr:error=EOPNOTSUPP:when=1 "$mydocker" pull test/layers
MYDOCKER_HOME=$room/trusted traced 0 'run, the engine makes the overlay' "${none[@]}" test/layers true
like '  it does' "$(<"$room/lines")" '^engine +fsmount\('
mkdir "$room/ramfs"
mount -t ramfs none "$room/ramfs"
MYDOCKER_HOME=$room/ramfs/store traced 0 'pull, marks in files' pull test/layers
MYDOCKER_HOME=$room/ramfs/store traced 0 'run, the layers are merged' "${none[@]}" --read-only test/layers true
like '  they are' "$(<"$room/lines")" 'what a higher layer hides'
umount "$room/ramfs"
# Few descriptors: somewhere pipe2, socketpair or openat fails. The failed call agrees, too.
for descriptors in 5 6 7; do
    traced '[0-9]+' "run with $descriptors descriptors" "${none[@]}" busybox true
    like '  one call has failed so' "$(<"$room/lines")" ' = -1 EMFILE '
done
unset descriptors

# A standard error that does not block, and whose reader is slow: the narrator waits for him.
slowly='import fcntl, os, subprocess, sys, time
reader, writer = os.pipe()
fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ if hasattr(fcntl, "F_SETPIPE_SZ") else 1031, 4096)
os.set_blocking(writer, False)
run = subprocess.Popen(sys.argv[1:], stderr=writer)
os.close(writer)
time.sleep(0.3)  # it is full by then
while chunk := os.read(reader, 700):
    os.write(2, chunk)
sys.exit(run.wait())'
try /usr/bin/python3 -c "$slowly" strace -f -o "$room/trace" "$mydocker" -v "${none[@]}" busybox true
cp "$room/tmp/.err" "$room/lines"
is 'run, told to a pipe that is full and does not block' "$rc" 0
like '  it was full' "$(grep -c 'EAGAIN' "$room/trace")" '^[1-9]'
agrees '  the lines are the calls' "$room/trace" "$room/lines"

# Runs that a signal ends. running NAME SCRIPT: one in the background, until its script says ready.
running() {
    strace -f -o "$room/$1.trace" env --default-signal "$mydocker" -v run --name "$1" --network "${network:-none}" busybox \
        sh -c "$2" >"$room/$1.out" 2>"$room/$1.lines" &
    strace=$!
    eventually 100 grep -q ready "$room/$1.out" || bail "$1 is not ready: $(tail -n 3 "$room/$1.lines")"
    engine=$(pgrep -P $strace)
}
ended() { # NAME DESCRIPTION CODE
    { wait $strace; } 2>/dev/null # the shell says `Killed` where strace ends as its child did
    is "$2" $? "$3"
    agrees "$2: the lines are the calls" "$room/$1.trace" "$room/$1.lines"
}
running term 'trap "exit 3" TERM; echo ready; sleep 60 & wait'
kill -TERM "$engine"
ended term 'a run that SIGTERM ends' 3
running alive 'echo ready; sleep 60'
traced 0 'ps beside it' ps
traced 0 'look at it' look alive
traced 0 'rm -f of a running container' rm -f alive
ended alive 'a run that rm -f ends' 137
running engine 'echo ready; sleep 60'
kill -KILL "$engine"
ended engine 'a run whose engine SIGKILL ends' 137
traced 0 'ps -a, and one that its engine left' ps -a
# A process of another name: a NUL before an 8 is \\0008 to strace, before a letter \\0.
running eight 'echo ready; exec sleep 8'
eventually 100 pgrep -x sleep
traced 0 'look at sleep 8' look eight
traced 0 'rm -f of it' rm -f eight
ended eight 'a run of sleep 8' 137
network=slirp4netns running slirp 'echo ready; exec sleep 60'
traced 0 'look at one with slirp4netns' look slirp
traced 0 'rm -f of it' rm -f slirp
ended slirp 'a run with slirp4netns that rm -f ends' 137

# ---------------------------------------------------------------- at a terminal

terminal() { # NAME=VALUE COMMAND: on a terminal; standard error goes there too, unless $1 redirects it
    try /usr/bin/python3 "$scripts/pty.py" sh -c "$1" <<<$'expect hello\nwait'
}
terminal "exec strace -f -o $room/trace $mydocker -v run -it --rm --network none busybox sh -c 'tty; echo hello' \
    2>$room/lines"
like 'run at a terminal' "$out" '^exit 0$'
agrees 'run at a terminal: the lines are the calls' "$room/trace" "$room/lines"
terminal "exec strace -f -o $room/trace $mydocker -v run -it --rm --network none --cap-add ALL busybox sh -c 'tty; echo hello' \
    2>$room/lines"
like 'run of one that may mount, at a terminal' "$out" '^exit 0$'
agrees '  the lines are the calls' "$room/trace" "$room/lines"
terminal "exec strace -f -s 4096 -o $room/trace $mydocker -v run --rm --network none busybox echo hello"
like 'run that tells a terminal' "$out" '^exit 0$'
agrees 'run that tells a terminal: the lines are the calls' "$room/trace" -
like '  they are coloured' "$(grep -c 'write(2, "\\33\[' "$room/trace")" '^[0-9]{2,}$'
terminal "NO_COLOR=1 exec strace -f -s 4096 -o $room/trace $mydocker -v run --rm --network none busybox echo hello"
is '  with NO_COLOR they are not' "$(grep -c '\\33\[' "$room/trace")" 0

# ---------------------------------------------------------------- the store

traced 0 'ps' ps
traced 0 'ps -a' ps -a
traced 0 'images' images
traced 0 'rm' rm kept
traced 125 'rm, no such container' rm kept
traced 125 'rmi of an image in use' rmi busybox
traced 0 'rmi -f' rmi -f busybox
like '  it counts what repeats' "$(<"$room/lines")" '^engine \.\.\. [0-9]+ [a-z0-9]+,'
ok '  another sum would be noticed' compare --prove "$room/trace" "$room/lines"
traced 125 'rmi, no such image' rmi busybox

# ---------------------------------------------------------------- pull

traced 0 'pull, cold' pull busybox
traced 0 'pull again' pull busybox
traced 0 'pull of several layers' pull test/layers
ok '  whatever else were told or traced would be noticed' compare --prove "$room/trace" "$room/lines"
for kind in zstd tar gzip; do traced 0 "pull of a layer in $kind" pull "test/formats:$kind"; done
traced 0 'pull of 40 layers, most of one file' pull test/many:40
traced 0 'run --pull always, and a new layer directory' "${none[@]}" --pull always busybox true
# Of one layer: where one of several fails depends on what the others hold open just then. And well below
# the 14 to 18 that a pull needs: how many it is depends on whether curl has ended when tar begins.
try mydocker rmi test/formats:gzip
for descriptors in 8 10 12; do
    traced '[0-9]+' "pull with $descriptors descriptors" pull test/formats:gzip
    like '  one call has failed so' "$(<"$room/lines")" ' = -1 EMFILE '
done
unset descriptors
traced 125 'pull, no such tag' pull busybox:no-such-tag
# shellcheck disable=SC2154 # lib-bed.sh sets images
stand_in 5002 --layouts "$images/layouts" --flip
traced 125 'pull of a damaged layer' pull 127.0.0.1:5002/test/big
mkdir "$HOME/.docker"
echo "{\"auths\": {\"127.0.0.1:5001\": {\"auth\": \"$(printf 'alice:s3cret' | base64)\"}}}" >"$HOME/.docker/config.json"
stand_in 5001 --layouts "$images/layouts" --challenge 'Bearer realm="http://127.0.0.1:5001/token"' --basic alice:s3cret
strings=4096 traced 0 'pull with a password' pull 127.0.0.1:5001/test/multi
like '  which is struck out' "$(<"$room/lines")" '\[secret\]'
unlike '  wherever it stands' "$(<"$room/lines")" "s3cret|$(printf 'alice:s3cret' | base64)|secret-token"

# ---------------------------------------------------------------- an ordinary user

home=$room/home/sub
rootless() { # DESCRIPTION ARGS...: root's strace of a user's mydocker
    try env -i -C "$home" HOME="$home" PATH="$PATH" MYDOCKER_MIRROR="$MYDOCKER_MIRROR" \
        strace -f -u mydocker-sub -o "$room/trace" "$mydocker" -v "${@:2}"
    cp "$room/tmp/.err" "$room/lines"
    is "$1" "$rc" 0
    agrees "$1: the lines are the calls" "$room/trace" "$room/lines"
}
rootless 'rootless run that pulls, newuidmap with its power' "${none[@]}" busybox true
like '  newuidmap ran' "$(<"$room/lines")" '^engine/newuidmap execve\('
rootless 'rootless run' "${none[@]}" busybox true
rootless 'rootless run, slirp4netns' run --rm busybox true
# An unprivileged strace takes newuidmap's power away: one id is left.
try as sub strace -f -o "$home/trace" "$mydocker" -v "${none[@]}" busybox true
cp "$room/tmp/.err" "$room/lines"
is 'rootless run under an unprivileged strace' "$rc" 0
like '  with one id, and a warning' "$(<"$room/lines")" '^mydocker: warning: one id only'
agrees 'one id under an unprivileged strace: the lines are the calls' "$home/trace" "$room/lines"
try as bare strace -f -o "$room/home/bare/trace" "$mydocker" -v "${none[@]}" busybox true
cp "$room/tmp/.err" "$room/lines"
is 'a user without subordinate ids' "$rc" 0
agrees 'a user without subordinate ids: the lines are the calls' "$room/home/bare/trace" "$room/lines"

# ---------------------------------------------------------------- dns

start_nsd main "$here@5310"
echo '192.0.2.9 router.home' >"$room/hosts"
strace -f -o "$room/trace" env --default-signal "$mydocker" -v dns --listen "$here:53" --upstream "$here:5310" \
    --hosts "$room/hosts" --log >"$room/dns.out" 2>"$room/lines" &
strace=$!
eventually 100 grep -q 'listening on' "$room/dns.out" || bail "mydocker -v dns is not ready: $(tail -n 3 "$room/lines")"
dns_pid=$(pgrep -P $strace) dns_out=$room/dns.out
gives 'dns: a query that the upstream answers' 192.0.2.1 short www.example.test A
gives '  one from the cache' 192.0.2.1 short www.example.test A
gives '  one over TCP' 192.0.2.1 short +tcp www.example.test A
gives '  one that --hosts answers' 192.0.2.9 short router.home A
like '  counters' "$(counters)" '^queries'
stop "$dns_pid"
wait $strace
agrees 'dns: the lines are the calls' "$room/trace" "$room/lines"
printf 'not hex' | try strace -f -o "$room/trace" "$mydocker" -v dns decode
cp "$room/tmp/.err" "$room/lines"
agrees 'dns decode' "$room/trace" "$room/lines"

# ---------------------------------------------------------------- where it stands in the source

# Each line ends with the place of its call: a line of code, with a call in it.
places() {
    local file number text
    grep -oE '[a-z_]+\.rs:[0-9]+\]$' "$room/all" | sort -u | tr ':' ' ' | while read -r file number; do
        text=$(sed -n "${number%]}p" "$top/src/$file" 2>&1)
        grep -vE '^ *//' <<<"$text" | grep -qE '[a-z_]+!?\(|\?|\}' || echo "$file:${number%]} $text"
    done
}
is 'the places that are told are calls in the source' "$(places)" ''
# What tracecmp.py lets pass at each start of a program is what the README says.
listed=$(sed -n '/before `main`:/,/;$/p' "$top/README.md" | sed 's/.*before `main`://' |
    grep -oE '`[a-z_0-9]+`' | tr -d '`')
passed=$(/usr/bin/python3 -c 'import sys; sys.path.append(sys.argv[1]); import tracecmp
for name, _ in tracecmp.STARTUP: print(name)' "$scripts" | uniq)
is 'the README lists the same calls of the start-up' "$listed" "$passed"
done_testing
