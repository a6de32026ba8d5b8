"""A receipt's devices: what each took, with its own tier, summing to the request; never a guess."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenserve.carbon.entries import UsageLine, settled_body, unmetered_body, usage_body
from greenserve.carbon.receipt import Line, receipt_document
from greenserve.carbon.shares import SpanShare
from greenserve.ids import new_request_id
from greenserve.records import Usage

REQUEST = new_request_id()
BOARD = "GPU-1"


def a_usage(active_uj: int = 54_603, held_uj: int = 3_000, host_uj: int = 4_300, **changes: Any) -> Usage:
    whole: dict[str, Any] = {"low_uj": 0, "high_uj": 10**16, "tier": "modelled", "state": "provisional"} | changes
    return Usage(request_id=REQUEST, active_uj=active_uj, held_uj=held_uj, host_uj=host_uj, **whole)


def a_body(usage: Usage | None, *, on_board: bool = False) -> dict[str, Any]:
    """The first line of a request, which perhaps ran on a board."""
    span = SpanShare(
        batch_id="b", device=BOARD, work_class="m/v", start_ns=0, end_ns=9, work=1, share_milli=1_000, weight_ppb=1,
    )  # fmt: skip
    return dict(
        usage_body(
            UsageLine(
                request_id=REQUEST, tenant="acme", key_id=None, model="m", run_id="r", ended_us=1, start_ns=0, end_ns=9,
                outcome="ok", protocol="http", cache="miss", rows=1, usage=usage, intensity=None, pue_milli=1_000,
                variant="v", region="north", zone="SE", device=BOARD if on_board else "cpu",
                spans=(span,) if on_board else (),
            )
        )
    )  # fmt: skip


def a_part(device: str, active_uj: int, held_uj: int, host_uj: int, tier: str | None) -> dict[str, Any]:
    return {"device": device, "active_uj": active_uj, "held_uj": held_uj, "host_uj": host_uj, "tier": tier}


def receipt(*bodies: dict[str, Any], rounded: bool = False) -> dict[str, Any]:
    lines = [Line(index=index, salt="", leaf_hash="", body_sha256="", body=body) for index, body in enumerate(bodies)]
    return receipt_document(lines, rounded=rounded)


def test_a_request_of_one_device_names_it() -> None:
    """The device's figures are the request's, with the request's tier."""
    (device,) = receipt(a_body(a_usage()))["devices"]

    assert {
        "device": "cpu",
        "energy_joules": "0.061903",
        "active_joules": "0.054603",
        "held_joules": "0.003000",
        "host_joules": "0.004300",
        "tier": "modelled",
    } == device


def test_a_settled_request_of_two_devices_shows_each_with_its_own_tier() -> None:
    """The board was measured, the host modelled; the sum's tier is the weaker one."""
    first = a_body(a_usage(), on_board=True)
    parts = [a_part(BOARD, 900_000, 90_000, 0, "measured"), a_part("cpu", 0, 0, 10_000, "modelled")]
    settled = dict(settled_body(first, a_usage(900_000, 90_000, 10_000, state="settled"), devices=parts))

    told = receipt(first, settled)

    assert [(BOARD, "0.990000", "measured"), ("cpu", "0.010000", "modelled")] == [
        (one["device"], one["energy_joules"], one["tier"]) for one in told["devices"]
    ]
    assert ("1.000000", "modelled") == (told["energy"]["energy_joules"], told["energy"]["tier"])
    assert "devices" not in told["unknown_reasons"]


def test_an_estimate_of_two_devices_is_not_told_apart_before_it_is_settled() -> None:
    """Null with its reason, not an invented split."""
    told = receipt(a_body(a_usage(), on_board=True))

    assert told["devices"] is None
    assert "the devices are told apart once the request is settled" == told["unknown_reasons"]["devices"]


def test_an_estimate_that_no_meter_confirmed_stays_whole() -> None:
    """Settled without a meter: there is no split, now or later."""
    first = a_body(a_usage(), on_board=True)

    told = receipt(first, dict(unmetered_body(first)))

    assert (None, "no line tells the devices apart") == (told["devices"], told["unknown_reasons"]["devices"])


def test_an_unmetered_request_has_a_device_without_figures() -> None:
    """Unknown is null and its tier unknown, never 0 J."""
    (device,) = receipt(a_body(None))["devices"]

    assert (None, None, "unknown") == (device["energy_joules"], device["active_joules"], device["tier"])


def test_parts_that_do_not_sum_to_the_newest_figure_are_left_out() -> None:
    """A later line that changed the energy leaves the parts of before behind."""
    first = a_body(a_usage(), on_board=True)
    parts = [a_part(BOARD, 1, 1, 1, "measured")]

    assert (
        receipt(first, dict(settled_body(first, a_usage(2, 2, 2, state="settled"), devices=parts)))["devices"] is None
    )


@pytest.mark.parametrize(("rounded", "shown"), [(True, "0.062000"), (False, "0.061903")])
def test_a_rounded_receipt_rounds_its_devices_too(rounded: bool, shown: str) -> None:
    """A device must not tell what the sum hides."""
    (device,) = receipt(a_body(a_usage()), rounded=rounded)["devices"]

    assert shown == device["energy_joules"]


@given(st.lists(st.tuples(*(st.integers(0, 10**12),) * 3), min_size=1, max_size=5))
def test_the_devices_of_a_receipt_sum_to_it(parts: list[tuple[int, int, int]]) -> None:
    """To the microjoule, for any split."""
    first = a_body(a_usage(), on_board=True)
    usage = a_usage(*(sum(column) for column in zip(*parts, strict=True)), state="settled")
    named = [a_part(f"GPU-{place}", *part, "measured") for place, part in enumerate(parts)]

    told = receipt(first, dict(settled_body(first, usage, devices=named)))

    total_uj = sum(int(one["energy_joules"].replace(".", "")) for one in told["devices"])
    assert int(told["energy"]["energy_joules"].replace(".", "")) == total_uj
