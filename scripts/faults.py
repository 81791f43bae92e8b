"""faults.py MYDOCKER [--thorough] [--user USER] [--jobs N] --warm PROGRAM -- ARG...: fails each call of a run.

`MYDOCKER ARG... busybox echo ran` is told by -v and traced once (tour.py). Then it is run again for each
call that was told, which fails: by EPERM, or another error if that one is tolerated; with --thorough by
several, and those calls as well whose failure is tolerated. What comes of it is judged. One line for each:
VERDICT WHO NAME NUMBER ERRNO FAILURE EXIT RAN   [WHAT IS WRONG | WHAT THE ENGINE SAID |] WHAT IS TOLD
The verdict is right, WRONG or hidden: one of another process that strace cannot tell from it failed first.

test-fail-closed.sh has the program PROGRAM; killed.py takes the calls of a run from here, too.
"""
import collections
import ctypes
import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import tour

# Of these a failure cannot be injected without another effect: strace does not make the call, while close(2)
# frees the descriptor whatever it says, an exit has no result, and who asks for a number always gets one.
NO_FAULT = {"close", "exit_group", "exit", "getpid", "getppid"}
# Until then an engine that fails ends the run before the command may start.
BEFORE = {"start", "image", "clone", "bundle", "network"}
# What an error says for a call, where that is not its name.
SAID_AS = {"openat": "open|read|write|list", "newfstatat": "stat|lstat|fstat", "write": "write|move", "execveat": "execve",
           "wait4": "wait", "rt_sigprocmask": "sigprocmask", "openat2": "open", "mkdirat": "mkdir"}


class Target:
    """A call that is to fail: of whom, and which of that name of his."""

    def __init__(self, process, call, number):
        self.who, self.name, self.told, self.number = process.who, call.name, call.told, number
        self.failure, self.shape, self.text = call.told.required(), shape(call.text), call.text
        self.last = False  # the execve of the command, behind which nothing is left to try
        self.crowd = []    # those of other processes that strace cannot tell from it: they fail with it
        # Where an engine that fails ends the run before the command may start.
        self.setup = self.who != "engine" or self.told.step in BEFORE

    def errnos(self, thorough):
        if not thorough:
            return [errno for errno in self.errnos(True) if not self.tolerates(errno)][:1]
        if self.failure == "if there" and not self.told.reason.startswith("if there is one: "):
            return ["EIO"]  # not the failure that its condition names
        if self.failure != "if there":
            return ["EPERM", "EIO"]
        found = re.match(r"-1 (E\w+)", self.told.result) or re.search(r"\((E\w+): ", self.told.reason)
        return [found[1] if found else "ENOENT", "EPERM", "EIO"]

    def tolerates(self, errno):
        return self.failure == "tolerated" or self.failure == "if there" and errno not in ("EPERM", "EIO")


def shape(text):
    """A call's name and the first of its arguments, as far as they are the same in every run."""
    name, arguments = tour.CALL.fullmatch(text.removesuffix(" (INJECTED)")).group(1, 2)
    arguments = [a for a in tour.arguments_of(arguments)[:3] if not a.startswith(("[", "{", "0x"))]
    if name in tour.FILLED_IN:
        arguments = [] if name == "getrandom" else arguments[:1]
    elif name == "write":
        arguments = [arguments[1][:20]]
    elif name == "execve":  # see `command`
        arguments = ['"' + arguments[0].rsplit("/", 1)[-1]]
    elif name == "getcwd":
        arguments = []
    home = os.environ["MYDOCKER_HOME"]
    return " ".join([name] + [re.sub(r"[0-9a-f]*\d[0-9a-f]*", "N", a.replace(home, "")) for a in arguments])


def numbered(process):
    """The calls that a process makes without -v, too, and which of that name each is, as strace counts."""
    count = collections.Counter()
    for call in process.calls:
        if not call.narration and not (call.told and call.told.reason.startswith("only with -v")):
            count[call.name] += 1
            yield call, count[call.name]


class Faults:
    """A run of busybox as root or as another user, told and traced once; and then run again for each of
    its calls, which fails. `warm` is a program that makes calls in vain, see `command`."""

    def __init__(self, mydocker, user, warm, arguments):
        self.mydocker, self.warm, self.arguments, self.user = mydocker, warm, arguments, user
        if user:
            self.owner = pwd.getpwnam(user)
            os.environ.update(HOME=self.owner.pw_dir, USER=user, MYDOCKER_HOME=self.owner.pw_dir + "/.config/mydocker")
        self.home = os.environ["MYDOCKER_HOME"]
        self.path = os.environ["PATH"]
        self.as_user = ["-u", user] if user else []
        self.settle(self.home)
        with tempfile.NamedTemporaryFile("r+", errors="surrogateescape") as raw:
            status, told = tour.strace([mydocker, "-v", *arguments], raw.name, ["-n", *self.as_user])
            if status:
                tour.die(f"mydocker {' '.join(arguments)} ends with {status}")
            # -n: the numbers of the calls, which C has in a header and Python nowhere.
            text = raw.read()
            self.numbers = {name: number for number, name in re.findall(r"^\d+ +\[ *(\d+)\] (\w+)\(", text, re.M)}
            raw.seek(0)
            raw.truncate()
            raw.write(re.sub(r"^(\d+ +)\[ *\d+\] ", r"\1", text, flags=re.M))
            raw.flush()
            self.processes = [p for p in tour.join(tour.read_trace(raw.name), told).values() if p.who]

    def settle(self, store):
        """In that store, and with a directory for tools in PATH."""
        self.tools = store + ".tools"
        os.makedirs(self.tools, exist_ok=True)
        os.environ.update(MYDOCKER_HOME=store, PATH=f"{self.tools}:{self.path}")

    def targets(self):
        """All calls that were told, of all processes of the engine's."""
        targets, alike = [], collections.defaultdict(list)
        for process in self.processes:
            for call, number in numbered(process):
                if call.told and call.name not in NO_FAULT and not call.told.counts:
                    targets.append(Target(process, call, number))
                    alike[call.name, number].append(targets[-1])
        for target in targets:
            if target.who != "engine":  # what a helper does as its own program is no matter: see `command`
                target.crowd = [t for t in alike[target.name, target.number] if t.who != "engine" and t is not target]
        child = [target for target in targets if target.who == "child"]
        child[-1].last = child[-1].name == "execve"
        if child[-1].last:
            child[-1].crowd = []  # see `fail`
        return targets

    def command(self, target):
        """The engine's own calls fail without -f. Of another process a call cannot be told from that of the same number
        of the engine, but strace counts in each process: a program that has made as many calls in vain before it
        becomes the engine is past that number. The helpers likewise."""
        run = [self.mydocker, *self.arguments]
        for name in os.listdir(self.tools):
            os.unlink(f"{self.tools}/{name}")
        if target.who == "engine":
            return run
        vain = f"{self.numbers[target.name]} {target.number} "
        for helper in ("newuidmap", "newgidmap"):
            if path := shutil.which(helper, path=self.path):
                write_program(f"{self.tools}/{helper}", f"#!{self.warm} {vain}{path}\n")
        return [self.warm, vain + self.mydocker, *run]

    def fail(self, target, errno, raw):
        """-> the verdict, what is wrong, the exit code, whether the command ran, what was said."""
        options = self.as_user + ([] if target.who == "engine" else ["-f"])
        if target.last:  # it is told from the others by its file
            which = ["-P", tour.CALL.fullmatch(target.text)[2].split('"')[1], "-e", f"inject=execve:error={errno}"]
        else:
            which = ["-e", f"trace={target.name},execve,/^mkdir",
                     "-e", f"inject={target.name}:error={errno}:when={target.number}"]
        command = ["strace", *options, "-qq", "-s", "200", "-o", raw, *which, *self.command(target)]
        run = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               start_new_session=True)
        try:
            out, err = (text.decode(errors="replace") for text in run.communicate(timeout=10))
        except subprocess.TimeoutExpired:
            os.killpg(run.pid, signal.SIGKILL)  # strace alone would leave the engine as it is
            run.communicate()
            return "WRONG", ["hangs"], "hangs", "?", ""
        trace = tour.read_trace(raw)
        # A warning comes before the error, and is none; nor is what strace says of a path that it is given.
        said = [line for line in err.splitlines() if not line.startswith(("mydocker: warning: ", "strace: Requested "))]
        failed = self.failed(trace)
        verdict, wrong = "right", self.remains(target, trace)
        if failed or target.setup:  # later, how many signals come is not the same in every run
            wrong += self.alone(target, failed) + self.judge(target, errno, run.returncode, out, said)
        if failed and target.shape not in failed and target.crowd:
            verdict = "hidden"
        return "WRONG" if wrong else verdict, wrong, run.returncode, "ran" if "ran" in out else "not", " ".join(said)

    def judge(self, target, errno, status, out, said):
        """What is wrong with how the run ended."""
        if all(t.tolerates(errno) for t in [target, *target.crowd]):
            return [] if (status, out) == (0, "ran\n") else ["not tolerated"]
        wrong = []
        if status != (126 if target.last else 125):
            wrong.append(f"exit code {status}")
        if out and target.setup:
            wrong.append("the command ran")
        if len(said) != 1 or not said[0].startswith("mydocker: "):
            wrong.append(f"{len(said)} lines of error")
        name = SAID_AS.get(target.name, target.name)
        if not re.search(rf"\b({target.name}|{name})\b", " ".join(said)):
            wrong.append("the call is not named")
        return wrong

    def failed(self, trace):
        """The calls that were made to fail, without those of the program `warm`."""
        failed, warm = [], {}
        for call in trace:
            if call.text.endswith(" (INJECTED)") and not warm.get(call.pid):
                failed.append(shape(call.text))
            if call.name == "execve" and call.result == "0":
                warm[call.pid] = f'"{self.warm}"' in call.text or ".tools/new" in call.text
        return failed

    def alone(self, target, failed):
        """Whether the call that failed is the one that was meant, and no other but those that fail with it."""
        strangers = collections.Counter(failed) - collections.Counter(t.shape for t in [target, *target.crowd])
        return [f"what failed: {failed}"] if strangers or not failed else []

    def remains(self, target, trace):
        """What a run leaves behind: processes, mounts, its cgroup; its directory only if there may have been a command."""
        for _ in range(200):
            # We are the reaper of all that came of the run.
            try:
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
                time.sleep(0.01)
            except ChildProcessError:
                break
        else:
            return ["a process remains"]
        store = os.environ["MYDOCKER_HOME"]
        left = [name for place in ("containers", "tmp") for name in os.listdir(f"{store}/{place}") if "lock" not in name]
        for name in left:
            subprocess.run(["rm", "-rf", f"{store}/containers/{name}", f"{store}/tmp/{name}"], check=True)
        left = left if (target.setup or target.name == "recvmsg") and target.failure == "required" else []
        cgroups = (re.search(r'mkdir\w*\(.*"(/sys/fs/cgroup/.*[0-9a-f]{12})"', call.text) for call in trace)
        for cgroup in {cgroup[1] for cgroup in cgroups if cgroup and os.path.exists(cgroup[1])}:
            os.rmdir(cgroup)
            left += [cgroup] if target.name != "rmdir" else []
        with open("/proc/self/mountinfo") as mounts:
            left += [line for line in mounts if store + "/" in line]
        return [f"left: {' '.join(left)}"] if left else []

    def work(self, job, jobs, plan):
        """One of several that share the plan, in a store of its own."""
        store = f"{self.home}.{job}"
        if not os.path.exists(store):
            subprocess.run(["cp", "-a", self.home, store], check=True)
            subprocess.run(f"rm -rf {store}/containers/*", shell=True, check=True)  # that of the first run
        self.settle(store)
        ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER
        for target, errno in plan[job::jobs]:
            verdict, wrong, status, ran, said = self.fail(target, errno, store + ".trace")
            line = [verdict, target.who, target.name, target.number, errno,
                    target.failure.replace(" ", "-"), status, ran, " ",
                    *([", ".join(wrong), "|", said, "|"] if wrong else []), target.told.text]
            os.write(1, (" ".join(map(str, line)) + "\n").encode())  # whole, beside the others'


def write_program(path, text):
    with open(path, "w") as file:
        file.write(text)
    os.chmod(path, 0o755)


def main(mydocker, *arguments):
    options = {"--user": None, "--warm": None, "--jobs": "1", "--thorough": ""}
    arguments = list(arguments)
    while (option := arguments.pop(0)) != "--":
        options[option] = "yes" if option == "--thorough" else arguments.pop(0)
    run = Faults(mydocker, options["--user"], options["--warm"], [*arguments, "busybox", "echo", "ran"])
    plan = [(target, errno) for target in run.targets() for errno in target.errnos(options["--thorough"])]
    jobs = int(options["--jobs"])
    sys.stdout.flush()
    workers = []
    for job in range(jobs):
        if (pid := os.fork()) == 0:
            status = 1
            try:
                run.work(job, jobs, plan)
                status = 0
            finally:
                os._exit(status)
        workers.append(pid)
    return max(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in workers)


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    tour.default_signals()
    sys.exit(main(*sys.argv[1:]))
