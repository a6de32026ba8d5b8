"""`greenserve compare`: two saved runs, metric by metric, with an interval and a verdict that CI can act on."""

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from greenserve.carbon.difference import Difference, Estimate, difference
from greenserve.cli.output import data, messages, print_json
from greenserve.cli.run_files import KINDS, Metric, Run, read_run
from greenserve.cli.table import COLUMNS
from greenserve.errors import InvalidRequest
from greenserve.quantities import parse_share

app = typer.Typer(add_completion=False)
GATE_NOT_MET, NOT_VALID = 3, 7
HEADINGS = ("", "A", "B", "B - A [95 %]", "change", "verdict")


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """One metric of both runs and its difference."""

    a: Metric
    b: Metric
    difference: Difference


@app.command()
def compare(
    run_a: Annotated[Path, typer.Argument(metavar="RUN_A", help=f"What it was before: {KINDS}.")],
    run_b: Annotated[Path, typer.Argument(metavar="RUN_B", help="What it is now, of the same kind.")],
    tolerance: Annotated[
        str | None, typer.Option(help="Exit 3 where a metric is shown to be worse by more, such as 2% or 0%.")
    ] = None,
    allow_mixed: Annotated[bool, typer.Option("--allow-mixed", help="Compare what was measured differently.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> None:
    """Compare two load tests, two reports of a profiler or tracker, or two folders of variants.

    `better` and `worse` are said where the whole 95 % interval of the difference is on that side; otherwise there is
    no evidence, which is no proof that they are equal. Exit codes: 2 not comparable, 3 worse beyond --tolerance, 7 a
    run is not valid.
    """
    allowed = _share(tolerance)
    a, b = read_run(run_a), read_run(run_b)
    mixed = _mixed(a, b)
    if mixed and not allow_mixed:
        raise InvalidRequest(
            f"the runs were not measured alike: {'; '.join(mixed)}. --allow-mixed compares them all the same"
        )
    faults = [f"{name}: {fault}" for name, run in (("A", a), ("B", b)) for fault in run.faults]
    found = _compared(a, b, allowed or 0.0, void=bool(faults))
    beyond = [one for one in found if one.difference.beyond]
    if as_json:
        passed = None if allowed is None or faults else not beyond
        members = {"kind": a.kind, "a": a.said, "b": b.said, "mixed": mixed, "not_valid": faults}
        listed = [_document(one) for one in found]
        print_json("compare", members | {"tolerance": allowed, "passed": passed, "metrics": listed})
    else:
        for line in _lines(a, b, found, mixed):
            data.print(line, markup=False)
    _tell(a, b, faults, beyond if allowed is not None else [])
    if faults:
        raise typer.Exit(NOT_VALID)
    if beyond and allowed is not None:
        raise typer.Exit(GATE_NOT_MET)


def _mixed(a: Run, b: Run) -> list[str]:
    if a.kind != b.kind:
        raise InvalidRequest(f"RUN_A is of the kind {a.kind}, RUN_B of the kind {b.kind}; give two of one kind")
    return [
        f"{name} is {a.same[name] or 'unknown'} and {b.same[name] or 'unknown'}"
        for name in a.same
        if a.same[name] != b.same[name]
    ]


def _compared(a: Run, b: Run, tolerance: float, *, void: bool) -> list[Compared]:
    """The metrics of both, in A's order; where a run is not valid no difference is evidence."""
    others = {(one.group, one.name): one for one in b.metrics}
    found = []
    for one in a.metrics:
        other = others.get((one.group, one.name))
        if other is None:
            continue
        pair = (Estimate(value=one.estimate.value), other.estimate) if void else (one.estimate, other.estimate)
        told = difference(*pair, lower_is_better=one.lower_is_better, tolerance=tolerance)
        found.append(Compared(a=one, b=other, difference=told))
    if not found:
        raise InvalidRequest(
            "the runs have no metric in common; nothing was measured in one of them, or other variants"
        )
    return found


def _lines(a: Run, b: Run, found: Sequence[Compared], mixed: Sequence[str]) -> Iterator[str]:
    yield f"A  {a.said}"
    yield f"B  {b.said}"
    if mixed:
        yield from textwrap.wrap(f"MIXED: {'; '.join(mixed)}", COLUMNS)
    rows = [_cells(one) for one in found]
    widths = [max(len(row[place]) for row in [HEADINGS, *rows]) for place in range(len(HEADINGS) - 1)]
    yield _row(HEADINGS, widths)
    group = ""
    for one, row in zip(found, rows, strict=True):
        if one.a.group != group:
            group = one.a.group
            yield group
        yield _row(row, widths)
    tiers = sorted({metric.tier for one in found for metric in (one.a, one.b) if metric.tier is not None})
    if tiers:
        yield f"tier of energy: {', '.join(tiers)}"


def _row(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *middle, verdict = cells
    padded = "  ".join(f"{cell:>{width}}" for cell, width in zip(middle, widths[1:], strict=True))
    return f"{first:<{widths[0]}}  {padded}  {verdict}".rstrip()


def _cells(one: Compared) -> tuple[str, ...]:
    told = one.difference
    ends = "[unknown]" if told.low is None or told.high is None else f"[{_signed(told.low)}, {_signed(told.high)}]"
    change = "-" if told.relative is None else f"{100 * told.relative:+.1f}%"
    values = (_figure(one.a.estimate.value), _figure(one.b.estimate.value))
    return (one.a.name, *values, f"{_signed(told.value)} {ends}", change, told.verdict)


def _tell(a: Run, b: Run, faults: Sequence[str], beyond: Sequence[Compared]) -> None:
    known = {(one.group, one.name) for one in a.metrics}
    other = {(one.group, one.name) for one in b.metrics}
    for name, only in (("A", known - other), ("B", other - known)):
        if only:
            said = ", ".join(dict.fromkeys(group or metric for group, metric in sorted(only)))
            messages.print(f"in {name} alone: {said}", markup=False)
    for note in dict.fromkeys([*a.notes, *b.notes]):
        messages.print(note, markup=False)
    for fault in faults:
        messages.print(f"NOT VALID, so no evidence of anything: {fault}", markup=False)
    for one in beyond:
        messages.print(f"worse beyond the tolerance: {' '.join(filter(None, (one.a.group, one.a.name)))}", markup=False)


def _document(one: Compared) -> Mapping[str, Any]:
    return {
        "group": one.a.group or None,
        "metric": one.a.name,
        "lower_is_better": one.a.lower_is_better,
        "tier_a": one.a.tier,
        "tier_b": one.b.tier,
        "a": asdict(one.a.estimate),
        "b": asdict(one.b.estimate),
        "difference": asdict(one.difference),
    }


def _share(tolerance: str | None) -> float | None:
    if tolerance is None:
        return None
    try:
        return parse_share(tolerance)
    except ValueError as error:
        raise InvalidRequest(f"--tolerance: {error}") from None


def _figure(value: float) -> str:
    """Three digits or more, no exponent."""
    size = abs(value)
    if size >= 100 or not size:
        return f"{value:,.0f}"
    return f"{value:.1f}" if size >= 10 else f"{value:.2f}" if size >= 0.1 else f"{value:.2g}"


def _signed(value: float) -> str:
    return f"{'-' if value < 0 else '+'}{_figure(abs(value))}"
