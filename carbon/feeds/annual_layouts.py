"""How publishers lay out their tables of annual means: which columns, which rows, which unit, which basis. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Literal

from greenserve.records import Basis

Names = Literal["zone", "iso3", "cloud", "eia"]
OWN_VALUE = "gco2e_per_kwh"
_G_PER_KWH = {
    "g/kwh": Decimal(1),
    "gperkwh": Decimal(1),
    "kg/mwh": Decimal(1),
    "t/gwh": Decimal(1),
    "kg/kwh": Decimal(1000),
    "t/mwh": Decimal(1000),
    "lb/mwh": Decimal("0.45359237"),
    "lb/kwh": Decimal("453.59237"),
}
UNITS = ("g/kWh", "kg/MWh", "t/GWh", "kg/kWh", "t/MWh", "lb/MWh", "lb/kWh")


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """A table: the columns that hold name, year and value (several names for a cloud's), and what they mean.

    `names`: what a name is (`zone` ours, `iso3`, `cloud` provider and region, `eia` a US balancing authority).
    `unit` is one of `UNITS`, or the name of the column that says it (`unit_column`). `where` keeps the rows that have
    these values. `basis` None: the table does not say; then whoever gives it has to.
    """

    title: str
    name: tuple[str, ...]
    year: str
    value: str
    names: Names
    unit: str = "g/kWh"
    unit_column: str | None = None
    where: Mapping[str, str] = field(default_factory=dict)
    basis: Basis | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column that it needs."""
        more = (*self.where, *((self.unit_column,) if self.unit_column else ()))
        return (*self.name, self.year, self.value, *more)


KNOWN = (
    Layout(title="own, by zone", name=("zone",), year="year", value=OWN_VALUE, names="zone"),
    Layout(title="own, by country", name=("iso3",), year="year", value=OWN_VALUE, names="iso3"),
    Layout(title="own, by cloud region", name=("provider", "region"), year="year", value=OWN_VALUE, names="cloud"),
    *(
        Layout(
            title="Ember yearly electricity data, long format",
            name=(code,),
            year="Year",
            value="Value",
            names="iso3",
            unit_column="Unit",
            where={"Variable": "CO2 intensity"},
            basis="lifecycle",
        )
        for code in ("ISO 3 code", "Country code")
    ),
    Layout(
        title="Ember carbon intensity, yearly",
        name=("entity_code",),
        year="date",
        value="emissions_intensity_gco2_per_kwh",
        names="iso3",
        basis="lifecycle",
    ),
    Layout(
        title="Our World in Data, energy",
        name=("iso_code",),
        year="year",
        value="carbon_intensity_elec",
        names="iso3",
        basis="lifecycle",
    ),
    Layout(
        title="EPA eGRID, sheet BA",
        name=("BACODE",),
        year="YEAR",
        value="BAC2ERTA",
        names="eia",
        unit="lb/MWh",
        basis="direct",
    ),
)
"""IEA sells its tables in several shapes; `greenserve carbon annual --map` reads them."""


def layout_of(columns: Sequence[str]) -> Layout | None:
    """The known layout whose columns are all there; None where there is none."""
    return next((layout for layout in KNOWN if not set(layout.columns) - set(columns)), None)


def g_per_kwh_in(unit: str) -> Decimal | None:
    """How many g/kWh one of a unit is, CO2, CO2e and blanks in it aside; None for a unit that is not known."""
    plain = unit.strip().lower().replace(" ", "").replace("lbs", "lb").replace("₂", "2")
    for gas in ("co2eq", "co2e", "co2"):
        plain = plain.replace(gas, "")
    return _G_PER_KWH.get(plain)


def described() -> str:
    """The known layouts and their columns, for a message."""
    return "; ".join(f"{one.title} ({', '.join(one.columns)})" for one in KNOWN)
