"""When a model's cache switches itself off and on again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenserve.serve.cache_watch import PROBES, WINDOW, Watch


def look(watch: Watch, lookups: int, *, hits: int = 0, run_j: float | None = None) -> None:
    """So many lookups, the first of which are hits; the others run."""
    for number in range(lookups):
        watch.looked()
        if number < hits:
            watch.found(run_j)
        else:
            watch.ran(run_j)


@pytest.mark.parametrize(("hits", "on"), [(19, False), (20, True)])
def test_under_two_percent_of_a_thousand_switch_off(hits: int, on: bool) -> None:
    """Judged at the lookup after the thousandth."""
    watch = Watch(lookup_j=0.0)
    look(watch, WINDOW, hits=hits)
    before = watch.on

    watch.looked()

    assert (True, on) == (before, watch.on)


def off() -> Watch:
    """A watch that misses have switched off."""
    watch = Watch(lookup_j=0.0)
    look(watch, WINDOW + 1)
    assert not watch.on
    return watch


@pytest.mark.parametrize(("hits", "on"), [(10, False), (11, True)])
def test_four_percent_of_the_probes_switch_on_again(hits: int, on: bool) -> None:
    """Eleven of 256: at once, since they cannot become fewer."""
    watch = off()

    look(watch, PROBES - 2, hits=hits)

    assert on == watch.on


def test_probes_of_different_windows_are_not_added_up() -> None:
    """Ten in each window of 256 never switch it on."""
    watch = off()

    for _ in range(20):
        look(watch, PROBES, hits=10)

    assert not watch.on


def test_items_that_joined_a_flight_count_as_hits() -> None:
    """They saved a run as well."""
    watch = Watch(lookup_j=0.0)

    for _ in range(WINDOW + 1):
        watch.looked()
        watch.joined()

    assert watch.on
    assert (WINDOW + 1, 0) == (watch.watched().joined, watch.watched().hits)


@pytest.mark.parametrize(("run_j", "on"), [(0.29, False), (0.31, True)])
def test_a_run_must_cost_three_lookups(run_j: float, on: bool) -> None:
    """Whatever the share of hits; here all of them."""
    watch = Watch(lookup_j=0.1)

    look(watch, WINDOW, hits=WINDOW // 2, run_j=run_j)
    watch.looked()

    assert on == watch.on


def test_hits_alone_do_not_switch_on_what_is_too_cheap_to_cache() -> None:
    """Its runs still cost less than three lookups."""
    watch = Watch(lookup_j=0.1)
    look(watch, WINDOW + 1, run_j=0.2)

    look(watch, 10 * PROBES, hits=10 * PROBES, run_j=0.2)

    assert "<Watch off (a run costs less than three lookups), 2560 of 3561>" == repr(watch)


def test_a_model_that_was_never_measured_is_judged_by_its_hits_alone() -> None:
    """Unknown joules are not few."""
    watch = Watch(lookup_j=0.1)

    look(watch, WINDOW + 1, hits=WINDOW // 2)

    assert watch.on
    assert (500, 500, 0.0) == (watch.watched().hits, watch.watched().unpriced, watch.watched().avoided_j)


def test_what_hits_avoid_is_added_up() -> None:
    """In joules; misses avoid nothing."""
    watch = Watch(lookup_j=0.0)

    look(watch, 10, hits=4, run_j=0.25)

    assert (10, 4, 0, 1.0, "") == (
        watch.watched().lookups,
        watch.watched().hits,
        watch.watched().unpriced,
        watch.watched().avoided_j,
        watch.watched().why,
    )


@given(st.lists(st.booleans(), max_size=5_000))
def test_a_watch_is_off_only_for_a_reason(found: list[bool]) -> None:
    """Its counts are those of what happened, whatever it switched."""
    watch = Watch(lookup_j=0.0)

    for hit in found:
        watch.looked()
        if hit:
            watch.found(1.0)

    assert (len(found), sum(found)) == (watch.watched().lookups, watch.watched().hits)
    assert watch.on == (watch.watched().why == "")
