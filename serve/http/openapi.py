"""The description of the data plane, OpenAPI 3.1, as `/openapi.json` gives it."""

from typing import Any

from greenserve import __version__
from greenserve.serve.http.errors import Shape
from greenserve.serve.http.message import JSON, PROBLEM
from greenserve.serve.http.openapi_schemas import REQUEST_ID, SCHEMAS, ref

Node = dict[str, Any]
OCTETS = "application/octet-stream"
READING = (404, 431, 500, 503)
ASKING = (401, 403, 404, 429, 431, 500, 503)
INFERRING = (400, 401, 403, 404, 408, 409, 413, 415, 429, 431, 500, 501, 503, 504)
ERROR_OF: dict[Shape, str] = {"oip": "Error", "openai": "OpenAiError", "problem": "Problem"}
WAITING = frozenset({429, 503})
FACT_HEADERS = (
    "GreenServe-Route",
    "GreenServe-Receipt",
    "GreenServe-Cache",
    "GreenServe-Energy",
    "GreenServe-Energy-Joules",
    "GreenServe-Carbon",
    "GreenServe-Carbon-Grams",
    "GreenServe-Replayed",
    "Server-Timing",
)
HINTS: dict[str, Node] = {
    "GreenServe-Policy": {"type": "string", "enum": ["min-carbon", "balanced", "min-latency"]},
    "GreenServe-Deadline-Ms": {"type": "number", "minimum": 1, "maximum": 3_600_000},
    "GreenServe-Min-Quality": {"type": "number", "minimum": 0, "maximum": 1},
    "GreenServe-Regions": {"type": "string", "pattern": "^[A-Za-z0-9_-]+(,[A-Za-z0-9_-]+)*$"},
    "GreenServe-Cache": {"type": "string", "enum": ["no-store"]},
    "GreenServe-Defer-Until": {"type": "string", "format": "date-time"},
    "Idempotency-Key": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
}
REQUEST_UUID: Node = {
    "type": "string",
    "pattern": "^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$",
}
KEYED: list[Node] = [{"key": []}, {}]


def _header(schema: Node, about: str, *, required: bool = False) -> Node:
    return {"description": about, "schema": schema, "required": required}


def _headers(*, facts: bool = False, waits: bool = False) -> Node:
    headers = {"GreenServe-Request-Id": _header(REQUEST_ID, "The request's id.", required=True)}
    if facts:
        headers |= {name: _header({"type": "string"}, "What the answer cost, and how.") for name in FACT_HEADERS}
    if waits:
        headers["Retry-After"] = _header({"type": "integer", "minimum": 0}, "Seconds after which it may heal.")
        headers |= {name: _header({"type": "string"}, "The limit.") for name in ("RateLimit", "RateLimit-Policy")}
    return headers


def _response(schema: str, about: str, *, facts: bool = False) -> Node:
    return {"description": about, "headers": _headers(facts=facts), "content": {JSON.decode(): {"schema": ref(schema)}}}


def _errors(statuses: tuple[int, ...], shape: Shape) -> Node:
    media = PROBLEM if shape == "problem" else JSON
    content = {media.decode(): {"schema": ref(ERROR_OF[shape])}}
    return {
        str(status): {
            "description": "Refused; `code` says why.",
            "headers": _headers(waits=status in WAITING),
            "content": content,
        }
        for status in statuses
    }


def _read(about: str, schema: str, *, shape: Shape = "oip", **named: list[Node]) -> Node:
    operation = {
        "summary": about,
        "operationId": "".join(part for part in about.title() if part.isalnum()),
        "responses": {"200": _response(schema, about)} | _errors(READING, shape),
    }
    return {"get": operation | named}


def _ready(about: str, schema: str, *, shape: Shape = "oip") -> Node:
    found = _read(about, schema, shape=shape)
    found["get"]["responses"]["503"] = _response(schema, "Not ready.")
    return found


def _path_parameter(name: str, about: str) -> Node:
    return {
        "name": name,
        "in": "path",
        "required": True,
        "description": about,
        "schema": {"type": "string", "minLength": 1},
    }


def _hints() -> list[Node]:
    return [
        {"name": name, "in": "header", "required": False, "schema": schema, "description": "A hint: it only narrows."}
        for name, schema in HINTS.items()
    ]


def _infer(suffix: str) -> Node:
    answer = _response("InferResponse", "The outputs, and what they cost.", facts=True)
    answer["content"][OCTETS] = {"schema": {"type": "string", "format": "binary"}}
    answer["headers"]["Inference-Header-Content-Length"] = _header(
        {"type": "integer", "minimum": 1}, "Bytes of the JSON head; only where bytes follow it."
    )
    return {
        "post": {
            "summary": f"Infer{suffix}",
            "description": "Tensors in JSON. With Inference-Header-Content-Length, bytes of tensors follow the JSON.",
            "operationId": f"infer{suffix.title().replace(' ', '')}",
            "security": KEYED,
            "parameters": _hints(),
            "requestBody": {"required": True, "content": {JSON.decode(): {"schema": ref("InferRequest")}}},
            "responses": {"200": answer} | _errors(INFERRING, "oip"),
        }
    }


def _model_paths() -> Node:
    paths: Node = {}
    model = _path_parameter("model", "The model's name.")
    version = _path_parameter("version", "The manifest's version.")
    for base, suffix, parameters in (
        ("/v2/models/{model}", "", [model]),
        ("/v2/models/{model}/versions/{version}", " of a version", [model, version]),
    ):
        operations = {
            base: _read(f"Metadata{suffix}", "ModelMetadata"),
            f"{base}/ready": _ready(f"Readiness{suffix}", "ModelReady"),
            f"{base}/config": _read(f"Configuration{suffix}", "ModelConfig"),
            f"{base}/stats": _read(f"Statistics{suffix}", "Statistics"),
            f"{base}/infer": _infer(suffix),
        }
        paths |= {path: operation | {"parameters": parameters} for path, operation in operations.items()}
    return paths


def _index() -> Node:
    return {
        "post": {
            "summary": "The models served",
            "operationId": "repositoryIndex",
            "requestBody": {"required": False, "content": {JSON.decode(): {"schema": ref("IndexRequest")}}},
            "responses": {"200": _response("Index", "Each model, and whether it takes requests.")}
            | _errors((400, 408, 413, 415, 431, 500, 503), "oip"),
        }
    }


def _openai_paths() -> Node:
    model = _path_parameter("model", "The model's name.")
    embeddings = {
        "summary": "Embeddings",
        "operationId": "createEmbedding",
        "security": KEYED,
        "parameters": _hints(),
        "requestBody": {"required": True, "content": {JSON.decode(): {"schema": ref("EmbeddingsRequest")}}},
        "responses": {"200": _response("Embeddings", "One vector per item, in their order.", facts=True)}
        | _errors(INFERRING, "openai"),
    }
    models = _read("List models", "Models", shape="openai", security=KEYED)
    one = _read("Retrieve a model", "Model", shape="openai", security=KEYED)
    for found in (models, one):
        found["get"]["responses"] |= _errors(ASKING, "openai")
    return {
        "/v1/embeddings": {"post": embeddings},
        "/v1/models": models,
        "/v1/models/{model}": one | {"parameters": [model]},
    }


def _own_paths() -> Node:
    receipt = _read("The receipt of a request", "Receipt", shape="problem", security=KEYED)
    receipt["get"]["responses"] |= _errors((401, 403, 422, 429), "problem")
    return {
        "/v1/receipts/{id}": receipt
        | {"parameters": [_path_parameter("id", "The request's id.") | {"schema": REQUEST_UUID}]},
        "/livez": _read("Whether the process lives", "Live", shape="problem"),
        "/readyz": _ready("Whether it takes requests", "Ready", shape="problem"),
    }


OPENAPI: Node = {
    "openapi": "3.1.0",
    "info": {
        "title": "GreenServe",
        "version": __version__,
        "summary": "Inference with the energy and carbon of every answer.",
        "license": {"name": "MIT", "identifier": "MIT"},
    },
    "servers": [{"url": "/"}],
    "paths": {
        "/v2": _read("Server metadata", "ServerMetadata"),
        "/v2/health/live": _read("Liveness", "Live"),
        "/v2/health/ready": _ready("Server readiness", "Ready"),
        "/v2/models/stats": _read("Statistics of all models", "Statistics"),
        "/v2/repository/index": _index(),
    }
    | _model_paths()
    | _openai_paths()
    | _own_paths(),
    "components": {
        "schemas": SCHEMAS,
        "securitySchemes": {"key": {"type": "http", "scheme": "bearer", "description": "A key: gs_..."}},
    },
}
