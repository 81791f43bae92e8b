#!/bin/bash
# test-dns-defaults.sh: `mydocker dns` without options, in a namespace whose lo carries
# 8.8.8.8 and 8.8.4.4 with nsd on them: where it listens, whom it asks, whom it answers,
# what it does without IPv6, and that an ordinary user can start it.
# shellcheck disable=SC2154 # lib-dns.sh sets dns_pid
. "$(dirname "$0")/lib.sh"
. "$scripts/lib-dns.sh"
wire() { /usr/bin/python3 "$scripts/dnswire.py" "$@"; }
dns() { dig +tries=1 +time=6 "$@"; }
ordinary_users
for address in 8.8.8.8 8.8.4.4; do ip address add "$address/32" dev lo; done
start_nsd first 8.8.8.8@53
first=$nsd_pid
start_nsd second 8.8.4.4@53

# start COMMAND...: `mydocker dns` as it is given, till it listens. $dns_pid, $dns_out.
start() {
    dns_out=$room/dns.out
    : >"$dns_out"
    "$@" >"$dns_out" 2>"$room/dns.err" &
    dns_pid=$!
    eventually 100 grep -q 'listening on' "$dns_out"
    report $((!$?)) "starts: ${*##*/}" || { note stdout "$(<"$dns_out")"; note stderr "$(<"$room/dns.err")"; }
}
ends() { # DESCRIPTION
    stop_dns
    is "$1" "$dns_rc" 0
}
# from ADDRESS [AT [ARGS...]]: what one who has this address is told.
from() { wire ask "${2:-127.0.0.1}" 8053 www.example.test. A --bind "$1" "${@:3}" -f '{rcode} {an}'; }
answered='NOERROR 1'

# ---------------------------------------------------------------- no options

start "$mydocker" dns
is 'started by root, it has given up all capabilities' \
    "$(awk '/^Cap(Eff|Prm|Inh):/ {print $2}' "/proc/$dns_pid/status" | sort -u)" 0000000000000000
is '  and nothing that it might execute gets any' "$(awk '/^NoNewPrivs:/ {print $2}' "/proc/$dns_pid/status")" 1
gives 'one line says where it listens and whom it asks' \
    'mydocker dns: listening on 0.0.0.0:8053, [::]:8053, forwarding to 8.8.8.8:53, 8.8.4.4:53' cat "$dns_out"
is 'and nothing is wrong' "$(<"$room/dns.err")" ''
is 'it listens on UDP and TCP, IPv4 and IPv6' \
    "$(ss -Hlnut 'sport = :8053' | awk '{print $1, $5}' | sed 's/\*:8053/[::]:8053/' | sort -u)" \
    $'tcp 0.0.0.0:8053\ntcp [::]:8053\nudp 0.0.0.0:8053\nudp [::]:8053'
ip address add fd00::7/128 dev lo nodad
for address in 127.0.0.1 ::1 127.0.0.2 127.255.255.254 fd00::7; do
    for transport in +notcp +tcp; do
        gives "dig -p 8053 @$address $transport" 192.0.2.1 dns $transport +short "@$address" -p 8053 www.example.test.
    done
    # dnswire.py hears only what comes from the address that it asked.
    gives '  the reply leaves from there' "$answered" wire ask $address 8053 -f '{rcode} {an}' www.example.test.
done
like 'a new name, too' "$(dns @127.0.0.1 -p 8053 +short new1.wild.example.test.)" '^192\.0\.2\.99$'
stop "$first"
gives 'and without 8.8.8.8 there is 8.8.4.4' 192.0.2.99 dns +short @127.0.0.1 -p 8053 new2.wild.example.test.
start_nsd first 8.8.8.8@53

# ---------------------------------------------------------------- who is answered

# On lo, so that it can be asked from them; fe80:: needs its interface, here lo too.
own=(10.0.0.1 10.255.255.254 172.16.0.1 172.31.255.254 192.168.0.1 192.168.255.254 169.254.0.1 169.254.255.254)
own6=(fc00::1 fdff:ffff::1)
foreign=(8.8.8.8 9.255.255.254 11.0.0.1 126.255.255.254 128.0.0.1 172.15.255.254 172.32.0.1 192.167.255.254
    192.169.0.1 169.253.255.254 169.255.0.1 203.0.113.5 203.0.113.8)
foreign6=(2001:db8::5 fbff::1 fe00::1)
for address in "${own[@]}" "${foreign[@]}"; do ip address add "$address/32" dev lo 2>/dev/null; done
for address in "${own6[@]}" "${foreign6[@]}"; do ip address add "$address/128" dev lo nodad; done
for address in 127.0.0.1 127.99.0.1 "${own[@]}"; do
    gives "an asker at $address is answered" "$answered" from "$address"
done
for address in ::1 "${own6[@]}"; do gives "an asker at $address is answered" "$answered" from "$address" ::1; done
gives '  also over TCP' "$answered" from 10.0.0.1 127.0.0.1 --tcp
gives '  also over TCP and IPv6' "$answered" from fc00::1 ::1 --tcp
ip address add fe80::7/64 dev lo nodad
gives 'an asker at fe80::7 is answered' "$answered" from fe80::7%lo fe80::7%lo
for address in "${foreign[@]}"; do gives "an asker at $address: REFUSED" 'REFUSED 0' from "$address"; done
for address in "${foreign6[@]}"; do gives "an asker at $address: REFUSED" 'REFUSED 0' from "$address" ::1; done
gives '  also over TCP' 'REFUSED 0' from 203.0.113.5 127.0.0.1 --tcp
gives '  also over TCP and IPv6' 'REFUSED 0' from 2001:db8::5 ::1 --tcp
gives '  also when he asks the address of his own' 'REFUSED 0' from 203.0.113.5 203.0.113.5
gives '  whatever he asks' 'REFUSED' wire ask 127.0.0.1 8053 localhost. --bind 203.0.113.5 -f '{rcode}'
like '  as dig -b sees it' "$(dns -b 203.0.113.5 @127.0.0.1 -p 8053 www.example.test.)" 'status: REFUSED'
sent=$(wire ask 127.0.0.1 8053 www.example.test. --bind 203.0.113.5 --edns 4096 --sent)
sent=${sent%%$'\n'*}
got=$(wire ask 127.0.0.1 8053 www.example.test. --bind 203.0.113.5 --edns 4096 -f '{size}')
ok '  and the reply is no longer than the query' test "$got" -le $((${#sent} / 2))
ends 'SIGTERM ends it in order'

start "$mydocker" dns --allow 203.0.113.4/30 --allow 2001:db8::/32
gives '--allow 203.0.113.4/30: from 203.0.113.5' "$answered" from 203.0.113.5
gives '  also over TCP' "$answered" from 203.0.113.5 127.0.0.1 --tcp
gives '  not from 203.0.113.8' 'REFUSED 0' from 203.0.113.8
gives '--allow 2001:db8::/32: from 2001:db8::5' "$answered" from 2001:db8::5 ::1
gives '  not from fbff::1' 'REFUSED 0' from fbff::1 ::1
gives '  and from loopback as before' "$answered" from 127.0.0.1
gives '  and from private addresses' "$answered" from 10.0.0.1
ends 'ends in order'
start "$mydocker" dns --allow 0.0.0.0/0 --allow ::/0
gives '--allow 0.0.0.0/0 --allow ::/0: from 8.8.8.8' "$answered" from 8.8.8.8
gives '  from fe00::1' "$answered" from fe00::1 ::1
ends 'ends in order'

# ---------------------------------------------------------------- an ordinary user

start as bare "$mydocker" dns
gives 'an ordinary user: dig -p 8053' 192.0.2.1 dns +short @127.0.0.1 -p 8053 www.example.test.
gives '  at 127.0.0.2, over TCP, over IPv6' "$answered$answered$answered" eval \
    "from 127.0.0.1 127.0.0.2 | tr -d '\n'; from 127.0.0.1 127.0.0.1 --tcp | tr -d '\n'; from ::1 ::1"
inner=$(pgrep -u mydocker-bare -x mydocker) # below `timeout`
is '  and it is his own process' "$(stat -c %U "/proc/$inner")" mydocker-bare
[[ ! $inner ]] || kill -TERM "$inner"
wait "$dns_pid"
is '  ends in order' $? 0

# ---------------------------------------------------------------- no IPv6

# A kernel without IPv6 has no such sockets: a seccomp filter that says EAFNOSUPPORT for
# socket(AF_INET6, ...), seccomp(2).
cat >"$room/no-ipv6" <<'END'
import ctypes, os, platform, struct, sys
number, arch = {"x86_64": (41, 0xC000003E), "aarch64": (198, 0xC00000B7)}[platform.machine()]
code = [(0x20, 0, 0, 4), (0x15, 0, 5, arch), (0x20, 0, 0, 0), (0x15, 0, 3, number), (0x20, 0, 0, 16), (0x15, 0, 1, 10),
        (0x06, 0, 0, 0x00050000 | 97), (0x06, 0, 0, 0x7FFF0000)]
program = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *line) for line in code))
filter = ctypes.create_string_buffer(struct.pack("@HP", len(code), ctypes.addressof(program)))
libc = ctypes.CDLL(None, use_errno=True)
libc.prctl.argtypes = [ctypes.c_int] + [ctypes.c_ulong] * 4
if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, ctypes.addressof(filter), 0, 0):
    sys.exit(f"prctl: {os.strerror(ctypes.get_errno())}")
os.execv(sys.argv[1], sys.argv[1:])
END
without() { /usr/bin/python3 "$room/no-ipv6" "$@"; }
exits '(the filter works)' 97 without /usr/bin/python3 -c '
import socket, sys
socket.socket(socket.AF_INET)
try: socket.socket(socket.AF_INET6)
except OSError as error: sys.exit(error.errno)'
start /usr/bin/python3 "$room/no-ipv6" "$mydocker" dns
like 'no IPv6: one warning' "$(<"$room/dns.err")" '^mydocker: .*IPv6'
is '  and no more' "$(wc -l <"$room/dns.err")" 1
gives '  the line says where it listens' \
    'mydocker dns: listening on 0.0.0.0:8053, forwarding to 8.8.8.8:53, 8.8.4.4:53' cat "$dns_out"
gives '  and IPv4 works' 192.0.2.1 dns +short @127.0.0.1 -p 8053 www.example.test.
gives '  TCP, too' 192.0.2.1 dns +tcp +short @127.0.0.1 -p 8053 www.example.test.
ends '  ends in order'
fails '  but where IPv6 is asked for, it is an error' 125 '::1' without "$mydocker" dns --listen '[::1]:8053'
# IPv6 that is there and switched off: addresses are gone, sockets are not.
echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6
start "$mydocker" dns
ok 'IPv6 switched off: at most one warning' test "$(wc -l <"$room/dns.err")" -le 1
gives '  and IPv4 works' 192.0.2.1 dns +short @127.0.0.1 -p 8053 www.example.test.
ends '  ends in order'
fails '  --listen [::1]: an error' 125 '::1' "$mydocker" dns --listen '[::1]:8053'
done_testing
