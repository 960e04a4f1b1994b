"""Rows of conferences and their participants, made of events that come twice and late."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from voxtra.store import conferences
from voxtra.store.conferences import Conference, Participant
from voxtra.store.database import Database

T = TypeVar("T")

BEGIN = datetime(2026, 1, 2, 3, 4, 5, 678901, UTC)


def at(seconds: float) -> datetime:
    """Return a time after the beginning."""
    return BEGIN + timedelta(seconds=seconds)


async def do(database: Database, verb: Callable[..., Awaitable[T]], *args: Any, **kw: Any) -> T:
    """Run one function of the module in a transaction."""
    async with database.write() as connection:
        return await verb(connection, *args, **kw)


async def create(database: Database, conference_id: str = "k1", **values: Any) -> None:
    """Begin a conference."""
    said = {"tenant_id": "t", "node": "n1", "name": "weekly", "at": BEGIN, **values}
    await do(database, conferences.create, conference_id=conference_id, **said)


async def get(database: Database) -> Conference:
    """Return the conference."""
    found = await do(database, conferences.get, "t", "k1")
    assert found is not None
    return found


async def stays(database: Database) -> list[tuple[str, datetime, datetime | None]]:
    """Return who was in the conference, from when until when."""
    found: list[Participant] = await do(database, conferences.participants_of, "t", "k1")
    return [(each.call_id, each.joined_at, each.left_at) for each in found]


async def test_a_conference_is_there_until_it_ends(database: Database) -> None:
    """A conference has a row with what was said of it, which tells when and why it ended."""
    await create(database, metadata={"room": 3})
    await create(database, name="another", at=at(1))  # the same event again, as it were
    assert await get(database) == Conference(
        "k1", "t", "n1", "weekly", "active", {"room": 3}, BEGIN, None, ""
    )
    await do(database, conferences.end, "k1", at(9), "everybody left")
    await do(database, conferences.end, "k1", at(12))
    found = await get(database)
    assert (found.state, found.ended_at, found.end_reason) == ("ended", at(9), "everybody left")


async def test_who_comes_and_goes_is_written_down(database: Database) -> None:
    """Each stay of a call in a conference is one participant, in the order of coming."""
    await create(database)
    await do(database, conferences.joined, "k1", "a", at(1))
    await do(database, conferences.joined, "k1", "b", at(2))
    await do(database, conferences.left, "k1", "a", at(3))
    await do(database, conferences.joined, "k1", "a", at(4))
    expected = [("a", at(1), at(3)), ("b", at(2), None), ("a", at(4), None)]
    assert await stays(database) == expected

    # All of it once more changes nothing.
    await do(database, conferences.joined, "k1", "a", at(1))
    await do(database, conferences.joined, "k1", "b", at(2))
    await do(database, conferences.left, "k1", "a", at(3))
    await do(database, conferences.joined, "k1", "a", at(4))
    assert await stays(database) == expected


async def test_nobody_is_in_a_conference_that_is_over(database: Database) -> None:
    """The end of a conference ends every stay, and one that is told of later ended with it."""
    await create(database)
    await do(database, conferences.joined, "k1", "a", at(1))
    await do(database, conferences.joined, "k1", "b", at(2))
    await do(database, conferences.left, "k1", "b", at(3))
    await do(database, conferences.end, "k1", at(9))
    await do(database, conferences.joined, "k1", "c", at(4))
    await do(database, conferences.left, "k1", "a", at(10))
    assert await stays(database) == [
        ("a", at(1), at(9)),
        ("b", at(2), at(3)),
        ("c", at(4), at(9)),
    ]


async def test_word_of_an_unknown_conference_makes_no_row(database: Database) -> None:
    """Who is said to be in a conference that never began here is nobody's participant."""
    await do(database, conferences.joined, "k1", "a", at(1))
    await do(database, conferences.left, "k1", "a", at(2))
    await do(database, conferences.end, "k1", at(3))
    assert await stays(database) == []
    assert await do(database, conferences.get, "t", "k1") is None


async def test_a_foreign_conference_is_unknown(database: Database) -> None:
    """A tenant finds neither a conference nor its participants of another's."""
    await create(database)
    await do(database, conferences.joined, "k1", "a", at(1))
    assert await do(database, conferences.get, "other", "k1") is None
    assert await do(database, conferences.participants_of, "other", "k1") == []
    assert await do(database, conferences.page, "other") == []


async def test_conferences_are_listed_newest_first(database: Database) -> None:
    """A list is read page by page, of those that are on, those that are over, or all."""
    for number, second in enumerate([2, 1, 2, 0]):
        await create(database, f"k{number}", at=at(second))
    await create(database, "foreign", tenant_id="other", at=at(1))
    await do(database, conferences.end, "k2", at(9))
    await do(database, conferences.end, "k1", at(9))

    async def ids(**wanted: Any) -> list[str]:
        return [each.id for each in await do(database, conferences.page, "t", **wanted)]

    assert await ids() == ["k2", "k0", "k1", "k3"]
    assert await ids(active=True) == ["k0", "k3"]
    assert await ids(active=False) == ["k2", "k1"]
    assert await ids(limit=3) == ["k2", "k0", "k1"]
    assert await ids(before=(at(2), "k0"), limit=3) == ["k1", "k3"]
    assert await ids(before=(at(2), "k2"), active=True, limit=1) == ["k0"]


async def test_a_node_finds_its_conferences_that_are_on(database: Database) -> None:
    """The conferences of a node, whosever they are, are found until they end."""
    await create(database, "k1")
    await create(database, "k2", tenant_id="other")
    await create(database, "k3", node="n2")
    await create(database, "k4")
    await do(database, conferences.end, "k4", at(1))
    assert [each.id for each in await do(database, conferences.active, "n1")] == ["k1", "k2"]
