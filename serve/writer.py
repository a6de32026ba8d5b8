"""The thread of the ledger's one writer: takes spools in, reads the meter, settles.

State: the ingest, used by this thread alone after `start`.
"""

import gc
import logging
import threading
import time
from collections.abc import Callable, Sequence

from greenserve.carbon.ledger.ingest import Ingest, Node, Progress
from greenserve.carbon.ledger.opening import open_ledger
from greenserve.carbon.ledger.settled_rows import Written
from greenserve.carbon.ledger.spool import boot_id
from greenserve.carbon.ledger.tenancy import TenancyStore
from greenserve.carbon.meters.meter_cpu import MeterCpu
from greenserve.carbon.meters.own_cpu import OwnCpu
from greenserve.carbon.reservations import WHOLE_PPM, Reservation
from greenserve.clock import SystemClock
from greenserve.config import Config
from greenserve.errors import GreenServeError
from greenserve.serve.metering import Metering
from greenserve.serve.power_file import POWER_FILE, PowerPublisher
from greenserve.serve.replica import metrics_folder, power_of, spool_folder
from greenserve.serve.run_folder import RunFolder
from greenserve.serve.telemetry.publisher import Publisher
from greenserve.serve.telemetry.settled import Tenants, count_intervals, count_settled, uses_of
from greenserve.trouble import Trouble

log = logging.getLogger("greenserve.writer")
STEP_S = 0.1
SILENCE_S = 30.0
PUBLISH_S = 1.0
COLLECT = (50_000, 20, 100)


def reservations_in(config: Config) -> tuple[Reservation, ...]:
    """What of the devices the configuration keeps for whom."""
    return tuple(
        Reservation(device=one.device, tenant=one.tenant, share_ppm=round(one.share * WHOLE_PPM))
        for one in config.tenancy.reservations
    )


class LedgerWriter:
    """Runs the ingest until `stop`, which settles everything."""

    def __init__(self, *, config: Config, run_id: str, root_pid: int) -> None:
        self._metering = Metering(config, root_pid=root_pid)
        self._meter_cpu = MeterCpu()
        self._publisher = Publisher(metrics_folder(config), "writer") if config.telemetry.prometheus else None
        self._tenants = Tenants(config.telemetry.tenant_labels)
        self._powers = PowerPublisher(
            RunFolder(port=config.server.http.port).path / POWER_FILE,
            run_id=run_id,
            names=self._metering.metered.names,
            clock=SystemClock(),
            cpu=power_of(config),
        )
        self._spools = spool_folder(config.ledger.path)
        self._stuck = Trouble(log, "the ledger did not take a step")
        self._unpublished = Trouble(log, "what was learned of powers is not shown to the replicas")
        self._unshown = Trouble(log, "the metrics of the ledger's writer are not shown")
        self._published_s = 0.0
        self._taken_s = time.monotonic()
        self._ledger = open_ledger(config.ledger.url, config.ledger.path)
        reservations = reservations_in(config)
        tenants = {one.tenant.tenant_id for one in TenancyStore(self._ledger, SystemClock()).tenants()}
        for unknown in sorted({one.tenant for one in reservations} - tenants):
            log.warning("tenancy.reservations keeps devices for %s: no such tenant is in the ledger yet", unknown)
        self._ingest = Ingest(
            ledger=self._ledger,
            spool_folder=spool_folder(config.ledger.path),
            node=Node(
                meter=self._metering.cpu,
                own_cpu=self._meter_cpu.timed(OwnCpu(root_pid).read_ns),
                boot_id=boot_id(),
                run_id=run_id,
                metered=self._metering.metered,
                reservations=reservations,
                metering_ns=self._meter_cpu.since_last_ns,
            ),
            clock=SystemClock(),
            written=self._written,
        )
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ledger-writer", daemon=True)
        self._alive_at_s = time.monotonic()

    def start(self) -> None:
        """Begin to take in."""
        self._metering.start()
        self._thread.start()

    def stop(self) -> None:
        """Take in the last lines, settle every request, let the ledger go."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()
        self._metering.stop()

    def check(self) -> None:
        """Raise RuntimeError where the writer has ended or made no step for half a minute."""
        silent_s = time.monotonic() - self._alive_at_s
        if not self._thread.is_alive() or silent_s > SILENCE_S:
            raise RuntimeError(f"the ledger's writer has made no step for {silent_s:.0f} s")

    def _run(self) -> None:
        # Lines live until they are settled: looking through all of them at the usual pace costs a tenth of the work.
        gc.set_threshold(*COLLECT)
        while not self._stopping.wait(STEP_S):
            progress = self._guarded(self._ingest.step)
            self._alive_at_s = time.monotonic()
            if progress is not None:
                self._taken_s = self._alive_at_s
            self._publish()
        self._guarded(self._ingest.finish)
        self._ledger.close()

    def _written(self, written: Sequence[Written]) -> None:
        others = [one.entry for one in written if one.line.kind != "usage"]
        try:
            self._powers.written(written)
        except Exception:  # answers are then estimated as before
            log.exception("what was settled was not learned from")
        if self._publisher is None:
            return
        try:
            count_settled(self._publisher, uses_of(written), self._tenants)
            count_intervals(self._publisher, others)
        except Exception:  # what cannot be counted is in the ledger all the same
            log.exception("settled entries were not counted")

    def _publish(self) -> None:
        """Once a second; models and metrics that cannot be written hold nothing up."""
        try:
            self._powers.publish()
        except OSError as error:
            self._unpublished.met(error)
        else:
            self._unpublished.over()
        if self._publisher is None or self._alive_at_s - self._published_s < PUBLISH_S:
            return
        self._published_s = self._alive_at_s
        try:
            spooled = sum(file.stat().st_size for file in self._spools.glob("*.spool"))
            self._publisher.gauge("greenserve_ledger_spool_bytes", spooled)
            self._publisher.gauge("greenserve_ledger_lag_seconds", self._alive_at_s - self._taken_s)
            self._publisher.publish()
        except OSError as error:
            self._unshown.met(error)
        else:
            self._unshown.over()

    def _guarded(self, work: Callable[[], Progress]) -> Progress | None:
        """What was done; None where it was not, and is tried again."""
        try:
            done = work()
        except GreenServeError as error:
            self._stuck.met(error)
            return None
        self._stuck.over()
        return done
