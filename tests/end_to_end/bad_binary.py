"""Bad requests with tensors as bytes, with bad heads, hints and encodings; each with the field that is to be named."""

import gzip
import json
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from tests.end_to_end.bad_inputs import GOOD, values

Row = tuple[str, bytes, Mapping[str, str], str]
SIZES: Mapping[str, int] = {"BOOL": 1, "FP16": 2, "BF16": 2, "FP32": 4, "FP64": 8} | {
    f"{sign}INT{bits}": bits // 8 for sign in ("", "U") for bits in (8, 16, 32, 64)
}
TEXT = b"\4\0\0\0good"
BODY = json.dumps(GOOD).encode()


def packed(tail: bytes, *entries: Mapping[str, Any], **members: Any) -> tuple[bytes, Mapping[str, str]]:
    """A body of a head and bytes, and the header that says where they part."""
    head = json.dumps({"inputs": list(entries)} | members).encode()
    return head + tail, {"inference-header-content-length": str(len(head))}


def an_input(size: Any, datatype: str = "BYTES", shape: Any = (1,), **changes: Any) -> dict[str, Any]:
    """An input that announces `size` bytes."""
    whole = {"name": "text", "datatype": datatype, "shape": shape, "parameters": {"binary_data_size": size}}
    return whole | changes


def row(name: str, field: str, tail: bytes, *entries: Mapping[str, Any]) -> Row:
    """A row of the table."""
    return (name, *packed(tail, *entries), field)


def lengths() -> Iterator[Row]:
    """A byte too few, a byte too many, none at all, for every datatype of a size."""
    for datatype, size in SIZES.items():
        for name, count in (("a byte short", 2 * size - 1), ("a byte long", 2 * size + 1), ("no byte", 0)):
            entry = an_input(count, datatype, [2])
            yield row(f"{datatype} {name}", "inputs[0] (binary)", bytes(count), entry)


def not_numbers() -> Iterator[Row]:
    """NaN and infinities of every float; BF16 by its bits."""
    for name, value in (("NaN", np.nan), ("infinity", np.inf), ("minus infinity", -np.inf)):
        for datatype, kind in (("FP16", "<f2"), ("FP32", "<f4"), ("FP64", "<f8")):
            raw = np.array([0, value], dtype=kind).tobytes()
            yield row(f"{datatype} of {name}", "inputs[0] (binary): finite", raw, an_input(len(raw), datatype, [2]))
    for name, bits in (("NaN", 0x7FC0), ("infinity", 0x7F80), ("minus infinity", 0xFF80)):
        raw = np.array([bits], dtype="<u2").tobytes()
        yield row(f"BF16 of {name}", "inputs[0] (binary): finite", raw, an_input(2, "BF16"))
    yield row("BOOL of 2", "inputs[0] (binary): the bytes of BOOL", b"\2", an_input(1, "BOOL"))
    yield row("BOOL of 255", "inputs[0] (binary): the bytes of BOOL", b"\0\xff", an_input(2, "BOOL", [2]))


def texts() -> Iterator[Row]:
    """Framing of BYTES: four bytes of length, then as many bytes."""
    cases: tuple[tuple[str, bytes, int], ...] = (
        ("nothing", b"", 1),
        ("a length cut at 1", b"\4", 1),
        ("a length cut at 3", b"\4\0\0", 1),
        ("a text cut", b"\4\0\0\0goo", 1),
        ("a text missing", b"\4\0\0\0", 1),
        ("a length beyond all", b"\xff\xff\xff\xffgood", 1),
        ("a length over 1 MiB", b"\1\0\x10\0good", 1),
        ("big-endian", b"\0\0\0\4good", 1),
        ("one too few", TEXT, 2),
        ("one too many", TEXT * 2, 1),
        ("a length behind the last", TEXT + b"\0", 1),
        ("an empty one behind the last", TEXT + bytes(4), 1),
    )
    for name, raw, count in cases:
        yield row(f"texts: {name}", "inputs[0] (binary)", raw, an_input(len(raw), shape=[count]))
    yield row("texts: not UTF-8", "UTF-8", b"\1\0\0\0\xff", an_input(5))
    yield row("texts: half a sign", "UTF-8", b"\2\0\0\0\xe2\x82", an_input(6))
    yield row("texts: empty", "text[0]", bytes(4), an_input(4))
    yield row("texts: of spaces", "text[0]", b"\2\0\0\0  ", an_input(6))
    yield row("texts: two columns", "inputs.text", TEXT * 2, an_input(16, shape=[1, 2]))


def announcements() -> Iterator[Row]:
    """What the head says of the bytes behind it."""
    for size in values("8", -1, 8.0, 1.5, None, True, [8], {}, 2**63):
        yield row(f"size {size!r}", "inputs[0].parameters.binary_data_size", TEXT, an_input(size))
    yield row("size a byte more than there is", "inputs[0].parameters.binary_data_size", TEXT, an_input(9))
    yield row("bytes behind the last", "the body", TEXT + b"more", an_input(8))
    yield row(
        "bytes nobody announced", "the body", TEXT, {"name": "text", "datatype": "BYTES", "shape": [1], "data": ["a"]}
    )
    yield row("the second takes too much", "inputs[1]", TEXT * 2, an_input(8), an_input(9, name="b"))
    yield row("the first takes all", "inputs[1]", TEXT, an_input(8), an_input(8, name="b"))
    yield row("data and bytes", "inputs[0]", TEXT, an_input(8, data=["good"]))
    yield row("no shape", "inputs[0].shape", TEXT, an_input(8, shape=None))
    yield row("a shape of nothing", "inputs[0].shape", b"", an_input(0, shape=[0]))
    yield row("a negative shape", "inputs[0].shape", TEXT, an_input(8, shape=[-1]))
    yield row("a huge shape", "inputs[0].shape", TEXT, an_input(8, "FP32", [2**31, 2**31]))
    yield row("an unknown datatype", "inputs[0].datatype", TEXT, an_input(8, "STRING"))
    yield row("no input", "inputs", b"")
    yield row("no such input", "other", TEXT, an_input(8, name="other"))
    yield row("the same twice", "inputs", TEXT * 2, an_input(8), an_input(8))


def heads() -> Iterator[Row]:
    """Where the head ends."""
    for length in ("", "abc", "-1", "1.5", "+5", "0x10", "5 5", "1e3", "99999", "9" * 30, "five"):
        yield f"head length {length!r:.20}", BODY, {"inference-header-content-length": length}, "Inference-Header"
    yield "head cut in the middle", BODY, {"inference-header-content-length": "20"}, "body"
    yield "head no JSON", TEXT, {"inference-header-content-length": "4"}, "body"
    yield "head a list", b"[]" + TEXT, {"inference-header-content-length": "2"}, "body"
    yield "raw and empty", b"", {"inference-header-content-length": "0"}, "raw body"
    yield "raw and not UTF-8", b"\xff", {"inference-header-content-length": "0"}, "UTF-8"
    yield "raw and of spaces", b"  ", {"inference-header-content-length": "0"}, "text[0]"
    yield "raw and too long", b"word9 " * 65, {"inference-header-content-length": "0"}, "text[0]"
    yield "bytes without the header", packed(TEXT, an_input(8))[0], {}, "body"


def hints() -> Iterator[Row]:
    """Headers that narrow what is asked; a hint that can't be read is never ignored."""
    bad: Mapping[str, tuple[str, ...]] = {
        "greenserve-policy": ("", "greenest", "MIN-CARBON", "min-carbon,balanced"),
        "greenserve-deadline-ms": ("", "0", "-5", "soon", "inf", "nan", "1e9", "0.5"),
        "greenserve-min-quality": ("", "1.01", "-0.1", "nan", "high", "80%"),
        "greenserve-regions": ("", ",", "north,,south", " "),
        "greenserve-cache": ("", "no-cache", "off", "NO-STORE"),
    }
    for header, wrong in bad.items():
        for value in wrong:
            yield f"{header} {value!r}", BODY, {header: value}, header.removeprefix("greenserve-")


def encodings() -> Iterator[Row]:
    """Bodies that are not compressed as they say."""
    pack: Mapping[str, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "deflate": zlib.compress}
    for encoding, compress in pack.items():
        good = compress(BODY)
        for name, body in (
            ("not at all", BODY),
            ("cut", good[:-5]),
            ("half", good[: len(good) // 2]),
            ("with more behind", good + b"more"),
            ("twice", good + good),
            ("as nothing", b""),
            ("broken inside", good[:15] + bytes(each ^ 0xFF for each in good[15:])),
        ):
            yield f"{encoding} {name}", body, {"content-encoding": encoding}, "body"
    yield "deflate without its frame", zlib.compress(BODY, wbits=-15), {"content-encoding": "deflate"}, "body"


BINARY_ROWS: tuple[Row, ...] = (
    *lengths(), *not_numbers(), *texts(), *announcements(), *heads(), *hints(), *encodings(),
)  # fmt: skip
