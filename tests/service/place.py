"""A service around a PBX in memory: real databases, blobs, apps and workers, whose steps a test
takes one by one.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Row, select
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection

from tests.system.support import run_app
from tests.toy_exchange import ToyExchange
from tests.toy_pbx import ToyPbx
from voxtra import CallSession, RecordingSink, VoxtraApp
from voxtra.blobs.local import LocalStore
from voxtra.events import EventType, VoxtraEvent
from voxtra.model import Layout, Recording, RecordingTarget, Track
from voxtra.service.aftermath import HandedOver
from voxtra.service.call_log import CallLog
from voxtra.service.control import NodeControl
from voxtra.service.intake import Intake
from voxtra.service.reconcile import Reconciler
from voxtra.service.sources import Sources
from voxtra.spool import Spool
from voxtra.store import calls, nodes
from voxtra.store.database import Database
from voxtra.store.jobs import Queue
from voxtra.store.recordings import SqlRecordingStore
from voxtra.store.schema import events, recordings, utc_now
from voxtra.telephony.base import TrackStatus

__all__ = ["Office", "Pbx", "away", "rows", "stay"]


class Pbx(ToyPbx, ToyExchange):
    """A PBX in memory that connects calls and records them.

    It outlives the apps on it: a new one hears again of the calls that are up, as on Asterisk.
    """

    def __init__(self, folder: Path) -> None:
        ToyExchange.__init__(self)
        ToyPbx.__init__(self, folder)
        folder.mkdir(exist_ok=True)
        self.listens = asyncio.Event()
        self.listens.set()

    async def connect(self) -> None:
        """Be there, and tell of the calls that an earlier app has left."""
        await self.listens.wait()
        for call_id in sorted(self.up):
            self.call(call_id)

    async def answer_call(self, call_id: str) -> None:
        """See `ToyExchange.answer_call`."""
        await ToyExchange.answer_call(self, call_id)
        self._on_event(VoxtraEvent(EventType.CALL_ANSWERED, call_id))

    async def hangup_call(self, call_id: str, reason: str = "normal") -> None:
        """See `ToyExchange.hangup_call`."""
        await ToyExchange.hangup_call(self, call_id, reason)

    def end(self, call_id: str) -> None:
        """A call ends, and its recordings with it."""
        for recording in list(self.live.values()):
            if recording.target_id == call_id:
                self.finish(recording)
        ToyExchange.end(self, call_id)

    async def bridge_members(self, bridge_id: str) -> list[str] | None:
        """Tell who is in a bridge."""
        members = self.bridges.get(bridge_id)
        return None if members is None else sorted(members)

    def plan_capture(self, recording: Recording) -> tuple[Track, ...]:
        """Both sides for themselves when that is asked."""
        if recording.layout is Layout.STEREO:
            return tuple(Track(f"{recording.name}-{side}", side) for side in ("in", "out"))
        return (Track(recording.name),)

    async def probe_track(self, track: Track) -> TrackStatus:
        """Tell the truth of a side, too."""
        await self._ask("probe")
        live = any(track in each.tracks for each in self.live.values())
        return TrackStatus(live=live, stored=live or self.path(track.name).exists())

    def tell(self, kind: EventType, recording: Recording, **data: object) -> None:
        """See `ToyPbx.tell`; a stereo recording is two files by then."""
        whole = self.path(recording.name)
        if kind is EventType.RECORDING_FINISHED and len(recording.tracks) == 2 and whole.exists():
            for track in recording.tracks:
                self.path(track.name).write_bytes(whole.read_bytes())
            whole.unlink()
        super().tell(kind, recording, **data)

    async def list_stored(self) -> list[tuple[str, str]]:
        """List the folder, what is being written included, as Asterisk does."""
        files = [path for path in self.folder.rglob("*") if path.is_file()]
        return sorted(
            (str(path.relative_to(self.folder).with_suffix("")), path.suffix[1:]) for path in files
        )


class Office:
    """One node on a PBX, with its steps to be taken by hand."""

    def __init__(
        self,
        database: Database,
        folder: Path,
        node: str = "n1",
        *,
        pbx: Pbx | None = None,
        sink: RecordingSink | None = None,
    ) -> None:
        self.database = database
        self.folder = folder
        self.node = node
        self.pbx = pbx or Pbx(folder / "spool")
        self.blobs = LocalStore(folder / "blobs")
        self.store = SqlRecordingStore(database, node)
        spool = Spool(self.pbx.folder, folder / "downloads")
        self.app = VoxtraApp(
            telephony=self.pbx,
            recording_sink=sink,
            recording_store=self.store,
            recording_aftermath=HandedOver(lambda: self.app.recording_sink),
            recording_dir=self.pbx.folder,
            download_dir=folder / "downloads",
            shutdown_grace=2.0,
        )
        self.app.default(stay)
        self.call_log = CallLog(
            database,
            node,
            lambda each: self.app.get_session(each) or self.app.get_conference(each),
        )
        self.app.subscribe(self.call_log.on_event)
        self.sources = Sources(spool, self.pbx)
        self.queue = Queue(database, node)
        self.intake = Intake(database, self.queue, self.sources, self.blobs)
        self.control = NodeControl(database, node, self.app)
        self.now = datetime.now(UTC)
        self.reconciler = Reconciler(
            database,
            node,
            self.app,
            self.call_log,
            sources=self.sources,
            blobs=self.blobs,
            spool=self.pbx.folder,
            clock=lambda: self.now,
        )

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[Office]:
        """Serve calls, write them down, and do what other nodes ask."""
        tasks = [
            asyncio.create_task(each)
            for each in (self.call_log.run(), self.control.serve_commands())
        ]
        try:
            await self.beat()
            async with run_app(self.app):
                yield self
            await self.call_log.written()
        finally:
            await self.control.close()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self.blobs.close()

    async def beat(self, ago: timedelta = timedelta(0)) -> None:
        """Say that the node lives, or lived."""
        now = utc_now() - ago
        async with self.database.write() as connection:
            await nodes.beat(
                connection, self.node, app_name="", version="", facts={}, started_at=now, now=now
            )

    async def call(self, call_id: str = "call-1") -> CallSession:
        """Have somebody call, and be answered."""
        self.pbx.call(call_id)
        session = self.app.get_session(call_id)
        assert session is not None
        await session.wait_answered()
        await self.call_log.written()
        return session

    async def row(self, recording_id: str) -> Row[Any]:
        """Return a recording's row."""
        (row,) = [each for each in await rows(self.database, recordings) if each.id == recording_id]
        return row

    async def bring_home(self, after: timedelta = timedelta(minutes=10)) -> int:
        """Do the ingests that wait now, or are due in some time; return how many."""
        queue = Queue(self.database, self.node, clock=lambda: utc_now() + after)
        intake = Intake(self.database, queue, self.sources, self.blobs)
        done = 0
        while claimed := await queue.claim(["ingest"]):
            await intake.run(claimed[0])
            done += 1
        return done

    async def call_row(self, call_id: str, tenant_id: str = "default") -> calls.Call | None:
        """Return a call's row."""
        async with self.database.read() as connection:
            return await calls.get(connection, tenant_id, call_id)

    async def told(self, tenant_id: str = "") -> list[tuple[str, str]]:
        """Return the journal: type and holder of each event, of a tenant or of all."""
        return [
            (row.type, row.session_id)
            for row in await rows(self.database, events)
            if tenant_id in ("", row.tenant_id)
        ]

    def write(self, name: str, *, seconds_ago: float = 3600.0, extension: str = "wav") -> Path:
        """Put a finished recording's file into the PBX's folder, of some time ago."""
        template = Recording("t", name, "", RecordingTarget.SNOOP, "")
        path = self.pbx.folder / f"{name}.{extension}"
        path.parent.mkdir(parents=True, exist_ok=True)
        self.pbx.live[name] = template
        self.pbx.lost.add(EventType.RECORDING_FINISHED)
        self.pbx.finish(template)
        self.pbx.lost.discard(EventType.RECORDING_FINISHED)
        made = self.pbx.folder / f"{name}.wav"
        made.rename(path)
        at = self.now.timestamp() - seconds_ago
        os.utime(path, (at, at))
        return path


async def stay(call: CallSession) -> None:
    """Answer, and stay until the end."""
    await call.answer()
    await call.wait_ended()


async def rows(database: Database, table: Any) -> list[Row[Any]]:
    """Return all rows of a table in the order of their making."""
    first = next(iter(table.primary_key.columns))
    async with database.read() as connection:
        return list(await connection.execute(select(table).order_by(first)))


@contextlib.contextmanager
def away(database: Database, times: int = 10_000) -> Iterator[asyncio.Event]:
    """Let the database refuse to write for a number of times, or until the end of the block.

    Gives what is set when it has refused for the first time.
    """
    real = database.write
    refused = asyncio.Event()
    left = times

    @contextlib.asynccontextmanager
    async def write(**options: Any) -> AsyncIterator[AsyncConnection]:
        nonlocal left
        if left > 0:
            left -= 1
            refused.set()
            raise OperationalError("COMMIT", {}, OSError("the disk is away"))
        async with real(**options) as connection:
            yield connection

    database.write = write  # type: ignore[method-assign]  # what a driver raises, without a disk
    try:
        yield refused
    finally:
        database.write = real  # type: ignore[method-assign]
