"""`greenserve carbon`: the grid's intensity now and to come, and what a command emits, each with where it is from."""

import asyncio
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from greenserve.carbon.best_window import Step, Window, best_window, window_at
from greenserve.carbon.feeds.chain import Expected
from greenserve.carbon.feeds.store import ErrandState
from greenserve.carbon.tracker import CarbonTracker
from greenserve.carbon.tracker_settings import check_zone
from greenserve.cli.carbon_annual import annual
from greenserve.cli.carbon_backtest import backtest_command
from greenserve.cli.carbon_equivalents import equivalents
from greenserve.cli.carbon_profile import profile
from greenserve.cli.carbon_regions import regions
from greenserve.cli.grid_seen import Seen, cells, see, stamp
from greenserve.cli.output import messages, print_json
from greenserve.cli.table import print_table
from greenserve.cli.tracking import run_tracked
from greenserve.config import Config, config_file, load_config
from greenserve.errors import InvalidRequest
from greenserve.quantities import parse_duration_s
from greenserve.records import IntensityReading
from greenserve.units import J_PER_KWH, MG_PER_G, US_PER_S

app = typer.Typer(
    add_completion=False, no_args_is_help=True, help="Grid intensity now and to come; a command's emissions."
)
ConfigFile = Annotated[Path | None, typer.Option("-c", "--config", help="The configuration file.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]
Offline = Annotated[bool, typer.Option("--offline", help="Ask no provider: what is stored and recorded alone.")]
LONGEST_S = 7 * 86_400.0
LARGEST_W = 1e9


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
    seen = _seen(loaded, _zones(loaded, zones), offline=offline, horizon_s=0.0)
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
    seen = _seen(loaded, [zone], offline=offline, horizon_s=_horizon_s(within))
    if as_json:
        print_json("carbon-forecast", _document(seen) | {"forecast": [_piece(one) for one in seen.forecast[zone]]})
        return
    rows = [
        (stamp(one.start_us), "-" if one.reading is None else one.reading.basis, *cells(one.reading))
        for one in seen.forecast[zone]
    ]
    print_table(("from", "basis", "g/kWh", "+-", "level", "made", "by"), rows, empty="nothing is expected")
    _tell_faults(seen.states)


@app.command("best-window")
def window(
    zone: Annotated[str, typer.Option(help="A grid zone or a cloud region.")],
    duration: Annotated[str, typer.Option(help="How long the job runs, such as 2h.")],
    config: ConfigFile = None,
    within: Annotated[str, typer.Option(help="It ends within that time, up to 7d.")] = "24h",
    power_w: Annotated[
        float | None, typer.Option("--power-w", help="What it draws, for grams; PUE is left out.")
    ] = None,
    offline: Offline = False,
    as_json: AsJson = False,
) -> None:
    """When a job of that length emits least: its start, its mean intensity, and the difference to starting now.

    Exit 2 where the whole window is expected by no source.
    """
    loaded = load_config(config)
    horizon_s, length_s = _horizon_s(within), _horizon_s(duration, "--duration")
    if length_s > horizon_s or (power_w is not None and not 0 < power_w < LARGEST_W):
        raise InvalidRequest(f"--duration {duration} must fit into --within {within}, and --power-w be over 0 and real")
    seen = _seen(loaded, [zone], offline=offline, horizon_s=horizon_s)
    length_us = round(length_s * US_PER_S)
    steps = [
        Step(
            start_us=one.start_us,
            end_us=one.end_us,
            mg_per_kwh=None if one.reading is None else one.reading.mg_per_kwh,
            half_width_bp=None if one.reading is None else one.reading.u_grid_bp,
        )
        for one in seen.forecast[zone]
    ]
    deadline_us = seen.now_us + round(horizon_s * US_PER_S)
    best = best_window(steps, length_us, earliest_us=seen.now_us, deadline_us=deadline_us)
    at_once = window_at(steps, seen.now_us, length_us)
    _tell_faults(seen.states)
    if best is None:
        raise InvalidRequest(f"{zone}: no source expects {duration} in a row within {within}; see `carbon forecast`")
    if as_json:
        print_json(
            "carbon-best-window",
            {"zone": zone, "best": _told(best, power_w, length_s)}
            | {"now": None if at_once is None else _told(at_once, power_w, length_s)},
        )
        return
    rows = [("best", *_window_cells(best, power_w, length_s))]
    rows += [("now", *_window_cells(at_once, power_w, length_s))] if at_once is not None else []
    print_table(("start", "from", "mean g/kWh", "+-", "gCO2e"), rows, empty="")


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
    save: Annotated[
        list[Path] | None, typer.Option(help="A .json, .jsonl, .csv or .prom file, written at each sample.")
    ] = None,
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
        save_every=every,
        exporters=save or (),
    )
    code, report = run_tracked(tracker, command, output=sys.stderr if as_json else None)
    if as_json:
        print_json("carbon-track", {"exit_code": code} | report.as_dict())
    else:
        messages.print(str(report), markup=False)
    raise typer.Exit(code)


app.command("annual")(annual)
app.command("backtest")(backtest_command)
app.command("regions")(regions)
app.command("profile")(profile)
app.command("equivalents")(equivalents)


def _own_zone(config: Config | None) -> str:
    if config is None:
        raise InvalidRequest("no configuration names a zone; give --zone (FR, gcp:europe-west3) or --config")
    return next((region.zone for region in config.regions if not region.emulated), config.regions[0].zone)


def _zones(config: Config, given: list[str] | None) -> list[str]:
    return given or list(dict.fromkeys(region.zone for region in config.regions))


def _told(window: Window, power_w: float | None, length_s: float) -> dict[str, object]:
    mean_mg = float(window.mean_mg_per_kwh)
    grams = None if power_w is None else power_w * length_s / J_PER_KWH * mean_mg / MG_PER_G
    return {
        "start_us": window.start_us,
        "mean_mg_per_kwh": round(mean_mg),
        "half_width_bp": window.half_width_bp,
        "emissions_g": grams,
    }


def _window_cells(window: Window, power_w: float | None, length_s: float) -> tuple[str, str, str, str]:
    told = _told(window, power_w, length_s)
    width = "unknown" if window.half_width_bp is None else f"{window.half_width_bp / 100:g}%"
    grams = "-" if told["emissions_g"] is None else f"{told['emissions_g']:.4g}"
    return stamp(window.start_us), f"{float(window.mean_mg_per_kwh) / MG_PER_G:.1f}", width, grams


def _seen(config: Config, zones: Sequence[str], *, offline: bool, horizon_s: float) -> Seen:
    for zone in zones:
        check_zone(zone, config.intensity)
    return asyncio.run(see(config, zones, offline=offline, horizon_s=horizon_s))


def _horizon_s(text: str, option: str = "--within") -> float:
    try:
        horizon_s = parse_duration_s(text)
    except ValueError as error:
        raise InvalidRequest(f"{option}: {error}") from None
    if not 0 < horizon_s <= LONGEST_S:
        raise InvalidRequest(f"{option} is {text}; over 0 and up to 7d is allowed")
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
