"""Two programs of one application's name: the newest gets the calls, the older one loses none."""

from __future__ import annotations

import asyncio

from tests.system.support import eventually, run_app
from voxtra import ARIClient, CallSession, VoxtraApp
from voxtra.ari.decode import decode
from voxtra.ari.schema import StasisStart
from voxtra.lab.call import PlacedCall
from voxtra.telephony import asterisk, playback


async def test_the_first_instance_serves_again_when_the_second_has_left(
    make_app, place_call, caplog
):
    """A second instance takes the calls over; the first says so, and serves again after the second
    has stopped.
    """
    served: list[str] = []

    def instance(name: str) -> VoxtraApp:
        app: VoxtraApp = make_app()

        @app.default()
        async def handle(call: CallSession) -> None:
            served.append(name)
            await call.answer()

        return app

    async with run_app(instance("first")):
        assert (await place_call(seconds=30)).answered
        async with run_app(instance("second")):
            await eventually(lambda: "another program serves" in caplog.text)
            assert (await place_call(seconds=30)).answered
        await eventually(lambda: caplog.text.count("is free again") == 1, timeout=10)

        async def call_again() -> bool:
            placed: PlacedCall = await place_call(seconds=30)
            return placed.answered

        await eventually(call_again)
    assert served == ["first", "second", "first"]


async def test_the_first_serves_again_while_a_call_of_its_own_goes_on(make_app, place_call, caplog):
    """When the second instance leaves, new callers don't wait for the first one's calls to end."""
    first: VoxtraApp = make_app()

    @first.default()
    async def handle(call: CallSession) -> None:
        await call.answer()
        await call.wait_ended()

    async with run_app(first):
        staying = place_call(seconds=60, call_id="takeover-long")
        await eventually(lambda: "takeover-long" in first.active_sessions)
        async with run_app(make_app()):
            await eventually(lambda: "another program serves" in caplog.text)
        await eventually(lambda: "is free again" in caplog.text, timeout=10)

        async def call_again() -> bool:
            return bool((await place_call(seconds=0.2)).answered)

        await eventually(call_again)
        assert "takeover-long" in first.active_sessions
        assert not staying.done()


async def test_calls_of_a_dead_program_are_served(make_app, place_call, lab, app_name):
    """A program that died left its caller in silence; the next run serves him from the start."""
    login = lab.ari_url, lab.ari_user, lab.ari_password
    async with ARIClient(*login, app_name=app_name) as dead:
        socket = await dead.events_websocket(10)
        caller = place_call(seconds=60, call_id=f"left-{app_name}")
        while type(decode((await socket.receive()).data)) is not StasisStart:
            pass
        await dead.answer_channel(f"left-{app_name}")
        await socket.close()
    app: VoxtraApp = make_app()
    served: asyncio.Future[CallSession] = asyncio.get_running_loop().create_future()

    @app.default()
    async def handle(call: CallSession) -> None:
        served.set_result(call)
        await call.record_start()
        await call.play_file("digits:1")

    async with run_app(app):
        async with asyncio.timeout(10):
            call = await served
        assert call.id == f"left-{app_name}"
        assert call.called_number == "1000"
        assert (await caller).answered


async def test_calls_in_progress_survive_a_takeover(
    make_app, place_call, sink, hooks, webhook, monkeypatch
):
    """The first instance's calls go on under its verbs while a second one serves the new calls, and
    their ends, callbacks and recordings are told once each.
    """
    monkeypatch.setattr(asterisk, "RECONCILE_EVERY", 0.3)
    monkeypatch.setattr(playback, "ASK_AFTER", 1.0)
    first: VoxtraApp = make_app(webhook=webhook)
    second: VoxtraApp = make_app(recording_sink=None)
    hung_up: list[str] = []
    taken: list[str] = []

    @first.default()
    async def keep(call: CallSession) -> None:
        @call.on_hangup
        async def note() -> None:
            hung_up.append(call.id)

        await call.answer()
        await call.record_start()
        call.metadata["recorded"] = True
        await call.wait_ended()

    @second.default()
    async def take(call: CallSession) -> None:
        await call.answer()
        taken.append(call.id)

    async with run_app(first):
        leaving = place_call(seconds=60, call_id="takeover-leaving")
        staying = place_call(seconds=60, call_id="takeover-staying")
        await eventually(
            lambda: (
                [call.metadata for call in first.active_sessions.values()]
                == [{"recorded": True}] * 2
            )
        )
        async with run_app(second):
            assert second.active_sessions == {}
            placed = await place_call(seconds=30)
            assert taken == [placed.call_id]
            # The far end hangs up: Asterisk tells the second instance, whose call it is not.
            leaving.cancel()
            await asyncio.gather(leaving, return_exceptions=True)
            assert (await sink.next(timeout=15)).session_id == "takeover-leaving"
            assert hung_up == ["takeover-leaving"]
        survivor = first.active_sessions["takeover-staying"]
        await survivor.play_file("digits:1")
        assert await survivor.record_stop()
        assert (await sink.next()).session_id == "takeover-staying"
        await survivor.hangup()
        assert (await staying).answered
        await asyncio.wait_for(survivor.wait_ended(), 15)
        await hooks.wait_for("call.ended", 2)
    assert hung_up == ["takeover-leaving", "takeover-staying"]
    assert len(sink.received) == 2
    assert all(metadata.extra["state"] == "available" for metadata in sink.received)
