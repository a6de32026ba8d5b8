"""The schemas of the data plane, OpenAPI 3.1 (JSON Schema 2020-12)."""

from typing import Any

from greenserve.serve.call import LONGEST_ID
from greenserve.serve.http.errors import TITLES
from greenserve.serve.http.openai import MOST_ITEMS
from greenserve.serve.status import STATUS
from greenserve.serve.tensors import DATATYPES, MOST_DIMENSIONS, MOST_INPUTS

Schema = dict[str, Any]
LARGEST_ID = 2**31 - 1


def ref(name: str) -> Schema:
    """A reference to one of SCHEMAS."""
    return {"$ref": f"#/components/schemas/{name}"}


def an_object(required: tuple[str, ...], *, closed: bool = False, **properties: Schema) -> Schema:
    """An object; `closed` refuses other members."""
    found: Schema = {"type": "object", "properties": properties}
    if required:
        found["required"] = list(required)
    return found | ({"additionalProperties": False} if closed else {})


def a_list(items: Schema, **bounds: int) -> Schema:
    """A list of one kind; `bounds` are minItems and maxItems."""
    return {"type": "array", "items": items} | bounds


TEXT: Schema = {"type": "string"}
WORD: Schema = {"type": "string", "minLength": 1}
FLAG: Schema = {"type": "boolean"}
COUNT: Schema = {"type": "integer", "minimum": 0}
CODE: Schema = {"type": "string", "enum": sorted(STATUS)}
REQUEST_ID: Schema = {"type": "string", "format": "uuid", "description": "Names the request in logs, receipts, ledger."}
SHAPE: Schema = a_list({"type": "integer", "minimum": 0}, minItems=1, maxItems=MOST_DIMENSIONS)
DATATYPE: Schema = {"type": "string", "enum": list(DATATYPES)}
FACTS: Schema = {
    "type": "object",
    "description": "What the answer cost, as far as the tenant's exposure shows it; what is unknown is absent.",
    "additionalProperties": {"type": ["string", "integer"]},
}
TOKENS: Schema = a_list({"type": "integer", "minimum": 0, "maximum": LARGEST_ID}, minItems=1)

SCHEMAS: dict[str, Schema] = {
    "Live": an_object(("live",), live=FLAG),
    "Ready": an_object(("ready", "waiting_for"), ready=FLAG, waiting_for=a_list(TEXT)),
    "ModelReady": an_object(("name", "ready"), name=TEXT, ready=FLAG),
    "ServerMetadata": an_object(("name", "version", "extensions"), name=TEXT, version=TEXT, extensions=a_list(TEXT)),
    "TensorMetadata": an_object(
        ("name", "datatype", "shape"), name=TEXT, datatype=DATATYPE, shape=a_list({"type": "integer", "minimum": -1})
    ),
    "ModelMetadata": an_object(
        ("name", "versions", "platform", "inputs", "outputs"),
        name=TEXT,
        versions=a_list(TEXT),
        platform=TEXT,
        inputs=a_list(ref("TensorMetadata")),
        outputs=a_list(ref("TensorMetadata")),
    ),
    "ModelConfig": an_object(
        ("name", "platform", "backend", "max_batch_size", "input", "output"),
        name=TEXT,
        platform=TEXT,
        backend=TEXT,
        version_policy={"type": "object"},
        max_batch_size=COUNT,
        input=a_list(ref("ConfigTensor")),
        output=a_list(ref("ConfigTensor")),
        parameters={"type": "object"},
    ),
    "ConfigTensor": an_object(
        ("name", "data_type", "dims"), name=TEXT, data_type=TEXT, dims=a_list({"type": "integer", "minimum": -1})
    ),
    "Duration": an_object(("count", "ns"), count=COUNT, ns=COUNT),
    "Counters": an_object(
        ("name", "inference_count", "execution_count", "inference_stats", "batch_stats"),
        name=TEXT,
        version=TEXT,
        last_inference=COUNT,
        inference_count=COUNT,
        execution_count=COUNT,
        inference_stats={"type": "object", "additionalProperties": ref("Duration")},
        batch_stats=a_list(an_object(("batch_size",), batch_size=COUNT, compute_infer=ref("Duration"))),
        variants=a_list(ref("Counters")),
    ),
    "Statistics": an_object(("model_stats",), model_stats=a_list(ref("Counters"))),
    "IndexRequest": an_object((), closed=True, ready=FLAG),
    "Index": a_list(
        an_object(
            ("name", "version", "state", "reason"),
            name=TEXT,
            version=TEXT,
            state={"type": "string", "enum": ["READY", "UNAVAILABLE"]},
            reason=TEXT,
        )
    ),
    "RequestParameters": an_object(
        (),
        priority={
            "type": "integer",
            "minimum": 0,
            "maximum": 3,
            "description": "1 first, 3 last; 0 is the default, 2.",
        },
        timeout={"type": "integer", "minimum": 1, "description": "Deadline in microseconds."},
        binary_data_output={"type": "boolean", "description": "Outputs as bytes, unless one says otherwise."},
        greenserve_variant=WORD | {"description": "Answer with this variant, if the key may pin one."},
        sequence_id={"enum": [0, "", False, None]},
    ),
    "InputTensor": an_object(
        ("name", "datatype", "shape"),
        closed=True,
        name=WORD,
        datatype=DATATYPE,
        shape=SHAPE,
        parameters=an_object((), binary_data_size=COUNT),
        data={"type": "array", "description": "Elements, nested as the shape says or flat in row-major order."},
    ),
    "OutputWanted": an_object(("name",), closed=True, name=WORD, parameters=an_object((), binary_data=FLAG)),
    "InferRequest": an_object(
        ("inputs",),
        closed=True,
        id={"type": "string", "maxLength": LONGEST_ID},
        parameters=ref("RequestParameters"),
        inputs=a_list(ref("InputTensor"), minItems=1, maxItems=MOST_INPUTS),
        outputs=a_list(ref("OutputWanted")),
    ),
    "OutputTensor": an_object(
        ("name", "datatype", "shape"),
        name=TEXT,
        datatype=DATATYPE,
        shape=a_list(COUNT),
        parameters=an_object((), binary_data_size=COUNT),
        data={"type": "array"},
    ),
    "InferResponse": an_object(
        ("model_name", "model_version", "outputs", "parameters"),
        id=TEXT,
        model_name=TEXT,
        model_version=TEXT,
        parameters=FACTS,
        outputs=a_list(ref("OutputTensor")),
    ),
    "EmbeddingsRequest": an_object(
        ("model", "input"),
        closed=True,
        model=WORD,
        input={
            "anyOf": [
                WORD,
                a_list(WORD, minItems=1, maxItems=MOST_ITEMS),
                TOKENS,
                a_list(TOKENS, minItems=1, maxItems=MOST_ITEMS),
            ]
        },
        encoding_format={"type": "string", "enum": ["float", "base64"], "default": "float"},
        dimensions={"type": ["integer", "null"], "minimum": 1},
        user={"type": ["string", "null"]},
    ),
    "Embedding": an_object(
        ("object", "index", "embedding"),
        object={"const": "embedding"},
        index=COUNT,
        embedding={"anyOf": [a_list({"type": "number"}), {"type": "string", "contentEncoding": "base64"}]},
    ),
    "Embeddings": an_object(
        ("object", "data", "model", "usage", "greenserve"),
        object={"const": "list"},
        data=a_list(ref("Embedding")),
        model=TEXT,
        usage=an_object(("prompt_tokens", "total_tokens"), prompt_tokens=COUNT, total_tokens=COUNT),
        greenserve=FACTS,
    ),
    "Model": an_object(("id", "object", "owned_by"), id=TEXT, object={"const": "model"}, created=COUNT, owned_by=TEXT),
    "Models": an_object(("object", "data"), object={"const": "list"}, data=a_list(ref("Model"))),
    "Receipt": {"type": "object", "description": "What a request cost, settled as far as it is."},
    "Error": an_object(("error", "code", "request_id"), error=TEXT, code=CODE, request_id=REQUEST_ID),
    "OpenAiError": an_object(
        ("error",),
        error=an_object(
            ("message", "type", "param", "code"),
            message=TEXT,
            type={"type": "string", "enum": sorted({status.openai for status in STATUS.values()})},
            param={"type": ["string", "null"]},
            code=CODE,
            request_id=REQUEST_ID,
        ),
    ),
    "Problem": an_object(
        ("type", "title", "status", "detail", "code", "request_id"),
        type={"type": "string", "format": "uri-reference"},
        title={"type": "string", "examples": sorted(TITLES.values())[:3]},
        status={"type": "integer", "minimum": 400, "maximum": 599},
        detail=TEXT,
        code=CODE,
        request_id=REQUEST_ID,
    ),
}
