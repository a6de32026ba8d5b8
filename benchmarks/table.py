"""Medians, ranges and ratios of interleaved rounds, and the table that shows them."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

HEADER = ("", "requests/s", "range", "p50 ms", "p99 ms", "to GreenServe", "to bare", "failures")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One row's figures in one round: requests/s, latency p50 and p99 [ms] (None: not measured), failures."""

    label: str
    connections: int
    round_number: int
    per_s: float
    p50_ms: float | None
    p99_ms: float | None
    failures: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A row over all rounds: medians, the range of requests/s, medians of the ratios within a round."""

    label: str
    connections: int
    rounds: int
    per_s: float
    least_per_s: float
    most_per_s: float
    p50_ms: float | None
    p99_ms: float | None
    to_greenserve: float | None
    to_bare: float | None
    failures: int


def rows_of(samples: Sequence[Sample], *, greenserve: str, bare: str) -> list[Row]:
    """One row for each label and number of connections, in the order in which they first appear.

    A ratio is the median of the ratios of each round, since a machine's speed drifts between rounds; None where no
    round holds both.
    """
    groups: dict[tuple[int, str], list[Sample]] = {}
    for sample in samples:
        groups.setdefault((sample.connections, sample.label), []).append(sample)
    return [
        Row(
            label=label,
            connections=connections,
            rounds=len(group),
            per_s=statistics.median(one.per_s for one in group),
            least_per_s=min(one.per_s for one in group),
            most_per_s=max(one.per_s for one in group),
            p50_ms=_median(one.p50_ms for one in group),
            p99_ms=_median(one.p99_ms for one in group),
            to_greenserve=_ratio(group, groups.get((connections, greenserve), ())),
            to_bare=_ratio(group, groups.get((connections, bare), ())),
            failures=sum(one.failures for one in group),
        )
        for (connections, label), group in groups.items()
    ]


def _median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


def _ratio(group: Sequence[Sample], reference: Sequence[Sample]) -> float | None:
    by_round = {one.round_number: one.per_s for one in reference}
    return _median(one.per_s / by_round[one.round_number] for one in group if by_round.get(one.round_number, 0.0) > 0.0)


def lines_of(rows: Sequence[Row], not_run: Mapping[str, str]) -> list[str]:
    """The table as text, a block for each number of connections, then what did not run and why."""
    lines: list[str] = []
    for connections in dict.fromkeys(row.connections for row in rows):
        block = [row for row in rows if row.connections == connections]
        title = "1 connection" if connections == 1 else f"{connections} connections"
        cells = [(title, *HEADER[1:]), *(_cells(row) for row in block)]
        widths = [max(len(line[column]) for line in cells) for column in range(len(HEADER))]
        lines += ["", *(_aligned(line, widths) for line in cells)]
    return [*lines, *(f"{name}: not run: {reason}" for name, reason in not_run.items())]


def _cells(row: Row) -> tuple[str, ...]:
    return (
        row.label,
        f"{row.per_s:,.0f}",
        f"{row.least_per_s:,.0f}-{row.most_per_s:,.0f}",
        _shown(row.p50_ms, ".1f"),
        _shown(row.p99_ms, ".1f"),
        _shown(row.to_greenserve, ".2f"),
        _shown(row.to_bare, ".2f"),
        str(row.failures),
    )


def _shown(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _aligned(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *rest = (
        cell.ljust(width) if column == 0 else cell.rjust(width)
        for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
    )
    return "  ".join((first, *rest)).rstrip()
