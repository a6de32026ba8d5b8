"""A double of the NVML module: its functions over boards in memory, with pynvml's own structures, codes and errors."""

# ruff: noqa: N802 (the names are those of NVML)

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pynvml

from greenserve.clock import ManualClock

COUNTER, POWER = pynvml.NVML_FI_DEV_TOTAL_ENERGY_CONSUMPTION, pynvml.NVML_FI_DEV_POWER_INSTANT
NS_PER_MS = 1_000_000


@dataclass
class FakeBoard:
    """One board: what its fields show now. `fails` maps a field to the code it returns, `lost` fails every call."""

    uuid: str = "GPU-0000"
    name: str = "NVIDIA Test Board"
    counter_mj: int = 1_000_000
    power_mw: int = 70_000
    limit_mw: int | None = 300_000
    fails: dict[int, int] = field(default_factory=dict)
    lost: int | None = None
    timestamp_us: int | None = None
    samples: list[tuple[int, int]] | None = None
    pids: list[int] = field(default_factory=list)
    mig: bool | None = False
    instances: "list[FakeInstance]" = field(default_factory=list)
    gpm: bool = True
    before_read: Callable[[], object] = lambda: None


@dataclass
class FakeInstance:
    """A MIG instance of a board; `busy_pct` is its GPU instance's SM utilisation between two samples."""

    parent: FakeBoard
    uuid: str = "MIG-0"
    gpu_instance: int = 1
    slices: int = 1
    busy_pct: float = 0.0


class FakeNvml:
    """The functions that the meters call; everything else of pynvml (codes, structures, errors) is the real one.

    `calls` counts the calls by name; a call of a function that is not modelled here fails the test.
    """

    def __init__(self, *boards: FakeBoard, clock: ManualClock, call_ns: int = 0, starts: bool = True) -> None:
        self.boards, self.clock, self.call_ns, self.starts = list(boards), clock, call_ns, starts
        self.calls: dict[str, int] = {}
        self.scopes: set[int] = set()
        self.last_gpm = FakeInstance(FakeBoard())

    def __getattr__(self, name: str) -> Any:
        if name.startswith("nvml"):
            raise AssertionError(f"the meters call {name}, which they must not")
        return getattr(pynvml, name)

    def _ask(self, name: str, board: FakeBoard | None = None) -> None:
        self.calls[name] = self.calls.get(name, 0) + 1
        if board is not None and board.lost is not None:
            raise pynvml.NVMLError(board.lost)

    def nvmlInit(self) -> None:
        self._ask("init")
        if not self.starts:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)

    def nvmlSystemGetDriverVersion(self) -> str:
        return "580.1"

    def nvmlDeviceGetCount(self) -> int:
        return len(self.boards)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> FakeBoard:
        self._ask("open", self.boards[index])
        return self.boards[index]

    def nvmlDeviceGetMaxMigDeviceCount(self, board: FakeBoard) -> int:
        return 7

    def nvmlDeviceGetMigDeviceHandleByIndex(self, board: FakeBoard, place: int) -> FakeInstance:
        self._ask("mig", board)
        if place >= len(board.instances):
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_FOUND)
        return board.instances[place]

    def nvmlDeviceGetGpuInstanceId(self, instance: FakeInstance) -> int:
        return instance.gpu_instance

    def nvmlDeviceGetAttributes_v2(self, instance: FakeInstance) -> Any:
        told = pynvml.c_nvmlDeviceAttributes()
        told.computeInstanceSliceCount = instance.slices
        return told

    def nvmlGpmQueryDeviceSupport(self, board: FakeBoard) -> Any:
        told = pynvml.c_nvmlGpmSupport_t()
        told.isSupportedDevice = int(board.gpm)
        return told

    def nvmlGpmSampleAlloc(self) -> Any:
        self._ask("gpm alloc")
        return pynvml.c_nvmlGpmSample_t(pynvml.struct_c_nvmlGpmSample_t())

    def nvmlGpmSampleFree(self, sample: Any) -> None:
        self._ask("gpm free")

    def nvmlGpmMigSampleGet(self, board: FakeBoard, number: int, sample: Any) -> Any:
        self._ask("gpm", board)
        self.last_gpm = next(one for one in board.instances if one.gpu_instance == number)
        return sample

    def nvmlGpmMetricsGet(self, asked: Any) -> Any:
        assert asked.metrics[0].metricId == pynvml.NVML_GPM_METRIC_SM_UTIL
        assert (asked.version, asked.numMetrics) == (pynvml.NVML_GPM_METRICS_GET_VERSION, 1)
        asked.metrics[0].value, asked.metrics[0].nvmlReturn = self.last_gpm.busy_pct, pynvml.NVML_SUCCESS
        return asked

    def nvmlDeviceGetUUID(self, board: "FakeBoard | FakeInstance") -> bytes:
        return board.uuid.encode()

    def nvmlDeviceGetName(self, board: FakeBoard) -> str:
        return board.name

    def nvmlDeviceGetEnforcedPowerLimit(self, board: FakeBoard) -> int:
        if board.limit_mw is None:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
        return board.limit_mw

    def nvmlDeviceGetMigMode(self, board: FakeBoard) -> list[int]:
        if board.mig is None:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
        return [int(board.mig), int(board.mig)]

    def nvmlDeviceIsMigDeviceHandle(self, handle: Any) -> Any:
        return pynvml.c_uint(int(isinstance(handle, FakeInstance)))

    def nvmlDeviceGetDeviceHandleFromMigDeviceHandle(self, instance: FakeInstance) -> FakeBoard:
        return instance.parent

    def nvmlDeviceGetFieldValues(self, board: FakeBoard, fields: list[tuple[int, int]]) -> Any:
        board.before_read()
        self.clock.advance(duration_ns=self.call_ns // 2)
        self._ask("fields", board)
        values = (pynvml.c_nvmlFieldValue_t * len(fields))()
        for value, (number, scope) in zip(values, fields, strict=True):
            self.scopes.add(scope)
            value.fieldId, value.scopeId = number, scope
            value.timestamp = self.clock.unix_us() if board.timestamp_us is None else board.timestamp_us
            value.nvmlReturn = board.fails.get(number, pynvml.NVML_SUCCESS)
            if number == COUNTER:
                value.valueType = pynvml.NVML_VALUE_TYPE_UNSIGNED_LONG_LONG
                value.value.ullVal = board.counter_mj
            else:
                value.valueType = pynvml.NVML_VALUE_TYPE_UNSIGNED_INT
                value.value.uiVal = board.power_mw
        self.clock.advance(duration_ns=self.call_ns - self.call_ns // 2)
        return values

    def nvmlDeviceGetSamples(self, board: FakeBoard, kind: int, since_us: int) -> Any:
        self._ask("samples", board)
        assert kind == pynvml.NVML_TOTAL_POWER_SAMPLES
        if board.samples is None:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
        found = [sample for sample in board.samples if sample[0] > since_us]
        if not found:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_FOUND)
        values = (pynvml.c_nvmlSample_t * len(found))()
        for value, (at_us, power_mw) in zip(values, found, strict=True):
            value.timeStamp, value.sampleValue.uiVal = at_us, power_mw
        return pynvml.NVML_VALUE_TYPE_UNSIGNED_INT, values[0 : len(found)]

    def nvmlDeviceGetComputeRunningProcesses(self, board: FakeBoard) -> list[Any]:
        self._ask("processes", board)
        return [_process(pid) for pid in board.pids]

    def nvmlDeviceGetGraphicsRunningProcesses(self, board: FakeBoard) -> list[Any]:
        self._ask("processes", board)
        return []


def _process(pid: int) -> Any:
    found = pynvml.c_nvmlProcessInfo_v3_t()
    found.pid = pid
    return found


class FakeSensor:
    """A board's counter behind a sensor that looks at a `share` of each period, some time late, and a load for it.

    The counter moves every `period_ns` by what the sensor saw in the last share of the period, scaled up.
    """

    def __init__(
        self, board: FakeBoard, clock: ManualClock, *, share: float = 1.0, lag_ns: int = 0, noise: float = 0.0
    ) -> None:
        self.board, self.clock, self.share, self.lag_ns, self.noise = board, clock, share, lag_ns, noise
        self.period_ns = 100 * NS_PER_MS
        self.idle_mw, self.step_mw = 70_000, 230_000
        self._busy: list[list[int]] = []
        self._shown_ns = clock.monotonic_ns()
        self._sum = 0.0
        self._base = board.counter_mj
        self._draws = 0
        board.before_read = self.update

    def feed(self) -> None:
        """Busy for the next 2 ms."""
        self.work(2 * NS_PER_MS, self.step_mw)

    def work(self, duration_ns: int, power_mw: int) -> None:
        """Busy for some time from now on, at a power above rest."""
        now_ns = self.clock.monotonic_ns()
        if self._busy and self._busy[-1][1] >= now_ns and self._busy[-1][2] == power_mw:
            self._busy[-1][1] = now_ns + duration_ns
        else:
            self._busy.append([now_ns, now_ns + duration_ns, power_mw])

    def drain(self) -> None:
        """Wait until the board is idle."""
        if self._busy:
            self.clock.advance(duration_ns=max(0, self._busy[-1][1] - self.clock.monotonic_ns()))

    def job(self) -> None:
        """A fixed amount of work: 10 ms."""
        self.clock.advance(duration_ns=10 * NS_PER_MS)

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.clock.advance(duration_ns=round(seconds * 1e9))

    def update(self) -> None:
        """Publish what is due."""
        now_ns = self.clock.monotonic_ns()
        while self._shown_ns + self.period_ns + self.lag_ns <= now_ns:
            self._shown_ns += self.period_ns
            seen_ns = int(self.share * self.period_ns)
            until_ns = self._shown_ns
            busy = sum(
                max(0, min(end, until_ns) - max(start, until_ns - seen_ns)) * power_mw
                for start, end, power_mw in self._busy[-60:]
            )
            self._draws += 1
            factor = 1 + self.noise * (1 if self._draws % 2 else -1)
            power_mw = (self.idle_mw + busy / seen_ns) * factor
            self._sum += power_mw * self.period_ns / 1e9
            self.board.counter_mj = self._base + round(self._sum)
        on = bool(self._busy) and self._busy[-1][1] > now_ns
        self.board.power_mw = self.idle_mw + (self._busy[-1][2] if on else 0)
