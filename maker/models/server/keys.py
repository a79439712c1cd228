"""Keys and headers of servers: read from environment variables where a model is opened, never stored."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

from maker.errors import ModelUnusable
from maker.models.server_settings import ServerSettings
from maker.models.settings import MemberSettings


def require_keys(members: Iterable[MemberSettings]) -> None:
    """Raise `ModelUnusable` if a key or a header that one of the models needs cannot be read in this process."""
    for member in members:
        if isinstance(member, ServerSettings):
            for endpoint in member.endpoints():
                read_key(endpoint.key_env)
            read_headers(member.headers)


def read_key(name: str) -> str:
    """Return the key that an environment variable holds, "" if ``name`` is. Raises `ModelUnusable`."""
    return _read(name, "model.key_env", "the key", "clear model.key_env if the server needs no key") if name else ""


def read_headers(variables: Mapping[str, str]) -> dict[str, str]:
    """Return headers by name, with what their environment variables hold. Raises `ModelUnusable`."""
    return {
        name: _read(variable, f"model.headers.{name}", "the header", f"take {name} out of model.headers")
        for name, variable in variables.items()
    }


def _read(name: str, setting: str, what: str, otherwise: str) -> str:
    value = os.environ.get(name, "").strip()
    if not value:
        raise ModelUnusable(
            f"the environment variable {name}, which {setting} names, is not set",
            fix=f"export {name}=… (on a Ray cluster before `ray start` on every node), or {otherwise}",
            variable=name,
        )
    if not (value.isascii() and value.isprintable()):
        raise ModelUnusable(
            f"{what} in the environment variable {name} holds characters that HTTP headers cannot carry",
            fix="check for stray characters, such as quotation marks or line breaks",
        )
    return value
