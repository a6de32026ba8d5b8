"""The shipped factors of `carbon equivalents`, with the digest of the file that they were read from."""

import csv
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from importlib.resources import files
from typing import Literal

from greenserve.canonical import sha256_hex
from greenserve.carbon.equivalents import EquivalentFactor

FILE = "equivalents.csv"
DIGEST_DIGITS = 16
PER: dict[str, Literal["g", "kWh"]] = {"g": "g", "kWh": "kWh"}


@dataclass(frozen=True, slots=True, kw_only=True)
class EquivalentFactors:
    """The factors, and the name under which they are quoted: version and digest."""

    name: str
    factors: tuple[EquivalentFactor, ...]


@cache
def equivalent_factors() -> EquivalentFactors:
    """All factors in the order of the file."""
    text = (files("greenserve.carbon.factors") / FILE).read_text(encoding="utf-8")
    rows = list(csv.DictReader(text.splitlines()))
    return EquivalentFactors(
        name=f"equivalents {rows[0]['version']} sha256:{sha256_hex(text.encode())[:DIGEST_DIGITS]}",
        factors=tuple(
            EquivalentFactor(
                name=row["name"],
                unit=row["unit"],
                per=PER[row["per"]],
                low=Decimal(row["low"]),
                factor=Decimal(row["factor"]),
                high=Decimal(row["high"]),
                counts=row["counts"],
                source=row["source"],
                low_source=row["low_source"],
                high_source=row["high_source"],
            )
            for row in rows
        ),
    )
