#!/bin/bash
# demo.sh: `make demo`. From nothing to a shell in a container, without leaving the
# machine: a real registry on 127.0.0.1, a busybox image pushed into it with curl, and
# the main job, as root and as an ordinary user. Then DNS: a real name server on 127.0.0.1,
# and the forwarder before it. Each command is shown as it is run.
set -euo pipefail
PATH=$PATH:/usr/sbin:/sbin
scripts=$(cd "$(dirname "$0")" && pwd)
"$scripts/setup.sh" demo
# shellcheck source=scripts/bed.sh
. "$scripts/bed.sh"
cd "$scripts/.."
[[ -x mydocker ]] || make

# Not /tmp: that may be a tmpfs, which before Linux 6.6 cannot hold a user's store.
room=$(mktemp -d /var/tmp/mydocker-demo.XXXXXX)
chmod 755 "$room"
clean_up() {
    status=$?
    for process in "${started[@]}"; do
        kill "$process" 2>/dev/null || :
        wait "$process" 2>/dev/null || :
    done
    # A user's store holds files of his subordinate ids: mydocker removes those.
    rm -rf "$room" 2>/dev/null || echo "demo.sh: could not remove all of $room" >&2
    exit "$status"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

say() { printf '\n# %s\n' "$*"; }
show() { # COMMAND...: as the reader would type it, then its output
    printf '$'
    printf ' %s' "${@@Q}" | sed -E "s/'([A-Za-z0-9_.\/:=@%+,-]+)'/\1/g"
    printf '\n'
    "$@"
}

# ---------------------------------------------------------------- the registry

say 'A registry on 127.0.0.1 (docker-registry, which is what docker itself uses).'
serve_registry "$room"

say 'An image: the static busybox of this machine, one layer, pushed with four requests.'
busybox_tree "$room/busybox"
layer "$room/busybox" "$room/layer.tar"
push_image "$room" busybox "$room/layer.tar"

# ---------------------------------------------------------------- the main job

say 'The main job. The mirror is asked first for images of docker.io, so nothing leaves the machine.'
export MYDOCKER_HOME=$room/store MYDOCKER_MIRROR=$url
show ./mydocker run busybox sh -c 'echo "hello from $(hostname), pid $$, as $(id -un)"; ls /'

say 'The second time the image is there already. A file made inside stays inside.'
show ./mydocker run --rm --network none --hostname box busybox sh -c 'touch /made-inside; hostname; cat /proc/self/uid_map; ps'

say 'What is in the store.'
show ./mydocker images
show ./mydocker ps -a

if ((EUID == 0)); then
    # The one who called sudo, or one who has subordinate ids, or nobody (one id only).
    user=${SUDO_USER-}
    [[ -n $user && $user != root ]] || user=$(cut -d: -f1 /etc/subuid 2>/dev/null | while read -r name; do
        [[ $(id -u "$name" 2>/dev/null) -ge 1000 ]] && echo "$name" && break
    done) || :
    user=${user:-nobody}
    say "The same as an ordinary user, $user: root inside, $user outside."
    # A copy, for the clone may lie where others cannot reach it.
    cp mydocker "$room/mydocker"
    install -d -m 700 -o "$user" -g "$(id -g "$user")" "$room/home"
    show setpriv --reuid="$user" --regid="$(id -g "$user")" --init-groups \
        env -C "$room/home" HOME="$room/home" MYDOCKER_HOME="$room/home/store" "$room/mydocker" \
        run --rm --network none busybox sh -c 'id; cat /proc/self/uid_map'
fi

# ---------------------------------------------------------------- the DNS forwarder

upstream=$(free_port 5300)
say 'A name server on 127.0.0.1 (nsd), in charge of the zone demo.example.'
cat >"$room/demo.zone" <<'END'
$ORIGIN demo.example.
$TTL 60
@    SOA ns hostmaster 1 3600 900 86400 30
     NS  ns
ns   A   127.0.0.1
www  A   192.0.2.80
www  AAAA 2001:db8::80
END
cat >"$room/nsd.conf" <<END
server:
    ip-address: 127.0.0.1@$upstream
    username: ""
    zonesdir: "$room"
    database: ""
    pidfile: "$room/nsd.pid"
    xfrdir: "$room"
    zonelistfile: "$room/zone.list"
    server-count: 1
remote-control:
    control-enable: no
zone:
    name: demo.example
    zonefile: demo.zone
END
nsd -c "$room/nsd.conf" -d 2>"$room/nsd.log" &
started+=($!)
port=$(free_port 8053)
say 'The forwarder before it: it says when it is ready, and with --log what it answers.'
printf '192.0.2.1 router.home\n' >"$room/hosts"
printf '$ ./mydocker dns --listen 127.0.0.1:%s --upstream 127.0.0.1:%s --hosts %s --log &\n' \
    "$port" "$upstream" "$room/hosts"
./mydocker dns --listen "127.0.0.1:$port" --upstream "127.0.0.1:$upstream" --hosts "$room/hosts" --log >"$room/dns.log" &
forwarder=$!
started+=("$forwarder")
until grep -q 'listening on' "$room/dns.log" && dig +time=1 +tries=1 -p "$upstream" @127.0.0.1 demo.example >/dev/null; do
    kill -0 "$forwarder" || exit 1
    sleep 0.1
done
show dig +noall +answer -p "$port" @127.0.0.1 www.demo.example
show dig +noall +answer -p "$port" @127.0.0.1 www.demo.example
show dig +noall +answer -p "$port" @127.0.0.1 router.home
say 'What it has to say of that, and its counters (SIGUSR1).'
kill -USR1 "$forwarder"
until grep -q '^end' "$room/dns.log"; do sleep 0.1; done
cat "$room/dns.log"

say 'A message explained, byte by byte (the first lines).'
echo '1234 0100 0001 0000 0000 0000 03777777 0464656d6f 076578616d706c65 00 0001 0001' >"$room/query"
echo '$ ./mydocker dns decode <query | head -n 9'
./mydocker dns decode <"$room/query" | head -n 9

say "That is all; $room, the registry and the servers go now. Try it at a terminal:  sudo ./mydocker run busybox sh"
