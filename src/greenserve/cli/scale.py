"""`greenserve scale`: more or fewer replicas of a running gateway."""

from pathlib import Path
from typing import Annotated

import typer

from greenserve.cli.output import messages, print_json
from greenserve.config import load_config
from greenserve.serve.control import ask
from greenserve.serve.run_folder import RunFolder

app = typer.Typer(add_completion=False)
CHANGE_S = 180.0


@app.command()
def scale(
    replicas: Annotated[int, typer.Argument(metavar="N", help="How many replicas are to run.")],
    model: Annotated[
        str | None, typer.Option(help="Replicas of this remote model's engines instead of gateways.")
    ] = None,
    config_file: Annotated[Path | None, typer.Option("--config", "-c", help="Configuration file.")] = None,
    port: Annotated[int | None, typer.Option(help="HTTP port instead of the configured one.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """Change how many replicas run; new ones take requests before old ones drain, and no request fails."""
    chosen = port if port is not None else load_config(config_file).server.http.port
    folder = RunFolder(port=chosen)
    folder.read()
    command = {"command": "scale", "replicas": replicas, "model": model}
    result = ask(folder.path, command, timeout_s=CHANGE_S)
    if as_json:
        print_json("scale", dict(result))
    what = "gateway replicas" if model is None else f"replicas of {model}"
    messages.print(f"{replicas} {what} run")
