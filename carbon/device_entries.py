"""The lines of the ledger about devices: their intervals, their meters, and the power models that shared them."""

from collections.abc import Mapping
from typing import Any

from greenserve.carbon.entries import METHOD, VERSION, entry_of
from greenserve.carbon.theta import Theta
from greenserve.records import Entry


def device_entry(closed: Mapping[str, Any], *, at_us: int, run_id: str, boot_id: str, end: Mapping[str, Any]) -> Entry:
    """A device's closed stretch of time: its metered energy [uJ] by pool, and the counters at its end in `end`.

    `closed` holds the members of `settlement.DeviceClosed` and flags; `end` holds what the next stretch goes on from:
    energy_uj, static_uj, at_ns, busy_ns, source, tier of the last reading, own_cpu_ns of our processes.
    """
    about = {"kind": "device_interval", "at_us": at_us, "run_id": run_id, "boot_id": boot_id, "end": dict(end)}
    return entry_of(dict(closed) | about | {"method": METHOD, "v": VERSION})


def meter_entry(
    device: str, described: Mapping[str, Any], *, reason: str, number: int, at_us: int, run_id: str, boot_id: str
) -> Entry:
    """Which meter reads a device from now on, and why: at the start of a writer, or when it was exchanged.

    `described` is what the meter says about itself, with what a probe found and its digest; `number` counts the
    entries of this writer, so that two exchanges at one moment are two.
    """
    about = {"kind": "meter", "device": device, "reason": reason, "number": number, "at_us": at_us}
    run = {"run_id": run_id, "boot_id": boot_id, "method": METHOD, "v": VERSION}
    return entry_of(about | run | {"meter": dict(described)})


def theta_entry(theta: Theta, *, at_us: int, run_id: str, boot_id: str) -> Entry:
    """A published model of a device (E3, E6), which settled parts name by its digest."""
    about = {"kind": "theta", "device": theta.device, "at_us": at_us, "run_id": run_id, "boot_id": boot_id}
    return entry_of(about | {"theta": theta.document(), "sha256": theta.digest(), "method": METHOD, "v": VERSION})
