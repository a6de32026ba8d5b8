"""Proofs that leave the house: documents that show an entry to be in a ledger, or a ledger to have only grown.

`prove_*` makes them from the ledger; `check_proof` needs nothing but the document and the ledger's verifier key.
"""

import binascii
from collections.abc import Mapping
from typing import Any

from greenserve.carbon.ledger.book import SqlLedger, driver_of
from greenserve.carbon.ledger.lookup import erased_by, line_of, lines_of, row_at
from greenserve.carbon.ledger.merkle import (
    consistency_path,
    inclusion_path,
    leaf_hash,
    verify_consistency,
    verify_inclusion,
)
from greenserve.carbon.ledger.notes import Checkpoint, Verifier, parse_note
from greenserve.carbon.ledger.row import canonical_body
from greenserve.carbon.ledger.rows import tile_reader
from greenserve.carbon.ledger.tiles import Tiles
from greenserve.carbon.receipt import Line
from greenserve.errors import InvalidRequest, NotFound

SCHEMA = "greenserve.proof/1"


def newest_note(ledger: SqlLedger) -> str:
    """The newest signed checkpoint; NotFound for a ledger without entries."""
    found = ledger.query("SELECT note FROM checkpoint ORDER BY size DESC LIMIT 1")
    if not found:
        raise NotFound("the ledger has no entry, so there is nothing to sign yet; `tenant create` makes the first one")
    return str(found[0][0])


def verifiers(ledger: SqlLedger) -> list[Verifier]:
    """The keys that may sign this ledger's checkpoints, the newest last."""
    return [Verifier.parse(text) for (text,) in ledger.query("SELECT verifier FROM signer ORDER BY since, verifier")]


def prove_request(ledger: SqlLedger, request_id: str) -> dict[str, object]:
    """That all lines of a request are in the ledger of the newest checkpoint; NotFound."""
    lines = lines_of(ledger, request_id)
    if not lines:
        if (idx := erased_by(ledger, request_id)) is not None:
            raise NotFound(f"request {request_id} was erased with its tenant's entries: entry {idx} says when and why")
        raise NotFound(f"the ledger has no request {request_id}; the answer's header and body name its id")
    return _inclusion(ledger, lines, request_id)


def prove_entry(ledger: SqlLedger, index: int) -> dict[str, object]:
    """That one entry is in the ledger of the newest checkpoint; NotFound."""
    row = row_at(ledger, index)
    if row is not None and row.body is None:
        raise NotFound(f"the body of entry {index} was erased: its hash is in the tree, and nothing else is left of it")
    if row is None:
        raise NotFound(f"the ledger has no entry {index}; it has {ledger.head().size}, counted from 0")
    return _inclusion(ledger, [line_of(row, ledger.salt_secrets((row.tenant,)))], None)


def prove_consistency(ledger: SqlLedger, old: int, new: int) -> dict[str, object]:
    """That the ledger of `new` entries begins with the ledger of `old` ones, each as it was; InvalidRequest."""
    size = ledger.head().size
    if not 0 < old <= new <= size:
        raise InvalidRequest(f"--consistency {old} {new}: sizes are 0 < OLD <= NEW <= {size}")
    with ledger.reading() as connection:
        tiles = Tiles(tile_reader(driver_of(connection)))
        return {
            "schema": SCHEMA,
            "kind": "consistency",
            "old_size": old,
            "old_root": tiles.root(old).hex(),
            "new_size": new,
            "new_root": tiles.root(new).hex(),
            "path": [one.hex() for one in consistency_path(old, new, tiles.node)],
            "checkpoints": {str(one): note for one in {old, new} if (note := _note_at(ledger, one)) is not None},
        }


def check_proof(document: Mapping[str, Any], verifier: Verifier | None) -> list[str]:
    """Findings, empty where the proof holds. Without a verifier key the checkpoints' signatures are not checked.

    InvalidRequest for a document that is no proof.
    """
    if document.get("schema") != SCHEMA:
        raise InvalidRequest(f"this is no {SCHEMA} document; `greenserve ledger prove` writes them")
    try:
        return (
            _check_inclusion(document, verifier)
            if document["kind"] == "inclusion"
            else _check_growth(document, verifier)
        )
    except (KeyError, TypeError, ValueError, binascii.Error) as error:
        raise InvalidRequest(f"the proof is not whole: {type(error).__name__} {error}") from None


def _inclusion(ledger: SqlLedger, lines: list[Line], request_id: str | None) -> dict[str, object]:
    note = newest_note(ledger)
    size = parse_note(note).size
    with ledger.reading() as connection:
        tiles = Tiles(tile_reader(driver_of(connection)))
        paths = [inclusion_path(line.index, size, tiles.node) for line in lines]
    return {
        "schema": SCHEMA,
        "kind": "inclusion",
        "request_id": request_id,
        "checkpoint": note,
        "entries": [
            {
                "index": line.index,
                "salt": line.salt,
                "body": dict(line.body),
                "path": [one.hex() for one in path],
            }
            for line, path in zip(lines, paths, strict=True)
        ],
    }


def _check_inclusion(document: Mapping[str, Any], verifier: Verifier | None) -> list[str]:
    findings, checkpoint = _signed(document["checkpoint"], verifier)
    if not document["entries"]:
        findings.append("the proof holds no entry")
    for entry in document["entries"]:
        body = entry["body"]
        leaf = leaf_hash(bytes.fromhex(entry["salt"]), canonical_body(body, f"entry {entry['index']}"))
        path = [bytes.fromhex(one) for one in entry["path"]]
        if not verify_inclusion(leaf, entry["index"], checkpoint.size, path, checkpoint.root):
            findings.append(f"entry {entry['index']} is not in the ledger of the checkpoint: it was changed")
        if document["request_id"] not in (None, body.get("request_id")):
            findings.append(f"entry {entry['index']} belongs to another request than {document['request_id']}")
    return findings


def _check_growth(document: Mapping[str, Any], verifier: Verifier | None) -> list[str]:
    findings: list[str] = []
    roots = {document[f"{name}_size"]: bytes.fromhex(document[f"{name}_root"]) for name in ("old", "new")}
    for size, root in roots.items():
        note = document["checkpoints"].get(str(size))
        if note is None:
            findings.append(f"no checkpoint of {size} entries stands in the proof: compare its root with one you kept")
            continue
        own, checkpoint = _signed(note, verifier)
        findings += own
        if (checkpoint.size, checkpoint.root) != (size, root):
            findings.append(f"the checkpoint of {size} entries has another root than the proof")
    path = [bytes.fromhex(one) for one in document["path"]]
    if not verify_consistency(
        document["old_size"], document["new_size"], roots[document["old_size"]], roots[document["new_size"]], path
    ):
        findings.append("the newer ledger does not begin with the older one: an entry up to there was changed")
    return findings


def _signed(note: str, verifier: Verifier | None) -> tuple[list[str], Checkpoint]:
    if verifier is not None and verifier.check(note) is None:
        return [f"the checkpoint is not signed by {verifier.text}"], parse_note(note)
    return [], parse_note(note)


def _note_at(ledger: SqlLedger, size: int) -> str | None:
    found = ledger.query("SELECT note FROM checkpoint WHERE size = ?", (size,))
    return str(found[0][0]) if found else None
