"""Closing a month: its sums are frozen under a digest, and the ledger says so in an entry."""

from datetime import UTC, datetime, timedelta

from greenserve.carbon.entries import US_PER_HOUR, VERSION, decode_entry, entry_of
from greenserve.carbon.ledger.book import SqlLedger
from greenserve.carbon.ledger.rollup import digest_of
from greenserve.carbon.periods import bounds_of
from greenserve.errors import InvalidRequest
from greenserve.records import Entry

GRACE_HOURS = 96
"""How long after its end a month may be closed: late lines and revised grid values come until then."""
_HOURS = "SELECT DISTINCT hour FROM entry WHERE period = ? AND kind = ?"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def close_period(ledger: SqlLedger, month: str, *, now_us: int) -> Entry:
    """Write the `period` entry of a month like 2026-10, which a new checkpoint signs; the entry.

    InvalidRequest for a month that is not over for GRACE_HOURS, was closed already, or has provisional requests or
    device hours that are not closed.
    """
    start_us, end_us = bounds_of(month, now_us=now_us, hours=None)
    first, end = start_us // US_PER_HOUR, end_us // US_PER_HOUR
    if len(month) != len("2026-10"):
        raise InvalidRequest(f"period {month}: months are closed, write one like 2026-10")
    ready_us = end_us + GRACE_HOURS * US_PER_HOUR
    if now_us < ready_us:
        ready = _EPOCH + timedelta(microseconds=ready_us)
        raise InvalidRequest(
            f"{month} can be closed from {ready:%Y-%m-%dT%H:%MZ} on, {GRACE_HOURS} hours after its end"
        )
    period = int(month.replace("-", ""))
    if any(entry.body["period"] == period for entry in closed_periods(ledger)):
        raise InvalidRequest(f"{month} was closed already; later changes are restated entries and new statements")
    waiting = [one for one in ledger.unsettled() if first <= one.hour < end]
    if waiting:
        raise InvalidRequest(
            f"{month} has {len(waiting)} requests that are not settled, such as {waiting[0].key}: let the gateway's "
            "writer settle them (start the gateway once)"
        )
    left = _open_hours(ledger, period)
    if left:
        raise InvalidRequest(
            f"{month} has {len(left)} hours of devices that are not closed, the first of them "
            f"{_EPOCH + timedelta(hours=left[0]):%Y-%m-%dT%H:%MZ}: let the gateway's writer close them (start the "
            "gateway once)"
        )
    rows = ledger.rollup_rows(None, first, end)
    head = ledger.head()
    entry = entry_of(
        {
            "kind": "period",
            "period": period,
            "revision": 0,
            "at_us": now_us,
            "requests": sum(tally.requests for _, tally in rows),
            "rollup_rows": len(rows),
            "rollup_sha256": digest_of(rows),
            "size": head.size,
            "root": head.root,
            "v": VERSION,
        }
    )
    ledger.append([entry])
    return entry


def _open_hours(ledger: SqlLedger, period: int) -> list[int]:
    """Hours since 1970 of a month (yyyymm) in which devices were metered and that the writer has not closed."""
    metered, closed = (
        {hour for (hour,) in ledger.query(_HOURS, (period, kind))} for kind in ("device_interval", "device_hour")
    )
    return sorted(metered - closed)


def closed_periods(ledger: SqlLedger) -> list[Entry]:
    """The entries of closed months, in order of index."""
    rows = ledger.query("SELECT body FROM entry WHERE period = 0 AND kind = 'period' ORDER BY idx")
    return [decode_entry(bytes(body)) for (body,) in rows]
