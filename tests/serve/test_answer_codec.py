"""Answers survive the way through a store of strangers, and nothing else does."""

import numpy as np
import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from greenserve.ports import CachedAnswer
from greenserve.serve.answer_codec import SEAL_BYTES, Unsealed, decode, encode, seal_key
from tests.serve.building import a_decision

KEY, SEAL = b"k" * 32, seal_key(b"s" * 32)
UNTIL_US = 1_767_225_600_000_000
DTYPES = ("<f4", "<f8", "<f2", "<i8", "<i4", "|u1", "|i1", "<u2", "|b1")


def an_answer(**outputs: np.ndarray) -> CachedAnswer:
    """An answer, by default of one output."""
    return CachedAnswer(
        outputs=outputs or {"y": np.arange(3, dtype=np.float32).reshape(1, 3)},
        decision=a_decision(energy_j=0.125, flags=("no-plan", "prior")),
        variant_digest="d" * 64,
    )


def encoded(answer: CachedAnswer, key: bytes = KEY, seal: bytes = SEAL) -> bytes:
    """What travels."""
    data = encode(key, answer, seal, until_us=UNTIL_US)
    assert data is not None
    return data


any_arrays = st.sampled_from(DTYPES).flatmap(
    lambda kind: arrays.arrays(np.dtype(kind), arrays.array_shapes(min_dims=1, max_dims=3, max_side=4))
)


@given(st.dictionaries(st.text(max_size=8), any_arrays, min_size=1, max_size=3))
def test_what_is_encoded_is_decoded(outputs: dict[str, np.ndarray]) -> None:
    """Every output with its name, type, shape and bytes, not-a-numbers too; and what a hit needs of the decision."""
    answer = an_answer()
    answer = CachedAnswer(outputs=outputs, decision=answer.decision, variant_digest=answer.variant_digest)

    found, until_us = decode(KEY, encoded(answer), SEAL)

    assert (UNTIL_US, list(outputs)) == (until_us, list(found.outputs))
    for name, array in outputs.items():
        other = found.outputs[name]
        assert (array.dtype, array.shape, array.tobytes()) == (other.dtype, other.shape, other.tobytes())
    made = found.decision
    assert ("north", "ZZ-NORTH", "fp32", 0.125) == (made.region, made.zone, made.variant, made.energy_j)
    assert (1100, True, ("no-plan", "prior")) == (made.pue_milli, made.emulated, made.flags)
    assert "d" * 64 == found.variant_digest


@given(st.data())
def test_a_changed_byte_is_noticed(data: st.DataObject) -> None:
    """Wherever it is."""
    whole = bytearray(encoded(an_answer()))
    place = data.draw(st.integers(0, len(whole) - 1))
    whole[place] ^= data.draw(st.integers(1, 255))

    with pytest.raises(Unsealed, match="without a seal"):
        decode(KEY, bytes(whole), SEAL)


@given(st.binary(max_size=200))
def test_foreign_bytes_are_refused(data: bytes) -> None:
    """Whatever somebody else keeps in the same Redis."""
    with pytest.raises(Unsealed):
        decode(KEY, data, SEAL)


def test_an_answer_moved_to_another_key_is_refused() -> None:
    """It answers another question."""
    with pytest.raises(Unsealed, match="for their key"):
        decode(b"x" * 32, encoded(an_answer()), SEAL)


def test_an_answer_of_another_deployment_is_refused() -> None:
    """Its seal was made with another secret."""
    with pytest.raises(Unsealed):
        decode(KEY, encoded(an_answer(), seal=seal_key(b"other")), SEAL)


def sealed(body: bytes) -> bytes:
    """A body that holds the right seal: only a faulty gateway of the same deployment makes these."""
    return blake3(KEY, key=SEAL).update(body).digest() + body


@pytest.mark.parametrize(
    "change",
    [
        (b'"version":2', b'"version":1'),
        (b'"until_us":1767225600000000', b'"until_us":"not-a-moment--"'),
        (b'"<f4"', b'"|O8"'),
        (b'"<f4"', b'"<f8"'),
        (b'"<f4"', b'"zzz"'),
        (b"[1,3]", b"[1,2]"),
        (b"[1,3]", b"[9,9]"),
        (b"[1,3]", b"[9223372036854775807,9]"),
        (b"[1,3]", b"[-1,3]"),
        (b"[1,3]", b"[-1]["),
        (b'"variant"', b'"varianT"'),
    ],
)
def test_a_sealed_answer_that_makes_no_sense_is_refused(change: tuple[bytes, bytes]) -> None:
    """Another version, objects, shapes that do not fit the data: never an exception of another kind."""
    body = encoded(an_answer())[SEAL_BYTES:]
    assert change[0] in body

    with pytest.raises(Unsealed, match=r"version|not readable"):
        decode(KEY, sealed(body.replace(*change)), SEAL)


@pytest.mark.parametrize("length", [0, 3, 4, 20, 100])
def test_a_sealed_answer_that_ends_early_is_refused(length: int) -> None:
    """In its head or before."""
    with pytest.raises(Unsealed):
        decode(KEY, sealed(encoded(an_answer())[SEAL_BYTES : SEAL_BYTES + length]), SEAL)


def test_answers_of_texts_do_not_travel() -> None:
    """They are Python objects, and reading such from elsewhere would run code."""
    assert None is encode(KEY, an_answer(y=np.array([["a"]], dtype=object)), SEAL, until_us=UNTIL_US)
