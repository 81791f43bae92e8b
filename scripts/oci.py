"""OCI images made by hand: layers from lists of entries, manifests, layouts, a push.

skopeo and umoci make only well-behaved images; the tests need every other kind too.
Nothing here depends on more than python3's standard library and zstd(1).
"""
import gzip
import hashlib
import http.client
import io
import json
import os
import subprocess
import tarfile
import urllib.parse

OCI = "application/vnd.oci.image."
DOCKER = "application/vnd.docker."
MEDIA = {  # kind of layer -> what an honest manifest calls it
    "tar": OCI + "layer.v1.tar",
    "gzip": OCI + "layer.v1.tar+gzip",
    "zstd": OCI + "layer.v1.tar+zstd",
    "docker": DOCKER + "image.rootfs.diff.tar.gzip",
}
REF = "org.opencontainers.image.ref.name"
TIME = 1_700_000_000  # the mtime of whatever does not say otherwise


def sha256(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def dump(value):
    return json.dumps(value, separators=(",", ":")).encode()


# ------------------------------------------------------------------ layers

def entry(name, data=None, **how):
    """One member of a layer. `name/` is a directory; `link`, `hard`, `fifo` and
    `node` make other kinds; the rest are mode, uid, gid, mtime, xattrs."""
    info = tarfile.TarInfo(name.rstrip("/"))
    info.mtime = how.get("mtime", TIME)
    info.uid, info.gid = how.get("uid", 0), how.get("gid", 0)
    info.mode = how.get("mode", 0o755 if name.endswith("/") else 0o644)
    if name.endswith("/"):
        info.type = tarfile.DIRTYPE
    elif "link" in how:
        info.type, info.linkname, info.mode = tarfile.SYMTYPE, how["link"], 0o777
    elif "hard" in how:
        info.type, info.linkname = tarfile.LNKTYPE, how["hard"]
    elif "fifo" in how:
        info.type = tarfile.FIFOTYPE
    elif "node" in how:
        kind, info.devmajor, info.devminor = how["node"]
        info.type = {"c": tarfile.CHRTYPE, "b": tarfile.BLKTYPE}[kind]
    else:
        data = data.encode() if isinstance(data, str) else data or b""
        info.size = len(data)
    for key, value in how.get("xattrs", {}).items():
        info.pax_headers["SCHILY.xattr." + key] = value
    return info, data


def tar(entries):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT,
                      encoding="utf-8", errors="surrogateescape") as archive:
        for info, data in entries:
            archive.addfile(info, io.BytesIO(data) if info.isreg() else None)
    return out.getvalue()


def tar_tree(root):
    """A directory of the host as a layer."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name in sorted(os.listdir(root)):
            archive.add(os.path.join(root, name), name)
    return out.getvalue()


def compress(data, kind):
    if kind in ("gzip", "docker"):
        return gzip.compress(data, 6, mtime=0)
    if kind == "zstd":
        return subprocess.run(["zstd", "-qc"], input=data, stdout=subprocess.PIPE, check=True).stdout
    return data


class Layer:
    def __init__(self, data, kind="gzip", media=None):
        self.diff_id = sha256(data)
        self.blob = compress(data, kind)
        self.media = media or MEDIA[kind]


# ------------------------------------------------------------------ layouts

class Layout:
    """An OCI image layout: blobs/sha256/HEX, and tags in index.json."""

    def __init__(self, path):
        self.path = path
        self.tags = {}
        os.makedirs(os.path.join(path, "blobs", "sha256"), exist_ok=True)
        with open(os.path.join(path, "oci-layout"), "w") as file:
            file.write('{"imageLayoutVersion":"1.0.0"}')

    def blob(self, data, media, name=None):
        """Stores the bytes (as `name`, a digest, where a lie is wanted); a descriptor."""
        digest = name or sha256(data)
        with open(os.path.join(self.path, "blobs", "sha256", digest[7:]), "wb") as file:
            file.write(data)
        return {"mediaType": media, "size": len(data), "digest": digest}

    def image(self, tag, layers, config=None, docker=False, platform=None, change=None):
        """A manifest over `layers`; `change(manifest)` may spoil it before it is stored."""
        system, machine, *variant = (platform or "linux/amd64").split("/")
        image = {"architecture": machine, "os": system, "config": config or {},
                 "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]}}
        if variant:
            image["variant"] = variant[0]
        media = DOCKER + "distribution.manifest.v2+json" if docker else OCI + "manifest.v1+json"
        manifest = {
            "schemaVersion": 2, "mediaType": media,
            "config": self.blob(dump(image), DOCKER + "container.image.v1+json" if docker
                                else OCI + "config.v1+json"),
            "layers": [self.blob(layer.blob, layer.media) for layer in layers],
        }
        if change:
            change(manifest)
        return self.tag(tag, self.blob(dump(manifest), media))

    def index(self, tag, children, docker=False):
        """`children`: (descriptor, "os/arch[/variant]" or None)."""
        media = DOCKER + "distribution.manifest.list.v2+json" if docker else OCI + "index.v1+json"
        manifests = []
        for descriptor, platform in children:
            child = {key: descriptor[key] for key in ("mediaType", "size", "digest")}
            if platform:
                child["platform"] = dict(zip(("os", "architecture", "variant"), platform.split("/")))
            manifests.append(child)
        return self.tag(tag, self.blob(dump(
            {"schemaVersion": 2, "mediaType": media, "manifests": manifests}), media))

    def tag(self, tag, descriptor):
        if tag:
            self.tags[tag] = dict(descriptor, annotations={REF: tag})
            with open(os.path.join(self.path, "index.json"), "wb") as file:
                file.write(dump({"schemaVersion": 2, "manifests": list(self.tags.values())}))
        return descriptor


# ------------------------------------------------------------------ push

class Registry:
    def __init__(self, url):
        self.connection = http.client.HTTPConnection(urllib.parse.urlsplit(url).netloc, timeout=30)
        self.sent = set()

    def ask(self, method, path, body=None, **headers):
        self.connection.request(method, path, body,
                                {k.replace("_", "-"): v for k, v in headers.items()})
        answer = self.connection.getresponse()
        text = answer.read()
        if answer.status >= 300:
            raise SystemExit(f"{method} {path}: {answer.status} {text.decode(errors='replace')}")
        return answer

    def push_blob(self, layout, name, descriptor):
        if (name, descriptor["digest"]) in self.sent:
            return
        with open(os.path.join(layout, "blobs", "sha256", descriptor["digest"][7:]), "rb") as file:
            data = file.read()
        where = self.ask("POST", f"/v2/{name}/blobs/uploads/").getheader("Location")
        where = urllib.parse.urlsplit(where)
        self.ask("PUT", f"{where.path}?{where.query}&digest={descriptor['digest']}", data,
                 Content_Type="application/octet-stream")
        self.sent.add((name, descriptor["digest"]))

    def push_manifest(self, layout, name, descriptor, tag=None):
        with open(os.path.join(layout, "blobs", "sha256", descriptor["digest"][7:]), "rb") as file:
            data = file.read()
        manifest = json.loads(data)
        for child in manifest.get("manifests", []):
            self.push_manifest(layout, name, child)
        for blob in ([manifest["config"]] if "config" in manifest else []) + manifest.get("layers", []):
            self.push_blob(layout, name, blob)
        self.ask("PUT", f"/v2/{name}/manifests/{tag or descriptor['digest']}", data,
                 Content_Type=descriptor["mediaType"])

    def push(self, layout, name):
        """Every tag of the layout, as NAME:TAG."""
        with open(os.path.join(layout, "index.json")) as file:
            for descriptor in json.load(file)["manifests"]:
                tag = descriptor["annotations"]["org.opencontainers.image.ref.name"]
                self.push_manifest(layout, name, descriptor, tag)
