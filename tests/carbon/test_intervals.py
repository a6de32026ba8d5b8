"""Differences of cumulative readings, and when there is none."""

from dataclasses import replace

import pytest

from greenserve.carbon.intervals import interval_between, is_restart
from greenserve.records import Interval, Reading, Tier

FIRST = Reading(
    device="cpu", energy_uj=1_000, static_uj=600, at_ns=10, source="model", tier="class_average", busy_ns=100
)
SECOND = replace(FIRST, energy_uj=1_500, static_uj=900, at_ns=30, busy_ns=140)


def test_an_interval_is_the_difference_of_two_readings() -> None:
    """Energy, its static part and busy time by subtraction."""
    expected = Interval(
        device="cpu",
        start_ns=10,
        end_ns=30,
        energy_uj=500,
        static_uj=300,
        tier="class_average",
        source="model",
        busy_ns=40,
    )

    assert expected == interval_between(FIRST, SECOND)


@pytest.mark.parametrize(
    "second",
    [
        FIRST,
        replace(SECOND, at_ns=10),
        replace(SECOND, at_ns=9),
        replace(SECOND, energy_uj=1_000),
        replace(SECOND, energy_uj=999),
        replace(SECOND, static_uj=599),
    ],
)
def test_a_repeated_older_or_fallen_reading_tells_no_energy(second: Reading) -> None:
    """No interval rather than a zero or negative one; a counter that did not tick closes nothing."""
    assert interval_between(FIRST, second) is None


def test_only_a_later_and_lower_counter_has_restarted() -> None:
    """Then the second reading is the new base; after a late delivery or a standstill the first one stays."""
    assert is_restart(FIRST, replace(SECOND, energy_uj=5, static_uj=3))
    assert not is_restart(FIRST, SECOND)
    assert not is_restart(SECOND, FIRST)
    assert not is_restart(FIRST, replace(FIRST, at_ns=99))


@pytest.mark.parametrize(("first", "second"), [("metered", "class_average"), ("class_average", "metered")])
def test_the_weaker_tier_of_both_ends_holds(first: Tier, second: Tier) -> None:
    """A difference is as good as its worse end."""
    interval = interval_between(replace(FIRST, tier=first), replace(SECOND, tier=second))

    assert interval is not None
    assert "class_average" == interval.tier


def test_busy_time_is_unknown_unless_both_ends_count_it() -> None:
    """Unknown is not zero."""
    interval = interval_between(replace(FIRST, busy_ns=None), SECOND)

    assert interval is not None
    assert interval.busy_ns is None


def test_the_static_part_is_at_most_the_energy() -> None:
    """Two roundings may put the static difference one above: it is cut, never negative dynamic energy."""
    interval = interval_between(FIRST, replace(SECOND, energy_uj=1_200))

    assert interval is not None
    assert (200, 200) == (interval.energy_uj, interval.static_uj)


@pytest.mark.parametrize("other", [replace(SECOND, device="gpu"), replace(SECOND, source="rapl")])
def test_two_counters_have_no_difference(other: Reading) -> None:
    """Another device or source is an error of the caller."""
    with pytest.raises(ValueError, match="readings of one counter"):
        interval_between(FIRST, other)
