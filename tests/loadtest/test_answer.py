"""Costs read back from answers."""

import pytest

from greenserve.loadtest.answer import Cost, cost_of


def test_the_exact_headers_are_read() -> None:
    """Integers with their unit, tier, route without its parameters, cache."""
    cost = cost_of(
        {
            "greenserve-energy": "33120;u=uJ;low=21528;high=44712;tier=modelled;state=provisional",
            "greenserve-carbon": "1985;u=ng;zone=GB;intensity=215800",
            "greenserve-route": "here/int8-dyn;reason=carbon",
            "greenserve-cache": "miss",
        }
    )

    assert Cost(33120, "modelled", 1985, "here/int8-dyn", "miss") == cost


def test_the_plain_twins_stand_in() -> None:
    """Without the structured headers the decimal ones count, exactly; they state no tier."""
    cost = cost_of({"greenserve-energy-joules": "0.03312", "greenserve-carbon-grams": "0.000001985"})

    assert Cost(energy_uj=33120, emissions_ng=1985) == cost


@pytest.mark.parametrize(
    "header", ["", "unknown", "12", "12;u=J", "-5;u=uJ", "1.5;u=uJ", "nan;u=uJ", "²;u=uJ", ";u=uJ"]
)
def test_what_is_not_a_cost_is_unknown(header: str) -> None:
    """No header, another unit, a sign or a word: None, never 0."""
    assert cost_of({"greenserve-energy": header, "greenserve-energy-joules": "NaN"}).energy_uj is None
    assert Cost() == cost_of({})
