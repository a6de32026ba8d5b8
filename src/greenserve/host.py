"""What this machine is, as far as a measurement on it depends on it, and the fingerprint of that."""

import os
import platform
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

from greenserve.canonical import canonical_json, sha256_hex

ISA_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm")


def describe_host() -> dict[str, object]:
    """CPU model, visible cores, instruction sets that matter to kernels, memory [bytes], ONNX Runtime, OS."""
    cpu = _cpuinfo()
    flags = set(cpu.get("flags", cpu.get("Features", "")).split())
    described: dict[str, object] = {
        "cpu": cpu.get("model name", platform.processor() or platform.machine()),
        "cores": len(os.sched_getaffinity(0)),
        "isa": [flag for flag in ISA_FLAGS if flag in flags],
        "memory_bytes": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        "virtualised": "hypervisor" in flags,
        "gpu": None,
        "os": f"{platform.system()} {platform.machine()}",
        "onnxruntime": _version_of("onnxruntime", "onnxruntime-gpu"),
    }
    described["fingerprint"] = fingerprint(described)
    return described


def fingerprint(described: Mapping[str, object]) -> str:
    """SHA-256 over the description without its own fingerprint; memory counts in whole GiB."""
    memory = described["memory_bytes"]
    assert isinstance(memory, int)
    parts = {name: value for name, value in described.items() if name not in {"fingerprint", "memory_bytes"}}
    return sha256_hex(canonical_json(parts | {"memory_gib": memory >> 30}))


def _cpuinfo() -> dict[str, str]:
    lines = Path("/proc/cpuinfo").read_text().split("\n\n", 1)[0].splitlines()
    return {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}


def _version_of(*distributions: str) -> str | None:
    for name in distributions:
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return None
