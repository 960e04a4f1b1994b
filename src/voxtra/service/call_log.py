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
from itertools import islice
from typing import Final

from sqlalchemy import select
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, SQLAlchemyError, StatementError
from sqlalchemy.ext.asyncio import AsyncConnection

from voxtra.conference import Conference
from voxtra.events import EventType, VoxtraEvent
from voxtra.model import DEFAULT_TENANT, CallDirection, CallState
from voxtra.retry import delays
from voxtra.session import CallSession
from voxtra.store import calls, conferences, journal, schema
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


_Holder = CallSession | Conference | None


class CallLog:
    """The log of one node's calls.

    `holder_of` returns a call that is up or a conference that is not over, or None. An event that
    comes while the database is away waits; it is in memory alone until it is written. One that the
    database refuses is left out, with an error in the log: all others would wait behind it.
    """

    def __init__(self, database: Database, node: str, holder_of: Callable[[str], _Holder]) -> None:
        self._database = database
        self._node = node
        self._holder_of = holder_of
        self._waiting: deque[tuple[VoxtraEvent, str, _Holder]] = deque()
        self._tenants: dict[str, str] = {}
        self._arrived = asyncio.Event()
        self._written = asyncio.Event()
        self._written.set()

    def on_event(self, event: VoxtraEvent) -> None:
        """Take an event of the app."""
        if event.type in _BY_OTHERS:
            return
        holder = self._holder_of(event.session_id)
        self._waiting.append((event, self._tenant(event, holder), holder))
        self._written.clear()
        self._arrived.set()

    def unwritten(self) -> set[str]:
        """Return the calls and conferences of which there is more to write."""
        return {event.session_id for event, _, _ in self._waiting}

    async def run(self) -> None:
        """Write for ever."""
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            await self._write_all()
            self._written.set()

    async def _write_all(self) -> None:
        waits = delays(0.2, cap=10.0)
        size = BATCH
        while self._waiting:
            batch = list(islice(self._waiting, size))
            try:
                await self._write(batch)
            except Exception as error:
                if isinstance(error, (SQLAlchemyError, OSError)) and not _is_refusal(error):
                    log.error("%d events wait for the database: %s", len(self._waiting), error)
                    await asyncio.sleep(next(waits))
                    continue
                if len(batch) > 1:
                    size = 1  # to find out which one it is
                    continue
                event = batch[0][0]
                log.exception("%s of %s can't be written and is left out", event.type, event.id)
                size = BATCH
            waits = delays(0.2, cap=10.0)
            for _ in batch:
                self._waiting.popleft()

    async def written(self) -> None:
        """Wait until all that came so far is written."""
        await self._written.wait()

    def _tenant(self, event: VoxtraEvent, holder: _Holder) -> str:
        """Return whose event it is, "" where only the row can tell: a call that ends is gone from
        the app by then, and a handler may go on after its call.
        """
        known = holder.tenant_id if holder is not None else self._tenants.get(event.session_id, "")
        over = event.type in (EventType.CALL_ENDED, EventType.CONFERENCE_ENDED)
        if over or holder is None:
            self._tenants.pop(event.session_id, None)
        else:
            self._tenants[event.session_id] = known
        return known

    async def _write(self, batch: list[tuple[VoxtraEvent, str, _Holder]]) -> None:
        async with self._database.write(durable=False) as connection:
            for event, known, holder in batch:
                tenant_id = known or await _tenant_of_row(connection, event.session_id)
                note = _NOTES.get(event.type)
                if note is not None:
                    await note(self, connection, event, tenant_id, holder)
                await journal.append(connection, event, tenant_id=tenant_id)

    async def _started(
        self,
        connection: AsyncConnection,
        event: VoxtraEvent,
        tenant_id: str,
        holder: _Holder,
    ) -> None:
        await calls.begin(
            connection,
            call_id=event.session_id,
            tenant_id=tenant_id,
            node=self._node,
            direction=CallDirection(event.data["direction"]),
            caller=event.data["caller_id"],
            callee=event.data["called_number"],
            metadata=holder.metadata if holder is not None else {},
            at=event.timestamp,
        )

    async def _answered(
        self,
        connection: AsyncConnection,
        event: VoxtraEvent,
        tenant_id: str,
        holder: _Holder,
    ) -> None:
        await calls.answered(connection, event.session_id, event.timestamp)

    async def _ended(
        self,
        connection: AsyncConnection,
        event: VoxtraEvent,
        tenant_id: str,
        holder: _Holder,
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
        holder: _Holder,
    ) -> None:
        other = event.data.get("transferred_to") or event.data.get("replaced_by")
        if other:
            await calls.transferred(connection, event.session_id, other, event.timestamp)

    async def _conference_started(
        self,
        connection: AsyncConnection,
        event: VoxtraEvent,
        tenant_id: str,
        holder: _Holder,
    ) -> None:
        await conferences.create(
            connection,
            conference_id=event.session_id,
            tenant_id=tenant_id,
            node=self._node,
            name=event.data["name"],
            metadata=holder.metadata if holder is not None else {},
            at=event.timestamp,
        )

    async def _joined(
        self,
        connection: AsyncConnection,
        event: VoxtraEvent,
        tenant_id: str,
        holder: _Holder,
    ) -> None:
        await conferences.joined(
            connection, event.session_id, event.data["call_id"], event.timestamp
        )

    async def _left(
        self,
        connection: AsyncConnection,
        event: VoxtraEvent,
        tenant_id: str,
        holder: _Holder,
    ) -> None:
        await conferences.left(connection, event.session_id, event.data["call_id"], event.timestamp)

    async def _conference_ended(
        self,
        connection: AsyncConnection,
        event: VoxtraEvent,
        tenant_id: str,
        holder: _Holder,
    ) -> None:
        await conferences.end(connection, event.session_id, event.timestamp)


async def _tenant_of_row(connection: AsyncConnection, holder_id: str) -> str:
    """Return whose a call or conference is that is not in the app any more."""
    for table in (schema.calls, schema.conferences):
        found = await connection.execute(select(table.c.tenant_id).where(table.c.id == holder_id))
        tenant_id: str | None = found.scalar_one_or_none()
        if tenant_id is not None:
            return tenant_id
    return DEFAULT_TENANT


def _is_refusal(error: Exception) -> bool:
    """Tell whether the database was there and could not take the values, now or ever."""
    if not isinstance(error, DBAPIError):
        return isinstance(error, StatementError)
    # 22: a value that it can't hold, a character 0 for example. 23: a constraint.
    state = str(getattr(error.orig, "sqlstate", None) or "")
    by_driver = isinstance(getattr(error.orig, "__cause__", None), ValueError)
    return isinstance(error, (IntegrityError, DataError)) or state[:2] in ("22", "23") or by_driver


_Note = Callable[[CallLog, AsyncConnection, VoxtraEvent, str, _Holder], Awaitable[None]]

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
