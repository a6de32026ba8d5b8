"""Requests that can't be answered, each with the status and the words that the refusal must hold."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from greenserve.proto import inference_pb2 as pb
from greenserve.serve.grpc.contents import FIELDS
from greenserve.serve.tensors import DATATYPES, DTYPES
from tests.serve.grpc_serving import MAX_BODY_BYTES, a_message

BAD, MISSING = "INVALID_ARGUMENT", "NOT_FOUND"
NUMBERS = tuple(DTYPES)
TYPED = tuple(FIELDS)
VALUES = {"bool_contents": True, "bytes_contents": b"good", "fp32_contents": 0.5, "fp64_contents": 0.5}
NOT_UTF8 = {"not UTF-8", "cut UTF-8", "surrogate"}
RANGES = {"INT8": (-128, 127), "INT16": (-32_768, 32_767), "UINT8": (0, 255), "UINT16": (0, 65_535)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A message, the refusal's status, and words that its text must hold; `metadata` goes with it."""

    name: str
    message: pb.ModelInferRequest
    words: tuple[str, ...]
    status: str = BAD
    metadata: tuple[tuple[str, str], ...] = ()


def _tensor(datatype: str, shape: list[int], name: str = "input_ids", /, **contents: Any) -> pb.ModelInferRequest:
    message = pb.ModelInferRequest(model_name="tiny")
    tensor = message.inputs.add(name=name, datatype=datatype, shape=shape)
    for field, values in contents.items():
        getattr(tensor.contents, field).extend(values)
    return message


def _raw(datatype: str, shape: list[int], *raw: bytes, name: str = "input_ids") -> pb.ModelInferRequest:
    message = _tensor(datatype, shape, name)
    message.raw_input_contents.extend(raw)
    return message


def _changed(change: Callable[[pb.ModelInferRequest], object]) -> pb.ModelInferRequest:
    message = a_message()
    change(message)
    return message


def _with(name: str, *, at: str = "request", **value: Any) -> pb.ModelInferRequest:
    message = a_message()
    if at == "output":
        message.outputs.add(name="label")
    places: dict[str, Any] = {"request": message, "input": message.inputs[0]}
    holder = places[at] if at in places else message.outputs[0]
    parameter = holder.parameters[name]
    parameter.SetInParent()
    for kind, given in value.items():
        setattr(parameter, kind, given)
    return message


def _raw_numbers() -> Iterator[Row]:
    for datatype in NUMBERS:
        size = DTYPES[datatype].itemsize
        for label, raw in (("a byte short", bytes(2 * size - 1)), ("a byte long", bytes(2 * size + 1)), ("empty", b"")):
            yield Row(
                name=f"raw {datatype} {label}",
                message=_raw(datatype, [1, 2], raw),
                words=("raw_input_contents[0]", datatype, f"{2 * size}", f"{len(raw)}") if raw else ("raw_input",),
            )
    yield Row(name="raw BOOL of 2", message=_raw("BOOL", [1, 2], b"\1\2"), words=("raw_input_contents[0]", "BOOL"))
    for datatype, raw in (
        ("FP16", b"\0\x7e"),
        ("BF16", b"\xc0\x7f"),
        ("FP32", b"\0\0\x80\x7f"),
        ("FP64", b"\0\0\0\0\0\0\xf8\x7f"),
    ):
        yield Row(name=f"raw {datatype} not finite", message=_raw(datatype, [1, 1], raw), words=("finite",))


def _raw_strings() -> Iterator[Row]:
    place = "raw_input_contents[0]"
    for name, raw, shape in (
        ("length cut", b"\4\0", [1]),
        ("text cut", b"\4\0\0\0go", [1]),
        ("length beyond all", b"\xff\xff\xff\xffgood", [1]),
        ("length over 1 MiB", b"\1\0\x10\0good", [1]),
        ("one too few", b"\4\0\0\0good", [2]),
        ("one too many", b"\4\0\0\0good\4\0\0\0good", [1]),
        ("nothing", b"", [1]),
        ("rest of a byte", b"\4\0\0\0good\0", [1]),
    ):
        yield Row(name=f"raw BYTES {name}", message=_raw("BYTES", shape, raw, name="text"), words=(place,))


def _typed() -> Iterator[Row]:
    for datatype in TYPED:
        field = FIELDS[datatype]
        value = VALUES.get(field, 1)
        place = f"inputs[0].contents.{field}"
        yield Row(
            name=f"typed {datatype} one too few",
            message=_tensor(datatype, [1, 2], **{field: [value]}),
            words=(place, "needs 2 elements, got 1"),
        )
        yield Row(
            name=f"typed {datatype} one too many",
            message=_tensor(datatype, [1, 2], **{field: [value] * 3}),
            words=(place, "needs 2 elements, got 3"),
        )
        yield Row(name=f"typed {datatype} empty", message=_tensor(datatype, [1, 2]), words=(place, "got 0"))
        other = "uint64_contents" if field != "uint64_contents" else "int_contents"
        yield Row(
            name=f"typed {datatype} in the wrong field",
            message=_tensor(datatype, [1, 1], **{other: [1]}),
            words=(f"inputs[0].contents.{other}", field),
        )
        yield Row(
            name=f"typed {datatype} in two fields",
            message=_tensor(datatype, [1, 1], **{field: [value], other: [1]}),
            words=(f"inputs[0].contents.{other}", field),
        )
    for datatype, (least, most) in RANGES.items():
        for value in (least - 1, most + 1):
            if value < 0 and datatype.startswith("U"):
                continue
            yield Row(
                name=f"typed {datatype} {value}",
                message=_tensor(datatype, [1, 1], **{FIELDS[datatype]: [value]}),
                words=(f"inputs[0].contents.{FIELDS[datatype]}", f"{least}..{most}", str(value)),
            )
    for datatype in ("FP16", "BF16"):
        yield Row(
            name=f"typed {datatype}",
            message=_tensor(datatype, [1, 1], fp32_contents=[0.5]),
            words=("inputs[0].contents", datatype, "raw_input_contents"),
        )
    for datatype in ("FP32", "FP64"):
        yield Row(
            name=f"typed {datatype} not finite",
            message=_tensor(datatype, [1, 1], **{FIELDS[datatype]: [float("nan")]}),
            words=(f"inputs[0].contents.{FIELDS[datatype]}", "finite"),
        )


def _shapes() -> Iterator[Row]:
    for name, shape in (
        ("none", []),
        ("negative", [-1]),
        ("negative second", [1, -5]),
        ("smallest integer", [-(2**63)]),
        ("zero", [0]),
        ("zero second", [1, 0]),
        ("one over the elements", [4_097]),
        ("huge", [2**62]),
        ("huge by product", [2**31, 2**31, 2**31]),
        ("overflows 64 bits", [2**33, 2**33]),
        ("overflows to zero", [2**32, 2**32]),
        ("17 dimensions", [1] * 17),
    ):
        for datatype in ("BYTES", "INT64"):
            name_of = "text" if datatype == "BYTES" else "input_ids"
            yield Row(
                name=f"shape {name} of {datatype}",
                message=_tensor(datatype, shape, name_of),
                words=("inputs[0].shape",),
            )
    for datatype in ("", "bytes", "FLOAT", "FP8", "STRING", "TYPE_FP32", "INT128", "x" * 500, "\n", "é"):
        yield Row(
            name=f"datatype {datatype[:9]!r}",
            message=_changed(lambda message, given=datatype: setattr(message.inputs[0], "datatype", given)),  # type: ignore[misc]
            words=("inputs[0].datatype", *DATATYPES),
        )


def _structure() -> Iterator[Row]:
    yield Row(name="no input", message=pb.ModelInferRequest(model_name="tiny"), words=("inputs", "got 0"))
    many = pb.ModelInferRequest(model_name="tiny")
    many.inputs.extend([a_message().inputs[0]] * 65)
    yield Row(name="65 inputs", message=many, words=("inputs", "64", "65"))
    twice = a_message()
    twice.inputs.extend([twice.inputs[0]])
    yield Row(name="an input twice", message=twice, words=("inputs", "text"))
    yield Row(name="no name", message=_tensor("BYTES", [1], "", bytes_contents=[b"a"]), words=("inputs[0].name",))
    wrong = _tensor("BYTES", [1], "texts", bytes_contents=[b"a"])
    yield Row(name="an unknown input", message=wrong, words=("inputs", "'texts'", "text"))
    both = a_message()
    both.raw_input_contents.append(b"\4\0\0\0good")
    yield Row(name="raw and typed", message=both, words=("inputs[0].contents", "raw_input_contents"))
    for count in (2, 3):
        raw = a_message(raw=True)
        raw.raw_input_contents.extend([b"\1\0\0\0a"] * (count - 1))
        yield Row(name=f"{count} raw contents", message=raw, words=("raw_input_contents", "1", str(count)))
    mixed = a_message(raw=True)
    mixed.inputs.extend([a_message().inputs[0]])
    yield Row(name="one raw content for two inputs", message=mixed, words=("raw_input_contents", "2", "1"))
    shared = a_message(raw=True)
    shared.inputs.extend([a_message().inputs[0]])
    shared.inputs[1].parameters["shared_memory_region"].string_param = "region0"
    yield Row(name="one of two inputs in shared memory", message=shared, words=("inputs[1]", "shared_memory_region"))
    for name in ("", "logit", "text", "Label", "x" * 300):
        yield Row(
            name=f"output {name[:9]!r}",
            message=_changed(lambda message, given=name: message.outputs.add(name=given)),  # type: ignore[misc]
            words=("outputs",),
        )
    for count in (2, 65):
        yield Row(
            name=f"{count} times an output",
            message=_changed(
                lambda message, times=count: [message.outputs.add(name="label") for _ in range(times)]  # type: ignore[misc]
            ),
            words=("outputs",),
        )


def _texts() -> Iterator[Row]:
    for name, shape, texts in (
        ("empty text", [1], [b""]),
        ("second text empty", [2], [b"good", b""]),
        ("not UTF-8", [1], [b"\xff"]),
        ("cut UTF-8", [1], [b"\xc3"]),
        ("surrogate", [1], [b"\xed\xa0\x80"]),
        ("too many tokens", [1], [b"good " * 90]),
        ("33 texts", [33], [b"good"] * 33),
        ("two columns", [1, 2], [b"good", b"bad"]),
        ("three dimensions", [1, 1, 1], [b"good"]),
    ):
        message = _tensor("BYTES", shape, "text", bytes_contents=texts)
        yield Row(name=f"text: {name}", message=message, words=("UTF-8",) if name in NOT_UTF8 else ("text",))
    for datatype, field in FIELDS.items():
        if datatype != "BYTES":
            message = _tensor(datatype, [1], "text", **{field: [VALUES.get(field, 1)]})
            yield Row(name=f"text of {datatype}", message=message, words=("inputs.text", "BYTES", datatype))
    for datatype in ("FP32", "BOOL", "INT8", "BYTES"):
        field = FIELDS[datatype]
        message = _tensor(datatype, [1, 2], **{field: [VALUES.get(field, 1)] * 2})
        yield Row(name=f"token ids of {datatype}", message=message, words=("inputs.input_ids", datatype))
    for name, shape, ids in (
        ("one dimension", [2], [1, 2]),
        ("out of the vocabulary", [1, 1], [10**9]),
        ("negative", [1, 1], [-1]),
        ("too many", [1, 65], [1] * 65),
        ("33 rows", [33, 1], [1] * 33),
    ):
        yield Row(name=f"token ids {name}", message=_tensor("INT64", shape, int64_contents=ids), words=("input_ids",))
    masked = _tensor("INT64", [1, 2], int64_contents=[1, 2])
    mask = masked.inputs.add(name="attention_mask", datatype="INT64", shape=[1, 2])
    mask.contents.int64_contents.extend([0, 1])
    yield Row(name="a mask with a hole", message=masked, words=("attention_mask",))


def _parameters() -> Iterator[Row]:
    strange: tuple[tuple[str, dict[str, Any]], ...] = (
        ("a string", {"string_param": "5"}),
        ("a boolean", {"bool_param": True}),
        ("a fraction", {"double_param": 0.5}),
        ("negative", {"int64_param": -1}),
        ("unset", {}),
    )
    for name, value in (*strange, ("zero", {"int64_param": 0}), ("endless", {"uint64_param": 2**64 - 1})):
        yield Row(name=f"timeout {name}", message=_with("timeout", **value), words=("parameters.timeout",))
    for name, value in (*strange, ("4", {"int64_param": 4}), ("huge", {"uint64_param": 2**64 - 1})):
        yield Row(name=f"priority {name}", message=_with("priority", **value), words=("parameters.priority",))
    for name, value in (("a number", {"int64_param": 5}), ("unset", {}), ("a boolean", {"bool_param": True})):
        message = _with("greenserve_variant", **value)
        yield Row(name=f"variant {name}", message=message, words=("parameters.greenserve_variant",))
    for place, at in (
        ("parameters", "request"),
        ("inputs[0].parameters", "input"),
        ("outputs[0].parameters", "output"),
    ):
        for name, value in (
            ("sequence_id", {"int64_param": 7}),
            ("sequence_id", {"string_param": "seven"}),
            ("shared_memory_region", {"string_param": "input0"}),
            ("classification", {"int64_param": 3}),
        ):
            message = _with(name, at=at, **value)
            yield Row(name=f"{place}.{name} {next(iter(value))}", message=message, words=(f"{place}.{name}",))
    for header, given in (
        ("greenserve-policy", "cheapest"),
        ("greenserve-deadline-ms", "soon"),
        ("greenserve-deadline-ms", "nan"),
        ("greenserve-deadline-ms", "0"),
        ("greenserve-min-quality", "2"),
        ("greenserve-cache", "yes"),
    ):
        row = ((header, given),)
        yield Row(name=f"{header}: {given}", message=a_message(), words=(given,), metadata=row)


def _models() -> Iterator[Row]:
    for name in ("", "large", "TINY", "tiny/1", "../tiny", "x" * 400, "tiny\n", "모델"):
        words = ("no model", "tiny")
        yield Row(name=f"model {name[:9]!r}", message=a_message(model_name=name), words=words, status=MISSING)
    for version in ("0", "2", "latest", "1.0", "-1"):
        message = a_message(model_version=version)
        yield Row(name=f"version {version!r}", message=message, words=(repr(version),), status=MISSING)
    yield Row(name="a body too large", message=a_message("x" * MAX_BODY_BYTES), words=(f"{MAX_BODY_BYTES:,}",))


ROWS = tuple(
    row
    for rows in (_raw_numbers, _raw_strings, _typed, _shapes, _structure, _texts, _parameters, _models)
    for row in rows()
)
