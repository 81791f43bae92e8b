#!/bin/bash
# test-refused.sh: what `pull` must refuse, leaving nothing in the store, and layers that
# try to reach a directory of the host, the canary.
. "$(dirname "$0")/lib.sh"
need_images
canary=$room/canary
bad=$room/bad
mkdir "$canary" "$canary/dir"
echo untouched >"$canary/file"
echo root:x:0:0::/:/bin/sh >"$canary/passwd"
/usr/bin/python3 "$scripts/bad_images.py" "$images/busybox" "$bad" "$canary" || bail 'bad_images.py failed'
cp -r "$images/layouts/busybox" "$bad/busybox"
stand_in 5000 --layouts "$bad" --log "$room/requests"
tags() { jq -r '.manifests[].annotations[]' "$bad/$1/index.json"; }

ok 'busybox, which stays' mydocker pull busybox
ok 'the layer below all bad images, which stays' mydocker pull test/bad:base
ok 'the unspoiled image is pulled' mydocker pull test/bad:good
ok 'and removed' mydocker rmi test/bad:good
before=$(store_list "$MYDOCKER_HOME")
remember

# The whole of what a refusal must be: one line that says what and where, exit 125, and
# a store with the same names as before.
refused() { # DESCRIPTION COMMAND...
    fails "$1" 125 'mydocker: .{10}' "${@:2}"
    # shellcheck disable=SC2154 # rc: of `fails`
    ((rc)) || mydocker rmi "${@: -1}" >/dev/null # or the next would find it
    local now
    now=$(store_list "$MYDOCKER_HOME")
    is '  and the store is as before' "$(diff <(echo "$before") - <<<"$now")" ''
    before=$now # what stays is told once
}

for tag in $(tags bad); do
    [[ $tag != good && $tag != base ]] || continue
    refused "refused: $tag" mydocker pull "test/bad:$tag"
done
gives 'and the image that was there still runs' here run --pull never busybox echo here
# A digest that is none must never become part of a request or of a path.
unlike 'no malformed digest was asked for' "$(jq -r .path "$room/requests")" \
    '/blobs/(sha256:.*[^0-9a-f].*|sha256:[0-9a-f]{0,63}|sha256:[0-9a-f]{65,}|[^s].*|)$'
nothing_remains 'nothing runs, nothing is mounted'

# What came before the refusal goes too: the good layer below the bad one.
kept=$MYDOCKER_HOME
MYDOCKER_HOME=$room/other
for tag in size-less layer-content diff-id gzip-cut; do
    fails "refused: $tag, in an empty store" 125 '.' mydocker pull "test/bad:$tag"
    is '  and nothing stays' "$(find "$MYDOCKER_HOME"/{images,layers,tmp,containers} -mindepth 1 -maxdepth 1)" ''
    rm -rf "$MYDOCKER_HOME"
done
MYDOCKER_HOME=$kept

# The same lies told by the server.
try_server() { # DESCRIPTION ARGS-OF-stand-in...
    stand_in 5001 --layouts "$bad" "${@:2}"
    refused "$1" mydocker pull 127.0.0.1:5001/test/bad:good
    stop "$stand_in_pid"
}
try_server 'a bit of each blob flipped' --flip
try_server 'a byte too many' --extra
try_server 'a byte too few' --short
try_server 'an answer of 500' --status 500 blobs 1000
try_server 'an answer of 403' --status 403 manifests 1000
try_server 'escapes in an answer' --status 500 manifests 1000
unlike '  are not printed' "$err" $'\x1b'
try_server 'a redirect to a file' --redirect file:///etc
try_server 'a redirect to another protocol' --redirect gopher://127.0.0.1:5000
try_server 'a redirect to itself, for ever' --redirect http://127.0.0.1:5001
# By digest, the answer must be that manifest, whatever the header claims.
digest=$(jq -r '.manifests[] | select(.annotations[] == "good") | .digest' "$bad/bad/index.json")
cp -r "$bad/bad" "$bad/swapped"
cp "$bad/swapped/blobs/sha256/$(jq -r '.manifests[] | select(.annotations[] == "size-less") | .digest[7:]' "$bad/bad/index.json")" \
    "$bad/swapped/blobs/sha256/${digest#sha256:}"
refused 'pulled by digest, another manifest comes' mydocker pull "test/swapped@$digest"

# ---------------------------------------------------------------- hostile layers

canary_state() { /usr/bin/python3 "$scripts/tree.py" "$canary" && stat -c '%n %Y %Z %h' "$canary"/*; }
was=$(canary_state)
: >"$room/harmed"
limit=20
hostile_layers() { # WHERE: what the store is on
    for tag in $(tags hostile); do
        # Refused or harmless, but never a hang, a crash or a write.
        try run "test/hostile:$tag" sh -c 'cat /etc/hosts /etc/hostname /etc/resolv.conf >/dev/null; echo x >/etc/hosts; ls -lR /x /h >/dev/null 2>&1; echo ran'
        like "hostile, $1: $tag is refused, or runs" "$rc $out" '^(125 |0 ran$|126 |127 )'
        is "  the canary is untouched" "$(diff <(echo "$was") <(canary_state))" ''
        [[ $rc != 125 ]] || is '  refused in one line' "$(grep -cvE "$events" <<<"$err")" 1
    done
}
hostile_layers 'an overlay'
# The same where the layers are copied into one tree: links of one layer lie in the way of the next.
mkdir "$room/ramfs"
mount -t ramfs none "$room/ramfs"
MYDOCKER_HOME=$room/ramfs/store hostile_layers 'merged'
umount "$room/ramfs"
for odd in _wh_ _wh__ _wh___; do
    fails "a malformed whiteout is refused: $odd" 125 'whiteout|\.wh\.' mydocker pull "test/hostile:whiteout-$odd"
done
# A link in the image as /etc/passwd is read inside the root, not on the host.
try run -u root test/hostile:passwd-link busybox id -u
like 'passwd as a link out of the root is not followed' "$rc:$out" '^(125:|0:0$)'
try run -u alice test/hostile:etc-hosts-fifo busybox id -u
is 'a pipe as /etc/passwd: no hang' "$rc" 125
try run test/hostile:escape true
is 'a user name with escapes' "$rc" 125
unlike '  which are not printed' "$err" $'\x1b'
nothing_remains 'after all of these nothing runs, nothing is mounted'
done_testing
