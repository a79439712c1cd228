"""Keys of servers: read from environment variables where a model is opened, never stored."""

from __future__ import annotations

import os
from collections.abc import Iterable

from maker.errors import ModelUnusable
from maker.models.settings import MemberSettings, OpenAISettings


def require_keys(members: Iterable[MemberSettings]) -> None:
    """Raise `ModelUnusable` if a key that one of the models needs cannot be read in this process."""
    for member in members:
        if isinstance(member, OpenAISettings):
            for endpoint in member.endpoints():
                read_key(endpoint.key_env)


def read_key(name: str) -> str:
    """Return the key that an environment variable holds, "" if ``name`` is. Raises `ModelUnusable`."""
    if not name:
        return ""
    key = os.environ.get(name, "").strip()
    if not key:
        raise ModelUnusable(
            f"the environment variable {name}, which model.key_env names, is not set",
            fix=f"export {name}=… (on a Ray cluster before `ray start` on every node), or clear model.key_env if the "
            "server needs no key",
            variable=name,
        )
    if not (key.isascii() and key.isprintable()):
        raise ModelUnusable(
            f"the key in the environment variable {name} holds characters that HTTP headers cannot carry",
            fix="check for stray characters, such as quotation marks or line breaks",
        )
    return key
