"""abuse.py: what test-dns-abuse.sh does to the DNS forwarder, and no good client or upstream does.

  abuse.py flood ADDRESS:PORT SECONDS HEX
  abuse.py crowds ADDRESS:PORT WAVES ASKERS STEP PID
  abuse.py greedy ADDRESS:PORT CONNECTIONS TIMES HEX
  abuse.py mute ADDRESS PORT COUNT

flood: the same datagram as often as it goes for that time; replies are not read. Prints how many.

crowds: WAVES questions at once, new ones each time, the n-th of which upstream.py answers after n * STEP ms; and in
the n-th STEP, ASKERS more who ask the n-th question. Prints the kilobytes that process PID has
after each wave.

greedy: that many connections, each with room for next to nothing, which send the message TIMES
times and never read. Prints `holding`, and keeps them until it is killed.

mute: an upstream at each of COUNT ports from PORT on, which never says anything, nor does the
kernel in its place. Prints `ready`, and keeps them until it is killed.
"""
import os
import socket
import struct
import sys
import time

from upstream import RD, parse, wire


def connected(place):
    address, family = parse(place)
    udp = socket.socket(family, socket.SOCK_DGRAM)
    udp.connect(address)
    return udp


def flood(place, seconds, message):
    udp, message, sent = connected(place), bytes.fromhex(message), 0
    end = time.monotonic() + float(seconds)
    while time.monotonic() < end:
        for _ in range(100):
            udp.send(message)
        sent += 100
    print(sent)


def resident(pid):
    with open(f'/proc/{pid}/status', encoding='ascii') as file:
        return next(line.split()[1] for line in file if line.startswith('VmRSS:'))


def crowds(place, waves, askers, step, pid):
    udp, step = connected(place), int(step)
    questions = [struct.pack('!6H', 0, RD, 1, 0, 0, 0) + wire(f'slow-{n * step}.crowd{n}-{os.getpid()}.test.') + b'\0\1\0\1'
                 for n in range(1, int(waves) + 1)]
    start = time.monotonic()
    for question in questions:
        udp.send(question)
    for number, question in enumerate(questions, 1):
        for sent in range(int(askers)):
            udp.send(question)
            if sent % 50 == 49:  # a socket's buffer holds some 270: let the program take them
                time.sleep(0)
        # All have their answers when a little more than the step is over.
        time.sleep(max(0.0, start + (number + 0.2) * step / 1000 - time.monotonic()))
        print(resident(pid), flush=True)


def greedy(place, connections, times, message):
    address, family = parse(place)
    framed = struct.pack('!H', len(message) // 2) + bytes.fromhex(message)
    held = []
    for _ in range(int(connections)):
        held.append(socket.socket(family, socket.SOCK_STREAM))
        held[-1].setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)  # before it connects: tcp(7)
        held[-1].settimeout(5)
        held[-1].connect(address)
        held[-1].sendall(framed * int(times))
    print('holding', flush=True)
    time.sleep(60)


def mute(address, port, count):
    held = []
    for number in range(int(count)):
        held.append(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        held[-1].bind((address, int(port) + number))
    print('ready', flush=True)
    time.sleep(60)


if __name__ == '__main__':
    commands = {'flood': (flood, 3), 'crowds': (crowds, 5), 'greedy': (greedy, 4), 'mute': (mute, 3)}
    command, count = commands.get((sys.argv + [''])[1], (None, 0))
    if command is None or len(sys.argv) != 2 + count:
        sys.exit(__doc__)
    command(*sys.argv[2:])
