"""What a replica offers over HTTP beside inference: administration and receipts, each an application of its own."""

import asyncio
from collections.abc import Mapping
from pathlib import Path

from greenserve.carbon.ledger.book import SqlLedger
from greenserve.config import Config
from greenserve.ports import Clock
from greenserve.serve.control import ask
from greenserve.serve.gateway import Gateway
from greenserve.serve.http.admin.app import AdminApp
from greenserve.serve.http.admin.explaining import Explainer
from greenserve.serve.http.admin.office import Reload, Reserved
from greenserve.serve.http.message import AsgiApp
from greenserve.serve.http.receipts import ReceiptsApp
from greenserve.serve.receipts import Receipts

RELOAD_S = 600.0


class Mounts:
    """The applications by the prefix that they answer under, for `HttpApp(extra=...)`."""

    def __init__(
        self,
        *,
        gateway: Gateway,
        config: Config,
        ledger: SqlLedger,
        clock: Clock,
        fingerprint: str,
        reserved: Reserved | None = None,
        reload: Reload | None = None,
    ) -> None:
        self.explainer = Explainer(gateway=gateway, config=config, clock=clock, fingerprint=fingerprint)
        self._admin = AdminApp(
            gateway=gateway,
            config=config,
            ledger=ledger,
            clock=clock,
            fingerprint=fingerprint,
            reserved=reserved,
            reload=reload,
        )
        self._receipts = ReceiptsApp(admission=gateway.admission, ledger=ledger, clock=clock)

    def __repr__(self) -> str:
        return f"<Mounts: {self._admin!r}, {self._receipts!r}>"

    @property
    def receipts(self) -> Receipts:
        """What looks receipts up, for other protocols too."""
        return self._receipts.receipts

    @property
    def apps(self) -> Mapping[tuple[str, ...], AsgiApp]:
        """Prefix to application."""
        return {("admin",): self._admin, ("v1", "receipts"): self._receipts}

    def close(self) -> None:
        """Drop what has not begun."""
        self._admin.close()
        self._receipts.close()


def reload_by_driver(folder: Path) -> Reload:
    """Ask the driver of the run folder to load a model again on all replicas, this one among them."""

    async def reload(model: str) -> Mapping[str, object]:
        command = {"command": "reload", "model": model}
        return await asyncio.to_thread(ask, folder, command, timeout_s=RELOAD_S)

    return reload
