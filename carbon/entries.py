"""The lines of the ledger: what a body of each kind holds, and the columns that follow from it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import orjson

from greenserve.carbon import restated_keys
from greenserve.carbon.emissions import emissions_ng, facility_uj
from greenserve.carbon.reading_members import members_of
from greenserve.carbon.shares import SpanShare
from greenserve.errors import LedgerUnavailable
from greenserve.records import Basis, Entry, IntensityReading, Protocol, Tenant, Usage

PLATFORM = "_platform"
METHOD = "M2"
VERSION = 1
SHORT_VERSION = 2
"""Of settled usage lines: those of version 1 repeat more of the provisional line."""
US_PER_HOUR = 3_600_000_000
UNMETERED = "unmetered"
OTHER_CI = "ci_other"
"""The member of usage lines that holds the grid in the other basis than `ci`: null where no feed knew that; lines of
before it was kept have none."""
KINDS = ("usage", "device_interval", "tenant", "key", "budget", "period", "meter", "theta", *restated_keys.KINDS)
BOOKED = "booked_us"
"""The member of late usage lines that says when they count [us UTC]; all others count when they ended."""
BY_SPANS = "spans"
"""How a device is settled, as its intervals say it; those of a CPU, settled by CPU time, say nothing."""
POOLS = (
    "active_uj",
    "held_uj",
    "host_uj",
    "idle_uj",
    "waste_uj",
    "load_uj",
    "background_uj",
    "foreign_uj",
    "gap_uj",
)
"""What a device's metered energy is divided into; the first three are the charged requests' parts. Intervals of
before `load_uj` was told apart have it in their background."""
LATER_POOLS = frozenset({"load_uj"})
"""Those that older intervals do not name."""

Outcome = Literal["ok", "error", "cancelled"]
CacheResult = Literal["miss", "hit", "joined", "off"]
Body = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageLine:
    """What the gateway knows of one finished request. None = unknown or not applicable, never zero.

    `start_ns` and `end_ns` are monotonic [ns] of the boot in which `run_id` ran, `ended_us` is civil time [us UTC].
    `cpu_ns` and `host_cpu_ns` [ns] are the request's own CPU time in the engine and around it, `held_ns` [ns] its
    full-device occupancy; the meter settles by these three. `usage` is None where nothing was metered. `rows` are the
    request's own, `n_rows` those of its whole batch. `reserved` is in the unit of the budget (ng, uJ or a count).
    `org` and `project` are the tenant's and the key's at that time; lines of before there were any have none.
    A line with `charged` False is energy lost by the platform; it is nobody's usage. `spans` are its parts of batches
    on devices that are settled by spans; what it used of the CPU stands in the three times beside them.
    """

    request_id: str
    tenant: str
    key_id: str | None
    model: str
    run_id: str
    ended_us: int
    start_ns: int
    end_ns: int
    outcome: Outcome
    protocol: Protocol
    cache: CacheResult
    rows: int
    usage: Usage | None
    intensity: IntensityReading | None
    pue_milli: int | None
    variant: str | None = None
    variant_digest: str | None = None
    region: str | None = None
    zone: str | None = None
    emulated: bool = False
    device: str | None = None
    batch_id: str | None = None
    n_rows: int | None = None
    tokens_in: int | None = None
    code: str | None = None
    cpu_ns: int | None = None
    host_cpu_ns: int | None = None
    held_ns: int | None = None
    reason: str | None = None
    budget_id: str | None = None
    reserved: int | None = None
    flags: tuple[str, ...] = ()
    charged: bool = True
    attempt: int = 0
    org: str | None = None
    project: str | None = None
    spans: tuple[SpanShare, ...] = ()

    def __post_init__(self) -> None:
        if self.end_ns <= self.start_ns or self.rows < 1 or self.attempt < 0:
            raise ValueError(f"a request ends after it starts and has a row, got {self!r}")
        if self.usage is not None and self.usage.state != "provisional":
            raise ValueError(f"the first line of a request is provisional, got {self.usage.state}")
        if self.intensity is not None and self.intensity.kind != "average":
            raise ValueError(f"only average intensity accounts; marginal may steer, got {self.intensity!r}")


def usage_body(line: UsageLine) -> Body:
    """The provisional body (revision 0): facility energy by E9 and emissions by E11 follow here, nowhere else."""
    usage, reading = line.usage, line.intensity
    other = None if reading is None else reading.counterpart
    intensity = None if reading is None else members_of(reading)
    counterpart = None if other is None else members_of(other)
    it_energy_uj = usage.energy_uj if usage else None
    facility, direct_ng, lifecycle_ng = site_figures(it_energy_uj, line.pue_milli, intensity, counterpart)
    spans: Body = {"spans": [share.members() for share in line.spans]} if line.spans else {}
    own: Body = {
        "attempt": line.attempt,
        "batch_id": line.batch_id,
        "budget_id": line.budget_id,
        "cache": line.cache,
        "charged": line.charged,
        "ci": intensity,
        OTHER_CI: counterpart,
        "code": line.code,
        "cpu_ns": line.cpu_ns,
        "device": line.device,
        "embodied_ng": None,
        "emulated": line.emulated,
        "end_ns": line.end_ns,
        "ended_us": line.ended_us,
        "facility_uj": facility,
        "flags": line.flags,
        "held_ns": line.held_ns,
        "host_cpu_ns": line.host_cpu_ns,
        "idle_uj": None,
        "key_id": line.key_id,
        "kind": "usage",
        "loc_direct_ng": direct_ng,
        "loc_lifecycle_ng": lifecycle_ng,
        "market_ng": None,
        "method": METHOD,
        "model": line.model,
        "n_rows": line.n_rows,
        "org": line.org,
        "outcome": line.outcome,
        "overhead_uj": None,
        "project": line.project,
        "protocol": line.protocol,
        "pue_milli": line.pue_milli,
        "reason": line.reason,
        "region": line.region,
        "request_id": line.request_id,
        "reserved": line.reserved,
        "revision": 0,
        "rows": line.rows,
        "run_id": line.run_id,
        "start_ns": line.start_ns,
        "state": "provisional",
        "tenant": line.tenant,
        "tokens_in": line.tokens_in,
        "v": VERSION,
        "variant": line.variant,
        "variant_digest": line.variant_digest,
        "zone": line.zone,
    }
    return _energy_members(usage) | spans | own


def usage_entry(line: UsageLine) -> Entry:
    """The provisional line of a request, ready for the ledger."""
    return entry_of(usage_body(line))


def _energy_members(usage: Usage | None) -> Body:
    if usage is None:
        return dict.fromkeys(("active_uj", "held_uj", "host_uj", "low_uj", "high_uj", "tier"))
    return {
        "active_uj": usage.active_uj,
        "held_uj": usage.held_uj,
        "host_uj": usage.host_uj,
        "low_uj": usage.low_uj,
        "high_uj": usage.high_uj,
        "tier": usage.tier,
    }


def settled_entry(
    provisional: Mapping[str, Any], usage: Usage | None, flags: Sequence[str] = (), *, first: int | None = None
) -> Entry:
    """Revision 1 of a request: what the meter changes, and nothing else of the provisional body.

    `usage` None = the energy stays unknown, and the line says so with nulls. `first` is the provisional line's index.
    """
    return entry_of(settled_body(provisional, usage, flags, first=first))


def settled_body(
    provisional: Mapping[str, Any],
    usage: Usage | None,
    flags: Sequence[str] = (),
    *,
    first: int | None = None,
    devices: Sequence[Body] = (),
) -> Body:
    """The short body of `settled_entry`: site energy and emissions derived again (E9, E11); read it merged over the
    provisional one. It repeats only whose and when it is, so that its row stands beside the first one's.

    `devices` are the parts of a request that ran on more than the CPU: device, the three energies [uJ], tier, the
    batch and the digest of the model (`theta`) that shared it; None for both on the CPU."""
    facility, direct_ng, lifecycle_ng = site_figures(
        usage.energy_uj if usage else None, provisional["pue_milli"], provisional["ci"], provisional.get(OTHER_CI)
    )
    body: Body = {
        "attempt": provisional["attempt"],
        "charged": provisional["charged"],
        "embodied_ng": provisional["embodied_ng"],
        "ended_us": provisional["ended_us"],
        "facility_uj": facility,
        "first": first,
        "flags": [*provisional["flags"], *flags],
        "kind": "usage",
        "loc_direct_ng": direct_ng,
        "loc_lifecycle_ng": lifecycle_ng,
        "market_ng": provisional["market_ng"],
        "method": METHOD,
        "request_id": provisional["request_id"],
        "revision": 1,
        "state": "settled",
        "tenant": provisional["tenant"],
        "v": SHORT_VERSION,
    }
    body.update(_energy_members(usage))
    if BOOKED in provisional:
        body[BOOKED] = provisional[BOOKED]
    if devices:
        body["devices"] = list(devices)
    return body


def unmetered_entry(provisional: Mapping[str, Any], *, first: int | None = None) -> Entry:
    """Revision 1 of a request that no meter interval covers any more: its provisional value, flagged `unmetered`."""
    return entry_of(unmetered_body(provisional, first=first))


def unmetered_body(provisional: Mapping[str, Any], *, first: int | None = None) -> Body:
    """The short body of `unmetered_entry`."""
    usage = None
    if provisional["active_uj"] is not None:
        usage = Usage(
            request_id=provisional["request_id"],
            active_uj=provisional["active_uj"],
            held_uj=provisional["held_uj"],
            host_uj=provisional["host_uj"],
            low_uj=provisional["low_uj"],
            high_uj=provisional["high_uj"],
            tier=provisional["tier"],
            state="settled",
        )
    return settled_body(provisional, usage, [UNMETERED], first=first)


def site_figures(
    it_uj: int | None,
    pue_milli: int | None,
    ci: Mapping[str, Any] | None,
    other: Mapping[str, Any] | None = None,
) -> tuple[int | None, int | None, int | None]:
    """Facility energy [uJ] and location-based emissions [ng], direct and lifecycle, each by the reading of its own
    basis (`ci`, or `other`, which stands in the other one); None for what is not known."""
    if it_uj is None or pue_milli is None:
        return None, None, None
    facility = facility_uj(it_uj, pue_milli)
    if ci is None:
        return facility, None, None
    own_ng = emissions_ng(facility, ci["mg_per_kwh"])
    other_ng = None if other is None else emissions_ng(facility, other["mg_per_kwh"])
    return (facility, own_ng, other_ng) if ci["basis"] == "direct" else (facility, other_ng, own_ng)


def reading_in(body: Mapping[str, Any], basis: Basis) -> Mapping[str, Any] | None:
    """The reading of one basis that a usage body's emissions in that basis rest on; None where it has none."""
    return next((one for one in (body["ci"], body.get(OTHER_CI)) if one is not None and one["basis"] == basis), None)


def tenant_entry(tenant: Tenant, *, revision: int, at_us: int, closed: bool) -> Entry:
    """A tenant's rules after a change. Its display name stays in the table: bodies hold opaque ids only."""
    return entry_of(
        {
            "kind": "tenant",
            "tenant": tenant.tenant_id,
            "revision": revision,
            "at_us": at_us,
            "closed": closed,
            "org": tenant.org,
            "quality_floor_ppm": millionths(tenant.quality_floor),
            "quality_mean_ppm": millionths(tenant.quality_mean),
            "policy": tenant.policy,
            "regions": None if tenant.regions is None else sorted(tenant.regions),
            "exposure": tenant.exposure,
            "rate_per_s_ppm": millionths(tenant.rate_per_s),
            "burst": tenant.burst,
            "tokens_per_s_ppm": millionths(tenant.tokens_per_s),
            "concurrency": tenant.concurrency,
            "v": VERSION,
        }
    )


def change_entry(kind: Literal["key", "budget"], subject_id: str, tenant: str, change: Mapping[str, Any]) -> Entry:
    """A key or a budget after a change; `change` holds revision, at_us and what is true from then on."""
    return entry_of({"kind": kind, f"{kind}_id": subject_id, "tenant": tenant, "v": VERSION} | dict(change))


def entry_of(body: Body) -> Entry:
    """The entry of a body: every column is a function of the body, so columns can be checked against it."""
    kind = body["kind"]
    if kind == "usage":
        at_us, key = counted_us(body), body["request_id"]
        tenant, attempt, revision = body["tenant"], body["attempt"], body["revision"]
    elif kind == "device_interval":
        at_us, key = body["at_us"], f"{body['boot_id']}/{body['device']}/{body['start_ns']}-{body['end_ns']}"
        tenant, attempt, revision = PLATFORM, 0, 0
    elif kind in ("meter", "theta"):
        at_us, tenant, attempt, revision = body["at_us"], PLATFORM, 0, 0
        name = body["number"] if kind == "meter" else body["sha256"]
        key = f"{body['boot_id']}/{body['run_id']}/{body['device']}/{at_us}/{name}"
    elif kind == "period":
        at_us, key, tenant, attempt, revision = body["at_us"], str(body["period"]), PLATFORM, 0, body["revision"]
    elif kind in restated_keys.KINDS:
        at_us, key, owner = restated_keys.columns_of(body)
        tenant, attempt, revision = owner or PLATFORM, 0, body["revision"]
    elif kind in KINDS:
        at_us, key = body["at_us"], body["tenant" if kind == "tenant" else f"{kind}_id"]
        tenant, attempt, revision = body["tenant"], 0, body["revision"]
    else:
        raise LedgerUnavailable(f"an entry of kind {kind!r}; this version knows {', '.join(KINDS)}")
    return Entry(
        kind=kind,
        key=key,
        attempt=attempt,
        revision=revision,
        tenant=tenant,
        hour=at_us // US_PER_HOUR,
        body=body,
    )


def decode_entry(data: bytes) -> Entry:
    """The entry of a serialised body; LedgerUnavailable where it is none."""
    try:
        return entry_of(orjson.loads(data))
    except (orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise LedgerUnavailable(f"{data[:60]!r}... is no ledger body: {type(error).__name__} {error}") from None


def counted_us(body: Mapping[str, Any]) -> int:
    """In which hour and period a usage body counts [us UTC]: where it ended, or where it was entered late."""
    counted: int = body.get(BOOKED, body["ended_us"])
    return counted


def it_uj(body: Mapping[str, Any]) -> int | None:
    """Active + held + host energy [uJ] of a usage body, None where it was not metered."""
    if body["active_uj"] is None:
        return None
    total: int = body["active_uj"] + body["held_uj"] + body["host_uj"]
    return total


def millionths(value: float | None) -> int | None:
    """A setting as an integer in millionths, as bodies hold it."""
    return None if value is None else round(value * 1_000_000)
