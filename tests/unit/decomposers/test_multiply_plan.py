"""The example of a multiplication whose plan a model proposes: right by its plans, and by them alone."""

from __future__ import annotations

import random
import re
from pathlib import Path
from typing import Any

import pytest

from maker import api
from maker.errors import BadInput
from maker.lifecycle import queries
from maker.plugin import Step

FOLDER = Path(__file__).parents[3] / "examples" / "multiply_plan"
SEED = 20261122


def job(store: str, problem: str, *, planner: int, solver: int = 4, **task: Any) -> dict[str, dict[str, Any]]:
    """Return the example's job, with these margins."""
    return {
        "run": {"seed": SEED},
        "task": {"decomposer": f"{FOLDER / 'multiply.py'}:Multiply", "problem": problem} | task,
        "model": {"kind": "simulated", "p": 0.99, "p_by_class": {"plan": 0.6}, "rivals": 1},
        "vote": {"voter": "voters.first_to_ahead_by_k:FirstToAheadByK", "k": solver, "max_votes": 1000},
        "roles": {"decomposer": {"k": planner}},
        "store": {"url": store},
    }


def products(count: int, digits: int) -> list[tuple[int, int]]:
    """Return products of factors of so many digits, drawn with the printed seed."""
    print(f"seed of the products: {SEED}")
    draw = random.Random(SEED)
    low, high = 10 ** (digits - 1), 10**digits - 1
    return [(draw.randint(low, high), draw.randint(low, high)) for _ in range(count)]


def test_plans_are_mended_by_their_own_votes_alone(store: str) -> None:
    """A planner at p = .6: of 12 products of 6 digits one or none is right, and all are where plans win by 17 votes."""
    right = {1: 0, 17: 0}
    for a, b in products(12, 6):
        for planner in right:
            report = api.run(job(store, f"{a} * {b}", planner=planner, solver=12))
            assert report.status == "done"
            right[planner] += report.result["answer"] == a * b
    # At k = 1 a product of 7 plans is right with .6^7 = .03: two or more of 12 with .05; at 17 wrong with .007.
    assert right[1] <= 2
    assert right[17] == 12


def test_another_solver_leaves_the_plans_digest(store: str) -> None:
    """A solver that is always wrong has its answer, by the same plans; another product has others."""
    members = {name: {"kind": "simulated", "p": p} for name, p in (("planner", 0.9), ("good", 0.9), ("wrong", 0.0))}
    found = {}
    for problem, solver in (("4711 * 86", "good"), ("4711 * 86", "wrong"), ("4711 * 87", "good")):
        tables = job(store, problem, planner=4)
        planner = {"rotation": ["planner"], "k": 6}
        roles = {"decomposer": planner, "composer": planner, "solver": {"rotation": [solver]}}
        report = api.run(tables | {"model": {"kind": "pool", "members": members}, "roles": roles})
        assert report.status == "done"
        found[problem, solver] = report.result
    good, wrong, other = found.values()
    assert good["answer"] == 4711 * 86
    assert wrong["answer"] != 4711 * 86
    assert good["plan"] == wrong["plan"]
    assert good["plan"]["digest"] != other["plan"]["digest"]


@pytest.mark.parametrize(
    ("problem", "answer"),
    [("0 * 12", 0), ("7*8", 56), ("  0012 * 034 ", 408), ("1000 * 1", 1000), ("10203 * 5", 51015)],
)
def test_odd_factors(store: str, problem: str, answer: int) -> None:
    """Zeros before, within and after, blanks, single digits: the product is right."""
    report = api.run(job(store, problem, planner=17))
    assert (report.status, report.result["answer"]) == ("done", answer)


@pytest.mark.parametrize("problem", ["-3 * 4", "3 * ", "3", "3 * 4 * 5", "3.5 * 2", "٣ * 4", "9" * 1001 + " * 1"])
def test_what_is_no_product_is_refused(store: str, problem: str) -> None:
    """Signs, missing and further factors, fractions, other digits and too many are bad input, before anything runs."""
    with pytest.raises(BadInput, match="is no product of two numbers"):
        api.run(job(store, problem, planner=1))


def test_a_drawn_plan_is_chosen(store: str) -> None:
    """With five draws and a discriminator a planner at p = .6 comes to the right product as well."""
    tables = job(store, "347 * 86", planner=1, vote_plans="discriminator")
    report = api.run(tables)
    assert (report.status, report.result["answer"]) == ("done", 347 * 86)
    assert any(record.kind == "choose" for record in queries.steps("last", store=store))


def test_the_job_runs_as_it_is(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the folder holds is a rehearsal that ends right and verifies."""
    monkeypatch.setenv("MAKER_STORE", store)
    report = api.run(FOLDER / "job.toml")
    assert (report.status, report.result["answer"]) == ("done", 347082 * 916536)
    assert queries.verify("last", store=store).problem == ""


def test_the_prompt_shows_a_right_plan_for_each_kind_of_split() -> None:
    """The second factor is split, the first one, or neither; each example passes the task's own check."""
    task = api.load_job(job("sqlite:///unused.db", "47 * 36", planner=1)).decomposer
    asks = task.next(task.start())
    assert isinstance(asks, Step)
    oracle = task.oracle()
    assert oracle is not None
    examples = re.findall(r"For (\d+ \* \d+) reply\n(\{.*\})$", asks.prompt, re.MULTILINE)
    kinds = []
    for product, reply in examples:
        node = task.start()._replace(goal=product)
        plan = asks.kind.parse(reply)
        assert asks.kind.check(node, plan) is None
        right = oracle(asks.prompt.replace("Product: 47 * 36", f"Product: {product}")).right[0]
        assert plan == asks.kind.parse(right)
        a, b = product.split(" * ")
        kinds.append((len(a.replace("0", "")) > 1, len(b.replace("0", "")) > 1))
    assert kinds == [(True, True), (True, False), (False, False)]
