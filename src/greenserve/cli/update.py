"""`greenserve update`: roll the present configuration out on a running gateway."""

from pathlib import Path
from typing import Annotated

import typer

from greenserve.cli.output import messages, print_json
from greenserve.config import load_config
from greenserve.serve.control import ask
from greenserve.serve.run_folder import RunFolder

app = typer.Typer(add_completion=False)
CHANGE_S = 300.0


@app.command()
def update(
    config_file: Annotated[Path | None, typer.Option("--config", "-c", help="Configuration file.")] = None,
    port: Annotated[int | None, typer.Option(help="HTTP port instead of the configured one.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """Replace every replica by one of the configuration as it is in the file that `serve` was given."""
    chosen = port if port is not None else load_config(config_file).server.http.port
    folder = RunFolder(port=chosen)
    state = folder.read()
    result = ask(folder.path, {"command": "update"}, timeout_s=CHANGE_S)
    if as_json:
        print_json("update", dict(result))
    messages.print(f"every replica runs the present content of {state.config}")
