"""The masks that hold for a whole class of requests: floor, residency, pins, dominance."""

from dataclasses import replace

from greenserve.routing.records import Arc, Promise, Snapshot
from greenserve.routing.view import prune, view_of


def a_promise(*, floor: float = 0.0, regions: frozenset[str] | None = None, variant: str | None = None) -> Promise:
    return Promise(floor=floor, mean=floor, policy="min-carbon", regions=regions, variant=variant, latency_s=0.25)


def names(arcs: list[Arc]) -> list[str]:
    return sorted(arc.name for arc in arcs)


def test_each_rejected_arc_has_its_reason(profile_c: Snapshot) -> None:
    """Floor and residency reject with the figures that decide."""
    view = view_of(profile_c, a_promise(floor=0.9, regions=frozenset({"gb"})))

    reasons = {arc.name: why for arc, why in view.rejected}
    assert ["gb/large-fp32", "gb/large-int8"] == sorted(one.arc.name for one in view.priced)
    assert "quality 0.893 under the floor 0.900" == reasons["gb/half-int8"]
    assert "residency: only gb" == reasons["de/large-fp32"]


def test_a_dominated_arc_is_dropped_in_its_own_region_only(profile_c: Snapshot) -> None:
    """Slower, dearer and no better: gone at home, though the same variant stays elsewhere."""
    base = next(arc for arc in profile_c.arcs if arc.name == "de/half-int8")
    assert base.theta is not None
    worse = replace(base, variant="worse", theta=(base.theta[0] * 2, *base.theta[1:]))
    abroad = replace(worse, region="gb", pool="gb")

    assert ["de/half-int8", "gb/worse"] == names(prune([base, worse, abroad]))


def test_an_arc_that_is_better_in_one_respect_stays(profile_c: Snapshot) -> None:
    """Quality, time, energy, tail and batch size each keep an arc; equal twins both stay."""
    base = next(arc for arc in profile_c.arcs if arc.name == "de/half-int8")
    assert base.theta is not None
    slower = replace(base, theta=(base.theta[0] * 2, *base.theta[1:]))
    twins = [base, replace(base, variant="twin")]
    better = [
        replace(slower, variant="quality", quality=0.9),
        replace(slower, variant="energy", eta=(0.0, 0.0, 0.0, 0.0)),
        replace(slower, variant="batch", max_batch=64),
        replace(slower, variant="unknown", eta=None),
    ]

    assert names(twins) == names(prune(twins))
    assert names([base, *better]) == names(prune([base, *better]))


def test_a_pin_bypasses_dominance(profile_c: Snapshot) -> None:
    """Who asks for a variant by name gets it, dominated or not."""
    base = next(arc for arc in profile_c.arcs if arc.name == "de/half-int8")
    snapshot = replace(profile_c, arcs=(base, replace(base, variant="worse", quality=0.5)))

    assert ["de/half-int8"] == [one.arc.name for one in view_of(snapshot, a_promise()).priced]
    assert ["de/worse"] == [one.arc.name for one in view_of(snapshot, a_promise(variant="worse")).priced]


def test_the_scales_come_from_the_class(profile_c: Snapshot) -> None:
    """g_ref: the best variant at home; slope and spread: the whole class's range."""
    view = view_of(profile_c, a_promise(floor=0.86))

    home_g = 30.0 * (0.004 + 0.002 + 0.00025 * 64) * 478 * 1.2 / 3.6e6
    assert abs(view.g_ref - home_g) < 1e-12
    assert abs(view.spread - (0.910 - 0.872)) < 1e-12
    assert view.slope > 0
