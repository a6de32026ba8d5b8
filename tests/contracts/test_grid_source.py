"""The contract of every GridSource: what it says of itself holds, and trouble is GridUnavailable alone."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from greenserve.carbon.factors.tables import fuel_codes, fuel_factors
from greenserve.carbon.feeds.eia import Eia
from greenserve.carbon.feeds.electricity_maps import ElectricityMaps
from greenserve.carbon.feeds.entsoe import EntsoE
from greenserve.carbon.feeds.neso import Neso
from greenserve.carbon.feeds.openelectricity import OpenElectricity
from greenserve.carbon.feeds.watttime import WattTime
from greenserve.errors import GridUnavailable
from greenserve.ports import GridSource
from tests.carbon.grid_server import (
    DAY_US,
    HOUR_US,
    NOW_US,
    Answer,
    Asked,
    GridServer,
    Says,
    a_clock,
    a_fetcher,
    a_grid_server,
)

KINDS = ("electricity-maps", "watttime", "neso", "neso-region", "eia", "entso-e", "openelectricity")


class Everywhere(dict[str, Says]):
    """The same answer for every path; `/login` gives a token."""

    def __init__(self, answer: Answer) -> None:
        super().__init__({"/login": Answer({"token": "t"})})
        self._answer = answer

    def get(self, path: str, default: Any = None) -> Any:
        """The login's, or the one answer."""
        return self["/login"] if path == "/login" else self._answer


@pytest.fixture
async def server() -> AsyncIterator[GridServer]:
    """The provider."""
    async with a_grid_server() as running:
        yield running


@pytest.fixture(params=KINDS)
async def source(request: pytest.FixtureRequest, server: GridServer) -> AsyncIterator[GridSource]:
    """Each implementation of the seam, knowing zone Z."""
    clock, codes, url = a_clock(), {"Z": "Z"}, server.url
    async with a_fetcher(clock) as fetcher:
        sources: dict[str, GridSource] = {
            "electricity-maps": ElectricityMaps(fetcher=fetcher, clock=clock, key=lambda: "k", codes=codes, url=url),
            "watttime": WattTime(fetcher=fetcher, clock=clock, login=lambda: ("a", "b"), codes=codes, url=url),
            "neso": Neso(
                fetcher=fetcher,
                clock=clock,
                codes={"Z": "GB"},
                fuels=fuel_codes("neso"),
                factors=fuel_factors(),
                url=url,
            ),
            "neso-region": Neso(
                fetcher=fetcher,
                clock=clock,
                codes={"Z": "13"},
                fuels=fuel_codes("neso"),
                factors=fuel_factors(),
                url=url,
            ),
            "eia": Eia(
                fetcher=fetcher, key=lambda: "k", codes=codes, fuels=fuel_codes("eia"), factors=fuel_factors(), url=url
            ),
            "entso-e": EntsoE(
                fetcher=fetcher,
                key=lambda: "k",
                codes=codes,
                fuels=fuel_codes("entso-e"),
                factors=fuel_factors(),
                url=url,
            ),
            "openelectricity": OpenElectricity(fetcher=fetcher, key=lambda: "k", codes=codes, url=url),
        }
        yield sources[request.param]


def test_what_it_says_of_itself_is_consistent(source: GridSource) -> None:
    """Forecasts are of its signals; a poll looks back further than a slot; a call covers a poll."""
    facts = source.about()

    assert facts.provider
    assert set(facts.forecasts) <= set(facts.signals)
    assert 0 < facts.slot_us < facts.recent_us <= facts.history_us
    assert facts.history_us >= DAY_US
    assert frozenset({"Z"}) == source.zones()


NONSENSE = ("", "[]", "{}", '{"data": 5}', "null", "<a/>", "\xff", "[" * 100_000)
REFUSALS = (Answer("busy", status=429, headers={"retry-after": "7"}), Answer("no", status=500))


@pytest.mark.parametrize("answer", [*map(Answer, NONSENSE), *REFUSALS], ids=range(len(NONSENSE) + len(REFUSALS)))
async def test_whatever_comes_is_told_as_one_kind_of_trouble(
    source: GridSource, server: GridServer, answer: Answer
) -> None:
    """No answer makes another error, and none makes a reading of nothing."""
    server.says = Everywhere(answer)

    for signal in source.about().signals:
        with pytest.raises(GridUnavailable) as told:
            await source.read(zone="Z", signal=signal, start_us=NOW_US - HOUR_US, end_us=NOW_US)
        assert (7 if answer.status == 429 else None) == told.value.retry_after_s


async def test_a_signal_without_a_forecast_has_none(source: GridSource, server: GridServer) -> None:
    """And nobody is asked for it."""
    asked: list[Asked] = server.asked
    for signal in set(source.about().signals) - set(source.about().forecasts):
        assert [] == await source.forecast(zone="Z", signal=signal)

    assert [] == asked
