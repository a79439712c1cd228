"""The tree form of the Towers of Hanoi: its starts against the simulated ones, its joins, codec and parameters."""

from __future__ import annotations

import functools
import inspect
import itertools
import json
import pickle
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from decomposers.hanoi import Hanoi, HanoiParams
from decomposers.hanoi import tree as tree_module
from decomposers.hanoi.rules import Board, BoardCodec, Move, MoveAndPegs, forbidden, legal_moves, moved
from decomposers.hanoi.tree import TreeCodec, board_after
from maker import api
from maker.errors import JobError
from maker.plugin import Done, Fork, Step

FORMS = [(answer, prompt) for answer in ("move", "move+state", "either") for prompt in ("compact", "english")]


def tree(disks: int, segment: int | None = None, answer: Any = "move", prompt: Any = "compact") -> Hanoi:
    return Hanoi(HanoiParams(disks=disks, form="tree", segment=segment, answer=answer, prompt=prompt))


@functools.cache
def boards(disks: int) -> list[Board]:
    """Return every board that the oracle's moves pass in the chain form, with the move before each."""
    hanoi = Hanoi(HanoiParams(disks=disks))
    oracle = hanoi.oracle()
    states = [hanoi.start()]
    while isinstance(move := hanoi.next(states[-1]), Step):
        states.append(hanoi.apply(states[-1], move.kind.parse(oracle(move.prompt).right[0])))
    return states


def fork_of(hanoi: Hanoi) -> Fork[Board]:
    fork = hanoi.next(hanoi.start())
    assert isinstance(fork, Fork) and not fork.single
    return fork


def joined(fork: Fork[Board], state: Board, i: int, result: Any) -> Board:
    """Join as the engine does, with the child's result read back from JSON."""
    assert fork.join is not None
    return fork.join(state, i, json.loads(json.dumps(result)))


def walk(hanoi: Hanoi, state: Board, wrong_at: int = -1, which: int = 0) -> tuple[list[Any], Any]:
    """Follow the oracle through a segment, but for one wrong legal move; states go through the codec each time."""
    oracle = hanoi.oracle()
    actions: list[Any] = []
    while isinstance(move := hanoi.next(state), Step):
        assert (move.kind,) == hanoi.classes
        truth = oracle(move.prompt)
        reply = truth.wrong[which % len(truth.wrong)] if len(actions) == wrong_at else truth.right[0]
        action = move.kind.parse(reply)
        assert move.kind.check(state, action) is None
        actions.append(action)
        state = hanoi.state.read(hanoi.state.write(hanoi.apply(state, action)))
    assert isinstance(move, Done)
    assert (move.ok, move.reason) == (True, "")
    return actions, move.result


EVERY_TREE = [(disks, segment) for disks in range(1, 11) for segment in range(1, disks + 2)]


# --- the recursion's own knowledge ---


@pytest.mark.parametrize("disks", range(1, 13))
def test_the_closed_form_is_where_the_moves_lead(disks: int) -> None:
    """After every number of moves of 1 to 12 disks pegs and previous move are those of the moves themselves."""
    assert [board_after(disks, moves) for moves in range(2**disks)] == boards(disks)


@given(st.data())
def test_the_closed_form_is_where_the_moves_lead_in_large_towers(data: st.DataObject) -> None:
    """Anywhere in up to 64 disks the next board is a legal move on, and every other one moves disk 1."""
    disks = data.draw(st.integers(2, 64))
    moves = data.draw(st.integers(0, 2**disks - 2))
    here, there = board_after(disks, moves), board_after(disks, moves + 1)
    assert there.previous is not None
    assert forbidden(here.pegs, there.previous) is None
    assert there == Board(moved(here.pegs, there.previous), there.previous, moves + 1)
    assert (there.previous.disk == 1) == (moves % 2 == 0)


@pytest.mark.parametrize("disks", [1, 2, 20, 63, 64])
def test_the_closed_form_ends_on_the_goal(disks: int) -> None:
    """After 0 moves the tower is on A, after all of them on C; the middle one moves the largest disk from A to C."""
    assert board_after(disks, 0) == Board("A" * disks, None, 0)
    assert board_after(disks, 2**disks - 1).pegs == "C" * disks
    middle = board_after(disks, 2 ** (disks - 1))
    assert middle.previous == Move(disks, "A", "C")
    assert middle.pegs == "B" * (disks - 1) + "C"


def test_the_starts_are_not_the_oracles() -> None:
    """The tree form never asks the oracle, which belongs to simulated models and tests."""
    assert "oracle" not in inspect.getsource(tree_module)


# --- segments ---


@pytest.mark.parametrize(("disks", "segment"), EVERY_TREE)
def test_segments_are_the_chain_cut_up(disks: int, segment: int) -> None:
    """At every size the oracle's moves within the segments are the chain form's, and every join passes."""
    hanoi = tree(disks, segment)
    fork, root = fork_of(hanoi), hanoi.start()
    size = 2 ** min(segment, disks)
    assert fork.count == 2**disks // size
    actions: list[Any] = []
    for i in range(fork.count):
        start = fork.child(hanoi.start(), i)
        assert start == boards(disks)[i * size]._replace(segment=i)
        made, result = walk(hanoi, start)
        assert len(made) == size - (i == fork.count - 1)
        actions += made
        end = boards(disks)[len(actions)]
        assert result == {"segment": i, "moves": len(made), "pegs": end.pegs, "previous": str(end.previous)}
        root = hanoi.state.read(hanoi.state.write(joined(fork, root, i, result)))
    assert actions == [board.previous for board in boards(disks)[1:]]
    assert len(actions) == 2**disks - 1 == hanoi.expected_steps()
    goal = {"moves": 2**disks - 1, "pegs": "C" * disks, "segments": "given", "count": fork.count}
    assert hanoi.next(root) == Done(goal)


@pytest.mark.parametrize(("answer", "prompt"), FORMS)
def test_segments_ask_what_the_chain_asks(answer: Any, prompt: Any) -> None:
    """In every form of prompt and answer a segment's steps have the chain's prompts, and its step class."""
    chain, hanoi = Hanoi(HanoiParams(disks=5, answer=answer, prompt=prompt)), tree(5, 2, answer, prompt)
    (ours,), (theirs,) = hanoi.classes, chain.classes
    assert ours == theirs
    fork = fork_of(hanoi)
    for i in range(fork.count):
        state = fork.child(hanoi.start(), i)
        while isinstance(move := hanoi.next(state), Step):
            asked = chain.next(state._replace(segment=None))
            assert isinstance(asked, Step)
            assert move.prompt == asked.prompt
            state = hanoi.apply(state, move.kind.parse(hanoi.oracle()(move.prompt).right[0]))
        made, _ = walk(hanoi, fork.child(hanoi.start(), i))
        assert all(isinstance(action, MoveAndPegs) == (answer == "move+state") for action in made)


@pytest.mark.parametrize(("disks", "segment"), [(20, None), (20, 4), (64, None), (64, 6)])
def test_any_segment_starts_at_once(disks: int, segment: int | None) -> None:
    """Of 20 and of 64 disks any segment starts, is walked and joined without those before, in a pickled copy too."""
    hanoi = tree(disks, segment)
    fork = fork_of(hanoi)
    depth = segment or 10
    assert fork.count == 2 ** (disks - depth)
    copy = pickle.loads(pickle.dumps(hanoi))  # noqa: S301
    for i in (fork.count - 1, 0, fork.count // 2, fork.count // 3, 17):
        start = fork.child(hanoi.start(), i)
        assert start == fork.child(start, i) == fork_of(copy).child(copy.start(), i)
        actions, result = walk(copy, start)
        before = board_after(disks, i << depth)
        after = joined(fork, before, i, result)
        assert after.moves == before.moves + len(actions) == min((i + 1) << depth, 2**disks - 1)
        if i < fork.count - 1:
            assert actions[-1].disk > depth
            assert fork.child(hanoi.start(), i + 1) == after._replace(segment=i + 1)


def test_a_tree_forks_once() -> None:
    """Between joins there is nothing to do, which the root says; after the last one it is at its end."""
    hanoi = tree(3, 1)
    fork, root = fork_of(hanoi), hanoi.start()
    for i in range(fork.count):
        root = joined(fork, root, i, walk(hanoi, fork.child(hanoi.start(), i))[1])
        if i < fork.count - 1:
            with pytest.raises(ValueError, match=rf"{2 * i + 2} of 7 moves are joined: nothing comes next before all"):
                hanoi.next(root)
    assert isinstance(hanoi.next(root), Done)


# --- joins ---


@pytest.mark.parametrize("answer", ["move", "move+state"])
@pytest.mark.parametrize(("disks", "segment"), [(4, 1), (4, 2), (4, 3), (4, 4), (5, 2)])
def test_a_wrong_segment_is_caught_at_its_join(disks: int, segment: int, answer: str) -> None:
    """Whichever segment holds a wrong legal move, at whichever step: its own join names both, the others pass."""
    hanoi = tree(disks, segment, answer)
    fork = fork_of(hanoi)
    starts = [fork.child(hanoi.start(), i) for i in range(fork.count)]
    roots = [start._replace(segment=None) for start in starts]
    for i, start in enumerate(starts):
        right, result = walk(hanoi, start)
        assert joined(fork, roots[i], i, result) == boards(disks)[start.moves + len(right)]
        for wrong_at, which in itertools.product(range(len(right)), range(2)):
            actions, result = walk(hanoi, start, wrong_at, which)
            assert len(actions) == len(right) == result["moves"]
            with pytest.raises(ValueError) as caught:
                joined(fork, roots[i], i, result)
            told = str(caught.value)
            assert told.startswith(f"segment {i} ends at {result['pegs']} after {result['previous']}, ")
            if i + 1 < fork.count:
                there = starts[i + 1]
                assert f", segment {i + 1} starts at {there.pegs} after {there.previous}: some move" in told
            else:
                assert f", the goal is {'C' * disks}: some move" in told


@settings(max_examples=200)
@given(st.data())
def test_no_other_moves_end_where_a_segment_ends(data: st.DataObject) -> None:
    """Random legal moves of up to 20 disks, as many as a segment has, meet the next start if they are right alone."""
    disks = data.draw(st.integers(1, 20))
    segment = data.draw(st.integers(1, 5))
    hanoi = tree(disks, segment)
    fork = fork_of(hanoi)
    i = data.draw(st.integers(0, fork.count - 1))
    state = fork.child(hanoi.start(), i)
    root = state._replace(segment=None)
    right = True
    while isinstance(hanoi.next(state), Step):
        state = hanoi.apply(state, data.draw(st.sampled_from(legal_moves(state.pegs))))
        right = right and state[:3] == board_after(disks, state.moves)[:3]
    end = hanoi.next(state)
    assert isinstance(end, Done)
    if right:
        assert joined(fork, root, i, end.result).moves == state.moves
    else:
        with pytest.raises(ValueError, match=f"segment {i} ends at"):
            joined(fork, root, i, end.result)


def test_the_previous_move_is_compared_too() -> None:
    """The next segment's first prompt shows the previous move, so pegs alone do not meet; at the goal they do."""
    hanoi = tree(3, 2)
    fork = fork_of(hanoi)
    result = walk(hanoi, fork.child(hanoi.start(), 0))[1]
    assert result == {"segment": 0, "moves": 4, "pegs": "BBC", "previous": "3AC"}
    with pytest.raises(ValueError, match="segment 0 ends at BBC after 3BC, segment 1 starts at BBC after 3AC"):
        joined(fork, hanoi.start(), 0, result | {"previous": "3BC"})
    root = joined(fork, hanoi.start(), 0, result)
    last = {"segment": 1, "moves": 3, "pegs": "CCC", "previous": "2BC"}
    assert joined(fork, root, 1, last).pegs == "CCC"


@given(st.data())
def test_joins_go_in_order(data: st.DataObject) -> None:
    """A segment joined out of turn is refused, so that the root is never at its end with one left out."""
    hanoi = tree(6, 2)
    fork = fork_of(hanoi)
    turn, i = data.draw(st.integers(0, fork.count)), data.draw(st.integers(0, fork.count - 1))
    assume(turn != i)
    root = board_after(6, min(turn * 4, 63))
    result = walk(hanoi, fork.child(hanoi.start(), i))[1]
    with pytest.raises(ValueError, match=f"segment {i} starts after {i * 4} moves, and {root.moves} are joined"):
        joined(fork, root, i, result)


# --- codec ---

MOVES = st.builds(Move, st.integers(1, 64), st.sampled_from("ABC"), st.sampled_from("ABC"))
BOARDS = st.builds(
    Board,
    st.text("ABC", min_size=1, max_size=64),
    st.none() | MOVES,
    st.integers(0, 2**64),
    st.none() | st.integers(0, 2**63),
)


@given(BOARDS)
def test_states_round_trip(board: Board) -> None:
    """A segment's board is written with its number before, the root's as a chain's; both are read back and shown."""
    codec = TreeCodec()
    chain = BoardCodec().write(board)
    assert codec.write(board) == (chain if board.segment is None else f"{board.segment}: {chain}")
    assert codec.read(codec.write(board)) == board
    assert codec.show(board) == BoardCodec().show(board) | {"segment": board.segment}


@pytest.mark.parametrize(
    "text",
    ["", "AAA", "AAA 0", "x: AAA 0 0", ": AAA 0 0", "1:AAA 0 0", "01: AAA 0 0", "1: 2: AAA 0 0", "1: AAA 0 00", "1: "],
)
def test_what_is_no_state(text: str) -> None:
    """A damaged state is refused."""
    with pytest.raises(ValueError):
        TreeCodec().read(text)


def test_the_chain_writes_what_it_wrote() -> None:
    """A chain's states are written and shown without segments, as in the logs that are stored."""
    chain = Hanoi(HanoiParams(disks=3))
    board = chain.apply(chain.start(), Move(1, "A", "C"))
    assert chain.state.write(board) == "CAA 1AC 1"
    assert chain.state.show(board) == {"pegs": "CAA", "previous": {"disk": 1, "from": 0, "to": 2}, "moves": 1}
    with pytest.raises(ValueError):
        chain.state.read("0: CAA 1AC 1")


# --- parameters ---


def test_a_segment_is_ten_disks_unless_said() -> None:
    """The tree form has its effective size among its settings; 20 disks are 1,024 segments."""
    params = HanoiParams(disks=20, form="tree")
    assert params.model_dump()["segment"] == 10
    assert fork_of(Hanoi(params)).count == 1024
    assert HanoiParams(**params.model_dump()) == params
    assert fork_of(tree(3)).count == 1
    assert fork_of(tree(3, 10**9)).count == 1


def test_a_chain_has_the_settings_it_had() -> None:
    """No segment is among a chain's settings, so that its fingerprint is what it was."""
    assert HanoiParams(disks=3).model_dump() == {"disks": 3, "form": "chain", "answer": "move", "prompt": "compact"}


@pytest.mark.parametrize("segment", [0, -1, "ten", 1.5])
def test_bad_segments(segment: Any) -> None:
    """A segment is one disk's moves at least, as a whole number."""
    with pytest.raises(ValidationError, match="segment"):
        HanoiParams(disks=3, form="tree", segment=segment)


@pytest.mark.parametrize("values", [{}, {"form": "chain"}])
def test_a_chain_has_no_segments(values: dict[str, Any]) -> None:
    """A segment without the tree form would be forgotten, so it is refused."""
    with pytest.raises(ValidationError, match='segment needs form = "tree"; leave it out for a chain'):
        HanoiParams(disks=3, segment=2, **values)


def test_an_unknown_form_is_told_as_such() -> None:
    """A misspelt form is the one thing that is wrong, whatever the segment."""
    with pytest.raises(ValidationError, match=r"1 validation error for HanoiParams\nform"):
        HanoiParams(disks=3, form="bush", segment=2)  # type: ignore[arg-type]


def test_jobs_take_both_forms(hanoi: Any) -> None:
    """A job stores a tree's segment with its settings, and tells what is wrong with a chain's."""
    job = api.load_job(hanoi(12, task={"form": "tree"}))
    assert job.settings["task"]["segment"] == 10
    assert "segment" not in api.load_job(hanoi(12)).settings["task"]
    with pytest.raises(JobError, match=r"task\.segment = 2: segment needs form = "):
        api.load_job(hanoi(12, task={"segment": 2}))
