"""The end of a call: who is told, how often, how fast, and what verbs do afterwards."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest

from tests.system.support import eventually, run_app
from voxtra import CallSession, CallState, VoxtraApp
from voxtra.exceptions import CallEnded, PlaybackFailed

MANY = 50


async def caller_hangs_up(call: CallSession) -> None:
    """Stay until the caller has had enough."""
    await call.wait_ended()


async def handler_returns(_call: CallSession) -> None:
    """Leave at once."""


async def handler_fails(_call: CallSession) -> None:
    """Raise what nobody expects."""
    raise LookupError("the handler of this test fails")


async def handler_hangs_up(call: CallSession) -> None:
    """Hang up in so many words."""
    await call.hangup()


@pytest.mark.parametrize(
    "ending", [caller_hangs_up, handler_returns, handler_fails, handler_hangs_up]
)
async def test_the_end_of_every_call_is_told_once_and_in_order(
    make_app, place_call, hooks, webhook, ending
):
    """Of 50 calls 50 hear their `on_hangup` and 50 are told in webhooks, from start to end."""
    app: VoxtraApp = make_app(webhook=webhook)
    answered: list[str] = []
    told: list[str] = []
    all_up = asyncio.Event()

    @app.default()
    async def handle(call: CallSession) -> None:
        @call.on_hangup
        async def hung_up() -> None:
            assert call.state is CallState.COMPLETED
            told.append(call.id)

        await call.answer()
        answered.append(call.id)
        if len(answered) == MANY:
            all_up.set()
        await ending(call)

    async with run_app(app):
        calls = [place_call(seconds=30) for _ in range(MANY)]
        if ending is caller_hangs_up:
            await asyncio.wait_for(all_up.wait(), 15)
            for call in calls:
                call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        await hooks.wait_for("call.ended", MANY)
        await eventually(lambda: len(told) >= MANY)
        assert not app.active_sessions
    assert len(told) == len(set(told)) == MANY
    expected = ["call.started", "call.ringing", "call.answered", "call.ended"]
    if ending is handler_fails:
        expected.insert(3, "error")
    assert {tuple(hooks.types(call_id)) for call_id in told} == {tuple(expected)}


async def test_a_failing_handler_is_reported_and_its_caller_let_go(
    make_app, place_call, hooks, webhook
):
    """What a handler raises is told in an `error` event, and the call is hung up."""
    app: VoxtraApp = make_app(webhook=webhook)

    @app.default()
    async def handle(call: CallSession) -> None:
        await call.answer()
        raise LookupError("no such customer")

    async with run_app(app):
        placed = await place_call(seconds=30)
        error = await hooks.wait_for("error")
    assert placed.answered
    assert placed.seconds < 5
    assert error["session_id"] == placed.call_id
    assert error["data"] == {"error_type": "LookupError", "message": "no such customer"}


async def test_verbs_after_the_end_raise_and_the_handler_ends_quietly(
    make_app, place_call, hooks, webhook
):
    """Each verb on a call that is gone raises `CallEnded`; a handler that lets it escape is no
    error.
    """
    app: VoxtraApp = make_app(webhook=webhook)
    raised: dict[str, CallEnded] = {}
    done = asyncio.Event()

    @app.default()
    async def handle(call: CallSession) -> None:
        await call.answer()
        await call.wait_ended()
        verbs: dict[str, Callable[[], Awaitable[object]]] = {
            "answer": call.answer,
            "hold": call.hold,
            "unhold": call.unhold,
            "play_file": lambda: call.play_file("hello-world"),
            "send_dtmf": lambda: call.send_dtmf("1"),
            "transfer_to": lambda: call.transfer_to("Local/answer@lab-phone/n"),
            "transfer_to_queue": lambda: call.transfer_to_queue("support"),
            "record_start": call.record_start,
        }
        for name, verb in verbs.items():
            with pytest.raises(CallEnded) as caught:
                await verb()
            raised[name] = caught.value
        await call.hangup()
        assert await call.record_stop() is None
        done.set()
        await call.play_file("hello-world")

    async with run_app(app):
        placed = await place_call(seconds=0.2)
        await asyncio.wait_for(done.wait(), 5)
        await hooks.wait_for("call.ended")
    assert {error.call_id for error in raised.values()} == {placed.call_id}
    assert len(raised) == 8
    assert not hooks.of_type("error")


async def test_waiting_verbs_end_with_the_call(make_app, place_call):
    """A hang-up ends `listen_dtmf` and a prompt at once, long before they would end by
    themselves.
    """
    app: VoxtraApp = make_app()
    waited: dict[str, float] = {}
    done = asyncio.Event()

    @app.default()
    async def handle(call: CallSession) -> None:
        await call.answer()

        async def listens() -> None:
            assert await call.listen_dtmf(8, timeout=60) == ""
            waited["listen_dtmf"] = time.monotonic()

        async def plays() -> None:
            with pytest.raises(CallEnded):
                await call.play_file("tone:ring")
            waited["play_file"] = time.monotonic()

        await asyncio.gather(listens(), plays())
        done.set()

    async with run_app(app):
        call = await place_call(seconds=1)
        ended = time.monotonic()
        await asyncio.wait_for(done.wait(), 5)
    assert call.answered
    assert len(waited) == 2
    assert max(waited.values()) - ended < 0.5


async def test_a_slow_callback_delays_nobody_else(make_app, place_call):
    """While the `on_hangup` of one call hangs, another call is served and told of its end."""
    app: VoxtraApp = make_app()
    stuck, told, release = asyncio.Event(), asyncio.Event(), asyncio.Event()

    @app.default()
    async def handle(call: CallSession) -> None:
        await call.answer()

        @call.on_hangup
        async def hung_up() -> None:
            if not stuck.is_set():
                stuck.set()
                await release.wait()
            else:
                told.set()

    async with run_app(app):
        await place_call(seconds=30)
        await asyncio.wait_for(stuck.wait(), 5)
        began = time.monotonic()
        placed = await place_call(seconds=30)
        await asyncio.wait_for(told.wait(), 5)
        assert placed.answered
        assert time.monotonic() - began < 2
        release.set()


async def test_a_callback_registered_too_late_runs_at_once(make_app, place_call):
    """`on_hangup` on a call that is over runs its handler there and then."""
    app: VoxtraApp = make_app()
    told = asyncio.Event()

    @app.default()
    async def handle(call: CallSession) -> None:
        await call.answer()
        await call.wait_ended()

        @call.on_hangup
        async def hung_up() -> None:
            told.set()

    async with run_app(app):
        await place_call(seconds=0.2)
        await asyncio.wait_for(told.wait(), 5)


async def test_a_prompt_is_heard_before_the_next_line_runs(make_app, place_call):
    """`play_file` returns when the sound is over; without waiting it returns at once and can be
    stopped.
    """
    app: VoxtraApp = make_app()
    took: dict[str, float] = {}
    done = asyncio.Event()

    @app.default()
    async def handle(call: CallSession) -> None:
        await call.answer()
        clock = asyncio.get_running_loop().time
        began = clock()
        await call.play_file("sound:digits/1")
        took["one"] = clock() - began
        began = clock()
        await call.play_file("digits:12")
        took["two"] = clock() - began
        began = clock()
        playback = await call.play_file("tone:ring", wait=False)
        took["begun"] = clock() - began
        await playback.stop()
        await playback.wait()
        took["stopped"] = clock() - began
        done.set()

    async with run_app(app):
        call = place_call(seconds=30)
        await asyncio.wait_for(done.wait(), 15)
        await call
    assert 0.2 < took["one"] < 2
    assert took["two"] > 1.5 * took["one"]
    assert took["begun"] < 0.3
    assert took["stopped"] < 1


@pytest.mark.parametrize(
    "media", ["no-such-sound", "sound:lab/missing", "recording:nobody", "video:x", "sound:/etc/x"]
)
async def test_what_can_not_be_played_says_so(make_app, place_call, media):
    """A missing sound or recording and a refused name raise `PlaybackFailed`, and the call goes
    on.
    """
    app: VoxtraApp = make_app()
    failed: asyncio.Future[PlaybackFailed] = asyncio.get_running_loop().create_future()
    heard = asyncio.Event()

    @app.default()
    async def handle(call: CallSession) -> None:
        await call.answer()
        with pytest.raises(PlaybackFailed) as caught:
            await call.play_file(media)
        failed.set_result(caught.value)
        await call.play_file("digits:1")
        heard.set()

    async with run_app(app):
        call = place_call(seconds=30)
        error = await asyncio.wait_for(failed, 5)
        await asyncio.wait_for(heard.wait(), 5)
        await call
    assert media.removeprefix("sound:") in str(error)
