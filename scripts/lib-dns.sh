# shellcheck shell=bash
# lib-dns.sh: what the test-dns-*.sh stand on. Sourced after lib.sh, in whose network
# namespace every port is free. It starts
#   the program (serve_dns, 127.0.0.1:53), nsd (start_nsd, zones by `zone`), unbound as
#   a forwarder (start_unbound) and the scripted upstream (start_upstream, upstream.py),
# asks (ask, rcode, short, ttl, flags, say), and counts (counter, seen).
# shellcheck disable=SC2154,SC2034 # lib.sh sets room, mydocker, scripts; tests use nsd_pid, took...

here=127.0.0.1 # where all servers of a test listen
dns_at=$here   # where the program listens, and ask asks
dns_port=53
dns_name=dns   # its output is $room/$dns_name.out and .err

# ---------------------------------------------------------------- side by side

# beside FUNCTION [ARGS...]: runs a group of tests in the background, with a room of its
# own and an address of its own ($here), on which all ports are free. Most of a test of
# DNS is waiting. `gather` waits for all of them and prints their lines, numbered.
besides=()
beside_pids=()
gathered=0
beside() {
    beside_run ${#besides[@]} "$@" >"$room/beside-${#besides[@]}.tap" 2>&1 &
    beside_pids+=($!)
    besides+=("$*")
}
beside_run() { # NUMBER FUNCTION [ARGS...]: in a subshell
    room=$room/beside-$1
    mkdir -p "$room/tmp"
    here=127.0.1.$(($1 + 1))
    dns_at=$here tests=0 failures=0
    "${@:2}"
    echo 'beside: reached its end'
}

gather() {
    wait "${beside_pids[@]}"
    local i line ended
    for ((i = gathered; i < ${#besides[@]}; i++)); do
        ended=0
        echo "# ${besides[i]}"
        while IFS= read -r line; do
            case $line in
                'ok '*' - '* | 'not ok '*' - '*)
                    tests=$((tests + 1))
                    [[ $line == ok* ]] || failures=$((failures + 1))
                    echo "${line%% [0-9]* - *} $tests - ${line#* - }"
                    ;;
                'beside: reached its end') ended=1 ;;
                'Bail out!'*) echo "# $line" ;;
                *) echo "$line" ;;
            esac
        done <"$room/beside-$i.tap"
        ((ended)) || report 0 "${besides[i]} ended before its end"
    done
    gathered=${#besides[@]}
}

# ---------------------------------------------------------------- servers

# serve_dns ARGS...: the program under test, until it is ready: $dns_pid, $dns_out. It
# listens on $dns_at:$dns_port unless ARGS has a --listen.
serve_dns() {
    local listen=()
    [[ " $* " == *' --listen '* ]] || listen=(--listen "$dns_at:$dns_port")
    dns_out=$room/$dns_name.out
    : >"$dns_out"
    env --default-signal "$mydocker" dns "${listen[@]}" "$@" >"$dns_out" 2>"$room/$dns_name.err" &
    dns_pid=$!
    eventually 100 grep -q 'listening on' "$dns_out" ||
        bail "mydocker dns $* is not ready: $(tail -n 2 "$room/$dns_name.err" "$dns_out")"
}

# Its exit code is $dns_rc.
stop_dns() { end_dns TERM; }
end_dns() { # SIGNAL
    kill -"$1" "$dns_pid" 2>/dev/null
    wait "$dns_pid" 2>/dev/null
    dns_rc=$?
}

# zone ORIGIN: the zone (without a dot at its end) is read from standard input; unless it
# has an SOA, SOA (minimum 300) and NS are put in front, and $TTL 3600.
zone() {
    mkdir -p "$room/zones"
    cat >"$room/zones/.body"
    {
        if ! grep -qw SOA "$room/zones/.body"; then
            printf '$ORIGIN %s.\n$TTL 3600\n' "$1"
            printf '@ 3600 IN SOA ns hostmaster 1 7200 3600 604800 300\n@ NS ns\nns A 127.0.0.1\n'
        fi
        cat "$room/zones/.body"
    } >"$room/zones/$1"
    rm "$room/zones/.body"
}

# example.test: one of each common type, and a wildcard for endless new names.
default_zone() {
    zone example.test <<'END'
@       MX    10 mail
@       TXT   "v=spf1 -all" "two strings"
www     A     192.0.2.1
www     AAAA  2001:db8::1
mail    A     192.0.2.2
alias   CNAME www
short   1 A   192.0.2.4
zero    0 A   192.0.2.5
srv     SRV   1 2 53 www
odd     TYPE65280 \# 4 00ff10c0
both    A     192.0.2.6
both    A     192.0.2.7
*.wild  A     192.0.2.99
*.wild  AAAA  2001:db8::99
*.wild  TXT   "any"
END
}

# start_nsd NAME ADDRESS@PORT...: serves all zones made so far (the default one if none):
# $nsd_pid. Files in $room/nsd-NAME.
start_nsd() {
    local dir=$room/nsd-$1 address file
    [[ -d $room/zones ]] || default_zone
    mkdir -p "$dir"
    {
        printf 'server:\n'
        for address in "${@:2}"; do printf '    ip-address: %s\n' "$address"; done
        printf '    %s\n' 'username: ""' "zonesdir: \"$room/zones\"" 'database: ""' "pidfile: \"$dir/pid\"" \
            "xfrdfile: \"$dir/xfrd\"" "xfrdir: \"$dir\"" "zonelistfile: \"$dir/zonelist\"" 'server-count: 1' \
            'rrl-ratelimit: 0' 'round-robin: no'
        printf 'remote-control:\n    control-enable: no\n'
        for file in "$room"/zones/*; do
            printf 'zone:\n    name: "%s"\n    zonefile: "%s"\n' "${file##*/}" "${file##*/}"
        done
    } >"$dir/conf"
    nsd -c "$dir/conf" -d >"$dir/log" 2>&1 &
    nsd_pid=$!
    eventually 100 answers "${2%@*}" "${2#*@}" || bail "nsd does not answer at $2: $(tail -n 3 "$dir/log")"
}

# start_unbound ADDRESS@PORT UPSTREAM@PORT [LINE-OF-ITS-SERVER-SECTION...]: a forwarder
# with one thread, for second opinions: $unbound_pid.
start_unbound() {
    local dir=$room/unbound-${1#*@}
    mkdir -p "$dir"
    {
        printf 'server:\n'
        printf '    %s\n' "interface: $1" 'do-daemonize: no' 'username: ""' 'chroot: ""' "directory: \"$dir\"" \
            'pidfile: ""' 'use-syslog: no' 'num-threads: 1' 'module-config: "iterator"' \
            'do-not-query-localhost: no' 'outgoing-range: 4096' 'local-zone: "test." nodefault' "${@:3}"
        printf 'remote-control:\n    control-enable: no\n'
        printf 'forward-zone:\n    name: "."\n    forward-addr: %s\n' "$2"
    } >"$dir/conf"
    unbound -c "$dir/conf" >"$dir/log" 2>&1 &
    unbound_pid=$!
    eventually 100 answers "${1%@*}" "${1#*@}" || bail "unbound does not answer at $1: $(tail -n 3 "$dir/log")"
}

# start_upstream NAME ADDRESS:PORT [OPTIONS]: upstream.py, the scripted upstream. What it
# does is chosen by the labels of a question, or for all by the words in $room/NAME.control;
# what it was asked is in $room/NAME.log. $upstream_pid.
start_upstream() {
    : >>"$room/$1.log"
    /usr/bin/python3 "$scripts/upstream.py" serve --listen "$2" --log "$room/$1.log" \
        --control "$room/$1.control" "${@:3}" >"$room/$1.ready" 2>"$room/$1.err" &
    upstream_pid=$!
    eventually 100 grep -q ready "$room/$1.ready" || bail "upstream.py is not ready: $(tail -n 3 "$room/$1.err")"
}

# Some answer, whatever it says.
answers() { # ADDRESS PORT
    dig +tries=1 +time=1 +norecurse "@$1" -p "$2" version.bind. CH TXT >/dev/null 2>&1
}

# ---------------------------------------------------------------- asking

# dig with one try, and patience for what the program may need (5 s).
ask() { # DIG-ARGUMENTS...
    dig +tries=1 +time=6 +nocookie "@$dns_at" -p "$dns_port" "$@"
}

# clocked DIG-ARGUMENTS: the RCODE or `silence` in $status, the first answer's data in $data,
# and in $took the milliseconds between question and answer, as dig itself measures them.
clocked() {
    local got
    got=$(ask "$@")
    status=$(sed -n 's/.*HEADER.* status: \([A-Z0-9]*\),.*/\1/p' <<<"$got")
    status=${status:-silence}
    data=$(awk '!/^;/ && NF > 4 {print $5; exit}' <<<"$got")
    took=$(sed -n 's/^;; Query time: \([0-9]*\) msec/\1/p' <<<"$got")
    took=${took:-9999}
}

short() { ask +short "$@"; }
# NOERROR, SERVFAIL... or `silence`.
rcode() { ask "$@" | sed -n 's/.*HEADER.* status: \([A-Z0-9]*\),.*/\1/p' | grep . || echo silence; }
# `qr rd ra`
flags() { ask "$@" | sed -n 's/^;; flags: \([a-z ]*\);.*/\1/p'; }
# The first answer's TTL.
ttl() { ask +noall +answer "$@" | awk '{print $2; exit}'; }
# All records of all sections, without comments: NAME TTL CLASS TYPE DATA.
records() { ask +noall +answer +authority +additional "$@"; }

# say udp|tcp HEX [SECONDS [HEX...]]: sends the messages and prints each reply in hex, a line
# each, until SECONDS (2) have passed or as many replies came as were sent.
say() { /usr/bin/python3 "$scripts/upstream.py" say "$1" "$dns_at:$dns_port" "${3:-2}" "$2" "${@:4}"; }

# talk STEP...: a TCP client that does as it is told (upstream.py).
talk() { /usr/bin/python3 "$scripts/upstream.py" talk "$dns_at:$dns_port" "$@"; }
# hold CONNECTIONS [HEX]: that many connections, until $hold_pid is ended.
hold() {
    /usr/bin/python3 "$scripts/upstream.py" hold "$dns_at:$dns_port" "$1" "${2-}" >"$room/tmp/hold" 2>&1 &
    hold_pid=$!
    eventually 50 grep -q holding "$room/tmp/hold"
}

query() { # ID NAME [TYPE-IN-HEX]: the hex of a query with RD
    printf '%s01000001000000000000' "$1"
    local label
    for label in ${2//./ }; do
        printf '%02x' ${#label}
        printf %s "$label" | od -An -tx1 | tr -d ' \n'
    done
    printf '00%s0001\n' "${3:-0001}"
}

# ---------------------------------------------------------------- counting

# What SIGUSR1 prints, up to `end`.
counters() {
    local before
    before=$(stat -c %s "$dns_out")
    kill -USR1 "$dns_pid" || return
    eventually 50 eval "tail -c +$((before + 1)) '$dns_out' | grep -qx end" || return
    tail -c +$((before + 1)) "$dns_out" | sed '/^end$/q'
}

counter() { counters | awk -v name="$1" '$1 == name {print $2; exit}'; } # NAME

# Lines of a scripted upstream's log whose question matches the extended REGEX.
# A line: TIME ADDRESS:PORT udp|tcp SOURCE-PORT ID FLAGS EDNS NAME TYPE CLASS HEX
seen() { # NAME REGEX
    awk -v regex="$2" 'tolower($8 " " $9 " " $10) ~ tolower(regex)' "$room/$1.log"
}
times_seen() { seen "$@" | wc -l; }

# The address that a scripted upstream has for a name.
truth() { /usr/bin/python3 "$scripts/upstream.py" truth "$@"; } # NAME...
# start_check FILE SECONDS QPS NAME-BELOW WANTED|truth: a flow of new questions, and in FILE
# what came of each, a line `SENT TOOK NAME right|SERVFAIL|wrong|lost`; until the SECONDS are
# over or $check_pid gets SIGTERM, and then until all are answered.
start_check() {
    /usr/bin/python3 "$scripts/upstream.py" check "$dns_at:$dns_port" "${@:2}" >"$1" &
    check_pid=$!
}

# Ticks of CPU time (1/100 s) that a process has used so far; kilobytes that it has.
cpu_ticks() { awk '{print $14 + $15}' "/proc/$1/stat"; } # PID
resident() { awk '$1 == "VmRSS:" {print $2}' "/proc/$1/status"; } # PID
descriptors() { find "/proc/$1/fd" -mindepth 1 2>/dev/null | wc -l; } # PID

