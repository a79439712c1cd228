"""What `maker plan` says of a job in batches: rounds, hours and price, beside what its run then takes."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

import maker
from maker.cli.app import app
from maker.models.batch import model
from maker.testing import BatchServer

ROWS = 200
JOB = """
[task]
decomposer = "map"
input = "rows.jsonl"
template = "What colour is {{{{text}}}}"
id_column = "id"
[model]
kind = "openai"
url = "{url}"
name = "m"
batch = true
batch_poll_s = 0.05
prompt_price = 0.15
completion_price = 0.6
batch_prompt_price = 0.075
batch_completion_price = 0.3
[vote]
k = "auto"
target = 0.9
"""


def reply(prompt: str, seed: int) -> str:
    """Return one of three colours, the right one with p = .985."""
    number, chance = int(prompt.rpartition(" ")[2]), random.Random(f"{prompt} {seed}")
    return ("red", "green", "blue")[(number + (chance.random() > 0.985)) % 3]


def invoke(folder: Path, *words: str) -> Result:
    command, *more = words
    done = CliRunner().invoke(app, [command, str(folder / "job.toml"), f"store.url=sqlite:///{folder}/p.db", *more])
    assert done.exit_code == 0, done.output
    return done


@pytest.fixture
def planned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Yield a server of batches, and a folder with a job that its pilot has asked about."""
    monkeypatch.setattr(model, "QUIET_S", 0.05)
    lines = (json.dumps({"id": f"r{number}", "text": f"item {number}"}) for number in range(ROWS))
    (tmp_path / "rows.jsonl").write_text("\n".join(lines) + "\n")
    with BatchServer(reply) as server:
        (tmp_path / "job.toml").write_text(JOB.format(url=server.url))
        invoke(tmp_path, "calibrate", "--votes", "30", "--steps", str(ROWS))
        assert server.live.requests == 0
        yield server, tmp_path


def test_a_plan_says_what_the_run_takes(planned: tuple[BatchServer, Path]) -> None:
    """Rounds as at most planned, calls and cost within a twentieth, with extra votes and without."""
    server, folder = planned
    told = json.loads(invoke(folder, "plan", "--json").stdout)
    plain, extra = told["batches"]
    k = max(told["margins"]["k"].values())
    assert (plain["extra"], extra["extra"]) == (0, k)
    assert [one["hours"] for one in (plain, extra)] == [24 * one["rounds"] for one in (plain, extra)]
    assert extra["rounds"] < plain["rounds"]
    for one in (plain, extra):
        before = server.bill
        report = maker.run(folder / "job.toml", [f"store.url=sqlite:///{folder}/p.db", f"vote.extra={one['extra']}"])
        assert report.status == "done"
        assert server.bill.batches - before.batches <= one["rounds"]
        assert report.calls == pytest.approx(one["calls"], rel=0.05)
        assert report.cost == pytest.approx(told["cost"][1] * one["calls"] / plain["calls"], rel=0.05)
        written = server.bill.completion_tokens - before.completion_tokens
        read = server.bill.prompt_tokens - before.prompt_tokens
        assert report.cost == pytest.approx((0.075 * read + 0.3 * written) / 1e6)


def test_a_plan_is_told_in_words(planned: tuple[BatchServer, Path]) -> None:
    """The job's own ``vote.extra`` first, each with its rounds, hours and price."""
    _, folder = planned
    lines = invoke(folder, "plan", "vote.extra=2").stdout.splitlines()
    at = lines.index("    in batches, if steps are equally hard:")
    assert lines[at + 1].startswith("      vote.extra = 2: 2 rounds or fewer with 95% probability, 48 hours at most; ")
    assert lines[at + 2].startswith("      vote.extra = 0: 3 rounds or fewer with 95% probability, 72 hours at most; ")
    assert all(", cost 0.00" in line for line in lines[at + 1 : at + 3])
