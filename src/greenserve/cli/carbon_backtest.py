"""`greenserve carbon backtest`: how far off what stands in for the grid's intensity was, zone by zone."""

import csv
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from greenserve.carbon.feeds.backtest import GridWidth, Series, backtest
from greenserve.carbon.feeds.levels import WORDS
from greenserve.carbon.feeds.parsing import HOUR_US
from greenserve.carbon.feeds.recorded import RecordedFeed
from greenserve.carbon.feeds.store import ReadingStore, store_file
from greenserve.carbon.feeds.widths import width_rows
from greenserve.cli.output import messages, print_json
from greenserve.cli.table import print_table
from greenserve.config import load_config
from greenserve.errors import InvalidRequest
from greenserve.records import Basis, IntensityReading, Scope


def backtest_command(
    zones: Annotated[list[str] | None, typer.Argument(metavar="[ZONE]...", help="Default: all there are.")] = None,
    file: Annotated[
        Path | None, typer.Option("--from", metavar="FILE", help="A recorded series; default: what providers told.")
    ] = None,
    config: Annotated[Path | None, typer.Option("-c", "--config", help="The configuration file.")] = None,
    basis: Annotated[str, typer.Option(help="Of the recorded series: lifecycle or direct.")] = "lifecycle",
    scope: Annotated[str | None, typer.Option(help="Of the recorded series: consumption or production.")] = None,
    to: Annotated[Path | None, typer.Option("-o", "--to", help="Write it for `intensity.half_widths`.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> None:
    """Half widths of 90 % intervals for what stands in: last good values by age, forecasts by horizon, earlier weeks,
    the year's mean. `held out`: which part of each month the other months' width held; `forward`: those before it.

    Exit 2 where no zone has a series long enough.
    """
    source, every = (file.name, _recorded(file, basis, scope)) if file else ("own readings", _stored(config))
    wanted = [one for one in every if not zones or one.zone in zones]
    missing = sorted(set(zones or ()) - {one.zone for one in wanted})
    if missing:
        known = ", ".join(sorted({one.zone for one in every})) or "none"
        raise InvalidRequest(f"{', '.join(missing)}: no values of it in {source}; there are {known}")
    rows = [row for one in wanted for row in backtest(one)]
    if not rows:
        raise InvalidRequest(f"{source} holds no zone with 100 slots to compare; give a longer series with --from FILE")
    if to is not None:
        _write(to, width_rows(rows, source))
    if as_json:
        print_json("carbon-backtest", {"source": source, "widths": [asdict(row) for row in rows]})
        return
    shown = [_cells(row) for row in rows]
    print_table(("zone", "basis", "level", "age", "+-", "held out", "forward", "pairs"), shown, empty="")


def _cells(row: GridWidth) -> tuple[str, ...]:
    shares = ("-" if share is None else f"{share / 100:.1f}%" for share in (row.held_out_bp, row.forward_bp))
    age = f"{row.age_us / HOUR_US:g}h" if row.age_us else "-"
    level = f"{row.level} {WORDS[row.level]}"
    return (row.zone, row.basis, level, age, f"{row.half_width_bp / 100:.1f}%", *shares, str(row.pairs))


def _recorded(file: Path, basis: str, scope: str | None) -> list[Series]:
    bases: dict[str, Basis] = {"lifecycle": "lifecycle", "direct": "direct"}
    scopes: dict[str | None, Scope | None] = {None: None, "consumption": "consumption", "production": "production"}
    if basis not in bases or scope not in scopes:
        raise InvalidRequest(
            f"--basis is {basis} and --scope {scope}; allowed are lifecycle or direct, and consumption or production"
        )
    feed = RecordedFeed(file, provider=file.name)
    return [
        Series(zone=zone, basis=bases[basis], scope=scopes[scope], slot_us=HOUR_US, seen=feed.series(zone))
        for zone in sorted(feed.zones())
    ]


def _stored(config: Path | None) -> list[Series]:
    file = store_file(load_config(config))
    if not file.exists():
        raise InvalidRequest(f"{file} is not there: no provider has told anything yet; give a series with --from FILE")
    store = ReadingStore(file)
    try:
        told = store.news()
    finally:
        store.close()
    found: list[Series] = []
    for readings in told.values():
        average = [one for one in readings if one.kind == "average"]
        for zone, basis in sorted({(one.zone, one.basis) for one in average}):
            found += _series([one for one in average if (one.zone, one.basis) == (zone, basis)])
    return found


def _series(readings: Sequence[IntensityReading]) -> Iterable[Series]:
    seen = [one for one in readings if one.origin in ("observed", "estimated")]
    if seen:
        last = seen[-1]
        yield Series(
            zone=last.zone,
            basis=last.basis,
            scope=last.scope,
            slot_us=last.end_us - last.start_us,
            seen={one.start_us: one.mg_per_kwh for one in seen},
            expected=[
                (one.start_us, one.observed_us, one.mg_per_kwh)
                for one in readings
                if one.origin == "forecast" and one.observed_us is not None
            ],
        )


def _write(file: Path, rows: Sequence[Sequence[str]]) -> None:
    try:
        with file.open("x", encoding="utf-8", newline="") as lines:
            csv.writer(lines, lineterminator="\n").writerows(rows)
    except FileExistsError:
        raise InvalidRequest(f"{file} exists; give another name to -o") from None
    except OSError as error:
        raise InvalidRequest(f"{file} cannot be written: {error.strerror}") from None
    messages.print(f"written; use it with `intensity: {{half_widths: {file}}}`", markup=False)
