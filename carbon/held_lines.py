"""Settled lines that are held back until all that restates them was read. Pure."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from greenserve.carbon.ledger.rollup import RollupKey
from greenserve.carbon.restating import revised, row_of

Body = Mapping[str, Any]
Request = tuple[object, int]


class HeldLines:
    """Fed in order of index. State: the newest whole body of each line of the rows asked for, and the causes by index.

    `rows` are those that any restatement changes; None holds every line.
    """

    def __init__(self, rows: Iterable[RollupKey] | None = None) -> None:
        self._rows = None if rows is None else frozenset(rows)
        self._lines: dict[RollupKey, dict[Request, Body]] = {}
        self.causes: dict[int, Body] = {}

    def __repr__(self) -> str:
        return f"<HeldLines in {len(self._lines)} rows>"

    def __bool__(self) -> bool:
        """Whether any row may be held: what is asked once per line is then worth its time."""
        return self._rows is None or bool(self._rows)

    def wants(self, row: RollupKey) -> bool:
        """Whether lines of a row are held."""
        return self._rows is None or row in self._rows

    def hold(self, row: RollupKey, request: Request, body: Body) -> None:
        """Keep a line that was settled, whole."""
        self._lines.setdefault(row, {})[request] = body

    def restate(self, body: Body) -> Sequence[tuple[Body, Body]]:
        """Apply a `restated` body: its lines as they were and as they are from here on.

        ValueError where it names a cause that no entry before it is, or a row that is not held.
        """
        row = row_of(body)
        missing = [idx for idx in body["causes"] if idx not in self.causes]
        if missing or not self.wants(row):
            raise ValueError(
                f"it names the causes {body['causes']}, of which {missing} are no intensity or factor entry before it"
                if missing
                else f"its row {row} was not announced: give all restated entries to whoever folds"
            )
        causes = [self.causes[idx] for idx in body["causes"]]
        lines = self._lines.get(row, {})
        pairs = []
        for request, old in lines.items():
            new = revised(old, causes)
            if new is not None:
                pairs.append((old, new))
                lines[request] = new
        return pairs

    def candidates(self) -> Iterator[tuple[RollupKey, Sequence[Body]]]:
        """The rows with their lines as they are now."""
        for row in sorted(self._lines):
            yield row, list(self._lines[row].values())

    def lines(self) -> Iterator[Body]:
        """All lines as they are now."""
        for lines in self._lines.values():
            yield from lines.values()
