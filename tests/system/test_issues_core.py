"""Calls, conversations and recordings in the moments at which two things happen at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.conftest import CallPlacer
from tests.system.calls import Line, talk
from tests.system.conftest import AppMaker
from tests.system.proxy import proxy_to
from tests.system.support import Collector, eventually, run_app
from voxtra import CallSession, CallState, VoxtraApp
from voxtra.ari import ARIClient
from voxtra.ari.connection import EventConnection
from voxtra.bridge import Bridge
from voxtra.exceptions import CallEnded, Conflict
from voxtra.ids import OWN_PREFIX, own_id
from voxtra.lab.pbx import Pbx
from voxtra.telephony.asterisk import AsteriskAdapter


@pytest.fixture
async def app(make_app: AppMaker) -> AsyncIterator[VoxtraApp]:
    """Run an app."""
    made = make_app()
    async with run_app(made):
        yield made


@pytest.fixture
def line(app: VoxtraApp, place_call: CallPlacer) -> Line:
    """Return a line to the app."""
    return Line(app, place_call)


async def bridges_of(app: VoxtraApp, *sessions: CallSession) -> dict[str, set[str]]:
    """Return the bridges on Asterisk that these calls are in, with everybody who is."""
    ours = {session.id for session in sessions}
    held = {bridge.id: set(bridge.channels) for bridge in await app.ari.list_bridges()}
    return {bridge_id: members for bridge_id, members in held.items() if members & ours}


# -- conversations


async def test_two_conversations_swap(app: VoxtraApp, line: Line) -> None:
    """Four people who change partners at the same moment are with whom they wanted to be."""
    a, b, c, d = await line.calls(4)
    for _ in range(5):
        for pairs in (((a, b), (c, d)), ((a, c), (b, d))):
            made = await asyncio.gather(*(one.bridge_with(other) for one, other in pairs))
            wanted = {
                bridge.id: {one.id, other.id}
                for bridge, (one, other) in zip(made, pairs, strict=True)
            }
            assert await bridges_of(app, a, b, c, d) == wanted


async def test_a_transferred_call_goes_on_to_somebody_else(app: VoxtraApp, line: Line) -> None:
    """Who answered a transfer can be given to another caller, or put together anew."""
    caller, friend = await line.calls(2)
    agent = await caller.transfer_to("Local/tone-880@lab-phone/n")
    again = await caller.bridge_with(agent)
    assert await bridges_of(app, agent) == {again.id: {caller.id, agent.id}}
    bridge = await friend.bridge_with(agent)
    await again.wait()
    assert await bridges_of(app, agent) == {bridge.id: {friend.id, agent.id}}
    await friend.hangup()
    await asyncio.wait_for(agent.wait_ended(), 5)


async def test_somebody_hangs_up_while_they_are_connected(app: VoxtraApp, line: Line) -> None:
    """A call that ends while it is put into a conversation is `CallEnded`; the other goes on."""
    for wait in range(8):
        caller, friend = await line.calls(2)

        async def hang_up(who: CallSession, after: float) -> None:
            await asyncio.sleep(after)
            await who.hangup()

        connected, _ = await asyncio.gather(
            caller.bridge_with(friend), hang_up(friend, wait * 0.0004), return_exceptions=True
        )
        assert isinstance(connected, Bridge | CallEnded)
        await asyncio.wait_for(friend.wait_ended(), 5)
        if isinstance(connected, Bridge):
            await asyncio.wait_for(connected.wait(), 5)
        assert caller.bridge is None
        assert not caller.state.is_final


async def test_a_channel_that_is_gone_is_told_from_a_bridge_that_is(app: VoxtraApp) -> None:
    """Asterisk's 400 for a channel it does not have is `CallEnded`."""
    bridge_id = own_id("bridge")
    await app.telephony.create_bridge(bridge_id)
    try:
        with pytest.raises(CallEnded):
            await app.telephony.bridge_add(bridge_id, "no-such-call")
    finally:
        await app.telephony.destroy_bridge(bridge_id)


@pytest.mark.parametrize("how", ["close", "remove", "hang up"])
async def test_the_end_of_a_conversation_that_a_call_records(
    line: Line, sink: Collector, how: str
) -> None:
    """A conversation's recording that a call has started is finished before the bridge is gone."""
    caller, friend = await line.calls(2)
    bridge = await caller.bridge_with(friend)
    name = await caller.record_start(target="bridge")
    await talk(0.3)
    if how == "close":
        await bridge.close()
    elif how == "remove":
        await bridge.remove(friend)
    else:
        await friend.hangup()
    told = await sink.next()
    assert (told.name, told.extra["state"]) == (name, "available")
    assert told.extra["end_reason"] == ("stopped" if how == "close" else "hangup")


async def test_a_key_ends_the_recording_of_a_conversation(
    app: VoxtraApp, line: Line, sink: Collector
) -> None:
    """`terminate_on` holds for a conversation too, whoever in it presses the key."""
    caller = await line.call()
    other = await app.originate("Local/dtmf-#@lab-phone/n")
    bridge = await caller.bridge_with(other)
    name = await bridge.record_start(terminate_on="#")
    told = await sink.next()
    assert (told.name, told.extra["end_reason"]) == (name, "key")
    assert not bridge.is_over


# -- calls


async def test_a_caller_who_rings_during_an_outage_is_not_answered(
    lab: Pbx, app_name: str, make_app: AppMaker, place_call: CallPlacer
) -> None:
    """A call that rings while the connection breaks rings on, and can be answered afterwards."""
    async with proxy_to(lab.ari_url) as proxy:
        client = ARIClient(proxy.url, lab.ari_user, lab.ari_password, app_name=app_name)
        resynced = asyncio.Event()

        class Adapter(AsteriskAdapter):
            async def _reconcile(self, known: set[str], *, adopt: bool) -> None:
                await super()._reconcile(known, adopt=adopt)
                resynced.set()

        adapter = Adapter(
            app_name=app_name,
            client=client,
            source=lambda ari: EventConnection(ari, first_delay=0.05),
        )
        app = make_app(telephony=adapter)
        rings: asyncio.Future[CallSession] = asyncio.get_running_loop().create_future()

        @app.default()
        async def handle(call: CallSession) -> None:
            rings.set_result(call)
            await call.wait_ended()

        async with run_app(app):
            placed = place_call(seconds=5)
            call = await asyncio.wait_for(rings, 5)
            await proxy.cut()
            await proxy.heal()
            await asyncio.wait_for(resynced.wait(), 5)
            assert call.state is CallState.RINGING
            await call.answer()
            await call.hangup()
            assert (await placed).answered


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 5, 6, 8])
async def test_a_dial_that_is_given_up_at_once_leaves_nothing(app: VoxtraApp, steps: int) -> None:
    """A dial given up while its request is on the way leaves no channel on Asterisk."""
    dial = asyncio.create_task(app.originate("Local/answer@lab-phone/n"))
    for _ in range(steps):
        await asyncio.sleep(0)
    dial.cancel()
    with pytest.raises(asyncio.CancelledError):
        await dial
    assert app.active_sessions == {}

    async def none_is_left() -> bool:
        channels = await app.ari.list_channels()
        return not [channel for channel in channels if channel.id.startswith(f"{OWN_PREFIX}call")]

    await eventually(none_is_left)


async def test_a_playback_nobody_waits_for_is_forgotten(app: VoxtraApp, line: Line) -> None:
    """Sounds that are played without waiting leave nothing behind; each can be awaited as often
    as one likes.
    """
    call = await line.call()
    unheard = [await call.play_file("digits:1", wait=False) for _ in range(3)]
    heard = await call.play_file("digits:2")
    await heard.wait()
    await unheard[0].wait()
    await call.hangup()
    await call.wait_ended()
    telephony = app.telephony
    assert isinstance(telephony, AsteriskAdapter)
    # What waits for events is nowhere else to be seen.
    await eventually(lambda: not telephony._bus._inboxes)


async def test_an_id_with_which_another_begins_is_refused(lab: Pbx) -> None:
    """Asterisk takes the id of a new channel for that of an older one which begins with it: so all
    of ours have one length.
    """
    async with ARIClient(lab.ari_url, lab.ari_user, lab.ari_password, app_name="ids") as client:
        longer = f"{own_id('call')}-10"
        socket = await client.events_websocket(10)
        await client.originate("Local/answer@lab-phone/n", channel_id=longer)
        try:
            with pytest.raises(Conflict, match="already exists"):
                await client.originate("Local/answer@lab-phone/n", channel_id=longer[:-1])
        finally:
            await client.hangup_channel(longer)
            await socket.close()
