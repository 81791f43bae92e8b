"""tracecmp.py: does `mydocker -v` tell what strace saw?

tracecmp.py [--only CALLS] TRACE [LINES]    compares; prints each disagreement, exit code 1
tracecmp.py [--only CALLS] --prove TRACE [LINES]
                                            falsifies both in every way below, one at a time;
                                            prints each falsehood that is not noticed, exit code 1
tracecmp.py --same TRACE TRACE              two runs, told or not: did they make the same calls?

TRACE  what strace wrote: the FILE of `strace -f -o FILE`, the PREFIX of `strace -ff -o PREFIX`,
       or the standard error of `strace -f`, with or without the narrator's lines in between
LINES  the narrator's standard error (other lines in it are not looked at). `-` takes the lines
       from their write(2)s in TRACE (strace -s 4096). Without LINES they stand in TRACE itself.
CALLS  what strace was told to trace, as in its `-e trace=`: other lines are not compared

What is compared. The first process that executes mydocker is the engine. Each process that is a
copy of it tells under one name, and the parent's clone(2) leads to it, by its result. Of each, all
calls are compared in their order, byte for byte, from its start to its end or to the execve(2) of
another program. A line has to be written right after its call; that of an execve and of an
exit_group right before; and those of the calls that the stub makes, which cannot tell them, before the
execveat that starts it, in their order. Nothing is left out, but:
- the C library's start-up, right after the first execve and in its order (STARTUP), and its allocator's memory:
  brk(2), or mmap(2) of anonymous memory;
- what the stub does when its execve has failed (STUB), and nothing else does;
- the write of a line, to standard error or a copy of it, which has to be that line, whole, by the
  process that it names; and where a non-blocking one has no room for it, poll(2) until it has, and the rest;
- the last call of a process that a signal has killed before it told or made it (in its stead strace
  may write its killer's).
And nothing may differ, but:
- a string told with 32 bytes and `"...` stands for one that is longer; so does strace's own cut;
- `...` in a told struct stands for the rest of it, behind one field at least;
- "[secret]" stands for what a call of SECRET has read or written;
- a line `... 3 tee, 4 splice` stands for that many calls, made since the line before it, all of names in FOLDED;
- names of numbers that this strace does not know yet (SPELLINGS);
- the address of the environment, where the stub makes the execve;
- a call that a signal interrupts and the kernel restarts by itself is one call for the program,
  and two for strace: `= ? ERESTARTSYS`, and then the same call again (or restart_syscall), whose
  result counts, without what strace adds to that of a poll it has seen whole. The program has no signal handler,
  so no such call ends with EINTR.
WHO is no claim of its own: a process has one name, in its parent's family as its clone says. A helper is called
after the program that it executes; `layer2` is the third layer that the engine has missed in the store.
"""
import copy
import difflib
import glob
import os
import re
import sys

WHO = r"[a-z]+\d*(?:/[^\s/]+)*"
STEPS = set("start image clone bundle world network power command end ask fetch unpack put query store boot".split())
CUT = 32  # bytes of a string that the narrator tells, as strace does by default

# What the C library does between an execve and main, in this order: name, pattern of the arguments.
STARTUP = [("brk", r"NULL"), ("brk", r"0x[0-9a-f]+"), ("arch_prctl", r"ARCH_SET_FS, 0x[0-9a-f]+"),
           ("set_tid_address", r"0x[0-9a-f]+"), ("set_robust_list", r"0x[0-9a-f]+, 24"),
           ("rseq", r"0x[0-9a-f]+, 0x20, 0, 0x53053053"), ("prlimit64", r"0, RLIMIT_STACK, NULL, \{.*\}"),
           ("readlink", r'"/proc/self/exe", ".*"(?:\.\.\.)?, 4096'), ("getrandom", r'".*", 8, GRND_NONBLOCK'),
           ("brk", r"NULL"), ("brk", r"0x[0-9a-f]+"), ("brk", r"0x[0-9a-f]+"),
           ("mprotect", r"0x[0-9a-f]+, \d+, PROT_READ")]
# And the stub, behind an execve that has failed.
STUB = [("writev", r'3, \[\{iov_base="[^"]*", iov_len=8\}, \{iov_base=.*\}\], 2'), ("exit_group", "127")]
# How a reason begins that names the one failure that is no error (`if possible: ` allows any). It may name
# another instead: `(EINVAL: there is none)`.
CONDITIONS = {"if there is one": "ENOENT", "unless it is there": "EEXIST", "if it is empty": "ENOTEMPTY",
              "if all are mapped here": "EPERM", "if what is above it is there": "ENOENT"}
# What repeats a thousand times, and may be told by its sum.
FOLDED = set("tee splice read write close openat openat2 getdents64 newfstatat unlink unlinkat rmdir renameat mkdir mknodat "
             "lsetxattr lgetxattr utimensat chmod lchown socket connect epoll_ctl".split())
# Whose bytes may be a secret, and the token before them.
SECRET = {"read": ", ", "write": ", ", "sendto": ", ", "sendmsg": "iov_base=", "recvmsg": "iov_base="}
# As this strace writes it, and as the kernel's headers do.
SPELLINGS = {("memfd_create", "|0x10"): "|MFD_EXEC", ("ioctl", "SNDCTL_TMR_STOP or TCSETSW"): "TCSETSW"}
EVERY = 7  # of the falsehoods of --prove, about 17 a line, one in so many is tried: fewer of a long trace
LONG = 250_000  # calls that all comparisons together may look at
ALWAYS = {"one more is told", "another name"}
FORKS = {"clone", "clone3", "fork", "vfork"}
EXECS = {"execve", "execveat"}

TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"(?:\.\.\.)?|/\*.*?\*/|, |\.\.\.|[{}\[\]()]|[^"{}\[\](),./]+|.', re.S)
OPEN, CLOSE = set("{[("), set("}])")


class Call:
    """One system call, as strace wrote it. The result is None when it never returned."""

    def __init__(self, name, args, result, at):
        self.name, self.args, self.result, self.at = name, args, result, at
        self.line = ...  # what narrated() says of it
        self.resumed = False  # as restart_syscall, whose result strace shows as a number alone

    def __str__(self):
        return f"{self.name}({self.args}) = {self.result or '?'}"


class Line:
    """One line of the narrator. Kind: `call`, `before` (an execve, exit_group), `resumed`, `fold`, or
    `bad`; what is wrong with its form is the fault."""

    def __init__(self, text):
        self.raw = text
        text = re.sub(r"\x1b\[[0-9;]*m|\r$", "", text)  # \r: a terminal in raw mode
        self.text = text
        self.who = re.match(WHO, text).group()
        self.kind, self.name, self.args, self.result, self.reason, self.counts = "bad", None, None, None, None, []
        self.fault = None
        rest = text[len(f"{self.who:<6} "):]
        if not text.startswith(f"{self.who:<6} ") or rest.startswith(" "):
            self.fault = "the name is not followed by one space, padded to six"
            return
        tail = r"   (.*?)   \[(\w+), (\w+\.rs):\d+\]$"
        fold = re.match(r"\.\.\. (\d+ \w+(?:, \d+ \w+)*)" + tail, rest)
        resumed = re.match(r"<\.\.\. (\w+) resumed>\) = (\S.*?)" + tail, rest)
        name, args, end, unfinished = split(rest)
        after = re.match(tail if unfinished else r" = (\S.*?)" + tail, rest[end:]) if name else None
        if fold:
            self.kind, self.reason, step = "fold", fold[2], fold[3]
            self.counts = [(name, int(count)) for count, name in re.findall(r"(\d+) (\w+)", fold[1])]
        elif resumed:
            self.kind, self.name, self.result, self.reason, step = ("resumed", *resumed.groups()[:4])
        elif after:
            self.kind = "before" if unfinished or name == "exit_group" else "call"
            self.name, self.args = name, args
            self.result = None if unfinished else after[1]
            self.reason, step = after.groups()[-3:-1]
            if unfinished and name not in EXECS | {"fcntl"}:
                self.kind, self.fault = "bad", "only an execve and what the stub does are told unfinished"
                return
        else:
            self.fault = "no line of the form `WHO CALL(ARGUMENTS) = RESULT   REASON   [STEP, FILE:LINE]`"
            return
        if not self.reason.strip():
            self.fault = "no reason is given"
        elif step not in STEPS:
            self.fault = f"no step is called {step}"


def split(text):
    """`NAME(ARGS)...` -> the name, the arguments, where they end, and whether they end `<unfinished ...>`."""
    head = re.match(r"(\w+)\(", text)
    if not head:
        return None, None, 0, False
    depth = 1
    for token in TOKEN.finditer(text, head.end()):
        word = token.group()
        cut = word.find(" <unfinished ")
        if cut >= 0 and depth == 1 and text.startswith("...>", token.end()):
            return head[1], text[head.end():token.start() + cut], token.end() + 4, True
        if word in OPEN:
            depth += 1
        elif word in CLOSE:
            depth -= 1
            if depth == 0:
                return head[1], text[head.end():token.start()], token.end(), False
    return None, None, 0, False


# ---------------------------------------------------------------- what strace wrote

def read(path):
    with open(path, encoding="latin-1", newline="\n") as file:  # each byte is a character
        return file.read()


class Trace:
    """processes: by pid, in the order of their first line: their calls. killed, status: how they ended."""

    def __init__(self, path, mixed):
        self.processes, self.killed, self.status, self.lines = {}, set(), {}, []
        self.halves = {}
        files = [path] if os.path.exists(path) else sorted(glob.glob(path + ".*"), key=lambda f: int(f.split(".")[-1]))
        if not files:
            sys.exit(f"tracecmp.py: no {path}")
        for file in files:
            text = read(file)
            if mixed:
                # A line is written while strace stands in the middle of its own: but never behind a quote.
                lines = re.compile(r'(?<!")(?:engine|child|layer\d+)(?:/[^\s/]+)? +(?:\w+\(|<\.\.\. |\.\.\. \d)'
                                   r".*\[\w+, \w+\.rs:\d+\]\n")
                self.lines = [Line(line[:-1]) for line in lines.findall(text)]
                text = lines.sub("", text)
            self.read(text, int(file.split(".")[-1]) if file != path else None)
        for pid, calls in self.processes.items():
            self.processes[pid] = restarted(calls)

    def read(self, text, pid):
        # Without a pid in front it is that of the only process there is: the first, or the last.
        text = re.sub(r"strace: Process (\d+) attached\n", "\0\\1\0", text)
        alive = [pid or 0]
        for at, line in enumerate(text.split("\n"), 1):
            # A message in the middle of a line comes after the beginning of that line.
            before = re.match("(?:\0\\d+\0)*", line).group()
            new = [int(n) for n in re.findall("\0(\\d+)\0", line[len(before):])]
            alive += [int(n) for n in re.findall("\\d+", before)]
            line = re.sub("\0\\d+\0", "", line)
            who = re.match(r"(?:\[pid +(\d+)\]|(\d+)) +", line)
            owner = int(who[1] or who[2]) if who else alive[0]
            if 0 in alive and owner not in alive:
                self.rename(owner)  # the first process has no number in front before it has a child
                alive[alive.index(0)] = owner
            alive += new
            line = line[who.end():] if who else line
            self.event(owner, line, at)
            if re.match(r"\+\+\+ (?:exited|killed)", line):
                alive = [p for p in alive if p != owner] or [owner]

    def rename(self, pid):
        self.processes = {pid if old == 0 else old: calls for old, calls in self.processes.items()}
        self.halves = {pid if old == 0 else old: half for old, half in self.halves.items()}

    def event(self, pid, line, at):
        if not line:
            return
        calls = self.processes.setdefault(pid, [])
        ended = re.match(r"\+\+\+ (exited with (\d+)|killed by \w+)", line)
        if ended:
            self.status[pid] = int(ended[2]) if ended[2] else None
            if not ended[2]:
                self.killed.add(pid)
        resumed = re.match(r"<\.\.\. (\S+) resumed>", line)
        if resumed and pid in self.halves:
            call, half = self.halves.pop(pid)
            line = half + line[resumed.end():]
            _, call.args, end, _ = split(line)
            call.result = result_of(line[end:])
            return
        for (name, theirs), ours in SPELLINGS.items():
            line = line.replace(theirs, ours) if line.startswith(name + "(") else line
        name, args, end, unfinished = split(line)
        if not name:
            return  # a signal, an end, a message of strace
        call = Call(name, args, None if unfinished else result_of(line[end:]), at)
        if unfinished and line[end:] == "":
            self.halves[pid] = call, line[:line.rindex(" <unfinished ...>")]
        calls.append(call)


def is_memory(call):
    """The C library's allocator: brk(2), and for large blocks anonymous memory of the process's own."""
    return call.name in ("brk", "munmap", "mremap") or call.name == "mmap" and re.fullmatch(
        r"NULL, \d+, PROT_READ\|PROT_WRITE, MAP_PRIVATE\|MAP_ANONYMOUS, -1, 0", call.args) is not None


def result_of(text):
    result = re.match(r"\s*= (.*?)(?: \(INJECTED\))?$", text)
    return None if not result or result[1] in ("?", "? <unavailable>") else result[1]


def restarted(calls):
    """Joins a call that the kernel has restarted with its second part."""
    out = []
    for call in calls:
        before = out[-1] if out else None
        if before and (before.result or "").startswith("? ERESTART"):
            if call.name == before.name:
                before.args, before.result = call.args, call.result
                continue
            if call.name == "restart_syscall":
                before.result, before.resumed = call.result, True
                continue
        out.append(call)
    for call in out[-1:]:
        if (call.result or "").startswith("? ERESTART"):
            call.result = None  # killed in it
    return out


# ---------------------------------------------------------------- words

ESCAPE = re.compile(r'\\(?:([0-7]{1,3})|x([0-9a-f]{2})|(.))')
LETTERS = {"n": "\n", "t": "\t", "r": "\r", "v": "\v", "f": "\f"}


def unquote(string):
    """A string of strace without its quotes -> its bytes, as characters."""
    return ESCAPE.sub(lambda m: chr(int(m[1], 8)) if m[1] else chr(int(m[2], 16)) if m[2] else LETTERS.get(m[3], m[3]),
                      string)


def same_string(told, traced):
    if told == traced:
        return True
    if not (told.startswith('"') and traced.startswith('"')):
        return False
    mine, theirs = unquote(told.rstrip(".")[1:-1]), unquote(traced.rstrip(".")[1:-1])
    if told.endswith("..."):
        # The first 32 bytes of more than 32.
        return len(mine) == CUT and (theirs.startswith(mine) and len(theirs) > CUT or
                                     traced.endswith("...") and mine.startswith(theirs))
    return traced.endswith("...") and len(mine) > len(theirs) and mine.startswith(theirs)


def without_address(args):
    """Of an execve: it ends with where the environment is, and how many variables are in it."""
    return re.sub(r", 0x[0-9a-f]+ (/\* \d+ vars? \*/)$", r", \1", args)


def same(told, traced, name):
    """Do the arguments of a call of this name agree?"""
    if told == traced:
        return True
    a, b = TOKEN.findall(told), TOKEN.findall(traced)
    i = j = 0
    inside = []
    while i < len(a) and j < len(b):
        if a[i] == "..." and inside[-1:] == ["{"] and a[i - 1] == ", " and b[j] != "...":
            while j < len(b) and not b[j] == "}":
                j = behind(b, j)
            i += 1
        elif b[j] == "..." and inside[-1:] == ["["] and a[i] != "...":
            while i < len(a) and not a[i] == "]":  # strace itself ends an array after as many as a string's bytes
                i = behind(a, i)
            j += 1
        elif same_string(a[i], b[j]) or is_secret(a, i, name) and b[j].startswith('"'):
            if a[i] in OPEN:
                inside.append(a[i])
            elif a[i] in CLOSE and inside:
                inside.pop()
            i, j = i + 1, j + 1
        else:
            return False
    return i == len(a) and j == len(b)


def is_secret(tokens, at, name):
    """What stands here is struck out: the buffer of a call that has one."""
    if tokens[at] != '"[secret]"' or name not in SECRET:
        return False
    before = "".join(tokens[:at])
    return before.endswith(SECRET[name]) and (SECRET[name] != ", " or before.count(", ") == 1)


def behind(tokens, at):
    """Past a token, or past all of what it opens."""
    depth = 0
    while at < len(tokens):
        depth += (tokens[at] in OPEN) - (tokens[at] in CLOSE)
        at += 1
        if depth == 0:
            break
    return at


COLOUR = r"(?:\x1b\[[0-9;]*m)*"
# How a line begins, and what strace may show of it.
BEGINNING = re.compile(COLOUR + WHO + r" +(?:\w+\(|<\.\.\. |\.\.\. \d)")
CUT_BEGINNING = re.compile(COLOUR + WHO + r" +\w*\Z")
NARRATED = re.compile(r'\d+, "((?:[^"\\]|\\.)*)"(\.\.\.)?, (\d+)$', re.S)


def narrated(call):
    """The beginning of the line that this call writes, whether that is all of it, and its length; or None."""
    if call.line is ...:
        call.line = None
        write = NARRATED.match(call.args) if call.name == "write" else None
        text = unquote(write[1]) if write else ""
        if BEGINNING.match(text) or write and write[2] and CUT_BEGINNING.match(text):
            call.line = text, not write[2], int(write[3])
    return call.line


# ---------------------------------------------------------------- one process after another

class Comparison:
    def __init__(self, trace, lines, only=None):
        self.trace, self.only = trace, only
        self.told = {}  # by name: the lines, and how many of them have been met
        for line in lines:
            self.told.setdefault(line.who, [[], 0])[0].append(line)
        self.wrong, self.counts = [], {}
        self.places = []  # of each line: the process, its write(2), and the call that it tells
        self.seen, self.strangers = set(), 0
        self.workers = []  # who, pid

    def complain(self, who, pid, at, what, told=None, traced=None):
        told = getattr(told, "text", told)
        self.wrong.append((f"{who} (pid {pid}), trace line {at}", what, told, traced and str(traced)))

    def run(self):
        root = engine(self.trace, self.only)
        if root is None:
            self.complain("nobody", 0, 0, "no process executes mydocker")
            return self
        self.process(root, None, start_of(self.trace.processes[root]) if not self.only else 0)
        if not self.only:
            self.layers(root)
        for who, (lines, met) in self.told.items():
            for line in lines[met:]:
                self.complain(who, "?", "-", "no process has written this line", told=line)
        left = [pid for pid in self.trace.processes if pid not in self.seen]
        if not self.only and len(left) > self.strangers:
            self.complain("nobody", left, "-", f"{len(left)} processes that nobody has cloned, {self.strangers} known")
        if not self.counts.get("told"):
            self.complain("nobody", 0, 0, "no line at all is told")
        return self

    def count(self, what):
        self.counts[what] = self.counts.get(what, 0) + 1

    def layers(self, root):
        """A pull's workers are numbered as the engine looked for the layers and missed them; each looks for its own."""
        asked, asks = [], re.compile(r'"[^"]*/layers/([^"/]+)"')
        missed = {}
        for call in self.trace.processes[root]:
            name = asks.search(call.args) if call.name == "newfstatat" else None
            if call.name in FORKS and int(call.result or 0) in dict(map(reversed, self.workers)):
                break
            if name and (call.result or "").startswith("-1 ENOENT"):
                missed.setdefault(name[1], len(missed))
        for who, pid in self.workers:
            number = int(who[len("layer"):])
            own = [missed.get(name) for call in self.trace.processes[pid] if call.name in ("newfstatat", "rename")
                   for name in asks.findall(call.args)]
            if number in asked or number >= len(missed) or own and set(own) != {number}:
                self.complain(who, pid, "-", f"of the layers that were missed it has number {own[-1:]}")
            asked.append(number)

    def process(self, pid, parent, start=None, birth=None):
        """One of ours, from its start (behind the execve at `start`, or its birth) to its end; then its children."""
        calls = self.trace.processes.get(pid, [])
        self.seen.add(pid)
        me = Process(self, pid, parent, birth)
        children = me.walk(calls, start)
        if re.match("layer", me.who or "") and parent == "engine":
            self.workers.append((me.who, pid))
        for child, foreign, birth in children:
            if foreign:
                self.stranger(child, me.who)
            elif child in self.seen:
                self.complain(me.who, pid, "-", f"process {child} was there before it was cloned")
            else:
                self.process(child, me.who, birth=birth)

    def stranger(self, pid, who):
        """A process of another program, and those that it starts."""
        if who == "child" or pid not in self.trace.processes or pid in self.seen:
            self.strangers += 1  # numbers of the container's own pid namespace lead nowhere
            if who == "child":
                return
        if pid in self.seen:
            return
        self.seen.add(pid)
        for call in self.trace.processes.get(pid, []):
            self.count("other programs")
            if call.name in FORKS and (call.result or "-").isdigit():
                self.stranger(int(call.result), who)


class Process:
    def __init__(self, comparison, pid, parent, birth):
        self.all, self.pid, self.parent, self.birth = comparison, pid, parent, birth
        self.who, self.names = None, set()
        self.claimed = set()  # of its children, see child()
        self.pending = []  # calls made and not told yet
        self.expected = []  # the lines of the calls that come next
        self.stub = None  # once it is executed: how many calls of STUB it has made
        self.failed = None  # the execve that has failed and is not told yet
        self.executed = None  # the other program that it has become
        self.room = None  # a line is to be written, or the rest of one: where, its length, and what is known of it
        self.at = 0

    def wrong(self, what, told=None, traced=None):
        self.all.complain(self.who or f"copy of {self.parent}", self.pid, self.at, what, told, traced)

    def walk(self, calls, start):
        children = []
        startup = 0 if start is not None else None
        foreign = False
        for i, call in enumerate(calls):
            if start is not None and i < start:
                continue
            self.at = call.at
            forked = call.name in FORKS and (call.result or "-").isdigit()
            if foreign:
                self.all.count("other programs")
                if forked:
                    children.append((int(call.result), True, call))
                continue
            if start is not None and i == start and not self.all.only:
                self.all.count("first execve")
                continue
            if self.waits(call):
                continue
            written = narrated(call)
            if startup is not None and not written:
                step = next((s for s in range(startup, len(STARTUP)) if STARTUP[s][0] == call.name and
                             re.fullmatch(STARTUP[s][1], call.args, re.S)), None)
                if step is not None:
                    startup = step + 1
                    self.all.count("start-up")
                    continue
            startup = None
            if written and call.result is None and self.pid in self.all.trace.killed:
                self.cut_off(*written)
            elif written:
                line = self.line(call, *written)
                if line and self.all.only and self.executes(line, calls[i + 1:]):
                    foreign, startup, self.expected = line.name == "execve", 0, []
            elif is_memory(call):
                self.all.count("memory")
            elif self.expected and call is calls[-1] and call.result is None and self.pid in self.all.trace.killed:
                self.expected = []
            elif self.stub is not None and self.failed:
                self.stubs(call)
            else:
                self.made(call)
                if call.name == "execveat" and call.result == "0":
                    self.stub = 0
                if call.name == "execve" and call.result == "0":
                    self.failed = None
                    self.unmet()
                    foreign = True
                    if foreign:
                        self.executed = os.path.basename(re.match(r'"([^"]*)"', call.args)[1])
                if forked:
                    children.append((self.child(call), False, call))
        self.end(calls, foreign)
        return children

    def executes(self, line, rest):
        """Of a line `execve(... <unfinished ...>` whose call is not traced: does it go on as another program?"""
        if line.kind != "before" or line.name not in EXECS or line.name in self.all.only:
            return False
        after = next((narrated(call) for call in rest if narrated(call)), None)
        return not (after and re.match(COLOUR + r"\S+ +<\.\.\. " + line.name, after[0]))

    def cut_off(self, text, *_):
        """Killed while it wrote a line: that may be there, or not."""
        told = self.all.told.get(self.who, [[], 0])
        if told[1] < len(told[0]) and (told[0][told[1]].raw + "\n").startswith(text):
            told[1] += 1
            self.tell(told[0][told[1] - 1])

    def line(self, call, text, whole, length):
        """A line is written: it has to be the next one of this process, and to tell the call before it."""
        self.all.count("told")
        who = re.match(f"{COLOUR}({WHO})", text)[1]
        if self.who is None:
            self.who = who
            if not re.fullmatch(self.family(), who):
                self.wrong(f"no name for a child of {self.parent}", told=text)
            self.names = {who}
        elif who not in self.names:
            self.names.add(who)
            self.wrong(f"one process, two names: {self.who}", told=text)
        told = self.all.told.get(who, [[], 0])
        line = told[0][told[1]] if told[1] < len(told[0]) else None
        if line is None or not (line.raw + "\n" == text if whole else (line.raw + "\n").startswith(text)) or \
                len(line.raw) + 1 != length:
            self.wrong("strace saw another line written than the one that is there", told=line, traced=call)
            # Found again further on?
            ahead = next((i for i in range(told[1], len(told[0])) if len(told[0][i].raw) + 1 == length and
                          (told[0][i].raw + "\n").startswith(text)), None)
            if ahead is None:
                return None
            line = told[0].pop(ahead)
            told[0].insert(told[1], line)
        told[1] += 1
        self.all.places.append([line, self.pid, call, None])
        if (call.result or "").isdigit() and int(call.result) < length:
            done = int(call.result)
            self.room = call.args.split(",")[0], length - done, (line.raw + "\n")[done:]
        elif call.result != str(length) and not self.killed_in(call):
            self.wrong("a line was not written whole", traced=call)
        self.tell(line)
        return line

    def tell(self, line):
        if line.fault:
            self.wrong(line.fault, told=line)
        if line.kind == "bad":
            self.pending = self.pending[:-1]
            return
        if line.kind == "before" and self.expected and self.expected[0].name == "execveat":
            self.expected.append(line)  # what the stub is going to do
            return
        if line.kind == "resumed" and self.failed and self.failed.name == "execveat":
            self.expected = []  # there is no stub to do it
        self.unmet()
        if line.kind == "resumed":
            if self.all.only and line.name not in self.all.only:
                return
            self.untold()
            if not self.failed or line.name != self.failed.name or line.result != self.failed.result:
                self.wrong("another result of it was told", told=line, traced=self.failed)
            self.tolerated(line)
            self.failed = None
            return
        self.refused()
        if line.kind == "fold":
            made = {}
            for call in self.pending:
                made[call.name] = made.get(call.name, 0) + 1
            strange = [name for name, _ in line.counts if name not in FOLDED]
            if strange:
                self.wrong(f"{', '.join(strange)}: to be told one by one", told=line)
            counts = [c for c in line.counts if not self.all.only or c[0] in self.all.only]
            if counts != list(made.items()):
                self.wrong("the sums differ", told=line, traced=", ".join(f"{n} {name}" for name, n in made.items()))
            self.pending = []
            return
        if self.all.only and line.name not in self.all.only:
            self.untold()
        elif line.kind == "before":
            self.untold()
            self.expected = [line]
        elif not self.pending:
            self.wrong("told, but not made", told=line)
        else:
            call = self.pending.pop()
            self.all.places[-1][3] = call
            self.untold()
            self.agree(line, call)
            self.tolerated(line)

    def made(self, call):
        self.refused()
        if self.expected:
            line = self.expected.pop(0)
            self.agree(line, call)
            self.all.places[-1][3] = call
            if call.name in EXECS and call.result != "0":
                self.failed = call
        else:
            if call.name in EXECS or call.name == "exit_group":
                self.wrong("not told before it was made", traced=call)
            else:
                self.pending.append(call)
        self.all.count("made")

    def agree(self, line, call):
        if line.name != call.name:
            self.wrong("another call was told", told=line, traced=call)
        elif not same(line.args, without_address(call.args) if self.stub is not None else call.args, call.name):
            self.wrong("the arguments differ", told=line, traced=call)
        elif call.resumed and line.result and line.result.split(" (")[0] == (call.result or "?").split(" (")[0]:
            pass
        elif line.result != (call.result or "?") and line.result is not None:
            self.wrong("the results differ", told=line, traced=call)

    def tolerated(self, line):
        """A failure after which a process went on and ended well is one that the reason says may be."""
        errno = re.match(r"-1 (E\w+)", line.result)
        if not errno or self.all.trace.status.get(self.pid) != 0:
            return
        condition = line.reason.partition(": ")[0]
        if condition != "if possible" and CONDITIONS.get(condition) != errno[1] and \
                not (condition in CONDITIONS and f"({errno[1]}: " in line.reason):
            self.wrong("it failed, and all went well, but the reason does not say that it may fail so", told=line)

    def untold(self):
        for call in self.pending:
            self.at, at = call.at, self.at
            self.wrong("made, but not told", traced=call)
            self.at = at
        self.pending = []

    def stubs(self, call):
        """It cannot become the command: it says so, and ends."""
        name, args = STUB[self.stub] if self.stub < len(STUB) else ("nothing", "")
        if call.name != name or not re.fullmatch(args, call.args, re.S):
            self.wrong(f"the stub has failed, and what comes is not {name}", traced=call)
        self.stub += 1
        self.all.count("stub")

    def unmet(self):
        for line in self.expected:
            self.wrong("told, but not made next", told=line)
        self.expected = []

    def refused(self):
        if self.failed and self.stub is None:
            self.wrong("that it failed was not told", traced=self.failed)
            self.failed = None

    def child(self, clone):
        """Whom a clone has made. To the container's pid 1 its result is a number of its own pid namespace: then it is
        the process that came up next to it and that nobody else has cloned."""
        if self.who != "child":
            return int(clone.result)
        cloned = {int(call.result) for calls in self.all.trace.processes.values() for call in calls
                  if call.name in FORKS and (call.result or "-").isdigit()}
        free = [(abs(calls[0].at - clone.at), pid) for pid, calls in self.all.trace.processes.items()
                if calls and pid not in self.all.seen | cloned | self.claimed]
        found = min(free, default=(0, int(clone.result)))[1]
        self.claimed.add(found)
        return found

    def family(self):
        """The names that the child of this clone may have."""
        flags = self.birth.args if self.birth else ""
        if self.parent is None:
            return "engine"
        if "CLONE_NEWPID" in flags:
            return "child" if self.parent == "engine" else f"{self.parent}/try"
        if "CLONE_NEWUSER" in flags:
            return f"{self.parent}/job"
        return rf"{self.parent}/(?!job$)[^/]+" + (r"|layer\d+" if self.parent == "engine" else "")

    def killed_in(self, call):
        """The result that strace shows of a process's last call, when a signal kills it, is anything."""
        trace = self.all.trace
        return self.pid in trace.killed and trace.processes[self.pid][-1] is call

    def waits(self, call):
        """The narrator waits for room, or writes again what there was no room for."""
        if not self.room:
            write = narrated(call)
            if write and re.match("-1 EAGAIN", call.result or ""):
                self.room = call.args.split(",")[0], write[2], None
            return self.room is not None
        fd, length, rest = self.room
        if call.name == "poll" and call.args.startswith(f"[{{fd={fd}, events=POLLOUT}}], 1, -1"):
            return True
        self.room = None
        write = NARRATED.match(call.args) if call.name == "write" else None
        if not write or not call.args.startswith(f"{fd}, ") or int(write[3]) != length or \
                rest and not rest.startswith(unquote(write[1])):
            self.wrong("a line was not written whole", traced=call)
            return False
        if re.match("-1 EAGAIN", call.result or ""):
            self.room = fd, length, rest
        elif rest and (call.result or "").isdigit() and int(call.result) < length:
            self.room = fd, length - int(call.result), rest[int(call.result):]
        return self.room is not None or rest is not None

    def end(self, calls, foreign):
        killed = self.pid in self.all.trace.killed
        if killed and not foreign:
            self.expected, self.failed = [], None
            if len(self.pending) == 1 and (self.pending[0] is calls[-1] or narrated(calls[-1])):
                self.pending = []
        self.untold()
        self.refused()
        self.unmet()
        if self.stub is not None and self.failed and self.stub < len(STUB) and not killed:
            self.wrong("the stub has failed, and not said so")
        if self.room and not killed:
            self.wrong("a line was not written whole")
        *helper, name = (self.who or "").rsplit("/", 1)
        # One that ends badly may not have come so far, nor may one that was killed.
        ended = self.all.trace.status.get(self.pid) == 0
        wanted = {None} if name in ("job", "builder", "try") else {name} if ended else {name, None}
        if helper and self.executed not in wanted and not self.all.only:
            self.wrong(f"it executes {self.executed or 'no program'}")


def engine(trace, only):
    if only:
        return next(iter(trace.processes), None)
    return next((pid for pid, calls in trace.processes.items() if start_of(calls) is not None), None)


def start_of(calls):
    """Where a process becomes mydocker."""
    for i, call in enumerate(calls):
        if call.name == "execve" and call.result == "0" and re.match(r'"(?:[^"]*/)?mydocker"', call.args):
            return i
    return None


# ---------------------------------------------------------------- what it is good for

def lines_of(trace, lines):
    if lines is None:
        return trace.lines
    if lines == "-":
        texts = (narrated(call) for calls in trace.processes.values() for call in calls)
        return [Line(text[0][:-1]) for text in texts if text]
    return [Line(text) for text in read(lines).split("\n") if BEGINNING.match(text)]


def written(raw, result=None):
    """The write(2) of a line."""
    text = (raw + "\n").replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return Call("write", f'2, "{text}", {len(raw) + 1}', result or str(len(raw) + 1), 0)


def other(text):
    """The same with one letter or digit changed."""
    at = re.search(r"[A-Za-z0-9]", text)
    return text[:at.start()] + ("7" if at.group() != "7" else "8") + text[at.end():] if at else text + "7"


def falsehoods(trace, lines, places, only):
    """Each way in which the two can disagree: a name for it, where it is, and the trace and lines that do."""
    def with_calls(pid, calls):
        new = copy.copy(trace)
        new.processes = {**trace.processes, pid: calls}
        return new

    def put(old, new):  # lines with one replaced by any number
        at = next(i for i, line in enumerate(lines) if line is old)
        return lines[:at] + new + lines[at + 1:]

    names = sorted({line.who for line in lines} - {"engine"})
    for name in names:
        yield "another name", name, *renamed(trace, lines, places, name)

    for number, (line, pid, write, call) in enumerate(places):
        calls = trace.processes[pid]
        at = next(i for i, c in enumerate(calls) if c is write)
        here = line.text
        if pid in trace.killed and at >= len(calls) - 2:
            continue  # the call that a killed process may leave untold
        without = calls[:at] + calls[at + 1:]

        def retold(raw, at=at, line=line, calls=calls, pid=pid):
            return with_calls(pid, calls[:at] + [written(raw)] + calls[at + 1:]), put(line, [Line(raw)])

        yield "a line is lost", here, trace, put(line, [])
        yield "a line was not written", here, with_calls(pid, without), lines
        if not only or call:
            yield "a call is never told", here, with_calls(pid, without), put(line, [])
            twice = calls[:at] + [write] + calls[at:]
            yield "a call is told twice", here, with_calls(pid, twice), put(line, [line, line])
        plain = line.text
        reason = re.search(r"   \S.*   \[\w+, \w+\.rs:\d+\]$", plain)
        yield "no reason is given", here, *retold(plain[:reason.start()] + plain[plain.rindex("   ["):])
        name = "child" if line.who != "child" else "engine"
        yield "another process is named", here, *retold(f"{name:<6} {plain[len(f'{line.who:<6} '):]}")
        count_one = f"{line.who:<6} ... 1 {line.name}{plain[reason.start():]}"
        if call is not None and call.name not in FOLDED:
            yield "it is told as a sum", here, *retold(count_one)
        if line.kind == "fold":
            for name, count in line.counts:
                if not only or name in only:
                    more = plain.replace(f" {count} {name}", f" {count + 1} {name}", 1)
                    yield "one more is told", here, *retold(more)
        if call is None:
            continue
        made = next(i for i, c in enumerate(calls) if c is call)
        head = f"{line.who:<6} {line.name}("
        yield "another argument is told", here, *retold(head + other(plain[len(head):]))
        yield "another call is told", here, *retold(plain.replace(f"{line.name}(", f"{other(line.name)}(", 1))
        struct = re.search(r"\{\w+=[^{}]*\}", line.args or "")
        if struct:
            yield "no field of a struct is told", here, *retold(plain.replace(struct.group(), "{...}", 1))
        string = re.search(r'"(?:[^"\\]|\\.)*"', line.args or "")
        if string and line.name not in SECRET:
            yield "a secret is made of it", here, *retold(plain.replace(string.group(), '"[secret]"', 1))
        if line.kind == "call":
            end = len(head) + len(line.args)
            yield "another result is told", here, *retold(plain[:end] + other(plain[end:]))

        def instead(*new, made=made, calls=calls, pid=pid):
            return with_calls(pid, calls[:made] + list(new) + calls[made + 1:]), lines

        yield "a call was not made", here, *instead()
        if call.name not in EXECS or call.result != "0":
            yield "a call was made twice", here, *instead(call, call)
        yield "another argument was made", here, *instead(Call(call.name, other(call.args), call.result, call.at))
        yield "another result came", here, *instead(Call(call.name, call.args, other(call.result or "0"), call.at))
        yield "the start-up does not end", here, *instead(Call("mprotect", "0x1000, 4096, PROT_READ", "0", 0), call)
        following = next((p for p in places[number + 1:] if p[1] == pid and p[3] is not None), None)
        if following and str(following[3]) != str(call):
            then = next(i for i, c in enumerate(calls) if c is following[3])
            swapped = list(calls)
            swapped[made], swapped[then] = swapped[then], swapped[made]
            yield "two calls were made the other way round", here, with_calls(pid, swapped), lines


def renamed(trace, lines, places, name):
    """All that a process and its helpers tell, under a name that it does not have; a layer's worker and the next one
    have swapped theirs."""
    layer = re.fullmatch(r"layer(\d+)", name)
    following = f"layer{int(layer[1]) + 1}" if layer else None
    new_name = {"child": "engine/child"}.get(name, following or name + "x")

    def new(line):
        for old, new in ((name, new_name), (following, name)):
            if old and (line.who == old or line.who.startswith(old + "/")):
                who = new + line.who[len(old):]
                return Line(f"{who:<6} {line.text[len(f'{line.who:<6} '):]}")
        return line

    known = {id(line): new(line) for line in lines}
    writes = {id(write): written(known[id(line)].raw) for line, _, write, _ in places if known[id(line)] is not line}
    false = copy.copy(trace)
    false.processes = {pid: [writes.get(id(call), call) for call in calls] for pid, calls in trace.processes.items()}
    return false, [known[id(line)] for line in lines]


def prove(trace, lines, only, places):
    """Each falsehood has to be noticed. Returns the number of those tried."""
    tried, missed = 0, 0
    every = max(EVERY, len(places) * 17 * sum(map(len, trace.processes.values())) // LONG)
    for number, (what, where, false_trace, false_lines) in enumerate(falsehoods(trace, lines, places, only)):
        if number % every and what not in ALWAYS:
            continue
        tried += 1
        if not Comparison(false_trace, false_lines, only).run().wrong:
            missed += 1
            print(f"not noticed: {what}: {where}")
    print(f"{tried} falsehoods, {missed} not noticed")
    return tried > 0 and missed == 0


def own(trace):
    """Of each process of ours the calls that are its own, with what differs from run to run made alike. The
    narrator's are not: its lines, and one look whether standard error takes colours."""
    pids, out = {}, []

    def visit(pid, start):
        pids[str(pid)] = f"PID{len(pids)}"
        mine = []
        out.append(mine)
        children, startup, told = [], start is not None, False
        for call in trace.processes.get(pid, [])[start or 0:]:
            startup = startup and any(call.name == name for name, _ in STARTUP + [("execve", "")])
            before, told = told, narrated(call) is not None
            waits = before and call.name == "poll"
            if startup or is_memory(call) or told or waits or str(call).startswith("ioctl(2, TCGETS, "):
                continue
            mine.append(str(call))
            if call.name in FORKS and (call.result or "-").isdigit():
                children.append(int(call.result))
            if call.name in EXECS and call.result == "0":
                startup = True
                if call.name == "execve":
                    break
        for child in children:
            visit(child, None)

    root = engine(trace, None)
    visit(root, start_of(trace.processes[root]))
    number = re.compile(r"\b(" + "|".join(pids) + r")\b")
    alike = [(r"f_(bfree|bavail|ffree)=[0-9]+", r"f_\1=N"), (r"f_fsid=\{val=\[[^]]*\]\}", "f_fsid=N"),
             (r'getrandom\(".*?"', 'getrandom("..."'), (r"\b[0-9a-f]{12}\b", "ID"), (r"0x[0-9a-f]{6,}", "ADDRESS"),
             (r'("Name:.*\) = |keyctl\(.*\) = )\d+', r"\1NUMBER"), (r'"-v\d*"', '"no"'),
             (r"(newfstatat\(2, .* st_size=)\d+", r"\1SIZE"),
             (r'"((?:\\.|[^"\\]){32})(?:\\.|[^"\\])+"', r'"\1"')]
    for mine in out:
        for i, text in enumerate(mine):
            text = number.sub(lambda m: pids[m.group()], text)
            for pattern, same_to_all in alike:
                text = re.sub(pattern, same_to_all, text)
            mine[i] = text
    return out


def main(args):
    only = None
    if args[:1] == ["--only"]:
        only, args = set(args[1].split(",")), args[2:]
    mode = args.pop(0) if args and args[0] in ("--prove", "--same") else None
    if mode == "--same":
        one, two = (own(Trace(path, False)) for path in args)
        differ = [f"process {n}: {line}" for n, (a, b) in enumerate(zip(one, two))
                  for line in difflib.unified_diff(a, b, lineterm="", n=0) if line[:2] not in ("--", "++", "@@")]
        print("\n".join(differ) or f"the same {sum(map(len, one))} calls of {len(one)} processes")
        return not differ and len(one) == len(two)
    trace = Trace(args[0], len(args) == 1)
    lines = lines_of(trace, args[1] if len(args) > 1 else None)
    comparison = Comparison(trace, lines, only).run()
    for where, what, told, traced in comparison.wrong[:200]:
        print(f"{where}: {what}" + (f" | told {told}" if told else "") + (f" | traced {traced}" if traced else ""))
    print(f"{len(comparison.wrong)} disagreements;", ", ".join(f"{n} {what}" for what, n in comparison.counts.items()))
    if mode == "--prove":
        return not comparison.wrong and prove(trace, lines, only, comparison.places)
    return not comparison.wrong


if __name__ == "__main__":
    sys.exit(not main(sys.argv[1:]))
