"""URLs without what may be secret in them: user and password, and the query, where signatures stand.

What is stored and shown of an input is its URL without secrets; which content it had is in the digests of its parts.
Whoever reads it again gives the whole URL again.
"""

from __future__ import annotations

import re

from maker.errors import BadInput

_MARK = "…"
_USER = re.compile(r"\b([\w+.-]+)://([^/@\s?]*)@")
_WEB_QUERY = re.compile(r"\b(https?://[^\s?]*)\?\S*?(?=::|$)", re.IGNORECASE)
# In other places a question mark may be part of a pattern.
_OTHER_QUERY = re.compile(r"\b(\w[\w+.-]*://[^\s?]*)\?[\w.-]+=[^\s*]*?(?=::|$)")
_NAMED = {"abfs", "abfss", "adl", "wasb", "wasbs", "github"}
"""Protocols that write a container or a repository where others have user and password."""


def without_secrets(where: str) -> str:
    """Return a place as it may be stored and shown: what is left out is marked. A path stays as it is."""
    if "://" not in where:
        return where
    where = _USER.sub(_user, where)
    where = _WEB_QUERY.sub(rf"\1?{_MARK}", where)
    return _OTHER_QUERY.sub(rf"\1?{_MARK}", where)


def is_cut(where: str) -> bool:
    """Say whether a secret was left out of a place."""
    return "://" in where and (f"://{_MARK}@" in where or f"?{_MARK}" in where)


def check_whole(where: str) -> None:
    """Raise `BadInput` for a place of which something was left out."""
    if is_cut(where):
        raise BadInput(
            f"the input {where} cannot be read again as it stands: the secret part of its URL was not stored",
            fix="give the whole URL again, e.g. with a new signature: task.input=URL, or MAKER_TASK_INPUT=URL in the "
            "environment; its content must be what it was",
        )


def _user(found: re.Match[str]) -> str:
    protocol, user = found[1].lower(), found[2]
    if protocol in _NAMED or not user or not (":" in user or protocol in ("http", "https")):
        return found[0]
    return f"{found[1]}://{_MARK}@"
