#!/bin/bash
# test-dns-messages.sh: the section "Messages" of dns-rules.md, each test named after its
# line: what is dropped, what is refused and how, and what passes by the byte.
# shellcheck disable=SC2154 # lib-dns.sh sets dns_pid
. "$(dirname "$0")/lib.sh"
. "$scripts/lib-dns.sh"
wire() { /usr/bin/python3 "$scripts/dnswire.py" "$@"; }
query() { wire ask 127.0.0.1 53 "$@"; }

# The upstream answers any question with one record (A: 192.0.2.99), and by recipe.
wire serve 127.0.0.1 5300 --log "$room/upstream" >"$room/ready" 2>"$room/upstream.err" &
eventually 100 grep -q ready "$room/ready" || bail "dnswire.py serve: $(<"$room/upstream.err")"
serve_dns --upstream 127.0.0.1:5300
hex() { printf %s "$1" | od -An -v -tx1 | tr -d ' \n'; }
# asked LABEL: how often upstream was asked for a name that has this label.
asked() { grep -c "$(hex "$1")" "$room/upstream"; }
last_asked() { grep "$(hex "$1")" "$room/upstream" | tail -n 1 | cut -d ' ' -f 3; }
canary() { gives "$1" 'NOERROR' query canary.test. A -f '{rcode}'; }

# ---------------------------------------------------------------- dropped in silence

# A question for www.test., and the same as a reply of several kinds.
question=0377777704746573740000010001
short=('')
for ((i = 1; i < 12; i++)); do short+=("$(head -c $((2 * i)) <<<123401000001000000000000)"); done
replies=(123480000001000000000000"$question" 123485000001000000000000"$question" 123481800001000000000000"$question"
    123481810001000000000000"$question" 1234818f0001000000000000"$question" 1234a8000001000000000000"$question"
    1234f8000001000000000000"$question" 123480000000000000000000 1234ffffffffffffffffffff
    12348000000200000000"$question")
gives 'shorter than 12 bytes: dropped in silence' '' wire silent 127.0.0.1 53 "${short[@]}"
gives 'QR=1: dropped in silence' '' wire silent 127.0.0.1 53 "${replies[@]}"
gives '  also over TCP' '' wire silent --tcp 127.0.0.1 53 "${replies[@]}"
is '  and upstream does not hear of it' "$(asked www)" 0
canary '  and it serves on'

# ---------------------------------------------------------------- OPCODE, QDCOUNT

got=
wanted=
for opcode in {1..15}; do
    got+=$(query --id 4a0b --opcode "$opcode" -f '{rcode} {opcode} {id}')$'\n'
    wanted+="NOTIMP $opcode 4a0b"$'\n'
done
is 'OPCODE other than QUERY: NOTIMP, opcode and ID echoed' "$got" "$wanted"
gives '  also of nothing but a header (STATUS)' 'NOTIMP 2 4a0b' \
    query --hex 4a0b10000000000000000000 -f '{rcode} {opcode} {id}'
gives '  also over TCP' 'NOTIMP 4' query --tcp --opcode 4 -f '{rcode} {opcode}'
like '  as dig +opcode=UPDATE sees it' "$(ask +opcode=update canary.test.)" 'opcode: UPDATE, status: NOTIMP'
like '  as kdig +opcode=NOTIFY sees it' "$(kdig @127.0.0.1 -t NOTIFY canary.test.)" 'opcode: NOTIFY; status: NOTIMP'
gives 'QDCOUNT 0: FORMERR' FORMERR query --hex 4a0b01000000000000000000 -f '{rcode}'
gives '  also with an OPT' FORMERR query --qd 0 --question '' --edns 1232 -f '{rcode}'
gives 'QDCOUNT 2: FORMERR' FORMERR query --qd 2 --question "$question$question" -f '{rcode}'
gives '  also when the second is not there' FORMERR query --qd 2 -f '{rcode}'
gives 'QDCOUNT 65535: FORMERR' FORMERR query --qd 65535 -f '{rcode}'
gives '  also over TCP' FORMERR query --tcp --qd 2 --question "$question$question" -f '{rcode}'

# ---------------------------------------------------------------- bits of the header

number=0
for bits in none rd ad cd z aa tc ra rd,ad,cd,z,aa,tc,ra rd,z ad,cd; do
    number=$((number + 1))
    got=$(query "bits-of-$number.test." --set $bits -f '{rcode} an={an} {flags}')
    like "header bits $bits: answered" "$got" '^NOERROR an=1 qr'
    unlike '  without Z' "$got" ' z'
    if [[ $bits == *rd* ]]; then like '  RD=1 echoed' "$got" ' rd'; else unlike '  RD=0 echoed' "$got" ' rd'; fi
done
like 'an RCODE in the query: answered' "$(query rcode.test. --rcode 15)" '^NOERROR'
for own in localhost. version.bind.invalid. canary.test.; do
    unlike "Z is never set in a reply that we make ($own)" "$(query $own --set rd,z --edns 1232 -f '{flags}')" z
done
unlike '  nor in a FORMERR' "$(query --set rd,z --qd 2 -f '{flags}')" z
unlike '  nor when upstream sets it' "$(query bits.test. -f '{flags}')" z
unlike '  nor when that comes from the cache' "$(query bits.test. -f '{flags}')" z
like '  as dig +zflag sees it' "$(ask +zflag canary.test.)" 'status: NOERROR'
like 'upstream is always asked with RD=1' "$(wire raw "$(last_asked bits-of-1)")" '^NOERROR rd '

# ---------------------------------------------------------------- labels and names

gives 'a label of 63' NOERROR query "$(printf 'l%.0s' {1..63}).test." -f '{rcode}'
got=$(query example.test. A --octets 255 -f '{rcode} {an} {question}')
like 'a name of 255 octets passes' "$got" '^NOERROR 1 n{63}\.n{63}\.n{63}\.n{48}\.example\.test\. A IN$'
for octets in 256 257 300 1000; do
    gives "a name of $octets octets: FORMERR" FORMERR query example.test. A --octets $octets -f '{rcode}'
done
for type in 40 41 7f 80 81 bf; do
    gives "the label type 0x$type: FORMERR" FORMERR query --question "${type}77777704746573740000010001" -f '{rcode}'
    gives '  in the second label, too' FORMERR query --question "03777777${type}746573740000010001" -f '{rcode}'
done
for cut in 0377 03777777 0377777704746573740000 037777770474657374000001 03777777047465737400000100; do
    gives "a question that ends too soon ($cut): FORMERR" FORMERR query --question "$cut" -f '{rcode}'
done

# ---------------------------------------------------------------- pointers

pointer() { gives "a pointer $1: FORMERR" FORMERR query --question "$2""00010001" --append "${3-}" -f '{rcode}'; }
pointer 'to itself' c00c
pointer 'forward' c012 0474657374000000
pointer 'forward to the end' c011
pointer 'out of the packet' ffff
pointer 'out of the packet by one' c012
pointer 'to the start of its own name' 0161c00c
pointer 'to its own second half' c00d
pointer 'to the middle of its own name' 0361626303646566c010
for octet in 00 02 04 06 0b; do pointer "into the header (octet 0x$octet)" c0$octet; done
for kind in loop forward outside reserved; do
    gives "a reply with a wrong owner ($kind) is ignored, the truth after it counts" "$kind.test. 300 IN A c0000263" \
        query $kind.test. -f '{records}'
done

# ---------------------------------------------------------------- octets and case

any=$(/usr/bin/python3 -c '
octets = bytes(range(256))
for start in range(0, 256, 52):
    label = octets[start:start + 52]
    print(f"{len(label):02x}{label.hex()}", end="")')
# 256 octets and their lengths are more than a name may have: two questions.
for half in "${any:0:212}" "${any:212:318}"; do
    gives 'any octet is legal in a label, and comes back as it went' "${half}0000010001" \
        query --question "${half}0000010001" -f '{qhex}'
done
gives '  as dig has it' '\000\001\255\..test. 300 IN A 192.0.2.99' \
    eval "ask +noall +answer '\\000\\001\\255\\..test.' | tr -s '\t' ' '"
gives 'a name' 'case.test.' query case.test. -f '{qname}'
gives '  in capitals has its own spelling' 'CASE.Test.' query CASE.Test. -f '{qname}'
is '  and upstream was asked once' "$(grep -ci "$(hex case)\|$(hex CASE)" "$room/upstream")" 1
for pair in '@x:`x' '[x:{x' '\195x:\227x' '^x:~x' ']x:}x'; do
    query "${pair%:*}.fold.test." >/dev/null
    query "${pair#*:}.fold.test." >/dev/null
done
is '  but only A-Z and a-z fold' "$(grep -c "$(hex fold)" "$room/upstream")" 10

# ---------------------------------------------------------------- unknown types and classes

passes() { # DESCRIPTION NAME TYPE CLASS: the reply is upstream's but for the ID
    local sent got wanted
    { read -r sent; read -r got; } < <(query "${@:2}" --edns 1232 --sent -f '{hex}')
    wanted=$(wire cook "$sent")
    # AA may have been cleared, RA set; on a slow machine the TTL of 300 seconds may have aged.
    is "$1" "$(sed -E 's/000001(1.|2[0-9a-c])/0000012c/g' <<<"${got:8}")" "${wanted:8}"
    is '  without EDNS, too' "$(query "${@:2}" -f '{records}' | sed -E 's/ 2[89][0-9] IN / 300 IN /')" \
        "$(wire raw "$wanted" | tail -n +2)"
}
passes 'an unknown type passes byte for byte' type.test. TYPE65280 IN
passes 'TYPE65535' type.test. TYPE65535 IN
passes 'an unknown class' class.test. A CLASS65280
passes 'class CH' class.test. TXT CH
passes 'both unknown' class.test. TYPE4711 CLASS4711
passes 'RDATA with pointers in it is never moved' pointers.test. TYPE65280 IN
passes '  nor when it comes from the cache' pointers.test. TYPE65280 IN
sent=$(query POINTERS.Test. TYPE65280 --edns 1232 --sent -f '{rest}')
is '  nor for another spelling' "${sent#*$'\n'}" "$(query pointers.test. TYPE65280 --edns 1232 -f '{rest}')"
# A reply without OPT for an asker without one: upstream's stood before records that are pointed at.
records='early-opt.test. A c0000201
late.early-opt.test. A c0000202
later.late.early-opt.test. A c0000203
early-opt.test. MX 0001 late.early-opt.test.'
names() { sed 's/ [0-9]* IN / /'; } # without TTL and class
for edns in '' '--edns 1232'; do
    for times in fresh cached; do
        # shellcheck disable=SC2086 # words, or none
        got=$(query early-opt.test. $edns -f '{records}' | names)
        [[ $got == "$records" || $got == "${records%%$'\n'*}" ]]
        report $((!$?)) "  nor spoilt where upstream's OPT is not the last record (${edns:-no EDNS}, $times)" ||
            note got "$got"
    done
done
like '  as dig has it' "$(ask +noall +answer type.test. TYPE65280)" 'TYPE65280\s+\\# 4 C0000263'
like '  as kdig has it' "$(kdig @127.0.0.1 +noall +answer class.test. TXT CH)" 'CH\s+TXT\s+"any"'

# ---------------------------------------------------------------- EDNS

gives 'EDNS: two OPTs: FORMERR' FORMERR query two.test. --edns 1232 --opts 2 -f '{rcode}'
gives '  three' FORMERR query two.test. --edns 1232 --opts 3 -f '{rcode}'
gives 'an OPT not at the root: FORMERR' FORMERR query two.test. --edns 1232 --opt-owner www. -f '{rcode}'
gives 'VERSION 1: BADVERS, and the OPT says version 0' 'BADVERS 1232/0' query --edns 1232 --version 1 -f '{rcode} {opt}'
gives 'VERSION 255: BADVERS' 'BADVERS 1232/0' query --edns 1232 --version 255 -f '{rcode} {opt}'
gives '  over TCP' 'BADVERS 1232/0' query --tcp --edns 1232 --version 1 -f '{rcode} {opt}'
like '  as dig has it' "$(ask +edns=1 +noednsneg canary.test.)" 'status: BADVERS'
is '  and upstream does not hear of two.test.' "$(asked two)" 0
own=(localhost. a.invalid. 'canary.test. ANY' 'canary.test. AXFR'
    'canary.test. --opcode 2' 'canary.test. --qd 2' canary.test. new.test.)
got='' with=''
for words in "${own[@]}"; do
    # shellcheck disable=SC2086 # words
    {
        got+="$(query $words -f '{opt}') "
        # NOTIMP and a wrong QDCOUNT leave all behind the header unread.
        [[ $words == *--* ]] || with+="$(query $words --edns 4096 --do -f '{opt}') "
    }
done
is 'no OPT in the query, none in the reply' "$got" 'none none none none none none none none '
is '  and one in the query, one in the reply, DO copied' "$with" "$(printf '1232/0/do %.0s' {1..6})"
gives 'other bits of the OPT are not copied' '1232/0' query --edns 1232 --bits 5555 -f '{opt}'
for size in 0 100 511; do
    got=$(query "$(printf 'l%.0s' {1..60}).test." TYPE65280 --edns $size -f '{flags} an={an} {size}')
    like "a size of $size counts as 512" "$got" '^qr [a-z ]*an=1 1[0-9][0-9]$'
    unlike '  TC is not set' "$got" tc
done
options=(--option 10:0123456789abcdef --option 3: --option 12:0000 --option 65001:aa)
query upstream.test. --edns 4096 --do "${options[@]}" >/dev/null
like 'upstream sees our own OPT: 1232, DO copied, no options' \
    "$(wire raw "$(last_asked upstream)")" ' opt=1232/0/do trailing=0$'
query plain.test. >/dev/null
like '  also when the asker sent none' "$(wire raw "$(last_asked plain)")" '^NOERROR rd .* opt=1232/0 trailing=0$'
query nodo.test. --edns 512 --set rd,cd >/dev/null
like '  and without DO when he did not set it, CD copied' \
    "$(wire raw "$(last_asked nodo)")" '^NOERROR rd cd .* opt=1232/0 trailing=0$'
gives 'options of the asker are not returned' '1232/0' query --edns 4096 "${options[@]}" -f '{opt}'
gives 'and never another'"'"'s cookie: the options of upstream stay there' '1232/0' \
    query ecs0.test. --edns 4096 -f '{opt}'
gives '  nor does its OPT reach one who sent none' none query ecs0.test. -f '{opt}'
gives 'an extended RCODE of upstream is not NOERROR for one without OPT' SERVFAIL query extended0.test. -f '{rcode}'
gives '  nor for one with it' SERVFAIL query extended1.test. --edns 1232 -f '{rcode}'
gives 'an option longer than its OPT is no reason for silence' yes \
    eval "query --edns 1232 --option 10:00 --append ff | grep -q silence || echo yes"

ecs=(--edns 4096 --option 8:00011800c00002)
query ecs-asked.test. "${ecs[@]}" --times 2 >/dev/null
query ecs-asked.test. --times 1 >/dev/null
ok 'ECS of an asker: neither cached' test "$(asked ecs-asked)" -ge 2
unlike '  nor sent' "$(wire raw "$(last_asked ecs-asked)")" 'opt=1232/0/'
query slow1.test. "${ecs[@]}" >/dev/null & one=$!
query slow1.test. "${ecs[@]}" >/dev/null & two=$!
wait $one $two
ok '  nor shared: two at once are two queries' test "$(asked slow1)" -ge 2
query slow2.test. >/dev/null & one=$!
query slow2.test. >/dev/null & two=$!
wait $one $two
is '  (and without ECS one)' "$(asked slow2)" 1
query ecs1.test. --edns 1232 --times 2 >/dev/null
is '  and an answer that upstream made for one subnet is not cached' "$(asked ecs1)" 2

# ---------------------------------------------------------------- TSIG, transfers

sent=$(query signed.test. --tsig --id 7a7b --sent -f '{rcode} {records}')
is 'TSIG: forwarded whole, ID kept' "$(last_asked signed)" "${sent%%$'\n'*}"
is '  and answered' "${sent#*$'\n'}" 'NOERROR signed.test. 300 IN A c0000263'
sent=$(query signed.test. --tsig --edns 1400 --do --option 10:0123456789abcdef --sent -f '{rcode}')
is '  also with an OPT' "$(last_asked signed)" "${sent%%$'\n'*}"
is '  never cached' "$(asked signed)" 2
sent=$(query tcpsigned.test. --tcp --tsig --sent -f '{rcode}')
is '  also over TCP' "$(last_asked tcpsigned):${sent#*$'\n'}" "${sent%%$'\n'*}:NOERROR"
for kind in AXFR IXFR; do
    gives "$kind: REFUSED" REFUSED query transfer.test. $kind -f '{rcode}'
    gives '  over TCP' REFUSED query --tcp transfer.test. $kind -f '{rcode}'
done
like '  as dig axfr sees it' "$(ask axfr transfer.test.)" 'Transfer failed'
is '  and upstream does not hear of it' "$(asked transfer)" 0
canary 'after all that it serves on'
is '  and said nothing on standard error' "$(<"$room/dns.err")" ''
stop_dns
is '  and ends in order' "$dns_rc" 0
done_testing
