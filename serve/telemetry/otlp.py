"""Where OpenTelemetry's spans and metrics go: an OTLP endpoint over HTTP, with the optional exporter."""

from opentelemetry.sdk.metrics.export import MetricReader, PeriodicExportingMetricReader
from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from greenserve.errors import DependencyMissing


def otlp(endpoint: str) -> tuple[SpanProcessor, MetricReader]:
    """Senders to `endpoint` (`http://collector:4318`), in threads of their own; raises DependencyMissing."""
    try:
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    except ImportError:
        raise DependencyMissing(
            "telemetry.otlp_endpoint needs the OTLP exporter; install it with: pip install 'greenserve[otlp]'"
        ) from None
    base = endpoint.rstrip("/")
    return (
        BatchSpanProcessor(OTLPSpanExporter(endpoint=f"{base}/v1/traces")),
        PeriodicExportingMetricReader(OTLPMetricExporter(endpoint=f"{base}/v1/metrics")),
    )
