"""A request, and the parts of it that batches hold: each has a name that a resumed run gives it again."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from maker.models.dialects.openai_reply import Reply
from maker.types import Finished, Request, Sample


@dataclass(slots=True, eq=False)
class Asked:
    """A request of the worker's, and what has been heard of it.

    ``max_tokens`` of the request has what the model may reason in it. ``dropped`` says that nobody waits for it.
    """

    request: Request
    samples: list[Sample | None]
    prompt_tokens: int = 0
    completion_tokens: int = 0
    dropped: bool = False

    def whole(self) -> Part:
        """Return all of it as one part."""
        return Part(self, 0, self.request)

    def take(self, part: Part, reply: Reply) -> Iterable[Part]:
        """Keep a part's samples; return parts for those that it lacks: a server may ignore ``n``."""
        self.prompt_tokens += reply.prompt_tokens
        self.completion_tokens += reply.completion_tokens
        for place, sample in enumerate(reply.samples[: part.request.n], part.first):
            self.samples[place] = sample
        return [self.single(place) for place in range(part.first + len(reply.samples), part.first + part.request.n)]

    def finished(self) -> Finished | None:
        """Return the reply to the request, None as long as a sample is missing. Its batches tell what it has cost."""
        samples = tuple(sample for sample in self.samples if sample is not None)
        if len(samples) < len(self.samples):
            return None
        return Finished(self.request.id, samples, self.prompt_tokens, self.completion_tokens)

    def single(self, place: int) -> Part:
        """Return one of its samples as a part."""
        request = self.request
        return Part(self, place, request._replace(n=1, seed=request.seed + place))


@dataclass(slots=True, eq=False)
class Part:
    """What one line of a batch asks for: the samples of a request from ``first`` on."""

    asked: Asked
    first: int
    request: Request

    @property
    def name(self) -> str:
        """What names it in the run, whoever asks: its seed follows from its place in the run."""
        return f"{self.request.seed:x}-{self.request.n}"


def custom_id(tag: str, name: str) -> str:
    """Return how a part is called in the batch with this tag."""
    return f"{tag}-{name}"


def name_in(tag: str, found: str) -> str:
    """Return the name of a part by its custom id, "" if it is none of the batch with this tag."""
    return found[len(tag) + 1 :] if found.startswith(f"{tag}-") else ""


def stand_in(name: str, prompt_tokens: int) -> Request | None:
    """Return a request to read a reply's bill with, where the part itself is not at hand; None for no name."""
    seed, _, n = name.rpartition("-")
    try:
        return Request(0, "", "x" * prompt_tokens, int(n), int(seed, 16), 10**6, (), "")
    except ValueError:
        return None
