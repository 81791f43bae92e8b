"""archives.py BUSYBOX-ROOT LAYOUTS OUT CANARY: image archives made by hand, as no good tool makes them.

OUT/good/*.tar must load, OUT/bad/*.tar must be refused: a line `NAME WORDS` in OUT/bad.list for each, WORDS a regex
that the error must match. CANARY is a directory of the host that no link may reach.
"""
import io
import json
import os
import sys
import tarfile

import oci
from oci import Layer, Layout, entry, sha256

root, layouts, out, canary = sys.argv[1:]
base = Layer(oci.tar_tree(root), "tar")
top = Layer(oci.tar([entry("top", "top of all")]), "tar")
HEX = "[0-9a-f]{64}"


def config(layers):
    return oci.dump({"architecture": "amd64", "os": "linux", "config": {"Cmd": ["cat", "/top"]},
                     "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]}})


def write(path, entries):
    with open(path, "wb") as file:
        file.write(oci.tar(entries))


def docker(entries, images, extra=()):
    """The members of a docker-archive: what it is made of, then manifest.json."""
    return list(entries) + [entry("manifest.json", json.dumps(images))] + list(extra)


def old(layers, tags, first=0):
    """As docker before 25 has it: HEX/layer.tar, a symbolic link where a layer occurs again."""
    members, seen, files = [], {}, []
    for number, layer in enumerate(layers, first):
        name = f"{number:064x}"
        members += [entry(name + "/"), entry(name + "/VERSION", "1.0"), entry(name + "/json", "{}")]
        if layer.diff_id in seen:
            members.append(entry(name + "/layer.tar", link=f"../{seen[layer.diff_id]}/layer.tar"))
        else:
            members.append(entry(name + "/layer.tar", layer.blob))
            seen[layer.diff_id] = name
        files.append(name + "/layer.tar")
    text = config(layers)
    name = sha256(text)[7:] + ".json"
    members.append(entry(name, text))
    return members, {"Config": name, "RepoTags": tags, "Layers": files}


os.makedirs(out + "/good")
os.makedirs(out + "/bad")
again = Layer(oci.tar([entry("again", "")]), "tar")
members, image = old([base, again, top, again], ["old:1", "other.test/old:2"])
write(out + "/good/old.tar", docker(members, [image], [entry("repositories", "{}")]))
hard = [entry(info.name, hard=info.linkname.replace("../", "")) if info.issym() else (info, data)
        for info, data in members]
write(out + "/good/old-hard-links.tar", docker(hard, [image]))
members_2, image_2 = old([base, again], None, 9)
write(out + "/good/several.tar", docker(members + members_2, [image, image_2]))
# docker 25: both formats in one, the index has the names.


def made(layers):
    """An OCI layout's config, manifest, its descriptor, all blobs; the layers' blobs by diff_id."""
    text = config(layers)
    blob = {layer.diff_id: blob_entry(layer.blob) for layer in layers}
    manifest = oci.dump({
        "schemaVersion": 2, "mediaType": oci.OCI + "manifest.v1+json",
        "config": {"mediaType": oci.OCI + "config.v1+json", "digest": sha256(text), "size": len(text)},
        "layers": [{"mediaType": oci.MEDIA["tar"], "digest": layer.diff_id, "size": len(layer.blob)} for layer in layers]})
    descriptor = {"mediaType": oci.OCI + "manifest.v1+json", "digest": sha256(manifest), "size": len(manifest)}
    return text, manifest, descriptor, [blob_entry(text), blob_entry(manifest), *blob.values()], blob


def named(name, **how):
    return dict(descriptor, annotations={"io.containerd.image.name": name, oci.REF: name.rsplit(":", 1)[-1]}, **how)


def layout(entries, *members):
    return [entry("oci-layout", '{"imageLayoutVersion":"1.0.0"}'),
            entry("index.json", oci.dump({"schemaVersion": 2, "manifests": entries})), *members]


def blob_entry(data, name=None):
    return entry("blobs/sha256/" + (name or sha256(data))[7:], data)


text, manifest, descriptor, whole, blob = made([base, top])
write(out + "/good/docker-25.tar", docker(
    [entry("blobs/"), entry("blobs/sha256/"), *whole], [
        {"Config": "blobs/sha256/" + sha256(text)[7:], "RepoTags": ["new:1"],
         "Layers": ["blobs/sha256/" + layer.diff_id[7:] for layer in (base, top)]}],
    layout([named("docker.io/library/new:1"), named("docker.io/library/new:2")])))
write(out + "/good/docker-25-alone.tar", docker(whole, [
    {"Config": "blobs/sha256/" + sha256(text)[7:], "RepoTags": ["new:3"],
     "Layers": ["blobs/sha256/" + layer.diff_id[7:] for layer in (base, top)]}]))
squeezed = [Layer(oci.tar_tree(root)), Layer(oci.tar([entry("top", "top of all")]))]
write(out + "/good/bazel.tar", docker(
    [entry(f"{number}.tar.gz", layer.blob) for number, layer in enumerate(squeezed)] + [entry(sha256(text), text)],
    [{"Config": sha256(text), "RepoTags": ["bazel:1"], "Layers": ["0.tar.gz", "1.tar.gz"]}]))
dotted = layout([descriptor], *whole)
for info, _ in dotted:
    info.name = "./" + info.name
write(out + "/good/dots.tar", dotted)

# ------------------------------------------------------------------ what must be refused

bad_list = open(out + "/bad.list", "w")
base = Layer(oci.tar([entry("base", "")]), "tar")  # small: there are many
text, manifest, descriptor, whole, blob = made([base, top])


def bad(name, words, entries):
    write(f"{out}/bad/{name}.tar", entries)
    bad_list.write(f"{name} {words}\n")


good, image = old([base, top], ["bad:1"])
members, image_1 = old([base], ["small:1"])
write(out + "/good/small.tar", docker(members, [image_1]))
layer_name = image["Layers"][1]


def spoiled(**change):
    return docker(good, [dict(image, **change)])


def replaced(name, member):
    return docker([member if info.name == name else (info, data) for info, data in good], [image])


for name, target in {"absolute": canary + "/file", "up": "../../../../../.." + canary + "/file", "dangling": "nowhere",
                     "loop": "layer.tar", "proc": "/proc/self/environ"}.items():
    bad("symlink-" + name, "leads out|no path inside|not in it|link to a link", replaced(layer_name, entry(layer_name, link=target)))
    bad("config-symlink-" + name, "leads out|no path inside|not in it|link to a link",
        replaced(image["Config"], entry(image["Config"], link="layer.tar" if name == "loop" else target))
        if name != "loop" else replaced(image["Config"], entry(image["Config"], link=image["Config"])))
bad("hardlink-absolute", "not in it|no path inside", replaced(layer_name, entry(layer_name, hard=canary + "/file")))
bad("hardlink-up", "not in it|leads out", replaced(layer_name, entry(layer_name, hard="../" * 20 + canary[1:] + "/file")))
bad("fifo", "not in it", replaced(layer_name, entry(layer_name, fifo=True)))
bad("device", "not in it", replaced(layer_name, entry(layer_name, node=("c", 1, 5))))
bad("directory", "not in it", replaced(layer_name, entry(layer_name + "/")))
for name, path in {"absolute": canary + "/file", "up": "../../file", "inside-up": "a/../../file", "empty": "",
                   "glob": "*/layer.tar", "space": "a b", "newline": "a\nb", "option": "--to-command=touch " + canary + "/x",
                   "backslash": "a\\b", "escape": "\x1b[31m"}.items():
    bad("layer-" + name, "leads out|no path inside|no file of an image|not in it", spoiled(Layers=[image["Layers"][0], path]))
    bad("config-" + name, "leads out|no path inside|no file of an image|not in it", spoiled(Config=path))
bad("layer-option-short", "not in it", spoiled(Layers=[image["Layers"][0], "-f"]))
bad("twice", "twice", docker(good + [entry(layer_name, top.blob)], [image]))
bad("manifest-twice", "twice", docker(good, [image], [entry("manifest.json", "[]")]))
bad("layer-missing", "not in it", spoiled(Layers=[image["Layers"][0], "f" * 64 + "/layer.tar"]))
bad("layers-fewer", "1 layers, but 2 diff_ids", spoiled(Layers=image["Layers"][:1]))
bad("layers-none", "0 layers", spoiled(Layers=None))
bad("layers-number", "name is missing", spoiled(Layers=[1, 2]))
bad("layers-swapped", "damaged or forged", spoiled(Layers=image["Layers"][::-1]))
bad("layer-other", "damaged or forged", replaced(layer_name, entry(layer_name, again.blob)))
bad("layer-short", "damaged or forged|Unexpected EOF|short read", replaced(layer_name, entry(layer_name, top.blob[:600])))
bad("layer-noise", "neither gzip", replaced(layer_name, entry(layer_name, b"noise" * 500)))
bad("layer-none", "neither gzip", replaced(layer_name, entry(layer_name, b"")))
bad("config-missing", "not in it", spoiled(Config="0" * 64 + ".json"))
bad("config-null", "name is missing", spoiled(Config=None))
bad("config-other", "damaged or forged", replaced(image["Config"], entry(image["Config"], config([base]))))
bad("config-huge", "File too large|too large", replaced(image["Config"], entry(image["Config"], b" " * (5 << 20) + b"{}")))
bad("config-no-json", "not JSON", docker(good + [entry("c.json", "<html>")], [dict(image, Config="c.json")]))
bad("tag-odd", "image name", spoiled(RepoTags=["Not A Name"]))
bad("tag-up", "image name", spoiled(RepoTags=["../../images:x"]))
bad("tag-digest", "proves", spoiled(RepoTags=["a@sha256:" + "1" * 64]))
bad("no-images", "no image", docker(good, []))
bad("many-images", "more than 256", docker(
    [entry(f"{n}.json", text.replace(b"/top", b"/%d" % n)) for n in range(257)] +
    [entry("b.tar", base.blob), entry("t.tar", top.blob)],
    [{"Config": f"{n}.json", "Layers": ["b.tar", "t.tar"]} for n in range(257)]))
for name, body in {"no-json": "<html>", "object": '{"Config":"x"}', "cut": '[{"Config":', "deep": "[" * 100_000,
                   "empty": ""}.items():
    bad("manifest-" + name, "not JSON|no image", good + [entry("manifest.json", body)])
bad("manifest-huge", "too large", good + [entry("manifest.json", " " * (5 << 20) + "[]")])
bad("nothing", "neither oci-layout", [entry("hello", "x")])
bad("empty", "neither oci-layout", [])
bad("names", "neither oci-layout|twice", [entry(f"{n:0120}/", "") for n in range(3000)] + [
    entry("x\n-rw-r--r-- 0/0 2 1970-01-01 00:00 manifest.json", "[]"), entry("/manifest.json", "[]"),
    entry("../manifest.json", "[]"), entry("man*.json", "[]")])

# The same of OCI layouts.


def oci_bad(name, words, index=None, change=None, drop=(), more=()):
    """`change(manifest)` spoils the manifest, `index` stands for the good one."""
    changed = json.loads(manifest)
    if change:
        change(changed)
    body = oci.dump(changed)
    entries = index if index is not None else [dict(descriptor, digest=sha256(body), size=len(body))]
    members = [member for member in [blob_entry(text), *blob.values()] if member[0].name not in drop] + list(more)
    bad("oci-" + name, words, layout(entries, blob_entry(body), *members))


top_name = "blobs/sha256/" + top.diff_id[7:]
oci_bad("blob-missing", "not in it", drop=[top_name])
oci_bad("config-missing", "not in it", drop=["blobs/sha256/" + sha256(text)[7:]])
oci_bad("manifest-missing", "not in it", [dict(descriptor, digest="sha256:" + "1" * 64)])
oci_bad("blob-other", "damaged or forged", drop=[top_name],
        more=[blob_entry(top.blob[:600] + b"x" + top.blob[601:], top.diff_id)])
oci_bad("blob-link", "no path inside", drop=[top_name], more=[entry(top_name, link=canary + "/file")])
oci_bad("manifest-link", "no path inside", [dict(descriptor, digest="sha256:" + "2" * 64)],
        more=[entry("blobs/sha256/" + "2" * 64, link=canary + "/file")])
oci_bad("size", "bytes", change=lambda m: m["layers"][1].update(size=1))
oci_bad("manifest-size", "bytes", [dict(descriptor, size=1)])
forged = "sha256:" + "3" * 64
oci_bad("manifest-forged", "damaged or forged", [dict(descriptor, digest=forged)], more=[blob_entry(manifest, forged)])
packed = Layer(oci.tar([entry("top", "top of all")]))
oci_bad("blob-forged", "damaged or forged", change=lambda m: m["layers"].__setitem__(
    1, {"mediaType": oci.MEDIA["gzip"], "digest": forged, "size": len(packed.blob)}), more=[blob_entry(packed.blob, forged)])
oci_bad("digest-path", "not sha256", [dict(descriptor, digest="sha256:../../../" + "a" * 55)])
oci_bad("digest-sha512", "not sha256", [dict(descriptor, digest="sha512:" + "a" * 128)])
oci_bad("encrypted", "is encrypted", change=lambda m: m["layers"][1].update(mediaType=oci.MEDIA["gzip"] + "+encrypted"))
oci_bad("foreign", "foreign layer", change=lambda m: m["layers"][1].update(urls=["http://127.0.0.1/x"]))
oci_bad("artifact", "layers", change=lambda m: m.update(layers=[]))
oci_bad("both", "CVE-2021-41190", change=lambda m: m.update(manifests=[]))
oci_bad("platform", "not made for .*linux/s390x", [dict(descriptor, platform={"os": "linux", "architecture": "s390x"})])
oci_bad("name-odd", "image name", [named("Not A Name")])
oci_bad("name-digest", "another digest", [named("docker.io/library/a@sha256:" + "4" * 64)])
oci_bad("index-empty", "no image", [])
oci_bad("index-attestation", "no image", [dict(descriptor, platform={"os": "unknown", "architecture": "unknown"})])
bad("oci-version", "imageLayoutVersion", [entry("oci-layout", '{"imageLayoutVersion":"9"}'), *layout([descriptor], *whole)[1:]])
bad("oci-index-manifest", "no index", [layout([])[0], entry("index.json", manifest), *whole])
bad("oci-index-no-json", "refused", [layout([])[0], entry("index.json", "<html>"), *whole])
deep, members = descriptor, list(whole)
for _ in range(5):
    body = oci.dump({"schemaVersion": 2, "manifests": [deep]})
    members.append(blob_entry(body))
    deep = {"digest": sha256(body), "size": len(body)}
bad("oci-deep", "deep", layout([deep], *members))
# The second of two images is bad: nothing of the first stays.
good_2, image_2 = old([base, again], ["bad:2"], 9)
wrong = [(info, top.blob) if info.name == image_2["Layers"][1] else (info, data) for info, data in good_2]
bad("second", "damaged or forged", docker(good + wrong, [image, image_2]))
