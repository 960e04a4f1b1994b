"""Pages of what has no ids that sort by time: newest first, from where the page before ended."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Select, Table, literal, tuple_

from voxtra.store.schema import UtcTime

__all__ = ["newest_first"]


def newest_first(
    query: Select[Any], table: Table, before: tuple[datetime, str] | None, limit: int
) -> Select[Any]:
    """Return a query for one page, in the order of the index (tenant_id, created_at, id).

    `before` is `created_at` and `id` of the last row seen.
    """
    if before is not None:
        at, identity = before
        query = query.where(
            tuple_(table.c.created_at, table.c.id) < tuple_(literal(at, UtcTime()), identity)
        )
    return query.order_by(table.c.created_at.desc(), table.c.id.desc()).limit(limit)
