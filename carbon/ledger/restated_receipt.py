"""A request's lines as a receipt shows them: with every restatement of its hour's sums that changes it."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orjson

from greenserve.carbon.entries import US_PER_HOUR, counted_us
from greenserve.carbon.held_lines import HeldLines
from greenserve.carbon.ledger.book import SqlLedger, driver_of
from greenserve.carbon.ledger.lookup import line_of, lines_of
from greenserve.carbon.ledger.restated_lines import add_causes
from greenserve.carbon.ledger.rollup import rollup_key
from greenserve.carbon.ledger.row import Row, short_key
from greenserve.carbon.receipt import Line
from greenserve.carbon.restated_keys import key_of_row
from greenserve.carbon.restating import RESTATED

FIRST_RESTATED = 2
"""The revision of a request's first restatement, behind provisional (0) and settled (1)."""
_OF_ROW = (
    "SELECT idx, period, kind, key, attempt, revision, tenant, hour, body FROM entry "
    "WHERE period = 0 AND kind = 'restated' AND key = ? AND idx > ? ORDER BY idx"
)


def receipt_lines(ledger: SqlLedger, request_id: str) -> list[Line]:
    """All lines of a request in order of index, then one per restatement that changes its newest attempt: the whole
    body as it is from there on, with the index and digests of the `restated` entry, which proves it."""
    lines = lines_of(ledger, request_id)
    if not lines:
        return lines
    attempt = max(line.body["attempt"] for line in lines)
    own = [line for line in lines if line.body["attempt"] == attempt]
    if own[-1].body["revision"] == 0:
        return lines
    whole = {name: value for line in own for name, value in line.body.items()}
    return [*lines, *_restated(ledger, whole, own[-1].index)]


def _restated(ledger: SqlLedger, whole: Mapping[str, Any], settled: int) -> Iterator[Line]:
    row = rollup_key(whole, counted_us(whole) // US_PER_HOUR)
    held = HeldLines([row])
    held.hold(row, (whole["request_id"], whole["attempt"]), whole)
    found: Sequence[Row] = []
    with ledger.reading() as connection:
        driver = driver_of(connection)
        found = [Row._make(values) for values in driver.all(_OF_ROW, (short_key(key_of_row(row)), settled))]
        for one in found:
            add_causes(driver, held, orjson.loads(one.body or b"null"))
    secrets = ledger.salt_secrets((row.tenant,)) if found else {}
    revision = FIRST_RESTATED
    for one in found:
        line = line_of(one, secrets)
        for _, new in held.restate(line.body):
            body = {**new, "state": RESTATED, "revision": revision}
            revision += 1
            yield Line(
                index=line.index, salt=line.salt, leaf_hash=line.leaf_hash, body_sha256=line.body_sha256, body=body
            )
