"""Signed checkpoints: whoever has the key's public half knows who said what of the ledger."""

import base64
import hashlib
from pathlib import Path

import pytest

from greenserve.carbon.ledger.notes import Checkpoint, Signer, Verifier, key_path, make_key, parse_note, read_key
from greenserve.errors import InvalidRequest, LedgerUnavailable

CHECKPOINT = Checkpoint(origin="greenserve/test", size=7, root=bytes(range(32)))


def test_a_note_has_the_form_of_the_standard() -> None:
    """Origin, size, root in base64, an empty line, and a dash, the key's name, its hash and the signature."""
    signer = Signer("greenserve/test", bytes(32))

    lines = signer.note(CHECKPOINT).split("\n")

    key_hash = hashlib.sha256(b"greenserve/test\n\x01" + signer.verifier.public).digest()[:4]
    assert ["greenserve/test", "7", base64.b64encode(bytes(range(32))).decode(), ""] == lines[:4]
    assert "\u2014 greenserve/test " == lines[4][:18]
    assert key_hash == base64.b64decode(lines[4][18:])[:4]
    assert 4 + 64 == len(base64.b64decode(lines[4][18:]))
    assert [""] == lines[5:]


def test_only_the_key_that_signed_checks_a_note() -> None:
    """Another key of the same name, or any change of the text, is no signature."""
    signer, other = Signer("a", bytes(32)), Signer("a", bytes(31) + b"1")
    note = signer.note(CHECKPOINT)

    assert CHECKPOINT == Verifier.parse(signer.verifier.text).check(note)
    assert other.verifier.check(note) is None
    assert signer.verifier.check(note.replace("\n7\n", "\n8\n")) is None
    assert signer.verifier.check(note.replace("greenserve/test", "somebody/else")) is None


@pytest.mark.parametrize("text", ["", "a\n1\nAA==\n\n", "a\n01\n" + "A" * 43 + "=\n\n", "a\nx\ny\n\n", "a\n1\n?\n\n"])
def test_text_that_is_no_checkpoint_is_refused(text: str) -> None:
    """The message says what to give."""
    with pytest.raises(InvalidRequest, match="ledger checkpoint"):
        parse_note(text)


@pytest.mark.parametrize("text", ["", "a+b+c", "a+00000000+" + base64.b64encode(b"\1" + bytes(32)).decode()])
def test_a_verifier_key_that_was_not_copied_whole_is_refused(text: str) -> None:
    """Its hash finds a wrong character."""
    with pytest.raises(InvalidRequest):
        Verifier.parse(text)


def test_the_key_file_is_its_owners_alone(tmp_path: Path) -> None:
    """Mode 600, the same key when read again; refused where others may read it, where it is lost, or twice."""
    path = key_path(tmp_path / "ledger.db")
    made = make_key(path, "a")

    assert 0o600 == path.stat().st_mode & 0o777
    assert made.note(CHECKPOINT) == read_key(path).note(CHECKPOINT)
    with pytest.raises(LedgerUnavailable, match="cannot be made"):
        make_key(path, "a")
    path.chmod(0o640)
    with pytest.raises(LedgerUnavailable, match="chmod 600"):
        read_key(path)
    path.unlink()
    with pytest.raises(LedgerUnavailable, match="--new-key"):
        read_key(path)
    path.write_text("PRIVATE+KEY+nothing")
    path.chmod(0o600)
    with pytest.raises(LedgerUnavailable, match="holds no signing key"):
        read_key(path)
