"""What a job says of a recursive decomposition."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from decomposers.recursive.context import LEVEL_LEAST
from decomposers.recursive.prompts import GENERIC, ROLES, Prompts, faults
from maker.plugin import Before, Called, Function, Oracle, OrFile, Params

PROPOSALS = 5


class RecursiveParams(Params):
    """Parameters of `Recursive`.

    Args:
        problem: The problem at the root, or the file that holds it. E.g. ``"How many of them are prime?\\n"``.
        vote_plans: ``canonical``: plans are voted on, two that come to the same being one. ``discriminator``: some are
            drawn, and a role of its own votes among those that differ, by number; one that all draws agree in is taken.
        proposals: How many plans are drawn then. Each is decided as steps of the role ``decomposer`` are: one sample is
            a draw where that role's k is 1.
        max_depth: Problems this many levels below the root are not broken into parts.
        max_parts: Most parts of a plan.
        operations: What a plan may say is to be done with the answers of its parts; whatever it likes where empty.
            E.g. ``["sum", "product"]``.
        base_bytes (bytes): Most bytes of a prompt at the root, UTF-8, all of it: see `decomposers.recursive.context`.
        level_bytes (bytes): How many more it may have for each level above its node.
        conclusion_bytes (bytes): Most bytes of an answer that goes into another's prompt, as all but the root's do.
        decomposer_prompt: What the role is asked, or the file that holds it; see `Prompts`. The class's own words where
            empty. E.g. ``"plan.txt"``.
        solver_prompt: The same for the role ``solver``. E.g. ``"solve.txt"``.
        composer_prompt: The same for the role ``composer``. E.g. ``"compose.txt"``.
        discriminator_prompt: The same for the role ``discriminator``. E.g. ``"choose.txt"``.
        words: Edition of the shipped words, the newest by default. In the first the decomposer is told at ``max_depth``
            too how to break a problem, which is no plan there. A run keeps the edition that it began with.
        plan_tokens (tokens): Most tokens of a plan; a reply cut there is flagged.
        answer_tokens (tokens): Most tokens of an answer.
        truth: A function that a simulated model asks, ``truth(prompt)``; it returns a `Truth`. E.g.
            ``"truth.py:truth"``.
    """

    problem: Annotated[str, OrFile()]
    vote_plans: Literal["canonical", "discriminator"] = "canonical"
    proposals: int = Field(default=PROPOSALS, ge=2, le=100)
    max_depth: int = Field(default=6, ge=0, le=98)
    max_parts: int = Field(default=8, ge=1, le=1000)
    operations: tuple[str, ...] = ()
    base_bytes: int = Field(default=4000, ge=1)
    level_bytes: int = Field(default=400, ge=LEVEL_LEAST)
    conclusion_bytes: int = Field(default=200, ge=1)
    decomposer_prompt: Annotated[str, OrFile()] = ""
    solver_prompt: Annotated[str, OrFile()] = ""
    composer_prompt: Annotated[str, OrFile()] = ""
    discriminator_prompt: Annotated[str, OrFile()] = ""
    # The first edition is not stored: so settings and fingerprints of older runs are what they were.
    words: Annotated[Literal[1, 2], Before(1)] = Field(default=2, exclude_if=lambda value: value == 1)
    plan_tokens: int = Field(default=512, ge=1)
    answer_tokens: int = Field(default=64, ge=1)
    truth: Annotated[Function | Oracle | None, Called(("prompt",))] = None

    @model_validator(mode="after")
    def _name_what_there_is(self) -> RecursiveParams:
        if told := faults(self.prompts(GENERIC)):
            raise ValueError(told)
        drawn = self.proposals != PROPOSALS or self.discriminator_prompt
        if self.vote_plans == "canonical" and drawn:
            raise ValueError('proposals and discriminator_prompt need vote_plans = "discriminator"')
        return self

    def prompts(self, own: Prompts) -> Prompts:
        """Return what the roles are asked: the parameters' words, or where they have none those of the class."""
        return Prompts(*(getattr(self, f"{role}_prompt") or getattr(own, role) for role in ROLES))
