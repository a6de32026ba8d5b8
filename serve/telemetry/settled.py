"""What the ledger's writer has settled, as series: energy and emissions of requests, and where metered energy went."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from operator import attrgetter, itemgetter
from typing import Any, NamedTuple

from greenserve.carbon.ledger.forms import FirstLine, Known, SettledLine
from greenserve.carbon.ledger.settled_rows import Written
from greenserve.records import Entry
from greenserve.serve.telemetry.publisher import Publisher
from greenserve.units import decimal_grams, decimal_joules

PARTS = ("active", "held", "host")
COLUMNS = ("loc_lifecycle", "loc_direct")
_AMOUNTS = (*(f"{part}_uj" for part in PARTS), *(f"{column}_ng" for column in COLUMNS))
_amounts, _amounts_of = attrgetter(*_AMOUNTS), itemgetter(*_AMOUNTS)
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


class Use(NamedTuple):
    """What of settled requests is counted, apart: whose, where, by which evidence."""

    tenant: str
    model: str
    variant: str
    region: str
    tier: str | None


Amounts = Sequence[int | None]
"""The energies of PARTS [uJ] and the emissions of COLUMNS [ng]; None is unknown."""


def count_settled(publisher: Publisher, uses: Iterable[tuple[Use, Amounts]], tenants: Tenants) -> None:
    """Count settled and charged requests. `tenants` tells which of them have a label of their own. Unknown energy and
    emissions count nowhere. A restatement changes the ledger, not a counter.
    """
    sums: dict[Use, list[int | None]] = {}
    for use, amounts in uses:
        before = sums.get(use)
        sums[use] = list(amounts) if before is None else list(map(_plus, before, amounts))
    joules: Counter[tuple[str, str, str, str, str]] = Counter()
    grams: Counter[tuple[str, str, str, str]] = Counter()
    by_tenant: Counter[str] = Counter()
    for use, totals in sums.items():
        place = (use.model, use.variant, use.region)
        for part, energy_uj in zip(PARTS, totals, strict=False):
            if energy_uj is not None:
                joules[*place, part, str(use.tier)] += energy_uj
        for column, emitted_ng in zip(COLUMNS, totals[len(PARTS) :], strict=True):
            if emitted_ng is not None:
                grams[*place, column] += emitted_ng
        if (lifecycle_ng := totals[len(PARTS)]) is not None:
            by_tenant[tenants.label(use.tenant)] += lifecycle_ng
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


def uses_of(written: Iterable[Written]) -> Iterator[tuple[Use, Amounts]]:
    """The settled and charged requests among what the ledger took, those that are alike as one."""
    known: dict[tuple[object, str], tuple[FirstLine, list[SettledLine]]] = {}
    for line, first in written:
        if line.kind != "usage" or line.revision != 1 or first is None:
            continue
        form, of_first = line.form, first.form
        if isinstance(form, SettledLine) and isinstance(of_first, Known) and form.charged:
            key = (of_first.kind, form.tier)
            found = known.get(key)
            if found is None:
                found = known[key] = (of_first.line, [])
            found[1].append(form)
            continue
        body: Mapping[str, Any] = {**first.decoded, **line.decoded}
        if body["charged"]:
            yield _use(line.tenant, body["model"], body["variant"], body["region"], body["tier"]), _amounts_of(body)
    for own, forms in known.values():
        use = _use(own.tenant, own.model, own.variant, own.region, forms[0].tier)
        yield use, [_total(column) for column in zip(*map(_amounts, forms), strict=True)]


def count_intervals(publisher: Publisher, entries: Iterable[Entry]) -> None:
    """Count the devices' intervals among entries that the ledger took."""
    for entry in entries:
        if entry.kind == "device_interval":
            _count_interval(publisher, entry.body)


def _use(tenant: str, model: str, variant: str | None, region: str | None, tier: str | None) -> Use:
    return Use(tenant, model, variant or "", region or "", tier)


def _total(amounts: Amounts) -> int | None:
    known = [amount for amount in amounts if amount is not None]
    return sum(known) if known else None


def _plus(before: int | None, more: int | None) -> int | None:
    return more if before is None else before + (more or 0)


def _count_interval(publisher: Publisher, body: Mapping[str, Any]) -> None:
    metered = float(decimal_joules(body["metered_uj"]))
    publisher.count("greenserve_meter_energy_joules_total", metered, device=body["device"], source=body["source"])
    for pool in POOLS:
        joules = float(decimal_joules(body[f"{pool}_uj"]))
        publisher.count("greenserve_unattributed_energy_joules_total", joules, pool=pool)
    if (overhead_uj := body.get("overhead_uj")) is not None:
        joules = float(decimal_joules(overhead_uj))
        publisher.count("greenserve_unattributed_energy_joules_total", joules, pool="overhead")
