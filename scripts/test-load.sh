#!/bin/bash
# test-load.sh: `load` of what skopeo, umoci and docker write, plain and compressed, from a file, a directory and a
# pipe, with both tars, as root and as users; against what a pull of the same image leaves; and of archives that lie.
. "$(dirname "$0")/lib.sh"
registry main 5000
ordinary_users
archives=$room/archives
mkdir -m 755 "$archives"
layouts=$images/layouts
new_store() { MYDOCKER_HOME=$(mktemp -d "$room/store.XXXXXX"); }
tmp_is_empty() { [[ -z $(find "$1/tmp" -mindepth 1 2>&1) ]]; }
load() { # -> its words on standard output
    try mydocker load "$@"
    [[ $rc == 0 ]] || note "load $*" "$rc: $err"
    printf '%s' "$out"
}

# What a store knows of its images, and all of each layer but the times of what the engine has made: whiteouts.
began=$EPOCHSECONDS
contents() { # STORE
    local image layer
    (
        cd "$1/images" || exit
        for image in [0-9a-f]*; do
            [[ ! -L $image ]] || continue
            echo "$image"
            cat "$image"/{config,facts.json}
            for layer in "$image"/[0-9]*; do
                echo "${layer##*/} $(readlink "$layer")"
                /usr/bin/python3 "$scripts/tree.py" "$layer/."
            done
        done
    ) | awk -v began="$began" '{
        for (i = 1; i <= NF; i++) if (length($i) == 19 && $i / 1e9 >= began && $i / 1e9 < began + 7200) $i = "-"
        print
    }'
}

# ---------------------------------------------------------------- each format, against a pull

try mydocker pull test/layers
pulled=$room/pulled
contents "$MYDOCKER_HOME" >"$pulled"
ok 'a pull to compare with' test "$(wc -l <"$pulled")" -gt 150
manifest=$(cat "$MYDOCKER_HOME"/images/*/manifest | sha256sum)
(
    cd "$archives" || exit
    for kind in docker-archive oci-archive; do
        skopeo copy -q "oci:$layouts/layers:latest" "$kind:$kind.tar:test/layers:latest"
        gzip -k $kind.tar
        zstd -q $kind.tar
    done
    skopeo copy -q "oci:$layouts/layers:latest" oci:oci-dir:test/layers:latest
    cp -r "$layouts/layers" umoci-dir
    mkdir docker-dir && tar -xf docker-archive.tar -C docker-dir
    tar -cf dots.tar -C oci-dir .
    gzip -kc dots.tar >dots.tgz
) || bail 'skopeo cannot write archives'
chmod -R a+rX "$archives"

for archive in docker-archive.tar{,.gz,.zst} docker-dir oci-archive.tar{,.gz,.zst} oci-dir dots.tar dots.tgz; do
    new_store
    is "$archive: it says so, as docker does" "$(load -i "$archives/$archive")" 'Loaded image: test/layers:latest'
    is '  images and layers are those of a pull' "$(contents "$MYDOCKER_HOME" | diff "$pulled" -)" ''
    ok '  nothing is left in tmp' tmp_is_empty "$MYDOCKER_HOME"
    [[ $archive == docker* ]] || is '  the manifest is, too' "$(cat "$MYDOCKER_HOME"/images/*/manifest | sha256sum)" "$manifest"
done
gives 'it runs' last run --pull never test/layers ls /opaque
gives 'a second load of the same' 'Loaded image: test/layers:latest' mydocker load -i "$archives/oci-dir"
unlike '  unpacks nothing' "$err" 'unpacked'
new_store
is 'umoci: a tag alone is one of the directory' "$(load -i "$archives/umoci-dir")" 'Loaded image: umoci-dir:latest'
gives '  it runs' last run --pull never umoci-dir ls /opaque
ok 'a pull of what a load has brought' mydocker pull test/layers
unlike '  brings no layer' "$err" 'downloaded|unpacked'
like 'rmi knows it' "$(mydocker rmi -f umoci-dir test/layers)" '^Deleted: sha256:'
is '  and leaves nothing' "$(find "$MYDOCKER_HOME"/{layers,images} -mindepth 1)" ''

# The layers' own formats: in a directory, and in a tar.
for tag in tar gzip zstd members tar-called-gzip gzip-called-zstd implied device; do
    new_store
    skopeo copy -q "oci:$layouts/formats:$tag" "oci:$room/format-$tag:a/format:$tag"
    is "a layer in the format $tag" "$(load -i "$room/format-$tag")" "Loaded image: a/format:$tag"
    first=$(contents "$MYDOCKER_HOME")
    new_store
    tar -cf "$room/format.tar" -C "$room/format-$tag" .
    is '  from a tar it is the same' "$(load -i "$room/format.tar"; contents "$MYDOCKER_HOME")" "Loaded image: a/format:$tag$first"
done
new_store
skopeo copy -q "oci:$layouts/many:127" "oci-archive:$room/many.tar:many:127"
is '127 layers' "$(load -i "$room/many.tar")" 'Loaded image: many:127'
gives '  run' 127 run --pull never many:127 cat /number

# ---------------------------------------------------------------- where it comes from

new_store
is 'standard input, a file' "$(load <"$archives/oci-archive.tar")" 'Loaded image: test/layers:latest'
new_store
is 'standard input, a pipe' "$(load < <(cat "$archives/oci-archive.tar.gz"))" 'Loaded image: test/layers:latest'
is '  images and layers are those of a pull' "$(contents "$MYDOCKER_HOME" | diff "$pulled" -)" ''
ok '  nothing is left in tmp' tmp_is_empty "$MYDOCKER_HOME"
new_store
mkfifo "$room/fifo"
cat "$archives/docker-archive.tar" >"$room/fifo" &
is '-i with a FIFO' "$(load -i "$room/fifo")" 'Loaded image: test/layers:latest'
new_store
is 'several -i: the last one counts' "$(load -i /nowhere --input "$archives/oci-dir")" 'Loaded image: test/layers:latest'
fails 'a file that is not there' 125 'open .*nowhere: No such file' mydocker load -i "$room/nowhere"
fails 'nothing at all' 125 'neither gzip, nor zstd, nor a tar' sh -c 'exec mydocker load </dev/null'
fails 'an argument' 125 'usage: mydocker load' mydocker load x.tar
fails 'no platform' 125 'os/arch' mydocker load --platform x -i "$archives/oci-dir"
echo 'wait' | /usr/bin/python3 "$scripts/pty.py" sh -c "exec $mydocker load 2>$room/terminal" >"$room/tmp/.out"
like 'a terminal' "$(<"$room/terminal")" 'standard input is a terminal .*-i FILE'
for cut in oci-archive.tar.gz oci-archive.tar.zst oci-archive.tar docker-archive.tar; do
    new_store
    head -c 3000 "$archives/$cut" >"$room/cut"
    fails "a beginning of $cut" 125 'cannot be read: |not in it|neither oci' mydocker load -i "$room/cut"
done

# Nothing is held twice: what a load makes in the store's tmp is what it renames, and empty locks.
for archive in oci-dir docker-archive.tar docker-archive.tar.gz; do
    new_store
    try strace -f -qq -e trace=open,openat -s 300 -o "$room/trace" "$mydocker" load -i "$archives/$archive"
    is "$archive: no file is made but locks and documents" "$(grep 'O_CREAT' "$room/trace" | grep -F "$MYDOCKER_HOME/tmp" |
        grep -oE '/tmp/[^"]*' | sed -E 's/.*\/tmp\///; s/[0-9a-f]{12,}/X/g' | sort -u | xargs)" \
        'X.blob image-X/config image-X/facts.json image-X/manifest'
    unlike '  and none of the host' "$(grep -E 'O_CREAT|O_WRONLY|O_RDWR' "$room/trace")" '"(/etc|/root|'"$archives"')'
done
new_store
strace -f -qq -e trace=openat,unlink -s 300 -o "$room/trace" "$mydocker" load < <(cat "$archives/oci-archive.tar") >/dev/null 2>&1
like 'a pipe goes into one file' "$(grep -c 'tmp/load-.*O_CREAT' "$room/trace")" '^1$'
like '  which has no name any more' "$(grep -A 1 'tmp/load-.*O_CREAT' "$room/trace")" 'unlink\(.*tmp/load-'

try mydocker load --help
like 'load --help' "$out" '^Usage: mydocker load .*-i FILE'
like '  it is in the list of commands' "$(mydocker --help)" '^ +load '

# ---------------------------------------------------------------- busybox tar

busybox_tools() { # a directory for PATH: busybox alone
    local tool
    mkdir -p "$room/tools"
    for tool in tar gzip sha256sum cat; do ln -sf "$(command -v busybox)" "$room/tools/$tool"; done
    for tool in newuidmap newgidmap curl; do ln -sf "$(command -v $tool)" "$room/tools/$tool"; done
}
busybox_tools
# Its tar keeps neither xattrs nor fractions of a second, in a pull as well.
new_store
ok 'busybox: a pull' env PATH="$room/tools" "$mydocker" pull test/layers
contents "$MYDOCKER_HOME" >"$room/pulled-busybox"
for archive in docker-archive.tar docker-archive.tar.gz oci-archive.tar.gz dots.tar oci-dir umoci-dir; do
    new_store
    try env PATH="$room/tools" "$mydocker" load -i "$archives/$archive"
    like "busybox: $archive" "$out" '^Loaded image: (test/layers|umoci-dir):latest$'
    is '  images and layers are those of a pull' "$(contents "$MYDOCKER_HOME" | diff "$room/pulled-busybox" -)" ''
done

# ---------------------------------------------------------------- platforms, names, several images

new_store
cp -r "$layouts/multi" "$room/multi"
jq -c '.manifests |= map(select(.annotations[] == "nested"))' "$layouts/multi/index.json" >"$room/multi/index.json"
tar -cf "$room/multi.tar" -C "$room/multi" .
for platform in linux/arm64 linux/arm/v7 linux/amd64; do
    ok "load --platform $platform" mydocker load --platform $platform -i "$room/multi.tar"
    gives "  is $platform" $platform run --pull never multi:nested cat /platform
done
fails 'an index without the platform' 125 'not made for linux/mips .*it is for .*linux/s390x' \
    mydocker load --platform linux/mips -i "$room/multi.tar"
new_store
is 'all tags of a layout' "$(load -i "$layouts/config" | grep -c '^Loaded image: config:')" 16
gives '  each of them runs' 'entry from cmd' run --pull never config:entry

# What docker itself wrote, and others: made by hand.
mkdir "$room/canary"
echo secret >"$room/canary/file"
/usr/bin/python3 "$scripts/archives.py" "$images/busybox" "$layouts" "$room/made" "$room/canary" || bail 'archives.py failed'
made=$room/made/good
loads() { # NAME WORDS
    new_store
    is "$1" "$(load -i "$made/$1.tar")" "$2"
    ok '  nothing is left in tmp' tmp_is_empty "$MYDOCKER_HOME"
}
loads old $'Loaded image: old:1\nLoaded image: other.test/old:2'
gives '  runs' 'top of all' run --pull never other.test/old:2
loads old-hard-links $'Loaded image: old:1\nLoaded image: other.test/old:2'
gives '  runs' 'top of all' run --pull never old:1
loads docker-25 $'Loaded image: new:1\nLoaded image: new:2'
is '  is one image' "$(find "$MYDOCKER_HOME/images" -mindepth 1 -maxdepth 1 -type d | wc -l)" 1
loads docker-25-alone 'Loaded image: new:3'
gives '  runs' 'top of all' run --pull never new:3
loads bazel 'Loaded image: bazel:1'
gives '  runs' 'top of all' run --pull never bazel:1
new_store
like 'an image without a name' "$(load -i "$made/dots.tar")" '^Loaded image ID: sha256:[0-9a-f]{64}$'
like '  is listed' "$(mydocker images)" '^<none> +<none> +[0-9a-f]{12} '
new_store
like 'several images' "$(load -i "$made/several.tar" | tail -n 1)" '^Loaded image ID: sha256:'
is '  are there' "$(find "$MYDOCKER_HOME/images" -mindepth 1 -maxdepth 1 -type d | wc -l)" 2

# ---------------------------------------------------------------- archives that lie

new_store
ok 'something is there already' mydocker load -i "$archives/umoci-dir"
before=$(store_list "$MYDOCKER_HOME")
for tools in "$PATH" "$room/tools:$PATH"; do
    while read -r name words; do
        fails "$name" 125 "$words" env PATH="$tools" "$mydocker" load -i "$room/made/bad/$name.tar"
    done <"$room/made/bad.list"
    is 'nothing of all these stays' "$(store_list "$MYDOCKER_HOME" | diff - <(echo "$before"))" ''
done
is 'and nothing outside was touched' "$(find "$room/canary" -type f -exec cat {} +)" secret
# The same of a directory: there the links are the file system's.
lie() { # DESCRIPTION REGEX COMMAND...: a layout whose top layer COMMAND replaces, given its path
    rm -rf "$room/lie"
    mkdir "$room/lie"
    tar -xf "$made/dots.tar" -C "$room/lie"
    local blob
    blob=$(jq -r '.manifests[0].digest[7:]' "$room/lie/index.json")
    blob=$room/lie/blobs/sha256/$(jq -r '.layers[1].digest[7:]' "$room/lie/blobs/sha256/$blob")
    mv "$blob" "$room/lie/top"
    "${@:3}" "$blob"
    new_store
    fails "directory: $1" 125 "$2" timeout 20 mydocker load -i "$room/lie"
    is '  nothing stays' "$(find "$MYDOCKER_HOME"/{images,layers,tmp} -mindepth 1)" ''
}
lie 'a link out of it' 'not in it' ln -s "$room/canary/file"
lie 'a link up' 'not in it' ln -s "../../../../../../..$room/canary/file"
lie 'a link to /proc/self/fd' 'not in it|Too many|magic' ln -s /proc/self/fd/0
lie 'a link to itself' 'symbolic links|not in it' ln -s "$(basename "$room")"
lie 'a FIFO' 'no plain file' mkfifo
lie 'a directory' 'no plain file' mkdir
lie 'a device' 'no plain file' sh -c 'mknod "$1" c 1 5' sh
lie 'another file' 'bytes' cp "$room/canary/file"
lie 'nothing' 'not in it' true
rm -rf "$room/lie/blobs" && mv "$room/lie/top" "$room/lie/x"

# ---------------------------------------------------------------- beside others, and killed

new_store
beside() { # FILE COMMAND...: several times, and what fails goes into the file
    for _ in 1 2 3 4; do "${@:2}" >"$1.out" 2>&1 || cat "$1.out"; done >"$1"
}
pids=()
beside "$room/beside.1" mydocker load -i "$archives/oci-archive.tar" & pids+=($!)
beside "$room/beside.2" mydocker pull test/layers & pids+=($!)
beside "$room/beside.3" mydocker load -i "$archives/docker-archive.tar" & pids+=($!)
for _ in 1 2 3 4 5 6; do mydocker rmi -f test/layers; done >/dev/null 2>&1 & pids+=($!)
wait "${pids[@]}"
is 'loads, pulls and rmis side by side: each ends well' "$(cat "$room"/beside.[123])" ''
ok '  and a load afterwards' mydocker load -i "$archives/oci-dir"
is '  the image is whole' "$(contents "$MYDOCKER_HOME" | diff "$pulled" -)" ''
ok '  nothing is left in tmp' tmp_is_empty "$MYDOCKER_HOME"
new_store
skopeo copy -q "oci:$layouts/big:latest" "oci-archive:$room/big.tar:big:1"
start=${EPOCHREALTIME/./}
ok 'a large image' mydocker load -i "$room/big.tar"
whole=$((${EPOCHREALTIME/./} - start))
contents "$MYDOCKER_HOME" >"$room/big.contents"
for part in 1 2 3 4 5 6 7 8; do
    new_store
    timeout --foreground -s KILL "$(part $part 9 $whole)" "$mydocker" load -i "$room/big.tar" >/dev/null 2>&1
    exits "killed after $part/9 of the time: no image, or all of it" 0 sh -c \
        'mydocker images | grep -q "^big " || ! ls "$1/images" | grep -q .' sh "$MYDOCKER_HOME"
    ok '  the next load brings it' mydocker load -i "$room/big.tar"
    is '  whole, and nothing else' "$(contents "$MYDOCKER_HOME" | diff "$room/big.contents" - | head -n 5; ls "$MYDOCKER_HOME/tmp")" ''
done
exits 'a file system that is full' 125 sh -c 'mkdir "$1" && mount -t tmpfs -o size=8m tmpfs "$1" &&
    MYDOCKER_HOME="$1/store" mydocker load -i "$2"; code=$?; ls "$1/store/layers" >&2; exit $code' sh "$room/small" "$room/big.tar"
like '  says so' "$err" 'disk full|No space left'
unlike '  nothing stays' "$err" '^[0-9a-f]{64}'

# ---------------------------------------------------------------- ordinary users

for user in sub bare; do
    store=$room/home/$user/.config/mydocker
    for archive in docker-archive.tar.gz oci-archive.tar oci-dir; do
        rm -rf "${store:?}"
        tag=busybox
        [[ $user == sub ]] && tag=layers
        [[ -e $archives/$tag.$archive ]] || case $archive in
            oci-dir) skopeo copy -q "oci:$layouts/$tag:latest" "oci:$archives/$tag.$archive:u/$tag:1" ;;
            *.gz) skopeo copy -q "oci:$layouts/$tag:latest" "docker-archive:$archives/$tag.tar:u/$tag:1" &&
                gzip -c "$archives/$tag.tar" >"$archives/$tag.$archive" ;;
            *) skopeo copy -q "oci:$layouts/$tag:latest" "oci-archive:$archives/$tag.$archive:u/$tag:1" ;;
        esac
        chmod -R a+rX "$archives"
        try as $user "$mydocker" load -i "$archives/$tag.$archive"
        is "$user: $archive" "$rc:$out" "0:Loaded image: u/$tag:1"
        gives '  runs' here as $user "$room/bin/run" --pull never u/$tag:1 echo here
        ok '  nothing is left in tmp' tmp_is_empty "$store"
    done
done
gives 'sub: owners of the image' '1000 1000' as sub "$room/bin/run" --pull never u/layers:1 stat -c '%u %g' /odd/owner-1000-1000
store=$room/home/sub/.config/mydocker
id=$(find "$store/images" -mindepth 1 -maxdepth 1 -type d -printf '%f\n')
loaded=$(jq -c 'del(.id)' "$store/images/$id/facts.json"; ls "$store/layers")
ok 'sub: a pull of the same brings no layer' as sub "$mydocker" pull test/layers
unlike '  for it has the same' "$err" 'downloaded|unpacked'
is '  facts and layers' "$(jq -c 'del(.id)' "$store/images/$id/facts.json"; ls "$store/layers")" "$loaded"
chmod 600 "$archives/oci-archive.tar"
ok 'sub: a file that only root may open, on standard input' as sub "$mydocker" load <"$archives/oci-archive.tar"
fails '  and with -i' 125 'Permission denied' as sub "$mydocker" load -i "$archives/oci-archive.tar"
while read -r name words; do
    fails "sub: $name" 125 "$words" as sub "$mydocker" load -i "$room/made/bad/$name.tar"
done < <(grep -E '^(symlink-up|layer-other|oci-blob-forged|oci-encrypted|twice|second) ' "$room/made/bad.list")

# ---------------------------------------------------------------- what -v tells, and strace sees

told() { # CODE DESCRIPTION ARGS...
    new_store
    [[ -z ${before_it-} ]] || mydocker load -i "$before_it" >/dev/null 2>&1
    try strace -f -o "$room/trace" "$mydocker" -v load "${@:3}"
    cp "$room/tmp/.err" "$room/lines"
    is "$2" "$rc" "$1"
    ok '  the lines are the calls' /usr/bin/python3 "$scripts/tracecmp.py" "$room/trace" "$room/lines"
}
for archive in docker-archive.tar docker-archive.tar.gz oci-archive.tar oci-dir umoci-dir; do
    told 0 "-v load, $archive" -i "$archives/$archive"
done
ok '  whatever else were told or traced would be noticed' /usr/bin/python3 "$scripts/tracecmp.py" --prove "$room/trace" "$room/lines"
told 125 '-v load, no archive' -i "$room/made/bad/nothing.tar"
# Its other layer is there already: a worker that is stopped in the middle tells no sum of what it has done.
before_it=$made/small.tar told 125 '-v load, a layer that is another' -i "$room/made/bad/layer-other.tar"
told 0 '-v load, a pipe' < <(cat "$archives/dots.tar")
told 0 '-v load, a file' <"$archives/dots.tar"
new_store
try env -i -C "$room/home/sub" HOME="$room/home/sub" PATH="$PATH" strace -f -u mydocker-sub -o "$room/trace" \
    "$mydocker" -v load -i "$archives/oci-dir"
cp "$room/tmp/.err" "$room/lines"
is 'sub: -v load' "$rc" 0
ok '  the lines are the calls' /usr/bin/python3 "$scripts/tracecmp.py" "$room/trace" "$room/lines"
done_testing
