"""An HTTP server on 127.0.0.1 within a test's process: what every stand-in of this package listens and answers with."""

from __future__ import annotations

import json
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from types import TracebackType
from typing import Any, NamedTuple, Self


class FakeReply(NamedTuple):
    """What a `FakeServer` sends back.

    Args:
        status: HTTP status.
        json: A JSON value; a string, and bytes, are sent as they are, whatever they hold.
        delay_s: Seconds before the reply.
        headers: Further headers.
        cut: How many bytes of the body are sent before the connection is closed; -1 closes it without a word. By
            default all of it is sent, and the connection is kept.
    """

    status: int
    json: Any
    delay_s: float = 0.0
    headers: Mapping[str, str] = {}
    cut: int | None = None

    def content(self) -> bytes:
        """Return the bytes of the whole body."""
        if isinstance(self.json, bytes):
            return self.json
        return (self.json if isinstance(self.json, str) else json.dumps(self.json)).encode()


class _Listener(ThreadingHTTPServer):
    """Serves each connection in a thread of its own."""

    daemon_threads = True
    # With socketserver's own 5, connections are reset where many are made at once.
    request_queue_size = 1024

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a client that is gone: such are what it is for."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class LocalServer(ABC):
    """Listens on a free port of 127.0.0.1 from the start, and serves within its context."""

    def __init__(self) -> None:
        self._closing = Event()
        self._server = _Listener(("127.0.0.1", 0), self._handler())
        self._thread = Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    @property
    def url(self) -> str:
        """Base URL, up to and including ``/v1``."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @abstractmethod
    def _received(self, method: str, path: str, headers: Mapping[str, str], raw: bytes) -> FakeReply:
        """Return the reply to a request, in the thread that serves it. Header names are in lower case."""

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        received, closing = self._received, self._closing

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            # Head and body leave in two writes: without this the second waits 40 ms for the first one's receipt.
            disable_nagle_algorithm = True

            def do_GET(self) -> None:
                self._answer("GET")

            def do_POST(self) -> None:
                self._answer("POST")

            def _answer(self, method: str) -> None:
                length = int(self.headers.get("content-length", 0))
                raw = self.rfile.read(length)
                if len(raw) < length:  # the client has given up while it sent
                    self.close_connection = True
                    return
                headers = {name.lower(): value for name, value in self.headers.items()}
                reply = received(method, self.path, headers, raw)
                closing.wait(reply.delay_s)
                if reply.cut is not None:
                    self.close_connection = True
                    if reply.cut < 0:
                        return
                try:
                    self._send(reply, reply.content())
                except (BrokenPipeError, ConnectionResetError):
                    self.close_connection = True

            def _send(self, reply: FakeReply, content: bytes) -> None:
                self.send_response(reply.status)
                for name, value in {"Content-Type": "application/json", **reply.headers}.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content[: reply.cut])

            def log_message(self, format: str, *args: Any) -> None:
                """Keep quiet."""

        return Handler
