"""MIG instances of a board: which there are, and how busy each is. Asked beside the sampler, never in it."""

import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from greenserve.carbon.meters.nvml import Board
from greenserve.errors import MeterUnavailable
from greenserve.units import NS_PER_S

if TYPE_CHECKING:  # the seams name numpy, which a meter does not need
    from greenserve.ports import Clock

log = logging.getLogger("greenserve.meters")
EVERY_S = 1.0
STALE_NS = 5 * NS_PER_S
"""An activity that is older says nothing of the present."""
MILLI_PER_PCT = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """A MIG instance: its UUID, its board's, the GPU instance that it lies in, and its compute slices."""

    uuid: str
    board: str
    gpu_instance: int
    slices: int

    def __post_init__(self) -> None:
        if not self.uuid or self.slices < 1:
            raise ValueError(f"an instance has a UUID and at least one slice, got {self!r}")


def list_instances(nvml: Any, board: Board) -> tuple[tuple[Instance, ...], int]:
    """The instances of a divided board in the driver's order, and how many slices the board has in all.

    Slow (50 to 100 ms a handle): asked once, at the start. MeterUnavailable where the driver does not list them.
    """
    found = []
    try:
        places = int(nvml.nvmlDeviceGetMaxMigDeviceCount(board.handle))
        for place in range(places):
            try:
                handle = nvml.nvmlDeviceGetMigDeviceHandleByIndex(board.handle, place)
            except nvml.NVMLError as error:
                if error.value in {nvml.NVML_ERROR_NOT_FOUND, nvml.NVML_ERROR_INVALID_ARGUMENT}:
                    continue
                raise
            uuid = nvml.nvmlDeviceGetUUID(handle)
            found.append(
                Instance(
                    uuid=uuid.decode() if isinstance(uuid, bytes) else str(uuid),
                    board=board.uuid,
                    gpu_instance=int(nvml.nvmlDeviceGetGpuInstanceId(handle)),
                    slices=int(nvml.nvmlDeviceGetAttributes_v2(handle).computeInstanceSliceCount),
                )
            )
    except (nvml.NVMLError, ValueError) as error:
        raise MeterUnavailable(
            f"{board.name} ({board.uuid}) is divided by MIG and its instances cannot be listed ({error})"
        ) from None
    return tuple(found), max(places, sum(one.slices for one in found))


class MigWatch:
    """Asks once a second how busy each GPU instance's SMs were since the last time (GPM; Hopper and newer).

    State: `_samples`, the last sample of each GPU instance; `_seen`, the last answer and its time. Written by its
    thread (or `look`), read by anyone. A board without GPM is asked once.
    """

    def __init__(self, nvml: Any, board: Board, instances: tuple[Instance, ...], *, clock: "Clock") -> None:
        self._nvml, self._board, self._instances, self._clock = nvml, board, instances, clock
        self._samples: dict[int, Any] = {}
        self._seen: tuple[int, Mapping[str, int]] | None = None
        self.fault: str | None = None
        self._supported: bool | None = None
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def __repr__(self) -> str:
        return f"<MigWatch of {len(self._instances)} instances of {self._board.uuid}>"

    def activity(self) -> Mapping[str, int] | None:
        """SM utilisation [1/1000] of each instance by UUID over the last second; None where it is not known now."""
        seen = self._seen
        if seen is None or self._clock.monotonic_ns() - seen[0] > STALE_NS:
            return None
        return seen[1]

    def start(self) -> None:
        """Begin to ask; again after a `stop`."""
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="meter-mig", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ask no more."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()
        for sample in self._samples.values():
            self._nvml.nvmlGpmSampleFree(sample)
        self._samples.clear()

    def look(self) -> None:
        """Ask once; the answer is over the time since the last look, so the first gives none."""
        nvml = self._nvml
        try:
            if self._supported is None:
                self._supported = bool(nvml.nvmlGpmQueryDeviceSupport(self._board.handle).isSupportedDevice)
                self.fault = None if self._supported else "this board has no GPM metrics (Hopper and newer have)"
            if not self._supported:
                return
            busy = {number: self._busy_milli(number) for number in {one.gpu_instance for one in self._instances}}
        except nvml.NVMLError as error:
            if self.fault is None:
                log.warning("how busy the instances of %s are is not known: %s", self._board.uuid, error)
            self.fault, self._seen = str(error), None
            return
        known = {number: milli for number, milli in busy.items() if milli is not None}
        if len(known) < len(busy):
            self._seen = None
            return
        self.fault = None
        self._seen = (
            self._clock.monotonic_ns(),
            {one.uuid: known[one.gpu_instance] for one in self._instances},
        )

    def _busy_milli(self, gpu_instance: int) -> int | None:
        """SM utilisation [1/1000] of a GPU instance since its last sample; None at the first and for no number."""
        nvml, before = self._nvml, self._samples.get(gpu_instance)
        now = nvml.nvmlGpmSampleAlloc()
        try:
            nvml.nvmlGpmMigSampleGet(self._board.handle, gpu_instance, now)
        except nvml.NVMLError:
            nvml.nvmlGpmSampleFree(now)
            raise
        self._samples[gpu_instance] = now
        if before is None:
            return None
        try:
            asked = nvml.c_nvmlGpmMetricsGet_t()
            asked.version, asked.numMetrics = nvml.NVML_GPM_METRICS_GET_VERSION, 1
            asked.sample1, asked.sample2 = before, now
            asked.metrics[0].metricId = nvml.NVML_GPM_METRIC_SM_UTIL
            told = nvml.nvmlGpmMetricsGet(asked).metrics[0]
        finally:
            nvml.nvmlGpmSampleFree(before)
        # A NaN compares false with everything.
        if told.nvmlReturn != nvml.NVML_SUCCESS or not 0 <= told.value <= 100:
            return None
        return round(float(told.value) * MILLI_PER_PCT)

    def _run(self) -> None:
        self.look()
        while self._supported is not False and not self._stopping.wait(EVERY_S):
            self.look()
