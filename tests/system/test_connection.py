"""Reaching the PBX: the first time, again, never too often; and a PBX that is no Asterisk."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import partial

import pytest
from aiohttp import web

from tests.ari.peers import INFO, peer
from tests.system.proxy import proxy_to
from tests.system.support import eventually, run_app
from voxtra import CallDirection, CallSession, CallState, EventType, VoxtraApp, VoxtraEvent
from voxtra.exceptions import AuthenticationFailed, CallEnded, DialFailed, NotSupported
from voxtra.lab.call import PlacedCall
from voxtra.lab.call import place_call as place
from voxtra.lab.instance import Lab
from voxtra.telephony.asterisk import AsteriskAdapter
from voxtra.telephony.base import BaseTelephonyAdapter


async def test_an_app_waits_for_an_asterisk_that_is_not_up_yet(fresh_lab: Lab, caplog):
    """`start()` before Asterisk is there tries again until it is, and serves then."""
    await asyncio.to_thread(fresh_lab.kill)
    app = VoxtraApp(
        fresh_lab.ari_url, fresh_lab.ari_user, fresh_lab.ari_password, reconnect_interval=0.1
    )

    @app.default()
    async def handle(call: CallSession) -> None:
        await call.answer()

    async def boot() -> None:
        await eventually(lambda: "next try" in caplog.text)
        assert not app.is_running
        await asyncio.to_thread(fresh_lab.restart)

    booting = asyncio.create_task(boot())
    async with run_app(app):
        await booting
        assert (await place(fresh_lab, seconds=30)).answered


async def test_a_refused_password_ends_start_with_a_clear_error(lab, app_name):
    """Wrong credentials are not tried again: `start()` raises and says what is wrong."""
    app = VoxtraApp(lab.ari_url, lab.ari_user, "wrong", app_name=app_name)
    with pytest.raises(AuthenticationFailed, match="password"):
        await asyncio.wait_for(app.start(), 5)
    assert not app.is_running


async def test_calls_and_verbs_work_again_after_a_broken_connection(
    lab, make_app, place_call, caplog
):
    """After the connection broke the app is connected again by itself and serves new calls."""
    async with proxy_to(lab.ari_url) as proxy:
        app: VoxtraApp = make_app(
            telephony=AsteriskAdapter(
                proxy.url,
                lab.ari_user,
                lab.ari_password,
                app_name=make_app().app_name,
                reconnect_interval=0.05,
            )
        )

        @app.default()
        async def handle(call: CallSession) -> None:
            await call.answer()
            await call.play_file("digits:1")

        def has_ended(times: int) -> bool:
            return str(caplog.text).count("has ended (") >= times

        async def answered() -> bool:
            placed: PlacedCall = await place_call(seconds=30)
            return placed.answered

        async with run_app(app):
            for turn in (1, 2):
                await proxy.cut()
                await eventually(partial(has_ended, turn))
                await proxy.heal()
                await eventually(answered, timeout=10)
                # Asterisk forgets the filter with an application that nobody serves.
                wanted = [
                    entry["type"] for entry in (await app.ari.get_application()).events_allowed
                ]
                assert "StasisStart" in wanted
                assert "ChannelVarset" not in wanted


async def test_a_server_that_closes_politely_is_not_hammered():
    """A websocket that is closed with 1000 at once is tried again with growing delays."""

    async def answer(request: web.Request) -> web.StreamResponse:
        if not request.path.endswith("/events"):
            return web.Response(body=INFO, content_type="application/json")
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.close(code=1000)
        return socket

    async with peer(answer) as server:
        adapter = AsteriskAdapter(server.url, "user", "secret", reconnect_interval=0.1)
        adapter.listen(lambda event: None, lambda gap: asyncio.sleep(0))
        connecting = asyncio.create_task(adapter.connect())
        await asyncio.wait({connecting}, timeout=1.5)
        assert not connecting.done()
        connecting.cancel()
        await adapter.disconnect()
    tries = [request for request in server.requests if "/events" in request]
    assert 2 <= len(tries) <= 8


class MemoryAdapter(BaseTelephonyAdapter):
    """A phone system in a dictionary: the least that an adapter has to be."""

    def __init__(self) -> None:
        self.calls: dict[str, str] = {}
        self.connections: list[str] = []

    async def connect(self) -> None:
        """Connect to nothing."""
        self.connections.append("connected")

    async def disconnect(self) -> None:
        """Disconnect from nothing."""
        self.connections.append("disconnected")

    async def answer_call(self, call_id: str) -> None:
        """Answer."""
        if call_id not in self.calls:
            raise CallEnded(call_id)
        self.calls[call_id] = "up"
        self._on_event(VoxtraEvent(EventType.CALL_ANSWERED, call_id))

    async def hangup_call(self, call_id: str, reason: str = "normal") -> None:
        """Hang up."""
        if self.calls.pop(call_id, None) is not None:
            data = {"cause": 16, "reason": reason}
            self._on_event(VoxtraEvent(EventType.CALL_ENDED, call_id, data))

    async def originate(
        self,
        endpoint: str,
        *,
        call_id: str,
        caller_id: str = "",
        timeout: float = 30.0,
        variables: Mapping[str, str] | None = None,
    ) -> None:
        """Reach everybody but "busy"."""
        if endpoint == "busy":
            raise DialFailed(endpoint, "busy", 17)
        self.calls[call_id] = "up"

    def ring(self, call_id: str, called: str) -> None:
        """Somebody calls."""
        self.calls[call_id] = "ringing"
        data = {"caller_id": "+15550100", "called_number": called, "direction": "inbound"}
        self._on_event(VoxtraEvent(EventType.CALL_STARTED, call_id, data))

    def press(self, call_id: str, digit: str) -> None:
        """Somebody presses a key."""
        data = {"digit": digit, "duration_ms": 100}
        self._on_event(VoxtraEvent(EventType.DTMF_RECEIVED, call_id, data))


async def test_an_adapter_of_ones_own_drives_an_app(hooks, webhook):
    """An app runs on any `BaseTelephonyAdapter`: calls are routed, answered, dialled and hung up by
    it, and what it can't do names itself.
    """
    phones = MemoryAdapter()
    app = VoxtraApp(telephony=phones, webhook=webhook)
    seen: dict[str, object] = {}
    done = asyncio.Event()

    @app.route(extension="2000", metadata={"team": "sales"})
    async def handle(call: CallSession) -> None:
        @call.on_hangup
        async def hung_up() -> None:
            seen["hung up"] = call.duration
            done.set()

        seen["call"] = (call.caller_id, call.called_number, call.direction, call.metadata["team"])
        await call.answer()
        seen["state"] = (call.state, phones.calls[call.id])
        seen["digits"] = await call.listen_dtmf(2)
        with pytest.raises(NotSupported, match=r"MemoryAdapter has no play\(\)"):
            await call.play_file("hello-world")
        with pytest.raises(NotSupported, match=r"MemoryAdapter has no plan_capture\(\)"):
            await call.record_start()

    async with run_app(app):
        with pytest.raises(RuntimeError, match="MemoryAdapter"):
            _ = app.ari
        phones.ring("one", "2000")
        phones.press("one", "4")
        phones.press("one", "2")
        await asyncio.wait_for(done.wait(), 5)
        phones.ring("two", "3000")
        await eventually(lambda: "two" not in phones.calls)
        with pytest.raises(DialFailed):
            await app.originate("busy")
        call = await app.originate("somebody")
        assert (call.state, phones.calls[call.id]) == (CallState.ANSWERED, "up")
        assert list(app.active_sessions) == [call.id]
    assert phones.connections == ["connected", "disconnected"]
    assert phones.calls == {}
    assert call.state is CallState.COMPLETED
    assert app.unrouted_calls == 1
    assert seen["call"] == ("+15550100", "2000", CallDirection.INBOUND, "sales")
    assert seen["state"] == (CallState.ANSWERED, "up")
    assert seen["digits"] == "42"
    assert float(str(seen["hung up"])) > 0
    assert hooks.types("one") == [
        "call.started",
        "dtmf.received",
        "dtmf.received",
        "call.answered",
        "call.ended",
    ]
