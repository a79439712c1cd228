"""What a worker may spend, and what it has spent since its last report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from maker.models.interface import Model
from maker.types import NO_USAGE, NOTHING, Account, Allowance, Failed, Finished, Grant, Prices, Request, Starved, Usage


@dataclass(slots=True)
class _Counters:
    """What one account spends, while it is counted: a new `Usage` for every reply would cost more than the counting."""

    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    requests: int = 0
    cached_tokens: int = 0
    retries: int = 0
    unaccounted: int = 0

    def usage(self) -> Usage:
        return Usage(**asdict(self))


class Spending:
    """Sets aside what requests may cost, and counts what they did cost.

    Where the worker is limited, a request is covered by its grant at its worst before it is sent; what it turns out not
    to cost is free again. ``abandoned`` is what requests that were cut off or cancelled in this slice may cost, beside
    what is accounted for.

    Args:
        model: Says what a request may cost.
        prices: Those of the models, by number.
        limited: Whether the worker may spend only what its grants cover.
    """

    def __init__(self, model: Model, prices: Sequence[Prices], *, limited: bool) -> None:
        self.limited = limited
        self._model = model
        self._prices = prices
        self._grant = 0
        self._left = NOTHING
        self._counters: dict[tuple[int, str], _Counters] = {}
        self.abandoned = NOTHING

    def replace_grant(self, grant: Grant) -> None:
        """Spend from this grant from now on; what was left of the one before is given up."""
        self.limited, self._grant, self._left = True, grant.key, grant.allowance

    def worst(self, request: Request) -> Allowance:
        """Return the most that a request may cost."""
        tokens, written = self._model.worst_tokens(request), request.n * self._model.reply_tokens(request)
        return Allowance(request.n, tokens, self._prices[request.model].most(tokens - written, written))

    def reserve(self, worst: Allowance) -> bool:
        """Set aside what a request may cost; returns false, and does nothing, where the grant does not cover it."""
        if not self._left.covers(worst):
            return False
        self._left = self._left.plus(worst, -1)
        return True

    def starve(self, need: Allowance) -> Starved:
        """Give the grant up: it does not cover what is asked next. Until the next grant nothing can be reserved."""
        self._left = NOTHING
        return Starved(self._grant, need)

    def count(self, request: Request, worst: Allowance, reply: Finished) -> None:
        """Count a reply; ``worst`` is what was reserved for its request."""
        counters, calls = self._of(request), len(reply.samples) + reply.surplus
        counters.calls += calls
        counters.prompt_tokens += reply.prompt_tokens
        counters.completion_tokens += reply.completion_tokens
        counters.requests += 1
        counters.cached_tokens += reply.cached_tokens
        counters.retries += reply.retries
        if self.limited:
            self._left = self._left.plus(worst).plus(self._cost(request, reply, calls), -1)

    def count_failure(self, request: Request, worst: Allowance, reply: Failed, *, repeated: bool) -> None:
        """Count a request that failed, or was cancelled under way.

        ``repeated`` says that it is asked again, and counts as a request then.
        """
        counters, calls, unaccounted = self._of(request), reply.calls, reply.unaccounted
        counters.calls += calls
        counters.prompt_tokens += reply.prompt_tokens
        counters.completion_tokens += reply.completion_tokens
        counters.cached_tokens += reply.cached_tokens
        counters.requests += not repeated
        counters.retries += reply.retries + repeated
        counters.unaccounted += unaccounted
        used = self._cost(request, reply, calls)
        lost = NOTHING
        if unaccounted:
            # Part of a request that was cut off may be accounted for, and part of it was perhaps never sent: of the
            # rest of its worst only what was sent for is abandoned.
            sent = self.worst(request._replace(n=unaccounted))
            lost = self._reserved(request, worst).less(used).within(sent)
        self.abandoned = self.abandoned.plus(lost)
        if self.limited:
            self._left = self._left.plus(worst).plus(used, -1).plus(lost, -1)

    def free(self, worst: Allowance) -> None:
        """Give back what was set aside for a request that was cancelled before it cost anything."""
        if self.limited:
            self._left = self._left.plus(worst)

    def add(self, account: Account, usage: Usage) -> None:
        """Count what was spent by other means than single replies."""
        if usage != NO_USAGE:
            counters = self._counters.setdefault(account, _Counters())
            for name, amount in usage._asdict().items():
                setattr(counters, name, getattr(counters, name) + amount)

    def usage(self) -> dict[Account, Usage]:
        """Return what was spent in this slice, by whom."""
        return {Account(model, role): counters.usage() for (model, role), counters in self._counters.items()}

    def begin_slice(self) -> None:
        """Count from nothing again: what was counted is in a report."""
        self.abandoned, self._counters = NOTHING, {}

    def _of(self, request: Request) -> _Counters:
        account = (request.model, request.role)
        counters = self._counters.get(account)
        if counters is None:
            counters = self._counters[account] = _Counters()
        return counters

    def _cost(self, request: Request, reply: Finished | Failed, calls: int) -> Allowance:
        read, written = reply.prompt_tokens, reply.completion_tokens
        return Allowance(calls, read + written, self._prices[request.model].of(read, written, reply.cached_tokens))

    def _reserved(self, request: Request, worst: Allowance) -> Allowance:
        """Return the most that a request that was sent may cost: worked out only now where nothing was reserved."""
        return worst if self.limited else self.worst(request)


class BatchSpending(Spending):
    """The same of a model that asks in batches: what these cost is counted as a whole, when each is over.

    Its replies are read again by a resumed run, and cost nothing then.
    """

    def count(self, request: Request, worst: Allowance, reply: Finished) -> None:
        """Count nothing: the reply's batch is counted."""

    def count_failure(self, request: Request, worst: Allowance, reply: Failed, *, repeated: bool) -> None:
        """Count nothing: what failed is part of its batch."""
