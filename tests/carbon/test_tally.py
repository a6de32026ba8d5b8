"""Sums that can be added to, taken from, merged and stored."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenserve.carbon.buckets import bucket_bounds, bucket_of
from greenserve.carbon.entries import UsageLine, settled_body, unmetered_body, usage_body
from greenserve.carbon.tally import Tally
from greenserve.records import Usage

Lines = Callable[..., UsageLine]
energies = st.integers(0, 40) | st.integers(0, 10**12)
drawn = st.fixed_dictionaries(
    {
        "active_uj": energies,
        "held_uj": energies,
        "host_uj": energies,
        "charged": st.booleans(),
        "outcome": st.sampled_from(["ok", "error", "cancelled"]),
        "cache": st.sampled_from(["miss", "hit"]),
        "tokens_in": st.none() | st.integers(1, 99),
        "mg_per_kwh": st.integers(0, 3),
        "basis": st.sampled_from(["direct", "lifecycle"]),
        "flags": st.sampled_from([(), ("fallback",), ("fallback", "late")]),
        "pue_milli": st.sampled_from([None, 1000, 1120]),
    }
)
settlements = st.sampled_from(["open", "kept", "unknown"]) | st.tuples(energies, energies)


def settled_of(first: Mapping[str, Any], how: str | tuple[int, int]) -> dict[str, Any] | None:
    if how == "open":
        return None
    if how == "kept":
        return unmetered_body(first)
    if how == "unknown":
        return settled_body(first, None, ["unmetered"])
    assert isinstance(how, tuple)
    active_uj, host_uj = how
    usage = Usage(
        request_id=first["request_id"], active_uj=active_uj, held_uj=1, host_uj=host_uj, low_uj=0,
        high_uj=2 * active_uj + 2 * host_uj, tier="measured" if active_uj % 2 else "modelled", state="settled",
    )  # fmt: skip
    return settled_body(first, usage, ["gap"] if host_uj % 2 else [])


@given(st.lists(st.tuples(drawn, settlements), max_size=6), st.integers(0, 6))
def test_a_settled_line_takes_the_place_of_its_estimate(
    a_line: Lines, lines: list[tuple[dict[str, Any], Any]], cut: int
) -> None:
    """Replacing gives the sums of the newest lines alone, whichever way: at once, merged, stored in between."""
    whole, left, right, newest = Tally(), Tally(), Tally(), Tally()
    for index, (changes, how) in enumerate(lines):
        first = usage_body(a_line(**changes))
        settled = settled_of(first, how)
        part = left if index < cut else right
        for tally in (whole, part):
            tally.add(first)
            if settled is not None:
                tally.replace(first, settled)
        newest.add({**first, **(settled or {})})
    stored = Tally.from_json(left.to_json())
    stored.merge(Tally.from_json(right.to_json()))

    assert newest == whole == stored
    assert newest.to_json() == whole.to_json() == stored.to_json()


@given(st.lists(drawn, min_size=1, max_size=4))
def test_what_is_taken_away_leaves_nothing(a_line: Lines, changes: list[dict[str, Any]]) -> None:
    """Adding and taking away the same lines, in any order, is as if they had never been there."""
    bodies = [usage_body(a_line(**one)) for one in changes]
    tally = Tally()
    for body in bodies:
        tally.add(body)
    for body in reversed(bodies):
        tally.add(body, -1)

    assert Tally() == tally
    assert b"{}" == tally.to_json()


@given(energies)
def test_a_bucket_holds_its_energy_and_is_narrow(energy_uj: int) -> None:
    """Buckets touch, and none is wider than a sixteenth of where it begins, or 1 uJ."""
    first, end = bucket_bounds(bucket_of(energy_uj))

    assert first <= energy_uj < end
    assert max(1, first // 16) >= end - first
    assert bucket_of(end) != bucket_of(energy_uj)


def test_unknown_joules_are_counted_apart(a_line: Lines) -> None:
    """Without an intensity the site's energy stands under unknown; what is not charged counts only as such."""
    tally = Tally()
    for changes in ({}, {"intensity": None}, {"usage": None}, {"charged": False}):
        tally.add(usage_body(a_line(**changes)))

    assert (3, 1, 1, 4) == (tally.requests, tally.not_charged, tally.unmetered, tally.open)
    assert (69_331, 2 * 69_331) == (tally.ci_unknown_uj, tally.market_unknown_uj)
    assert ({"annual": 61_903, "unknown": 61_903}, {31_000: 69_331}) == (dict(tally.by_origin), dict(tally.intensities))
    assert (31_000, 31_000, 597) == (tally.min_mg_per_kwh, tally.max_mg_per_kwh, tally.loc_lifecycle_ng)
    assert 2 == sum(tally.histogram.values())


def test_a_member_of_another_version_is_refused() -> None:
    """Sums that this version does not know are not silently dropped."""
    with pytest.raises(ValueError, match="a tally has no water_ml"):
        Tally.from_json(b'{"water_ml":1}')
