"""`script/demo` and the examples, run for real."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import wave
from pathlib import Path

import numpy as np
import pytest

from tests.commandline import environment_of, run, started
from voxtra.ari import ARIClient
from voxtra.ari.decode import decode
from voxtra.ari.schema import ChannelDestroyed
from voxtra.audio.tone import sine
from voxtra.ids import new_id
from voxtra.lab.call import PlacedCall
from voxtra.lab.demo import problems_of
from voxtra.lab.pbx import Pbx

pytestmark = pytest.mark.asterisk

ROOT = Path(__file__).parent.parent
DEMO = ROOT / "script/demo"
RECORDED = "Recorded as it should be"


@pytest.fixture
def own_state(tmp_path: Path) -> dict[str, str]:
    """Keep the demo's lab and recordings in the test's folder."""
    return {"XDG_STATE_HOME": str(tmp_path)}


def left_running(folder: Path) -> list[str]:
    """Return the command lines of processes that were started with the test's own state."""
    mark = f"XDG_STATE_HOME={folder}".encode()
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (process / "environ").read_bytes().split(b"\0"):
                found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
    return [command for command in found if command]


def demo(app: Path, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run the demo once with another app than the example."""
    return subprocess.run(
        [sys.executable, "-m", "voxtra.lab.demo", app, "--once"],
        env={**os.environ, **env},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_once_with_standard_input_closed(tmp_path: Path, own_state: dict[str, str]) -> None:
    """It ends with 0 and what was recorded; the file stays, no process does."""
    done = subprocess.run(
        ["bash", "-c", 'exec "$0" --once <&-', DEMO],
        env={**os.environ, **own_state},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done
    assert RECORDED in done.stdout
    path = re.search(r"^  path +(.+)$", done.stdout, re.MULTILINE)
    assert path is not None
    with wave.open(path[1]) as file:
        assert file.getnchannels() == 2
    for word in ("name", "format", "seconds", "size", '"session_id"', '"duration_seconds"'):
        assert word in done.stdout
    assert left_running(tmp_path) == []
    assert list((tmp_path / "voxtra/labs").glob("*.json")) == []


def test_it_stays_for_more_calls_until_ctrl_c(tmp_path: Path, own_state: dict[str, str]) -> None:
    """The command that it prints places another call; a second demo is refused; Ctrl-C ends all."""
    with started(DEMO, env=own_state) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("    ") and "lab call" in line:
                break
        _, *words = line.split()
        assert words[:3] == ["lab", "call", "--name"]
        assert len(left_running(tmp_path)) == 3  # the demo, its app and Asterisk
        assert "running already" in demo(ROOT / "examples/record_call.py", own_state).stderr
        called = run(*words[:-2], "--for", "1", env=own_state)
        assert called.returncode == 0, called
        for line in process.stdout:
            if line.startswith("A recording"):
                break
        else:
            pytest.fail("the second recording was not shown")
        os.killpg(process.pid, signal.SIGINT)
        _, problems = process.communicate(timeout=30)
    assert process.returncode == 0, problems
    assert left_running(tmp_path) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_before_the_call(
    tmp_path: Path, own_state: dict[str, str], number: signal.Signals
) -> None:
    """Interrupted before anything was shown to work it does not say 0, and nothing is left."""
    with started(DEMO, env=own_state) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "is up at" in line:
                break
        os.killpg(process.pid, number)
        _, problems = process.communicate(timeout=30)
    assert process.returncode == 130, problems
    assert "Traceback" not in problems
    assert left_running(tmp_path) == []


def test_an_app_that_records_otherwise_fails_the_demo(
    tmp_path: Path, own_state: dict[str, str]
) -> None:
    """A recording that is not as it should be is an error with the reason."""
    app = tmp_path / "mono.py"
    example = (ROOT / "examples/record_call.py").read_text()
    app.write_text(example.replace('layout="stereo"', 'layout="mono"'))
    done = demo(app, own_state)
    assert done.returncode == 1
    assert "not recorded as it should be" in done.stderr
    assert "1 channel instead of two" in done.stderr
    assert left_running(tmp_path) == []


def test_an_app_that_ends_fails_the_demo(tmp_path: Path, own_state: dict[str, str]) -> None:
    """An app that can't start is shown with its output and code."""
    app = tmp_path / "broken.py"
    app.write_text("raise SystemExit('no licence')\n")
    done = demo(app, own_state)
    assert done.returncode == 1
    assert "no licence" in done.stdout
    assert "broken.py has ended with code 1" in done.stderr
    assert left_running(tmp_path) == []


def test_what_is_judged_of_a_recording(tmp_path: Path) -> None:
    """Each fault of a file, or of what the sink was told, is named."""
    left, right = sine(440, 4), np.concatenate([sine(880, 2.5), np.zeros(12_000, np.int16)])
    placed = PlacedCall("call-1", answered=True, seconds=4.0, cause=16)

    def judged(left: np.ndarray, right: np.ndarray, **told: object) -> str:
        path = tmp_path / "x.wav"
        with wave.open(str(path), "wb") as file:
            file.setparams((2, 2, 8000, 0, "NONE", ""))
            file.writeframes(np.stack([left, right], axis=1).astype("<i2").tobytes())
        payload = {"session_id": "call-1", "format": "wav", "duration_seconds": len(left) / 8000}
        return "; ".join(problems_of({**payload, "file_path": str(path), **told}, placed))

    assert judged(left, right) == ""
    assert "880 Hz is on the left" in judged(right, left)
    assert "440 Hz is on the right" in judged(left, (left // 2 + right // 2))
    assert "880 Hz is not on the right" in judged(left, np.zeros_like(right))
    assert "3.00 s of a call of 4.00 s" in judged(left[:24_000], right[:24_000])
    assert "the sink was told 3 s" in judged(left, right, duration_seconds=3)
    assert "names call other" in judged(left, right, session_id="other")
    assert "there is no file" in judged(left, right, file_path=str(tmp_path / "y.wav"))
    (tmp_path / "empty.wav").touch()
    assert "the file is empty" in judged(left, right, file_path=str(tmp_path / "empty.wav"))


async def test_the_menu(lab: Pbx) -> None:
    """`examples/ivr.py`: the caller presses 2 and is connected to the agent, who hangs up."""
    env = environment_of(lab, AGENT="Local/answer-1@lab-phone/n")
    with started(sys.executable, ROOT / "examples/ivr.py", env=env) as app:
        assert app.stderr is not None
        while "connected to Asterisk" not in await asyncio.to_thread(app.stderr.readline):
            assert app.poll() is None
        caller = f"caller-{new_id()}"
        client = ARIClient(lab.ari_url, lab.ari_user, lab.ari_password, app_name=caller)
        async with asyncio.timeout(30), client:
            events = await client.events_websocket(heartbeat=10)
            await client.subscribe("channel:", app=caller)
            await client.originate(
                "Local/1000@default/n",
                context="lab-phone",
                extension="dtmf-2",
                variables={"VOXTRA_APP": "voxtra"},
                channel_id=caller,
                formats="slin",
            )
            agent_seen = False
            async for message in events:
                event = decode(message.data)
                if isinstance(event, ChannelDestroyed):
                    agent_seen = agent_seen or "answer-1@lab-phone" in event.channel.name
                    if event.channel.id == caller:
                        break
            await events.close()
        app.send_signal(signal.SIGTERM)
        _, log = await asyncio.to_thread(app.communicate, timeout=15)
    assert agent_seen
    assert app.returncode == 0
    assert "Traceback" not in log
