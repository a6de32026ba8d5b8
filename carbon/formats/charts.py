"""Charts as plain geometry for inline SVG: no script, no library, the same bytes everywhere."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

WIDTH, PLOT_HEIGHT = 760, 150
MOST_DAYS = 62
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#7a7a7a", "#b8a800")
_PREFIXES = (
    (Decimal(1000), "k"),
    (Decimal(1), ""),
    (Decimal("1e-3"), "m"),
    (Decimal("1e-6"), "µ"),
    (Decimal("1e-9"), "n"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """A bar: its label, the figure beside it, where it starts and how long it is [px], its colour."""

    label: str
    figure: str
    start: float
    length: float
    colour: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """Columns over days: each `width` wide; `top` is the largest figure, `said` the chart in words, `ticks` days."""

    bars: Sequence[Bar]
    width: float
    top: str
    said: str
    ticks: Sequence[str]


def humane(value: Decimal | str | None, unit: str) -> str:
    """A figure with three digits and an SI prefix, `482 ngCO2e`; the exact one stands in a table."""
    if value is None:
        return "unknown"
    exact = Decimal(value)
    if not exact:
        return f"0 {unit}"
    scale, prefix = next(((s, p) for s, p in _PREFIXES if abs(exact) >= s), _PREFIXES[-1])
    if unit == "kWh" and prefix == "k":
        prefix = "M"
    elif unit == "kWh" and prefix in {"m", "µ", "n"}:
        return humane(exact * 1000, "Wh")
    return f"{_three_digits(exact / scale)} {prefix}{unit}"


def _three_digits(value: Decimal) -> str:
    places = max(0, 2 - value.adjusted())
    return f"{value:,.{places}f}"


def stacked(parts: Mapping[str, Decimal], unit: str) -> list[Bar]:
    """One bar of parts from left to right; parts of nothing are left out."""
    whole = sum(parts.values(), Decimal(0))
    found: list[Bar] = []
    start = 0.0
    shown = [(name, value) for name, value in parts.items() if value > 0]
    for (name, value), colour in zip(shown, COLOURS * 2, strict=False):
        length = px(value, whole, WIDTH)
        share = f"{100 * value / whole:.1f} %"
        found.append(
            Bar(label=name, figure=f"{humane(value, unit)} ({share})", start=start, length=length, colour=colour)
        )
        start += length
    return found


def by_day(lines: Sequence[Mapping[str, Any]], figure: str, unit: str, *, start: str, end: str) -> Columns:
    """Columns of a figure's sum by day; days without a request are 0, days without a known figure have no column."""
    sums: dict[str, Decimal | None] = dict.fromkeys(days_of(start, end, lines), Decimal(0))
    for line in lines:
        value, so_far = line[figure], sums[line["day"]]
        unknown = value is None and (so_far is None or not so_far)
        sums[line["day"]] = None if unknown else (so_far or Decimal(0)) + Decimal(value or 0)
    top = max((value for value in sums.values() if value is not None), default=Decimal(0))
    slot = WIDTH / max(1, len(sums))
    width = min(60.0, slot * 0.72)
    columns = [
        Bar(
            label=day,
            figure=humane(value, unit),
            start=round(slot * place + (slot - width) / 2, 2),
            length=px(value, top, PLOT_HEIGHT),
            colour=COLOURS[0],
        )
        for place, (day, value) in enumerate(sums.items())
    ]
    told = [column for column in columns if column.length or column.figure == "unknown"]
    said = "; ".join(f"{column.label} {column.figure}" for column in told) or "nothing in this period"
    days = list(sums)
    ticks = [days[0], days[len(days) // 2], days[-1]] if len(days) > 2 else days
    return Columns(bars=columns, width=round(width, 2), top=humane(top, unit), said=said, ticks=ticks)


def days_of(start: str, end: str, lines: Sequence[Mapping[str, Any]]) -> list[str]:
    """Every day of the period, or only those with requests where these are too many to draw."""
    first, last = date.fromisoformat(start[:10]), date.fromisoformat(end[:10])
    if end[11:] != "00:00:00Z":
        last += timedelta(days=1)
    count = (last - first).days
    if count > MOST_DAYS:
        return sorted({line["day"] for line in lines})
    return [(first + timedelta(days=place)).isoformat() for place in range(count)]


def px(value: Decimal | None, whole: Decimal, width: int) -> float:
    """The length of a bar of `width` for the whole; 0 for nothing and for what is not known, else at least 1."""
    return 0.0 if not value or not whole else round(max(1.0, float(value * width / whole)), 2)
