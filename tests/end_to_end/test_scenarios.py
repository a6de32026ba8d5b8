"""The whole path over real HTTP and real gRPC: one list of scenarios, the same answers."""

from collections.abc import Callable

import pytest

from greenserve.ids import unix_ms_of
from tests.end_to_end.protocols import Ask, Client, OverGrpc, OverHttp, Told
from tests.end_to_end.scenarios import ANSWERED, REFUSED, STATUS, Answered, Refused

Asking = Callable[[Client, Ask], Told]
PARAMETERS = ("request_id", "variant", "region", "emulated", "reason", "cached", "energy_uj", "tier", "carbon_ng")

OWN_WORD = {
    "http": "word30",
    "grpc": "word31",
}  # the cache knows tokens, so that each protocol asks with one of its own


def by_name(scenario: Answered | Refused) -> str:
    """A scenario's name as pytest shows it."""
    return scenario.name.replace(" ", "-")


@pytest.mark.parametrize("scenario", ANSWERED, ids=by_name)
def test_a_good_question_is_answered(scenario: Answered, client: Client, ask: Asking) -> None:
    """The outputs are right, and headers and parameters both say who answered, where, and at what cost."""
    told = ask(client, scenario.ask)

    assert ("ok", "") == (told.code, told.message)
    assert scenario.outputs == tuple(told.outputs)
    if scenario.labels is not None:
        assert list(scenario.labels) == told.outputs["label"]
    assert (scenario.ask.client_id, "tiny", "1") == (told.client_id, told.model, told.version)
    assert {name: [len(scenario.ask.texts), 3] for name in told.outputs if name == "probabilities"} == {
        name: shape for name, shape in told.shapes.items() if name == "probabilities"
    }
    said = {name: told.parameters[f"greenserve_{name}"] for name in PARAMETERS}
    assert (scenario.variant, scenario.region) == (said["variant"], said["region"])
    assert ("true" if scenario.region == "north" else "false") == said["emulated"]
    if scenario.reason is not None:
        assert scenario.reason == said["reason"]
    if scenario.cache is not None:
        assert scenario.cache == said["cached"]
    assert_headers_agree(told, scenario)


def assert_headers_agree(told: Told, scenario: Answered) -> None:
    """Headers or trailing metadata carry what the parameters say, energy never without its tier."""
    headers, said = told.headers, told.parameters
    emulated = ";emulated" if scenario.region == "north" else ""
    zone, intensity, pue = ("ZZ-NORTH", 40_000, "1.1") if scenario.region == "north" else ("ZZ-HERE", 400_000, "1.5")
    route = f"{scenario.region}/{scenario.variant};reason={said['greenserve_reason']}{emulated}"

    assert said["greenserve_request_id"] == headers["greenserve-request-id"]
    assert unix_ms_of(headers["greenserve-request-id"]) > 0
    assert route == headers["greenserve-route"]
    assert said["greenserve_cached"] == headers["greenserve-cache"]
    energy_uj = said["greenserve_energy_uj"]
    assert isinstance(energy_uj, int)
    assert energy_uj > 0
    value, unit, low, high, tier, state = headers["greenserve-energy"].split(";")
    assert (str(energy_uj), "u=uJ", f"tier={said['greenserve_tier']}", "state=provisional") == (
        value,
        unit,
        tier,
        state,
    )
    assert int(low.removeprefix("low=")) <= energy_uj <= int(high.removeprefix("high="))
    assert energy_uj / 1e6 == pytest.approx(float(headers["greenserve-energy-joules"]))
    assert headers["greenserve-carbon"].startswith(
        f"{said['greenserve_carbon_ng']};u=ng;zone={zone};intensity={intensity};pue={pue};basis=lifecycle;origin=annual"
    )
    expected_ng = energy_uj * float(pue) * intensity / 3_600_000
    assert expected_ng == pytest.approx(int(said["greenserve_carbon_ng"]), abs=1.01)
    assert float(headers["greenserve-carbon-grams"]) == pytest.approx(int(said["greenserve_carbon_ng"]) / 1e9)


@pytest.mark.parametrize("scenario", REFUSED, ids=by_name)
def test_a_bad_question_is_refused_with_reason(scenario: Refused, client: Client, ask: Asking) -> None:
    """The status fits the code, and the message says what was given and what is allowed."""
    told = ask(client, scenario.ask)

    assert scenario.code == told.code
    assert STATUS[scenario.code][client.name == "grpc"] == told.status
    assert [] == [word for word in scenario.words if word.lower() not in told.message.lower()], told.message
    assert "Traceback" not in told.message
    assert unix_ms_of(told.headers["greenserve-request-id"]) > 0


def test_the_same_question_twice_is_answered_from_the_cache(client: Client, ask: Asking) -> None:
    """Repeated often enough that both replicas have seen it: a hit says so, has the same outputs and less energy."""
    question = Ask(texts=(f"good good {OWN_WORD[client.name]}",), variant="fp32", outputs=("probabilities",))

    first, *rest = [ask(client, question) for _ in range(8)]

    hits = [told for told in rest if told.parameters["greenserve_cached"] == "hit"]
    assert "miss" == first.parameters["greenserve_cached"]
    assert hits
    assert all(first.outputs == told.outputs for told in hits)
    assert all("reason=cache" in told.headers["greenserve-route"] for told in hits)


def test_a_cached_answer_is_not_shared_between_tenants(client: Client, ask: Asking) -> None:
    """What one tenant asked is a miss for another."""
    text = f"great {OWN_WORD[client.name]}"
    for _ in range(4):
        ask(client, Ask(texts=(text,)))

    assert "miss" == ask(client, Ask(texts=(text,), caller="globex")).parameters["greenserve_cached"]


def test_rounded_figures_have_two_digits_and_no_range(client: Client, ask: Asking) -> None:
    """A tenant without exact exposure sees neither a third digit nor the bounds that would give it away."""
    told = ask(client, Ask(caller="globex"))

    digits = str(told.parameters["greenserve_energy_uj"]).rstrip("0")
    assert len(digits) <= 2
    assert "low=" not in told.headers["greenserve-energy"]
    assert "high=" not in told.headers["greenserve-energy"]
    assert len(str(told.parameters["greenserve_carbon_ng"]).rstrip("0")) <= 2


def test_a_tenant_without_exposure_sees_no_figures(client: Client, ask: Asking) -> None:
    """Neither energy nor carbon nor tier, but where and by what the answer was made."""
    told = ask(client, Ask(caller="silent"))

    assert "ok" == told.code
    assert "north/static-8-int8" in told.headers["greenserve-route"]
    assert [] == [name for name in [*told.headers, *told.parameters] if "energy" in name or "carbon" in name]


def test_both_protocols_answer_alike(http: OverHttp, grpc: OverGrpc, ask: Asking) -> None:
    """The same bits of the same probabilities."""
    question = Ask(texts=("good bad", "awful", "word1 word2 word3"), variant="fp32")

    over_http, over_grpc = ask(http, question), ask(grpc, question)

    assert over_http.outputs["label"] == over_grpc.outputs["label"]
    assert over_http.outputs["probabilities"] == pytest.approx(over_grpc.outputs["probabilities"], abs=1e-7)
