"""The records' own invariants: what cannot be made cannot be recorded."""

from dataclasses import FrozenInstanceError
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenserve.records import (
    TIERS,
    Hints,
    InferenceRequest,
    IntensityReading,
    Interval,
    Span,
    Tier,
    Usage,
    weakest_tier,
)

REQUEST: dict[str, Any] = {
    "request_id": "r", "model": "m", "rows": ((1, 2), (3,)), "outputs": ("label",), "protocol": "http",
    "received_ns": 0, "deadline_ns": 1,
}  # fmt: skip
SPAN: dict[str, Any] = {
    "batch_id": "b", "variant": "v", "device": "cpu", "start_ns": 5, "end_ns": 6, "cpu_ns": 0, "lengths": (1,),
    "padded_length": 1,
}  # fmt: skip
INTERVAL: dict[str, Any] = {
    "device": "cpu", "start_ns": 5, "end_ns": 6, "energy_uj": 3, "static_uj": 3, "tier": "modelled", "source": "s",
}  # fmt: skip
READING: dict[str, Any] = {
    "zone": "Z", "start_us": 5, "end_us": 6, "mg_per_kwh": 0, "basis": "direct", "kind": "average",
    "origin": "annual", "provider": "p", "retrieved_us": 0,
}  # fmt: skip


@pytest.mark.parametrize(
    ("record", "good", "bad"),
    [
        (InferenceRequest, REQUEST, {"rows": ()}),
        (InferenceRequest, REQUEST, {"rows": ((1,), ())}),
        (Span, SPAN, {"end_ns": 5}),
        (Span, SPAN, {"cpu_ns": -1}),
        (Interval, INTERVAL, {"end_ns": 5}),
        (Interval, INTERVAL, {"static_uj": 4}),
        (Interval, INTERVAL, {"static_uj": -1}),
        (IntensityReading, READING, {"end_us": 5}),
        (IntensityReading, READING, {"mg_per_kwh": -1}),
        (IntensityReading, READING, {"mg_per_kwh": 2_000_001}),
    ],
)
def test_a_record_that_cannot_be_true_is_not_made(record: type, good: dict[str, Any], bad: dict[str, Any]) -> None:
    """The good values at their very edge are made, the bad ones are an error of whoever made them."""
    record(**good)

    with pytest.raises(ValueError, match=r"^[a-z]"):
        record(**(good | bad))


def test_records_do_not_change() -> None:
    """What one stage handed over stays what it was, and a misspelt attribute is an error."""
    hints = Hints()

    with pytest.raises(FrozenInstanceError):
        hints.no_store = True  # type: ignore[misc]
    with pytest.raises((AttributeError, TypeError)):
        object.__setattr__(hints, "nostore", True)


def test_tokens_are_those_of_all_rows() -> None:
    """Before padding."""
    assert 3 == InferenceRequest(**REQUEST).tokens


@given(st.frozensets(st.sampled_from(TIERS), min_size=1))
def test_a_sum_is_as_weak_as_its_weakest_part(tiers: frozenset[Tier]) -> None:
    """Nothing becomes better evidence by adding something."""
    weakest = weakest_tier(tiers)

    assert weakest in tiers
    assert all(TIERS.index(tier) <= TIERS.index(weakest) for tier in tiers)


def test_a_sum_of_nothing_has_no_tier() -> None:
    """An error instead of a guess."""
    with pytest.raises(ValueError, match="not known"):
        weakest_tier(frozenset())


@given(st.tuples(*[st.integers(0, 10**15)] * 3))
def test_a_request_is_charged_its_three_parts(parts: tuple[int, int, int]) -> None:
    """Active, held and host; idle and overhead are apart."""
    active_uj, held_uj, host_uj = parts
    usage = Usage(
        request_id="r", active_uj=active_uj, held_uj=held_uj, host_uj=host_uj, low_uj=0, high_uj=10**16,
        tier="modelled", state="provisional", idle_uj=7, overhead_uj=7,
    )  # fmt: skip

    assert sum(parts) == usage.energy_uj
