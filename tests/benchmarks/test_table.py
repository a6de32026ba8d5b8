"""Medians, ranges and ratios of interleaved rounds."""

from hypothesis import given
from hypothesis import strategies as st

from benchmarks.table import Sample, lines_of, rows_of


def a_sample(label: str = "ours", *, per_s: float = 100.0, round_number: int = 0, connections: int = 8) -> Sample:
    """A sample with defaults."""
    return Sample(
        label=label,
        connections=connections,
        round_number=round_number,
        per_s=per_s,
        p50_ms=2.0,
        p99_ms=None,
        failures=1,
    )


def test_a_row_holds_the_median_the_range_and_all_failures() -> None:
    """The middle round counts, and no round's failures are lost."""
    samples = [a_sample(per_s=per_s, round_number=number) for number, per_s in enumerate((90.0, 300.0, 100.0))]

    (row,) = rows_of(samples, greenserve="ours", bare="bare")

    assert (100.0, 90.0, 300.0, 3, 3) == (row.per_s, row.least_per_s, row.most_per_s, row.failures, row.rounds)
    assert (2.0, None) == (row.p50_ms, row.p99_ms)


def test_a_ratio_is_the_median_of_the_ratios_within_rounds() -> None:
    """A machine that slows down between rounds does not change who is faster: ratios come before medians."""
    ours = [a_sample(per_s=per_s, round_number=number) for number, per_s in enumerate((100.0, 50.0, 10.0))]
    peers = [a_sample("peer", per_s=per_s, round_number=number) for number, per_s in enumerate((50.0, 10.0, 5.0))]

    _, peer = rows_of([*ours, *peers], greenserve="ours", bare="bare")

    assert 0.5 == peer.to_greenserve
    assert peer.to_bare is None


def test_rounds_that_lack_one_side_give_no_ratio() -> None:
    """A peer that ran in other rounds only, or at other connections, is not compared."""
    samples = [
        a_sample(round_number=0),
        a_sample("peer", round_number=1),
        a_sample("elsewhere", round_number=0, connections=1),
    ]

    rows = {row.label: row for row in rows_of(samples, greenserve="ours", bare="bare")}

    assert (1.0, None, None) == tuple(rows[label].to_greenserve for label in ("ours", "peer", "elsewhere"))


def test_a_reference_that_answered_nothing_gives_no_ratio() -> None:
    """Nothing is divided by a rate of zero: the ratio is unknown."""
    rows = rows_of([a_sample(per_s=0.0), a_sample("peer")], greenserve="ours", bare="bare")

    assert [None, None] == [row.to_greenserve for row in rows]


@given(st.lists(st.floats(1.0, 1e6), min_size=1, max_size=9))
def test_the_median_lies_in_the_range(rates: list[float]) -> None:
    """Whatever was measured: least <= median <= most, and a system is as fast as itself."""
    samples = [a_sample(per_s=per_s, round_number=number) for number, per_s in enumerate(rates)]

    (row,) = rows_of(samples, greenserve="ours", bare="bare")

    assert row.least_per_s <= row.per_s <= row.most_per_s
    assert 1.0 == row.to_greenserve


def test_the_table_shows_every_row_and_why_a_system_did_not_run() -> None:
    """A block for each number of connections; unknown is a dash, never a zero."""
    samples = [a_sample(), a_sample("peer", per_s=1234.0, connections=1)]

    lines = lines_of(rows_of(samples, greenserve="ours", bare="bare"), {"other": "not installed"})

    assert [
        "",
        "8 connections  requests/s    range  p50 ms  p99 ms  to GreenServe  to bare  failures",
        "ours                  100  100-100     2.0       -           1.00        -         1",
        "",
        "1 connection  requests/s        range  p50 ms  p99 ms  to GreenServe  to bare  failures",
        "peer               1,234  1,234-1,234     2.0       -              -        -         1",
        "other: not run: not installed",
    ] == lines
