"""One request's receipt: what its lines in the ledger say of energy and carbon, newest over oldest. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from types import MappingProxyType
from typing import Any

from greenserve.carbon.budgets import iso
from greenserve.carbon.cuts import LATER, pieces_of, site_figures
from greenserve.carbon.entries import ESTIMATES, OTHER_CI, it_uj
from greenserve.carbon.provisional import CPU
from greenserve.carbon.published import STALE, UNKNOWN_BOARD, UNLEARNED, UNPUBLISHED
from greenserve.carbon.tally import decimal_g_per_kwh
from greenserve.units import decimal_grams, decimal_joules, two_digits

SCHEMA = "greenserve.receipt/1"
PROVISIONAL = "provisional"
REASONS: Mapping[str, str] = MappingProxyType(
    {
        "idle_joules": "known per tenant and hour only; see the statement",
        "overhead_joules": "known per tenant and hour only; see the statement",
        "market_gco2e": "not available: no evidence file of contracts",
        "embodied_gco2e": "not available: embodied emissions are not configured",
        "alone_joules": "not available: this version does not record what the request would have cost alone",
    }
)
"""Why a member is null on every receipt."""
AVERAGES: Mapping[str | None, str] = MappingProxyType(
    {
        UNPUBLISHED: "declared or average power: no model was published",
        STALE: "declared or average power: the published model was not renewed in time",
        UNKNOWN_BOARD: "declared or average power: no model of this board was published",
        UNLEARNED: "declared or average power: the model had not learned this variant yet",
    }
)
"""Why an estimate did not follow a model."""
_ESTIMATED_AS_ONE = "the devices are told apart once the request is settled"
_NOT_APART = "no line tells the devices apart"
_UNMETERED = "no meter covered this request"
_RANGE = ("low_uj", "high_uj")
_PARTS = ("active_uj", "held_uj", "host_uj")


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A line of the ledger: its index, its body, and in hex its salt, its leaf's hash SHA-256(00 || salt || body) in
    the ledger's tree, and the SHA-256 of its body."""

    index: int
    salt: str
    leaf_hash: str
    body_sha256: str
    body: Mapping[str, Any]


def receipt_document(lines: Sequence[Line], *, rounded: bool) -> dict[str, object]:
    """The receipt of a request from all its lines in order of index; at least one.

    With `rounded`, figures of a provisional line have two digits and no range: the exact ones come with the settled
    line, when they no longer tell one request's batch-mates apart.
    """
    attempt = max(line.body["attempt"] for line in lines)
    own = [line for line in lines if line.body["attempt"] == attempt]
    newest = own[-1]
    body = {name: value for line in own for name, value in line.body.items()}
    is_rounded = rounded and body["state"] == PROVISIONAL
    return {
        "schema": SCHEMA,
        "request_id": body["request_id"],
        "state": body["state"],
        "rounded": is_rounded,
        "tenant": body["tenant"],
        "project": body.get("project"),
        "key_id": body["key_id"],
        "model": body["model"],
        "variant": body["variant"],
        "variant_digest": body["variant_digest"],
        "region": body["region"],
        "emulated": body["emulated"],
        "protocol": body["protocol"],
        "outcome": body["outcome"],
        "code": body["code"],
        "cache": body["cache"],
        "reason": body["reason"],
        "rows": body["rows"],
        "batch_rows": body["n_rows"],
        "tokens_in": body["tokens_in"],
        "ended": iso(body["ended_us"]),
        "charged": body["charged"],
        "attempt": attempt,
        "energy": _energy(body, is_rounded),
        "devices": _devices(body, is_rounded),
        "carbon": _carbon(body, is_rounded),
        "factors": _factors(body),
        "slots": _slots(body, is_rounded),
        "power_models": _power_models(body),
        "flags": list(body["flags"]),
        "method": body["method"],
        "unknown_reasons": _reasons(body),
        "history": [_step(line, rounded) for line in lines],
        "proof": {
            "index": newest.index,
            "salt": newest.salt,
            "leaf_hash": newest.leaf_hash,
            "body_sha256": newest.body_sha256,
        },
    }


def _energy(body: Mapping[str, Any], rounded: bool) -> dict[str, object]:
    shown: dict[str, object] = {f"{name.removesuffix('_uj')}_joules": _joules(body[name], rounded) for name in _PARTS}
    bounds = {f"energy_{name.removesuffix('_uj')}_joules": body[name] for name in _RANGE}
    return {
        "energy_joules": _joules(it_uj(body), rounded),
        **{name: None if rounded else _joules(value, False) for name, value in bounds.items()},
        **shown,
        "idle_joules": None,
        "overhead_joules": None,
        "alone_joules": None,
        "facility_joules": _joules(body["facility_uj"], rounded),
        "tier": body["tier"] or "unknown",
    }


def _devices(body: Mapping[str, Any], rounded: bool) -> list[dict[str, object]] | None:
    """What each device took and the evidence for it; they sum to the request. None where they are not told apart."""
    parts = body.get("devices")
    if parts is None and not body.get("spans"):
        parts = [{"device": body["device"] or CPU, "tier": body["tier"], **{name: body[name] for name in _PARTS}}]
    # A later line that changed the energy leaves the parts of before behind: they are not this figure's.
    if parts is None or it_uj(body) != _sum_of(parts):
        return None
    return [
        {
            "device": part["device"],
            "energy_joules": _joules(it_uj(part), rounded),
            **{f"{name.removesuffix('_uj')}_joules": _joules(part[name], rounded) for name in _PARTS},
            "tier": part["tier"] or "unknown",
        }
        for part in parts
    ]


def _sum_of(parts: Sequence[Mapping[str, Any]]) -> int | None:
    """IT energy [uJ] of all parts; None where one is unknown."""
    known = [energy_uj for part in parts if (energy_uj := it_uj(part)) is not None]
    return sum(known) if len(known) == len(parts) else None


def _carbon(body: Mapping[str, Any], rounded: bool) -> dict[str, object]:
    return {
        "loc_lifecycle_gco2e": _grams(body["loc_lifecycle_ng"], rounded),
        "loc_direct_gco2e": _grams(body["loc_direct_ng"], rounded),
        "market_gco2e": None,
        "embodied_gco2e": None,
    }


def _factors(body: Mapping[str, Any]) -> list[dict[str, object]]:
    factors: list[dict[str, object]] = []
    lines = (body, *body.get(LATER, ()))
    for reading in (one[name] for one in lines for name in ("ci", OTHER_CI) if one.get(name) is not None):
        factors.append(
            {
                "factor": "grid intensity",
                **{name: reading[name] for name in ("zone", "provider", "origin", "basis", "kind")},
                "gco2e_per_kwh": decimal_g_per_kwh(reading["mg_per_kwh"]),
                "start": iso(reading["start_us"]),
                "end": iso(reading["end_us"]),
            }
        )
    if body["pue_milli"] is not None:
        factors.append({"factor": "PUE", "region": body["region"], "pue": f"{Decimal(body['pue_milli']).scaleb(-3):f}"})
    return factors


def _slots(body: Mapping[str, Any], rounded: bool) -> list[dict[str, object]]:
    """The grid slots of a run that crosses their edges, each with its energy and emissions; none for other runs."""
    energy_uj = it_uj(body)
    if LATER not in body or energy_uj is None:
        return []
    shown: list[dict[str, object]] = []
    for place, piece in enumerate(pieces_of(body, body, energy_uj)):
        _, direct_ng, lifecycle_ng = site_figures([piece], body["pue_milli"])
        known = piece.ci or {}
        shown.append(
            {
                "start": iso(body[LATER][place - 1]["from_us"]) if place else None,
                **{name: known.get(name) for name in ("zone", "provider", "origin", "basis")},
                "gco2e_per_kwh": decimal_g_per_kwh(known["mg_per_kwh"]) if known else None,
                "energy_joules": _joules(piece.energy_uj, rounded),
                "loc_lifecycle_gco2e": _grams(lifecycle_ng, rounded),
                "loc_direct_gco2e": _grams(direct_ng, rounded),
            }
        )
    return shown


def _power_models(body: Mapping[str, Any]) -> list[dict[str, object]]:
    """The models of boards that the request's energy rests on: of its first estimate, and of what was settled."""
    first = [
        {
            "state": PROVISIONAL,
            "device": one["device"] or one["name"],
            "version": one["version"],
            "sha256": one["sha256"],
            "tier": one["tier"],
            "reason": AVERAGES.get(one["reason"]),
        }
        for one in body.get(ESTIMATES, ())
    ]
    return first + [
        {
            "state": "settled",
            "device": part["device"],
            "version": part.get("theta_version"),
            "sha256": part["theta"],
            "tier": part["tier"],
            "reason": None,
        }
        for part in body.get("devices", ())
        if part.get("theta") is not None
    ]


def _reasons(body: Mapping[str, Any]) -> dict[str, str]:
    reasons = dict(REASONS)
    if body["active_uj"] is None:
        reasons["energy_joules"] = _UNMETERED
    if _devices(body, False) is None:
        reasons["devices"] = _ESTIMATED_AS_ONE if body["state"] == PROVISIONAL else _NOT_APART
    basis = None if body["ci"] is None else body["ci"]["basis"]
    for column in ("lifecycle", "direct"):
        if body[f"loc_{column}_ng"] is None:
            known = "no source knew the grid's intensity" if basis is None else f"the source's basis is {basis}"
            reasons[f"loc_{column}_gco2e"] = _UNMETERED if body["active_uj"] is None else known
    return reasons


def _step(line: Line, rounded: bool) -> dict[str, object]:
    body = line.body
    is_rounded = rounded and body["state"] == PROVISIONAL
    return {
        "index": line.index,
        "attempt": body["attempt"],
        "revision": body["revision"],
        "state": body["state"],
        "energy_joules": _joules(it_uj(body), is_rounded),
        "tier": body["tier"] or "unknown",
        "loc_lifecycle_gco2e": _grams(body["loc_lifecycle_ng"], is_rounded),
    }


def _joules(value_uj: int | None, rounded: bool) -> str | None:
    if value_uj is None:
        return None
    return decimal_joules(two_digits(value_uj) if rounded else value_uj)


def _grams(value_ng: int | None, rounded: bool) -> str | None:
    if value_ng is None:
        return None
    return decimal_grams(two_digits(value_ng) if rounded else value_ng)
