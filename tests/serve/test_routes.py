"""Paths and the templates that they fit."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenserve.serve.http.routes import Routes

ROUTES = Routes(["/v2", "/v2/models/{model}", "/v2/models/stats", "/v2/models/{model}/versions/{version}/infer"])


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/v2", ("/v2", {})),
        ("/v2/", ("/v2", {})),
        ("/v2/models/tiny", ("/v2/models/{model}", {"model": "tiny"})),
        ("/v2/models/stats", ("/v2/models/stats", {})),
        ("/v2/models/a b", ("/v2/models/{model}", {"model": "a b"})),
        (
            "/v2/models/m/versions/3/infer/",
            ("/v2/models/{model}/versions/{version}/infer", {"model": "m", "version": "3"}),
        ),
        ("/v2/models/", None),
        ("/v2//", None),
        ("//v2", None),
        ("/", None),
        ("", None),
        ("/V2", None),
        ("/v2/models/m/versions//infer", None),
        ("/v2/models/m/infer", None),
    ],
)
def test_a_path_fits_one_template(path: str, found: object) -> None:
    """Literal segments before named ones, names not empty, one slash at the end allowed."""
    assert found == ROUTES.find(path)


@given(st.text(max_size=30))
def test_any_path_is_found_or_not(path: str) -> None:
    """And arguments hold no slash."""
    found = ROUTES.find("/v2/models/" + path)

    assert found is None or all(value and "/" not in value for value in found[1].values())
