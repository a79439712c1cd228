"""The Towers of Hanoi: its rules against a second implementation of them, its prompts, codecs and ends."""

from __future__ import annotations

import importlib.util
import itertools
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from decomposers.hanoi import Hanoi, HanoiParams, prompts
from decomposers.hanoi.prompts import read
from decomposers.hanoi.rules import (
    Board,
    BoardCodec,
    Move,
    MoveAndPegs,
    MoveAndPegsCodec,
    MoveCodec,
    forbidden,
    legal_moves,
    moved,
)
from maker import api
from maker.errors import JobError
from maker.plugin import Done, Step
from maker.types import Flag, RedFlag, Sample
from maker.voting.election import Election
from maker.voting.red_flags import Candidate, screen
from voters.first_to_ahead_by_k import FirstToAheadByK, FirstToAheadByKParams

DATA = Path(__file__).parents[3] / "examples" / "hanoi_microagent" / "data.py"
ANSWERS = ["move", "move+state", "either"]
FORMS = list(itertools.product(ANSWERS, ["compact", "english"]))


def task(disks: int, answer: Any = "move", prompt: Any = "compact") -> Hanoi:
    return Hanoi(HanoiParams(disks=disks, answer=answer, prompt=prompt))


def walk(hanoi: Hanoi, wrong_at: int = -1, which: int = 0) -> tuple[list[Any], Done]:
    """Follow the oracle to the end, but for one wrong legal move; every reply goes through parse, check and codec."""
    oracle = hanoi.oracle()
    state, actions = hanoi.start(), []
    while isinstance(move := hanoi.next(state), Step):
        truth = oracle(move.prompt)
        reply = truth.wrong[which % len(truth.wrong)] if len(actions) == wrong_at else truth.right[0]
        action = move.kind.parse(reply)
        assert move.kind.check(state, action) is None
        assert hanoi.action.read(hanoi.action.write(action)) == action
        assert len(reply) < move.kind.max_tokens
        actions.append(action)
        state = hanoi.apply(state, action)
    assert isinstance(move, Done)
    return actions, move


# --- a second implementation of the rules: three stacks ---


def stacks(pegs: str) -> list[list[int]]:
    """Return the disks of each peg, the largest first."""
    return [[disk for disk in range(len(pegs), 0, -1) if pegs[disk - 1] == peg] for peg in "ABC"]


def legal_by_stacks(pegs: str) -> set[tuple[int, str, str]]:
    """Return every legal move as disk, source and target, found by taking the top disk of each stack."""
    towers = stacks(pegs)
    found = set()
    for source, target in itertools.permutations(range(3), 2):
        if towers[source] and (not towers[target] or towers[source][-1] < towers[target][-1]):
            found.add((towers[source][-1], "ABC"[source], "ABC"[target]))
    return found


EVERY_BOARD = ["".join(pegs) for disks in range(1, 5) for pegs in itertools.product("ABC", repeat=disks)]


@pytest.mark.parametrize("pegs", EVERY_BOARD)
def test_the_rules_allow_exactly_what_three_stacks_allow(pegs: str) -> None:
    """On every board of one to four disks each conceivable move is forbidden exactly where the stacks forbid it."""
    allowed = legal_by_stacks(pegs)
    moves = [Move(disk, *way) for disk in range(1, len(pegs) + 3) for way in itertools.product("ABC", repeat=2)]
    assert {tuple(move) for move in moves if forbidden(pegs, move) is None} == allowed
    assert {tuple(move) for move in legal_moves(pegs)} == allowed
    assert len(legal_moves(pegs)) == len(allowed)
    for disk, source, target in allowed:
        after = stacks(moved(pegs, Move(disk, source, target)))
        towers = stacks(pegs)
        towers["ABC".index(target)].append(towers["ABC".index(source)].pop())
        assert after == towers


@pytest.mark.parametrize(("answer", "prompt"), FORMS)
@pytest.mark.parametrize("pegs", [board for board in EVERY_BOARD if len(board) == 3])
def test_the_check_knows_the_rules_and_no_strategy(pegs: str, answer: str, prompt: str) -> None:
    """Whatever the rules allow passes the check, whichever move was made before: a wrong move is not illegal."""
    hanoi = task(3, answer, prompt)
    (kind,) = hanoi.classes
    for previous in [None, *(Move(*move) for move in legal_by_stacks(pegs))]:
        board = Board(pegs, previous, 1)
        for disk, source, target in legal_by_stacks(pegs):
            move = Move(disk, source, target)
            pair = MoveAndPegs(move, moved(pegs, move))
            for action in {"move": [move], "move+state": [pair], "either": [move, pair]}[answer]:
                assert kind.check(board, action) is None


@given(st.integers(1, 64), st.randoms(use_true_random=False))
def test_large_boards_follow_the_rules_too(disks: int, rng: Any) -> None:
    """Boards of up to 64 disks allow what three stacks allow."""
    pegs = "".join(rng.choice("ABC") for _ in range(disks))
    assert {tuple(move) for move in legal_moves(pegs)} == legal_by_stacks(pegs)


@pytest.mark.parametrize(
    ("pegs", "move", "why"),
    [
        ("AAA", Move(4, "A", "B"), "there is no disk 4"),
        ("BAA", Move(1, "A", "C"), "disk 1 is on B, not on A"),
        ("AAA", Move(1, "A", "A"), "disk 1 stays on A"),
        ("AAA", Move(2, "A", "B"), "disk 1 lies on disk 2"),
        ("BAA", Move(2, "A", "B"), "disk 1 on B is smaller than disk 2"),
    ],
)
def test_a_forbidden_move_says_which_rule_it_breaks(pegs: str, move: Move, why: str) -> None:
    """The reason is kept with the flag, so it names disk and pegs."""
    assert forbidden(pegs, move) == why


# --- the task ---


@pytest.mark.parametrize("disks", range(1, 13))
def test_the_oracle_solves_every_tower(disks: int) -> None:
    """From 1 to 12 disks the oracle's moves carry the tower to C, odd beginning with 1AC and even with 1AB."""
    hanoi = task(disks)
    actions, end = walk(hanoi)
    assert len(actions) == 2**disks - 1 == hanoi.expected_steps()
    assert str(actions[0]) == ("1AC" if disks % 2 else "1AB")
    assert end == Done({"moves": 2**disks - 1, "pegs": "C" * disks})


@pytest.mark.parametrize(("answer", "prompt"), FORMS)
@pytest.mark.parametrize("disks", [1, 2, 5])
def test_every_form_solves_the_same_tower(disks: int, answer: str, prompt: str) -> None:
    """All forms of prompt and answer lead to the same moves."""
    actions, end = walk(task(disks, answer, prompt))
    moves = [action.move if isinstance(action, MoveAndPegs) else action for action in actions]
    assert moves == walk(task(disks))[0]
    assert end.ok


@pytest.mark.parametrize("answer", ANSWERS)
@pytest.mark.parametrize("step", range(15))
def test_one_wrong_move_costs_the_run(step: int, answer: str) -> None:
    """A legal but wrong move at any one step of four disks, whichever it is, never ends on C."""
    for which in range(2):
        actions, end = walk(task(4, answer), wrong_at=step, which=which)
        assert len(actions) == 15
        assert not end.ok
        assert end.reason == "after 15 moves the tower is not on peg C: some move before was legal, but wrong"
        assert end.result["moves"] == 15
        assert end.result["pegs"] != "CCCC"


@pytest.mark.parametrize("disks", [1, 20, 63, 64])
def test_many_disks_are_no_more_work_to_begin(disks: int) -> None:
    """A tower of up to 64 disks starts, asks and counts its steps without walking them."""
    hanoi = task(disks)
    assert hanoi.expected_steps() == 2**disks - 1
    start = hanoi.start()
    assert (start.pegs, start.previous, start.moves) == ("A" * disks, None, 0)
    move = hanoi.next(start)
    assert isinstance(move, Step)
    assert len(hanoi.oracle()(move.prompt).wrong) == 1


@pytest.mark.parametrize("disks", [0, -1, 65, "ten", 1.5, None])
def test_bad_disks(disks: Any) -> None:
    """A tower has 1 to 64 disks, as a whole number."""
    with pytest.raises(ValidationError, match="disks"):
        HanoiParams(disks=disks)


@pytest.mark.parametrize("disks", [0, -1, 65, "ten"])
def test_bad_disks_in_a_job(hanoi: Any, disks: Any) -> None:
    """A job says which setting is wrong, and its value."""
    with pytest.raises(JobError, match=rf"the job: task\.disks = {disks!r}: Input should be"):
        api.load_job(hanoi(disks))


@pytest.mark.parametrize("values", [{"form": "bush"}, {"answer": "state"}, {"prompt": "german"}, {"pegs": 3}])
def test_bad_parameters(values: dict[str, Any]) -> None:
    """Forms that there are not, and names that there are not, are refused."""
    with pytest.raises(ValidationError):
        HanoiParams(disks=3, **values)


# --- prompts ---


@pytest.mark.parametrize(("answer", "prompt"), FORMS)
def test_a_prompt_depends_on_board_and_previous_move_alone(answer: str, prompt: str) -> None:
    """The step index is nowhere in a prompt: the same board asks the same at any step."""
    hanoi = task(5, answer, prompt)
    for moves in (3, 4, 30):
        move = hanoi.next(Board("CAAAA", Move(1, "A", "C"), moves))
        assert isinstance(move, Step)
        assert move.prompt == hanoi.next(Board("CAAAA", Move(1, "A", "C"), 1)).prompt  # type: ignore[union-attr]


@pytest.mark.parametrize(("answer", "prompt"), FORMS)
def test_a_prompt_holds_no_answer(answer: str, prompt: str) -> None:
    """No prompt of five disks holds the right move, nor does the shared part tell one that is not its example."""
    hanoi = task(5, answer, prompt)
    oracle = hanoi.oracle()
    state = hanoi.start()
    while isinstance(move := hanoi.next(state), Step):
        right = oracle(move.prompt).right[0]
        assert right.split()[0] not in move.prompt
        state = hanoi.apply(state, move.kind.parse(right))


@pytest.mark.parametrize("prompt", ["compact", "english"])
@pytest.mark.parametrize("disks", [1, 2, 7, 64])
def test_a_prompt_says_all_that_the_strategy_needs(disks: int, prompt: str) -> None:
    """Direction, previous move and pegs are read back from a prompt of either kind."""
    hanoi = task(disks, prompt=prompt)
    way = "-" if disks % 2 else "+"
    for previous in (None, Move(disks, "A", "B")):
        board = Board(("ABC" * 22)[:disks], previous, 3)
        board = board if disks > 2 else Board("A" * disks, previous, 0)
        move = hanoi.next(board)
        assert isinstance(move, Step)
        assert read(move.prompt) == (way, previous, board.pegs)


@pytest.mark.parametrize("prompt", ["", "3 AAA=", "-0 AAA", "-0 ADA=", "-0 AAA= ", "Disk 1 cycles A-B-A."])
def test_what_is_no_prompt_has_no_truth(prompt: str) -> None:
    """The oracle refuses what is no prompt of the task."""
    with pytest.raises(ValueError, match="not a prompt of the Towers of Hanoi"):
        task(3).oracle()(prompt)


@pytest.fixture(scope="module")
def data() -> ModuleType:
    """Return the module that the shipped microagent was trained from."""
    if not DATA.is_file():
        pytest.skip("the example is not here")
    spec = importlib.util.spec_from_file_location("hanoi_microagent_data", DATA)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("answer", ["move", "move+state"])
@pytest.mark.parametrize("disks", range(1, 9))
def test_prompts_and_answers_are_those_the_microagents_learned(data: ModuleType, disks: int, answer: str) -> None:
    """At every step of 1 to 8 disks the compact prompt, the right answer and the wrong ones are the training data's."""
    hanoi = task(disks, answer)
    oracle = hanoi.oracle()
    state = hanoi.start()
    for step in range(2**disks - 1):
        move = hanoi.next(state)
        assert isinstance(move, Step)
        example = data.example_at(disks, step, answer)
        truth = oracle(move.prompt)
        assert move.kind.system + move.prompt == example.prompt
        assert truth.right == (example.answer,) or list(truth.right) == [example.answer]
        assert sorted(truth.wrong) == list(example.rivals)
        state = hanoi.apply(state, move.kind.parse(example.answer))


# --- parsing ---


@pytest.mark.parametrize("text", ["1AC", " 1AC\n", "I think so.\n1AC", "1AB is wrong\n\n  1AC  \n"])
def test_the_last_line_is_the_answer(text: str) -> None:
    """Thoughts before the last line are not the answer."""
    assert task(3).classes[0].parse(text) == Move(1, "A", "C")
    assert task(3, prompt="english").classes[0].parse(text) == Move(1, "A", "C")


@pytest.mark.parametrize(
    "text", ["", "AC", "1A", "1ACB", "01AC", "0AC", "1AD", "1ac", "100AB", "1 A C", "1AC.", "1AC CAA", "１AC"]
)
def test_what_is_no_move(text: str) -> None:
    """Anything but disk, peg and peg is refused, with what was read."""
    with pytest.raises(ValueError, match="not a move"):
        task(3).classes[0].parse(text)


@pytest.mark.parametrize("text", ["1AC", "1AC ", "1AC  CAA", "1AC CAD", "1AC CAA 1", "CAA 1AC", "1AC caa"])
def test_what_is_no_pair(text: str) -> None:
    """The pair form needs a move, a blank and pegs."""
    with pytest.raises(ValueError, match="not a move"):
        task(3, "move+state").classes[0].parse(text)


def test_a_pair_must_fit_together() -> None:
    """Pegs that do not follow from the move are against the rules: of the wrong length or with another disk moved."""
    (kind,) = task(3, "move+state").classes
    board = Board("AAA", None, 0)
    assert kind.check(board, MoveAndPegs(Move(1, "A", "C"), "CAA")) is None
    for pegs in ("AAA", "CCA", "CA", "CAAA", "BAA"):
        why = kind.check(board, MoveAndPegs(Move(1, "A", "C"), pegs))
        assert why == f"the pegs after 1AC are CAA, not {pegs}"


# --- either: a move, or a move with its pegs ---


def reply(text: str) -> Sample:
    return Sample(text, len(text))


@pytest.mark.parametrize("prompt", ["compact", "english"])
@pytest.mark.parametrize("disks", [3, 64])
def test_both_forms_vote_for_one_candidate(disks: int, prompt: str) -> None:
    """A move and the same move with its pegs are one key; what is kept is the move, and either leads to one state."""
    hanoi = task(disks, "either", prompt)
    (kind,) = hanoi.classes
    start = hanoi.start()
    pegs = "C" + start.pegs[1:]
    alone, pair = (screen(kind, start, reply(text), hanoi.action) for text in ("1AC", f"1AC {pegs}"))
    assert isinstance(alone, Candidate) and isinstance(pair, Candidate)
    assert (alone.key, alone.text) == (pair.key, pair.text) == ("1AC", "1AC")
    assert hanoi.action.show(alone.action) == hanoi.action.show(pair.action) == {"disk": 1, "from": 0, "to": 2}
    assert hanoi.apply(start, alone.action) == hanoi.apply(start, pair.action) == Board(pegs, Move(1, "A", "C"), 1)


@pytest.mark.parametrize(
    ("text", "flag"),
    [
        ("1AC CCA", Flag.ILLEGAL), ("1AC CA", Flag.ILLEGAL), ("2AC ACA", Flag.ILLEGAL), ("2AC", Flag.ILLEGAL),
        ("1AC CAD", Flag.FORMAT), ("1AC  CAA", Flag.FORMAT), ("CAA", Flag.FORMAT), ("CAA 1AC", Flag.FORMAT),
    ],
)  # fmt: skip
def test_pegs_that_are_given_must_be_right(text: str, flag: Flag) -> None:
    """A right move with wrong pegs gets no vote: a sample that misreads the state is not to be trusted."""
    hanoi = task(3, "either")
    flagged = screen(hanoi.classes[0], hanoi.start(), reply(text), hanoi.action)
    assert isinstance(flagged, RedFlag)
    assert flagged.reason is flag


@pytest.mark.parametrize("disks", [1, 9, 10, 64])
def test_either_has_room_for_the_pair(disks: int) -> None:
    """The longest answer with its end token fits, as in the form of the pair alone."""
    (kind,) = task(disks, "either").classes
    assert kind.max_tokens == task(disks, "move+state").classes[0].max_tokens
    assert len(f"{disks}AC {'A' * disks}") < kind.max_tokens


def test_votes_of_both_forms_decide_a_step() -> None:
    """Pairs of 64 disks, equal word for word, are agreement; an election counts them with the moves alone."""
    hanoi = task(64, "either")
    pegs = "B" + "A" * 63
    step = hanoi.next(hanoi.start())
    assert isinstance(step, Step)
    election = Election(step, hanoi.start(), hanoi.action, FirstToAheadByK(FirstToAheadByKParams(k=3)), 3)
    election.hear(3, (reply("1AB"), reply(f"1AB {pegs}"), reply(f"1AB {pegs}")))
    assert election.counts == {"1AB": 3}


# --- codecs ---

MOVES = st.builds(Move, st.integers(1, 64), st.sampled_from("ABC"), st.sampled_from("ABC"))
PEGS_OF = st.text("ABC", min_size=1, max_size=64)


@given(MOVES)
def test_moves_round_trip(move: Move) -> None:
    """A move is written like 12AC, read back, and shown by numbers."""
    codec = MoveCodec()
    assert codec.read(codec.write(move)) == move
    shown = codec.show(move)
    assert shown == {"disk": move.disk, "from": "ABC".index(move.source), "to": "ABC".index(move.target)}


@given(MOVES, PEGS_OF)
def test_pairs_round_trip(move: Move, pegs: str) -> None:
    """A pair is written with a blank between, and shown with the pegs it leads to."""
    codec = MoveAndPegsCodec()
    pair = MoveAndPegs(move, pegs)
    assert codec.read(codec.write(pair)) == pair
    assert codec.show(pair) == MoveCodec().show(move) | {"pegs": pegs}


@given(PEGS_OF, st.none() | MOVES, st.integers(0, 2**64))
def test_boards_round_trip(pegs: str, previous: Move | None, moves: int) -> None:
    """A board is written with its previous move and its count."""
    codec = BoardCodec()
    board = Board(pegs, previous, moves)
    assert codec.read(codec.write(board)) == board
    assert codec.show(board)["moves"] == moves


@pytest.mark.parametrize("text", ["", "AAA", "AAA 0", "AAA 0 x", "AAA nonsense 1", "AAA 0 0 0"])
def test_what_is_no_board(text: str) -> None:
    """A damaged state is refused."""
    with pytest.raises(ValueError):
        BoardCodec().read(text)


@pytest.mark.parametrize("disks", [*range(1, 14), 64])
@pytest.mark.parametrize("answer", ["move", "move+state", "either"])
def test_the_examples_of_the_plain_prompt_are_answers(disks: int, answer: str) -> None:
    """Right in form and legal for so many disks, where disk 1 is on A and the others are on B; nothing else changes."""
    plain, english = (Hanoi(HanoiParams(disks=disks, answer=answer, prompt=prompt)) for prompt in ("plain", "english"))  # type: ignore[arg-type]
    kind = plain.classes[0]
    told = kind.system.removeprefix(prompts.STRATEGY)
    examples = re.findall(r"[0-9]+[ABC]{2}(?: [ABC]+)?$", told, re.MULTILINE)
    assert len(examples) == (2 if answer == "either" else 1)
    board = Board("A" + "B" * (disks - 1), None, 0)
    for example in examples:
        assert kind.check(board, kind.parse(example)) is None
    start = plain.start()
    assert plain.next(start).prompt == english.next(start).prompt  # type: ignore[union-attr]
    assert kind.max_tokens == english.classes[0].max_tokens
