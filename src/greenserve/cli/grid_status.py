"""Where a running gateway has its grid intensity from: source, level in the fallback chain, age; and who fails."""

import asyncio
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from greenserve.carbon.feeds.levels import UNKNOWN, WORDS
from greenserve.carbon.feeds.store import store_beside
from greenserve.cli.grid_seen import Seen, see, stamp, words_of_age
from greenserve.config import load_config
from greenserve.errors import GreenServeError
from greenserve.records import Basis, IntensityReading
from greenserve.serve.run_folder import RunState
from greenserve.units import MG_PER_G, US_PER_S

DEFAULT = "default"
"""What a run says of its configuration where it was started without naming a file."""


def grid_of_run(state: RunState, config_file: Path | None) -> Mapping[str, Any]:
    """Zones and providers as this command finds them, from the store beside the gateway's ledger; asks nobody.

    `error` says why where the configuration of the run or one of its series cannot be read from here; `zones` and
    `sources` are None then.
    """
    own = None if state.config == DEFAULT else Path(state.config)
    try:
        config = load_config(config_file or own)
        seen = asyncio.run(
            see(
                config,
                list(dict.fromkeys(str(region["zone"]) for region in state.regions)),
                offline=True,
                horizon_s=0.0,
                store=store_beside(Path(state.ledger)),
            )
        )
    except GreenServeError as error:
        return {"error": str(error), "zones": None, "sources": None}
    return {"error": None, "zones": _zones(seen, config.intensity.basis), "sources": _sources(seen)}


def grid_lines(grid: Mapping[str, Any]) -> Iterator[str]:
    """The same for people: a line for each zone, and one for each provider with its last answer and its fault."""
    if grid["error"] is not None:
        yield f"grid    not known to this command: {grid['error']}"
        return
    for zone, told in grid["zones"].items():
        if told["gco2e_per_kwh"] is None:
            yield f"grid    {zone}: unknown (level {UNKNOWN}), no source knows it now"
            continue
        age = words_of_age(told["age_s"])
        yield (
            f"grid    {zone}: {told['gco2e_per_kwh']:g} g/kWh {told['basis']} by {told['provider']}, "
            f"level {told['level']} ({told['level_name']}), {age} old"
        )
    for source in grid["sources"]:
        since = "never" if source["last_answer"] is None else f"{words_of_age(source['age_s'])} ago"
        fault = "" if source["error"] is None else f"; failed {source['failures']} times: {source['error']}"
        yield f"        {source['source']}: last answered {since}{fault}"


def _zones(seen: Seen, wanted: Basis) -> dict[str, Any]:
    """The reading that counts for each zone: in the wanted basis, else in the other one."""
    found: dict[str, Any] = {}
    for zone, by_basis in seen.current.items():
        order = sorted(by_basis, key=lambda basis: basis != wanted)
        reading = next((by_basis[basis] for basis in order if by_basis[basis] is not None), None)
        found[zone] = _shown(reading, seen.now_us)
    return found


def _shown(reading: IntensityReading | None, now_us: int) -> dict[str, Any]:
    if reading is None or reading.level is None:
        names = ("gco2e_per_kwh", "basis", "provider", "origin", "observed", "age_s")
        return dict.fromkeys(names) | {"level": UNKNOWN, "level_name": WORDS[UNKNOWN]}
    seen_us = reading.retrieved_us if reading.observed_us is None else reading.observed_us
    return {
        "gco2e_per_kwh": reading.mg_per_kwh / MG_PER_G,
        "basis": reading.basis,
        "provider": reading.provider,
        "origin": reading.origin,
        "observed": stamp(seen_us),
        "age_s": max(0, now_us - seen_us) // US_PER_S,
        "level": reading.level,
        "level_name": WORDS[reading.level],
    }


def _sources(seen: Seen) -> list[dict[str, Any]]:
    """Each provider's newest answer, and the fault of whatever it does not answer now."""
    found: list[dict[str, Any]] = []
    for source in sorted({state.source for state in seen.states}):
        states = [state for state in seen.states if state.source == source]
        answered = max((state.ok_us for state in states if state.ok_us is not None), default=None)
        failing = [state for state in states if state.failures]
        found.append(
            {
                "source": source,
                "last_answer": None if answered is None else stamp(answered),
                "age_s": None if answered is None else max(0, seen.now_us - answered) // US_PER_S,
                "failures": max((state.failures for state in failing), default=0),
                "error": failing[0].error if failing else None,
                "next_try": stamp(min(state.due_us for state in failing)) if failing else None,
            }
        )
    return found
