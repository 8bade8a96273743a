"""A proxy before an S3 server that goes wrong as asked: errors 503, cut connections, halves, answers that are lost."""

import http.client
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

Rule = Callable[[str, str], str | None]
"""Method and path of a request -> a fault, or None for none."""

FAULTS = ("busy", "reset", "half_request", "half_answer", "lost_answer")


class Proxy:
    """The server at `address`, with the faults of `rule`; `fired` counts those that happened."""

    def __init__(self, target: str, rule: Rule = lambda method, path: None):
        self.rule, self.fired, self.requests = rule, Counter[str](), Counter[str]()
        self._lock = threading.Lock()
        proxy, netloc = self, urlsplit(target).netloc

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one_request(self) -> None:
                try:
                    super().handle_one_request()
                except OSError:  # the client has gone
                    self.close_connection = True

            def do_GET(self) -> None:
                fault = proxy._next(self.command, self.path)
                body = self._body(half=fault == "half_request")
                if fault in ("reset", "half_request"):
                    self._cut()
                    return
                if fault == "busy":
                    self._answer(503, {}, b"<Error><Code>SlowDown</Code><Message>Please wait.</Message></Error>")
                    return
                status, headers, content = self._forwarded(netloc, body)
                if fault == "lost_answer":
                    self._cut()
                elif fault == "half_answer" and self.command == "GET":
                    self._answer(status, headers, content[: len(content) // 2], promised=len(content))
                    self._cut()
                else:
                    self._answer(status, headers, content)

            do_PUT = do_POST = do_DELETE = do_HEAD = do_GET  # noqa: N815 - names that the base class looks up

            def _body(self, half: bool) -> bytes:
                if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
                    parts = []
                    while size := int(self.rfile.readline().split(b";")[0], 16):
                        parts.append(self.rfile.read(size))
                        self.rfile.readline()
                    self.rfile.readline()
                    return b"".join(parts)
                size = int(self.headers.get("Content-Length") or 0)
                return self.rfile.read(size // 2 if half else size)

            def _forwarded(self, netloc: str, body: bytes) -> tuple[int, dict[str, str], bytes]:
                connection = http.client.HTTPConnection(netloc, timeout=20)
                headers = {k: v for k, v in self.headers.items() if k.lower() not in ("transfer-encoding", "expect")}
                headers["Content-Length"] = str(len(body))
                try:
                    connection.request(self.command, self.path, body, headers)
                    answer = connection.getresponse()
                    return answer.status, dict(answer.getheaders()), answer.read()
                finally:
                    connection.close()

            def _answer(self, status: int, headers: dict[str, str], content: bytes, promised: int = -1) -> None:
                self.send_response(status)
                length = headers.get("Content-Length") if self.command == "HEAD" else None
                for name, value in headers.items():
                    if name.lower() not in ("content-length", "transfer-encoding", "connection", "date", "server"):
                        self.send_header(name, value)
                self.send_header("Content-Length", length or str(len(content) if promised < 0 else promised))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(content)
                self.wfile.flush()

            def _cut(self) -> None:
                at_once = struct.pack("ii", 1, 0)  # with data unread the client sees a reset
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, at_once)
                self.close_connection = True

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def _next(self, method: str, path: str) -> str | None:
        with self._lock:
            self.requests[method] += 1
            fault = self.rule(method, path)
            if fault:
                self.fired[fault] += 1
            return fault

    def close(self) -> None:
        """End the server."""
        self._server.shutdown()
        self._server.server_close()


@contextmanager
def before(target: str) -> Iterator[Proxy]:
    """A proxy before a server; set its `rule` at any time."""
    proxy = Proxy(target)
    try:
        yield proxy
    finally:
        proxy.close()
