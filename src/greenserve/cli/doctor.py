"""`greenserve doctor`: what of this machine would keep a gateway from running well, and what to do about it."""

import os
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Annotated, Literal

import typer

from greenserve.carbon.meters.nvml import list_boards, load_nvml
from greenserve.cli.output import data, print_json
from greenserve.cli.reserving import reservation_warnings
from greenserve.config import Config, config_file, load_config
from greenserve.errors import ConfigInvalid, DependencyMissing, GreenServeError, MeterUnavailable
from greenserve.host import describe_host
from greenserve.serve.metering import pick_configured_node
from greenserve.serve.ports import holder_of, is_free, is_loopback
from greenserve.serve.run_folder import RunFolder

app = typer.Typer(add_completion=False)
Level = Literal["OK", "WARN", "FAIL"]
FAILED = 6
PACKAGES = ("ray", "numpy", "fastapi", "uvicorn", "grpcio", "pydantic", "sqlalchemy", "nvidia-ml-py")
ENGINES = ("onnxruntime", "onnxruntime-gpu", "torch")
MINIMUM = (3, 11)
SYNCS = 20
SLOW_SYNC_NS = 10_000_000
GIB = 2**30
LEAST_FREE_BYTES = 2 * GIB


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One line: how bad, what was looked at, what was found and, where something is wrong, what to do."""

    level: Level
    name: str
    text: str


@app.command()
def doctor(
    config: Annotated[Path | None, typer.Option("-c", "--config", help="The configuration file.")] = None,
    strict: Annotated[bool, typer.Option("--strict", help="A warning fails as well.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> None:
    """Check versions, meters, boards, ports, disk and configuration. Exit 6 where something fails. Changes nothing."""
    findings = [*versions(), *boards(), *configured(config)]
    failed = any(one.level == "FAIL" or (strict and one.level == "WARN") for one in findings)
    if as_json:
        print_json("doctor", {"good": not failed, "findings": [asdict(one) for one in findings]})
    else:
        for one in findings:
            data.print(f" {one.level:<5} {one.name}: {one.text}", markup=False)
    if failed:
        raise typer.Exit(FAILED)


def versions() -> Sequence[Finding]:
    """Python, packages, engines and the size of the machine."""
    host = describe_host()
    found = {name: _version(name) for name in PACKAGES}
    missing = [name for name, version in found.items() if version is None]
    engines = [f"{name} {version}" for name in ENGINES if (version := _version(name))]
    memory_gib = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / GIB
    python = tuple(map(int, platform.python_version_tuple()[:2]))
    findings = [
        Finding(
            level="OK" if python >= MINIMUM else "FAIL",
            name="python",
            text=f"{platform.python_version()}, {host['cores']} cores, {memory_gib:.0f} GiB, {host['cpu']}"
            + ("" if python >= MINIMUM else "; 3.11 or newer is needed"),
        )
    ]
    if missing:
        todo = "; install greenserve again, it brings them"
        findings.append(Finding(level="FAIL", name="packages", text=f"missing are {', '.join(missing)}{todo}"))
    else:
        named = ", ".join(f"{name} {version}" for name, version in found.items())
        findings.append(Finding(level="OK", name="packages", text=named))
    if engines:
        findings.append(Finding(level="OK", name="engines", text=", ".join(engines)))
    else:
        todo = "no engine is installed; install the extra `cpu` or `gpu`"
        findings.append(Finding(level="FAIL", name="engines", text=todo))
    return findings


def boards() -> Sequence[Finding]:
    """NVIDIA boards as NVML shows them; none is no fault of a CPU machine."""
    try:
        there, faults = list_boards(load_nvml())
    except MeterUnavailable as reason:
        return [Finding(level="OK", name="gpu", text=f"none ({reason})")]
    found = [
        Finding(
            level="OK",
            name=f"gpu {board.index}",
            text=f"{board.name} ({board.uuid}), driver {board.driver}"
            + (", divided by MIG: its instances share its counter" if board.mig else ""),
        )
        for board in there
    ]
    return found + [Finding(level="FAIL", name=name, text=reason) for name, reason in faults]


def configured(path: Path | None) -> Sequence[Finding]:
    """What depends on the configuration; only its own faults where it does not load."""
    name = str(config_file(path))
    try:
        config = load_config(path)
    except ConfigInvalid as error:
        return [Finding(level="FAIL", name="configuration", text=line) for line in str(error).splitlines()]
    checks: tuple[Callable[[Config], Sequence[Finding]], ...] = (energy, reservations, manifests, ports, disk)
    findings = [Finding(level="OK", name="configuration", text=f"{name} is valid")]
    for check in checks:
        try:
            findings += check(config)
        except GreenServeError as error:
            findings.append(Finding(level="FAIL", name=check.__name__, text=str(error)))
    return findings


def energy(config: Config) -> Sequence[Finding]:
    """The meter of each device; a better one that is there and not readable is a warning."""
    node = pick_configured_node(config)
    found = []
    for picked in node.devices:
        described = picked.meter.describe()
        width = described["half_width_pct"]
        sure = "" if width is None else f" +-{width} %"
        text = f"{picked.device} by {picked.name}, tier {described['tier']}{sure} ({described['source']})"
        weak = described["tier"] in {"class_average", "measured_raw", "simulated"}
        if described["tier"] == "class_average":
            text += "; set energy.cpu to this machine's watts, by a wall meter or `greenserve meters calibrate`"
        elif described["tier"] == "measured_raw":
            text += "; `greenserve meters probe` characterises the board"
        elif weak:
            text += "; simulated energy is never billed"
        found.append(Finding(level="WARN" if weak else "OK", name="energy", text=text))
    for name, reason in node.rejected:
        # What is not there at all is no fault of the machine; what is there and not readable is.
        level: Level = "WARN" if "not readable" in reason or "cannot be" in reason else "OK"
        found.append(Finding(level=level, name="energy", text=f"not {name}: {reason}"))
    return found


def reservations(config: Config) -> Sequence[Finding]:
    """Whether the tenants and devices of `tenancy.reservations` are there; nothing where nothing is reserved."""
    if not config.tenancy.reservations:
        return []
    told = reservation_warnings(config, pick_configured_node(config))
    if told:
        return [Finding(level="WARN", name="reservations", text=one) for one in told]
    text = f"{len(config.tenancy.reservations)} shares, of tenants and devices that are there"
    return [Finding(level="OK", name="reservations", text=text)]


def manifests(config: Config) -> Sequence[Finding]:
    """Whether each model's manifest is there; `greenserve serve --dry-run` also compares every file's digest."""
    return [
        Finding(level="OK", name="model", text=f"{model.name}: {model.manifest}")
        if model.manifest.is_file()
        else Finding(
            level="FAIL",
            name="model",
            text=f"{model.name}: {model.manifest} is not there; build it with `greenserve optimize`, or name another",
        )
        for model in config.models
    ]


def ports(config: Config) -> Sequence[Finding]:
    """Whether both ports are free or held by our own gateway, and who can reach them."""
    try:
        ours = RunFolder(port=config.server.http.port).read().alive
    except DependencyMissing:
        ours = False
    found = []
    for name, listener in (("http", config.server.http), ("grpc", config.server.grpc)):
        reach = "this machine only" if is_loopback(listener.host) else "the network"
        place = f"{name} {listener.host}:{listener.port}"
        if is_free(listener.host, listener.port):
            found.append(Finding(level="OK", name="port", text=f"{place} is free, for {reach}"))
        elif ours:
            found.append(
                Finding(level="OK", name="port", text=f"{place} is held by the gateway that runs, for {reach}")
            )
        else:
            todo = f"; stop it or set server.{name}.port"
            found.append(
                Finding(level="FAIL", name="port", text=f"{place} is held by {holder_of(listener.port)}{todo}")
            )
    return found


def disk(config: Config) -> Sequence[Finding]:
    """Room beside the ledger and the time of a durable write there: answers leave after one."""
    folder = next(parent for parent in config.ledger.path.absolute().parents if parent.is_dir())
    try:
        stat = os.statvfs(folder)
        sync_ns = _sync_ns(folder)
    except OSError as error:
        todo = "give this user write access, or set ledger.url"
        text = f"the ledger's folder {folder} cannot be written ({error.strerror}); {todo}"
        return [Finding(level="FAIL", name="disk", text=text)]
    free_bytes = stat.f_bavail * stat.f_frsize
    little = free_bytes < LEAST_FREE_BYTES
    slow = sync_ns > SLOW_SYNC_NS
    return [
        Finding(
            level="WARN" if little else "OK",
            name="disk",
            text=f"{free_bytes / GIB:.1f} GiB free in {folder}" + ("; the ledger needs room to grow" if little else ""),
        ),
        Finding(
            level="WARN" if slow else "OK",
            name="disk",
            text=f"a durable write takes {sync_ns / 1e6:.2f} ms (slowest of {SYNCS})"
            + ("; answers wait for one, put the ledger on a faster disk" if slow else ""),
        ),
    ]


def _sync_ns(folder: Path) -> int:
    """The slowest of some small durable writes [ns], into a file that is removed."""
    taken = []
    with NamedTemporaryFile(dir=folder, prefix=".greenserve-doctor-") as file:
        for _ in range(SYNCS):
            start_ns = time.perf_counter_ns()
            file.write(b"greenserve" * 100)
            file.flush()
            os.fdatasync(file.fileno())
            taken.append(time.perf_counter_ns() - start_ns)
    return max(taken)


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
