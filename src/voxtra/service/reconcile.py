"""Brings rows, the PBX and its files to agree: at the start, after every gap, and on a slow clock.

The PBX's events say most of what happens, but not all of it: they are lost with a connection, with
this process and with the PBX. Each pass compares what is written with what is there, and feeds what
is missing to the same lifecycle that the events feed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Row, func, literal_column, or_, select
from sqlalchemy.exc import SQLAlchemyError

from voxtra.app import VoxtraApp
from voxtra.audio.formats import lookup
from voxtra.blobs.base import BlobError, BlobStore
from voxtra.events import EventType, VoxtraEvent
from voxtra.exceptions import NotSupported, VoxtraError
from voxtra.lifecycle import Change, Happening
from voxtra.model import CallDirection, Disposition, EndReason, RecordingState
from voxtra.names import prefix_of
from voxtra.service.call_log import CallLog
from voxtra.service.recovery import Found, adopt, grouped, owners, rows_of
from voxtra.service.sources import Sources
from voxtra.store import calls, conferences, journal
from voxtra.store.database import Database
from voxtra.store.jobs import enqueue
from voxtra.store.recordings import SqlRecordingStore, change
from voxtra.store.schema import jobs, recordings, utc_now
from voxtra.telephony.base import Gap

__all__ = ["Reconciler"]

log = logging.getLogger(__name__)

EVERY: Final = 15.0
"""Seconds between two passes."""

PROBES_EVERY: Final = 4
"""Passes between two questions about every live recording, two requests each: the events tell of
nearly all, and a gap in them is looked into at once.
"""

FILES_EVERY: Final = 20
"""Passes between two looks at the PBX's folder, which Asterisk reads as a whole for that."""

QUIET: Final = timedelta(seconds=60)
"""A file without a row is left alone for so long: its row may be on its way."""

OVERDUE: Final = timedelta(seconds=55)
"""How long after its maximum a recording is failed that no running process has."""


class Reconciler:
    """The passes of one node; `spool` is the PBX's recording folder as it is seen here."""

    def __init__(
        self,
        database: Database,
        node: str,
        app: VoxtraApp,
        call_log: CallLog,
        *,
        sources: Sources,
        blobs: BlobStore,
        spool: Path,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._database = database
        self._node = node
        self._app = app
        self._call_log = call_log
        self._store = SqlRecordingStore(database, node)
        self._sources = sources
        self._blobs = blobs
        self._spool = spool
        self._clock = clock

    async def run(self) -> None:
        """Make a pass whenever it is time, for ever."""
        passes = 0
        while True:
            await self._app.wait_running()
            try:
                await self.rows(probe=passes % PROBES_EVERY == 0)
                if passes % FILES_EVERY == 0:
                    await self.files()
                passes += 1
            except (VoxtraError, TimeoutError, SQLAlchemyError, OSError) as error:
                log.warning("rows and PBX could not be compared: %s", error)
            await asyncio.sleep(EVERY)

    async def rows(self, *, probe: bool = True) -> None:
        """Bring the rows of recordings, calls and conferences to what is true; `probe` asks the PBX
        about every live recording.
        """
        now = self._clock()
        recorder = self._app.recorder
        recorder.adopt(await self._store.unfinished())
        recorder.expire(now)
        if probe:
            await recorder.resync(Gap(now, restarted=False))
        await self._fail_overdue(now)
        await self._queue_ingests()
        await self._end_lost(now)

    async def files(self) -> None:
        """Bring the PBX's folder and the rows to agree."""
        try:
            stored = await self._app.telephony.list_stored()
        except NotSupported:
            return
        found = list(grouped(stored))
        async with self._database.read() as connection:
            known = await rows_of(connection, sorted(set().union(*(each.names for each in found))))
        for each in found:
            if not self._is_ours(each) and known.keys().isdisjoint(each.names):
                continue
            try:
                await self._judge(each)
            except (VoxtraError, BlobError, TimeoutError, SQLAlchemyError, OSError) as error:
                log.warning("%s on the PBX: %s", each.name, error)

    async def _judge(self, found: Found) -> None:
        """Take in what has no row, and free what is stored."""
        async with self._database.read() as connection:
            rows = await owners(connection, found)
        if rows:
            await self._free(rows, found)
        elif self._is_ours(found):
            await self._adopt(found)

    def _is_ours(self, found: Found) -> bool:
        """Tell whether this app gave the name: others may record into the same folder."""
        return found.prefix == prefix_of(self._app.app_name)

    async def _fail_overdue(self, now: datetime) -> None:
        """End the rows whose node does not come back."""
        began = func.coalesce(recordings.c.started_at, recordings.c.requested_at)
        query = select(recordings.c.id, recordings.c.node).where(
            literal_column("state IN ('starting', 'recording', 'stopping')"),
            recordings.c.node != self._node,
            recordings.c.ended_at.is_(None),
            began + recordings.c.max_duration * 1_000_000 < _micros(now - OVERDUE),
        )
        async with self._database.read() as connection:
            rows = (await connection.execute(query)).all()
        for row in rows:
            cause = (
                f"its process {row.node!r} has not come back by the end of its longest duration; "
                "what the PBX has of it stays in its folder"
            )
            failed = Change(Happening.FAILED, now, EndReason.UNKNOWN, cause)
            async with self._database.write() as connection:
                await change(connection, row.id, failed)

    async def _queue_ingests(self) -> None:
        """Queue what ended and has no job: that can't be, and costs nothing to look for."""
        query = (
            select(recordings.c.id, recordings.c.tenant_id)
            .outerjoin(jobs, (jobs.c.kind == "ingest") & (jobs.c.subject_id == recordings.c.id))
            .where(
                literal_column("recordings.state IN ('starting', 'recording', 'stopping')"),
                recordings.c.state == RecordingState.STOPPING.value,
                recordings.c.ended_at.is_not(None),
                or_(jobs.c.id.is_(None), jobs.c.state != "waiting"),
            )
        )
        async with self._database.read() as connection:
            rows = (await connection.execute(query)).all()
        for row in rows:
            log.error("recording %s ended, and nobody was to bring it home", row.id)
            async with self._database.write() as connection:
                await enqueue(connection, "ingest", row.id, tenant_id=row.tenant_id)

    async def _end_lost(self, now: datetime) -> None:
        """End the rows of calls and conferences that this node has no more."""
        board = self._app.switchboard
        async with self._database.read() as connection:
            open_conferences = await conferences.active(connection, self._node)
        for row in open_conferences:
            if row.id in board.conferences or row.id in self._call_log.unwritten():
                continue
            if await board.resume_conference(row.id, row.name, row.tenant_id):
                await self._note_left(row, now)
            else:
                await self._end_conference(row, now)

        def known() -> set[str]:
            # The end of a call that is over may be waiting to be written.
            return set(board.sessions) | self._call_log.unwritten()

        async with self._database.write(durable=False) as connection:
            for call in await calls.end_lost(connection, self._node, known, now):
                event = _end_of(call, now)
                await journal.append(connection, event, tenant_id=call.tenant_id)

    async def _note_left(self, row: conferences.Conference, now: datetime) -> None:
        """Note who left a conference while nobody looked."""
        here = {session.id for session in self._app.switchboard.conferences[row.id].members}
        async with self._database.write(durable=False) as connection:
            for each in await conferences.participants_of(connection, row.tenant_id, row.id):
                if each.left_at is None and each.call_id not in here:
                    await conferences.left(connection, row.id, each.call_id, now)
                    data = {"call_id": each.call_id}
                    event = VoxtraEvent(EventType.CONFERENCE_LEFT, row.id, data, timestamp=now)
                    await journal.append(connection, event, tenant_id=row.tenant_id)

    async def _end_conference(self, row: conferences.Conference, now: datetime) -> None:
        async with self._database.write(durable=False) as connection:
            left = await conferences.get(connection, row.tenant_id, row.id)
            if left is None or left.ended_at is not None:
                return
            await conferences.end(connection, row.id, now, reason="its bridge is gone")
            event = VoxtraEvent(EventType.CONFERENCE_ENDED, row.id, timestamp=now)
            await journal.append(connection, event, tenant_id=row.tenant_id)

    async def _adopt(self, found: Found) -> None:
        """Make a row of a file that has none, unless the PBX is at it."""
        ended_at = await asyncio.to_thread(self._written_at, found)
        if ended_at is not None and self._clock() - ended_at < QUIET:
            return
        for track in found.tracks:
            if (await self._app.telephony.probe_track(track)).live:
                return
        sink = "app" if self._app.recording_sink is not None else ""
        async with self._database.write() as connection:
            if await owners(connection, found):
                return
            recording = await adopt(
                connection, found, self._node, ended_at=ended_at or self._clock(), sink=sink
            )
        log.warning("recording %s had a file and no row: it is taken in", recording.name)

    def _written_at(self, found: Found) -> datetime | None:
        """Return when the files were last written, None where they are out of sight."""
        times = []
        for track in found.tracks:
            path = self._spool / f"{track.name}.{lookup(found.format).extension}"
            if path.is_file():
                times.append(datetime.fromtimestamp(path.stat().st_mtime, UTC))
        return max(times, default=None)

    async def _free(self, rows: list[Row[Any]], found: Found) -> None:
        """Delete files that nobody needs: a crash came between their storing and their deletion.

        The name may be that of a newer recording as well, which needs its file yet.
        """
        if not all(row.deleted_at or row.state == RecordingState.AVAILABLE for row in rows):
            return
        for row in rows:
            if row.deleted_at is None and await self._blobs.size(row.blob_key) != row.size:
                log.error("recording %s: its blob has another size; see `verify`", row.name)
                return
        async with self._database.read() as connection:
            again = await owners(connection, found)
        if {row.id for row in again} == {row.id for row in rows}:
            await self._sources.free_tracks(found.tracks, found.format)


def _end_of(call: calls.Call, now: datetime) -> VoxtraEvent:
    """Return the event of the end of a call that nobody saw end."""
    data: dict[str, Any] = {"cause": 0, "reason": calls.LOST}
    if call.answered_at is None and call.direction == CallDirection.OUTBOUND:
        data["disposition"] = Disposition.FAILED.value
        return VoxtraEvent(EventType.CALL_FAILED, call.id, data, timestamp=now)
    up = now - call.answered_at if call.answered_at is not None else timedelta(0)
    data["duration_seconds"] = round(up.total_seconds(), 3)
    return VoxtraEvent(EventType.CALL_ENDED, call.id, data, timestamp=now)


def _micros(at: datetime) -> int:
    return round(at.timestamp() * 1_000_000)
