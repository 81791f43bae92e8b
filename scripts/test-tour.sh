#!/bin/bash
# test-tour.sh: the sections of README.md that `make tour` writes are what the program says now,
# and account for every system call. (Which of them are required is tried in test-fail-closed.sh.)
. "$(dirname "$0")/lib.sh"
need_images
readme=$top/README.md
tour() { /usr/bin/python3 "$scripts/tour.py" "$@"; }
made=$room/tour
mkdir "$made"

# ---------------------------------------------------------------- not stale

try env MYDOCKER="$mydocker" MYDOCKER_TEST_IMAGES="$images" "$scripts/tour.sh" --check --keep "$made"
report $((rc == 0)) 'README.md is what the program says now (else: make tour)' || tell_try
for section in run dns pull; do
    ok "section $section was made" test -s "$made/$section"
done
# What `put` writes, whatever README.md holds.
cp "$readme" "$room/fresh.md"
ok 'the sections are put between their markers' tour put "$room/fresh.md" "$made"
ok '  and are fresh then' tour check "$room/fresh.md" "$made"
cp "$room/fresh.md" "$room/again.md"
tour put "$room/again.md" "$made"
ok '  once more changes nothing' cmp "$room/fresh.md" "$room/again.md"
outside() { awk '/^<!-- tour:/ { inside = 1 } !inside; /^<!-- \/tour:/ { inside = 0 }' "$1"; }
is '  and what stands outside is as it was' "$(outside "$room/fresh.md")" "$(outside "$readme")"

stale() { # DESCRIPTION REGEX SED-SCRIPT: a README.md with that change is stale
    sed -E "$3" "$room/fresh.md" >"$room/stale.md"
    if cmp -s "$room/fresh.md" "$room/stale.md"; then
        report 0 "$1: the change changes nothing"
        return
    fi
    try tour check "$room/stale.md" "$made"
    [[ $rc == 1 ]] && grep -qE -- "$2" <<<"$out"
    report $((!$?)) "$1" || tell_try
}
stale 'stale: another reason' 'tour:run is stale' '/^\| world \| child \| `pivot_root/s/tree/trees/'
stale 'stale: a row is missing' 'tour:run is stale' '/^\| world \| child \| `setsid/d'
stale 'stale: a row too many' 'tour:run is stale' '/^\| world \| child \| `setsid/p'
stale 'stale: required, not tolerated' 'tour:run is stale' '/`umask\(/s/tolerated/required/'
stale 'stale: another function' 'tour:run is stale' 's/`step_into`/`step`/'
stale 'stale: another count' 'the rows of the child' '/"dev\/\{null,/s/\| 6 \|/| 7 |/'
stale 'stale: a path less is masked' 'tour:run is stale' 's/,proc\/kcore//'
stale 'stale: a limit has another reason' 'tour:run is stale' '/pids\.max/s/fork bombs/forks/'
stale 'stale: another sum' 'is not 1[0-9]*$' 's/in all [0-9]+\./in all 100./'
stale 'stale: an octet of a message' 'tour:dns is stale' 's/^   16  04 64/   16  04 63/'
stale 'stale: a digest' 'tour:pull is stale' 's/(Docker-Content-Digest: sha256:)./\1x/'
stale 'stale: no markers' 'no markers' '/tour:dns/d'

# What depends on the machine may be otherwise, as long as the sums are right: no cgroups, and
# everything there that is masked.
sed -E '/^\| [a-z]+ \| (engine|child) \|.* \| [0-9]+\* \|/d
    /^\| world \|/s/ \| [0-9]+~ \|/ | 9 |/; s/^This machine: cgroups of version .*/This machine: cgroups of no version./' "$room/fresh.md" >"$room/other.md"
like 'there are such rows' "$(diff "$room/fresh.md" "$room/other.md")" '~ \|'
rows() { # ENGINE|CHILD: the calls of its rows
    awk -F' [|] ' -v who="$1" '/^[|] [a-z]+ [|] (engine|child) / && $2 == who { n += $(NF - 4) } END { print n + 0 }' "$room/other.md"
}
engine=$(rows engine) child=$(rows child)
read -r start_up command < <(sed -nE 's/^Engine .* start-up ([0-9]+), the command ([0-9]+): .*/\1 \2/p' "$room/fresh.md")
sed -i -E "s/^Engine .*/Engine $engine, child $child, C library's start-up $start_up, the command $command: in all $((engine + child + start_up + command))./" "$room/other.md"
ok '  and others, as of another machine, are not stale' tour check "$room/other.md" "$made"
sed -i -E '/^\| world \| child \| `pivot_root/s/tree/trees/' "$room/other.md"
try tour check "$room/other.md" "$made"
like '  but other rows are held to it' "$rc $out" '^1 .*pivot_root|tour:run is stale'

# ---------------------------------------------------------------- every call is accounted for

table=$(grep -E '^\| [a-z]+ \| (engine|child) \|' "$made/run")
is 'every row has a reason' "$(awk -F' [|] ' '$(NF - 3) ~ /^ *$/' <<<"$table")" ''
unknown=''
while read -r file function; do
    grep -qE "fn $function\b" "$top/src/$file" || unknown+="$file $function "
done < <(sed -nE 's/.* ([a-z_]+\.rs) `([a-z0-9_]+)` \|$/\1 \2/p' <<<"$table" | sort -u)
is 'every source and function is there' "$unknown" ''
is '  in every row' "$(grep -cvE ' [a-z_]+\.rs `[a-z0-9_]+` \|$' <<<"$table")" 0
is 'every row has a page to read' "$(grep -vE ' \| ([a-z0-9_-]+\([1-8]\)(, )?|\[overlayfs\]\([^)]*\))+ \| [a-z_]+\.rs ' <<<"$table")" ''
registry main 5000
mydocker pull busybox 2>/dev/null
mydocker run --network none busybox true
# With the signals' default actions, as the tour itself: whoever runs a CI may have left some ignored.
/usr/bin/python3 -c 'import os, sys; sys.path.insert(0, sys.argv[1]); import tour
tour.default_signals(); os.execvp(sys.argv[2], sys.argv[2:])' "$scripts" \
    strace -f -qq -o "$room/strace" "$mydocker" run --network none busybox true
counted=$(grep -cE '^[0-9]+ +[a-z0-9_]+\(' "$room/strace")
like 'the sum is what strace counts' "$(<"$made/run")" "^Engine .*: in all $counted\\.$"
ok "  and that is at most 250 ($counted)" test "$counted" -le 250
# Another store, another path of the program, a caller with other descriptors: the same text.
mkdir -p "$room/another/place"
cp "$mydocker" "$room/another/place/mydocker"
try env MYDOCKER_HOME="$room/another/store-of-a-longer-name" "$room/another/place/mydocker" run --rm --network none busybox true
try env MYDOCKER_HOME="$room/another/store-of-a-longer-name" /usr/bin/python3 "$scripts/tour.py" run "$room/another/place/mydocker" \
    7</dev/null 8</etc/passwd
is 'made anew from another store it is the same text' "$out" "$(<"$made/run")"
unlike 'no secret is in the wire of a pull' "$(<"$made/pull")" 'eyJ|Bearer [A-Za-z0-9]+[^=a-z]|Basic [A-Za-z0-9]'
is '  where there were some' "$(grep -c 'Bearer \[secret\]' "$made/pull")" 4

done_testing
