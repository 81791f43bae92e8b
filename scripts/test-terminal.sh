#!/bin/bash
# test-terminal.sh: run on a terminal: a pty of its own, raw mode, window size, keys that
# become signals, and the caller's terminal as it was in the end, whatever happened.
. "$(dirname "$0")/lib.sh"
registry main 5000
ok 'pull' mydocker pull busybox
remember

# terminal DESCRIPTION WANTED COMMAND... with the steps of pty.py on standard input.
terminal() {
    cat >"$room/steps"
    gives "$1" "$2" sh -c '"$@" <"$0"' "$room/steps" /usr/bin/python3 "$scripts/pty.py" "${@:3}"
}

for how in '' -t -it '-i -t'; do
    # shellcheck disable=SC2086 # nothing or several options
    terminal "a shell at a terminal: run $how" 'exit 5' run $how busybox <<'END'
expect / # 
send tty; echo size $(stty size)\r
expect /dev/(pts/0|console)
expect size 24 80
send test -t 0 -a -t 1 -a -t 2 && echo all three\r
expect \nall three
send exit 5\r
wait
END
done
terminal 'the literal `sudo ./mydocker run busybox sh`' 'exit 0' \
    sudo "MYDOCKER_HOME=$MYDOCKER_HOME" "$mydocker" run --network none busybox sh <<'END'
expect / # 
send id -u\r
expect \n0\r
send exit\r
wait
END
terminal 'raw while it runs, as before when it has ended' $'cooked\nraw\nexit 0\ncooked' run -it busybox sh -c 'echo ready; read x' <<'END'
modes
expect ready
modes
send \r
wait
modes
END
terminal 'the window: its size, and a change of it' 'exit 0' --size 40x133 run -it busybox sh -c \
    'stty size; trap "stty size" WINCH; echo ready; while ! test -e /end; do read x; test "$x" = q && touch /end; done' <<'END'
expect 40 133\r
expect ready
size 50 99
expect 50 99\r
send q\r
wait
END
terminal 'TERM is set, as docker does' 'exit 0' run -it busybox sh -c 'echo "<$TERM>"' <<'END'
expect <xterm>
wait
END
terminal 'Ctrl-C is the command'"'"'s SIGINT' 'exit 3' run -it busybox sh -c 'trap "echo int; exit 3" INT; echo ready; while :; do sleep 0.05; done' <<'END'
expect ready
send \x03
expect int
wait
END
terminal 'Ctrl-\ is its SIGQUIT, Ctrl-Z stops nothing of ours' 'exit 4' run -it busybox sh -c 'trap "exit 4" QUIT; trap "" TSTP; echo ready; while :; do sleep 0.05; done' <<'END'
expect ready
send \x1a
send \x1c
wait
END
terminal 'job control works: Ctrl-C ends the command in the shell, not the shell' 'exit 0' run -it busybox sh <<'END'
expect / # 
send sh -c "echo star""ted; exec sleep 1000"\r
expect started
send \x03
expect / # 
send echo still $((40 + 2))\r
expect still 42
send exit\r
wait
END
terminal 'Ctrl-D is the end of input' 'exit 0' run -it busybox cat <<'END'
send one\r
expect one\r\none\r
send \x04
wait
END
for signal in TERM HUP INT; do
    terminal "SIG$signal to mydocker reaches the command, the terminal is restored" $'raw\nexit 6\ncooked' \
        run -it busybox sh -c "trap 'exit 6' $signal; echo ready; while :; do sleep 0.05; done" <<END
expect ready
modes
signal $signal
wait
modes
END
done
terminal 'a command that is killed: restored, and 137' $'exit 137\ncooked' sh -c '
    (until pgrep -x sleep >/dev/null; do sleep 0.05; done; pkill -KILL -x sleep) & exec run -it busybox sleep 1000' <<'END'
wait
modes
END
terminal 'a command that is not there: restored, and 127' $'exit 127\ncooked' run -it busybox no-such <<'END'
expect no-such
wait
modes
END
terminal 'the last output is not lost' 'exit 0' run -it busybox seq 1 20000 <<'END'
wait
expect \n19999\r\n20000\r\n
END
terminal 'each \n becomes one \r\n' $'exit 0\na\\r\nb\\r' run -it busybox printf 'a\nb\n' <<'END'
wait
output
END
lines=$(printf 'line%.0s' {1..12})
{
    echo 'expect ready'
    for ((i = 0; i < 400; i++)); do printf 'send %s %d\\r\n' "$lines" "$i"; done
    printf 'send \\x04\nexpect count 400\nwait\n'
} >"$room/long"
terminal 'a long paste arrives whole' 'exit 0' run -it busybox sh -c 'echo ready; echo count $(wc -l)' <"$room/long"
terminal 'the terminal is the container'"'"'s own' 'exit 0' run -it busybox sh -c 'ls /dev/pts; ls -l $(tty); cat /proc/self/stat; echo leader $(awk "{print \$6, \$7 != 0}" /proc/1/stat)' <<'END'
expect 0 +ptmx
expect leader 1 1
wait
END
terminal 'the command can set its terminal' 'exit 0' run -it busybox sh -c 'stty -echo raw && stty -a' <<'END'
expect -icanon
wait
END
terminal 'the user owns it' 'exit 0' run -it -u alice busybox sh -c 'echo x >$(tty) && stat -c "owner %u" $(tty)' <<'END'
expect x\r
expect owner 1000
wait
END
terminal 'the terminal goes away: the container ends' 'exit 7' run -it busybox sh -c 'trap "exit 7" HUP; echo ready; while :; do sleep 0.05; done' <<'END'
expect ready
hangup
wait quietly
END
terminal 'the terminal on one side only: no pty' $'exit 0' --stdout "$room/out" run busybox sh -c 'test -t 1 || echo "no terminal"; cat' <<'END'
send typed\r
send \x04
wait
END
is '  and the output goes straight to the file' "$(cat "$room/out")" $'no terminal\ntyped'
fails '-t with the terminal on no side' 125 'terminal' run -t busybox true
fails '-it neither' 125 'terminal' run -it busybox true

# ---------------------------------------------------------------- pull

stand_in 5001 --layouts "$images/layouts" --slow 8000000
terminal 'pull draws a bar on a terminal' 'exit 0' env MYDOCKER_HOME="$room/other" "$mydocker" pull 127.0.0.1:5001/test/big <<'END'
expect \r|\x1b\[
expect [0-9.]+ ?[kKM]i?B
expect [0-9.]+ ?[kKM]i?B/s
wait
expect sha256:
END
try mydocker pull test/many:40
unlike 'and none elsewhere' "$err" $'\r|\x1b'
ok '  where each layer has its line' test "$(grep -cE '[0-9a-f]{12}' <<<"$err")" -ge 39

# ---------------------------------------------------------------- rootless

ordinary_users
as sub "$mydocker" pull busybox 2>/dev/null
for user in sub bare; do
    cat >"$room/steps" <<'END'
expect / # 
send id -u; tty; stty size\r
expect \n0\r
expect /dev/(pts/0|console)
expect 24 80
send exit 5\r
wait
modes
END
    # pty.py runs as the user: the terminal is then his.
    install -m 755 "$scripts/pty.py" "$room/pty.py"
    gives "rootless ($user): a shell at a terminal" $'exit 5\ncooked' sh -c 'cat "$0" | "$@"' "$room/steps" \
        setpriv --reuid="mydocker-$user" --regid="mydocker-$user" --init-groups env -C "$room/home/$user" \
        -u MYDOCKER_HOME HOME="$room/home/$user" /usr/bin/python3 "$room/pty.py" "$room/bin/run" -it busybox
done
nothing_remains 'nothing remains'
done_testing
