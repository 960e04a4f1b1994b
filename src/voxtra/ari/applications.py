"""Stasis applications: what they are told of."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from voxtra.ari.http import AriHttp, segment
from voxtra.ari.schema import EVENT_TYPES, Application

__all__ = ["ApplicationVerbs"]

_APPLICATION: Final = msgspec.json.Decoder(Application)
_APPLICATIONS: Final = msgspec.json.Decoder(list[Application])


class ApplicationVerbs(AriHttp):
    """Subscriptions and the event filter. The application is ours unless `app` names another."""

    async def list_applications(self) -> list[Application]:
        """Return all applications. When this hangs, Asterisk is deadlocked: a sign of health."""
        return await self._fetch(_APPLICATIONS, "GET", "/applications")

    async def get_application(self, app: str = "") -> Application:
        """Return an application with its subscriptions; NotFound when nobody serves it."""
        return await self._fetch(_APPLICATION, "GET", self._path(app))

    async def subscribe(self, *sources: str, app: str = "") -> Application:
        """Hear of `channel:<id>`, `bridge:<id>` or `endpoint:<tech>/<name>`; of all, without an id.

        Raises ValueError for device states: with them a dropped websocket can deadlock Asterisk.
        """
        for source in sources:
            if source.startswith("deviceState:"):
                problem = (
                    "subscribing to device states can deadlock Asterisk: subscribe to endpoints"
                )
                raise ValueError(problem)
        params = {"eventSource": sources}
        return await self._fetch(_APPLICATION, "POST", f"{self._path(app)}/subscription", params)

    async def unsubscribe(self, *sources: str, app: str = "") -> Application:
        """Hear of them no more. A subscription to all of a kind can't be taken back (501)."""
        params = {"eventSource": sources}
        return await self._fetch(_APPLICATION, "DELETE", f"{self._path(app)}/subscription", params)

    async def set_event_filter(
        self, *, allowed: Iterable[str] = (), disallowed: Iterable[str] = (), app: str = ""
    ) -> Application:
        """Be told only of the event types `allowed` (none: of all), and not of those `disallowed`.

        Gone after a reconnect. Raises ValueError for a type we don't know: Asterisk would accept
        it, and silently send nothing at all.
        """
        kinds = {"allowed": list(allowed), "disallowed": list(disallowed)}
        for kind in (*kinds["allowed"], *kinds["disallowed"]):
            if kind not in EVENT_TYPES:
                raise ValueError(f"{kind!r} is no event of ARI")
        params = {name: [{"type": kind} for kind in chosen] for name, chosen in kinds.items()}
        return await self._fetch(_APPLICATION, "PUT", f"{self._path(app)}/eventFilter", params)

    def _path(self, app: str) -> str:
        return f"/applications/{segment(app or self.app_name)}"
