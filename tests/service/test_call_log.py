"""The log of calls and conferences: whose they are, in which order, whatever the database does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import Row

from tests.outbox import endpoint
from tests.service.place import Office, away, rows
from tests.system.support import eventually
from voxtra import CallSession
from voxtra.events import EventType, VoxtraEvent
from voxtra.exceptions import DialFailed
from voxtra.model import DEFAULT_TENANT
from voxtra.service import call_log as module
from voxtra.service.call_log import CallLog
from voxtra.store import conferences
from voxtra.store.database import Database
from voxtra.store.schema import calls, deliveries, events, participants

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)


def started(call_id: str = "c", **data: Any) -> VoxtraEvent:
    """Return the beginning of a call."""
    facts = {"caller_id": "100", "called_number": "200", "direction": "inbound", **data}
    return VoxtraEvent(EventType.CALL_STARTED, call_id, facts, timestamp=AT)


def ended(call_id: str = "c") -> VoxtraEvent:
    """Return the end of a call."""
    data = {"cause": 16, "reason": "normal clearing", "duration_seconds": 1.0}
    return VoxtraEvent(EventType.CALL_ENDED, call_id, data, timestamp=AT)


class Log:
    """A call log, and the calls that are up."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.up: dict[str, Any] = {}
        self.log = CallLog(database, "n1", self.up.get)

    def call(self, call_id: str, tenant_id: str = "acme", **metadata: Any) -> None:
        """Somebody calls."""
        self.up[call_id] = SimpleNamespace(tenant_id=tenant_id, metadata=metadata)
        self.log.on_event(started(call_id))

    def end(self, call_id: str) -> None:
        """A call ends, and is gone from the app before anybody is told."""
        del self.up[call_id]
        self.log.on_event(ended(call_id))

    async def told(self) -> list[tuple[str, str, str]]:
        """Return tenant, type and holder of what is in the journal."""
        async with asyncio.timeout(10):
            await self.log.written()
        found = await rows(self.database, events)
        return [(row.tenant_id, row.type, row.session_id) for row in found]

    async def calls(self) -> dict[str, Row[Any]]:
        """Return the rows of the calls."""
        return {row.id: row for row in await rows(self.database, calls)}


@pytest.fixture
async def log(database: Database) -> AsyncIterator[Log]:
    """Return a log that writes."""
    made = Log(database)
    task = asyncio.create_task(made.log.run())
    yield made
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_call_from_its_beginning_to_its_end(log: Log) -> None:
    """The row and the journal say what happened, and whose it was."""
    log.call("c", queue="sales", tags=["a"])
    log.log.on_event(VoxtraEvent(EventType.CALL_ANSWERED, "c", timestamp=AT))
    log.end("c")
    assert await log.told() == [
        ("acme", "call.started", "c"),
        ("acme", "call.answered", "c"),
        ("acme", "call.ended", "c"),
    ]
    row = (await log.calls())["c"]
    assert (row.tenant_id, row.node, row.queue, row.tags) == ("acme", "n1", "sales", ["a"])
    assert (row.state, row.end_cause, row.end_reason) == ("completed", 16, "normal clearing")
    assert row.created_at == row.answered_at == row.ended_at == AT


async def test_word_that_comes_twice_or_late_changes_nothing(log: Log) -> None:
    """The first word counts, and an end that overtakes the answer is the end."""
    log.call("c")
    log.log.on_event(started("c", caller_id="somebody else"))
    log.end("c")
    log.log.on_event(VoxtraEvent(EventType.CALL_ANSWERED, "c"))
    second = VoxtraEvent(EventType.CALL_ENDED, "c", {"cause": 1, "reason": "x"})
    log.log.on_event(second)
    await log.log.written()
    row = (await log.calls())["c"]
    assert (row.caller, row.state, row.end_cause, row.ended_at) == ("100", "completed", 16, AT)


async def test_what_comes_after_the_end_is_still_the_tenant_s(log: Log) -> None:
    """A handler that fails when its call is over tells its own tenant, and no other one."""
    log.call("c")
    log.end("c")
    error = {"error_type": "KeyError", "message": "of acme's handler"}
    log.log.on_event(VoxtraEvent(EventType.ERROR, "c", error))
    assert await log.told() == [
        ("acme", "call.started", "c"),
        ("acme", "call.ended", "c"),
        ("acme", "error", "c"),
    ]


async def test_a_call_that_is_known_by_its_row_alone(log: Log, database: Database) -> None:
    """A leg that a phone put in a call's place is first heard of when it ends."""
    log.call("c")
    moved = {"replaced_by": "leg"}
    log.log.on_event(VoxtraEvent(EventType.CALL_TRANSFERRED, "c", moved, timestamp=AT))
    log.log.on_event(ended("leg"))
    assert (await log.told())[-1] == ("acme", "call.ended", "leg")
    assert (await log.calls())["leg"].tenant_id == "acme"


async def test_nothing_is_remembered_of_calls_that_are_over(log: Log) -> None:
    """Neither of those that ended nor of those that nobody answered."""
    log.call("c")
    log.end("c")
    log.call("d")
    del log.up["d"]
    failed = {"cause": 17, "reason": "busy", "disposition": "busy"}
    log.log.on_event(VoxtraEvent(EventType.CALL_FAILED, "d", failed))
    log.log.on_event(VoxtraEvent(EventType.ERROR, "c", {}))
    await log.log.written()
    assert log.log._tenants == {}
    assert (await log.calls())["d"].state == "failed"


async def test_a_call_that_is_refused(log: Log) -> None:
    """One that fails while it is up is still the tenant's when it is gone."""
    log.call("c")
    refused = {"reason": "no handler for it", "disposition": "rejected"}
    log.log.on_event(VoxtraEvent(EventType.CALL_FAILED, "c", refused))
    log.end("c")
    assert [tenant for tenant, _, _ in await log.told()] == ["acme"] * 3
    assert (await log.calls())["c"].state == "failed"


async def test_digits_are_kept_nowhere(log: Log, database: Database) -> None:
    """A card number that is typed reaches no row and no webhook."""
    await endpoint(database, tenant="acme")
    log.call("c")
    for digit in "4111":
        log.log.on_event(VoxtraEvent(EventType.DTMF_RECEIVED, "c", {"digit": digit}))
    assert await log.told() == [("acme", "call.started", "c")]
    assert [row.type for row in await rows(database, deliveries)] == ["call.started"]


async def test_recordings_are_written_by_the_store(log: Log) -> None:
    """Their events are in the transaction of their rows, and not here once more."""
    log.call("c")
    for kind in EventType:
        if kind.value.startswith("recording.") and kind not in (
            EventType.RECORDING_DELETED,
            EventType.RECORDING_HELD,
            EventType.RECORDING_RELEASED,
        ):
            log.log.on_event(VoxtraEvent(kind, "c", {}))
    assert await log.told() == [("acme", "call.started", "c")]


@pytest.mark.parametrize("times", [1, 4])
async def test_a_database_that_is_away(
    log: Log, database: Database, times: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Events wait for it, in their order, with those that come meanwhile."""
    with away(database, times) as refused:
        log.call("c")
        await refused.wait()
        log.call("d")
        assert log.log.unwritten() == {"c", "d"}
        log.end("c")
        assert await log.told() == [
            ("acme", "call.started", "c"),
            ("acme", "call.started", "d"),
            ("acme", "call.ended", "c"),
        ]
    assert log.log.unwritten() == set()
    assert "events wait for the database" in caplog.text


async def test_a_connection_that_is_cut(
    log: Log, database: Database, another: Callable[[], Database]
) -> None:
    """PostgreSQL ends our connections, and nothing is missed."""
    if database.is_sqlite:
        pytest.skip("there are no connections to cut")
    log.call("c")
    await log.log.written()
    async with another().write() as connection:
        await connection.exec_driver_sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    log.end("c")
    assert [kind for _, kind, _ in await log.told()] == ["call.started", "call.ended"]


@pytest.mark.parametrize("poison", ["a\0b", "a\ud800b"])
async def test_what_the_database_can_not_hold(
    log: Log, poison: str, caplog: pytest.LogCaptureFixture
) -> None:
    """An event that can't be written is left out, with an error in the log, and nothing waits
    behind it.
    """
    log.call("before")
    log.call("bad", queue=poison)
    log.call("after")
    assert [each for _, _, each in await log.told() if each != "bad"] == ["before", "after"]
    assert set(await log.calls()) >= {"before", "after"}
    if "bad" not in await log.calls():
        assert "can't be written and is left out" in caplog.text


async def test_an_event_without_its_facts(log: Log, caplog: pytest.LogCaptureFixture) -> None:
    """An adapter's mistake costs its one event, and not the node."""
    log.call("before")
    log.up["bad"] = SimpleNamespace(tenant_id="acme", metadata={})
    log.log.on_event(VoxtraEvent(EventType.CALL_STARTED, "bad", {"direction": "sideways"}))
    log.call("after")
    assert [each for _, _, each in await log.told()] == ["before", "after"]
    assert "call.started of" in caplog.text


async def test_more_than_fits_into_one_transaction(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many are written in several, in their order."""
    monkeypatch.setattr(module, "BATCH", 3)
    for number in range(10):
        log.call(f"c{number}")
    assert [each for _, _, each in await log.told()] == [f"c{number}" for number in range(10)]


# -- in a real app


async def test_a_conference_is_its_tenant_s_from_the_first_event(
    database: Database, tmp_path: Path
) -> None:
    """Its row, its events and its metadata are where they belong, the last event included."""
    async with Office(database, tmp_path).open() as office:
        made = await office.control.create_conference(
            "acme", name="weekly", metadata={"project": 7}
        )
        await office.call_log.written()
        async with database.read() as connection:
            row = await conferences.get(connection, "acme", made)
        assert row is not None
        assert (row.name, row.metadata, row.node) == ("weekly", {"project": 7}, "n1")
        await office.control.end_conference("acme", made)
        await office.call_log.written()
        assert await office.told("acme") == [
            ("conference.started", made),
            ("conference.ended", made),
        ]
        assert await office.told(DEFAULT_TENANT) == []


async def test_who_is_in_a_conference(database: Database, tmp_path: Path) -> None:
    """Who comes, goes, hangs up or is there at the end is in the rows."""
    async with Office(database, tmp_path).open() as office:
        one, two = await office.call("one"), await office.call("two")
        conference = await office.app.switchboard.conference()
        for each in (one, two):
            await conference.add(each)
        office.pbx.end("one")
        await conference.close()
        await office.call_log.written()
        found = await rows(database, participants)
        assert {row.call_id for row in found} == {"one", "two"}
        assert all(row.left_at is not None for row in found)
        kinds = [kind for kind, of in await office.told() if of == conference.id]
        assert kinds == [
            "conference.started",
            *["conference.joined"] * 2,
            *["conference.left"] * 2,
            "conference.ended",
        ]


async def test_a_dial_that_nobody_answers(database: Database, tmp_path: Path) -> None:
    """It is the tenant's, failed, and forgotten."""
    async with Office(database, tmp_path).open() as office:

        async def busy(endpoint: str, **_: Any) -> None:
            await office.call_log.written()
            raise DialFailed(endpoint, "busy", 17)

        office.pbx.originate = busy  # type: ignore[method-assign]  # what the far end says
        call_id = await office.control.originate(
            "acme", endpoint="PJSIP/bob", metadata={"agent": "eve"}
        )
        row = await eventually(lambda: _over(office, call_id))
        assert (row.state, row.agent, row.end_cause) == ("failed", "eve", 17)
        assert await office.told(DEFAULT_TENANT) == []
        assert office.call_log._tenants == {}


async def _over(office: Office, call_id: str) -> Any:
    row = await office.call_row(call_id, "acme")
    return row if row is not None and row.ended_at is not None else None


async def test_a_handler_that_fails_after_its_call(database: Database, tmp_path: Path) -> None:
    """What the app says of it is told to the tenant of the route."""

    async def clumsy(call: CallSession) -> None:
        await call.answer()
        await call.wait_ended()
        raise KeyError("secret of acme")

    office = Office(database, tmp_path)
    office.app.route(extension="1000", metadata={"tenant": "acme"})(clumsy)
    async with office.open():
        await office.call("c")
        office.pbx.end("c")
        await eventually(lambda: _has(office, ("error", "c")))
        assert await office.told(DEFAULT_TENANT) == []


async def _has(office: Office, wanted: tuple[str, str]) -> bool:
    return wanted in await office.told("acme")
