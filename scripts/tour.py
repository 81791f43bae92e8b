"""tour.py COMMAND ...: what mydocker tells of itself, folded and put beside what strace saw.

  run MYDOCKER               the section "A run, syscall by syscall" of README.md
  dns MYDOCKER ADDRESS PORT  "A query, byte by byte": asks the forwarder that listens there
  push URL LAYOUT            makes the image of that section, and pushes it to a registry
  pull DIR                   "The wire of one pull", from the files that `curl --trace` wrote there
  put FILE DIR               writes DIR/run, DIR/dns, DIR/pull between their markers in FILE
  check FILE DIR             says where FILE differs from them; exit code 1 if it does
  trace MYDOCKER [--seed] [--raw FILE] [--user USER] [--beside PEER FILE] [--tidy] -- ARG...
                             `strace -f MYDOCKER -v ARG...`, explained; beside the counts of
                             PEER, whose trace is in FILE. --tidy removes the container afterwards

tour.sh, trace.sh and their tests call it. Where each call comes from is looked up in ../src.
"""
import collections
import ctypes
import json
import os
import pwd
import re
import signal
import socket
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
SOURCES = os.path.join(HERE, "..", "src")
RUN = ["run", "--network", "none", "busybox"]
SEED = "trace=clone,setns,mount,pivot_root,chroot,openat,write"
# In the order of the story, whatever the order in which two processes came to them.
STEPS = ["start", "ask", "fetch", "unpack", "put", "store", "image", "clone", "bundle", "world", "network", "power",
         "command", "query", "end"]
# What the C library does by itself before main and for its allocator; the first execve is the caller's.
START_UP = {"execve", "brk", "arch_prctl", "set_tid_address", "set_robust_list", "rseq", "prlimit64", "readlink",
            "readlinkat", "getrandom", "mprotect", "mmap", "munmap"}


def die(message):
    sys.exit(f"tour.py: {message}")


# ------------------------------------------------------------------ reading what is told and traced

TOLD = re.compile(r"(?P<who>\S+) +(?P<call>\S.*)   (?P<reason>(?:\S.*?)?)   "
                  r"\[(?P<step>[a-z]+), (?P<file>\w+\.rs):(?P<line>\d+)\]")
CONDITION = re.compile(r"(if|unless) [^:]+: ")  # the failure that is no error
CALL = re.compile(r"(\w+)\((.*)\)\s+= (.*)", re.S)


class Told:
    """One line of `mydocker -v`: a call, or with `counts` a stretch of many."""

    def __init__(self, line):
        match = TOLD.fullmatch(line)
        if not match:
            raise ValueError(line)
        self.text = line
        self.who, self.reason, self.step, self.file = match.group("who", "reason", "step", "file")
        self.line = int(match["line"])
        self.counts, self.resumed, self.result, self.arguments = {}, False, "", []
        call = match["call"]
        if call.startswith("... "):
            self.name = "..."
            self.counts = {name: int(count) for count, name in (part.split() for part in call[4:].split(", "))}
        elif call.startswith("<... "):
            self.name, self.resumed = call[5:].split()[0], True
            self.result = call.rsplit(" = ", 1)[1]
        elif call.endswith(" <unfinished ...>"):
            self.name, rest = call[:-len(" <unfinished ...>")].split("(", 1)
            self.arguments = arguments_of(rest)
        else:
            found = CALL.fullmatch(call)
            if not found:
                raise ValueError(line)
            self.name, self.arguments, self.result = found[1], arguments_of(found[2]), found[3]

    def required(self):
        if self.reason.startswith("if possible: "):
            return "tolerated"
        return "if there" if CONDITION.match(self.reason) else "required"

    def why(self):
        return re.sub(r"^if (possible|there is one): ", "", self.reason)

    def function(self):
        return enclosing(self.file, self.line)


def arguments_of(text):
    """Splits at the commas that stand in no string, bracket or brace."""
    parts, depth, start, i = [], 0, 0, 0
    while i < len(text):
        c = text[i]
        if c == '"':
            i += 1
            while i < len(text) and text[i] != '"':
                i += 2 if text[i] == "\\" else 1
        elif c in "([{":
            depth += 1
        elif c in ")]}":
            depth -= 1
        elif c == "," and depth == 0:
            parts.append(text[start:i].strip())
            start = i + 1
        i += 1
    last = text[start:].strip()
    return parts + [last] if last or parts else []


def enclosing(file, number, cache={}):
    """The function around a line of src: the nearest `fn` above that is indented less. None where the
    binary is not of this source."""
    if file not in cache:
        path = os.path.join(SOURCES, file)
        cache[file] = open(path).read().split("\n") if os.path.exists(path) else []
    lines = cache[file][:number]
    if len(lines) < number:
        return None
    indent = len(lines[-1]) - len(lines[-1].lstrip())
    for line in reversed(lines[:-1]):
        here = len(line) - len(line.lstrip())
        if not line.strip() or here >= indent:
            continue
        found = re.match(r"\s*(?:pub(?:\([a-z]+\))? )?(?:const |unsafe |extern \"C\" )*fn (\w+)", line)
        if found:
            return found[1]
        if here == 0 and line[0] not in ") }":  # such as a table
            return None
    return None


def unescape(text):
    """The bytes that strace wrote as a string."""
    one = {"n": "\n", "t": "\t", "r": "\r", "v": "\v", "f": "\f", '"': '"', "\\": "\\"}
    return re.sub(r"\\([0-7]{1,3}|.)", lambda m: one.get(m[1]) or chr(int(m[1], 8)), text)


class Traced:
    """One call that strace saw."""

    def __init__(self, pid, name, text):
        self.pid, self.name, self.text = pid, name, text
        self.told = None        # the line that explains it
        self.narration = False  # it is such a line being written
        self.result = ""


class Process:
    def __init__(self, pid):
        self.pid, self.who, self.calls = pid, None, []
        self.told = []  # in order


def read_trace(path):
    """What `strace -f -o PATH` wrote: all calls in the order in which they began."""
    calls, open_calls = [], {}
    with open(path, errors="surrogateescape") as file:
        for line in file:
            match = re.match(r"(\d+ +)?(.*)", line, re.S)  # without -f there is no pid
            pid, text = (match[1] or "").strip(), match[2].rstrip("\n")
            resumed = re.match(r"<\.\.\. (\w+) resumed>(.*)", text, re.S)
            if resumed and pid in open_calls:
                call = open_calls.pop(pid)
                call.text += resumed[2]
            elif re.match(r"\w+\(", text):
                call = Traced(pid, text.split("(", 1)[0], text)
                calls.append(call)
                if text.endswith("<unfinished ...>"):
                    call.text = text[:-len("<unfinished ...>")].rstrip()
                    open_calls[pid] = call
                    continue
            else:
                continue
            call.result = call.text.rsplit(" = ", 1)[-1]
    return calls


def strace(command, raw, options=(), stdout=subprocess.DEVNULL, stderr=None):
    """Runs a command under `strace -f`, its lines into RAW. What is told on its standard error is
    given back, line by line; the rest of it is passed on to STDERR, or to nobody."""
    # With NO_COLOR it does not ask either whether its standard error is a terminal.
    run = subprocess.Popen(["strace", "-f", "-qq", "-s", "200", *options, "-o", raw, *command],
                           env=dict(os.environ, NO_COLOR="1"), stdout=stdout, stderr=subprocess.PIPE)
    told = []
    for line in run.stderr:
        text = line.decode(errors="surrogateescape").rstrip("\n")
        if TOLD.fullmatch(text):
            told.append(text)
        elif stderr:
            stderr.buffer.write(line)
            stderr.flush()
    return run.wait(), told


def join(calls, lines):
    """Gives each traced call the line that explains it, and each process its name. The narrator
    writes a line behind the call (before an execve and an exit, which may not come back): so the
    write tells which process and which call it is about."""
    queues = collections.defaultdict(collections.deque)
    for line in lines:
        told = Told(line)
        queues[told.who].append(told)
    processes = {}
    for call in calls:
        process = processes.setdefault(call.pid, Process(call.pid))
        process.calls.append(call)
        told = call.name == "write" and narrated(call, queues)
        if told:
            call.narration = True
            process.who = told.who
            process.told.append(told)
    for process in processes.values():
        explain(process, iter(process.told))
    left = [told.text for queue in queues.values() for told in queue]
    if left:
        die(f"told, but strace saw nobody write it: {left[0]}")
    return processes


def narrated(call, queues):
    """The line that this write(2) writes, taken from its queue."""
    found = re.match(r'write\(\d+, "((?:[^"\\]|\\.)*)"', call.text, re.S)
    text = unescape(found[1]) if found else ""
    queue = queues.get(text.split(" ", 1)[0], ())
    for told in queue:  # nearly always the first
        if (told.text + "\n").startswith(text):
            queue.remove(told)
            return told
    return None


def explain(process, lines):
    waiting = []  # calls that nothing is said of yet
    coming = []  # said of calls that are not made yet
    for call in process.calls:
        if not call.narration:
            if coming and coming[0].name == call.name:
                call.told = coming.pop(0)
            else:
                waiting.append(call)
            continue
        told = next(lines)
        if told.resumed:
            continue
        if told.counts:
            rest = dict(told.counts)
            for one in reversed(waiting):
                if rest.get(one.name) and not one.told:
                    one.told = told
                    rest[one.name] -= 1
        else:
            mine = [one for one in waiting if one.name == told.name and not one.told]
            if mine and told.result and not told.result.startswith("?"):
                mine[-1].told = told
            elif coming and coming[0].name == "execveat":
                coming.append(told)  # what the stub is going to do
            else:
                coming = [told]
        waiting = [one for one in waiting if not one.told]


def own_end(process):
    """Where in its calls the program begins that it has become: behind the last execve that was told
    of. A process that ends as the engine's own has none."""
    told = [i for i, call in enumerate(process.calls) if call.narration]
    end = told[-1] + 1 if told else 0
    while end < len(process.calls) and process.calls[end].told:  # before it was made
        end += 1
    return end


# ------------------------------------------------------------------ the same on every machine

def tidy(calls, home, mydocker):
    """Turns the arguments of one run's calls (Told, all of one process after another, the one that
    was cloned later) into what they are on any machine: the store, the ids, descriptors by name.
    Sets `shown`, and `star` where the call depends on the machine's cgroups."""
    pid = next((c.result for c in calls if c.name == "clone"), "no pid")
    ident = re.search(r"/containers/([0-9a-f]{12})", " ".join(a for c in calls for a in c.arguments))
    ident = ident[1] if ident else "no id"
    tables = {}
    for call in calls:
        if call.who not in tables:
            tables[call.who] = dict(tables.get("engine at clone", {0: "stdin", 1: "stdout", 2: "stderr"}))
        fds = tables[call.who]
        text = [a.replace(home, "$MYDOCKER_HOME").replace(mydocker, "/PATH/mydocker") for a in call.arguments]
        text = [re.sub(rf"\b{pid}\b", "PID", a.replace(ident, "ID")) for a in text]
        text = [re.sub(r"/images/[0-9a-f]{64}", "/images/DIGEST", a) for a in text]
        text = [re.sub(r"\b(removed|reference|image)-[0-9a-f]{12}", r"\1-RANDOM", a) for a in text]
        named = by_name(call, text, fds)
        call.star = call.file == "cgroup.rs" or any("/sys/fs/cgroup" in argument for argument in named)
        call.full = f"{call.name}({', '.join(named)})"
        call.shown = shorten(call.name, [re.sub(r"<.*/([^/]+)>", r"<\1>", a) for a in named])
        if call.name == "clone":
            tables["engine at clone"] = dict(fds)


ONE_FD = {"read", "write", "close", "flock", "fstat", "ioctl", "fcntl", "sendmsg", "recvmsg", "dup2", "dup", "lseek",
          "getdents64", "unlinkat", "renameat", "mkdirat", "openat", "mount_setattr", "execveat", "fchdir",
          "fchmod", "fchown", "ftruncate", "fsync", "newfstatat", "fsetxattr", "faccessat2", "pidfd_send_signal"}


def by_name(call, arguments, fds):
    """`3` becomes `<facts.json>`, as `strace -y` has it; keeps the table of what is open."""
    def name(text):
        return f"<{fds[int(text)]}>" if text.isdigit() and int(text) in fds else text

    named = list(arguments)
    if call.name in ONE_FD and named:
        named[0] = name(named[0])
    if call.name == "renameat" and len(named) > 2:
        named[2] = name(named[2])
    if call.name == "close_range":
        return named
    result = call.result.split(" ")[0]
    if call.name == "memfd_create" and result.isdigit():
        fds[int(result)] = arguments[0].strip('"')
    elif call.name == "openat" and result.isdigit():
        path = arguments[1].strip('"')
        base = named[0].strip("<>")
        fds[int(result)] = path if named[0] == "AT_FDCWD" or path.startswith("/") else f"{base}/{path}"
    elif call.name == "socket" and result.isdigit():
        fds[int(result)] = "socket"
    elif call.name in ("dup2", "dup") and result.isdigit():
        fds[int(result)] = fds.get(int(arguments[0]), arguments[0])
    elif call.name in ("socketpair", "pipe2") and call.result == "0":
        pair = [int(n) for n in re.findall(r"\d+", arguments[-1 if call.name == "socketpair" else 0])]
        for fd, end in zip(pair, ("one end", "other end") if call.name == "socketpair" else ("pipe", "pipe")):
            fds[fd] = end
        named = [re.sub(r"\[\d+, \d+\]", "[<one end>, <other end>]", a) for a in named]
    elif call.name == "close" and arguments[0].isdigit():
        fds.pop(int(arguments[0]), None)
    return named


FILLED_IN = {"read", "recvmsg", "getrandom", "readlink", "getdents64", "statx", "wait4"}  # by the kernel


def shorten(name, arguments):
    """Arguments as the tour has them: no lengths, no contents of buffers but their beginning."""
    out = []
    for argument in arguments:
        argument = re.sub(r"0x[0-9a-f]{6,} (/\* \d+ vars? \*/)", r"\1", argument)
        argument = re.sub(r"^0x[0-9a-f]{6,}$", "...", argument)
        argument = re.sub(r"\{st_[^}]*\}", "{...}", argument)
        argument = re.sub(r"^\.\.\.$", "{...}", argument) if name == "newfstatat" else argument  # where there was none
        argument = re.sub(r"\{(si_signo=\w+)[^}]*\}", r"{\1, ...}", argument)
        argument = re.sub(r"\{f_type=[^}]*\}", "{...}", argument)
        argument = re.sub(r"filter=0x[0-9a-f]+", "filter=...", argument)
        argument = re.sub(r"^\{msg_name=.*?(iov_base=\"(?:[^\"\\]|\\.)*\").*\}$", r"{\1, ...}", argument)
        argument = re.sub(r"(1<<CAP_\w+)(\|1<<CAP_\w+)+", r"\1|...", argument)
        found = re.fullmatch(r'\[("[^"]*", "[^"]*"), .*\]', argument)
        out.append(f"[{found[1]}, ...]" if found else argument)
    if name == "write":
        out = [out[0], begin(out[1])]
    elif name in ("read", "getdents64"):
        out = [out[0], "..."]
    elif name == "getrandom":
        out = ["..."] + out[1:]
    elif name == "readlink":
        out = [out[0], "..."]
    elif name == "keyctl":
        out = out[:2]
    return out


def begin(text, limit=24):
    """The beginning of a string."""
    pieces = re.findall(r"\\[0-7]{1,3}|\\.|[^\\]", text.rstrip(".")[1:-1])
    if len(pieces) <= limit and not text.endswith("..."):
        return text
    return '"' + "".join(pieces[:limit]) + '"...'


# ------------------------------------------------------------------ folding

class Row:
    """Calls that are alike, made one after another or in turns with those of another row."""

    def __init__(self, calls, counted_here=False):
        self.calls, self.first = calls, calls[0]
        self.some = counted_here  # how many depends on the machine

    def call(self):
        first = self.first
        if first.counts:
            return ", ".join(f"{count} {name}" for name, count in first.counts.items())
        shapes = {len(call.shown) for call in self.calls}
        columns = zip(*(call.shown for call in self.calls)) if len(shapes) == 1 else [[a] for a in first.shown]
        errors = {(re.match(r"-1 (E\w+)", call.result) or [0, ""])[1] for call in self.calls}
        error = errors.pop() if len(errors) == 1 else ""
        return f"{first.name}({', '.join(brace(list(c)) for c in columns)})" + (f" = -1 {error}" if error else "")

    def count(self):
        return sum(sum(call.counts.values()) or 1 for call in self.calls)


def brace(values):
    """`"dev/null"`, `"dev/zero"` -> `"dev/{null,zero}"`, as a shell has it."""
    different = list(dict.fromkeys(values))
    if len(different) == 1:
        return different[0]
    for left, right in ('""', '<>'):
        if all(v.startswith(left) and v.endswith(right) and len(v) > 1 for v in different):
            inner = [v[1:-1] for v in different]
            head = os.path.commonprefix(inner)
            head = head[:head.rfind("/") + 1]
            tail = os.path.commonprefix([v[len(head):][::-1] for v in inner])[::-1]
            tail = tail[tail.find("/"):] if "/" in tail else ""
            inner = [v[len(head):len(v) - len(tail)] for v in inner]
            return f"{left}{head}{{{some_of(inner)}}}{tail}{right}"
    return f"{{{some_of(different)}}}"


def some_of(values):
    return ",".join(values if len(values) <= 12 else values[:3] + ["..."] + values[-2:])


def missing(call):
    """Something that this machine has not, and that nobody needs."""
    return call.required() == "if there" and call.result.startswith("-1 ENOENT")


def fold(calls):
    """Rows. A pattern of up to four lines that repeats becomes one row for each of its lines; what
    follows on a call (a remount on a bind) may be left out where that found nothing."""
    keys = [(call.name, call.reason, call.file, call.function(), call.star) for call in calls]
    rows, at = [], 0
    while at < len(calls):
        sound = next((i for i in range(at, len(calls)) if keys[i] == keys[at] and not missing(calls[i])), at)
        best, end = keys[at:at + 1], at + 1
        for period in range(1, 5):
            pattern = keys[sound:sound + period]
            if len(set(pattern)) == period:
                turns, stop = repeats(calls, keys, at, pattern)
                if turns > 1 and stop > end:
                    best, end = pattern, stop
        some = any(missing(call) or "PR_CAPBSET_DROP" in call.arguments for call in calls[at:end])
        for key in best:
            rows.append(Row([call for call, k in zip(calls[at:end], keys[at:end]) if k == key], some))
        at = end
    return rows


def repeats(calls, keys, at, pattern):
    """How often the pattern stands there one after another, and where that ends."""
    turns = 0
    while True:
        i = at
        for key in pattern:
            if i == len(keys) or keys[i] != key:
                return turns, at
            i += 1
            if missing(calls[i - 1]):
                break
        turns, at = turns + 1, i


# ------------------------------------------------------------------ tour:run

# Where a call is explained, if not on the page of its name: the first that matches.
PAGES = [
    (r"/sys/fs/cgroup|cgroup2", "cgroups(7)"), (r"[ug]id_map", "user_namespaces(7)"),
    (r"max_user_namespaces", "namespaces(7)"), (r"/proc/self/status", "proc(5)"),
    (r'mount\("overlay"', "[overlayfs](https://docs.kernel.org/filesystems/overlayfs.html)"),
    (r'mount\("proc", ', "proc(5)"), (r'mount\("sysfs"', "sysfs(5)"), (r'mount\("devpts"', "pts(4)"),
    (r'mount\("shm"', "shm_overview(7)"), (r'mount\("mqueue"', "mq_overview(7)"),
    (r"mount\(.*MS_PRIVATE", "mount_namespaces(7)"), (r"PR_CAPBSET|capset", "capabilities(7)"),
    (r"CLONE_NEWCGROUP", "cgroup_namespaces(7)"), (r"clone\(.*CLONE_NEWUSER", "namespaces(7)"),
    (r"TCGETS|TIOC", "ioctl_tty(2)"), (r"SIOC", "netdevice(7)"), (r"keyctl\(KEYCTL_JOIN", "session-keyring(7)"),
]
PAGE_OF = {"newfstatat": "fstatat(2)", "prlimit64": "prlimit(2)", "getdents64": "getdents(2)",
           "rt_sigprocmask": "sigprocmask(2)", "rt_sigaction": "sigaction(2)", "rt_sigtimedwait": "sigtimedwait(2)"}


def page(call):
    if call.counts:
        return ", ".join(PAGE_OF.get(name, f"{name}(2)") for name in call.counts)
    own = PAGE_OF.get(call.name, f"{call.name}(2)")
    return own if call.name == "close" else next((p for pattern, p in PAGES if re.search(pattern, call.full)), own)


class Run:
    """One traced and told run of busybox: who made which call."""

    def __init__(self, mydocker, *command):
        with tempfile.NamedTemporaryFile() as raw:
            code, told = strace([mydocker, "-v", *RUN, *command], raw.name)
            if code:
                die(f"mydocker {' '.join(RUN)} {' '.join(command)} ends with {code}")
            if not told:
                die("mydocker -v tells nothing that is of the format WHO CALL = RESULT   REASON   [STEP, FILE:LINE]")
            processes = join(read_trace(raw.name), told)
        by_who = {process.who: process for process in processes.values() if process.who}
        others = [process for process in processes.values() if not process.who]
        if sorted(by_who) != ["child", "engine"] or others:
            die(f"processes {sorted(by_who)} and {len(others)} more: not the two that were expected")
        self.engine, self.child = by_who["engine"], by_who["child"]
        end = own_end(self.child)
        self.command = [call for call in self.child.calls[end:] if not call.narration]
        made = [c for c in self.engine.calls + self.child.calls[:end] if not c.narration]
        self.start_up = [call for call in made if not call.told]
        strangers = sorted({call.name for call in self.start_up} - START_UP)
        if strangers:
            text = next(call.text for call in self.start_up if call.name in strangers)
            die(f"made, but not told: {', '.join(strangers)}: {text}")
        self.told = [told for process in (self.engine, self.child) for told in process.told if not told.resumed]
        self.count = {who: sum(sum(t.counts.values()) or 1 for t in self.told if t.who == who) for who in by_who}
        if sum(self.count.values()) != len(made) - len(self.start_up):
            die(f"told {sum(self.count.values())} calls, made {len(made) - len(self.start_up)}")
        # A resumed execve is the end of the one before it.
        for process in (self.engine, self.child):
            for before, told in zip(process.told, process.told[1:]):
                if told.resumed:
                    before.result = told.result

    def total(self):
        return sum(self.count.values()) + len(self.start_up) + len(self.command)


def count_names(calls):
    names = collections.Counter(call.name for call in calls)
    return ", ".join(f"{n} {name}" if n > 1 else name for name, n in names.items())


def plain_total(mydocker):
    """The same run, of which nothing is told."""
    with tempfile.NamedTemporaryFile() as raw:
        strace([mydocker, *RUN, "true"], raw.name)
        return len(read_trace(raw.name))


def code(text):
    return "`" + text.replace("|", "\\|") + "`"


def machine(told):
    """What of this machine is seen in the table."""
    versions = {"TMPFS_MAGIC": "of version 1", "CGROUP2_SUPER_MAGIC": "of version 2"}
    asked = " ".join(call.arguments[1] for call in told if call.name == "statfs")
    cgroups = next((version for magic, version in versions.items() if magic in asked), "of neither version")
    if any(call.star and call.result.startswith("-1 ") for call in told):
        cgroups += ", closed to it"
    drops = sum(call.arguments[0] == "PR_CAPBSET_DROP" for call in told if call.name == "prctl")
    lacking = [f"`/{call.arguments[1].strip(chr(34))}`" for call in told if call.name == "mount" and missing(call)]
    return f"This machine: cgroups {cgroups}; {drops} capabilities to drop or to try; not there: {', '.join(lacking) or '-'}."


def run_section(mydocker):
    run = Run(mydocker, "true")
    tidy(run.told, os.environ["MYDOCKER_HOME"], os.path.realpath(mydocker))
    plain = plain_total(mydocker)
    if plain != run.total():
        die(f"{run.total()} calls with -v (without its own writes), {plain} without")
    lines = [
        f"`mydocker {' '.join(RUN)} true`, by root, the image in the store: every system call of it, two processes",
        "side by side, each in its own order. × is how many calls a row stands for, one after another or in turns",
        "with the row below; `{a,b}` is where they differ. A descriptor is written as what it is open on, `<state>`;",
        "lengths are left out. A call that is *required* ends the run when it fails; one that is *tolerated* does",
        "not; *if there* means that one failure is tolerated, the one that the reason names, or \"no such file\". Rows",
        "with a * are there for this machine's cgroups; ~ is a count that depends on what there is.",
        "",
        machine(run.told),
        "",
        "| step | who | system call | × | why | failure | see | source |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for step in sorted({told.step for told in run.told}, key=STEPS.index):
        for who in ("engine", "child"):
            for row in fold([told for told in run.told if told.step == step and told.who == who]):
                if not row.first.function():
                    die(f"no function around src/{row.first.file}:{row.first.line}: is the binary of this source?")
                count = f"{row.count()}" + ("*" if row.first.star else "~" if row.some else "")
                cells = [step, who, code(row.call()), count, row.first.why(), row.first.required(), page(row.first),
                         f"{row.first.file} `{row.first.function()}`"]
                lines.append(f"| {' | '.join(cells)} |")
    lines += [
        "",
        f"Engine {run.count['engine']}, child {run.count['child']}, C library's start-up {len(run.start_up)}, "
        f"the command {len(run.command)}: in all {run.total()}.",
        "",
        f"The start-up, in the engine alone, for the stub has no C library: {count_names(run.start_up)}.",
        f"The command, busybox: {count_names(run.command)}.",
    ]
    return lines


# ------------------------------------------------------------------ tour:dns

def dns_section(mydocker, address, port):
    # ID 0x1234, RD; www.demo.example. A IN; an OPT: 1232 octets, DO=0.
    query = bytes.fromhex("12340100 0001000000000001 03777777 0464656d6f 076578616d706c65 00 0001 0001"
                          "00 0029 04d0 00000000 0000")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.settimeout(5)
        udp.connect((address, int(port)))
        udp.send(query)
        reply = udp.recv(4096)
    lines = ["A query for the address of www.demo.example as a client sends it to `mydocker dns`, and the reply, which",
             "comes from a real name server (nsd): what `mydocker dns decode` has to say of either."]
    for title, message in (("The query", query), ("The reply", reply)):
        said = subprocess.run([mydocker, "dns", "decode"], input=message, stdout=subprocess.PIPE, check=True)
        said = said.stdout.decode().rstrip("\n").split("\n")
        lines += ["", f"{title}, {len(message)} octets:", "", "```", *said, "```"]
    return lines


# ------------------------------------------------------------------ tour:pull

SENT = ["authorization", "accept", "range"]
ANSWERED = ["www-authenticate", "location", "content-type", "docker-content-digest", "content-length"]


def read_wire(path):
    """What `curl --trace` wrote: (sent head, received head, received body)."""
    parts, kind = {"=> Send header": b"", "<= Recv header": b"", "<= Recv data": b""}, None
    with open(path) as file:
        for line in file:
            if line.startswith(("=>", "<=", "==")):
                kind = line.split(",")[0]
            elif kind in parts:
                parts[kind] += bytes.fromhex(line.split(": ", 1)[1][:48])
    return [part.decode("latin-1") for part in parts.values()]


def head(text):
    first, *rest = [line for line in text.split("\r\n") if line]
    return first, [(name.lower(), value.strip()) for name, value in (line.split(":", 1) for line in rest)]


def wrap(text, indent, width=108):
    """Lines that end behind a comma, where there is one."""
    lines, line = [], ""
    for piece in re.findall(r"[^,]+,? ?", text):
        if line and len(line) + len(piece.rstrip()) > width:
            lines.append(line.rstrip())
            line = indent
        line += piece
    return lines + [line]


def pretty(value, indent, width=100):
    """JSON, broken into lines only where it is too long for one."""
    line = json.dumps(value, ensure_ascii=False)
    if len(indent) + len(line) <= width or not isinstance(value, (dict, list)) or not value:
        return [indent + line]
    named = value.items() if isinstance(value, dict) else ((None, one) for one in value)
    out = [indent + ("{" if isinstance(value, dict) else "[")]
    for key, one in named:
        inner = pretty(one, indent + "  ", width)
        if key is not None:
            inner[0] = f"{indent}  {json.dumps(key)}: {inner[0].lstrip()}"
        inner[-1] += ","
        out += inner
    out[-1] = out[-1].rstrip(",")
    return out + [indent + ("}" if isinstance(value, dict) else "]")]


def comment(path, status, body):
    if "/v2/" not in path:
        return "The token server. A login would be sent here; without one the token is good for what anybody may pull."
    if status == "401":
        return "The tag. The registry wants a token, and says where one is to be had and for what."
    if status.startswith("30"):
        return "A blob. It lies elsewhere."
    if "/manifests/" in path and '"manifests"' in body:
        return "The tag once more, with the token. It is an index: a manifest for each platform."
    if "/manifests/" in path:
        return "The manifest of this platform, by its digest: it names the config and the layers."
    if body.startswith("{"):
        return "The config, from there. The token does not go to another host."
    return "The layer, into a file; it is unpacked when its digest is right."


def push(url, layout):
    """The image library/hello: an index, two platforms, one layer that is stored, not compressed, so
    that its digest is the same whatever zlib is here."""
    sys.path.insert(0, HERE)
    import gzip
    import oci
    made = oci.Layout(layout)
    manifests = []
    layer = oci.Layer(oci.tar([oci.entry("hello", "Hello from a layer.\n")]))
    layer.blob = gzip.compress(oci.tar([oci.entry("hello", "Hello from a layer.\n")]), 0, mtime=0)
    for platform in "linux/amd64", "linux/arm64":
        manifests.append((made.image(None, [layer], {"Cmd": ["cat", "/hello"]}, platform=platform), platform))
    made.index("latest", manifests)
    oci.Registry(url).push(layout, "library/hello")


def pull_section(directory):
    names = sorted(os.listdir(directory), key=lambda name: os.stat(os.path.join(directory, name)).st_ctime_ns)
    lines = [
        "`mydocker pull --platform linux/amd64 hello`: each request is one curl. The servers are a real registry",
        "(docker-registry), a token server and a place for blobs, under the Hub's names on the loopback interface, over",
        "TLS. `>` is what is sent, `<` the part of the answer that matters; what curl sends by itself is left out, and",
        "digests are cut. Whoever sends the bytes, they must have the digest that was announced.", "", "```",
    ]
    seen = {}  # a header -> the number of the request that had it first
    for number, name in enumerate(names, 1):
        sent, received, body = read_wire(os.path.join(directory, name))
        request, headers = head(sent)
        method, path, _ = request.split(" ", 2)
        status_line, answers = head(received)
        status = status_line.split(" ")[1]
        lines += ([""] if number > 1 else []) + [f"# {number}. {comment(path, status, body)}"]
        lines += wrap(f"> {method} https://{dict(headers)['host']}{cut_digests(path)}", ">     ")
        for key, value in headers:
            if key not in SENT or value == "*/*":
                continue
            if key == "authorization":
                value = value.split(" ")[0] + " [secret]"
            first = seen.setdefault((key, value), number)
            if key == "accept" and first < number:
                value = f"(as in {first})"
            lines += wrap(f"> {key.title()}: {value}", ">     ")
        lines.append(f"< {status}")
        secret = "/v2/" not in path
        for key, value in answers:
            # How long a token is changes from one to the next.
            if key in ANSWERED and not (secret and key == "content-length"):
                lines += wrap(f"< {key.title().replace('Www', 'WWW')}: {cut_digests(value)}", "<     ")
        lines += ["< " + line for line in content(body)]
    return lines + ["```"]


def cut_digests(text):
    return re.sub(r"\b([0-9a-f]{12})[0-9a-f]{52}\b", r"\1...", text)


def content(body):
    if not body:
        return []
    if not body.startswith("{"):
        return [f"({len(body)} bytes of a tar, compressed with gzip)"]
    value = json.loads(body)
    for name in {"token", "access_token"} & set(value):
        value[name] = "[secret]"
    for error in value.get("errors", []):
        error.pop("detail", None)
    return [cut_digests(line) for line in pretty(value, "")]


# ------------------------------------------------------------------ README.md

SECTIONS = ["run", "dns", "pull"]
AROUND = "<!-- tour:{0} --> ... <!-- /tour:{0} -->"


def sections_of(file):
    """{name: lines} of what stands between markers, and a function that puts others there."""
    with open(file) as source:
        text = source.read()
    found = {}
    for name in SECTIONS:
        match = re.search(rf"(?ms)^<!-- tour:{name} -->\n(.*?)^<!-- /tour:{name} -->$", text)
        if match:
            found[name] = match[1].strip("\n").split("\n")
    return text, found


def fresh(directory):
    out = {}
    for name in SECTIONS:
        path = os.path.join(directory, name)
        if os.path.exists(path):
            with open(path) as file:
                out[name] = file.read().strip("\n").split("\n")
    return out


def put(file, directory):
    text, there = sections_of(file)
    for name, lines in fresh(directory).items():
        if name not in there:
            die(f"{file} has no markers {AROUND.format(name)}")
        body = "\n".join([f"<!-- tour:{name} -->", "", *lines, "", f"<!-- /tour:{name} -->"])
        text = re.sub(rf"(?ms)^<!-- tour:{name} -->\n.*?^<!-- /tour:{name} -->$", lambda _: body, text)
    # In one step: nobody finds half a README.
    new = file + ".new"
    with open(new, "w") as out:
        out.write(text)
    os.chmod(new, os.stat(file).st_mode & 0o7777)
    os.rename(new, file)


def check(file, directory):
    _, there = sections_of(file)
    stale = 0
    for name, new in fresh(directory).items():
        if name not in there:
            differences = [f"no markers {AROUND.format(name)}"]
        elif there[name] == new:
            differences = []
        elif name == "run":
            differences = compare_runs(there[name], new)
        else:
            differences = compare(there[name], new)
        for difference in differences[:8]:
            print(f"tour:{name}: {difference}")
        if differences:
            print(f"tour:{name} is stale: make tour")
        stale += bool(differences)
    return stale


def compare(old, new):
    import difflib
    return [line for line in difflib.unified_diff(old, new, "README.md", "now", n=0, lineterm="") if line[:2] != "@@"]


def cells(line):
    return [cell.strip().replace("\0", "\\|") for cell in line.replace("\\|", "\0").strip("|").split("|")]


def rows_of(lines):
    return [cells(line) for line in lines if line.startswith("| ") and not line.startswith("| step ")]


def compare_runs(old, new):
    """What differs that has to be the same on every machine; and whether the README's own sums are right."""
    out = []
    was, now = rows_of(old), rows_of(new)
    sums = re.search(r"Engine (\d+), child (\d+), C library's start-up (\d+), the command (\d+): in all (\d+)\.",
                     "\n".join(old))
    if not sums:
        return ["no line of sums"]
    if any(len(row) != 8 or not re.fullmatch(r"\d+[*~]?", row[3]) for row in was):
        return ["a row that is none"]
    engine, child, start_up, command, total = map(int, sums.groups())
    for who, said in (("engine", engine), ("child", child)):
        counted = sum(int(row[3].strip("*~")) for row in was if row[1] == who)
        if counted != said:
            out.append(f"the rows of the {who} are {counted} calls, the sum says {said}")
    if engine + child + start_up + command != total:
        out.append(f"the sum of {engine}, {child}, {start_up} and {command} is not {total}")
    # How much the C library and busybox do is not ours, and their versions differ.
    old, new = ([re.sub(r", C library's start-up .*", "", line) for line in lines
                 if not line.startswith(("The start-up", "The command"))] for lines in (old, new))
    here = [line for line in new if line.startswith("This machine: ")]
    if here == [line for line in old if line.startswith("This machine: ")]:
        return out + compare(old, new)
    # Another machine.
    prose = [[line for line in lines if not line.startswith(("| ", "Engine ", "This machine: "))]
             for lines in (old, new)]
    loose = {alike(row) for row in was + now if "~" in row[3]}
    rest = [[" | ".join(alike(row) if alike(row) in loose else row) for row in rows if "*" not in row[3]]
            for rows in (was, now)]
    return out + compare(*prose) + compare(*rest)


def alike(row):
    """A row without the arguments and the count."""
    step, who, call, _, why, failure, _, source = row
    return step, who, call.split("(")[0], why, failure, source


# ------------------------------------------------------------------ trace

WIDTH = 88  # of a call


class Step:
    """What one process does at one step of the story."""

    def __init__(self, who):
        self.who, self.lines, self.told = who, [], []

    def untold(self, calls, why):
        self.fold()
        text = count_names(calls)
        self.lines.append((len(calls), text if len(text) <= WIDTH else text[:WIDTH - 3] + "...", why))

    def fold(self):
        for row in fold(self.told):
            text, result = row.call(), ""
            if len(row.calls) == 1 and not row.first.counts and " = -1 " not in text:
                result = " = " + row.first.result.split(" (")[0]
            if len(text) + len(result) > WIDTH:
                text = text[:WIDTH - 3 - len(result)] + "..."
            self.lines.append((row.count(), text + result, row.first.reason))
        self.told = []


def trace(mydocker, arguments):
    options, raw, beside, user, tidy_up = [], None, None, None, False
    while (option := arguments.pop(0)) != "--":
        if option == "--seed":
            options += ["-e", SEED]
        elif option == "--user":
            user = arguments.pop(0)
            options += ["-u", user]
            # As he would call it: his own store.
            os.environ.update(HOME=pwd.getpwnam(user).pw_dir, USER=user)
            os.environ.pop("MYDOCKER_HOME", None)
        elif option == "--raw":
            raw = arguments.pop(0)
        elif option == "--tidy":
            tidy_up = True
        else:
            beside = (arguments.pop(0), arguments.pop(0))
    with tempfile.TemporaryDirectory() as directory:
        raw = raw or os.path.join(directory, "trace")
        # Ctrl-C is for what is traced; what it did is shown then.
        signal.signal(signal.SIGINT, lambda *_: None)
        status, lines = strace([mydocker, "-v", *arguments], raw, options, None, sys.stderr)
        calls = read_trace(raw)
    ident = re.search(r"/containers/([0-9a-f]{12})", "\n".join(lines))
    if tidy_up and ident:
        who = {"user": user, "group": pwd.getpwnam(user).pw_gid, "extra_groups": []} if user else {}
        subprocess.run([mydocker, "rm", ident[1]], stdout=subprocess.DEVNULL, check=False, **who)
    processes = join(calls, lines)
    parents(processes, calls)
    print("$ " + " ".join(["strace -f -s 200", *options, "mydocker", *arguments]))
    steps = by_step(processes)
    steps = {step: steps[step] for step in sorted(steps, key=STEPS.index)}
    names = max(6, *(len(part.who) for parts in steps.values() for part in parts))
    for step, parts in steps.items():
        print(f"\n{step}: {sum(line[0] for part in parts for line in part.lines)} calls")
        for part in parts:
            for count, text, why in part.lines:
                print(f"  {part.who:{names}} {text:{WIDTH}} "
                      f"{'x' + str(count) if count > 1 else '':4} {why}".rstrip())
    print("\n" + sums(processes))
    if beside:
        print("\n" + "\n".join(diff([call for call in calls if not call.narration], read_trace(beside[1]), beside[0])))
    return status


def parents(processes, calls):
    """Names the processes that tell nothing: after what started them."""
    for call in calls:
        if call.name in ("clone", "clone3", "fork", "vfork") and call.result in processes:
            child = processes[call.result]
            child.who = child.who or processes[call.pid].who
    for process in processes.values():
        # A process of the container has another number in there, and that is what its clone says.
        process.who = process.who or "inside"


def by_step(processes):
    """{step: [Step]}, the processes in the order in which they came."""
    steps = {}

    def part(step, process):
        return steps.setdefault(step, {}).setdefault(process.pid, Step(process.who))

    for process in processes.values():
        end, step, waiting = own_end(process), "start", []
        made = [call for call in process.calls[:end] if not call.narration]
        for call in made:
            if not call.told:
                waiting.append(call)
                continue
            step = call.told.step
            if waiting:
                part(step, process).untold(waiting, "(the C library)")
                waiting = []
            # As strace has it, not as it was told.
            found = CALL.fullmatch(call.text)
            if call.told not in part(step, process).told:
                part(step, process).told.append(call.told)
            call.told.star = False
            call.told.shown = arguments_of(found[2]) if found else call.told.arguments
            call.told.result = call.result
        after = waiting + [call for call in process.calls[end:] if not call.narration]
        if after:
            part(step, process).untold(after, "(the command's own)" if process.who in ("child", "inside")
                                       else "(the program's own)")
        for parts in steps.values():
            if process.pid in parts:
                parts[process.pid].fold()
    return {step: list(parts.values()) for step, parts in steps.items()}


def sums(processes):
    own, library, programs, narrator = collections.Counter(), 0, 0, 0
    for process in processes.values():
        end = own_end(process)
        for i, call in enumerate(process.calls):
            if call.narration:
                narrator += 1
            elif i >= end:
                programs += 1
            elif call.told:
                own[process.who] += 1
            else:
                library += 1
    told = "".join(f"{who} {count}, " for who, count in own.items())
    return (f"{told}C library's start-up {library}, programs that were started {programs}: "
            f"in all {sum(own.values()) + library + programs} (and {narrator} writes of the explanations)")


def diff(ours, its, peer):
    mine, other = (collections.Counter(call.name for call in calls) for calls in (ours, its))
    lines = [f"{'':24} {'mydocker':>8} {peer:>8}"]
    for name in sorted(mine | other, key=lambda name: (-max(mine[name], other[name]), name)):
        lines.append(f"{name:24} {mine[name] or '-':>8} {other[name] or '-':>8}")
    many = [len({call.pid for call in calls}) for calls in (ours, its)]
    lines.append(f"{'system calls':24} {len(ours):>8} {len(its):>8}")
    lines.append(f"{'processes and threads':24} {many[0]:>8} {many[1]:>8}")
    return lines


# ------------------------------------------------------------------ main

def default_signals():
    """A caller's ignored signals would be part of the picture: a shell's `&` ignores some, and whatever runs a CI may
    have left 32 and 33 so, which the C library keeps to itself. The kernel is asked: handler 0 is the default."""
    number = {"x86_64": 13, "aarch64": 134}.get(os.uname().machine)  # rt_sigaction(2)
    action, size = ctypes.create_string_buffer(32), ctypes.c_size_t(8)
    for ignored in range(1, 65):
        if number and ignored not in (signal.SIGKILL, signal.SIGSTOP, signal.SIGINT):
            ctypes.CDLL(None).syscall(number, ignored, action, None, size)


def main(command, *arguments):
    if command in ("run", "dns", "pull"):
        made = {"run": run_section, "dns": dns_section, "pull": pull_section}[command](*arguments)
        print("\n".join(line.rstrip() for line in made))
        return 0
    if command == "trace":
        return trace(arguments[0], list(arguments[1:]))
    return {"put": put, "check": check, "push": push}[command](*arguments) or 0


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    if sys.argv[1] != "trace":
        default_signals()
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # a reader such as head may have seen enough
    sys.exit(main(*sys.argv[1:]))
