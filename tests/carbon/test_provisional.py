"""A batch's span becomes one estimate per row and request."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenserve.carbon.power_model import CpuPower
from greenserve.carbon.provisional import provisional_usage, share_rows, split_span
from greenserve.carbon.published import estimates_of
from greenserve.carbon.shapley import BatchCost
from greenserve.carbon.shares import SpanShare
from greenserve.records import Span, Usage

POWER = CpuPower(idle_mw=10_000, dynamic_mw_per_cpu=2_000, tier="modelled", half_width_pct=35, source="test")
COST = BatchCost(fixed_nj=60_000_000, per_row_nj=0, per_token_nj=1_000_000, per_token_squared_pj=0)


def a_span(*, lengths: tuple[int, ...], cpu_ns: int = 252_000, duration_ns: int = 504_000) -> Span:
    return Span(
        batch_id="b",
        variant="fp32",
        device="cpu",
        start_ns=1_000,
        end_ns=1_000 + duration_ns,
        cpu_ns=cpu_ns,
        lengths=lengths,
        padded_length=max(lengths),
    )


def test_each_row_pays_its_shapley_value() -> None:
    """phi = 57,333; 61,333; 133,333 of 252,000 ns, and the same of the held half of 504,000 ns."""
    cpu, held = split_span(a_span(lengths=(8, 16, 64)), COST, 500)

    assert [57_333, 61_333, 133_334] == cpu
    assert cpu == held


@given(
    st.lists(st.integers(1, 256), min_size=1, max_size=32),
    st.integers(0, 10**10),
    st.integers(1, 10**10),
    st.integers(1, 1_000),
)
def test_the_parts_sum_to_the_span(lengths: list[int], cpu_ns: int, duration_ns: int, share_milli: int) -> None:
    """CPU time and held time are split without a rest, one part per row."""
    span = a_span(lengths=tuple(lengths), cpu_ns=cpu_ns, duration_ns=duration_ns)

    cpu, held = split_span(span, COST, share_milli)

    assert [len(lengths)] * 2 == [len(cpu), len(held)]
    assert cpu_ns == sum(cpu)
    assert duration_ns * share_milli // 1_000 == sum(held)


@pytest.mark.parametrize("share_milli", [0, 1_001, -1])
def test_the_share_is_a_part_of_the_device(share_milli: int) -> None:
    """Nobody holds nothing, or more than the whole device."""
    with pytest.raises(ValueError, match=r"1\.\.1000"):
        split_span(a_span(lengths=(8, 16)), COST, share_milli)


def test_a_usage_carries_tier_state_and_range() -> None:
    """Energy never without its evidence; idle and overhead stay unknown."""
    expected = Usage(
        request_id="a",
        active_uj=60,
        held_uj=30,
        host_uj=10,
        low_uj=65,
        high_uj=135,
        tier="modelled",
        state="provisional",
    )

    assert expected == provisional_usage("a", cpu_ns=30_000, host_cpu_ns=5_000, held_ns=3_000, power=POWER)


@given(st.integers(0, 10**12), st.integers(0, 10**12), st.integers(0, 10**12), st.integers(0, 10**9))
def test_more_work_never_costs_less(cpu_ns: int, host_cpu_ns: int, held_ns: int, more_ns: int) -> None:
    """Every part grows with its own time."""
    less = provisional_usage("a", cpu_ns=cpu_ns, host_cpu_ns=host_cpu_ns, held_ns=held_ns, power=POWER)
    more = provisional_usage("a", cpu_ns=cpu_ns + more_ns, host_cpu_ns=host_cpu_ns, held_ns=held_ns, power=POWER)

    assert less.energy_uj <= more.energy_uj


def test_rows_of_a_board_share_the_whole_batch_by_shapley_value() -> None:
    """The same values as CPU time, in billionths that sum to one batch; a CPU's rows have no share."""
    span = replace(a_span(lengths=(8, 16, 64)), device="cuda:0")

    weights = [share.weight_ppb for share in share_rows(span, COST, "m/v") if share is not None]

    assert [round(10**9 * part / 252_000) for part in (57_333.333, 61_333.333, 133_333.333)] == [
        pytest.approx(weight, abs=3) for weight in weights
    ]
    assert 10**9 == sum(weights)
    assert [None] * 2 == share_rows(a_span(lengths=(8, 16)), COST, "m/v")


def test_time_on_a_board_is_an_average_until_its_meter_speaks() -> None:
    """Half of a batch of 100 ms at 190 + 60 W is 9.5 + 3 J, +-60 %, of the weakest tier; the host's part beside it."""
    share = SpanShare(
        batch_id="b", device="cuda:0", work_class="m/v", start_ns=0, end_ns=100_000_000, work=1, share_milli=1_000,
        weight_ppb=500_000_000,
    )  # fmt: skip

    boards = estimates_of([share], None, 0)
    usage = provisional_usage("r", cpu_ns=0, host_cpu_ns=1_000_000, held_ns=0, power=POWER, boards=boards)

    assert (9_500_000, 3_000_000, 2_000, "class_average") == (
        usage.active_uj,
        usage.held_uj,
        usage.host_uj,
        usage.tier,
    )
    assert (5_000_000 + 1_300, 20_000_000 + 2_700) == (usage.low_uj, usage.high_uj)
