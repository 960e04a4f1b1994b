"""The lossless mode: Asterisk opens the websocket to us and queues what happens while we are
away.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import datetime

import pytest

from tests.system.proxy import Proxy, proxy_to
from tests.system.support import Collector, Hooks, eventually, run_app
from voxtra import BackendWebhook, CallSession, VoxtraApp
from voxtra.config import VoxtraConfig
from voxtra.lab.call import place_call as place
from voxtra.lab.instance import Lab

APP = "outbound-app"
USER, PASSWORD = "asterisk-events", "secret-of-the-test"


@pytest.fixture
def listen_port(free_port: Callable[[], int]) -> int:
    """Return the port that the app listens on."""
    return free_port()


@pytest.fixture
async def network(listen_port: int) -> AsyncIterator[Proxy]:
    """Run the network between Asterisk and the app's listener, which a test can cut."""
    async with proxy_to(f"http://127.0.0.1:{listen_port}") as proxy:
        yield proxy


@pytest.fixture
async def outbound_lab(network: Proxy) -> AsyncIterator[Lab]:
    """Start an Asterisk that opens its events websocket to the app."""
    lab = await asyncio.to_thread(
        Lab.start,
        name="outbound",
        outbound_ws=f"ws://127.0.0.1:{network.port}/events",
        apps=[APP],
        outbound_user=USER,
        outbound_password=PASSWORD,
    )
    yield lab
    await asyncio.to_thread(lab.stop)


def config_of(lab: Lab, port: int) -> VoxtraConfig:
    """Return the configuration of an app in mode outbound."""
    return VoxtraConfig.model_validate(
        {
            "app_name": APP,
            "telephony": {
                "asterisk": {
                    "base_url": lab.ari_url,
                    "username": lab.ari_user,
                    "password": lab.ari_password,
                    "recording_dir": str(lab.recording_dir),
                    "mode": "outbound",
                    "listen": {
                        "port": port,
                        "path": "/events",
                        "username": USER,
                        "password": PASSWORD,
                    },
                }
            },
        }
    )


async def test_nothing_is_lost_while_we_are_away(
    outbound_lab: Lab,
    listen_port: int,
    network: Proxy,
    sink: Collector,
    hooks: Hooks,
    webhook: BackendWebhook,
):
    """Calls that end and one that begins while Asterisk can't reach us for three seconds are all
    told in order afterwards, with the times at which it happened.
    """
    app = VoxtraApp.from_config(
        config_of(outbound_lab, listen_port), recording_sink=sink, webhook=webhook
    )
    served: list[str] = []

    @app.default()
    async def handle(call: CallSession) -> None:
        await call.answer()
        await call.record_start()
        served.append(call.id)
        await call.wait_ended()

    async with run_app(app):
        calls = [asyncio.create_task(place(outbound_lab, app=APP, seconds=60)) for _ in range(10)]
        await eventually(lambda: len(served) == 10)
        # so that every file has audio in it
        await asyncio.sleep(0.3)
        await network.isolate()
        # What Asterisk sends before it has noticed the break is lost; from now on it queues.
        await eventually(lambda: network.refused > 0)
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        new = asyncio.create_task(place(outbound_lab, app=APP, seconds=60, call_id="begun-away"))

        async def new_is_in_the_application() -> bool:
            return "begun-away" in (await app.ari.get_application()).channel_ids

        await eventually(new_is_in_the_application)
        # how long we are away
        await asyncio.sleep(3)
        assert len(app.active_sessions) == 10
        assert sink.received == []
        await network.heal()

        await sink.wait_for(10)
        await hooks.wait_for("call.ended", 10)
        await eventually(lambda: served[-1] == "begun-away")
        assert list(app.active_sessions) == ["begun-away"]
        await app.active_sessions["begun-away"].hangup()
        assert (await new).answered
        await hooks.wait_for("call.ended", 11)
    told = sink.received[:10]
    assert len({metadata.session_id for metadata in told}) == 10
    assert {metadata.extra["end_reason"] for metadata in told} == {"hangup"}
    for metadata in told:
        started, ended = (
            datetime.fromisoformat(metadata.extra[key]) for key in ("started_at", "ended_at")
        )
        assert metadata.duration_seconds is not None
        assert abs((ended - started).total_seconds() - metadata.duration_seconds) < 0.5
    for call_id in served[:10]:
        kinds = [kind for kind in hooks.types(call_id) if kind.startswith("call.")]
        assert kinds == ["call.started", "call.ringing", "call.answered", "call.ended"]


async def test_an_app_in_mode_outbound_stops_and_starts_again(
    outbound_lab: Lab, listen_port: int, sink: Collector
):
    """In mode outbound an app that was stopped can be started again and gets Asterisk's websocket
    back.
    """
    app = VoxtraApp.from_config(config_of(outbound_lab, listen_port), recording_sink=sink)

    @app.default()
    async def handle(call: CallSession) -> None:
        await call.answer()
        await call.record_start()
        await call.play_file("digits:1")

    for _ in range(2):
        async with run_app(app):
            placed = await place(outbound_lab, app=APP, seconds=30)
            assert placed.answered
            assert (await sink.next()).session_id == placed.call_id
