"""Rows of recordings: a change with all that is due, whole or not at all."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import update
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection

from tests.outbox import endpoint
from tests.service.place import away, rows
from tests.system.support import eventually
from voxtra.exceptions import RecordingActive, RecordingFailed
from voxtra.ids import new_id
from voxtra.lifecycle import Change, Happening, advance, pause
from voxtra.model import (
    CallDirection,
    EndReason,
    Layout,
    Pause,
    Recording,
    RecordingSource,
    RecordingState,
    RecordingTarget,
    Track,
)
from voxtra.store import tombstones
from voxtra.store.database import Database
from voxtra.store.recordings import FileFacts, SqlRecordingStore, _write, blob_key, change, load
from voxtra.store.schema import deliveries, events, jobs, recordings

NOW = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)
FACTS = FileFacts(100, 800, 8000, 1, 1644, "ab", 0.0, -6.0, "k.wav", "k.peaks")


def a_recording(call: str = "c", **changes: Any) -> Recording:
    """Return a recording that is just asked for."""
    made = Recording(
        new_id(),
        "x",
        call,
        RecordingTarget.SNOOP,
        call,
        tracks=(Track("x", "mixed", "snoop"),),
        max_duration=60,
        requested_at=NOW,
        holder_id=call,
        tenant_id="acme",
        sink="app",
    )
    return replace(made, **changes)


@pytest.fixture
def store(database: Database) -> SqlRecordingStore:
    """Return the rows of a node."""
    return SqlRecordingStore(database, "n1")


async def advanced(
    store: SqlRecordingStore, recording: Recording, *happenings: Happening, **facts: Any
) -> Recording:
    """Apply changes as the recorder does."""
    for happening in happenings:
        new = advance(recording, Change(happening, NOW, **facts)).recording
        assert await store.replace(recording, new)
        recording = new
    return recording


async def told(database: Database) -> list[tuple[str, str, str]]:
    """Return tenant, type and recording of each event."""
    return [(row.tenant_id, row.type, row.recording_id) for row in await rows(database, events)]


FULL = Recording(
    "r",
    "day/x",
    "c",
    RecordingTarget.BRIDGE,
    "b",
    "wav16",
    Layout.STEREO,
    RecordingState.STOPPING,
    (Track("x-in", "in", "s1"), Track("x-out", "out", "s2")),
    60,
    2,
    "#",
    True,
    True,
    NOW,
    NOW,
    NOW,
    EndReason.KEY,
    "because",
    {"lost_seconds": 1.5, "problems": ["a", "b"], "repaired": True},
    "h",
    "conf",
    "acme",
    RecordingSource.RECOVERED,
    CallDirection.INBOUND,
    "+49 30",
    "200",
    "sales",
    "eve",
    ("a", "b"),
    "call",
    (Pause(NOW, NOW + timedelta(seconds=1)), Pause(NOW, None, muted=True)),
    7,
)


async def test_a_row_is_the_value(store: SqlRecordingStore) -> None:
    """Every field comes back as it was written, whatever it holds."""
    bare = replace(FULL, ended_at=None)
    assert all(getattr(bare, each.name) not in ("", ()) for each in fields(Recording))
    await store.insert(bare)
    assert await store.get("r") == bare
    assert await store.get("nobody") is None


async def test_one_active_recording_for_target_and_holder(store: SqlRecordingStore) -> None:
    """A second one is refused with the first one's name and id, until that has ended."""
    first = a_recording("c", name="first")
    await store.insert(first)
    for second in (
        a_recording("c"),
        a_recording("c", target_id="other"),
        a_recording("c", holder_id="other"),
    ):
        with pytest.raises(RecordingActive) as active:
            await store.insert(second)
        assert (active.value.name, active.value.recording_id) == ("first", first.id)
    await advanced(store, first, Happening.STARTED, Happening.FINISHED)
    await store.insert(a_recording("c"))


async def test_of_many_at_once_one_is_active(store: SqlRecordingStore) -> None:
    """Of starts at the same moment one wins, and the others learn which."""
    made = [a_recording("c", name=f"x{number}") for number in range(5)]
    results = await asyncio.gather(*(store.insert(each) for each in made), return_exceptions=True)
    winners = [each for each, result in zip(made, results, strict=True) if result is None]
    assert len(winners) == 1
    lost = [each for each in results if each is not None]
    assert all(isinstance(each, RecordingActive) for each in lost)
    assert {each.recording_id for each in lost if isinstance(each, RecordingActive)} == {
        winners[0].id
    }


async def test_the_active_one_ends_while_it_is_looked_for(
    store: SqlRecordingStore, database: Database
) -> None:
    """A rival that has ended by then is none: the row is written after all."""
    first, second = a_recording("c"), a_recording("c")
    await store.insert(first)
    read = database.read
    ending = True

    @asynccontextmanager
    async def read_late() -> AsyncIterator[AsyncConnection]:
        nonlocal ending
        if ending:
            ending = False
            await advanced(store, first, Happening.FAILED, cause="gone")
        async with read() as connection:
            yield connection

    database.read = read_late  # type: ignore[method-assign]  # the moment between two queries
    await store.insert(second)
    assert await store.get(second.id) == second


async def test_a_row_that_can_not_be_written(store: SqlRecordingStore, database: Database) -> None:
    """The recording does not begin then, and the error says why, in our words."""
    with (
        away(database),
        pytest.raises(RecordingFailed, match="row can't be written: the disk is away"),
    ):
        await store.insert(a_recording())


async def test_a_change_is_made_once(store: SqlRecordingStore, database: Database) -> None:
    """Who has an old value changes nothing, and nothing follows."""
    made = a_recording()
    await store.insert(made)
    begun = await advanced(store, made, Happening.STARTED)
    before = await told(database)
    late = advance(made, Change(Happening.FAILED, NOW, cause="late")).recording
    assert not await store.replace(made, late)
    assert await store.get(made.id) == begun
    assert await told(database) == before == [("acme", "recording.started", made.id)]


async def test_what_follows_an_end(store: SqlRecordingStore, database: Database) -> None:
    """The change that ends a recording queues its ingest, once."""
    await endpoint(database, tenant="acme")
    made = a_recording()
    await store.insert(made)
    ended = await advanced(store, made, Happening.STARTED, Happening.STOP_ASKED)
    assert await rows(database, jobs) == []
    ended = await advanced(store, ended, Happening.FINISHED)
    (job,) = await rows(database, jobs)
    assert (job.kind, job.subject_id, job.tenant_id) == ("ingest", made.id, "acme")
    assert [kind for _, kind, _ in await told(database)] == [
        "recording.started",
        "recording.finished",
    ]
    assert len(await rows(database, deliveries)) == 2  # a webhook of each event


@pytest.mark.parametrize(
    ("happenings", "reason", "sink", "expected"),
    [
        ((Happening.STARTED,), None, "app", 1),
        ((Happening.STARTED,), None, "call", 1),
        ((Happening.STARTED,), None, "", 0),
        ((), None, "app", 0),
        ((Happening.STARTED,), EndReason.CANCELLED, "app", 0),
    ],
)
async def test_who_is_told_of_a_failure(
    store: SqlRecordingStore,
    database: Database,
    happenings: tuple[Happening, ...],
    reason: EndReason | None,
    sink: str,
    expected: int,
) -> None:
    """A sink is told of what began and was not cancelled, in the process that has the sink; nobody
    brings home what has failed.
    """
    made = a_recording(sink=sink)
    await store.insert(made)
    begun = await advanced(store, made, *happenings)
    failed = await advanced(store, begun, Happening.FAILED, cause="x", reason=reason)
    assert failed.state is RecordingState.FAILED
    found = await rows(database, deliveries)
    assert [(row.kind, row.node, row.lane) for row in found] == [("sink", "n1", made.id)] * expected
    assert await rows(database, jobs) == []


async def test_available(store: SqlRecordingStore, database: Database) -> None:
    """The worker's change brings the facts of the file; the sink of the row's own node is told."""
    made = a_recording()
    await store.insert(made)
    await advanced(store, made, Happening.STARTED, Happening.FINISHED)
    told_of_it = {"size": 1644, "lost_seconds": 0.5}
    ingested = Change(Happening.INGESTED, NOW, EndReason.HANGUP, facts=dict(told_of_it))
    for _ in range(2):  # the same change twice is one
        async with database.write() as connection:
            await change(connection, made.id, ingested, FACTS)
    (row,) = await rows(database, recordings)
    assert (row.state, row.end_reason, row.extra) == (
        "available",
        "hangup",
        told_of_it,
    )
    assert row.lost_ms == 500
    assert {name: getattr(row, name) for name in FileFacts.__dataclass_fields__} == {
        each.name: getattr(FACTS, each.name) for each in fields(FACTS)
    }
    assert row.available_at is not None
    assert [kind for _, kind, _ in await told(database)][-1] == "recording.available"
    (sink,) = await rows(database, deliveries)
    assert (sink.node, sink.recording_id) == ("n1", made.id)
    async with database.write() as connection:
        assert await change(connection, "nobody", ingested) is None


async def test_a_worker_and_the_recorder_at_once(
    store: SqlRecordingStore, database: Database
) -> None:
    """The recorder's late word finds that its value is old."""
    made = a_recording()
    await store.insert(made)
    ended = await advanced(store, made, Happening.STARTED, Happening.FINISHED)
    async with database.write() as connection:
        await change(connection, made.id, Change(Happening.INGEST_FAILED, NOW, cause="empty"))
    late = advance(ended, Change(Happening.FAILED, NOW, cause="late")).recording
    assert not await store.replace(ended, late)
    row = await store.get(made.id)
    assert row is not None
    assert row.cause == "empty"


async def test_what_people_write_meanwhile_stays(
    store: SqlRecordingStore, database: Database
) -> None:
    """Tags, and whose call it was, are not undone by a change of state."""
    made = a_recording()
    await store.insert(made)
    async with database.write() as connection:
        await connection.execute(update(recordings).values(tags=["vip"], agent="eve", caller="1"))
    await advanced(store, made, Happening.STARTED)
    row = await store.get(made.id)
    assert row is not None
    assert (row.tags, row.agent, row.caller) == (("vip",), "eve", "1")
    assert row.state is RecordingState.RECORDING


async def test_all_or_nothing(store: SqlRecordingStore, database: Database) -> None:
    """When what follows a change can't be written, the change is not made either."""
    made = a_recording()
    await store.insert(made)
    begun = await advanced(store, made, Happening.STARTED)
    ended = advance(begun, Change(Happening.FINISHED, NOW)).recording

    async def die_in_the_middle() -> None:
        async with database.write() as connection:
            await _write(connection, begun, ended, "n1")
            raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError, match="in the middle"):
        await die_in_the_middle()
    assert await store.get(made.id) == begun
    assert await rows(database, jobs) == []
    assert len(await told(database)) == 1


# -- a database that is away


async def test_a_change_waits_for_the_database(
    store: SqlRecordingStore, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    """What the PBX has done is written when the database is back, once."""
    made = a_recording()
    await store.insert(made)
    begun = advance(made, Change(Happening.STARTED, NOW)).recording
    with away(database, 2):
        assert await store.replace(made, begun)
    assert await store.get(made.id) == begun
    assert len(await told(database)) == 1
    assert "its row can't be changed yet" in caplog.text


async def test_a_commit_whose_answer_is_lost(store: SqlRecordingStore, database: Database) -> None:
    """It was made: it is found, and not made again."""
    made = a_recording(tags=("a",))
    await store.insert(made)
    begun = pause(advance(made, Change(Happening.STARTED, NOW)).recording, NOW, on=True)
    real = database.write
    lost = False

    @asynccontextmanager
    async def write(**options: Any) -> AsyncIterator[AsyncConnection]:
        nonlocal lost
        async with real(**options) as connection:
            yield connection
        if not lost:
            lost = True
            raise OperationalError("COMMIT", {}, OSError("connection reset"))

    database.write = write  # type: ignore[method-assign]  # a network that breaks in the end
    assert await store.replace(made, begun)
    assert lost
    assert len(await told(database)) == 2


async def test_a_commit_whose_answer_is_lost_and_that_was_not_made(
    store: SqlRecordingStore, database: Database
) -> None:
    """When somebody else changed the row meanwhile, that is said."""
    made = a_recording()
    await store.insert(made)
    begun = advance(made, Change(Happening.STARTED, NOW)).recording
    async with database.write() as connection:
        await connection.execute(update(recordings).values(version=5))
    with away(database, 1):
        assert not await store.replace(made, begun)


async def test_a_connection_that_is_cut(
    store: SqlRecordingStore, database: Database, another: Callable[[], Database]
) -> None:
    """PostgreSQL ends the connection in the middle of a change, which is made all the same."""
    if database.is_sqlite:
        pytest.skip("there are no connections to cut")
    made = a_recording()
    await store.insert(made)
    begun = advance(made, Change(Happening.STARTED, NOW)).recording
    other = another()
    async with other.write() as connection:
        await connection.exec_driver_sql("LOCK TABLE recordings")
        changing = asyncio.create_task(store.replace(made, begun))

        async def blocked() -> bool:
            found = await connection.exec_driver_sql(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = "
                "'relation' AND datname = current_database() AND pid <> pg_backend_pid()"
            )
            return bool(found.all())

        await eventually(blocked)
    assert await changing
    assert await store.get(made.id) == begun
    assert len(await told(database)) == 1


async def test_a_change_that_is_cancelled(store: SqlRecordingStore, database: Database) -> None:
    """However far it came, the row and its events agree."""
    for step in range(1, 40, 3):
        made = a_recording(f"c{step}")
        await store.insert(made)
        begun = advance(made, Change(Happening.STARTED, NOW)).recording
        task = asyncio.create_task(store.replace(made, begun))
        for _ in range(step):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        row = await store.get(made.id)
        count = [each for _, _, each in await told(database)].count(made.id)
        assert (row, count) in ((made, 0), (begun, 1))


# -- who finds what after a restart


async def test_unfinished(store: SqlRecordingStore, database: Database) -> None:
    """Of this node, what has not ended; what has is a worker's, and others' are others'."""
    live, ended, over = (a_recording(each) for each in "abc")
    for each in (live, ended, over):
        await store.insert(each)
    await SqlRecordingStore(database, "n2").insert(a_recording("d"))
    await advanced(store, ended, Happening.STARTED, Happening.FINISHED)
    await advanced(store, over, Happening.FAILED, cause="x")
    assert await store.unfinished() == [live]


async def test_a_deleted_recording_is_changed_by_nobody(
    store: SqlRecordingStore, database: Database
) -> None:
    """A late word does not bring back what was deleted."""
    made = a_recording()
    await store.insert(made)
    failed = await advanced(store, made, Happening.FAILED, cause="x")
    async with database.write() as connection:
        await tombstones.delete(connection, "acme", made.id, actor="p", reason="asked", now=NOW)
        await change(connection, made.id, Change(Happening.INGESTED, NOW), FACTS)
    assert not await store.replace(failed, replace(failed, cause="y", version=9))
    (row,) = await rows(database, recordings)
    assert (row.sha256, row.blob_key) == ("", "")


def test_where_the_audio_is_kept() -> None:
    """By tenant and day of the request, in UTC."""
    made = a_recording()
    assert blob_key(made, "wav") == f"recordings/acme/2026/03/01/{made.id}.wav"
    with pytest.raises(ValueError, match="no time of its request"):
        blob_key(replace(made, requested_at=None), "wav")


# -- any course


STEPS = st.lists(st.sampled_from([*Happening, "pause", "resume", "rival"]), max_size=8)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps=STEPS, sink=st.sampled_from(["", "app"]))
def test_rows_and_what_follows_agree(migrated_sqlite: Path, steps: list[Any], sink: str) -> None:
    """Whatever happens in whatever order: one ingest at most, one word of each kind at most, a sink
    told once of what began and came to its end, and a row that is the last value.
    """

    async def live(folder: Path) -> None:
        path = folder / "x.db"
        path.write_bytes(migrated_sqlite.read_bytes())
        database = Database(f"sqlite:///{path}")
        store = SqlRecordingStore(database, "n1")
        now = a_recording(sink=sink)
        await store.insert(now)
        for step in steps:
            if step == "rival":
                stale = replace(now, version=now.version - 1)
                assert not await store.replace(stale, replace(stale, cause="stale"))
                continue
            try:
                new = (
                    pause(now, NOW, on=step == "pause")
                    if step in ("pause", "resume")
                    else advance(now, Change(step, NOW, cause="x")).recording
                )
            except Exception:
                continue
            if new != now:
                assert await store.replace(now, new)
            now = new
        async with database.read() as connection:
            assert await load(connection, now.id) == now
        kinds = [kind for _, kind, _ in await told(database)]
        for kind in ("started", "finished", "available", "failed"):
            assert kinds.count(f"recording.{kind}") <= 1
        ingests = await rows(database, jobs)
        assert len(ingests) == (kinds.count("recording.finished") == 1)
        sinks = await rows(database, deliveries)
        wanted = bool(sink) and now.state.is_final and now.started_at is not None
        assert len(sinks) == wanted
        await database.close()

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(live(Path(folder)))
