#!/bin/bash
# images.sh OUT: builds the tests' images. Afterwards
#   OUT/registry        is the storage of a docker-registry that has them all,
#   OUT/layouts/NAME    is the OCI layout of image test/NAME,
#   OUT/busybox         is the tree of library/busybox.
# Runs as root (owners); it makes a network namespace for its registry.
set -euo pipefail
scripts=$(cd "$(dirname "$0")" && pwd)
PATH=$PATH:/usr/sbin:/sbin
out=${1:?usage: images.sh OUT}

if [[ ${2-} != inside ]]; then
    mkdir -p "$out"
    exec unshare --net --pid --fork --kill-child --mount --mount-proc bash "$0" "$out" inside
fi
ip link set lo up

# The tree of busybox: the binary and a link for each of its applets.
root=$out/busybox
mkdir -p "$root"/{bin,sbin,usr/bin,usr/sbin,etc,root,home/alice,var/spool,tmp}
cp "$(command -v busybox)" "$root/bin/busybox"
busybox --list-full | while read -r applet; do
    [[ $applet == linuxrc || -e $root/$applet ]] || ln -s /bin/busybox "$root/$applet"
done
chmod 700 "$root/root"
chmod 1777 "$root/tmp"
cat >"$root/etc/passwd" <<END
root:x:0:0:root:/root:/bin/sh
daemon:x:1:1:daemon:/usr/sbin:/bin/false
alice:x:1000:1000:Alice:/home/alice:/bin/sh
lost:x:1001:1001:no such home:/home/lost:/bin/sh
END
cat >"$root/etc/group" <<END
root:x:0:
daemon:x:1:
video:x:44:alice
audio:x:29:daemon,alice
users:x:100:
alice:x:1000:
lost:x:1001:
END
chown -R 1000:1000 "$root/home/alice"
find "$root" -exec touch -h -d @1700000000 {} +

mkdir -p "$out/registry" "$out/layouts"
url=127.0.0.1:5000
cat >"$out/registry.yml" <<END
version: 0.1
log: {level: error, accesslog: {disabled: true}}
storage: {filesystem: {rootdirectory: $out/registry}}
http: {addr: "$url"}
END
docker-registry serve "$out/registry.yml" 2>"$out/registry.log" &
until curl -qsf "http://$url/v2/" >/dev/null; do
    kill -0 $! || { cat "$out/registry.log" >&2; exit 1; }
    sleep 0.05
done

# The plain case is made by the tools that everybody uses.
layout=$out/layouts/busybox
umoci init --layout "$layout"
umoci new --image "$layout:latest"
umoci insert --image "$layout:latest" "$root" /
umoci config --image "$layout:latest" --config.cmd sh \
    --config.env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
for copy in "oci latest" "v2s2 docker"; do
    read -r format tag <<<"$copy"
    skopeo copy -q --dest-tls-verify=false --format "$format" \
        "oci:$layout:latest" "docker://$url/library/busybox:$tag"
done
PYTHONDONTWRITEBYTECODE=1 /usr/bin/python3 "$scripts/images.py" "$root" "$out/layouts" "http://$url"
