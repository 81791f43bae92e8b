# shellcheck shell=bash
# bench-pull.sh: what it takes to have an image; part of bench.sh.
#   pull    time of a pull of three layers (100 MB compressed) from a registry on loopback
#   memory  how much of it the engine's own processes need
# shellcheck disable=SC2034,SC2154 # variables of bench.sh and lib.sh

# A Debian, then copies of parts of it as an application's layers. -> big, layers, big_size
make_big_image() {
    if [[ ! -s $BENCH_BASE ]]; then
        broken[mydocker-pull]='mmdebstrap could not make the image' broken[mydocker-hwm]='mmdebstrap could not make the image'
        big_size='an image'
        return 1
    fi
    [[ -z ${big-} ]] || return 0
    local work=$room/big manifest config
    big=127.0.0.1:5000/bench/big
    layers=$room/layers
    mkdir -p "$work/root"
    tar -C "$work/root" --exclude=./dev -xf "$BENCH_BASE"
    tar -C "$work/root" --sort=name --transform 's,^,srv/code/,' -cf "$work/code.tar" usr/lib
    tar -C "$work/root" --sort=name --transform 's,^,srv/data/,' -cf "$work/data.tar" usr/share/{locale,perl}
    {
        umoci init --layout "$work/oci"
        umoci new --image "$work/oci:big"
        local layer
        for layer in "$BENCH_BASE" "$work/code.tar" "$work/data.tar"; do
            umoci raw add-layer --image "$work/oci:big" "$layer"
        done
        skopeo copy -q --dest-tls-verify=false "oci:$work/oci:big" "docker://$big:latest"
    } >"$room/big.log" 2>&1 || bail "cannot make the big image: $(tail -n 1 "$room/big.log")"
    manifest=$(skopeo inspect --raw --tls-verify=false "docker://$big")
    config=$(skopeo inspect --raw --config --tls-verify=false "docker://$big")
    paste -d ' ' <(jq -r '.layers[].digest' <<<"$manifest") <(jq -r '.rootfs.diff_ids[]' <<<"$config") >"$layers"
    big_size="$(jq -r '.layers[].size' <<<"$manifest" | awk '{ n += $1 } END { printf "%.0f", n / 1e6 }') MB in
        $(jq '.layers | length' <<<"$manifest") layers, $(cat "$BENCH_BASE" "$work"/*.tar | wc -c | awk '{ printf "%.0f", $1 / 1e6 }') MB unpacked"
    big_size=$(xargs <<<"$big_size")
    rm -r "$work"
}

# The yardstick: the same programs and nothing else, a process per layer. The blob is
# hashed before anything is unpacked from it, what it holds on the way into tar.
# As a script of its own, so that it starts as the others do.
write_bare() { # FILE
    cat >"$1" <<'END'
#!/bin/bash
# bare LAYERS BLOBS-URL OUT
set -o pipefail
layer() { # DIGEST DIFF_ID OUT
    mkdir -p "$3/diff"
    mkfifo "$3/tap"
    curl -qsf -o "$3/blob" "$url/$1" || return
    [[ $(openssl dgst -sha256 -r <"$3/blob") == "${1#sha256:} "* ]] || return
    openssl dgst -sha256 -r <"$3/tap" >"$3/diff_id" &
    igzip -dc <"$3/blob" | tee "$3/tap" | tar -xpf - -C "$3/diff" --numeric-owner --xattrs --xattrs-include='*' || return
    wait $!
    [[ $(<"$3/diff_id") == "${2#sha256:} "* ]] || return
    rm "$3/blob" "$3/tap" "$3/diff_id"
}
url=$2
pids=()
while read -r digest diff_id; do
    layer "$digest" "$diff_id" "$3/${#pids[@]}" &
    pids+=($!)
done <"$1"
for pid in "${pids[@]}"; do wait "$pid" || exit; done
END
    chmod 755 "$1"
}

bench_pull() {
    local pull_rounds=$(((rounds + 2) / 3))
    label[podman-pull]='podman pull' label[bare-pull]='bare pipeline'
    make_big_image && measure_pulls
    heading "Pull of $big_size ($pull_rounds rounds, stores emptied before each)"
    row 'pull' ms mydocker-pull podman-pull 0.42
    row 'pull' ms mydocker-pull bare-pull 1.1
    row 'the yardstick' ms bare-pull podman-pull
}

measure_pulls() {
    local i name store=$room/pulled
    write_bare "$room/bare"
    command[mydocker-pull]="env MYDOCKER_HOME=$store/mydocker $mydocker pull $big"
    command[bare-pull]="$room/bare $layers http://${big/\//\/v2\/}/blobs $store/bare"
    command[podman-pull]="podman --root $store/podman --runroot $store/podman.run --tmpdir $store/podman.tmp
        --cgroup-manager cgroupfs pull -q --tls-verify=false $big"
    within[podman-pull]=peer
    broken[podman-pull]=${broken[podman-image]-}
    for ((i = 0; i < pull_rounds; i++)); do
        for name in mydocker-pull bare-pull podman-pull; do
            measure "$name" 1 "rm -rf $store"
        done
    done
    rm -rf "$store"
}

# Each process whose executable is the engine's, every few milliseconds: the largest
# peak (VmHWM) that one of them had, and the largest sum of what all have at one moment
# (Pss: pages that forks share count once). curl, tar and so on are other executables.
watch_memory() { # PID -> series mydocker-hwm, mydocker-sum, mydocker-count
    local process key value largest=0 most=0 sum count processes=0 pause
    exec {pause}<> <(:)
    while [[ -e /proc/$1/exe ]]; do
        sum=0 count=0
        for process in /proc/[0-9]*; do
            [[ $process/exe -ef $mydocker ]] || continue
            count=$((count + 1))
            while read -r key value _; do
                [[ $key != VmHWM: ]] || ((value <= largest)) || largest=$value
            done 2>/dev/null <"$process/status"
            while read -r key value _; do
                [[ $key != Pss: ]] || sum=$((sum + value))
            done 2>/dev/null <"$process/smaps_rollup"
        done
        ((sum <= most)) || most=$sum
        ((count <= processes)) || processes=$count
        read -rt 0.002 -u "$pause"
    done
    exec {pause}<&-
    # Forks of it between fork and exec count as its processes, as they are.
    ((largest)) || return
    calc '%.2f\n' "$largest / 1024" >>"$room/series/mydocker-hwm"
    calc '%.2f\n' "$most / 1024" >>"$room/series/mydocker-sum"
    echo "$processes" >>"$room/series/mydocker-count"
}

bench_memory() {
    local i runs=3
    make_big_image || runs=0
    for ((i = 0; i < runs; i++)); do
        MYDOCKER_HOME=$room/pulled "$mydocker" pull "$big" 2>/dev/null &
        watch_memory $!
        wait $! || broken[mydocker-hwm]="mydocker pull $big failed"
        rm -rf "$room/pulled"
    done
    heading "Memory of the engine itself in that pull, looked at every 2 ms (3 runs)"
    row 'largest process (VmHWM)' MB mydocker-hwm - 6
    row 'all its processes together (Pss)' MB mydocker-sum -
    row 'processes at one time' '' mydocker-count -
}
