# shellcheck shell=bash
# bench-run.sh: what a container costs beside the work that it does; part of bench.sh.
#   run       time from start to end, root and rootless, with and without a network
#   syscalls  how many system calls that takes, all processes together
#   hundred   whether the hundredth container is as cheap as the first
# shellcheck disable=SC2034,SC2154,SC2004 # variables of bench.sh and lib.sh, associative arrays among them

# The same job for all: busybox's `true` in new namespaces, from one tree on one tmpfs.
# mydocker and podman keep the ended container (no --rm), crun and runc remove theirs,
# bwrap has none to keep.
contestants() {
    local root=$images/busybox bundle=$room/bundle name
    local podman="podman --root $room/podman/root --runroot $room/podman/run --tmpdir $room/podman/tmp
        --cgroup-manager cgroupfs" image=127.0.0.1:5000/library/busybox
    # Its defaults are above what a container's root may have here.
    local podman_run="$podman run --ulimit nofile=1024:4096 --ulimit nproc=1024:1024"
    command=(
        [mydocker]="$mydocker run --network none busybox true"
        [mydocker-rm]="$mydocker run --rm --network none busybox true"
        [mydocker-user]="$mydocker run --network none busybox true"
        [mydocker-net]="$mydocker run busybox true"
        [bwrap]="bwrap --bind $root / --proc /proc --dev /dev --unshare-all /bin/true"
        [crun]="crun run --bundle $bundle bench-crun"
        [runc]="runc run --bundle $bundle bench-runc"
        [podman-image]="$podman pull -q --tls-verify=false $image"
        [podman]="$podman_run --network none $image true"
        [podman-rm]="$podman_run --rm --network none $image true"
        [podman-net]="$podman_run --network slirp4netns $image true"
    )
    command[bwrap-user]=${command[bwrap]}
    # After a pause, as a person starts them: among what is then slow is a move into a
    # cgroup, which waits for an RCU grace period unless one was made a moment ago.
    for name in mydocker bwrap crun; do command[$name-pause]=${command[$name]}; done
    for name in crun crun-pause runc podman podman-image podman-rm podman-net; do within[$name]=peer; done
    for name in mydocker-user bwrap-user; do within[$name]='as sub'; done
    label=(
        [bwrap]='bwrap --unshare-all' [bwrap-user]='bwrap, same user' [crun]='crun run' [runc]='runc run'
        [bwrap-pause]='bwrap --unshare-all' [crun-pause]='crun run'
        [podman]='podman run' [podman-rm]='podman run --rm' [podman-net]='podman run --network slirp4netns'
    )
    make_bundle "$root" "$bundle"
    "$mydocker" pull busybox 2>"$room/pull.err" || bail "mydocker pull busybox: $(tail -n 1 "$room/pull.err")"
    try_out mydocker mydocker-rm mydocker-user mydocker-net bwrap bwrap-user crun runc podman-image
    [[ -z ${broken[mydocker]-} ]] || bail "${broken[mydocker]}"
    try_out podman podman-rm podman-net
    for name in bwrap crun; do broken[$name-pause]=${broken[$name]-}; done
}

# What `crun spec` proposes, for one command without a terminal.
make_bundle() { # ROOT DIRECTORY
    mkdir -p "$2/rootfs"
    mount --bind "$1" "$2/rootfs"
    { (cd "$2" && crun spec) || (cd "$2" && runc spec); } 2>/dev/null
    jq '.process.terminal = false | .process.args = ["true"] | .linux.cgroupsPath = "/mydocker-bench"' \
        "$2/config.json" >"$2/new" && mv "$2/new" "$2/config.json"
}

bench_run() {
    local i name
    for ((i = 0; i < rounds; i++)); do
        # In turns, so that whatever else the machine does meets all of them.
        measure mydocker 10
        measure bwrap 10
        measure crun 10
        measure runc 2
        measure podman 2
        measure mydocker-rm 10
        measure podman-rm 1
        measure mydocker-user 10
        measure bwrap-user 10
        measure mydocker-net 2
        measure podman-net 1
        for name in mydocker bwrap crun; do measure $name-pause 2 'sleep 0.1'; done
    done
    heading "Start to end of \`run busybox true\`, cached image ($rounds rounds: 10 runs of mydocker, bwrap and crun, 1 or 2 of the others)"
    row 'run --network none' ms mydocker bwrap 0.85
    row 'run --network none' ms mydocker crun 0.45
    row 'run --network none' ms mydocker podman 0.03
    row 'run --network none' ms mydocker runc
    row 'run --rm --network none' ms mydocker-rm podman-rm
    row 'run --network none, after a pause' ms mydocker-pause bwrap-pause
    row 'run --network none, after a pause' ms mydocker-pause crun-pause
    row 'run --network none, as a user' ms mydocker-user bwrap-user
    row 'run (slirp4netns)' ms mydocker-net podman-net
}

# Every call that any of the processes begins, the first execve included: strace writes
# one line `PID name(...` for each, and lines of another shape for signals, ends and
# calls resumed.
count_syscalls() { # NAME [STRACE-OPTION...]
    local i
    [[ -z ${broken[$1]-} ]] || return
    for ((i = 0; i < 3; i++)); do
        # shellcheck disable=SC2086 # words
        ${within[$1]-} strace -f -qq -o "$room/tmp/strace" ${command[$1]} >/dev/null 2>&1
        grep -cE '^[0-9]+ +[a-z0-9_]+\(' "$room/tmp/strace"
        rm -f "$room/tmp/strace"
    done >>"$room/series/$1-syscalls"
}

bench_syscalls() {
    local name
    for name in bwrap crun runc podman; do
        label[$name-syscalls]=${label[$name]}
        broken[$name-syscalls]=${broken[$name]-}
    done
    for name in mydocker mydocker-rm bwrap crun runc podman; do count_syscalls "$name"; done
    heading "System calls of that run (lines of \`strace -f\` that begin a call, all processes; 3 runs)"
    row 'calls of run --network none' '' mydocker-syscalls - 200
    for name in bwrap crun runc podman; do row 'calls of run --network none' '' mydocker-syscalls "$name-syscalls"; done
    row 'calls of run --rm --network none' '' mydocker-rm-syscalls -
}

bench_hundred() {
    local i last first store=$MYDOCKER_HOME
    command[mydocker-hundred]=${command[mydocker]} command[podman-hundred]=${command[podman]}
    within[podman-hundred]=peer label[podman-ratio]=${label[podman]}
    broken[podman-hundred]=${broken[podman]-} broken[podman-ratio]=${broken[podman]-}
    for ((i = 0; i < 5; i++)); do
        # A store without containers; those of this round stay in it.
        export MYDOCKER_HOME=$room/store-hundred-$i
        "$mydocker" pull busybox 2>/dev/null
        hundred mydocker
    done
    export MYDOCKER_HOME=$store
    hundred podman
    heading '100 containers started one after another (mydocker: 5 times, podman once)'
    row 'last ten, each' ms mydocker-last -
    row 'first ten, each' ms mydocker-first -
    row 'last ten / first ten' '' mydocker-ratio - 1.2
    row 'last ten / first ten' '' mydocker-ratio podman-ratio
}

hundred() { # TOOL: one more figure in each of the series TOOL-first, -last, -ratio
    local series=$room/series/$1 first last
    rm -f "$series-hundred"
    measure "$1-hundred" 100
    [[ -s $series-hundred ]] || return
    first=$(head -n 10 "$series-hundred" | median)
    last=$(tail -n 10 "$series-hundred" | median)
    echo "$first" >>"$series-first"
    echo "$last" >>"$series-last"
    calc '%.3f\n' "$last / $first" >>"$series-ratio"
}

# podman leaves the parent of its containers' cgroups behind.
remove_cgroups() {
    local cgroup
    for cgroup in /sys/fs/cgroup/{,*/}{libpod_parent,mydocker-bench}; do
        [[ ! -d $cgroup ]] || find "$cgroup" -depth -type d -exec rmdir {} \; 2>/dev/null
    done
}
