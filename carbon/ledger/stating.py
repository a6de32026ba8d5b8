"""A statement of a ledger: from its hourly sums where they give it, else from its entries. The same bytes either way.

Of single entries the sums' way reads only the closed hours of devices and the tenant's shares of them, the device
intervals that no closed hour holds, the budgets, and the settled lines at the period's edges, all by index. An
auditor's `replay` folds the entries, so neither way proves itself.
"""

from collections.abc import Iterator, Mapping, Sequence
from operator import itemgetter
from typing import Any

import orjson

from greenserve.carbon.entries import PLATFORM, UNMETERED, US_PER_HOUR, it_uj
from greenserve.carbon.folded import EVERYBODY, Scope
from greenserve.carbon.ledger.archive_entries import ROWS
from greenserve.carbon.ledger.archives import Archives
from greenserve.carbon.ledger.book import SqlLedger, driver_of
from greenserve.carbon.ledger.driver import Driver
from greenserve.carbon.ledger.hour_closing import shares_of_tenant
from greenserve.carbon.ledger.restated_lines import cause_bodies, restated_bodies, restated_rows
from greenserve.carbon.ledger.rollup import RollupKey
from greenserve.carbon.ledger.row import Row, month_of
from greenserve.carbon.ledger.rows import size_of
from greenserve.carbon.removed_keys import SUBJECT, SUBJECT_END, is_erased
from greenserve.carbon.statement import build_statement, statement_from
from greenserve.carbon.statement_sums import HourSums, NeedsEntries, Stray, check_terms, fold_sums, settled_in
from greenserve.carbon.tally import Tally
from greenserve.records import Statement

_INTERVAL = "FROM entry WHERE tenant = ? AND kind = 'device_interval' AND hour = ?"
# In whatever order they come: asked to sort by idx, SQLite would walk the whole table in that order.
_CLOSED = "SELECT idx, body FROM entry WHERE period = ? AND kind = 'device_hour' AND hour >= ? AND hour < ?"
_SET_BACK = "the clock was set back between intervals, or one was erased"
_OF_TENANT = "WHERE tenant = ? AND kind = 'usage' AND hour = ? AND idx > ? AND idx < ? AND revision > 0 ORDER BY idx"
_USAGE = "FROM entry WHERE tenant = ? AND kind = 'usage' AND hour = ?"


def stated(ledger: SqlLedger, scope: Scope) -> Statement:
    """The statement of a scope at the ledger's end that it names."""
    try:
        return from_sums(ledger, scope)
    except NeedsEntries:
        return build_statement(ledger.entries(), scope, restated_in(ledger), kept_in(ledger))


def restated_in(ledger: SqlLedger) -> frozenset[RollupKey]:
    """The rows of the sums that restatements change: what a fold of the entries must know from its beginning."""
    with ledger.reading() as connection:
        return restated_rows(driver_of(connection))


def kept_in(ledger: SqlLedger) -> list[tuple[RollupKey, Tally]]:
    """The rows of the sums that stand for erased lines: what a fold of the entries takes in their place."""
    found = ledger.query(
        "SELECT tenant, key_id, hour, model, variant, region, role, tally FROM rollup WHERE tenant >= ? AND tenant < ?",
        (SUBJECT, SUBJECT_END),
    )
    rows = [(RollupKey._make(names), Tally.from_json(bytes(tally))) for *names, tally in found]
    return sorted(rows, key=itemgetter(0))


def from_sums(ledger: SqlLedger, scope: Scope) -> Statement:
    """The statement from sums alone; NeedsEntries says why they do not give it."""
    check_terms(scope)
    with ledger.reading() as connection:
        reader = _Reader(driver_of(connection), ledger.archives, scope)
        return statement_from(fold_sums(reader.read(), scope))


class _Reader:
    """State: one read transaction, and the hours that have anything by tenant, read once."""

    def __init__(self, driver: Driver, archives: Archives, scope: Scope) -> None:
        if size_of(driver) != scope.size:
            raise NeedsEntries("the ledger went on: its sums are of another end than the statement's")
        self._driver, self._archives, self._scope = driver, archives, scope
        self._first, self._end = scope.start_us // US_PER_HOUR, scope.end_us // US_PER_HOUR
        self._pairs = driver.all("SELECT DISTINCT tenant, hour FROM rollup ORDER BY tenant, hour")
        hours = list(self._hours_of_devices())
        self._inner = [hour for hour in hours if self._holds(hour)]
        self._outer = [hour for hour in hours if not self._holds(hour)]
        self._closings = self._closed_hours()

    def read(self) -> HourSums:
        """All that the statement needs; intervals are read while they are folded."""
        first, last = self._edge("ASC", self._inner), self._edge("DESC", self._inner[::-1])
        rows, settled_uj = self._rows()
        return HourSums(
            rows=rows,
            settled_uj=settled_uj,
            closes=first is not None,
            intervals=self._intervals(),
            strays=self._strays(first, last),
            budgets=self._budgets(),
            shares=self._shares(),
            indexes=self._indexes(),
            restated=restated_bodies(self._driver),
            causes=cause_bodies(self._driver),
        )

    def _holds(self, hour: int) -> bool:
        return self._first <= hour < self._end

    def _hours_of_devices(self) -> Iterator[int]:
        """Hours with rows of the platform, by one seek each."""
        hour = -1
        while True:
            hour = self._driver.all("SELECT min(hour) FROM entry WHERE tenant = ? AND hour > ?", (PLATFORM, hour))[0][0]
            if hour is None:
                return
            yield hour

    def _edge(self, order: str, hours: list[int]) -> int | None:
        """The first (ASC) or last (DESC) interval of hours in that order."""
        for hour in hours:
            found = self._driver.all(f"SELECT idx {_INTERVAL} ORDER BY idx {order} LIMIT 1", (PLATFORM, hour))
            if found:
                return int(found[0][0])
        return None

    def _rows(self) -> tuple[list[tuple[RollupKey, Tally]], dict[str, int]]:
        everybodys = self._scope.tenant == EVERYBODY or bool((self._scope.terms or {}).get("market"))
        rows, settled_uj = [], dict[str, int]()
        found = self._driver.all(
            "SELECT tenant, key_id, hour, model, variant, region, role, tally FROM rollup WHERE hour >= ? AND hour < ?",
            (self._first, self._end),
        )
        for *names, data in found:
            key = RollupKey._make(names)
            if everybodys or self._scope.covers(key.tenant):
                tally = Tally.from_json(bytes(data))
                rows.append((key, tally))
                energy_uj = tally.energy_uj - tally.provisional_uj - tally.unreconciled_uj
            else:
                energy_uj = settled_in(bytes(data))
            settled_uj[key.tenant] = settled_uj.get(key.tenant, 0) + energy_uj
        return rows, settled_uj

    def _closed_hours(self) -> dict[int, list[Mapping[str, Any]]]:
        """The period's `device_hour` bodies by hour, found by month and kind."""
        found: dict[int, list[Mapping[str, Any]]] = {}
        months = sorted({month_of(hour) for hour in self._inner})
        for month in months:
            for _, data in sorted(self._driver.all(_CLOSED, (month, self._first, self._end))):
                body = orjson.loads(bytes(data))
                found.setdefault(body["hour"], []).append(body)
        return found

    def _intervals(self) -> Iterator[Mapping[str, Any]]:
        """Closed hours, and the intervals that none of them holds; NeedsEntries where their order is not that of the
        entries."""
        last = -1
        for hour in self._inner:
            closings = self._closings.get(hour, [])
            held = dict[str, int]()
            for body in closings:
                held[body["device"]] = max(held.get(body["device"], -1), body["last_index"])
            first = min((body["first_index"] for body in closings), default=last)
            newest = max([last, *held.values()])
            singles = self._single_intervals(hour, min(held.values(), default=-1))
            moved = any(data is None for _, data in singles) and self._all_held(hour, closings)
            if first < last or any(body["revision"] for body in closings):
                raise NeedsEntries(_SET_BACK)
            yield from closings
            last = newest
            for idx, data in singles:
                if data is None and moved and idx <= max(held.values()):
                    continue
                if data is None:
                    raise NeedsEntries(_SET_BACK)
                single: Mapping[str, Any] = orjson.loads(bytes(data))
                if idx <= held.get(single["device"], -1):
                    continue
                if idx < last:
                    raise NeedsEntries(_SET_BACK)
                last = idx
                yield single

    def _single_intervals(self, hour: int, after: int) -> list[tuple[Any, ...]]:
        return self._driver.all(f"SELECT idx, body {_INTERVAL} AND idx > ? ORDER BY idx", (PLATFORM, hour, after))

    def _all_held(self, hour: int, closings: Sequence[Mapping[str, Any]]) -> bool:
        """Whether the hour's closings hold every interval up to the last of theirs, whosever it is."""
        newest = max((body["last_index"] for body in closings), default=-1)
        count = self._driver.all(f"SELECT count(*) {_INTERVAL} AND idx <= ?", (PLATFORM, hour, newest))[0][0]
        return bool(count == sum(body["entries"] for body in closings))

    def _shares(self) -> Iterator[Mapping[str, Any]]:
        """The shares of the tenant, or in the operator's view of the platform, by key."""
        tenant = PLATFORM if self._scope.tenant == EVERYBODY else self._scope.tenant
        names = sorted({(body["device"], hour) for hour, bodies in self._closings.items() for body in bodies})
        for name in names:
            yield from shares_of_tenant(self._driver, name, tenant)

    def _strays(self, first: int | None, last: int | None) -> Iterator[Stray]:
        """Settled lines that ended in the period and closed outside, or the other way round."""
        newest = max((idx for hour in (*self._inner, *self._outer) for idx in self._newest(hour)), default=-1)
        if first is None or last is None:
            yield from self._settled(newest, self._scope.size, inside=True, closed_here=None)
            return
        before = -1
        for hour in self._outer:
            if self._driver.all(f"SELECT 1 {_INTERVAL} AND idx > ? AND idx < ? LIMIT 1", (PLATFORM, hour, first, last)):
                raise NeedsEntries("intervals of other periods lie between those of this one")
            found = self._driver.all(
                f"SELECT idx {_INTERVAL} AND idx < ? ORDER BY idx DESC LIMIT 1", (PLATFORM, hour, first)
            )
            before = max(before, found[0][0] if found else -1)
        yield from self._settled(-1, before, inside=True, closed_here=False)
        yield from self._settled(last, newest, inside=True, closed_here=False)
        yield from self._settled(max(last, newest), self._scope.size, inside=True, closed_here=None)
        yield from self._settled(before, last, inside=False, closed_here=True)

    def _newest(self, hour: int) -> list[int]:
        found = self._driver.all(f"SELECT idx {_INTERVAL} ORDER BY idx DESC LIMIT 1", (PLATFORM, hour))
        return [row[0] for row in found]

    def _settled(self, after: int, before: int, *, inside: bool, closed_here: bool | None) -> Iterator[Stray]:
        """Settled lines between two indices that ended in the period, or (`inside` False) did not."""
        if after >= before:
            return
        for tenant, hour in self._pairs:
            if self._holds(hour) != inside:
                continue
            found = self._driver.all(f"{ROWS} {_OF_TENANT}", (tenant, hour, after, before))
            for row in self._archives.fill(map(Row._make, found)):
                if row.body is None:
                    raise NeedsEntries("a settled line was erased")
                body = orjson.loads(row.body)
                energy_uj = it_uj(body)
                if body["charged"] and energy_uj is not None and UNMETERED not in body["flags"]:
                    yield Stray(tenant, energy_uj, inside, closed_here)

    def _budgets(self) -> Iterator[Mapping[str, Any]]:
        found = self._driver.all("SELECT body FROM entry WHERE period = 0 AND kind = 'budget' ORDER BY idx")
        return (orjson.loads(bytes(data)) for (data,) in found if data is not None)

    def _indexes(self) -> tuple[int | None, int | None]:
        """The first and last row of the statement's own requests."""
        edges: dict[str, list[int]] = {"ASC": [], "DESC": []}
        for tenant, hour in self._pairs:
            if not self._holds(hour) or not self._scope.covers(tenant) or is_erased(tenant):
                continue
            for order, found in edges.items():
                rows = self._driver.all(f"SELECT idx {_USAGE} ORDER BY idx {order} LIMIT 1", (tenant, hour))
                found += [row[0] for row in rows]
        return min(edges["ASC"], default=None), max(edges["DESC"], default=None)
