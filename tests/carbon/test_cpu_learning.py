"""The CPU's power as settled requests tell it: what answers are estimated by before the meter has spoken."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenserve.carbon.cpu_learning import HALF_LIFE_NS, CpuLearner, cpu_use_of
from greenserve.carbon.power_model import CpuPower
from greenserve.units import NS_PER_S

AVERAGE = CpuPower(idle_mw=9_000, dynamic_mw_per_cpu=2_750, tier="class_average", half_width_pct=60, source="average")


def a_settled(*, slope_mw: int = 4_000, held_mw: int = 7_000, end_ns: int = 0, **changes: Any) -> dict[str, Any]:
    """20 ms of CPU time, of which 5 around the engine, over 30 ms of the node."""
    return {
        "revision": 1, "active_uj": slope_mw * 15, "host_uj": slope_mw * 5, "held_uj": held_mw * 30,
        "cpu_ns": 15_000_000, "host_cpu_ns": 5_000_000, "held_ns": 30_000_000, "end_ns": end_ns, "tier": "measured",
        "flags": [],
    } | changes  # fmt: skip


def _take(made: CpuLearner, body: dict[str, Any]) -> None:
    use = cpu_use_of(body)
    if use is not None:
        made.take(use)


def learned(bodies: list[dict[str, Any]]) -> CpuPower | None:
    made = CpuLearner(AVERAGE)
    for body in bodies:
        _take(made, body)
    return made.power(5)


@given(st.integers(0, 50_000), st.integers(0, 200_000))
def test_what_the_meter_shows_is_found_again(slope_mw: int, held_mw: int) -> None:
    """Any slope and any power at rest, from requests that were settled by them."""
    power = learned([a_settled(slope_mw=slope_mw, held_mw=held_mw, end_ns=number) for number in range(20)])

    assert power is not None
    assert (slope_mw, held_mw, "modelled") == (power.dynamic_mw_per_cpu, power.idle_mw, power.tier)
    assert 17 == power.half_width_pct


@pytest.mark.parametrize("count", [0, 19])
def test_nothing_is_learned_of_few_requests(count: int) -> None:
    """One request may have met a tick of the clock; twenty with 50 ms of CPU time are a mean."""
    assert learned([a_settled()] * count) is None
    assert learned([a_settled(cpu_ns=500_000, host_cpu_ns=500_000)] * 49) is None


def test_what_was_held_by_nobody_keeps_its_configured_power() -> None:
    """Requests that came from the cache tell the slope alone."""
    power = learned([a_settled(held_ns=0, held_uj=0)] * 20)

    assert power is not None
    assert (4_000, AVERAGE.idle_mw) == (power.dynamic_mw_per_cpu, power.idle_mw)


@pytest.mark.parametrize(
    "unfit",
    [
        {"flags": ["unmetered"]}, {"flags": ["meter_gap"]}, {"flags": ["late"]}, {"flags": ["gap"]},
        {"tier": "simulated"}, {"active_uj": None}, {"revision": 0}, {"cpu_ns": None},
        {"devices": [{"batch": "b", "active_uj": 1, "held_uj": 1, "host_uj": 0, "tier": "measured"}]},
    ],
)  # fmt: skip
def test_what_tells_nothing_of_the_time_is_left_out(unfit: dict[str, Any]) -> None:
    """Estimates that were never metered, simulated energy, boards: none of them teaches the CPU."""
    assert learned([a_settled(**unfit)] * 50) is None
    power = learned([*[a_settled()] * 20, *[a_settled(slope_mw=90_000, **unfit)] * 20])
    assert power is not None
    assert 4_000 == power.dynamic_mw_per_cpu


def test_of_a_request_with_boards_the_cpus_part_counts() -> None:
    """Its energy on the board is the board's model's to learn."""
    parts = [
        {"batch": "b", "active_uj": 10**9, "held_uj": 10**9, "host_uj": 0, "tier": "measured"},
        {"batch": None, "active_uj": 0, "held_uj": 0, "host_uj": 80_000, "tier": "measured"},
    ]

    power = learned([a_settled(devices=parts)] * 20)

    assert power is not None
    assert 4_000 == power.dynamic_mw_per_cpu


def test_the_past_fades() -> None:
    """After one half life twenty old requests weigh as ten: 10 at 2 W and 20 at 5 W are 4 W."""
    old = [a_settled(slope_mw=2_000)] * 20

    power = learned([*old, *[a_settled(slope_mw=5_000, end_ns=HALF_LIFE_NS)] * 20])

    assert power is not None
    assert 4_000 == power.dynamic_mw_per_cpu
    assert 300 * NS_PER_S == HALF_LIFE_NS


def test_a_weak_meter_teaches_weakly() -> None:
    """A class average stays one, with its own width and what one request is off."""
    made = CpuLearner(AVERAGE)
    for _ in range(20):
        _take(made, a_settled(tier="class_average"))

    power = made.power()

    assert power is not None
    assert ("class_average", 62) == (power.tier, power.half_width_pct)
