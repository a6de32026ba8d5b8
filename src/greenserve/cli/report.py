"""`greenserve report`: a statement from the ledger in one or several formats, and the check of one."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer

from greenserve.carbon.folded import EVERYBODY, Scope
from greenserve.carbon.formats.catalogue import FORMATS, Format, chosen
from greenserve.carbon.issuing import Order, issue
from greenserve.carbon.ledger.book import SqlLedger
from greenserve.carbon.ledger.statement_files import StatementFiles, statement_folder
from greenserve.carbon.ledger.stating import stated
from greenserve.carbon.ledger.tenancy import TenancyStore
from greenserve.carbon.periods import WRITTEN, bounds_of
from greenserve.carbon.signing import key_id_of, read_public_key, signature_faults
from greenserve.carbon.statement_audit import faults_of
from greenserve.cli.ledger import DOES_NOT_VERIFY, AsJson, ConfigFile, opened
from greenserve.cli.output import data, messages, print_json
from greenserve.clock import SystemClock
from greenserve.errors import GreenServeError, InvalidRequest
from greenserve.records import Statement

app = typer.Typer(add_completion=False, help="Write a tenant's statement, or check one.")
OPERATOR_NAME = "operator"


@app.command()
def report(
    tenant: Annotated[str | None, typer.Argument(metavar="TENANT", help="Whose statement.")] = None,
    named: Annotated[str | None, typer.Option("--tenant", "-t", help="The same as TENANT.")] = None,
    operator: Annotated[
        bool, typer.Option("--operator", help="The operator's: all tenants, Scope 2, 3.3, 3.2.")
    ] = False,
    period: Annotated[str | None, typer.Option(help=f"{WRITTEN} (UTC); all without it.")] = None,
    month: Annotated[str | None, typer.Option(metavar="YYYY-MM", help="A month of UTC.")] = None,
    formats: Annotated[
        str, typer.Option("-f", "--format", help=f"One or more of {','.join(FORMATS)}.")
    ] = "json,html,csv",
    out: Annotated[Path, typer.Option("-o", "--out", help="A folder, or with one format a file.")] = Path("reports"),
    baseline: Annotated[str | None, typer.Option(help="The declared baseline to compare with.")] = None,
    keep: Annotated[bool, typer.Option("--keep/--no-keep", help="Keep it beside the ledger as a version.")] = True,
    verify: Annotated[Path | None, typer.Option(metavar="FILE", help="Check a statement's JSON instead.")] = None,
    key: Annotated[Path | None, typer.Option(metavar="PUB", help="With --verify: the issuer's public key.")] = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Fold the ledger into a signed statement of energy and carbon; JSON is the master, all other formats derive."""
    if verify is not None:
        _verified(verify, key, as_json=as_json)
        return
    if key is not None:
        raise InvalidRequest("--key: the public key belongs to --verify FILE; statements are signed with the issuer's")
    wanted, asked, whose = chosen(formats), _period(period, month), _tenant(tenant, named, operator=operator)
    with opened(config) as (book, loaded):
        if whose != EVERYBODY:
            TenancyStore(book, SystemClock()).tenant(whose)
        start_us, end_us = bounds_of(asked, now_us=SystemClock().unix_us(), hours=book.hours())
        files = StatementFiles(statement_folder(loaded.ledger.path))
        order = Order(tenant=whose, start_us=start_us, end_us=end_us, baseline=baseline)
        statement = issue(order, config=loaded, files=files, fold=lambda members: _fold(book, members))
        if keep:
            files.put(statement)
    written = _write(statement, wanted, out, f"{OPERATOR_NAME if operator else whose}-{asked}")
    document: Mapping[str, Any] = statement.document
    if as_json:
        print_json("report", {"files": [str(path) for path in written], "statement": document})
        return
    _print(document)
    for path in written:
        messages.print(f"wrote {path}", markup=False)


def _tenant(positional: str | None, named: str | None, *, operator: bool) -> str:
    given = {name for name in (positional, named) if name is not None}
    if operator and not given:
        return EVERYBODY
    if operator or len(given) != 1:
        raise InvalidRequest(
            "give one tenant, as in `greenserve report acme` or --tenant acme; --operator stands without a tenant"
        )
    return given.pop()


def _period(period: str | None, month: str | None) -> str:
    if period is not None and month is not None:
        raise InvalidRequest(f"--month {month} and --period {period}: give one of them")
    if month is not None and (len(month) != len("2026-11") or month[4] != "-"):
        raise InvalidRequest(f"--month {month}: write a year and a month, such as 2026-11")
    return period or month or "all"


def _fold(book: SqlLedger, members: Mapping[str, Any]) -> Mapping[str, Any]:
    head = book.head()
    whole: dict[str, Any] = {"size": head.size, "chain": head.root} | dict(members)
    return stated(book, Scope(**whole)).document


def _write(statement: Statement, wanted: list[Format], out: Path, stem: str) -> list[Path]:
    single = bool(out.suffix) and not out.is_dir()
    if single and len(wanted) > 1:
        names = ", ".join(one.name for one in wanted)
        raise InvalidRequest(f"--out {out}: one file for {len(wanted)} formats ({names}); give a folder or one format")
    # All is rendered before anything is written: a missing extra leaves no half a set of files.
    rendered = {out if single else out / f"{stem}.{one.suffix}": one.render(statement) for one in wanted}
    try:
        for path, content in rendered.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    except OSError as error:
        raise GreenServeError(f"{out}: cannot be written ({error.strerror}); choose another place with -o") from None
    return list(rendered)


def _read(path: Path) -> Mapping[str, Any]:
    try:
        document = orjson.loads(path.read_bytes())
    except OSError as error:
        raise InvalidRequest(f"{path}: cannot be read ({error.strerror}); give a statement's JSON file") from None
    except orjson.JSONDecodeError as error:
        raise InvalidRequest(f"{path}: no JSON ({error}); give the master, not a format that derives from it") from None
    if not isinstance(document, dict) or not str(document.get("schema")).startswith("greenserve.statement/"):
        raise InvalidRequest(f"{path}: no statement; its `schema` starts with greenserve.statement/")
    return document


def _verified(path: Path, key: Path | None, *, as_json: bool) -> None:
    if key is None:
        raise InvalidRequest(
            "--verify needs --key PUB, the issuer's public key from the issuer: a key that comes with the statement "
            "proves nothing"
        )
    document, public = _read(path), read_public_key(key)
    _told(document, [*signature_faults(document, public), *faults_of(document)], as_json=as_json)
    if not as_json:
        data.print(f"verified: {document['statement_id']}, signed with key {key_id_of(public)}", markup=False)


def _told(document: Mapping[str, Any], findings: list[str], *, as_json: bool) -> None:
    """Print the findings; exit 5 where there are any."""
    if as_json:
        print_json("report-verify", {"statement_id": document.get("statement_id"), "findings": findings})
    else:
        for finding in findings:
            data.print(finding, markup=False)
    if findings:
        messages.print(f"the statement does not verify: {len(findings)} findings")
        raise typer.Exit(DOES_NOT_VERIFY)


def _print(document: Mapping[str, Any]) -> None:
    totals, node = document["totals"], document["reconciliation"]
    marks = ", ".join(mark["mark"] for mark in document["watermarks"])
    signature = document["signature"]
    replaces = f", replaces {document['replaces']}" if document["replaces"] else ""
    rows = (
        ("tenant", f"{document['tenant']}, {document['start']} to {document['end']}"),
        ("version", f"{document['version']}, {document['state']}{replaces}"),
        ("requests", f"{totals['requests']} ({totals['requests_ok']} ok, {totals['cache_hit']} cache hits)"),
        ("energy", f"{_known(totals['energy_joules'])} J, {_known(totals['tier'])}"),
        ("  range", f"{_known(totals['energy_low_joules'])} to {_known(totals['energy_high_joules'])} J (90 %)"),
        ("at the site", f"{_known(totals['facility_joules'])} J = {_known(totals['facility_kwh'])} kWh"),
        ("carbon", f"{_known(totals['loc_lifecycle_gco2e'])} gCO2e, location-based lifecycle"),
        ("  not covered", f"{totals['loc_lifecycle_uncovered_joules']} J of unknown intensity"),
        ("  by contracts", f"{_known(totals['market_gco2e'])} gCO2e, market-based"),
        ("  embodied", f"{_known(totals['embodied_gco2e'])} gCO2e"),
        ("provisional", f"{totals['provisional_requests']} requests, {totals['provisional_joules']} J"),
        ("unreconciled", f"{totals['unreconciled_requests']} requests, {totals['unreconciled_joules']} J"),
        ("node metered", f"{node['metered_joules']} J, this tenant {node['this_tenant_joules']} J"),
        ("  difference", f"{node['difference_joules']} J"),
        ("watermark", marks or "none"),
        ("signature", "none: watermarked" if signature is None else f"Ed25519, key {signature['key_id']}"),
        ("verify", document["proof"]["verify"]),
    )
    for name, text in rows:
        data.print(f"{name:<14} {text}", markup=False)


def _known(value: object) -> str:
    return "unknown" if value is None else str(value)
