"""Nodes: the processes of the service that share a database, and whether they live."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from voxtra.store.database import insert_into
from voxtra.store.schema import nodes

__all__ = ["Node", "alive", "beat", "every"]


@dataclass(frozen=True, slots=True)
class Node:
    """One process by its name; `facts` is what it says of itself."""

    name: str
    app_name: str
    version: str
    started_at: datetime
    seen_at: datetime
    facts: dict[str, Any]


async def beat(
    connection: AsyncConnection,
    name: str,
    *,
    app_name: str,
    version: str,
    facts: Mapping[str, Any],
    started_at: datetime,
    now: datetime,
) -> None:
    """Say that a node lives, and what it is."""
    said = {
        "app_name": app_name,
        "version": version,
        "facts": dict(facts),
        "started_at": started_at,
        "seen_at": now,
    }
    await connection.execute(
        insert_into(connection, nodes)
        .values(name=name, **said)
        .on_conflict_do_update(index_elements=["name"], set_=said)
    )


async def alive(connection: AsyncConnection, name: str, now: datetime, within: timedelta) -> bool:
    """Tell whether a node was heard of within a time before now."""
    found = await connection.execute(
        select(nodes.c.name).where(nodes.c.name == name, nodes.c.seen_at >= now - within)
    )
    return found.first() is not None


async def every(connection: AsyncConnection) -> list[Node]:
    """Return all nodes that were ever heard of, by name."""
    columns = (nodes.c[each.name] for each in fields(Node))
    rows = await connection.execute(select(*columns).order_by(nodes.c.name))
    return [Node(*row) for row in rows]
