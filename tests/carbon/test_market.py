"""Market-based emissions: contracts cover hours of the site, the rest takes the residual mix, nothing is lost."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from greenserve.carbon.emissions import emissions_ng
from greenserve.carbon.entries import US_PER_HOUR, UsageLine, usage_entry
from greenserve.carbon.market import MarketFold
from greenserve.carbon.terms import Instrument, Market, Residual, Terms
from tests.carbon.statements import AT_US, HOUR_US, interval, statement_of, totals

HOUR = AT_US // US_PER_HOUR
LINE = ("2026-01-01", "sentiment", "int8-dyn", "north")
Lines = Callable[..., UsageLine]


def a_contract(energy_uj: int, *, hours: int = 1, mg_per_kwh: int = 0, name: str = "GO-1") -> Instrument:
    return Instrument(
        instrument_id=name, region="north", start_us=AT_US, end_us=AT_US + hours * HOUR_US, energy_uj=energy_uj,
        mg_per_kwh=mg_per_kwh, evidence_sha256="0" * 64,
    )  # fmt: skip


def a_market(*contracts: Instrument, residual: int | None = 400_000) -> Market:
    residuals = () if residual is None else (Residual(region="north", mg_per_kwh=residual, source="a test"),)
    return Market(instruments=contracts, residuals=residuals, sha256="0" * 64)


def a_body(facility_uj: int) -> dict[str, Any]:
    return {"facility_uj": facility_uj, "region": "north", "active_uj": facility_uj, "held_uj": 0, "host_uj": 0}


def a_fold(own_uj: int, others_uj: int = 0, metered_uj: int = 0) -> MarketFold:
    fold = MarketFold()
    fold.add(a_body(own_uj), HOUR, LINE)
    fold.add(a_body(others_uj), HOUR, None)
    fold.close(HOUR, metered_uj)
    return fold


def test_a_contract_is_shared_with_the_other_tenants() -> None:
    """A contract for half of what the site took covers half of everybody's: 500,000 uJ at the residual mix remain."""
    priced = a_fold(1_000_000, 3_000_000).priced(a_market(a_contract(2_000_000)))

    assert emissions_ng(500_000, 400_000) == priced[LINE].emissions_ng
    assert 0 == priced[LINE].uncovered_uj


def test_idle_energy_uses_up_contracts_too() -> None:
    """The site took twice what its requests did: a contract for the requests covers half of them."""
    priced = a_fold(1_000_000, metered_uj=2_000_000).priced(a_market(a_contract(1_000_000)))

    assert emissions_ng(500_000, 400_000) == priced[LINE].emissions_ng


def test_a_contract_holds_in_its_own_hours_and_region() -> None:
    """What the contract has left in one hour covers nothing in the next, nor elsewhere."""
    fold = MarketFold()
    fold.add(a_body(1_000_000), HOUR + 1, LINE)
    elsewhere = replace(a_contract(10**9, hours=5, name="GO-2"), region="south")

    priced = fold.priced(a_market(a_contract(10**9), elsewhere))

    assert emissions_ng(1_000_000, 400_000) == priced[LINE].emissions_ng


def test_without_a_residual_mix_the_rest_is_uncovered() -> None:
    """Unknown is not 0: the joules are told, their grams are not invented."""
    priced = a_fold(1_000_000).priced(a_market(a_contract(300_000, mg_per_kwh=50_000), residual=None))

    assert (emissions_ng(300_000, 50_000), 700_000) == (priced[LINE].emissions_ng, priced[LINE].uncovered_uj)


@given(st.integers(0, 10**13), st.integers(1, 800))
def test_the_hours_of_a_contract_sum_to_it(energy_uj: int, hours: int) -> None:
    """Equal parts, to the microjoule, and nothing outside."""
    contract = a_contract(energy_uj, hours=hours)
    parts = [contract.energy_in_hour_uj(HOUR + place) for place in range(-1, hours + 1)]

    assert energy_uj == sum(parts)
    assert (0, 0) == (parts[0], parts[-1])
    assert max(parts[1:-1]) - min(parts[1:-1]) <= 1


drawn = st.lists(
    st.tuples(st.integers(0, 10**7), st.integers(0, 3), st.sampled_from(["a", "b"]), st.booleans()), max_size=12
)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(drawn, st.integers(0, 10**7), st.integers(0, 900_000))
def test_lines_sum_to_the_total_and_no_contract_means_the_residual_mix(
    a_line: Lines, drawn: list[tuple[int, int, str, bool]], contract_uj: int, residual: int
) -> None:
    """Whatever is covered, the breakdown's grams sum to the total; a contract at the residual's own intensity
    changes at most the rounding."""
    entries = [
        usage_entry(
            a_line(active_uj=uj, held_uj=0, host_uj=0, low_uj=0, high_uj=2 * uj, ended_us=AT_US + hour * HOUR_US,
                   variant=variant, tenant="acme" if own else "globex")
        )
        for uj, hour, variant, own in drawn
    ]  # fmt: skip
    entries.append(interval(0, at_us=AT_US + 5, idle=5_000_000))
    alone = Terms(market=a_market(residual=residual))
    covered = Terms(market=a_market(a_contract(contract_uj, hours=3, mg_per_kwh=residual), residual=residual))

    documents = [statement_of(entries, terms=terms) for terms in (alone, covered)]

    found = []
    for statement in documents:
        lines: Any = statement.document["breakdown"]
        parts = sum(round(float(line["market_gco2e"]) * 1e9) for line in lines if line["market_gco2e"] is not None)
        whole = totals(statement)["market_gco2e"]
        assert round(float(whole or 0) * 1e9) == parts
        found.append(parts)
    assert abs(found[0] - found[1]) <= 4 * 3


def test_a_contract_covers_whole_hours() -> None:
    """A contract that starts within an hour is refused by name."""
    with pytest.raises(ValueError, match="GO-1: it covers whole hours"):
        replace(a_contract(1), start_us=AT_US + 1)
