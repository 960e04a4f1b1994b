"""Who of the processes that share a database lives."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from voxtra.store import nodes
from voxtra.store.database import Database
from voxtra.store.nodes import Node

BEGIN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
WITHIN = timedelta(seconds=15)


async def beat(database: Database, name: str, seconds: float, *, started: float = 0) -> None:
    """Say that a node lives."""
    async with database.write() as connection:
        await nodes.beat(
            connection,
            name,
            app_name=f"voxtra-{name}",
            version="1.2.3",
            facts={"calls": seconds},
            started_at=BEGIN + timedelta(seconds=started),
            now=BEGIN + timedelta(seconds=seconds),
        )


async def alive(database: Database, name: str, seconds: float) -> bool:
    """Tell whether a node lives at a time."""
    async with database.read() as connection:
        return await nodes.alive(connection, name, BEGIN + timedelta(seconds=seconds), WITHIN)


async def test_a_node_lives_as_long_as_it_says_so(database: Database) -> None:
    """A node is alive within the time after its last word, and others are not because of it."""
    await beat(database, "n1", 0)
    await beat(database, "n1", 10)
    assert await alive(database, "n1", 25)
    assert not await alive(database, "n1", 25.1)
    assert not await alive(database, "n2", 10)


async def test_the_nodes_are_listed_with_their_last_word(database: Database) -> None:
    """Every node that was ever heard of has one row, with what it said last."""
    await beat(database, "n2", 0)
    await beat(database, "n1", 5)
    await beat(database, "n2", 20, started=18)
    async with database.read() as connection:
        found = await nodes.every(connection)
    assert found == [
        Node("n1", "voxtra-n1", "1.2.3", BEGIN, BEGIN + timedelta(seconds=5), {"calls": 5}),
        Node(
            "n2",
            "voxtra-n2",
            "1.2.3",
            BEGIN + timedelta(seconds=18),
            BEGIN + timedelta(seconds=20),
            {"calls": 20},
        ),
    ]
