"""The cost function against the published example, by hand, and by its monotonicities."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from greenserve.routing.cost import Candidate, Load, Prices, Terms, at_length, dirtiest_mg_per_kwh, eta_of, price
from greenserve.routing.records import IDLE, Arc, PoolState, Snapshot
from greenserve.routing.view import candidates_of

FREE = Prices(pi=0.0, nu=0.0, mean=0.0, latency_g_per_s=0.0, g_ref=0.0)


def an_arc(
    *,
    theta: tuple[float, float, float, float] | None = (0.001, 0.002, 0.0, 0.0),
    eta: tuple[float, float, float, float] | None = (0.1, 0.2, 0.0, 0.0),
    q99: float = 1.0,
    max_batch: int = 8,
) -> Arc:
    return Arc(
        region="here",
        zone="Z",
        variant="v",
        quality=0.8,
        theta=theta,
        eta=eta,
        q99=q99,
        max_batch=max_batch,
        pue_milli=1000,
        pool="here",
    )


def candidates_of_arc(arc: Arc) -> tuple[Candidate, ...]:
    return (Candidate(arc, rate_g_per_j=1e-4, net_g_per_byte=0.0),)


def terms_of(snapshot: Snapshot, pools: dict[str, PoolState], prices: Prices) -> dict[str, Terms]:
    sized = at_length(candidates_of(snapshot, snapshot.arcs), 64)
    priced = price(sized, pools, Load(rows=1, size_bytes=4096), prices)
    return {one.name: terms for one, terms in zip(sized, priced, strict=True)}


@pytest.mark.parametrize(
    ("name", "eta_ms", "energy_j", "grams_capacity_quality_score_ug"),
    [
        ("gb/half-int8", 41, 0.144, (11.47, 0.72, 0.78, 11.42)),
        ("gb/quarter-int8", 32, 0.074, (6.70, 0.37, -4.68, 11.75)),
        ("de/quarter-int8", 22, 0.074, (11.81, 0.00, -4.68, 16.49)),
    ],
)
def test_the_published_table_comes_out(
    profile_c: Snapshot,
    busy_pools: dict[str, PoolState],
    name: str,
    eta_ms: int,
    energy_j: float,
    grams_capacity_quality_score_ug: tuple[float, float, float, float],
) -> None:
    """Profile C, 64 tokens, batches of 4, 4,096 bytes, nu 260 ug: every column of the design's table, rounded."""
    prices = Prices(pi=0.0, nu=260e-6, mean=0.890, latency_g_per_s=0.0, g_ref=0.0)

    terms = terms_of(profile_c, busy_pools, prices)[name]

    assert eta_ms == round(terms.eta_s * 1000)
    assert energy_j == round(terms.energy_j, 3)
    parts_g = (terms.grams_g, terms.capacity_g, terms.quality_g, terms.score_g)
    assert grams_capacity_quality_score_ug == tuple(round(part * 1e6, 2) for part in parts_g)


def test_a_batch_is_shared_by_its_requests() -> None:
    """Four requests share the fixed part; one request's rows count as many; energy grows with the rows."""
    sized = at_length(candidates_of_arc(an_arc()), 16)
    four = PoolState(batch_expected=4.0)

    (alone,) = price(sized, {}, Load(), FREE)
    (shared,) = price(sized, {"here": four}, Load(), FREE)
    (two_rows,) = price(sized, {"here": four}, Load(rows=2), FREE)

    assert pytest.approx(0.3) == alone.energy_j
    assert pytest.approx(0.1 / 4 + 0.2) == shared.energy_j
    assert pytest.approx(2 * shared.energy_j) == two_rows.energy_j
    assert pytest.approx(0.001 + 4 * 0.002) == shared.eta_s


def test_a_request_larger_than_a_batch_runs_in_several() -> None:
    """20 rows at most 8 a batch: three batches of 8 pass before the last row is done."""
    (terms,) = price(at_length(candidates_of_arc(an_arc()), 16), {}, Load(rows=20), FREE)

    assert pytest.approx(3 * (0.001 + 8 * 0.002)) == terms.eta_s
    assert pytest.approx(20 * (0.1 / 8 + 0.2)) == terms.energy_j


def test_the_tail_of_a_batch_counts_in_its_latency_only() -> None:
    """q99 stretches the predicted time, never the joules."""
    (plain,) = price(at_length(candidates_of_arc(an_arc()), 16), {}, Load(), FREE)
    (tail,) = price(at_length(candidates_of_arc(an_arc(q99=2.0)), 16), {}, Load(), FREE)

    assert 2 * plain.eta_s == tail.eta_s
    assert plain.energy_j == tail.energy_j


def test_each_price_enters_with_its_sign() -> None:
    """A budget's pi, latency and deficit make an arc dearer; quality over the mean makes it cheaper."""
    sized = at_length(candidates_of_arc(an_arc()), 16)

    (terms,) = price(
        sized, {}, Load(), Prices(pi=4.0, nu=2.0, mean=0.7, latency_g_per_s=3.0, g_ref=5.0), {"here/v": 10.0}
    )

    assert pytest.approx(0.2) == terms.quality_g
    assert pytest.approx(3.0 * terms.eta_s) == terms.latency_g
    assert pytest.approx(0.002 * 5.0 * 10.0) == terms.share_g
    assert pytest.approx(5 * terms.grams_g - 0.2 + terms.latency_g + terms.share_g) == terms.score_g


def test_candidates_of_one_pool_keep_their_own_batch_limits() -> None:
    """Same pool, limits of 8 and 2: each is priced at its own, in any order."""
    pools = {"here": PoolState(batch_expected=8.0)}
    wide, narrow = candidates_of_arc(an_arc(max_batch=8)), candidates_of_arc(an_arc(max_batch=2))

    joules = [terms.energy_j for terms in price(at_length((*wide, *narrow, *wide), 16), pools, Load(), FREE)]

    assert pytest.approx([0.1 / 8 + 0.2, 0.1 / 2 + 0.2, 0.1 / 8 + 0.2]) == joules


def test_an_unknown_time_is_no_time() -> None:
    """An arc without a profile has no ETA, and can't be priced at all."""
    unknown = an_arc(theta=None, eta=None)

    assert eta_of(unknown, IDLE, 16, Load()) is None
    with pytest.raises(ValueError, match="has no known time"):
        at_length(candidates_of_arc(unknown), 16)


def test_an_unknown_intensity_ranks_as_the_dirtiest(profile_c: Snapshot) -> None:
    """The dirtiest known reading stands in for an unknown one; with none known, one value for all."""
    known = list(profile_c.readings.values())

    assert 478_000 == dirtiest_mg_per_kwh([*known, None])
    assert dirtiest_mg_per_kwh([None]) == dirtiest_mg_per_kwh([]) > 0


@settings(max_examples=100)
@given(
    st.tuples(*[st.floats(0, 1)] * 4),
    st.floats(1, 512),
    st.floats(0, 512),
    st.integers(1, 40),
    st.floats(1, 64),
)
def test_more_work_never_costs_less(
    eta: tuple[float, float, float, float], length: float, more: float, rows: int, batch: float
) -> None:
    """Longer texts and more rows never take less time or energy."""
    arc = an_arc(theta=eta, eta=eta)
    pools = {"here": PoolState(batch_expected=batch)}

    (less,) = price(at_length(candidates_of_arc(arc), length), pools, Load(rows=rows), FREE)
    (longer,) = price(at_length(candidates_of_arc(arc), length + more), pools, Load(rows=rows), FREE)
    (wider,) = price(at_length(candidates_of_arc(arc), length), pools, Load(rows=rows + 1), FREE)

    assert less.energy_j <= longer.energy_j * (1 + 1e-12)
    assert less.eta_s <= longer.eta_s * (1 + 1e-12)
    assert less.eta_s <= wider.eta_s * (1 + 1e-12)
    assert less.energy_j <= wider.energy_j * (1 + 1e-12)


def test_the_network_is_charged_for_remote_regions_only(profile_c: Snapshot, busy_pools: dict[str, PoolState]) -> None:
    """4,096 bytes cost grams to `gb`, none at home."""
    silent = replace(profile_c, arcs=tuple(arc for arc in profile_c.arcs if arc.variant == "half-int8"))
    sized = at_length(candidates_of(silent, silent.arcs), 64)

    without = price(sized, busy_pools, Load(), FREE)
    with_bytes = price(sized, busy_pools, Load(size_bytes=4096), FREE)

    assert ["de/half-int8"] == [
        one.name
        for one, before, after in zip(sized, without, with_bytes, strict=True)
        if before.grams_g == after.grams_g
    ]
