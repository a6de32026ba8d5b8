"""Rows into the ledger: numbered, hashed into the tree, added to the sums, and the new root signed.

All of it happens inside the caller's one write transaction.
"""

import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import msgspec

from greenserve.carbon.ledger.alike import Kinds
from greenserve.carbon.ledger.driver import Driver
from greenserve.carbon.ledger.forms import Known
from greenserve.carbon.ledger.merkle import leaf_hash
from greenserve.carbon.ledger.notes import Checkpoint, Signer
from greenserve.carbon.ledger.packing import stored
from greenserve.carbon.ledger.restated_lines import Restater
from greenserve.carbon.ledger.rollup import RollupKey, Rollups, add_line, rollup_key, sums_of
from greenserve.carbon.ledger.row import Prepared, Salting, prepare_bytes, uuid_text
from greenserve.carbon.ledger.spend import Places, Spends, spend_line, spends_of
from greenserve.carbon.ledger.tiles import Tree
from greenserve.carbon.restating import row_of
from greenserve.carbon.tally import Tally
from greenserve.errors import LedgerUnavailable

SALT_SECRET_BYTES = 32
MOST_TALLIES = 4_096
MOST_FIRSTS = 200_000
_FIND = "SELECT idx, body FROM entry WHERE period = ? AND kind = ? AND key = ? AND attempt = ? AND revision = ?"
_TILE = "INSERT INTO tile VALUES (?, ?, ?) ON CONFLICT (level, pos) DO UPDATE SET hashes = excluded.hashes"
_ROLLUP = (
    "INSERT INTO rollup VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) "
    "ON CONFLICT (tenant, key_id, hour, model, variant, region, role) DO UPDATE SET "
    "requests = excluded.requests, energy_uj = excluded.energy_uj, emissions_ng = excluded.emissions_ng, "
    "unknown_uj = excluded.unknown_uj, unmetered = excluded.unmetered, provisional = excluded.provisional, "
    "tally = excluded.tally"
)
_TALLY = (
    "SELECT tally FROM rollup WHERE tenant = ? AND key_id = ? AND hour = ? AND model = ? AND variant = ? "
    "AND region = ? AND role = ?"
)
_SPEND = (
    "INSERT INTO spend VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (subject, grain, at) DO UPDATE SET "
    "requests = spend.requests + excluded.requests, tokens = spend.tokens + excluded.tokens, "
    "energy_uj = spend.energy_uj + excluded.energy_uj, emissions_ng = spend.emissions_ng + excluded.emissions_ng, "
    "unknown_uj = spend.unknown_uj + excluded.unknown_uj"
)
_CURSOR = (
    "INSERT INTO intake_cursor VALUES (?, ?, ?) ON CONFLICT (spool) DO UPDATE SET "
    '"offset" = excluded."offset", sequence = excluded.sequence'
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cursor:
    """How far a spool file was taken: the byte offset behind the last frame, and the sequence expected there."""

    offset: int
    sequence: int


class Placed(NamedTuple):
    """A row that is new in the ledger, with its index."""

    idx: int
    line: Prepared


class Appender:
    """Appends rows. State, all of it derived from the ledger and valid while the ledger is as long as the tree: the
    tree, the hot rows' tallies, tenants' salt secrets, first lines that wait for their settled one, kinds of requests,
    the last note.

    One thread at a time; after a transaction that failed, `forget` what it had changed here.
    """

    def __init__(self, *, signer: Callable[[Driver], Signer], unix_us: Callable[[], int]) -> None:
        """`signer` gives the ledger's signing key when it is first needed."""
        self._find_signer, self._unix_us = signer, unix_us
        self._signer: Signer | None = None
        self._origin = ""
        self.note: str | None = None
        self.forget()

    def __repr__(self) -> str:
        return f"<Appender at {'unknown' if self._tree is None else self._tree.size}>"

    def forget(self) -> None:
        """Drop all state: the next append reads it from the ledger."""
        self._tree: Tree | None = None
        self._tallies: Rollups = {}
        self._salts: dict[str, Salting] = {}
        self._firsts: dict[tuple[bytes, int], Placed] = {}
        self._kinds = Kinds()
        self._signer = None

    def append(self, driver: Driver, lines: Sequence[Prepared]) -> list[Placed]:
        """Insert the lines that are new; those that were, with their indices.

        The same key with the same body is skipped; with another body it is LedgerUnavailable, and so is a settled
        line without its first one. Nothing may be committed after that.
        """
        if not lines:
            return []
        tree = self._current(driver)
        placed = _numbered(tree.size, lines)
        if not driver.insert_entries(_rows(placed)):
            placed = _numbered(tree.size, _new_ones(driver, lines))
            if not driver.insert_entries(_rows(placed)):
                raise LedgerUnavailable("another process wrote the same entries at the same time; try again")
        if placed:
            self._add_up(driver, placed)
            self._grow(driver, tree, placed)
        return placed

    def _current(self, driver: Driver) -> Tree:
        """The tree as the ledger has it now; another process may have appended since."""
        size = size_of(driver)
        if self._tree is None or self._tree.size != size:
            self._tree = Tree(size, tile_reader(driver))
            self._tallies.clear()
        return self._tree

    def _grow(self, driver: Driver, tree: Tree, placed: Sequence[Placed]) -> None:
        salts = self._salts
        leaves = []
        for _, line in placed:
            salting = salts.get(line.tenant)
            if salting is None:
                salting = salts[line.tenant] = Salting(_secret_of(driver, line.tenant))
            salt = salting.salt(line.kind.encode(), line.key, line.attempt, line.revision)
            leaves.append(leaf_hash(salt, line.body))
        changed = tree.add(leaves)
        driver.many(_TILE, [(level, position, hashes) for (level, position), hashes in changed.items()])
        self._sign(driver, tree)

    def _sign(self, driver: Driver, tree: Tree) -> None:
        if self._signer is None:
            self._signer = self._find_signer(driver)
            self._origin = str(driver.all("SELECT name FROM origin")[0][0])
        root = tree.root()
        self.note = self._signer.note(Checkpoint(origin=self._origin, size=tree.size, root=root))
        driver.many("INSERT INTO checkpoint VALUES (?, ?, ?, ?)", [(tree.size, root, self.note, self._unix_us())])

    def _add_up(self, driver: Driver, placed: Sequence[Placed]) -> None:
        dirty: set[RollupKey] = set()
        places: Places = {}
        firsts, kinds, restater = self._firsts, self._kinds, Restater(driver)
        # A row's sums are read before lines are added to them; new rows are found by their absence.
        for one in placed:
            line, first = one.line, None
            if line.kind == "restated":
                # It moves the sums of lines, which may have come with it.
                dirty |= kinds.add_up(partial(self._tally, driver), places)
                dirty.add(self._restated(driver, restater.pairs(one.idx, line.decoded), line, places))
            if line.kind != "usage":
                continue
            if line.revision:
                first = self._first_of(driver, line)
            else:
                firsts[line.key, line.attempt] = one
            if not self._counted_alike(line, first):
                dirty.add(self._counted(driver, line, first, places))
        dirty |= kinds.add_up(partial(self._tally, driver), places)
        put_rollups(driver, {key: self._tallies[key] for key in sorted(dirty)})
        put_spends(driver, spends_of(places))
        if len(self._tallies) > MOST_TALLIES:
            self._tallies.clear()
        while len(firsts) > MOST_FIRSTS:
            del firsts[next(iter(firsts))]

    def _restated(
        self,
        driver: Driver,
        pairs: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]],
        line: Prepared,
        places: Places,
    ) -> RollupKey:
        key = row_of(line.decoded)
        tally = self._tally(driver, key)
        for old, new in pairs:
            tally.restate(old, new)
            spend_line(places, new, old)
        return key

    def _tally(self, driver: Driver, key: RollupKey) -> Tally:
        if key not in self._tallies:
            found = driver.all(_TALLY, key)
            self._tallies[key] = Tally.from_json(bytes(found[0][0])) if found else Tally()
        return self._tallies[key]

    def _counted_alike(self, line: Prepared, first: Placed | None) -> bool:
        """Whether a line is counted with those that are alike: it has its form, and so has the first line that it takes
        the place of."""
        form = line.form
        if isinstance(form, Known):
            self._kinds.count(form, form.line)
            return True
        if form is None or first is None or not isinstance(first.line.form, Known) or not form.charged:
            return False
        self._kinds.count(first.line.form, first.line.form.line, -1)
        self._kinds.count(first.line.form, form)
        return True

    def _counted(self, driver: Driver, line: Prepared, first: Placed | None, places: Places) -> RollupKey:
        """Count a line by its members; its row."""
        try:
            body, replaced = line.decoded, None if first is None else first.line.decoded
            key = rollup_key(body if replaced is None else replaced, line.hour)
            self._tally(driver, key)
            spend_line(places, body, replaced)
            return add_line(self._tallies, key, body, replaced)
        except (KeyError, TypeError, ValueError) as error:
            raise LedgerUnavailable(f"{_name(line)} does not add up: {type(error).__name__} {error}") from None

    def _first_of(self, driver: Driver, line: Prepared) -> Placed:
        """The line that a settled one takes the place of."""
        found = self._firsts.pop((line.key, line.attempt), None) if line.revision == 1 else None
        if found is None:
            rows = driver.all(_FIND, (*line.identity[:4], line.revision - 1)) if line.revision == 1 else []
            if not rows:
                raise LedgerUnavailable(
                    f"{_name(line)} follows no revision {line.revision - 1}; a request has a provisional line (0) and "
                    "a settled one (1)"
                )
            found = Placed(rows[0][0], prepare_bytes(bytes(rows[0][1])))
        told = line.decoded.get("first") if line.form is None or isinstance(line.form, Known) else line.form.first
        if told is not None and told is not msgspec.UNSET and told != found.idx:
            raise LedgerUnavailable(
                f"{_name(line)} says that it settles entry {told}, its first line is entry {found.idx}"
            )
        return found


def put_cursors(driver: Driver, cursors: Mapping[str, Cursor]) -> None:
    """Remember how far each spool was taken."""
    driver.many(_CURSOR, [(spool, cursor.offset, cursor.sequence) for spool, cursor in cursors.items()])


def put_spends(driver: Driver, spends: Spends) -> None:
    """Add to the sums that budgets are read from."""
    driver.many(_SPEND, [(*key, *spent) for key, spent in spends.items()])


def put_rollups(driver: Driver, rollups: Rollups) -> None:
    """Store these rows' sums instead of what they were."""
    driver.many(_ROLLUP, [(*key, *sums_of(tally), tally.to_json()) for key, tally in rollups.items()])


def size_of(driver: Driver) -> int:
    """How many entries there are."""
    last = driver.all("SELECT idx FROM entry ORDER BY idx DESC LIMIT 1")
    return int(last[0][0]) + 1 if last else 0


def tile_reader(driver: Driver) -> Callable[[int, int], bytes]:
    """Reads stored tiles; LedgerUnavailable names one that is missing."""

    def read(level: int, position: int) -> bytes:
        found = driver.all("SELECT hashes FROM tile WHERE level = ? AND pos = ?", (level, position))
        if not found:
            raise LedgerUnavailable(
                f"the tree's tile {level}/{position} is missing: run `greenserve ledger verify`, and restore the ledger"
            )
        return bytes(found[0][0])

    return read


def _name(line: Prepared) -> str:
    return f"usage {uuid_text(line.key)} revision {line.revision}"


def _numbered(size: int, lines: Iterable[Prepared]) -> list[Placed]:
    return [Placed(idx, line) for idx, line in enumerate(lines, size)]


def _rows(placed: Iterable[Placed]) -> list[tuple[Any, ...]]:
    return [(idx, *line[:7], stored(line)) for idx, line in placed]


def _new_ones(driver: Driver, lines: Sequence[Prepared]) -> list[Prepared]:
    """Those whose key is not in the ledger yet, each once; LedgerUnavailable where a key has another body there."""
    seen: dict[tuple[int, str, bytes, int, int], bytes] = {}
    new = []
    for line in lines:
        known = seen.get(line.identity)
        if known is None:
            found = driver.all(_FIND, line.identity)
            known = bytes(found[0][1] or b"") if found else None
        if known is None:
            new.append(line)
            seen[line.identity] = line.body
        elif known and known != line.body:  # Nothing is left to compare with what was erased.
            name = uuid_text(line.key) if line.kind == "usage" else line.key.hex()
            raise LedgerUnavailable(
                f"{line.kind} {name} attempt {line.attempt} revision {line.revision} is in the ledger with another "
                "body: two requests share an id, or a record was changed on its way",
                details={"kind": line.kind, "key": name},
            )
    return new


def _secret_of(driver: Driver, tenant: str) -> bytes:
    """A tenant's salt secret, made with its first entry."""
    found = driver.all("SELECT salt FROM tenant_salt WHERE tenant = ?", (tenant,))
    if found:
        return bytes(found[0][0])
    secret = secrets.token_bytes(SALT_SECRET_BYTES)
    driver.many("INSERT INTO tenant_salt VALUES (?, ?)", [(tenant, secret)])
    return secret
