"""The connection breaks, or Asterisk does: nothing stays stuck, and every recording is reported."""

from __future__ import annotations

import asyncio
import wave
from pathlib import Path

import pytest

from tests.system.proxy import proxy_to
from tests.system.support import Collector, eventually, run_app
from voxtra import CallSession, CallState, VoxtraApp
from voxtra.ari import ARIClient
from voxtra.ari.connection import EventConnection
from voxtra.exceptions import DialFailed
from voxtra.lab.call import place_call as place
from voxtra.lab.instance import Lab
from voxtra.telephony.asterisk import AsteriskAdapter

FLUSHED = 32_768
"""Bytes of audio that Asterisk writes at a time after a header of 44: 2.048 s at 8 kHz."""


async def recorded(call: CallSession) -> None:
    """Answer, record (extension 2000 in stereo) and stay until the end."""
    await call.answer()
    layout = "stereo" if call.called_number == "2000" else "mono"
    call.metadata["name"] = await call.record_start(layout=layout)
    call.metadata["up"] = True
    await call.wait_ended()


@pytest.mark.parametrize("fault", ["cut", "freeze"])
async def test_callers_who_hang_up_during_an_outage_are_found_out(
    lab, app_name, make_app, place_call, sink, hooks, webhook, caplog, fault
):
    """Calls that end while the network is cut or dead are told as ended, their recordings
    delivered once; a call that outlives the outage goes on.
    """
    async with proxy_to(lab.ari_url) as proxy:
        client = ARIClient(proxy.url, lab.ari_user, lab.ari_password, app_name=app_name, timeout=1)
        adapter = AsteriskAdapter(
            app_name=app_name,
            client=client,
            source=lambda ari: EventConnection(ari, first_delay=0.05, heartbeat=0.4),
        )
        app: VoxtraApp = make_app(telephony=adapter, webhook=webhook)
        hung_up: list[str] = []

        @app.default()
        async def handle(call: CallSession) -> None:
            call.on_hangup(lambda: note(call.id))
            await recorded(call)

        async def note(call_id: str) -> None:
            hung_up.append(call_id)

        async with run_app(app):
            leaving = [place_call(seconds=60) for _ in range(5)]
            staying = place_call(seconds=60, call_id=f"staying-{fault}")
            await eventually(
                lambda: sum("up" in c.metadata for c in app.active_sessions.values()) == 6
            )
            # so that every file has audio in it
            await asyncio.sleep(0.3)
            if fault == "cut":
                await proxy.cut()
            else:
                proxy.freeze()
            for call in leaving:
                call.cancel()
            await asyncio.gather(*leaving, return_exceptions=True)
            await eventually(lambda: "has ended (" in caplog.text)
            assert len(app.active_sessions) == 6
            await proxy.heal()

            told = await sink.wait_for(5, timeout=15)
            await hooks.wait_for("call.ended", 5)
            assert list(app.active_sessions) == [f"staying-{fault}"]
            survivor = app.active_sessions[f"staying-{fault}"]
            await survivor.play_file("digits:1")
            assert await survivor.record_stop() == survivor.metadata["name"]
            await survivor.hangup()
            assert (await staying).answered
            await sink.wait_for(6)
            await hooks.wait_for("call.ended", 6)
    assert len({metadata.session_id for metadata in told}) == len(sink.received) == 6
    assert len(set(hung_up)) == len(hung_up) == 6
    reasons = [metadata.extra["end_reason"] for metadata in sink.received]
    assert reasons == ["hangup"] * 5 + ["stopped"]
    assert all(metadata.extra["state"] == "available" for metadata in sink.received)


async def test_a_caller_who_comes_while_the_network_is_dead_is_served(
    lab, app_name, make_app, place_call, caplog
):
    """A call that Asterisk put into the application while no event came through waits, and is taken
    when the connection is back.
    """
    async with proxy_to(lab.ari_url) as proxy:
        client = ARIClient(proxy.url, lab.ari_user, lab.ari_password, app_name=app_name, timeout=1)
        app: VoxtraApp = make_app(
            telephony=AsteriskAdapter(
                app_name=app_name,
                client=client,
                source=lambda ari: EventConnection(ari, first_delay=0.05, heartbeat=0.4),
            )
        )
        served: list[str] = []

        @app.default()
        async def handle(call: CallSession) -> None:
            await call.answer()
            served.append(call.id)

        async with (
            run_app(app),
            ARIClient(lab.ari_url, lab.ari_user, lab.ari_password, app_name=app_name) as direct,
        ):
            proxy.freeze()
            calling = place_call(seconds=30, call_id="came-meanwhile")

            async def waits() -> bool:
                return "came-meanwhile" in (await direct.get_application()).channel_ids

            await eventually(waits)
            await eventually(lambda: "has ended (" in caplog.text)
            assert served == []
            await proxy.heal()
            assert (await calling).answered
            await eventually(lambda: not app.active_sessions)
    assert served == ["came-meanwhile"]


async def test_an_asterisk_that_crashes_takes_no_recording_with_it(fresh_lab: Lab):
    """Asterisk is killed in mid-recording and started again: its calls are over, what it had
    written is repaired and reported as lost by the PBX with the seconds missing, and the app
    serves on.
    """
    sink = Collector()
    app = VoxtraApp(
        fresh_lab.ari_url,
        fresh_lab.ari_user,
        fresh_lab.ari_password,
        reconnect_interval=0.1,
        recording_dir=fresh_lab.recording_dir,
        recording_sink=sink,
    )
    hung_up: list[str] = []

    @app.default()
    async def handle(call: CallSession) -> None:
        @call.on_hangup
        async def note() -> None:
            hung_up.append(call.id)

        await recorded(call)

    def size(call_id: str) -> int:
        call = app.get_session(call_id)
        if call is None or "name" not in call.metadata:
            return -1
        return (fresh_lab.recording_dir / f"{call.metadata['name']}.wav").stat().st_size

    async with run_app(app):
        calls = [
            asyncio.create_task(place(fresh_lab, call_id="both", seconds=60, to="2000")),
            asyncio.create_task(place(fresh_lab, call_id="long", seconds=60)),
        ]
        await eventually(lambda: size("long") >= FLUSHED)
        calls.append(asyncio.create_task(place(fresh_lab, call_id="short", seconds=60)))
        await eventually(lambda: size("short") >= 0)
        # what of this second is lost is measured below
        await asyncio.sleep(0.5)
        await asyncio.to_thread(fresh_lab.kill)
        await asyncio.gather(*calls, return_exceptions=True)
        await asyncio.to_thread(fresh_lab.restart)

        told = {m.session_id: m for m in await sink.wait_for(3, timeout=15)}
        await eventually(lambda: sorted(hung_up) == ["both", "long", "short"])
        assert app.active_sessions == {}
        served = await place(fresh_lab, seconds=1)
        assert served.answered
        await sink.wait_for(4)

    long, both, short = told["long"], told["both"], told["short"]
    assert {m.extra["end_reason"] for m in (long, both, short)} == {"pbx_lost"}
    assert long.extra["state"] == "available"
    assert long.extra["repaired"]
    with wave.open(long.file_path) as file:
        assert file.getnframes() == long.extra["samples"] == FLUSHED // 2
    assert long.duration_seconds == FLUSHED / 2 / 8000
    assert 0.3 < long.extra["lost_seconds"] < 2.1
    assert (both.extra["state"], both.extra["channels"]) == ("available", 2)
    assert both.duration_seconds == FLUSHED / 2 / 8000
    assert 0.3 < both.extra["lost_seconds"] < 2.1
    assert short.extra["state"] == "failed"
    assert short.extra["cause"]
    assert Path(short.file_path).exists()
    assert 0.4 < short.extra["lost_seconds"] < 2.1
    assert sink.received[3].extra["end_reason"] == "hangup"
    assert len(sink.received) == 4


async def test_a_restart_in_good_order_loses_nothing(fresh_lab: Lab):
    """An Asterisk that is stopped properly finishes its files first: they are whole and reported as
    ended by the hang-up.
    """
    sink = Collector()
    app = VoxtraApp(
        fresh_lab.ari_url,
        fresh_lab.ari_user,
        fresh_lab.ari_password,
        reconnect_interval=0.1,
        recording_dir=fresh_lab.recording_dir,
        recording_sink=sink,
    )
    app.default(recorded)
    async with run_app(app):
        calls = [asyncio.create_task(place(fresh_lab, seconds=60)) for _ in range(5)]
        await eventually(
            lambda: sum("up" in call.metadata for call in app.active_sessions.values()) == 5
        )
        # so that every file has audio in it
        await asyncio.sleep(0.3)
        await asyncio.to_thread(fresh_lab.restart)
        await asyncio.gather(*calls, return_exceptions=True)
        await sink.wait_for(5, timeout=15)
        await eventually(lambda: not app.active_sessions)

        async def answered() -> bool:
            return (await place(fresh_lab, seconds=0.1)).answered

        await eventually(answered, timeout=10)
        await sink.wait_for(6)
    assert len({metadata.session_id for metadata in sink.received}) == 6
    for metadata in sink.received[:5]:
        assert metadata.extra["state"] == "available"
        assert metadata.extra["end_reason"] == "hangup"
        assert not metadata.extra["repaired"]
        assert metadata.duration_seconds is not None
        assert metadata.duration_seconds > 0.2


async def test_a_call_ends_for_its_handler_when_asterisk_dies(fresh_lab: Lab):
    """A handler that waits for a key, and a dial that rings, are let go when an Asterisk that died
    is back.
    """
    app = VoxtraApp(
        fresh_lab.ari_url,
        fresh_lab.ari_user,
        fresh_lab.ari_password,
        reconnect_interval=0.1,
        recording_dir=fresh_lab.recording_dir,
    )
    waiting, done = asyncio.Event(), asyncio.Event()
    states: list[CallState] = []

    @app.default()
    async def handle(call: CallSession) -> None:
        await call.answer()
        await call.play_file("tone:ring", wait=False)
        waiting.set()
        assert await call.listen_dtmf(4, timeout=60) == ""
        states.append(call.state)
        done.set()

    async with run_app(app):
        call = asyncio.create_task(place(fresh_lab, seconds=60))
        dial = asyncio.create_task(app.originate("Local/noanswer@lab-phone/n", timeout=30))
        await asyncio.wait_for(waiting.wait(), 5)
        await eventually(lambda: len(app.active_sessions) == 2)
        await asyncio.to_thread(fresh_lab.kill)
        await asyncio.gather(call, return_exceptions=True)
        await asyncio.to_thread(fresh_lab.restart)
        await asyncio.wait_for(done.wait(), 10)
        with pytest.raises(DialFailed):
            await asyncio.wait_for(dial, 10)
        await eventually(lambda: not app.active_sessions)
    assert states == [CallState.COMPLETED]
