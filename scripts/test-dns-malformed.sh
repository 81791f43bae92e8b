#!/bin/bash
# test-dns-malformed.sh: queries and upstream's replies cut at every length and with every
# byte changed, and 64 KiB of compression pointers: the server answers its canary all the
# while, gives every asker whose answer came mangled the sound one that follows, does not
# grow, does not end, and hardly works. What is sent: dnswire.py mangle, chains.
# shellcheck disable=SC2154 # lib-dns.sh sets dns_pid
. "$(dirname "$0")/lib.sh"
. "$scripts/lib-dns.sh"
limit=300
wire() { timeout "$limit" /usr/bin/python3 "$scripts/dnswire.py" "$@"; }

# Each kind of damage has a server and an upstream of its own, side by side. The cache is
# small: it is full after the first round, so that what grows after it is a leak.
kinds=(queries queries-tcp replies replies-tcp)
declare -A pids jobs
for i in "${!kinds[@]}"; do
    kind=${kinds[i]}
    dns_name=$kind serve_dns --listen "127.0.0.1:$((5400 + i))" --upstream "127.0.0.1:$((5500 + i))" --cache-size 500
    pids[$kind]=$dns_pid
    wire mangle "$kind" 127.0.0.1 $((5400 + i)) "$dns_pid" "127.0.0.1:$((5500 + i))" >"$room/$kind.mangled" 2>&1 &
    jobs[$kind]=$!
done
for kind in "${kinds[@]}"; do
    wait "${jobs[$kind]}"
    try cat "$room/$kind.mangled"
    is "$kind, mangled: every canary is answered, and every reply is sound" \
        "$(grep -v '^sent\|^grown' <<<"$out")" 'wrong 0'
    like "  and there were many" "$out" '^sent [0-9]{4,} answered [0-9]{2,} canaries [0-9]{2,}'
    grown=$(sed -n 's/^grown //p' <<<"$out")
    ok "  memory stays flat (grown by ${grown:-?} KiB)" test "${grown:-9999}" -le 512
    is "  nothing on standard error" "$(<"$room/$kind.err")" ''
    dns_pid=${pids[$kind]}
    stop_dns
    is "  it ends only when it is told to, in order" "$dns_rc" 0
done

# 64 KiB of pointers cost under a millisecond: 200 of them well under a second of CPU time,
# which includes what the kernel needs to carry 13 MB (a parser that follows each chain to
# its end takes minutes).
for what in queries replies; do
    dns_name=chains-$what serve_dns --listen 127.0.0.1:5410 --upstream 127.0.0.1:5510
    try wire chains $what 127.0.0.1 5410 "$dns_pid" 127.0.0.1:5510
    is "200 $what of 64 KiB of pointer chains over TCP: the server serves on" \
        "$(grep -v '^milliseconds' <<<"$out$err")" 'wrong 0'
    spent=$(sed -n 's/^milliseconds //p' <<<"$out")
    ok "  and they cost under a second (${spent:-?} ms)" test "${spent:-99999}" -lt 1000
    is "  nothing on standard error" "$(<"$room/chains-$what.err")" ''
    stop_dns
    is "  it ends only when it is told to, in order" "$dns_rc" 0
done
done_testing
