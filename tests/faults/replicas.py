"""Gateway replicas within the test's process: real listeners, a real ledger, an engine that answers at once."""

import asyncio
import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from greenserve.config import Config
from greenserve.serve.replica import GatewayReplica
from tests.gateway_process import free_ports
from tests.serve.building import HeldEngines, a_config

PATIENCE_S = 20.0


def a_gateway_config(
    manifest: Path, folder: Path, *, certificate: tuple[Path, Path] | None = None, **limits: Any
) -> Config:
    """Free ports, nobody needs a key, and nobody is too fast."""
    http_port, grpc_port = free_ports(2)
    server: dict[str, Any] = {
        "http": {"port": http_port},
        "grpc": {"port": grpc_port},
        "limits": {"max_queued": 2_048} | limits,
    }
    if certificate is not None:
        server["tls"] = {"cert_file": certificate[0], "key_file": certificate[1]}
    tenancy = {"auth": "anonymous", "defaults": {"rate": "100000/s", "burst": 100_000}}
    return a_config(manifest, folder, server=server, tenancy=tenancy)


@contextlib.contextmanager
def a_replica(config: Config, name: str) -> Iterator[GatewayReplica]:
    """A replica that takes requests."""
    replica = GatewayReplica(config=config, run_id="run", name=name, cores=2, engine_for=HeldEngines())
    replica.start()
    try:
        yield replica
    finally:
        replica.stop()


async def until(replica: GatewayReplica, **wanted: object) -> None:
    """Wait until the replica says so of itself; it lives in another thread and tells nobody."""
    async with asyncio.timeout(PATIENCE_S):
        while {name: replica.state()[name] for name in wanted} != wanted:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
