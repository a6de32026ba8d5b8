"""A caller's own id is kept until its answer and its log line have left: it has a bound on every protocol."""

import re

import orjson
import pytest

from greenserve.clock import SystemClock
from greenserve.errors import InvalidRequest
from greenserve.manifest import TensorSpec
from greenserve.serve.call import LONGEST_ID, Call
from greenserve.serve.grpc import codec
from greenserve.serve.http import oip
from greenserve.serve.http.openapi import OPENAPI
from greenserve.serve.tasks import Tensors
from greenserve.serve.tensors import Tensor
from tests.serve.building import a_call
from tests.serve.grpc_serving import a_message


def over_http(client_id: str) -> Call:
    """The call of a JSON body with that id."""
    tensor = {"name": "text", "datatype": "BYTES", "shape": [1], "data": ["x"]}
    body = orjson.dumps({"id": client_id, "inputs": [tensor]})
    return oip.call_of(body, {}, model="tiny", version="", received_ns=7, most_elements=9, specs=())[0]


def over_grpc(client_id: str) -> Call:
    """The call of a message with that id."""
    message = a_message("x", id=client_id)
    return codec.call_of(message, {}, received_ns=7, remaining_s=None, most_elements=9)


@pytest.mark.parametrize("read", [over_http, over_grpc])
def test_an_id_has_up_to_1_024_characters(read: object) -> None:
    """One more is refused, with what was given and what is allowed."""
    assert callable(read)
    assert "\u00e9" * LONGEST_ID == read("\u00e9" * LONGEST_ID).client_id
    with pytest.raises(InvalidRequest, match="id: up to 1,024 characters are allowed, got 1,025"):
        read("\u00e9" * (LONGEST_ID + 1))


def test_the_description_tells_the_bound() -> None:
    """Who makes a client from it knows."""
    assert LONGEST_ID == OPENAPI["components"]["schemas"]["InferRequest"]["properties"]["id"]["maxLength"]


def test_names_that_are_given_twice_are_cut_in_the_message() -> None:
    """A name of a megabyte does not come back whole."""
    spec = TensorSpec(name="a", datatype="BYTES", shape=(-1,))
    twice = Tensor(name="n" * 1_000_000, datatype="BYTES", shape=(1,), data=("x",))

    with pytest.raises(InvalidRequest, match=re.escape("each name may stand once")) as refused:
        Tensors([spec], [spec], max_items=4).rows(a_call(clock=SystemClock(), inputs=(twice, twice)))

    assert len(str(refused.value)) < 200
