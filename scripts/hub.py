"""hub.py MODE ADDRESS PORT CERT KEY LOG ...: the two servers beside the Hub's registry.

token ... SIGNING-CERT SIGNING-KEY USER:PASSWORD   what auth.docker.io does: JSON web
    tokens that docker-registry accepts (distribution: docs/spec/auth/jwt.md). Anybody may
    pull library/*; the rest is for the user.
cdn ... DIRECTORY                                  what the Hub's CDN does: the bytes.
Each request is a JSON line in LOG.
"""
import base64
import http.server
import json
import os
import ssl
import subprocess
import sys
import threading
import time
import urllib.parse

mode, address, port, cert, key, log, *rest = sys.argv[1:]


def base64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def web_token(access):
    signing_cert, signing_key, _ = rest
    with open(signing_cert) as file:
        der = base64.b64encode(ssl.PEM_cert_to_DER_cert(file.read())).decode()
    now = int(time.time())
    parts = [{"typ": "JWT", "alg": "RS256", "x5c": [der]},
             {"iss": "test issuer", "sub": "", "aud": "registry.docker.io", "exp": now + 300,
              "nbf": now - 10, "iat": now, "jti": f"{time.time_ns()}", "access": access}]
    signed = ".".join(base64url(json.dumps(part).encode()) for part in parts)
    signature = subprocess.run(["openssl", "dgst", "-sha256", "-sign", signing_key],
                               input=signed.encode(), stdout=subprocess.PIPE, check=True).stdout
    return signed + "." + base64url(signature)


class Handler(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, value):
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        with lock, open(log, "a") as file:
            file.write(json.dumps({"path": self.path,
                                   "headers": {k.lower(): v for k, v in self.headers.items()}}) + "\n")
        if mode == "cdn":
            return super().do_GET()
        authorization = self.headers.get("Authorization")
        known = authorization == "Basic " + base64.b64encode(rest[2].encode()).decode()
        if authorization and not known:
            return self.answer(401, {"details": "incorrect username or password"})
        access = []
        for scope in urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query).get("scope", []):
            kind, name, actions = scope.split(":")
            if known or name.startswith("library/"):
                access.append({"type": kind, "name": name, "actions": ["pull"] * ("pull" in actions)})
        return self.answer(200, {"token": web_token(access), "expires_in": 300})


lock = threading.Lock()
if mode == "cdn":
    os.chdir(rest[0])
server = http.server.ThreadingHTTPServer((address, int(port)), Handler)
server.daemon_threads = True
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(cert, key)
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
