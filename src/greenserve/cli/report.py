"""`greenserve report`: a tenant's statement from the ledger, in one or several formats."""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any

import typer

from greenserve import __version__
from greenserve.carbon.entries import US_PER_HOUR
from greenserve.carbon.formats import csv, html, json
from greenserve.carbon.ledger.book import SqlLedger
from greenserve.carbon.ledger.tenancy import TenancyStore
from greenserve.carbon.statement import Scope, build_statement
from greenserve.cli.ledger import AsJson, ConfigFile, opened
from greenserve.cli.output import data, messages, print_json
from greenserve.clock import SystemClock
from greenserve.errors import GreenServeError, InvalidRequest
from greenserve.records import Statement

app = typer.Typer(add_completion=False, help="Write a tenant's statement.")
FORMATS: Mapping[str, Callable[[Statement], bytes]] = MappingProxyType(
    {"json": json.render, "html": html.render, "csv": csv.render}
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_PERIOD = re.compile(r"^([0-9]{4})(?:-(0[1-9]|1[0-2])(?:-([0-9]{2}))?)?$")


@app.command()
def report(
    tenant: Annotated[str, typer.Option("--tenant", "-t", help="Whose statement.")],
    period: Annotated[str, typer.Option(help="2026-11, 2026-11-22, 2026, today or all (UTC).")] = "all",
    formats: Annotated[str, typer.Option("-f", "--format", help="One or more of json,html,csv.")] = "json,html,csv",
    out: Annotated[Path, typer.Option("-o", "--out", help="The folder to write to.")] = Path("reports"),
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Fold the ledger into a statement of energy and carbon, and write it as JSON, HTML and CSV."""
    chosen = _formats(formats)
    with opened(config) as (book, loaded):
        TenancyStore(book, SystemClock()).tenant(tenant)
        start_us, end_us = _bounds(period, book)
        head = book.head()
        statement = build_statement(
            book.entries(),
            Scope(
                tenant=tenant,
                start_us=start_us,
                end_us=end_us,
                issuer=loaded.reporting.issuer,
                software=f"greenserve {__version__}",
                size=head.size,
                chain=head.chain,
            ),
        )
    written = _write(statement, chosen, out, f"{tenant}-{period}")
    document: Mapping[str, Any] = statement.document
    if as_json:
        print_json("report", {"files": [str(path) for path in written], "statement": document})
        return
    _print(document)
    for path in written:
        messages.print(f"wrote {path}", markup=False)


def _formats(text: str) -> list[str]:
    chosen = [part.strip() for part in text.split(",") if part.strip()]
    unknown = [part for part in chosen if part not in FORMATS]
    if unknown or not chosen:
        raise InvalidRequest(f"--format {text}: this version writes {', '.join(FORMATS)}")
    return list(dict.fromkeys(chosen))


def _bounds(period: str, book: SqlLedger) -> tuple[int, int]:
    """[start, end) of a period, us since 1970 UTC."""
    if period == "all":
        hours = book.hours()
        if hours is None:
            raise InvalidRequest("the ledger holds no request and no metered interval yet: send requests first")
        return hours[0] * US_PER_HOUR, (hours[1] + 1) * US_PER_HOUR
    if period == "today":
        period = (_EPOCH + timedelta(microseconds=SystemClock().unix_us())).strftime("%Y-%m-%d")
    matched = _PERIOD.match(period)
    try:
        if matched is None:
            raise ValueError("not of that form")
        year, month, day = (None if part is None else int(part) for part in matched.groups())
        start = datetime(year or 0, month or 1, day or 1, tzinfo=UTC)
    except ValueError as error:
        raise InvalidRequest(f"--period {period}: write 2026-11, 2026-11-22, 2026, today or all ({error})") from None
    if day is not None:
        end = start + timedelta(days=1)
    elif month is not None:
        end = (start + timedelta(days=31)).replace(day=1)
    else:
        end = start.replace(year=start.year + 1)
    return (start - _EPOCH) // timedelta(microseconds=1), (end - _EPOCH) // timedelta(microseconds=1)


def _write(statement: Statement, formats: list[str], folder: Path, stem: str) -> list[Path]:
    written = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in formats:
            path = folder / f"{stem}.{name}"
            path.write_bytes(FORMATS[name](statement))
            written.append(path)
    except OSError as error:
        raise GreenServeError(
            f"{folder}: cannot be written ({error.strerror}); choose another folder with -o"
        ) from None
    return written


def _print(document: Mapping[str, Any]) -> None:
    totals, node = document["totals"], document["reconciliation"]
    marks = ", ".join(mark["mark"] for mark in document["watermarks"])
    rows = (
        ("tenant", f"{document['tenant']}, {document['start']} to {document['end']}"),
        ("requests", f"{totals['requests']} ({totals['requests_ok']} ok, {totals['cache_hit']} cache hits)"),
        ("energy", f"{_known(totals['energy_joules'])} J, {_known(totals['tier'])}"),
        ("  range", f"{_known(totals['energy_low_joules'])} to {_known(totals['energy_high_joules'])} J (90 %)"),
        ("at the site", f"{_known(totals['facility_joules'])} J = {_known(totals['facility_kwh'])} kWh"),
        ("carbon", f"{_known(totals['loc_lifecycle_gco2e'])} gCO2e, location-based lifecycle"),
        ("  not covered", f"{totals['loc_lifecycle_uncovered_joules']} J of unknown intensity"),
        ("provisional", f"{totals['provisional_requests']} requests, {totals['provisional_joules']} J"),
        ("unreconciled", f"{totals['unreconciled_requests']} requests, {totals['unreconciled_joules']} J"),
        ("node metered", f"{node['metered_joules']} J, this tenant {node['this_tenant_joules']} J"),
        ("  difference", f"{node['difference_joules']} J"),
        ("watermark", marks),
        ("verify", document["proof"]["verify"]),
    )
    for name, text in rows:
        data.print(f"{name:<14} {text}", markup=False)


def _known(value: object) -> str:
    return "unknown" if value is None else str(value)
