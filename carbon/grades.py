"""What a line's grid readings are worth, and whether they fit together."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from greenserve.carbon.cuts import LATER
from greenserve.carbon.entries import OTHER_CI


def grade_of(reading: Mapping[str, Any]) -> str | None:
    """What of a reading E12 and the fallback levels need: basis, origin, level, half width [1/100 %]; None where it
    has neither of the last two. The parts are separated by blanks, `-` is unknown."""
    level, width_bp = reading.get("level"), reading.get("u_grid_bp")
    if level is None and width_bp is None:
        return None
    return _grade(reading["basis"], reading["origin"], level, width_bp)


@lru_cache(maxsize=1024)
def _grade(basis: str, origin: str, level: int | None, width_bp: int | None) -> str:
    shown = ("-" if value is None else value for value in (level, width_bp))
    return f"{basis} {origin} {' '.join(map(str, shown))}"


def stand_apart(body: Mapping[str, Any]) -> bool:
    """Whether the two readings of a line cannot be subtracted from each other."""
    if LATER in body:
        return any(map(_apart, (body, *body[LATER])))
    return _apart(body)


def _apart(body: Mapping[str, Any]) -> bool:
    if body.get(OTHER_CI) is None:
        return False
    one, other = body["ci"], body[OTHER_CI]
    return any(one[name] != other[name] for name in ("provider", "scope", "start_us", "end_us"))
