# shellcheck shell=bash
# lesson.sh: what every lesson stands on. It is sourced first, and then
#   1. starts the lesson again in namespaces of its own, so that no packet can leave the
#      machine, and all that it starts and mounts is gone with it, also on failure;
#   2. gives it a directory, a store, and a registry on 127.0.0.1 with busybox in it;
#   3. offers the words: question, show, trace, answer, check, now_you.
# TRY=1 before a lesson opens a shell in its place when it is over.
set -euo pipefail
export LC_ALL=C PATH=$PATH:/usr/sbin:/sbin
umask 022 # another user is to read what is made here
scripts=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
lesson=$(cd "$(dirname "$0")" && pwd)/${0##*/} # $0 may be relative, and we go elsewhere
if ((EUID)) && [[ ${1-} != anyone ]]; then
    echo "${0##*/} needs root, for namespaces and cgroups: sudo $0" >&2
    exit 1
fi
# shellcheck source=scripts/bed.sh
. "$scripts/bed.sh"

eventually() { # COMMAND...: until it succeeds, at most 5 seconds
    local i
    # 0, for a bare return in a trap is that of the command before the trap.
    for ((i = 0; i < 100; i++)); do
        if "$@" >/dev/null 2>&1; then return 0; fi
        sleep 0.05
    done
    return 1
}

# ---------------------------------------------------------------- a place of its own

# The outer half waits, and takes away what is on disk and in /sys/fs/cgroup.
sweep() {
    local id cgroup
    # Root's is an unshare --kill-child, with which the whole pid namespace goes; another's cleans up.
    [[ -z ${inner-} ]] || { kill -s "$( ((EUID)) && echo TERM || echo KILL)" "$inner" && wait "$inner"; } 2>/dev/null || :
    for id in "$place"/store/containers/[0-9a-f]*; do
        for cgroup in /sys/fs/cgroup/{,*/}mydocker/"${id##*/}"; do
            [[ ! -d $cgroup ]] || eventually rmdir "$cgroup" || echo "could not remove $cgroup" >&2
        done
    done
    rm -rf "$place"
}
if [[ -z ${LESSON_PLACE-} ]]; then
    "$scripts/setup.sh" lessons
    # Not /tmp: that may be a tmpfs, which before Linux 6.6 cannot hold a user's store.
    place=$(mktemp -d /var/tmp/mydocker-lesson.XXXXXX)
    trap sweep EXIT
    trap 'exit 130' INT TERM HUP
    chmod 755 "$place" # mktemp makes it 700, whatever the umask
    own=()
    ((EUID)) || own=(unshare --mount --net --uts --ipc --pid --fork --kill-child --mount-proc)
    # A background job has SIGINT ignored, and would hand that on: --default-signal.
    LESSON_PLACE=$place env --default-signal "${own[@]}" bash "$0" <&0 &
    inner=$!
    status=0
    wait "$inner" || status=$?
    inner=
    exit "$status"
fi

# The inner half furnishes the place; what run.sh has furnished is there already.
place=$LESSON_PLACE
furnish() {
    ((EUID)) || ip link set lo up
    unset MYDOCKER_CACERT DOCKER_CONFIG TAR_OPTIONS http_proxy https_proxy all_proxy HTTP_PROXY HTTPS_PROXY ALL_PROXY
    # A copy, which another user can reach, wherever the clone lies.
    install -D -m 755 "${MYDOCKER:-${scripts%/*}/mydocker}" "$place/bin/mydocker"
    export PATH=$place/bin:$PATH MYDOCKER_HOME=$place/store
    serve_registry "$place"
    export MYDOCKER_MIRROR=$url LESSON_URL=$url
    busybox_tree "$place/busybox"
    layer "$place/busybox" "$place/layer.tar"
    push_image "$place" busybox "$place/layer.tar" >/dev/null
    mydocker pull busybox 2>"$place/pull.log" || { cat "$place/pull.log" >&2; exit 1; }
}
leave() {
    local status=$?
    # A user's store holds files of his subordinate ids: mydocker removes those.
    ((EUID == 0)) || mydocker rmi -f busybox >/dev/null 2>&1 || :
    # The servers that were started, and whatever else is still running.
    # shellcheck disable=SC2046 # a list of pids
    kill $(<"/proc/$$/task/$$/children") 2>/dev/null || :
    ((status)) || [[ $over ]] || { echo "${0##*/}: it ended before its end"; status=1; }
    exit $status
}
over=
trap leave EXIT
trap 'echo "${0##*/}: line $LINENO: this failed, and the lesson with it" >&2' ERR
url=${LESSON_URL-}
[[ $url ]] || furnish
work=$(mktemp -d "$place/${0##*/}.XXXXXX")
chmod 755 "$work"
cd "$work"

# pid_of CONTAINER: its first process, in our numbers.
pid_of() { grep -o '"pid":[0-9]*' "$MYDOCKER_HOME/containers/$1/state" | tail -n 1 | cut -d: -f2; }

# ordinary_user: afterwards ${as[@]} runs a command as one whose id is $uid. Root makes
# one up, in this mount namespace only; anybody else is one already.
# shellcheck disable=SC2034 # the lesson uses them
ordinary_user() {
    as=() uid=$EUID
    if ((EUID)); then
        grep -q "^$(id -un):" /etc/subuid && mkdir shared && return
        echo "${0##*/}: /etc/subuid has no ids for you: sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 $(id -un)" >&2
        exit 1
    fi
    uid=4321
    as=(setpriv "--reuid=$uid" "--regid=$uid" --clear-groups)
    local file
    grep -q '^mydocker-learner:x:4321:' /etc/passwd || for file in 'passwd mydocker-learner:x:4321:4321::/:/bin/sh' 'subuid mydocker-learner:200000:65536' 'subgid mydocker-learner:200000:65536'; do
        cat "/etc/${file%% *}" - <<<"${file#* }" >"${file%% *}"
        mount --bind "${file%% *}" "/etc/${file%% *}"
    done
    install -d -o $uid -g $uid shared store
    export MYDOCKER_HOME=$work/store
}

# ---------------------------------------------------------------- the words

right=0 wrong=0
exec 3<&0 # standard input as it was; that of `question` is its text
bold='' plain=''
[[ ! -t 1 || -n ${NO_COLOR-} ]] || bold=$'\e[1m' plain=$'\e[0m'
heading() { printf '\n%s%s%s\n' "$bold" "$1" "$plain"; }

# say COMMAND...: as the reader would type it; a single word is such a line already.
say() {
    local line=$1
    (($# == 1)) || line=$(printf '%s ' "${@@Q}" | sed -E "s/'([A-Za-z0-9_.\/:=@%+,*-]+)'/\1/g; s/ $//")
    printf '$ %s%s%s\n' "$bold" "$line" "$plain"
}

# show COMMAND...: said and run; what it printed is $shown, its exit code $code.
show() {
    say "$@"
    code=0
    shown=$("$@" 2>&1 </dev/null) || code=$?
    [[ -z $shown ]] || printf '%s\n' "$shown"
    ((code == 0)) || printf '(exit code %d)\n' $code
}

# question: a text on standard input. At a terminal the learner thinks first.
question() {
    heading "==== Lesson $((10#$(basename "$0" | cut -c 1-2))): $(sed -n '2s/^# [^:]*: //p' "$lesson")"
    cat
    [[ ! -t 3 ]] || read -rp '(Think, then press Enter.) ' _ <&3
    echo
}

# trace CALLS REGEX COMMAND...: under strace, a file for each process; of its calls CALLS
# the lines that match. That there are none is a fault.
trace() {
    rm -f trace.*
    heading 'IN THE TRACE'
    show strace -ff -o trace -s 100 -e trace="$1" "${@:3}"
    local files
    mapfile -t files < <(printf '%s\n' trace.* | sort -V) # by pid, as numbers
    say grep -E "$2" 'trace.*'
    grep -E "$2" "${files[@]}" || check "the trace has /$2/" false
}

# narrate REGEX COMMAND...: what mydocker -v tells of itself, the lines that match.
narrate() {
    heading 'IN THE TRACE'
    say "${@:2}"
    "${@:2}" >narration 2>&1 </dev/null || :
    grep -E "$1" narration || check "the narration has /$1/" false
}

answer() { heading ANSWER; cat; } # a text on standard input

# check CLAIM COMMAND...: the answer holds if each of these commands succeeds.
check() {
    if "${@:2}" >/dev/null 2>&1; then
        right=$((right + 1))
        printf '  holds: %s\n' "$1"
    else
        wrong=$((wrong + 1))
        printf '  WRONG: %s\n' "$1"
        say "${@:2}" | sed 's/^/         /'
    fi
}

# now_you: a text on standard input. Ends the lesson: exit 1 if the answer does not hold.
now_you() {
    heading 'NOW YOU'
    cat
    [[ -z ${TRY-} ]] || { export -f ask 2>/dev/null; bash -i <&3; } || :
    over=1
    ((wrong || !right)) || exit 0
    printf '%s: %d of %d checks failed\n' "${0##*/}" $wrong $((wrong + right))
    exit 1
}
