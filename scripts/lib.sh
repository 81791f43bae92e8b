# shellcheck shell=bash
# lib.sh: what every test-*.sh stands on. It is sourced first, and then
#   1. starts the script again in namespaces of its own (`isolate`), so that no test
#      can send a packet off the machine, and whatever it mounts, starts, listens on
#      or adds to /etc is gone with it, also after a kill -9;
#   2. offers the TAP helpers (ok, is, like, gives, fails, skip, done_testing);
#   3. starts registries, and runs commands as ordinary users.
# Nothing here is `set -e`: a command that fails is what a test wants to see.
set -uo pipefail
# The shell's own words and sort orders, whatever the caller's are.
export LC_ALL=C
unset MYDOCKER_CACERT MYDOCKER_HOME DOCKER_CONFIG CURL_CA_BUNDLE SSL_CERT_FILE SSL_CERT_DIR TAR_OPTIONS \
    http_proxy https_proxy all_proxy HTTP_PROXY HTTPS_PROXY ALL_PROXY
PATH=$PATH:/usr/sbin:/sbin
scripts=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
top=${scripts%/*}
export PYTHONDONTWRITEBYTECODE=1
# Always /usr/bin/python3: Debian's python has Debian's modules, another may not.

bail() { echo "Bail out! $*"; exit 1; }

# ---------------------------------------------------------------- isolation

# The outer half: makes the room's directory, starts the script again inside, waits.
isolate() {
    ((EUID == 0)) || bail "the tests run as root: they make namespaces and users (sudo $0)"
    "$scripts/setup.sh" test || bail "scripts/setup.sh test failed"
    local room status
    room=$(mktemp -d /tmp/mydocker-test.XXXXXX) || bail "no temporary directory"
    # A background job of a shell has SIGINT ignored, and would hand that on to all
    # that the tests start: hence --default-signal.
    MYDOCKER_TEST_ROOM=$room env --default-signal unshare --mount --propagation private \
        --net --ipc --uts --pid --fork --mount-proc bash "$0" "$@" &
    local unshare=$!
    trap 'end_inner "$unshare"' INT TERM HUP
    while wait "$unshare"; status=$?; kill -0 "$unshare" 2>/dev/null; do :; done
    rmdir "$room"
    exit "$status"
}

# unshare itself blocks SIGTERM; its child, pid 1 inside, has a trap for it.
end_inner() { # UNSHARE-PID
    local inner
    read -r inner <"/proc/$1/task/$1/children" || [[ $inner ]] || return
    kill -TERM "$inner"
    sleep 3
    kill -KILL "$inner" 2>/dev/null
}

# The inner half: one tmpfs for all, /etc that may be written to, no way out.
furnish() {
    room=$MYDOCKER_TEST_ROOM
    trap clean_up EXIT
    trap 'exit 143' INT TERM HUP
    mount -t tmpfs -o mode=755 tmpfs "$room" || bail "cannot mount a tmpfs on $room"
    mkdir "$room"/{bin,etc,etc.work,home,tmp}
    chmod 1777 "$room/tmp"
    # useradd, /etc/hosts and so on: what is written stays in the room.
    mount -t overlay -o "lowerdir=/etc,upperdir=$room/etc,workdir=$room/etc.work" overlay /etc ||
        bail "cannot mount an overlay on /etc"
    # Wherever the Hub may live, here it is this machine (where nothing listens
    # unless a test says so), and nobody is asked for any other name.
    printf '127.0.0.1 %s\n' localhost "$(uname -n)" docker.io index.docker.io \
        registry-1.docker.io auth.docker.io registry.hub.docker.com hub.docker.com \
        production.cloudflare.docker.com docker-images-prod.r2.cloudflarestorage.com \
        cdn.test registry.test >/etc/hosts
    rm -f /etc/resolv.conf # often a link into /run
    printf 'nameserver 127.0.0.1\noptions timeout:1 attempts:1\n' >/etc/resolv.conf
    ip link set lo up || bail "cannot set lo up"
    # slirp4netns run by a user opens it; distributions have it 666, some machines 600.
    if [[ -c /dev/net/tun ]]; then
        mknod -m 666 "$room/tun" c 10 200 && mount --bind "$room/tun" /dev/net/tun
    fi
    binary=${MYDOCKER:-$top/mydocker}
    [[ -x $binary ]] || bail "there is no $binary: run make first"
    # A copy that ordinary users can reach, wherever the clone lies; and `run`, which is
    # most of what the tests call.
    mydocker=$room/bin/mydocker
    cp "$binary" "$mydocker" && chmod 755 "$mydocker"
    printf '#!/bin/sh\nexec "%s" run --rm --network none "$@"\n' "$mydocker" >"$room/bin/run"
    chmod 755 "$room/bin/run"
    PATH=$room/bin:$PATH
    export HOME=$room/home/root TMPDIR=$room/tmp
    mkdir -m 700 "$HOME"
    export MYDOCKER_HOME=$room/store MYDOCKER_MIRROR=http://127.0.0.1:5000
    cd "$room/tmp" || bail "no $room/tmp"
}

# Processes and mounts go with the namespaces; cgroups are the host's.
clean_up() {
    local status=$? id cgroup
    if [[ -z ${done_testing-} ]]; then
        echo "# ended before its plan (exit $status)"
        status=1
    fi
    exec 2>/dev/null
    local others
    others=$(ps -e -o pid= | awk '$1 != 1')
    # shellcheck disable=SC2086 # a list of pids
    kill -KILL $others
    for id in "$room"/store*/containers/* "$room"/home/*/.config/mydocker/containers/*; do
        [[ ${id##*/} =~ ^[0-9a-f]{12}$ ]] || continue
        for cgroup in /sys/fs/cgroup/{,*/}mydocker/"${id##*/}"; do
            [[ ! -d $cgroup ]] || eventually 20 rmdir "$cgroup"
        done
    done
    exit "$status"
}

# ---------------------------------------------------------------- TAP

tests=0
failures=0

report() { # PASSED? DESCRIPTION: one TAP line
    tests=$((tests + 1))
    if (($1)); then
        echo "ok $tests - $2"
    else
        failures=$((failures + 1))
        echo "not ok $tests - $2"
        local frame=1 # the nearest that is not one of ours
        while [[ ${BASH_SOURCE[frame]##*/} == lib*.sh ]]; do frame=$((frame + 1)); done
        echo "#   at ${BASH_SOURCE[frame]##*/} line ${BASH_LINENO[frame - 1]}"
    fi
    (($1))
}

# What stood where: at most 30 lines, each a TAP comment.
note() { # LABEL TEXT
    printf '%s: %s\n' "$1" "$2" | cat -v | head -n 30 | cut -c -600 | sed 's/^/#   /'
}

# Runs a command for at most $limit seconds and never fails itself: $out, $err, $rc.
limit=60
try() { # COMMAND...
    tried="$*"
    # --foreground: the command stays in our process group, as from a shell.
    case $(type -t "$1") in
        function | builtin | keyword) "$@" >"$room/tmp/.out" 2>"$room/tmp/.err" ;;
        *) timeout --foreground -k 5 "$limit" "$@" >"$room/tmp/.out" 2>"$room/tmp/.err" ;;
    esac
    rc=$?
    { out=$(<"$room/tmp/.out") && err=$(<"$room/tmp/.err"); } 2>/dev/null # NULs are dropped
}

tell_try() {
    note command "$tried"
    note 'exit code' "$rc"
    note stdout "$out"
    note stderr "$err"
}

# Passes when the command succeeds.
ok() { # DESCRIPTION COMMAND...
    try "${@:2}"
    report $((rc == 0)) "$1" || tell_try
}

# Passes when the command succeeds and prints exactly WANTED.
gives() { # DESCRIPTION WANTED COMMAND...
    try "${@:3}"
    [[ $rc == 0 && $out == "$2" ]]
    report $((!$?)) "$1" || { note wanted "$2"; tell_try; }
}

# Passes when the command exits with that code, whatever it prints.
exits() { # DESCRIPTION CODE COMMAND...
    try "${@:3}"
    report $((rc == $2)) "$1" || { note 'wanted exit code' "$2"; tell_try; }
}

# The events of a pull, a line each, may come before its error.
events='^mydocker: ([0-9a-f]{12}: |mirror: |[^ ]+: pulled, sha256:)'

# Passes when the command fails as the engine should: that code, nothing on stdout,
# one line on stderr, which begins `mydocker: ` and matches the extended REGEX.
fails() { # DESCRIPTION CODE REGEX COMMAND...
    try "${@:4}"
    local line
    line=$(grep -vE "$events" <<<"$err")
    [[ $rc == "$2" && -z $out && $line == 'mydocker: '* && $line != *$'\n'* ]] && grep -qiE -- "$3" <<<"$line"
    report $((!$?)) "$1" || { note 'wanted' "exit $2, one line on stderr like /$3/"; tell_try; }
}

is() { # DESCRIPTION GOT WANTED
    [[ $2 == "$3" ]]
    report $((!$?)) "$1" || { note wanted "$3"; note got "$2"; }
}

like() { # DESCRIPTION GOT REGEX
    grep -qE -- "$3" <<<"$2"
    report $((!$?)) "$1" || { note 'wanted a match of' "$3"; note got "$2"; }
}

unlike() { # DESCRIPTION GOT REGEX
    ! grep -qE -- "$3" <<<"$2"
    report $((!$?)) "$1" || { note 'wanted no match of' "$3"; note got "$2"; }
}

skip() { # DESCRIPTION REASON
    tests=$((tests + 1))
    echo "ok $tests - $1 # SKIP $2"
}

# The plan comes last, and only from a script that reached its end.
done_testing() {
    echo "1..$tests"
    done_testing=1
    exit $((failures > 0))
}

# Until it succeeds, at most TENTHS of a second.
eventually() { # TENTHS COMMAND...
    local i
    for ((i = 0; i < $1; i++)); do
        "${@:2}" >/dev/null 2>&1 && return
        sleep 0.1
    done
    "${@:2}" >/dev/null 2>&1
}

# part NUMERATOR DENOMINATOR MICROSECONDS: that part of a time, for sleep(1).
part() {
    local microseconds=$(($3 * $1 / $2))
    printf '%d.%06d' $((microseconds / 1000000)) $((microseconds % 1000000))
}

# shellcheck source=scripts/lib-bed.sh
. "$scripts/lib-bed.sh"

if [[ -z ${MYDOCKER_TEST_ROOM-} ]]; then
    isolate "$@"
fi
furnish
unset MYDOCKER_TEST_ROOM
