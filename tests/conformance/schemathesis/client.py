"""Schemathesis, unmodified: requests generated from the gateway's own /openapi.json, good and bad, all checks."""

import json
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.conformance.calls import Target, read_target, tell

SEED = 20261122
EXAMPLES = 12
SOAK_EXAMPLES = 500
CLIENT = "st run"
SETTINGS = Path(__file__).with_name("schemathesis.toml")
METHODS = frozenset({"get", "head", "post", "put", "patch", "delete", "options"})


def run(target: Target, folder: Path, *, examples: int) -> tuple[dict[str, Any], str]:
    """(report, what was printed) of a run with so many examples for each operation."""
    report = folder / "report.json"
    words = [
        *("--config-file", str(SETTINGS), "run", f"{target.url}/openapi.json"),
        *("--header", f"Authorization: {target.bearer()['authorization']}"),
        *("--seed", str(SEED), "--max-examples", str(examples), "--continue-on-failure", "--no-color"),
        *("--generation-deterministic", "--request-timeout", "15"),
        *("--report", "json", "--report-json-path", str(report)),
    ]
    done = subprocess.run([Path(sys.executable).with_name("st"), *words], cwd=folder, capture_output=True, text=True)
    if not report.exists():
        raise RuntimeError(f"no report was written: {done.stdout[-2000:]} {done.stderr[-2000:]}")
    document: dict[str, Any] = json.loads(report.read_text())
    return document, done.stdout


def operations_of(target: Target) -> Iterator[str]:
    """Every operation that the document declares, as the report names them."""
    with urllib.request.urlopen(f"{target.url}/openapi.json", timeout=10) as answer:
        document = json.load(answer)
    for path, methods in document["paths"].items():
        yield from (f"{method.upper()} {path}" for method in methods if method in METHODS)


def main() -> None:
    """One line for each operation, and one for each failure elsewhere."""
    target = read_target()
    soak = "--soak" in sys.argv
    with tempfile.TemporaryDirectory() as folder:
        report, printed = run(target, Path(folder), examples=SOAK_EXAMPLES if soak else EXAMPLES)
    failed: dict[str, list[str]] = {}
    for failure in report["failures"] + report["errors"]:
        for operation in failure.get("operations") or [failure.get("operation") or "elsewhere"]:
            failed.setdefault(operation, []).append(failure.get("title") or json.dumps(failure))
    for operation in operations_of(target):
        reasons = failed.pop(operation, None)
        tell(CLIENT, operation, "; ".join(reasons) if reasons else None)
    for operation, reasons in failed.items():
        tell(CLIENT, operation, "; ".join(reasons))
    if not report["complete"] or report["exit_code"]:
        tell(CLIENT, "the whole run", f"{report['stop_reason']}, exit code {report['exit_code']}")
        print(printed, file=sys.stderr)
    print(f"{report['test_cases']['generated']} requests in {report['running_time']:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
