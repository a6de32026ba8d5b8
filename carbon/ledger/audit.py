"""The audit of a ledger: one pass over its rows that derives again whatever can be derived. Pure.

Each check is a small fold: it sees every row once, in order, and yields findings that name the row's index.
"""

from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from greenserve.canonical import ledger_json
from greenserve.carbon.entries import POOLS, UNMETERED, decode_entry, it_uj, site_figures
from greenserve.carbon.ledger.chain import GENESIS, Row, identity_of, link
from greenserve.carbon.ledger.rollup import Deltas, RollupKey, Sums, empty_deltas, fold
from greenserve.carbon.ledger.spend import Places, Spend, SpendKey, fold_spend, spends_of
from greenserve.errors import LedgerUnavailable
from greenserve.records import Entry

FINDINGS_PER_CHECK = 10
Request = tuple[str, int]
K = TypeVar("K", RollupKey, SpendKey)


class Audit:
    """Feed it every row in order of index, then `finish`. State: the checks' sums, and the findings so far."""

    def __init__(self) -> None:
        self.size = 0
        self.chain = GENESIS
        self._findings: list[str] = []
        self._count_by_check: dict[str, int] = {}
        self._open: dict[Request, Mapping[str, Any]] = {}
        self._sums: Deltas = empty_deltas()
        self._places: Places = {}
        self._parts = dict.fromkeys((*POOLS[:3], "waste_uj"), 0)
        self._pending_uj: dict[str, int] = {}

    def see(self, row: Row) -> None:
        """Check one row against itself and against what came before it."""
        self._note("index", row, self._dense(row))
        self._note("chain", row, self._chained(row))
        self.size, self.chain = row.idx + 1, row.chain
        entry = self._decoded(row)
        if entry is not None and entry.kind == "usage":
            self._note("lines", row, self._derived(entry.body))
            self._note("revisions", row, self._revised(entry))
        elif entry is not None and entry.kind == "device_interval":
            self._note("conservation", row, self._conserved(entry.body))

    def finish(self, rollups: Mapping[RollupKey, Sums], spends: Mapping[SpendKey, Spend] | None = None) -> list[str]:
        """All findings; `rollups` and `spends` (None: not kept) are the stored sums, compared with the folded ones."""
        self._compare("rollup", self._sums, rollups)
        if spends is not None:
            self._compare("spend", spends_of(self._places), spends)
        if self._parts != dict.fromkeys(self._parts, 0):
            self._add("conservation", f"entry {self.size - 1}: settled parts without a device interval: {self._parts}")
        return [*self._findings, *self._cut_off()]

    def _compare(self, name: str, folded: Mapping[K, tuple[int, ...]], stored: Mapping[K, tuple[int, ...]]) -> None:
        again = {key: sums for key, sums in folded.items() if any(sums)}
        kept = {key: sums for key, sums in stored.items() if any(sums)}
        for key in sorted(key for key in again.keys() | kept.keys() if again.get(key) != kept.get(key)):
            self._add(name, f"{name} {key}: stored {kept.get(key)}, folded again {again.get(key)}")

    def _cut_off(self) -> Iterator[str]:
        for name, count in self._count_by_check.items():
            if count > FINDINGS_PER_CHECK:
                yield f"{name}: {count - FINDINGS_PER_CHECK} more findings"

    def _note(self, check: str, row: Row, findings: Iterator[str]) -> None:
        try:
            for finding in findings:
                self._add(check, f"entry {row.idx} ({row.kind} {row.key}): {finding}")
        except (KeyError, TypeError, ValueError) as error:
            self._add(check, f"entry {row.idx} ({row.kind} {row.key}): not whole: {type(error).__name__} {error}")

    def _add(self, check: str, finding: str) -> None:
        self._count_by_check[check] = self._count_by_check.get(check, 0) + 1
        if self._count_by_check[check] <= FINDINGS_PER_CHECK:
            self._findings.append(finding)

    def _decoded(self, row: Row) -> Entry | None:
        try:
            entry = decode_entry(row.body)
        except LedgerUnavailable as error:
            self._add("body", f"entry {row.idx}: {error}")
            return None
        found = (*identity_of(entry), entry.tenant, entry.hour)
        if found != (*row.identity, row.tenant, row.hour):
            self._add("columns", f"entry {row.idx}: the columns differ from the body, which says {found}")
        if ledger_json(entry.body) != row.body:
            self._add("body", f"entry {row.idx}: the body is not in canonical form")
        return entry

    def _dense(self, row: Row) -> Iterator[str]:
        if row.idx != self.size:
            yield f"index {self.size} was expected here"

    def _chained(self, row: Row) -> Iterator[str]:
        if link(self.chain, row.body) != row.chain:
            yield "the chain hash does not fit: this entry or its hash was changed, or an entry before it removed"

    def _derived(self, body: Mapping[str, Any]) -> Iterator[str]:
        figures = site_figures(it_uj(body), body["pue_milli"], body["ci"])
        stored = (body["facility_uj"], body["loc_direct_ng"], body["loc_lifecycle_ng"])
        if figures != stored:
            yield f"E9 and E11 give {figures} (facility uJ, direct ng, lifecycle ng), stored are {stored}"
        if (body["tier"] is None) != (body["active_uj"] is None):
            yield "energy and tier go together, one of them is missing"

    def _revised(self, entry: Entry) -> Iterator[str]:
        body: Mapping[str, Any] = entry.body
        request = (entry.key, entry.attempt)
        replaced = None
        if entry.revision == 0:
            self._open[request] = body
        else:
            replaced = self._open.pop(request, None)
            if replaced is None:
                yield "settles a request that is not open: no provisional line, or settled before"
            elif UNMETERED not in body["flags"] and body["active_uj"] is not None:
                self._take_parts(body)
        fold(self._sums, entry, replaced)
        fold_spend(self._places, entry, replaced)

    def _take_parts(self, body: Mapping[str, Any]) -> None:
        if body["charged"]:
            for part in POOLS[:3]:
                self._parts[part] += body[part]
        else:
            self._parts["waste_uj"] += it_uj(body) or 0

    def _conserved(self, body: Mapping[str, Any]) -> Iterator[str]:
        placed = sum(body[pool] for pool in POOLS) + body["pending_after_uj"]
        if body["metered_uj"] + body["pending_before_uj"] != placed:
            yield f"metered and pending before are {body['metered_uj'] + body['pending_before_uj']} uJ, placed {placed}"
        before = self._pending_uj.get(body["device"], 0)
        if body["pending_before_uj"] != before:
            yield f"{before} uJ were pending after the interval before it, {body['pending_before_uj']} uJ before it"
        self._pending_uj[body["device"]] = body["pending_after_uj"]
        for part, settled in self._parts.items():
            if body[part] != settled:
                yield f"{part} is {body[part]}, the requests settled with it sum to {settled}"
            self._parts[part] = 0
