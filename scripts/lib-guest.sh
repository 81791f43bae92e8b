#!/bin/bash
# lib-guest.sh: for tests that boot a virtual machine under QEMU's TCG; it takes the place of lib.sh. What the guest
# is to check stands in a script that is its /init, with guest-checks.sh beside it; a line `GUEST ok ...` is a check.
if [[ $(uname -m) == x86_64 && -z ${MYDOCKER_TEST_ROOM-} ]]; then
    "$(dirname "${BASH_SOURCE[0]}")/setup.sh" "${guest_sets:-guest}" || exit 1 # here: in the test's own namespaces there is no network
fi
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
guest=/var/cache/mydocker-guest # a kernel and its modules

only_x86_64() {
    [[ $(uname -m) != x86_64 ]] || return 0
    skip 'a virtual machine' 'only for x86_64'
    done_testing
}

# The programs that the engine calls, with their libraries, and users: a tree becomes a small host.
guest_host() { # TREE DIRECTORY-OF-THE-PROGRAMS
    local program library
    mkdir -p "$1/$2" "$1/etc"
    for program in curl tar gzip openssl slirp4netns newuidmap newgidmap; do
        cp --preserve=mode "$(command -v $program)" "$1/$2/"
        ldd "$(command -v $program)" | grep -o '/[^ ]*' | while read -r library; do
            [[ -e $1$library ]] || install -D "$library" "$1$library"
        done
    done
    printf '%s\n' root:x:0:0:root:/root:/bin/sh tester:x:1000:1000:tester:/home/tester:/bin/sh >"$1/etc/passwd"
    printf '%s\n' root:x:0: tester:x:1000: >"$1/etc/group"
    echo tester:100000:65536 | tee "$1/etc/subuid" >"$1/etc/subgid"
    printf '%s\n' 'passwd: files' 'group: files' 'hosts: files' >"$1/etc/nsswitch.conf"
    echo 127.0.0.1 localhost >"$1/etc/hosts"
}

# A registry is files: busybox httpd serves them.
publish() { # TREE NAME LAYOUT TAG
    local into=$1/registry/v2/$2 manifest digest
    mkdir -p "$into"/{manifests,blobs}
    manifest=$(jq -r --arg tag "$4" '.manifests[] | select(.annotations[] == $tag) | .digest' "$3/index.json")
    cp "$3/blobs/sha256/${manifest#*:}" "$into/manifests/$4"
    jq -r '.config.digest, .layers[].digest' "$into/manifests/$4" | while read -r digest; do
        ln "$1"/registry/v2/*/*/blobs/"$digest" "$into/blobs/" 2>/dev/null ||
            cp "$3/blobs/sha256/${digest#*:}" "$into/blobs/$digest"
    done
}

pack() { # TREE INITRAMFS
    (cd "$1" && find . | busybox cpio -o -H newc 2>/dev/null | gzip -1) >"$2"
}

machine() { # INITRAMFS MEGABYTES APPEND OPTION...: until it powers off; its console on standard output
    timeout 400 qemu-system-x86_64 -accel tcg,thread=multi -cpu max -m "$2" -smp 2 -nographic -no-reboot -nic none \
        -kernel "$guest/vmlinuz" -initrd "$1" -append "console=ttyS0 quiet panic=-1 $3" "${@:4}" </dev/null 2>&1 | tr -d '\r'
}

judge() { # NAME CONSOLE NUMBER-OF-CHECKS: each line of the guest's becomes one of ours
    local line
    sed -n 's/^.*GUEST //p' "$2" >"$room/checks"
    while read -r line; do
        case $line in
            'ok '*) report 1 "$1: ${line#ok }" ;;
            'not ok '*) report 0 "$1: ${line#not ok }" ;;
            '# '*) echo "#   ${line#\# }" ;;
        esac
    done <"$room/checks"
    is "$1: it came to its end" "$(tail -n 1 "$room/checks")" 'done' || note 'the end of its console' "$(tail -n 25 "$2")"
    is "$1: it made every check" "$(grep -cE '^(not )?ok ' "$room/checks")" "$3"
}
