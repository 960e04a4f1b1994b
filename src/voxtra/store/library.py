"""Recordings as people use them: one by its id, what they wrote on it, those of a call.

A deleted recording is found as well: its row is the tombstone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Column, Row, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from voxtra.exceptions import RecordingExpired, UnknownRecording
from voxtra.store.retention import settle_expiry
from voxtra.store.schema import recordings

__all__ = ["Recorded", "annotate", "get", "kept", "of_calls", "of_conferences"]


@dataclass(frozen=True, slots=True)
class Recorded:
    """The recordings of a call or a conference, oldest first, deleted ones included; `active` is
    the id of the one that is being made of it, "" for none.
    """

    active: str = ""
    ids: tuple[str, ...] = ()


async def get(connection: AsyncConnection, tenant_id: str, recording_id: str) -> Row[Any]:
    """Return a recording of a tenant. Raises `UnknownRecording`."""
    found = await connection.execute(
        select(recordings).where(
            recordings.c.id == recording_id, recordings.c.tenant_id == tenant_id
        )
    )
    row = found.first()
    if row is None:
        raise UnknownRecording(recording_id)
    return row


async def annotate(
    connection: AsyncConnection,
    tenant_id: str,
    recording_id: str,
    *,
    tags: Sequence[str] | None = None,
    note: str | None = None,
) -> None:
    """Replace the tags or the note of a recording, or both; its expiry follows its tags.

    Raises `UnknownRecording`, and `RecordingExpired` for a deleted one: nothing is written on a
    tombstone.
    """
    values: dict[str, Any] = {}
    if tags is not None:
        values["tags"] = list(dict.fromkeys(tags))
    if note is not None:
        values["note"] = note
    # An update of nothing would be refused by the database; it still has to find its recording.
    changed = await connection.execute(
        update(recordings)
        .where(
            recordings.c.id == recording_id,
            recordings.c.tenant_id == tenant_id,
            recordings.c.deleted_at.is_(None),
        )
        .values(values or {"id": recording_id})
    )
    if changed.rowcount != 1:
        row = await get(connection, tenant_id, recording_id)
        raise RecordingExpired(recording_id, row.delete_reason)
    if tags is not None:
        await settle_expiry(connection, tenant_id, recording_id)


async def kept(connection: AsyncConnection, recording_ids: Sequence[str]) -> set[str]:
    """Return which of these recordings, of any tenant, are there and not deleted."""
    found = await connection.execute(
        select(recordings.c.id).where(
            recordings.c.id.in_(recording_ids), recordings.c.deleted_at.is_(None)
        )
    )
    return set(found.scalars())


async def of_calls(
    connection: AsyncConnection, tenant_id: str, call_ids: Sequence[str]
) -> dict[str, Recorded]:
    """Return what was recorded of each call, also in its bridges."""
    return await _recorded(connection, tenant_id, recordings.c.call_id, call_ids)


async def of_conferences(
    connection: AsyncConnection, tenant_id: str, conference_ids: Sequence[str]
) -> dict[str, Recorded]:
    """Return what was recorded of each conference."""
    return await _recorded(connection, tenant_id, recordings.c.conference_id, conference_ids)


async def _recorded(
    connection: AsyncConnection, tenant_id: str, whose: Column[str], ids: Sequence[str]
) -> dict[str, Recorded]:
    # by a column with an index; `holder_id` has one for active recordings alone
    rows = await connection.execute(
        select(recordings.c.id, recordings.c.holder_id, recordings.c.ended_at, whose)
        .where(recordings.c.tenant_id == tenant_id, whose.in_(ids))
        .order_by(recordings.c.id)
    )
    found: dict[str, list[str]] = {each: [] for each in ids}
    active = dict.fromkeys(ids, "")
    for recording_id, holder_id, ended_at, of in rows:
        found[of].append(recording_id)
        if ended_at is None and holder_id == of:
            active[of] = recording_id
    return {each: Recorded(active[each], tuple(found[each])) for each in ids}
