#!/bin/bash
# test-debug.sh: -v before the command: every setup syscall and each helper's argv on
# standard error, each with its reason; the container's own output is left alone.
. "$(dirname "$0")/lib.sh"
registry main 5000
try mydocker -v pull busybox
is '-v pull' "$rc:$out" 0:
for helper in curl tar igzip openssl; do
    like "  shows the argv of $helper" "$err" "execve\(.*\[\"$helper\""
done
# told LINES...: those of the narrator.
told() { grep -E '^(engine|child|layer[0-9]+)[ /]' <<<"$1"; }
is '  each line says why, at which step and where' \
    "$(told "$err" | grep -vE '   [^ ].*   \[(start|ask|fetch|unpack|put), [a-z_]+\.rs:[0-9]+\]$')" ''
for step in start ask fetch unpack put; do
    like "  there is a step $step" "$(told "$err")" "\[$step, "
done
# A blob's file can grow to the blob's size and no further; that is no limit for a longer file that the lines go to.
ok '-v pull into a long file' sh -c 'mydocker rmi busybox && truncate -s 16M "$0" && mydocker -v pull busybox 2>>"$0"' "$room/long"
like '  the worker tells what it does until its end' "$(tr -d '\0' <"$room/long" | grep '^layer0 ')" 'exit_group\(0\)'
try mydocker -v run --rm --network none --hostname box busybox echo here
is '-v run: standard output is the command'"'"'s' "$rc:$out" 0:here
# The steps of design.md, in their order: the engine's, and the child's.
steps() { # WHO CALL...
    local at=0 line call own
    own=$(grep "^$1 " <<<"$err")
    for call in "${@:2}"; do
        line=$(tail -n +$((at + 1)) <<<"$own" | grep -n -m 1 -F -- "$call" | cut -d: -f1)
        report $((${line:-0} > 0)) "-v shows the $1's $call, after what comes before it" ||
            note "from its line $((at + 1)) on" "$(tail -n +$((at + 1)) <<<"$own" | head -n 25)"
        at=$((at + ${line:-0}))
    done
}
steps engine cgroup 'clone(' uid_map gid_map 'mkdir(' config.json 'wait4(' 'rmdir('
steps child 'unshare(' 'mount("overlay"' 'mount("proc"' 'pivot_root(".", ".")' 'umount2(".", ' 'memfd_create(' PR_CAPBSET_DROP \
    'seccomp(' 'setgroups(' 'capset(' 'execveat(' 'execve('
for call in clone unshare mount pivot_root umount2 capset setgroups mkdir; do
    like "  $call has its reason in a few words" "$(grep -E "^(engine|child) +$call\(" <<<"$err")" '\) = .*   [^ ]+( [^ ]+){3}'
done
try mydocker run --rm --network none busybox true
is 'without -v: silence' "$err" ''
gives '-v after run is a volume' one sh -c 'echo one >"$0/one"; mydocker run --rm --network none -v "$0:/v" busybox cat /v/one' "$room/tmp"
gives '-v and -rm before run, as in the seed' here sh -c 'mydocker -v -rm run --network none busybox echo here 2>/dev/null'
is '  and it is gone' "$(ls -A "$MYDOCKER_HOME/containers")" ''
gives '-rm -v' here sh -c 'mydocker -rm -v run --network none busybox echo here 2>/dev/null'
ok '-v of a helper on the way: slirp4netns' sh -c 'mydocker -v run --rm busybox true 2>&1 | grep -q "\[.slirp4netns.*--disable-host-loopback"'
exits 'the exit code passes' 7 mydocker -v run --rm --network none busybox sh -c 'exit 7'
ordinary_users
try as sub "$mydocker" -v run --rm --network none busybox echo here
is 'rootless' "$rc:$out" 0:here
like '  shows newuidmap' "$err" 'newuidmap", "[0-9]+", "0"'
# Passwords are no part of it (their way is curl's standard input).
mkdir "$HOME/.docker"
echo "{\"auths\": {\"127.0.0.1:5001\": {\"auth\": \"$(printf 'alice:s3cret' | base64)\"}}}" >"$HOME/.docker/config.json"
stand_in 5001 --layouts "$images/layouts" --challenge 'Bearer realm="http://127.0.0.1:5001/token"' --basic alice:s3cret
try mydocker -v pull 127.0.0.1:5001/test/multi
is 'a pull with a password' "$rc" 0
unlike '  shows neither password nor token' "$err" "s3cret|$(printf 'alice:s3cret' | base64)|secret-token"
for what in 'login\.rs' 'read\(.*the answer'"'"'s body' 'write\(.*secrets: no option' 'read\(.*the answer'"'"'s head'; do
    like "  but that something is secret: $what" "$(grep -F '"[secret]"' <<<"$err")" "$what"
done
done_testing
