"""The reservations of devices in the ledger: what is in force, and the entry that changes it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from greenserve.canonical import LARGEST_INTEGER
from greenserve.carbon.entries import RESERVATION
from greenserve.carbon.ledger.book import SqlLedger
from greenserve.carbon.ledger.driver import Driver
from greenserve.carbon.reservations import Reservation, reservation_entry, reservations_of
from greenserve.records import Entry

_ALL = "SELECT idx, body FROM entry WHERE period = 0 AND kind = ? ORDER BY idx"
_NEWEST = (
    "SELECT body FROM entry WHERE period = 0 AND kind = ? AND idx < ? AND body IS NOT NULL ORDER BY idx DESC LIMIT 1"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """An entry of reservations that names a tenant: its index, and that of the entry that ends it (None: in force)."""

    idx: int
    until: int | None


def naming(driver: Driver, tenant: str) -> list[Told]:
    """The entries of reservations that name a tenant, in order of index."""
    found = driver.all(_ALL, (RESERVATION,))
    ends = [*(idx for idx, _ in found[1:]), None]
    return [
        Told(idx=idx, until=until)
        for (idx, data), until in zip(found, ends, strict=False)
        if data is not None and any(one.tenant == tenant for one in reservations_of(orjson.loads(bytes(data))))
    ]


def newest_reservations(ledger: SqlLedger, *, before: int | None = None) -> Mapping[str, Any] | None:
    """The body of the newest entry of reservations, or of the newest one before an index; None without any."""
    # An erasure leaves the one that counts for hours that are not closed.
    found = ledger.query(_NEWEST, (RESERVATION, LARGEST_INTEGER if before is None else before))
    return orjson.loads(bytes(found[0][0])) if found else None


def reservations_to_tell(
    ledger: SqlLedger, wanted: Iterable[Reservation], *, at_us: int, run_id: str, boot_id: str
) -> list[Entry]:
    """The entry that puts the wanted ones in force; none where the ledger says the same already."""
    before, ordered = newest_reservations(ledger), tuple(sorted(wanted))
    if ordered == (reservations_of(before) if before else ()):
        return []
    return [reservation_entry(ordered, at_us=at_us, run_id=run_id, boot_id=boot_id)]
