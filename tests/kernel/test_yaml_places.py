"""YAML with places: values as YAML 1.2 means them, and the line of each key for the message about it."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from greenserve.errors import ConfigInvalid
from greenserve.yaml_places import read_yaml


def test_each_key_and_item_has_its_line() -> None:
    """Nested keys and list items, in block and in flow style."""
    text = "version: 1\nserver:\n  http: {host: a,\n    port: 1}\nmodels:\n  - name: m\n  - name: n\n"

    document, lines = read_yaml(text, name="a.yaml")

    assert {"version": 1, "server": {"http": {"host": "a", "port": 1}}, "models": [{"name": "m"}, {"name": "n"}]} == (
        document
    )
    assert {
        ("version",): 1,
        ("server",): 2,
        ("server", "http"): 3,
        ("server", "http", "host"): 3,
        ("server", "http", "port"): 4,
        ("models",): 5,
        ("models", 0): 6,
        ("models", 0, "name"): 6,
        ("models", 1): 7,
        ("models", 1, "name"): 7,
    } == lines


def test_only_true_and_false_are_booleans() -> None:
    """The zone of Norway is a word, and so are on, off and yes."""
    document, _ = read_yaml("a: NO\nb: on\nc: yes\nd: true\ne: false\nf: True\n", name="a.yaml")

    assert {"a": "NO", "b": "on", "c": "yes", "d": True, "e": False, "f": "True"} == document


def test_nothing_is_an_empty_document() -> None:
    """What is missing is told by the sections themselves."""
    assert ({}, {}) == read_yaml("# nothing yet\n", name="a.yaml")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: 1\nb: 2\na: 3\n", "a.yaml:3  a: given twice; keep one"),
        ("s:\n  k: 1\n  k: 2\n", "a.yaml:3  s.k: given twice; keep one"),
        ("- 1\n", "a.yaml:1  a mapping of sections is needed, got list"),
        ("just words\n", "a.yaml:1  a mapping of sections is needed, got str"),
        ("a: 1\nb: [1\n", "a.yaml:3  not valid YAML"),
        ("a: 1\n\tb: 2\n", "a.yaml:2  not valid YAML"),
        ("a: !!python/object/apply:os.getcwd []\n", "a.yaml:1  not valid YAML"),
        ("a: 1\nb: \x07\n", "a.yaml:2  not valid YAML"),
        ("a: 1\nb: 2025-99-99\n", "a.yaml:1  not valid YAML"),
        ("a: &x\n  b: *x\n", "a.yaml:1  a: holds itself"),
    ],
)
def test_what_is_no_configuration_says_where(text: str, expected: str) -> None:
    """File, line and fault; nothing in a file is run."""
    with pytest.raises(ConfigInvalid) as refused:
        read_yaml(text, name="a.yaml")

    assert str(refused.value).startswith(expected)


def test_every_key_that_is_given_twice_is_named() -> None:
    """One look tells all of them."""
    with pytest.raises(ConfigInvalid, match=r"a\.yaml:2  a: given twice.*\na\.yaml:4  b: given twice"):
        read_yaml("a: 1\na: 2\nb: 1\nb: 2\n", name="a.yaml")


@given(st.text(alphabet="ab:-[]{}&*!'\"#|>%@`,? \n\t0123.eE+_<=\x00\x85\u2028", max_size=30) | st.text(max_size=30))
@example("!!int x")
@example("? [a]\n: b")
@example("a: !!timestamp x")
@example("<<: 3")
@example("a: 0o99\nb: 0b")
def test_any_text_is_a_mapping_or_a_configuration_fault(text: str) -> None:
    """No file, however broken, ends in another exception."""
    try:
        document, _ = read_yaml(text, name="a.yaml")
    except ConfigInvalid as fault:
        assert str(fault).startswith("a.yaml:")
    else:
        assert isinstance(document, dict)
