"""`greenserve optimize`: build, judge and measure the variants of a model."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.status import Status

from greenserve.carbon.meters.cpu_time import host_power
from greenserve.cli.output import data, messages, print_json
from greenserve.clock import SystemClock
from greenserve.errors import InvalidRequest
from greenserve.optimize.cost import StatedIntensity
from greenserve.optimize.kinds import CLASSIFICATION, Kind
from greenserve.optimize.order import Order
from greenserve.optimize.plan import expected_seconds, preset_named
from greenserve.optimize.progress import Step
from greenserve.optimize.report import summary, table
from greenserve.optimize.run import optimize
from greenserve.optimize.sources import DEMO_MODELS, default_name, kind_of
from greenserve.serve.engines.onnx import engine_for_file
from greenserve.units import mg_per_kwh_from_g

NOTHING_PASSED = 3
FEW_ROWS_PER_CLASS = 100
Progress = Literal["auto", "plain", "none"]

app = typer.Typer(add_completion=False)


@app.command()
def run(
    model: Annotated[
        str,
        typer.Argument(help="demo:minilm, demo:minilm-embed, or a folder with config.json, weights, tokenizer.json."),
    ],
    data_set: Annotated[str, typer.Option("--data", help="tweets, or a CSV file with labelled texts.")],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder to write; default variants/NAME.")] = None,
    task: Annotated[str | None, typer.Option(help="text-classification (default) or text-embedding.")] = None,
    name: Annotated[str | None, typer.Option(help="The model's name in the gateway.")] = None,
    preset: Annotated[str, typer.Option(help="How much to read and measure: demo or standard.")] = "demo",
    families: Annotated[str | None, typer.Option(help="Comma-separated: int8-dyn, drop, static.")] = None,
    max_drop: Annotated[
        float | None, typer.Option(help="Most that a variant may lose, in points: accuracy 1, embeddings' recall 15.")
    ] = None,
    text_column: Annotated[str, typer.Option(help="Column of the texts in a CSV file.")] = "text",
    label_column: Annotated[str, typer.Option(help="Column of the labels in a CSV file.")] = "label",
    seed: Annotated[int, typer.Option(min=0, help="Fixes splits, order and resampling.")] = 0,
    intensity: Annotated[float | None, typer.Option(help="Grid intensity for this run, in gCO2e/kWh.")] = None,
    zone: Annotated[str | None, typer.Option(help="Zone of --intensity, as a label.")] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Open no connection (this version never does).")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the manifest instead of the table.")] = False,
    progress: Annotated[Progress, typer.Option(help="auto, plain or none.")] = "auto",
) -> None:
    """Build and measure the variants of MODEL; exit 3 where none but the baseline passes the gate."""
    kind = kind_of(model, task)
    called = _plain_name(default_name(model, kind) if name is None else name)
    order = Order(
        model=model,
        data=data_set,
        task=kind.name,
        out=out or Path("variants") / called,
        name=called,
        preset=preset_named(preset, kind.name),
        text_column=text_column,
        label_column=label_column,
        families=kind.families if families is None else tuple(map(str.strip, filter(str.strip, families.split(",")))),
        max_drop_points=kind.max_drop_points if max_drop is None else _at_least_zero("--max-drop", max_drop),
        seed=seed,
        intensity=_stated(intensity, zone),
    )
    order = replace(order, command=_command(order, kind))
    power = host_power()
    expected_s = sum(expected_seconds(order.preset, families=order.families).values())
    with Reporter(progress) as reporter:
        reporter.say(
            f"plan: {1 + len(order.families)} variants, about {_clock(expected_s)}; meter: CPU-time model, "
            f"tier {power.tier} (absolute +-{power.half_width_pct} %)"
        )
        outcome = optimize(order, engine_for=engine_for_file, power=power, clock=SystemClock(), tell=reporter.tell)
    for broken, reason in outcome.broken.items():
        messages.print(f"warning: {broken} could not be built and is left out: {reason}", markup=False)
    _warn_few_rows(outcome.document["data"]["splits"]["test"]["n"], outcome.document["data"]["classes"])
    if as_json:
        print_json("optimize", {"manifest": outcome.document, "passed": outcome.passed, "out": str(order.out)})
    else:
        _print([*table(outcome.document), *summary(outcome.document)])
        _print([f"wrote {order.out} (version {outcome.document['version']})"])
    if outcome.passed is None:
        messages.print("no variant passed the gate; the baseline is recommended", markup=False)
        raise typer.Exit(NOTHING_PASSED)


class Reporter:
    """Progress on stderr: one live line on a terminal, else one line per stage. State: the live line."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        live = progress == "auto" and messages.is_terminal
        self._status: Status | None = messages.status("starting") if live else None

    def __enter__(self) -> "Reporter":
        if self._status is not None:
            self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._status is not None:
            self._status.stop()

    def say(self, line: str) -> None:
        """A line that stays."""
        if self._progress != "none":
            messages.print(line, markup=False)

    def tell(self, step: Step) -> None:
        """A stage begins."""
        line = (
            f"[{step.number}/{step.count}] {step.name}: {step.note}; {_clock(step.elapsed_s)} passed, "
            f"about {_clock(step.remaining_s)} left"
        )
        if self._status is not None:
            self._status.update(line.replace("[", "\\["))
        else:
            self.say(line)


def _print(lines: Sequence[str]) -> None:
    for line in lines:
        data.print(line, markup=False)


def _warn_few_rows(rows: int, classes: int) -> None:
    if rows < FEW_ROWS_PER_CLASS * classes:
        messages.print(
            f"warning: {rows} test rows for {classes} classes; below {FEW_ROWS_PER_CLASS} per class the quality "
            "figures say little",
            markup=False,
        )


def _plain_name(name: str) -> str:
    if not name or not name.replace("-", "").replace("_", "").isalnum() or not name.isascii():
        raise InvalidRequest(f"--name is {name!r}; letters, digits, - and _ are allowed")
    return name


def _at_least_zero(option: str, value: float) -> float:
    if not (math.isfinite(value) and value >= 0):
        raise InvalidRequest(f"{option} is {value}; a number >= 0 is wanted")
    return value


def _stated(intensity: float | None, zone: str | None) -> StatedIntensity | None:
    if intensity is None:
        if zone is not None:
            raise InvalidRequest("--zone is only a label here: give --intensity in g CO2e/kWh with it")
        return None
    return StatedIntensity(zone=zone, mg_per_kwh=mg_per_kwh_from_g(_at_least_zero("--intensity", intensity)))


def _command(order: Order, kind: Kind) -> str:
    """The command that repeats this run; folders by their name alone, since a manifest travels."""
    model, data_set = (Path(given).name if Path(given).exists() else given for given in (order.model, order.data))
    words = ["greenserve optimize", model, "--data", data_set, "--preset", order.preset.name]
    if kind.name != CLASSIFICATION and order.model not in DEMO_MODELS:
        words += ["--task", kind.name]
    words += ["--max-drop", f"{order.max_drop_points:g}", "--seed", str(order.seed)]
    return " ".join(words if order.families == kind.families else [*words, "--families", ",".join(order.families)])


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}m{rest:02d}s" if minutes else f"{rest}s"
