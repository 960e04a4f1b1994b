"""Answers that were given, by the keys of clients, so that asking twice acts once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import and_, delete, select, update
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql import ColumnElement

from voxtra.exceptions import VoxtraError
from voxtra.store.database import insert_into
from voxtra.store.schema import idempotency

__all__ = ["Answer", "InProgress", "Mismatch", "abandon", "begin", "finish"]

KEPT: Final = timedelta(hours=24)
"""How long an answer is given again."""

ABANDONED: Final = timedelta(minutes=1)
"""After this time without an answer whoever began is taken for dead."""


class Mismatch(VoxtraError):
    """The key was used for another request."""


class InProgress(VoxtraError):
    """The same request is being carried out at this moment."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer as it was given."""

    status: int
    headers: Mapping[str, str]
    body: str


async def begin(
    connection: AsyncConnection, principal_id: str, key: str, fingerprint: str, now: datetime
) -> Answer | None:
    """Claim a key for a request: None when it is to be carried out, else the answer it had.

    Raises `Mismatch` and `InProgress`.
    """
    await connection.execute(delete(idempotency).where(idempotency.c.created_at <= now - KEPT))
    inserted = await connection.execute(
        insert_into(connection, idempotency)
        .values(principal_id=principal_id, key=key, fingerprint=fingerprint, created_at=now)
        .on_conflict_do_nothing()
        .returning(idempotency.c.key)
    )
    if inserted.first() is not None:
        return None
    # locked: of two who find it abandoned one takes it over
    query = select(idempotency).where(_is(principal_id, key)).with_for_update()
    row = (await connection.execute(query)).first()
    if row is None:
        raise InProgress("it was given up at this moment")
    if row.fingerprint != fingerprint:
        raise Mismatch("the key was used for another request")
    if row.status:
        return Answer(row.status, row.headers, row.body)
    if row.created_at > now - ABANDONED:
        raise InProgress("the same request is being carried out")
    await connection.execute(
        update(idempotency).where(_is(principal_id, key)).values(created_at=now)
    )
    return None


async def finish(
    connection: AsyncConnection, principal_id: str, key: str, began: datetime, answer: Answer
) -> None:
    """Keep the answer of a request that `began` then; what somebody took over is left to them."""
    await connection.execute(
        update(idempotency)
        .where(_is(principal_id, key), idempotency.c.created_at == began)
        .values(status=answer.status, headers=dict(answer.headers), body=answer.body)
    )


async def abandon(
    connection: AsyncConnection, principal_id: str, key: str, began: datetime
) -> None:
    """Forget a request that failed, so that it can be tried again at once."""
    await connection.execute(
        delete(idempotency).where(_is(principal_id, key), idempotency.c.created_at == began)
    )


def _is(principal_id: str, key: str) -> ColumnElement[bool]:
    return and_(idempotency.c.principal_id == principal_id, idempotency.c.key == key)
