"""The local Ray that a gateway runs on: its environment before the import, its start, its end.

Ray reads its constants when it is imported and its workers inherit them, so this module sets them first.
"""

import logging
import os
import secrets
import signal
from pathlib import Path

from greenserve.errors import ConfigInvalid
from greenserve.serve.run_folder import TOKEN_FILE
from greenserve.serve.supervisor import end_processes, processes_of

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
