"""RAPL over a folder tree: which domains, wraps, twins, lost rights, differences nobody can draw."""

from collections.abc import Callable
from pathlib import Path, PosixPath

import pytest

from greenserve.carbon.intervals import IntervalMaker
from greenserve.carbon.meters.rapl import RaplMeter, find_domains, open_rapl
from greenserve.clock import ManualClock
from greenserve.errors import MeterUnavailable
from greenserve.units import NS_PER_S

RANGE_UJ = 262_143_328_850


def a_zone(
    root: Path,
    folder: str,
    name: str,
    *,
    energy_uj: int = 0,
    range_uj: int = RANGE_UJ,
    max_uw: int | None = 200_000_000,
) -> Path:
    zone = root / folder
    zone.mkdir(parents=True)
    (zone / "name").write_text(f"{name}\n")
    (zone / "energy_uj").write_text(f"{energy_uj}\n")
    (zone / "max_energy_range_uj").write_text(f"{range_uj}\n")
    if max_uw is not None:
        (zone / "constraint_0_max_power_uw").write_text(f"{max_uw}\n")
    return zone


def opened(root: Path, clock: ManualClock, *, static_mw: int | None = None) -> RaplMeter:
    return open_rapl(clock=clock, wait=lambda seconds: None, powercap=root, static_mw=static_mw)


def moves(zone: Path, energy_uj: int) -> None:
    (zone / "energy_uj").write_text(f"{energy_uj}\n")


def test_packages_and_memory_count_and_what_holds_them_does_not(tmp_path: Path) -> None:
    """Never psys beside a package, never core or uncore, never the mmio copy: each would count energy twice."""
    a_zone(tmp_path, "intel-rapl:0", "package-0")
    a_zone(tmp_path, "intel-rapl:0:0", "core")
    a_zone(tmp_path, "intel-rapl:0:1", "uncore")
    a_zone(tmp_path, "intel-rapl:0:2", "dram")
    a_zone(tmp_path, "intel-rapl:1", "psys")
    a_zone(tmp_path, "intel-rapl-mmio:0", "package-0")
    (tmp_path / "intel-rapl").mkdir()

    domains = find_domains(tmp_path)

    assert ["package-0", "package-0 dram"] == [domain.name for domain in domains]
    assert 200_000 == domains[0].limit_mw


def test_the_mmio_tree_is_taken_where_it_is_the_only_one(tmp_path: Path) -> None:
    """It shows the same counters."""
    a_zone(tmp_path, "intel-rapl-mmio:0", "package-0")

    assert ["package-0"] == [domain.name for domain in find_domains(tmp_path)]


@pytest.mark.parametrize("there", [True, False])
def test_no_package_is_said_with_the_reason(tmp_path: Path, there: bool) -> None:
    """A virtual machine has none."""
    root = tmp_path if there else tmp_path / "nowhere"

    with pytest.raises(MeterUnavailable, match=r"no RAPL package in .*virtual machines have none"):
        find_domains(root)


def test_energy_is_the_sum_of_all_domains_since_the_start(tmp_path: Path) -> None:
    """Two counters that move by 3 and 4 J are 7 J; static is the power at rest, never more than the energy."""
    clock = ManualClock()
    package, memory = a_zone(tmp_path, "intel-rapl:0", "package-0"), a_zone(tmp_path, "intel-rapl:0:0", "dram")
    meter = opened(tmp_path, clock, static_mw=5_000)
    first = meter.read()
    moves(package, 3_000_000)
    moves(memory, 4_000_000)
    clock.advance(duration_ns=NS_PER_S)

    second = meter.read()

    assert (0, 7_000_000, 5_000_000) == (first.energy_uj, second.energy_uj, second.static_uj)
    assert ("cpu", "measured", first.source) == (second.device, second.tier, second.source)


def test_a_wrap_is_undone(tmp_path: Path) -> None:
    """From 1 J before the end of the range to 2 J after it are 3 J."""
    clock = ManualClock()
    package = a_zone(tmp_path, "intel-rapl:0", "package-0", energy_uj=RANGE_UJ - 1_000_000)
    meter = opened(tmp_path, clock)
    meter.read()
    moves(package, 2_000_000)
    clock.advance(duration_ns=NS_PER_S)

    assert 3_000_000 == meter.read().energy_uj


def test_a_reset_is_no_wrap(tmp_path: Path) -> None:
    """A counter that begins at 0 in the middle of its range would add 130 kJ: nobody draws that in a second."""
    clock = ManualClock()
    package = a_zone(tmp_path, "intel-rapl:0", "package-0", energy_uj=RANGE_UJ // 2)
    meter = opened(tmp_path, clock)
    first = meter.read()
    moves(package, 5)
    clock.advance(duration_ns=NS_PER_S)

    second = meter.read()

    assert 0 == second.energy_uj
    assert first.source != second.source
    assert "segment 1" in second.source


def test_a_time_in_which_two_wraps_fit_is_a_gap(tmp_path: Path) -> None:
    """Unread for longer than the range allows, the difference is anybody's guess."""
    clock = ManualClock()
    package = a_zone(tmp_path, "intel-rapl:0", "package-0")
    meter = opened(tmp_path, clock)
    meter.read()
    moves(package, 4_000_000)
    clock.advance(duration_ns=700 * NS_PER_S)

    assert "segment 1" in meter.read().source


def test_a_lost_right_is_a_gap_and_never_a_range(tmp_path: Path) -> None:
    """The failed read raises, the next good one opens a segment: not one microjoule of the time between appears."""
    clock = ManualClock()
    package = a_zone(tmp_path, "intel-rapl:0", "package-0", energy_uj=1_000_000)
    meter, maker = opened(tmp_path, clock), IntervalMaker(device="cpu")
    maker.add(meter.read())
    (package / "energy_uj").unlink()
    with pytest.raises(MeterUnavailable, match="energy_uj cannot be read"):
        meter.read()
    maker.failed()
    moves(package, 9_000_000)
    clock.advance(duration_ns=NS_PER_S)

    row = maker.add(meter.read())

    assert row is not None
    assert (None, frozenset({"gap", "source_changed", "read_failed"})) == (row.energy_uj, row.flags)
    moves(package, 11_000_000)
    clock.advance(duration_ns=NS_PER_S)
    after = maker.add(meter.read())
    assert after is not None
    assert 2_000_000 == after.energy_uj


@pytest.mark.parametrize("text", ["", "abc", "-5", str(RANGE_UJ + 1)])
def test_a_counter_without_sense_is_no_reading(tmp_path: Path, text: str) -> None:
    """Garbage is refused, not rounded to zero."""
    package = a_zone(tmp_path, "intel-rapl:0", "package-0")
    (package / "energy_uj").write_text(text)

    with pytest.raises(MeterUnavailable, match=r"no integer|outside its range"):
        opened(tmp_path, ManualClock())


class Unreadable(PosixPath):
    """A path whose counters are readable for root only, also where the tests run as root."""

    def read_text(self, encoding: str | None = None, errors: str | None = None) -> str:
        if self.name == "energy_uj":
            raise PermissionError(13, "Permission denied")
        return super().read_text(encoding, errors)


def test_what_only_root_may_read_names_the_ways_out(tmp_path: Path) -> None:
    """The commonest reason since 2020 comes with what to do."""
    a_zone(tmp_path, "intel-rapl:0", "package-0")

    with pytest.raises(MeterUnavailable, match="root only since 2020: give the service's group read access by a udev"):
        opened(Unreadable(tmp_path), ManualClock())


def running(zones: list[Path], steps: list[int]) -> Callable[[float], object]:
    """A wait in which each zone's counter moves by its step."""

    def wait(seconds: float) -> None:
        for zone, step in zip(zones, steps, strict=True):
            moves(zone, int((zone / "energy_uj").read_text()) + step)

    return wait


@pytest.mark.parametrize(
    ("steps", "kept"),
    [([500, 500], ["package-0"]), ([500, 501], ["package-0", "package-1"]), ([0, 0], ["package-0", "package-1"])],
)
def test_packages_that_move_identically_are_one(tmp_path: Path, steps: list[int], kept: list[str]) -> None:
    """Multi-die packages mirror one counter; two that stand still prove nothing."""
    zones = [a_zone(tmp_path, "intel-rapl:0", "package-0"), a_zone(tmp_path, "intel-rapl:1", "package-1", energy_uj=77)]

    meter = open_rapl(clock=ManualClock(), wait=running(zones, steps), powercap=tmp_path)

    assert kept == meter.describe()["domains"]


def test_without_a_told_limit_a_kilowatt_bounds(tmp_path: Path) -> None:
    """AMD tells none: 2,000 W for a second are allowed, more is a fault."""
    clock = ManualClock()
    package = a_zone(tmp_path, "intel-rapl:0", "package-0", max_uw=None)
    meter = opened(tmp_path, clock)
    meter.read()
    moves(package, 1_999_000_000)
    clock.advance(duration_ns=NS_PER_S)
    assert 1_999_000_000 == meter.read().energy_uj
    moves(package, 1_999_000_000 + 2_100_000_000)
    clock.advance(duration_ns=NS_PER_S)

    assert "segment 1" in meter.read().source
