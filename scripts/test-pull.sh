#!/bin/bash
# test-pull.sh: references, formats, platforms, mirrors and policies of `pull`; the
# unpacked tree against umoci's, as root and rootless.
. "$(dirname "$0")/lib.sh"
registry main 5000
requests() { grep -c "\"[A-Z]* [^\"]*$1" "$room/main.log"; } # REGEX of a path in the access log
new_store() { MYDOCKER_HOME=$(mktemp -d "$room/store.XXXXXX"); }

# ---------------------------------------------------------------- what it says, what it asks

try mydocker pull busybox
is 'pull succeeds' "$rc" 0
is 'and says nothing on standard output' "$out" ''
digest=$(sha256sum <"$images/layouts/busybox/blobs/sha256/$(jq -r '.manifests[0].digest[7:]' "$images/layouts/busybox/index.json")")
like 'the last line names reference and digest' "$(tail -n 1 <<<"$err")" \
    "docker.io/library/busybox:latest.*sha256:${digest%% *}"
is 'one request for each blob, config and layer' "$(requests /blobs/)" 2
ok 'a second pull' mydocker pull busybox
is 'transfers no blob' "$(requests /blobs/)" 2
before=$(wc -l <"$room/main.log")
ok 'a run of what is there' run busybox true
is 'asks for nothing at all' "$(wc -l <"$room/main.log")" "$before"
ok 'another image on the same layer' mydocker pull test/many:40
layers=$(jq -r '.layers | length' <"$images/layouts/many/blobs/sha256/$(jq -r '.manifests[] | select(.annotations[] == "40") | .digest[7:]' "$images/layouts/many/index.json")")
is 'brings its own layers and config' "$(requests test/many/blobs/)" $((layers + 1))
ok 'and one with more on top' mydocker pull test/many:127
is 'brings only what is new' "$(requests test/many/blobs/)" $((127 + 2))

# ---------------------------------------------------------------- references

for reference in busybox busybox:latest library/busybox docker.io/busybox docker.io/library/busybox:latest \
    index.docker.io/library/busybox "busybox@sha256:${digest%% *}" "busybox:latest@sha256:${digest%% *}" \
    127.0.0.1:5000/library/busybox localhost:5000/library/busybox:latest; do
    gives "$reference" here run "$reference" echo here
done
for bad in '' : / @ busybox: busybox@ :latest BusyBox busy//box /busybox busybox/ 'busy box' busybox:a/b \
    busybox:.x -busybox busybox@sha256:1234 "busybox@sha256:${digest%% *}0" busybox@md5:00 'busybox:ä' \
    host:99999999/busybox host:x/busybox ../busybox a/../b $'busy\nbox' "busybox:$(printf 'x%.0s' {1..200})"; do
    fails "not a reference: ${bad@Q}" 125 '.' mydocker pull -- "$bad"
done
fails 'the error shows the place' 125 'BusyBox' mydocker pull BusyBox
fails 'an image that is not there' 125 'test/none' mydocker pull 127.0.0.1:5000/test/none
fails 'a tag that is not there' 125 'busybox:none' mydocker pull 127.0.0.1:5000/library/busybox:none
fails 'a digest that is not there' 125 'sha256:0000' \
    mydocker pull "127.0.0.1:5000/library/busybox@sha256:$(printf '0%.0s' {1..64})"

# ---------------------------------------------------------------- formats

for tag in tar gzip zstd tar-called-gzip zstd-called-gzip gzip-called-tar gzip-called-zstd docker; do
    gives "format: $tag" "$tag" run test/formats:$tag cat /format
done
gives 'format: several gzip members' 'two members' run test/formats:members cat /format
gives 'docker v2s2 by skopeo' here run busybox:docker echo here
gives 'directories that no entry makes' implied run test/formats:implied cat /implied/by/file
gives '  and one that a lower layer made keeps owner, mode and time' '1000 755 1700000000' \
    run test/formats:implied-below stat -c '%u %a %Y' /home/alice
gives 'a layer with device nodes' device run test/formats:device cat /format
ok 'no device of a layer works' run test/formats:device sh -c '! head -c 1 /odd-node'
gives 'a repeated layer: the last one counts (up)' $'up\ngone' run test/repeat:up sh -c 'cat /order; echo; test -e /blink || echo gone'
gives 'a repeated layer: the last one counts (down)' $'down\nthere' run test/repeat:down sh -c 'cat /order; echo; test -e /blink && echo there'

# The helpers, by what PATH offers. Each is a wrapper that leaves its name in a log.
tools() { # NAME...: a directory for PATH
    rm -rf "$room/tools" "$room/tools.log"
    mkdir "$room/tools"
    local tool
    for tool in curl tar "$@"; do
        printf '#!/bin/sh\necho %s >>%s\nexec %s "$@"\n' "$tool" "$room/tools.log" "$(command -v "$tool")" >"$room/tools/$tool"
    done
    chmod 755 "$room"/tools/*
}
for set in 'gzip sha256sum' 'pigz gzip sha256sum' 'igzip pigz gzip sha256sum' 'igzip openssl sha256sum gzip'; do
    # shellcheck disable=SC2086 # a list
    tools $set
    new_store
    ok "PATH with $set" env PATH="$room/tools" "$mydocker" pull test/formats:gzip
    want=${set%% *}
    like "takes $want" "$(cat "$room/tools.log")" "^$want$"
    case $set in *openssl*) want=openssl ;; *) want=sha256sum ;; esac
    like "and $want" "$(cat "$room/tools.log")" "^$want$"
done
tools gzip sha256sum
fails 'a zstd layer without zstd' 125 'zstd' env PATH="$room/tools" "$mydocker" pull test/formats:zstd
MYDOCKER_HOME=$room/store

# What a stranger's configuration of curl and tar says is not obeyed.
new_store
printf 'proxy = http://127.0.0.1:1\noutput = /tmp/stolen\n' >"$HOME/.curlrc"
ok 'a .curlrc, TAR_OPTIONS, proxies and GZIP of the caller do not matter' env TAR_OPTIONS=--bogus GZIP=--bogus \
    http_proxy=http://127.0.0.1:1 HTTP_PROXY=http://127.0.0.1:1 ALL_PROXY=http://127.0.0.1:1 "$mydocker" pull busybox
rm "$HOME/.curlrc"
MYDOCKER_HOME=$room/store

# ---------------------------------------------------------------- platforms

machine=$(uname -m)
case $machine in x86_64) native=linux/amd64 ;; aarch64) native=linux/arm64 ;; *) native= ;; esac
if [[ -n $native ]]; then
    for tag in latest docker nested; do
        gives "the platform of this machine, multi:$tag" "$native" run test/multi:$tag cat /platform
    done
    fails 'an index without our platform says what it has' 125 'linux/s390x' mydocker pull test/multi:foreign
else
    skip 'the platform of this machine' "no image for $machine"
fi
for platform in linux/arm64 linux/arm/v6 linux/arm/v7 linux/s390x; do
    new_store
    ok "pull --platform $platform" mydocker pull --platform $platform test/multi:nested
    gives "is $platform" $platform run --pull never test/multi:nested cat /platform
done
for bad in '' linux / linux/ /amd64 linux/amd64/v1/x linux/mips 'linux /amd64'; do
    fails "not a platform here: ${bad@Q}" 125 '.' mydocker pull --platform "$bad" test/multi
done
MYDOCKER_HOME=$room/store

# ---------------------------------------------------------------- --pull, mirrors

push() { # TEXT: test/moving:latest now says TEXT
    /usr/bin/python3 - "$scripts" "$room/moving" "$1" "$images/busybox" <<'END'
import sys
sys.path.insert(0, sys.argv[1])
import oci
layout = oci.Layout(sys.argv[2])
layout.image("latest", [oci.Layer(oci.tar_tree(sys.argv[4])), oci.Layer(oci.tar([oci.entry("said", sys.argv[3])]))])
oci.Registry("http://127.0.0.1:5000").push(sys.argv[2], "test/moving")
END
}
push one
fails '--pull never of what is not there' 125 'test/moving' run --pull never test/moving cat /said
gives '--pull missing' one run --pull missing test/moving cat /said
push two
gives 'what is there stays' one run test/moving cat /said
gives '--pull never takes what is there' one run --pull=never test/moving cat /said
gives '--pull always brings the new' two run --pull always test/moving cat /said
fails '--pull sometimes' 125 'sometimes' run --pull sometimes test/moving true

dead=http://127.0.0.1:1
new_store
ok '--mirror' env MYDOCKER_MIRROR=$dead "$mydocker" pull --mirror http://127.0.0.1:5000 busybox
new_store
echo http://127.0.0.1:5000 >"$MYDOCKER_HOME/mirror"
ok 'the file mirror in the store' env -u MYDOCKER_MIRROR "$mydocker" pull busybox
new_store
fails 'without a mirror the Hub itself is asked' 125 'registry-1\.docker\.io' env -u MYDOCKER_MIRROR "$mydocker" pull busybox
fails 'a mirror without the image: the Hub is asked' 125 'registry-1\.docker\.io' mydocker pull test/none
fails 'the mirror is for docker.io alone' 125 'registry\.test' mydocker pull registry.test:4999/library/busybox
for bad in ftp://127.0.0.1 file:///etc 127.0.0.1:5000 'http://a b' http:// -x; do
    fails "not a mirror: $bad" 125 'mirror' env MYDOCKER_MIRROR="$bad" "$mydocker" pull busybox
done
gives 'sudo, as in the README, with the file mirror' here sh -c \
    "echo http://127.0.0.1:5000 >'$MYDOCKER_HOME/mirror' && sudo MYDOCKER_HOME='$MYDOCKER_HOME' '$mydocker' run --network none busybox echo here"
MYDOCKER_HOME=$room/store

# ---------------------------------------------------------------- the tree, against umoci's

umoci unpack --image "$images/layouts/layers:latest" "$room/oracle" >/dev/null 2>&1 || bail 'umoci unpack failed'
/usr/bin/python3 "$scripts/tree.py" "$room/oracle/rootfs" >"$room/oracle.tree"
ok 'the oracle has a tree' test "$(wc -l <"$room/oracle.tree")" -gt 150

mydocker run --network none --name layers test/layers sleep 1000 &
engine=$!
eventually 100 pgrep -x sleep
/usr/bin/python3 "$scripts/tree.py" "/proc/$(pgrep -x sleep)/root" >"$room/ours.tree"
is 'as root: every file as umoci has it' "$(diff "$room/oracle.tree" "$room/ours.tree")" ''
kill -KILL "$(pgrep -x sleep)"
wait "$engine" 2>/dev/null

ordinary_users
as sub "$room/bin/run" test/layers sleep 1000 &
engine=$!
eventually 100 pgrep -x sleep
# Seen from inside its user namespace, where owners read as the image has them.
nsenter -U -t "$(pgrep -x sleep)" /usr/bin/python3 "$scripts/tree.py" "/proc/$(pgrep -x sleep)/root" >"$room/ours.tree"
is 'rootless: every file as umoci has it' "$(diff "$room/oracle.tree" "$room/ours.tree")" ''
kill -KILL "$(pgrep -x sleep)"
wait "$engine" 2>/dev/null
done_testing
