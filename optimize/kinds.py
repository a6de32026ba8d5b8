"""The tasks that the optimizer builds for: what the graph answers, what is measured, what is offered unasked."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from greenserve.errors import InvalidRequest

CLASSIFICATION = "text-classification"
EMBEDDING = "text-embedding"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A task: the graph's `output`, the `metric` of quality with its column `heading`, and defaults.

    `max_drop_points` is the gate on the metric where the user names none; `families` are built unasked.
    """

    name: str
    output: str
    output_kind: str
    metric: str
    heading: str
    max_drop_points: float
    families: tuple[str, ...]
    model_name: str


KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        CLASSIFICATION: Kind(
            name=CLASSIFICATION,
            output="logits",
            output_kind="class_logits",
            metric="accuracy",
            heading="acc %",
            max_drop_points=1.0,
            families=("int8-dyn", "drop", "static"),
            model_name="sentiment",
        ),
        EMBEDDING: Kind(
            name=EMBEDDING,
            output="sentence_embedding",
            output_kind="embedding",
            metric="recall_at_10",
            heading="rec %",
            max_drop_points=15.0,
            # A token table needs the encoder's word on the whole vocabulary first, and aligns poorly: on request only.
            families=("int8-dyn", "drop"),
            model_name="embeddings",
        ),
    }
)


def kind_named(name: str) -> Kind:
    """The task of that name; raises InvalidRequest otherwise."""
    if name not in KINDS:
        raise InvalidRequest(f"--task is {name!r}; allowed are {', '.join(KINDS)}")
    return KINDS[name]
