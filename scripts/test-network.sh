#!/bin/bash
# test-network.sh: --network slirp4netns, none and host. The world outside is an address
# of this test's own network namespace, 10.99.0.1; its loopback is what must stay closed.
. "$(dirname "$0")/lib.sh"
registry main 5000
ip addr add 10.99.0.1/32 dev lo || bail 'cannot add an address to lo'
mkdir "$room/www"
echo reached >"$room/www/file"
/usr/bin/python3 -m http.server -d "$room/www" --bind 10.99.0.1 8000 2>/dev/null &
/usr/bin/python3 -m http.server -d "$room/www" --bind 127.0.0.1 8001 2>/dev/null &
# A name server on the loopback address that resolv.conf names: every name is 10.99.0.1.
/usr/bin/python3 -c '
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("127.0.0.1", 53))
while True:
    query, peer = s.recvfrom(4096)
    end = query.index(b"\0", 12) + 5
    is_a = query[end - 4:end] == b"\0\1\0\1"
    answer = b"\xc0\x0c\0\1\0\1\0\0\0\1\0\4\x0a\x63\0\1" if is_a else b""
    s.sendto(query[:2] + b"\x81\x80\0\1\0" + bytes([is_a]) + b"\0\0\0\0" + query[12:end] + answer, peer)
' &
eventually 100 listening 8000 10.99.0.1 || bail 'no server on 10.99.0.1'
eventually 100 listening 8001 || bail 'no server on 127.0.0.1'
ok 'pull' mydocker pull busybox
# (Debian's static busybox dies of `wget -T`, and resolves names with nslookup alone.)
get() { echo timeout 3 wget -q -O - "http://$1/file"; } # no word of it needs quotes
resolve='nslookup web.test | sed -n "s/^Address: *\(10.*\)/\1/p"'
net() { mydocker run --rm "$@"; }
remember

# ---------------------------------------------------------------- slirp4netns

slirp() { # DESCRIPTION-PREFIX COMMAND...: `run` with slirp4netns, however it is spelled
    # shellcheck disable=SC2046 # words
    {
        gives "$1: the outside is reached" reached "${@:2}" busybox $(get 10.99.0.1:8000)
        gives "$1: names are resolved" 10.99.0.1 "${@:2}" busybox sh -c "$resolve"
        exits "$1: the loopback of the host is closed (10.0.2.2)" 1 "${@:2}" busybox sh -c "$(get 10.0.2.2:8001) || exit 1"
        exits "$1: the loopback of the host is closed (127.0.0.1)" 1 "${@:2}" busybox sh -c "$(get 127.0.0.1:8001) || exit 1"
    }
    gives "$1: the interface is up" '10.0.2.100/24 10.0.2.2' "${@:2}" busybox sh -c \
        'echo $(ip -4 addr show tap0 | awk "/inet/ {print \$2}") $(ip route | awk "/default/ {print \$3}")'
}
if [[ -c /dev/net/tun ]]; then
    slirp 'by default' mydocker run --rm
    slirp '--network slirp4netns' mydocker run --rm --network slirp4netns
    ordinary_users
    as sub "$mydocker" pull busybox 2>/dev/null
    slirp 'rootless' as sub "$mydocker" run --rm
    nothing_remains 'slirp4netns ends with its container'

    # It is there before the command starts, each time.
    good=0
    for _ in 1 2 3 4 5 6 7 8; do
        # shellcheck disable=SC2046 # words
        [[ $(mydocker run --rm busybox $(get 10.99.0.1:8000) 2>&1) == reached ]] && good=$((good + 1))
    done
    is 'the network is there when the command starts' $good 8

    start() { "$@" busybox sleep 1000 & engine=$!; eventually 100 pgrep -x sleep; eventually 50 pgrep -x slirp4netns; }
    start mydocker run --name net
    argv=$(tr '\0' ' ' <"/proc/$(pgrep -x slirp4netns)/cmdline")
    for option in --disable-host-loopback --enable-sandbox --enable-seccomp; do
        like "slirp4netns has $option" "$argv" " $option "
    done
    is 'one slirp4netns for one container' "$(pgrep -xc slirp4netns)" 1
    is 'it holds no fd of the container'"'"'s output' \
        "$(find "/proc/$(pgrep -x slirp4netns)/fd" -lname "$(readlink /proc/$engine/fd/1)" -name 1 | wc -l)" 0
    kill -KILL $engine
    wait $engine 2>/dev/null
    ok 'kill -9 of the engine: slirp4netns ends' eventually 50 eval '! pgrep -x slirp4netns'
    ok '  rm' mydocker rm net
    start mydocker run --rm
    kill -KILL "$(pgrep -x sleep)"
    wait $engine
    is 'kill -9 of the command: 137' $? 137
    ok '  slirp4netns ends' eventually 50 eval '! pgrep -x slirp4netns'
    # The output ends when the command does, not when some helper lets go of it.
    is 'a pipe from a container with network ends' "$(timeout 10 "$mydocker" run --rm busybox echo end | cat)" end
    start mydocker run --rm
    kill -KILL "$(pgrep -x slirp4netns)"
    ok 'without slirp4netns the command goes on' pgrep -x sleep
    kill -KILL "$(pgrep -x sleep)"
    wait $engine
    exits 'the exit code of the command passes' 9 mydocker run --rm busybox sh -c 'exit 9'
    nothing_remains 'nothing remains'

    # slirp4netns that cannot work says why, and nothing hangs.
    chmod 600 /dev/net/tun
    try as sub "$mydocker" run --rm busybox echo here
    like '/dev/net/tun closed to the user: slirp4netns is named' "$err" 'slirp4netns|/dev/net/tun'
    chmod 666 /dev/net/tun
    nothing_remains 'nothing remains of it'
else
    skip slirp4netns 'this machine has no /dev/net/tun'
fi

# ---------------------------------------------------------------- not installed

mkdir "$room/tools"
for tool in curl tar gzip sha256sum newuidmap newgidmap; do ln -s "$(command -v $tool)" "$room/tools/$tool"; done
try env PATH="$room/tools" "$mydocker" run --rm busybox sh -c 'ls /sys/class/net; exit 3'
is 'slirp4netns not installed: the command runs, with loopback only' "$rc:$out" 3:lo
is '  one line' "$(wc -l <<<"$err")" 1
like '  which says how to install it' "$err" '^mydocker: .*slirp4netns.*(apt|install)'
# Asked for by name and not there is the same one line.
try env PATH="$room/tools" "$mydocker" run --rm --network slirp4netns busybox true
like 'asked for and not installed: it is said' "$err" '^mydocker: .*slirp4netns'

# ---------------------------------------------------------------- none, host

for how in 'net' 'as sub mydocker run --rm'; do
    # shellcheck disable=SC2086,SC2046 # words
    {
        gives "$how --network none: lo alone" lo $how --network none busybox ls /sys/class/net
        like "$how --network none: lo is up" "$($how --network none busybox ip addr show lo)" 'inet 127\.0\.0\.1/8'
        exits "$how --network none: nothing is reached" 1 $how --network none busybox sh -c "$(get 10.99.0.1:8000) || exit 1"
        is "$how --network none starts no slirp4netns, says nothing" "$($how --network none busybox true 2>&1)" ''
        gives "$how --network host: the host's loopback" reached $how --network host busybox $(get 127.0.0.1:8001)
        gives "$how --network host: the host's resolv.conf" 10.99.0.1 $how --network host busybox sh -c "$resolve"
        exits "$how --network host: no power over it" 1 $how --network host busybox sh -c 'ip addr add 10.98.0.1/32 dev lo || exit 1'
    }
done
exits '--network host: /sys is read-only' 1 net --network host busybox sh -c 'echo 1 >/sys/class/net/lo/mtu'
is '  mtu as before' "$(cat /sys/class/net/lo/mtu)" 65536
fails '--network bogus' 125 'bogus' net --network bogus busybox true
fails '--network without a value' 125 'network' net --network
nothing_remains 'nothing remains of these'
done_testing
