"""The systems of the comparison: GreenServe, and its peers at the settings that were fastest for them here."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from benchmarks.closed_loop import oip_document
from benchmarks.gateway import Running, gateway
from benchmarks.system import (
    GRPC_PORT,
    HOST,
    PORT,
    Entrance,
    GrpcApi,
    HttpApi,
    System,
    oip_answer,
    plain_answer,
    running,
)

VENVS = Path(".venv-peers")
OWN = Path(sys.executable)
VARIANT = "int8-dyn"
INFER = "/v2/models/sentiment/infer"
GREENSERVE, GREENSERVE_GRPC = "GreenServe HTTP", "GreenServe gRPC"


def http_api(gate: Running) -> HttpApi:
    """GreenServe's Open Inference Protocol over HTTP, pinned to the variant that the peers run."""
    document = partial(oip_document, variant=VARIANT)
    return HttpApi(path=INFER, document=document, answer=oip_answer, address=gate.address, key=gate.key)


def grpc_api(gate: Running) -> GrpcApi:
    """The same over gRPC."""
    return GrpcApi(address=gate.grpc_address, key=gate.key, variant=VARIANT)


@contextmanager
def greenserve_running() -> Iterator[Sequence[Entrance]]:
    """GreenServe as the demo configures it: two replicas, keys, accounting and ledger on."""
    with gateway() as gate:
        yield http_api(gate).entrance(GREENSERVE), grpc_api(gate).entrance(GREENSERVE_GRPC)


def greenserve() -> System:
    """GreenServe over HTTP and gRPC."""
    return System(
        name="greenserve",
        labels=(GREENSERVE, GREENSERVE_GRPC),
        settings="configs/demo.yaml: 2 replicas, own listeners, batching, keys, cache, accounting, durable ledger",
        packages=("greenserve", "ray", "uvicorn", "grpcio", "onnxruntime", "tokenizers"),
        python=OWN,
        ready=OWN,
        start=greenserve_running,
    )


def _peer(
    name: str,
    settings: str,
    packages: Sequence[str],
    words: Sequence[str],
    *doors: Entrance,
    variables: Sequence[str] = (),
) -> System:
    """A peer that its interpreter starts with `words` and environment `variables`.

    Ray Serve runs in our environment, the others in their own.
    """
    folder = VENVS / name
    own = packages[0] == "ray"
    python = OWN if own else folder / "bin" / "python"
    return System(
        name=name,
        labels=tuple(door.label for door in doors),
        settings=settings,
        packages=(*packages, "onnxruntime", "tokenizers"),
        python=python,
        ready=OWN if own else folder / ".ready",
        start=partial(running, [*variables, str(python), *words], doors),
    )


def _module(name: str, *words: str) -> list[str]:
    return ["-m", f"benchmarks.peers.{name}", "--port", str(PORT), *words]


def _plain(path: str, label: str) -> Entrance:
    return HttpApi(path=path, document=lambda text: {"text": text}, answer=plain_answer).entrance(label)


def mlserver() -> System:
    """MLServer over HTTP and gRPC."""
    return _peer(
        "mlserver",
        "custom runtime, 2 workers, adaptive batching 32 / 2 ms, no metrics, no gzip",
        ("mlserver", "fastapi", "uvicorn", "grpcio"),
        _module("mlserver.server", "--grpc-port", str(GRPC_PORT)),
        HttpApi(path=INFER, document=oip_document, answer=oip_answer).entrance("MLServer HTTP"),
        GrpcApi().entrance("MLServer gRPC"),
    )


def litserve() -> System:
    """LitServe."""
    return _peer(
        "litserve",
        "2 workers, batching 32 / 1 ms, fast queue, 1 API server",
        ("litserve", "fastapi", "uvicorn"),
        _module("litserve.server"),
        _plain("/predict", "LitServe"),
    )


def bentoml() -> System:
    """BentoML."""
    return _peer(
        "bentoml",
        "2 workers, adaptive batching 32, no metrics, no access log",
        ("bentoml", "starlette", "uvicorn"),
        ["-m", "bentoml", "serve", "benchmarks.peers.bentoml.server:Sentiment", "--host", HOST, "--port", str(PORT)],
        HttpApi(path="/classify", document=lambda text: {"texts": [text]}, answer=plain_answer).entrance("BentoML"),
    )


def ray_serve_tuned() -> System:
    """Ray Serve with `@serve.batch` and FastAPI."""
    return _peer(
        "ray-serve-tuned",
        "FastAPI, 2 replicas, @serve.batch 32 / 1 ms, engine in a thread, no access log, throughput-optimised mode",
        ("ray", "fastapi", "uvicorn"),
        _module("ray_serve.tuned"),
        _plain("/classify", "Ray Serve @serve.batch"),
        variables=("RAY_SERVE_THROUGHPUT_OPTIMIZED=1",),
    )


def ray_serve_plain() -> System:
    """Ray Serve as it is."""
    return _peer(
        "ray-serve",
        "nothing set: 1 replica, no batching",
        ("ray", "uvicorn"),
        _module("ray_serve.plain"),
        _plain("/", "Ray Serve, default"),
    )


SYSTEMS = (greenserve, mlserver, litserve, bentoml, ray_serve_tuned, ray_serve_plain)
