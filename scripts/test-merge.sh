#!/bin/bash
# test-merge.sh: stores on file systems that no overlay of the usual kind can have its upper
# directory on. ramfs carries no xattrs: the layers are copied into one tree. With the first
# lsetxattr(2) on the store refused, as by tmpfs before Linux 6.6, root's engine makes the overlay
# with trusted.* marks. (What Linux 6.1 really answers is tested in test-initramfs.sh.)
. "$(dirname "$0")/lib.sh"
registry main 5000
ordinary_users
run() { mydocker run --rm --network none "$@"; }
umoci unpack --image "$images/layouts/layers:latest" "$room/oracle" >/dev/null 2>&1 || bail 'umoci unpack failed'
/usr/bin/python3 "$scripts/tree.py" "$room/oracle/rootfs" >"$room/oracle.tree"
without_xattrs() { sed -E 's/ [a-z]+\.[a-z]+=[^ ]*$/ /' "$1"; }

# tree_is DESCRIPTION [ENTER...]: the running sleep's root, seen by way of ENTER, is umoci's; with xattrs=no but for those.
xattrs=yes
tree_is() {
    eventually 100 pgrep -x sleep
    "${@:2}" /usr/bin/python3 "$scripts/tree.py" "/proc/$(pgrep -x sleep)/root" >"$room/ours.tree"
    if [[ $xattrs == no ]]; then
        is "$1" "$(diff <(without_xattrs "$room/oracle.tree") "$room/ours.tree")" ''
    else
        is "$1" "$(diff "$room/oracle.tree" "$room/ours.tree")" ''
    fi
    kill -KILL "$(pgrep -x sleep)"
    wait "$engine" 2>/dev/null
}
# behaves WHERE: what a container is, whatever its tree is made by. $MYDOCKER_HOME has the image.
behaves() {
    gives "$1: a lower directory can be removed and made anew" new run test/layers \
        sh -c 'rm -r /odd && mkdir /odd && touch /odd/new && ls /odd'
    gives "$1: what one container writes another does not see" '' run test/layers sh -c 'ls /odd/new 2>/dev/null; true'
    is '  nor the image' "$(find "$MYDOCKER_HOME/layers" -name new)" ''
    exits "$1: --read-only" 1 run --read-only test/layers sh -c 'touch /x 2>/dev/null'
    gives "$1: a volume" host run -v "$room/v:/v:ro" test/layers cat /v/file
    gives "$1: the files of /etc are the container's own" 'box 127.0.0.1' \
        run --hostname box test/layers sh -c 'echo $(cat /etc/hostname) $(grep -w box /etc/hosts | cut -f1)'
    gives "$1: a name of the image's users" 1000:1000 run -u alice test/layers sh -c 'echo $(id -u):$(id -g)'
    gives "$1: /proc, /sys and /dev are the kernel's" 'proc sysfs devpts' \
        run test/layers sh -c 'echo $(awk "\$5 == \"/proc\" || \$5 == \"/sys\" || \$5 == \"/dev/pts\" {for (i = 7; \$i != \"-\"; i++); print \$(i + 1)}" /proc/self/mountinfo)'
    exits "$1: no mount may be undone" 1 run test/layers sh -c 'umount -l /proc/sys 2>/dev/null || umount -l / 2>/dev/null || exit 1'
    gives "$1: no such thing as a whiteout is left" '' run test/layers find / -xdev -name '.wh.*' ! -name '.wh-not'
    ok "$1: a kept container" mydocker run --network none --name kept test/layers true
    ok '  goes' mydocker rm kept
    is '  and all of it' "$(ls -A "$MYDOCKER_HOME/containers")" ''
    fails '  no such command' 127 'no-such' run test/layers no-such
}
mkdir "$room/v"
echo host >"$room/v/file"

# ---------------------------------------------------------------- ramfs: one tree

mkdir "$room/ramfs"
mount -t ramfs none "$room/ramfs"
chmod 777 "$room/ramfs"
MYDOCKER_HOME=$room/ramfs/root
xattrs=no
ok 'pull to a ramfs' mydocker pull test/layers
is '  its layers are marked by files' "$(find "$MYDOCKER_HOME" -maxdepth 1 -name 'skeleton*' -printf %f)" skeleton.files
mydocker run --network none --rm test/layers sleep 1000 &
engine=$!
tree_is '  every file as umoci has it'
behaves ramfs
gives 'an archive, too' yes sh -c "'$mydocker' load -i '$images/layouts/busybox' >/dev/null 2>&1
    '$mydocker' run --rm --network none busybox echo yes"
ok 'an image of 40 layers' run test/many:40 true
ok 'rmi' mydocker rmi test/many:40
as sub env MYDOCKER_HOME="$room/ramfs/sub" "$mydocker" run --rm --network none test/layers sleep 1000 &
engine=$!
tree_is 'rootless: every file as umoci has it' nsenter -U -t "$(eventually 100 pgrep -x sleep && pgrep -x sleep)"
gives '  and its own ids' '0 1000' as sub env MYDOCKER_HOME="$room/ramfs/sub" "$mydocker" run --rm --network none test/layers \
    sh -c 'echo $(id -u) $(stat -c %u /odd/owner-1000-1000)'
is '  nothing is left of them' "$(ls -A "$room/ramfs/sub/containers")" ''

# busybox tar in the place of GNU tar: the tree is the same, but for xattrs and what it cannot say.
mkdir "$room/lean"
for program in openssl gzip cat mount; do ln -s "$(command -v $program)" "$room/lean/$program"; done
ln -s "$(command -v busybox)" "$room/lean/tar"
gives 'busybox tar copies, too' last env PATH="$room/lean" "$mydocker" run --rm --network none test/layers ls /opaque
umount "$room/ramfs"

# ---------------------------------------------------------------- no overlayfs in the kernel

# As seen by the engine: not in the list, and none to be had.
MYDOCKER_HOME=$room/none
grep -v overlay /proc/filesystems >"$room/filesystems"
without_overlay() {
    unshare -m sh -c 'mount --bind "$1" /proc/filesystems && shift && exec strace -f -o /dev/null -e trace=fsopen,mount \
        --inject=fsopen:error=ENODEV "$@"' sh "$room/filesystems" "$@"
}
try without_overlay "$mydocker" pull test/layers
is 'without overlayfs a disk is marked by files, too' "$(find "$MYDOCKER_HOME" -maxdepth 1 -name 'skeleton*' -printf %f)" skeleton.files
gives '  and the layers are merged' last mydocker run --rm --network none test/layers ls /opaque
MYDOCKER_HOME=$room/store
ok 'an image that was made for an overlay' mydocker pull busybox
try strace -f -o /dev/null --inject=fsopen,mount:error=ENODEV:when=2 "$mydocker" run --rm --network none busybox true
is '  is refused' "$rc" 125
like '  and the way out is named' "$err" 'modprobe overlay, or pull the image again'

# ---------------------------------------------------------------- trusted.*: the engine's overlay

MYDOCKER_HOME=$room/trusted
xattrs=yes
try strace -f -o "$room/trace" -P "$room/trusted/layers" --inject=lsetxattr:error=EOPNOTSUPP:when=1 "$mydocker" pull test/layers
is 'trusted.* where user.* is refused' "$(find "$MYDOCKER_HOME" -maxdepth 1 -name 'skeleton*' -printf %f)" skeleton.trusted
mydocker run --network none --rm test/layers sleep 1000 &
engine=$!
tree_is '  every file as umoci has it'
behaves trusted
like '  devices are off in it' "$(run test/layers head -n 1 /proc/self/mountinfo)" ' / / rw,nodev'
nothing_remains 'nothing runs, nothing is mounted'
done_testing
