"""The facts of an answer: names, spelling, exposure; what is unknown is absent."""

from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenserve.serve import names
from greenserve.serve.call import Answer
from tests.serve import building
from tests.serve.building import a_decision, a_usage

Exposure = Literal["off", "rounded", "exact"]


def an_answer(
    exposure: Exposure, *, energy_uj: int = 402_345, emissions_ng: int | None = 4_919, **changes: Any
) -> Answer:
    """An answer of one text."""
    usage = a_usage(
        request_id="r", active_uj=energy_uj, held_uj=0, host_uj=0, low_uj=energy_uj // 2, high_uj=2 * energy_uj
    )
    whole: dict[str, Any] = {
        "request_id": "0199",
        "usage": usage,
        "emissions_ng": emissions_ng,
        "times_ns": (("received", 1_000_000), ("admit", 3_000_000), ("model", 3_500_000)),
    }
    return building.an_answer(exposure=exposure, **(whole | changes))


def test_exact_exposure_shows_every_digit_and_the_bounds() -> None:
    """As structured fields, beside plain numbers in joules and grams."""
    assert {
        "GreenServe-Request-Id": "0199",
        "GreenServe-Route": "north/fp32;reason=carbon;emulated",
        "GreenServe-Cache": "miss",
        "GreenServe-Receipt": '"/v1/receipts/0199";state=provisional',
        "Server-Timing": "admit;dur=2.00, model;dur=0.50",
        "GreenServe-Energy": "402345;u=uJ;low=201172;high=804690;tier=class_average;state=provisional",
        "GreenServe-Energy-Joules": "0.402345",
        "GreenServe-Carbon": "4919;u=ng;zone=ZZ-NORTH;intensity=40000;pue=1.1;basis=lifecycle;origin=annual"
        ';provider="a test";state=provisional',
        "GreenServe-Carbon-Grams": "0.000004919",
    } == dict(names.facts_of(an_answer("exact")))


def test_parameters_say_the_same_as_the_headers() -> None:
    """Integers of the ledger, decimals as strings."""
    assert {
        "greenserve_request_id": "0199",
        "greenserve_variant": "fp32",
        "greenserve_region": "north",
        "greenserve_emulated": "true",
        "greenserve_reason": "carbon",
        "greenserve_cached": "miss",
        "greenserve_energy_uj": 402_345,
        "greenserve_energy_joules": "0.402345",
        "greenserve_tier": "class_average",
        "greenserve_state": "provisional",
        "greenserve_carbon_ng": 4_919,
        "greenserve_carbon_grams": "0.000004919",
    } == names.parameters_of(an_answer("exact"))


@given(st.integers(0, 10**15), st.integers(0, 10**15))
def test_rounded_exposure_never_shows_a_third_digit(energy_uj: int, emissions_ng: int) -> None:
    """In no header and no parameter, nor a range that would give it away; the figure is right to two digits."""
    answer = an_answer("rounded", energy_uj=energy_uj, emissions_ng=emissions_ng)

    facts, parameters = dict(names.facts_of(answer)), names.parameters_of(answer)

    for shown in (
        facts["GreenServe-Energy"].partition(";")[0],
        facts["GreenServe-Energy-Joules"],
        facts["GreenServe-Carbon"].partition(";")[0],
        facts["GreenServe-Carbon-Grams"],
        str(parameters["greenserve_energy_uj"]),
        str(parameters["greenserve_carbon_ng"]),
    ):
        assert len(shown.replace(".", "").strip("0")) <= 2, shown
    assert "low=" not in facts["GreenServe-Energy"]
    assert "high=" not in facts["GreenServe-Energy"]
    assert abs(int(parameters["greenserve_energy_uj"]) - energy_uj) <= max(0.05 * energy_uj, 0)


@pytest.mark.parametrize("exposure", ["rounded", "exact"])
def test_energy_is_never_shown_without_its_tier(exposure: Exposure) -> None:
    """Whoever reads the figure reads where it comes from."""
    answer = an_answer(exposure)

    assert "tier=class_average" in dict(names.facts_of(answer))["GreenServe-Energy"]
    assert "class_average" == names.parameters_of(answer)["greenserve_tier"]


@pytest.mark.parametrize(
    "answer",
    [an_answer("exact", emissions_ng=None), an_answer("exact", emissions_ng=None, decision=a_decision(intensity=None))],
    ids=["no emissions", "no intensity"],
)
def test_unknown_carbon_is_absent(answer: Answer) -> None:
    """Not zero, not empty: absent, while energy is shown."""
    shown = [*dict(names.facts_of(answer)), *names.parameters_of(answer)]

    assert [] == [name for name in shown if "carbon" in name.lower()]
    assert "GreenServe-Energy" in shown


def test_without_exposure_there_is_no_figure_at_all() -> None:
    """Neither energy nor carbon nor tier nor state."""
    answer = an_answer("off")

    shown = [*dict(names.facts_of(answer)), *names.parameters_of(answer)]
    assert [] == [name for name in shown if any(word in name.lower() for word in ("energy", "carbon", "tier", "state"))]
    facts = dict(names.facts_of(answer))
    assert ("north/fp32;reason=carbon;emulated", "withheld") == (facts["GreenServe-Route"], facts["GreenServe-Receipt"])


def test_a_region_of_this_machine_is_not_called_emulated() -> None:
    """And the parameter says `false`."""
    answer = an_answer("exact", decision=a_decision(emulated=False, region="here"))

    assert "here/fp32;reason=carbon" == dict(names.facts_of(answer))["GreenServe-Route"]
    assert "false" == names.parameters_of(answer)["greenserve_emulated"]


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("entso-e", "entso-e"),
        ("*any/thing:1", "*any/thing:1"),
        ("a test", '"a test"'),
        ("", '""'),
        ("4 hours", '"4 hours"'),
        ('say "no"\\', '"say \\"no\\"\\\\"'),
        ("Økonet\r\nX: y", '"?konet??X: y"'),
    ],
)
def test_a_word_of_a_header_is_a_token_or_stands_in_quotes(text: str, word: str) -> None:
    """As structured fields have it; nothing that could end the line."""
    assert word == names.sf_word(text)
