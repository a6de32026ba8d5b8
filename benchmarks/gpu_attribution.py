"""Energy of batches from a board's interval rows, for the GPU check: E3, E4 and E6 over a whole recording, pure.

The recording is learnt from at once instead of online, with one coefficient per class: the power of its busy time.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, median

from greenserve.carbon.apportion import apportion_list
from greenserve.carbon.intervals import Row
from greenserve.units import NS_PER_S, UJ_PER_J

SWEEPS = 200
UNTRUSTED = frozenset({"gap", "hole", "foreign", "foreign_unknown", "read_failed"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """One batch on the board: its class, start and end, monotonic [ns]."""

    kind: str
    start_ns: int
    end_ns: int

    def __post_init__(self) -> None:
        if self.end_ns <= self.start_ns:
            raise ValueError(f"a batch ends after it starts, got {self!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Error:
    """How far attributed batches of one class are from isolated ones: per batch (median) and in the mean [%]."""

    kind: str
    batches: int
    isolated_uj: float
    attributed_uj: float
    median_pct: float
    bias_pct: float


def dynamic_uj(row: Row, idle_mw: int) -> int:
    """Dynamic energy [uJ] of a row at a static power [mW] (method: E2); ValueError where its energy is unknown."""
    if row.energy_uj is None:
        raise ValueError(f"the energy of the row is not known: {row!r}")
    return row.energy_uj - min(row.energy_uj, idle_mw * (row.end_ns - row.start_ns) // 1_000_000)


def trusted(rows: Sequence[Row]) -> list[Row]:
    """The rows that a counter covers whole, with nobody else on the board."""
    return [row for row in rows if row.energy_uj is not None and not row.flags & UNTRUSTED]


def isolated_uj(rows: Sequence[Row], batches: Sequence[Batch], *, idle_mw: int, lag_ns: int) -> float:
    """Mean dynamic energy [uJ] of a batch from a recording in which only its class ran, back to back.

    Only rows between the first batch's start and the last one's end count. ValueError where there is none.
    """
    start_ns, end_ns = batches[0].start_ns, batches[-1].end_ns
    inside = [row for row in trusted(rows) if start_ns <= row.start_ns - lag_ns and row.end_ns - lag_ns <= end_ns]
    parts = sum(overlap_ns(row, batch, lag_ns) / (batch.end_ns - batch.start_ns) for row in inside for batch in batches)
    if not inside or not parts:
        raise ValueError("no interval of the meter lies inside the recording; run the batches for longer")
    return sum(dynamic_uj(row, idle_mw) for row in inside) / parts


def overlap_ns(row: Row, batch: Batch, lag_ns: int) -> int:
    """The time [ns] of a batch that a row shows, the counter being late by `lag_ns` (method: E4)."""
    return max(0, min(batch.end_ns, row.end_ns - lag_ns) - max(batch.start_ns, row.start_ns - lag_ns))


def attribute(rows: Sequence[Row], batches: Sequence[Batch], *, idle_mw: int, lag_ns: int) -> dict[int, int]:
    """Dynamic energy [uJ] of each batch by its position, of those that trusted rows cover whole (method: E3, E4, E6).

    The power of each class is learnt from the same rows; each row is then shared by largest remainder.
    """
    rows = sorted(trusted(rows), key=lambda row: row.start_ns)
    order = sorted(range(len(batches)), key=lambda place: batches[place].start_ns)
    shown: list[list[tuple[int, int]]] = []
    first = 0
    for row in rows:
        while first < len(order) and batches[order[first]].end_ns <= row.start_ns - lag_ns:
            first += 1
        touched = []
        for place in order[first:]:
            if batches[place].start_ns >= row.end_ns - lag_ns:
                break
            if part_ns := overlap_ns(row, batches[place], lag_ns):
                touched.append((place, part_ns))
        shown.append(touched)
    powers_w = learn(rows, shown, batches, idle_mw)
    energy: dict[int, int] = dict.fromkeys(range(len(batches)), 0)
    covered: dict[int, int] = dict.fromkeys(range(len(batches)), 0)
    for row, touched in zip(rows, shown, strict=True):
        if not touched:
            continue
        weights = [max(1, round(powers_w[batches[place].kind] * part_ns / 1_000)) for place, part_ns in touched]
        for (place, part_ns), share_uj in zip(touched, apportion_list(dynamic_uj(row, idle_mw), weights), strict=True):
            energy[place] += share_uj
            covered[place] += part_ns
    return {place: energy[place] for place, one in enumerate(batches) if covered[place] == one.end_ns - one.start_ns}


def learn(
    rows: Sequence[Row], shown: Sequence[Sequence[tuple[int, int]]], batches: Sequence[Batch], idle_mw: int
) -> Mapping[str, float]:
    """The power [W] of each class's busy time: non-negative least squares by coordinate descent (method: E6)."""
    kinds = sorted({batch.kind for batch in batches})
    size = len(kinds)
    products = [[0.0] * size for _ in kinds]
    targets = [0.0] * size
    for row, touched in zip(rows, shown, strict=True):
        length_ns = row.end_ns - row.start_ns
        busy = [sum(part for place, part in touched if batches[place].kind == kind) / length_ns for kind in kinds]
        power_w = dynamic_uj(row, idle_mw) / UJ_PER_J * NS_PER_S / length_ns
        for one in range(size):
            targets[one] += busy[one] * power_w
            for other in range(size):
                products[one][other] += busy[one] * busy[other]
    powers = [0.0] * size
    for _ in range(SWEEPS):
        for one in range(size):
            if products[one][one]:
                rest = sum(products[one][other] * powers[other] for other in range(size) if other != one)
                powers[one] = max(0.0, (targets[one] - rest) / products[one][one])
    return dict(zip(kinds, powers, strict=True))


def errors(energy: Mapping[int, int], batches: Sequence[Batch], isolated: Mapping[str, float]) -> list[Error]:
    """Each class's error against its isolated energy; a class without an attributed batch is left out."""
    found = []
    for kind, expected in sorted(isolated.items()):
        got = [energy[place] for place in energy if batches[place].kind == kind]
        if got:
            found.append(
                Error(
                    kind=kind,
                    batches=len(got),
                    isolated_uj=expected,
                    attributed_uj=mean(got),
                    median_pct=100 * median(abs(one - expected) / expected for one in got),
                    bias_pct=100 * (mean(got) / expected - 1),
                )
            )
    return found
