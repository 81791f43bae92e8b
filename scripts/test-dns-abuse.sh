#!/bin/bash
# test-dns-abuse.sh: one test for each way that was found to take the DNS forwarder from its
# users: out of descriptors, out of memory, out of time, by clients, upstreams or a log that
# nobody reads. abuse.py is the attacker. Not here: more than 80,000 new names a second
# beside a silent first upstream, since no test machine can be relied on to send that.
. "$(dirname "$0")/lib.sh"
. "$scripts/lib-dns.sh"

abuse() { /usr/bin/python3 "$scripts/abuse.py" "$@"; }

# The most memory that it ever had, in kilobytes.
most_resident() { awk '$1 == "VmHWM:" {print $2}' "/proc/$1/status"; } # PID

# What it spends in a second in which nothing should happen.
idle_ticks() {
    local before
    before=$(cpu_ticks "$dns_pid")
    sleep 1
    echo $(($(cpu_ticks "$dns_pid") - before))
}

# names COUNT FORMAT: questions for dnsperf. `{}` is the number.
names() {
    local i
    for ((i = 0; i < $1; i++)); do echo "${2//\{\}/$i} A"; done
}
# codes FILE AT-ONCE: asks what is in FILE, and prints what came: `NOERROR 300`, and `lost 2` where some did not.
codes() {
    timeout 12 dnsperf -s "$dns_at" -p "$dns_port" -d "$1" -n 1 -c 1 -q "$2" -t 6 >"$room/dnsperf" 2>&1
    awk '/Response codes:/ {gsub(/[(][0-9.]*%[)],?/, ""); $1 = $2 = ""; codes = $0}
        /Queries lost:/ && $3 > 0 {codes = codes " lost " $3} END {$0 = codes; $1 = $1; print}' "$room/dnsperf"
}

# It ends on SIGTERM with 0, and soon; one that does not is killed.
ends_in_order() { # DESCRIPTION
    kill -TERM "$dns_pid"
    if eventually 30 eval "! kill -0 $dns_pid"; then
        wait "$dns_pid"
        is "$1" "exit code $?" 'exit code 0'
    else
        report 0 "$1"
        kill -KILL "$dns_pid"
    fi
}

# A server that may have so many descriptors open.
serve_with() { # DESCRIPTORS ARGS...
    printf '#!/bin/bash\nulimit -n %d\nexec "%s" "$@"\n' "$1" "$mydocker" >"$room/limited"
    chmod 755 "$room/limited"
    mydocker=$room/limited serve_dns "${@:2}"
}

# ---------------------------------------------------------------- descriptors

no_loop() { # DESCRIPTION: connections come for which there are no descriptors
    hold 5
    local ticks
    ticks=$(idle_ticks)
    ok "$1 ($ticks ticks in a second)" test "$ticks" -le 5
    is '  UDP is answered meanwhile' "$(rcode +time=2 localhost)" NOERROR
    like '  new names too' "$(short +time=2 "new$RANDOM.test")" '^10\.'
}

# The first upstream refuses all, so the second one's sockets come on top: more than there may be.
descriptors_used_up() {
    start_upstream a "$here:5310"
    start_upstream b "$here:5320"
    echo servfail >"$room/a.control"
    serve_with 200 --upstream "$here:5310" --upstream "$here:5320"
    rcode +tcp localhost >/dev/null # a connection that came and went
    names 600 'n{}.test' >"$room/names"
    is 'no descriptors left: the second upstream'"'"'s answers reach all who ask' "$(codes "$room/names" 20)" \
        'NOERROR 600'
    local most
    most=$(awk '{print $4}' "$room/b.log" | sort | uniq -c | awk '$1 > most {most = $1} END {print most + 0}')
    ok "  no port is used much more than others: $most of 600 questions (RFC 5452 section 9.2)" test "$most" -le 100
    no_loop '  connections that cannot be taken cost no CPU time'
    ends_in_order '  it ends when it is told to'
}

# Not one descriptor for a connection, from the start: two sockets, 128 for the upstream, and what else there is.
no_descriptor_for_tcp() {
    start_upstream a "$here:5310"
    serve_with 135 --upstream "$here:5310"
    no_loop 'few descriptors from the start: connections cost no CPU time'
    ends_in_order '  it ends when it is told to'
}

# And later, for a while.
descriptors_come_back() {
    start_upstream a "$here:5310"
    serve_dns --upstream "$here:5310"
    rcode +tcp localhost >/dev/null
    sleep 0.3 # the connection is gone, and its descriptor
    local next=0 # the number that the next one would have
    while [[ -L /proc/$dns_pid/fd/$next ]]; do next=$((next + 1)); done
    ok 'no descriptor more: the limit can be set' prlimit --pid "$dns_pid" --nofile="$next:"
    no_loop '  connections cost no CPU time'
    prlimit --pid "$dns_pid" --nofile=1024:
    ok '  TCP is answered again when there are descriptors' eventually 30 eval \
        '[[ $(rcode +tcp +time=1 localhost) == NOERROR ]]'
    ends_in_order '  it ends when it is told to'
}

# ---------------------------------------------------------------- memory

one_question_flood() {
    start_upstream a "$here:5310"
    serve_dns --upstream "$here:5310"
    local most queries
    for _ in 1 2 3 4 5 6; do # as long as it takes on a busy machine
        abuse flood "$dns_at:$dns_port" 4 "$(query 1111 silent.flood.test)" >/dev/null
        queries=$(counter queries)
        ((queries <= 131072)) || break
    done
    most=$(most_resident "$dns_pid")
    ok "one question asked without end: it has arrived more often than may wait ($queries times)" \
        test "$queries" -gt 131072
    ok "  and takes no memory without end ($most kB)" test "$most" -lt 40000
    like '  others are answered' "$(short other.test)" '^10\.'
}

crowds() {
    start_upstream a "$here:5310"
    serve_dns --upstream "$here:5310"
    local sizes before=0 coalesced growth
    for _ in 1 2 3 4 5 6; do # on a busy machine they may not all come in time
        sizes=$(abuse crowds "$dns_at:$dns_port" 8 20000 500 "$dns_pid" | xargs)
        coalesced=$(($(counter coalesced) - before)) before=$(counter coalesced)
        ((coalesced <= 100000)) || break
    done
    ok "eight names, each with a crowd of its own: they have come ($coalesced)" test "$coalesced" -gt 100000
    # A crowd takes 3 MB, for which the allocator may ask for 6.
    growth=$(awk '{
        for (i = 1; i <= 8; i++) {half = i > 4; if ($i > most[half]) most[half] = $i}
        print NF == 8 ? most[1] - most[0] : 999999
    }' <<<"$sizes")
    ok "  each leaves its memory to the next ($sizes kB)" test "$growth" -lt 9000
}

# Who asks for much at once and reads nothing: 60 times 100 times 60 KB.
answers_unread() {
    start_upstream a "$here:5310"
    serve_dns --upstream "$here:5310"
    short warm.test >/dev/null
    local before most
    before=$(descriptors "$dns_pid")
    abuse greedy "$dns_at:$dns_port" 60 100 "$(query 1111 slow-1000.tcp.big-60000.unread.test 0010)" \
        >"$room/tmp/greedy" 2>"$room/greedy.err" &
    local greedy=$!
    ok 'clients that read nothing: 60 that ask for 6 MB each' eventually 50 grep -q holding "$room/tmp/greedy"
    sleep 1.3 # the answer comes
    like '  the others are answered: UDP' "$(short canary.test)" '^10\.'
    like '  TCP' "$(short +tcp second.canary.test)" '^10\.'
    ok '  they are closed while they still hold on' eventually 30 eval "((\$(descriptors $dns_pid) <= $before + 2))"
    most=$(most_resident "$dns_pid")
    ok "  and take no memory without end ($most kB)" test "$most" -lt 32000
    stop "$greedy"
    # A client that does read, and cannot before there is something.
    sizes() { awk '{print length($0) / 2}' | sort | uniq -c | xargs; }
    is '  who reads gets all, however much comes at once: 30 askings of one name' "$(talk \
        "message=$(query 1111 slow-500.tcp.big-60000.read.test 0010)*30" reply=30 | sizes)" '30 60000'
    local i steps=()
    for ((i = 0; i < 10; i++)); do
        steps+=("message=$(query 1111 "slow-500.tcp.big-60000.read$i.test" 0010)")
    done
    is '  10 names' "$(talk "${steps[@]}" reply=10 | sizes)" '10 60000'
    is '  100 askings for less' "$(talk "message=$(query 1111 slow-500.tcp.big-1400.read.test 0010)*100" reply=100 |
        sizes)" '100 1400'
}

# ---------------------------------------------------------------- the log

log_unread() {
    start_upstream a "$here:5310"
    dns_out=$room/dns.out
    mkfifo "$room/pipe"
    exec {pipe}<>"$room/pipe" # there is a reader, and it does not read
    env --default-signal "$mydocker" dns --log --listen "$dns_at:$dns_port" --upstream "$here:5310" \
        >"$room/pipe" 2>"$room/dns.err" &
    dns_pid=$!
    eventually 100 answers "$dns_at" "$dns_port" || bail 'mydocker dns --log does not answer'
    short log.test >/dev/null
    names 2000 log.test >"$room/names"
    is 'nobody reads the log: queries are answered' "$(codes "$room/names" 10)" 'NOERROR 2000'
    names 20000 log.test >"$room/names"
    is '  and go on to be' "$(codes "$room/names" 50)" 'NOERROR 20000'
    local most
    most=$(most_resident "$dns_pid")
    ok "  memory has an end ($most kB)" test "$most" -lt 16000
    kill -USR1 "$dns_pid"
    is '  counters that nobody reads hold up nothing' "$(rcode +time=2 log.test)" NOERROR
    cat "$room/pipe" >"$dns_out" &
    local reader=$!
    ok '  when the reader is back, what was kept comes' eventually 30 eval \
        '(($(grep -c " log[.]test[.] A NOERROR " "$dns_out") > 2000))'
    short back.test >/dev/null
    ok '  and new lines' eventually 30 grep -q ' back[.]test[.] A NOERROR ' "$dns_out"
    is '  whole ones' "$(grep -vE " ms$|^[a-z]+ [0-9]+$|^upstream |^end$|^mydocker dns: listening|lost" "$dns_out" |
        head -n 3)" ''
    stop "$reader"
    codes "$room/names" 50 >/dev/null # and full again
    ends_in_order '  it ends with a log that nobody reads'
    exec {pipe}>&-
}

# ---------------------------------------------------------------- upstreams that lie about length

no_end_of_tc() {
    start_upstream a "$here:5310"
    start_upstream b "$here:5320"
    serve_dns --upstream "$here:5310" --upstream "$here:5320"
    is 'upstreams that say TC by TCP, too: SERVFAIL' "$(rcode +tcp tc.tctcp.test)" SERVFAIL
    local name count
    for name in a b; do
        count=$(seen "$name" '^tc.tctcp.test' | awk '$3 == "tcp"' | wc -l)
        ok "  and no more than three connections to one of them ($count)" test "$count" -le 3
    done
    ok '  and one at least' grep -q ' tcp ' "$room/a.log"
}

odd_replies() {
    start_upstream a "$here:5310"
    serve_dns --upstream "$here:5310"
    local got size
    at_once() { # WHAT-DIG-PRINTED
        took=$(sed -n 's/^;; Query time: \([0-9]*\) msec/\1/p' <<<"$1")
        ok "  at once (${took:-9999} ms)" test "${took:-9999}" -lt 700
    }
    for size in 4097 5000 20000; do
        got=$(ask +tcp "big-$size.anyway.whole.test" TXT)
        like "$size octets in a datagram without TC: a TCP client gets the whole" "$got" \
            "MSG SIZE  rcvd: $((size + 11))$"
        at_once "$got"
        got=$(ask +ignore +bufsize=4096 "big-$size.anyway.told.test" TXT)
        like '  a UDP client is told TC' "$got" '^;; flags: [a-z ]*\btc\b'
        at_once "$got"
    done
    unlike 'SERVFAIL with TC: is no reason to ask by TCP' "$(flags +ignore tc.servfail.test)" '\btc\b'
    is '  but SERVFAIL' "$(rcode +ignore tc.servfail.other.test)" SERVFAIL
    is '  by TCP as well' "$(rcode +tcp tc.servfail.third.test)" SERVFAIL
}

# ---------------------------------------------------------------- clients

# There is always a message that is not complete, and never the same for long.
halves() {
    start_upstream a "$here:5310"
    serve_dns --upstream "$here:5310"
    local message first second steps i
    message=$(query 1111 halves.test)
    message=$(printf '%04x' $((${#message} / 2)))$message
    first=${message:0:20} second=${message:20}
    steps=("raw=$first")
    for ((i = 0; i < 25; i++)); do steps+=("pause=250" "raw=$second$first" reply=1); done
    is 'a client whose messages overlap is answered for longer than one message may take' \
        "$(talk "${steps[@]}" | cut -c 1-4 | sort | uniq -c | xargs)" '25 1111'
}

# signed NAME CLASS TTL ARGS...: asks with a TSIG record of that class and TTL (hex) at the end.
signed() {
    local rdata=0b686d61632d73686132353600 # hmac-sha256.
    rdata+=0000669e0000012c0020$(printf 'ab%.0s' {1..32})111100000000
    /usr/bin/python3 "$scripts/dnswire.py" ask "$dns_at" "$dns_port" --id 1111 -f '{rcode}' \
        --append "036b657904746573740000fa$2$3$(printf '%04x' $((${#rdata} / 2)))$rdata" "${@:4}" "$1"
}

# A signature where none may be, RFC 8945 section 5.1: who it misleads must not be us.
signatures() {
    start_upstream a "$here:5310"
    serve_dns --upstream "$here:5310"
    is 'a signed query is answered' "$(signed good.test 00ff 00000000 --ar 1)" NOERROR
    is '  it goes to upstream' "$(times_seen a '^good.test')" 1
    is 'a signature in the answer section: FORMERR' "$(signed one.bad.test 00ff 00000000 --an 1)" FORMERR
    is '  in the authority section' "$(signed two.bad.test 00ff 00000000 --ns 1)" FORMERR
    is '  of class IN' "$(signed three.bad.test 0001 00000000 --ar 1)" FORMERR
    is '  with a TTL' "$(signed four.bad.test 00ff 0000012c --ar 1)" FORMERR
    is '  by TCP' "$(signed five.bad.test 00ff 00000000 --ns 1 --tcp)" FORMERR
    is '  nothing of it goes to upstream' "$(seen a '[.]bad[.]test')" ''
}

# ---------------------------------------------------------------- outages

# Names that nobody ever heard of must not push old answers out when those are all there is.
old_answers() { # WORD AT-ONCE: what the upstream does in the outage
    start_upstream a "$here:5310"
    serve_dns --upstream "$here:5310" --cache-size 200
    names 50 'ttl-1.old{}.test' >"$room/known"
    is "upstream $1: 50 names are known" "$(codes "$room/known" 10)" 'NOERROR 50'
    echo "$1" >"$room/a.control"
    names 2000 "random{}.$RANDOM.test" >"$room/random"
    like '  2000 others fail' "$(codes "$room/random" "$2")" '^(SERVFAIL|REFUSED) 2000$'
    is '  the 50 are still answered' "$(codes "$room/known" 50)" 'NOERROR 50'
    is '  with what they were' "$(short +noadflag ttl-1.old7.test)" "$(truth ttl-1.old7.test)"
}

last_of_many() {
    abuse mute "$here" 6001 31 >"$room/mute" &
    eventually 50 grep -q ready "$room/mute" || bail 'abuse.py mute is not ready'
    start_upstream a "$here:5310"
    local i upstreams=()
    for ((i = 0; i < 31; i++)); do upstreams+=(--upstream "$here:$((6001 + i))"); done
    serve_dns "${upstreams[@]}" --upstream "$here:5310"
    clocked first.test
    is '31 upstreams silent, the last alive: the first question is answered' "$status $data" \
        "NOERROR $(truth first.test)"
    ok "  in time ($took ms)" test "$took" -lt 5000
    for i in 1 2 3; do
        clocked "later$i.test"
        is '  a later one is answered' "$status $data" "NOERROR $(truth "later$i.test")"
        ok "  at once ($took ms)" test "$took" -lt 350
    done
}

for group in descriptors_used_up no_descriptor_for_tcp descriptors_come_back answers_unread log_unread no_end_of_tc \
    odd_replies halves signatures 'old_answers silent 2000' 'old_answers refused 100' last_of_many; do
    # shellcheck disable=SC2086 # a function and its arguments
    beside $group
done
gather
# These two need the machine for themselves: they count what arrives.
beside one_question_flood
beside crowds
gather
done_testing
