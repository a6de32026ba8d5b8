"""The audit of what is gone: which rows may lack their bodies, and which sums stand for them. Pure."""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from greenserve.carbon.erasing import PARTS, Kept, Leaves, whose
from greenserve.carbon.ledger.rollup import RollupKey, Sums, sums_of
from greenserve.carbon.ledger.row import Row, month_of
from greenserve.carbon.ledger.spend import Spend, SpendKey
from greenserve.carbon.removed_keys import is_erased
from greenserve.carbon.tally import Tally

Body = Mapping[str, Any]
StoredRollups = Mapping[RollupKey, tuple[Sums, bytes]]


class GoneRows:
    """Whether each row without a body is one that an `erased` entry says is gone, or an `archived` one.

    Feed it all of them in order of index. State: by stand-in the entry that speaks of it, and the rows so far; months
    whose bodies were moved to a file, which has checks of its own.
    """

    def __init__(self, erased: Iterable[tuple[int, Body]], archived: Collection[int] = ()) -> None:
        self._archived = frozenset(archived)
        self._claims = {body["subject"]: (idx, body) for idx, body in erased}
        self._rows = {subject: Leaves() for subject in self._claims}

    def __repr__(self) -> str:
        return f"<GoneRows of {len(self._claims)} erasures>"

    def take(self, row: Row) -> bool:
        """Whether an entry speaks of this row at all."""
        if not is_erased(row.tenant) and row.period in self._archived:
            return True
        leaves = self._rows.get(row.tenant)
        if leaves is None or self._claims[row.tenant][0] <= row.idx:
            return False
        leaves.take((row.idx, row.period, row.kind, row.key, row.attempt, row.revision, row.hour))
        return True

    def findings(self) -> Iterator[str]:
        """After the last row: entries that say otherwise than the rows are."""
        for subject, (idx, body) in self._claims.items():
            told, found = body["leaves"], self._rows[subject].members()
            if told != found:
                yield f"entry {idx} (erased {subject}): says that {told} are gone, the rows say {found}"


class Removals:
    """What erasures leave for the fold of the sums. State: `erased` bodies by stand-in; months that lost lines."""

    def __init__(self) -> None:
        self._erased: dict[str, tuple[int, Body]] = {}
        self._months: set[int] = set()

    def __repr__(self) -> str:
        return f"<Removals: {len(self._erased)} erasures>"

    def lose(self, row: Row) -> None:
        """A usage row without its body."""
        self._months.add(month_of(row.hour))

    def erase(self, idx: int, body: Body) -> None:
        """An `erased` entry."""
        self._erased[body["subject"]] = (idx, body)

    def lacks(self, month: int) -> bool:
        """Whether lines that counted in a month (yyyymm) are gone: its sums cannot be folded again."""
        return month in self._months

    def parts(self) -> Counter[str]:
        """What the erased lines had of their devices' intervals [uJ], as the entries say."""
        sums: Counter[str] = Counter(dict.fromkeys(PARTS, 0))
        for _, body in self._erased.values():
            sums.update(body["settled"])
        return sums

    def apart(self, rollups: StoredRollups) -> dict[RollupKey, tuple[Sums, bytes]]:
        """The stored rows that lines still stand behind."""
        return {key: sums for key, sums in rollups.items() if not is_erased(key.tenant)}

    def with_kept(
        self, folded: Mapping[SpendKey, Spend], stored: Mapping[SpendKey, Spend]
    ) -> tuple[dict[SpendKey, Spend], dict[SpendKey, Spend]]:
        """Both without kept rows, which are added to the folded ones: what they must sum to."""
        again, rest = dict(folded), dict[SpendKey, Spend]()
        for key, spend in stored.items():
            if is_erased(key.subject):
                _, original = whose(key)
                again[original] = again.get(original, Spend()).plus(spend)
            else:
                rest[key] = spend
        return again, rest

    def findings(self, rollups: StoredRollups, spends: Mapping[SpendKey, Spend]) -> Iterator[str]:
        """Kept sums that are not those that the entries froze."""
        kept_rollups: dict[str, list[tuple[RollupKey, Tally]]] = {}
        for key, (sums, data) in sorted(rollups.items()):
            if is_erased(key.tenant):
                tally = Tally.from_json(data)
                kept_rollups.setdefault(key.tenant, []).append((key, tally))
                if sums_of(tally) != sums:
                    yield f"rollup {key}: its columns are {sums}, its tally gives {sums_of(tally)}"
        kept_spends: dict[str, list[tuple[SpendKey, Spend]]] = {}
        for place, spend in sorted(spends.items()):
            if is_erased(place.subject):
                kept_spends.setdefault(whose(place)[0], []).append((place, spend))
        for subject in sorted(self._erased.keys() | kept_rollups.keys() | kept_spends.keys()):
            kept = Kept(rollups=kept_rollups.get(subject, []), spends=kept_spends.get(subject, []))
            idx, body = self._erased.get(subject, (None, None))
            if body is None:
                yield f"sums of {subject} are kept, which no erased entry speaks of"
            elif kept.members() != body["kept"]:
                yield f"entry {idx} (erased {subject}): kept sums were {body['kept']}, now {kept.members()}"
