"""`greenserve variants`: list, show and verify the variants in a folder."""

from pathlib import Path
from typing import Annotated, Any

import typer

from greenserve.cli.output import data, messages, print_json
from greenserve.errors import InvalidRequest
from greenserve.manifest import Manifest, load_manifest
from greenserve.optimize.packages import host_isa
from greenserve.optimize.publish import MANIFEST
from greenserve.optimize.report import summary, table
from greenserve.optimize.verify import Check, verify_folder
from greenserve.serve.engines.onnx import engine_for_file

ANSWERS_DIFFER = 3
DIGESTS_DIFFER = 5

app = typer.Typer(add_completion=False, no_args_is_help=True, help="List, show and verify the variants in a folder.")

Folder = Annotated[Path, typer.Argument(help="Folder that `greenserve optimize` wrote.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document.")]


@app.command("ls")
def list_variants(folder: Folder, as_json: AsJson = False) -> None:
    """The table of all variants: size, joules, quality, p95, verdict."""
    manifest = load_manifest(folder / MANIFEST)
    document = manifest.document
    if as_json:
        kept = ("name", "version", "recommended", "front", "variants")
        print_json("variants", {member: document[member] for member in kept})
        return
    _print([f"{manifest.name} version {manifest.version}, {document['created_at']}, {document['host']['cpu']}"])
    _print([*table(document), *summary(document)])


@app.command()
def show(
    folder: Folder, variant: Annotated[str, typer.Argument(help="Name of the variant.")], as_json: AsJson = False
) -> None:
    """Every member of one variant, one a line."""
    manifest = load_manifest(folder / MANIFEST)
    entry = _entry(manifest, variant)
    if as_json:
        print_json("variant", entry)
        return
    _print(_members(entry))


@app.command()
def verify(
    folder: Folder,
    variants: Annotated[list[str] | None, typer.Argument(help="Names of variants; default all.")] = None,
    as_json: AsJson = False,
) -> None:
    """Check digests, instruction sets and stored answers; exit 5 where a file changed, 3 where answers differ."""
    manifest = load_manifest(folder / MANIFEST)
    names = [str(_entry(manifest, name)["name"]) for name in variants or [one.name for one in manifest.variants]]
    checks = verify_folder(manifest, variants=names, host_isa=host_isa(), engine_for=engine_for_file)
    if as_json:
        print_json(
            "verify",
            {
                "ok": all(check.ok for check in checks),
                "checks": [{"variant": c.variant, "kind": c.kind, "ok": c.ok, "said": c.said} for c in checks],
            },
        )
    else:
        _print([_line(check) for check in checks])
    failed = [check for check in checks if not check.ok]
    if any(check.kind == "digests" for check in failed):
        messages.print("files differ from the manifest: build the folder again with `greenserve optimize`")
        raise typer.Exit(DIGESTS_DIFFER)
    if failed:
        messages.print("some variants do not answer here as where they were built: leave them out or build them here")
        raise typer.Exit(ANSWERS_DIFFER)


def _entry(manifest: Manifest, variant: str) -> dict[str, Any]:
    entries: dict[str, dict[str, Any]] = {one["name"]: one for one in manifest.document["variants"]}
    if variant not in entries:
        raise InvalidRequest(f"VARIANT is {variant!r}; this folder holds {', '.join(entries)}")
    return entries[variant]


def _line(check: Check) -> str:
    subject = check.kind if check.variant is None else f"{check.variant} {check.kind}"
    return f"{'ok ' if check.ok else 'BAD'} {subject}: {check.said}"


def _members(value: object, path: str = "") -> list[str]:
    """Nested members as `a.b[0].c = value`; null reads `unknown`."""
    if isinstance(value, dict) and value:
        return [line for name, inner in value.items() for line in _members(inner, f"{path}.{name}" if path else name)]
    if isinstance(value, list) and any(isinstance(inner, dict | list) for inner in value):
        return [line for place, inner in enumerate(value) for line in _members(inner, f"{path}[{place}]")]
    if isinstance(value, list):
        return [f"{path} = {', '.join(map(_said, value)) or 'none'}"]
    return [f"{path} = {_said(value)}"]


def _said(value: object) -> str:
    if value is None:
        return "unknown"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _print(lines: list[str]) -> None:
    for line in lines:
        data.print(line, markup=False)
