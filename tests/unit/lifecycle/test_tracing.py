"""Spans: one for each report of a worker, which add up to the run's report; none where nobody set OpenTelemetry up."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import maker
from maker.cli.spans import send_spans
from maker.errors import MakerError
from maker.testing import FakeServer

pytestmark = pytest.mark.otel

Job = Callable[..., dict[str, dict[str, Any]]]
SUMS = ("steps", "votes", "red_flags", "calls", "requests", "prompt_tokens", "completion_tokens")


@pytest.fixture(scope="module")
def exporter() -> Iterator[InMemorySpanExporter]:
    """Set OpenTelemetry up, as a program does: once in its process."""
    made, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(made))
    trace.set_tracer_provider(provider)
    yield made
    provider.shutdown()


@pytest.fixture
def spans(exporter: InMemorySpanExporter) -> Callable[[str], list[ReadableSpan]]:
    """Return what returns the spans of a name that have ended since."""
    exporter.clear()
    return lambda name: [span for span in exporter.get_finished_spans() if span.name == name]


Spans = Callable[[str], list[ReadableSpan]]


def facts(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def test_the_spans_add_up_to_the_report(hanoi: Job, spans: Spans) -> None:
    """Steps, votes, calls and tokens of all reports of a run are those of the run; each lies within its span."""
    made = hanoi(7, model={"latency_s": 0.005, "malformed": 0.05, "p": 0.8}, vote={"k": 6, "max_votes": 1000})
    report = maker.run(made, limit_steps=70)
    report = maker.resume(report.run_id, store=made["store"]["url"])
    advances, runs = spans("maker.advance"), spans("maker.run")
    assert len(advances) > 5
    assert report.red_flags > 0
    for name in SUMS:
        assert sum(facts(span)[f"maker.{name}"] for span in advances) == getattr(report, name), name
    assert [facts(span)["maker.status"] for span in runs] == ["paused", "done"]
    assert [facts(span)["maker.resumes"] for span in runs] == [0, 1]
    assert {facts(span)["maker.run_id"] for span in advances + runs} == {report.run_id}
    by_id = {span.context.span_id: span for span in runs}
    for span in advances:
        assert span.parent is not None
        around = by_id[span.parent.span_id]
        assert around.start_time <= span.start_time <= span.end_time <= around.end_time  # type: ignore[operator]
    # A slice waits for its model, and each of the steps takes at least one request.
    busy_ns = sum(span.end_time - span.start_time for span in advances)  # type: ignore[operator]
    assert busy_ns >= report.steps * 0.005e9


def test_what_stops_a_run_is_the_status_of_its_span(hanoi: Job, spans: Spans) -> None:
    """The kind of error and its words, without what a URL keeps secret."""
    with FakeServer(lambda _: (404, {"error": "postgresql://me:pass@host is away"})) as server:
        job = hanoi(3) | {"model": {"kind": "openai", "url": server.url, "name": "m"}}
        with pytest.raises(MakerError):
            maker.run(job)
    (span,) = spans("maker.run")
    assert span.status.status_code == trace.StatusCode.ERROR
    assert facts(span)["error.type"] == "ModelUnusable"
    assert "postgresql://me:***@host" in str(span.status.description)
    assert sum(facts(one)["maker.errors"] for one in spans("maker.advance")) == 1


def test_a_service_has_its_runs_under_its_own_span(hanoi: Job, store: str, spans: Spans) -> None:
    """The engine works in threads; the span that is current where a run is started is its parent all the same."""

    async def work() -> None:
        async with maker.Service(store=store) as engine:
            with trace.get_tracer("host").start_as_current_span("request"):
                run = await engine.start(hanoi(3))
            await run.result()

    asyncio.run(work())
    (request,), (run,) = spans("request"), spans("maker.run")
    assert run.parent is not None
    assert run.parent.span_id == request.context.span_id


def test_a_run_that_is_not_sampled_makes_no_spans(hanoi: Job, spans: Spans) -> None:
    """Where the program's sampler leaves a run out, its reports are left out too."""
    left_out = trace.NonRecordingSpan(trace.SpanContext(1, 1, is_remote=True, trace_flags=trace.TraceFlags(0)))
    with trace.use_span(left_out):
        assert maker.run(hanoi(3)).status == "done"
    assert spans("maker.run") == spans("maker.advance") == []


def test_without_opentelemetry_nothing_is_imported(store: str) -> None:
    """A run in a process that never loaded it does not load it either."""
    code = (
        "import sys, maker\n"
        "job = {'task': {'decomposer': 'hanoi', 'disks': 3}, 'model': {'kind': 'simulated'},"
        f" 'store': {{'url': {store!r}}}}}\n"
        "print(maker.run(job).status, [name for name in sys.modules if name.startswith('opentelemetry')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "done []", done.stderr


def test_the_command_line_says_why_it_sends_none(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A collector is named, and the packages are missing, or the protocol is another; without one nothing is said."""
    for name in ("ENDPOINT", "TRACES_ENDPOINT", "PROTOCOL", "TRACES_PROTOCOL"):
        monkeypatch.delenv(f"OTEL_EXPORTER_OTLP_{name}", raising=False)
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    send_spans()
    assert capsys.readouterr().err == ""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    send_spans()
    assert "is not installed; pip install 'maker-executor[otel]'" in capsys.readouterr().err
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    send_spans()
    assert "is grpc, not http/protobuf" in capsys.readouterr().err


@pytest.mark.usefixtures("exporter")
def test_what_is_set_up_already_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where OpenTelemetry's own launcher has set everything up, no second exporter is made."""
    threads = threading.active_count()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    send_spans()
    assert threading.active_count() == threads
