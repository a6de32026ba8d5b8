"""`grpc.health.v1.Health`, which says of every service what the replica's own health says."""

import asyncio
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2

from greenserve.serve.health import Health

HEALTH_SERVICE: str = health.SERVICE_NAME
LOOK_S = 0.1


class ReadyHealth:
    """SERVING while the replica takes requests, NOT_SERVING while it starts, lacks something or drains.

    State: what was said last, changed by `look`; who watches.
    """

    def __init__(self, ours: Health, *, services: tuple[str, ...]) -> None:
        self._ours = ours
        self._services = services
        self._servicer: Any = health.aio.HealthServicer()
        self._said: bool | None = None
        self._watchers: set[asyncio.Task[Any]] = set()
        self._ending = False

    def handlers(self) -> Any:
        """The service as a generic handler."""
        request, response = health_pb2.HealthCheckRequest.FromString, health_pb2.HealthCheckResponse.SerializeToString
        return grpc.method_handlers_generic_handler(
            HEALTH_SERVICE,
            {
                "Check": grpc.unary_unary_rpc_method_handler(self.check, request, response),
                "Watch": grpc.unary_stream_rpc_method_handler(self.watch, request, response),
            },
        )

    async def check(self, request: Any, context: Any) -> Any:
        """The status of a service now; NOT_FOUND for one that is not offered."""
        await self.look()
        return await self._servicer.Check(request, context)

    async def watch(self, request: Any, context: Any) -> None:
        """The status of a service, and each change of it within LOOK_S [s]; ends with the server."""
        await self.look()
        watcher = asyncio.current_task()
        assert watcher is not None
        self._watchers.add(watcher)
        try:
            await self._servicer.Watch(request, context)
        except asyncio.CancelledError:
            if not self._ending:
                raise
            watcher.uncancel()  # it was cancelled below, and a handler that ends by that would leave its call open
        finally:
            self._watchers.discard(watcher)
        await context.abort(grpc.StatusCode.UNAVAILABLE, "this gateway goes away; watch another one")

    async def look(self) -> None:
        """Tell all services where readiness has changed."""
        ready = self._ours.ready
        if ready == self._said:
            return
        self._said = ready
        status = health_pb2.HealthCheckResponse
        for name in self._services:
            await self._servicer.set(name, status.SERVING if ready else status.NOT_SERVING)

    async def keep_looking(self) -> None:
        """Look every LOOK_S, for those who watch."""
        while True:
            await asyncio.sleep(LOOK_S)
            await self.look()

    async def enter_shutdown(self) -> None:
        """NOT_SERVING for good; who watches is told, then let go: the server would wait for them."""
        await self._servicer.enter_graceful_shutdown()
        if self._watchers:
            await asyncio.sleep(LOOK_S)
        self._ending = True
        for watcher in tuple(self._watchers):
            watcher.cancel()
