"""Sorting by comparisons: lists against Python's own sort, how many comparisons, its prompts, and what is no list."""

from __future__ import annotations

import hashlib
import math
import random
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from walked import steps_of, walked

from decomposers.common.right_way import right_way
from decomposers.sort import Sort, SortParams
from decomposers.sort.kinds import Signs
from decomposers.sort.prompts import ask_by_column, read_by_column, stays
from decomposers.sort.rules import BLOCK, MOST_CHARS, Part, fresh, most_comparisons
from maker import api
from maker.errors import JobError
from maker.lifecycle import queries
from maker.plugin import Fork, Step
from maker.training.dataset import Source, draw

NUMBERS = st.lists(st.integers(-(10**6), 10**6), max_size=70)
FEW = st.lists(st.sampled_from(["7", "07", 7, 0, "-0", "-12", "3", "007"]), max_size=70)
WORDS = st.lists(st.text("abAB", min_size=1, max_size=4), max_size=40)


def task(items: Any, order: Any = "number", prompt: Any = "compact") -> Sort:
    return Sort(SortParams(items=items, order=order, prompt=prompt))


def comparisons(count: int, seed: int, most: int = 10**6) -> int:
    """Return how many comparisons a merge sort takes that halves down to single items: a second implementation."""
    rng = random.Random(seed)

    def sort(items: list[int]) -> tuple[list[int], int]:
        if len(items) < 2:
            return items, 0
        (left, before), (right, after) = sort(items[: len(items) // 2]), sort(items[len(items) // 2 :])
        found: list[int] = []
        made = 0
        while left and right:
            made += 1
            found.append((right if right[0] < left[0] else left).pop(0))
        return [*found, *left, *right], before + after + made

    return sort([rng.randrange(most) for _ in range(count)])[1]


# --- lists ---


@given(NUMBERS)
def test_right_comparisons_sort_numbers(items: list[int]) -> None:
    """Any list of integers, with no more comparisons than said."""
    sort = task(items)
    walk = walked(sort)
    assert walk.end.result == sorted(items)
    assert walk.end.ok
    assert len(walk.prompts) <= sort.expected_steps() == most_comparisons(len(items))


@given(FEW)
def test_equal_items_stay_in_their_order(items: list[Any]) -> None:
    """7, 07 and 007 are equal: each stays as it is written, and behind those that came before it."""
    assert walked(task(items)).end.result == sorted(items, key=int)


@given(WORDS)
def test_right_comparisons_sort_words(words: list[str]) -> None:
    """Words are sorted as Python sorts them: capitals first."""
    assert walked(task(words, "word")).end.result == sorted(words)


@pytest.mark.parametrize("count", [0, 1, 2, 3, BLOCK, BLOCK + 1, 2 * BLOCK + 1, 100])
def test_lists_of_every_length(count: int) -> None:
    """None, one, and about a block; ascending, descending, all equal."""
    for items in (list(range(count)), list(range(count, 0, -1)), [5] * count):
        assert walked(task(items)).end.result == sorted(items)


@pytest.mark.parametrize("items", [[], [7]])
def test_nothing_to_compare_asks_nothing(items: list[int], store: str) -> None:
    """A list of none and of one item is done at once, and verifies."""
    report = api.run(job(store, items))
    assert (report.status, report.result, report.steps, report.calls) == ("done", items, 0, 0)
    assert queries.verify(report.run_id, store=store).right


@given(st.lists(st.integers(0, 99), min_size=2, max_size=40, unique=True), st.randoms(use_true_random=False))
def test_wrong_comparisons_lose_no_item(items: list[int], rng: Any) -> None:
    """Whatever is decided, the result is the items in some order; of two items the one wrong one is the wrong one."""
    walk = walked(task(items), lambda number, truth: rng.choice([*truth.right, *truth.wrong]))
    assert sorted(walk.end.result) == sorted(items)
    assert walk.end.ok
    pair = items[:2]
    turned = {"<": ">", ">": "<"}
    assert walked(task(pair), lambda number, truth: turned[truth.right[0]]).end.result == sorted(pair, reverse=True)


# --- comparisons ---


@pytest.mark.parametrize("most", [10**6, 50])
def test_comparisons_are_those_of_a_merge_sort(most: int) -> None:
    """Over ten lists of 500 items, with duplicates too, within 1 % of a plain merge sort; n lg n - 1.26 n without."""
    ours = theirs = 0
    for seed in range(10):
        rng = random.Random(seed)
        sort = task([rng.randrange(most) for _ in range(500)])
        ours += sum(1 for _ in right_way(sort, sort.start()))
        theirs += comparisons(500, seed, most)
    assert abs(ours / theirs - 1) < 0.01
    if most > 500:
        assert abs(ours / 10 / (500 * math.log2(500) - 1.2645 * 500) - 1) < 0.01
    assert ours / 10 < most_comparisons(500) == 3989


@pytest.mark.parametrize("count", range(2, 2 * BLOCK + 2))
def test_the_most_comparisons_are_the_most(count: int) -> None:
    """No list of 20 random ones takes more, and a list whose halves are interleaved in every merge takes them all."""
    taken = [len(walked(task(random.Random(seed).sample(range(count), count))).prompts) for seed in range(20)]
    assert max(taken) <= most_comparisons(count) < min(taken) + count


def test_halves_stand_side_by_side() -> None:
    """More items than a block has are halved, and the halves do not wait for each other."""
    sort = task(list(range(40)))
    fork = sort.next(sort.start())
    assert isinstance(fork, Fork)
    children = [fork.child(sort.start(), number) for number in range(fork.count)]
    assert [(part.first, part.stop) for part in children] == [(0, 20), (20, 40)]
    assert all(isinstance(sort.next(child), Fork) for child in children)
    assert isinstance(sort.next(fresh(0, BLOCK)), Step)


def test_a_half_out_of_turn_is_refused() -> None:
    """The second half is not joined before the first."""
    sort = task(list(range(40)))
    fork = sort.next(sort.start())
    assert isinstance(fork, Fork) and fork.join is not None
    with pytest.raises(ValueError, match="half 1 comes in when 0 are there"):
        fork.join(sort.start(), 1, [20, 21])


def test_a_pilot_draws_comparisons() -> None:
    """A sample is of states that ask for comparisons, in blocks and merges, the same by the same seed."""
    sort = task(random.Random(5).sample(range(10**6), 60))
    states = sort.sample(50, seed=1)
    assert states == sort.sample(50, seed=1) != sort.sample(50, seed=2)
    assert len(steps_of(sort, states)) == 50
    assert len({(state.first, state.stop) for state in states}) > 4
    assert len(task([3, 1, 2]).sample(50, seed=1)) == 3


# --- prompts ---


@given(st.integers(), st.integers())
def test_equal_questions_are_equal_prompts(one: int, other: int) -> None:
    """Two items ask the same, whichever comes first; the answer is turned round where they are."""
    one, other = one % 10**30, other % 10**30
    (ask,), (again,) = walked(task([one, other])).prompts, walked(task([other, one])).prompts
    assert ask == again
    assert {*read_by_column(ask)} == {one, other}
    (plain,) = walked(task([one, other], prompt="english")).prompts
    assert {*plain[:-1].split(" ")} == {str(one), str(other)}


def test_the_order_of_a_prompt_says_nothing_of_the_answer() -> None:
    """Of 4,000 pairs the smaller one is first in half, within 4 sigma, whatever their lengths."""
    rng = random.Random(1)
    pairs = [sorted(rng.sample(range(10 ** rng.choice((2, 6))), 2)) for _ in range(4000)]
    first = sum(stays(str(low), str(high)) for low, high in pairs)
    assert abs(first - 2000) < 4 * math.sqrt(1000)


@pytest.mark.parametrize("order", ["number", "word"])
def test_examples_are_prompts_of_the_task(order: str) -> None:
    """What is taught is what the same two items ask; every reply that the oracle knows is legal."""
    empty = task([], order)
    (kind,), oracle = empty.classes, empty.oracle()
    for one in empty.examples():
        assert one.kind == kind.name and not one.whole
        prompts = [one.prompt(number) for number in range(400)]
        assert prompts == [one.prompt(number) for number in range(400)]
        assert one.prompt(one.size - 1)
        signs = set()
        for prompt in prompts:
            items = [*map(str, read_by_column(prompt))] if order == "number" else prompt[:-1].split(" ")
            assert [prompt] == walked(task(items, order)).prompts
            assert max(map(len, items)) <= (7 if order == "number" else 8)
            right, wrong = oracle(prompt)
            signs |= {*right}
            assert {*right, *wrong} == {*"<=>"} and len(right) == 1
            assert [kind.parse(reply) for reply in (*right, *wrong)] == [*right, *wrong]
            ordered = sorted(items, key=int if order == "number" else None)
            assert (right == ["="]) == (items[0] == items[1])
            assert right in (["="], ["<" if ordered == items else ">"])
        assert signs == {"="} or signs >= {"<", ">"}


def taught(order: str) -> list[str]:
    """Return 6,000 prompts, drawn as a training draws them."""
    sets = [one for one in task([], order).examples() if not one.exam]
    drawn = draw(random.Random(1), [Source(one.weight, one.size, one.prompt) for one in sets])
    return [prompt for _, prompt in islice(drawn, 6000)]


def test_examples_hold_hard_pairs() -> None:
    """With all signs: long common prefixes, equal numbers, and numbers side by side, over a power of ten and over 0."""
    pairs = {read_by_column(prompt) for prompt in taught("number")}
    for sign in (1, -1):
        same_sign = {(sign * one, sign * other) for one, other in pairs}
        assert any(one == other > 99_999 for one, other in same_sign)
        assert any(one != other and one // 10 == other // 10 > 9_999 for one, other in same_sign)
        assert any(one < 1000 <= other <= one + 3 for one, other in same_sign)
    assert {(-1, 0), (0, -1)} & pairs and {(-1, 1), (1, -1)} & pairs
    assert any(one == -other > 99_999 for one, other in pairs)


def test_examples_hold_every_kind_of_pair() -> None:
    """Each of the kinds that numbers may be of has at least 2 in 100 of what is taught, equal pairs below 0 too."""
    kinds = Counter(task([]).classes[0].kind_of(prompt) for prompt in taught("number"))
    below = [f"{signs}, {lengths}" for signs in Signs for lengths in ("of one length", "of two lengths")]
    assert set(kinds) == {*below, f"{Signs.PLAIN}, equal", f"{Signs.NEGATIVE}, equal"}
    assert min(kinds.values()) > 0.02 * kinds.total()


def test_examples_of_words_are_what_they_were() -> None:
    """What words are taught by does not depend on how numbers are taught."""
    told = "\n".join(f"{one.weight} {one.prompt(n)}" for one in task([], "word").examples() for n in range(500))
    assert hashlib.sha256(told.encode()).hexdigest()[:16] == "44bd6a1020e89496"
    assert {*map(task([], "word").classes[0].kind_of, taught("word"))} == {"equal", "of one length", "of two lengths"}


def test_exams_are_whole() -> None:
    """All pairs of short numbers, all equal ones and all neighbours are examined, each once in some order."""
    short, equal, neighbours = (
        {tuple(sorted(read_by_column(one.prompt(n)))) for n in range(one.size)}
        for one in task([]).examples()
        if one.exam
    )
    assert short == {(one, other) for one in range(-99, 100) for other in range(one, 100)}
    assert equal == {(one, one) for one in range(-10_000, 10_001)}
    assert neighbours == {(one, one + 1) for one in range(-10_000, 10_000)}


@pytest.mark.parametrize(
    ("pair", "kind"),
    [
        ((7, 7), "none below 0, equal"),
        ((0, 0), "none below 0, equal"),
        ((10, 99), "none below 0, of one length"),
        ((0, 10), "none below 0, of two lengths"),
        ((-7, 7), "one below 0, of one length"),
        ((0, -10), "one below 0, of two lengths"),
        ((-76088, -76088), "both below 0, equal"),
        ((-10, -99), "both below 0, of one length"),
        ((-9, -10), "both below 0, of two lengths"),
    ],
)
def test_a_pair_has_one_kind_however_it_is_asked(pair: tuple[int, int], kind: str) -> None:
    """By columns and as they are, in either order."""
    for prompt in ("compact", "english"):
        for one, other in (pair, pair[::-1]):
            sort = task([one, other], prompt=prompt)
            assert [sort.classes[0].kind_of(asked) for asked in walked(sort).prompts] == [kind]


@pytest.mark.parametrize("text", ["", "<<", "=>", "less", "< 7", "x"])
def test_what_is_no_sign(text: str) -> None:
    """Anything but one of three signs is refused, with what was read."""
    with pytest.raises(ValueError, match="not a sign"):
        task([]).classes[0].parse(text)
    assert task([], prompt="english").classes[0].parse(f"{text}\n <") == "<"


@pytest.mark.parametrize(
    ("prompt", "form"),
    [*((prompt, "english") for prompt in ("", "12 7", "12=", "12  7=", "12 7 3=")),
     *((prompt, "compact") for prompt in ("", "12 07", "12 7=", "12  07=", "-+=", "00 -+=", "123="))],
)  # fmt: skip
def test_what_is_no_prompt_has_no_truth(prompt: str, form: str) -> None:
    """The oracle refuses what is no prompt of the task."""
    with pytest.raises(ValueError, match="not the prompt of a comparison"):
        task([], prompt=form).oracle()(prompt)


def test_a_file_that_is_not_there_is_no_list_of_one_word() -> None:
    for text in ("nosuch.csv", " word "):
        with pytest.raises(ValueError, match="is neither a file nor a list"):
            task(text, "word")
    assert walked(task("word\n", "word")).end.result == ["word"]
    assert walked(task(["word"], "word")).end.result == ["word"]


@pytest.mark.parametrize(
    ("one", "other", "columns"),
    [("12", "7", {"10 27=", "01 72="}), ("-12", "7", {"-+ 10 27=", "+- 01 72="}), ("5", "5", {"55="})],
)
def test_columns_are_digits_of_both(one: str, other: str, columns: set[str]) -> None:
    """A column holds a digit of each, the shorter number filled with zeros; signs only where one is below 0."""
    assert ask_by_column(one, other) == ask_by_column(other, one)
    assert ask_by_column(one, other) in columns


def test_no_prompt_is_longer_than_two_items() -> None:
    """The longest items there may be ask in 66 characters, by columns in 99; an explanation is apart."""
    items = ["9" * MOST_CHARS, "8" * MOST_CHARS]
    for order in ("number", "word"):
        sort = task(items, order, "english")
        assert [len(prompt) for prompt in walked(sort).prompts] == [66]
        assert "Answer with one sign" in sort.classes[0].system
    columns = walked(task(["9" * MOST_CHARS, "-" + "8" * (MOST_CHARS - 1)])).prompts
    assert [len(prompt) for prompt in columns] == [99]
    assert len(ask_by_column("-123456", "123456")) == 21


def test_a_state_is_as_long_as_its_part() -> None:
    """What is written at a fork or a snapshot holds item numbers, not items."""
    assert walked(task([10**30 + number for number in range(100)])).longest < 100 * 5 + 100
    assert task([]).state.write(Part(0, 3, ((1, 0), (2,)), "0")) == '[0,3,[[1,0],[2]],"0"]'


# --- items ---


@pytest.mark.parametrize(
    ("items", "means"),
    [
        ("3\n1\n 2 \n\n", ("3", "1", "2")),
        ("3\r\n1\r\n", ("3", "1")),
        ("5", ("5",)),
        ("", ()),
        ("\n \n", ()),
        ([" 5", 6, "-0"], ("5", 6, "-0")),
        ((1,), (1,)),
    ],
)
def test_what_is_a_list(items: Any, means: tuple[Any, ...]) -> None:
    """A list, or lines; white space around an item means nothing, and what is left stays as it is written."""
    assert SortParams(items=items).items == means


@pytest.mark.parametrize(
    ("items", "why"),
    [
        (["a"], r"item 1 \(line 1 of a file\): 'a' is not an integer, .*; for words set order"),
        (["1", "+2"], r"item 2 \(line 2 of a file\): '\+2' is not an integer, .*; write 2 "),
        (["1.5"], "is not an integer"),
        (["1_000"], "is not an integer, .*; write 1000 "),
        (["\uff11"], "is not an integer, .*; write 1 "),
        (["-\u0665"], "is not an integer, .*; write -5 "),
        (["\u22125"], "is not an integer, .*; write -5 "),
        (["\u20135"], "is not an integer, .*; write -5 "),
        (["+-5"], "is not an integer, .*; for words set order"),
        (["--1"], "is not an integer"),
        (["-"], "is not an integer"),
        (["1 000"], r"item 1 \(line 1 of a file\) is '1 000': an item cannot contain blanks .*; write one a line"),
        (["1\u00a0000"], "an item cannot contain blanks"),
        (["\ufeff5"], "an item cannot contain blanks or unprintable characters"),
        (["1", ""], r"item 2 \(line 2 of a file\) is empty: leave it out"),
        ("1\n\n2\n", r"item 2 \(line 2 of a file\) is empty"),
        ("\n1\n2\n", r"item 1 \(line 1 of a file\) is empty"),
        ("1\n2\n+3\n", r"item 3 \(line 3 of a file\): '\+3'"),
        ([1.5], r"item 1 \(line 1 of a file\) is 1.5: it must be an integer or a word"),
        ([True], "is True"),
        ([None], "is None"),
        ([[1]], "it must be an integer or a word"),
        (["9" * 33], "has over 32 characters"),
        ([-(10**31)], "has over 32 characters"),
        ([10**5000], "has over 32 characters"),
        (["1"] * 10_001, "there are 10,001 items; at most 10,000 are allowed"),
        (7, "give a list of items"),
        (b"12", "give a list of items"),
        ({"1": 2}, "give a list of items"),
    ],
    ids=lambda value: str(value)[:20] if isinstance(value, str) else "",
)
def test_what_is_no_list(items: Any, why: str) -> None:
    """Everything else is refused, and the message names the item."""
    with pytest.raises(ValidationError, match=why):
        SortParams(items=items)


@pytest.mark.parametrize("word", ["a b", "a\tb", "a\0b", "\u200b", "\ud800"])
def test_what_is_no_word(word: str) -> None:
    """Blanks and what cannot be printed would not be told from what stands around them."""
    with pytest.raises(ValidationError, match="an item cannot contain blanks or unprintable characters"):
        SortParams(items=[word], order="word")


def test_items_in_a_file(tmp_path: Path, store: str) -> None:
    """A file beside the job holds one item a line; the run keeps them, and goes on without the file."""
    file = tmp_path / "items.txt"
    file.write_text("30\n4\n-5\n004\n")
    report = api.run(job(store, str(file)), limit_steps=1)
    file.unlink()
    report = api.resume(report.run_id, store=store)
    assert report.result == ["-5", "4", "004", "30"]
    with pytest.raises(JobError, match=r"there is no file .*items\.txt"):
        api.load_job(job(store, str(file)))


@pytest.mark.parametrize(
    ("line", "said"),
    [("+5", "'+5' is not an integer"), ("", "is empty: leave it out"), ("1 000", "'1 000'"), ("\u22125", "write -5")],
)
def test_a_line_that_cannot_be_read_stops_a_run_before_it_begins(tmp_path: Path, line: str, said: str) -> None:
    """It is named by its number, and nothing is stored, so nothing was asked."""
    (tmp_path / "items.txt").write_text(f"3\n{line}\n2\n", encoding="utf-8")
    with pytest.raises(JobError) as refused:
        api.run(job(f"sqlite:///{tmp_path}/maker.db", str(tmp_path / "items.txt")))
    assert said in str(refused.value) and "line 2 of a file" in str(refused.value)
    assert [path.name for path in tmp_path.iterdir()] == ["items.txt"]


def test_a_minus_before_0_means_nothing() -> None:
    """-0 is 0: it stays among other zeros where it was, as it is written, and asks what 0 asks."""
    assert walked(task(["0", "-0", "-1", "00", "1"])).end.result == ["-1", "0", "-0", "00", "1"]
    assert walked(task(["-0", "1"])).prompts == walked(task(["0", "1"])).prompts


# --- runs ---


def job(store: str, items: Any, **tables: Any) -> dict[str, dict[str, Any]]:
    base: dict[str, dict[str, Any]] = {
        "task": {"decomposer": "decomposers.sort:Sort", "items": items},
        "model": {"kind": "simulated", "p": 0.9},
        "vote": {"k": 6},
        "store": {"url": store},
    }
    return base | {name: base.get(name, {}) | table for name, table in tables.items()}


def test_a_closed_form_of_the_most_comparisons() -> None:
    """For a power of two it is n lg n - n + 1."""
    for power in range(12):
        assert most_comparisons(2**power) == 2**power * power - 2**power + 1


def test_votes_make_lists_right(store: str) -> None:
    """At p = .9 lists of 100, with duplicates, are right with k = 7, wrong comparisons outvoted; not without votes."""
    print("run seeds 0 to 4")
    for seed in range(5):
        items = [random.Random(seed * 1000 + number).randrange(80) for number in range(100)]
        voted = api.run(job(store, items, run={"seed": seed}, vote={"k": 7}))
        assert (voted.status, voted.result) == ("done", sorted(items))
        assert 500 < voted.steps < 573
        wrong = [record for record in queries.steps(voted.run_id, store=store) if len(record.votes) > 1]
        assert len(wrong) == voted.disputed > 100
        assert queries.verify(voted.run_id, store=store).problem == ""
        assert api.run(job(store, items, run={"seed": seed}, vote={"k": 1})).result != sorted(items)


def test_a_stopped_sort_goes_on(store: str) -> None:
    """Paused every 100 comparisons and resumed, a run ends with the log of one that was never stopped."""
    items = random.Random(3).sample(range(10**6), 120)
    whole = api.run(job(store, items))
    report = api.run(job(store, items), limit_steps=100)
    while report.status == "paused":
        report = api.resume(report.run_id, store=store, limit_steps=100)
    assert (report.result, report.digest) == (sorted(items), whole.digest)
    assert report.resumes > 4


def test_many_lists_are_sorted_in_one_run(tmp_path: Path) -> None:
    """Lists that are halved are instances as any others: their forks stand within that of all instances."""
    many = Path(__file__).parents[3] / "benchmarks" / "shared" / "tasks" / "many.py"
    lists = [[str(n * 7 % 40) for n in range(40)], ["3", "1"]]
    store = f"sqlite:///{tmp_path}/maker.db"
    task = {"decomposer": f"{many}:Many", "of": "sort", "instances": [{"items": one} for one in lists]}
    model = {"kind": "simulated", "p": 0.9}
    report = api.run({"task": task, "model": model, "vote": {"k": 6}, "store": {"url": store}})
    assert report.result == [sorted(one, key=int) for one in lists]
    assert queries.verify(report.run_id, store=store).right
