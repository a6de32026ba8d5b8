"""`greenserve reload`: read a model's manifest again on a running gateway."""

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
def reload(
    model: Annotated[str | None, typer.Argument(metavar="[MODEL]", help="The model; without it, all.")] = None,
    config_file: Annotated[Path | None, typer.Option("--config", "-c", help="Configuration file.")] = None,
    port: Annotated[int | None, typer.Option(help="HTTP port instead of the configured one.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """Load the manifest beside what serves, then swap everywhere; where it does not load, the old one serves on."""
    chosen = port if port is not None else load_config(config_file).server.http.port
    folder = RunFolder(port=chosen)
    folder.read()
    result = ask(folder.path, {"command": "reload", "model": model}, timeout_s=CHANGE_S)
    if as_json:
        print_json("reload", dict(result))
    for each in result["models"]:
        messages.print(f"{each['model']}: manifest {each['digest'][:12]} serves on {each['replicas']} replicas")
