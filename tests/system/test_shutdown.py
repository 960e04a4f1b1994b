"""The end of the app: by `stop()`, by a signal, and what must never keep it from ending."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from pathlib import Path

import pytest

from tests.system.support import eventually, run_app
from voxtra import CallSession, VoxtraApp
from voxtra.exceptions import CallEnded

CALLS = 20

SCRIPT = """
import json
from voxtra import RecordingSink, VoxtraApp

def say(**line):
    print(json.dumps(line), flush=True)

class Sink(RecordingSink):
    async def on_recording_complete(self, metadata):
        say(sink=metadata.session_id, state=metadata.extra["state"], path=metadata.file_path,
            reason=metadata.extra["end_reason"])

app = VoxtraApp(app_name={app_name!r}, recording_dir={folder!r}, recording_sink=Sink())

@app.default()
async def handle(call):
    @call.on_hangup
    async def hung_up():
        say(hangup=call.id)
    await call.answer()
    await call.record_start()
    say(recording=call.id)
    while True:
        await call.play_file("tone:ring")

@app.on_startup
async def up():
    say(up=True)

@app.on_shutdown
async def down():
    say(down=len(app.active_sessions))

app.run()
"""


class Process:
    """An app that runs in a process of its own and prints JSON lines."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.lines: list[dict[str, object]] = []
        self._reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            self.lines.append(json.loads(line))

    def said(self, key: str) -> list[str]:
        """Return the values that were printed under a key."""
        return [str(line[key]) for line in self.lines if key in line]

    async def end(self, number: signal.Signals, timeout: float) -> float:
        """Send a signal and return the seconds until the process has ended."""
        began = time.monotonic()
        self.process.send_signal(number)
        async with asyncio.timeout(timeout):
            await self.process.wait()
            await self._reader
        return time.monotonic() - began


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_all_in_good_order(lab, app_name, place_call, tmp_path, number):
    """With 20 recorded calls a signal hangs all of them up, all sinks are told, the shutdown hook
    runs, and the process exits with 0 within 10 s.
    """
    script = tmp_path / "app.py"
    script.write_text(SCRIPT.format(app_name=app_name, folder=str(lab.recording_dir)))
    environment = os.environ | {
        "VOXTRA_ARI_URL": lab.ari_url,
        "VOXTRA_ARI_USER": lab.ari_user,
        "VOXTRA_ARI_PASSWORD": lab.ari_password,
    }
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        str(script),
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    process = Process(child)
    try:
        await eventually(lambda: process.said("up"), timeout=15)
        calls = [place_call(seconds=60) for _ in range(CALLS)]
        await eventually(lambda: len(process.said("recording")) == CALLS, timeout=15)
        # so that the youngest recording has audio in it
        await asyncio.sleep(0.3)
        seconds = await process.end(number, timeout=10)
        placed = await asyncio.wait_for(asyncio.gather(*calls), 5)
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    assert child.stderr is not None
    errors = (await child.stderr.read()).decode()
    assert child.returncode == 0, errors
    assert seconds < 10
    ids = sorted(call.call_id for call in placed)
    assert sorted(process.said("sink")) == sorted(process.said("hangup")) == ids
    assert process.said("state") == ["available"] * CALLS
    assert process.said("reason") == ["hangup"] * CALLS
    assert all(Path(path).stat().st_size > 44 for path in process.said("path"))
    assert process.lines[-1] == {"down": 0}
    assert "Traceback" not in errors
    assert "Task was destroyed" not in errors


async def test_an_app_that_was_stopped_can_be_started_again(make_app, place_call, sink):
    """`stop()` and then `start()` serves, records and delivers as the first time."""
    app: VoxtraApp = make_app()
    ran: list[str] = []

    @app.on_startup
    async def up() -> None:
        ran.append("up")

    @app.on_shutdown
    async def down() -> None:
        ran.append("down")

    @app.default()
    async def handle(call: CallSession) -> None:
        await call.answer()
        await call.record_start()
        await call.play_file("digits:1")

    for turn in (1, 2):
        async with run_app(app):
            placed = await place_call(seconds=30)
            assert placed.answered
            assert (await sink.next()).session_id == placed.call_id
            call = await app.originate("Local/answer@lab-phone/n")
        assert not app.is_running
        assert call.state.is_final
        assert app.active_sessions == {}
        assert ran == ["up", "down"] * turn


async def test_stop_hangs_all_calls_up_at_the_same_time(make_app, place_call, sink, hooks, webhook):
    """`stop()` ends ten recorded calls side by side: callbacks, sinks and `call.ended` are through
    when it returns.
    """
    app: VoxtraApp = make_app(webhook=webhook)
    told: list[str] = []

    @app.default()
    async def handle(call: CallSession) -> None:
        @call.on_hangup
        async def hung_up() -> None:
            await asyncio.sleep(0.2)
            told.append(call.id)

        await call.answer()
        await call.record_start()
        call.metadata["recorded"] = True
        await call.wait_ended()

    async with run_app(app):
        calls = [place_call(seconds=60) for _ in range(10)]
        await eventually(
            lambda: sum("recorded" in call.metadata for call in app.active_sessions.values()) == 10
        )
        began = time.monotonic()
        await app.stop()
        took = time.monotonic() - began
        assert len(told) == len(set(told)) == 10
        assert len(sink.received) == len(hooks.of_type("call.ended")) == 10
        assert (
            len(hooks.of_type("recording.available")) + len(hooks.of_type("recording.failed")) == 10
        )
    placed = await asyncio.wait_for(asyncio.gather(*calls), 5)
    assert all(call.seconds < 10 for call in placed)
    assert took < 5


async def test_nothing_keeps_stop_from_ending(make_app, place_call):
    """A handler, a callback and a shutdown hook that ignore their cancellation are left behind
    within the grace time; the later hooks still run.
    """
    app: VoxtraApp = make_app(shutdown_grace=1.0)
    release = asyncio.Event()
    stubborn: list[asyncio.Task[None]] = []
    stuck = asyncio.Event()
    ran: list[str] = []

    async def ignore_everything() -> None:
        task = asyncio.current_task()
        assert task is not None
        stubborn.append(task)
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue

    @app.default()
    async def handle(call: CallSession) -> None:
        call.on_hangup(ignore_everything)
        await call.answer()
        stuck.set()
        await ignore_everything()

    @app.on_shutdown
    async def fails() -> None:
        raise OSError("the first hook of this test fails")

    @app.on_shutdown
    async def runs() -> None:
        ran.append("second")

    main = asyncio.create_task(app.start())
    await eventually(lambda: app.is_running)
    call = place_call(seconds=60)
    await asyncio.wait_for(stuck.wait(), 5)
    try:
        async with asyncio.timeout(8):
            await app.stop()
            await main
    finally:
        release.set()
        await asyncio.gather(*stubborn, return_exceptions=True)
    assert (await call).seconds < 5
    assert ran == ["second"]
    assert len(stubborn) == 2


async def test_calls_are_refused_while_the_app_stops(make_app, place_call):
    """Somebody who calls during `stop()` is refused and starts no handler."""
    app: VoxtraApp = make_app(shutdown_grace=5.0)
    stopping, release, answered = asyncio.Event(), asyncio.Event(), asyncio.Event()
    served: list[str] = []

    @app.default()
    async def handle(call: CallSession) -> None:
        served.append(call.id)

        @call.on_hangup
        async def hung_up() -> None:
            stopping.set()
            await release.wait()

        await call.answer()
        answered.set()
        with pytest.raises(CallEnded):
            await call.play_file("tone:ring")

    async with run_app(app):
        first = place_call(seconds=60)
        await asyncio.wait_for(answered.wait(), 5)
        stop = asyncio.create_task(app.stop())
        await asyncio.wait_for(stopping.wait(), 5)
        late = await place_call(seconds=60)
        release.set()
        await asyncio.wait_for(stop, 5)
        await first
    assert not late.answered
    assert len(served) == 1


async def test_stop_during_the_first_connection_ends_it(free_port, caplog):
    """An app that still tries to reach a PBX which is not there can be stopped at once."""
    app = VoxtraApp(f"http://127.0.0.1:{free_port()}", "user", "secret", reconnect_interval=30)
    main = asyncio.create_task(app.start())
    await eventually(lambda: "next try" in caplog.text)
    async with asyncio.timeout(2):
        await app.stop()
        await main
    assert not app.is_running
