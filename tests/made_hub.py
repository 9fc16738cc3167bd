"""A stand-in of the Hugging Face hub on 127.0.0.1, with faults on demand."""

import base64
import hashlib
import json
import re
import socket
import threading
from collections import Counter
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlparse

BOT = "SFconvertbot"
TOKEN = "hf_reader"  # whoever has it may read what is gated or private
WRITER = "hf_writer"  # whoever has it may write too, as the owner of lab/


class Hub(ThreadingHTTPServer):
    """Serves repositories that are held in memory.

    `faults` of a repository: gated, private; busy: answers 429 so many times; status: {file: code}; closed: files whose
    connection is closed before an answer; cut: {file: so many bytes, then the connection breaks, once}; slow: {file:
    bytes a second}; changed: somebody else commits before each commit.

    A Space's name begins with spaces/. `wrong` is what the hub says of every card, if it says something.
    """

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server_address[1]}"
        self.files, self.refs, self.history, self.pulls, self.faults = {}, {}, {}, {}, {}
        self.requests, self.struck, self.stopped = [], Counter(), False
        self.large, self.wrong = {}, None
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def add(self, name, folder, revision="main", parent=None):
        """Let a revision point to a new commit with a folder's files, and return it."""
        files = {path.name: path.read_bytes() for path in sorted(Path(folder).iterdir()) if path.is_file()}
        return self.commit(name, files, revision, parent)

    def commit(self, name, files, revision="main", parent=None):
        """Let a revision point to a new commit with files, bytes by path, and return it."""
        before = parent or self.refs.get((name, revision))
        commit = hashlib.sha1(f"{name} {revision} {before} {sorted(files)}".encode()).hexdigest()
        self.files[name, commit] = files
        self.refs[name, revision] = commit
        self.history[name, revision] = [commit, *([before] if before else [])]
        return commit

    def pull(self, name, number, folder, author=BOT, parent=None):
        """Open a pull request upon main, or upon another commit, and return its commit."""
        self.pulls.setdefault(name, []).insert(0, {"num": number, "author": {"name": author}})
        return self.add(name, folder, f"refs/pr/{number}", parent or self.refs[name, "main"])

    def stop(self):
        """Answer no more, on connections that are open either."""
        self.stopped = True
        self.shutdown()
        self.server_close()

    def strikes(self, *key, times):
        self.struck[key] += 1
        return self.struck[key] <= times


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self.answer()

    def do_GET(self):
        self.answer()

    def do_POST(self):
        self.take(self.rfile.read(int(self.headers.get("Content-Length") or 0)))

    def do_PUT(self):
        self.do_POST()

    def answer(self):
        hub, address = self.server, urlparse(self.path)
        if hub.stopped:
            return self.hang_up()
        path, query = unquote(address.path), parse_qs(address.query)
        hub.requests.append(f"{self.command} {path}")
        file = re.match(r"/([^/]+/[^/]+)/resolve/(refs/pr/\d+|[^/]+)/(.+)", path)
        api = re.match(r"/api/(?:models/)?((?:spaces/)?[^/]+/[^/]+)/?([^/]*)/?(refs/pr/\d+|[^/]*)", path)
        if not (file or api):
            return self.say(404, {})
        name, faults = (file or api)[1], hub.faults.get((file or api)[1], {})
        has_access = self.headers.get("Authorization") in (f"Bearer {TOKEN}", f"Bearer {WRITER}")
        if (name, "main") not in hub.refs or (faults.get("private") and not has_access):
            return self.refuse(401, "RepoNotFound")
        if hub.strikes(name, "busy", times=faults.get("busy", 0)):
            return self.say(429, {}, {"Retry-After": "0"})
        revision = file[2] if file else api[3] or "main"
        commit = hub.refs.get((name, revision), revision)
        what = None if file else api[2]
        if what == "discussions":
            pulls = [
                {"title": "Adding `safetensors`", "createdAt": "2023-01-01T00:00:00.000Z", "status": "open",
                 "repo": {"name": name, "type": "model"}, "isPullRequest": True, **pull}
                for pull in hub.pulls.get(name, [])
                if query.get("author", [pull["author"]["name"]]) == [pull["author"]["name"]]
            ]  # fmt: skip
            return self.say(200, {"count": len(pulls), "start": 0, "discussions": pulls})
        if (name, commit) not in hub.files:
            return self.refuse(404, "RevisionNotFound")
        files = hub.files[name, commit]
        if file:
            return self.send_file(name, commit, file[3], faults, has_access)
        if what == "tree":
            whole = "recursive" in query and query["recursive"] != ["false"]
            listed = [path for path in files if whole or "/" not in path]
            digests = {path: hashlib.sha1(files[path]).hexdigest() for path in listed}
            return self.say(
                200, [{"type": "file", "path": p, "size": len(files[p]), "oid": oid} for p, oid in digests.items()]
            )
        if what == "commits":
            entries = [{"id": c, "authors": [], "date": "2023-01-01T00:00:00.000Z", "title": "", "message": ""}
                       for c in hub.history.get((name, revision), [commit])]  # fmt: skip
            return self.say(200, entries)
        about = {"id": name, "sha": commit, "private": faults.get("private", False), "tags": []}
        return self.say(200, {**about, "siblings": [{"rfilename": p} for p in files]})

    def take(self, body):
        """Answer a request that changes something."""
        hub, path = self.server, unquote(urlparse(self.path).path)
        if hub.stopped:
            return self.hang_up()
        hub.requests.append(f"{self.command} {path}")
        if large := re.fullmatch(r"/large/(\w+)", path):
            hub.large[large[1]] = body
            return self.say(200, {})
        if path == "/api/validate-yaml":
            errors = [{"message": hub.wrong}] if hub.wrong else []
            return self.say(400 if errors else 200, {"errors": errors, "warnings": []})
        entries = [json.loads(line) for line in body.splitlines()]
        api = re.match(r"/api/(?:models/)?((?:spaces/)?[^/]+/[^/]+)/(\w+)/(.+)", path)
        batch = re.fullmatch(r"/(.+)\.git/info/lfs/objects/batch", path)
        if path == "/api/repos/create":
            kind = "spaces/" if entries[0].get("type") == "space" else ""
            name = f"{kind}{entries[0]['organization']}/{entries[0]['name']}"
        else:
            name = (api or batch)[1]
        token, owner = self.headers.get("Authorization"), name.removeprefix("spaces/").partition("/")[0]
        if token not in (f"Bearer {TOKEN}", f"Bearer {WRITER}"):
            return self.refuse(401, "InvalidToken")
        if owner == "nobody":
            return self.refuse(404, "NotFound")
        if token != f"Bearer {WRITER}" or owner != "lab":
            return self.refuse(403, "Forbidden")
        if hub.strikes(name, "busy", times=hub.faults.get(name, {}).get("busy", 0)):
            return self.say(429, {}, {"Retry-After": "0"})
        if path == "/api/repos/create":
            if (name, "main") in hub.refs:
                return self.say(409, {"error": "You already created this repo", "url": f"{hub.address}/{name}"})
            hub.commit(name, {".gitattributes": b"*.safetensors filter=lfs\n"})
            if entries[0].get("visibility") == "private" or entries[0].get("private"):
                hub.faults[name] = {"private": True}
            return self.say(200, {"url": f"{hub.address}/{name}"})
        if batch:
            objects = [
                {**each, "actions": {"upload": {"href": f"{hub.address}/large/{each['oid']}"}}}
                for each in entries[0]["objects"]
            ]
            return self.say(200, {"transfer": "basic", "objects": objects})
        what, revision = api[2], api[3]
        if what == "branch":
            hub.refs.setdefault((name, revision), hub.refs[name, "main"])
            return self.say(200, {})
        if what == "preupload":
            modes = [
                {"path": file["path"], "uploadMode": "lfs" if file["path"].endswith(".safetensors") else "regular"}
                for file in entries[0]["files"]
            ]
            return self.say(200, {"files": [{**mode, "shouldIgnore": False} for mode in modes]})
        if hub.faults.get(name, {}).get("changed"):
            hub.commit(name, {"other.txt": b""}, revision)
        return self.take_commit(name, revision, entries)

    def take_commit(self, name, revision, entries):
        hub = self.server
        before = hub.refs[name, revision]
        files = dict(hub.files[name, before])
        for entry in entries:
            value = entry["value"]
            if entry["key"] == "header" and value.get("parentCommit") not in (None, before):
                return self.refuse(412, "PreconditionFailed")
            if entry["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif entry["key"] == "lfsFile":
                files[value["path"]] = hub.large[value["oid"]]
            elif entry["key"] == "deletedFile":
                del files[value["path"]]
        commit = hub.commit(name, files, revision)
        return self.say(200, {"commitUrl": f"{hub.address}/{name}/commit/{commit}", "commitOid": commit})

    def send_file(self, name, commit, file, faults, has_access):
        hub = self.server
        if faults.get("gated") and not has_access:
            return self.refuse(401, "GatedRepo")
        if file in faults.get("closed", ()):
            return self.hang_up()
        if code := faults.get("status", {}).get(file):
            return self.say(code, {})
        if file not in hub.files[name, commit]:
            return self.refuse(404, "EntryNotFound", {"X-Repo-Commit": commit})
        data = hub.files[name, commit][file]
        byte_range = re.match(r"bytes=(\d+)-", self.headers.get("Range") or "")
        part = data[int(byte_range[1]) if byte_range else 0 :]
        self.send_response(206 if byte_range else 200)
        self.send_header("X-Repo-Commit", commit)
        self.send_header("ETag", f'"{hashlib.sha256(data).hexdigest()}"')
        self.send_header("Content-Length", str(len(part)))
        if byte_range:
            self.send_header("Content-Range", f"bytes {byte_range[1]}-{len(data) - 1}/{len(data)}")
        self.end_headers()
        if self.command == "HEAD":
            return None
        cut = faults.get("cut", {}).get(file)
        if cut and hub.strikes(name, file, "cut", times=1):
            self.wfile.write(part[:cut])
            return self.hang_up()
        step = faults.get("slow", {}).get(file, 20 * len(part) + 20) // 20
        with suppress(ConnectionError):  # whoever asked may have hung up
            for begin in range(0, len(part), step):
                self.wfile.write(part[begin : begin + step])
                if step < len(part):
                    threading.Event().wait(0.05)
        return None

    def say(self, code, content, headers=None):
        body = json.dumps(content).encode()
        self.send_response(code)
        for key, value in {
            "Content-Type": "application/json",
            "Content-Length": str(len(body)),
            **(headers or {}),
        }.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def refuse(self, code, kind, headers=None):
        self.say(code, {"error": kind}, {"X-Error-Code": kind, "X-Error-Message": kind, **(headers or {})})

    def hang_up(self):
        self.wfile.flush()
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)
