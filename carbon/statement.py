"""A tenant's statement: a fold over the ledger's entries, the same bytes whoever folds them."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from greenserve.carbon.budgets import iso
from greenserve.carbon.entries import METHOD
from greenserve.carbon.reconciliation import Reconciliation
from greenserve.carbon.tally import Tally, decimal_g_per_kwh
from greenserve.errors import LedgerUnavailable
from greenserve.records import Entry, Statement
from greenserve.units import decimal_joules

SCHEMA = "greenserve.statement/1"
BREAKDOWN = ("day", "model", "variant", "region")
Body = Mapping[str, Any]

_METHOD_NOTES = (
    "E1: power of a node without an energy counter = idle + dynamic x busy CPU time; the tier says so (modelled, "
    "class_average).",
    "E7, E8: a batch's energy is split over its rows by Shapley value of the padded batch's cost, exact to 1 uJ.",
    "E9: facility energy = IT energy x PUE, rounded half to even per request; the PUE is taken as given.",
    "E11: emissions = facility energy x grid intensity of the hour and zone, average and location-based, rounded half "
    "to even to 1 ng per request; sums add rounded requests.",
    "E12: 90 % ranges combine the meter's half width (common to all requests), 10 % per request divided by the root "
    "of their number, 3 % per class, and for emissions the grid's by origin: observed 5, estimated 10, forecast 15, "
    "recorded 30, annual 40 %. The PUE's uncertainty is not known and not contained.",
    "Settled requests are shares of metered intervals; provisional ones are estimates until their interval closes; "
    "unreconciled ones keep their estimate, since the meter was not read while they ran.",
)
_EXCLUDED = (
    "idle and background energy of the node (shown under reconciliation, charged to nobody)",
    "emissions of making the hardware",
    "networks and the caller's own device",
)
_LIMIT = (
    "The ledger proves what was recorded and that it did not change since; it does not prove that the meter was right."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What a statement covers: a tenant, [start_us, end_us) UTC, who issues it, and the ledger's end that it is
    folded to (`size` rows, `chain` hash in hex)."""

    tenant: str
    start_us: int
    end_us: int
    issuer: str
    software: str
    size: int
    chain: str

    def __post_init__(self) -> None:
        if self.end_us <= self.start_us:
            raise ValueError(f"a period ends after it starts, got {iso(self.start_us)} to {iso(self.end_us)}")

    def holds(self, at_us: int) -> bool:
        """Whether a moment lies in the period."""
        return self.start_us <= at_us < self.end_us


def build_statement(entries: Iterable[tuple[int, Entry]], scope: Scope) -> Statement:
    """Fold all entries of the ledger, in order of index up to `scope.size`, into the tenant's statement."""
    fold = _Fold(scope)
    fold.run(entries)
    document = fold.document()
    return Statement(
        statement_id=str(document["statement_id"]),
        tenant=scope.tenant,
        start_us=scope.start_us,
        end_us=scope.end_us,
        document=document,
    )


class _Fold:
    """State: the total and the lines of the breakdown, the reconciliation, facts that need a watermark or a factor."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self._total = Tally()
        self._lines: dict[tuple[str, ...], Tally] = {}
        self._reconciliation = Reconciliation(tenant=scope.tenant, start_us=scope.start_us, end_us=scope.end_us)
        self._uncharged = 0
        self._marks: dict[str, Counter[str]] = {}
        self._factors: dict[tuple[str, ...], list[int]] = {}
        self._sites: dict[tuple[str, int | None], int] = {}
        self._flags: Counter[str] = Counter()
        self._first: int | None = None
        self._last: int | None = None

    def run(self, entries: Iterable[tuple[int, Entry]]) -> None:
        """Fold the newest line of each of the tenant's requests, and every device interval."""
        for body in self._newest(entries):
            if not self._scope.holds(body["ended_us"]) or body["tenant"] != self._scope.tenant:
                continue
            if not body["charged"]:
                self._uncharged += 1
                continue
            day = iso(body["ended_us"])[:10]
            key = (day, body["model"], body["variant"] or "", body["region"] or "")
            self._lines.setdefault(key, Tally()).add(body)
            self._total.add(body)
            self._note(body)

    def _newest(self, entries: Iterable[tuple[int, Entry]]) -> Iterator[Body]:
        """Each usage once: settled over provisional. A provisional line waits here until its settled one comes."""
        waiting: dict[tuple[str, int], Body] = {}
        for idx, entry in entries:
            if idx >= self._scope.size:
                break
            if entry.kind == "device_interval":
                self._reconciliation.close(entry.body)
            if entry.kind != "usage":
                continue
            if entry.tenant == self._scope.tenant and self._scope.holds(entry.body["ended_us"]):  # type: ignore[arg-type]
                self._first = idx if self._first is None else self._first
                self._last = idx
            request = (entry.key, entry.attempt)
            if entry.revision == 0:
                waiting[request] = entry.body
            else:
                if request not in waiting:
                    raise LedgerUnavailable(
                        f"entry {idx} settles {entry.key}, which has no open line: run `greenserve ledger verify`"
                    )
                self._reconciliation.settle(entry.body)
                yield {**waiting.pop(request), **entry.body}
        yield from waiting.values()

    def _note(self, body: Body) -> None:
        self._flags.update(body["flags"])
        reading = body["ci"]
        if body["emulated"]:
            self._mark("emulated regions", f"region {body['region']} was executed on the gateway's own machine")
        if body["tier"] == "simulated":
            self._mark("simulated energy", "energy was replayed from a series, not measured")
        site = (body["region"] or "", body["pue_milli"])
        self._sites[site] = self._sites.get(site, 0) + 1
        if reading is None:
            return
        if "synthetic" in reading["provider"].lower():
            self._mark("synthetic grid series", f"zone {reading['zone']} comes from {reading['provider']}")
        elif reading["origin"] == "recorded":
            self._mark("recorded grid series", f"zone {reading['zone']} comes from {reading['provider']}")
        factor = tuple(reading[name] for name in ("zone", "provider", "origin", "basis", "kind"))
        self._factors.setdefault(factor, []).append(reading["mg_per_kwh"])
        if len(self._factors[factor]) > 2:
            values = self._factors[factor]
            self._factors[factor] = [min(values), max(values)]

    def _mark(self, mark: str, reason: str) -> None:
        self._marks.setdefault(mark, Counter())[reason] += 1

    def document(self) -> dict[str, object]:
        """The canonical document."""
        scope, total = self._scope, self._total
        period = f"{iso(scope.start_us)[:13]}-{iso(scope.end_us)[:13]}".replace(":", "").replace("T", "h")
        return {
            "schema": SCHEMA,
            "statement_id": f"{scope.tenant}-{period}-{scope.chain[:12]}",
            "tenant": scope.tenant,
            "start": iso(scope.start_us),
            "end": iso(scope.end_us),
            "timezone": "UTC",
            "issuer": scope.issuer,
            "software": scope.software,
            "method": METHOD,
            "boundary": {
                "included": ["active, held and host energy of this tenant's requests, at the site by PUE"],
                "excluded": list(_EXCLUDED),
            },
            "watermarks": self._watermarks(),
            "totals": total.document(),
            "not_charged_requests": self._uncharged,
            "unknown_reasons": {
                "market_gco2e": "not available: no evidence file of contracts",
                "embodied_gco2e": "not available: embodied emissions are not configured",
                "loc_direct_gco2e": "null where no source gave a direct intensity",
                "loc_lifecycle_gco2e": "null where no source gave a lifecycle intensity",
            },
            "breakdown": [self._line(key) for key in sorted(self._lines)],
            "reconciliation": self._reconciliation.document(),
            "reconciliation_of_tenant": self._reconciliation.bridge(
                total_uj=total.energy_uj,
                provisional_uj=total.provisional_uj,
                unreconciled_uj=total.unreconciled_uj,
            ),
            "data_quality": {
                "joules_by_tier": _joules(total.by_tier),
                "joules_by_intensity_origin": _joules(total.by_origin),
                "requests_by_flag": dict(sorted(self._flags.items())),
            },
            "factors": self._factor_lines(),
            "method_notes": list(_METHOD_NOTES),
            "limit": _LIMIT,
            "proof": {
                "size": scope.size,
                "chain": scope.chain,
                "first_index": self._first,
                "last_index": self._last,
                "verify": f"greenserve ledger verify --against {scope.size}:{scope.chain}",
            },
        }

    def _line(self, key: tuple[str, ...]) -> dict[str, object]:
        named = {name: value or None for name, value in zip(BREAKDOWN, key, strict=True)}
        return named | self._lines[key].document()

    def _watermarks(self) -> list[dict[str, object]]:
        marks: list[dict[str, object]] = [
            {"mark": mark, "reasons": sorted(reasons)} for mark, reasons in sorted(self._marks.items())
        ]
        return [*marks, {"mark": "unsigned", "reasons": ["this version does not sign statements"]}]

    def _factor_lines(self) -> list[dict[str, object]]:
        lines: list[dict[str, object]] = []
        for (zone, provider, origin, basis, kind), values in sorted(self._factors.items()):
            lines.append(
                {
                    "factor": "grid intensity",
                    "zone": zone,
                    "provider": provider,
                    "origin": origin,
                    "basis": basis,
                    "kind": kind,
                    "min_gco2e_per_kwh": decimal_g_per_kwh(min(values)),
                    "max_gco2e_per_kwh": decimal_g_per_kwh(max(values)),
                }
            )
        for (region, pue_milli), requests in sorted(self._sites.items(), key=str):
            pue = None if pue_milli is None else decimal_g_per_kwh(pue_milli)
            lines.append({"factor": "PUE", "region": region or None, "pue": pue, "requests": requests})
        return lines


def _joules(counted: Counter[str]) -> dict[str, str]:
    return {name: decimal_joules(uj) for name, uj in sorted(counted.items())}
