"""Signatures: made with a key of mode 0600, checked with the public key alone, never on simulated inputs."""

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from greenserve.canonical import canonical_json
from greenserve.carbon.entries import UsageLine, usage_entry
from greenserve.carbon.signing import (
    public_key_path,
    read_public_key,
    read_signer,
    signature_faults,
    signed_bytes,
    signing_key_path,
)
from greenserve.errors import InvalidRequest, LedgerUnavailable
from tests.carbon.statements import statement_of

Lines = Callable[..., UsageLine]


@pytest.fixture
def key(tmp_path: Path) -> Path:
    """Where the key of a ledger lies."""
    return signing_key_path(tmp_path / "ledger.db")


@pytest.fixture
def document(a_line: Lines) -> dict[str, Any]:
    """A statement with one request."""
    return dict(statement_of([usage_entry(a_line())]).document)


def test_the_first_use_makes_a_key_for_its_owner_alone(key: Path) -> None:
    """0600, and the public half beside it; the second use signs with the same key."""
    first, second = read_signer(key), read_signer(key)

    assert 0o600 == stat.S_IMODE(key.stat().st_mode)
    assert first.key_id == second.key_id
    assert first.public_pem == public_key_path(key).read_bytes()
    assert [] == [path.name for path in key.parent.iterdir() if path not in (key, public_key_path(key))]


def test_a_stranger_checks_with_the_public_key(key: Path, document: dict[str, Any]) -> None:
    """Nothing but the document and the public key; signing twice gives the same bytes."""
    signer = read_signer(key)

    signed = signer.sign(document)

    assert () == signature_faults(signed, read_public_key(public_key_path(key)))
    assert canonical_json(signed) == canonical_json(signer.sign(signed))
    assert signed_bytes(document) == signed_bytes(signed)


@pytest.mark.parametrize("member", ["tenant", "totals", "watermarks", "proof"])
def test_any_change_breaks_the_signature(key: Path, document: dict[str, Any], member: str) -> None:
    """A member that was changed or taken away is found."""
    public = read_public_key(public_key_path(key)) if read_signer(key) else None
    signed = read_signer(key).sign(document)
    assert public is not None

    for changed in (signed | {member: "other"}, {name: signed[name] for name in signed if name != member}):
        assert ("the signature does not fit: the statement was changed after it was signed",) == signature_faults(
            changed, public
        )


def test_another_issuers_key_is_named(key: Path, document: dict[str, Any], tmp_path: Path) -> None:
    """Signed, but by somebody else: both keys are in the message."""
    other = tmp_path / "other"
    mine, theirs = read_signer(key), read_signer(other)

    (fault,) = signature_faults(mine.sign(document), read_public_key(public_key_path(other)))

    assert mine.key_id in fault
    assert theirs.key_id in fault


@pytest.mark.parametrize("value", [{}, {"value": "!"}, {"value": "AAAA"}, "text", 7])
def test_what_is_no_signature_is_a_finding(key: Path, document: dict[str, Any], value: object) -> None:
    """Never an exception, whatever stands there."""
    read_signer(key)

    assert 1 == len(signature_faults(document | {"signature": value}, read_public_key(public_key_path(key))))


def test_simulated_inputs_are_never_signed(key: Path, a_line: Lines) -> None:
    """A recorded or synthetic series comes back unsigned, and the check says why."""
    watermarked = dict(statement_of([usage_entry(a_line(provider="synthetic"))]).document)

    signed = read_signer(key).sign(watermarked)

    assert signed["signature"] is None
    assert ("not signed: watermarked as synthetic grid series",) == signature_faults(
        signed, read_public_key(public_key_path(key))
    )


def test_an_open_or_foreign_key_is_refused(key: Path, tmp_path: Path) -> None:
    """Readable by others, not a key, another kind of key: each message names the file and the way out."""
    read_signer(key)
    os.chmod(key, 0o644)
    garbage = tmp_path / "garbage"
    garbage.write_text("nothing")
    garbage.chmod(0o600)
    elliptic = tmp_path / "elliptic"
    pair = generate_private_key(SECP256R1())
    elliptic.write_bytes(pair.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    elliptic.chmod(0o600)
    public = tmp_path / "elliptic.pub"
    public.write_bytes(pair.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))

    for path, told in ((key, "chmod 600"), (garbage, "no private key"), (elliptic, "Ed25519")):
        with pytest.raises(LedgerUnavailable, match=told):
            read_signer(path)
    for path, told in ((garbage, "no public key"), (public, "Ed25519"), (tmp_path / "none", "cannot be read")):
        with pytest.raises(InvalidRequest, match=told):
            read_public_key(path)
