"""Series as Prometheus reads them."""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from greenserve.serve.telemetry.names import METRICS, MetricSpec
from greenserve.serve.telemetry.series import Labels, Series, Value


def exposed(series: Series, *, accept: str) -> tuple[str, bytes]:
    """(content type, body) in the format that `accept` asks for: Prometheus' text or OpenMetrics."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Merged(series))
    encode, content_type = choose_encoder(accept)
    return content_type, encode(registry)


class _Merged(Collector):
    def __init__(self, series: Series) -> None:
        self._series = series

    def collect(self) -> Iterator[Metric]:
        metrics = {
            spec.name: Metric(spec.name.removesuffix("_total"), spec.help, spec.kind) for spec in METRICS.values()
        }
        for spec, labels, value in self._series:
            _add(metrics[spec.name], spec, labels, value)
        yield from metrics.values()


def _add(metric: Metric, spec: MetricSpec, labels: Labels, value: Value) -> None:
    named = dict(zip(spec.labels, labels, strict=True))
    if not isinstance(value, list):
        metric.add_sample(spec.name, named, value)
        return
    so_far = 0.0
    for edge, count in zip((*spec.edges, float("inf")), value[:-1], strict=True):
        so_far += count
        metric.add_sample(f"{spec.name}_bucket", named | {"le": _edge(edge)}, so_far)
    metric.add_sample(f"{spec.name}_count", named, so_far)
    metric.add_sample(f"{spec.name}_sum", named, value[-1])


def _edge(edge: float) -> str:
    return "+Inf" if edge == float("inf") else repr(edge)
