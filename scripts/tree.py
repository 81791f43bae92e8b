"""tree.py ROOT: every file under ROOT with all that a layer can say about it.

One sorted line a file: path, type, mode, uid:gid, then size, sha256 and the first path
of the same inode (files), the target (links), mtime in nanoseconds, xattrs. What a
container engine puts in the place of the image's own files is left out.
"""
import hashlib
import os
import stat
import sys

OURS = {b"./dev", b"./proc", b"./sys", b"./etc/hosts", b"./etc/hostname", b"./etc/resolv.conf"}
# Their mtime changes with what is written into them: by the engine, or by umoci,
# which deletes below late/sub when it meets the opaque marker that comes after.
NO_TIME = {b".", b"./etc", b"./late/sub"}

os.chdir(sys.argv[1])
seen = {}


def xattrs(path):
    names = (n for n in os.listxattr(path, follow_symlinks=False) if ".overlay." not in n)
    return ",".join(f"{n}={os.getxattr(path, n, follow_symlinks=False).hex()}" for n in sorted(names))


def line(path):
    s = os.lstat(path)
    fields = [ascii(path)[2:-1], stat.filemode(s.st_mode), f"{s.st_uid}:{s.st_gid}"]
    if stat.S_ISREG(s.st_mode):
        with open(path, "rb") as file:
            fields += [str(s.st_size), hashlib.sha256(file.read()).hexdigest()[:16]]
    if stat.S_ISLNK(s.st_mode):
        fields.append("-> " + ascii(os.readlink(path)))
    if not stat.S_ISDIR(s.st_mode):
        fields.append(f"{s.st_nlink} {ascii(seen.setdefault((s.st_dev, s.st_ino), path))}")
    fields.append("-" if path in NO_TIME else str(s.st_mtime_ns))
    print(*fields, xattrs(path))


def walk(path):
    line(path)
    if stat.S_ISDIR(os.lstat(path).st_mode):
        for name in sorted(os.listdir(path)):
            if path + b"/" + name not in OURS:
                walk(path + b"/" + name)


walk(b".")
