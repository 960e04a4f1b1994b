"""Calls that we make, hooks that make them, and channels that are nobody's call."""

from __future__ import annotations

import asyncio
import time

import pytest

from tests.system.support import eventually, run_app
from voxtra import CallDirection, CallSession, CallState, VoxtraApp
from voxtra.ari import ARIClient
from voxtra.exceptions import DialFailed, NotFound
from voxtra.lab.call import PlacedCall


async def gone(ari: ARIClient, channel_id: str) -> bool:
    """Tell whether a channel is no more: Asterisk says yes to a hang-up before it has done it."""
    try:
        await ari.get_channel(channel_id)
    except NotFound:
        return True
    return False


async def half(ari: ARIClient, call: CallSession, number: int) -> str:
    """Return the channel id of one half of a call's Local channel; the far one is 2."""
    name = (await ari.get_channel(call.id)).name.removesuffix(";1")
    ids = [
        channel.id for channel in await ari.list_channels() if channel.name == f"{name};{number}"
    ]
    return ids[0]


async def test_an_answered_call_is_ready_to_use(make_app, hooks, webhook, sink):
    """`originate` returns an answered call that can be recorded, played to and hung up."""
    app: VoxtraApp = make_app(webhook=webhook)
    ended = asyncio.Event()
    async with run_app(app):
        call = await app.originate("Local/ring-0.2@lab-phone/n", caller_id="+15550123")

        @call.on_hangup
        async def hung_up() -> None:
            ended.set()

        assert (call.direction, call.state) == (CallDirection.OUTBOUND, CallState.ANSWERED)
        assert app.active_sessions == {call.id: call}
        assert app.get_session(call.id) is call
        await call.answer()
        await call.record_start()
        await call.play_file("digits:1")
        assert call.duration > 0.2
        await call.hangup()
        await asyncio.wait_for(ended.wait(), 5)
        assert (await sink.next()).session_id == call.id
        await hooks.wait_for("recording.available")
        assert app.active_sessions == {}
    told = [kind for kind in hooks.types(call.id) if kind.startswith("call.")]
    assert told[0] == "call.started"
    assert set(told[1:-2]) <= {"call.ringing"}
    assert told[-2:] == ["call.answered", "call.ended"]


@pytest.mark.parametrize(
    ("endpoint", "disposition", "cause"),
    [
        ("Local/busy@lab-phone/n", "busy", 17),
        ("Local/noanswer@lab-phone/n", "no_answer", None),
        ("Local/reject@lab-phone/n", "rejected", 21),
        ("Local/unallocated@lab-phone/n", "unreachable", 1),
        ("Local/congestion@lab-phone/n", "failed", 34),
        ("Local/nobody@no-such-context/n", "failed", 0),
        ("PJSIP/no-such-endpoint", "unreachable", None),
        ("NoSuchTechnology/1000", "unreachable", None),
    ],
)
async def test_a_call_that_is_not_answered_says_why(
    make_app, hooks, webhook, endpoint, disposition, cause
):
    """A dial that fails raises its disposition, is told as `call.failed` and leaves nothing."""
    app: VoxtraApp = make_app(webhook=webhook)
    async with run_app(app):
        began = time.monotonic()
        with pytest.raises(DialFailed) as caught:
            await app.originate(endpoint, timeout=1)
        assert time.monotonic() - began < 4
        assert caught.value.disposition == disposition
        assert cause in (None, caught.value.cause)
        assert app.active_sessions == {}
        failed = await hooks.wait_for("call.failed")
        assert failed["data"]["disposition"] == disposition
        await eventually(lambda: gone(app.ari, failed["session_id"]))
    told = hooks.types(failed["session_id"])
    assert (told[0], told[-1]) == ("call.started", "call.failed")
    assert not {"call.answered", "call.ended"} & set(told)


async def test_a_far_end_that_hangs_up_ends_the_call(make_app, hooks, webhook):
    """When the far end hangs up, the call is over and told so, with its duration."""
    app: VoxtraApp = make_app(webhook=webhook)
    async with run_app(app):
        call = await app.originate("Local/answer-0.3@lab-phone/n")
        await asyncio.wait_for(call.wait_ended(), 5)
        ended = await hooks.wait_for("call.ended")
    assert call.state is CallState.COMPLETED
    assert ended["session_id"] == call.id
    assert 0.1 < ended["data"]["duration_seconds"] < 1
    assert call.duration == pytest.approx(ended["data"]["duration_seconds"], abs=0.001)


async def test_a_dial_that_is_given_up_stops_ringing(make_app, hooks, webhook):
    """Cancelling `originate` hangs the ringing leg up, tells `call.failed` and leaves nothing."""
    app: VoxtraApp = make_app(webhook=webhook)
    async with run_app(app):
        dial = asyncio.create_task(app.originate("Local/noanswer@lab-phone/n", timeout=30))
        ringing = await hooks.wait_for("call.started")
        await eventually(lambda: app.get_session(ringing["session_id"]))

        async def rings() -> bool:
            return ringing["session_id"] in {c.id for c in await app.ari.list_channels()}

        await eventually(rings)
        dial.cancel()
        with pytest.raises(asyncio.CancelledError):
            await dial
        assert app.active_sessions == {}
        await eventually(lambda: gone(app.ari, ringing["session_id"]))
        await hooks.wait_for("call.failed")
    assert "call.ended" not in hooks.types(ringing["session_id"])


async def test_variables_and_caller_arrive_at_the_far_end(make_app):
    """Variables of any text, and the caller's number, are on the far side's channel."""
    app: VoxtraApp = make_app()
    variables = {"CUSTOMER": "4711", "NOTE": 'a "b" & c=d, e;f ü'}
    async with run_app(app):
        call = await app.originate(
            "Local/answer@lab-phone/n", caller_id="+15550123", variables=variables
        )
        far = await half(app.ari, call, 2)
        for name, value in variables.items():
            assert await app.ari.get_channel_var(call.id, name) == value
            assert await app.ari.get_channel_var(far, name) == value
        assert await app.ari.get_channel_var(far, "CALLERID(num)") == "+15550123"
        await call.hangup()
        await asyncio.wait_for(call.wait_ended(), 5)


async def test_originate_before_start_says_what_to_do(make_app):
    """Without a connection `originate` raises the RuntimeError of the contract, as `ari` does."""
    app: VoxtraApp = make_app()
    with pytest.raises(RuntimeError, match="Not connected"):
        await app.originate("Local/answer@lab-phone/n")
    with pytest.raises(RuntimeError, match="Not connected"):
        _ = app.ari


async def test_a_startup_hook_can_call_somebody(make_app):
    """`originate` works in a startup hook, and the call is there when the app serves."""
    app: VoxtraApp = make_app()
    made: list[CallSession] = []

    @app.on_startup
    async def dial() -> None:
        made.append(await app.originate("Local/answer@lab-phone/n"))
        await made[0].play_file("digits:1")

    async with run_app(app):
        assert app.active_sessions == {made[0].id: made[0]}
        assert made[0].state is CallState.ANSWERED
        await made[0].hangup()
        await asyncio.wait_for(made[0].wait_ended(), 5)


async def test_calls_that_arrive_during_startup_are_served_afterwards(make_app, place_call):
    """A call that comes while a startup hook runs waits for it, and is served then; one that
    gave up meanwhile is told as over.
    """
    app: VoxtraApp = make_app()
    served: list[str] = []
    patient: list[asyncio.Task[PlacedCall]] = []

    @app.on_startup()
    async def slow() -> None:
        hasty = place_call(call_id="hasty-caller", ring_seconds=30)
        patient.append(place_call(seconds=30))
        arrived = 0
        while arrived < 2:
            channels = await app.ari.list_channels()
            arrived = sum(channel.dialplan.app_name == "Stasis" for channel in channels)
        hasty.cancel()
        await asyncio.gather(hasty, return_exceptions=True)
        while any(channel.id == "hasty-caller" for channel in await app.ari.list_channels()):
            pass  # until Asterisk, too, has it that he gave up
        assert served == []

    @app.default()
    async def handle(call: CallSession) -> None:
        await call.answer()
        served.append(call.id)

    async with run_app(app):
        placed = await patient[0]
        assert placed.answered
        await eventually(lambda: not app.active_sessions)
    assert served == [placed.call_id]


async def test_a_call_nobody_wants_is_rejected_and_counted(make_app, place_call, hooks, webhook):
    """Without a handler a call is rejected with a cause, counted and told as `call.failed`."""
    app: VoxtraApp = make_app(webhook=webhook)

    @app.route(extension="2000")
    async def handle(call: CallSession) -> None:
        await call.answer()

    async with run_app(app):
        refused = await place_call(to="1000")
        served = await place_call(to="2000")
        failed = await hooks.wait_for("call.failed")
        await hooks.wait_for("call.ended", 2)
        assert app.active_sessions == {}
    assert (refused.answered, served.answered) == (False, True)
    assert app.unrouted_calls == 1
    assert failed["session_id"] == refused.call_id
    assert failed["data"]["disposition"] == "rejected"
    assert len(hooks.of_type("call.failed")) == 1


async def test_media_channels_are_never_taken_for_callers(make_app, place_call):
    """Snoops, external media and dialled legs in our application start no handler."""
    app: VoxtraApp = make_app()
    served: list[str] = []
    recorded = asyncio.Event()

    @app.default()
    async def handle(call: CallSession) -> None:
        served.append(call.id)
        await call.answer()
        await call.record_start(layout="stereo")
        recorded.set()
        await call.wait_ended()

    async with run_app(app):
        call = place_call(seconds=30)
        await asyncio.wait_for(recorded.wait(), 5)
        await app.ari.snoop_channel(served[0], spy="in", snoop_id="foreign-snoop")
        await app.ari.external_media("127.0.0.1:9", channel_id="foreign-media", fmt="slin16")
        dialled = await app.originate("Local/answer@lab-phone/n")
        # The answered dial came after the others' StasisStart: what they started would be here.
        assert set(app.active_sessions) == {served[0], dialled.id}
        application = await app.ari.get_application()
        assert {"foreign-snoop", "foreign-media"} <= set(application.channel_ids)
        await app.ari.hangup_channel("foreign-media")
        await dialled.hangup()
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        await eventually(lambda: not app.active_sessions)
    assert len(served) == 1
