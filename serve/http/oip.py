"""Open Inference Protocol v2 over JSON: bodies to calls, answers to bodies, checked before anything is allocated."""

from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from greenserve.errors import InvalidRequest
from greenserve.serve.call import Answer, Call
from greenserve.serve.hints import credential_of, hints_of
from greenserve.serve.models import OUTPUTS, ServedModel
from greenserve.serve.names import parameters_of
from greenserve.units import US_PER_S

REQUEST_MEMBERS = frozenset({"id", "parameters", "inputs", "outputs"})
LONGEST_TEXT = 1_048_576


def call_of(
    body: bytes, headers: Mapping[str, str], *, model: str, version: str, received_ns: int, max_items: int
) -> Call:
    """The call that a JSON body makes; raises InvalidRequest naming the field, what was given and what is allowed."""
    document = _json_object(body)
    if unknown := set(document) - REQUEST_MEMBERS:
        raise InvalidRequest(f"{_listed(unknown)}: unknown member; allowed are {_listed(REQUEST_MEMBERS)}")
    client_id = document.get("id")
    if client_id is not None and not isinstance(client_id, str):
        raise InvalidRequest(f"id: a string is needed, got {_kind(client_id)}")
    parameters = document.get("parameters") or {}
    timeout_s = timeout_of(parameters)
    return Call(
        model=model,
        version=version,
        texts=_texts(document.get("inputs"), max_items),
        outputs=_outputs(document.get("outputs")),
        protocol="http",
        received_ns=received_ns,
        credential=credential_of(headers),
        hints=hints_of(headers, variant=parameters.get("greenserve_variant")),
        timeout_s=timeout_s,
        client_id=client_id,
    )


def timeout_of(parameters: object) -> float | None:
    """The `timeout` parameter [us] in seconds, or None."""
    if not isinstance(parameters, Mapping):
        raise InvalidRequest(f"parameters: an object is needed, got {_kind(parameters)}")
    timeout = parameters.get("timeout")
    if timeout is None:
        return None
    if not isinstance(timeout, int) or isinstance(timeout, bool) or timeout <= 0:
        raise InvalidRequest(f"parameters.timeout: a positive integer of microseconds is needed, got {timeout!r}")
    return timeout / US_PER_S


def body_of(answer: Answer) -> bytes:
    """The JSON body of an answer: the outputs asked for, then what it cost as parameters."""
    outputs: list[dict[str, object]] = []
    rows = len(answer.labels)
    for name in answer.outputs:
        if name == "label":
            outputs.append({"name": name, "datatype": "BYTES", "shape": [rows], "data": answer.labels})
        else:
            shape = list(answer.probabilities.shape)
            data = answer.probabilities.ravel()
            outputs.append({"name": name, "datatype": "FP32", "shape": shape, "data": data})
    document: dict[str, object] = {
        "model_name": answer.model,
        "model_version": answer.version,
        "parameters": parameters_of(answer),
        "outputs": outputs,
    }
    if answer.client_id is not None:
        document["id"] = answer.client_id
    return orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)


def metadata_of(model: ServedModel) -> dict[str, object]:
    """The model's metadata: inputs, outputs, versions."""
    return {
        "name": model.name,
        "versions": [model.version],
        "platform": "greenserve",
        "inputs": [{"name": "text", "datatype": "BYTES", "shape": [-1]}],
        "outputs": [
            {"name": "label", "datatype": "BYTES", "shape": [-1]},
            {"name": "probabilities", "datatype": "FP32", "shape": [-1, len(model.manifest.labels)]},
        ],
    }


def _json_object(body: bytes) -> dict[str, Any]:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidRequest(f"the body is not JSON: {error}") from None
    if not isinstance(document, dict):
        raise InvalidRequest(f"the body: an object with `inputs` is needed, got {_kind(document)}")
    return document


def _texts(inputs: object, max_items: int) -> tuple[str, ...]:
    if not isinstance(inputs, list) or not inputs:
        raise InvalidRequest(f"inputs: a list with the tensor `text` is needed, got {_kind(inputs)}")
    if len(inputs) != 1:
        raise InvalidRequest(f"inputs: exactly one tensor, `text`, is needed, got {len(inputs)}")
    tensor = inputs[0]
    if not isinstance(tensor, dict):
        raise InvalidRequest(f"inputs[0]: an object is needed, got {_kind(tensor)}")
    if tensor.get("name") != "text":
        raise InvalidRequest(f"inputs[0].name: 'text' is needed, got {tensor.get('name')!r}")
    if tensor.get("datatype") != "BYTES":
        raise InvalidRequest(f"inputs[0].datatype: 'BYTES' is needed, got {tensor.get('datatype')!r}")
    parameters = tensor.get("parameters") or {}
    if not isinstance(parameters, dict):
        raise InvalidRequest(f"inputs[0].parameters: an object is needed, got {_kind(parameters)}")
    if "binary_data_size" in parameters:
        raise InvalidRequest("inputs[0].parameters.binary_data_size: binary tensors are not read here; send JSON data")
    count = _element_count(tensor.get("shape"), max_items)
    data = tensor.get("data")
    if not isinstance(data, list):
        raise InvalidRequest(f"inputs[0].data: a list of strings is needed, got {_kind(data)}")
    if len(data) != count:
        raise InvalidRequest(f"inputs[0].data: shape {tensor['shape']} needs {count} strings, got {len(data)}")
    return checked_texts(data)


def checked_texts(data: list[Any]) -> tuple[str, ...]:
    """The strings of the tensor `text`; raises InvalidRequest for empty, long or non-string elements."""
    for index, text in enumerate(data):
        if not isinstance(text, str):
            raise InvalidRequest(f"text[{index}]: a string is needed, got {_kind(text)}")
        if not 0 < len(text) <= LONGEST_TEXT:
            raise InvalidRequest(f"text[{index}]: 1..{LONGEST_TEXT:,} characters are allowed, got {len(text):,}")
    return tuple(data)


def _element_count(shape: object, max_items: int) -> int:
    return checked_shape(shape, max_items, place="inputs[0].shape")


def checked_shape(shape: object, max_items: int, *, place: str) -> int:
    """The number of elements of a tensor of shape [n] or [n, 1]; raises InvalidRequest naming `place`."""
    if not isinstance(shape, list) or not all(isinstance(size, int) and not isinstance(size, bool) for size in shape):
        raise InvalidRequest(f"{place}: a list of integers is needed, got {shape!r}")
    if len(shape) not in {1, 2} or (len(shape) == 2 and shape[1] != 1):
        raise InvalidRequest(f"{place}: [n] or [n, 1] is needed, got {shape}")
    if not 1 <= shape[0] <= max_items:
        raise InvalidRequest(f"{place}: 1..{max_items} items are allowed, got {shape[0]}")
    return int(shape[0])


def _outputs(outputs: object) -> tuple[str, ...]:
    if outputs is None or outputs == []:
        return OUTPUTS
    if not isinstance(outputs, list) or not all(isinstance(output, dict) for output in outputs):
        raise InvalidRequest(f"outputs: a list of objects with `name` is needed, got {_kind(outputs)}")
    return checked_outputs([output.get("name") for output in outputs])


def checked_outputs(names: list[Any]) -> tuple[str, ...]:
    """The outputs asked for, in their order; raises InvalidRequest for unknown or repeated names."""
    for name in names:
        if name not in OUTPUTS:
            raise InvalidRequest(f"outputs: {name!r} is not offered; offered are {', '.join(OUTPUTS)}")
    if len(set(names)) < len(names):
        raise InvalidRequest(f"outputs: each name may stand once, got {', '.join(names)}")
    return tuple(names)


def _kind(value: object) -> str:
    names = {type(None): "nothing", dict: "an object", list: "a list", str: "a string", bool: "a boolean"}
    return names.get(type(value), "a number")


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))
