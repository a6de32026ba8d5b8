"""The client x call table as a page of the documentation."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from tests.conformance.running import ROOT, Line, Outcome

PAGE = ROOT / "docs" / "conformance.md"
TITLES = {
    "triton": ("NVIDIA tritonclient", ("tritonclient", "grpcio")),
    "kserve": ("KServe", ("kserve",)),
    "open_inference": ("Generated from the protocol", ("open-inference-openapi", "open-inference-grpc")),
    "openai": ("OpenAI", ("openai",)),
    "grpc_standard": ("gRPC health and reflection", ("grpcio-health-checking", "grpc-requests")),
    "schemathesis": ("Schemathesis", ("schemathesis",)),
}
HEAD = """# Conformance

Unmodified clients, each in an environment of its own, against one running gateway. `make conformance` runs them and
writes this page; `make test` runs them too and fails if a call fails or this page is out of date. The calls are in
`tests/conformance/`, their exact packages in the `requirements.txt` files there.

"yes": the call went as the client's authors document it, and what came back was right. "-": not asked of
this client.
"""


def page(outcomes: Iterable[Outcome]) -> str:
    """The whole page in Markdown."""
    return HEAD + "".join(_section(outcome) for outcome in outcomes)


def pinned(group: str) -> dict[str, str]:
    """The versions that a group's environment is made of."""
    text = (Path(__file__).parent / group / "requirements.txt").read_text()
    return dict(re.findall(r"^([\w.-]+)==(\S+)$", text, re.MULTILINE))


def _section(outcome: Outcome) -> str:
    title, packages = TITLES[outcome.group]
    versions = pinned(outcome.group)
    shown = ", ".join(f"{name} {versions[name]}" for name in packages)
    clients = list(dict.fromkeys(line.client for line in outcome.lines))
    calls = list(dict.fromkeys(line.call for line in outcome.lines))
    rows = [[call, *(_cell(outcome.lines, client, call) for client in clients)] for call in calls]
    return f"\n## {title}\n\n{shown}\n\n" + _table(["call", *clients], rows)


def _cell(lines: Sequence[Line], client: str, call: str) -> str:
    for line in lines:
        if (line.client, line.call) == (client, call):
            return "yes" if line.ok else "NO"
    return "-"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)
