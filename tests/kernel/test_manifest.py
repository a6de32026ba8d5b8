"""Reading manifests, and comparing files with their digests."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenserve.errors import ManifestInvalid
from greenserve.manifest import FileRef, Profile, load_manifest, variant_digest, verify_files
from tests.tiny_model import BUCKETS, LABELS, VARIANTS, write_tiny_model

Document = dict[str, Any]


def test_a_manifest_is_read_whole(tiny_manifest: Path) -> None:
    """What serving and routing need, and the document itself with its digest."""
    manifest = load_manifest(tiny_manifest)

    assert ("tiny", 1, "fp32", "int8-dyn") == (
        manifest.name, manifest.version, manifest.baseline, manifest.recommended,
    )  # fmt: skip
    assert manifest.preprocessing is not None
    assert (LABELS, BUCKETS) == (manifest.labels, manifest.preprocessing.buckets)
    assert [(made.name, made.quality) for made in VARIANTS] == [
        (variant.name, variant.value_low) for variant in manifest.variants
    ]
    assert manifest.folder / "fp32" / "model.onnx" == manifest.path_of(manifest.variant("fp32").files[0])
    assert [] == verify_files(manifest)
    with pytest.raises(KeyError):
        manifest.variant("int4")


def test_every_changed_or_missing_file_is_a_finding(tmp_path: Path) -> None:
    """By its path, with the digest that it has now."""
    manifest = load_manifest(write_tiny_model(tmp_path))
    changed, missing = tmp_path / "fp32" / "model.onnx", tmp_path / "tokenizer.json"
    changed.write_bytes(changed.read_bytes()[:-1] + b"\0")
    missing.unlink()

    findings = verify_files(manifest)

    assert ["tokenizer.json: missing"] == [finding for finding in findings if "missing" in finding]
    assert 1 == sum(finding.startswith("fp32/model.onnx: SHA-256 is ") for finding in findings)
    assert 2 == len(findings)


def _without(*path: str | int) -> Callable[[Document], None]:
    def change(document: Any) -> None:
        for part in path[:-1]:
            document = document[part]
        del document[path[-1]]

    return change


def _with(value: object, *path: str | int) -> Callable[[Document], None]:
    def change(document: Any) -> None:
        for part in path[:-1]:
            document = document[part]
        document[path[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_without("variants"), "variants"),
        (_without("variants", 0, "quality"), "quality"),
        (_without("preprocessing", "buckets"), "buckets"),
        (_with("int4", "recommended"), "int4"),
        (_with("high", "variants", 0, "quality", "value_low"), "high"),
        (_with("guessed", "variants", 0, "profiles", 0, "tier"), "guessed"),
        (_with("greenserve.manifest/9", "schema"), "greenserve.manifest/9"),
        (_without("schema"), "schema None"),
        (_with(5, "variants"), "int"),
    ],
)
def test_a_malformed_manifest_is_refused_with_the_reason(
    change: Callable[[Document], None], words: str, tiny_manifest: Path, tmp_path: Path
) -> None:
    """And with the file's name: never a KeyError for the user."""
    document = json.loads(tiny_manifest.read_text())
    change(document)
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps(document))

    with pytest.raises(ManifestInvalid, match=words) as refused:
        load_manifest(path)

    assert str(path) in str(refused.value)


@pytest.mark.parametrize("content", [b"", b"[]", b"5", b"{", b"\xff"])
def test_a_file_that_is_no_manifest_is_refused(content: bytes, tmp_path: Path) -> None:
    """Empty, another JSON value, not JSON."""
    path = tmp_path / "manifest.json"
    path.write_bytes(content)

    with pytest.raises(ManifestInvalid, match=r"manifest\.json"):
        load_manifest(path)


def test_a_missing_manifest_says_how_to_make_one(tmp_path: Path) -> None:
    """The command."""
    with pytest.raises(ManifestInvalid, match="greenserve optimize demo:minilm"):
        load_manifest(tmp_path / "manifest.json")


def a_profile(fingerprint: str = "this", **changes: Any) -> Profile:
    whole: dict[str, Any] = {
        "fingerprint": fingerprint, "tier": "modelled", "t_s": (1.0, 2.0, 3.0, 4.0),
        "e_dynamic_j": (0.1, 0.2, 0.3, 0.4), "q99": 1.0, "idle_w": None, "held_w": None,
    }  # fmt: skip
    return Profile(**(whole | changes))


@given(st.integers(1, 64), st.integers(1, 512))
def test_a_profile_is_a_polynomial_in_batch_and_length(batch: int, length: int) -> None:
    """1, b, bL and bL^2, for seconds and for joules."""
    profile = a_profile()
    terms = (1, batch, batch * length, batch * length * length)

    assert sum(a * b for a, b in zip(profile.t_s, terms, strict=True)) == pytest.approx(
        profile.seconds(batch=batch, length=length)
    )
    assert sum(a * b for a, b in zip(profile.e_dynamic_j, terms, strict=True)) == pytest.approx(
        profile.joules(batch=batch, length=length)
    )


def test_this_hosts_profile_comes_before_a_prior(tiny_manifest: Path) -> None:
    """Measured here, else the first one, else none."""
    variant = load_manifest(tiny_manifest).variants[0]
    here = variant.profiles[0].fingerprint

    assert variant.profiles[0] is variant.profile_for(here)
    assert variant.profiles[0] is variant.profile_for("elsewhere")


def test_a_variants_digest_covers_whatever_changes_its_answers() -> None:
    """Files, preprocessing and engine options; not the size of a file, which follows from its digest."""
    file = FileRef(path="a", bytes=1, sha256="x")
    base = variant_digest((file,), {"max_length": 8}, {"threads": 1})

    assert base == variant_digest((FileRef(path="a", bytes=2, sha256="x"),), {"max_length": 8}, {"threads": 1})
    assert 4 == len(
        {
            base,
            variant_digest((FileRef(path="a", bytes=1, sha256="y"),), {"max_length": 8}, {"threads": 1}),
            variant_digest((file,), {"max_length": 9}, {"threads": 1}),
            variant_digest((file,), {"max_length": 8}, {"threads": 2}),
        }
    )
