"""The Ray Serve application: gateway replicas that listen themselves, and the one writer of the ledger.

Ray is imported inside functions: it reads its environment at import, and cluster.py sets that first.
"""

import logging
import os
import sys
from functools import partial
from pathlib import Path
from typing import Any

from greenserve import errors
from greenserve.config import Config
from greenserve.errors import GreenServeError
from greenserve.serve.engines.pick import engine_for
from greenserve.serve.replica import GatewayReplica
from greenserve.serve.writer import LedgerWriter

GATEWAY_APP = "greenserve"
LEDGER_APP = "greenserve-ledger"
DRAIN_TIMEOUT_S = 25.0


class GatewayDeployment:
    """One gateway replica under Ray Serve, which places, watches and replaces it; requests never pass through it."""

    def __init__(self, config: Config, root: str, run_id: str, cores: int) -> None:
        _settle_in(root)
        name = f"gateway-{os.getpid()}"
        self._replica = GatewayReplica(
            config=config,
            run_id=run_id,
            name=name,
            cores=cores,
            engine_for=partial(engine_for, threads=config.server.threads_per_engine),
        )
        self._replica.start()

    def check_health(self) -> None:
        """Raise where this replica must be replaced."""
        self._replica.check()

    def state(self) -> dict[str, Any]:
        """What the replica says of itself."""
        return dict(self._replica.state())

    def __del__(self) -> None:
        self._replica.stop()


class LedgerDeployment:
    """The one writer of the ledger under Ray Serve."""

    def __init__(self, config: Config, root: str, run_id: str, root_pid: int) -> None:
        _settle_in(root)
        self._writer = LedgerWriter(config=config, run_id=run_id, root_pid=root_pid)
        self._writer.start()

    def check_health(self) -> None:
        """Raise where the writer must be replaced."""
        self._writer.check()

    def __del__(self) -> None:
        self._writer.stop()


def deploy(config: Config, *, run_id: str, cores: int, root_pid: int) -> None:
    """Start Serve without its proxies and both applications; returns when every replica takes requests."""
    from ray import serve

    logging.getLogger("ray.serve").setLevel(logging.ERROR)
    serve.start(proxy_location="Disabled")
    root = str(Path.cwd())
    ledger = serve.deployment(
        name="LedgerWriter",
        num_replicas=1,
        ray_actor_options={"num_cpus": 0},
        health_check_period_s=1,
        health_check_timeout_s=10,
        graceful_shutdown_timeout_s=DRAIN_TIMEOUT_S,
        graceful_shutdown_wait_loop_s=0.2,
    )(LedgerDeployment)
    gateway = serve.deployment(
        name="Gateway",
        num_replicas=config.server.replicas_on(cores),
        ray_actor_options={"num_cpus": 0.5},
        max_ongoing_requests=32,
        max_queued_requests=64,
        health_check_period_s=1,
        health_check_timeout_s=10,
        graceful_shutdown_timeout_s=DRAIN_TIMEOUT_S,
        graceful_shutdown_wait_loop_s=0.2,
    )(GatewayDeployment)
    try:
        serve.run_many(
            [
                serve.RunTarget(target=ledger.bind(config, root, run_id, root_pid), name=LEDGER_APP, route_prefix=None),
                serve.RunTarget(target=gateway.bind(config, root, run_id, cores), name=GATEWAY_APP, route_prefix=None),
            ]
        )
    except RuntimeError:
        raise _failure(serve.status()) from None


def _failure(status: Any) -> GreenServeError:
    """Why a replica did not start, in its own words and class: Serve's message ends with the error that it raised."""
    for application in status.applications.values():
        for deployment in application.deployments.values():
            name, found, text = deployment.message.rpartition(f"\n{errors.__name__}.")[2].partition(": ")
            kind = getattr(errors, name, None)
            if found and isinstance(kind, type) and issubclass(kind, GreenServeError):
                return kind(f"the gateway did not start: {text.strip()}")
    messages = [each.message for each in status.applications.values() if each.message]
    return GreenServeError(f"the gateway did not start: {' '.join(messages) or 'Ray Serve does not say why'}")


def remove() -> None:
    """End the gateways first, so that the writer can take their last lines, then the writer. Serve ends with Ray."""
    from ray import serve

    serve.delete(GATEWAY_APP)
    serve.delete(LEDGER_APP)


def _settle_in(root: str) -> None:
    """Relative paths of the configuration start where the command was called."""
    os.chdir(root)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s %(message)s")
