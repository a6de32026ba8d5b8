"""What a stream may hold: for nobody without a key, little for a client that does not read."""

import asyncio
import gc
import sys

import grpc
import pytest

from greenserve.errors import InvalidRequest, ReceiveTimeout
from greenserve.proto import inference_pb2 as pb
from greenserve.serve.gateway import Gateway
from greenserve.serve.grpc.admitting import Gate
from greenserve.serve.grpc.refusals import LONGEST_MESSAGE
from greenserve.serve.grpc.stream import LONGEST_ECHO, Streams
from tests.serve.admitting import KEY, a_tenancy
from tests.serve.building import until
from tests.serve.grpc_serving import a_message, serving

MESSAGE_BYTES = 1_000


class Stuck:
    """The server's end of a stream whose client sends for ever and takes nothing until it is `taking`."""

    def __init__(self, messages: int) -> None:
        self.taking = asyncio.Event()
        self.sent: list[bytes] = []
        self.written = 0
        self._left = messages

    async def read(self) -> object:
        """A message that nobody else holds once it was let go of."""
        await asyncio.sleep(0)
        if not self._left:
            return grpc.aio.EOF
        self._left -= 1
        raw = bytes(bytearray(MESSAGE_BYTES))
        self.sent.append(raw)
        return raw

    async def write(self, raw: bytes) -> None:
        """Wait for the client."""
        await self.taking.wait()
        self.written += 1


def parse(raw: bytes) -> pb.ModelInferRequest:
    """Nothing of it."""
    return pb.ModelInferRequest()


async def at_once(request: pb.ModelInferRequest) -> pb.ModelInferResponse:
    """A short answer."""
    return pb.ModelInferResponse(id=request.id)


async def test_answers_that_wait_hold_no_question() -> None:
    """Once it is answered, a message of any size is let go of, though its answer cannot leave."""
    pipe = Stuck(8)
    streaming = asyncio.ensure_future(Streams(gate=Gate()).answer(pipe, parse, at_once))
    await until(lambda: len(pipe.sent) == 8)
    for _ in range(20):
        await asyncio.sleep(0)

    gc.collect()
    alone = [bytes(bytearray(MESSAGE_BYTES))]
    held_by_a_list = [sys.getrefcount(raw) for raw in alone]
    holders = [sys.getrefcount(raw) for raw in pipe.sent]
    pipe.taking.set()
    await streaming

    assert held_by_a_list * 8 == holders
    assert 8 == pipe.written


async def test_no_more_is_read_than_may_be_held() -> None:
    """Three messages of 1,000 bytes are read where 2,500 may be held, and the rest as those are answered."""
    go = asyncio.Event()

    async def answering(request: pb.ModelInferRequest) -> pb.ModelInferResponse:
        await go.wait()
        return pb.ModelInferResponse()

    pipe = Stuck(10)
    pipe.taking.set()
    streams = Streams(gate=Gate(), most_held_bytes=2_500)
    streaming = asyncio.ensure_future(streams.answer(pipe, parse, answering))
    await until(lambda: len(pipe.sent) == 3)
    for _ in range(20):
        await asyncio.sleep(0)
    held = len(pipe.sent)
    go.set()
    await streaming

    assert (3, 10) == (held, pipe.written)


async def test_a_client_that_takes_no_answer_is_left() -> None:
    """The stream ends with what is wrong, and its requests with it."""
    pipe = Stuck(5)

    with pytest.raises(ReceiveTimeout, match=r"not taken within 0\.01 s"):
        await Streams(gate=Gate(), taken_s=0.01).answer(pipe, parse, at_once)

    assert 0 == pipe.written


async def test_a_refusal_gives_back_no_more_than_it_needs() -> None:
    """Names and ids are cut, and so is the message."""
    written: list[bytes] = []

    class Pipe(Stuck):
        async def write(self, raw: bytes) -> None:
            written.append(raw)

    def parse_long(raw: bytes) -> pb.ModelInferRequest:
        return pb.ModelInferRequest(id="i" * 200_000, model_name="m" * 200_000, model_version="v" * 200_000)

    async def refusing(request: pb.ModelInferRequest) -> pb.ModelInferResponse:
        raise InvalidRequest("x" * 200_000)

    await Streams(gate=Gate()).answer(Pipe(1), parse_long, refusing)

    (answer,) = map(pb.ModelStreamInferResponse.FromString, written)
    whose = answer.infer_response
    assert LONGEST_MESSAGE == len(answer.error_message)
    assert [LONGEST_ECHO] * 3 == [len(whose.id), len(whose.model_name), len(whose.model_version)]


@pytest.mark.parametrize("metadata", [(), (("authorization", "Basic x"),), (("authorization", f"Bearer {KEY}"),)])
async def test_nothing_is_read_from_who_has_no_key(gateway: Gateway, metadata: tuple[tuple[str, str], ...]) -> None:
    """UNAUTHENTICATED, before a message was sent; who has a key is answered."""
    gateway.admission.refresh(a_tenancy(), {})
    known = bool(metadata) and KEY in metadata[0][1]
    if not metadata:
        metadata = (("authorization", "Bearer gs_nobody"),)
    async with serving(gateway) as served:
        stream = served.stream(metadata=metadata)
        if known:
            await stream.write(a_message("good"))
            assert "" == (await stream.read()).error_message
            await stream.done_writing()
        code = await stream.code()

    assert (grpc.StatusCode.OK if known else grpc.StatusCode.UNAUTHENTICATED) is code
