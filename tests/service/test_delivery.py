"""Deliveries on their way: to a real receiver that fails, hangs, moves or dies, and to sinks."""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
import sys
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
import standardwebhooks
from aiohttp import web
from sqlalchemy import text

from tests.ari.calls import eventually
from tests.outbox import Clock, all_of, endpoint, happen
from tests.receiver import Received, Receiver, receiving, status
from voxtra.posting import encode_json
from voxtra.recording import RecordingMetadata
from voxtra.service import delivery
from voxtra.service.addresses import AddressGuard
from voxtra.service.delivery import SCHEDULE, SINK_SCHEDULE, Deliverer
from voxtra.signing import Signer
from voxtra.store import deliveries, endpoints, journal
from voxtra.store.database import Database
from voxtra.store.deliveries import Delivery
from voxtra.store.outbox import LEASE
from voxtra.store.schema import utc_now

LOOPBACK = AddressGuard(["127.0.0.1/32"])


@pytest.fixture
def clock() -> Clock:
    """Return a time that passes when the test says so."""
    return Clock()


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """Run a receiver on loopback."""
    async with receiving() as running:
        yield running


@contextlib.asynccontextmanager
async def delivering(
    database: Database,
    clock: Callable[[], datetime],
    *,
    worker: str = "w",
    grace: float = 5.0,
    **options: Any,
) -> AsyncIterator[Deliverer]:
    """Run a deliverer that may reach loopback."""
    running = Deliverer(database, worker, **{"guard": LOOPBACK, "clock": clock, **options})
    task = asyncio.create_task(running.run())
    try:
        yield running
    finally:
        await running.stop(grace)
        await task


async def until(database: Database, question: Callable[[list[Delivery]], object]) -> list[Delivery]:
    """Return all deliveries when they are as the question wants them."""
    async with asyncio.timeout(60):
        while True:
            found = await all_of(database)
            if question(found):
                return found
            await asyncio.sleep(0.01)


def has(name: str, value: object) -> Callable[[list[Delivery]], object]:
    """Return the question whether the first delivery has this value."""
    return lambda found: getattr(found[0], name) == value


def at(clock: Clock, database: Database, **by: float) -> datetime:
    """Let time pass, and have whoever waits for it look."""
    now = clock.turn(**by)
    database.signals.fire("deliveries")
    return now


@contextlib.asynccontextmanager
async def time_flies(clock: Clock, database: Database) -> AsyncIterator[None]:
    """Let a minute pass every few milliseconds."""

    async def fly() -> None:
        while True:
            await asyncio.sleep(0.005)
            at(clock, database, minutes=1)

    flying = asyncio.create_task(fly())
    try:
        yield
    finally:
        flying.cancel()


def told(receiver: Receiver) -> list[str]:
    """Return the ids of the messages that came, in their order."""
    return [each.headers["webhook-id"] for each in receiver.requests]


async def test_a_message_arrives_signed(database: Database, receiver: Receiver):
    """The body is the event's, the id its id, and both signatures are right."""
    to = await endpoint(database, receiver.url)
    async with delivering(database, utc_now):
        (message,) = await happen(database, "call")
        (done,) = await until(database, lambda all_: all_[0].state == "delivered")
    (request,) = receiver.requests
    verified = standardwebhooks.Webhook(to.secret).verify(request.body, request.headers)
    assert verified == request.json
    assert (verified["id"], verified["session_id"]) == (message, "call")
    assert request.headers["webhook-id"] == message
    assert request.headers["Content-Type"] == "application/json"
    expected = Signer(to.secret).headers(request.body, message_id=message, timestamp=0)
    assert request.headers["X-Voxtra-Signature"] == expected["X-Voxtra-Signature"]
    assert (done.attempts, done.last_status, done.problem) == (1, 200, "")


async def test_both_secrets_verify_while_one_is_replaced(
    database: Database, receiver: Receiver, clock: Clock
):
    """For a day a receiver may have either secret; afterwards it must have the new one."""
    to = await endpoint(database, receiver.url, secret="whsec_" + "b2xk" * 8)
    async with database.write() as connection:
        fresh = await endpoints.rotate(
            connection, "t", to.id, now=clock(), keep=timedelta(minutes=2)
        )
    assert fresh is not None
    async with delivering(database, clock):
        await happen(database, "call")
        await receiver.wait_for(1)
        at(clock, database, minutes=3)
        await happen(database, "later")
        await receiver.wait_for(2)
    during, after = receiver.requests
    for secret in (to.secret, fresh.secret):
        standardwebhooks.Webhook(secret).verify(during.body, during.headers)
    standardwebhooks.Webhook(fresh.secret).verify(after.body, after.headers)
    with pytest.raises(standardwebhooks.webhooks.WebhookVerificationError):
        standardwebhooks.Webhook(to.secret).verify(after.body, after.headers)


@pytest.mark.parametrize("code", [302, 400, 401, 404, 500])
async def test_ten_tries_over_three_days_and_then_it_is_dead(
    database: Database, receiver: Receiver, clock: Clock, code: int
):
    """Whatever is no 2xx is tried again after the pauses of Standard Webhooks, under one id."""
    await endpoint(database, receiver.url)
    (message,) = await happen(database, "call")

    async def answer(_request: Received) -> web.Response:
        return status(code, Location="/elsewhere")

    receiver.respond = answer
    began = clock()
    async with delivering(database, clock):
        for number, pause in enumerate(SCHEDULE, 1):
            (tried,) = await until(database, has("attempts", number))
            assert tried.state == "waiting"
            assert tried.problem == f"HTTP {code}"
            assert tried.next_at is not None
            wait = tried.next_at - clock()
            assert 0.9 * pause <= wait <= 1.1 * pause
            at(clock, database, seconds=wait.total_seconds())
        (dead,) = await until(database, lambda all_: all_[0].state == "dead")
        at(clock, database, days=7)
    assert (dead.attempts, dead.problem, dead.last_status) == (10, f"HTTP {code}", code)
    assert dead.finished_at is not None
    assert timedelta(days=2.8) < dead.finished_at - began < timedelta(days=3.5)
    assert told(receiver) == [message] * 10
    async with database.read() as connection:
        log = await deliveries.attempts(connection, "t", dead.id)
    assert [each.number for each in log] == list(range(1, 11))
    assert {each.status for each in log} == {code}


async def test_what_does_not_answer_is_tried_again(
    database: Database, clock: Clock, free_port: Callable[[], int], monkeypatch: pytest.MonkeyPatch
):
    """A closed port, a name without an address and a silent receiver: each says what is wrong."""
    monkeypatch.setattr(delivery, "TRY_SECONDS", 0.3)

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with await asyncio.start_server(silent, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        await endpoint(database, f"http://127.0.0.1:{free_port()}/")
        await endpoint(database, f"http://127.0.0.1:{port}/")
        await endpoint(database, f"http://127.0.0.2:{port}/")
        await happen(database, "call")
        async with delivering(database, clock):
            closed, quiet, private = await until(
                database, lambda all_: all(each.attempts == 1 for each in all_)
            )
    assert "ClientConnectorError" in closed.problem
    assert quiet.problem == "no answer in 0.3 s"
    assert "127.0.0.2, which is not public" in private.problem
    assert {each.last_status for each in (closed, quiet, private)} == {0}


async def test_retry_after_is_for_the_whole_endpoint(
    database: Database, receiver: Receiver, clock: Clock
):
    """A receiver that asks for an hour is left alone for an hour by all messages."""
    to = await endpoint(database, receiver.url)
    receiver.answers = [status(429, Retry_After="3600")]
    async with delivering(database, clock):
        await happen(database, "a")
        (waiting,) = await until(database, lambda all_: all_[0].attempts == 1)
        assert waiting.next_at == clock() + timedelta(hours=1)
        await happen(database, "b")
        at(clock, database, minutes=59)
        async with database.read() as connection:
            resting = await endpoints.get(connection, "t", to.id)
        assert resting is not None
        assert resting.rests_until == clock() + timedelta(minutes=1)
        at(clock, database, minutes=1)
        await until(database, lambda all_: all(each.state == "delivered" for each in all_))
    first, *others = [int(each.headers["webhook-timestamp"]) for each in receiver.requests]
    assert others == [first + 3600] * 2


async def test_retry_after_is_obeyed_for_a_day_at_most(
    database: Database, receiver: Receiver, clock: Clock
):
    """A year is a day, and what is shorter than the pause is the pause."""
    await endpoint(database, receiver.url)
    receiver.answers = [status(503, Retry_After="31536000"), status(503, Retry_After="1")]
    async with delivering(database, clock):
        await happen(database, "a")
        (first,) = await until(database, lambda all_: all_[0].attempts == 1)
        assert first.next_at == clock() + timedelta(days=1)
        at(clock, database, days=1)
        (second,) = await until(database, lambda all_: all_[0].attempts == 2)
    assert second.next_at is not None
    assert second.next_at > clock() + timedelta(minutes=4)


async def test_a_receiver_that_is_gone_is_told_nothing_more(
    database: Database, receiver: Receiver, clock: Clock
):
    """410 disables the endpoint with its reason, the others are told, and what waits stays."""
    gone, other = await endpoint(database, receiver.url), await endpoint(database, receiver.url)
    async with database.write() as connection:
        await endpoints.change(connection, "t", other.id, events=["webhook.disabled"])
    receiver.answers = [status(410)]
    async with delivering(database, clock):
        await happen(database, "a", "a")
        found = await until(database, lambda all_: any(each.state == "delivered" for each in all_))
        at(clock, database, days=3)
        async with database.read() as connection:
            disabled = await endpoints.get(connection, "t", gone.id)
            assert await journal.since(connection, "t", 2)
        assert disabled is not None
        assert disabled.disabled_reason == "the receiver answered 410: it is gone"
        assert [each.state for each in found] == ["waiting", "waiting", "delivered"]
        news = receiver.requests[1].json
        assert (news["type"], news["data"]["endpoint_id"]) == ("webhook.disabled", gone.id)
        assert len(receiver.requests) == 2
        async with database.write() as connection:
            await endpoints.enable(connection, "t", gone.id)
        done = await until(database, lambda all_: all(each.state == "delivered" for each in all_))
    assert told(receiver)[2:] == [each.message_id for each in done[:2]]


async def test_a_receiver_that_hangs_delays_no_other(
    database: Database, receiver: Receiver, clock: Clock
):
    """While one endpoint takes its time for each of its messages, the other gets all of its own."""
    hangs = await endpoint(database, receiver.url + "?hangs")
    well = await endpoint(database, receiver.url + "?well")
    forever = asyncio.Event()
    most: Counter[str] = Counter()

    async def answer(request: Received) -> web.Response:
        name = request.request.query_string
        most[name] += 1
        if name == "hangs":
            await forever.wait()
        return web.Response()

    receiver.respond = answer
    await happen(database, *map(str, range(40)))
    async with delivering(database, clock, grace=0):
        await until(
            database,
            lambda all_: all(e.state == "delivered" for e in all_ if e.endpoint_id == well.id),
        )
        assert most == {"hangs": delivery.ROOM_OF_ONE, "well": 40}
    forever.set()
    assert all(
        each.state == "waiting" for each in await all_of(database) if each.endpoint_id == hangs.id
    )


async def test_receivers_that_fail_get_one_request_at_a_time_and_half_of_the_room(
    database: Database, receiver: Receiver, clock: Clock, monkeypatch: pytest.MonkeyPatch
):
    """However many endpoints hang after they failed, there is room for one that works."""
    monkeypatch.setattr(delivery, "ROOM", 4)
    dead = [await endpoint(database, f"{receiver.url}?{number}") for number in range(5)]
    forever, on_the_way = asyncio.Event(), Counter[str]()
    failing = True

    async def answer(request: Received) -> web.Response:
        if request.request.query_string == "well":
            return web.Response()
        if failing:
            return status(500)
        on_the_way[request.request.query_string] += 1
        await forever.wait()
        return web.Response()

    receiver.respond = answer
    await happen(database, "a", "b", "c")
    async with delivering(database, clock, grace=0):
        await until(database, lambda all_: all(each.attempts == 1 for each in all_))
        failing = False
        at(clock, database, minutes=1)
        await receiver.wait_for(len(dead) * 3 + 2)
        await endpoint(database, receiver.url + "?well")
        await happen(database, "new")
        done = await until(database, lambda all_: any(each.state == "delivered" for each in all_))
    forever.set()
    assert sum(each.state == "delivered" for each in done) == 1
    assert sorted(on_the_way.values()) == [1, 1]


@pytest.mark.parametrize("seed", [1, 2])
async def test_all_arrive_in_order_at_a_receiver_that_fails_at_random(
    database: Database, receiver: Receiver, clock: Clock, seed: int
):
    """With 30 % of the answers wrong or missing, each call's messages arrive once they are due."""
    rng = random.Random(seed)
    await endpoint(database, receiver.url)
    arrived: list[str] = []

    async def answer(request: Received) -> web.Response:
        if rng.random() < 0.3:
            if rng.random() < 0.3:
                transport = request.request.transport
                assert transport is not None
                transport.abort()
            return status(rng.choice([400, 429, 500, 503]))
        arrived.append(request.headers["webhook-id"])
        return web.Response()

    receiver.respond = answer
    expected: dict[str, list[str]] = defaultdict(list)
    async with delivering(database, clock), time_flies(clock, database):
        for _ in range(60):
            lane = rng.choice("abcde")
            expected[lane] += await happen(database, lane)
        await until(database, lambda all_: all(each.state == "delivered" for each in all_))
    first = list(dict.fromkeys(arrived))
    for messages in expected.values():
        assert [message for message in first if message in messages] == messages
    assert len(first) == 60


async def test_what_a_killed_process_was_posting_is_posted_again(
    database: Database, database_url: str, receiver: Receiver, clock: Clock
):
    """Kill -9 between the post and the note: the message comes again under the same id, once."""
    await endpoint(database, receiver.url)
    first, second = await happen(database, "call", "call")
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", _PROCESS, database_url)

    async def kill(_request: Received) -> web.Response:
        process.kill()
        await process.wait()
        return web.Response()

    receiver.respond = kill
    try:
        async with asyncio.timeout(60):
            assert await process.wait() == -signal.SIGKILL
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    receiver.respond = None
    (left, _) = await all_of(database)
    assert (left.state, left.attempts) == ("waiting", 0)
    async with delivering(database, clock):
        at(clock, database, seconds=90)
        await until(database, lambda all_: all(each.state == "delivered" for each in all_))
    assert told(receiver) == [first, first, second]
    assert receiver.requests[0].body == receiver.requests[1].body


_PROCESS = """
import asyncio, sys
from voxtra.service.addresses import AddressGuard
from voxtra.service.delivery import Deliverer
from voxtra.store.database import Database

guard = AddressGuard(["127.0.0.1/32"])
asyncio.run(Deliverer(Database(sys.argv[1]), "killed", guard=guard).run())
"""


async def test_what_can_not_be_noted_is_repeated(
    database: Database, receiver: Receiver, clock: Clock, caplog: pytest.LogCaptureFixture
):
    """When the database is away at the end of a try, the message comes again when it is back."""
    await endpoint(database, receiver.url)
    (message,) = await happen(database, "call")

    async def rename(one: str, other: str) -> None:
        async with database.write() as connection:
            await connection.execute(text(f"ALTER TABLE {one} RENAME TO {other}"))

    async def answer(_request: Received) -> web.Response:
        if len(receiver.requests) == 1:
            await rename("delivery_attempts", "away")
        return web.Response()

    receiver.respond = answer
    async with delivering(database, clock):
        await eventually(lambda: "can't be noted" in caplog.text)
        await rename("away", "delivery_attempts")
        (left,) = await all_of(database)
        assert (left.state, left.attempts) == ("waiting", 0)
        at(clock, database, seconds=61)
        await until(database, lambda all_: all_[0].state == "delivered")
    assert told(receiver) == [message, message]


async def test_a_lease_is_kept_while_a_receiver_thinks(
    database: Database, receiver: Receiver, clock: Clock
):
    """Another worker does not take over what the first one is still sending."""
    await endpoint(database, receiver.url)
    forever = asyncio.Event()

    async def think(_request: Received) -> web.Response:
        await forever.wait()
        return web.Response()

    receiver.respond = think
    await happen(database, "call")
    async with delivering(database, clock, worker="a"):
        await receiver.wait_for(1)
        for _ in range(4):
            leased_until = at(clock, database, seconds=30) + LEASE
            await until(database, has("next_at", leased_until))
        async with delivering(database, clock, worker="b"):
            await happen(database, "other")
            await receiver.wait_for(2)
            assert len(set(told(receiver))) == 2
            forever.set()
            await until(database, lambda all_: all(e.state == "delivered" for e in all_))
    assert len(receiver.requests) == 2


async def test_what_is_on_its_way_at_the_end_has_its_grace(
    database: Database, receiver: Receiver, clock: Clock
):
    """Stopped while a receiver answers: it is waited for, noted, and nothing more is sent."""
    await endpoint(database, receiver.url)
    asked, go = asyncio.Event(), asyncio.Event()

    async def answer(_request: Received) -> web.Response:
        asked.set()
        await go.wait()
        return web.Response()

    receiver.respond = answer
    await happen(database, "call", "call")
    async with delivering(database, clock) as running:
        await asked.wait()
        stopping = asyncio.create_task(running.stop(30))
        await asyncio.sleep(0)
        go.set()
        await stopping
    assert [each.state for each in await all_of(database)] == ["delivered", "waiting"]
    assert len(receiver.requests) == 1


async def test_what_is_being_noted_at_the_end_is_noted(
    postgres_url: str, receiver: Receiver, clock: Clock
):
    """An answer that has come is not thrown away for want of time."""
    database = Database(postgres_url)
    await endpoint(database, receiver.url)
    await happen(database, "call")
    go = asyncio.Event()

    async def answer(_request: Received) -> web.Response:
        await go.wait()
        return web.Response()

    async def blocked() -> bool:
        async with database.read() as connection:
            waiting = text("SELECT count(*) FROM pg_locks WHERE NOT granted")
            return bool((await connection.execute(waiting)).scalar_one())

    receiver.respond = answer
    async with delivering(database, clock) as running:
        await receiver.wait_for(1)
        async with database.write() as connection:
            await connection.execute(text("SELECT id FROM deliveries FOR UPDATE"))
            go.set()
            await eventually(blocked)
            stopping = asyncio.create_task(running.stop(0))
            done, _ = await asyncio.wait({stopping}, timeout=0.2)
            assert not done
        await stopping
    (noted,) = await all_of(database)
    await database.close()
    assert noted.state == "delivered"


async def test_what_is_not_done_at_the_end_is_given_back(
    database: Database, receiver: Receiver, clock: Clock
):
    """Without time left, a message is another worker's at once, with no lease to wait for."""
    await endpoint(database, receiver.url)
    never = asyncio.Event()

    async def hang(_request: Received) -> web.Response:
        await never.wait()
        return web.Response()

    receiver.respond = hang
    (message,) = await happen(database, "call")
    async with delivering(database, clock, worker="a", grace=0):
        await receiver.wait_for(1)
    never.set()
    receiver.respond = None
    async with delivering(database, clock, worker="b"):
        await until(database, lambda all_: all_[0].state == "delivered")
    assert told(receiver) == [message, message]


async def test_a_cancelled_deliverer_gives_back_too(
    database: Database, receiver: Receiver, clock: Clock
):
    """Cancelling `run` ends it at once, with nothing left leased."""
    await endpoint(database, receiver.url)
    never = asyncio.Event()

    async def hang(_request: Received) -> web.Response:
        await never.wait()
        return web.Response()

    receiver.respond = hang
    await happen(database, "call")
    task = asyncio.create_task(Deliverer(database, "w", guard=LOOPBACK, clock=clock).run())
    await receiver.wait_for(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    never.set()
    (left,) = await all_of(database)
    assert (left.state, left.next_at) == ("waiting", clock())


async def test_a_retry_comes_by_itself_when_it_is_due(
    database: Database, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
):
    """Nobody has to say anything: the pause ends, and the message is sent again."""
    monkeypatch.setattr(delivery, "SCHEDULE", (timedelta(seconds=0.1),))
    await endpoint(database, receiver.url)
    receiver.answers = [status(500)]
    await happen(database, "call")
    async with delivering(database, utc_now):
        await until(database, lambda all_: all_[0].state == "delivered")
    assert len(receiver.requests) == 2


async def test_another_processes_events_are_sent(
    database: Database, database_url: str, receiver: Receiver
):
    """What another process commits is found: on PostgreSQL by its word, on SQLite by looking."""
    await endpoint(database, receiver.url)
    await database.open()
    other = Database(database_url)
    async with delivering(database, utc_now):
        await happen(other, "call")
        await receiver.wait_for(1)
        await until(database, lambda all_: all_[0].state == "delivered")
    await other.close()


async def test_a_deleted_endpoints_messages_are_dead(
    database: Database, receiver: Receiver, clock: Clock
):
    """What waited for it ends, with the reason, and is not sent."""
    to = await endpoint(database, receiver.url)
    await happen(database, "a", "b", "b")
    async with database.write() as connection:
        await endpoints.delete(connection, "t", to.id, now=clock())
    async with delivering(database, clock):
        found = await until(database, lambda all_: all(e.state == "dead" for e in all_))
    assert {each.problem for each in found} == {"the endpoint was deleted"}
    assert receiver.requests == []


METADATA = RecordingMetadata(
    session_id="call",
    name="voxtra-r1",
    file_path="/recordings/voxtra-r1.wav",
    duration_seconds=1.5,
    extra={"recording_id": "r1", "pauses": [], "size": 24044},
)


async def finished(database: Database, node: str = "here", body: bytes = b"") -> None:
    """Have a recording of a node finish."""
    async with database.write() as connection:
        await journal.queue_sink(
            connection,
            tenant_id="t",
            node=node,
            call_id="call",
            recording_id="r1",
            body=body or encode_json(METADATA),
        )


async def test_a_sink_is_told_what_is_known(database: Database, clock: Clock):
    """The sinks of this node get the recording's metadata as it was queued; others' wait."""
    seen: list[tuple[str, RecordingMetadata]] = []

    async def tell(recording_id: str, metadata: RecordingMetadata) -> bool:
        seen.append((recording_id, metadata))
        return True

    await finished(database)
    await finished(database, node="there")
    async with delivering(database, clock, node="here", tell=tell):
        here, there = await until(
            database, lambda all_: any(each.state == "delivered" for each in all_)
        )
    assert seen == [("r1", METADATA)]
    assert (here.state, there.state) == ("delivered", "waiting")


@pytest.mark.parametrize("how", ["says no", "raises", "unreadable"])
async def test_a_sink_that_fails_is_told_for_a_night(database: Database, clock: Clock, how: str):
    """Six tries in seven and a half hours, then it is dead and says why."""
    tries = 0

    async def tell(recording_id: str, metadata: RecordingMetadata) -> bool:
        nonlocal tries
        tries += 1
        if how == "raises":
            raise RuntimeError("no disk")
        return False

    await finished(database, body=b"[]" if how == "unreadable" else b"")
    async with delivering(database, clock, node="here", tell=tell):
        for number, pause in enumerate(SINK_SCHEDULE, 1):
            await until(database, has("attempts", number))
            at(clock, database, seconds=1.1 * pause.total_seconds())
        (dead,) = await until(database, lambda all_: all_[0].state == "dead")
    assert dead.attempts == 6
    assert tries == (0 if how == "unreadable" else 6)
    assert {
        "says no": "the sink failed",
        "raises": "RuntimeError: no disk",
        "unreadable": "Expected `object`",
    }[how] in dead.problem


async def test_without_sinks_only_webhooks_are_sent(
    database: Database, receiver: Receiver, clock: Clock
):
    """A worker that has no sinks leaves them to the process that has."""
    await endpoint(database, receiver.url)
    await finished(database)
    await happen(database, "call")
    async with delivering(database, clock, node="here"):
        found = await until(database, lambda all_: any(each.state == "delivered" for each in all_))
    assert [(each.kind, each.state) for each in found] == [
        ("sink", "waiting"),
        ("webhook", "delivered"),
    ]
