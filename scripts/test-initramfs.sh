#!/bin/bash
# test-initramfs.sh: what initramfs.sh writes: that and nothing else, the same bytes each time, from every kind of
# image and of modules; its errors; and that it boots under QEMU, where a container says hello, an image is pulled
# from this host's loopback, and this host's DNS questions are answered.
if [[ -z ${MYDOCKER_TEST_ROOM-} ]]; then
    "$(dirname "$0")/setup.sh" initramfs guest || exit 1 # here: in the test's own namespaces there is no network
fi
. "$(dirname "$0")/lib.sh"
. "$scripts/lib-dns.sh"
registry main 5000
ordinary_users
layouts=$images/layouts
kernel=/var/cache/mydocker-guest
# Where ordinary users can reach it, too.
cp "$scripts"/{initramfs,bed}.sh "$room/bin/"
export MYDOCKER=$mydocker
make_it() { "$room/bin/initramfs.sh" "$@"; }
small=(--no-curl --no-slirp4netns)
bare=("${small[@]}" --modules none)
made() { ok "$1" make_it "${@:2}" || bail 'no initramfs'; }
# unpacked FILE: its tree, $tree
unpacked() { tree=$(mktemp -d "$room/tree.XXXXXX"); decompressed "$1" | (cd "$tree" && busybox cpio -i 2>/dev/null); }
decompressed() {
    case $1 in
        *.gz) gzip -dc "$1" ;;
        *.zst) zstd -dc "$1" ;;
        *.xz) xz -dc "$1" ;;
        *) cat "$1" ;;
    esac
}
# MODE OWNER SIZE DATE TIME NAME
list() { decompressed "$1" | busybox cpio -tv 2>/dev/null; }

# ---------------------------------------------------------------- what is in it

made 'engine, busybox and an image of it' "${small[@]}" --modules $kernel --busybox-image -o small.cpio.gz
sizes=$out
one_line() { list small.cpio.gz | grep -v ' -> /bin/busybox$' | awk '{ print $1, $2, $6 $7 $8 $9 }'; }
is 'nothing else is in it' "$(one_line)" "drwxr-xr-x 0/0 bin
drwxr-xr-x 0/0 dev
drwxr-xr-x 0/0 etc
drwxr-xr-x 0/0 proc
drwxr-xr-x 0/0 root
drwxr-xr-x 0/0 run
drwxr-xr-x 0/0 sbin
drwxr-xr-x 0/0 sys
drwxr-xr-x 0/0 usr
drwxr-xr-x 0/0 usr/bin
drwxr-xr-x 0/0 usr/sbin
drwxrwxrwt 0/0 tmp
crw------- 0/0 dev/console
crw-rw-rw- 0/0 dev/null
-rw-r--r-- 0/0 etc/passwd
-rw-r--r-- 0/0 etc/group
-rw-r--r-- 0/0 etc/nsswitch.conf
-rwxr-xr-x 0/0 mydocker
lrwxrwxrwx 0/0 bin/mydocker->../mydocker
-rwxr-xr-x 0/0 bin/busybox
drwxr-xr-x 0/0 modules
-rw-r--r-- 0/0 modules/10-overlay.ko
-rw-r--r-- 0/0 modules/11-tun.ko
-rw-r--r-- 0/0 modules/12-virtio_ring.ko
-rw-r--r-- 0/0 modules/13-virtio_pci_modern_dev.ko
-rw-r--r-- 0/0 modules/14-virtio_pci_legacy_dev.ko
-rw-r--r-- 0/0 modules/15-virtio.ko
-rw-r--r-- 0/0 modules/16-virtio_pci.ko
-rw-r--r-- 0/0 modules/17-failover.ko
-rw-r--r-- 0/0 modules/18-net_failover.ko
-rw-r--r-- 0/0 modules/19-virtio_net.ko
drwxr-xr-x 0/0 images
-rw-r--r-- 0/0 images/01-busybox.tar"
is 'but a link for each applet' "$(list small.cpio.gz | sed -n 's/.* \([^ ]*\) -> \/bin\/busybox$/\1/p')" \
    "$(busybox --list-full | grep -vxE 'linuxrc|bin/busybox' | sort)"
is 'of the year 1970' "$(list small.cpio.gz | awk '{ print $4 }' | sort -u)" 1970-01-01
unpacked small.cpio.gz
is 'the engine is ours, busybox the machine'\''s, to the byte' \
    "$(cmp "$tree/mydocker" "$mydocker" && cmp "$tree/bin/busybox" "$(type -P busybox)" && cat "$tree/etc/passwd")" 'root:x:0:0:root:/root:/bin/sh'
is 'modules, too' "$(for ko in "$tree"/modules/*; do cmp "$ko" "$kernel/${ko##*/[0-9][0-9]-}"; done 2>&1)" ''

# NAME -> "BYTES COMPRESSED" of that row
row() { sed -nE "s/^$1 +([0-9]+) +([0-9]+) .*/\1 \2/p" <<<"$sizes"; }
is 'the last row is true' "$(row 'all together')" "$(gzip -dc small.cpio.gz | wc -c) $(stat -c %s small.cpio.gz)"
is 'the rows add up to it' "$(awk 'NR > 1 && !/^all together/ { sum += $(NF - 1 - /for Linux/ * 3) } END { print sum + 124 }' <<<"$sizes")" \
    "$(row 'all together' | cut -d' ' -f1)"
read -r whole packed <<<"$(row busybox)"
like 'a row is the size of its part' "$((whole - $(stat -Lc %s "$(type -P busybox)")))" '^[1-4][0-9]{4}$'
like '  and of it compressed' "$((packed - $(gzip -9c "$(type -P busybox)" | wc -c)))" '^-?[0-9]{1,4}$'
is 'modules: for which kernel' "$(sed -n 's/^modules.* for //p' <<<"$sizes")" \
    "Linux $(tr '\0' '\n' <$kernel/overlay.ko | sed -nE 's/^vermagic=([^ ]*).*/\1/p')"
read -r whole packed <<<"$(row 'all together')"
ok "at most 4 MB compressed ($packed bytes)" test "$packed" -le 4000000
ok 'the engine at most 1.7 MB' test "$(stat -c %s "$mydocker")" -le 1700000

# ---------------------------------------------------------------- the same bytes

umask 077
ok 'again, as a user, in another place, with another umask and language' as sub env LC_ALL=en_US.UTF-8 MYDOCKER="$mydocker" \
    "$room/bin/initramfs.sh" --busybox-image -o "$room/home/sub/user.cpio" "${small[@]}" --modules $kernel
umask 022
is '  gives the same bytes' "$(gzip -9n <"$room/home/sub/user.cpio" | cmp - small.cpio.gz 2>&1)" ''
is '  which everybody may read' "$(stat -c %a "$room/home/sub/user.cpio")" 644
export SOURCE_DATE_EPOCH=1700000000
made 'SOURCE_DATE_EPOCH' "${bare[@]}" -o dated.cpio
unset SOURCE_DATE_EPOCH
is '  is the time of all files' "$(list dated.cpio | awk '{ print $4 }' | sort -u)" 2023-11-14
for suffix in cpio cpio.xz cpio.zst; do
    made ".$suffix" "${bare[@]}" -o "other.$suffix"
    list "other.$suffix" >"list.$suffix"
    is '  the same files' "$(cmp list.cpio "list.$suffix" && wc -l <"list.$suffix")" "$(list other.cpio | wc -l)"
done

# ---------------------------------------------------------------- programs

made 'curl, slirp4netns and GNU tar' --gnu-tar --modules $kernel --busybox-image --init busybox -o full.cpio
sizes=$out
for name in curl slirp4netns tar 'CA certificates'; do like "  what $name costs" "$(row "$name")" '^[0-9]+ [0-9]+$'; done
unpacked full.cpio
is '  with their libraries and no other' "$(cd "$tree" && find lib* usr/lib* -type f 2>/dev/null | sort)" \
    "$(for name in curl slirp4netns tar; do ldd "$(type -P $name)"; done | grep -oE '/[^ ]+' | cut -c2- | sort -u)"
for program in curl slirp4netns 'tar'; do
    like "  $program runs in it" "$(chroot "$tree" $program --version 2>&1 | head -n 1)" "^$program ((\(GNU tar\) )?[0-9]|version)"
done
is '  and finds names and CAs' "$(chroot "$tree" curl -sS https://registry.test:1/ 2>&1 | grep -c 'Could not resolve host')" 1
cp /etc/hosts "$tree/etc/hosts"
like '  in /etc/hosts' "$(chroot "$tree" curl -sS https://registry.test:1/ 2>&1)" 'Failed to connect|refused'
is '  GNU tar stands for the applet' "$(cd "$tree" && find . -name tar)" ./usr/bin/tar
is '  certificates' "$(cmp "$tree/etc/ssl/certs/ca-certificates.crt" /etc/ssl/certs/ca-certificates.crt && echo same)" same

# ---------------------------------------------------------------- images

mkdir archives
(
    cd archives || exit
    skopeo copy -q "oci:$layouts/layers:latest" docker-archive:docker.tar:test/layers:latest
    gzip -k docker.tar
    skopeo copy -q "oci:$layouts/layers:latest" oci-archive:oci.tar:test/layers:latest
    cp -r "$layouts/layers" layers
    # A docker-archive with layers that are compressed, as bazel writes it.
    mkdir packed && tar -xf docker.tar -C packed && cd packed || exit
    find . -name '*.tar' -type f -exec gzip -n {} \; -exec mv {}.gz {} \;
    tar -cf ../packed.tar manifest.json -- *
) || bail 'skopeo cannot write archives'
digest=$(jq -r '.manifests[0].digest' "$layouts/layers/index.json")
export MYDOCKER_HOME=$room/store-pulled
ok 'a pull to compare with' mydocker pull test/layers
image_id() { find "$MYDOCKER_HOME/images" -mindepth 1 -maxdepth 1 -type d -printf '%f\n'; }
wanted=$(image_id)
# as_pulled WHAT NAME IMAGE: what lies in /images is one tar without compressed files, and loads as NAME.
as_pulled() {
    made "$1" "${bare[@]}" "$3" -o image.cpio
    unpacked image.cpio
    is '  nothing in it is compressed' "$(mkdir "$tree/in" && tar -xf "$tree"/images/01-*.tar -C "$tree/in" &&
        find "$tree/in" -type f -exec od -An -N2 -tx1 {} \; | grep -cE '1f 8b|28 b5')" 0
    MYDOCKER_HOME=$(mktemp -d "$room/store.XXXXXX")
    gives "  loaded as $2" "Loaded image: $2" mydocker load -i "$tree"/images/01-*.tar
    is '  the image that a pull brings' "$(image_id)" "$wanted"
}
as_pulled 'docker-archive' test/layers:latest archives/docker.tar
as_pulled 'docker-archive.gz' test/layers:latest archives/docker.tar.gz
as_pulled 'docker-archive with compressed layers' test/layers:latest archives/packed.tar
as_pulled 'OCI archive' test/layers:latest archives/oci.tar
as_pulled 'OCI layout with a tag alone' layers:latest archives/layers
as_pulled 'a name, from the mirror' test/layers:latest test/layers
as_pulled 'a name of another registry' 127.0.0.1:5000/test/layers:latest 127.0.0.1:5000/test/layers
as_pulled 'a name by digest' test/layers:latest "test/layers@$digest"
made 'two images' "${bare[@]}" busybox archives/docker.tar -o image.cpio
is '  each under its number' "$(list image.cpio | grep -o 'images/.*')" 'images/01-busybox.tar
images/02-docker.tar'
made '  again' "${bare[@]}" busybox archives/docker.tar -o again.cpio
ok '  the same bytes' cmp image.cpio again.cpio

# ---------------------------------------------------------------- modules

release=6.1.0-test
lib=$room/package/lib/modules/$release
mkdir -p "$lib"/kernel/{a,b} "$room/package/DEBIAN"
for ko in "$kernel"/*.ko; do xz -c --check=crc32 "$ko" >"$lib/kernel/a/${ko##*/}.xz"; done
rm "$lib/kernel/a/overlay.ko.xz"
zstd -q $kernel/overlay.ko -o "$lib/kernel/b/overlay.ko.zst"
gzip -c $kernel/tun.ko >"$lib/kernel/b/tun.ko.gz"
rm "$lib/kernel/a/tun.ko.xz"
# The kernel's names have - where a file's may have _.
mv "$lib/kernel/a/virtio_net.ko.xz" "$lib/kernel/b/virtio-net.ko.xz"
echo kernel/net/packet/af_packet.ko >"$lib/modules.builtin"
printf 'Package: linux-image\nVersion: 1\nArchitecture: all\nMaintainer: nobody\nDescription: test\n' >"$room/package/DEBIAN/control"
dpkg-deb -b "$room/package" kernel.deb >/dev/null || bail 'dpkg-deb'
unpacked small.cpio.gz
plain=$(cd "$tree" && sha256sum modules/*)
for source in "$lib" kernel.deb; do
    made "modules of ${source##*/}" "${small[@]}" --modules "$source" -o modules.cpio
    is '  nothing to remark' "$err" ''
    unpacked modules.cpio
    is '  unpacked, in the same order' "$(cd "$tree" && sha256sum modules/*)" "$plain"
done
made 'one more' "${small[@]}" --modules "$lib" --add-module loop -o modules.cpio
like '  comes last' "$(list modules.cpio)" ' modules/20-loop.ko$'
made 'none' "${bare[@]}" -o modules.cpio
unlike '  is none' "$(list modules.cpio)" 'modules'
made 'loose files' "${small[@]}" --modules $kernel -o modules.cpio
is '  what may be built in is named' "$err" "initramfs.sh: not in $kernel, so taken to be built into the kernel: af_packet"

# ---------------------------------------------------------------- errors

mkdir -m 755 elsewhere
# wrong DESCRIPTION EXIT-CODE REGEX ARGS...: one line on stderr, and no file, half or whole.
wrong() {
    rm -f elsewhere/x.cpio
    try make_it -o elsewhere/x.cpio "${@:4}"
    [[ $rc == "$2" && -z $(ls elsewhere) ]] && grep -qE -- "^initramfs.sh: $3" <<<"$(grep -v '^initramfs.sh: mirror: ' <<<"$err" | head -n 1)"
    report $((!$?)) "$1" || { note wanted "exit $2, /$3/"; tell_try; ls elsewhere; }
}
wrong 'no such file' 1 'there is no ./nothing.tar$' "${bare[@]}" ./nothing.tar
wrong 'no archive' 1 '/etc/passwd is not an archive: ' "${bare[@]}" /etc/passwd
mkdir other && touch other/x && tar -cf other.tar other
wrong 'an archive of something else' 1 'other.tar is no image: neither' "${bare[@]}" other.tar
wrong 'a directory of something else' 1 './other is no image: neither' "${bare[@]}" ./other
wrong 'no such image' 1 'image nothing: skopeo: .*docker.io' "${bare[@]}" nothing
wrong 'no such image in another registry' 1 'image 127.0.0.1:5000/no: skopeo: .*manifest unknown' "${bare[@]}" 127.0.0.1:5000/no
wrong 'a name that is none' 1 'image "a b" is neither a file nor a name' "${bare[@]}" 'a b'
wrong 'an option that is none' 2 'there is no option --what' --what
wrong 'an option without its value' 2 '--modules needs a value' --modules
wrong 'no such directory of modules' 1 '/nowhere is neither a directory nor a package' "${small[@]}" --modules /nowhere
wrong 'no modules in it' 1 'there are no modules \(\*.ko\) in other' "${small[@]}" --modules other
wrong 'no package' 1 'there is no no.deb' "${small[@]}" --modules no.deb
cp /etc/passwd false.deb
wrong 'a package that is none' 1 'false.deb is not a kernel package: ' "${small[@]}" --modules false.deb
wrong 'a module that is not there' 1 'there is no module e1000 in ' "${small[@]}" --modules "$lib" --add-module e1000
cp -r "$room/package/lib/modules/$release" "$room/package/lib/modules/other"
wrong 'two kernels at once' 1 'overlay is in .* more than once' "${small[@]}" --modules "$room/package/lib/modules"
wrong 'a program that is not there' 1 'there is no nonesuch here' "${bare[@]}" --program nonesuch
MYDOCKER=/nowhere/mydocker wrong 'no engine' 1 'there is no /nowhere/mydocker: run make first' "${bare[@]}"
MYDOCKER=/bin/ls wrong 'an engine that is not static' 1 '/bin/ls is not static' "${bare[@]}"
SOURCE_DATE_EPOCH=now wrong 'a time that is none' 1 'SOURCE_DATE_EPOCH=now is not a number' "${bare[@]}"
mkdir fake && cp /bin/ls fake/busybox
PATH=$PWD/fake:$PATH wrong 'busybox that is not static' 1 '.*fake/busybox is not static.*apt-get install busybox-static' "${bare[@]}"
rm -r fake && cp -rs /usr/bin fake && rm -f fake/{busybox,skopeo}
PATH=$PWD/fake wrong 'no busybox' 1 'there is no busybox here \(apt-get install busybox-static\)' "${bare[@]}"
ln -s "$(type -P busybox)" fake/busybox
PATH=$PWD/fake wrong 'no skopeo' 1 'for this image skopeo is needed \(apt-get install skopeo\)' "${bare[@]}" archives/oci.tar
PATH=$PWD/fake made '  but for a plain docker-archive' "${bare[@]}" archives/docker.tar -o image.cpio
exits 'no -o' 2 make_it "${bare[@]}"
like '  it is named' "$err" '^initramfs.sh: -o OUT.cpio.gz is missing'
exits 'a suffix that says nothing' 2 make_it "${bare[@]}" -o elsewhere/x.img
mkdir directory.cpio
exits 'a directory as output' 1 make_it "${bare[@]}" -o directory.cpio
like '  it is named' "$err" '^initramfs.sh: directory.cpio is a directory$'
exits 'an output where none can be' 1 make_it "${bare[@]}" -o /nowhere/x.cpio
like '  why' "$err" '^initramfs.sh: cannot write /nowhere/x.cpio: No such file or directory$'
exits 'as a user, where he may not' 1 as sub env MYDOCKER="$mydocker" "$room/bin/initramfs.sh" "${bare[@]}" -o "$room/x.cpio"
mkdir full && mount -t tmpfs -o size=1m tmpfs full
exits 'a full disk' 1 make_it "${bare[@]}" -o full/x.cpio.gz
is '  leaves nothing' "$(ls full)" ''
like '  it is named' "$err" 'No space left on device'
umount full
"$room/bin/initramfs.sh" --modules $kernel -o elsewhere/x.cpio.gz >/dev/null 2>&1 &
sleep 1
stop $!
eventually 50 test -z "$(ls elsewhere)"
is 'a kill leaves nothing' "$(ls elsewhere)" ''
is 'nor do all of these' "$(find "$room/tmp" -maxdepth 1 -name 'tmp.*')" ''

# ---------------------------------------------------------------- it boots

# boot INITRAMFS MEGABYTES APPEND [QEMU-OPTION...]: $console, without carriage returns and what the firmware draws
boot() {
    timeout 60 qemu-system-x86_64 -accel tcg,thread=multi -cpu max -m "$2" -smp 2 -nographic -no-reboot -pidfile "$room/qemu.pid" \
        -kernel $kernel/vmlinuz -initrd "$1" -append "console=ttyS0 quiet panic=-1 $3" "${@:4}" >"$room/console" 2>&1
    ended=$?
    read_console
}
read_console() { console=$(tr -d '\r' <"$room/console" | sed 's/\x1b\(c\|\[[0-9;?]*[a-zA-Z]\)//g' | grep -avE 'SeaBIOS|iPXE|^Booting|^Press Ctrl-B|^ *$'); }
typed() { until grep -aq "$1" "$room/console"; do sleep 0.2; done; printf '%s\n' "$2"; } # PROMPT LINE
powered_off() { [[ $ended == 0 && $console == *'reboot: Power down' ]]; }
if [[ $(uname -m) != x86_64 ]]; then
    skip 'it boots' 'only for x86_64'
    done_testing
fi
: >"$room/console"
boot small.cpio.gz 96 'rdinit=/mydocker mydocker="run --network none busybox echo hello"' -nic none </dev/null
is 'with 96 MB: the engine is pid 1, loads the image, and a container says hello' "$(sed '/^mydocker: [0-9a-f]*: unpacked$/d; s/^\[.*\] //' <<<"$console")" \
    'Loaded image: busybox:latest
hello
mydocker: the command ended with exit code 0
reboot: Power down'
ok '  powered off' powered_off

# With its devices and its network card, by DHCP; the network's other end is this namespace, 10.0.2.2 its loopback.
boot full.cpio 512 'rdinit=/mydocker mydocker.ip=dhcp MYDOCKER_MIRROR=http://10.0.2.2:5000 mydocker="run test/layers ls /opaque"' \
    -nic user,model=virtio-net-pci </dev/null
is 'an image is pulled from the loopback of the host, and runs in a network of its own' "$(grep -xcE 'last|.* pulled, sha256:[0-9a-f]{64}' <<<"$console")" 2 ||
    note console "$console"
ok '  powered off' powered_off

# The shell of --init busybox, as typed.
: >"$room/console"
boot full.cpio 512 '' -nic none < <(typed '# ' 'mydocker run --network none busybox echo hel"lo"'; typed '^hello' 'exit')
like '--init busybox ends in a shell, where a container says hello' "$console" '^hello$' || note console "$console"
ok '  exit powers off' powered_off

start_nsd upstream 127.0.0.1@5300
boot full.cpio 256 'rdinit=/mydocker mydocker.ip=dhcp mydocker="dns --listen :53 --upstream 10.0.2.2:5300"' \
    -nic user,model=virtio-net-pci,hostfwd=udp:127.0.0.1:5353-:53,hostfwd=tcp:127.0.0.1:5353-:53 </dev/null &
machine=$!
eventually 300 grep -aq 'listening on' "$room/console"
dns_port=5353
is 'the machine answers DNS questions of the host' "$(short www.example.test A)" 192.0.2.1
is '  over TCP, too' "$(short +tcp www.example.test AAAA)" 2001:db8::1
is '  and forwards what there is not' "$(rcode nothing.example.test A)" NXDOMAIN
kill "$(<"$room/qemu.pid")"
wait "$machine"
done_testing
