"""`greenserve ledger`: verify, prove, export, replay, close and describe the ledger."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import orjson
import typer

from greenserve.carbon.ledger.archive import newest_archives
from greenserve.carbon.ledger.book import SqlLedger
from greenserve.carbon.ledger.closing import close_period
from greenserve.carbon.ledger.erasure import erasures
from greenserve.carbon.ledger.export import sha256_of, write_lines, write_parquet
from greenserve.carbon.ledger.lookup import lines_of_request
from greenserve.carbon.ledger.notes import Verifier, parse_note
from greenserve.carbon.ledger.proofs import (
    check_proof,
    newest_note,
    prove_consistency,
    prove_entry,
    prove_request,
    verifiers,
)
from greenserve.carbon.ledger.replay import replay as replayed
from greenserve.carbon.ledger.verify import old_chain_at
from greenserve.carbon.receipt import receipt_document
from greenserve.cli import archiving, erasing, restate
from greenserve.cli.archiving import archived_document, archived_lines
from greenserve.cli.erasing import removed_document, removed_lines
from greenserve.cli.opening import DOES_NOT_VERIFY, AsJson, ConfigFile, opened
from greenserve.cli.output import data, messages, print_json
from greenserve.cli.receipt_lines import receipt_lines
from greenserve.clock import SystemClock
from greenserve.errors import InvalidRequest
from greenserve.ids import is_request_id

__all__ = ["DOES_NOT_VERIFY", "AsJson", "ConfigFile", "app", "opened"]

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Verify, prove, export and describe the ledger.")
for group in (restate, erasing, archiving):
    app.registered_commands += group.app.registered_commands


@app.callback()
def ledger() -> None:
    """Verify, prove, export and describe the ledger."""


@app.command()
def verify(
    config: ConfigFile = None,
    against: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|SIZE:HASH", help="A checkpoint or head kept earlier, as on statements; finds cut tails."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Derive again everything that can be: tree, signatures, columns, energies, emissions, sums. Exit 5 if not."""
    with opened(config) as (book, _):
        findings = [*_against(book, against), *book.verify()]
        head, gone = book.head(), erasures(book)
        files = [(book.archives.path(month), entry) for month, entry in newest_archives(book)]
    if as_json:
        told: dict[str, object] = {
            "size": head.size,
            "chain": head.root,
            "findings": findings,
            "erased": removed_document(gone),
        }
        told["archived"] = archived_document(files)
        print_json("ledger-verify", told)
    elif findings:
        for finding in findings:
            data.print(finding, markup=False)
    else:
        data.print(f"verified: {head.size} entries, head", markup=False)
        data.print(str(head), markup=False)
        for line in [*removed_lines(gone), *archived_lines(files)]:
            data.print(line, markup=False)
    if findings:
        messages.print(f"the ledger does not verify: {len(findings)} findings, the first index named is where to look")
        raise typer.Exit(DOES_NOT_VERIFY)


@app.command()
def checkpoint(
    config: ConfigFile = None,
    out: Annotated[Path | None, typer.Option("-o", "--out", help="A file for the note; stdout without it.")] = None,
    new_key: Annotated[
        bool, typer.Option("--new-key", help="Sign from now on with a new key; the old one stays known.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """The newest signed checkpoint: keep it elsewhere, and later `verify --against` it."""
    with opened(config) as (book, _):
        if new_key:
            messages.print(f"new key beside {book.path}: {book.replace_key().text}", markup=False)
        note, keys = newest_note(book), [key.text for key in verifiers(book)]
    if out is not None:
        _write(out, note.encode())
    if as_json:
        told = parse_note(note)
        about = {"origin": told.origin, "size": told.size, "root": told.root.hex()}
        print_json("ledger-checkpoint", {**about, "note": note, "verifier_keys": keys})
        return
    if out is None:
        sys.stdout.write(note)
    for key in keys:
        messages.print(f"verifier key {key}", markup=False)


@app.command()
def prove(
    request_id: Annotated[str | None, typer.Argument(help="A request, by the id in its answer.")] = None,
    index: Annotated[int | None, typer.Option(min=0, help="Or an entry, by its index.")] = None,
    consistency: Annotated[
        tuple[int, int] | None, typer.Option(metavar="OLD NEW", help="Or that the ledger of NEW entries grew from OLD.")
    ] = None,
    out: Annotated[Path | None, typer.Option("-o", "--out", help="A file; stdout without it.")] = None,
    config: ConfigFile = None,
    as_json: Annotated[bool, typer.Option("--json", help="The same: a proof is a JSON document anyway.")] = False,
) -> None:
    """Write a proof that anybody can check without the ledger: `greenserve ledger check FILE --key KEY`."""
    if [request_id, index, consistency].count(None) != 2:
        raise InvalidRequest("give one of REQUEST_ID, --index N and --consistency OLD NEW")
    if request_id is not None and not is_request_id(request_id.lower()):
        raise InvalidRequest(
            f"{request_id!r:.80} is no request's id; it is a UUID of version 7, as its answer names it"
        )
    with opened(config) as (book, _):
        if request_id is not None:
            document = prove_request(book, request_id.lower())
        elif index is not None:
            document = prove_entry(book, index)
        else:
            assert consistency is not None
            document = prove_consistency(book, *consistency)
    text = orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    if out is None:
        sys.stdout.write(text.decode())
    else:
        _write(out, text)


@app.command()
def check(
    proof: Annotated[Path, typer.Argument(help="A file that `ledger prove` wrote.")],
    key: Annotated[
        str | None, typer.Option(help="The ledger's verifier key NAME+HASH+BASE64; without it no signature is checked.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check a proof; needs no ledger and no configuration. Exit 5 if it does not hold."""
    verifier = None if key is None else Verifier.parse(key)
    findings = check_proof(_json(proof), verifier)
    if as_json:
        print_json("ledger-check", {"findings": findings, "signature_checked": verifier is not None})
    for finding in () if as_json else findings:
        data.print(finding, markup=False)
    if findings:
        raise typer.Exit(DOES_NOT_VERIFY)
    if not as_json:
        data.print("the proof holds" + ("" if verifier else "; give --key to check who signed it"), markup=False)


@app.command()
def export(
    config: ConfigFile = None,
    tenant: Annotated[str | None, typer.Option(help="Only this tenant's entries.")] = None,
    after: Annotated[int, typer.Option(min=-1, help="Start behind this index.")] = -1,
    parquet: Annotated[
        bool, typer.Option("--parquet", help="A Parquet table instead; needs --out and pyarrow.")
    ] = False,
    out: Annotated[Path | None, typer.Option("-o", "--out", help="A file; stdout without it.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The same: entries are JSON lines anyway.")] = False,
) -> None:
    """Write entries as JSON lines: index, salt, leaf hash, and the canonical body that it covers."""
    if parquet and out is None:
        raise InvalidRequest("--parquet needs --out FILE")
    with opened(config) as (book, _):
        if out is None:
            count = write_lines(book, sys.stdout.buffer, after=after, tenant=tenant)
        elif parquet:
            count = write_parquet(book, out, after=after, tenant=tenant)
        else:
            with out.open("wb") as file:
                count = write_lines(book, file, after=after, tenant=tenant)
    messages.print(f"{count} entries exported")
    if out is not None:
        messages.print(f"SHA-256 {sha256_of(out)}")


@app.command()
def replay(
    statement: Annotated[Path, typer.Argument(help="The JSON of a statement that `greenserve report` wrote.")],
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Fold a statement again from the entries it covers: the same members, or exit 5 and what differs."""
    given = _read(statement)
    with opened(config) as (book, loaded):
        findings = replayed(book, given, config=loaded)
    if as_json:
        print_json("ledger-replay", {"findings": findings})
    for finding in () if as_json else findings:
        data.print(finding, markup=False)
    if findings:
        raise typer.Exit(DOES_NOT_VERIFY)
    if not as_json:
        data.print("replayed: every member as the ledger gives it", markup=False)


@app.command()
def close(
    month: Annotated[str, typer.Argument(help="A month that is over for 96 hours, such as 2026-10.")],
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Close a month: its sums are frozen under a digest, in an entry that the next checkpoint signs."""
    with opened(config) as (book, _):
        body = close_period(book, month, now_us=SystemClock().unix_us()).body
    if as_json:
        print_json("ledger-close", body)
        return
    data.print(f"closed {month}: {body['requests']} requests, sums {body['rollup_sha256']}", markup=False)


@app.command()
def status(config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Where the ledger is, how long it is, and its head: keep the head, and later `verify --against` it."""
    with opened(config) as (book, _):
        head, unsettled, hours = book.head(), len(book.unsettled()), book.hours()
    document: dict[str, object] = {
        "path": str(book.path),
        "size": head.size,
        "chain": head.root,
        "size_bytes": book.stored_bytes(),
        "provisional_requests": unsettled,
        "first_hour": None if hours is None else hours[0],
        "last_hour": None if hours is None else hours[1],
    }
    if as_json:
        print_json("ledger-status", document)
        return
    data.print(f"ledger       {book.path}, {document['size_bytes']} bytes", markup=False)
    data.print(f"entries      {head.size}, of these {unsettled} requests still provisional", markup=False)
    data.print(f"head         {head}", markup=False)


@app.command()
def receipt(
    request_id: Annotated[str, typer.Argument(help="A request's id, as in the header GreenServe-Request-Id.")],
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """What one request cost, device by device, exact whatever its tenant is shown. Exit 2 where there is none."""
    with opened(config) as (book, _):
        document = receipt_document(lines_of_request(book, request_id), rounded=False)
    if as_json:
        print_json("ledger-receipt", document)
        return
    for line in receipt_lines(document):
        data.print(line, markup=False)


def _against(book: SqlLedger, given: str | None) -> Iterator[str]:
    if given is None:
        return
    size_text, _, root = given.partition(":")
    if size_text.isdigit() and len(root) == 64:
        size = int(size_text)
    elif Path(given).is_file():
        note = _read(Path(given)).decode(errors="replace")
        told = parse_note(note)
        size, root = told.size, told.root.hex()
        if not any(key.check(note) for key in verifiers(book)):
            yield f"entry {size - 1}: the checkpoint {given} is not signed by a key of this ledger"
    else:
        raise InvalidRequest(
            f"--against {given}: give a file that `ledger checkpoint` wrote, or SIZE:HASH as `ledger status` prints, "
            "64 hex digits behind"
        )
    now = book.root_at(size)
    if now is None:
        yield f"entry {book.head().size}: the ledger ends here, it had {size} entries: its tail was cut"
    elif root.lower() != now and root.lower() != old_chain_at(book.rows(), size):
        yield f"entry {size - 1}: the root hash was {root}, now {now}: an entry up to here was changed"


def _json(path: Path) -> dict[str, object]:
    try:
        document = orjson.loads(_read(path))
    except orjson.JSONDecodeError as error:
        raise InvalidRequest(f"{path} is no JSON document ({error})") from None
    if not isinstance(document, dict):
        raise InvalidRequest(f"{path} holds no JSON object")
    return document


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidRequest(f"{path} cannot be read ({error.strerror})") from None


def _write(path: Path, content: bytes) -> None:
    try:
        path.write_bytes(content)
    except OSError as error:
        raise InvalidRequest(f"{path} cannot be written ({error.strerror}); choose another with -o") from None
    messages.print(f"wrote {path}", markup=False)
