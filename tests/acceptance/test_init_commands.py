"""From `maker init` to a result, by the real command line."""

from __future__ import annotations

import json

from processes import Commands


def test_a_job_is_written_run_and_looked_at(maker: Commands) -> None:
    """A new folder, a rehearsal, its rows; and a second time nothing is overwritten."""
    assert "try it with `maker run mine/job.toml`" in maker.good("init", "map", "mine")
    assert "is done" in maker.good("run", "mine/job.toml")
    rows = [json.loads(line) for line in maker.good("results", "last", "--json").splitlines()]
    assert [row["outcome"] for row in rows] == ["decided"] * 8
    (maker.folder / "mine" / "rules.py").write_text("mine")
    again = maker.run("init", "map", "mine")
    assert (again.returncode, "nothing was overwritten" in again.stderr) == (2, True)
    assert (maker.folder / "mine" / "rules.py").read_text() == "mine"
