"""Checkpoints of the tree as signed notes (C2SP tlog-checkpoint and signed-note, Ed25519).

A note is text: the ledger's origin, the tree's size, its root in base64, an empty line, and a signature line. Whoever
has the verifier key checks it with any program that knows the format.
"""

import base64
import binascii
import hashlib
import os
import secrets
import stat
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from greenserve.errors import InvalidRequest, LedgerUnavailable

_ED25519 = b"\x01"
_DASH = "\u2014"
_SECRET = "PRIVATE+KEY+"
_KEY_BYTES = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """What a note says: a ledger's origin, its size in entries, and the root hash of its tree."""

    origin: str
    size: int
    root: bytes

    @property
    def text(self) -> str:
        """The lines that are signed."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"


class Verifier:
    """Checks notes of one key. `text` is the key as other programs take it: NAME+HASH+BASE64."""

    def __init__(self, name: str, public: bytes) -> None:
        self.name, self.public = name, public
        self.key_id = _key_id(name, public)
        self._key = Ed25519PublicKey.from_public_bytes(public)

    def __repr__(self) -> str:
        return f"<Verifier {self.text}>"

    @classmethod
    def parse(cls, text: str) -> "Verifier":
        """From NAME+HASH+BASE64; InvalidRequest for anything else."""
        name, _, rest = text.strip().partition("+")
        key_id, _, encoded = rest.partition("+")
        try:
            data = base64.b64decode(encoded, validate=True)
            if data[:1] != _ED25519 or len(data) != 1 + _KEY_BYTES or not name:
                raise ValueError("not an Ed25519 key")
            verifier = cls(name, data[1:])
        except (binascii.Error, ValueError) as error:
            raise InvalidRequest(f"{text!r:.80} is no verifier key NAME+HASH+BASE64 ({error})") from None
        if verifier.key_id.hex() != key_id:
            raise InvalidRequest(f"the key {text!r:.80} has another hash than it says: it was not copied whole")
        return verifier

    @property
    def text(self) -> str:
        """NAME+HASH+BASE64."""
        return f"{self.name}+{self.key_id.hex()}+{base64.b64encode(_ED25519 + self.public).decode()}"

    def check(self, note: str) -> Checkpoint | None:
        """What the note says, if this key signed it; None where it did not."""
        checkpoint = parse_note(note)
        for line in note.partition("\n\n")[2].splitlines():
            name, _, encoded = line.removeprefix(f"{_DASH} ").partition(" ")
            try:
                signature = base64.b64decode(encoded, validate=True)
            except binascii.Error:
                continue
            if name != self.name or signature[:4] != self.key_id:
                continue
            try:
                self._key.verify(signature[4:], checkpoint.text.encode())
            except InvalidSignature:
                return None
            return checkpoint
        return None


class Signer:
    """Signs notes with the key of one ledger."""

    def __init__(self, name: str, seed: bytes) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self.verifier = Verifier(name, self._key.public_key().public_bytes_raw())

    def __repr__(self) -> str:
        return f"<Signer {self.verifier.name}>"

    def note(self, checkpoint: Checkpoint) -> str:
        """The signed note of a checkpoint."""
        text = checkpoint.text
        signature = self.verifier.key_id + self._key.sign(text.encode())
        return f"{text}\n{_DASH} {self.verifier.name} {base64.b64encode(signature).decode()}\n"


def parse_note(note: str) -> Checkpoint:
    """What a note says, signed or not; InvalidRequest for text that is none."""
    lines = note.split("\n")
    try:
        if len(lines) < 4 or lines[3] or not lines[0] or not lines[1].isdigit() or str(int(lines[1])) != lines[1]:
            raise ValueError("needs origin, size, root, an empty line and signatures")
        root = base64.b64decode(lines[2], validate=True)
        if len(root) != hashlib.sha256().digest_size:
            raise ValueError(f"the root has {len(root)} bytes, not 32")
    except (binascii.Error, ValueError) as error:
        raise InvalidRequest(f"this is no checkpoint ({error}): give the file that `ledger checkpoint` wrote") from None
    return Checkpoint(origin=lines[0], size=int(lines[1]), root=root)


def key_path(ledger: Path) -> Path:
    """Where the signing key of a ledger lies."""
    return ledger.with_name(ledger.name + ".key")


def make_key(path: Path, name: str) -> Signer:
    """A new signing key in a file that its owner alone may read; LedgerUnavailable where it cannot be written."""
    seed = secrets.token_bytes(_KEY_BYTES)
    signer = Signer(name, seed)
    text = f"{_SECRET}{name}+{signer.verifier.key_id.hex()}+{base64.b64encode(_ED25519 + seed).decode()}\n"
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        try:
            os.write(descriptor, text.encode())
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise LedgerUnavailable(
            f"the ledger's signing key {path} cannot be made ({error.strerror}): move an older file away, or mend the "
            "folder's permissions"
        ) from error
    return signer


def read_key(path: Path) -> Signer:
    """The signing key; LedgerUnavailable where it is missing, open to others or no key."""
    try:
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            raise LedgerUnavailable(f"{path} is open to other users: run `chmod 600 {path}`")
        name, _, rest = path.read_text().strip().removeprefix(_SECRET).partition("+")
        data = base64.b64decode(rest.partition("+")[2], validate=True)
        if data[:1] != _ED25519:
            raise ValueError("not an Ed25519 key")
        return Signer(name, data[1:])
    except OSError as error:
        raise LedgerUnavailable(
            f"the ledger's signing key {path} cannot be read ({error.strerror}): restore it from the backup, or make a "
            "new one with `greenserve ledger checkpoint --new-key`"
        ) from error
    except ValueError as error:
        raise LedgerUnavailable(f"{path} holds no signing key ({error}): restore it from the backup") from error


def _key_id(name: str, public: bytes) -> bytes:
    return hashlib.sha256(name.encode() + b"\n" + _ED25519 + public).digest()[:4]
