"""`greenserve carbon equivalents`: an amount for people, with factor, source and range, and never in a total."""

from tests.cli.conftest import Commands


def test_an_amount_is_said_with_factor_source_and_range(greenserve: Commands) -> None:
    """By what is given, by what is stored of a zone, and unknown where the grid is."""
    bare, zone, given, small = greenserve(
        "carbon equivalents 1.2kgCO2e",
        "carbon equivalents 1.2kgCO2e --zone SE",
        "carbon equivalents 1.2kgCO2e --intensity 31gCO2e/kWh --json",
        "carbon equivalents 12ugCO2e",
    )

    assert 0 == bare.code, bare.err
    assert "4.83 [4.78, 11.1] km driven in a passenger car" in bare.out
    assert "US EPA, EPA-420-F-23-014" in bare.out
    assert "unknown  litres of water" in bare.out
    assert "in no total and no statement" in bare.err
    assert "333 [211, 693] litres of water boiled" in zone.out
    assert "electricity at 31 gCO2e/kWh: SE, lifecycle, +-40%, level 4 annual" in zone.out
    kettle = given.document["equivalents"][-1]
    assert (332.557, "kWh") == (kettle["count"], kettle["per"])
    assert kettle["high"] < 420
    assert "0.0000120 gCO2e" in small.out
    for done in (bare, zone, small):
        assert "save" not in (done.out + done.err).lower()
        assert max(map(len, done.out.splitlines())) <= 80


def test_what_is_no_amount_is_refused(greenserve: Commands) -> None:
    """Unit, sign and doubled prices; a zone that nobody knows."""
    bare, unit, negative, both, unstored, nowhere = greenserve(
        "carbon equivalents 12",
        "carbon equivalents 12g",
        ["carbon", "equivalents", "--", "-3gCO2e"],
        "carbon equivalents 3gCO2e --zone SE --intensity 3gCO2e/kWh",
        "carbon equivalents 3gCO2e --zone JP-TK",
        "carbon equivalents 3gCO2e --zone NOPE",
    )

    assert {2} == {one.code for one in (bare, unit, negative, both, unstored, nowhere)}
    assert "12 has no unit; write 12gCO2e" in bare.err
    assert "allowed are ngCO2e, ugCO2e, mgCO2e" in unit.err
    assert "is negative" in negative.err
    assert "one of them" in both.err
    assert "no value is stored of it" in unstored.err
    assert "--zone: zone is 'NOPE': no grid zone" in " ".join(nowhere.err.split())
