"""The audit trail: who did what to which thing, written in the transaction of the act.

Rows are added and read; nothing here changes or removes one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Row, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from voxtra.store.schema import audit

__all__ = ["page", "record"]


async def record(
    connection: AsyncConnection,
    *,
    tenant_id: str,
    actor: str,
    action: str,
    subject_kind: str = "",
    subject_id: str = "",
    request_id: str = "",
    remote: str = "",
    detail: Mapping[str, Any] | None = None,
    at: datetime | None = None,
) -> int:
    """Note an act, of now unless `at` says when, and return its number.

    `actor` is a principal's id, or the name of what acts by itself ("retention", "cli"); `action`
    reads `thing.verb`, as `recording.deleted`. What is no JSON in `detail` becomes its text.
    """
    inserted = await connection.execute(
        insert(audit)
        .values(
            tenant_id=tenant_id,
            at=at or datetime.now(UTC),
            actor=actor,
            action=action,
            subject_kind=subject_kind,
            subject_id=subject_id,
            request_id=request_id,
            remote=remote,
            detail=dict(detail or {}),
        )
        .returning(audit.c.seq)
    )
    return int(inserted.scalar_one())


async def page(
    connection: AsyncConnection,
    tenant_id: str,
    *,
    actor: str = "",
    action: str = "",
    subject_kind: str = "",
    subject_id: str = "",
    before: int | None = None,
    limit: int = 50,
) -> Sequence[Row[Any]]:
    """Return a tenant's acts, newest first: those numbered below `before`, or the newest of all."""
    query = select(audit).where(audit.c.tenant_id == tenant_id)
    wanted = {
        audit.c.actor: actor,
        audit.c.action: action,
        audit.c.subject_kind: subject_kind,
        audit.c.subject_id: subject_id,
    }
    query = query.where(*(column == value for column, value in wanted.items() if value))
    if before is not None:
        query = query.where(audit.c.seq < before)
    return (await connection.execute(query.order_by(audit.c.seq.desc()).limit(limit))).all()
