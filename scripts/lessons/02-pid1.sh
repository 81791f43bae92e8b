#!/bin/bash
# 02-pid1.sh: pid 1, a process with two numbers
. "$(dirname "$0")/lesson.sh"
question <<'END'
The first process of a container has the number 1. Which number has that process on the host?
Who becomes the parent of a process whose parent has ended? And what does `kill -9 1` do inside?
END
inside='echo "I am $$"; (sleep 98 &); ps -o pid,ppid,comm; kill -9 1; echo still here; exec sleep 99'
say mydocker run --rm --network none --name first busybox sh -c "$inside"
mydocker run --rm --network none --name first busybox sh -c "$inside" >printed </dev/null &
eventually grep -q here printed || :
cat printed
first=$(pid_of first)
orphan=$(xargs <"/proc/$first/task/$first/children")
show grep -E '^(Name|PPid|NSpid)' "/proc/$first/status" "/proc/$orphan/status"
numbers=$(xargs <<<"$shown")
show kill -9 "$first"
wait $! && ended=0 || ended=$?
echo "the engine's exit code: $ended"
trace clone,set_tid_address,kill 'NEWPID|set_tid|kill' mydocker run --rm --network none busybox sh -c 'kill -9 1'
answer <<'END'
clone(2) with CLONE_NEWPID makes process 1 of a new pid namespace, pid_namespaces(7). The trace has both
numbers: clone(2) returns that of the outside, set_tid_address(2) in the child its own, 1. NSpid in
/proc/PID/status, proc(5), lists them from the outside in. For us, the inside has no number at all.
1 is the init of its namespace: whose parent has ended becomes its child, and it should wait(2) for
them. A signal from inside that it has no handler for, the kernel does not deliver, not even SIGKILL;
kill(2) returns 0 all the same. From outside SIGKILL kills it, and with it all others in there.
END
check 'inside it is number 1' grep -qx 'I am 1' printed
check 'outside it has another, and /proc has both' grep -q "NSpid: $first 1 " <<<"$numbers"
check 'the parent of sleep 98 is number 1 now' grep -q "status:PPid: $first .*NSpid: $orphan" <<<"$numbers"
check 'kill -9 1 from inside did nothing' grep -qx 'still here' printed
check 'kill -9 from outside killed it: 128 + 9' test "$ended" = 137
check 'and the orphan with it' eventually test ! -e "/proc/$orphan"
now_you <<'END'
sudo unshare --pid --fork --mount-proc sh -c 'ps; kill -9 $$; echo still here'
Then with `trap "echo ouch" TERM; kill $$` in the place of `kill -9 $$`: why does this one arrive?
END
