"""The scenarios: what is asked, and what must come back whichever protocol carries it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.end_to_end.protocols import Ask

LONGEST = " ".join(["word9"] * 64)
CHEAPEST = "static-8-int8"
LABELS = ("label",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """A question that is answered, with what the answer says; None = the scenario does not ask."""

    name: str
    ask: Ask
    labels: tuple[str, ...] | None = ("positive",)
    outputs: tuple[str, ...] = ("label", "probabilities")
    variant: str = CHEAPEST
    region: str = "north"
    reason: str | None = None
    cache: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """A question that is refused: the error's code, both protocols' status, and words that its message holds."""

    name: str
    ask: Ask
    code: str
    words: tuple[str, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)


STATUS = {
    "invalid-request": (400, "INVALID_ARGUMENT"),
    "invalid-key": (401, "UNAUTHENTICATED"),
    "model-unknown": (404, "NOT_FOUND"),
    "no-feasible-route": (503, "UNAVAILABLE"),
    "deadline-exceeded": (504, "DEADLINE_EXCEEDED"),
}


def _hint(**hints: str) -> dict[str, str]:
    return {f"greenserve-{name.replace('_', '-')}": value for name, value in hints.items()}


ANSWERED = (
    Answered(name="one text", ask=Ask()),
    Answered(
        name="a batch keeps its order",
        ask=Ask(texts=("good", "bad", "nothing", "awful but great", "great great bad")),
        labels=("positive", "negative", "neutral", "negative", "positive"),
    ),
    Answered(name="text in capitals and signs", ask=Ask(texts=("GOOD! \U0001f33f ünïcode",))),
    Answered(name="the longest text", ask=Ask(texts=(LONGEST,)), labels=("neutral",)),
    Answered(name="as many texts as allowed", ask=Ask(texts=("bad",) * 32), labels=("negative",) * 32),
    Answered(name="labels only", ask=Ask(outputs=("label",)), outputs=("label",)),
    Answered(name="probabilities only", ask=Ask(outputs=("probabilities",)), outputs=("probabilities",), labels=None),
    Answered(
        name="outputs in the order asked",
        ask=Ask(outputs=("probabilities", "label")),
        outputs=("probabilities", "label"),
    ),
    Answered(name="the caller's id", ask=Ask(client_id="my-17")),
    Answered(name="the version that is served", ask=Ask(version="1")),
    Answered(
        name="a pinned variant",
        ask=Ask(variant="fp32", hints=_hint(cache="no-store")),
        variant="fp32",
        reason="pinned",
        cache="off",
    ),
    # Texts of their own: the answers are good enough for whoever asks the same for less.
    Answered(
        name="at least some quality",
        ask=Ask(texts=("good word41",), hints=_hint(min_quality="0.8")),
        variant="int8-dyn",
    ),
    Answered(
        name="at least the best quality",
        ask=Ask(texts=("good word42",), hints=_hint(min_quality="0.9")),
        variant="fp32",
    ),
    Answered(name="a tenant's own floor", ask=Ask(caller="strict"), variant="int8-dyn"),
    Answered(
        name="a hint cannot lower a tenant's floor",
        ask=Ask(caller="strict", hints=_hint(min_quality="0.1")),
        variant="int8-dyn",
    ),
    Answered(name="a region", ask=Ask(hints=_hint(regions="here")), region="here"),
    Answered(name="several regions", ask=Ask(hints=_hint(regions="here, north"))),
    Answered(name="least carbon", ask=Ask(hints=_hint(policy="min-carbon"))),
    Answered(name="least latency", ask=Ask(hints=_hint(policy="min-latency"))),
    Answered(name="nothing from the cache", ask=Ask(hints=_hint(cache="no-store")), cache="off"),
    Answered(name="a generous deadline", ask=Ask(hints=_hint(deadline_ms="5000"))),
    Answered(name="a generous timeout", ask=Ask(timeout_us=5_000_000)),
)

REFUSED = (
    Refused(name="an unknown model", ask=Ask(model="nobody"), code="model-unknown", words=("nobody", "tiny")),
    Refused(name="a wrong version", ask=Ask(version="7"), code="model-unknown", words=("'7'", "version 1")),
    Refused(name="no key", ask=Ask(caller=None), code="invalid-key", words=("greenserve key create",)),
    Refused(name="a malformed key", ask=Ask(caller="malformed"), code="invalid-key", words=("characters",)),
    Refused(name="a mistyped key", ask=Ask(caller="mistyped"), code="invalid-key", words=("checksum",)),
    Refused(name="a key of another gateway", ask=Ask(caller="foreign"), code="invalid-key", words=("no such key",)),
    Refused(name="another vendor's key", ask=Ask(caller="not-ours"), code="invalid-key", words=("gs_",)),
    Refused(name="an empty text", ask=Ask(texts=("good", "")), code="invalid-request", words=("text[1]",)),
    Refused(name="a text of spaces", ask=Ask(texts=("good", "  \t ")), code="invalid-request", words=("text[1]",)),
    Refused(
        name="a text of too many tokens",
        ask=Ask(texts=(LONGEST + " more",)),
        code="invalid-request",
        words=("text[0]", "65", "64"),
    ),
    Refused(name="too many texts", ask=Ask(texts=("good",) * 33), code="invalid-request", words=("text", "32", "33")),
    Refused(name="no text", ask=Ask(texts=()), code="invalid-request", words=("shape", "0")),
    Refused(
        name="an unknown output",
        ask=Ask(outputs=("label", "scores")),
        code="invalid-request",
        words=("outputs", "scores", "probabilities"),
    ),
    Refused(
        name="an output twice", ask=Ask(outputs=("label", "label")), code="invalid-request", words=("outputs", "once")
    ),
    Refused(
        name="an unknown variant",
        ask=Ask(variant="int4"),
        code="invalid-request",
        words=("greenserve_variant", "int4", "fp32"),
    ),
    Refused(
        name="an unknown policy",
        ask=Ask(hints=_hint(policy="greenest")),
        code="invalid-request",
        words=("policy", "greenest", "min-carbon"),
    ),
    Refused(
        name="an unknown region",
        ask=Ask(hints=_hint(regions="mars")),
        code="invalid-request",
        words=("regions", "mars", "north"),
    ),
    Refused(
        name="a quality that is none",
        ask=Ask(hints=_hint(min_quality="high")),
        code="invalid-request",
        words=("min-quality", "high"),
    ),
    Refused(
        name="a quality over one",
        ask=Ask(hints=_hint(min_quality="1.5")),
        code="invalid-request",
        words=("min-quality", "1.5"),
    ),
    Refused(
        name="a quality that is not a number",
        ask=Ask(hints=_hint(min_quality="nan")),
        code="invalid-request",
        words=("min-quality", "nan"),
    ),
    Refused(
        name="an unknown cache hint",
        ask=Ask(hints=_hint(cache="yes")),
        code="invalid-request",
        words=("cache", "no-store"),
    ),
    Refused(
        name="a deadline of zero",
        ask=Ask(hints=_hint(deadline_ms="0")),
        code="invalid-request",
        words=("deadline-ms", "'0'"),
    ),
    Refused(name="a timeout of zero", ask=Ask(timeout_us=0), code="invalid-request", words=("timeout", "0")),
    Refused(name="a negative timeout", ask=Ask(timeout_us=-5), code="invalid-request", words=("timeout", "-5")),
    Refused(
        name="more quality than there is",
        ask=Ask(hints=_hint(min_quality="0.99")),
        code="no-feasible-route",
        words=("0.99",),
    ),
    Refused(
        name="a pinned variant under the tenant's floor",
        ask=Ask(caller="strict", variant=CHEAPEST),
        code="no-feasible-route",
        words=(CHEAPEST,),
    ),
    Refused(
        name="a deadline that nobody meets",
        ask=Ask(timeout_us=1, hints=_hint(cache="no-store")),
        code="deadline-exceeded",
        words=("deadline", "nothing was run"),
    ),
)
