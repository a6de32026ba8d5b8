"""Zones and cloud regions: who covers them, and how they are found."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from greenserve.carbon.factors.tables import cloud_regions, zones
from greenserve.carbon.feeds.coverage import OWN, Place, matching, nearest, places_of

COVERED = {"entso-e": frozenset({"DE", "gcp:europe-west3"}), "annual-2": frozenset({"DE", "MINE"})}
PLACES = places_of(COVERED)
BY_ZONE = {one.zone: one for one in PLACES}


def test_every_zone_and_cloud_region_is_there_once() -> None:
    """The shipped tables, NESO's regions, and what a source of the user's own names."""
    assert len(BY_ZONE) == len(PLACES)
    assert {*zones(), *cloud_regions(), "neso:1", "neso:17", "MINE"} <= set(BY_ZONE)


def test_a_place_names_who_covers_it_and_who_else_could() -> None:
    """A kind that is configured is not offered again; the second source of a kind keeps its number."""
    wanted = Place(
        zone="DE",
        name="Germany",
        country="DEU",
        stands_in=None,
        configured=("entso-e", "annual-2"),
        offered=("electricity-maps",),
    )

    assert wanted == BY_ZONE["DE"]
    assert ("in DE, Germany", "DE", ("entso-e",)) == (
        BY_ZONE["gcp:europe-west3"].name,
        BY_ZONE["gcp:europe-west3"].stands_in,
        BY_ZONE["gcp:europe-west3"].configured,
    )
    assert (OWN, None, ()) == (BY_ZONE["MINE"].name, BY_ZONE["MINE"].country, BY_ZONE["MINE"].offered)
    assert ("London", "GBR", ("neso",)) == (
        BY_ZONE["neso:13"].name,
        BY_ZONE["neso:13"].country,
        BY_ZONE["neso:13"].offered,
    )


@pytest.mark.parametrize(
    ("text", "first"),
    [("de", "DE"), ("GERMANY", "DE"), ("deu", "DE"), ("london", "neso:13"), ("west3", "gcp:europe-west3")],
)
def test_a_place_is_found_by_zone_name_and_country(text: str, first: str) -> None:
    """Whatever the case."""
    assert first in [one.zone for one in matching(PLACES, text)]


def test_an_exact_zone_is_not_lost_among_those_that_contain_it() -> None:
    """`DE` is not Sweden, which has it in its name; the cloud regions in it come along."""
    found = [one.zone for one in matching(PLACES, "de")]

    assert "gcp:europe-west3" in found
    assert "SE" not in found
    assert "DE-LU" not in found


@pytest.mark.parametrize(
    ("typo", "meant"), [("germny", "DE"), ("swedn", "SE"), ("gcp:europ-west3", "gcp:europe-west3")]
)
def test_a_typo_leads_to_the_nearest(typo: str, meant: str) -> None:
    """By zone or by name."""
    assert [] == matching(PLACES, typo)
    assert meant in nearest(PLACES, typo)


def test_nothing_like_it_has_no_nearest() -> None:
    """A guess that is far off helps nobody."""
    assert [] == nearest(PLACES, "zzzzzzzzzz")


@settings(max_examples=50)
@given(st.sampled_from(PLACES))
def test_every_place_is_found_by_its_own_name(place: Place) -> None:
    """Nothing in the list is out of reach of the search."""
    assert place in matching(PLACES, place.zone)
    assert place in matching(PLACES, place.name) or place.stands_in is not None
