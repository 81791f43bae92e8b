#!/bin/bash
# test-fail-closed.sh: whichever setup syscall fails, the command must not run: exit 125
# (126 for the last execve), one line that names what failed, nothing left behind. strace
# makes each of them fail in turn with EPERM; -f counts in each process by itself.
. "$(dirname "$0")/lib.sh"
registry main 5000
ok 'pull' mydocker pull busybox
mkdir "$room/v"
# --groups: a caller whose groups would show if setgroups were let pass.
traced() { # STRACE-OPTIONS...
    timeout 20 setpriv --groups 5,6 strace -f -qq -o "$room/trace" "$@" "$mydocker" run --rm --network none \
        "${options[@]}" busybox sh -c 'echo the command ran' </dev/null >"$room/out" 2>"$room/err"
}

# Every call of that name in turn, but those whose failure the design tolerates.
each() { # CALL TOLERATED-REGEX
    local count i injected rc
    traced
    count=$(grep -cE "^[0-9]+ +$1\(" "$room/trace")
    ((count)) || { skip "$1" "not called with ${options[*]:-no options}"; return; }
    for ((i = 1; i <= count; i++)); do
        traced -e "inject=$1:error=EPERM:when=$i"
        rc=$?
        injected=$(grep -m 1 INJECTED "$room/trace" | sed 's/^[0-9]* *//')
        [[ -n $injected ]] || continue # one process calls it that often, the other does not
        [[ -z ${2-} ]] || ! grep -qE "$2" <<<"$injected" || continue
        [[ $rc =~ ^12[56]$ && ! -s $room/out && $(wc -l <"$room/err") == 1 && -z $(ls "$MYDOCKER_HOME/containers") ]]
        report $((!$?)) "$1, time $i" || {
            note injected "$injected"
            note 'exit code' "$rc"
            note stdout "$(cat "$room/out")"
            note stderr "$(cat "$room/err")"
            note 'left in the store' "$(ls "$MYDOCKER_HOME/containers")"
            rm -rf "$MYDOCKER_HOME/containers"/*
        }
    done
}
remember
options=()
for call in clone unshare execveat pivot_root umount2 capset setgroups close_range sethostname \
    setsid socketpair socket ioctl keyctl fcntl sendmsg recvmsg; do
    each $call 'TCGETS|TIOCGWINSZ'
done
each mount
# One call for each capability: the first ones stand for all.
each prctl 'PR_CAPBSET_DROP, (CAP_[^N]|1?[3-9]|[2-4][0-9])|PR_GET_NAME|PR_SET_NAME'
each mkdir '/sys/fs/cgroup' # the default limit of processes is set where it can be
# A kernel without open_tree(2): the sealed program is a copy in a memfd, and that must not fail.
without=(-e inject=open_tree:error=ENOSYS)
traced "${without[@]}"
is 'without open_tree the command runs' "$(cat "$room/out")" 'the command ran'
like '  from a sealed memfd' "$(cat "$room/trace")" 'F_ADD_SEALS, F_SEAL_SEAL\|F_SEAL_SHRINK\|F_SEAL_GROW\|F_SEAL_WRITE'
for call in memfd_create sendfile; do
    traced "${without[@]}" -e "inject=$call:error=EPERM"
    [[ $? == 125 && ! -s $room/out && -z $(ls "$MYDOCKER_HOME/containers") ]]
    report $((!$?)) "without open_tree: $call"
done
options=(-u alice --read-only --tmpfs /t -v "$room/v:/v:ro" --hostname box -w /tmp)
for call in setresuid setresgid setgroups; do
    each $call
done
# The first is of the sealed program, see above; the second is the volume's.
each mount_setattr '"", AT_EMPTY_PATH'
each mount
nothing_remains 'nothing remains'
done_testing
