"""Requests whose lines are as they should be: checked one by one, added up with those that are alike. Pure.

The audit's short way. It takes a line only where every check of the long way (`Audit.see`) passes, and then adds what
the long way would; whatever is unusual it leaves to the long way, which says what is wrong, if anything is.
"""

from collections.abc import Container, Mapping, Sequence
from operator import attrgetter
from typing import Any, NamedTuple

import msgspec
import orjson

from greenserve.carbon.buckets import bucket_of
from greenserve.carbon.cuts import whole_figures
from greenserve.carbon.entries import UNMETERED, US_PER_HOUR
from greenserve.carbon.hours import SettledLines
from greenserve.carbon.ledger.alike import Alike, place_of, spent_by, tally_of
from greenserve.carbon.ledger.forms import FirstLine, SettledLine, body_of, first_line, settled_line
from greenserve.carbon.ledger.rollup import Rollups, rollup_key
from greenserve.carbon.ledger.row import KEY_BYTES, canonical_body, month_of, uuid_text
from greenserve.carbon.ledger.spend import Places
from greenserve.carbon.tally import Tally
from greenserve.carbon.windows import US_PER_QUARTER
from greenserve.errors import LedgerUnavailable

MOST_KINDS, MOST_READINGS = 4_096, 4_096
"""How many kinds of alike requests wait to be added to the sums, and how many grid readings are remembered."""
_MS_PER_HOUR = US_PER_HOUR // 1_000
Values = Sequence[Any]
"""A row's columns, in the order of `Row`."""
Request = tuple[bytes, int]
_in_common = attrgetter(
    "tenant", "key_id", "model", "variant", "region", "org", "project", "outcome", "cache", "reason", "code",
    "pue_milli", "emulated",
)  # fmt: skip


class _Reading(NamedTuple):
    """A grid reading as bytes and decoded; null is None in both."""

    data: bytes | None
    members: Mapping[str, Any] | None


_NO_READING = _Reading(None, None)


class _First(NamedTuple):
    """A first line that waits for its settled one. `other` is UNSET where the line does not have the member."""

    idx: int
    period: int
    hour: int
    line: FirstLine
    ci: _Reading
    other: _Reading | None


class Pairs:
    """Takes usage rows in order. State: first lines that are open, the sums of settled requests that are not yet in
    the hourly ones, and the energy settled since it was last asked for."""

    def __init__(self, elsewhere: Container[Request]) -> None:
        """`elsewhere` are the requests that are open on the long way."""
        self._elsewhere = elsewhere
        self._open: dict[Request, _First] = {}
        self._kinds: dict[object, Alike] = {}
        self._readings: dict[bytes, _Reading | None] = {b"null": _NO_READING}
        self._settled: SettledLines | None = None

    def __repr__(self) -> str:
        return f"<Pairs: {len(self._open)} open>"

    def take(self, row: Values) -> bool:
        """Whether this usage row is as it should be, and is counted."""
        if row[8] is None or row[5] not in (0, 1):
            return False
        return self._take_settled(row) if row[5] else self._take_first(row)

    def give_up(self, request: Request) -> tuple[int, Mapping[str, Any]] | None:
        """The index and body of an open request's first line, which is the long way's from now on; it is in no sum."""
        first = self._open.pop(request, None)
        return None if first is None else (first.idx, orjson.loads(body_of(first.line)))

    def open_requests(self) -> list[Request]:
        """Whose first lines wait for their settled ones."""
        return list(self._open)

    def take_settled(self) -> SettledLines | None:
        """The sums of what was settled since this was last asked; None for nothing."""
        settled, self._settled = self._settled, None
        return settled

    def needs_room(self) -> bool:
        """Whether so much waits to be added to the sums that it should be."""
        return len(self._kinds) > MOST_KINDS

    def add_up(self, rollups: Rollups, places: Places) -> None:
        """Add what was settled to the hourly sums and to those that budgets are read from."""
        for alike in self._kinds.values():
            first = alike.first
            key = rollup_key(first, first["ended_us"] // US_PER_HOUR)
            rollups.setdefault(key, Tally()).merge(tally_of(alike))
            sums = places.setdefault(place_of(alike), [0, 0, 0, 0, 0])
            for at, value in enumerate(spent_by(alike)):
                sums[at] += value
        self._kinds.clear()

    def finish(self, rollups: Rollups, places: Places) -> None:
        """As `add_up`, with the requests that were never settled."""
        for first in self._open.values():
            self._count(first, first.line)
            if self.needs_room():
                self.add_up(rollups, places)
        self._open.clear()
        self.add_up(rollups, places)

    def _take_first(self, row: Values) -> bool:
        idx, period, _, key, attempt, _, tenant, hour, body = row
        line, request = first_line(body), (key, attempt)
        if line is None or not line.charged or request in self._open or request in self._elsewhere:
            return False
        if len(key) != KEY_BYTES or key[6] >> 4 != 7 or line.request_id != uuid_text(key):
            return False
        if period != month_of(int.from_bytes(key[:6]) // _MS_PER_HOUR):
            return False
        if (line.attempt, line.tenant, line.ended_us // US_PER_HOUR) != (attempt, tenant, hour):
            return False
        ci = self._reading(line.ci)
        other = _NO_READING if line.ci_other is msgspec.UNSET else self._reading(line.ci_other)
        if ci is None or other is None or (ci.members is None and other.members is not None):
            return False
        first = _First(idx, period, hour, line, ci, None if line.ci_other is msgspec.UNSET else other)
        if not _figures_hold(first, line):
            return False
        self._open[request] = first
        return True

    def _take_settled(self, row: Values) -> bool:
        _, period, _, key, attempt, _, tenant, hour, body = row
        request = (key, attempt)
        first = self._open.get(request)
        if first is None or request in self._elsewhere:
            return False
        line = settled_line(body)
        if line is None or not line.charged or line.request_id != first.line.request_id:
            return False
        if (period, hour, tenant) != (first.period, first.hour, first.line.tenant):
            return False
        if (line.attempt, line.tenant, line.ended_us) != (attempt, tenant, first.line.ended_us):
            return False
        if line.first is not msgspec.UNSET and line.first is not None and line.first != first.idx:
            return False
        if not _figures_hold(first, line):
            return False
        del self._open[request]
        if UNMETERED not in line.flags:
            parts = (line.active_uj, line.held_uj, line.host_uj)
            settled = self._settled
            if settled is None:
                settled = self._settled = SettledLines(row[0])
            settled.add(tenant, hour, parts, first.line.held_ns or 0)
            settled.price(sum(parts), line.facility_uj, line.loc_direct_ng, line.loc_lifecycle_ng)
        self._count(first, line)
        return True

    def _reading(self, part: msgspec.Raw) -> _Reading | None:
        """A reading, None where it is not canonical or not whole."""
        data = bytes(part)
        if data not in self._readings:
            if len(self._readings) > MOST_READINGS:
                self._readings = {b"null": _NO_READING}
            self._readings[data] = _read(data)
        return self._readings[data]

    def _count(self, first: _First, line: FirstLine | SettledLine) -> None:
        own = first.line
        tokens, other = own.tokens_in, first.other
        kind = (
            _in_common(own), own.ended_us // US_PER_QUARTER, tokens and 1, first.ci.data, other and other.data,
            other is None, line.state, line.tier, line.flags, line.market_ng is None, line.embodied_ng is None,
        )  # fmt: skip
        alike = self._kinds.get(kind)
        if alike is None:
            alike = self._kinds[kind] = _alike(own, line)
        active_uj, held_uj, host_uj = line.active_uj, line.held_uj, line.host_uj
        alike.requests += 1
        alike.rows += own.rows
        alike.tokens += tokens or 0
        alike.active_uj += active_uj
        alike.held_uj += held_uj
        alike.host_uj += host_uj
        alike.low_uj += line.low_uj
        alike.high_uj += line.high_uj
        alike.facility_uj += line.facility_uj or 0
        alike.loc_lifecycle_ng += line.loc_lifecycle_ng or 0
        alike.loc_direct_ng += line.loc_direct_ng or 0
        alike.market_ng += line.market_ng or 0
        alike.embodied_ng += line.embodied_ng or 0
        bucket, histogram = bucket_of(active_uj + held_uj + host_uj), alike.histogram
        histogram[bucket] = histogram.get(bucket, 0) + 1


def _alike(first: FirstLine, newest: FirstLine | SettledLine) -> Alike:
    members = orjson.loads(body_of(first))
    return Alike(first=members, newest={**members, **orjson.loads(body_of(newest))})


def _read(data: bytes) -> _Reading | None:
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
    return _Reading(data, members)


def _figures_hold(first: _First, line: FirstLine | SettledLine) -> bool:
    """E9 and E11, by the first line's PUE and readings."""
    pue_milli = first.line.pue_milli
    if pue_milli is not None and pue_milli < 1_000:
        return False
    it_uj = line.active_uj + line.held_uj + line.host_uj
    other = None if first.other is None else first.other.members
    figures = whole_figures(first.ci.members, other, it_uj, pue_milli)
    return figures == (line.facility_uj, line.loc_direct_ng, line.loc_lifecycle_ng)
