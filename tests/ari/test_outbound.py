"""The events websocket that Asterisk opens to us: who may, and nothing lost while we are away."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import aiohttp
import pytest

from voxtra.ari import ARIClient
from voxtra.ari.connection import Link
from voxtra.ari.outbound import OutboundListener
from voxtra.ari.schema import (
    ApplicationRegistered,
    ChannelHold,
    Event,
    RecordingFinished,
    RecordingStarted,
    StasisEnd,
    StasisStart,
)
from voxtra.exceptions import ConfigurationError
from voxtra.ids import own_id
from voxtra.lab.instance import Lab

from .calls import DEADLINE, eventually

USER, PASSWORD = "asterisk", "pa:ss w/örd"
HOLD = '{"type":"ChannelHold","channel":{"id":"c"}}'


def listener(port: int = 0) -> OutboundListener:
    """Make a listener on a free port of loopback."""
    return OutboundListener(port=port, username=USER, password=PASSWORD)


@asynccontextmanager
async def dialled(events: OutboundListener, *, user=USER, password=PASSWORD, protocols=("ari",)):
    """Connect as Asterisk does."""
    headers = {"Authorization": aiohttp.encode_basic_auth(user, password, "utf-8")}
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.ws_connect(
            events.url, protocols=protocols, timeout=aiohttp.ClientWSTimeout(ws_close=0.2)
        ) as socket,
    ):
        yield socket


async def next_link(links) -> Link:
    """Return the next link within the deadline."""
    return await asyncio.wait_for(anext(links), DEADLINE)


async def test_a_connection_is_a_link():
    """Its events are typed, and it ends when the other side goes."""
    async with listener() as events, dialled(events) as socket:
        link = await next_link(aiter(events))
        await socket.send_str(HOLD)
        assert isinstance(await anext(link), ChannelHold)
        assert socket.protocol == "ari"
        closing = asyncio.create_task(socket.close())
        assert [event async for event in link] == []
        await closing
        assert link.ending == "closed with code 1000"


@pytest.mark.parametrize(
    ("credentials", "status"),
    [
        ({"password": "wrong"}, 401),
        ({"user": "other"}, 401),
        ({"password": ""}, 401),
        ({"protocols": ()}, 400),
        ({"protocols": ("media",)}, 400),
    ],
)
async def test_who_may_not_is_refused(credentials, status, caplog):
    """A wrong user, password or protocol is answered with an error, logged, and gives no link."""
    async with listener() as events:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            async with dialled(events, **credentials):
                pass
        assert refused.value.status == status
        assert caplog.records
        assert PASSWORD not in caplog.text
        async with dialled(events) as socket:
            await socket.send_str(HOLD)
            assert isinstance(await anext(await next_link(aiter(events))), ChannelHold)


async def test_no_credentials_at_all_are_refused():
    """Without an Authorization header there is no link either."""
    async with listener() as events, aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.WSServerHandshakeError, match="401"):
            await session.ws_connect(events.url, protocols=("ari",))


async def test_a_new_connection_ends_the_one_before():
    """Asterisk connects again when it has lost a connection that we still think alive."""
    async with listener() as events:
        links = aiter(events)
        async with dialled(events):
            old = await next_link(links)
            async with dialled(events) as socket:
                await socket.send_str(HOLD)
                assert [event async for event in old] == []
                new = await next_link(links)
                assert isinstance(await anext(new), ChannelHold)


async def test_closing_ends_link_and_iteration():
    """Close wakes the reader, and closing twice is fine."""
    events = listener()
    await events.start()

    async def read() -> None:
        async for link in events:
            up.set()
            async for _ in link:
                pass

    up = asyncio.Event()
    reader = asyncio.create_task(read())
    async with dialled(events):
        await asyncio.wait_for(up.wait(), DEADLINE)
        closing = asyncio.create_task(events.close())
        await asyncio.wait_for(reader, DEADLINE)
    await closing
    await events.close()


async def test_a_taken_port_is_an_error():
    """Starting a second listener on the same port fails and leaves nothing open."""
    async with listener() as events:
        with pytest.raises(OSError, match="address already in use"):
            await listener(events.port).start()


@pytest.mark.parametrize(("user", "password"), [("", "p"), ("u", "")])
def test_no_listener_without_a_password(user, password):
    """Events may not come from just anybody."""
    with pytest.raises(ConfigurationError, match=r"websocket_client\.conf"):
        OutboundListener(username=user, password=password)


def test_the_repr_hides_the_password():
    """A listener can be logged, and is on loopback unless told otherwise."""
    text = repr(OutboundListener(username=USER, password=PASSWORD))
    assert text == "<OutboundListener ws://127.0.0.1:8099/events>"


async def _until(events: OutboundListener, kind: type[Event]) -> list[Event]:
    """Read events up to the first of a type."""
    seen: list[Event] = []
    async with asyncio.timeout(DEADLINE):
        async for link in events:
            async for event in link:
                seen.append(event)
                if isinstance(event, kind):
                    return seen
    raise AssertionError("the iteration ended")


@pytest.mark.asterisk
async def test_nothing_is_lost_while_we_are_away():
    """A whole recorded call while nobody listens is told afterwards, in order, dated as it was."""
    app = "wire-outbound"
    events = listener()
    await events.start()
    lab = await asyncio.to_thread(
        Lab.start,
        name="wire-outbound",
        outbound_ws=events.url,
        apps=[app],
        outbound_user=USER,
        outbound_password=PASSWORD,
    )
    with lab:
        async with ARIClient(lab.ari_url, lab.ari_user, lab.ari_password, app_name=app) as client:
            await _until(events, ApplicationRegistered)
            await events.close()

            channel_id, name = own_id("call"), own_id("rec")
            await client.originate(
                "Local/tone-440@lab-phone/n", channel_id=channel_id, formats="slin"
            )
            await eventually(lambda: _in_stasis(client, channel_id))
            await client.record_channel(channel_id, name, fmt="wav")
            await asyncio.sleep(2)  # the time we are away
            await client.hangup_channel(channel_id)

            async with listener(events.port) as back:
                told = await _until(back, StasisEnd)
    about_us = [event for event in told if channel_id in event.keys()]  # noqa: SIM118  # no dict
    assert [
        event.type
        for event in about_us
        if event.type
        in {
            "StasisStart",
            "RecordingStarted",
            "RecordingFinished",
            "StasisEnd",
        }
    ] == ["StasisStart", "RecordingStarted", "RecordingFinished", "StasisEnd"]
    stamps = [event.timestamp for event in about_us]
    assert stamps == sorted(stamps)
    assert _seconds(stamps[-1]) - _seconds(stamps[0]) >= 2
    assert {StasisStart, RecordingStarted, RecordingFinished} <= {type(event) for event in told}


async def _in_stasis(client: ARIClient, channel_id: str) -> bool:
    return (await client.get_channel(channel_id)).dialplan.app_name == "Stasis"


def _seconds(timestamp: str) -> float:
    """Return the seconds of the day in Asterisk's timestamp."""
    hours, minutes, seconds = timestamp[11:23].split(":")
    return int(hours) * 3600 + int(minutes) * 60 + float(seconds)
