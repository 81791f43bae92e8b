#!/bin/bash
# test-killed.sh: runs and pulls that are killed (-9), as root and as a user: before each system call, and at
# random moments the engine, its process group, the container's first process or a helper (killed.py). No
# process, mount, cgroup or directory stays beyond what `rm` takes away, the next pull makes the store
# whole, and the next run works. The seed is printed; MYDOCKER_TEST_SEED repeats it.
. "$(dirname "$0")/lib.sh"
seed=${MYDOCKER_TEST_SEED:-$RANDOM}
echo "# MYDOCKER_TEST_SEED=$seed"

# Whatever stays in a cgroup must have been ours: the hierarchies are bound to cgroups of this test's own.
own_cgroups() {
    local dir
    mkdir "$room/cgroup"
    mount --rbind /sys/fs/cgroup "$room/cgroup"
    if [[ $(stat -f -c %T /sys/fs/cgroup) == cgroup2fs ]]; then
        echo '+memory +pids +cpu' >/sys/fs/cgroup/cgroup.subtree_control
        own_cgroup .
        return
    fi
    for dir in memory pids cpu cpuset; do
        [[ ! -d /sys/fs/cgroup/$dir ]] || own_cgroup $dir
    done
}
own_cgroup() { # HIERARCHY
    local file own=/sys/fs/cgroup/$1/mydocker-killed-${room##*.}
    mkdir "$own" || bail "cannot make $own"
    for file in cpuset.cpus cpuset.mems; do # empty in a new one of version 1
        [[ ! -e $own/$file || $1 == . ]] || cat "/sys/fs/cgroup/$1/$file" >"$own/$file"
    done
    mount --bind "$own" "/sys/fs/cgroup/$1"
}
remove_cgroups() {
    find "$room"/cgroup/{,*/}"mydocker-killed-${room##*.}" -depth -type d -exec rmdir {} \; 2>/dev/null
}
# Also when it is ended early: what is in them goes first.
end() {
    local status=$? others
    exec 2>/dev/null
    others=$(ps -e -o pid= | awk '$1 != 1')
    # shellcheck disable=SC2086 # a list of pids
    kill -KILL $others 2>/dev/null
    wait
    remove_cgroups
    (exit "$status")
    clean_up
}
own_cgroups
trap end EXIT

registry main 5000
ordinary_users
mydocker pull busybox 2>"$room/err" || bail "pull: $(<"$room/err")"
as sub "$mydocker" pull busybox 2>"$room/err" || bail "the user's pull: $(<"$room/err")"
remember

declare -A jobs
killed() { # steps|runs|pulls COUNT USER STORE
    MYDOCKER_HOME=$4 /usr/bin/python3 "$scripts/killed.py" "$1" "$mydocker" "$seed" "$2" "$3" \
        >"$room/killed-$1-$3" 2>&1 &
    jobs[$1-$3]=$!
}
ended() { # steps|runs|pulls USER LEAST-OF-EACH-VICTIM VICTIM...
    local victim number all
    wait "${jobs[$1-$2]}"
    is "$1 by $2: nothing stays, the next one works" "$? $(grep -v '^[0-9]' "$room/killed-$1-$2")" '0 '
    all=$(tail -n 1 "$room/killed-$1-$2")
    echo "# $1 by $2: $all"
    for victim in "${@:4}"; do
        number=$(grep -oE "[0-9]+ $victim" <<<"$all")
        ok "  killed: ${number:-0 $victim}" test "${number%% *}" -ge "$3"
    done
}
# Before each call of the engine's: what is between two of them is seen by no chance, but for sure.
killed steps 0 root "$MYDOCKER_HOME"
killed steps 0 mydocker-sub -
ended steps root 70 engine
ended steps mydocker-sub 80 engine
# Side by side: the moments are random enough, and each has a store of its own.
killed runs 100 root "$MYDOCKER_HOME"
killed runs 100 mydocker-sub -
ended runs root 5 engine group child helper
ended runs mydocker-sub 5 engine group child helper
killed pulls 50 root "$room/store.pulls"
killed pulls 50 mydocker-sub -
ended pulls root 3 engine group helper
ended pulls mydocker-sub 3 engine group helper
# An engine that dies before its child has asked to die with it: the child must see for itself that it is gone.
nobody() { ! pgrep -x sleep; }
for options in '' '-u alice' '--cap-add SYS_ADMIN'; do
    # shellcheck disable=SC2086 # options
    strace -f -qq -o /dev/null -e trace=prctl -e inject=prctl:delay_enter=1500000:when=1 \
        "$mydocker" run --network none $options busybox sleep 1000 </dev/null >/dev/null 2>&1 &
    disown # so that the shell says nothing of its end
    ok "an engine is killed before its child's prctl ${options:+($options)}" \
        eventually 50 grep -qr '"running"' "$MYDOCKER_HOME/containers" --include=state
    sleep 0.3
    kill -KILL "$(pgrep -o -x mydocker)"
    sleep 1.5
    ok '  the command does not run without it' eventually 30 nobody
    pkill -KILL -x sleep
    ok '  rm' mydocker rm -f "$(mydocker ps -a | awk 'NR == 2 {print $1}')"
done
nothing_remains 'nothing remains'
remove_cgroups
is '  no cgroup either' "$(find "$room"/cgroup -maxdepth 3 -type d -path "*mydocker-killed-${room##*.}*")" ''
done_testing
