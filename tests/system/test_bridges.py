"""Recordings of conversations: the same verbs as a call's, and an end in good order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.conftest import CallPlacer
from tests.system.calls import FRAMES, HEARD, UNHEARD, Heard, Line, talk
from tests.system.conftest import AppMaker
from tests.system.support import Collector, eventually, run_app
from voxtra import CallSession, VoxtraApp
from voxtra.bridge import Bridge
from voxtra.exceptions import NotFound, RecordingActive, RecordingError
from voxtra.ids import new_id
from voxtra.lab.pbx import Pbx


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


async def converse(line: Line) -> tuple[CallSession, CallSession, Bridge]:
    """Return two callers, of 440 and 660 Hz, and their conversation."""
    caller, friend = await asyncio.gather(line.call(), line.call(say="tone:660"))
    return caller, friend, await caller.bridge_with(friend)


async def is_gone(app: VoxtraApp, bridge: Bridge) -> bool:
    """Tell whether Asterisk has the bridge no more."""
    try:
        await app.ari.get_bridge(bridge.id)
    except NotFound:
        return True
    return False


async def test_both_voices(line: Line, sink: Collector) -> None:
    """The recording of a conversation holds everybody in it, and belongs to the call that began
    it.
    """
    caller, _, bridge = await converse(line)
    name = await bridge.record_start()
    assert bridge.recording is not None
    await talk(1.0)
    assert await bridge.record_stop() == name
    told = await sink.next()
    heard = Heard(told)
    assert (told.session_id, told.extra["target"]) == (caller.id, "bridge")
    assert heard.level(440, 0.2, 0.8) > HEARD
    assert heard.level(660, 0.2, 0.8) > HEARD
    assert bridge.recording is None


async def test_from_the_call(line: Line, sink: Collector) -> None:
    """A call records its conversation with `target="bridge"`; one that is in none says so."""
    caller, friend, bridge = await converse(line)
    name = await caller.record_start(target="bridge")
    with pytest.raises(RecordingActive, match=name):
        await bridge.record_start()
    with pytest.raises(RecordingActive, match=name):
        await caller.record_start()
    both = await friend.record_start()
    await talk(0.3)
    assert await caller.record_stop() == name
    assert await friend.record_stop() == both
    told = {each.name: each for each in await sink.wait_for(2)}
    assert told[name].extra["target"] == "bridge"
    alone = await line.call()
    with pytest.raises(ValueError, match="bridge_with"):
        await alone.record_start(target="bridge")
    with pytest.raises(ValueError, match='target="bridge"'):
        await bridge.record_start(target="channel")


async def test_live_operations(line: Line, sink: Collector) -> None:
    """A pause cuts, a mute is silence in place, also when asked twice, as on a call."""
    _, _, bridge = await converse(line)
    await bridge.record_start()
    await talk(0.5)
    await bridge.record_pause()
    await bridge.record_pause()
    await talk(0.5)
    await bridge.record_resume()
    await talk(0.5)
    await bridge.record_mute()
    await bridge.record_mute()
    await talk(0.5)
    await bridge.record_unmute()
    await talk(0.5)
    await bridge.record_stop()
    heard = Heard(await sink.next())
    assert abs(heard.seconds - 2.0) < 0.12
    assert heard.level(440, 0.1, 0.4) > HEARD
    assert heard.level(660, 0.6, 0.9) > HEARD
    assert heard.peak(1.15, 1.4) == 0
    assert heard.level(660, 1.65, 1.9) > HEARD


async def test_stops_and_starts(line: Line, sink: Collector) -> None:
    """Stops at once are one stop; starts and stops in a row leave nothing running."""
    _, _, bridge = await converse(line)
    name = await bridge.record_start(f"a name/with 100%? #{new_id()}")
    await talk(0.2)
    assert await asyncio.gather(*(bridge.record_stop() for _ in range(4))) == [name] * 4
    assert await bridge.record_stop() is None
    names = [name]
    for _ in range(10):
        names.append(await bridge.record_start())
        await bridge.record_stop()
    assert sorted(told.name for told in await sink.wait_for(11)) == sorted(names)


async def test_cancel(lab: Pbx, line: Line, sink: Collector) -> None:
    """A cancelled recording of a conversation leaves no file and tells no sink."""
    _, _, bridge = await converse(line)
    name = await bridge.record_start()
    await talk(0.2)
    await bridge.record_cancel()
    assert list(lab.recording_dir.glob(f"{name}*")) == []
    with pytest.raises(RecordingError):
        await bridge.record_cancel()
    last = await bridge.record_start()
    await talk(0.2)
    await bridge.record_stop()
    assert (await sink.next()).name == last


async def test_longest(line: Line, sink: Collector) -> None:
    """`max_duration` ends the recording of a conversation, which goes on."""
    _, _, bridge = await converse(line)
    await bridge.record_start(max_duration=1)
    told = await sink.next()
    assert told.duration_seconds is not None
    assert 1.0 < told.duration_seconds <= 2.0 + FRAMES
    assert told.extra["end_reason"] == "max_duration"
    assert len(bridge.members) == 2


@pytest.mark.parametrize("who", [0, 1])
async def test_one_hangs_up(app: VoxtraApp, line: Line, sink: Collector, who: int) -> None:
    """When one of two hangs up, the recording is finished, told once, and the bridge destroyed
    after that; the one who is left is free.
    """
    callers: Any = await converse(line)
    *sessions, bridge = callers
    name = await bridge.record_start()
    await talk(0.5)
    await sessions[who].hangup()
    told = await sink.next()
    await asyncio.wait_for(bridge.wait(), 5)
    assert (told.name, told.extra["state"]) == (name, "available")
    assert told.extra["end_reason"] == "hangup"
    assert Heard(told).level(440, 0.1, 0.4) > HEARD
    await eventually(lambda: is_gone(app, bridge))
    assert bridge.recording is None
    left = sessions[1 - who]
    assert left.bridge is None
    await left.record_start()
    await left.record_stop()
    assert [each.name for each in sink.received].count(name) == 1


async def test_both_hang_up(app: VoxtraApp, line: Line, sink: Collector) -> None:
    """When all hang up at the same moment, the recording is told once, and the bridge destroyed."""
    caller, friend, bridge = await converse(line)
    name = await bridge.record_start()
    await talk(0.3)
    await asyncio.gather(caller.hangup(), friend.hangup())
    await asyncio.wait_for(bridge.wait(), 5)
    told = await sink.next()
    assert (told.name, told.extra["state"]) == (name, "available")
    await eventually(lambda: is_gone(app, bridge))
    assert len(sink.received) == 1


async def test_close(app: VoxtraApp, line: Line, sink: Collector) -> None:
    """Closing a conversation finishes its recording first; the calls go on, each by itself."""
    caller, friend, bridge = await converse(line)
    await bridge.record_start()
    await talk(0.3)
    await bridge.close()
    assert (await sink.next()).extra["end_reason"] == "stopped"
    # Asterisk dissolves a bridge after it has answered the request.
    await eventually(lambda: is_gone(app, bridge))
    with pytest.raises(NotFound):
        await bridge.record_start()
    for call in (caller, friend):
        assert call.bridge is None
        await call.record_start()
        await talk(0.2)
        await call.record_stop()
    tones = [Heard(await sink.next()) for _ in range(2)]
    assert [tone.level(440) > HEARD for tone in tones] == [True, False]
    assert tones[0].level(660) < UNHEARD
