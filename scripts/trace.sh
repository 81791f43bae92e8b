#!/bin/bash
# trace.sh [--seed] [--raw FILE] [--user USER] [--diff runc|crun|bwrap|podman] [ARG...]: `make trace`. Runs
# `mydocker ARG...` under `strace -f -s 200`, and prints the trace folded, step by step, each
# call beside its reason (`mydocker -v` tells it at the same call), and how many calls there were.
#   trace.sh run --network none busybox true      what it does without arguments
#   --seed       only -e trace=clone,setns,mount,pivot_root,chroot,openat,write
#   --raw FILE   keeps what strace wrote
#   --user USER  as that user, from his own store (root). Under his own strace newuidmap has no power
#   --diff PEER  that run, and the same of PEER (root): the calls of both, counted by name (--seed filters both)
# Without an image busybox in the store, and for --diff, root gets a registry and a store for
# the occasion, in namespaces of its own.
usage() { sed -n '2,/^usage/s/^# //p' "$0" >&2; exit 2; }
refused() { echo "trace.sh: $*" >&2; exit 2; }
peer='' options=() filter=() given=("$@")
while (($#)); do
    [[ ! $1 =~ ^--(raw|user|diff)$ || -n ${2-} ]] || refused "$1 needs a value"
    case $1 in
        --seed)
            options+=(--seed)
            filter=(-e 'trace=clone,setns,mount,pivot_root,chroot,openat,write')
            ;;
        --raw)
            raw=$(realpath -q "$2") || refused "--raw: there is no directory for $2"
            { : >>"$raw"; } 2>/dev/null || refused "--raw: cannot write to $raw"
            options+=(--raw "$raw") && shift
            ;;
        --user)
            [[ $(id -un "$2" 2>/dev/null) == "$2" ]] || refused "--user: there is no user $2"
            options+=(--user "$2") && shift
            ;;
        --diff) peer=$2 && shift ;;
        --) shift && break ;;
        -*) usage ;;
        *) break ;;
    esac
    shift
done
if [[ -n $peer ]] && { (($#)) || [[ ! $peer =~ ^(runc|crun|bwrap|podman)$ ]]; }; then usage; fi
demo=(run --network none busybox true)
scripts=$(cd "$(dirname "$0")" && pwd)
mydocker=$(realpath "${MYDOCKER:-$scripts/../mydocker}")
trace() { /usr/bin/python3 "$scripts/tour.py" trace "$mydocker" "${options[@]}" -- "$@"; }
# The container of the demonstration is removed afterwards: with --rm it would be another story.
demonstrate() { options+=(--tidy) && trace "${demo[@]}"; }
if ! type strace >/dev/null 2>&1; then
    ((EUID == 0)) || { echo 'trace.sh: strace is not installed' >&2; exit 1; }
    "$scripts/setup.sh" test || exit
fi

if (($#)); then
    trace "$@"
    exit
fi
if [[ -z $peer && -z ${MYDOCKER_TEST_ROOM-} ]]; then
    if "$mydocker" images 2>/dev/null | grep -qE '^busybox +latest '; then
        demonstrate
        exit
    fi
    ((EUID == 0)) || { echo "trace.sh: no image busybox in the store (mydocker pull busybox), and not root to make one" >&2; exit 1; }
fi

# ---------------------------------------------------------------- a bed for the occasion

set -- "${given[@]}"
# shellcheck source=scripts/lib.sh
. "$scripts/lib.sh"
mydocker=$room/bin/mydocker
registry trace 5000
if [[ -z $peer ]]; then
    "$mydocker" pull busybox 2>"$room/pull.err" || bail "mydocker pull busybox: $(tail -n 1 "$room/pull.err")"
else
    type "$peer" >/dev/null 2>&1 || bail "$peer is not installed"
    for directory in /run /dev/shm; do # where peers keep their books
        mount -t tmpfs tmpfs "$directory" || bail "cannot mount a tmpfs on $directory"
    done
    # How each is started: bench-run.sh knows. Nothing is measured, so nobody is tried out.
    # shellcheck disable=SC2034 # bench-run.sh's
    declare -A command within label broken
    try_out() { :; }
    # shellcheck source=scripts/bench-run.sh
    . "$scripts/bench-run.sh"
    contestants
    # crun 1.8 and podman refuse a bare cgroup2 beside cgroup v1's controllers (bench.sh).
    unified() { ! mountpoint -q /sys/fs/cgroup/unified || umount /sys/fs/cgroup/unified; }
    [[ $peer == bwrap ]] || unified
    [[ $peer != podman ]] || ${command[podman-image]} >/dev/null 2>"$room/peer.err" || bail "podman pull: $(tail -n 1 "$room/peer.err")"
    # shellcheck disable=SC2086 # words
    strace -f -qq "${filter[@]}" -o "$room/peer" ${command[$peer]} >/dev/null 2>"$room/peer.err" ||
        bail "$peer fails: $(tail -n 1 "$room/peer.err")"
    remove_cgroups
    options+=(--beside "$peer" "$room/peer")
fi
"$mydocker" "${demo[@]}" || bail 'mydocker run busybox true failed' # what is made the first time is there
demonstrate
status=$?
# shellcheck disable=SC2034
done_testing=1 # what lib.sh asks of a script that ends as it should
exit $status
