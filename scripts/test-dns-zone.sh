#!/bin/bash
# test-dns-zone.sh: what nsd has in its zones comes through the forwarder byte for byte,
# over UDP and TCP, with and without EDNS, fresh and from the cache; and 500 questions to
# the forwarder and to unbound (which asks the same nsd) have the same answers.
# shellcheck disable=SC2154 # lib-dns.sh sets dns_pid
. "$(dirname "$0")/lib.sh"
. "$scripts/lib-dns.sh"
wire() { /usr/bin/python3 "$scripts/dnswire.py" "$@"; }

# ---------------------------------------------------------------- the zones

long=$(printf 'x%.0s' {1..63})
# 255 octets on the wire: three labels of 63, one of 48, and 14 of example.test.
longest=$long.$long.$long.$(printf 'y%.0s' {1..48}).example.test.
string=$(printf 't%.0s' {1..255})

# strings NAME COUNT: TXT records of 268 octets each (with a pointer for the owner).
strings() {
    local i
    for ((i = 0; i < $2; i++)); do printf '%s TXT "%03d%s"\n' "$1" "$i" "${string:3}"; done
}

common_records() { # what both the plain and the signed zone have
    cat <<END
@        MX    10 mail
@        MX    20 mail.elsewhere.test.
@        TXT   "v=spf1 -all" "two strings" ""
@        CAA   0 issue "ca.example.net"
www      A     192.0.2.1
www      AAAA  2001:db8::1
many     A     192.0.2.10
many     A     192.0.2.11
many     A     192.0.2.12
mail     A     192.0.2.2
mail     MX    0 .
alias    CNAME www
alias2   CNAME alias
alias3   CNAME alias2
dangling CNAME nothing
outside  CNAME www.elsewhere.test.
loop     CNAME loop2
loop2    CNAME loop
tree     DNAME forest
leaf.forest A  192.0.2.3
short    1 A   192.0.2.4
zero     0 A   192.0.2.5
srv      SRV   1 2 53 www
*.wild   A     192.0.2.99
*.wild   TXT   "any"
a.b.c.empty A  192.0.2.7
END
    strings big600 2
    strings big2000 7
    strings big5000 18
    local i
    for ((i = 0; i < 60; i++)); do printf 'sixty A 198.51.100.%d\n' "$i"; done
}

zone example.test < <(
    common_records
    strings big64k 244
    cat <<END
sub      NS    ns.sub
sub      NS    ns.elsewhere.test.
ns.sub   A     192.0.2.8
$longest TXT   "255 octets"
$long    A     192.0.2.9
$long    PTR   $longest
\000\001\255bin A 192.0.2.20
a\.dot   A     192.0.2.21
sp\032ace A    192.0.2.22
MiXeD    A     192.0.2.23
_s._tcp  SRV   0 0 443 MiXeD
bincname CNAME \000\001\255bin
odd      TYPE65280 \# 4 00ff10c0
odd      TYPE65281 \# 0
odd      TYPE65282 \# 6 c00c03616263
naptr    NAPTR 100 10 "u" "sip+E2U" "!^.*\$!sip:info@example.test!i" .
svc      SVCB  1 www alpn=h2,h3 port=8443 ipv4hint=192.0.2.1
svc      HTTPS 0 www
rp       RP    mail www
afsdb    AFSDB 1 www
hinfo    HINFO "CPU" "OS"
minfo    MINFO mail www
loc      LOC   52 14 05.000 N 00 08 50.000 E 10m
sshfp    SSHFP 2 1 123456789abcdef67890123456789abcdef67890
tlsa     TLSA  0 0 1 d2abde240d7cd3ee6b4b28c54df034b97983a1d16e8a410e4561cb106618e971
uri      URI   10 1 "ftp://ftp.example.test/public"
cert     CERT  1 0 0 aGVsbG8=
kx       KX    10 www
x25      X25   "311061700956"
isdn     ISDN  "150862028003217" "004"
rt       RT    2 www
px       PX    10 mail www
spf      SPF   "v=spf1 -all"
eui      EUI48 00-00-5e-00-53-2a
eui      EUI64 00-00-5e-ef-10-00-00-2a
nid      NID   10 0014:4fff:ff20:ee64
l32      L32   10 10.1.2.0
lp       LP    10 l32
apl      APL   1:192.168.32.0/21 !1:192.168.38.0/28
dhcid    DHCID AAIBY2/AuCccgoJbsaxcQc9TUapptP69lOjxfNuVAA2kjEA=
openpgp  OPENPGPKEY aGVsbG8=
csync    CSYNC 66 3 A NS AAAA
cds      CDS   60485 5 1 2bb183af5f22588179a53b0a98631fad1a292118
zonemd   ZONEMD 1 1 1 c68090d90a7aed716bc459f9340e3d7c1370d4d24b7e2fc3a1ddc0b9a87153b9a9713b3c9ae5cc27777f98b8e730044c
END
)
zone 2.0.192.in-addr.arpa <<'END'
1 PTR www.example.test.
2 PTR mail.example.test.
2 PTR also.example.test.
END
# Signed, once with NSEC and once with NSEC3.
for signed in nsec nsec3; do
    zone $signed.test < <(common_records)
    mkdir -p "$room/keys"
    key=$(cd "$room/keys" && ldns-keygen -r /dev/urandom -a ECDSAP256SHA256 -k $signed.test 2>"$room/keygen.err") ||
        bail "ldns-keygen: $(<"$room/keygen.err")"
    [[ $signed == nsec ]] && flags=() || flags=(-n -s abcd -t 1)
    ldns-signzone "${flags[@]}" -f "$room/zones/.signed" "$room/zones/$signed.test" "$room/keys/$key" \
        >"$room/signzone.log" 2>&1 || bail "ldns-signzone: $(<"$room/signzone.log")"
    mv "$room/zones/.signed" "$room/zones/$signed.test"
done
start_nsd nsd 127.0.0.1@5300

# ---------------------------------------------------------------- byte for byte

{
    for one in @:MX @:TXT @:CAA @:SOA @:NS @:A www:A www:AAAA www:TXT WwW:A many:A alias:A alias2:A alias3:AAAA \
        alias:CNAME dangling:A outside:A loop:A a.tree:A leaf.tree:A tree:DNAME short:A zero:A srv:SRV x.wild:A \
        x.y.wild:TXT x.wild:MX b.c.empty:A empty:A nothing:A NoThing:TXT big600:TXT big2000:TXT big5000:TXT sixty:A; do
        for origin in example nsec nsec3; do
            owner=${one%:*}.
            [[ $owner != @. ]] || owner=
            echo "$owner$origin.test. ${one#*:}"
        done
    done
    for one in big64k:TXT sub:NS sub:A www.sub:A "$long:A" "$long:PTR" '\000\001\255bin:A' '\000\001\255bin:TXT' \
        'a\.dot:A' 'sp\032ace:A' mixed:A MIXED:A _S._tcp:SRV bincname:A odd:TYPE65280 odd:TYPE65281 odd:TYPE65282 \
        odd:TYPE65283 naptr:NAPTR svc:SVCB svc:HTTPS rp:RP afsdb:AFSDB hinfo:HINFO minfo:MINFO loc:LOC sshfp:SSHFP \
        tlsa:TLSA uri:URI cert:TYPE37 kx:TYPE36 x25:TYPE19 isdn:TYPE20 rt:TYPE21 px:TYPE26 spf:SPF eui:TYPE108 \
        eui:TYPE109 nid:TYPE104 l32:TYPE105 lp:TYPE107 apl:TYPE42 dhcid:TYPE49 openpgp:TYPE61 csync:TYPE62 \
        cds:TYPE59 zonemd:TYPE63; do
        echo "${one%:*}.example.test. ${one#*:}"
    done
    echo "$longest TXT"
    echo "$longest A"
    for number in 1 2 3; do echo "$number.2.0.192.in-addr.arpa. PTR"; done
    for one in nsec:DNSKEY nsec3:DNSKEY nsec:NSEC nsec3:TYPE51 www.nsec:RRSIG www.nsec:NSEC; do
        echo "${one%:*}.test. ${one#*:}"
    done
    echo 'www.example.test. A CH'
    for one in version.bind version.server id.server; do echo "$one. TXT CH"; done
    echo 'not.here. A' # nsd's REFUSED
    echo '. NS'
} >"$room/questions"
count=$(($(wc -l <"$room/questions") * $(wire compare --variants)))

# Side by side: one without a cache, and one that is asked everything twice.
serve_dns --upstream 127.0.0.1:5300 --no-cache
dns_name=cached serve_dns --upstream 127.0.0.1:5300 --listen 127.0.0.1:54
start_unbound 127.0.0.1@5302 127.0.0.1@5300 'minimal-responses: no' 'unblock-lan-zones: yes' 'rrset-roundrobin: no'
compare() { wire compare 127.0.0.1 "$1" 127.0.0.1:5300 "$room/questions" "${@:2}"; } # PORT [--cached]
compare 53 >"$room/fresh" 2>&1 &
fresh=$!
compare 54 --cached >"$room/cached" 2>&1 &
cached=$!
wait $fresh $cached
# matches DESCRIPTION FILE REGEX: no line of a difference, and a summary like REGEX.
matches() {
    [[ $(wc -l <"$2") == 1 ]] && grep -qE "^$3\$" "$2"
    report $((!$?)) "$1" || { note wanted "$3"; note got "$(tail -n 1 "$2")"; note differences "$(wc -l <"$2")"
        note 'the first' "$(head -n 8 "$2" | cut -c -300)"; }
}
matches 'fresh: byte for byte what nsd answers, but for the ID' "$room/fresh" \
    "$count compared, [1-9][0-9]{1,2} cut, 0 with AA cleared"
matches 'from the cache: the same but for AA and aged TTLs' "$room/cached" \
    "$count compared, [1-9][0-9]{1,2} cut, [1-9][0-9]{3} with AA cleared"

# ---------------------------------------------------------------- a second opinion

for owner in @ www many mail alias alias2 alias3 dangling forest tree x.tree leaf.tree short zero srv x.wild y.x.wild \
    empty b.empty nothing a.nothing big600 big2000 sixty odd; do
    for kind in A AAAA CNAME MX TXT SRV PTR CAA NS SOA TYPE65280 DNAME NAPTR HTTPS DS TLSA SSHFP URI HINFO RP; do
        echo "$owner.example.test. $kind"
    done
done | sed 's/^@\.//' >"$room/opinions"
try wire opinion 127.0.0.1:54 127.0.0.1:5302 "$room/opinions"
is 'unbound has the same answers to 500 questions' "$rc:$out" '0:500 asked, 2 different RCODEs, many records'
done_testing
