#!/bin/bash
# test-seccomp.sh: the seccomp filter of a container. `mydocker seccomp` prints it as docker's JSON; what it says to each
# system call (asked by seccomp-probe.c) is what podman, crun and libseccomp make of that JSON, with whatever
# capabilities; it is what docker's is known for; it stands before the command; other ABIs die.
. "$(dirname "$0")/lib.sh"
registry main 5000
ok 'pull' mydocker pull busybox
machine=$(uname -m)
mkdir -p "$room/probe" "$room/podman/root" "$room/rootfs/dev" "$room/rootfs/proc" "$room/rootfs/sys"
ok 'the probe is built' cc -static -Os -Wall -Wextra -Werror -o "$room/probe/seccomp-probe" "$scripts/seccomp-probe.c"
cp "$room/probe/seccomp-probe" "$room/rootfs/"

# ---------------------------------------------------------------- the JSON

json=$room/seccomp.json
ok 'mydocker seccomp' mydocker seccomp
mydocker seccomp >"$json"
rules() { jq -r "$@" "$json"; }
ok 'it is JSON' jq . "$json"
is 'what it does not know gets ENOSYS' "$(rules '"\(.defaultAction) \(.defaultErrnoRet)"')" 'SCMP_ACT_ERRNO 38'
is 'what it refuses gets EPERM' \
    "$(rules '[.syscalls[] | select(.action != "SCMP_ACT_ALLOW") | "\(.action) \(.errnoRet)"] | unique[]')" 'SCMP_ACT_ERRNO 1'

# The number of each name on this machine, and who says so: libseccomp, the kernel's headers, the libc crate (whose
# numbers from 424 on are those of other machines, too: so it is with the kernel). The table in src comes last.
crate=$(cat "${CARGO_TARGET_DIR:-$top/target}"/release/deps/libc-*.d 2>/dev/null |
    sed -n 's|^[^ ]*: \(/.*\)/src/lib.rs .*|\1|p' | head -n 1)
headers() { printf '#include <asm/unistd.h>\n' | cc -E -dM - | sed -n 's/^#define __NR_\([a-z0-9_]*\) \([0-9]*\)$/\1 \2/p'; }
newer() { sed -nE 's/.*SYS_([a-z0-9_]+): c_long = ([0-9]+);.*/\1 \2/p' | awk '$2 >= 424' | sort -u; }
while read -r name; do echo "$name $(scmp_sys_resolver "$name")"; done < <(rules '[.syscalls[].names[]] | unique[]') >"$room/resolved"
{
    awk '$2 >= 0 {print $0, "libseccomp"}' "$room/resolved"
    headers | sed 's/$/ headers/'
    [[ -z $crate ]] || grep -rhE 'SYS_[a-z0-9_]+: c_long = ' "$crate/src/unix/linux_like/linux" | newer | sed 's/$/ crate/'
    grep -ohE 'SYS_[a-z0-9_]+ = [0-9]+' "$top"/src/seccomp_table.rs | sed -E 's/^SYS_//; s/ = / /; s/$/ table/'
} | awk '!($1 in seen) {seen[$1] = 1; print}' >"$room/numbers"
# Names that libseccomp does not know are unknown to podman: their numbers get ENOSYS there.
awk '$2 == -1 {print $1}' "$room/resolved" | sort >"$room/unresolved"
number() { awk -v name="$1" '$1 == name {print $2}' "$room/numbers"; }
# Real ones: known to libseccomp (on any machine), the headers, or this kernel's own symbols.
real() {
    headers | cut -d' ' -f1
    awk '$2 != -1 {print $1}' "$room/resolved"
    grep -oE ' __(x64|arm64)_sys_[a-z0-9_]+$' /proc/kallsyms | sed -E 's/.*_sys_//'
    [[ -z $crate ]] || grep -rhoE 'SYS_[a-z0-9_]+: c_long' "$crate/src/unix/linux_like/linux" | sed -E 's/SYS_//; s/:.*//'
}
ok 'the kernel headers are here' test "$(headers | wc -l)" -gt 250
# The newest is of Linux 6.11.
at_least() { [[ $(printf '%s\n' "$1" "$(uname -r)" | sort -V | head -n 1) == "$1" ]]; } # VERSION
at_least 6.11 && newest='' || newest=uretprobe
is 'every name is a system call that others know' \
    "$(comm -23 <(cut -d' ' -f1 "$room/resolved" | sort) <(real | sort -u))" "$newest"
is 'every name has a number, and two have none in common' \
    "$(awk 'NR == FNR {number[$1] = $2; next} !($1 in number) {print; next} seen[number[$1]]++ {print $1, number[$1]}' \
        "$room/numbers" <(awk '$2 >= -1' "$room/resolved"))" ''
echo "# not known to libseccomp $(dpkg-query -W -f '${Version}' libseccomp2): $(while read -r name; do
    awk -v name="$name" '$1 == name {printf "%s %s (%s)  ", $1, $2, $3}' "$room/numbers"
done <"$room/unresolved")"
is 'no condition has a name twice' "$(rules '[.syscalls[] | . as $rule | .names[] | . as $name | $rule | del(.names, .comment)
    | [$name, tostring]] | group_by(.)[] | select(length > 1) | .[0][0]')" ''

# Which rules there are for who has the capabilities $caps, as docker reads them: moby/profiles, seccomp.go.
# shellcheck disable=SC2089 # jq's quotes
applies='def has_all($list): ($list // []) - $caps == [];
    def has_none($list): ($list // []) - (($list // []) - $caps) == [];
    def machine($list): $list == null or ($list | index($arch)) != null;
    def applies: has_all(.includes.caps) and has_none(.excludes.caps) and machine(.includes.arches)
        and (.excludes.arches == null or (.excludes.arches | index($arch) == null));'
arch=$([[ $machine == aarch64 ]] && echo arm64 || echo amd64)
is 'no call is both allowed and refused, whatever capabilities there are' "$(rules --arg arch "$arch" '
    . as $input | ([.syscalls[] | .includes.caps, .excludes.caps | .[]?] | unique) as $all |
    ([], $all, ($all[] | [.]), ($all[] | $all - [.])) as $caps | '"$applies"'
    [$input | .syscalls[] | select(applies and (.args // []) == []) | .action as $action | .names[] | [., $action]] |
    unique | group_by(.[0])[] | select(length > 1) | "\(.[0][0]) with \($caps)"')" ''

# ---------------------------------------------------------------- what is asked

# All numbers; with arguments the calls that docker's filter looks into, some of them by chance (always the same: a
# failure can be repeated); and what stands in the JSON, at its edges.
new_namespace=(0x20000 0x02000000 0x04000000 0x08000000 0x10000000 0x20000000 0x40000000)
by_hand() {
    local i call
    printf 'clone:%s\n' 0 0x11 0x80 0x3d0f00 0x7e020000 0x10020000 0x100000000 0x1000000000020000 0x11:0x20000 \
        "${new_namespace[@]}" "${new_namespace[@]/%00/11}"
    printf 'clone3:%s:88\n' 0 0x1000
    printf 'personality:%s\n' 0 8 0x20000 0x20008 0xffffffff 1 0x40000 0x400000 0x20009 0x80020008 0x80000000 \
        0x7fffffff 0xfffffffe 0xffffffffffffffff 0x100000000 0x100020008
    # Every family, a few that there are not, and numbers that are one in their lower half.
    printf 'socket:%s:1\n' {0..48} 0xffffffff 0x100000001 0x100000028 0x8000000000000000
    printf 'socket:16:3:%s\n' 0 9
    RANDOM=6
    for call in clone personality socket; do
        for ((i = 0; i < 20; i++)); do
            printf '%s:%#x\n' $call $((RANDOM << 17 ^ RANDOM << 3 ^ RANDOM)) $call $((1 << RANDOM % 33 | 1 << RANDOM % 32))
        done
    done
}
from_json() {
    rules 'def bits: . as $mask | range(32) | pow(2; .) | select(($mask / . | floor) % 2 == 1);
        .syscalls[] | select((.args // []) | length > 0) | .names[] as $name | .args[] |
        (if .op == "SCMP_CMP_MASKED_EQ" then .valueTwo, .value, (.value | bits), .value + 4294967296
            else .value, .value + 1, (.value - 1 | select(. >= 0)), .value + 4294967296 end) as $value |
        "\($name)\([range(.index) | ":0"] | add // ""):\($value)"'
}
{
    by_hand
    from_json
} | awk 'NR == FNR {number[$1] = $2; next} {name = $0; sub(/:.*/, "", name)}
    name in number {sub(/^[^:]*/, number[name]); if (!seen[$0]++) print}' "$room/numbers" - >"$room/calls"
[[ $machine != x86_64 ]] || printf '%s\n' i386:{1,4,20,100000} 0x400000{00,01,27} 0x40000{200,20f} 0x7fffffff >>"$room/calls"
printf '%s\n' 0x10000 0x3fffffff 0x80000000 0xffffffff >>"$room/calls"
mapfile -t calls < <(echo 0-1023; cat "$room/calls")
echo "# $((${#calls[@]} - 1)) calls beside the numbers 0 to 1023"

# ---------------------------------------------------------------- ours and podman's

# Docker's default capabilities; podman's own are fewer.
cat >"$room/containers.conf" <<'END_CONF'
[containers]
default_capabilities = ["AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE",
    "NET_RAW", "SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT"]
END_CONF

# What podman and crun keep outside of the directories that they are given: /dev/shm/libpod_lock, /run/crun.
mount -t tmpfs -o mode=1777 tmpfs /dev/shm || bail 'cannot mount a tmpfs on /dev/shm'
mount -t tmpfs -o mode=755 tmpfs /run || bail 'cannot mount a tmpfs on /run'

# crun 1.8 refuses a bare cgroup2 beside cgroup v1's controllers: it is taken away, in a mount namespace that ends with
# the command. podman's own limits are above what a container's root may have here.
podman_run() { # OPTIONS-AND-COMMAND...
    CONTAINERS_CONF=$room/containers.conf timeout -k 5 "$limit" unshare --mount sh -c '
        ! mountpoint -q /sys/fs/cgroup/unified || umount /sys/fs/cgroup/unified
        exec "$@"' sh podman --root "$room/podman/root" --runroot "$room/podman/run" --tmpdir "$room/podman/tmp" \
        --cgroup-manager cgroupfs run --rm --cgroups disabled --network none --ulimit nofile=1024:4096 \
        --ulimit nproc=1024:1024 "$@"
}

# The capabilities in CapBnd of FILE, as a JSON list.
capabilities_of() { # FILE
    local bounding
    bounding=$((16#$(sed -n 's/^CapBnd: //p' "$1")))
    sed -nE 's/^#define (CAP_[A-Z_]+)[[:space:]]+([0-9]+)$/\1 \2/p' /usr/include/linux/capability.h |
        while read -r name bit; do ((bounding >> bit & 1)) && echo "$name"; done | jq -R . | jq -s .
}

# What must differ: `NUMBER OURS PODMAN'S` for each name that libseccomp does not know, if the kernel asks a filter at all.
expected_differences() { # FILE
    rules --arg arch "$arch" --argjson caps "$(capabilities_of "$1")" "$applies"'
        .syscalls[] | select(applies and (.args // []) == []) |
        (if .action == "SCMP_ACT_ALLOW" then "allow" else "EPERM" end) as $verdict | .names[] | "\(.) \($verdict)"' |
        sort -u | join - "$room/unresolved" | while read -r name verdict; do echo "$(number "$name") $verdict ENOSYS"; done |
        grep -vE "^($unasked) " | sort
}

differences() { # OURS PODMANS
    awk 'NR == FNR {ours[$1] = $2; order[++count] = $1; next} !($1 in ours) {print $1, "-", $2; next}
        {if (ours[$1] != $2) print $1, ours[$1], $2; delete ours[$1]}
        END {for (i = 1; i <= count; i++) if (order[i] in ours) print order[i], ours[order[i]], "-"}' "$1" "$2" | sort
}

# A user namespace has every capability, also those that this machine's root was not left; podman makes none.
here=$((16#$(sed -n 's/^CapBnd:[[:space:]]*//p' /proc/self/status)))
as_far_as_here() {
    local bounding
    read -r _ bounding && printf 'CapBnd: %016x\n' $((16#$bounding & here))
    cat
}

# The same verdicts, line by line, capabilities and all; the lines are $room/ours and $room/podmans.
same_verdicts() { # OPTIONS...
    local profile=(--security-opt "seccomp=$json")
    [[ $* != *unconfined* ]] || profile=()
    podman_run "$@" "${profile[@]}" --rootfs "$room/rootfs" /seccomp-probe "${calls[@]}" \
        >"$room/podmans" 2>"$room/podman.err" &
    run "$@" -v "$room/probe:/probe:ro" busybox /probe/seccomp-probe "${calls[@]}" 2>"$room/ours.err" |
        as_far_as_here >"$room/ours"
    wait $!
    # `> NUMBER OURS PODMAN'S` is a difference that should not be, `<` one that should.
    is "podman's verdicts with ${*:-no options}" "$(diff \
        <([[ $* == *unconfined* ]] || expected_differences "$room/ours") <(differences "$room/ours" "$room/podmans"))" ''
    is '  each call has its verdict' "$(wc -l <"$room/ours")" "$lines" || {
        note ours "$(cat "$room/ours.err")"
        note podman "$(cat "$room/podman.err")"
    }
}
status() { sed -n "s/^$1: //p" "$room/ours"; } # FIELD

# Without any filter the probe sees none: what it does see, it sees of others. Since Linux 6.14 no filter is asked
# about uretprobe(2) and uprobe(2), which the kernel itself plants into programs.
"$room/probe/seccomp-probe" "${calls[@]}" >"$room/unfiltered"
lines=$(wc -l <"$room/unfiltered")
unasked=$(awk '/^33[56] / && $2 != "allow" {print $1}' "$room/unfiltered" | paste -sd '|')
unasked=${unasked:-none}
is 'outside of containers everything is allowed' "$(grep -vE "^($unasked|[A-Za-z_]*:) | allow$" "$room/unfiltered")" ''

same_verdicts
cp "$room/ours" "$room/plain"
is '  one filter, and no_new_privs only where it is asked for' \
    "$(status Seccomp) $(status Seccomp_filters) $(status NoNewPrivs)" '2 1 0'
same_verdicts --security-opt no-new-privileges
is '  no_new_privs' "$(status Seccomp) $(status Seccomp_filters) $(status NoNewPrivs)" '2 1 1'
same_verdicts -u 1000
is '  the verdicts are those of root' "$(diff "$room/plain" "$room/ours")" ''
same_verdicts --cap-drop ALL
is '  chroot is refused without its capability' \
    "$(cat "$room/plain" "$room/ours" | sed -n "s/^$(number chroot) //p" | xargs)" 'allow EPERM'
same_verdicts --cap-add SYS_ADMIN
same_verdicts --cap-add ALL
cp "$room/ours" "$room/all"
same_verdicts --cap-add ALL -u 1000
same_verdicts --security-opt seccomp=unconfined
is '  no filter' "$(status Seccomp) $(status Seccomp_filters)" '0 0'
is '  nothing is refused' "$(grep -vE "^($unasked|[A-Za-z_]*:) | allow$" "$room/ours")" ''

# Each capability that the JSON names in some of these runs and not in others, and no two in the same ones: the places
# of its number's binary digits.
mapfile -t named < <(rules '[.syscalls[] | .includes.caps, .excludes.caps | .[]?] | unique[]')
for ((digit = 1; digit <= ${#named[@]}; digit *= 2)); do
    some=()
    for ((i = 0; i < ${#named[@]}; i++)); do
        ! (((i + 1) & digit)) || some+=("${named[i]#CAP_}")
    done
    same_verdicts --cap-drop ALL --cap-add "$(IFS=,; echo "${some[*]}")"
done

# ---------------------------------------------------------------- what docker's is known for

# Both could have the same wrong JSON: this is from docker's documentation, "Seccomp security profiles for Docker".
wrong() { # VERDICT NAME...: those that get another one
    local name
    for name in "${@:2}"; do
        grep -qx "$(number "$name") $1" "$room/plain" || echo "$name $(grep "^$(number "$name") " "$room/plain")"
    done
}
asked() { # NAME ARGUMENTS...: the verdicts, one after another
    for arguments in "${@:2}"; do sed -n "s/^$(number "$1"):$arguments //p" "$room/plain"; done | uniq -c | xargs
}
is 'refused' "$(wrong EPERM acct add_key bpf clock_settime delete_module finit_module fsconfig fsmount fsopen init_module \
    io_uring_enter io_uring_register io_uring_setup kcmp kexec_file_load kexec_load keyctl lookup_dcookie mount \
    mount_setattr move_mount move_pages open_by_handle_at open_tree perf_event_open pivot_root process_madvise quotactl \
    reboot request_key setdomainname sethostname setns settimeofday swapoff swapon syslog umount2 unshare userfaultfd \
    vhangup)" ''
is 'allowed' "$(wrong allow chroot execve execveat faccessat2 getpid mknodat mmap name_to_handle_at openat openat2 prctl \
    process_vm_readv ptrace read rt_sigreturn seccomp setuid socketpair statx write)" ''
is 'clone3 is not there, its flags lie in memory' "$(wrong ENOSYS clone3)" ''
is 'every other call of the headers is allowed or refused' "$(headers | while read -r name n; do
    grep -E "^$n (ENOSYS|errno|killed)" "$room/plain" | sed "s/^/$name /"
done | grep -vE "^clone3 | ($unasked) ")" ''
is 'what nobody knows is unknown' \
    "$(awk '$1 ~ /^[6-9]..$|^10..$|^0x(10000|3fffffff)$/ {print $2}' "$room/plain" | sort -u)" ENOSYS
is 'clone without a new namespace' "$(asked clone 0 0x11 0x3d0f00)" '3 allow'
is 'clone with any' "$(asked clone 0x7e020000 "${new_namespace[@]}" "${new_namespace[@]/%00/11}")" '15 EPERM'
is 'personality that asks, PER_LINUX32, UNAME26' "$(asked personality 0xffffffff 0 8 0x20000 0x20008)" '5 allow'
is 'personality of another kind' "$(asked personality 1 0x40000 0x400000 0x20009 0x100000000)" '5 EPERM'
is 'socket of AF_UNIX, INET, INET6, NETLINK, PACKET' "$(asked socket {1,2,10,16,17}:1)" '5 allow'
is 'socket of AF_ALG, AF_VSOCK' "$(asked socket {38,40}:1)" '2 EPERM'

# ---------------------------------------------------------------- other ABIs

cat >"$room/old.c" <<'END_C'
/* As the 32-bit ABI has it, getpid is 20; then exit_group(0) as this one has it. */
void _start(void) { __asm__("mov $20, %eax; int $0x80; xor %edi, %edi; mov $231, %eax; syscall"); }
END_C
if [[ $machine == x86_64 ]]; then
    is 'i386 and x32: killed' "$(awk '/^(i386:|0x40|0x7f)/ {print $2}' "$room/plain" | sort | uniq -c | xargs)" '10 killed=31'
    gives '  the whole process, not the thread alone' $'thread:i386:20 killed=31\nthread:0x40000027 killed=31' \
        sh -c 'run -v "$0/probe:/probe:ro" busybox /probe/seccomp-probe thread:i386:20 thread:0x40000027 | sed 1,4d' "$room"
    ok 'a program that calls so is built' cc -static -nostdlib -o "$room/probe/old" "$room/old.c"
    exits '  and dies of SIGSYS, pid 1 as it is' 159 run -v "$room/probe:/probe:ro" busybox /probe/old
    exits '  below a shell' 159 run -v "$room/probe:/probe:ro" busybox sh -c '/probe/old; exit $?'
    ok '  seccomp=unconfined: it lives' run --security-opt seccomp=unconfined -v "$room/probe:/probe:ro" busybox /probe/old
fi

# ---------------------------------------------------------------- when it is there

# traced OPTIONS-OF-RUN...: $filters, how many filters are installed, and $trace, what the process that has
# installed one does from there on.
traced() {
    local files
    rm -rf "$room/trace" && mkdir "$room/trace"
    strace -ff -v -o "$room/trace/of" "$mydocker" run --rm --network none "$@" busybox true >/dev/null 2>&1
    files=$(grep -l '^seccomp(SECCOMP_SET_MODE_FILTER' "$room"/trace/of.*)
    filters=$(cat "$room"/trace/of.* | grep -c '^seccomp(SECCOMP_SET_MODE_FILTER')
    trace=$(sed -n '/^seccomp(/,$p' ${files:+"$files"} </dev/null)
}
for options in '' '-u alice' '--security-opt no-new-privileges' '--cap-add SYS_ADMIN' '--cap-drop ALL -u alice'; do
    # shellcheck disable=SC2086 # words
    traced $options
    is "strace: one filter${options:+ ($options)}" "$filters" 1
    like '  it is there' "$trace" '^seccomp\(SECCOMP_SET_MODE_FILTER, 0, \{len=[0-9]+, filter=\[.*\}\) = 0$'
    like '  before the command' "$trace" '^execve\("/bin/true", .* = 0$'
    is '  and refuses nothing that comes after it' "$(grep -E '= -1 E(PERM|NOSYS)' <<<"$trace")" ''
    [[ $options != *no-new* ]] || like '  no_new_privs is set' "$(cat "$room"/trace/of.*)" \
        '^prctl\(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0\) += 0$'
done
case $machine in x86_64) audit=0xc000003e ;; *) audit=0xc00000b7 ;; esac
like '  it looks at the ABI first, and another one ends the process' "$trace" \
    "filter=\[BPF_STMT\(BPF_LD\|BPF_W\|BPF_ABS, 0x4\), BPF_JUMP\(BPF_JMP\|BPF_K\|BPF_JEQ, $audit, 0x1, 0\), $(
    )BPF_STMT\(BPF_RET\|BPF_K, SECCOMP_RET_KILL_PROCESS\)"
traced --security-opt seccomp=unconfined
is 'seccomp=unconfined: none is made' "$filters" 0
like '  and the command runs' "$(cat "$room"/trace/of.*)" '^execve\("/bin/true", .* = 0$'
try mydocker -v run --rm --network none busybox true
told=$(grep -E '^child .*\[[a-z]+, [a-z_]+\.rs:' <<<"$err")
like '-v tells the step and why' "$told" ' seccomp\(SECCOMP_SET_MODE_FILTER.*\) = 0   [^ ]+( [^ ]+){3}'
is '  before the command' "$(grep -oE ' (seccomp\(|execve\("/bin/true")' <<<"$told" | xargs)" 'seccomp( execve(/bin/true'
for error in EPERM EINVAL; do
    try strace -f -qq -o "$room/injected" -e inject=seccomp:error=$error "$mydocker" run --rm --network none busybox echo ran
    is "without the filter ($error) no command" "$rc:$out" 125:
    like '  the call is named' "$err" '^mydocker: seccomp\('
done
fails 'a profile of another kind is refused' 125 'seccomp' mydocker run --rm --network none --security-opt "seccomp=$json" busybox true

# ---------------------------------------------------------------- rootless, and other engines

ordinary_users
# The probe's verdicts as that user.
as_user() { # sub|bare OPTIONS-OF-RUN...
    as "$1" "$mydocker" run --rm --network none "${@:2}" -v "$room/probe:/probe:ro" busybox \
        /probe/seccomp-probe "${calls[@]}" 2>/dev/null | as_far_as_here
}
is 'rootless (sub): the verdicts are those of root' "$(as_user sub | diff "$room/plain" -)" ''
is '  with --cap-add ALL' "$(as_user sub --cap-add ALL | diff "$room/all" -)" ''
is '  with one id alone (bare)' "$(as_user bare | diff "$room/plain" -)" ''

# config.json has the filter of this one container, as runtime-spec has it: crun runs the same bundle.
bundle=$MYDOCKER_HOME/containers/bundle
mydocker run --network none --name bundle -v "$room/probe:/probe:ro" busybox /probe/seccomp-probe "${calls[@]}" >"$room/ours"
is 'a container that stays: the same verdicts' "$(diff "$room/plain" "$room/ours")" ''
layer=$(readlink -f "$MYDOCKER_HOME/images/$(readlink "$MYDOCKER_HOME/images/docker.io+library+busybox:latest")/0")
mount -t overlay -o "lowerdir=$layer,upperdir=$bundle/upper,workdir=$bundle/work" overlay "$bundle/rootfs" || bail 'no overlay'
unshare --mount sh -c '! mountpoint -q /sys/fs/cgroup/unified || umount /sys/fs/cgroup/unified
    : | crun --root "$1" --cgroup-manager=disabled run -b "$2" test' sh "$room/crun" "$(readlink -f "$bundle")" \
    >"$room/cruns" 2>"$room/crun.err"
umount "$bundle/rootfs"
is '  crun runs the same bundle with the same verdicts' \
    "$(diff <(expected_differences "$room/ours") <(differences "$room/ours" "$room/cruns"))" '' ||
    note crun "$(cat "$room/crun.err")"
done_testing
