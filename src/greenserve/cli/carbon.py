"""`greenserve carbon`: the grid's intensity now and to come, and what a command emits, each with where it is from."""

import asyncio
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from greenserve.carbon.feeds.chain import Expected
from greenserve.carbon.feeds.store import ErrandState
from greenserve.carbon.tracker import CarbonTracker
from greenserve.cli.grid_seen import Seen, cells, see, stamp
from greenserve.cli.output import messages, print_json
from greenserve.cli.table import print_table
from greenserve.cli.tracking import run_tracked
from greenserve.config import Config, config_file, load_config
from greenserve.errors import InvalidRequest
from greenserve.quantities import parse_duration_s
from greenserve.records import IntensityReading

app = typer.Typer(
    add_completion=False, no_args_is_help=True, help="Grid intensity now and to come; a command's emissions."
)
ConfigFile = Annotated[Path | None, typer.Option("-c", "--config", help="The configuration file.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]
Offline = Annotated[bool, typer.Option("--offline", help="Ask no provider: what is stored and recorded alone.")]
LONGEST_S = 7 * 86_400.0


@app.callback()
def carbon() -> None:
    """Grid intensity now and to come; what a command emits."""


@app.command()
def now(
    zones: Annotated[list[str] | None, typer.Argument(metavar="[ZONE]...", help="Default: the regions'.")] = None,
    config: ConfigFile = None,
    offline: Offline = False,
    as_json: AsJson = False,
) -> None:
    """What each zone's intensity is, who says so, how old that is, and how far from the truth it may be.

    Providers are asked here where no gateway does; then what that one stored counts.
    """
    loaded = load_config(config)
    seen = asyncio.run(see(loaded, _zones(loaded, zones), offline=offline, horizon_s=0.0))
    if as_json:
        print_json("carbon-now", _document(seen))
        return
    rows: list[tuple[str, ...]] = [
        (zone, basis, *cells(reading, seen.now_us))
        for zone, by_basis in seen.current.items()
        for basis, reading in by_basis.items()
    ]
    rows += [
        (zone, "marginal", *cells(reading, seen.now_us))
        for zone, reading in seen.marginal.items()
        if reading is not None
    ]
    print_table(("zone", "basis", "g/kWh", "+-", "level", "age", "by"), rows, empty="no zone is configured")
    _tell_faults(seen.states)


@app.command()
def forecast(
    zone: Annotated[str, typer.Argument(help="A grid zone or a cloud region such as gcp:europe-west3.")],
    config: ConfigFile = None,
    within: Annotated[str, typer.Option(help="How far ahead, up to 7d.")] = "24h",
    offline: Offline = False,
    as_json: AsJson = False,
) -> None:
    """What is expected of a zone, hour by hour: a provider's forecast, else last week's hours, else the year's mean."""
    loaded = load_config(config)
    seen = asyncio.run(see(loaded, [zone], offline=offline, horizon_s=_horizon_s(within)))
    if as_json:
        print_json("carbon-forecast", _document(seen) | {"forecast": [_piece(one) for one in seen.forecast[zone]]})
        return
    rows = [
        (stamp(one.start_us), "-" if one.reading is None else one.reading.basis, *cells(one.reading))
        for one in seen.forecast[zone]
    ]
    print_table(("from", "basis", "g/kWh", "+-", "level", "made", "by"), rows, empty="nothing is expected")
    _tell_faults(seen.states)


@app.command("track", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
def track(
    command: Annotated[list[str], typer.Argument(metavar="-- COMMAND...", help="What is run and measured.")],
    config: ConfigFile = None,
    zone: Annotated[
        str | None, typer.Option(help="Grid zone or cloud region; default: the configuration's own region.")
    ] = None,
    pue: Annotated[float | None, typer.Option(help="The site's; default: the configuration's for the zone.")] = None,
    label: Annotated[str | None, typer.Option(help="What it is called; default: the command's name.")] = None,
    every: Annotated[str, typer.Option(help="How often a sample is taken, 50ms to 5m.")] = "15s",
    save: Annotated[Path | None, typer.Option(help="A .json or .csv file, written at each sample.")] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON document on stdout; what the command prints goes to stderr.")
    ] = False,
) -> None:
    """Run a command and tell its joules and gCO2e, with tier and 90 % interval, on stderr; its exit code is ours.

    Without a configuration the energy is known and the emissions are not. Exit 6 where no meter reads, 127 and 126
    where the command cannot be found or run.
    """
    loaded = load_config(config) if config is not None or config_file(None).is_file() else None
    tracker = CarbonTracker(
        label or Path(command[0]).name,
        zone=zone or _own_zone(loaded),
        config=loaded,
        pue=pue,
        every=every,
        save=save,
    )
    code, report = run_tracked(tracker, command, output=sys.stderr if as_json else None)
    if as_json:
        print_json("carbon-track", {"exit_code": code} | report.as_dict())
    else:
        messages.print(str(report), markup=False)
    raise typer.Exit(code)


def _own_zone(config: Config | None) -> str:
    if config is None:
        raise InvalidRequest("no configuration names a zone; give --zone (FR, gcp:europe-west3) or --config")
    return next((region.zone for region in config.regions if not region.emulated), config.regions[0].zone)


def _zones(config: Config, given: list[str] | None) -> list[str]:
    return given or list(dict.fromkeys(region.zone for region in config.regions))


def _horizon_s(text: str) -> float:
    try:
        horizon_s = parse_duration_s(text)
    except ValueError as error:
        raise InvalidRequest(f"--within: {error}") from None
    if not 0 < horizon_s <= LONGEST_S:
        raise InvalidRequest(f"--within is {text}; over 0 and up to 7d is allowed")
    return horizon_s


def _tell_faults(states: Sequence[ErrandState]) -> None:
    """One line per provider that does not answer, with its reason; the table shows what stands in."""
    told = {(state.source, state.error): state for state in states if state.failures}
    for (source, error), state in sorted(told.items(), key=lambda item: item[0][0]):
        since = "never answered" if state.ok_us is None else f"last answered {stamp(state.ok_us)}"
        messages.print(f"{source}: {error} ({since}, asked again {stamp(state.due_us)})", markup=False)


def _document(seen: Seen) -> dict[str, object]:
    return {
        "at_us": seen.now_us,
        "zones": {
            zone: {basis: _shown(reading) for basis, reading in by_basis.items()}
            | {"marginal": _shown(seen.marginal[zone])}
            for zone, by_basis in seen.current.items()
        },
        "sources": [asdict(state) for state in seen.states],
    }


def _piece(expected: Expected) -> dict[str, object]:
    return {"start_us": expected.start_us, "end_us": expected.end_us, "reading": _shown(expected.reading)}


def _shown(reading: IntensityReading | None) -> dict[str, object] | None:
    return None if reading is None else asdict(reading) | {"age_us": reading.age_us}
