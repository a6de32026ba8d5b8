"""Bad requests in JSON, each with the field that the message must name."""

from collections.abc import Iterator
from typing import Any

from tests.end_to_end.protocols import Ask, body_of

GOOD = body_of(Ask())
Row = tuple[str, Any, str]
INTEGER_BITS = (8, 16, 32, 64)
INTEGERS = tuple(f"{sign}INT{bits}" for sign in ("", "U") for bits in INTEGER_BITS)
FLOATS = ("FP16", "FP32", "FP64")


def values(*given_values: Any) -> tuple[Any, ...]:
    """Values of any kind."""
    return given_values


def tensor(**changes: Any) -> dict[str, Any]:
    """A good body whose one tensor is changed; a change to `...` leaves the member out."""
    whole = {"name": "text", "datatype": "BYTES", "shape": [1], "data": ["good"]} | changes
    return {"inputs": [{name: value for name, value in whole.items() if value is not ...}]}


def numbers(datatype: str, *data: Any, **changes: Any) -> dict[str, Any]:
    """A tensor of numbers, flat."""
    return tensor(name="x", datatype=datatype, shape=[len(data)], data=list(data), **changes)


def given(**parameters: Any) -> dict[str, Any]:
    """A good body with parameters."""
    return GOOD | {"parameters": parameters}


def wanted(*outputs: Any) -> dict[str, Any]:
    """A good body that asks for outputs."""
    return GOOD | {"outputs": list(outputs)}


BODIES: tuple[Row, ...] = (
    ("empty body", b"", "body"),
    ("not JSON", b"{'inputs': 1}", "body"),
    ("cut JSON", b'{"inputs": [', "body"),
    ("JSON twice", b'{"inputs": []}{"inputs": []}', "body"),
    ("not UTF-8", b'{"inputs": ["\xff\xfe"]}', "body"),
    ("half a surrogate", b'{"id": "\\ud800"}', "body"),
    ("not a number", b'{"inputs": NaN}', "body"),
    ("infinity", b'{"inputs": [{"data": [Infinity]}]}', "body"),
    ("a number beyond all", b'{"inputs": [{"data": [1e999]}]}', "body"),
    ("a control sign in a text", b'{"id": "\x01"}', "body"),
    ("a zero byte", b"\x00", "body"),
    ("UTF-16", '{"inputs": []}'.encode("utf-16"), "body"),
    ("a byte order mark", b'\xef\xbb\xbf{"inputs": []}', "body"),
    ("a comment", b'{"inputs": [] /* none */}', "body"),
    ("a comma too many", b'{"inputs": [],}', "body"),
    ("deeply nested", b"[" * 20_000 + b"]" * 20_000, "body"),
    ("nested in data", b'{"inputs": [{"data": ' + b"[" * 40 + b"]" * 40 + b"}]}", "32 levels"),
    ("nested in parameters", b'{"parameters": ' + b'{"a":' * 40 + b"1" + b"}" * 40 + b"}", "32 levels"),
    ("a list", [], "body"),
    ("a string", "inputs", "body"),
    ("nothing", None, "body"),
    ("true", True, "body"),
    ("a number", 5, "body"),
    ("an unknown member", GOOD | {"tensors": []}, "tensors"),
    ("an empty member", GOOD | {"": 1}, "unknown member"),
    ("two unknown members", GOOD | {"b": 1, "a": 2}, "a, b"),
    ("another model named", GOOD | {"model_name": "other"}, "model_name"),
    ("model named by a number", GOOD | {"model_name": 5}, "model_name"),
    ("version named by a number", GOOD | {"model_version": 1}, "model_version"),
    ("id a number", GOOD | {"id": 5}, "id"),
    ("id true", GOOD | {"id": True}, "id"),
    ("id a list", GOOD | {"id": ["mine"]}, "id"),
    ("id an object", GOOD | {"id": {}}, "id"),
)
PARAMETERS: tuple[Row, ...] = (
    ("parameters a list", GOOD | {"parameters": [1]}, "parameters"),
    ("parameters empty list", GOOD | {"parameters": []}, "parameters"),
    ("parameters a string", GOOD | {"parameters": "x"}, "parameters"),
    ("parameters a number", GOOD | {"parameters": 0}, "parameters"),
    ("parameters false", GOOD | {"parameters": False}, "parameters"),
    *(
        (f"timeout {value!r}", given(timeout=value), "parameters.timeout")
        for value in values("5", True, 0.5, 0, -1, [], {}, 2e9)
    ),
    *(
        (f"priority {value!r}", given(priority=value), "parameters.priority")
        for value in values("1", "", True, False, 1.5, -1, 4, 2**63, [1], {})
    ),
    *(
        (f"binary output {value!r}", given(binary_data_output=value), "parameters.binary_data_output")
        for value in values("true", 1, 0, [], {})
    ),
    *(
        (f"variant {value!r}", given(greenserve_variant=value), "parameters.greenserve_variant")
        for value in values(5, True, "", [], {}, ["fp32"])
    ),
    *((f"sequence {value!r}", given(sequence_id=value), "parameters.sequence_id") for value in values(5, "a", -1, 1.5)),
    ("shared memory", given(shared_memory_region="x"), "parameters.shared_memory_region"),
    ("shared memory for an input", tensor(parameters={"shared_memory_region": "x"}), "inputs[0].parameters"),
    ("tensor parameters a list", tensor(parameters=["binary_data_size"]), "inputs[0].parameters"),
    ("tensor parameters a number", tensor(parameters=5), "inputs[0].parameters"),
    ("tensor parameters a text", tensor(parameters=""), "inputs[0].parameters"),
    (
        "bytes without any",
        tensor(parameters={"binary_data_size": 8}, data=...),
        "inputs[0].parameters.binary_data_size",
    ),
    ("bytes and data", tensor(parameters={"binary_data_size": 0}), "inputs[0]"),
)
INPUTS: tuple[Row, ...] = (
    ("no inputs", {}, "inputs"),
    ("inputs nothing", {"inputs": None}, "inputs"),
    ("inputs empty", {"inputs": []}, "inputs"),
    ("inputs an object", {"inputs": {}}, "inputs"),
    ("inputs a string", {"inputs": "text"}, "inputs"),
    ("inputs a number", {"inputs": 1}, "inputs"),
    ("inputs twice", {"inputs": [GOOD["inputs"][0]] * 2}, "inputs"),
    ("65 inputs", {"inputs": [GOOD["inputs"][0]] * 65}, "inputs"),
    ("text and ids", {"inputs": [GOOD["inputs"][0], *numbers("INT64", 1)["inputs"]]}, "inputs"),
    ("second input a number", {"inputs": [GOOD["inputs"][0], 5]}, "inputs[1]"),
    *((f"input {value!r}", {"inputs": [value]}, "inputs[0]") for value in values("text", 5, None, [], True)),
    ("input empty", {"inputs": [{}]}, "inputs[0].name"),
    ("an unknown member of an input", tensor(dtype="BYTES"), "inputs[0].dtype"),
    *(
        (f"name {value!r}", tensor(name=value), "inputs[0].name")
        for value in values(..., "", 5, None, ["text"], {}, True)
    ),
    ("no such input", tensor(name="texts"), "texts"),
    ("name in capitals", tensor(name="TEXT"), "TEXT"),
    ("a long name", tensor(name="x" * 5_000), "inputs"),
    *(
        (f"datatype {value!r}", tensor(datatype=value), "inputs[0].datatype")
        for value in values(
            ...,
            "",
            "bytes",
            "fp32",
            "STRING",
            "FLOAT",
            "INT128",
            "TYPE_FP32",
            5,
            None,
            [],
            True,
            "x" * 5_000,
        )
    ),
    *((f"text of {kind}", tensor(datatype=kind, data=[1]), "inputs.text") for kind in (*INTEGERS, *FLOATS)),
    ("text of BOOL", tensor(datatype="BOOL", data=[True]), "inputs.text"),
)
SHAPES: tuple[Row, ...] = tuple(
    (f"shape {value!r}", tensor(shape=value), "inputs[0].shape")
    for value in values(
        ..., None, 1, "1", True, {}, [], [0], [-1], [1, -1], [0, 5], ["1"], [1.0], [1.5], [True], [None], [[1]], [{}],
        [2**22 + 1], [2**31], [2**63], [2**64 - 1], [2**16, 2**16], [1] * 17, [2] * 64,
    )
) + tuple(
    (f"text of shape {value!r}", tensor(shape=value, data=data), "inputs.text")
    for value, data in values(([1, 2], ["a", "b"]), ([1, 1, 1], ["a"]), ([2, 3], ["a"] * 6), ([1] * 16, ["a"]))
)  # fmt: skip
DATA: tuple[Row, ...] = (
    *(
        (f"data {value!r}", tensor(data=value), "inputs[0].data")
        for value in values(..., None, "good", 5, {}, True, [], [[]])
    ),
    *(
        (f"element {value!r}", tensor(data=[value]), "inputs[0].data[0]")
        for value in values(1, 1.5, None, True, ["good"], {})
    ),
    ("an element of another kind", tensor(shape=[3], data=["a", "b", 5]), "inputs[0].data[2]"),
    ("more data than shape", tensor(data=["a", "b"]), "inputs[0].data"),
    ("less data than shape", tensor(shape=[3]), "inputs[0].data"),
    ("nested too flat", tensor(shape=[2, 1, 1], data=[["a"], ["b"]]), "inputs[0].data"),
    ("nested too deep", tensor(shape=[2, 1], data=[[["a"]], [["b"]]]), "inputs[0].data[0]"),
    ("nested in part", tensor(shape=[2, 1], data=[["a"], "b"]), "inputs[0].data"),
    ("rows of two lengths", tensor(shape=[2, 2], data=[["a", "b"], ["c"]]), "inputs[0].data"),
    ("a row too many", tensor(shape=[1, 2], data=[["a", "b"], ["c", "d"]]), "inputs[0].data"),
    ("a row too few", tensor(shape=[2, 1], data=[["a"]]), "inputs[0].data"),
    ("an empty text", tensor(data=[""]), "text[0]"),
    ("a text without a token", tensor(data=["  "]), "text[0]"),
    ("a text too long for the model", tensor(data=["word9 " * 65]), "text[0]"),
    ("a second text too long", tensor(shape=[2], data=["good", "word9 " * 65]), "text[1]"),
    ("BF16", tensor(name="x", datatype="BF16", data=[1]), "inputs[0].data"),
)


def elements() -> Iterator[Row]:
    """For every datatype of numbers: elements of every other kind, and those just beyond its range."""
    others: dict[str, Any] = {"a text": "1", "nothing": None, "a list": [1], "an object": {}, "true": True}
    for datatype in (*INTEGERS, *FLOATS):
        for kind, value in others.items():
            yield f"{datatype} of {kind}", numbers(datatype, 1, value), "inputs[0].data[1]"
    for datatype in INTEGERS:
        bits = int(datatype.rpartition("T")[2])
        signed = not datatype.startswith("U")
        least, most = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
        yield f"{datatype} of a fraction", numbers(datatype, 1, 1.5), "inputs[0].data[1]"
        yield f"{datatype} of 1e300", numbers(datatype, 1e300), "inputs[0].data[0]"
        yield f"{datatype} below its range", numbers(datatype, 0, least - 1), "inputs[0].data[1]"
        yield f"{datatype} above its range", numbers(datatype, 0, 1, most + 1), "inputs[0].data[2]"
    for datatype, beyond in (("FP16", 65_520.0), ("FP32", 3.5e38)):
        yield f"{datatype} above its range", numbers(datatype, 0, beyond), "inputs[0].data[1]"
        yield f"{datatype} below its range", numbers(datatype, -beyond), "inputs[0].data[0]"
    for kind, value in (others | {"0": 0, "1": 1, "1.0": 1.0}).items():
        if kind != "true":
            yield f"BOOL of {kind}", numbers("BOOL", True, value), "inputs[0].data[1]"


TOKENS: tuple[Row, ...] = (
    ("ids in one axis", tensor(name="input_ids", datatype="INT64", shape=[2], data=[1, 2]), "inputs.input_ids"),
    ("ids as floats", tensor(name="input_ids", datatype="FP32", shape=[1, 1], data=[1]), "inputs.input_ids"),
    ("ids as texts", tensor(name="input_ids", shape=[1, 1]), "inputs.input_ids"),
    ("ids over the vocabulary", tensor(name="input_ids", datatype="INT64", shape=[1, 1], data=[999]), "input_ids[0]"),
    ("ids below 0", tensor(name="input_ids", datatype="INT64", shape=[1, 1], data=[-1]), "input_ids[0]"),
    ("more ids than allowed", tensor(name="input_ids", datatype="INT64", shape=[1, 65], data=[1] * 65), "input_ids[0]"),
    ("a mask without ids", tensor(name="attention_mask", datatype="INT64", shape=[1, 1], data=[1]), "input_ids"),
)


def masked(shape: list[int], *mask: Any, datatype: str = "INT64") -> dict[str, Any]:
    """Two ids with a mask."""
    ids = tensor(name="input_ids", datatype="INT64", shape=[1, 2], data=[1, 2])["inputs"]
    return {"inputs": ids + tensor(name="attention_mask", datatype=datatype, shape=shape, data=list(mask))["inputs"]}


MASKS: tuple[Row, ...] = (
    ("a mask of another shape", masked([1, 1], 1), "inputs.attention_mask"),
    ("a mask with a hole", masked([1, 2], 0, 1), "inputs.attention_mask"),
    ("a mask of nothing", masked([1, 2], 0, 0), "input_ids[0]"),
    ("a mask of floats", masked([1, 2], 1.0, 1.0, datatype="FP32"), "inputs.attention_mask"),
    ("a mask in one axis", masked([2], 1, 1), "inputs.attention_mask"),
)
OUTPUTS: tuple[Row, ...] = (
    ("outputs an object", GOOD | {"outputs": {"name": "label"}}, "outputs"),
    ("outputs a string", GOOD | {"outputs": "label"}, "outputs"),
    ("outputs a number", GOOD | {"outputs": 1}, "outputs"),
    *((f"output {value!r}", wanted(value), "outputs[0]") for value in values("label", 5, None, [], True, {})),
    *(
        (f"output named {value!r}", wanted({"name": value}), "outputs[0].name")
        for value in values(["label"], 1, "", None, {})
    ),
    ("an unknown output", wanted({"name": "nope"}), "nope"),
    ("an output twice", wanted({"name": "label"}, {"name": "label"}), "outputs"),
    ("an unknown member of an output", wanted({"name": "label", "shape": [1]}), "outputs[0].shape"),
    ("a second output bad", wanted({"name": "label"}, 5), "outputs[1]"),
    ("output parameters a list", wanted({"name": "label", "parameters": []}), "outputs[0].parameters"),
    *(
        (f"binary {value!r}", wanted({"name": "label", "parameters": {"binary_data": value}}), "binary_data")
        for value in values(1, "true", [], {})
    ),
    ("a classification", wanted({"name": "label", "parameters": {"classification": 3}}), "classification"),
    (
        "an output to shared memory",
        wanted({"name": "label", "parameters": {"shared_memory_region": "x"}}),
        "outputs[0]",
    ),
)
JSON_ROWS: tuple[Row, ...] = (
    *BODIES, *PARAMETERS, *INPUTS, *SHAPES, *DATA, *elements(), *TOKENS, *MASKS, *OUTPUTS,
)  # fmt: skip
