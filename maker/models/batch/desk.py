"""Where a run's batches are kept going: rounds are sent, batches followed, and their results given back."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any

from maker.models.batch.answering import Answer, Answers
from maker.models.batch.cutting import Cut, Most, cut
from maker.models.batch.hearing import Heard, Hearing
from maker.models.batch.parts import Asked, Part
from maker.models.batch.provider import BatchStatus, Phase, Provider
from maker.models.batch.records import BatchRecords
from maker.models.batch.sending import Sender
from maker.models.dialects.dialect import dialect_of
from maker.models.interface import most_prompt_tokens
from maker.models.server.faults import Lost, Refusal, Unbilled
from maker.models.server_settings import ServerSettings, prices_of
from maker.types import Allowance, BatchNews, BatchState, Prices, SentBatch

TRIES = 5
"""So often a part is asked that a server fails to answer."""
EMPTY_BATCHES = 3
"""So many batches in a row that end without one answer are the provider's fault."""
HELD_S = 10.0
"""So long, in seconds, a round waits for what other batches leave over."""
SHOWN_IDS = 3
ENQUEUED = "token_limit_exceeded"
"""What OpenAI's API calls a batch for which too much is out already."""


@dataclass(slots=True, eq=False)
class OutBatch:
    """A batch that was submitted, and the parts of this process that wait for it.

    ``following`` says that somebody sees to it, ``working`` that its provider was asked in this process, and works on
    it.
    """

    record: SentBatch
    waiting: dict[str, Part] = field(default_factory=dict)
    following: bool = False
    working: bool = False

    @property
    def is_out(self) -> bool:
        """Whether it may cost something that is not counted yet."""
        return self.record.state in (BatchState.SENDING, BatchState.SENT)

    def update(self, **changes: Any) -> None:
        """Note how it stands."""
        self.record = self.record._replace(**changes)


class Desk:
    """Sends and follows the batches of one run. Lives in one event loop.

    Args:
        settings: The ``[model]`` table.
        provider: Takes batches.
        records: Keeps them.
        run_id: The run's id.
        answer: Is given the answers to requests, and what stops the work.
        tell: Is told of what becomes of batches.
    """

    def __init__(
        self,
        settings: ServerSettings,
        provider: Provider,
        records: BatchRecords,
        run_id: str,
        answer: Answer,
        tell: Callable[[BatchNews], None],
    ) -> None:
        self._settings = settings
        self._provider = provider
        self._records = records
        self._run_id = run_id
        self._answers = Answers(settings, answer, tell)
        self._sender = Sender(provider, settings)
        self._dialect = dialect_of(settings)
        self._prices = prices_of(settings, batch=True) or Prices()
        self._most = Most(
            settings.batch_requests or provider.most_requests, settings.batch_bytes or provider.most_bytes
        )
        self._fresh: list[Part] = []
        self._places: dict[str, OutBatch] = {}
        self._tries: Counter[str] = Counter()
        self._last = 0
        self._empty = 0
        self._one_each = False
        self._quiet = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._creating: asyncio.Task[None] | None = None
        self._batches: list[OutBatch] = []
        self._still_since: float | None = None
        self._held_until = 0.0

    def take_up(self) -> None:
        """Take up the batches of earlier processes: those that are out, and those whose results may be needed."""
        self._last = self._records.last()
        for record in self._records.known():
            out = OutBatch(record)
            self._enter(out)
            if record.state is not BatchState.HEARD:
                self._follow(out)

    def take(self, asked: Asked) -> None:
        """Take a request: it waits for the batch that has it, or for the next round."""
        whole = asked.whole()
        single = self._one_each and whole.name not in self._places
        if single or (asked.request.n > 1 and asked.single(0).name in self._places and whole.name not in self._places):
            for place in range(asked.request.n):
                self._place(asked.single(place))
        else:
            self._place(whole)

    async def work(self, *, quiet: bool) -> None:
        """Send what has been collected: all of it where nothing more comes, full batches otherwise."""
        if quiet:
            self._quiet.set()
        else:
            self._quiet.clear()
        due = quiet or len(self._fresh) >= self._most.requests
        if self._fresh and due and time.monotonic() >= self._held_until:
            await self._send_round(full=not quiet)
        for task in [task for task in self._tasks if task.done()]:
            self._tasks.discard(task)
            task.result()
        self._note_stillness()

    def waits_for(self, stays_s: float) -> str:
        """Return the ids of batches that are waited for, if nothing else has been to do for so long; else ""."""
        if self._still_since is None or time.monotonic() - self._still_since < stays_s:
            return ""
        ids = [one.record.id for one in self._batches if one.waiting]
        more = f" and {len(ids) - SHOWN_IDS} more" if len(ids) > SHOWN_IDS else ""
        return f"{', '.join(ids[:SHOWN_IDS])}{more}"

    async def close(self) -> None:
        """Stop; a batch that is being submitted is submitted to its end."""
        self._sender.closing = True
        if self._creating is not None:
            await asyncio.wait([self._creating], timeout=self._settings.timeout_s)
            self._tasks.add(self._creating)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._provider.close()

    # What is asked.

    def _enter(self, out: OutBatch) -> None:
        self._batches.append(out)
        for name in out.record.names:
            self._places[name] = out
            self._tries[name] += 1

    def _place(self, part: Part) -> None:
        out = self._places.get(part.name)
        if out is None:
            self._fresh.append(part)
            return
        out.waiting[part.name] = part
        self._follow(out)

    def _ask_again(self, parts: Iterable[Part]) -> None:
        for part in parts:
            self._places.pop(part.name, None)
            if not part.asked.dropped:
                self._fresh.append(part)

    # What is sent.

    async def _send_round(self, *, full: bool) -> None:
        """Send what has been collected, batch by batch; with ``full`` only batches that are full."""
        parts = sorted((part for part in self._fresh if not part.asked.dropped), key=lambda part: part.request.role)
        self._fresh = []
        while parts and not (full and len(parts) < self._most.requests):
            role, number = parts[0].request.role, self._last + 1
            group = list(takewhile(lambda part, role=role: part.request.role == role, parts))  # type: ignore[misc]
            left = self._records.left()
            made = cut(group, f"{self._run_id}-{number}", self._provider, self._most, self._worst, left)
            with made.lines:
                taken = len(made.parts) + len(made.unfit)
                for part, refusal in made.unfit:
                    self._answers.fail(part, refusal.reason, refusal.fix, refused=True, unusable=True)
                if not taken:
                    await self._wait_for_limits(parts[0])
                    break
                parts = parts[taken:]
                if made.parts:
                    self._last = number
                    await self._submit(made, number, role)
        self._fresh = parts + self._fresh

    def _worst(self, part: Part) -> Allowance:
        request = part.request
        written = request.n * request.max_tokens
        read = most_prompt_tokens(request)
        return Allowance(request.n, read + written, self._prices.most(read, written))

    async def _wait_for_limits(self, part: Part) -> None:
        """Wait for what other batches leave over of the limits; where none is out, the run is at its end."""
        if any(one.is_out for one in self._batches):
            self._held_until = time.monotonic() + HELD_S
            return
        # What was heard last may not be committed yet, and counts at its worst until then.
        until = time.monotonic() + HELD_S
        while time.monotonic() < until:
            if self._records.left().covers(self._worst(part)):
                return
            await asyncio.sleep(HELD_S / 20)
        raise self._records.spent_out(self._worst(part))

    async def _submit(self, made: Cut, number: int, role: str) -> None:
        names = tuple(part.name for part in made.parts)
        record = SentBatch(number, made.tag, role, names, made.worst, time.time())
        try:
            file = await self._sender.upload(made.lines, made.tag)
        except (Unbilled, Lost, Refusal) as error:
            self._not_sent(made.parts, made.size, error)
            return
        out = OutBatch(record._replace(file=file, begun_at=time.time()))
        out.waiting = {part.name: part for part in made.parts}
        self._records.begin(out.record)
        self._enter(out)
        # A batch that is submitted while the process ends must have its id committed.
        self._creating = asyncio.ensure_future(self._create(out, made))
        await asyncio.shield(self._creating)
        self._creating = None

    async def _create(self, out: OutBatch, made: Cut) -> None:
        try:
            status = await self._sender.create(out.record, made.lines)
        except (Unbilled, Lost, Refusal) as error:
            self._void(out)
            self._not_sent(made.parts, made.size, error)
            return
        if status is not None:
            self._sent(out, status)
        if not self._sender.closing:
            self._follow(out)

    def _sent(self, out: OutBatch, status: BatchStatus) -> None:
        self._records.note(out.record.number, BatchState.SENT, batch_id=status.id, look_at=self._next_look())
        out.update(state=BatchState.SENT, id=status.id)
        self._answers.tell(out.record, status.said)

    def _void(self, out: OutBatch) -> None:
        self._records.note(out.record.number, BatchState.VOID)
        out.update(state=BatchState.VOID)
        self._batches.remove(out)
        for name in out.record.names:
            if self._places.get(name) is out:
                del self._places[name]

    def _not_sent(self, parts: Sequence[Part], size: int, error: Unbilled | Lost | Refusal) -> None:
        """Ask parts again in smaller batches, or give them up: their batch was not taken."""
        if isinstance(error, Refusal):
            if error.too_large and len(parts) > 1:
                self._most.halve(len(parts), size)
                self._ask_again(parts)
                return
            for part in parts:
                self._answers.fail(part, error.reason, error.fix, unusable=error.unusable)
            return
        fix = f"check that a server with batches runs at {self._settings.url}"
        for part in parts:
            self._answers.fail(part, f"no batch could be sent: {error}", fix, unusable=not self._sender.answered)

    # What is waited for.

    def _follow(self, out: OutBatch) -> None:
        if not out.following:
            out.following = True
            self._tasks.add(asyncio.ensure_future(self._followed(out)))

    async def _followed(self, out: OutBatch) -> None:
        """See a batch through: find it if its id is lost, wait until it is over, and give its results back."""
        try:
            if out.record.state is BatchState.SENDING and not await self._found(out):
                return
            status = await self._until_over(out)
            if status.phase is Phase.REFUSED:
                self._refused(out, status)
                return
            while out.waiting or out.record.state is BatchState.SENT:
                # Parts that a resumed run asks for are on their way as long as it is not quiet.
                await self._quiet.wait()
                await self._hear(out, status)
        except (Unbilled, Lost) as fault:
            self._give_up(out, f"batch {out.record.id}: {fault}", "continue with `maker resume` when it answers again")
        except Refusal as refusal:
            if out.record.state is BatchState.HEARD:
                # It was heard, and its results are gone: what it decided is lost.
                self._ask_again(out.waiting.values())
                out.waiting = {}
            else:
                self._give_up(out, f"batch {out.record.id or out.record.tag}: {refusal.reason}", refusal.fix)
        finally:
            out.following = False

    async def _found(self, out: OutBatch) -> bool:
        status = await self._sender.find(out.record)
        if status is None:
            parts = list(out.waiting.values())
            self._void(out)
            self._ask_again(parts)
            return False
        self._sent(out, status)
        return True

    async def _until_over(self, out: OutBatch) -> BatchStatus:
        while True:
            status = await self._sender.look(out.record.id)
            out.working = status.phase is Phase.WORKING
            if not out.working:
                return status
            self._records.note(out.record.number, BatchState.SENT, batch_id=out.record.id, look_at=self._next_look())
            await asyncio.sleep(self._settings.batch_poll_s)

    async def _hear(self, out: OutBatch, status: BatchStatus) -> None:
        waiting, out.waiting = out.waiting, {}
        try:
            hearing = Hearing(out.record, self._dialect, self._settings)
            heard = await self._sender.hear(hearing, status, waiting)
        except BaseException:
            out.waiting = waiting | out.waiting
            raise
        if out.record.state is BatchState.SENT:
            self._count(out, status, heard)
        self._give_back(out, status, heard)

    def _count(self, out: OutBatch, status: BatchStatus, heard: Heard) -> None:
        """Have what a batch has cost counted, before anything of it is heard."""
        out.update(state=BatchState.HEARD)
        self._empty = 0 if heard.answered else self._empty + 1
        self._answers.tell(out.record, status.said, heard.usage, answered=heard.answered)

    def _give_back(self, out: OutBatch, status: BatchStatus, heard: Heard) -> None:
        for part, reply in heard.replies:
            self._places.pop(part.name, None)
            rest = list(part.asked.take(part, reply))
            if rest:
                self._one_each = True
            for one in rest:
                self._place(one)
            self._answers.finish(part.asked)
        # The others come after: they are the prompts' own fault where the model has answered some.
        for refused in heard.refused:
            self._answers.refuse(out.record, refused)
        where = f"batch {out.record.id} ({status.said})"
        for part, reason, tried in heard.again:
            if self._empty >= EMPTY_BATCHES:
                self._answers.fail(part, f"{where} is one of {self._empty} in a row without an answer: {reason}")
            elif tried and heard.answered and self._tries[part.name] >= TRIES:
                self._answers.fail(part, f"{where}: asked {TRIES} times; the last: {reason}", alone=True)
            else:
                self._ask_again([part])

    def _refused(self, out: OutBatch, status: BatchStatus) -> None:
        """Give up a batch that was refused as a whole; ask it again where only too much was out."""
        parts, out.waiting = out.waiting, {}
        self._void(out)
        self._answers.tell(out.record, status.said, problems=[one._asdict() for one in status.problems[:10]])
        others = any(one.is_out for one in self._batches)
        if any(one.code == ENQUEUED for one in status.problems) and (others or len(parts) > 1):
            if not others:
                self._most.halve(len(parts), self._most.bytes)
            self._held_until = time.monotonic() + self._settings.batch_poll_s
            self._ask_again(parts.values())
            return
        self._answers.refuse_all(out.record, status, parts)

    def _give_up(self, out: OutBatch, reason: str, fix: str) -> None:
        parts, out.waiting = out.waiting, {}
        for part in parts.values():
            self._answers.fail(part, reason, fix, unusable=True)

    def _next_look(self) -> float:
        return time.time() + self._settings.batch_poll_s

    def _note_stillness(self) -> None:
        """Note since when there has been nothing to do but to wait for batches that are worked on."""
        out = [one for one in self._batches if one.waiting]
        if self._fresh or not out or not all(one.working for one in out):
            self._still_since = None
        elif self._still_since is None:
            self._still_since = time.monotonic()
