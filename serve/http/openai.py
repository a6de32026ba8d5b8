"""OpenAI's embeddings and models, as its clients write and read them."""

from base64 import b64encode
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import orjson

from greenserve.errors import InferenceFailed, InvalidRequest
from greenserve.manifest import Embedding
from greenserve.serve.call import Answer
from greenserve.serve.http.json_tensors import kind, shown, whole
from greenserve.serve.http.oip import json_object
from greenserve.serve.models import ServedModel
from greenserve.serve.names import parameters_of
from greenserve.serve.tensors import LONGEST_ELEMENT_BYTES, Tensor

MEMBERS = ("model", "input", "encoding_format", "dimensions", "user")
MOST_ITEMS = 2_048
MOST_TOKENS = 300_000
OUTPUT = "sentence_embedding"
OWNER = "greenserve"
PREFIX = "greenserve_"
Encoding = Literal["float", "base64"]
TokenRows = tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Embed:
    """An embeddings request: texts, or token ids in their place; `dimensions` is None for the model's own."""

    model: str
    texts: tuple[str, ...]
    token_rows: TokenRows | None
    encoding: Encoding
    dimensions: int | None

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """The texts as the tensor that the models take; none where there are token ids."""
        if self.token_rows is not None:
            return ()
        return (Tensor(name="text", datatype="BYTES", shape=(len(self.texts),), data=self.texts),)


def embed_of(body: bytes) -> Embed:
    """The request in a body; raises InvalidRequest with OpenAI's `param` in its details."""
    document = json_object(body, needs="`model` and `input`")
    if unknown := sorted(document.keys() - set(MEMBERS)):
        raise refused(unknown[0][:80], f"unknown member; allowed are {', '.join(MEMBERS)}")
    model = document.get("model")
    if type(model) is not str or not model:
        raise refused("model", f"the name of a model is needed, got {shown(model)}")
    encoding = document.get("encoding_format", "float")
    if encoding not in ("float", "base64"):
        raise refused("encoding_format", f"'float' or 'base64' is needed, got {shown(encoding)}")
    user = document.get("user")
    if user is not None and type(user) is not str:
        raise refused("user", f"a string is needed, got {shown(user)}")
    dimensions = whole(document.get("dimensions"))
    if dimensions is not None and (type(dimensions) is not int or dimensions < 1):
        raise refused("dimensions", f"a positive integer is needed, got {shown(dimensions)}")
    texts, token_rows = _input(document.get("input"))
    return Embed(model=model, texts=texts, token_rows=token_rows, encoding=encoding, dimensions=dimensions)


def check_dimensions(dimensions: int | None, model: str, embedding: Embedding) -> None:
    """Shorter vectors only from models that were trained for it; raises InvalidRequest."""
    if dimensions is None:
        return
    if not embedding.matryoshka:
        raise refused("dimensions", f"{model} gives {embedding.dimensions} dimensions and no others; leave it out")
    if dimensions > embedding.dimensions:
        raise refused("dimensions", f"{model} gives 1..{embedding.dimensions} dimensions, got {dimensions}")


def embeddings_body(answer: Answer, asked: Embed) -> bytes:
    """The vectors in the order of the input, exact usage, and what the answer cost in `greenserve`."""
    data = answer.outputs[0].data
    if isinstance(data, tuple):
        raise InferenceFailed(f"{answer.model} gave texts where vectors are needed")
    vectors = np.ascontiguousarray(data, dtype="<f4")
    if not np.isfinite(vectors).all():
        raise InferenceFailed(f"{answer.model} gave NaN or infinity in an embedding")
    if asked.dimensions is not None:
        vectors = _shortened(vectors, asked.dimensions)
    shown_as: Iterable[Any] = vectors if asked.encoding == "float" else (b64encode(row).decode() for row in vectors)
    items = [
        {"object": "embedding", "index": index, "embedding": embedding} for index, embedding in enumerate(shown_as)
    ]
    document = {
        "object": "list",
        "data": items,
        "model": answer.model,
        "usage": {"prompt_tokens": answer.tokens, "total_tokens": answer.tokens},
        "greenserve": {name.removeprefix(PREFIX): value for name, value in parameters_of(answer).items()},
    }
    return orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)


def model_object(model: ServedModel) -> dict[str, object]:
    """A model as the models list shows it; `created` [Unix s] is when its variants were built, absent if unknown."""
    built = _unix_s(model.manifest.document.get("created_at"))
    found: dict[str, object] = {"id": model.name, "object": "model", "owned_by": OWNER}
    return found if built is None else found | {"created": built}


def refused(param: str, why: str) -> InvalidRequest:
    """An error that names the member of the request in its message and as OpenAI's `param`."""
    return InvalidRequest(f"{param}: {why}", details={"param": param})


def _input(given: object) -> tuple[tuple[str, ...], TokenRows | None]:
    if type(given) is str:
        return _texts([given]), None
    if type(given) is not list or not given:
        raise refused("input", f"a string, strings, or token ids are needed, got {_none_of(given)}")
    first = type(whole(given[0]))
    if first is int:
        return (), (_ids(given, "input"),)
    if len(given) > MOST_ITEMS:
        raise refused("input", f"1..{MOST_ITEMS:,} items are allowed, got {len(given):,}")
    if first is str:
        return _texts(given), None
    if first is list:
        return (), tuple(_ids(row, f"input[{index}]") for index, row in enumerate(given))
    raise refused("input", f"strings or token ids are needed, input[0] is {kind(given[0])}")


def _texts(given: list[Any]) -> tuple[str, ...]:
    for index, text in enumerate(given):
        if type(text) is not str:
            raise refused("input", f"either all items are strings or none, input[{index}] is {kind(text)}")
        if not text:
            raise refused("input", f"input[{index}] is empty; leave it out or send a text")
        if len(text) > LONGEST_ELEMENT_BYTES:
            raise refused(
                "input", f"input[{index}] has {len(text):,} characters, {LONGEST_ELEMENT_BYTES:,} are allowed"
            )
    return tuple(given)


def _ids(row: object, place: str) -> tuple[int, ...]:
    if type(row) is not list or not row:
        raise refused("input", f"{place}: a list of at least one token id is needed, got {_none_of(row)}")
    if float in set(map(type, row)):
        row = list(map(whole, row))
    if set(map(type, row)) - {int} or min(row) < 0:
        index = next(index for index, each in enumerate(row) if type(each) is not int or each < 0)
        raise refused(
            "input", f"{place}[{index}]: a token id, an integer of at least 0, is needed, got {shown(row[index])}"
        )
    return tuple(row)


def _none_of(given: object) -> str:
    return "an empty list" if given == [] else kind(given)


def _shortened(vectors: npt.NDArray[np.float32], dimensions: int) -> npt.NDArray[np.float32]:
    """The first `dimensions` of each vector, brought back to length 1; a vector of zeros stays one."""
    cut = vectors[:, :dimensions]
    lengths = np.linalg.norm(cut, axis=1, keepdims=True)
    return np.ascontiguousarray(cut / np.where(lengths == 0, 1, lengths), dtype="<f4")


def _unix_s(moment: object) -> int | None:
    try:
        return int(datetime.fromisoformat(str(moment)).timestamp()) if moment is not None else None
    except ValueError:
        return None


def generative_paths() -> Mapping[str, str]:
    """OpenAI's paths that this gateway does not offer, with what they are."""
    return {
        "/v1/chat/completions": "chat completions",
        "/v1/completions": "completions",
        "/v1/responses": "responses",
        "/v1/images/generations": "images",
        "/v1/images/edits": "images",
        "/v1/images/variations": "images",
        "/v1/audio/speech": "audio",
        "/v1/audio/transcriptions": "audio",
        "/v1/audio/translations": "audio",
        "/v1/moderations": "moderations",
    }
