"""Exports: an archive of many recordings, made by a job, there for some days.

What goes into it is fixed when it is asked for: one row of `export_items` for each id. Whether a
recording of that id exists, and may be had, is looked at when its turn comes.

An export that ends before its time (somebody removes it, or deletes a recording that is in it) is
`expired` at once; the archive itself is removed by who finds `leftovers`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Row, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from voxtra.events import EventType, VoxtraEvent
from voxtra.exceptions import ConfigurationError
from voxtra.ids import new_id
from voxtra.store import journal
from voxtra.store.jobs import enqueue
from voxtra.store.schema import export_items, exports, recordings

__all__ = [
    "JOB",
    "LIFETIME",
    "MOST",
    "begin",
    "candidate",
    "create",
    "deleted_of",
    "end_those_with",
    "expire",
    "fail",
    "finish",
    "forget_blob",
    "get",
    "items",
    "leftovers",
    "page",
    "progress",
    "remove",
]

JOB: Final = "export"
"""The kind of the job that makes an export, which is its subject."""

MOST: Final = 10_000
"""Recordings of one export."""

LIFETIME: Final = timedelta(days=7)
"""How long a finished archive is kept, unless its maker says otherwise."""

_UNFINISHED: Final = ("waiting", "running")
_INSERTED_AT_ONCE: Final = 1000


async def create(
    connection: AsyncConnection,
    tenant_id: str,
    recording_ids: Iterable[str],
    *,
    created_by: str,
    now: datetime,
    wanted: Mapping[str, Any] | None = None,
) -> str:
    """Ask for an export of recordings and return its id; `wanted` is the filter that found them.

    An id that leads to nothing fails no export: the manifest says so. Raises `ConfigurationError`
    for no id, and for more than `MOST`.
    """
    ids = list(dict.fromkeys(recording_ids))
    if not ids:
        raise ConfigurationError(
            "names no recording", field="recording_ids", fix="Name at least one"
        )
    if len(ids) > MOST:
        raise ConfigurationError(
            f"names more than {MOST} recordings",
            field="recording_ids",
            fix="Make several exports, for example one for each month",
        )
    export_id = new_id()
    await connection.execute(
        insert(exports).values(
            id=export_id,
            tenant_id=tenant_id,
            state="waiting",
            wanted=dict(wanted or {}),
            created_by=created_by,
            total=len(ids),
            created_at=now,
        )
    )
    for start in range(0, len(ids), _INSERTED_AT_ONCE):
        await connection.execute(
            insert(export_items),
            [
                {"export_id": export_id, "recording_id": recording_id}
                for recording_id in ids[start : start + _INSERTED_AT_ONCE]
            ],
        )
    await enqueue(connection, JOB, export_id, tenant_id=tenant_id)
    return export_id


async def get(connection: AsyncConnection, tenant_id: str, export_id: str) -> Row[Any] | None:
    """Return an export of a tenant, None when there is none."""
    found = await connection.execute(
        select(exports).where(exports.c.id == export_id, exports.c.tenant_id == tenant_id)
    )
    return found.first()


async def page(
    connection: AsyncConnection, tenant_id: str, *, before: str = "", limit: int = 50
) -> Sequence[Row[Any]]:
    """Return a tenant's exports, newest first; `before` is the id where the last page ended."""
    query = select(exports).where(exports.c.tenant_id == tenant_id)
    if before:
        query = query.where(exports.c.id < before)
    return (await connection.execute(query.order_by(exports.c.id.desc()).limit(limit))).all()


async def remove(
    connection: AsyncConnection, tenant_id: str, export_id: str, *, now: datetime
) -> bool:
    """End an export before its time, also one that is being made; False when there is none."""
    row = await _locked(connection, tenant_id, export_id)
    if row is None:
        return False
    if row.state != "expired":
        await _end(connection, [export_id], "it was removed", now)
    return True


async def begin(connection: AsyncConnection, tenant_id: str, export_id: str) -> Row[Any] | None:
    """Note that an export is being made, from its beginning, and return it as it was; None: nobody
    wants it any more.
    """
    row = await _locked(connection, tenant_id, export_id)
    if row is None or row.state not in _UNFINISHED:
        return None
    await connection.execute(
        update(exports).where(exports.c.id == export_id).values(state="running", done=0, failed=0)
    )
    return row


async def items(
    connection: AsyncConnection, export_id: str, after: str, limit: int
) -> Sequence[str]:
    """Return the next ids of an export, in their order: the oldest recording first."""
    rows = await connection.execute(
        select(export_items.c.recording_id)
        .where(export_items.c.export_id == export_id, export_items.c.recording_id > after)
        .order_by(export_items.c.recording_id)
        .limit(limit)
    )
    return rows.scalars().all()


async def candidate(
    connection: AsyncConnection, tenant_id: str, recording_id: str
) -> Row[Any] | None:
    """Return a recording that is to go into an export, None when the tenant has none of this id."""
    found = await connection.execute(
        select(recordings).where(
            recordings.c.id == recording_id, recordings.c.tenant_id == tenant_id
        )
    )
    return found.first()


async def progress(connection: AsyncConnection, export_id: str, *, done: int, failed: int) -> None:
    """Note how many recordings are in the archive, and how many can't be."""
    await connection.execute(
        update(exports)
        .where(exports.c.id == export_id, exports.c.state == "running")
        .values(done=done, failed=failed)
    )


async def deleted_of(connection: AsyncConnection, export_id: str) -> set[str]:
    """Return the recordings of an export that are deleted by now."""
    rows = await connection.execute(
        select(recordings.c.id)
        .join(export_items, export_items.c.recording_id == recordings.c.id)
        .where(export_items.c.export_id == export_id, recordings.c.deleted_at.is_not(None))
    )
    return set(rows.scalars())


async def finish(
    connection: AsyncConnection,
    tenant_id: str,
    export_id: str,
    *,
    done: int,
    failed: int,
    size: int,
    sha256: str,
    blob_key: str,
    now: datetime,
    lifetime: timedelta = LIFETIME,
) -> bool:
    """Let an export be had until its time is over, and tell of it; False: nobody wants it any more.

    The row is locked first: a recording that is deleted at this moment is found by `deleted_of`
    afterwards, or its deletion finds the finished export.
    """
    row = await _locked(connection, tenant_id, export_id)
    if row is None or row.state != "running":
        return False
    facts = {"done": done, "failed": failed, "size": size, "sha256": sha256}
    expires_at = now + lifetime
    await connection.execute(
        update(exports)
        .where(exports.c.id == export_id)
        .values(
            state="available",
            blob_key=blob_key,
            finished_at=now,
            expires_at=expires_at,
            **facts,
        )
    )
    data = {"export_id": export_id, "total": row.total, **facts, "expires_at": expires_at}
    await _tell(connection, EventType.EXPORT_AVAILABLE, tenant_id, data, now)
    return True


async def fail(
    connection: AsyncConnection, tenant_id: str, export_id: str, *, cause: str, now: datetime
) -> None:
    """Note why an export can't be made, and tell of it; one that is over stays as it is."""
    row = await _locked(connection, tenant_id, export_id)
    if row is None or row.state not in _UNFINISHED:
        return
    await connection.execute(
        update(exports)
        .where(exports.c.id == export_id)
        .values(state="failed", cause=cause, finished_at=now)
    )
    data = {"export_id": export_id, "total": row.total, "cause": cause}
    await _tell(connection, EventType.EXPORT_FAILED, tenant_id, data, now)


async def expire(connection: AsyncConnection, now: datetime) -> int:
    """End the exports whose time is over; return how many those are."""
    ended = await connection.execute(
        update(exports)
        .where(exports.c.state == "available", exports.c.expires_at <= now)
        .values(state="expired", cause="its time was over", wanted={})
    )
    return ended.rowcount


async def end_those_with(
    connection: AsyncConnection, tenant_id: str, recording_id: str, *, now: datetime
) -> None:
    """End the finished exports that hold a recording; the one who deletes it calls this.

    Those that are being made are locked as well: see `finish`.
    """
    holding = await connection.execute(
        select(exports.c.id, exports.c.state)
        .where(
            exports.c.tenant_id == tenant_id,
            exports.c.state.in_((*_UNFINISHED, "available")),
            exports.c.id.in_(
                select(export_items.c.export_id).where(export_items.c.recording_id == recording_id)
            ),
        )
        .order_by(exports.c.id)
        .with_for_update()
    )
    available = [row.id for row in holding if row.state == "available"]
    if available:
        await _end(connection, available, "a recording in it was deleted", now)


async def leftovers(
    connection: AsyncConnection, *, recording_id: str = ""
) -> Sequence[tuple[str, str]]:
    """Return the ids and blobs of expired exports that are still stored; `recording_id`: only of
    those that were to hold it.
    """
    query = select(exports.c.id, exports.c.blob_key).where(
        exports.c.state == "expired", exports.c.blob_key != ""
    )
    if recording_id:
        query = query.where(
            exports.c.id.in_(
                select(export_items.c.export_id).where(export_items.c.recording_id == recording_id)
            )
        )
    return [(row.id, row.blob_key) for row in await connection.execute(query)]


async def forget_blob(connection: AsyncConnection, export_id: str) -> None:
    """Note that the archive of an export is gone."""
    await connection.execute(update(exports).where(exports.c.id == export_id).values(blob_key=""))


async def _locked(connection: AsyncConnection, tenant_id: str, export_id: str) -> Row[Any] | None:
    found = await connection.execute(
        select(exports)
        .where(exports.c.id == export_id, exports.c.tenant_id == tenant_id)
        .with_for_update()
    )
    return found.first()


async def _end(
    connection: AsyncConnection, export_ids: Sequence[str], cause: str, now: datetime
) -> None:
    # The filter goes, too: it may name people.
    await connection.execute(
        update(exports)
        .where(exports.c.id.in_(export_ids))
        .values(state="expired", cause=cause, expires_at=now, wanted={})
    )


async def _tell(
    connection: AsyncConnection,
    kind: EventType,
    tenant_id: str,
    data: dict[str, Any],
    now: datetime,
) -> None:
    event = VoxtraEvent(kind, "", data, timestamp=now)
    await journal.append(connection, event, tenant_id=tenant_id)
