"""What a ledger body holds, and that its figures follow from its parts."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from greenserve.canonical import canonical_json, ledger_json
from greenserve.carbon.entries import UsageLine, decode_entry, settled_entry, unmetered_entry, usage_body, usage_entry
from greenserve.carbon.tenancy_entries import tenant_entry
from greenserve.errors import LedgerUnavailable
from greenserve.records import IntensityReading, Tenant, Usage

Lines = Callable[..., UsageLine]


def settled_usage(request_id: str) -> Usage:
    return Usage(
        request_id=request_id,
        active_uj=50_000,
        held_uj=0,
        host_uj=0,
        low_uj=20_000,
        high_uj=80_000,
        tier="measured",
        state="settled",
    )


def test_a_line_carries_the_worked_example_of_the_method(a_line: Lines) -> None:
    """61,903 uJ at PUE 1.120 are 69,331 uJ at the site, and 597 ng at 31 g/kWh."""
    body = usage_body(a_line())

    assert (69_331, 597, None) == (body["facility_uj"], body["loc_lifecycle_ng"], body["loc_direct_ng"])


def test_a_direct_intensity_fills_the_direct_column_alone(a_line: Lines) -> None:
    """Direct and lifecycle are two columns, and neither stands in for the other."""
    body = usage_body(a_line(basis="direct"))

    assert (597, None) == (body["loc_direct_ng"], body["loc_lifecycle_ng"])


def test_unknown_stays_null_and_never_becomes_zero(a_line: Lines) -> None:
    """No usage: no energy, no tier, no emissions; no intensity: energy without emissions."""
    unmetered = usage_body(a_line(usage=None))
    somewhere = usage_body(a_line(intensity=None))

    assert {None} == {unmetered[name] for name in ("active_uj", "tier", "facility_uj", "loc_lifecycle_ng")}
    assert (69_331, None) == (somewhere["facility_uj"], somewhere["loc_lifecycle_ng"])


def test_a_body_has_the_same_bytes_by_both_writers(a_line: Lines) -> None:
    """The fast writer and RFC 8785 agree, and a decoded body makes the same entry."""
    entry = usage_entry(a_line(flags=("prior",)))

    assert canonical_json(dict(entry.body) | {"flags": ["prior"]}) == ledger_json(entry.body)
    assert ledger_json(entry.body) == ledger_json(decode_entry(ledger_json(entry.body)).body)


def test_marginal_intensity_never_accounts(a_line: Lines) -> None:
    """Marginal may steer routing; a line that carries it is refused."""
    line = a_line()
    assert isinstance(line.intensity, IntensityReading)

    with pytest.raises(ValueError, match="only average intensity accounts"):
        replace(line, intensity=replace(line.intensity, kind="marginal"))


def test_settling_derives_site_energy_and_emissions_again(a_line: Lines) -> None:
    """Revision 1 takes the meter's energy and the provisional line's PUE and intensity."""
    body = usage_body(a_line())

    settled = settled_entry(body, settled_usage(body["request_id"]), ["late"]).body

    assert (56_000, 482, "settled", "measured", ["late"]) == (
        settled["facility_uj"],
        settled["loc_lifecycle_ng"],
        settled["state"],
        settled["tier"],
        settled["flags"],
    )


def test_an_unmetered_request_keeps_its_estimate_and_says_so(a_line: Lines) -> None:
    """The provisional value stays, flagged; where there was none, it stays unknown."""
    body = usage_body(a_line())
    unknown = usage_body(a_line(usage=None))

    kept, still_unknown = unmetered_entry(body).body, unmetered_entry(unknown).body

    assert (54_603, ["unmetered"]) == (kept["active_uj"], kept["flags"])
    assert (None, None, ["unmetered"]) == (still_unknown["active_uj"], still_unknown["tier"], still_unknown["flags"])


def test_a_tenants_entry_holds_no_name_and_no_float() -> None:
    """Bodies carry opaque ids and integers only."""
    tenant = Tenant(tenant_id="acme", name="Acme Ltd", quality_floor=0.75, rate_per_s=2.5)

    body: Any = tenant_entry(tenant, revision=0, at_us=7, closed=False).body

    assert (750_000, 2_500_000) == (body["quality_floor_ppm"], body["rate_per_s_ppm"])
    assert b"Acme Ltd" not in ledger_json(body)


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b'{"kind": "tip"}', b'{"kind": "usage"}'])
def test_what_is_no_entry_is_refused(data: bytes) -> None:
    """A body without the members of its kind never becomes an entry."""
    with pytest.raises(LedgerUnavailable):
        decode_entry(data)
