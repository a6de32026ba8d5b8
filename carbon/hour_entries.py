"""The entries that close a device's hour: `device_hour` with all of its sums, and a `share` for each tenant."""

from typing import Any

from greenserve.carbon.entries import METHOD, PLATFORM, POOLS, VERSION, Body, entry_of
from greenserve.carbon.hours import BASES, GRID, PARTS, DeviceHour, TenantPart
from greenserve.carbon.node_overhead import NODE
from greenserve.carbon.pools import SHARED_POOLS, Demand, PoolHour, Share, close_hour
from greenserve.records import TIERS, Entry

OF_LINES = frozenset({"grid", "late_uj", "shares", "facility_uj", "loc_direct_ng", "loc_lifecycle_ng"})
"""Members of a `device_hour` that follow from usage lines; all others follow from intervals alone."""

RESERVED_NS = "reserved_ns"
"""The member of a `device_hour` that is there where any of the device's time was reserved."""


def hour_entries(closing: DeviceHour, *, revision: int, at_us: int, resume_index: int) -> list[Entry]:
    """The entries of a closed hour, the device's first: write them in one transaction.

    `revision` counts the closings of this device and hour: 0 is the hour; later ones hold what came for it afterwards
    alone, so that an hour is the sum of its revisions. `at_us` is when it was closed [us UTC], `resume_index` the first
    row that a reader needs who knows all hours closed up to here.
    """
    common = {"device": closing.device, "hour": closing.hour, "revision": revision, "at_us": at_us}
    common |= {"method": METHOD, "v": VERSION, "tier": max(closing.tiers, key=_rank)}
    common["overhead_uj"] = None
    shares = _share_bodies(closing)
    reserved_ns = sum(part.reserved_ns for part in closing.tenants.values())
    body: Body = common | _sums(closing) | _evidence(closing)
    if closing.device == NODE:
        body |= {"overhead_uj": closing.overhead_uj, "node_uj": closing.node_uj, "deficit_uj": closing.deficit_uj}
    if closing.metering_uj is not None:
        body["metering_uj"] = closing.metering_uj
    if reserved_ns:
        body[RESERVED_NS] = reserved_ns
    body |= {
        "kind": "device_hour",
        "resume_index": resume_index,
        "grid": {name: closing.grid[name] for name in GRID},
        "late_uj": sum(part.late_uj for part in closing.tenants.values()),
        "shares": len(shares),
    }
    for name in ("facility_uj", *(f"loc_{basis}_ng" for basis in BASES)):
        known = [share[name] for share in shares.values() if share[name] is not None]
        body[name] = sum(known) if known else None
    return [entry_of(body), *(entry_of(common | share) for _, share in sorted(shares.items()))]


def shares_of(closing: DeviceHour) -> list[Share]:
    """Who carries the pools of an hour: what is reserved by the reserved time, the rest by the time that each tenant's
    requests held the device."""
    pools = PoolHour(
        device=closing.device,
        hour=closing.hour,
        idle_uj=closing.sums["idle_uj"],
        load_uj=closing.load_uj or 0,
        waste_uj=closing.sums["waste_uj"],
        overhead_uj=closing.overhead_uj,
    )
    busy_ns = {tenant: part.busy_ns for tenant, part in closing.tenants.items()}
    reserved_ns = {tenant: part.reserved_ns for tenant, part in closing.tenants.items() if part.reserved_ns}
    capacity_ns = closing.device_ns if closing.device == NODE else closing.sums["time_ns"]
    demand = Demand(capacity_ns=max(1, capacity_ns), reserved_ns=reserved_ns, busy_ns=busy_ns)
    return close_hour(pools, demand)


def _sums(closing: DeviceHour) -> Body:
    named: Body = {pool: closing.sums[pool] for pool in POOLS}
    others = ("metered_uj", "static_uj", "intervals", "unmetered_ns", "time_ns", "pending_change_uj")
    named |= {name: closing.sums[name] for name in others}
    return named | {
        "load_uj": closing.load_uj,
        "over_attributed_uj": closing.over_attributed_uj,
        "pending_before_uj": closing.pending_before_uj,
        "pending_after_uj": closing.pending_after_uj,
    }


def _evidence(closing: DeviceHour) -> Body:
    return {
        "entries": closing.entries,
        "first_index": closing.first_index,
        "last_index": closing.last_index,
        "tiers": sorted(closing.tiers),
        "sources": sorted(closing.sources),
        "boots": sorted(closing.boots),
        "flags": dict(sorted(closing.flags.items())),
        "settled_by": closing.settled_by,
    }


def _share_bodies(closing: DeviceHour) -> dict[str, Body]:
    """By tenant; those that had a line in the hour or carry any of its pools."""
    carried: dict[str, list[Share]] = {tenant: [] for tenant in closing.tenants}
    for share in shares_of(closing):
        carried.setdefault(share.tenant, []).append(share)
    return {tenant: _share(closing, tenant, shares) for tenant, shares in carried.items()}


def _share(closing: DeviceHour, tenant: str, shares: list[Share]) -> Body:
    part = closing.tenants.get(tenant, TenantPart())
    pools = {name: sum(share.energy_uj for share in shares if share.pool == name) for name in (*SHARED_POOLS, "waste")}
    pooled_uj = sum(pools[name] for name in SHARED_POOLS)
    body: dict[str, Any] = {
        "kind": "share",
        "tenant": tenant,
        "rule": _rule(tenant, part, pooled_uj),
        "busy_ns": part.busy_ns,
        "lines": part.lines,
        **{name: getattr(part, name) for name in PARTS},
        "late_uj": part.late_uj,
        "idle_uj": pools["idle"],
        "load_uj": None if closing.load_uj is None else pools["load"],
        "waste_uj": pools["waste"],
        "overhead_uj": None if closing.overhead_uj is None else pools["overhead"],
        "facility_uj": _part(pooled_uj, closing.grid["facility_uj"], closing.grid["it_uj"]),
    }
    if any(one.reserved_ns for one in closing.tenants.values()):
        body["reserved_ns"] = part.reserved_ns
    for basis in BASES:
        body[f"loc_{basis}_ng"] = _part(pooled_uj, closing.grid[f"{basis}_ng"], closing.grid[f"{basis}_uj"])
    return body


def _rule(tenant: str, part: TenantPart, pooled_uj: int) -> str:
    if part.reserved_ns:
        return "reserved and busy" if part.busy_ns else "reserved"
    if part.busy_ns:
        return "busy"
    if tenant == PLATFORM:
        return "unused" if pooled_uj else "platform"
    return "none"


def _part(pooled_uj: int, amount: int, of_uj: int) -> int | None:
    """What pooled energy has of an amount that the hour's requests had of their energy, rounded down; None where no
    request of the hour was priced."""
    return pooled_uj * amount // of_uj if of_uj else None


def _rank(tier: str) -> int:
    return next(rank for rank, name in enumerate(TIERS) if name == tier)
