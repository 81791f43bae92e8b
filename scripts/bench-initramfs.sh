# shellcheck shell=bash
# bench-initramfs.sh: a machine that is one file; part of bench.sh. Sizes against the same job done with podman's
# programs, the boot, and in the guest (QEMU's TCG, some ten times slower than the machine) time and memory of a
# container beside crun's and bwrap's from the same directory.
# shellcheck disable=SC2034,SC2154,SC2004 # variables of bench.sh and lib.sh, associative arrays among them

bench_initramfs() {
    local name
    guest=/var/cache/mydocker-guest
    [[ $(uname -m) == x86_64 ]] || { echo 'initramfs: only for x86_64'; return; }
    label[init-podman]='podman, conmon, crun, slirp4netns' label[init-podman-bare]='podman, conmon, crun'
    label[init-kernel]='echo as pid 1' label[init-crun]='crun run --no-pivot' label[init-bwrap]='bwrap --unshare-all'
    label[init-crun-memory]=${label[init-crun]} label[init-crun-whole]=${label[init-crun]}
    initramfs_sizes
    initramfs_boots
    initramfs_guest
    heading 'An initramfs: sizes in MB, compressed with gzip -9 unless it says otherwise'
    row 'the binary, not compressed' MB init-binary - 1.7
    row 'engine, busybox, modules, a busybox image' MB init-small - 4
    row 'curl, its libraries, CA bundle' MB init-curl -
    row 'slirp4netns, its libraries' MB init-slirp4netns -
    row 'all to run a container' MB init-bare init-podman-bare
    row 'all to pull and run with a network' MB init-job init-podman
    heading 'A machine of it (QEMU under TCG, two processors; 3 boots, 10 runs)'
    row 'from the start of QEMU to the first line' ms init-boot init-kernel
    row 'the smallest memory that works, in steps of 8' MB init-least - 96
    row "from exec to the container's first line" ms init-mydocker - 150
    row "from exec to the container's first line" ms init-mydocker init-crun
    row "from exec to the container's first line" ms init-mydocker init-bwrap
    row 'memory of a container of `busybox sleep`' kB init-mydocker-memory init-crun-memory
    row '  of the whole machine, with five of them' MB init-mydocker-whole init-crun-whole
}

figure() { calc '%.6f\n' "$2" >>"$room/series/$1"; } # NAME EXPRESSION

# ---------------------------------------------------------------- sizes

# table OUT ARGS...: what initramfs.sh prints goes to OUT.table
table() { MYDOCKER=$mydocker "$scripts/initramfs.sh" "${@:2}" --busybox-image -o "$1" >"$1.table" 2>"$1.err" || bail "initramfs.sh: $(<"$1.err")"; }
# compressed TABLE REGEX: of those parts, in bytes
compressed() { awk -v regex="^($2)  " '$0 ~ regex { split(substr($0, 31), columns, " "); sum += columns[2] } END { print sum }' "$1.table"; }

initramfs_sizes() {
    table small.cpio.gz --no-curl --no-slirp4netns --modules "$guest"
    table full.cpio.gz --modules none
    figure init-binary "$(stat -c %s "$mydocker") / 1e6"
    figure init-small "$(stat -c %s small.cpio.gz) / 1e6"
    figure init-curl "$(compressed full.cpio.gz 'curl|CA certificates') / 1e6"
    figure init-slirp4netns "$(compressed full.cpio.gz slirp4netns) / 1e6"
    figure init-bare "$(compressed full.cpio.gz mydocker) / 1e6"
    figure init-job "$(compressed full.cpio.gz 'mydocker|curl|slirp4netns|CA certificates') / 1e6"
    if type -P podman conmon crun >/dev/null; then
        # Podman pulls by itself. In the order of who brings the libraries.
        table podman.cpio.gz --no-curl --no-slirp4netns --modules none --program podman --program conmon --program crun --program slirp4netns
        figure init-podman-bare "$(compressed podman.cpio.gz 'podman|conmon|crun') / 1e6"
        figure init-podman "($(compressed podman.cpio.gz 'podman|conmon|crun|slirp4netns') + $(compressed full.cpio.gz 'CA certificates')) / 1e6"
    else
        broken[init-podman]='podman is not installed' broken[init-podman-bare]='podman is not installed'
    fi
}

# ---------------------------------------------------------------- boots

# machine INITRAMFS MEGABYTES APPEND: its console on standard output
machine() {
    timeout 150 qemu-system-x86_64 -accel tcg,thread=multi -cpu max -m "$2" -smp 2 -nographic -no-reboot -nic none \
        -kernel "$guest/vmlinuz" -initrd "$1" -append "console=ttyS0 quiet panic=-1 $3" </dev/null 2>&1 | stdbuf -oL tr -d '\r\33'
}

# first_line NAME MEGABYTES APPEND: the time until a line `hello`; fails when there is none
first_line() {
    local line start=${EPOCHREALTIME/./} now=''
    while IFS= read -r line; do
        [[ -n $now || $line != *hello ]] || now=${EPOCHREALTIME/./}
    done < <(machine small.cpio.gz "$2" "$3")
    [[ -n $now ]] && figure "$1" "($now - $start) / 1000"
}

initramfs_boots() {
    local i megabytes ours='rdinit=/mydocker mydocker="run --network none busybox echo hello"'
    for ((i = 0; i < 3; i++)); do
        first_line init-boot 96 "$ours" || { broken[init-boot]='mydocker: no line of the container'; break; }
        # The kernel, and as little as can be. The kernel panics when it ends; -no-reboot makes that QEMU's end.
        first_line init-kernel 96 'rdinit=/bin/echo -- hello' || { broken[init-kernel]='no line'; break; }
    done
    for megabytes in 96 88 80 72 64 56 48; do
        first_line init-tried "$megabytes" "$ours" || break
        echo "$megabytes" >"$room/series/init-least"
    done
    [[ -s $room/series/init-least ]] || broken[init-least]='mydocker: 96 MB are not enough'
}

# ---------------------------------------------------------------- in the guest

# What is measured there: a stamp in the kernel's log, which has microseconds, before the command and when its first
# line is read. Each line that the host is to see begins with BENCH.
guest_init='#!/bin/sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/pts /dev/shm /bundle/rootfs
mount -t devpts devpts /dev/pts
mount -t cgroup2 cgroup2 /sys/fs/cgroup
for module in /modules/*; do insmod "$module"; done
ip link set lo up
tar -xOf /images/01-busybox.tar layer.tar | tar -x -C /bundle/rootfs
mydocker load -i /images/01-busybox.tar && rm /images/01-busybox.tar

stamp() { echo "BENCH $*" >/dev/kmsg; }
first() { # NAME COMMAND...
    name=$1
    shift
    stamp "$name begins"
    "$@" 2>/tmp/err | { read -r line && stamp "$name says $line"; }
    [ ! -s /tmp/err ] || echo "BENCH $name fails $(tail -n 1 /tmp/err)"
}
# What is counted per processor is added up first, what can be dropped is.
used() {
    cat /proc/sys/vm/stat_refresh
    echo 3 >/proc/sys/vm/drop_caches
    awk "/^MemTotal/ { all = \$2 } /^MemAvailable/ { free = \$2 } END { print all - free }" /proc/meminfo
}
memory() { # NAME COMMAND...: a fifth of what five containers take, each with its number at the end of COMMAND
    name=$1
    shift
    before=$(used)
    for number in 1 2 3 4 5; do "$@$number" >/dev/null 2>&1 & done
    for _ in $(seq 60); do [ "$(pidof sleep | wc -w)" = 5 ] && break; usleep 200000; done
    in_use=$(used)
    echo "BENCH $name memory $(((in_use - before) / 5)) $in_use $(pidof sleep | wc -w)"
    killall -KILL sleep
    wait
    usleep 500000
}
mydocker="mydocker run --rm --network none busybox"
crun="crun run --no-pivot --bundle /bundle bench"
for _ in 0 1 2 3 4 5 6 7 8 9; do
    first init-mydocker $mydocker echo hello
    first init-crun $crun
done
first init-bwrap bwrap --bind /bundle/rootfs / --proc /proc --dev /dev --unshare-all /bin/echo hello
first pivot crun run --bundle /bundle bench
sed -i "s/\"echo\"/\"sleep\"/; s/\"hello\"/\"1000\"/" /bundle/config.json
for _ in 1 2 3; do
    memory init-mydocker $mydocker sleep 1000
    memory init-crun $crun
done
dmesg | grep BENCH
poweroff -f'

initramfs_guest() {
    local tree=$room/guest-bench
    mkdir -p "$tree/bundle"
    printf '%s\n' "$guest_init" >"$tree/init"
    chmod 755 "$tree/init"
    (cd "$tree/bundle" && crun spec && jq '.process.terminal = false | .process.args = ["echo", "hello"]' config.json >new && mv new config.json)
    table guest.cpio.gz --no-curl --no-slirp4netns --modules "$guest" --program bwrap --program crun
    # The kernel reads one archive after the other.
    (cd "$tree" && find . | busybox cpio -o -H newc 2>/dev/null | gzip -1) >>guest.cpio.gz
    # Else what is written to the log is dropped above a rate.
    machine guest.cpio.gz 512 'printk.devkmsg=on' >"$room/guest-bench.console"
    awk -v series="$room/series/" '
        # [    3.141592] BENCH NAME begins
        /^\[.*BENCH .* begins/ { at = substr($0, 2) + 0 }
        match($0, /BENCH [^ ]+ says/) { name = substr($0, RSTART + 6, RLENGTH - 11); print (substr($0, 2) - at) * 1000 >(series name) }
        $1 == "BENCH" && $3 == "memory" && $6 == 5 { print $4 >(series $2 "-memory"); print $5 / 1000 >(series $2 "-whole") }' "$room/guest-bench.console"
    for name in mydocker crun bwrap; do
        [[ -s $room/series/init-$name ]] ||
            broken[init-$name]="$name fails: $(sed -n "s/^BENCH init-$name fails //p" "$room/guest-bench.console" | head -n 1)"
    done
    printf '\nIn the guest, whose / is a rootfs: crun without --no-pivot says "%s".\n' \
        "$(sed -n 's/^BENCH pivot fails //p' "$room/guest-bench.console")"
}
