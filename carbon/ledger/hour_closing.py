"""The writer's closing of hours: it folds what was written, and gives the entries of each hour that is due."""

import hashlib
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

import orjson

from greenserve.carbon.entries import PLATFORM, RESERVATION, UNMETERED, US_PER_HOUR, hour_key
from greenserve.carbon.hour_entries import hour_entries
from greenserve.carbon.hours import HourName, Hours, SettledLines, parts_of
from greenserve.carbon.ledger.book import SqlLedger, driver_of
from greenserve.carbon.ledger.driver import Driver
from greenserve.carbon.ledger.forms import Known, SettledLine
from greenserve.carbon.ledger.reserving import newest_reservations
from greenserve.carbon.ledger.row import KEY_BYTES, Row, month_of
from greenserve.carbon.ledger.rows import Placed
from greenserve.records import Entry

ROWS_PER_STEP = 5_000
"""How many rows one call reads while it catches up: about 0.1 s."""
_NEWEST = "SELECT body FROM entry WHERE tenant = ? AND kind = 'device_hour' ORDER BY hour DESC, idx DESC LIMIT 1"
_FIRST = "SELECT body FROM entry WHERE idx = ?"
_FIRST_OF = "SELECT body FROM entry WHERE period = ? AND kind = 'usage' AND key = ? AND attempt = ? AND revision = 0"
_BY_KEY = "SELECT body FROM entry WHERE period = ? AND kind = ? AND key = ? AND attempt = 0 ORDER BY revision"


class HourCloser:
    """Closes hours for the one writer of a ledger. All of its state is derived from the ledger, so a writer that died
    between an hour's end and its entries is continued by the next one, and an hour is closed once.

    State: the open hours up to the row before `_next`; while it is `_behind`, it reads rows itself instead of taking
    what was written; bodies of first lines that it has read; what is known of closed hours.
    """

    def __init__(self, ledger: SqlLedger) -> None:
        self._ledger = ledger
        self._hours = Hours()
        self._behind = True
        self._firsts: dict[tuple[bytes, int], bytes] = {}
        self._closed: dict[HourName, tuple[int, int]] = {}
        newest = ledger.query(_NEWEST, (PLATFORM,))
        self._next: int = orjson.loads(bytes(newest[0][0]))["resume_index"] if newest else 0
        if (reserved := newest_reservations(ledger, before=self._next)) is not None:
            self._hours.reserve(reserved)

    def __repr__(self) -> str:
        return f"<HourCloser at {self._next}{', behind' if self._behind else ''}: {self._hours!r}>"

    @property
    def is_behind(self) -> bool:
        """Whether it has rows to read before it can close anything."""
        return self._behind

    def took(self, placed: Sequence[Placed], firsts: Sequence[Placed | None]) -> None:
        """Take rows that the writer has written, with the first lines of those that settle one. Where not all of them
        were new, or it is behind, it reads them from the ledger instead."""
        if self._behind:
            return
        if len(placed) != len(firsts):
            self.fall_behind()
        if self._behind or not placed:
            return
        known: dict[tuple[str, int], tuple[int, list[tuple[int | None, ...]]]] = {}
        for (index, line), first in zip(placed, firsts, strict=True):
            if line.kind == "device_interval":
                self._take_lines(known)
                self._close(index, line.decoded)
            elif line.kind == RESERVATION:
                self._hours.reserve(line.decoded)
            elif first is not None and isinstance(line.form, SettledLine) and isinstance(first.line.form, Known):
                if UNMETERED not in line.form.flags:
                    busy_ns = first.line.form.line.held_ns or 0
                    parts = known.setdefault((line.tenant, line.hour), (index, []))[1]
                    parts.append((*parts_of(line.form), busy_ns))
            elif first is not None and line.revision:
                self._hours.settle(index, line.decoded, first.line.decoded)
        self._take_lines(known)
        self._next = placed[-1].idx + 1

    def _take_lines(self, known: dict[tuple[str, int], tuple[int, list[tuple[int | None, ...]]]]) -> None:
        for (tenant, hour), (first_index, parts) in known.items():
            settled = SettledLines(first_index)
            settled.take_all(tenant, hour, parts)
            self._hours.take_lines(settled)
        known.clear()

    def fall_behind(self) -> None:
        """Rows were written that it is not given: it reads on from where it is."""
        self._behind = True

    def due(self, now_us: int) -> list[Entry]:
        """The entries of all hours that close by now [us UTC], to be written in one transaction before anything else
        that the writer settles; none while it is behind, it then reads on. LedgerUnavailable where it cannot read."""
        if self._behind:
            self._read_on()
        if self._behind:
            return []
        due = self._hours.due(now_us)
        taken = [(name, self._hours.take(name, now_us)) for name in due]
        resume_index = self._hours.resume_index(self._next)
        entries: list[Entry] = []
        for name, closing in taken:
            assert closing is not None
            _, revisions = self._known(name)
            entries += hour_entries(closing, revision=revisions, at_us=now_us, resume_index=resume_index)
            self._closed[name] = (closing.last_index, revisions + 1)
        return entries

    def _read_on(self) -> None:
        count = 0
        for row in islice(self._ledger.rows(after=self._next - 1), ROWS_PER_STEP):
            self._see(row)
            self._next = row.idx + 1
            count += 1
        if count < ROWS_PER_STEP:
            self._behind = False
            self._firsts.clear()

    def _see(self, row: Row) -> None:
        if row.kind == "device_interval" and row.body is not None:
            self._close(row.idx, orjson.loads(row.body))
        elif row.kind == RESERVATION and row.body is not None:
            self._hours.reserve(orjson.loads(row.body))
        elif row.kind == "usage" and row.body is None:
            self._hours.lose()
        elif row.kind == "usage" and row.body is not None:
            if row.revision == 0:
                self._firsts[row.key, row.attempt] = row.body
            elif row.revision == 1:
                first = self._firsts.pop((row.key, row.attempt), None)
                body = orjson.loads(row.body)
                self._hours.settle(row.idx, body, orjson.loads(first) if first else self._first_of(row, body))

    def _close(self, index: int, body: Mapping[str, Any]) -> None:
        name = (body["device"], body["at_us"] // US_PER_HOUR)
        self._hours.close(index, body, known=index <= self._known(name)[0])

    def _known(self, name: HourName) -> tuple[int, int]:
        """The index of the last interval that a closed hour holds (-1: it is not closed), and how often it was."""
        if name not in self._closed:
            with self._ledger.reading() as connection:
                bodies = closings_of(driver_of(connection), name)
            self._closed[name] = (max((one["last_index"] for one in bodies), default=-1), len(bodies))
        return self._closed[name]

    def _first_of(self, row: Row, body: Mapping[str, Any]) -> Mapping[str, Any]:
        told = body.get("first")
        if told is not None:
            found = self._ledger.query(_FIRST, (told,))
        else:
            found = self._ledger.query(_FIRST_OF, (row.period, row.key, row.attempt))
        first: Mapping[str, Any] = orjson.loads(bytes(found[0][0]))
        return first


def closings_of(driver: Driver, name: HourName) -> list[Mapping[str, Any]]:
    """The `device_hour` bodies of a device's hour, in order of revision."""
    return _by_key(driver, "device_hour", hour_key(*name), name[1])


def shares_of_tenant(driver: Driver, name: HourName, tenant: str) -> list[Mapping[str, Any]]:
    """A tenant's `share` bodies of a device's hour, in order of revision."""
    return _by_key(driver, "share", hour_key(*name, tenant), name[1])


def _by_key(driver: Driver, kind: str, key: str, hour: int) -> list[Mapping[str, Any]]:
    digest = hashlib.sha256(key.encode()).digest()[:KEY_BYTES]
    found = driver.all(_BY_KEY, (month_of(hour), kind, digest))
    return [orjson.loads(bytes(body)) for (body,) in found if body is not None]
