"""The heatmap: whole XML, a number in every cell, readable on every ground."""

from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from greenserve.carbon.formats.heatmap import Captioned, colour, finding, heatmap_svg, ink, luminance
from greenserve.carbon.grid_profile import GridProfile, profile_of
from tests.carbon.test_grid_profile import at

SVG = "{http://www.w3.org/2000/svg}"


def a_profile(zone: str = "DE", *, known: int = 24) -> GridProfile:
    """A day of January, 100 g/kWh at midnight and 10 more each hour."""
    found = profile_of(zone, [at(hour, 100_000 + 10_000 * hour) for hour in range(known)], 2022)
    assert found is not None
    return found


def test_panels_share_a_scale_and_say_where_they_are_from() -> None:
    """Two zones of which one has a name that would break the XML: it does not."""
    text = heatmap_svg(
        [Captioned(profile=a_profile(), source="recorded"), Captioned(profile=a_profile("A<B&C"), source="<x>")],
        clock="UTC",
    )

    drawn = ElementTree.fromstring(text)
    said = [node.text or "" for node in drawn.iter(f"{SVG}text")]
    assert {"DE 2022", "A<B&C 2022", "<x>", "recorded"} <= set(said)
    assert 4 == said.count("330")
    assert "lowest at 00h in Jan (100 g/kWh)" in (drawn.findtext(f"{SVG}desc") or "")
    assert "img" == drawn.get("role")
    assert text == heatmap_svg(
        [Captioned(profile=a_profile(), source="recorded"), Captioned(profile=a_profile("A<B&C"), source="<x>")],
        clock="UTC",
    )


def test_an_unknown_cell_is_a_question_mark() -> None:
    """Of 24 hours and 12 months one cell is known, and its two means; all else says so."""
    drawn = ElementTree.fromstring(heatmap_svg([Captioned(profile=a_profile(known=1), source="s")], clock="UTC"))

    said = [node.text for node in drawn.iter(f"{SVG}text")]
    assert 24 * 12 - 1 + 23 + 11 == said.count("?")
    assert "0" not in said


def test_the_finding_names_both_ends() -> None:
    """Hour, month and value of each."""
    wanted = "DE 2022: lowest at 00h in Jan (100 g/kWh), highest at 23h in Jan (330 g/kWh), mean 215."

    assert wanted == finding(a_profile())


def test_nothing_to_draw_is_refused() -> None:
    """An empty picture would look like an answer."""
    with pytest.raises(ValueError, match="at least one profile"):
        heatmap_svg([], clock="UTC")


@settings(max_examples=100)
@given(st.integers(0, 1000), st.integers(0, 1000), st.integers(0, 1000))
def test_numbers_stand_out_on_every_ground(one: int, two: int, three: int) -> None:
    """WCAG 2 contrast of at least 4.5; a scale without width has one colour."""
    low, value, high = sorted((one, two, three))
    ground = colour(value, low, high)
    bright, letters = luminance(ground), 0.0 if ink(ground) == "#000" else 1.0

    assert 4.5 <= (max(bright, letters) + 0.05) / (min(bright, letters) + 0.05)
    assert luminance(colour(low, low, high)) >= bright >= luminance(colour(high, low, high))
