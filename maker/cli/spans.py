"""Spans from the command line: sent to the collector that OpenTelemetry's own variables name, if they name one."""

from __future__ import annotations

import logging
import os
import sys

_PROTOCOL = "http/protobuf"
_LOGGER = "opentelemetry"


class _Once(logging.Handler):
    """Says on standard error once that the collector does not take spans, and not every few seconds for days."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.WARNING:
            logging.getLogger(_LOGGER).removeHandler(self)
            print(f"the collector does not take spans (this is said once): {record.getMessage()}", file=sys.stderr)


def send_spans() -> None:
    """Send this process's spans to where OTEL_EXPORTER_OTLP_ENDPOINT says; says on standard error why it cannot.

    Does nothing where no collector is named, or where ``opentelemetry-instrument`` has set everything up. A collector
    that is away stops no run.
    """
    if not _variable("ENDPOINT"):
        return
    if (protocol := _variable("PROTOCOL") or _PROTOCOL) != _PROTOCOL:
        print(f"no spans are sent: OTEL_EXPORTER_OTLP_PROTOCOL is {protocol}, not {_PROTOCOL}", file=sys.stderr)
        return
    try:
        from opentelemetry import trace
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        print(
            f"no spans are sent: OTEL_EXPORTER_OTLP_ENDPOINT is set, and {error.name or 'opentelemetry'} is missing; "
            "pip install 'maker-executor[otel]'",
            file=sys.stderr,
        )
        return
    if not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        return
    named = "OTEL_SERVICE_NAME" in os.environ or "service.name=" in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
    # The first keeps the standard library from printing what nobody else takes.
    for handler in (logging.NullHandler(), _Once()):
        logging.getLogger(_LOGGER).addHandler(handler)
    provider = TracerProvider(resource=Resource.create({} if named else {"service.name": "maker"}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)


def _variable(name: str) -> str:
    """Return a variable of the exporter, that of spans before that of everything."""
    return os.environ.get(f"OTEL_EXPORTER_OTLP_TRACES_{name}") or os.environ.get(f"OTEL_EXPORTER_OTLP_{name}") or ""
