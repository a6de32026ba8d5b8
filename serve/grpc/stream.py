"""ModelStreamInfer: many requests on one stream, answered in the order in which they are done.

State of a stream: the slots of its requests in flight, and the lock of its one writer; both end with the stream.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import grpc

from greenserve.errors import Draining
from greenserve.ids import new_request_id
from greenserve.proto import inference_pb2 as pb
from greenserve.serve import names
from greenserve.serve.grpc.admitting import Gate
from greenserve.serve.grpc.refusals import CODE, known
from greenserve.serve.status import status_of

IN_FLIGHT = 64
"""Requests of one stream that are worked on at a time; the next one is read when one of them is answered."""

FINAL = "triton_final_response"
Parsing = Callable[[bytes], pb.ModelInferRequest]
Answering = Callable[[pb.ModelInferRequest], Awaitable[pb.ModelInferResponse]]


class Streams:
    """The streams of one server.

    State: their readers, while they read; a reader that is cancelled here lets what was asked be answered first.
    """

    def __init__(self, *, gate: Gate, in_flight: int = IN_FLIGHT) -> None:
        self._gate = gate
        self._in_flight = in_flight
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
        stream was ended from this side.
        """
        slots = asyncio.Semaphore(self._in_flight)
        writing = asyncio.Lock()

        async def answer(raw: bytes) -> None:
            response = await _response(raw, parse, answering)
            await self._gate.passed()
            async with writing:
                await context.write(response.SerializeToString())
            slots.release()

        async def read() -> None:
            while True:
                await slots.acquire()
                raw = await context.read()
                if raw is grpc.aio.EOF:
                    return
                group.create_task(answer(raw))

        async with asyncio.TaskGroup() as group:
            reader = group.create_task(read(), name="grpc-stream")
            self._readers.add(reader)
            reader.add_done_callback(self._readers.discard)
        if reader.cancelled():
            raise Draining("this gateway goes away; open the stream again, another one answers", retry_after_s=1)


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
    whose = pb.ModelInferResponse(model_name=request.model_name, model_version=request.model_version, id=request.id)
    facts = {CODE: fault.code, "greenserve-status": status_of(fault).grpc, names.REQUEST_ID.lower(): new_request_id()}
    for name, value in facts.items():
        whose.parameters[name.replace("-", "_")].string_param = value
    if fault.retry_after_s is not None:
        whose.parameters["greenserve_retry_after_s"].int64_param = fault.retry_after_s
    return pb.ModelStreamInferResponse(error_message=str(fault) or fault.code, infer_response=whose)
