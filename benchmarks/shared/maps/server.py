"""An OpenAI-compatible server in a process of its own, whose errors are a pure function of a request's seed and prompt.

It knows the truth of `shared/tasks/parity.py` and of the Towers of Hanoi, and counts what it serves: ``GET /counted``
gives its count, ``POST /reset`` begins it anew. So what a run says that it was billed can be held against what
was billed.

    python -m benchmarks.shared.maps.server [--p 0.9] [--latency 0] [--slots 1000000]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from hashlib import blake2b
from struct import unpack
from typing import Any

from benchmarks.shared.tasks.parity import truth as parity_truth
from decomposers.hanoi.oracle import move_truth

_SCALE = 2**-32


class Count:
    """What was served: requests, samples and tokens, and of which how much was asked a second time.

    ``busy_s`` adds up how long each request held its slot, ``first_s`` and ``last_s`` are when the first came in and
    the last was answered.
    """

    def __init__(self) -> None:
        self.served = {"requests": 0, "calls": 0, "prompt_tokens": 0, "completion_tokens": 0}
        self.once = dict(self.served)
        self.busy_s = self.first_s = self.last_s = 0.0
        self._seen: set[bytes] = set()

    def take(self, key: bytes, usage: dict[str, int]) -> None:
        """Count a request that was answered; ``key`` tells it from any other."""
        again = key in self._seen
        self._seen.add(key)
        for name, n in usage.items():
            self.served[name] += n
            self.once[name] += 0 if again else n

    def to_json(self) -> dict[str, Any]:
        """Return the count."""
        times = {"busy_s": self.busy_s, "first_s": self.first_s, "last_s": self.last_s}
        return {"served": self.served, "once": self.once, **times}


class Server:
    """Answers completions.

    Args:
        p: The probability that a sample is right.
        latency_s: How long an answer takes.
        slots: How many requests are answered at a time; the others wait.
    """

    def __init__(self, p: float, latency_s: float, slots: int) -> None:
        self.count = Count()
        self._p = p
        self._latency_s = latency_s
        self._slots = asyncio.Semaphore(slots)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection until it is closed."""
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
                length = next((int(line[15:]) for line in head.split("\r\n") if line.startswith("content-length:")), 0)
                body = await reader.readexactly(length)
                content = json.dumps(await self._answer(head.split(" ")[1], body)).encode()
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n")
                writer.write(b"content-length: %d\r\n\r\n" % len(content) + content)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async def _answer(self, path: str, body: bytes) -> Any:
        if path == "/counted":
            return self.count.to_json()
        if path == "/reset":
            self.count = Count()
            return {}
        count, asked = self.count, json.loads(body)
        count.first_s = count.first_s or time.monotonic()
        async with self._slots:
            began = time.monotonic()
            if self._latency_s:
                await asyncio.sleep(self._latency_s)
            count.last_s = time.monotonic()
            count.busy_s += count.last_s - began
        prompt, n = asked["prompt"], asked["n"]
        texts = [self.sample(prompt, asked["seed"] + i) for i in range(n)]
        usage = {"prompt_tokens": len(prompt), "completion_tokens": sum(map(len, texts)) + n}
        count.take(blake2b(body, digest_size=12).digest(), {"requests": 1, "calls": n, **usage})
        choices = [{"index": i, "text": text, "finish_reason": "stop"} for i, text in enumerate(texts)]
        return {"choices": choices, "usage": usage}

    def sample(self, prompt: str, seed: int) -> str:
        """Return the reply that a seed draws."""
        digest = blake2b(f"{seed} {prompt}".encode(), digest_size=8, person=b"map_server").digest()
        luck, pick = unpack("<II", digest)
        found = parity_truth(prompt) if prompt.startswith("Is ") else move_truth(prompt)
        replies = found.right if luck * _SCALE < self._p or not found.wrong else found.wrong
        return str(replies[pick % len(replies)])


async def main() -> None:
    """Print the address and serve until killed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--p", type=float, default=0.9)
    parser.add_argument("--latency", type=float, default=0.0, help="seconds that an answer takes")
    parser.add_argument("--slots", type=int, default=1_000_000, help="requests that are answered at a time")
    options = parser.parse_args()
    server = await asyncio.start_server(Server(options.p, options.latency, options.slots).serve, "127.0.0.1", 0)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
