"""Deleting a recording: its row stays as a tombstone, what people said and are called does not.

The tombstone is written first, with the job that removes the files; that job is tried until they
are gone. Exports that hold the recording end with it. What is known of people is blanked in the
same transaction: in the row, in the journal and in the messages that were kept. The file's name on
the PBX alone stays until the files are gone, for they are found by it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import msgspec
from sqlalchemy import Row, bindparam, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from voxtra.events import EventType, VoxtraEvent
from voxtra.exceptions import (
    ConfigurationError,
    RecordingActive,
    RecordingHeld,
    RecordingNotReady,
    UnknownRecording,
)
from voxtra.model import RecordingState, Track
from voxtra.store import exports, journal
from voxtra.store.deliveries import waiting
from voxtra.store.jobs import enqueue
from voxtra.store.schema import deliveries, events, holds, recordings

__all__ = ["JOB", "Remains", "Tombstone", "delete", "forget", "remains"]

JOB: Final = "purge"
"""The kind of the job that removes the files of a deleted recording, which is its subject."""

_FORGOTTEN: Final = {
    "caller": "",
    "callee": "",
    "queue": "",
    "agent": "",
    "tags": [],
    "note": "",
    "sink": "",
    "cause": "",
    "extra": {},
    "pauses": [],
}

_KEPT: Final = frozenset(
    {
        *("id", "type", "session_id", "timestamp"),
        *("recording_id", "call_id", "conference_id", "hold_id"),
        *("state", "format", "layout", "target", "end_reason", "sha256"),
    }
)
"""Keys whose text says nothing about people; all other text in events and messages is blanked."""


@dataclass(frozen=True, slots=True)
class Tombstone:
    """What stays of a deleted recording: the hash of its audio, and who deleted it when and why."""

    recording_id: str
    tenant_id: str
    size: int | None
    sha256: str
    deleted_at: datetime
    deleted_by: str
    reason: str


@dataclass(frozen=True, slots=True)
class Remains:
    """What may still be there of a deleted recording: blobs, and files of its tracks on the PBX of
    a node.
    """

    recording_id: str
    tenant_id: str
    blob_keys: tuple[str, ...]
    name: str
    format: str
    node: str
    tracks: tuple[Track, ...]


async def delete(
    connection: AsyncConnection,
    tenant_id: str,
    recording_id: str,
    *,
    actor: str,
    reason: str,
    now: datetime,
) -> Tombstone:
    """Delete a recording and return its tombstone; deleting it again returns the same one.

    Raises `UnknownRecording`, `RecordingActive` while it is recorded, `RecordingNotReady` while its
    file is being finished, `RecordingHeld`, and `ConfigurationError` for an empty reason.
    """
    if not reason.strip():
        raise ConfigurationError("is empty", field="reason", fix="Say why it is deleted")
    query = select(recordings).where(
        recordings.c.id == recording_id, recordings.c.tenant_id == tenant_id
    )
    row = (await connection.execute(query.with_for_update())).first()
    if row is None:
        raise UnknownRecording(recording_id)
    if row.deleted_at is not None:
        return _tombstone(row, row.deleted_at, row.deleted_by, row.delete_reason)
    await _check(connection, row)
    await connection.execute(
        update(recordings)
        .where(recordings.c.id == recording_id)
        .values(
            **_FORGOTTEN,
            version=row.version + 1,
            expires_at=None,
            deleted_at=now,
            deleted_by=actor,
            delete_reason=reason,
        )
    )
    await exports.end_those_with(connection, tenant_id, recording_id, now=now)
    # Sinks want the file. A sink's lane is the recording: nothing of another one waits behind it.
    await connection.execute(
        update(deliveries)
        .where(waiting(), deliveries.c.recording_id == recording_id, deliveries.c.kind == "sink")
        .values(
            state="dead",
            problem="the recording was deleted",
            next_at=None,
            leased_by="",
            finished_at=now,
        )
    )
    await _blank(connection, recording_id)
    await enqueue(connection, JOB, recording_id, tenant_id=tenant_id)
    stone = _tombstone(row, now, actor, reason)
    data = {"recording_id": recording_id, "sha256": row.sha256, "by": actor, "reason": reason}
    event = VoxtraEvent(EventType.RECORDING_DELETED, row.call_id, data, timestamp=now)
    await journal.append(connection, event, tenant_id=tenant_id, recording_id=recording_id)
    return stone


async def remains(connection: AsyncConnection, tenant_id: str, recording_id: str) -> Remains | None:
    """Return what may be left of a deleted recording; None: it is not deleted, or all is gone."""
    found = await connection.execute(
        select(recordings).where(
            recordings.c.id == recording_id,
            recordings.c.tenant_id == tenant_id,
            recordings.c.deleted_at.is_not(None),
            recordings.c.name != "",
        )
    )
    row = found.first()
    if row is None:
        return None
    return Remains(
        recording_id,
        tenant_id,
        tuple(key for key in (row.peaks_key, row.blob_key) if key),
        row.name,
        row.format,
        row.node,
        tuple(msgspec.convert(row.tracks, list[Track])),
    )


async def forget(connection: AsyncConnection, recording_id: str) -> None:
    """Note that all files of a deleted recording are gone: where they were is forgotten, too."""
    await connection.execute(
        update(recordings)
        .where(recordings.c.id == recording_id, recordings.c.deleted_at.is_not(None))
        .values(name="", tracks=[], blob_key="", peaks_key="")
    )


async def _check(connection: AsyncConnection, row: Row[Any]) -> None:
    if row.held:
        reason = await connection.execute(
            select(holds.c.reason).where(
                holds.c.recording_id == row.id, holds.c.released_at.is_(None)
            )
        )
        raise RecordingHeld(row.id, reason.scalar() or "")
    state = RecordingState(row.state)
    if state is RecordingState.STOPPING:
        raise RecordingNotReady(row.id, state.value)
    if not state.is_final:
        raise RecordingActive(row.name, row.id)


async def _blank(connection: AsyncConnection, recording_id: str) -> None:
    """Take the people out of what was told of a recording; the shape stays, for its readers."""
    told = await connection.execute(
        select(events.c.seq, events.c.data)
        .where(events.c.recording_id == recording_id)
        .order_by(events.c.seq)
    )
    if blanked := [{"of": row.seq, "new": _blanked(row.data)} for row in told]:
        await connection.execute(
            update(events).where(events.c.seq == bindparam("of")).values(data=bindparam("new")),
            blanked,
        )
    sent = await connection.execute(
        select(deliveries.c.seq, deliveries.c.body)
        .where(deliveries.c.recording_id == recording_id)
        .order_by(deliveries.c.seq)
    )
    if blanked := [
        {
            "of": row.seq,
            "new": msgspec.json.encode(_blanked(msgspec.json.decode(row.body))).decode(),
        }
        for row in sent
    ]:
        await connection.execute(
            update(deliveries)
            .where(deliveries.c.seq == bindparam("of"))
            .values(body=bindparam("new")),
            blanked,
        )


def _blanked(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: item if key in _KEPT else _blanked(item) for key, item in value.items()}
    if isinstance(value, str):
        return ""
    return [] if isinstance(value, list) else value


def _tombstone(row: Row[Any], at: datetime, actor: str, reason: str) -> Tombstone:
    return Tombstone(row.id, row.tenant_id, row.size, row.sha256, at, actor, reason)
