"""The Ray Serve applications: gateways that listen themselves, the engines of remote models, the ledger's one writer.

Ray is imported inside functions: it reads its environment at import, and cluster.py sets that first.
"""

import logging
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from greenserve import errors
from greenserve.carbon.ledger.spool import boot_id
from greenserve.clock import SystemClock
from greenserve.config import Config
from greenserve.errors import GreenServeError, ModelUnknown
from greenserve.host import describe_host
from greenserve.sections import Model
from greenserve.serve.cluster import GATEWAY_APP, LEDGER_APP
from greenserve.serve.engines.pick import engine_for
from greenserve.serve.lineup import Lineup, lineup_of
from greenserve.serve.models import load_model
from greenserve.serve.reload import PREPARE, Reloaded, Report, failed, reload_everywhere
from greenserve.serve.remote import NoRoom, ReplicaGone
from greenserve.serve.replica import GatewayReplica
from greenserve.serve.supervisor import wait_until
from greenserve.serve.variant_replica import VariantReplica
from greenserve.serve.writer import LedgerWriter

GATEWAY = "Gateway"
ENGINES = "VariantReplica"
DRAIN_TIMEOUT_S = 25.0
SETTLE_S = 120.0
STEP_S = 180.0
DESCRIBE_S = 120.0
RETIRE_MARGIN_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What should run: gateways, replicas of each remote model's engines, the generation of code and configuration.

    Replicas of one generation stay when the others numbers change; those of an older one are replaced.
    """

    gateways: int
    replicas: Mapping[str, int]
    generation: int = 1


def wanted_at_start(config: Config, cores: int) -> Wanted:
    """What the configuration asks for."""
    remote = {model.name: model.replicas.least for model in config.models if model.placement == "remote"}
    return Wanted(gateways=config.server.replicas_on(cores), replicas=remote)


class GatewayDeployment:
    """One gateway replica under Ray Serve, which places, watches and replaces it; requests never pass through it."""

    def __init__(self, config: Config, root: str, run_id: str, cores: int, handles: Mapping[str, Any]) -> None:
        _settle_in(root)
        name = f"gateway-{os.getpid()}"
        self._replica = GatewayReplica(
            config=config,
            run_id=run_id,
            name=name,
            cores=cores,
            engine_for=partial(engine_for, threads=config.server.threads_per_engine),
            reaches={model: HandleReach(handle) for model, handle in handles.items()},
            reload_model=partial(reload_model, config),
        )
        self._replica.start()

    def check_health(self) -> None:
        """Raise where this replica must be replaced."""
        self._replica.check()

    def state(self) -> dict[str, Any]:
        """What the replica says of itself."""
        return dict(self._replica.state())

    def reconfigure(self, shared: Mapping[str, Any]) -> None:
        """So many gateways, and replicas of each remote model, there are now."""
        self._replica.share(gateways=shared["gateways"], replicas=shared["replicas"])

    async def reload(self, step: str, model: str) -> Report:
        """One step of a reload."""
        return await self._replica.reload(step, model)

    def __del__(self) -> None:
        self._replica.stop()


class VariantDeployment:
    """One replica of a remote model's engines under Ray Serve; gateways call it once per batch, with frames."""

    def __init__(self, config: Config, root: str, model: str) -> None:
        _settle_in(root)
        settings = _model_of(config, model)
        fingerprint = str(describe_host()["fingerprint"])
        self._replica = VariantReplica(
            load=partial(
                load_model,
                settings,
                partial(engine_for, threads=config.server.threads_per_engine),
                fingerprint,
                max_items=config.server.limits.max_items,
            ),
            node=boot_id(),
            fingerprint=fingerprint,
            clock=SystemClock(),
            retire_s=config.server.limits.request_timeout_s + RETIRE_MARGIN_S,
        )

    async def run(self, frame: bytes) -> bytes:
        """Run a batch."""
        return await self._replica.run(frame)

    async def describe(self, nothing: bytes) -> bytes:
        """What this replica holds."""
        return self._replica.describe()

    async def reload(self, step: str, model: str) -> Report:
        """One step of a reload."""
        return await self._replica.reload(step)

    def check_health(self) -> None:
        """Raise where this replica must be replaced."""
        self._replica.check()

    def __del__(self) -> None:
        self._replica.close()


class LedgerDeployment:
    """The one writer of the ledger under Ray Serve."""

    def __init__(self, config: Config, root: str, run_id: str, root_pid: int | None) -> None:
        _settle_in(root)
        if root_pid is None:  # the cluster is not ours: what its Ray runs on this node is as near as can be told
            root_pid = os.getppid()
        self._writer = LedgerWriter(config=config, run_id=run_id, root_pid=root_pid)
        self._writer.start()

    def check_health(self) -> None:
        """Raise where the writer must be replaced."""
        self._writer.check()

    def __del__(self) -> None:
        self._writer.stop()


class HandleReach:
    """A remote model's replicas behind a handle of Ray Serve: one call per batch, bytes both ways.

    Bytes travel in the call itself, not through the object store. Ray 2.60 wraps arguments in a list, which its "noop"
    serialization then refuses; pickling one bytes object is a copy.
    """

    def __init__(self, handle: Any) -> None:
        plain = handle.options(_by_reference=False, request_serialization="pickle", response_serialization="pickle")
        self._run = plain.options(method_name="run")
        self._describe = plain.options(method_name="describe")

    async def run(self, frame: bytes) -> bytes:
        """The answer of one replica; raises ReplicaGone or NoRoom."""
        from ray.exceptions import ActorDiedError, ActorUnavailableError
        from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError, ReplicaUnavailableError

        try:
            answer: bytes = await self._run.remote(frame)
        except (ActorDiedError, ActorUnavailableError, ReplicaUnavailableError) as error:
            raise ReplicaGone(type(error).__name__) from None
        except (BackPressureError, DeploymentUnavailableError) as error:
            raise NoRoom(str(error).partition("\n")[0]) from None
        return answer

    def describe(self) -> bytes:
        """What one replica holds; blocks until one is there."""
        said: bytes = self._describe.remote(b"").result(timeout_s=DESCRIBE_S)
        return said


def deploy(config: Config, wanted: Wanted, *, run_id: str, cores: int, root_pid: int | None, local: bool) -> None:
    """Start Serve without its proxies and both applications; returns when every replica takes requests.

    A `local` Ray has one node, on which nothing need be reserved. `root_pid` is the process that started Ray (None:
    somebody else did).
    """
    from ray import serve

    logging.getLogger("ray.serve").setLevel(logging.ERROR)
    serve.start(proxy_location="Disabled")
    ledger = serve.deployment(
        name="LedgerWriter",
        num_replicas=1,
        ray_actor_options={"num_cpus": 0},
        health_check_period_s=1,
        health_check_timeout_s=10,
        graceful_shutdown_timeout_s=DRAIN_TIMEOUT_S,
        graceful_shutdown_wait_loop_s=0.2,
        max_constructor_retry_count=1,
    )(LedgerDeployment)
    writer = ledger.bind(config, str(Path.cwd()), run_id, root_pid)
    _run(
        [
            serve.RunTarget(target=writer, name=LEDGER_APP, route_prefix=None),
            _gateways(config, wanted, run_id=run_id, cores=cores, local=local),
        ]
    )


def change(config: Config, wanted: Wanted, *, run_id: str, cores: int, local: bool) -> None:
    """Bring the gateways and engines to what is wanted; returns once that many run and no others.

    Replicas of an older generation end only after those of the new one take requests.
    """
    _run([_gateways(config, wanted, run_id=run_id, cores=cores, local=local)])
    numbers = {GATEWAY: wanted.gateways} | {engines_of(name): count for name, count in wanted.replicas.items()}
    if not wait_until(lambda: _settled(numbers), SETTLE_S):
        raise GreenServeError(
            f"after {SETTLE_S:g} s there are not yet {numbers}; `greenserve status` shows what there is"
        )


def reload_model(config: Config, name: str) -> Reloaded:
    """Read a model's manifest again everywhere; raises ModelUnknown or ReloadFailed, and the old one serves on."""
    settings = _model_of(config, name)
    gateways = _Replicas(GATEWAY)
    engines = [_Replicas(engines_of(name))] if settings.placement == "remote" else []
    done = reload_everywhere(name, [*engines, gateways])
    logging.getLogger("greenserve.reload").info("model %s is reloaded on %d replicas", name, done.replicas)
    return done


def lineup() -> Lineup:
    """What the gateways that run say that they serve."""
    states = _Replicas(GATEWAY).states()
    if not states:
        raise GreenServeError("no gateway replica answers; `greenserve status` shows what runs")
    return lineup_of(states)


def replica_counts() -> dict[str, int]:
    """How many replicas of each deployment run now."""
    from ray import serve

    application = serve.status().applications.get(GATEWAY_APP)
    deployments = application.deployments if application is not None else {}
    return {name: int(each.replica_states.get("RUNNING", 0)) for name, each in deployments.items()}


def engines_of(model: str) -> str:
    """The name of the deployment that holds a remote model's engines."""
    return f"{ENGINES}-{model}"


class _Replicas:
    """All replicas of one deployment of the gateway's application."""

    def __init__(self, deployment: str) -> None:
        self._deployment = deployment

    def states(self) -> list[Mapping[str, Any]]:
        """What each says of itself; one that died in between says nothing."""
        from ray import serve

        handle = serve.get_deployment_handle(self._deployment, GATEWAY_APP).options(_by_reference=True)
        answers = handle.broadcast("state").results(timeout_s=STEP_S, return_exceptions=True)
        return [each for each in answers if isinstance(each, dict)]

    def ask(self, step: str, model: str) -> Sequence[Report]:
        """One step of a reload on every replica. One that died takes the new manifest when it comes back."""
        from ray import serve
        from ray.exceptions import RayActorError

        handle = serve.get_deployment_handle(self._deployment, GATEWAY_APP).options(_by_reference=True)
        answers = handle.broadcast("reload", step, model).results(timeout_s=STEP_S, return_exceptions=True)
        broken = [each for each in answers if isinstance(each, Exception) and not isinstance(each, RayActorError)]
        reports: list[Report] = [each for each in answers if isinstance(each, dict)]
        if step != PREPARE and broken:
            logging.getLogger("greenserve.reload").error("%s of %s: %s", step, model, broken)
        return reports + [failed(f"a replica: {error}") for error in broken]


def _gateways(config: Config, wanted: Wanted, *, run_id: str, cores: int, local: bool) -> Any:
    """The application of gateways and engines as it should be."""
    from ray import serve

    root, generation = str(Path.cwd()), str(wanted.generation)
    gateway = serve.deployment(
        name=GATEWAY,
        num_replicas=wanted.gateways,
        ray_actor_options={"num_cpus": 0 if local else 0.5},
        user_config={"gateways": wanted.gateways, "replicas": dict(wanted.replicas)},
        max_ongoing_requests=32,
        max_queued_requests=64,
        health_check_period_s=1,
        health_check_timeout_s=10,
        graceful_shutdown_timeout_s=DRAIN_TIMEOUT_S,
        graceful_shutdown_wait_loop_s=0.2,
        max_constructor_retry_count=1,
        max_surge_percent=100,
    )(GatewayDeployment).options(version=generation, _internal=True)
    handles = {}
    for name, count in wanted.replicas.items():
        settings = _model_of(config, name)
        engines = serve.deployment(
            name=engines_of(name),
            num_replicas=count,
            ray_actor_options={"num_cpus": 0 if local else 1, "num_gpus": settings.replicas.gpus},
            max_ongoing_requests=2,
            max_queued_requests=4,
            health_check_period_s=1,
            health_check_timeout_s=10,
            graceful_shutdown_timeout_s=DRAIN_TIMEOUT_S,
            graceful_shutdown_wait_loop_s=0.2,
            max_constructor_retry_count=1,
            max_surge_percent=0 if settings.replicas.gpus else 100,
        )(VariantDeployment).options(version=generation, _internal=True)
        handles[name] = engines.bind(config, root, name)
    target = gateway.bind(config, root, run_id, cores, handles)
    return serve.RunTarget(target=target, name=GATEWAY_APP, route_prefix=None)


def _run(targets: Sequence[Any]) -> None:
    from ray import serve

    try:
        serve.run_many(targets)
    except RuntimeError:
        raise _failure(serve.status()) from None


def _settled(numbers: Mapping[str, int]) -> bool:
    """Whether exactly so many replicas of each deployment run, and none starts or drains."""
    from ray import serve

    deployments = serve.status().applications[GATEWAY_APP].deployments
    states = {name: {state: n for state, n in each.replica_states.items() if n} for name, each in deployments.items()}
    return all(states.get(name) == {"RUNNING": number} for name, number in numbers.items())


def _failure(status: Any) -> GreenServeError:
    """Why a replica did not start, in its own words and class: Serve's message ends with the error that it raised."""
    for application in status.applications.values():
        for deployment in application.deployments.values():
            name, found, text = deployment.message.rpartition(f"\n{errors.__name__}.")[2].partition(": ")
            kind = getattr(errors, name, None)
            if found and isinstance(kind, type) and issubclass(kind, GreenServeError):
                return kind(f"the gateway did not start: {text.strip()}")
    said = [
        line
        for application in status.applications.values()
        for deployment in application.deployments.values()
        for line in deployment.message.strip().splitlines()[-1:]
    ]
    return GreenServeError(
        f"the gateway did not start: {'; '.join(dict.fromkeys(said)) or 'Ray Serve does not say why'}"
    )


def _model_of(config: Config, name: str) -> Model:
    for model in config.models:
        if model.name == name:
            return model
    raise ModelUnknown(
        f"no model {name!r:.80} is configured; there are {', '.join(each.name for each in config.models)}"
    )


def _settle_in(root: str) -> None:
    """Relative paths of the configuration start where the command was called."""
    os.chdir(root)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s %(message)s")
