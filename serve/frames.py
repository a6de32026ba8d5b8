"""The frames between a gateway and the replica that runs its batches: a JSON head, then the tensors as they lie.

A frame is the head's length (4 bytes, little-endian), the head, and the arrays that the head describes, in order. No
pickle: a frame is data, whoever sent it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from greenserve.ports import Arrays
from greenserve.records import Item, Span, TensorItem

LENGTH_BYTES = 4
TOKEN = np.dtype("<u4")
Array = npt.NDArray[np.generic]


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """A batch to run: the artefact is known by its variant's name and digest, rows are of one shape."""

    variant: str
    digest: str
    rows: tuple[Item, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What one run of the engine gave the rows at `places`: outputs and span, or the error; `bad` count in `places`.

    `retry` says that an earlier run of these rows had failed.
    """

    places: tuple[int, ...]
    outputs: Arrays | None
    span: Span | None
    error: str | None = None
    bad: frozenset[int] = frozenset()
    retry: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """The answer to a frame of work.

    `node` names the machine whose monotonic clock the spans count on; `unknown` says that this replica does not hold
    that artefact (yet, or any more): nothing was run.
    """

    node: str
    outcomes: tuple[Outcome, ...] = ()
    unknown: bool = False


def encode_work(work: Work) -> bytes:
    """The frame of a batch."""
    head: dict[str, Any] = {"variant": work.variant, "digest": work.digest}
    first = work.rows[0]
    if isinstance(first, TensorItem):
        columns = zip(*(row.arrays for row in work.rows if isinstance(row, TensorItem)), strict=True)
        arrays: list[Array] = [np.stack(column) for column in columns]
    else:
        rows = [row for row in work.rows if isinstance(row, tuple)]
        head["lengths"] = [len(row) for row in rows]
        arrays = [np.array([token for row in rows for token in row], dtype=TOKEN)]
    return _frame(head, arrays)


def decode_work(frame: bytes) -> Work:
    """The batch in a frame; raises ValueError for one that is not whole."""
    head, arrays = _parts(frame)
    rows: tuple[Item, ...]
    if "lengths" in head:
        ends = np.cumsum(head["lengths"])[:-1]
        rows = tuple(tuple(row.tolist()) for row in np.split(arrays[0], ends))
    else:
        rows = tuple(TensorItem(tuple(np.asarray(each[place]) for each in arrays)) for place in range(len(arrays[0])))
    return Work(variant=head["variant"], digest=head["digest"], rows=rows)


def encode_done(done: Done) -> bytes:
    """The frame of an answer."""
    arrays: list[Array] = []
    outcomes: list[dict[str, Any]] = []
    for outcome in done.outcomes:
        outputs = outcome.outputs or {}
        arrays += outputs.values()
        outcomes.append(
            {
                "places": outcome.places,
                "outputs": None if outcome.outputs is None else list(outputs),
                "span": None if outcome.span is None else _span_document(outcome.span),
                "error": outcome.error,
                "bad": sorted(outcome.bad),
                "retry": outcome.retry,
            }
        )
    return _frame({"node": done.node, "unknown": done.unknown, "outcomes": outcomes}, arrays)


def decode_done(frame: bytes) -> Done:
    """The answer in a frame; raises ValueError for one that is not whole."""
    head, arrays = _parts(frame)
    left = iter(arrays)
    outcomes = tuple(
        Outcome(
            places=tuple(each["places"]),
            outputs=None if each["outputs"] is None else {name: next(left) for name in each["outputs"]},
            span=None if each["span"] is None else Span(**{**each["span"], "lengths": tuple(each["span"]["lengths"])}),
            error=each["error"],
            bad=frozenset(each["bad"]),
            retry=each["retry"],
        )
        for each in head["outcomes"]
    )
    return Done(node=head["node"], outcomes=outcomes, unknown=head["unknown"])


def _span_document(span: Span) -> dict[str, Any]:
    return {
        "batch_id": span.batch_id,
        "variant": span.variant,
        "device": span.device,
        "start_ns": span.start_ns,
        "end_ns": span.end_ns,
        "cpu_ns": span.cpu_ns,
        "lengths": span.lengths,
        "padded_length": span.padded_length,
    }


def _frame(head: Mapping[str, Any], arrays: Sequence[Array]) -> bytes:
    described, bodies = [], []
    for array in arrays:
        entry, body = _texts(array) if array.dtype == object else _numbers(array)
        described.append(entry | {"shape": array.shape})
        bodies.append(body)
    packed = orjson.dumps({**head, "arrays": described})
    return b"".join([len(packed).to_bytes(LENGTH_BYTES, "little"), packed, *bodies])


def _numbers(array: Array) -> tuple[dict[str, Any], bytes]:
    flat = np.ascontiguousarray(array)
    return {"dtype": flat.dtype.str, "size": flat.nbytes}, flat.tobytes()


def _texts(array: Array) -> tuple[dict[str, Any], bytes]:
    """Elements are str or bytes, and come back as what they were."""
    elements = array.ravel().tolist()
    words = [each.encode() if isinstance(each, str) else bytes(each) for each in elements]
    sizes, kinds = [len(word) for word in words], [int(isinstance(each, str)) for each in elements]
    return {"dtype": "O", "size": sum(sizes), "sizes": sizes, "text": kinds}, b"".join(words)


def _parts(frame: bytes) -> tuple[dict[str, Any], list[Array]]:
    start = LENGTH_BYTES + int.from_bytes(frame[:LENGTH_BYTES], "little")
    head: dict[str, Any] = orjson.loads(frame[LENGTH_BYTES:start])
    entries = head["arrays"]
    if len(frame) != (whole := start + sum(entry["size"] for entry in entries)):
        raise ValueError(f"a frame of {whole} bytes is announced, {len(frame)} came")
    arrays: list[Array] = []
    for entry in entries:
        end = start + entry["size"]
        arrays.append(_array(entry, memoryview(frame)[start:end]))
        start = end
    return head, arrays


def _array(entry: Mapping[str, Any], body: memoryview) -> Array:
    if entry["dtype"] != "O":
        return np.frombuffer(body, dtype=entry["dtype"]).reshape(entry["shape"])
    array = np.empty(len(entry["sizes"]), dtype=object)
    for place, (word, text) in enumerate(zip(_cut(entry["sizes"], body), entry["text"], strict=True)):
        array[place] = word.decode() if text else word
    return array.reshape(entry["shape"])


def _cut(sizes: Iterable[int], body: memoryview) -> Iterable[bytes]:
    start = 0
    for size in sizes:
        yield bytes(body[start : start + size])
        start += size
