"""The life of an app in the moments that are hard to meet: it always ends, and leaves nobody up."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any

import pytest

from tests.system.support import eventually, run_app
from tests.toy_exchange import ToyExchange
from voxtra import CallSession, VoxtraApp
from voxtra.ari.outbound import OutboundListener
from voxtra.exceptions import ConfigurationError
from voxtra.telephony.asterisk import AsteriskAdapter


async def stops(app: VoxtraApp, main: asyncio.Task[None]) -> None:
    """Check that an app ends within a few seconds."""
    async with asyncio.timeout(5):
        await app.stop()
        await main


async def test_a_wrong_setting_leaves_the_app_as_it_was() -> None:
    """What can't be started for a wrong setting can be stopped, and says the same a second time."""
    app = VoxtraApp("not a URL")
    for _ in range(2):
        with pytest.raises(ConfigurationError):
            await app.start()
        async with asyncio.timeout(5):
            await app.stop()


async def test_an_address_that_is_taken(free_port: Callable[[], int]) -> None:
    """Where Asterisk can not be listened for, `start()` says so and leaves nothing open."""
    port = free_port()
    adapter = AsteriskAdapter(
        source=lambda _: OutboundListener(port=port, username="voxtra", password="secret")
    )
    app = VoxtraApp(telephony=adapter)
    with socket.create_server(("127.0.0.1", port)), pytest.raises(OSError, match="in use"):
        await app.start()
    with pytest.raises(RuntimeError, match="Not connected"):
        await adapter.ari.asterisk_info()


async def test_a_second_start_is_refused() -> None:
    """An app that runs can't be started again; it runs on."""
    app = VoxtraApp(telephony=ToyExchange())
    async with run_app(app):
        with pytest.raises(RuntimeError, match="running"):
            await app.start()
        assert app.is_running


async def test_a_startup_hook_that_hangs_does_not_keep_the_app() -> None:
    """An app is stopped while a startup hook waits for ever, even one that ignores it."""
    app = VoxtraApp(telephony=ToyExchange())
    release, entered = asyncio.Event(), asyncio.Event()

    @app.on_startup
    async def hang() -> None:
        entered.set()
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue

    main = asyncio.create_task(app.start())
    await entered.wait()
    try:
        await stops(app, main)
    finally:
        release.set()


async def test_a_startup_hook_can_stop_the_app() -> None:
    """A startup hook that finds something wrong can stop the app."""
    app = VoxtraApp(telephony=ToyExchange())
    app.on_startup(app.stop)
    async with asyncio.timeout(5):
        await app.start()
    assert not app.is_running


async def test_a_startup_hook_that_fails_ends_start() -> None:
    """What a startup hook raises comes out of `start()`, and the app can be started again."""
    app = VoxtraApp(telephony=ToyExchange())
    fails = True

    @app.on_startup
    async def check() -> None:
        if fails:
            raise OSError("the database of this test is not there")

    with pytest.raises(OSError, match="database"):
        await app.start()
    fails = False
    async with run_app(app):
        assert app.is_running


async def test_a_shutdown_hook_that_awaits_what_was_cancelled() -> None:
    """A cancellation inside of a shutdown hook ends that hook alone."""
    app = VoxtraApp(telephony=ToyExchange())
    ran: list[str] = []

    @app.on_shutdown
    async def fails() -> None:
        work = asyncio.create_task(asyncio.sleep(60))
        work.cancel()
        await work

    @app.on_shutdown
    async def runs() -> None:
        ran.append("second")

    main = asyncio.create_task(app.start())
    await eventually(lambda: app.is_running)
    await stops(app, main)
    assert ran == ["second"]


async def test_callers_who_wait_are_refused_when_the_app_stops() -> None:
    """Who called while a startup hook was at work is refused, not forgotten, when the app stops."""
    pbx = ToyExchange()
    app = VoxtraApp(telephony=pbx)
    entered = asyncio.Event()

    @app.on_startup
    async def hang() -> None:
        entered.set()
        await asyncio.Event().wait()

    main = asyncio.create_task(app.start())
    await entered.wait()
    pbx.call("a")
    await stops(app, main)
    assert pbx.up == set()
    assert pbx.reasons == {"a": "congestion"}


async def test_nobody_is_called_while_the_app_stops() -> None:
    """A handler that calls back when its caller has gone does not begin that during `stop()`."""
    pbx = ToyExchange()
    app = VoxtraApp(telephony=pbx)
    refused: list[str] = []
    served = asyncio.Event()

    @app.default()
    async def handle(call: CallSession) -> None:
        served.set()
        await call.wait_ended()
        try:
            await app.originate("PJSIP/call-back")
        except RuntimeError as error:
            refused.append(str(error))

    main = asyncio.create_task(app.start())
    await eventually(lambda: app.is_running)
    pbx.call("a")
    await served.wait()
    await stops(app, main)
    assert pbx.up == set()
    assert "stopping" in refused[0]


@pytest.mark.parametrize("field", ["endpoint", "caller_id"])
async def test_no_header_is_smuggled_in(field: str) -> None:
    """A line break in what goes into a SIP header is refused before anything reaches the PBX."""
    app = VoxtraApp(telephony=ToyExchange())
    arguments: dict[str, Any] = {"endpoint": "PJSIP/alice", "caller_id": "1"}
    arguments[field] += "\r\nP-Asserted-Identity: sip:boss@example.com"
    async with run_app(app):
        with pytest.raises(ValueError, match=field):
            await app.originate(**arguments)
        assert app.active_sessions == {}
