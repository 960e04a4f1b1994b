"""The events of a tenant as they happen: server-sent events, to be resumed where they broke off.

Every event has its number as `id`, in the order of the commits. A stream keeps nothing for its
client: it reads the journal from the last number that it has sent, and waits for the client to take
what it sends. A client that takes nothing for `PATIENCE` seconds is disconnected; it comes back
with `Last-Event-ID` and misses nothing.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Any, Final

from fastapi import APIRouter, Header, Query, Request
from sqlalchemy import Row
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from voxtra.events import EventType
from voxtra.posting import encode_json
from voxtra.service.access import is_valid
from voxtra.service.context import Service
from voxtra.store import journal
from voxtra.store.usage import last_event
from voxtra.web.auth import Principal, require
from voxtra.web.problems import Problem, problems
from voxtra.web.site import service_of

__all__ = ["router"]

log = logging.getLogger(__name__)

router = APIRouter(prefix="/v1.0/events", tags=["events"])

HEARTBEAT: Final = 15.0
"""Seconds after which a quiet stream shows that it lives, and every stream's key is looked at."""

LOOK: Final = 2.0
"""Seconds after which the journal is looked at without a signal: with SQLite the other processes
can't give one.
"""

PATIENCE: Final = 30.0
"""Seconds that a client may take to make room for what is sent to it."""

STREAMS: Final = 10
"""Open streams of one key."""

_BATCH: Final = 200
_LARGEST: Final = 2**63 - 1
_RETRY: Final = b"retry: 2000\n"  # milliseconds until a client comes back
_MEDIA_TYPE: Final = "text/event-stream"
_EXAMPLE: Final = (
    "id: 4711\nevent: recording.available\n"
    'data: {"id":"0199f3a2d1aa7b0c8f5e9a6b3c2d1e0f","type":"recording.available",'
    '"session_id":"0199f3a2c4d07c1e9b52a6f0d3e81b47","timestamp":"2026-03-02T09:15:00.214Z",'
    '"data":{"recording_id":"0199f3a2c4d07c1e9b52a6f0d3e81b47"}}\n\n'
)

_SCHEMA: Final = {
    "type": "object",
    "description": "One event of the stream.",
    "properties": {
        "id": {"type": "string", "description": "Its number: what Last-Event-ID takes."},
        "event": {"type": "string", "description": "Its type."},
        "data": {
            "type": "string",
            "contentMediaType": "application/json",
            "contentSchema": {"$ref": "#/components/schemas/Event"},
        },
    },
}


@router.get(
    "",
    response_class=Response,
    responses={
        200: {
            "description": "The stream. It ends when the key is no longer valid.",
            "content": {_MEDIA_TYPE: {"schema": _SCHEMA, "example": _EXAMPLE}},
        },
        **problems("too_many_streams"),
    },
)
async def follow(
    request: Request,
    principal: Annotated[Principal, require("calls:read")],
    after: Annotated[
        int | None,
        Query(ge=0, le=_LARGEST, description="Begin after this number; 0: with the oldest event."),
    ] = None,
    types: Annotated[
        str, Query(max_length=1000, description="Types, separated by commas; empty: all.")
    ] = "",
    last_event_id: Annotated[
        str, Header(max_length=19, description="The number of the last event; before `after`.")
    ] = "",
) -> Response:
    """Follow the tenant's events: from now on, or after a number that was seen."""
    if last_event_id:
        after = _number(last_event_id)
    wanted = _wanted(types)
    streams: Counter[str] = request.app.state.streams
    if streams[principal.key_id] >= STREAMS:
        raise Problem("too_many_streams", headers={"Retry-After": "5"})
    service = service_of(request)
    async with service.database.read() as connection:
        last = await last_event(connection, principal.tenant_id)
    position = last if after is None else min(after, last)
    closing: asyncio.Event = request.app.state.closing
    return _Stream(
        service, principal, position=position, wanted=wanted, streams=streams, closing=closing
    )


class _Stream(Response):
    """One client's stream."""

    media_type = _MEDIA_TYPE

    def __init__(
        self,
        service: Service,
        principal: Principal,
        *,
        position: int,
        wanted: frozenset[str],
        streams: Counter[str],
        closing: asyncio.Event,
    ) -> None:
        super().__init__(headers={"X-Accel-Buffering": "no"})  # nginx would hold events back
        del self.headers["content-length"]
        self._service = service
        self._principal = principal
        self._position = position
        self._wanted = wanted
        self._streams = streams
        self._closing = closing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send until the client goes, the key ends or the process is to stop."""
        key = self._principal.key_id
        self._streams[key] += 1
        ends = [asyncio.create_task(_gone(receive)), asyncio.create_task(self._closing.wait())]
        try:
            with self._service.database.signals.subscribe("events") as signal:
                await self._run(send, signal, ends)
        except TimeoutError:
            log.info("a client of the events takes nothing any more and is disconnected")
        finally:
            self._streams[key] -= 1
            for task in ends:
                task.cancel()
            await asyncio.gather(*ends, return_exceptions=True)

    async def _run(
        self, send: Send, signal: asyncio.Event, ends: Sequence[asyncio.Task[Any]]
    ) -> None:
        head = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        await send(head)
        # The number at once: who is cut off before the first event comes back to this place.
        await _send(send, _RETRY + self._place())
        looked = sent = time.monotonic()
        while not any(task.done() for task in ends):
            signal.clear()  # before the look: what comes after it sets it again
            chunk, more = await self._read()
            now = time.monotonic()
            if now - looked >= HEARTBEAT:
                looked = now
                if not await self._may_go_on():
                    break
            if chunk or now - sent >= HEARTBEAT:
                sent = now
                await _send(send, chunk or b":\n\n")
            if not more:
                await _first(signal, ends)
        await _send(send, b"", more=False)

    async def _read(self) -> tuple[bytes, bool]:
        """Return what is new, and whether there is still more."""
        async with self._service.database.read() as connection:
            rows = await journal.since(
                connection, self._principal.tenant_id, self._position, limit=_BATCH
            )
        if not rows:
            return b"", False
        self._position = rows[-1].seq
        shown = [row for row in rows if not self._wanted or row.type in self._wanted]
        # Also the numbers of what is not wanted are passed on: nobody reads them again.
        place = b"" if shown and shown[-1] is rows[-1] else self._place()
        return b"".join(map(_shown, shown)) + place, len(rows) == _BATCH

    async def _may_go_on(self) -> bool:
        async with self._service.database.read() as connection:
            return await is_valid(connection, self._principal, self._service.clock())

    def _place(self) -> bytes:
        return b"id: %d\n\n" % self._position


async def _send(send: Send, body: bytes, *, more: bool = True) -> None:
    async with asyncio.timeout(PATIENCE):
        await send({"type": "http.response.body", "body": body, "more_body": more})


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _first(signal: asyncio.Event, ends: Sequence[asyncio.Task[Any]]) -> None:
    """Wait until there is something to look at, or a reason to end."""
    waiting = asyncio.create_task(signal.wait())
    try:
        await asyncio.wait([waiting, *ends], timeout=LOOK, return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()


def _shown(row: Row[Any]) -> bytes:
    body = encode_json(
        {
            "id": row.id,
            "type": row.type,
            "session_id": row.session_id,
            "timestamp": row.at,
            "data": row.data,
        }
    )
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (row.seq, row.type.encode(), body)


def _number(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or int(text) > _LARGEST:
        raise Problem(
            "invalid_request",
            "Last-Event-ID: Is no number that this stream gave; leave it out to begin anew.",
            field="Last-Event-ID",
        )
    return int(text)


def _wanted(types: str) -> frozenset[str]:
    wanted = frozenset(filter(None, types.split(",")))
    unknown = sorted(wanted - set(EventType))
    if unknown:
        raise Problem(
            "invalid_request",
            f"types: {unknown[0]!r} is no type of event; there are {', '.join(EventType)}.",
            field="types",
        )
    return wanted
