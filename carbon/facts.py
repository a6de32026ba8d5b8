"""What a statement says of a request beside its sums: why it went where, at which PUE, by which grid readings.

One text per request, equal for requests that have all of it in common, so that an hour's sums hold few of them. A
statement reads the same facts from single entries and from the hours' sums.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple

import orjson

from greenserve.carbon.cuts import LATER
from greenserve.carbon.entries import OTHER_CI

READING = ("zone", "provider", "origin", "basis", "kind")
NO_REASON = "not recorded"
Factor = tuple[str, ...]


class Facts(NamedTuple):
    """Counts of requests by routing reason, by error code and by (region, PUE in 1/1000); watermarks with their
    reasons; min and max mg/kWh of each of READING."""

    reasons: Counter[str]
    codes: Counter[str]
    sites: Counter[tuple[str, int | None]]
    marks: dict[str, set[str]]
    factors: dict[Factor, tuple[int, int]]


def fact_of(body: Mapping[str, Any]) -> str:
    """The facts of a request by its first line, as JSON text; the later lines of a request change none of them."""
    readings = [
        [*(reading[name] for name in READING), reading["mg_per_kwh"]]
        for one in (body, *body.get(LATER, ()))
        for reading in (one["ci"], one.get(OTHER_CI))
        if reading is not None
    ]
    return orjson.dumps([body["reason"], body["code"], body["pue_milli"], body["emulated"], readings]).decode()


def facts_of(counted: Mapping[tuple[str, str], int]) -> Facts:
    """The facts of requests that are counted by (region, `fact_of`)."""
    found = Facts(Counter(), Counter(), Counter(), {}, {})
    for (region, fact), requests in counted.items():
        reason, code, pue_milli, emulated, readings = orjson.loads(fact)
        found.reasons[reason or NO_REASON] += requests
        if code is not None:
            found.codes[code] += requests
        found.sites[region, pue_milli] += requests
        if emulated:
            where = f"region {region or None} was executed on the gateway's own machine"
            found.marks.setdefault("emulated regions", set()).add(where)
        for *names, value in readings:
            _note(found, tuple(names), value)
    return found


def _note(found: Facts, factor: Factor, value: int) -> None:
    zone, provider, origin = factor[:3]
    low, high = found.factors.get(factor, (value, value))
    found.factors[factor] = (min(low, value), max(high, value))
    mark = None
    if "synthetic" in provider.lower():
        mark = "synthetic grid series"
    elif origin == "recorded":
        mark = "recorded grid series"
    if mark is not None:
        found.marks.setdefault(mark, set()).add(f"zone {zone} comes from {provider}")
