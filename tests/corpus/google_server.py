"""A small server of the part of Google Cloud Storage's JSON protocol that reading needs: `google_server.py FOLDER`.

It is a process of its own: pyarrow's client holds Python's lock while it waits.
"""

import json
import re
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

ROOT = Path(sys.argv[1]) if len(sys.argv) > 1 else Path()
TIME = "2024-05-01T10:00:00Z"


class Handler(BaseHTTPRequestHandler):
    """Lists the objects of the bucket `bucket`, tells of one, and reads one or a range of it."""

    def do_GET(self):
        parts = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        found = re.fullmatch(r"/storage/v1/b/bucket/o(?:/(?P<name>.+))?", parts.path)
        if found is None:
            return self._send(404, b"{}")
        if found["name"] is None:
            names = sorted(file.relative_to(ROOT).as_posix() for file in ROOT.rglob("*") if file.is_file())
            items = [self._facts(name) for name in names if name.startswith(query.get("prefix", ""))]
            return self._send(200, json.dumps({"kind": "storage#objects", "items": items}).encode())
        name = unquote(found["name"])
        if not (ROOT / name).is_file():
            return self._send(404, b'{"error": {"code": 404, "message": "not found"}}')
        if query.get("alt") != "media":
            return self._send(200, json.dumps(self._facts(name)).encode())
        data, asked = (ROOT / name).read_bytes(), re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if asked is None:
            return self._send(200, data)
        first, last = int(asked[1]), int(asked[2] or len(data) - 1)
        part = data[first : last + 1]
        return self._send(206, part, {"Content-Range": f"bytes {first}-{first + len(part) - 1}/{len(data)}"})

    def _facts(self, name):
        common = {"kind": "storage#object", "bucket": "bucket", "generation": "1", "metageneration": "1"}
        size = str((ROOT / name).stat().st_size)
        return {**common, "name": name, "size": size, "updated": TIME, "timeCreated": TIME}

    def _send(self, status, body, headers=None):
        self.send_response(status)
        for key, value in {"Content-Length": str(len(body)), "x-goog-generation": "1", **(headers or {})}.items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(server.server_address[1], flush=True)
    server.serve_forever()
