# shellcheck shell=bash
# bed.sh: an image registry on 127.0.0.1 and a busybox image in it, out of what this
# machine has. demo.sh and lessons/lesson.sh source it; `started` has the pids of its servers.
# Nothing leaves the machine, and everything lies in the directory that they name.
started=()

free_port() { # FROM: the next port on which neither UDP nor TCP is in use
    local port=$1
    while ss -lnutH "sport = :$port" | grep -q .; do port=$((port + 1)); done
    echo "$port"
}

# serve_registry DIR: docker-registry, which is what docker itself uses; sets $url.
serve_registry() {
    local port process
    port=$(free_port 5055)
    url=http://127.0.0.1:$port
    cat >"$1/registry.yml" <<END
version: 0.1
log: {level: error, accesslog: {disabled: true}}
storage: {filesystem: {rootdirectory: $1/registry}}
http: {addr: "127.0.0.1:$port"}
END
    env -i docker-registry serve "$1/registry.yml" 2>"$1/registry.log" &
    process=$!
    started+=("$process")
    until curl -qsf --noproxy '*' "$url/v2/" >/dev/null; do
        kill -0 "$process" || { cat "$1/registry.log" >&2; return 1; }
        sleep 0.1
    done
}

# busybox_tree DIR: the static busybox of this machine, and a link for each of its applets.
busybox_tree() {
    mkdir -p "$1"/{bin,sbin,usr/bin,usr/sbin,etc,root,tmp,home}
    cp "$(command -v busybox)" "$1/bin/busybox"
    busybox --list-full | while read -r applet; do
        [[ $applet == linuxrc || -e $1/$applet ]] || ln -s /bin/busybox "$1/$applet"
    done
    chmod 1777 "$1/tmp"
    echo 'root:x:0:0:root:/root:/bin/sh' >"$1/etc/passwd"
    echo 'root:x:0:' >"$1/etc/group"
}

# layer DIR FILE.tar: a directory as a layer of an image, all of it root's.
layer() { tar -C "$1" --owner=0 --group=0 --numeric-owner -cf "$2" .; }

digest() { local sum; sum=$(sha256sum <"$1"); echo "sha256:${sum%% *}"; }

push_blob() { # NAME FILE
    local where
    where=$(curl -qsSf --noproxy '*' -X POST -D - -o /dev/null "$url/v2/library/$1/blobs/uploads/" |
        tr -d '\r' | sed -n 's/^location: //Ip')
    curl -qsSf --noproxy '*' -X PUT -H 'Content-Type: application/octet-stream' \
        --data-binary @"$2" "$where&digest=$(digest "$2")" >/dev/null
}

descriptor() { # FILE MEDIA-TYPE
    printf '{"mediaType":"%s","size":%d,"digest":"%s"}' "$2" "$(stat -c %s "$1")" "$(digest "$1")"
}

# push_image DIR NAME LAYER.tar...: the layers, the lowest first, and what ties them
# together: a config and a manifest (OCI image-spec), kept in DIR. Prints one line.
push_image() {
    local dir=$1 name=$2 oci=application/vnd.oci.image arch diff_ids='' layers='' tar
    shift 2
    for tar; do
        gzip -nkf "$tar"
        push_blob "$name" "$tar.gz"
        diff_ids+=,\"$(digest "$tar")\"
        layers+=,$(descriptor "$tar.gz" $oci.layer.v1.tar+gzip)
    done
    case $(uname -m) in
        x86_64) arch=amd64 ;;
        aarch64) arch=arm64 ;;
        *) arch=$(uname -m) ;;
    esac
    printf '{"created":"%s","architecture":"%s","os":"linux","config":{"Cmd":["sh"],"Env":["PATH=/bin:/sbin:/usr/bin:/usr/sbin"]},"rootfs":{"type":"layers","diff_ids":[%s]}}' \
        "$(date -u +%FT%TZ)" "$arch" "${diff_ids#,}" >"$dir/config"
    printf '{"schemaVersion":2,"mediaType":"%s.manifest.v1+json","config":%s,"layers":[%s]}' "$oci" \
        "$(descriptor "$dir/config" $oci.config.v1+json)" "${layers#,}" >"$dir/manifest"
    push_blob "$name" "$dir/config"
    curl -qsSf --noproxy '*' -X PUT -H "Content-Type: $oci.manifest.v1+json" \
        --data-binary @"$dir/manifest" "$url/v2/library/$name/manifests/latest"
    echo "pushed $name:latest, $(digest "$dir/manifest")"
}
