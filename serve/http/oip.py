"""Open Inference Protocol v2 over HTTP: bodies to calls, answers to bodies, in JSON and in binary."""

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import orjson

from greenserve.errors import InferenceFailed, InvalidRequest
from greenserve.manifest import TensorSpec
from greenserve.serve.call import Answer, Call, checked_id
from greenserve.serve.hints import credential_of, hints_of, idempotency_key_of
from greenserve.serve.http.binary import SIZE, Tail, Wanted, head_length, raw_input, wants_binary
from greenserve.serve.http.json_tensors import data_of_json, kind, shown
from greenserve.serve.names import parameters_of
from greenserve.serve.tensors import (
    MOST_INPUTS,
    Tensor,
    checked_datatype,
    checked_shape,
    data_of_raw,
    raw_of,
)
from greenserve.units import US_PER_S

MOST_DEPTH = 32
REQUEST_MEMBERS = frozenset({"id", "parameters", "inputs", "outputs"})
NAMED_AGAIN = frozenset({"model_name", "model_version"})
INPUT_MEMBERS = frozenset({"name", "datatype", "shape", "data", "parameters"})
OUTPUT_MEMBERS = frozenset({"name", "parameters"})
NOT_SERVED = MappingProxyType(
    {
        "sequence_id": "sequences of stateful models are not served; leave it out",
        "shared_memory_region": "shared memory is not read or written; send and take the data in the body",
        "classification": "ask for the output `label` or `probabilities` instead",
    }
)
"""Parameters whose silent loss would change an answer's meaning; all other unknown ones are left to who sent them."""

JSON_WANTED = Wanted(named={})
BINARY_WANTED = Wanted(by_default=True, named={})
NOTHING: Mapping[str, object] = {}


def call_of(
    body: bytes,
    headers: Mapping[str, str],
    *,
    model: str,
    version: str,
    received_ns: int,
    most_elements: int,
    specs: Sequence[TensorSpec],
) -> tuple[Call, Wanted]:
    """The call that a body makes, and how to answer it.

    Raises InvalidRequest naming the field, what was given and what is allowed. `specs` are the model's inputs,
    which only a raw body needs.
    """
    length = head_length(headers.get("inference-header-content-length"), body)
    if length == 0:
        client_id, parameters = None, NOTHING
        inputs: tuple[Tensor, ...] = (raw_input(body, specs, most_elements=most_elements),)
        outputs: tuple[str, ...] = ()
        wanted = BINARY_WANTED
    else:
        document = json_object(body if length is None else body[:length], needs="`inputs`")
        unknown = document.keys() - REQUEST_MEMBERS
        if unknown and unknown <= NAMED_AGAIN:
            version = _named_again(document, model, version)
        elif unknown:
            raise InvalidRequest(
                f"{_listed(unknown - NAMED_AGAIN)}: unknown member; allowed are {_listed(REQUEST_MEMBERS)}"
            )
        client_id = document.get("id")
        if client_id is not None and type(client_id) is not str:
            raise InvalidRequest(f"id: a string is needed, got {kind(client_id)}")
        parameters = _parameters(document, "parameters")
        tail = Tail(memoryview(body)[len(body) if length is None else length :])
        inputs = _inputs(document.get("inputs"), tail, most_elements)
        outputs, wanted = _outputs(document.get("outputs"), parameters)
    return Call(
        model=model,
        version=version,
        inputs=inputs,
        outputs=outputs,
        protocol="http",
        received_ns=received_ns,
        credential=credential_of(headers),
        hints=hints_of(
            headers,
            variant=parameters.get("greenserve_variant"),
            priority=parameters.get("priority"),
            defer_until=parameters.get("greenserve_defer_until"),
        ),
        timeout_s=timeout_of(parameters),
        client_id=checked_id(client_id),
        traceparent=headers.get("traceparent"),
        idempotency_key=idempotency_key_of(headers),
    ), wanted


def timeout_of(parameters: Mapping[str, object]) -> float | None:
    """The `timeout` parameter [us] in seconds, or None."""
    timeout = parameters.get("timeout")
    if timeout is None:
        return None
    if type(timeout) is not int or timeout <= 0:
        raise InvalidRequest(f"parameters.timeout: a positive integer of microseconds is needed, got {shown(timeout)}")
    return timeout / US_PER_S


def body_of(answer: Answer, wanted: Wanted = JSON_WANTED) -> tuple[bytes, int | None]:
    """The body of an answer, and the length of its JSON head where bytes follow it (None: it is JSON as a whole)."""
    outputs: list[dict[str, object]] = []
    pieces: list[bytes] = []
    for tensor in answer.outputs:
        shown_as: dict[str, object] = {"name": tensor.name, "datatype": tensor.datatype, "shape": tensor.shape}
        if wanted.binary(tensor.name):
            pieces.append(raw_of(tensor))
            shown_as["parameters"] = {SIZE: len(pieces[-1])}
        else:
            shown_as["data"] = _json_data(tensor)
        outputs.append(shown_as)
    document: dict[str, object] = {
        "model_name": answer.model,
        "model_version": answer.version,
        "parameters": parameters_of(answer),
        "outputs": outputs,
    }
    if answer.client_id is not None:
        document["id"] = answer.client_id
    head = orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)
    if b"null" in head:  # orjson writes NaN and infinities like that, and so would a text that holds the word
        _check_finite(answer, wanted)
    return (head + b"".join(pieces), len(head)) if pieces else (head, None)


def json_object(body: bytes, *, needs: str) -> dict[str, Any]:
    """The JSON object of a body, at most 32 levels deep; raises InvalidRequest."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidRequest(f"the body is not JSON: {error}") from None
    if type(document) is not dict:
        raise InvalidRequest(f"the body: an object with {needs} is needed, got {kind(document)}")
    if body.count(b"[") + body.count(b"{") > MOST_DEPTH and _is_deeper(document, MOST_DEPTH):
        raise InvalidRequest(f"the body: up to {MOST_DEPTH} levels of lists and objects are allowed, it has more")
    return document


def _named_again(document: Mapping[str, object], model: str, version: str) -> str:
    """The version asked for, where the body names the model as well as the path, as some clients do."""
    named, asked = document.get("model_name"), document.get("model_version")
    if named is not None and named != model:
        raise InvalidRequest(f"model_name: the path names {model!r:.80}, the body {shown(named)}; name one of them")
    if asked is None or asked == "" or asked == version:
        return version
    if version or type(asked) is not str:
        raise InvalidRequest(
            f"model_version: the path names {version!r:.80}, the body {shown(asked)}; name one of them"
        )
    return asked


def _is_deeper(document: object, most: int) -> bool:
    level: list[Any] = [document]
    for _ in range(most):
        inner: list[Any] = []
        for node in level:
            inner.extend(node.values() if type(node) is dict else node)
        level = [node for node in inner if type(node) is dict or type(node) is list]
        if not level:
            return False
    return True


def _parameters(holder: Mapping[str, object], place: str) -> Mapping[str, object]:
    parameters = holder.get("parameters")
    if parameters is None:
        return NOTHING
    if type(parameters) is not dict:
        raise InvalidRequest(f"{place}: an object is needed, got {kind(parameters)}")
    for name in NOT_SERVED.keys() & parameters.keys():
        if parameters[name]:
            raise InvalidRequest(f"{place}.{name}: {NOT_SERVED[name]}")
    return parameters


def _inputs(entries: object, tail: Tail, most_elements: int) -> tuple[Tensor, ...]:
    if type(entries) is not list or not entries:
        raise InvalidRequest(f"inputs: a list of at least one tensor is needed, got {_none_of(entries)}")
    if len(entries) > MOST_INPUTS:
        raise InvalidRequest(f"inputs: up to {MOST_INPUTS} tensors are allowed, got {len(entries)}")
    inputs = tuple([_input(entry, f"inputs[{index}]", tail, most_elements) for index, entry in enumerate(entries)])
    if len(inputs) > 1:
        _check_once([tensor.name for tensor in inputs], "inputs")
    tail.end()
    return inputs


def _input(entry: object, place: str, tail: Tail, most_elements: int) -> Tensor:
    if type(entry) is not dict:
        raise InvalidRequest(f"{place}: an object is needed, got {kind(entry)}")
    if unknown := entry.keys() - INPUT_MEMBERS:
        raise InvalidRequest(f"{place}.{_listed(unknown)}: unknown member; allowed are {_listed(INPUT_MEMBERS)}")
    name = entry.get("name")
    if type(name) is not str or not name:
        raise InvalidRequest(f"{place}.name: the name of an input is needed, got {shown(name)}")
    datatype = checked_datatype(entry.get("datatype"), place=f"{place}.datatype")
    shape, count = checked_shape(entry.get("shape"), place=f"{place}.shape", most_elements=most_elements)
    if not count:
        raise InvalidRequest(f"{place}.shape: at least one element is needed, {list(shape)} has none")
    parameters = _parameters(entry, f"{place}.parameters")
    if SIZE not in parameters:
        data = data_of_json(entry.get("data"), datatype, shape, count, place=f"{place}.data")
    elif "data" in entry:
        raise InvalidRequest(f"{place}: data and parameters.{SIZE} are both given; send one of them")
    else:
        raw = tail.take(parameters[SIZE], place=f"{place}.parameters.{SIZE}")
        data = data_of_raw(raw, datatype, shape, count, place=f"{place} (binary)")
    return Tensor(name=name, datatype=datatype, shape=shape, data=data)


def _outputs(entries: object, parameters: Mapping[str, object]) -> tuple[tuple[str, ...], Wanted]:
    by_default = wants_binary(parameters, "binary_data_output", place="parameters")
    if entries is None or entries == []:
        return (), BINARY_WANTED if by_default else JSON_WANTED
    if type(entries) is not list:
        raise InvalidRequest(f"outputs: a list of objects with `name` is needed, got {kind(entries)}")
    names: list[str] = []
    named: dict[str, bool] = {}
    for index, entry in enumerate(entries):
        place = f"outputs[{index}]"
        if type(entry) is not dict:
            raise InvalidRequest(f"{place}: an object with `name` is needed, got {kind(entry)}")
        if unknown := entry.keys() - OUTPUT_MEMBERS:
            raise InvalidRequest(f"{place}.{_listed(unknown)}: unknown member; allowed are {_listed(OUTPUT_MEMBERS)}")
        name = entry.get("name")
        if type(name) is not str or not name:
            raise InvalidRequest(f"{place}.name: the name of an output is needed, got {shown(name)}")
        names.append(name)
        own = _parameters(entry, f"{place}.parameters")
        binary = wants_binary(own, "binary_data", place=f"{place}.parameters")
        if binary is not None:
            named[name] = binary
    _check_once(names, "outputs")
    return tuple(names), Wanted(by_default=bool(by_default), named=named)


def _json_data(tensor: Tensor) -> object:
    if isinstance(tensor.data, tuple):
        if all(type(element) is str for element in tensor.data):
            return tensor.data
        return [_text(element, tensor.name) for element in tensor.data]
    if tensor.datatype == "BF16":
        raise InvalidRequest(f"outputs: {tensor.name} is BF16, which has no form in JSON; ask for binary_data")
    return tensor.data.ravel()


def _text(element: str | bytes, name: str) -> str:
    try:
        return element if isinstance(element, str) else element.decode()
    except UnicodeDecodeError:
        raise InvalidRequest(f"outputs: {name} holds bytes that are not UTF-8; ask for binary_data") from None


def _check_finite(answer: Answer, wanted: Wanted) -> None:
    for tensor in answer.outputs:
        if isinstance(tensor.data, tuple) or tensor.data.dtype.kind != "f" or wanted.binary(tensor.name):
            continue
        if not np.isfinite(tensor.data).all():
            raise InferenceFailed(
                f"the model gave NaN or infinity in {tensor.name}, which JSON cannot carry; binary_data shows it"
            )


def _check_once(names: list[str], place: str) -> None:
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InvalidRequest(f"{place}: each name may stand once, {twice!r:.80} stands {names.count(twice)} times")


def _none_of(entries: object) -> str:
    return "an empty list" if entries == [] else kind(entries)


def _listed(names: Iterable[object]) -> str:
    return ", ".join(sorted(f"{name}"[:80] for name in list(names)[:10]))
