#!/bin/bash
# fuzz.sh [SECONDS]: looks for inputs that the DNS modules cannot stand, for a minute unless told otherwise.
# Three targets at once (scripts/fuzz/src), each guided by the branches that an input reaches: libFuzzer, built
# from source by cargo and a C++ compiler, on stable Rust. It starts with real messages (scripts/fuzz/messages.hex)
# and what earlier runs found new in scripts/fuzz/corpus, where an input that breaks something is kept, too.
set -euo pipefail
fuzz=$(cd "$(dirname "$0")/fuzz" && pwd)
seconds=${1:-60}
[[ $# -le 1 && $seconds =~ ^[1-9][0-9]{0,5}$ ]] || { echo 'usage: fuzz.sh [SECONDS]' >&2; exit 2; }
"$fuzz/../setup.sh" fuzz
corpus=$fuzz/corpus
targets=(messages view cache)

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

mkdir -p "$corpus"/seeds "${targets[@]/#/$corpus/}"
number=0
while read -r hex; do
    [[ $hex != '#'* ]] || continue
    number=$((number + 1))
    printf '%b' "$(fold -w 2 <<<"$hex" | sed 's/^/\\x/' | tr -d '\n')" >"$corpus/seeds/$number"
done <"$fuzz/messages.hex"

declare -A running
end_all() { kill "${running[@]}" 2>/dev/null; }
trap 'end_all; exit 130' INT TERM HUP
for target in "${targets[@]}"; do
    seeds=("$corpus/seeds")
    [[ $target != cache ]] || seeds=() # its inputs are operations
    # An input of more than ten seconds, or of more than half a gigabyte, is one that breaks something.
    "$built/$target" -max_total_time="$seconds" -max_len=65535 -timeout=10 -rss_limit_mb=512 -report_slow_units=60 \
        -artifact_prefix="$corpus/$target/found-" "$corpus/$target" "${seeds[@]}" >"$corpus/$target.log" 2>&1 &
    running[$target]=$!
done
status=0
for target in "${targets[@]}"; do
    log=$corpus/$target.log
    if wait "${running[$target]}"; then
        inputs=$(sed -n 's/^Done \([0-9]*\) runs in \([0-9]*\) second.*/\1 inputs in \2 s/p' "$log")
        branches=$(grep -o 'cov: [0-9]*' "$log" | tail -n 1)
        echo "$target: $inputs, ${branches#cov: } branches reached, nothing found"
        continue
    fi
    status=1
    input=$(sed -n 's/.*Test unit written to //p' "$log" | tail -n 1)
    # One that an earlier run found is not written again.
    [[ $input ]] || input=$(sed -n 's/^Running: //p' "$log" | tail -n 1)
    echo "$target: FOUND ${input:-something (see $log)}"
    grep -A 3 -E -m 1 'panicked at|ERROR: libFuzzer' "$log" | sed '/^stack backtrace/d; s/^/    /' || true
    echo "    again: $built/$target ${input:-}"
done
exit "$status"
