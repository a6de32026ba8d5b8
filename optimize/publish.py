"""A folder of variants appears whole or not at all."""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson

from greenserve.errors import InvalidRequest, ManifestInvalid
from greenserve.manifest import SCHEMA, load_manifest, verify_files

MANIFEST = "manifest.json"


def previous_version(out: Path) -> int:
    """The version of the manifest that `out` holds, 0 where there is none.

    Raises InvalidRequest where `out` holds something else: it would be replaced.
    """
    if (out.is_dir() and not any(out.iterdir())) or not os.path.lexists(out):
        return 0
    try:
        document = json.loads((out / MANIFEST).read_bytes())
        if document["schema"] == SCHEMA:
            return int(document["version"])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    raise InvalidRequest(f"-o is {out}, which holds something else than variants; give a new or an empty folder")


@contextmanager
def staging(out: Path) -> Iterator[Path]:
    """A new folder beside `out` on the same file system; removed at the end unless `publish` moved it."""
    out.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{out.name}.new-", dir=out.parent))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def write_json(file: Path, document: Mapping[str, Any]) -> None:
    """Write an indented JSON file."""
    file.write_bytes(orjson.dumps(document, option=orjson.OPT_INDENT_2) + b"\n")


def publish(folder: Path, out: Path, document: Mapping[str, Any]) -> None:
    """Write the manifest into `folder`, check that it reads and verifies, and rename it to `out`.

    What lay at `out` is renamed away first and removed last, so `out` is always one whole folder.
    """
    write_json(folder / MANIFEST, document)
    findings = verify_files(load_manifest(folder / MANIFEST))
    if findings:
        raise ManifestInvalid("the variants changed while they were written: " + "; ".join(findings))
    for path in (*folder.rglob("*"), folder):
        _flush(path)
    old = Path(tempfile.mkdtemp(prefix=f".{out.name}.old-", dir=out.parent))
    try:
        if out.exists():
            out.rename(old)
        try:
            folder.rename(out)
        except OSError:
            if not out.exists():
                old.rename(out)
            raise
        _flush(out.parent)
    finally:
        shutil.rmtree(old, ignore_errors=True)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
