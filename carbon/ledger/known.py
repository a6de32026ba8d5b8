"""First lines as the short way takes them: their form, their grid readings, and what they have in common. Pure."""

from operator import attrgetter

import msgspec
import orjson

from greenserve.carbon.closed import Settled
from greenserve.carbon.emissions import site_and_emissions
from greenserve.carbon.entries import METHOD, SHORT_VERSION, US_PER_HOUR
from greenserve.carbon.ledger.forms import (
    FirstLine,
    GridReading,
    Known,
    Part,
    SettledLine,
    body_of,
    first_line,
    settled_line,
)
from greenserve.carbon.ledger.row import Prepared, canonical_body, check_form, prepare_bytes, usage_key
from greenserve.carbon.windows import US_PER_QUARTER
from greenserve.errors import LedgerUnavailable
from greenserve.units import MILLI

_stored = attrgetter("facility_uj", "loc_direct_ng", "loc_lifecycle_ng")
MOST_READINGS = 4_096
"""How many grid readings, and how many kinds of requests, are remembered."""
_NO_READING = GridReading(None, None, None, None)
_in_common = attrgetter(
    "tenant", "key_id", "model", "variant", "region", "org", "project", "outcome", "cache", "reason", "code",
    "pue_milli", "emulated",
)  # fmt: skip


class Readings:
    """Grid readings by their bytes, each looked at once. State: those seen, and what requests had in common."""

    def __init__(self) -> None:
        self._seen: dict[bytes, GridReading | None] = {b"null": _NO_READING}
        self._kinds: dict[object, object] = {}

    def __repr__(self) -> str:
        return f"<Readings: {len(self._seen)}>"

    def known(self, line: FirstLine) -> Known | None:
        """A first line with its readings; None for one that is not charged, or whose readings are not canonical or not
        whole: those go the general way."""
        ci = self._reading(line.ci)
        absent = line.ci_other is msgspec.UNSET
        other = _NO_READING if line.ci_other is msgspec.UNSET else self._reading(line.ci_other)
        if not line.charged or ci is None or other is None or (ci.members is None and other.members is not None):
            return None
        tokens = line.tokens_in
        quarter = line.ended_us // US_PER_QUARTER
        common = (_in_common(line), quarter, tokens and 1, ci.data, other.data, absent)
        kind = self._kinds.get(common)
        if kind is None:
            if len(self._kinds) > MOST_READINGS:
                self._kinds.clear()
            kind = self._kinds[common] = object()
        return Known(line, ci, other.mg_per_kwh, kind)

    def prepare(self, data: bytes) -> Prepared:
        """As `row.prepare_bytes`: the row of a serialised body, in a quarter of the time where it is a first line."""
        line = first_line(data)
        known = None if line is None else self.known(line)
        if line is None or known is None:
            return prepare_bytes(data)
        key, period = usage_key(line.request_id)
        hour = line.ended_us // US_PER_HOUR
        return Prepared(period, "usage", key, line.attempt, 0, line.tenant, hour, data, None, known)

    def _reading(self, part: Part) -> GridReading | None:
        data = bytes(part)
        if data not in self._seen:
            if len(self._seen) > MOST_READINGS:
                self._seen = {b"null": _NO_READING}
            self._seen[data] = _read(data)
        return self._seen[data]


def figures_of(first: Known, it_uj: int) -> tuple[int | None, int | None, int | None]:
    """Site energy [uJ], direct and lifecycle emissions [ng] of a request's IT energy [uJ] (E9, E11), by the PUE and the
    readings of its first line."""
    pue_milli, ci = first.line.pue_milli, first.ci
    if pue_milli is None:
        return None, None, None
    site_uj, own_ng, other_ng = site_and_emissions(it_uj, pue_milli, ci.mg_per_kwh, first.other_mg)
    return (site_uj, own_ng, other_ng) if ci.is_direct else (site_uj, other_ng, own_ng)


def figures_hold(first: Known, line: FirstLine | SettledLine) -> bool:
    """Whether a line's site energy and emissions are `figures_of` its energy."""
    pue_milli = first.line.pue_milli
    if pue_milli is not None and pue_milli < MILLI:
        return False
    return _stored(line) == figures_of(first, line.active_uj + line.held_uj + line.host_uj)


def settled_form(first: Known, idx: int, settled: Settled, bounds_uj: tuple[int, int]) -> tuple[SettledLine, bytes]:
    """The settled line of a request that ran on the CPU alone, in its form and as bytes: what `entries.settled_body`
    tells of the first line at `idx`, of its energy and of the bounds [uJ] of that.

    LedgerUnavailable for an energy or emissions that the ledger cannot hold.
    """
    line = first.line
    facility_uj, direct_ng, lifecycle_ng = figures_of(first, settled.active_uj + settled.held_uj + settled.host_uj)
    form = SettledLine(
        active_uj=settled.active_uj,
        attempt=line.attempt,
        charged=line.charged,
        embodied_ng=line.embodied_ng,
        ended_us=line.ended_us,
        facility_uj=facility_uj,
        first=idx,
        flags=(*line.flags, *settled.flags),
        held_uj=settled.held_uj,
        high_uj=bounds_uj[1],
        host_uj=settled.host_uj,
        kind="usage",
        loc_direct_ng=direct_ng,
        loc_lifecycle_ng=lifecycle_ng,
        low_uj=bounds_uj[0],
        market_ng=line.market_ng,
        method=METHOD,
        request_id=line.request_id,
        revision=1,
        state="settled",
        tenant=line.tenant,
        tier=settled.tier,
        v=SHORT_VERSION,
    )
    data = body_of(form)
    if settled_line(data) is None:
        check_form(orjson.loads(data), line.request_id)
        raise LedgerUnavailable(f"the settled line of {line.request_id} has a part below 0: {data.decode()}")
    return form, data


def _read(data: bytes) -> GridReading | None:
    try:
        members = orjson.loads(data)
        if type(members) is not dict or canonical_body(members, "a reading") != data:
            return None
        # What sums and facts are made of, in the types that they rest on.
        words = (members["zone"], members["provider"], members["origin"], members["basis"], members["kind"])
        if not all(type(word) is str for word in words) or type(members["mg_per_kwh"]) is not int:
            return None
        if members["mg_per_kwh"] < 0 or not {"scope", "start_us", "end_us"} <= members.keys():
            return None
    except (orjson.JSONDecodeError, KeyError, LedgerUnavailable):
        return None
    return GridReading(data, members, members["mg_per_kwh"], members["basis"] == "direct")
