"""NVIDIA boards as NVML shows them: their list, and one call a tick for counter and power. Alone imports pynvml.

Never asked in the sampler: process lists, clocks, memory, utilisation, MIG handles; they hold a lock of the driver
that stalls the application. No setting is ever changed. Every function takes the module as `nvml`.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from greenserve.errors import MeterUnavailable
from greenserve.units import NS_PER_S

if TYPE_CHECKING:  # the seams name numpy, which a meter does not need
    from greenserve.ports import Clock

NS_PER_US = 1_000
STEP_NS = 2_000_000
"""Attribution needs times within 2 ms; a civil clock that moved more against the monotonic one was stepped."""
STALE_NS = NS_PER_S
VALUE_MEMBERS = ("dVal", "uiVal", "ulVal", "ullVal", "sllVal", "siVal", "usVal")
"""Members of NVML's value union in the order of its value types."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """A physical board: its handle, identity, power limit [mW]; None where NVML does not tell.

    A MIG instance has no counter of its own: its board is the device, `mig` says whether the board is divided.
    """

    handle: Any
    index: int
    uuid: str
    name: str
    driver: str
    power_limit_mw: int | None
    mig: bool | None


class FieldSample(NamedTuple):
    """One call's answer: counter [mJ] and power [mW] with their times, monotonic [ns]; None where a field failed.

    `at_ns` is the middle of the call, `call_ns` its length, `faults` what failed and why. A named tuple: one is made
    at every tick, and a frozen dataclass costs four times as much.
    """

    at_ns: int
    call_ns: int
    counter_mj: int | None
    counter_at_ns: int
    power_mw: int | None
    power_at_ns: int
    faults: tuple[str, ...]


def load_nvml() -> Any:
    """The started NVML module; MeterUnavailable says what is missing: the package, the driver, or a right."""
    try:
        import pynvml
    except ImportError:
        raise MeterUnavailable(
            "the Python module pynvml is not installed; install the package nvidia-ml-py to read NVIDIA boards"
        ) from None
    start(pynvml)
    return pynvml


def start(nvml: Any) -> None:
    """Initialise NVML in this process; MeterUnavailable where it does not start."""
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        raise MeterUnavailable(
            f"NVML does not start ({error}); it needs an NVIDIA driver and, in a container, the GPU passed through"
        ) from None


def list_boards(nvml: Any) -> tuple[tuple[Board, ...], tuple[tuple[str, str], ...]]:
    """The boards that can be opened, and (`gpu INDEX`, reason) of those that cannot.

    MeterUnavailable where NVML lists none at all. MIG instances are not listed: their parents are.
    """
    try:
        count = nvml.nvmlDeviceGetCount()
        driver = _text(nvml.nvmlSystemGetDriverVersion())
    except nvml.NVMLError as error:
        raise MeterUnavailable(f"NVML lists no boards ({error})") from None
    boards, faults = [], []
    for index in range(count):
        try:
            boards.append(_board(nvml, index, driver))
        except nvml.NVMLError as error:
            faults.append((f"gpu {index}", f"it cannot be opened ({error})"))
    if not boards and not faults:
        raise MeterUnavailable("NVML runs but lists no board; is one passed to this machine or container?")
    return tuple(boards), tuple(faults)


def _board(nvml: Any, index: int, driver: str) -> Board:
    handle = nvml.nvmlDeviceGetHandleByIndex(index)
    return Board(
        handle=handle,
        index=index,
        uuid=_text(nvml.nvmlDeviceGetUUID(handle)),
        name=_text(nvml.nvmlDeviceGetName(handle)),
        driver=driver,
        power_limit_mw=_optional(nvml, nvml.nvmlDeviceGetEnforcedPowerLimit, handle) or None,
        mig=_is_divided(nvml, handle),
    )


def _is_divided(nvml: Any, handle: Any) -> bool | None:
    modes = _optional(nvml, nvml.nvmlDeviceGetMigMode, handle)
    return None if modes is None else modes[0] == nvml.NVML_DEVICE_MIG_ENABLE


def parent_of(nvml: Any, handle: Any) -> Any:
    """The board's handle: of a MIG instance its parent's, otherwise the given one. MeterUnavailable on a fault."""
    try:
        # The wrapper returns the raw C integer here, not a Python one.
        is_instance = nvml.nvmlDeviceIsMigDeviceHandle(handle)
        if getattr(is_instance, "value", is_instance):
            return nvml.nvmlDeviceGetDeviceHandleFromMigDeviceHandle(handle)
    except nvml.NVMLError as error:
        if error.value in {nvml.NVML_ERROR_NOT_SUPPORTED, nvml.NVML_ERROR_FUNCTION_NOT_FOUND}:
            return handle
        raise MeterUnavailable(f"NVML does not say whose MIG instance this is ({error})") from None
    return handle


class FieldReader:
    """Reads counter and instant power of one board in one call.

    State, changed by `sample` alone: `offset_ns`, monotonic less civil time; `steps`, how often the civil clock was
    stepped; `last_step_ns`, by how much the last time.
    """

    def __init__(self, nvml: Any, board: Board, *, clock: "Clock", scope: int = 0) -> None:
        """`scope`: 0 the GPU, 1 the module (GPU and CPU of a superchip), 2 its memory; never add module and CPU."""
        self._nvml, self._board, self._clock = nvml, board, clock
        self._fields = [
            (nvml.NVML_FI_DEV_TOTAL_ENERGY_CONSUMPTION, scope),
            (nvml.NVML_FI_DEV_POWER_INSTANT, scope),
        ]
        self._success = nvml.NVML_SUCCESS
        self.offset_ns: int | None = None
        self.steps = 0
        self.last_step_ns = 0

    def __repr__(self) -> str:
        return f"<FieldReader of {self._board.uuid}: {self.steps} clock steps>"

    def sample(self) -> FieldSample:
        """Counter and power now; MeterUnavailable where the call itself fails."""
        nvml = self._nvml
        before_ns = self._clock.monotonic_ns()
        try:
            counter, power = nvml.nvmlDeviceGetFieldValues(self._board.handle, self._fields)
        except nvml.NVMLError as error:
            raise MeterUnavailable(_advice(nvml, self._board, error)) from None
        after_ns = self._clock.monotonic_ns()
        at_ns = (before_ns + after_ns) // 2
        trusted = self._align(after_ns)
        counter_mj, counter_fault = self._value(counter, "energy counter (field 83)")
        power_mw, power_fault = self._value(power, "instant power (field 186)")
        return FieldSample(
            at_ns=at_ns,
            call_ns=after_ns - before_ns,
            counter_mj=counter_mj,
            counter_at_ns=self._time(counter.timestamp, at_ns, after_ns) if trusted else at_ns,
            power_mw=power_mw,
            power_at_ns=self._time(power.timestamp, at_ns, after_ns) if trusted else at_ns,
            faults=tuple(fault for fault in (counter_fault, power_fault) if fault),
        )

    def _align(self, after_ns: int) -> bool:
        """Note how civil time stands to monotonic time; False in the tick in which the civil clock was stepped."""
        civil_ns = self._clock.unix_us() * NS_PER_US
        again_ns = self._clock.monotonic_ns()
        if again_ns - after_ns > STEP_NS // 2 and self.offset_ns is not None:
            return True  # this thread was held up between the two: the offset of before is better
        offset_ns = (after_ns + again_ns) // 2 - civil_ns
        stepped_ns = 0 if self.offset_ns is None else offset_ns - self.offset_ns
        self.offset_ns = offset_ns
        if abs(stepped_ns) > STEP_NS:
            self.steps += 1
            self.last_step_ns = stepped_ns
            return False
        return True

    def _time(self, timestamp_us: int, at_ns: int, after_ns: int) -> int:
        """The driver's time [us since 1970] as monotonic time; the call's middle where it makes no sense."""
        assert self.offset_ns is not None
        time_ns = int(timestamp_us) * NS_PER_US + self.offset_ns
        if not after_ns - STALE_NS <= time_ns <= after_ns + STEP_NS:
            return at_ns
        return min(time_ns, after_ns)

    def _value(self, field: Any, name: str) -> tuple[int | None, str | None]:
        returned, kind = field.nvmlReturn, field.valueType
        if returned != self._success:
            return None, f"{name}: {self._nvml.NVMLError(returned)}"
        if not 0 <= kind < len(VALUE_MEMBERS):
            return None, f"{name}: unknown value type {kind}"
        return int(getattr(field.value, VALUE_MEMBERS[kind])), None


def power_samples(nvml: Any, board: Board, since_us: int) -> list[tuple[int, int]]:
    """(time [us since 1970], power [mW]) that the driver buffered after `since_us`, in order of time.

    Empty where nothing is new; MeterUnavailable where the driver keeps none.
    """
    try:
        kind, samples = nvml.nvmlDeviceGetSamples(board.handle, nvml.NVML_TOTAL_POWER_SAMPLES, since_us)
    except nvml.NVMLError as error:
        if error.value == nvml.NVML_ERROR_NOT_FOUND:
            return []
        raise MeterUnavailable(_advice(nvml, board, error)) from None
    if not 0 <= kind < len(VALUE_MEMBERS):
        raise MeterUnavailable(f"power samples of {board.uuid} have the unknown value type {kind}")
    member = VALUE_MEMBERS[kind]
    found = {int(one.timeStamp): int(getattr(one.sampleValue, member)) for one in samples if one.timeStamp > since_us}
    return sorted(found.items())


def process_ids(nvml: Any, board: Board) -> frozenset[int]:
    """Ids of the processes that compute or draw on the board (slow: 4.5 ms). MeterUnavailable on a fault."""
    try:
        running = [
            *nvml.nvmlDeviceGetComputeRunningProcesses(board.handle),
            *nvml.nvmlDeviceGetGraphicsRunningProcesses(board.handle),
        ]
    except nvml.NVMLError as error:
        raise MeterUnavailable(_advice(nvml, board, error)) from None
    return frozenset(int(one.pid) for one in running)


def _advice(nvml: Any, board: Board, error: Any) -> str:
    advice = {
        nvml.NVML_ERROR_NO_PERMISSION: "; give this user access to the NVIDIA device files",
        nvml.NVML_ERROR_GPU_IS_LOST: "; it has fallen off the bus: restart the machine",
        nvml.NVML_ERROR_RESET_REQUIRED: "; it needs a reset",
        nvml.NVML_ERROR_NOT_SUPPORTED: "; this board or virtual GPU has no such sensor",
    }.get(error.value, "")
    return f"{board.name} ({board.uuid}) cannot be read ({error}){advice}"


def _optional(nvml: Any, ask: Any, handle: Any) -> Any:
    """The answer, or None where the board has none."""
    try:
        return ask(handle)
    except nvml.NVMLError:
        return None


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
