"""Names of outside standards: a mapping file says which of their columns takes which of our members."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

Spec = Mapping[str, Any]


@cache
def mapping_file(name: str) -> Spec:
    """The mapping file `name` of this folder."""
    document: Spec = yaml.safe_load(Path(__file__).with_name(name).read_text(encoding="utf-8"))
    return document


def value_of(spec: Spec, context: Mapping[str, Any]) -> Any:
    """What a column's spec gives: `value` as it stands, `path` a member in dots, `text` with members in braces.

    An unknown member of `path` is None; in `text` it is the word unknown.
    """
    if "value" in spec:
        return spec["value"]
    if "path" in spec:
        return _member(spec["path"], context)
    return str(spec["text"]).format_map(_Words(context))


def _member(path: str, context: Mapping[str, Any]) -> Any:
    found: Any = context
    for part in path.split("."):
        found = found[part]
    return found


class _Words(dict[str, Any]):
    """Members by their dotted path for `str.format_map`, which itself would look up attributes at a dot."""

    def __init__(self, context: Mapping[str, Any]) -> None:
        super().__init__({name: _Member(value) for name, value in context.items()})


class _Member:
    """A value whose members are attributes."""

    def __init__(self, value: Any) -> None:
        self._value = value

    def __getattr__(self, name: str) -> "_Member":
        return _Member(self._value[name])

    def __str__(self) -> str:
        return "unknown" if self._value is None else str(self._value)

    def __format__(self, spec: str) -> str:
        return format(str(self), spec)
