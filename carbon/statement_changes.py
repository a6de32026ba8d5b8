"""What a statement says of changes behind its figures: restatements, and requests of months that were closed. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from itertools import groupby
from typing import Any

from greenserve.carbon.budgets import iso
from greenserve.carbon.entries import BOOKED, US_PER_HOUR, it_uj
from greenserve.carbon.folded import Scope
from greenserve.carbon.late import month_ended, month_text
from greenserve.carbon.rescaling import METER
from greenserve.carbon.restating import figures_of
from greenserve.carbon.tally import decimal_g_per_kwh
from greenserve.units import decimal_grams, decimal_joules

Body = Mapping[str, Any]


class Late:
    """Requests that ended in closed months and count here. State: their sums by month, changed by `add` alone."""

    def __init__(self) -> None:
        self._months: dict[int, list[Body]] = {}

    def add(self, body: Body) -> None:
        """Take a request; one that is not late is left out."""
        if BOOKED in body:
            self._months.setdefault(month_ended(body), []).append(body)

    def members(self) -> list[dict[str, object]]:
        """One line per month in which they ended; unknown is null, and says how many joules it does not cover."""
        return [
            {
                "ended_in": month_text(month),
                "requests": len(bodies),
                "unmetered_requests": sum(it_uj(body) is None for body in bodies),
                "energy_joules": _joules(_sum(it_uj(body) for body in bodies)),
                **_shown(figures_of(bodies)),
            }
            for month, bodies in sorted(self._months.items())
        ]


class Changes:
    """State: restatements of the statement's own rows in order of index, and its late requests."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self._restated: list[tuple[int, Body, Sequence[tuple[int, Body]]]] = []
        self.late = Late()

    def restated(self, idx: int, body: Body, causes: Mapping[int, Body]) -> None:
        """Take a `restated` entry with what its causes name; one of other tenants or hours is left out."""
        start_us = body["hour"] * US_PER_HOUR
        inside = start_us < self._scope.end_us and start_us + US_PER_HOUR > self._scope.start_us
        if self._scope.covers(body["tenant"]) and inside:
            self._restated.append((idx, body, [(at, causes[at]) for at in body["causes"]]))

    def members(self) -> dict[str, object]:
        """`restatements` and `late_requests`, each only where there are any."""
        runs = [list(run) for _, run in groupby(self._restated, key=lambda one: (one[1]["at_us"], one[1]["reason"]))]
        late = self.late.members()
        found: dict[str, object] = {"restatements": [_run(run) for run in runs]} if runs else {}
        return found | ({"late_requests": late} if late else {})


def _run(run: Sequence[tuple[int, Body, Sequence[tuple[int, Body]]]]) -> dict[str, object]:
    """One run of `greenserve ledger restate`: when, why, which entries, what it changed, and by which revisions."""
    bodies = [body for _, body, _ in run]
    causes = {at: cause for _, _, named in run for at, cause in named}
    # Rows whose energy stays do not tell it.
    names = {name for body in bodies for name in body["old"]}
    sums = [{name: _sum(body[when].get(name) for body in bodies) for name in names} for when in ("old", "new")]
    return {
        "at": iso(bodies[0]["at_us"]),
        "reason": bodies[0]["reason"],
        "after_close": any(body["closed"] for body in bodies),
        "entries": len(run),
        "first_index": run[0][0],
        "last_index": run[-1][0],
        "requests": sum(body["lines"] for body in bodies),
        "old": _shown(sums[0]),
        "new": _shown(sums[1]),
        "factors": [{"index": at, **_factor(cause)} for at, cause in sorted(causes.items())],
    }


def _factor(cause: Body) -> dict[str, object]:
    if cause["kind"] != "intensity" and cause["factor"] == METER:
        shown = {
            "factor": "energy",
            "reason_code": cause["code"],
            "scale": f"{Decimal(cause['scale_ppm']).scaleb(-6):f}",
        }
        concerned = {name: cause[name] for name in ("device", "model", "variant", "tier", "source")}
        return {**shown, **concerned, **_time(cause), "revision": cause["revision"]}
    if cause["kind"] != "intensity":
        shown = {"factor": "PUE", "region": cause["region"], "pue": decimal_g_per_kwh(cause["pue_milli"])}
        return {**shown, "source": cause["source"], **_time(cause), "revision": cause["revision"]}
    reading = cause["reading"]
    shown = {"factor": "grid intensity", **{name: reading[name] for name in ("zone", "provider", "origin", "basis")}}
    value = decimal_g_per_kwh(reading["mg_per_kwh"])
    return {**shown, "gco2e_per_kwh": value, **_time(reading), "revision": reading["revision"]}


def _time(body: Body) -> dict[str, str]:
    return {"start": iso(body["start_us"]), "end": iso(body["end_us"])}


def _shown(figures: Mapping[str, int | None]) -> dict[str, str | None]:
    """Decimal strings, the unit in the name."""
    shown: dict[str, str | None] = {}
    for name, value in sorted(figures.items()):
        stem, _, unit = name.rpartition("_")
        if unit == "ng":
            shown[f"{stem}_gco2e"] = None if value is None else decimal_grams(value)
        else:
            shown[f"{stem}_joules"] = _joules(value)
    return shown


def _joules(value_uj: int | None) -> str | None:
    return None if value_uj is None else decimal_joules(value_uj)


def _sum(values: Iterable[int | None]) -> int | None:
    """The sum of those that are known; None where none is."""
    known = [value for value in values if value is not None]
    return sum(known) if known else None
