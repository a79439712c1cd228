"""What a place of files says when it cannot be read, in words that hold no secret."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from maker.errors import BadInput, MakerError

VARIABLES = {
    "s3": ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"),
    "s3a": ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"),
    "gs": ("GOOGLE_APPLICATION_CREDENTIALS",),
    "gcs": ("GOOGLE_APPLICATION_CREDENTIALS",),
    "az": ("AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_ACCOUNT_KEY"),
    "abfs": ("AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_ACCOUNT_KEY"),
    "abfss": ("AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_ACCOUNT_KEY"),
    "hf": ("HF_TOKEN",),
}
"""The environment variables from which a protocol's package takes its credentials."""

_USER = re.compile(r"(?<=://)[^/@\s]*@")
_QUERY = re.compile(r"(\w://[^\s'\"?]*)\?[^\s'\"]*")
_REFUSED = re.compile(r"credential|unauthori[sz]ed|authenticat|forbidden|access denied", re.IGNORECASE)


def redacted(text: str) -> str:
    """Return a text without what may be secret in its URLs: user, password and query.

    What UTF-8 cannot write is escaped: a file's name may hold bytes that are no text.
    """
    return _QUERY.sub(r"\1?…", _USER.sub("", text)).encode("utf-8", "backslashreplace").decode()


def protocol_of(where: str) -> str:
    """Return how a place is reached: ``s3``, ``memory``, ``file`` for a path. Of a chained URL the last one counts."""
    name, separator, _ = where.rpartition("::")[2].partition("://")
    return name.lower() if separator else "file"


@contextmanager
def as_bad_input(what: str, where: str, fix: str = "") -> Iterator[None]:
    """Tell whatever reading ``what`` raises as a `BadInput`; ``where`` is the input, ``fix`` the last advice."""
    try:
        yield
    except MakerError:
        raise
    except Exception as error:
        raise _failure(what, where, error, fix) from error


def _failure(what: str, where: str, error: Exception, fix: str) -> BadInput:
    protocol = protocol_of(where)
    if isinstance(error, ImportError):
        return _missing(what, protocol, error)
    if isinstance(error, ValueError) and protocol in str(error) and "rotocol" in str(error):
        return BadInput(f"{what} cannot be read: {protocol}:// is not supported", fix="check the beginning of the URL")
    if protocol != "file" and _is_refusal(error):
        names = " and ".join(VARIABLES.get(protocol, ()))
        fix = f"set {names} to credentials that may read it" if names else "use credentials that may read it"
        return BadInput(f"{what} may not be read: {_words(error)}", fix=fix)
    if isinstance(error, PermissionError):
        place = redacted(error.filename) if isinstance(error.filename, str) else ""
        where = f" at {place}" if place not in ("", what) else ""
        right = "allow this user to read it (chmod +r, for a folder chmod +rx), or leave it out of the input"
        return BadInput(f"{what} may not be read: {_words(error)}{where}", fix=right)
    if isinstance(error, FileNotFoundError):
        return BadInput(f"{what} does not exist", fix=fix or "put it back")
    return BadInput(f"{what} cannot be read: {_words(error)}", fix=fix)


def _missing(what: str, protocol: str, error: ImportError) -> BadInput:
    cause = error.__cause__ if isinstance(error.__cause__, ImportError) else error
    package = (cause.name or "").partition(".")[0]
    return BadInput(
        f"{what} cannot be read: {protocol}:// needs {f'the package {package}' if package else _words(error)}",
        fix=f"pip install {package}" if package else "",
    )


def _is_refusal(error: Exception) -> bool:
    status = error.status if hasattr(error, "status") else getattr(error, "code", None)
    return (
        isinstance(error, PermissionError)
        or status in (401, 403)
        or _REFUSED.search(f"{type(error).__name__} {error}") is not None
    )


def _words(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return f"{type(error).__name__}: {redacted(str(error))}".splitlines()[0]
