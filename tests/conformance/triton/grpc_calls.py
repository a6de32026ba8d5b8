"""What tritonclient does over gRPC alone: deadlines, cancelling, streams, compression."""

import asyncio
import queue
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import numpy as np
from tritonclient.grpc import InferenceServerClient, KeepAliveOptions
from tritonclient.utils import InferenceServerException

from tests.conformance.calls import Calls, check_equal, check_holds, refused
from tests.conformance.triton.asking import Asking, check_simple, integers

calls = Calls()
blocking_calls = Calls()
asyncio_calls = Calls()
PATIENCE_S = 10.0


def slow_row() -> dict[str, Any]:
    """An input of `slow` that no cache holds."""
    return {"INPUT0": np.random.default_rng().random((1, 16), dtype=np.float32)}


@calls.named("messages compressed with gzip and deflate")
async def _compressed(asking: Asking) -> None:
    for algorithm in ("gzip", "deflate"):
        check_simple(await asking.infer("simple", integers(), compression_algorithm=algorithm))


@calls.named("the client's deadline is kept")
async def _client_timeout(asking: Asking) -> None:
    check_simple(await asking.infer("simple", integers(), client_timeout=PATIENCE_S))
    with refused(InferenceServerException) as seen:
        await asking.infer("slow", slow_row(), client_timeout=0.03)
    check_equal("StatusCode.DEADLINE_EXCEEDED", seen.error.status())


@calls.named("many requests at the same time")
async def _concurrent(asking: Asking) -> None:
    if asyncio.iscoroutinefunction(asking.client.infer):
        waiting = [asking.infer("simple", integers()) for _ in range(24)]
    else:
        waiting = [asyncio.to_thread(_infer_now, asking) for _ in range(8)]
    for result in await asyncio.gather(*waiting):
        check_simple(result)


def _infer_now(asking: Asking) -> Any:
    return asking.client.infer("simple", asking.tensors(integers()), headers=asking.target.bearer())


@calls.named("a health call with a deadline")
async def _health_timeout(asking: Asking) -> None:
    check_equal({"live": True}, {"live": await _awaited(asking.client.is_server_live(client_timeout=PATIENCE_S))})


async def _awaited(value: Any) -> Any:
    return await value if asyncio.iscoroutine(value) else value


@blocking_calls.named("async_infer: requests in the background")
def _async_infer(asking: Asking) -> None:
    answers: queue.SimpleQueue[tuple[Any, Any]] = queue.SimpleQueue()
    for _ in range(8):
        asking.client.async_infer(
            "simple",
            asking.tensors(integers()),
            callback=lambda result, error: answers.put((result, error)),
            headers=asking.target.bearer(),
        )
    for _ in range(8):
        result, error = answers.get(timeout=PATIENCE_S)
        check_equal(None, error)
        check_simple(result)


@blocking_calls.named("cancel: a request in the background is given up")
def _cancel(asking: Asking) -> None:
    answers: queue.SimpleQueue[tuple[Any, Any]] = queue.SimpleQueue()
    running = asking.client.async_infer(
        "slow",
        asking.tensors(slow_row()),
        callback=lambda result, error: answers.put((result, error)),
        headers=asking.target.bearer(),
    )
    running.cancel()
    result, error = answers.get(timeout=PATIENCE_S)

    check_equal(None, result)
    check_equal("StatusCode.CANCELLED", error.status())
    check_simple(asking.client.infer("simple", asking.tensors(integers()), headers=asking.target.bearer()))


@blocking_calls.named("stream: answers carry their request's id")
def _stream(asking: Asking) -> None:
    answers: queue.SimpleQueue[tuple[Any, Any]] = queue.SimpleQueue()
    with InferenceServerClient(asking.target.grpc) as client:
        client.start_stream(lambda result, error: answers.put((result, error)), headers=asking.target.bearer())
        for number in range(16):
            client.async_stream_infer("simple", asking.tensors(integers()), request_id=f"number-{number}")
        seen = set()
        for _ in range(16):
            result, error = answers.get(timeout=PATIENCE_S)
            check_equal(None, error)
            check_simple(result)
            seen.add(result.get_response().id)
        client.stop_stream()

    check_equal({f"number-{number}" for number in range(16)}, seen)


@blocking_calls.named("stream: an error does not end it")
def _stream_error(asking: Asking) -> None:
    answers: queue.SimpleQueue[tuple[Any, Any]] = queue.SimpleQueue()
    with InferenceServerClient(asking.target.grpc) as client:
        client.start_stream(lambda result, error: answers.put((result, error)), headers=asking.target.bearer())
        client.async_stream_infer("nobody", asking.tensors(integers()))
        result, error = answers.get(timeout=PATIENCE_S)
        check_equal(None, result)
        check_holds(error, "nobody")
        client.async_stream_infer("simple", asking.tensors(integers()))
        result, error = answers.get(timeout=PATIENCE_S)
        client.stop_stream()

    check_equal(None, error)
    check_simple(result)


@blocking_calls.named("stream: cancelled by the client")
def _stream_cancel(asking: Asking) -> None:
    answers: queue.SimpleQueue[tuple[Any, Any]] = queue.SimpleQueue()
    with InferenceServerClient(asking.target.grpc) as client:
        client.start_stream(lambda result, error: answers.put((result, error)), headers=asking.target.bearer())
        client.async_stream_infer("slow", asking.tensors(slow_row()))
        client.stop_stream(cancel_requests=True)
    check_simple(asking.client.infer("simple", asking.tensors(integers()), headers=asking.target.bearer()))


@blocking_calls.named("stream: compressed")
def _stream_compressed(asking: Asking) -> None:
    answers: queue.SimpleQueue[tuple[Any, Any]] = queue.SimpleQueue()
    with InferenceServerClient(asking.target.grpc) as client:
        client.start_stream(
            lambda result, error: answers.put((result, error)),
            headers=asking.target.bearer(),
            compression_algorithm="gzip",
        )
        client.async_stream_infer("simple", asking.tensors(integers()))
        result, error = answers.get(timeout=PATIENCE_S)
        client.stop_stream()

    check_equal(None, error)
    check_simple(result)


@blocking_calls.named("stream: a final response is asked for by its parameter")
def _stream_final(asking: Asking) -> None:
    answers: queue.SimpleQueue[tuple[Any, Any]] = queue.SimpleQueue()
    with InferenceServerClient(asking.target.grpc) as client:
        client.start_stream(lambda result, error: answers.put((result, error)), headers=asking.target.bearer())
        client.async_stream_infer("simple", asking.tensors(integers()), enable_empty_final_response=True)
        result, error = answers.get(timeout=PATIENCE_S)
        client.stop_stream()

    check_equal(None, error)
    check_simple(result)
    check_equal(True, result.get_response().parameters["triton_final_response"].bool_param)


@blocking_calls.named("stream: a timeout of the stream ends it")
def _stream_timeout(asking: Asking) -> None:
    answers: queue.SimpleQueue[tuple[Any, Any]] = queue.SimpleQueue()
    with InferenceServerClient(asking.target.grpc) as client:
        client.start_stream(
            lambda result, error: answers.put((result, error)), headers=asking.target.bearer(), stream_timeout=0.05
        )
        client.async_stream_infer("slow", asking.tensors(slow_row()))
        result, error = answers.get(timeout=PATIENCE_S)

    check_equal(None, result)
    check_holds(str(error).lower(), "deadline")


@blocking_calls.named("stream: no key")
def _stream_without_key(asking: Asking) -> None:
    answers: queue.SimpleQueue[tuple[Any, Any]] = queue.SimpleQueue()
    with InferenceServerClient(asking.target.grpc) as client:
        client.start_stream(lambda result, error: answers.put((result, error)))
        with suppress(InferenceServerException):  # the stream may have ended before anything is sent
            client.async_stream_infer("simple", asking.tensors(integers()))
        result, error = answers.get(timeout=PATIENCE_S)
        client.stop_stream()

    check_equal(None, result)
    check_equal("StatusCode.UNAUTHENTICATED", error.status())
    check_holds(error, "key")


@blocking_calls.named("keepalive pings are answered")
def _keepalive(asking: Asking) -> None:
    options = KeepAliveOptions(
        keepalive_time_ms=15_000, keepalive_timeout_ms=5_000, keepalive_permit_without_calls=True
    )
    with InferenceServerClient(asking.target.grpc, keepalive_options=options) as client:
        check_simple(client.infer("simple", asking.tensors(integers()), headers=asking.target.bearer()))


@blocking_calls.named("error: a message over the limit, and the next request is served")
def _too_large(asking: Asking) -> None:
    huge = {name: np.repeat(array, 50_000, axis=0) for name, array in integers().items()}
    with refused(InferenceServerException) as seen:
        asking.client.infer("simple", asking.tensors(huge), headers=asking.target.bearer())
    check_equal(True, seen.error.status() in {"StatusCode.RESOURCE_EXHAUSTED", "StatusCode.INVALID_ARGUMENT"})
    check_simple(asking.client.infer("simple", asking.tensors(integers()), headers=asking.target.bearer()))


@asyncio_calls.named("stream: answers carry their request's id")
async def _aio_stream(asking: Asking) -> None:
    async def questions() -> AsyncIterator[dict[str, Any]]:
        for number in range(16):
            yield {"model_name": "simple", "inputs": asking.tensors(integers()), "request_id": f"number-{number}"}

    seen = set()
    async for result, error in asking.client.stream_infer(questions(), headers=asking.target.bearer()):
        check_equal(None, error)
        check_simple(result)
        seen.add(result.get_response().id)

    check_equal({f"number-{number}" for number in range(16)}, seen)


@asyncio_calls.named("stream: an error does not end it")
async def _aio_stream_error(asking: Asking) -> None:
    async def questions() -> AsyncIterator[dict[str, Any]]:
        yield {"model_name": "nobody", "inputs": asking.tensors(integers())}
        yield {"model_name": "simple", "inputs": asking.tensors(integers())}

    stream = asking.client.stream_infer(questions(), headers=asking.target.bearer())
    told = [(result is not None, error is not None) async for result, error in stream]

    check_equal([(False, True), (True, False)], sorted(told))


@asyncio_calls.named("stream: cancelled by the client")
async def _aio_stream_cancel(asking: Asking) -> None:
    async def questions() -> AsyncIterator[dict[str, Any]]:
        yield {"model_name": "slow", "inputs": asking.tensors(slow_row())}

    stream = asking.client.stream_infer(questions(), headers=asking.target.bearer())
    check_equal(True, stream.cancel())
    check_simple(await asking.infer("simple", integers()))


@asyncio_calls.named("cancel: a call that is given up")
async def _aio_cancel(asking: Asking) -> None:
    running = asyncio.ensure_future(asking.infer("slow", slow_row()))
    done, _ = await asyncio.wait({running}, timeout=0.02)
    check_equal(set(), done)
    running.cancel()
    with refused(asyncio.CancelledError):
        await running
    check_simple(await asking.infer("simple", integers()))
