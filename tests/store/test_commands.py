"""What one node asks of another's calls."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from voxtra.store import commands
from voxtra.store.commands import LIFE, Command
from voxtra.store.database import Database

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


async def send(
    database: Database, verb: str = "hangup", now: datetime = NOW, **arguments: Any
) -> str:
    """Ask node n1 for something."""
    async with database.write() as connection:
        return await commands.send(connection, "n1", verb, "c1", "t", arguments, now=now)


async def take(database: Database, node: str = "n1", now: datetime = NOW) -> list[Command]:
    """Take what is asked of a node."""
    async with database.write() as connection:
        return await commands.take(connection, node, now=now)


async def outcome(database: Database, command_id: str) -> dict[str, Any] | None:
    """Return what came of a command."""
    async with database.read() as connection:
        return await commands.outcome(connection, command_id)


async def test_a_command_is_taken_by_its_node_and_answered(database: Database) -> None:
    """The node that is asked gets the command as it was sent, and who asked gets its answer."""
    command_id = await send(database, verb="pause_recording", on=True)
    assert await take(database, "n2") == []
    (taken,) = await take(database)
    assert taken == Command(command_id, "t", "pause_recording", "c1", {"on": True})
    assert await outcome(database, command_id) is None
    async with database.write() as connection:
        await commands.answer(connection, command_id, {"value": "r1"})
    assert await outcome(database, command_id) == {"value": "r1"}
    assert await outcome(database, "unknown") is None


async def test_both_sides_are_woken(database: Database) -> None:
    """A command wakes who waits for commands, and so does its answer."""
    with database.signals.subscribe("commands") as signal:
        command_id = await send(database)
        assert signal.is_set()
        signal.clear()
        async with database.write() as connection:
            await commands.answer(connection, command_id, {})
        assert signal.is_set()


async def test_commands_are_taken_in_the_order_of_asking(database: Database) -> None:
    """A node carries out first what was asked first, and takes nothing twice."""
    times = [NOW + timedelta(milliseconds=each) for each in (3, 1, 4, 2, 0)]
    sent = {now: await send(database, now=now) for now in times}
    taken = await take(database, now=NOW + LIFE)
    assert [each.id for each in taken] == [sent[now] for now in sorted(times)]
    assert await take(database, now=NOW + LIFE) == []


async def test_a_command_is_taken_once(another: Callable[[], Database]) -> None:
    """Of many who take at once for the same node one gets each command."""
    databases = [another() for _ in range(3)]
    sent = [await send(databases[0]) for _ in range(12)]
    taken = await asyncio.gather(*(take(databases[at % 3]) for at in range(9)))
    left = await take(databases[0])
    assert Counter(each.id for some in (*taken, left) for each in some) == Counter(sent)


async def test_nothing_is_done_for_who_has_given_up(database: Database) -> None:
    """A command older than its life is not carried out: who asked for it is told that it failed."""
    command_id = await send(database)
    assert await take(database, now=NOW + LIFE + timedelta(microseconds=1)) == []
    (taken,) = await take(database, now=NOW + LIFE)
    assert taken.id == command_id


async def test_old_commands_are_forgotten(database: Database) -> None:
    """Commands that were sent before a time are removed, answered or not."""
    old, answered = await send(database), await send(database)
    async with database.write() as connection:
        await commands.answer(connection, answered, {"value": None})
        await commands.expire(connection, NOW)
    assert await outcome(database, answered) == {"value": None}
    async with database.write() as connection:
        await commands.expire(connection, NOW + timedelta(seconds=1))
    assert await outcome(database, answered) is None
    assert old not in [each.id for each in await take(database)]
