"""What a request cost: meters, attribution, emissions, grid intensity, ledger, budgets, statements.

`from greenserve.carbon import EnergyProfiler, CarbonTracker` and so on; each name is loaded when it is first used: the
meters run where nothing but Python is installed.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from greenserve.carbon.energy_report import EnergyReport
    from greenserve.carbon.exporters.exporter import Exporter
    from greenserve.carbon.profiler import EnergyProfiler
    from greenserve.carbon.tracked import CarbonReport
    from greenserve.carbon.tracker import CarbonTracker

if __name__ == "carbon":
    raise ImportError("import this package as `greenserve.carbon`; the plain name `carbon` is not importable")

__all__ = ["CarbonReport", "CarbonTracker", "EnergyProfiler", "EnergyReport", "Exporter"]
_HOME = {
    "CarbonReport": "tracked",
    "CarbonTracker": "tracker",
    "EnergyProfiler": "profiler",
    "EnergyReport": "energy_report",
    "Exporter": "exporters.exporter",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
