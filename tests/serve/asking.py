"""Asks the HTTP application as a server would, and models of every task behind a gateway that answers at once."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast

import numpy as np
from hypothesis import strategies as st

from greenserve.clock import SystemClock
from greenserve.errors import InvalidRequest
from greenserve.inputs import TextEncoder
from greenserve.manifest import Embedding, Manifest, TensorSpec, load_manifest
from greenserve.sections import Limits, Model
from greenserve.serve.admission import Admission
from greenserve.serve.call import Answer, Call
from greenserve.serve.gateway import Gateway
from greenserve.serve.health import Health
from greenserve.serve.http.app import HttpApp
from greenserve.serve.http.message import AsgiApp
from greenserve.serve.models import Models, ServedModel
from greenserve.serve.statistics import Statistics
from greenserve.serve.tasks import task_of
from greenserve.serve.tensors import DTYPES, Tensor, tensor_of
from greenserve.serve.texts import rows_of
from tests.serve.admitting import HUGE
from tests.serve.building import an_answer

LIMITS = Limits.model_validate({"max_body": "10KiB", "max_items": 4, "max_elements": 1_000})
WIDE = Limits.model_validate({"max_items": 2_048})
DIMENSIONS = 4
INTEGERS = tuple(name for name in DTYPES if name.startswith(("INT", "UINT")))


@dataclass(frozen=True)
class Said:
    """One answer: status, headers, body."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def document(self) -> Any:
        """The body, which is JSON."""
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The error's code, wherever the shape of the body has it; `ok` for none."""
        document = self.document
        holder = document["error"] if isinstance(document.get("error"), dict) else document
        return str(holder.get("code", "ok"))

    @property
    def words(self) -> str:
        """The error's message, wherever the shape of the body has it."""
        error = self.document.get("error", self.document.get("detail"))
        return str(error["message"] if isinstance(error, dict) else error)


class Raising:
    """A gateway that fails on every call."""

    def __init__(self, error: Exception, models: Models | None = None) -> None:
        self._error = error
        self.models = models or Models([])

    async def handle(self, call: Call) -> Answer:
        """Raise."""
        raise self._error


class AtOnce:
    """A gateway of models without engines: reads the items as the real one does, and answers with `given` or ones.

    State: the calls that it was given.
    """

    def __init__(self, models: Models, *given: Tensor, auth: str = "anonymous") -> None:
        self.models = models
        self.admission = Admission(auth=cast(Any, auth), defaults=HUGE, replicas=1, timeout_s=10.0, clock=SystemClock())
        self.calls: list[Call] = []
        self._given = {tensor.name: tensor for tensor in given}

    async def handle(self, call: Call) -> Answer:
        """Check outputs and inputs by the model's task, then answer."""
        self.admission.authenticate(call.credential)
        model = self.models.find(call.model, call.version)
        if unknown := set(call.outputs) - model.task.offered:
            raise InvalidRequest(f"outputs: {min(unknown)!r:.80} is not offered")
        rows = rows_of(call, model.task)
        self.calls.append(call)
        shapes = {spec.name: spec for spec in model.task.outputs}
        wanted = call.outputs or tuple(shapes)
        return an_answer(
            model=model.name,
            version=model.version,
            client_id=call.client_id,
            outputs=tuple(self._given.get(name) or _ones(shapes[name], len(rows)) for name in wanted),
            tokens=sum(map(len, rows)),
        )


def _ones(spec: TensorSpec, rows: int) -> Tensor:
    shape = tuple(rows if size < 0 else size for size in spec.shape)
    if spec.datatype == "BYTES":
        return Tensor(name=spec.name, datatype="BYTES", shape=shape, data=("one",) * int(np.prod(shape)))
    return tensor_of(spec.name, np.ones(shape, dtype=DTYPES[spec.datatype]))


def a_model(tiny: Path, task: str, name: str, **changes: Any) -> ServedModel:
    """A model of a task on the tiny model's tokenizer, without variants; `changes` are its manifest's."""
    base = load_manifest(tiny)
    is_tensor = task == "tensor"
    whole: dict[str, Any] = {
        "folder": base.folder,
        "name": name,
        "version": 1,
        "task": task,
        "labels": base.labels if task == "text-classification" else (),
        "preprocessing": None if is_tensor else base.preprocessing,
        "embedding": Embedding(dimensions=DIMENSIONS, matryoshka=False) if task == "text-embedding" else None,
        "inputs": (),
        "outputs": (),
        "variants": base.variants,
        "baseline": base.baseline,
        "recommended": base.recommended,
        "front": base.front,
        "digest": base.digest,
        "document": {"created_at": "2026-01-02T03:04:05Z"},
    }
    manifest = Manifest(**(whole | changes))
    encoder = None
    if base.preprocessing is not None and not is_tensor:
        encoder = TextEncoder(tokenizer_file=tiny.with_name("tokenizer.json"), max_length=64, truncate="error")
    return ServedModel(
        settings=Model.model_validate({"name": name, "manifest": tiny}),
        manifest=manifest,
        task=task_of(manifest, encoder, max_items=32),
        variants=MappingProxyType({}),
        left_out=MappingProxyType({}),
    )


def pair_of(datatype: str, *, shape: tuple[int, ...] = (-1, 2)) -> dict[str, Any]:
    """Inputs and outputs of a tensor model that gives back its one input `x` as `y`."""
    return {
        names: (TensorSpec(name=name, datatype=datatype, shape=shape),)
        for names, name in (("inputs", "x"), ("outputs", "y"))
    }


def models_of_every_task(tiny: Path) -> Models:
    """`tiny` classifies, `embed` and `nested` embed (the second also shorter), `pair` and `one` take tensors."""
    two = (TensorSpec(name="a", datatype="INT32", shape=(-1, 2)), TensorSpec(name="b", datatype="FP32", shape=(-1,)))
    return Models(
        [
            a_model(tiny, "text-classification", "tiny"),
            a_model(tiny, "text-embedding", "embed"),
            a_model(tiny, "text-embedding", "nested", embedding=Embedding(dimensions=DIMENSIONS, matryoshka=True)),
            a_model(tiny, "tensor", "pair", inputs=two, outputs=two),
            a_model(tiny, "tensor", "one", **pair_of("INT32")),
        ]
    )


def an_app(
    gateway: Gateway | Raising | AtOnce,
    *missing: str,
    limits: Limits = LIMITS,
    extra: Mapping[tuple[str, ...], AsgiApp] | None = None,
) -> tuple[HttpApp, Health]:
    """An application and its health, ready unless something is `missing`."""
    health = Health(missing=set(missing))
    clock = SystemClock()
    app = HttpApp(
        gateway=cast(Gateway, gateway),
        health=health,
        clock=clock,
        statistics=Statistics(clock=clock),
        limits=limits,
        extra=extra or {},
    )
    return app, health


async def ask(
    app: HttpApp, method: str, path: str, body: object = b"", *, gone: bool = False, **headers: str
) -> Said | None:
    """What the application sends; None for nothing. Checks what holds for every answer."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    sent: list[dict[str, Any]] = []

    async def receive() -> Mapping[str, Any]:
        if gone:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": content, "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    pairs = [(name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in headers.items()]
    await app({"type": "http", "method": method, "path": path, "headers": pairs}, receive, send)
    if not sent:
        return None
    start, end = sent
    told = {name.decode(): value.decode("latin-1") for name, value in start["headers"]}
    assert ("http.response.start", "http.response.body") == (start["type"], end["type"])
    assert len(told) == len(start["headers"])
    assert len(told["greenserve-request-id"]) >= 4
    assert b"" == end["body"] if method == "HEAD" else told["content-length"] == str(len(end["body"]))
    return Said(start["status"], told, end["body"])


async def said(app: HttpApp, method: str, path: str, body: object = b"", **headers: str) -> Said:
    """The answer, which there is."""
    answer = await ask(app, method, path, body, gone=False, **headers)
    assert answer is not None
    return answer


def _range_of(datatype: str) -> tuple[int, int]:
    bits = int(datatype.rpartition("T")[2])
    return (0, 2**bits - 1) if datatype.startswith("U") else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


DTYPE_VALUES = MappingProxyType(
    {"BOOL": st.booleans()}
    | {name: st.integers(*_range_of(name)) for name in INTEGERS}
    | {f"FP{bits}": st.floats(width=bits, allow_nan=False, allow_infinity=False) for bits in (16, 32, 64)}
    | {"BF16": st.integers(0, 0xFFFF).filter(lambda bits: bits & 0x7F80 != 0x7F80)}
)
"""Elements of each datatype, finite ones."""
