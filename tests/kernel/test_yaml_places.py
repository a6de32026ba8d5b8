"""YAML with the line of each key."""

import pytest

from greenserve.errors import ConfigInvalid
from greenserve.yaml_places import read_yaml

TEXT = """\
# a comment
a: 1
b:
  c: [x, y]
  d:
    - {e: 1}
"""


def test_every_key_has_its_line() -> None:
    """Nested ones and items of lists too."""
    document, lines = read_yaml(TEXT, name="f")

    assert {"a": 1, "b": {"c": ["x", "y"], "d": [{"e": 1}]}} == document
    assert (2, 3, 4, 5, 6) == (
        lines["a",], lines["b",], lines["b", "c"], lines["b", "d"], lines["b", "d", 0, "e"],
    )  # fmt: skip


@pytest.mark.parametrize("word", ["NO", "no", "yes", "on", "off", "Y", "True"])
def test_norway_is_a_zone(word: str) -> None:
    """Only `true` and `false` are booleans."""
    assert word == read_yaml(f"zone: {word}", name="f")[0]["zone"]
    assert (True, False) == tuple(read_yaml("{a: true, b: false}", name="f")[0].values())


def test_every_duplicate_is_named_with_its_line() -> None:
    """A second value would silently win."""
    with pytest.raises(ConfigInvalid) as refused:
        read_yaml("a: 1\nb: {c: 1, c: 2}\na: 2\n", name="f.yaml")

    assert ["f.yaml:2  b.c: given twice; keep one", "f.yaml:3  a: given twice; keep one"] == str(
        refused.value
    ).splitlines()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: [1", "f:1  not valid YAML"),
        ("a: 1\n b: 2", "f:2  not valid YAML"),
        ("a: &x 1\nb: *y", "f:2"),
        ("\t", "f:1"),
    ],
)
def test_what_is_not_yaml_is_named_with_its_line(text: str, words: str) -> None:
    """The parser's own words."""
    with pytest.raises(ConfigInvalid, match=words):
        read_yaml(text, name="f")


@pytest.mark.parametrize("text", ["- a", "word", "5"])
def test_a_document_is_a_mapping(text: str) -> None:
    """Of sections."""
    with pytest.raises(ConfigInvalid, match="a mapping of sections is needed"):
        read_yaml(text, name="f")


def test_an_empty_document_has_no_sections() -> None:
    """What is missing the configuration says."""
    assert ({}, {}) == read_yaml("# nothing\n", name="f")


def test_a_document_makes_no_objects() -> None:
    """Tags of the language are refused, not run."""
    with pytest.raises(ConfigInvalid, match="could not determine a constructor"):
        read_yaml("a: !!python/object/apply:os.system [true]", name="f")
