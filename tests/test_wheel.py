"""The wheel is complete: every module and every data file of the source tree is in it, and imports from it alone."""

import json
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "greenserve"
LINKED = ("carbon", "routing", "optimize", "serve", "loadtest", "configs")
DATA = ("*.proto", "*.html", "*.yaml", "*.csv", "*.pyi", "py.typed")
IN_LOCUSTS_PROCESS = (
    "greenserve.loadtest.locustfile",
    "greenserve.loadtest.plugin",
)  # Locust patches the standard library
IMPORT_ALL = """
import importlib, json, sys
sys.path.insert(0, sys.argv[1])
failed = {}
for name in json.loads(sys.argv[2]):
    try:
        module = importlib.import_module(name)
        assert module.__file__.startswith(sys.argv[1]), module.__file__
    except BaseException as error:
        failed[name] = repr(error)
print(json.dumps(failed))
"""


def source_files(*patterns: str) -> set[str]:
    """Files of the package by their place in it, links followed as the wheel does."""
    folders = {"": PACKAGE} | {f"{name}/": ROOT / name for name in LINKED}
    found = set()
    for prefix, folder in folders.items():
        for pattern in patterns:
            for path in folder.rglob(pattern):
                inside = path.relative_to(folder)
                if "__pycache__" not in inside.parts and (prefix or inside.parts[0] not in LINKED):
                    found.add(f"greenserve/{prefix}{inside.as_posix()}")
    return found


def module_of(file: str) -> str:
    """The import name of a source file."""
    return file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy so that nothing is left in the tree."""
    copy, target = tmp_path_factory.mktemp("tree"), tmp_path_factory.mktemp("wheel")
    skip = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for folder in ("src", *LINKED):
        shutil.copytree(ROOT / folder, copy / folder, symlinks=True, ignore=skip)
    for file in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / file, copy / file)
    done = subprocess.run(
        [sys.executable, "-m", "pip", "wheel", ".", "--no-deps", "--no-build-isolation", "--quiet", "-w", str(target)],
        cwd=copy,
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert 0 == done.returncode, done.stderr
    (built,) = target.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def names(wheel: Path) -> set[str]:
    """The files in the wheel."""
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_every_module_of_the_tree_is_in_the_wheel(names: set[str]) -> None:
    """The linked folders as real packages."""
    modules = source_files("*.py")

    assert len(modules) > 100
    assert set() == modules - names
    assert set() == {name for name in names if name.endswith(".py")} - modules


def test_every_data_file_of_the_tree_is_in_the_wheel(names: set[str]) -> None:
    """Wire protocol, statement template, shipped configuration with its series, and the mark of a typed package."""
    data = source_files(*DATA)

    assert {
        "greenserve/proto/inference.proto",
        "greenserve/carbon/formats/statement.html",
        "greenserve/configs/demo.yaml",
        "greenserve/configs/demo-intensity.csv",
        "greenserve/py.typed",
    } <= data
    assert set() == data - names


def test_the_wheel_says_who_may_use_it_and_how_to_run_it(wheel: Path, names: set[str]) -> None:
    """Licence, command, and no file outside of the package."""
    (metadata,) = (name for name in names if name.endswith(".dist-info/METADATA"))
    (commands,) = (name for name in names if name.endswith(".dist-info/entry_points.txt"))
    with zipfile.ZipFile(wheel) as archive:
        assert "License-Expression: MIT" in archive.read(metadata).decode()
        assert "greenserve = greenserve.cli.main:main" in archive.read(commands).decode()
    assert {"greenserve", metadata.partition("/")[0]} == {name.partition("/")[0] for name in names}


@pytest.mark.slow
def test_every_module_imports_from_the_wheel_alone(wheel: Path, tmp_path: Path) -> None:
    """Installed into an empty folder and imported in a process that sees neither the tree nor its working directory."""
    done = subprocess.run(
        [sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--quiet", "--target", "site", str(wheel)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert 0 == done.returncode, done.stderr
    modules = sorted(set(map(module_of, source_files("*.py"))))
    ours = [name for name in modules if name not in IN_LOCUSTS_PROCESS]

    failed = [imported(group, tmp_path / "site") for group in (ours, IN_LOCUSTS_PROCESS)]

    assert [{}, {}] == failed


def imported(modules: Sequence[str], site: Path) -> object:
    """What went wrong with each module that a fresh process imported from `site`."""
    done = subprocess.run(
        [sys.executable, "-I", "-c", IMPORT_ALL, str(site), json.dumps(modules)],
        cwd=site,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert 0 == done.returncode, done.stderr
    return json.loads(done.stdout)
