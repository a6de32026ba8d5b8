"""What a key stands for is the same over every protocol, and a kept answer comes back as it was."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from greenserve.clock import SystemClock
from greenserve.records import Hints, Tenant
from greenserve.serve.call import Call
from greenserve.serve.grpc import codec
from greenserve.serve.http import oip
from greenserve.serve.kept_codec import content_of, decode, encode, name_of
from greenserve.serve.names import facts_of, parameters_of
from greenserve.serve.tensors import Tensor, tensor_of
from tests.serve.building import a_call, a_decision, an_answer
from tests.serve.grpc_serving import a_message

CLOCK = SystemClock()
TENANT = Tenant(tenant_id="acme", name="Acme", exposure="exact")
FAST = settings(max_examples=100, deadline=None)


def shown(tensor: Tensor) -> object:
    """A tensor's content, to compare."""
    return tensor.data if isinstance(tensor.data, tuple) else (tensor.data.dtype.str, tensor.data.tolist())


@FAST
@given(st.lists(st.text(min_size=1, max_size=20), min_size=1, max_size=4), st.integers(1, 5), st.booleans())
def test_a_kept_answer_comes_back_as_it_was(texts: list[str], columns: int, known: bool) -> None:
    """Outputs, figures and evidence; what is unknown stays unknown."""
    numbers = np.arange(len(texts) * columns, dtype=np.float32).reshape(len(texts), columns)
    label = Tensor(name="label", datatype="BYTES", shape=(len(texts),), data=tuple(texts))
    changes: dict[str, Any] = {} if known else {"emissions_ng": None, "decision": a_decision(intensity=None)}
    given_answer = an_answer(outputs=(label, tensor_of("probabilities", numbers)), **changes)

    back = decode(encode(given_answer), tenant=TENANT, client_id="mine", times_ns=given_answer.times_ns)

    assert [shown(one) for one in given_answer.outputs] == [shown(one) for one in back.outputs]
    assert (given_answer.usage, given_answer.emissions_ng) == (back.usage, back.emissions_ng)
    expected = replace(given_answer, client_id="mine", replayed=True)
    assert facts_of(expected) == facts_of(back)
    assert parameters_of(expected) == parameters_of(back)
    assert dict(facts_of(back))["GreenServe-Replayed"] == "true" == parameters_of(back)["greenserve_replayed"]


def test_a_kept_answer_keeps_the_reading_of_the_other_basis() -> None:
    """Both of a decision's readings come back as they were."""
    plain = an_answer().decision.intensity
    assert plain is not None
    both = replace(plain, counterpart=replace(plain, basis="direct" if plain.basis == "lifecycle" else "lifecycle"))

    back = decode(encode(an_answer(decision=a_decision(intensity=both))), tenant=TENANT, client_id=None, times_ns=())

    assert both == back.decision.intensity


def test_bytes_that_are_not_text_come_back_as_bytes() -> None:
    """A model may answer any bytes in BYTES."""
    odd = Tensor(name="x", datatype="BYTES", shape=(2,), data=(b"\xff\x00", "text"))

    back = decode(encode(an_answer(outputs=(odd,))), tenant=TENANT, client_id=None, times_ns=())

    assert (b"\xff\x00", "text") == back.outputs[0].data


@pytest.mark.parametrize("damage", [b"", b"\x01", b"\xff\xff\xff\x7f{}", b"\x02\x00\x00\x00{}"])
def test_bytes_that_are_no_answer_are_an_error(damage: bytes) -> None:
    """A file that somebody else wrote is not read as an answer."""
    with pytest.raises(ValueError, match=r"kept answer|JSON|input|char|line"):
        decode(damage, tenant=TENANT, client_id=None, times_ns=())


def test_both_protocols_ask_for_the_same() -> None:
    """JSON, typed contents and raw contents of one question have one digest."""
    body = b'{"id": "a", "inputs": [{"name": "text", "datatype": "BYTES", "shape": [2], "data": ["good", "bad"]}]}'
    over_http, _ = oip.call_of(body, {}, model="tiny", version="", received_ns=1, most_elements=10, specs=())
    over_grpc = [
        codec.call_of(a_message("good", "bad", raw=raw), {}, received_ns=2, remaining_s=3.0, most_elements=10)
        for raw in (True, False)
    ]

    assert {content_of(over_http)} == {content_of(call) for call in over_grpc}


@pytest.mark.parametrize(
    "changes",
    [
        {"model": "other"},
        {"version": "1"},
        {"outputs": ("label",)},
        {"inputs": (Tensor(name="text", datatype="BYTES", shape=(1,), data=("good dax",)),)},
        {"inputs": (Tensor(name="text", datatype="BYTES", shape=(1, 1), data=("good day",)),)},
        {"hints": Hints(variant="fp32")},
        {"hints": Hints(policy="min-carbon")},
        {"hints": Hints(min_quality=0.5)},
        {"hints": Hints(regions=frozenset({"north"}))},
        {"token_rows": ((1, 2),)},
    ],
)
def test_another_request_has_another_digest(changes: dict[str, Any]) -> None:
    """Whatever could change the answer counts."""
    assert content_of(a_call(clock=CLOCK)) != content_of(a_call(clock=CLOCK, **changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"timeout_s": 1.0},
        {"client_id": "again"},
        {"hints": Hints(deadline_s=2.0, priority=1, no_store=True)},
        {"protocol": "grpc"},
        {"received_ns": 7},
        {"traceparent": "00-1-2-01"},
    ],
)
def test_how_it_is_asked_is_no_part_of_what_is_asked(changes: dict[str, Any]) -> None:
    """A second try has less time, another trace, perhaps another protocol."""
    plain: Call = a_call(clock=CLOCK)

    assert content_of(plain) == content_of(a_call(clock=CLOCK, **changes))


@FAST
@given(st.text(max_size=8), st.text(max_size=8), st.text(max_size=8), st.text(max_size=8))
def test_two_tenants_keys_never_meet(tenant: str, key: str, other: str, other_key: str) -> None:
    """The same name only for the same tenant and key, however the two are cut."""
    assert ((tenant, key) == (other, other_key)) == (name_of(tenant, key) == name_of(other, other_key))
