"""`greenserve carbon annual`: read a publisher's table of annual means, show what was understood, write it as ours."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from greenserve.carbon.feeds.annual_file import AnnualTable, annual_table
from greenserve.carbon.feeds.annual_layouts import OWN_VALUE, UNITS, Layout, Names, g_per_kwh_in
from greenserve.cli.output import messages, print_json
from greenserve.cli.table import print_table
from greenserve.errors import InvalidRequest
from greenserve.units import MG_PER_G

NAMES: dict[str, Names] = {"zone": "zone", "iso3": "iso3", "eia": "eia"}
SHOWN = 20


def annual(
    file: Annotated[Path, typer.Option("--from", metavar="FILE", help="A CSV file as its publisher gives it.")],
    mapped: Annotated[
        list[str] | None,
        typer.Option("--map", metavar="WHAT=COLUMN", help="zone, iso3 or eia; year; value: where a table holds them."),
    ] = None,
    unit: Annotated[str, typer.Option(help=f"Of a mapped value: {', '.join(UNITS)}.")] = "g/kWh",
    where: Annotated[
        list[str] | None, typer.Option(metavar="COLUMN=VALUE", help="Of a mapped table: only rows that say so.")
    ] = None,
    to: Annotated[Path | None, typer.Option("-o", "--to", help="Write it in the columns of `kind: annual`.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> None:
    """Read a table of annual means (Ember, Our World in Data, EPA eGRID, or any with --map) and say what is in it.

    Exit 4 where it cannot be read: the message names line, what was found and what is known.
    """
    layout = _layout(mapped or [], unit, where or [])
    table = annual_table(file, layout)
    if to is not None:
        _write(to, table)
    if as_json:
        print_json(
            "carbon-annual",
            {
                "layout": table.layout.title,
                "basis": table.layout.basis,
                "left_out": dict(table.left_out),
                "values": [
                    {"name": name, "year": year, "mg_per_kwh": mg} for name, (year, mg) in sorted(table.rows.items())
                ],
            },
        )
        return
    rows = [(name, str(year), f"{mg / MG_PER_G:g}") for name, (year, mg) in sorted(table.rows.items())]
    print_table((_heading(table.layout), "year", "g/kWh"), rows[:SHOWN], empty="no row")
    if len(rows) > SHOWN:
        messages.print(f"and {len(rows) - SHOWN} more (all of them with --json or -o FILE)", markup=False)
    _tell(table, to or file)


def _tell(table: AnnualTable, file: Path) -> None:
    said = f"read as {table.layout.title}: {len(table.rows)} values, newest year each"
    left = [f"{count} rows {why}" for why, count in table.left_out.items()]
    messages.print("; ".join([said, *left]), markup=False)
    basis = table.layout.basis or "lifecycle or direct, as the publisher says"
    messages.print(f"intensity.sources: {{kind: annual, file: {file}, source: ..., basis: {basis}}}", markup=False)


def _heading(layout: Layout) -> str:
    return {"iso3": "country", "cloud": "cloud region"}.get(layout.names, "zone")


def _layout(mapped: Sequence[str], unit: str, where: Sequence[str]) -> Layout | None:
    if not mapped:
        if where or unit != "g/kWh":
            raise InvalidRequest("--unit and --where belong to --map: a known layout has its own")
        return None
    given = dict(_pair("--map", text) for text in mapped)
    names = [name for name in NAMES if name in given]
    if len(names) != 1 or set(given) != {names[0], "year", "value"}:
        raise InvalidRequest(
            f"--map gave {', '.join(given)}; needed are year, value and one of {', '.join(NAMES)}, each with its column"
        )
    if g_per_kwh_in(unit) is None:
        raise InvalidRequest(f"--unit is {unit!r}; allowed is one of {', '.join(UNITS)}")
    return Layout(
        title="a mapped table",
        name=(given[names[0]],),
        year=given["year"],
        value=given["value"],
        names=NAMES[names[0]],
        unit=unit,
        where=dict(_pair("--where", text) for text in where),
    )


def _pair(option: str, text: str) -> tuple[str, str]:
    name, found, value = text.partition("=")
    if not (found and name and value):
        raise InvalidRequest(f"{option} is {text!r}; write it as NAME=VALUE")
    return name, value


def _write(file: Path, table: AnnualTable) -> None:
    cloud, country = table.layout.names == "cloud", table.layout.names == "iso3"
    names = ["provider", "region"] if cloud else ["iso3" if country else "zone"]
    try:
        with file.open("x", encoding="utf-8", newline="") as lines:
            writer = csv.writer(lines, lineterminator="\n")
            writer.writerow([*names, "year", OWN_VALUE])
            for name, (year, mg) in sorted(table.rows.items()):
                writer.writerow([*(name.split(":", 1) if cloud else [name]), year, f"{mg / MG_PER_G:.3f}"])
    except FileExistsError:
        raise InvalidRequest(f"{file} exists; give another name to -o") from None
    except OSError as error:
        raise InvalidRequest(f"{file} cannot be written: {error.strerror}") from None
