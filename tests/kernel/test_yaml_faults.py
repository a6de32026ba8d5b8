"""Files that are no configuration: each ends in a fault with its place, whatever is wrong with them."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from greenserve.errors import ConfigInvalid
from greenserve.yaml_places import read_yaml


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: 1\nb: [1\n", "a.yaml:3  not valid YAML"),
        ("a: 1\n\tb: 2\n", "a.yaml:2  not valid YAML"),
        ("a: !!python/object/apply:os.getcwd []\n", "a.yaml:1  not valid YAML"),
        ("a: 1\nb: \x07\n", "a.yaml:2  not valid YAML"),
        ("a: 1\nb: 2025-99-99\n", "a.yaml:2  not valid YAML: '2025-99-99' is no valid timestamp; quote it"),
        ("a:\n  - !!int many\n", "a.yaml:2  not valid YAML: 'many' is no valid int"),
        ("? [a]\n: 1\n", "a.yaml:1  not valid YAML"),
        ("a: " + "[" * 2_000, "a.yaml:1  nested too deeply"),
        ("a: &x\n  b: *x\n", "a.yaml:1  nested too deeply, or an anchor that holds itself"),
    ],
)
def test_what_is_no_yaml_says_where_and_why(text: str, expected: str) -> None:
    """File, line and fault; nothing in a file is run."""
    with pytest.raises(ConfigInvalid) as refused:
        read_yaml(text, name="a.yaml")

    assert str(refused.value).startswith(expected)


@given(st.text(alphabet="ab:-[]{}&*!'\"#|>%@`,? \n\t0123.eE+_<=\x00\x85\u2028", max_size=30) | st.text(max_size=30))
@example("!!int x")
@example("a: !!timestamp x")
@example("<<: 3")
@example("a: 0o99\nb: 0b")
def test_any_text_is_a_mapping_or_a_configuration_fault(text: str) -> None:
    """No file, however broken, ends in another exception."""
    try:
        said: object = read_yaml(text, name="a.yaml")[0]
    except ConfigInvalid as fault:
        said = str(fault)

    assert isinstance(said, dict) or str(said).startswith("a.yaml:")
