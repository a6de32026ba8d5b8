"""Documents name code: every `path::name` and every relative link in them must exist."""

import ast
import re
from functools import lru_cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCUMENTS = (*sorted((ROOT / "docs").rglob("*.md")), ROOT / "README.md", ROOT / "CHANGELOG.md")
REFERENCE = re.compile(r"`([A-Za-z0-9_./-]+\.py)::([A-Za-z_][A-Za-z0-9_.]*)`")
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
LEAST_REFERENCES = 40


@lru_cache(maxsize=256)
def names_of(file: Path) -> frozenset[str]:
    """What a file defines at its top, and the members of its classes as `Class.member`."""
    names: set[str] = set()
    for node in ast.parse(file.read_text()).body:
        names |= defined_by(node)
        if isinstance(node, ast.ClassDef):
            names |= {f"{node.name}.{member}" for inner in node.body for member in defined_by(inner)}
    return frozenset(names)


def defined_by(node: ast.stmt) -> set[str]:
    """The names that one statement binds."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {node.name}
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return {target.id for target in targets if isinstance(target, ast.Name)}


def missing_from(text: str) -> list[str]:
    """The references of a text to names that do not exist."""
    found = []
    for path, name in REFERENCE.findall(text):
        file = ROOT / path
        if not file.is_file() or name not in names_of(file):
            found.append(f"{path}::{name}")
    return found


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_name_in_the_documents_exists(document: Path) -> None:
    """A function that is renamed takes its mention along."""
    assert [] == missing_from(document.read_text())


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_relative_link_leads_somewhere(document: Path) -> None:
    """A file that is moved takes the links to it along."""
    links = [link for link in LINK.findall(document.read_text()) if "://" not in link]

    assert [] == [link for link in links if not (document.parent / link).exists()]


def test_the_method_names_its_code() -> None:
    """An empty document would pass the tests above."""
    assert LEAST_REFERENCES <= len(REFERENCE.findall((ROOT / "docs" / "method.md").read_text()))


def test_a_name_that_does_not_exist_is_found() -> None:
    """A function, a constant, a member and a file: the good ones pass, each bad one is named."""
    good = "`carbon/apportion.py::apportion` `carbon/entries.py::METHOD` `carbon/counters.py::Counters.add`"

    assert [] == missing_from(good)
    assert ["carbon/apportion.py::aportion"] == missing_from("`carbon/apportion.py::aportion`")
    assert ["carbon/tally.py::Tally.sub"] == missing_from("`carbon/tally.py::Tally.sub`")
    assert ["carbon/nowhere.py::METHOD"] == missing_from("`carbon/nowhere.py::METHOD`")


def test_the_document_is_about_the_method_that_entries_carry() -> None:
    """Its title names the id that is stamped on every line."""
    method = ast.literal_eval(
        next(
            node.value
            for node in ast.parse((ROOT / "carbon" / "entries.py").read_text()).body
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == "METHOD"
        )
    )

    assert f"# Method {method}:" in (ROOT / "docs" / "method.md").read_text()
