"""Open Inference Protocol v2 messages to calls, answers to messages. Pure."""

from collections.abc import Mapping
from types import MappingProxyType

from greenserve.errors import InvalidRequest
from greenserve.proto import inference_pb2 as pb
from greenserve.serve.call import Answer, Call, checked_id
from greenserve.serve.grpc.contents import RAW_ONLY, fill, typed_data
from greenserve.serve.hints import credential_of, hints_of, idempotency_key_of
from greenserve.serve.names import parameters_of
from greenserve.serve.tensors import MOST_INPUTS, Tensor, checked_datatype, checked_shape, data_of_raw, raw_of
from greenserve.units import US_PER_S

MOST_OUTPUTS = 64
LONGEST_TIMEOUT_US = 2**53
NOT_SERVED = MappingProxyType(
    {
        "sequence_id": "sequences of stateful models are not served; leave it out",
        "shared_memory_region": "shared memory is not read or written; send and take the data in the message",
        "classification": "ask for the output `label` or `probabilities` instead",
    }
)
"""Parameters whose silent loss would change an answer's meaning; all other unknown ones are left to who sent them."""

Parameters = Mapping[str, pb.InferParameter]


def call_of(
    message: pb.ModelInferRequest,
    metadata: Mapping[str, str],
    *,
    received_ns: int,
    remaining_s: float | None,
    most_elements: int,
) -> Call:
    """The call that a message makes; raises InvalidRequest naming the field, what was given and what is allowed."""
    timeout_s, variant, priority, defer_until = remaining_s, None, None, None
    if message.parameters:
        parameters = message.parameters
        _check_served(parameters, "parameters")
        asked_s = _timeout_s(parameters)
        if asked_s is not None:
            timeout_s = asked_s if timeout_s is None else min(timeout_s, asked_s)
        variant = _value(parameters, "greenserve_variant")
        priority = _value(parameters, "priority")
        defer_until = _value(parameters, "greenserve_defer_until")
    return Call(
        model=message.model_name,
        version=message.model_version,
        inputs=_inputs(message, most_elements),
        outputs=_outputs(message),
        protocol="grpc",
        received_ns=received_ns,
        credential=credential_of(metadata),
        hints=hints_of(metadata, variant=variant, priority=priority, defer_until=defer_until),
        timeout_s=timeout_s,
        client_id=checked_id(message.id or None),
        traceparent=metadata.get("traceparent"),
        idempotency_key=idempotency_key_of(metadata),
    )


def response_of(answer: Answer, *, raw: bool) -> pb.ModelInferResponse:
    """The message of an answer; `raw` answers in raw contents, as the request was sent.

    One output without a typed field makes the whole answer raw: the two forms can't stand side by side.
    """
    response = pb.ModelInferResponse(model_name=answer.model, model_version=answer.version, id=answer.client_id or "")
    parameters = response.parameters
    for name, value in parameters_of(answer).items():
        if isinstance(value, int):
            parameters[name].int64_param = value
        else:
            parameters[name].string_param = value
    raw = raw or any(output.datatype in RAW_ONLY for output in answer.outputs)
    for output in answer.outputs:
        tensor = response.outputs.add(name=output.name, datatype=output.datatype, shape=output.shape)
        if raw:
            response.raw_output_contents.append(raw_of(output))
        else:
            fill(tensor.contents, output)
    return response


def _inputs(message: pb.ModelInferRequest, most_elements: int) -> tuple[Tensor, ...]:
    inputs, raw = message.inputs, message.raw_input_contents
    if not 1 <= len(inputs) <= MOST_INPUTS:
        raise InvalidRequest(f"inputs: 1..{MOST_INPUTS} tensors are allowed, got {len(inputs)}")
    if raw and len(raw) != len(inputs):
        for index, tensor in enumerate(inputs):  # an input in shared memory has no raw contents: say that first
            _check_served(tensor.parameters, f"inputs[{index}].parameters")
        raise InvalidRequest(f"raw_input_contents: one per input, {len(inputs)}, is needed, got {len(raw)}")
    return tuple(
        _input(tensor, raw[index] if raw else None, index, most_elements) for index, tensor in enumerate(inputs)
    )


def _input(tensor: pb.ModelInferRequest.InferInputTensor, raw: bytes | None, index: int, most_elements: int) -> Tensor:
    place = f"inputs[{index}]"
    if not tensor.name:
        raise InvalidRequest(f"{place}.name: the name of one of the model's inputs is needed, got none")
    if tensor.parameters:
        _check_served(tensor.parameters, f"{place}.parameters")
    datatype = checked_datatype(tensor.datatype, place=f"{place}.datatype")
    shape, count = checked_shape(tensor.shape, place=f"{place}.shape", most_elements=most_elements)
    if not count:
        raise InvalidRequest(f"{place}.shape: at least one element is needed, {list(shape)} has none")
    if raw is None:
        data = typed_data(tensor.contents, datatype, shape, count, place=place)
    elif tensor.HasField("contents") and tensor.contents.ByteSize():
        raise InvalidRequest(f"{place}.contents: raw_input_contents is set as well; send one of them")
    else:
        data = data_of_raw(raw, datatype, shape, count, place=f"raw_input_contents[{index}]")
    return Tensor(name=tensor.name, datatype=datatype, shape=shape, data=data)


def _outputs(message: pb.ModelInferRequest) -> tuple[str, ...]:
    if not message.outputs:
        return ()
    if len(message.outputs) > MOST_OUTPUTS:
        raise InvalidRequest(f"outputs: up to {MOST_OUTPUTS} are allowed, got {len(message.outputs)}")
    for index, output in enumerate(message.outputs):
        if not output.name:
            raise InvalidRequest(f"outputs[{index}].name: the name of one of the model's outputs is needed, got none")
        if output.parameters:
            _check_served(output.parameters, f"outputs[{index}].parameters")
    names = tuple(output.name for output in message.outputs)
    if len(set(names)) < len(names):
        raise InvalidRequest(f"outputs: each name may stand once, got {', '.join(names)[:80]}")
    return names


def _check_served(parameters: Parameters, place: str) -> None:
    for name, why in NOT_SERVED.items():
        if _value(parameters, name):
            raise InvalidRequest(f"{place}.{name}: {why}")


def _timeout_s(parameters: Parameters) -> float | None:
    value = _value(parameters, "timeout")
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= LONGEST_TIMEOUT_US:
        raise InvalidRequest(f"parameters.timeout: a positive integer of microseconds is needed, got {value!r:.80}")
    return value / US_PER_S


def _value(parameters: Parameters, name: str) -> object:
    """The value of whatever kind it has; None where there is no such parameter, empty text where it has no value."""
    if name not in parameters:
        return None
    choice = parameters[name].WhichOneof("parameter_choice")
    return getattr(parameters[name], choice) if choice else ""
