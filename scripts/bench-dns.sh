# shellcheck shell=bash
# bench-dns.sh: what a DNS query costs; part of bench.sh.
#   dns  queries per second, cached and forwarded, CPU time, losses, what a silent upstream
#        does to the others, memory
# nsd is everybody's upstream, dnsperf asks (8 sockets, 200 queries on the way), and the
# bare echo (echo.c) is the yardstick: what loopback and dnsperf themselves let through.
# shellcheck disable=SC2034,SC2154,SC2004 # variables of bench.sh and lib.sh, associative arrays among them
# shellcheck source=scripts/lib-dns.sh
. "$scripts/lib-dns.sh"

dns_contestants=(mydocker echo unbound dnsdist dnsmasq)
# Of each: its process, and its port on loopback. nsd has 5300.
declare -A server=() port=([mydocker]=6000 [echo]=6001 [unbound]=6002 [dnsdist]=6003 [dnsmasq]=6004)
seconds=${BENCH_SECONDS:-1}

# ---------------------------------------------------------------- who takes part

# Each as its documentation says for one thread and a forwarder, with receive buffers that
# hold what dnsperf sends at once, where it has an option for that.
start_contestants() {
    local name
    echo-dns 6001 &
    server[echo]=$!
    dns_port=6000 serve_dns --upstream 127.0.0.1:5300
    server[mydocker]=$dns_pid
    if present unbound; then
        start_unbound 127.0.0.1@6002 127.0.0.1@5300 'so-rcvbuf: 4m' 'so-sndbuf: 4m' 'num-queries-per-thread: 2048'
        server[unbound]=$unbound_pid
    fi
    if present dnsdist; then
        printf '%s\n' 'setLocal("127.0.0.1:6003")' 'newServer{address="127.0.0.1:5300", sockets=4}' \
            'setUDPSocketBufferSizes(4194304, 4194304)' 'getPool(""):setCache(newPacketCache(20000))' \
            >"$room/dnsdist.conf"
        dnsdist -C "$room/dnsdist.conf" --supervised --disable-syslog >"$room/dnsdist.log" 2>&1 &
        server[dnsdist]=$!
    fi
    if present dnsmasq; then
        dnsmasq -k -u root -p 6004 --listen-address=127.0.0.1 --bind-interfaces --no-resolv --no-hosts --pid-file= \
            --server=127.0.0.1#5300 --cache-size=10000 --dns-forward-max=2000 >"$room/dnsmasq.log" 2>&1 &
        server[dnsmasq]=$!
    fi
    for name in "${!server[@]}"; do
        eventually 50 answers 127.0.0.1 "${port[$name]}" || leave_out "$name" 'does not answer'
    done
}

present() { type "$1" >/dev/null 2>&1 || { leave_out "$1" 'is not installed'; false; }; } # PEER

leave_out() { # PEER WHY
    local kind
    for kind in cached forwarded cached-cpu forwarded-cpu idle-memory full-memory; do broken[$kind-$1]="$1 $2"; done
    unset "server[$1]"
}

# ---------------------------------------------------------------- load

# names PREFIX COUNT: questions for names of all lengths below the zone's wildcard.
names() {
    awk -v prefix="$1" -v count="$2" -v letters=-abcdefghijklmnopqrstuvwxyz 'BEGIN {
        for (i = 0; i < count; i++) print prefix i substr(letters, 1, i * 7 % 28) ".bench.example A"
    }'
}

# Names that nobody has asked for before.
new_names() { names "new$((batches++))-" "$1"; } # COUNT
batches=0

ask_all() { timeout 120 dnsperf -s 127.0.0.1 -p "$1" -d "$2" -c 8 -q 100 -n 1 >/dev/null 2>&1; } # PORT FILE

# One run against a contestant: adds to the series KIND-NAME (queries per second),
# KIND-cpu-NAME (microseconds of its own CPU time per answer) and counts what was lost
# or answered with an error in lost[NAME].
declare -A lost
load() { # KIND NAME FILE
    local before after rate time unanswered
    [[ ${server[$2]-} ]] || return
    before=$(cpu_ticks "${server[$2]}")
    # Its time limit stops the questions; answers are waited for 5 seconds more.
    timeout 60 dnsperf -s 127.0.0.1 -p "${port[$2]}" -d "$3" -l "$seconds" -c 8 -q 200 >"$room/tmp/dnsperf" 2>&1
    after=$(cpu_ticks "${server[$2]}")
    read -r rate time unanswered < <(awk -v microseconds="$(((after - before) * 1000000 / $(getconf CLK_TCK)))" '
        /Queries sent:/ { sent = $3 }
        /Queries completed:/ { completed = $3 }
        /Response codes:/ { for (i = 3; i < NF; i++) if ($i == "NOERROR") good = $(i + 1) }
        /Queries per second:/ { rate = $4 }
        END { if (completed) print rate, microseconds / completed, sent - good }' "$room/tmp/dnsperf")
    if [[ -z $rate ]]; then
        leave_out "$2" "gave no figure: $(tail -n 1 "$room/tmp/dnsperf")"
        return
    fi
    echo "$rate" >>"$room/series/$1-$2"
    echo "$time" >>"$room/series/$1-cpu-$2"
    lost[$2]=$((${lost[$2]-0} + unanswered))
}

# ---------------------------------------------------------------- measurements

measure_throughput() {
    local i name
    names cached- 5000 >"$room/cached"
    for name in "${!server[@]}"; do
        remember_memory idle "$name"
        [[ $name == echo ]] || ask_all "${port[$name]}" "$room/cached"
    done
    for ((i = 0; i < dns_rounds; i++)); do
        for name in "${dns_contestants[@]}"; do load cached "$name" "$room/cached"; done
        for name in "${dns_contestants[@]}"; do
            # Its table of queries on the way is searched from end to end; once is enough.
            [[ $name != dnsmasq || $i == 0 ]] || continue
            new_names $((100000 * seconds)) >"$room/new"
            load forwarded "$name" "$room/new"
        done
    done
    stop "${server[@]}"
}

# The ports that an upstream is asked from, under full load.
count_ports() {
    echo-dns 5301 count >"$room/ports" &
    local upstream=$!
    dns_port=6000 serve_dns --upstream 127.0.0.1:5301
    new_names $((100000 * seconds)) >"$room/new"
    timeout 60 dnsperf -s 127.0.0.1 -p 6000 -d "$room/new" -l "$seconds" -c 8 -q 200 >/dev/null 2>&1
    stop_dns
    stop "$upstream"
    tail -n 1 "$room/ports" >"$room/series/ports"
}

# The 99th percentile of cached answers, while 200 new names a second are asked beside them.
# Two servers do this at the same time, so that the machine's other load meets both: of one
# the first upstream answers all new names, that of the other (stopped by a signal) none.
# They change places in each round.
measure_silence() {
    local i number jobs=() first=() said=("$room/p99-0.out" "$room/p99-1.out")
    new_names 100000 >"$room/new"
    for number in 0 1; do
        echo-dns 531$number &
        first[number]=$!
        dns_name=p99-$number dns_port=601$number serve_dns --upstream "127.0.0.1:531$number" --upstream 127.0.0.1:5300
        jobs+=("$dns_pid")
        # The echo's answers are empty: those to keep are to come from nsd.
        kill -STOP "${first[number]}"
        ask_all 601$number "$room/cached"
        kill -CONT "${first[number]}"
        dnsperf -s 127.0.0.1 -p 601$number -d "$room/new" -Q 200 -q 2000 -l 600 >/dev/null 2>&1 &
        jobs+=($!)
    done
    for ((i = 0; i < dns_rounds; i++)); do
        number=$((i % 2))
        # Its sign of life is an answer to the one query a second that a dead one gets.
        eventually 50 first_upstream alive "${jobs[0]}" "${said[0]}"
        eventually 50 first_upstream alive "${jobs[2]}" "${said[1]}"
        kill -STOP "${first[number]}"
        percentile_99 601$number >>"$room/series/p99-silent" &
        percentile_99 601$((1 - number)) >>"$room/series/p99-quiet"
        wait $!
        first_upstream dead "${jobs[2 * number]}" "${said[number]}" ||
            broken[p99-silent]='the silent upstream was not noticed'
        kill -CONT "${first[number]}"
    done
    stop "${jobs[@]}" "${first[@]}"
}

first_upstream() { # alive|dead PID OUTPUT
    local dns_pid=$2 dns_out=$3
    counters | awk -v state="$1" '$1 == "upstream" { exit !($NF == state) }'
}

# At a rate that is no strain: -v costs dnsperf much. -> milliseconds
percentile_99() { # PORT
    timeout 60 dnsperf -v -s 127.0.0.1 -p "$1" -d "$room/cached" -l "$seconds" -c 8 -q 200 -Q 10000 2>&1 |
        awk '$1 == ">" && $2 == "NOERROR" { print $NF * 1000 }' | sort -g |
        awk '{ took[NR] = $1 } END { print took[int(NR * 0.99)] }'
}

remember_memory() { # WHEN CONTESTANT
    calc '%.2f\n' "$(resident "${server[$2]}") / 1024" >>"$room/series/$1-memory-$2"
}

# A fresh process of each: with 10,000 names in its cache; ours also after many more.
measure_memory() {
    local name
    server=()
    start_contestants
    names cached- 10000 >"$room/cached"
    for name in "${!server[@]}"; do
        [[ $name == echo ]] || ask_all "${port[$name]}" "$room/cached"
        remember_memory full "$name"
    done
    new_names 250000 >"$room/new"
    ask_all 6000 "$room/new"
    remember_memory quarter mydocker
    new_names 750000 >"$room/new"
    ask_all 6000 "$room/new"
    remember_memory million mydocker
    stop "${server[@]}"
    rm "$room/new" "$room/cached"
}

# ---------------------------------------------------------------- the table

bench_dns() {
    local name peer dns_rounds=$(((rounds + 1) / 2))
    zone bench.example <<<'* A 192.0.2.1'
    start_nsd bench 127.0.0.1@5300
    cc -O2 -Wall -o "$room/bin/echo-dns" "$scripts/echo.c" || bail 'cannot compile scripts/echo.c'
    start_contestants
    measure_throughput
    echo "${lost[mydocker]}" >"$room/series/lost"
    count_ports
    measure_silence
    measure_memory
    stop "$nsd_pid"
    for name in cached forwarded; do
        label[$name-echo]='bare echo' label[$name-cpu-echo]='bare echo'
        for peer in unbound dnsdist dnsmasq; do label[$name-$peer]=$peer label[$name-cpu-$peer]=$peer; done
    done
    for peer in unbound dnsdist dnsmasq; do label[idle-memory-$peer]=$peer label[full-memory-$peer]=$peer; done
    label[p99-quiet]='none silent' label[quarter-memory-mydocker]='after 250,000 of them'
    heading "DNS on loopback, upstream nsd, dnsperf -c 8 -q 200 ($dns_rounds rounds of $seconds s each, in turns)"
    row 'cached, queries a second' '' cached-mydocker cached-echo '>=0.95'
    row 'cached, queries a second' '' cached-mydocker cached-unbound '>=1.1'
    for peer in dnsdist dnsmasq; do row 'cached, queries a second' '' cached-mydocker "cached-$peer"; done
    row 'forwarded, queries a second' '' forwarded-mydocker forwarded-echo '>=0.48'
    row 'forwarded, queries a second' '' forwarded-mydocker forwarded-dnsdist '>=1.0'
    for peer in unbound dnsmasq; do row 'forwarded, queries a second' '' forwarded-mydocker "forwarded-$peer"; done
    row 'source ports in 1,000 of them, at the least' '' ports - '>=64'
    row 'CPU time of a cached query' µs cached-cpu-mydocker cached-cpu-unbound 0.7
    for peer in dnsdist dnsmasq echo; do
        row 'CPU time of a cached query' µs cached-cpu-mydocker "cached-cpu-$peer"
    done
    for peer in dnsdist unbound dnsmasq; do
        row 'CPU time of a forwarded query' µs forwarded-cpu-mydocker "forwarded-cpu-$peer"
    done
    row 'queries lost in all these runs' '' lost - 0
    row 'p99 of cached queries, one upstream silent' ms p99-silent p99-quiet 1.2
    row 'memory, idle' MB idle-memory-mydocker - 3
    row 'memory, 10,000 names cached' MB full-memory-mydocker - 8
    row 'memory, after 1,000,000 new names' MB million-memory-mydocker quarter-memory-mydocker 1.05
    for peer in unbound dnsdist dnsmasq; do
        row 'memory, 10,000 names cached' MB full-memory-mydocker "full-memory-$peer"
    done
    printf '\nLost by the others:'
    for name in echo unbound dnsdist dnsmasq; do printf ' %s %s' "$name" "${lost[$name]-?}"; done
    echo
}
