"""Where a workflow stands: its answers so far, and its coroutine, which waits for the next one. Pure.

The state of a chain is the answers. The coroutine is made of them: it stays in memory while the chain is in work, and
a state that was read from its text calls the function anew and gives it the answers. So n steps cost n.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Coroutine, Sequence
from datetime import UTC, datetime
from json.encoder import encode_basestring
from typing import Any, NamedTuple

from decomposers.workflow.answers import AnswerType
from decomposers.workflow.asked import Asked, Awaited, Child, Effected, Now, Together, Waited, shortened
from decomposers.workflow.run import Run
from maker.plugin import ContractBroken, Done, PydanticCodec, Record

_JSON: PydanticCodec[Any] = PydanticCodec(Any)
FIX = (
    "make the workflow depend on its arguments and answers alone (no clock, no order of a set; run.random for chance),"
    " or start a new run"
)

AWAIT = (
    "await what the methods of its first argument return, and nothing else: run.sleep for a time, run.gather for things"
    " side by side, run.effect for I/O of your own"
)

NO_LOOP = ("no running event loop", "There is no current event loop")
"""What asyncio says where no loop runs."""


def written(value: Any) -> str:
    """Return the canonical text of a JSON value. Raises `TooDeep` for one that could not be read again."""
    # Nearly every answer is a text or a number: the codec takes ten times as long.
    if value.__class__ is str:
        return encode_basestring(value)
    return repr(value) if value.__class__ is int else _JSON.write(value)


class Answer(NamedTuple):
    """An action: an answer as JSON, and the question that it answers."""

    value: Any
    question: str

    def text(self) -> str:
        """Return it as the log and the state hold it."""
        return f"[{written(self.value)},{encode_basestring(self.question)}]"


class Start(NamedTuple):
    """What a chain begins with: a name for messages, what makes the coroutine, the type of its result.

    ``plain`` says that the coroutine takes answers as JSON, and hands them on.
    """

    name: str
    begin: Callable[[Run], Coroutine[Any, Any, Any]]
    result: AnswerType[Any]
    plain: bool = False


class Play:
    """A workflow, or a child of one, as far as it has come.

    Args:
        start: What it begins with; called once it is needed.
        place: JSON that tells it from others: a root's arguments, or its parent's state and its number there.
        answers: Its answers so far, each with its question, as `Answer.text` writes them.
        joined: What children have come to that it is waiting for, as far as they are joined.
    """

    __slots__ = (
        "_answers",
        "_coroutine",
        "_failure",
        "_place",
        "_plain",
        "_result",
        "_start",
        "_text",
        "joined",
        "pending",
    )

    def __init__(
        self, start: Callable[[], Start], place: str, answers: Sequence[str] = (), joined: list[Any] | None = None
    ) -> None:
        self._start = start
        self._place = place
        self._answers = list(answers)
        self.joined = joined
        self._coroutine: Coroutine[Any, Any, Any] | None = None
        self._plain = False
        self._text = ""
        self.pending: Awaited[Any] | None = None
        self._result: Done | None = None
        self._failure: Exception | None = None

    def text(self) -> str:
        """Return the state: JSON of the place, the answers, and what is joined."""
        if not self._text:
            joined = "null" if self.joined is None else written(self.joined)
            self._text = f"[{self._place},[{','.join(self._answers)}],{joined}]"
        return self._text

    def handed_over(self) -> Play:
        """Return another one at the same place, which has the coroutine now; this one calls the function anew."""
        other = Play(self._start, self._place, self._answers, None if self.joined is None else list(self.joined))
        for name in ("_coroutine", "_failure", "_plain", "_result", "_text", "pending"):
            setattr(other, name, getattr(self, name))
        self._coroutine = self._failure = self._result = self.pending = None
        return other

    def is_at(self, text: str) -> bool:
        """Say whether this is its state, as far as it has been written since it changed."""
        return self._text == text

    def move(self) -> Awaited[Any] | Done:
        """Return what it waits for, or its end. Raises what its function raised."""
        self._go_on()
        if self._failure is not None:
            raise self._failure
        found = self._result or self.pending
        assert found is not None  # noqa: S101 - a coroutine waits, has ended, or has raised
        return found

    def take(self, answer: Answer) -> None:
        """Give it the answer to what it waits for.

        Raises:
            ContractBroken: It does not ask what was answered.
        """
        self._go_on()
        self._hear(answer)
        self._answers.append(answer.text())
        self._text, self.joined = "", None

    def fold(self, result: Any) -> None:
        """Take in what the next of its children has come to."""
        self.joined = [] if self.joined is None else self.joined
        self.joined.append(result)
        self._text = ""

    def _go_on(self) -> None:
        """Call the function, and give it the answers so far, unless that is done."""
        if self._coroutine is not None:
            return
        start = self._start()
        self._coroutine, self._plain = start.begin(Run(self._place)), start.plain
        self._send(None)
        answers, self._answers = self._answers, []
        for text in answers:
            value, question = json.loads(text)
            self._hear(Answer(value, question))
            self._answers.append(text)

    def _hear(self, answer: Answer) -> None:
        step = len(self._answers)
        if self._failure is not None:
            raise self._failure
        asked = None if self.pending is None else self.pending.question
        if asked != answer.question:
            now = "it has ended by now" if asked is None else f"now it asks {asked!r}"
            raise ContractBroken(f"at step {step} it asked {answer.question!r} before, and {now}", FIX)
        assert self.pending is not None  # noqa: S101 - it has a question
        try:
            value = answer.value if self._plain else typed(self.pending, answer.value)
        except ValueError as error:
            raise ContractBroken(f"the answer to step {step} does not fit its type any more: {error}", FIX) from error
        self._send(value)

    def _send(self, value: Any) -> None:
        assert self._coroutine is not None  # noqa: S101 - the callers have made it
        self.pending = None
        try:
            tell = self._coroutine.throw if isinstance(value, TimeoutError) else self._coroutine.send
            waits_for = tell(value)
        except StopIteration as end:
            self._end(end.value)
        except Exception as error:  # noqa: BLE001 - the user's own code; told when the next step is asked for
            self._failure = ContractBroken(f"it calls asyncio: {error}", AWAIT) if _wants_loop(error) else error
        else:
            self._wait(waits_for)

    def _wait(self, waits_for: Any) -> None:
        if isinstance(waits_for, Awaited):
            self.pending = waits_for
            return
        self._failure = ContractBroken(f"it awaits {shortened(repr(waits_for))}, which is no step of a run", AWAIT)

    def _end(self, result: Any) -> None:
        kind = self._start().result
        if isinstance(result, Awaited) or inspect.iscoroutine(result):
            if not isinstance(result, Awaited):
                # Closed, for Python would warn of it as well.
                result.close()
            self._failure = ContractBroken("it returns what it has not awaited", "write `return await …`")
            return
        try:
            self._result = Done(kind.stored(result))
        except ValueError as error:
            self._failure = ContractBroken(
                f"its result cannot be stored as {kind.name}: {error}", "return what the function says that it returns"
            )


def _wants_loop(error: Exception) -> bool:
    """Say whether an error is that of asyncio where no loop runs: nothing else may be awaited here."""
    return isinstance(error, RuntimeError) and str(error).startswith(NO_LOOP)


def typed(awaited: Awaited[Any], answer: Any) -> Any:
    """Return the Python value of an answer as JSON; of a wait whose deadline has passed, the error to be raised.

    Raises ``ValueError`` where it does not fit.
    """
    if isinstance(awaited, Asked):
        return awaited.answer.typed(answer)
    if isinstance(awaited, Child):
        return awaited.workflow.result.typed(answer)
    if isinstance(awaited, Effected | Waited | Now):
        return _of_record(awaited, Record(**answer))
    assert isinstance(awaited, Together)  # noqa: S101 - there is no other kind
    return [typed(one, value) for one, value in zip(awaited.each, answer, strict=True)]


def _of_record(awaited: Effected[Any] | Waited[Any] | Now, record: Record) -> Any:
    if isinstance(awaited, Now):
        return datetime.fromtimestamp(record.at, UTC)
    if isinstance(awaited, Effected):
        return awaited.result.typed(record.value)
    if not awaited.name:
        return None
    return TimeoutError(f"nobody has answered {awaited.name}") if record.expired else awaited.answer.typed(record.value)
