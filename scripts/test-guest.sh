#!/bin/bash
# test-guest.sh: what this machine may not have: cgroup version 2 with its controllers, and
# Linux 6.1. A virtual machine without network, under QEMU's TCG; what it
# checks stands in guest-init.sh, what it has to do so is gathered here.
if [[ $(uname -m) == x86_64 && -z ${MYDOCKER_TEST_ROOM-} ]]; then
    "$(dirname "$0")/setup.sh" guest || exit 1 # here: in the test's own namespaces there is no network
fi
. "$(dirname "$0")/lib.sh"
if [[ $(uname -m) != x86_64 ]]; then
    skip 'a virtual machine' 'only for x86_64'
    done_testing
fi
need_images
root=$room/guest
cp -a "$images/busybox" "$root"
mkdir -p "$root"/{modules,home/tester,proc,sys,dev,registry,etc,root,tmp}
cp "$scripts/guest-init.sh" "$root/init"
cp /var/cache/mydocker-guest/*.ko "$root/modules/"
cp "$mydocker" "$root/bin/mydocker"
chmod 755 "$root/init"

# The programs that the engine calls, with their libraries.
for program in curl tar gzip openssl slirp4netns newuidmap newgidmap; do
    path=$(command -v $program)
    rm -f "$root$path" "$root/bin/$program"
    install -D "$path" "$root/usr/bin/$program"
    ldd "$path" | grep -o '/[^ ]*' | while read -r library; do
        [[ -e $root$library ]] || install -D "$library" "$root$library"
    done
done
cp --preserve=mode "$(command -v newuidmap)" "$(command -v newgidmap)" "$root/usr/bin/"
cat >"$root/etc/passwd" <<'END'
root:x:0:0:root:/root:/bin/sh
tester:x:1000:1000:tester:/home/tester:/bin/sh
END
printf 'root:x:0:\ntester:x:1000:\n' >"$root/etc/group"
echo tester:100000:65536 | tee "$root/etc/subuid" >"$root/etc/subgid"
printf 'passwd: files\ngroup: files\nhosts: files\n' >"$root/etc/nsswitch.conf"
echo 127.0.0.1 localhost >"$root/etc/hosts"

# A registry is files: busybox httpd serves them.
publish() { # NAME LAYOUT TAG
    local into=$root/registry/v2/$1 manifest
    mkdir -p "$into"/{manifests,blobs}
    manifest=$(jq -r --arg tag "$3" '.manifests[] | select(.annotations[] == $tag) | .digest' "$2/index.json")
    cp "$2/blobs/sha256/${manifest#*:}" "$into/manifests/$3"
    jq -r '.config.digest, .layers[].digest' "$into/manifests/$3" | while read -r digest; do
        cp "$2/blobs/sha256/${digest#*:}" "$into/blobs/$digest"
    done
}
publish library/busybox "$images/layouts/busybox" latest
publish test/layers "$images/layouts/layers" latest

# Its disk is a file in the initramfs: a loop device needs the fewest modules.
initramfs=$room/initramfs.d
mkdir -p "$initramfs"/{bin,dev,mnt,modules}
cp "$root/bin/busybox" "$initramfs/bin/"
cp "$root/modules/loop.ko" "$initramfs/modules/"
cp "$root/init" "$initramfs/"
truncate -s 300M "$initramfs/disk.ext4"
mke2fs -q -t ext4 -E lazy_itable_init=1 -d "$root" "$initramfs/disk.ext4" || bail 'mke2fs failed'
for applet in sh mount insmod switch_root; do ln -s busybox "$initramfs/bin/$applet"; done
(cd "$initramfs" && find . | busybox cpio -o -H newc 2>/dev/null | gzip -1) >"$room/initramfs"
timeout 200 qemu-system-x86_64 -accel tcg,thread=multi -cpu max -m 1024 -smp 2 -nographic -no-reboot -nic none \
    -kernel /var/cache/mydocker-guest/vmlinuz -initrd "$room/initramfs" \
    -append 'console=ttyS0 quiet panic=-1' </dev/null >"$room/console" 2>&1
tr -d '\r' <"$room/console" | sed -n 's/^.*GUEST //p' >"$room/checks"

# Each of its lines becomes one of ours.
while read -r line; do
    case $line in
        'ok '*) report 1 "guest: ${line#ok }" ;;
        'not ok '*) report 0 "guest: ${line#not ok }" ;;
        '# '*) echo "#   ${line#\# }" ;;
    esac
done <"$room/checks"
is 'the guest came to its end' "$(tail -n 1 "$room/checks")" 'done'
[[ $(tail -n 1 "$room/checks") == 'done' ]] || note 'the end of its console' "$(tail -n 25 "$room/console")"
is 'it made every check' "$(grep -cE '^(not )?ok ' "$room/checks")" "$(grep -cE '^(check|complains) ' "$scripts/guest-init.sh")"
done_testing
