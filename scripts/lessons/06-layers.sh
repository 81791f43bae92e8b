#!/bin/bash
# 06-layers.sh: what a layer is, and how one deletes what one cannot change
. "$(dirname "$0")/lesson.sh"
question <<'END'
An image is a stack of tar archives, its layers, and none is ever changed. How can the second delete a
file of the first? And what is on disk when a container has deleted a file of its image?
END
mkdir -p two/etc
touch two/etc/.wh.group
echo 'of the second layer' >two/etc/motd
layer two two.tar
show tar -tf two.tar
push_image . layered "$place/layer.tar" two.tar # the first one: busybox, with /etc/passwd and /etc/group
trace mknodat S_IFCHR mydocker pull layered
ln -s "$MYDOCKER_HOME/images/$(readlink "$MYDOCKER_HOME/images/docker.io+library+layered:latest")" image
show ls -l image/0/etc image/1/etc
trace mount,unlink '"overlay"|unlink' mydocker run --network none --name mine layered sh -c 'rm /etc/passwd; ls /etc'
mine=$(xargs <<<"$shown")
ln -s "$MYDOCKER_HOME/containers/mine" mine
show ls -l mine/upper/etc
show mydocker run --rm --network none layered ls /etc
answer <<'END'
The kernel's overlayfs shows directories that lie on each other as one: lowerdir (topmost first; the
layers are 0 and 1, the other two are the engine's own) is only read, upperdir takes what is written.
To delete a lower file it puts a whiteout of that name above it: a character device 0/0, which it then
shows as "nothing here" (Documentation/filesystems/overlayfs.rst). No lower file is touched, so all
containers of an image share it. A tar has no room for such a thing, so there it is an empty file with
a prefix, .wh.group (OCI image-spec, layer.md); the engine makes the device of it when it unpacks.
END
kind() { stat -L -c '%F %t/%T' "$1"; }
check '.wh.group in the archive is a device 0/0 in the store' test "$(kind image/1/etc/group)" = 'character special file 0/0'
check 'so is passwd, which the container deleted, in its upper' test "$(kind mine/upper/etc/passwd)" = 'character special file 0/0'
check 'the container saw neither of the two' test "$mine" = 'hostname hosts motd resolv.conf'
check 'the first layer has both, as ever' grep -q '^root:' image/0/etc/passwd image/0/etc/group
check 'the next container has passwd again' grep -qx passwd <<<"$shown"
now_you <<'END'
TRY=1 scripts/lessons/06-layers.sh, and in its shell: let a container append a line to /etc/passwd. What
is in its upper? And after rm -r /home; mkdir /home? (getfattr -d DIRECTORY, of the package attr.)
END
