"""A judge: who is asked to choose among candidates that votes could not settle. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from maker.plugin import vote_key
from maker.types import More, Step, Undecidable
from maker.voting.election import Election
from maker.voting.policy import JUDGE, Judge
from maker.voting.red_flags import Candidate

MOST = 8
"""So many candidates a judge is shown at most, those with the most votes."""

PROMPT = "Several replies were proposed to what you are asked below. Choose the right one, and reply with it alone."
"""What a judge is told where the job says nothing else."""


class Appeal(NamedTuple):
    """An election in which only candidates of another one can win.

    ``verdict`` is what the judge's rule says before its first vote. ``listed`` holds what the judge is told, one text
    for each order that the candidates are listed in.
    """

    election: Election[Any, Any]
    verdict: Candidate[Any] | More | Undecidable
    listed: Sequence[str]


def appeal(voted: Election[Any, Any], judge: Judge, models: int) -> Appeal:
    """Return the election that a judge holds over what votes left open.

    The judge sees the step's own prompt, and before it the candidates; it replies in the step's own form. A reply that
    is none of them is against the rules. Vote i is asked with the list turned i times, so that no place in it helps.
    """
    step, codec = voted.step, voted.codec
    keys = _foremost(voted.counts)

    def check(state: Any, action: Any) -> str | None:
        broken = step.kind.check(state, action)
        return broken or (None if vote_key(codec, action) in keys else "it is none of the proposals")

    # Replies must agree: a long one that is said twice is no repeated stream. A judge chooses among whole answers.
    kind = replace(step.kind, check=check, role=JUDGE, verbatim=True, parts=None)
    role = judge.role
    election: Election[Any, Any] = Election(
        Step(kind, step.prompt), voted.state, codec, role.voter, role.max_votes, models, voted.thinking
    )
    texts = [voted.candidate(key).text for key in keys]
    turned = [[*texts[turn:], *texts[:turn]] for turn in range(len(texts))]
    listed = ["\n".join((judge.prompt, *(f"- {text}" for text in one), "", step.kind.system)) for one in turned]
    return Appeal(election, election.verdict(), listed)


def _foremost(counts: Mapping[str, int]) -> list[str]:
    return sorted(counts, key=lambda key: -counts[key])[:MOST]
