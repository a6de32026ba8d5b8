"""A real gateway of two replicas on echo models, and clients that ask it at their own pace."""

import asyncio
import json
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx

from greenserve.records import Tenant
from tests.faults.echoes import OBJECTIVE_S, POISON, STEADY_S, write_echo, write_text_echo
from tests.gateway_process import HOST, GatewayProcess
from tests.serve.listening import Wire

REPLICA = "ray::ServeReplica:greenserve:Gateway"
REPLICAS = 2
TENANTS = ("greedy", "modest")
CONFIG = """
version: 1
server:
  replicas: 2
  limits: {{request_timeout: 10s, max_queued: 512, max_items: 64}}
  http: {{port: {http_port}}}
  grpc: {{port: {grpc_port}}}
models:
{models}
regions:
  - {{name: here, zone: ZZ-HERE, pue: {{value: 1.5, source: a test}}}}
intensity:
  sources:
    - {{kind: annual, values: {{ZZ-HERE: 400gCO2e/kWh}}, year: 2025, source: invented for tests}}
tenancy: {{auth: required, defaults: {{rate: 50000/s, burst: 100000, exposure: exact}}}}
ledger: {{url: "sqlite:///ledger.db"}}
"""
MODEL = """  - name: {name}
    manifest: {manifest}
    objective: {{p95: {objective_ms:.0f}ms, quality_floor: 0.5}}
    cache: {{enabled: false}}
    batching: {{max_batch: 32}}"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Echoing:
    """A started gateway of the models `steady`, `poison`, `odd`, `hang` and `quick`, and a key of each tenant."""

    gateway: GatewayProcess
    keys: Mapping[str, str]

    def headers(self, tenant: str = "modest") -> dict[str, str]:
        """What proves a tenant."""
        return {"authorization": f"Bearer {self.keys[tenant]}"}

    def client(self, tenant: str = "modest") -> httpx.Client:
        """A client over HTTP."""
        return httpx.Client(base_url=self.gateway.url, headers=self.headers(tenant), trust_env=False, timeout=30.0)

    def answers(self) -> bool:
        """Whether a tenant is answered rightly over a new connection."""
        with self.client() as client:
            told = client.post("/v2/models/quick/infer", json=question(7, 8))
        return told.status_code == 200 and [7, 8] == told.json()["outputs"][0]["data"]

    @property
    def replicas(self) -> list[int]:
        """The replicas' processes."""
        return self.gateway.find(REPLICA)


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """How a request ended (`ok` or the error's code), when it was due [s from the start], how long it took from then
    [s], and how much of that the gateway says of itself (0 where it refused) and our own lateness were [s]."""

    code: str
    due_s: float
    took_s: float
    inside_s: float
    late_s: float

    @property
    def good(self) -> bool:
        """Whether it was answered within the objective."""
        return self.code == "ok" and self.took_s <= OBJECTIVE_S

    @property
    def since_sent_s(self) -> float:
        """How long it took from when it was really sent [s]: a generator that is late is no fault of the gateway."""
        return self.took_s - self.late_s


def start_echoing(new_gateway: Callable[..., GatewayProcess], folder: Path) -> Echoing:
    """Write the models, start the gateway."""
    manifests = {
        "steady": write_echo(folder / "steady", "steady", batch_s=STEADY_S),
        "poison": write_echo(folder / "poison", "poison", max_batch=32, batch_s=0.03, busy_s=0.01, fail_on=POISON),
        "odd": write_text_echo(folder / "odd", "odd", max_batch=32, batch_s=0.03, nan_on=POISON),
        "hang": write_echo(folder / "hang", "hang", hang_on=POISON),
        "quick": write_echo(folder / "quick", "quick", max_batch=16),
    }
    gateway = new_gateway(manifests["quick"])
    models = "\n".join(
        MODEL.format(name=name, manifest=manifest, objective_ms=1_000 * OBJECTIVE_S)
        for name, manifest in manifests.items()
    )
    text = CONFIG.format(http_port=gateway.http_port, grpc_port=gateway.grpc_port, models=models)
    (gateway.folder / "greenserve.yaml").write_text(text)
    keys = {name: gateway.new_key(Tenant(tenant_id=name, name=name)) for name in TENANTS}
    gateway.start()
    return Echoing(gateway=gateway, keys=keys)


def question(*numbers: int, **parameters: object) -> dict[str, object]:
    """A request of one item for a tensor model."""
    asked: dict[str, object] = {"inputs": [{"name": "x", "datatype": "INT64", "shape": [1, 2], "data": list(numbers)}]}
    return asked | ({"parameters": parameters} if parameters else {})


def post(path: str, document: object, headers: Mapping[str, str]) -> bytes:
    """A request's bytes."""
    body = json.dumps(document).encode()
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n{lines}\r\n".encode() + body


class Crowd:
    """Open loop: each request is sent when it is due, however many are still unanswered.

    State: idle connections, the longest idle one first, so that all replicas get their part.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._idle: deque[Wire] = deque()

    async def connect(self, connections: int) -> None:
        """Open connections before any time is measured."""
        self._idle.extend([Wire(*await asyncio.open_connection(HOST, self._port)) for _ in range(connections)])

    async def close(self) -> None:
        """Leave."""
        for wire in self._idle:
            await wire.close()

    async def send(self, requests: Iterable[bytes], *, rate_per_s: float) -> list[Told]:
        """Send them at an even rate; how each ended, in the order of sending."""
        begun_s = time.perf_counter()
        sent = []
        for number, request in enumerate(requests):
            due_s = begun_s + number / rate_per_s
            await asyncio.sleep(max(0.0, due_s - time.perf_counter()))
            sent.append(asyncio.create_task(self._one(request, due_s, begun_s)))
        return await asyncio.gather(*sent)

    async def _one(self, request: bytes, due_s: float, begun_s: float) -> Told:
        wire = self._idle.popleft() if self._idle else Wire(*await asyncio.open_connection(HOST, self._port))
        late_s = time.perf_counter() - due_s
        status, headers, body = await wire.asked(request)
        took_s = time.perf_counter() - due_s
        if headers.get("connection") == "close":
            await wire.close()
        else:
            self._idle.append(wire)
        document = json.loads(body)
        code = "ok" if status == 200 else str(document["code"])
        return Told(code=code, due_s=due_s - begun_s, took_s=took_s, inside_s=inside_s(headers), late_s=late_s)


def inside_s(headers: Mapping[str, str]) -> float:
    """The sum of the stages that the gateway names [s]."""
    stages = headers.get("server-timing", "").split(", ")
    return sum(float(stage.rpartition("dur=")[2] or 0) for stage in stages) / 1e3


def codes(told: Sequence[Told]) -> Counter[str]:
    """How often each end."""
    return Counter(one.code for one in told)


def slowest(told: Sequence[Told], share: float = 0.99) -> float:
    """The time [s] within which that share of them ended."""
    return within((one.took_s for one in told), share)


def within(times_s: Iterable[float], share: float = 0.99) -> float:
    """The time [s] that this share of them does not exceed."""
    times = sorted(times_s)
    return times[min(len(times) - 1, int(share * len(times)))]
