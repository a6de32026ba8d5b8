"""Whether a folder of variants is what its manifest says, and answers here as it did where it was made."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from greenserve.errors import GreenServeError
from greenserve.manifest import Manifest, file_sha256, verify_files
from greenserve.optimize.probes import read_document, repeated
from greenserve.optimize.profile import EngineFactory, load_engine


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One finding about a variant (None: the folder): `kind` is `digests`, `isa` or `probes`."""

    variant: str | None
    kind: str
    ok: bool
    said: str


def check_digests(manifest: Manifest) -> Check:
    """Whether every file of the folder has the bytes that the manifest names."""
    wrong = verify_files(manifest)
    proofs = [(entry["probes"], entry["quality"]["predictions"]) for entry in manifest.document["variants"]]
    for file in (ref for pair in proofs for ref in pair):
        path = manifest.folder / file["path"]
        if not path.is_file():
            wrong.append(f"{file['path']}: missing")
        elif file_sha256(path) != file["sha256"]:
            wrong.append(f"{file['path']}: changed since the manifest was written")
    shared = manifest.preprocessing.files if manifest.preprocessing else ()
    count = len(shared) + sum(len(one.files) for one in manifest.variants) + 2 * len(proofs)
    said = "; ".join(wrong) if wrong else f"{count} of {count}"
    return Check(variant=None, kind="digests", ok=not wrong, said=said)


def check_isa(manifest: Manifest, variant: str, host_isa: Sequence[str]) -> Check:
    """Whether this host has an instruction set that the variant was made for."""
    entry = next(one for one in manifest.document["variants"] if one["name"] == variant)
    wanted = entry["requires"]["isa_any"]
    found = [name for name in wanted if name in host_isa]
    if not wanted:
        return Check(variant=variant, kind="isa", ok=True, said="any")
    said = found[0] if found else f"this host has none of {', '.join(wanted)}"
    return Check(variant=variant, kind="isa", ok=bool(found), said=said)


def check_probes(manifest: Manifest, variant: str, engine_for: EngineFactory) -> Check:
    """Whether the variant repeats its stored answers on this host."""
    entry = next(one for one in manifest.document["variants"] if one["name"] == variant)
    probes = read_document(manifest.folder / entry["probes"]["path"])
    model_file: Path = manifest.folder / entry["files"][0]["path"]
    total = len(probes["rows"])
    try:
        engine = load_engine(engine_for, model_file, variant).engine
        same = repeated(engine, variant=variant, document=probes)
    except GreenServeError as error:
        return Check(variant=variant, kind="probes", ok=False, said=str(error))
    return Check(variant=variant, kind="probes", ok=same == total, said=f"{same} of {total}")


def verify_folder(
    manifest: Manifest, *, variants: Sequence[str], host_isa: Sequence[str], engine_for: EngineFactory
) -> list[Check]:
    """Digests first; changed files are not run."""
    digests = check_digests(manifest)
    if not digests.ok:
        return [digests]
    checks = [digests]
    for variant in variants:
        checks.append(check_isa(manifest, variant, host_isa))
        checks.append(check_probes(manifest, variant, engine_for))
    return checks
