"""What the ledger's writer has settled, as series: energy and emissions of requests, and where metered energy went."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from greenserve.records import Entry
from greenserve.serve.telemetry.publisher import Publisher
from greenserve.units import decimal_grams, decimal_joules

PARTS = (("active", "active_uj"), ("held", "held_uj"), ("host", "host_uj"))
COLUMNS = (("loc_lifecycle", "loc_lifecycle_ng"), ("loc_direct", "loc_direct_ng"))
OTHER = "other"
POOLS = ("idle", "waste", "background", "foreign", "gap")


class Tenants:
    """The first `most` tenants have a label of their own, all others share `other`. State: those seen so far."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._known: set[str] = set()

    def label(self, tenant: str) -> str:
        """The tenant, or `other`."""
        if tenant not in self._known:
            if len(self._known) >= self._most:
                return OTHER
            self._known.add(tenant)
        return tenant


def count_settled(publisher: Publisher, entries: Sequence[Entry], tenants: Tenants) -> None:
    """Count entries that the ledger took: settled usage by model, variant and region; intervals by device.

    `tenants` tells which of them have a label of their own. Unknown energy and emissions count nowhere. A restatement
    changes the ledger, not a counter.
    """
    joules: Counter[tuple[str, str, str, str, str]] = Counter()
    grams: Counter[tuple[str, str, str, str]] = Counter()
    by_tenant: Counter[str] = Counter()
    for entry in entries:
        body: Mapping[str, Any] = entry.body
        if entry.kind == "usage" and entry.revision == 1 and body["charged"]:
            place = (body["model"], body["variant"] or "", body["region"] or "")
            for part, name in PARTS:
                if (energy_uj := body[name]) is not None:
                    joules[*place, part, body["tier"]] += energy_uj
            for column, name in COLUMNS:
                if (emitted_ng := body[name]) is not None:
                    grams[*place, column] += emitted_ng
            if (emitted_ng := body["loc_lifecycle_ng"]) is not None:
                by_tenant[tenants.label(entry.tenant)] += emitted_ng
        elif entry.kind == "device_interval":
            _count_interval(publisher, body)
    for (model, variant, region, part, tier), energy_uj in joules.items():
        publisher.count(
            "greenserve_energy_joules_total",
            float(decimal_joules(energy_uj)),
            model=model, variant=variant, region=region, part=part, tier=tier,
        )  # fmt: skip
    for (model, variant, region, column), emitted_ng in grams.items():
        publisher.count(
            "greenserve_carbon_grams_total",
            float(decimal_grams(emitted_ng)),
            model=model, variant=variant, region=region, column=column,
        )  # fmt: skip

    for tenant, emitted_ng in by_tenant.items():
        publisher.count("greenserve_tenant_carbon_grams_total", float(decimal_grams(emitted_ng)), tenant=tenant)


def _count_interval(publisher: Publisher, body: Mapping[str, Any]) -> None:
    metered = float(decimal_joules(body["metered_uj"]))
    publisher.count("greenserve_meter_energy_joules_total", metered, device=body["device"], source=body["source"])
    for pool in POOLS:
        joules = float(decimal_joules(body[f"{pool}_uj"]))
        publisher.count("greenserve_unattributed_energy_joules_total", joules, pool=pool)
    if (overhead_uj := body.get("overhead_uj")) is not None:
        joules = float(decimal_joules(overhead_uj))
        publisher.count("greenserve_unattributed_energy_joules_total", joules, pool="overhead")
