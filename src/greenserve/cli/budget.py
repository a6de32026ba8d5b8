"""`greenserve budget`: limits of carbon, energy or requests per window."""

from typing import Annotated

import typer

from greenserve.carbon.budgets import (
    WINDOWS,
    Budget,
    Mode,
    Per,
    decimal_amount,
    format_amount,
    iso,
    parse_amount,
    parse_percent,
    window,
)
from greenserve.carbon.ledger.sqlite import SqliteLedger
from greenserve.carbon.ledger.tenancy import TenancyStore
from greenserve.cli.ledger import AsJson, ConfigFile, opened
from greenserve.cli.output import data, print_json
from greenserve.cli.table import print_table
from greenserve.cli.tenant import confirm
from greenserve.clock import SystemClock
from greenserve.errors import InvalidRequest

app = typer.Typer(
    add_completion=False, no_args_is_help=True, help="Set, list and remove budgets of carbon, energy or requests."
)


@app.callback()
def budget() -> None:
    """Set, list and remove budgets of carbon, energy or requests."""


@app.command("set")
def set_budget(
    tenant: Annotated[str, typer.Argument(metavar="TENANT", help="Whose budget.")],
    limit: Annotated[str, typer.Argument(metavar="LIMIT", help="1mgCO2e, 500gCO2e, 5kJ, 2kWh, 1000requests.")],
    per: Annotated[Per, typer.Option(help="The window, UTC; weeks start on Monday.")] = "month",
    mode: Annotated[Mode, typer.Option(help="degrade: cheaper answers before it refuses.")] = "degrade",
    at: Annotated[str, typer.Option(help="From which part on it warns or degrades.")] = "80%",
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Set a budget; one per tenant, unit and window, so setting it again changes it."""
    unit, amount = parse_amount(limit)
    chosen = Budget(
        budget_id=f"{tenant}.{unit}.{per}".lower(),
        tenant=tenant,
        unit=unit,
        limit=amount,
        per=per,
        mode=mode,
        at_pct=parse_percent(at),
    )
    with opened(config) as (book, _):
        TenancyStore(book, SystemClock()).set_budget(chosen)
        document = _document(book, chosen, SystemClock().unix_us())
    if as_json:
        print_json("budget", document)
        return
    data.print(f"{chosen.budget_id}: {format_amount(unit, amount)} per {per}, {mode} at {at}", markup=False)
    data.print(f"used {document['used_text']}, {_renewal(document)}", markup=False)


@app.command("ls")
def list_budgets(
    tenant: Annotated[str | None, typer.Argument(metavar="[TENANT]", help="Only this tenant's.")] = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """List budgets with what their current window has used."""
    now_us = SystemClock().unix_us()
    with opened(config) as (book, _):
        budgets = TenancyStore(book, SystemClock()).budgets(tenant)
        documents = [_document(book, one, now_us) for one in budgets]
    if as_json:
        print_json("budgets", {"budgets": documents})
        return
    rows = [
        (one.budget_id, f"{document['used_pct']} %", f"{one.mode} at {one.at_pct} %", _detail(document))
        for one, document in zip(budgets, documents, strict=True)
    ]
    print_table(
        ("budget", "used", "mode", "limit"), rows, empty="no budget: greenserve budget set TENANT LIMIT --per day"
    )


@app.command()
def rm(
    tenant: Annotated[str, typer.Argument(metavar="TENANT", help="Whose budget, or a budget's id.")],
    per: Annotated[Per | None, typer.Option(help="Only the one of this window.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Take a budget out of force; where a tenant has several, name its id or the window."""
    with opened(config) as (book, _):
        store = TenancyStore(book, SystemClock())
        name = tenant.partition(".")[0]
        found = [one for one in store.budgets(name) if tenant in (name, one.budget_id) and per in (None, one.per)]
        if len(found) != 1:
            ids = ", ".join(one.budget_id for one in store.budgets(name)) or "none"
            windows = "|".join(WINDOWS)
            raise InvalidRequest(
                f"{len(found)} budgets fit {tenant}; there are: {ids}. Name one id, or --per {windows}"
            )
        confirm(f"Remove {found[0].budget_id}? Its limit ends at once.", yes=yes)
        removed = store.remove_budget(found[0].budget_id)
    if as_json:
        print_json("budget-removed", {"budget": removed.budget_id, "tenant": removed.tenant})
        return
    data.print(f"removed {removed.budget_id}", markup=False)


def _document(book: SqliteLedger, one: Budget, now_us: int) -> dict[str, object]:
    used = book.used(one, now_us)
    start_us, end_us = window(one, now_us)
    return {
        "budget": one.budget_id,
        "tenant": one.tenant,
        "unit": one.unit,
        "limit": decimal_amount(one.unit, one.limit),
        "used": decimal_amount(one.unit, used),
        "used_pct": used * 100 // one.limit,
        "limit_text": format_amount(one.unit, one.limit),
        "used_text": format_amount(one.unit, used),
        "per": one.per,
        "mode": one.mode,
        "at_pct": one.at_pct,
        "window_start": None if end_us is None else iso(start_us),
        "resets_at": None if end_us is None else iso(end_us),
    }


def _detail(document: dict[str, object]) -> str:
    return f"{document['used_text']} of {document['limit_text']}, {_renewal(document)}"


def _renewal(document: dict[str, object]) -> str:
    return "never renews" if document["resets_at"] is None else f"renews {document['resets_at']}"
