"""OpenAI's SDK, unmodified, synchronous and asyncio: embeddings and models with their typed errors."""

import asyncio
import base64
import math
import struct
from collections.abc import AsyncIterable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import openai

from tests.conformance.calls import Calls, Target, check_equal, check_holds, read_target, refused, settled

calls = Calls()
PATIENCE_S = 15.0
DIMENSIONS = 8
GOOD, BAD = 3, 1  # the words' ids in the tiny tokenizer


@dataclass
class Asking:
    """Makes clients for one tenant, and counts the HTTP requests that they send."""

    target: Target
    is_async: bool
    sent: list[str] = field(default_factory=list)

    def client(self, tenant: str = "acme", *, retries: int = 0, key: str | None = None) -> Any:
        """A client with a tenant's key."""
        options: dict[str, Any] = {
            "base_url": f"{self.target.url}/v1",
            "api_key": key or self.target.keys[tenant],
            "max_retries": retries,
            "timeout": PATIENCE_S,
        }
        self.sent.clear()
        if self.is_async:
            http = openai.DefaultAsyncHttpxClient(event_hooks={"request": [self._count_async]})
            return openai.AsyncOpenAI(http_client=http, **options)
        return openai.OpenAI(http_client=openai.DefaultHttpxClient(event_hooks={"request": [self._count]}), **options)

    async def embed(self, given: Any, *, client: Any = None, **options: Any) -> Any:
        """Embeddings of what is given."""
        asked = client or self.client()
        return await settled(asked.embeddings.create(model="tiny-embed", input=given, **options))

    def _count(self, request: Any) -> None:
        self.sent.append(request.url.path)

    async def _count_async(self, request: Any) -> None:
        self.sent.append(request.url.path)


def check_vector(vector: list[float]) -> None:
    """Raise unless it is a vector of the model, of length one."""
    check_equal(DIMENSIONS, len(vector))
    check_equal(True, abs(math.hypot(*vector) - 1.0) < 1e-4)


def check_error(error: Any, *, status: int, kind: str, param: str | None = None) -> None:
    """Raise unless a typed error holds what the body of an OpenAI error has."""
    check_equal((status, kind, param), (error.status_code, error.type, error.param))
    check_equal(True, bool(error.code))
    check_equal(True, isinstance(error.body, dict))


@calls.named("embeddings of a text, in the SDK's default encoding")
async def _text(asking: Asking) -> None:
    answer = await asking.embed("good")

    check_equal(("list", "tiny-embed"), (answer.object, answer.model))
    check_equal([(0, "embedding")], [(one.index, one.object) for one in answer.data])
    check_vector(answer.data[0].embedding)


@calls.named("embeddings as floats equal those in base64")
async def _encodings(asking: Asking) -> None:
    floats = (await asking.embed("good bad", encoding_format="float")).data[0].embedding
    packed = (await asking.embed("good bad", encoding_format="base64")).data[0].embedding

    check_vector(floats)
    check_equal(DIMENSIONS * 4, len(base64.b64decode(packed)))
    check_equal(
        [struct.unpack("<f", struct.pack("<f", one))[0] for one in floats],
        list(struct.unpack(f"<{DIMENSIONS}f", base64.b64decode(packed))),
    )


@calls.named("embeddings of several texts keep their order")
async def _texts(asking: Asking) -> None:
    answer = await asking.embed(["good", "bad", "good"])
    vectors = [one.embedding for one in answer.data]

    check_equal([0, 1, 2], [one.index for one in answer.data])
    check_equal(vectors[0], vectors[2])
    check_equal(True, vectors[0] != vectors[1])


@calls.named("embeddings of token ids")
async def _tokens(asking: Asking) -> None:
    text = (await asking.embed("good bad")).data[0].embedding
    tokens = (await asking.embed([GOOD, BAD])).data[0].embedding
    several = [one.embedding for one in (await asking.embed([[GOOD, BAD], [BAD]])).data]

    check_equal(text, tokens)
    check_equal(text, several[0])
    check_equal(2, len(several))


@calls.named("usage counts tokens")
async def _usage(asking: Asking) -> None:
    usage = (await asking.embed(["good bad", "good"])).usage

    check_equal((3, 3), (usage.prompt_tokens, usage.total_tokens))


@calls.named("`user` is accepted")
async def _user(asking: Asking) -> None:
    check_vector((await asking.embed("good", user="someone")).data[0].embedding)


@calls.named("headers and body tell energy and carbon")
async def _facts(asking: Asking) -> None:
    raw = await settled(asking.client().embeddings.with_raw_response.create(model="tiny-embed", input="good"))
    body = raw.parse()

    check_holds([name.lower() for name in raw.headers], "greenserve-request-id", "greenserve-energy")
    check_holds(body.model_extra, "greenserve", "energy")


@calls.named("models: list and retrieve")
async def _models(asking: Asking) -> None:
    listed = [one.id for one in (await settled(asking.client().models.list())).data]
    one = await settled(asking.client().models.retrieve("tiny-embed"))

    check_holds(listed, "tiny-embed", "tiny")
    check_equal(("tiny-embed", "model"), (one.id, one.object))
    check_equal(True, isinstance(one.created, int) and bool(one.owned_by))


@calls.named("models: a page can be iterated")
async def _models_iterated(asking: Asking) -> None:
    pages: AsyncIterable[Any] | Iterable[Any] = asking.client().models.list()
    found = [one.id async for one in pages] if isinstance(pages, AsyncIterable) else [one.id for one in pages]

    check_holds(found, "tiny-embed")


@calls.named("BadRequestError: dimensions of a model that has but one")
async def _dimensions(asking: Asking) -> None:
    with refused(openai.BadRequestError, "dimensions", str(DIMENSIONS)) as seen:
        await asking.embed("good", dimensions=3)
    check_error(seen.error, status=400, kind="invalid_request_error", param="dimensions")


@calls.named("BadRequestError: empty or unsuited input")
async def _bad_input(asking: Asking) -> None:
    unsuited: tuple[object, ...] = ("", [], [""], [[]], [999_999], "word9 " * 80)
    for given in unsuited:
        with refused(openai.BadRequestError) as seen:
            await asking.embed(given)
        check_equal("invalid_request_error", seen.error.type)
        check_holds(seen.error.param, "input")


@calls.named("BadRequestError: an unknown member, an unknown encoding")
async def _unknown_member(asking: Asking) -> None:
    with refused(openai.BadRequestError, "colour") as seen:
        await asking.embed("good", extra_body={"colour": "green"})
    check_error(seen.error, status=400, kind="invalid_request_error", param="colour")
    with refused(openai.BadRequestError, "encoding_format") as seen:
        await asking.embed("good", encoding_format="hex")
    check_error(seen.error, status=400, kind="invalid_request_error", param="encoding_format")


@calls.named("BadRequestError: a model that makes no embeddings")
async def _not_embedding(asking: Asking) -> None:
    with refused(openai.BadRequestError, "tiny") as seen:
        await settled(asking.client().embeddings.create(model="tiny", input="good"))
    check_error(seen.error, status=400, kind="invalid_request_error", param="model")


@calls.named("AuthenticationError: no such key")
async def _key(asking: Asking) -> None:
    with refused(openai.AuthenticationError, "key") as seen:
        await asking.embed("good", client=asking.client(key="sk-0123456789"))
    check_equal(
        (401, "authentication_error", "invalid-key"), (seen.error.status_code, seen.error.type, seen.error.code)
    )


@calls.named("NotFoundError: unknown model")
async def _unknown_model(asking: Asking) -> None:
    with refused(openai.NotFoundError, "nobody") as seen:
        await settled(asking.client().embeddings.create(model="nobody", input="good"))
    check_equal((404, "invalid_request_error"), (seen.error.status_code, seen.error.type))
    with refused(openai.NotFoundError, "nobody"):
        await settled(asking.client().models.retrieve("nobody"))


@calls.named("NotFoundError: chat, completions and responses are not offered")
async def _generative(asking: Asking) -> None:
    client = asking.client()
    asked: tuple[Callable[[], Any], ...] = (
        lambda: client.chat.completions.create(model="tiny", messages=[{"role": "user", "content": "good"}]),
        lambda: client.completions.create(model="tiny", prompt="good"),
        lambda: client.responses.create(model="tiny", input="good"),
        lambda: client.moderations.create(input="good"),
    )
    for ask in asked:
        with refused(openai.NotFoundError) as seen:
            await settled(ask())
        check_equal("invalid_request_error", seen.error.type)
        check_equal(True, len(seen.error.message) > 20)


@calls.named("RateLimitError: too many requests, with Retry-After")
async def _rate(asking: Asking) -> None:
    client = asking.client("paced")
    with refused(openai.RateLimitError, "0.5/s") as seen:
        for _ in range(8):
            await asking.embed("good", client=client)

    check_equal((429, "rate_limit_error"), (seen.error.status_code, seen.error.type))
    check_equal(True, 1 <= int(seen.error.response.headers["retry-after"]) <= 10)


@calls.named("a retry after Retry-After is served")
async def _retried(asking: Asking) -> None:
    hasty = asking.client("paced")
    with refused(openai.RateLimitError):
        for _ in range(8):
            await asking.embed("good", client=hasty)
    client = asking.client("paced", retries=2)
    answer = await asking.embed("good", client=client)

    check_vector(answer.data[0].embedding)
    check_equal(True, 2 <= len(asking.sent) <= 3)


@calls.named("RateLimitError: a spent budget is not retried")
async def _spent(asking: Asking) -> None:
    client = asking.client("spent", retries=2)
    with refused(openai.RateLimitError, "spent") as seen:
        for _ in range(4):
            asking.sent.clear()
            await asking.embed("good", client=client, extra_headers={"GreenServe-Cache": "no-store"})

    check_equal(("insufficient_quota", "budget-exhausted"), (seen.error.type, seen.error.code))
    check_equal("false", seen.error.response.headers["x-should-retry"])
    check_equal(1, len(asking.sent))


@calls.named("APIStatusError: a deadline that cannot be kept")
async def _deadline(asking: Asking) -> None:
    with refused(openai.BadRequestError, "deadline-ms"):
        await asking.embed("good", extra_headers={"GreenServe-Deadline-Ms": "soon"})
    headers = {"GreenServe-Deadline-Ms": "0.001", "GreenServe-Cache": "no-store"}
    with refused(openai.APIStatusError) as seen:
        await asking.embed("good", extra_headers=headers)
    check_equal(True, seen.error.status_code in {400, 504})


async def main() -> None:
    """Every call with both clients."""
    target = read_target()
    await calls.run("OpenAI", Asking(target=target, is_async=False))
    await calls.run("AsyncOpenAI", Asking(target=target, is_async=True))


if __name__ == "__main__":
    asyncio.run(main())
