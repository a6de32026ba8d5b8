"""`greenserve ledger`: verify, export and describe the ledger. Also how the other groups open it."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, BinaryIO

import orjson
import typer

from greenserve.carbon.ledger.sqlite import SqliteLedger
from greenserve.cli.output import data, messages, print_json
from greenserve.config import Config, load_config
from greenserve.errors import InvalidRequest, NotFound

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Verify, export and describe the ledger.")
ConfigFile = Annotated[Path | None, typer.Option("-c", "--config", help="The configuration file.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]
DOES_NOT_VERIFY = 5


@contextmanager
def opened(config: Path | None, *, must_exist: bool = True) -> Iterator[tuple[SqliteLedger, Config]]:
    """The configured ledger; what is not found counts as wrong usage, since a name was given that is none."""
    loaded = load_config(config)
    ledger = SqliteLedger(loaded.ledger.path, must_exist=must_exist)
    try:
        yield ledger, loaded
    except NotFound as error:
        raise InvalidRequest(str(error)) from None
    finally:
        ledger.close()


@app.callback()
def ledger() -> None:
    """Verify, export and describe the ledger."""


@app.command()
def verify(
    config: ConfigFile = None,
    against: Annotated[
        str | None, typer.Option(metavar="SIZE:HASH", help="A head kept earlier, as on statements; finds cut tails.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Derive again everything that can be: chain, columns, energies, emissions, sums, conservation. Exit 5 if not."""
    with opened(config) as (book, _):
        findings = [*_against(book, against), *book.verify()]
        head = book.head()
    if as_json:
        print_json("ledger-verify", {"size": head.size, "chain": head.chain, "findings": findings})
    elif findings:
        for finding in findings:
            data.print(finding, markup=False)
    else:
        data.print(f"verified: {head.size} entries, head", markup=False)
        data.print(str(head), markup=False)
    if findings:
        messages.print(f"the ledger does not verify: {len(findings)} findings, the first index named is where to look")
        raise typer.Exit(DOES_NOT_VERIFY)


@app.command()
def export(
    config: ConfigFile = None,
    tenant: Annotated[str | None, typer.Option(help="Only this tenant's entries.")] = None,
    after: Annotated[int, typer.Option(min=-1, help="Start behind this index.")] = -1,
    out: Annotated[Path | None, typer.Option("-o", "--out", help="A file; stdout without it.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The same: entries are JSON lines anyway.")] = False,
) -> None:
    """Write entries as JSON lines: index, chain hash, and the canonical body whose hash it binds."""
    with opened(config) as (book, _):
        if out is None:
            count = _export(book, sys.stdout.buffer, after, tenant)
        else:
            with out.open("wb") as file:
                count = _export(book, file, after, tenant)
    messages.print(f"{count} entries exported")


@app.command()
def status(config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Where the ledger is, how long it is, and its head: keep the head, and later `verify --against` it."""
    with opened(config) as (book, _):
        head, unsettled, hours = book.head(), len(book.unsettled()), book.hours()
    document: dict[str, object] = {
        "path": str(book.path),
        "size": head.size,
        "chain": head.chain,
        "size_bytes": book.path.stat().st_size,
        "provisional_requests": unsettled,
        "first_hour": None if hours is None else hours[0],
        "last_hour": None if hours is None else hours[1],
    }
    if as_json:
        print_json("ledger-status", document)
        return
    data.print(f"ledger       {book.path}, {book.path.stat().st_size} bytes", markup=False)
    data.print(f"entries      {head.size}, of these {unsettled} requests still provisional", markup=False)
    data.print(f"head         {head}", markup=False)


def _export(book: SqliteLedger, file: BinaryIO, after: int, tenant: str | None) -> int:
    count = 0
    for row in book.rows(after=after, tenant=tenant):
        line = {"idx": row.idx, "chain": row.chain.hex(), "body": orjson.Fragment(row.body)}
        file.write(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))
        count += 1
    return count


def _against(book: SqliteLedger, given: str | None) -> Iterator[str]:
    if given is None:
        return
    size_text, _, chain = given.partition(":")
    if not size_text.isdigit() or len(chain) != 64:
        raise InvalidRequest(f"--against {given}: give SIZE:HASH as `ledger status` prints it, 64 hex digits behind")
    size = int(size_text)
    now = book.chain_at(size)
    if now is None:
        yield f"entry {book.head().size}: the ledger ends here, it had {size} entries: its tail was cut"
    elif now != chain.lower():
        yield f"entry {size - 1}: its chain hash was {chain}, now {now}: an entry up to here was changed"
