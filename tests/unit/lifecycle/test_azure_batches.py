"""Batches at Azure: the resource has the files and batches, and a deployment stands for the model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

import maker
from maker.models.batch import model
from maker.testing import BatchServer

VERSION = "2024-10-21"


class AzureBatchServer(BatchServer):
    """The stand-in at Azure's addresses; it takes nothing but what Azure does."""

    def _call(self, method: str, path: str, headers: Mapping[str, str], raw: bytes) -> bytes:
        parts = urlsplit(path)
        assert parts.path.startswith(("/openai/files", "/openai/batches")), path
        assert parse_qs(parts.query)["api-version"] == [VERSION]
        assert headers["api-key"] == "sesame"
        assert "authorization" not in headers
        inner = path.replace("/openai/", "/v1/", 1)
        return super()._call(method, inner, headers, raw)

    def _create(self, told: Mapping[str, Any]) -> bytes:
        assert told["endpoint"] == "/chat/completions"
        lines = [json.loads(line) for line in self._files[told["input_file_id"]].splitlines()]
        assert {(line["url"], line["body"]["model"]) for line in lines} == {("/chat/completions", "deployed")}
        return super()._create(told)


@pytest.mark.parametrize("path", ["", "/openai", "/openai/deployments/deployed"])
@pytest.mark.parametrize("ends", ["completed", "cancelled"])
def test_a_run_asks_in_azures_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, ends: str) -> None:
    """Also where a reply is lost that named a batch, which is looked for then, and one that is cancelled."""
    monkeypatch.setattr(model, "QUIET_S", 0.05)
    monkeypatch.setenv("AZURE_KEY", "sesame")
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps({"text": f"item {n}"}) + "\n" for n in range(20)))
    lost = {"loses": lambda number: number == 1, "takes_s": 0.0 if ends == "completed" else 600}
    with AzureBatchServer(lambda prompt, seed: "red", **lost) as server:
        url = server.url.removesuffix("/v1") + path
        settings = {
            "kind": "openai", "url": url, "name": "deployed", "api_version": VERSION, "key_env": "AZURE_KEY",
            "batch": True, "batch_poll_s": 0.05, "batch_wait_s": None if ends == "completed" else 0,
        }  # fmt: skip
        job = {
            "task": {"decomposer": "map", "input": str(tmp_path / "rows.jsonl"), "template": "{{text}}"},
            "model": settings, "vote": {"k": 1}, "store": {"url": f"sqlite:///{tmp_path}/a.db"},
        }  # fmt: skip
        report = maker.run(job)
        if ends == "cancelled":
            assert report.reason.startswith("waits for its batches: batch_000001")
            report = maker.cancel(report.run_id, store=f"sqlite:///{tmp_path}/a.db")
        assert report.status == ("done" if ends == "completed" else "cancelled")
        assert report.requests == server.bill.requests == (20 if ends == "completed" else 10)
