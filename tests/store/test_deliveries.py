"""Deliveries as those see them who ask: list, log, replay, backlog."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import update

from tests.outbox import Clock, all_of, endpoint, happen
from voxtra.events import EventType
from voxtra.store import deliveries, endpoints, journal, outbox, schema
from voxtra.store.database import Database
from voxtra.store.deliveries import Backlog, Delivery
from voxtra.store.outbox import Destination


@pytest.fixture
def clock() -> Clock:
    """Return a time that passes when the test says so."""
    return Clock()


async def finish(
    database: Database, clock: Clock, endpoint_id: str, *, dead: tuple[str, ...] = ()
) -> None:
    """Let all that waits for an endpoint arrive, or die where it is of these lanes."""
    where = Destination(clock(), endpoint_id)
    while True:
        async with database.write() as connection:
            claimed = await outbox.claim(connection, where, worker="w", now=clock(), limit=10)
            for each in claimed.deliveries:
                problem = "HTTP 500" if each.lane in dead else ""
                await outbox.note(
                    connection, each.id, worker="w", at=clock(), now=clock(), problem=problem
                )
        if not claimed.looked_at:
            return


async def waiting(database: Database) -> list[str]:
    """Return the lanes of what waits."""
    return [each.lane for each in await all_of(database) if each.state == "waiting"]


async def test_a_list_is_filtered_and_newest_first(database: Database, clock: Clock):
    """Each filter alone and together with others gives what fits, newest first."""
    one, other = await endpoint(database), await endpoint(database)
    await happen(database, "a", "b", recording_id="r1")
    await happen(database, "a", kind=EventType.CALL_ENDED)
    await finish(database, clock, one.id, dead=("b",))
    everything = list(reversed(await all_of(database)))

    async def page(**filters: Any) -> list[Delivery]:
        async with database.read() as connection:
            return await deliveries.page(connection, "t", **filters)

    assert await page() == everything
    for filters in (
        {"endpoint_id": one.id},
        {"state": "waiting"},
        {"state": "dead"},
        {"type": "call.ended"},
        {"recording_id": "r1"},
        {"endpoint_id": other.id, "state": "waiting", "type": "call.started"},
    ):
        fitting = [
            each
            for each in everything
            if all(getattr(each, name) == value for name, value in filters.items())
        ]
        assert fitting
        assert await page(**filters) == fitting


async def test_pages_follow_one_another_while_new_ones_come(database: Database):
    """What is queued between two pages moves nothing on the second."""
    await endpoint(database)
    await happen(database, *"abcde")
    before = list(reversed(await all_of(database)))
    async with database.read() as connection:
        first = await deliveries.page(connection, "t", limit=2)
    await happen(database, "f")
    async with database.read() as connection:
        second = await deliveries.page(connection, "t", limit=3, before=first[-1].seq)
        assert await deliveries.page(connection, "t", before=second[-1].seq) == []
    assert first + second == before


async def test_a_replay_is_the_same_message_with_all_its_tries(database: Database, clock: Clock):
    """A dead one waits again under its own ids; its log goes on where it ended."""
    to = await endpoint(database)
    await happen(database, "a")
    await finish(database, clock, to.id, dead=("a",))
    (dead,) = await all_of(database)
    assert (dead.state, dead.problem, dead.attempts) == ("dead", "HTTP 500", 1)
    async with database.write() as connection:
        again = await deliveries.replay(connection, "t", dead.id, now=clock.turn(hours=1))
    assert again is not None
    assert (again.message_id, again.seq, again.state) == (dead.message_id, dead.seq, "waiting")
    assert (again.attempts, again.next_at, again.finished_at) == (0, clock(), None)
    await finish(database, clock, to.id)
    async with database.read() as connection:
        log = await deliveries.attempts(connection, "t", dead.id)
    assert [(each.number, each.problem) for each in log] == [(1, "HTTP 500"), (2, "")]
    assert log[1].at == log[0].at + timedelta(hours=1)


async def test_a_replay_comes_before_what_waits_in_its_lane(database: Database, clock: Clock):
    """An old message that is sent once more is not overtaken by the later ones of its call."""
    to = await endpoint(database)
    (old,) = await happen(database, "a")
    await finish(database, clock, to.id)
    await happen(database, "a", "a")
    async with database.write() as connection:
        (first, *_) = await deliveries.page(connection, "t", state="delivered")
        await deliveries.replay(connection, "t", first.id, now=clock())
        taken = await outbox.claim(
            connection, Destination(clock(), to.id), worker="w", now=clock(), limit=10
        )
    assert [each.message_id for each in taken.deliveries] == [old]
    clock.turn(minutes=2)
    await finish(database, clock, to.id)
    assert await waiting(database) == []


async def test_a_replay_of_what_waits_is_a_try_at_once(database: Database, clock: Clock):
    """What would be tried in hours is due; what is on its way, or behind it, stays as it is."""
    to = await endpoint(database)
    await happen(database, "retry", "on the way", "on the way")
    where = Destination(clock(), to.id)
    async with database.write() as connection:
        taken = await outbox.claim(connection, where, worker="w", now=clock(), limit=9)
        await outbox.note(
            connection,
            taken.deliveries[0].id,
            worker="w",
            at=clock(),
            now=clock(),
            problem="HTTP 500",
            retry_at=clock() + timedelta(hours=9),
        )
    before = await all_of(database)
    async with database.write() as connection:
        for each in before:
            await deliveries.replay(connection, "t", each.id, now=clock.turn(seconds=1))
    after = await all_of(database)
    assert after[0].next_at == clock() - timedelta(seconds=2)
    assert [each.next_at for each in after[1:]] == [each.next_at for each in before[1:]]


async def test_a_time_range_is_replayed_for_one_endpoint(database: Database, clock: Clock):
    """From the first moment to before the last, of this endpoint, and of one state if wanted."""
    to, other = await endpoint(database), await endpoint(database)
    await happen(database, *"abcd")
    for each in await all_of(database):  # an hour apart
        hours = "abcd".index(each.lane)
        async with database.write() as connection:
            await connection.execute(
                update(schema.deliveries)
                .where(schema.deliveries.c.id == each.id)
                .values(created_at=clock() + timedelta(hours=hours))
            )
    for where in (to, other):
        await finish(database, clock, where.id, dead=("c",))

    async def replay(state: str = "") -> int:
        async with database.write() as connection:
            return await deliveries.replay_range(
                connection,
                "t",
                to.id,
                since=clock() + timedelta(hours=1),
                until=clock() + timedelta(hours=3),
                now=clock(),
                state=state,
            )

    assert await replay("dead") == 1
    assert await waiting(database) == ["c"]
    assert await replay() == 2
    assert await waiting(database) == ["b", "c"]
    await finish(database, clock, to.id)
    assert await waiting(database) == []


@settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(lanes=st.lists(st.sampled_from("abc"), max_size=12), cut=st.integers(0, 12))
async def test_a_replayed_range_goes_in_the_old_order(
    database: Database, lanes: list[str], cut: int
):
    """All that a receiver lost is sent once more, each call's messages as they happened."""
    clock = Clock()
    to = await endpoint(database, tenant=f"{lanes}{cut}{clock.now}")
    await happen(database, *lanes, tenant=to.tenant_id)
    clock.turn(minutes=1)
    await finish(database, clock, to.id, dead=tuple(lanes[:cut]))
    async with database.write() as connection:
        replayed = await deliveries.replay_range(
            connection,
            to.tenant_id,
            to.id,
            since=clock() - timedelta(days=1),
            until=clock(),
            now=clock(),
        )
    assert replayed == len(lanes)
    sent: list[Delivery] = []
    while True:
        async with database.write() as connection:
            where = Destination(clock(), to.id)
            claimed = await outbox.claim(connection, where, worker="w", now=clock(), limit=2)
            sent += claimed.deliveries
            for each in claimed.deliveries:
                await outbox.note(connection, each.id, worker="w", at=clock(), now=clock())
        if not claimed.looked_at:
            break
    assert len(sent) == len(lanes)
    for lane in "abc":
        seqs = [each.seq for each in sent if each.lane == lane]
        assert seqs == sorted(seqs)


async def test_the_backlog_says_how_much_waits_and_since_when(database: Database, clock: Clock):
    """Counts and the oldest time by tenant and endpoint or node; nothing where nothing waits."""
    async with database.read() as connection:
        assert await deliveries.backlog(connection) == []
    one, off = await endpoint(database), await endpoint(database, tenant="u")
    await happen(database, "a", "b")
    await happen(database, "c", tenant="u")
    async with database.write() as connection:
        await endpoints.disable(connection, "u", off.id, "off", now=clock())
        await journal.queue_sink(
            connection, tenant_id="t", node="n", call_id="a", recording_id="r", body=b"{}"
        )
    a, b, c, sink = await all_of(database)
    await finish(database, clock, one.id, dead=("z",))
    await happen(database, "d")
    newest = (await all_of(database))[-1]
    async with database.read() as connection:
        assert sorted(await deliveries.backlog(connection), key=repr) == sorted(
            [
                Backlog("t", one.id, "", False, 1, newest.created_at),
                Backlog("u", off.id, "", True, 1, c.created_at),
                Backlog("t", "", "n", False, 1, sink.created_at),
            ],
            key=repr,
        )
    assert {a.tenant_id, b.tenant_id} == {"t"}


async def test_another_tenants_deliveries_do_not_exist(database: Database, clock: Clock):
    """No reading or changing function finds a delivery of another tenant."""
    to = await endpoint(database, tenant="mine")
    await happen(database, "a", tenant="mine")
    await finish(database, clock, to.id, dead=("a",))
    (dead,) = await all_of(database)
    span: Any = {"since": clock() - timedelta(days=1), "until": clock(), "now": clock()}
    async with database.write() as connection:
        assert await deliveries.get(connection, "other", dead.id) is None
        assert await deliveries.page(connection, "other") == []
        assert await deliveries.page(connection, "other", endpoint_id=to.id) == []
        assert await deliveries.attempts(connection, "other", dead.id) == []
        assert await deliveries.replay(connection, "other", dead.id, now=clock()) is None
        assert await deliveries.replay_range(connection, "other", to.id, **span) == 0
        assert await deliveries.get(connection, "mine", dead.id) == dead
        assert len(await deliveries.attempts(connection, "mine", dead.id)) == 1
