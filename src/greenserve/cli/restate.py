"""`greenserve ledger restate`: settled requests by revised values, in new entries; nothing is edited."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from greenserve.carbon.feeds.store import store_file
from greenserve.carbon.ledger.book import SqlLedger
from greenserve.carbon.ledger.restatement import devices_of
from greenserve.carbon.ledger.restatement import restate as restated
from greenserve.carbon.periods import moment_us
from greenserve.cli.opening import AsJson, ConfigFile, opened
from greenserve.cli.output import print_json
from greenserve.cli.restating import (
    Fault,
    Series,
    cause_of_fault,
    cause_of_pue,
    causes_of_series,
    causes_of_store,
    checked_causes,
    checked_region,
    document_of,
    show,
)
from greenserve.clock import SystemClock
from greenserve.errors import InvalidRequest

app = typer.Typer()


@app.command()
def restate(
    reason: Annotated[str, typer.Option(help="Why; entries and statements print it.")],
    begin: Annotated[str, typer.Option("--from", metavar="TIME", help="2026-10-01 or 2026-10-01T05:00Z.")],
    end: Annotated[str, typer.Option("--to", metavar="TIME", help="The first moment behind it.")],
    intensity: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Revised hours as CSV or Parquet, as recorded series are.")
    ] = None,
    provider: Annotated[str | None, typer.Option(help="With --intensity: whose readings these replace.")] = None,
    basis: Annotated[Literal["lifecycle", "direct"], typer.Option(help="With --intensity.")] = "lifecycle",
    origin: Annotated[
        Literal["observed", "estimated", "recorded"], typer.Option(help="With --intensity: how good they are.")
    ] = "observed",
    feeds: Annotated[
        bool, typer.Option("--feeds", help="By what the gateway's feeds have fetched again since.")
    ] = False,
    pue: Annotated[list[str] | None, typer.Option(metavar="REGION=VALUE", help="A region's revised PUE.")] = None,
    energy: Annotated[
        list[str] | None,
        typer.Option(metavar="DEVICE=FACTOR", help="A fault: what a device's energy was, times settled."),
    ] = None,
    code: Annotated[
        Literal["meter_fault", "model_fault"], typer.Option(help="With --energy: what was at fault.")
    ] = "meter_fault",
    model: Annotated[str | None, typer.Option(help="With --energy: only this model's requests.")] = None,
    variant: Annotated[str | None, typer.Option(help="With --energy: only this variant's requests.")] = None,
    tier: Annotated[
        Literal["measured", "measured_raw", "modelled", "class_average"] | None,
        typer.Option(help="With --energy: the best tier that restated energy can have; default: as it was."),
    ] = None,
    source: Annotated[str | None, typer.Option(help="With --pue and --energy: where the value comes from.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Write nothing, say what would change.")] = False,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Restate settled requests, of closed months too, by revised values or faults of a meter, in new entries."""
    start_us, end_us = _window(begin, end)
    _check_given(energy, source, intensity, provider, feeds, pue)
    if (intensity is None) != (provider is None):
        raise InvalidRequest("--intensity FILE and --provider NAME go together: only that provider's values give way")
    if not energy and (model is not None or variant is not None or tier is not None):
        raise InvalidRequest("--model, --variant and --tier go with --energy: they say whose energy was at fault")
    about: dict[str, Any] = {"code": code, "source": source, "model": model, "variant": variant, "tier": tier}
    causes: list[Mapping[str, Any]] = []
    factors = [cause_of_pue(one, source, start_us, end_us) for one in pue or ()]
    if intensity is not None and provider is not None:
        series = Series(file=intensity, provider=provider, basis=basis, origin=origin)
        causes += causes_of_series(series, start_us, end_us)
    with opened(config) as (book, loaded):
        if feeds:
            causes += causes_of_store(store_file(loaded), start_us, end_us)
        known = {region.name for region in loaded.regions}
        known |= {str(region) for (region,) in book.query("SELECT DISTINCT region FROM rollup WHERE region <> ''")}
        causes += [checked_region(one, known) for one in factors]
        causes += [_fault(book, Fault(given=one, **about), start_us, end_us) for one in energy or ()]
        given = checked_causes(causes, start_us, end_us)
        found = restated(book, given, reason=reason, now_us=SystemClock().unix_us(), dry_run=dry_run)
    if as_json:
        print_json("ledger-restate", document_of(found, dry_run=dry_run))
    else:
        show(found, dry_run=dry_run)


def _check_given(energy: list[str] | None, source: str | None, *others: object) -> None:
    if energy and not source:
        raise InvalidRequest("--energy needs --source TEXT: where the factor comes from, such as a calibration report")
    if not energy and not any(others):
        raise InvalidRequest(
            "nothing is revised: give --intensity FILE with --provider NAME, --feeds, --pue REGION=VALUE or "
            "--energy DEVICE=FACTOR, one or several of them"
        )


def _fault(book: SqlLedger, fault: Fault, start_us: int, end_us: int) -> Mapping[str, Any]:
    return cause_of_fault(fault, devices_of(book, start_us, end_us), start_us, end_us)


def _window(begin: str, end: str) -> tuple[int, int]:
    start_us, end_us = moment_us(begin), moment_us(end)
    if end_us <= start_us:
        raise InvalidRequest(f"--to {end} is not after --from {begin}")
    return start_us, end_us
