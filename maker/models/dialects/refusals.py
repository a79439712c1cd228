"""What a server's refusal of a request says, and which setting mends it. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import get_args

from maker.models.server_settings import OpenAISettings, ServerSettings

_NO_FIELDS = frozenset({"model", "messages", "prompt", "system", "response_format", "output_config"})
"""What is refused for what it holds: the name of the model, the prompt, the schema of a step class."""

_UNSUPPORTED = re.compile(
    r"unsupported|(?:not|n't|no longer) (?:be )?(?:support|permit|allow|accept|recogni[sz]e)|unknown|unrecogni[sz]ed"
    r"|unexpected|extra (?:inputs|fields)|deprecated|both|only the default",
    re.IGNORECASE,
)
"""How servers say that they do not take a field: a field may also be named because its value is too large."""


def refused_field(answer: object, message: str, fields: Collection[str]) -> str:
    """Return the field of a request that a server says it does not take, "" where it says no such thing.

    Args:
        answer: The decoded body of its refusal.
        message: Its words.
        fields: The names of the fields that were sent.
    """
    known = [name for name in fields if name not in _NO_FIELDS]
    if not _UNSUPPORTED.search(message):
        return ""
    for named in _named(answer):
        if named in known:
            return named
    found = [(hit.start(), name) for name in known if (hit := re.search(_mention(name), message)) is not None]
    return min(found)[1] if found else ""


def _named(answer: object) -> Iterable[str]:
    """Yield the fields that a refusal names beside its words, as OpenAI's API does it, or FastAPI."""
    if not isinstance(answer, Mapping):
        return
    for told in (answer.get("error"), answer):
        if isinstance(told, Mapping) and isinstance(told.get("param"), str):
            yield told["param"]
    listed = answer.get("detail")
    for one in listed if isinstance(listed, list) else ():
        place = one.get("loc") if isinstance(one, Mapping) else None
        yield from (part for part in place if isinstance(part, str)) if isinstance(place, list) else ()


def _mention(name: str) -> str:
    """Return a pattern of a sentence that speaks of a field by its name: many are words that a prompt may hold."""
    word = re.escape(name)
    return (
        rf"['\"`]{word}['\"`]|(?<![\w.]){word}:|(?:parameter|field|argument|property)s?:? {word}\b"
        rf"|\b{word} (?:is|are|does|cannot|can't|isn't)\b"
    )


def can_be_omitted(name: str, settings: ServerSettings) -> bool:
    """Say whether a run can go on without a field of its requests."""
    return name in _omittable(settings) or name in settings.extra_body or name == "logprobs"


def without_fields(names: Sequence[str], settings: ServerSettings) -> str:
    """Return the settings with which a server is not sent what it refuses."""
    known, ways = _omittable(settings), []
    if not set(known).isdisjoint(names):
        omitted = [name for name in known if name in names or name in settings.omit]
        listed = ", ".join(f'"{name}"' for name in omitted)
        ways.append(f"model.omit = [{listed}]" + _loss(omitted))
    if "logprobs" in names:
        ways.append("model.logprobs = false")
    if "n" in names:
        ways.append("model.max_n = 1")
    found = [f"set {' and '.join(ways)}"] if ways else []
    for name in ("temperature", "top_p"):
        if name in names and getattr(settings, name) != 1:
            found.append(f"leave model.{name} out")
    if extra := [name for name in names if name in settings.extra_body]:
        found.append(f"take {', '.join(extra)} out of model.extra_body")
    if "max_completion_tokens" in names:
        found.append("take max_tokens out of model.omit")
    return ", and ".join(found)


def _loss(omitted: Collection[str]) -> str:
    """Return what is given up with fields that are not sent."""
    told = []
    if "seed" in omitted:
        told.append("votes cannot be drawn again then")
    if "temperature" in omitted:
        told.append("the server's own temperature holds")
    return f" ({'; '.join(told)})" if told else ""


def _omittable(settings: ServerSettings) -> tuple[str, ...]:
    """Return what ``model.omit`` can name, in its order."""
    (item, _) = get_args(type(settings).model_fields["omit"].annotation)
    return get_args(item)


def advice(status: int, message: str, settings: ServerSettings, refused: Sequence[str] = ()) -> str:
    """Return what a user can do about an HTTP status that no later try will change.

    Args:
        status: The HTTP status.
        message: The server's words.
        settings: The ``[model]`` table.
        refused: The fields of the request that the server says it does not take.
    """
    if refused and (ways := without_fields(refused, settings)):
        return ways
    if isinstance(settings, OpenAISettings) and re.search("x-api-key|anthropic-version", message):
        return 'set model.kind = "anthropic" for a server with Anthropic\'s interface'
    if status in (401, 403):
        return _about_access(settings)
    if status == 404:
        return _about_address(settings)
    if 300 <= status < 400:
        return "set model.url to the server's own address; redirects are not followed"
    return _about_request(settings, message)


def _about_request(settings: ServerSettings, message: str) -> str:
    if "stream" in message.lower():
        return "use a server that answers whole replies: maker does not take them in streams"
    change = "change the [model] table, or the prompt, as the server says"
    if settings.structured == "off":
        return change
    return (
        f'{change}. If it takes no schema, start a new run with model.structured = "off"; if it refuses the '
        "schema, note that OpenAI's API needs every object to require all of its properties and to have "
        "additionalProperties = false"
    )


def _about_access(settings: ServerSettings) -> str:
    if settings.key_env:
        fix = f"use a key with access: the variable {settings.key_env} (model.key_env) holds the one that was sent"
    else:
        fix = "set model.key_env to the name of the environment variable that holds the key"
    return f"{fix}; if the server wants another header, name it in model.headers"


def _about_address(settings: ServerSettings) -> str:
    checked = f"check model.name = {settings.name!r}, and model.url = {settings.url!r}: it must be the "
    if isinstance(settings, OpenAISettings) and settings.api_version:
        return (
            f"{checked}address of the Azure resource, e.g. https://NAME.openai.azure.com, and the name that of its "
            f"deployment; check model.api_version = {settings.api_version!r} too"
        )
    azure = "; for an Azure deployment set model.api_version" if isinstance(settings, OpenAISettings) else ""
    return f"{checked}base address with the version, e.g. http://127.0.0.1:8000/v1{azure}"
