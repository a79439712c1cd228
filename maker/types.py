"""The values that cross maker's interfaces. Nothing here does anything."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import reduce
from operator import add
from typing import Any, Generic, Literal, NamedTuple, TypeAlias, TypeVar

S = TypeVar("S")
A = TypeVar("A")


class Flag(StrEnum):
    """Why a sample gets no vote. The order is the order of the checks, and is stored: append only."""

    LENGTH = "length"
    """The reply was cut at its token limit."""
    EMPTY = "empty"
    """The reply holds nothing but white space."""
    FORMAT = "format"
    """The parser could not read it."""
    ILLEGAL = "illegal"
    """The rules of the task forbid the action."""
    REPEAT = "repeat"
    """Its free text is, word for word, that of an earlier sample of the step: one stream, not two votes."""
    REFUSAL = "refusal"
    """The model refused to answer, and its server says so."""
    CONTENT_FILTER = "content_filter"
    """A filter of the server broke the reply off, or kept it back."""
    BROKEN = "broken"
    """The server broke the reply off for another reason than its token limit: an error, say."""
    TOOL_CALL = "tool_call"
    """The model called a tool instead of answering."""
    REASONING = "reasoning"
    """The reply holds reasoning and no answer."""
    NO_TEXT = "no_text"
    """The server sent no reply here, or one of another kind than text."""

    @property
    def told_by_text(self) -> bool:
        """Whether the reply's text alone shows the reason: the others are what the model's server says of it."""
        return self in (Flag.EMPTY, Flag.FORMAT, Flag.ILLEGAL)


def _allowed(state: Any, action: Any) -> None:
    """Forbid nothing. A function with a name, so that step classes can be pickled."""


class OpenPart(NamedTuple):
    """A part of an answer that votes leave undecided: how many name it, and how many do not."""

    name: str
    votes: int
    against: int


@dataclass(frozen=True, slots=True)
class Parts(Generic[A]):
    """How an answer that is a set is voted on part by part: each part is a question of its own.

    A vote says yes to the parts that it names, and no to all others. The step's voter decides each part from these
    votes, as it decides a step. The step is decided when all parts are that any vote names. At the limit of votes the
    parts that are decided are the answer, and the others are named with it.

    Args:
        named: ``named(key)`` returns the names of the parts that a vote with this key names, each once.
        answer: ``answer(won, undecided)`` returns the action that holds the parts with these names, and says which
            parts are undecided. Without undecided ones, it is the same vote as a reply that names the same parts.
    """

    named: Callable[[str], Collection[str]]
    answer: Callable[[Sequence[str], Sequence[OpenPart]], A]


@dataclass(frozen=True, slots=True)
class StepClass(Generic[S, A]):
    """What all steps of one kind share. Build each once, not per step.

    Args:
        name: Short name, unique in its decomposer.
        parse: Reads an action from a reply; raises ``ValueError`` where it cannot (a red flag, not a fault).
        check: Says why the rules of the task forbid the action in this state, or None. It must know the rules
            only: a check that knows the answer would be the answer.
        max_tokens: Most tokens of a reply; a reply cut there is flagged.
        stop: Texts that end a reply.
        system: The part of the prompt that all steps of the class share.
        verbatim: Replies hold the action and nothing that would differ: long ones that are equal word for word agree,
            instead of being taken for one stream.
        schema: The JSON schema, as JSON values, that a reply is to match; a model may hold its replies to it. ``parse``
            reads them all the same: not every model does.
        role: Who decides such steps. A job may give each role models and a margin of its own.
        paraphrases: Other wordings of ``system``, which mean the same. Where the votes of such steps turn out to be too
            much alike, a job may have them asked in these words in turn (``monitor.policy = "decorrelate"``).
        memo: Whether a decision may be taken again where ``task.memo`` is on. Not that of a draw, which is to be one of
            several: proposals, say, among which a later step chooses.
        reading: What tells this way to read a reply from others, where steps of one name are read in several ways: a
            decision is taken again only where it is the same.
        read_before: How replies were read before ``parse`` became stricter, or their forms fewer: logs of that time
            verify by it. None where that was not otherwise.
        parts: How an answer is voted on part by part; None where it is voted on as a whole.
        kind_of: Names the kind of a step, by the part of its prompt that varies, where a model may be right on one kind
            and wrong on another: a pilot draws steps of every kind, and an exam has figures of each. None: all are of
            one kind.
        k: The margin of such steps where the job names none for the class; None: that of their role.
    """

    name: str
    parse: Callable[[str], A]
    check: Callable[[S, A], str | None] = _allowed
    max_tokens: int = 64
    stop: tuple[str, ...] = ()
    system: str = ""
    # A dictionary has no hash; classes are told apart without it.
    schema: Mapping[str, Any] | None = field(default=None, hash=False)
    verbatim: bool = False
    role: str = "solver"
    paraphrases: tuple[str, ...] = ()
    memo: bool = True
    reading: str = ""
    read_before: Callable[[str], A] | None = None
    parts: Parts[A] | None = None
    kind_of: Callable[[str], str] | None = None
    k: int | None = None


class Step(NamedTuple, Generic[S, A]):
    """The next thing to decide: its class, and the part of the prompt that varies."""

    kind: StepClass[S, A]
    prompt: str


class Done(NamedTuple):
    """The chain is at its end.

    ``result`` is a JSON value. ``ok`` false means that the task's own goal was missed: the run is ``failed``, and
    ``reason`` says how.
    """

    result: Any
    ok: bool = True
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Fork(Generic[S]):
    """Hand ``count`` independent sub-tasks to child chains, and go on when all of them are done.

    Args:
        count: How many children there are; 0 is joined at once.
        child: ``child(state, i)`` returns the state that child i (0-based) starts in, in any order and more than once.
            It must be a state of its own: ``apply`` may consume it.
        join: ``join(state, i, result)`` returns the state with child i's result folded in. Called in child order; may
            consume its ``state``, and may be called again from an earlier one. What it raises pauses the chain and
            names the child. None folds nothing: the results stay rows of the log.
        then: ``then(state)`` returns the state to go on with when all children are joined; None leaves it as it is.
            After a fork the state must be another one than before, or the chain would fork for ever.
        single: Every child is one step and then `Done`. Such a fork is stored as one chain with a row a child, so that
            a million children are a million rows and one chain.
        missed: ``missed(state, i, outcome)`` returns the state with it folded in that child i has no good decision, in
            its place among the children: ``undecided``, ``rejected`` (no reply was valid), ``failed`` (it could not be
            asked) or ``wrong`` (it ended so). Without it such a child holds its parent up. For ``single`` alone.
    """

    count: int
    child: Callable[[S, int], S]
    join: Callable[[S, int, Any], S] | None = None
    then: Callable[[S], S] | None = None
    single: bool = False
    missed: Callable[[S, int, str], S] | None = None


class Record(NamedTuple):
    """What came of an effect or a wait, as the log has it.

    ``value`` is a JSON value, ``at`` when it was recorded (seconds since 1970), ``by`` who has said so, "" for a
    function. ``expired`` says that a wait's deadline has passed without an answer.
    """

    value: Any
    at: float
    by: str = ""
    expired: bool = False


@dataclass(frozen=True, slots=True)
class Effect(Generic[S]):
    """Do something in the world, and go on with what came of it. Its result is recorded, never voted on.

    That it is about to be done is committed before ``call`` is called; recorded, it is never called again. A process
    that dies between leaves the effect in doubt.

    Args:
        name: What it does, for people.
        call: ``call(key)`` does it, in a thread, and returns a JSON value. The key is the same whenever the same effect
            is tried again, and no other has it: hand it on to a server that knows idempotency keys.
        then: ``then(state, record)`` returns the state to go on with; as with a fork, another one than before.
        retry: What becomes of an effect in doubt: ``ask`` pauses the run until a person has said what came of it,
            ``same-key`` calls again with the same key.
        truth: One JSON value, which stands for the result where nothing is to be done: a pilot goes on with it. Without
            one it asks no steps after the effect.
    """

    name: str
    call: Callable[[str], Any]
    then: Callable[[S, Record], S]
    retry: Literal["ask", "same-key"] = "ask"
    truth: tuple[Any, ...] = ()

    def rehearsed(self) -> Record | None:
        """Return the record that a pilot goes on with, None where it cannot."""
        return Record(self.truth[0], 0.0) if self.truth else None


@dataclass(frozen=True, slots=True)
class Wait(Generic[S]):
    """Wait for a person or another system to answer, or for a time. Where nothing else is to be done, the run rests.

    Args:
        name: What is waited for; ``maker answer`` names it. "" waits for the deadline alone.
        then: ``then(state, record)`` returns the state to go on with; another one than before.
        prompt: What a person is to read.
        schema: The JSON schema of the answer; any JSON value where it is empty.
        deadline_s: So many seconds after it begins it is over; None: never.
        truth: One JSON value, which stands for the answer in a pilot, as `Effect.truth` does.
    """

    name: str
    then: Callable[[S, Record], S]
    prompt: str = ""
    schema: Mapping[str, Any] = field(default_factory=dict)
    deadline_s: float | None = None
    truth: tuple[Any, ...] = ()

    def rehearsed(self) -> Record | None:
        """Return the record that a pilot goes on with, None where it cannot."""
        if not self.name:
            return Record(None, 0.0, expired=True)
        return Record(self.truth[0], 0.0) if self.truth else None


Next: TypeAlias = Step[S, A] | Fork[S] | Effect[S] | Wait[S] | Done
"""What ``Decomposer.next`` may return."""


class InputPart(NamedTuple):
    """Rows of one file that a run reads, as the file was when they were counted.

    ``name`` is its path from the folder or the URL that the input names. ``first`` is the number of the first of these
    rows in the file: not 0 for what a file has grown by. ``size`` and ``digest`` (BLAKE2b, 16 bytes, hex) are of the
    file up to the end of these rows.
    """

    name: str
    first: int
    rows: int
    size: int
    digest: str


class Outcome(StrEnum):
    """Why a child of a fork of single steps has no good decision."""

    UNDECIDED = "undecided"
    """Votes were cast, and none could win."""
    REJECTED = "rejected"
    """No reply was a valid vote."""
    FAILED = "failed"
    """It could not be asked: its state could not be made, or the model refuses its prompt."""
    AGAIN = "again"
    """It is to be decided anew."""
    WRONG = "wrong"
    """It is decided, and ended wrong."""
    REFUSED = "refused"
    """It is decided, and its parent's join has refused the result."""
    ASKED = "asked"
    """Votes were cast, none could win, and a person is asked."""
    DEFERRED = "deferred"
    """Votes were cast, none has won yet, and it waits for further ones of its run's budget."""

    @property
    def decided(self) -> bool:
        """Whether the child has a step all the same."""
        return self in (Outcome.WRONG, Outcome.REFUSED)

    @property
    def open(self) -> bool:
        """Whether the child is still to be decided."""
        return self in (Outcome.AGAIN, Outcome.ASKED, Outcome.DEFERRED)


class Truth(NamedTuple):
    """What a simulated model knows of one prompt: replies that are right, and wrong ones that the rules allow."""

    right: Sequence[str]
    wrong: Sequence[str]


Oracle: TypeAlias = Callable[[str], Truth]
"""Prompt → truth. Only simulated models and tests may ask it."""


class ExampleSet(NamedTuple):
    """Numbered prompts of one step class that a microagent is trained and examined on; `Oracle` has the replies.

    ``prompt(i)`` returns prompt i, for 0 <= i < ``size``: a pure function, which may be asked in any order, and return
    the same prompt for several i. ``weight`` is how often prompts are drawn from here, beside other sets of the
    task. ``whole`` says that here are all prompts that steps of the class can have, of whatever task of the kind: an
    examination of them all leaves nothing out. ``exam`` names a set that nothing is taught from: all of its prompts are
    examined beside the class's exam, whatever training showed of them.
    """

    kind: str
    size: int
    prompt: Callable[[int], str]
    weight: float = 1.0
    whole: bool = False
    exam: str = ""


Lesson = ExampleSet
"""The old name of `ExampleSet`."""


class Sample(NamedTuple):
    """One raw reply. ``tokens`` counts the completion; ``cut`` says that it ended at its token limit.

    ``logprob`` is the sum of the log-probabilities (natural) of its tokens, where the model was asked for them.
    ``flag`` is there where the model itself says why the reply can get no vote.
    """

    text: str
    tokens: int
    cut: bool = False
    logprob: float | None = None
    flag: RedFlag | None = None


class RedFlag(NamedTuple):
    """Why a sample gets no vote."""

    reason: Flag
    detail: str = ""


class Standing(NamedTuple):
    """The candidate in front, its votes, and the votes of its strongest rival (0 without one)."""

    leader: str
    votes: int
    rival: int


class Ballots(NamedTuple):
    """The valid votes so far: candidate's canonical key → votes, in order of first vote.

    ``weights`` holds the sum of what each candidate's votes weigh, in thousandths, for a voter that weighs them.
    """

    counts: Mapping[str, int]
    weights: Mapping[str, int] | None = None

    def standing(self) -> Standing | None:
        """Return who leads, or None before the first vote. Of two with equal votes the earlier one leads."""
        leader, votes, rival = "", 0, 0
        for key, n in self.counts.items():
            if n > votes:
                leader, votes, rival = key, n, votes
            elif n > rival:
                rival = n
        return Standing(leader, votes, rival) if votes else None

    def margin(self, key: str) -> int:
        """Return a candidate's votes less those of its strongest rival; it can be below 0."""
        return self.counts[key] - max((n for other, n in self.counts.items() if other != key), default=0)


class Decision(NamedTuple):
    """A winner by the voter's rule. ``margin`` is its votes less those of the strongest rival.

    It can be below 0 where the voter weighs votes.
    """

    winner: str
    margin: int


class More(NamedTuple):
    """Not decided: ``n`` is the fewest further valid votes that could settle it."""

    n: int


class Undecidable(NamedTuple):
    """No further vote could settle it."""

    reason: str


Verdict: TypeAlias = Decision | More | Undecidable


class Request(NamedTuple):
    """One prompt, ``n`` independent replies. Reply i is drawn with ``seed + i``.

    ``id`` is unique in a worker's life. ``system`` is the shared part of the prompt, ``prompt`` the part that varies.
    ``schema`` is the step class's own, not a copy. ``model`` is the number of the model in its pool, ``role`` the step
    class's. ``temperature`` is there where it is not to be the model's own.
    """

    id: int
    system: str
    prompt: str
    n: int
    seed: int
    max_tokens: int
    stop: tuple[str, ...]
    kind: str
    schema: Mapping[str, Any] | None = None
    model: int = 0
    role: str = "solver"
    temperature: float | None = None


class Finished(NamedTuple):
    """A request's replies in order of index, at most n of them, with the tokens that were billed.

    ``cached_tokens`` of the prompt's were served from a cache of prefixes, as far as the model says. ``retries`` counts
    tries that came to nothing before this one. ``surplus`` counts replies that nobody asked for: they are billed, and
    cannot vote.
    """

    id: int
    samples: tuple[Sample, ...]
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0
    retries: int = 0
    surplus: int = 0


class Failed(NamedTuple):
    """A request that got no reply, or was cancelled under way, with what it cost.

    ``unusable`` true says that asking again cannot help as things are configured (a refused key, say). ``refused`` true
    says that this prompt cannot be answered, too long as it is, say; another one may. ``lost`` true says that it came
    to nothing under way (cut off, or answered by another model), and unless it is ``unusable`` may be asked again.
    ``alone`` true says that the server answered others in the second half of this one's failed tries, ``reached`` that
    there is a server, which gave up itself or took too long. ``calls`` of its replies are billed as told, and cannot
    vote; ``cached_tokens`` are those of their prompts that came from a cache. ``unaccounted`` more were sent for, and
    nobody says what they cost.
    """

    id: int
    reason: str
    fix: str = ""
    unusable: bool = False
    prompt_tokens: int = 0
    completion_tokens: int = 0
    refused: bool = False
    retries: int = 0
    lost: bool = False
    calls: int = 0
    unaccounted: int = 0
    alone: bool = False
    reached: bool = False
    cached_tokens: int = 0


class ConcurrencyChange(NamedTuple):
    """A server gets ``concurrency`` requests at once from now on, and ``before`` as many as that.

    ``model`` is its number in a pool. ``reason`` says in words why it gets fewer; it is empty where it gets more again.
    ``timeout_s`` is when requests are given up.
    """

    model: int
    concurrency: int
    before: int
    reason: str
    timeout_s: float


class EndpointChange(NamedTuple):
    """A model's replies come from another endpoint than before, for a ``reason``: empty where it is the first again.

    ``model`` is its number in a pool; ``url`` and ``before`` are base URLs.
    """

    model: int
    url: str
    before: str
    reason: str


ServerChange: TypeAlias = ConcurrencyChange | EndpointChange


class Usage(NamedTuple):
    """What was spent. A call is one sample by one microagent; a request asks for several at once.

    ``cached_tokens`` are prompt tokens that came from a cache of prefixes. ``retries`` counts tries that came to
    nothing and were repeated. ``unaccounted`` counts calls that were cut off or cancelled under way: they may be
    billed, and nobody says how much.
    """

    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    requests: int = 0
    cached_tokens: int = 0
    retries: int = 0
    unaccounted: int = 0

    def plus(self, other: Usage) -> Usage:
        """Return the sum of both."""
        return Usage(*map(add, self, other))

    @property
    def tokens(self) -> int:
        """Prompt and completion tokens together."""
        return self.prompt_tokens + self.completion_tokens


NO_USAGE = Usage()


def sum_usage(usages: Iterable[Usage]) -> Usage:
    """Return what was spent in all."""
    return reduce(Usage.plus, usages, NO_USAGE)


class Account(NamedTuple):
    """Who spends: a model, by its number in the pool, in a role."""

    model: int
    role: str


Spent: TypeAlias = Mapping[Account, Usage]
"""What was spent, by model and role."""


class Allowance(NamedTuple):
    """What may be spent, worst case: calls, tokens and money."""

    calls: int
    tokens: int
    cost: float

    def plus(self, other: Allowance, sign: int = 1) -> Allowance:
        """Return the sum, or with ``sign`` -1 the difference."""
        calls, tokens, cost = other
        return Allowance(self.calls + sign * calls, self.tokens + sign * tokens, self.cost + sign * cost)

    def less(self, used: Allowance) -> Allowance:
        """Return what is left of this, nothing where more is used."""
        calls, tokens, cost = self.plus(used, -1)
        return Allowance(max(0, calls), max(0, tokens), max(0.0, cost))

    def within(self, most: Allowance) -> Allowance:
        """Return this, and of each kind no more than ``most`` has."""
        return Allowance(min(self.calls, most.calls), min(self.tokens, most.tokens), min(self.cost, most.cost))

    def covers(self, need: Allowance) -> bool:
        """Say whether this is enough."""
        return self.calls >= need.calls and self.tokens >= need.tokens and self.cost >= need.cost


NOTHING = Allowance(0, 0, 0.0)


class BatchState(StrEnum):
    """How a batch of requests that a provider works on stands."""

    SENDING = "sending"
    """It is about to be submitted: whether it was, its provider has to be asked."""
    SENT = "sent"
    """The provider has it, and has given its id."""
    HEARD = "heard"
    """It is over, and what it cost is in the ledger. Its replies are read from the provider when they are needed."""
    VOID = "void"
    """It was never submitted, or was refused as a whole: it cost nothing."""


class SentBatch(NamedTuple):
    """A batch of requests, as the store has it.

    ``number`` counts the run's batches from 1; ``tag`` names it at the provider, and no other batch. ``file`` is the
    provider's id of its requests, "" where they were sent with it; ``id`` its own, "" where that is not known.
    ``names`` are those of its requests, in their order. ``worst`` is what it may cost, ``begun_at`` when it was
    submitted, in seconds since 1970.
    """

    number: int
    tag: str
    role: str
    names: tuple[str, ...]
    worst: Allowance
    begun_at: float
    state: BatchState = BatchState.SENDING
    file: str = ""
    id: str = ""


class BatchNews(NamedTuple):
    """What became of a batch: its state now, what it has cost by now, and facts for people.

    ``usage`` is what was spent, for the role that asked. It is there once, with the state `BatchState.HEARD`.
    """

    number: int
    state: BatchState
    role: str
    facts: Mapping[str, Any]
    usage: Usage = NO_USAGE


class Prices(NamedTuple):
    """Money for one token: of a prompt, of a completion, and of a prompt's part that came from a cache."""

    prompt: float = 0.0
    completion: float = 0.0
    cached: float = 0.0

    @classmethod
    def per_million(cls, prompt: float, completion: float, cached: float | None = None) -> Prices:
        """Return the prices of a million tokens each as prices of one; what is cached costs as the rest by default."""
        return cls(prompt / 1e6, completion / 1e6, (prompt if cached is None else cached) / 1e6)

    def of(self, prompt_tokens: float, completion_tokens: float, cached_tokens: float = 0) -> float:
        """Return what these tokens cost; ``cached_tokens`` are among those of the prompt."""
        read = (prompt_tokens - cached_tokens) * self.prompt + cached_tokens * self.cached
        return read + completion_tokens * self.completion

    def most(self, prompt_tokens: float, completion_tokens: float) -> float:
        """Return what these tokens cost at most, whatever of them is cached."""
        return prompt_tokens * max(self.prompt, self.cached) + completion_tokens * self.completion


def money(amount: float) -> str:
    """Return an amount in plain digits, in the unit of the prices: 1,234.50, 0.042, 0.0000002617.

    From 1 on it has two digits after the point, below it four that count.
    """
    if not math.isfinite(amount) or abs(amount) >= 1:
        return f"{amount:,.2f}"
    if amount == 0:
        return "0"
    return f"{amount:.{min(30, 3 - math.floor(math.log10(abs(amount))))}f}".rstrip("0").rstrip(".")


def spent_in_all(spent: Spent, prices: Sequence[Prices]) -> Allowance:
    """Return what accounts have spent together; ``prices`` are those of the models, by number."""
    total = NOTHING
    for account, usage in spent.items():
        cost = prices[account.model].of(usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens)
        total = total.plus(Allowance(usage.calls, usage.tokens, cost))
    return total


class Grant(NamedTuple):
    """An allowance that is written in the store before it is used; ``key`` is its row."""

    key: int
    allowance: Allowance


class Starved(NamedTuple):
    """A worker has nothing in flight, and its grant does not cover what it would ask next."""

    grant: int
    need: Allowance


class Lot(NamedTuple):
    """Requests and tokens of a shared limit that were granted together, in one ``second`` of the store's clock."""

    second: int
    requests: int
    tokens: int


class SharedClaim(NamedTuple):
    """How a worker stands to a shared limit, and what it wants of it.

    ``received`` is the number of the last grant that it has. It wants ``requests`` and ``tokens`` beyond what is left
    of the lots that it ``held`` then; ``least`` tokens are what the request takes that waits longest, None if none
    waits. It wants ``slots`` requests in flight, may have ``may`` and has ``busy``. ``returned`` it gives back; for
    ``pause_s`` its server wants no requests.
    """

    received: int
    requests: int
    tokens: int
    held: tuple[Lot, ...]
    least: int | None
    slots: int
    may: int
    busy: int
    returned: tuple[Lot, ...] = ()
    pause_s: float = 0.0

    @property
    def idle(self) -> bool:
        """Whether the worker has nothing of the limit and wants nothing."""
        return self == SharedClaim(self.received, 0, 0, (), None, 0, self.may, 0)


class SharedGrant(NamedTuple):
    """What a worker may use of a shared limit: one more lot, ``slots`` requests in flight, none for ``pause_s``."""

    number: int
    lot: Lot
    slots: int
    pause_s: float
