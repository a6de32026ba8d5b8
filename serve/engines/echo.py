"""The echo engine: no model, a declared time and declared faults; for tests and for measuring the gateway itself."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from greenserve.errors import ManifestInvalid
from greenserve.records import Batch, Item, Span, TensorItem
from greenserve.units import NS_PER_S

Wait = Callable[[float], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """What an echo engine pretends; times in seconds, tokens as ids (in a tensor request: any element).

    A batch takes `batch_s` + `row_s` per row of waiting, and burns `busy_s` + `busy_row_s` per row as CPU time. A row
    that holds `fail_on` makes the run raise, `hang_on` makes it take `hang_s` longer, `nan_on` makes that row's answer
    not a number.
    """

    batch_s: float = 0.0
    row_s: float = 0.0
    busy_s: float = 0.0
    busy_row_s: float = 0.0
    fail_on: int | None = None
    hang_on: int | None = None
    hang_s: float = 60.0
    nan_on: int | None = None

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name.endswith("_s") and not (isinstance(value, int | float) and 0 <= value < float("inf")):
                raise ValueError(f"{field.name} is a time of 0 s or more, got {value!r}")
            if field.name.endswith("_on") and not (value is None or isinstance(value, int)):
                raise ValueError(f"{field.name} is a token id or null, got {value!r}")


def behaviour_of(engine: Mapping[str, Any], *, variant: str) -> Behaviour:
    """The behaviour that a manifest's engine member asks for; raises ManifestInvalid naming what is not known."""
    known = {field.name for field in fields(Behaviour)}
    asked = {name: value for name, value in engine.items() if name != "kind"}
    if unknown := sorted(set(asked) - known):
        raise ManifestInvalid(f"engine of {variant}: no option {unknown[0]!r}; echo has {', '.join(sorted(known))}")
    try:
        return Behaviour(**asked)
    except ValueError as error:
        raise ManifestInvalid(f"engine of {variant}: {error}") from None


class EchoEngine:
    """Answers that depend on each row alone: `output`, FP32 [rows, width], for texts; its own tensors otherwise.

    For texts a one stands at (sum of the row's ids) modulo `width`. A tensor's outputs are the inputs in their order
    under the names `returns`. `busy_s` and `fail_on` are `behaviour`'s, for those who need no more.
    """

    def __init__(
        self,
        *,
        variant: str,
        classes: int = 3,
        busy_s: float = 0.0,
        fail_on: int | None = None,
        behaviour: Behaviour | None = None,
        returns: Sequence[str] = ("logits",),
        wait: Wait = time.sleep,
    ) -> None:
        self._variant = variant
        self._width = classes
        self._behaviour = behaviour or Behaviour(busy_s=busy_s, fail_on=fail_on)
        self._returns = tuple(returns)
        self._wait = wait

    def load(self) -> None:
        """Nothing to read."""

    def run(self, batch: Batch) -> tuple[dict[str, npt.NDArray[np.generic]], Span]:
        """The rows' answers by name, after the declared time."""
        start_ns, start_cpu_ns = time.monotonic_ns(), time.thread_time_ns()
        told, rows = self._behaviour, batch.rows
        if any(_holds(row, told.fail_on) for row in rows):
            raise RuntimeError(f"told to fail on token {told.fail_on}")
        waited_s = told.batch_s + told.row_s * len(rows)
        waited_s += told.hang_s if any(_holds(row, told.hang_on) for row in rows) else 0.0
        outputs = self._echoed(batch) if batch.rows and isinstance(batch.rows[0], TensorItem) else self._scored(rows)
        odd = [index for index, row in enumerate(rows) if _holds(row, told.nan_on)]
        for values in outputs.values():
            if np.issubdtype(values.dtype, np.floating):
                values[odd] = np.nan
        if waited_s > 0:
            self._wait(waited_s)
        busy_ns = (told.busy_s + told.busy_row_s * len(rows)) * NS_PER_S
        while time.thread_time_ns() - start_cpu_ns < busy_ns:
            pass
        span = Span(
            batch_id=batch.batch_id,
            variant=self._variant,
            device="cpu",
            start_ns=start_ns,
            end_ns=max(time.monotonic_ns(), start_ns + 1),
            cpu_ns=time.thread_time_ns() - start_cpu_ns,
            lengths=tuple(map(len, rows)),
            padded_length=batch.padded_length,
        )
        return outputs, span

    def describe(self) -> Mapping[str, object]:
        """Kind and device."""
        return MappingProxyType({"kind": "echo", "device": "cpu"})

    def _scored(self, rows: Sequence[Item]) -> dict[str, npt.NDArray[Any]]:
        scores = np.zeros((len(rows), self._width), dtype=np.float32)
        for index, row in enumerate(rows):
            scores[index, (sum(row) if isinstance(row, tuple) else len(row)) % self._width] = 1.0
        return {self._returns[0]: scores}

    def _echoed(self, batch: Batch) -> dict[str, npt.NDArray[Any]]:
        items = [row for row in batch.rows if isinstance(row, TensorItem)]
        if len(self._returns) > len(items[0].arrays):
            raise ManifestInvalid(
                f"{self._variant} echoes {len(items[0].arrays)} inputs; its manifest declares "
                f"{len(self._returns)} outputs, {', '.join(self._returns)}"
            )
        return {name: np.stack([item.arrays[place] for item in items]) for place, name in enumerate(self._returns)}


def _holds(row: Item, token: int | None) -> bool:
    if token is None:
        return False
    if isinstance(row, tuple):
        return token in row
    return any(np.issubdtype(array.dtype, np.number) and bool((array == token).any()) for array in row.arrays)
