"""The variants that no other one beats, and the one to use."""

from collections.abc import Sequence
from dataclasses import dataclass

JOULES_SLACK = 0.02
LOSS_SLACK_POINTS = 0.1
LATENCY_SLACK = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A variant's cost: joules per request [J], loss to the baseline [points], p95 [s] (None: not known)."""

    name: str
    verdict: str
    energy_j: float
    loss_points: float
    p95_s: float | None


def dominates(one: Candidate, other: Candidate) -> bool:
    """Whether `one` is nowhere worse than `other` and somewhere better by more than the slack.

    An unknown latency takes part in no comparison. The slack is 2 % of joules and latency and 0.1 point of loss.
    """
    pairs = [
        (one.energy_j, other.energy_j, JOULES_SLACK * other.energy_j),
        (one.loss_points, other.loss_points, LOSS_SLACK_POINTS),
    ]
    if one.p95_s is not None and other.p95_s is not None:
        pairs.append((one.p95_s, other.p95_s, LATENCY_SLACK * other.p95_s))
    return all(mine <= theirs for mine, theirs, _ in pairs) and any(
        mine < theirs - slack for mine, theirs, slack in pairs
    )


def front(candidates: Sequence[Candidate]) -> tuple[str, ...]:
    """Names of the candidates that none dominates, least loss first: the order in which a gateway falls back."""
    kept = [one for one in candidates if not any(dominates(other, one) for other in candidates)]
    return tuple(one.name for one in sorted(kept, key=lambda one: (one.loss_points, one.energy_j, one.name)))


def recommended(candidates: Sequence[Candidate]) -> str | None:
    """The candidate of least joules whose verdict is `pass`; None where none passed."""
    passed = [one for one in candidates if one.verdict == "pass"]
    return min(passed, key=lambda one: (one.energy_j, one.name)).name if passed else None
