"""Restatements in the ledger's tables: the lines that one changes, as they stood right before it."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orjson

from greenserve.carbon.held_lines import HeldLines
from greenserve.carbon.ledger.driver import Driver
from greenserve.carbon.ledger.rollup import RollupKey, rollup_key
from greenserve.carbon.restated_keys import CAUSES
from greenserve.carbon.restating import faults_of, row_of
from greenserve.errors import LedgerUnavailable

Body = Mapping[str, Any]
_OF_HOUR = (
    "SELECT idx, kind, key, attempt, revision, body FROM entry WHERE tenant = ? AND hour = ? AND idx < ? "
    "AND kind IN ('usage', 'restated') ORDER BY idx"
)
_ALL = "SELECT idx, body FROM entry WHERE period = 0 AND kind = ? ORDER BY idx"


def held_of(driver: Driver, tenant: str, hour: int, before: int) -> HeldLines:
    """All settled lines of a tenant's hour as they stand right before the index `before`, their causes with them."""
    held = HeldLines()
    waiting: dict[tuple[bytes, int], Body] = {}
    for idx, kind, key, attempt, revision, data in driver.all(_OF_HOUR, (tenant, hour, before)):
        if data is None:
            raise LedgerUnavailable(
                f"entry {idx} of {tenant} is archived: its hour can be restated once `greenserve ledger archive "
                "--restore MONTH` has taken its month back"
            )
        body = orjson.loads(bytes(data))
        if kind == "restated":
            add_causes(driver, held, body)
            held.restate(body)
        elif revision == 0:
            waiting[bytes(key), attempt] = body
        else:
            whole = {**waiting.pop((bytes(key), attempt)), **body}
            held.hold(rollup_key(whole, hour), (bytes(key), attempt), whole)
    return held


def add_causes(driver: Driver, held: HeldLines, body: Body) -> None:
    """Read what a `restated` body names as its causes."""
    for idx in body["causes"]:
        if idx not in held.causes:
            found = driver.all("SELECT kind, body FROM entry WHERE idx = ?", (idx,))
            if found and found[0][0] in CAUSES:
                held.causes[idx] = orjson.loads(bytes(found[0][1]))


class Restater:
    """Derives what `restated` entries of one transaction change. State: the hour of the last one, which the next one
    goes on from where no other entry came between."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._held = HeldLines()
        self._place: tuple[str, int, int] | None = None

    def __repr__(self) -> str:
        return f"<Restater at {self._place}>"

    def pairs(self, idx: int, body: Body) -> Sequence[tuple[Body, Body]]:
        """The lines that an entry restates, before and after; LedgerUnavailable where it says otherwise."""
        row = row_of(body)
        if self._place != (row.tenant, row.hour, idx):
            self._held = held_of(self._driver, row.tenant, row.hour, idx)
        add_causes(self._driver, self._held, body)
        try:
            pairs = self._held.restate(body)
            faults = list(faults_of(body, pairs))
        except (KeyError, TypeError, ValueError) as error:
            faults = [f"{type(error).__name__} {error}"]
        if faults:
            raise LedgerUnavailable(f"restated {row} revision {body['revision']}: {'; '.join(faults)}")
        self._place = (row.tenant, row.hour, idx + 1)
        return pairs


def restated_bodies(driver: Driver) -> Iterator[tuple[int, Body]]:
    """All `restated` entries in order of index."""
    return _bodies(driver, "restated")


def cause_bodies(driver: Driver) -> dict[int, Body]:
    """All entries of revised readings and factors, by index."""
    return {idx: body for kind in CAUSES for idx, body in _bodies(driver, kind)}


def erased_bodies(driver: Driver) -> Iterator[tuple[int, Body]]:
    """All `erased` entries in order of index."""
    return _bodies(driver, "erased")


def restated_rows(driver: Driver) -> frozenset[RollupKey]:
    """The rows of the sums that any restatement changed."""
    return frozenset(row_of(body) for _, body in restated_bodies(driver))


def _bodies(driver: Driver, kind: str) -> Iterator[tuple[int, Body]]:
    for idx, data in driver.all(_ALL, (kind,)):
        if data is not None:
            yield idx, orjson.loads(bytes(data))
