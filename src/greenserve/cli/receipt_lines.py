"""A receipt for people: a line each for the request, its devices, its carbon, and what is not known and why."""

from collections.abc import Iterator, Mapping
from typing import Any


def receipt_lines(receipt: Mapping[str, Any]) -> Iterator[str]:
    """The lines of a receipt's document (`receipt.receipt_document`); unknown is a word, never a zero."""
    yield f"{receipt['request_id']}   {receipt['state']}, ended {receipt['ended']}"
    where = f"{receipt['model']} / {receipt['variant']} in {receipt['region']}"
    yield f"{receipt['tenant']}   {where}, {receipt['outcome']}, cache {receipt['cache']}"
    energy, carbon = receipt["energy"], receipt["carbon"]
    low, high = energy["energy_low_joules"], energy["energy_high_joules"]
    between = "" if low is None or high is None else f" ({low} .. {high})"
    yield f"energy  {_joules(energy['energy_joules'])}{between}, tier {energy['tier']}"
    for device in receipt["devices"] or ():
        parts = ", ".join(f"{name} {_joules(device[f'{name}_joules'])}" for name in ("active", "held", "host"))
        yield f"        {device['device']}: {_joules(device['energy_joules'])} ({parts}), tier {device['tier']}"
    for name, label in (("loc_lifecycle_gco2e", "lifecycle"), ("loc_direct_gco2e", "direct")):
        grams = carbon[name]
        yield f"carbon  {label} {'unknown' if grams is None else f'{grams} gCO2e'}"
    if receipt["flags"]:
        yield f"flags   {', '.join(receipt['flags'])}"
    for name, reason in receipt["unknown_reasons"].items():
        yield f"not known: {name}: {reason}"


def _joules(value: str | None) -> str:
    return "unknown" if value is None else f"{value} J"
