#!/bin/bash
# test-build.sh: what `make` leaves: a static binary of modest size that depends on two
# crates, installs where it is told, and starts a container with few system calls.
. "$(dirname "$0")/lib.sh"
registry main 5000
like 'the binary is static' "$(ldd "$mydocker" 2>&1)" 'not a dynamic executable|statically linked'
ok 'and has no interpreter' eval '! grep -q /lib64/ld-linux <(head -c 4096 "$mydocker")'
ok 'at most 1.7 MB' test "$(stat -c %s "$mydocker")" -le 1700000
is 'two crates besides its own' "$(sed -n 's/^name = "\(.*\)"/\1/p' "$top/Cargo.lock" | sort | xargs)" 'getopts libc mydocker'
ok 'it runs in an empty root' sh -c 'mkdir "$1/empty" && cp "$2" "$1/empty/x" && chroot "$1/empty" /x --version' sh "$room" "$mydocker"
is 'the top level holds what the user fixed' \
    "$(cd "$top" && git ls-files 2>/dev/null | cut -d/ -f1 | grep -v '^\.' | sort -u | grep -vxE 'Cargo.lock|Cargo.toml|LICENSE|Makefile|README.md|scripts|src')" ''
is "README's tour of src is the reading order of main.rs" "$(sed -n '/^### The tour of `src`/,/^## /p' "$top/README.md" |
    grep '^| [a-z]' | cut -d'|' -f2 | grep -oE '[a-z0-9_]+\.rs')" \
    "$(echo main.rs; sed -nE 's/^mod ([a-z0-9_]+);.*/\1.rs/p' "$top/src/main.rs")"
try make -n -C "$top" install DESTDIR="$room/dest" PREFIX=/opt/x
like 'make install obeys DESTDIR and PREFIX' "$out" "$room/dest/opt/x/bin"
try make -C "$top" help
for target in demo test bench lint lessons trace tour initramfs install clean; do
    like "make help names $target" "$out" "(^|[^a-z])$target([^a-z]|$)"
done

# The bench has the table; this is the line that must not be crossed unseen.
ok 'pull' mydocker pull busybox
strace -f -qq -o "$room/strace" "$mydocker" run --network none busybox true
calls=$(grep -cE '^[0-9]+ +[a-z_0-9]+\(' "$room/strace")
ok "a run takes at most 250 system calls (${calls})" test "$calls" -le 250
is 'the engine starts no thread' "$(grep -cE 'clone3?\(.*CLONE_THREAD' "$room/strace")" 0
done_testing
