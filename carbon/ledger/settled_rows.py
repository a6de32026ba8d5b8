"""The rows that settle requests, made of what the meter's shares are."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from greenserve.carbon.cuts import edges_of
from greenserve.carbon.entries import Body, entry_of, settled_body, unmetered_body
from greenserve.carbon.gathering import Whole
from greenserve.carbon.ledger.boards import Boards, bounds
from greenserve.carbon.ledger.forms import FirstLine, Known
from greenserve.carbon.ledger.known import settled_form
from greenserve.carbon.ledger.row import Prepared, canonical_body
from greenserve.carbon.ledger.rows import Placed
from greenserve.carbon.settlement import Pending, Settled
from greenserve.records import Entry, Usage


class Written(NamedTuple):
    """An entry that the ledger holds now; of a settled line also the first one."""

    line: Prepared
    first: Prepared | None

    @property
    def entry(self) -> Entry:
        """The entry, a settled line's body merged over its first line's."""
        first = {} if self.first is None else self.first.decoded
        return entry_of({**first, **self.line.decoded})


def pending_line(name: str, line: FirstLine) -> Pending:
    """As `pending`, for a line in its form: charged, and not cut."""
    return Pending(
        request_id=name,
        start_ns=line.start_ns,
        end_ns=line.end_ns,
        cpu_ns=line.cpu_ns or 0,
        host_cpu_ns=line.host_cpu_ns or 0,
        held_ns=line.held_ns or 0,
    )


def pending(name: str, body: Mapping[str, Any]) -> Pending:
    """What the settler is to know of a first line."""
    return Pending(
        request_id=name,
        start_ns=body["start_ns"],
        end_ns=body["end_ns"],
        cpu_ns=body["cpu_ns"] or 0,
        host_cpu_ns=body["host_cpu_ns"] or 0,
        held_ns=body["held_ns"] or 0,
        charged=body["charged"],
        edges_ns=edges_of(body),
    )


def _short(first: Placed, body: Body) -> Prepared:
    """The row of a settled body: the columns are its first line's, one revision on."""
    period, kind, key, attempt, _, tenant, hour = first.line[:7]
    return Prepared(period, kind, key, attempt, 1, tenant, hour, canonical_body(body, body["request_id"]), body)


def settled_row(settled: Settled, first: Placed, half_width_pct: int | None) -> tuple[Prepared, Placed]:
    """The settled line of a request of the CPU alone, with its 90 % interval by the meter's half width."""
    low_uj, high_uj = bounds(settled.active_uj + settled.held_uj + settled.host_uj, half_width_pct)
    known = first.line.form
    if isinstance(known, Known) and not settled.cut:
        form, data = settled_form(known, first.idx, settled, (low_uj, high_uj))
        period, kind, key, attempt, _, tenant, hour = first.line[:7]
        return Prepared(period, kind, key, attempt, 1, tenant, hour, data, None, form), first
    usage = Usage(
        request_id=first.line.decoded["request_id"],
        active_uj=settled.active_uj,
        held_uj=settled.held_uj,
        host_uj=settled.host_uj,
        low_uj=low_uj,
        high_uj=high_uj,
        tier=settled.tier,
        state="settled",
    )
    body = settled_body(first.line.decoded, usage, settled.flags, first=first.idx, slots=settled.cut)
    return _short(first, body), first


def unmetered_row(first: Placed) -> tuple[Prepared, Placed]:
    """The line of a request that no meter saw: it keeps its provisional value."""
    return _short(first, unmetered_body(first.line.decoded, first=first.idx)), first


def whole_row(
    boards: Boards, whole: Whole, first: Placed, half_widths: Mapping[str, int | None]
) -> tuple[Prepared, Placed]:
    """The settled line of a request that ran on boards, with its parts by device."""
    provisional = first.line.decoded
    usage = boards.usage(whole, provisional["request_id"], half_widths)
    parts = boards.parts(whole)
    body = settled_body(provisional, usage, whole.flags, first=first.idx, devices=parts, slots=whole.cut)
    return _short(first, body), first
