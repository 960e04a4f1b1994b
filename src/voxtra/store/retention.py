"""How long recordings stay: a tenant's days, rules by direction, queue and tag, and what was said
of one recording.

Time runs from the end of the recording (of one that never began: from when it was asked for), so a
live one never expires. `recordings.expires_at` is written whenever it may change; what removes
recordings computes it once more, from the rules of that moment, before it acts.

A change of the rules and its effect meet at the row of the tenant: who computes with the rules
shares it, who changes them has it alone (PostgreSQL; SQLite has one writer anyway).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import ColumnElement, Row, Select, bindparam, delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from voxtra.exceptions import ConfigurationError, RecordingExpired, UnknownRecording
from voxtra.ids import new_id
from voxtra.model import CallDirection, RecordingState
from voxtra.store.jobs import enqueue
from voxtra.store.schema import deliveries, recordings, retention_rules, tenants

__all__ = [
    "ACTOR",
    "FOR_EVER",
    "JOB",
    "LONGEST",
    "Due",
    "Facts",
    "Policy",
    "Rule",
    "due",
    "due_after",
    "expires_at",
    "facts_of",
    "policy_of",
    "reapply",
    "set_days",
    "set_policy",
    "settle_expiry",
    "stock",
]

ACTOR: Final = "retention"
"""Who deleted what expired, in tombstones and in the audit trail."""

JOB: Final = "retention"
"""The kind of the job that computes a tenant's recordings anew; its subject is the tenant."""

FOR_EVER: Final = 0
"""Days that never end."""

LONGEST: Final = 36_500
"""Days, a hundred years: more is a typing error, or `FOR_EVER`."""


@dataclass(frozen=True, slots=True)
class Rule:
    """Days for the recordings that have all of `direction`, `queue` and `tag`; empty: any."""

    days: int
    direction: str = ""
    queue: str = ""
    tag: str = ""

    def fits(self, facts: Facts) -> bool:
        """Tell whether the rule is about such a recording."""
        return (
            self.direction in ("", facts.direction)
            and self.queue in ("", facts.queue)
            and (not self.tag or self.tag in facts.tags)
        )


@dataclass(frozen=True, slots=True)
class Policy:
    """A tenant's days, and the rules before them: the first that fits decides.

    Raises `ConfigurationError` for days outside 0 (for ever) to `LONGEST`, and for an unknown
    direction.
    """

    days: int
    rules: tuple[Rule, ...] = ()

    def __post_init__(self) -> None:
        check_days(self.days, "days")
        for number, rule in enumerate(self.rules):
            check_days(rule.days, f"rules.{number}.days")
            if rule.direction and rule.direction not in set(CallDirection):
                raise ConfigurationError(
                    f"{rule.direction!r} is no direction",
                    field=f"rules.{number}.direction",
                    fix="Write inbound or outbound, or leave it empty for both",
                )


@dataclass(frozen=True, slots=True)
class Facts:
    """What of a recording decides how long it stays; `since` None: it is not final yet.

    `days` is what was said of this recording alone, None when nothing was.
    """

    since: datetime | None
    direction: str = ""
    queue: str = ""
    tags: tuple[str, ...] = ()
    days: int | None = None


@dataclass(frozen=True, slots=True)
class Due:
    """A recording whose time is over and which nothing keeps."""

    recording_id: str
    tenant_id: str
    expires_at: datetime
    size: int


def check_days(days: int, field: str) -> None:
    """Raise `ConfigurationError` unless it is a number of days to keep something."""
    if not FOR_EVER <= days <= LONGEST:
        raise ConfigurationError(
            f"{days} is outside 0 to {LONGEST}", field=field, fix="Write days, or 0 for ever"
        )


def expires_at(facts: Facts, policy: Policy) -> datetime | None:
    """Return when a recording's time is over; None: never, or not as things stand."""
    if facts.since is None:
        return None
    days = facts.days
    if days is None:
        days = next((rule.days for rule in policy.rules if rule.fits(facts)), policy.days)
    return None if days == FOR_EVER else facts.since + timedelta(days=days)


def facts_of(row: Row[Any]) -> Facts:
    """Return what of a recording's row decides."""
    since = None
    if RecordingState(row.state).is_final:
        since = row.ended_at or row.requested_at
    return Facts(since, row.direction, row.queue, tuple(row.tags), row.retention_days)


async def policy_of(connection: AsyncConnection, tenant_id: str, *, share: bool = False) -> Policy:
    """Return a tenant's policy; `share` keeps it from changing until the transaction ends.

    A tenant without a row keeps all for ever: what is not known removes nothing.
    """
    query = select(tenants.c.retention_days).where(tenants.c.id == tenant_id)
    days = (await connection.execute(query.with_for_update(read=True) if share else query)).scalar()
    rules = await connection.execute(
        select(retention_rules)
        .where(retention_rules.c.tenant_id == tenant_id)
        .order_by(retention_rules.c.position)
    )
    return Policy(
        FOR_EVER if days is None else days,
        tuple(Rule(row.days, row.direction, row.queue, row.tag) for row in rules),
    )


async def set_policy(
    connection: AsyncConnection, tenant_id: str, policy: Policy, *, now: datetime
) -> None:
    """Replace a tenant's days and rules, and have its recordings computed anew.

    Raises `ConfigurationError` when there is no such tenant.
    """
    changed = await connection.execute(
        update(tenants).where(tenants.c.id == tenant_id).values(retention_days=policy.days)
    )
    if changed.rowcount != 1:
        raise ConfigurationError(f"there is no tenant {tenant_id}", field="tenant")
    await connection.execute(
        delete(retention_rules).where(retention_rules.c.tenant_id == tenant_id)
    )
    if policy.rules:
        await connection.execute(
            insert(retention_rules),
            [
                {
                    "id": new_id(),
                    "tenant_id": tenant_id,
                    "position": position,
                    "direction": rule.direction,
                    "queue": rule.queue,
                    "tag": rule.tag,
                    "days": rule.days,
                    "created_at": now,
                }
                for position, rule in enumerate(policy.rules)
            ],
        )
    await enqueue(connection, JOB, tenant_id, tenant_id=tenant_id)


async def set_days(
    connection: AsyncConnection, tenant_id: str, recording_id: str, days: int | None
) -> datetime | None:
    """Say how many days one recording stays (None: as the rules say); return when it expires.

    Raises `UnknownRecording`, `RecordingExpired` for a deleted one, and `ConfigurationError`.
    """
    if days is not None:
        check_days(days, "retention_days")
    changed = await connection.execute(
        update(recordings)
        .where(recordings.c.id == recording_id, recordings.c.tenant_id == tenant_id)
        .where(recordings.c.deleted_at.is_(None))
        .values(retention_days=days)
    )
    if changed.rowcount != 1:
        deleted = await connection.execute(
            select(recordings.c.delete_reason).where(
                recordings.c.id == recording_id, recordings.c.tenant_id == tenant_id
            )
        )
        row = deleted.first()
        if row is None:
            raise UnknownRecording(recording_id)
        raise RecordingExpired(recording_id, row.delete_reason)
    return await settle_expiry(connection, tenant_id, recording_id)


async def settle_expiry(
    connection: AsyncConnection, tenant_id: str, recording_id: str
) -> datetime | None:
    """Write when a recording expires, and return it: to be called in the transaction that makes it
    final, or changes its tags, queue or days. Raises `UnknownRecording`.
    """
    found = await connection.execute(
        _computed(recordings.c.id == recording_id, recordings.c.tenant_id == tenant_id)
    )
    row = found.first()
    if row is None:
        raise UnknownRecording(recording_id)
    policy = await policy_of(connection, tenant_id, share=True)
    expiry = None if row.deleted_at else expires_at(facts_of(row), policy)
    if expiry != row.expires_at:
        await _write(connection, [(recording_id, expiry)])
    return expiry


async def stock(
    connection: AsyncConnection, tenant_id: str, after: str, limit: int, *, lock: bool = False
) -> Sequence[Row[Any]]:
    """Return the tenant's next recordings after an id that are not deleted, in the order of ids."""
    query = (
        _computed(
            recordings.c.tenant_id == tenant_id,
            recordings.c.id > after,
            recordings.c.deleted_at.is_(None),
            lock=lock,
        )
        .order_by(recordings.c.id)
        .limit(limit)
    )
    rows: Sequence[Row[Any]] = (await connection.execute(query)).all()
    return rows


async def reapply(
    connection: AsyncConnection, tenant_id: str, after: str, *, limit: int
) -> tuple[str, int]:
    """Compute the next recordings of a tenant anew; return the last id ("": there was none left)
    and how many changed.
    """
    policy = await policy_of(connection, tenant_id, share=True)
    rows = await stock(connection, tenant_id, after, limit, lock=True)
    changes = [change for row in rows if (change := _change_of(row, policy)) is not None]
    if changes:
        await _write(connection, changes)
    return (rows[-1].id if rows else ""), len(changes)


def _change_of(row: Row[Any], policy: Policy) -> tuple[str, datetime | None] | None:
    """Return a recording's id and its new expiry under a policy, None when it is as it was."""
    expiry = expires_at(facts_of(row), policy)
    return None if expiry == row.expires_at else (row.id, expiry)


async def due_after(
    connection: AsyncConnection,
    now: datetime,
    after: tuple[datetime, str] | None,
    *,
    tenant_id: str = "",
    limit: int,
) -> Sequence[Row[Any]]:
    """Return the next recordings that look as if their time were over, the longest over first;
    `due` says of each whether it is.
    """
    query: Select[Any] = select(
        recordings.c.id, recordings.c.tenant_id, recordings.c.expires_at
    ).where(
        recordings.c.deleted_at.is_(None),
        recordings.c.expires_at <= now,
        recordings.c.held.is_(False),
    )
    if tenant_id:
        query = query.where(recordings.c.tenant_id == tenant_id)
    if after is not None:
        moment, recording_id = after
        query = query.where(
            (recordings.c.expires_at > moment)
            | ((recordings.c.expires_at == moment) & (recordings.c.id > recording_id))
        ).where(recordings.c.expires_at >= moment)
    query = query.order_by(recordings.c.expires_at, recordings.c.id).limit(limit)
    rows: Sequence[Row[Any]] = (await connection.execute(query)).all()
    return rows


async def due(
    connection: AsyncConnection,
    tenant_id: str,
    recording_id: str,
    now: datetime,
    *,
    lock: bool = False,
) -> Due | None:
    """Return a recording if its time is over by the rules of now, and nothing keeps it.

    A hold keeps it, and so does a sink that was not told yet: it may want the file. That lasts as
    long as the schedule of deliveries at most, for then the delivery is dead. `lock` makes the
    answer hold until the transaction ends.
    """
    found = await connection.execute(
        _computed(recordings.c.id == recording_id, recordings.c.tenant_id == tenant_id, lock=lock)
    )
    row = found.first()
    if row is None or row.deleted_at is not None or row.held:
        return None
    policy = await policy_of(connection, tenant_id, share=lock)
    expiry = expires_at(facts_of(row), policy)
    if expiry is None or expiry > now or await _awaited(connection, recording_id):
        return None
    return Due(recording_id, tenant_id, expiry, row.size or 0)


async def _awaited(connection: AsyncConnection, recording_id: str) -> bool:
    waiting = await connection.execute(
        select(deliveries.c.seq)
        .where(
            deliveries.c.recording_id == recording_id,
            deliveries.c.kind == "sink",
            deliveries.c.state == "waiting",
        )
        .limit(1)
    )
    return waiting.first() is not None


def _computed(*where: ColumnElement[bool], lock: bool = True) -> Select[Any]:
    table = recordings.c
    query = select(
        table.id,
        table.tenant_id,
        table.state,
        table.requested_at,
        table.ended_at,
        table.direction,
        table.queue,
        table.tags,
        table.retention_days,
        table.expires_at,
        table.held,
        table.deleted_at,
        table.size,
    ).where(*where)
    return query.with_for_update() if lock else query


async def _write(connection: AsyncConnection, changes: list[tuple[str, datetime | None]]) -> None:
    await connection.execute(
        update(recordings)
        .where(recordings.c.id == bindparam("of"))
        .values(expires_at=bindparam("expiry")),
        [{"of": recording_id, "expiry": expiry} for recording_id, expiry in changes],
    )
