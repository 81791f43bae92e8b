#!/bin/bash
# test-bad-input.sh: each gives one line that says what, where and what to do, exit 125,
# and leaves nothing behind.
. "$(dirname "$0")/lib.sh"
registry main 5000
ok 'pull' mydocker pull busybox
before=$(store_list "$MYDOCKER_HOME")
remember

# Wrong use also shows how to use it, so it may take a second line.
misuse() { # DESCRIPTION REGEX COMMAND...
    try "${@:3}"
    [[ $rc == 125 && -z $out && $err == 'mydocker: '* && $(wc -l <<<"$err") -le 2 ]] && grep -qiE -- "$2" <<<"$err" &&
        grep -qi 'usage: mydocker\|mydocker .*--help' <<<"$err"
    report $((!$?)) "$1" || { note 'wanted' "exit 125, a line like /$2/ and the usage"; tell_try; }
}
misuse 'no command' 'command' mydocker
misuse 'no image name' 'image' mydocker run
misuse 'no image name after options' 'image' mydocker run --rm -e A=b
misuse 'pull without an image' 'image' mydocker pull
misuse 'rmi without an image' 'image' mydocker rmi
misuse 'rm without a container' 'container' mydocker rm
misuse 'an unknown command' 'runn' mydocker runn busybox
misuse 'an unknown option of the engine' '--nope|nope' mydocker --nope run busybox
misuse 'an unknown option of run' '--nope|nope' mydocker run --nope busybox
misuse 'an unknown short option' '-Z|Z' mydocker run -Z busybox
misuse 'an option without its value' 'name' mydocker run --name
misuse 'a flag with a value' 'read-only' mydocker run --read-only=yes busybox true
misuse 'an option given twice that can be given once' 'name' mydocker run --name a --name b busybox true
misuse 'pull of two things' 'extra|one|busybox' mydocker pull busybox busybox
misuse 'an unknown option of pull' 'nope' mydocker pull --nope busybox
misuse 'an unknown option of ps' 'nope' mydocker ps --nope
bytes=$'\xff\xfe'
for command in "run --name $bytes busybox" "run -e $bytes=x busybox" "run --$bytes busybox" "run $bytes" "pull $bytes" \
    "-$bytes run busybox" "$bytes" "rm $bytes" "rmi $bytes"; do
    # shellcheck disable=SC2086 # words
    try mydocker $command
    is "not UTF-8: mydocker ${command@Q}: 125" "$rc:$out" 125:
    like '  in one line, or two with the usage' "$(wc -l <<<"$err"):$err" '^[12]:mydocker: '
done
gives 'but the container'"'"'s arguments are bytes' $'\xff\xfe' run busybox echo "$bytes"

fails 'an unknown image' 125 '127\.0\.0\.1:5000/library/nothing' mydocker run 127.0.0.1:5000/library/nothing true
fails 'an unknown tag' 125 'busybox:nothing' mydocker run 127.0.0.1:5000/library/busybox:nothing true
fails 'an unknown registry (no such name)' 125 'no\.such\.host' mydocker run no.such.host/busybox true
fails 'a registry that does not answer' 125 '127\.0\.0\.1:1' mydocker run 127.0.0.1:1/busybox true
fails 'no network at all' 125 'registry-1\.docker\.io' unshare -n env -u MYDOCKER_MIRROR mydocker run debian true
stand_in 5001 --layouts "$images/layouts" --status 404 . 100000
fails 'a server that is no registry' 125 '127\.0\.0\.1:5001' mydocker run 127.0.0.1:5001/test/multi true
stop "$stand_in_pid"
ok 'a name' mydocker run --network none --name taken busybox true
fails 'an existing --name' 125 'taken.*mydocker rm|mydocker rm.*taken' mydocker run --network none --name taken busybox true
ok 'rm' mydocker rm taken
fails 'a malformed size' 125 '12q' run --memory 12q busybox true
fails 'a volume whose source is missing' 125 '/no/such/dir' run -v /no/such/dir:/x busybox true
for bad in /etc : '' /etc: :/x /etc:x /etc:/x:zz /etc:/ "$room::/x" /etc:/x:ro:rw; do
    fails "not a volume: ${bad@Q}" 125 '.' run -v "$bad" busybox true
done
for bad in x '' / /x:size=zz /x:bogus=1; do
    fails "not a tmpfs: ${bad@Q}" 125 '.' run --tmpfs "$bad" busybox true
done
for bad in '' 'a b' "$(printf 'x%.0s' {1..70})" -x $'a\nb' a/b; do
    fails "not a hostname: ${bad@Q}" 125 'hostname' run --hostname "$bad" busybox true
done
for bad in =x ''; do
    fails "not a variable: ${bad@Q}" 125 '.' run -e "$bad" busybox true
done

for missing in curl tar sha256sum; do
    rm -rf "$room/tools"
    mkdir "$room/tools"
    for tool in curl tar gzip sha256sum; do
        [[ $tool == "$missing" ]] || ln -s "$(command -v $tool)" "$room/tools/$tool"
    done
    fails "$missing is not in PATH" 125 "$missing.*(apt|install|PATH)" env PATH="$room/tools" "$mydocker" pull test/formats:gzip
done
gives 'none of them is needed for what is there' here env PATH=/nowhere "$mydocker" run --rm --network none busybox echo here
ok 'an empty environment' env -i MYDOCKER_HOME="$MYDOCKER_HOME" "$mydocker" run --rm --network none busybox true
fails 'neither HOME nor MYDOCKER_HOME' 125 'HOME' env -i PATH="$PATH" "$mydocker" images
is 'the store is as before' "$(diff <(echo "$before") <(store_list "$MYDOCKER_HOME"))" ''

# ---------------------------------------------------------------- stores

ordinary_users
install -d -m 700 "$room/private"
fails 'a store that cannot be read' 125 "$room/private" as sub env MYDOCKER_HOME="$room/private" "$mydocker" images
fails '  nor made' 125 "$room/private" as sub env MYDOCKER_HOME="$room/private/store" "$mydocker" pull busybox
echo x >"$room/file"
fails 'a store that is a file' 125 "$room/file" env MYDOCKER_HOME="$room/file" "$mydocker" pull busybox
mkdir "$room/read-only"
mount -t tmpfs -o ro none "$room/read-only"
fails 'a store on a read-only file system' 125 'read-only' env MYDOCKER_HOME="$room/read-only/store" "$mydocker" pull busybox
umount "$room/read-only"
# An overlay cannot be the upper of another.
mkdir -p "$room/o"/{lower,upper,work,store}
mount -t overlay -o "lowerdir=$room/o/lower,upperdir=$room/o/upper,workdir=$room/o/work" none "$room/o/store"
fails 'a store on an overlay' 125 "$room/o/store|overlay" env MYDOCKER_HOME="$room/o/store" "$mydocker" run --rm --network none busybox true
umount "$room/o/store"
for command in check ps images load; do fails "$command of what?" 125 'what is "x"' mydocker $command x; done
fails 'a relative store' 125 'MYDOCKER_HOME' env MYDOCKER_HOME=relative "$mydocker" images
fails 'not enough ids' 125 '70000|subuid|ids' as sub "$mydocker" run --rm --network none test/formats:ids true
# A name from an image or an option that is made to look like lines and orders to the terminal.
evil=$'/proc/\e[31mRED\nengine mount(fake) = 0   ok   [world, x.rs:1]\r\e]0;title\a'
for where in "$evil" "/etc/passwd/$evil"; do
    fails 'a hostile working directory' 125 . run -w "$where" busybox true
    is '  is one line' "$(wc -l <<<"$err")" 1
    unlike '  without control characters' "$err" '[[:cntrl:]]'
done
exits 'a hostile command' 127 run busybox "$evil"
unlike '  is told without control characters' "$err" '[[:cntrl:]]'
image=$MYDOCKER_HOME/images/$(readlink "$MYDOCKER_HOME/images/docker.io+library+busybox:latest")
find "$image" -type f -exec sh -c 'echo garbage >"$1"' sh {} \;
fails 'an image that was damaged on disk' 125 "$MYDOCKER_HOME/images" run --pull never busybox true
nothing_remains 'nothing remains'
done_testing
