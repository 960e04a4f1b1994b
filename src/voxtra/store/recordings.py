"""Rows of recordings, as the recorder and the workers change them.

A change, its events with their webhooks, the job that is due and what the sink is to be told are
one transaction: after a crash all of it is there, or none.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from sqlalchemy import Row, insert, or_, select, update
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection

from voxtra.exceptions import RecordingActive, RecordingFailed
from voxtra.lifecycle import Change, advance
from voxtra.model import (
    CallDirection,
    EndReason,
    Layout,
    Pause,
    Recording,
    RecordingSource,
    RecordingState,
    RecordingTarget,
    Track,
)
from voxtra.posting import encode_json
from voxtra.recording_report import metadata_of, news
from voxtra.retry import delays
from voxtra.store import journal
from voxtra.store.database import Database
from voxtra.store.jobs import enqueue
from voxtra.store.retention import settle_expiry
from voxtra.store.schema import recordings

__all__ = [
    "FileFacts",
    "SqlRecordingStore",
    "add",
    "blob_key",
    "change",
    "load",
    "recording_of",
]

log = logging.getLogger(__name__)

_RETRIED: Final = (DBAPIError, PoolTimeout, OSError)
"""What a database that is away, busy or full raises; the change is tried again until it is in."""

_FIXED: Final = frozenset(
    {
        *("id", "tenant_id", "name", "call_id", "conference_id", "holder_id", "source"),
        # People change these meanwhile.
        *("direction", "caller", "callee", "queue", "agent", "tags"),
    }
)
"""Columns that a change of the recording leaves alone."""

UNFINISHED: Final = tuple(state.value for state in RecordingState if not state.is_final)


@dataclass(frozen=True, slots=True)
class FileFacts:
    """What is known of a recording's file once it is a blob: columns of the row."""

    duration_ms: int
    samples: int
    sample_rate: int
    channels: int
    size: int
    sha256: str
    silence_ratio: float | None
    peak_dbfs: float | None
    blob_key: str
    peaks_key: str = ""


class SqlRecordingStore:
    """The `RecordingStore` of the service: the rows of one node."""

    def __init__(self, database: Database, node: str) -> None:
        self._database = database
        self._node = node

    async def insert(self, recording: Recording) -> None:
        """See `RecordingStore.insert`. Raises `RecordingFailed` when the row can't be written."""
        try:
            try:
                await self._add(recording)
            except IntegrityError:
                async with self._database.read() as connection:
                    active = await _active(connection, recording)
                if active is not None:
                    raise RecordingActive(active.name, active.id) from None
                await self._add(recording)  # the one that was active has ended meanwhile
        except _RETRIED as error:
            cause = f"its row can't be written: {getattr(error, 'orig', None) or error}"
            raise RecordingFailed(recording.name, cause) from error

    async def replace(self, old: Recording, new: Recording) -> bool:
        """See `RecordingStore.replace`. A database that is away is waited for: what the PBX has
        done is not undone by forgetting it.
        """
        waits = delays(0.2, cap=10.0)
        while True:
            try:
                # Undone by a power cut it is found out again, from the PBX or its file; the row
                # itself, with who spoke to whom, is there by then.
                async with self._database.write(durable=False) as connection:
                    return await _write(connection, old, new, self._node)
            except _RETRIED as error:
                log.error("recording %s: its row can't be changed yet: %s", new.name, error)
            await asyncio.sleep(next(waits))
            # The commit may have been made, and only its answer lost.
            row = await self._get_at_last(new.id)
            if row is not None and replace(row, tags=new.tags) == new:
                return True

    async def get(self, recording_id: str) -> Recording | None:
        """See `RecordingStore.get`."""
        async with self._database.read() as connection:
            return await load(connection, recording_id)

    async def unfinished(self) -> list[Recording]:
        """See `RecordingStore.unfinished`: of this node, those whose file a worker has excepted."""
        query = select(recordings).where(
            recordings.c.node == self._node,
            recordings.c.state.in_(UNFINISHED),
            recordings.c.ended_at.is_(None),
        )
        async with self._database.read() as connection:
            return [recording_of(row) for row in await connection.execute(query)]

    async def _add(self, recording: Recording) -> None:
        async with self._database.write() as connection:
            await add(connection, recording, self._node)

    async def _get_at_last(self, recording_id: str) -> Recording | None:
        waits = delays(0.2, cap=10.0)
        while True:
            try:
                return await self.get(recording_id)
            except _RETRIED as error:
                log.error("recording %s: its row can't be read yet: %s", recording_id, error)
            await asyncio.sleep(next(waits))


async def load(connection: AsyncConnection, recording_id: str) -> Recording | None:
    """Return a recording by id, of whichever tenant."""
    row = (
        await connection.execute(select(recordings).where(recordings.c.id == recording_id))
    ).first()
    return recording_of(row) if row is not None else None


async def add(
    connection: AsyncConnection,
    recording: Recording,
    node: str,
) -> None:
    """Write a new row. Raises sqlalchemy's `IntegrityError` when the target or holder has an
    active recording.
    """
    await connection.execute(insert(recordings).values(node=node, **_columns(recording)))


async def change(
    connection: AsyncConnection,
    recording_id: str,
    happening: Change,
    facts: FileFacts | None = None,
) -> Recording | None:
    """Apply a change to a row as it stands, with the facts of its file; None when there is none.

    Nothing is changed where the lifecycle's table says so: the same change twice is one.
    """
    query = select(recordings).where(recordings.c.id == recording_id).with_for_update()
    row = (await connection.execute(query)).first()
    if row is None:
        return None
    old = recording_of(row)
    step = advance(old, happening)
    if step.recording == old:
        return old
    await _write(connection, old, step.recording, row.node, facts)
    return step.recording


def recording_of(row: Row[Any]) -> Recording:
    """Return the value of a row."""
    return Recording(
        id=row.id,
        name=row.name,
        call_id=row.call_id,
        target=RecordingTarget(row.target),
        target_id=row.target_id,
        format=row.format,
        layout=Layout(row.layout),
        state=RecordingState(row.state),
        tracks=tuple(msgspec.convert(row.tracks, list[Track])),
        max_duration=row.max_duration,
        max_silence=row.max_silence,
        terminate_on=row.terminate_on,
        paused=row.paused,
        muted=row.muted,
        requested_at=row.requested_at,
        started_at=row.started_at,
        ended_at=row.ended_at,
        end_reason=EndReason(row.end_reason) if row.end_reason else None,
        cause=row.cause,
        extra=row.extra,
        holder_id=row.holder_id,
        conference_id=row.conference_id,
        tenant_id=row.tenant_id,
        source=RecordingSource(row.source),
        direction=CallDirection(row.direction) if row.direction else None,
        caller=row.caller,
        callee=row.callee,
        queue=row.queue,
        agent=row.agent,
        tags=tuple(row.tags),
        sink=row.sink,
        pauses=tuple(msgspec.convert(row.pauses, list[Pause])),
        version=row.version,
    )


def blob_key(recording: Recording, extension: str) -> str:
    """Return where the audio of a recording is kept in the blob store."""
    if recording.requested_at is None:
        raise ValueError(f"recording {recording.id} has no time of its request")
    day = recording.requested_at.strftime("%Y/%m/%d")
    return f"recordings/{recording.tenant_id}/{day}/{recording.id}.{extension}"


async def _write(
    connection: AsyncConnection,
    old: Recording,
    new: Recording,
    node: str,
    facts: FileFacts | None = None,
) -> bool:
    """Put one value in the place of another, with all that is due; False when the row is not the
    old one any more.
    """
    values = _columns(new)
    if facts is not None:
        values |= {name: getattr(facts, name) for name in FileFacts.__dataclass_fields__}
    if new.state is RecordingState.AVAILABLE and old.state is not new.state:
        values["available_at"] = datetime.now(UTC)
    changed = await connection.execute(
        update(recordings)
        .where(recordings.c.id == old.id, recordings.c.version == old.version)
        .values(**{name: values[name] for name in values if name not in _FIXED})
    )
    if changed.rowcount != 1:
        return False
    for event in news(old, new):
        await journal.append(connection, event, tenant_id=new.tenant_id, recording_id=new.id)
    if old.ended_at is None and new.ended_at is not None and not new.state.is_final:
        await enqueue(connection, "ingest", new.id, tenant_id=new.tenant_id)
    if new.state.is_final and not old.state.is_final:
        await settle_expiry(connection, new.tenant_id, new.id)
        if new.sink and new.started_at is not None and new.end_reason is not EndReason.CANCELLED:
            await journal.queue_sink(
                connection,
                tenant_id=new.tenant_id,
                node=node,
                call_id=new.call_id,
                recording_id=new.id,
                body=encode_json(asdict(metadata_of(new))),
            )
    return True


def _columns(recording: Recording) -> dict[str, Any]:
    """Return the columns that a value fills."""
    lost = recording.extra.get("lost_seconds")
    return {
        "id": recording.id,
        "tenant_id": recording.tenant_id,
        "version": recording.version,
        "name": recording.name,
        "call_id": recording.call_id,
        "conference_id": recording.conference_id,
        "holder_id": recording.holder_id,
        "target": recording.target.value,
        "target_id": recording.target_id,
        "format": recording.format,
        "layout": recording.layout.value,
        "tracks": msgspec.to_builtins(recording.tracks),
        "max_duration": recording.max_duration,
        "max_silence": recording.max_silence,
        "terminate_on": recording.terminate_on,
        "sink": recording.sink,
        "source": recording.source.value,
        "direction": recording.direction.value if recording.direction else "",
        "caller": recording.caller,
        "callee": recording.callee,
        "queue": recording.queue,
        "agent": recording.agent,
        "tags": list(recording.tags),
        "state": recording.state.value,
        "paused": recording.paused,
        "muted": recording.muted,
        "pauses": msgspec.to_builtins(recording.pauses),
        "requested_at": recording.requested_at,
        "started_at": recording.started_at,
        "ended_at": recording.ended_at,
        "end_reason": recording.end_reason.value if recording.end_reason else "",
        "cause": recording.cause,
        "extra": recording.extra,
        "lost_ms": None if lost is None else round(float(str(lost)) * 1000),
    }


async def _active(connection: AsyncConnection, recording: Recording) -> Row[str, str] | None:
    """Return the recording that keeps this one from being active."""
    query = select(recordings.c.id, recordings.c.name).where(
        recordings.c.ended_at.is_(None),
        or_(
            recordings.c.target_id == recording.target_id,
            recordings.c.holder_id == recording.holder_id,
        ),
    )
    return (await connection.execute(query)).first()
