"""Restating energy: a fault was found in a meter, or in the model that shared a board's energy among requests. Pure.

The cause is a `factor` entry with a scale for what a device gave to requests that ended in a window, all of them or
those of a model or variant. A line's parts on that device are scaled from what was settled, never from what an earlier
restatement made of them, so that the newest cause stands alone and a value can be taken back. Intervals stay as they
were read: the difference is a line of its own in statements (method: section 9 of accounting, decision 0043).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from greenserve.carbon.apportion import apportion_list
from greenserve.carbon.cuts import SLOTS
from greenserve.carbon.entries import POOLS, UNMETERED, it_uj
from greenserve.records import TIERS, Tier

METER = "meter"
CODES = ("meter_fault", "model_fault")
Code = Literal["meter_fault", "model_fault"]
PPM = 1_000_000
LARGEST_PPM = 10 * PPM
SCALES = "scales"
"""The member of a restated line that says by what each device's part of it was scaled."""
AS_SETTLED = "as_settled"
"""The member of a restated line that holds what the meter had settled: what any later scale starts from."""
PARTS = POOLS[:3]
_ALL = ""
"""Stands for the device of lines that ran on the CPU alone, and name none."""
_KEPT = (*PARTS, "low_uj", "high_uj", "tier", "flags", "devices", SLOTS)
Body = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class EnergyRevision:
    """What a device's energy was, in millionths of what was settled, for requests that ended in [start_us, end_us) UTC,
    where it is known from, and why (one of CODES). `by_cpu_time` says that the device is settled by CPU time.

    `model` and `variant` are those concerned, None: all; `tier` is the best that restated energy can be, None: as it
    was. ValueError for a scale that is not 0..10.
    """

    device: str
    by_cpu_time: bool
    start_us: int
    end_us: int
    scale_ppm: int
    code: Code
    source: str
    model: str | None = None
    variant: str | None = None
    tier: Tier | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.scale_ppm <= LARGEST_PPM or self.end_us <= self.start_us:
            raise ValueError(f"a scale lies in 0..{LARGEST_PPM} millionths and a window ends after it starts: {self!r}")


def energy_body(revision: EnergyRevision) -> dict[str, Any]:
    """The cause that a found fault is; entered by `restating.entered`."""
    return {"kind": "factor", "factor": METER} | {name: getattr(revision, name) for name in EnergyRevision.__slots__}


def same_energy(one: Body, other: Body) -> bool:
    """Whether two bodies of one natural key say the same."""
    return all(one[name] == other[name] for name in ("scale_ppm", "tier", "code", "by_cpu_time"))


def take_scale(line: dict[str, Any], cause: Body) -> None:
    """Note in a whole settled line what the cause says of it; what no meter saw stays as it was estimated."""
    if UNMETERED in line["flags"] or not cause["start_us"] <= line["ended_us"] < cause["end_us"]:
        return
    if any(cause[name] is not None and cause[name] != line[name] for name in ("model", "variant")):
        return
    if "devices" not in line:
        device = _ALL if cause["by_cpu_time"] else None
    else:
        device = cause["device"] if any(part["device"] == cause["device"] for part in line["devices"]) else None
    if device is None:
        return
    scale = {"ppm": cause["scale_ppm"], "tier": cause["tier"], "code": cause["code"]}
    known = line.get(SCALES, {})
    says_nothing = device not in known and scale["ppm"] == PPM and scale["tier"] is None
    if not says_nothing:
        line[SCALES] = {**known, device: scale}


def rescale(line: dict[str, Any]) -> None:
    """Give a line the energies that its scales make of what was settled: parts per device, rounded half to even, their
    sums, pieces at grid slots, bounds, tier and flags."""
    settled: Body = line.setdefault(AS_SETTLED, {name: line[name] for name in _KEPT if name in line})
    scales: Mapping[str, Body] = line[SCALES]
    if "devices" in settled:
        parts = [_part(part, scales.get(part["device"])) for part in settled["devices"]]
        line["devices"] = parts
        line.update({name: sum(part[name] for part in parts) for name in PARTS})
    else:
        line.update({name: _part(settled, scales.get(_ALL))[name] for name in PARTS})
    if settled.get(SLOTS) is not None:
        columns = zip(*settled[SLOTS], strict=True)
        pieces = [apportion_list(line[name], list(column)) for name, column in zip(PARTS, columns, strict=True)]
        line[SLOTS] = [list(piece) for piece in zip(*pieces, strict=True)]
    new_uj, old_uj = it_uj(line) or 0, it_uj(settled) or 0
    line["low_uj"] = settled["low_uj"] * new_uj // old_uj if old_uj else settled["low_uj"]
    line["high_uj"] = -(-settled["high_uj"] * new_uj // old_uj) if old_uj else settled["high_uj"]
    line["tier"] = _weakest(settled["tier"], *(scale["tier"] for scale in scales.values()))
    codes = {scale["code"] for scale in scales.values() if scale["ppm"] != PPM or scale["tier"] is not None}
    line["flags"] = [*settled["flags"], *sorted(codes)]


def scale_of(text: str) -> int:
    """`1.07` as millionths; ValueError for what is no decimal of at most six places in 0..10."""
    whole, _, rest = text.partition(".")
    if not whole.isdecimal() or not (rest.isdecimal() or not rest) or len(rest) > len(str(PPM)) - 1:
        raise ValueError(f"a factor is a decimal such as 1.07 with at most six places, got {text!r:.40}")
    scale_ppm = int(whole) * PPM + int(rest.ljust(len(str(PPM)) - 1, "0"))
    if scale_ppm > LARGEST_PPM:
        raise ValueError(f"a factor lies in 0..10, got {text!r:.40}")
    return scale_ppm


def _part(part: Body, scale: Body | None) -> dict[str, Any]:
    if scale is None:
        return dict(part)
    scaled = {name: _half_even(part[name] * scale["ppm"], PPM) for name in PARTS}
    return {**part, **scaled, "tier": _weakest(part["tier"], scale["tier"])}


def _weakest(*tiers: Tier | None) -> Tier:
    return max((tier for tier in tiers if tier is not None), key=TIERS.index)


def _half_even(numerator: int, denominator: int) -> int:
    quotient, remainder = divmod(numerator, denominator)
    twice = 2 * remainder
    return quotient + (twice > denominator or (twice == denominator and quotient % 2 == 1))
