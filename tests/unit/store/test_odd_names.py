"""Names that are not UTF-8: a folder's is kept, a run's and a store's are refused by a sentence."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

import maker
from maker.errors import JobError, StoreUnusable


def _job(folder: Path, store: str, **run: Any) -> dict[str, Any]:
    (folder / "rows.csv").write_text("t\na\nb\n")
    (folder / "rules.py").write_text(
        "from maker.plugin import Truth\n\n\ndef truth(prompt):\n    return Truth(('yes',), ('no',))\n"
    )
    return {
        "run": run, "store": {"url": store}, "model": {"kind": "simulated"}, "vote": {"k": 2},
        "task": {"decomposer": "map", "input": str(folder / "rows.csv"), "template": "is {{t}}?",
                 "truth": f"{folder}/rules.py:truth"},
    }  # fmt: skip


def test_a_folder_whose_name_is_no_text(tmp_path: Path) -> None:
    """A run in it is stored, resumed and shown."""
    folder = tmp_path / os.fsdecode(b"d\xff x")
    folder.mkdir()
    store = f"sqlite:///{tmp_path}/maker.db"
    begun = maker.run(_job(folder, store), limit_steps=1)
    assert maker.resume(begun.run_id, store=store).status == "done"
    shown = maker.show(begun.run_id, store=store)
    assert shown.settings["task"]["input"] == str(folder / "rows.csv")
    shutil.rmtree(folder)


@pytest.mark.parametrize("name", [os.fsdecode(b"x\xff"), "a\0b"])
def test_a_name_that_a_database_does_not_take_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(JobError, match=r"run\.name.*a name must be text that UTF-8 can write"):
        maker.run(_job(tmp_path, f"sqlite:///{tmp_path}/maker.db", name=name))


def test_a_store_whose_name_is_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreUnusable, match="is not UTF-8"):
        maker.run(_job(tmp_path, f"sqlite:///{tmp_path}/{os.fsdecode(bytes([255]))}.db"))
