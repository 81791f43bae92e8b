#!/bin/bash
# test-limits.sh: --memory, --memory-swap, --cpus, --pids-limit, --cpuset-cpus: they hold,
# they are gone afterwards, and one that cannot be set is an error. On cgroup version 1 or
# 2, whichever has the host's controllers.
. "$(dirname "$0")/lib.sh"
registry main 5000
ok 'pull' mydocker pull busybox
remember

# The value in the container's cgroup: of version 1, or of version 2.
v1=/sys/fs/cgroup
value() { # NAME CONTROLLER FILE-OF-1 FILE-OF-2
    local id
    id=$(basename "$(readlink "$MYDOCKER_HOME/containers/$1")")
    cat "$v1/$2/mydocker/$id/$3" 2>/dev/null || cat "$v1/mydocker/$id/$4"
}
has() { [[ -d $v1/$1 ]] || grep -qw "$1" "$v1/cgroup.controllers" 2>/dev/null; } # CONTROLLER
start() { # NAME OPTIONS...: a container that sleeps
    mydocker run --rm --network none --name "$1" "${@:2}" busybox sleep 1000 2>"$room/err" &
    engine=$!
    eventually 100 pgrep -x sleep || note 'it does not run' "$(cat "$room/err")"
}
finish() { # NAME
    mydocker rm -f "$1"
    wait "$engine"
}

# ---------------------------------------------------------------- memory

eat() { # MEGABYTES OPTIONS...: exits 0 when the container may have that much
    run "${@:2}" busybox dd if=/dev/zero of=/dev/null bs="$1M" count=1
}
if has memory; then
    ok '64 MB fit into 128' eat 64 --memory 128m
    exits '64 MB do not fit into 32: killed, 137' 137 eat 64 --memory 32m --memory-swap 32m
    ok 'the same in other units' eat 8 --memory 32768k
    start mem --memory 32m
    is 'memory' "$(value mem memory memory.limit_in_bytes memory.max)" $((32 << 20))
    if [[ -e $v1/memory/memory.memsw.limit_in_bytes ]]; then
        is 'with swap twice as much' "$(value mem memory memory.memsw.limit_in_bytes '')" $((64 << 20))
    elif [[ ! -d $v1/memory ]]; then
        is 'as much swap again' "$(value mem memory '' memory.swap.max)" $((32 << 20))
    else
        skip 'with swap twice as much' 'this kernel does not count swap'
    fi
    finish mem
    start mem --memory 32m --memory-swap 48m
    if [[ -e $v1/memory/memory.memsw.limit_in_bytes ]]; then
        is '--memory-swap is the sum' "$(value mem memory memory.memsw.limit_in_bytes '')" $((48 << 20))
    elif [[ ! -d $v1/memory ]]; then
        is '--memory-swap is the sum' "$(value mem memory '' memory.swap.max)" $((16 << 20))
    else
        skip '--memory-swap is the sum' 'this kernel does not count swap'
    fi
    finish mem
    ok '--memory-swap -1' eat 8 --memory 32m --memory-swap -1
    # A shell whose child is killed goes on, and says 137.
    gives 'a child that is killed' 137 run --memory 32m --memory-swap 32m busybox sh -c \
        'dd if=/dev/zero of=/dev/null bs=64M count=1 2>/dev/null; echo $?'
    ok 'after a kill the next container is whole' eat 8 --memory 32m
else
    skip memory 'this machine has no memory controller'
fi

# ---------------------------------------------------------------- pids

if has pids; then
    forks='i=0; while test $i -lt 30; do sleep 5 & i=$((i + 1)); done 2>/dev/null; echo all; kill -9 -1'
    try run --pids-limit 10 busybox sh -c "$forks"
    unlike '30 processes do not fit into 10' "$out" all
    try run --pids-limit 60 busybox sh -c "$forks"
    like '30 processes fit into 60' "$out" all
    start pids
    is 'a limit is set by default' "$(value pids pids pids.max pids.max)" 2048
    finish pids
    start pids --pids-limit -1
    is '--pids-limit -1 is none' "$(value pids pids pids.max pids.max)" max
    finish pids
else
    skip pids 'this machine has no pids controller'
fi

# ---------------------------------------------------------------- cpu

if has cpu; then
    # Processor time of one busy second, in hundredths: at most half of it and a bit.
    try run --cpus 0.25 busybox sh -c 'timeout 2 sh -c "while :; do :; done"; awk "{print \$16 + \$17}" /proc/self/stat; cut -d" " -f16,17 /proc/1/stat'
    used=$(tail -n 1 <<<"$out" | awk '{print $1 + $2}')
    ok "--cpus 0.25 holds: 2 seconds of work took 0.0${used} s of a processor or so" test "${used:-999}" -lt 80
    start cpu --cpus 1.5
    if [[ -d $v1/cpu ]]; then
        is '--cpus 1.5' "$(value cpu cpu cpu.cfs_quota_us '')" $(($(value cpu cpu cpu.cfs_period_us '') * 3 / 2))
    else
        is '--cpus 1.5' "$(value cpu '' '' cpu.max | awk '{print $1 / $2}')" 1.5
    fi
    finish cpu
fi
if has cpuset; then
    gives '--cpuset-cpus 0' 0 run --cpuset-cpus 0 busybox sh -c 'grep Cpus_allowed_list /proc/self/status | cut -f2'
    last=$(($(nproc) - 1))
    gives "--cpuset-cpus $last" $last run --cpuset-cpus $last busybox sh -c 'grep Cpus_allowed_list /proc/self/status | cut -f2'
    fails 'a processor that is not there' 125 '4095.*cpuset' run --cpuset-cpus 4095 busybox true
fi

# ---------------------------------------------------------------- all at once, none remains

start all --memory 64m --cpus 0.5 --pids-limit 20 --cpuset-cpus 0
start_pid=$(pgrep -x sleep)
ok 'every controller has the command' test "$(grep -cE '(cpuset|cpu|memory|pids|):.*/mydocker/[0-9a-f]{12}$' "/proc/$start_pid/cgroup")" -ge 1
id=$(basename "$(readlink "$MYDOCKER_HOME/containers/all")")
ok 'the cgroup is there' sh -c "ls -d $v1/mydocker/$id $v1/*/mydocker/$id 2>/dev/null | grep -q ."
finish all
is 'and gone afterwards' "$(ls -d "$v1/mydocker/$id" "$v1"/*/mydocker/"$id" 2>/dev/null)" ''
mydocker run --network none --name killed --memory 64m busybox sleep 1000 &
engine=$!
eventually 100 pgrep -x sleep
id=$(basename "$(readlink "$MYDOCKER_HOME/containers/killed")")
kill -KILL $engine
wait $engine 2>/dev/null
eventually 50 eval '! pgrep -x sleep'
ok 'after kill -9 of the engine, rm' mydocker rm killed
is 'removes the cgroup too' "$(ls -d "$v1/mydocker/$id" "$v1"/*/mydocker/"$id" 2>/dev/null)" ''

# ---------------------------------------------------------------- refused

for bad in 12q '' -1 0 0x10 1.5.5 '64 m' m 64mm 1e400 99999999999g ' 64m' 4k; do
    fails "--memory ${bad@Q}" 125 'memory' run --memory "$bad" busybox true
done
for bad in 0 -1 abc '' nan inf 1,5 9999999; do
    fails "--cpus ${bad@Q}" 125 'cpus' run --cpus "$bad" busybox true
done
for bad in x '' 1.5 -2 99999999999999999999; do
    fails "--pids-limit ${bad@Q}" 125 'pids-limit' run --pids-limit "$bad" busybox true
done
for bad in x '' 1- -1 0,,1 '0 1' 1-0; do
    fails "--cpuset-cpus ${bad@Q}" 125 'cpuset' run --cpuset-cpus "$bad" busybox true
done
fails '--memory-swap without --memory' 125 'memory' run --memory-swap 64m busybox true
fails '--memory-swap below --memory' 125 'memory' run --memory 64m --memory-swap 32m busybox true
is 'none of them made a container' "$(ls -A "$MYDOCKER_HOME/containers")" ''

# ---------------------------------------------------------------- where limits cannot be set

bare_run() { unshare -m sh -c 'umount -R /sys/fs/cgroup; exec run "$@"' sh "$@"; }
gives 'no cgroup file system: runs without limits' here bare_run busybox echo here
fails '  and a limit is an error that says why' 125 'limit.*cgroup' bare_run --memory 64m busybox true
ordinary_users
as sub "$mydocker" pull busybox 2>/dev/null
gives 'rootless without limits' here as sub run busybox echo here
for option in '--memory 64m' '--cpus 0.5' '--pids-limit 10' '--cpuset-cpus 0'; do
    # shellcheck disable=SC2086 # an option and its value
    fails "rootless $option: an error that names the way out" 125 'systemd-run --user --scope -p Delegate=yes' as sub run $option busybox true
done
is '  no container is left' "$(ls -A "$room/home/sub/.config/mydocker/containers")" ''
nothing_remains 'nothing remains'
done_testing
