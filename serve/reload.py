"""Hot reload of a model's manifest: loaded beside the old one everywhere, then swapped everywhere, or nowhere.

`Reloader` is the part within a gateway replica; `reload_everywhere` leads all replicas through it.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from greenserve.errors import GreenServeError, ReloadFailed
from greenserve.serve.models import Models, ServedModel

log = logging.getLogger("greenserve.reload")
Report = Mapping[str, Any]
PREPARE, COMMIT, ABANDON = "prepare", "commit", "abandon"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reloaded:
    """A model after its reload: the manifest's version and digest, and how many replicas serve it."""

    model: str
    digest: str
    replicas: int


def fine(digest: str) -> Report:
    """A replica's answer where the step went well: the digest of the manifest that it concerns."""
    return {"ok": True, "digest": digest}


def failed(reason: str) -> Report:
    """A replica's answer where it did not."""
    return {"ok": False, "reason": reason}


class Reloader:
    """Loads models again within one gateway replica.

    State: the models that are prepared and not yet committed, by name; changed on the event loop alone.
    """

    def __init__(
        self,
        *,
        models: Models,
        load: Callable[[str], ServedModel],
        swapped: Callable[[ServedModel, ServedModel], None],
    ) -> None:
        """`load` reads and warms up a model by name, blocking; `swapped` is told (old, new) in the same turn."""
        self._models = models
        self._load = load
        self._swapped = swapped
        self._prepared: dict[str, ServedModel] = {}
        self._loading: set[str] = set()

    def __repr__(self) -> str:
        return f"<Reloader, prepared {sorted(self._prepared)}, loading {sorted(self._loading)}>"

    async def prepare(self, name: str) -> Report:
        """Read, verify, load and warm up beside what serves; nothing changes for requests."""
        if name in self._loading:
            return failed(f"model {name} is being loaded again already; wait for that")
        self._loading.add(name)
        try:
            model = await asyncio.to_thread(self._load, name)
        except GreenServeError as error:
            return failed(f"a gateway: {error}")
        except Exception as error:  # an engine may raise anything
            log.exception("the new manifest of %s does not load", name)
            return failed(f"a gateway: {type(error).__name__}: {error}")
        finally:
            self._loading.discard(name)
        self._prepared[name] = model
        return fine(model.manifest.digest)

    async def commit(self, name: str) -> Report:
        """Serve what was prepared from the next request on; what waits runs on the artefact that it was routed to."""
        fresh = self._prepared.pop(name, None)
        old = self._models.find(name)
        if fresh is None:  # started since: it read the new manifest at its start
            return fine(old.manifest.digest)
        self._models.replace(fresh)
        self._swapped(old, fresh)
        log.info("model %s: manifest %.12s replaces %.12s", name, fresh.manifest.digest, old.manifest.digest)
        return fine(fresh.manifest.digest)

    async def abandon(self, name: str) -> Report:
        """Forget what was prepared."""
        self._prepared.pop(name, None)
        return fine(self._models.find(name).manifest.digest)


class Everybody(Protocol):
    """All replicas of a deployment."""

    def ask(self, step: str, model: str) -> Sequence[Report]:
        """The answers of all replicas to one step; blocks."""


def reload_everywhere(model: str, parties: Sequence[Everybody]) -> Reloaded:
    """Prepare all parties in their order, then commit all in the opposite order, so that who sends work swaps first.

    Raises ReloadFailed with every reason; the old manifest then serves on everywhere.
    """
    reports: list[Report] = []
    for place, party in enumerate(parties):
        reports += party.ask(PREPARE, model)
        reasons = dict.fromkeys(str(report["reason"]) for report in reports if not report["ok"])
        digests = {str(report["digest"]) for report in reports if report["ok"]}
        if len(digests) > 1 and not reasons:
            reasons = {f"the manifest changed while it was read ({len(digests)} different ones were): try again": None}
        if reasons or not reports:
            for prepared in parties[: place + 1]:
                prepared.ask(ABANDON, model)
            raise ReloadFailed(
                f"model {model} was not reloaded, the old manifest serves on: "
                + ("; ".join(reasons) or "no replica answered; see `greenserve status`")
            )
    for party in reversed(parties):
        party.ask(COMMIT, model)
    return Reloaded(model=model, digest=str(reports[0]["digest"]), replicas=len(reports))
