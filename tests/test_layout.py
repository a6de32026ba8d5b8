"""The gates on how the code is laid out: sizes, imports, environment, links, guards, error table."""

import ast
import inspect
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from greenserve import errors
from greenserve.serve.status import STATUS, status_of

ROOT = Path(__file__).parents[1]
LINKED = ("carbon", "routing", "optimize", "serve", "loadtest", "configs")
CODE = (*LINKED, "src/greenserve", "tests", "benchmarks")
FILE_LINES, CLASS_LINES, FUNCTION_LINES, PARAMETERS = 400, 250, 60, 8
ENVIRONMENT_READERS = {"src/greenserve/config.py", "serve/cluster.py"}


def source_files(*folders: str) -> Iterator[Path]:
    """Every Python file of ours in the folders, links and generated code left out."""
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            inside = path.relative_to(ROOT)
            if not path.name.endswith("_pb2.py") and not any((ROOT / part).is_symlink() for part in inside.parents):
                yield path


def named(path: Path) -> str:
    """The file's name as findings show it."""
    return path.relative_to(ROOT).as_posix()


FILES = {named(path): ast.parse(path.read_text()) for path in source_files(*CODE)}


def functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """All functions and methods of a file."""
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def lines_of(node: ast.stmt) -> int:
    """How many lines a definition takes."""
    return (node.end_lineno or node.lineno) - node.lineno + 1


def test_the_gates_see_the_whole_project() -> None:
    """A gate over nothing would pass: every linked folder and the kernel are among the files."""
    for folder in (*LINKED, "src/greenserve", "tests"):
        assert any(name.startswith(f"{folder}/") for name in FILES), folder


def test_no_file_is_longer_than_400_lines() -> None:
    """A file that outgrows its concept is split."""
    assert {} == {name: count for name in FILES if (count := (ROOT / name).read_text().count("\n")) > FILE_LINES}


def test_no_class_or_function_is_too_long_to_see_whole() -> None:
    """Classes up to 250 lines, functions up to 60."""
    long = [
        f"{name}:{node.lineno} {node.name} has {lines_of(node)} lines"
        for name, tree in FILES.items()
        for node in ast.walk(tree)
        if (isinstance(node, ast.ClassDef) and lines_of(node) > CLASS_LINES)
        or (isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and lines_of(node) > FUNCTION_LINES)
    ]

    assert [] == long


def test_no_function_takes_more_than_eight_parameters() -> None:
    """Beyond eight a record is missing; a command's parameters are its flags and do not count."""
    crowded = []
    for name, tree in FILES.items():
        for node in functions(tree):
            given = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            count = len([argument for argument in given if argument.arg not in {"self", "cls"}])
            is_command = any("command" in ast.dump(decorator) for decorator in node.decorator_list)
            if count > PARAMETERS and not is_command:
                crowded.append(f"{name}:{node.lineno} {node.name} has {count}")

    assert [] == crowded


def test_first_party_imports_stand_at_the_top() -> None:
    """An import of ours inside a function hides a cycle."""
    hidden = [
        f"{name}:{inner.lineno}"
        for name, tree in FILES.items()
        for node in functions(tree)
        for inner in ast.walk(node)
        if (isinstance(inner, ast.ImportFrom) and (inner.module or "").startswith("greenserve"))
        or (isinstance(inner, ast.Import) and any(alias.name.startswith("greenserve") for alias in inner.names))
    ]

    assert [] == hidden


def test_only_the_configuration_reads_the_environment() -> None:
    """Hidden configuration is none: config.py reads it, cluster.py sets Ray's."""
    readers = {
        name
        for name, tree in FILES.items()
        if not name.startswith("tests/")
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr in {"environ", "getenv", "putenv"}
    }

    assert readers <= ENVIRONMENT_READERS


def test_tests_pass_doubles_instead_of_patching() -> None:
    """A patch marks a missing seam."""
    patches = [
        f"{name}:{node.lineno}"
        for name, tree in FILES.items()
        for node in ast.walk(tree)
        if (isinstance(node, ast.Attribute) and node.attr in {"patch", "setattr"} and _is_patching(node))
        or (isinstance(node, ast.ImportFrom) and (node.module or "").startswith("unittest.mock"))
    ]

    assert [] == patches


def _is_patching(node: ast.Attribute) -> bool:
    return isinstance(node.value, ast.Name) and node.value.id in {"mock", "monkeypatch"}


@pytest.mark.parametrize("folder", LINKED)
def test_the_kernel_links_to_each_top_level_folder(folder: str) -> None:
    """One tree for editable installs, wheels, types and contracts."""
    link = ROOT / "src" / "greenserve" / folder

    assert link.is_symlink()
    assert (ROOT / folder).resolve() == link.resolve()


@pytest.mark.parametrize("folder", LINKED)
def test_a_plain_import_of_a_folder_is_refused(folder: str) -> None:
    """`import serve` would shadow or be shadowed by a user's own file."""
    done = subprocess.run([sys.executable, "-c", f"import {folder}"], cwd=ROOT, capture_output=True, text=True)

    assert 1 == done.returncode
    assert f"greenserve.{folder}" in done.stderr


ERRORS = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if kind.__module__ == errors.__name__]


@pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: kind.__name__)
def test_every_error_class_has_a_status_row(kind: type[errors.GreenServeError]) -> None:
    """HTTP and gRPC status come from one table."""
    assert kind.code in STATUS
    assert STATUS[kind.code] is status_of(kind("x"))


def test_modules_start_with_what_they_are() -> None:
    """Every file of ours says in its first lines what it holds."""
    assert [] == [name for name, tree in FILES.items() if not ast.get_docstring(tree)]
