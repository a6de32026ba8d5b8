"""The audit of a ledger: one pass over its rows that derives again whatever can be derived. Pure.

Each check is a small fold: it sees every row once, in order, and yields findings that name the row's index.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar

from greenserve.carbon.entries import (
    BY_SPANS,
    LATER_POOLS,
    OTHER_CI,
    POOLS,
    UNMETERED,
    US_PER_HOUR,
    it_uj,
    site_figures,
)
from greenserve.carbon.ledger.pairs import Pairs, Request, Values
from greenserve.carbon.ledger.rollup import RollupKey, Rollups, Sums, digest_of, fold_line, sums_of
from greenserve.carbon.ledger.row import Prepared, Row, prepare_bytes
from greenserve.carbon.ledger.spend import Places, Spend, SpendKey, spend_line, spends_of
from greenserve.carbon.periods import bounds_of
from greenserve.carbon.tally import Tally
from greenserve.carbon.theta import theta_digest
from greenserve.errors import LedgerUnavailable

FINDINGS_PER_CHECK = 10
CPU_TIME = ""
"""Where a line that names no devices belongs: to the device that is settled by CPU time."""
K = TypeVar("K", RollupKey, SpendKey)


class Audit:
    """Feed it every row in order of index, then `finish`. State: the checks' sums, and the findings so far."""

    def __init__(self) -> None:
        self.size = 0
        self._findings: list[str] = []
        self._count_by_check: dict[str, int] = {}
        self._open: dict[Request, tuple[int, Mapping[str, Any]]] = {}
        self._pairs = Pairs(self._open)
        self._rollups: Rollups = {}
        self._places: Places = {}
        self._parts: dict[str, Counter[str]] = {}
        self._thetas: set[str] = set()
        self._pending_uj: dict[str, int] = {}
        self._closed: list[tuple[Row, Mapping[str, Any]]] = []

    def see_all(self, rows: Iterable[Values]) -> None:
        """As `see` for each of them, in a fraction of the time where they are as they should be."""
        pairs = self._pairs
        for values in rows:
            if values[0] == self.size and values[2] == "usage" and pairs.take(values):
                self.size += 1
            else:
                self.see(Row._make(values))
        if pairs.needs_room():
            pairs.add_up(self._rollups, self._places)

    def see(self, row: Row) -> None:
        """Check one row against itself and against what came before it."""
        if row.idx != self.size:
            self._add("index", f"entry {row.idx} ({row.name}): index {self.size} was expected here")
        self.size = row.idx + 1
        line = self._decoded(row)
        if line is not None and line.kind == "usage":
            self._note("usage", row, self._used(row, line))
        elif line is not None and line.kind == "device_interval":
            self._note("conservation", row, self._conserved(line.decoded))
        elif line is not None and line.kind == "theta":
            self._note("theta", row, self._published(line.decoded))
        elif line is not None and line.kind == "period":
            self._closed.append((row, line.decoded))

    def finish(
        self,
        rollups: Mapping[RollupKey, tuple[Sums, bytes]],
        spends: Mapping[SpendKey, Spend] | None = None,
    ) -> list[str]:
        """All findings; `rollups` and `spends` (None: not kept) are the stored sums, compared with the folded ones."""
        self._take_settled()
        self._pairs.finish(self._rollups, self._places)
        nothing = (sums_of(Tally()), Tally().to_json())
        folded = {key: (sums_of(tally), tally.to_json()) for key, tally in self._rollups.items()}
        self._compare("rollup", folded, rollups, nothing)
        if spends is not None:
            self._compare("spend", spends_of(self._places), spends, Spend())
        for row, body in self._closed:
            self._note("period", row, self._frozen(body))
        left = {
            device or "cpu": {name: parts[name] for name in (*POOLS[:3], "waste_uj") if parts[name]}
            for device, parts in self._parts.items()
            if any(parts.values())
        }
        if left:
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

    def _frozen(self, body: Mapping[str, Any]) -> Iterator[str]:
        month = f"{body['period'] // 100}-{body['period'] % 100:02}"
        first, end = (at_us // US_PER_HOUR for at_us in bounds_of(month, now_us=0, hours=None))
        rows = [(key, self._rollups[key]) for key in sorted(self._rollups) if first <= key.hour < end]
        if digest_of(rows) != body["rollup_sha256"]:
            yield f"the sums of {month} changed after it was closed: lines of that month came later"

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
        else:
            idx, replaced = self._open.pop(request, (None, None))
            if replaced is None:
                yield "settles a request that is not open: no provisional line, or settled before"
                return
            first = replaced
            if (told := body.get("first")) is not None and told != idx:
                yield f"says that it settles entry {told}, its first line is entry {idx}"
            if UNMETERED not in body["flags"] and body["active_uj"] is not None:
                yield from self._take_parts(body)
        figures = site_figures(it_uj(body), first["pue_milli"], first["ci"], first.get(OTHER_CI))
        stored = (body["facility_uj"], body["loc_direct_ng"], body["loc_lifecycle_ng"])
        if figures != stored:
            yield f"E9 and E11 give {figures} (facility uJ, direct ng, lifecycle ng), stored are {stored}"
        if (body["tier"] is None) != (body["active_uj"] is None):
            yield "energy and tier go together, one of them is missing"
        fold_line(self._rollups, line.hour, body, replaced)
        spend_line(self._places, body, replaced)

    def _give_up(self, request: Request) -> None:
        """Count a first line that was taken the short way: what comes now to its request goes the long way."""
        if (first := self._pairs.give_up(request)) is not None:
            body = first[1]
            fold_line(self._rollups, body["ended_us"] // US_PER_HOUR, body)
            spend_line(self._places, body, None)
            self._open[request] = first

    def _take_settled(self) -> None:
        settled_uj = self._pairs.settled_uj()
        if any(settled_uj):
            parts = self._parts.setdefault(CPU_TIME, Counter())
            for name, value_uj in zip(POOLS[:3], settled_uj, strict=True):
                parts[name] += value_uj

    def _published(self, body: Mapping[str, Any]) -> Iterator[str]:
        digest = theta_digest(body["theta"])
        self._thetas.add(digest)
        if digest != body["sha256"]:
            yield f"the model has the digest {digest}, the entry says {body['sha256']}"

    def _take_parts(self, body: Mapping[str, Any]) -> Iterator[str]:
        """Add what was settled to what the next interval of its device must say."""
        if "devices" not in body:
            self._settled(CPU_TIME, body["charged"], body)
            return
        for part in body["devices"]:
            self._settled(part["device"], body["charged"], part)
            if part["theta"] is not None and part["theta"] not in self._thetas:
                yield f"its part on {part['device']} names the model {part['theta']}, which no entry before it holds"
        sums = {name: sum(part[name] for part in body["devices"]) for name in POOLS[:3]}
        if sums != (stored := {name: body[name] for name in POOLS[:3]}):
            yield f"its parts on devices sum to {sums}, the line says {stored}"

    def _settled(self, device: str, charged: bool, part: Mapping[str, Any]) -> None:
        parts = self._parts.setdefault(device, Counter())
        if charged:
            for name in POOLS[:3]:
                parts[name] += part[name]
        else:
            parts["waste_uj"] += it_uj(part) or 0

    def _conserved(self, body: Mapping[str, Any]) -> Iterator[str]:
        device = body["device"]
        placed = sum(body.get(pool, 0) if pool in LATER_POOLS else body[pool] for pool in POOLS)
        placed += body["pending_after_uj"]
        if body["metered_uj"] + body["pending_before_uj"] != placed:
            yield f"metered and pending before are {body['metered_uj'] + body['pending_before_uj']} uJ, placed {placed}"
        before = self._pending_uj.get(device, 0)
        if body["pending_before_uj"] != before:
            yield f"{before} uJ were pending after the interval before it, {body['pending_before_uj']} uJ before it"
        self._pending_uj[device] = body["pending_after_uj"]
        if body.get("over_attributed_uj", 0) < 0:
            yield f"over_attributed_uj is {body['over_attributed_uj']}: what late spans lacked is never negative"
        self._take_settled()
        parts = self._parts.pop(device, Counter())
        if body.get("settled_by") != BY_SPANS:
            parts += self._parts.pop(CPU_TIME, Counter())
        for part in (*POOLS[:3], "waste_uj"):
            if body[part] != parts[part]:
                yield f"{part} is {body[part]}, the requests settled with it sum to {parts[part]}"
