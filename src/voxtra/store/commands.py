"""Commands of one node to another: what is asked here of a call that lives there.

Who asks writes a row and waits for its outcome; who has the call takes the row, once, and answers
in it. Both are woken by the topic "commands".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import delete, insert, literal_column, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from voxtra.ids import new_id
from voxtra.store.database import wake
from voxtra.store.schema import commands, utc_now

__all__ = ["LIFE", "Command", "answer", "expire", "outcome", "send", "take", "waiting"]

LIFE: Final = timedelta(seconds=25)
"""How old a command may be that is taken: who asked has given up by then, and a recording that
starts on nobody's behalf is worse than none.
"""


@dataclass(frozen=True, slots=True)
class Command:
    """A verb of `voxtra.service.context.Control` for a call or conference of this node."""

    id: str
    tenant_id: str
    verb: str
    subject_id: str
    arguments: dict[str, Any]


async def send(  # noqa: PLR0917  # said like a sentence: ask n1 to hang up c1 for t
    connection: AsyncConnection,
    node: str,
    verb: str,
    subject_id: str,
    tenant_id: str,
    arguments: Mapping[str, Any],
    *,
    now: datetime | None = None,
) -> str:
    """Ask a node for something, and return the id by which the `outcome` is found."""
    command_id = new_id()
    await connection.execute(
        insert(commands).values(
            id=command_id,
            tenant_id=tenant_id,
            node=node,
            verb=verb,
            subject_id=subject_id,
            arguments=dict(arguments),
            state="waiting",
            created_at=now or utc_now(),
        )
    )
    wake(connection, "commands")
    return command_id


async def waiting(connection: AsyncConnection, node: str) -> bool:
    """Tell whether anything is asked of a node, without writing."""
    asked = select(commands.c.id).where(
        commands.c.node == node, commands.c.state == literal_column("'waiting'")
    )
    return (await connection.execute(asked.limit(1))).first() is not None


async def take(
    connection: AsyncConnection, node: str, *, now: datetime | None = None
) -> list[Command]:
    """Take what is asked of a node, in the order of asking; nothing is taken twice."""
    waiting = (
        select(commands.c.id)
        .where(
            commands.c.node == node,
            commands.c.state == "waiting",
            commands.c.created_at >= (now or utc_now()) - LIFE,
        )
        .with_for_update(skip_locked=True)
    )
    taken = await connection.execute(
        update(commands)
        .where(commands.c.id.in_(waiting))
        .values(state="taken")
        .returning(
            commands.c.id,
            commands.c.tenant_id,
            commands.c.verb,
            commands.c.subject_id,
            commands.c.arguments,
            commands.c.created_at,
        )
    )
    rows = sorted(taken, key=lambda row: (row.created_at, row.id))
    return [Command(*row[:-1]) for row in rows]


async def answer(connection: AsyncConnection, command_id: str, result: Mapping[str, Any]) -> None:
    """Say what came of a command."""
    await connection.execute(
        update(commands)
        .where(commands.c.id == command_id)
        .values(state="done", outcome=dict(result), finished_at=utc_now())
    )
    wake(connection, "commands")


async def outcome(connection: AsyncConnection, command_id: str) -> dict[str, Any] | None:
    """Return what came of a command, None while it is not known."""
    found = await connection.execute(
        select(commands.c.outcome).where(commands.c.id == command_id, commands.c.state == "done")
    )
    result: dict[str, Any] | None = found.scalar_one_or_none()
    return result


async def expire(connection: AsyncConnection, older_than: datetime) -> None:
    """Forget commands, answered or not, that were sent before a time."""
    await connection.execute(delete(commands).where(commands.c.created_at < older_than))
