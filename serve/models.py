"""The models that this gateway serves: manifest, tokenizer, engines and per-batch costs, loaded once."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from greenserve.carbon.shapley import BatchCost
from greenserve.config import Config, Model
from greenserve.errors import ManifestInvalid, ModelUnknown
from greenserve.inputs import TextEncoder
from greenserve.manifest import Manifest, Profile, Variant, load_manifest, verify_files
from greenserve.ports import Engine
from greenserve.records import Batch, Row

OUTPUTS = ("label", "probabilities")

EngineFactory = Callable[[Path, str], Engine]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedVariant:
    """A loaded variant, `key` = model/variant; `profile` is its cost on this host (None: never measured)."""

    key: str
    variant: Variant
    engine: Engine
    cost: BatchCost
    profile: Profile | None
    max_batch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedModel:
    """A model that answers: its configuration, manifest, tokenizer and the variants that loaded."""

    settings: Model
    manifest: Manifest
    encoder: TextEncoder
    variants: Mapping[str, ServedVariant]

    @property
    def name(self) -> str:
        """The name that clients use."""
        return self.settings.name

    @property
    def version(self) -> str:
        """The manifest's version, as the protocols show it."""
        return str(self.manifest.version)


class Models:
    """The served models by name."""

    def __init__(self, models: Sequence[ServedModel]) -> None:
        self._by_name = MappingProxyType({model.name: model for model in models})

    def __iter__(self) -> Iterator[ServedModel]:
        return iter(self._by_name.values())

    def find(self, name: str, version: str = "") -> ServedModel:
        """The model of that name (and version, where one is given); raises ModelUnknown."""
        model = self._by_name.get(name)
        if model is None:
            raise ModelUnknown(f"no model {name!r} is served here; served are {', '.join(sorted(self._by_name))}")
        if version and version != model.version:
            raise ModelUnknown(f"model {name!r} has version {model.version} here, not {version!r}")
        return model


def load_models(config: Config, *, engine_for: EngineFactory, fingerprint: str) -> Models:
    """Read manifests, check file digests, load and warm up every variant.

    Raises ManifestInvalid with every finding: a changed file is never served.
    """
    return Models([_load_model(model, engine_for, fingerprint) for model in config.models])


def verified_manifest(path: Path) -> Manifest:
    """The manifest, after every file that it names was compared with its digest; raises ManifestInvalid."""
    manifest = load_manifest(path)
    if findings := verify_files(manifest):
        raise ManifestInvalid(
            f"{path} does not verify; build the variants again with `greenserve optimize`:\n" + "\n".join(findings)
        )
    return manifest


def _load_model(settings: Model, engine_for: EngineFactory, fingerprint: str) -> ServedModel:
    manifest = verified_manifest(settings.manifest)
    pre = manifest.preprocessing
    encoder = TextEncoder(
        tokenizer_file=manifest.path_of(pre.files[0]), max_length=pre.max_length, truncate=pre.truncate
    )
    variants = {}
    for variant in manifest.variants:
        engine = engine_for(manifest.path_of(variant.files[0]), variant.name)
        engine.load()
        _warm_up(engine, variant.name)
        profile = variant.profile_for(fingerprint)
        cost = BatchCost.from_coefficients(profile.e_dynamic_j if profile else (0.0, 0.0, 1.0, 0.0))
        variants[variant.name] = ServedVariant(
            key=f"{settings.name}/{variant.name}",
            variant=variant,
            engine=engine,
            cost=cost,
            profile=profile,
            max_batch=min(settings.batching.max_batch, variant.max_batch),
        )
    return ServedModel(settings=settings, manifest=manifest, encoder=encoder, variants=MappingProxyType(variants))


def _warm_up(engine: Engine, variant: str) -> None:
    for rows, length in ((1, 16), (4, 16), (1, 64)):
        batch = Batch(
            batch_id="warm-up",
            variant=variant,
            rows=tuple(Row(request_id="warm-up", index=index, token_ids=(101,) * length) for index in range(rows)),
            padded_length=length,
        )
        outputs, _ = engine.run(batch)
        if len(outputs["logits"]) != rows:
            raise ManifestInvalid(f"{variant} answered {len(outputs['logits'])} rows for {rows}")
