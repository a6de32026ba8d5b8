"""Lines of closed months on their way into the ledger: in the transaction that closes cannot come between."""

from collections.abc import Sequence

import orjson

from greenserve.carbon.entries import US_PER_HOUR, counted_us
from greenserve.carbon.late import booked_late, is_booked_form
from greenserve.carbon.ledger.driver import Driver
from greenserve.carbon.ledger.row import Prepared

_CLOSED = "SELECT body FROM entry WHERE period = 0 AND kind = 'period'"
_STORED = "SELECT body FROM entry WHERE period = ? AND kind = ? AND key = ? AND attempt = ? AND revision = ?"


def closed_months(driver: Driver) -> frozenset[int]:
    """The months (yyyymm) that were closed."""
    return frozenset(orjson.loads(bytes(body))["period"] for (body,) in driver.all(_CLOSED) if body is not None)


def in_open_months(driver: Driver, lines: Sequence[Prepared], now_us: int) -> Sequence[Prepared]:
    """The lines as they are entered: those of closed months booked late, those that the ledger has as it has them."""
    closed = closed_months(driver)
    if not closed:
        return lines
    return [_placed(driver, line, booked_late(line, closed, now_us)) for line in lines]


def _placed(driver: Driver, line: Prepared, booked: Prepared) -> Prepared:
    if booked is line:
        return line
    stored = driver.all(_STORED, line.identity)
    if not stored or stored[0][0] is None:
        return booked
    known = bytes(stored[0][0])
    body = orjson.loads(known)
    if known != line.body and is_booked_form(body, orjson.loads(line.body)):
        return line._replace(hour=counted_us(body) // US_PER_HOUR, body=known, members=body, form=None)
    return line
