"""The events websocket that we open: what ends it, what brings it back, and what does not."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from itertools import pairwise

import pytest
from aiohttp import WSMsgType, web

from voxtra.ari import ARIClient, connection
from voxtra.ari.connection import EventConnection, Link, retryable
from voxtra.ari.schema import ChannelHold, StasisStart
from voxtra.exceptions import (
    AuthenticationFailed,
    BadRequest,
    Forbidden,
    NotFound,
    RequestTimeout,
    ServerError,
    TelephonyConnectionError,
)
from voxtra.ids import own_id

from .calls import DEADLINE, eventually
from .peers import Answer, Peer, peer

HOLD = '{"type":"ChannelHold","channel":{"id":"c"}}'


def websocket(then: Callable[[web.WebSocketResponse], Awaitable[None]]) -> Answer:
    """Accept every websocket and do `then` with it."""

    async def answer(request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        with suppress(ConnectionError):
            await then(socket)
        return socket

    return answer


async def say_hold(socket: web.WebSocketResponse) -> None:
    """Send one event and stay until the other side goes."""
    await socket.send_str(HOLD)
    async for _ in socket:
        pass


def client_of(server: Peer, **options) -> ARIClient:
    """Make a client whose pool is open, without asking the server who it is."""
    client = ARIClient(server.url, "user", "secret", **options)
    client.open()
    return client


async def first_event(client: ARIClient, **options) -> tuple[Link, object]:
    """Return the first event that arrives and the link it came on."""
    async with EventConnection(client, **options) as events, asyncio.timeout(DEADLINE):
        async for link in events:
            async for event in link:
                return link, event
    raise AssertionError("the iteration ended without an event")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (TelephonyConnectionError("refused"), True),
        (RequestTimeout("silent"), True),
        (ServerError(503, "GET", "/events"), True),
        (AuthenticationFailed("no"), False),
        (BadRequest(400, "GET", "/events"), False),
        (Forbidden(403, "GET", "/events"), False),
        (NotFound(404, "GET", "/events"), False),
        (ValueError("a mistake of ours"), False),
    ],
)
def test_what_is_tried_again(error, expected):
    """What may come up by itself is retried, what must be changed by somebody is not."""
    assert retryable(error) is expected


async def test_events_arrive_typed_with_their_frame():
    """A link yields typed events and keeps the frame of the last one; the request names our app."""
    async with peer(websocket(say_hold)) as server:
        client = client_of(server, app_name="my app")
        link, event = await first_event(client)
        await client.close()
    assert isinstance(event, ChannelHold)
    assert json.loads(link.raw) == json.loads(HOLD)
    assert server.requests[0] == "GET /ari/events?app=my%20app"
    assert "Authorization" in server.headers[0]
    assert "Sec-WebSocket-Extensions" not in server.headers[0]


async def test_a_server_that_closes_politely_is_not_hammered(caplog):
    """Closing with 1000 at once leads to growing delays, not to a loop; each end is logged."""

    async def goodbye(socket: web.WebSocketResponse) -> None:
        await socket.close(code=1000)

    async with peer(websocket(goodbye)) as server:
        client = client_of(server)
        async with EventConnection(client, first_delay=0.1) as events:
            with suppress(TimeoutError):
                async with asyncio.timeout(1.5):
                    async for link in events:
                        async for _ in link:
                            pass
        await client.close()
    assert 3 <= len(server.requests) <= 8
    assert "closed with code 1000" in caplog.text


async def test_a_link_that_lived_brings_the_short_delay_back(monkeypatch):
    """After a settled link the next one is tried as soon as after the first."""
    monkeypatch.setattr(connection, "SETTLED", 0.2)

    async def short_or_long(socket: web.WebSocketResponse) -> None:
        if len(server.requests) == 5:
            await asyncio.sleep(0.3)
        await socket.close(code=1000)

    times: list[float] = []
    async with peer(websocket(short_or_long)) as server:
        client = client_of(server)
        async with EventConnection(client, first_delay=0.02) as events:
            async for link in events:
                times.append(time.monotonic())
                async for _ in link:
                    pass
                if len(times) == 6:
                    break
        await client.close()
    waits = [after - before for before, after in pairwise(times)]
    assert waits[3] >= 0.08  # the 4th delay: at least half of 0.02 doubled 3 times
    assert waits[4] < 0.3 + 0.08  # lived for 0.3 s, then the 1st delay again: at most 0.02


async def test_a_refused_user_ends_it():
    """401 is not retried: the error names the user."""

    async def refuse(request: web.Request) -> web.StreamResponse:
        return web.Response(status=401)

    async with peer(refuse) as server:
        client = client_of(server)
        with pytest.raises(AuthenticationFailed, match="'user'"):
            await first_event(client)
        await client.close()
    assert len(server.requests) == 1


async def test_a_booting_asterisk_is_waited_for(caplog):
    """404 without ARI, then 503, then it serves: no error reaches the caller."""
    statuses = [404, 503]

    async def boot(request: web.Request) -> web.StreamResponse:
        if statuses:
            return web.Response(status=statuses.pop(0))
        return await websocket(say_hold)(request)

    async with peer(boot) as server:
        client = client_of(server)
        _, event = await first_event(client, first_delay=0.01)
        await client.close()
    assert isinstance(event, ChannelHold)
    assert len(server.requests) == 3
    assert "has no ARI" in caplog.text
    assert "503" in caplog.text


async def test_a_handshake_that_hangs_is_given_up_and_tried_again():
    """The deadline of requests is the handshake's too."""
    hanging = True

    async def hang_once(request: web.Request) -> web.StreamResponse:
        nonlocal hanging
        if hanging:
            hanging = False
            await asyncio.sleep(30)
        return await websocket(say_hold)(request)

    async with peer(hang_once) as server:
        client = client_of(server, timeout=0.2)
        _, event = await first_event(client, first_delay=0.01)
        await client.close()
    assert isinstance(event, ChannelHold)


async def test_a_link_outlives_the_deadline_of_requests():
    """Only the handshake has a deadline: a quiet link stays."""

    async def slow(socket: web.WebSocketResponse) -> None:
        await asyncio.sleep(0.6)
        await say_hold(socket)

    async with peer(websocket(slow)) as server:
        client = client_of(server, timeout=0.2)
        await first_event(client)
        await client.close()
    assert len(server.requests) == 1


async def test_a_dead_peer_is_noticed_by_the_heartbeat(caplog):
    """A peer that does not answer pings ends the link."""

    async def play_dead(request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse(autoping=False)
        await socket.prepare(request)
        while (await socket.receive()).type is WSMsgType.PING:
            pass
        return socket

    async with peer(play_dead) as server:
        client = client_of(server)
        async with EventConnection(client, heartbeat=0.1) as events:
            async for link in events:
                async with asyncio.timeout(DEADLINE):
                    async for _ in link:
                        pass
                assert "No PONG received" in link.ending
                break
        await client.close()


async def test_garbage_does_not_end_a_link():
    """Frames that are no events, binary ones included, are handed on, and the next one follows."""

    async def babble(socket: web.WebSocketResponse) -> None:
        await socket.send_str("}{")
        await socket.send_bytes(b"\x00\xff")
        await say_hold(socket)

    types = []
    async with peer(websocket(babble)) as server:
        client = client_of(server)
        async with EventConnection(client) as events:
            async for link in events:
                async for event in link:
                    types.append(event.type)
                    if event.type:
                        break
                break
        await client.close()
    assert types == ["", "", "ChannelHold"]


async def _closes_promptly(events: EventConnection, client: ARIClient, ready) -> None:
    """Run the iteration, close it once `ready()` holds, and see that it ends at once."""

    async def read() -> None:
        async for link in events:
            async for _ in link:
                pass

    reader = asyncio.create_task(read())
    await eventually(ready)
    began = time.monotonic()
    await events.close()
    await asyncio.wait_for(reader, 1)
    assert time.monotonic() - began < 0.3
    await client.close()


async def test_closing_ends_a_live_link_at_once():
    """The reader's iteration ends, without an exception."""
    async with peer(websocket(say_hold)) as server:
        client = client_of(server)
        events = EventConnection(client)
        await _closes_promptly(events, client, lambda: events._link is not None)


async def test_closing_ends_the_wait_for_the_next_try_at_once(caplog):
    """A delay of minutes does not hold up a shutdown."""

    async def unwilling(request: web.Request) -> web.StreamResponse:
        return web.Response(status=503)

    async with peer(unwilling) as server:
        client = client_of(server)
        events = EventConnection(client, first_delay=300, max_delay=300)
        await _closes_promptly(events, client, lambda: "next try" in caplog.text)


async def test_closing_ends_a_hanging_handshake_at_once():
    """Nor does a server that accepts and says nothing."""

    async def hang(request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(30)
        return web.Response()

    async with peer(hang) as server:
        client = client_of(server)
        await _closes_promptly(EventConnection(client), client, lambda: server.requests)


async def test_a_cancelled_reader_stays_cancelled():
    """Cancelling the reading task is not taken for a close."""
    async with peer(websocket(say_hold)) as server:
        client = client_of(server)
        events = EventConnection(client)
        reader = asyncio.ensure_future(anext(aiter(events)))
        await asyncio.sleep(0)
        reader.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reader
        await client.close()


async def test_real_events_arrive(client):
    """A call's StasisStart comes with what was put into it."""
    async with EventConnection(client) as events:
        async for link in events:
            channel_id = own_id("call")
            await client.originate(
                "Local/answer@lab-phone/n", channel_id=channel_id, formats="slin", app_args="x"
            )
            async with asyncio.timeout(DEADLINE):
                event = await anext(link)
                while not isinstance(event, StasisStart):
                    event = await anext(link)
            assert (event.channel.id, event.args) == (channel_id, ["x"])
            await client.hangup_channel(channel_id)
            break


async def test_a_wrong_password_on_a_real_asterisk_ends_it(lab):
    """Asterisk's own 401 is fatal."""
    client = ARIClient(lab.ari_url, lab.ari_user, "wrong")
    client.open()
    with pytest.raises(AuthenticationFailed):
        await first_event(client)
    await client.close()


async def test_asterisk_killed_and_started_again_is_served_again(fresh_lab):
    """The link ends when Asterisk dies, and comes back after its boot."""
    links = 0
    restart = None
    async with (
        ARIClient(fresh_lab.ari_url, fresh_lab.ari_user, fresh_lab.ari_password) as client,
        EventConnection(client, first_delay=0.02, max_delay=0.05) as events,
        asyncio.timeout(30),
    ):
        async for link in events:
            links += 1
            if links == 1:
                fresh_lab.kill()
                restart = asyncio.create_task(asyncio.to_thread(fresh_lab.restart))
            else:
                await client.set_event_filter(allowed=["StasisStart"])
                await client.originate(
                    "Local/answer@lab-phone/n", channel_id=own_id("call"), formats="slin"
                )
            async for event in link:
                assert isinstance(event, StasisStart)
                break
            if links == 2:
                break
        assert restart is not None
        await restart


async def test_another_program_takes_over_and_leaves(lab, client, monkeypatch, caplog):
    """The replaced one does not fight: it waits until the other has left, then serves again."""
    monkeypatch.setattr(connection, "STANDBY", 0.1)
    heard: list[list[str]] = []

    async def first() -> None:
        async for link in events:
            heard.append([])
            async for event in link:
                heard[-1].append(event.type)

    async with EventConnection(client, first_delay=0.05) as events:
        reader = asyncio.create_task(first())
        await eventually(lambda: heard)
        other = await client.events_websocket(10)
        await asyncio.sleep(0.5)  # five looks of the standby: nothing may happen in them
        assert heard == [["ApplicationReplaced"]]
        assert not other.closed
        await other.close()
        await eventually(lambda: len(heard) == 2)
        await client.originate(
            "Local/answer-0.1@lab-phone/n", channel_id=own_id("call"), formats="slin"
        )
        await eventually(lambda: "StasisEnd" in heard[1])
    await reader
    assert "another program serves application" in caplog.text
