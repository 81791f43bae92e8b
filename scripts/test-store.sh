#!/bin/bash
# test-store.sh: ps, rm, images, rmi, names, --help and --version, and what --rm leaves.
. "$(dirname "$0")/lib.sh"
registry main 5000
containers=$MYDOCKER_HOME/containers

# ---------------------------------------------------------------- nothing there yet

gives 'ps of an empty store' 1 sh -c 'mydocker ps | wc -l'
gives 'images of an empty store' 1 sh -c 'mydocker images | wc -l'
like 'the columns of images' "$(mydocker images)" '^REPOSITORY +TAG +IMAGE ID +CREATED +SIZE$'
like 'the columns of ps' "$(mydocker ps -a)" '^CONTAINER ID +IMAGE +COMMAND +CREATED +STATUS +NAMES$'
fails 'rm of what is not there' 125 'nothing' mydocker rm nothing
fails 'rmi of what is not there' 125 'nothing' mydocker rmi nothing

# ---------------------------------------------------------------- containers

remember
ok 'a container with a name' mydocker run --network none --name web busybox sh -c 'exit 0'
exits 'one that fails' 3 mydocker run --network none busybox sh -c 'exit 3'
fails 'a name that is taken' 125 'web' mydocker run --network none --name web busybox true
is '  makes no container' "$(find "$containers" -mindepth 1 -maxdepth 1 -type d | wc -l)" 2
for bad in '' / ../x a/b -x .x 'a b' $'a\nb' "$(printf 'x%.0s' {1..300})"; do
    fails "not a name: ${bad@Q}" 125 'name' mydocker run --network none --name "$bad" busybox true
done
mydocker run --network none --name runs busybox sleep 1000 &
engine=$!
eventually 100 pgrep -x sleep
gives 'ps shows what runs' runs sh -c 'mydocker ps | awk "NR > 1 {print \$NF}"'
try mydocker ps -a
is 'ps -a shows all' "$(wc -l <<<"$out")" 4
like '  one that runs' "$out" '^[0-9a-f]{12} +busybox.* +"?sleep 1000"? .*Up .* runs$'
like '  one that ended' "$out" '^[0-9a-f]{12} +busybox.* Exited \(0\) .*web$'
like '  and its exit code' "$out" 'Exited \(3\)'
fails 'rm of one that runs' 125 'run' mydocker rm runs
fails 'its name is taken' 125 'runs' mydocker run --network none --name runs busybox true
ok 'it still runs' pgrep -x sleep
ok 'rm -f ends it' mydocker rm -f runs
wait "$engine"
is '  as kill -9 would' $? 137
ok '  nothing of it runs' eventually 20 eval '! pgrep -x sleep'
# A pid 1 that has chrooted shows no mounts of the container's any more.
mydocker run --network none --name moved busybox sh -c \
    'mkdir /n /n/bin && cp /bin/busybox /n/bin/sleep && exec chroot /n /bin/sleep 1000' &
engine=$!
eventually 100 eval 'pgrep -x sleep && [[ ! -s /proc/$(pgrep -x sleep)/mountinfo ]]' >/dev/null
ok 'rm -f of one that has changed its root' mydocker rm -f moved
wait "$engine"
is '  ends it' $? 137
ok '  nothing of it runs' eventually 20 eval '! pgrep -x sleep'
# What is mounted in a container's directory, as README says for crun, is not the container's.
mydocker run --network none --name mounted busybox true
mkdir "$room/precious" && touch "$room/precious/file"
mount --bind "$room/precious" "$containers/$(readlink "$containers/mounted")/rootfs"
fails 'rm of one with something mounted on its rootfs' 125 'mounted on .*/rootfs.*umount' mydocker rm mounted
is '  which is left alone' "$(ls "$room/precious")" file
like '  and so is the container' "$(mydocker ps -a)" ' mounted$'
umount "$containers/$(readlink "$containers/mounted")/rootfs"
ok '  after umount it can be removed' mydocker rm mounted
ok 'rm by name' mydocker rm web
ok 'the name is free' mydocker run --network none --name web busybox true
id=$(readlink "$containers/web")
ok 'rm by id' mydocker rm "${id##*/}"
ok 'rm of the rest, several at once' sh -c 'mydocker run --network none --name x1 busybox true; mydocker rm x1 $(mydocker ps -a | awk "NR > 1 {print \$1}" | grep -v "$(basename "$(readlink "$1/x1")")")' sh "$containers"
is 'no container is left' "$(ls -A "$containers")" ''
ok 'rm of a container that was made unremovable' mydocker run --network none --name hard busybox sh -c \
    'mkdir -p /a/b && touch /a/b/c && chmod 0 /a/b /a; mkdir /$(printf "%0200d" 0)'
ok '  is possible' mydocker rm hard
for odd in ../../x .. . / '' 'a/b'; do
    fails "rm ${odd@Q} is refused" 125 '.' mydocker rm -f "$odd"
done
ok 'the store is still there' test -d "$MYDOCKER_HOME/images"
nothing_remains 'nothing remains'
ok 'an id may be shortened' sh -c 'mydocker run --network none --name short busybox true; id=$(readlink "$1/short"); id=${id##*/}; mydocker rm $(printf %.6s "$id")' sh "$containers"

# ---------------------------------------------------------------- images

ok 'more images' mydocker pull test/many:40
ok 'on the same layer' mydocker pull test/repeat:up
ok 'of another registry' mydocker pull 127.0.0.1:5000/test/repeat:up
try mydocker images
like 'images shows a name as docker does' "$out" '^busybox +latest +[0-9a-f]{12} '
like '  of a user' "$out" '^test/many +40 +[0-9a-f]{12} '
like '  of another registry' "$out" '^127.0.0.1:5000/test/repeat +up +[0-9a-f]{12} '
is '  and nothing else' "$(wc -l <<<"$out")" 5
layers() { find "$MYDOCKER_HOME/layers" -mindepth 1 -maxdepth 1 -type d | wc -l; }
before=$(layers)
ok 'rmi of one of two names' mydocker rmi test/repeat:up
is '  keeps the layers' "$(layers)" "$before"
gives '  and the other runs' up run --pull never 127.0.0.1:5000/test/repeat:up cat /order
ok 'rmi of the last name' mydocker rmi 127.0.0.1:5000/test/repeat:up
is '  removes what only it had (up, down, empty)' "$(layers)" $((before - 3))
gives 'the layer that others use is still there' 40 run --pull never test/many:40 cat /number
ok 'a container of an image' mydocker run --network none --name holds test/many:40 true
fails 'rmi of an image with a container' 125 'holds|container' mydocker rmi test/many:40
ok 'rm' mydocker rm holds
ok 'rmi now' mydocker rmi test/many:40
fails 'the image is gone' 125 'test/many' run --pull never test/many:40 true
id=$(mydocker images | awk '$1 == "busybox" {print $3}')
ok 'rmi by id' mydocker rmi "$id"
is 'no layer is left' "$(layers)" 0
is 'no image is left' "$(ls -A "$MYDOCKER_HOME/images")" ''
gives 'and a run pulls it again' here run busybox echo here
# A running container keeps its image.
mydocker run --rm --network none --name runs busybox sleep 1000 &
engine=$!
eventually 100 pgrep -x sleep
fails 'rmi of an image that runs' 125 'runs|container' mydocker rmi busybox
mydocker rm -f runs
wait "$engine"
ok 'rmi -f' mydocker rmi -f busybox

# Runs of an image and rmi of it at the same time: a run pulls it again, and never fails.
for i in 1 2; do
    for _ in {1..8}; do run busybox echo here; done >"$room/runs.$i" 2>"$room/runs-err.$i" &
    engines[i]=$!
done
for _ in {1..8}; do mydocker rmi busybox; done >/dev/null 2>&1 &
wait "${engines[@]}" $!
is 'runs and rmi at the same time: every run ends well' "$(sort "$room"/runs.? | uniq -c | xargs)" '16 here'
is '  and tmp is empty' "$(find "$MYDOCKER_HOME/tmp" -mindepth 1 ! -name '*lock*')" ''
mydocker run --network none --name odd busybox true $'\x1b[31mred\nline'
unlike 'ps prints no escapes of a command' "$(mydocker ps -a)" $'\x1b'
is '  and one line for a container' "$(mydocker ps -a | wc -l)" 2

# ---------------------------------------------------------------- help

for command in '' run pull images rmi ps rm; do
    # shellcheck disable=SC2086 # nothing or one word
    try mydocker $command --help
    is "mydocker $command --help: exit 0, nothing on standard error" "$rc:$err" 0:
    like '  and a usage line' "$out" "^[Uu]sage: mydocker.*$command"
done
try mydocker --help
for command in run pull images rmi ps rm; do
    like "--help names $command" "$out" "^ +$command "
done
try mydocker run --help
for option in rm name env workdir user entrypoint hostname interactive tty read-only network memory memory-swap \
    cpus pids-limit cpuset-cpus tmpfs volume pull; do
    like "run --help names --$option" "$out" "--$option"
done
version=$(sed -n 's/^version = "\(.*\)"/\1/p' "$top/Cargo.toml" | head -n 1)
gives '--version' "mydocker $version" mydocker --version
# A name leads to an id beside it and nowhere else: rm follows no other link.
mkdir -p "$room/canary/containers"
echo alive >"$room/canary/file"
for target in "$room/canary" ../../canary ../containers .; do
    ln -sfn "$target" "$MYDOCKER_HOME/containers/web2"
    fails "rm of a name that leads to $target" 125 'no such container' mydocker rm -f web2
done
rm "$MYDOCKER_HOME/containers/web2"
is '  and the canary lives' "$(cat "$room/canary/file")" alive
# Somebody else's store is not obeyed, by root least of all.
cp -a "$MYDOCKER_HOME" "$room/foreign"
chown -h 1234 "$room/foreign"
for command in 'run --network none busybox true' 'pull busybox' 'ps -a' 'rm x' 'rmi busybox' images; do
    # shellcheck disable=SC2086 # several words
    fails "a foreign store: $command" 125 'belongs to user 1234' env MYDOCKER_HOME="$room/foreign" "$mydocker" $command
done
# The caller's umask has no say in the store.
ok 'a pull with umask 077' sh -c 'umask 077; MYDOCKER_HOME=$1/masked exec "$2" pull busybox' sh "$room" "$mydocker"
ok '  everybody may use /dev/null' env MYDOCKER_HOME="$room/masked" "$mydocker" run --rm --network none -u 1000 busybox \
    sh -c 'echo >/dev/null'
# rm ends a process that has outlived its engine: it had asked the kernel to forget the parent-death signal.
mydocker run --network none --name survivor -v /usr:/usr:ro -v /lib:/lib:ro -v /lib64:/lib64:ro busybox \
    /usr/bin/setpriv --pdeathsig clear sleep 1000 &
engine=$!
for _ in $(seq 100); do
    pid=$(sed -n 's/.*"pid":\([0-9]*\).*/\1/p' "$MYDOCKER_HOME/containers/survivor/state" 2>/dev/null)
    [[ $pid && $(cat "/proc/$pid/comm") == sleep ]] && break
    sleep 0.1
done
kill -9 "$engine"
wait "$engine" 2>/dev/null
sleep 0.2
ok 'a process outlives its engine' kill -0 "$pid"
like '  ps -a calls it dead' "$(mydocker ps -a)" 'Dead.*survivor'
id=$(readlink "$MYDOCKER_HOME/containers/survivor")
ok '  rm' mydocker rm survivor
report "$(kill -0 "$pid" 2>/dev/null; echo $?)" '  ends it'
is '  and its cgroup is gone' "$(find /sys/fs/cgroup -path "*/mydocker/$id" -type d)" ''
done_testing
