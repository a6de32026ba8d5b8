"""`greenserve ledger archive`: bodies of closed months go to files; their hashes stay in the tree."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from greenserve.carbon.archiving import KEEP, due_months, retention_us
from greenserve.carbon.budgets import iso
from greenserve.carbon.late import month_text
from greenserve.carbon.ledger.archive import Archived, newest_archives
from greenserve.carbon.ledger.archive import archive as archived
from greenserve.carbon.ledger.archive import restore as restored
from greenserve.carbon.ledger.book import SqlLedger
from greenserve.carbon.ledger.closing import closed_periods
from greenserve.carbon.periods import bounds_of
from greenserve.cli.actor import actor
from greenserve.cli.opening import AsJson, ConfigFile, opened
from greenserve.cli.output import data, messages, print_json
from greenserve.clock import SystemClock
from greenserve.errors import InvalidRequest
from greenserve.records import Entry

app = typer.Typer()
Files = Sequence[tuple[Path, Entry]]


@app.command()
def archive(
    month: Annotated[
        str | None, typer.Option(metavar="YYYY-MM", help="This closed month; without it all older than the retention.")
    ] = None,
    restore: Annotated[
        str | None, typer.Option(metavar="YYYY-MM", help="Instead: take an archived month's bodies back.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Move nothing, say what would be moved.")] = False,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Move bodies of closed months to Parquet files beside the ledger. Stop the gateway first."""
    if restore is not None and (month is not None or dry_run):
        raise InvalidRequest("--restore stands alone: it takes one month back from its file")
    with opened(config) as (book, loaded):
        now_us = SystemClock().unix_us()
        if restore is not None:
            done = [restored(book, _number(restore), actor=actor(), now_us=now_us)]
        else:
            months = [_number(month)] if month is not None else _due(book, loaded.ledger.retention, now_us)
            done = [archived(book, one, actor=actor(), now_us=now_us, dry_run=dry_run) for one in months]
    verb = "taken back from" if restore is not None else "would go to" if dry_run else "moved to"
    if as_json:
        print_json("ledger-archive", {"dry_run": dry_run, "months": [_document(one) for one in done]})
        return
    for one in done:
        name = month_text(_month(one.entry))
        data.print(f"{name}  {one.bodies} bodies, {one.size_bytes} bytes, {verb} {one.path}", markup=False)
    if not done:
        messages.print(f"no closed month is older than the retention ({loaded.ledger.retention})", markup=False)
    elif restore is not None:
        todo = f"{done[0].path} is left and holds what an erasure does not reach: remove it, or archive the month again"
        messages.print(f"next: greenserve ledger verify; {todo}", markup=False)
    elif not dry_run:
        messages.print("next: greenserve ledger verify; back the file up like the ledger", markup=False)


def archived_lines(files: Files) -> list[str]:
    """What `verify` says of months whose bodies lie in files."""
    lines = []
    for one in archived_document(files):
        state = "read from there" if one["is_there"] else "which is not there: hashes alone were checked"
        lines.append(f"archived: {one['entries']} entries of {one['month']} in {one['file']}, {state}")
    return lines


def archived_document(files: Files) -> list[dict[str, object]]:
    """The same for other programs; months that were taken back are left out."""
    bodies: list[tuple[Path, Mapping[str, Any]]] = [(path, entry.body) for path, entry in files]
    return [
        {
            "month": month_text(body["period"]),
            "file": str(path),
            "is_there": path.is_file(),
            "sha256": body["sha256"],
            "entries": body["leaves"]["count"],
            "at": iso(body["at_us"]),
        }
        for path, body in bodies
        if body["sha256"] is not None
    ]


def _due(book: SqlLedger, retention: str, now_us: int) -> list[int]:
    keep_us = retention_us(retention)
    if keep_us is None:
        raise InvalidRequest(
            f"ledger.retention is {KEEP}: every body stays. Give --month YYYY-MM, or set a retention such as 400d"
        )
    done = {month for month, entry in newest_archives(book) if entry.body["sha256"] is not None}
    return due_months([_month(entry) for entry in closed_periods(book)], done, keep_us, now_us)


def _month(entry: Entry) -> int:
    body: Mapping[str, Any] = entry.body
    return int(body["period"])


def _number(month: str) -> int:
    try:
        if len(month) != len("2026-10"):
            raise InvalidRequest("no month")
        bounds_of(month, now_us=0, hours=None)
    except InvalidRequest:
        raise InvalidRequest(f"{month!r:.40}: months are archived, write YYYY-MM such as 2026-10") from None
    return int(month.replace("-", ""))


def _document(one: Archived) -> dict[str, object]:
    body: Mapping[str, Any] = one.entry.body
    return {
        "month": month_text(body["period"]),
        "file": str(one.path),
        "sha256": body["sha256"],
        "bodies": one.bodies,
        "size_bytes": one.size_bytes,
    }
