"""The bound on a reply's body, packed and unpacked."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import tracemalloc
from collections.abc import AsyncIterator, Iterable, Iterator
from itertools import repeat

import pytest
from openai_calls import request

from maker.models.server.bounded_body import FLOOR_BYTES, LOGPROB_BYTES, TOKEN_BYTES, Unfit, most_bytes, read_body
from maker.models.settings import OpenAISettings

MOST = 1 << 20


def body_of(chunks: Iterable[bytes], encoding: str = "", most: int = MOST) -> bytes:
    """Return the body that comes in these chunks."""

    async def sent() -> AsyncIterator[bytes]:
        for chunk in chunks:
            yield chunk

    return asyncio.run(read_body(sent(), encoding, most))


def pieces(whole: bytes, size: int) -> Iterator[bytes]:
    """Yield a body in chunks."""
    return (whole[at : at + size] for at in range(0, len(whole), size))


@pytest.mark.parametrize("size", [1, 7, 1 << 16])
@pytest.mark.parametrize("encoding", ["", "identity", "gzip", " GZIP "])
def test_a_body_comes_out_as_it_was(size: int, encoding: str) -> None:
    whole = json.dumps({"text": "é" * 5000}).encode()
    sent = gzip.compress(whole) if "gzip" in encoding.lower() else whole
    assert body_of(pieces(sent, size), encoding) == whole


def test_what_comes_after_the_packed_body_is_ignored() -> None:
    assert body_of([gzip.compress(b"yes") + b"\0\0"], "gzip") == b"yes"


def test_no_body_is_no_body() -> None:
    assert body_of([], "gzip") == body_of([]) == b""


@pytest.mark.parametrize(("size", "fits"), [(MOST, True), (MOST + 1, False)])
@pytest.mark.parametrize("encoding", ["", "gzip"])
def test_the_bound_is_exact_packed_or_not(size: int, *, fits: bool, encoding: str) -> None:
    whole = b" " * size
    sent = gzip.compress(whole) if encoding else whole
    if fits:
        assert len(body_of([sent], encoding)) == size
        return
    with pytest.raises(Unfit, match="takes more than 1,048,576 bytes"):
        body_of([sent], encoding)


@pytest.mark.parametrize("encoding", ["", "gzip"])
def test_an_endless_body_is_given_up_at_the_bound(encoding: str) -> None:
    """Noise does not pack: the bound holds for what is on the wire too."""
    with pytest.raises(Unfit):
        body_of(repeat(gzip.compress(os.urandom(1 << 16), 1) if encoding else b" " * (1 << 16)), encoding)


def test_a_bomb_takes_no_more_memory_than_the_bound() -> None:
    """256 MiB in 255 KiB."""
    bomb = gzip.compress(bytes(1 << 28), 9)
    tracemalloc.start()
    with pytest.raises(Unfit):
        body_of([bomb], "gzip")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 * MOST


@pytest.mark.parametrize(
    ("sent", "encoding", "why"),
    [
        (b"not gzip at all", "gzip", "is not gzip"),
        pytest.param(gzip.compress(b"yes", mtime=0)[:-9], "gzip", "ends within its gzip packing", id="cut off"),
        (b"yes", "deflate", "packed as 'deflate', which was not asked for"),
        (b"yes", "gzip, gzip", "packed as 'gzip, gzip'"),
    ],
)
def test_what_is_not_packed_as_it_was_asked_for_is_refused(sent: bytes, encoding: str, why: str) -> None:
    with pytest.raises(Unfit, match=why):
        body_of([sent], encoding)


def test_the_bound_grows_with_what_is_asked_for() -> None:
    settings = OpenAISettings(url="http://x/v1", name="m")
    asked = request(n=8, max_tokens=1000)
    assert most_bytes(asked, settings) == FLOOR_BYTES + 8000 * TOKEN_BYTES
    more = settings.model_copy(update={"logprobs": True})
    assert most_bytes(asked, more) == FLOOR_BYTES + 8000 * LOGPROB_BYTES
