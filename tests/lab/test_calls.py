"""Calls without a phone, the far ends of the lab's dialplan, and real SIP phones."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TypeVar

import aiohttp
import numpy as np
import pytest
import soundfile
from aiohttp import web

from tests.conftest import faults_of
from tests.phone import ANSWERS, CALL, HANG_UP, IS_HUNG_UP, run_phone
from voxtra.ari import ARIClient
from voxtra.ari.decode import decode
from voxtra.ari.schema import (
    ChannelDestroyed,
    ChannelDtmfReceived,
    ChannelStateChange,
    Event,
    RecordingFinished,
    StasisEnd,
    StasisStart,
)
from voxtra.exceptions import NotFound
from voxtra.lab import call, config, sound
from voxtra.lab.errors import LabError
from voxtra.lab.instance import Lab
from voxtra.lab.pbx import OwnPbx, Pbx

pytestmark = pytest.mark.asterisk

CallPlacer = Callable[..., asyncio.Task[call.PlacedCall]]
Kind = TypeVar("Kind", bound=Event)
DEADLINE = 10


class Listener:
    """An application on the events websocket that waits for one kind of event after another."""

    def __init__(self, client: ARIClient, events: aiohttp.ClientWebSocketResponse) -> None:
        self.client = client
        self._events = events

    async def next(self, kind: type[Kind]) -> Kind:
        """Return the next event of this kind; those between are left out."""
        async with asyncio.timeout(DEADLINE):
            while True:
                event = decode((await self._events.receive()).data)
                if isinstance(event, kind):
                    return event


@contextlib.asynccontextmanager
async def listener(pbx: Pbx, app: str) -> AsyncIterator[Listener]:
    """Serve an application."""
    async with ARIClient(pbx.ari_url, pbx.ari_user, pbx.ari_password, app_name=app) as client:
        events = await client.events_websocket(heartbeat=10)
        try:
            yield Listener(client, events)
        finally:
            await events.close()


@pytest.fixture
async def app(lab: Pbx, app_name: str) -> AsyncIterator[Listener]:
    """Serve the test's application."""
    async with listener(lab, app_name) as served:
        yield served


def hertz_and_level(path: Path) -> tuple[float, float]:
    """Return the loudest frequency of a file and its RMS level, of full scale."""
    samples, rate = soundfile.read(path)
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return float(np.argmax(spectrum) * rate / len(samples)), float(np.sqrt(np.mean(samples**2)))


async def record(app: Listener, pbx: Pbx, channel_id: str, seconds: float) -> tuple[float, float]:
    """Record what comes from a channel and return its frequency and level."""
    name = f"lab-{channel_id}"
    await app.client.record_channel(channel_id, name, fmt="wav")
    await asyncio.sleep(seconds)  # the length of the sample, not a wait for something
    await app.client.stop_recording(name)
    await app.next(RecordingFinished)
    return hertz_and_level(pbx.recording_dir / f"{name}.wav")


async def test_a_placed_call_says_its_tone(lab: Pbx, app: Listener, place_call: CallPlacer) -> None:
    """The application hears the caller's tone at the level it was made with."""
    calling = place_call(to="1234", say="tone:700", seconds=5, caller='"Ann" <+33123>')
    start = await app.next(StasisStart)
    assert start.channel.dialplan.exten == "1234"
    assert start.channel.caller.number == "+33123"
    assert start.channel.caller.name == "Ann"
    await app.client.answer_channel(start.channel.id)
    hertz, level = await record(app, lab, start.channel.id, 0.6)
    assert hertz == pytest.approx(700, abs=5)
    assert level == pytest.approx(10 ** (sound.LEVEL / 20) / np.sqrt(2), rel=0.1)
    await app.client.hangup_channel(start.channel.id)
    ended = await calling
    assert ended.answered
    assert ended.call_id == start.channel.id
    assert ended.seconds < 5


async def test_a_placed_call_lasts_as_long_as_asked(app: Listener, place_call: CallPlacer) -> None:
    """The caller hangs up by itself after its time."""
    calling = place_call(say="silence", seconds=1.5)
    await app.client.answer_channel((await app.next(StasisStart)).channel.id)
    ended = await calling
    assert ended.seconds == pytest.approx(1.5, abs=0.25)


async def test_cancelling_a_placed_call_hangs_up(app: Listener, place_call: CallPlacer) -> None:
    """A cancelled call is gone from Asterisk on both sides."""
    calling = place_call(seconds=60, call_id="cancelled-call")
    start = await app.next(StasisStart)
    assert start.channel.id == "cancelled-call"
    await app.client.answer_channel(start.channel.id)
    await app.next(ChannelStateChange)
    calling.cancel()
    await app.next(StasisEnd)
    with pytest.raises(asyncio.CancelledError):
        await calling
    with pytest.raises(NotFound):
        await app.client.get_channel(start.channel.id)


async def test_a_call_nobody_serves_ends_with_cause_42(place_call: CallPlacer) -> None:
    """Without its application a call is refused at once and with a cause."""
    ended = await place_call(app="nobody-serves-this")
    assert not ended.answered
    assert ended.cause == 42


async def test_a_call_that_is_not_answered_gives_up(app: Listener, place_call: CallPlacer) -> None:
    """The caller stops ringing after its patience."""
    ended = await place_call(ring_seconds=1)
    assert not ended.answered
    assert (await app.next(StasisStart)).channel.id == ended.call_id


@pytest.mark.parametrize("to", ["", "h", "1000@default", "a/b", "10 00"])
async def test_what_is_no_extension_is_not_called(lab: Pbx, app_name: str, to: str) -> None:
    """An extension that the dialplan can't have is refused with what to give."""
    with pytest.raises(LabError, match=r"can't be called; give a number"):
        await call.place_call(lab, to=to, app=app_name)


async def test_a_wrong_sound_places_no_call(lab: Pbx, app_name: str) -> None:
    """The sound is checked before anybody is called."""
    with pytest.raises(LabError, match="tone:440"):
        await call.place_call(lab, say="music", app=app_name)


@pytest.mark.parametrize("to", ["1", "+33123456789", "*98", "bob", "sales-team_2", "Zoe.x"])
async def test_any_number_and_any_name_reaches_the_application(
    app: Listener, place_call: CallPlacer, to: str
) -> None:
    """Digits, +, * and names are all extensions of the context `default`."""
    calling = place_call(to=to)
    start = await app.next(StasisStart)
    assert start.channel.dialplan.exten == to
    await app.client.hangup_channel(start.channel.id)
    await calling


@pytest.mark.parametrize(
    ("extension", "cause"), [("busy", 17), ("reject", 21), ("congestion", 34), ("unallocated", 1)]
)
async def test_far_ends_that_refuse(app: Listener, extension: str, cause: int) -> None:
    """Each refusing extension ends the dialled call with its cause."""
    await app.client.originate(
        f"Local/{extension}@lab-phone/n", formats="slin", channel_id="refused"
    )
    assert (await app.next(ChannelDestroyed)).cause == cause


async def test_a_far_end_that_never_answers(app: Listener) -> None:
    """`noanswer` rings until the caller gives up."""
    await app.client.originate(
        "Local/noanswer@lab-phone/n", formats="slin", channel_id="rings", timeout=1
    )
    assert (await app.next(ChannelStateChange)).channel.state == "Ringing"
    assert (await app.next(ChannelDestroyed)).cause == 19


@pytest.mark.parametrize(
    ("dialled", "hertz"),
    [
        ("tone-880@lab-phone", 880),
        ("ring-1@lab-phone", 440),
        ("support@agent-queues", 660),
    ],
)
async def test_far_ends_that_answer_with_a_tone(
    lab: Pbx, app: Listener, app_name: str, dialled: str, hertz: int
) -> None:
    """A far end that answers is heard at its frequency."""
    channel = f"{app_name}-{hertz}"
    await app.client.originate(f"Local/{dialled}/n", formats="slin", channel_id=channel)
    await app.next(StasisStart)
    heard, _ = await record(app, lab, channel, 0.6)
    assert heard == pytest.approx(hertz, abs=5)
    await app.client.hangup_channel(channel)


async def test_a_far_end_that_answers_and_hangs_up(app: Listener) -> None:
    """`answer-<seconds>` ends the call itself, normally."""
    await app.client.originate("Local/answer-1@lab-phone/n", formats="slin", channel_id="brief")
    await app.next(StasisStart)
    loop = asyncio.get_running_loop()
    begin = loop.time()
    assert (await app.next(ChannelDestroyed)).cause == 16
    assert loop.time() - begin == pytest.approx(1, abs=0.3)


async def test_a_far_end_that_presses_keys(app: Listener) -> None:
    """`dtmf-<digits>` presses its digits in order."""
    await app.client.originate("Local/dtmf-1*#@lab-phone/n", formats="slin", channel_id="keys")
    pressed = [(await app.next(ChannelDtmfReceived)).digit for _ in range(3)]
    assert pressed == ["1", "*", "#"]
    await app.client.hangup_channel("keys")


async def test_hold_music_and_echo(lab: Pbx, app: Listener, app_name: str) -> None:
    """Music on hold plays its tone, which the far end `echo` sends back."""
    channel = f"{app_name}-held"
    await app.client.originate("Local/echo@lab-phone/n", formats="slin", channel_id=channel)
    await app.next(StasisStart)
    await app.client.moh_start(channel)
    heard, _ = await record(app, lab, channel, 1.0)
    assert heard == pytest.approx(config.HOLD_HZ, abs=5)
    await app.client.hangup_channel(channel)


async def test_an_asterisk_of_ones_own(
    fresh_lab: Lab, app_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tests run on any Asterisk that the environment names, sounds included."""
    monkeypatch.setenv("VOXTRA_TEST_ARI_URL", fresh_lab.ari_url)
    monkeypatch.setenv("VOXTRA_TEST_ARI_USER", fresh_lab.ari_user)
    monkeypatch.setenv("VOXTRA_TEST_ARI_PASSWORD", fresh_lab.ari_password)
    monkeypatch.setenv("VOXTRA_TEST_RECORDING_DIR", str(fresh_lab.recording_dir))
    monkeypatch.setenv("VOXTRA_TEST_SIP_PORT", str(fresh_lab.sip_port))
    own = OwnPbx.from_environment()
    assert own is not None
    assert own.sip_port == fresh_lab.sip_port
    assert await faults_of(own) == []
    assert fresh_lab.ari_password not in repr(own)
    async with listener(own, app_name) as app:
        calling = asyncio.create_task(
            call.place_call(own, say="tone:600", seconds=2.5, app=app_name)
        )
        start = await app.next(StasisStart)
        await app.client.answer_channel(start.channel.id)
        hertz, _ = await record(app, own, start.channel.id, 0.6)
        assert hertz == pytest.approx(600, abs=5)
        await calling
    shutil.rmtree(own.sounds_dir)


async def test_asterisk_connects_to_us(app_name: str) -> None:
    """With an outbound websocket Asterisk comes to us, logs in and brings the calls."""
    frames: asyncio.Queue[tuple[str, str, str]] = asyncio.Queue()

    async def serve(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(protocols=["ari"])
        await socket.prepare(request)
        async for message in socket:
            event = decode(message.data)
            login = request.headers.get("Authorization", "")
            await frames.put((type(event).__name__, event.application, login))
        return socket

    server = web.Application()
    server.router.add_get("/events", serve)
    runner = web.AppRunner(server)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    lab = await asyncio.to_thread(
        Lab.start,
        outbound_ws=f"ws://127.0.0.1:{port}/events",
        apps=[app_name],
        outbound_user="pbx",
        outbound_password="s3cret",
    )
    try:
        seen = [await asyncio.wait_for(frames.get(), DEADLINE)]
        login = base64.b64encode(b"pbx:s3cret").decode()
        assert seen == [("ApplicationRegistered", app_name, f"Basic {login}")]
        calling = asyncio.create_task(call.place_call(lab, app=app_name, ring_seconds=1))
        while seen[-1][0] != "StasisStart":
            seen.append(await asyncio.wait_for(frames.get(), DEADLINE))
        assert not (await calling).answered
        assert "s3cret" not in repr(lab.settings)
    finally:
        await asyncio.to_thread(lab.stop)
        await runner.cleanup()


@pytest.mark.sip
async def test_a_sip_phone_calls_in(
    fresh_lab: Lab, free_port: Callable[[], int], tmp_path: Path
) -> None:
    """A phone calls without a password, reaches the application and is answered over loopback."""
    place = f"127.0.0.1:{fresh_lab.sip_port}"
    async with (
        listener(fresh_lab, "voxtra") as app,
        run_phone(tmp_path, free_port(), CALL, HANG_UP, calls=place) as through,
    ):
        start = await app.next(StasisStart)
        assert start.channel.dialplan.exten == "1000"
        assert start.channel.name.startswith("PJSIP/anonymous-")
        await app.client.answer_channel(start.channel.id)
        assert (await app.next(StasisEnd)).channel.id == start.channel.id
        assert await through == ""


@pytest.mark.sip
@pytest.mark.parametrize("endpoint", ["phone-a", "anonymous"])
async def test_a_sip_phone_is_called(
    fresh_lab: Lab, free_port: Callable[[], int], tmp_path: Path, endpoint: str
) -> None:
    """A phone at a given port of this machine can be dialled and answers."""
    port = free_port()
    async with (
        listener(fresh_lab, "voxtra") as app,
        run_phone(tmp_path, port, ANSWERS, IS_HUNG_UP) as through,
    ):
        await app.client.originate(f"PJSIP/{endpoint}/sip:1000@127.0.0.1:{port}", channel_id="out")
        assert (await app.next(StasisStart)).channel.state == "Up"
        await app.client.hangup_channel("out")
        await app.next(ChannelDestroyed)
        assert await through == ""
