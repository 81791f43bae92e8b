"""upstream.py: a DNS server for the tests that does what a good server never does, and
logs each query as it came.

  upstream.py serve --listen ADDRESS:PORT... --log FILE [--control FILE] [--no-tcp]
  upstream.py say udp|tcp ADDRESS:PORT SECONDS HEX...
  upstream.py talk ADDRESS:PORT STEP...
  upstream.py hold ADDRESS:PORT CONNECTIONS HEX
  upstream.py check ADDRESS:PORT SECONDS QPS NAME-BELOW WANTED
  upstream.py truth NAME...

serve: UDP and TCP on each address. What a question gets is said by the labels of its name
(`slow-200.servfail.first-1.u17.test.`; labels that are no such word mean nothing and make
names unique), or by the same words in the control file, which is read anew whenever it
changes, for every question. Without any word: A, AAAA and TXT made of the name's checksum,
other types NODATA.

  when       first-N, after-N    the words to the left count for the first N askings of this
                                 name and type only, or only after them
             udp, tcp            the words to the left count for that transport only
             edns                the words to the left count for queries with an OPT only
  not        silent              no answer
             slow-MS             that much later
             twice               the answer is sent twice
  RCODE      servfail refused formerr notimp badvers rcode-N
  negative   nxdomain nodata     with an SOA of TTL 300, MINIMUM 300
             soa-TTL-MINIMUM     with this one
             nosoa               without
  data       ttl-N               all TTLs (300)
             ttls-A-B-C          one each for answer, authority and additional section
             steps-A-B...        one each for the records of the answer section
             answers-N           so many records
             big-BYTES           records of the asked type up to exactly that length (+ OPT);
                                 over UDP cut (TC) where the query's size is smaller
             anyway              but not cut
             cname-N             a chain of N CNAMEs first, also before a negative answer
             count               the last byte of an A says how often it was asked
             raw-HEX             RDATA, of whatever type was asked
             pointer             RDATA that looks like a compression pointer to the QNAME
             extra               records for www.victim.test in all sections, 6.6.6.6
  flags      zbit noaa aa ad cd nora noqr
  EDNS       noopt ecs cookie opts optmiddle twoopts optname size-N
  TC         tc                  over UDP: TC and no records; tcpartial: TC and one record;
             tctcp               TC over TCP as well
  lies       wrongid wrongname wrongtype wrongclass wrongport wrongaddress wrongsocket
             noquestion twoquestions garbage short notreply wrongopcode loop forward outside
             cut-N flip-N        sent at once, all of them with 6.6.6.6 where they have an
                                 answer; the truth follows in 300 ms
             truth-MS            or then
             notruth             or never
             lower               no lie, but with the name in lower case
  64 KiB     chain               the truth in front of pointer chains
  TCP        tcpbytes            byte by byte
             tcphalf             half the message, then a close; tcphalfrst: a reset
             tcpclose tcprst     instead of the message
             tcplen0 tcplen5     a message of that length first
             tcpwrong            an answer with another ID first

The log has one line a query: TIME ADDRESS:PORT udp|tcp SOURCE-PORT ID FLAGS EDNS NAME TYPE
CLASS HEX. FLAGS: `rd+ad`, or `-`. EDNS: `-`, or `1232`, with `+do`, `+z` and `+option-N`.

say: sends messages (with their length in front over TCP) and prints each reply in hex, until
there are as many or SECONDS have passed; `closed`, `reset`.

talk: one TCP connection, step by step:
  raw=HEX  message=HEX[*N]     sends it as it is, or with its length in front (N times)
  bytes=HEX                    with its length, in one segment a byte
  pause=MS  shut  reset        waits; ends our direction; resets the connection
  reply=N                      prints N replies in hex (or `closed`, `reset`, or `silence`
                               when 6 s brought none)
  end=SECONDS                  prints `closed`, `reset`, or `open` when that time is over

hold: opens that many connections, sends HEX as it is on each, prints `holding`, and keeps
them until it is killed.

check: asks for QPS new names a second, A records, until SECONDS are over or SIGTERM comes, and
waits for the answers. Prints a line for each: SENT TOOK NAME
and `right` (WANTED, or what this server says where that is `truth`), SERVFAIL..., `wrong`,
or `lost` (no answer in 6 s). truth: the address that serve answers for a name.
"""
import heapq
import os
import random
import selectors
import signal
import socket
import struct
import sys
import time
import zlib

TYPES = {1: 'A', 2: 'NS', 5: 'CNAME', 6: 'SOA', 10: 'NULL', 12: 'PTR', 15: 'MX', 16: 'TXT', 28: 'AAAA', 33: 'SRV',
         41: 'OPT', 43: 'DS', 46: 'RRSIG', 48: 'DNSKEY', 64: 'SVCB', 65: 'HTTPS', 250: 'TSIG', 251: 'IXFR',
         252: 'AXFR', 255: 'ANY'}
CLASSES = {1: 'IN', 3: 'CH', 4: 'HS', 255: 'ANY'}
RCODES = {'formerr': 1, 'servfail': 2, 'nxdomain': 3, 'notimp': 4, 'refused': 5}
OPT, TSIG = 41, 250
QR, AA, TC, RD, RA, Z, AD, CD = 0x8000, 0x400, 0x200, 0x100, 0x80, 0x40, 0x20, 0x10
LIE = bytes([6, 6, 6, 6])
TO_QUESTION = b'\xc0\x0c'


def read_name(message, at):
    """Labels, and where the name ends; our queries are not compressed."""
    labels = []
    while message[at]:
        length = message[at]
        if length > 63 or at + 1 + length > len(message):
            raise ValueError('a name that we do not read')
        labels.append(message[at + 1:at + 1 + length])
        at += 1 + length
    return labels, at + 1


def wire(name):
    """The wire form of `a.b.` or of a list of labels."""
    labels = [label.encode() for label in name.split('.') if label] if isinstance(name, str) else name
    return b''.join(bytes([len(label)]) + label for label in labels) + b'\0'


def text(labels):
    """A name for the log: no blanks, and dots in labels escaped."""
    plain = (''.join(chr(c) if 33 <= c < 127 and c not in b'.\\' else '\\%03d' % c for c in label) for label in labels)
    return '.'.join(plain) + '.'


class Query:
    """What the log and the answers need of a query. Raises when it is not one."""

    def __init__(self, message, transport):
        self.message, self.transport = message, transport
        self.id, self.flags, qdcount, ancount, nscount, arcount = struct.unpack_from('!6H', message)
        if qdcount != 1 or self.flags & QR:
            raise ValueError('not a query')
        self.labels, at = read_name(message, 12)
        self.type, self.class_ = struct.unpack_from('!HH', message, at)
        self.question = message[12:at + 4]
        at += 4
        self.edns, self.size, self.do, self.tsig = '-', 512, False, b''
        for _ in range(ancount + nscount + arcount):
            start = at
            _, at = read_name(message, at)
            type_, class_, ttl, length = struct.unpack_from('!HHIH', message, at)
            at += 10 + length
            if type_ == OPT:
                self.size, self.do = max(class_, 512), bool(ttl & 0x8000)
                self.edns = f'{class_}' + '+do' * self.do + '+z' * bool(ttl & 0x7fff) + '+v' * bool(ttl & 0xff0000)
                option = at - length
                while option < at:
                    code, size = struct.unpack_from('!HH', message, option)
                    self.edns += f'+option-{code}'
                    option += 4 + size
            elif type_ == TSIG:
                self.tsig = message[start:at]
        if at != len(message):
            self.edns += '+trailing'

    def line(self):
        flags = ((AA, 'aa'), (TC, 'tc'), (RD, 'rd'), (RA, 'ra'), (Z, 'z'), (AD, 'ad'), (CD, 'cd'))
        names = [name for bit, name in flags if self.flags & bit]
        return ' '.join((f'{self.id:04x}', '+'.join(names) or '-', self.edns, text(self.labels),
                         TYPES.get(self.type, f'TYPE{self.type}'), CLASSES.get(self.class_, f'CLASS{self.class_}'),
                         self.message.hex()))


class Answer:
    """A reply in the making, and how it is to be sent."""

    def __init__(self, query, words, asked):
        self.query, self.words, self.asked = query, words, asked
        self.answer, self.authority, self.additional = [], [], []
        self.rcode = 0
        self.fill()

    def number(self, word, default=None):
        values = self.numbers(word)
        return values[0] if values else default

    def numbers(self, word):
        return [int(part) for part in self.words[word].split('-')] if self.words.get(word) else []

    def record(self, section, owner, type_, rdata, ttl=None, class_=None):
        if ttl is None:
            index = (self.answer, self.authority, self.additional).index(section)
            ttls, steps = self.numbers('ttls'), self.numbers('steps')
            ttl = self.number('ttl', 300)
            if ttls:
                ttl = ttls[index]
            if steps and section is self.answer:
                ttl = steps[min(len(section), len(steps) - 1)]
        class_ = class_ or self.query.class_
        section.append(owner + struct.pack('!HHIH', type_, class_, ttl, len(rdata)) + rdata)

    def data(self, type_, nth):
        """RDATA of a type for the asked name, or None where the type has none."""
        checksum = zlib.crc32(text(self.query.labels).lower().encode()) + nth
        if 'raw' in self.words:
            return bytes.fromhex(self.words['raw'])
        if 'pointer' in self.words:
            return b'\0\1' + TO_QUESTION + b'\xc0\x10\xff'
        if type_ == 1:
            last = self.asked if 'count' in self.words else checksum & 255
            return bytes([10, checksum >> 16 & 255, checksum >> 8 & 255, last & 255])
        if type_ == 28:
            return bytes.fromhex('20010db8') + struct.pack('!QI', 0, checksum & 0xffffffff)
        if type_ == 16:
            string = text(self.query.labels).lower().encode()[-250:] + b'#%d' % nth
            return bytes([len(string)]) + string
        return None

    def soa(self):
        if 'nosoa' in self.words:
            return
        ttl, minimum = self.numbers('soa') or (300, 300)
        zone = wire(self.query.labels[-1:])
        rdata = wire('ns.test.') + wire('hostmaster.test.') + struct.pack('!5I', 1, 7200, 3600, 604800, minimum)
        self.record(self.authority, zone, 6, rdata, ttl)

    def fill(self):
        words, query = self.words, self.query
        for word, code in RCODES.items():
            if word in words:
                self.rcode = code
        self.rcode = 16 if 'badvers' in words else self.number('rcode', self.rcode)
        if self.rcode not in (0, 3):
            return
        owner = TO_QUESTION
        for nth in range(self.number('cname', 0)):
            target = wire([b'c%d' % nth] + query.labels[-1:])
            self.record(self.answer, owner, 5, target)
            owner = target
        if self.rcode or 'nodata' in words or self.data(query.type, 0) is None:
            self.soa()
            return
        for nth in range(self.number('answers', 1)):
            self.record(self.answer, owner, query.type, self.data(query.type, nth))
        if 'ttls' in words:
            self.record(self.authority, wire('test.'), 2, wire('ns.test.'))
            self.record(self.additional, wire('ns.test.'), 1, bytes([127, 0, 0, 1]))
        if 'extra' in words:
            for section in (self.answer, self.authority, self.additional):
                self.record(section, wire('www.victim.test.'), 1, LIE)
            self.record(self.authority, wire('victim.test.'), 2, wire('ns.victim.test.'))
        if 'big' in words:
            self.answer = []
            rest = self.number('big') - 12 - len(query.question)
            while rest > 0:
                length = min(rest - 12, 1000 if rest >= 1100 or rest < 1012 else 500)
                body = b''
                while len(body) < length:
                    string = min(length - len(body) - 1, 255)
                    # A string of one byte less, so that no single byte is left over.
                    string -= length - len(body) - 1 - string == 1
                    body += bytes([string]) + b'x' * string
                self.record(self.answer, TO_QUESTION, query.type, body)
                rest -= 12 + length

    def opt(self):
        words, query = self.words, self.query
        if query.edns == '-' or 'noopt' in words:
            return []
        options = b''
        if 'ecs' in words:
            options += bytes.fromhex('0008000700011818c00002')
        if 'cookie' in words or 'opts' in words:
            options += bytes.fromhex('000a0010') + b'secret-cookie-1!'
        if 'opts' in words:
            options += bytes.fromhex('00030003') + b'nsd' + bytes.fromhex('000f0002000f000b0002012c')
        owner = wire('opt.test.') if 'optname' in words else b'\0'
        ttl = (self.rcode >> 4) << 24 | 0x8000 * query.do
        opt = owner + struct.pack('!HHIH', OPT, self.number('size', 1232), ttl, len(options)) + options
        return [opt] * (2 if 'twoopts' in words else 1)

    def encode(self, id_=None, question=None, flags=0, clear=0, records=True, lie=False, qdcount=1):
        words, query = self.words, self.query
        bits = QR | AA | RA | query.flags & RD | query.flags & CD | flags
        for word, bit in (('zbit', Z), ('aa', AA), ('ad', AD), ('cd', CD)):
            bits |= bit if word in words else 0
        for word, bit in (('noaa', AA), ('nora', RA), ('noqr', QR)):
            bits &= ~bit if word in words else ~0
        bits = bits & ~clear | self.rcode & 15
        answer, authority, additional = (self.answer, self.authority, self.additional) if records else ([], [], [])
        if lie:
            answer = [TO_QUESTION + struct.pack('!HHIH', query.type, query.class_, 86400, 4) + LIE]
            bits &= ~15
        opt = self.opt()
        if 'optmiddle' in words:
            glue = [wire(f'{name}.test.') + struct.pack('!HHIH', 1, 1, 300, 4) + LIE[:3] + bytes([last])
                    for name, last in (('before', 1), ('after', 2))]
            additional = additional + glue[:1] + opt + glue[1:]
        else:
            additional = additional + opt
        if query.tsig:
            additional = additional + [query.tsig]
        head = struct.pack('!6H', query.id if id_ is None else id_, bits, qdcount, len(answer), len(authority),
                           len(additional))
        question = query.question if question is None else question
        return head + question + b''.join(answer + authority + additional)

    def chain(self):
        """64 KiB of legal pointers, each to the one before, and 4000 names at the end of them."""
        query = self.query
        head = self.encode(records=False)
        # The links are the RDATA of a NULL record.
        body = query.question + b''.join(self.answer) + TO_QUESTION + struct.pack('!HHI', 10, 1, 300)
        links = TO_QUESTION
        at = 12 + len(body) + 2
        while at + 2 < 0x3ffe:
            links += struct.pack('!H', 0xc000 | at)
            at += 2
        body += struct.pack('!H', len(links)) + links
        count = len(self.answer) + 1
        leaf = struct.pack('!HHHIH', 0xc000 | at, 1, 1, 300, 4) + LIE
        room = 65000 if query.transport == 'udp' else 65500
        extra = (room - 12 - len(body)) // len(leaf)
        body += leaf * extra
        return head[:4] + struct.pack('!4H', 1, count + extra, 0, 0) + body

    def truth(self):
        words, query = self.words, self.query
        if 'chain' in words:
            return self.chain()
        if query.transport == 'udp' and ('tc' in words or 'tcpartial' in words) or 'tctcp' in words:
            if 'tcpartial' in words:
                self.answer = self.answer[:1]
            return self.encode(flags=TC, records='tcpartial' in words)
        question = None
        if 'lower' in words:
            question = wire([label.lower() for label in query.labels]) + query.question[-4:]
        message = self.encode(question=question)
        if query.transport == 'udp' and len(message) > query.size and 'anyway' not in words:
            return self.encode(flags=TC, records=False)
        return message

    def lies(self):
        """(message, where it comes from) of each lie that was asked for."""
        words, query = self.words, self.query
        tail, name = query.question[-4:], query.question[:-4]
        type_, class_ = struct.unpack('!HH', tail)
        lie = self.encode(lie=True)
        made = {
            'wrongid': lambda: self.encode(lie=True, id_=query.id ^ random.randint(1, 0xffff)),
            'wrongname': lambda: self.encode(lie=True, question=wire('www.victim.test.') + tail),
            'wrongtype': lambda: self.encode(lie=True, question=name + struct.pack('!HH', type_ + 1, class_)),
            'wrongclass': lambda: self.encode(lie=True, question=name + struct.pack('!HH', type_, 3)),
            'wrongport': lambda: lie,
            'wrongaddress': lambda: lie,
            'wrongsocket': lambda: lie,
            'noquestion': lambda: self.encode(lie=True, question=b'', qdcount=0),
            'twoquestions': lambda: self.encode(lie=True, question=query.question * 2, qdcount=2),
            'notreply': lambda: self.encode(lie=True, clear=QR),
            'wrongopcode': lambda: self.encode(lie=True, flags=4 << 11),
            'garbage': lambda: random.randbytes(200),
            'short': lambda: lie[:11],
            'loop': lambda: self.pointing(lambda here: here),
            'forward': lambda: self.pointing(lambda here: here + 4),
            'outside': lambda: self.pointing(lambda here: 0x3fff),
            'cut': lambda: lie[:self.number('cut')],
            'flip': lambda: lie[:self.number('flip')] + bytes([lie[self.number('flip')] ^ 0xff])
            + lie[self.number('flip') + 1:],
        }
        places = {'wrongport': 'port', 'wrongaddress': 'address', 'wrongsocket': 'socket'}
        return [(make(), places.get(word)) for word, make in made.items() if word in words]

    def pointing(self, target):
        """An answer whose owner is a pointer to target(its own place)."""
        query = self.query
        here = 12 + len(query.question)
        head = self.encode(records=False)[:4] + struct.pack('!4H', 1, 1, 0, 0)
        return (head + query.question + struct.pack('!H', 0xc000 | target(here)) + struct.pack('!HHIH', 1, 1, 300, 4)
                + LIE)


class Server:
    def __init__(self, listen, log, control, tcp):
        self.selector = selectors.DefaultSelector()
        self.later, self.serial = [], 0  # a heap of (time, serial, function)
        self.log = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        self.control, self.control_seen, self.control_words = control, None, []
        self.asked = {}
        self.peers = []  # the last two, of different ports
        for place in listen:
            self.open(place, tcp)

    def open(self, place, tcp):
        address, family = parse(place)
        udp = socket.socket(family, socket.SOCK_DGRAM)
        udp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        udp.bind(address)
        udp.setblocking(False)
        # The same machine at other places, for answers that must not be believed.
        elsewhere = {None: udp, 'port': socket.socket(family, socket.SOCK_DGRAM)}
        elsewhere['port'].bind((address[0], 0))
        if family == socket.AF_INET:
            elsewhere['address'] = socket.socket(family, socket.SOCK_DGRAM)
            elsewhere['address'].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            elsewhere['address'].bind(('127.0.0.9', address[1]))
        self.selector.register(udp, selectors.EVENT_READ, lambda: self.on_udp(udp, place, elsewhere))
        if tcp:
            listener = socket.socket(family)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(512)
            listener.setblocking(False)
            self.selector.register(listener, selectors.EVENT_READ, lambda: self.on_connection(listener, place))

    def run(self):
        while True:
            wait = max(0, self.later[0][0] - time.monotonic()) if self.later else None
            for key, _ in self.selector.select(wait):
                key.data()
            while self.later and self.later[0][0] <= time.monotonic():
                heapq.heappop(self.later)[2]()

    def after(self, milliseconds, function):
        if milliseconds <= 0:
            function()
            return
        self.serial += 1
        heapq.heappush(self.later, (time.monotonic() + milliseconds / 1000, self.serial, function))

    def ordered(self):
        """The words of the control file, which a test may change at any time."""
        if not self.control:
            return []
        try:
            status = os.stat(self.control)
            seen = (status.st_mtime_ns, status.st_size, status.st_ino)
            if seen != self.control_seen:
                with open(self.control, encoding='ascii') as file:
                    self.control_words = file.read().split()
                self.control_seen = seen
        except FileNotFoundError:
            self.control_words, self.control_seen = [], None
        return self.control_words

    def words(self, query, asked):
        """{word: its arguments}; a condition drops what stands to its left when it does not hold."""
        words = {}
        labels = [label.decode('latin-1').lower() for label in query.labels]
        for label in labels + self.ordered():
            word, _, rest = label.partition('-')
            if word in ('first', 'after') and rest.isdigit():
                words = words if (asked <= int(rest)) == (word == 'first') else {}
            elif label in ('udp', 'tcp'):
                words = words if query.transport == label else {}
            elif label == 'edns':
                words = words if query.edns != '-' else {}
            else:
                words[word] = rest
        return words

    def received(self, message, place, transport, port):
        """Logs a query; an Answer for it, or None."""
        now = f'{time.time():.6f} {place} {transport} {port}'
        try:
            query = Query(message, transport)
        except (ValueError, IndexError, struct.error) as error:
            os.write(self.log, f'{now} ? ? ? ? ? ? {message.hex()} {error}\n'.encode())
            return None
        os.write(self.log, f'{now} {query.line()}\n'.encode())
        key = (text(query.labels).lower(), query.type)
        self.asked[key] = asked = self.asked.get(key, 0) + 1
        return Answer(query, self.words(query, asked), asked)

    def on_udp(self, udp, place, elsewhere):
        for _ in range(100):
            try:
                message, peer = udp.recvfrom(65535)
            except (BlockingIOError, ConnectionRefusedError):
                return
            answer = self.received(message, place, 'udp', peer[1])
            if answer is None or 'silent' in answer.words:
                continue
            if peer not in self.peers:
                self.peers = self.peers[-1:] + [peer]
            lies = answer.lies()
            for lie, where in lies:
                if where == 'socket':
                    for other in self.peers:
                        if other != peer:
                            send(udp, lie, other)
                else:
                    send(elsewhere[where], lie, peer)
            if 'notruth' in answer.words:
                continue
            truth = answer.truth()
            delay = answer.number('slow', 0) + (answer.number('truth', 300) if lies else 0)
            for _ in range(2 if 'twice' in answer.words else 1):
                self.after(delay, lambda truth=truth, peer=peer: send(udp, truth, peer))

    def on_connection(self, listener, place):
        try:
            connection, peer = listener.accept()
        except OSError:
            return
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        buffer = bytearray()
        self.selector.register(connection, selectors.EVENT_READ,
                               lambda: self.on_tcp(connection, place, peer, buffer))

    def close(self, connection, reset=False):
        if connection.fileno() < 0:
            return
        self.selector.unregister(connection)
        if reset:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
        connection.close()

    def on_tcp(self, connection, place, peer, buffer):
        try:
            data = connection.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b''
        if not data:
            self.close(connection)
            return
        buffer += data
        while len(buffer) >= 2:
            length = struct.unpack_from('!H', buffer)[0]
            if len(buffer) < 2 + length:
                return
            message = bytes(buffer[2:2 + length])
            del buffer[:2 + length]
            answer = self.received(message, place, 'tcp', peer[1])
            if answer is not None and 'silent' not in answer.words:
                self.after(answer.number('slow', 0), lambda answer=answer: self.answer_tcp(connection, answer))

    def answer_tcp(self, connection, answer):
        words = answer.words
        if connection.fileno() < 0:
            return
        message = answer.truth()
        framed = struct.pack('!H', len(message)) + message
        if 'tcplen0' in words:
            framed = b'\0\0' + framed
        if 'tcplen5' in words:
            framed = b'\0\5hello' + framed
        if 'tcpwrong' in words:
            lie = answer.encode(lie=True, id_=answer.query.id ^ 0x5555)
            framed = struct.pack('!H', len(lie)) + lie + framed
        if 'tcpclose' in words or 'tcprst' in words:
            self.close(connection, reset='tcprst' in words)
        elif 'tcphalf' in words or 'tcphalfrst' in words:
            push(connection, framed[:len(framed) // 2])
            self.after(20, lambda: self.close(connection, reset='tcphalfrst' in words))
        elif 'tcpbytes' in words:
            self.trickle(connection, framed)
        else:
            push(connection, framed * (2 if 'twice' in words else 1))

    def trickle(self, connection, rest):
        if rest and connection.fileno() >= 0 and push(connection, rest[:1]):
            self.after(2, lambda: self.trickle(connection, rest[1:]))


def push(connection, data):
    """All of it, for at most a second; the tests' answers fit into a socket's buffer."""
    try:
        connection.settimeout(1)
        connection.sendall(data)
        connection.setblocking(False)
        return True
    except OSError:
        return False


def send(udp, message, peer):
    try:
        udp.sendto(message, peer)
    except OSError:  # the asker is gone
        pass


def parse(place):
    host, _, port = place.rpartition(':')
    if host.startswith('['):
        return (host[1:-1], int(port), 0, 0), socket.AF_INET6
    return (host, int(port)), socket.AF_INET


def serve(arguments):
    listen, files, tcp = [], {'--log': None, '--control': None}, True
    while arguments:
        option = arguments.pop(0)
        if option == '--listen':
            listen.append(arguments.pop(0))
        elif option == '--no-tcp':
            tcp = False
        elif option in files:
            files[option] = arguments.pop(0)
        else:
            sys.exit(f'upstream.py: what is {option}?')
    server = Server(listen, files['--log'], files['--control'], tcp)
    print('ready', flush=True)
    server.run()


def say(transport, place, seconds, *messages):
    """Sends all at once, then reads."""
    if transport == 'tcp':
        talk(place, *(f'message={message}' for message in messages), f'reply={len(messages)}', patience=float(seconds))
        return
    address, family = parse(place)
    end = time.monotonic() + float(seconds)
    with socket.socket(family, socket.SOCK_DGRAM) as udp:
        udp.connect(address)
        try:
            for message in messages:
                udp.send(bytes.fromhex(message))
            for _ in messages:
                udp.settimeout(max(0.001, end - time.monotonic()))
                print(udp.recv(65535).hex(), flush=True)
        except TimeoutError:
            pass
        except ConnectionRefusedError:
            print('refused')


class Talk:
    """The client's end of a TCP connection, for what no good client does."""

    def __init__(self, place, patience):
        address, _ = parse(place)
        self.patience, self.buffer = patience, bytearray()
        self.connection = socket.create_connection(address[:2], timeout=5)
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def raw(self, value):
        self.connection.settimeout(5)
        self.connection.sendall(bytes.fromhex(value))

    def message(self, value):
        hex_, _, times = value.partition('*')
        self.raw(f'{len(hex_) // 2:04x}{hex_}' * int(times or 1))

    def bytes(self, value):
        for byte in struct.pack('!H', len(value) // 2) + bytes.fromhex(value):
            self.raw(f'{byte:02x}')
            time.sleep(0.005)

    def pause(self, value):
        time.sleep(int(value) / 1000)

    def shut(self, _):
        self.connection.shutdown(socket.SHUT_WR)

    def reset(self, _):
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
        self.connection.close()

    def reply(self, value):
        for _ in range(int(value)):
            end = time.monotonic() + self.patience
            while len(self.buffer) < 2 or len(self.buffer) < 2 + struct.unpack_from('!H', self.buffer)[0]:
                self.connection.settimeout(max(0.001, end - time.monotonic()))
                data = self.connection.recv(65536)
                if not data:
                    print('closed')
                    return
                self.buffer += data
            length = struct.unpack_from('!H', self.buffer)[0]
            print(self.buffer[2:2 + length].hex(), flush=True)
            del self.buffer[:2 + length]

    def end(self, value):
        end = time.monotonic() + float(value)
        while True:
            self.connection.settimeout(max(0.001, end - time.monotonic()))
            try:
                if not self.connection.recv(65536):
                    print('closed')
                    return
            except TimeoutError:
                print('open')
                return


def talk(place, *steps, patience=6.0):
    client = Talk(place, patience)
    for step in steps:
        name, _, value = step.partition('=')
        try:
            getattr(client, name)(value)
        except TimeoutError:
            print('silence')
        except (ConnectionResetError, BrokenPipeError):
            print('reset')
            return


def hold(place, connections, message):
    held = []
    for _ in range(int(connections)):
        held.append(Talk(place, 5))
        held[-1].raw(message)
    print('holding', flush=True)
    time.sleep(600)


def truth(name, nth=0):
    """The address that `serve` has for a name."""
    checksum = zlib.crc32((name.rstrip('.') + '.').lower().encode()) + nth
    return f'10.{checksum >> 16 & 255}.{checksum >> 8 & 255}.{checksum & 255}'


def check(place, seconds, qps, below, wanted):
    """Paced by the clock; the answers are read between the questions."""
    address, family = parse(place)
    prefix = f'q{random.randrange(1 << 32):x}'
    udp = socket.socket(family, socket.SOCK_DGRAM)
    udp.connect(address)
    start, waiting, sent = time.time(), {}, 0
    total = int(float(seconds) * float(qps))

    def enough(*_):
        nonlocal total
        total = sent

    signal.signal(signal.SIGTERM, enough)
    while sent < total or waiting:
        now = time.time()
        if sent < total and now >= start + sent / float(qps):
            name = f'{prefix}-{sent}.{below}'
            waiting[sent] = (now, name)
            try:
                udp.send(struct.pack('!6H', sent & 0xffff, RD, 1, 0, 0, 0) + wire(name) + b'\0\1\0\1')
            except ConnectionRefusedError:
                pass
            sent += 1
            continue
        for number, (then, name) in list(waiting.items()):
            if now > then + 6:
                print(f'{then:.3f} {now - then:.3f} {name} lost')
                del waiting[number]
        udp.settimeout(max(0.001, start + sent / float(qps) - now) if sent < total else 0.1)
        try:
            message = udp.recv(65535)
        except (TimeoutError, ConnectionRefusedError):
            continue
        id_, flags, _, ancount = struct.unpack_from('!4H', message)
        number = next((n for n in waiting if n & 0xffff == id_), None)
        if number is None:
            print(f'{now:.3f} 0 ? unasked')
            continue
        then, name = waiting.pop(number)
        rcode = {0: 'NOERROR', 2: 'SERVFAIL', 3: 'NXDOMAIN', 5: 'REFUSED'}.get(flags & 15, str(flags & 15))
        if rcode == 'NOERROR':
            end = 12 + len(name) + 2 + 4  # of the question; the record's owner is a pointer to it
            got = '.'.join(map(str, message[end + 12:end + 16])) if ancount == 1 else f'{ancount} records'
            asked = wire(name) + b'\0\1\0\1' == message[12:end]
            rcode = 'right' if asked and got == (truth(name) if wanted == 'truth' else wanted) else f'wrong {got}'
        print(f'{then:.3f} {time.time() - then:.3f} {name} {rcode}', flush=True)


if __name__ == '__main__':
    if sys.argv[1:2] == ['serve']:
        try:
            serve(sys.argv[2:])
        except KeyboardInterrupt:
            pass
    elif sys.argv[1:2] == ['say'] and len(sys.argv) > 4:
        say(*sys.argv[2:])
    elif sys.argv[1:2] == ['talk']:
        talk(*sys.argv[2:])
    elif sys.argv[1:2] == ['hold'] and len(sys.argv) == 5:
        hold(*sys.argv[2:])
    elif sys.argv[1:2] == ['check'] and len(sys.argv) == 7:
        check(*sys.argv[2:])
    elif sys.argv[1:2] == ['truth']:
        print('\n'.join(truth(name) for name in sys.argv[2:]))
    else:
        sys.exit(__doc__)
