"""RAPL through the kernel's powercap tree: the energy counters of CPU packages and memory."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

from greenserve.errors import MeterUnavailable
from greenserve.records import Reading
from greenserve.units import NS_PER_S

if TYPE_CHECKING:  # the seams name numpy, which a meter does not need
    from greenserve.ports import Clock

POWERCAP = Path("/sys/class/powercap")
HALF_WIDTH_PCT = 5
MW_NS_PER_UJ = 1_000_000
UW_PER_MW = 1_000
ASSUMED_MAX_MW = 1_000_000
"""No CPU package draws more than a kilowatt: bounds how long a counter may run unread where no limit is told."""
TWIN_READS = 20
TWIN_PAUSE_NS = 5_000_000
WAYS_OUT = (
    "readable for root only since 2020: give the service's group read access by a udev rule, or the process "
    "CAP_DAC_READ_SEARCH"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Domain:
    """A RAPL zone that counts: its name (`package-0`), folder, range of the counter [uJ], power limit [mW] or None."""

    name: str
    folder: Path
    range_uj: int
    limit_mw: int | None

    @property
    def longest_ns(self) -> int:
        """After so long unread the counter may have wrapped more than once [ns]."""
        return self.range_uj * MW_NS_PER_UJ // (2 * (self.limit_mw or ASSUMED_MAX_MW))


def find_domains(powercap: Path = POWERCAP) -> tuple[Domain, ...]:
    """Every package, plus the memory domain of each, by name.

    Left out: psys (contains the packages), core and uncore (inside them), and `intel-rapl-mmio`, which shows the same
    counters as `intel-rapl` again; it is used where it is the only one. MeterUnavailable where there is no package.
    """
    try:
        folders = sorted(folder for folder in powercap.iterdir() if (folder / "name").is_file())
    except OSError:
        folders = []
    by_control: dict[str, dict[str, Domain]] = {}
    for folder in folders:
        control, *numbers = folder.name.split(":")
        name = _text(folder / "name")
        if name.startswith("package-") and len(numbers) == 1:
            wanted = name
        elif name == "dram" and len(numbers) == 2:
            wanted = f"{_text(powercap / f'{control}:{numbers[0]}' / 'name')} dram"
        else:
            continue
        # A multi-die package repeats its name: the folder's number keeps the two apart.
        family = by_control.setdefault(control, {})
        if wanted in family:
            wanted = f"{wanted} ({folder.name})"
        family[wanted] = _domain(wanted, folder)
    packages = {control: found for control, found in by_control.items() if found}
    if not packages:
        raise MeterUnavailable(
            f"no RAPL package in {powercap}; virtual machines have none, and bare metal needs the kernel module "
            "intel_rapl_msr (Intel, and AMD since Zen)"
        )
    chosen = min(packages, key=lambda control: (control.endswith("-mmio"), control))
    return tuple(packages[chosen].values())


def open_rapl(
    *, clock: "Clock", wait: Callable[[float], object], powercap: Path = POWERCAP, static_mw: int | None = None
) -> "RaplMeter":
    """The node's RAPL meter, twins found; MeterUnavailable with the ways out where it cannot be read.

    `wait` sleeps for seconds between the reads that tell twins apart (only with two packages or more); `static_mw`
    is the machine's power at rest [mW] where it is known.
    """
    domains = find_domains(powercap)
    for domain in domains:
        _counter(domain)
    alone = [domain for domain in domains if not domain.name.startswith("package") or "dram" in domain.name]
    packages = [domain for domain in domains if domain not in alone]
    twins = find_twins(packages, wait=wait) if len(packages) > 1 else {}
    kept = tuple(domain for domain in domains if domain.name not in twins)
    return RaplMeter(kept, clock=clock, static_mw=static_mw, twins=twins)


def find_twins(packages: Iterable[Domain], *, wait: Callable[[float], object]) -> dict[str, str]:
    """Packages that only mirror another one: name to the name of the one that is kept.

    Twins show one counter twice. Over twenty reads the movement of the second lies each time between the movements of
    the first read just before and just after it, and the counters moved.
    """
    packages = tuple(packages)
    pairs = list(combinations(packages, 2))
    bounds: dict[tuple[str, str], list[tuple[int, int, int]]] = {(one.name, other.name): [] for one, other in pairs}
    for number in range(TWIN_READS):
        if number:
            wait(TWIN_PAUSE_NS / NS_PER_S)
        for one, other in pairs:
            bounds[one.name, other.name].append((_counter(one), _counter(other), _counter(one)))
    twins: dict[str, str] = {}
    for (one_name, other_name), reads in bounds.items():
        if one_name not in twins and _moves_alike(reads):
            twins.setdefault(other_name, one_name)
    return twins


def _moves_alike(reads: list[tuple[int, int, int]]) -> bool:
    low, base, high = reads[0]
    inside = all(before - high <= value - base <= after - low for before, value, after in reads)
    return inside and reads[-1][1] != base


class RaplMeter:
    """Energy of the CPU packages and their memory since the meter began, wraps undone.

    State, changed by `read` alone: `_last`, each domain's raw counter at the last good reading, at `_last_ns`;
    `_energy_uj` and `_static_uj`, the sums since; `_segment`. A failed read of any domain, an unread time in which
    a counter may have wrapped twice, and a difference that no CPU can draw open a new segment: its name is part of
    the source, so that no interval spans it.
    """

    def __init__(
        self,
        domains: tuple[Domain, ...],
        *,
        clock: "Clock",
        static_mw: int | None = None,
        twins: Mapping[str, str] | None = None,
    ) -> None:
        self._domains, self._clock, self._static_mw = domains, clock, static_mw
        self._twins = dict(twins or {})
        self._last: dict[str, int] | None = None
        self._last_ns = 0
        self._energy_uj = self._static_uj = 0
        self._segment = 0
        self._broken = False

    def __repr__(self) -> str:
        return f"<RaplMeter {self._source}: {self._energy_uj} uJ>"

    @property
    def _source(self) -> str:
        names = ", ".join(domain.name for domain in self._domains)
        return f"rapl {names}" + (f", segment {self._segment}" if self._segment else "")

    def read(self) -> Reading:
        """The sum now; MeterUnavailable where a domain cannot be read: the next good reading opens a segment."""
        before_ns = self._clock.monotonic_ns()
        try:
            now = {domain.name: _counter(domain) for domain in self._domains}
        except MeterUnavailable:
            # One failed read taken for a wrap would add a whole range of the counter.
            self._broken = self._last is not None
            self._last = None
            raise
        at_ns = (before_ns + self._clock.monotonic_ns()) // 2
        step_uj = None if self._last is None else self._step(self._last, now, at_ns - self._last_ns)
        if step_uj is not None:
            self._energy_uj += step_uj
            self._static_uj += min(step_uj, (self._static_mw or 0) * (at_ns - self._last_ns) // MW_NS_PER_UJ)
        elif self._last is not None or self._broken:
            self._segment += 1
            self._broken = False
        self._last, self._last_ns = now, at_ns
        return Reading(
            device="cpu",
            energy_uj=self._energy_uj,
            static_uj=self._static_uj,
            at_ns=at_ns,
            source=self._source,
            tier="measured",
        )

    def _step(self, last: Mapping[str, int], now: Mapping[str, int], duration_ns: int) -> int | None:
        """Energy [uJ] of all domains since the last reading; None where it cannot be known."""
        total_uj = 0
        for domain in self._domains:
            if duration_ns > domain.longest_ns:
                return None
            before, after = last[domain.name], now[domain.name]
            delta = after - before if after >= before else domain.range_uj - before + after
            allowed_uj = 2 * (domain.limit_mw or ASSUMED_MAX_MW) * duration_ns // MW_NS_PER_UJ
            # The counter is updated about once a millisecond: a reading may hold the energy of one more.
            if delta > allowed_uj + (domain.limit_mw or ASSUMED_MAX_MW):
                return None
            total_uj += delta
        return total_uj

    def describe(self) -> Mapping[str, object]:
        """Source, tier, half width [%], domains, and zones left out because they mirror another one."""
        return {
            "device": "cpu",
            "source": self._source,
            "tier": "measured",
            "half_width_pct": HALF_WIDTH_PCT,
            "domains": [domain.name for domain in self._domains],
            "mirrored": self._twins,
            "static_mw": self._static_mw,
        }


def _domain(name: str, folder: Path) -> Domain:
    range_uj = _number(folder / "max_energy_range_uj")
    if range_uj <= 0:
        raise MeterUnavailable(f"{folder}/max_energy_range_uj says {range_uj}; a counter needs a range above 0")
    try:
        limit_uw = _number(folder / "constraint_0_max_power_uw")
    except MeterUnavailable:
        limit_uw = 0
    return Domain(name=name, folder=folder, range_uj=range_uj, limit_mw=limit_uw // UW_PER_MW or None)


def _counter(domain: Domain) -> int:
    value = _number(domain.folder / "energy_uj")
    if not 0 <= value <= domain.range_uj:
        raise MeterUnavailable(f"{domain.name} shows {value} uJ, outside its range of 0..{domain.range_uj} uJ")
    return value


def _number(file: Path) -> int:
    text = _text(file)
    try:
        return int(text)
    except ValueError:
        raise MeterUnavailable(f"{file} holds {text!r}, which is no integer") from None


def _text(file: Path) -> str:
    try:
        return file.read_text().strip()
    except PermissionError:
        raise MeterUnavailable(f"{file} is there but not readable ({WAYS_OUT})") from None
    except OSError as error:
        raise MeterUnavailable(f"{file} cannot be read ({error.strerror})") from None
