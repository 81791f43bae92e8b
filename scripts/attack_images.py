"""attack_images.py BUSYBOX-ROOT OUT CANARY REGISTRY-URL: images that attack the host of who pulls, loads or runs them.

They are an OCI layout, OUT/attack, and are pushed to a real registry, which takes them all: test/attack. CANARY is the
directory of the host that their layers try to reach. OUT/attacks has a line for each:

    TAG  WITH-GNU-TAR  WITH-BUSYBOX-TAR  GUEST  WHAT        (between tabs)

`held`: it runs, as `sh -c CHECK`, and prints just that. All else is a regular expression for the one line of a refusal.
GUEST: who tries it in the virtual machine, - is nobody. WHAT begins with the line of attacks.md that it belongs to.

What bad_images.py left in OUT goes to the registry as well: test/hostile, and as test/bad whatever of the lies a real
registry believes; OUT/believed names those, OUT/disbelieved the others.
"""
import gzip
import json
import os
import subprocess
import sys
import tarfile

import oci
from oci import Layer, entry

root, out, canary, url = sys.argv[1:]
up = "../" * 30
name = canary.lstrip("/")
layout = oci.Layout(os.path.join(out, "attack"))
rows = []
TOGETHER, ROOT = "together", "root"
together = [[], [], []]
together_checks = []

# What must hold in a container whatever its image is like. Each line of output is one that did not.
PROBE = f"""#!/bin/sh
is() {{ [ "$2" = "$3" ] || echo "$1 is '$2'"; }}
kind() {{ awk -v at="$1" '$2 == at {{ kind = $3 }} END {{ print kind }}' /proc/mounts; }}
is /proc "$(stat -f -c %T /proc)" proc
is /sys "$(stat -f -c %T /sys)" sysfs
is /dev/pts "$(kind /dev/pts)" devpts
is /dev/shm "$(kind /dev/shm)" tmpfs
for device in null:1:3 zero:1:5 full:1:7 random:1:8 urandom:1:9 tty:5:0; do
    is /dev/$device "$(stat -c %t:%T /dev/${{device%%:*}})" "${{device#*:}}"
done
for file in kcore keys interrupts; do
    [ ! -e /proc/$file ] || is $file "$(head -c 1 /proc/$file | wc -c)" 0
done
# Opened, never written: where this failed, it would be the host's.
for file in sys/kernel/core_pattern sysrq-trigger; do
    (: >>/proc/$file) 2>/dev/null && echo "$file can be written"
done
grep -s untouched '{canary}/file' && echo 'the canary is in sight'
mkdir -p '{canary}' && : >'{canary}/from-inside'
for file in hosts hostname resolv.conf; do
    [ ! -L /etc ] || break # an image whose /etc is no directory keeps what it has
    timeout 5 cat /etc/$file >/dev/null || echo "/etc/$file cannot be read"
    echo x >/etc/$file || echo "/etc/$file cannot be written"
done
is CapBnd "$(awk '/CapBnd/ {{ print $2 }}' /proc/self/status)" 00000000a80425fb
is Seccomp "$(awk '/^Seccomp:/ {{ print $2 }}' /proc/self/status)" 2
is CapInh "$(awk '/CapInh/ {{ print $2 }}' /proc/self/status)" 0000000000000000
awk '$2 !~ "^/(proc|sys|dev)(/|$)" && $2 != "/" {{ print "mounted: " $0 }}' /proc/mounts
"""
OPAQUE = ("first", "between", "last", "tree")
APPLETS = "sh awk cat echo find grep head id ls mkdir sort stat timeout touch true wc xargs".split()


def base_tree():
    """Few files, for a machine without overlayfs copies them for each run."""
    with open(os.path.join(root, "bin/busybox"), "rb") as file:
        busybox = file.read()
    opaque = [d for where in OPAQUE for d in ("lower-" + where, f"lower-{where}/sub")]
    entries = [entry(d + "/") for d in ("bin", "etc", "tmp", "root", "kept", *opaque)]
    entries += [entry("bin/busybox", busybox, mode=0o755)] + [entry("bin/" + a, link="busybox") for a in APPLETS]
    entries += [entry("etc/passwd", "root:x:0:0::/root:/bin/sh\n"), entry("etc/group", "root:x:0:\n")]
    entries += [entry(f, "") for f in ("kept/file", *(d + "/hidden" for d in opaque))]
    return entries + [entry("probe", PROBE, mode=0o755)]


base = Layer(oci.tar(base_tree()))


def image(tag, layers, check="", config=None, **how):
    command = ["sh", "-c", f"/probe; {check or ':'}; echo held"]
    config = {"Cmd": command, "Env": ["PATH=/bin"], **(config or {})}
    layout.image(tag, [base] + layers, config, **how)


def attack(tag, what, *layers, gnu="held", busybox=None, check="", config=None, guest=False, **how):
    """An image of these layers: lists of entries, or a Layer. `busybox`: where it ends otherwise than with GNU tar.
    `guest`: the machine tries it, too, or with ROOT alone, or TOGETHER with others in one image: its time is dear."""
    if guest is TOGETHER:
        for number, layer in enumerate(layers):
            together[number] += layer
        together_checks.append(check)
    layers = [layer if isinstance(layer, Layer) else Layer(oci.tar(layer)) for layer in layers]
    image(tag, layers, check, config, **how)
    rows.append((tag, gnu, busybox or gnu, {True: "all", ROOT: "root"}.get(guest, "-"), f"{LINES[tag.split('-')[0]]}: {what}"))


LINES = {
    "link": "a link in a layer (CVE-2025-45582)", "name": ".., absolute names, hard links", "whiteout": "whiteouts",
    "opaque": "an opaque marker", "nodes": "device nodes", "places": "/proc, /sys, /dev, /etc of the image",
    "together": "links, whiteouts, opaque markers, device nodes, words",
    "words": "words that look like options", "bomb": "bombs", "programs": "PATH, libraries and labels of the image (CVE-2019-14271)",
}


def nothing(*paths):
    """A check: none of these is there."""
    return "; ".join(f"[ ! -e '{path}' ] || echo '{path} is there'" for path in paths)


image("base", [])

# ---------------------------------------------------------------- links

NOT_BELOW = "Cannot open: Not a directory"
# busybox tar makes such links last, when something else is in their place.
NO_LINK = "can't create symlink"

attack("link-self-root", "through /proc/self/root of a lower layer",
       [entry("x", link="/proc/self/root" + canary)], [entry("x/pwn-self-root", "")], guest=TOGETHER)
attack("link-self-root-same", "the same in one layer",
       [entry("x", link="/proc/self/root" + canary), entry("x/pwn-self-root", "")], gnu=NOT_BELOW, busybox=NO_LINK)
attack("link-cwd", "through /proc/self/cwd", [entry("x", link="/proc/self/cwd/../../images")], [entry("x/pwn", "")])
attack("link-store", "to the store itself, in one layer",
       [entry("x", link="../../images"), entry("x/pwn", "")], gnu=NOT_BELOW, busybox=NO_LINK, guest=ROOT)
attack("link-replaced", "a directory, a link in its place, a file below it",
       [entry("r/"), entry("r/file", "")], [entry(".wh.r", ""), entry("r", link=canary)], [entry("r/pwn-replaced", "")],
       guest=TOGETHER)
attack("link-mode", "a directory's mode and time through a link",
       [entry("x", link=canary), entry("x/", mode=0o777, mtime=1)], busybox=NO_LINK)
attack("link-file", "a file over a link to one", [entry("x", link=canary + "/file"), entry("x", "pwned")], busybox=NO_LINK)
attack("link-hard", "a hard link to a link, and a file over it",
       [entry("x", link=canary + "/file"), entry("h", hard="x"), entry("h", "pwned")], busybox="can't create hardlink")
attack("link-xattr", "attributes of a link",
       [entry("x", link=canary + "/file", xattrs={"user.pwned": "x", "security.capability": "x" * 20})])
attack("link-dot", "the layer's own root as a link", [entry(".", link=canary), entry("pwn-dot", "")],
       gnu="Cannot open: File exists", busybox="can't remove old file")
attack("link-chain", "links to links, relative ones",
       [entry("a", link=up + name), entry("b", link="a"), entry("c", link="b/../" + os.path.basename(canary))],
       [entry("c/pwn-chain", ""), entry("b/pwn-chain", "")], guest=TOGETHER)

# ---------------------------------------------------------------- names

DOTS = "Member name contains '..'"
NO_HARD_LINK = {"gnu": "Cannot hard link", "busybox": "can't create hardlink"}

# busybox tar takes all away up to the last `..`, and what is left stays in the layer.
attack("name-dots", ".. in the middle", [entry("a/"), entry(f"a/./../{up}{name}/pwn-dots", "")],
       gnu=DOTS, busybox="held", guest=ROOT)
attack("name-slashes", "many slashes", [entry("//" + canary + "//pwn-slashes", "")])
attack("name-end", "a name that is ..", [entry("..", "")], gnu=DOTS, busybox="can't remove old file")
attack("name-dir", "a directory that is above", [entry("../", mode=0o777, mtime=1)], gnu=DOTS, busybox="held")
attack("name-hard", "a hard link to a file of the host", [entry("h", hard=canary + "/file")], **NO_HARD_LINK,
       check="! grep -s untouched /h || echo the canary can be read", guest=True)
attack("name-hard-up", "a hard link upwards", [entry("a/"), entry("a/h", hard=f"../{up}{name}/file")], **NO_HARD_LINK,
       check="! grep -s untouched /a/h || echo the canary can be read")
attack("name-hard-chain", "a chain of hard links",
       [entry("a", hard="b"), entry("b", hard=canary + "/file"), entry("a", "pwned")], **NO_HARD_LINK)
attack("name-hard-setuid", "a hard link to a setuid file, and its mode",
       [entry("h", hard=canary + "/setuid"), entry("h", "pwned", mode=0o4777)], **NO_HARD_LINK)
attack("name-hard-proc", "a hard link to /proc/self/exe", [entry("h", hard="/proc/self/exe"), entry("h", "pwned")], **NO_HARD_LINK)
attack("name-long", "5000 characters", [entry("d" * 200 + ("/" + "e" * 200) * 24 + "/f", "")],
       gnu="File name too long|ddd", busybox="can't create directory")

# ---------------------------------------------------------------- whiteouts

attack("whiteout-tree", "one that is a directory with a link in it",
       [entry(".wh.kept/"), entry(".wh.kept/x", link=canary), entry(".wh.kept/dir/"), entry(".wh.kept/dir/x", link=canary)],
       check=nothing("/kept"), guest=TOGETHER)
attack("whiteout-link", "one that is a link", [entry(".wh.kept", link=canary)], check=nothing("/kept"))
attack("whiteout-fifo", "one that is a pipe", [entry(".wh.kept", fifo=True)], check=nothing("/kept"))
attack("whiteout-below", "of what lies behind a link of the layer below",
       [entry("w", link=canary), entry("y", link=up + name)], [entry("w/.wh.file", ""), entry("y/.wh..wh..opq", "")],
       guest=TOGETHER)
attack("whiteout-node", "the device that overlayfs takes for one", [entry("kept", node=("c", 0, 0))],
       check="! head -c 1 /kept || echo it can be read")
attack("whiteout-etc", "of /proc, /sys, /dev and what is in /etc",
       [entry(".wh.proc", ""), entry(".wh.sys", ""), entry(".wh.dev", ""), entry("etc/.wh.hosts", ""), entry("etc/.wh.passwd", "")])
for number, odd in enumerate((".wh.", ".wh..", ".wh...")):
    attack(f"whiteout-none-{number}", f"of no name: {odd}", [entry("kept/"), entry("kept/" + odd, "")],
           gnu="whiteout of no name", guest=ROOT if number == 2 else None)
    attack(f"whiteout-none-dir-{number}", f"the same as a directory: {odd}",
           [entry("kept/"), entry(f"kept/{odd}/"), entry(f"kept/{odd}/x", link=canary)], gnu="whiteout of no name")

# ---------------------------------------------------------------- opaque directories

for where in OPAQUE[:3]:
    d = "lower-" + where
    mark = entry(d + "/.wh..wh..opq", "")
    inside = [entry(d + "/one", ""), entry(d + "/sub/"), entry(d + "/sub/two", "")]
    at = {"first": 0, "between": 1, "last": 3}[where]
    attack("opaque-" + where, f"that comes {where}: only lower layers are hidden",
           [entry(d + "/"), *inside[:at], mark, *inside[at:]], guest=TOGETHER,
           check=f'[ "$(cd /{d} && find . | sort | xargs)" = ". ./one ./sub ./sub/two" ] || find /{d}')
attack("opaque-tree", "that is a directory with a link in it",
       [entry("lower-tree/"), entry("lower-tree/.wh..wh..opq/"), entry("lower-tree/.wh..wh..opq/x", link=canary),
        entry("lower-tree/one", "")],
       check='[ "$(ls /lower-tree)" = one ] || ls /lower-tree')

# ---------------------------------------------------------------- devices

NODES = {"mem": ("c", 1, 1), "kmsg": ("c", 1, 11), "tun": ("c", 10, 200), "disk": ("b", 8, 0), "loop": ("b", 7, 0)}
attack("nodes", "here and in /dev",
       [entry("nodes/", mode=0o777), *(entry("nodes/" + n, node=kind, mode=0o666) for n, kind in NODES.items()), entry("dev/"),
        *(entry("dev/" + n, node=kind, mode=0o666) for n, kind in NODES.items()), entry("nodes/end", "")],
       check='[ "$(ls /nodes)" = end ] || ls /nodes; ' + nothing(*("/dev/" + node for node in NODES)), guest=TOGETHER)

# ---------------------------------------------------------------- places where the engine mounts or writes

TOP = ["proc", "sys", "dev"]
INSIDE = ["dev/null", "dev/console", "dev/pts", "dev/shm", "dev/mqueue", "dev/fd", "dev/zero", "dev/ptmx",
          "sys/fs/cgroup", "sys/firmware", "proc/self", "proc/sys", "proc/kcore", "proc/keys", "proc/sysrq-trigger"]
FILES = ["etc/hosts", "etc/hostname", "etc/resolv.conf"]
USERS = ["etc/passwd", "etc/group"]


def everywhere(tag, what, make, places, **how):
    above = sorted({place.rsplit("/", i)[0] for place in places for i in (1, 2) if place.count("/") >= i})
    attack(tag, what, [entry(place + "/") for place in above] + [make(place) for place in places], **how)


everywhere("places-links", "/proc, /sys, /dev are links to the canary (CVE-2019-19921)",
           lambda place: entry(place, link=canary), TOP, guest=True)
everywhere("places-inside", "all below them, /dev/null and /dev/console too, are links to it (CVE-2025-31133, CVE-2025-52565)",
           lambda place: entry(place, link=canary + "/file"), INSIDE, guest=True)
everywhere("places-relative", "the same with relative links, and the files of /etc",
           lambda place: entry(place, link=up + name + "/file"), INSIDE + FILES + USERS)
everywhere("places-procfs", "links into /proc (CVE-2025-52881)",
           lambda place: entry(place, link="/proc/self/attr/exec"), INSIDE + FILES)
everywhere("places-fifos", "pipes, none of which hangs (CVE-2024-9676)",
           lambda place: entry(place, fifo=True), INSIDE + FILES + USERS, guest=True)
everywhere("places-top-fifos", "/proc, /sys, /dev are pipes", lambda place: entry(place, fifo=True), TOP)
everywhere("places-directories", "files are directories", lambda place: entry(place + "/"), FILES + USERS + ["dev/null"])
everywhere("places-huge", "the files of /etc are huge", lambda place: entry(place, "x" * 5_000_000), FILES)
everywhere("places-passwd", "passwd and group are huge (CVE-2024-9676)",
           lambda place: entry(place, "x" * 3_000_000), USERS, gnu="/etc/passwd: file too large", guest=ROOT)
attack("places-etc", "/etc is a link to the canary", [entry(".wh.etc", "")], [entry("etc", link=canary)])
attack("places-workdir", "WorkingDir leads through a link to the canary", [entry("x", link=canary)],
       config={"WorkingDir": "/x/pwn-workdir"}, gnu="mkdir /x/pwn-workdir in the container")  # by the run, not the pull

# ---------------------------------------------------------------- words

attack("words-names", "files that are called like options of tar, or like what it says",
       [entry(option, "") for option in ("--checkpoint=1", f"--checkpoint-action=exec=touch {canary}/pwn-option", "-C", "-rf",
                                         f"--to-command=touch {canary}/pwn-option", f"-I touch {canary}/pwn-option")]
       + [entry("new\nmydocker: line", ""), entry("tar: x: Cannot mknod: Operation not permitted\n", "")],
       check="[ -e /--checkpoint=1 ] || echo not all unpacked", guest=TOGETHER)
attack("together", "in one image, whatever runs", *together, check="; ".join(filter(None, together_checks)), guest=True)

# ---------------------------------------------------------------- programs, libraries, variables, labels, hooks

# Each of these would say so in the canary. The command has a name of its own, to be known in a trace.
SAY = f"#!/bin/sh\n: >'{canary}/pwn-program'\n"
HELPERS = ("curl tar gzip igzip pigz zstd cat openssl sha256sum newuidmap newgidmap slirp4netns mydocker sh ld.so "
           "iptables modprobe mount umount").split()
evil = [entry(f"{d}/{helper}", SAY, mode=0o4755) for helper in HELPERS
        for d in ("evil", "usr/bin", "usr/sbin", "sbin", "usr/local/bin")]
evil += [entry(f"{d}/{library}", "\x7fELF pwned", mode=0o755) for d in ("evil", "lib", "lib64", "usr/lib/x86_64-linux-gnu")
         for library in ("libc.so.6", "libnss_files.so.2", "libnss_dns.so.2", "libcurl.so.4", "libz.so.1", "evil.so")]
evil += [entry("etc/ld.so.preload", "/evil/evil.so\n"), entry("etc/nsswitch.conf", "passwd: evil\nhosts: evil\n"),
         entry("root/.curlrc", f"output = {canary}/pwn-curlrc\n"), entry("etc/gai.conf", "x"),
         entry("image-command", "#!/bin/sh\n/probe\n[ \"$(env | grep -c pwned)\" -gt 9 ] || env\necho held\n", mode=0o755),
         entry("bin/env", link="busybox")]
VARIABLES = {
    "PATH": "/evil:/bin", "LD_PRELOAD": "/evil/evil.so:pwned", "LD_LIBRARY_PATH": "/evil:pwned",
    "LD_AUDIT": "/evil/pwned.so", "GCONV_PATH": "/pwned", "TAR_OPTIONS": f"--checkpoint-action=exec=touch {canary}/pwned",
    "CURL_HOME": "/pwned", "http_proxy": "http://pwned", "https_proxy": "http://pwned", "ALL_PROXY": "http://pwned", "HOME": "/pwned", "MYDOCKER_HOME": canary + "/pwned", "MYDOCKER_MIRROR": "http://pwned",
    "MYDOCKER_CACERT": "/pwned", "DOCKER_CONFIG": "/pwned", "BASH_ENV": "/pwned", "ENV": "/pwned", "GZIP": "--pwned",
    "OPENSSL_CONF": "/pwned",
}
HOSTILE_CONFIG = {
    "Cmd": ["/image-command"], "Env": [f"{n}={value}" for n, value in VARIABLES.items()],
    "Labels": {"io.podman.annotations.privileged": "TRUE", "run.oci.hooks.stdout": canary + "/pwn-hook", "mydocker.privileged": "true",
               "org.criu.config": canary, "io.kubernetes.cri-o.userns-mode": "host", "RUN": f"/bin/sh -c 'touch {canary}/pwn-label'"},
    "Volumes": {canary: {}, "/proc": {}}, "OnBuild": [f"RUN touch {canary}/pwn-onbuild"], "Shell": ["/evil/sh"], "StopSignal": "-1",
    "Healthcheck": {"Test": ["CMD", "/evil/sh"], "Interval": 1}, "ExposedPorts": {"1/tcp": {}},
    "HostConfig": {"Privileged": True, "Binds": [f"{canary}:/c"], "CapAdd": ["ALL"], "NetworkMode": "host", "PidMode": "host"},
    "Privileged": True, "CapAdd": ["ALL"], "SecurityOpt": ["seccomp=unconfined"],
}
attack("programs", "none is run or obeyed", evil, config=HOSTILE_CONFIG, guest=True,
       change=lambda manifest: manifest.update(annotations={
           "run.oci.hooks.stdout": canary + "/pwn-hook", "org.opencontainers.image.ref.name": f"{canary}/pwn",
           "module.wasm.image/variant": "compat"}))

# ---------------------------------------------------------------- bombs

# A gzip stream may be many, one after the other (RFC 1952 section 2.2), and a zstd stream as well.
ZEROS = 16 << 20
GZIP_ZEROS = gzip.compress(bytes(ZEROS), 9, mtime=0)
ZSTD_ZEROS = subprocess.run(["sh", "-c", "head -c 1G /dev/zero | zstd -qc"], stdout=subprocess.PIPE, check=True).stdout


def member(name, kind=tarfile.REGTYPE, size=0):
    """The header of a member, 512 bytes."""
    info = tarfile.TarInfo(name)
    info.type, info.size, info.mode, info.mtime, info.devmajor, info.devminor = kind, size, 0o755, oci.TIME, 1, 1
    return info.tobuf(tarfile.USTAR_FORMAT if size < 8 << 30 else tarfile.GNU_FORMAT)


def members(pattern, count, kind=tarfile.REGTYPE):
    """Many of them, quickly: the name comes first in a header, and the checksum adds all bytes up (tar(5))."""
    empty = member("", kind)
    checksum = int(empty[148:154], 8)
    for number in range(count):
        name = (pattern % number).encode()
        yield name.ljust(100, b"\0") + empty[100:148] + b"%06o\0 " % (checksum + sum(name)) + empty[156:]


def bomb(tag, what, gnu, blob, diff_id=None, **how):
    layer = Layer(b"")
    layer.blob, layer.diff_id = blob, diff_id or "sha256:" + "b0" * 32
    attack("bomb-" + tag, what, [entry("beside", "")], layer, gnu=gnu, **how)  # the good layer goes, too


def entries_bomb(tag, what, gnu, entries):
    archive = b"".join(entries) + bytes(1024)
    bomb(tag, what, gnu, gzip.compress(archive, 1, mtime=0), oci.sha256(archive))


FULL = "No space left on device|disk full|short write"
FORGED = "damaged or forged|refused|cannot|memory"
bomb("gzip", "128 MB of zeros in 128 kB", FULL, gzip.compress(member("zeros", size=8 * ZEROS), mtime=0) + GZIP_ZEROS * 8)
bomb("little", "8 MB of zeros in 8 kB", FULL, gzip.compress(member("zeros", size=8 << 20) + bytes(8 << 20), mtime=0))
bomb("zstd", "64 GB of zeros in 2 MB", FULL, oci.compress(member("zeros", size=64 << 30), "zstd") + ZSTD_ZEROS * 64)
bomb("header", "a header of 1 GB in 1 MB", FORGED, gzip.compress(member("x", b"x", 1 << 30), mtime=0) + GZIP_ZEROS * 64)
bomb("name", "a name of 1 GB in 1 MB", FORGED, gzip.compress(member("././@LongLink", b"L", 1 << 30), mtime=0) + GZIP_ZEROS * 64)
entries_bomb("files", "30,000 files where there is room for 3000", FULL, members("file-%d", 30_000))
entries_bomb("whiteouts", "20,000 whiteouts", "held", members(".wh.%080d", 20_000))
entries_bomb("nodes", "30,000 device nodes", "held", members("node-%d", 30_000, tarfile.CHRTYPE))

# ---------------------------------------------------------------- to the registry

with open(os.path.join(out, "attacks"), "w") as file:
    for row in rows:
        print(*row, sep="\t", file=file)


def blobs_of(manifest):
    return ([manifest["config"]] if "config" in manifest else []) + manifest.get("layers", [])


def push_lies(registry, lies, repository):
    """Every tag of a layout that a registry believes, and those that it does not."""
    believed, disbelieved = [], []
    with open(os.path.join(lies, "index.json")) as file:
        descriptors = json.load(file)["manifests"]
    for descriptor in descriptors:
        tag = descriptor["annotations"][oci.REF]
        try:
            registry.push_manifest(lies, repository, descriptor, tag)
            believed.append(tag)
        except (SystemExit, Exception):  # pylint: disable=broad-except; or it cannot even be sent
            disbelieved.append(tag)
    for where, tags in (("believed", believed), ("disbelieved", disbelieved)):
        with open(os.path.join(out, where), "w") as file:
            print(*tags, sep="\n", file=file)


registry = oci.Registry(url)
registry.push(layout.path, "test/attack")
registry.push(os.path.join(out, "hostile"), "test/hostile")
push_lies(registry, os.path.join(out, "bad"), "test/bad")
