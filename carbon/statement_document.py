"""The members of a statement, in the order in which an auditor reads them, from sums that were folded elsewhere."""

from collections.abc import Mapping
from typing import Any

from greenserve.canonical import canonical_json, sha256_hex
from greenserve.carbon.budgets import iso
from greenserve.carbon.entries import METHOD
from greenserve.carbon.folded import EVERYBODY, Folded
from greenserve.carbon.scopes import scope_view
from greenserve.carbon.statement_factors import factor_lines
from greenserve.carbon.statement_words import (
    EXCLUDED,
    INCLUDED,
    LIMIT,
    METHOD_NOTES,
    NOT_EXCLUDED,
    OVERHEAD_COVERED,
    UNKNOWN_REASONS,
)
from greenserve.carbon.statement_words import SHARE_RULES as RULES
from greenserve.units import decimal_grams, decimal_joules

SCHEMA = "greenserve.statement/2"
BREAKDOWN = ("day", "model", "variant", "region")
OUTSIDE_ID = ("statement_id", "signature")
"""Members that the digest in the id does not cover: the id itself, and the signature over everything else."""
DEGRADED_REASON = "budget"


def document_of(folded: Folded) -> dict[str, Any]:
    """The canonical document, version 1, without a signature; a later version is made by `revision.revise`."""
    scope, total = folded.scope, folded.total
    document: dict[str, Any] = {
        "schema": SCHEMA,
        "version": 1,
        "replaces": None,
        "tenant": scope.tenant,
        "view": "operator" if scope.tenant == EVERYBODY else "tenant",
        "start": iso(scope.start_us),
        "end": iso(scope.end_us),
        "timezone": "UTC",
        "issuer": scope.issuer,
        "software": scope.software,
        "config_sha256": scope.config_sha256,
        "method": METHOD,
        "state": "provisional" if total.tally.provisional else "settled",
        "boundary": _boundary(folded),
        "watermarks": [{"mark": mark, "reasons": list(reasons)} for mark, reasons in sorted(folded.marks.items())],
        "totals": total.document(),
        "not_charged_requests": folded.uncharged,
        "unknown_reasons": _reasons(folded),
        "breakdown": [_line(key, line.document()) for key, line in sorted(folded.lines.items())],
        "tenants": [{"tenant": name} | line.document() for name, line in sorted(folded.tenants.items())],
        "lines": _energy_lines(folded),
        "shared": folded.shared.document(),
        "counterfactual": folded.counterfactual.document(),
        "reconciliation": folded.reconciliation.document(),
        "reconciliation_of_tenant": folded.reconciliation.bridge(
            total_uj=total.tally.energy_uj,
            provisional_uj=total.tally.provisional_uj,
            unreconciled_uj=total.tally.unreconciled_uj,
        ),
        "data_quality": _quality(folded),
        "scopes": scope_view(folded),
        "factors": factor_lines(folded),
        "budgets": _budgets(folded),
        "degradations": {
            "requests_by_routing_reason": dict(sorted(folded.reasons.items())),
            "degraded_requests": folded.reasons[DEGRADED_REASON],
            "requests_by_error_code": dict(sorted(folded.codes.items())),
            "refused_requests": None,
        },
        "corrections": [],
        "method_notes": list(METHOD_NOTES),
        "limit": LIMIT,
        "proof": {
            "size": scope.size,
            "chain": scope.chain,
            "first_index": folded.indexes[0],
            "last_index": folded.indexes[1],
            "verify": f"greenserve ledger verify --against {scope.size}:{scope.chain}",
        },
        "signature": None,
    }
    # Statements without them stay, byte for byte, what they were before there were any.
    return identified(document | dict(folded.changes))


def identified(document: Mapping[str, Any]) -> dict[str, Any]:
    """The document with its id: tenant, period, and the first 12 digits of the SHA-256 of its canonical JSON without
    id and signature. Equal ids are equal statements."""
    content = {name: value for name, value in document.items() if name not in OUTSIDE_ID}
    period = f"{document['start'][:13]}-{document['end'][:13]}".replace(":", "").replace("T", "h")
    name = document["tenant"].lstrip("_")
    return {**document, "statement_id": f"{name}-{period}-{sha256_hex(canonical_json(content))[:12]}"}


def _line(key: tuple[str, ...], figures: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value or None for name, value in zip(BREAKDOWN, key, strict=True)} | dict(figures)


def _boundary(folded: Folded) -> dict[str, object]:
    hardware = [] if folded.terms.hardware else [NOT_EXCLUDED["embodied"]]
    beyond = EXCLUDED if _overhead_uj(folded) is None else OVERHEAD_COVERED
    operator = folded.scope.tenant == EVERYBODY
    all_in_uj = folded.reconciliation.metered_uj if operator else folded.shared.all_in_uj(folded.total.tally.energy_uj)
    return {
        "included": list(INCLUDED),
        "excluded": [*([] if operator else [NOT_EXCLUDED["idle"]]), *hardware, *beyond],
        "active_only_joules": decimal_joules(folded.total.tally.energy_uj),
        "all_in_joules": None if all_in_uj is None else decimal_joules(all_in_uj),
    }


def _reasons(folded: Folded) -> dict[str, str]:
    """Why a figure is null; only those that can be null in this statement."""
    shared, operator = folded.shared, folded.scope.tenant == EVERYBODY
    given = {
        "market": folded.terms.market,
        "embodied": folded.terms.hardware,
        "counterfactual": folded.terms.baselines,
        "idle": operator or shared.hours,
        "load": shared.pool_uj("load_uj") is not None,
        "overhead": _overhead_uj(folded) is not None,
        "all": operator or shared.all_in_uj(0) is not None,
        "shared": shared.hours,
    }
    return {name: reason for name, reason in UNKNOWN_REASONS.items() if not given.get(name.partition("_")[0])}


def _energy_lines(folded: Folded) -> list[dict[str, object]]:
    """Where a tenant's joules come from, each line with the rule that shared it. The operator's idle and load
    lines are the whole node's, those of open hours too."""
    tally, operator = folded.total.tally, folded.scope.tenant == EVERYBODY
    known_it = tally.energy_uj - tally.facility_unknown_uj
    energies: dict[str, int | None] = {
        "active": tally.active_uj,
        "held": tally.held_uj,
        "host": tally.host_uj,
        "idle": folded.reconciliation.pool_uj("idle_uj") if operator else folded.shared.pool_uj("idle_uj"),
        "load": folded.reconciliation.pool_uj("load_uj") if operator else folded.shared.pool_uj("load_uj"),
        "overhead": _overhead_uj(folded),
        "facility": tally.facility_uj - known_it,
    }
    lines: list[dict[str, object]] = [
        {
            "line": name,
            "joules": None if uj is None else decimal_joules(uj),
            "in_totals": name in ("active", "held", "host", "facility"),
            "share_rule": RULES[name],
        }
        for name, uj in energies.items()
    ]
    ng = folded.total.known_embodied_ng()
    grams = None if ng is None else decimal_grams(ng)
    return [*lines, {"line": "embodied", "gco2e": grams, "in_totals": False, "share_rule": RULES["embodied"]}]


def _overhead_uj(folded: Folded) -> int | None:
    """What the node drew beyond its devices [uJ]: the tenant's shares of closed hours, the operator's of open ones
    too; None where nothing tells it."""
    whole = folded.scope.tenant == EVERYBODY
    return (folded.reconciliation if whole else folded.shared).pool_uj("overhead_uj")


def _quality(folded: Folded) -> dict[str, object]:
    tally = folded.total.tally
    sensors = folded.reconciliation.sensors
    return {
        "joules_by_tier": _joules(tally.by_tier),
        "joules_by_intensity_origin": _joules(tally.by_origin),
        "joules_by_fallback_level": _joules(tally.levels_uj) or None,
        "provisional_joules": decimal_joules(tally.provisional_uj),
        "unreconciled_joules": decimal_joules(tally.unreconciled_uj),
        "unmetered_requests": tally.unmetered,
        "requests_by_flag": dict(sorted(tally.flags.items())),
        "devices": [sensors[device].document(device) for device in sorted(sensors)],
    }


def _budgets(folded: Folded) -> list[dict[str, object]]:
    shown = ("unit", "per", "zone", "mode", "at_pct", "org", "project", "key_id", "model")
    return [
        {"budget": name, "of": body["tenant"], "limit": str(body["limit"]), "limit_unit": _UNITS[body["unit"]]}
        | {member: body[member] for member in shown if body.get(member) is not None}
        | {"removed": body["removed"], "changes_in_period": folded.budget_changes[name]}
        for name, body in sorted(folded.budgets.items())
    ]


_UNITS = {"gCO2e": "ng CO2e", "J": "uJ", "requests": "requests", "tokens": "tokens"}


def _joules(counted: Mapping[str, int]) -> dict[str, str]:
    return {name: decimal_joules(uj) for name, uj in sorted(counted.items())}
