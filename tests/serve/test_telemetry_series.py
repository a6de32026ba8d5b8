"""Series: what several processes counted adds up, whatever the order, and survives being written."""

import math
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from greenserve.serve.telemetry.exposition import exposed
from greenserve.serve.telemetry.names import METRICS, MetricSpec
from greenserve.serve.telemetry.series import Series, labels_for, series_of

amounts = st.integers(0, 1_000).map(float)
LABEL = st.sampled_from(("", "tiny", 'with "quotes"', "line\nbreak"))


@st.composite
def fed_series(draw: st.DrawFn) -> Series:
    """A series with some of every kind of metric."""
    series = Series()
    for spec in draw(st.lists(st.sampled_from(list(METRICS.values())), max_size=6)):
        labels = tuple(draw(LABEL) for _ in spec.labels)
        amount = draw(amounts)
        if spec.kind == "counter":
            series.add(spec.name, labels, amount)
        elif spec.kind == "gauge":
            series.set(spec.name, labels, amount)
        else:
            series.observe(spec.name, labels, amount)
    return series


def merged(*parts: Series) -> list[tuple[MetricSpec, tuple[str, ...], object]]:
    """All parts in one."""
    whole = Series()
    for part in parts:
        whole.merge(part)
    return list(whole)


@given(fed_series(), fed_series(), fed_series())
def test_the_order_of_processes_changes_nothing(one: Series, two: Series, three: Series) -> None:
    """Merging is a sum (a maximum or minimum for gauges that tell one thing)."""
    assert merged(one, two, three) == merged(three, one, two)
    assert merged(one) == list(one)


@given(fed_series())
def test_what_is_written_is_read_back(series: Series) -> None:
    """Through JSON, as the files have it."""
    assert list(series) == list(series_of(orjson.loads(orjson.dumps(series.document()))))


@given(fed_series())
def test_what_is_exposed_can_be_read_by_prometheus(series: Series) -> None:
    """Its own parser finds every sample; buckets are cumulative and end with the count."""
    _, body = exposed(series, accept="text/plain")

    found = {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(body.decode())
        for sample in family.samples
    }
    for spec, labels, value in series:
        named = dict(zip(spec.labels, labels, strict=True))
        if isinstance(value, list):
            whole = found[f"{spec.name}_bucket", tuple(sorted((named | {"le": "+Inf"}).items()))]
            assert sum(value[:-1]) == whole == found[f"{spec.name}_count", tuple(sorted(named.items()))]
        else:
            assert value == found[spec.name, tuple(sorted(named.items()))]


@given(st.lists(st.floats(0, 100, width=32), max_size=20))
def test_observing_many_is_observing_each(values: list[float]) -> None:
    """Bucket by bucket; an observation on an edge is under it."""
    one_by_one, at_once = Series(), Series()
    for value in (*values, 0.0005, 30.0):
        one_by_one.observe("greenserve_batch_duration_seconds", ("m", "v"), value)
    at_once.observe_all("greenserve_batch_duration_seconds", ("m", "v"), np.array([*values, 0.0005, 30.0]))

    ((_, _, expected),), ((_, _, found),) = one_by_one, at_once
    assert isinstance(expected, list)
    assert isinstance(found, list)
    assert expected[:-1] == found[:-1]
    assert math.isclose(expected[-1], found[-1], rel_tol=1e-9)
    assert found[0] >= 1


def test_unknown_is_no_sample() -> None:
    """A gauge that is not known vanishes; it never becomes 0."""
    series = Series()
    series.set("greenserve_ledger_lag_seconds", (), 3.0)
    series.set("greenserve_ledger_lag_seconds", (), None)
    series.set("greenserve_ledger_spool_bytes", (), math.nan)

    assert [] == list(series)


def test_of_gauges_that_tell_one_thing_the_worst_is_shown() -> None:
    """Two replicas that see the same grid do not add up; what waits in both queues does."""
    one, two = Series(), Series()
    for series, age_s, left, queued in ((one, 5.0, 0.5, 2.0), (two, 7.0, 0.25, 3.0)):
        series.set("greenserve_grid_intensity_age_seconds", ("SE", "p", "observed"), age_s)
        series.set("greenserve_budget_remaining_ratio", ("acme",), left)
        series.set("greenserve_queue_requests", ("m", "v"), queued)

    assert {"greenserve_grid_intensity_age_seconds": 7.0, "greenserve_budget_remaining_ratio": 0.25} | {
        "greenserve_queue_requests": 5.0
    } == {spec.name: value for spec, _, value in merged(one, two)}


def test_counters_only_grow_and_labels_are_checked() -> None:
    """A mistake in the code is loud."""
    with pytest.raises(ValueError, match="only grows"):
        Series().add("greenserve_refused_total", ("x",), -1.0)
    with pytest.raises(ValueError, match="has the labels code"):
        labels_for("greenserve_refused_total", {"model": "x"})


def test_what_another_version_wrote_is_left_out() -> None:
    """A rolling update has both versions side by side."""
    document: list[list[Any]] = [
        ["greenserve_gone_total", [], 1.0],
        ["greenserve_refused_total", ["x", "y"], 1.0],
        ["greenserve_request_duration_seconds", ["m", "v", "r"], [1.0]],
        ["greenserve_refused_total", ["x"], [1.0]],
        ["greenserve_refused_total", ["kept"], 1.0],
    ]

    assert [("kept",)] == [labels for _, labels, _ in series_of(document)]


def test_names_follow_the_conventions() -> None:
    """Counters end in `_total`, nothing else does; the unit is a base unit."""
    for spec in METRICS.values():
        assert spec.name.startswith("greenserve_")
        assert (spec.kind == "counter") == spec.name.endswith("_total")
        assert (spec.kind == "histogram") == bool(spec.edges)
        assert list(spec.edges) == sorted(spec.edges)
        assert not any(part in spec.name for part in ("_ms", "_kwh_total", "_uj", "_ng", "_mj"))
