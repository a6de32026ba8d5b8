"""Rates of requests and tokens, and requests at once, by tenant and by key."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenserve.errors import RateLimited
from greenserve.serve.pacing import Limits, Pacer, limits_of
from greenserve.units import NS_PER_S

rates = st.floats(0.5, 10_000)


def some_limits(policy: str = "acme", replicas: int = 1, **changes: Any) -> Limits:
    whole: dict[str, Any] = {"rate_per_s": None, "burst": None, "tokens_per_s": None, "concurrency": None}
    return limits_of(policy, f"tenant {policy}", replicas=replicas, **(whole | changes))


def passes(pacer: Pacer, *limits: Limits, now_ns: int = 0, tokens: int = 1) -> bool:
    try:
        pacer.take(limits, now_ns, tokens)
    except RateLimited:
        return False
    return True


@given(rates, st.integers(1, 4), st.lists(st.tuples(st.integers(0, NS_PER_S), st.integers(1, 5_000)), max_size=60))
def test_tokens_keep_to_their_rate(rate: float, replicas: int, arrivals: list[tuple[int, int]]) -> None:
    """What passes is a second's worth, the rate times the time, and at most one request more."""
    pacer, limits = Pacer(), some_limits(tokens_per_s=rate, replicas=replicas)
    now_ns = passed = largest = 0
    for pause_ns, tokens in arrivals:
        now_ns += pause_ns
        if passes(pacer, limits, now_ns=now_ns, tokens=tokens):
            passed += tokens
            largest = max(largest, tokens)

    assert passed <= rate / replicas * (1 + now_ns / NS_PER_S) + largest
    assert passed > 0 or not arrivals


def test_a_request_counted_before_pays_for_its_tokens_alone() -> None:
    """It is no second request, but finds the places and the tokens that others have taken meanwhile."""
    pacer, limits = Pacer(), some_limits(rate_per_s=1.0, burst=1, tokens_per_s=10.0, concurrency=1)
    pacer.take([limits], 0, 0)
    with pytest.raises(RateLimited, match="faster than 1/s"):
        pacer.take([limits], 0, 0)

    pacer.take([limits], 0, 30, counted=True)

    with pytest.raises(RateLimited, match="more than 10 tokens/s"):
        pacer.take([limits], 0, 1, counted=True)
    pacer.began([limits])
    with pytest.raises(RateLimited, match="in progress"):
        pacer.take([limits], 9 * NS_PER_S, 1, counted=True)


def test_a_text_longer_than_a_seconds_worth_passes_and_is_paid_off() -> None:
    """100 tokens at 10/s: the next one waits until nine seconds' worth is paid back."""
    pacer, limits = Pacer(), some_limits(tokens_per_s=10.0)
    assert passes(pacer, limits, tokens=100)

    with pytest.raises(RateLimited, match="more than 10 tokens/s") as refused:
        pacer.take([limits], 0, 1)

    assert ("acme-tokens", "10", 1) == tuple(refused.value.details[name] for name in ("policy", "limit", "window_s"))
    wait_ns = (refused.value.retry_after_s or 0) * NS_PER_S
    assert [False, True] == [passes(pacer, limits, now_ns=at_ns) for at_ns in (wait_ns - NS_PER_S - 1, wait_ns)]


def test_so_many_at_once_and_no_more() -> None:
    """A place is free when a request is over, not when one is merely refused."""
    pacer, limits = Pacer(), some_limits(concurrency=2)
    for _ in range(2):
        pacer.take([limits], 0, 1)
        pacer.began([limits])

    with pytest.raises(RateLimited, match="2 requests in progress here") as refused:
        pacer.take([limits], 10**12, 1)
    pacer.ended(["acme"])

    assert (1, "acme-concurrency", "requests at once") == (
        refused.value.retry_after_s, refused.value.details["policy"], refused.value.details["unit"],
    )  # fmt: skip
    assert passes(pacer, limits)


def test_a_request_that_one_limit_refuses_counts_under_none() -> None:
    """The tenant's rate is not used up by a key that is too fast."""
    pacer = Pacer()
    tenant, key = some_limits(rate_per_s=1.0, burst=3), some_limits("key-1", rate_per_s=1.0, burst=1)
    assert passes(pacer, tenant, key)

    assert [False] * 9 == [passes(pacer, tenant, key) for _ in range(9)]

    other = some_limits("key-2")
    assert [True, True, False] == [passes(pacer, tenant, other) for _ in range(3)]


@given(rates, st.integers(1, 8))
def test_the_replicas_together_keep_a_rate(rate: float, replicas: int) -> None:
    """Over ten seconds of more than enough requests: the bursts, and ten times the rate."""
    parts = [some_limits(rate_per_s=rate, burst=replicas, replicas=replicas) for _ in range(replicas)]
    passed = 0
    for part in parts:
        pacer, now_ns = Pacer(), 0
        while now_ns <= 10 * NS_PER_S and passed < 2_000:
            passed += passes(pacer, part, now_ns=now_ns)
            now_ns += max(1, part.interval_ns or 0) // 2

    assert passed <= replicas + 10 * rate + replicas


@pytest.mark.parametrize(("concurrency", "replicas", "places"), [(5, 1, 5), (5, 2, 2), (1, 4, 1)])
def test_places_are_divided_whole(concurrency: int, replicas: int, places: int) -> None:
    """Rounded down, so that together they never pass the limit; but each replica has one."""
    assert places == some_limits(concurrency=concurrency, replicas=replicas).places


def test_a_rate_without_a_burst_has_a_seconds_worth() -> None:
    """Three at 2.5/s."""
    pacer, limits = Pacer(), some_limits(rate_per_s=2.5)

    assert [True, True, True, False] == [passes(pacer, limits) for _ in range(4)]


def test_nothing_is_limited_where_nothing_is_said() -> None:
    """However many."""
    pacer = Pacer()

    assert all(passes(pacer, some_limits(), tokens=10**9) for _ in range(100))
