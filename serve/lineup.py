"""What the gateways of a run say that they serve, put together. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from greenserve.serve.models import Models

MODELS = "models"


@dataclass(frozen=True, slots=True, kw_only=True)
class Lineup:
    """By model: the variants that may answer, and those that do not run, each with the reason."""

    served: Mapping[str, list[str]]
    left_out: Mapping[str, Mapping[str, str]]


def told(models: Models) -> dict[str, dict[str, Any]]:
    """What one replica says of its models."""
    return {model.name: {"served": list(model.variants), "left_out": dict(model.left_out)} for model in models}


def lineup_of(states: Sequence[Mapping[str, Any]]) -> Lineup:
    """What all replicas say together: a variant is served if any of them runs it, and left out where one does not.

    On a cluster of unequal machines it may be both.
    """
    served: dict[str, list[str]] = {}
    left_out: dict[str, dict[str, str]] = {}
    for state in states:
        for model, said in state.get(MODELS, {}).items():
            names = served.setdefault(model, [])
            names.extend(name for name in said["served"] if name not in names)
            left_out[model] = dict(said["left_out"]) | left_out.get(model, {})
    return Lineup(served=served, left_out={model: reasons for model, reasons in left_out.items() if reasons})
