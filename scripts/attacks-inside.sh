#!/bin/busybox sh
# attacks-inside.sh: a hostile process in a container: runs there as its command, prints a line for each attack,
# `TAG NAME: ANSWER`, and judges nothing: test-attack-inside.sh does. What needs a system call of its own is in attack.c.
#   sh -c "(ls /proc/1/fd >/tmp/fds); exec attacks-inside.sh all"    everything from a shell, then everything from attack.c
#   attacks-inside.sh exe    at /proc/1/exe, while that is not yet the command (by `attack into`)
# shellcheck shell=dash
export PATH=/bin:/sbin:/usr/bin:/usr/sbin
attack=/attack/attack

if [ "$1" = exe ]; then
    $attack exe 1 2>&1
    # By what a shell has: CVE-2019-5736 as it was published. (chmod, chown and touch: attack.c knows what they mean.)
    exe=/proc/1/exe
    (exec 9<"$exe" && cat /bin/busybox >/proc/self/fd/9) 2>/dev/null && echo 'exe cat >/proc/self/fd/9: REACHED'
    (exec 9<>"$exe") 2>/dev/null && echo 'exe <>: REACHED'
    cp /bin/busybox "$exe" 2>/dev/null && echo 'exe cp: REACHED'
    truncate -s 0 "$exe" 2>/dev/null && echo 'exe truncate -s 0: REACHED'
    echo 'exe end: harmless'
    exit
fi

answer() { # TAG NAME REACHED?
    if [ "$3" ]; then echo "$1 $2: REACHED $3"; else echo "$1 $2: harmless"; fi
}

# What the caller had open, and his variables.
answer fds 'of the first process, beyond 0-2' "$(grep -vx '[012]' /tmp/fds | xargs)"
answer env 'of every process' "$(cat /proc/[0-9]*/environ 2>/dev/null | tr '\0' '\n' | grep -m 1 '^HOST_SECRET')"
answer env 'its own' "$(env | grep -m 1 '^HOST_SECRET')"

# The five sets, as hexadecimal numbers: Inh Prm Eff Bnd Amb.
for program in $attack /setuid /capable /over; do
    echo "caps ${program##*/}: $($program caps 2>/dev/null || echo "exit code $?")"
done

exec $attack all
