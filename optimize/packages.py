"""What the optimizer needs beyond the gateway, asked for before any work starts."""

import platform
from collections.abc import Sequence
from importlib import metadata
from importlib.util import find_spec

from greenserve.errors import DependencyMissing
from greenserve.host import describe_host

NEEDED = ("torch", "transformers", "onnx", "onnxruntime", "safetensors", "scipy")
REMEDY = 'pip install "greenserve[optimize,demo,cpu]"'


def require_packages(names: Sequence[str] = NEEDED) -> None:
    """Raise DependencyMissing that names every package which cannot be found, and how to install them."""
    missing = [name for name in names if find_spec(name) is None]
    if missing:
        raise DependencyMissing(f"`greenserve optimize` needs {', '.join(missing)}; install with: {REMEDY}")


def toolchain() -> dict[str, str]:
    """Versions of what shapes the files of a run."""
    versions = {name: metadata.version(name) for name in ("torch", "transformers", "onnx", "numpy", "tokenizers")}
    runtime = str(describe_host()["onnxruntime"])
    return {"python": platform.python_version(), **versions, "onnxruntime": runtime}


def host_isa() -> tuple[str, ...]:
    """Instruction sets of this host that matter to INT8 kernels."""
    found = describe_host()["isa"]
    assert isinstance(found, list)
    return tuple(map(str, found))
