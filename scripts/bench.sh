#!/bin/bash
# bench.sh [run|syscalls|hundred|pull|memory|initramfs|dns]...: measures mydocker against its peers in
# the same run and prints tables, the target beside each figure; all parts by default.
#   BENCH_ROUNDS=N   rounds of the interleaved comparisons (default 20; of pulls a third, of dns half)
#   BENCH_SECONDS=N  each run of dns (default 1)
#   BENCH_BASE=FILE  a root file system as tar to build the pulled image from, instead of
#                    a fresh `mmdebstrap --variant=minbase`
# A peer that is not here or does not work is named in its row. Missed targets do not
# fail the script: a bench tells, and other load on the machine moves its figures.
set -uo pipefail
parts=("$@")
((${#parts[@]})) || parts=(run syscalls hundred pull memory initramfs dns)
for part in "${parts[@]}"; do
    case $part in
        run | syscalls | hundred | pull | memory | initramfs | dns) ;;
        *) sed -n '2,/^set/s/^# //p' "$0" >&2; exit 2 ;;
    esac
done

# The outer half, before lib.sh shuts us into a room without a network: what has to be
# fetched. Debian's own packages make the image that is pulled, so that it has the mixture
# of sizes of real ones.
if [[ -z ${MYDOCKER_TEST_ROOM-} ]]; then
    ((EUID == 0)) || { echo "bench.sh runs as root: it makes namespaces and users (sudo $0)" >&2; exit 1; }
    "$(dirname "$0")/setup.sh" bench || exit
    [[ " ${parts[*]} " != *\ initramfs\ * ]] || "$(dirname "$0")/setup.sh" initramfs guest || exit
    if [[ " ${parts[*]} " == *\ pull\ * || " ${parts[*]} " == *\ memory\ * ]] && [[ -z ${BENCH_BASE-} ]]; then
        BENCH_BASE=$(mktemp /tmp/mydocker-bench.XXXXXX) || exit
        export BENCH_BASE
        trap 'rm -f "$BENCH_BASE"' EXIT
        # Without it the other parts still have their figures; an empty file says so inside.
        SOURCE_DATE_EPOCH=0 mmdebstrap --quiet --format=tar --variant=minbase bookworm - >"$BENCH_BASE" ||
            : >"$BENCH_BASE"
    fi
    set -- "${parts[@]}"
fi
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=scripts/bench-run.sh
. "$scripts/bench-run.sh"
# shellcheck source=scripts/bench-pull.sh
. "$scripts/bench-pull.sh"
# shellcheck source=scripts/bench-initramfs.sh
. "$scripts/bench-initramfs.sh"
# shellcheck source=scripts/bench-dns.sh
. "$scripts/bench-dns.sh"
rounds=${BENCH_ROUNDS:-20}

# ---------------------------------------------------------------- measuring

# Of each contestant NAME (a tool, or TOOL-VARIANT): the command, words without a shell;
# what it runs in (`peer`, `as sub`; nothing: here); how the tables call it; why there is
# no figure of it, if so. Its figures are lines of $room/series/NAME.
declare -A command within label broken
mkdir "$room/series"

# crun 1.8 and podman refuse a bare cgroup2 beside cgroup v1's controllers: for them it
# is taken away, in a mount namespace that ends with the command.
peer() { # COMMAND...
    # shellcheck disable=SC2016 # the inner shell's "$@"
    unshare --mount sh -c '! mountpoint -q /sys/fs/cgroup/unified || umount /sys/fs/cgroup/unified
        exec "$@"' sh "$@"
}

# Runs each once; who cannot do the job is left alone from then on, and named.
try_out() { # NAME...
    local name said
    for name; do
        if ! type "${command[$name]%% *}" >/dev/null 2>&1; then
            broken[$name]="${name%%-*} is not installed"
            continue
        fi
        # shellcheck disable=SC2086 # words
        said=$(${within[$name]-} ${command[$name]} 2>&1 >/dev/null) ||
            broken[$name]="${name%%-*} fails: $(tail -n 1 <<<"$said")"
    done
}

# Adds RUNS runs to NAME's series, in milliseconds. PREPARE runs before each, untimed.
measure() { # NAME RUNS [PREPARE]
    local json=$room/tmp/hyperfine.json
    [[ -z ${broken[$1]-} ]] || return
    rm -f "$json"
    # -N: without a shell in between, whose start would be measured with it.
    # shellcheck disable=SC2086 # words
    if ${within[$1]-} hyperfine -N --style none --runs "$2" ${3:+--prepare "$3"} \
        --export-json "$json" "${command[$1]}" >/dev/null 2>"$room/hyperfine.err"; then
        jq '.results[0].times[] * 1000' "$json" >>"$room/series/$1"
    else
        broken[$1]="${1%%-*} fails: $(tail -n 1 "$room/hyperfine.err")"
    fi
}

median() { # numbers on standard input
    sort -g | awk '{ v[NR] = $1 } END { print (v[int((NR + 1) / 2)] + v[int(NR / 2) + 1]) / 2 }'
}

calc() { awk "BEGIN { printf \"$1\", ($2) }"; } # FORMAT EXPRESSION

# ---------------------------------------------------------------- tables

met=0
missed=()

heading() { # TITLE
    printf '\n## %s\n\n| what | mydocker | peer | its figure | ratio | target | |\n|---|---|---|---|---|---|---|\n' "$1"
}

# One row: the median of OURS, over that of PEER unless that is `-`. LIMIT is of the ratio
# (without a peer: of the figure), the most or, as `>=N`, the least that it may be; without
# it the row is there for information.
row() { # WHAT UNIT OURS PEER [LIMIT]
    local ours='-' its='-' ratio='-' limit='-' said=''
    [[ ! -s $room/series/$3 ]] || ours=$(median <"$room/series/$3")
    [[ ! -s $room/series/$4 ]] || its=$(median <"$room/series/$4")
    if [[ -n ${broken[$3]-} || $ours == - || $4 != - && $its == - ]]; then
        said="not measured: ${broken[$3]-}${broken[$4]-}"
    elif [[ $4 != - ]]; then
        ratio=$(calc %.3f "$ours / $its")
    fi
    if [[ -n ${5-} ]]; then
        limit="at most $5"
        [[ $5 != '>='* ]] || limit="at least ${5#>=}"
        [[ -n $said ]] || judge "$1" "$([[ $4 == - ]] && echo "$ours" || echo "$ratio")" "$5"
        [[ $said == met ]] && met=$((met + 1)) || missed+=("$1${label[$4]:+ / ${label[$4]}}: $said")
    fi
    printf '| %s | %s | %s | %s | %s | %s | %s |\n' "$1" "$(pretty "$ours" "$2")" "${label[$4]:-$4}" \
        "$(pretty "$its" "$2")" "$ratio" "$limit" "$said"
}

judge() { # WHAT VALUE LIMIT -> said
    local bound=${3#>=} comparison='<='
    [[ $3 != '>='* ]] || comparison='>='
    if (($(calc %d "$2 $comparison $bound"))); then
        said=met
    elif [[ $bound == 0 ]]; then
        said=MISSED
    else
        said="MISSED by $(calc %.0f "100 * ($2 > $bound ? $2 - $bound : $bound - $2) / $bound") %"
    fi
}

pretty() { # NUMBER UNIT
    local digits=2
    [[ $1 != - ]] || { echo -; return; }
    ((!$(calc %d "$1 >= 100 || $1 == int($1)"))) || digits=0
    calc "%.${digits}f${2:+ $2}" "$1"
}

versions() {
    printf '# mydocker bench, %s\n\n' "$(date -u '+%F %H:%M UTC')"
    printf '%s, %s processors, Linux %s, load %s; all stores on one tmpfs. Medians.\n' \
        "$(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -n 1)" "$(nproc)" "$(uname -r)" \
        "$(cut -d' ' -f1-3 /proc/loadavg)"
    local tool version list=''
    for tool in "$mydocker" bwrap crun runc podman curl tar igzip openssl docker-registry hyperfine strace \
        nsd unbound dnsdist dnsmasq dnsperf; do
        if ! type "$tool" >/dev/null 2>&1; then
            version='not installed'
        else
            version=$({ "$tool" --version || "$tool" version; } 2>&1 | grep -v 127.0.0.1 |
                grep -oE -m 1 'v?[0-9]+(\.[0-9]+)+[^ ,.]*' | head -n 1)
        fi
        list+="${list:+, }${tool##*/} $version"
    done
    echo "$list"
}

# ---------------------------------------------------------------- the story

# podman and crun keep their books there; these are to go with the room.
for directory in /run /dev/shm; do
    mount -t tmpfs tmpfs "$directory" || bail "cannot mount a tmpfs on $directory"
done
versions
if [[ " ${parts[*]} " =~ \ (run|syscalls|hundred|pull|memory)\  ]]; then
    registry bench 5000
    ordinary_users
    contestants
fi
for part in "${parts[@]}"; do
    "bench_$part"
done
remove_cgroups
printf '\n%d of %d targets met\n' "$met" $((met + ${#missed[@]}))
((${#missed[@]} == 0)) || printf -- '- %s\n' "${missed[@]}"
done_testing=1
