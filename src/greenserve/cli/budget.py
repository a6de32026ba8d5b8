"""`greenserve budget`: limits of carbon, energy, requests or tokens per window."""

from typing import Annotated, Any

import typer

from greenserve.carbon.budgets import (
    Budget,
    Mode,
    decimal_amount,
    default_id,
    format_amount,
    iso,
    parse_amount,
    parse_percent,
    window,
)
from greenserve.carbon.ledger.book import SqlLedger
from greenserve.carbon.ledger.tenancy import TenancyStore
from greenserve.carbon.tenancy import BudgetRecord
from greenserve.carbon.windows import parse_per
from greenserve.cli.actor import actor
from greenserve.cli.ledger import AsJson, ConfigFile, opened
from greenserve.cli.output import data, print_json
from greenserve.cli.table import print_table
from greenserve.cli.tenant import confirm
from greenserve.clock import SystemClock
from greenserve.config import Config
from greenserve.errors import InvalidRequest
from greenserve.quantities import parse_duration_s
from greenserve.units import US_PER_S

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help="Set, list, raise and remove budgets of carbon, energy, requests or tokens.",
)
Owner = Annotated[str, typer.Argument(metavar="TENANT", help="Whose budget, or a budget's id.")]
Per = Annotated[
    str, typer.Option("--per", metavar="WINDOW", help="day, week (from Monday), month, lifetime, rolling:24h.")
]
OnlyPer = Annotated[str | None, typer.Option("--per", metavar="WINDOW", help="Only the one of this window.")]


@app.callback()
def budget() -> None:
    """Set, list, raise and remove budgets of carbon, energy, requests or tokens."""


@app.command("set")
def set_budget(
    words: Annotated[
        list[str], typer.Argument(metavar="[TENANT] LIMIT", help="1mgCO2e, 500gCO2e, 5kJ, 2kWh, 9requests, 9tokens.")
    ],
    per: Per = "month",
    time_zone: Annotated[str, typer.Option(help="Where a day, week or month begins: Europe/Stockholm.")] = "UTC",
    mode: Annotated[Mode, typer.Option(help="degrade: cheaper answers before it refuses.")] = "degrade",
    at: Annotated[str, typer.Option(help="From which part on it warns or degrades.")] = "80%",
    org: Annotated[str | None, typer.Option(help="All tenants of this org; without TENANT.")] = None,
    project: Annotated[str | None, typer.Option(help="Only this project of the tenant.")] = None,
    key: Annotated[str | None, typer.Option(help="Only this key of the tenant, by its public id.")] = None,
    model: Annotated[str | None, typer.Option(help="Only this model; of all tenants without TENANT.")] = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Set a budget; one per unit, window and what it attaches to, so setting it again changes it."""
    tenant, limit = _tenant_and_limit(words)
    unit, amount = parse_amount(limit)
    attached: dict[str, Any] = {"tenant": tenant, "org": org, "project": project, "key_id": key, "model": model}
    fixed: dict[str, Any] = {"unit": unit, "limit": amount, "per": parse_per(per, time_zone), "zone": time_zone}
    try:
        draft = Budget(budget_id="", mode=mode, at_pct=parse_percent(at), **fixed, **attached)
    except ValueError:
        raise InvalidRequest(
            "a budget attaches to one of: TENANT, TENANT --project P, TENANT --key K, TENANT --model M, --org O, "
            f"--model M; got {', '.join(f'{name} {value}' for name, value in attached.items() if value) or 'none'}"
        ) from None
    chosen = Budget(budget_id=default_id(draft), mode=mode, at_pct=draft.at_pct, **fixed, **attached)
    with opened(config) as (book, loaded):
        _check_model(model, loaded)
        record = TenancyStore(book, SystemClock(), actor()).set_budget(chosen)
        document = _document(book, record, SystemClock().unix_us())
    _show(document, as_json)


@app.command("ls")
def list_budgets(
    tenant: Annotated[str | None, typer.Argument(metavar="[TENANT]", help="Only this tenant's.")] = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """List budgets with what their current window has used."""
    now_us = SystemClock().unix_us()
    with opened(config) as (book, _):
        documents = [_document(book, one, now_us) for one in TenancyStore(book, SystemClock(), actor()).budgets(tenant)]
    if as_json:
        print_json("budgets", {"budgets": documents})
        return
    rows = [(str(one["budget"]), f"{one['used_pct']} %", _detail(one)) for one in documents]
    print_table(("budget", "used", "limit"), rows, empty="no budget: greenserve budget set TENANT LIMIT --per day")


@app.command()
def show(tenant: Owner, per: OnlyPer = None, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Show one budget: its limit, raises, and what its window has used."""
    with opened(config) as (book, _):
        record = _one(TenancyStore(book, SystemClock(), actor()), tenant, per)
        document = _document(book, record, SystemClock().unix_us())
    _show(document, as_json)


@app.command("raise")
def raise_budget(
    tenant: Owner,
    by: Annotated[str, typer.Argument(metavar="AMOUNT", help="What is added to the limit: 100gCO2e.")],
    per: OnlyPer = None,
    lasting: Annotated[
        str | None, typer.Option("--for", help="How long: 12h, 3d; default: until its window ends.")
    ] = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Add to a budget's limit for a time; the raise ends by itself."""
    unit, amount = parse_amount(by)
    clock = SystemClock()
    try:
        until_us = None if lasting is None else clock.unix_us() + round(parse_duration_s(lasting) * US_PER_S)
    except ValueError as error:
        raise InvalidRequest(f"--for: {error}") from None
    with opened(config) as (book, _):
        store = TenancyStore(book, clock, actor())
        found = _one(store, tenant, per)
        if found.budget.unit != unit:
            raise InvalidRequest(f"{found.budget.budget_id} is in {found.budget.unit}, the raise is in {unit}")
        record = store.raise_budget(found.budget.budget_id, amount, until_us=until_us)
        document = _document(book, record, clock.unix_us())
    _show(document, as_json)


@app.command()
def rm(
    tenant: Owner,
    per: OnlyPer = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Take a budget out of force; where a tenant has several, name its id or the window."""
    with opened(config) as (book, _):
        store = TenancyStore(book, SystemClock(), actor())
        found = _one(store, tenant, per).budget
        confirm(f"Remove {found.budget_id}? Its limit ends at once.", yes=yes)
        removed = store.remove_budget(found.budget_id).budget
    if as_json:
        print_json("budget-removed", {"budget": removed.budget_id, "tenant": removed.tenant})
        return
    data.print(f"removed {removed.budget_id}", markup=False)


def _tenant_and_limit(words: list[str]) -> tuple[str | None, str]:
    if len(words) > 2:
        raise InvalidRequest(f"{len(words)} words were given: budget set TENANT LIMIT, or LIMIT with --org or --model")
    return (words[0], words[1]) if len(words) == 2 else (None, words[0])


def _check_model(model: str | None, loaded: Config) -> None:
    known = sorted(one.name for one in loaded.models)
    if model is not None and model not in known:
        raise InvalidRequest(f"--model: no model {model}; configured are {', '.join(known)}")


def _one(store: TenancyStore, named: str, per: str | None) -> BudgetRecord:
    """The budget of that id, or the only one of that tenant (and window)."""
    records = store.budgets()
    exact = [one for one in records if one.budget.budget_id == named and per in (None, one.budget.per)]
    if exact:
        return exact[0]
    of_tenant = [one for one in records if one.budget.tenant == named.partition(".")[0]]
    found = [one for one in of_tenant if one.budget.tenant == named and per in (None, one.budget.per)]
    if len(found) != 1:
        ids = ", ".join(one.budget.budget_id for one in of_tenant or records) or "none"
        raise InvalidRequest(f"{len(found)} budgets fit {named}; there are: {ids}. Name one id, or --per its window")
    return found[0]


def _document(book: SqlLedger, record: BudgetRecord, now_us: int) -> dict[str, object]:
    one = record.budget
    used, limit = book.used(one, now_us), one.limit_at(now_us)
    start_us, end_us = window(one, now_us)
    return {
        "budget": one.budget_id,
        "org": one.org,
        "tenant": one.tenant,
        "project": one.project,
        "key_id": one.key_id,
        "model": one.model,
        "unit": one.unit,
        "limit": decimal_amount(one.unit, limit),
        "used": decimal_amount(one.unit, used),
        "used_pct": used * 100 // limit,
        "limit_text": format_amount(one.unit, limit),
        "used_text": format_amount(one.unit, used),
        "per": one.per,
        "time_zone": one.zone,
        "mode": one.mode,
        "at_pct": one.at_pct,
        "window_start": None if one.per == "lifetime" else iso(start_us),
        "resets_at": None if end_us is None else iso(end_us),
        "raises": [
            {"amount": decimal_amount(one.unit, part.amount), "until": iso(part.until_us)}
            for part in one.raises
            if now_us < part.until_us
        ],
    }


def _show(document: dict[str, object], as_json: bool) -> None:
    if as_json:
        print_json("budget", document)
        return
    zone = f" in {document['time_zone']}" if document["time_zone"] != "UTC" else ""
    data.print(f"{document['budget']}: {document['limit_text']} per {document['per']}{zone}", markup=False)
    used = f"used {document['used_text']} ({document['used_pct']} %)"
    data.print(f"{document['mode']} at {document['at_pct']} %; {used}, {_renewal(document)}", markup=False)
    raises = document["raises"]
    assert isinstance(raises, list)
    for one in raises:
        data.print(f"raised by {one['amount']} {document['unit']} until {one['until']}", markup=False)


def _detail(document: dict[str, object]) -> str:
    rule = f"{document['mode']} at {document['at_pct']} %"
    return f"{document['used_text']} of {document['limit_text']}, {rule}, {_renewal(document)}"


def _renewal(document: dict[str, object]) -> str:
    if document["resets_at"] is not None:
        return f"renews {document['resets_at']}"
    return "never renews" if document["per"] == "lifetime" else "renews with time"
