"""What every command prints with: data on stdout, messages on stderr, JSON with its schema first."""

import sys
from collections.abc import Mapping

import orjson
from rich.console import Console

data = Console(file=sys.stdout, highlight=False, soft_wrap=True)
messages = Console(file=sys.stderr, highlight=False, soft_wrap=True)


def print_json(name: str, document: Mapping[str, object], *, version: int = 1) -> None:
    """One JSON document on stdout whose first member is `"schema": "greenserve.<name>/<version>"`."""
    whole = {"schema": f"greenserve.{name}/{version}"} | dict(document)
    sys.stdout.write(orjson.dumps(whole, option=orjson.OPT_INDENT_2).decode() + "\n")
