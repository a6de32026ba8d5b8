"""Heatmaps of grid intensity, hour of day by month, as one SVG: no script, no library, the same bytes everywhere.

Every cell carries its number, so colour is never the only code; yellow is low and dark blue high, a scale that the
colour-blind read too.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

from greenserve.carbon.grid_profile import HOURS, MONTH_NAMES, MONTHS, GridProfile, extremes
from greenserve.units import MG_PER_G

CELL, ROW, LEFT, MEAN, HEAD, FOOT = 34, 15, 34, 46, 44, 24
GAP, TOP, BOTTOM, ACROSS = 26, 58, 16, 2
PANEL_WIDTH = LEFT + MONTHS * CELL + MEAN
PANEL_HEIGHT = HEAD + HOURS * ROW + FOOT
SCALE = ((254, 232, 56), (188, 174, 108), (125, 124, 120), (65, 77, 107), (0, 34, 78))
LEGEND_STEPS, LEGEND_WIDTH = 24, 240
HEADING = "Grid intensity by hour and month, gCO2e/kWh"
STYLE = (
    "text{font:10px system-ui,sans-serif;fill:#111}.t{font-size:13px;font-weight:600}.h{font-size:16px;font-weight:600}"
    ".c{text-anchor:middle}.e{text-anchor:end}.b{fill:none;stroke-width:2}"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Captioned:
    """A profile with where it is from in words: basis, origin, source."""

    profile: GridProfile
    source: str


def heatmap_svg(shown: Sequence[Captioned], *, clock: str) -> str:
    """One panel for each profile, all on one scale [g/kWh]; `clock` names the time zone of the hours.

    ValueError without a profile.
    """
    if not shown:
        raise ValueError("a heatmap needs at least one profile")
    known = [value for one in shown for row in one.profile.cells for value in row if value is not None]
    low, high = min(known), max(known)
    across = min(ACROSS, len(shown))
    down = -(-len(shown) // across)
    width = across * PANEL_WIDTH + (across + 1) * GAP
    height = TOP + down * (PANEL_HEIGHT + GAP) + BOTTOM
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'role="img" aria-labelledby="title desc">',
        f'<title id="title">{escape(_title(shown))}</title>',
        f'<desc id="desc">{escape(" ".join(finding(one.profile) for one in shown))}</desc>',
        f"<style>{STYLE}</style>",
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
        f'<text class="h" x="{GAP}" y="24">{HEADING}</text>',
        *_legend(low, high),
    ]
    for place, one in enumerate(shown):
        x = GAP + place % across * (PANEL_WIDTH + GAP)
        y = TOP + place // across * (PANEL_HEIGHT + GAP)
        lines += [f'<g transform="translate({x},{y})">', *_panel(one, low, high), "</g>"]
    lines.append(f'<text x="{GAP}" y="{height - 14}">{escape(f"Hours in {clock}; all panels share one scale.")}</text>')
    return "\n".join([*lines, "</svg>", ""])


def finding(profile: GridProfile) -> str:
    """What a profile says, in a sentence."""
    (low_hour, low_month), (high_hour, high_month) = extremes(profile)
    low, high = profile.cells[low_hour][low_month], profile.cells[high_hour][high_month]
    return (
        f"{profile.zone} {profile.year}: lowest at {low_hour:02}h in {MONTH_NAMES[low_month]} ({_grams(low)} g/kWh), "
        f"highest at {high_hour:02}h in {MONTH_NAMES[high_month]} ({_grams(high)} g/kWh), mean {_grams(profile.mean)}."
    )


def colour(value: int, low: int, high: int) -> tuple[int, int, int]:
    """The colour (red, green, blue; 0 to 255) of a value between the ends of the scale."""
    place = (value - low) / (high - low) * (len(SCALE) - 1) if high > low else 0.0
    step = min(int(place), len(SCALE) - 2)
    share = place - step
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(SCALE[step], SCALE[step + 1], strict=True))
    return red, green, blue


def ink(ground: tuple[int, int, int]) -> str:
    """Black or white, whichever stands out more on the ground (WCAG 2 contrast: at least 4.5 on any)."""
    bright = luminance(ground)
    return "#000" if (bright + 0.05) ** 2 >= 0.05 * 1.05 else "#fff"


def luminance(rgb: tuple[int, int, int]) -> float:
    """Relative luminance of an sRGB colour, 0 to 1 (WCAG 2)."""
    linear = [value / 255 / 12.92 if value <= 10 else ((value / 255 + 0.055) / 1.055) ** 2.4 for value in rgb]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _title(shown: Sequence[Captioned]) -> str:
    names = ", ".join(dict.fromkeys(one.profile.zone for one in shown))
    years = ", ".join(dict.fromkeys(str(one.profile.year) for one in shown))
    return f"{HEADING}: {names} {years}"


def _legend(low: int, high: int) -> Iterator[str]:
    step = LEGEND_WIDTH / LEGEND_STEPS
    for place in range(LEGEND_STEPS):
        value = low + (high - low) * place // max(1, LEGEND_STEPS - 1)
        x = GAP + LEFT + place * step
        yield f'<rect x="{x:g}" y="36" width="{step:g}" height="10" fill="{_hex(colour(value, low, high))}"/>'
    yield f'<text class="e" x="{GAP + LEFT - 4}" y="45">{_grams(low)}</text>'
    yield f'<text x="{GAP + LEFT + LEGEND_WIDTH + 4}" y="45">{_grams(high)} g/kWh; framed: lowest and highest</text>'


def _panel(one: Captioned, low: int, high: int) -> Iterator[str]:
    profile = one.profile
    yield f'<text class="t" x="0" y="14">{escape(f"{profile.zone} {profile.year}")}</text>'
    yield f'<text x="{LEFT}" y="{HEAD - 18}">{escape(one.source)}</text>'
    for month, name in enumerate(MONTH_NAMES):
        yield _centred(LEFT + month * CELL, HEAD - 4, name)
    yield _centred(LEFT + MONTHS * CELL + 6, HEAD - 4, "mean")
    for hour, row in enumerate(profile.cells):
        y = HEAD + hour * ROW
        yield f'<text class="e" x="{LEFT - 5}" y="{y + 11}">{hour:02}</text>'
        for month, value in enumerate(row):
            yield from _cell(LEFT + month * CELL, y, value, low, high)
        yield from _cell(LEFT + MONTHS * CELL + 6, y, profile.by_hour[hour], low, high)
    foot = HEAD + HOURS * ROW + 6
    yield f'<text class="e" x="{LEFT - 5}" y="{foot + 11}">mean</text>'
    for month, value in enumerate(profile.by_month):
        yield from _cell(LEFT + month * CELL, foot, value, low, high)
    yield from _cell(LEFT + MONTHS * CELL + 6, foot, profile.mean, low, high)
    for hour, month in extremes(profile):
        x, y = LEFT + month * CELL, HEAD + hour * ROW
        frame = ink(colour(profile.cells[hour][month] or 0, low, high))
        yield f'<rect class="b" x="{x + 1}" y="{y + 1}" width="{CELL - 2}" height="{ROW - 2}" stroke="{frame}"/>'


def _cell(x: int, y: int, value: int | None, low: int, high: int) -> Iterator[str]:
    if value is None:
        yield f'<rect x="{x}" y="{y}" width="{CELL}" height="{ROW}" fill="#fff" stroke="#999" stroke-dasharray="2 2"/>'
        yield _centred(x, y + 11, "?")
        return
    ground = colour(min(max(value, low), high), low, high)
    yield f'<rect x="{x}" y="{y}" width="{CELL}" height="{ROW}" fill="{_hex(ground)}"/>'
    yield f'<text class="c" x="{x + CELL // 2}" y="{y + 11}" style="fill:{ink(ground)}">{_grams(value)}</text>'


def _centred(x: int, y: int, text: str) -> str:
    return f'<text class="c" x="{x + CELL // 2}" y="{y}">{text}</text>'


def _grams(value: int | None) -> str:
    if value is None:
        return "unknown"
    return f"{value / MG_PER_G:.0f}" if value >= 10 * MG_PER_G else f"{value / MG_PER_G:.1f}"


def _hex(rgb: tuple[int, int, int]) -> str:
    return "#" + "".join(f"{value:02x}" for value in rgb)
