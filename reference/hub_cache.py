#!/usr/bin/env python3
"""Fetches a model folder with huggingface_hub and with Trefoil from a local server and compares the two caches.

    python hub_cache.py MODEL_FOLDER -- trefoil models pull     # a build with the feature `hub`

The server speaks the routes of the Hub; weights are large files that it keeps elsewhere. Both caches must have the same
files, links and references, each program must find in the other's cache all that it wants, and Python must load from
Trefoil's. Exits with 1 when something differs.
"""
import argparse
import hashlib
import http.server
import json
import os
import subprocess
import sys
import tempfile
import threading

COMMIT = "0123456789abcdef0123456789abcdef01234567"
NAME = "owner/tiny"


def listed(name, body, is_large):
    """A file as the Hub lists it."""
    entry = {"type": "file", "path": name, "size": len(body), "oid": hashlib.sha1(body).hexdigest()}
    if is_large:
        entry["lfs"] = {"oid": hashlib.sha256(body).hexdigest(), "size": len(body), "pointerSize": 134}
    return entry


def serve(folder):
    files = {}
    for base, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(base, name)
            with open(path, "rb") as f:
                files[os.path.relpath(path, folder)] = f.read()
    is_large = lambda name: name.endswith((".safetensors", ".bin"))
    requests = []

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args):
            pass

        def answer(self, status, headers=(), body=b""):
            self.send_response(status)
            for key, value in headers:
                self.send_header(key, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def do_GET(self):
            requests.append((self.command, self.path))
            path = self.path.split("?")[0]
            if path.startswith(f"/api/models/{NAME}/tree/"):
                body = json.dumps([listed(n, files[n], is_large(n)) for n in sorted(files)]).encode()
                return self.answer(200, [("Content-Type", "application/json")], body)
            if path.startswith(f"/api/models/{NAME}"):
                siblings = [{"rfilename": n} for n in sorted(files)]
                body = json.dumps({"id": NAME, "modelId": NAME, "sha": COMMIT, "siblings": siblings, "private": False,
                                   "gated": False, "downloads": 0, "likes": 0, "tags": []}).encode()
                return self.answer(200, [("Content-Type", "application/json")], body)
            if path.startswith("/store/"):
                body = next(b for b in files.values() if hashlib.sha256(b).hexdigest() == path[7:])
                start = self.headers.get("Range")
                if start and not start.startswith("bytes=0-"):
                    start = int(start[6:].split("-")[0])
                    return self.answer(206, [("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")], body[start:])
                return self.answer(200, [], body)
            name = path.removeprefix(f"/{NAME}/resolve/").split("/", 1)[-1]
            if name not in files:
                return self.answer(404, [("X-Error-Code", "EntryNotFound")])
            body = files[name]
            headers = [("X-Repo-Commit", COMMIT)]
            if is_large(name):
                sha = hashlib.sha256(body).hexdigest()
                headers += [("X-Linked-Etag", f'"{sha}"'), ("X-Linked-Size", str(len(body))),
                            ("Location", f"{store}/store/{sha}"), ("ETag", '"x"')]
                return self.answer(302, headers)
            return self.answer(200, headers + [("ETag", f'"{hashlib.sha1(body).hexdigest()}"')], body)

        do_HEAD = do_GET

    def start():
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return server.server_port

    # As with the Hub, large files are at another host.
    store = f"http://localhost:{start()}"
    return f"http://127.0.0.1:{start()}", requests


def tree(cache):
    """Every file and link below the model's folder."""
    root, found = os.path.join(cache, "models--" + NAME.replace("/", "--")), {}
    for base, _, names in os.walk(root):
        for name in names:
            path = os.path.join(base, name)
            key = os.path.relpath(path, root)
            if key.startswith("trees/"):
                continue  # what newer versions of Python's keep of the listing, for themselves
            if os.path.islink(path):
                found[key] = "-> " + os.readlink(path)
            else:
                with open(path, "rb") as f:
                    found[key] = hashlib.sha256(f.read()).hexdigest()
    return found


PYTHON = """
import sys, huggingface_hub
print(huggingface_hub.snapshot_download(sys.argv[1], local_files_only=len(sys.argv) > 2))
"""


def main():
    ap = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ap.add_argument("folder")
    ap.add_argument("command", nargs="+", help="what fetches a model whose name is put behind it")
    args = ap.parse_args()
    endpoint, requests = serve(args.folder)
    env = {**os.environ, "HF_ENDPOINT": endpoint, "HF_HUB_DISABLE_XET": "1", "NO_PROXY": "127.0.0.1,localhost",
           "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    env.pop("HF_HUB_OFFLINE", None)
    ok = True

    def check(what, passed):
        nonlocal ok
        ok &= passed
        print(f"{'ok  ' if passed else 'FAIL'} {what}")

    with tempfile.TemporaryDirectory() as ours, tempfile.TemporaryDirectory() as theirs:
        def run(command, cache, **more):
            done = subprocess.run(command, env={**env, "HF_HUB_CACHE": cache, **more}, stdout=subprocess.PIPE, text=True)
            if done.returncode:
                sys.exit(f"{' '.join(command)}: exit code {done.returncode}")
            return done.stdout.strip()

        run([sys.executable, "-c", PYTHON, NAME], theirs)
        run([*args.command, NAME], ours)
        a, b = tree(ours), tree(theirs)
        for key in sorted(a.keys() | b.keys()):
            if a.get(key) != b.get(key):
                print(f"     {key}: {a.get(key)} here, {b.get(key)} in Python's")
        check(f"{len(a)} entries, the same in both caches", a == b)
        found = run([sys.executable, "-c", PYTHON, NAME, "offline"], ours)
        check("Python finds it without a network", found == os.path.join(ours, f"models--{NAME.replace('/', '--')}", "snapshots", COMMIT))
        requests.clear()
        run([*args.command, NAME], theirs)
        check("nothing of Python's is fetched again", all("/resolve/" not in path and "/store/" not in path for _, path in requests))
        requests.clear()
        run([sys.executable, "-c", PYTHON, NAME], ours)
        check("nothing of ours is fetched again by Python", all("/store/" not in path for _, path in requests))
    sys.exit(0 if ok else 1)


if __name__ == "__main__":
    main()
