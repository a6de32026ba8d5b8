"""The Ray under a gateway as its driver sees it: a local one that starts and ends with it, or a cluster of others."""

import os
import threading
from pathlib import Path
from typing import Protocol

from greenserve.config import Config
from greenserve.serve import cluster
from greenserve.serve.profile import check_profile
from greenserve.serve.supervisor import end_processes, name_of, processes_below, still_running, wait_until

DRAIN_PATIENCE_S = 90.0
RAY_END_S = 5.0
RAY_SERVERS = ("gcs_server", "raylet")


class Ground(Protocol):
    """Where a gateway stands. `root_pid` is the process below which all of it runs; None where that is not ours."""

    local: bool
    root_pid: int | None

    def start(self) -> None:
        """Bring it up, or connect to it."""

    def drain(self, processes: dict[int, int]) -> bool:
        """End the gateway's applications, then what was started here; False where Ray was ended from outside."""


class LocalRay:
    """A Ray of this gateway's own, whose session lives in the run folder."""

    local = True

    def __init__(self, folder: Path, *, cpus: int) -> None:
        self._folder = folder
        self._cpus = cpus
        self.root_pid: int | None = os.getpid()

    def start(self) -> None:
        """End what a killed run left, then start Ray."""
        cluster.prepare(self._folder)
        cluster.start_ray(self._folder, cpus=self._cpus)

    def drain(self, processes: dict[int, int]) -> bool:
        """Where Ray was killed its client would spin for a minute, so it is not asked."""
        done = threading.Event()
        ray_server = {pid: ticks for pid, ticks in processes.items() if name_of(pid) == "gcs_server"}
        if not still_running(ray_server):
            return False

        def remove() -> None:
            try:
                cluster.remove()
            finally:
                below = processes_below(os.getpid())
                helpers = {pid: ticks for pid, ticks in below.items() if name_of(pid) not in RAY_SERVERS}
                end_processes(helpers, patience_s=0.0)  # agents and monitors: Ray would wait a second for each
                cluster.stop_ray()
                done.set()

        threading.Thread(target=remove, name="draining", daemon=True).start()
        wait_until(lambda: done.is_set() or not still_running(ray_server), DRAIN_PATIENCE_S)
        return done.wait(RAY_END_S)


class RunningRay:
    """A cluster that others started and that outlives this gateway."""

    local = False

    def __init__(self, config: Config, folder: Path) -> None:
        self._config = config
        self._folder = folder
        self._connected = False
        self._serve_ran = True
        self.root_pid: int | None = None

    def start(self) -> None:
        """Connect; raises what prevents serving there."""
        check_profile(self._config, run_folder=self._folder, ray_token_auth=cluster.token_auth())
        address = self._config.ray.address
        cluster.connect(address)
        try:
            self._serve_ran = cluster.serve_runs(address)
        except BaseException:
            cluster.stop_ray()
            raise
        self._connected = True

    def drain(self, processes: dict[int, int]) -> bool:
        """Only our applications go, and Serve where it came with them."""
        if self._connected:
            cluster.remove(with_serve=not self._serve_ran)
            cluster.stop_ray()
        return True
