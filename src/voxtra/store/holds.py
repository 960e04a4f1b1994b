"""Legal holds: while one lasts, nothing removes the recording, whoever or whatever asks.

`recordings.held` says the same as the row of the hold, in the same transaction: what removes
recordings looks there, with the row locked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Row, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from voxtra.events import EventType, VoxtraEvent
from voxtra.exceptions import (
    ConfigurationError,
    RecordingExpired,
    RecordingHeld,
    UnknownRecording,
)
from voxtra.ids import new_id
from voxtra.store import journal
from voxtra.store.schema import holds, recordings

__all__ = ["Hold", "history", "place", "release"]


@dataclass(frozen=True, slots=True)
class Hold:
    """One hold of a recording; it lasts while `released_at` is None."""

    id: str
    recording_id: str
    reason: str
    placed_by: str
    placed_at: datetime
    released_by: str = ""
    release_reason: str = ""
    released_at: datetime | None = None


async def place(
    connection: AsyncConnection,
    tenant_id: str,
    recording_id: str,
    *,
    actor: str,
    reason: str,
    now: datetime,
) -> Hold:
    """Hold a recording, live or finished, until the hold is released.

    Raises `UnknownRecording`, `RecordingExpired` for a deleted one, `RecordingHeld` for one that is
    held already (a second reason would look noted without being so), and `ConfigurationError` for
    an empty reason.
    """
    _check(reason)
    found = await _locked(connection, tenant_id, recording_id)
    if found.deleted_at is not None:
        raise RecordingExpired(recording_id, found.delete_reason)
    if found.held:
        held = await _active(connection, recording_id)
        raise RecordingHeld(recording_id, held.reason if held else "")
    hold = Hold(new_id(), recording_id, reason, actor, now)
    await connection.execute(
        insert(holds).values(
            id=hold.id,
            tenant_id=tenant_id,
            recording_id=recording_id,
            reason=reason,
            placed_by=actor,
            placed_at=now,
        )
    )
    await _mark(connection, recording_id, held=True)
    await _tell(connection, EventType.RECORDING_HELD, found, hold, now)
    return hold


async def release(
    connection: AsyncConnection,
    tenant_id: str,
    recording_id: str,
    *,
    actor: str,
    reason: str,
    now: datetime,
) -> Hold | None:
    """End the hold of a recording; None: there is none.

    A recording whose time has come meanwhile is removed by the next run of retention. Raises
    `UnknownRecording`, and `ConfigurationError` for an empty reason.
    """
    _check(reason)
    found = await _locked(connection, tenant_id, recording_id)
    held = await _active(connection, recording_id)
    if held is None:
        return None
    await connection.execute(
        update(holds)
        .where(holds.c.id == held.id)
        .values(released_by=actor, release_reason=reason, released_at=now)
    )
    await _mark(connection, recording_id, held=False)
    hold = replace(held, released_by=actor, release_reason=reason, released_at=now)
    await _tell(connection, EventType.RECORDING_RELEASED, found, hold, now)
    return hold


async def history(connection: AsyncConnection, tenant_id: str, recording_id: str) -> Sequence[Hold]:
    """Return all holds of a recording, the oldest first."""
    rows = await connection.execute(
        select(holds)
        .where(holds.c.tenant_id == tenant_id, holds.c.recording_id == recording_id)
        .order_by(holds.c.placed_at, holds.c.id)
    )
    return [_hold(row) for row in rows]


def _check(reason: str) -> None:
    if not reason.strip():
        raise ConfigurationError(
            "is empty", field="reason", fix="Say why, for those who ask about it in years"
        )


async def _locked(connection: AsyncConnection, tenant_id: str, recording_id: str) -> Row[Any]:
    """Return the recording; nobody else holds, releases or deletes it in this transaction."""
    found = await connection.execute(
        select(recordings)
        .where(recordings.c.id == recording_id, recordings.c.tenant_id == tenant_id)
        .with_for_update()
    )
    row = found.first()
    if row is None:
        raise UnknownRecording(recording_id)
    return row


async def _active(connection: AsyncConnection, recording_id: str) -> Hold | None:
    found = await connection.execute(
        select(holds).where(holds.c.recording_id == recording_id, holds.c.released_at.is_(None))
    )
    row = found.first()
    return _hold(row) if row else None


async def _mark(connection: AsyncConnection, recording_id: str, *, held: bool) -> None:
    await connection.execute(
        update(recordings).where(recordings.c.id == recording_id).values(held=held)
    )


async def _tell(
    connection: AsyncConnection, kind: EventType, found: Row[Any], hold: Hold, now: datetime
) -> None:
    released = hold.released_at is not None
    data = {
        "recording_id": hold.recording_id,
        "hold_id": hold.id,
        "by": hold.released_by if released else hold.placed_by,
        "reason": hold.release_reason if released else hold.reason,
    }
    event = VoxtraEvent(kind, found.call_id, data, timestamp=now)
    await journal.append(
        connection, event, tenant_id=found.tenant_id, recording_id=hold.recording_id
    )


def _hold(row: Row[Any]) -> Hold:
    return Hold(
        row.id,
        row.recording_id,
        row.reason,
        row.placed_by,
        row.placed_at,
        row.released_by,
        row.release_reason,
        row.released_at,
    )
