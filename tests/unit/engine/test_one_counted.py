"""Limits hold with a server that counts the tokens of one reply where a request brings several."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from decomposers.hanoi.oracle import move_truth
from maker import api
from maker.testing import FakeReply, FakeServer, completion

PROMPT_TOKENS, REPLY_TOKENS = 7, 3


@pytest.mark.parametrize(
    ("n", "limit"), [*((n, {"max_tokens": 800}) for n in range(2, 9)), (3, {"max_cost": 800e-6})], ids=str
)
def test_no_more_is_spent_than_the_limit(hanoi: Callable[..., Any], n: int, limit: dict[str, Any]) -> None:
    """What the server has made, counted by hand, is within the limit, and no more than what the run has counted."""
    made = 0

    def script(body: Any) -> FakeReply:
        nonlocal made
        made += PROMPT_TOKENS + REPLY_TOKENS * body.get("n", 1)
        usage = {"prompt_tokens": PROMPT_TOKENS, "completion_tokens": REPLY_TOKENS}
        return FakeReply(200, completion(list(move_truth(body["prompt"]).right) * body.get("n", 1)) | {"usage": usage})

    prices = {"prompt_price": 1.0, "completion_price": 1.0}
    with FakeServer(script) as server:
        model = {"kind": "openai", "url": server.url, "name": "m", "chat": False, **prices}
        found = api.run(hanoi(6) | {"model": model, "vote": {"k": n}, "limits": limit})
    assert found.status == "paused"
    counted = found.prompt_tokens + found.completion_tokens
    assert 0 < made <= counted <= 800
