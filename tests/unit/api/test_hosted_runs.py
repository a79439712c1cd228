"""Runs on hosted models, from a job file, from Python and from the environment: the ledger is the server's bill."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import maker
from decomposers.map import map_rows
from maker.cli.app import app
from maker.errors import JobError, ModelUnusable
from maker.reporting.page import page
from maker.testing import HostedKind, HostedServer

KEY = "sk-hosted-runs-0123456789"
ORGANIZATION = HostedServer.organization
PRICES = {"prompt_price": 1.25, "cached_price": 0.125, "completion_price": 10.0}
"""As decimal numbers these are exact, so that the bill is as well."""
OMIT = ("max_tokens", "temperature", "top_p", "seed", "stop")
OF_KIND: dict[HostedKind, dict[str, Any]] = {
    HostedKind.REASONING: {"omit": OMIT, "reasoning_tokens": 500},
    HostedKind.AZURE: {"api_version": "2024-10-21"},
    HostedKind.GATEWAY: {"headers": {"X-Organization": "HOSTED_ORG"}, "extra_body": {"provider": {"sort": "price"}}},
    HostedKind.PLAIN: {"omit": ("seed",)},
    HostedKind.ANTHROPIC: {"reasoning_tokens": 500},
}
SEEDED = {HostedKind.AZURE, HostedKind.GATEWAY}


class Parity:
    """Says whether a row's number is even; one reply in ten is wrong."""

    def __init__(self) -> None:
        self._random = random.Random(5)

    def __call__(self, prompt: str) -> str:
        """Return the answer to a prompt."""
        even = int(re.findall("[0-9]+", prompt)[-1]) % 2 == 0
        return "even" if even == (self._random.random() < 0.9) else "odd"


@pytest.fixture(autouse=True)
def _keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOSTED_KEY", KEY)
    monkeypatch.setenv("HOSTED_ORG", ORGANIZATION)


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """Return a file of numbers."""
    file = tmp_path / "rows.csv"
    file.write_text("number\n" + "".join(f"{number}\n" for number in range(12)))
    return file


def model_of(server: HostedServer) -> dict[str, Any]:
    """Return the ``[model]`` table that a server needs."""
    kind = "anthropic" if server.kind is HostedKind.ANTHROPIC else "openai"
    common = {"kind": kind, "url": server.url, "name": "tiny", "key_env": "HOSTED_KEY"}
    return common | OF_KIND[server.kind] | PRICES


def task_of(rows: Path) -> dict[str, Any]:
    """Return a ``[task]`` table whose prompts share a part."""
    system = "Answer with one word, even or odd.\n"
    return {"decomposer": "map", "input": str(rows), "template": "Is {{number}} even or odd?", "system": system}


def toml(table: dict[str, Any]) -> str:
    """Return a table as TOML; JSON is near enough for what these hold."""

    def value(one: Any) -> str:
        if isinstance(one, dict):
            return "{" + ", ".join(f"{name} = {value(inner)}" for name, inner in one.items()) + "}"
        return json.dumps(one)

    return "".join(f"{name} = {value(one)}\n" for name, one in table.items())


def check(server: HostedServer, report: maker.RunReport, store: str) -> None:
    """Hold a run's ledger to the server's bill, and look for secrets in its store."""
    assert report.status == "done"
    bill = server.bill
    (line,) = maker.show(report.run_id, store=store).models
    assert report.calls == bill.calls
    if server.kind is HostedKind.PLAIN:
        assert report.cost is not None
        assert report.cost >= bill.amount(prompt="1.25", completion="10", cached="1.25")
    else:
        assert (report.prompt_tokens, report.completion_tokens) == (bill.prompt_tokens, bill.completion_tokens)
        assert line["cached_tokens"] == bill.cached_tokens > 0
        assert report.cost == float(bill.amount(prompt="1.25", completion="10", cached="0.125"))
    assert line["seeded"] is (server.kind in SEEDED)
    assert maker.verify(report.run_id, store=store).right
    assert KEY.encode() not in Path(store.removeprefix("sqlite:///")).read_bytes()


@pytest.mark.parametrize("kind", HostedKind)
def test_from_a_job_file(kind: HostedKind, rows: Path, store: str, tmp_path: Path) -> None:
    with HostedServer(kind, Parity(), key=KEY) as server:
        tables = {"task": task_of(rows), "model": model_of(server), "vote": {"k": 2}, "store": {"url": store}}
        job = tmp_path / "job.toml"
        job.write_text("".join(f"[{name}]\n{toml(table)}" for name, table in tables.items()))
        check(server, maker.run(str(job)), store)


@pytest.mark.parametrize("kind", HostedKind)
def test_from_python(kind: HostedKind, rows: Path, store: str) -> None:
    """Objects and a limit of money: nothing that was reserved is left over."""
    with HostedServer(kind, Parity(), key=KEY) as server:
        table = model_of(server)
        make = {"openai": maker.openai, "anthropic": maker.anthropic}[table.pop("kind")]
        task = map_rows(**{name: value for name, value in task_of(rows).items() if name != "decomposer"})
        report = maker.run(task, model=make(**table), k=2, store=store, limits=maker.Limits(max_cost=1.0))
        check(server, report, store)
    assert report.reserved_calls == 0


@pytest.mark.parametrize("kind", HostedKind)
def test_from_the_environment(
    kind: HostedKind, rows: Path, store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = tmp_path / "job.toml"
    job.write_text(f"[task]\n{toml(task_of(rows))}[vote]\nk = 2\n")
    with HostedServer(kind, Parity(), key=KEY) as server:
        for line in toml(model_of(server)).splitlines():
            name, _, value = line.partition(" = ")
            monkeypatch.setenv(f"MAKER_MODEL_{name.upper()}", value)
        check(server, maker.run(str(job), store=store), store)


def test_a_pools_members_have_prices_of_their_own(rows: Path, store: str) -> None:
    """The cost is the sum of both bills; a batch's prices change nothing of what is sent by itself."""
    with (
        HostedServer(HostedKind.ANTHROPIC, Parity(), key=KEY) as one,
        HostedServer(HostedKind.AZURE, Parity(), key=KEY) as two,
    ):
        half = {"batch_prompt_price": 0.625, "batch_completion_price": 5.0}
        tables = [model_of(one) | half, model_of(two) | {"cached_price": 0.5}]
        model = {"kind": "pool", "members": {"one": tables[0], "two": tables[1]}}
        report = maker.run({"task": task_of(rows), "model": model, "vote": {"k": 2}, "store": {"url": store}})
        first = one.bill.amount(prompt="1.25", completion="10", cached="0.125")
        second = two.bill.amount(prompt="1.25", completion="10", cached="0.5")
    assert report.cost == pytest.approx(float(first + second), rel=1e-12)
    assert {line["model"]: line["seeded"] for line in report.models} == {"one": False, "two": True}


@pytest.mark.parametrize("kind", [HostedKind.PLAIN, HostedKind.AZURE])
def test_the_record_says_where_votes_were_drawn_without_seeds(kind: HostedKind, rows: Path, store: str) -> None:
    """In a terminal and in the report; its JSON is looked at in every other test."""
    with HostedServer(kind, Parity(), key=KEY) as server:
        done = maker.run({"task": task_of(rows), "model": model_of(server), "vote": {"k": 2}, "store": {"url": store}})
    shown = CliRunner().invoke(app, ["show", done.run_id, "--store", store]).output
    told = page(maker.report(done.run_id, store=store))
    unseeded = kind is HostedKind.PLAIN
    assert ("the votes of tiny were drawn without seeds: they cannot be drawn again" in shown) is unseeded
    assert ("The votes of tiny were drawn without seeds: they cannot be drawn again." in told) is unseeded


@pytest.mark.parametrize("price", ["prompt_price", "completion_price"])
def test_money_is_not_capped_without_prices(rows: Path, store: str, price: str) -> None:
    """It is refused before anything is sent."""
    with HostedServer(HostedKind.ANTHROPIC, Parity(), key=KEY) as server:
        model = model_of(server)
        del model[price]
        job = {"task": task_of(rows), "model": model, "store": {"url": store}, "limits": {"max_cost": 1.0}}
        with pytest.raises(JobError, match="max_cost needs prices"):
            maker.run(job)
        assert server.requests == []


def test_a_server_that_refuses_fields_stops_the_run_with_the_settings_that_mend_it(rows: Path, store: str) -> None:
    """The reply that finding them took is in the ledger; a run with them is done."""
    with HostedServer(HostedKind.REASONING, Parity(), key=KEY) as server:
        model = model_of(server)
        del model["omit"]
        job = {"task": task_of(rows), "model": model, "vote": {"k": 2}, "store": {"url": store}}
        with pytest.raises(ModelUnusable) as caught:
            maker.run(job)
        (found,) = re.findall(r"set model\.omit = (\[.*?\])", caught.value.fix or "")
        (run,) = maker.runs(store=store)
        assert (run.calls, run.completion_tokens) == (server.bill.calls, server.bill.completion_tokens)
        assert run.calls > 0
        done = maker.run(job | {"model": model | {"omit": json.loads(found)}})
    assert done.status == "done"
    assert done.calls == server.bill.calls - run.calls


def test_replies_that_all_end_within_their_reasoning_stop_the_run(rows: Path, store: str) -> None:
    """What is to be raised is told."""
    with HostedServer(HostedKind.REASONING, Parity(), key=KEY, reasons=(600, 600)) as server:
        model = model_of(server) | {"reasoning_tokens": 100}
        limits = {"max_useless": 5}
        report = maker.run({"task": task_of(rows), "model": model, "store": {"url": store}, "limits": limits})
    assert report.status == "paused"
    assert "reasoning" in report.reason
    assert "model.reasoning_tokens" in report.reason


def test_a_resume_may_omit_a_seed_and_not_the_temperature(rows: Path, store: str) -> None:
    """Whether a seed is sent decides no reply; the temperature does."""
    with HostedServer(HostedKind.GATEWAY, Parity(), key=KEY) as server:
        job = {"task": task_of(rows), "model": model_of(server), "vote": {"k": 2}, "store": {"url": store}}
        cut = maker.run(job, limit_steps=3)
        for given in ('model.omit=["temperature"]', 'model.extra_body={provider={sort="speed"}}'):
            with pytest.raises(maker.MakerError, match="model"):
                maker.resume(cut.run_id, [given], store=store)
        done = maker.resume(cut.run_id, ['model.omit=["seed"]'], store=store)
    assert done.status == "done"
    assert "seed" not in server.requests[-1].body
