"""Long multiplication: products against arithmetic, its prompts, all of them, and what is no factor."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from walked import steps_of, walked

from decomposers.common.right_way import right_way
from decomposers.multiply import Multiply, MultiplyParams
from decomposers.multiply.oracle import columns_before
from decomposers.multiply.rules import Columns, ColumnsCodec, Sum, SumCodec
from maker import api
from maker.errors import JobError
from maker.lifecycle import queries

FACTORS = st.integers(1, 40).flatmap(lambda digits: st.integers(0, 10**digits - 1))


def task(a: Any, b: Any, prompt: Any = "compact") -> Multiply:
    return Multiply(MultiplyParams(a=a, b=b, prompt=prompt))


# --- products ---


@given(FACTORS, FACTORS)
def test_right_steps_make_the_product(a: int, b: int) -> None:
    """Factors of 1 to 40 digits: as many steps as said, a short state, and the product as Python has it."""
    multiply = task(a, b)
    walk = walked(multiply)
    assert walk.end.result == str(a * b)
    assert walk.end.ok
    assert len(walk.prompts) == multiply.expected_steps() == len(str(a)) * len(str(b))
    assert walk.longest <= len(str(a)) + len(str(b)) + 8


@pytest.mark.parametrize(("a", "b"), [(0, 0), (0, 10**20), (1, 1), (9, 9), (10**20, 10**20), (10**30 - 1, 10**30 - 1)])
def test_zeros_ones_and_nines(a: int, b: int) -> None:
    """Zero, powers of ten, and nines, whose carries are the highest."""
    assert walked(task(a, b)).end.result == walked(task(b, a)).end.result == str(a * b)


@settings(max_examples=50)
@given(FACTORS, FACTORS, st.randoms(use_true_random=False))
def test_one_wrong_step_is_a_wrong_product(a: int, b: int, rng: Any) -> None:
    """Whichever step is decided wrongly, and however, nothing mends it, and nothing in the task says so."""
    at = rng.randrange(task(a, b).expected_steps())
    walk = walked(task(a, b), lambda number, truth: rng.choice(truth.wrong) if number == at else truth.right[0])
    assert walk.end.result != str(a * b)
    assert walk.end.ok


@given(FACTORS, FACTORS)
def test_columns_are_known_without_the_steps_before(a: int, b: int) -> None:
    """What a pilot asks is what a run asks: at every step the columns are those that right steps lead to."""
    multiply = task(a, b)
    way = list(right_way(multiply, multiply.start()))
    assert way == [columns_before(str(a), str(b), step) for step in range(len(way))]


def test_a_pilot_draws_steps_evenly() -> None:
    """A sample is drawn once each from all steps, the same by the same seed, and all of them where there are few."""
    multiply = task("12345678901234567890", "98765432109876543210")
    drawn = [state.step for state in multiply.sample(100, seed=1)]
    assert drawn == sorted(set(drawn)) == [state.step for state in multiply.sample(100, seed=1)]
    assert len(drawn) == 100 and min(drawn) < 40 and max(drawn) >= 360
    assert [state.step for state in task(12, 34).sample(100, seed=1)] == [0, 1, 2, 3]


# --- prompts ---


def test_the_examples_hold_every_prompt() -> None:
    """All 3,025 prompts, each once; a run of 100 x 100 digits asks no other, and the oracle knows them all."""
    multiply = task("9" * 50 + "0123456789" * 5, "8675309" * 14)
    (examples,) = multiply.examples()
    assert examples.whole
    assert examples.kind in [kind.name for kind in multiply.classes]
    every = {examples.prompt(number) for number in range(examples.size)}
    assert len(every) == examples.size == 3025
    assert set(walked(multiply).prompts) <= every
    assert {len(prompt) for prompt in every} == {8}
    assert set("".join(every)) == set("0123456789*+=")


def test_every_reply_of_the_oracle_is_legal() -> None:
    """Of every prompt one reply is right, as arithmetic says, and two or more are legal, other, and wrong."""
    multiply = task(1, 1)
    (examples,), (kind,), oracle = multiply.examples(), multiply.classes, multiply.oracle()
    for number in range(examples.size):
        prompt = examples.prompt(number)
        right, wrong = oracle(prompt)
        first, second, column, carry = map(int, re.findall("[0-9]", prompt))
        assert [int(one) for one in right] == [first * second + column + carry]
        assert len({*right, *wrong}) == 1 + len(wrong) >= 3
        for reply in (*right, *wrong):
            assert len(reply) < kind.max_tokens
            assert multiply.action.write(kind.parse(reply)) == reply


@given(FACTORS, FACTORS)
def test_equal_questions_are_equal_prompts(a: int, b: int) -> None:
    """Digits that may change places do: the first digit of a product asks the same whichever factor is first."""
    assert walked(task(a, b)).prompts[0] == walked(task(b, a)).prompts[0]
    for prompt in walked(task(a, b)).prompts:
        first, second, column, carry = map(int, re.findall("[0-9]", prompt))
        assert first <= second and column <= carry


def test_a_prompt_is_of_its_step_alone() -> None:
    """Columns that are equal where the step looks ask the same, wherever they stand."""
    multiply = task(77, 33)
    early, late = steps_of(multiply, [Columns(1, 4, "0050"), Columns(3, 4, "0150")])
    assert early.prompt == "3*7+0+4=" and late.prompt == "3*7+4+5="
    assert multiply.next(Columns(2, 4, "9059")) == multiply.next(Columns(2, 4, "8058"))


@pytest.mark.parametrize("prompt", ["", "3*7+0+4", "3*7+0=", "13*7+0+4=", "3*7+0+4= ", "３*7+0+4="])
def test_what_is_no_prompt_has_no_truth(prompt: str) -> None:
    """The oracle refuses what is no prompt of the task."""
    with pytest.raises(ValueError, match="not a prompt of a multiplication"):
        task(1, 1).oracle()(prompt)


@pytest.mark.parametrize("text", ["", "5", "005", "-5", "5 0", "5.", "25.", "x", "２5", "25\n25"])
def test_what_is_no_sum(text: str) -> None:
    """Anything but two digits is refused, with what was read."""
    with pytest.raises(ValueError, match="not a sum"):
        task(1, 1).classes[0].parse(text)


@pytest.mark.parametrize("text", ["07", " 07\n", "7", "Let me think.\n\n 7"])
def test_a_general_model_may_think_and_leave_out_the_zero(text: str) -> None:
    """With the explanation the last line counts, and one digit is a sum without carry."""
    english = task(1, 1, "english")
    assert english.classes[0].parse(text) == Sum(0, 7)
    assert "two digits" in english.classes[0].system
    assert english.next(english.start()).prompt == task(1, 1).next(task(1, 1).start()).prompt  # type: ignore[union-attr]


@pytest.mark.parametrize("text", ["", "1 2", "1 10 00", "1 x 00", "-1 0 00", "1 0 00 "])
def test_what_is_no_state(text: str) -> None:
    """A damaged state is refused."""
    with pytest.raises(ValueError, match="not a state"):
        ColumnsCodec().read(text)
    assert SumCodec().show(Sum(2, 5)) == {"carry": 2, "digit": 5}


# --- factors ---


@pytest.mark.parametrize(
    ("given_", "means"),
    [("7", "7"), (7, "7"), ("007", "7"), ("000", "0"), (0, "0"), (" 42\n", "42"), ("9" * 1000, "9" * 1000)],
)
def test_what_is_a_factor(given_: Any, means: str) -> None:
    """Texts and integers; zeros before it and white space around it mean nothing."""
    assert MultiplyParams(a=given_, b=1).a == means


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("", "it is empty"),
        ("  \n", "it is empty"),
        ("-7", "it has a sign"),
        (-7, "it has a sign"),
        ("+7", "it has a sign"),
        ("1 000", "it holds ' '"),
        ("1,000", "it holds ','"),
        ("1_000", "it holds '_'"),
        ("7.0", "it holds '.'"),
        ("1e3", "it holds 'e'"),
        ("0x7", "it holds 'x'"),
        ("\uff17", "it holds '\uff17'"),
        ("7\n7", "it holds"),
        ("9" * 1001, "it has 1,001 digits: a factor has at most 1,000"),
        (10**1000, "more than 1,000 digits"),
        (7.0, "a factor is a whole number"),
        (True, "a factor is a whole number"),
        (None, "a factor is a whole number"),
        ([7], "a factor is a whole number"),
    ],
)
def test_what_is_no_factor(value: Any, why: str) -> None:
    """Everything else is refused, and the message says what is allowed."""
    with pytest.raises(ValidationError, match=re.escape(why)):
        MultiplyParams(a=1, b=value)


def test_bad_factors_in_a_job(store: str) -> None:
    """A job says which setting is wrong, its value, and what is allowed."""
    with pytest.raises(JobError, match=r"task\.b = '-12': it has a sign: a factor is a whole number, 0 or more"):
        api.load_job(job(store, a="12", b="-12"))


# --- runs ---


def job(store: str, **tables: Any) -> dict[str, dict[str, Any]]:
    factors = {name: tables.pop(name) for name in ("a", "b")}
    base: dict[str, dict[str, Any]] = {
        "task": {"decomposer": "decomposers.multiply:Multiply"} | factors,
        "model": {"kind": "simulated", "p": 0.9},
        "vote": {"k": 6},
        "store": {"url": store},
    }
    return base | {name: base[name] | table if name in base else table for name, table in tables.items()}


def test_votes_make_products_right(store: str) -> None:
    """At p = .9 ten products of 10 x 10 digits are right with k = 6, and all of them wrong without votes."""
    print("run seeds 0 to 9")
    factors: list[Callable[[int], str]] = [lambda seed: str(7**11 + seed), lambda seed: str(3**20 - seed)]
    for seed in range(10):
        a, b = (one(seed) for one in factors)
        assert len(a) == len(b) == 10
        product = str(int(a) * int(b))
        voted = api.run(job(store, a=a, b=b, run={"seed": seed}))
        assert (voted.status, voted.result, voted.steps) == ("done", product, 100)
        assert queries.verify(voted.run_id, store=store).problem == ""
        assert api.run(job(store, a=a, b=b, run={"seed": seed}, vote={"k": 1})).result != product


def test_a_product_of_100_x_100_digits_goes_on_where_it_was_stopped(store: str) -> None:
    """One chain of 10,000 steps, stopped twice on the way, is right at the end."""
    a, b = str(7**118)[:100], str(3**209)[:100]
    report = api.run(job(store, a=a, b=b, vote={"k": 8}), limit_steps=4321)
    while report.status == "paused":
        report = api.resume(report.run_id, store=store, limit_steps=4321)
    assert (report.steps, report.resumes, report.result) == (10_000, 2, str(int(a) * int(b)))


def test_another_product_takes_what_one_has_decided(store: str) -> None:
    """The factors say which digits meet, and nothing of what they come to; another k is another question."""
    job = {
        "task": {
            "decomposer": "decomposers.multiply:Multiply",
            "a": "8675309" * 4,
            "b": "1234567890" * 2,
            "memo": "store",
        },
        "model": {"kind": "simulated", "p": 0.9},
        "vote": {"k": 6},
        "store": {"url": store},
    }
    one = api.run(job)
    assert int(one.result) == int("8675309" * 4) * int("1234567890" * 2)
    factors = {"a": "97531" * 4, "b": "86420" * 4}
    other = api.run(job | {"task": job["task"] | factors})
    assert int(other.result) == int("97531" * 4) * int("86420" * 4)
    alone = api.run(job | {"task": job["task"] | factors | {"memo": "run"}})
    assert other.result == alone.result
    assert other.reused > alone.reused + 20
    assert other.calls < alone.calls - 100
    assert queries.verify(other.run_id, store=store).right
    assert api.run(job | {"vote": {"k": 5}}).calls > one.calls / 2
