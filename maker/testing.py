"""Real stand-ins for tests, ours and those of plugin authors. Nothing here is a mock of our own code."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Lock, Thread
from types import TracebackType
from typing import Any, NamedTuple

from maker.models.door import Model
from maker.types import Failed, Finished


class FakeReply(NamedTuple):
    """What a `FakeServer` sends back.

    Args:
        status: HTTP status.
        json: A JSON value; a string is sent as it is, whatever it holds.
        delay_s: Seconds before the reply.
        headers: Further headers.
    """

    status: int
    json: Any
    delay_s: float = 0.0
    headers: Mapping[str, str] = {}


class FakeRequest(NamedTuple):
    """What a `FakeServer` was sent. Header names are in lower case; ``at_s`` is `time.monotonic`."""

    path: str
    headers: Mapping[str, str]
    body: Any
    at_s: float


class FakeServer:
    """A scripted HTTP server on 127.0.0.1, for tests of what talks to an OpenAI-compatible server.

    A context manager::

        with FakeServer(lambda body: (200, completion(["A", "B"]))) as server:
            settings = OpenAISettings(url=server.url, name="m")

    Args:
        script: Called with each request's decoded body, in the thread that serves it; returns a `FakeReply` or a
            tuple of its first fields.
    """

    def __init__(self, script: Callable[[Any], FakeReply | tuple[Any, ...]]) -> None:
        self._script = script
        self._lock = Lock()
        self._requests: list[FakeRequest] = []
        self._closing = Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._thread = Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    @property
    def url(self) -> str:
        """Base URL, up to and including ``/v1``."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    @property
    def requests(self) -> list[FakeRequest]:
        """All requests so far, in order of arrival: a copy."""
        with self._lock:
            return list(self._requests)

    def __enter__(self) -> FakeServer:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _answer(self, request: FakeRequest) -> FakeReply:
        with self._lock:
            self._requests.append(request)
        reply = FakeReply(*self._script(request.body))
        self._closing.wait(reply.delay_s)
        return reply

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        answer = self._answer

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            # Head and body leave in two writes: without this the second waits 40 ms for the first one's receipt.
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                raw = self.rfile.read(int(self.headers.get("content-length", 0)))
                headers = {name.lower(): value for name, value in self.headers.items()}
                reply = answer(FakeRequest(self.path, headers, json.loads(raw), time.monotonic()))
                content = (reply.json if isinstance(reply.json, str) else json.dumps(reply.json)).encode()
                try:
                    self.send_response(reply.status)
                    for name, value in {"Content-Type": "application/json", **reply.headers}.items():
                        self.send_header(name, value)
                    self.send_header("Content-Length", str(len(content)))
                    self.end_headers()
                    self.wfile.write(content)
                except (BrokenPipeError, ConnectionResetError):
                    self.close_connection = True

            def log_message(self, format: str, *args: Any) -> None:
                """Keep quiet."""

        return Handler


def collect(model: Model, n: int, *, within_s: float = 10.0) -> list[Finished | Failed]:
    """Poll until n answers are in, and return them in order of arrival.

    Raises:
        TimeoutError: Fewer came within ``within_s`` seconds.
    """
    answers: list[Finished | Failed] = []
    deadline = time.monotonic() + within_s
    while len(answers) < n:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{len(answers)} of {n} answers within {within_s:g} s")
        answers += model.poll(0.5)
    return answers


def completion(texts: list[str], *, finish: str = "stop", prompt_tokens: int = 7, tokens: int = 5) -> dict[str, Any]:
    """Return the body of a ``/completions`` reply: a choice per text, ``tokens`` completion tokens each."""
    choices = [{"index": i, "text": text, "finish_reason": finish} for i, text in enumerate(texts)]
    usage = {"prompt_tokens": prompt_tokens, "completion_tokens": tokens * len(texts)}
    return {"choices": choices, "usage": usage}


def chat_completion(texts: list[str | None], *, finish: str = "stop") -> dict[str, Any]:
    """Return the body of a ``/chat/completions`` reply: a choice per text, 7 prompt and 5 completion tokens each."""
    choices = [
        {"index": i, "message": {"role": "assistant", "content": text}, "finish_reason": finish}
        for i, text in enumerate(texts)
    ]
    return {"choices": choices, "usage": {"prompt_tokens": 7, "completion_tokens": 5 * len(texts)}}
