#!/bin/bash
# test-dns-tcp.sh: one test for each rule about TCP (RFC 7766): messages in pieces, many on
# a connection, in any order; deadlines; clients and upstreams that break off or stall.
. "$(dirname "$0")/lib.sh"
. "$scripts/lib-dns.sh"

start() { # one upstream, one server
    start_upstream a "$here:5310"
    serve_dns --upstream "$here:5310"
}
ids() { cut -c 1-4 | xargs; }

# What the program spends in a second in which nothing should happen.
idle_ticks() {
    local before
    before=$(cpu_ticks "$dns_pid")
    sleep 1
    echo $(($(cpu_ticks "$dns_pid") - before))
}

upstream_side() {
    start
    like 'a TCP client is answered' "$(short +tcp plain.test)" '^10\.'
    is '  upstream was asked by UDP' "$(seen a '^plain.test' | awk '{print $3}' | xargs)" udp
    is 'TC from upstream: the TCP client'"'"'s question goes there over TCP' "$(rcode +tcp tc.answers-3.test)" NOERROR
    is '  after UDP' "$(seen a '^tc.answers-3.test' | awk '{print $3}' | xargs)" 'udp tcp'
    is '  with our OPT' "$(seen a '^tc.answers-3.test' | awk '$3 == "tcp" {print $7}')" 1232
    is '  and the whole answer comes back' "$(short +tcp tc.answers-3.test | wc -l)" 3
    like 'a UDP client that is told TC asks again itself' "$(short tc.retry.test)" '^10\.'
    # Whole messages up to what TCP can carry, as long as upstream made them.
    local size got
    for size in 1300 4100 16500 65000; do
        got=$(ask +tcp "big-$size.test" TXT)
        like "an answer of $size octets over TCP" "$got" "MSG SIZE  rcvd: $((size + 11))$"
        is '  is what upstream sent' "$(grep '^big.*IN.TXT' <<<"$got" | md5sum)" \
            "$(dig +nocookie +tcp "@$here" -p 5310 "big-$size.test" TXT | grep '^big.*IN.TXT' | md5sum)"
    done
    clocked +tcp chain.tcp.tc.test
    ok "64 KiB of pointer chains in an answer over TCP cost no time ($took ms)" test "$took" -lt 1000
    like '  the server lives' "$(short +tcp alive.test)" '^10\.'
    like 'an upstream that sends its length and message byte by byte' "$(short +tcp tcpbytes.tc.test)" '^10\.'
    like '  or after a second' "$(short +tcp slow-1000.tcp.tc.test)" '^10\.'
    like '  or twice' "$(short +tcp twice.tcp.tc.test)" '^10\.'
    # tcpwrong: another ID first. What follows may be believed or not; the lie may not.
    got=$(ask +tcp tcpwrong.tc.test)
    unlike 'an answer over TCP with another ID is not believed' "$got" '6[.]6[.]6[.]6|timed out'
}

# Upstreams that break off: SERVFAIL in time from the only one, an answer from the second.
broken() {
    start_upstream a "$here:5310"
    start_upstream b "$here:5320"
    start_upstream c "$here:5330" --no-tcp
    serve_dns --upstream "$here:5310"
    local word words='tcphalf tcphalfrst tcpclose tcprst tcplen0 tcplen5 silent.tcp tctcp' waiting=()
    for word in $words; do
        { clocked +tcp "$word.tc.test"; echo "$took $status" >"$room/tmp/$word"; } &
        waiting+=($!)
    done
    wait "${waiting[@]}"
    for word in $words; do
        like "the only upstream, $word: SERVFAIL (or what came whole)" "$(<"$room/tmp/$word")" \
            "SERVFAIL$([[ $word == tcp* ]] || echo '|NOERROR')"
        took=$(cut -d ' ' -f 1 "$room/tmp/$word")
        ok "  within 5 s ($took ms)" test "$took" -lt 5000
    done
    like '  and goes on' "$(short +tcp tc.on.test)" '^10\.'
    stop_dns
    serve_dns --upstream "$here:5310" --upstream "$here:5320"
    # Both have the same names: only the first misbehaves, by its control file.
    for word in tcphalf tcprst tcpclose; do
        echo "$word" >"$room/a.control"
        like "TC, then $word from the first of two upstreams: the second" "$(short +tcp "tc.two-$word.test")" '^10\.'
    done
    rm "$room/a.control"
    stop_dns
    serve_dns --upstream "$here:5330"
    clocked +tcp tc.none.test
    is 'TC from an upstream without TCP: SERVFAIL' "$status" SERVFAIL
    ok "  within 5 s ($took ms)" test "$took" -lt 5000
    stop_dns
    serve_dns --upstream "$here:5330" --upstream "$here:5310"
    like '  or the second upstream'"'"'s answer' "$(short +tcp tc.second.test)" '^10\.'
}

messages() {
    start
    local question one two three
    question=$(query 1234 pieces.test)
    like 'the length and the message may come byte by byte' "$(talk "bytes=$question" reply=1)" '^1234'
    like '  or the length alone first' "$(talk raw=00 pause=50 "raw=1d" pause=50 "raw=$question" reply=1)" '^1234'
    like '  or two messages in two pieces, cut elsewhere' \
        "$(talk "raw=001d${question}001d${question:0:20}" pause=100 "raw=${question:20}" reply=2 | ids)" '^1234 1234$'
    # A slow one, a quick one and one from the cache: in order of being ready.
    one=$(query 1111 slow-800.order.test) two=$(query 2222 slow-200.order.test) three=$(query 3333 pieces.test)
    is 'several queries on one connection, answered in the order in which they are ready' \
        "$(talk "message=$one" "message=$two" "message=$three" reply=3 | ids)" '3333 2222 1111'
    is '200 queries on one connection at once' "$(talk "message=${three}*200" reply=200 | grep -c ^3333)" 200
    local steps=() i
    for ((i = 1; i <= 60; i++)); do steps+=("message=$(query "$(printf %04x "$i")" "many$i.test")"); done
    is '  and new names' "$(talk "${steps[@]}" reply=60 | cut -c 1-4 | sort -u | wc -l)" 60
    like 'a client that ends its direction is answered' "$(talk "message=$one" shut reply=1)" '^1111'
    is '  and then closed' "$(talk "message=$(query 5555 shut.test)" shut reply=1 end=5 | tail -n 1)" closed
    is 'a length of 0 closes' "$(talk raw=0000 end=3)" closed
    is '  also after a good message' "$(talk "message=$three" reply=1 raw=0000 end=3 | tail -n 1)" closed
    # A close with octets unread is a reset.
    like 'a length under 12 closes' "$(talk raw=000b1234010000010000000000 end=3)" '^(closed|reset)$'
    # As by UDP: the answer to an error is a message, and the connection stays.
    is 'an OPCODE that is not known: NOTIMP, and the connection stays' \
        "$(talk "message=12342800${three:8}" reply=1 "message=$three" reply=1 | cut -c 1-4,8 | xargs)" '12344 33330'
    unlike 'a reply is not answered' "$(talk "message=${three:0:4}8180${three:8}" reply=1)" '^[0-9a-f]{24}'
}

# Milliseconds that a talk takes, and what it printed.
timed_talk() {
    local start got
    start=$(date +%s%N)
    got=$(talk "$@")
    echo $((($(date +%s%N) - start) / 1000000)) "$got"
}

deadlines() {
    start
    local before during descriptors
    descriptors=$(descriptors "$dns_pid")
    hold 50
    like '50 idle connections: UDP is answered' "$(short udp.test)" '^10\.'
    like '  and TCP' "$(short +tcp udp.test)" '^10\.'
    before=$(idle_ticks)
    ok "  they cost no CPU time ($before ticks in a second)" test "$before" -le 3
    ok '  and are there' test "$(descriptors "$dns_pid")" -ge $((descriptors + 50))
    stop "$hold_pid"
    ok '  and gone when their clients are' eventually 30 eval "((\$(descriptors $dns_pid) <= $descriptors + 2))"
    # The deadlines, all at once: nothing said; a message begun; and one byte a second.
    timed_talk end=30 >"$room/tmp/idle" &
    local idle=$!
    timed_talk raw=00 end=30 >"$room/tmp/begun" &
    local begun=$! steps=(raw=00ff1234) i
    for ((i = 0; i < 20; i++)); do steps+=(pause=1000 raw=00); done
    timed_talk "${steps[@]}" end=10 >"$room/tmp/drops" &
    wait "$idle" "$begun" $!
    for during in idle begun drops; do
        like "a connection that is $during is closed" "$(<"$room/tmp/$during")" ' (closed|reset)$'
        took=$(cut -d ' ' -f 1 "$room/tmp/$during")
        ok "  in time ($took ms)" test "$took" -gt 1500 -a "$took" -lt 21000
    done
    # One that works is not idle.
    like 'a connection that is used stays longer than that' "$(talk "message=$(query 1111 a.test)" reply=1 pause=3000 \
        "message=$(query 2222 b.test)" reply=1 | ids)" '^1111 2222$'
}

resets() {
    start
    short warm.test >/dev/null
    local before after i leaving=()
    before=$(descriptors "$dns_pid")
    for i in 1 2 3 4 5 6; do
        talk raw=001d1234 reset & # in the middle of a message
        leaving+=($!)
        talk "message=$(query 1111 "slow-300.reset$i.test")" reset & # while its answer is on the way
        leaving+=($!)
        talk "message=$(query 1111 "slow-300.close$i.test")" &
        leaving+=($!)
    done
    wait "${leaving[@]}"
    sleep 0.6 # the answers arrive, for nobody
    after=$(idle_ticks)
    ok "resets in mid-message and clients that leave cost no CPU time ($after ticks in a second)" test "$after" -le 3
    ok '  and no descriptor' eventually 30 eval "((\$(descriptors $dns_pid) <= $before + 2))"
    like '  the server goes on' "$(short +tcp on.test)" '^10\.'
    # Who asks for much and reads nothing: 2000 times 16 KB do not fit into the sockets.
    local question
    question=$(query 1111 big-16500.much.test 0010)
    ask +tcp big-16500.much.test TXT >/dev/null # in the cache
    before=$(resident "$dns_pid")
    talk "message=$question*2000" pause=2500 >"$room/tmp/much" 2>&1 &
    local greedy=$!
    sleep 1
    like 'a client that reads nothing holds up nobody: UDP' "$(short udp.test)" '^10\.'
    like '  TCP' "$(short +tcp udp.test)" '^10\.'
    after=$(resident "$dns_pid")
    ok "  and takes no memory without end (from $before to $after kB)" test $((after - before)) -lt 8192
    after=$(idle_ticks)
    ok "  nor CPU time ($after ticks in a second)" test "$after" -le 5
    wait "$greedy"
}

# More connections than descriptors: no loop over accept, and UDP goes on.
no_descriptors() {
    start_upstream a "$here:5310"
    (
        ulimit -n 200
        dns_name=few
        serve_dns --upstream "$here:5310"
        echo "$dns_pid" >"$room/tmp/pid"
    )
    [[ -s $room/tmp/pid ]] || return
    dns_pid=$(<"$room/tmp/pid") dns_out=$room/few.out
    hold 300
    like '300 connections, 200 descriptors: UDP is answered' "$(short warm.test)" '^10\.'
    like '  new names too' "$(short new.test)" '^10\.'
    local ticks
    ticks=$(idle_ticks)
    ok "  no loop round accept(2) ($ticks ticks in a second)" test "$ticks" -le 5
    stop "$hold_pid"
    ok '  when they are gone, TCP is answered' eventually 50 eval 'short +tcp later.test | grep -q "^10"'
    kill "$dns_pid"
}

for group in upstream_side broken messages deadlines resets no_descriptors; do beside $group; done
gather
done_testing
