"""The members of a statement: embodied and scored figures, scopes, lines, budgets, and reasons for what is null."""

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from greenserve.canonical import canonical_json
from greenserve.carbon.entries import PLATFORM, UsageLine, usage_entry
from greenserve.carbon.folded import EVERYBODY
from greenserve.carbon.statement_audit import SUMMED
from greenserve.carbon.statement_document import identified
from greenserve.carbon.tenancy_entries import change_entry
from greenserve.carbon.terms import SECONDS_PER_YEAR, Baseline, Hardware, Terms
from greenserve.records import Entry
from tests.carbon.statements import AT_US, DAY_US, interval, member, settled, statement_of, totals

Lines = Callable[..., UsageLine]
SERVER = Hardware(
    device="cpu", name="server", embodied_g=1_000_000, life_s=5 * SECONDS_PER_YEAR, share_ppm=1_000_000, source="a test"
)
FP32 = Baseline(
    name="fp32", about="one at a time", model="sentiment", request_uj=100_000, half_width_bp=2_500, mg_per_kwh=None,
    source="a test",
)  # fmt: skip


@pytest.fixture
def two(a_line: Lines) -> list[Entry]:
    """One settled request of each of two tenants, and an interval with as much idle energy as both took."""
    mine, other = usage_entry(a_line()), usage_entry(a_line(tenant="globex"))
    closed = interval(0, at_us=AT_US + 5, active=100_000, idle=100_000)
    return [mine, other, settled(mine, 60_000), settled(other, 40_000), closed]


def test_an_empty_declaration_is_null_with_its_reason(two: list[Entry]) -> None:
    """Market-based, embodied and counterfactual figures are null, and the statement says which key is missing."""
    statement = statement_of(two)
    found, reasons = totals(statement), member(statement, "unknown_reasons")

    assert (None, None, None) == (found["market_gco2e"], found["embodied_gco2e"], member(statement, "counterfactual"))
    assert ["carbon.market" in reasons["market_gco2e"], "carbon.hardware" in reasons["embodied_gco2e"]] == [True, True]
    assert "emissions of making the hardware" in member(statement, "boundary")["excluded"]


def test_embodied_emissions_stand_in_their_own_column_and_in_the_sci(two: list[Entry]) -> None:
    """5 ms of a server of 1 t over 5 years are 31,709 ng; SCI adds them, the location-based column does not."""
    without, with_it = statement_of(two), statement_of(two, terms=Terms(hardware=(SERVER,)))

    found = totals(with_it)

    assert ("0.000031709", "0.000015854", "0.000047564") == tuple(
        found[f"embodied_{name}gco2e"] for name in ("", "low_", "high_")
    )
    assert totals(without)["loc_lifecycle_gco2e"] == found["loc_lifecycle_gco2e"]
    assert Decimal(found["loc_lifecycle_gco2e"]) + Decimal("0.000031709") == Decimal(found["sci_per_request_gco2e"])
    assert "embodied_gco2e" not in member(with_it, "unknown_reasons")


def test_a_request_of_unknown_share_is_counted_and_left_out_of_the_sci(a_line: Lines) -> None:
    """Without its time on the device a request has no embodied figure: it is told, and nothing is averaged over it."""
    entries = [usage_entry(a_line()), usage_entry(a_line(held_ns=None))]

    found = totals(statement_of(entries, terms=Terms(hardware=(SERVER,))))

    assert (1, 1) == (found["embodied_unknown_requests"], found["sci_requests"])


def test_sci_per_thousand_tokens_counts_known_tokens_alone(a_line: Lines) -> None:
    """12 tokens for 597 ng are 49.75 ugCO2e per 1,000; a request without a count of tokens has no part in it."""
    entries = [usage_entry(a_line()), usage_entry(a_line(tokens_in=None))]

    found = totals(statement_of(entries))

    assert ("0.000049750000000", 2) == (found["sci_per_1k_tokens_gco2e"], found["sci_requests"])


def test_joules_per_request_are_quantiles_of_metered_requests(a_line: Lines) -> None:
    """A request without energy is in no quantile; without any the quantile is unknown."""
    known, unknown = usage_entry(a_line()), usage_entry(a_line(usage=None))

    assert "0.063487" == totals(statement_of([known, unknown]))["request_p50_joules"]
    assert totals(statement_of([unknown]))["request_p95_joules"] is None


def test_the_baseline_is_beside_the_totals(two: list[Entry]) -> None:
    """100,000 uJ each at the request's own intensity and PUE; avoided = baseline - actual, with the declared width."""
    bare, compared = statement_of(two), statement_of(two, terms=Terms(baselines=(FP32,)))

    found = member(compared, "counterfactual")

    assert ("0.100000", "0.060000", "0.040000", "0.015000", "0.065000") == tuple(
        found[f"{name}_joules"] for name in ("baseline", "actual", "avoided", "avoided_low", "avoided_high")
    )
    assert ("0.000000964", "0.000000579") == (
        found["baseline_loc_lifecycle_gco2e"], found["actual_loc_lifecycle_gco2e"],
    )  # fmt: skip
    assert totals(bare) == totals(compared)


def test_a_dirtier_baseline_can_lose(two: list[Entry]) -> None:
    """A baseline that would have caused less gives a negative figure, not 0; other models are not compared."""
    cheap = replace(FP32, request_uj=1_000)
    other = replace(FP32, model="another")

    assert "-0.059000" == member(statement_of(two, terms=Terms(baselines=(cheap,))), "counterfactual")["avoided_joules"]
    found = member(statement_of(two, terms=Terms(baselines=(other,))), "counterfactual")
    assert (0, 1) == (found["requests_compared"], found["requests_not_compared"])


def test_the_lines_sum_to_the_site(two: list[Entry]) -> None:
    """Active, held, host and the site's own part are the site's energy; idle is not known while no hour is closed."""
    statement = statement_of(two)
    lines = {line["line"]: line for line in member(statement, "lines")}

    assert totals(statement)["facility_joules"] == str(
        sum(Decimal(line["joules"]) for line in lines.values() if line["in_totals"])
    )
    assert all(line["share_rule"] for line in lines.values())
    assert [None, None, None] == [lines[name]["joules"] for name in ("idle", "load", "overhead")]


def test_the_operator_sees_everybody_and_the_node(two: list[Entry]) -> None:
    """All tenants' requests, and idle energy priced at its hour's mean: twice the requests' emissions here."""
    statement = statement_of(two, tenant=EVERYBODY)
    view, node = member(statement, "scopes"), member(statement, "reconciliation")

    assert ["acme", "globex"] == [line["tenant"] for line in member(statement, "tenants")]
    assert (2, "0.100000") == (totals(statement)["requests"], totals(statement)["energy_joules"])
    assert ("0.100000", "0.224000") == (view["not_caused_by_requests_joules"], view["site_joules"])
    requests = Decimal(totals(statement)["loc_lifecycle_gco2e"])
    assert requests == Decimal(view["not_caused_by_requests_loc_lifecycle_gco2e"])
    assert 2 * requests == Decimal(view["scope_2_and_3_3_together_gco2e"])
    assert (None, None) == (view["scope_2_location_based_gco2e"], view["scope_3_category_3_gco2e"])
    assert ("0.100000", "0.000000") == (node["this_tenant_joules"], node["other_tenants_joules"])
    assert "0.000000" == member(statement, "reconciliation_of_tenant")["difference_joules"]


def test_direct_intensity_is_scope_2_and_no_upstream_is_invented(a_line: Lines) -> None:
    """A source that gives direct emissions alone fills Scope 2; 3.3 = lifecycle - direct stays unknown."""
    view = member(statement_of([usage_entry(a_line(basis="direct"))], tenant=EVERYBODY), "scopes")

    assert ("0.000000597", None) == (view["scope_2_location_based_gco2e"], view["scope_3_category_3_gco2e"])


def test_energy_of_an_hour_without_requests_is_uncovered(a_line: Lines) -> None:
    """No request tells what the hour's grid was: its idle energy has joules, no grams and no site energy."""
    entries = [usage_entry(a_line()), interval(0, at_us=AT_US + DAY_US // 2, idle=7_000)]

    view = member(statement_of(entries, tenant=EVERYBODY), "scopes")

    assert ("0.007000", "0.007000") == (view["uncovered_joules"], view["site_unknown_joules"])
    assert view["not_caused_by_requests_loc_lifecycle_gco2e"] is None


def test_the_tenant_buys_a_service(two: list[Entry]) -> None:
    """Scope 3 category 1 = location-based lifecycle + embodied, and says what it contains."""
    view = member(statement_of(two, terms=Terms(hardware=(SERVER,))), "scopes")

    assert "0.000032288" == view["scope_3_category_1_gco2e"]
    assert 2 == len(view["scope_3_category_1_contains"])


def a_budget(at_us: int, limit: int, *, tenant: str = "acme", removed: bool = False) -> Entry:
    change = {"limit": limit, "unit": "J", "per": "day", "zone": "UTC", "mode": "degrade", "at_pct": 80}
    return change_entry("budget", f"{tenant}-1", tenant, change | {"revision": 1, "at_us": at_us, "removed": removed})


def test_budgets_in_force_and_what_they_degraded(a_line: Lines) -> None:
    """The newest rule before the period's end, the platform's beside the tenant's own, nobody else's."""
    entries = [
        a_budget(AT_US - 1, 5), a_budget(AT_US + 1, 7), a_budget(AT_US + 2 * DAY_US, 9),
        a_budget(AT_US, 3, tenant="globex"), a_budget(AT_US, 11, tenant=PLATFORM),
        usage_entry(a_line(reason="budget")), usage_entry(a_line(reason="carbon", code="inference-failed")),
    ]  # fmt: skip
    statement = statement_of(entries)

    assert [("_platform-1", "11", 1), ("acme-1", "7", 1)] == [
        (line["budget"], line["limit"], line["changes_in_period"]) for line in member(statement, "budgets")
    ]
    assert {
        "requests_by_routing_reason": {"budget": 1, "carbon": 1},
        "degraded_requests": 1,
        "requests_by_error_code": {"inference-failed": 1},
        "refused_requests": None,
    } == member(statement, "degradations")


def test_each_device_has_a_sensor_sheet(two: list[Entry]) -> None:
    """What its meter covered, in time and joules, and how it knows."""
    (device,) = member(statement_of(two), "data_quality")["devices"]

    assert ("cpu", ["hand"], "0.200000", 1, "100.000") == tuple(
        device[name] for name in ("device", "sources", "metered_joules", "boots", "covered_pct")
    )


def test_every_summed_figure_is_on_every_line(two: list[Entry]) -> None:
    """What the audit sums is there, so a figure that is renamed is noticed."""
    statement = statement_of(two)

    assert all(set(SUMMED) <= line.keys() for line in [totals(statement), *member(statement, "breakdown")])


def test_the_id_is_the_content(two: list[Entry]) -> None:
    """The same entries give the same id and bytes; one joule more gives another; the signature does not count."""
    one, again = statement_of(two), statement_of(two)
    other: Any = statement_of(two[:-1]).document

    assert canonical_json(one.document) == canonical_json(again.document)
    assert one.statement_id != other["statement_id"]
    assert one.statement_id == identified({**one.document, "signature": {"value": "x"}})["statement_id"]
