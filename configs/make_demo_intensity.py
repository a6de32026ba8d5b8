"""Makes `demo-intensity.csv`: one synthetic week of hourly grid intensity for two invented zones.

Nothing here is measured. DEMO-NORTH behaves like hydropower, flat and low; DEMO-SOUTH like solar with a fossil night:
around noon of a sunny day it is the cleaner of the two, so routing changes with the hour. Same seed, same bytes.
"""

import math
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

SEED = 20240101
MONDAY = datetime(2024, 1, 1, tzinfo=UTC)
HOURS = 168
SUNNY_DAYS = frozenset({0, 1, 3, 4, 6})
NIGHT_G = 620.0
SUNNY_NOON_G = 25.0
CLOUDY_NOON_G = 120.0
HEADER = "timestamp_utc,region,carbon_intensity_gco2e_per_kwh"


def north_g(hour: int, noise: float) -> float:
    """DEMO-NORTH [g/kWh]: 30 by night to 60 in the evening; `noise` in 0..1 moves it by up to 3 either way."""
    demand = 0.5 - 0.5 * math.cos(2 * math.pi * (hour % 24 - 6) / 24)
    return 34.0 + 22.0 * demand + 6.0 * (noise - 0.5)


def south_g(hour: int, noise: float) -> float:
    """DEMO-SOUTH [g/kWh]: 620 without sun, 25 around a sunny noon, 120 around a cloudy one; less firm by day."""
    sun = max(0.0, math.sin(math.pi * (hour % 24 - 6) / 12))
    covered = min(1.0, 1.12 * sun)
    noon_g = SUNNY_NOON_G if hour // 24 in SUNNY_DAYS else CLOUDY_NOON_G
    return NIGHT_G + (noon_g - NIGHT_G) * covered + 20.0 * (noise - 0.5) * (1.0 - covered)


def demo_csv() -> str:
    """The whole file: header, then both zones hour by hour."""
    draw = random.Random(SEED)
    lines = [HEADER]
    for hour in range(HOURS):
        at = (MONDAY + timedelta(hours=hour)).strftime("%Y-%m-%dT%H:%M:%SZ")
        lines.append(f"{at},DEMO-NORTH,{north_g(hour, draw.random()):.2f}")
        lines.append(f"{at},DEMO-SOUTH,{south_g(hour, draw.random()):.2f}")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write the file beside this script."""
    Path(__file__).with_name("demo-intensity.csv").write_text(demo_csv(), encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
