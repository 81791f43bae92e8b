#!/bin/bash
# test-dns-caching.sh: one test for each rule about the cache (RFC 2181, 2308, 4035, 8767,
# 9520): what is kept, under which key, for how long, and what is given when it is over.
. "$(dirname "$0")/lib.sh"
. "$scripts/lib-dns.sh"

start() { # ARGS...: one upstream, one server
    start_upstream a "$here:5310"
    serve_dns --upstream "$here:5310" "$@"
}

# asked_upstream DESCRIPTION TIMES NAME-REGEX
asked_upstream() { is "$1" "$(times_seen a "$3")" "$2"; }

# ---------------------------------------------------------------- the key

key() {
    start
    local i name
    short www.key.test >/dev/null
    like 'a name in other case is the same name' "$(short WWW.Key.TEST)" '^10\.'
    asked_upstream '  for the cache too' 1 '^www.key.test. A'
    is '  and the answer is in the spelling asked' \
        "$(ask +noall +question +answer wWw.kEy.test | awk '{print $1}' | xargs)" ';wWw.kEy.test. wWw.kEy.test.'
    short www.key.test AAAA >/dev/null
    asked_upstream 'another type is another key' 1 '^www.key.test. AAAA'
    # dig sends AD=1 unless told otherwise; here each bit counts.
    for i in 1 2; do
        short bits.key.test +noadflag >/dev/null
        short bits.key.test +adflag >/dev/null
    done
    is 'AD is part of the key where DO=0' "$(seen a '^bits' | awk '{print $6, $7}' | xargs)" 'rd 1232 rd+ad 1232'
    for i in 1 2; do
        short bits.key.test +noadflag +dnssec >/dev/null
        short bits.key.test +adflag +dnssec >/dev/null
    done
    is '  DO is too, and with it AD is not' "$(seen a '^bits' | awk '{print $7}' | tail -n +3 | xargs)" '1232+do'
    for i in 1 2; do short cd.key.test +noadflag +cdflag >/dev/null; done
    asked_upstream 'a +cd question is cached' 1 '^cd.key.test'
    short cd.key.test +noadflag >/dev/null
    is '  and never serves a +nocd question' "$(seen a '^cd.key' | awk '{print $6}' | xargs)" 'rd+cd rd'
    is '  CD in the reply is the asker'"'"'s' "$(flags cd.key.test +noadflag +cdflag); $(flags cd.key.test +noadflag)" \
        'qr rd ra cd; qr rd ra'
    # A bad signature is SERVFAIL for +nocd; +cd must be able to get past it, at once.
    name=servfail.first-1.key.test
    is 'a failure without CD does not serve +cd' "$(rcode "$name") $(rcode "$name" +cdflag)" 'SERVFAIL NOERROR'
    # The way it came is not part of the key.
    short way.key.test >/dev/null
    short way.key.test +tcp >/dev/null
    short way.key.test +noedns +norecurse >/dev/null
    asked_upstream 'TCP, EDNS and RD are not part of the key' 1 '^way.key.test'
    # Escaped octets: a dot within a label is not a border of labels.
    short 'a\.b.key.test' >/dev/null
    short a.b.key.test >/dev/null
    asked_upstream 'a dot within a label makes another name' 2 '^a.*b[.]key[.]test'
}

# ---------------------------------------------------------------- TTLs

ttls() {
    start
    local got sums
    records ttls-100-90-80.t.test +noedns >"$room/tmp/fresh"
    records optmiddle.ttl-100.t.test >/dev/null
    ask ttls-100-90-80.do.t.test +dnssec >/dev/null
    short ttl-4.count.t.test >/dev/null
    short steps-300-4-300.answers-3.count.t.test >/dev/null
    short ttls-300-300-4.count.t.test >/dev/null
    short ttls-300-4-300.count.t.test >/dev/null
    short steps-300-4.cname-1.count.t.test >/dev/null
    is 'fresh: the TTLs of upstream' "$(awk '{print $2}' "$room/tmp/fresh" | xargs)" '100 90 80'
    sleep 1.1
    records ttls-100-90-80.t.test +noedns >"$room/tmp/aged"
    got=$(awk '{print $2}' "$room/tmp/aged" | xargs)
    like 'TTLs fall in all three sections' "$got" '^(99 89 79|98 88 78|97 87 77)$'
    without_ttls() { awk '{$2 = ""; print}' "$room/tmp/$1"; }
    is '  and nothing else changes' "$(without_ttls aged)" "$(without_ttls fresh)"
    got=$(ask optmiddle.ttl-100.t.test)
    like '  behind an OPT in the middle too' "$(awk '/^after[.]test/ {print $2}' <<<"$got")" '^9[789]$|^29[789]$'
    # DO is in the OPT's TTL field.
    got=$(ask ttls-100-90-80.do.t.test +dnssec)
    like 'the TTL of an OPT does not fall' "$got" 'EDNS: version: 0, flags: do; udp: [0-9]+$'
    sums=$(times_seen a 'count.t.test')
    short ttl-4.count.t.test >/dev/null
    is '  nothing was asked again so far' "$sums $(times_seen a 'count.t.test')" '5 5'
    sleep 3.3 # 4.4 s since they came
    like 'the entry lives for its TTL' "$(short ttl-4.count.t.test)" '\.2$'
    like '  for the smallest of the answer section' "$(short steps-300-4-300.answers-3.count.t.test | xargs)" '\.2( |$)'
    like '  of a CNAME chain' "$(short steps-300-4.cname-1.count.t.test | xargs)" '\.2$'
    like '  of the additional section' "$(short ttls-300-300-4.count.t.test)" '\.2$'
    like '  of the authority section' "$(short ttls-300-4-300.count.t.test)" '\.2$'
    like 'an answer that is asked for again begins anew' "$(ttl ttl-4.count.t.test)" '^[34]$'
}

not_kept() {
    start
    local i
    twice() { # DESCRIPTION TIMES DIG-ARGUMENTS, the name first
        ask "${@:3}" >/dev/null
        ask "${@:3}" >/dev/null
        is "$1" "$(seen a "^$3[.]" | awk '$3 == "udp"' | wc -l)" "$2"
    }
    twice 'an ordinary answer is kept' 1 ttl-60.k.test
    twice 'TTL 0 is not' 2 ttl-0.k.test
    is '  and is given as it is' "$(ttl ttl-0.k2.test)" 0
    twice '  nor TTL 0 in the additional section' 2 ttls-60-60-0.k.test
    # RFC 2181 section 8: the top bit set means zero.
    twice '  nor a TTL with the top bit set' 2 ttl-2147483948.k.test
    twice '  while the greatest TTL is' 1 ttl-2147483647.k.test
    twice 'TC=1 is not' 2 tc.k.test +ignore
    twice '  nor with records' 2 tcpartial.k.test +ignore
    twice 'class CH is not' 2 raw-0141.k.test CH TXT
    twice '  nor class ANY' 2 raw-0141.any.k.test -c ANY TXT
    twice 'an answer with a client subnet in its OPT is not' 2 ecs.k.test
    twice '  nor one to a question with a client subnet' 2 ecs.q.k.test +subnet=192.0.2.0/24
    twice '  other options do not matter' 1 opts.k.test
    twice 'unknown types are kept' 1 raw-00ff.k.test TYPE65280
    short extra.k.test >/dev/null
    like 'records that were not asked for are not cached on their own' "$(short www.victim.test)" '^10\.'
    is '  but asked for' "$(times_seen a '^www.victim.test. A')" 1
    short cname-1.k.test >/dev/null
    short c0.test >/dev/null
    asked_upstream '  nor the target of a CNAME' 1 '^c0.test. A'
}

# ---------------------------------------------------------------- negative answers

negative() {
    start
    local word name got
    local -A rcodes=([nxdomain]=NXDOMAIN [nodata]=NOERROR)
    for word in nxdomain nodata; do
        name=$word.soa-60-4.count.n.test
        is "$word: $(rcode "$name"), with its SOA" "$(rcode "$name") $(records "$name" | awk '{print $4}')" \
            "${rcodes[$word]} SOA"
        like '  whose TTL is not over MINIMUM, from the cache' "$(records "$name" | awk '{print $2}')" '^[1-4]$'
        rcode "$word.soa-4-60.n.test" >/dev/null
        rcode "$word.soa-60-60.n.test" >/dev/null
        asked_upstream '  is kept' 1 "^$word.soa-60-4[.]"
        rcode "$word.nosoa.n.test" >/dev/null
        is '  without an SOA it is given' "$(rcode "$word.nosoa.n.test")" "${rcodes[$word]}"
        asked_upstream '  and not kept' 2 "^$word.nosoa"
        rcode "$word.soa-0-60.n.test" >/dev/null
        rcode "$word.soa-0-60.n.test" >/dev/null
        asked_upstream '  nor with an SOA of TTL 0' 2 "^$word.soa-0-60"
        rcode "$word.soa-60-0.n.test" >/dev/null
        rcode "$word.soa-60-0.n.test" >/dev/null
        asked_upstream '  nor with MINIMUM 0' 2 "^$word.soa-60-0"
        rcode "$word.soa-86400-86400.n.test" >/dev/null
        got=$(records "$word.soa-86400-86400.n.test" | awk '{print $2}')
        like '  it is kept for 3 hours at most' "$got" '^10(800|79[0-9])$'
        is '  AA is cleared' "$(flags "$word.soa-86400-86400.n.test")" 'qr rd ra'
    done
    # The CNAME on the way to what is not there counts too.
    rcode nxdomain.soa-60-60.cname-1.steps-4.n.test >/dev/null
    is 'NXDOMAIN behind a CNAME: both are given' \
        "$(records nxdomain.soa-60-60.cname-1.steps-4.n.test | awk '{print $4}' | xargs)" 'CNAME SOA'
    asked_upstream '  from the cache' 1 '^nxdomain.soa-60-60.cname'
    sleep 4.2
    rcode nxdomain.soa-60-60.cname-1.steps-4.n.test >/dev/null
    asked_upstream '  until the first of them ends' 2 '^nxdomain.soa-60-60.cname'
    for word in nxdomain nodata; do
        rcode "$word.soa-60-4.count.n.test" >/dev/null
        asked_upstream "$word is kept for MINIMUM, when that is less than the SOA's TTL" 2 "^$word.soa-60-4[.]"
        rcode "$word.soa-4-60.n.test" >/dev/null
        asked_upstream '  and for the TTL, when that is less' 2 "^$word.soa-4-60"
        rcode "$word.soa-60-60.n.test" >/dev/null
        asked_upstream '  and no shorter' 1 "^$word.soa-60-60.n"
    done
}

# ---------------------------------------------------------------- failures

failures() {
    start
    local word
    for word in servfail refused; do
        # Four questions within some 50 ms, over one and the same dig.
        ask "$word.f.test" "$word.f.test" "$word.f.test" "$word.f.test" >"$room/tmp/four"
        is "$word: four askers get it" "$(grep -c "status: ${word^^}" "$room/tmp/four")" 4
        asked_upstream '  from one question upstream' 1 "^$word.f.test"
    done
    sleep 1.2
    rcode servfail.f.test >/dev/null
    asked_upstream '  which is made again after a second' 2 '^servfail.f.test'
    rcode servfail.first-1.f.test >/dev/null
    sleep 1.2
    is 'a failure that is over is over' "$(rcode servfail.first-1.f.test)" NOERROR
    # Silence: SERVFAIL after some seconds, and that is kept too.
    rcode silent.f.test >/dev/null
    local before
    before=$(times_seen a '^silent.f.test')
    is 'SERVFAIL for silence' "$(rcode silent.f.test)" SERVFAIL
    asked_upstream '  is kept, with no question upstream' "$before" '^silent.f.test'
}

# ---------------------------------------------------------------- AA, stale answers

stale() {
    start
    is 'AA of a fresh answer is upstream'"'"'s' "$(flags aa.s.test)" 'qr aa rd ra'
    is '  from the cache it is cleared' "$(flags aa.s.test)" 'qr rd ra'
    is '  AD is kept' "$(flags ad.s.test +adflag >/dev/null; flags ad.s.test +adflag)" 'qr rd ra ad'
    local name started=()
    for name in silent servfail slow-1000 slow-2500; do short "$name.after-1.ttl-2.count.s.test" >/dev/null; done
    short notruth.wrongid.after-1.ttl-2.count.s.test >/dev/null
    short ttl-2.count.well.s.test >/dev/null
    short silent.after-1.soa-2-2.nxdomain.s.test >/dev/null
    short silent.after-1.soa-2-2.nodata.s.test >/dev/null
    sleep 3.1
    # All of them at once: each its own patience.
    timed_ask() { # FILE NAME
        ask "$2" >"$room/tmp/$1"
    }
    for name in silent servfail slow-1000 slow-2500 notruth.wrongid; do
        timed_ask "$name" "$name.after-1.ttl-2.count.s.test" &
        started+=($!)
    done
    timed_ask well ttl-2.count.well.s.test &
    started+=($!)
    timed_ask nxdomain silent.after-1.soa-2-2.nxdomain.s.test &
    started+=($!)
    timed_ask nodata silent.after-1.soa-2-2.nodata.s.test &
    started+=($!)
    wait "${started[@]}"
    got() { awk -v what="${2-}" '/Query time/ {took = $4} $4 == "A" {ttl = $2; sub(/.*[.]/, "", $5); count = $5}
        END {print what == "took" ? took : ttl " " count}' "$room/tmp/$1"; }
    like 'an upstream that is well: no stale answer, a new one' "$(got well)" '^[12] 2$'
    like '  nor from one that takes a second' "$(got slow-1000)" '^[12] 2$'
    for name in silent slow-2500 notruth.wrongid; do
        is "$name: the old answer, TTL 30" "$(got "$name")" '30 1'
        took=$(got "$name" took)
        ok "  after 1.8 s ($took ms)" test "$took" -ge 1700 -a "$took" -lt 4000
    done
    is 'SERVFAIL: the old answer, TTL 30' "$(got servfail)" '30 1'
    took=$(got servfail took)
    ok "  at once ($took ms)" test "$took" -lt 1700
    like '  it has RCODE NOERROR and no AA' "$(grep -E 'status|flags' "$room/tmp/servfail" | xargs)" \
        'status: NOERROR.* flags: qr rd ra; .*'
    like 'a negative answer is stale just so: NXDOMAIN' "$(<"$room/tmp/nxdomain")" 'status: NXDOMAIN'
    like '  with its SOA, TTL 30' "$(<"$room/tmp/nxdomain")" $'^test[.]\t+30\tIN\tSOA'
    like '  NODATA' "$(<"$room/tmp/nodata")" $'^test[.]\t+30\tIN\tSOA'
    like '  the counter' "$(counter stale)" '^[6-9]$'
    # What comes after the stale answer was given is for the next asker.
    is 'what comes late is cached' "$(eventually 20 late && echo yes)" yes
    # Everything that expired is asked for anew, in vain; the second asker does not wait.
    short servfail.after-1.ttl-2.count.s.test >/dev/null
    local before
    before=$(times_seen a '^servfail.after-1')
    ask servfail.after-1.ttl-2.count.s.test servfail.after-1.ttl-2.count.s.test >"$room/tmp/again"
    is 'a refresh that failed is not repeated within a second' "$(times_seen a '^servfail.after-1')" "$before"
    is '  the stale answer is there for all' "$(awk '$2 == 30 && $4 == "A"' "$room/tmp/again" | wc -l)" 2
    is 'a name that was never answered has no stale answer' "$(rcode servfail.never.s.test)" SERVFAIL
}
late() { short slow-2500.after-1.ttl-2.count.s.test | grep -qE '\.[2-9]$'; }

# ---------------------------------------------------------------- sizes

small() {
    start --cache-size 5
    local i
    for i in 1 2 3 4 5 6 7 8 9 10 11 12; do short "n$i.small.test" >/dev/null; done
    like '--cache-size 5: no more than 5 answers are kept' "$(counter cached)" '^[1-5]$'
    short n12.small.test >/dev/null
    asked_upstream '  the last among them' 1 '^n12.small.test'
    short n1.small.test >/dev/null
    asked_upstream '  and not the first' 2 '^n1.small.test'
    stop_dns
    serve_dns --upstream "$here:5310" --no-cache
    for i in 1 2 3; do short no.small.test >/dev/null; done
    asked_upstream '--no-cache: each question goes upstream' 3 '^no.small.test'
    like '  nothing is kept' "$(counter cached)" '^0$'
    is '  AA stays as it came' "$(flags no.small.test)" 'qr aa rd ra'
    ask servfail.small.test servfail.small.test >/dev/null
    ok '  a failure for a second at most' test "$(times_seen a '^servfail.small')" -ge 1
}

# A load of new names: RSS must not grow once the cache is full, nor the time for a name.
bounded() {
    default_zone
    start_nsd a "$here@5300"
    serve_dns --upstream "$here:5300" --cache-size 5000
    local round before after ticks=() kilobytes=()
    for round in 1 2 3 4 5; do
        awk -v round="$round" 'BEGIN {srand(round); for (i = 0; i < 30000; i++)
            printf "%d-%d-%d.wild.example.test %s\n", round, i, rand() * 1e9, i % 2 ? "A" : "TXT"}' >"$room/names"
        before=$(cpu_ticks "$dns_pid")
        dnsperf -s "$dns_at" -p "$dns_port" -d "$room/names" -n 1 -c 4 -q 100 -t 10 >"$room/tmp/dnsperf" 2>&1
        after=$(cpu_ticks "$dns_pid")
        ticks+=($((after - before)))
        kilobytes+=("$(resident "$dns_pid")")
        grep -qE 'Queries completed: +30000 ' "$room/tmp/dnsperf" ||
            report 0 "round $round: $(grep lost "$room/tmp/dnsperf")"
    done
    is '150,000 random names through a cache of 5000: it is full' "$(counter cached)" 5000
    ok "  RSS is flat (${kilobytes[*]} kB)" test $((kilobytes[4] - kilobytes[1])) -lt 1024
    # Eviction that looks at every entry would show: twice, or more, and a constant that a
    # small machine under load needs.
    ok "  eviction costs no more with a full cache (${ticks[*]} ticks)" test "${ticks[4]}" -le $((2 * ticks[0] + 20))
}

for group in key ttls not_kept negative failures stale small; do beside $group; done
gather
beside bounded # alone: it is a load
gather
done_testing
