#!/bin/bash
# 01-hostname.sh: a new hostname that nobody else sees
. "$(dirname "$0")/lesson.sh"
question <<'END'
A container is told that its host is called mars. What is this machine called meanwhile?
By which system calls does one get a name of one's own? Can the container change it again?
END
before=$(uname -n)
show mydocker run --rm --network none --hostname mars busybox sh -c \
    'hostname; readlink /proc/self/ns/uts; hostname venus || hostname'
inside=$shown
show uname -n
show readlink /proc/self/ns/uts
trace clone,sethostname,prctl 'NEWUTS|sethostname|DROP, CAP_SYS_ADMIN' \
    mydocker run --rm --network none --hostname mars busybox true
answer <<'END'
clone(2) with CLONE_NEWUTS makes a process in a new UTS namespace, uts_namespaces(7): its own copy of
two strings, the host name and the NIS domain name. (UTS is "Unix Time-sharing System": struct utsname
of uname(2).) sethostname(2) writes into that copy. The numbers in brackets name the namespaces:
processes with the same number share a name, all others do not.
sethostname(2) needs CAP_SYS_ADMIN. The child has it when it sets the name, and has dropped it before
the container's own program starts, capabilities(7): hence "Operation not permitted".
END
check 'inside it is mars' test "${inside%%$'\n'*}" = mars
check 'it is still mars after `hostname venus`' test "${inside##*$'\n'}" = mars
check 'which was refused' grep -q 'Operation not permitted' <<<"$inside"
check 'outside it is what it was' test "$(uname -n)" = "$before"
check 'there are two UTS namespaces' test "$(grep uts: <<<"$inside")" != "$shown"
check 'the trace has the call that did it' grep -q 'sethostname("mars", 4) *= 0' trace.*
now_you <<'END'
sudo unshare --uts sh -c 'hostname venus; hostname; readlink /proc/self/ns/uts'; hostname
Why could this one change its name? Try `setpriv --bounding-set -sys_admin hostname venus` in it.
END
