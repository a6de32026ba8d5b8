"""The sections of the configuration: what may be written, in which units, with which defaults."""

import re
from collections.abc import Callable
from decimal import Decimal
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Literal, cast

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    WithJsonSchema,
    model_validator,
)

from greenserve.quantities import parse_bytes, parse_duration_s, parse_mg_per_kwh, parse_rate_per_s, parse_share
from greenserve.records import Exposure, Policy


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
Percent = Annotated[float, *_quantity(parse_share, lambda value: f"{_plain(Decimal(str(value)) * 100)}%", "5%")]


def _replicas(given: object) -> int | str:
    """`auto`, or how many."""
    number = int(given) if isinstance(given, str) and given.isdigit() else given
    if given != "auto" and (not isinstance(number, int) or isinstance(number, bool) or not 1 <= number <= 256):
        raise ValueError(f"a number in 1..256 or `auto` is needed, got {given!r}")
    return "auto" if given == "auto" else cast(int, number)


def _wait(given: object) -> float | str:
    """`auto`, or how long [s]."""
    return "auto" if given == "auto" else parse_duration_s(given)


Count = Annotated[
    Any, PlainValidator(_replicas), WithJsonSchema({"type": ["integer", "string"], "examples": [2, "auto"]})
]
Wait = Annotated[
    Any,
    PlainValidator(_wait),
    PlainSerializer(lambda value: value if value == "auto" else _seconds_text(value), when_used="json"),
    WithJsonSchema({"type": "string", "examples": ["auto", "5ms"]}),
]
Network = Annotated[str, AfterValidator(lambda value: str(ip_network(value)))]
LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


class Section(BaseModel):
    """A part of the configuration: unknown keys are errors, values don't change."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, validate_default=True)


class Listener(Section):
    """Where a protocol is offered."""

    host: str = "127.0.0.1"
    port: Port


class Tls(Section):
    """The certificate of both listeners, or the word of the operator that a trusted proxy before them ends TLS."""

    cert_file: Path | None = None
    key_file: Path | None = None
    external: bool = False

    @model_validator(mode="after")
    def _whole(self) -> "Tls":
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("cert_file and key_file belong together; give both")
        if self.external == (self.cert_file is not None):
            raise ValueError("give cert_file and key_file, or `external: true` where a trusted proxy ends TLS")
        return self


class Limits(Section):
    """Ceilings; clients may shorten the time, never lift one."""

    request_timeout_s: Seconds = Field(default=_default("30s"), alias="request_timeout", gt=0)
    max_defer_s: Seconds = Field(default=_default("15m"), alias="max_defer", gt=0, le=86_400)
    header_timeout_s: Seconds = Field(default=_default("10s"), alias="header_timeout", gt=0)
    body_timeout_s: Seconds = Field(default=_default("15s"), alias="body_timeout", gt=0)
    idle_timeout_s: Seconds = Field(default=_default("75s"), alias="idle_timeout", gt=0)
    max_body_bytes: Bytes = Field(default=_default("8MiB"), alias="max_body", gt=0)
    max_headers_bytes: Bytes = Field(default=_default("32KiB"), alias="max_headers", ge=1024)
    max_queued: Annotated[int, Field(ge=1, le=100_000)] = 4096
    max_items: Annotated[int, Field(ge=1, le=4096)] = 2048
    max_elements: Annotated[int, Field(ge=1, le=67_108_864)] = 4_194_304


class Server(Section):
    """Listeners, replicas and limits. `trusted` are the networks whose forwarding headers count."""

    http: Listener = Listener(port=8080)
    grpc: Listener = Listener(port=8081)
    tls: Tls | None = None
    trusted: tuple[Network, ...] = ()
    replicas: Count = 2
    threads_per_engine: Annotated[int, Field(ge=1, le=64)] = 1
    limits: Limits = Limits()

    def replicas_on(self, cores: int) -> int:
        """How many gateways run on a machine of so many cores."""
        return max(1, cores // self.threads_per_engine) if self.replicas == "auto" else int(self.replicas)


class RaySection(Section):
    """The Ray cluster: `local` is started and stopped by `greenserve serve`; else the address of one that runs."""

    address: str = "local"


class Objective(Section):
    """What every answer of a model must meet; quality is the manifest's metric, 0..1."""

    p95_s: Seconds = Field(default=_default("200ms"), alias="p95", gt=0)
    quality_floor: Share = 0.0
    quality_mean: Share | None = None


class Batching(Section):
    """How many rows run together at most, and how long a batch may wait for more; `auto` weighs joules and latency."""

    max_batch: Annotated[int, Field(ge=1, le=1024)] = 32
    max_wait_s: Wait = Field(default="auto", alias="max_wait")
    service_class: Literal["latency", "balanced", "green"] = Field(default="balanced", alias="class")


class Cache(Section):
    """Exact-match answers, kept per tenant, item by item."""

    enabled: bool = True
    scope: Literal["tenant", "shared"] = "tenant"
    ttl_s: Annotated[Seconds, Field(ge=0.001)] = Field(default=_default("10m"), alias="ttl")
    max_bytes: Bytes = Field(default=_default("64MiB"), ge=65_536)


class SharedCache(Section):
    """A Redis that gateways share as a second tier; it may fail at any time without anybody noticing."""

    redis_url_file: Path | None = None
    timeout_s: Seconds = Field(default=_default("2ms"), alias="timeout", gt=0)


class Replicas(Section):
    """How many replicas of a remote model's engines run, and how many GPUs each one holds."""

    least: Annotated[int, Field(ge=1, le=256)] = Field(default=1, alias="min")
    most: Annotated[int, Field(ge=1, le=256)] = Field(default=1, alias="max")
    gpus: Annotated[float, Field(ge=0, le=16)] = 0.0

    @model_validator(mode="after")
    def _in_order(self) -> "Replicas":
        if self.most < self.least:
            raise ValueError(f"max is {self.most}, under min {self.least}")
        return self


class Model(Section):
    """A named task and the variants that may answer it."""

    name: Name
    manifest: Path
    placement: Literal["inline", "remote"] = "inline"
    replicas: Replicas = Replicas()
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


class Routing(Section):
    """How candidates inside the limits are ranked."""

    policy: Policy = "balanced"


class TenantDefaults(Section):
    """What holds for a tenant without a rate of its own."""

    rate_per_s: PerSecond = Field(default=_default("200/s"), alias="rate", gt=0)
    burst: Annotated[int, Field(ge=1)] = 400
    exposure: Exposure = "rounded"


class ReservedShare(Section):
    """A part of a device that is kept for a tenant: it pays for that part's idle time, used or not.

    `device` is its name in the ledger (`cpu`, a board's UUID), what an engine calls it (`cuda:0`), or `*`: every
    device of this region.
    """

    tenant: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
    device: Annotated[str, Field(pattern=r"^[\x21-\x7e]{1,100}$")] = "*"
    share: Annotated[Percent, Field(gt=0)]


class Tenancy(Section):
    """Who may call, the defaults of tenants, and what of the devices is kept for whom."""

    auth: Literal["required", "anonymous"] = "required"
    defaults: TenantDefaults = TenantDefaults()
    reservations: tuple[ReservedShare, ...] = ()

    @model_validator(mode="after")
    def _a_device_once(self) -> "Tenancy":
        for device in sorted({one.device for one in self.reservations}):
            own = [one for one in self.reservations if one.device == device]
            tenants = [one.tenant for one in own]
            if len(set(tenants)) < len(tenants):
                raise ValueError(f"reservations of {device}: each tenant once, given are {', '.join(tenants)}")
            by_all = [one for one in self.reservations if one.device == "*" and one.tenant not in tenants]
            whole = sum(Decimal(str(one.share)) for one in (*own, *by_all))
            if whole > 1:
                raise ValueError(f"reservations of {device} sum to {100 * whole:f}%; 100% is all there is")
        return self


RETENTION = r"^(keep|[1-9][0-9]{0,4}d)$"


def _retention(given: object) -> object:
    if not isinstance(given, str) or not re.fullmatch(RETENTION.strip("^$"), given):
        raise ValueError(f"{given!r:.40}: write keep or a number of days such as 400d, from 1d to 99999d")
    return given


class Ledger(Section):
    """Where entries go: a SQLite file, or a PostgreSQL database with `files` beside it; how long after its end a closed
    month's bodies stay there before `greenserve ledger archive` moves them."""

    url: Annotated[str, Field(pattern=r"^(sqlite:///.+|postgresql://.+)")] = "sqlite:///greenserve.db"
    files: Path = Path("greenserve-ledger/ledger")
    retention: Annotated[str, BeforeValidator(_retention), WithJsonSchema({"type": "string", "pattern": RETENTION})] = (
        "keep"
    )

    @property
    def path(self) -> Path:
        """The SQLite file; for PostgreSQL what names the key, pepper, checkpoint and spools of the ledger on disk."""
        if self.url.startswith("sqlite:///"):
            return Path(self.url.removeprefix("sqlite:///"))
        return self.files


class Reporting(Section):
    """Who issues statements."""

    issuer: str = "GreenServe operator"


class Telemetry(Section):
    """What is told about requests, and to whom; shares are of successful requests, errors are always logged."""

    prometheus: bool = True
    otlp_endpoint: str | None = None
    trace_sample: Annotated[Percent, Field(le=1.0)] = _default("5%")
    log_sample: Annotated[Percent, Field(le=1.0)] = _default("1%")
    tenant_labels: Annotated[int, Field(ge=0, le=1000)] = 50
