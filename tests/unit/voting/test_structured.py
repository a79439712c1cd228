"""Replies that are held to a step class's schema: who is told of it, and what a run makes of the setting."""

from __future__ import annotations

import json
import sqlite3
import sys
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from openai_calls import Start, ask, request
from row_tasks import LABELS, SCHEMA, job, write_rows

from maker import api
from maker.errors import JobError, ModelUnusable, RunNotResumable, TaskFailed
from maker.job.fingerprint import difference, run_fingerprint, settings_fingerprint
from maker.job.job import Job
from maker.lifecycle import control, queries
from maker.models.dialects.openai_wire import body
from maker.models.settings import OpenAISettings, SimulatedSettings, VllmSettings
from maker.models.vllm_start import check_grammars
from maker.testing import FakeReply, FakeServer, chat_completion, completion
from maker.types import Failed, Finished, Flag, RedFlag, Request, StepClass
from maker.voting.chain import ChainRunner
from maker.voting.collector import Ask
from maker.voting.messages import ChainAt
from maker.voting.policy import SOLVER, Role, Rules, Shared
from maker.voting.red_flags import screen
from voters.first_to_ahead_by_k import FirstToAheadByK, FirstToAheadByKParams

OPEN_SCHEMA = {"type": "object", "properties": {"b": {"type": "string"}, "a": {"type": "integer"}}}
"""A schema that leaves fields out and lets others in, and whose fields are in no order of names."""


def settings(**changes: Any) -> OpenAISettings:
    """Return the settings of a server that holds replies to schemas."""
    return OpenAISettings(**({"url": "http://localhost/v1", "name": "tiny", "structured": "schema"} | changes))


def held(**changes: Any) -> Request:
    """Return a request of a class that has a schema."""
    return request(**{"schema": OPEN_SCHEMA, **changes})


class TestWhatIsSent:
    @pytest.mark.parametrize("chat", [True, False])
    def test_the_schema_in_its_own_order_and_strict(self, chat: bool) -> None:
        """Chat and plain completions carry the same field, which vLLM's server reads for both."""
        sent = body(held(), settings(chat=chat))
        assert sent["response_format"] == {
            "type": "json_schema",
            "json_schema": {"name": "move", "schema": OPEN_SCHEMA, "strict": True},
        }
        assert '"b": {"type": "string"}, "a"' in json.dumps(sent)
        free = body(held(), settings(chat=chat, structured="off"))
        assert {name: value for name, value in sent.items() if name != "response_format"} == free

    def test_nothing_for_a_class_without_a_schema(self) -> None:
        assert "response_format" not in body(request(), settings())

    @pytest.mark.parametrize(
        ("kind", "name"), [("move 2.b", "move_2_b"), ("größer", "gr__er"), ("x" * 80, "x" * 64), ("", "reply")]
    )
    def test_a_name_that_servers_take(self, kind: str, name: str) -> None:
        assert body(held(kind=kind), settings())["response_format"]["json_schema"]["name"] == name

    def test_all_requests_to_a_server_that_takes_no_n(self, start: Start) -> None:
        with FakeServer(lambda sent: (200, chat_completion(["{}"]))) as server:
            ask(start(server.url, structured="schema"), held(n=3))
        assert [sent.body["response_format"]["json_schema"]["schema"] for sent in server.requests] == [OPEN_SCHEMA] * 3


class TestReplies:
    def test_a_truncated_object_is_cut_not_unreadable(self, start: Start) -> None:
        """The server says that it ended at its limit: the flag is that, whatever a parser would say of it."""
        with FakeServer(lambda sent: (200, chat_completion(['{"label": "re'], finish="length"))) as server:
            answer = ask(start(server.url, structured="schema"), held(n=1))
        assert isinstance(answer, Finished)
        kind: StepClass[None, Any] = StepClass("row", json.loads, schema=OPEN_SCHEMA)
        flag = screen(kind, None, answer.samples[0], _Codec())
        assert isinstance(flag, RedFlag)
        assert flag.reason is Flag.LENGTH
        whole = screen(kind, None, answer.samples[0]._replace(cut=False), _Codec())
        assert isinstance(whole, RedFlag)
        assert whole.reason is Flag.FORMAT

    @pytest.mark.parametrize("chat", [True, False])
    @pytest.mark.parametrize("status", [400, 422])
    def test_a_refusal_names_the_setting(self, start: Start, status: int, chat: bool) -> None:
        """What the server says is shown, and what to set; where nothing is asked for, the setting is not named."""
        said = {"error": {"message": "Unknown parameter: response_format"}}
        good = completion(["A"])
        with FakeServer(lambda sent: (status, said) if "response_format" in sent else (200, good)) as server:
            answer = ask(start(server.url, structured="schema", chat=chat), held(n=1))
            assert isinstance(answer, Failed)
            assert "Unknown parameter: response_format" in answer.reason
            assert 'model.structured = "off"' in answer.fix
            assert "additionalProperties" in answer.fix
            assert (answer.unusable, answer.refused) == (True, True)
            assert isinstance(ask(start(server.url, chat=chat), held(n=1)), Finished)
        with FakeServer(lambda sent: (status, {"error": {"message": "no n"}})) as server:
            answer = ask(start(server.url, chat=chat), held(n=1))
        assert isinstance(answer, Failed)
        assert "structured" not in answer.fix


class TestSettings:
    def test_off_unless_it_is_asked_for(self) -> None:
        """The setting is part of what decides how a model answers, of both kinds."""
        for off in (settings(structured="off"), VllmSettings(path="m")):
            assert off.structured == "off"
            assert off.schema_of(held()) is None
            on = off.model_copy(update={"structured": "schema"})
            assert on.schema_of(held()) is OPEN_SCHEMA
            assert on.schema_of(request()) is None
            assert difference({"model": off.identity()}, {"model": on.identity()}) == (
                "model: structured was 'off', is 'schema'"
            )
        assert "structured" not in SimulatedSettings().identity()

    @pytest.mark.parametrize(
        ("model", "told"),
        [
            ({"kind": "simulated", "structured": "schema"}, r"model\.structured: there is no such setting"),
            ({"kind": "vllm", "path": "m", "structured": "json"}, r"model\.structured = 'json': .*'off' or 'schema'"),
        ],
    )
    def test_what_it_can_be(self, model: dict[str, Any], told: str, store: str) -> None:
        with pytest.raises(JobError, match=told):
            api.load_job({"task": {"decomposer": "hanoi"}, "model": model, "vote": {"k": 2}, "store": {"url": store}})

    def test_older_runs_were_free(self) -> None:
        """A fingerprint that does not name the setting is one of a run without it; other missing keys stay unseen."""
        before = {"model": {"kind": "vllm", "temperature": 1.0}, "task": {}}
        assert difference(before, {"model": before["model"] | {"structured": "off"}, "task": {"structured": 1}}) == ""
        assert "was 'off', is 'schema'" in difference(before, {"model": before["model"] | {"structured": "schema"}})
        assert difference({"model": {"kind": "simulated"}}, {"model": {"kind": "simulated"}}) == ""

    def test_without_grammars_the_missing_package_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "xgrammar", None)
        with pytest.raises(ModelUnusable, match=r'model\.structured = "schema" needs xgrammar') as caught:
            check_grammars()
        assert 'model.structured = "off"' in caught.value.fix


class TestStepClass:
    def test_a_request_carries_the_classs_own_schema(self, letters: Any) -> None:
        """By reference: a step costs no copy of it."""
        task = letters(1)
        task.kind = StepClass("letter", parse=str, schema=OPEN_SCHEMA)
        task.classes = (task.kind,)
        shared = Shared.of(task, Rules(0, "none", {SOLVER: Role(FirstToAheadByK(FirstToAheadByKParams(k=1)), 10)}))
        asked = ChainRunner(shared, ChainAt(1, (), 0, 0, b"", "0")).ask()
        assert isinstance(asked, Ask)
        assert [request.schema is OPEN_SCHEMA for request in asked.requests] == [True]

    def test_has_a_hash_and_tells_schemas_apart(self) -> None:
        first = StepClass("row", str, schema=OPEN_SCHEMA)
        assert hash(first) == hash(StepClass("row", str, first.check))
        assert first != StepClass("row", str, first.check)

    def test_schemas_are_in_the_fingerprint_where_replies_are_held_to_them(self, tmp_path: Path) -> None:
        """Whatever the order of their names, which a store does not keep; else they decide nothing."""

        def schemas(structured: str, schema: Mapping[str, Any] | None) -> Any:
            loaded = api.load_job(served(tmp_path, "http://localhost/v1", structured=structured))
            loaded.decomposer.classes = (StepClass("row", str, schema=schema),)
            return settings_fingerprint(loaded).get("schemas")

        write_rows(tmp_path / "rows.csv", range(1))
        assert schemas("off", OPEN_SCHEMA) is None
        found = [schemas("schema", schema) for schema in (None, OPEN_SCHEMA, SCHEMA)]
        assert len(set(found)) == 3
        assert schemas("schema", dict(reversed(OPEN_SCHEMA.items()))) == found[1]
        with pytest.raises(TaskFailed, match="a schema as JSON raised TypeError"):
            schemas("schema", {"enum": {1, 2}})


class TestRuns:
    def test_a_map_holds_its_rows_to_its_schema(self, tmp_path: Path) -> None:
        write_rows(tmp_path / "rows.csv", range(4))
        with FakeServer(red) as server:
            report = api.run(served(tmp_path, server.url, structured="schema"))
        assert report.result == {"rows": 4, "decided": 4}
        assert {json.dumps(sent.body["response_format"]) for sent in server.requests} == {
            json.dumps({"type": "json_schema", "json_schema": {"name": "row", "schema": SCHEMA, "strict": True}})
        }

    @pytest.mark.parametrize("older", [False, True])
    def test_a_run_goes_on_as_it_began(self, tmp_path: Path, older: bool, monkeypatch: pytest.MonkeyPatch) -> None:
        """A run that asked for no schema is not resumed with one, and goes on without; so does an older one."""
        write_rows(tmp_path / "rows.csv", range(6))
        store = f"sqlite:///{tmp_path}/maker.db"
        with FakeServer(red) as server:
            with monkeypatch.context() as patched:
                if older:
                    patched.setattr(control, "run_fingerprint", older_fingerprint)
                api.run(served(tmp_path, server.url), limit_steps=2)
            if older:
                forget_the_setting(tmp_path / "maker.db")
            with pytest.raises(RunNotResumable, match="structured was 'off', is 'schema'"):
                api.resume("last", ["model.structured=schema"], store=store)
            assert api.resume("last", store=store).result == {"rows": 6, "decided": 6}
        assert not any("response_format" in sent.body for sent in server.requests)
        assert older or queries.verify("last", store=store).right


class _Codec:
    """JSON, for the judge."""

    def write(self, value: Any) -> str:
        """Return JSON."""
        return json.dumps(value)

    def read(self, text: str) -> Any:
        """Return the value."""
        return json.loads(text)

    def show(self, value: Any) -> Any:
        """Return the value."""
        return value


def red(sent: Any) -> FakeReply:
    """Answer that everything is red, and why in words that differ."""
    texts = [json.dumps({"label": LABELS[0], "why": str(sent["seed"] + i)}) for i in range(sent["n"])]
    return FakeReply(200, chat_completion(texts))


def served(folder: Path, url: str, **model: Any) -> dict[str, dict[str, Any]]:
    """Return a job over rows that asks a server."""
    return job(folder) | {"model": {"kind": "openai", "url": url, "name": "m", **model}}


def older_fingerprint(job: Job) -> dict[str, Any]:
    """Return a job's fingerprint as it was before there was the setting."""
    fingerprint = run_fingerprint(job)
    del fingerprint["model"]["structured"]
    return fingerprint


def forget_the_setting(database: Path) -> None:
    """Take the setting out of a store's run, which has no seal then, as older ones have none."""
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("update maker_run set settings = json_remove(settings, '$.model.structured'), seal = NULL")
