"""A batch's span becomes one estimate per request."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenserve.carbon.power_model import CpuPower
from greenserve.carbon.provisional import Share, provisional_usages, usage_of
from greenserve.carbon.shapley import BatchCost
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


def test_each_request_pays_the_sum_of_its_rows() -> None:
    """phi = 57,333; 61,333; 133,333 of 252,000 ns: request a owns the first and the last row."""
    shares = provisional_usages(a_span(lengths=(8, 16, 64)), ["a", "b", "a"], COST, POWER, [7_000, 500], 500)

    assert (
        Share(
            request_id="a",
            cpu_ns=190_667,
            host_cpu_ns=7_000,
            held_ns=190_667,
            active_uj=381,
            held_uj=1_906,
            host_uj=14,
        ),
        Share(request_id="b", cpu_ns=61_333, host_cpu_ns=500, held_ns=61_333, active_uj=122, held_uj=613, host_uj=1),
    ) == shares


@given(
    st.lists(st.tuples(st.sampled_from("abcd"), st.integers(1, 256)), min_size=1, max_size=32),
    st.integers(0, 10**10),
    st.integers(1, 10**10),
    st.integers(1, 1_000),
)
def test_the_shares_sum_to_the_span(
    rows: list[tuple[str, int]], cpu_ns: int, duration_ns: int, share_milli: int
) -> None:
    """CPU time and held time are split without a rest, one share per distinct request."""
    span = a_span(lengths=tuple(length for _, length in rows), cpu_ns=cpu_ns, duration_ns=duration_ns)
    owners = [owner for owner, _ in rows]

    shares = provisional_usages(span, owners, COST, POWER, [0] * len(set(owners)), share_milli)

    assert list(dict.fromkeys(owners)) == [share.request_id for share in shares]
    assert cpu_ns == sum(share.cpu_ns for share in shares)
    assert duration_ns * share_milli // 1_000 == sum(share.held_ns for share in shares)


def test_splitting_a_request_into_two_changes_nothing_for_the_others() -> None:
    """Players are rows, so who sends them together plays no role."""
    span = a_span(lengths=(8, 16, 64))

    together = provisional_usages(span, ["a", "b", "a"], COST, POWER, [0, 0], 1_000)
    apart = provisional_usages(span, ["a", "b", "c"], COST, POWER, [0, 0, 0], 1_000)

    assert together[1] == apart[1]
    assert together[0].cpu_ns == apart[0].cpu_ns + apart[2].cpu_ns


def test_a_usage_carries_tier_state_and_range() -> None:
    """Energy never without its evidence; idle and overhead stay unknown."""
    share = Share(request_id="a", cpu_ns=1, host_cpu_ns=1, held_ns=1, active_uj=60, held_uj=30, host_uj=10)

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

    assert expected == usage_of(share, POWER)


@pytest.mark.parametrize(
    ("owners", "host_cpu_ns", "share_milli"),
    [(["a"], [0], 1_000), (["a", "b"], [0], 1_000), (["a", "b"], [0, 0], 0), (["a", "b"], [0, 0], 1_001)],
)
def test_ids_and_times_must_fit_the_rows(owners: list[str], host_cpu_ns: list[int], share_milli: int) -> None:
    """One id per row, one host time per request, a share of the device."""
    with pytest.raises(ValueError, match="needs"):
        provisional_usages(a_span(lengths=(8, 16)), owners, COST, POWER, host_cpu_ns, share_milli)
