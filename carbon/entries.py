"""The lines of the ledger: what a body of each kind holds, and the columns that follow from it."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import orjson

from greenserve.carbon import removed_keys, restated_keys
from greenserve.carbon.cuts import LATER, SLOTS, Later, Slots, cut_amounts, edges_of, pieces_of, site_figures
from greenserve.carbon.published import Estimate
from greenserve.carbon.reading_members import members_of
from greenserve.carbon.shares import SpanShare
from greenserve.errors import LedgerUnavailable
from greenserve.record import record
from greenserve.records import Entry, IntensityReading, Protocol, Usage

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
ESTIMATES = "estimates"
"""The member of provisional usage lines that says by which models of boards they were estimated; none without a board,
nor on lines of before."""
HOURLY = frozenset({"device_hour", "share"})
"""Kinds whose row stands in the hour that they are about, not in the one in which they were written."""
RESERVATION = "reservation"
"""The kind of the entries that say which devices are kept for whom."""
KINDS = ("usage", "device_interval", "tenant", "key", "budget", "period", "meter", "theta", *sorted(HOURLY))
KINDS += (RESERVATION, *restated_keys.KINDS, *removed_keys.KINDS)
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


@record(frozen=True, slots=True, kw_only=True)
class UsageLine:
    """What the gateway knows of one finished request. None = unknown or not applicable, never zero.

    `start_ns` and `end_ns` are monotonic [ns] of the boot in which `run_id` ran, `ended_us` is civil time [us UTC].
    `cpu_ns` and `host_cpu_ns` [ns] are the request's own CPU time in the engine and around it, `held_ns` [ns] its
    full-device occupancy; the meter settles by these three. `usage` is None where nothing was metered. `rows` are the
    request's own, `n_rows` those of its whole batch. `reserved` is in the unit of the budget (ng, uJ or a count).
    `org` and `project` are the tenant's and the key's at that time; lines of before there were any have none.
    A line with `charged` False is energy lost by the platform; it is nobody's usage. `spans` are its parts of batches
    on devices that are settled by spans; what it used of the CPU stands in the three times beside them. `estimates`
    say by which published models those parts were estimated. A run that
    crosses into other grid slots begins at `intensity` and meets the readings in `later`, from their times on.
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
    estimates: tuple[Estimate, ...] = ()
    later: tuple[Later, ...] = ()

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
    own: Body = {
        "attempt": line.attempt,
        "batch_id": line.batch_id,
        "budget_id": line.budget_id,
        "cache": line.cache,
        "charged": line.charged,
        **_readings(reading),
        "code": line.code,
        "cpu_ns": line.cpu_ns,
        "device": line.device,
        "embodied_ng": None,
        "emulated": line.emulated,
        "end_ns": line.end_ns,
        "ended_us": line.ended_us,
        "flags": line.flags,
        "held_ns": line.held_ns,
        "host_cpu_ns": line.host_cpu_ns,
        "idle_uj": None,
        "key_id": line.key_id,
        "kind": "usage",
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
    body = _energy_members(usage) | _boards(line) | own
    if line.later:
        body |= _cut(line)
    return body | _figures(body, body, usage)


def _boards(line: UsageLine) -> Body:
    """What only lines of requests that ran on boards have."""
    members: Body = {"spans": [share.members() for share in line.spans]} if line.spans else {}
    return members | ({ESTIMATES: [one.members() for one in line.estimates]} if line.estimates else {})


def _cut(line: UsageLine) -> Body:
    """What only lines of runs across grid slots have: the later readings, and the energy of each piece by time."""
    usage, edges_ns = line.usage, [one.from_ns for one in line.later]
    slots = None
    if usage is not None:
        amounts = (usage.active_uj, usage.held_uj, usage.host_uj)
        slots = cut_amounts(amounts, line.start_ns, line.end_ns, edges_ns)
    later = [{"from_ns": one.from_ns, "from_us": one.from_us, **_readings(one.reading)} for one in line.later]
    return {LATER: later, SLOTS: slots}


def _readings(reading: IntensityReading | None) -> Body:
    other = None if reading is None else reading.counterpart
    return {
        "ci": None if reading is None else members_of(reading),
        OTHER_CI: None if other is None else members_of(other),
    }


def _figures(first: Mapping[str, Any], body: Mapping[str, Any], usage: Usage | None) -> Body:
    """Site energy and emissions of a line: E9 and E11 follow here, nowhere else."""
    names = ("facility_uj", "loc_direct_ng", "loc_lifecycle_ng")
    if usage is None:
        return dict.fromkeys(names)
    figures = site_figures(pieces_of(first, body, usage.energy_uj), first["pue_milli"])
    return dict(zip(names, figures, strict=True))


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
    slots: Slots = (),
) -> Body:
    """The short body of `settled_entry`: site energy and emissions derived again (E9, E11); read it merged over the
    provisional one. It repeats only whose and when it is, so that its row stands beside the first one's.

    `devices` are the parts of a request that ran on more than the CPU: device, the three energies [uJ], tier, the
    batch, version and digest of the model (`theta`) that shared it; None for these on the CPU. `slots` is the energy
    by piece of a run that was cut at grid slots; ValueError where it is missing."""
    if (usage is not None and LATER in provisional) != bool(slots):
        raise ValueError(f"energy by piece is needed where a run is cut at {edges_of(provisional)} ns, got {slots}")
    body: Body = {
        "attempt": provisional["attempt"],
        "charged": provisional["charged"],
        "embodied_ng": provisional["embodied_ng"],
        "ended_us": provisional["ended_us"],
        "first": first,
        "flags": [*provisional["flags"], *flags],
        "kind": "usage",
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
    if LATER in provisional:
        body[SLOTS] = slots or None
    body.update(_figures(provisional, body, usage))
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
    slots: Slots = () if usage is None else tuple(map(tuple, provisional.get(SLOTS) or ()))
    return settled_body(provisional, usage, [UNMETERED], first=first, slots=slots)


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
    elif kind == RESERVATION:
        at_us, tenant, attempt, revision = body["at_us"], PLATFORM, 0, 0
        key = f"{body['boot_id']}/{body['run_id']}/{at_us}"
    elif kind == "period":
        at_us, key, tenant, attempt, revision = body["at_us"], str(body["period"]), PLATFORM, 0, body["revision"]
    elif kind in HOURLY:
        at_us, attempt, revision = body["hour"] * US_PER_HOUR, 0, body["revision"]
        tenant = PLATFORM if kind == "device_hour" else body["tenant"]
        key = hour_key(body["device"], body["hour"], None if kind == "device_hour" else tenant)
    elif kind in restated_keys.KINDS:
        at_us, key, owner = restated_keys.columns_of(body)
        tenant, attempt, revision = owner or PLATFORM, 0, body["revision"]
    elif kind in removed_keys.KINDS:
        at_us, key = removed_keys.columns_of(body)
        tenant, attempt, revision = PLATFORM, 0, body["revision"]
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


def hour_key(device: str, hour: int, tenant: str | None = None) -> str:
    """The natural key of a device's closed hour, or with a tenant of its share of that."""
    return f"{device}/{hour}" if tenant is None else f"{tenant}/{device}/{hour}"


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
