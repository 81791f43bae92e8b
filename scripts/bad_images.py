"""bad_images.py BUSYBOX-ROOT OUT CANARY: images that must be refused, or do no harm.

OUT/bad holds tags that a pull must refuse; OUT/hostile holds tags whose layers try to
write to the directory CANARY of the host, where being refused is fine too.
"""
import copy
import os
import sys

import oci
from oci import Layer, dump, entry, sha256

root, out, canary = sys.argv[1:]
base = Layer(oci.tar_tree(root))
CONFIG = {"Cmd": ["sh"], "Env": ["PATH=/bin"]}
ZERO = "sha256:" + "0" * 64
bad = oci.Layout(os.path.join(out, "bad"))
top = Layer(oci.tar([entry("top", "top" * 1000)]))


def spoil(tag, change):
    """An image whose manifest is changed before it is stored."""
    bad.image(tag, [base, top], CONFIG, change=change)


def put(*path, value):
    def change(manifest):
        place = manifest
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = value
    return change


def drop(*path):
    def change(manifest):
        place = manifest
        for key in path[:-1]:
            place = place[key]
        del place[path[-1]]
    return change


def raw(tag, data, media=oci.OCI + "manifest.v1+json"):
    bad.tag(tag, bad.blob(data, media))


def layer_of(tag, blob, diff_id=None):
    layer = copy.copy(top)
    layer.blob, layer.diff_id = blob, diff_id or top.diff_id
    bad.image(tag, [base, layer], CONFIG)


bad.image("base", [base], CONFIG)
good = bad.image("good", [base, top], CONFIG)
blob = sha256(top.blob)
# Descriptors that lie.
spoil("size-less", lambda m: m["layers"][1].update(size=len(top.blob) - 1))
spoil("size-more", lambda m: m["layers"][1].update(size=len(top.blob) + 1))
spoil("size-negative", put("layers", 1, "size", value=-1))
spoil("size-fraction", put("layers", 1, "size", value=1.5))
spoil("size-huge", put("layers", 1, "size", value=2 ** 63))
spoil("size-missing", drop("layers", 1, "size"))
spoil("config-size", lambda m: m["config"].update(size=m["config"]["size"] + 1))
for name, digest in {
    "short": blob[:-1], "long": blob + "0", "upper": blob.upper().replace("SHA256", "sha256"),
    "algorithm": "md5:" + "0" * 32, "unknown": "crc:" + blob[7:], "path": "sha256:../../../../" + "a" * 52,
    "slash": "sha256:" + "a" * 31 + "/" + "b" * 32, "newline": blob[:-1] + "\n", "dash": "-" + blob, "empty": "",
    "absent": ZERO, "number": 7, "null": None,
}.items():
    spoil("digest-" + name, put("layers", 1, "digest", value=digest))
    spoil("config-digest-" + name, put("config", "digest", value=digest))
# Blobs that are not what their digest says.
other = Layer(oci.tar([entry("top", "other")]))
lie = "sha256:" + "1" * 64
bad.blob(other.blob, other.media, name=lie)
spoil("layer-content", lambda m: m["layers"][1].update(digest=lie, size=len(other.blob)))
lie = "sha256:" + "2" * 64
config = dump({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [base.diff_id, top.diff_id]}})
bad.blob(config, "", name=lie)
spoil("config-content", lambda m: m["config"].update(digest=lie, size=len(config)))
lie = "sha256:" + "3" * 64
with open(os.path.join(bad.path, "blobs", "sha256", good["digest"][7:]), "rb") as file:
    manifest = file.read()
bad.blob(manifest, "", name=lie)
bad.index("manifest-content", [(dict(good, digest=lie), "linux/amd64")])
bad.index("manifest-size", [(dict(good, size=good["size"] + 1), "linux/amd64")])
layer_of("diff-id", other.blob)
layer_of("diff-id-form", top.blob, "sha256:../../x")
# Layers that are no layers.
whole = oci.tar([entry("top", "top" * 1000)])
layer_of("gzip-cut", top.blob[:-20])
layer_of("gzip-noise", top.blob[:40] + b"\xff" * 40 + top.blob[80:])
layer_of("tar-cut", oci.compress(whole[:700], "gzip"), sha256(whole[:700]))
layer_of("tar-noise", oci.compress(b"noise" * 500, "gzip"), sha256(b"noise" * 500))
layer_of("tar-checksum", oci.compress(b"TOP" + whole[3:], "gzip"), sha256(b"TOP" + whole[3:]))
layer_of("xz", b"\xfd7zXZ\0" + b"x" * 100, sha256(b"x"))
# Manifests of wrong form.
raw("not-json", b"<html>sign in</html>")
raw("json-cut", manifest[:-20])
raw("json-list", b"[]")
raw("json-deep", b"[" * 100_000)
raw("json-twice", manifest + manifest)
raw("empty", b"")
raw("schema-1", dump({"schemaVersion": 1, "name": "x", "tag": "x", "fsLayers": []}),
    oci.DOCKER + "distribution.manifest.v1+json")
raw("both", manifest[:-1] + b',"manifests":[]}')  # CVE-2021-41190
raw("artifact", dump({"schemaVersion": 2, "mediaType": oci.OCI + "manifest.v1+json", "layers": [],
                      "config": bad.blob(b"{}", "application/vnd.oci.empty.v1+json")}))
spoil("no-config", drop("config"))
spoil("no-layers", drop("layers"))
spoil("layers-fewer", lambda m: m["layers"].pop())
spoil("layers-more", lambda m: m["layers"].append(m["layers"][1]))
spoil("layers-swapped", lambda m: m["layers"].reverse())
for name, text in {"not-json": b"x", "no-rootfs": b'{"os":"linux","architecture":"amd64"}',
                   "diff-ids": b'{"os":"linux","architecture":"amd64","rootfs":{"diff_ids":"x"}}'}.items():
    descriptor = bad.blob(text, oci.OCI + "config.v1+json")
    spoil("config-" + name, put("config", value=descriptor))
bad.image("layers-none", [], CONFIG)
spoil("manifest-huge", lambda m: m.update(annotations={"x": "y" * 20_000_000}))
bad.image("config-huge", [base, top], dict(CONFIG, Labels={"x": "y" * 20_000_000}))
bad.index("index-empty", [])
deep = good
for _ in range(200):  # an index that ends in 200 others is an attack, not a structure
    deep = bad.index(None, [(deep, None)])
bad.tag("index-deep", deep)

# ------------------------------------------------------------------ hostile layers

hostile = oci.Layout(os.path.join(out, "hostile"))
up = "../" * 30
name = canary.lstrip("/")


def attack(tag, *layers):
    hostile.image(tag, [base] + [Layer(oci.tar(entries)) for entries in layers], CONFIG)


attack("dotdot", [entry(up + name + "/dotdot", "pwned")])
attack("dotdot-inside", [entry("a/"), entry("a/../" + up + name + "/inside", "pwned")])
attack("absolute", [entry(canary + "/absolute", "pwned")])
attack("link-then-file", [entry("x", link=canary), entry("x/same-layer", "pwned")])
attack("link-in-lower", [entry("x", link=canary)], [entry("x/next-layer", "pwned")])  # CVE-2025-45582
attack("link-relative", [entry("x", link=up + name)], [entry("x/relative", "pwned")])
attack("link-chain", [entry("a", link="b"), entry("b", link=canary)], [entry("a/chain", "pwned")])
attack("link-dir-over", [entry("x", link=canary)], [entry("x/", mode=0o777), entry("x/over", "pwned")])
attack("hard-out", [entry("h", hard=up + name + "/file"), entry("h", "pwned")])
attack("hard-absolute", [entry("h", hard=canary + "/file")], [entry("h", "pwned")])
attack("hard-through-link", [entry("x", link=canary), entry("h", hard="x/file"), entry("h", "pwned")])
attack("whiteout-link", [entry("x", link=canary)], [entry("x/.wh.file", "")])
attack("whiteout-same", [entry("x", link=canary), entry("x/.wh.file", "")])
attack("whiteout-dotdot", [entry(up + name + "/.wh.file", "")])
attack("opaque-link", [entry("x", link=canary)], [entry("x/.wh..wh..opq", "")])
attack("xattr", [entry("x", "", xattrs={"user.overlay.redirect": canary, "trusted.overlay.redirect": canary})])
attack("etc-link", [entry("etc", link=canary)])
attack("etc-hosts-link", [entry("etc/hosts", link=canary + "/file"), entry("etc/hostname", link=canary + "/new"),
                          entry("etc/resolv.conf", link=up + name + "/file")])
attack("etc-hosts-fifo", [entry("etc/hosts", fifo=True), entry("etc/passwd", fifo=True), entry("etc/group", fifo=True)])
attack("etc-gone", [entry(".wh.etc", "")])
attack("etc-file", [entry(".wh.etc", "")], [entry("etc", "a file")])
attack("proc-file", [entry("proc", "a file"), entry("dev", fifo=True)])
hostile.image("escape", [base], dict(CONFIG, User="\x1b[31mred\nline"))
attack("proc-link", [entry("proc", link=canary), entry("sys", link=canary), entry("dev", link=canary)])
attack("passwd-link", [entry("etc/passwd", link=canary + "/file"), entry("etc/group", link="/dev/zero")])
for odd in (".wh.", ".wh..", ".wh...", ".wh..wh.", ".wh..wh.x"):
    attack("whiteout-" + odd.replace(".", "_"), [entry("a/"), entry("a/" + odd, "")])
