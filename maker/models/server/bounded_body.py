"""Read a reply's body within a bound, packed and unpacked: a server may send gigabytes. Pure: no network."""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterable

from maker.models.server_settings import ServerSettings
from maker.types import Request

ENCODING = "gzip"
"""The packing that a server may use. Others cannot all be unpacked within a bound."""

FLOOR_BYTES = 1 << 20
"""Any reply may take this: an error page, what a server tells of itself, reasoning beyond ``max_tokens``."""

TOKEN_BYTES = 64
"""Room for a token. Common tokenizers have few longer ones, and escaped as JSON an emoji takes 12 bytes."""

LOGPROB_BYTES = 512
"""Room for a token where log-probabilities are asked for; an entry takes about 100 bytes."""

_GZIP_WINDOW = 16 + zlib.MAX_WBITS


class Unfit(ValueError):
    """The body is larger than what was asked for can take, or packed in another way than it says or than was asked."""


def most_bytes(request: Request, settings: ServerSettings) -> int:
    """Return how many bytes the reply to a request may take, packed and unpacked."""
    of_token = LOGPROB_BYTES if getattr(settings, "logprobs", False) else TOKEN_BYTES
    return FLOOR_BYTES + request.n * request.max_tokens * of_token


async def read_body(chunks: AsyncIterable[bytes], encoding: str, most: int) -> bytes:
    """Return a body, unpacked.

    Args:
        chunks: The body as it comes in.
        encoding: Its Content-Encoding, "" for none.
        most: Bytes that it may take, before and after it is unpacked.

    Raises:
        Unfit: It takes more, or its packing is another one than `ENCODING`, or is damaged.
    """
    encoding = encoding.strip().lower()
    if encoding not in ("", "identity", ENCODING):
        raise Unfit(f"its body is packed as {encoding[:40]!r}, which was not asked for")
    unpacker = zlib.decompressobj(_GZIP_WINDOW) if encoding == ENCODING else None
    packed, body = 0, bytearray()
    async for chunk in chunks:
        packed += len(chunk)
        if unpacker is None:
            body += chunk
        else:
            _unpack(unpacker, chunk, body, most)
        if max(packed, len(body)) > most:
            raise Unfit(f"its body takes more than {most:,} bytes, which no reply to this request can need")
    if unpacker is not None and packed and not unpacker.eof:
        raise Unfit("its body ends within its gzip packing")
    return bytes(body)


def _unpack(unpacker: zlib._Decompress, chunk: bytes, body: bytearray, most: int) -> None:
    """Add what a chunk unpacks to, up to one byte more than ``most`` in all."""
    while chunk and len(body) <= most and not unpacker.eof:
        try:
            body += unpacker.decompress(chunk, most + 1 - len(body))
        except zlib.error as error:
            raise Unfit(f"its body is not gzip: {error}") from error
        chunk = unpacker.unconsumed_tail
