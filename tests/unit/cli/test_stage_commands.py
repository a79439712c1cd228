"""Maps with stages on the command line."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from maker.cli.app import app
from maker.cli.exit_codes import ExitCode

JOB = """\
[task]
decomposer = "map"
input = "rows.csv"
template = "What colour is {{text}}?"
id_column = "id"
truth = "row_tasks:plain_truth"
[accept]
error = 0.1
labels = "labels.csv"
[vote]
k = 2
[[stage]]
name = "cheap"
model = { kind = "simulated", p = 0.8, rho = 0.3, rivals = 2 }
vote = { k = 3 }
[[stage]]
name = "strong"
model = { kind = "simulated", p = 0.98, rivals = 2 }
"""


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A job with two stages, in the working directory."""
    import row_tasks

    monkeypatch.chdir(tmp_path)
    Path("rows.csv").write_text("id,text\n" + "".join(f"r{n},item {n}\n" for n in range(300)))
    drawn = sorted(random.Random(2).sample(range(300), 160))
    Path("labels.csv").write_text("id,answer\n" + "".join(f"r{n},{row_tasks.label(n)}\n" for n in drawn))
    Path("job.toml").write_text(JOB)
    return Path("job.toml")


def maker(*words: str) -> Result:
    """Call the command line."""
    return CliRunner().invoke(app, list(words))


def told(*words: str) -> dict[str, Any]:
    """Call it for JSON."""
    found: dict[str, Any] = json.loads(maker(*words, "--json").stdout.splitlines()[0])
    return found


def test_one_command_runs_all_stages_and_others_show_them_together(job: Path) -> None:
    """Run, show, results and resume are about one map, whichever of its runs is named."""
    ran = maker("run", str(job))
    assert ran.exit_code in (ExitCode.DONE, ExitCode.MISSING), ran.output
    shown = maker("show", "last").stdout
    for words in ("in 2 stages", "cheap", "strong", "are accepted, at most 0.1 of them wrong", "test nothing"):
        assert words in ran.stdout
        assert words in shown
    first = told("show", "last")["run_id"]
    assert told("show", f"{first}.strong")["run_id"] == first
    rows = [json.loads(line) for line in maker("results", first, "--json").stdout.splitlines()]
    assert [row["row"] for row in rows] == list(range(300))
    assert {row["stage"] for row in rows} == {"cheap", "strong"}
    calls = [one["calls"] for one in told("show", first)["runs"]]
    again = maker("resume", first)
    assert again.exit_code == ran.exit_code
    assert [one["calls"] for one in told("show", first)["runs"]] == calls
    assert Path(f"accept-{first}", "accepted.jsonl").is_file()


def test_a_plan_compares_the_stages_with_each_model_and_asks_once(job: Path) -> None:
    """Its pilots are found again."""
    first = told("plan", str(job))
    assert [one["name"] for one in first["choices"]] == ["cheap then strong", "cheap alone", "strong alone"]
    assert (first["rows"], first["labels"]) == (300, 160)
    cascade, _, strong = first["choices"]
    assert sum(cascade["kept"]) == pytest.approx(1)
    assert strong["calls"] == pytest.approx(300 * 2, rel=0.2)
    assert told("plan", str(job)) == first
    text = maker("plan", str(job)).stdout
    assert "rests on 160 labelled rows" in text
    assert "assumed" in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("run", "job.toml", "model.p=1"), "does not say of which stage"),
        (("run", "job.toml", "--limit-steps", "3"), "--limit-steps counts steps of one run"),
        (("run", "job.toml", "limits.max_cost=3"), "limits.max_cost needs prices"),
        (("try", "job.toml"), "the job has stages"),
        (("enqueue", "job.toml"), "the job has stages"),
        (("calibrate", "job.toml"), "the job has stages"),
        (("plan", "job.toml", "--sweep", "vote.k=2,3"), "--sweep is for jobs of one model"),
        (("run", "job.toml", "accept.labels=none.csv"), "cannot be read"),
    ],
)
def test_what_stages_do_not_take_is_bad_input(job: Path, words: tuple[str, ...], message: str) -> None:
    """It is said before a model is asked."""
    done = maker(*words)
    assert message in str(done.exception or done.output) + done.output
    assert done.exit_code != 0


def test_stages_are_shown_without_being_run(job: Path) -> None:
    """Their settings, and what each would take for all rows."""
    assert maker("run", str(job), "--print-config").stdout.count("model.p ") == 2
    assert maker("run", str(job), "--dry-run").stdout.count("300 rows") >= 2
    assert not Path("maker.db").exists()
