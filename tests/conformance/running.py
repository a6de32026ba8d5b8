"""The gateway that the clients ask, and the clients' processes."""

import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from greenserve.carbon.budgets import Budget
from greenserve.records import Tenant
from tests.conformance.models import write_models
from tests.gateway_process import HOST, GatewayProcess

ROOT = Path(__file__).parents[2]
ENVIRONMENTS = ROOT / ".venv-clients"
GROUPS = ("triton", "kserve", "open_inference", "openai", "grpc_standard", "schemathesis")
PATIENCE_S = 120.0
TENANTS = (
    Tenant(tenant_id="acme", name="Acme", exposure="exact"),
    Tenant(tenant_id="paced", name="Paced", rate_per_s=0.5, burst=2),
    Tenant(tenant_id="spent", name="Spent", exposure="exact"),
)
CONFIG = """
version: 1
server:
  replicas: 1
  limits: {{request_timeout: 10s, max_body: 1MiB, max_queued: 256, max_items: 64}}
  http: {{port: {http_port}}}
  grpc: {{port: {grpc_port}}}
models:
{models}
regions:
  - {{name: here, zone: ZZ-HERE, pue: {{value: 1.5, source: a test}}}}
intensity:
  sources:
    - {{kind: annual, values: {{ZZ-HERE: 400gCO2e/kWh}}, year: 2025, source: invented for tests}}
tenancy: {{auth: required, defaults: {{rate: 50000/s, burst: 100000}}}}
ledger: {{url: "sqlite:///ledger.db"}}
"""
MODEL = """  - name: {name}
    manifest: {manifest}
    objective: {{p95: 5s, quality_floor: 0.5}}
    batching: {{max_batch: 8}}"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """How one call of one client went; `detail` is empty where it went well."""

    client: str
    call: str
    ok: bool
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What the clients of a group told, and how their process ended."""

    group: str
    lines: tuple[Line, ...]
    exit_code: int
    errors: str

    @property
    def failures(self) -> list[str]:
        """What did not go well, a sentence each."""
        found = [f"{line.client}, {line.call}: {line.detail}" for line in self.lines if not line.ok]
        if self.exit_code:
            found.append(f"the process of {self.group} ended with {self.exit_code}: {self.errors[-2000:]}")
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A started gateway and the keys of its tenants."""

    gateway: GatewayProcess
    keys: Mapping[str, str]

    @property
    def target(self) -> str:
        """What a client script reads from its standard input."""
        ports = {"http": f"{HOST}:{self.gateway.http_port}", "grpc": self.gateway.grpc_address}
        return json.dumps({**ports, "keys": dict(self.keys)})

    def ask(self, group: str, *arguments: str) -> Outcome:
        """Run a group's clients to their end."""
        done = subprocess.run(
            command(group, "client", *arguments),
            cwd=ROOT,
            input=self.target,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S if not arguments else None,
        )
        return Outcome(group=group, lines=_lines(done.stdout), exit_code=done.returncode, errors=done.stderr)


def start_gateway(folder: Path) -> Running:
    """A gateway of one replica with every model and tenant of these tests, ready."""
    manifests = write_models(folder / "models")
    (folder / "gateway").mkdir()
    gateway = GatewayProcess(folder=folder / "gateway", manifest=manifests["tiny"])
    models = "\n".join(MODEL.format(name=name, manifest=manifest) for name, manifest in manifests.items())
    text = CONFIG.format(http_port=gateway.http_port, grpc_port=gateway.grpc_port, models=models)
    (gateway.folder / "greenserve.yaml").write_text(text)
    keys = {tenant.tenant_id: gateway.new_key(tenant) for tenant in TENANTS}
    with gateway.tenancy() as store:
        store.set_budget(
            Budget(budget_id="spent.gco2e.month", tenant="spent", unit="gCO2e", limit=1, per="month", mode="enforce")
        )
    try:
        gateway.start()
    except BaseException:
        gateway.end()
        raise
    return Running(gateway=gateway, keys=keys)


def command(group: str, script: str, *arguments: str) -> Sequence[str]:
    """The command line of a client script in its own environment; raises FileNotFoundError with how to make it."""
    python = ENVIRONMENTS / group / "bin" / "python"
    if not (ENVIRONMENTS / group / ".ready").exists():
        raise FileNotFoundError(f"the client environment {group} is missing or unfinished; `make clients` makes it")
    return [str(python), "-m", f"tests.conformance.{group}.{script}", *arguments]


def _lines(printed: str) -> tuple[Line, ...]:
    documents: list[dict[str, Any]] = [json.loads(line) for line in printed.splitlines() if line.startswith("{")]
    return tuple(Line(**document) for document in documents)
