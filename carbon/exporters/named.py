"""Exporters by their names: `csv`, `run.json`, `prometheus`, ..."""

from collections.abc import Callable, Sequence
from pathlib import Path
from types import MappingProxyType

from greenserve.carbon.exporters.exporter import Exporter
from greenserve.carbon.exporters.files import CsvFile, JsonFile
from greenserve.carbon.exporters.json_lines import JsonLines
from greenserve.carbon.exporters.mlflow import MlflowExporter
from greenserve.carbon.exporters.noted import stem_of
from greenserve.carbon.exporters.otel import OpenTelemetryExporter
from greenserve.carbon.exporters.prometheus import PrometheusExporter
from greenserve.carbon.exporters.tensorboard import TensorBoardExporter
from greenserve.carbon.exporters.wandb import WandbExporter
from greenserve.errors import ConfigInvalid

FILES: MappingProxyType[str, Callable[[Path], Exporter]] = MappingProxyType(
    {
        "csv": CsvFile,
        "json": JsonFile,
        "jsonl": JsonLines,
        "prom": lambda file: PrometheusExporter(file=file),
    }
)
"""By the end of the file's name."""
SYSTEMS: MappingProxyType[str, Callable[[], Exporter]] = MappingProxyType(
    {
        "prometheus": PrometheusExporter,
        "otel": OpenTelemetryExporter,
        "tensorboard": TensorBoardExporter,
        "mlflow": MlflowExporter,
        "wandb": WandbExporter,
    }
)
WORDS = (*FILES, *SYSTEMS)


def exporters_of(given: Sequence[str | Path | Exporter], label: str) -> tuple[Exporter, ...]:
    """The exporters that were named: a file by its name, `csv`, `json`, `jsonl` and `prom` as `LABEL.csv` and so on in
    the working directory, a monitoring system by its own; an exporter stands for itself.

    ConfigInvalid for another name, a folder that does not exist, and a name given twice.
    """
    names = [str(one) for one in given if isinstance(one, str | Path)]
    twice = next((name for name in names if names.count(name) > 1), None)
    if isinstance(given, str) or twice is not None:
        raise ConfigInvalid(f"exporters is {given!r}; give a list in which each stands once")
    return tuple(_exporter(one, label) if isinstance(one, str | Path) else one for one in given)


def _exporter(given: str | Path, label: str) -> Exporter:
    name = str(given)
    if name in SYSTEMS:
        return SYSTEMS[name]()
    file = Path(f"{stem_of(label)}.{name}") if name in FILES else Path(given)
    kind = file.suffix.removeprefix(".")
    if kind not in FILES or not file.parent.is_dir():
        raise ConfigInvalid(
            f"exporter {name!r:.80} is none of {', '.join(WORDS)}, and no file in a folder that exists whose name ends "
            f"in {', '.join(f'.{one}' for one in FILES)}"
        )
    return FILES[kind](file)
