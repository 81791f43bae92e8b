#!/bin/bash
# setup.sh WHAT...: installs with apt what this machine lacks for WHAT:
#   demo   what mydocker itself calls, and a registry with something to serve
#   test   demo, and the tools that make odd images, oracles and traces
#   bench  demo, and the peers that mydocker is measured against
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
'
needs[test]="${needs[demo]}
igzip            isal
pigz             pigz
skopeo           skopeo
umoci            umoci
crun             crun
strace           strace
jq               jq
sudo             sudo
ip               iproute2
ps               procps
useradd          passwd
/usr/bin/python3 python3
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
"
needs[lint]='
shellcheck       shellcheck
'

# busybox alone is not enough: it must run in an empty root, so it must be static.
static_busybox() {
    ! ldd "$(command -v busybox)" 2>/dev/null | grep -q '=>'
}

missing=()
lacks() { # PACKAGE
    [[ " ${missing[*]} " == *" $1 "* ]] || missing+=("$1")
}

for what in "${@:?usage: setup.sh demo|test|bench|lint...}"; do
    case $what in
        demo | test | bench | lint) ;;
        *) echo "setup.sh: what is '$what'? (demo, test, bench or lint)" >&2; exit 2 ;;
    esac
    while read -r command package; do
        [[ -z $command ]] || command -v "$command" >/dev/null || lacks "$package"
    done <<<"${needs[$what]}"
    case $what in
        demo | test | bench)
            ! command -v busybox >/dev/null || static_busybox || lacks busybox-static ;;&
        test)
            /usr/bin/python3 -c 'import jsonschema' 2>/dev/null || lacks python3-jsonschema
            # The schema of config.json, as the standard's own package has it.
            [[ -e /usr/share/gocode/src/github.com/opencontainers/runtime-spec/schema/config-schema.json ]] ||
                lacks golang-github-opencontainers-specs-dev ;;
    esac
done
((${#missing[@]})) || exit 0

if ((EUID != 0)); then
    echo "setup.sh: missing here: ${missing[*]}; as root: apt-get install ${missing[*]}" >&2
    exit 1
fi
echo "setup.sh: installing ${missing[*]}" >&2

# invoke-rc.d asks this file whether a package may start its service; 101 is "no".
policy=/usr/sbin/policy-rc.d
if [[ ! -e $policy ]]; then
    trap 'rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
fi
log=$(mktemp)
export DEBIAN_FRONTEND=noninteractive
if ! { apt-get -q update && apt-get -qy install --no-install-recommends "${missing[@]}"; } >"$log" 2>&1 </dev/null; then
    tail -n 20 "$log" >&2
    echo "setup.sh: apt-get could not install ${missing[*]}; the whole log: $log" >&2
    exit 1
fi
rm -f "$log"
