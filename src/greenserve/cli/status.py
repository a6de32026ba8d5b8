"""`greenserve status`: what runs here, and whether it answers."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any

import httpx
import typer

from greenserve.cli.grid_status import grid_lines, grid_of_run
from greenserve.cli.output import data, print_json
from greenserve.config import load_config
from greenserve.errors import DependencyMissing
from greenserve.serve.run_folder import RunFolder

app = typer.Typer(add_completion=False)
STARTING: Mapping[str, Any] = MappingProxyType({"ready": False, "waiting_for": ["replicas to start"]})


@app.command()
def status(
    config_file: Annotated[Path | None, typer.Option("--config", "-c", help="Configuration file.")] = None,
    port: Annotated[int | None, typer.Option(help="HTTP port instead of the configured one.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """Show the gateway that runs here; exit code 6 where none runs, 1 where it runs but is not ready."""
    chosen = port if port is not None else load_config(config_file).server.http.port
    state = RunFolder(port=chosen).read()
    if not state.alive:
        raise DependencyMissing(
            f"the gateway's process {state.pid} is gone without having stopped; `greenserve stop` cleans up after it"
        )
    readiness = _readiness(state.http) if state.ready else STARTING
    grid = grid_of_run(state, config_file)
    if as_json:
        told = {"ready": readiness["ready"], "waiting_for": readiness["waiting_for"], "grid": grid}
        print_json("status", asdict(state) | told)
    else:
        waiting = ", ".join(readiness["waiting_for"])
        word = "ready" if readiness["ready"] else f"not ready (waits for {waiting})"
        data.print(f"{word}   pid {state.pid}   {state.replicas} replicas")
        if state.ray != "local":
            data.print(f"Ray     {state.ray}")
        data.print(f"HTTP    {state.http}\ngRPC    {state.grpc}\nledger  {state.ledger}")
        for model, variants in state.models.items():
            placed = f", on {state.engines[model]} replicas of its own" if model in state.engines else ""
            data.print(f"model   {model}: {', '.join(variants)}{placed}")
            for name, reason in state.left_out.get(model, {}).items():
                data.print(f"        left out {name}: {reason}", markup=False)
        for region in state.regions:
            where = "executed on this machine" if region["emulated"] else "this machine"
            data.print(f"region  {region['name']}: zone {region['zone']}, {where}")
        data.print(f"meter   {state.meter['source']} (tier {state.meter['tier']})")
        for name, reason in state.meters_rejected.items():
            data.print(f"        not {name}: {reason}", markup=False)
        for line in grid_lines(grid):
            data.print(line, markup=False)
    if not readiness["ready"]:
        raise typer.Exit(1)


def _readiness(url: str) -> Mapping[str, Any]:
    try:
        answer = httpx.get(f"{url}/readyz", timeout=5.0, trust_env=False).json()
    except httpx.HTTPError as error:
        return {"ready": False, "waiting_for": [f"an answer from {url}: {error}"]}
    return dict(answer)
