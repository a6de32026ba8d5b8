"""What the Open Inference Protocol says of the server and its models: one JSON document each, for both protocols."""

from collections.abc import Iterable
from types import MappingProxyType

from greenserve import __version__
from greenserve.manifest import TensorSpec
from greenserve.serve.models import ServedModel
from greenserve.serve.statistics import Duration, ModelStatistics, Statistics

PLATFORM = "greenserve"
EXTENSIONS = ("binary_tensor_data", "model_configuration", "schedule_policy", "statistics")
TYPES = MappingProxyType({"BYTES": "TYPE_STRING"})
Document = dict[str, object]


def server_metadata() -> Document:
    """Name, version, extensions."""
    return {"name": PLATFORM, "version": __version__, "extensions": list(EXTENSIONS)}


def metadata_of(model: ServedModel) -> Document:
    """A model's versions, inputs and outputs."""
    return {
        "name": model.name,
        "versions": [model.version],
        "platform": PLATFORM,
        "inputs": [_tensor(spec) for spec in model.task.inputs],
        "outputs": [_tensor(spec) for spec in model.task.outputs],
    }


def config_of(model: ServedModel) -> Document:
    """A model's configuration by the field names of the protocol's model configuration.

    `max_batch_size` is 0, and the shapes are whole, where a tensor has no axis but that of the batch, as texts have.
    """
    specs = (*model.task.inputs, *model.task.outputs)
    most = max((variant.max_batch for variant in model.variants.values()), default=1)
    batched = all(len(spec.shape) > 1 for spec in specs)
    return {
        "name": model.name,
        "platform": PLATFORM,
        "backend": PLATFORM,
        "version_policy": {"specific": {"versions": [model.manifest.version]}},
        "max_batch_size": most if batched else 0,
        "input": [_config_tensor(spec, batched=batched) for spec in model.task.inputs],
        "output": [_config_tensor(spec, batched=batched) for spec in model.task.outputs],
        "dynamic_batching": {},
        "parameters": {
            "greenserve_task": {"string_value": model.manifest.task},
            "greenserve_variants": {"string_value": ",".join(model.variants)},
            "greenserve_recommended": {"string_value": model.manifest.recommended},
            "greenserve_max_batch": {"string_value": str(most)},
        },
    }


def index_of(models: Iterable[ServedModel], *, ready: bool) -> list[Document]:
    """The model repository: what is served, and whether it takes requests now."""
    state, reason = ("READY", "") if ready else ("UNAVAILABLE", "the gateway is not ready")
    return [{"name": model.name, "version": model.version, "state": state, "reason": reason} for model in models]


def statistics_of(models: Iterable[ServedModel], statistics: Statistics) -> Document:
    """The statistics extension's document; times in ns, `last_inference` in Unix ms.

    What was never asked or not measured is absent. `variants` is ours: the same counters by variant.
    """
    found: list[Document] = []
    for model in models:
        whole = statistics.of(model.name, model.version)
        variants = statistics.by_variant(model.name, model.version)
        found.append(
            {"name": model.name, "version": model.version}
            | _counters(whole)
            | {"variants": [{"name": name} | _counters(each) for name, each in variants.items()]}
        )
    return {"model_stats": found}


def _counters(given: ModelStatistics) -> Document:
    durations = given.durations
    asked = {} if given.last_inference_ms is None else {"last_inference": given.last_inference_ms}
    return asked | {
        "inference_count": given.inference_count,
        "execution_count": given.execution_count,
        "inference_stats": {kind: _duration(duration) for kind, duration in durations.items()},
        "batch_stats": [
            {"batch_size": size, "compute_infer": _duration(duration)} for size, duration in given.batches.items()
        ],
    }


def _duration(duration: Duration) -> Document:
    return {"count": duration.count, "ns": duration.ns}


def _tensor(spec: TensorSpec) -> Document:
    return {"name": spec.name, "datatype": spec.datatype, "shape": list(spec.shape)}


def _config_tensor(spec: TensorSpec, *, batched: bool) -> Document:
    return {
        "name": spec.name,
        "data_type": TYPES.get(spec.datatype, f"TYPE_{spec.datatype}"),
        "dims": list(spec.shape[1:] if batched else spec.shape),
    }
