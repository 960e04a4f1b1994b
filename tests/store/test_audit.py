"""The audit trail: what is noted stays, in order, and each tenant sees its own."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from voxtra.store import audit
from voxtra.store.database import Database

NOW = datetime(2026, 3, 1, tzinfo=UTC)


async def test_an_act_is_read_as_it_was_noted(database: Database):
    """Everything that was said of an act comes back, values that are no JSON as text."""
    async with database.write() as connection:
        number = await audit.record(
            connection,
            tenant_id="acme",
            actor="p1",
            action="recording.deleted",
            subject_kind="recording",
            subject_id="r1",
            request_id="q1",
            remote="192.0.2.1",
            detail={"reason": "asked", "odd": object},
            at=NOW,
        )
    async with database.read() as connection:
        (row,) = await audit.page(connection, "acme")
    assert (row.seq, row.at, row.actor, row.action) == (number, NOW, "p1", "recording.deleted")
    assert (row.subject_kind, row.subject_id) == ("recording", "r1")
    assert (row.request_id, row.remote) == ("q1", "192.0.2.1")
    assert row.detail == {"reason": "asked", "odd": "<class 'object'>"}


async def test_an_act_without_a_time_is_of_now(database: Database):
    """The time of the clock is noted when none is given."""
    before = datetime.now(UTC)
    async with database.write() as connection:
        await audit.record(connection, tenant_id="acme", actor="p1", action="key.made")
    async with database.read() as connection:
        (row,) = await audit.page(connection, "acme")
    assert before <= row.at <= datetime.now(UTC)


async def test_pages_go_back_in_time_without_gap_or_repetition(database: Database):
    """Each page begins below the last number of the one before."""
    async with database.write() as connection:
        made = [
            await audit.record(connection, tenant_id="acme", actor="p", action=f"thing.{n}", at=NOW)
            for n in range(7)
        ]
    found: list[int] = []
    async with database.read() as connection:
        while rows := await audit.page(
            connection, "acme", before=found[-1] if found else None, limit=3
        ):
            found += [row.seq for row in rows]
    assert found == made[::-1]


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({}, {1, 2, 3, 4}),
        ({"actor": "eve"}, {2, 4}),
        ({"action": "key.made"}, {3, 4}),
        ({"subject_id": "a"}, {1, 2, 3}),
        ({"subject_kind": "recording"}, {1, 2}),
        ({"actor": "eve", "subject_id": "a"}, {2}),
        ({"actor": "nobody"}, set()),
    ],
)
async def test_filters_are_joined_by_and(
    database: Database, filters: dict[str, Any], expected: set[int]
):
    """An act is found when it has all that is asked for."""
    acts = [
        ("adam", "recording.deleted", "recording", "a"),
        ("eve", "recording.deleted", "recording", "a"),
        ("adam", "key.made", "key", "a"),
        ("eve", "key.made", "key", "b"),
    ]
    async with database.write() as connection:
        for actor, action, kind, subject in acts:
            await audit.record(
                connection,
                tenant_id="acme",
                actor=actor,
                action=action,
                subject_kind=kind,
                subject_id=subject,
            )
    async with database.read() as connection:
        rows = await audit.page(connection, "acme", **filters)
    assert {row.seq for row in rows} == expected


async def test_a_tenant_sees_its_own_acts_only(database: Database):
    """What another tenant did is on no page, also not by the id of its subject."""
    async with database.write() as connection:
        await audit.record(
            connection, tenant_id="other", actor="p", action="key.made", subject_id="k"
        )
    async with database.read() as connection:
        assert await audit.page(connection, "acme") == []
        assert await audit.page(connection, "acme", subject_id="k") == []


async def test_an_act_is_undone_with_what_it_tells(database: Database):
    """An act whose transaction fails was never noted."""

    async def act() -> None:
        async with database.write() as connection:
            await audit.record(connection, tenant_id="acme", actor="p", action="key.made")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await act()
    async with database.read() as connection:
        assert await audit.page(connection, "acme") == []
