"""Idempotency keys and the answers that they stand for, kept in a file that all replicas of a node share.

One SQLite file in the part of the run folder that goes with the run. A key is *held* by the replica that answers it,
then *kept* with the answer for ten minutes. Nothing is given up before its time: where the room is taken, new keys are
refused. State: the file; every replica changes it, each change in one transaction. Blocks: called on a thread.
"""

import contextlib
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from greenserve.carbon.ledger.schema import use_wal
from greenserve.carbon.ledger.spool import start_ticks_of
from greenserve.units import NS_PER_S

KEPT_NS = 600 * NS_PER_S
MOST_KEYS = 20_000
MOST_BYTES = 64 * 2**20
TENANT_SHARE = 0.5
"""How much of the room one tenant may take."""

KEY_BYTES = 200
"""What a key takes beside its answer."""

BUSY_S = 5.0
FOREVER_NS = 2**62
SCHEMA = """
CREATE TABLE IF NOT EXISTS kept (
  name BLOB PRIMARY KEY, tenant TEXT NOT NULL, content BLOB NOT NULL, owner TEXT NOT NULL, until_ns INTEGER NOT NULL,
  size INTEGER NOT NULL, answer BLOB) STRICT;
CREATE INDEX IF NOT EXISTS kept_until ON kept (until_ns);
CREATE TABLE IF NOT EXISTS taken (tenant TEXT PRIMARY KEY, keys INTEGER NOT NULL, size INTEGER NOT NULL) STRICT;
CREATE TRIGGER IF NOT EXISTS kept_in AFTER INSERT ON kept BEGIN
  INSERT INTO taken VALUES (NEW.tenant, 1, NEW.size)
    ON CONFLICT (tenant) DO UPDATE SET keys = keys + 1, size = size + excluded.size;
END;
CREATE TRIGGER IF NOT EXISTS kept_grown AFTER UPDATE OF size ON kept BEGIN
  UPDATE taken SET size = size + NEW.size - OLD.size WHERE tenant = NEW.tenant;
END;
CREATE TRIGGER IF NOT EXISTS kept_out AFTER DELETE ON kept BEGIN
  UPDATE taken SET keys = keys - 1, size = size - OLD.size WHERE tenant = OLD.tenant;
  DELETE FROM taken WHERE tenant = OLD.tenant AND keys = 0;
END;
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A key that a call came with: what it is filed under, its tenant, and the digest of what is asked for."""

    name: bytes
    tenant: str
    content: bytes


@dataclass(frozen=True, slots=True)
class Claim:
    """What became of a claim.

    `mine`: answer it, then `keep` or `release`. `held`: another replica is at it. `kept`: here is the `answer`.
    `other`: the key stands for something else. `full`: no room, `retry_after_s` [s] until some is.
    """

    kind: Literal["mine", "held", "kept", "other", "full"]
    answer: bytes | None = None
    retry_after_s: int = 1


class KeptAnswers:
    """One replica's way to the file. `owner` is `PID:START:NAME` of that replica; the file is made where it is not."""

    def __init__(
        self,
        path: Path,
        *,
        owner: str,
        now_ns: Callable[[], int],
        most_keys: int = MOST_KEYS,
        most_bytes: int = MOST_BYTES,
    ) -> None:
        """`now_ns` is the monotonic clock of this machine [ns]. Raises sqlite3.Error, OSError."""
        self._owner = owner
        self._now_ns = now_ns
        self._most_keys, self._most_bytes = most_keys, most_bytes
        self._connection = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
        # The file goes with the run, so that it need not survive the machine; it does survive its processes.
        use_wal(self._connection)
        self._connection.execute("PRAGMA synchronous=OFF")
        self._connection.executescript(SCHEMA)
        path.chmod(0o600)

    def __repr__(self) -> str:
        return f"<KeptAnswers {self._owner}>"

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def taken(self) -> tuple[int, int]:
        """(keys, bytes) that are kept."""
        keys, size = self._connection.execute("SELECT total(keys), total(size) FROM taken").fetchone()
        return int(keys), int(size)

    def claim(self, wanted: Wanted) -> Claim:
        """Hold a key, or learn what it stands for. A key whose replica died, or gave it up, is free again."""
        with self._changing():
            now_ns = self._now_ns()
            self._connection.execute("DELETE FROM kept WHERE until_ns <= ?", (now_ns,))
            row = self._connection.execute(
                "SELECT content, owner, answer FROM kept WHERE name = ?", (wanted.name,)
            ).fetchone()
            if row is None:
                return self._hold(wanted, now_ns)
            content, owner, answer = row
            # What this replica answers is asked once at a time: a key that it still holds was given up.
            if answer is None and (owner == self._owner or not is_alive(owner)):
                self._connection.execute("DELETE FROM kept WHERE name = ?", (wanted.name,))
                return self._hold(wanted, now_ns)
            if bytes(content) != wanted.content:
                return Claim("other")
            return Claim("held") if answer is None else Claim("kept", bytes(answer))

    def keep(self, wanted: Wanted, answer: bytes) -> None:
        """The answer of a key that is held here, for the next ten minutes."""
        with self._changing():
            self._connection.execute(
                "UPDATE kept SET answer = ?, size = ?, until_ns = ? WHERE name = ? AND owner = ?",
                (answer, KEY_BYTES + len(answer), self._now_ns() + KEPT_NS, wanted.name, self._owner),
            )

    def release(self, wanted: Wanted) -> None:
        """A key that is held here is free again: nothing was answered."""
        with self._changing():
            self._connection.execute(
                "DELETE FROM kept WHERE name = ? AND owner = ? AND answer IS NULL", (wanted.name, self._owner)
            )

    def _hold(self, wanted: Wanted, now_ns: int) -> Claim:
        if full := self._full(wanted.tenant):
            own = "AND tenant = ?" if full == "tenant" else ""
            (soonest_ns,) = self._connection.execute(
                f"SELECT min(until_ns) FROM kept WHERE answer NOTNULL {own}", (wanted.tenant,) if own else ()
            ).fetchone()
            wait_ns = NS_PER_S if soonest_ns is None else soonest_ns - now_ns
            return Claim("full", retry_after_s=max(1, -(-wait_ns // NS_PER_S)))
        self._connection.execute(
            "INSERT INTO kept VALUES (?, ?, ?, ?, ?, ?, NULL)",
            (wanted.name, wanted.tenant, wanted.content, self._owner, FOREVER_NS, KEY_BYTES),
        )
        return Claim("mine")

    def _full(self, tenant: str) -> Literal["", "tenant", "all"]:
        """Whose room is taken: nobody's, this tenant's part, or all of it."""
        keys, size = self.taken()
        row = self._connection.execute("SELECT keys, size FROM taken WHERE tenant = ?", (tenant,)).fetchone()
        own_keys, own_size = row or (0, 0)
        if own_keys >= TENANT_SHARE * self._most_keys or own_size + KEY_BYTES > TENANT_SHARE * self._most_bytes:
            return "tenant"
        return "all" if keys >= self._most_keys or size + KEY_BYTES > self._most_bytes else ""

    @contextlib.contextmanager
    def _changing(self) -> Iterator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")


def is_alive(owner: str) -> bool:
    """Whether the process of an owner still runs: the same one, not another with its number."""
    pid, ticks, _ = owner.split(":", 2)
    return start_ticks_of(int(pid)) == int(ticks)
