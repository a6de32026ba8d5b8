"""What the ledger took, as counters: each settled request once, unknown nowhere."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from greenserve.carbon.device_entries import device_entry
from greenserve.carbon.ledger.row import Prepared
from greenserve.carbon.ledger.settled_rows import Written
from greenserve.carbon.settlement import DeviceClosed
from greenserve.serve.telemetry.publisher import Publisher
from greenserve.serve.telemetry.settled import Tenants, count_intervals, count_settled, uses_of

PLACE = {"model": "tiny", "variant": "fp32", "region": "north"}


def a_settled(tenant: str = "acme", revision: int = 1, **changes: Any) -> Written:
    """A settled request of 1 + 2 + 3 J and 5 g."""
    body: dict[str, object] = {
        **PLACE,
        "charged": True,
        "tier": "modelled",
        "active_uj": 1_000_000,
        "held_uj": 2_000_000,
        "host_uj": 3_000_000,
        "loc_lifecycle_ng": 5_000_000_000,
        "loc_direct_ng": None,
    }
    line = Prepared(0, "usage", b"", 0, revision, tenant, 0, b"", {**body, **changes})
    return Written(line, line._replace(revision=0))


def lines(publisher: Publisher) -> dict[tuple[str, ...], float]:
    """The counters, by name and labels."""
    return {
        (spec.name, *labels): value
        for spec, labels, value in publisher.merged(publisher.snapshot())
        if isinstance(value, float)
    }


def test_settled_energy_and_emissions_are_counted_by_part_and_column(tmp_path: Path) -> None:
    """Of three requests the sums, by tenant as far as labels go; an unknown column has no series, which is no zero."""
    publisher = Publisher(tmp_path, "writer")

    count_settled(publisher, uses_of([a_settled(), a_settled(), a_settled("globex")]), Tenants(1))

    where = ("tiny", "fp32", "north")
    assert {
        ("greenserve_energy_joules_total", *where, "active", "modelled"): 3.0,
        ("greenserve_energy_joules_total", *where, "held", "modelled"): 6.0,
        ("greenserve_energy_joules_total", *where, "host", "modelled"): 9.0,
        ("greenserve_carbon_grams_total", *where, "loc_lifecycle"): 15.0,
        ("greenserve_tenant_carbon_grams_total", "acme"): 10.0,
        ("greenserve_tenant_carbon_grams_total", "other"): 5.0,
    } == lines(publisher)


def test_what_is_not_settled_usage_counts_nowhere(tmp_path: Path) -> None:
    """A provisional line comes again settled; one that is not charged is in the device's pools; unknown is unknown."""
    publisher = Publisher(tmp_path, "writer")
    unknown: dict[str, Any] = dict.fromkeys(("active_uj", "held_uj", "host_uj", "loc_lifecycle_ng"))

    count_settled(
        publisher, uses_of([a_settled(revision=0), a_settled(charged=False), a_settled(**unknown)]), Tenants(9)
    )

    assert {} == lines(publisher)


def test_an_interval_counts_the_meter_and_its_pools(tmp_path: Path) -> None:
    """What no request caused stands by pool."""
    publisher = Publisher(tmp_path, "writer")
    closed = DeviceClosed(
        device="cpu", start_ns=0, end_ns=1, intervals=1, metered_uj=9_000_000, static_uj=0, active_uj=4_000_000,
        held_uj=0, host_uj=0, idle_uj=1_000_000, waste_uj=1_000_000, background_uj=1_000_000, foreign_uj=1_000_000,
        gap_uj=1_000_000, pending_before_uj=0, pending_after_uj=0, unmetered_ns=0, tier="modelled", source="cpu-time",
    )  # fmt: skip

    count_intervals(publisher, [device_entry(asdict(closed), at_us=0, run_id="run", boot_id="boot", end={})])

    counted = lines(publisher)
    assert 9.0 == counted["greenserve_meter_energy_joules_total", "cpu", "cpu-time"]
    assert 1.0 == counted["greenserve_unattributed_energy_joules_total", "waste"]
    assert 6 == len(counted)
