#!/bin/bash
# test-dns-bad-input.sh: what `mydocker dns` cannot do, it says in one line with what to
# do about it, exits with 125, and leaves nothing listening: the section "Bad input" of
# issue 3, every option with values it cannot have, and messages that decode cannot read.
# shellcheck disable=SC2154 # lib-dns.sh sets dns_pid
. "$(dirname "$0")/lib.sh"
. "$scripts/lib-dns.sh"
ordinary_users
limit=4 # a server that starts in spite of all must not wait for ever
dns() { timeout --foreground -k 5 "$limit" "$mydocker" dns "$@"; }
here=(--listen 127.0.0.1:5399 --upstream 127.0.0.1:5300)
hold() { # PYTHON: holds a socket till stop_holding
    rm -f "$room/held"
    /usr/bin/python3 -c "import socket, time
$1
print('held', flush=True)
time.sleep(600)" >"$room/held" 2>&1 &
    holder=$!
    eventually 50 grep -q held "$room/held" || bail "no socket to hold: $(<"$room/held")"
}
stop_holding() { stop "$holder"; }

# ---------------------------------------------------------------- ports and addresses

hold 's = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(("127.0.0.1", 5399))'
fails 'a port that is taken (UDP)' 125 '127\.0\.0\.1:5399.*(in use|taken).*(listen|port|stop|end)' dns "${here[@]}"
fails '  also the second --listen' 125 '127\.0\.0\.1:5399' dns --listen 127.0.0.1:5398 "${here[@]}"
fails '  also below the wildcard' 125 '5399' dns --listen :5399 --upstream 127.0.0.1:5300
stop_holding
hold 's = socket.socket(); s.bind(("127.0.0.1", 5399)); s.listen()'
fails 'a port that is taken (TCP)' 125 '127\.0\.0\.1:5399.*(in use|taken).*(listen|port|stop|end)' dns "${here[@]}"
stop_holding
hold 's = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1); s.bind(("::", 8053))'
fails 'a port that is taken (the default one, IPv6)' 125 '8053' dns --upstream 127.0.0.1:5300
stop_holding
dns_port=5399 serve_dns --upstream 127.0.0.1:5300
fails 'a port that another of our servers has' 125 '127\.0\.0\.1:5399.*(in use|taken)' dns "${here[@]}"
stop_dns
echo 1024 >/proc/sys/net/ipv4/ip_unprivileged_port_start
fails 'no right to port 53' 125 ':53.*(root|privilege|permi|setcap|sysctl|unprivileged|CAP_NET).*' \
    as bare "$mydocker" dns --listen 127.0.0.1:53 --upstream 127.0.0.1:5300
like '  and it says what to do' "$err" '--listen|setcap|sysctl|ip_unprivileged_port_start|as root|1024'
for address in 192.0.2.77:5399 192.0.2.77 '[2001:db8::77]:5399'; do
    fails "a listen address that is not ours ($address)" 125 "${address//[][]/.}.*(not|no such|assign)" \
        dns --listen "$address" --upstream 127.0.0.1:5300
done

# ---------------------------------------------------------------- a loop

ip address add 192.0.2.50/32 dev lo
looped() { # DESCRIPTION LISTEN UPSTREAM...
    local words=(--listen "$2") upstream
    for upstream in "${@:3}"; do words+=(--upstream "$upstream"); done
    upstream=${*: -1:1}
    upstream=${upstream//[][]/.}
    fails "an upstream that is the server itself: $1" 125 "$upstream.*(itself|loop|listens)" dns "${words[@]}"
}
looped 'the same address' 127.0.0.1:5399 127.0.0.1:5399
like "  and it says what to do" "$err" '--upstream|another|other'
looped 'the second of two' 127.0.0.1:5399 127.0.0.1:5300 127.0.0.1:5399
looped 'below the wildcard' 0.0.0.0:5399 127.0.0.1:5399
looped 'below the wildcard, all of 127/8' 0.0.0.0:5399 127.0.0.2:5399
looped 'below the wildcard, an address of this machine' :5399 192.0.2.50:5399
looped 'IPv6' '[::1]:5399' '[::1]:5399'
looped 'IPv6 below the wildcard' '[::]:5399' '[::1]:5399'
looped 'with the default port' 127.0.0.1:53 127.0.0.1
fails 'an upstream that is the server itself: the defaults' 125 '127\.0\.0\.1:8053' dns --upstream 127.0.0.1:8053
dns_port=5399 serve_dns --upstream 127.0.0.2:5399
like 'but another address is no loop' "$(<"$dns_out")" 'listening on 127\.0\.0\.1:5399, forwarding to 127\.0\.0\.2:5399'
stop_dns

# ---------------------------------------------------------------- hosts files

fails 'a hosts file that is not there' 125 '/no/such/file' dns "${here[@]}" --hosts /no/such/file
fails 'a hosts file that is a directory' 125 '/etc' dns "${here[@]}" --hosts /etc
install -m 000 /dev/null "$room/tmp/secret"
fails 'a hosts file that must not be read' 125 "$room/tmp/secret.*[Pp]ermission" \
    as bare "$mydocker" dns "${here[@]}" --hosts "$room/tmp/secret"
wrong_line() { # DESCRIPTION LINE
    printf '# a file\n192.0.2.1 good\n%b\n192.0.2.2 better\n' "$2" >"$room/hosts"
    fails "a hosts file with a wrong line: $1" 125 "$room/hosts:3" dns "${here[@]}" --hosts "$room/hosts"
}
wrong_line 'an address out of range' '192.0.2.300 name'
wrong_line 'an address too short' '192.0.2 name'
wrong_line 'no address' 'name 192.0.2.1'
wrong_line 'IPv6 that is none' '2001:db8::1::2 name'
wrong_line 'a name with an empty label' '192.0.2.1 a..b'
wrong_line 'a label of 64' "192.0.2.1 $(printf 'l%.0s' {1..64})"
wrong_line 'a name of 300' "192.0.2.1 $(printf 'l.%.0s' {1..150})"
wrong_line 'an address with a port' '192.0.2.1:53 name'
head -c 4096 /dev/urandom >"$room/hosts"
fails 'a hosts file of rubbish' 125 "$room/hosts:[0-9]" dns "${here[@]}" --hosts "$room/hosts"
printf '192.0.2.1 good\n' >"$room/good"
fails 'the second of two hosts files' 125 '/no/such' dns "${here[@]}" --hosts "$room/good" --hosts /no/such
bytes=$'\xff\xfe'
fails 'a hosts file whose name is not UTF-8' 125 'hosts|file|UTF-8' dns "${here[@]}" --hosts "/no/$bytes"

# ---------------------------------------------------------------- options

# Wrong use may take a second line, which shows how to use it.
misuse() { # DESCRIPTION REGEX ARGS...
    try dns "${@:3}"
    [[ $rc == 125 && -z $out && $err == 'mydocker: '* && $(wc -l <<<"$err") -le 2 ]] && grep -qiE -- "$2" <<<"$err"
    report $((!$?)) "$1" || { note wanted "exit 125, a line like /$2/"; tell_try; }
}
for size in 0 -1 '' x 1e3 1.5 +5 ' 5' 99999999999999999999 18446744073709551615 4294967296 1000000000000; do
    fails "--cache-size=${size@Q}" 125 "cache-size.*([0-9]|--no-cache)" dns "${here[@]}" "--cache-size=$size"
done
fails '--cache-size 0 says how to have no cache' 125 '--no-cache' dns "${here[@]}" --cache-size 0
for listen in '' x localhost localhost:5399 127.0.0.1: 127.0.0.1:0 127.0.0.1:65536 :99999 :x : 127.0.0.1:+5399 :+5399 \
    127.0.0.1:-1 '[::1' '::1]:5399' '[::1]5399' '[::1]:' '[127.0.0.1]:5399' 1.2.3.4.5:5399 127.0.0.1:53:53 \
    127.0.0.256 127.1 0x7f.0.0.1 ' 127.0.0.1' '127.0.0.1 ' 127.0.0.1/8 '[]:5399' udp://127.0.0.1 "$bytes"; do
    misuse "--listen ${listen@Q}" 'listen|UTF-8' --listen "$listen" --upstream 127.0.0.1:5300
done
for upstream in '' x dns.google dns.google:53 8.8.8.8: 8.8.8.8:0 8.8.8.8:65536 8.8.8.8:+53 8.8.8.8:x 8.8.8 8.8.8.8/24 \
    '[8.8.8.8]:53' '[::1' '::1]:53' :53 0.0.0.0:53 '[::]:53' 255.255.255.255 224.0.0.1:53 \
    '[ff02::1]:53' tls://8.8.8.8 "$bytes"; do
    misuse "--upstream ${upstream@Q}" 'upstream|UTF-8' --listen 127.0.0.1:5399 --upstream "$upstream"
done
for allow in '' x 10.0.0.0/33 10.0.0.0/-1 10.0.0.0/+8 10.0.0.0/ 10.0.0.0/x /8 10.0.0/8 ::/129 10.0.0.0/8/8 \
    '10.0.0.0 /8' 10.0.0.0/255.0.0.0 "$bytes"; do
    misuse "--allow ${allow@Q}" 'allow|UTF-8' "${here[@]}" --allow "$allow"
done
misuse 'an unknown option' nope "${here[@]}" --nope
misuse 'an unknown short option' Z "${here[@]}" -Z
misuse 'an argument too many' extra "${here[@]}" extra
misuse 'an argument that is not UTF-8' '.' "${here[@]}" "$bytes"
misuse 'an option that is not UTF-8' '.' "${here[@]}" "--$bytes"
for option in listen upstream allow cache-size hosts; do misuse "--$option without its value" "$option" --$option; done
for flag in log no-cache; do misuse "--$flag with a value" "$flag" "${here[@]}" --$flag=yes; done
many=()
for ((i = 0; i < 300; i++)); do many+=(--listen "127.0.0.1:$((6000 + i))"); done
(ulimit -n 64; exec timeout -k 5 10 "$mydocker" dns "${many[@]}" --upstream 127.0.0.1:5300) >"$room/out" 2>"$room/err"
is 'more addresses than descriptors: 125' "$?:$(wc -l <"$room/err")" 125:1

# ---------------------------------------------------------------- decode

decode() { dns decode; }
fails 'decode of nothing at all' 125 '.' decode </dev/null
misuse 'decode with a file' '.' decode /etc/hosts
misuse 'decode with an unknown option' nope decode --nope
ended=
for ((i = 0; i < 60; i++)); do
    # A header that promises little, then rubbish: deeper than rubbish alone would get.
    printf '\x12\x34\x81\x80\0\1\0\1\0\1\0\1' >"$room/message"
    head -c $((RANDOM % 300)) /dev/urandom >>"$room/message"
    decode <"$room/message" >"$room/out" 2>"$room/err"
    code=$?
    [[ $code == 0 || $code == 125 ]] && ! grep -q panick "$room/err" && (($(wc -l <"$room/err") <= 1)) ||
        ended+="$code $(head -n 3 "$room/err") $(od -An -v -tx1 "$room/message" | tr -d ' \n')"$'\n'
done
is 'decode of 60 messages of rubbish: an answer or one line, never a panic' "$ended" ''

is 'and nothing is left listening' "$(ss -Hlnut)" ''
is '  nor running' "$(pgrep -x mydocker)" ''
done_testing
