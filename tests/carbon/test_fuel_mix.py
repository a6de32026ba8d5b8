"""E13: intensity from what is burnt, exact, and unknown where too little of it is known."""

from fractions import Fraction

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from greenserve.carbon.fuel_mix import mix_intensity

FACTORS = {"coal": 820_000, "gas": 490_000, "wind": 11_000}
amounts = st.fractions(min_value=-100, max_value=10_000, max_denominator=1_000)
mixes = st.dictionaries(st.sampled_from([*FACTORS, "storage", "imports", "fusion"]), amounts)


def test_a_mix_is_the_mean_of_its_factors_weighted_by_energy() -> None:
    """300 of coal and 700 of wind: 0.3 x 820 + 0.7 x 11 g/kWh."""
    mix = mix_intensity({"coal": Fraction(300), "wind": Fraction(700)}, FACTORS)

    assert mix is not None
    assert (253_700, Fraction(1), ()) == (mix.mg_per_kwh, mix.known, mix.unknown_fuels)


def test_halves_are_rounded_to_the_even_integer() -> None:
    """Like every other rounding of the ledger."""
    mix = mix_intensity({"a": Fraction(1), "b": Fraction(1)}, {"a": 2, "b": 3})

    assert mix is not None
    assert 2 == mix.mg_per_kwh


def test_storage_imports_and_own_use_are_no_generation() -> None:
    """Discharge was generated before, imports elsewhere; a negative value takes nothing from the others."""
    plain = mix_intensity({"gas": Fraction(5)}, FACTORS)

    assert plain == mix_intensity(
        {"gas": Fraction(5), "storage": Fraction(100), "imports": Fraction(50), "coal": Fraction(-3)}, FACTORS
    )


@pytest.mark.parametrize(("fusion", "known"), [(10, True), (Fraction("10.001"), False)])
def test_a_tenth_may_be_unknown_and_no_more(fusion: Fraction, known: bool) -> None:
    """90 % of known fuels is enough; below it there is no reading, and never a guess."""
    mix = mix_intensity({"gas": Fraction(90), "fusion": Fraction(fusion)}, FACTORS)

    assert known == (mix is not None)
    if mix is not None:
        assert (490_000, ("fusion",)) == (mix.mg_per_kwh, mix.unknown_fuels)


@pytest.mark.parametrize("generated", [{}, {"coal": Fraction(0)}, {"storage": Fraction(9)}, {"coal": Fraction(-1)}])
def test_nothing_generated_is_unknown(generated: dict[str, Fraction]) -> None:
    """Never zero grams."""
    assert mix_intensity(generated, FACTORS) is None


def test_a_negative_factor_is_refused() -> None:
    """Whoever made that table made a mistake."""
    with pytest.raises(ValueError, match="a factor is >= 0"):
        mix_intensity({"coal": Fraction(1)}, {"coal": -1})


@given(mixes)
def test_a_mix_lies_between_its_cleanest_and_its_dirtiest_fuel(generated: dict[str, Fraction]) -> None:
    """A mean cannot lie outside."""
    mix = mix_intensity(generated, FACTORS)
    assume(mix is not None)
    assert mix is not None

    burnt = [FACTORS[fuel] for fuel, amount in generated.items() if fuel in FACTORS and amount > 0]
    assert min(burnt) <= mix.mg_per_kwh <= max(burnt)
    assert Fraction(9, 10) <= mix.known <= 1


@given(mixes, st.fractions(min_value=Fraction(1, 1000), max_value=1000, max_denominator=1000))
def test_the_unit_of_the_amounts_does_not_matter(generated: dict[str, Fraction], times: Fraction) -> None:
    """MW, MWh or percent: shares count alone."""
    scaled = {fuel: amount * times for fuel, amount in generated.items()}

    assert mix_intensity(generated, FACTORS) == mix_intensity(scaled, FACTORS)


@given(mixes, st.integers(1, 10_000))
def test_more_coal_never_makes_a_mix_cleaner(generated: dict[str, Fraction], more: int) -> None:
    """Coal is the dirtiest fuel of the table."""
    dirtier = generated | {"coal": max(Fraction(0), generated.get("coal", Fraction(0))) + more}
    before, after = mix_intensity(generated, FACTORS), mix_intensity(dirtier, FACTORS)
    assume(before is not None)
    assert before is not None

    assert after is not None
    assert before.mg_per_kwh <= after.mg_per_kwh
