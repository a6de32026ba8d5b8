"""A file of annual means by zone, cloud region or country, as publishers and people write them."""

import csv
from decimal import Decimal, InvalidOperation
from pathlib import Path

from greenserve.errors import ConfigInvalid
from greenserve.records import LARGEST_MG_PER_KWH
from greenserve.units import mg_per_kwh_from_g

VALUE = "gco2e_per_kwh"
YEAR = "year"
NAMES = ("zone", "iso3")
CLOUD = ("provider", "region")


def annual_rows(file: Path) -> dict[str, tuple[int, int]]:
    """(year, mg/kWh) of the newest year by zone.

    The CSV file has the columns year, gco2e_per_kwh, and one of: zone; iso3 (country, alpha-3); provider and region
    (a cloud's, told as `gcp:europe-west3`). Other columns are not looked at, and rows without a name, such as sums over
    countries, or without a year are left out. Raises ConfigInvalid that names file, line, what was given and what is
    allowed.
    """
    found: dict[str, tuple[int, int]] = {}
    try:
        with file.open(encoding="utf-8", newline="") as lines:
            reader = csv.DictReader(lines)
            columns = reader.fieldnames or ()
            name_of = next((name for name in NAMES if name in columns), None)
            if {YEAR, VALUE} - set(columns) or (name_of is None and set(CLOUD) - set(columns)):
                raise ConfigInvalid(
                    f"{file} line 1: the columns are {','.join(columns)!r}; needed are {YEAR}, {VALUE}, and zone, iso3 "
                    "or provider and region"
                )
            for line, row in enumerate(reader, start=2):
                name = row[name_of] if name_of else f"{row['provider']}:{row['region']}"
                if not name or not row[YEAR]:
                    continue
                year, mg_per_kwh = _year(file, line, row[YEAR]), _value(file, line, row[VALUE])
                if name not in found or found[name][0] < year:
                    found[name] = (year, mg_per_kwh)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigInvalid(f"{file} cannot be read as a CSV file of annual means: {error}") from None
    if not found:
        raise ConfigInvalid(f"{file} holds no row with a name and a year")
    return found


def _year(file: Path, line: int, text: str) -> int:
    if not (text.isdecimal() and 1990 <= int(text[:9]) <= 2100):
        raise ConfigInvalid(f"{file} line {line}: the year is {text!r:.20}; allowed is 1990..2100")
    return int(text)


def _value(file: Path, line: int, text: str | None) -> int:
    try:
        grams = Decimal(text or "")
    except InvalidOperation:
        grams = Decimal("NaN")
    if not (grams.is_finite() and 0 <= grams * 1000 <= LARGEST_MG_PER_KWH):
        raise ConfigInvalid(f"{file} line {line}: {VALUE} is {text!r:.20}; a number in 0..2000 is needed")
    return mg_per_kwh_from_g(grams)
