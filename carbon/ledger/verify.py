"""The whole audit of a ledger: the tree with its signed checkpoints, all that re-derives, and keys that stand twice.

Each part reads the rows by itself, in one read transaction, so that two processes can do them side by side.
"""

import gc
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice

from greenserve.carbon.ledger.archive_entries import archive_findings, archived_bodies, lacks_archives
from greenserve.carbon.ledger.archives import Archives
from greenserve.carbon.ledger.audit import Audit
from greenserve.carbon.ledger.chain import GENESIS, link
from greenserve.carbon.ledger.driver import Driver
from greenserve.carbon.ledger.merkle import leaf_hash
from greenserve.carbon.ledger.notes import Verifier, parse_note
from greenserve.carbon.ledger.packing import own_body
from greenserve.carbon.ledger.pairs import Values, row_of
from greenserve.carbon.ledger.removals import GoneRows
from greenserve.carbon.ledger.restated_lines import erased_bodies, restated_rows
from greenserve.carbon.ledger.rollup import RollupKey, Sums
from greenserve.carbon.ledger.row import Row, Salting, salt_of
from greenserve.carbon.ledger.spend import Spend, SpendKey
from greenserve.carbon.ledger.tiles import HASH_BYTES, WIDTH, Tile, Tree
from greenserve.errors import InvalidRequest

COLLECT_EVERY = 100_000
GROUP = 2 * WIDTH
"""How many rows are read at once: a whole number of tiles, and what a core's cache holds."""
SIGNATURES = 1_000
"""Of how many checkpoints, from the newest, the signature is checked; the older ones' roots are in the same tree."""
_ROWS = "SELECT idx, period, kind, key, attempt, revision, tenant, hour, body AS kept FROM entry ORDER BY idx"
# The unique index cannot show what stands twice in the table.
_TWICE = (
    "SELECT max(idx) FROM entry {} GROUP BY period, kind, key, attempt, revision HAVING count(*) > 1 "
    "ORDER BY 1 LIMIT 10"
)


def verify_all(driver: Driver, archives: Archives) -> list[str]:
    """Findings, empty when everything re-derives: each names the first bad index. In a read transaction."""
    return [*verify_tree(driver, archives), *verify_sums(driver, archives), *verify_keys(driver)]


def verify_tree(driver: Driver, archives: Archives) -> list[str]:
    """Findings of every row against the tree, and of the tree against its signed checkpoints."""
    tree = TreeAudit(driver)
    for rows in _groups(driver, archives):
        tree.see_all(rows)
    return [*tree.finish(), *archive_findings(driver, archives)]


def verify_sums(driver: Driver, archives: Archives) -> list[str]:
    """Findings of every row against itself and those before it, and of the sums that are kept of them; none where the
    file of an archived month is not there, which `verify_tree` says."""
    if lacks_archives(driver, archives):
        return []
    audit = Audit(restated_rows(driver))
    for rows in _groups(driver, archives):
        audit.see_all(rows)
    stored = {RollupKey(*row[:7]): (Sums(*row[7:13]), bytes(row[13])) for row in driver.all("SELECT * FROM rollup")}
    spent = {SpendKey(*row[:3]): Spend(*row[3:]) for row in driver.all("SELECT * FROM spend")}
    return audit.finish(stored, spent)


def verify_keys(driver: Driver) -> list[str]:
    """Findings of keys that stand twice in the table, whatever its index says."""
    return [f"entry {row[0]}: its key stands twice" for row in driver.all(_TWICE.format(driver.table_only))]


def _groups(driver: Driver, archives: Archives) -> Iterator[Sequence[Values]]:
    usual = gc.get_threshold()
    # Nothing here refers in circles, and looking for that takes a sixth of the time.
    gc.set_threshold(COLLECT_EVERY, *usual[1:])
    rows = driver.each(_ROWS)
    try:
        while group := list(islice(rows, GROUP)):
            yield archives.fill_values(group)
    finally:
        gc.set_threshold(*usual)


class TreeAudit:
    """Hashes every row again, and compares with the stored tiles and checkpoints. State: the tree so far, the stored
    leaves of the tile at hand, checkpoints that are still ahead, findings."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._tree = Tree()
        self._findings: list[str] = []
        self._salts = {tenant: bytes(salt) for tenant, salt in driver.all("SELECT tenant, salt FROM tenant_salt")}
        self._salting = {tenant: Salting(secret) for tenant, secret in self._salts.items()}
        self._verifiers = [Verifier.parse(text) for (text,) in driver.all("SELECT verifier FROM signer")]
        self._origin, self._chained, self._old_head = driver.all("SELECT name, chained, chain FROM origin")[0]
        self._chain = GENESIS
        self._ahead = deque(driver.all("SELECT size, root, note FROM checkpoint ORDER BY size"))
        self._gone = GoneRows(erased_bodies(driver), archived_bodies(driver))
        self._signed_from = self._ahead[-SIGNATURES][0] if len(self._ahead) > SIGNATURES else 0
        self._stored = b""

    def see_all(self, rows: Sequence[Values]) -> None:
        """As `see` for each of them, tile by tile where a tile's rows give just the stored one."""
        for first in range(0, len(rows), WIDTH):
            of_tile = rows[first : first + WIDTH]
            if not self._take(of_tile):
                for values in of_tile:
                    row = row_of(values)
                    self.see(row)
                    if row.body is not None and own_body(values[8]) is None:
                        self._findings.append(
                            f"entry {row.idx} ({row.name}): its body is kept in another way than packed"
                        )

    def _take(self, rows: Sequence[Values]) -> bool:
        """Whether these rows make up the next tile as it is stored, and are in the tree now."""
        first = self._tree.size
        if len(rows) < WIDTH or first % WIDTH or first < self._chained:
            return False
        if self._ahead and self._ahead[0][0] < first + WIDTH:
            return False
        leaves = leaves_of(rows, self._salting)
        if leaves is None or b"".join(leaves) != self._tile(0, first // WIDTH):
            return False
        full_tiles: dict[Tile, bytes] = {}
        self._tree.push_tile(leaves, full_tiles)
        self._compare(full_tiles)
        self._check_reached()
        return True

    def see(self, row: Row) -> None:
        """Hash the next row, in order of index."""
        at = self._tree.size % WIDTH
        if at == 0:
            self._stored = self._tile(0, self._tree.size // WIDTH)
        expected = self._stored[at * HASH_BYTES : (at + 1) * HASH_BYTES]
        leaf = expected
        if row.body is None:
            if row.idx < self._chained:
                self._chained = 0  # The older format's chain cannot be made again without it.
            if not self._gone.take(row):
                self._findings.append(
                    f"entry {row.idx} ({row.name}): its body was erased, which no erased entry speaks of; its hash is "
                    "in the tree"
                )
        elif row.tenant not in self._salts:
            self._findings.append(f"entry {row.idx} ({row.name}): the salt of tenant {row.tenant} is missing")
        else:
            secret = self._salts[row.tenant]
            leaf = leaf_hash(salt_of(secret, row.kind, row.key, row.attempt, row.revision), row.body)
            if row.idx < self._chained:
                self._chain = link(self._chain, row.body)
        if leaf != expected:
            self._findings.append(
                f"entry {row.idx} ({row.name}): its hash is not the tree's: this entry or its hash was changed, or an "
                "entry before it removed"
            )
        full_tiles: dict[Tile, bytes] = {}
        self._tree.push(leaf or bytes(HASH_BYTES), full_tiles)
        if full_tiles:
            self._compare(full_tiles)
        self._check_reached()

    def _check_reached(self) -> None:
        while self._ahead and self._ahead[0][0] <= self._tree.size:
            self._check(*self._ahead.popleft())

    def finish(self) -> list[str]:
        """All findings."""
        self._findings += self._gone.findings()
        self._compare(self._tree.open_tiles())
        count = self._driver.all("SELECT count(*) FROM tile")[0][0]
        if count != (expected := tiles_of(self._tree.size)):
            self._findings.append(f"entry {self._tree.size}: the tree has {count} tiles, its entries make {expected}")
        for size, _, _ in self._ahead:
            self._findings.append(f"entry {self._tree.size}: a checkpoint says that there were {size} entries")
        if self._chained and self._tree.size >= self._chained and self._chain != bytes(self._old_head):
            self._findings.append(f"entry {self._chained - 1}: the hash chain of the older format ends otherwise")
        more = len(self._findings) - 10
        return self._findings if more <= 0 else [*self._findings[:10], f"tree: {more} more findings"]

    def _check(self, size: int, root: bytes, note: str) -> None:
        name = f"checkpoint of {size} entries"
        if size != self._tree.size or bytes(root) != self._tree.root():
            self._findings.append(f"entry {size - 1}: the {name} has another root than the entries up to here")
        try:
            told = parse_note(note)
        except InvalidRequest as error:
            self._findings.append(f"entry {size - 1}: the {name}: {error}")
            return
        if (told.origin, told.size, told.root) != (self._origin, size, bytes(root)):
            self._findings.append(f"entry {size - 1}: the note of the {name} says something else")
        elif size >= self._signed_from and not any(one.check(note) for one in self._verifiers):
            self._findings.append(f"entry {size - 1}: the {name} is not signed by a key of this ledger")

    def _compare(self, tiles: Mapping[Tile, bytes]) -> None:
        for (level, position), hashes in tiles.items():
            if self._tile(level, position) != hashes and level:
                first = position * WIDTH ** (level + 1)
                self._findings.append(f"entry {first}: the tile {level}/{position} of the tree over it was changed")

    def _tile(self, level: int, position: int) -> bytes:
        found = self._driver.all("SELECT hashes FROM tile WHERE level = ? AND pos = ?", (level, position))
        return bytes(found[0][0]) if found else b""


def leaves_of(rows: Iterable[Values], salts: Mapping[str, Salting]) -> list[bytes] | None:
    """The leaf hashes of rows; None where one has no body, or not kept as it should be, or its tenant no salt."""
    leaves = []
    for _, _, kind, key, attempt, revision, tenant, _, body in rows:
        salting = salts.get(tenant)
        if salting is None or body is None:
            return None
        whole = own_body(body)
        if whole is None:
            return None
        leaves.append(leaf_hash(salting.salt(kind.encode(), key, attempt, revision), whole))
    return leaves


def tiles_of(size: int) -> int:
    """How many tiles a tree of `size` leaves has."""
    count = 0
    while size:
        count += -(-size // WIDTH)
        size //= WIDTH
    return count


def old_chain_at(rows: Iterator[Row], size: int) -> str:
    """The hash over the first `size` rows as formats 1 and 2 chained them, in hex: what their heads are checked by."""
    chain = GENESIS
    for _, row in zip(range(size), rows, strict=False):
        chain = link(chain, row.body or b"")
    return chain.hex()
