"""Which engine runs a variant on this machine, and why some do not."""

from collections.abc import Mapping
from typing import Any

from greenserve.errors import DependencyMissing, ManifestInvalid
from greenserve.host import describe_host
from greenserve.manifest import Manifest, Variant
from greenserve.ports import Engine
from greenserve.serve.engines.echo import EchoEngine, behaviour_of
from greenserve.serve.engines.onnx import CPU, CUDA, OnnxEngine
from greenserve.serve.engines.signature import signature_of
from greenserve.serve.engines.torch_cuda import TorchEngine

KINDS = ("onnxruntime", "torch", "echo")
TEXT_WIDTH = 3
"""Scores of an echo that no label counts."""


def engine_for(manifest: Manifest, variant: Variant, *, threads: int = 1) -> Engine:
    """The engine of a variant, not yet loaded; `threads` are ONNX Runtime's on CPU.

    Raises DependencyMissing with the reason where this machine can't run it, now or when it loads, and ManifestInvalid
    where its engine options are not known.
    """
    _require(manifest, variant)
    kind = variant.engine.get("kind", "onnxruntime")
    if kind == "onnxruntime":
        return _onnx(manifest, variant, threads)
    if kind == "torch":
        return _torch(manifest, variant)
    if kind == "echo":
        signature = signature_of(manifest)
        return EchoEngine(
            variant=variant.name,
            classes=manifest.embedding.dimensions if manifest.embedding else len(manifest.labels) or TEXT_WIDTH,
            behaviour=behaviour_of(variant.engine, variant=variant.name),
            returns=signature.outputs,
        )
    raise ManifestInvalid(f"engine of {variant.name}: kind is {kind!r}; allowed are {', '.join(KINDS)}")


def _onnx(manifest: Manifest, variant: Variant, threads: int) -> OnnxEngine:
    provider = variant.engine.get("provider") or CPU
    if provider not in {CPU, CUDA}:
        raise ManifestInvalid(f"engine of {variant.name}: provider is {provider!r}; allowed are {CPU} and {CUDA}")
    return OnnxEngine(
        model_file=manifest.path_of(variant.files[0]),
        variant=variant.name,
        threads=threads,
        provider=provider,
        signature=signature_of(manifest),
    )


def _torch(manifest: Manifest, variant: Variant) -> TorchEngine:
    return TorchEngine(
        model_file=manifest.path_of(variant.files[0]),
        variant=variant.name,
        device=str(variant.engine.get("device", "cuda:0")),
        graphs=bool(variant.engine.get("graphs", False)),
        signature=signature_of(manifest),
    )


def _require(manifest: Manifest, variant: Variant) -> None:
    """INT8 made for one kind of dot product answers differently on another: better left out than wrong."""
    wanted = _requires(manifest, variant).get("isa_any") or []
    if not wanted:
        return
    host = describe_host()["isa"]
    assert isinstance(host, list)
    if not set(wanted) & set(host):
        raise DependencyMissing(
            f"{variant.name} was made for a CPU with one of {', '.join(wanted)}; this one has "
            f"{', '.join(host) or 'none of those known'}. Build the variants on this machine with `greenserve optimize`"
        )


def _requires(manifest: Manifest, variant: Variant) -> Mapping[str, Any]:
    entries = (entry for entry in manifest.document["variants"] if entry["name"] == variant.name)
    requires: Mapping[str, Any] = next(entries).get("requires") or {}
    return requires
