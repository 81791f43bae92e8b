#!/bin/bash
# initramfs.sh [OPTION...] [IMAGE...] -o OUT.cpio.gz: a bootable initramfs of mydocker, busybox, curl and slirp4netns
# with their libraries, a CA bundle, a kernel's modules and the images named; nothing else. Prints what each part
# costs. With rdinit=/mydocker mydocker="run busybox sh" on the kernel's command line the engine is pid 1: it inserts
# /modules, loads /images and runs that. Needs no root: devices and owners are only written down.
#
# IMAGE is a file or directory that `mydocker load` reads (docker-archive, OCI layout), or a reference, which skopeo
# fetches as mydocker would: from MYDOCKER_MIRROR first, if that is set.
#
#   -o FILE             its name says how to compress: .cpio.gz, .cpio.zst, .cpio.xz, .cpio
#   --modules DIR|FILE  the kernel's modules: a directory (/lib/modules/VERSION, or loose *.ko), a kernel package
#                       (*.deb), or none; default: the running kernel's, else those of `setup.sh guest`
#   --add-module NAME   one more of them, such as another network card's, with those it depends on
#   --no-curl           without curl and its CA bundle: no pull, images are loaded
#   --no-slirp4netns    without: containers have --network none or host
#   --gnu-tar           GNU tar beside busybox's, which keeps no extended attributes
#   --program NAME      one more program of this machine, with its libraries
#   --busybox-image     an image `busybox` made of this machine's busybox, for a first try
#   --init busybox      adds /init, a script that ends in a shell, for a boot without rdinit=
#
# Environment: MYDOCKER, the engine's binary (default: the clone's); SOURCE_DATE_EPOCH, the time of all files
# (default 0). The same input gives the same bytes. More files? The kernel reads several archives one after another:
# `cat OUT.cpio.gz more.cpio.gz`.
set -euo pipefail
export LC_ALL=C
umask 022
PATH=$PATH:/usr/sbin:/sbin
scripts=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=scripts/bed.sh
. "$scripts/bed.sh"

fail() { echo "initramfs.sh: $*" >&2; exit 1; }
usage() { [[ -z ${1-} ]] || echo "initramfs.sh: $1" >&2; sed -n '2,/^set/s/^# \{0,1\}//p' "$0" >&2; exit 2; }

# ---------------------------------------------------------------- the archive

# The format that the kernel unpacks is "newc": for each file a header of hexadecimal numbers, the name, the bytes
# (Documentation/driver-api/early-userspace/buffer-format.rst). Written by hand, a device needs no mknod(2), and no
# file its owner. Descriptor 3 is the part that is being written.
inode=0
mtime=${SOURCE_DATE_EPOCH:-0}
declare -A written=()

pad() { # WRITTEN: zeros up to a multiple of four
    case $(($1 % 4)) in
        1) printf '\0\0\0' ;;
        2) printf '\0\0' ;;
        3) printf '\0' ;;
    esac
}

header() { # PATH MODE SIZE [MAJOR MINOR]
    local links=1
    (((8#$2 & 8#170000) != 8#040000)) || links=2
    inode=$((inode + 1))
    # uid and gid are 0; the device numbers of the archive's own disk and the checksum are not used.
    printf '070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%s\0' $inode $((8#$2)) 0 0 $links "$mtime" \
        "$3" 0 0 "${4:-0}" "${5:-0}" $((${#1} + 1)) 0 "$1"
    pad $((110 + ${#1} + 1))
}

# Paths are without a slash at the start, as in every initramfs.
new() { # PATH: whether it is not there yet; its directories then are
    [[ -z ${written[$1]-} ]] || return 1
    [[ $1 != */* ]] || dir "${1%/*}"
    written[$1]=1
}
dir() { ! new "$1" || header "$1" "4${2:-0755}" 0 >&3; } # PATH [MODE]
link() { ! new "$1" || { header "$1" 120777 ${#2} && printf %s "$2" && pad ${#2}; } >&3; } # PATH TARGET
node() { ! new "$1" || header "$1" "2$2" 0 "$3" "$4" >&3; } # PATH MODE MAJOR MINOR
file() { # PATH SOURCE MODE
    local size
    new "$1" || return 0
    size=$(stat -L -c %s "$2")
    ((size < 1 << 32)) || fail "$2: a file in an initramfs has less than 4 GB"
    { header "$1" "10$3" "$size" && cat "$2" && pad "$size"; } >&3 || fail "cannot read $2"
}
text() { # PATH TEXT
    printf '%s\n' "$2" >"$work/text"
    file "$1" "$work/text" "${3:-0644}"
}

parts=()
part() { # NAME: what follows belongs to it
    parts+=("$1")
    exec 3>"$work/part-${#parts[@]}"
}

# ---------------------------------------------------------------- programs

is_static() { [[ $(ldd "$1" 2>/dev/null) != *'=>'* ]]; } # FILE

program() { # NAME: as this machine has it, with the libraries that are not there yet
    local path library
    path=$(type -P "$1") || fail "there is no $1 here (scripts/setup.sh initramfs installs what is needed)"
    part "$1"
    file "usr/bin/$1" "$path" 0755
    while read -r library; do
        file "${library#/}" "$library" 0755
    done < <(ldd "$path" 2>/dev/null | grep -o '/[^ ]*')
    # Before 2.34 glibc opened what asks files and DNS only when it looked up a name.
    for library in /lib/*-linux-gnu/libnss_{files,dns}.so.2; do
        [[ -z ${written[${library%/*}/libc.so.6]-} ]] || grep -q _nss_dns_gethostbyname "${library%/*}/libc.so.6" ||
            file "${library#/}" "$library" 0755
    done
}

ca_bundle() {
    local bundle
    for bundle in /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt /etc/ssl/cert.pem; do
        [[ -e $bundle ]] || continue
        part 'CA certificates'
        file etc/ssl/certs/ca-certificates.crt "$bundle" 0644
        return
    done
    fail 'there are no CA certificates here (apt-get install ca-certificates), and curl needs them (or --no-curl)'
}

engine_and_busybox() {
    local engine=${MYDOCKER:-${scripts%/*}/mydocker} busybox applet
    [[ -x $engine ]] || fail "there is no $engine: run make first"
    is_static "$engine" || fail "$engine is not static: it would not start in an initramfs"
    busybox=$(type -P busybox) || fail 'there is no busybox here (apt-get install busybox-static)'
    is_static "$busybox" ||
        fail "$busybox is not static: it would not start in an initramfs (apt-get install busybox-static)"
    part mydocker
    file mydocker "$engine" 0755
    link bin/mydocker ../mydocker
    part busybox
    file bin/busybox "$busybox" 0755
    while read -r applet; do
        # A program of its own is better than an applet; /linuxrc is for old ram disks.
        [[ $applet == linuxrc || " ${programs[*]} " == *" ${applet##*/} "* ]] || link "$applet" /bin/busybox
    done < <("$busybox" --list-full | sort)
}

# ---------------------------------------------------------------- modules

# Directory or package -> $tree
module_tree() {
    case $modules in
        '')
            tree=/lib/modules/$(uname -r)
            [[ -d $tree ]] || tree=/var/cache/mydocker-guest
            [[ -d $tree ]] ||
                fail "there is no /lib/modules/$(uname -r): name a directory or a kernel package (--modules DIR|FILE.deb)" ;;
        *.deb)
            [[ -e $modules ]] || fail "there is no $modules"
            tree=$work/package
            mkdir "$tree"
            { dpkg-deb --fsys-tarfile "$modules" |
                tar -x -C "$tree" --wildcards '*.ko*' '*/modules.builtin'; } 2>"$work/log" ||
                fail "$modules is not a kernel package: $(tail -n 1 "$work/log")" ;;
        *)
            tree=$modules
            [[ -d $tree ]] || fail "$tree is neither a directory nor a package (*.deb)" ;;
    esac
    find "$tree/" -name '*.ko*' | sort >"$work/modules"
    find "$tree/" -name modules.builtin -exec cat {} + >"$work/builtin"
    [[ -s $work/modules ]] || fail "there are no modules (*.ko) in ${modules:-$tree}"
}

# Each after those it depends on, which is the order in which pid 1 inserts them: by their names.
order=10
absent=()
module() { # NAME
    # The kernel takes - and _ for the same letter.
    local name=${1//-/_} pattern found ko needed
    [[ -z ${written[$name.ko]-} ]] || return 0
    written[$name.ko]=1
    pattern="/${name//_/[-_]}\.ko"
    found=$(grep -E "$pattern(\.(gz|xz|zst))?\$" "$work/modules") || {
        grep -qE "$pattern\$" "$work/builtin" || absent+=("$name")
        return 0
    }
    [[ $found != *$'\n'* ]] || fail "$name is in $tree more than once: name the directory of one kernel"
    ko=$work/$name.ko
    case $found in
        *.gz) gzip -dc "$found" ;;
        *.xz) xz -dc "$found" ;;
        *.zst) zstd -qdc "$found" ;;
        *) cat "$found" ;;
    esac >"$ko" || fail "cannot unpack $found"
    # A section of `key=value` strings, MODULE_INFO() in linux/moduleparam.h: what modinfo(8) prints.
    for needed in $(tr '\0' '\n' <"$ko" | sed -n 's/^depends=//p' | tr , ' '); do module "$needed"; done
    file "modules/$order-$name.ko" "$ko" 0644
    order=$((order + 1))
    [[ -n ${release-} ]] || release=$(tr '\0' '\n' <"$ko" | sed -n 's/^vermagic=\([^ ]*\).*/\1/p')
}

kernel_modules() {
    local name
    [[ $modules != none ]] || return 0
    module_tree
    part modules
    for name in overlay tun af_packet virtio_pci virtio_net; do module "$name"; done
    ((${#absent[@]} == 0)) || echo "initramfs.sh: not in $tree, so taken to be built into the kernel: ${absent[*]}" >&2
    absent=()
    for name in "${more_modules[@]}"; do module "$name"; done
    ((${#absent[@]} == 0)) ||
        fail "there is no module ${absent[0]} in $tree, and the kernel is not known to have it built in"
}

# ---------------------------------------------------------------- images

# Each becomes a docker-archive whose layers are not compressed: the initramfs as a whole is, and inside it nothing
# but tar is needed to load it.
images=0
image_part() { # NAME ARCHIVE
    local name=${1//[^A-Za-z0-9._-]/-}
    images=$((images + 1))
    part "image $1"
    file "images/$(printf %02d $images)-$name.tar" "$2" 0644
}

image() { # FILE|DIRECTORY|REFERENCE
    local name=${1##*/}
    case $1 in
        -* | '') usage "what is '$1'?" ;;
        /* | ./* | ../* | *.tar | *.tar.* | *.tgz) [[ -e $1 ]] || fail "there is no $1" ;;
    esac
    if [[ -e $1 ]]; then
        archive "$1"
        name=${name%.tgz} name=${name%.tar*}
        [[ $name != . ]] || name=image
    else
        fetch "$1"
        name=$1
    fi
    image_part "$name" "$work/image.tar"
    rm -f "$work/image.tar"
}

# A plain docker-archive is taken as it is, all else goes through skopeo.
archive() { # PATH -> $work/image.tar
    local within=$1 kind name=${1##*/}
    if [[ ! -d $1 ]]; then
        within=$work/archive
        mkdir "$within"
        tar -xf "$1" -C "$within" 2>"$work/log" || fail "$1 is not an archive: $(head -n 1 "$work/log")"
        chmod -R u+rwX "$within"
    fi
    if [[ -e $within/oci-layout && -e $within/index.json ]]; then
        kind=oci
    elif [[ -e $within/manifest.json ]]; then
        kind=docker-archive
    else
        fail "$1 is no image: neither oci-layout and index.json nor manifest.json is in it (docker save writes one)"
    fi
    if [[ $kind == oci && $(grep -o '"digest"' "$within/index.json" | wc -l) -gt 1 ]] ||
        { [[ -e $within/manifest.json ]] && ! has_compressed "$within"; }; then
        # Several images, which skopeo does not copy at once, stay as they are, compressed.
        (cd "$within" && find . -mindepth 1 -printf '%P\0' | sort -z |
            tar -cf "$work/image.tar" --no-recursion --null -T - --mtime="@$mtime" \
                --owner=0 --group=0 --numeric-owner --format=gnu)
    elif [[ $kind == oci ]]; then
        name=${name%.tgz}
        name=${name%.tar*}
        name=${name,,}
        name=$(layout_name "$within" "${name//[^a-z0-9._-]/-}")
        skopeo_copy "oci:$within" "docker-archive:$work/image.tar:$name" || fail "$1: $said"
    else
        # skopeo wants it as one file, and knows the names in it.
        tar -cf "$work/packed.tar" -C "$within" .
        name=$(grep -o '"RepoTags":\["[^"]*' "$within/manifest.json" | head -n 1) || :
        name=${name:+:${name##*\"}}
        skopeo_copy "docker-archive:$work/packed.tar" "docker-archive:$work/image.tar$name" || fail "$1: $said"
    fi
    rm -rf "$work/archive" "$work/packed.tar"
}

has_compressed() { # DIRECTORY: whether a file in it is gzip's or zstd's
    local file magic
    while read -r -d '' file; do
        read -r magic < <(od -An -N4 -tx1 "$file")
        [[ $magic != '1f 8b'* && $magic != '28 b5 2f fd' ]] || return 0
    done < <(find "$1" -type f -print0)
    return 1
}

# As `mydocker load` names it: by containerd's annotation, or the OCI's, where a tag alone is one of the archive.
layout_name() { # DIRECTORY NAME
    local tag
    tag=$(grep -oE '"(io.containerd.image.name|org.opencontainers.image.ref.name)": *"[^"]*' "$1/index.json" |
        sort | head -n 1) || :
    tag=${tag##*\"}
    case $tag in
        '') echo "$2:latest" ;;
        *[:/]*) echo "$tag" ;;
        *) echo "$2:$tag" ;;
    esac
}

skopeo_copy() { # FROM TO [OPTION...]; -> $said, if it fails
    type -P skopeo >/dev/null ||
        fail 'for this image skopeo is needed (apt-get install skopeo); not for an archive with plain layers (docker save)'
    rm -f "$work/image.tar"
    skopeo copy -q "${@:3}" "$1" "$2" >"$work/log" 2>&1 && return
    said=$(tail -n 1 "$work/log")
    said="skopeo: ${said##*level=fatal msg=}"
    return 1
}

# [HOST[:PORT]/]NAME[:TAG][@DIGEST], as src/reference.rs reads it and src/registry.rs asks for it.
fetch() { # REFERENCE -> $work/image.tar
    local host=docker.io path=$1 digest='' tag=latest version
    [[ $1 =~ ^[A-Za-z0-9][A-Za-z0-9._:/@-]*$ ]] || fail "image \"$1\" is neither a file nor a name"
    if [[ ${path%%/*} != "$path" && ${path%%/*} =~ [.:]|^localhost$ ]]; then host=${path%%/*} path=${path#*/}; fi
    [[ $path != *@* ]] || { digest=${path#*@} path=${path%%@*}; }
    [[ ${path##*/} != *:* ]] || { tag=${path##*:} path=${path%:*}; }
    [[ $host != index.docker.io ]] || host=docker.io
    [[ $host != docker.io || $path == */* ]] || path=library/$path
    version=:$tag
    [[ -z $digest ]] || version=@$digest
    # Loopback needs no TLS, a mirror none where it is written so.
    local to=docker-archive:$work/image.tar:$host/$path:$tag options=()
    [[ ! $host =~ ^(127\.[0-9.]*|localhost|\[::1\])(:[0-9]+)?$ ]] || options=(--src-tls-verify=false)
    if [[ $host == docker.io && -n ${MYDOCKER_MIRROR-} ]]; then
        local mirror=${MYDOCKER_MIRROR%/}
        [[ $mirror != http://* ]] || options=(--src-tls-verify=false)
        ! skopeo_copy "docker://${mirror#*://}/$path$version" "$to" "${options[@]}" || return 0
        echo "initramfs.sh: mirror: $said; asking docker.io" >&2
        options=()
    fi
    skopeo_copy "docker://$host/$path$version" "$to" "${options[@]}" || fail "image $1: $said"
}

# This machine's busybox as an image, in the format of `docker save`.
busybox_image() { # -> $work/image.tar
    local arch
    case $(uname -m) in
        x86_64) arch=amd64 ;;
        aarch64) arch=arm64 ;;
        *) arch=$(uname -m) ;;
    esac
    mkdir "$work/image"
    busybox_tree "$work/tree"
    local same=(--sort=name --mtime="@$mtime" --owner=0 --group=0 --numeric-owner --format=gnu)
    tar "${same[@]}" -C "$work/tree" -cf "$work/image/layer.tar" .
    printf '{"created":"%s","architecture":"%s","os":"linux","config":{"Cmd":["sh"],"Env":["%s"]},%s["%s"]}}' \
        "$(date -u -d "@$mtime" +%FT%TZ)" "$arch" PATH=/bin:/sbin:/usr/bin:/usr/sbin \
        '"rootfs":{"type":"layers","diff_ids":' "$(digest "$work/image/layer.tar")" >"$work/image/config.json"
    printf '[{"Config":"config.json","RepoTags":["busybox:latest"],"Layers":["layer.tar"]}]' >"$work/image/manifest.json"
    tar "${same[@]}" -C "$work/image" -cf "$work/image.tar" manifest.json config.json layer.tar
    image_part busybox "$work/image.tar"
    rm -rf "$work/image" "$work/image.tar" "$work/tree"
}

# ---------------------------------------------------------------- the frame

frame() {
    part 'directories, devices, /etc'
    local name
    for name in bin dev etc proc root run sbin sys usr usr/bin usr/sbin; do dir "$name"; done
    dir tmp 1777
    # The kernel opens the one for pid 1, before anything can be mounted; the other is what scripts take for granted.
    node dev/console 0600 5 1
    node dev/null 0666 1 3
    text etc/passwd 'root:x:0:0:root:/root:/bin/sh'
    text etc/group 'root:x:0:'
    text etc/nsswitch.conf 'hosts: files dns'
    [[ -z $init ]] || text init "$busybox_init" 0755
}

# shellcheck disable=SC2016 # variables of that script
busybox_init='#!/bin/sh
# What mydocker does as pid 1, but for the network card, by hand; its end powers the machine off.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts -o gid=5,mode=620,ptmxmode=666 devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
mount -t cgroup2 cgroup2 /sys/fs/cgroup
for module in /modules/*; do [ ! -e "$module" ] || insmod "$module"; done
ip link set lo up
for image in /images/*; do [ ! -e "$image" ] || ! mydocker load -i "$image" || rm "$image"; done
setsid cttyhack sh
poweroff -f'

# ---------------------------------------------------------------- the story

out='' modules='' init='' example='' programs=() more_modules=() images_named=()
without_curl='' without_slirp4netns=''
while (($#)); do
    case $1 in
        -o | --modules | --add-module | --program | --init)
            (($# > 1)) || usage "$1 needs a value"
            case $1 in
                -o) out=$2 ;;
                --modules) modules=$2 ;;
                --add-module) more_modules+=("$2") ;;
                --program) programs+=("$2") ;;
                --init) init=$2 ;;
            esac
            shift ;;
        --no-curl) without_curl=1 ;;
        --no-slirp4netns) without_slirp4netns=1 ;;
        --gnu-tar) programs+=(tar) ;;
        --busybox-image) example=1 ;;
        -h | --help) (usage) 2>&1 || exit 0 ;;
        -*) usage "there is no option $1" ;;
        *) images_named+=("$1") ;;
    esac
    shift
done
[[ -n $out ]] || usage '-o OUT.cpio.gz is missing'
[[ -z $init || $init == busybox ]] || usage "--init $init: there is --init busybox"
[[ $mtime =~ ^[0-9]+$ ]] || fail "SOURCE_DATE_EPOCH=$mtime is not a number of seconds"
case $out in
    *.gz) compress=(gzip -9n) ;;
    *.zst) compress=(zstd -q -19) ;;
    *.xz) compress=(xz -9 --check=crc32) ;; # the kernel knows no other check
    *.cpio) compress=(cat) ;;
    *) usage "-o $out: its name has to end in .cpio.gz, .cpio.zst, .cpio.xz or .cpio" ;;
esac
type -P "${compress[0]}" >/dev/null || fail "there is no ${compress[0]} here, which $out asks for"
[[ ! -d $out ]] || fail "$out is a directory"

work=$(mktemp -d)
aside='' whole=''
trap '[[ -z $whole ]] || kill "$whole" 2>/dev/null; rm -rf "$work" ${aside:+"$aside"}' EXIT
trap 'exit 130' INT TERM HUP
# Written aside and moved, so that half an archive is never there under its name.
aside=$(mktemp "$out.XXXXXX" 2>"$work/log") || fail "cannot write $out: $(sed 's/.*: //' "$work/log")"

[[ -n $without_slirp4netns ]] || programs=(slirp4netns "${programs[@]}")
[[ -n $without_curl ]] || programs=(curl "${programs[@]}")
frame
engine_and_busybox
for name in "${programs[@]}"; do program "$name"; done
[[ -n $without_curl ]] || ca_bundle
kernel_modules
[[ -z $example ]] || busybox_image
for name in "${images_named[@]}"; do image "$name"; done
part 'the end'
header TRAILER!!! 0 0 >&3
exec 3>&-

row() { printf '%-30s %12s %12s  %s\n' "$@"; }
for ((i = 1; i <= ${#parts[@]}; i++)); do cat "$work/part-$i"; done | "${compress[@]}" >"$aside" &
whole=$!
row PART BYTES COMPRESSED ''
total=$(stat -c %s "$work/part-${#parts[@]}")
for ((i = 1; i < ${#parts[@]}; i++)); do
    bytes=$(stat -c %s "$work/part-$i")
    total=$((total + bytes))
    note=''
    [[ ${parts[i - 1]} != modules ]] || note="for Linux ${release-?}"
    row "${parts[i - 1]}" "$bytes" "$("${compress[@]}" <"$work/part-$i" | wc -c)" "$note"
done
wait "$whole" || { whole=''; fail "cannot write $out"; }
whole=''
row 'all together' "$total" "$(stat -c %s "$aside")" "$out"
chmod 644 "$aside"
mv -f "$aside" "$out"
