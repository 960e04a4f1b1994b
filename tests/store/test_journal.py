"""The journal of events, and what it queues for webhooks and sinks."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Row, delete, insert, select
from sqlalchemy.exc import IntegrityError

from voxtra.events import EventType, VoxtraEvent
from voxtra.store import journal
from voxtra.store.database import Database
from voxtra.store.schema import deliveries, events, webhook_endpoints

NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, UTC)


def event(type_: EventType = EventType.CALL_STARTED, call: str = "c1", **data: Any) -> VoxtraEvent:
    """Return an event of a call."""
    return VoxtraEvent(type_, call, data, timestamp=NOW)


async def append(database: Database, *told: VoxtraEvent, tenant: str = "t") -> list[int]:
    """Write events in one transaction."""
    async with database.write() as connection:
        return [await journal.append(connection, each, tenant_id=tenant) for each in told]


async def endpoint(database: Database, name: str, *types: str, **values: Any) -> None:
    """Make a webhook endpoint of tenant t, unless said otherwise."""
    row = {"id": name, "tenant_id": "t", "url": "http://x", "created_at": NOW, **values}
    async with database.write() as connection:
        await connection.execute(insert(webhook_endpoints).values(events=list(types), **row))


async def queued(database: Database) -> Sequence[Row[Any]]:
    """Return all deliveries in their order."""
    async with database.read() as connection:
        return (await connection.execute(select(deliveries).order_by(deliveries.c.seq))).all()


async def read(database: Database, after: int = 0, **options: Any) -> Sequence[Row[Any]]:
    """Return the events of tenant t after a number."""
    async with database.read() as connection:
        return await journal.since(connection, "t", after, **options)


async def test_an_event_is_found_as_it_was(database: Database) -> None:
    """What is read from the journal is what was written, to the microsecond."""
    told = event(EventType.DTMF_RECEIVED, digit="#", deep={"list": [1, 2.5, None, True]})
    async with database.write() as connection:
        seq = await journal.append(connection, told, tenant_id="t", recording_id="r1")
    (row,) = await read(database)
    assert (row.seq, row.id, row.tenant_id, row.type) == (seq, told.id, "t", "dtmf.received")
    assert (row.session_id, row.recording_id, row.at) == ("c1", "r1", NOW)
    assert row.data == told.data


async def test_what_is_no_json_is_kept_as_text(database: Database) -> None:
    """Values that JSON or a database has no form for don't keep an event from being written."""
    told = VoxtraEvent(
        EventType.ERROR,
        "c1",
        {"at": NOW, "name": "a\0b\ud800", "k\0": [b"\x01", {1, 2}.__class__, float("nan")]},
    )
    await endpoint(database, "e1")
    await append(database, told)
    (row,) = await read(database)
    assert row.data == {
        "at": "2026-01-02T03:04:05.678901Z",
        "name": "a\N{REPLACEMENT CHARACTER}b?",
        "k\N{REPLACEMENT CHARACTER}": ["AQ==", "<class 'set'>", None],
    }
    (delivery,) = await queued(database)
    assert json.loads(delivery.body)["data"]["at"] == "2026-01-02T03:04:05.678901Z"


texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=6)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner),
    max_leaves=6,
)


@settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.dictionaries(texts, json_values, max_size=4))
async def test_any_json_is_found_again(database: Database, data: dict[str, Any]) -> None:
    """Whatever JSON an event holds is read as it was, but for the character 0."""
    await append(database, told := event(held=data))
    (row,) = await read(database)
    async with database.write() as connection:
        await connection.execute(delete(events))
    assert row.id == told.id
    assert row.data == {"held": data}


async def test_an_event_of_a_transaction_that_failed_was_never_there(database: Database) -> None:
    """A transaction that fails takes its events and their deliveries with it."""
    await endpoint(database, "e1")
    told = event()

    async def fail() -> None:
        async with database.write() as connection:
            await journal.append(connection, told, tenant_id="t")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert (await read(database), await queued(database)) == ([], [])


async def test_an_event_is_written_once(database: Database) -> None:
    """A second event of the same id is refused, and with it the transaction that would tell it."""
    told = event()
    await append(database, told)
    with pytest.raises(IntegrityError):
        await append(database, event(), told)
    assert len(await read(database)) == 1


async def test_readers_and_senders_are_woken(database: Database) -> None:
    """An event wakes who follows the journal, and who sends deliveries where there is one."""
    signals = database.signals
    with signals.subscribe("events") as told, signals.subscribe("deliveries") as to_send:
        await append(database, event())
        assert (told.is_set(), to_send.is_set()) == (True, False)
        await endpoint(database, "e1")
        await append(database, event())
        assert to_send.is_set()


async def test_each_endpoint_that_wants_an_event_has_a_delivery(database: Database) -> None:
    """Endpoints of the tenant that want the type, or every type, get the same message each."""
    await endpoint(database, "all")
    await endpoint(database, "ended", "call.ended", "call.failed")
    await endpoint(database, "digits", "dtmf.received")
    await endpoint(database, "disabled", disabled_at=NOW)
    await endpoint(database, "deleted", deleted_at=NOW)
    await endpoint(database, "foreign", tenant_id="other")
    started, ended = event(), event(EventType.CALL_ENDED, cause=16)
    await append(database, started, ended)

    found = await queued(database)
    assert sorted((row.message_id, row.endpoint_id) for row in found) == sorted(
        [(started.id, "all"), (ended.id, "all"), (ended.id, "ended")]
    )
    assert [row.message_id for row in found] == [started.id, ended.id, ended.id]
    assert len({row.id for row in found}) == 3
    last = found[-1]
    assert json.loads(last.body) == {
        "id": ended.id,
        "type": "call.ended",
        "session_id": "c1",
        "timestamp": "2026-01-02T03:04:05.678901Z",
        "data": {"cause": 16},
    }
    assert found[1].body == last.body
    assert (last.tenant_id, last.kind, last.state, last.attempts) == ("t", "webhook", "waiting", 0)
    assert last.next_at == last.created_at


@pytest.mark.parametrize(
    ("call", "recording", "lane"),
    [("c1", "r1", "c1"), ("", "r1", "r1"), ("c1", "", "c1"), ("", "", None)],
)
async def test_what_is_about_one_call_is_one_lane(
    database: Database, call: str, recording: str, lane: str | None
) -> None:
    """Deliveries are in order per call with its recordings; what is about none stands alone."""
    await endpoint(database, "e1")
    told = event(call=call)
    async with database.write() as connection:
        await journal.append(connection, told, tenant_id="t", recording_id=recording)
    (row,) = await queued(database)
    assert row.lane == (told.id if lane is None else lane)


async def test_a_sink_is_told_in_its_process(database: Database) -> None:
    """What the sink of a recording is to be told waits for the node that has the sink."""
    with database.signals.subscribe("deliveries") as signal:
        async with database.write() as connection:
            await journal.queue_sink(
                connection,
                tenant_id="t",
                node="n1",
                call_id="c1",
                recording_id="r1",
                body=b'{"a":1}',
            )
        assert signal.is_set()
    (row,) = await queued(database)
    assert (row.kind, row.node, row.lane, row.message_id) == ("sink", "n1", "r1", "r1")
    assert (row.endpoint_id, row.session_id, row.recording_id) == ("", "c1", "r1")
    assert (row.body, row.state, row.type) == ('{"a":1}', "waiting", "recording.available")
    assert row.next_at == row.created_at


async def test_a_reader_gets_what_it_asks_for(database: Database) -> None:
    """The journal is read by tenant, from a number on, by type, and so many at a time."""
    types = (EventType.CALL_STARTED, EventType.CALL_ANSWERED, EventType.CALL_ENDED)
    seqs = await append(database, *(event(each) for each in types))
    await append(database, event(EventType.ERROR), tenant="other")
    assert [row.seq for row in await read(database)] == seqs
    assert [row.seq for row in await read(database, seqs[0], limit=1)] == seqs[1:2]
    assert await read(database, seqs[-1]) == []
    found = await read(database, types=["call.ended", "call.started", "error"])
    assert [row.seq for row in found] == [seqs[0], seqs[2]]


async def test_a_number_is_never_used_again(database: Database) -> None:
    """A number whose event is gone belongs to no later one: a reader would take it as seen."""
    (before,) = await append(database, event())
    async with database.write() as connection:
        await connection.execute(delete(events))
    (after,) = await append(database, event())
    assert after > before


async def test_who_has_a_number_commits_before_the_next(another: Callable[[], Database]) -> None:
    """A transaction that appends waits for the one before it: else the later number could be read
    first, and the earlier one be passed over.
    """
    first, second, reader = another(), another(), another()
    async with first.write() as connection:
        before = await journal.append(connection, event(), tenant_id="t")
        appending = asyncio.create_task(append(second, event()))
        done, _ = await asyncio.wait({appending}, timeout=0.5)
        assert not done
        assert await read(reader) == []
    (after,) = await appending
    assert after > before
    assert [row.seq for row in await read(reader)] == [before, after]


async def test_a_follower_misses_nothing(another: Callable[[], Database]) -> None:
    """With many transactions at once, some failing, in several processes, numbers are in the order
    of the commits: who reads on after the last number seen gets every event, in every order of
    writing, and none twice.
    """
    writers, reader = [another() for _ in range(3)], another()
    written: list[str] = []
    over = asyncio.Event()

    async def write(database: Database, name: str) -> None:
        for number in range(12):
            told = [event(call=f"{name}-{number}-{part}") for part in range(1 + number % 3)]
            try:
                async with database.write() as connection:
                    for each in told:
                        await journal.append(connection, each, tenant_id="t")
                        # Others run here: a number is taken, and not yet committed.
                        await connection.execute(select(events.c.seq).limit(1))
                    if number % 5 == 4:
                        raise ZeroDivisionError
            except ZeroDivisionError:
                continue
            written.extend(each.id for each in told)

    async def follow() -> list[tuple[int, str]]:
        seen: list[tuple[int, str]] = []
        while True:
            last_round = over.is_set()
            found = await read(reader, seen[-1][0] if seen else 0, limit=5)
            seen += [(row.seq, row.id) for row in found]
            if last_round and not found:
                return seen

    following = asyncio.create_task(follow())
    names = [
        (database, f"{index}{task}") for index, database in enumerate(writers) for task in "ab"
    ]
    await asyncio.gather(*(write(database, name) for database, name in names))
    over.set()
    seen = await following
    assert len(written) == 6 * 21
    assert sorted(identity for _, identity in seen) == sorted(written)
    assert [seq for seq, _ in seen] == sorted(seq for seq, _ in seen)
