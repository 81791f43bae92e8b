"""dnswire.py COMMAND...: DNS messages by the byte, for the test-dns-*.sh.

dig cannot say anything that is wrong. This builds messages from parts, each of which may
be wrong, sends them, and reads replies strictly (as a module: query, name, opt, record,
Message, udp, tcp). The commands, each with --help:

    ask       one query of any shape to one server; what came back, by a format
    silent    messages that nobody may answer; prints those that were
    raw       a message in hex, printed record by record
    serve     an upstream that answers by recipe (see RECIPES)
    cook      what `serve` would answer to a message in hex
    compare   the same questions to the program and to its upstream, byte for byte
    opinion   the same questions to two servers: RCODEs and sets of records
    mangle    truncated and flipped messages, as queries or as upstream's replies
    chains    64 KiB of compression pointers, as queries or as upstream's replies
"""
import argparse
import os
import random
import re
import selectors
import socket
import struct
import sys
import threading
import time

TYPES = {"A": 1, "NS": 2, "CNAME": 5, "SOA": 6, "PTR": 12, "HINFO": 13, "MINFO": 14, "MX": 15, "TXT": 16, "RP": 17,
         "AFSDB": 18, "SIG": 24, "AAAA": 28, "LOC": 29, "SRV": 33, "NAPTR": 35, "DNAME": 39, "OPT": 41, "DS": 43,
         "SSHFP": 44, "RRSIG": 46, "NSEC": 47, "DNSKEY": 48, "TLSA": 52, "SVCB": 64, "HTTPS": 65, "SPF": 99,
         "TSIG": 250, "IXFR": 251, "AXFR": 252, "ANY": 255, "URI": 256, "CAA": 257}
CLASSES = {"IN": 1, "CH": 3, "HS": 4, "NONE": 254, "ANY": 255}
RCODES = {0: "NOERROR", 1: "FORMERR", 2: "SERVFAIL", 3: "NXDOMAIN", 4: "NOTIMP", 5: "REFUSED", 16: "BADVERS"}
# The header's third and fourth byte as one number: RFC 1035 section 4.1.1, RFC 4035 section 3.1.6.
BITS = {"qr": 0x8000, "aa": 0x0400, "tc": 0x0200, "rd": 0x0100, "ra": 0x0080, "z": 0x0040, "ad": 0x0020, "cd": 0x0010}
TYPE_NAMES = {number: word for word, number in TYPES.items()}
CLASS_NAMES = {number: word for word, number in CLASSES.items()}


def number_of(word, table, prefix):
    """A TYPE or CLASS by its word, or as RFC 3597 writes it: TYPE65280."""
    word = word.upper()
    return table[word] if word in table else int(word.removeprefix(prefix))


# ---------------------------------------------------------------- building


def name(text):
    """A name on the wire from its text with \\DDD and \\X; no length is checked."""
    labels = [b""]
    for escape, char in re.findall(r"\\(\d{3}|.)|([^\\])", text, re.S):
        if char == ".":
            labels.append(b"")
        else:
            labels[-1] += bytes([int(escape)]) if len(escape) == 3 else (escape or char).encode("latin-1")
    return b"".join(bytes([len(label)]) + label for label in labels if label) + b"\0"


def of_length(octets, end="example.test.", letter="n"):
    """A name below `end` of so many octets on the wire, in labels of at most 63."""
    left = octets - len(name(end))
    labels = []
    while left > 0:
        size = min(63, left - 1 if left <= 64 or left >= 66 else 62)  # never a last label of nothing
        labels.append(letter * size)
        left -= size + 1
    return ".".join(labels + [end])


def header(ident, flags, *counts):
    return struct.pack(">HH4H", ident, flags, *counts)


def question(text, kind="A", klass="IN"):
    return name(text) + struct.pack(">HH", number_of(kind, TYPES, "TYPE"), number_of(klass, CLASSES, "CLASS"))


def record(owner, kind, ttl, rdata, klass=1):
    """`owner` as text or, for pointers, as bytes."""
    owner = name(owner) if isinstance(owner, str) else owner
    return owner + struct.pack(">HHIH", number_of(kind, TYPES, "TYPE"), klass, ttl, len(rdata)) + rdata


def opt(size=1232, do=False, version=0, options=b"", owner=b"\0", bits=0):
    """RFC 6891 section 6.1.2: the size stands in CLASS, the rest in TTL."""
    return owner + struct.pack(">HHBBHH", 41, size, 0, version, (0x8000 if do else 0) | bits, len(options)) + options


def option(code, data):
    return struct.pack(">HH", code, len(data)) + data


def tsig(ident):
    """RFC 8945 section 4.2; the MAC is wrong, but nobody on the way can know that."""
    rdata = name("hmac-sha256.") + struct.pack(">HIHH", 0, int(time.time()), 300, 32) + b"\xab" * 32
    return record("key.test.", "TSIG", 0, rdata + struct.pack(">HHH", ident, 0, 0), klass=255)


def query(text, kind="A", klass="IN", flags=BITS["rd"], edns=None, ident=None):
    """A sound query; `edns` is the bytes of an OPT."""
    ident = random.randrange(65536) if ident is None else ident
    return header(ident, flags, 1, 0, 0, 1 if edns else 0) + question(text, kind, klass) + (edns or b"")


# ---------------------------------------------------------------- reading


class Malformed(Exception):
    pass


def read_name(message, at):
    """The labels of the name at `at`, and where the message goes on after it."""
    labels, end, octets, limit = [], None, 1, at
    while True:
        if at >= len(message):
            raise Malformed(f"name beyond the end at {at}")
        length = message[at]
        if length >= 0xC0:
            if at + 1 >= len(message):
                raise Malformed(f"half a pointer at {at}")
            end = at + 2 if end is None else end
            target = (length & 0x3F) << 8 | message[at + 1]
            if target >= limit:
                raise Malformed(f"pointer at {at} not backwards: {target}")
            at = limit = target
        elif length >= 0x40:
            raise Malformed(f"label type {length:#x} at {at}")
        else:
            at += 1
            if length == 0:
                return labels, at if end is None else end
            octets += length + 1
            if octets > 255 or at + length > len(message):
                raise Malformed(f"name too long at {at}")
            labels.append(message[at:at + length])
            at += length


def text_of(labels):
    escaped = ("".join(chr(byte) if 33 <= byte < 127 and byte not in b'.\\"();@$' else f"\\{byte:03}" for byte in label)
               for label in labels)
    return "".join(label + "." for label in escaped) or "."


# RDATA in which names stand, as a row of: N bytes, or n for a name. RFC 1035 section 3.3, RFC 3597 section 4.
NAMES_IN = {2: "n", 5: "n", 6: "nn20", 12: "n", 14: "nn", 15: "2n", 17: "nn", 18: "2n", 33: "6n", 39: "n"}


class Record:
    def __init__(self, message, at):
        self.start = at
        self.labels, at = read_name(message, at)
        if at + 10 > len(message):
            raise Malformed(f"half a record at {at}")
        self.ttl_at = at + 4
        self.type, self.klass, self.ttl, length = struct.unpack_from(">HHIH", message, at)
        self.end = at + 10 + length
        if self.end > len(message):
            raise Malformed(f"RDATA beyond the end at {at}")
        self.rdata = message[at + 10:self.end]
        self.message = message

    def data(self):
        """The RDATA with its names whole: comparable between messages."""
        result, at = "", self.end - len(self.rdata)
        for part in re.findall(r"n|\d+", NAMES_IN.get(self.type, "")):
            if part == "n":
                labels, at = read_name(self.message, at)
                result += text_of(labels) + " "
            else:
                result += self.message[at:at + int(part)].hex() + " "
                at += int(part)
        return (result + self.message[at:self.end].hex()).strip()

    def __str__(self):
        kind, klass = TYPE_NAMES.get(self.type, f"TYPE{self.type}"), CLASS_NAMES.get(self.klass, f"CLASS{self.klass}")
        return f"{text_of(self.labels)} {self.ttl} {klass} {kind} {self.data()}"


class Message:
    """A whole message, read strictly: what it lacks or has wrong raises Malformed."""

    def __init__(self, message):
        if len(message) < 12:
            raise Malformed(f"{len(message)} bytes")
        self.bytes = message
        self.id, self.flags, *self.counts = struct.unpack_from(">6H", message)
        self.questions, at = [], 12
        for _ in range(self.counts[0]):
            labels, at = read_name(message, at)
            if at + 4 > len(message):
                raise Malformed(f"half a question at {at}")
            self.questions.append((labels, *struct.unpack_from(">HH", message, at)))
            at += 4
        self.questions_end = at
        self.sections = []
        for count in self.counts[1:]:
            self.sections.append([])
            for _ in range(count):
                self.sections[-1].append(Record(message, at))
                at = self.sections[-1][-1].end
        self.trailing = len(message) - at
        opts = [r for r in self.sections[2] if r.type == 41]
        self.opt = opts[0] if opts else None
        self.rcode = self.flags & 15 | (self.opt.ttl >> 24 << 4 if self.opt else 0)

    def is_set(self, bit):
        return bool(self.flags & BITS[bit])

    def records(self):
        """All but OPT, as texts."""
        return [str(r) for section in self.sections for r in section if r.type != 41]

    def fields(self):
        """What `ask --format` can show."""
        labels, kind, klass = self.questions[0] if self.questions else ([], 0, 0)
        shown = "none"
        if self.opt:
            shown = f"{self.opt.klass}/{self.opt.ttl >> 16 & 255}" + ("/do" if self.opt.ttl & 0x8000 else "")
            shown += f"/z={self.opt.ttl & 0x7fff:x}" if self.opt.ttl & 0x7FFF else ""
            shown += f"/{self.opt.rdata.hex()}" if self.opt.rdata else ""
        return {"id": f"{self.id:04x}", "rcode": RCODES.get(self.rcode, f"RCODE{self.rcode}"),
                "opcode": self.flags >> 11 & 15, "flags": " ".join(b for b in BITS if self.flags & BITS[b]),
                "qd": self.counts[0], "an": self.counts[1], "ns": self.counts[2], "ar": self.counts[3],
                "opt": shown, "size": len(self.bytes), "trailing": self.trailing, "hex": self.bytes.hex(),
                "question": f"{text_of(labels)} {TYPE_NAMES.get(kind, f'TYPE{kind}')}"
                            f" {CLASS_NAMES.get(klass, f'CLASS{klass}')}" if self.questions else "none",
                "qname": text_of(labels), "qhex": self.bytes[12:self.questions_end].hex(),
                "rest": self.bytes[self.questions_end:].hex(), "records": "\n".join(self.records())}


def show(reply, form):
    if reply is None:
        return "silence"
    if reply == b"":
        return "closed"
    try:
        return form.format(**Message(reply).fields())
    except Malformed as error:
        return f"malformed: {error}: {reply.hex()}"


# ---------------------------------------------------------------- sending


def family(address):
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def place(address, port):
    """What bind and connect want, of fe80::1%lo too."""
    return socket.getaddrinfo(address, port, type=socket.SOCK_DGRAM, flags=socket.AI_NUMERICHOST)[0][4]


def udp(message, address, port, timeout=6.0, source=None):
    """The first reply that comes from where the query went, or None."""
    with socket.socket(family(address), socket.SOCK_DGRAM) as sock:
        if source:
            sock.bind(place(source, 0))
        sock.connect(place(address, port))
        sock.settimeout(timeout)
        sock.send(message)
        try:
            return sock.recv(65535)
        except TimeoutError:
            return None


def read_exactly(sock, count):
    data = b""
    while len(data) < count:
        more = sock.recv(count - len(data))
        if not more:
            return b""
        data += more
    return data


def tcp(message, address, port, timeout=6.0, source=None):
    """The first reply, None for silence, b'' when the server closed or reset."""
    try:
        with socket.create_connection((address, port), timeout, (source, 0) if source else None) as sock:
            sock.sendall(struct.pack(">H", len(message)) + message)
            length = read_exactly(sock, 2)
            return read_exactly(sock, int.from_bytes(length, "big")) if length else b""
    except TimeoutError:
        return None
    except ConnectionError:
        return b""


def ask_main(words):
    arg = argparse.ArgumentParser(prog="dnswire.py ask")
    arg.add_argument("address")
    arg.add_argument("port", type=int)
    arg.add_argument("name", nargs="?", default="canary.example.test.")
    arg.add_argument("type", nargs="?", default="A")
    arg.add_argument("klass", nargs="?", default="IN")
    arg.add_argument("--tcp", action="store_true")
    arg.add_argument("--bind", help="the address to ask from")
    arg.add_argument("--timeout", type=float, default=5.5)
    arg.add_argument("--id", type=lambda x: int(x, 16), default=None)
    arg.add_argument("--set", default="rd", help="bits of the header: rd,ad,cd...; none")
    arg.add_argument("--opcode", type=int, default=0)
    arg.add_argument("--rcode", type=int, default=0)
    for count in "qd", "an", "ns", "ar":
        arg.add_argument(f"--{count}", type=int, help="a count that is not the truth")
    arg.add_argument("--question", help="hex, in place of the one made of NAME TYPE CLASS")
    arg.add_argument("--octets", type=int, help="a name of so many octets in place of NAME, below it")
    arg.add_argument("--edns", type=int, help="an OPT with this size")
    arg.add_argument("--do", action="store_true")
    arg.add_argument("--version", type=int, default=0)
    arg.add_argument("--bits", type=lambda x: int(x, 16), default=0, help="more flags of the OPT")
    arg.add_argument("--option", action="append", default=[], help="CODE:HEX of an EDNS option")
    arg.add_argument("--opt-owner", default=".")
    arg.add_argument("--opts", type=int, default=1, help="how many OPTs")
    arg.add_argument("--tsig", action="store_true")
    arg.add_argument("--append", default="", help="hex of more bytes at the end")
    arg.add_argument("--hex", help="the whole message")
    arg.add_argument("--times", type=int, default=1, help="ask as often, one after the other")
    arg.add_argument("--sent", action="store_true", help="print the message that is sent, too")
    arg.add_argument("-f", "--format", default="{rcode} {flags} qd={qd} an={an} ns={ns} ar={ar}")
    opts = arg.parse_intermixed_args(words)
    ident = random.randrange(65536) if opts.id is None else opts.id
    extra, count = b"", 0
    if opts.edns is not None:
        options = b"".join(option(int(o.split(":")[0]), bytes.fromhex(o.split(":")[1])) for o in opts.option)
        extra = opt(opts.edns, opts.do, opts.version, options, name(opts.opt_owner), opts.bits) * opts.opts
        count = opts.opts
    if opts.tsig:
        extra, count = extra + tsig(ident), count + 1
    flags = opts.opcode << 11 | opts.rcode
    for bit in opts.set.split(","):
        flags |= BITS.get(bit, 0)
    asked = of_length(opts.octets, opts.name) if opts.octets else opts.name
    counts = [default if given is None else given
              for given, default in zip((opts.qd, opts.an, opts.ns, opts.ar), (1, 0, 0, count))]
    body = question(asked, opts.type, opts.klass) if opts.question is None else bytes.fromhex(opts.question)
    message = header(ident, flags, *counts) + body + extra + bytes.fromhex(opts.append)
    if opts.hex is not None:
        message = bytes.fromhex(opts.hex)
    if opts.sent:
        print(message.hex())
    for _ in range(opts.times):
        reply = (tcp if opts.tcp else udp)(message, opts.address, opts.port, opts.timeout, opts.bind)
        # An ID that is not the one asked is never right.
        if reply and len(message) > 1 and reply[:2] != message[:2]:
            print("another ID:", end=" ")
        print(show(reply, opts.format))


def silent_main(words):
    arg = argparse.ArgumentParser(prog="dnswire.py silent")
    arg.add_argument("address")
    arg.add_argument("port", type=int)
    arg.add_argument("--tcp", action="store_true")
    arg.add_argument("--timeout", type=float, default=1)
    arg.add_argument("messages", nargs="*", help="hex")
    opts = arg.parse_args(words)
    socks = {}
    for text in opts.messages:
        message = bytes.fromhex(text)
        if opts.tcp:
            sock = socket.create_connection((opts.address, opts.port), 5)
            sock.sendall(struct.pack(">H", len(message)) + message)
        else:
            sock = socket.socket(family(opts.address), socket.SOCK_DGRAM)
            sock.connect((opts.address, opts.port))
            sock.send(message)
        sock.settimeout(0)
        socks[sock] = text
    time.sleep(opts.timeout)
    for sock, text in socks.items():
        try:
            reply = sock.recv(65535)
            if reply or not opts.tcp:  # a connection may well be closed
                print(f"{text or 'nothing'} was answered: {reply.hex()}")
        except BlockingIOError:
            pass
        except ConnectionError as error:
            print(f"{text or 'nothing'}: {error}")


def raw_main(words):
    message = Message(bytes.fromhex(words[0]))
    print("{rcode} {flags} {question} opt={opt} trailing={trailing}\n{records}".format(**message.fields()))


# ---------------------------------------------------------------- an upstream


def plain_answer(asked):
    """An honest answer to any question: A, AAAA or the type asked with four bytes."""
    ident, flags = struct.unpack_from(">HH", asked)
    message = Message(asked)
    kind = TYPE_NAMES.get(message.questions[0][1], f"TYPE{message.questions[0][1]}")
    rdata = {"AAAA": bytes(15) + b"\1", "TXT": b"\3any"}.get(kind, b"\xc0\0\2\x63")
    return (header(ident, 0x8400 | flags & 0x0110, 1, 1, 0, 1 if message.opt else 0)
            + asked[12:message.questions_end] + record(b"\xc0\x0c", kind, 300, rdata, message.questions[0][2])
            + (opt() if message.opt else b""))


def recipe_pointers(question_bytes, base):
    """RDATA with pointers, in types whose RDATA nobody may read, and where OPT stands first."""
    records = [record(b"\xc0\x0c", "TYPE65280", 300, b"\xc0\x0c\x03abc\xc0\x0c"),
               record(b"\xc0\x0c", "MX", 300, b"\0\x0a\4mail\xc0\x0c")]
    mail = base + len(records[0]) + 14
    additional = record(struct.pack(">H", 0xC000 | mail), "A", 300, b"\xc0\0\2\1")
    return records, [], [additional]


def recipe_early_opt(question_bytes, base):
    """OPT before a record to which the last one points."""
    answer = record(b"\xc0\x0c", "A", 300, b"\xc0\0\2\1")
    early = opt()
    target = base + len(answer) + len(early)
    first = record(b"\4late\xc0\x0c", "A", 300, b"\xc0\0\2\2")
    second = record(b"\5later" + struct.pack(">H", 0xC000 | target), "A", 300, b"\xc0\0\2\3")
    third = record(b"\xc0\x0c", "MX", 300, b"\0\x01" + struct.pack(">H", 0xC000 | target))
    return [answer], [], [early, first, second, third]


def recipe_bits(question_bytes, base):
    return [record(b"\xc0\x0c", "A", 300, b"\xc0\0\2\1")], [], []


def recipe_ecs(question_bytes, base):
    """An answer for one subnet only: RFC 7871 section 7.2.2, SCOPE 24."""
    return ([record(b"\xc0\x0c", "A", 300, b"\xc0\0\2\1")], [],
            [opt(options=option(8, b"\0\1\x18\x18\xc0\0\2") + option(10, b"upstream" * 2))])


def recipe_extended(question_bytes, base):
    """RCODE 16, all of which stands in the OPT: without that it reads NOERROR."""
    return [], [], [b"\0" + struct.pack(">HHBBHH", 41, 1232, 1, 0, 0, 0)]


def recipe_loop(question_bytes, base):
    return [record(struct.pack(">H", 0xC000 | base), "A", 300, b"\xc0\0\2\1")], [], []


def recipe_forward(question_bytes, base):
    return [record(struct.pack(">H", 0xC000 | base + 16), "A", 300, b"\xc0\0\2\1"),
            record(b"\3abc\0", "A", 300, b"\xc0\0\2\1")], [], []


def recipe_outside(question_bytes, base):
    return [record(b"\xff\xff", "A", 300, b"\xc0\0\2\1")], [], []


def recipe_reserved(question_bytes, base):
    return [record(b"\x41" + b"a" * 0x41 + b"\0", "A", 300, b"\xc0\0\2\1")], [], []


# By the first label of the question: what stands in the reply. Those of BAD are followed by the truth.
RECIPES = {"pointers": recipe_pointers, "early-opt": recipe_early_opt, "bits": recipe_bits, "ecs": recipe_ecs,
           "extended": recipe_extended,
           "loop": recipe_loop, "forward": recipe_forward, "outside": recipe_outside, "reserved": recipe_reserved}
BAD = {"loop", "forward", "outside", "reserved"}


def cook(asked, label):
    """The reply that a recipe makes of a query, or None."""
    message = Message(asked)
    name_of_recipe = label.lower().rstrip("0123456789")
    if name_of_recipe not in RECIPES:
        return None
    answers, authorities, additionals = RECIPES[name_of_recipe](asked[12:message.questions_end], message.questions_end)
    has_opt = any(r[:3] == b"\0\0\x29" for r in additionals)
    if message.opt and not has_opt:
        additionals = additionals + [opt()]
    flags = 0x8480 | message.flags & 0x0110 | (BITS["z"] | BITS["ad"] if name_of_recipe == "bits" else 0)
    return (header(message.id, flags, 1, len(answers), len(authorities), len(additionals))
            + asked[12:message.questions_end] + b"".join(answers + authorities + additionals))


def replies_of_serve(asked, transport):
    """What `serve` says to a query: a row of replies, the last of which is the truth."""
    message = Message(asked)
    label = message.questions[0][0][0].decode("latin-1") if message.questions and message.questions[0][0] else ""
    if label.startswith("slow"):
        time.sleep(0.4)
    cooked = cook(asked, label)
    if cooked is None:
        return [plain_answer(asked)]
    return [cooked, plain_answer(asked)] if label.rstrip("0123456789") in BAD else [cooked]


class Upstream(threading.Thread):
    """UDP and TCP on one port. `replies(asked, transport)` gives the messages to send."""

    def __init__(self, address, port, replies, log=None):
        super().__init__(daemon=True)
        self.replies, self.log = replies, log
        self.sel = selectors.DefaultSelector()
        self.udp = socket.socket(family(address), socket.SOCK_DGRAM)
        self.udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self.udp.bind((address, port))
        self.listener = socket.create_server((address, port), family=family(address), backlog=256)
        self.buffers = {}
        self.asked = 0
        for sock in self.udp, self.listener:
            self.sel.register(sock, selectors.EVENT_READ)

    def note(self, transport, source, asked):
        self.asked += 1
        if self.log:
            print(transport, source[1], asked.hex(), file=self.log, flush=True)

    def said(self, asked, transport):
        try:
            return self.replies(asked, transport)
        except Malformed:
            return []

    def from_connection(self, sock):
        try:
            data = sock.recv(65536)
        except ConnectionError:
            data = b""
        if not data:
            self.sel.unregister(sock)
            sock.close()
            del self.buffers[sock]
            return
        buffer = self.buffers[sock] + data
        while len(buffer) >= 2 and len(buffer) >= 2 + int.from_bytes(buffer[:2], "big"):
            end = 2 + int.from_bytes(buffer[:2], "big")
            asked, buffer = buffer[2:end], buffer[end:]
            self.note("tcp", sock.getpeername(), asked)
            for reply in self.said(asked, "tcp"):
                try:
                    sock.settimeout(5)
                    sock.sendall(struct.pack(">H", len(reply)) + reply)
                except OSError:
                    break  # the program has hung up on us, as it may
        self.buffers[sock] = buffer

    def run(self):
        while True:
            for key, _ in self.sel.select():
                if key.fileobj is self.udp:
                    asked, source = self.udp.recvfrom(65535)
                    self.note("udp", source, asked)
                    for reply in self.said(asked, "udp"):
                        try:
                            self.udp.sendto(reply, source)
                        except OSError:
                            pass  # an earlier socket of the program's is gone: ECONNREFUSED
                elif key.fileobj is self.listener:
                    sock, _ = self.listener.accept()
                    self.buffers[sock] = b""
                    self.sel.register(sock, selectors.EVENT_READ)
                else:
                    try:
                        self.from_connection(key.fileobj)
                    except OSError:
                        pass


def serve_main(words):
    arg = argparse.ArgumentParser(prog="dnswire.py serve")
    arg.add_argument("address")
    arg.add_argument("port", type=int)
    arg.add_argument("--log", required=True, help="a line for each query: udp|tcp PORT HEX")
    opts = arg.parse_args(words)
    with open(opts.log, "a", encoding="ascii") as log:
        upstream = Upstream(opts.address, opts.port, replies_of_serve, log)
        print("ready", flush=True)
        upstream.run()


def cook_main(words):
    print(replies_of_serve(bytes.fromhex(words[0]), "udp")[-1].hex())


# ---------------------------------------------------------------- against the upstream itself


def questions_of(path):
    """Lines of NAME TYPE [CLASS]."""
    with open(path, encoding="latin-1") as file:
        return [(line.split() + ["IN"])[:3] for line in file if line.strip()]


def hide(message, parsed):
    """A message without its ID, AA and TTLs, which are compared on their own."""
    hidden = bytearray(message)
    hidden[0:2] = b"\0\0"
    hidden[2] &= 0xFB
    for section in parsed.sections:
        for item in section:
            if item.type != 41:
                hidden[item.ttl_at:item.ttl_at + 4] = b"\0\0\0\0"
    return bytes(hidden)


def with_opt(message, ours):
    """The message with `ours` in the place of nsd's OPT, which is its last record: nothing points behind it."""
    parsed = Message(message)
    last = parsed.sections[2][-1]
    assert last is parsed.opt and last.end == len(message), "the reference's OPT is not its last record"
    counts = parsed.counts[:3] + [parsed.counts[3] - (0 if ours else 1)]
    return header(parsed.id, parsed.flags, *counts) + message[12:last.start] + ours


class Variant:
    """One way of asking a question."""

    def __init__(self, transport, size, do=False, bits="rd"):
        self.transport, self.size, self.do = transport, size, do
        self.flags = sum(BITS[bit] for bit in bits.split(",") if bit)
        self.text = f"{transport} size={size} do={int(do)} {bits}"

    def message(self, asked, size=None):
        size = self.size if size is None else size
        return query(*asked, self.flags, opt(size, self.do) if size else None)

    def limit(self):
        return 65535 if self.transport == "tcp" else max(512, self.size or 512)


VARIANTS = [Variant("udp", None), Variant("udp", 1232), Variant("udp", 1232, True), Variant("udp", 4096, True),
            Variant("udp", 512), Variant("udp", 700, True), Variant("udp", 100), Variant("tcp", None),
            Variant("tcp", 1232), Variant("tcp", 1232, True), Variant("udp", 1232, False, ""),
            Variant("udp", None, False, "rd,cd"), Variant("tcp", 1232, True, "cd")]


def expected(variant, asked, reference):
    """What upstream says at 1232 octets, and over TCP when that says TC: the message, and
    whether the program must cut it."""
    sent = variant.message(asked, 1232)
    # The program always wants recursion; the asker's own bit must come back all the same.
    first = udp(sent, *reference)
    cut = bool(first[2] & 2)
    whole = tcp(sent, *reference) if cut else first
    # An OPT is for one hop (RFC 6891 section 6.2.6): the same but for the options.
    whole = with_opt(whole, opt(1232, variant.do) if variant.size else b"")
    return whole, variant.transport == "udp" and (cut or len(whole) > variant.limit())


def difference(variant, asked, got, whole, cut, cached, age):
    """What is wrong with a reply, or None."""
    if not got:
        return "silence" if got is None else "closed"
    try:
        parsed, wanted = Message(got), Message(whole)
    except Malformed as error:
        return f"malformed: {error}"
    if len(got) > variant.limit():
        return f"{len(got)} octets are more than the asker takes"
    if cut:
        # Nothing half-cut: every record is one that the whole has, and the OPT stays.
        if not parsed.is_set("tc"):
            return "TC is not set"
        if parsed.questions != wanted.questions or bool(parsed.opt) != bool(wanted.opt) or parsed.trailing:
            return "cut wrong"
        strip = re.compile(r"(?<= )\d+(?= [A-Z]+ )")
        whole_records = {strip.sub("", r, count=1) for r in wanted.records()}
        if not {strip.sub("", r, count=1) for r in parsed.records()} <= whole_records:
            return "a record that upstream does not have"
        return None
    # RFC 4035 section 3.2.2 has CD copied into the reply, and nsd clears it: both are right.
    whole = whole[:3] + bytes([whole[3] | got[3] & variant.flags & BITS["cd"]]) + whole[4:]
    if hide(got, parsed) != hide(whole, wanted):
        return "other bytes"
    if parsed.is_set("aa") and not wanted.is_set("aa") or not cached and parsed.is_set("aa") != wanted.is_set("aa"):
        return "another AA"
    # A negative answer lives for what its SOA says (RFC 2308), and a CNAME in it may say so, too.
    negative = [r.ttl for section in wanted.sections for r in section if r.type == 6 and section is wanted.sections[1]]
    for ours, theirs in zip(parsed.sections, wanted.sections):
        for mine, other in zip(ours, theirs):
            lowest = min([other.ttl] + negative) - age if cached else other.ttl
            if mine.type != 41 and not lowest <= mine.ttl <= other.ttl:
                return f"TTL {mine.ttl} of {other.ttl}, {age} s old"
    return None


def compare_main(words):
    """Prints a line for every difference, and at the end `N compared, N cut, N with AA cleared`."""
    arg = argparse.ArgumentParser(prog="dnswire.py compare")
    arg.add_argument("address")
    arg.add_argument("port", type=int)
    arg.add_argument("reference", help="ADDRESS:PORT of the upstream")
    arg.add_argument("file", help="lines of NAME TYPE [CLASS]")
    arg.add_argument("--cached", action="store_true", help="look at the second of two answers")
    if words == ["--variants"]:
        print(len(VARIANTS))
        return
    opts = arg.parse_args(words)
    reference = opts.reference.rsplit(":", 1)
    reference = (reference[0], int(reference[1]))
    start = time.monotonic()
    compared = cuts = cleared = 0
    for asked in questions_of(opts.file):
        for variant in VARIANTS:
            whole, cut = expected(variant, asked, reference)
            send = tcp if variant.transport == "tcp" else udp
            for _ in range(2 if opts.cached else 1):
                sent = variant.message(asked)
                got = send(sent, opts.address, opts.port)
            compared, cuts = compared + 1, cuts + cut
            wrong = difference(variant, asked, got, whole, cut, opts.cached, int(time.monotonic() - start) + 1)
            if got and got[:2] != sent[:2]:
                wrong = "another ID"
            if wrong:
                print(" ".join(asked), variant.text, wrong,
                      "got", (got or b"").hex()[:400], "wanted", whole.hex()[:400])
            elif whole[2] & 4 and not got[2] & 4:
                cleared += 1
    print(f"{compared} compared, {cuts} cut, {cleared} with AA cleared")


def opinion_of(asked, address, port):
    """RCODE, the set of answers, and the SOA of a negative answer; without TTLs and case."""
    sent = query(*asked, edns=opt())
    reply = udp(sent, address, port)
    if reply and reply[2] & 2:
        reply = tcp(sent, address, port)
    if not reply:
        return "silence" if reply is None else "closed"
    message = Message(reply)
    sections = [message.sections[0], [] if message.sections[0] else message.sections[1]]
    records = [f"{text_of(r.labels)} {r.klass} {r.type} {r.data()}".lower()
               for part, section in enumerate(sections) for r in section if part == 0 or r.type == 6]
    return RCODES.get(message.rcode, message.rcode), frozenset(records)


def opinion_main(words):
    """Prints a line for every question on which two servers differ, and at the end
    `N asked, N different RCODEs, N records`."""
    first, second, path = words
    asked = questions_of(path)
    servers = [(s.rsplit(":", 1)[0], int(s.rsplit(":", 1)[1])) for s in (first, second)]
    codes, records = set(), 0
    for one in asked:
        ours, theirs = (opinion_of(one, *server) for server in servers)
        if ours != theirs:
            print(" ".join(one), "first:", ours, "second:", theirs)
        codes.add(ours[0])
        records += len(ours[1])
    shown = "many" if records > len(asked) // 4 else records
    print(f"{len(asked)} asked, {len(codes)} different RCODEs, {shown} records")


# ---------------------------------------------------------------- malformed


def resident(pid):
    """VmRSS in KiB: proc_pid_status(5)."""
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        return int(re.search(r"VmRSS:\s*(\d+)", file.read())[1])


def cpu_seconds(pid):
    """utime and stime: proc_pid_stat(5), fields 14 and 15."""
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def mangled(message, thorough=True):
    """Every truncation, and every byte with other values."""
    for length in range(len(message)):
        yield message[:length]
    for at, byte in enumerate(message):
        values = {0, 0xFF, 0xC0, byte ^ 1, byte ^ 0x80, (byte + 1) & 0xFF} if thorough else {byte ^ 0xFF, 0xC0}
        for value in values - {byte}:
            yield message[:at] + bytes([value]) + message[at + 1:]


def base_queries():
    cookie = opt(4096, True, options=option(10, b"12345678") + option(8, b"\0\1\x18\0\xc0\0\2"))
    ident = 0x1234
    notify = header(ident, 4 << 11, 1, 1, 0, 0) + question("example.test.", "SOA") + record(
        b"\xc0\x0c", "SOA", 300, b"\xc0\x0c\xc0\x0c" + bytes(20))
    signed = query("tsig.example.test.", ident=ident)
    return [query("plain.example.test.", ident=ident), query("edns.example.test.", "AAAA", edns=cookie, ident=ident),
            query("4.3.2.1.in-addr.arpa.", "PTR", edns=opt(), ident=ident), query(of_length(255), "TXT", ident=ident),
            query("version.bind.", "TXT", "CH", ident=ident),
            query("\\000\\255\\.\\\\.test.", "TYPE65280", ident=ident),
            query("localhost.", "AAAA", edns=opt(), ident=ident), notify,
            signed[:10] + b"\0\1" + signed[12:] + tsig(ident)]


def base_replies():
    """Type of the question, and what makes the reply of the question's bytes and end."""
    def address(base):
        return [record(b"\xc0\x0c", "A", 300, b"\xc0\0\2\1"), record(b"\xc0\x0c", "A", 60, b"\xc0\0\2\2")], [], [opt()]

    def chain(base):
        first = record(b"\xc0\x0c", "CNAME", 300, b"\4next\xc0\x0c")
        return [first, record(struct.pack(">H", 0xC000 | base + 12), "A", 300, b"\xc0\0\2\3")], [], [opt()]

    def negative(base):
        soa = b"\2ns\xc0\x0c\4host\xc0\x0c" + struct.pack(">5I", 1, 2, 3, 4, 60)
        return [], [record(b"\xc0\x0c", "SOA", 300, soa)], [opt()]

    def mail(base):
        return ([record(b"\xc0\x0c", "MX", 300, b"\0\x0a\4mail\xc0\x0c")],
                [record(b"\xc0\x0c", "NS", 300, b"\2ns\xc0\x0c")],
                [record(b"\4mail\xc0\x0c", "A", 300, b"\xc0\0\2\1"), opt()])

    def text(base):
        return [record(b"\xc0\x0c", "TXT", 300, b"\x0fa text of octets\0"[:17])], [], []

    def options(base):
        return ([record(b"\xc0\x0c", "TYPE65280", 0, b"\xc0\x0c\xff\0")], [],
                [opt(options=option(10, b"12345678abcdefgh") + option(15, b"\0\3stale"))])

    def signature(base):
        rrsig = struct.pack(">HBBIIIH", 28, 8, 3, 300, 2 ** 31, 0, 1) + name("test.") + b"s" * 24
        answers = [record(b"\xc0\x0c", "AAAA", 300, bytes(16)), record(b"\xc0\x0c", "RRSIG", 300, rrsig)]
        return answers, [], [opt(do=True)]

    return [("A", address), ("A", chain), ("A", negative), ("MX", mail), ("TXT", text), ("TYPE65280", options),
            ("AAAA", signature)]


def reply_to(asked, make):
    message = Message(asked)
    sections = make(message.questions_end)
    return (header(message.id, 0x8480 | message.flags & 0x0110, 1, *map(len, sections))
            + asked[12:message.questions_end] + b"".join(r for section in sections for r in section))


class Mangler:
    """Sends what is wrong to the server under test, asks the canary in between, and keeps count."""

    def __init__(self, opts):
        self.address, self.port, self.pid = opts.address, opts.port, opts.pid
        self.canaries = self.sent = self.answered = 0
        self.wrong = []
        self.upstream = Upstream(*opts.upstream, self.upstream_says)
        self.upstream.start()
        self.mutations = {}  # first label -> mangled reply maker
        self.fresh = 0

    def upstream_says(self, asked, transport):
        message = Message(asked)
        label = bytes(message.questions[0][0][0]).lower() if message.questions and message.questions[0][0] else b""
        work = self.mutations.get(label)
        if work is None:
            return [plain_answer(asked)]
        make, index, over_tcp, thorough = work
        if over_tcp and transport == "udp":
            return [header(message.id, 0x8680 | message.flags & 0x0110, 1, 0, 0, 0) + asked[12:message.questions_end]]
        whole = reply_to(asked, make)
        for at, bad in enumerate(mangled(whole, thorough)):
            if at == index:
                return [bad, whole]
        return [whole]

    def complain(self, text):
        self.wrong.append(text)
        if len(self.wrong) <= 20:
            print(text)

    def canary(self):
        """A name never asked before, one that is in the cache, and one that it makes up itself."""
        self.canaries += 1
        self.fresh += 1
        for asked, wanted in ((f"fresh{self.fresh}.canary.test.", b"\xc0\0\2\x63"),
                              ("kept.canary.test.", b"\xc0\0\2\x63"), ("localhost.", b"\x7f\0\0\1")):
            sent = query(asked)
            try:
                reply = udp(sent, self.address, self.port, 5)
                message = Message(reply) if reply else None
            except (Malformed, ConnectionError) as error:
                message = self.complain(f"canary {asked}: {error}")
                continue
            good = (message and message.id == sent[0] << 8 | sent[1] and message.rcode == 0
                    and [r.rdata for r in message.sections[0]] == [wanted])
            if not good:
                self.complain(f"canary {asked}: {reply.hex() if reply else 'silence'}")

    def look(self, sent, reply):
        """A reply to a mangled query: sound, and to that query."""
        self.answered += 1
        try:
            message = Message(reply)
        except Malformed as error:
            self.complain(f"{sent.hex()} got {error}: {reply.hex()}")
            return
        if not message.is_set("qr") or reply[:2] != sent[:2] or message.is_set("z"):
            self.complain(f"{sent.hex()} got {reply.hex()}")

    def queries(self, thorough=True):
        for base in base_queries():
            batch = list(mangled(base, thorough))
            for start in range(0, len(batch), 50):
                self.queries_by_udp(batch[start:start + 50])
                self.canary()

    def queries_by_udp(self, batch):
        socks = []
        for message in batch:
            sock = socket.socket(family(self.address), socket.SOCK_DGRAM)
            sock.connect((self.address, self.port))
            sock.send(message)
            socks.append((sock, message))
            self.sent += 1
        self.canary()  # after it those that are answered at all have been answered
        for sock, message in socks:
            sock.settimeout(0)
            try:
                self.look(message, sock.recv(65535))
            except (BlockingIOError, ConnectionError):
                pass
            sock.close()

    def queries_by_tcp(self):
        """Each on a connection of its own; then a canary over TCP."""
        for base in base_queries():
            for number, message in enumerate(mangled(base, False)):
                self.sent += 1
                try:
                    with socket.create_connection((self.address, self.port), 5) as sock:
                        sock.sendall(struct.pack(">H", len(message)) + message)
                        if number % 16 == 0:  # the others hang up at once
                            sock.settimeout(0.05)
                            try:
                                data = sock.recv(65535)
                                if len(data) > 14:
                                    self.look(message, data[2:])
                            except TimeoutError:
                                pass
                except ConnectionError:
                    pass
            sent = query("kept.canary.test.")
            reply = tcp(sent, self.address, self.port, 5)
            if not reply or Message(reply).rcode != 0:
                self.complain(f"canary over TCP: {reply.hex() if reply else reply}")
            self.canary()

    def replies(self, round_number, over_tcp=False, thorough=True):
        """Asks for names whose answers come mangled first and sound after: each must be answered."""
        work = []
        for number, (kind, make) in enumerate(base_replies()):
            whole = reply_to(query(f"m{round_number}x{number}x0000.fuzz.test.", kind), make)
            size = len(list(mangled(whole, thorough)))
            work += [(f"m{round_number}x{number}x{index:04}", kind, make, index) for index in range(size)]
        for start in range(0, len(work), 50):
            batch = []
            for label, kind, make, index in work[start:start + 50]:
                self.mutations[label.encode()] = (make, index, over_tcp, thorough)
                sent = query(f"{label}.fuzz.test.", kind)
                sock = socket.socket(family(self.address), socket.SOCK_STREAM if over_tcp else socket.SOCK_DGRAM)
                sock.settimeout(5)
                sock.connect((self.address, self.port))
                sock.send(struct.pack(">H", len(sent)) + sent if over_tcp else sent)
                batch.append((sock, sent))
                self.sent += 1
            self.canary()
            for sock, sent in batch:
                with sock:
                    try:
                        if over_tcp:
                            length = read_exactly(sock, 2)
                            reply = read_exactly(sock, int.from_bytes(length, "big")) if length else b""
                        else:
                            reply = sock.recv(65535)
                    except (TimeoutError, ConnectionError) as error:
                        self.complain(f"{sent.hex()} got no answer: {error}")
                        continue
                self.look(sent, reply)
                if reply[12:len(sent)] != sent[12:]:
                    self.complain(f"{sent.hex()} got another question: {reply.hex()}")
            self.mutations.clear()


def mangle_main(words):
    """Prints what went wrong, then `wrong N`, and `grown N` (KiB between the rounds)."""
    arg = argparse.ArgumentParser(prog="dnswire.py mangle")
    arg.add_argument("what", choices=["queries", "queries-tcp", "replies", "replies-tcp"])
    arg.add_argument("address")
    arg.add_argument("port", type=int)
    arg.add_argument("pid", type=int)
    arg.add_argument("upstream", type=lambda x: (x.rsplit(":", 1)[0], int(x.rsplit(":", 1)[1])),
                     help="ADDRESS:PORT where we answer as the upstream")
    arg.add_argument("--rounds", type=int, default=2)
    opts = arg.parse_args(words)
    mangler = Mangler(opts)
    sizes = []
    for number in range(opts.rounds):
        if opts.what == "queries":
            mangler.queries(number > 0)
        elif opts.what == "queries-tcp":
            mangler.queries_by_tcp()
        else:
            mangler.replies(number, opts.what == "replies-tcp", opts.what == "replies" and number > 0)
        sizes.append(resident(opts.pid))
    print(f"sent {mangler.sent} answered {mangler.answered} canaries {mangler.canaries} resident {sizes}")
    print(f"wrong {len(mangler.wrong)}")
    print(f"grown {sizes[-1] - sizes[0]}")


# ---------------------------------------------------------------- chains of pointers


def ladder(start, size):
    """Records that fill a message up to `size` octets: one RDATA in which each pointer points to the
    one before, as high as a pointer can reach, then owners that all point to its top."""
    rungs = bytearray(b"\0")
    base = start + 11
    previous = base
    while base + len(rungs) + 2 <= 0x3FFF:
        at = base + len(rungs)
        rungs += struct.pack(">H", 0xC000 | previous)
        previous = at
    records = [record(b"\0", "TYPE65280", 300, bytes(rungs))]
    one = record(struct.pack(">H", 0xC000 | previous), "TYPE65281", 300, b"")
    records += [one] * ((size - start - len(records[0])) // len(one))
    return records


def stairs(start, size):
    """Owners each of which is a label and a pointer to the owner before, till 16 KiB; then more of the same."""
    records, at, previous = [], start, 12
    while at + 14 <= size:
        one = record(b"\1a" + struct.pack(">H", 0xC000 | previous), "TYPE65281", 300, b"")
        if at <= 0x3FFF and len(records) % 110 != 109:
            previous = at
        elif at <= 0x3FFF:
            previous = 12
        records.append(one)
        at += len(one)
    return records


def back_and_forth(start, size):
    """Owners that point to themselves, forwards, and at the end of the message."""
    records, at = [], start
    while at + 12 <= size:
        target = (at, at + 24, size - 2)[len(records) % 3]
        records.append(record(struct.pack(">H", 0xC000 | target & 0x3FFF), "TYPE65281", 300, b""))
        at += 12
    return records


CHAINS = [ladder, stairs, back_and_forth]


def chain_message(ident, flags, question_bytes, make, size, section):
    """`section` 1 is the answers, 3 the additional section."""
    records = make(12 + len(question_bytes), size)
    counts = [1, 0, 0, 0]
    counts[section] = len(records)
    return header(ident, flags, *counts) + question_bytes + b"".join(records)


def chains_main(words):
    """Prints what went wrong, then `wrong N`, and `milliseconds N`: CPU time of the server under test."""
    arg = argparse.ArgumentParser(prog="dnswire.py chains")
    arg.add_argument("what", choices=["queries", "replies"])
    arg.add_argument("address")
    arg.add_argument("port", type=int)
    arg.add_argument("pid", type=int)
    arg.add_argument("upstream", type=lambda x: (x.rsplit(":", 1)[0], int(x.rsplit(":", 1)[1])))
    arg.add_argument("--count", type=int, default=200)
    opts = arg.parse_args(words)
    wrong = 0
    messages = {}

    def says(asked, transport):
        message = Message(asked)
        label = bytes(message.questions[0][0][0]).lower()
        if not label.startswith(b"chain"):
            return [plain_answer(asked)]
        question_bytes = asked[12:message.questions_end]
        if transport == "udp":
            return [header(message.id, 0x8680 | message.flags & 0x0110, 1, 0, 0, 0) + question_bytes]
        make = CHAINS[int(label[5:]) % len(CHAINS)]
        # The records are the same for all names of one length: made once.
        key = make, len(question_bytes)
        if key not in messages:
            messages[key] = chain_message(0, 0, question_bytes, make, 65500, 1)
        built = messages[key]
        counts = struct.unpack_from(">4H", built, 4)
        return [header(message.id, 0x8480 | message.flags & 0x0110, *counts) + question_bytes
                + built[12 + len(question_bytes):], plain_answer(asked)]

    Upstream(*opts.upstream, says).start()
    udp(query("warm.canary.test."), opts.address, opts.port)
    before = cpu_seconds(opts.pid)
    sizes = []
    for number in range(opts.count):
        asked = f"chain{number:04}.fuzz.test."
        if opts.what == "replies":
            sent = query(asked)
            sizes.append(0)
            # Ignored, and the truth that follows it on the same connection counts.
            reply = tcp(sent, opts.address, opts.port)
            if not reply or reply[:2] != sent[:2] or reply[12:len(sent)] != sent[12:]:
                print(f"{asked}: {reply and reply.hex()[:200]}")
                wrong += 1
            continue
        sent = chain_message(number, 0x0100, question(asked), CHAINS[number % len(CHAINS)], 65500, 3)
        sizes.append(len(sent))
        reply = tcp(sent, opts.address, opts.port, 5)
        # An answer, FORMERR, or a closed connection; but a word.
        if show(reply, "{rcode}") not in ("NOERROR", "FORMERR", "closed"):
            print(f"{asked}: {show(reply, '{hex}')[:200]}")
            wrong += 1
    spent = cpu_seconds(opts.pid) - before
    canary = udp(query("canary.canary.test."), opts.address, opts.port)
    if not canary or Message(canary).rcode != 0:
        print(f"canary: {canary and canary.hex()}")
        wrong += 1
    print(f"wrong {wrong}")
    print(f"milliseconds {spent * 1000:.0f}")


COMMANDS = {"ask": ask_main, "silent": silent_main, "raw": raw_main, "serve": serve_main, "cook": cook_main,
            "compare": compare_main, "opinion": opinion_main, "mangle": mangle_main, "chains": chains_main}

if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1] not in COMMANDS:
        sys.exit(__doc__)
    COMMANDS[sys.argv[1]](sys.argv[2:])
