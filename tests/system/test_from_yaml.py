"""An app of a configuration file: what is written in the file takes effect on the calls."""

from __future__ import annotations

import sys
from pathlib import Path
from time import monotonic

import pytest

from tests.conftest import CallPlacer
from tests.system.support import Hooks, eventually, run_app
from voxtra import CallState, VoxtraApp
from voxtra.lab.pbx import Pbx

FILE = """\
app_name: {app_name}
telephony:
  asterisk:
    base_url: {url}
    username: {user}
    password: {password}
    recording_dir: {folder}
reconnect_interval: 0.1
recording: {{layout: stereo, max_duration: 1, grace_seconds: 0.5}}
server: {{debug: true}}
backend:
  webhook: {{url: "{hook}", events: [recording.available], signing_secret: rotate-me}}
routes:
  - extension: "1000"
    handler: handlers_of_the_test:record
    metadata: {{team: support}}
  - number: "+1555*"
    handler: handlers_of_the_test:stay
"""

HANDLERS = """\
import asyncio

teams = []

async def record(call):
    await call.answer()
    teams.append(call.metadata["team"])
    await call.record_start()
    await call.wait_ended()

async def stay(call):
    call.on_hangup(asyncio.Event().wait)
    await call.answer()
    await call.wait_ended()
"""


async def test_the_file_takes_effect(
    lab: Pbx,
    app_name: str,
    place_call: CallPlacer,
    hooks: Hooks,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Routes and their metadata, layout and longest recording, webhook with its filter and secret,
    debug and grace time of a file are those of the app.
    """
    (tmp_path / "handlers_of_the_test.py").write_text(HANDLERS)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "handlers_of_the_test", raising=False)
    file = tmp_path / "voxtra.yaml"
    file.write_text(
        FILE.format(
            app_name=app_name,
            url=lab.ari_url,
            user=lab.ari_user,
            password=lab.ari_password,
            folder=lab.recording_dir,
            hook=hooks.receiver.url,
        )
    )
    app = VoxtraApp.from_yaml(file)
    assert app.debug
    async with run_app(app):
        recorded = place_call(to="1000", seconds=4)
        told = await hooks.wait_for("recording.available")
        placed = await recorded
        stuck = place_call(to="2000", seconds=60)
        await eventually(
            lambda: (
                ("2000", CallState.ANSWERED)
                in [(call.called_number, call.state) for call in app.active_sessions.values()]
            )
        )
        began = monotonic()
        await app.stop()
        took = monotonic() - began
        await stuck
    assert sys.modules["handlers_of_the_test"].teams == ["support"]
    assert told["session_id"] == placed.call_id
    assert told["data"]["channels"] == 2
    assert told["data"]["end_reason"] == "max_duration"
    assert {event["type"] for event in hooks.events} == {"recording.available"}
    assert all("X-Voxtra-Signature" in each.headers for each in hooks.receiver.requests)
    assert took < 3
