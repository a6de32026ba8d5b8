"""`greenserve key`: credentials of a tenant, and of those who administer; the secret is shown once."""

from typing import Annotated, Any

import typer

from greenserve.carbon.budgets import iso
from greenserve.carbon.entries import PLATFORM
from greenserve.carbon.ledger.tenancy import TenancyStore
from greenserve.carbon.tenancy import KeyKind, KeyRecord, KeyRules
from greenserve.cli.actor import actor
from greenserve.cli.ledger import AsJson, ConfigFile, opened
from greenserve.cli.output import data, messages, print_json
from greenserve.cli.table import print_table
from greenserve.cli.tenant import confirm, per_second
from greenserve.clock import SystemClock
from greenserve.config import Config
from greenserve.errors import InvalidRequest
from greenserve.quantities import parse_duration_s
from greenserve.units import US_PER_S

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Create, list, rotate and revoke API keys.")
KeyId = Annotated[str, typer.Argument(metavar="KEY", help="The public id, as `key ls` lists it.")]
Expires = Annotated[str | None, typer.Option("--expires", help="How long it works: 90d, 12h; default: until revoked.")]
Label = Annotated[str | None, typer.Option("--label", help="A note for you, such as the program that uses it.")]
Project = Annotated[str | None, typer.Option("--project", help="What its use is counted for, within the tenant.")]
ModelNames = Annotated[str | None, typer.Option("--models", help="The only models it may use: a,b.")]
Paths = Annotated[str | None, typer.Option("--paths", help="The only paths it may use: /v2,/v1/embeddings.")]
Pin = Annotated[bool | None, typer.Option("--pin/--no-pin", help="Whether it may name a variant; default: it may.")]
Rate = Annotated[str | None, typer.Option("--rate", help="Most requests, as 20/s, within the tenant's rate.")]
Burst = Annotated[int | None, typer.Option("--burst", help="Requests in a row above its rate.")]
Tokens = Annotated[str | None, typer.Option("--tokens", help="Most tokens, as 5000/s.")]
Concurrency = Annotated[int | None, typer.Option("--concurrency", help="Most requests in progress at once.")]
Unset = Annotated[str | None, typer.Option("--unset", help="Rules to take back, by name: models,rate.")]
UNSETTABLE = {
    "label": "label",
    "expires": "expires_us",
    "project": "project",
    "models": "models",
    "paths": "paths",
    "rate": "rate_per_s",
    "burst": "burst",
    "tokens": "tokens_per_s",
    "concurrency": "concurrency",
}


@app.callback()
def key() -> None:
    """Create, list, rotate and revoke API keys."""


@app.command()
def create(
    tenant: Annotated[str | None, typer.Argument(metavar="[TENANT]", help="Whose; none for an admin key.")] = None,
    kind: Annotated[KeyKind, typer.Option(help="admin: administers all tenants, and cannot infer.")] = "inference",
    label: Label = None,
    expires: Expires = None,
    project: Project = None,
    models: ModelNames = None,
    paths: Paths = None,
    pin: Pin = None,
    rate: Rate = None,
    burst: Burst = None,
    tokens: Tokens = None,
    concurrency: Concurrency = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Make a key and print it, this once: only its HMAC is kept."""
    clock = SystemClock()
    if kind == "inference" and tenant is None:
        raise InvalidRequest("whose key? greenserve key create TENANT, or --kind admin for one that administers")
    given = _given(
        project=project,
        models=_scope(models),
        paths=_paths(paths),
        pin=pin,
        rate_per_s=per_second("--rate", rate),
        burst=burst,
        tokens_per_s=per_second("--tokens", tokens),
        concurrency=concurrency,
    )
    with opened(config, must_exist=False) as (book, loaded):
        _check_models(given.get("models"), loaded)
        text, record = TenancyStore(book, clock, actor()).create_key(
            tenant,
            label=label,
            expires_us=_moment("--expires", expires, clock.unix_us()),
            rules=KeyRules(kind=kind, **given),
        )
    _hand_over(text, record, clock.unix_us(), as_json)


@app.command("ls")
def list_keys(
    tenant: Annotated[str | None, typer.Argument(metavar="[TENANT]", help="Only this tenant's.")] = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """List keys by their public ids."""
    clock = SystemClock()
    with opened(config) as (book, _):
        records = TenancyStore(book, clock, actor()).keys(tenant)
    now_us = clock.unix_us()
    if as_json:
        print_json("keys", {"keys": [_document(record, now_us) for record in records]})
        return
    rows = [
        (record.key_id, _owner(record), record.state(now_us), iso(record.created_us)[:10], _summary(record))
        for record in records
    ]
    print_table(("key", "tenant", "state", "created", "label"), rows, empty="no key yet: greenserve key create TENANT")


@app.command()
def show(key_id: KeyId, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Show what a key may do, and until when."""
    clock = SystemClock()
    with opened(config) as (book, _):
        record = TenancyStore(book, clock, actor()).key(_public(key_id))
    _show(record, clock.unix_us(), as_json)


@app.command()
def update(
    key_id: KeyId,
    label: Label = None,
    expires: Expires = None,
    project: Project = None,
    models: ModelNames = None,
    paths: Paths = None,
    pin: Pin = None,
    rate: Rate = None,
    burst: Burst = None,
    tokens: Tokens = None,
    concurrency: Concurrency = None,
    unset: Unset = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Change what a key may do; gateways follow within a second."""
    clock = SystemClock()
    changes = _given(
        label=label,
        expires_us=_moment("--expires", expires, clock.unix_us()),
        project=project,
        models=_scope(models),
        paths=_paths(paths),
        pin=pin,
        rate_per_s=per_second("--rate", rate),
        burst=burst,
        tokens_per_s=per_second("--tokens", tokens),
        concurrency=concurrency,
    )
    for rule in [] if unset is None else unset.split(","):
        if rule not in UNSETTABLE:
            raise InvalidRequest(f"--unset {rule}: rules that can be taken back are {', '.join(UNSETTABLE)}")
        changes[UNSETTABLE[rule]] = None
    if not changes:
        raise InvalidRequest("nothing to change was given; see `greenserve key update --help`")
    with opened(config) as (book, loaded):
        _check_models(changes.get("models"), loaded)
        record = TenancyStore(book, clock, actor()).update_key(_public(key_id), changes)
    _show(record, clock.unix_us(), as_json)


@app.command()
def rotate(
    key_id: KeyId,
    overlap: Annotated[str, typer.Option(help="How long the old key works on: 24h, 30m, 0s.")] = "24h",
    expires: Annotated[str | None, typer.Option(help="How long the new one works; default: as the old one.")] = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Make a key with the same rules and print it, this once; the old one works until the overlap ends."""
    clock = SystemClock()
    now_us = clock.unix_us()
    public_id = _public(key_id)
    ends_us = _moment("--overlap", overlap, now_us)
    assert ends_us is not None
    with opened(config) as (book, _):
        store = TenancyStore(book, clock, actor())
        text, record = store.rotate_key(
            public_id, overlap_us=ends_us - now_us, expires_us=_moment("--expires", expires, now_us)
        )
        old = store.key(public_id)
    _hand_over(text, record, clock.unix_us(), as_json)
    if old.expires_us is not None:
        messages.print(f"the old key {public_id} works until {iso(old.expires_us)}", markup=False)


@app.command()
def revoke(
    key_id: KeyId,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Stop a key for good; gateways notice within a second."""
    clock = SystemClock()
    public_id = _public(key_id)
    with opened(config) as (book, _):
        confirm(f"Revoke {public_id}? Whoever uses it is refused from then on.", yes=yes)
        record = TenancyStore(book, clock, actor()).revoke_key(public_id)
    if as_json:
        print_json("key", _document(record, clock.unix_us()))
        return
    data.print(f"revoked {record.key_id} of {_owner(record)}", markup=False)


def _public(key_id: str) -> str:
    # The whole text is taken too: whoever wants to revoke a leaked key has that at hand.
    return key_id.split("_")[1] if key_id.startswith("gs_") else key_id


def _moment(option: str, text: str | None, now_us: int) -> int | None:
    try:
        return None if text is None else now_us + round(parse_duration_s(text) * US_PER_S)
    except ValueError as error:
        raise InvalidRequest(f"{option}: {error}") from None


def _scope(text: str | None) -> frozenset[str] | None:
    return None if text is None else frozenset(part.strip() for part in text.split(",") if part.strip())


def _paths(text: str | None) -> tuple[str, ...] | None:
    named = _scope(text)
    return None if named is None else tuple(sorted(named))


def _given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _check_models(models: frozenset[str] | None, loaded: Config) -> None:
    known = {model.name for model in loaded.models}
    if models and (unknown := sorted(models - known)):
        raise InvalidRequest(f"--models: no model {', '.join(unknown)}; configured are {', '.join(sorted(known))}")


def _hand_over(text: str, record: KeyRecord, now_us: int, as_json: bool) -> None:
    if as_json:
        print_json("key", {"key": text} | _document(record, now_us))
    else:
        # Alone on stdout, so that KEY=$(greenserve key create acme) works.
        data.print(text, markup=False)
    owner = f"of {record.tenant_id}" if record.tenant_id != PLATFORM else "for administration"
    messages.print(f"key {record.key_id} {owner}; keep the text above, it is not shown again", markup=False)


def _show(record: KeyRecord, now_us: int, as_json: bool) -> None:
    document = _document(record, now_us)
    if as_json:
        print_json("key", document)
        return
    for name, value in document.items():
        if value is not None:
            data.print(f"{name:<14} {','.join(value) if isinstance(value, list) else value}", markup=False)


def _document(record: KeyRecord, now_us: int) -> dict[str, object]:
    rules = record.rules
    return {
        "key_id": record.key_id,
        "tenant": None if record.tenant_id == PLATFORM else record.tenant_id,
        "kind": rules.kind,
        "state": record.state(now_us),
        "label": record.label,
        "project": rules.project,
        "models": None if rules.models is None else sorted(rules.models),
        "paths": None if rules.paths is None else list(rules.paths),
        "pin": rules.pin,
        "rate_per_s": rules.rate_per_s,
        "burst": rules.burst,
        "tokens_per_s": rules.tokens_per_s,
        "concurrency": rules.concurrency,
        "created": iso(record.created_us),
        "expires": None if record.expires_us is None else iso(record.expires_us),
        "revoked": None if record.revoked_us is None else iso(record.revoked_us),
        "replaced_by": record.replaced_by,
    }


def _owner(record: KeyRecord) -> str:
    return "(admin)" if record.tenant_id == PLATFORM else record.tenant_id


def _summary(record: KeyRecord) -> str:
    rules = record.rules
    parts = [
        record.label or "",
        f"project {rules.project}" if rules.project is not None else "",
        f"only {','.join(sorted(rules.models))}" if rules.models is not None else "",
        f"only {','.join(rules.paths)}" if rules.paths is not None else "",
        f"now {record.replaced_by}" if record.replaced_by is not None else "",
    ]
    return ", ".join(part for part in parts if part) or "-"
