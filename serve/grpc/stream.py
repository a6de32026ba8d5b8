"""ModelStreamInfer: many requests on one stream, answered in the order in which they are done.

State of a stream: the slots of its requests in flight, how many bytes these hold, and the lock of its one writer; all
end with the stream.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import grpc

from greenserve.errors import Draining, ReceiveTimeout
from greenserve.ids import new_request_id
from greenserve.proto import inference_pb2 as pb
from greenserve.serve import names
from greenserve.serve.call import LONGEST_ID
from greenserve.serve.grpc.admitting import Gate
from greenserve.serve.grpc.refusals import CODE, LONGEST_MESSAGE, known
from greenserve.serve.status import status_of

IN_FLIGHT = 64
"""Requests of one stream that are worked on at a time; the next one is read when one of them is answered."""

MOST_HELD_BYTES = 16 * 1_048_576
"""The next request of a stream is read while those in flight, and answers that wait to be sent, hold less than this."""

TAKEN_S = 30.0
"""How long a client may take to make room for an answer [s]."""

LONGEST_ECHO = LONGEST_ID
"""Characters of what a refusal gives back of its request."""

FINAL = "triton_final_response"
Parsing = Callable[[bytes], pb.ModelInferRequest]
Answering = Callable[[pb.ModelInferRequest], Awaitable[pb.ModelInferResponse]]


class Streams:
    """The streams of one server.

    State: their readers, while they read; a reader that is cancelled here lets what was asked be answered first.
    """

    def __init__(
        self,
        *,
        gate: Gate,
        in_flight: int = IN_FLIGHT,
        most_held_bytes: int = MOST_HELD_BYTES,
        taken_s: float = TAKEN_S,
    ) -> None:
        self._gate = gate
        self._in_flight = in_flight
        self._most_held_bytes = most_held_bytes
        self._taken_s = taken_s
        self._readers: set[asyncio.Task[None]] = set()

    def __repr__(self) -> str:
        return f"<Streams: {len(self._readers)} open>"

    def end(self) -> None:
        """Read no more from any stream: each ends when what it was asked is answered."""
        for reader in tuple(self._readers):
            reader.cancel()

    async def answer(self, context: Any, parse: Parsing, answering: Answering) -> None:
        """Answer every message of a stream; a client that leaves cancels what it had asked.

        A request that is refused gets an `error_message` on the stream, which goes on. Raises Draining where the
        stream was ended from this side, ReceiveTimeout where its client does not take an answer.
        """
        slots = asyncio.Semaphore(self._in_flight)
        held = _Held(self._most_held_bytes)
        writing = asyncio.Lock()
        late = False

        async def answer(raw: bytes) -> None:
            size = len(raw)
            response = (await _response(raw, parse, answering)).SerializeToString()
            del raw  # the answer may have to wait for its client
            held.grew(len(response) - size)
            await self._gate.passed()
            async with writing, asyncio.timeout(self._taken_s):
                await context.write(response)
            held.grew(-len(response))
            slots.release()

        async def read() -> None:
            while True:
                await slots.acquire()
                await held.room.wait()
                raw = await context.read()
                if raw is grpc.aio.EOF:
                    return
                held.grew(len(raw))
                group.create_task(answer(raw))
                del raw

        try:
            async with asyncio.TaskGroup() as group:
                reader = group.create_task(read(), name="grpc-stream")
                self._readers.add(reader)
                reader.add_done_callback(self._readers.discard)
        except* TimeoutError:
            late = True
        if late:
            raise ReceiveTimeout(f"an answer was not taken within {self._taken_s:g} s; read the stream while sending")
        if reader.cancelled():
            raise Draining("this gateway goes away; open the stream again, another one answers", retry_after_s=1)


class _Held:
    """The bytes that a stream holds. State: their count, and whether there is room for more."""

    def __init__(self, most: int) -> None:
        self.room = asyncio.Event()
        self._most = most
        self._bytes = 0
        self.grew(0)

    def grew(self, size: int) -> None:
        """By so many bytes."""
        self._bytes += size
        if self._bytes < self._most:
            self.room.set()
        else:
            self.room.clear()


async def _response(raw: bytes, parse: Parsing, answering: Answering) -> pb.ModelStreamInferResponse:
    request = pb.ModelInferRequest()
    try:
        request = parse(raw)
        response = pb.ModelStreamInferResponse(infer_response=await answering(request))
    except Exception as error:
        response = _refusal(error, request)
    response.infer_response.parameters[FINAL].bool_param = True
    return response


def _refusal(error: Exception, request: pb.ModelInferRequest) -> pb.ModelStreamInferResponse:
    """The message of an error; beside it whose it is, and the code and status as parameters."""
    fault = known(error)
    whose = pb.ModelInferResponse(
        model_name=request.model_name[:LONGEST_ECHO],
        model_version=request.model_version[:LONGEST_ECHO],
        id=request.id[:LONGEST_ECHO],
    )
    facts = {CODE: fault.code, "greenserve-status": status_of(fault).grpc, names.REQUEST_ID.lower(): new_request_id()}
    for name, value in facts.items():
        whose.parameters[name.replace("-", "_")].string_param = value
    if fault.retry_after_s is not None:
        whose.parameters["greenserve_retry_after_s"].int64_param = fault.retry_after_s
    message = str(fault)[:LONGEST_MESSAGE] or fault.code
    return pb.ModelStreamInferResponse(error_message=message, infer_response=whose)
