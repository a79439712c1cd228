"""Several models behind one interface: a request goes to the member whose number it names."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

from maker.models.interface import Model
from maker.models.quota import Quota
from maker.types import Failed, Finished, Request, ServerChange

TURN_S = 0.005


class Member(NamedTuple):
    """A member of a pool: the model that serves it, and its number among the members that this model serves."""

    model: Model
    variant: int


class Pool(Model):
    """Passes requests to its members, and their replies back.

    Args:
        members: By number. One model may serve several members.
    """

    def __init__(self, members: Sequence[Member]) -> None:
        self._members = members
        self._models = list({id(member.model): member.model for member in members}.values())
        self._asked: dict[int, Model] = {}
        # Open requests by model, so that `poll` asks only models with any.
        self._owed = {id(model): 0 for model in self._models}

    def submit(self, requests: Iterable[Request]) -> None:
        """Give each request to its member."""
        for request in requests:
            model, variant = self._members[request.model]
            self._asked[request.id] = model
            self._owed[id(model)] += 1
            model.submit((request._replace(model=variant),))

    def poll(self, wait_s: float) -> list[Finished | Failed]:
        """Return the answers that have arrived from any member; waits for the busy members in turn."""
        deadline = time.monotonic() + wait_s
        while True:
            busy = [model for model in self._models if self._owed[id(model)]]
            left_s = max(0.0, deadline - time.monotonic())
            came = [reply for model in busy for reply in model.poll(left_s if len(busy) == 1 else min(left_s, TURN_S))]
            for reply in came:
                self._settle(reply.id)
            if came or not busy or time.monotonic() >= deadline:
                return came

    def cancel(self, ids: Iterable[int]) -> Collection[Failed]:
        """Drop requests."""
        of: dict[Model, list[int]] = {}
        for request in ids:
            if (model := self._settle(request)) is not None:
                of.setdefault(model, []).append(request)
        return [cost for model, its in of.items() for cost in model.cancel(its)]

    def close(self) -> None:
        """Close all members."""
        for request in list(self._asked):
            self._settle(request)
        for model in self._models:
            model.close()

    def _settle(self, request: int) -> Model | None:
        """Mark a request as closed; returns the model that it was with."""
        model = self._asked.pop(request, None)
        if model is not None:
            self._owed[id(model)] -= 1
        return model

    def worst_tokens(self, request: Request) -> int:
        """Return the most tokens that a request can cost."""
        model, variant = self._members[request.model]
        return model.worst_tokens(request._replace(model=variant))

    def reply_tokens(self, request: Request) -> int:
        """Return the most tokens that one reply to a request can take."""
        model, variant = self._members[request.model]
        return model.reply_tokens(request._replace(model=variant))

    def changes(self) -> Sequence[ServerChange]:
        """Return what has changed for any member; of a model that serves several, under the number of the last."""
        numbers = {id(member.model): number for number, member in enumerate(self._members)}
        return [change._replace(model=numbers[id(model)]) for model in self._models for change in model.changes()]

    def share(self, quota: Quota) -> None:
        """Let all members draw on one part of a shared limit."""
        for model in self._models:
            model.share(quota)

    def most_n(self, model: int) -> int:
        """Return how many replies one request to a member may ask for."""
        member, variant = self._members[model]
        return member.most_n(variant)
