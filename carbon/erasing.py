"""Erasing a tenant: what stays of its entries, and what the ledger says of those that are gone. Pure.

Bodies, salt and names go. Rows stay as leaves of the tree, under a stand-in for the tenant: index, period, kind,
revision and hour, and of requests their key, so that an id stays unique for ever. An `erased` entry binds just these
rows by a digest, the sums that are kept by two others, and says what the erased lines had of the devices' energy, so
that conservation still closes.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from greenserve.carbon.entries import POOLS, UNMETERED, VERSION, entry_of, it_uj
from greenserve.carbon.ledger.rollup import RollupKey, digest_of
from greenserve.carbon.ledger.spend import Spend, SpendKey
from greenserve.carbon.removed_keys import SUBJECT
from greenserve.carbon.tally import Tally
from greenserve.records import Entry

KEY_BYTES = 16
SUBJECT_BYTES = 6
LONGEST_REASON = 200
PARTS = (*POOLS[:3], "waste_uj")
"""What settled lines have of their devices' intervals."""
_APART = "/"
Body = Mapping[str, Any]
Leaf = tuple[int, int, str, bytes, int, int, int]
"""What stays of a row: idx, period, kind, key, attempt, revision, hour."""


def subject_of(random: bytes) -> str:
    """The stand-in for a tenant; `random` tells nothing of it."""
    return SUBJECT + random.hex()


def key_after(kind: str, key: bytes, idx: int) -> bytes:
    """The key of an erased row: a request's own, which is random; any other follows from names, and gives way."""
    return key if kind == "usage" else hashlib.sha256(b"erased|%d" % idx).digest()[:KEY_BYTES]


class Leaves:
    """Which rows are gone. State: how many, the first and the last index, and a digest over all of them in order."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()
        self.count = 0
        self.first = self.last = -1

    def __repr__(self) -> str:
        return f"<Leaves: {self.count} from {self.first} to {self.last}>"

    def take(self, leaf: Leaf) -> None:
        """The next row, as it is after the erasure."""
        idx, period, kind, key, attempt, revision, hour = leaf
        self._digest.update(f"{idx}|{period}|{kind}|{key.hex()}|{attempt}|{revision}|{hour}\n".encode())
        self.first = self.first if self.count else idx
        self.last = idx
        self.count += 1

    def members(self) -> dict[str, object]:
        """As an `erased` entry says it."""
        return {"count": self.count, "first": self.first, "last": self.last, "sha256": self._digest.hexdigest()}


class Parts:
    """What settled lines had of the devices' intervals [uJ]. State: sums, by `take` alone."""

    def __init__(self) -> None:
        self.sums: Counter[str] = Counter()

    def take(self, body: Body) -> None:
        """A settled line; what no meter saw has no part."""
        energy_uj = it_uj(body)
        if energy_uj is None or UNMETERED in body["flags"]:
            return
        if body["charged"]:
            for name in POOLS[:3]:
                self.sums[name] += body[name]
        else:
            self.sums["waste_uj"] += energy_uj

    def members(self) -> dict[str, int]:
        """As an `erased` entry says it."""
        return {name: self.sums[name] for name in PARTS}


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """Sums that outlive a tenant's lines: rows of the hourly sums and of those that budgets are read from."""

    rollups: Sequence[tuple[RollupKey, Tally]]
    spends: Sequence[tuple[SpendKey, Spend]]

    def members(self) -> dict[str, object]:
        """As an `erased` entry says it."""
        return {
            "requests": sum(tally.requests for _, tally in self.rollups),
            "rollup_rows": len(self.rollups),
            "rollup_sha256": digest_of(self.rollups),
            "spend_rows": len(self.spends),
            "spend_sha256": _digest_of_spends(self.spends),
        }


def kept_of(
    subject: str,
    rollups: Iterable[tuple[RollupKey, Tally]],
    spends: Iterable[tuple[SpendKey, Spend]],
) -> Kept:
    """A tenant's sums under its stand-in, keys put together; `spends` are those that others share with it."""
    merged: dict[RollupKey, Tally] = {}
    for key, tally in rollups:
        merged.setdefault(key._replace(tenant=subject, key_id=""), Tally()).merge(tally)
    named = {key._replace(subject=f"{subject}{_APART}{key.subject}"): spend for key, spend in spends}
    return Kept(rollups=sorted(merged.items(), key=lambda row: row[0]), spends=sorted(named.items()))


def is_shared(subject: str) -> bool:
    """Whether a row that budgets are read from may count for more than one tenant: a model of all, an org, a key of
    before keys were one tenant's."""
    return subject.startswith(("model//", "org/", "key/"))


def whose(key: SpendKey) -> tuple[str, SpendKey]:
    """Of a kept row: whose stand-in it belongs to, and the row that it is a part of."""
    subject, _, original = key.subject.partition(_APART)
    return subject, key._replace(subject=original)


def erased_entry(
    subject: str, leaves: Leaves, parts: Parts, kept: Kept, *, reason: str, actor: str | None, at_us: int
) -> Entry:
    """The entry of an erasure: which leaves, by whom, why, and what stays."""
    return entry_of(
        {
            "kind": "erased",
            "subject": subject,
            "revision": 0,
            "at_us": at_us,
            "actor": actor,
            "reason": reason,
            "leaves": leaves.members(),
            "settled": parts.members(),
            "kept": kept.members(),
            "v": VERSION,
        }
    )


def _digest_of_spends(rows: Iterable[tuple[SpendKey, Spend]]) -> str:
    digest = hashlib.sha256()
    for key, spend in rows:
        digest.update("\x1f".join(map(str, (*key, *spend))).encode() + b"\n")
    return digest.hexdigest()
