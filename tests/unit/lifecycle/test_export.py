"""Exports: every live step in order, whatever is done to the run meanwhile, in a schema that does not change."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fork_tasks import Shape, leaf
from needs import Late

from maker import api
from maker.errors import BadInput, MakerError, TaskFailed
from maker.lifecycle import admin, queries
from maker.lifecycle.export import VERSION, Exported, export_steps

pyarrow = Late("pyarrow", "pyarrow.parquet")

Job = Callable[..., dict[str, dict[str, Any]]]
COLUMNS = ["chain", "step", "class", "action", "votes", "flags", "rounds", "margin", "epoch", "superseded", "tokens",
           "digest", "outcome"]  # fmt: skip
HEADER = {"run_id", "name", "status", "reason", "steps", "votes", "red_flags", "disputed", "digest", "result",
          "forked_from", "forked_at", "settings", "fingerprint"}  # fmt: skip
TREE: Shape = {
    "steps": [2, 1, 3],
    "forks": [{"children": [leaf(3), {"steps": [1, 1], "forks": [{"singles": 4}]}, leaf(2)]}, {"singles": 5}],
}


class Stream(io.BytesIO):
    """A stream that does something else, once, after so many lines."""

    def __init__(self, after: int = 0, act: Callable[[], object] = lambda: None) -> None:
        super().__init__()
        self._left, self._act = after, act

    def write(self, line: Any) -> int:
        self._left -= 1
        if self._left == 0:
            self._act()
        return super().write(line)

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.getvalue().decode().splitlines()]


def exported(store: str) -> list[dict[str, Any]]:
    """Return the newest run's export, parsed: its header, then its steps."""
    stream = Stream()
    export_steps("last", stream, store=store)
    return stream.lines


def tree_job(store: str, shape: Shape = TREE, **tables: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return a job that forks."""
    base: dict[str, dict[str, Any]] = {
        "task": {"decomposer": "fork_tasks:Tree", "shape": shape},
        "model": {"kind": "simulated", "p": 0.9, "rivals": 3},
        "vote": {"k": 2, "max_votes": 1000},
        "store": {"url": store},
    }
    return base | {name: base.get(name, {}) | table for name, table in tables.items()}


def places(steps: list[dict[str, Any]]) -> list[tuple[str, int]]:
    return [(step["chain"], step["step"]) for step in steps]


def test_json_lines_hold_what_the_run_holds(hanoi: Job, store: str) -> None:
    """The first line is the run as `show` tells it, then comes a line a step as `steps` tells it, and two columns."""
    report = api.run(hanoi(5))
    header, *steps = exported(store)
    assert header["format"] == "maker-steps"
    assert header["version"] == 1
    assert header["actions"] == "shown"
    assert set(header) == {"format", "version", "actions", "run"}
    assert set(header["run"]) == HEADER
    told = report.to_json()
    assert {name: header["run"][name] for name in HEADER - {"fingerprint"}} == {
        name: told[name] for name in HEADER - {"fingerprint"}
    }
    assert header["run"]["fingerprint"]["task"]["disks"] == 5
    assert [list(step) for step in steps] == [COLUMNS] * 31
    records = [record.to_json() for record in queries.steps("last", store=store)]
    assert [{name: step[name] for name in COLUMNS[:-3]} for step in steps] == records
    assert steps[-1]["digest"] == report.digest
    assert sum(step["tokens"] for step in steps) == report.prompt_tokens + report.completion_tokens


def test_parquet_holds_the_same(hanoi: Job, store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows, their order and the header are those of the JSON lines, in row groups of the size that is set."""
    monkeypatch.setattr("maker.lifecycle.export.GROUP_STEPS", 10)
    monkeypatch.setattr("maker.lifecycle.export.BATCH_STEPS", 3)
    report = api.run(hanoi(5, model={"malformed": 0.1}))
    header, *steps = exported(store)
    out = tmp_path / "run.parquet"
    assert export_steps("last", out, format="parquet", store=store) == Exported(report.run_id, 31, "shown")
    file = pyarrow.parquet.ParquetFile(out)
    assert [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)] == [10, 10, 10, 1]
    assert json.loads(file.schema_arrow.metadata[b"maker-steps"]) == header
    assert file.schema_arrow.names == [*COLUMNS[:4], "action_json", *COLUMNS[4:]]
    rows = file.read().to_pylist()
    codec = api.load_job(hanoi(5)).decomposer.action
    for row, step in zip(rows, steps, strict=True):
        shown = row.pop("action_json")
        assert json.loads(shown) == codec.show(codec.read(row["action"]))
        assert row | {"action": json.loads(shown), "votes": dict(row["votes"]), "flags": dict(row["flags"])} == step
        assert row["votes"][0][0] == row["action"]
    assert any(row["flags"] for row in rows)


def test_large_actions_make_small_row_groups(
    hanoi: Job, store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A row group ends at so many characters of actions too, so that memory is bounded whatever their size."""
    monkeypatch.setattr("maker.lifecycle.export.GROUP_CHARACTERS", 200)
    api.run(hanoi(5))
    out = tmp_path / "run.parquet"
    export_steps("last", out, format="parquet", store=store)
    groups = pyarrow.parquet.ParquetFile(out).metadata
    assert groups.num_row_groups > 4
    assert groups.num_rows == 31


def test_a_tree_comes_depth_first(store: str) -> None:
    """Children stand where their parent forked, in child order, each under its own name; joins are left out."""
    assert api.run(tree_job(store)).status == "done"
    header, *steps = exported(store)
    nested = [("2.1", 0), *((f"2.1/1.{i}", 0) for i in range(4)), ("2.1", 2)]
    children = [("2.0", 0), ("2.0", 1), ("2.0", 2), *nested, ("2.2", 0), ("2.2", 1)]
    singles = [(f"4.{i}", 0) for i in range(5)]
    root = [("root", i) for i in (0, 1, 3, 5, 6, 7)]
    assert places(steps) == [*root[:2], *children, root[2], *singles, *root[3:]]
    assert len(steps) == header["run"]["steps"]


def test_an_empty_run(hanoi: Job, store: str, tmp_path: Path) -> None:
    """A run without a step is a header alone, and a table without rows."""
    api.run(hanoi(3))
    admin.fork("last", 0, store=store)
    (header,) = exported(store)
    assert (header["run"]["status"], header["run"]["steps"]) == ("paused", 0)
    export_steps("last", tmp_path / "run.parquet", format="parquet", store=store)
    assert pyarrow.parquet.read_table(tmp_path / "run.parquet").num_rows == 0


def test_a_forked_run_holds_what_it_shares(hanoi: Job, store: str) -> None:
    """The steps before the fork are the other run's; the header says whose, and counts none of them."""
    source = api.run(hanoi(5))
    _, *before = exported(store)
    admin.fork("last", 20, ["run.seed=7"], store=store)
    report = api.resume("last", store=store)
    header, *steps = exported(store)
    assert (header["run"]["forked_from"], header["run"]["forked_at"]) == (source.run_id, 20)
    assert header["run"]["steps"] == report.steps == 11
    assert steps[:20] == before[:20]
    assert steps[20:] != before[20:]
    assert places(steps) == places(before)


@pytest.mark.parametrize("after", [2, 3, 5])
def test_a_run_that_is_worked_on(store: str, monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    """What is decided, and joined, while the export reads is in it or not; of each chain a prefix, nothing twice."""
    monkeypatch.setattr("maker.store.log.PAGE", 2)
    assert api.run(tree_job(store), limit_steps=7).status == "paused"
    stream = Stream(after, lambda: api.resume("last", store=store))
    export_steps("last", stream, store=store)
    header, *steps = stream.lines
    _, *whole = exported(store)
    assert (header["run"]["status"], header["run"]["steps"]) == ("paused", 7)
    assert len(whole) == 22
    assert 7 <= len(steps) == len(set(places(steps)))
    for chain in {step["chain"] for step in steps}:
        of_chain = [step for step in steps if step["chain"] == chain]
        assert of_chain == [step for step in whole if step["chain"] == chain][: len(of_chain)]
    assert [step for step in whole if step in steps] == steps


@pytest.mark.parametrize("fork", [{"children": [leaf(1), leaf(5)]}, {"children": [leaf(1), {"steps": [0, 3], "forks": [
    {"children": [leaf(1)]}]}]}], ids=["steps", "forks"])  # fmt: skip
def test_a_run_that_is_retried_meanwhile(store: str, monkeypatch: pytest.MonkeyPatch, fork: dict[str, Any]) -> None:
    """Steps that are superseded while the export reads do not mix with those that take their place."""
    monkeypatch.setattr("maker.store.log.PAGE", 2)
    report = api.run(tree_job(store, {"steps": [0, 0], "forks": [fork | {"wrong": [1]}]}))
    assert report.status == "paused"
    stream = Stream(3, lambda: api.retry("last", store=store))
    with pytest.raises(MakerError, match="was retried while it was exported"):
        export_steps("last", stream, store=store)
    _, *steps = exported(store)
    assert {step["epoch"] for step in steps if step["chain"] == "0.1"} == {1}


def write_task(folder: Path, shown: str, read: str = "text") -> Path:
    """Write a task of three steps whose codec shows its actions by an expression."""
    file = folder / "letters.py"
    file.write_text(f"""
from maker.plugin import Decomposer, Done, Params, PydanticCodec, Step, StepClass, Truth

class Codec:
    def write(self, value): return value
    def read(self, text): return {read}
    def show(self, value): return {shown}

class Letters(Decomposer):
    name, version, Params = "letters", 1, Params
    def __init__(self, params):
        self.state, self.action = PydanticCodec(int), Codec()
        self.kind = StepClass("letter", parse=str, max_tokens=8)
        self.classes = (self.kind,)
    def start(self): return 0
    def next(self, state): return Step(self.kind, "a letter") if state < 3 else Done(state)
    def apply(self, state, action): return state + 1
    def oracle(self): return lambda prompt: Truth(("x",), ("y",))
""")
    return file


def run_task(store: str, file: Path) -> None:
    model = {"kind": "simulated", "p": 1.0}
    job = {"task": {"decomposer": f"{file}:Letters"}, "model": model, "vote": {"k": 1}, "store": {"url": store}}
    assert api.run(job).status == "done"


def test_without_the_task_actions_are_as_stored(store: str, tmp_path: Path) -> None:
    """Where the task's code is gone, an action is its canonical text, and the header says so."""
    file = write_task(tmp_path, "{'letter': value}")
    run_task(store, file)
    assert exported(store)[1]["action"] == {"letter": "x"}
    file.unlink()
    header, *steps = exported(store)
    assert header["actions"] == "stored"
    assert [step["action"] for step in steps] == ["x"] * 3
    out = tmp_path / "run.parquet"
    assert export_steps("last", out, format="parquet", store=store).actions == "stored"
    assert (
        pyarrow.parquet.read_table(out, columns=["action", "action_json"]).to_pylist()
        == [{"action": "x", "action_json": None}] * 3
    )


@pytest.mark.parametrize("format_", ["jsonl", "parquet"])
def test_half_a_character(store: str, tmp_path: Path, format_: Any) -> None:
    """Text that has no UTF-8 is escaped, and read back as it was."""
    run_task(store, write_task(tmp_path, r"value + '\ud800é'"))
    export_steps("last", tmp_path / "out", format=format_, store=store)
    if format_ == "jsonl":
        step = json.loads((tmp_path / "out").read_text().splitlines()[1])
        assert step["action"] == "x\ud800é"
    else:
        row = pyarrow.parquet.read_table(tmp_path / "out").to_pylist()[0]
        assert json.loads(row["action_json"]) == "x\ud800é"


def test_numbers_that_json_has_no_word_for(store: str, tmp_path: Path) -> None:
    """NaN and infinities come as null, in the header as in an action: the file is JSON for everybody."""
    file = write_task(tmp_path, "[float('nan'), -float('inf'), 1.5, value]")
    file.write_text(file.read_text().replace("Done(state)", "Done(float('inf'))"))
    run_task(store, file)
    header, *steps = exported(store)
    assert header["run"]["result"] is None
    assert [step["action"] for step in steps] == [[None, None, 1.5, "x"]] * 3


@pytest.mark.parametrize("format_", ["jsonl", "parquet"])
@pytest.mark.parametrize("broken", [{"shown": "{value}"}, {"shown": "value", "read": "1/0"}])
def test_a_codec_that_fails(store: str, tmp_path: Path, broken: dict[str, str], format_: Any) -> None:
    """What is no JSON, or cannot be shown, is told with its step; no file is left, nor a half one."""
    run_task(store, write_task(tmp_path, "value"))
    write_task(tmp_path, **broken)
    before = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(TaskFailed, match="chain root, step 0: the action"):
        export_steps("last", tmp_path / "out", format=format_, store=store)
    assert sorted(path.name for path in tmp_path.iterdir()) == before


@pytest.mark.parametrize("format_", ["jsonl", "parquet"])
def test_a_file_that_is_there(hanoi: Job, store: str, tmp_path: Path, format_: Any) -> None:
    """A file is replaced only where that is asked for, and what is no file never is."""
    api.run(hanoi(3))
    out = tmp_path / "out"
    out.write_text("mine")
    with pytest.raises(BadInput, match="exists already"):
        export_steps("last", out, format=format_, store=store)
    assert out.read_text() == "mine"
    assert export_steps("last", out, format=format_, store=store, force=True).steps == 7
    assert out.read_bytes() != b"mine"
    for place, said in ((tmp_path, "is not a file"), (tmp_path / "no" / "out", "does not exist")):
        with pytest.raises(BadInput, match=said):
            export_steps("last", place, format=format_, store=store, force=True)
    assert sorted(path.name for path in tmp_path.iterdir() if "maker.db" not in path.name) == ["out"]


def test_a_file_that_comes_in_between(hanoi: Job, store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that somebody else makes while the export writes is not replaced either."""
    api.run(hanoi(3))
    out = tmp_path / "out"
    before = Path.exists
    seen: list[Path] = []

    def exists(path: Path) -> bool:
        if path == out:
            seen.append(path)
            if len(seen) == 2:
                out.write_text("theirs")
        return before(path)

    monkeypatch.setattr(Path, "exists", exists)
    with pytest.raises(BadInput, match="exists already"):
        export_steps("last", out, store=store)
    assert out.read_text() == "theirs"
    assert not list(tmp_path.glob("*.part"))


def test_parquet_is_no_stream(hanoi: Job, store: str) -> None:
    """Parquet wants a file."""
    api.run(hanoi(3))
    with pytest.raises(BadInput, match="cannot be written to a stream"):
        export_steps("last", io.BytesIO(), format="parquet", store=store)


def test_the_documentation_names_every_column_and_key() -> None:
    """docs/export.md has a line for each column, and names each key of the header and the version."""
    text = (Path(__file__).parents[3] / "docs" / "export.md").read_text()
    columns, header = text.partition("## Columns")[2].split("## Header")
    assert [line.split("`")[1] for line in columns.splitlines() if line.startswith("| `")] == [
        *COLUMNS[:4], "action_json", *COLUMNS[4:]
    ]  # fmt: skip
    keys = [line.split("|")[1] for line in header.splitlines() if line.startswith("| `")]
    assert {key for cell in keys for key in cell.split("`")[1::2]} == HEADER
    assert f"version {VERSION}" in text
