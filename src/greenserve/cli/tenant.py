"""`greenserve tenant`: who is accounted to, under which rules. Written straight to the ledger."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import typer

from greenserve.carbon.budgets import iso
from greenserve.carbon.ledger.tenancy import TenancyStore
from greenserve.carbon.tenancy import TenantRecord
from greenserve.cli.actor import actor
from greenserve.cli.ledger import AsJson, ConfigFile, opened
from greenserve.cli.output import data, messages, print_json
from greenserve.cli.table import print_table
from greenserve.clock import SystemClock
from greenserve.errors import InvalidRequest
from greenserve.quantities import parse_rate_per_s
from greenserve.records import Policy, Tenant

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Create, list, change and close tenants.")
TenantId = Annotated[str, typer.Argument(metavar="TENANT", help="Its id: a-z, 0-9 and -.")]
Floor = Annotated[float | None, typer.Option("--quality-floor", help="Lowest quality of every answer, 0..1.")]
Mean = Annotated[float | None, typer.Option("--quality-mean", help="Mean quality per UTC day, 0..1.")]
PolicyName = Annotated[Policy | None, typer.Option("--policy", help="How routing ranks.")]
Regions = Annotated[str | None, typer.Option("--regions", help="Where its requests may run: north,south.")]
Exposure = Annotated[
    Literal["off", "rounded", "exact"] | None, typer.Option("--exposure", help="Energy figures in its answers.")
]
Rate = Annotated[str | None, typer.Option("--rate", help="Most requests, as 200/s.")]
Burst = Annotated[int | None, typer.Option("--burst", help="Requests in a row above the rate.")]
Tokens = Annotated[str | None, typer.Option("--tokens", help="Most tokens, as 50000/s.")]
Concurrency = Annotated[int | None, typer.Option("--concurrency", help="Most requests in progress at once.")]
Org = Annotated[str | None, typer.Option("--org", help="The group that it belongs to, for reports and budgets.")]
Unset = Annotated[str | None, typer.Option("--unset", help="Settings to take back, by name: policy,rate.")]
UNSETTABLE = {
    "quality-floor": "quality_floor",
    "quality-mean": "quality_mean",
    "policy": "policy",
    "regions": "regions",
    "rate": "rate_per_s",
    "burst": "burst",
    "tokens": "tokens_per_s",
    "concurrency": "concurrency",
    "org": "org",
}
WITHOUT = {"org": "none", "tokens_per_s": "no limit", "concurrency": "no limit"}


@app.callback()
def tenant() -> None:
    """Create, list, change and close tenants."""


@app.command()
def create(
    tenant_id: TenantId,
    name: Annotated[str | None, typer.Option(help="What people call it; default: the id.")] = None,
    quality_floor: Floor = None,
    quality_mean: Mean = None,
    policy: PolicyName = None,
    regions: Regions = None,
    exposure: Exposure = None,
    rate: Rate = None,
    burst: Burst = None,
    tokens: Tokens = None,
    concurrency: Concurrency = None,
    org: Org = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Add a tenant. What is left out follows the model's objective and the configured defaults."""
    given = _given(
        quality_floor=quality_floor,
        quality_mean=quality_mean,
        policy=policy,
        regions=_names(regions),
        exposure=exposure,
        rate_per_s=per_second("--rate", rate),
        burst=burst,
        tokens_per_s=per_second("--tokens", tokens),
        concurrency=concurrency,
        org=org,
    )
    with opened(config, must_exist=False) as (book, loaded):
        known = {region.name for region in loaded.regions}
        _check_regions(given.get("regions"), known)
        given.setdefault("exposure", loaded.tenancy.defaults.exposure)
        record = TenancyStore(book, SystemClock(), actor()).create_tenant(
            Tenant(tenant_id=tenant_id, name=name or tenant_id, **given)
        )
    _show(record, as_json)
    messages.print(f"next: greenserve key create {tenant_id}", markup=False)


@app.command("ls")
def list_tenants(
    org: Annotated[str | None, typer.Option(help="Only those of this org.")] = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """List tenants, closed ones too."""
    with opened(config) as (book, _):
        records = TenancyStore(book, SystemClock(), actor()).tenants(org)
    if as_json:
        print_json("tenants", {"tenants": [_document(record) for record in records]})
        return
    rows = [(record.tenant.tenant_id, _state(record), _rules(record.tenant)) for record in records]
    print_table(("tenant", "state", "rules"), rows, empty="no tenant yet: greenserve tenant create NAME")


@app.command()
def show(tenant_id: TenantId, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Show a tenant's rules."""
    with opened(config) as (book, _):
        record = TenancyStore(book, SystemClock(), actor()).tenant(tenant_id)
    _show(record, as_json)


@app.command()
def update(
    tenant_id: TenantId,
    name: Annotated[str | None, typer.Option(help="What people call it.")] = None,
    quality_floor: Floor = None,
    quality_mean: Mean = None,
    policy: PolicyName = None,
    regions: Regions = None,
    exposure: Exposure = None,
    rate: Rate = None,
    burst: Burst = None,
    tokens: Tokens = None,
    concurrency: Concurrency = None,
    org: Org = None,
    unset: Unset = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Change a tenant's rules; gateways follow within a second."""
    changes = _given(
        name=name,
        quality_floor=quality_floor,
        quality_mean=quality_mean,
        policy=policy,
        regions=_names(regions),
        exposure=exposure,
        rate_per_s=per_second("--rate", rate),
        burst=burst,
        tokens_per_s=per_second("--tokens", tokens),
        concurrency=concurrency,
        org=org,
    )
    for setting in [] if unset is None else unset.split(","):
        if setting not in UNSETTABLE:
            raise InvalidRequest(f"--unset {setting}: settings that can be taken back are {', '.join(UNSETTABLE)}")
        changes[UNSETTABLE[setting]] = None
    if not changes:
        raise InvalidRequest("nothing to change was given; see `greenserve tenant update --help`")
    with opened(config) as (book, loaded):
        _check_regions(changes.get("regions"), {region.name for region in loaded.regions})
        record = TenancyStore(book, SystemClock(), actor()).update_tenant(tenant_id, changes)
    _show(record, as_json)


@app.command()
def close(
    tenant_id: TenantId,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Close a tenant for good: its keys stop working, its entries and statements stay."""
    with opened(config) as (book, _):
        store = TenancyStore(book, SystemClock(), actor())
        store.tenant(tenant_id)
        confirm(f"Close {tenant_id}? Its keys stop working, and this cannot be undone.", yes=yes)
        record = store.close_tenant(tenant_id)
    _show(record, as_json)


def confirm(question: str, *, yes: bool) -> None:
    """Ask on a terminal; off a terminal `--yes` is needed."""
    if yes:
        return
    if not messages.is_terminal:
        raise InvalidRequest(f"{question} Off a terminal, say --yes.")
    typer.confirm(question, abort=True, err=True)


def per_second(option: str, text: str | None) -> float | None:
    """`200/s` of an option as events per second; InvalidRequest names the option."""
    try:
        return None if text is None else parse_rate_per_s(text)
    except ValueError as error:
        raise InvalidRequest(f"{option}: {error}") from None


def _given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _names(text: str | None) -> frozenset[str] | None:
    return None if text is None else frozenset(part.strip() for part in text.split(",") if part.strip())


def _check_regions(regions: frozenset[str] | None, known: set[str]) -> None:
    unknown = sorted(regions - known) if regions else []
    if unknown:
        raise InvalidRequest(f"--regions: no region {', '.join(unknown)}; configured are {', '.join(sorted(known))}")


def _show(record: TenantRecord, as_json: bool) -> None:
    if as_json:
        print_json("tenant", _document(record))
        return
    for name, value in _document(record).items():
        if name == "closed" and value is None:
            continue
        data.print(f"{name:<14} {_text(name, value)}", markup=False)


def _document(record: TenantRecord) -> dict[str, object]:
    rules = record.tenant
    return {
        "tenant": rules.tenant_id,
        "name": rules.name,
        "org": rules.org,
        "state": _state(record),
        "quality_floor": rules.quality_floor,
        "quality_mean": rules.quality_mean,
        "policy": rules.policy,
        "regions": None if rules.regions is None else sorted(rules.regions),
        "exposure": rules.exposure,
        "rate_per_s": rules.rate_per_s,
        "burst": rules.burst,
        "tokens_per_s": rules.tokens_per_s,
        "concurrency": rules.concurrency,
        "created": iso(record.created_us),
        "closed": None if record.closed_us is None else iso(record.closed_us),
    }


def _state(record: TenantRecord) -> str:
    return "open" if record.closed_us is None else "closed"


def _rules(tenant: Tenant) -> str:
    parts = [
        f"org {tenant.org}" if tenant.org is not None else "",
        f"floor {tenant.quality_floor}" if tenant.quality_floor is not None else "",
        f"mean {tenant.quality_mean}" if tenant.quality_mean is not None else "",
        tenant.policy or "",
        f"in {','.join(sorted(tenant.regions))}" if tenant.regions is not None else "",
        f"{tenant.rate_per_s:g}/s" if tenant.rate_per_s is not None else "",
        f"burst {tenant.burst}" if tenant.burst is not None else "",
        f"{tenant.tokens_per_s:g} tokens/s" if tenant.tokens_per_s is not None else "",
        f"{tenant.concurrency} at once" if tenant.concurrency is not None else "",
    ]
    return ", ".join(part for part in [*parts, f"exposure {tenant.exposure}"] if part)


def _text(name: str, value: object) -> str:
    if value is None:
        return WITHOUT.get(name, "default")
    return ",".join(map(str, value)) if isinstance(value, Sequence) and not isinstance(value, str) else str(value)
