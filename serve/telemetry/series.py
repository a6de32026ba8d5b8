"""Counters, gauges and histograms by name and labels: fed, merged over processes, written and read back. Pure."""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping
from math import isnan
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from greenserve.serve.telemetry.names import METRICS, MetricSpec

Labels = tuple[str, ...]
Value = float | list[float]
"""A histogram is a list: observations in each bucket (the last one is above all edges), then their sum."""

FOLDS: Mapping[str, Callable[[float, float], float]] = MappingProxyType({"sum": float.__add__, "max": max, "min": min})
Document = list[list[Any]]


class Series:
    """The series of one process, or of several merged.

    State: the values, changed by `add`, `set`, `observe`, `put` and `merge`.
    """

    def __init__(self) -> None:
        self._values: dict[tuple[str, Labels], Value] = {}

    def __repr__(self) -> str:
        return f"<Series: {len(self._values)}>"

    def __iter__(self) -> Iterator[tuple[MetricSpec, Labels, Value]]:
        for (name, labels), value in sorted(self._values.items(), key=lambda item: item[0]):
            yield METRICS[name], labels, value

    def add(self, name: str, labels: Labels, amount: float = 1.0) -> None:
        """Count; ValueError for less than nothing."""
        if amount < 0:
            raise ValueError(f"{name} only grows, got {amount}")
        key = name, labels
        self._values[key] = self._values.get(key, 0.0) + amount  # type: ignore[operator]

    def set(self, name: str, labels: Labels, value: float | None) -> None:
        """Say how much there is now; None: that is not known, so nothing is said."""
        if value is None or isnan(value):
            self._values.pop((name, labels), None)
        else:
            self._values[name, labels] = float(value)

    def observe(self, name: str, labels: Labels, value: float) -> None:
        """One observation of a histogram."""
        key = name, labels
        edges = METRICS[name].edges
        found = self._values.get(key)
        if not isinstance(found, list):
            found = self._values[key] = [0.0] * (len(edges) + 2)
        found[bisect_left(edges, value)] += 1.0
        found[-1] += value

    def observe_all(self, name: str, labels: Labels, values: npt.NDArray[np.float64]) -> None:
        """Many observations of a histogram at once."""
        edges = METRICS[name].edges
        found = self._values.get((name, labels))
        counts = found if isinstance(found, list) else [0.0] * (len(edges) + 2)
        for bucket in np.searchsorted(edges, values).tolist():
            counts[bucket] += 1.0
        counts[-1] += float(values.sum())
        self._values[name, labels] = counts

    def put(self, name: str, labels: Labels, value: Value) -> None:
        """Take a value as it was written."""
        self._values[name, labels] = [float(each) for each in value] if isinstance(value, list) else float(value)

    def merge(self, other: "Series", *, gauges: bool = True) -> None:
        """Add another process's values: counters and histograms are sums, gauges what their `fold` says."""
        for spec, labels, value in other:
            key = spec.name, labels
            if spec.kind == "gauge" and not gauges:
                continue
            known = self._values.get(key)
            if isinstance(value, list):
                self._values[key] = (
                    [a + b for a, b in zip(known, value, strict=True)] if isinstance(known, list) else list(value)
                )
            else:
                self._values[key] = FOLDS[spec.fold](known, value) if isinstance(known, float) else value

    def document(self) -> Document:
        """The values as JSON can hold them."""
        return [[name, labels, value] for (name, labels), value in list(self._values.items())]


def series_of(document: Document) -> Series:
    """The series that a document holds; those that this version does not know, or of another form, are left out."""
    series = Series()
    for name, labels, value in document:
        spec = METRICS.get(name)
        if spec is None or len(labels) != len(spec.labels):
            continue
        buckets = len(value) if isinstance(value, list) else None
        if buckets == (len(spec.edges) + 2 if spec.kind == "histogram" else None):
            series.put(name, tuple(labels), value)
    return series


def labels_for(name: str, given: Mapping[str, str]) -> Labels:
    """The label values in the metric's order; KeyError for an unknown metric, ValueError for other labels."""
    wanted = METRICS[name].labels
    if set(wanted) != set(given):
        raise ValueError(
            f"{name} has the labels {', '.join(wanted) or 'none'}, got {', '.join(sorted(given)) or 'none'}"
        )
    return tuple(given[label] for label in wanted)
