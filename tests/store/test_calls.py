"""Rows of calls and legs, made of events that come twice and late."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete

from voxtra.model import CallDirection, CallState
from voxtra.store import calls
from voxtra.store.calls import Call, Leg
from voxtra.store.database import Database
from voxtra.store.schema import calls as calls_table
from voxtra.store.schema import legs as legs_table

T = TypeVar("T")

BEGIN = datetime(2026, 1, 2, 3, 4, 5, 678901, UTC)


def at(seconds: float) -> datetime:
    """Return a time after the beginning."""
    return BEGIN + timedelta(seconds=seconds)


async def do(database: Database, verb: Callable[..., Awaitable[T]], *args: Any, **kw: Any) -> T:
    """Run one function of the module in a transaction."""
    async with database.write() as connection:
        return await verb(connection, *args, **kw)


async def begin(database: Database, call_id: str = "c1", **values: Any) -> None:
    """Begin a call."""
    said = {
        "tenant_id": "t",
        "node": "n1",
        "direction": CallDirection.INBOUND,
        "caller": "100",
        "callee": "200",
        "metadata": {},
        "at": BEGIN,
        **values,
    }
    await do(database, calls.begin, call_id=call_id, **said)


async def end(database: Database, call_id: str = "c1", seconds: float = 9, **values: Any) -> None:
    """End a call."""
    said = {"cause": 16, "reason": "Normal Clearing", "state": CallState.COMPLETED, **values}
    await do(database, calls.ended, call_id, at(seconds), **said)


async def get(database: Database, call_id: str = "c1", tenant: str = "t") -> Call:
    """Return a call that is there."""
    found = await do(database, calls.get, tenant, call_id)
    assert found is not None
    return found


async def legs(database: Database, call_id: str = "c1") -> list[Leg]:
    """Return the legs of a call."""
    return await do(database, calls.legs_of, "t", call_id)


async def test_a_call_is_there_from_its_beginning(database: Database) -> None:
    """A call that began has a row with what was said of it, and one leg, its own."""
    metadata = {"queue": "sales", "agent": 7, "tags": ("vip", "new"), "customer": {"id": 3}}
    await begin(database, metadata=metadata)
    call = await get(database)
    assert (call.id, call.tenant_id, call.node, call.direction) == ("c1", "t", "n1", "inbound")
    assert (call.caller, call.callee, call.state, call.created_at) == (
        "100",
        "200",
        "ringing",
        BEGIN,
    )
    assert (call.queue, call.agent, call.tags) == ("sales", "7", ("vip", "new"))
    assert call.metadata == {**metadata, "tags": ["vip", "new"]}
    assert (call.answered_at, call.ended_at, call.end_cause, call.end_reason) == (None, None, 0, "")
    assert await legs(database) == [Leg("c1", "c1", "inbound", "", BEGIN, None, None, 0)]


async def test_the_leg_of_a_call_of_ours_says_what_was_dialled(database: Database) -> None:
    """An outbound call's leg has the endpoint that was dialled."""
    await begin(database, direction=CallDirection.OUTBOUND, callee="PJSIP/200")
    (leg,) = await legs(database)
    assert (leg.direction, leg.endpoint) == ("outbound", "PJSIP/200")


async def test_metadata_of_any_kind_is_no_fault(database: Database) -> None:
    """Tags that are no list are none; what is no JSON in the metadata is kept as its text."""
    await begin(database, metadata={"tags": "vip", "made": BEGIN})
    call = await get(database)
    assert call.tags == ()
    assert call.metadata == {"tags": "vip", "made": "2026-01-02T03:04:05.678901Z"}


async def test_the_end_of_a_call_is_told(database: Database) -> None:
    """A call that was answered and ended says when, and by what cause, and so does its leg."""
    await begin(database)
    await do(database, calls.answered, "c1", at(2))
    assert (await get(database)).state == "answered"
    await end(database)
    call = await get(database)
    assert (call.state, call.answered_at, call.ended_at) == ("completed", at(2), at(9))
    assert (call.end_cause, call.end_reason) == (16, "Normal Clearing")
    assert await legs(database) == [Leg("c1", "c1", "inbound", "", BEGIN, at(2), at(9), 16)]


async def test_the_first_word_about_an_end_counts(database: Database) -> None:
    """A caller who is rejected is told of twice: as failed, then as ended; it stays failed."""
    await begin(database)
    await end(database, seconds=3, cause=21, reason="rejected", state=CallState.FAILED)
    await end(database, seconds=4)
    call = await get(database)
    assert (call.state, call.ended_at, call.end_cause) == ("failed", at(3), 21)
    assert call.end_reason == "rejected"
    assert (await legs(database))[0].end_cause == 21


async def test_late_word_changes_no_end(database: Database) -> None:
    """Word of the answer that comes after the end says when it was, and opens nothing again."""
    await begin(database)
    await end(database)
    await do(database, calls.answered, "c1", at(2))
    call = await get(database)
    assert (call.state, call.answered_at, call.ended_at) == ("completed", at(2), at(9))


EVENTS: dict[str, Callable[[Database], Awaitable[Any]]] = {
    "begin": begin,
    "answered": lambda database: do(database, calls.answered, "c1", at(2)),
    "other begins": lambda database: begin(
        database, "c2", direction=CallDirection.OUTBOUND, callee="PJSIP/300", at=at(3)
    ),
    "other answers": lambda database: do(database, calls.answered, "c2", at(4)),
    "transferred": lambda database: do(database, calls.transferred, "c1", "c2", at(5)),
    "ended": end,
    "other ended": lambda database: end(database, "c2", 12),
}


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(again=st.lists(st.tuples(st.sampled_from(list(EVENTS)), st.integers(0, 7)), max_size=8))
async def test_events_that_come_again_change_nothing(
    database: Database, again: list[tuple[str, int]]
) -> None:
    """Whatever is told once more, at any later time: the rows are those of telling it once."""
    async with database.write() as connection:
        await connection.execute(delete(calls_table))
        await connection.execute(delete(legs_table))
    told = []
    for number, name in enumerate(EVENTS):
        await EVENTS[name](database)
        told.append(name)
        for repeated, when in again:
            if when == number and repeated in told:
                await EVENTS[repeated](database)
    for repeated, when in again:
        if when == len(EVENTS):
            await EVENTS[repeated](database)

    one, other = await get(database), await get(database, "c2")
    assert (one.state, one.answered_at, one.ended_at) == ("completed", at(2), at(9))
    assert (other.state, other.answered_at, other.ended_at) == ("completed", at(4), at(12))
    assert (other.callee, other.created_at) == ("PJSIP/300", at(3))
    second = Leg("c2", "c1", "outbound", "PJSIP/300", at(3), at(4), at(12), 16)
    assert await legs(database) == [
        Leg("c1", "c1", "inbound", "", BEGIN, at(2), at(9), 16),
        second,
    ]
    assert [(leg.id, leg.call_id) for leg in await legs(database, "c2")] == [("c2", "c2")]


async def test_word_of_an_unknown_call_makes_no_row(database: Database) -> None:
    """The end of a call that never began here is nobody's row."""
    await do(database, calls.answered, "c9", at(1))
    await end(database, "c9")
    await do(database, calls.transferred, "c9", "c8", at(1))
    assert await do(database, calls.page, "t") == []


async def test_a_leg_that_a_phone_put_in_place_becomes_a_call(database: Database) -> None:
    """When a phone transfers its call the leg that takes its place is a call of the same tenant and
    node, and a leg of the first.
    """
    await begin(database)
    await do(database, calls.transferred, "c1", "x1", at(5))
    call = await get(database, "x1")
    assert (call.tenant_id, call.node, call.direction) == ("t", "n1", "outbound")
    assert (call.state, call.created_at, call.answered_at) == ("answered", at(5), at(5))
    assert (call.caller, call.callee) == ("100", "200")
    assert call.metadata == {"transferred_from": "c1"}
    assert [leg.id for leg in await legs(database)] == ["c1", "x1"]
    await end(database, "x1")
    assert [leg.ended_at for leg in await legs(database)] == [None, at(9)]


async def test_a_foreign_call_is_unknown(database: Database) -> None:
    """A tenant finds neither call nor legs of another's."""
    await begin(database)
    assert await do(database, calls.get, "other", "c1") is None
    assert await do(database, calls.legs_of, "other", "c1") == []
    assert await do(database, calls.page, "other") == []
    assert await do(database, calls.get, "t", "c2") is None


async def test_a_node_finds_its_calls_that_are_not_over(database: Database) -> None:
    """The calls of a node, whosever they are, are found until they end; when one ended is known."""
    await begin(database, "c1")
    await begin(database, "c2", tenant_id="other")
    await begin(database, "c3", node="n2")
    await begin(database, "c4")
    await end(database, "c4")
    assert [call.id for call in await do(database, calls.active, "n1")] == ["c1", "c2"]
    assert await do(database, calls.ended_at, "c4") == at(9)
    assert await do(database, calls.ended_at, "c1") is None
    assert await do(database, calls.ended_at, "nobody") is None


async def test_calls_whose_process_died_are_ended(database: Database) -> None:
    """What a node does not know any more is ended: as completed when it was up, else as failed; the
    calls it knows, and those of others, go on.
    """
    for number in range(1, 5):
        await begin(database, f"c{number}", node="n2" if number == 4 else "n1")
    await do(database, calls.answered, "c1", at(1))
    lost = await do(database, calls.end_lost, "n1", lambda: {"c3", "unheard of"}, at(20))
    assert [(call.id, call.ended_at) for call in lost] == [("c1", None), ("c2", None)]
    found = {call.id: call for call in await do(database, calls.page, "t")}
    assert {name: call.ended_at for name, call in found.items()} == {
        "c1": at(20),
        "c2": at(20),
        "c3": None,
        "c4": None,
    }
    assert (found["c1"].state, found["c2"].state) == ("completed", "failed")
    assert found["c1"].end_reason == found["c2"].end_reason == calls.LOST
    assert (await legs(database, "c2"))[0].ended_at == at(20)
    assert await do(database, calls.end_lost, "n1", lambda: {"c3"}, at(30)) == []


async def pages(database: Database, size: int, **filters: Any) -> list[list[str]]:
    """Return the ids of all pages of a list."""
    found: list[list[str]] = []
    before = None
    while True:
        page = await do(database, calls.page, "t", before=before, limit=size, **filters)
        if not page:
            return found
        found.append([call.id for call in page])
        before = (page[-1].created_at, page[-1].id)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 50])
async def test_a_list_is_read_page_by_page_newest_first(database: Database, size: int) -> None:
    """Pages follow each other without gap or repetition, calls of one instant by their ids."""
    for number, second in enumerate([5, 1, 3, 3, 3, 0, 5]):
        await begin(database, f"c{number}", at=at(second))
    await begin(database, "foreign", tenant_id="other", at=at(3))
    found = await pages(database, size)
    assert list(itertools.chain(*found)) == ["c6", "c0", "c4", "c3", "c2", "c1", "c5"]
    assert all(len(page) == size for page in found[:-1])


async def test_what_comes_while_a_list_is_read_moves_nothing(database: Database) -> None:
    """A call that begins between two pages does not push another onto the next."""
    for number in range(4):
        await begin(database, f"c{number}", at=at(number))
    first = await do(database, calls.page, "t", limit=2)
    await begin(database, "new", at=at(9))
    last = (first[-1].created_at, first[-1].id)
    second = await do(database, calls.page, "t", before=last, limit=2)
    assert [call.id for call in (*first, *second)] == ["c3", "c2", "c1", "c0"]


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"active": True}, ["c3", "c1"]),
        ({"active": False}, ["c2"]),
        ({"direction": "outbound"}, ["c3"]),
        ({"caller": "100"}, ["c2", "c1"]),
        ({"caller": "10"}, []),
        ({"callee": "999"}, ["c3"]),
        ({"queue": "sales"}, ["c2"]),
        ({"agent": "ann"}, ["c1"]),
        ({"since": at(2)}, ["c3", "c2"]),
        ({"until": at(2)}, ["c1"]),
        ({"since": at(2), "until": at(3), "caller": "100", "active": False}, ["c2"]),
        ({"since": at(2), "caller": "100", "active": True}, []),
    ],
)
async def test_a_list_is_narrowed(
    database: Database, filters: dict[str, Any], expected: list[str]
) -> None:
    """Each filter leaves out what does not have its value, and filters add up."""
    await begin(database, "c1", at=at(1), metadata={"agent": "ann"})
    await begin(database, "c2", at=at(2), metadata={"queue": "sales"})
    await end(database, "c2")
    await begin(
        database, "c3", at=at(3), direction=CallDirection.OUTBOUND, caller="300", callee="999"
    )
    found = await do(database, calls.page, "t", **filters)
    assert [call.id for call in found] == expected
