"""Pools of an hour, and who carries them."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenserve.carbon.closed import DeviceClosed
from greenserve.carbon.pools import Demand, PoolHour, PoolHours, close_hour, closes_at_us, hour_of, overhead_uj

HOUR_US, HOUR_NS = 3_600_000_000, 3_600_000_000_000
amounts = st.integers(0, 9) | st.integers(0, 10**12)
times = st.dictionaries(st.sampled_from(["acme", "beta", "gamma"]), st.integers(0, 3) | st.integers(0, HOUR_NS))


def a_closed(**changes: int) -> DeviceClosed:
    pools = {"idle_uj": 60, "waste_uj": 20, "background_uj": 10, "foreign_uj": 6, "gap_uj": 4} | changes
    return DeviceClosed(
        device="gpu0",
        start_ns=0,
        end_ns=1,
        intervals=1,
        metered_uj=sum(pools.values()),
        static_uj=0,
        active_uj=0,
        held_uj=0,
        host_uj=0,
        pending_before_uj=0,
        pending_after_uj=0,
        unmetered_ns=0,
        tier="measured",
        source="test",
        **pools,
    )


@given(
    st.builds(
        PoolHour,
        device=st.just("gpu0"),
        hour=st.just(5),
        idle_uj=amounts,
        load_uj=amounts,
        waste_uj=amounts,
        background_uj=amounts,
        overhead_uj=st.none() | amounts,
    ),
    st.integers(1, 2 * HOUR_NS),
    times,
    times,
)
def test_every_shared_pool_is_carried_whole(
    pools: PoolHour, capacity_ns: int, reserved_ns: dict[str, int], busy_ns: dict[str, int]
) -> None:
    """Shares sum to their pool to the microjoule; background is nobody's, an unknown overhead has no share."""
    shares = close_hour(pools, Demand(capacity_ns=capacity_ns, reserved_ns=reserved_ns, busy_ns=busy_ns))

    carried = {name: sum(share.energy_uj for share in shares if share.pool == name) for name in pools.metered()}
    assert {"idle": pools.idle_uj, "load": pools.load_uj, "waste": pools.waste_uj} == {
        name: carried[name] for name in ("idle", "load", "waste")
    }
    assert 0 == carried["background"]
    assert (pools.overhead_uj or 0) == sum(share.energy_uj for share in shares if share.pool == "overhead")
    assert all(share.energy_uj > 0 for share in shares)
    assert len({(share.tenant, share.pool, share.rule) for share in shares}) == len(shares)


def test_the_reserved_part_goes_by_reservation_and_the_rest_by_use() -> None:
    """60 % of the device is reserved, 2 to 1; of the other 400 uJ gamma used all."""
    demand = Demand(capacity_ns=100, reserved_ns={"acme": 40, "beta": 20}, busy_ns={"gamma": 7})

    shares = close_hour(PoolHour(device="gpu0", hour=5, idle_uj=1_000), demand)

    assert [("acme", "reserved", 400), ("beta", "reserved", 200), ("gamma", "busy", 400)] == [
        (share.tenant, share.rule, share.energy_uj) for share in shares
    ]


def test_an_overbooked_device_is_carried_by_its_reservations_alone() -> None:
    """More than all of it is all of it."""
    demand = Demand(capacity_ns=10, reserved_ns={"acme": 30, "beta": 10}, busy_ns={"gamma": 7})

    shares = close_hour(PoolHour(device="gpu0", hour=5, load_uj=100), demand)

    assert [("acme", 75), ("beta", 25)] == [(share.tenant, share.energy_uj) for share in shares]


def test_an_unused_hour_and_waste_are_the_platforms() -> None:
    """Nobody reserved or used the device."""
    shares = close_hour(PoolHour(device="gpu0", hour=5, idle_uj=9, waste_uj=3), Demand(capacity_ns=10))

    assert [("_platform", "idle", "unused", 9), ("_platform", "waste", "platform", 3)] == [
        (share.tenant, share.pool, share.rule, share.energy_uj) for share in shares
    ]


def test_overhead_without_calibration_is_unknown() -> None:
    """Not 0: the boundary of the statement says that it is missing."""
    assert overhead_uj(None, HOUR_NS) is None
    assert 7_200_000_000 == overhead_uj(2_000, HOUR_NS)


@given(st.lists(st.tuples(st.integers(0, 3 * HOUR_US), st.integers(1, 2 * HOUR_US), amounts), min_size=1, max_size=6))
def test_hours_add_up_to_what_was_closed(closes: list[tuple[int, int, int]]) -> None:
    """Cut at hours by time share, nothing is lost."""
    hours = PoolHours()
    for start_us, length_us, idle_uj in closes:
        hours.add(a_closed(idle_uj=idle_uj), start_us, start_us + length_us)

    taken = hours.take(closes_at_us(99))

    assert sum(idle_uj for _, _, idle_uj in closes) == sum(hour.idle_uj for hour in taken)
    assert 6 * len(closes) == sum(hour.foreign_uj for hour in taken)
    assert [] == hours.take(closes_at_us(99))


def test_an_hour_closes_ten_minutes_after_its_end() -> None:
    """Half of a close lies in the next hour, which is still open."""
    hours = PoolHours()
    hours.add(a_closed(), HOUR_US // 2, 3 * HOUR_US // 2)
    hours.add_overhead("gpu0", 500, HOUR_US // 2, 3 * HOUR_US // 2)

    assert [] == hours.take(HOUR_US + 599_999_999)
    (first,) = hours.take(HOUR_US + 600_000_000)
    (second,) = hours.take(closes_at_us(hour_of(3 * HOUR_US // 2)))

    assert (
        PoolHour(
            device="gpu0", hour=0, idle_uj=30, waste_uj=10, background_uj=5, foreign_uj=3, gap_uj=2, overhead_uj=250
        )
        == first
    )
    assert replace(first, hour=1) == second


def test_a_part_of_the_overhead_that_is_unknown_makes_the_hour_unknown() -> None:
    """Whatever comes before or after it."""
    hours = PoolHours()
    for amount in (5, None, 7):
        hours.add_overhead("gpu0", amount, 0, HOUR_US)

    assert [None] == [hour.overhead_uj for hour in hours.take(closes_at_us(0))]


def test_impossible_pools_are_refused() -> None:
    """Negative pools, times and powers; a device without capacity."""
    with pytest.raises(ValueError, match="pools are >= 0"):
        PoolHour(device="gpu0", hour=0, idle_uj=-1)
    with pytest.raises(ValueError, match="capacity"):
        Demand(capacity_ns=0)
    with pytest.raises(ValueError, match="capacity"):
        Demand(capacity_ns=1, busy_ns={"acme": -1})
    with pytest.raises(ValueError, match="power >= 0"):
        overhead_uj(-1, 1)
