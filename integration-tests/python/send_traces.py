"""Sends known traces with the official OpenTelemetry SDK.

Usage: send_traces.py grpc|http ENDPOINT

Every span also goes to an in-memory exporter of the SDK. What that one holds is printed, as the official encoder
turns it into OTLP, as JSON: {"traces": {"<trace id in hex>": "<ExportTraceServiceRequest in base64>"}}.
"""

import base64
import json
import logging
import sys

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import (
    BatchSpanProcessor,
    SimpleSpanProcessor,
    SpanExporter,
    SpanExportResult,
)
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

#: One value of each type that the SDK lets an attribute have, with the edges of each.
VALUES = {
    "text": "plain",
    "text.empty": "",
    "text.unicode": "ключ 鍵 مفتاح 🔑 \u0000 \"quoted\" \\ \n",
    "text.long": "0123456789" * 1000,
    "ключ.🔑": "a key in other letters",
    "bool.true": True,
    "bool.false": False,
    "int": 42,
    "int.zero": 0,
    "int.min": -(2**63),
    "int.max": 2**63 - 1,
    "double": 0.1,
    "double.whole": 3.0,
    "double.negative.zero": -0.0,
    "double.tiny": 5e-324,
    "double.huge": 1.7976931348623157e308,
    "double.infinite": float("inf"),
    "double.nan": float("nan"),
    "bytes": b"\x00\xff\x80 bytes",
    "array.text": ["a", "", "ü"],
    "array.bool": [True, False],
    "array.int": [1, -2, 2**62],
    "array.double": [0.5, -0.0],
    "array.empty": [],
    "http.response.status_code": 503,
}


class CheckedExporter(SpanExporter):
    """Passes spans on and remembers whether all of them were taken."""

    def __init__(self, inner):
        self.inner = inner
        self.results = []

    def export(self, spans):
        """Exports and notes the result."""
        result = self.inner.export(spans)
        self.results.append(result)
        return result

    def shutdown(self):
        """Closes the exporter inside."""
        self.inner.shutdown()

    def force_flush(self, timeout_millis=30000):
        """Flushes the exporter inside."""
        return self.inner.force_flush(timeout_millis)


def exporter(protocol, endpoint):
    """The SDK's exporter of that protocol."""
    if protocol == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

        return OTLPSpanExporter(endpoint=endpoint, insecure=True)
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    return OTLPSpanExporter(endpoint=f"{endpoint}/v1/traces")


def make_traces(provider):
    """Three traces: one with everything a span can have, one of many spans, one that began elsewhere."""
    schema = "https://opentelemetry.io/schemas/1.30.0"
    tracer = provider.get_tracer("vivace.tests", "1.2.3", schema, attributes={"scope.attribute": "of the scope"})
    ids = RandomIdGenerator()
    elsewhere = SpanContext(
        trace_id=ids.generate_trace_id(),
        span_id=ids.generate_span_id(),
        is_remote=True,
        trace_flags=TraceFlags(TraceFlags.SAMPLED),
        trace_state=TraceState([("vendor", "value"), ("other", "1")]),
    )
    links = [Link(elsewhere, attributes={"why": "caused by", "values": [1, 2]}), Link(elsewhere)]
    long_ago = 1_700_000_000_123_456_789
    with tracer.start_as_current_span(
        "everything 🎻", kind=SpanKind.SERVER, attributes=VALUES, links=links, start_time=long_ago
    ) as root:
        root.add_event("event with all values", attributes=VALUES, timestamp=long_ago + 1)
        root.add_event("event with none")
        root.add_event("")
        try:
            raise ValueError("något gick fel")
        except ValueError as error:
            root.record_exception(error)
        root.set_status(Status(StatusCode.ERROR, "beschädigt"))
        for kind in SpanKind:
            with tracer.start_as_current_span(f"kind {kind.name}", kind=kind) as span:
                is_client = kind == SpanKind.CLIENT
                span.set_status(Status(StatusCode.OK if is_client else StatusCode.UNSET))
                # One key with values of two types: neither may turn into the other.
                span.set_attribute("http.response.status_code", "a text here" if is_client else 200)
        with tracer.start_as_current_span("limits") as span:
            for number in range(200):
                span.set_attribute(f"many.{number}", number)
                span.add_event(f"event {number}")

    plain = provider.get_tracer("another.scope")
    with plain.start_as_current_span("outer"):
        for number in range(50):
            with plain.start_as_current_span("middle", attributes={"number": number}):
                with plain.start_as_current_span("inner"):
                    pass

    remote = trace.set_span_in_context(trace.NonRecordingSpan(elsewhere))
    with plain.start_as_current_span("child of a remote parent", context=remote):
        pass


def main():
    """Sends, checks that all was taken, prints what was sent."""
    protocol, endpoint = sys.argv[1:]
    # It warns of each attribute over the limit, which is what one of the spans is about.
    logging.getLogger("opentelemetry.attributes").setLevel(logging.ERROR)
    memory = InMemorySpanExporter()
    checked = CheckedExporter(exporter(protocol, endpoint))
    attributes = {f"resource.{key}": value for key, value in VALUES.items()}
    attributes |= {"service.name": f"python-{protocol}", "service.instance.id": "🐍"}
    resource = Resource(attributes, schema_url="https://opentelemetry.io/schemas/1.29.0")
    provider = TracerProvider(resource=resource, span_limits=SpanLimits(max_attributes=64, max_events=32))
    provider.add_span_processor(SimpleSpanProcessor(memory))
    provider.add_span_processor(BatchSpanProcessor(checked, max_export_batch_size=64))
    make_traces(provider)
    provider.shutdown()
    if not checked.results or any(result != SpanExportResult.SUCCESS for result in checked.results):
        sys.exit(f"not everything was taken: {checked.results}")

    traces = {}
    for span in memory.get_finished_spans():
        traces.setdefault(f"{span.context.trace_id:032x}", []).append(span)
    for trace_id, spans in traces.items():
        traces[trace_id] = base64.b64encode(encode_spans(spans).SerializeToString()).decode()
    print(json.dumps({"traces": traces}))


if __name__ == "__main__":
    main()
