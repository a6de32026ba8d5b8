"""`greenserve carbon profile`: a year of a zone's grid by hour and month, its best and worst, several side by side."""

import csv
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import typer

from greenserve.carbon.formats.heatmap import Captioned, finding, heatmap_svg
from greenserve.carbon.grid_profile import (
    HOUR_US,
    HOURS,
    MONTH_NAMES,
    PERCENTS,
    WEEKDAY_NAMES,
    GridProfile,
    profile_of,
    ranked,
    years_of,
)
from greenserve.cli.grid_series import OneSeries, SeriesShelf
from greenserve.cli.output import data, messages, print_json
from greenserve.cli.table import COLUMNS
from greenserve.errors import InvalidRequest
from greenserve.units import MG_PER_G

NAMED = 3
"""How many best and worst hours and months are named."""
FEW = 0.9
HOUR_COLUMN, NAME_COLUMN, ZONE_COLUMN = 4, 5, 11


def profile(
    zones: Annotated[list[str], typer.Argument(metavar="ZONE...", help="Grid zones or cloud regions.")],
    year: Annotated[int | None, typer.Option(help="Default: the one that the series knows most of.")] = None,
    file: Annotated[
        Path | None, typer.Option("--from", metavar="FILE", help="A recorded series; default: the configuration's.")
    ] = None,
    config: Annotated[Path | None, typer.Option("-c", "--config", help="The configuration file.")] = None,
    basis: Annotated[str | None, typer.Option(help="lifecycle or direct; of FILE default lifecycle.")] = None,
    time_zone: Annotated[str, typer.Option("--tz", help="Whose hours and months, such as Europe/Berlin.")] = "UTC",
    to: Annotated[
        list[Path] | None, typer.Option("-o", "--to", help="Write it: a .csv or an .svg; repeatable.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> None:
    """Show a year by hour of day and month: means, best and worst hours, months and weekdays, percentiles.

    A recorded series or what providers told (about the last week) is read, nobody is asked. Exit 2 where a zone or
    year has no values: the message names what there is.
    """
    clock = _clock(time_zone)
    for out in to or ():
        _check_target(out)
    shelf = SeriesShelf(file=file, config=config, basis=basis)
    shown = [_captioned(shelf.series(zone), year, clock) for zone in dict.fromkeys(zones)]
    for out in to or ():
        _write(out, WRITERS[out.suffix](shown, time_zone))
    if as_json:
        documents = [_document(one) for one in shown]
        print_json("carbon-profile", {"time_zone": time_zone, "unit": "mg/kWh", "profiles": documents})
        return
    for line in _single(shown[0]) if len(shown) == 1 else _several(shown):
        data.print(line, markup=False)
    for one in shown:
        _tell(one, time_zone)


def _captioned(series: OneSeries, year: int | None, clock: ZoneInfo) -> Captioned:
    there = years_of(series.slots, clock)
    wanted = max(there, key=lambda one: (there[one], one)) if year is None else year
    found = profile_of(series.zone, series.slots, wanted, clock)
    if found is None:
        raise InvalidRequest(
            f"--year is {wanted}: {series.source} has no values of {series.zone} in it; there are "
            f"{', '.join(map(str, there))}"
        )
    return Captioned(profile=found, source=series.source)


def _single(one: Captioned) -> Iterator[str]:
    """The heatmap of one zone, and below it what stands out."""
    shown = one.profile
    yield f"{'':<{HOUR_COLUMN}}" + "".join(f"{name:>5}" for name in MONTH_NAMES) + f"{'mean':>8}"
    for hour in range(HOURS):
        cells = "".join(f"{_grams(value):>5}" for value in shown.cells[hour])
        yield f"{hour:02}  {cells}{_grams(shown.by_hour[hour]):>8}"
    yield f"mean{''.join(f'{_grams(value):>5}' for value in shown.by_month)}{_grams(shown.mean):>8}  g/kWh"
    yield ""
    hours, months = ranked(shown.by_hour), ranked(shown.by_month)
    yield f"best hours     {_listed(hours[:NAMED], shown.by_hour, _hour)}"
    yield f"worst hours    {_listed(hours[::-1][:NAMED], shown.by_hour, _hour)}"
    yield f"best months    {_listed(months[:NAMED], shown.by_month, _month)}"
    yield f"worst months   {_listed(months[::-1][:NAMED], shown.by_month, _month)}"
    yield f"weekdays       {_listed(range(len(WEEKDAY_NAMES)), shown.by_weekday, lambda at: WEEKDAY_NAMES[at])}"
    percentiles = ", ".join(f"p{percent} {_grams(shown.percentiles[percent])}" for percent in PERCENTS)
    yield f"percentiles    {percentiles}"
    yield f"extremes       lowest {_grams(shown.lowest)}, highest {_grams(shown.highest)}"
    yield f"within a day   {_grams(shown.day_swing)} g/kWh from the best to the worst hour (median of days)"


def _several(shown: Sequence[Captioned]) -> Iterator[str]:
    """Zones side by side: hours of the day in columns, and below them the rest in rows."""
    wide = max(ZONE_COLUMN, *(len(one.profile.zone) + 2 for one in shown))
    fit = (COLUMNS - NAME_COLUMN) // wide
    for start in range(0, len(shown), fit):
        part = [one.profile for one in shown[start : start + fit]]
        yield f"{'hour':<{NAME_COLUMN}}" + "".join(f"{one.zone:>{wide}}" for one in part)
        for hour in range(HOURS):
            yield f"{hour:02}   " + "".join(f"{_grams(one.by_hour[hour]):>{wide}}" for one in part)
        rows: list[tuple[str, Callable[[GridProfile], str]]] = [
            ("mean", lambda one: _grams(one.mean)),
            *((f"p{percent}", _percentile(percent)) for percent in PERCENTS),
            ("best", lambda one: f"{_hour(ranked(one.by_hour)[0])} {_month(ranked(one.by_month)[0])}"),
            ("worst", lambda one: f"{_hour(ranked(one.by_hour)[-1])} {_month(ranked(one.by_month)[-1])}"),
            ("day", lambda one: _grams(one.day_swing)),
            ("year", lambda one: str(one.year)),
        ]
        for name, cell in rows:
            yield f"{name:<{NAME_COLUMN}}" + "".join(f"{cell(one):>{wide}}" for one in part)
        yield "g/kWh; best and worst: hour of the day and month; day: best to worst hour"
        yield ""


def _percentile(percent: int) -> Callable[[GridProfile], str]:
    return lambda one: _grams(one.percentiles[percent])


def _tell(one: Captioned, time_zone: str) -> None:
    shown = one.profile
    known = shown.known_us / shown.year_us
    said = f"{finding(shown)} Hours in {time_zone}; {one.source}; {known:.1%} of the year known"
    if known < FEW:
        said += ": what is missing may be its best or worst"
    messages.print(said, markup=False)


def _document(one: Captioned) -> dict[str, Any]:
    shown = one.profile
    hours, months = ranked(shown.by_hour), ranked(shown.by_month)
    best = {"best_hours": hours[:NAMED], "worst_hours": hours[::-1][:NAMED]}
    best |= {"best_months": [place + 1 for place in months[:NAMED]]}
    best |= {"worst_months": [place + 1 for place in months[::-1][:NAMED]]}
    percentiles = {str(percent): value for percent, value in shown.percentiles.items()}
    members = {name: getattr(shown, name) for name in shown.__slots__ if name != "percentiles"}
    return members | {"percentiles": percentiles, "source": one.source} | best


def _csv(shown: Sequence[Captioned], time_zone: str) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(("zone", "year", "time_zone", "source", "month", "hour", "mean_gco2e_per_kwh", "known_hours"))
    for one in shown:
        for hour, row in enumerate(one.profile.cells):
            for month, value in enumerate(row):
                known_h = one.profile.known_cells_us[hour][month] / HOUR_US
                grams = "" if value is None else f"{value / MG_PER_G:.3f}"
                named = (one.profile.zone, one.profile.year, time_zone, one.source)
                writer.writerow((*named, month + 1, hour, grams, f"{known_h:g}"))
    return out.getvalue()


def _svg(shown: Sequence[Captioned], time_zone: str) -> str:
    return heatmap_svg(shown, clock=time_zone)


WRITERS: Mapping[str, Callable[[Sequence[Captioned], str], str]] = MappingProxyType({".csv": _csv, ".svg": _svg})


def _check_target(out: Path) -> None:
    if out.suffix not in WRITERS or not out.parent.is_dir() or out.exists():
        raise InvalidRequest(
            f"-o is {out}: give a name that ends in {' or '.join(WRITERS)}, in a folder that exists, of no file yet"
        )


def _write(out: Path, text: str) -> None:
    try:
        with out.open("x", encoding="utf-8", newline="") as target:
            target.write(text)
    except OSError as error:
        raise InvalidRequest(f"{out} cannot be written: {error.strerror}") from None
    messages.print(f"wrote {out}", markup=False)


def _clock(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise InvalidRequest(f"--tz is {name!r:.60}; give a name like Europe/Berlin, Asia/Tokyo or UTC") from None


def _listed(places: Sequence[int], means: Sequence[int | None], name: Callable[[int], str]) -> str:
    return ", ".join(f"{name(place)} {_grams(means[place])}" for place in places)


def _hour(place: int) -> str:
    return f"{place:02}h"


def _month(place: int) -> str:
    return MONTH_NAMES[place]


def _grams(value: int | None) -> str:
    if value is None:
        return "?"
    return f"{value / MG_PER_G:.0f}" if value >= 10 * MG_PER_G else f"{value / MG_PER_G:.1f}"
