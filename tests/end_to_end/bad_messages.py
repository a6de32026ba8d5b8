"""Bad requests in protobuf, each with the field that the message must name."""

from collections.abc import Callable
from typing import Any

from greenserve.proto import inference_pb2 as pb
from tests.end_to_end.protocols import Ask, message_of

Row = tuple[str, pb.ModelInferRequest, str]


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
    ("wrong name", changed(lambda message: setattr(message.inputs[0], "name", "ids")), "ids"),
    ("wrong datatype", changed(lambda message: setattr(message.inputs[0], "datatype", "FP32")), "inputs[0]"),
    ("no shape", changed(lambda message: message.inputs[0].ClearField("shape")), "inputs[0].shape"),
    ("negative shape", changed(lambda message: message.inputs[0].shape.__setitem__(0, -1)), "inputs[0].shape"),
    ("large shape", changed(lambda message: message.inputs[0].shape.__setitem__(0, 2**40)), "inputs[0].shape"),
    ("two columns", changed(lambda message: message.inputs[0].shape.append(2)), "inputs[0]"),
    ("more texts than shape", changed(lambda message: _strings(message).append(b"b")), "inputs[0]"),
    ("no contents", changed(lambda message: message.inputs[0].ClearField("contents")), "inputs[0]"),
    ("numbers as contents", changed(_typed_as_floats), "inputs[0]"),
    ("not UTF-8", changed(lambda message: _strings(message).__setitem__(0, b"\xff")), "not UTF-8"),
    ("an empty text", changed(lambda message: _strings(message).__setitem__(0, b"")), "text[0]"),
    ("raw and typed", changed(_both), "raw_input_contents"),
    ("raw twice", raw(b"\1\0\0\0a", b"\1\0\0\0a"), "raw_input_contents"),
    ("raw length cut", raw(b"\4\0"), "raw_input_contents"),
    ("raw text cut", raw(b"\4\0\0\0go"), "raw_input_contents"),
    ("raw length beyond all", raw(b"\xff\xff\xff\xffgood"), "raw_input_contents"),
    ("raw too few", raw(b"\4\0\0\0good", shape=2), "raw_input_contents[0]"),
    ("raw empty", raw(b""), "raw_input_contents[0]"),
    ("unknown output", changed(lambda message: message.outputs.add(name="nope")), "outputs"),
    ("unnamed output", changed(lambda message: message.outputs.add()), "outputs"),
    ("variant by number", changed(_variant_by_number), "greenserve_variant"),
    ("timeout by string", changed(_timeout_by_string), "timeout"),
    ("timeout unset", changed(_timeout_unset), "timeout"),
)
