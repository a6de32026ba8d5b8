"""The handlers of OpenAI's paths."""

from collections.abc import Mapping
from contextlib import suppress

import orjson

from greenserve.errors import InvalidRequest, ModelUnknown, NotFound
from greenserve.sections import Limits
from greenserve.serve.call import Call
from greenserve.serve.gateway import Gateway
from greenserve.serve.hints import credential_of, hints_of, idempotency_key_of
from greenserve.serve.http import openai
from greenserve.serve.http.body import read_body
from greenserve.serve.http.facts import facts_as_headers
from greenserve.serve.http.message import Handler, Request, Response
from greenserve.serve.models import ServedModel


class OpenAi:
    """`/v1/embeddings`, `/v1/models`, and a plain no to what generates."""

    def __init__(self, *, gateway: Gateway, limits: Limits) -> None:
        self._gateway = gateway
        self._limits = limits

    def handlers(self) -> Mapping[tuple[str, str], Handler]:
        """By method and path template."""
        generative = {("POST", path): self._not_offered for path in openai.generative_paths()}
        return {
            ("POST", "/v1/embeddings"): self._embeddings,
            ("GET", "/v1/models"): self._models,
            ("GET", "/v1/models/{model}"): self._model,
        } | generative

    async def _embeddings(self, request: Request) -> Response:
        headers, limits = request.headers, self._limits
        body = await read_body(request.receive, headers, limit_bytes=limits.max_body_bytes)
        asked = openai.embed_of(body)
        model = self._embedding_model(asked.model)
        if model.manifest.embedding is not None:
            openai.check_dimensions(asked.dimensions, model.name, model.manifest.embedding)
        call = Call(
            model=model.name,
            version="",
            inputs=asked.inputs,
            outputs=(openai.OUTPUT,),
            protocol="openai",
            received_ns=request.received_ns,
            credential=credential_of(headers),
            hints=hints_of(headers),
            token_rows=asked.token_rows,
            most_tokens=openai.MOST_TOKENS,
            traceparent=headers.get("traceparent"),
            idempotency_key=idempotency_key_of(headers),
        )
        try:
            answer = await self._gateway.handle(call)
        except InvalidRequest as error:
            # The model's own objections are to the texts or ids: all that this protocol lets a caller choose.
            error.details = {"param": "input"} | dict(error.details)
            raise
        return Response(200, openai.embeddings_body(answer, asked), facts_as_headers(answer), compressible=True)

    def _embedding_model(self, name: str) -> ServedModel:
        try:
            model = self._gateway.models.find(name)
        except ModelUnknown as error:
            raise ModelUnknown(str(error), details={"param": "model"}) from None
        if model.manifest.task != "text-embedding":
            offered = [each.name for each in self._gateway.models if each.manifest.task == "text-embedding"]
            raise openai.refused(
                "model",
                f"{name} is a {model.manifest.task} model, ask it at /v2/models/{name}/infer; embeddings come from "
                f"{', '.join(offered) or 'no model here'}",
            )
        return model

    async def _models(self, request: Request) -> Response:
        self._paced(request)
        return _json({"object": "list", "data": [_model_object(model) for model in self._gateway.models]})

    async def _model(self, request: Request) -> Response:
        self._paced(request)
        try:
            return _json(_model_object(self._gateway.models.find(request.arguments["model"])))
        except ModelUnknown as error:
            raise ModelUnknown(str(error), details={"param": "model"}) from None

    def _paced(self, request: Request) -> None:
        admission = self._gateway.admission
        admission.pace(admission.authenticate(credential_of(request.headers), path=request.path))

    async def _not_offered(self, request: Request) -> Response:
        what = openai.generative_paths()[request.path.removesuffix("/")]
        raise NotFound(
            f"{what} are not offered here: this gateway serves embeddings at /v1/embeddings and models at /v2"
        )


def _model_object(model: ServedModel) -> dict[str, object]:
    """OpenAI's clients count on `created`: else it is when the manifest was written here."""
    found = openai.model_object(model)
    if "created" not in found:
        with suppress(OSError):
            found["created"] = int(model.settings.manifest.stat().st_mtime)
    return found


def _json(document: object) -> Response:
    return Response(200, orjson.dumps(document), [])
