"""One chain's walk, driven by hand with the simulated model: what it asks, decides, and how it ends."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import Any, NamedTuple

import pytest

from decomposers.hanoi import Hanoi, HanoiParams
from maker.errors import MakerError, TaskFailed
from maker.models.settings import SimulatedSettings
from maker.models.simulated import SimulatedModel
from maker.plugin import Ballots, Decision, Decomposer, Effect, Fork, Step, StepClass, Verdict, Voter, Wait
from maker.types import Finished, Flag, Request, Sample
from maker.voting.chain import SNAPSHOT_STEPS, ChainRunner
from maker.voting.collector import Ask
from maker.voting.messages import ChainAt, Decided, Ended, Forked, Stuck
from maker.voting.paths import Path
from maker.voting.policy import SOLVER, Role, Rules, Shared
from maker.voting.seeds import ChainSeeds
from maker.voting.tally import genesis, link, unpack
from voters.first_to_ahead_by_k import FirstToAheadByK, FirstToAheadByKParams

GENESIS = genesis("test")
SIMULATED = SimulatedSettings(p=0.9, rivals=2, malformed=0.05)


def rules(*, seed: int = 0, k: int = 3, max_votes: int = 100, samples: str = "disputed") -> Rules:
    return Rules(seed, samples, {SOLVER: Role(FirstToAheadByK(FirstToAheadByKParams(k=k)), max_votes)})


def start(task: Decomposer[Any, Any], *, path: Path = ()) -> ChainAt:
    return ChainAt(1, path, 0, 0, GENESIS, task.state.write(task.start()))


def begin(
    task: Decomposer[Any, Any],
    its_rules: Rules,
    at: ChainAt | None = None,
    *,
    tickets: Iterator[int] | None = None,
) -> ChainRunner[Any, Any]:
    """Return the runner of a chain, by default of the root from its start."""
    shared = Shared.of(task, its_rules)
    return ChainRunner(shared._replace(tickets=tickets or shared.tickets), at or start(task))


class Walk(NamedTuple):
    """What a chain decided, and how it ended."""

    steps: list[Decided]
    end: Ended | Stuck | Forked
    requests: list[Request]


def walk(
    task: Decomposer[Any, Any],
    its_rules: Rules,
    at: ChainAt | None = None,
    *,
    tickets: Iterator[int] | None = None,
    model: SimulatedSettings = SIMULATED,
) -> Walk:
    """Drive a chain to its end with the simulated model."""
    runner = begin(task, its_rules, at, tickets=tickets)
    simulated = SimulatedModel(model, task.oracle())
    steps, requests = [], []
    while isinstance(move := runner.ask(), Ask):
        requests += move.requests
        simulated.submit(move.requests)
        for reply in simulated.poll(0.0):
            assert isinstance(reply, Finished)
            if (decided := runner.hear(reply)) is not None:
                steps.append(decided)
    return Walk(steps, move, requests)


def asked(runner: ChainRunner[Any, Any]) -> Request:
    """Return the one request that the chain's step needs."""
    move = runner.ask()
    assert isinstance(move, Ask)
    (request,) = move.requests
    return request


def answer(runner: ChainRunner[Any, Any], *replies: str) -> Decided | None:
    """Answer the chain's next request with these replies."""
    request = asked(runner)
    samples = tuple(Sample(reply, len(reply)) for reply in replies)
    return runner.hear(Finished(request.id, samples, 10, sum(map(len, replies))))


@pytest.fixture(scope="module")
def tower() -> Hanoi:
    """Return a task of 127 steps."""
    return Hanoi(HanoiParams(disks=7))


def test_the_log_follows_from_the_run_seed(tower: Hanoi) -> None:
    """The same seed gives the same steps, votes, flags and digests; another seed gives others."""
    one, again, other = walk(tower, rules()), walk(tower, rules()), walk(tower, rules(seed=1))
    assert len(one.steps) == 127
    assert one.steps == again.steps
    assert one.end == again.end
    assert one.steps[-1].digest != other.steps[-1].digest
    assert [step.tally for step in one.steps] != [step.tally for step in other.steps]


def test_the_path_of_a_chain_is_part_of_its_seeds(tower: Hanoi) -> None:
    """Two chains of one run draw other samples for the same prompts."""
    root, child = walk(tower, rules()), walk(tower, rules(), start(tower, path=(0, 0, 3)))
    assert {request.seed for request in root.requests}.isdisjoint(request.seed for request in child.requests)


def test_request_ids_do_not_matter(tower: Hanoi) -> None:
    """A worker that has asked for other chains before decides the same."""
    assert walk(tower, rules()).steps == walk(tower, rules(), tickets=count(1000, 7)).steps


@pytest.mark.parametrize("cut", [0, 1, 40, 126, 127])
def test_restarted_in_the_middle_it_goes_on_as_before(tower: Hanoi, cut: int) -> None:
    """From a state, an index and a digest the rest of the log is identical, to the last sample."""
    whole = walk(tower, rules(samples="all"))
    state, digest = tower.start(), GENESIS
    for step in whole.steps[:cut]:
        state, digest = tower.apply(state, tower.action.read(step.action)), step.digest
    rest = walk(tower, rules(samples="all"), ChainAt(1, (), cut, 0, digest, tower.state.write(state)))
    assert rest.steps == whole.steps[cut:]
    assert rest.end == whole.end


def test_each_step_links_to_the_one_before(tower: Hanoi) -> None:
    """A step's digest is made of the one before, its place, its action and its tally."""
    before = GENESIS
    for index, step in enumerate(walk(tower, rules()).steps):
        assert step.idx == index
        assert step.digest == link(before, index, 0, step.action, step.tally)
        before = step.digest


def test_a_step_counts_votes_flags_and_tokens(letters: Any) -> None:
    """Votes, flags and tokens are those of all requests of the step, and the next step starts from zero."""
    runner = begin(letters(2), rules(k=2))
    assert answer(runner, "x", "4") is None
    assert answer(runner, "a") is None
    decided = answer(runner, "x", "x")
    assert decided is not None
    tally = unpack(decided.tally)
    assert (tally.votes, tally.rivals, tally.flags, tally.rounds) == ((3,), {"a": (1,)}, {Flag.FORMAT: (1,)}, 3)
    assert (decided.votes, decided.flags, decided.disputed, decided.tokens) == (4, 1, True, 3 * 10 + 5)
    second = answer(runner, "x", "x")
    assert second is not None
    assert (second.votes, second.flags, second.disputed, second.tokens) == (2, 0, False, 12)


def test_requests_carry_seed_and_class(letters: Any) -> None:
    """A request's seed is that of the step's next vote, and it carries what its step class says."""
    task = letters(1)
    task.kind = StepClass("letter", parse=str, max_tokens=5, stop=("\n",), system="Say a letter.")
    task.classes = (task.kind,)
    runner = begin(task, rules(seed=9, k=2), tickets=count(5))
    first = asked(runner)
    seeds = ChainSeeds(9)
    assert first == Request(5, "Say a letter.", "letter 0", 2, seeds.at(0, 0, 0, 0), 5, ("\n",), "letter")
    runner.hear(Finished(5, (Sample("x", 1), Sample("a", 1)), 0, 0))
    second = asked(runner)
    assert (second.id, second.n, second.seed) == (6, 2, seeds.at(0, 0, 0, 2))


@pytest.mark.parametrize(
    ("level", "kept"), [("none", [False, False, False]), ("disputed", [False, True, True]), ("all", [True, True, True])]
)
def test_samples_are_kept_at_the_chosen_level(letters: Any, level: str, kept: list[bool]) -> None:
    """Of a clean, a flagged and a disputed step, ``disputed`` keeps the last two, and keeps all their samples."""
    runner = begin(letters(3), rules(k=1, samples=level))
    steps = [answer(runner, "x"), answer(runner, "4") or answer(runner, "x")]
    runner_of_two = begin(letters(3), rules(k=2, samples=level))
    answer(runner_of_two, "x", "a")
    steps.append(answer(runner_of_two, "x", "x"))
    assert all(step is not None for step in steps)
    heard = [step.heard for step in steps if step is not None]
    assert [bool(one) for one in heard] == kept
    prompts = [("", "letter 0"), ("", "letter 1"), ("", "letter 0")]
    assert [one[:2] for one in heard if one] == [prompt for prompt, its in zip(prompts, kept, strict=True) if its]
    if level == "disputed":
        assert [len(one.samples) if one else 0 for one in heard] == [0, 2, 4]


def test_snapshots_are_due_at_multiples_of_a_thousand(letters: Any) -> None:
    """The state is written down with the last step before every multiple of 1,000, and with no other."""
    assert SNAPSHOT_STEPS == 1000
    task = letters(2005)
    steps = walk(task, rules(k=1)).steps
    assert {step.idx + 1: step.state for step in steps if step.state} == {1000: "1000", 2000: "2000"}


class WideCodec:
    """A number is written as so many digits, with zeros before it."""

    def __init__(self, width: int) -> None:
        self._width = width

    def write(self, value: int) -> str:
        """Return the digits."""
        return str(value).zfill(self._width)

    def read(self, text: str) -> int:
        """Return the number."""
        return int(text)

    def show(self, value: int) -> int:
        """Return the number."""
        return value


@pytest.mark.parametrize(
    ("width", "taken"),
    [(999, [1000, 2000, 3000, 4000]), (1000, [1000, 2000, 3000, 4000]), (1001, [2000, 4000]), (2001, [3000])],
)
def test_snapshots_wait_until_the_actions_are_as_long_as_the_state(letters: Any, width: int, taken: list[int]) -> None:
    """A state longer than the actions since its last snapshot is not written: of a letter a step, 1,000 are 1,000."""
    task = letters(4005)
    task.state = WideCodec(width)
    steps = walk(task, rules(k=1), model=SimulatedSettings(p=1.0)).steps
    assert [step.idx + 1 for step in steps if step.state] == taken
    # A chain that goes on in the middle takes them where it would have: what came since the last one is handed over.
    weight = 500 if taken[0] == 1000 else 1500
    place = ChainAt(1, (), 1500, 0, steps[1499].digest, task.state.write(1500), weight)
    rest = walk(task, rules(k=1), place, model=SimulatedSettings(p=1.0)).steps
    assert rest == steps[1500:]


def test_the_end_carries_its_result(tower: Hanoi) -> None:
    """At the end the chain returns what `Done` holds, and that is of the state that its steps lead to."""
    whole = walk(tower, rules(k=6))
    assert whole.end == Ended({"moves": 127, "pegs": "CCCCCCC"}, True, "")
    state = tower.start()
    for step in whole.steps:
        state = tower.apply(state, tower.action.read(step.action))
    assert state.pegs == "CCCCCCC"


def test_stuck_says_where_and_why(letters: Any) -> None:
    """A step that max_votes ends stops the chain there, with its index, its class and the count."""
    runner = begin(letters(3), rules(k=3, max_votes=4))
    assert answer(runner, "x", "x", "x") is not None
    assert answer(runner, "x", "a", "4") is None
    stuck = runner.ask()
    why = "max_votes = 4: 1 for x, 1 for a; flagged: 1 format (no letter: '4'); 3 more would be the least"
    assert stuck[:4] == (1, 0, "letter", why)
    assert runner.ask() == stuck


def test_an_unsolicited_reply_is_refused(letters: Any) -> None:
    """A reply before anything was asked is a fault, not votes."""
    runner = begin(letters(3), rules())
    with pytest.raises(TaskFailed, match="asks for none"):
        runner.hear(Finished(1, (Sample("x", 1),), 1, 1))


@pytest.mark.parametrize("single", [False, True])
def test_a_fork_hands_the_chain_over_to_its_children(letters: Any, single: bool) -> None:
    """A chain that forks says where it stands, into how many children, and of which kind; it says so again if asked."""

    class Task(letters):  # type: ignore[misc]
        def next(self, state: int) -> Any:
            return (
                Fork(2, lambda state, i: state, then=lambda state: 2, single=single)
                if state == 1
                else super().next(state)
            )

    runner = begin(Task(3), rules(k=1))
    first = answer(runner, "x")
    assert first is not None
    forked = runner.ask()
    assert forked == Forked(ChainAt(1, (), 1, 0, first.digest, "1"), 2, single)
    assert runner.ask() == forked


@pytest.mark.parametrize("move", [Effect("mail", str, max), Wait("approval", max)])
def test_a_chain_that_does_something_says_where_it_stands(letters: Any, move: Any) -> None:
    """As a fork of one child, which is no worker's; in a child of a fork of single steps it has no place."""

    class Task(letters):  # type: ignore[misc]
        def next(self, state: int) -> Any:
            return move if state == 1 else super().next(state)

    runner = begin(Task(3), rules(k=1))
    first = answer(runner, "x")
    assert first is not None
    assert runner.ask() == Forked(ChainAt(1, (), 1, 0, first.digest, "1"), 1, single=False, outside=True)
    child = begin(Task(3), rules(k=1), at=ChainAt(1, (0, 0), 1, 0, b"", "1", single=True))
    with pytest.raises(TaskFailed, match=f"next returned {type(move).__name__}"):
        child.ask()


@pytest.mark.parametrize("name", [7, "a\0b", "\ud800"])
def test_the_name_of_an_effect_is_text(letters: Any, name: Any) -> None:
    """It is stored, and people read it."""

    class Task(letters):  # type: ignore[misc]
        def next(self, state: int) -> Any:
            return Effect(name, str, max)

    with pytest.raises(TaskFailed, match="an effect or wait has the name"):
        begin(Task(3), rules(k=1)).ask()


def failing(letters: Any, **methods: Any) -> ChainRunner[Any, Any]:
    """Return a chain of a task with other methods, with its first step decided."""
    task = type("Task", (letters,), methods)(3)
    runner = begin(task, rules(k=1))
    answer(runner, "x")
    return runner


@pytest.mark.parametrize("nonsense", [None, "move", 7, ("letter", "say"), StepClass("letter", parse=str)])
def test_next_must_return_a_move(letters: Any, nonsense: Any) -> None:
    """Whatever else ``next`` returns is the task's fault, told with its type."""

    def next_move(self: Any, state: int) -> Any:
        return nonsense if state == 1 else Step(self.kind, "say")

    with pytest.raises(TaskFailed, match=rf"step 1: letters\.next returned {type(nonsense).__name__}") as caught:
        failing(letters, next=next_move).ask()
    assert caught.value.facts == {"step": 1}
    assert "Step, Done" in caught.value.fix


def test_a_class_must_be_declared(letters: Any) -> None:
    """A step class that ``classes`` does not list is refused, and those listed are named."""

    def next_move(self: Any, state: int) -> Any:
        return Step(StepClass("word", parse=str) if state == 1 else self.kind, "say")

    with pytest.raises(TaskFailed, match=r"step 1: letters asked for step class 'word'") as caught:
        failing(letters, next=next_move).ask()
    assert "letter" in caught.value.fix


@pytest.mark.parametrize(
    ("where", "what"),
    [("next", "next"), ("apply", "apply"), ("parse", "parse, check or decide"), ("check", "parse, check or decide")],
)
def test_what_the_task_raises_is_told_with_the_step(letters: Any, where: str, what: str) -> None:
    """A KeyError in the task's own code is its fault: named, with the step, never a raw traceback."""

    def boom(*arguments: Any) -> Any:
        raise KeyError("lost")

    class Task(letters):  # type: ignore[misc]
        def __init__(self, steps: int) -> None:
            super().__init__(steps)
            self.bad = StepClass(
                "bad", parse=boom if where == "parse" else str, check=boom if where == "check" else lambda s, a: None
            )
            self.classes = (self.kind, self.bad)

        def next(self, state: int) -> Any:
            if state != 1:
                return super().next(state)
            return boom() if where == "next" else Step(self.bad, "say")

        def apply(self, state: int, action: str) -> int:
            return boom() if where == "apply" and state == 1 else state + 1

    runner = begin(Task(3), rules(k=1))
    answer(runner, "x")
    with pytest.raises(TaskFailed, match=rf"step 1: letters: {what} raised KeyError: 'lost'") as caught:
        answer(runner, "x")
    assert caught.value.facts == {"step": 1}
    assert isinstance(caught.value.__cause__, KeyError)


def test_a_value_error_in_parse_is_a_flag(letters: Any) -> None:
    """A reply that cannot be read costs its vote and nothing else."""
    runner = begin(letters(1), rules(k=1))
    assert answer(runner, "4") is None
    decided = answer(runner, "x")
    assert decided is not None
    assert (decided.votes, decided.flags) == (1, 1)


def test_a_state_that_cannot_be_read_is_told(letters: Any) -> None:
    """A chain that is started from a damaged state says so."""
    with pytest.raises(TaskFailed, match=r"step 4: letters: state\.read raised ValueError"):
        begin(letters(9), rules(), ChainAt(1, (), 4, 0, GENESIS, "four"))


def test_a_voter_may_not_decide_without_votes(letters: Any) -> None:
    """A voter that names a winner before the first vote is told as faulty, not followed."""

    class Rash(Voter):
        name = "rash"

        def decide(self, ballots: Ballots) -> Verdict:
            return Decision("x", 1)

        @property
        def least(self) -> int:
            return 0

    runner = begin(letters(1), rules()._replace(roles={SOLVER: Role(Rash(), 100)}))
    with pytest.raises(MakerError, match="step 0"):
        runner.ask()


def test_a_key_that_is_no_unicode_is_a_flag(letters: Any) -> None:
    """Half a surrogate pair, which a reply's JSON can spell, costs the reply its vote and does not end the worker."""

    class Task(letters):  # type: ignore[misc]
        def __init__(self, steps: int) -> None:
            super().__init__(steps)
            self.kind = StepClass("letter", parse=lambda text: "\ud800" if text == "bad" else text)
            self.classes = (self.kind,)

    runner = begin(Task(1), rules(k=1))
    assert answer(runner, "bad") is None
    decided = answer(runner, "x")
    assert decided is not None
    assert decided.flags == 1
