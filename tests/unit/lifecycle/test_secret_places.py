"""Secrets in the URL of an input are neither stored nor shown; whoever reads the input again gives them again."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

import maker
from maker.errors import BadInput
from maker.inputs.secrets import is_cut, without_secrets
from maker.job.resolve import derived
from maker.lifecycle.queries import shown_settings
from maker.lifecycle.rows import results

ROWS = b"t\n" + b"".join(b"%d\n" % i for i in range(6))


@pytest.mark.parametrize(
    ("where", "shown"),
    [
        ("https://host/a.csv?sig=HUSH&x=/b", "https://host/a.csv?…"),
        ("https://host/a.csv?HUSH", "https://host/a.csv?…"),
        ("https://me:HUSH@host/a.csv", "https://…@host/a.csv"),
        ("https://HUSH@host/a.csv?sig=HUSH", "https://…@host/a.csv?…"),
        ("simplecache::https://me:HUSH@host/a.csv?sig=HUSH", "simplecache::https://…@host/a.csv?…"),
        ("zip://*.csv::https://host/a.zip?sig=HUSH", "zip://*.csv::https://host/a.zip?…"),
        ("s3://KEY:HUSH@bucket/a.csv", "s3://…@bucket/a.csv"),
        ("s3://bucket/a.csv?versionId=HUSH", "s3://bucket/a.csv?…"),
        ("s3://bucket/data-?.csv", None),
        ("s3://bucket/a?/year=2020/*.csv", None),
        ("ftp://me@host/a.csv", None),
        ("abfs://container@account.dfs.core.windows.net/a.csv", None),
        ("github://org:repo@main/a.csv", None),
        ("data/a?b=c.csv", None),
    ],
)
def test_a_place_without_its_secrets(where: str, shown: str | None) -> None:
    assert without_secrets(where) == (shown or where)
    assert without_secrets(shown or where) == (shown or where)
    assert is_cut(shown or where) is (shown is not None)


class Web(BaseHTTPRequestHandler):
    """Serves the rows to who has the signature."""

    def do_HEAD(self) -> None:
        self._answer(b"")

    def do_GET(self) -> None:
        self._answer(ROWS)

    def _answer(self, body: bytes) -> None:
        good = "sig=HUSH" in self.path
        self.send_response(200 if good else 403)
        self.send_header("Content-Length", str(len(ROWS) if good else 0))
        self.end_headers()
        if good:
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture
def web() -> Iterator[str]:
    pytest.importorskip("aiohttp")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Web)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/rows.csv"
    server.shutdown()
    server.server_close()


def test_a_signed_url_is_not_stored(web: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "truth.py").write_text(
        "from maker.plugin import Truth\n\n\ndef truth(prompt):\n    return Truth(('yes',), ('no',))\n"
    )
    store = f"sqlite:///{tmp_path}/maker.db"
    settings: dict[str, Any] = {
        "task": {"decomposer": "map", "input": f"{web}?sig=HUSH1", "template": "is {{t}} even?",
                 "truth": f"{tmp_path}/truth.py:truth", "output": str(tmp_path / "out")},
        "model": {"kind": "simulated"}, "vote": {"k": 2}, "store": {"url": store},
    }  # fmt: skip
    job = maker.load_job(settings)
    assert job.settings["task"]["input"] == f"{web}?…"
    assert "HUSH" not in repr(job.settings)
    # A pilot reads the same input.
    assert derived(job, job.settings, []).given == {"input": f"{web}?sig=HUSH1"}
    begun = maker.run(job, limit_steps=2)
    assert begun.status == "paused"
    assert begun.settings["task"]["input"] == f"{web}?…"
    with pytest.raises(BadInput, match=r"the secret part of its URL was not stored\n(.|\n)*task\.input=URL"):
        maker.resume(begun.run_id, store=store)
    ended = maker.resume(begun.run_id, [f"task.input={web}?sig=HUSH2"], store=store)
    assert ended.status == "done"
    with pytest.raises(BadInput, match="MAKER_TASK_INPUT=URL"):
        list(results(begun.run_id, store=store))
    monkeypatch.setenv("MAKER_TASK_INPUT", f"{web}?sig=HUSH3")
    assert len(list(results(begun.run_id, store=store))) == 6
    for path in tmp_path.rglob("*"):
        assert path.is_dir() or b"HUSH" not in path.read_bytes(), path


def test_settings_of_an_older_store_are_shown_without_secrets() -> None:
    """A prompt with a URL in it is no place."""
    task = {"decomposer": "map", "input": "https://host/a.csv?sig=HUSH", "template": "see https://host/?q=1 {{t}}"}
    shown = shown_settings({"task": task, "vote": {"k": 2}})
    assert "HUSH" not in json.dumps(shown)
    assert shown["task"]["template"] == task["template"]
    assert shown["vote"] == {"k": 2}
