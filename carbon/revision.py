"""Later versions of a statement: what they replace, and every figure that changed, with the reason."""

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

from greenserve.carbon.statement_document import BREAKDOWN, OUTSIDE_ID, identified

CORRECTED = (
    "requests",
    "active_joules",
    "held_joules",
    "host_joules",
    "energy_joules",
    "facility_joules",
    "loc_direct_gco2e",
    "loc_lifecycle_gco2e",
    "market_gco2e",
    "embodied_gco2e",
)
_OWN = (*OUTSIDE_ID, "version", "replaces", "corrections", "proof", "software", "config_sha256")


def revise(document: Mapping[str, Any], before: Mapping[str, Any] | None) -> dict[str, Any]:
    """The document as the version after `before`; `before` itself where nothing but the version would differ.

    `before` is the newest statement of the same tenant and period, None where there is none.
    """
    if before is None:
        return dict(document)
    if _content(document) == _content(before):
        return dict(before)
    revised = dict(document) | {
        "version": before["version"] + 1,
        "replaces": before["statement_id"],
        "corrections": list(corrections(before, document)),
    }
    return identified(revised)


def corrections(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """A line for every figure of the breakdown that differs: old, new, difference; a line that is new was 0 before.

    A figure that was or is unknown has no difference. Statements of another schema have no lines to compare: only the
    totals are.
    """
    reason = _reason(before, after)
    old, new = _lines(before), _lines(after)
    for key in sorted(old.keys() | new.keys()):
        for figure in CORRECTED:
            was = _figure(old, key, figure) if key in old else "0"
            now = _figure(new, key, figure) if key in new else "0"
            appeared = key not in old or key not in new
            if was != now and not (appeared and None in (was, now)):
                difference = None if was is None or now is None else f"{Decimal(now) - Decimal(was):f}"
                place = {name: value or None for name, value in zip(BREAKDOWN, key, strict=True)}
                yield place | {"figure": figure, "old": was, "new": now, "difference": difference, "reason": reason}


def _lines(document: Mapping[str, Any]) -> dict[tuple[str, ...], Mapping[str, Any]]:
    return {tuple(line[name] or "" for name in BREAKDOWN): line for line in document["breakdown"]}


def _figure(lines: Mapping[tuple[str, ...], Mapping[str, Any]], key: tuple[str, ...], figure: str) -> str | None:
    value = lines[key].get(figure)
    return None if value is None else str(value)


def _reason(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    reasons = []
    if before["method"] != after["method"]:
        reasons.append(f"method {after['method']} replaced {before['method']}")
    if before.get("config_sha256") != after.get("config_sha256"):
        reasons.append("the configuration changed")
    known = [told["first_index"] for told in before.get("restatements", ())]
    told = [one for one in after.get("restatements", ()) if one["first_index"] not in known]
    reasons += [f"restated by entries {one['first_index']} to {one['last_index']}: {one['reason']}" for one in told]
    if before["proof"]["size"] != after["proof"]["size"] and not (told and _same_requests(before, after, told)):
        reasons.append(
            f"the ledger went on from {before['proof']['size']} to {after['proof']['size']} entries: requests arrived "
            "or were settled"
        )
    return "; ".join(reasons) or f"made by {after['software']} instead of {before['software']}"


def _same_requests(before: Mapping[str, Any], after: Mapping[str, Any], told: Sequence[Mapping[str, Any]]) -> bool:
    """Whether nothing but what was restated differs, as far as the totals tell."""
    names = ["requests", "provisional_requests", "unmetered_requests"]
    if not any("energy_joules" in one["new"] for one in told):
        names.append("energy_joules")
    return all(before["totals"].get(name) == after["totals"].get(name) for name in names)


def _content(document: Mapping[str, Any]) -> dict[str, Any]:
    """The figures and their factors. A ledger that went on elsewhere, another release or an unrelated setting make no
    new version: the old statement stays as good as it was."""
    return {name: value for name, value in document.items() if name not in _OWN}
