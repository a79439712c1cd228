"""An OpenAI-compatible server in a process of its own that draws few samples at a time, each in a given time.

Requests are served in order of arrival, and what clients ask for that have gone is not drawn. ``GET /counted`` gives
what it has counted. After ``--after`` samples it changes: a sample takes ``--then`` seconds, or for ``--silent``
seconds none is drawn, or for ``--down`` seconds it closes every connection.

    python -m benchmarks.shared.slow_http --sample 0.2 [--slots 1] [--most 2] [--after 150 --then 1]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from typing import Any

REPLY = '{"tone": "positive"}'
LIMITED = {"error": {"message": "too many requests"}}


class SlowServer:
    """Draws samples, and counts them: those of whole replies, and those that nobody waited for any more."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._slots = asyncio.Semaphore(options.slots)
        self._inside = 0
        self._changed_s: float | None = None
        self.counted = {"requests": 0, "calls": 0, "wasted": 0, "refused": 0, "most_at_once": 0}

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection until it is closed."""
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
                length = next((int(line[15:]) for line in head.split("\r\n") if line.startswith("content-length:")), 0)
                body = await reader.readexactly(length)
                if head.startswith("get "):
                    status, answer = "200 OK", dict(self.counted)
                else:
                    status, answer = await self._answered(json.loads(body), reader)
                content = json.dumps(answer).encode()
                writer.write(f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\nretry-after: 1\r\n".encode())
                writer.write(b"content-length: %d\r\n\r\n" % len(content) + content)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _answered(self, body: dict[str, Any], reader: asyncio.StreamReader) -> tuple[str, dict[str, Any]]:
        self.counted["requests"] += 1
        if self._since_change_s() < self._options.down:
            raise ConnectionError
        if self._inside >= self._options.most:
            self.counted["refused"] += 1
            return "429 Too Many Requests", LIMITED
        self._inside += 1
        self.counted["most_at_once"] = max(self.counted["most_at_once"], self._inside)
        try:
            async with self._slots:
                return "200 OK", await self._drawn(body, reader)
        finally:
            self._inside -= 1

    async def _drawn(self, body: dict[str, Any], reader: asyncio.StreamReader) -> dict[str, Any]:
        n = body.get("n", 1)
        for drawn in range(n):
            if reader.at_eof():
                self.counted["wasted"] += drawn
                raise ConnectionError
            await asyncio.sleep(self._sample_s())
        self.counted["calls"] += n
        if self._changed_s is None and self.counted["calls"] >= self._options.after:
            self._changed_s = time.monotonic()
        message = {"role": "assistant", "content": REPLY}
        choices = [{"index": i, "finish_reason": "stop", "message": message} for i in range(n)]
        return {
            "model": body["model"],
            "choices": choices,
            "usage": {"prompt_tokens": 20, "completion_tokens": 6 * n},
        }

    def _since_change_s(self) -> float:
        return float("inf") if self._changed_s is None else time.monotonic() - self._changed_s

    def _sample_s(self) -> float:
        """Return how long a sample takes that is begun now."""
        silent_s: float = self._options.silent - self._since_change_s()
        then: float | None = self._options.then
        sample_s: float = self._options.sample if self._changed_s is None or then is None else then
        return sample_s + max(0.0, silent_s)


async def main() -> None:
    """Serve on a free port of 127.0.0.1 until killed; its address is printed first."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sample", type=float, required=True, help="seconds a sample")
    parser.add_argument("--slots", type=int, default=1, help="requests served at a time; the others wait")
    parser.add_argument("--most", type=int, default=10**9, help="requests at a time beyond which it answers HTTP 429")
    parser.add_argument("--after", type=int, default=10**9, help="samples after which it changes")
    parser.add_argument("--then", type=float, help="seconds a sample from then on")
    parser.add_argument("--silent", type=float, default=0.0, help="for so many seconds from then on it draws nothing")
    parser.add_argument("--down", type=float, default=0.0, help="for so many seconds it closes every connection")
    server = await asyncio.start_server(SlowServer(parser.parse_args()).serve, "127.0.0.1", 0, backlog=1024)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", flush=True)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
