#!/bin/busybox sh
# attack-images-guest.sh: /init of the virtual machine that test-attack-images.sh boots: Linux 6.1, whose / is a rootfs,
# with a network card that leads to the registries of the host. The same attacks once more, as root with GNU tar and as
# a user with busybox's: his layers are copied into one tree there. Prints a line for each check.
# shellcheck shell=dash
export PATH=/bin:/sbin:/usr/bin:/usr/sbin HOME=/root MYDOCKER_MIRROR=http://10.0.2.2:5000
canary=$(cat /canary)
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
exec </dev/console >/dev/console 2>&1
mkdir -p /dev/pts /dev/shm /run
mount -t devpts devpts /dev/pts
mount -t cgroup2 cgroup2 /sys/fs/cgroup
for module in overlay tun virtio_ring virtio virtio_pci_modern_dev virtio_pci_legacy_dev virtio_pci failover net_failover virtio_net; do
    insmod /modules/$module.ko || echo "GUEST # insmod $module failed"
done
chmod 666 /dev/net/tun
chmod 1777 /tmp
hostname guest
ip link set lo up
ip addr add 10.0.2.15/24 dev eth0
ip link set eth0 up
chown tester:tester /home/tester
. /guest-checks.sh
PATH=/tools:$PATH check 'a real registry answers' '0 {}' curl -qs http://10.0.2.2:5000/v2/

make_canary() { # OWNER
    rm -rf "$canary"
    mkdir -p "$canary/dir"
    echo untouched >"$canary/file"
    echo setuid >"$canary/setuid"
    ln -s file "$canary/link"
    mkfifo "$canary/fifo"
    chown -hR "$1" "$canary"
    chmod 4755 "$canary/setuid"
    was=$(canary_state)
}
canary_state() {
    find "$canary" -exec stat -c '%n %A %u:%g %s %h %Y %Z %N' {} + | sort
    find "$canary" -type f -exec cat {} +
}
stored() { find "$store" -mindepth 1 -maxdepth 3 ! -name '*lock*' 2>/dev/null | sort; }

# attacked DESCRIPTION WANTED COMMAND...: `held`, or the regular expression of a refusal; and the canary is untouched.
attacked() {
    description="$mode: $1" wanted=$2
    shift 2
    stored >/tmp/stored
    timeout 60 "$@" >/tmp/out 2>/tmp/err </dev/null
    code=$?
    grep -vE '^mydocker: (([0-9a-f]{12}: |[^ ]+: pulled, sha256:)|warning: )' /tmp/err >/tmp/words
    if [ "$wanted" = held ]; then
        got="$code $(cat /tmp/out)"
        wanted='0 held'
    else
        got="$code $(grep -c ^ /tmp/words) $(grep -cE "$wanted" /tmp/words) $(stored | grep -vxFf /tmp/stored)"
        wanted='125 1 1 '
    fi
    [ "$(canary_state)" = "$was" ] || { got="$got, and the canary is touched"; canary_state >>/tmp/err; make_canary "$owner"; }
    verdict "$description" "$wanted" "$got"
}
a_run() { # IMAGE
    attacked "$2" "$3" "$as" mydocker run --rm --network none "$1"
}
tab=$(printf '\t')

attacks() { # OWNER TAR PATH STORE
    owner=$1 as=$1 mode="$1, $2 tar" store=$4 tar=$2
    export PATH=$3
    make_canary "$1"
    a_run test/attack:base 'the image below all of them' held
    while IFS=$tab read -r tag gnu busybox users what; do
        [ "$users" = all ] || [ "$users" = "$owner" ] || continue
        [ "$tar" = GNU ] || gnu=$busybox
        a_run "test/attack:$tag" "$what" "$gnu"
    done </attacks

    # What a registry says that lies.
    export MYDOCKER_MIRROR=http://10.0.2.2:5001
    "$as" mydocker pull test/bad:base >/dev/null 2>&1
    lies=layer-content
    [ "$owner" != root ] || lies='layer-content both digest-newline'
    for tag in $lies; do
        attacked "a digest or size that does not match: $tag" 'forged|malformed|bytes|CVE' "$as" mydocker pull "test/bad:$tag"
    done
    export MYDOCKER_MIRROR=http://10.0.2.2:5002
    mkdir -p "$(dirname "$store")/../.docker"
    cp /login "$(dirname "$store")/../.docker/config.json"
    check "$mode: a redirect to another host" 0 "$as" mydocker pull test/bad:good
    export MYDOCKER_MIRROR=http://10.0.2.2:5000

    # A disk that is soon full.
    "$as" mkdir -p "$store/tmp"
    mkdir -p /small
    mount -t tmpfs -o size=5m,mode=777 none /small
    home=$store store=/small/store
    export MYDOCKER_HOME=/small/store
    attacked 'a full disk: an error, and nothing half-made' 'No space left|disk full|short write' "$as" mydocker pull test/attack:bomb-little
    a_run test/attack:base '  what there is room for runs' held
    umount /small
    unset MYDOCKER_HOME
    store=$home
    echo "GUEST # $mode: $(cut -d ' ' -f 1 /proc/uptime) s since the start"
}
command root 'exec sh -c "$*"'
attacks root GNU "/tools:$PATH" /root/.config/mydocker
attacks tester busybox /lean:/bin:/sbin:/usr/bin:/usr/sbin /home/tester/.config/mydocker
echo 'GUEST done'
poweroff -f
