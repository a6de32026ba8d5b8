"""`greenserve loadtest`: an open-loop load on a running gateway, with mJ per request beside latency."""

import json
import os
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from greenserve.cli.output import data, messages, print_json
from greenserve.clock import SystemClock
from greenserve.errors import InvalidRequest
from greenserve.loadtest.arrivals import SCHEDULES
from greenserve.loadtest.plan import Plan
from greenserve.loadtest.report import csv_of, document_of
from greenserve.loadtest.runner import Run, probe, require_locust, run_locust
from greenserve.loadtest.samples import Recording
from greenserve.loadtest.summary import Gate, Summary, gates_of, summarise
from greenserve.loadtest.table import lines_of
from greenserve.loadtest.trace_file import read_trace
from greenserve.quantities import parse_duration_s
from greenserve.units import US_PER_S

app = typer.Typer(add_completion=False)
GATE_NOT_MET = 3
NOT_VALID = 7
INTERRUPTED = 130
MOST_IN_FLIGHT = 2000


@app.command()
def loadtest(
    rate: Annotated[float, typer.Option(help="Mean arrivals per second.")] = 50.0,
    duration: Annotated[str, typer.Option(help="How long, with its unit: 30s, 2m.")] = "30s",
    arrivals: Annotated[str, typer.Option(help="poisson, constant or trace:FILE.")] = "poisson",
    url: Annotated[str, typer.Option(help="The gateway's HTTP address.")] = "http://127.0.0.1:8080",
    model: Annotated[str, typer.Option(help="The model to ask.")] = "sentiment",
    key_file: Annotated[Path | None, typer.Option(help="File that holds the key.")] = None,
    key: Annotated[str | None, typer.Option(help="The key itself; other users may see it.")] = None,
    max_mj: Annotated[float | None, typer.Option(min=0, help="Gate: mJ per request at most.")] = None,
    max_p95_ms: Annotated[float | None, typer.Option(min=0, help="Gate: p95 from intended start.")] = None,
    repeat_texts: Annotated[float, typer.Option(min=0, max=1, help="Share that a cache may answer.")] = 0.0,
    timeout: Annotated[str, typer.Option(help="Longest wait for an answer.")] = "30s",
    seed: Annotated[int, typer.Option(help="Seed of the schedule.")] = 0,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Folder for JSON, CSV, HTML.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> None:
    """Send requests on a seeded schedule and report latency, energy and carbon.

    Exit codes: 3 gate not met, 6 no gateway or no Locust, 7 measurement not valid.
    """
    now_us = SystemClock().unix_us()
    with tempfile.TemporaryDirectory(prefix="greenserve-loadtest-") as name:
        folder = Path(name)
        plan = Plan(
            url=_url(url),
            model=model,
            key=_key(key, key_file),
            rate_per_s=_positive("--rate", rate),
            duration_s=_duration("--duration", duration),
            arrivals=_arrivals(arrivals),
            seed=seed,
            repeat_share=repeat_texts,
            first_text=now_us // 1_000,
            max_in_flight=MOST_IN_FLIGHT,
            timeout_s=_duration("--timeout", timeout),
            result_file=str(folder / "result.json"),
            parent_pid=os.getpid(),
        )
        require_locust()
        probe(plan)
        stem = _stem(output, now_us)
        html = None if stem is None else stem.with_suffix(".html").absolute()
        try:
            messages.print(f"sending {rate:g}/s for {duration} to {plan.url}", markup=False)
            recording = run_locust(Run(plan=plan, folder=folder, html=html))
        except KeyboardInterrupt:
            messages.print("interrupted; the load has stopped, nothing was written")
            raise typer.Exit(INTERRUPTED) from None
    summary = summarise(recording)
    gates = gates_of(summary, max_mj=max_mj, max_p95_ms=max_p95_ms)
    _show(plan, summary, gates, as_json=as_json)
    if stem is not None:
        _write(stem, plan, summary, gates, recording)
    _leave(summary, gates)


def _show(plan: Plan, summary: Summary, gates: tuple[Gate, ...], *, as_json: bool) -> None:
    if as_json:
        print_json("loadtest", document_of(plan, summary, gates))
        return
    for line in lines_of(plan, summary, gates):
        data.print(line, markup=False)


def _write(stem: Path, plan: Plan, summary: Summary, gates: tuple[Gate, ...], recording: Recording) -> None:
    document = {"schema": "greenserve.loadtest/1"} | dict(document_of(plan, summary, gates))
    stem.with_suffix(".json").write_text(json.dumps(document, indent=2) + "\n")
    stem.with_suffix(".csv").write_text(csv_of(recording))
    messages.print(f"wrote {stem}.{{json,csv,html}}", markup=False)


def _leave(summary: Summary, gates: tuple[Gate, ...]) -> None:
    if summary.invalid:
        raise typer.Exit(NOT_VALID)
    if not summary.answered:
        messages.print("no request was answered; see the failures above")
        raise typer.Exit(1)
    if not all(gate.met for gate in gates):
        raise typer.Exit(GATE_NOT_MET)


def _stem(output: Path | None, now_us: int) -> Path | None:
    if output is None:
        return None
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise typer.BadParameter(f"{output} cannot be made a folder: {error}", param_hint="--output") from None
    # A dot in the stem would be taken for a suffix, so the time has none.
    return output / f"loadtest-{datetime.fromtimestamp(now_us / US_PER_S, tz=UTC):%Y%m%dT%H%M%SZ}"


def _duration(flag: str, text: str) -> float:
    return _positive(flag, _usage(flag, lambda: parse_duration_s(text)))


def _positive(flag: str, value: float) -> float:
    if not 0 < value < float("inf"):
        raise typer.BadParameter(f"{value:g} is given; it must be over 0", param_hint=flag)
    return value


def _usage(flag: str, parse: Callable[[], float]) -> float:
    try:
        return parse()
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=flag) from None


def _url(text: str) -> str:
    if not text.startswith(("http://", "https://")):
        raise typer.BadParameter(f"{text!r} is not an http:// or https:// address", param_hint="--url")
    return text.rstrip("/")


def _arrivals(kind: str) -> str:
    name, _, file = kind.partition(":")
    if name == "trace" and file:
        try:
            read_trace(file)
        except InvalidRequest as error:
            raise typer.BadParameter(str(error), param_hint="--arrivals") from None
        return f"trace:{Path(file).absolute()}"
    if kind not in {"constant", "poisson"}:
        raise typer.BadParameter(f"{kind!r} is given; allowed are {', '.join(SCHEDULES)}", param_hint="--arrivals")
    return kind


def _key(key: str | None, key_file: Path | None) -> str | None:
    if key is not None and key_file is not None:
        raise typer.BadParameter("give --key or --key-file, not both", param_hint="--key")
    if key_file is None:
        return key
    try:
        return key_file.read_text().strip()
    except OSError as error:
        raise typer.BadParameter(f"{key_file} cannot be read: {error.strerror}", param_hint="--key-file") from None
