"""What the ledger says of archived months: their entries, the rows whose bodies were moved, and whether both agree."""

from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from greenserve.carbon.archiving import MOVED
from greenserve.carbon.erasing import Leaves
from greenserve.carbon.late import month_text
from greenserve.carbon.ledger.archives import Archives, sha256_of
from greenserve.carbon.ledger.driver import Driver
from greenserve.carbon.ledger.row import Row
from greenserve.carbon.removed_keys import is_erased

ROWS = "SELECT idx, period, kind, key, attempt, revision, tenant, hour, body FROM entry "
KINDS = ", ".join(f"'{kind}'" for kind in MOVED)
ENTRIES = "SELECT idx, body FROM entry WHERE period = 0 AND kind = ? ORDER BY idx"
_GONE = f"{ROWS} WHERE period = ? AND body IS NULL AND kind IN ({KINDS}) ORDER BY idx"


def archived_bodies(driver: Driver) -> dict[int, tuple[int, Mapping[str, Any]]]:
    """The newest `archived` body of each month, with its index."""
    found = {}
    for idx, data in driver.all(ENTRIES, ("archived",)):
        body = orjson.loads(bytes(data))
        found[body["period"]] = (idx, body)
    return found


def archive_findings(driver: Driver, archives: Archives) -> Iterator[str]:
    """Archived months whose rows or file are not those that their entries name."""
    for month, (idx, body) in archived_bodies(driver).items():
        name = f"entry {idx} (archived {month_text(month)})"
        leaves, path = Leaves(), archives.path(month)
        for row in gone_rows(driver, month):
            leaves.take((row.idx, row.period, row.kind, row.key, row.attempt, row.revision, row.hour))
        if leaves.members() != body["leaves"]:
            yield f"{name}: says that {body['leaves']} were moved, the rows say {leaves.members()}"
        if body["sha256"] is None:
            continue
        if not path.is_file():
            yield (
                f"{name}: {path} is not there: its {leaves.count} entries are checked by their hashes in the tree "
                "alone, and no sums can be folded again; put the file back to verify them"
            )
        elif sha256_of(path) != body["sha256"]:
            yield f"{name}: {path} has the SHA-256 {sha256_of(path)}, it was written with {body['sha256']}"


def lacks_archives(driver: Driver, archives: Archives) -> bool:
    """Whether a file of an archived month is not there."""
    bodies = archived_bodies(driver)
    return any(body["sha256"] and not archives.path(month).is_file() for month, (_, body) in bodies.items())


def gone_rows(driver: Driver, month: int) -> list[Row]:
    """A month's rows whose bodies were moved, in order of index."""
    rows = [Row._make(values) for values in driver.all(_GONE, (month,))]
    return [row._replace(key=bytes(row.key)) for row in rows if not is_erased(row.tenant)]
