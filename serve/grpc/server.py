"""The grpc.aio server on a port that all replicas share: inference, energy and carbon, health, reflection."""

import asyncio
import contextlib
from pathlib import Path
from typing import Any

import grpc
from grpc_reflection.v1alpha import reflection

from greenserve.serve.grpc.carbon import CARBON_SERVICE, CarbonService
from greenserve.serve.grpc.ready import HEALTH_SERVICE, ReadyHealth
from greenserve.serve.grpc.service import SERVICE, InferenceService
from greenserve.units import MILLI

CONCURRENT_RPCS = 768
OPTIONS = (
    ("grpc.so_reuseport", 1),
    ("grpc.max_metadata_size", 16_384),
    ("grpc.max_concurrent_streams", 100),
    ("grpc.max_connection_age_ms", 300_000),
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.server_handshake_timeout_ms", 10_000),
)
SERVICES = (SERVICE, CARBON_SERVICE, HEALTH_SERVICE, reflection.SERVICE_NAME)
GRACE_MS = 20_000
QUIET_S = 0.2
"""How long answers are held back before and after clients are told to go elsewhere."""


class GrpcServer:
    """One server; `certificate` (certificate chain and key, PEM files) makes it speak TLS only.

    `max_message_bytes` is where gRPC itself stops to read a message [bytes].
    """

    def __init__(
        self,
        service: InferenceService,
        carbon: CarbonService,
        *,
        max_message_bytes: int,
        longest_s: float = 0.0,
        certificate: tuple[Path, Path] | None = None,
    ) -> None:
        """`longest_s` [s] is how long a call may take: a connection that is old does not end before its calls."""
        self._credentials = None if certificate is None else _credentials(*certificate)
        self._server = grpc.aio.server(
            maximum_concurrent_rpcs=CONCURRENT_RPCS,
            options=(
                *OPTIONS,
                ("grpc.max_receive_message_length", max_message_bytes),
                ("grpc.max_connection_age_grace_ms", GRACE_MS + int(longest_s * MILLI)),
            ),
        )
        self._streams, self._gate, self._carbon = service.streams, service.gate, carbon
        self._server.add_generic_rpc_handlers((service, carbon))
        self._health = ReadyHealth(service.health, services=("", *SERVICES))
        self._server.add_generic_rpc_handlers((self._health.handlers(),))
        reflection.enable_server_reflection(SERVICES, self._server)
        self._watching: asyncio.Task[None] | None = None

    async def start(self, *, host: str, port: int) -> int:
        """Listen; the port that was bound (0 asks for a free one). Raises OSError where it can't be had."""
        try:
            bound = self._bind(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
        except RuntimeError as error:
            raise OSError(f"gRPC cannot listen on {host}:{port}: {error}") from None
        await self._server.start()
        await self._health.look()
        self._watching = asyncio.create_task(self._health.keep_looking(), name="grpc-health")
        return bound

    async def drain(self) -> None:
        """Tell those who ask for health at once; calls are still answered."""
        await self._health.look()

    async def stop(self, *, grace_s: float) -> None:
        """Report NOT_SERVING, refuse new calls, let running ones end within `grace_s` [s]."""
        await self._health.enter_shutdown()
        self._streams.end()
        self._carbon.end()
        if self._watching is not None:
            self._watching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watching
        self._gate.hold()
        await asyncio.sleep(QUIET_S)  # calls that are about to be answered reach the gate
        asyncio.get_running_loop().call_later(QUIET_S, self._gate.release)
        await self._server.stop(grace_s)

    def _bind(self, address: str) -> int:
        if self._credentials is None:
            return int(self._server.add_insecure_port(address))
        return int(self._server.add_secure_port(address, self._credentials))


def _credentials(certificate: Path, key: Path) -> Any:
    return grpc.ssl_server_credentials(((key.read_bytes(), certificate.read_bytes()),))
