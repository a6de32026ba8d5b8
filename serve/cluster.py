"""The Ray that a gateway runs on: a local one (environment before the import, start, end), or one that runs already.

Ray reads its constants when it is imported and its workers inherit them, so this module sets them first. On a cluster
that runs already they belong to its nodes, and are compared.
"""

import logging
import os
import secrets
import signal
import socket
from pathlib import Path

from greenserve.errors import ConfigInvalid, DependencyMissing
from greenserve.serve.run_folder import TOKEN_FILE
from greenserve.serve.supervisor import end_processes, processes_of

GATEWAY_APP = "greenserve"
LEDGER_APP = "greenserve-ledger"
ENVIRONMENT = {
    "RAY_SERVE_ENABLE_HA_PROXY": "0",
    "RAY_SERVE_ENABLE_DIRECT_INGRESS": "0",
    "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0",
    "RAY_SERVE_CONTROL_LOOP_INTERVAL_S": "0.2",
    "RAY_SERVE_LOG_TO_STDERR": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "token",
    "RAY_worker_niceness": "0",  # Ray's default of 15 lets every other process go first
    "RAY_DEDUP_LOGS": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "TOKENIZERS_PARALLELISM": "false",
    "OMP_NUM_THREADS": "1",
}
NODES_NEED = (
    "RAY_SERVE_ENABLE_HA_PROXY",
    "RAY_SERVE_ENABLE_DIRECT_INGRESS",
    "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD",
    "TOKENIZERS_PARALLELISM",
    "OMP_NUM_THREADS",
)
"""What the nodes of a cluster that runs already must have been started with."""
CONNECT_S = 5.0
PROBE_S = 30.0
SERVE_CONTROLLER, SERVE_NAMESPACE = "SERVE_CONTROLLER_ACTOR", "serve"
OBJECT_STORE_BYTES = 256 * 2**20
LONGEST_FOLDER = 107 - len("/ray/session_2026-01-01_00-00-00_000000_0000000/sockets/plasma_store")
"""The name of a UNIX socket holds 107 characters."""
LEFTOVER_PATIENCE_S = 3.0


def prepare(folder: Path) -> None:
    """Set what Ray and its workers read, before anything imports ray; the token guards Ray's own ports.

    Whoever holds the folder ends first what a run left there whose driver was killed.

    Raises ConfigInvalid for a folder with which the names of Ray's sockets grow too long.
    """
    if len(str(folder)) > LONGEST_FOLDER:
        raise ConfigInvalid(
            f"the run folder {folder} has {len(str(folder))} characters; at most {LONGEST_FOLDER} leave room for "
            "the names of Ray's sockets: set XDG_RUNTIME_DIR to a shorter folder of yours"
        )
    end_processes(processes_of(folder), patience_s=LEFTOVER_PATIENCE_S)
    token = folder / TOKEN_FILE
    descriptor = os.open(token, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(secrets.token_hex(32))
    os.environ.update(ENVIRONMENT)
    os.environ["RAY_AUTH_TOKEN_PATH"] = str(token)


def start_ray(folder: Path, *, cpus: int) -> None:
    """Start a local Ray whose session lives in the run folder; `cpus` are Ray's logical ones.

    Ray's processes inherit a blocked SIGTERM: a service manager signals the whole group, and without its servers the
    gateways could not drain.
    """
    import ray

    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        ray.init(
            address="local",
            num_cpus=cpus,
            include_dashboard=False,
            object_store_memory=OBJECT_STORE_BYTES,
            _temp_dir=str(folder / "ray"),
            logging_level=logging.ERROR,
            log_to_driver=False,
            configure_logging=False,
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def stop_ray() -> None:
    """End the local Ray."""
    import ray

    ray.shutdown()


def connect(address: str) -> None:
    """Connect to a Ray that runs already; nothing is started.

    Raises DependencyMissing where none answers, ConfigInvalid for nodes that were started without what serving needs.
    """
    os.environ["RAY_SERVE_LOG_TO_STDERR"] = "0"
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    import ray

    try:
        _knock(address)
        ray.init(address=address, logging_level=logging.ERROR, log_to_driver=False, configure_logging=False)
    except Exception as error:  # Ray raises many unrelated classes for a cluster that does not answer
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise DependencyMissing(
            f"ray.address {address}: no Ray cluster was reached ({reason}); is it up, and does RAY_AUTH_TOKEN_PATH "
            "name its token?"
        ) from None
    try:
        _compare_nodes(address)
    except BaseException:
        ray.shutdown()
        raise


def _knock(address: str) -> None:
    """Raise OSError where nothing listens: Ray's own client tries for minutes before it says so."""
    host, found, port = address.rpartition("//")[2].rpartition(":")
    if found and port.isdigit():
        socket.create_connection((host, int(port)), CONNECT_S).close()


def token_auth() -> bool:
    """Whether this process speaks to a cluster with token authentication."""
    return os.environ.get("RAY_AUTH_MODE") == "token"


def serve_runs(address: str) -> bool:
    """Whether Ray Serve runs already on the cluster that we are connected to.

    Raises ConfigInvalid where it holds a gateway already.
    """
    import ray
    from ray import serve

    try:
        ray.get_actor(SERVE_CONTROLLER, namespace=SERVE_NAMESPACE)
    except ValueError:
        return False
    if taken := sorted({GATEWAY_APP, LEDGER_APP} & set(serve.status().applications)):
        raise ConfigInvalid(
            f"ray.address {address}: an application {taken[0]} runs there already, and a cluster holds one gateway; "
            f"`greenserve stop` where that was started ends it (if that machine is gone: `serve.delete({taken[0]!r})`)"
        )
    return True


def remove(*, with_serve: bool = False) -> None:
    """End the gateways first, so that the writer can take their last lines, then the writer.

    Serve itself ends with Ray, or here where it should (`with_serve`) and holds nobody else's application. Who is asked
    to stop while Ray starts has no Serve yet, and nothing to end.
    """
    from ray import serve
    from ray.serve.exceptions import RayServeException

    try:
        serve.delete(GATEWAY_APP)
        serve.delete(LEDGER_APP)
    except RayServeException:
        return
    if with_serve and not serve.status().applications:
        serve.shutdown()


def remove_left(address: str) -> None:
    """End the applications of a gateway whose driver is gone, on a cluster that runs on."""
    connect(address)
    try:
        remove()
    finally:
        stop_ray()


def _compare_nodes(address: str) -> None:
    """Ask each node what it was started with; raises ConfigInvalid with every difference."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    names = {str(node["NodeID"]): str(node["NodeManagerAddress"]) for node in ray.nodes() if node["Alive"]}
    probe = ray.remote(num_cpus=0)(node_environment)
    asked = [
        probe.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node_id=node, soft=False)).remote(NODES_NEED)
        for node in names
    ]
    found = ray.get(asked, timeout=PROBE_S)
    faults = [
        f"  node {host}: {name}={ENVIRONMENT[name]} is needed, it has {given.get(name) or 'none'}"
        for host, given in zip(names.values(), found, strict=True)
        for name in NODES_NEED
        if given.get(name) != ENVIRONMENT[name]
    ]
    if faults:
        lines = "\n".join(faults)
        raise ConfigInvalid(
            f"ray.address {address}: its nodes must be started with other environment variables\n{lines}\n"
            "Nothing was started. Set them where `ray start` runs (the pods' specification), and start the nodes again"
        )


def node_environment(names: tuple[str, ...]) -> dict[str, str]:
    """Those environment variables that are set in the process that runs this."""
    return {name: os.environ[name] for name in names if name in os.environ}
