#!/bin/bash
# setup.sh WHAT...: installs with apt what this machine lacks for WHAT:
#   demo   what mydocker itself calls, a registry with something to serve, a name server
#   lessons  demo, and strace, xxd, perl
#   test   lessons, and the tools that make odd images, oracles and traces
#   bench  demo, and the peers that mydocker is measured against
#   fuzz   a C++ compiler
#   guest  QEMU, and Debian's kernel for virtual machines in /var/cache/mydocker-guest
#   initramfs  what initramfs.sh puts into one
#   lint   shellcheck
# Says what it installs, and nothing when all is there. Packages bring services
# along (docker-registry does); none of them is started.
set -euo pipefail
# runc, ip and useradd live in sbin, which a user's PATH may lack.
PATH=$PATH:/usr/sbin:/sbin

# each line: command, package
declare -A needs
needs[demo]='
curl             curl
tar              tar
gzip             gzip
zstd             zstd
openssl          openssl
slirp4netns      slirp4netns
newuidmap        uidmap
busybox          busybox-static
docker-registry  docker-registry
setpriv          util-linux
nsd              nsd
dig              bind9-dnsutils
ss               iproute2
'
needs[lessons]="${needs[demo]}
strace           strace
xxd              xxd
ip               iproute2
perl             perl-base
"
needs[test]="${needs[lessons]}
igzip            isal
pigz             pigz
skopeo           skopeo
umoci            umoci
crun             crun
bwrap            bubblewrap
runc             runc
jq               jq
sudo             sudo
ps               procps
useradd          passwd
/usr/bin/python3 python3
unbound          unbound
dnsperf          dnsperf
kdig             knot-dnsutils
ldns-signzone    ldnsutils
cc               gcc
podman           podman
scmp_sys_resolver seccomp
"
needs[bench]="${needs[demo]}
igzip            isal
pigz             pigz
skopeo           skopeo
umoci            umoci
bwrap            bubblewrap
crun             crun
runc             runc
podman           podman
hyperfine        hyperfine
strace           strace
jq               jq
mmdebstrap       mmdebstrap
/usr/bin/python3 python3
cc               gcc
unbound          unbound
dnsdist          dnsdist
dnsmasq          dnsmasq-base
dnsperf          dnsperf
"
needs[guest]='
qemu-system-x86_64 qemu-system-x86
mke2fs             e2fsprogs
'
needs[initramfs]='
busybox          busybox-static
curl             curl
slirp4netns      slirp4netns
skopeo           skopeo
'
needs[fuzz]='
c++              g++
'
needs[lint]='
shellcheck       shellcheck
'

# busybox alone is not enough: it must run in an empty root, so it must be static.
static_busybox() {
    [[ $(ldd "$(command -v busybox)" 2>/dev/null) != *'=>'* ]]
}

missing=()
kernels=/var/cache/mydocker-guest
download_kernel=0
lacks() { # PACKAGE
    [[ " ${missing[*]} " == *" $1 "* ]] || missing+=("$1")
}

for what in "${@:?usage: setup.sh demo|lessons|test|bench|fuzz|guest|initramfs|lint...}"; do
    [[ -v needs[$what] ]] || { echo "setup.sh: what is '$what'? (demo, lessons, test, bench, fuzz, guest, initramfs or lint)" >&2; exit 2; }
    while read -r command package; do
        [[ -z $command ]] || command -v "$command" >/dev/null || lacks "$package"
    done <<<"${needs[$what]}"
    case $what in
        demo | lessons | test | bench | initramfs)
            ! command -v busybox >/dev/null || static_busybox || lacks busybox-static ;;&
        test)
            /usr/bin/python3 -c 'import jsonschema' 2>/dev/null || lacks python3-jsonschema
            # The schema of config.json, as the standard's own package has it.
            [[ -e /usr/share/gocode/src/github.com/opencontainers/runtime-spec/schema/config-schema.json ]] ||
                lacks golang-github-opencontainers-specs-dev ;;
        initramfs) [[ -e /etc/ssl/certs/ca-certificates.crt ]] || lacks ca-certificates ;;
        guest) [[ -e $kernels/vmlinuz && -e $kernels/overlay.ko && -e $kernels/virtio_net.ko ]] || download_kernel=1 ;;
    esac
done
((${#missing[@]} + download_kernel)) || exit 0

if ((EUID != 0)); then
    echo "setup.sh: missing here: ${missing[*]}; as root: scripts/setup.sh $*" >&2
    exit 1
fi
# invoke-rc.d asks this file whether a package may start its service; 101 is "no".
policy=/usr/sbin/policy-rc.d
work=$(mktemp -d)
own=("$work")
trap 'rm -rf "${own[@]}"' EXIT
if [[ ! -e $policy ]]; then
    own+=("$policy")
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
fi
quietly() { # COMMAND...: its output only when it fails
    "$@" >"$work/log" 2>&1 </dev/null && return
    tail -n 20 "$work/log" >&2
    echo "setup.sh: failed: $*" >&2
    exit 1
}
export DEBIAN_FRONTEND=noninteractive
quietly apt-get -q update
if ((${#missing[@]})); then
    echo "setup.sh: installing ${missing[*]}" >&2
    quietly apt-get -qy install --no-install-recommends "${missing[@]}"
fi
if ((download_kernel)); then
    # Not installed: this machine boots as it did. Its modules are those the guest needs.
    package=$(apt-cache depends linux-image-cloud-amd64 | awk '/Depends:/ {print $2; exit}')
    echo "setup.sh: downloading ${package:?no kernel in this archive} to $kernels" >&2
    cd "$work"
    quietly apt-get -q download -o APT::Sandbox::User=root "$package"
    quietly dpkg -x ./*.deb kernel
    mkdir -p "$kernels"
    # Containers' and the tests' disks; the rest for a virtio network card.
    for module in overlay loop tun virtio{,_ring,_pci,_pci_modern_dev,_pci_legacy_dev,_net} failover net_failover; do
        find kernel -name "$module.ko*" -exec cp {} "$kernels/" \;
    done
    # Debian's are packed since version 13.
    find "$kernels" -name '*.ko.xz' -exec xz -df {} +
    cp kernel/boot/vmlinuz-* "$kernels/vmlinuz"
fi
