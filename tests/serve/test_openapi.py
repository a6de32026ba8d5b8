"""The description of the API is valid, complete, and says what the application does."""

from pathlib import Path
from typing import Any

import pytest

from greenserve.serve.http.openai import generative_paths
from greenserve.serve.http.openapi import OPENAPI
from greenserve.serve.http.openapi_schemas import SCHEMAS
from tests.serve.asking import AtOnce, Said, an_app, models_of_every_task, said

TEXT = {"inputs": [{"name": "text", "datatype": "BYTES", "shape": [1], "data": ["good"]}]}
EMBED = {"model": "embed", "input": "good"}
ELSEWHERE = {"/v1/receipts/{id}"}
VERBS = ("get", "post")


def refs(node: Any) -> set[str]:
    """Every reference below a node."""
    if isinstance(node, dict):
        own = {node["$ref"]} if "$ref" in node else set()
        return own.union(*map(refs, node.values()))
    return set[str]().union(*map(refs, node)) if isinstance(node, list) else set()


def fits(value: Any, schema: dict[str, Any]) -> bool:
    """Whether a value has the members that a schema requires and their types, as far as our schemas go."""
    if "$ref" in schema:
        return fits(value, SCHEMAS[schema["$ref"].rpartition("/")[2]])
    if "anyOf" in schema:
        return any(fits(value, each) for each in schema["anyOf"])
    if "const" in schema or "enum" in schema:
        return value in (schema.get("enum") or [schema["const"]])
    kinds: dict[str, Any] = {
        "object": dict,
        "array": list,
        "string": str,
        "boolean": bool,
        "integer": int,
        "number": (int, float),
    }
    asked = schema.get("type", "object")
    asked = [asked] if isinstance(asked, str) else asked
    if value is None:
        return "null" in asked
    if not any(isinstance(value, kinds[each]) for each in asked if each != "null"):
        return False
    if isinstance(value, list):
        return all(fits(each, schema.get("items", {"type": ["object", *kinds]})) for each in value)
    if isinstance(value, dict):
        own = schema.get("properties", {})
        extra = schema.get("additionalProperties", True)
        known = all(fits(each, own[name]) for name, each in value.items() if name in own)
        return (
            known and set(schema.get("required", ())) <= set(value) and (extra is not False or set(value) <= set(own))
        )
    return True


def schema_of(operation: dict[str, Any], answer: Said) -> dict[str, Any]:
    """What the description says of an answer; fails where it says nothing."""
    described = operation["responses"][str(answer.status)]
    found: dict[str, Any] = described["content"][answer.headers["content-type"]]["schema"]
    return found


OPERATIONS = [
    (path, verb, node[verb])
    for path, node in OPENAPI["paths"].items()
    for verb in VERBS
    if verb in node and path not in ELSEWHERE
]


def test_every_reference_has_its_schema() -> None:
    """And every operation an id of its own."""
    ids = [operation["operationId"] for _, _, operation in OPERATIONS]

    assert {f"#/components/schemas/{name}" for name in SCHEMAS} >= refs(OPENAPI)
    assert len(ids) == len(set(ids))


def test_the_description_and_the_application_have_the_same_paths(tiny_manifest: Path) -> None:
    """Save what generates, which is there to say no, and what others mount."""
    app, _ = an_app(AtOnce(models_of_every_task(tiny_manifest)))

    served = {(path, method.lower()) for method, path in app.served if path not in generative_paths()}
    described = {(path, verb) for path, verb, _ in OPERATIONS}

    assert described | {("/openapi.json", "get")} == served


@pytest.mark.parametrize(
    ("path", "verb", "operation"), OPERATIONS, ids=[f"{verb} {path}" for path, verb, _ in OPERATIONS]
)
async def test_answers_and_errors_are_as_described(
    path: str, verb: str, operation: dict[str, Any], tiny_manifest: Path
) -> None:
    """A good question, an unknown model, a bad body: each status has its schema, and the answer fits it."""
    app, _ = an_app(AtOnce(models_of_every_task(tiny_manifest)))
    body: object = b"" if verb == "get" else EMBED if "embeddings" in path else TEXT if "infer" in path else {}
    good = path.replace("{model}", "tiny").replace("{version}", "1")
    bad = path.replace("{model}", "nobody").replace("{version}", "1")

    answers = [await said(app, verb.upper(), good, body), await said(app, verb.upper(), bad, body)]
    if verb == "post":
        answers.append(await said(app, "POST", good, b"[]"))
        answers.append(await said(app, "POST", good, b"{}", content_encoding="br"))

    assert 200 == answers[0].status, answers[0].body
    for answer in answers:
        assert fits(answer.document, schema_of(operation, answer)), (answer.status, answer.document)


async def test_what_is_not_ready_is_described_too(tiny_manifest: Path) -> None:
    """503 with the same members."""
    app, _ = an_app(AtOnce(models_of_every_task(tiny_manifest)), "models")

    for path in ("/readyz", "/v2/health/ready", "/v2/models/{model}/ready"):
        answer = await said(app, "GET", path.replace("{model}", "tiny"))
        assert fits(answer.document, schema_of(OPENAPI["paths"][path]["get"], answer))
        assert 503 == answer.status


async def test_the_description_is_served(tiny_manifest: Path) -> None:
    """As it is here."""
    answer = await said(an_app(AtOnce(models_of_every_task(tiny_manifest)))[0], "GET", "/openapi.json")

    assert OPENAPI == answer.document
