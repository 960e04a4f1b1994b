"""Real SIP phones, with audio over RTP: who calls, who is called, who hangs up, who refuses."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from time import monotonic

import pytest

from tests.phone import (
    ANSWERS,
    CALL,
    HANG_UP,
    IS_GIVEN_UP,
    IS_HUNG_UP,
    NUMBER,
    pause,
    press,
    refuse,
    run_phone,
    talk,
)
from tests.system.calls import HEARD, UNHEARD, Heard, make_sound
from tests.system.calls import talk as talk_on
from tests.system.conftest import AppMaker
from tests.system.support import Collector, eventually, run_app
from voxtra import CallDirection, CallSession, CallState, VoxtraApp
from voxtra.exceptions import DialFailed
from voxtra.lab.pbx import Pbx

pytestmark = pytest.mark.sip

APP = "voxtra"
"""Where the lab's dialplan sends a phone that calls."""

LEFT, RIGHT = 0, 1


@pytest.fixture
async def app(make_app: AppMaker) -> AsyncIterator[VoxtraApp]:
    """Run an app that phones reach."""
    made = make_app(app_name=APP)
    async with run_app(made):
        yield made


@pytest.fixture
def pbx_at(lab: Pbx) -> str:
    """Return where phones reach Asterisk."""
    return f"127.0.0.1:{lab.sip_port}"


async def test_a_caller_hangs_up_while_he_is_recorded(
    lab: Pbx,
    app: VoxtraApp,
    pbx_at: str,
    sink: Collector,
    tmp_path: Path,
    free_port: Callable[[], int],
) -> None:
    """A phone calls, talks, presses a key and hangs up: the recording has its voice on the left up
    to the end and the prompt on the right, and the sink is told once.
    """
    prompt = make_sound(lab, "tone:880", 0.6)
    seen: dict[str, object] = {}
    times: dict[str, float] = {}

    @app.default()
    async def handle(call: CallSession) -> None:
        await call.answer()
        await call.record_start(layout="stereo")
        times["began"] = monotonic()
        await call.play_file(prompt)
        seen["digit"] = await call.listen_dtmf()
        await call.wait_ended()
        times["ended"] = monotonic()
        seen["call"] = (call.id, call.caller_id, call.called_number, call.end_cause)

    steps = (CALL, talk(tmp_path, 440), pause(1.2), press("5"), pause(0.8), HANG_UP)
    async with run_phone(tmp_path, free_port(), *steps, calls=pbx_at, number="4711") as through:
        assert await through == ""
        told = await sink.next()
        await eventually(lambda: "call" in seen)
    assert seen["call"] == (told.session_id, NUMBER, "4711", 16)
    assert seen["digit"] == "5"
    assert (told.extra["state"], told.extra["end_reason"]) == ("available", "hangup")
    heard = Heard(told)
    assert abs(heard.seconds - (times["ended"] - times["began"])) < 0.06
    assert heard.level(440, 0.3, heard.seconds - 0.1, LEFT) > HEARD
    assert heard.level(440, heard.seconds - 0.2, heard.seconds, LEFT) > HEARD
    assert heard.level(880, 0.2, 0.5, RIGHT) > HEARD
    assert heard.level(880, side=LEFT) < UNHEARD
    assert heard.level(440, side=RIGHT) < UNHEARD
    assert len(sink.received) == 1


async def test_we_hang_up_a_caller_who_is_recorded(
    app: VoxtraApp, pbx_at: str, sink: Collector, tmp_path: Path, free_port: Callable[[], int]
) -> None:
    """The phone is told of our hang-up, and the recording ends with it."""

    @app.default()
    async def handle(call: CallSession) -> None:
        await call.answer()
        await call.record_start()
        await talk_on(0.6)
        await call.hangup()

    steps = (CALL, talk(tmp_path, 440), IS_HUNG_UP)
    async with run_phone(tmp_path, free_port(), *steps, calls=pbx_at) as through:
        assert await through == ""
    told = await sink.next()
    assert (told.extra["state"], told.extra["end_reason"]) == ("available", "hangup")
    assert Heard(told).level(440, 0.2, 0.5) > HEARD


async def test_a_phone_that_we_call_is_recorded(
    app: VoxtraApp, sink: Collector, tmp_path: Path, free_port: Callable[[], int]
) -> None:
    """A phone answers our call, is heard in the recording, and is hung up by us."""
    port = free_port()
    steps = (ANSWERS, talk(tmp_path, 660), IS_HUNG_UP)
    async with run_phone(tmp_path, port, *steps) as through:
        call = await app.originate(f"PJSIP/anonymous/sip:1000@127.0.0.1:{port}")
        assert (call.direction, call.state) == (CallDirection.OUTBOUND, CallState.ANSWERED)
        await call.record_start()
        await talk_on(0.8)
        await call.record_stop()
        await call.hangup()
        assert await through == ""
    told = await sink.next()
    assert told.extra["end_reason"] == "stopped"
    assert Heard(told).level(660, 0.2, 0.7) > HEARD


async def test_a_caller_is_transferred_to_another_phone(
    app: VoxtraApp, pbx_at: str, sink: Collector, tmp_path: Path, free_port: Callable[[], int]
) -> None:
    """A transfer to a phone goes on being recorded, each voice on its side; when the caller hangs
    up, the other phone is hung up, too.
    """
    port = free_port()

    @app.default()
    async def handle(call: CallSession) -> None:
        await call.answer()
        await call.record_start(layout="stereo")
        await call.transfer_to(f"PJSIP/anonymous/sip:1000@127.0.0.1:{port}")

    friend_steps = (ANSWERS, talk(tmp_path, 660), IS_HUNG_UP)
    caller_steps = (CALL, talk(tmp_path, 440), pause(1.5), HANG_UP)
    async with (
        run_phone(tmp_path, port, *friend_steps) as friend,
        run_phone(tmp_path, free_port(), *caller_steps, calls=pbx_at) as caller,
    ):
        assert await caller == ""
        assert await friend == ""
    told = await sink.next()
    assert told.extra["end_reason"] == "hangup"
    heard = Heard(told)
    window = (heard.seconds - 0.7, heard.seconds - 0.1)
    assert heard.level(440, *window, LEFT) > HEARD
    assert heard.level(660, *window, RIGHT) > HEARD
    assert heard.level(660, *window, LEFT) < UNHEARD
    assert heard.level(440, *window, RIGHT) < UNHEARD
    await eventually(lambda: not app.active_sessions)


@pytest.mark.parametrize(
    ("status", "disposition"),
    [
        ("486 Busy Here", "busy"),
        ("603 Decline", "rejected"),
        ("404 Not Found", "unreachable"),
    ],
)
async def test_a_phone_refuses(
    app: VoxtraApp,
    tmp_path: Path,
    free_port: Callable[[], int],
    status: str,
    disposition: str,
) -> None:
    """A refusal of a phone is raised as its disposition, and leaves no call."""
    port = free_port()
    async with run_phone(tmp_path, port, refuse(status)) as through:
        with pytest.raises(DialFailed) as caught:
            await app.originate(f"PJSIP/anonymous/sip:1000@127.0.0.1:{port}")
        assert await through == ""
    assert caught.value.disposition == disposition
    assert app.active_sessions == {}


async def test_a_phone_that_nobody_picks_up(
    app: VoxtraApp, tmp_path: Path, free_port: Callable[[], int]
) -> None:
    """After the ring time the phone stops ringing, and the dial fails as not answered."""
    port = free_port()
    async with run_phone(tmp_path, port, IS_GIVEN_UP) as through:
        with pytest.raises(DialFailed) as caught:
            await app.originate(f"PJSIP/anonymous/sip:1000@127.0.0.1:{port}", timeout=1)
        assert await through == ""
    assert caught.value.disposition == "no_answer"
    assert app.active_sessions == {}
