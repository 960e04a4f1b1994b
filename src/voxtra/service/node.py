"""One process of the service: what it consists of, and how it begins and ends.

A node with a PBX serves its calls, records them, and keeps their rows true. Every node does jobs,
sends deliveries, and deletes what is over; so does a worker, which has no calls.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final

from sqlalchemy.exc import SQLAlchemyError

from voxtra.app import VoxtraApp
from voxtra.ari import ARIClient
from voxtra.blobs.base import BlobError, BlobStore
from voxtra.blobs.stores import open_store
from voxtra.conference import Conference
from voxtra.config import VoxtraConfig
from voxtra.events import EventType, VoxtraEvent
from voxtra.exceptions import ConfigurationError, VoxtraError
from voxtra.ids import own_id
from voxtra.model import DEFAULT_TENANT
from voxtra.service import disk
from voxtra.service.addresses import AddressGuard
from voxtra.service.aftermath import HandedOver
from voxtra.service.call_log import CallLog
from voxtra.service.context import Service
from voxtra.service.control import NodeControl
from voxtra.service.delivery import Deliverer
from voxtra.service.export import Exporter
from voxtra.service.files import AudioFiles
from voxtra.service.first_start import begin
from voxtra.service.intake import Intake
from voxtra.service.purge import Purge, Remover
from voxtra.service.reconcile import Reconciler
from voxtra.service.recovery import claimed
from voxtra.service.retention import Purger, Recompute
from voxtra.service.sources import Sources
from voxtra.service.worker import Worker
from voxtra.session import CallSession
from voxtra.spool import Spool
from voxtra.store import commands, exports, journal, nodes
from voxtra.store.database import Database
from voxtra.store.jobs import Queue
from voxtra.store.recordings import SqlRecordingStore
from voxtra.store.schema import utc_now
from voxtra.store.tombstones import Remains
from voxtra.telephony.stored import StoredTracks
from voxtra.version import __version__

__all__ = ["Node", "data_dir_of", "database_of", "open_blobs"]

log = logging.getLogger(__name__)

BEAT: Final = 5.0
"""Seconds between two signs of life."""

CLEAN_EVERY: Final = 600.0
"""Seconds between two runs of what has time: expiry, old exports, what crashes left behind."""

DISK_EVERY: Final = 5.0
"""Seconds between two looks at the disks."""

LEFT_BEHIND: Final = timedelta(hours=1)
"""Age at which a half-written file has nobody any more who writes it."""

GRACE: Final = 10.0
"""Seconds that jobs and deliveries have to finish at the end."""

OTHER_JOBS: Final = 2
"""Exports, deletions and the like at a time; ingests have workers of their own."""


@dataclass(frozen=True, slots=True)
class _Parts:
    """What a node is made of."""

    service: Service
    control: NodeControl
    queue: Queue
    sources: Sources
    aftermath: HandedOver
    app: VoxtraApp | None


class Node:
    """One process of the service; `app` serves its calls (None: a worker, which has none).

    Use it as `async with node.running() as service`; `failed` then completes when the node can't go
    on.
    """

    def __init__(self, config: VoxtraConfig, *, calls: bool = True) -> None:
        self.config = config
        self.name = config.service.node or config.app_name
        self._calls = calls
        self._started_at = utc_now()
        self._tasks: set[asyncio.Task[None]] = set()
        self.failed: asyncio.Future[None]

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Service]:
        """Begin, give what the node works with, and end in good order.

        Raises `ConfigurationError` when the database, the storage or the PBX's settings are wrong.
        """
        self.failed = asyncio.get_running_loop().create_future()
        async with contextlib.AsyncExitStack() as stack:
            parts = await self._build(stack)
            await self._start(parts, stack)
            yield parts.service

    async def _build(self, stack: contextlib.AsyncExitStack) -> _Parts:
        config = self.config
        folder = data_dir_of(config)
        try:
            await asyncio.to_thread(folder.mkdir, mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigurationError(
                f"{folder} can't be made: {error.strerror}",
                field="service.data_dir",
                fix="Name a folder that this user may write to",
            ) from error
        database = database_of(config)
        stack.push_async_callback(database.close)
        await begin(database, config, folder)
        await database.open()
        blobs = open_blobs(config)
        stack.callback(blobs.close)
        spool = Spool(Path(config.telephony.asterisk.recording_dir), folder / "downloads")
        app: VoxtraApp | None = None
        aftermath = HandedOver(lambda: app.recording_sink if app is not None else None)
        if self._calls:
            app = VoxtraApp.from_config(
                config,
                recording_store=SqlRecordingStore(database, self.name),
                recording_aftermath=aftermath,
                webhook=None,
            )
            sources = Sources(spool, app.telephony)
        else:
            sources = Sources(spool, self._stored(stack))
        audio = AudioFiles(blobs, folder / "derived")
        stack.push_async_callback(audio.close)
        control = NodeControl(database, self.name, app)
        watch = disk.DiskWatch(_folders(config, folder, database), config.disk.watermarks)
        service = Service(config, database, blobs, audio, control, self.name, folder, disk=watch)
        worker = f"{self.name}-{own_id('worker')}"
        return _Parts(service, control, Queue(database, worker), sources, aftermath, app)

    def _stored(self, stack: contextlib.AsyncExitStack) -> StoredTracks | None:
        """Return how a worker reaches files whose folder it does not see."""
        asterisk = self.config.telephony.asterisk
        if self.config.telephony.provider != "asterisk":
            return None
        client = ARIClient(
            asterisk.base_url,
            asterisk.username,
            asterisk.password,
            app_name=asterisk.app_name,
            timeout=asterisk.request_timeout,
        )
        client.open()  # asks nothing yet: a worker is of use while the PBX is away, too
        stack.push_async_callback(client.close)
        return StoredTracks(client)

    async def _start(self, parts: _Parts, stack: contextlib.AsyncExitStack) -> None:
        """Begin all that goes on by itself. What is begun later ends earlier."""
        service, queue = parts.service, parts.queue
        database, blobs = service.database, service.blobs
        stack.push_async_callback(self._cancel)
        self._forever("a sign of life", BEAT, lambda: self._beat(parts))
        self._forever("clean", CLEAN_EVERY, lambda: self._clean(parts))
        self._forever("look at the disks", DISK_EVERY, lambda: self._watch_disks(parts))

        deliverer = Deliverer(
            database,
            queue.worker,
            guard=AddressGuard(self.config.delivery.allow),
            node=self.name if parts.app is not None else "",
            tell=parts.aftermath.tell if parts.app is not None else None,
        )
        delivering = self._spawn("deliveries", deliverer.run())
        stack.push_async_callback(_ended, delivering, partial(deliverer.stop, GRACE))

        ingests = Worker(
            queue,
            {"ingest": Intake(database, queue, parts.sources, blobs)},
            self.config.service.ingest_workers,
        )
        others = Worker(
            queue,
            {
                "export": self._exporter(parts),
                "purge": Purge(database, queue, blobs, [self._remove_derived(parts)]),
                "retention": Recompute(database, queue),
            },
            OTHER_JOBS,
        )
        for worker in (ingests, others):
            working = self._spawn("jobs", worker.run())
            stack.push_async_callback(_ended, working, partial(worker.stop, GRACE))

        stack.push_async_callback(parts.control.close)
        if parts.app is not None:
            self._serve_calls(parts, parts.app, stack)

    def _serve_calls(self, parts: _Parts, app: VoxtraApp, stack: contextlib.AsyncExitStack) -> None:
        database = parts.service.database

        def holder_of(holder_id: str) -> CallSession | Conference | None:
            return app.get_session(holder_id) or app.get_conference(holder_id)

        call_log = CallLog(database, self.name, holder_of)
        app.subscribe(call_log.on_event)
        writing = self._spawn("the call log", call_log.run())

        async def write_the_rest() -> None:
            try:
                async with asyncio.timeout(GRACE):
                    await call_log.written()
            except TimeoutError:
                log.error("the last of %d calls is not written", len(call_log.unwritten()))

        stack.push_async_callback(_ended, writing, write_the_rest)
        reconciler = Reconciler(
            database,
            self.name,
            app,
            call_log,
            sources=parts.sources,
            blobs=parts.service.blobs,
            spool=Path(self.config.telephony.asterisk.recording_dir),
        )
        serving = self._spawn("calls", app.start())
        stack.push_async_callback(_ended, serving, app.stop)
        self._spawn("reconciling", reconciler.run())
        self._spawn("commands", parts.control.serve_commands())

    def _exporter(self, parts: _Parts) -> Exporter:
        service = parts.service
        return Exporter(service.database, parts.queue, service.blobs, service.data_dir / "exports")

    def _remove_derived(self, parts: _Parts) -> Remover:
        """Return what removes the files of a deleted recording that are no blobs."""

        async def remove(remains: Remains) -> None:
            await parts.service.audio.remove(remains.recording_id)
            if remains.node not in ("", self.name):
                return
            async with parts.service.database.read() as connection:
                # Its name may be that of a newer one by now, which needs the file yet.
                tracks = [
                    track
                    for track in remains.tracks
                    if not await claimed(
                        connection, track, remains.format, besides=remains.recording_id
                    )
                ]
            await parts.sources.free_tracks(tracks, remains.format)

        return remove

    async def _beat(self, parts: _Parts) -> None:
        async with parts.service.database.write(durable=False) as connection:
            await nodes.beat(
                connection,
                # A worker may have the configuration of a node with calls: not its name here.
                self.name if parts.app is not None else f"{self.name} (worker)",
                app_name=self.config.app_name,
                version=__version__,
                started_at=self._started_at,
                facts={"calls": parts.app is not None, "pid": os.getpid()},
                now=utc_now(),
            )

    async def _clean(self, parts: _Parts) -> None:
        service = parts.service
        now = utc_now()
        report = await Purger(service.database).run(now)
        if report.deleted or report.failed:
            log.info("retention: %d deleted, %d to be tried again", report.deleted, report.failed)
        await self._exporter(parts).sweep(now)
        await service.blobs.sweep(now - LEFT_BEHIND)
        await parts.sources.sweep(now - LEFT_BEHIND)
        await service.audio.forget_deleted(service.database)
        async with service.database.write() as connection:
            await commands.expire(connection, now - LEFT_BEHIND)

    async def _watch_disks(self, parts: _Parts) -> None:
        recorder = parts.app.recorder if parts.app is not None and parts.app.is_connected else None
        rate = disk.growth(recorder.running()) if recorder is not None else 0.0
        news = await asyncio.to_thread(parts.service.disk.look, rate)
        plan = parts.service.disk.plan
        if recorder is not None:
            recorder.refusal = plan.cause if plan.refuse_recordings else ""
        if not news:
            return
        if plan.cause:
            log.error("%s", plan.cause)
        event = VoxtraEvent(EventType.DISK_LOW, "", plan.as_data() | {"node": self.name})
        async with parts.service.database.write() as connection:
            await journal.append(connection, event, tenant_id=DEFAULT_TENANT)
        if plan.drop_derived:
            await parts.service.audio.trim(0)
            await self._exporter(parts).sweep(utc_now() + exports.LIFETIME)

    # -- tasks

    def _spawn(self, name: str, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._reap)
        return task

    def _forever(self, name: str, seconds: float, work: Callable[[], Awaitable[None]]) -> None:
        async def loop() -> None:
            while True:
                try:
                    await work()
                except (VoxtraError, BlobError, SQLAlchemyError, OSError, TimeoutError) as error:
                    log.warning("could not %s: %s", name, error)
                await asyncio.sleep(seconds)

        self._spawn(name, loop())

    def _reap(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if task.cancelled() or self.failed.done():
            return
        error = task.exception()
        if error is not None:
            self.failed.set_exception(error)

    async def _cancel(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self.failed.done() and not self.failed.cancelled():
            self.failed.exception()  # whoever wanted to know has asked


async def _ended(task: asyncio.Task[None], stop: Callable[[], Awaitable[None]]) -> None:
    """Stop something in good order, and its task in any case."""
    try:
        await stop()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def data_dir_of(config: VoxtraConfig) -> Path:
    """Return the folder of a service's own files."""
    if config.service.data_dir:
        return Path(config.service.data_dir).absolute()
    state = os.environ.get("XDG_STATE_HOME", "") or Path.home() / ".local" / "state"
    return Path(state) / "voxtra"


def database_of(config: VoxtraConfig) -> Database:
    """Return the database of a service, not yet connected. Raises `ConfigurationError`."""
    return Database(config.database.url or f"sqlite:///{data_dir_of(config) / 'voxtra.db'}")


def open_blobs(config: VoxtraConfig) -> BlobStore:
    """Return where recordings are stored. Raises `ConfigurationError`."""
    url = config.storage.url or (data_dir_of(config) / "blobs").as_uri()
    try:
        return open_store(url, config.storage.options)
    except ValueError as error:
        raise ConfigurationError(str(error), field="storage.url") from None


def _folders(config: VoxtraConfig, folder: Path, database: Database) -> dict[str, Path]:
    """Return the folders whose disks matter here."""
    folders = {disk.BLOBS: folder}
    spool = Path(config.telephony.asterisk.recording_dir)
    if spool.is_dir():
        folders[disk.SPOOL] = spool
    if database.is_sqlite:
        folders[disk.DATABASE] = Path(str(database.url.database)).absolute().parent
    if config.storage.url.startswith("file://"):
        folders[disk.BLOBS] = Path(config.storage.url.removeprefix("file://"))
    return folders
