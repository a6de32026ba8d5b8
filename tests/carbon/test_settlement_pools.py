"""The CPU settler's pools beyond requests: work of the platform, and energy estimated over a hole."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from greenserve.carbon.settlement import Pending, Settler
from greenserve.records import Interval


def an_interval(*, busy_ns: int | None = 200) -> Interval:
    return Interval(
        device="cpu",
        start_ns=0,
        end_ns=100,
        energy_uj=1_000,
        static_uj=400,
        tier="measured",
        source="test",
        busy_ns=busy_ns,
    )


def test_loading_a_model_is_load_and_nobodys_request() -> None:
    """80 of 200 ns are its own: 240 uJ dynamic, half of the static energy held."""
    settler = Settler("cpu")
    settler.add_request(
        Pending(request_id="load-1", start_ns=0, end_ns=100, cpu_ns=60, host_cpu_ns=20, held_ns=50, pool="load")
    )
    settler.add_interval(an_interval(), 80)

    closed = settler.close(100)

    assert closed is not None
    assert ((), 440) == (closed.settled, closed.device.load_uj)
    assert (200, 360, 0) == (closed.device.idle_uj, closed.device.foreign_uj, closed.device.pending_after_uj)


def test_an_estimate_over_a_hole_leaves_gap_not_background() -> None:
    """Requests share it by their weights; the rest was not seen, and the whole is modelled at best."""
    settler = Settler("cpu")
    settler.add_request(Pending(request_id="a", start_ns=0, end_ns=100, cpu_ns=60, host_cpu_ns=20, held_ns=50))
    settler.add_interval(an_interval(busy_ns=None), 100, gap=True)

    closed = settler.close(100)

    assert closed is not None
    (one,) = closed.settled
    assert (360, 120, 200, "modelled", ("meter_gap",)) == (
        one.active_uj,
        one.host_uj,
        one.held_uj,
        one.tier,
        one.flags,
    )
    assert (120 + 200, 0, 0) == (closed.device.gap_uj, closed.device.background_uj, closed.device.idle_uj)
    assert "modelled" == closed.device.tier


@given(st.integers(0, 10**9), st.integers(1, 10**6), st.integers(0, 10**6), st.integers(1, 250))
def test_a_cache_hit_uses_the_host_alone(energy_uj: int, host_cpu_ns: int, other_cpu_ns: int, end_ns: int) -> None:
    """Active and held are truly 0 whatever runs beside it; a host that used all CPU time gets all dynamic energy."""
    settler = Settler("cpu")
    settler.add_request(
        Pending(request_id="hit", start_ns=0, end_ns=end_ns, cpu_ns=0, host_cpu_ns=host_cpu_ns, held_ns=0)
    )
    settler.add_request(
        Pending(request_id="run", start_ns=0, end_ns=100, cpu_ns=other_cpu_ns, host_cpu_ns=0, held_ns=100)
    )
    settler.add_interval(replace(an_interval(busy_ns=0), energy_uj=400 + energy_uj), 0)

    closed = settler.finish()

    assert closed is not None
    hit = closed.settled[0]
    assert (0, 0) == (hit.active_uj, hit.held_uj)
    if not other_cpu_ns:
        assert energy_uj == hit.host_uj
