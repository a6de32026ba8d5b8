"""Plain tables that fit 80 columns: cells of the last column wrap under themselves, nothing is cut."""

import textwrap
from collections.abc import Sequence

from greenserve.cli.output import data, messages

COLUMNS = 80


def print_table(names: Sequence[str], rows: Sequence[Sequence[str]], *, empty: str) -> None:
    """A header and rows on stdout; `empty` on stderr where there is no row."""
    if not rows:
        messages.print(empty, markup=False)
        return
    widths = [max(len(row[place]) for row in [names, *rows]) for place in range(len(names) - 1)]
    indent = sum(widths) + 2 * len(widths)
    for row in [names, *rows]:
        lead = "".join(f"{cell:<{width}}  " for cell, width in zip(row, widths, strict=False))
        wrapped = textwrap.wrap(row[-1], max(20, COLUMNS - indent), break_on_hyphens=False) or [""]
        data.print((lead + wrapped[0]).rstrip(), markup=False)
        for line in wrapped[1:]:
            data.print(" " * indent + line, markup=False)
