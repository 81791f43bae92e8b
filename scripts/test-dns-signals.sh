#!/bin/bash
# test-dns-signals.sh: signals, counters, the log, and the system calls of a lone query.
. "$(dirname "$0")/lib.sh"
. "$scripts/lib-dns.sh"

start() { # one upstream, one server
    start_upstream a "$here:5310"
    serve_dns --upstream "$here:5310"
}

# ---------------------------------------------------------------- counters

counts() {
    start_upstream a "$here:5310"
    start_upstream b "$here:5320"
    printf '192.0.2.10 printer.lan\n' >"$room/hosts"
    serve_dns --upstream "$here:5310" --upstream "$here:5320" --hosts "$room/hosts"
    is 'SIGUSR1 prints counters, and `end`' "$(counters | awk '{print $1}' | xargs)" \
        'queries local hits misses coalesced stale retries failures dropped refused cached upstream upstream end'
    is '  all of them 0 at first' "$(counters | awk '!/^upstream/ && NF == 2 && $2 == 0' | wc -l)" 11
    local upstream="^upstream $here:[0-9]+ sent [0-9]+ answered [0-9]+ mean [0-9]+\.[0-9]+ ms (alive|dead)$"
    is '  a line per upstream' "$(counters | grep -cE "$upstream|^upstream $here:[0-9]+ sent 0 answered 0 .*alive$")" 2
    # counted NAME: by how much it grew since `from` was called.
    from() { counters | awk 'NF == 2 {print $1, $2}' >"$room/before"; }
    counted() { echo $(($(counter "$1") - $(awk -v name="$1" '$1 == name {print $2}' "$room/before"))); }
    grew() { # WANTED COUNTER...: those that grew, with how much
        counters | awk 'NF == 2 {print $1, $2}' >"$room/after"
        is "$1" "$(paste -d ' ' "$room/before" "$room/after" | awk '$4 != $2 {print $1 "+" $4 - $2}' | xargs)" "$2"
        cp "$room/after" "$room/before"
    }
    from
    short one.test >/dev/null
    grew 'a question that was never asked' 'queries+1 misses+1 cached+1'
    short one.test >/dev/null
    short ONE.test +tcp >/dev/null
    grew '  twice again, once by TCP' 'queries+2 hits+2'
    ask nxdomain.test >/dev/null
    grew '  NXDOMAIN' 'queries+1 misses+1 cached+1'
    say udp "$(query 1111 slow-300.join.test)" 2 "$(query 2222 slow-300.join.test)" >/dev/null
    grew '  two for one answer' 'queries+2 misses+1 coalesced+1 cached+1'
    short silent.first-1.retry.test >/dev/null
    # Each of the two upstreams is silent once.
    grew '  one that is sent twice again' 'queries+1 misses+1 retries+2 cached+1'
    say udp 1234 0.3 "$(query 1111 one.test | sed 's/^11110100/11118180/')" >/dev/null
    is '  a short message and a reply: dropped' "$(counted dropped)" 2
    from
    short printer.lan >/dev/null
    short localhost >/dev/null
    like '  names of our own are queries, and no misses' "$(counted queries) $(counted local) $(counted misses)" '^2 2 0$'
    from
    rcode servfail.test >/dev/null
    like '  a failure of both upstreams' "$(counted queries) $(counted misses) $(counted failures)" '^1 1 1$'
    went() { counters | sed -n "s/^upstream $here:$1 sent \([0-9]*\) .*/\1/p"; }
    is '  what went to the first upstream' "$(went 5310)" "$(wc -l <"$room/a.log")"
    is '  and to the second' "$(went 5320)" "$(wc -l <"$room/b.log")"
    for _ in 1 2 3 4 5 6 7 8; do short "slow-200.mean$RANDOM.test"; done >/dev/null
    like '  the mean is what it took' "$(counters | grep ":5310 ")" ' mean [0-9]{2,3}\.[0-9]+ ms'
    stop_dns
    ip address add 198.51.100.7/32 dev lo # neither private nor link-local
    serve_dns --listen 0.0.0.0:5400 --upstream "$here:5310"
    from
    dns_at=198.51.100.7 dns_port=5400
    is '  an asker that is not allowed' "$(rcode one.test -b 198.51.100.7)" REFUSED
    is '    is counted' "$(counted refused)" 1
}

log_lines() {
    start_upstream a "$here:5310"
    printf '192.0.2.10 printer.lan\n' >"$room/hosts"
    serve_dns --upstream "$here:5310" --log --hosts "$room/hosts"
    logged() { # DESCRIPTION REGEX-AFTER-THE-ADDRESS DIG-ARGUMENTS
        short "${@:3}" >/dev/null
        eventually 20 eval '[[ $(tail -n 1 "$dns_out") =~ ms$ ]]'
        like "$1" "$(tail -n 1 "$dns_out")" "^127\.0\.[0-9.]+:[0-9]+ $2, [0-9.]+ ms$"
        is '  in one line' $(($(wc -l <"$dns_out") - lines)) 1
        lines=$(wc -l <"$dns_out")
    }
    local lines
    lines=$(wc -l <"$dns_out")
    logged '--log: a line for an answer' "www\.log\.test\. A NOERROR 1 answer, from $here:5310" www.log.test
    logged '  from the cache' 'WWW\.log\.test\. A NOERROR 1 answer, from cache' WWW.log.test
    logged '  by TCP' 'www\.log\.test\. A NOERROR 1 answer, from cache' www.log.test +tcp
    logged '  three answers' 'answers-3\.test\. TXT NOERROR 3 answers, from .*' answers-3.test TXT
    logged '  none' 'nxdomain\.test\. AAAA NXDOMAIN 0 answers, from .*' nxdomain.test AAAA
    logged '  from the hosts file' 'printer\.lan\. A NOERROR 1 answer, from hosts' printer.lan
    logged '  of our own making' 'localhost\. A NOERROR 1 answer, from here' localhost
    short servfail.after-1.ttl-1.log.test >/dev/null
    sleep 1.6
    lines=$(wc -l <"$dns_out")
    logged '  a stale one' 'servfail\.after-1\.ttl-1\.log\.test\. A NOERROR 1 answer, from stale cache' \
        servfail.after-1.ttl-1.log.test
    # What comes off the wire goes to a terminal: no escape sequences, no second line.
    short '\027[2J\010x.log.test' >/dev/null
    eventually 20 eval '[[ $(tail -n 1 "$dns_out") =~ ms$ ]]'
    is '  control characters of a name do not reach the terminal' "$(tr -d '[:print:]\n' <"$dns_out" | wc -c)" 0
    like '  they are escaped' "$(tail -n 1 "$dns_out")" 'x\.log\.test\. A NOERROR'
}

# ---------------------------------------------------------------- the end

ends() {
    start
    local signal waiting
    for signal in TERM INT; do
        # Three askers wait, one of them by TCP; the upstream says nothing.
        rcode "silent.end$signal.test" >"$room/tmp/first" &
        waiting=($!)
        rcode "silent.end$signal.test" >"$room/tmp/second" &
        waiting+=($!)
        rcode "silent.tcp$signal.test" +tcp >"$room/tmp/third" &
        waiting+=($!)
        hold 3
        eventually 20 eval "((\$(times_seen a '^silent.(end|tcp)$signal') >= 2))"
        sleep 0.2
        took=$(date +%s%N)
        end_dns "$signal"
        took=$((($(date +%s%N) - took) / 1000000))
        is "SIG$signal ends it: exit code" "$dns_rc" 0
        ok "  at once ($took ms)" test "$took" -lt 1500
        wait "${waiting[@]}"
        is '  those who waited get SERVFAIL' "$(cat "$room"/tmp/{first,second,third} | uniq -c | xargs)" '3 SERVFAIL'
        is '  nothing on stderr' "$(<"$room/dns.err")" ''
        # The connections of its clients are in TIME_WAIT now.
        serve_dns --upstream "$here:5310"
        like '  and its port is free again' "$(short +tcp "after$signal.test")" '^10\.'
        stop "$hold_pid"
    done
    # An interrupt by the terminal reaches it twice where a shell passes it on, too.
    kill -INT "$dns_pid"
    kill -INT "$dns_pid" 2>/dev/null
    wait "$dns_pid"
    is 'SIGINT twice' $? 0
}
# ---------------------------------------------------------------- system calls

# trace FILE COMMAND...: the names of the system calls that the server makes meanwhile, but
# waits, one a line.
trace() {
    local from
    from=$(wc -l <"$room/strace")
    "${@:2}" >"$room/tmp/traced"
    sleep 0.3 # strace writes when the call is over
    tail -n +$((from + 1)) "$room/strace" | sed -E 's/^[0-9]+ +//; /^(\+\+\+|---)/d; /resumed>/d; s/\(.*//' |
        grep -vE '^(poll|ppoll|epoll_p?wait2?|restart_syscall)$' >"$room/$1"
}
receive='recv|recvfrom|recvmsg|recvmmsg|read|readv'
send='send|sendto|sendmsg|sendmmsg|write|writev'
receives() { grep -cxE "$receive" "$room/$1"; }
sends() { grep -cxE "$send" "$room/$1"; }
others() { grep -vxE "$receive|$send" "$room/$1" | xargs; }

system_calls() {
    start
    short warm.test >/dev/null
    short warm2.test >/dev/null
    strace -f -o "$room/strace" -p "$dns_pid" 2>"$room/tmp/strace.err" &
    local strace=$! i
    eventually 50 eval 'grep -q attached "$room/tmp/strace.err"'
    sleep 0.2
    for i in 1 2; do
        trace cached short warm.test
        like "strace of a lone cached query ($i)" "$(<"$room/tmp/traced")" '^10\.'
        is '  one receive, one send beside the wait' "$(receives cached) $(sends cached)" '1 1'
        is '  and nothing else' "$(others cached)" ''
        trace forwarded short "lone$i.test"
        like "a lone forwarded query ($i)" "$(<"$room/tmp/traced")" '^10\.'
        is '  two of each' "$(receives forwarded) $(sends forwarded)" '2 2'
        # A getrandom(2) now and then, for a store of random numbers, would be in order.
        is '  and nothing else' "$(others forwarded | sed 's/getrandom//')" ''
    done
    # A quiet server: no timer that ticks.
    trace idle sleep 2
    is 'with nothing to do it makes no system calls' "$(<"$room/idle")" ''
    kill "$strace"
    wait "$strace" 2>/dev/null
    stop_dns
    # IDs come from getrandom(2): many bytes at a time, and so more than the seeds that a
    # standard library needs for its own hash tables.
    strace -f -e trace=getrandom -o "$room/random" "$mydocker" dns --listen "$here:53" --upstream "$here:5310" \
        >"$room/dns.out" 2>&1 &
    strace=$!
    eventually 50 grep -q 'listening on' "$room/dns.out"
    short random.test >/dev/null
    eventually 20 eval '(($(grep -c "getrandom(" "$room/random") > 0))'
    like 'random numbers are getrandom(2)'"'"'s' "$(<"$room/random")" 'getrandom\(".*, ([3-9][0-9]|[0-9]{3,}), 0\) = '
    pgrep -P "$strace" | xargs kill # strace itself would wait for it
    wait "$strace" 2>/dev/null
}

# ---------------------------------------------------------------- under load

# Signals interrupt system calls, and a hosts file that changes is read: no query is lost.
undisturbed() {
    default_zone
    start_nsd a "$here@5300"
    printf '192.0.2.10 printer.lan\n' >"$room/hosts"
    serve_dns --upstream "$here:5300" --hosts "$room/hosts"
    local i
    for ((i = 0; i < 1000; i++)); do
        echo "load$i.wild.example.test A"
        ((i % 10)) || echo 'printer.lan A'
    done >"$room/names"
    dnsperf -s "$dns_at" -p "$dns_port" -d "$room/names" -l 3 -c 4 -q 50 -t 4 >"$room/dnsperf" 2>&1 &
    local load=$! signals=0 changes=0
    while kill -0 "$load" 2>/dev/null; do
        for ((i = 0; i < 20; i++)); do kill -USR1 "$dns_pid" && signals=$((signals + 1)); done
        # A server that reads it half would miss the name, and ask nsd: REFUSED.
        printf '192.0.2.%d printer.lan\n' $((changes % 200 + 11)) >"$room/hosts.new"
        mv "$room/hosts.new" "$room/hosts"
        changes=$((changes + 1))
        sleep 0.02
    done
    wait "$load"
    note 'under load' "$signals times SIGUSR1, $changes hosts files"
    like 'SIGUSR1 and new hosts files under load: no query is lost' "$(<"$room/dnsperf")" 'Queries lost: +0 '
    is '  and none answered wrongly' "$(sed -n 's/.*Response codes: *//p' "$room/dnsperf" | tr -d '0-9.%() ')" NOERROR
    is '  the last file is what counts' "$(short printer.lan)" "$(cut -d ' ' -f 1 "$room/hosts")"
    is '  and the counters were printed whole' "$(grep -A1 '^queries' "$dns_out" | grep -vE '^(queries|local|--)')" ''
}

for group in counts log_lines ends system_calls; do beside $group; done
gather
beside undisturbed
gather
done_testing
