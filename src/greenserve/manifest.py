"""The manifest of a model's variants (`greenserve.manifest/1`): records, reader, digests.

The optimizer writes the whole document; this reader takes what serving and routing need and checks the files.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from greenserve.canonical import canonical_json, sha256_hex
from greenserve.errors import ManifestInvalid
from greenserve.records import TIERS, Tier

SCHEMA = "greenserve.manifest/1"
TASKS = ("text-classification", "text-embedding", "tensor")


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorSpec:
    """An input or output of a model: name, datatype of the Open Inference Protocol, shape; -1 is any size.

    The first axis is the batch.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Embedding:
    """The size of an embedding model's vectors, and whether shorter ones may be cut from them."""

    dimensions: int
    matryoshka: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class FileRef:
    """A file of the variants folder: path relative to the manifest, size [bytes], SHA-256."""

    path: str
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Preprocessing:
    """How text becomes tokens: the tokenizer's files, longest input [tokens], bucket edges [tokens]."""

    max_length: int
    truncate: str
    buckets: tuple[int, ...]
    files: tuple[FileRef, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """A variant's cost on one host, over phi = [1, b, bL, bL^2]: t_s . phi [s], e_dynamic_j . phi [J] per batch."""

    fingerprint: str
    tier: Tier
    t_s: tuple[float, ...]
    e_dynamic_j: tuple[float, ...]
    q99: float
    idle_w: float | None
    held_w: float | None

    def seconds(self, *, batch: float, length: float) -> float:
        """Predicted time of a batch [s]."""
        return sum(map(float.__mul__, self.t_s, (1.0, float(batch), batch * length, batch * length * length)))

    def joules(self, *, batch: float, length: float) -> float:
        """Predicted dynamic energy of a batch [J]."""
        return sum(map(float.__mul__, self.e_dynamic_j, (1.0, float(batch), batch * length, batch * length * length)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One artefact with its engine options, proven quality (`value_low`: lower 95 % bound) and profiles.

    Vectors of variants of one `embedding_space` may stand in one index; None where the model gives no vectors.
    """

    name: str
    digest: str
    family: str
    precision: str
    files: tuple[FileRef, ...]
    engine: Mapping[str, Any]
    value: float
    value_low: float
    verdict: str
    max_batch: int
    batch_invariant: bool
    embedding_space: str | None
    profiles: tuple[Profile, ...]

    def profile_for(self, fingerprint: str) -> Profile | None:
        """The profile measured on this host, else the first one (a prior), else None."""
        matching = [profile for profile in self.profiles if profile.fingerprint == fingerprint]
        return next(iter(matching or self.profiles), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """A model's variants, baseline first; `folder` is where the paths start.

    A text task has preprocessing; a tensor task has none and declares its `inputs` and `outputs` instead.
    """

    folder: Path
    name: str
    version: int
    task: str
    labels: tuple[str, ...]
    preprocessing: Preprocessing | None
    embedding: Embedding | None
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    variants: tuple[Variant, ...]
    baseline: str
    recommended: str
    front: tuple[str, ...]
    digest: str
    document: Mapping[str, Any]

    def variant(self, name: str) -> Variant:
        """The variant of that name; KeyError otherwise."""
        return {variant.name: variant for variant in self.variants}[name]

    def is_interchangeable(self, variant: Variant) -> bool:
        """Whether its answers may stand for those of the recommended one: vectors must lie in the same space."""
        return variant.embedding_space == self.variant(self.recommended).embedding_space

    def path_of(self, file: FileRef) -> Path:
        """Where a file of this manifest lies."""
        return self.folder / file.path


def load_manifest(path: Path) -> Manifest:
    """Read and check a manifest; raises ManifestInvalid with what is wrong and what to do."""
    try:
        data = path.read_bytes()
        document = json.loads(data)
    except FileNotFoundError:
        raise ManifestInvalid(f"no manifest at {path}; build one with `greenserve optimize demo:minilm`") from None
    except (OSError, ValueError) as error:
        raise ManifestInvalid(f"{path} is not a readable JSON file: {error}") from None
    if not isinstance(document, dict) or document.get("schema") != SCHEMA:
        given = document.get("schema") if isinstance(document, dict) else type(document).__name__
        raise ManifestInvalid(f"{path} has schema {given!r}; this version reads {SCHEMA!r}")
    try:
        return _manifest(path.parent, document, sha256_hex(data))
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise ManifestInvalid(
            f"{path} lacks or mistypes a member: {error!r}; rebuild it with `greenserve optimize`"
        ) from None


def verify_files(manifest: Manifest) -> list[str]:
    """Findings about files that are missing or changed since the manifest was written; empty when all agree."""
    wanted = list(manifest.preprocessing.files) if manifest.preprocessing else []
    for variant in manifest.variants:
        wanted.extend(variant.files)
    findings = []
    for file in wanted:
        path = manifest.path_of(file)
        if not path.is_file():
            findings.append(f"{file.path}: missing")
        elif (given := file_sha256(path)) != file.sha256:
            findings.append(f"{file.path}: SHA-256 is {given}, the manifest says {file.sha256}")
    return findings


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def file_ref(folder: Path, path: Path) -> FileRef:
    """The reference of a file below `folder`."""
    return FileRef(path=path.relative_to(folder).as_posix(), bytes=path.stat().st_size, sha256=file_sha256(path))


def variant_digest(files: tuple[FileRef, ...], preprocessing: Mapping[str, Any], engine: Mapping[str, Any]) -> str:
    """What makes two variants the same to a cache or a ledger: files, preprocessing and engine options."""
    names = [{"path": file.path, "sha256": file.sha256} for file in files]
    return sha256_hex(canonical_json({"files": names, "preprocessing": dict(preprocessing), "engine": dict(engine)}))


def _manifest(folder: Path, document: dict[str, Any], digest: str) -> Manifest:
    task, pre, embedding = document["task"], document["preprocessing"], document.get("embedding")
    if task not in TASKS:
        raise ValueError(f"task is {task!r}, allowed are {TASKS}")
    if (pre is None) != (task == "tensor") or (embedding is None) != (task != "text-embedding"):
        raise ValueError(f"task {task}: a tensor model has no preprocessing, and only text-embedding has embedding")
    variants = tuple(_variant(entry) for entry in document["variants"])
    names = [variant.name for variant in variants]
    for role in ("baseline", "recommended"):
        if document[role] not in names:
            raise ValueError(f"{role} is {document[role]!r}, variants are {names}")
    return Manifest(
        folder=folder,
        name=str(document["name"]),
        version=int(document["version"]),
        task=task,
        labels=tuple(document["labels"]),
        preprocessing=_preprocessing(pre) if pre is not None else None,
        embedding=Embedding(**embedding) if embedding is not None else None,
        inputs=_specs(document["inputs"]) if task == "tensor" else (),
        outputs=_specs(document["outputs"]) if task == "tensor" else (),
        variants=variants,
        baseline=document["baseline"],
        recommended=document["recommended"],
        front=tuple(document["front"]),
        digest=digest,
        document=document,
    )


def _preprocessing(entry: dict[str, Any]) -> Preprocessing:
    return Preprocessing(
        max_length=int(entry["max_length"]),
        truncate=str(entry["truncate"]),
        buckets=tuple(sorted(map(int, entry["buckets"]))),
        files=_files(entry["files"]),
    )


def _specs(entries: list[dict[str, Any]]) -> tuple[TensorSpec, ...]:
    specs = tuple(
        TensorSpec(name=entry["name"], datatype=entry["datatype"], shape=tuple(map(int, entry["shape"])))
        for entry in entries
    )
    for spec in specs:
        if not spec.shape or spec.shape[0] != -1 or min(spec.shape) < -1:
            raise ValueError(f"tensor {spec.name} has shape {spec.shape}; the first axis is the batch, -1")
    return specs


def _variant(entry: dict[str, Any]) -> Variant:
    quality, properties = entry["quality"], entry["properties"]
    return Variant(
        name=entry["name"],
        digest=entry["digest"],
        family=entry["family"],
        precision=entry["precision"],
        files=_files(entry["files"]),
        engine=entry["engine"],
        value=float(quality["value"]),
        value_low=float(quality["value_low"]),
        verdict=quality["verdict"],
        max_batch=int(properties["max_batch"]),
        batch_invariant=bool(properties["batch_invariant"]),
        embedding_space=properties.get("embedding_space"),
        profiles=tuple(_profile(profile) for profile in entry["profiles"]),
    )


def _profile(profile: dict[str, Any]) -> Profile:
    if profile["tier"] not in TIERS:
        raise ValueError(f"tier is {profile['tier']!r}, allowed are {TIERS}")
    return Profile(
        fingerprint=profile["fingerprint"],
        tier=profile["tier"],
        t_s=tuple(map(float, profile["t_s"])),
        e_dynamic_j=tuple(map(float, profile["e_dynamic_j"])),
        q99=float(profile["q99"]),
        idle_w=profile["idle_w"],
        held_w=profile["held_w"],
    )


def _files(entries: list[dict[str, Any]]) -> tuple[FileRef, ...]:
    return tuple(FileRef(path=entry["path"], bytes=entry["bytes"], sha256=entry["sha256"]) for entry in entries)
