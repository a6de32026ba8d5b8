"""The same emissions by the scopes of the GHG Protocol: a tenant buys a service, the operator burns the power."""

from greenserve.carbon.budgets import iso
from greenserve.carbon.folded import EVERYBODY, Folded
from greenserve.carbon.tally import decimal_g_per_kwh
from greenserve.units import decimal_grams, decimal_joules, decimal_kwh


def scope_view(folded: Folded) -> dict[str, object]:
    """The tenant's view (Scope 3 category 1) or the operator's (Scope 2, 3.3, 3.2), and the contracts behind it."""
    view = _operator(folded) if folded.scope.tenant == EVERYBODY else _tenant(folded)
    return view | {"market_instruments": _instruments(folded)}


def _tenant(folded: Folded) -> dict[str, object]:
    lifecycle, embodied = _lifecycle_ng(folded), folded.total.known_embodied_ng()
    parts = ["location-based lifecycle emissions of the electricity"]
    if embodied is not None:
        parts.append("embodied emissions of the hardware")
    whole = None if lifecycle is None else lifecycle + (embodied or 0)
    return {
        "view": "tenant",
        "scope_3_category_1_gco2e": _grams(whole),
        "scope_3_category_1_contains": parts,
        "scope_3_category_1_uncovered_joules": decimal_joules(folded.total.tally.loc_lifecycle_uncovered_uj),
        "note": "purchased goods and services; all of it is the buyer's Scope 3, none of it its Scope 1 or 2",
    }


def _operator(folded: Folded) -> dict[str, object]:
    tally, rest = folded.total.tally, folded.unassigned
    direct = _sum(tally.loc_direct_ng if tally.loc_direct_covered else None, rest.direct_ng)
    lifecycle = _sum(_lifecycle_ng(folded), rest.lifecycle_ng)
    uncovered_uj = tally.loc_lifecycle_uncovered_uj + rest.uncovered_uj
    both = not uncovered_uj and not tally.loc_direct_uncovered_uj and not tally.apart
    upstream = lifecycle - direct if both and direct is not None and lifecycle is not None else None
    market = folded.total.market
    return {
        "view": "operator",
        "site_joules": decimal_joules(tally.facility_uj + rest.facility_uj),
        "site_kwh": decimal_kwh(tally.facility_uj + rest.facility_uj),
        "site_unknown_joules": decimal_joules(tally.facility_unknown_uj + rest.facility_unknown_uj),
        "not_caused_by_requests_joules": decimal_joules(rest.energy_uj),
        "not_caused_by_requests_loc_lifecycle_gco2e": _grams(rest.lifecycle_ng),
        "scope_2_location_based_gco2e": _grams(direct),
        "scope_2_market_based_gco2e": None if market is None else decimal_grams(market.emissions_ng),
        "scope_3_category_3_gco2e": _grams(upstream),
        "scope_2_and_3_3_together_gco2e": _grams(lifecycle),
        "scope_3_category_2_gco2e": _grams(folded.total.known_embodied_ng()),
        "uncovered_joules": decimal_joules(uncovered_uj),
        "note": "Scope 2 is the direct part; 3.3 is lifecycle minus direct and only known where one source gives both "
        "for the same slot; energy that no request caused is priced at the mean of its hour's requests; market-based "
        "covers the requests; 3.2 covers the time that requests held the hardware",
    }


def _instruments(folded: Folded) -> list[dict[str, object]]:
    market = folded.terms.market
    if market is None:
        return []
    return [
        {
            "id": one.instrument_id,
            "region": one.region,
            "from": iso(one.start_us),
            "to": iso(one.end_us),
            "energy_kwh": decimal_kwh(one.energy_uj),
            "intensity_gco2e_per_kwh": decimal_g_per_kwh(one.mg_per_kwh),
            "evidence_sha256": one.evidence_sha256,
        }
        for one in market.instruments
    ]


def _lifecycle_ng(folded: Folded) -> int | None:
    tally = folded.total.tally
    known = tally.loc_lifecycle_covered or not tally.requests
    return tally.loc_lifecycle_ng if known else None


def _sum(one: int | None, other: int | None) -> int | None:
    return None if one is None and other is None else (one or 0) + (other or 0)


def _grams(ng: int | None) -> str | None:
    return None if ng is None else decimal_grams(ng)
