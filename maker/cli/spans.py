"""Send the command line's spans to the collector that OpenTelemetry's environment variables name."""

from __future__ import annotations

import logging
import os
import sys

from maker.cli.output import print

_PROTOCOL = "http/protobuf"
_LOGGER = "opentelemetry"


class _Once(logging.Handler):
    """Warns once on standard error when the collector rejects spans; the exporter itself would warn for days."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.WARNING:
            logging.getLogger(_LOGGER).removeHandler(self)
            print(f"the collector does not accept spans (shown once): {record.getMessage()}", file=sys.stderr)


def send_spans() -> None:
    """Send this process's spans to OTEL_EXPORTER_OTLP_ENDPOINT; warns on standard error if that is impossible.

    Does nothing if no collector is named, or if ``opentelemetry-instrument`` has set everything up. A collector that
    is unavailable stops no run.
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
            f"no spans are sent: OTEL_EXPORTER_OTLP_ENDPOINT is set, but {error.name or 'opentelemetry'} is not "
            "installed; pip install 'maker-executor[otel]'",
            file=sys.stderr,
        )
        return
    if not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        return
    named = "OTEL_SERVICE_NAME" in os.environ or "service.name=" in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
    # Without the NullHandler the standard library prints the records once `_Once` has removed itself.
    for handler in (logging.NullHandler(), _Once()):
        logging.getLogger(_LOGGER).addHandler(handler)
    provider = TracerProvider(resource=Resource.create({} if named else {"service.name": "maker"}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)


def _variable(name: str) -> str:
    """Return a variable of the exporter: the one for spans if it is set, else the general one."""
    return os.environ.get(f"OTEL_EXPORTER_OTLP_TRACES_{name}") or os.environ.get(f"OTEL_EXPORTER_OTLP_{name}") or ""
