"""Spans from the command line, as a collector receives them."""

from __future__ import annotations

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from processes import Commands

JOB = """
[task]
decomposer = "hanoi"
disks = 6
[model]
kind = "simulated"
p = 0.95
"""


class Collector:
    """Takes what exporters send by HTTP."""

    def __init__(self) -> None:
        self.services: set[str] = set()
        self.spans: list[Span] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                sent = ExportTraceServiceRequest.FromString(self.rfile.read(int(self.headers["content-length"])))
                for resource in sent.resource_spans:
                    collector.services |= {
                        pair.value.string_value for pair in resource.resource.attributes if pair.key == "service.name"
                    }
                    collector.spans += [span for scope in resource.scope_spans for span in scope.spans]
                self.send_response(200)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                return

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)


@pytest.fixture
def collector() -> Iterator[Collector]:
    """Return a collector that listens."""
    made = Collector()
    thread = Thread(target=made.server.serve_forever)
    thread.start()
    yield made
    made.server.shutdown()
    thread.join()
    made.server.server_close()


def test_a_run_is_sent_to_the_collector(maker: Commands, collector: Collector) -> None:
    """OpenTelemetry's own variables say where to; all of a run's spans have arrived when the command ends."""
    maker.write("job.toml", JOB)
    url = f"http://127.0.0.1:{collector.server.server_port}"
    env = {"OTEL_EXPORTER_OTLP_ENDPOINT": url, "NO_PROXY": "127.0.0.1"}
    done = maker.run("run", "job.toml", env=env, fresh=True)
    assert (done.returncode, collector.services) == (0, {"maker"}), done.stderr
    (run,) = [span for span in collector.spans if span.name == "maker.run"]
    advances = [span for span in collector.spans if span.name == "maker.advance"]
    assert {span.parent_span_id for span in advances} == {run.span_id}
    steps = [pair.value.int_value for span in advances for pair in span.attributes if pair.key == "maker.steps"]
    assert sum(steps) == 63


def test_a_collector_that_is_away_stops_no_run(maker: Commands) -> None:
    """It is told once, and the run ends as without it; so do commands that make no spans, and say nothing."""
    maker.write("job.toml", JOB)
    env = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_EXPORTER_OTLP_TIMEOUT": "1"}
    done = maker.run("run", "job.toml", env=env, fresh=True)
    assert done.returncode == 0
    assert done.stderr.count("the collector does not accept spans") == 1
    assert len(done.stderr.splitlines()) == 2, done.stderr
    shown = maker.run("show", "last", env=env, fresh=True)
    assert (shown.returncode, shown.stderr) == (0, "")
