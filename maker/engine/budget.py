"""A run's limits, kept by reservation: used and reserved together never pass a limit. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from maker.store.shared_limits import SharedLimit
from maker.types import NOTHING, Allowance, money

UNLIMITED = 2**62
FIRST_REPLIES = 100
"""So many replies without a valid vote, from the beginning of a run or of a resume, and something is set wrongly."""
SHARED = "of the shared limit "
"""What follows in the reason of a run that the money of a shared limit has paused."""
SHARE = 20
"""A grant is a twentieth of a limit: what a process that dies with an open grant can cost the run at most."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Most calls, tokens, money and seconds of a whole run, all resumes together; None is no limit.

    ``max_undecided`` is how many children without a good decision it may have, where its task goes on without them.
    ``max_useless`` is how many of the first replies may bring no valid vote; each resume counts them anew.
    """

    max_calls: int | None = None
    max_tokens: int | None = None
    max_cost: float | None = None
    max_wall_s: float | None = None
    max_undecided: int | None = None
    max_useless: int = FIRST_REPLIES

    @property
    def spending(self) -> bool:
        """Whether anything that a worker spends is limited."""
        return (self.max_calls, self.max_tokens, self.max_cost) != (None, None, None)

    def allowance(self) -> Allowance:
        """Return all of it as one allowance, for work that is not a run."""
        return Allowance(
            UNLIMITED if self.max_calls is None else self.max_calls,
            UNLIMITED if self.max_tokens is None else self.max_tokens,
            float(UNLIMITED) if self.max_cost is None else self.max_cost,
        )

    def reserved(self, allowance: Allowance) -> Allowance:
        """Return what of a grant has to be written down: nothing where there is no limit."""
        return Allowance(
            0 if self.max_calls is None else allowance.calls,
            0 if self.max_tokens is None else allowance.tokens,
            0.0 if self.max_cost is None else allowance.cost,
        )


class Exhausted(Exception):
    """A limit is reached; the message says which, with numbers."""


class Budget:
    """Says what may be granted next; each worker has one grant at a time.

    Args:
        limits: The run's limits.
        used: What the ledger holds.
        reserved: Grants that were never settled: spent, as far as anyone can know.
    """

    def __init__(self, limits: Limits, used: Allowance, reserved: Allowance) -> None:
        self.limits = limits
        self._spent = used.plus(reserved)
        self._open: dict[int, Allowance] = {}

    def spend(self, worker: int, used: Allowance) -> None:
        """Count what a worker really used, or may have: what nobody can tell counts at its worst."""
        self._spent = self._spent.plus(used)
        if worker in self._open:
            self._open[worker] = self._open[worker].plus(used, -1)

    def grant(self, worker: int, need: Allowance) -> Allowance:
        """Return a worker's next grant, at least ``need``, once the one before is settled. Raises `Exhausted`."""
        allowance = self._open[worker] = self.check(need)
        return allowance

    def cap(self, worker: int, cost: float) -> Allowance:
        """Return a worker's grant with no more money than this."""
        open_ = self._open[worker]
        allowance = self._open[worker] = open_._replace(cost=min(open_.cost, cost))
        return allowance

    def check(self, need: Allowance) -> Allowance:
        """Return what `grant` would. Raises `Exhausted`."""
        limits, spent = self.limits, self._spent
        for allowance in self._open.values():
            spent = spent.plus(allowance)
        return Allowance(
            int(_share("max_calls", limits.max_calls, spent.calls, need.calls)),
            int(_share("max_tokens", limits.max_tokens, spent.tokens, need.tokens)),
            _share("max_cost", limits.max_cost, spent.cost, need.cost),
        )

    def left(self) -> Allowance:
        """Return all that is neither spent nor reserved."""
        spent = self._spent
        for allowance in self._open.values():
            spent = spent.plus(allowance)
        return self.limits.allowance().less(spent)

    def settle(self, worker: int) -> None:
        """Take a worker's grant back."""
        self._open.pop(worker, None)

    def lose(self, worker: int) -> None:
        """Count all of a worker's grant as spent."""
        self._spent = self._spent.plus(self._open.pop(worker, NOTHING))


def shared_money(limit: SharedLimit, need: float) -> str:
    """Say that a shared limit has not so much money left."""
    said, had, next_one = (_digits(amount) for amount in (limit.max_cost or 0.0, limit.spent, need))
    return (
        f"{SHARED}{limit.key}: max_cost = {said}: {had} spent or reserved by all its runs; "
        f"the next request may take {next_one}"
    )


def _digits(amount: float) -> str:
    """Return an amount in plain digits."""
    shown = f"{amount:g}"
    if "e" not in shown:
        return shown
    return f"{amount:.0f}" if amount == round(amount) else money(amount).replace(",", "")


def _share(name: str, limit: float | None, spent: float, need: float) -> float:
    if limit is None:
        return UNLIMITED
    left = limit - spent
    if need > left:
        said, had, next_one = (_digits(amount) for amount in (limit, spent, need))
        raise Exhausted(f"{name} = {said}: {had} spent or reserved; the next request may take {next_one}")
    return min(left, max(need, limit / SHARE))
