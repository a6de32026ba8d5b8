"""Calibrate the CPU-time model on this machine against RAPL (method: E1): five levels of load, two passes."""

import random
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING

from greenserve.carbon.meters.cpu_fit import Fit, Level, fit
from greenserve.errors import MeterUnavailable
from greenserve.units import NS_PER_S, UJ_PER_J

if TYPE_CHECKING:  # the seams name numpy, which a meter does not need
    from greenserve.ports import EnergyMeter

SHARES_PCT = (0, 25, 50, 75, 100)
SETTLE_S = 2.0
LEVEL_S = 20.0
SEED = 20_261
SPIN = """
import sys, time
share, period = int(sys.argv[1]) / 100, 0.02
print(flush=True)
while True:
    start = time.perf_counter()
    while time.perf_counter() - start < period * share:
        pass
    time.sleep(period * (1 - share))
"""


@contextmanager
def spinning(share_pct: int, cpus: int) -> Iterator[None]:
    """Keep `cpus` logical CPUs busy for `share_pct` [%] of the time while entered; every helper process is ended."""
    helpers: list[subprocess.Popen[bytes]] = []
    try:
        for _ in range(cpus if share_pct else 0):
            command = [sys.executable, "-c", SPIN, str(share_pct)]
            helpers.append(subprocess.Popen(command, stdout=subprocess.PIPE))
        for helper in helpers:
            assert helper.stdout is not None
            helper.stdout.readline()
        yield
    finally:
        for helper in helpers:
            helper.kill()
            helper.communicate()


def calibrate(
    *,
    truth: "EnergyMeter",
    busy: "EnergyMeter",
    cpus: int,
    load: Callable[[int, int], AbstractContextManager[object]] = spinning,
    wait: Callable[[float], object],
    level_s: float = LEVEL_S,
    said: Callable[[str], object] = lambda text: None,
) -> Fit:
    """E1's parameters from a first pass over the levels, their error on a second one, both shuffled.

    `truth` measures energy, `busy` counts the CPU time of all `cpus`; each level is held for `level_s` [s].
    MeterUnavailable where the truth breaks off, and where its power does not follow the load.
    """
    order = random.Random(SEED)  # a fixed order: two calibrations of a machine are comparable
    passes = []
    for number in (1, 2):
        levels = []
        for share_pct in order.sample(SHARES_PCT, k=len(SHARES_PCT)):
            said(f"pass {number} of 2: {share_pct} % load for {level_s:g} s")
            with load(share_pct, cpus):
                wait(SETTLE_S)
                levels.append(_level(truth, busy, cpus, wait, level_s))
        passes.append(levels)
    return _fitted(*passes)


def _level(
    truth: "EnergyMeter", busy: "EnergyMeter", cpus: int, wait: Callable[[float], object], level_s: float
) -> Level:
    first, first_busy = truth.read(), busy.read()
    wait(level_s)
    last, last_busy = truth.read(), busy.read()
    duration_ns, busy_span_ns = last.at_ns - first.at_ns, last_busy.at_ns - first_busy.at_ns
    if first.source != last.source or min(duration_ns, busy_span_ns) <= 0:
        raise MeterUnavailable(
            f"the measured energy broke off during a level ({first.source!r}, then {last.source!r}); calibrate again"
        )
    if first_busy.busy_ns is None or last_busy.busy_ns is None:
        raise MeterUnavailable(f"{first_busy.source!r} counts no CPU time; calibration needs it")
    share = (last_busy.busy_ns - first_busy.busy_ns) / (cpus * busy_span_ns)
    power_w = (last.energy_uj - first.energy_uj) / UJ_PER_J * NS_PER_S / duration_ns
    return Level(busy=min(1.0, share), power_w=power_w)


def _fitted(levels: Sequence[Level], held_out: Sequence[Level]) -> Fit:
    try:
        return fit(levels, held_out=held_out)
    except ValueError as error:
        raise MeterUnavailable(f"the CPU-time model cannot be fitted: {error}") from None
