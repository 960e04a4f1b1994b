"""What is around every request: its id, its log line, its measure, the last answer to an error."""

from __future__ import annotations

import logging
import re
import time
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from voxtra.ids import new_id
from voxtra.web.logs import bound
from voxtra.web.metrics import Metrics
from voxtra.web.problems import answer, problem_of

__all__ = ["Envelope", "route_of"]

log = logging.getLogger("voxtra.access")

_SANE_ID: Final = re.compile(r"[A-Za-z0-9._:-]{1,64}")

_HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
}
"""Of every answer that does not say otherwise itself."""

_QUIET: Final = frozenset({"/healthz", "/readyz", "/metrics"})
"""Asked every few seconds by machines: their lines are for debugging."""


def route_of(scope: Scope) -> str:
    """Return the path template that a request was matched with; nothing that a client chooses."""
    return getattr(scope.get("route"), "path_format", "") or "(none)"


class Envelope:
    """The outermost part of the site."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if _SANE_ID.fullmatch(given) else new_id()
        scope.setdefault("state", {})["request_id"] = request_id
        with bound(request_id=request_id):
            await self._carry(scope, receive, send, request_id)

    async def _carry(self, scope: Scope, receive: Receive, send: Send, request_id: str) -> None:
        began = time.perf_counter()
        status, size = 0, 0

        async def watched(message: Message) -> None:
            nonlocal status, size
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-ID"] = request_id
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            elif message["type"] == "http.response.body":
                size += len(message.get("body", b""))
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except ClientDisconnect:
            pass  # nobody is there to be answered
        except Exception as error:
            log.exception("%s %s failed", scope["method"], scope["path"])
            if status:
                raise  # it is answered already: the connection is broken off, so that it is seen
            await answer(problem_of(error), scope)(scope, receive, watched)
        finally:
            self._note(scope, status, size, time.perf_counter() - began)

    def _note(self, scope: Scope, status: int, size: int, seconds: float) -> None:
        self._metrics.observe(scope["method"], route_of(scope), status, seconds)
        client = scope.get("client")
        log.log(
            logging.DEBUG if scope["path"] in _QUIET else logging.INFO,
            "%s %s",
            scope["method"],
            scope["path"],
            extra={
                "status": status,
                "seconds": round(seconds, 6),
                "bytes": size,
                "remote": client[0] if client else "",
            },
        )
