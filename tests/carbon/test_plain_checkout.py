"""The meters run where nothing is installed."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
IMPORT_ALL = """
import importlib, pathlib, sys
PURE = '''intervals power_model apportion attribution pools slots emissions fuel_mix budgets
theta span_settlement separable uncertainty shapley closed energy_report sharing tracked profiler'''.split()
sys.path.insert(0, "src")
for file in sorted(pathlib.Path("carbon/meters").glob("*.py")):
    importlib.import_module(f"greenserve.carbon.meters.{file.stem}" if file.stem != "__init__" else "greenserve.carbon")
for name in PURE:
    importlib.import_module(f"greenserve.carbon.{name}")
from greenserve.carbon.profiler import EnergyProfiler
with EnergyProfiler("block") as profiler:
    pass
assert profiler.report.energy_uj, profiler.report
from greenserve.carbon.meters.pick import Machine, pick_node
from greenserve.clock import SystemClock
node = pick_node(["nvml", "cpu-time"], clock=SystemClock())
print(node.devices[-1].name, "|", node.rejected)
"""


def test_meters_pure_files_and_profiler_work_from_a_plain_checkout() -> None:
    """No site-packages: a missing pynvml is a reason in the list, not a crash; a block is measured."""
    done = subprocess.run(
        [sys.executable, "-S", "-c", IMPORT_ALL], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )

    assert (0, "") == (done.returncode, done.stderr)
    assert done.stdout.startswith("cpu-time | (('nvml', 'the Python module pynvml is not installed;")
