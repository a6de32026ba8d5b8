"""`greenserve config`: check a configuration, show what holds and where it comes from, print its schema."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer
import yaml
from pydantic import BaseModel

from greenserve.cli.output import data, messages, print_json
from greenserve.config import Config, Sources, config_file, load_config, read_sources
from greenserve.errors import ConfigInvalid
from greenserve.yaml_places import Path as Place

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Validate and show the configuration.")
INVALID = 4
COMMENT_COLUMN = 48

File = Annotated[Path | None, typer.Argument(metavar="[CONFIG]", help="Configuration file.")]
FileOption = Annotated[Path | None, typer.Option("--config", "-c", help="The same, as an option.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]


@app.command()
def validate(config_argument: File = None, config_option: FileOption = None, as_json: AsJson = False) -> None:
    """Say `good`, or every fault with its place; exit 4 where there are faults.

    Reads the file and the environment alone; `greenserve serve --dry-run` also checks manifests and meter.
    """
    path = config_argument or config_option
    faults: list[str] = []
    try:
        load_config(path)
    except ConfigInvalid as error:
        # The last line of several counts them for commands that then do not start; here the faults are the answer.
        faults = [line for line in str(error).splitlines() if not line.startswith("(")]
    name = str(config_file(path))
    if as_json:
        print_json("config-validate", {"file": name, "good": not faults, "faults": faults})
    elif faults:
        for fault in faults:
            data.print(fault, markup=False)
        messages.print(f"{len(faults)} {'fault' if len(faults) == 1 else 'faults'}", markup=False)
    else:
        data.print(f"{name}: good", markup=False)
    if faults:
        raise typer.Exit(INVALID)


@app.command()
def schema(
    as_json: Annotated[bool, typer.Option("--json", help="The same: it is JSON anyway.")] = False,
) -> None:
    """Print the JSON Schema of the configuration file."""
    document = {"$schema": "https://json-schema.org/draft/2020-12/schema"} | Config.model_json_schema(by_alias=True)
    data.print(orjson.dumps(document, option=orjson.OPT_INDENT_2).decode(), markup=False)


@app.command()
def show(
    config_argument: File = None,
    config_option: FileOption = None,
    origin: Annotated[bool, typer.Option("--origin", help="Say where each value comes from.")] = False,
    as_json: AsJson = False,
) -> None:
    """Print the merged configuration as YAML: environment over file over defaults.

    The output is a configuration file itself; origins stand in comments.
    """
    path = config_argument or config_option
    config = load_config(path)
    places = origins(config, read_sources(path)) if origin else {}
    merged = config.model_dump(mode="json", by_alias=True)
    if as_json:
        shown: dict[str, object] = {"config": merged}
        if origin:
            shown["origins"] = {dotted(place): text for place, text in places.items()}
        print_json("config", shown)
        return
    for line, place in yaml_lines(merged, ()):
        comment = "" if place is None or place not in places else f"# {places[place]}"
        data.print(f"{line:<{COMMENT_COLUMN}}  {comment}" if comment else line, markup=False)


def origins(config: Config, sources: Sources) -> dict[Place, str]:
    """Where each value of a loaded configuration comes from: `environment`, `FILE:LINE` or `default`, by its path."""
    found = {}
    for place, given in _leaves(config, sources.lines, (), ()):
        if _is_set(sources.environment, given):
            found[place] = "environment"
        else:
            found[place] = f"{sources.name}:{sources.lines[given]}" if given in sources.lines else "default"
    return found


def yaml_lines(value: object, place: Place, indent: str = "") -> Iterator[tuple[str, Place | None]]:
    """(line, path of its value) of a document of mappings, lists and scalars as block YAML; None: only a key."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _entry(f"{indent}{_scalar(key)}:", f"{indent}  ", inner, (*place, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            if isinstance(inner, Mapping | list) and inner:
                (first, at), *rest = yaml_lines(inner, (*place, index), f"{indent}  ")
                yield f"{indent}- {first.lstrip()}", at
                yield from rest
            else:
                yield f"{indent}- {_scalar(inner)}", (*place, index)


def dotted(place: Place) -> str:
    """A path as messages write it: `models[0].objective.p95`."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place).lstrip(".")


def _leaves(value: object, lines: Mapping[Place, int], place: Place, given: Place) -> Iterator[tuple[Place, Place]]:
    """(path by aliases, path as given) of every value: a file may spell a key by its alias or by its field's name."""
    below: list[tuple[str | int, str | int, object]] = []
    if isinstance(value, BaseModel):
        for name, field in type(value).model_fields.items():
            alias = field.alias or name
            below.append((alias, name if (*given, name) in lines else alias, getattr(value, name)))
    elif isinstance(value, Mapping):
        below = [(key, key, inner) for key, inner in value.items()]
    elif isinstance(value, tuple):
        below = [(index, index, inner) for index, inner in enumerate(value)]
    if not below:
        yield place, given
    for key, as_given, inner in below:
        yield from _leaves(inner, lines, (*place, key), (*given, as_given))


def _is_set(environment: Any, place: Place) -> bool:
    """Whether the environment sets the value at `place`, alone or with all around it."""
    for key in place:
        if not isinstance(environment, Mapping):
            return True
        if key not in environment:
            return False
        environment = environment[key]
    return True


def _entry(key: str, indent: str, value: object, place: Place) -> Iterator[tuple[str, Place | None]]:
    if isinstance(value, Mapping | list) and value:
        yield key, None
        yield from yaml_lines(value, place, indent)
    else:
        yield f"{key} {_scalar(value)}", place


def _scalar(value: Any) -> str:
    # Line breaks and control signs need quotes and escapes, or the text would not stay on its line.
    style = '"' if isinstance(value, str) and not value.isprintable() else None
    text: str = yaml.safe_dump(value, width=float("inf"), default_flow_style=True, default_style=style)
    return text.removesuffix("\n").removesuffix("\n...")
