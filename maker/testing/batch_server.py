"""A stand-in for a provider of batches: files, batches, limits, expiry, failures line by line, and a bill."""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from threading import Lock
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

from maker.testing.local_server import FakeReply, LocalServer
from maker.testing.servers import chat_completion

SHARE_DONE = 0.5
"""How many of its requests a batch answers that does not come to its end."""
_WORKING = ("in_progress", "cancelling")


class LineError(NamedTuple):
    """What a `BatchServer` says of a request instead of answering it: an HTTP status and its words."""

    status: int
    message: str


class BatchBill(NamedTuple):
    """What a `BatchServer` has answered so far.

    ``batches`` were created, ``requests`` answered, with so many ``calls``. ``refused`` requests got an error,
    ``unasked`` ones none before their batch was over. ``twice`` counts requests that were answered more than once.
    """

    batches: int = 0
    requests: int = 0
    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    refused: int = 0
    unasked: int = 0
    twice: int = 0


@dataclass(slots=True)
class _Batch:
    """A batch: what was asked, how it ends, and what came of it."""

    number: int
    told: Mapping[str, Any]
    lines: list[dict[str, Any]]
    ends: str
    created_s: float
    created_at: float
    status: str = "in_progress"
    output: bytes = b""
    errors: bytes = b""
    problems: list[dict[str, Any]] = field(default_factory=list)
    answered: int = 0

    @property
    def id(self) -> str:
        return f"batch_{self.number:06d}"


class _Refused(Exception):
    """The server refuses a call."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message


class _Cut(Exception):
    """The connection ends without a word."""


class BatchServer(LocalServer):
    """A provider of batches on 127.0.0.1, with OpenAI's interface; it answers single requests too.

    A context manager::

        with BatchServer(lambda prompt, seed: "yes") as server:
            settings = OpenAISettings(url=server.url, name="m", batch=True)

    A prompt has a token for each character, a reply too, and one for its end. Results come in another order than the
    requests. A batch is worked on when somebody looks at it, once it is old enough.

    Args:
        answer: Makes a reply from a prompt, system part first, and the seed of one sample.
        key: What it takes for its key; "" for any.
        rights: Whether the key may upload files and create batches.
        takes_s: How long a batch takes.
        ends: Says how batch number N ends, from 1: ``completed``, ``expired``, ``cancelled`` or ``failed``. Of one that
            expires or is cancelled half is answered. One that somebody cancels is over when it is looked at next.
        error: Says what is wrong with a prompt, by the number of times that it was asked before; None for nothing.
        problems: Returns what is wrong with the lines of a batch that is refused as a whole.
        most_requests: Most requests of a batch.
        most_bytes: Most bytes of a file.
        loses: Says whether the reply that names batch number N is cut off.
        seen: Told of each call, as ``POST batches``, and how many of its kind there were, when it is done and before it
            is answered.
        counts_n: Whether it knows ``n``; else it answers with one choice.
        seed: Of the order of results.
    """

    def __init__(
        self,
        answer: Callable[[str, int], str],
        *,
        key: str = "",
        rights: bool = True,
        takes_s: float = 0.0,
        ends: Callable[[int], str] = lambda number: "completed",
        error: Callable[[str, int], LineError | None] = lambda prompt, times: None,
        problems: Callable[[int, list[dict[str, Any]]], list[dict[str, Any]]] = lambda number, lines: [],
        most_requests: int = 50_000,
        most_bytes: int = 200_000_000,
        loses: Callable[[int], bool] = lambda number: False,
        seen: Callable[[str, int], None] = lambda call, number: None,
        counts_n: bool = True,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self._answer = answer
        self._key = key
        self._rights = rights
        self._takes_s = takes_s
        self._ends = ends
        self._error = error
        self._problems = problems
        self._most_requests = most_requests
        self._most_bytes = most_bytes
        self._loses = loses
        self._seen = seen
        self._counts_n = counts_n
        self._random = random.Random(seed)
        self._lock = Lock()
        self._files: dict[str, bytes] = {}
        self._batches: list[_Batch] = []
        self._asked: Counter[str] = Counter()
        self._answered: Counter[str] = Counter()
        self._draws: Counter[str] = Counter()
        self._bill = BatchBill()
        self._live = BatchBill()
        self.calls: Counter[str] = Counter()
        """How often each kind of call has come, by its method and path without ids."""

    @property
    def bill(self) -> BatchBill:
        """What batches have brought so far."""
        with self._lock:
            twice = sum(times - 1 for times in self._answered.values() if times > 1)
            return self._bill._replace(batches=len(self._batches), twice=twice)

    @property
    def live(self) -> BatchBill:
        """What single requests have brought so far."""
        with self._lock:
            return self._live

    @property
    def sizes(self) -> list[int]:
        """How many requests each batch had that was created, in order."""
        with self._lock:
            return [len(batch.lines) for batch in self._batches]

    def forget(self, number: int) -> None:
        """Delete the results of batch number N, as providers do after some weeks."""
        with self._lock:
            batch = self._batches[number - 1]
            for name in ("output", "error"):
                self._files.pop(f"{batch.id}-{name}", None)

    def _received(self, method: str, path: str, headers: Mapping[str, str], raw: bytes) -> FakeReply:
        kind = f"{method} {urlsplit(path).path.removeprefix('/v1/').partition('/')[0]}"
        try:
            with self._lock:
                self.calls[kind] += 1
                number = self.calls[kind]
                content = self._call(method, path, headers, raw)
            self._seen(kind, number)
        except _Refused as refused:
            return FakeReply(refused.status, {"error": {"message": refused.message}})
        except _Cut:
            return FakeReply(200, b"", cut=-1)
        return FakeReply(200, content)

    def _call(self, method: str, path: str, headers: Mapping[str, str], raw: bytes) -> bytes:
        """Return the body of the reply to a call."""
        parts, query = urlsplit(path).path.removeprefix("/v1/").split("/"), parse_qs(urlsplit(path).query)
        if self._key and headers.get("authorization") != f"Bearer {self._key}":
            raise _Refused(401, "Incorrect API key provided")
        if parts[0] in ("files", "batches") and not self._rights:
            raise _Refused(403, "You have insufficient permissions for this operation. Missing scopes: api.files.write")
        match method, parts:
            case "POST", ["chat", "completions"]:
                return self._single(json.loads(raw))
            case "POST", ["files"]:
                return self._upload(headers, raw)
            case "GET", ["files", file, "content"] if file in self._files:
                return self._files[file]
            case "POST", ["batches"]:
                return self._create(json.loads(raw))
            case "GET", ["batches"]:
                return self._listed(query)
            case ("GET", ["batches", batch_id]) | ("POST", ["batches", batch_id, "cancel"]):
                return self._one(method, batch_id)
        raise _Refused(404, f"nothing is at {path}")

    def _single(self, body: dict[str, Any]) -> bytes:
        reply, usage = self._drawn(body)
        self._live = _added(self._live, reply, usage)
        return json.dumps(reply).encode()

    def _upload(self, headers: Mapping[str, str], raw: bytes) -> bytes:
        content = _file_in(headers["content-type"], raw)
        if len(content) > self._most_bytes:
            raise _Refused(413, f"the file has {len(content)} bytes, and {self._most_bytes} are the most")
        file = f"file-{len(self._files) + 1:06d}"
        self._files[file] = content
        return json.dumps({"id": file, "object": "file", "bytes": len(content), "purpose": "batch"}).encode()

    def _create(self, told: Mapping[str, Any]) -> bytes:
        content = self._files.get(told["input_file_id"])
        if content is None:
            raise _Refused(400, f"no such file: {told['input_file_id']}")
        number, lines = len(self._batches) + 1, [json.loads(line) for line in content.splitlines()]
        batch = _Batch(number, told, lines, self._ends(number), time.monotonic(), time.time())
        if len(lines) > self._most_requests:
            problem = f"This batch has {len(lines)} requests, and {self._most_requests} are the most"
            batch.problems = [{"code": "too_many_requests", "message": problem, "line": None}]
        batch.problems += self._problems(number, lines)
        self._batches.append(batch)
        if self._loses(number):
            raise _Cut
        return json.dumps(self._shown(batch)).encode()

    def _listed(self, query: Mapping[str, list[str]]) -> bytes:
        newest = self._batches[::-1]
        if after := query.get("after"):
            newest = newest[[batch.id for batch in newest].index(after[0]) + 1 :]
        limit = int(query.get("limit", ["20"])[0])
        page = [self._shown(self._worked_on(batch)) for batch in newest[:limit]]
        return json.dumps({"object": "list", "data": page, "has_more": len(newest) > limit}).encode()

    def _found(self, batch_id: str) -> _Batch:
        for batch in self._batches:
            if batch.id == batch_id:
                return batch
        raise _Refused(404, f"no such batch: {batch_id}")

    def _shown(self, batch: _Batch) -> dict[str, Any]:
        done = {
            f"{name}_file_id": f"{batch.id}-{name}" if content else None
            for name, content in (("output", batch.output), ("error", batch.errors))
        }
        counts = {"total": len(batch.lines), "completed": batch.answered, "failed": batch.errors.count(b"\n")}
        return {
            "id": batch.id, "object": "batch", "endpoint": batch.told["endpoint"], "status": batch.status,
            "input_file_id": batch.told["input_file_id"], "metadata": batch.told.get("metadata"),
            "errors": {"object": "list", "data": batch.problems} if batch.problems else None,
            "request_counts": counts, **done,
        }  # fmt: skip

    def _one(self, method: str, batch_id: str) -> bytes:
        """Return how a batch stands, after it was cancelled or looked at."""
        change = self._cancelled if method == "POST" else self._worked_on
        return json.dumps(self._shown(change(self._found(batch_id)))).encode()

    def _cancelled(self, batch: _Batch) -> _Batch:
        if batch.status not in _WORKING:
            raise _Refused(409, f"Cannot cancel a batch with status '{batch.status}'.")
        batch.status, batch.ends, batch.created_s = "cancelling", "cancelled", float("-inf")
        return batch

    def _worked_on(self, batch: _Batch) -> _Batch:
        if batch.status not in _WORKING or time.monotonic() < batch.created_s + self._takes_s:
            return batch
        batch.status = "failed" if batch.problems else batch.ends
        if batch.status == "failed":
            return batch
        order = self._random.sample(batch.lines, len(batch.lines))
        done = len(order) if batch.status == "completed" else int(len(order) * SHARE_DONE)
        output, errors = bytearray(), bytearray()
        for line in order[:done]:
            answered, result = self._result(line)
            target = output if answered else errors
            target += json.dumps(result).encode() + b"\n"
            batch.answered += answered
        for line in order[done:]:
            errors += json.dumps(_unasked(line["custom_id"], batch.status)).encode() + b"\n"
        self._bill = self._bill._replace(unasked=self._bill.unasked + len(order) - done)
        batch.output, batch.errors = bytes(output), bytes(errors)
        self._files |= {f"{batch.id}-output": batch.output, f"{batch.id}-error": batch.errors}
        return batch

    def _result(self, line: dict[str, Any]) -> tuple[bool, dict[str, Any]]:
        body = self._body(line)
        prompt = _prompt(body)
        wrong = self._error(prompt, self._asked[prompt])
        self._asked[prompt] += 1
        if wrong is not None:
            self._bill = self._bill._replace(refused=self._bill.refused + 1)
            return False, _answered(
                line["custom_id"], wrong.status, {"error": {"message": wrong.message, "code": None}}
            )
        reply, usage = self._drawn(body)
        self._bill = _added(self._bill, reply, usage)
        # Batches differ in what stands before.
        self._answered["-".join(line["custom_id"].rsplit("-", 2)[1:])] += 1
        return True, _answered(line["custom_id"], 200, reply)

    def _body(self, line: Mapping[str, Any]) -> dict[str, Any]:
        body: dict[str, Any] = line["body"]
        return body

    def _drawn(self, body: dict[str, Any]) -> tuple[dict[str, Any], dict[str, int]]:
        prompt, n = _prompt(body), body.get("n", 1) if self._counts_n else 1
        texts = [self._answer(prompt, body["seed"] + i) for i in range(n)]
        usage = {"prompt_tokens": len(prompt), "completion_tokens": sum(map(len, texts)) + len(texts)}
        return chat_completion(list(texts)) | {"model": body["model"], "usage": usage}, usage


class MessageBatchServer(BatchServer):
    """The same with Anthropic's interface: no files, no metadata, no seeds, and other words for how a batch ends.

    ``answer`` is given in place of a seed how many replies a prompt has had before.
    """

    def _call(self, method: str, path: str, headers: Mapping[str, str], raw: bytes) -> bytes:
        parts, query = urlsplit(path).path.removeprefix("/v1/").split("/"), parse_qs(urlsplit(path).query)
        if (self._key and headers.get("x-api-key") != self._key) or "anthropic-version" not in headers:
            raise _Refused(401, "invalid x-api-key")
        if len(parts) > 1 and not self._rights:
            raise _Refused(403, "Your API key does not have permission to use the specified resource.")
        match method, parts:
            case "POST", ["messages"]:
                return self._single(json.loads(raw))
            case "POST", ["messages", "batches"]:
                return self._submitted(raw)
            case "GET", ["messages", "batches"]:
                return self._listed({"after" if name == "after_id" else name: words for name, words in query.items()})
            case ("GET", ["messages", "batches", batch_id]) | ("POST", ["messages", "batches", batch_id, "cancel"]):
                return self._one(method, batch_id)
            case "GET", ["messages", "batches", batch_id, "results"]:
                return self._results(self._found(batch_id))
        raise _Refused(404, f"nothing is at {path}")

    def _submitted(self, raw: bytes) -> bytes:
        if len(raw) > self._most_bytes:
            raise _Refused(413, f"Request exceeds the maximum size: {len(raw)} bytes")
        requests = json.loads(raw)["requests"]
        self._files["sent"] = b"".join(json.dumps(line).encode() + b"\n" for line in requests)
        return self._create({"input_file_id": "sent", "endpoint": ""})

    def _shown(self, batch: _Batch) -> dict[str, Any]:
        ended, total = batch.status not in _WORKING, len(batch.lines)
        names = ("processing", "succeeded", "errored", "canceled", "expired")
        counts = dict.fromkeys(names, 0) | {
            "processing": 0 if ended else total,
            "succeeded": batch.answered,
            "errored": total - batch.answered if ended else 0,
        }
        return {
            "id": batch.id.replace("batch", "msgbatch"), "type": "message_batch",
            "processing_status": "ended" if ended else batch.status.replace("ll", "l"), "request_counts": counts,
            "created_at": datetime.fromtimestamp(batch.created_at, UTC).isoformat(),
            "results_url": "https://elsewhere.example/results" if ended else None,
        }  # fmt: skip

    def _found(self, batch_id: str) -> _Batch:
        return super()._found(batch_id.replace("msgbatch", "batch"))

    def _results(self, batch: _Batch) -> bytes:
        lines = [json.loads(line) for line in (batch.output + batch.errors).splitlines()]
        return b"".join(json.dumps(_as_message_result(line)).encode() + b"\n" for line in lines)

    def _body(self, line: Mapping[str, Any]) -> dict[str, Any]:
        body: dict[str, Any] = line["params"]
        return body

    def _drawn(self, body: dict[str, Any]) -> tuple[dict[str, Any], dict[str, int]]:
        prompt = _prompt(body)
        text = self._answer(prompt, self._draws[prompt])
        self._draws[prompt] += 1
        usage = {"prompt_tokens": len(prompt), "completion_tokens": len(text) + 1}
        told = {"input_tokens": len(prompt), "output_tokens": len(text) + 1}
        content = [{"type": "text", "text": text}]
        reply = {"type": "message", "role": "assistant", "model": body["model"], "content": content, "usage": told}
        return reply | {"stop_reason": "end_turn"}, usage


def _as_message_result(line: Mapping[str, Any]) -> dict[str, Any]:
    """Return a line of OpenAI's results in Anthropic's words."""
    response, error = line["response"], line["error"]
    if response is None:
        kind = "canceled" if error["code"] == "batch_cancelled" else "expired"
        return {"custom_id": line["custom_id"], "result": {"type": kind}}
    if response["status_code"] == 200:
        return {"custom_id": line["custom_id"], "result": {"type": "succeeded", "message": response["body"]}}
    kind = "api_error" if response["status_code"] >= 500 else "invalid_request_error"
    told = {"type": "error", "error": {"type": kind, "message": response["body"]["error"]["message"]}}
    return {"custom_id": line["custom_id"], "result": {"type": "errored", "error": told}}


def _prompt(body: Mapping[str, Any]) -> str:
    return str(body.get("system", "")) + "".join(message["content"] for message in body["messages"])


def _answered(custom_id: str, status: int, body: Mapping[str, Any]) -> dict[str, Any]:
    return {"custom_id": custom_id, "error": None, "response": {"status_code": status, "body": body}}


def _unasked(custom_id: str, status: str) -> dict[str, Any]:
    words = f"This request could not be executed: the batch was {status}."
    return {"custom_id": custom_id, "response": None, "error": {"code": f"batch_{status}", "message": words}}


def _added(bill: BatchBill, reply: Mapping[str, Any], usage: Mapping[str, int]) -> BatchBill:
    return bill._replace(
        requests=bill.requests + 1,
        calls=bill.calls + len(reply.get("choices", [reply])),
        prompt_tokens=bill.prompt_tokens + usage["prompt_tokens"],
        completion_tokens=bill.completion_tokens + usage["completion_tokens"],
    )


def _file_in(content_type: str, raw: bytes) -> bytes:
    """Return the file of a multipart form."""
    boundary = b"--" + content_type.partition("boundary=")[2].encode()
    for part in _between(raw, boundary):
        head, _, content = part.partition(b"\r\n\r\n")
        if b'name="file"' in head:
            return content.removesuffix(b"\r\n")
    raise _Refused(400, "'file' is a required property")


def _between(raw: bytes, boundary: bytes) -> Iterator[bytes]:
    yield from raw.split(boundary)[1:-1]
