"""Bad requests in the protocols' own forms, each with the field that the message must name."""

from collections.abc import Callable
from typing import Any

from greenserve.proto import inference_pb2 as pb
from tests.end_to_end.protocols import Ask, body_of, message_of

GOOD = body_of(Ask())
Row = tuple[str, Any, str]


def tensor(**changes: Any) -> dict[str, Any]:
    """A good body whose one tensor is changed; a change to `...` leaves the member out."""
    whole = {"name": "text", "datatype": "BYTES", "shape": [1], "data": ["good"]} | changes
    return {"inputs": [{name: value for name, value in whole.items() if value is not ...}]}


JSON_ROWS: tuple[Row, ...] = (
    ("empty body", b"", "body"),
    ("not JSON", b"{'inputs': 1}", "body"),
    ("cut JSON", b'{"inputs": [', "body"),
    ("not UTF-8", b'{"inputs": ["\xff\xfe"]}', "body"),
    ("not a number", b'{"inputs": NaN}', "body"),
    ("deeply nested", b"[" * 20_000 + b"]" * 20_000, "body"),
    ("a list", [], "body"),
    ("a string", "inputs", "body"),
    ("nothing", None, "body"),
    ("a number", 5, "body"),
    ("an unknown member", GOOD | {"tensors": []}, "tensors"),
    ("id a number", GOOD | {"id": 5}, "id"),
    ("parameters a list", GOOD | {"parameters": [1]}, "parameters"),
    ("parameters a string", GOOD | {"parameters": "x"}, "parameters"),
    ("timeout a string", GOOD | {"parameters": {"timeout": "5"}}, "timeout"),
    ("timeout a boolean", GOOD | {"parameters": {"timeout": True}}, "timeout"),
    ("timeout a fraction", GOOD | {"parameters": {"timeout": 0.5}}, "timeout"),
    ("variant a number", GOOD | {"parameters": {"greenserve_variant": 5}}, "greenserve_variant"),
    ("no inputs", {}, "inputs"),
    ("inputs empty", {"inputs": []}, "inputs"),
    ("inputs an object", {"inputs": {}}, "inputs"),
    ("inputs twice", {"inputs": [GOOD["inputs"][0]] * 2}, "inputs"),
    ("input a string", {"inputs": ["text"]}, "inputs[0]"),
    ("no name", tensor(name=...), "inputs[0].name"),
    ("wrong name", tensor(name="input_ids"), "inputs[0].name"),
    ("name a list", tensor(name=["text"]), "inputs[0].name"),
    ("no datatype", tensor(datatype=...), "inputs[0].datatype"),
    ("wrong datatype", tensor(datatype="FP32"), "inputs[0].datatype"),
    ("datatype in lower case", tensor(datatype="bytes"), "inputs[0].datatype"),
    ("no shape", tensor(shape=...), "inputs[0].shape"),
    ("shape a number", tensor(shape=1), "inputs[0].shape"),
    ("shape of strings", tensor(shape=["1"]), "inputs[0].shape"),
    ("shape of fractions", tensor(shape=[1.0]), "inputs[0].shape"),
    ("shape of booleans", tensor(shape=[True]), "inputs[0].shape"),
    ("shape empty", tensor(shape=[]), "inputs[0].shape"),
    ("shape of zero", tensor(shape=[0], data=[]), "inputs[0].shape"),
    ("shape negative", tensor(shape=[-1]), "inputs[0].shape"),
    ("shape of two columns", tensor(shape=[1, 2], data=["a", "b"]), "inputs[0].shape"),
    ("shape of three dimensions", tensor(shape=[1, 1, 1]), "inputs[0].shape"),
    ("shape too large", tensor(shape=[2**40]), "inputs[0].shape"),
    ("more data than shape", tensor(data=["a", "b"]), "inputs[0].data"),
    ("less data than shape", tensor(shape=[3]), "inputs[0].data"),
    ("no data", tensor(data=...), "inputs[0].data"),
    ("data a string", tensor(data="good"), "inputs[0].data"),
    ("data of numbers", tensor(data=[1]), "text[0]"),
    ("data nested", tensor(data=[["good"]]), "text[0]"),
    ("data of nothing", tensor(data=[None]), "text[0]"),
    ("binary data", tensor(parameters={"binary_data_size": 8}, data=...), "binary_data_size"),
    ("tensor parameters a list", tensor(parameters=["binary_data_size"]), "inputs[0].parameters"),
    ("tensor parameters a number", tensor(parameters=5), "inputs[0].parameters"),
    ("outputs an object", GOOD | {"outputs": {"name": "label"}}, "outputs"),
    ("outputs of strings", GOOD | {"outputs": ["label"]}, "outputs"),
    ("output without name", GOOD | {"outputs": [{}]}, "outputs"),
    ("output named by a list", GOOD | {"outputs": [{"name": ["label"]}]}, "outputs"),
    ("output named by a number", GOOD | {"outputs": [{"name": 1}]}, "outputs"),
)


def changed(change: Callable[[pb.ModelInferRequest], object]) -> pb.ModelInferRequest:
    """A good message after a change."""
    message = message_of(Ask())
    change(message)
    return message


def raw(*contents: bytes, shape: int = 1) -> pb.ModelInferRequest:
    """A message with raw contents."""
    message = pb.ModelInferRequest(model_name="tiny")
    message.inputs.add(name="text", datatype="BYTES", shape=[shape])
    message.raw_input_contents.extend(contents)
    return message


def _strings(message: pb.ModelInferRequest) -> Any:
    return message.inputs[0].contents.bytes_contents


def _variant_by_number(message: pb.ModelInferRequest) -> None:
    message.parameters["greenserve_variant"].int64_param = 5


def _timeout_by_string(message: pb.ModelInferRequest) -> None:
    message.parameters["timeout"].string_param = "5"


def _timeout_unset(message: pb.ModelInferRequest) -> None:
    message.parameters["timeout"].SetInParent()


def _typed_as_floats(message: pb.ModelInferRequest) -> None:
    message.inputs[0].contents.Clear()
    message.inputs[0].contents.fp32_contents.append(1.0)


def _both(message: pb.ModelInferRequest) -> None:
    message.raw_input_contents.append(b"\4\0\0\0good")


MESSAGE_ROWS: tuple[Row, ...] = (
    ("no input", changed(lambda message: message.ClearField("inputs")), "inputs"),
    ("two inputs", changed(lambda message: message.inputs.add(name="text")), "inputs"),
    ("wrong name", changed(lambda message: setattr(message.inputs[0], "name", "ids")), "inputs[0].name"),
    ("wrong datatype", changed(lambda message: setattr(message.inputs[0], "datatype", "FP32")), "inputs[0].datatype"),
    ("no shape", changed(lambda message: message.inputs[0].ClearField("shape")), "inputs[0].shape"),
    ("negative shape", changed(lambda message: message.inputs[0].shape.__setitem__(0, -1)), "inputs[0].shape"),
    ("large shape", changed(lambda message: message.inputs[0].shape.__setitem__(0, 2**40)), "inputs[0].shape"),
    ("two columns", changed(lambda message: message.inputs[0].shape.append(2)), "inputs[0].shape"),
    ("more texts than shape", changed(lambda message: _strings(message).append(b"b")), "inputs[0]"),
    ("no contents", changed(lambda message: message.inputs[0].ClearField("contents")), "inputs[0]"),
    ("numbers as contents", changed(_typed_as_floats), "inputs[0]"),
    ("not UTF-8", changed(lambda message: _strings(message).__setitem__(0, b"\xff")), "text[0]"),
    ("an empty text", changed(lambda message: _strings(message).__setitem__(0, b"")), "text[0]"),
    ("raw and typed", changed(_both), "raw_input_contents"),
    ("raw twice", raw(b"\1\0\0\0a", b"\1\0\0\0a"), "raw_input_contents"),
    ("raw length cut", raw(b"\4\0"), "raw_input_contents"),
    ("raw text cut", raw(b"\4\0\0\0go"), "raw_input_contents"),
    ("raw length beyond all", raw(b"\xff\xff\xff\xffgood"), "raw_input_contents"),
    ("raw too few", raw(b"\4\0\0\0good", shape=2), "inputs[0]"),
    ("raw empty", raw(b""), "inputs[0]"),
    ("unknown output", changed(lambda message: message.outputs.add(name="logits")), "outputs"),
    ("unnamed output", changed(lambda message: message.outputs.add()), "outputs"),
    ("variant by number", changed(_variant_by_number), "greenserve_variant"),
    ("timeout by string", changed(_timeout_by_string), "timeout"),
    ("timeout unset", changed(_timeout_unset), "timeout"),
)
