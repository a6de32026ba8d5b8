"""Moving bodies of closed months to files: which months are due, and what the ledger says of it. Pure."""

import re
from collections.abc import Collection, Iterable
from typing import Any

from greenserve.carbon.entries import VERSION, entry_of
from greenserve.carbon.erasing import Leaves
from greenserve.carbon.late import month_text
from greenserve.carbon.periods import bounds_of
from greenserve.records import Entry
from greenserve.units import US_PER_S

KEEP = "keep"
MOVED = ("usage", "device_interval")
"""The kinds that are moved: nearly all of a ledger's bytes. Closed hours, shares, changes and causes stay."""
_DAYS = re.compile(r"([1-9][0-9]{0,4})d")
_US_PER_DAY = 86_400 * US_PER_S


def retention_us(text: str) -> int | None:
    """How long bodies stay after their month's end [us], from `400d`; None for `keep`. ValueError for other texts."""
    if text == KEEP:
        return None
    matched = _DAYS.fullmatch(text)
    if matched is None:
        raise ValueError(f"write {KEEP}, or days such as 400d; got {text!r:.40}")
    return int(matched[1]) * _US_PER_DAY


def due_months(closed: Iterable[int], archived: Collection[int], keep_us: int, now_us: int) -> list[int]:
    """The closed months (yyyymm) that ended `keep_us` ago or earlier and are not archived, in order."""
    ends = {month: bounds_of(month_text(month), now_us=now_us, hours=None)[1] for month in closed}
    return sorted(month for month, end_us in ends.items() if month not in archived and end_us + keep_us <= now_us)


def archived_entry(
    month: int, leaves: Leaves, *, file: str, sha256: str | None, revision: int, at_us: int, actor: str | None
) -> Entry:
    """The entry of a move: which leaves' bodies, to which file, with its digest. Without leaves and digest: they were
    taken back, and the file's job is done."""
    body: dict[str, Any] = {
        "kind": "archived",
        "period": month,
        "revision": revision,
        "at_us": at_us,
        "actor": actor,
        "file": file,
        "sha256": sha256,
        "leaves": leaves.members(),
        "v": VERSION,
    }
    return entry_of(body)
