"""`greenserve ledger erase`: a tenant's bodies, salt, names, keys and budgets go; the totals of its hours stay."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from greenserve.carbon.budgets import iso
from greenserve.carbon.entries import US_PER_HOUR
from greenserve.carbon.ledger.archive import files_left
from greenserve.carbon.ledger.erasure import Erasure, what_lies_outside
from greenserve.carbon.ledger.erasure import erase as erased
from greenserve.carbon.ledger.intake import spools_of
from greenserve.carbon.ledger.rewriting import overwrite as overwritten
from greenserve.carbon.ledger.statement_files import statement_folder
from greenserve.cli.actor import actor
from greenserve.cli.opening import AsJson, ConfigFile, opened
from greenserve.cli.output import data, messages, print_json
from greenserve.clock import SystemClock
from greenserve.errors import InvalidRequest
from greenserve.records import Entry

app = typer.Typer()


@app.command()
def erase(
    tenant: Annotated[
        str | None, typer.Option("--tenant", "-t", metavar="NAME", help="A tenant that was closed.")
    ] = None,
    reason: Annotated[
        str | None, typer.Option(help="Why; the erased entry says it, without the tenant's name.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Erase nothing, say what would go.")] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Instead: write the pages anew where an erasure was interrupted.")
    ] = False,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Erase a closed tenant for good: its entries keep their places in the tree, its hours' totals stay."""
    if overwrite:
        if tenant is not None or reason is not None or dry_run:
            raise InvalidRequest("--overwrite stands alone: it removes nothing that is not removed already")
        _overwrite(config, as_json=as_json)
        return
    if tenant is None or reason is None:
        raise InvalidRequest("give --tenant NAME and --reason TEXT")
    with opened(config) as (book, loaded):
        spools = spools_of(loaded.ledger.path)
        if any(one.tenant == tenant for one in loaded.tenancy.reservations):
            raise InvalidRequest(
                f"tenancy.reservations names {tenant}: take its lines out, or the next gateway writes them again"
            )
        told: dict[str, Any] = {"reason": reason, "actor": actor(), "spools": spools}
        if dry_run or not yes:
            found = erased(book, tenant, now_us=SystemClock().unix_us(), dry_run=True, **told)
        if not dry_run:
            if not yes:
                _confirm(tenant, found)
            found = erased(book, tenant, now_us=SystemClock().unix_us(), **told)
        statements = statement_folder(loaded.ledger.path)
        outside = what_lies_outside(
            tenant, statements=statements, spools=spools, archived=files_left(book), is_sqlite=book.is_sqlite
        )
    if as_json:
        print_json("ledger-erase", {"dry_run": dry_run, **_document(found), "outside_of_the_ledger": outside})
        return
    _show(found, outside, dry_run=dry_run)


def removed_lines(gone: Sequence[tuple[int, Entry]]) -> list[str]:
    """What `verify` says of leaves whose bodies are gone."""
    lines = []
    for idx, entry in gone:
        body: Mapping[str, Any] = entry.body
        leaves = body["leaves"]
        lines.append(
            f"erased: {leaves['count']} entries between {leaves['first']} and {leaves['last']} of {body['subject']}, "
            f"by entry {idx} at {iso(body['at_us'])} ({body['actor'] or 'not told by whom'}): {body['reason']}; their "
            "hashes are in the tree"
        )
    return lines


def removed_document(gone: Sequence[tuple[int, Entry]]) -> list[dict[str, object]]:
    """The same for other programs."""
    bodies: list[tuple[int, Mapping[str, Any]]] = [(idx, entry.body) for idx, entry in gone]
    named = ("subject", "actor", "reason", "leaves")
    return [{"index": idx, "at": iso(body["at_us"]), **{name: body[name] for name in named}} for idx, body in bodies]


def _overwrite(config: ConfigFile, *, as_json: bool) -> None:
    with opened(config) as (book, _):
        lock = book.lock_writer()
        try:
            overwritten(book)
        finally:
            lock.release()
        size = book.stored_bytes()
    if as_json:
        print_json("ledger-overwrite", {"size_bytes": size})
    else:
        data.print(f"the ledger's pages are written anew: {size} bytes", markup=False)


def _confirm(tenant: str, found: Erasure) -> None:
    question = f"Erase {sum(found.kinds.values())} entries of {tenant} for good?"
    if not messages.is_terminal:
        raise InvalidRequest(f"{question} Off a terminal, say --yes; --dry-run says what would go.")
    typer.confirm(question, abort=True, err=True)


def _document(found: Erasure) -> dict[str, object]:
    body: Mapping[str, Any] = found.entry.body
    return {
        "subject": body["subject"],
        "actor": body["actor"],
        "reason": body["reason"],
        "entries": body["leaves"]["count"],
        "entries_by_kind": dict(found.kinds),
        "first_index": body["leaves"]["first"],
        "last_index": body["leaves"]["last"],
        "keys": found.keys,
        "budgets": found.budgets,
        "requests_kept_in_sums": body["kept"]["requests"],
        "first_hour": None if found.hours is None else iso(found.hours[0] * US_PER_HOUR),
        "last_hour": None if found.hours is None else iso(found.hours[1] * US_PER_HOUR),
    }


def _show(found: Erasure, outside: Sequence[str], *, dry_run: bool) -> None:
    body: Mapping[str, Any] = found.entry.body
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(found.kinds.items()))
    leaves, kept = body["leaves"], body["kept"]
    places = f"{leaves['first']} to {leaves['last']}" if leaves["count"] else "none"
    lines = [
        ("erased" if not dry_run else "would go", f"{leaves['count']} bodies ({kinds or 'none'}), index {places}"),
        ("with them", f"the salt, the name, {found.keys} keys, {found.budgets} budgets"),
        ("kept", f"totals of {kept['requests']} requests in {kept['rollup_rows']} hourly sums of {body['subject']}"),
        ("reason", f"{body['reason']} ({body['actor']})"),
        *(("outside", text) for text in outside),
    ]
    for name, text in lines:
        data.print(f"{name:<12} {text}", markup=False)
    if not dry_run:
        messages.print(
            "next: greenserve ledger verify; what lies outside of the ledger is yours to remove", markup=False
        )
