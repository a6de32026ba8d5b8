"""The configuration: one YAML file, one model, one `load_config`; the only place that reads the environment.

Precedence: command line > environment (`GREENSERVE_SERVER__HTTP__PORT=9090`) > file > defaults.
"""

import difflib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationError,
    WithJsonSchema,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from greenserve.errors import ConfigInvalid
from greenserve.quantities import parse_bytes, parse_duration_s, parse_mg_per_kwh, parse_rate_per_s
from greenserve.records import Basis, Policy
from greenserve.yaml_places import Path as Place
from greenserve.yaml_places import read_yaml


def _seconds_text(value: float) -> str:
    return f"{_plain(value)}s" if value >= 1 else f"{_plain(Decimal(str(value)) * 1000)}ms"


def _bytes_text(value: int) -> str:
    sizes = {"GiB": 2**30, "MiB": 2**20, "KiB": 2**10, "B": 1}
    unit = next(unit for unit, size in sizes.items() if not value % size)
    return f"{value // sizes[unit]}{unit}"


def _plain(number: float | Decimal) -> str:
    text = f"{Decimal(str(number)):f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _default(text: str) -> Any:
    """A default as a file would write it; it is read like any other value."""
    return text


def _quantity(parse: Callable[[object], float], write: Callable[[Any], str], *examples: str) -> tuple[object, ...]:
    """How a quantity is read, written back so that reading it gives the same value, and described in the schema."""
    written = PlainSerializer(write, return_type=str, when_used="json")
    return BeforeValidator(parse), written, WithJsonSchema({"type": "string", "examples": list(examples)})


Seconds = Annotated[float, *_quantity(parse_duration_s, _seconds_text, "30s", "250ms")]
Bytes = Annotated[int, *_quantity(parse_bytes, _bytes_text, "8MiB")]
PerSecond = Annotated[float, *_quantity(parse_rate_per_s, lambda value: f"{_plain(value)}/s", "200/s")]
MgPerKwh = Annotated[int, *_quantity(parse_mg_per_kwh, lambda value: f"{value}mgCO2e/kWh", "215.8gCO2e/kWh")]
Port = Annotated[int, Field(ge=1, le=65535)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
Share = Annotated[float, Field(ge=0.0, le=1.0)]
LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


class Section(BaseModel):
    """A part of the configuration: unknown keys are errors, values don't change."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, validate_default=True)


class Listener(Section):
    """Where a protocol is offered."""

    host: str = "127.0.0.1"
    port: Port

    @model_validator(mode="after")
    def _loopback_only(self) -> "Listener":
        if self.host not in LOOPBACK:
            raise ValueError(
                f"{self.host} is not a loopback address; this version has no TLS, so it listens on 127.0.0.1 only"
            )
        return self


class Limits(Section):
    """Ceilings; clients may shorten the time, never lift one."""

    request_timeout_s: Seconds = Field(default=_default("30s"), alias="request_timeout", gt=0)
    max_body_bytes: Bytes = Field(default=_default("8MiB"), alias="max_body", gt=0)
    max_queued: Annotated[int, Field(ge=1, le=100_000)] = 512
    max_items: Annotated[int, Field(ge=1, le=4096)] = 256


class Server(Section):
    """Listeners, replicas and limits."""

    http: Listener = Listener(port=8080)
    grpc: Listener = Listener(port=8081)
    replicas: Annotated[int, Field(ge=1, le=256)] = 2
    threads_per_engine: Annotated[int, Field(ge=1, le=64)] = 1
    limits: Limits = Limits()


class RaySection(Section):
    """The Ray cluster: `local` is started and stopped by `greenserve serve`."""

    address: Literal["local"] = "local"


class Objective(Section):
    """What every answer of a model must meet; quality is the manifest's metric, 0..1."""

    p95_s: Seconds = Field(default=_default("200ms"), alias="p95", gt=0)
    quality_floor: Share = 0.0
    quality_mean: Share | None = None


class Batching(Section):
    """How many rows run together at most."""

    max_batch: Annotated[int, Field(ge=1, le=1024)] = 32


class Cache(Section):
    """Exact-match answers, kept per tenant."""

    enabled: bool = True
    scope: Literal["tenant", "shared"] = "tenant"
    ttl_s: Annotated[Seconds, Field(ge=0.001)] = Field(default=_default("10m"), alias="ttl")
    max_entries: Annotated[int, Field(ge=1)] = 16_384


class Model(Section):
    """A named task and the variants that may answer it."""

    name: Name
    manifest: Path
    placement: Literal["inline"] = "inline"
    objective: Objective = Objective()
    batching: Batching = Batching()
    cache: Cache = Cache()


class Pue(Section):
    """Site energy over IT energy, and who says so."""

    value: Annotated[float, Field(ge=1.0, le=10.0)]
    source: str

    @property
    def milli(self) -> int:
        """PUE in thousandths."""
        return round(self.value * 1000)


class Region(Section):
    """A region of this gateway. `emulated` regions are executed on this machine, and every output says so."""

    name: Name
    zone: str
    emulated: bool = False
    pue: Pue

    @property
    def pue_milli(self) -> int:
        """PUE in thousandths."""
        return self.pue.milli


class RecordedSource(Section):
    """A recorded series: CSV with timestamp_utc, region (the zone) and carbon_intensity_gco2e_per_kwh."""

    kind: Literal["recorded"]
    file: Path
    provider: str = "recorded"
    repeat: Literal["week"] | None = None
    basis: Basis = "lifecycle"


class AnnualSource(Section):
    """Annual averages by zone, with the publication that they come from."""

    kind: Literal["annual"]
    values: dict[str, MgPerKwh]
    year: Annotated[int, Field(ge=1990, le=2100)]
    source: str
    basis: Basis = "lifecycle"


class Intensity(Section):
    """Grid intensity: sources are tried in order; whichever answered is stamped on the entry."""

    sources: tuple[Annotated[RecordedSource | AnnualSource, Field(discriminator="kind")], ...] = Field(min_length=1)


class CpuEnergy(Section):
    """This machine's own power figures [W], where they are known from a measurement."""

    idle_w: Annotated[float, Field(ge=0)]
    max_w: Annotated[float, Field(gt=0)]


class Energy(Section):
    """Which meters are asked, best first; `auto` takes the best that is readable."""

    meters: Literal["auto"] | tuple[str, ...] = "auto"
    cpu: CpuEnergy | None = None


class Routing(Section):
    """How candidates inside the limits are ranked."""

    policy: Policy = "balanced"


class TenantDefaults(Section):
    """What holds for a tenant without a rate of its own."""

    rate_per_s: PerSecond = Field(default=_default("200/s"), alias="rate", gt=0)
    burst: Annotated[int, Field(ge=1)] = 400


class Tenancy(Section):
    """Who may call, and the defaults of tenants."""

    auth: Literal["required", "anonymous"] = "required"
    defaults: TenantDefaults = TenantDefaults()


class Ledger(Section):
    """Where entries go."""

    url: Annotated[str, Field(pattern=r"^sqlite:///.+")] = "sqlite:///greenserve.db"

    @property
    def path(self) -> Path:
        """The SQLite file."""
        return Path(self.url.removeprefix("sqlite:///"))


class Reporting(Section):
    """Who issues statements."""

    issuer: str = "GreenServe operator"


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


def _merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        merged[key] = _merge(below, value) if isinstance(value, Mapping) and isinstance(below, Mapping) else value
    return merged


def _fault(fault: Any, name: str, lines: Mapping[Place, int]) -> str:
    path = tuple(part for part in fault["loc"] if part not in {"recorded", "annual"})
    dotted = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).lstrip(".")
    place = f"{name}:{_line_of(path, lines)}" if not _from_environment(path) else "environment"
    if fault["type"] == "extra_forbidden":
        near = difflib.get_close_matches(str(path[-1]), _keys_beside(path), n=1)
        hint = f"did you mean `{near[0]}`?" if near else f"allowed are {', '.join(_keys_beside(path))}"
        return f"{place}  {dotted}: unknown key; {hint}"
    message = str(fault["msg"]).removeprefix("Value error, ")
    return f"{place}  {dotted}: {message}" if dotted else f"{place}  {message}"


def _line_of(path: Place, lines: Mapping[Place, int]) -> int:
    return next((lines[path[:end]] for end in range(len(path), 0, -1) if path[:end] in lines), 1)


def _from_environment(path: Sequence[str | int]) -> bool:
    wanted = "GREENSERVE_" + "__".join(str(part) for part in path).upper()
    return any(name.upper() == wanted for name in os.environ)


def _keys_beside(path: Place) -> list[str]:
    schema: Any = Config.model_json_schema(by_alias=True)
    definitions, here = schema.get("$defs", {}), schema
    for part in path[:-1]:
        here = here.get("items", here) if isinstance(part, int) else here.get("properties", {}).get(str(part), {})
        while "$ref" in here or "allOf" in here:
            here = definitions[here.get("$ref", "").rsplit("/", 1)[-1]] if "$ref" in here else here["allOf"][0]
    options = [definitions[item["$ref"].rsplit("/", 1)[-1]] for item in here.get("oneOf", [])] or [here]
    return sorted({key for option in options for key in option.get("properties", {})})
