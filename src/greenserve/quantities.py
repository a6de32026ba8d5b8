"""Quantities as people write them in configuration and on the command line: a number and its unit."""

import re
from decimal import Decimal, InvalidOperation
from types import MappingProxyType

_NUMBER_UNIT = re.compile(r"\s*([+-]?[0-9][0-9_]*(?:\.[0-9]+)?)\s*([A-Za-z%/0-9]*)\s*")
_SECONDS = MappingProxyType({"us": "0.000001", "ms": "0.001", "s": "1", "m": "60", "h": "3600", "d": "86400"})
_BYTES = MappingProxyType({"B": 1, "kB": 1000, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30})
_ENERGY_UJ = MappingProxyType(
    {"uJ": 1, "mJ": 10**3, "J": 10**6, "kJ": 10**9, "Wh": 36 * 10**8, "kWh": 36 * 10**11, "MWh": 36 * 10**14}
)
_EMISSIONS_G = MappingProxyType({"gCO2e": 1, "kgCO2e": 10**3, "tCO2e": 10**6})
_EMISSIONS_NG = MappingProxyType(
    {"ngCO2e": 1, "ugCO2e": 10**3, "mgCO2e": 10**6, "gCO2e": 10**9, "kgCO2e": 10**12, "tCO2e": 10**15}
)
_INTENSITY_MG = MappingProxyType({"gCO2e/kWh": 1000, "mgCO2e/kWh": 1, "kgCO2e/MWh": 1000})


def parse_duration_s(given: object) -> float:
    """`30s`, `250ms`, `10m`, `2h` to seconds [s]; ValueError says what is missing."""
    number, unit = _split(given, example=f"{given}s or {given}000ms", allowed=tuple(_SECONDS))
    return float(number * Decimal(_SECONDS[unit]))


def parse_bytes(given: object) -> int:
    """`8MiB`, `64KiB`, `1GB` to bytes."""
    number, unit = _split(given, example=f"{given}MiB", allowed=tuple(_BYTES))
    value = number * _BYTES[unit]
    if value != int(value):
        raise ValueError(f"{given!r} is {value} bytes; a whole number of bytes is needed")
    return int(value)


def parse_rate_per_s(given: object) -> float:
    """`200/s` or `600/m` to events per second."""
    number, unit = _split(given, example=f"{given}/s", allowed=("/s", "/m", "/h"))
    return float(number / {"/s": 1, "/m": 60, "/h": 3600}[unit])


def parse_share(given: object) -> float:
    """`5%` to 0.05; at most 100%."""
    number, _ = _split(given, example=f"{given}%", allowed=("%",))
    if number > 100:
        raise ValueError(f"{given!r} is over 100%")
    return float(number / 100)


def parse_mg_per_kwh(given: object) -> int:
    """`215.8gCO2e/kWh` to mg/kWh, exact."""
    number, unit = _split(given, example=f"{given}gCO2e/kWh", allowed=tuple(_INTENSITY_MG))
    value = number * _INTENSITY_MG[unit]
    if value != int(value) or not 0 <= value <= 2_000_000:
        raise ValueError(f"{given!r} is {value} mg/kWh; a whole number in 0..2,000,000 is needed")
    return int(value)


def parse_energy_uj(given: object) -> int:
    """`120mJ`, `0.5J`, `100kWh` to uJ, exact."""
    number, unit = _split(given, example=f"{given}mJ or {given}kWh", allowed=tuple(_ENERGY_UJ))
    value = number * _ENERGY_UJ[unit]
    if value != int(value):
        raise ValueError(f"{given!r} is {value} uJ; a whole number of uJ is needed")
    return int(value)


def parse_emissions_g(given: object) -> int:
    """`164kgCO2e` to g CO2e, exact."""
    number, unit = _split(given, example=f"{given}kgCO2e", allowed=tuple(_EMISSIONS_G))
    value = number * _EMISSIONS_G[unit]
    if value != int(value):
        raise ValueError(f"{given!r} is {value} g; a whole number of grams is needed")
    return int(value)


def parse_emissions_ng(given: object) -> int:
    """`1.2kgCO2e`, `350gCO2e`, `12mgCO2e` to ng CO2e, exact."""
    number, unit = _split(given, example=f"{given}gCO2e", allowed=tuple(_EMISSIONS_NG))
    value = number * _EMISSIONS_NG[unit]
    if value != int(value):
        raise ValueError(f"{given!r} is {value} ng; a whole number of nanograms is needed")
    return int(value)


def _split(given: object, *, example: str, allowed: tuple[str, ...]) -> tuple[Decimal, str]:
    matched = _NUMBER_UNIT.fullmatch(str(given)) if isinstance(given, str | int | float) else None
    if matched is None or isinstance(given, bool):
        raise ValueError(f"{given!r} is not a quantity; write a number and one of {', '.join(allowed)}")
    number, unit = matched.groups()
    if not unit:
        raise ValueError(f"{given} has no unit; write {example}")
    if unit not in allowed:
        raise ValueError(f"{given!r} has unit {unit!r}; allowed are {', '.join(allowed)}")
    try:
        value = Decimal(number.replace("_", ""))
    except InvalidOperation:
        raise ValueError(f"{given!r} is not a number and a unit") from None
    if value < 0:
        raise ValueError(f"{given!r} is negative")
    return value, unit
