"""The price of waiting, rates of arrival, splits of a backlog, latches of overload: small pure parts."""

from itertools import combinations
from math import exp, inf
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenserve.serve.batching.arrivals import ArrivalRates, Company, Gaps
from greenserve.serve.batching.overload import Latch, over_share
from greenserve.serve.batching.split import Pile, group_of
from greenserve.serve.batching.waiting import Patience, worth_waiting
from greenserve.units import NS_PER_S
from tests.serve.batching import BUCKETS, a_lane


def test_rates_are_weighted_by_age() -> None:
    """A row counts 1/s when it arrives and 1/e of that a second later; rates of buckets add up."""
    rates = ArrivalRates(3)
    rates.note(0, NS_PER_S)
    rates.note(2, NS_PER_S, rows=4)

    assert (1.0, 0.0, 4.0) == tuple(rates.of(bucket, NS_PER_S) for bucket in range(3))
    assert exp(-1.0) == pytest.approx(rates.of(0, 2 * NS_PER_S))
    assert 5 * exp(-1.0) == pytest.approx(rates.between(0, 2, 2 * NS_PER_S))
    assert 0.0 == rates.of(2, 99 * NS_PER_S)


def test_a_steady_stream_is_its_own_rate() -> None:
    """200 rows a second, for long enough."""
    rates = ArrivalRates(1)
    for number in range(2_000):
        rates.note(0, number * NS_PER_S // 200)

    assert 200.0 == pytest.approx(rates.of(0, 10 * NS_PER_S), rel=0.01)


def test_company_is_who_comes_while_others_are_there() -> None:
    """Of a stream its rate, whether the engine is busy or not; of one client that waits for its answers nothing."""
    company = Company()
    for number in range(1_000):
        company.arrived(number * NS_PER_S // 100)
        company.emptied(number * NS_PER_S // 100 + NS_PER_S // 200)
    alone = company.per_s(10 * NS_PER_S)

    for number in range(500):
        company.arrived(10 * NS_PER_S + number * NS_PER_S // 100)

    assert 0.0 == alone
    assert 100.0 == pytest.approx(company.per_s(15 * NS_PER_S), rel=0.05)


@given(st.floats(0.001, 1.0), st.floats(0.0, 1.0), st.integers(1, 32), st.floats(0.0, 1_000.0), st.floats(-1.0, 1.0))
def test_waiting_pays_when_the_joules_saved_outweigh_the_time(
    launch_j: float, price: float, rows: int, rate: float, left_s: float
) -> None:
    """By its definition; more rows, a higher price or less time never turn a launch into a wait."""
    asked = {"launch_j": launch_j, "price": price, "rows": rows, "rate_per_s": rate, "left_s": left_s}
    waits = worth_waiting(**asked)  # type: ignore[arg-type]

    chance = 1.0 - exp(-rate * max(left_s, 0.0))
    pays = rate > 0.0 and launch_j * chance > price * rows / rate
    assert waits == (left_s > 0.0 and chance >= 0.1 and pays)
    assert not worth_waiting(**(asked | {"price": inf}))  # type: ignore[arg-type]
    for worse in ({"rows": rows + 1}, {"price": 2.0 * price + 0.1}, {"left_s": left_s / 2.0}):
        assert waits or not worth_waiting(**(asked | worse))


def test_the_balanced_price_holds_the_mean_wait_near_a_tenth_of_the_objective() -> None:
    """Too long for 256 batches: a tenth dearer; shorter: 5 % cheaper; other classes keep theirs."""
    patience = Patience(slo_s=0.2)
    first = patience.price("balanced", 2.0)

    for _ in range(256):
        patience.paid(rows=2, waited_s=0.05)
    dearer = patience.price("balanced", 2.0)
    for _ in range(256):
        patience.paid(rows=2, waited_s=0.01)

    assert 10.0 == first
    assert 11.0 == pytest.approx(dearer)
    assert 11.0 * 0.95 == pytest.approx(patience.price("balanced", 2.0))
    assert (inf, 0.0) == (patience.price("latency", 2.0), patience.price("green", 2.0))


@given(st.lists(st.integers(1, 90), min_size=1, max_size=4), st.data())
def test_a_backlog_is_split_as_brute_force_splits_it(counts: list[int], data: st.DataObject) -> None:
    """The least total time over all ways to group neighbouring lengths; the group found is of such a way."""
    lane = a_lane()
    piles = []
    for index, count in enumerate(counts):
        rates = lane.rates(index)
        assert rates is not None
        piles.append(Pile(index, count, rates, lane.most(rates)))
    bucket = data.draw(st.integers(0, len(counts) - 1))

    first, last = group_of(piles, bucket)

    def seconds(edges: tuple[int, ...]) -> float:
        total = 0.0
        for start, end in zip((0, *edges), (*edges, len(piles)), strict=True):
            rows, top = sum(pile.rows for pile in piles[start:end]), piles[end - 1]
            total += -(-rows // top.cap) * top.rates.fixed_s + rows * top.rates.row_s
        return total

    ways = [edges for size in range(len(piles)) for edges in combinations(range(1, len(piles)), size)]
    least = min(seconds(edges) for edges in ways)
    best = [(0, *edges, len(piles)) for edges in ways if seconds(edges) <= least * (1 + 1e-12)]
    assert first <= bucket <= last
    assert any(first in way and way[way.index(first) + 1] == last + 1 for way in best if first < len(piles))


def test_a_split_needs_the_rows_it_is_for() -> None:
    """A bucket without rows has no group."""
    rates = a_lane().rates(0)
    assert rates is not None

    with pytest.raises(ValueError, match=f"no pile of bucket {len(BUCKETS)}"):
        group_of([Pile(0, 1, rates, 1)], len(BUCKETS))


def test_a_latch_closes_after_a_while_and_opens_below_its_low_mark() -> None:
    """A short peak does nothing; between the marks it stays as it is."""
    latch = Latch(high=0.9, low=0.7, for_ns=10)
    values = [(0.95, 0), (0.8, 5), (0.95, 6), (0.95, 15), (0.95, 16), (0.8, 17), (0.6, 18), (0.95, 19)]

    assert [False, False, False, False, True, True, False, False] == [latch.see(*value) for value in values]


def test_shares_bind_only_once_much_is_queued_and_follow_the_weights() -> None:
    """A horizon of 1 s: under half of it anybody may queue; over it parts are weighed among those who wait."""
    queued = [{"a": [5, 0.4], "b": [1, 0.2]}]

    assert not over_share("a", 0.1, queued=[{"a": [4, 0.2], "b": [1, 0.1]}], weights={}, horizon_s=1.0)
    assert not over_share("a", 0.1, queued=[{"a": [9, 0.9]}], weights={}, horizon_s=1.0)
    assert over_share("a", 0.15, queued=queued, weights={}, horizon_s=1.0)
    assert not over_share("a", 0.15, queued=queued, weights={"a": 2.0}, horizon_s=1.0)
    assert not over_share("c", 0.3, queued=queued, weights={}, horizon_s=1.0)
    assert over_share("c", 0.4, queued=queued, weights={}, horizon_s=1.0)


def test_a_burst_that_is_over_is_not_waited_on() -> None:
    """Eight clients that send again when they are answered: ten short gaps after the last one nobody is expected."""
    gaps = Gaps()
    now_ns = 0
    for _ in range(100):
        for _ in range(8):
            now_ns += 500_000
            gaps.note(now_ns)
        now_ns += 20_000_000

    silent_ns = gaps.silent_from_ns - (now_ns - 20_000_000)

    assert 2_000_000 < silent_ns < 10_000_000


def test_a_steady_stream_is_waited_for_about_three_mean_gaps() -> None:
    """Of a Poisson stream's gaps one in twenty is longer."""
    random, gaps, now_ns = Random(1), Gaps(), 0
    for _ in range(5_000):
        now_ns += int(random.expovariate(100.0) * NS_PER_S)
        gaps.note(now_ns)

    assert 0.015 < (gaps.silent_from_ns - now_ns) / NS_PER_S < 0.06
