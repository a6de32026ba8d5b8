"""Requests whose lines are as they should be: checked one by one, added up with those that are alike. Pure.

The audit's short way. It takes a line only where every check of the long way (`Audit.see`) passes, and then adds what
the long way would; whatever is unusual it leaves to the long way, which says what is wrong, if anything is.
"""

from collections.abc import Container, Mapping, Sequence
from typing import Any

import msgspec
import orjson

from greenserve.carbon.entries import UNMETERED, US_PER_HOUR
from greenserve.carbon.held_lines import HeldLines
from greenserve.carbon.hours import SettledLines, parts_of
from greenserve.carbon.ledger.alike import Kinds
from greenserve.carbon.ledger.forms import FirstLine, Known
from greenserve.carbon.ledger.known import Readings, figures_hold
from greenserve.carbon.ledger.packing import body_of, first_row, settled_row, unpacked
from greenserve.carbon.ledger.rollup import OWN, RollupKey, Rollups
from greenserve.carbon.ledger.row import KEY_BYTES, Row, month_of, uuid_text
from greenserve.carbon.ledger.spend import Places
from greenserve.carbon.tally import Tally

_MS_PER_HOUR = US_PER_HOUR // 1_000
Values = Sequence[Any]
"""A row's columns, in the order of `Row`, its body as it is kept."""
Request = tuple[bytes, int]


_First = tuple[int, int, int, Known]
"""A first line that waits for its settled one: its index, period, hour, and what is known of it."""


class Pairs:
    """Takes usage rows in order. State: first lines that are open, the sums of settled requests that are not yet in
    the hourly ones, and the energy settled since it was last asked for."""

    def __init__(self, elsewhere: Container[Request], held: HeldLines | None = None) -> None:
        """`elsewhere` are the requests that are open on the long way; the lines of rows that `held` wants go there."""
        self._elsewhere, self._held = elsewhere, held or None
        self._open: dict[Request, _First] = {}
        self._kinds = Kinds()
        self._readings = Readings()
        self._settled: dict[tuple[str, int], list[tuple[int | None, ...]]] = {}
        self._sums: SettledLines | None = None

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
        return None if first is None else (first[0], orjson.loads(body_of(first[3].line)))

    def open_requests(self) -> list[Request]:
        """Whose first lines wait for their settled ones."""
        return list(self._open)

    def take_settled(self) -> SettledLines | None:
        """The sums of what was settled since this was last asked; None for nothing."""
        self._sum_settled()
        settled, self._sums = self._sums, None
        return settled

    def needs_room(self) -> bool:
        """Whether so much waits to be added to the sums that it should be."""
        return self._kinds.needs_room()

    def add_up(self, rollups: Rollups, places: Places) -> None:
        """Add what was settled to the hourly sums and to those that budgets are read from."""
        self._kinds.add_up(lambda key: rollups.setdefault(key, Tally()), places)
        self._sum_settled()

    def finish(self, rollups: Rollups, places: Places) -> None:
        """As `add_up`, with the requests that were never settled."""
        for _, _, _, known in self._open.values():
            self._kinds.count(known, known.line)
            if self.needs_room():
                self.add_up(rollups, places)
        self._open.clear()
        self.add_up(rollups, places)

    def _sum_settled(self) -> None:
        for (tenant, hour), parts in self._settled.items():
            assert self._sums is not None
            self._sums.take_all(tenant, hour, parts)
        self._settled.clear()

    def _take_first(self, row: Values) -> bool:
        idx, period, _, key, attempt, _, tenant, hour, body = row
        line, request = first_row(body), (key, attempt)
        if line is None or request in self._open or request in self._elsewhere:
            return False
        if len(key) != KEY_BYTES or key[6] >> 4 != 7 or line.request_id != uuid_text(key):
            return False
        if period != month_of(int.from_bytes(key[:6]) // _MS_PER_HOUR):
            return False
        if (line.attempt, line.tenant, line.ended_us // US_PER_HOUR) != (attempt, tenant, hour):
            return False
        if self._held and self._held.wants(_row_of(line)):
            return False
        known = self._readings.known(line)
        if known is None or not figures_hold(known, line):
            return False
        self._open[request] = (idx, period, hour, known)
        return True

    def _take_settled(self, row: Values) -> bool:
        _, period, _, key, attempt, _, tenant, hour, body = row
        request = (key, attempt)
        first = self._open.get(request)
        if first is None or request in self._elsewhere:
            return False
        first_idx, first_period, first_hour, known = first
        own, line = known.line, settled_row(body)
        if line is None or not line.charged or line.request_id != own.request_id:
            return False
        if (period, hour, tenant) != (first_period, first_hour, own.tenant):
            return False
        if (line.attempt, line.tenant, line.ended_us) != (attempt, tenant, own.ended_us):
            return False
        if line.first is not msgspec.UNSET and line.first is not None and line.first != first_idx:
            return False
        if not figures_hold(known, line):
            return False
        del self._open[request]
        if UNMETERED not in line.flags:
            if self._sums is None:
                self._sums = SettledLines(row[0])
            parts = self._settled.get((tenant, hour))
            if parts is None:
                parts = self._settled[tenant, hour] = []
            parts.append((*parts_of(line), own.held_ns or 0))
        self._kinds.count(known, line)
        return True


def _row_of(line: FirstLine) -> RollupKey:
    hour = line.ended_us // US_PER_HOUR
    return RollupKey(line.tenant, line.key_id or "", hour, line.model, line.variant or "", line.region or "", OWN)


def row_of(values: Values) -> Row:
    """A row with its body unpacked."""
    body = values[8]
    return Row._make(values if body is None else (*values[:8], unpacked(bytes(body))))
