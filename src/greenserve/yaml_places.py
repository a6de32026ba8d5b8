"""YAML with places: the values, and the line on which each key stands."""

import re
from collections.abc import Hashable
from typing import Any

import yaml

from greenserve.errors import ConfigInvalid

Path = tuple[str | int, ...]


class _Loader(yaml.SafeLoader):
    """Only `true` and `false` are booleans (YAML 1.2), so `zone: NO` stays a word; duplicate keys are errors."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """The value of a node; what looks like a number or date and is none is a fault with its place."""
        try:
            return super().construct_object(node, deep)
        except (ValueError, AttributeError, KeyError, TypeError):
            kind = node.tag.rpartition(":")[2]
            raise yaml.constructor.ConstructorError(
                problem=f"{node.value!r} is no valid {kind}; quote it where words are meant",
                problem_mark=node.start_mark,
            ) from None


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:bool"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
for _word in ("true", "false"):
    _Loader.yaml_implicit_resolvers.setdefault(_word[0], []).append(
        ("tag:yaml.org,2002:bool", re.compile(r"^(?:true|false)$"))
    )


def read_yaml(text: str, *, name: str) -> tuple[dict[str, Any], dict[Path, int]]:
    """The document and {path of keys: line}; raises ConfigInvalid with name and line for what is not YAML."""
    try:
        loader = _Loader(text)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ConfigInvalid(f"{name}:{line}  not valid YAML: {error.reason}") from None
    try:
        node = loader.get_single_node()
        lines: dict[Path, int] = {}
        faults: list[str] = []
        if node is not None:
            _walk(node, (), lines, faults, name)
        if faults:
            raise ConfigInvalid("\n".join(faults))
        document: Any = loader.construct_document(node) if node is not None else {}
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ConfigInvalid(f"{name}:{line}  not valid YAML: {error.problem}") from None
    except RecursionError:
        raise ConfigInvalid(f"{name}:1  nested too deeply, or an anchor that holds itself") from None
    finally:
        loader.dispose()
    if not isinstance(document, dict):
        raise ConfigInvalid(f"{name}:1  a mapping of sections is needed, got {type(document).__name__}")
    return document, lines


def _walk(node: yaml.Node, path: Path, lines: dict[Path, int], faults: list[str], name: str) -> None:
    if isinstance(node, yaml.MappingNode):
        seen: set[Hashable] = set()
        for key, value in node.value:
            word, line = str(key.value), key.start_mark.line + 1
            if word in seen:
                faults.append(f"{name}:{line}  {'.'.join(map(str, (*path, word)))}: given twice; keep one")
            seen.add(word)
            lines[(*path, word)] = line
            _walk(value, (*path, word), lines, faults, name)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            lines[(*path, index)] = value.start_mark.line + 1
            _walk(value, (*path, index), lines, faults, name)
