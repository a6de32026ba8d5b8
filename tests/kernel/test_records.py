"""The invariants of the records that cross files."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenserve.records import (
    TIERS,
    InferenceRequest,
    IntensityReading,
    Interval,
    Reading,
    Span,
    Tier,
    Usage,
    weakest_tier,
)

REQUEST: dict[str, Any] = {
    "request_id": "r", "model": "m", "rows": ((1, 2), (3,)), "outputs": (), "protocol": "http", "received_ns": 0,
    "deadline_ns": 1,
}  # fmt: skip
SPAN: dict[str, Any] = {
    "batch_id": "b", "variant": "v", "device": "cpu", "start_ns": 1, "end_ns": 2, "cpu_ns": 0, "lengths": (1,),
    "padded_length": 1,
}  # fmt: skip
INTERVAL: dict[str, Any] = {
    "device": "cpu", "start_ns": 1, "end_ns": 2, "energy_uj": 5, "static_uj": 5, "tier": "modelled", "source": "s",
}  # fmt: skip
READING: dict[str, Any] = {
    "zone": "SE", "start_us": 0, "end_us": 1, "mg_per_kwh": 0, "basis": "direct", "kind": "average",
    "origin": "annual", "provider": "p", "retrieved_us": 0,
}  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "good", "changes"),
    [
        (InferenceRequest, REQUEST, {"rows": ()}),
        (InferenceRequest, REQUEST, {"rows": ((1,), ())}),
        (Span, SPAN, {"end_ns": 1}),
        (Span, SPAN, {"cpu_ns": -1}),
        (Interval, INTERVAL, {"end_ns": 1}),
        (Interval, INTERVAL, {"static_uj": 6}),
        (Interval, INTERVAL, {"static_uj": -1}),
        (IntensityReading, READING, {"end_us": 0}),
        (IntensityReading, READING, {"mg_per_kwh": -5}),
        (IntensityReading, READING, {"mg_per_kwh": 2_000_001}),
    ],
)
def test_what_cannot_be_is_refused(kind: type[Any], good: dict[str, Any], changes: dict[str, Any]) -> None:
    """Made with the good values, refused with the change; so a record that exists can be relied on."""
    kind(**good)

    with pytest.raises(ValueError, match=r"got|at least one"):
        kind(**(good | changes))


def test_records_are_their_fields() -> None:
    """Equal and hashed by them, without room for other members; that none changes is checked with the types."""
    assert Span(**SPAN) == Span(**SPAN) != Span(**(SPAN | {"cpu_ns": 5}))
    assert 1 == len({Span(**SPAN), Span(**SPAN)})
    assert not hasattr(Span(**SPAN), "__dict__")


def test_a_request_counts_its_tokens_before_padding() -> None:
    """Of all rows."""
    assert 3 == InferenceRequest(**REQUEST).tokens


def test_the_energy_of_a_request_is_its_three_parts() -> None:
    """Active, held and host; idle and overhead are never part of it."""
    usage = Usage(
        request_id="r", active_uj=1, held_uj=20, host_uj=300, low_uj=0, high_uj=400, tier="modelled",
        state="provisional", idle_uj=5_000, overhead_uj=60_000,
    )  # fmt: skip

    assert 321 == usage.energy_uj


@given(st.frozensets(st.sampled_from(TIERS), min_size=1))
def test_the_tier_of_a_sum_is_its_weakest_part(tiers: frozenset[Tier]) -> None:
    """Never better than any of them, and one of them."""
    weakest = weakest_tier(tiers)

    assert weakest in tiers
    assert all(TIERS.index(tier) <= TIERS.index(weakest) for tier in tiers)


def test_nothing_has_no_tier() -> None:
    """An error, not a guess."""
    with pytest.raises(ValueError, match="not known"):
        weakest_tier(frozenset())


def test_a_device_that_counts_no_cpu_time_says_none() -> None:
    """Not zero."""
    reading = Reading(device="gpu", energy_uj=1, static_uj=0, at_ns=1, source="s", tier="metered")

    assert None is reading.busy_ns
