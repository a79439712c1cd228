"""A resume says which of the files that the job's texts were read from have changed; the run goes on with its texts."""

from __future__ import annotations

import json
from pathlib import Path

from row_tasks import SCHEMA, job, write_rows

from maker import api
from maker.lifecycle import queries
from maker.lifecycle.events import Event, FileChanged


def test_a_changed_prompt_is_told(tmp_path: Path) -> None:
    """By its parameter and its file, at each resume and after a retry of the finished map; a text is no file."""
    write_rows(tmp_path / "rows.csv", range(40))
    prompt, schema = tmp_path / "prompt.txt", tmp_path / "schema.json"
    prompt.write_text("What colour is {{text}}?")
    schema.write_text(json.dumps(SCHEMA))
    store = f"sqlite:///{tmp_path}/maker.db"
    files = {"template": str(prompt), "schema": str(schema), "system": "Be brief."}
    told: list[Event] = []

    def changed() -> list[tuple[str, str]]:
        found = [(one.parameter, one.file) for one in told if isinstance(one, FileChanged)]
        told.clear()
        return found

    api.run(job(tmp_path, task=files, vote={"k": 3, "max_votes": 4}), limit_steps=5, on_event=told.append)
    api.resume("last", store=store, limit_steps=5, on_event=told.append)
    assert changed() == []
    prompt.write_text("Of what colour is {{text}}?")
    api.resume("last", store=store, limit_steps=5, on_event=told.append)
    assert changed() == [("template", str(prompt))]
    schema.unlink()
    report = api.resume("last", store=store, on_event=told.append)
    assert sorted(changed()) == [("schema", str(schema)), ("template", str(prompt))]
    assert report.settings["task"]["template"] == "What colour is {{text}}?"
    assert report.missing > 0
    api.retry(report.run_id, ["vote.max_votes=50"], store=store, on_event=told.append)
    assert len(changed()) == 2
    assert queries.verify("last", store=store).right
