"""What makes a row of the ledger: its canonical bytes, its key and period, and its salt. Pure."""

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, NamedTuple

import orjson

from greenserve.canonical import LARGEST_INTEGER
from greenserve.carbon.entries import HOURLY, US_PER_HOUR, counted_us, entry_of
from greenserve.carbon.ledger.forms import Known, SettledLine
from greenserve.errors import LedgerUnavailable
from greenserve.records import Entry

KEY_BYTES = 16
BY_MONTH = HOURLY | {"device_interval"}
"""Kinds beside usage whose natural key names a time, and so their month."""
SALT_BYTES = 16
_BLOCK_BYTES = hashlib.sha256().block_size
_INNER, _OUTER = (bytes(value ^ pad for value in range(256)) for pad in (0x36, 0x5C))
_sha256 = hashlib.sha256
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS_PER_HOUR = US_PER_HOUR // 1_000
_CANONICAL = orjson.OPT_SORT_KEYS | orjson.OPT_STRICT_INTEGER
_PLAIN = frozenset((int, str, bool, type(None)))
_NESTED = frozenset((list, tuple, dict))
_ALLOWED = _PLAIN | _NESTED


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """The ledger's end: how many entries, and the root hash of their tree in hex. Keep it to find cut tails later."""

    size: int
    root: str

    def __str__(self) -> str:
        return f"{self.size}:{self.root}"

    @property
    def chain(self) -> str:
        """The same hash, by the name that statements of schema 1 give it."""
        return self.root


class Row(NamedTuple):
    """One row as stored; `body` is None where it was erased."""

    idx: int
    period: int
    kind: str
    key: bytes
    attempt: int
    revision: int
    tenant: str
    hour: int
    body: bytes | None

    @property
    def name(self) -> str:
        """What findings call it."""
        return f"{self.kind} {uuid_text(self.key) if self.kind == 'usage' else self.key.hex()}"


class Prepared(NamedTuple):
    """A row on its way into the ledger: its columns but the index, its canonical body, and the same decoded, as members
    (None: not yet) or, for the lines of a request as this version writes them, in its form."""

    period: int
    kind: str
    key: bytes
    attempt: int
    revision: int
    tenant: str
    hour: int
    body: bytes
    members: Mapping[str, Any] | None = None
    form: Known | SettledLine | None = None

    @property
    def decoded(self) -> Mapping[str, Any]:
        """The body's members."""
        decoded: Mapping[str, Any] = orjson.loads(self.body) if self.members is None else self.members
        return decoded

    @property
    def identity(self) -> tuple[int, str, bytes, int, int]:
        """What is unique for ever."""
        return self[:5]


def prepare(entry: Entry) -> Prepared:
    """The row of an entry; LedgerUnavailable for one that does not fit the ledger's form."""
    try:
        derived = entry_of(dict(entry.body))
    except (KeyError, TypeError) as error:
        raise LedgerUnavailable(
            f"the body of {entry.kind} {entry.key} is not whole: {type(error).__name__} {error}"
        ) from None
    if derived != entry:
        raise LedgerUnavailable(f"the columns of {entry.kind} {entry.key} differ from its body: {entry} and {derived}")
    return _prepared(entry, canonical_body(entry.body, entry.key))


def prepare_bytes(data: bytes) -> Prepared:
    """The row of a serialised body: the same bytes where they are canonical, as a gateway's spool has them."""
    try:
        body = orjson.loads(data)
        if type(body) is not dict:
            raise TypeError(f"a body is an object with members, not {type(body).__name__}")
        canonical = canonical_body(body, "a spooled line")
        if body["kind"] == "usage":
            key, period = usage_key(body["request_id"])
            hour = counted_us(body) // US_PER_HOUR
            own = data if canonical == data else canonical
            return Prepared(period, "usage", key, body["attempt"], body["revision"], body["tenant"], hour, own, body)
        return _prepared(entry_of(body), canonical)
    except (orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise LedgerUnavailable(f"{data[:60]!r}... is no ledger body: {type(error).__name__} {error}") from None


def canonical_body(body: Mapping[str, Any], name: str) -> bytes:
    """The canonical bytes of a body: RFC 8785 narrowed to ASCII names and integers below 2^53; LedgerUnavailable."""
    if not _ALLOWED.issuperset(map(type, body.values())):
        check_form(body, name)
    for value in body.values():
        if type(value) in _NESTED and value:
            inner = value.values() if type(value) is dict else value
            # Names and large integers are found below; deeper values and other types one by one.
            if not _PLAIN.issuperset(map(type, inner)):
                check_form(value, name)
    try:
        data = orjson.dumps(body, option=_CANONICAL)
    except TypeError:
        check_form(body, name)
        raise
    if not data.isascii():
        check_form(body, name)
    return data


def check_form(value: Any, name: str) -> None:
    """LedgerUnavailable that names what does not fit the ledger's form."""
    kind = type(value)
    if kind is int:
        if not -LARGEST_INTEGER <= value <= LARGEST_INTEGER:
            raise LedgerUnavailable(f"the body of {name} holds {value}, beyond 2^53 - 1")
    elif kind in _PLAIN:
        return
    elif kind is list or kind is tuple:
        for item in value:
            check_form(item, name)
    elif isinstance(value, Mapping):
        for member, item in value.items():
            if not member.isascii():
                raise LedgerUnavailable(f"the body of {name} has the name {member!r}, names are ASCII")
            check_form(item, name)
    else:
        raise LedgerUnavailable(f"the body of {name} holds {value!r}: strings, integers, booleans and null are allowed")


def columns_of(entry: Entry) -> tuple[int, str, bytes, int, int, str, int]:
    """Period, kind, key, attempt, revision, tenant and hour; the period is a function of the key, so that uniqueness
    is permanent."""
    if entry.kind == "usage":
        key, period = usage_key(entry.key)
    else:
        key = short_key(entry.key)
        period = month_of(entry.hour) if entry.kind in BY_MONTH else 0
    return (period, entry.kind, key, entry.attempt, entry.revision, entry.tenant, entry.hour)


def short_key(natural_key: str) -> bytes:
    """What stands for a natural key in the column: the first 16 bytes of its SHA-256."""
    return hashlib.sha256(natural_key.encode()).digest()[:KEY_BYTES]


def usage_key(request_id: str) -> tuple[bytes, int]:
    """A request's key and period (yyyymm) from its UUIDv7; LedgerUnavailable for another text."""
    try:
        key = bytes.fromhex(request_id.replace("-", ""))
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES or key[6] >> 4 != 7 or uuid_text(key) != request_id:
        raise LedgerUnavailable(f"{request_id!r:.60} is no UUIDv7 in its usual form")
    return key, month_of(int.from_bytes(key[:6]) // _MS_PER_HOUR)


def uuid_text(key: bytes) -> str:
    """16 bytes as a UUID is written."""
    text = key.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def salt_of(secret: bytes, kind: str, key: bytes, attempt: int, revision: int) -> bytes:
    """The salt of a row's leaf, from its tenant's secret: those who see sibling hashes cannot guess bodies."""
    name = b"%s|%s|%d|%d" % (kind.encode(), key.hex().encode(), attempt, revision)
    return hmac.digest(secret, name, "sha256")[:SALT_BYTES]


class Salting:
    """`salt_of` for one tenant's rows, in half the time. State: none that changes.

    HMAC-SHA-256 (RFC 2104) with the two padded keys made once: a key of at most a block needs no hashing.
    """

    __slots__ = ("_inner", "_outer")

    def __init__(self, secret: bytes) -> None:
        """ValueError for a secret longer than a block of the hash."""
        if len(secret) > _BLOCK_BYTES:
            raise ValueError(f"a salt's secret has at most {_BLOCK_BYTES} bytes, got {len(secret)}")
        padded = secret.ljust(_BLOCK_BYTES, b"\0")
        self._inner, self._outer = padded.translate(_INNER), padded.translate(_OUTER)

    def salt(self, kind: bytes, key: bytes, attempt: int, revision: int) -> bytes:
        """The salt of a row's leaf."""
        name = b"%s%s|%s|%d|%d" % (self._inner, kind, key.hex().encode(), attempt, revision)
        return _sha256(self._outer + _sha256(name).digest()).digest()[:SALT_BYTES]


@lru_cache(maxsize=1024)
def month_of(hour: int) -> int:
    """An hour since 1970 UTC as yyyymm."""
    moment = _EPOCH + timedelta(hours=hour)
    return moment.year * 100 + moment.month


def _prepared(entry: Entry, body: bytes) -> Prepared:
    return Prepared(*columns_of(entry), body, entry.body)
