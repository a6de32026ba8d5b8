"""Differences with intervals: known cases, how often equal runs are called different, and what tolerance means."""

from random import Random
from statistics import fmean

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from greenserve.carbon.difference import (
    Difference,
    Estimate,
    difference,
    exact,
    of_means,
    of_quantile,
    of_runs,
    share,
    widened,
)

figures = st.floats(-1e6, 1e6)
halves = st.floats(0, 1e5)


def a_figure(value: float, half: float = 1.0) -> Estimate:
    """A figure with a symmetric interval."""
    return Estimate(value=value, low=value - half, high=value + half)


def test_two_intervals_make_that_of_the_difference() -> None:
    """3 and 4 make 5: errors add in squares; the sign says which way."""
    told = difference(a_figure(100, 3), a_figure(110, 4), lower_is_better=True)

    assert Difference(value=10, low=5, high=15, relative=0.1, verdict="worse", beyond=True) == told
    assert "better" == difference(a_figure(100, 3), a_figure(110, 4), lower_is_better=False).verdict
    assert "no evidence" == difference(a_figure(100, 3), a_figure(104, 4), lower_is_better=True).verdict


def test_shares_differ_as_in_newcombes_paper() -> None:
    """56 of 70 against 48 of 80: 0.20 with 0.0524 to 0.3339 (Newcombe 1998, method 10)."""
    told = difference(share(48, 80), share(56, 70), lower_is_better=True)

    assert told.low is not None
    assert told.high is not None
    assert (0.2, 0.0524, 0.3339) == (round(told.value, 4), round(told.low, 4), round(told.high, 4))


def test_no_failure_is_not_known_to_be_none() -> None:
    """0 of 480 may be up to 0.8 %; what was counted exactly has no width."""
    none = share(0, 480)

    assert (0.0, 0.0) == (none.value, none.low)
    assert 0.007 < (none.high or 0) < 0.009
    assert (5.0, 5.0) == (exact(5).low, exact(5).high)
    with pytest.raises(ValueError, match="0 <= hits <= of"):
        share(3, 0)


def test_without_an_interval_there_is_no_evidence() -> None:
    """However far apart the figures are."""
    told = difference(Estimate(value=1), a_figure(100), lower_is_better=True, tolerance=0.01)

    assert (None, None, "no evidence", False) == (told.low, told.high, told.verdict, told.beyond)
    assert difference(exact(0), exact(1), lower_is_better=True).relative is None


@pytest.mark.parametrize(("tolerance", "beyond"), [(0.0, True), (0.04, True), (0.05, False), (0.2, False)])
def test_a_tolerance_is_passed_by_the_whole_interval(tolerance: float, beyond: bool) -> None:
    """[5, 15] on 100: worse by at least 5 %."""
    told = difference(a_figure(100, 3), a_figure(110, 4), lower_is_better=True, tolerance=tolerance)

    assert ("worse", beyond) == (told.verdict, told.beyond)
    mirrored = difference(a_figure(110, 3), a_figure(100, 4), lower_is_better=False, tolerance=tolerance * 10 / 11)
    assert ("worse", beyond) == (mirrored.verdict, mirrored.beyond)


def test_an_interval_holds_its_value() -> None:
    """One end alone, or a value outside, is a slip."""
    with pytest.raises(ValueError, match="two ends or none"):
        Estimate(value=1, low=0)
    with pytest.raises(ValueError, match="lies in its interval"):
        Estimate(value=3, low=0, high=2)


def test_runs_that_are_repeated_have_students_interval() -> None:
    """1, 2, 3: mean 2, 4.303 x 1 / sqrt(3); two runs do not tell their spread well enough."""
    told = of_runs([1, 2, 3])

    assert told.high is not None
    assert (2.0, 4.4843) == (told.value, round(told.high, 4))
    assert Estimate(value=1.5) == of_runs([1, 2])
    assert of_runs([1.0, 2.0] * 40).high is not None


def test_a_meters_90_percent_grow_to_95() -> None:
    """By 1.96 / 1.645, each side for itself; unknown stays unknown."""
    told = widened(10, 9, 12)

    assert (8.8084, 12.3831) == (round(told.low or 0, 4), round(told.high or 0, 4))
    assert Estimate(value=10) == widened(10, None, 12)


def test_few_values_have_no_interval() -> None:
    """Under 100, or under ten on one side of a quantile."""
    assert of_means([1.0] * 99).low is None
    assert of_means([1.0] * 100).low == 1.0
    assert of_quantile(list(range(199)), 0.95).low is None
    assert of_quantile(list(range(200)), 0.95).low is not None
    for empty in (of_means, of_runs):
        with pytest.raises(ValueError, match="of nothing"):
            empty([])
    with pytest.raises(ValueError, match="needs values"):
        of_quantile([], 0.5)


def series(kind: str, count: int, random: Random) -> list[float]:
    """Latencies as runs have them: long tails, two modes, neighbours that depend on each other."""
    if kind == "tail":
        return [random.expovariate(1) for _ in range(count)]
    if kind == "modes":
        return [random.gauss(10 if random.random() < 0.5 else 100, 1) for _ in range(count)]
    values, state = [], 0.0
    for _ in range(count):
        state = 0.7 * state + random.gauss(0, 1)
        values.append(state)
    return values


@pytest.mark.parametrize("kind", ["tail", "modes", "neighbours"])
@pytest.mark.parametrize("at", [None, 0.5, 0.95])
def test_equal_runs_are_seldom_called_different(kind: str, at: float | None) -> None:
    """A 95 % interval is wrong one time in twenty; with 250 pairs of 300 values under one in eleven."""
    random, pairs = Random(7), 250

    called = 0
    for _ in range(pairs):
        a, b = (
            of_means(values) if at is None else of_quantile(values, at)
            for values in (series(kind, 300, random), series(kind, 300, random))
        )
        called += difference(a, b, lower_is_better=True).verdict != "no evidence"

    assert called / pairs < 1 / 11


@pytest.mark.parametrize("at", [None, 0.5, 0.95])
def test_what_differs_is_called_different(at: float | None) -> None:
    """A third more, in 1,000 values: an interval that is always wide would pass the test above."""
    random = Random(7)
    before = series("tail", 1_000, random)
    after = [1.4 * value for value in series("tail", 1_000, random)]

    a, b = (of_means(values) if at is None else of_quantile(values, at) for values in (before, after))
    assert "worse" == difference(a, b, lower_is_better=True).verdict
    assert "better" == difference(b, a, lower_is_better=True).verdict


@settings(max_examples=100)
@given(figures, halves, figures, halves, st.floats(0, 1))
def test_turned_round_it_says_the_opposite(a: float, half_a: float, b: float, half_b: float, tolerance: float) -> None:
    """A to B and B to A are mirror images; beyond a tolerance is worse, and more tolerance is never beyond more."""
    one, other = a_figure(a, half_a), a_figure(b, half_b)
    there = difference(one, other, lower_is_better=True, tolerance=tolerance)
    back = difference(other, one, lower_is_better=True)

    assert there.low is not None
    assert there.high is not None
    assert there.low <= there.value <= there.high
    assert (-there.value, {"better": "worse", "worse": "better"}.get(there.verdict, "no evidence")) == (
        back.value,
        back.verdict,
    )
    assert not there.beyond or there.verdict == "worse"
    assert not there.beyond or difference(one, other, lower_is_better=True).beyond


@settings(max_examples=50)
@given(st.lists(st.floats(0, 1e3), min_size=1, max_size=250), st.sampled_from([0.5, 0.9, 0.95]))
def test_intervals_hold_what_they_are_of(values: list[float], at: float) -> None:
    """The statistic lies in its interval, whatever the values, ties included."""
    assert pytest.approx(fmean(values)) == of_means(values).value
    told = of_quantile(values, at)

    assert told.value in values
    assert sum(one <= told.value for one in values) >= at * len(values) - 1e-6
