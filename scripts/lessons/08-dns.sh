#!/bin/bash
# 08-dns.sh: a DNS message by hand
. "$(dirname "$0")/lesson.sh"
question <<'END'
A DNS query is a few octets in a UDP datagram. Which ones ask for the IPv4 address of router.home? And
how does the reply name router.home a second time without writing it again?
END
echo '192.0.2.1 router.home' >hosts
dns='strace -D -x -s 100 -o trace.dns -e trace=recvmmsg,sendmmsg mydocker dns --listen 127.0.0.1:8053 --upstream 127.0.0.1:9 --hosts hosts'
say "$dns &"
$dns >log &
eventually grep listening log
ask() { exec 4<>/dev/udp/127.0.0.1/8053; xxd -r -p <<<"$1" >&4; timeout "${2-5}" dd bs=512 count=1 status=none <&4 | xxd -p | tr -d '\n'; }
say "$(declare -f ask | xargs -d '\n' | tr -s ' ')"
#      ID  RD  1 question         6 r o u t e r   4 h o m e      A    IN
show ask '1234 0100 0001 0000 0000 0000  06 726f75746572 04 686f6d65 00 0001 0001'
reply=$shown
say "xxd -r -p <<<$reply | mydocker dns decode | grep -E ' (QR|RCODE|ANCOUNT|QNAME|NAME|TTL|ADDRESS) '"
xxd -r -p <<<"$reply" | mydocker dns decode | grep -E ' (QR|RCODE|ANCOUNT|QNAME|NAME|TTL|ADDRESS) ' | tee decoded
show ask '1234 8100 0001 0000 0000 0000  06 726f75746572 04 686f6d65 00 0001 0001' 0.5
heading 'IN THE TRACE'
sed -nE 's/^([a-z]+)\(.*(iov_base="\\x12\\x34[^"]*").*/\1(... \2 .../p' trace.dns
answer <<'END'
RFC 1035 section 4.1: twelve octets of header (ID, flags, four counts), then the question: labels, each
after its length, 0 for the root, the type (1: A) and class (1: IN). The reply has the ID and the question
again, so that the asker knows what it answers; bit 15 of the flags, QR, makes it a reply. The name of
the answer is c00c: two bits that say "pointer", and 12, where the name stands (4.1.4). A message
with QR set is no question: it gets silence, or two servers could answer each other for ever.
END
check 'the ID is ours' test "${reply:0:4}" = 1234
check 'QR is 1, RCODE is 0' test $((0x${reply:4:4} & 0x800f)) = $((0x8000))
check 'one answer' test "${reply:12:4}" = 0001
check 'its name is a pointer to octet 12' test $((0x${reply:58:4})) = $((3 << 14 | 12))
check 'the last four octets are 192.0.2.1' test "${reply: -8}" = c0000201
check 'mydocker dns decode says so, too' grep -qE 'ADDRESS +192\.0\.2\.1 ' decoded
check 'what is no question arrives, and gets no answer' test "$(grep -cF '\x12\x34' trace.dns)$shown" = 3
now_you <<'END'
TRY=1 scripts/lessons/08-dns.sh: `ask` there for the type AAAA (001c), for rOUTER.home, for localhost.
END
