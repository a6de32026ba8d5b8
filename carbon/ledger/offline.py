"""Folds over a whole ledger in a process of its own: `python -m greenserve.carbon.ledger.offline`.

A gateway answers requests in milliseconds; a fold over a million entries beside them would hold the interpreter. One
job comes as JSON on stdin, its result leaves as JSON on stdout; what went wrong leaves as {"error", "code"}.
"""

import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import orjson

from greenserve.canonical import canonical_json
from greenserve.carbon.ledger.opening import open_ledger
from greenserve.carbon.ledger.stating import stated
from greenserve.carbon.statement import Scope
from greenserve.errors import GreenServeError

NICENESS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What to fold: a ledger's file, or its URL and the files beside it; for a statement what it covers (the members
    of `Scope` but its head). `tree` is the part of a verification that hashes (`tree_process`)."""

    kind: Literal["verify", "tree", "statement"]
    ledger: str
    scope: dict[str, Any] | None = None
    files: str | None = None

    def encoded(self) -> bytes:
        """The job as the program reads it."""
        return orjson.dumps(asdict(self))


def run(job: Job) -> dict[str, Any]:
    """The result of a job: size, chain and findings, or a statement's document."""
    ledger = open_ledger(job.ledger, Path(job.files or job.ledger), must_exist=True)
    try:
        if job.kind == "tree":
            return {"findings": list(ledger.verify_tree())}
        head = ledger.head()
        if job.kind == "verify":
            return {"size": head.size, "chain": head.root, "findings": list(ledger.verify())}
        scope = Scope(**(job.scope or {}), size=head.size, chain=head.root)
        return dict(stated(ledger, scope).document)
    finally:
        ledger.close()


def main() -> None:
    """Read one job, work behind everything else on the machine, write the result."""
    job = Job(**orjson.loads(sys.stdin.buffer.read()))
    if job.kind != "tree":  # which is as urgent as the verification that it is a part of
        os.nice(NICENESS)
    try:
        result = canonical_json(run(job))
    except GreenServeError as error:
        result = orjson.dumps({"error": str(error), "code": error.code})
    sys.stdout.buffer.write(result)


if __name__ == "__main__":
    main()
