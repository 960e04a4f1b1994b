"""Writes down what calls and conferences do: their rows, and the journal with its webhooks.

Events come in order and at once, from the loop that serves the calls; they are written by one task,
many in a transaction when many wait. What recordings do is not written here: their rows are, in the
transaction of each change, by the store.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from voxtra.events import EventType, VoxtraEvent
from voxtra.model import DEFAULT_TENANT, CallDirection, CallState
from voxtra.retry import delays
from voxtra.session import CallSession
from voxtra.store import calls, conferences, journal
from voxtra.store.database import Database

__all__ = ["CallLog"]

log = logging.getLogger(__name__)

BATCH: Final = 100
"""Events in one transaction: a commit that is on the disk takes milliseconds, however much is in
it.
"""

_BY_OTHERS: Final = frozenset(
    {
        # in the transaction of the recording's row
        *(
            EventType.RECORDING_STARTED,
            EventType.RECORDING_PAUSED,
            EventType.RECORDING_RESUMED,
            EventType.RECORDING_FINISHED,
            EventType.RECORDING_FAILED,
            EventType.RECORDING_AVAILABLE,
        ),
        # Digits are card numbers and PINs: they reach the handler, and nothing that is kept.
        EventType.DTMF_RECEIVED,
    }
)


class CallLog:
    """The log of one node's calls.

    `session_of` returns a call that is up, or None. An event that comes while the database is away
    waits; it is in memory alone until it is written.
    """

    def __init__(
        self,
        database: Database,
        node: str,
        session_of: Callable[[str], CallSession | None],
        tenant_of_conference: Callable[[str], str | None],
    ) -> None:
        self._database = database
        self._node = node
        self._session_of = session_of
        self._tenant_of_conference = tenant_of_conference
        self._waiting: deque[tuple[VoxtraEvent, str, CallSession | None]] = deque()
        self._tenants: dict[str, str] = {}
        self._arrived = asyncio.Event()
        self._written = asyncio.Event()
        self._written.set()

    def on_event(self, event: VoxtraEvent) -> None:
        """Take an event of the app."""
        if event.type in _BY_OTHERS:
            return
        session = self._session_of(event.session_id)
        tenant_id = self._tenant(event, session)
        self._waiting.append((event, tenant_id, session))
        self._written.clear()
        self._arrived.set()

    def unwritten(self) -> set[str]:
        """Return the calls and conferences of which there is more to write."""
        return {event.session_id for event, _, _ in self._waiting}

    async def run(self) -> None:
        """Write for ever."""
        waits = delays(0.2, cap=10.0)
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            while self._waiting:
                batch = [self._waiting[at] for at in range(min(BATCH, len(self._waiting)))]
                try:
                    await self._write(batch)
                except (SQLAlchemyError, OSError) as error:
                    log.error("%d events wait for the database: %s", len(self._waiting), error)
                    await asyncio.sleep(next(waits))
                    continue
                waits = delays(0.2, cap=10.0)
                for _ in batch:
                    self._waiting.popleft()
            self._written.set()

    async def written(self) -> None:
        """Wait until all that came so far is written."""
        await self._written.wait()

    def _tenant(self, event: VoxtraEvent, session: CallSession | None) -> str:
        """Return whose event it is. A call's end comes when the call is gone from the app."""
        known = self._tenants.get(event.session_id)
        if known is None:
            known = session.tenant_id if session is not None else None
            known = known or self._tenant_of_conference(event.session_id) or DEFAULT_TENANT
            self._tenants[event.session_id] = known
        if event.type in (EventType.CALL_ENDED, EventType.CONFERENCE_ENDED):
            self._tenants.pop(event.session_id, None)
        return known

    async def _write(self, batch: list[tuple[VoxtraEvent, str, CallSession | None]]) -> None:
        async with self._database.write() as connection:
            for event, tenant_id, session in batch:
                note = _NOTES.get(event.type)
                if note is not None:
                    await note(self, connection, event, tenant_id, session)
                await journal.append(connection, event, tenant_id=tenant_id)

    async def _started(
        self,
        connection: AsyncConnection,
        event: VoxtraEvent,
        tenant_id: str,
        session: CallSession | None,
    ) -> None:
        await calls.begin(
            connection,
            call_id=event.session_id,
            tenant_id=tenant_id,
            node=self._node,
            direction=CallDirection(event.data["direction"]),
            caller=event.data["caller_id"],
            callee=event.data["called_number"],
            metadata=session.metadata if session is not None else {},
            at=event.timestamp,
        )

    async def _answered(
        self,
        connection: AsyncConnection,
        event: VoxtraEvent,
        tenant_id: str,
        session: CallSession | None,
    ) -> None:
        await calls.answered(connection, event.session_id, event.timestamp)

    async def _ended(
        self,
        connection: AsyncConnection,
        event: VoxtraEvent,
        tenant_id: str,
        session: CallSession | None,
    ) -> None:
        failed = event.type is EventType.CALL_FAILED
        await calls.ended(
            connection,
            event.session_id,
            event.timestamp,
            cause=event.data.get("cause", 0),
            reason=event.data.get("reason", ""),
            state=CallState.FAILED if failed else CallState.COMPLETED,
        )

    async def _transferred(
        self,
        connection: AsyncConnection,
        event: VoxtraEvent,
        tenant_id: str,
        session: CallSession | None,
    ) -> None:
        other = event.data.get("transferred_to") or event.data.get("replaced_by")
        if other:
            await calls.transferred(connection, event.session_id, other, event.timestamp)

    async def _conference_started(
        self,
        connection: AsyncConnection,
        event: VoxtraEvent,
        tenant_id: str,
        session: CallSession | None,
    ) -> None:
        await conferences.create(
            connection,
            conference_id=event.session_id,
            tenant_id=tenant_id,
            node=self._node,
            name=event.data["name"],
            at=event.timestamp,
        )

    async def _joined(
        self,
        connection: AsyncConnection,
        event: VoxtraEvent,
        tenant_id: str,
        session: CallSession | None,
    ) -> None:
        await conferences.joined(
            connection, event.session_id, event.data["call_id"], event.timestamp
        )

    async def _left(
        self,
        connection: AsyncConnection,
        event: VoxtraEvent,
        tenant_id: str,
        session: CallSession | None,
    ) -> None:
        await conferences.left(connection, event.session_id, event.data["call_id"], event.timestamp)

    async def _conference_ended(
        self,
        connection: AsyncConnection,
        event: VoxtraEvent,
        tenant_id: str,
        session: CallSession | None,
    ) -> None:
        await conferences.end(connection, event.session_id, event.timestamp)


_Note = Callable[[CallLog, AsyncConnection, VoxtraEvent, str, CallSession | None], Awaitable[None]]

_NOTES: Final[dict[EventType, _Note]] = {
    EventType.CALL_STARTED: CallLog._started,
    EventType.CALL_ANSWERED: CallLog._answered,
    EventType.CALL_ENDED: CallLog._ended,
    EventType.CALL_FAILED: CallLog._ended,
    EventType.CALL_TRANSFERRED: CallLog._transferred,
    EventType.CONFERENCE_STARTED: CallLog._conference_started,
    EventType.CONFERENCE_JOINED: CallLog._joined,
    EventType.CONFERENCE_LEFT: CallLog._left,
    EventType.CONFERENCE_ENDED: CallLog._conference_ended,
}
