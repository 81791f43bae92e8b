"""stand-in.py --port N --layouts DIR [FAULT...]: a registry that can misbehave.

Serves the OCI layout DIR/NAME as image test/NAME (and DIR/busybox as library/busybox).
Each request is a JSON line in --log. The faults are options, see below; several
servers of different faults may run side by side, one may be the CDN of another.
"""
import argparse
import base64
import collections
import http.server
import json
import os
import re
import ssl
import threading
import time

arg = argparse.ArgumentParser()
arg.add_argument("--port", type=int, required=True)
arg.add_argument("--bind", default="127.0.0.1")
arg.add_argument("--layouts", required=True)
arg.add_argument("--log")
arg.add_argument("--tls", nargs=2, metavar=("CERT", "KEY"))
arg.add_argument("--cut", type=int, help="blobs: close the connection after so many bytes")
arg.add_argument("--cut-times", type=int, default=10**9, help="per blob, then behave")
arg.add_argument("--stall", type=float, help="when cutting, first hold the line so many seconds")
arg.add_argument("--slow", type=int, help="blobs: bytes a second")
arg.add_argument("--range", choices=["honour", "ignore", "refuse"], default="honour")
arg.add_argument("--flip", action="store_true", help="blobs: another last byte")
arg.add_argument("--extra", action="store_true", help="blobs: a byte too many")
arg.add_argument("--short", action="store_true", help="blobs: a byte too few, and the length says so")
arg.add_argument("--status", nargs=3, metavar=("CODE", "REGEX", "TIMES"), help="answer CODE to paths like REGEX")
arg.add_argument("--redirect", help="blobs: answer 307 to this URL and the same path")
arg.add_argument("--challenge", help="the WWW-Authenticate of a 401")
arg.add_argument("--token-key", default="token", help="token or access_token")
arg.add_argument("--token-uses", type=int, default=10**9, help="requests that one token is good for")
arg.add_argument("--basic", help="user:password, asked of /token, or of all when the challenge is Basic")
arg.add_argument("--digest-header", help="Docker-Content-Digest of manifests, a lie")
opt = arg.parse_args()

lock = threading.Lock()
cuts = collections.Counter()
statuses = 0
tokens = {}  # token -> requests left


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def record(self):
        if opt.log:
            with lock, open(opt.log, "a") as file:
                file.write(json.dumps({"method": self.command, "path": self.path,
                                       "headers": {k.lower(): v for k, v in self.headers.items()}}) + "\n")

    def answer(self, status, body=b"", **headers):
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def error(self, status, code):
        self.answer(status, json.dumps({"errors": [{"code": code, "message": "stand-in \x1b[31m\nx"}]}).encode(),
                    Content_Type="application/json")

    def basic_is_right(self):
        if not opt.basic:
            return False
        want = "Basic " + base64.b64encode(opt.basic.encode()).decode()
        return self.headers.get("Authorization") == want

    def may_enter(self):
        if not opt.challenge:
            return True
        if "bearer" not in opt.challenge.lower():
            right = self.basic_is_right()
        else:
            kind, _, token = self.headers.get("Authorization", "").partition(" ")
            with lock:
                right = kind == "Bearer" and tokens.get(token, 0) > 0
                if right:
                    tokens[token] -= 1
        if not right:
            self.answer(401, b'{"errors":[{"code":"UNAUTHORIZED"}]}', WWW_Authenticate=opt.challenge)
        return right

    def give_token(self):
        if opt.basic and not self.basic_is_right():
            return self.error(401, "UNAUTHORIZED")
        with lock:
            token = f"secret-token-{len(tokens)}"
            tokens[token] = opt.token_uses
        return self.answer(200, json.dumps({opt.token_key: token, "expires_in": 300}).encode(),
                           Content_Type="application/json")

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        global statuses
        self.record()
        path = self.path.split("?")[0]
        if opt.status and re.search(opt.status[1], path):
            with lock:
                statuses += 1
                count = statuses
            if count <= int(opt.status[2]):
                return self.error(int(opt.status[0]), "UNAVAILABLE")
        if path == "/token":
            return self.give_token()
        if not self.may_enter():
            return None
        if path in ("/v2", "/v2/"):
            return self.answer(200, b"{}", Content_Type="application/json")
        match = re.fullmatch(r"/v2/(?:test|library)/([a-z0-9-]+)/(manifests|blobs)/([^/]+)", path)
        if not match:
            return self.error(404, "NAME_UNKNOWN")
        layout = os.path.join(opt.layouts, match[1])
        return (self.manifest if match[2] == "manifests" else self.blob)(layout, match[3])

    def manifest(self, layout, reference):
        try:
            media = None
            if not reference.startswith("sha256:"):
                with open(os.path.join(layout, "index.json")) as file:
                    found = [d for d in json.load(file)["manifests"]
                             if d["annotations"]["org.opencontainers.image.ref.name"] == reference]
                reference, media = found[0]["digest"], found[0]["mediaType"]
            with open(os.path.join(layout, "blobs", "sha256", reference[7:]), "rb") as file:
                body = file.read()
        except (OSError, IndexError):
            return self.error(404, "MANIFEST_UNKNOWN")
        if not media:
            try:
                media = json.loads(body).get("mediaType")
            except ValueError:
                pass
        return self.answer(200, body, Content_Type=media or "application/vnd.oci.image.manifest.v1+json",
                           Docker_Content_Digest=opt.digest_header or reference)

    def blob(self, layout, digest):
        if opt.redirect:
            return self.answer(307, Location=opt.redirect + self.path)
        try:
            with open(os.path.join(layout, "blobs", "sha256", digest[7:]), "rb") as file:
                body = file.read()
        except OSError:
            return self.error(404, "BLOB_UNKNOWN")
        if opt.flip:
            body = body[:-1] + bytes([body[-1] ^ 1])
        if opt.extra:
            body += b"x"
        if opt.short:
            body = body[:-1]
        start = 0
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if wanted and opt.range == "refuse":
            return self.error(416, "RANGE")
        if wanted and opt.range == "honour":
            start = int(wanted[1])
            if start >= len(body):
                return self.error(416, "RANGE")
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        else:
            self.send_response(200)
        body = body[start:]
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "HEAD":
            return None
        with lock:
            cut = opt.cut is not None and len(body) > opt.cut and cuts[digest] < opt.cut_times
            cuts[digest] += cut
        self.send_slowly(body[:opt.cut] if cut else body)
        if cut:
            self.wfile.flush()
            time.sleep(opt.stall or 0)
            self.close_connection = True
        return None

    def send_slowly(self, body):
        if not opt.slow:
            self.wfile.write(body)
            return
        step = max(opt.slow // 20, 1)
        for at in range(0, len(body), step):
            self.wfile.write(body[at:at + step])
            time.sleep(0.05)


server = http.server.ThreadingHTTPServer((opt.bind, opt.port), Handler)
server.daemon_threads = True
server.handle_error = lambda *_: None  # a client that hangs up is what the tests are about
if opt.tls:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*opt.tls)
    server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
