"""What makes a row of the ledger: its canonical bytes, its period, and the hash that binds it to all rows before it."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

from greenserve.canonical import LARGEST_INTEGER, ledger_json
from greenserve.carbon.entries import US_PER_HOUR, entry_of
from greenserve.errors import LedgerUnavailable
from greenserve.ids import unix_ms_of
from greenserve.records import Entry

GENESIS = bytes(32)
"""What the first row's hash is bound to."""
_US_PER_MS = 1_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """The ledger's end: how many rows, and the last row's chain hash in hex. Keep it to find cut tails later."""

    size: int
    chain: str

    def __str__(self) -> str:
        return f"{self.size}:{self.chain}"


@dataclass(frozen=True, slots=True)
class Row:
    """One row as stored."""

    idx: int
    period: int
    kind: str
    key: str
    attempt: int
    revision: int
    tenant: str
    hour: int
    body: bytes
    chain: bytes

    @property
    def identity(self) -> tuple[int, str, str, int, int]:
        """What is unique for ever: (period, kind, key, attempt, revision)."""
        return (self.period, self.kind, self.key, self.attempt, self.revision)


def link(previous: bytes, body: bytes) -> bytes:
    """SHA-256(previous chain hash || SHA-256(body)): changing any earlier byte changes every later hash."""
    return hashlib.sha256(previous + hashlib.sha256(body).digest()).digest()


def identity_of(entry: Entry) -> tuple[int, str, str, int, int]:
    """(period, kind, key, attempt, revision); the period is a function of the key, so uniqueness is permanent."""
    if entry.kind == "usage":
        period = month_of(unix_ms_of(entry.key) * _US_PER_MS // US_PER_HOUR)
    elif entry.kind == "device_interval":
        period = month_of(entry.hour)
    else:
        period = 0
    return (period, entry.kind, entry.key, entry.attempt, entry.revision)


def body_bytes(entry: Entry) -> bytes:
    """The canonical bytes of an entry's body; LedgerUnavailable for one that does not fit the ledger's form."""
    try:
        derived = entry_of(dict(entry.body))
    except (KeyError, TypeError) as error:
        raise LedgerUnavailable(
            f"the body of {entry.kind} {entry.key} is not whole: {type(error).__name__} {error}"
        ) from None
    if derived != entry:
        raise LedgerUnavailable(f"the columns of {entry.kind} {entry.key} differ from its body: {entry} and {derived}")
    _check(entry.body, entry.key)
    return ledger_json(entry.body)


@lru_cache(maxsize=1024)
def month_of(hour: int) -> int:
    """An hour since 1970 UTC as yyyymm."""
    moment = _EPOCH + timedelta(hours=hour)
    return moment.year * 100 + moment.month


def _check(value: Any, key: str) -> None:
    kind = type(value)
    if kind is int:
        if not -LARGEST_INTEGER <= value <= LARGEST_INTEGER:
            raise LedgerUnavailable(f"the body of {key} holds {value}, beyond 2^53 - 1")
    elif kind is str or kind is bool or value is None:
        return
    elif kind is list or kind is tuple:
        for item in value:
            _check(item, key)
    elif isinstance(value, Mapping):
        for name, item in value.items():
            if not name.isascii():
                raise LedgerUnavailable(f"the body of {key} has the name {name!r}, names are ASCII")
            _check(item, key)
    else:
        raise LedgerUnavailable(f"the body of {key} holds {value!r}: strings, integers, booleans and null are allowed")
