"""What README and docs tell people to type exists, and the README's commands do what it says."""

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

from greenserve.cli.loadtest import NOT_VALID
from greenserve.cli.main import root
from tests.gateway_process import HOST
from tests.workplace import MADE_PACKAGES, ROOT, DemoBeside, Workplace

README = ROOT / "README.md"
PAGES = (README, ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md")))
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
MADE_BY_COMMANDS = ("variants/", "reports/", "benchmarks/results/", "build/", "dist/", ".venv")


def fences(page: Path, language: str) -> Iterator[str]:
    """The blocks of a page in one language."""
    for found in FENCE.finditer(page.read_text()):
        if found[1] == language:
            yield found[2]


def typed(page: Path) -> Iterator[str]:
    """The command lines of a page: behind `$ `, a backslash joins the next line."""
    for block in fences(page, "console"):
        for line in block.replace("\\\n", " ").splitlines():
            if line.startswith("$ "):
                yield line.removeprefix("$ ")


def words_of(line: str) -> list[str]:
    """The words of a command line without redirections and what follows a pipe."""
    words = shlex.split(line, comments=True)
    ends = [index for index, word in enumerate(words) if word in {">", ">>", "2>", "|", "&", "&&", ";", "<"}]
    return words[: min(ends, default=len(words))]


COMMANDS = sorted({line for page in PAGES for line in typed(page) if line.startswith("greenserve ")})
MENTIONS = sorted(
    {mention for page in PAGES for mention in INLINE.findall(page.read_text()) if mention.startswith("greenserve ")}
)


def command_of(words: list[str]) -> tuple[Any, list[str]]:
    """The command that the first words name, and the rest; fails where there is none of that name."""
    command: Any = typer.main.get_command(root)
    rest = list(words)
    while hasattr(command, "get_command"):
        assert rest, f"{command.name} needs one of its commands"
        context = command.make_context(command.name, [], resilient_parsing=True)
        below = command.get_command(context, rest[0])
        assert below is not None, f"no command {rest[0]!r} in {command.name}"
        command, rest = below, rest[1:]
    return command, rest


def options_of(command: Any) -> set[str]:
    """The options that a command takes."""
    return {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}


def test_there_is_something_to_check() -> None:
    """The extraction finds what the pages show."""
    assert len(COMMANDS) >= 10
    assert len(MENTIONS) >= 10
    assert {"make demo", "make test"} <= set(typed(README))


@pytest.mark.parametrize("line", COMMANDS)
def test_every_command_line_parses(line: str) -> None:
    """Command, options and their values, as the program itself reads them."""
    words = words_of(line)
    command, rest = command_of(words[words.index("greenserve") + 1 :])

    context = command.make_context(command.name, rest)

    assert command is context.command


@pytest.mark.parametrize("mention", MENTIONS)
def test_every_mentioned_command_exists(mention: str) -> None:
    """`greenserve key create|ls TENANT --label x` in running text: each alternative, and each option."""
    words = mention.replace("\\|", "|").split()[1:]
    names = [word for word in words if re.fullmatch(r"[a-z]+(\|[a-z]+)*", word)][:2]
    options = {word.partition("=")[0] for word in words if word.startswith("--")} - {"--help"}
    root_command: Any = typer.main.get_command(root)
    context = root_command.make_context("greenserve", [], resilient_parsing=True)
    known: set[str] = set()
    for name in names[0].split("|"):
        command = root_command.get_command(context, name)
        assert command is not None, f"there is no `greenserve {name}`"
        if hasattr(command, "get_command"):
            inner = command.make_context(name, [], resilient_parsing=True)
            below = names[1].split("|") if len(names) > 1 else command.list_commands(inner)
            missing = set(below) - set(command.list_commands(inner))
            assert set() == missing, f"`greenserve {name}` has {command.list_commands(inner)}"
            known |= set().union(*(options_of(command.get_command(inner, one)) for one in below))
        else:
            known |= options_of(command)

    assert set() == options - known


def test_every_make_target_exists() -> None:
    """`make X` in blocks and in running text."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    text = [line for page in PAGES for line in (*typed(page), *INLINE.findall(page.read_text()))]
    wanted = {found for line in text for found in re.findall(r"(?:^|\s)make ([a-z-]+)\b", line)}

    assert {"demo", "test", "check", "bench"} <= wanted
    assert set() == wanted - targets


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_that_a_page_names_is_there(page: Path) -> None:
    """Links from the page's own folder, paths in code from the root; what commands make is known by its place."""
    text = page.read_text()
    links = {link for link in LINK.findall(text) if "://" not in link and not link.startswith("mailto:")}
    paths = {
        code
        for code in INLINE.findall(text)
        if re.fullmatch(r"[\w.-]+(/[\w.-]+)*/?", code)
        and (code.endswith(("/", ".md", ".py", ".yaml", ".csv", ".toml", ".txt", ".proto")))
        and not code.startswith(MADE_BY_COMMANDS)
    }

    assert [] == sorted(link for link in links if not (page.parent / link).exists())
    assert [] == sorted(path for path in paths if "/" in path.rstrip("/") and not exists(path))


def exists(path: str) -> bool:
    """Whether a path of running text is in the tree: from the root, or below one of the packages."""
    return (ROOT / path).exists() or any(ROOT.glob(f"*/{path}")) or (ROOT / "src/greenserve" / path).exists()


@pytest.fixture
def demo(demo_beside: DemoBeside | None) -> DemoBeside:
    """The demo's runs, which began with the session."""
    if demo_beside is None:
        pytest.skip(f"needs the packages {', '.join(MADE_PACKAGES)}: install the extra `demo`, as `make setup` does")
    return demo_beside


@pytest.mark.slow
def test_the_demo_runs_the_whole_path(demo: DemoBeside) -> None:
    """In an empty place: exit 0, both statements in all formats, a ledger that verifies, and nothing left running."""
    ran = demo.first

    assert 0 == ran.code, ran.said
    assert "verified" in ran.said
    for tenant in ("acme", "globex"):
        assert tenant in ran.said
        for name in ("json", "html", "csv"):
            assert ran.reports[f"{tenant}-all.{name}"] > 500
    assert [] == ran.left
    assert 0 == ran.verified


@pytest.mark.slow
def test_the_demo_runs_twice(demo: DemoBeside) -> None:
    """With the variants of the first time, into the same ledger."""
    again = demo.second

    assert (0, 0) == (demo.first.code, again.code), again.said
    assert [] == again.left


@pytest.mark.slow
def test_the_first_steps_of_the_readme_work(demo: DemoBeside) -> None:
    """Every line in its order, but `make` and `source`; what stays in the foreground runs beside the others."""
    workplace = demo.workplace
    assert (0, 0) == (demo.first.code, demo.second.code)
    ran, serving = [], None
    for line in typed(README):
        if line.startswith(("make", "source")) or (line.startswith("curl") and shutil.which("curl") is None):
            continue
        if line.startswith("greenserve serve"):
            serving = workplace.start(line)
            for block in fences(README, "python"):
                assert_python_works(block, workplace)
            continue
        done = workplace.run(f"{line} --url http://{HOST}:8080" if line.startswith("greenserve loadtest") else line)
        # A machine that is busy with other tests may send late; the command then says that it measured nothing.
        expected = NOT_VALID if "NOT VALID" in done.stdout else 0
        assert expected == done.returncode, f"{line}\n{done.stdout}{done.stderr}"
        if line.startswith("curl -si"):
            assert "HTTP/1.1 200" in done.stdout
            assert "greenserve-energy:" in done.stdout
        ran.append(line)

    assert len(ran) >= 8
    assert serving is not None
    assert 0 == serving.wait(timeout=60), workplace.log
    assert [] == workplace.left()


def assert_python_works(block: str, workplace: Workplace) -> None:
    """The block prints an answer with its energy and its route."""
    done = subprocess.run(
        [sys.executable, "-c", workplace.adapted(block)],
        cwd=workplace.folder,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert 0 == done.returncode, done.stderr
    assert "u=uJ" in done.stdout
    assert ";emulated" in done.stdout
