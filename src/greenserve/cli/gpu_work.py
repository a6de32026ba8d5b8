"""The load of a board's probe, by torch: imported only where a probe runs."""

import os
from typing import Any

from greenserve.carbon.meters.probe import Work
from greenserve.errors import DependencyMissing

SIDE = 2048
AHEAD = 3
JOB_MULTIPLICATIONS = 300


def import_torch() -> Any:
    """torch with a CUDA device; DependencyMissing says what is missing."""
    try:
        import torch
    except ImportError:
        raise DependencyMissing("torch is not installed; install a build of torch with CUDA for the load") from None
    if not torch.cuda.is_available():
        raise DependencyMissing(
            f"torch {torch.__version__} sees no CUDA device; it needs an NVIDIA GPU, its driver and a CUDA build"
        )
    return torch


def device_of(torch: Any, uuid: str) -> int:
    """torch's number of the board with NVML's UUID; the two count differently. DependencyMissing where it has none."""
    for number in range(torch.cuda.device_count()):
        if str(torch.cuda.get_device_properties(number).uuid) in uuid:
            return number
    raise DependencyMissing(f"torch does not see the board {uuid}; is it hidden by CUDA_VISIBLE_DEVICES?")


def gpu_work(torch: Any, uuid: str) -> Work:
    """Matrix products on the board: `feed` keeps three in the queue, so that the board never waits for Python.

    Nothing is put on the board before `prepare`: a process that is there already would be company to the probe.
    """
    load = _Products(torch, uuid)
    return Work(prepare=load.prepare, feed=load.feed, drain=load.drain, job=load.job)


class _Products:
    """State: the matrices, and the events behind the products that are still queued."""

    def __init__(self, torch: Any, uuid: str) -> None:
        self._torch, self._uuid = torch, uuid
        self._device: Any = None
        self._matrices: tuple[Any, ...] = ()
        self._queued: list[Any] = []

    def prepare(self) -> None:
        torch = self._torch
        self._device = torch.device("cuda", device_of(torch, self._uuid))
        one = torch.randn(SIDE, SIDE, device=self._device, dtype=torch.float32)
        self._matrices = (one, torch.empty_like(one))
        self._product()
        self.drain()

    def feed(self) -> None:
        self._queued = [event for event in self._queued if not event.query()]
        while len(self._queued) < AHEAD:
            self._product()

    def drain(self) -> None:
        self._torch.cuda.synchronize(self._device)
        self._queued.clear()

    def job(self) -> None:
        for _ in range(JOB_MULTIPLICATIONS):
            self._product()
        self.drain()

    def _product(self) -> None:
        if not self._matrices:
            raise RuntimeError("the load was not prepared")
        one, into = self._matrices
        with self._torch.cuda.device(self._device):
            self._torch.mm(one, one, out=into)
            event = self._torch.cuda.Event()
            event.record()
        self._queued.append(event)


def own_processes() -> frozenset[int]:
    """This process: what it has on the board is no company."""
    return frozenset({os.getpid()})
