"""A simulated device: three classes of batches whose energy is known, and a counter that shows it coarsely."""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

MS, SECOND = 1_000_000, 1_000_000_000
DEVIATION = 0.07
NOISE = 0.005


@dataclass(frozen=True, slots=True, kw_only=True)
class Class:
    """Batches of one class: `least_ms` and `ms_per_work` give their time, the two powers [W] their energy."""

    name: str
    works: tuple[int, int]
    least_ms: float
    ms_per_work: float
    busy_w: float
    work_w: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """Idle power [mW] and the classes; batches run one at a time and last 6 to 70 ms."""

    idle_mw: int = 80_000
    classes: tuple[Class, ...] = (
        Class(name="small/int8/gpu", works=(64, 1_024), least_ms=5.0, ms_per_work=0.012, busy_w=60.0, work_w=40.0),
        Class(name="base/fp16/gpu", works=(256, 4_096), least_ms=10.0, ms_per_work=0.008, busy_w=80.0, work_w=140.0),
        Class(name="large/fp16/gpu", works=(512, 4_096), least_ms=18.0, ms_per_work=0.0125, busy_w=120.0, work_w=260.0),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """A batch that ran: its times [ns], its work, and its true dynamic energy [uJ]."""

    name: str
    work_class: str
    start_ns: int
    end_ns: int
    work: int
    energy_uj: float


def run_device(device: Device, random: Random, *, load: float, duration_ns: int) -> list[Ran]:
    """Batches one after another with gaps so that the device is busy for `load` of the time.

    Each batch deviates from its class's law by up to 7 %, evenly spread, and from its expected time by up to 3 %.
    """
    at_ns, batches = 0, list[Ran]()
    while at_ns < duration_ns:
        kind = random.choice(device.classes)
        work = random.randint(*kind.works)
        time_ms = (kind.least_ms + kind.ms_per_work * work) * random.uniform(0.97, 1.03)
        busy_ns = round(time_ms * MS)
        at_ns += round(random.expovariate(1.0) * busy_ns * (1.0 - load) / load)
        mean_work = sum(kind.works) / 2
        mean_ms = kind.least_ms + kind.ms_per_work * mean_work
        joules = kind.busy_w * time_ms / 1e3 + kind.work_w * work / mean_work * mean_ms / 1e3
        batches.append(
            Ran(
                name=f"b{len(batches):07}",
                work_class=kind.name,
                start_ns=at_ns,
                end_ns=at_ns + busy_ns,
                work=work,
                energy_uj=joules * 1e6 * random.uniform(1.0 - DEVIATION, 1.0 + DEVIATION),
            )
        )
        at_ns += busy_ns
    return batches


def counter_readings(
    device: Device, batches: Sequence[Ran], random: Random, *, period_ns: int, seen: float
) -> list[tuple[int, int, int]]:
    """(at [ns], counter [uJ], its static part [uJ]) every period.

    The counter adds the mean power of the last `seen` of each period, over all of the period, with a noise of 0.5 %.
    """
    periods = batches[-1].end_ns // period_ns
    used = [0.0] * (periods + 1)
    for batch in batches:
        for place in range(batch.start_ns // period_ns, min(periods, batch.end_ns // period_ns) + 1):
            first_ns = (place + 1) * period_ns - round(seen * period_ns)
            overlap_ns = min(batch.end_ns, (place + 1) * period_ns) - max(batch.start_ns, first_ns)
            used[place] += batch.energy_uj * max(0, overlap_ns) / (batch.end_ns - batch.start_ns) / seen
    counter, readings = 0, [(0, 0, 0)]
    idle_uj = device.idle_mw * period_ns // 1_000_000
    for place in range(periods):
        counter += round((used[place] + idle_uj) * random.gauss(1.0, NOISE))
        readings.append(((place + 1) * period_ns, counter, (place + 1) * idle_uj))
    return readings
