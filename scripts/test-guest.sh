#!/bin/bash
# test-guest.sh: what this machine may not have: cgroup version 2 with its controllers, and
# Linux 6.1. A virtual machine without network, under QEMU's TCG; what it
# checks stands in guest-init.sh, what it has to do so is gathered here.
. "$(dirname "$0")/lib-guest.sh"
only_x86_64
need_images
root=$room/guest
cp -a "$images/busybox" "$root"
mkdir -p "$root"/{modules,home/tester,proc,sys,dev,registry,etc,root,tmp}
cp "$scripts/guest-init.sh" "$root/init"
cp "$scripts/guest-checks.sh" "$root/"
cp "$guest"/*.ko "$root/modules/"
cp "$mydocker" "$root/bin/mydocker"
chmod 755 "$root/init"
rm -f "$root"/bin/{tar,gzip} # busybox's
guest_host "$root" usr/bin
publish "$root" library/busybox "$images/layouts/busybox" latest
publish "$root" test/layers "$images/layouts/layers" latest

# Its disk is a file in the initramfs: a loop device needs the fewest modules.
initramfs=$room/initramfs.d
mkdir -p "$initramfs"/{bin,dev,mnt,modules}
cp "$root/bin/busybox" "$initramfs/bin/"
cp "$root/modules/loop.ko" "$initramfs/modules/"
cp "$root/init" "$initramfs/"
truncate -s 300M "$initramfs/disk.ext4"
mke2fs -q -t ext4 -E lazy_itable_init=1 -d "$root" "$initramfs/disk.ext4" || bail 'mke2fs failed'
for applet in sh mount insmod switch_root; do ln -s busybox "$initramfs/bin/$applet"; done
pack "$initramfs" "$room/initramfs"
machine "$room/initramfs" 1024 '' >"$room/console"
judge guest "$room/console" "$(grep -cE '^(check|complains) ' "$scripts/guest-init.sh")"
done_testing
