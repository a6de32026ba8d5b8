"""The command `greenserve`: a table of groups, each loaded when it is used, so that `--help` imports none of them."""

import importlib
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from greenserve import __version__
from greenserve.cli.output import messages
from greenserve.errors import GreenServeError

GROUPS = {
    "optimize": "Build variants of a model and measure quality, latency and joules.",
    "variants": "List, show and verify the variants in a folder.",
    "serve": "Start the gateway; Ctrl-C or `greenserve stop` ends it.",
    "status": "Show the gateway that runs here.",
    "scale": "Run more or fewer replicas, without a failed request.",
    "update": "Roll out the present configuration, without a failed request.",
    "reload": "Read a model's manifest again, without a failed request.",
    "stop": "Drain and stop the gateway, and check that nothing is left.",
    "route": "Explain which variant and region would answer, and why.",
    "carbon": "Show the grid's intensity now and to come; track what a command emits.",
    "tenant": "Create, list, change and close tenants.",
    "key": "Create, list and revoke API keys.",
    "budget": "Set, list and remove budgets of carbon, energy or requests.",
    "report": "Write a tenant's statement.",
    "ledger": "Verify, export and describe the ledger.",
    "loadtest": "Send load and report mJ per request beside latency.",
    "compare": "Compare two saved runs: better, worse or no evidence, for CI too.",
    "demo": "Run the whole path once on this machine.",
    "meters": "List this machine's energy meters, probe boards, calibrate the CPU model.",
    "doctor": "Check this machine: versions, meters, ports, disk, configuration.",
    "config": "Validate and show the configuration.",
}
EXIT_CODES = {
    "invalid-request": 2,
    "already-exists": 2,
    "config-invalid": 4,
    "manifest-invalid": 5,
    "dependency-missing": 6,
    "meter-unavailable": 6,
}


class LazyGroups(TyperGroup):
    """Knows its commands by name and one line each; imports a command's module when it is asked for."""

    def list_commands(self, ctx: Any) -> list[str]:
        """All names, in the order of use."""
        return list(GROUPS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of that name, loaded now; None where there is none."""
        if cmd_name not in GROUPS:
            return None
        command = typer.main.get_command(importlib.import_module(f"greenserve.cli.{cmd_name}").app)
        command.name = cmd_name
        return command

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """The table itself: nothing is imported for it."""
        with formatter.section("Commands"):
            formatter.write_dl(list(GROUPS.items()))


root = typer.Typer(cls=LazyGroups, add_completion=False, rich_markup_mode=None, no_args_is_help=True)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"greenserve {__version__}")
        raise typer.Exit


@root.callback(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80})
def greenserve(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show it.")] = False,
) -> None:
    """Serve models over HTTP and gRPC and know what every answer cost in joules and gCO2e, and who caused it."""


def main() -> None:
    """Run a command; errors become one message and the exit code of their kind."""
    try:
        typer.main.get_command(root)(prog_name="greenserve")
    except GreenServeError as error:
        messages.print(f"greenserve: {error}", markup=False)
        sys.exit(EXIT_CODES.get(error.code, 1))


if __name__ == "__main__":
    main()
