#!/bin/bash
# test-fail-closed.sh: whichever system call of a run fails, the command does not run, unless the
# narrator says that the call is tolerated: exit 125 (126 for the last execve), one line that names
# the call, nothing left behind. The calls are taken from a real run, as `mydocker -v` tells and
# strace sees them, and each is made to fail in a run of its own (faults.py): as root, as a user
# with subordinate ids and as one without, with several sets of options.
. "$(dirname "$0")/lib.sh"
registry main 5000
ordinary_users
PATH=$room/bin:/usr/sbin:/usr/bin:/sbin:/bin # each directory more is a call more
mkdir -m 777 "$room/v"
# strace counts the calls of a name in each process. A process that has made NUMBER such calls in vain
# before it becomes PROGRAM is past those that are to fail in another: faults.py, `command`.
cat >"$room/warm.c" <<'END'
#include <stdio.h>
#include <unistd.h>
int main(int argc, char **argv) { /* argv[1]: "CALL NUMBER PROGRAM", one word, as from a #! line */
    long call; int number, program;
    if (argc < 3 || sscanf(argv[1], "%ld %d %n", &call, &number, &program) < 2) return 125;
    while (number--) syscall(call, -1L, -1L, -1L, -1L, -1L, -1L);
    execv(argv[1] + program, argv + 2);
    return 127;
}
END
cc -static -O1 -Wall -o "$room/bin/warm" "$room/warm.c" || bail 'cannot compile warm.c'
ok 'pull' mydocker pull busybox
for user in sub bare; do
    as $user "$mydocker" pull busybox 2>"$room/err" || bail "$user cannot pull: $(<"$room/err")"
done
remember

# closed NAME LEAST-ENGINE LEAST-CHILD ARGUMENTS-OF-faults.py...
closed() {
    local name=$1 who least=$2 number hidden
    # --groups: a caller whose groups would show if setgroups were let pass.
    setpriv --groups 5,6 /usr/bin/python3 "$scripts/faults.py" "$mydocker" --warm "$room/bin/warm" --jobs 3 \
        "${@:4}" >"$room/faults" 2>"$room/faults.err"
    is "$name: calls were made to fail" "$? $(<"$room/faults.err")" '0 '
    for who in engine child; do
        number=$(grep -v '^hidden' "$room/faults" | cut -d' ' -f2-4 | sort -u | grep -cE "^$who(/builder)? ")
        ok "  $number of the $who" test "$number" -ge "$least"
        least=$3
    done
    hidden=$(sed -n 's/^hidden //p' "$room/faults" | cut -d' ' -f1-3 | sort -u)
    ok '  few are hidden by another that failed with them' test "$(wc -l <<<"$hidden")" -le 8
    [[ -z $hidden ]] || note hidden "${hidden//$'\n'/, }"
    is '  a required one ends the run with 125 or 126 before the command, and nothing remains' \
        "$(grep '^WRONG' "$room/faults" | grep -v '   the call is not named | ' | cut -c7-500)" ''
    is '  the error names the call' \
        "$(grep '^WRONG.*the call is not named | ' "$room/faults" | cut -c7-300)" ''
}
many=(-u alice --read-only --tmpfs /t -v "$room/v:/v:ro" --hostname box -w /tmp)
# With CAP_SYS_ADMIN the mounts are a builder's, and are locked: mount_lock.rs.
power=(--cap-add SYS_ADMIN --cap-drop CHOWN --security-opt no-new-privileges --ulimit nofile=64:128 --oom-score-adj 500)
# --thorough: those that are tolerated, too, and with several errors.
closed 'root' 40 80 --thorough -- run --network none
closed 'root, many options' 35 80 -- run --network none "${many[@]}"
closed 'user' 55 75 --thorough --user mydocker-sub -- run --network none
closed 'user, many options' 40 75 --user mydocker-sub -- run --network none "${many[@]}"
closed 'root, more power' 38 85 -- run --network none "${power[@]}"
closed 'user, more power' 45 80 --user mydocker-sub -- run --network none "${power[@]}"
# What the child and a helper such as newuidmap do alike fails in both at once: here there is no helper.
closed 'user with one id' 35 75 --user mydocker-bare -- run --network none

# Two of the builder's and the child's that hide each other are told apart by their paths.
traced() { # STRACE-OPTIONS...
    timeout 20 strace -f -qq -o "$room/trace" "$@" "$mydocker" run --rm --network none "${options[@]}" \
        busybox sh -c 'echo the command ran' </dev/null >"$room/out" 2>"$room/err"
}
options=("${power[@]}")
for call in 'chdir /' 'openat /proc/self/uid_map'; do
    traced -P "${call#* }" -e "inject=${call% *}:error=EPERM"
    is "more power: $call must not fail" "$? $(<"$room/out")$(grep -c INJECTED "$room/trace")" '125 1'
    like '  and is named' "$(<"$room/err")" "^mydocker: (chdir|open|read) ${call#* }: Operation not permitted"
done
options=()

nothing_remains 'nothing remains'
done_testing
