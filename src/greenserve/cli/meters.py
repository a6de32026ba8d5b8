"""`greenserve meters`: which meters read this machine, what a board's sensor does, what its CPUs draw."""

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from greenserve.carbon.meters.calibrate import LEVEL_S, calibrate
from greenserve.carbon.meters.characterise import Characterisation
from greenserve.carbon.meters.cpu_time import CpuTimeMeter, host_power
from greenserve.carbon.meters.known_boards import FILE, meters_folder, write_board
from greenserve.carbon.meters.nvml import list_boards, load_nvml
from greenserve.carbon.meters.pick import PickedNode
from greenserve.carbon.meters.probe import Probe
from greenserve.carbon.meters.rapl import open_rapl
from greenserve.carbon.node_overhead import NODE, DeclaredOverhead
from greenserve.cli.gpu_work import gpu_work, import_torch, own_processes
from greenserve.cli.output import data, messages, print_json
from greenserve.cli.sampler import sampling
from greenserve.cli.table import print_table
from greenserve.clock import SystemClock
from greenserve.config import load_config
from greenserve.errors import InvalidRequest, MeterUnavailable
from greenserve.serve.external_meters import ExternalMeters
from greenserve.serve.metering import declared_overhead, pick_configured_node
from greenserve.units import MILLI

app = typer.Typer(add_completion=False, no_args_is_help=True, help="List, probe and calibrate energy meters.")
ConfigFile = Annotated[Path | None, typer.Option("-c", "--config", help="The configuration file.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]
MS = 1_000_000


@app.callback()
def meters() -> None:
    """List this machine's energy meters, probe boards, calibrate the CPU model."""


@app.command("list")
def list_meters(
    config: ConfigFile = None,
    seconds: Annotated[float, typer.Option(min=0.1, max=60, help="How long power is measured for.")] = 1.0,
    as_json: AsJson = False,
) -> None:
    """Show the meter of each device, the power that it sees, and why not another one. Exit 6 where none reads."""
    loaded = load_config(config)
    external = ExternalMeters(loaded)
    external.poller.once()
    node = pick_configured_node(loaded, external)
    powers = power_now(node, seconds, ask_again=external.poller.once)
    rows = [dict(picked.meter.describe()) | {"name": picked.name, **powers[picked.device]} for picked in node.devices]
    overhead = overhead_of(
        {device: power if isinstance(power := told["power_w"], float) else None for device, told in powers.items()},
        declared_overhead(loaded),
    )
    if as_json:
        rejected = [{"name": name, "reason": reason} for name, reason in node.rejected]
        told = {"overhead_w": overhead.power_w, "overhead": asdict(overhead)}
        print_json("meters", {"devices": rows, **told, "rejected": rejected})
        return
    print_table(
        ("device", "meter", "tier", "+-%", "power", "source"),
        [
            (
                str(row["device"]),
                str(row["name"]),
                str(row["tier"]),
                _or_unknown(row["half_width_pct"]),
                "unknown" if row["power_w"] is None else f"{row['power_w']:.1f} W",
                str(row["source"]),
            )
            for row in rows
        ],
        empty="no meter",
    )
    data.print(overhead.said(), markup=False)
    for row in rows:
        if "mig_parent" in row:
            share = f"{row['mig_slices']} slices of {row['mig_parent']}, shared by {row['mig_shared_by']}"
            data.print(f"{row['device']}: {share}", markup=False)
    for watch in node.mig:
        if watch.fault is not None:
            data.print(f"{watch!r}: shared by slices alone: {watch.fault}", markup=False)
    for name, reason in node.rejected:
        data.print(f"not {name}: {reason}", markup=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class OverheadShown:
    """What the node draws beyond its devices now [W]: by `difference` from its meter, `declared`, or unknown (None).

    `half_width_pct` and `source` are those of the declaration; `reason` says why it is unknown, or what is odd.
    """

    power_w: float | None
    by: Literal["difference", "declared"] | None
    half_width_pct: int | None = None
    source: str | None = None
    reason: str | None = None

    def said(self) -> str:
        """One line for people."""
        if self.power_w is None:
            return f"overhead unknown: {self.reason}"
        if self.by == "declared":
            return f"overhead {self.power_w:.1f} W declared ({self.source}, +-{self.half_width_pct} %)"
        odd = f" ({self.reason})" if self.reason else ""
        return f"overhead {self.power_w:.1f} W, what the devices do not explain of the node{odd}"


def overhead_of(powers: Mapping[str, float | None], declared: DeclaredOverhead | None) -> OverheadShown:
    """The overhead by the node's meter where there is one, else as it is declared."""
    if NODE in powers:
        beyond_w = overhead_w(powers)
        if beyond_w is None:
            silent = ", ".join(sorted(device for device, power in powers.items() if power is None))
            return OverheadShown(power_w=None, by=None, reason=f"no power is known of {silent}")
        odd = "the meters disagree: less than the devices" if beyond_w < 0 else None
        return OverheadShown(power_w=beyond_w, by="difference", reason=odd)
    if declared is None:
        return OverheadShown(power_w=None, by=None, reason="no node meter, no energy.overhead")
    return OverheadShown(
        power_w=declared.power_mw / MILLI,
        by="declared",
        half_width_pct=declared.half_width_pct,
        source=declared.source,
    )


def overhead_w(powers: Mapping[str, float | None]) -> float | None:
    """What the node draws beyond its devices [W], by their powers; None without a node meter, or one power unknown.

    A negative one says that the meters disagree.
    """
    node = powers.get(NODE)
    known = [power for device, power in powers.items() if device != NODE and power is not None]
    return None if node is None or len(known) + 1 < len(powers) else node - sum(known)


def power_now(
    node: PickedNode, seconds: float, *, ask_again: Callable[[], object] = lambda: None
) -> Mapping[str, Mapping[str, float | str | None]]:
    """The mean power [W] of each device over some seconds; None, with the fault, where its meter told none.

    `ask_again` has those meters asked that nobody asks in the background.
    """
    for watch in node.mig:
        watch.look()
    first: dict[str, Any] = {}
    found: dict[str, dict[str, float | str | None]] = {}
    for picked in node.devices:
        try:
            first[picked.device] = picked.meter.read()
        except MeterUnavailable as error:
            found[picked.device] = {"power_w": None, "fault": str(error)}
    time.sleep(seconds)
    for watch in node.mig:
        watch.look()
    ask_again()
    for picked in node.devices:
        if picked.device not in first:
            continue
        try:
            last, begun = picked.meter.read(), first[picked.device]
        except MeterUnavailable as error:
            found[picked.device] = {"power_w": None, "fault": str(error)}
            continue
        duration_ns, energy_uj = last.at_ns - begun.at_ns, last.energy_uj - begun.energy_uj
        known = duration_ns > 0 and energy_uj >= 0 and last.source == begun.source
        power_w = energy_uj * MILLI / duration_ns if known else None
        found[picked.device] = {"power_w": power_w, "fault": None}
    return found


@app.command()
def probe(
    config: ConfigFile = None,
    device: Annotated[str | None, typer.Option(help="UUID of a board, or its start; every board without it.")] = None,
    as_json: AsJson = False,
) -> None:
    """Find out how each board's energy counter works, and keep it. Two minutes a board, which must be free.

    Exit 6 where there is no NVIDIA board, no torch to load it, or company on it.
    """
    loaded = load_config(config)
    nvml = load_nvml()
    boards, faults = list_boards(nvml)
    for name, reason in faults:
        messages.print(f"{name}: {reason}", markup=False)
    chosen = [board for board in boards if device is None or board.uuid.startswith(device)]
    if not chosen:
        there = ", ".join(board.uuid for board in boards) or "none"
        raise InvalidRequest(f"no board's UUID starts with {device!r}; there are {there}")
    torch = import_torch()
    file = meters_folder(loaded.ledger.path) / FILE
    results = []
    for board in chosen:
        messages.print(f"{board.name} ({board.uuid}), driver {board.driver}", markup=False)
        found = Probe(
            nvml,
            board,
            clock=SystemClock(),
            wait=time.sleep,
            work=gpu_work(torch, board.uuid),
            ours=own_processes(),
            sampler=partial(sampling, nvml, board),
        ).run(said=lambda text: messages.print(f"  {text}", markup=False))
        write_board(file, found)
        results.append(found)
    if as_json:
        print_json("meters-probe", {"file": str(file), "boards": [asdict(found) for found in results]})
        return
    for found in results:
        data.print("\n".join(described(found)), markup=False)
    data.print(f"kept in {file}", markup=False)


def described(found: Characterisation) -> list[str]:
    """A characterisation for people, a line each."""
    duty = " (fits badly: shares between kinds of work are uncertain)" if found.duty_unknown else ""
    ratio, slowdown = found.counter_per_power_milli, found.slowdown_milli
    return [
        f"{found.board} ({found.uuid}), driver {found.driver}",
        f"  counter     new value every {found.period_ns / MS:.1f} ms +- {found.jitter_ns / MS:.1f}, "
        f"in steps of {found.quantum_mj} mJ",
        f"  sensor      sees {found.share_milli / 10:.0f} % of each period, {found.lag_ns / MS:.0f} ms late, "
        f"R2 {found.r2_milli / MILLI:.3f}{duty}",
        f"  static      {found.idle_mw / MILLI:.1f} W with a model loaded",
        f"  cross-check counter / integrated power {'unknown' if ratio is None else f'{ratio / MILLI:.3f}'}",
        f"  cost        a call {found.call_ns / 1_000:.0f} us; a fixed job beside the sampler takes "
        f"{'an unknown part' if slowdown is None else f'{(slowdown - MILLI) / 10:+.1f} %'} longer",
    ]


@app.command("calibrate")
def calibrate_cpu(
    seconds: Annotated[float, typer.Option(min=2, max=300, help="How long each of the ten levels is held.")] = LEVEL_S,
    as_json: AsJson = False,
) -> None:
    """Fit the CPU-time model to this machine by RAPL: five loads, two passes, four minutes at full load.

    Prints the lines for the configuration. Exit 6 where RAPL is not there or not readable.
    """
    clock, cpus = SystemClock(), os.cpu_count() or 1
    found = calibrate(
        truth=open_rapl(clock=clock, wait=time.sleep),
        busy=CpuTimeMeter(host_power(), clock=clock),
        cpus=cpus,
        wait=time.sleep,
        level_s=seconds,
        said=lambda text: messages.print(text, markup=False),
    )
    if as_json:
        print_json("meters-calibrate", asdict(found) | {"cpus": cpus})
        return
    data.print(
        "energy:\n  cpu:\n"
        f"    idle_w: {found.idle_w:.2f}\n    max_w: {found.max_w:.2f}\n    alpha: {found.alpha:g}\n"
        f"    half_width_pct: {found.half_width_pct}   # held-out error {found.held_out_pct:.1f} %",
        markup=False,
    )
    messages.print("put these lines into the configuration; they hold where RAPL is not readable", markup=False)


def _or_unknown(value: object) -> str:
    return "unknown" if value is None else str(value)
