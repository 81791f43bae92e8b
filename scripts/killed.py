"""killed.py runs|pulls|steps MYDOCKER SEED COUNT USER|root: kills what it starts, and looks what stays.

runs and pulls: at random moments, COUNT times. steps: a run's engine at each of its system calls, by strace.
A victim is the engine, its process group, the container's first process or a helper such as newuidmap,
slirp4netns, curl or tar; it gets SIGKILL at a moment that is spread over the whole length of a run or
pull, which is measured first. What is wrong is a line that begins with WRONG; the last line counts the
victims. The seed repeats the choices, if not the machine's own pace. The stores are $MYDOCKER_HOME,
or the user's own; the images come from a registry on 127.0.0.1:5000.
"""
import collections
import ctypes
import glob
import hashlib
import os
import pwd
import random
import re
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time

import faults

NONE = ["--network", "none"]
# Short ones, so that most of what can be hit is the engine's own work, and some that do not end by themselves.
RUNS = {
    "plain": [*NONE, "busybox", "true"],
    "--rm": ["--rm", *NONE, "busybox", "true"],
    "named": ["--name", "NAME", *NONE, "busybox", "true"],
    "many": ["--rm", *NONE, "-u", "alice", "--read-only", "--tmpfs", "/t", "--hostname", "box", "-w", "/tmp", "busybox", "true"],
    "power": ["--rm", *NONE, "--cap-add", "ALL", "busybox", "true"],
    "children": [*NONE, "busybox", "sh", "-c", "mkdir -p /a/b; touch /a/b/c; sleep 0.02 & sleep 0.02; wait"],
    "network": ["--rm", "busybox", "sleep", "0.01"],
}
LONG = {
    "for ever": [*NONE, "busybox", "sleep", "1000"],
    "for ever, network": ["busybox", "sleep", "1000"],
    "for ever, power": [*NONE, "--cap-add", "ALL", "busybox", "sleep", "1000"],
}
IMAGES = ["test/layers", "test/layers", "test/repeat:up", "test/formats:zstd", "test/formats:gzip", "test/big"]
HELPERS = ("newuidmap", "newgidmap", "slirp4netns", "curl", "tar", "igzip", "pigz", "gzip", "zstd", "openssl", "sha256sum")
PATIENCE = 5  # seconds, for what is to end by itself


class Killer:
    def __init__(self, mydocker, seed, user):
        self.mydocker, self.random, self.victims = mydocker, random.Random(f"{seed} {user}"), collections.Counter()
        self.who, self.wrong = {}, 0
        self.store = os.environ["MYDOCKER_HOME"]
        if user != "root":
            owner = pwd.getpwnam(user)
            self.who = {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []}
            self.store = owner.pw_dir + "/.config/mydocker"
            os.environ.update(HOME=owner.pw_dir, USER=user, MYDOCKER_HOME=self.store)
        os.chdir("/")
        # What loses its parent becomes ours: so it is seen whether anything of a run lives on.
        ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER, prctl(2)

    def say(self, what, text):
        self.wrong += 1
        print(f"WRONG {what}: {text}", flush=True)

    def call(self, *arguments):
        """A command that is left in peace -> exit code, standard output, standard error."""
        done = subprocess.run([self.mydocker, *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              errors="replace", timeout=60, **self.who)
        return done.returncode, done.stdout, done.stderr

    def length(self, *arguments):
        """How long it takes, in seconds."""
        start = time.monotonic()
        code, _, err = self.call(*arguments)
        if code:
            sys.exit(f"killed.py: mydocker {' '.join(arguments)}: {code} {err}")
        return time.monotonic() - start

    def kill(self, what, arguments, length, victims):
        """Starts it, kills one of the victims (the engine, if there is no such process then), waits for
        the end of all -> whether it was in time."""
        victim, moment = self.random.choice(victims), self.random.uniform(0, length)
        said = tempfile.TemporaryFile("w+", errors="replace")  # a pipe would be kept open by what lives on
        run = subprocess.Popen([self.mydocker, *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                               stderr=said, start_new_session=True, **self.who)
        time.sleep(moment)
        what = f"{what}, {victim} at {1000 * moment:.1f} of {1000 * length:.1f} ms"
        late = run.poll() is not None
        target = run.pid
        if victim in ("child", "helper"):
            helper = [pid for pid, name in descendants(run.pid) if name in HELPERS]
            child = [pid for pid, name in descendants(run.pid) if name not in HELPERS]
            mine = child[:1] if victim == "child" else helper
            target, victim = (self.random.choice(mine), victim) if mine else (run.pid, "engine")
        try:
            if not late:
                (os.killpg if victim == "group" else os.kill)(target, signal.SIGKILL)
        except ProcessLookupError:
            late = True
        self.victims["too late" if late else victim] += 1
        try:
            run.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.say(what, "the engine does not end")
            os.killpg(run.pid, signal.SIGKILL)
            run.wait()
        # 137: it was the command that was killed, as far as anybody knows.
        if victim in ("child", "helper") and run.returncode not in (0, 125, 137):
            said.seek(0)
            self.say(what, f"exit code {run.returncode}: {said.read()}")
        self.alone(what)
        return not late

    def alone(self, what):
        """Until nobody is left. Nobody is killed for it: what stays is a finding."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            try:
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
            except ChildProcessError:
                return
            time.sleep(0.002)
        self.say(what, f"still there: {descendants(os.getpid())}")
        for pid, _ in descendants(os.getpid()):
            os.kill(pid, signal.SIGKILL)

    # ---- runs

    def runs(self, count):
        lengths = {}
        for name, arguments in RUNS.items():
            # The first makes what is made once; a name can be used once.
            lengths[name] = min(self.length("run", *[f"{name}{i}" if a == "NAME" else a for a in arguments]) for i in range(3))
        self.rm("the first runs")
        lengths.update({name: 2 * lengths["network" if name == "for ever, network" else "power"] for name in LONG})
        kinds = RUNS | LONG
        killed, tried = 0, 0
        while killed < count and tried < 2 * count:
            # Every fifth has helpers, whoever runs it.
            name = "network" if tried % 5 == 0 else self.random.choice(list(kinds))
            victims = ["engine", "engine", "group", "child", "child", *([] if name in LONG else ["helper"])]
            if name == "network":
                victims = ["engine", "helper"]
            what = f"run {tried} ({name})"
            arguments = ["run", *[f"name{tried}" if a == "NAME" else a for a in kinds[name]]]
            tried += 1
            killed += self.kill(what, arguments, lengths[name], victims)
            if tried % 10 == 0 or killed == count:
                self.rm(what)
                code, out, err = self.call("run", "--rm", *NONE, "busybox", "echo", "here")
                if (code, out, err) != (0, "here\n", ""):
                    self.say(what, f"the next run: {code} {out} {err}")

    # ---- steps

    def steps(self, _):
        """All that can be between two calls of the engine's, each once. strace kills before the call is made."""
        arguments = ["run", "--rm", "--name", "step", *NONE, "busybox", "true"]
        user = os.environ["USER"] if self.who else None
        self.call(*arguments)  # the first makes what is made once
        engine = next(p for p in faults.Faults(self.mydocker, user, None, arguments).processes if p.who == "engine")
        for call, number in faults.numbered(engine):
            kill = f"inject={call.name}:signal=KILL:when={number}"
            run = subprocess.run(["strace", *(["-u", user] if user else []), "-qq", "-o", "/dev/null", "-e", f"trace={call.name}",
                                  "-e", kill, self.mydocker, *arguments],
                                 stdin=subprocess.DEVNULL, capture_output=True, text=True)
            # Of the calls of some names there is one more or less in each run.
            self.victims["engine" if run.returncode == -signal.SIGKILL else "too late"] += 1
            what = f"before {call.text[:150]}"
            self.alone(what)
            if run.returncode not in (0, -signal.SIGKILL):
                self.say(what, f"exit code {run.returncode}: {run.stderr}")
            self.rm(what)

    def rm(self, what):
        """`rm -f` takes away all that `ps -a` lists, and that is all there is."""
        code, out, err = self.call("ps", "-a")
        ids = [line.split()[0] for line in out.splitlines()[1:]]
        if code or err:
            self.say(what, f"ps -a: {code} {err}")
        if ids:
            code, out, err = self.call("rm", "-f", *ids)
            if code or err:
                self.say(what, f"rm -f {' '.join(ids)}: {code} {err}")
        left = os.listdir(self.store + "/containers")
        if not self.who:  # a user has no cgroups here
            left += glob.glob("/sys/fs/cgroup/mydocker/*/") + glob.glob("/sys/fs/cgroup/*/mydocker/*/")
        with open("/proc/self/mountinfo") as mounts:
            left += [line for line in mounts if self.store + "/" in line]
        if left:
            self.say(what, f"after rm -f of all that ps -a lists there is left: {' '.join(sorted(set(left)))}")
            self.clear(left)

    def clear(self, left):
        """So that one finding is not told again and again."""
        for name in set(left):
            if name.startswith("/sys/"):
                os.rmdir(name)  # of the test's own: see test-killed.sh
            else:
                subprocess.run(["rm", "-rf", f"{self.store}/containers/{name}"], check=True)

    # ---- pulls

    def pulls(self, count):
        whole, lengths = {}, {}
        for image in sorted(set(IMAGES)):
            self.empty()
            lengths[image] = self.length("pull", f"127.0.0.1:5000/{image}")
            whole[image] = contents(self.store)
        killed, tried, times = 0, 0, 0
        while killed < count and tried < 2 * count:
            if not times:
                image = self.random.choice(IMAGES)
                self.empty()
            times, tried = times + 1, tried + 1
            what = f"pull {tried} ({image}, number {times} into this store)"
            # The more of it is there, the shorter it is.
            hit = self.kill(what, ["pull", f"127.0.0.1:5000/{image}"], lengths[image] * (1 if times == 1 else 0.6),
                            ["engine", "engine", "group", "helper"])
            killed += hit
            if not hit or times == 4 or killed == count:
                self.verify(what, image, whole[image])
                times = 0

    def empty(self):
        shutil.rmtree(self.store, ignore_errors=True)

    def verify(self, what, image, whole):
        """The next pull makes the store what a fresh one is, and the image runs."""
        image = f"127.0.0.1:5000/{image}"
        code, _, err = self.call("pull", image)
        if code:
            self.say(what, f"the next pull: {code} {err}")
            return
        differences = [line for line in contents(self.store) ^ whole]
        if differences:
            self.say(what, f"the store is not as after a fresh pull: {' '.join(sorted(differences)[:6])}")
        code, out, err = self.call("run", "--rm", "--pull", "never", *NONE, image, "echo", "here")
        if (code, out, err) != (0, "here\n", ""):
            self.say(what, f"the next run: {code} {out} {err}")


def descendants(pid):
    """[(pid, name)] of the living, the parents first."""
    found = []
    try:
        with open(f"/proc/{pid}/task/{pid}/children") as file:
            children = file.read().split()
    except (FileNotFoundError, ProcessLookupError):
        return found
    for child in children:
        try:
            with open(f"/proc/{child}/stat") as file:
                name, state = re.search(r"\((.*)\) (\S)", file.read()).groups()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if state not in "ZX":
            found += [(int(child), name), *descendants(child)]
    return found


def contents(store):
    """All that a store holds, a line for each: what it is, and of files the hash."""
    lines = set()
    for directory, names, files in os.walk(store):
        for name in names + files:
            path = os.path.join(directory, name)
            short, s = os.path.relpath(path, store), os.lstat(path)
            if "lock" in short:
                continue
            what = [short, stat.filemode(s.st_mode), s.st_uid, s.st_gid]
            if stat.S_ISREG(s.st_mode):
                with open(path, "rb") as file:
                    what.append(hashlib.sha256(file.read()).hexdigest()[:16])
            if stat.S_ISLNK(s.st_mode):
                what.append(os.readlink(path))
            if re.match("layers/[^/]*/.", short):
                names = sorted(os.listxattr(path, follow_symlinks=False))
                what += [f"{x}={os.getxattr(path, x, follow_symlinks=False)}" for x in names]
                # What is of the engine's making, and not of the image, is of today: whiteouts, directories in between.
                if not stat.S_ISCHR(s.st_mode) and "user.overlay.implied" not in names:
                    what.append(s.st_mtime_ns)
            lines.add(" ".join(map(str, what)))
    return lines


def main(what, mydocker, seed, count, user):
    killer = Killer(mydocker, seed, user)
    {"runs": killer.runs, "pulls": killer.pulls, "steps": killer.steps}[what](int(count))
    print(*(f"{count} {victim}" for victim, count in sorted(killer.victims.items())), sep=", ")
    return killer.wrong > 0


if __name__ == "__main__":
    if len(sys.argv) != 6:
        sys.exit(__doc__)
    sys.exit(main(*sys.argv[1:]))
