#!/bin/bash
# test-trace-sh.sh: scripts/trace.sh shows what strace saw, nothing left out and nothing added,
# each call beside the reason that `mydocker -v` gives for it; and a peer's calls beside them.
. "$(dirname "$0")/lib.sh"
registry main 5000
trace=$scripts/trace.sh
export MYDOCKER=$mydocker MYDOCKER_TEST_IMAGES=$images
calls() { grep -cE '^[0-9]+ +[a-z0-9_]+\(' "$1"; } # FILE: how many strace has
added() { # what the lines of $out stand for, added up
    awk '/^  [a-z]/ { n += match($0, / x[0-9]+ /) ? substr($0, RSTART + 2, RLENGTH - 3) : 1 } END { print n }' <<<"$out"
}
sum() { sed -nE 's/.*: in all ([0-9]+) .*/\1/p' <<<"$out"; }

# ---------------------------------------------------------------- without arguments

ok 'without an image in the store there is one for the occasion' "$trace"
is '  and the store is as empty as it was' "$(ls "$MYDOCKER_HOME" 2>/dev/null)" ''
like '  a run of busybox true' "$out" '^\$ strace -f -s 200 mydocker run --network none busybox true$'
mydocker pull busybox 2>/dev/null
mydocker run --network none busybox true
strace -f -qq -o "$room/plain" "$mydocker" run --network none busybox true
containers=$(ls -A "$MYDOCKER_HOME/containers")
ok 'with an image in the store' "$trace" --raw "$room/raw"
is '  it leaves no container behind' "$(ls -A "$MYDOCKER_HOME/containers")" "$containers"
is '  the sum is what strace counts' "$(sum)" "$(calls "$room/plain")"
is '  and what the lines are, added up' "$(added)" "$(sum)"
shown=$out
told=$(sed -nE 's/.*\(and ([0-9]+) writes of the explanations.*/\1/p' <<<"$out")
is '  and what --raw kept, with the explanations' "$((told + $(sum)))" "$(calls "$room/raw")"
is '  the steps are in the order of the story' "$(sed -nE 's/^([a-z]+): [0-9]+ calls$/\1/p' <<<"$out" | paste -sd ' ')" \
    'start image clone bundle world power command end'
# Line by line: whatever -v has a reason for, beside the call of that name.
mydocker -v run --network none busybox true 2>"$room/told" </dev/null
missing=''
while IFS=$'\t' read -r who name reason; do
    grep -qF -- "$reason" <<<"$(grep -E "^  $who +$name\(" <<<"$shown")" || missing+="$who $name: $reason"$'\n'
done < <(sed -nE '/^[a-z]+ +<\.\.\./!s/^(engine|child) +([a-z0-9_]+)\(.*[^ ]   ([^ ].*)   \[[a-z]+, [a-z_]+\.rs:[0-9]+\]$/\1\t\2\t\3/p' "$room/told" | sort -u)
is '  every reason stands beside its call' "$missing" ''
ok '    and there are many' test "$(grep -cE '\[[a-z]+, [a-z_]+\.rs:[0-9]+\]$' "$room/told")" -ge 100
like '  alike ones are one line' "$shown" 'mount\("/dev/\{null,zero,full,random,urandom,tty\}", .* x6 '

# ---------------------------------------------------------------- any command

ok 'the seed'\''s own filter' "$trace" --seed --raw "$room/raw"
like '  is in the command' "$out" '^\$ strace -f -s 200 -e trace=clone,setns,mount,pivot_root,chroot,openat,write mydocker'
is '  and nothing else is traced' \
    "$(sed -nE 's/^[0-9]+ +([a-z0-9_]+)\(.*/\1/p' "$room/raw" | sort -u | grep -vxE 'clone|setns|mount|pivot_root|chroot|openat|write')" ''
is '  the lines add up to it' "$(added)" "$(sum)"
like '  with their reasons' "$out" 'pivot_root\("\.", "\."\) = 0 +the container'
try "$trace" run --network none busybox sh -c 'echo "to $1"; echo err >&2; exit 3' sh 'a  b'
is 'a command of one'\''s own: its exit code' "$rc" 3
is '  its standard output is there' "$(grep '^to ' <<<"$out")" 'to a  b'
is '  its standard error, and no explanation on it' "$err" err
is '  the lines add up' "$(added)" "$(sum)"
ok 'a pull, with its helpers' "$trace" pull --platform linux/arm64 test/multi
like '  curl' "$out" '^  engine/curl +execve\("[^"]*/curl", \["curl", "-q"'
is '  the lines add up' "$(added)" "$(sum)"
try "$trace" run --network none no/such-image true
is 'a command that fails: its exit code' "$rc" 125
like '  its error' "$err" '^mydocker: .*no/such-image'
like '  and the way there' "$out" ' engine/curl +execve\('
try "$trace" --unknown
is 'an unknown option' "$rc" 2
try "$trace" --user no-such-user ps
is 'no such user' "$rc $out$err" '2 trace.sh: --user: there is no user no-such-user'
try "$trace" --raw "$room/no/such" ps
is 'no directory for --raw' "$rc $out$err" "2 trace.sh: --raw: there is no directory for $room/no/such"
for option in raw user diff; do
    try "$trace" --$option
    is "--$option without a value" "$rc $out$err" "2 trace.sh: --$option needs a value"
done
try "$trace" -- --raw "$room/none" ps
is 'behind -- nothing is an option of the script' "$([[ -e $room/none ]] && echo made)" ''
like '  the sum, where nothing is told, begins with the C library' "$(tail -n 1 <<<"$out")" "^C library's start-up [0-9]+, "
try "$trace" --diff crun run busybox
is 'a peer beside a command of one'\''s own' "$rc" 2

# An ordinary user: under root's strace with all his ids, under his own with one.
ordinary_users
cp -r "$scripts" "$top/src" "$room/" && chmod -R a+rX "$room/scripts" "$room/src" # within his reach
for user in sub bare; do
    as $user "$mydocker" pull busybox 2>/dev/null
done
ok 'as an ordinary user' "$trace" --user mydocker-sub run --network none busybox true
like '  with newuidmap' "$out" ' engine/newuidmap +execve\('
is '  the lines add up' "$(added)" "$(sum)"
ok 'by an ordinary user' as bare env MYDOCKER="$mydocker" "$room/scripts/trace.sh" run --network none busybox true
is '  the lines add up' "$(added)" "$(sum)"

# ---------------------------------------------------------------- a peer

for peer in crun bwrap runc podman; do
    if ! type $peer >/dev/null 2>&1; then
        skip "beside $peer" 'not installed (scripts/setup.sh bench)'
        continue
    fi
    ok "beside $peer" "$trace" --diff $peer
    counts=$(sed -n '/^ *mydocker /,$p' <<<"$out")
    read -r ours its < <(awk '$1 == "system" { print $3, $4 }' <<<"$counts")
    is "  mydocker's calls are those above" "$ours" "$(sum)"
    is "  and the rows are all of $peer's" "$(awk 'NR > 1 && NF == 3 { n += $3 } END { print n }' <<<"$counts")" "$its"
    ok "  which are more ($ours, $its)" test "$its" -gt "$ours"
    like '  both mount' "$counts" '^mount +[1-9][0-9]* +[1-9][0-9]*$'
done
if type crun >/dev/null 2>&1; then
    ok 'the filter, beside crun' "$trace" --seed --diff crun
    counts=$(sed -n '/^ *mydocker /,$p' <<<"$out" | awk 'NR > 1 && NF == 3 { print $1 }')
    is '  is that of both' "$(grep -vxE 'clone|setns|mount|pivot_root|chroot|openat|write' <<<"$counts")" ''
    like '  and both mount' "$out" '^mount +[1-9][0-9]* +[1-9][0-9]*$'
else
    skip 'the filter, beside crun' 'not installed (scripts/setup.sh bench)'
fi
done_testing
