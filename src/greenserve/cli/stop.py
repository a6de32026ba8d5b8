"""`greenserve stop`: drain and end the gateway that runs here, and check that nothing is left."""

import time
from pathlib import Path
from typing import Annotated

import typer

from greenserve.cli.output import messages, print_json
from greenserve.config import load_config
from greenserve.errors import DependencyMissing, GreenServeError
from greenserve.serve.cluster import remove_left
from greenserve.serve.run_folder import RunFolder
from greenserve.serve.supervisor import stop_driver

app = typer.Typer(add_completion=False)


@app.command()
def stop(
    config_file: Annotated[Path | None, typer.Option("--config", "-c", help="Configuration file.")] = None,
    port: Annotated[int | None, typer.Option(help="HTTP port instead of the configured one.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """Drain and stop; stopping what does not run is no error."""
    chosen = port if port is not None else load_config(config_file).server.http.port
    folder = RunFolder(port=chosen)
    started_s = time.monotonic()
    try:
        state = folder.read()
    except DependencyMissing:
        messages.print(f"no gateway of yours runs on port {chosen}; nothing to stop")
        if as_json:
            print_json("stop", {"stopped": False, "left_behind": []})
        return
    if not state.alive and state.ray != "local":
        remove_left(state.ray)
    findings = stop_driver(state)
    if not state.alive:
        folder.release()
    if as_json:
        print_json("stop", {"stopped": not state.alive, "left_behind": findings})
    if findings:
        raise GreenServeError("something is left behind:\n" + "\n".join(findings))
    messages.print(f"stopped in {time.monotonic() - started_s:.1f} s; no process and no port left")
