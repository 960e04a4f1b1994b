"""The stream of events: nothing missed, nothing doubled, nothing of others."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import httpx
import pytest

from tests.web.support import FOREIGN, client_of, make_key, serving
from voxtra.events import EventType, VoxtraEvent
from voxtra.store import journal
from voxtra.store.access import DEFAULT_TENANT
from voxtra.store.database import Database
from voxtra.web.api import events as stream

DEADLINE = 20


@dataclass
class Client:
    """One client of the stream, which comes back with what it was given last."""

    http: httpx.AsyncClient
    query: dict[str, str] = field(default_factory=dict)
    last: str = ""
    events: list[dict[str, Any]] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)
    comments: int = 0
    news: asyncio.Event = field(default_factory=asyncio.Event)

    @contextlib.asynccontextmanager
    async def connected(self) -> AsyncIterator[asyncio.Task[None]]:
        """Connect, and read in the background until the block ends."""
        headers = {"Last-Event-ID": self.last} if self.last else {}
        async with self.http.stream(
            "GET", "/v1.0/events", params=self.query, headers=headers, timeout=DEADLINE
        ) as answer:
            assert answer.status_code == 200, await answer.aread()
            assert answer.headers["content-type"].startswith("text/event-stream")
            reading = asyncio.create_task(self._read(answer))
            try:
                yield reading
            finally:
                reading.cancel()
                await asyncio.gather(reading, return_exceptions=True)

    async def _read(self, answer: httpx.Response) -> None:
        data = ""
        async for line in answer.aiter_lines():
            name, _, value = line.partition(": ")
            if name == "id":
                self.last = value
            elif name == "data":
                data = value
            elif line == ":":
                self.comments += 1
            elif not line and data:
                self.events.append(json.loads(data))
                self.numbers.append(int(self.last))
                data = ""
            self.news.set()

    def has(self, wanted: int) -> bool:
        """Tell whether so many events have come."""
        return len(self.events) >= wanted

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait until a condition holds."""
        async with asyncio.timeout(DEADLINE):
            while not condition():
                self.news.clear()
                await self.news.wait()


async def append(
    database: Database,
    number: int,
    tenant_id: str = DEFAULT_TENANT,
    kind: EventType = EventType.DTMF_RECEIVED,
) -> int:
    """Write one event into the journal."""
    async with database.write() as connection:
        event = VoxtraEvent(kind, f"call-{number}", {"number": number})
        return await journal.append(connection, event, tenant_id=tenant_id)


@pytest.fixture
async def http(site, service):
    """Return a client of a real server, with a key of the default tenant."""
    bearer = {"Authorization": f"Bearer {await make_key(service, 'agent')}"}
    async with serving(site) as url, httpx.AsyncClient(base_url=url, headers=bearer) as client:
        yield client


async def test_events_come_as_they_happen(http, service):
    """A client gets what happens from its coming on, in the form of the webhooks."""
    await append(service.database, 1)
    client = Client(http)
    async with client.connected():
        await client.until(lambda: client.last)
        seq = await append(service.database, 2)
        await client.until(lambda: client.events)
    assert client.numbers == [seq]
    (event,) = client.events
    assert set(event) == {"id", "type", "session_id", "timestamp", "data"}
    assert event["type"] == "dtmf.received"
    assert event["session_id"] == "call-2"
    assert event["data"] == {"number": 2}
    assert event["timestamp"].endswith("Z")


async def test_nothing_is_missed_or_doubled_over_reconnects(http, service):
    """However often a client is cut off while events are written by several at once, it has every
    one once and in order in the end.
    """
    total, writers = 120, 4
    client = Client(http, {"after": "0"})

    async def write(first: int) -> None:
        for number in range(first, total, writers):
            await append(service.database, number)
            await asyncio.sleep(0.001)

    async with asyncio.TaskGroup() as group:
        for first in range(writers):
            group.create_task(write(first))
        connections = 0
        while len(client.events) < total:
            async with client.connected():
                connections += 1
                wanted = min(total, len(client.events) + 1 + len(client.events) % 7)
                await client.until(partial(client.has, wanted))
    assert connections > 5
    assert sorted(event["data"]["number"] for event in client.events) == list(range(total))
    assert client.numbers == sorted(set(client.numbers))


async def test_a_client_that_was_cut_off_before_the_first_event_misses_none(http, service):
    """The place in the stream is given at once: what happens while nobody listens is not lost."""
    client = Client(http)
    async with client.connected():
        await client.until(lambda: client.last)
    await append(service.database, 1)
    async with client.connected():
        await client.until(lambda: client.events)
    assert len(client.events) == 1


async def test_more_than_a_batch_comes_in_one_go(http, service):
    """A client that was away for long gets all that is kept."""
    async with service.database.write() as connection:
        for number in range(450):
            event = VoxtraEvent(EventType.DTMF_RECEIVED, "c", {"number": number})
            await journal.append(connection, event, tenant_id=DEFAULT_TENANT)
    client = Client(http, {"after": "0"})
    async with client.connected():
        await client.until(lambda: len(client.events) == 450)
    assert [event["data"]["number"] for event in client.events] == list(range(450))


async def test_only_wanted_types_come(http, service):
    """With `types` only these are sent; the place goes on with the others, too."""
    client = Client(http, {"types": "recording.held,recording.released"})
    async with client.connected():
        await client.until(lambda: client.last)
        await append(service.database, 1)
        await append(service.database, 2, kind=EventType.RECORDING_HELD)
        last = await append(service.database, 3)
        await client.until(lambda: client.last == str(last))
    assert [event["type"] for event in client.events] == ["recording.held"]


async def test_events_of_other_tenants_are_not_seen(http, service):
    """A stream has its tenant's events alone."""
    client = Client(http, {"after": "0"})
    await append(service.database, 1, tenant_id=FOREIGN)
    async with client.connected():
        await append(service.database, 2, tenant_id=FOREIGN)
        await append(service.database, 3)
        await client.until(lambda: client.events)
    assert [event["data"]["number"] for event in client.events] == [3]


async def test_events_of_other_processes_come(http, service, another, monkeypatch):
    """What another process writes is found, also where it can give no signal."""
    monkeypatch.setattr(stream, "LOOK", 0.05)
    other: Database = another()
    client = Client(http)
    async with client.connected():
        await client.until(lambda: client.last)
        await append(other, 1)
        await client.until(lambda: client.events)


async def test_a_quiet_stream_shows_that_it_lives(http, service, monkeypatch):
    """Without events a comment comes from time to time."""
    monkeypatch.setattr(stream, "LOOK", 0.02)
    monkeypatch.setattr(stream, "HEARTBEAT", 0.05)
    client = Client(http)
    async with client.connected():
        await client.until(lambda: client.comments >= 3)


async def test_a_stream_ends_with_its_key(site, service, admin, monkeypatch):
    """A revoked key hears nothing more, not even on a stream that was open."""
    monkeypatch.setattr(stream, "LOOK", 0.02)
    monkeypatch.setattr(stream, "HEARTBEAT", 0.05)
    made = (await admin.post("/v1.0/keys", json={"name": "ear", "role": "agent"})).json()
    bearer = {"Authorization": f"Bearer {made['key']}"}
    async with serving(site) as url, httpx.AsyncClient(base_url=url, headers=bearer) as http:
        client = Client(http)
        async with client.connected() as reading:
            await client.until(lambda: client.last)
            await admin.delete(f"/v1.0/keys/{made['id']}")
            await asyncio.wait_for(reading, DEADLINE)


async def test_streams_end_when_the_server_stops(site, service):
    """A stream, which would go on for ever, does not keep the process from ending."""
    bearer = {"Authorization": f"Bearer {await make_key(service, 'agent')}"}
    async with httpx.AsyncClient(headers=bearer) as http:
        async with asyncio.timeout(DEADLINE), serving(site) as url:
            http.base_url = url
            connection = Client(http).connected()
            reading = await connection.__aenter__()
        await asyncio.wait_for(reading, DEADLINE)
        await connection.__aexit__(None, None, None)


async def test_a_client_that_takes_nothing_is_disconnected(site, service, monkeypatch, caplog):
    """A slow client costs no memory: after some time without room the stream is given up."""
    caplog.set_level("INFO")
    monkeypatch.setattr(stream, "PATIENCE", 0.3)
    monkeypatch.setattr(stream, "LOOK", 0.02)
    key = await make_key(service, "agent")
    async with service.database.write() as connection:
        for number in range(400):
            event = VoxtraEvent(EventType.DTMF_RECEIVED, "c", {"text": "x" * 40_000, "n": number})
            await journal.append(connection, event, tenant_id=DEFAULT_TENANT)
    bearer = {"Authorization": f"Bearer {key}"}
    async with serving(site) as url, httpx.AsyncClient(base_url=url, headers=bearer) as http:
        async with http.stream("GET", "/v1.0/events?after=0", timeout=DEADLINE):
            assert site.state.streams.total() == 1
            async with asyncio.timeout(DEADLINE):
                while site.state.streams.total():
                    await append(service.database, 0)
        assert "takes nothing" in caplog.text


async def test_a_key_has_a_few_streams_at_most(http, service, monkeypatch):
    """One more than allowed is 429, and one that was closed makes room."""
    monkeypatch.setattr(stream, "STREAMS", 1)
    first = Client(http)
    async with first.connected():
        await first.until(lambda: first.last)
        refused = await http.get("/v1.0/events")
        assert refused.status_code == 429
        assert refused.json()["code"] == "too_many_streams"
    async with asyncio.timeout(DEADLINE):
        while True:
            async with http.stream("GET", "/v1.0/events") as answer:
                if answer.status_code == 200:
                    break


@pytest.mark.parametrize("query", ["after=-1", "after=x", "after=9223372036854775808"])
async def test_a_place_is_a_number(agent, query):
    """What is no number of an event is refused."""
    answer = await agent.get(f"/v1.0/events?{query}")
    assert answer.status_code == 400
    assert answer.json()["field"] == "after"


@pytest.mark.parametrize("place", ["x", "-1", "\u0663".encode(), "9" * 19, "1" * 20])
async def test_a_last_id_is_a_number(agent, place):
    """A header that this stream never gave is refused."""
    answer = await agent.get("/v1.0/events", headers={"Last-Event-ID": place})
    assert answer.status_code == 400
    assert answer.json()["field"] in ("Last-Event-ID", "last-event-id")


async def test_an_unknown_type_is_refused(agent):
    """A mistyped type would be waited for in vain."""
    answer = await agent.get("/v1.0/events?types=recording.availible")
    assert answer.status_code == 400
    assert answer.json()["field"] == "types"


async def test_events_need_a_scope(site, service):
    """A key that may not read calls hears nothing of them."""
    key = await make_key(service, "agent", name="files", scopes=["recordings:read"])
    async with client_of(site, key) as client:
        assert (await client.get("/v1.0/events")).json()["missing_scope"] == "calls:read"
