#!/bin/bash
# test-dns-forwarding.sh: one test for each rule about forwarding (RFC 5452, 5625, 6891,
# 9520) and for what the users of other forwarders ask for: which replies count, where
# questions go and when, what upstream and asker see of each other.
. "$(dirname "$0")/lib.sh"
. "$scripts/lib-dns.sh"

at() { dig +tries=1 +time=6 +short "@$1" -p "$2" "${@:3}"; } # ADDRESS PORT DIG-ARGUMENTS

# The median of numbers, one a line.
median() { sort -n | awk '{value[NR] = $1} END {print value[int((NR + 1) / 2)]}'; }

# ---------------------------------------------------------------- which replies count

replies_that_count() {
    start_upstream a "$here:5310"
    serve_dns --upstream "$here:5310" --no-cache
    # Each lie comes at once, the truth a moment later. `count` puts the number of the
    # asking into the truth: 1 means that the wait went on, and no retry was answered.
    local i asking=() lie lies='wrongid wrongname wrongtype wrongclass wrongport wrongaddress wrongsocket noquestion
        twoquestions garbage short notreply wrongopcode loop forward outside cut-12 cut-30'
    # So that there are other sockets for wrongsocket.
    for i in 1 2 3 4 5 6; do short "earlier$i.test"; done >/dev/null
    for lie in $lies; do
        short "$lie.truth-250.count.lie.test" >"$room/tmp/$lie" &
        asking+=($!)
    done
    wait "${asking[@]}"
    for lie in $lies; do
        like "a reply counts only if it fits: after $lie comes the truth" "$(<"$room/tmp/$lie")" '^10\.[0-9.]+\.1$'
    done
    like 'junk of six kinds, and the truth 300 ms later: the client gets the truth' \
        "$(short wrongid.wrongport.wrongname.garbage.notreply.short.truth-300.count.all.test)" '^10\.[0-9.]+\.1$'
    like 'a name in other case is the same name (RFC 4343)' "$(short lower.count.Case.Test)" '^10\.[0-9.]+\.1$'
    is 'a lie alone is no answer: SERVFAIL, not 6.6.6.6' "$(rcode wrongid.notruth.lie.test)" SERVFAIL
    like '  and the server goes on' "$(short after.lie.test)" '^10\.'
    is 'an answer that comes twice is given once' \
        "$(say udp "$(query abcd twice.lie.test)" 1 00 | cut -c 1-4 | xargs)" abcd
}

# ---------------------------------------------------------------- ids and ports

ids_and_ports() {
    start_upstream a "$here:5310"
    serve_dns --upstream "$here:5310"
    local i ids ports spread first
    for ((i = 0; i < 1000; i++)); do echo "miss$i.test A"; done >"$room/names"
    dnsperf -s "$dns_at" -p "$dns_port" -d "$room/names" -n 1 -c 4 -q 50 >"$room/tmp/dnsperf" 2>&1
    seen a '^miss[0-9]+[.]test[.] ' >"$room/misses"
    like '1000 misses are answered' "$(<"$room/tmp/dnsperf")" 'Queries completed: +1000 '
    ids=$(awk '{print $5}' "$room/misses" | sort -u | wc -l)
    ok "1000 misses show over 900 different IDs ($ids)" test "$ids" -gt 900
    ports=$(awk '{print $4}' "$room/misses" | sort -u | wc -l)
    ok "  and at least 64 source ports ($ports)" test "$ports" -ge 64
    spread=$(awk '{print $4}' "$room/misses" | sort -n | awk 'NR == 1 {low = $1} END {print $1 - low}')
    ok "  from a wide range ($spread)" test "$spread" -gt 10000
    # Of random bits half are set: 500 of 1000, give or take 16; 400 and 600 are six times that.
    is '  each of the 16 bits of an ID is set in 400 to 600 of 1000' "$(awk '
        {for (digit = 1; digit <= 4; digit++) {
            value = index("0123456789abcdef", substr($5, digit, 1)) - 1
            for (bit = 8; bit >= 1; bit /= 2) if (value >= bit) {value -= bit; set[digit " " bit]++}
        }}
        END {for (digit = 1; digit <= 4; digit++) for (bit = 8; bit >= 1; bit /= 2) {
            count = set[digit " " bit]
            if (NR < 1000 || count < NR * 0.4 || count > NR * 0.6) print digit, bit, count, NR
        }}' "$room/misses")" ''
    # A generator with a seed of its own would begin the same way again.
    first=$(head -n 20 "$room/misses" | awk '{print $5}' | tr '\n' ' ')
    stop_dns
    serve_dns --upstream "$here:5310"
    for ((i = 0; i < 20; i++)); do echo "again$i.test A"; done >"$room/names"
    dnsperf -s "$dns_at" -p "$dns_port" -d "$room/names" -n 1 >/dev/null 2>&1
    ok '  another start, other IDs' test "$first" != "$(seen a '^again' | awk '{print $5}' | tr '\n' ' ')"
    is '  20 of them' "$(times_seen a '^again')" 20
}

# ---------------------------------------------------------------- joined

joined() {
    start_upstream a "$here:5310"
    serve_dns --upstream "$here:5310"
    local before one two three name=slow-700.join.test
    one=$(query 1111 "$name") two=$(query 2222 "${name^^}") three=$(query 3333 Slow-700.joiN.test)
    before=$(counter coalesced)
    say udp "$one" 4 "$two" "$three" >"$room/tmp/joined"
    is 'identical questions in flight become one upstream query' "$(times_seen a '^slow-700[.]join')" 1
    # ID, and the question from the 13th byte on.
    is '  and each asker gets an answer with its own ID and spelling' \
        "$(cut -c "1-4,25-${#one}" "$room/tmp/joined" | sort)" \
        "$(printf '%s\n' "$one" "$two" "$three" | cut -c 1-4,25-)"
    is '  which is counted' "$(counter coalesced)" $((before + 2))
    (
        short slow-700.keys.test A &
        short slow-700.keys.test AAAA &
        short slow-700.keys.test A +dnssec &
        short slow-700.keys.test A +cdflag &
        short slow-700.keys.test CH A &
        wait
    ) >/dev/null
    is '  but not with another type, DO, CD or class' "$(times_seen a '^slow-700.keys.test. ')" 5
    # Three that join, with different rooms for the answer: each as it asked.
    with_opt() { sed -E "s/^(.{20})0000/\\10001/; s/$/000029${2}000000000000/" <<<"$1"; } # QUERY SIZE-IN-HEX
    one=$(query 1111 slow-700.big-900.test 0010) two=2222${one:4} three=3333${one:4}
    say udp "$one" 4 "$(with_opt "$two" 04d0)" "$(with_opt "$three" 0258)" >"$room/tmp/rooms"
    is '  askers with and without EDNS join' "$(times_seen a '^slow-700.big-900')" 1
    # Length in octets; flags: 8780 is TC.
    is '  and each gets what it has room for' \
        "$(awk '{print substr($1, 1, 8), length($1) / 2}' "$room/tmp/rooms" | sort | xargs)" \
        '11118780 39 22228580 911 33338780 50'
    short tc.slow-500.udp.both.test +ignore >"$room/tmp/udp" &
    local udp=$!
    is '  a UDP and a TCP asker join, upstream says TC: the TCP asker gets the answer' \
        "$(rcode tc.slow-500.udp.both.test +tcp)" NOERROR
    wait "$udp"
    is '  from one question by UDP and one by TCP' \
        "$(seen a '^tc.slow-500.udp.both' | awk '{print $3}' | xargs)" 'udp tcp'
    # The same ID and question from one port is the client's retry: both may be answered.
    say udp "$(query 4444 slow-500.retry.test)" 2 "$(query 4444 slow-500.retry.test)" >"$room/tmp/retry"
    is '  a client that repeats its question makes no second one upstream' "$(times_seen a '^slow-500.retry')" 1
    ok '  and is answered' grep -q '^4444' "$room/tmp/retry"
    # A failure is every asker's failure.
    one=$(query 1111 slow-500.servfail.join.test) two=$(query 2222 slow-500.servfail.join.test)
    is '  a failure goes to all that joined' \
        "$(say udp "$one" 4 "$two" | sed -E 's/^(....)...(.).*/\1 \2/' | sort | xargs)" '1111 2 2222 2'
}

# ---------------------------------------------------------------- silence

one_silent() {
    start_upstream a "$here:5310"
    serve_dns --upstream "$here:5310"
    local i holes=()
    for i in 1 2 3 4 5 6 7 8; do
        { clocked "silent.hole$i.test"; echo "$took $status" >"$room/tmp/hole$i"; } &
        holes+=($!)
    done
    eventually 20 eval '(($(times_seen a "^silent.hole") >= 8))'
    like 'a silent upstream delays nobody else: another question is answered' "$(short quick.test)" '^10\.'
    is '  while nothing came for the eight yet' "$(ls "$room"/tmp/hole* 2>/dev/null)" ''
    wait "${holes[@]}"
    is '  they all get SERVFAIL' "$(cat "$room"/tmp/hole* | awk '{print $2}' | sort | uniq -c | xargs)" '8 SERVFAIL'
    took=$(sort -n "$room"/tmp/hole* | tail -n 1 | cut -d ' ' -f 1)
    ok "  within 5 s ($took ms)" test "$took" -lt 5000
    like '  after two or three sends of each' "$(seen a '^silent.hole' | awk '{print $8}' | sort | uniq -c | sort -n |
        awk '{print $1}' | xargs)" '^([23] ?){8}$'
    like '  each with another ID' "$(seen a '^silent.hole1' | awk '{print $5}' | sort | uniq -d)" '^$'
    like 'a question that is lost once is asked again' "$(short silent.first-1.count.again.test)" '^10.*\.2$'
    like '  or twice' "$(short silent.first-2.count.again.test)" '^10.*\.3$'
    like 'an answer to the first of two sends counts' "$(short slow-1500.count.late.test)" '^10\.'
}

retries() { # the first of two silent
    start_upstream a "$here:5310"
    start_upstream b "$here:5320"
    echo silent >"$room/a.control"
    serve_dns --upstream "$here:5310" --upstream "$here:5320"
    local i before after start
    for i in 1 2 3; do
        clocked "retry$i.test"
        like "a dead first upstream does not eat the client's 5 s: question $i is answered" "$data" '^10\.'
        ok "  in time ($took ms)" test "$took" -lt 3000
    done
    is '  the first was asked first' "$(times_seen a '^retry1.test. A')" 1
    ok 'it is remembered as dead' eventually 20 eval 'counters | grep -q "^upstream .*:5310 .*dead$"'
    before=$(wc -l <"$room/a.log")
    start=$(date +%s%N)
    for ((i = 1; i <= 25; i++)); do clocked "dead$i.test"; echo "$took $data"; done >"$room/tmp/dead"
    took=$((($(date +%s%N) - start) / 1000000))
    after=$(wc -l <"$room/a.log")
    is '  the next 25 questions are answered' "$(grep -c ' 10\.' "$room/tmp/dead")" 25
    ok "  and do not wait for it (median $(median <"$room/tmp/dead") ms)" test "$(median <"$room/tmp/dead")" -lt 300
    ok "  it is probed once a second at most ($((after - before)) in $took ms)" \
        test $((after - before)) -le $((took / 1000 + 2))
    # A probe is a copy of a question, which somebody must ask.
    before=$(wc -l <"$room/a.log")
    for ((i = 1; i <= 12; i++)); do short "steady$i.test"; sleep 0.25; done >/dev/null
    after=$(wc -l <"$room/a.log")
    ok "  but it is probed: in 3 s of questions $((after - before)) times" test $((after - before)) -ge 2
    # 60 ms: its answers to probes come when the second has answered long since.
    echo slow-60 >"$room/a.control"
    ok '  and once it answers again, if slower than the second, it is used again' eventually 20 first_again
    like '  which the counters say' "$(counters | grep '^upstream .*:5310 ')" ' alive$'
}
first_again() {
    local name=again$RANDOM.test
    short "$name" >/dev/null
    sleep 0.1
    (($(times_seen a "^$name. A"))) && ((! $(times_seen b "^$name. A")))
}

all_silent() {
    start_upstream a "$here:5310"
    start_upstream b "$here:5320"
    echo silent | tee "$room/a.control" >"$room/b.control"
    serve_dns --upstream "$here:5310" --upstream "$here:5320"
    local name one two
    for name in nobody later; do
        clocked "$name.test"
        is "two silent upstreams ($name): SERVFAIL" "$status" SERVFAIL
        ok "  within 5 s ($took ms)" test "$took" -lt 5000
        one=$(times_seen a "^$name") two=$(times_seen b "^$name")
        like "  both were asked, at most 3 times" "$one $two" '^[123] [123]$'
    done
    rm "$room/a.control" "$room/b.control"
    ok '  and when they come back: an answer' eventually 30 eval 'short "back$RANDOM.test" | grep -q "^10"'
}

errors() {
    start_upstream a "$here:5310"
    start_upstream b "$here:5320"
    serve_dns --upstream "$here:5310" --upstream "$here:5320"
    local word
    for word in servfail refused; do
        echo "$word" >"$room/a.control"
        like "$word from the first upstream: the second is asked" "$(short "try-$word.test")" '^10\.'
        is '  after the first' "$(times_seen a "^try-$word")" 1
        echo "$word" >"$room/b.control"
        is "  $word from both: an error" "$(rcode "both-$word.test")" "${word^^}"
        is '  from each once' "$(times_seen a "^both-$word") $(times_seen b "^both-$word")" '1 1'
        rm "$room/b.control"
    done
    rm "$room/a.control"
    like 'FORMERR without an OPT: asked again without OPT' "$(short formerr.noopt.edns.old.test)" '^10\.'
    is '  at once, of the same upstream' "$(seen a '^formerr.noopt.edns.old' | awk '{print $7}' | xargs)" '1232 -'
    is '  whose asker may have an OPT all the same' "$(ask formerr.noopt.edns.old2.test | grep -c 'EDNS: version: 0')" 1
    is 'an upstream that leaves the OPT out is believed' "$(rcode noopt.test)" NOERROR
    is 'NXDOMAIN is an answer, not a failure' "$(rcode nxdomain.test) $(times_seen b '^nxdomain')" 'NXDOMAIN 0'
    is '  and so is NODATA' "$(rcode nodata.test) $(times_seen b '^nodata')" 'NOERROR 0'
}

unreachable() { # nobody listens on 5999 and 5998: ICMP says so
    start_upstream a "$here:5310"
    serve_dns --upstream "$here:5999" --upstream "$here:5310"
    clocked icmp.test
    like 'nobody at the first upstream (port unreachable): the second answers' "$data" '^10\.'
    ok "  at once ($took ms)" test "$took" -lt 390
    stop_dns
    serve_dns --upstream "$here:5999" --upstream "$here:5998"
    clocked icmp.test
    is 'nobody at any: SERVFAIL' "$status" SERVFAIL
    ok "  at once ($took ms)" test "$took" -lt 390
    stop_dns
    serve_dns --upstream "$here:5999"
    clocked icmp.test
    is 'nobody at the only one: SERVFAIL' "$status" SERVFAIL
    ok "  at once ($took ms)" test "$took" -lt 790
    start_upstream late "$here:5999"
    ok '  and when it is there: an answer, within 2 s' eventually 20 eval 'short "late$RANDOM.test" | grep -q "^10"'
}

# ---------------------------------------------------------------- sizes

sizes() {
    start_upstream a "$here:5310"
    serve_dns --upstream "$here:5310"
    # size WANTED-ANSWERS WANTED-FLAG DIG-ARGUMENTS
    size() {
        local got
        got=$(ask +ignore "${@:3}" TXT)
        is "${*:3}: $1 answers, flag ${2:-none}" "$(grep -c $'\tTXT\t' <<<"$got") $(
            grep -oE '^;; flags:.* tc ' <<<"$got" | grep -o tc)" "$1 $2"
        [[ $2 ]] || unlike '  whole' "$got" 'WARNING|malformed'
    }
    # From an asker without EDNS at most 512; with EDNS the OPT (11 bytes) counts too.
    size 1 '' +noedns big-512.test
    size 0 tc +noedns big-513.test
    size 0 tc +noedns big-1100.test
    size 2 '' +bufsize=1232 big-1221.test
    size 1 '' +bufsize=600 big-589.test
    size 0 tc +bufsize=600 big-590.test
    size 1 '' +bufsize=600 big-589.test # the same, from the cache
    size 0 tc +bufsize=600 big-590.test
    # A size under 512 counts as 512 (RFC 6891 section 6.2.3).
    size 1 '' +bufsize=100 big-501.test
    size 0 tc +bufsize=100 big-502.test
    # What came over TCP is in the cache for UDP, as far as it fits.
    ask +tcp big-3000.test TXT >/dev/null
    size 3 '' +bufsize=4096 big-3000.test
    size 0 tc +bufsize=1232 big-3000.test
    size 0 tc +noedns big-3000.test
    is '  without another question upstream' "$(seen a '^big-3000' | awk '{print $3}' | xargs)" 'udp tcp'
    # Over 1232 upstream itself says TC; one that does not, and sends it all the same.
    size 0 tc +bufsize=4096 big-4000.test
    like '  which says TC at once, without TCP' "$(seen a '^big-4000' | awk '{print $3}' | xargs)" '^udp$'
    local got
    got=$(ask +bufsize=4096 +ignore big-4000.anyway.test TXT)
    like 'more than we asked for is given whole or with TC' "$got" 'flags: qr[ a-z]* tc|MSG SIZE  rcvd: 40[01]'
    unlike '  but not cut' "$got" 'WARNING|malformed'
    got=$(ask +noedns +ignore big-1100.test TXT)
    like 'TC: the question is there, and nothing else' "$got" 'QUERY: 1, ANSWER: 0, AUTHORITY: 0, ADDITIONAL: 0$'
    got=$(ask +bufsize=600 +ignore big-1100.test TXT)
    like '  with EDNS the OPT too' "$got" 'QUERY: 1, ANSWER: 0, AUTHORITY: 0, ADDITIONAL: 1$'
    like 'TC from upstream: at once to a UDP asker' "$(ask +ignore tc.x.test)" 'flags: qr[ a-z]* tc'
    is '  who makes no TCP upstream' "$(seen a '^tc.x.test' | awk '{print $3}' | xargs)" udp
    got=$(ask +ignore tcpartial.x.test)
    like '  records beside it may be half of a set: they are not given' "$got" 'flags: qr[ a-z]* tc.* ANSWER: 0'
}

# ---------------------------------------------------------------- the way back

wildcard() {
    ip address add fd00::1/128 dev lo
    ip address add fd00::2/128 dev lo
    start_upstream a "$here:5310"
    serve_dns --listen 0.0.0.0:5400 --listen '[::]:5400' --upstream "$here:5310"
    local address
    # dig believes no other source than the address that it asked.
    for address in 127.0.0.1 127.0.0.2 127.9.8.7 ::1 fd00::1 fd00::2; do
        like "bound to the wildcard, asked at $address" "$(at "$address" 5400 way.test)" '^10\.'
        like '  by TCP' "$(at "$address" 5400 +tcp way.test)" '^10\.'
        like '  a new name' "$(at "$address" 5400 "way$RANDOM.test")" '^10\.'
    done
    stop_dns
    serve_dns --listen :5401 --upstream "$here:5310"
    like '--listen :PORT is both families' "$(at 127.0.0.2 5401 way.test)" '^10\.'
    like '  IPv6 too' "$(at ::1 5401 way.test)" '^10\.'
    stop_dns
    start_upstream six '[fd00::2]:5310'
    serve_dns --listen '[::1]:5402' --upstream '[fd00::2]:5310'
    like 'an upstream at an IPv6 address' "$(at ::1 5402 six.test)" '^10\.'
    is '  was asked' "$(times_seen six '^six.test')" 1
}

# ---------------------------------------------------------------- two hops

hops() { # RFC 6891 section 6.2.6: what upstream sees is ours, what the asker sees is ours
    start_upstream a "$here:5310"
    serve_dns --upstream "$here:5310"
    upstream_sees() { # DESCRIPTION WANTED-FLAGS-AND-EDNS NAME DIG-ARGUMENTS
        short "$3" "${@:4}" >/dev/null
        is "$1" "$(seen a "^$3" | awk '{print $6, $7}' | xargs)" "$2"
    }
    upstream_sees 'upstream sees RD and our own OPT' 'rd 1232' h1.test +noadflag
    upstream_sees '  also from an asker without OPT' 'rd 1232' h2.test +noadflag +noedns
    upstream_sees '  RD, although the asker had none' 'rd 1232' h3.test +noadflag +norecurse
    upstream_sees '  our size, not the asker'"'"'s' 'rd 1232' h4.test +noadflag +bufsize=4000
    upstream_sees '  DO is copied' 'rd 1232+do' h5.test +noadflag +dnssec
    upstream_sees '  CD is copied' 'rd+cd 1232' h6.test +noadflag +cdflag
    upstream_sees '  AD is copied' 'rd+ad 1232' h7.test +adflag
    upstream_sees '  options are not: a cookie' 'rd 1232' h8.test +noadflag +cookie
    upstream_sees '  the client subnet' 'rd 1232' h9.test +noadflag +subnet=192.0.2.0/24
    upstream_sees '  NSID, padding, an unknown one' 'rd 1232' h10.test +noadflag +nsid +padding=64 +ednsopt=65001:00ff
    upstream_sees '  nor the flags of EDNS but DO' 'rd 1232' h11.test +noadflag +ednsflags=0x40
    upstream_sees '  Z is not' 'rd 1232' h12.test +noadflag +zflag
    local got
    got=$(ask opts.ecs.h.test)
    like 'the asker sees our own OPT' "$got" 'EDNS: version: 0, flags:; udp: '
    unlike '  and no option of upstream' "$got" 'COOKIE|NSID|EDE|CLIENT-SUBNET|KEEPALIVE'
    got=$(ask opts.ecs.h.test; ask opts.h.test; ask opts.h.test)
    unlike '  nor from the cache' "$got" 'COOKIE|NSID|EDE|CLIENT-SUBNET|KEEPALIVE'
    unlike 'an asker without OPT gets none' "$(ask +noedns opts.h2.test; ask +noedns opts.h2.test)" 'EDNS'
    like '  although the answer is there' "$(short +noedns opts.h2.test)" '^10\.'
    # noopt: upstream did not know EDNS; the asker's hop is ours all the same.
    like 'an asker with OPT gets one from us, when upstream had none' "$(ask noopt.h.test)" 'EDNS: version: 0'
    got=$(ask optmiddle.ttl-100.h.test)
    is 'OPT in the middle of the additional section: the records round it are there' \
        "$(grep -cE '^(before|after)[.]test' <<<"$got") $(grep -c 'EDNS: version' <<<"$got")" '2 1'
    got=$(ask +noedns optmiddle.ttl-100.h.test)
    is '  without it for an asker without OPT' "$(grep -cE '^(before|after)|EDNS|ADDITIONAL: 2' <<<"$got")" 3
    # Replies that are no good DNS: whatever comes of them, no OPT reaches one who sent none.
    unlike 'two OPTs, or one not at the root, are not passed on' \
        "$(ask +noedns optname.h.test; ask +noedns twoopts.first-1.h.test)" 'ADDITIONAL: [1-9]|OPT|EDNS'
    is 'an RCODE that does not fit into the header is not NOERROR' "$(rcode badvers.h.test +noedns)" SERVFAIL
    is 'Z from upstream is not passed on' "$(ask zbit.h.test | grep -c 'MBZ')" 0
    is 'AD is upstream'"'"'s' "$(flags ad.h.test +adflag)" 'qr aa rd ra ad'
    is 'RD is the asker'"'"'s' "$(flags norecurse.h.test +norecurse)" 'qr aa ra'
    is 'CD is the asker'"'"'s' "$(flags cdcopy.h.test +cdflag)" 'qr aa rd ra cd'
    # Unknown types pass byte for byte; RDATA that looks like a pointer stays what it is.
    is 'an unknown type passes byte for byte' "$(short raw-00ff10c00c.h.test TYPE65280)" '\# 5 00FF10C00C'
    is '  and its RDATA that looks like a pointer' "$(short pointer.h.test TYPE65281)" '\# 7 0001C00CC010FF'
    is '  from the cache too' "$(short pointer.h.test TYPE65281)" '\# 7 0001C00CC010FF'
    is '  class CH' "$(ask +short raw-0141.h.test CH TXT)" '"A"'
    # Owner names that point to the question follow the asker's spelling.
    short cname-2.hop.test >/dev/null
    is 'the owner name is in the spelling asked' "$(ask +noall +answer cname-2.HoP.test | awk 'NR == 1 {print $1}')" \
        cname-2.HoP.test.
}

# ---------------------------------------------------------------- what peers' users ask for

local_names() {
    start_upstream a "$here:5310"
    printf '192.0.2.10\tprinter.lan printer # by the door\n2001:db8::10 printer.lan\n' >"$room/hosts"
    serve_dns --upstream "$here:5310" --hosts "$room/hosts"
    is 'a local name' "$(short printer.lan) $(short printer.lan AAAA)" '192.0.2.10 2001:db8::10'
    is '  and its alias' "$(short printer)" 192.0.2.10
    is '  NODATA, not NXDOMAIN, for its other types' "$(rcode printer.lan MX) $(short printer.lan MX)" 'NOERROR '
    is '  and for AAAA of a name that has an A only' "$(rcode printer AAAA) $(short printer AAAA)" 'NOERROR '
    is '  its TTL is short' "$(ttl printer.lan)" 10
    is '  PTR' "$(short -x 192.0.2.10)" printer.lan.
    is '  nobody else is asked for it' "$(times_seen a printer)" 0
    # Asked before, so that a cache of "no such name" would show.
    short scanner.lan >/dev/null
    echo '192.0.2.11 scanner.lan' >>"$room/hosts"
    is 'a line added is visible at once, without a reload' "$(short scanner.lan)" 192.0.2.11
    echo '192.0.2.12 scanner.lan' >"$room/hosts.new"
    mv "$room/hosts.new" "$room/hosts"
    is '  and a new file in its place' "$(short scanner.lan)" 192.0.2.12
    # As the same size in the same second: editors and scripts do that.
    echo '192.0.2.13 scanner.lan' >"$room/hosts"
    is '  and one of the same size' "$(short scanner.lan)" 192.0.2.13
    like '  and a name that is gone is gone' "$(short printer.lan)" '^10\.'
}

odd_resolv_conf() { # what other forwarders stumble over; it is not for us (dig does not start with it)
    start_upstream a "$here:5310"
    cp /etc/resolv.conf "$room/resolv.conf"
    printf 'nameserver\nnameserver fe80::1%%eth9\n\xff\xfe\0garbage\noptions edns0 trust-ad\n' >/etc/resolv.conf
    serve_dns --upstream "$here:5310"
    like 'an odd resolv.conf disturbs nobody' "$(say udp "$(query 1234 odd.test)")" '^1234'
    stop_dns
    rm /etc/resolv.conf
    serve_dns --upstream "$here:5310"
    like '  nor does its absence' "$(say udp "$(query 1234 odd.test)")" '^1234'
    stop_dns
    cp "$room/resolv.conf" /etc/resolv.conf
}

no_cap() { # others stop at 150 or 1000 questions in flight
    start_upstream a "$here:5310"
    serve_dns --upstream "$here:5310"
    local i
    for ((i = 0; i < 3000; i++)); do echo "slow-1500.flight$i.test A"; done >"$room/names"
    # All of them are asked before the first is answered.
    dnsperf -s "$dns_at" -p "$dns_port" -d "$room/names" -n 1 -c 10 -q 3000 -t 10 >"$room/tmp/dnsperf" 2>&1
    like '3000 questions in flight at once are all answered' "$(<"$room/tmp/dnsperf")" 'Queries completed: +3000 '
    like '  with NOERROR' "$(<"$room/tmp/dnsperf")" 'NOERROR 3000 '
    like '  and counted' "$(counters)" '^misses 3000$'
}

odd_resolv_conf
stop "$upstream_pid"
# dnsperf takes an IPv4 address only where the machine has one beside 127.0.0.0/8, once it
# has an IPv6 one (getaddrinfo(3), AI_ADDRCONFIG).
ip address add 192.168.77.1/32 dev lo
for group in replies_that_count ids_and_ports joined one_silent retries all_silent errors unreachable sizes \
    wildcard hops local_names; do
    beside $group
done
gather
beside no_cap # alone: it is a load
gather
done_testing
