"""Say of every arc why it answers or not, in words that a person can act on."""

from collections.abc import Iterator
from typing import NamedTuple

from greenserve.routing.cost import Terms
from greenserve.routing.judge import Judgement, lost_by
from greenserve.routing.records import Arc
from greenserve.units import MILLI

UG_PER_G = 1_000_000


class Verdict(NamedTuple):
    """One arc, its terms where its cost is known, whether it was picked, and why."""

    arc: Arc
    terms: Terms | None
    picked: bool
    text: str


def verdicts(judgement: Judgement) -> Iterator[Verdict]:
    """Every arc of the snapshot: the ranked ones best first, then those that cannot answer."""
    view, terms, kept = judgement.view, judgement.terms, judgement.kept
    for place, index in enumerate(kept):
        text = f"picked: {judgement.reason}" if place == 0 else _beaten(terms[kept[0]], terms[index])
        yield Verdict(view.priced[index].arc, terms[index], place == 0, text)
    ranked = frozenset(kept)
    for index, candidate in enumerate(view.priced):
        if index not in ranked:
            yield Verdict(candidate.arc, terms[index], False, f"inadmissible: {_excluded(judgement, index)}")
    for arc in view.unpriced:
        picked = arc is judgement.lone
        text = f"picked: {judgement.reason}" if picked else "inadmissible: energy unknown, no profile"
        yield Verdict(arc, None, picked, text)
    for arc, why in view.rejected:
        yield Verdict(arc, None, False, why if why.startswith("dominated") else f"inadmissible: {why}")


def _beaten(winner: Terms, loser: Terms) -> str:
    by = lost_by(winner, loser)
    if by == "tie":
        return "beaten: equal score, settled by time, quality, place and name"
    if by == "slower":
        return f"beaten: slower by {(loser.eta_s - winner.eta_s) * MILLI:.3g} ms"
    return f"beaten: {by}, +{(loser.score_g - winner.score_g) * UG_PER_G:.3g} ug"


def _excluded(judgement: Judgement, index: int) -> str:
    if index in judgement.guarded:
        quality = judgement.view.priced[index].arc.quality
        return f"quality {quality:.3f} while the mean {judgement.promise.mean:.3f} is owed"
    eta_s = judgement.terms[index].eta_s
    if judgement.limit_s <= 0:
        return "no time left"
    return f"ETA {eta_s * MILLI:.0f} ms over {judgement.limit_s * MILLI:.0f} ms (95 % of the time allowed)"
