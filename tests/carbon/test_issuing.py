"""Issuing: versions follow what is kept, signatures what may be signed, and a fold of the ledger gives it again."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from greenserve.carbon.declared import config_digest, read_market, terms_of
from greenserve.carbon.entries import UsageLine, usage_entry
from greenserve.carbon.issuing import Order, issue, rederived, signer_of
from greenserve.carbon.ledger.statement_files import StatementFiles, statement_folder
from greenserve.carbon.statement import Scope, build_statement
from greenserve.carbon.statement_audit import faults_of
from greenserve.config import Config, load_config
from greenserve.errors import ConfigInvalid, InvalidRequest
from greenserve.records import Entry
from tests.carbon.statements import AT_US, DAY_US

Lines = Callable[..., UsageLine]
ORDER = Order(tenant="acme", start_us=AT_US, end_us=AT_US + DAY_US)
CONFIG = """
version: 1
models: [{{name: sentiment, manifest: manifest.json}}]
regions: [{{name: north, zone: SE, pue: {{value: 1.12, source: a test}}}}]
intensity: {{sources: [{{kind: annual, values: {{SE: 31gCO2e/kWh}}, year: 2025, source: a test}}]}}
ledger: {{url: "sqlite:///{folder}/ledger.db"}}
{more}
"""
MARKET = """
residual_mix: [{region: north, intensity: 400gCO2e/kWh, source: a test}]
instruments:
  - {id: GO-1, region: north, from: 2026-01-01T00:00:00Z, to: 2026-01-02T00:00:00+00:00, energy: 1kWh,
     intensity: 5gCO2e/kWh, evidence_sha256: "%s"}
""" % ("a" * 64)
HARDWARE = """
carbon:
  hardware: [{device: cpu, name: server, embodied: 1tCO2e, life_years: 5, share: 50%, source: a test}]
  baselines:
    - {name: fp32, about: alone, model: sentiment, energy: 0.1J, source: a test}
    - {name: cheap, about: alone, model: sentiment, energy: 1mJ, intensity: 5gCO2e/kWh, source: a test}
"""


def a_config(folder: Path, more: str = "") -> Config:
    (folder / "greenserve.yaml").write_text(CONFIG.format(folder=folder, more=more))
    return load_config(folder / "greenserve.yaml")


def folding(entries: list[Entry]) -> Callable[[Mapping[str, Any]], Mapping[str, Any]]:
    """A fold over entries, as the command and the offline job make it."""

    def fold(members: Mapping[str, Any]) -> Mapping[str, Any]:
        whole: dict[str, Any] = {"size": len(entries), "chain": "0" * 64} | dict(members)
        return build_statement(enumerate(entries), Scope(**whole)).document

    return fold


@pytest.fixture
def files(tmp_path: Path) -> StatementFiles:
    """Where statements are kept."""
    return StatementFiles(statement_folder(tmp_path / "ledger.db"))


def test_a_statement_is_issued_once(tmp_path: Path, files: StatementFiles, a_line: Lines) -> None:
    """Asking again gives the same; what arrived since gives the next version, which replaces the newest."""
    config, entries = a_config(tmp_path), [usage_entry(a_line())]
    found = []
    for _ in range(3):
        for _ in range(2):
            found.append(issue(ORDER, config=config, files=files, fold=folding(entries)))
            files.put(found[-1])
        entries.append(usage_entry(a_line()))

    assert found[::2] == found[1::2]
    assert [1, 2, 3] == [one.document["version"] for one in found[::2]]
    assert [None, *(one.statement_id for one in found[:4:2])] == [one.document["replaces"] for one in found[::2]]
    assert () == faults_of(found[-1].document)


def test_another_baseline_is_another_statement(tmp_path: Path, files: StatementFiles, a_line: Lines) -> None:
    """Comparing with something else corrects nothing: both are first versions. No baseline is picked among two."""
    config, fold = a_config(tmp_path, HARDWARE), folding([usage_entry(a_line())])
    issued = []
    for baseline in ("fp32", "cheap", None):
        order = Order(tenant="acme", start_us=AT_US, end_us=AT_US + DAY_US, baseline=baseline)
        issued.append(issue(order, config=config, files=files, fold=fold).document)
        files.put(issue(order, config=config, files=files, fold=fold))

    assert [1, 1, 1] == [one["version"] for one in issued]
    assert issued[2]["counterfactual"] is None


def test_watermarked_statements_need_no_key(tmp_path: Path, files: StatementFiles, a_line: Lines) -> None:
    """A simulated input is issued unsigned, and no key is made for it."""
    fold = folding([usage_entry(a_line(provider="synthetic"))])

    statement = issue(ORDER, config=a_config(tmp_path), files=files, fold=fold)

    assert statement.document["signature"] is None
    assert not list(tmp_path.glob("*.signing-key*"))


def test_a_configured_key_signs(tmp_path: Path, files: StatementFiles, a_line: Lines) -> None:
    """`carbon.signing_key` names the file."""
    config = a_config(tmp_path, f"carbon: {{signing_key: {tmp_path}/issuer}}")

    signature: Any = issue(ORDER, config=config, files=files, fold=folding([usage_entry(a_line())])).document[
        "signature"
    ]

    assert signer_of(config).key_id == signature["key_id"]
    assert (tmp_path / "issuer.pub").is_file()


def test_the_ledger_gives_a_statement_again(tmp_path: Path, files: StatementFiles, a_line: Lines) -> None:
    """Version, corrections and signature are the issuer's; every figure is the ledger's."""
    config, entries = a_config(tmp_path, HARDWARE), [usage_entry(a_line())]
    files.put(issue(ORDER, config=config, files=files, fold=folding(entries)))
    entries.append(usage_entry(a_line()))
    document = issue(ORDER, config=config, files=files, fold=folding(entries)).document

    assert () == rederived(document, config=config, fold=folding(entries))
    (finding, *_) = rederived(document, config=config, fold=folding([*entries[:1], usage_entry(a_line(active_uj=1))]))
    assert "the ledger gives" in finding


def test_the_contracts_file_is_read_with_its_digest(tmp_path: Path) -> None:
    """Quantities with units, times with offsets, one day of 1 kWh."""
    path = tmp_path / "market.yaml"
    path.write_text(MARKET)

    market = read_market(path)

    (contract,) = market.instruments
    assert (3_600_000_000_000, 5_000, AT_US, AT_US + DAY_US) == (
        contract.energy_uj, contract.mg_per_kwh, contract.start_us, contract.end_us,
    )  # fmt: skip
    assert (400_000, None, 64) == (market.residual_of("north"), market.residual_of("south"), len(market.sha256))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("energy: 1kWh", "energy: 1"), "has no unit"),
        (("T00:00:00Z", "T00:30:00Z"), "GO-1: it covers whole hours"),
        (("2026-01-01T00:00:00Z", "2026-01-01T00:00:00"), "timezone"),
        (("aaaa", "AAAA"), "evidence_sha256"),
        (("residual_mix", "residual"), "residual"),
        (("- {id: GO-1", "- {"), "id"),
        (("residual_mix: [{", "residual_mix: [{{"), "YAML"),
    ],
)
def test_a_wrong_contracts_file_is_told(tmp_path: Path, change: tuple[str, str], told: str) -> None:
    """The file and the fault, before anything is folded."""
    path = tmp_path / "market.yaml"
    path.write_text(MARKET.replace(*change))

    with pytest.raises(ConfigInvalid, match=rf"market\.yaml.*{told}"):
        read_market(path)


def test_missing_and_double_contracts_are_told(tmp_path: Path) -> None:
    """A file that is not there, and one whose ids repeat."""
    path = tmp_path / "market.yaml"
    with pytest.raises(ConfigInvalid, match="cannot be read"):
        read_market(path)
    entry = MARKET[MARKET.index("  - {") :]
    path.write_text(MARKET + entry)
    with pytest.raises(ConfigInvalid, match="each id may stand once"):
        read_market(path)


def test_declarations_become_terms(tmp_path: Path) -> None:
    """Units are resolved to integers; a baseline that is not declared is refused with those that are."""
    config = a_config(tmp_path, HARDWARE)

    terms = terms_of(config, "cheap")

    assert (1_000_000, 5 * 365 * 86_400, 500_000) == (
        terms.hardware[0].embodied_g, terms.hardware[0].life_s, terms.hardware[0].share_ppm,
    )  # fmt: skip
    assert [(1_000, 5_000, 2_500)] == [(b.request_uj, b.mg_per_kwh, b.half_width_bp) for b in terms.baselines]
    assert terms == type(terms).of(terms.members())
    with pytest.raises(InvalidRequest, match="declared are cheap, fp32"):
        terms_of(config, "int4")


def test_the_digest_follows_the_configuration(tmp_path: Path) -> None:
    """The same file has the same digest, a changed one another."""
    assert config_digest(a_config(tmp_path)) == config_digest(a_config(tmp_path))
    assert config_digest(a_config(tmp_path)) != config_digest(a_config(tmp_path, HARDWARE))
