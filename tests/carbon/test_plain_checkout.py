"""The meters run where nothing is installed."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
IMPORT_ALL = """
import importlib, pathlib, sys
sys.path.insert(0, "src")
for file in sorted(pathlib.Path("carbon/meters").glob("*.py")):
    importlib.import_module(f"greenserve.carbon.meters.{file.stem}" if file.stem != "__init__" else "greenserve.carbon")
from greenserve.carbon.meters.pick import Machine, pick_node
from greenserve.clock import SystemClock
node = pick_node(["nvml", "cpu-time"], clock=SystemClock())
print(node.devices[-1].name, "|", node.rejected)
"""


def test_every_meter_imports_from_a_plain_checkout() -> None:
    """No site-packages: a missing pynvml is a reason in the list, not a crash."""
    done = subprocess.run(
        [sys.executable, "-S", "-c", IMPORT_ALL], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )

    assert (0, "") == (done.returncode, done.stderr)
    assert done.stdout.startswith("cpu-time | (('nvml', 'the Python module pynvml is not installed;")
