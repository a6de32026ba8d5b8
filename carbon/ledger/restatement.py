"""Restating settled lines by revised readings and factors: what would change, and the entries that change it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from greenserve.carbon.entries import PLATFORM, US_PER_HOUR
from greenserve.carbon.late import LATE_PERIOD
from greenserve.carbon.ledger.book import SqlLedger, append_with, driver_of
from greenserve.carbon.ledger.driver import Driver
from greenserve.carbon.ledger.late_lines import closed_months
from greenserve.carbon.ledger.restated_lines import held_of
from greenserve.carbon.ledger.rollup import RollupKey
from greenserve.carbon.ledger.row import columns_of, month_of, prepare
from greenserve.carbon.ledger.rows import size_of
from greenserve.carbon.removed_keys import is_erased
from greenserve.carbon.restating import (
    bounds_of_cause,
    entered,
    figures_of_pairs,
    restated_entry,
    revised,
    same_cause,
)
from greenserve.errors import InvalidRequest
from greenserve.records import Entry

LONGEST_REASON = 200
Body = Mapping[str, Any]
Pairs = Sequence[tuple[Body, Body]]
_ROWS = "SELECT tenant, key_id, hour, model, variant, region, role, tally, provisional FROM rollup WHERE hour >= ?"
_NEWEST = (
    "SELECT idx, revision, body FROM entry WHERE period = ? AND kind = ? AND key = ? AND attempt = ? "
    "ORDER BY revision DESC LIMIT 1"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RestatedRow:
    """One row of the hourly sums: how many lines change, and their figures before and after (`figures_of`)."""

    row: RollupKey
    lines: int
    closed: bool
    old: Mapping[str, int | None]
    new: Mapping[str, int | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Restatement:
    """What a restatement writes: the entries in order of index, the rows they change, and how many requests of the
    same hours are not settled yet: they keep their reading until it is restated again."""

    entries: Sequence[Entry]
    rows: Sequence[RestatedRow]
    provisional: int

    def totals(self, name: str) -> tuple[int | None, int | None]:
        """A figure of all changed lines before and after [uJ or ng]; None where none of them has it. `energy_uj` is
        that of the rows whose IT energy changes."""
        old, new = ([one for one in values if one is not None] for values in self._columns(name))
        return sum(old) if old else None, sum(new) if new else None

    def _columns(self, name: str) -> tuple[list[int | None], list[int | None]]:
        return [row.old.get(name) for row in self.rows], [row.new.get(name) for row in self.rows]


def restate(
    ledger: SqlLedger, causes: Sequence[Body], *, reason: str, now_us: int, dry_run: bool = False
) -> Restatement:
    """Enter revised readings and factors (`restating.reading_body`, `pue_body`) and restate all settled lines that
    rest on what they replace, in one transaction; with `dry_run` only say what it would write.

    Written again it finds nothing left. InvalidRequest for a reason that is empty or too long, or no causes.
    """
    text = reason.strip()
    if not text or len(text) > LONGEST_REASON:
        raise InvalidRequest(f"reason: write 1 to {LONGEST_REASON} characters, statements print them; got {len(text)}")
    if not causes:
        raise InvalidRequest("nothing to restate by: give at least one revised reading or factor")
    if dry_run:
        with ledger.reading() as connection:
            return _planned(driver_of(connection), causes, reason=text, now_us=now_us)
    with ledger.writing() as connection:
        found = _planned(driver_of(connection), causes, reason=text, now_us=now_us)
        append_with(connection, [prepare(entry) for entry in found.entries])
    return found


def devices_of(ledger: SqlLedger, start_us: int, end_us: int) -> dict[str, str | None]:
    """The devices that were metered in [start_us, end_us) UTC, and how each is settled (None: by CPU time; `BY_SPANS`;
    the overhead's device by neither)."""
    hours = (PLATFORM, start_us // US_PER_HOUR, -(-end_us // US_PER_HOUR) + 1)
    statement = "SELECT body FROM entry WHERE tenant = ? AND hour >= ? AND hour < ? AND kind = "
    # Closed hours tell it in a thousandth of the rows; intervals are asked where none is closed.
    found = ledger.query(f"{statement} 'device_hour'", hours) or ledger.query(f"{statement} 'device_interval'", hours)
    bodies = [orjson.loads(bytes(data)) for (data,) in found]
    return {body["device"]: body.get("settled_by") for body in bodies}


def _planned(driver: Driver, causes: Sequence[Body], *, reason: str, now_us: int) -> Restatement:
    ordered = _each_once(causes)
    closed = closed_months(driver)
    places, provisional = _places(driver, ordered)
    numbers = _Causes(driver, reason=reason, now_us=now_us)
    entries, rows = [], []
    for tenant, hour in places:
        held = held_of(driver, tenant, hour, numbers.size)
        for row, lines in held.candidates():
            used = [cause for cause in ordered if any(revised(line, [cause]) is not None for line in lines)]
            if not used:
                continue
            named = [numbers.number(cause) for cause in used]
            pairs = _pairs(lines, [body for _, body in named])
            if not pairs:
                continue
            shut = month_of(hour) in closed
            entries.append((row, [idx for idx, _ in named], pairs, shut))
            old, new = figures_of_pairs(pairs)
            rows.append(RestatedRow(row=row, lines=len(pairs), closed=shut, old=old, new=new))
    written = [*numbers.new]
    for row, indexes, pairs, shut in entries:
        written.append(_restated(driver, row, indexes, pairs, at_us=now_us, reason=reason, closed=shut))
    return Restatement(entries=written, rows=rows, provisional=provisional)


class _Causes:
    """Numbers causes as they are used. State: those that are new, in order, and all by their place in the ledger."""

    def __init__(self, driver: Driver, *, reason: str, now_us: int) -> None:
        self._driver, self._reason, self._now_us = driver, reason, now_us
        self.size = size_of(driver)
        self.new: list[Entry] = []
        self._known: dict[int, tuple[int, Body]] = {}

    def number(self, cause: Body) -> tuple[int, Body]:
        """A cause's index and body: the newest entry of its slot where that says the same, else a new one."""
        if id(cause) not in self._known:
            self._known[id(cause)] = self._numbered(cause)
        return self._known[id(cause)]

    def _numbered(self, cause: Body) -> tuple[int, Body]:
        entry = entered(cause, revision=0, at_us=self._now_us, reason=self._reason)
        found = self._driver.all(_NEWEST, columns_of(entry)[:4])
        if found:
            idx, revision, data = found[0]
            body: Body = orjson.loads(bytes(data))
            if same_cause(body, cause):
                return idx, body
            entry = entered(cause, revision=revision + 1, at_us=self._now_us, reason=self._reason)
        self.new.append(entry)
        return self.size + len(self.new) - 1, entry.body


def _each_once(causes: Sequence[Body]) -> list[Body]:
    """In order of time; InvalidRequest where two say different things of one slot."""
    known: dict[tuple[str, str], Body] = {}
    for cause in causes:
        name = (cause["kind"], entered(cause, revision=0, at_us=0, reason="").key)
        if not same_cause(known.setdefault(name, cause), cause):
            shown = name[1].replace("\x1f", " ")
            raise InvalidRequest(f"two values at once for the {name[0]} {shown} (times in us UTC): keep one")
    return sorted(known.values(), key=lambda cause: (bounds_of_cause(cause), orjson.dumps(cause)))


def _places(driver: Driver, causes: Sequence[Body]) -> tuple[list[tuple[str, int]], int]:
    """Tenants and hours that may hold lines that ended in a cause's time; how many requests in them are provisional."""
    # A run that was cut at slots may have ended in the hour after its first piece's.
    spans = [(start // US_PER_HOUR, -(-end // US_PER_HOUR) + 1) for start, end in map(bounds_of_cause, causes)]
    places, provisional = set(), 0
    for *names, tally, waiting in driver.all(_ROWS, (min(first for first, _ in spans),)):
        row = RollupKey(*names)
        if is_erased(row.tenant):
            continue  # Its lines are gone, and its sums stay as they were.
        inside = any(first <= row.hour < end for first, end in spans)
        # Late requests lie in hours behind the one that they ended in.
        if inside or LATE_PERIOD.encode() in bytes(tally):
            places.add((row.tenant, row.hour))
            provisional += waiting
    return sorted(places, key=lambda place: (place[1], place[0])), provisional


def _pairs(lines: Iterable[Body], causes: Sequence[Body]) -> Pairs:
    return [(line, new) for line in lines if (new := revised(line, causes)) is not None]


def _restated(
    driver: Driver, row: RollupKey, causes: Sequence[int], pairs: Pairs, *, at_us: int, reason: str, closed: bool
) -> Entry:
    entry = restated_entry(row, causes, pairs, revision=0, at_us=at_us, reason=reason, closed=closed)
    found = driver.all(_NEWEST, columns_of(entry)[:4])
    if not found:
        return entry
    return restated_entry(row, causes, pairs, revision=found[0][1] + 1, at_us=at_us, reason=reason, closed=closed)
