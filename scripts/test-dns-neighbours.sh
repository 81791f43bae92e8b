#!/bin/bash
# test-dns-neighbours.sh: the names that never leave this machine: the section
# "Neighbours" of dns-rules.md (localhost, invalid, onion, ANY), and hosts files: what
# they may say, what is answered from them, and what happens when they change.
# shellcheck disable=SC2154 # lib-dns.sh sets dns_pid
. "$(dirname "$0")/lib.sh"
. "$scripts/lib-dns.sh"
wire() { /usr/bin/python3 "$scripts/dnswire.py" "$@"; }
query() { wire ask 127.0.0.1 53 "$@"; }

# The upstream says 192.0.2.99 to any A, and writes down what it was asked.
wire serve 127.0.0.1 5300 --log "$room/upstream" >"$room/ready" 2>"$room/upstream.err" &
eventually 100 grep -q ready "$room/ready" || bail "dnswire.py serve: $(<"$room/upstream.err")"
hex() { printf %s "$1" | od -An -v -tx1 | tr -d ' \n'; }
asked() { grep -ci "$(hex "$1")" "$room/upstream"; }

# ---------------------------------------------------------------- special names

serve_dns --upstream 127.0.0.1:5300
for name in localhost. LocalHost. sub.localhost. a.b.localhost.; do
    gives "$name A" 127.0.0.1 short "$name" A
    gives "$name AAAA" ::1 short "$name" AAAA
done
gives '  over TCP' 127.0.0.1 short +tcp localhost. A
for kind in MX TXT NS SRV TYPE65280; do
    gives "localhost. $kind: NODATA" 'NOERROR 0 1' query localhost. $kind -f '{rcode} {an} {ns}'
    like '  with an SOA' "$(ask +noall +authority localhost. $kind)" 'IN\s+SOA\s'
done
gives 'the reply has AA or not, RA, and the spelling of the asker' 'LocalHost.' query LocalHost. -f '{qname}'
like '  RA is set' "$(flags localhost. A)" ra
gives 'PTR of 127.0.0.1' localhost. short -x 127.0.0.1
gives 'PTR of ::1' localhost. short -x ::1
for name in invalid. a.invalid. INVALID. x.y.Invalid. onion. expyuzz4wqqyqhjn.onion. A.ONION.; do
    gives "$name is NXDOMAIN" NXDOMAIN rcode "$name" A
done
gives '  for any type' NXDOMAIN rcode a.onion. TYPE65280
like '  with an SOA' "$(ask +noall +authority a.onion.)" 'IN\s+SOA\s'
like '  as kdig sees it' "$(kdig @127.0.0.1 a.invalid. AAAA)" 'status: NXDOMAIN'
gives 'ANY is one HINFO (RFC 8482)' '"RFC8482" ""' short www.example.test. ANY
gives '  and nothing else' 'NOERROR 1 0 0' query www.example.test. ANY -f '{rcode} {an} {ns} {ar}'
gives '  over TCP, too' '"RFC8482" ""' short +tcp www.example.test. ANY
gives '  of that name' 'Any.Test. ANY IN' query Any.Test. ANY -f '{question}'
is 'none of these ever leaves' "$(wc -l <"$room/upstream")" 0
for name in notlocalhost. localhost.example.test. onion.example.test. invalidx. xonion. localhost.invalid.test.; do
    gives "but $name does" 192.0.2.99 short $name A
done
stop_dns

# ---------------------------------------------------------------- hosts(5)

{
    printf '# a comment\n\n   # another\n \t \n'
    printf '192.0.2.1   alpha alpha-too.lan   # the first name counts for PTR\n'
    printf '192.0.2.2\ttabbed\ttabbed-too\n'
    printf '   192.0.2.3 MixedCase.Lan dotted.lan.\n'
    printf '2001:db8::1 alpha\n'
    printf '192.0.2.4 alpha beta\n'
    printf '192.0.2.5 crlf\r\n192.0.2.5 crlf-too crlf-last\r\n'
    printf 'fe80::1%%lo0 scoped\n'
    printf '::ffff:192.0.2.7 mapped\n'
    printf '0.0.0.0 blocked.example.test#no space before\n'
    printf '192.0.2.8 under_score -dash- 8\n'
    printf '2001:DB8::8 six.lan\n'
    printf '192.0.2.6 last'
} >"$room/hosts"
printf '192.0.2.20 second\n192.0.2.21 alpha\n' >"$room/hosts2"
serve_dns --upstream 127.0.0.1:5300 --hosts "$room/hosts" --hosts "$room/hosts2" --log
host() { gives "$1" "$2" eval "short $3 | sort -V"; } # DESCRIPTION WANTED DIG-ARGUMENTS
host 'A, several addresses' $'192.0.2.1\n192.0.2.4\n192.0.2.21' 'alpha A'
host 'AAAA' 2001:db8::1 'alpha AAAA'
host 'a second name' 192.0.2.1 'alpha-too.lan A'
host 'tabs' 192.0.2.2 'tabbed-too A'
host 'case does not matter' 192.0.2.3 'mixedcase.LAN A'
gives '  and the asker has his own spelling' 'MIXEDcase.lan. A IN NOERROR 1' \
    query MIXEDcase.lan. -f '{question} {rcode} {an}'
host 'a name with a dot at its end' 192.0.2.3 'dotted.lan A'
host 'the end of a line may be CR LF' 192.0.2.5 'crlf A'
host '  in a line of several names' 192.0.2.5 'crlf-last A'
host 'a comment right behind a name' 0.0.0.0 'blocked.example.test A'
host 'names that are no host names by the book' 192.0.2.8 'under_score A'
host 'no newline at the end' 192.0.2.6 'last A'
host 'the second file' 192.0.2.20 'second A'
host 'PTR gives the first name' alpha. '-x 192.0.2.1'
host '  of IPv6' six.lan. '-x 2001:db8::8'
host '  of the second file' second. '-x 192.0.2.20'
host '  in its own spelling' MixedCase.Lan. '-x 192.0.2.3'
for name in alpha tabbed blocked.example.test; do
    for kind in MX TXT TYPE65280; do
        gives "NODATA for other types of a known name ($name $kind)" 'NOERROR 0 1' \
            query $name. $kind -f '{rcode} {an} {ns}'
    done
done
gives '  also AAAA where there is only A' 'NOERROR 0 1' query tabbed. AAAA -f '{rcode} {an} {ns}'
gives '  and A where there is only AAAA' 'NOERROR 0 1' query six.lan. A -f '{rcode} {an} {ns}'
like '  with an SOA' "$(ask +noall +authority tabbed. MX)" 'IN\s+SOA\s'
read -ra soa < <(ask +noall +authority tabbed. MX)
ok '  of a short life' test "${soa[1]:-99999}" -le 60 -a "${soa[10]:-99999}" -le 60
gives 'the TTL is short: 10' 10 ttl alpha A
gives '  and does not age' 10 ttl alpha A
like 'AA and RA are set' "$(flags alpha A)" '^qr aa rd ra$'
gives '  over TCP, with an OPT' 'NOERROR 3 1232/0/do' query alpha --tcp --edns 4096 --do -f '{rcode} {an} {opt}'
gives '  and ANY is HINFO here, too' '"RFC8482" ""' short alpha ANY
gives 'a scoped address is passed over' '192.0.2.99' short scoped A
gives 'a name below a known one is another' 192.0.2.99 short www.alpha A
for word in alpha MixedCase mixedcase tabbed blocked crlf six last; do
    [[ $word == alpha ]] || is "  $word is never asked upstream" "$(asked $word)" 0
done
like '--log says that it was the hosts file' "$(grep -i ' alpha\. A ' "$dns_out")" ', from hosts'
is 'and nothing on standard error' "$(<"$room/dns.err")" ''

# ---------------------------------------------------------------- changes

next=192.0.2.100
by_rename() {
    cp "$room/hosts" "$room/hosts.new"
    printf '\n%s\n' "$@" >>"$room/hosts.new"
    mv "$room/hosts.new" "$room/hosts"
}
in_place() { printf '\n%s\n' "$@" >>"$room/hosts"; }
gives 'a name of upstream, which is in the cache' 192.0.2.99 short www.elsewhere.test
by_rename '192.0.2.100 www.elsewhere.test'
gives 'changed by rename: visible at once, before the cache' $next short www.elsewhere.test
in_place '192.0.2.101 placed.test'
gives 'changed in place: visible at once' 192.0.2.101 short placed.test
sed -i 's/192\.0\.2\.101 placed/192.0.2.102 placed/' "$room/hosts"
gives 'the same size, another file' 192.0.2.102 short placed.test
replaced=$(sed 's/192\.0\.2\.102 placed/192.0.2.103 placed/' "$room/hosts")
printf '%s\n' "$replaced" >"$room/hosts"
gives 'the same file, about the same size' 192.0.2.103 short placed.test
sed -i '/placed/d' "$room/hosts"
gives 'a name taken away is asked upstream' 192.0.2.99 short placed.test
touch "$room/hosts"
gives 'touched only' $next short www.elsewhere.test
gives 'the second file, too' 192.0.2.22 eval "echo 192.0.2.22 more >>$room/hosts2; short more"
seen=
for i in {1..30}; do
    printf '192.0.2.%d turn.test\n' "$i" >"$room/hosts2"
    seen+=$(query turn.test -f '{records}' | sed 's/.* A c00002//')
done
is '30 changes in a row are each seen' "$seen" "$(printf '%02x' {1..30})"

# Under load: names of the file, of the cache and of upstream, while it changes both ways.
printf '%s A\n' alpha tabbed crlf second turn.test notlocalhost www.elsewhere.test cached.test >"$room/load"
cp "$room/hosts" "$room/hosts.whole"
dnsperf -s 127.0.0.1 -p 53 -d "$room/load" -l 3 -c 4 -q 50 -Q 5000 -t 5 >"$room/dnsperf" 2>&1 &
load=$!
changes=0
while kill -0 $load 2>/dev/null; do
    changes=$((changes + 1))
    printf '192.0.2.20 second\n192.0.2.%d turn.test\n' $((changes % 250)) >"$room/hosts2"
    cp "$room/hosts.whole" "$room/hosts.new"
    mv "$room/hosts.new" "$room/hosts"
    sleep 0.05
done
wait $load
lost=$(sed -n 's/.*Queries lost: *\([0-9]*\) .*/\1/p' "$room/dnsperf")
sent=$(sed -n 's/.*Queries sent: *\([0-9]*\)$/\1/p' "$room/dnsperf")
is "changed $((2 * changes)) times under load (${sent:-0} queries): no query lost" "$lost" 0
ok '  (there was a load)' test "${sent:-0}" -gt 1000
is '  all answered well' "$(sed -n 's/.*Response codes: *//p' "$room/dnsperf" | sed 's/ [0-9]*.*//')" NOERROR
gives '  and what it says now counts' "192.0.2.$((changes % 250))" short turn.test

# ---------------------------------------------------------------- a file that breaks

# What it says on standard error after `mark`.
mark() { marked=$(wc -l <"$room/dns.err"); }
warnings() { tail -n "+$((marked + 1))" "$room/dns.err"; }
mark
cp "$room/hosts" "$room/hosts.good"
lines=$(wc -l <"$room/hosts")
printf '192.0.2.300 broken\n192.0.2.111 behind\n' >>"$room/hosts"
gives 'a broken line at a re-read: the old names stay' $'192.0.2.1\n192.0.2.4' eval 'short alpha | sort -V'
gives '  and none of the new ones is there' 192.0.2.99 short behind
sleep 0.1
gives '  nor later' 192.0.2.99 short behind
like '  a warning names file and line' "$(warnings)" "^mydocker: .*$room/hosts:$((lines + 1))"
is '  once' "$(warnings | wc -l)" 1
printf '192.0.2.111 behind\n' >"$room/hosts.new"
mv "$room/hosts.new" "$room/hosts"
gives '  and when it is mended it counts' 192.0.2.111 short behind
rm "$room/hosts"
mark
gives 'a file that is gone: the old names stay' 192.0.2.111 short behind
sleep 0.1
gives '  a second time' 192.0.2.111 short behind
like '  with a warning' "$(warnings)" "^mydocker: .*$room/hosts"
is '  once' "$(warnings | wc -l)" 1
printf '192.0.2.112 behind\n' >"$room/hosts"
gives '  and when it is back it counts' 192.0.2.112 short behind
: >"$room/hosts"
gives 'an empty file has no names' 192.0.2.99 short behind
stop_dns

# ---------------------------------------------------------------- /etc/hosts, large files

printf '192.0.2.200 this.machine this\n' >>/etc/hosts
serve_dns --upstream 127.0.0.1:5300 --hosts /etc/hosts
gives '--hosts /etc/hosts' 192.0.2.200 short this.machine
gives '  registry.test' 127.0.0.1 short registry.test
gives '  localhost is what it always is' '127.0.0.1 ::1' eval "short localhost A | tr '\n' ' '; short localhost AAAA"
gives '  PTR of 127.0.0.1' localhost. short -x 127.0.0.1
stop_dns
seq -f '0.0.0.0 a%.0f.blocked.test' 0 99999 >"$room/large"
echo 192.0.2.201 end.test >>"$room/large"
serve_dns --upstream 127.0.0.1:5300 --hosts "$room/large"
gives 'a file of 100,000 lines: the last' 192.0.2.201 short end.test
gives '  and one within' 0.0.0.0 short a50000.blocked.test
echo '192.0.2.202 more.test' >>"$room/large"
gives '  visible at once when it grows' 192.0.2.202 short more.test
stop_dns
is 'ends in order' "$dns_rc" 0
done_testing
