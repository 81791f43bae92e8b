#!/bin/bash
# fuzz.sh [SECONDS [TARGET...]]: looks for inputs that what reads strangers' bytes cannot stand: the DNS modules, and
# the readers of what comes from a registry, from an archive or with an image. A minute for each target unless told
# otherwise, as many side by side as there are processors.
# A target (scripts/fuzz/src) says in its first lines what it claims. It is guided by the branches that an input
# reaches: libFuzzer, built from source by cargo and a C++ compiler, on stable Rust. It starts with real messages and
# documents (scripts/fuzz/messages.hex, scripts/fuzz/seeds) and what earlier runs found new in scripts/fuzz/corpus,
# where an input that breaks something is kept, too.
set -euo pipefail
fuzz=$(cd "$(dirname "$0")/fuzz" && pwd)
mapfile -t all < <(sed -n 's/^path = "src\/\(.*\)\.rs"/\1/p' "$fuzz/Cargo.toml")
seconds=${1:-60}
targets=("${@:2}")
((${#targets[@]})) || targets=("${all[@]}")
wrong() {
    echo "usage: fuzz.sh [SECONDS [TARGET...]], of ${all[*]}" >&2
    exit 2
}
[[ $seconds =~ ^[1-9][0-9]{0,5}$ ]] || wrong
for target in "${targets[@]}"; do
    [[ " ${all[*]} " == *" $target "* ]] || wrong
done
"$fuzz/../setup.sh" fuzz
corpus=$fuzz/corpus

# With --target cargo leaves build scripts and the like without the counters, which nobody would read.
host=$(rustc -vV | sed -n 's/^host: //p')
# What cargo-fuzz passes: LLVM's SanitizerCoverage, sancov in clang's documentation.
counters='--cfg fuzzing -Cpasses=sancov-module'
for option in sanitizer-coverage-level=4 sanitizer-coverage-inline-8bit-counters sanitizer-coverage-pc-table \
    sanitizer-coverage-trace-compares simplifycfg-branch-fold-threshold=0; do
    counters+=" -Cllvm-args=-$option"
done
RUSTFLAGS=$counters cargo build --quiet --release --locked --manifest-path "$fuzz/Cargo.toml" --target "$host"
built=${CARGO_TARGET_DIR:-$fuzz/target}/$host/release

# Seeds: octets in hex, a line each; documents, a line `====` before each. What stands before them is a comment.
rm -rf "$corpus/seeds"
mkdir -p "$corpus/seeds/messages" "${targets[@]/#/$corpus/}"
number=0
while read -r hex; do
    [[ $hex != '#'* ]] || continue
    number=$((number + 1))
    printf '%b' "$(fold -w 2 <<<"$hex" | sed 's/^/\\x/' | tr -d '\n')" >"$corpus/seeds/messages/$number"
done <"$fuzz/messages.hex"
for file in "$fuzz"/seeds/*; do
    mkdir "$corpus/seeds/${file##*/}"
    awk -v dir="$corpus/seeds/${file##*/}" '/^====$/ { close(out); out = dir "/" ++number; next } out { print >out }' "$file"
done
# Where the target `load` has its images, of which there will be none.
export FUZZ_STORE=$corpus/store

declare -A running=() # targets by pid
end_all() { kill "${!running[@]}" 2>/dev/null; }
trap 'end_all; exit 130' INT TERM HUP
start() { # TARGET
    local seeds=()
    case $1 in
        messages | view) seeds=("$corpus/seeds/messages") ;;
        cache) ;; # its inputs are operations
        *) seeds=("$corpus/seeds/$1") ;;
    esac
    # The played helpers say what they say into a pipe, which has room for 64 KB.
    local length=16384
    [[ ${seeds[*]} == "$corpus/seeds/$1" ]] || length=65535
    # An input of more than ten seconds, or of more than half a gigabyte, is one that breaks something.
    "$built/$1" -max_total_time="$seconds" -max_len="$length" -timeout=10 -rss_limit_mb=512 -report_slow_units=60 \
        -artifact_prefix="$corpus/$1/found-" "$corpus/$1" "${seeds[@]}" >"$corpus/$1.log" 2>&1 &
    running[$!]=$1
}
status=0
report() { # TARGET EXIT-STATUS
    local log=$corpus/$1.log inputs branches input
    if (($2 == 0)); then
        inputs=$(sed -n 's/^Done \([0-9]*\) runs in \([0-9]*\) second.*/\1 inputs in \2 s/p' "$log")
        branches=$(grep -a -o 'cov: [0-9]*' "$log" | tail -n 1)
        echo "$1: $inputs, ${branches#cov: } branches reached, nothing found"
        return
    fi
    status=1
    input=$(sed -n 's/.*Test unit written to //p' "$log" | tail -n 1)
    # One that an earlier run found is not written again.
    [[ $input ]] || input=$(sed -n 's/^Running: //p' "$log" | tail -n 1)
    echo "$1: FOUND ${input:-something (see $log)}"
    grep -a -A 3 -E -m 1 'panicked at|ERROR: libFuzzer' "$log" | sed '/^stack backtrace/d; s/^/    /' || true
    echo "    again: FUZZ_STORE=$FUZZ_STORE $built/$1 ${input:-}"
}

side_by_side=$(nproc)
rounds=$(((${#targets[@]} + side_by_side - 1) / side_by_side))
echo "${#targets[@]} targets, $seconds s each, $side_by_side side by side: about $((rounds * seconds)) s"
for target in "${targets[@]}" ''; do
    # Before another one there must be room; at the end all must have ended.
    while ((${#running[@]} >= (${#target} ? side_by_side : 1))); do
        ended=0
        wait -n -p pid "${!running[@]}" || ended=$?
        report "${running[$pid]}" "$ended"
        unset "running[$pid]"
    done
    [[ ! $target ]] || start "$target"
done
exit "$status"
