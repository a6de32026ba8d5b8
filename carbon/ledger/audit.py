"""The audit of a ledger: one pass over its rows that derives again whatever can be derived. Pure.

Each check is a small fold: it sees every row once, in order, and yields findings that name the row's index.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar

from greenserve.carbon.cuts import LATER, cut_faults, pieces_of, site_figures
from greenserve.carbon.entries import (
    ESTIMATES,
    HOURLY,
    POOLS,
    RESERVATION,
    UNMETERED,
    US_PER_HOUR,
    it_uj,
)
from greenserve.carbon.held_lines import HeldLines
from greenserve.carbon.hour_check import HourCheck
from greenserve.carbon.late import late_faults
from greenserve.carbon.ledger.conservation import Conservation
from greenserve.carbon.ledger.pairs import Pairs, Request, Values
from greenserve.carbon.ledger.pairs import row_of as kept_row
from greenserve.carbon.ledger.removals import Removals
from greenserve.carbon.ledger.rollup import RollupKey, Rollups, Sums, digest_of, fold_line, sums_of
from greenserve.carbon.ledger.row import Prepared, Row, month_of, prepare_bytes
from greenserve.carbon.ledger.spend import Places, Spend, SpendKey, spend_line, spends_of
from greenserve.carbon.periods import bounds_of
from greenserve.carbon.published import estimate_faults
from greenserve.carbon.restated_keys import CAUSES
from greenserve.carbon.restating import faults_of as restating_faults
from greenserve.carbon.restating import row_of
from greenserve.carbon.tally import Tally
from greenserve.carbon.theta import Theta, theta_digest
from greenserve.errors import LedgerUnavailable

FINDINGS_PER_CHECK = 10
MODELS = 10_000
"""How many models stay at hand for the estimates of later lines; a line names one that was newest seconds before it."""
K = TypeVar("K", RollupKey, SpendKey)


class Audit:
    """Feed it every row in order of index, then `finish`. State: the checks' sums, and the findings so far."""

    def __init__(self, restated: Iterable[RollupKey] = ()) -> None:
        """`restated` are the rows of the sums that any `restated` entry changes: their lines are held until then."""
        self._held = HeldLines(restated)
        self._months: dict[int, int] = {}
        self.size = 0
        self._findings: list[str] = []
        self._count_by_check: dict[str, int] = {}
        self._open: dict[Request, tuple[int, Mapping[str, Any]]] = {}
        self._pairs = Pairs(self._open, self._held)
        self._rollups: Rollups = {}
        self._places: Places = {}
        self._conservation = Conservation()
        self._thetas: dict[str, Theta | None] = {}
        self._recent: deque[str] = deque()
        self._hours = HourCheck()
        self._removals = Removals()

    def see_all(self, rows: Iterable[Values]) -> None:
        """As `see` for each of them, in a fraction of the time where they are as they should be."""
        pairs, months, short = self._pairs, self._months, self._is_plain()
        for values in rows:
            usual = short and values[0] == self.size and values[2] == "usage"
            if usual and not (months and month_of(values[7]) in months) and pairs.take(values):
                self.size += 1
            else:
                self.see(kept_row(values))
                short = self._is_plain()
        if pairs.needs_room():
            pairs.add_up(self._rollups, self._places)

    def see(self, row: Row) -> None:
        """Check one row against itself and against what came before it."""
        if row.idx != self.size:
            self._add("index", f"entry {row.idx} ({row.name}): index {self.size} was expected here")
        self.size = row.idx + 1
        line = self._decoded(row)
        if row.kind != "usage":
            self._take_settled()
        if row.kind in HOURLY:
            self._hourly(row, line)
            return
        self._note("hour", row, self._hours.between())
        if line is None and row.kind == "usage":
            self._lose(row)
        elif line is None and row.kind == RESERVATION:
            self._hours.lose_reservations()
        if line is not None and line.kind == "usage":
            self._note("usage", row, self._used(row, line))
        elif line is not None and line.kind == "device_interval":
            self._note("conservation", row, self._conservation.close(line.decoded))
            self._hours.close(row.idx, line.decoded)
        elif line is not None and line.kind == "theta":
            self._note("theta", row, self._published(line.decoded))
        elif line is not None and line.kind == "period":
            self._take_all()
            self._note("period", row, self._frozen(row.idx, line.decoded))
        elif line is not None and line.kind == "restated":
            self._note("restated", row, self._restated(line.decoded))
        elif line is not None and line.kind == RESERVATION:
            self._hours.reserve(line.decoded)
        elif line is not None and line.kind in CAUSES:
            self._held.causes[row.idx] = line.decoded
        elif line is not None and line.kind == "erased":
            self._removals.erase(row.idx, line.decoded)

    def finish(
        self,
        rollups: Mapping[RollupKey, tuple[Sums, bytes]],
        spends: Mapping[SpendKey, Spend] | None = None,
    ) -> list[str]:
        """All findings; `rollups` and `spends` (None: not kept) are the stored sums, compared with the folded ones."""
        self._take_settled()
        self._pairs.finish(self._rollups, self._places)
        for finding in self._hours.between():
            self._add("hour", f"entry {self.size - 1}: {finding}")
        nothing = (sums_of(Tally()), Tally().to_json())
        folded = {key: (sums_of(tally), tally.to_json()) for key, tally in self._rollups.items()}
        self._compare("rollup", folded, self._removals.apart(rollups), nothing)
        if spends is not None:
            self._compare("spend", *self._removals.with_kept(spends_of(self._places), spends), Spend())
            for finding in self._removals.findings(rollups, spends):
                self._add("erased", finding)
        if +self._conservation.missing != (erased := +self._removals.parts()):
            found = dict(self._conservation.missing)
            self._add("conservation", f"erased lines had {dict(erased)} of the intervals, which lack {found}")
        if left := self._conservation.left():
            self._add("conservation", f"entry {self.size - 1}: settled parts without a device interval: {left}")
        return [*self._findings, *self._cut_off()]

    def _compare(self, name: str, folded: Mapping[K, object], stored: Mapping[K, object], nothing: object) -> None:
        again = {key: sums for key, sums in folded.items() if sums != nothing}
        kept = {key: sums for key, sums in stored.items() if sums != nothing}
        for key in sorted(key for key in again.keys() | kept.keys() if again.get(key) != kept.get(key)):
            self._add(name, f"{name} {key}: stored {kept.get(key)}, folded again {again.get(key)}")

    def _cut_off(self) -> Iterator[str]:
        for name, count in self._count_by_check.items():
            if count > FINDINGS_PER_CHECK:
                yield f"{name}: {count - FINDINGS_PER_CHECK} more findings"

    def _note(self, check: str, row: Row, findings: Iterator[str]) -> None:
        try:
            for finding in findings:
                self._add(check, f"entry {row.idx} ({row.name}): {finding}")
        except (KeyError, TypeError, ValueError) as error:
            self._add(check, f"entry {row.idx} ({row.name}): not whole: {type(error).__name__} {error}")

    def _add(self, check: str, finding: str) -> None:
        self._count_by_check[check] = self._count_by_check.get(check, 0) + 1
        if self._count_by_check[check] <= FINDINGS_PER_CHECK:
            self._findings.append(finding)

    def _frozen(self, idx: int, body: Mapping[str, Any]) -> Iterator[str]:
        """The sums as they are here; what comes later must be booked late, or restate."""
        month = f"{body['period'] // 100}-{body['period'] % 100:02}"
        first, end = (at_us // US_PER_HOUR for at_us in bounds_of(month, now_us=0, hours=None))
        rows = [(key, self._rollups[key]) for key in sorted(self._rollups) if first <= key.hour < end]
        self._months[body["period"]] = idx
        if digest_of(rows) != body["rollup_sha256"] and not self._removals.lacks(body["period"]):
            yield f"the sums of {month} here are not those that it was closed with"

    def _restated(self, body: Mapping[str, Any]) -> Iterator[str]:
        row = row_of(body)
        pairs = self._held.restate(body)
        yield from restating_faults(body, pairs)
        if body["closed"] != (month_of(row.hour) in self._months):
            yield f"says that its month was {'closed' if body['closed'] else 'open'} by then, it was not"
        for old, new in pairs:
            self._rollups[row].restate(old, new)
            spend_line(self._places, new, old)

    def _decoded(self, row: Row) -> Prepared | None:
        if row.body is None:
            return None
        try:
            line = prepare_bytes(row.body)
        except LedgerUnavailable as error:
            self._add("body", f"entry {row.idx}: {error}")
            return None
        if line[:7] != row[1:8]:
            self._add("columns", f"entry {row.idx}: the columns differ from the body, which says {line[:7]}")
        if line.body != row.body:
            self._add("body", f"entry {row.idx}: the body is not in canonical form")
        return line

    def _used(self, row: Row, line: Prepared) -> Iterator[str]:
        body, request = line.decoded, (line.key, line.attempt)
        first = body
        replaced = None
        self._give_up(request)
        if line.revision == 0:
            self._open[request] = (row.idx, body)
            if ESTIMATES in body:
                yield from estimate_faults(body, self._thetas)
            yield from late_faults(body, self._months)
        else:
            idx, replaced = self._open.pop(request, (None, None))
            if replaced is None:
                yield "settles a request that is not open: no provisional line, or settled before"
                return
            first = replaced
            if (told := body.get("first")) is not None and told != idx:
                yield f"says that it settles entry {told}, its first line is entry {idx}"
            self._hours.settle(row.idx, body, replaced)
            if UNMETERED not in body["flags"] and body["active_uj"] is not None:
                yield from self._take_parts(body)
        if LATER in first:
            yield from cut_faults(first, body)
        energy_uj = it_uj(body)
        figures: tuple[int | None, ...] = (None, None, None)
        if energy_uj is not None:
            figures = site_figures(pieces_of(first, body, energy_uj), first["pue_milli"])
        stored = (body["facility_uj"], body["loc_direct_ng"], body["loc_lifecycle_ng"])
        if figures != stored:
            yield f"E9 and E11 give {figures} (facility uJ, direct ng, lifecycle ng), stored are {stored}"
        if (body["tier"] is None) != (body["active_uj"] is None):
            yield "energy and tier go together, one of them is missing"
        key = fold_line(self._rollups, line.hour, body, replaced)
        spend_line(self._places, body, replaced)
        if replaced is not None and self._held.wants(key):
            self._held.hold(key, request, {**replaced, **body})

    def _lose(self, row: Row) -> None:
        """A usage line whose body is gone: what follows from it is not claimed any more."""
        self._removals.lose(row)
        if row.revision:
            self._hours.lose()
            self._conservation.lose()

    def _hourly(self, row: Row, line: Prepared | None) -> None:
        if line is None:
            self._hours.erased_share()
        elif line.kind == "device_hour":
            self._note("hour", row, self._hours.hour(row.idx, line.decoded))
        elif line.kind == "share":
            self._note("hour", row, self._hours.share(row.idx, line.decoded))

    def _give_up(self, request: Request) -> None:
        """Count a first line that was taken the short way: what comes now to its request goes the long way."""
        if (first := self._pairs.give_up(request)) is not None:
            body = first[1]
            fold_line(self._rollups, body["ended_us"] // US_PER_HOUR, body)
            spend_line(self._places, body, None)
            self._open[request] = first

    def _is_plain(self) -> bool:
        """Whether the short way sees all that the long way does: it knows no closings."""
        return not self._hours.at_hand

    def _take_settled(self) -> None:
        if (settled := self._pairs.take_settled()) is not None:
            self._conservation.take_lines(settled)
            self._hours.take_lines(settled)

    def _take_all(self) -> None:
        """From the short way all that it has, for who compares the sums as they are here."""
        for request in self._pairs.open_requests():
            self._give_up(request)
        self._pairs.add_up(self._rollups, self._places)

    def _published(self, body: Mapping[str, Any]) -> Iterator[str]:
        digest = theta_digest(body["theta"])
        self._thetas[digest] = Theta.of_document(body["theta"])
        self._recent.append(digest)
        if len(self._recent) > MODELS:
            self._thetas[self._recent.popleft()] = None
        if digest != body["sha256"]:
            yield f"the model has the digest {digest}, the entry says {body['sha256']}"

    def _take_parts(self, body: Mapping[str, Any]) -> Iterator[str]:
        """Add what was settled to what the next interval of its device must say."""
        if "devices" not in body:
            self._conservation.settle(body, charged=body["charged"])
            return
        for part in body["devices"]:
            self._conservation.settle(part, charged=body["charged"], device=part["device"])
            if part["theta"] is not None and part["theta"] not in self._thetas:
                yield f"its part on {part['device']} names the model {part['theta']}, which no entry before it holds"
        sums = {name: sum(part[name] for part in body["devices"]) for name in POOLS[:3]}
        if sums != (stored := {name: body[name] for name in POOLS[:3]}):
            yield f"its parts on devices sum to {sums}, the line says {stored}"
