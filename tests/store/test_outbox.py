"""The outbox: who may send what, and when, on one process or several."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from datetime import datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from tests.outbox import Clock, all_of, endpoint, happen
from voxtra.ids import new_id
from voxtra.store import deliveries, endpoints, journal, outbox
from voxtra.store.database import Database
from voxtra.store.deliveries import Delivery
from voxtra.store.endpoints import Endpoint
from voxtra.store.outbox import LEASE, Claimed, Destination


@pytest.fixture
def clock() -> Clock:
    """Return a time that passes when the test says so."""
    return Clock()


async def claim(
    database: Database,
    where: Endpoint | str,
    now: datetime,
    *,
    worker: str = "w",
    limit: int = 10,
) -> list[Delivery]:
    """Claim for an endpoint, or for the sinks of a node."""
    key = ("", where) if isinstance(where, str) else (where.id, "")
    async with database.write() as connection:
        claimed = await outbox.claim(
            connection, Destination(now, *key), worker=worker, now=now, limit=limit
        )
    return claimed.deliveries


async def note(
    database: Database,
    delivery: Delivery,
    now: datetime,
    *,
    worker: str = "w",
    problem: str = "",
    again: float | None = None,
) -> str:
    """Note a try: delivered, or failed with a problem and due again in so many seconds."""
    retry_at = None if again is None else now + timedelta(seconds=again)
    async with database.write() as connection:
        return await outbox.note(
            connection,
            delivery.id,
            worker=worker,
            at=now - timedelta(milliseconds=12),
            now=now,
            status=500 if problem else 200,
            problem=problem,
            retry_at=retry_at,
        )


async def found(database: Database, sinks_of: str | None = None) -> list[Destination]:
    """Return where something has to go."""
    async with database.read() as connection:
        return await outbox.due(connection, sinks_of=sinks_of)


def ids(some: list[Delivery]) -> list[str]:
    """Return the message ids."""
    return [each.message_id for each in some]


@pytest.mark.parametrize("problem", ["", "HTTP 500"])
async def test_a_lane_goes_one_after_another(database: Database, clock: Clock, problem: str):
    """The second message of a call goes when the first has arrived, or is dead."""
    to = await endpoint(database)
    first, second = await happen(database, "call", "call")
    (taken,) = await claim(database, to, clock())
    assert taken.message_id == first
    assert await claim(database, to, clock()) == []
    assert await note(database, taken, clock(), problem=problem) == (
        "dead" if problem else "delivered"
    )
    assert ids(await claim(database, to, clock())) == [second]


async def test_lanes_and_endpoints_wait_for_nobody_else(database: Database, clock: Clock):
    """Other calls, and the same call to another endpoint, go while one is on its way."""
    one, other = await endpoint(database), await endpoint(database)
    first, second = await happen(database, "a", "b")
    assert ids(await claim(database, one, clock(), limit=1)) == [first]
    assert ids(await claim(database, one, clock())) == [second]
    assert ids(await claim(database, other, clock())) == [first, second]


async def test_a_failed_try_holds_its_lane_back_until_it_is_due(database: Database, clock: Clock):
    """What failed is tried again at its time, and what came later in its call after it."""
    to = await endpoint(database)
    first, second = await happen(database, "call", "call")
    (taken,) = await claim(database, to, clock())
    assert await note(database, taken, clock(), problem="HTTP 500", again=300) == "waiting"
    assert await claim(database, to, clock.turn(seconds=299)) == []
    (again,) = await claim(database, to, clock.turn(seconds=1))
    assert (again.message_id, again.attempts, again.last_status) == (first, 1, 500)
    await note(database, again, clock())
    assert ids(await claim(database, to, clock())) == [second]


async def test_a_lease_keeps_others_away_until_it_runs_out(database: Database, clock: Clock):
    """What a dead worker was sending is another's when its lease is over, with the same id."""
    to = await endpoint(database)
    (message,) = await happen(database, "call")
    (taken,) = await claim(database, to, clock(), worker="dead")
    assert taken.next_at == clock() + LEASE
    assert await claim(database, to, clock.turn(seconds=LEASE.total_seconds() - 1)) == []
    clock.turn(seconds=1)
    (again,) = await claim(database, to, clock(), worker="alive")
    assert (again.id, again.message_id) == (taken.id, message)


async def test_whoever_lost_its_lease_can_only_say_that_it_arrived(
    database: Database, clock: Clock
):
    """A late failure is logged and changes nothing; a late success is one, whoever says it."""
    to = await endpoint(database)
    await happen(database, "call", "call")
    (taken,) = await claim(database, to, clock(), worker="slow")
    clock.turn(seconds=60)
    await claim(database, to, clock(), worker="other")
    assert await note(database, taken, clock(), worker="slow", problem="late") == "waiting"
    assert (await all_of(database))[0].next_at == clock() + LEASE
    assert await note(database, taken, clock(), worker="slow") == "delivered"
    assert await note(database, taken, clock(), worker="other", problem="later") == "delivered"
    assert len(await claim(database, to, clock())) == 1
    async with database.read() as connection:
        log = await deliveries.attempts(connection, "t", taken.id)
    assert [(each.number, each.problem) for each in log] == [(1, "late"), (2, ""), (3, "later")]
    assert log[0].duration_ms == 12


async def test_leases_are_renewed_and_given_back_by_their_owner_alone(
    database: Database, clock: Clock
):
    """A renewed lease lasts longer, one given back is over; nobody else can do either."""
    to = await endpoint(database)
    await happen(database, "call")
    (taken,) = await claim(database, to, clock(), worker="w")
    clock.turn(seconds=50)
    async with database.write() as connection:
        await outbox.renew(connection, [taken.id], worker="w", now=clock())
        await outbox.release(connection, [taken.id], worker="x", now=clock())
    assert await claim(database, to, clock.turn(seconds=50)) == []
    async with database.write() as connection:
        await outbox.renew(connection, [taken.id], worker="x", now=clock())
        await outbox.release(connection, [taken.id], worker="w", now=clock())
    assert len(await claim(database, to, clock())) == 1


async def test_the_longest_due_goes_first(database: Database, clock: Clock):
    """With room for a few only, those that have waited longest go."""
    to = await endpoint(database)
    messages = await happen(database, *map(str, range(6)))
    for expected in (messages[:2], messages[2:4], messages[4:]):
        assert ids(await claim(database, to, clock(), limit=2)) == expected


async def test_destinations_are_where_something_waits(database: Database, clock: Clock):
    """An endpoint is found with its earliest time; not one with nothing, resting or disabled."""
    to, idle, off = await endpoint(database), await endpoint(database), await endpoint(database)
    assert await found(database) == []
    await happen(database, "a", "b")
    async with database.write() as connection:
        await endpoints.disable(connection, "t", off.id, "off", now=clock())
    for where in (to, idle):
        for taken in await claim(database, where, clock()):
            if where is idle:
                await note(database, taken, clock())
            else:
                await note(database, taken, clock(), problem="HTTP 500", again=60)
    (only,) = await found(database)
    assert (only.endpoint_id, only.due) == (to.id, clock() + timedelta(seconds=60))
    async with database.write() as connection:
        await endpoints.rest(connection, to.id, clock() + timedelta(hours=1))
        await endpoints.rest(connection, to.id, clock() + timedelta(minutes=1))
        await endpoints.enable(connection, "t", off.id)
    by_id = {each.endpoint_id: each for each in await found(database)}
    assert by_id.keys() == {to.id, off.id}
    assert by_id[to.id].due == clock() + timedelta(hours=1)


@pytest.mark.parametrize("how", ["disabled", "deleted"])
async def test_nothing_is_taken_for_an_endpoint_that_is_off(
    database: Database, clock: Clock, how: str
):
    """Whoever found it a moment before it was disabled or deleted gets nothing for it any more."""
    to = await endpoint(database)
    await happen(database, "call")
    async with database.write() as connection:
        if how == "disabled":
            await endpoints.disable(connection, "t", to.id, "off", now=clock())
        else:
            await endpoints.delete(connection, "t", to.id, now=clock())
    assert await claim(database, to, clock()) == []


async def test_what_waits_for_a_deleted_endpoint_is_buried(database: Database, clock: Clock):
    """Deliveries to an endpoint that was deleted end as dead, and say why."""
    to = await endpoint(database)
    await happen(database, "a", "a")
    async with database.write() as connection:
        await endpoints.delete(connection, "t", to.id, now=clock())
    (gone,) = await found(database)
    assert (gone.endpoint_id, gone.deleted) == (to.id, True)
    async with database.write() as connection:
        await outbox.bury(connection, to.id, now=clock())
    assert await found(database) == []
    assert {(each.state, each.problem, each.finished_at) for each in await all_of(database)} == {
        ("dead", "the endpoint was deleted", clock())
    }


async def test_sinks_are_told_by_the_node_that_has_them(database: Database, clock: Clock):
    """A finished recording waits for its own node, whoever else looks."""
    async with database.write() as connection:
        for node in ("one", "two"):
            await journal.queue_sink(
                connection,
                tenant_id="t",
                node=node,
                call_id="call",
                recording_id=f"recording-{node}",
                body=b"{}",
            )
    assert await found(database) == []
    (where,) = await found(database, sinks_of="two")
    assert (where.endpoint_id, where.node) == ("", "two")
    assert ids(await claim(database, "two", clock())) == ["recording-two"]
    assert ids(await claim(database, "one", clock())) == ["recording-one"]
    assert await claim(database, "three", clock()) == []


async def test_workers_at_once_keep_every_lane_in_order(database: Database):
    """With three workers each message is taken by one at a time, and each call's in order."""
    targets = [await endpoint(database), await endpoint(database)]
    on_the_way: set[tuple[str, str]] = set()
    arrived: dict[tuple[str, str], list[int]] = defaultdict(list)
    total, rng = 30, random.Random(7)

    async def write() -> None:
        for _ in range(total):
            await happen(database, rng.choice("abc"))

    async def work(worker: str) -> None:
        while sum(map(len, arrived.values())) < total * len(targets):
            await asyncio.sleep(0.005)  # the database has others to serve
            for target in targets:
                now = Clock().now
                for taken in await claim(database, target, now, worker=worker, limit=2):
                    lane = (target.id, taken.lane)
                    assert lane not in on_the_way
                    on_the_way.add(lane)
                    await asyncio.sleep(0)
                    failed = rng.random() < 0.3
                    on_the_way.discard(lane)
                    if not failed:
                        arrived[lane].append(taken.seq)
                    await note(
                        database,
                        taken,
                        Clock().now,
                        worker=worker,
                        problem="HTTP 500" if failed else "",
                        again=-10,
                    )

    async with asyncio.timeout(100):
        await asyncio.gather(write(), *map(work, "123"))
    assert all(seqs == sorted(set(seqs)) for seqs in arrived.values())
    assert {each.state for each in await all_of(database)} == {"delivered"}


async def test_what_comes_while_the_one_before_is_noted_is_not_forgotten(
    postgres_url: str, clock: Clock
):
    """A message that is queued and looked at between another's note and its commit goes next."""
    database = Database(postgres_url)
    to = await endpoint(database)
    await happen(database, "call")
    (first,) = await claim(database, to, clock())
    async with database.write() as noting:
        await outbox.note(noting, first.id, worker="w", at=clock(), now=clock())
        (second,) = await happen(database, "call")
        assert await claim(database, to, clock.turn(seconds=5)) == []
    assert ids(await claim(database, to, clock())) == [second]
    await database.close()


async def test_what_another_is_claiming_is_not_waited_for(postgres_url: str, clock: Clock):
    """A worker leaves alone what another one is claiming at that moment, and does not wait."""
    database = Database(postgres_url)
    to = await endpoint(database)
    first, second = await happen(database, "a", "b")
    where = Destination(clock(), to.id)
    async with asyncio.timeout(10), database.write() as claiming:
        taken = await outbox.claim(claiming, where, worker="x", now=clock(), limit=1)
        assert ids(taken.deliveries) == [first]
        assert await claim(database, to, clock()) == []
    assert ids(await claim(database, to, clock())) == [second]
    await database.close()


async def test_the_next_of_a_lane_keeps_the_time_of_its_own_retry(database: Database, clock: Clock):
    """A replayed message that arrives does not hurry the later one that is to be tried again."""
    to = await endpoint(database)
    await happen(database, "call", "call")
    (first,) = await claim(database, to, clock())
    await note(database, first, clock())
    (second,) = await claim(database, to, clock())
    await note(database, second, clock(), problem="HTTP 500", again=300)
    async with database.write() as connection:
        await deliveries.replay(connection, "t", first.id, now=clock())
    (again,) = await claim(database, to, clock())
    assert again.id == first.id
    await note(database, again, clock())
    assert await claim(database, to, clock.turn(seconds=299)) == []
    assert ids(await claim(database, to, clock.turn(seconds=1))) == [second.message_id]


async def test_a_worker_has_no_say_in_what_was_set_behind_a_replay(
    database: Database, clock: Clock
):
    """When its lease ran out and an earlier message came first again, a late failure is logged."""
    to = await endpoint(database)
    await happen(database, "call", "call")
    (first,) = await claim(database, to, clock())
    await note(database, first, clock())
    (second,) = await claim(database, to, clock(), worker="slow")
    async with database.write() as connection:
        await deliveries.replay(connection, "t", first.id, now=clock())
    (again,) = await claim(database, to, clock.turn(seconds=61))
    assert again.id == first.id
    assert await note(database, second, clock(), worker="slow", problem="late") == "waiting"
    assert (await all_of(database))[1].next_at is None
    await note(database, again, clock())
    assert ids(await claim(database, to, clock())) == [second.message_id]


LANES = st.sampled_from("abc")
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("happen"), LANES),
        st.tuples(st.just("claim"), st.sampled_from("xy"), st.integers(1, 3)),
        st.tuples(st.just("note"), st.integers(0), st.sampled_from(["ok", "retry", "dead"])),
        st.tuples(st.just("turn"), st.sampled_from([1, 30, 61])),
        st.tuples(st.just("replay"), st.integers(0)),
    ),
    max_size=40,
)


class Model:
    """What the outbox of one endpoint must do, in the plainest words."""

    def __init__(self) -> None:
        self.lane: dict[str, str] = {}  # by delivery id, in the order of their events
        self.state: dict[str, str] = {}
        self.leases: dict[str, tuple[str, datetime]] = {}

    def may_go(self, id_: str, now: datetime) -> bool:
        """Tell whether one may be taken: it waits, is nobody's, and first in its lane."""
        waiting = [i for i in self.lane if self.state[i] == "waiting"]
        first = next((i for i in waiting if self.lane[i] == self.lane[id_]), None)
        return first == id_ and (id_ not in self.leases or self.leases[id_][1] <= now)


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(steps=STEPS)
def test_any_course_of_things_keeps_lanes_in_order_and_loses_nothing(
    sqlite_url: str, steps: list[tuple[str, str | int, str | int]]
):
    """Whatever fails, dies or is replayed: only the first of a lane goes, and all go in the end."""

    async def run() -> None:
        database = Database(sqlite_url)
        try:
            await follow(database, steps)
        finally:
            await database.close()

    asyncio.run(run())


async def follow(database: Database, steps: list[tuple[str, str | int, str | int]]) -> None:
    """Do what the steps say, and then let everything arrive."""
    clock, model, tenant = Clock(), Model(), new_id()
    to = await endpoint(database, tenant=tenant)

    async def take(worker: str, limit: int) -> list[Delivery]:
        taken = await claim(database, to, clock(), worker=worker, limit=limit)
        for each in taken:
            assert model.may_go(each.id, clock()), each
            model.leases[each.id] = (worker, clock() + LEASE)
        return taken

    async def end(id_: str, how: str) -> None:
        worker, _ = model.leases[id_]
        (delivery,) = [each for each in await all_of(database) if each.id == id_]
        again = {"ok": None, "retry": 20.0, "dead": None}[how]
        problem = "" if how == "ok" else "HTTP 500"
        state = await note(database, delivery, clock(), worker=worker, problem=problem, again=again)
        expected = {"ok": "delivered", "retry": "waiting", "dead": "dead"}[how]
        # One set behind a replayed message has no lease any more: only its arrival counts.
        assert state == expected or (state == "waiting" and how == "dead")
        model.state[id_] = state
        del model.leases[id_]

    for verb, what, how in [(*step, "")[:3] for step in steps]:
        known = list(model.lane)
        if verb == "happen":
            await happen(database, str(what), tenant=tenant)
            newest = (await all_of(database))[-1]
            model.lane[newest.id], model.state[newest.id] = str(what), "waiting"
        elif verb == "claim":
            await take(str(what), int(how))
        elif verb == "turn":
            clock.turn(seconds=int(what))
        elif verb == "note" and model.leases:
            await end(list(model.leases)[int(what) % len(model.leases)], str(how))
        elif verb == "replay" and known:
            chosen = known[int(what) % len(known)]
            async with database.write() as connection:
                await deliveries.replay(connection, tenant, chosen, now=clock())
            model.state[chosen] = "waiting"
    model.leases.clear()
    for _ in range(len(model.lane) + 1):
        clock.turn(seconds=61)
        for taken in await take("last", 10):
            await end(taken.id, "ok")
    assert set(model.state.values()) <= {"delivered", "dead"}
    states = {each.id: each.state for each in await all_of(database) if each.tenant_id == tenant}
    assert states == model.state


async def test_a_claim_reads_only_what_is_due(sqlite_url: str, clock: Clock):
    """A long lane of an endpoint that fails is set behind its first message once, and then free."""
    database = Database(sqlite_url)
    to = await endpoint(database)
    await happen(database, *["call"] * 250)
    clock.turn(minutes=1)

    async def look() -> Claimed:
        async with database.write() as connection:
            return await outbox.claim(
                connection, Destination(clock(), to.id), worker="w", now=clock(), limit=1
            )

    looks = [await look() for _ in range(5)]
    assert [len(each.deliveries) for each in looks] == [1, 0, 0, 0, 0]
    assert [each.looked_at for each in looks] == [100, 100, 50, 0, 0]
    async with database.read() as connection:
        plan = await connection.execute(
            text(
                "EXPLAIN QUERY PLAN SELECT seq FROM deliveries WHERE state = 'waiting' AND next_at "
                "IS NOT NULL AND endpoint_id = 'x' AND node = '' AND next_at <= 5 "
                "ORDER BY next_at, seq LIMIT 100"
            )
        )
        steps = [row.detail for row in plan]
    await database.close()
    assert len(steps) == 1
    assert "ix_deliveries_due" in steps[0]
