"""The command `greenserve`: a table of groups, each loaded when it is used, so that `--help` imports none of them."""

import importlib
import sys

import click
import typer

from greenserve import __version__
from greenserve.cli.output import messages
from greenserve.errors import GreenServeError

GROUPS = {
    "optimize": "Build variants of a model and measure quality, latency and joules.",
    "variants": "List, show and verify the variants in a folder.",
    "serve": "Start the gateway; Ctrl-C or `greenserve stop` ends it.",
    "status": "Show the gateway that runs here.",
    "stop": "Drain and stop the gateway, and check that nothing is left.",
    "route": "Explain which variant and region would answer, and why.",
    "tenant": "Create, list, change and close tenants.",
    "key": "Create, list and revoke API keys.",
    "budget": "Set, list and remove budgets of carbon, energy or requests.",
    "report": "Write a tenant's statement.",
    "ledger": "Verify, export and describe the ledger.",
    "loadtest": "Send load and report mJ per request beside latency.",
    "demo": "Run the whole path once on this machine.",
    "config": "Validate and show the configuration.",
}
EXIT_CODES = {
    "invalid-request": 2,
    "config-invalid": 4,
    "manifest-invalid": 5,
    "dependency-missing": 6,
    "meter-unavailable": 6,
}


class LazyGroups(click.Group):
    """Knows its commands by name and one line each; imports a command's module when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All names, in the order of use."""
        return list(GROUPS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """The command of that name, loaded now."""
        if name not in GROUPS:
            return None
        module = importlib.import_module(f"greenserve.cli.{name}")
        command = typer.main.get_command(module.app)
        command.name = name
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The table itself: nothing is imported for it."""
        with formatter.section("Commands"):
            formatter.write_dl(list(GROUPS.items()))


@click.group(cls=LazyGroups, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80})
@click.version_option(__version__, prog_name="greenserve")
def root() -> None:
    """Serve models over HTTP and gRPC and know what every answer cost in joules and gCO2e, and who caused it."""


def main() -> None:
    """Run a command; errors become one message and the exit code of their kind."""
    try:
        code = root.main(standalone_mode=False)
    except click.exceptions.Exit as stop:
        code = stop.exit_code
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        messages.print("interrupted")
        code = 130
    except GreenServeError as error:
        messages.print(f"greenserve: {error}", markup=False, style="bold red" if sys.stderr.isatty() else "")
        code = EXIT_CODES.get(error.code, 1)
    sys.exit(code if isinstance(code, int) else 0)


if __name__ == "__main__":
    main()
