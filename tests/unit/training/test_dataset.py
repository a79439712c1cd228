"""What a microagent is taught: whole classes are lookups, of others a share is held out by its hash."""

from __future__ import annotations

import json
import math
import random
from collections import Counter
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from foundry_task import Sums, SumsParams

from decomposers.hanoi import Hanoi, HanoiParams
from decomposers.hanoi.examples import board_anywhere, board_on_the_way
from decomposers.hanoi.oracle import strategic_move
from decomposers.hanoi.prompts import direction
from decomposers.hanoi.rules import forbidden, legal_moves
from decomposers.hanoi.tree import board_after
from maker import api
from maker.core.atomic import replacing_folder
from maker.errors import BadInput, TaskFailed
from maker.lifecycle.sft import export_examples
from maker.plugin import ExampleSet, Oracle, Truth
from maker.training.alphabet import EOS_ID, alphabet_of
from maker.training.dataset import HELD_OUT_OF, Basis, Source, dataset_of, draw, held_out
from maker.training.recipe import Recipe
from maker.training.sft_file import read_dataset

Job = Callable[..., dict[str, dict[str, Any]]]


def sums(**params: Any) -> Sums:
    return Sums(SumsParams(**params))


def test_the_hash_is_what_it_was() -> None:
    """Which prompts are held out must never change: microagents that are there were not shown them. One in 16 is."""
    assert [i for i in range(100) if held_out(f"prompt {i}")] == [1, 17, 20, 21, 43, 45, 54, 62, 68, 96, 98]
    share = sum(held_out(f"{i}+{i}=") for i in range(160_000))
    assert abs(share - 10_000) < 4 * (160_000 / HELD_OUT_OF * (1 - 1 / HELD_OUT_OF)) ** 0.5


def test_a_whole_class_is_a_lookup() -> None:
    """Its exam holds every prompt once, shared part included, and nothing is kept from training."""
    (topic,) = dataset_of(sums(), {}, exam=5).topics
    assert topic.basis is Basis.LOOKUP
    assert topic.exam == [f"Add. {a}+{b}=" for a in range(7) for b in range(7)]
    assert all(topic.teaches(prompt) for prompt in topic.exam)


def test_an_extra_exam_is_no_example() -> None:
    """Its prompts are examined all, each once and with its kind; nothing is taught from it."""
    (topic,) = dataset_of(sums(kinds=True), {}, exam=5).topics
    (extra,) = topic.extra
    assert extra == ("zeros", [f"Add. {a}+0=" for a in range(7)])
    assert len(topic.sources) == 1 and len(topic.exam) == 49
    assert topic.kinds(["Add. 0+3=", "Add. 4+3="]) == ["with 0", "without 0"]
    (plain,) = dataset_of(sums(), {}, exam=5).topics
    assert (plain.kind_of, plain.extra, plain.kinds(["Add. 0+3="])) == (None, [], [""])


def test_an_extra_exam_that_nobody_can_ask_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """All of its prompts are asked, so there is a bound; and it alone teaches nothing."""
    task = sums(kinds=True)
    extra = task.examples()[-1]
    monkeypatch.setattr(task, "examples", lambda: [extra])
    with pytest.raises(BadInput, match="has too few prompts"):
        dataset_of(task, {})
    monkeypatch.setattr(task, "examples", lambda: [extra._replace(size=(1 << 20) + 1)])
    with pytest.raises(TaskFailed, match="the exam 'zeros' of class 'sum' has 1,048,577 prompts"):
        dataset_of(task, {})


def test_a_whole_class_that_is_too_large_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """One prompt above the bound, and a share is held out."""
    monkeypatch.setattr("maker.training.dataset.LARGEST_DOMAIN", 49)
    assert dataset_of(sums(), {}, exam=5).topics[0].basis is Basis.LOOKUP
    assert dataset_of(sums(digits=8), {}, exam=5).topics[0].basis is Basis.HELD_OUT


def test_an_exam_holds_what_training_does_not() -> None:
    """So many different prompts as asked for, all of them held out, and the same ones every time."""
    _, order = dataset_of(sums(words=True), {}, exam=300).topics
    assert order.basis is Basis.HELD_OUT
    assert len(set(order.exam)) == len(order.exam) == 300
    assert all(map(held_out, order.exam))
    assert not any(map(order.teaches, order.exam))
    assert dataset_of(sums(words=True), {}, exam=300).topics[1].exam == order.exam


def test_replies_are_grouped_by_their_vote() -> None:
    """What is read as the same action is one rival; what is not read is none. The first right reply is taught."""
    (topic,) = dataset_of(sums(), {}, exam=5).topics
    question = topic.grouped("Add. 3+4=")
    assert (question.right, question.rivals) == (("7", " 7"), (("8", "08"), ("6",)))
    assert topic.truth("Add. 3+4=").right[0] == "7"


class Odd(Sums):
    """A task whose examples or oracle are told to be wrong."""

    given: tuple[ExampleSet, ...] = ()
    truth: Oracle | None = None

    def examples(self) -> list[ExampleSet]:
        return list(self.given)

    def oracle(self) -> Oracle:
        return self.truth  # type: ignore[return-value]


def odd(truth: Any = None, *sets: ExampleSet) -> Odd:
    task = Odd(SumsParams())
    task.given, task.truth = sets, truth
    return task


EXAMPLES = ExampleSet("sum", 40, str, whole=True)


@pytest.mark.parametrize(
    ("task", "error", "said"),
    [
        (odd(None, EXAMPLES), BadInput, r"the task sums gives no training examples: its decomposer has no oracle\(\)"),
        (odd(lambda prompt: Truth("7", "8")), BadInput, r"has no examples\(\)"),
        (odd(lambda prompt: Truth("7", "8"), EXAMPLES._replace(kind="product")), TaskFailed, "class 'product'"),
        (odd(lambda prompt: Truth("7", "8"), EXAMPLES._replace(size=0)), TaskFailed, "has size 0"),
        (odd(lambda prompt: Truth("7", "8"), EXAMPLES._replace(weight=0.0)), TaskFailed, "weight 0.0"),
        (odd(lambda prompt: Truth("7", "8"), ExampleSet("sum", 6, str)), BadInput, "none of them is held out"),
        (
            odd(lambda prompt: Truth("7", "8"), EXAMPLES._replace(prompt=lambda i: 1 / 0)),
            TaskFailed,
            "example 0 of class sum",
        ),
        (
            odd(lambda prompt: Truth("7", "8"), EXAMPLES, ExampleSet("order", 40, "Add. {}".format)),
            BadInput,
            "cannot tell which class asks",
        ),
    ],
)
def test_a_task_that_teaches_nothing(task: Odd, error: type[Exception], said: str) -> None:
    """What is missing or cannot be is named."""
    with pytest.raises(error, match=said):
        dataset_of(task, {}, exam=10)


@pytest.mark.parametrize(
    ("truth", "said"),
    [
        (Truth((), ("8",)), "has no right reply"),
        (Truth(("x",), ()), "right reply 'x' cannot be parsed by class sum"),
        (Truth(("1234",), ()), "right reply '1234' takes 5 tokens with its end"),
    ],
)
def test_an_oracle_that_is_wrong(truth: Truth, said: str) -> None:
    """A prompt without a right reply, or with one that the class's parser does not read, is told."""
    (topic,) = dataset_of(odd(lambda prompt: truth, EXAMPLES), {}, exam=10).topics
    with pytest.raises(TaskFailed, match=said):
        topic.grouped(topic.exam[0])


def test_replies_that_would_be_cut_are_no_votes() -> None:
    """A reply of class sum has room for three characters and its end: what is longer is flagged in a run."""
    (topic,) = dataset_of(odd(lambda prompt: Truth(("  7", "   7"), ("  8", "   8")), EXAMPLES), {}, exam=10).topics
    assert topic.grouped("Add. 0") == ("Add. 0", ("  7",), (("  8",),))


def test_sources_are_drawn_by_weight_and_gone_through_evenly() -> None:
    """Shares are the weights' within 4 sigma, and of a small source no prompt falls more than one round behind."""
    sources = [Source(3.0, 10, lambda i: f"a{i}"), Source(1.0, 1 << 60, lambda i: f"b{i}")]
    drawn = [prompt for _, prompt in islice(draw(random.Random(0), sources), 4000)]
    small = Counter(prompt for prompt in drawn if prompt[0] == "a")
    assert abs(small.total() - 3000) < 4 * (4000 * 0.75 * 0.25) ** 0.5
    assert len(small) == 10
    assert max(small.values()) - min(small.values()) <= 1
    assert len({prompt for prompt in drawn if prompt[0] == "b"}) == 4000 - small.total()


def test_hanoi_teaches_the_right_way_and_what_lies_beside_it() -> None:
    """Every board of the right way comes up, each disk moves as often, and any board has a move that led there."""
    disks = 5
    way = [board_on_the_way(disks, i) for i in range(2 * disks * 2 ** (disks - 1))]
    assert {board._replace(moves=0) for board in way} == {
        board_after(disks, moves)._replace(moves=0) for moves in range(2**disks - 1)
    }
    moved = Counter(
        strategic_move(direction(disks), legal_moves(pegs), rests=before is not None and before.disk == 1).disk
        for pegs, before, *_ in way[::2]
    )
    assert set(moved.values()) == {2 ** (disks - 1)}
    anywhere = [board_anywhere(disks, i) for i in range(3 * 3**disks)]
    assert len({board.pegs for board in anywhere}) == 3**disks
    for board in anywhere:
        disk, source, target = board.previous
        assert forbidden(board.pegs, (disk, target, source)) is None


@pytest.mark.parametrize("answer", ["move", "move+state", "either"])
@pytest.mark.parametrize("prompt", ["compact", "english"])
def test_hanoi_knows_the_answers_to_its_examples(answer: Any, prompt: Any) -> None:
    """The oracle has the right reply to every prompt, which its class reads, and some are held out."""
    (topic,) = dataset_of(Hanoi(HanoiParams(disks=4, answer=answer, prompt=prompt)), {}, exam=10).topics
    assert topic.basis is Basis.HELD_OUT
    for source in topic.sources:
        for i in range(source.size):
            question = topic.grouped(source.prompt(i))
            assert 1 <= len(question.rivals) <= 2


def test_64_disks_are_only_large_numbers() -> None:
    """A set may have more prompts than could ever be enumerated."""
    (topic,) = dataset_of(Hanoi(HanoiParams(disks=64)), {}, exam=20).topics
    assert len(topic.exam) == 20
    assert all(topic.grouped(prompt).rivals for prompt in topic.exam)


def test_an_alphabet_is_the_characters_in_order() -> None:
    """Tokens are characters after those for padding and the end; one that was not seen is named."""
    alphabet = alphabet_of(["b a", "\n"])
    assert alphabet.vocabulary == {"<pad>": 0, "<eos>": 1, "\n": 2, " ": 3, "a": 4, "b": 5}
    assert alphabet.encode("ab\n") == [4, 5, 2]
    assert EOS_ID == 1
    with pytest.raises(BadInput, match="'cab' contains 'c'"):
        alphabet.encode("cab")
    with pytest.raises(BadInput, match="half a character"):
        alphabet_of(["a\ud800"])
    with pytest.raises(BadInput, match="5,000 different characters"):
        alphabet_of(map(chr, range(0x4E00, 0x4E00 + 5000)))


@pytest.mark.parametrize(
    "wrong",
    [
        *({"steps": 0}, {"batch": 0}, {"rate": 0.0}, {"rate": math.nan}, {"rate": math.inf}, {"slip": 0.5}),
        *({"slip": -0.1}, {"slip": math.nan}, {"seed": -1}, {"seed": 1 << 64}, {"hidden": 30, "heads": 4}),
    ],
)
def test_a_recipe_that_cannot_be(wrong: dict[str, Any]) -> None:
    """Numbers out of range are refused by name."""
    with pytest.raises(BadInput, match=f"{next(iter(wrong))} = "):
        Recipe(**wrong)


def test_a_run_is_a_course(hanoi: Job, store: str, tmp_path: Path) -> None:
    """What was decided is right, what lost is wrong, and prompts are held out by their hash alone."""
    api.run(hanoi(8, model={"p": 0.8}, vote={"k": 8}))
    out = tmp_path / "lessons.jsonl"
    export_examples("last", out, store=store)
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    dataset = read_dataset(out)
    (topic,) = dataset.topics
    assert dataset.by_run
    assert (dataset.origin["lessons"], dataset.origin["prompts"]) == ("lessons.jsonl", 255)
    assert topic.basis is Basis.HELD_OUT
    assert set(topic.exam) == {line["prompt"] for line in lines if held_out(line["prompt"])}
    (source,) = topic.sources
    assert {source.prompt(i) for i in range(source.size)} == {line["prompt"] for line in lines} - set(topic.exam)
    for line in lines:
        truth = topic.truth(line["prompt"])
        assert truth.right == (line["answer"],)
        assert set(truth.wrong) == {one["answer"] for one in line["negatives"]}


def line(prompt: int, answer: str, *, votes: int = 3, **other: Any) -> str:
    line = {"class": "sum", "system": "Add. ", "prompt": f"{prompt}=", "answer": answer, "votes": votes}
    return json.dumps(line | other)


def test_a_prompt_that_was_decided_twice(tmp_path: Path) -> None:
    """It is taught as most votes of its decisions have it; an answer that only ever lost is never right."""
    file = tmp_path / "lessons.jsonl"
    lost = [{"answer": "c", "votes": 9}]
    lines = [
        line(0, "a", votes=3), line(0, "b", votes=4),
        # A judge has overruled the votes.
        line(1, "a", votes=12, negatives=lost),
        *(line(i, "a") for i in range(2, 60)),
    ]  # fmt: skip
    file.write_text("\n".join(lines) + "\n\n")
    dataset = read_dataset(file)
    (topic,) = dataset.topics
    assert (topic.truth("Add. 0=").right, list(topic.truth("Add. 0=").wrong)) == (("b",), ["a"])
    assert (topic.truth("Add. 1=").right, list(topic.truth("Add. 1=").wrong)) == (("a",), ["c"])
    assert (dataset.origin["decided_differently"], dataset.origin["prompts"]) == (1, 60)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "holds no training example"),
        ("nonsense", "line 1: .*Invalid JSON"),
        (line(0, "a") + "\n" + line(1, ""), "line 2: answer: "),
        (line(0, "a", votes=0), "line 1: votes: "),
        ('{"format": "maker-steps", "version": 1}', "line 1: class: Field required"),
        (line(0, "a"), "1 different prompts, of which 0 are held out"),
        ("\udcff", "cannot be read: .*utf-8"),
    ],
)
def test_a_file_that_holds_no_steps(tmp_path: Path, text: str, said: str) -> None:
    """A line that is none is named with its number and key."""
    file = tmp_path / "lessons.jsonl"
    file.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(BadInput, match=said):
        read_dataset(file)
    with pytest.raises(BadInput, match="cannot be read"):
        read_dataset(tmp_path / "none.jsonl")


@pytest.mark.parametrize("there", [True, False])
@pytest.mark.parametrize("at", [1, 2])
def test_a_folder_is_there_or_it_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: bool, at: int) -> None:
    """Whichever rename a signal comes before, what was there is there again, and nothing beside it."""
    out, calls, rename = tmp_path / "model", [0], Path.rename
    if there:
        out.mkdir()
        (out / "old").touch()

    def interrupted(path: Path, target: Path) -> Path:
        calls[0] += 1
        if calls[0] == at:
            raise KeyboardInterrupt
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", interrupted)
    if not there and at == 2:
        with replacing_folder(out) as fresh:
            (fresh / "new").touch()
        assert [path.name for path in out.iterdir()] == ["new"]
        return
    with pytest.raises(KeyboardInterrupt), replacing_folder(out) as fresh:
        (fresh / "new").touch()
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")] == (
        ["model", "model/old"] if there else []
    )
