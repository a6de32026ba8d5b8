"""`greenserve demo`: the README's commands, run once in order on this machine."""

import statistics
import subprocess
import sys
import textwrap
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any

import httpx
import orjson
import typer

from greenserve.carbon.ledger.opening import open_ledger
from greenserve.cli.loadtest import NOT_VALID
from greenserve.cli.output import data, messages, print_json
from greenserve.config import Config, load_config
from greenserve.errors import GreenServeError
from greenserve.loadtest.answer import Cost, cost_of
from greenserve.loadtest.grpc_client import channel_to, infer
from greenserve.loadtest.texts import text_of
from greenserve.serve.metering import pick_configured
from greenserve.units import MILLI, UJ_PER_J

app = typer.Typer(add_completion=False)
STEPS = 8
READY_S = 60.0
SETTLED_S = 30.0
CONFIG = Path("configs/demo.yaml")
TENANTS = {
    "acme": ("http", 300, ["--quality-floor", "0.80", "--exposure", "exact"]),
    "globex": ("grpc", 200, ["--exposure", "exact"]),
}
MODELS = {"demo:minilm": "sentiment", "demo:minilm-embed": "minilm-embed"}
EMBEDDED = "the crew was lovely"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One answered request: its id, how long it took [s] and what it reported."""

    request_id: str
    seconds: float
    cost: Cost


@app.command()
def demo(
    config_file: Annotated[Path, typer.Option("--config", "-c", help="Configuration file.")] = CONFIG,
    rate: Annotated[int, typer.Option(min=1, help="Requests per second of the load.")] = 50,
    seconds: Annotated[int, typer.Option(min=3, help="How long the load takes.")] = 10,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout at the end.")] = False,
    keep_variants: Annotated[bool, typer.Option("--keep-variants", help="Serve those of an earlier run.")] = False,
) -> None:
    """Optimise, serve, ask over HTTP and gRPC, load, report, verify, stop. Takes about three minutes on 2 cores."""
    config = load_config(config_file)
    started_s = time.monotonic()
    _step(1, "doctor", _doctor(config))
    if keep_variants:
        _step(2, "optimize", "left out: the variants of an earlier run are served (--keep-variants)")
    else:
        for model in MODELS:
            _step(2, "optimize", f"{model} on tweets; its own progress follows")
            _run("optimize", model, "--data", "tweets", shown=True)
    keys = {tenant: _key_of(tenant, flags, config_file) for tenant, (_, _, flags) in TENANTS.items()}
    with _gateway(config, config_file):
        _step(5, "requests", "two tenants, over HTTP and over gRPC")
        asked = _ask(config, keys)
        asked["acme"].append(_embed(config, keys["acme"]))
        _step(6, "load", f"acme, {rate}/s for {seconds} s by Locust")
        _load(config, rate, seconds)
        _step(7, "statements", "waiting until the meter has settled every request")
        _await_settled(config_file)
        results = _report(config, config_file, asked)
        _step(8, "stop", "draining")
    took_s = round(time.monotonic() - started_s)
    messages.print(f"      took {took_s} s; no process and no port left")
    if as_json:
        print_json("demo", results | {"took_s": took_s})
        return
    data.print(
        f"\nledger {config.ledger.path}   statements reports/   variants variants/   log demo.log\n"
        f"next:  greenserve serve {config_file}\n"
        "       greenserve route explain --intensity 40,216,700\n"
        "       greenserve loadtest --rate 50 --duration 1m --key-file acme.key\n"
        "       greenserve stop"
    )


def _step(number: int, name: str, text: str) -> None:
    messages.print(f"{number}/{STEPS}  {name:<12} {text}", markup=False)


def _command(*words: str) -> list[str]:
    return [sys.executable, "-m", "greenserve.cli.main", *words]


def _run(*words: str, shown: bool = False, allowed: tuple[int, ...] = (0,)) -> str:
    """Run a command of ours; its data, shown as well where wanted. Raises where it fails."""
    done = subprocess.run(
        _command(*words), stdout=subprocess.PIPE, stderr=None if shown else subprocess.PIPE, text=True
    )
    if shown:
        messages.print(done.stdout.rstrip(), markup=False)
    if done.returncode not in allowed:
        detail = "" if shown else f": {(done.stderr or '').strip()}"
        raise GreenServeError(f"`greenserve {' '.join(words)}` ended with exit code {done.returncode}{detail}")
    return done.stdout


def _document(*words: str) -> dict[str, Any]:
    document: dict[str, Any] = orjson.loads(_run(*words, "--json"))
    return document


def _doctor(config: Config) -> str:
    picked = pick_configured(config)
    described = picked.meter.describe()
    rejected = ", ".join(name for name, _ in picked.rejected) or "none"
    providers = ", ".join(getattr(source, "provider", source.kind) for source in config.intensity.sources)
    return f"energy: {picked.name} (tier {described['tier']}; not readable here: {rejected})\n" + (
        f"     {'':<12} grid: {providers}   ledger: SQLite {config.ledger.path}"
    )


def _key_of(tenant: str, flags: list[str], config_file: Path) -> str:
    """A fresh key of the tenant, which is made on the first run; kept in TENANT.key, readable by its owner only."""
    place = ("--config", str(config_file))
    _run("tenant", "create", tenant, *flags, *place, allowed=(0, 2))  # 2: it is there from an earlier run
    _run("tenant", "update", tenant, *flags, *place)
    key = str(_document("key", "create", tenant, "--label", "demo", *place)["key"])
    file = Path(f"{tenant}.key")
    file.touch(mode=0o600)
    file.write_text(key + "\n")
    return key


@contextmanager
def _gateway(config: Config, config_file: Path) -> Iterator[None]:
    """The gateway runs inside; whatever happens there, it is stopped and nothing is left."""
    _step(3, "serve", f"starting {config.server.replicas} replicas")
    log = Path("demo.log")
    with log.open("wb") as file:
        process = subprocess.Popen(
            _command("serve", str(config_file)), stdout=file, stderr=file, start_new_session=True
        )
    try:
        started_s = time.monotonic()
        _await(lambda: _ready(config), READY_S, lambda: process.poll() is None, log)
        regions = ", ".join(region.name for region in config.regions if region.emulated)
        _step(4, "ready", f"after {time.monotonic() - started_s:.1f} s: {_url(config)}   grpc {_grpc(config)}")
        if regions:
            messages.print(f"{'':<18}regions {regions}: emulated, both executed on this machine")
        yield
    finally:
        _run("stop", "--config", str(config_file))
        process.wait(timeout=READY_S)


def _url(config: Config) -> str:
    return f"http://{config.server.http.host}:{config.server.http.port}"


def _grpc(config: Config) -> str:
    return f"{config.server.grpc.host}:{config.server.grpc.port}"


def _ready(config: Config) -> bool:
    try:
        return httpx.get(f"{_url(config)}/readyz", timeout=2.0, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


def _await(done: Callable[[], bool], patience_s: float, possible: Callable[[], bool], log: Path) -> None:
    end_s = time.monotonic() + patience_s
    while not done():
        if time.monotonic() > end_s or not possible():
            raise GreenServeError(f"the gateway did not become ready; {log} says:\n{log.read_text()[-2000:]}")
        time.sleep(0.2)


def _ask(config: Config, keys: Mapping[str, str]) -> dict[str, list[Asked]]:
    asked: dict[str, list[Asked]] = {}
    with (
        httpx.Client(base_url=_url(config), trust_env=False, timeout=10.0) as client,
        channel_to(_grpc(config)) as channel,
    ):
        for tenant, (protocol, count, _) in TENANTS.items():
            asked[tenant] = []
            for number in range(count):
                text, started_s = text_of(number), time.perf_counter()
                if protocol == "http":
                    headers: Mapping[str, str] = _over_http(client, text, keys[tenant])
                else:
                    headers = infer(channel, "sentiment", [text], keys[tenant])[1]
                seconds = time.perf_counter() - started_s
                request_id = headers["greenserve-request-id"]
                asked[tenant].append(Asked(request_id=request_id, seconds=seconds, cost=cost_of(headers)))
            messages.print(_row(tenant, protocol, asked[tenant]), markup=False)
    return asked


def _over_http(client: httpx.Client, text: str, key: str) -> Mapping[str, str]:
    body = {"inputs": [{"name": "text", "datatype": "BYTES", "shape": [1], "data": [text]}]}
    answer = client.post("/v2/models/sentiment/infer", json=body, headers={"Authorization": f"Bearer {key}"})
    if answer.status_code != 200:
        raise GreenServeError(f"the gateway answered {answer.status_code}: {answer.text}")
    return answer.headers


def _embed(config: Config, key: str) -> Asked:
    """One text as a vector, as OpenAI's clients ask for it; shown with what it cost."""
    started_s = time.perf_counter()
    answer = httpx.post(
        f"{_url(config)}/v1/embeddings",
        json={"model": MODELS["demo:minilm-embed"], "input": EMBEDDED},
        headers={"Authorization": f"Bearer {key}"},
        trust_env=False,
        timeout=10.0,
    )
    seconds = time.perf_counter() - started_s
    if answer.status_code != 200:
        raise GreenServeError(f"the gateway answered {answer.status_code}: {answer.text}")
    vector, cost = answer.json()["data"][0]["embedding"], cost_of(answer.headers)
    energy = "energy unknown" if cost.energy_uj is None else f"{cost.energy_uj * MILLI / UJ_PER_J:.2f} mJ"
    messages.print(
        f"      acme    http    1 embedding of {len(vector)} numbers   {seconds * MILLI:.1f} ms   {cost.route}\n"
        f"     {'':<12} {energy} (tier {cost.tier or 'unknown'}), asked at /v1/embeddings",
        markup=False,
    )
    return Asked(request_id=answer.headers["greenserve-request-id"], seconds=seconds, cost=cost)


def _row(tenant: str, protocol: str, asked: list[Asked]) -> str:
    seconds = sorted(one.seconds for one in asked)
    costs = [one.cost for one in asked]
    route = Counter(cost.route for cost in costs).most_common(1)[0][0]
    energies = [cost.energy_uj for cost in costs if cost.energy_uj is not None]
    grams = [cost.emissions_ng for cost in costs if cost.emissions_ng is not None]
    energy = f"{statistics.mean(energies) * MILLI / UJ_PER_J:.2f} mJ" if energies else "energy unknown"
    carbon = f"{statistics.mean(grams) / MILLI:.3f} ugCO2e" if grams else "carbon unknown"
    p50, p95 = seconds[len(seconds) // 2], seconds[len(seconds) * 95 // 100]
    tiers = ", ".join(sorted({cost.tier or "unknown" for cost in costs}))
    return (
        f"      {tenant:<7} {protocol:<5}{len(asked):>4} requests   p50 {p50 * MILLI:.1f} p95 {p95 * MILLI:.1f} ms"
        f"   {route}\n"
        f"     {'':<12} per request: {energy}, {carbon} (tier {tiers})"
    )


def _load(config: Config, rate: int, seconds: int) -> None:
    """Where this machine is too busy to send on time the demo goes on: the table says it."""
    _run(
        *("loadtest", "--rate", str(rate), "--duration", f"{seconds}s", "--key-file", "acme.key"),
        *("--url", _url(config), "--output", "reports"),
        shown=True,
        allowed=(0, NOT_VALID),
    )


def _await_settled(config_file: Path) -> None:
    end_s = time.monotonic() + SETTLED_S
    while True:
        waiting = _document("ledger", "status", "--config", str(config_file))["provisional_requests"]
        if not waiting:
            return
        if time.monotonic() > end_s:
            raise GreenServeError(f"{waiting} requests are not settled after {SETTLED_S:g} s; see demo.log")
        time.sleep(0.5)


def _report(config: Config, config_file: Path, asked: Mapping[str, list[Asked]]) -> dict[str, Any]:
    """Write both statements, show what they say together, verify the ledger; the figures as a document."""
    statements = {
        tenant: _document("report", "--tenant", tenant, "--config", str(config_file))["statement"] for tenant in asked
    }
    for tenant, statement in statements.items():
        totals = statement["totals"]
        messages.print(
            f"      {tenant:<7} {totals['requests']:>5} requests   {totals['energy_joules']} J "
            f"[{totals['energy_low_joules']}, {totals['energy_high_joules']}]\n"
            f"      {'':<7} {totals['loc_lifecycle_gco2e'] or 'unknown'} gCO2e   tier {totals['tier']}",
            markup=False,
        )
    for line in _reconciliation(statements):
        messages.print(f"      {line}", markup=False)
    marks = ", ".join(mark["mark"] for mark in next(iter(statements.values()))["watermarks"])
    messages.print(f"      watermark on both: {marks}")
    verified = _document("ledger", "verify", "--config", str(config_file))
    sent = {one.request_id for answers in asked.values() for one in answers}
    missing = sent - _recorded(config)
    messages.print(
        f"      {len(sent) - len(missing)} of {len(sent)} answers of step 5 are in the ledger; "
        f"{verified['size']} entries verified"
    )
    if missing:
        raise GreenServeError(f"{len(missing)} answers are not in the ledger, such as {min(missing)}")
    return {"statements": statements, "entries": verified["size"], "chain": verified["chain"]}


def _reconciliation(statements: Mapping[str, Any]) -> list[str]:
    """The node's energy and where it went, in lines that fit a terminal: the same for every tenant of a period."""
    whole = next(iter(statements.values()))["reconciliation"]
    parts = {tenant: statement["reconciliation"]["this_tenant_joules"] for tenant, statement in statements.items()}
    others = Decimal(whole["this_tenant_joules"]) + Decimal(whole["other_tenants_joules"])
    parts["other tenants"] = f"{others - sum(map(Decimal, parts.values())):f}"
    parts |= {name: whole[f"{name}_joules"] for name in ("platform", "idle", "background", "foreign", "gap")}
    parts["pending"] = f"{Decimal(whole['pending_after_joules']) - Decimal(whole['pending_before_joules']):f}"
    shown = [f"{name} {joules}" for name, joules in parts.items() if Decimal(joules)]
    lines = textwrap.wrap(f"metered {whole['metered_joules']} J = {' + '.join(shown)}", 74, subsequent_indent="  ")
    return [*lines, f"difference {whole['difference_joules']} J"]


def _recorded(config: Config) -> set[str]:
    ledger = open_ledger(config.ledger.url, config.ledger.path, must_exist=True)
    try:
        return {entry.key for _, entry in ledger.entries() if entry.kind == "usage"}
    finally:
        ledger.close()
