"""Every metric of the gateway: name, kind, meaning, labels, bucket edges. Pure; dashboards are made from this too."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

Kind = Literal["counter", "gauge", "histogram"]
Fold = Literal["sum", "max", "min"]

SECONDS = (
    0.0005,
    0.001,
    0.002,
    0.004,
    0.008,
    0.016,
    0.032,
    0.064,
    0.128,
    0.256,
    0.512,
    1.024,
    2.048,
    4.096,
    8.192,
    30.0,
)
JOULES = tuple(10.0**exponent * step for exponent in range(-5, 3) for step in (1.0, 2.0, 5.0))
SIZES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0)
RATIOS = (0.25, 0.5, 0.75, 0.9, 1.0, 1.1, 1.25, 1.5, 2.0, 4.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricSpec:
    """A metric: the base unit is in its name; `edges` are a histogram's upper bucket bounds in that unit.

    `fold` makes one gauge of those of several processes that tell the same thing.
    """

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    edges: tuple[float, ...] = ()
    fold: Fold = "sum"


def _counter(name: str, help_: str, *labels: str) -> MetricSpec:
    return MetricSpec(name=f"greenserve_{name}", kind="counter", help=help_, labels=labels)


def _gauge(name: str, help_: str, *labels: str, fold: Fold = "sum") -> MetricSpec:
    return MetricSpec(name=f"greenserve_{name}", kind="gauge", help=help_, labels=labels, fold=fold)


def _histogram(name: str, help_: str, edges: tuple[float, ...], *labels: str) -> MetricSpec:
    return MetricSpec(name=f"greenserve_{name}", kind="histogram", help=help_, labels=labels, edges=edges)


_WHERE = ("model", "variant", "region")
_ALL = (
    _counter("requests_total", "Requests by how they ended; code is ok or an error's.", *_WHERE, "protocol", "code"),
    _counter("refused_total", "Requests that were refused or failed, by the error's code.", "code"),
    _counter("cache_requests_total", "Answered requests by what the cache did.", *_WHERE, "result"),
    _counter(
        "idempotent_requests_total",
        "Requests whose idempotency key was known: the answer was kept, joined while it was made, or in conflict.",
        "result",
    ),
    _histogram("request_duration_seconds", "From the request's receipt to its durable record.", SECONDS, *_WHERE),
    _histogram("stage_duration_seconds", "Time of each stage of a request.", SECONDS, "stage"),
    _histogram(
        "gateway_overhead_seconds", "Request time outside queue and model, and before a cleaner grid.", SECONDS, *_WHERE
    ),
    _histogram("queue_wait_seconds", "Time in the queue before a batch took the request.", SECONDS, "model", "variant"),
    _histogram(
        "request_energy_joules", "Provisional energy of an answered request, by evidence.", JOULES, *_WHERE, "tier"
    ),
    _gauge("connections", "Open connections.", "protocol"),
    _gauge("deferred_requests", "Requests that wait for a cleaner grid."),
    _gauge("queue_requests", "Items that wait for a batch.", "model", "variant"),
    _histogram("batch_size", "Items of a batch.", SIZES, "model", "variant"),
    _histogram("batch_duration_seconds", "Time of a batch on its device.", SECONDS, "model", "variant"),
    _histogram("batch_prediction_ratio", "Observed over predicted time of a batch.", RATIOS, "model", "variant"),
    _counter("batch_loop_errors_total", "Faults that the batching task survived."),
    _gauge("cache_bytes", "Bytes of cached answers.", "model"),
    _counter("energy_joules_total", "Settled energy of requests.", *_WHERE, "part", "tier"),
    _counter(
        "carbon_grams_total", "Settled emissions of requests [gCO2e], by column of the statement.", *_WHERE, "column"
    ),
    _counter("meter_energy_joules_total", "Energy that a meter counted.", "device", "source"),
    _counter("unattributed_energy_joules_total", "Metered energy that no request caused, by pool.", "pool"),
    _gauge(
        "grid_intensity_grams_per_kwh", "Grid intensity in use [gCO2e/kWh].", "zone", "provider", "origin", fold="max"
    ),
    _gauge("grid_intensity_age_seconds", "Age of the grid intensity in use.", "zone", "provider", "origin", fold="max"),
    _gauge("budget_remaining_ratio", "What is left of a tenant's tightest budget, 0..1.", "tenant", fold="min"),
    _counter(
        "tenant_carbon_grams_total",
        "Settled emissions [gCO2e] by tenant, `other` beyond the configured number.",
        "tenant",
    ),
    _gauge("ledger_lag_seconds", "Time since the ledger last took all that was spooled.", fold="max"),
    _gauge("ledger_spool_bytes", "Bytes of the spool files."),
)
METRICS: Mapping[str, MetricSpec] = MappingProxyType({spec.name: spec for spec in _ALL})
