"""The ledger's double: the same rules in memory, for tests and for runs that keep nothing."""

from collections.abc import Iterable, Sequence

import orjson

from greenserve.carbon.entries import decode_entry
from greenserve.carbon.ledger.audit import Audit
from greenserve.carbon.ledger.chain import GENESIS, Head, Row, body_bytes, identity_of, link
from greenserve.carbon.ledger.rollup import Deltas, empty_deltas, fold
from greenserve.errors import LedgerUnavailable
from greenserve.records import Entry


class MemoryLedger:
    """Entries in a list. State: the rows, their places by identity, and the hourly sums."""

    def __init__(self) -> None:
        self._rows: list[Row] = []
        self._place: dict[tuple[int, str, str, int, int], int] = {}
        self._sums: Deltas = empty_deltas()

    def __repr__(self) -> str:
        return f"<MemoryLedger {len(self._rows)} entries>"

    def append(self, entries: Sequence[Entry]) -> int:
        """Add what is new; all of it or, where one raises, nothing."""
        rows, place, chain = list(self._rows), dict(self._place), self.head().chain
        new = []
        for entry in entries:
            identity, body = identity_of(entry), body_bytes(entry)
            if identity in place:
                if rows[place[identity]].body != body:
                    raise LedgerUnavailable(
                        f"{entry.kind} {entry.key} attempt {entry.attempt} revision {entry.revision} is in the "
                        "ledger with another body",
                        details={"kind": entry.kind, "key": entry.key},
                    )
                continue
            place[identity] = len(rows)
            chain = link(bytes.fromhex(chain), body).hex()
            rows.append(Row(len(rows), *identity, entry.tenant, entry.hour, body, bytes.fromhex(chain)))
            new.append(entry)
        sums = self._added_up(new, rows, place)
        self._rows, self._place, self._sums = rows, place, sums
        return len(new)

    def entries(self, *, after: int = -1, tenant: str | None = None) -> Iterable[tuple[int, Entry]]:
        """(index, entry) in order of index."""
        for row in self._rows[after + 1 :]:
            if tenant is None or row.tenant == tenant:
                yield row.idx, decode_entry(row.body)

    def verify(self) -> Sequence[str]:
        """Findings of the same audit as every other ledger's."""
        audit = Audit()
        for row in self._rows:
            audit.see(row)
        return audit.finish(self._sums)

    def head(self) -> Head:
        """How many rows there are, and the last one's chain hash."""
        return Head(size=len(self._rows), chain=self._rows[-1].chain.hex() if self._rows else GENESIS.hex())

    def _added_up(
        self, new: Sequence[Entry], rows: Sequence[Row], place: dict[tuple[int, str, str, int, int], int]
    ) -> Deltas:
        sums = empty_deltas()
        sums.update(self._sums)
        for entry in new:
            if entry.kind != "usage":
                continue
            replaced = None
            if entry.revision:
                before = place.get((*identity_of(entry)[:4], entry.revision - 1))
                if before is None or entry.revision > 1:
                    raise LedgerUnavailable(
                        f"usage {entry.key} revision {entry.revision} follows no revision {entry.revision - 1}"
                    )
                replaced = orjson.loads(rows[before].body)
            fold(sums, entry, replaced)
        return sums
