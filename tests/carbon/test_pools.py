"""Pools of an hour, and who carries them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenserve.carbon.pools import Demand, PoolHour, close_hour, closes_at_us, overhead_uj

HOUR_US, HOUR_NS = 3_600_000_000, 3_600_000_000_000
amounts = st.integers(0, 9) | st.integers(0, 10**12)
times = st.dictionaries(st.sampled_from(["acme", "beta", "gamma"]), st.integers(0, 3) | st.integers(0, HOUR_NS))


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


def test_an_hour_closes_ten_minutes_after_its_end() -> None:
    """Late lines come until then."""
    assert HOUR_US + 600_000_000 == closes_at_us(0)


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
