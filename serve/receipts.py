"""What one request cost, for the tenant whose it was: the same over every protocol."""

from greenserve.carbon.ledger.book import SqlLedger
from greenserve.carbon.ledger.restated_receipt import receipt_lines
from greenserve.carbon.receipt import Line, receipt_document
from greenserve.errors import InvalidRequest, KeyBlocked, NotFound
from greenserve.ids import is_request_id, unix_ms_of
from greenserve.ports import Clock
from greenserve.records import Tenant
from greenserve.serve import names
from greenserve.serve.http.admin.desk import Desk

YOUNG_MS = 60_000
"""A request that old may still wait in a spool; the writer takes lines in ten times a second."""
AHEAD_MS = 60_000
_US_PER_MS = 1_000


class Receipts:
    """Looks receipts up in the ledger. One that is not there, and one of another tenant, look the same."""

    def __init__(self, *, ledger: SqlLedger, clock: Clock) -> None:
        self._ledger, self._clock = ledger, clock
        self._desk = Desk("receipts", most_waiting=256)

    def __repr__(self) -> str:
        return f"<Receipts: {self._desk!r}>"

    def close(self) -> None:
        """Let the threads go."""
        self._desk.close()

    async def document(self, tenant: Tenant, given: str) -> dict[str, object]:
        """The receipt of a tenant's own request by its id.

        Raises InvalidRequest for what is no id, KeyBlocked where figures are withheld from the tenant, NotFound, and
        Overloaded where too many ask at once.
        """
        request_id = given.lower()
        if not is_request_id(request_id):
            raise InvalidRequest(
                f"id: {given!r:.80} is no request's id; it is a UUID of version 7, as in {names.REQUEST_ID}"
            )
        if tenant.exposure == "off":
            raise KeyBlocked(
                f"energy figures are withheld from {tenant.tenant_id} (exposure off), receipts too; ask whoever "
                "administers this gateway"
            )
        lines = [line for line in await self._desk.run(lambda: self._lines(request_id)) if _belongs(line, tenant)]
        if not lines:
            raise self._missing(request_id)
        return receipt_document(lines, rounded=tenant.exposure == "rounded")

    def _lines(self, request_id: str) -> list[Line]:
        # A UUIDv7 may carry a time that no calendar has; then nothing can be in the ledger.
        if not self._is_of_our_time(request_id):
            return []
        return receipt_lines(self._ledger, request_id)

    def _is_of_our_time(self, request_id: str) -> bool:
        return unix_ms_of(request_id) <= self._clock.unix_us() // _US_PER_MS + AHEAD_MS

    def _missing(self, request_id: str) -> NotFound:
        """Only the id's own time tells pending from unknown, so that nothing is said about others' requests."""
        age_ms = self._clock.unix_us() // _US_PER_MS - unix_ms_of(request_id)
        if -AHEAD_MS <= age_ms < YOUNG_MS:
            return NotFound(
                f"no receipt {request_id} yet: the ledger takes requests in within a second or so of their answer; if "
                "the id is one of your own, ask again",
                retry_after_s=1,
                details={"state": "pending"},
            )
        return NotFound(
            f"no receipt {request_id} is yours; ids stand in the header {names.REQUEST_ID} of each answer",
            details={"state": "unknown"},
        )


def _belongs(line: Line, tenant: Tenant) -> bool:
    """Lines that are not charged are the platform's loss, whoever asked."""
    return bool(line.body["tenant"] == tenant.tenant_id and line.body["charged"])
