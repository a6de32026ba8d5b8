"""Belief in company: it follows a crowd, and falls when nobody comes."""

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenserve.serve.batching.arrivals import Company
from greenserve.serve.batching.dispatch import Launch
from greenserve.units import NS_PER_S
from tests.serve.batching import MS, NOW, a_policy, a_ticket, finish, launched

crowds = st.builds(lambda gap, count: [gap] * count, st.integers(1, 50), st.integers(1, 300))
gaps_ms = st.lists(st.integers(1, 2_000), max_size=30) | crowds


def a_crowd(gaps: list[int], *, at_ns: int = NOW) -> tuple[Company, int]:
    """Somebody is always there while requests arrive at these gaps [ms]; the time [ns] of the last one."""
    company = Company()
    company.arrived(at_ns)
    for gap in gaps:
        at_ns += gap * MS
        company.arrived(at_ns)
    return company, at_ns


@given(gaps_ms, st.integers(1, 5_000), st.integers(1, 5_000))
def test_the_belief_is_bounded_by_the_time_without_company(gaps: list[int], first_ms: int, more_ms: int) -> None:
    """Whatever was seen before: at most one per time in which none came, and ever less as it goes on."""
    company, at_ns = a_crowd(gaps)

    sooner = company.per_s(at_ns + first_ms * MS)
    later = company.per_s(at_ns + (first_ms + more_ms) * MS)

    assert 0.0 <= later <= sooner <= 1.0 / (first_ms / 1e3) * (1.0 + 1e-9)
    assert later <= 1.0 / ((first_ms + more_ms) / 1e3) * (1.0 + 1e-9)


@given(gaps_ms, st.integers(1, 60_000))
def test_a_silence_counts_like_a_wait_in_vain(gaps: list[int], silent_ms: int) -> None:
    """Who comes after it does not believe in more than one arrival in such a time."""
    company, at_ns = a_crowd(gaps)
    company.emptied(at_ns)
    at_ns += silent_ms * MS
    company.arrived(at_ns)

    assert company.per_s(at_ns) <= 1.0 / (silent_ms / 1e3) * (1.0 + 1e-9)


@given(gaps_ms, st.integers(0, 60_000))
def test_the_time_of_nobody_teaches_nothing_until_somebody_comes(gaps: list[int], idle_ms: int) -> None:
    """Asking again while nobody is there, or saying again that nobody is, changes no belief."""
    company, at_ns = a_crowd(gaps)
    company.emptied(at_ns)
    before = company.per_s(at_ns)
    company.emptied(at_ns + idle_ms * MS)

    assert before == company.per_s(at_ns + idle_ms * MS)


@given(st.integers(1, 100), st.integers(0, 10_000))
def test_one_that_joins_brings_the_belief_back(gap_ms: int, alone_ms: int) -> None:
    """What was learned before is remembered while nothing contradicts it any more."""
    company, at_ns = a_crowd([gap_ms] * 300)
    at_ns += alone_ms * MS
    lost = company.per_s(at_ns)
    company.arrived(at_ns)

    assert lost <= company.per_s(at_ns) < inf


@pytest.mark.parametrize("rows", [1, 2, 16])
def test_the_rows_of_one_request_are_no_company_for_each_other(rows: int) -> None:
    """A lone client with many rows per request is as lone as one with a single row."""
    policy, now_ns = a_policy(), NOW
    for _ in range(50):
        now_ns += MS
        assert policy.arrive("v", [a_ticket(at_ns=now_ns) for _ in range(rows)], now_ns) is None
        while isinstance(cut := policy.cut(now_ns), Launch):
            now_ns = cut.ends_ns
            finish(policy, cut, now_ns)

    assert 0.0 == policy.lane("v").company.per_s(now_ns)


def test_the_price_of_waiting_stays_while_nobody_could_come() -> None:
    """Ten thousand lone requests: no wait was ever in question, so its price says what it said before."""
    policy, now_ns = a_policy(), NOW
    patience = policy.lane("v").patience
    before = patience.price("balanced", 1.0)
    for _ in range(10_000):
        now_ns += MS
        assert policy.arrive("v", (a_ticket(at_ns=now_ns),), now_ns) is None
        cut = launched(policy, now_ns)
        now_ns = cut.ends_ns
        finish(policy, cut, now_ns)
        policy.cut(now_ns)

    assert before == patience.price("balanced", 1.0)
    assert 10_000 * MS < now_ns - NOW < 60 * NS_PER_S
