"""How commands open the configured ledger, and the options that they share."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from greenserve.carbon.ledger.book import SqlLedger
from greenserve.carbon.ledger.opening import open_ledger
from greenserve.config import Config, load_config
from greenserve.errors import InvalidRequest, NotFound

ConfigFile = Annotated[Path | None, typer.Option("-c", "--config", help="The configuration file.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]
DOES_NOT_VERIFY = 5


@contextmanager
def opened(config: Path | None, *, must_exist: bool = True) -> Iterator[tuple[SqlLedger, Config]]:
    """The configured ledger; what is not found counts as wrong usage, since a name was given that is none."""
    loaded = load_config(config)
    ledger = open_ledger(loaded.ledger.url, loaded.ledger.path, must_exist=must_exist)
    try:
        yield ledger, loaded
    except NotFound as error:
        raise InvalidRequest(str(error)) from None
    finally:
        ledger.close()
