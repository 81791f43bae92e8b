#!/bin/bash
# test.sh [FILE...]: the unit tests, then each scripts/test-*.sh (or those given alone), two side by side: each is in
# namespaces of its own.
# Of each script only failures and a summary are shown, all of it with V=1. The last line
# is `N passed, N failed, N skipped`; the exit code is 1 when anything failed.
set -uo pipefail
scripts=$(cd "$(dirname "$0")" && pwd)
top=${scripts%/*}
((EUID == 0)) || { echo "test.sh: the tests run as root: they make namespaces and users" >&2; exit 1; }
"$scripts/setup.sh" test || exit 1

passed=0 failed=0 skipped=0
declare -A running=() # the file of each pid
declare -A started=()
logs=$(mktemp -d /tmp/mydocker-logs.XXXXXX) || exit 1
MYDOCKER_TEST_IMAGES=$(mktemp -d /tmp/mydocker-images.XXXXXX) || exit 1
export MYDOCKER_TEST_IMAGES
clean_up() {
    kill "${!running[@]}" 2>/dev/null # a script has its own trap, and ends all it started
    wait "${!running[@]}" 2>/dev/null
    rm -rf "$logs" "$MYDOCKER_TEST_IMAGES"
}
trap clean_up EXIT
trap 'exit 130' INT TERM HUP

# Adds up what cargo says of each of its test binaries.
unit_tests() {
    echo "== cargo test"
    local status line pid log=$logs/cargo
    (cd "$top" && cargo test --locked 2>&1) >"$log" &
    pid=$!
    running[$pid]=cargo
    wait "$pid"
    status=$?
    unset "running[$pid]"
    local before=$failed
    while read -r line; do
        [[ $line =~ ([0-9]+)\ passed\;\ ([0-9]+)\ failed\;\ ([0-9]+)\ ignored ]] || continue
        passed=$((passed + BASH_REMATCH[1]))
        failed=$((failed + BASH_REMATCH[2]))
        skipped=$((skipped + BASH_REMATCH[3]))
        echo "   $line"
    done < <(grep '^test result:' "$log")
    if ((status != 0)); then
        ((failed > before)) || failed=$((failed + 1)) # it did not even build
        cat "$log"
    fi
}

start() { # FILE
    # No script takes minutes; one that hangs must not take the whole run with it.
    timeout -k 20 600 bash "$1" >"$logs/${1##*/}" 2>&1 &
    running[$!]=$1
    started[$!]=$SECONDS
}

# Waits for one of those that run, and says how it went.
finish() {
    local pid status name log seconds
    wait -n -p pid "${!running[@]}"
    status=$?
    name=${running[$pid]##*/} log=$logs/${running[$pid]##*/} seconds=$((SECONDS - started[$pid]))
    unset "running[$pid]"
    echo "== $name"
    local oks not_oks skips plan
    not_oks=$(grep -c '^not ok ' "$log")
    skips=$(grep -c '^ok .*# SKIP' "$log")
    oks=$(($(grep -c '^ok ' "$log") - skips))
    plan=$(sed -n 's/^1\.\.\([0-9]*\)$/\1/p' "$log" | tail -n 1)
    passed=$((passed + oks)) failed=$((failed + not_oks)) skipped=$((skipped + skips))
    if [[ ${V-} == 1 ]]; then
        cat "$log"
    else
        # A failure with its diagnostics; a comment after an `ok` is not shown.
        awk '/^ok /{show=0} /^not ok |^Bail out!/{show=1} /# SKIP|^# /{print; next} show' "$log"
    fi
    if [[ $plan != $((oks + not_oks + skips)) ]]; then
        echo "not ok - $name ended before its plan (exit $status, planned ${plan:-nothing}, ran $((oks + not_oks + skips)))"
        [[ ${V-} == 1 ]] || tail -n 15 "$log" | sed 's/^/#   /'
        failed=$((failed + 1))
    elif ((status != 0 && not_oks == 0)); then
        echo "not ok - $name exited with $status"
        failed=$((failed + 1))
    fi
    echo "   $oks passed, $not_oks failed, $skips skipped in $seconds s"
}

if (($#)); then
    files=("$@")
else
    files=("$scripts"/test-*.sh)
    unit_tests
fi
[[ -x ${MYDOCKER:-$top/mydocker} ]] || make -C "$top" || exit 1
"$scripts/images.sh" "$MYDOCKER_TEST_IMAGES" >"$logs/images" 2>&1 || { cat "$logs/images"; echo "test.sh: images.sh failed" >&2; exit 1; }
for file in "${files[@]}"; do
    [[ -e $file ]] || { echo "test.sh: no $file" >&2; failed=$((failed + 1)); continue; }
    ((${#running[@]} < 2)) || finish
    start "$file"
done
while ((${#running[@]})); do finish; done
echo
echo "$passed passed, $failed failed, $skipped skipped"
exit $((failed > 0))
