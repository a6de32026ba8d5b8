"""The ledger's double: the same rules in memory, for tests and for runs that keep nothing."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson

from greenserve.carbon.entries import decode_entry
from greenserve.carbon.held_lines import HeldLines
from greenserve.carbon.ledger.audit import Audit
from greenserve.carbon.ledger.merkle import leaf_hash
from greenserve.carbon.ledger.rollup import Rollups, fold_line, rollup_key, sums_of
from greenserve.carbon.ledger.row import SALT_BYTES, Head, Prepared, Row, prepare, uuid_text
from greenserve.carbon.ledger.tiles import Tree
from greenserve.carbon.restated_keys import CAUSES
from greenserve.carbon.restating import RESTATED, faults_of, row_of
from greenserve.errors import LedgerUnavailable
from greenserve.records import Entry

Identity = tuple[int, str, bytes, int, int]


class MemoryLedger:
    """Entries in a list. State: the rows, their places by identity, the hourly sums, and the tree (its salts are 0)."""

    def __init__(self) -> None:
        self._rows: list[Row] = []
        self._place: dict[Identity, int] = {}
        self._rollups: Rollups = {}
        self._tree = Tree()

    def __repr__(self) -> str:
        return f"<MemoryLedger {len(self._rows)} entries>"

    def append(self, entries: Sequence[Entry]) -> int:
        """Add what is new; all of it or, where one raises, nothing."""
        place = dict(self._place)
        new: list[Prepared] = []
        for line in map(prepare, entries):
            at = place.get(line.identity)
            if at is None:
                place[line.identity] = len(self._rows) + len(new)
                new.append(line)
            elif line.body != (self._rows[at].body if at < len(self._rows) else new[at - len(self._rows)].body):
                name = uuid_text(line.key) if line.kind == "usage" else line.key.hex()
                raise LedgerUnavailable(
                    f"{line.kind} {name} attempt {line.attempt} revision {line.revision} is in the ledger with "
                    "another body",
                    details={"kind": line.kind, "key": name},
                )
        rows = [*self._rows, *(Row(idx, *line[:8]) for idx, line in enumerate(new, len(self._rows)))]
        firsts = [_first_of(line, rows, place) for line in new]
        for line, first in zip(new, firsts, strict=True):
            if line.kind == "usage":
                fold_line(self._rollups, line.hour, line.decoded, first)
        for idx, line in enumerate(new, len(self._rows)):
            if line.kind == RESTATED:
                _restate(self._rollups, rows, idx, line.decoded)
        self._tree.add(leaf_hash(bytes(SALT_BYTES), line.body) for line in new)
        self._rows, self._place = rows, place
        return len(new)

    def entries(self, *, after: int = -1, tenant: str | None = None) -> Iterable[tuple[int, Entry]]:
        """(index, entry) in order of index."""
        for row in self._rows[after + 1 :]:
            if (tenant is None or row.tenant == tenant) and row.body is not None:
                yield row.idx, decode_entry(row.body)

    def verify(self) -> Sequence[str]:
        """Findings of the same audit as every other ledger's."""
        audit = Audit(row_of(orjson.loads(row.body)) for row in self._rows if row.kind == RESTATED and row.body)
        for row in self._rows:
            audit.see(row)
        return audit.finish({key: (sums_of(tally), tally.to_json()) for key, tally in self._rollups.items()})

    def head(self) -> Head:
        """How many entries there are, and the root hash of their tree."""
        return Head(size=len(self._rows), root=self._tree.root().hex())


def _restate(rollups: Rollups, rows: Sequence[Row], at: int, body: Mapping[str, Any]) -> None:
    """Change a row's sums by the entry at an index; LedgerUnavailable where it says otherwise than its lines."""
    held, waiting = HeldLines([row_of(body)]), dict[tuple[bytes, int], Mapping[str, Any]]()
    for row in rows[:at]:
        told = orjson.loads(row.body or b"{}")
        if row.kind in CAUSES:
            held.causes[row.idx] = told
        elif row.kind == RESTATED and held.wants(row_of(told)):
            held.restate(told)
        elif row.kind == "usage" and not row.revision:
            waiting[row.key, row.attempt] = told
        elif row.kind == "usage":
            whole = {**waiting.pop((row.key, row.attempt)), **told}
            if held.wants(key := rollup_key(whole, row.hour)):
                held.hold(key, (row.key, row.attempt), whole)
    try:
        pairs = held.restate(body)
    except ValueError as error:
        raise LedgerUnavailable(f"entry {at}: {error}") from None
    if faults := list(faults_of(body, pairs)):
        raise LedgerUnavailable(f"entry {at}: {'; '.join(faults)}")
    for old, new in pairs:
        rollups[row_of(body)].restate(old, new)


def _first_of(line: Prepared, rows: Sequence[Row], place: Mapping[Identity, int]) -> Mapping[str, Any] | None:
    if line.kind != "usage" or not line.revision:
        return None
    before = place.get((*line.identity[:4], line.revision - 1))
    body = None if before is None or line.revision > 1 else rows[before].body
    if body is None:
        raise LedgerUnavailable(
            f"usage {uuid_text(line.key)} revision {line.revision} follows no revision {line.revision - 1}"
        )
    first: Mapping[str, Any] = orjson.loads(body)
    return first
