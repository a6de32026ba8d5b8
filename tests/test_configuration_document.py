"""The table of docs/configuration.md has the keys of the configuration, no more, no fewer, with their defaults."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_origin

import pytest
from pydantic import BaseModel

from greenserve.config import Config

PAGE = Path(__file__).parents[1] / "docs" / "configuration.md"
ROW = re.compile(r"^\| (`[^|]*) \|([^|]*)\|", re.MULTILINE)
CODE = re.compile(r"`([^`]+)`")
SOURCES = "intensity.sources[]"
"""Its members depend on their kind: the page shows them in rows of their own."""


def sections_in(annotation: Any) -> list[type[BaseModel]]:
    """The sections that a type is made of."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for part in get_args(annotation) for found in sections_in(part)]


def keys_of(section: type[BaseModel], before: str = "") -> Iterator[tuple[str, Any]]:
    """Every key of a file, in dots, and its default as a file would write it; sections without their own line."""
    for name, field in section.model_fields.items():
        many = "[]" if get_origin(field.annotation) is tuple else ""
        path = f"{before}{field.alias or name}{many}"
        inner = sections_in(field.annotation)
        if inner and path != SOURCES:
            yield from keys_of(inner[0], f"{path}.")
        else:
            yield path, field.default


def documented() -> dict[str, str]:
    """Key and default of each row; `.port` stands for the key before it with another end."""
    found: dict[str, str] = {}
    for names, defaults in ROW.findall(PAGE.read_text()):
        keys, values = CODE.findall(names), CODE.findall(defaults)
        if keys[0].startswith("... "):
            continue
        stem = keys[0].rpartition(".")[0]
        for place, key in enumerate(keys):
            path = f"{stem}{key}" if key.startswith(".") else key
            found[path] = values[place] if place < len(values) else ""
    return found


KEYS = dict(keys_of(Config))


def test_the_table_has_every_key_and_no_other() -> None:
    """A key that comes or goes takes its row along; what a tuple of plain values holds has no brackets there."""
    plain = {path.removesuffix("[]") if path != SOURCES else path for path in KEYS}

    assert plain == set(documented())


def test_a_section_that_may_be_absent_is_looked_into() -> None:
    """`server.tls` has no default, and its keys are keys all the same."""
    assert {"server.tls.cert_file", "server.tls.external", "models[].replicas.min"} <= set(KEYS)


@pytest.mark.parametrize(
    "path", [path for path, default in KEYS.items() if isinstance(default, str | int | float) and path != "version"]
)
def test_the_default_is_the_one_that_holds(path: str) -> None:
    """A default that changes takes its word along; floats are written without a useless end."""
    default = KEYS[path]
    written = str(default).lower() if isinstance(default, bool) else str(default).removesuffix(".0")

    assert written == documented()[path].replace(",", "")
