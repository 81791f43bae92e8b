"""pty.py [--size RxC] [--stdout FILE] COMMAND...: runs a command on a terminal of its own.

What happens is read from standard input, one step a line:
  send TEXT      types it (Python escapes: \\r \\x03)
  expect REGEX   waits for it in what was printed since the last expect
  size R C       the window changes
  signal NAME    sent to the command
  modes          prints `raw` or `cooked`: what the terminal is set to
  hangup         closes the terminal
  output         prints everything so far, \\r as \\r
  wait           waits for the end, prints `exit N`; what was printed last still counts
A step that waits gives up after 15 seconds: it says so, and exits with 1.
"""
import ast
import fcntl
import os
import re
import select
import signal
import struct
import sys
import termios
import time

args = sys.argv[1:]
rows, columns, stdout = 24, 80, None
while args[0].startswith("--"):
    if args[0] == "--size":
        rows, columns = map(int, args[1].split("x"))
    else:
        stdout = args[1]
    args = args[2:]

master, slave = os.openpty()


def resize(rows, columns):
    fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


resize(rows, columns)
before = termios.tcgetattr(slave)
child = os.fork()
if child == 0:
    os.setsid()
    fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
    for fd in (0, 1, 2):
        os.dup2(slave, fd)
    if stdout:
        os.dup2(os.open(stdout, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644), 1)
    os.closerange(3, 100)
    for name in range(1, 32):
        if name not in (signal.SIGKILL, signal.SIGSTOP):
            signal.signal(name, signal.SIG_DFL)
    os.execvp(args[0], args)

seen = b""
at = 0


def read(seconds):
    global seen
    if master in select.select([master], [], [], seconds)[0]:
        try:
            seen += os.read(master, 65536)
        except OSError:
            time.sleep(0.02)


def give_up(step):
    print(f"gave up: {step}: seen so far {seen[at:][-2000:]!r}")
    os.kill(child, signal.SIGKILL)
    sys.exit(1)


for line in sys.stdin:
    step, _, rest = line.rstrip("\n").partition(" ")
    deadline = time.monotonic() + 15
    if step == "send":
        data = ast.literal_eval("b'" + rest.replace("'", "\\'") + "'")
        while data:
            if master in select.select([], [master], [], 0.05)[1]:
                data = data[os.write(master, data[:512]):]
            read(0)
            if time.monotonic() > deadline:
                give_up(line)
    elif step == "expect":
        while True:
            match = re.search(rest.encode(), seen[at:])
            if match:
                at += match.end()
                break
            if time.monotonic() > deadline:
                give_up(line)
            read(0.1)
    elif step == "size":
        resize(*map(int, rest.split()))
    elif step == "signal":
        os.kill(child, getattr(signal, "SIG" + rest))
    elif step == "modes":
        flags = termios.tcgetattr(slave)
        cooked = flags[:4] == before[:4] and flags[6] == before[6]
        raw = not flags[3] & (termios.ICANON | termios.ECHO | termios.ISIG) and not flags[1] & termios.OPOST
        print("cooked" if cooked else "raw" if raw else f"neither {flags}")
    elif step == "hangup":
        os.close(slave)
        os.close(master)
    elif step == "output":
        read(0.1)
        print(seen.decode(errors="replace").replace("\r", "\\r"))
    elif step == "wait":
        while True:
            pid, status = os.waitpid(child, os.WNOHANG)
            if pid:
                break
            if time.monotonic() > deadline:
                give_up(line)
            if rest == "quietly":
                time.sleep(0.05)
            else:
                read(0.05)
        if rest != "quietly":
            for _ in range(20):
                had = len(seen)
                read(0.05)
                if len(seen) == had:
                    break
        print("exit", os.waitstatus_to_exitcode(status))
    else:
        sys.exit(f"no such step: {line}")
    sys.stdout.flush()
