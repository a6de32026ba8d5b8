"""Open Inference Protocol v2 messages to calls, answers to messages."""

import struct
from collections.abc import Mapping, Sequence

from greenserve.errors import InvalidRequest
from greenserve.proto import inference_pb2 as pb
from greenserve.serve.call import Answer, Call
from greenserve.serve.hints import credential_of, hints_of
from greenserve.serve.http.oip import checked_outputs, checked_shape, checked_texts
from greenserve.serve.models import OUTPUTS
from greenserve.serve.names import parameters_of
from greenserve.units import US_PER_S

LENGTH = struct.Struct("<I")


def call_of(
    message: pb.ModelInferRequest,
    metadata: Mapping[str, str],
    *,
    received_ns: int,
    remaining_s: float | None,
    max_items: int,
) -> Call:
    """The call that a message makes; raises InvalidRequest naming the field, what was given and what is allowed."""
    timeout_s = remaining_s
    asked_us = _integer(message.parameters, "timeout")
    if asked_us is not None:
        asked_s = asked_us / US_PER_S
        timeout_s = asked_s if timeout_s is None else min(timeout_s, asked_s)
    return Call(
        model=message.model_name,
        version=message.model_version,
        texts=_texts(message, max_items),
        outputs=checked_outputs([output.name for output in message.outputs]) if message.outputs else OUTPUTS,
        protocol="grpc",
        received_ns=received_ns,
        credential=credential_of(metadata),
        hints=hints_of(metadata, variant=_parameter(message.parameters, "greenserve_variant")),
        timeout_s=timeout_s,
        client_id=message.id or None,
    )


def response_of(answer: Answer, *, raw: bool) -> pb.ModelInferResponse:
    """The message of an answer; `raw` answers in raw contents, as the request was sent."""
    response = pb.ModelInferResponse(model_name=answer.model, model_version=answer.version, id=answer.client_id or "")
    for name, value in parameters_of(answer).items():
        if isinstance(value, int):
            response.parameters[name].int64_param = value
        else:
            response.parameters[name].string_param = value
    for name in answer.outputs:
        if name == "label":
            labels = [label.encode() for label in answer.labels]
            tensor = response.outputs.add(name=name, datatype="BYTES", shape=[len(labels)])
            if raw:
                response.raw_output_contents.append(b"".join(LENGTH.pack(len(label)) + label for label in labels))
            else:
                tensor.contents.bytes_contents.extend(labels)
        else:
            shape = list(answer.probabilities.shape)
            tensor = response.outputs.add(name=name, datatype="FP32", shape=shape)
            if raw:
                response.raw_output_contents.append(answer.probabilities.astype("<f4", copy=False).tobytes())
            else:
                tensor.contents.fp32_contents.extend(answer.probabilities.ravel().tolist())
    return response


def _texts(message: pb.ModelInferRequest, max_items: int) -> tuple[str, ...]:
    if len(message.inputs) != 1:
        raise InvalidRequest(f"inputs: exactly one tensor, `text`, is needed, got {len(message.inputs)}")
    tensor = message.inputs[0]
    if tensor.name != "text":
        raise InvalidRequest(f"inputs[0].name: 'text' is needed, got {tensor.name!r}")
    if tensor.datatype != "BYTES":
        raise InvalidRequest(f"inputs[0].datatype: 'BYTES' is needed, got {tensor.datatype!r}")
    count = checked_shape(list(tensor.shape), max_items, place="inputs[0].shape")
    typed = tensor.contents.bytes_contents
    if message.raw_input_contents and (typed or tensor.HasField("contents")):
        raise InvalidRequest("raw_input_contents and contents are both set; send one of them")
    if message.raw_input_contents:
        if len(message.raw_input_contents) != 1:
            raise InvalidRequest(f"raw_input_contents: one per input is needed, got {len(message.raw_input_contents)}")
        elements = _raw_strings(message.raw_input_contents[0])
    else:
        elements = list(typed)
    if len(elements) != count:
        raise InvalidRequest(f"inputs[0]: shape {list(tensor.shape)} needs {count} strings, got {len(elements)}")
    return checked_texts([_decoded(element, index) for index, element in enumerate(elements)])


def _raw_strings(raw: bytes) -> Sequence[bytes]:
    elements, here = [], 0
    while here < len(raw):
        if here + LENGTH.size > len(raw):
            raise InvalidRequest(f"raw_input_contents[0]: a length of 4 bytes is cut off at byte {here}")
        (length,) = LENGTH.unpack_from(raw, here)
        here += LENGTH.size
        if here + length > len(raw):
            raise InvalidRequest(
                f"raw_input_contents[0]: {length} bytes announced at byte {here}, {len(raw) - here} left"
            )
        elements.append(raw[here : here + length])
        here += length
    return elements


def _decoded(element: bytes, index: int) -> str:
    try:
        return element.decode()
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"text[{index}]: not UTF-8 at byte {error.start}") from None


def _parameter(parameters: Mapping[str, pb.InferParameter], name: str) -> object:
    """The value of whatever kind it has; None where there is no such parameter, empty text where it has no value."""
    if name not in parameters:
        return None
    parameter = parameters[name]
    choice = parameter.WhichOneof("parameter_choice")
    return getattr(parameter, choice) if choice else ""


def _integer(parameters: Mapping[str, pb.InferParameter], name: str) -> int | None:
    value = _parameter(parameters, name)
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or value <= 0:
        raise InvalidRequest(f"parameters.{name}: a positive integer of microseconds is needed, got {value!r}")
    return value
