"""Streams: so many requests in flight and no more, one writer at a time, every request answered."""

import asyncio
from collections import deque

import grpc
from hypothesis import given
from hypothesis import strategies as st

from greenserve.errors import InvalidRequest, Overloaded
from greenserve.proto import inference_pb2 as pb
from greenserve.serve.grpc.admitting import Gate
from greenserve.serve.grpc.stream import Streams
from tests.serve.building import until


class Pipe:
    """The server's end of a stream: what the client sends, and what it was sent. One write at a time is allowed."""

    def __init__(self, *ids: str) -> None:
        self._sent = deque(ids)
        self._writing = False
        self.read_so_far = 0
        self.answers: list[pb.ModelStreamInferResponse] = []

    async def read(self) -> object:
        """The next message, or the end."""
        await asyncio.sleep(0)
        if not self._sent:
            return grpc.aio.EOF
        self.read_so_far += 1
        return pb.ModelInferRequest(id=self._sent.popleft()).SerializeToString()

    async def write(self, raw: bytes) -> None:
        """Take an answer."""
        assert not self._writing
        self._writing = True
        await asyncio.sleep(0)
        self.answers.append(pb.ModelStreamInferResponse.FromString(raw))
        self._writing = False


def parse(raw: bytes) -> pb.ModelInferRequest:
    """As it was sent."""
    return pb.ModelInferRequest.FromString(raw)


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=20), st.integers(1, 4))
def test_every_request_is_answered_once_whatever_the_order(works: list[tuple[int, bool]], in_flight: int) -> None:
    """Answers and refusals carry their request's id; never more than `in_flight` are worked on."""
    running, most = 0, 0

    async def answering(request: pb.ModelInferRequest) -> pb.ModelInferResponse:
        nonlocal running, most
        turns, refused = works[int(request.id)]
        running += 1
        most = max(most, running)
        for _ in range(turns):
            await asyncio.sleep(0)
        running -= 1
        if refused:
            raise InvalidRequest("not this one")
        return pb.ModelInferResponse(id=request.id)

    pipe = Pipe(*map(str, range(len(works))))
    asyncio.run(Streams(gate=Gate(), in_flight=in_flight).answer(pipe, parse, answering))

    assert list(range(len(works))) == sorted(int(each.infer_response.id) for each in pipe.answers)
    assert most <= in_flight
    for each in pipe.answers:
        refused = works[int(each.infer_response.id)][1]
        assert ("not this one" if refused else "") == each.error_message


async def test_no_more_is_read_than_is_worked_on() -> None:
    """A full stream pushes back on its client instead of queueing."""
    free = asyncio.Event()

    async def answering(request: pb.ModelInferRequest) -> pb.ModelInferResponse:
        await free.wait()
        return pb.ModelInferResponse(id=request.id)

    pipe = Pipe("1", "2", "3", "4")
    streaming = asyncio.ensure_future(Streams(gate=Gate(), in_flight=2).answer(pipe, parse, answering))
    await until(lambda: pipe.read_so_far == 2)
    for _ in range(20):
        await asyncio.sleep(0)
    held = pipe.read_so_far
    free.set()
    await streaming

    assert (2, 4) == (held, len(pipe.answers))


async def test_a_refusal_says_when_to_come_back_and_an_unforeseen_fault_says_nothing() -> None:
    """Code, status and seconds as parameters; the words of a bug stay in the log."""

    async def answering(request: pb.ModelInferRequest) -> pb.ModelInferResponse:
        if request.id == "busy":
            raise Overloaded("the queue is full", retry_after_s=3)
        raise ZeroDivisionError("secret")

    pipe = Pipe("busy", "bug")
    await Streams(gate=Gate()).answer(pipe, parse, answering)

    busy, bug = (next(each for each in pipe.answers if each.infer_response.id == wanted) for wanted in ("busy", "bug"))
    told = busy.infer_response.parameters
    assert ("the queue is full", "overloaded") == (busy.error_message, told["greenserve_code"].string_param)
    assert ("RESOURCE_EXHAUSTED", 3) == (
        told["greenserve_status"].string_param,
        told["greenserve_retry_after_s"].int64_param,
    )
    assert "internal" == bug.infer_response.parameters["greenserve_code"].string_param
    assert "secret" not in bug.error_message
