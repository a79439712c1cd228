"""The Towers of Hanoi, one move a step: the task of MAKER (arXiv 2511.09030)."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, ClassVar, Literal, NamedTuple

from pydantic import Field, ValidationInfo, field_validator

from decomposers.common.last_line import AnyLastLine, LastLine
from decomposers.hanoi import examples, oracle, prompts
from decomposers.hanoi.rules import (
    Board,
    BoardCodec,
    Move,
    MoveAndPegs,
    MoveAndPegsCodec,
    MoveCodec,
    MoveOfEitherCodec,
    forbidden,
    moved,
    read_move,
)
from decomposers.hanoi.tree import Tree, board_after
from maker.plugin import Codec, Decomposer, Done, ExampleSet, Fork, Oracle, Params, Step, StepClass

ENGLISH_TOKENS = 512
SEGMENT = 10


class HanoiParams(Params):
    """Parameters of `Hanoi`.

    Args:
        disks (disks): Number of disks; a run takes 2^disks - 1 steps. E.g. ``10``.
        form: ``chain``: one chain, in which every step waits for the one before. ``tree``: segments of the same moves,
            which do not wait for each other.
        answer: ``move``: the model writes the move, and the state follows. ``move+state``: it writes the move and the
            pegs after it, voted as a pair, as in the paper. ``either``: it writes one or the other, and the move alone
            is voted on, so that models of both kinds vote on the same candidates; pegs that are written must be right.
        prompt: ``compact``: for the small microagent. ``plain``: strategy and state in words, for a general model, with
            an example that fits the number of disks. ``english``: as ``plain``, with an example of disk 12 whatever
            there is; it stays so for the runs and calibrations that have it.
        segment (disks): Number of disks whose moves make one segment of the tree form, 10 by default: 20 disks are
            1,024 segments of 1,024 steps. From ``disks`` on there is one segment. Where each segment starts is given by
            the recursion, not decided by the model: the model makes every move, but does not find its way from one
            segment to the next. The result therefore says ``"segments": "given"``. E.g. ``10``.
    """

    disks: int = Field(ge=1, le=64)
    form: Literal["chain", "tree"] = "chain"
    answer: Literal["move", "move+state", "either"] = "move"
    prompt: Literal["compact", "english", "plain"] = "compact"
    # Left out where there is none: a chain's settings and fingerprint are what they were before there were segments.
    segment: int | None = Field(default=None, ge=1, validate_default=True, exclude_if=lambda value: value is None)

    @field_validator("segment")
    @classmethod
    def _of_the_tree(cls, value: int | None, info: ValidationInfo) -> int | None:
        form = info.data.get("form")
        if form == "chain" and value is not None:
            raise ValueError('segment needs form = "tree"; leave it out for a chain')
        return SEGMENT if form == "tree" and value is None else value


class Hanoi(Decomposer[Board, Any]):
    """Moves a tower from peg A to peg C by the paper's strategy, which only the model applies.

    The model sees direction, previous move and pegs. The check knows the rules of the game, not the strategy, so a
    wrong but legal move passes it and costs the run: after 2^disks - 1 moves the tower is not on C. In the tree form,
    where `hanoi_tree` gives the starts of the segments, it costs its segment: the join sees the wrong end.
    """

    name: ClassVar[str] = "hanoi"
    version: ClassVar[int] = 1
    Params = HanoiParams

    def __init__(self, params: HanoiParams) -> None:
        self.params = params
        # There is a segment in the tree form, and in that alone.
        self._form = _Chain(params.disks) if params.segment is None else Tree(params.disks, params.segment)
        self.state: Codec[Board] = self._form.codec
        form = _FORMS[params.answer]
        self.action: Codec[Any] = form.codec
        self._render = prompts.compact if params.prompt == "compact" else prompts.english
        self._kind = _step_class(form, params)
        self.classes = (self._kind,)

    def start(self) -> Board:
        """Return the tower on peg A."""
        return Board("A" * self.params.disks, None, 0)

    def next(self, state: Board) -> Step[Board, Any] | Fork[Board] | Done:
        """Ask for the next move, or end after as many moves as the shortest solution takes; the tree's root forks."""
        return self._form.next(state) or Step(self._kind, self._render(state))

    def apply(self, state: Board, action: Move | MoveAndPegs) -> Board:
        """Move the disk."""
        if isinstance(action, MoveAndPegs):
            return Board(action.pegs, action.move, state.moves + 1, state.segment)
        return Board(moved(state.pegs, action), action, state.moves + 1, state.segment)

    def expected_steps(self) -> int:
        """Return 2^disks - 1."""
        steps: int = 2**self.params.disks - 1
        return steps

    def sample(self, count: int, seed: int) -> list[Board]:
        """Return boards on the right way, as the recursion knows them."""
        rng, last = random.Random(seed), 2**self.params.disks - 1
        moves: set[int] = set()
        while len(moves) < min(count, last):
            moves.add(rng.randrange(last))
        return [self._form.board(at) for at in sorted(moves)]

    def examples(self) -> tuple[ExampleSet, ...]:
        """Return boards of this many disks, on the right way and beside it."""
        return examples.examples(self._kind.name, self.params.disks, self._render)

    def oracle(self) -> Oracle:
        """Return the strategy as a function of the prompt."""
        return oracle.pair_truth if self.params.answer == "move+state" else oracle.move_truth


class _Chain:
    """One chain of all the moves: the form that knows nothing of the solution but its length."""

    def __init__(self, disks: int) -> None:
        self.codec = BoardCodec()
        self._disks = disks
        self._last: int = 2**disks - 1
        self._goal = "C" * disks

    def next(self, state: Board) -> Done | None:
        """End, or None while there are moves to make."""
        if state.moves < self._last:
            return None
        if state.pegs == self._goal:
            return Done({"moves": state.moves, "pegs": state.pegs})
        reason = f"after {state.moves:,} moves the tower is not on peg C: some move before was legal, but wrong"
        return Done({"moves": state.moves, "pegs": state.pegs}, ok=False, reason=reason)

    def board(self, moves: int) -> Board:
        """Return the board after so many right moves."""
        return board_after(self._disks, moves)


def _read_either(line: str) -> Move | MoveAndPegs:
    return MoveAndPegsCodec().read(line) if " " in line else read_move(line)


def _check_move(board: Board, move: Move) -> str | None:
    return forbidden(board.pegs, move)


def _check_pair(board: Board, pair: MoveAndPegs) -> str | None:
    if broken := forbidden(board.pegs, pair.move):
        return broken
    after = moved(board.pegs, pair.move)
    return None if pair.pegs == after else f"the pegs after {pair.move} are {after}, not {pair.pegs}"


def _check_either(board: Board, action: Move | MoveAndPegs) -> str | None:
    return _check_pair(board, action) if isinstance(action, MoveAndPegs) else _check_move(board, action)


class _Form(NamedTuple):
    """A form of reply: its step class's name, how it is written, read and checked, and what a model is told of it.

    ``read`` takes the line that holds the answer; ``pegs`` is whether a reply may hold the pegs after the move.
    """

    kind: str
    codec: Codec[Any]
    read: Callable[[str], Any]
    check: Callable[[Board, Any], str | None]
    told: str
    pegs: bool


_FORMS = {
    "move": _Form("move", MoveCodec(), read_move, _check_move, prompts.ANSWER_MOVE, pegs=False),
    "move+state": _Form(
        "move+state", MoveAndPegsCodec(), MoveAndPegsCodec().read, _check_pair, prompts.ANSWER_PAIR, pegs=True
    ),
    "either": _Form("move", MoveOfEitherCodec(), _read_either, _check_either, prompts.ANSWER_EITHER, pegs=True),
}


def _step_class(form: _Form, params: HanoiParams) -> StepClass[Board, Any]:
    english = params.prompt != "compact"
    told = prompts.plain(params.answer, params.disks) if params.prompt == "plain" else form.told
    return StepClass(
        form.kind,
        parse=LastLine(form.read),
        check=form.check,
        max_tokens=ENGLISH_TOKENS if english else 8 + form.pegs * params.disks,
        system=prompts.STRATEGY + told if english else "",
        # Equal pegs agree: of 64 disks they are long enough to be taken for thoughts beside the move.
        verbatim=params.answer == "either" and not english,
        read_before=AnyLastLine(form.read),
    )
