#!/bin/bash
# tour.sh [--check] [--to FILE] [--keep DIR] [run|dns|pull]...: `make tour`. Writes the sections
# of README.md that are made by the program itself, between their markers (all three by default):
#   run    every system call of a run, from `mydocker -v` and strace together
#   dns    a query and its reply, octet by octet, from `mydocker dns decode`
#   pull   the requests of a pull and what comes back, from `curl --trace`
# --check changes nothing, and says what is stale. --to names another file than README.md.
# --keep leaves the sections as files in DIR. Runs as root, like the tests, in namespaces of its
# own: the registry, the name server and the Hub's names are all this machine's.
usage() { sed -n '2,/^usage/s/^# //p' "$0" >&2; exit 2; }
how=put file=$(dirname "$0")/../README.md keep='' sections=()
arguments=("$@")
while (($#)); do
    case $1 in
        --check) how=check ;;
        --to) file=${2-} && shift ;;
        --keep) keep=${2-} && shift ;;
        run | dns | pull) sections+=("$1") ;;
        *) usage ;;
    esac
    shift
done
((${#sections[@]})) || sections=(run dns pull)
file=$(realpath "$file") && [[ -z $keep ]] || keep=$(realpath "$keep") || exit
set -- "${arguments[@]}"
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=scripts/lib-dns.sh
. "$scripts/lib-dns.sh"
keep=${keep:-$room/tour}
mkdir -p "$keep"
tour() { /usr/bin/python3 "$scripts/tour.py" "$@"; }
generate() { # NAME ARGUMENTS-OF-tour.py
    tour "$@" >"$keep/$1" </dev/null || bail "no section $1"
}

section_run() {
    registry tour 5000
    "$mydocker" pull busybox 2>"$room/pull.err" || bail "mydocker pull busybox: $(tail -n 1 "$room/pull.err")"
    # Once, so that what is made the first time is there.
    "$mydocker" run --rm --network none busybox true || bail 'mydocker run busybox true failed'
    generate run "$mydocker"
    stop "$registry_pid"
}

section_dns() {
    zone demo.example <<'END'
www  300  CNAME  web
web  300  A      192.0.2.80
END
    start_nsd tour 127.0.0.1@5300
    serve_dns --upstream 127.0.0.1:5300
    generate dns "$mydocker" 127.0.0.1 53
    stop_dns
    stop "$nsd_pid"
}

# The Hub as in test-hub.sh: three hosts, and an image that is the same wherever it is made.
section_pull() {
    local tls=$room/tls hub=$room/hub address
    certificates
    mkdir -p "$hub"/{storage,wire,tools}
    sed -i '/docker/d' /etc/hosts
    printf '127.0.1.1 registry-1.docker.io\n127.0.1.2 auth.docker.io\n127.0.1.3 production.cloudflare.docker.com\n' >>/etc/hosts
    openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj '/CN=token signer' \
        -keyout "$hub/sign.key" -out "$hub/sign.pem" 2>/dev/null || bail 'openssl failed'
    cat >"$hub/open.yml" <<END
version: 0.1
log: {level: error}
storage: {filesystem: {rootdirectory: $hub/storage}}
http: {addr: "127.0.1.1:80"}
END
    cat >"$hub/hub.yml" <<END
version: 0.1
log: {level: error}
storage:
  filesystem: {rootdirectory: $hub/storage}
  maintenance: {readonly: {enabled: true}}
middleware:
  storage: [{name: redirect, options: {baseurl: "https://production.cloudflare.docker.com/"}}]
auth: {token: {realm: https://auth.docker.io/token, service: registry.docker.io, issuer: test issuer, rootcertbundle: $hub/sign.pem}}
http: {addr: "127.0.1.1:443", tls: {certificate: $tls/cert.pem, key: $tls/key.pem}}
END
    env -i docker-registry serve "$hub/open.yml" >"$hub/open.log" 2>&1 &
    env -i docker-registry serve "$hub/hub.yml" >"$hub/hub.log" 2>&1 &
    /usr/bin/python3 "$scripts/hub.py" token 127.0.1.2 443 "$tls/cert.pem" "$tls/key.pem" "$hub/token.log" \
        "$hub/sign.pem" "$hub/sign.key" alice:secret 2>"$hub/token.err" &
    /usr/bin/python3 "$scripts/hub.py" cdn 127.0.1.3 443 "$tls/cert.pem" "$tls/key.pem" "$hub/cdn.log" \
        "$hub/storage" 2>"$hub/cdn.err" &
    for address in 1:80 1:443 2:443 3:443; do
        eventually 100 listening "${address#*:}" "127.0.1.${address%:*}" || bail "nothing listens on 127.0.1.$address"
    done
    tour push http://127.0.1.1 "$hub/layout" || bail 'cannot push the image of the tour'
    # curl as it is called, and its whole wire in a file.
    printf '#!/bin/sh\nexec %s "$@" --trace "%s/$$"\n' "$(command -v curl)" "$hub/wire" >"$hub/tools/curl"
    chmod 755 "$hub/tools/curl"
    env -u MYDOCKER_MIRROR MYDOCKER_CACERT="$tls/ca.pem" MYDOCKER_HOME="$hub/store" PATH="$hub/tools:$PATH" \
        "$mydocker" pull --platform linux/amd64 hello 2>"$hub/pull.err" || bail "mydocker pull hello: $(tail -n 1 "$hub/pull.err")"
    generate pull "$hub/wire"
}

for section in "${sections[@]}"; do "section_$section"; done
tour "$how" "$file" "$keep"
status=$?
((status)) || echo "tour.sh: $([[ $how == put ]] && echo written to || echo nothing is stale in) $file: ${sections[*]}"
# shellcheck disable=SC2034
done_testing=1 # what lib.sh asks of a script that ends as it should
exit $status
