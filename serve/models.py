"""The models that this gateway serves: manifest, task, engines and per-batch costs, loaded once."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np

from greenserve.carbon.shapley import BatchCost
from greenserve.config import Config
from greenserve.errors import DependencyMissing, ManifestInvalid, ModelUnknown
from greenserve.inputs import TextEncoder
from greenserve.manifest import Manifest, Profile, TensorSpec, Variant, load_manifest, verify_files
from greenserve.ports import Engine
from greenserve.records import Batch, Item, TensorItem
from greenserve.sections import Model
from greenserve.serve.tasks import Task, task_of
from greenserve.serve.tensors import DTYPES

log = logging.getLogger("greenserve.models")
TENSOR_BUCKETS = (1,)
"""Tensors are never padded: all of a shape share one bucket."""

EXAMPLE_TOKENS = 16

EngineFactory = Callable[[Manifest, Variant], Engine]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedVariant:
    """A loaded variant, `key` = model/variant; `profile` is its cost on this host (None: never measured).

    `example` is an item that its engine has run before it served.
    """

    key: str
    variant: Variant
    engine: Engine
    task: Task
    input_names: tuple[str, ...]
    cost: BatchCost
    profile: Profile | None
    max_batch: int
    example: Item


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedModel:
    """A model that answers: its configuration, manifest, task and the variants that loaded.

    `left_out` says of each variant that this machine can't run why.
    """

    settings: Model
    manifest: Manifest
    task: Task
    variants: Mapping[str, ServedVariant]
    left_out: Mapping[str, str]

    @property
    def name(self) -> str:
        """The name that clients use."""
        return self.settings.name

    @property
    def version(self) -> str:
        """The manifest's version, as the protocols show it."""
        return str(self.manifest.version)

    @property
    def buckets(self) -> tuple[int, ...]:
        """Edges of the length buckets [tokens]."""
        return self.manifest.preprocessing.buckets if self.manifest.preprocessing else TENSOR_BUCKETS


class Models:
    """The served models by name."""

    def __init__(self, models: Sequence[ServedModel]) -> None:
        self._by_name = MappingProxyType({model.name: model for model in models})

    def __iter__(self) -> Iterator[ServedModel]:
        return iter(self._by_name.values())

    @property
    def names(self) -> frozenset[str]:
        """Under which names."""
        return frozenset(self._by_name)

    def replace(self, model: ServedModel) -> None:
        """Serve this from now on instead of the model of its name."""
        self._by_name = MappingProxyType({**self._by_name, model.name: model})

    def get(self, name: str) -> ServedModel | None:
        """The model of that name, or None."""
        return self._by_name.get(name)

    def find(self, name: str, version: str = "") -> ServedModel:
        """The model of that name (and version, where one is given); raises ModelUnknown."""
        model = self._by_name.get(name)
        if model is None:
            raise ModelUnknown(f"no model {name!r:.80} is served here; served are {', '.join(sorted(self._by_name))}")
        if version and version != model.version:
            raise ModelUnknown(f"model {name!r} has version {model.version} here, not {version!r:.80}")
        return model


def load_models(config: Config, *, engine_for: EngineFactory, fingerprint: str) -> Models:
    """Read manifests, check file digests, load and warm up every variant.

    Raises ManifestInvalid with every finding: a changed file is never served.
    """
    most = config.server.limits.max_items
    return Models([load_model(model, engine_for, fingerprint, max_items=most) for model in config.models])


def verified_manifest(path: Path) -> Manifest:
    """The manifest, after every file that it names was compared with its digest; raises ManifestInvalid."""
    manifest = load_manifest(path)
    if findings := verify_files(manifest):
        raise ManifestInvalid(
            f"{path} does not verify; build the variants again with `greenserve optimize`:\n" + "\n".join(findings)
        )
    return manifest


def load_model(
    settings: Model, engine_for: EngineFactory, fingerprint: str, *, max_items: int, warm_up: bool = True
) -> ServedModel:
    """One model, whole: verified, loaded, warmed up (unless its engines run elsewhere).

    Raises ManifestInvalid, or DependencyMissing for no variant.
    """
    manifest = verified_manifest(settings.manifest)
    task = task_of(manifest, _encoder_of(manifest), max_items=max_items)
    variants: dict[str, ServedVariant] = {}
    left_out: dict[str, str] = {}
    for variant in manifest.variants:
        if not manifest.is_interchangeable(variant):
            left_out[variant.name] = (
                f"its vectors do not lie in the space of {manifest.recommended}, so that answers of the two could not "
                "be compared; serve it as a model of its own"
            )
            continue
        try:
            engine = engine_for(manifest, variant)
            engine.load()
        except DependencyMissing as error:
            log.warning("%s/%s is left out: %s", settings.name, variant.name, error)
            left_out[variant.name] = str(error)
            continue
        served = _served(settings, manifest, variant, engine, task, fingerprint)
        if warm_up:
            _warm_up(served, manifest)
        variants[variant.name] = served
    if not variants:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in left_out.items())
        raise DependencyMissing(f"model {settings.name}: no variant runs on this machine: {reasons}")
    return ServedModel(
        settings=settings,
        manifest=manifest,
        task=task,
        variants=MappingProxyType(variants),
        left_out=MappingProxyType(left_out),
    )


def _served(
    settings: Model, manifest: Manifest, variant: Variant, engine: Engine, task: Task, fingerprint: str
) -> ServedVariant:
    profile = variant.profile_for(fingerprint)
    return ServedVariant(
        key=f"{settings.name}/{variant.name}",
        variant=variant,
        engine=engine,
        task=task,
        input_names=tuple(spec.name for spec in manifest.inputs),
        cost=BatchCost.from_coefficients(profile.e_dynamic_j if profile else (0.0, 0.0, 1.0, 0.0)),
        profile=profile,
        max_batch=min(settings.batching.max_batch, variant.max_batch),
        example=_example(manifest, EXAMPLE_TOKENS),
    )


def _encoder_of(manifest: Manifest) -> TextEncoder | None:
    pre = manifest.preprocessing
    if pre is None:
        return None
    return TextEncoder(tokenizer_file=manifest.path_of(pre.files[0]), max_length=pre.max_length, truncate=pre.truncate)


def _warm_up(served: ServedVariant, manifest: Manifest) -> None:
    longer = _example(manifest, 4 * EXAMPLE_TOKENS)
    for count, item in ((1, served.example), (4, served.example), (1, longer)):
        batch = Batch(
            batch_id="warm-up",
            variant=served.variant.name,
            rows=(item,) * min(count, served.max_batch),
            padded_length=len(item),
            input_names=served.input_names,
        )
        outputs, _ = served.engine.run(batch)
        answered = {name: len(array) for name, array in served.task.finish(outputs).items()}
        if set(answered.values()) != {len(batch.rows)}:
            raise ManifestInvalid(f"{served.key} answered {answered} rows for {len(batch.rows)}")


def _example(manifest: Manifest, tokens: int) -> Item:
    """So many tokens, or as many as the model takes; a slice of zeros of a model of tensors."""
    if manifest.inputs:
        return _zeros(manifest.inputs)
    return (101,) * (min(tokens, manifest.preprocessing.max_length) if manifest.preprocessing else 1)


def _zeros(specs: Sequence[TensorSpec]) -> TensorItem:
    """Axes of any size get 1."""
    arrays = []
    for spec in specs:
        shape = tuple(1 if size == -1 else size for size in spec.shape[1:])
        text = spec.datatype == "BYTES"
        arrays.append(np.full(shape, "0", dtype=object) if text else np.zeros(shape, dtype=DTYPES[spec.datatype]))
    return TensorItem(tuple(arrays))
