# shellcheck shell=bash
# lib-bed.sh: the tests' registries, certificates, users and leftovers; part of lib.sh.
# shellcheck disable=SC2154,SC2034 # lib.sh sets room, mydocker...; tests use registry_pid...

# ---------------------------------------------------------------- images, registries

# The images of images.sh: built once by test.sh, or here for a script run alone.
need_images() {
    images=${MYDOCKER_TEST_IMAGES:-$room/images}
    [[ -e $images/registry/docker ]] || "$scripts/images.sh" "$images" >"$room/images.log" 2>&1 ||
        bail "scripts/images.sh failed: $(tail -n 3 "$room/images.log")"
}

# registry NAME PORT [YAML]: docker-registry on 127.0.0.1:PORT with all test images. What
# is pushed into it stays its own. Its access log is $room/NAME.log, its pid $registry_pid.
registry() {
    local dir=$room/registry-$1
    need_images
    mkdir -p "$dir"/{upper,work,storage}
    mount -t overlay -o "lowerdir=$images/registry,upperdir=$dir/upper,workdir=$dir/work" \
        overlay "$dir/storage" || bail "cannot mount the storage of registry $1"
    cat >"$dir/config.yml" <<END
version: 0.1
log: {level: error}
storage: {filesystem: {rootdirectory: $dir/storage}, delete: {enabled: true}}
http: {addr: "127.0.0.1:$2"${3:+, $3}}
${4-}
END
    # Otherwise REGISTRY_* variables of the caller change the configuration.
    env -i HOME="$HOME" docker-registry serve "$dir/config.yml" >"$room/$1.log" 2>"$room/$1.err" &
    registry_pid=$!
    eventually 100 listening "$2" || bail "docker-registry does not listen on $2: $(tail -n 2 "$room/$1.err")"
}

listening() { (: <"/dev/tcp/${2-127.0.0.1}/$1") 2>/dev/null; } # PORT [ADDRESS]

# stand_in PORT ARGS...: our own registry in python, which can misbehave (stand-in.py).
stand_in() {
    /usr/bin/python3 "$scripts/stand-in.py" --port "$@" 2>"$room/stand-in-$1.err" &
    stand_in_pid=$!
    local address=127.0.0.1 arguments="$*"
    [[ $arguments != *" --bind 127."* ]] || { address=${arguments#*--bind }; address=${address%% *}; }
    eventually 100 listening "$1" "$address" || bail "stand-in.py does not listen on $1: $(tail -n 2 "$room/stand-in-$1.err")"
}

stop() { # PID...
    kill "$@" 2>/dev/null
    wait "$@" 2>/dev/null
    :
}

# A certificate authority and one certificate for every name that a test serves.
certificates() { # -> $room/tls/{ca.pem,cert.pem,key.pem}
    local tls=$room/tls
    mkdir -p "$tls"
    {
        openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 \
            -subj '/CN=test CA' -keyout "$tls/ca.key" -out "$tls/ca.pem"
        openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes \
            -subj '/CN=test server' -keyout "$tls/key.pem" -out "$tls/cert.csr"
        openssl x509 -req -in "$tls/cert.csr" -CA "$tls/ca.pem" -CAkey "$tls/ca.key" -CAcreateserial -days 2 \
            -out "$tls/cert.pem" -extfile <(echo "subjectAltName=$(
                printf 'DNS:%s,' registry-1.docker.io auth.docker.io index.docker.io \
                    production.cloudflare.docker.com cdn.test registry.test localhost
            )IP:127.0.0.1")
    } 2>"$room/tls.log" || bail "openssl: $(tail -n 2 "$room/tls.log")"
}

# ---------------------------------------------------------------- users

# An ordinary user with subordinate ids (sub), one without (bare).
ordinary_users() {
    local user
    for user in sub bare; do
        useradd --home-dir "$room/home/$user" --shell /bin/sh "mydocker-$user" || bail "useradd failed"
        install -d -m 700 -o "mydocker-$user" -g "mydocker-$user" "$room/home/$user"
    done
    grep -q '^mydocker-sub:' /etc/subuid || usermod --add-subuids 200000-265535 --add-subgids 200000-265535 mydocker-sub
    sed -i '/^mydocker-bare:/d' /etc/subuid /etc/subgid
}

# as sub|bare COMMAND...: with that user's own home and nothing else of our environment.
as() {
    setpriv --reuid="mydocker-$1" --regid="mydocker-$1" --init-groups \
        env -i -C "$room/home/$1" HOME="$room/home/$1" USER="mydocker-$1" PATH="$PATH" LC_ALL=C \
        MYDOCKER_MIRROR="$MYDOCKER_MIRROR" timeout --foreground -k 5 "$limit" "${@:2}"
}

# ---------------------------------------------------------------- leftovers

# What a finished run may not leave: processes (all of this pid namespace but the shell's
# own helpers), mounts, cgroups of our containers.
remains() {
    ps -e -o pid=,ppid=,stat=,comm= | awk '$4 !~ /^(bash|ps|awk|sort|tee|unshare|timeout|docker-registry|python3)$/ && $3 !~ /Z/'
    # Without the ids, which grow, and the optional fields.
    sed 's/^[0-9]* [0-9]* [0-9:]* //' /proc/self/mountinfo
    local id
    for id in "$room"/store*/containers/* "$room"/home/*/.config/mydocker/containers/*; do
        [[ ! ${id##*/} =~ ^[0-9a-f]{12}$ ]] || ls -d /sys/fs/cgroup/{,*/,*/*/}mydocker/"${id##*/}" 2>/dev/null
    done
}

remember() { remains >"$room/remained"; }

nothing_remains() { # DESCRIPTION
    eventually 20 same_as_remembered
    local now
    now=$(remains)
    is "$1" "$(diff "$room/remained" - <<<"$now")" ''
}

same_as_remembered() { [[ $(remains) == "$(<"$room/remained")" ]]; }

# Every name in a store but the lock and log files: two equal lists, nothing came or went.
store_list() { # STORE
    (cd "$1" 2>/dev/null && find . -mindepth 1 -maxdepth 3 ! -name '*lock*' | sort)
}
