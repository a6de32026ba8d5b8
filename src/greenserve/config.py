"""The configuration: one YAML file, one model, one `load_config`; the only place that reads the environment.

Precedence: command line > environment (`GREENSERVE_SERVER__HTTP__PORT=9090`) > file > defaults.
"""

import difflib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, model_validator
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from greenserve.carbon_section import Carbon
from greenserve.energy_section import Energy
from greenserve.errors import ConfigInvalid
from greenserve.grid_sections import SOURCE_KINDS, Intensity
from greenserve.sections import (
    Ledger,
    Model,
    RaySection,
    Region,
    Reporting,
    Routing,
    Server,
    SharedCache,
    Telemetry,
    Tenancy,
)
from greenserve.yaml_places import Path as Place
from greenserve.yaml_places import read_yaml


class Config(BaseSettings):
    """The whole configuration."""

    model_config = SettingsConfigDict(
        extra="forbid", frozen=True, env_prefix="GREENSERVE_", env_nested_delimiter="__", populate_by_name=True
    )

    version: Literal[1]
    server: Server = Server()
    ray: RaySection = RaySection()
    models: tuple[Model, ...] = Field(min_length=1)
    regions: tuple[Region, ...] = Field(min_length=1)
    intensity: Intensity
    energy: Energy = Energy()
    routing: Routing = Routing()
    tenancy: Tenancy = Tenancy()
    ledger: Ledger = Ledger()
    reporting: Reporting = Reporting()
    carbon: Carbon = Carbon()
    cache: SharedCache = SharedCache()
    telemetry: Telemetry = Telemetry()

    @model_validator(mode="after")
    def _names_are_unique(self) -> "Config":
        for kind, names in (
            ("models", [model.name for model in self.models]),
            ("regions", [region.name for region in self.regions]),
        ):
            if len(set(names)) < len(names):
                raise ValueError(f"{kind}: each name may stand once, given are {', '.join(names)}")
        if self.server.http.port == self.server.grpc.port:
            raise ValueError(f"server: HTTP and gRPC both have port {self.server.http.port}; give them two")
        if sum(not region.emulated for region in self.regions) > 1:
            raise ValueError("regions: only one region is this machine; mark the others `emulated: true`")
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """`load_config` merges all sources itself, so that the command line stands above the environment."""
        return (init_settings,)


DEFAULT_FILE = Path("greenserve.yaml")
DEMO_FILE = Path("configs/demo.yaml")


def config_file(path: Path | None) -> Path:
    """The file that is read: `path`, else `greenserve.yaml` here, else `configs/demo.yaml`."""
    return path or next((file for file in (DEFAULT_FILE, DEMO_FILE) if file.is_file()), DEFAULT_FILE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """What a configuration is merged from: the file's name, values and lines, and what the environment sets."""

    name: str
    document: Mapping[str, Any]
    lines: Mapping[Place, int]
    environment: Mapping[str, Any]


def read_sources(path: Path | None) -> Sources:
    """Read the file and the environment; raises ConfigInvalid where one cannot be read."""
    chosen = config_file(path)
    try:
        text = chosen.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigInvalid(f"{chosen}: cannot be read ({why}); give a file with --config") from None
    document, lines = read_yaml(text, name=str(chosen))
    try:
        environment = EnvSettingsSource(Config)()
    except SettingsError as error:
        what = str(error).removesuffix(' from source "EnvSettingsSource"')
        raise ConfigInvalid(f"environment  {what}; write a whole section as JSON, or set its keys one by one") from None
    return Sources(name=str(chosen), document=document, lines=lines, environment=environment)


def load_config(path: Path | None, *, overrides: Mapping[str, Any] | None = None) -> Config:
    """Read, merge and check; `path` None as in `config_file`, `overrides` from the command line.

    Raises ConfigInvalid with every fault, one a line: place, key, what is allowed, the nearest valid spelling.
    """
    sources = read_sources(path)
    try:
        return Config(**_merge(_merge(sources.document, sources.environment), overrides or {}))
    except ValidationError as error:
        found = error.errors()
        # A list whose one item is wrong is not too short as well.
        parents = {fault["loc"][:end] for fault in found for end in range(len(fault["loc"]))}
        own = [fault for fault in found if fault["type"] != "too_short" or fault["loc"] not in parents]
        faults = [_fault(fault, sources.name, sources.lines) for fault in own]
        plural = "fault" if len(faults) == 1 else "faults"
        raise ConfigInvalid("\n".join([*faults, f"({len(faults)} {plural}, nothing started)"])) from None


def run_folder_base() -> Path:
    """Where run folders live: short, because UNIX socket paths end near 100 bytes."""
    return Path(os.environ.get("XDG_RUNTIME_DIR") or "/tmp")


def read_secret(reference: str) -> str:
    """What stands in `env:NAME` or `file:PATH`, without white space around it; read anew each time, never kept.

    Raises ConfigInvalid that names the place, never the content.
    """
    kind, _, place = reference.partition(":")
    if kind == "env":
        secret = os.environ.get(place, "").strip()
        missing = f"the environment variable {place} is not set or empty; set it before the start"
    else:
        try:
            secret = Path(place).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            secret = ""
            why = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        else:
            why = "it is empty"
        missing = "" if secret else f"the file {place} holds no key ({why}); put the key there, alone"
    if not secret:
        raise ConfigInvalid(missing)
    if not secret.isprintable():
        raise ConfigInvalid(f"{reference} holds more than one line or what is no text; put the key there, alone")
    return secret


def _merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        merged[key] = _merge(below, value) if isinstance(value, Mapping) and isinstance(below, Mapping) else value
    return merged


def _fault(fault: Any, name: str, lines: Mapping[Place, int]) -> str:
    path = tuple(part for part in fault["loc"] if part not in SOURCE_KINDS)
    dotted = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).lstrip(".")
    place = f"{name}:{_line_of(path, lines)}" if not _from_environment(path) else "environment"
    if fault["type"] == "extra_forbidden":
        near = difflib.get_close_matches(str(path[-1]), _keys_beside(path), n=1)
        hint = f"did you mean `{near[0]}`?" if near else f"allowed are {', '.join(_keys_beside(path))}"
        return f"{place}  {dotted}: unknown key; {hint}"
    if fault["type"] == "missing":
        return f"{place}  {dotted}: is missing{_needed(path)}"
    message = str(fault["msg"]).removeprefix("Value error, ")
    return f"{place}  {dotted}: {message}" if dotted else f"{place}  {message}"


def _line_of(path: Place, lines: Mapping[Place, int]) -> int:
    return next((lines[path[:end]] for end in range(len(path), 0, -1) if path[:end] in lines), 1)


def _from_environment(path: Sequence[str | int]) -> bool:
    wanted = "GREENSERVE_" + "__".join(str(part) for part in path).upper()
    return any(name.upper() == wanted for name in os.environ)


def _keys_beside(path: Place) -> list[str]:
    """The keys of the section in which the last part of a path stands; of all its kinds, where it has several."""
    return sorted({key for section in _sections_at(path[:-1]) for key in section.get("properties", {})})


def _needed(path: Place) -> str:
    """All that the section of a missing key needs, and what the section is for."""
    asking = [one for one in _sections_at(path[:-1]) if str(path[-1]) in one.get("required", ())]
    if len(asking) != 1 or len(path) == 1:  # of several kinds nobody knows which one was meant
        return ""
    about = " ".join(str(asking[0].get("description", "")).split()).partition(". ")[0].rstrip(".")
    needed = " and ".join(f"`{key}`" for key in asking[0]["required"])
    return f"; this section needs {needed}" + (f": {about[0].lower()}{about[1:]}" if about else "")


def _sections_at(path: Place) -> list[Any]:
    """The schemas of what may stand at a path, references and alternatives (a section or nothing) resolved."""
    schema: Any = Config.model_json_schema(by_alias=True)
    definitions = schema.get("$defs", {})

    def resolved(one: Any) -> list[Any]:
        if "$ref" in one:
            return resolved(definitions[one["$ref"].rsplit("/", 1)[-1]])
        below = [part for kind in ("allOf", "anyOf", "oneOf") for part in one.get(kind, ())]
        return [leaf for part in below for leaf in resolved(part)] if below else [one]

    here = resolved(schema)
    for part in path:
        below = [one.get("items") if isinstance(part, int) else _below(one, str(part)) for one in here]
        here = [leaf for one in below if isinstance(one, dict) for leaf in resolved(one)]
    return here


def _below(section: Any, key: str) -> Any:
    known = section.get("properties", {})
    return known[key] if key in known else section.get("additionalProperties")
