"""`greenserve key`: credentials of a tenant; the secret is shown once."""

from typing import Annotated

import typer

from greenserve.carbon.budgets import iso
from greenserve.carbon.ledger.tenancy import KeyRecord, TenancyStore
from greenserve.cli.ledger import AsJson, ConfigFile, opened
from greenserve.cli.output import data, messages, print_json
from greenserve.cli.table import print_table
from greenserve.cli.tenant import confirm
from greenserve.clock import SystemClock
from greenserve.errors import InvalidRequest
from greenserve.quantities import parse_duration_s
from greenserve.units import US_PER_S

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Create, list and revoke API keys.")


@app.callback()
def key() -> None:
    """Create, list and revoke API keys."""


@app.command()
def create(
    tenant: Annotated[str, typer.Argument(metavar="TENANT", help="Whose key.")],
    label: Annotated[str | None, typer.Option(help="A note for you, such as the program that uses it.")] = None,
    expires: Annotated[str | None, typer.Option(help="How long it works: 90d, 12h; default: until revoked.")] = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Make a key and print it, this once: only its HMAC is kept."""
    clock = SystemClock()
    expires_us = None
    if expires is not None:
        try:
            expires_us = clock.unix_us() + round(parse_duration_s(expires) * US_PER_S)
        except ValueError as error:
            raise InvalidRequest(f"--expires: {error}") from None
    with opened(config, must_exist=False) as (book, _):
        text, record = TenancyStore(book, clock).create_key(tenant, label=label, expires_us=expires_us)
    if as_json:
        print_json("key", {"key": text} | _document(record, clock.unix_us()))
    else:
        # Alone on stdout, so that KEY=$(greenserve key create acme) works.
        data.print(text, markup=False)
    messages.print(f"key {record.key_id} of {tenant}; keep the text above, it is not shown again", markup=False)


@app.command("ls")
def list_keys(
    tenant: Annotated[str | None, typer.Argument(metavar="[TENANT]", help="Only this tenant's.")] = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """List keys by their public ids."""
    clock = SystemClock()
    with opened(config) as (book, _):
        records = TenancyStore(book, clock).keys(tenant)
    documents = [_document(record, clock.unix_us()) for record in records]
    if as_json:
        print_json("keys", {"keys": documents})
        return
    rows = [
        (record.key_id, record.tenant_id, str(document["state"]), str(document["created"])[:10], record.label or "-")
        for record, document in zip(records, documents, strict=True)
    ]
    print_table(("key", "tenant", "state", "created", "label"), rows, empty="no key yet: greenserve key create TENANT")


@app.command()
def revoke(
    key_id: Annotated[str, typer.Argument(metavar="KEY", help="The public id, as `key ls` lists it.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Stop a key for good; gateways notice within a second."""
    clock = SystemClock()
    # The whole text is taken too: whoever wants to revoke a leaked key has that at hand.
    public_id = key_id.split("_")[1] if key_id.startswith("gs_") else key_id
    with opened(config) as (book, _):
        confirm(f"Revoke {public_id}? Whoever uses it is refused from then on.", yes=yes)
        record = TenancyStore(book, clock).revoke_key(public_id)
    if as_json:
        print_json("key", _document(record, clock.unix_us()))
        return
    data.print(f"revoked {record.key_id} of {record.tenant_id}", markup=False)


def _document(record: KeyRecord, now_us: int) -> dict[str, object]:
    state = "active"
    if record.revoked_us is not None:
        state = "revoked"
    elif record.expires_us is not None and record.expires_us <= now_us:
        state = "expired"
    return {
        "key_id": record.key_id,
        "tenant": record.tenant_id,
        "state": state,
        "label": record.label,
        "created": iso(record.created_us),
        "expires": None if record.expires_us is None else iso(record.expires_us),
        "revoked": None if record.revoked_us is None else iso(record.revoked_us),
    }
