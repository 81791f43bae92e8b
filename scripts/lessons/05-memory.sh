#!/bin/bash
# 05-memory.sh: 64 MB and no more
. "$(dirname "$0")/lesson.sh"
question <<'END'
A container may have 64 MB, and a program in it fills 200. Does malloc(3) say no? What does one see of
it from outside, and what becomes of the container's other processes?
END
run=(mydocker run --rm --network none --memory 64m)
greedy=(dd if=/dev/zero of=/dev/null bs=200M count=1)
trace mkdir,openat,write,wait4 '/memory.*mydocker|mydocker/.*(memory|procs)|"67108864"|SIGKILL' "${run[@]}" busybox "${greedy[@]}"
alone=$code
printf '\nOnce more, with a shell around it that lives on, so that its cgroup can be read from outside:\n'
say "${run[@]}" --name small busybox sh -c "${greedy[*]}; echo \$?; exec sleep 99"
"${run[@]}" --name small busybox sh -c "${greedy[*]}; echo \$?; exec sleep 99" >printed 2>&1 </dev/null &
eventually grep -qE '^[0-9]+$' printed || :
cat printed
id=$(readlink "$MYDOCKER_HOME/containers/small")
mapfile -t files < <(ls /sys/fs/cgroup/{memory/,}mydocker/"$id"/memory.{limit_in_bytes,max_usage_in_bytes,failcnt,oom_control,max,peak,events} 2>/dev/null)
show grep . "${files[@]}"
answer <<'END'
malloc(3) only reserves addresses; memory is taken page by page as it is written to, and by then there
is no call that could say no. The engine has made a cgroup, cgroups(7), with 67108864 for its limit;
the child writes itself into the list of its processes (tasks; in version 2 cgroup.procs), and what
it starts belongs there, too. At the limit the kernel first drops caches and swaps (as much again, where
there is swap), then picks the largest process of this cgroup and sends it SIGKILL: the OOM killer. Was
that pid 1, the container ends with it, and the engine says 128 + 9 = 137. Was it a child, its parent
gets to know, and lives. oom_kill counts the killed, failcnt (version 2: max) the times at the limit.
END
check 'killed, and from outside it is 137' test "$alone" = 137
check 'a shell that waits for it sees 137, too, and lives' grep -qx 137 printed
check 'the limit is 64 MB' grep -qE '(limit_in_bytes|max):67108864$' <<<"$shown"
check 'it ran against that' grep -qE '(failcnt:|events:max )[1-9]' <<<"$shown"
peak=$(sed -nE 's/.*(max_usage_in_bytes|peak)://p' <<<"$shown") # (version 2 has it since Linux 5.19)
check 'it never had more, but for a little of the kernel' test "${peak:-0}" -le $((65 << 20))
check 'one process was killed' grep -qE '(oom_control|events):oom_kill 1$' <<<"$shown"
now_you <<'END'
dd bs=60M: does it fit, and bs=64M? Who is killed when two of 40 MB run at once (dd ... & dd ...)?
sudo dmesg | tail: what the kernel wrote of it, a table of the cgroup's processes and their memory.
END
