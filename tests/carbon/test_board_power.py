"""The power of boards as declared: own line, line of all, average; refusals that say what to do."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenserve.carbon.board_power import AVERAGE, DeclaredPower, DeclaredPowers, declared
from greenserve.carbon.power_model import CpuPower
from greenserve.carbon.provisional import provisional_usage
from greenserve.carbon.published import estimates_of
from greenserve.carbon.shares import SpanShare
from greenserve.errors import ConfigInvalid

POWER = CpuPower(idle_mw=10_000, dynamic_mw_per_cpu=2_000, tier="modelled", half_width_pct=35, source="a test")
A_SECOND_NS = 1_000_000_000


def a_line(device: str = "*", *, idle_w: float = 50, busy_w: float = 250) -> DeclaredPower:
    return declared(device=device, idle_w=idle_w, busy_w=busy_w, half_width_pct=20)


def a_share(device: str = "cuda:0") -> SpanShare:
    """A request that has a batch of one second for itself."""
    return SpanShare(
        batch_id="b", device=device, work_class="m/v", start_ns=0, end_ns=A_SECOND_NS, work=1, share_milli=1_000,
        weight_ppb=1_000_000_000,
    )  # fmt: skip


def test_a_boards_own_line_stands_before_that_of_all_and_before_the_average() -> None:
    """By the name that an engine gives it, or its UUID; nothing declared is a class average."""
    powers = DeclaredPowers([a_line("*", busy_w=100), a_line("cuda:0", busy_w=300)])

    assert 250_000 == powers.of("cuda:0").active_mw
    assert 50_000 == powers.of("GPU-1").active_mw
    assert AVERAGE == DeclaredPowers().of("cuda:0")
    assert AVERAGE == DeclaredPowers([a_line("GPU-9")]).of("cuda:0")


def test_declared_watts_are_modelled_and_say_so() -> None:
    """Tier, half width and source go with the figure; the average's tier is the weakest."""
    line = a_line()

    assert ("modelled", 20, "configured 50 W at rest, 250 W at work") == (
        line.tier,
        line.half_width_pct,
        line.source,
    )
    assert ("class_average", 60) == (AVERAGE.tier, AVERAGE.half_width_pct)


def test_two_lines_of_one_board_are_refused() -> None:
    """Which one holds could not be told."""
    with pytest.raises(ConfigInvalid, match="names 'cuda:0' twice; keep one line for each"):
        DeclaredPowers([a_line("cuda:0"), a_line("GPU-1"), a_line("cuda:0")])


@pytest.mark.parametrize(("idle_w", "busy_w"), [(100, 50), (0, 0), (-1, 5)])
def test_a_board_that_draws_less_at_work_is_refused(idle_w: float, busy_w: float) -> None:
    """The message names the board and the rule."""
    with pytest.raises(ConfigInvalid, match=r"GPU-7 .* give busy_w above 0 and not below idle_w"):
        a_line("GPU-7", idle_w=idle_w, busy_w=busy_w)


@pytest.mark.parametrize(("tier", "half_width_pct"), [("measured", 20), ("modelled", 0), ("modelled", 101)])
def test_what_was_declared_is_never_called_measured(tier: str, half_width_pct: int) -> None:
    """A figure from a file is no reading."""
    with pytest.raises(ValueError, match="modelled or weaker"):
        DeclaredPower(
            device="*", active_mw=1, held_mw=1, tier=tier, half_width_pct=half_width_pct, source="",  # type: ignore[arg-type]
        )  # fmt: skip


def test_a_provisional_answer_takes_the_declared_watts() -> None:
    """A second at 50 W of rest and 200 W of work, +-20 %, modelled."""
    estimates = estimates_of([a_share()], None, 0, DeclaredPowers([a_line()]))
    usage = provisional_usage("r", cpu_ns=0, host_cpu_ns=0, held_ns=0, power=POWER, boards=estimates)

    assert (200_000_000, 50_000_000, 200_000_000, 300_000_000, "modelled") == (
        usage.active_uj,
        usage.held_uj,
        usage.low_uj,
        usage.high_uj,
        usage.tier,
    )


def test_a_request_on_two_boards_has_the_weaker_tier_of_both() -> None:
    """One declared, one unknown: the sum of both, and the average's tier."""
    powers = DeclaredPowers([a_line("GPU-1")])

    estimates = estimates_of([a_share("GPU-1"), a_share("GPU-2")], None, 0, powers)
    usage = provisional_usage("r", cpu_ns=0, host_cpu_ns=0, held_ns=0, power=POWER, boards=estimates)

    assert (390_000_000, 110_000_000, "class_average") == (usage.active_uj, usage.held_uj, usage.tier)
    assert 200_000_000 + 100_000_000 == usage.low_uj


@given(st.floats(0, 1_000), st.floats(0.01, 1_000), st.integers(1, 100))
def test_the_range_holds_the_estimate(idle_w: float, more_w: float, half_width_pct: int) -> None:
    """low <= value <= high for any declared watts."""
    line = declared(device="*", idle_w=idle_w, busy_w=idle_w + more_w, half_width_pct=half_width_pct)

    estimates = estimates_of([a_share()], None, 0, DeclaredPowers([line]))
    usage = provisional_usage("r", cpu_ns=7, host_cpu_ns=9, held_ns=11, power=POWER, boards=estimates)

    assert usage.low_uj <= usage.energy_uj <= usage.high_uj
