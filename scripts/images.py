"""images.py BUSYBOX-ROOT LAYOUTS REGISTRY-URL: the tests' images, made and pushed.

Each image test/NAME lies as an OCI layout in LAYOUTS/NAME too (umoci unpacks that for
comparison, stand-in.py serves it). Called by images.sh.
"""
import os
import random
import sys

import oci
from oci import Layer, entry

root, layouts, url = sys.argv[1:]
base = Layer(oci.tar_tree(root))
registry = oci.Registry(url)
DEFAULT = {"Cmd": ["sh"], "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]}


def layout(name):
    return oci.Layout(os.path.join(layouts, name))


def small(name, text, uid=0, gid=0, **how):
    return Layer(oci.tar([entry(name, text, uid=uid, gid=gid)]), **how)


def oracle():
    """Everything that a layer can do to the ones below it."""
    setcap = "\x01\0\0\x02\0\x20\0\0" + "\0" * 12  # cap_net_raw=ep, revision 2: capabilities(7)
    long = "long-" * 30
    first = [entry("odd/", mode=0o755, mtime=TIME_ODD)]
    for mode in (0, 0o400, 0o444, 0o600, 0o777, 0o4755, 0o2755, 0o6711, 0o1644):
        first.append(entry(f"odd/mode-{mode:04o}", f"{mode}", mode=mode))
    for uid, gid in ((1, 1), (33, 33), (1000, 1000), (1000, 50), (65534, 65534), (65535, 65535)):
        first.append(entry(f"odd/owner-{uid}-{gid}", "mine", uid=uid, gid=gid))
        first.append(entry(f"odd/owner-{uid}-{gid}.d/", uid=uid, gid=gid, mode=0o750))
    first += [
        entry("odd/setuid-of-1000", "s", uid=1000, gid=1000, mode=0o6755),
        entry("odd/sticky/", mode=0o1777), entry("odd/setgid/", mode=0o2775, gid=50),
        entry("odd/closed/", mode=0), entry("odd/closed/inside", "x", mode=0),
        entry("odd/epoch", "", mtime=0), entry("odd/1999", "", mtime=915148800),
        entry("odd/2100", "", mtime=4102444800), entry("odd/part", "", mtime=TIME_ODD),
        entry("odd/with space", "a"), entry("odd/new\nline", "b"), entry("odd/-dash", "c"),
        entry("odd/back\\slash", "d"), entry("odd/*[glob]?", "e"), entry("odd/'\"`$(x)", "f"),
        entry("odd/\u00fcml\u00e4ut", "g"), entry("odd/bytes-\udcff\udcfe", "h"), entry("odd/.wh-not", "i"),
        entry("odd/" + long + "/"), entry("odd/" + long + "/" + long, "j"),
        entry("odd/long-link", link="../" * 40 + long),
        entry("odd/fifo", fifo=True, mode=0o620, uid=5, gid=5),
        entry("odd/empty/", mtime=1), *(entry("odd/deep/" + "d/" * n, mode=0o701) for n in range(41)),
        entry("odd/deep/" + "d/" * 40 + "file", "deep"),
        entry("odd/capable", "#!", mode=0o755, xattrs={"security.capability": setcap}),
        entry("odd/noted", "n", xattrs={"user.note": "a note", "user.empty": "x"}),
        entry("odd/noted.d/", xattrs={"user.note": "of a directory"}),
        entry("links/"), entry("links/a", "linked", uid=7, mode=0o4711, mtime=TIME_ODD),
        entry("links/b", hard="links/a"), entry("links/c", hard="links/b"),
        entry("links/sp ace", "y"), entry("links/to sp ace", hard="links/sp ace"),
        entry("links/absolute", link="/etc/passwd"), entry("links/dangling", link="nowhere/at/all"),
        entry("links/loop", link="loop"), entry("links/dir", link="../odd", uid=3, gid=4),
        entry("links/out", link="/tmp/../../../tmp"), entry("links/up", link="../" * 20 + "tmp"),
        entry("links/hard-to-symlink", hard="links/dangling"),
        entry("read-only/", mode=0o555, mtime=5), entry("read-only/file", "r", mode=0o444),
        entry("gone/"), entry("gone/file", ""), entry("gone/dir/"), entry("gone/dir/deeper", ""),
        entry("gone/tree/"), entry("gone/tree/x", ""), entry("gone-file", ""),
        entry("change/"), entry("change/file-to-dir", ""), entry("change/dir-to-file/"),
        entry("change/dir-to-file/x", ""), entry("change/link-to-dir", link="/odd"),
        entry("change/dir-to-link/"), entry("change/dir-to-link/x", ""), entry("change/mode", "m"),
        entry("change/content", "old"), entry("change/owner-of-dir/"), entry("change/owner-of-dir/kept", "k"),
        entry("opaque/"), entry("opaque/hidden", ""), entry("opaque/sub/"), entry("opaque/sub/hidden", ""),
        entry("late/"), entry("late/hidden", ""), entry("late/sub/"), entry("late/sub/hidden", ""),
        entry("again/"), entry("again/old", ""), entry("twice", "first"), entry("twice", "second"),
    ]
    # A diff names the directories it changes, as every builder's diffs do.
    second = [
        entry("gone/", mtime=2), entry("change/", mtime=3), entry("again/", mtime=4),
        entry("gone/.wh.file", ""), entry("gone/.wh.dir", ""), entry("gone/.wh.tree", ""), entry(".wh.gone-file", ""),
        entry("change/file-to-dir/", mode=0o711), entry("change/file-to-dir/x", "x"),
        entry("change/dir-to-file", "now a file"), entry("change/link-to-dir/"),
        entry("change/link-to-dir/x", "x"), entry("change/dir-to-link", link="/odd"),
        entry("change/mode", "m", mode=0o4750, uid=12, gid=13), entry("change/content", "new content"),
        entry("change/owner-of-dir/", uid=1000, gid=1000, mode=0o700, mtime=77),
        entry("again/.wh.old", ""),
    ]
    third = [
        entry("gone/", mtime=5), entry("again/", mtime=6),
        entry("opaque/", mode=0o750, mtime=99), entry("opaque/.wh..wh..opq", ""), entry("opaque/shown", "s"),
        entry("late/"), entry("late/shown", "s"), entry("late/sub/"), entry("late/sub/shown", "s"),
        entry("late/.wh..wh..opq", ""), entry("gone/tree/"), entry("gone/tree/back", "again"),
        entry("again/old", "a new file in the place of a removed one"),
    ]
    fourth = [entry("again/", mtime=7), entry("again/.wh.old", ""),
              entry("opaque/", mode=0o751, mtime=98), entry("opaque/.wh.shown", ""), entry("opaque/last", "l"),
              entry("gone/", mode=0o700, uid=9, mtime=TIME_ODD)]
    out = layout("layers")
    out.image("latest", [base] + [Layer(oci.tar(e)) for e in (first, second, third, fourth)], DEFAULT)


TIME_ODD = 1_234_567_890.25  # a fraction that a float carries exactly


def formats():
    out = layout("formats")
    for kind in ("tar", "gzip", "zstd"):
        out.image(kind, [base, small("format", kind, kind=kind)], DEFAULT)
    # The first bytes decide, whatever the media type says.
    for kind, called in (("gzip", "tar"), ("tar", "gzip"), ("zstd", "gzip"), ("gzip", "zstd")):
        name = f"{kind}-called-{called}"
        out.image(name, [base, small("format", name, kind=kind, media=oci.MEDIA[called])], DEFAULT)
    docker = Layer(oci.tar_tree(root), "docker")
    out.image("docker", [docker, small("format", "docker", kind="docker")], DEFAULT, docker=True)
    # Members of gzip may be many, and a tar may have no end-of-archive blocks.
    two = small("format", "two members")
    two.blob = oci.compress(oci.tar([entry("format", "two members")])[:512], "gzip") + \
        oci.compress(oci.tar([entry("format", "two members")])[512:], "gzip")
    out.image("members", [base, two], DEFAULT)
    # Directories that no entry of the layer made.
    out.image("implied", [base, small("implied/by/file", "implied")], DEFAULT)
    # ... and one that a lower layer has made, with an owner of its own, stays as it is.
    out.image("implied-below", [base, small("home/alice/by/file", "implied", uid=1000, gid=1000)], DEFAULT)
    out.image("device", [base, Layer(oci.tar([
        entry("dev/"), entry("dev/null", node=("c", 1, 3)), entry("odd-node", node=("c", 1, 8)),
        entry("format", "device")]))], DEFAULT)
    # Ids past what a user's /etc/subuid maps.
    out.image("ids", [base, Layer(oci.tar([entry("format", "ids", uid=70000, gid=70000)]))], DEFAULT)


def many():
    out = layout("many")
    layers = [base]
    for number in range(2, 128):
        layers.append(Layer(oci.tar([entry("many/"), entry(f"many/{number}", f"{number}"),
                                     entry("number", f"{number}")])))
        if number in (40, 127):
            out.image(str(number), layers, DEFAULT)


def platforms():
    out = layout("multi")
    one = {name: out.image(None, [base, small("platform", name)], DEFAULT, platform=name) for name in
           ("linux/arm64", "linux/amd64", "linux/arm/v6", "linux/arm/v7", "linux/s390x")}
    attestation = out.image(None, [small("in-toto", "{}")], platform="unknown/unknown")
    children = [(attestation, "unknown/unknown")] + [(d, p) for p, d in one.items()]
    index = out.index("latest", children)
    out.index("docker", children, docker=True)
    out.index("nested", [(attestation, "unknown/unknown"), (index, None)])
    out.index("foreign", [(attestation, "unknown/unknown"), (one["linux/s390x"], "linux/s390x")])


def repeated():
    up = Layer(oci.tar([entry("order", "up"), entry(".wh.blink", "")]))
    down = Layer(oci.tar([entry("order", "down"), entry("blink", "")]))
    empty = Layer(oci.tar([]))
    out = layout("repeat")
    out.image("up", [base, up, down, empty, up, empty], DEFAULT)
    out.image("down", [base, down, up, empty, down], DEFAULT)


def configs():
    out = layout("config")
    env = DEFAULT["Env"] + ["COLOUR=blue", "EMPTY=", "WITH=a=b c"]
    home = Layer(oci.tar([entry("home/alice/work/", uid=1000, gid=1000)]))
    for tag, config in {
        "entry": {"Entrypoint": ["/bin/echo", "entry"], "Cmd": ["from", "cmd"], "Env": env},
        "entry-only": {"Entrypoint": ["/bin/echo", "entry"]},
        "nothing": {}, "env": dict(DEFAULT, Env=env), "null": {"Cmd": ["env"], "Env": None, "Entrypoint": None},
        "workdir": dict(DEFAULT, WorkingDir="/home/alice/work"),
        "workdir-new": dict(DEFAULT, WorkingDir="/made/on/the/way"),
        "user": dict(DEFAULT, User="alice"), "user-id": dict(DEFAULT, User="1000"),
        "user-group": dict(DEFAULT, User="alice:video"), "user-unknown": dict(DEFAULT, User="nobody-here"),
        "user-free": dict(DEFAULT, User="4321:8765"),
        "odd-user": dict(DEFAULT, User=1000), "odd-cmd": dict(DEFAULT, Cmd=["sh", "-c", 7, "echo another"]),
        "odd-workdir": dict(DEFAULT, WorkingDir="home"),
        "many": dict(DEFAULT, Env=DEFAULT["Env"] + [f"V{n % 20000}={n}" for n in range(40000)]),
    }.items():
        out.image(tag, [base, home], config)


def big():
    """Three layers of 12 MB that do not compress: something to cut, kill and fill with."""
    noise = random.Random(2)
    out = layout("big")
    layers = [base] + [Layer(oci.tar([entry(f"big/{n}", noise.randbytes(12_000_000))])) for n in range(3)]
    out.image("latest", layers, DEFAULT)


for make in (oracle, formats, many, platforms, repeated, configs, big):
    make()
for name in sorted(os.listdir(layouts)):
    if name != "busybox":
        registry.push(os.path.join(layouts, name), "test/" + name)
