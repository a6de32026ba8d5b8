"""Ed25519 signatures of statements: a key file made on first use, and the check that needs the public key alone."""

import base64
import os
import secrets
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from greenserve.canonical import canonical_json, sha256_hex
from greenserve.errors import InvalidRequest, LedgerUnavailable

ALGORITHM = "Ed25519 over RFC 8785 JSON without the member `signature`"


class Signer:
    """Signs with one private key. `public_pem` is what strangers check with."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        public = key.public_key()
        self.public_pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        self.key_id = key_id_of(public)

    def __repr__(self) -> str:
        return f"<Signer {self.key_id}>"

    def sign(self, document: Mapping[str, Any]) -> dict[str, Any]:
        """The document with its signature; a watermarked one comes back unsigned, as it is."""
        if document["watermarks"]:
            return {**document, "signature": None}
        value = base64.b64encode(self._key.sign(signed_bytes(document))).decode()
        return {**document, "signature": {"algorithm": ALGORITHM, "key_id": self.key_id, "value": value}}


def signed_bytes(document: Mapping[str, Any]) -> bytes:
    """What is signed: the canonical JSON of all members but the signature."""
    return canonical_json({name: value for name, value in document.items() if name != "signature"})


def key_id_of(public: Ed25519PublicKey) -> str:
    """The first 16 hex digits of the SHA-256 of the raw public key."""
    return sha256_hex(public.public_bytes(Encoding.Raw, PublicFormat.Raw))[:16]


def signature_faults(document: Mapping[str, Any], public: Ed25519PublicKey) -> tuple[str, ...]:
    """Why the document is not signed by the key's owner; empty where it is."""
    signature = document.get("signature")
    if signature is None:
        marks = ", ".join(mark["mark"] for mark in document.get("watermarks", ()))
        return (f"not signed{f': watermarked as {marks}' if marks else ''}",)
    try:
        value = base64.b64decode(signature["value"], validate=True)
        public.verify(value, signed_bytes(document))
    except (InvalidSignature, ValueError, KeyError, TypeError):
        named = signature.get("key_id") if isinstance(signature, Mapping) else None
        if named != key_id_of(public):
            return (f"signed with key {named}, the given public key is {key_id_of(public)}",)
        return ("the signature does not fit: the statement was changed after it was signed",)
    return ()


def read_public_key(path: Path) -> Ed25519PublicKey:
    """The public key of an issuer from a PEM file; InvalidRequest where it is none."""
    try:
        key = load_pem_public_key(path.read_bytes())
    except OSError as error:
        raise InvalidRequest(f"{path}: cannot be read ({error.strerror}); give the issuer's public key") from None
    except ValueError:
        raise InvalidRequest(f"{path}: no public key; it starts with -----BEGIN PUBLIC KEY-----") from None
    if not isinstance(key, Ed25519PublicKey):
        raise InvalidRequest(f"{path}: a key of another kind; statements are signed with Ed25519")
    return key


def signing_key_path(ledger: Path) -> Path:
    """Where the private key lies unless it is configured: beside the ledger."""
    return ledger.with_name(ledger.name + ".signing-key")


def public_key_path(private: Path) -> Path:
    """Where the public key lies: beside the private one."""
    return private.with_name(private.name + ".pub")


def read_signer(path: Path) -> Signer:
    """The signer whose private key is at `path`, made on first use and readable by its owner alone.

    LedgerUnavailable if others may read the key, or if it is none.
    """
    try:
        if not path.exists():
            _make(path)
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            raise LedgerUnavailable(f"{path} is open to other users: run `chmod 600 {path}`")
        key = load_pem_private_key(path.read_bytes(), password=None)
    except OSError as error:
        raise LedgerUnavailable(f"{path}: the signing key cannot be read or made ({error.strerror})") from error
    except (ValueError, TypeError):
        raise LedgerUnavailable(f"{path} is no private key in PEM form: restore it from the backup") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise LedgerUnavailable(f"{path} is a key of another kind: statements are signed with Ed25519")
    signer = Signer(key)
    _publish(public_key_path(path), signer.public_pem)
    return signer


def _make(path: Path) -> None:
    """Whole or not at all, and only one wins where two processes start together."""
    pem = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    draft = path.with_name(f"{path.name}.{os.getpid()}-{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    try:
        os.write(descriptor, pem)
        os.fsync(descriptor)
        os.link(draft, path)
    except FileExistsError:
        return
    finally:
        os.close(descriptor)
        draft.unlink()


def _publish(path: Path, pem: bytes) -> None:
    if not path.exists() or path.read_bytes() != pem:
        path.write_bytes(pem)
