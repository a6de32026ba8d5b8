"""`greenserve stop`: drain and end the gateway that runs here, and check that nothing is left."""

import time
from pathlib import Path
from typing import Annotated

import typer

from greenserve.carbon.ledger.intake import unshipped_lines
from greenserve.carbon.ledger.opening import open_ledger
from greenserve.cli.output import messages, print_json
from greenserve.config import load_config
from greenserve.errors import DependencyMissing, GreenServeError
from greenserve.serve.cluster import remove_left
from greenserve.serve.replica import spool_folder
from greenserve.serve.run_folder import RunFolder, RunState
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
            print_json("stop", {"stopped": False, "left_behind": [], "unshipped_lines": {}})
        return
    if not state.alive and state.ray != "local":
        remove_left(state.ray)
    findings = stop_driver(state)
    if not state.alive:
        folder.release()
    unshipped = {} if state.alive else _unshipped(state, config_file)
    for spool, count in unshipped.items():
        messages.print(
            f"{spool} holds {count} lines that the ledger has not taken: the next `greenserve serve` takes them in",
            markup=False,
        )
    if as_json:
        print_json("stop", {"stopped": not state.alive, "left_behind": findings, "unshipped_lines": unshipped})
    if findings:
        raise GreenServeError("something is left behind:\n" + "\n".join(findings))
    messages.print(f"stopped in {time.monotonic() - started_s:.1f} s; no process and no port left")


def _unshipped(state: RunState, config_file: Path | None) -> dict[str, int]:
    """Recorded answers that are in a spool alone, by spool file; a stop in good order leaves none."""
    ledger = Path(state.ledger)
    folder = spool_folder(ledger)
    if not any(folder.glob("*.spool")):
        return {}
    url = str(ledger) if ledger.is_file() else load_config(config_file).ledger.url
    book = open_ledger(url, ledger, must_exist=True)
    try:
        return {str(path): count for path, count in unshipped_lines(folder, book.cursors()).items()}
    finally:
        book.close()
