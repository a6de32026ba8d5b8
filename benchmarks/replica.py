"""One process of a gateway without Ray, for a benchmark: a replica with or without its records, or the ledger's writer.

`python -m benchmarks.replica CONFIG replica|unrecorded|writer` prints `ready` and runs until its input ends.
"""

import asyncio
import os
import sys
from functools import partial
from pathlib import Path

from greenserve.config import load_config
from greenserve.records import Usage
from greenserve.serve.engines.pick import engine_for
from greenserve.serve.finished import Finished, Recorded
from greenserve.serve.recorder import Recorder
from greenserve.serve.replica import GatewayReplica
from greenserve.serve.writer import LedgerWriter

RUN_ID = "01900000-0000-7000-8000-000000000000"


class Unrecorded(Recorder):
    """Acknowledges at once: nothing is attributed, priced, written or synced."""

    def submit(self, finished: Finished) -> "asyncio.Future[Recorded]":
        """A future that is done, with a usage of nothing."""
        future: asyncio.Future[Recorded] = asyncio.get_running_loop().create_future()
        usage = Usage(
            request_id=finished.admitted.request.request_id,
            active_uj=0,
            held_uj=0,
            host_uj=0,
            low_uj=0,
            high_uj=0,
            tier="simulated",
            state="provisional",
        )
        future.set_result(Recorded(usage=usage, emissions_ng=None))
        return future

    def begin(self) -> None:
        """Nothing is counted."""

    def end(self) -> None:
        """Nothing is counted."""


def main(config_file: str, role: str) -> None:
    """Start, say so, wait for the end of the input, stop."""
    config = load_config(Path(config_file))
    if role == "writer":
        writer = LedgerWriter(config=config, run_id=RUN_ID, root_pid=os.getppid())
        writer.start()
        wait()
        writer.stop()
        return
    replica = GatewayReplica(
        config=config,
        run_id=RUN_ID,
        name=f"replica-{os.getpid()}",
        cores=2,
        engine_for=partial(engine_for, threads=1),
    )
    if role == "unrecorded":
        replica.recorder_class = Unrecorded
    replica.start()
    wait()
    replica.stop()


def wait() -> None:
    """Until the parent closes the pipe."""
    print("ready", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main(*sys.argv[1:3])
