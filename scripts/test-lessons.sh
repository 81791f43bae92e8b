#!/bin/bash
# test-lessons.sh: scripts/lessons: each holds here, has its parts and its length, fails
# when the world is another one, and leaves nothing behind, also when it is killed.
. "$(dirname "$0")/lib.sh"
export MYDOCKER=$mydocker
limit=180
# A copy that may be changed, and that an ordinary user can reach.
cp -r "$scripts" "$room/scripts"
lessons=$room/scripts/lessons
left() { find /var/tmp -maxdepth 1 -name 'mydocker-lesson.*' -newer "$room/begun" | sort; }
touch "$room/begun"
remember

# ---------------------------------------------------------------- their form

is 'there are eight' "$(cd "$lessons" && echo [0-9]*.sh | wc -w)" 8
for lesson in "$lessons"/[0-9]*.sh; do
    name=${lesson##*/}
    ok "$name has under 40 lines" test "$(wc -l <"$lesson")" -lt 40
    is "$name has a question, an answer, and an exercise, in this order" \
        "$(grep -oE '^(question|answer|now_you) ' "$lesson" | xargs)" 'question answer now_you'
    like "$name cites a manual page, or another source" "$(<"$lesson")" '[a-z]\([1-8]\)|RFC [0-9]+|image-spec'
done

# ---------------------------------------------------------------- they hold

start=$SECONDS
try "$lessons/run.sh"
took=$((SECONDS - start))
is "run.sh: all of them hold ($took s)" "$rc ${out##*$'\n'}" '0 8 of 8 lessons hold'
is '  each has shown a trace' "$(grep -c '^IN THE TRACE' <<<"$out" | awk '{print ($1 >= 8)}')" 1
unlike '  nothing is said to be wrong' "$out" 'WRONG|failed'
nothing_remains '  nothing remains'
is '  nor on disk' "$(left)" ''
for lesson in "$lessons"/[0-9]*.sh; do
    try "$lesson"
    is "${lesson##*/} alone holds" "$rc $(grep -cE '^(==== Lesson|IN THE TRACE|ANSWER|NOW YOU)' <<<"$out" | awk '{print ($1 >= 4)}')" '0 1' || tell_try
done
nothing_remains 'nothing remains'
is '  nor on disk' "$(left)" ''
try env -C "$room" scripts/lessons/03-root.sh
is 'by a relative path: it has its title' "$rc $(grep -c '^==== Lesson 3: a root of one.s own' <<<"$out")" '0 1' || tell_try
is '  and no complaint' "$err" ''
try env MYDOCKER_HOME=/nonexistent MYDOCKER_MIRROR=http://127.0.0.1:9 http_proxy=http://127.0.0.1:9 "$lessons/01-hostname.sh"
is "the caller's own settings do not matter" $rc 0
try bash -c 'umask 077; exec "$1"' sh "$lessons/04-ids.sh"
is '  nor does the umask' $rc 0 || tell_try

# ---------------------------------------------------------------- as an ordinary user

ordinary_users
try as sub env MYDOCKER="$mydocker" "$lessons/04-ids.sh"
is '04-ids.sh as an ordinary user' $rc 0 || tell_try
like '  it is about him' "$out" "holds: outside it is $(id -u mydocker-sub),"
try as bare env MYDOCKER="$mydocker" "$lessons/04-ids.sh"
is '  one without subordinate ids is told how to get some' "$rc $(grep -c 'usermod --add-subuids' <<<"$err")" '1 1'
try as sub env MYDOCKER="$mydocker" "$lessons/01-hostname.sh"
is 'the others say that they need root' "$rc $(grep -c '^01-hostname.sh needs root' <<<"$err")" '1 1'
nothing_remains 'nothing remains'
is '  nor on disk' "$(left)" ''

# ---------------------------------------------------------------- they can fail

# Worlds that differ by one edit of a lesson: there it says that its claim does not hold.
# wrong LESSON CLAIM SED
worlds=$room/worlds/lessons
mkdir -p "$worlds"
ln -s "$scripts"/{bed,setup}.sh "$room/worlds/"
cp "$lessons"/{lesson,run}.sh "$worlds/"
claims=()
wrong() {
    local world
    printf -v world '%s/%02d-%s.sh' "$worlds" ${#claims[@]} "$1"
    sed "$3" "$lessons/$1.sh" >"$world"
    chmod 755 "$world"
    ! cmp -s "$lessons/$1.sh" "$world" || bail "this edits nothing in $1: $3"
    claims+=("$2")
}
wrong 01-hostname 'inside it is mars' 's/--hostname mars/--hostname pluto/'
wrong 01-hostname 'outside it is what it was' 's/^inside=.*/&; hostname mars/'
wrong 02-pid1 'inside it is number 1' 's/busybox sh -c "$inside"/busybox time sh -c "$inside"/'
wrong 02-pid1 'kill -9 from outside killed it' 's/exec sleep 99/exec sleep 3/; s/^show kill -9/show kill -0/'
wrong 03-root 'out of the bare chroot: the secret is read' 's/chdir "\.\.[./]*"/chdir "."/'
wrong 03-root 'not out of the container: no secret' 's/^answer/shown=$bare\n&/'
wrong 04-ids 'the file of user 1 belongs' 's/chown 1:1/chown 2:2/'
wrong 04-ids 'and closed to its root' 's/:\/shadow:ro/:\/shadow:ro -u 0/; s/cat \/shadow/true/'
wrong 05-memory 'killed, and from outside it is 137' 's/--memory 64m/--memory 640m/'
wrong 06-layers '.wh.group in the archive' 's/\.wh\.group$/group/'
wrong 06-layers 'the next container has passwd again' 's/^show mydocker run --rm --network none layered/& rm \/etc\/passwd -f/'
wrong 07-network 'inside there is tap0' 's/mydocker run --rm busybox/mydocker run --rm --network none busybox/'
wrong 07-network 'two processes have called connect(2)' 's/mydocker run --rm busybox/mydocker run --rm --network host busybox/'
wrong 08-dns 'the last four octets are 192.0.2.1' 's/192\.0\.2\.1 router/192.0.2.7 router/'
wrong 08-dns 'QR is 1, RCODE is 0' 's/0100 0001/0900 0001/'
try "$worlds/run.sh"
is 'in other worlds none of them holds' "$rc ${out##*$'\n'}" "1 0 of ${#claims[@]} lessons hold"
for i in "${!claims[@]}"; do
    part=$(awk -v "of=$i" '/^==== Lesson / {show = ($3 + 0 == of)} show' <<<"$out")
    like "  $(head -n 1 <<<"$part")" "$part" "^  WRONG: ${claims[i]//[().]/.}"
done
nothing_remains '  nothing remains'
is '  nor on disk' "$(left)" ''

# Whatever goes wrong is counted.
sed -i 's/--hostname mars/--hostname pluto/' "$lessons/01-hostname.sh"
sed -i 's/^now_you.*/exit 0/' "$lessons/08-dns.sh"
try "$lessons/run.sh"
is 'run.sh: one that is wrong and one that ends before its end' "$rc ${out##*$'\n'}" '1 6 of 8 lessons hold'

# An engine that does nothing.
printf '#!/bin/sh\nexit 0\n' >"$room/nothing"
chmod 755 "$room/nothing"
try env MYDOCKER="$room/nothing" "$lessons/run.sh"
is 'with an engine that does nothing none holds' "$rc ${out##*$'\n'}" '1 0 of 8 lessons hold'
nothing_remains 'nothing remains'
is '  nor on disk' "$(left)" ''

# ---------------------------------------------------------------- killed half way

# halfway LESSON REGEX COMMAND...: starts it, until it has printed that and sleeps; its pid is $half.
halfway() {
    sed -i 's/^answer.*/sleep 1000\n&/' "$lessons/$1"
    "${@:3}" "$lessons/$1" >"$room/half" 2>&1 &
    half=$!
    eventually 200 grep -q "$2" "$room/half" || note 'it does not come so far' "$(cat "$room/half")"
}
# In the middle of lesson 5 a container of it runs, and has its cgroup.
for signal in TERM INT HUP; do
    halfway 05-memory.sh oom_kill env --default-signal
    cgroup=$(grep oom_kill "$room/half" | grep -oE '^/sys/fs/cgroup/[a-z/]*mydocker/[0-9a-f]{12}' | head -n 1)
    ok "SIG$signal: its cgroup is known" test -d "$cgroup"
    kill -s $signal $half
    wait $half
    is '  it ends' $? 130
    ok '  its cgroup is gone' test ! -e "$cgroup"
    nothing_remains '  nothing else is'
    is '  nor on disk' "$(left)" ''
done
halfway 04-ids.sh newgidmap as sub env MYDOCKER="$mydocker"
kill "$(pgrep -o -u mydocker-sub 04-ids.sh)"
wait $half
is 'an ordinary user: SIGTERM ends it' $? 130
nothing_remains '  nothing is left'
is '  nor on disk' "$(left)" ''
done_testing
