"""Tables of annual means as their publishers write them: read, or refused with what is known."""

from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenserve.carbon.feeds.annual_file import annual_rows, annual_table
from greenserve.carbon.feeds.annual_layouts import UNITS, Layout, g_per_kwh_in
from greenserve.carbon.feeds.build import grid_of
from greenserve.clock import ManualClock
from greenserve.errors import ConfigInvalid
from greenserve.grid_sections import Intensity

EMBER = """Area,ISO 3 code,Year,Area type,Category,Subcategory,Variable,Unit,Value
France,FRA,2023,Country,Power sector emissions,CO2 intensity,CO2 intensity,gCO2/kWh,56.04
France,FRA,2024,Country,Power sector emissions,CO2 intensity,CO2 intensity,gCO2/kWh,44.18
France,FRA,2024,Country,Electricity generation,Fuel,Wind,TWh,46.8
Poland,POL,2024,Country,Power sector emissions,CO2 intensity,CO2 intensity,gCO2/kWh,
World,,2024,Region,Power sector emissions,CO2 intensity,CO2 intensity,gCO2/kWh,472.9
"""
EGRID = """Year,Balancing authority name,Balancing authority code,Annual CO2e total output emission rate (lb/MWh)
YEAR,BANAME,BACODE,BAC2ERTA
2023,California Independent System Operator,CISO,"1,000.5"
2023,PJM,PJM,"800"
2023,One that is no zone of ours,XXXX,5
"""
EMBER_API = """entity,entity_code,is_aggregate_entity,date,emissions_intensity_gco2_per_kwh
Sweden,SWE,false,2024,36.5
World,,true,2024,470
"""
OWID = """country,year,iso_code,population,carbon_intensity_elec
Norway,2023,NOR,5,30.1
Norway,1989,,5,
"""
IEA = """COUNTRY,FLOW,TIME,Value,Flag
GERMANY,EFELE,2023,360.5,
DEU,EFELE,2023,360.5,
DEU,EFHEAT,2023,200,
"""


def written(folder: Path, text: str) -> Path:
    file = folder / "table.csv"
    file.write_text(text, encoding="utf-8-sig")
    return file


@pytest.mark.parametrize(
    ("text", "rows", "basis", "left_out"),
    [
        (EMBER, {"FRA": (2024, 44_180)}, "lifecycle", 3),
        (EGRID, {"US-CAL-CISO": (2023, 453_819), "US-MIDA-PJM": (2023, 362_874)}, "direct", 1),
        (EMBER_API, {"SWE": (2024, 36_500)}, "lifecycle", 1),
        (OWID, {"NOR": (2023, 30_100)}, "lifecycle", 1),
        ("zone,year,gco2e_per_kwh\nSE,2024,31\n", {"SE": (2024, 31_000)}, None, 0),
        ("provider,region,year,gco2e_per_kwh\ngcp,x,2024,31\n", {"gcp:x": (2024, 31_000)}, None, 0),
    ],
)
def test_the_publishers_tables_are_read_as_they_are(
    tmp_path: Path, text: str, rows: dict[str, tuple[int, int]], basis: str | None, left_out: int
) -> None:
    """The newest year of each name; sums, other kinds and unknown names are left out and counted."""
    table = annual_table(written(tmp_path, text))

    assert rows == table.rows
    assert basis == table.layout.basis
    assert left_out == sum(table.left_out.values())


def test_any_other_table_is_read_by_naming_its_columns(tmp_path: Path) -> None:
    """Only the rows that are asked for, in the unit that is given."""
    layout = Layout(
        title="IEA", name=("COUNTRY",), year="TIME", value="Value", names="iso3", unit="kg/MWh", where={"FLOW": "EFELE"}
    )

    assert {"GERMANY": (2023, 360_500), "DEU": (2023, 360_500)} == annual_table(written(tmp_path, IEA), layout).rows


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (IEA, "known are: own, by zone .*Ember yearly.*eGRID.*--map zone=COLUMN"),
        ("zone,year,gco2e_per_kwh\nSE,24,31\n", "line 2: the year is '24'; allowed is 1990..2100"),
        ("zone,year,gco2e_per_kwh\nSE,2024,9000\n", "line 2: gco2e_per_kwh is '9000' g/kWh; a number in 0..2000"),
        ("zone,year,gco2e_per_kwh\nSE,2024,1,5\nNO,2024,x\n", "line 3: gco2e_per_kwh is 'x'"),
        (EMBER.replace("gCO2/kWh,44", "g/MJ,44"), "line 3: the unit is 'g/MJ'; known are g/kWh"),
        ("zone,year,gco2e_per_kwh\n,2024,31\n", "no row with a name and a year: read as own, by zone, 1 rows"),
        ("", "line 1: the columns are ''"),
    ],
)
def test_what_cannot_be_read_is_refused_with_place_and_remedy(tmp_path: Path, text: str, told: str) -> None:
    """Never a guess."""
    with pytest.raises(ConfigInvalid, match=told):
        annual_table(written(tmp_path, text))


def test_a_table_of_the_other_basis_is_refused(tmp_path: Path) -> None:
    """Direct values must not stand for lifecycle ones because nobody said so."""
    file = written(tmp_path, EGRID)

    with pytest.raises(ConfigInvalid, match=r"whose values are direct; write `basis: direct`"):
        annual_rows(file, "lifecycle")
    assert 2 == len(annual_rows(file, "direct"))


def test_a_configured_table_answers_for_its_countrys_zones(tmp_path: Path) -> None:
    """A zone, a cloud region and a region of NESO's take their country's mean, and say so."""
    file = written(tmp_path, EMBER.replace("FRA", "GBR"))
    source = {"kind": "annual", "file": str(file), "source": "Ember"}
    grid = grid_of(
        Intensity.model_validate({"sources": [source]}), wanted=[], store=tmp_path / "grid", clock=ManualClock()
    )

    readings = [grid.chain.read(zone=zone, at_us=0) for zone in ("GB", "gcp:europe-west2", "neso:13")]

    assert [(44_180, "mean of GBR", "Ember 2024")] * 3 == [
        (one.mg_per_kwh, one.model, one.provider) for one in readings if one is not None
    ]


@given(st.sampled_from(UNITS), st.sampled_from(["", "CO2", "CO2e", "CO₂eq "]))
def test_a_unit_means_the_same_whatever_gas_it_names(unit: str, gas: str) -> None:
    """gCO2e/kWh = gCO2/kWh = g/kWh; a ton per MWh is a kilogram per kWh."""
    mass, _, energy = unit.partition("/")

    assert g_per_kwh_in(unit) == g_per_kwh_in(f" {mass} {gas}/{energy}".upper())
    assert g_per_kwh_in("t/MWh") == g_per_kwh_in("kg/kWh") == Decimal(1000)
