#!/bin/bash
# test-run.sh: what `run` starts, as root: the command, its environment, user, directory,
# exit code, signals, and the bytes that go in and out.
. "$(dirname "$0")/lib.sh"
registry main 5000
# Pulled here: a pull says its events on standard error, and `fails` wants one line there.
for image in test/config:nothing test/config:user-unknown; do
    ok "pull $image" mydocker pull $image
done

# ---------------------------------------------------------------- the command

gives 'run pulls an image that is not there, and runs it' hello run busybox echo hello
gives 'the image alone runs its Cmd' '' run busybox </dev/null
gives 'Entrypoint and Cmd' 'entry from cmd' run test/config:entry
gives 'arguments take the place of Cmd' 'entry a b' run test/config:entry a b
gives 'an Entrypoint without Cmd' 'entry' run test/config:entry-only
gives '--entrypoint takes the place of Entrypoint and drops Cmd' '' run --entrypoint /bin/echo test/config:entry
gives '--entrypoint with arguments' 'x y' run --entrypoint=/bin/echo test/config:entry x y
gives 'an empty --entrypoint leaves the arguments' 'free' run --entrypoint '' test/config:entry echo free
fails 'neither Cmd nor arguments' 125 'command' run test/config:nothing
gives 'arguments where the image has no Cmd' 'x' run test/config:nothing echo x
ok 'null in the place of lists' run test/config:null
fails 'a User that is no string is not root' 125 'malformed: User is not a string' run test/config:odd-user id -u
fails 'a Cmd with a number is not another command' 125 'malformed: Cmd is not a list of strings' run test/config:odd-cmd
gives '  another may be said' said run test/config:odd-cmd echo said
fails 'a working directory that is not absolute' 125 '"home" is not absolute' run test/config:odd-workdir
gives '  another may be said' /home run -w /home test/config:odd-workdir pwd
# What takes a step for each pair of them would take half a minute.
gives '20,000 variables, each set twice: the last one counts' '20000 39999' \
    timeout 10 "$room/bin/run" test/config:many sh -c 'echo $(env | grep -c ^V) $V19999'
gives 'arguments reach the command byte by byte' "$(printf '[%s]' '' 'a b' $'new\nline' $'\xff\xfe' '$HOME' -v --rm -rm -- '*')" \
    run busybox sh -c 'printf "[%s]" "$@"' sh '' 'a b' $'new\nline' $'\xff\xfe' '$HOME' -v --rm -rm -- '*'
gives 'options after the image belong to the command' '--rm -v -e x' run busybox echo --rm -v -e x
gives 'a command is found in the PATH of the image' /bin/echo run busybox which echo

# ---------------------------------------------------------------- environment, directory

export SECRET_OF_THE_HOST=1 FROM_HOST=passed
try run --hostname box test/config:env env
is 'the environment: the image, HOME and HOSTNAME, nothing of the host' "$(sort <<<"$out")" "$(sort <<'END'
COLOUR=blue
EMPTY=
HOME=/root
HOSTNAME=box
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
WITH=a=b c
END
)"
try run -e COLOUR=red -eNEW=1 --env FROM_HOST -e NOT_SET -e 'ODD=a=b c' -e BLANK= test/config:env env
is '-e replaces, adds, takes from the caller' \
    "$(grep -E '^(COLOUR|NEW|FROM_HOST|NOT_SET|ODD|BLANK)' <<<"$out" | sort)" \
    "$(printf '%s\n' BLANK= COLOUR=red FROM_HOST=passed NEW=1 'ODD=a=b c')"
try run test/config:nothing env
like 'an image without Env gets a PATH' "$out" '^PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin$'
gives 'WorkingDir' /home/alice/work run test/config:workdir pwd
gives 'WorkingDir that the image lacks is made' /made/on/the/way run test/config:workdir-new pwd
gives '-w' /tmp run -w /tmp test/config:workdir pwd
gives '-w of a new directory' /new/dir run -w /new/dir busybox pwd
fails '-w must be absolute' 125 'absolute' run -w tmp busybox pwd
try run -w /proc/self/fd/7 busybox pwd 7</
like '-w /proc/self/fd/N never leads to the host' "$rc:$out" '^125:$'

# ---------------------------------------------------------------- user

groups='id -u; id -g; id -G | tr " " "\n" | sort -nu | xargs; echo $HOME'
gives 'root by default' $'0\n0\n0\n/root' run busybox sh -c "$groups"
alice=$'1000\n1000\n29 44 1000\n/home/alice'
gives 'User by name' "$alice" run test/config:user sh -c "$groups"
gives 'User by number' "$alice" run test/config:user-id sh -c "$groups"
gives 'User and group by name' $'1000\n44\n44\n/home/alice' run test/config:user-group sh -c "$groups"
gives 'User that passwd lacks, by number' $'4321\n8765\n8765\n/' run test/config:user-free sh -c "$groups"
gives '-u takes the place of User' $'1\n1\n1 29\n/usr/sbin' run -u daemon test/config:user sh -c "$groups"
gives '-u number without group' $'4321\n0\n0\n/' run -u 4321 busybox sh -c "$groups"
gives '-u number:number' $'1000\n44\n44\n/home/alice' run -u 1000:44 busybox sh -c "$groups"
gives '-u name:number' $'1000\n7\n7\n/home/alice' run --user alice:7 busybox sh -c "$groups"
fails 'an unknown user' 125 'nobody-here.*passwd' run test/config:user-unknown true
fails 'an unknown -u' 125 'nix.*passwd' run -u nix busybox true
fails 'an unknown group' 125 'nix.*group' run -u alice:nix busybox true
for odd in -1 4294967295 4294967296 99999999999999999999 0x0 ' ' : 1: 0:-1; do
    try run -u "$odd" busybox id -u
    # The empty group is the user's own, as docker has it; nothing becomes 0 by accident.
    like "-u '$odd' never becomes root" "$rc:$out" '^(125:|0:[1-9])'
done
gives 'the groups of the caller stay outside' $'0\n0\n0\n/root' \
    setpriv --groups 5,6 run busybox sh -c "$groups"

# ---------------------------------------------------------------- exit codes

for code in 0 1 42 125 126 127 137 255; do
    exits "exit $code" "$code" run busybox sh -c "exit $code"
done
fails 'a command that is not there: 127' 127 'no-such.*(not found|no such)' run busybox no-such
fails 'a path that is not there: 127' 127 '/no/such' run busybox /no/such
fails 'a file that is no program: 126' 126 '/etc/passwd' run busybox /etc/passwd
fails 'a directory: 126' 126 '/etc' run busybox /etc
printf '#!/no/interpreter\n' >"$room/script"
chmod 755 "$room/script"
fails 'a script whose interpreter is missing: 127' 127 '/script' run -v "$room/script:/script" busybox /script
printf 'echo not even a line of #!\n' >"$room/script"
fails 'a file of unknown format: 126' 126 '/script' run -v "$room/script:/script" busybox /script
if [[ $(uname -m) == x86_64 ]]; then
    # The smallest ELF that dies: one `hlt`, which only the kernel may execute. pid 1
    # cannot be killed from inside, but by a fault.
    {
        printf '\x7fELF\2\1\1\0\0\0\0\0\0\0\0\0\2\0\x3e\0\1\0\0\0\x78\0\x40\0\0\0\0\0\x40\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0'
        printf '\0\0\0\0\x40\0\x38\0\1\0\0\0\0\0\0\0\1\0\0\0\5\0\0\0\0\0\0\0\0\0\0\0\0\0\x40\0\0\0\0\0\0\0\x40\0\0\0\0\0'
        printf '\x79\0\0\0\0\0\0\0\x79\0\0\0\0\0\0\0\0\x10\0\0\0\0\0\0\xf4'
    } >"$room/fault"
    chmod 755 "$room/fault"
    exits 'killed by signal 11: 139' 139 run -v "$room/fault:/fault" busybox /fault
else
    skip 'killed by signal 11: 139' 'the test program is for x86_64'
fi
exits 'right when the caller ignores SIGCHLD' 7 env --ignore-signal=CHLD "$room/bin/run" busybox sh -c 'exit 7'
exits 'right when the caller blocks signals' 7 env --block-signal=CHLD,TERM,INT "$room/bin/run" busybox sh -c 'exit 7'

# ---------------------------------------------------------------- signals

status='grep -E "^Sig(Blk|Ign|Cgt)" /proc/self/status'
clean=$'SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\nSigCgt:\t0000000000000000'
gives 'the command starts with no signal ignored or blocked' "$clean" run busybox sh -c "exec $status"
gives 'also when the caller ignores and blocks some' "$clean" \
    env --ignore-signal=PIPE,CHLD,USR1,INT --block-signal=TERM,HUP "$room/bin/run" busybox sh -c "exec $status"

env --default-signal "$room/bin/run" busybox sh -c '
    for s in HUP INT QUIT USR1 USR2 ALRM WINCH CONT; do trap "echo $s" $s; done
    trap "echo TERM; exit 9" TERM
    echo ready; while :; do sleep 0.05; done' >"$room/signals" 2>&1 &
engine=$!
eventually 100 grep -q ready "$room/signals"
for signal in HUP INT QUIT USR1 USR2 ALRM WINCH CONT TERM; do
    kill -"$signal" "$engine"
    eventually 50 grep -q "$signal" "$room/signals"
done
wait "$engine"
is 'the exit code after a signal is the command'"'"'s own' $? 9
is 'signals to mydocker reach the command' "$(xargs <"$room/signals")" 'ready HUP INT QUIT USR1 USR2 ALRM WINCH CONT TERM'

# The engine is SIGKILLed: pid 1 of the container goes with it, and rm clears the rest.
# (A change of uid clears the parent-death signal: prctl(2). So once as another user.)
remember
for user in root alice; do
    mydocker run --network none --name orphan -u $user busybox sleep 1000 &
    engine=$!
    ok "a container of $user sleeps" eventually 100 pgrep -x sleep
    kill -KILL "$engine"
    wait "$engine" 2>/dev/null
    ok 'after kill -9 of mydocker it is dead' eventually 50 eval '! pgrep -x sleep'
    ok 'and rm removes it' mydocker rm orphan
    nothing_remains 'after kill -9 and rm'
done
# At any moment: 12 of them, spread over the length of a run.
start=$(date +%s%N)
run busybox sleep 0.02
length=$((($(date +%s%N) - start) / 1000)) # microseconds
for ((i = 1; i <= 12; i++)); do
    mydocker run --network none busybox sleep 0.02 &
    engine=$!
    sleep "$(part $i 13 $length)"
    kill -KILL "$engine" 2>/dev/null
    wait "$engine" 2>/dev/null
done
eventually 50 eval '! pgrep -x sleep'
ok 'after kill -9 at 12 moments of a run, rm removes what there is' sh -c 'mydocker ps -a | awk "NR > 1 {print \$1}" | xargs -r mydocker rm'
nothing_remains '  and nothing remains'
is '  no directory either' "$(find "$MYDOCKER_HOME/containers" "$MYDOCKER_HOME/tmp" -mindepth 1 ! -name '*lock*')" ''
gives '  and the next runs' here run busybox echo here
# pid 1 of the container is SIGKILLed from outside.
run busybox sleep 1000 &
engine=$!
eventually 100 pgrep -x sleep
kill -KILL "$(pgrep -x sleep)"
wait "$engine"
is 'a command killed by SIGKILL: 137' $? 137

# ---------------------------------------------------------------- bytes in and out

head -c 3000000 /dev/urandom >"$room/noise"
run busybox cat <"$room/noise" >"$room/copy"
ok 'stdin and stdout are binary-safe (files)' cmp "$room/noise" "$room/copy"
# shellcheck disable=SC2002 # a pipe is what is tested
cat "$room/noise" | run -i busybox cat | cat >"$room/copy"
ok 'stdin and stdout are binary-safe (pipes)' cmp "$room/noise" "$room/copy"
try run busybox sh -c 'echo to-out; echo to-err >&2'
is 'stdout and stderr stay apart' "$out|$err" 'to-out|to-err'
is 'a reader that goes away ends the command' "$(timeout 20 "$room/bin/run" busybox yes | head -n 1)" y
exits 'stdin closed' 3 sh -c 'run busybox sh -c "exit 3" <&-'
exits 'stdout and stderr closed' 4 sh -c 'run busybox sh -c "exit 4" >&- 2>&-'
exits 'all three closed' 5 sh -c 'run busybox sh -c "exit 5" <&- >&- 2>&-'
gives 'only fds 0, 1 and 2 are open inside' $'0\n1\n2' run busybox sh -c 'ls /proc/1/fd; true' 7</ 9</etc/passwd
# Every user of the host can read /proc/PID/cmdline.
try env PW=hunter2 strace -f -s 4096 -e trace=execveat,execve -o "$room/words" mydocker -v run --rm --network none -e PW busybox env
is 'a variable reaches the command' "$(grep ^PW= <<<"$out")" PW=hunter2
like '  by way of the stub' "$(<"$room/words")" 'execveat\([0-9]+, "", \["stub", "/usr/bin/env", "env"\]'
unlike '  whose arguments do not hold it, nor does -v' "$(<"$room/words")$err" 'hunter2'
is '  a variable that C libraries obey reaches it as well' "$(run -e GLIBC_TUNABLES=x=y busybox sh -c 'echo $GLIBC_TUNABLES')" x=y
fails '-t without a terminal' 125 'terminal' run -t busybox true
done_testing
