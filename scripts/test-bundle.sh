#!/bin/bash
# test-bundle.sh: containers/<id>/ is an OCI bundle: its config.json is what runtime-spec's
# schema asks for, and crun starts the same directory.
. "$(dirname "$0")/lib.sh"
registry main 5000
schema=/usr/share/gocode/src/github.com/opencontainers/runtime-spec/schema
cat >"$room/validate.py" <<'END'
import json, pathlib, sys
import jsonschema
directory = pathlib.Path(sys.argv[1])
schema = json.load(open(directory / "config-schema.json"))
resolver = jsonschema.RefResolver(directory.as_uri() + "/config-schema.json", schema)
validator = jsonschema.Draft4Validator(schema, resolver=resolver)
for path in sys.argv[2:]:
    for error in validator.iter_errors(json.load(open(path))):
        print("/".join(map(str, error.absolute_path)), error.message[:300])
END
valid() { gives "$1" '' /usr/bin/python3 "$room/validate.py" "$schema" "$2"; }

# The validator can say no.
echo '{"ociVersion": 1, "process": {"args": "sh"}, "linux": {"resources": {"pids": {"limit": "x"}}}}' >"$room/bad.json"
ok 'the schema refuses what is wrong' test "$(/usr/bin/python3 "$room/validate.py" "$schema" "$room/bad.json" | wc -l)" -ge 3

mkdir "$room/v"
containers=$MYDOCKER_HOME/containers
ok 'a plain container' mydocker run --network none --name plain busybox true
ok 'one with every option' mydocker run --name full --network none -e A=b -w /tmp -u alice:video --hostname box \
    --read-only --memory 64m --memory-swap 128m --cpus 0.5 --pids-limit 50 --cpuset-cpus 0 \
    --tmpfs /data:size=1m -v "$room/v:/v:ro" -v "$room/v:/w" --entrypoint /bin/true busybox
ok 'one with the network of the host' mydocker run --name host --network host busybox true
printf 'x' >"$room/v/x"
ok 'one whose arguments and paths need escapes' mydocker run --network none --name odd -v "$room/v:/\"v\\"$'\n\t' \
    busybox echo $'new\nline' '"quoted"' 'back\slash' $'\x01' $'\xc3\xa9'
for name in plain full host odd; do
    ok "config.json of $name is JSON" jq -e .ociVersion "$containers/$name/config.json"
    valid "  and what the schema asks for" "$containers/$name/config.json"
done
field() { jq -c "$2" "$containers/$1/config.json"; }
is 'args' "$(field plain .process.args)" '["true"]'
is 'args with an entrypoint' "$(field full .process.args)" '["/bin/true"]'
is 'args come back as they were' "$(field odd .process.args)" "$(jq -nc '["echo", "new\nline", "\"quoted\"", "back\\slash", "\u0001", "é"]')"
is 'user' "$(field full '[.process.user.uid, .process.user.gid]')" '[1000,44]'
is 'cwd, hostname, root' "$(field full '[.process.cwd, .hostname, .root.path, .root.readonly]')" '["/tmp","box","rootfs",true]'
is 'limits' "$(field full '.linux.resources | [.memory.limit, .memory.swap, .pids.limit, .cpu.cpus, .cpu.quota / .cpu.period]')" \
    '[67108864,134217728,50,"0",0.5]'
is 'namespaces' "$(field plain '[.linux.namespaces[].type] | sort')" '["cgroup","ipc","mount","network","pid","user","uts"]'
is 'the host'"'"'s network is no namespace' "$(field host '[.linux.namespaces[].type] | contains(["network"])')" false
is 'capabilities: docker'"'"'s fourteen' "$(field plain '.process.capabilities | [(.bounding | length), (.effective | length), (.inheritable // [] | length), (.ambient // [] | length)]')" '[14,14,0,0]'

# crun starts the same bundle, once its root is mounted. crun 1.8 refuses a cgroup2
# beside version 1: a mount namespace without any of it.
crun_run() { # NAME (its standard input a pipe: crun gives it to the container's user, and /dev/null is the host's)
    local bundle=$containers/$1 image
    image=$MYDOCKER_HOME/images/$(readlink "$MYDOCKER_HOME/images/docker.io+library+busybox:latest")
    mkdir -p "$bundle"/{upper,work,rootfs}
    mount -t overlay -o "lowerdir=$(readlink -f "$image/0"),upperdir=$bundle/upper,workdir=$bundle/work" overlay "$bundle/rootfs" ||
        bail 'cannot mount the overlay'
    # All that it prints is the container's own.
    try timeout 20 unshare -m sh -c 'umount /sys/fs/cgroup/unified; : | crun --root "$1" --cgroup-manager=disabled run -b "$2" test' \
        sh "$room/crun" "$(readlink -f "$bundle")"
    umount "$bundle/rootfs"
}
mydocker run --network none --name twice --hostname twin -e WHO=me -u alice -w /tmp busybox \
    sh -c 'hostname; id -u; id -g; pwd; echo $WHO; echo $$; grep Cap /proc/self/status; cat /proc/self/uid_map; exit 7' >"$room/ours"
is 'our own run of it' $? 7
crun_run twice
is 'crun runs the same bundle: exit code' "$rc" 7
is '  and output' "$out" "$(cat "$room/ours")"
[[ $rc == 7 ]] || note 'crun said' "$err"

# Another user's bundle says his maps.
ordinary_users
ok 'a rootless container' as sub "$mydocker" run --network none --name less busybox true
config=$(readlink -f "$room/home/sub/.config/mydocker/containers/less")/config.json
valid '  has a valid config.json' "$config"
is '  with his ids' "$(jq -c '[.linux.uidMappings[] | [.containerID, .hostID, .size]]' "$config")" \
    "$(printf '[[0,%d,1],[1,%d,65536]]' "$(id -u mydocker-sub)" "$(grep ^mydocker-sub: /etc/subuid | cut -d: -f2)")"
done_testing
