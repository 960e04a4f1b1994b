"""A control without a PBX: it does to the rows what calls, conferences and recordings would do."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import select, update

from voxtra.events import EventType, VoxtraEvent
from voxtra.exceptions import CallEnded, RecordingNotActive, UnknownCall
from voxtra.ids import new_id, own_id
from voxtra.lifecycle import Change, Happening
from voxtra.model import CallDirection, CallState, EndReason, Subject
from voxtra.record_options import MAX_DURATION, RecordOptions
from voxtra.store import calls, conferences, journal
from voxtra.store.access import DEFAULT_TENANT
from voxtra.store.database import Database
from voxtra.store.recordings import SqlRecordingStore, change
from voxtra.store.schema import recordings

__all__ = ["Switch"]


class Switch:
    """Keeps all its state in the database; what the real one writes a moment later, it writes a
    moment later, too.
    """

    connected = True

    def __init__(self, database: Database) -> None:
        self._database = database
        self._recordings = SqlRecordingStore(database, "test")
        self._tasks: set[asyncio.Task[None]] = set()
        self.asked: list[tuple[str, dict[str, Any]]] = []
        """Every verb that came this far, with what it was given."""

    async def ring(self, tenant_id: str = DEFAULT_TENANT, **facts: Any) -> str:
        """Let a call come in, and return its id."""
        call_id = own_id("call")
        async with self._database.write() as connection:
            await calls.begin(
                connection,
                call_id=call_id,
                tenant_id=tenant_id,
                node="test",
                direction=facts.pop("direction", CallDirection.INBOUND),
                caller=facts.pop("caller", "+4930123456"),
                callee=facts.pop("callee", "200"),
                metadata=facts.pop("metadata", {}),
                at=facts.pop("at", datetime.now(UTC)),
            )
            await calls.answered(connection, call_id, datetime.now(UTC))
        assert not facts
        return call_id

    async def settle(self) -> None:
        """Wait until everything is written."""
        while self._tasks:
            await asyncio.gather(*self._tasks)

    # -- the verbs

    async def start_recording(self, tenant_id: str, holder_id: str, options: RecordOptions) -> str:
        """See `Control`."""
        self.asked.append(("start", {"holder_id": holder_id, "options": options}))
        async with self._database.read() as connection:
            call = await calls.get(connection, tenant_id, holder_id)
            conference = await conferences.get(connection, tenant_id, holder_id)
        found = call or conference
        if found is None:
            raise UnknownCall(holder_id)
        if found.ended_at is not None:
            raise CallEnded(holder_id, found.end_reason)
        subject = Subject(
            holder_id,
            holder_id if call else "",
            f"target-{holder_id}",
            conference_id=holder_id if conference else "",
            tenant_id=tenant_id,
        )
        recording = options.recording(subject, MAX_DURATION)
        await self._recordings.insert(recording)
        await self._change(recording.id, Change(Happening.STARTED, datetime.now(UTC)))
        return recording.id

    async def stop_recording(self, tenant_id: str, holder_id: str) -> str:
        """See `Control`."""
        recording_id = await self._active(tenant_id, holder_id)
        now = datetime.now(UTC)
        await self._change(
            recording_id, Change(Happening.STOP_ASKED, now, reason=EndReason.STOPPED)
        )
        await self._change(recording_id, Change(Happening.FINISHED, now))
        return recording_id

    async def pause_recording(self, tenant_id: str, holder_id: str, *, on: bool) -> str:
        """See `Control`."""
        recording_id = await self._active(tenant_id, holder_id)
        async with self._database.write() as connection:
            await connection.execute(
                update(recordings).where(recordings.c.id == recording_id).values(paused=on)
            )
        return recording_id

    async def hangup(self, tenant_id: str, call_id: str) -> None:
        """See `Control`."""
        self.asked.append(("hangup", {"call_id": call_id}))
        self._later(self._end_call(tenant_id, call_id))

    async def originate(self, tenant_id: str, **wanted: Any) -> str:
        """See `Control`."""
        self.asked.append(("originate", wanted))
        call_id = own_id("call")
        self._later(self._begin_call(tenant_id, call_id, wanted))
        return call_id

    async def create_conference(
        self, tenant_id: str, *, name: str = "", metadata: Any = None
    ) -> str:
        """See `Control`."""
        conference_id = own_id("conference")
        self._later(self._begin_conference(tenant_id, conference_id, name, metadata))
        return conference_id

    async def end_conference(self, tenant_id: str, conference_id: str) -> None:
        """See `Control`."""
        self.asked.append(("end", {"conference_id": conference_id}))
        self._later(self._end_conference(tenant_id, conference_id))

    async def add_participant(self, tenant_id: str, conference_id: str, call_id: str) -> None:
        """See `Control`."""
        async with self._database.read() as connection:
            call = await calls.get(connection, tenant_id, call_id)
        if call is None:
            raise UnknownCall(call_id)
        if call.ended_at is not None:
            raise CallEnded(call_id)
        self._later(self._join(tenant_id, conference_id, call_id))

    async def remove_participant(self, tenant_id: str, conference_id: str, call_id: str) -> None:
        """See `Control`."""
        async with self._database.write() as connection:
            await conferences.left(connection, conference_id, call_id, datetime.now(UTC))

    # -- what comes of them

    async def _begin_call(self, tenant_id: str, call_id: str, wanted: dict[str, Any]) -> None:
        now = datetime.now(UTC)
        async with self._database.write() as connection:
            await calls.begin(
                connection,
                call_id=call_id,
                tenant_id=tenant_id,
                node="test",
                direction=CallDirection.OUTBOUND,
                caller=wanted["caller_id"],
                callee=wanted["endpoint"],
                metadata=wanted["metadata"],
                at=now,
            )
            await self._tell(connection, EventType.CALL_STARTED, tenant_id, call_id)

    async def _end_call(self, tenant_id: str, call_id: str) -> None:
        async with self._database.write() as connection:
            await calls.ended(
                connection,
                call_id,
                datetime.now(UTC),
                cause=16,
                reason="hangup",
                state=CallState.COMPLETED,
            )
            await self._tell(connection, EventType.CALL_ENDED, tenant_id, call_id)

    async def _begin_conference(
        self, tenant_id: str, conference_id: str, name: str, metadata: Any
    ) -> None:
        async with self._database.write() as connection:
            await conferences.create(
                connection,
                conference_id=conference_id,
                tenant_id=tenant_id,
                node="test",
                name=name,
                at=datetime.now(UTC),
                metadata=metadata,
            )
            await self._tell(connection, EventType.CONFERENCE_STARTED, tenant_id, conference_id)

    async def _end_conference(self, tenant_id: str, conference_id: str) -> None:
        async with self._database.write() as connection:
            await conferences.end(connection, conference_id, datetime.now(UTC))
            await self._tell(connection, EventType.CONFERENCE_ENDED, tenant_id, conference_id)

    async def _join(self, tenant_id: str, conference_id: str, call_id: str) -> None:
        async with self._database.write() as connection:
            await conferences.joined(connection, conference_id, call_id, datetime.now(UTC))
            await self._tell(connection, EventType.CONFERENCE_JOINED, tenant_id, conference_id)

    async def _tell(self, connection: Any, kind: EventType, tenant_id: str, whose: str) -> None:
        event = VoxtraEvent(kind, whose, id=new_id())
        await journal.append(connection, event, tenant_id=tenant_id)

    async def _change(self, recording_id: str, happening: Change) -> None:
        async with self._database.write() as connection:
            await change(connection, recording_id, happening)

    async def _active(self, tenant_id: str, holder_id: str) -> str:
        query = select(recordings.c.id).where(
            recordings.c.tenant_id == tenant_id,
            recordings.c.holder_id == holder_id,
            recordings.c.ended_at.is_(None),
        )
        async with self._database.read() as connection:
            found = (await connection.execute(query)).scalar_one_or_none()
        if found is None:
            raise RecordingNotActive(holder_id)
        return str(found)

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
