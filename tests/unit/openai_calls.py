"""What the tests of the OpenAI model share: a request, and how to ask it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from maker.models.server.openai import OpenAIModel
from maker.testing import collect
from maker.types import Failed, Finished, Request

KEY = "sk-secret-0123456789"
Start = Callable[..., OpenAIModel]


def request(i: int = 1, **changes: Any) -> Request:
    return Request(i, "Rules. ", "Move?", 3, 100, 16, (), "move")._replace(**changes)


def ask(model: OpenAIModel, one: Request | None = None) -> Finished | Failed:
    model.submit([one or request()])
    return collect(model, 1)[0]
