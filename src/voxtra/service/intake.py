"""The ingest job: from a file that the PBX has finished to a recording that is available.

Read, judge, store, read back; then one transaction says that it is available, with its events, its
expiry and what the sink is to be told; then the PBX's file is freed. Whatever is cut short is done
again from its beginning: nothing before the transaction shows, and what follows it is found by
`voxtra.service.reconcile`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import asdict
from datetime import timedelta
from typing import Final

from voxtra.audio.formats import lookup
from voxtra.blobs.base import BlobError, BlobStore
from voxtra.exceptions import RecordingError, TelephonyError
from voxtra.lifecycle import Change, Happening
from voxtra.model import EndReason, Recording, RecordingTarget
from voxtra.service.ingest import Ingested, NoAudio, ingest
from voxtra.service.sources import SourceError, Sources
from voxtra.store.calls import ended_at
from voxtra.store.database import Database
from voxtra.store.jobs import Job, Queue
from voxtra.store.recordings import FileFacts, blob_key, change, load
from voxtra.store.schema import utc_now

__all__ = ["Intake", "end_reason_of"]

log = logging.getLogger(__name__)

RETRY_CAP: Final = 60.0
"""Seconds at most between two tries to bring a file home: the PBX or the store is away."""

HANGUP_WINDOW: Final = timedelta(milliseconds=500)
"""How far a recording's end and its call's may be apart and still be one hang-up."""


class Intake:
    """Brings recordings home."""

    def __init__(
        self, database: Database, queue: Queue, sources: Sources, blobs: BlobStore
    ) -> None:
        self._database = database
        self._queue = queue
        self._sources = sources
        self._blobs = blobs

    async def run(self, job: Job) -> None:
        """Do one job. See `voxtra.service.worker.Handler`."""
        async with self._database.read() as connection:
            recording = await load(connection, job.subject_id)
        if recording is None or recording.state.is_final:
            async with self._database.write() as connection:
                await self._queue.finish(connection, job)
            return
        extension = lookup(recording.format).extension
        try:
            ingested = await ingest(
                recording,
                self._sources,
                self._blobs,
                blob_key(recording, extension),
                blob_key(recording, "peaks"),
            )
        except NoAudio as error:
            await self._end(job, recording, await self._failed(recording, error.cause), None)
            return
        except (BlobError, SourceError, RecordingError, TelephonyError, TimeoutError) as error:
            # The file is where it was. It is fetched as often as it takes.
            wait = min(RETRY_CAP, 2.0 ** min(job.attempts, 10))
            log.warning("recording %s is not stored yet: %s", recording.name, error)
            await self._queue.retry(job, str(error), wait)
            return
        await self._end(job, recording, *await self._available(recording, ingested))
        try:
            await self._sources.free(recording)
        except (SourceError, TelephonyError, TimeoutError) as error:
            log.warning("recording %s: the PBX's file is freed later: %s", recording.name, error)

    async def _end(
        self, job: Job, recording: Recording, done: Change, facts: FileFacts | None
    ) -> None:
        async with self._database.write() as connection:
            await change(connection, recording.id, done, facts)
            await self._queue.finish(connection, job)

    async def _available(
        self, recording: Recording, ingested: Ingested
    ) -> tuple[Change, FileFacts]:
        found = ingested.facts
        seconds = found.samples / found.sample_rate
        lost = _lost_ms(recording, seconds)
        told: dict[str, object] = {
            "file_path": str(self._blobs.local_path(found.blob_key) or ""),
            "duration_seconds": round(seconds, 3),
            "size": found.size,
            "sha256": found.sha256,
            "samples": found.samples,
            "sample_rate": found.sample_rate,
            "channels": found.channels,
            "repaired": ingested.repaired,
        }
        if ingested.levels is not None and len(ingested.levels.sides) > 1:
            told["sides"] = [asdict(side) for side in ingested.levels.sides]
        if ingested.problems:
            told["problems"] = list(ingested.problems)
        if lost is not None:
            told["lost_seconds"] = lost / 1000
        reason = await self._reason(recording, seconds)
        change = Change(Happening.INGESTED, utc_now(), reason, facts=told)
        return change, found

    async def _failed(self, recording: Recording, cause: str) -> Change:
        reason = await self._reason(recording, None)
        lost = _lost_ms(recording, 0.0)
        facts: dict[str, object] = {} if lost is None else {"lost_seconds": lost / 1000}
        return Change(Happening.INGEST_FAILED, utc_now(), reason, cause, facts)

    async def _reason(self, recording: Recording, seconds: float | None) -> EndReason:
        """Return why it ended, from what was noted, the file's length, and its call's end."""
        hung_up = await self._hung_up(recording)
        if recording.end_reason is None and recording.ended_at is not None:
            # Word of the call's end may be a moment behind that of the recording's.
            left = min(HANGUP_WINDOW, HANGUP_WINDOW - (utc_now() - recording.ended_at))
            with (
                self._database.signals.subscribe("events") as signal,
                contextlib.suppress(TimeoutError),
            ):
                async with asyncio.timeout(max(0.0, left.total_seconds())):
                    while not (hung_up := await self._hung_up(recording)):
                        await signal.wait()
                        signal.clear()
        return end_reason_of(recording, seconds, hung_up=hung_up)

    async def _hung_up(self, recording: Recording) -> bool:
        if recording.ended_at is None or not recording.call_id:
            return False
        async with self._database.read() as connection:
            at = await ended_at(connection, recording.call_id)
        return at is not None and abs(at - recording.ended_at) <= HANGUP_WINDOW


def end_reason_of(recording: Recording, seconds: float | None, *, hung_up: bool) -> EndReason:
    """Return why a recording ended; `seconds` is the length of its file, `hung_up` whether its call
    ended with it.
    """
    if recording.end_reason is not None:
        return recording.end_reason
    if seconds is not None and recording.max_duration and seconds >= recording.max_duration:
        return EndReason.MAX_DURATION
    # A bridge's recording ends by itself when the last one leaves.
    if hung_up or recording.target is RecordingTarget.BRIDGE:
        return EndReason.HANGUP
    if recording.max_silence:
        return EndReason.SILENCE
    if recording.terminate_on != "none":
        return EndReason.KEY
    return EndReason.UNKNOWN


def _lost_ms(recording: Recording, seconds: float) -> int | None:
    """Return how much of the call the file lacks, in milliseconds; None unless the PBX was lost."""
    if (
        recording.end_reason is not EndReason.PBX_LOST
        or recording.started_at is None
        or recording.ended_at is None
    ):
        return None
    wall = recording.ended_at - recording.started_at
    for pause in recording.pauses:
        if not pause.muted:
            wall -= (pause.until or recording.ended_at) - pause.since
    return max(0, round((wall.total_seconds() - seconds) * 1000))
