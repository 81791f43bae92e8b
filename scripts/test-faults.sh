#!/bin/bash
# test-faults.sh: pulls that are cut, killed, starved of disk, or run at the same time:
# the store stays whole, and the next pull succeeds.
. "$(dirname "$0")/lib.sh"
need_images
layouts=$images/layouts
# The image of these tests: busybox below three layers of 12 MB. What is in it, by hash.
umoci unpack --image "$layouts/big:latest" "$room/oracle" >/dev/null 2>&1 || bail 'umoci unpack failed'
whole=$(cd "$room/oracle/rootfs/big" && sha256sum ./*)
rm -rf "$room/oracle"
big=127.0.0.1:5001/test/big
new_store() { MYDOCKER_HOME=$(mktemp -d "$room/store.XXXXXX"); }
sums() { gives "$1" "$whole" run --pull never "${2:-$big}" sh -c 'cd /big && sha256sum ./*'; }
no_rubbish() { is "$1" "$(find "$MYDOCKER_HOME/tmp" -mindepth 1 ! -name '*lock*' 2>/dev/null)" ''; }
helpers() { pgrep -x 'curl|tar|igzip|pigz|gzip|zstd|openssl|sha256sum|mydocker'; }
no_helpers() { ! helpers; }
ranges() { jq -r 'select(.path | contains("/blobs/")) | .headers.range // empty' "$room/log"; }

# ---------------------------------------------------------------- a registry that stops

serve() { # ARGS-OF-stand-in...
    rm -f "$room/log"
    stand_in 5001 --layouts "$layouts" --log "$room/log" "$@"
}
for behaviour in honour ignore refuse; do
    new_store
    # A range that is ignored or refused means a start from zero: cut once, then whole.
    times=2
    [[ $behaviour == honour ]] || times=1
    serve --cut 5000000 --cut-times $times --range $behaviour
    ok "cut in mid-blob, ranges: $behaviour" mydocker pull $big
    sums "  and whole ($behaviour)"
    no_rubbish "  and nothing else in the store ($behaviour)"
    like "  a range was asked for ($behaviour)" "$(ranges)" '^bytes=[1-9][0-9]*-$'
    stop "$stand_in_pid"
done
new_store
serve --cut 5000000 --cut-times 1 --stall 2
ok 'held up for two seconds, then cut' mydocker pull $big
stop "$stand_in_pid"
new_store
manifest=$layouts/big/blobs/sha256/$(jq -r '.manifests[0].digest[7:]' "$layouts/big/index.json")
serve --status 503 "$(jq -r '.layers[2].digest' "$manifest")" 2
ok 'two answers of 503 to a layer, then it works' mydocker pull $big
stop "$stand_in_pid"

# Cut for good: an error, and a later pull goes on where this one ended.
new_store
serve --cut 9000000 --range refuse
limit=120
fails 'cut every time: an error' 125 'blob|sha256|transfer|closed' mydocker pull $big
is 'no layer and no image of it in the store' "$(find "$MYDOCKER_HOME/images" -mindepth 1 2>/dev/null)" ''
stop "$stand_in_pid"
serve
ok 'and the next pull succeeds' mydocker pull $big
sums '  and is whole'
no_rubbish '  and nothing else in the store'
stop "$stand_in_pid"

# A kill in mid-transfer keeps what came, and the next pull asks for the rest.
new_store
serve --slow 4000000
mydocker pull $big 2>/dev/null &
engine=$!
eventually 100 sh -c "find '$MYDOCKER_HOME/tmp' -size +2000k | grep -q ."
kill -KILL "$engine"
wait "$engine" 2>/dev/null
ok 'after kill -9 no helper goes on' eventually 50 no_helpers
stop "$stand_in_pid"
serve
ok 'the next pull succeeds' mydocker pull $big
like '  with the rest of what had begun' "$(ranges)" '^bytes=[1-9][0-9]*-$'
sums '  and is whole'
no_rubbish '  and nothing else in the store'
stop "$stand_in_pid"

# What lies there from a pull that died may be rubbish (a crash of the machine): it must
# not stand in the way of the next.
new_store
serve --slow 4000000
mydocker pull $big 2>/dev/null &
engine=$!
eventually 100 sh -c "find '$MYDOCKER_HOME/tmp' -size +1000k | grep -q ."
kill -KILL "$engine"
wait "$engine" 2>/dev/null
eventually 50 no_helpers
find "$MYDOCKER_HOME/tmp" -type f -size +100k | while read -r file; do
    size=$(stat -c %s "$file")
    truncate -s 0 "$file"
    truncate -s "$size" "$file"
done
stop "$stand_in_pid"
serve
try mydocker pull $big
ok 'the pull after a crash that left zeros (or the one after it)' mydocker pull $big
sums '  is whole'
no_rubbish '  and nothing else in the store'

# ---------------------------------------------------------------- killed at any moment

# 16 moments spread over the length of a pull, each in a store of its own.
new_store
start=$(date +%s%N)
mydocker pull $big 2>/dev/null
length=$((($(date +%s%N) - start) / 1000)) # microseconds
survived=0
for ((i = 1; i <= 16; i++)); do
    new_store
    mydocker pull $big 2>/dev/null &
    engine=$!
    sleep "$(part $i 17 $length)"
    kill -KILL "$engine" 2>/dev/null
    wait "$engine" 2>/dev/null
    try mydocker pull $big
    [[ $rc == 0 ]] || { note "moment $i of 16, the next pull" "$err"; continue; }
    try run --pull never $big sh -c 'cd /big && sha256sum ./*'
    [[ $rc == 0 && $out == "$whole" ]] || { note "moment $i of 16, the image" "$rc $out $err"; continue; }
    # What the dead one left is cleared by the next that finds nobody else at work, and a
    # helper of the dead one may have been at work for a moment longer.
    try mydocker pull $big
    [[ $rc == 0 && -z $(find "$MYDOCKER_HOME/tmp" -mindepth 1 ! -name '*lock*') ]] ||
        { note "moment $i of 16, rubbish" "$(find "$MYDOCKER_HOME/tmp")"; continue; }
    survived=$((survived + 1))
    rm -rf "$MYDOCKER_HOME"
done
is 'kill -9 at 16 moments of a pull: the next one succeeds' $survived 16
# The last moments are short: what an engine leaves that dies while it puts the image together.
new_store
mydocker pull $big 2>/dev/null
mkdir "$MYDOCKER_HOME/tmp/image-000000000000"
: >"$MYDOCKER_HOME/tmp/image-000000000000/manifest"
ln -s ../images/none "$MYDOCKER_HOME/tmp/reference-000000000000"
mydocker pull $big 2>/dev/null
no_rubbish 'an image that was never put together is cleared away by the next pull'
# A polite end: SIGINT and SIGTERM.
for signal in INT TERM; do
    new_store
    env --default-signal "$mydocker" pull $big 2>/dev/null &
    engine=$!
    sleep "$(part 1 3 $length)"
    kill -$signal "$engine"
    wait "$engine"
    ok "SIG$signal ends a pull, and its helpers with it" eventually 50 no_helpers
    ok '  and the next pull succeeds' mydocker pull $big
done
stop "$stand_in_pid"
serve

# A helper that dies: tar when it unpacks, the others at once.
for helper in tar curl openssl igzip; do
    new_store
    rm -rf "$room/tools"
    mkdir "$room/tools"
    printf '#!/bin/sh\ncase "%s $*" in tar*--version*) exec /bin/tar "$@" ;; esac\nkill -KILL $$\n' $helper >"$room/tools/$helper"
    chmod 755 "$room/tools/$helper"
    fails "a $helper that is killed" 125 "$helper" env PATH="$room/tools:$PATH" "$mydocker" pull $big
    ok '  no helper goes on' eventually 50 no_helpers
    ok '  and the next pull succeeds' mydocker pull $big
done

# ---------------------------------------------------------------- a full disk

for size in 8m 30m 45m; do # no room for a blob, for the layers, for the last of them
    MYDOCKER_HOME=$room/small
    mkdir -p "$MYDOCKER_HOME"
    mount -t tmpfs -o "size=$size,mode=700" none "$MYDOCKER_HOME"
    ok "a disk of $size: busybox fits" mydocker pull 127.0.0.1:5001/library/busybox
    before=$(store_list "$MYDOCKER_HOME")
    fails '  the big image does not' 125 'no space left|disk full' mydocker pull $big
    is '  and nothing half-made stays but blobs and layers that are whole' \
        "$(diff <(echo "$before") <(store_list "$MYDOCKER_HOME") | grep -vE '^[0-9]|layers/[0-9a-f]{64}$|tmp/[0-9a-f]{64}\.blob$')" ''
    gives '  and busybox still runs' here run --pull never 127.0.0.1:5001/library/busybox echo here
    mount -o remount,size=200m "$MYDOCKER_HOME"
    ok '  with more room the pull succeeds' mydocker pull $big
    sums '  and is whole'
    umount "$MYDOCKER_HOME"
done

# ---------------------------------------------------------------- at the same time

new_store
rm -f "$room/log"
engines=()
for i in 1 2 3 4; do
    mydocker pull $big 2>"$room/err.$i" &
    engines+=($!)
done
good=0
for engine in "${engines[@]}"; do
    wait "$engine" && good=$((good + 1))
done
is 'four pulls of one image at once all succeed' $good 4
config=$(jq -r '.config.digest' "$manifest")
is '  and each layer was fetched once' "$(jq -r 'select(.method == "GET") | .path | select(contains("/blobs/"))' "$room/log" | grep -vc "$config")" 4
sums '  and it is whole'
no_rubbish '  and nothing else in the store'
new_store
engines=()
for image in big layers repeat:up repeat:down many:40 multi; do
    mydocker pull "127.0.0.1:5001/test/$image" 2>/dev/null &
    engines+=($!)
done
good=0
for engine in "${engines[@]}"; do
    wait "$engine" && good=$((good + 1))
done
is 'six images that share a layer, at once' $good 6
for image in big layers repeat:up many:40; do
    gives "  $image runs" here run --pull never "127.0.0.1:5001/test/$image" echo here
done
# One that waits for another that is killed goes on by itself.
new_store
stop "$stand_in_pid"
serve --slow 6000000
mydocker pull $big 2>/dev/null &
first=$!
eventually 100 pgrep -x curl
mydocker pull $big 2>"$room/err" &
second=$!
sleep 0.5
kill -KILL $first
wait $first 2>/dev/null
wait $second
is 'one that waits for another that is killed ends well' $? 0
sums '  and it is whole'
no_rubbish '  and nothing else in the store'
done_testing
