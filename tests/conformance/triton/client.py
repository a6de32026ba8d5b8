"""NVIDIA's tritonclient, unmodified: HTTP and gRPC, synchronous and asyncio."""

import asyncio

import tritonclient.grpc
import tritonclient.grpc.aio
import tritonclient.http
import tritonclient.http.aio

from tests.conformance.calls import Target, read_target
from tests.conformance.triton import grpc_calls, http_calls, shared_calls
from tests.conformance.triton.asking import Asking


def over_http(target: Target) -> Asking:
    """The synchronous HTTP client."""
    client = tritonclient.http.InferenceServerClient(target.http, concurrency=8)
    return Asking(client=client, library=tritonclient.http, target=target, is_grpc=False)


def over_grpc(target: Target) -> Asking:
    """The synchronous gRPC client."""
    client = tritonclient.grpc.InferenceServerClient(target.grpc)
    return Asking(client=client, library=tritonclient.grpc, target=target, is_grpc=True)


async def main() -> None:
    """Every call with every client."""
    target = read_target()
    with over_http(target).client:
        asking = over_http(target)
        await shared_calls.calls.run("tritonclient.http", asking)
        await http_calls.calls.run("tritonclient.http", asking)
        await http_calls.blocking_calls.run("tritonclient.http", asking)
    async with tritonclient.http.aio.InferenceServerClient(target.http) as client:
        asking = Asking(client=client, library=tritonclient.http, target=target, is_grpc=False)
        await shared_calls.calls.run("tritonclient.http.aio", asking)
        await http_calls.calls.run("tritonclient.http.aio", asking)
    with over_grpc(target).client:
        asking = over_grpc(target)
        await shared_calls.calls.run("tritonclient.grpc", asking)
        await grpc_calls.calls.run("tritonclient.grpc", asking)
        await grpc_calls.blocking_calls.run("tritonclient.grpc", asking)
    async with tritonclient.grpc.aio.InferenceServerClient(target.grpc) as client:
        asking = Asking(client=client, library=tritonclient.grpc, target=target, is_grpc=True)
        await shared_calls.calls.run("tritonclient.grpc.aio", asking)
        await grpc_calls.calls.run("tritonclient.grpc.aio", asking)
        await grpc_calls.asyncio_calls.run("tritonclient.grpc.aio", asking)


if __name__ == "__main__":
    asyncio.run(main())
