#!/bin/bash
# test-dns-decode.sh: `mydocker dns decode` prints what a real server (nsd) says, field by
# field: each type of record, hex and binary, malformed messages, and its exit codes.
. "$(dirname "$0")/lib.sh"
. "$scripts/lib-dns.sh"

# ---------------------------------------------------------------- what nsd says

zone decode.test <<'END'
@        A     192.0.2.1
@        AAAA  2001:db8::1
@        MX    10 mail
@        TXT   "two" "strings; \"quoted\" \027"
@        HINFO "PDP-11" "UNIX"
@        CAA   0 issue "ca.example.net"
alias    CNAME @
host     PTR   decode.test.
srv      SRV   1 2 53 @
naptr    NAPTR 100 50 "s" "http+E2U" "!^.*$!x!" @
below    DNAME example.net.
rp       RP    box.decode.test. text
afsdb    AFSDB 1 @
ds       DS    60485 13 2 D4B7D520E7BB5F0F67674A0CCEB1E3E0614B93C4F9E99B8383F6A1E4469DA50A
sshfp    SSHFP 4 2 123456789abcdef67890123456789abcdef67890123456789abcdef123456789
tlsa     TLSA  3 1 1 d2abde240d7cd3ee6b4b28c54df034b97983a1d16e8a410e4561cb106618e971
https    HTTPS 1 . alpn=h2,h3 port=8443 ipv4hint=192.0.2.7,192.0.2.8 ipv6hint=2001:db8::7
uri      URI   10 1 "https://example.net/"
minfo    MINFO box1 box2
odd      TYPE65280 \# 4 00ff10c0
END
# The same signed with NSEC, and another with NSEC3.
for how in nsec nsec3; do
    {
        printf '$ORIGIN %s.test.\n$TTL 3600\n' $how
        printf '@ SOA ns hostmaster 1 7200 3600 604800 300\n@ NS ns\nns A 127.0.0.1\n'
    } >"$room/$how"
    key=$(cd "$room" && ldns-keygen -r /dev/urandom -a ECDSAP256SHA256 -k $how.test) || bail 'ldns-keygen failed'
    options=()
    [[ $how == nsec ]] || options=(-n -s abcd -t 1)
    ldns-signzone "${options[@]}" -i 20250102030405 -e 20351231235959 -f "$room/zones/$how.test" "$room/$how" \
        "$room/$key" || bail 'ldns-signzone failed'
done
start_nsd decode 127.0.0.1@5300
dns_port=5300

# query NAME TYPE-NUMBER [EDNS]: a query in hex.
query() {
    local label labels rest='' edns=${3-}
    IFS=. read -ra labels <<<"$1"
    for label in "${labels[@]}"; do
        rest+=$(printf '%02x' "${#label}")$(printf %s "$label" | od -An -v -tx1 | tr -d ' \n')
    done
    printf 'abcd01000001000000000%03x%s00%04x0001%s' $((${#edns} > 0)) "$rest" "$2" "$edns"
}

# reply NAME TYPE-NUMBER [EDNS]: what nsd says to it, in hex.
reply() { say udp "$(query "$@")"; }
do=000029100000008000000c000a00080102030405060708 # an OPT with DO and a cookie

decode() { "$mydocker" dns decode <<<"$1"; } # HEX
binary() { printf '%b' "$(fold -w 2 <<<"$1" | sed 's/^/\\x/' | tr -d '\n')"; } # HEX
# The hex column, all in one.
shown() { awk '/^ *[0-9]+  [0-9a-f][0-9a-f]( |$)/ {print substr($0, 8, 23)}' | tr -d ' \n'; }

# decodes DESCRIPTION HEX REGEX...: all octets are shown, and a line matches each REGEX
# (in which a space stands for any number of them).
decodes() {
    local text regex missing=
    text=$(decode "$2")
    [[ $(shown <<<"$text") == "$2" ]] || missing='octets'
    for regex in "${@:3}"; do
        grep -qE -- "${regex// / +}" <<<"$text" || missing+=" /$regex/"
    done
    report $((${#missing} == 0)) "$1" || { note 'not shown' "$missing"; note text "$text"; }
}

# ---------------------------------------------------------------- each type

decodes 'header, question and A' "$(reply decode.test 1)" \
    '^Header of a response of [0-9]+ octets RFC 1035 section 4.1.1$' \
    '^ 0  ab cd ID 43981: ' '^ 1... .... .... .... QR 1 a response$' '^ .000 0... .... .... OPCODE 0 QUERY: ' \
    ' AA 1 from' ' TC 0 ' ' RD 1 ' ' RA 0 ' ' Z 0 ' ' AD 0 .* RFC 4035 3.2.3$' ' CD 0 ' ' RCODE 0 NOERROR: ' \
    '^ 4  00 01 QDCOUNT 1 ' ' ANCOUNT 1 ' ' NSCOUNT 1 ' ' ARCOUNT 1 ' \
    '^Question 1 of 1 RFC 1035 section 4.1.2$' '^ 12  06 64 65 63 6f 64 65 QNAME 6 "decode"$' \
    '^ 24  00 0, the root, so decode.test.$' ' QTYPE 1 A: an IPv4 address RFC 1035 3.2.3$' ' QCLASS 1 IN: ' \
    '^Answer 1 of 1: decode.test. A RFC 1035 section 4.1.3$' \
    '  c0 0c NAME pointer to 12: decode.test. RFC 1035 4.1.4$' \
    '  00 00 0e 10 TTL 3600 seconds, 1 h RFC 2181 8$' ' RDLENGTH 4 octets$' \
    '  c0 00 02 01 ADDRESS 192.0.2.1 RFC 1035 3.4.1$' '^Authority 1 of 1: decode.test. NS ' \
    '^Additional 1 of 1: ns.decode.test. A ' 'NSDNAME 2 "ns" RFC 1035 3.3.11$' 'pointer to 12, so ns.decode.test.'
decodes 'AAAA, over two lines' "$(reply decode.test 28)" '  20 01 0d b8 00 00 00 00 ADDRESS 2001:db8::1 RFC 3596 2.2$' \
    '^ +[0-9]+  00 00 00 00 00 00 00 01$'
decodes 'CNAME' "$(reply alias.decode.test 1)" '^Answer 1 of 2: alias.decode.test. CNAME' \
    'CNAME pointer to 18: decode.test.' '^Answer 2 of 2: decode.test. A'
decodes 'PTR' "$(reply host.decode.test 12)" 'PTRDNAME pointer to [0-9]+: decode.test.'
decodes 'SOA of a name that is not there' "$(reply none.decode.test 1)" ' RCODE 3 NXDOMAIN: there is no such name' \
    '  02 6e 73 MNAME 2 "ns" RFC 1035 3.3.13$' 'RNAME 10 "hostmaster"' '  00 00 00 01 SERIAL 1: the zone' \
    'REFRESH 7200 seconds, 2 h: ' 'RETRY 3600 seconds' 'EXPIRE 604800 seconds, 7 d: ' '  00 00 01 2c MINIMUM 300 '
decodes 'MX' "$(reply decode.test 15)" '  00 0a PREFERENCE 10: .* RFC 1035 3.3.9$' 'EXCHANGE 4 "mail"'
decodes 'TXT' "$(reply decode.test 16)" 'TXT-DATA 3 "two" RFC 1035 3.3.14$' 'TXT-DATA 19 "strings; \\"quoted\\"' \
    '\\027"'
decodes 'HINFO' "$(reply decode.test 13)" 'CPU 6 "PDP-11" RFC 1035 3.3.2$' 'OS 4 "UNIX"'
decodes 'CAA' "$(reply decode.test 257)" 'Flags 0: .* RFC 8659 4.1$' 'Tag 5 "issue"' 'Value "ca.example.net"'
decodes 'SRV' "$(reply srv.decode.test 33)" 'Priority 1: .* RFC 2782$' 'Weight 2: ' 'Port 53$' 'so decode.test.$'
decodes 'NAPTR' "$(reply naptr.decode.test 35)" 'ORDER 100: .* RFC 3403 4.1$' 'PREFERENCE 50$' 'FLAGS 1 "s"' \
    'SERVICES 8 "http\+E2U"' 'REGEXP 8 "!\^\.\*\$!x!"' 'REPLACEMENT 6 "decode"'
decodes 'DNAME' "$(reply x.below.decode.test 1)" 'TARGET 7 "example" RFC 6672 2.1$' 'so example.net.$'
decodes 'RP' "$(reply rp.decode.test 17)" 'mbox-dname 3 "box" RFC 1183 2.2$' 'txt-dname 4 "text"'
decodes 'AFSDB' "$(reply afsdb.decode.test 18)" 'subtype 1 RFC 1183 1$' 'hostname 6 "decode"'
decodes 'DS' "$(reply ds.decode.test 43)" '  ec 45 Key Tag 60485 RFC 4034 5.1$' 'Algorithm 13 ECDSAP256SHA256' \
    'Digest Type 2 SHA-256' 'Digest 32 octets'
decodes 'SSHFP' "$(reply sshfp.decode.test 44)" 'Algorithm 4 Ed25519 RFC 4255 3.1$' 'FP Type 2 SHA-256' \
    'Fingerprint 32 octets'
decodes 'TLSA' "$(reply tlsa.decode.test 52)" 'Usage 3 DANE-EE RFC 6698 2.1$' 'Selector 1 SPKI' \
    'Matching Type 1 SHA2-256'
decodes 'HTTPS' "$(reply https.decode.test 65)" 'SvcPriority 1: .* RFC 9460 2.2$' '  00 TargetName 0, the root: \.' \
    'SvcParamKey 1 alpn RFC 9460 7.1$' 'alpn-id 2 "h2"' 'SvcParamKey 3 port RFC 9460 7.2$' '  20 fb port 8443' \
    'address 192.0.2.7' 'address 192.0.2.8' 'address 2001:db8::7'
decodes 'URI' "$(reply uri.decode.test 256)" 'Priority 10 RFC 7553 4.5$' 'Target "https://example.net/"'
decodes 'MINFO' "$(reply minfo.decode.test 14)" 'RMAILBX 4 "box1" RFC 1035 3.3.7$' 'EMAILBX 4 "box2"'
decodes 'a type that nobody knows' "$(reply odd.decode.test 65280)" 'TYPE 65280 TYPE65280 ' \
    '  00 ff 10 c0 RDATA 4 octets RFC 3597 3$'
decodes 'class CH' "$(say udp abcd010000010000000000000776657273696f6e0462696e640000100003)" 'QCLASS 3 CH: ' \
    'CLASS 3 CH: ' 'TXT-DATA'
decodes 'RRSIG and OPT' "$(reply nsec.test 6 "$do")" 'Type Covered 6 SOA: .* RFC 4034 3.1$' 'Labels 2: ' \
    'Original TTL 3600 ' \
    'Expiration 2035-12-31 23:59:59 UTC$' 'Inception 2025-01-02 03:04:05 UTC$' 'Signer.s Name 4 "nsec"' \
    'Signature 64 octets' \
    '^Additional [0-9] of [0-9]: \. OPT RFC 6891 section 6.1.2$' 'CLASS [0-9]+ octets of UDP .*RFC 6891 6.2.3$' \
    'EXTENDED-RCODE 0, so in all 0 NOERROR: .*RFC 6891 6.1.3$' 'VERSION 0 ' '^ 1... .... .... .... DO 1 .*RFC 3225 3$'
decodes 'DNSKEY' "$(reply nsec.test 48)" 'Flags 257: .* RFC 4034 2.1$' 'Protocol 3: ' 'Public Key 64 octets'
decodes 'NSEC' "$(reply none.nsec.test 1 "$do")" 'Next Name 2 "ns" RFC 4034 4.1$' \
    'Type Bit Maps NS SOA RRSIG NSEC DNSKEY$'
decodes 'NSEC3' "$(reply none.nsec3.test 1 "$do")" 'Hash Algorithm 1 SHA-1 RFC 5155 3.2$' 'Iterations 1$' \
    '  02 ab cd Salt length, and 2 octets' 'Next Hashed length, and 20 octets' 'Type Bit Maps '
decodes 'NSEC3PARAM' "$(reply nsec3.test 51)" 'Hash Algorithm 1 SHA-1 RFC 5155 4.2$'
edns=000300026e73 # NSID
edns+=0008000700011800c00002
edns+=0009000400000e10
edns+=000a00100102030405060708090a0b0c0d0e0f10
edns+=000b0002012c
edns+=000c00020000
edns+=000f00050006626164
edns+=fde90001ff
decodes 'the options of EDNS by name' "abcd850300000000000000010000290200010080000047$edns" \
    ' RCODE 3 NXDOMAIN' 'EXTENDED-RCODE 1, so in all 19 BADMODE RFC 6891 6.1.3$' ' DO 1 ' \
    '  00 03 OPTION-CODE 3 NSID.* RFC 5001 2.3$' '  6e 73 NSID "ns"$' \
    'OPTION-CODE 8 Client Subnet.* RFC 7871 6$' 'FAMILY 1 IPv4$' '  18 SOURCE PREFIX 24: ' \
    '  c0 00 02 ADDRESS 3 octets$' \
    'OPTION-CODE 9 EXPIRE RFC 7314 2$' 'EXPIRE 3600 seconds' 'OPTION-CODE 10 COOKIE RFC 7873 4$' \
    'Client Cookie 8 octets$' \
    'Server Cookie 8 octets$' 'TIMEOUT 300: ' 'OPTION-CODE 12 Padding' 'OPTION-CODE 15 Extended DNS Error' \
    '  00 06 INFO-CODE 6 DNSSEC Bogus$' 'EXTRA-TEXT "bad"$' 'OPTION-CODE 65001 unknown here$' \
    '  ff OPTION-DATA 1 octet$'

# ---------------------------------------------------------------- how it comes in

reply=$(reply decode.test 15)
text=$(decode "$reply")
binary "$reply" >"$room/binary"
binary "$(printf '%04x' $((${#reply} / 2)))$reply" >"$room/framed"
gives 'binary is the same as hex' "$text" "$mydocker" dns decode <"$room/binary"
gives '  in capitals, with 0x, colons and lines' "$text" "$mydocker" dns decode \
    < <(fold -w 2 <<<"${reply^^}" | sed 's/^/0x/; 3,9s/$/:/')
gives '  with -- before it' "$text" "$mydocker" dns decode -- <"$room/binary"
try "$mydocker" dns decode <"$room/framed"
is '  with the length of TCP, which is told' "$(sed 1,2d <<<"$out")" "$text"
like '  in its first line' "$out" '^00 [0-9a-f]{2}: the length, as over TCP \(RFC 1035 section 4.2.2\)$'
gives '  octet by octet through a pipe' "$text" sh -c \
    'i=0; while [ $i -lt "$2" ]; do dd bs=1 count=1 status=none; i=$((i + 1)); done <"$1" | "$3" dns decode' \
    sh "$room/binary" $((${#reply} / 2)) "$mydocker"
like 'what this program would write is told' "$text" '^Written by this program'

# ---------------------------------------------------------------- what is no message

head=abcd81800001000100000000
question=01610000010001
wrong=()
wrong+=("${head:0:20} a header has 12 octets")
wrong+=("${head}c00c00010001 at octet 12: a compression pointer that does not lead back")
wrong+=("$head${question}c02000010001 at octet 19: a compression pointer that does not lead back")
wrong+=("$head${question}4161 at octet 19: a label type that does not exist")
wrong+=("$head${question}c00c00010001000000000005c0000201 at octet 31: data that goes on beyond the end")
wrong+=("$head${question}c00c00010001000000000003c00002 at octet 31: the end, in the middle of a field")
wrong+=("$head${question}c00c00010001000000000005c000020100 1 octet that no field explains")
wrong+=("$head${question}c00c0010000100000000000305616 at octet")
wrong+=("$head${question}c00c000f0001000000000004000ac021 at octet 33: a compression pointer")
for case in "${wrong[@]}"; do
    read -r hex message <<<"$case"
    ((${#hex} % 2 == 0)) || hex+=0
    decodes "wrong: $message" "$hex" "^ ! .*$message"
done
decodes 'octets behind the message are shown' "${head:0:8}00000000000000000000deadbeef" \
    '^Behind the last record: 6 octets$' \
    '  00 00 de ad be ef '
decodes 'a pointer to itself' "${head}c00c" '^ ! at octet 12: '
# A TXT record of pointers, each of which leads to the one before it, and 4000 records whose names are at its end.
chain=0000
for ((i = 23; i < 16383; i += 2)); do chain+=$(printf '%04x' $((49152 + i))); done
binary "abcd80000000ffff00000000000010000100000000$(printf '%04x' $((${#chain} / 2)))$chain$(
    printf 'ffff00100001000000000000%.0s' {1..4000})" >"$room/chains"
limit=20
ok '64 KiB of pointer chains take no time' "$mydocker" dns decode <"$room/chains"
like '  and the end is told' "$out" '^ +!  at octet [0-9]+: compression without end$'
limit=60

# Every octet is shown, whatever is missing or wrong; a line never has an escape or more than 100 columns.
reply=$(reply nsec.test 6 "$do")
bad=0 wrongs=0
for ((i = 2; i < ${#reply}; i += 4)); do
    for hex in "${reply:0:i}" "${reply:0:i-2}$(printf '%02x' $((16#${reply:i-2:2} ^ 255)))${reply:i}"; do
        text=$(decode "$hex") || bad=$((bad + 1))
        [[ $(shown <<<"$text") == "$hex" ]] || bad=$((bad + 1))
        ! grep -qE '.{101}|[^ -~]' <<<"$text" || bad=$((bad + 1))
        grep -qE '^ +!  ' <<<"$text" && wrongs=$((wrongs + 1))
    done
done
is 'of every part of a reply, and of one with a flipped octet, all octets are shown' "$bad" 0
ok '  and most of them are said to be wrong' test "$wrongs" -gt $((${#reply} / 8))

# ---------------------------------------------------------------- exit codes

fails 'nothing on standard input' 125 'nothing on standard input' "$mydocker" dns decode </dev/null
fails 'white space alone' 125 'nothing on standard input' "$mydocker" dns decode <<<$' \n'
fails 'half an octet' 125 '25 hex digits' "$mydocker" dns decode <<<"$head"0
fails 'no hex digit' 125 'has a `g` at 24' "$mydocker" dns decode <<<"$head"g
head -c 65536 /dev/zero >"$room/long"
fails 'more than 65535 octets' 125 'more than 65535 octets' "$mydocker" dns decode <"$room/long"
fails '  in hex' 125 'more than 65535 octets' "$mydocker" dns decode < <(head -c 131072 /dev/zero | tr '\0' 0)
fails '  and what never ends' 125 'more than 65535 octets' "$mydocker" dns decode </dev/zero
ok '65535 octets are a message' "$mydocker" dns decode < <(head -c 65535 /dev/zero)
fails 'an argument' 125 'what is "abcd"' "$mydocker" dns decode abcd </dev/null
fails 'an option that it does not have' 125 'hex' "$mydocker" dns decode --hex </dev/null
fails 'a standard output that is full' 125 'standard output: No space' \
    sh -c '"$1" dns decode <"$2" >/dev/full' sh "$mydocker" "$room/binary"
fails 'a standard input that is a directory' 125 'directory' "$mydocker" dns decode <"$room"
for help in --help -h; do
    ok "$help" "$mydocker" dns decode $help </dev/null
    like '  says how' "$out" '^Usage: mydocker dns decode '
done
example=$(sed -n 's/^ *echo \(.*\) |$/\1/p' <<<"$out")
decodes 'the example of the help' "$(tr -d ' ' <<<"$example")" 'QNAME 3 "www"' 'so www.example.$'

# ---------------------------------------------------------------- citations

# Each section that is cited has been looked up: this is the list of those that are known to exist and to be about that.
known='1035 3.1 3.2.2 3.2.3 3.2.4 3.2.5 3.3.1 3.3.2 3.3.3 3.3.4 3.3.5 3.3.6 3.3.7 3.3.8
1035 3.3.9 3.3.10 3.3.11 3.3.12 3.3.13 3.3.14
1035 3.4.1 3.4.2 4.1 4.1.1 4.1.2 4.1.3 4.1.4 4.2.2
1183 1 2.2
1995
1996
2136 2 2.4
2181 8
2782
3225 3
3403 4.1
3425
3596 2.2
3597 3
4034 2.1 3.1 4.1 4.1.2 5.1
4035 3.2.2 3.2.3
4255 3.1
5001 2.3
5155 3.2 4.2
5936
6672 2.1
6698 2.1
6891 6.1.2 6.1.3 6.2.3
6975 3
7314 2
7344 3.1 3.2
7553 4.5
7828 3.1
7830 3
7871 6
7873 4
7901 4
8145 4.1
8490
8659 4.1
8914 2 4
8945 4.2
9460 2.2 7.1 7.2 7.3 8 14.3.2
9461 5'
cited=$(grep -ohE 'RFC [0-9]{4}(( section)? [0-9]+(\.[0-9]+)*)?' "$top"/src/dns_{tables,view,decode,fields,page}.rs |
    sed 's/ section//' | sort -u)
unknown=
while read -r _ number section; do
    awk -v number="$number" -v section="$section" '
        $1 == number && section == "" {found = 1}
        $1 == number {for (i = 2; i <= NF; i++) if ($i == section) found = 1}
        END {exit !found}' <<<"$known" || unknown+=" RFC $number $section"
done <<<"$cited"
is "each cited section is known ($(wc -l <<<"$cited"))" "$unknown" ''
done_testing
