"""What a request leaves behind: nothing that only the garbage collector would find.

Looking through all young objects for rings held the event loops of a loaded gateway up for 20 to 130 ms at a time.
"""

import gc
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager

import pytest

from greenserve.proto import inference_pb2 as pb
from greenserve.serve.door import MOST_WAITING, Door
from greenserve.serve.gateway import Gateway
from greenserve.serve.http.guard import Guard
from greenserve.serve.listeners import HttpListener
from greenserve.serve.trust import TrustedPeers
from tests.serve.asking import an_app
from tests.serve.grpc_serving import refusal, serving
from tests.serve.listening import HOST, PATIENT, Wire, wire

REQUESTS = 30


def a_body(*texts: object) -> bytes:
    """Texts for the tiny model."""
    tensor = {"name": "text", "datatype": "BYTES", "shape": [len(texts)], "data": texts}
    return json.dumps({"inputs": [tensor]}).encode()


def a_post(body: bytes) -> bytes:
    """A whole request."""
    return b"POST /v2/models/tiny/infer HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


@pytest.fixture
def new_texts() -> Iterator[str]:
    """Texts that nobody has asked before."""
    return (" ".join(("good", "bad")[number >> bit & 1] for bit in range(8)) for number in range(256))


@asynccontextmanager
async def asked_over_http(gateway: Gateway, door: Door) -> AsyncIterator[Wire]:
    """A connection to a listener before the gateway."""
    guard = Guard(limits=PATIENT, trusted=TrustedPeers(()), door=door, only_trusted=False)
    listener = HttpListener(an_app(gateway)[0], guard=guard, tls=None)
    port = await listener.start(host=HOST, port=0)
    try:
        async with wire(port) as client:
            yield client
    finally:
        await listener.drain(grace_s=1.0)


async def rings_of(ask: Callable[[], Awaitable[object]]) -> Counter[str]:
    """Objects of ours that the collector finds after some requests, by type; the first ones make what is kept."""
    for _ in range(REQUESTS):
        await ask()
    gc.collect()
    gc.disable()
    try:
        for _ in range(REQUESTS):
            await ask()
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
    finally:
        gc.set_debug(0)
        gc.enable()
    found = Counter(type(each).__name__ for each in gc.garbage if type(each).__module__.startswith("greenserve"))
    gc.garbage.clear()
    return found


@pytest.mark.parametrize(
    ("texts", "status"),
    [((), 200), (("good",), 200), (("good", "bad", "good bad"), 200), ((7,), 400), (("good", "word99"), 500)],
)
async def test_a_request_leaves_no_rings(
    texts: tuple[object, ...], status: int, gateway: Gateway, new_texts: Iterator[str]
) -> None:
    """Run, cached, of several items, malformed, failed."""
    async with asked_over_http(gateway, Door()) as client:

        async def ask() -> None:
            answered = await client.asked(a_post(a_body(*(texts or (next(new_texts),)))))
            assert status == answered[0]

        found = await rings_of(ask)

    assert Counter() == found


async def test_a_request_that_is_refused_leaves_no_rings(gateway: Gateway) -> None:
    """Turned away at the door."""
    door = Door()
    door.waiting = MOST_WAITING
    async with asked_over_http(gateway, door) as client:

        async def ask() -> None:
            assert 429 == (await client.asked(a_post(a_body("good"))))[0]

        found = await rings_of(ask)

    assert Counter() == found


@pytest.mark.parametrize("fails", [False, True])
async def test_a_grpc_call_leaves_no_rings(fails: bool, gateway: Gateway, new_texts: Iterator[str]) -> None:
    """Answered, and failed; the error itself gRPC keeps in a ring of its own."""
    async with serving(gateway) as served:

        async def ask() -> None:
            text = "word99" if fails else next(new_texts)
            message = pb.ModelInferRequest(model_name="tiny")
            tensor = message.inputs.add(name="text", datatype="BYTES", shape=[1])
            tensor.contents.bytes_contents.append(text.encode())
            await (refusal(served.infer(message)) if fails else served.infer(message))

        found = await rings_of(ask)

    assert found.keys() <= ({"InferenceFailed"} if fails else set())
