#!/bin/bash
# test-dns-outage.sh: upstreams that die, fall silent, stop and come back under load. No
# wrong answer, every question answered in time, and all well within 2 s of the return.
. "$(dirname "$0")/lib.sh"
. "$scripts/lib-dns.sh"

# A load of known names beside the questions that are looked at; bounded.
load() { # SECONDS NAME-BELOW
    local i
    for ((i = 0; i < 500; i++)); do echo "load$i.$2 A"; done >"$room/names"
    # 0.5 s per question: those that are lost in the outage do not stop dnsperf.
    dnsperf -s "$dns_at" -p "$dns_port" -d "$room/names" -l "$1" -c 4 -q 50 -Q 500 -t 5 >"$room/dnsperf" 2>&1 &
    load_pid=$!
}

now() { date +%s.%N; }

# outage DESCRIPTION WANTED DOWN UP: questions, 50 a second, all for new names; after 2 s
# DOWN is run, 3 s later UP, and 3 s later it ends. What came of them is in $room/flow.
outage() {
    load 30 "$below"
    start_check "$room/flow" 30 50 "$below" "$2"
    sleep 2
    down=$(now)
    "$3"
    sleep 3
    "$4"
    up=$(now)
    sleep 3
    kill "$check_pid"
    kill -INT "$load_pid" # it prints what it has
    wait "$check_pid" "$load_pid"
    ok "$1: some 400 questions" test "$(wc -l <"$room/flow")" -gt 300
    is '  all answered, none wrong, none twice' "$(grep -vE ' (right|SERVFAIL)$' "$room/flow" | head -n 5)" ''
    is '  before it, all are right' "$(awk -v end="$down" '$1 < end - 0.3 && $4 != "right"' "$room/flow" | head -n 5)" \
        ''
    took=$(awk '{if ($2 > most) most = $2} END {print int(most * 1000)}' "$room/flow")
    ok "  each was answered within 5 s ($took ms)" test "$took" -lt 5000
}

# The first right answer to a question asked after the return, and all that were asked 2 s
# after it. Half a second is for a machine with other work.
recovers() {
    took=$(awk -v up="$up" '$4 == "right" && $1 + $2 > up {now = $1 + $2 - up; if (!first || now < first) first = now}
        END {print first ? int(first * 1000) : 9999}' "$room/flow")
    ok "  the first right answer $took ms after the return" test "$took" -lt 2500
    is '  2 s after it all are right' "$(awk -v up="$up" '$1 > up + 2.5 && $4 != "right"' "$room/flow" | head -n 5)" ''
    ok '    and there are some' test "$(awk -v up="$up" '$1 > up + 2.5' "$room/flow" | wc -l)" -gt 5
    failed=$(grep -c SERVFAIL "$room/flow")
}

# ---------------------------------------------------------------- the groups

killed() { # nsd killed: ICMP says that nobody is there
    default_zone
    below=wild.example.test
    start_nsd a "$here@5300"
    serve_dns --upstream "$here:5300"
    nsd_down() { stop "$nsd_pid"; }
    nsd_up() { start_nsd a "$here@5300"; }
    outage 'nsd killed and started again' 192.0.2.99 nsd_down nsd_up
    recovers
    ok "  in between there were errors ($failed)" test "$failed" -gt 20
    # The names of the load were in the cache all the time.
    like '  cached names went on' "$(<"$room/dnsperf")" 'NOERROR [0-9]+ \((9[0-9]|100)\.'
}

stopped() { # SIGSTOP: nothing comes, then all at once, much too late
    default_zone
    below=wild.example.test
    start_nsd a "$here@5300"
    serve_dns --upstream "$here:5300"
    # The processes of nsd, its children first.
    tree() { pgrep -P "$1" | while read -r child; do tree "$child"; done; echo "$1"; }
    nsd_stop() { tree "$nsd_pid" | xargs kill -STOP; }
    nsd_continue() { tree "$nsd_pid" | xargs kill -CONT; }
    outage 'nsd stopped and continued' 192.0.2.99 nsd_stop nsd_continue
    recovers
}

silent() {
    start_upstream a "$here:5310"
    below=out.test
    serve_dns --upstream "$here:5310"
    silence() { echo silent >"$room/a.control"; }
    speak() { rm "$room/a.control"; }
    outage 'the only upstream silent for 3 s' truth silence speak
    recovers
    ok "  in between there were errors ($failed)" test "$failed" -gt 0
}

lying() { # it answers with lies only, for 3 s
    start_upstream a "$here:5310"
    below=out.test
    serve_dns --upstream "$here:5310"
    lie() { echo wrongid wrongname wrongport wrongaddress garbage notruth >"$room/a.control"; }
    speak() { rm "$room/a.control"; }
    outage 'the only upstream lies for 3 s' truth lie speak
    recovers
}

first_of_two() {
    start_upstream a "$here:5310"
    start_upstream b "$here:5320"
    below=out.test
    serve_dns --upstream "$here:5310" --upstream "$here:5320"
    silence() { echo silent >"$room/a.control"; }
    speak() { rm "$room/a.control"; }
    outage 'the first of two upstreams silent for 3 s' truth silence speak
    recovers
    is '  nobody got an error' "$failed" 0
    # The first second of it costs retries; then it is known.
    is '  and from a second later nobody waits for it' "$(awk -v down="$down" -v up="$up" \
        '$1 > down + 1.5 && $1 < up && $2 > 0.35' "$room/flow" | wc -l)" 0
    ok '  it is used again' test "$(awk -v up="$up" '$1 > up + 2.5' "$room/a.log" | wc -l)" -gt 5
    # Once or twice because the machine was busy, perhaps.
    ok '  and the second is not, any more' test "$(awk -v up="$up" '$1 > up + 2.5' "$room/b.log" | wc -l)" -le 3
}

killed_of_two() { # a process that is killed: ICMP, and the second at once
    start_upstream a "$here:5310"
    local a=$upstream_pid
    start_upstream b "$here:5320"
    below=out.test
    serve_dns --upstream "$here:5310" --upstream "$here:5320"
    a_down() { stop "$a"; }
    a_up() { start_upstream a "$here:5310"; }
    outage 'the first of two upstreams killed for 3 s' truth a_down a_up
    recovers
    is '  nobody got an error' "$failed" 0
    # But those whose questions it took with it.
    ok '  nobody waited' test "$(awk '$2 > 0.35' "$room/flow" | wc -l)" -le 3
}

failing() { # SERVFAIL to everything
    start_upstream a "$here:5310"
    start_upstream b "$here:5320"
    below=out.test
    serve_dns --upstream "$here:5310" --upstream "$here:5320"
    fail() { echo servfail >"$room/a.control"; }
    speak() { rm "$room/a.control"; }
    outage 'the first of two upstreams fails for 3 s' truth fail speak
    recovers
    is '  nobody got an error' "$failed" 0
}

for group in killed stopped silent lying first_of_two killed_of_two failing; do beside $group; done
gather
done_testing
