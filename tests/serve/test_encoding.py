"""Compression of answers by Accept-Encoding."""

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenserve.serve.http.encoding import WORTH_BYTES, chosen, compressed


@pytest.mark.parametrize(
    ("accepted", "encoding"),
    [
        ("gzip", "gzip"),
        ("deflate", "deflate"),
        ("gzip, deflate", "gzip"),
        ("deflate, gzip", "gzip"),
        ("gzip;q=0.5, deflate;q=0.8", "deflate"),
        ("gzip;q=0, deflate;q=0", None),
        ("br", None),
        ("br, zstd, gzip;q=0.1", "gzip"),
        ("identity", None),
        ("identity;q=1, gzip;q=0.5", None),
        ("identity;q=0.5, gzip", "gzip"),
        ("*", "gzip"),
        ("*;q=0", None),
        ("gzip;q=0, *", "deflate"),
        ("x-gzip", "gzip"),
        ("GZIP ; q=1", "gzip"),
        ("gzip;q=nonsense", None),
        ("gzip;level=9", "gzip"),
        ("", None),
    ],
)
def test_the_encoding_that_a_client_likes_best_is_taken(accepted: str, encoding: str | None) -> None:
    """Its weights first, gzip where they are equal; what has no weight is not taken."""
    assert encoding == chosen(accepted)


@given(st.binary(max_size=4_000), st.sampled_from([None, "gzip", "deflate", "br"]))
def test_an_answer_is_the_same_after_unpacking(body: bytes, accepted: str | None) -> None:
    """Short ones stay as they are."""
    packed, encoding = compressed(body, accepted)

    assert (encoding is not None) == (accepted in {"gzip", "deflate"} and len(body) > WORTH_BYTES)
    assert body == (packed if encoding is None else zlib.decompress(packed, 47))


@given(st.text(max_size=40))
def test_any_header_is_read(accepted: str) -> None:
    """Whatever it says, one of three comes out."""
    assert chosen(accepted) in {None, "gzip", "deflate"}
