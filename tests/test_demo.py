"""`script/demo` and the examples, run for real."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import wave
from pathlib import Path

import numpy as np
import pytest

from tests.commandline import environment_of, started
from voxtra.ari import ARIClient
from voxtra.ari.decode import decode
from voxtra.ari.schema import ChannelDestroyed
from voxtra.audio.tone import sine
from voxtra.ids import new_id
from voxtra.lab.call import PlacedCall, place_call
from voxtra.lab.pbx import Pbx
from voxtra.lab.proof import problems_of

pytestmark = pytest.mark.asterisk

ROOT = Path(__file__).parent.parent
DEMO = ROOT / "script/demo"
SERVICE = ROOT / "examples/service"
RECORDED = "Recorded as it should be"


@pytest.fixture
def own_state(tmp_path: Path) -> dict[str, str]:
    """Keep the demo's lab, data and recordings in the test's folder."""
    return {"XDG_STATE_HOME": str(tmp_path)}


def left_running(folder: Path) -> dict[int, str]:
    """Return the processes, by pid, that were started with the test's own state."""
    mark = f"XDG_STATE_HOME={folder}".encode()
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (process / "environ").read_bytes().split(b"\0"):
                command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                found[int(process.name)] = command
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
    return {pid: command for pid, command in found.items() if command}


def demo(
    env: dict[str, str], config: Path = SERVICE / "voxtra.yaml"
) -> subprocess.CompletedProcess[str]:
    """Run the demo once, perhaps with another service than the example."""
    return subprocess.run(
        [sys.executable, "-m", "voxtra.lab.demo", config, "--once"],
        env={**os.environ, **env},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )


def service(folder: Path, app: str) -> Path:
    """Write a service like the example, with another app, and return its configuration."""
    folder.mkdir()
    shutil.copy(SERVICE / "voxtra.yaml", folder)
    (folder / "app.py").write_text(app)
    return folder / "voxtra.yaml"


def until(process: subprocess.Popen[str], mark: str) -> str:
    """Read what a process prints up to a line that has the mark; return that line."""
    assert process.stdout is not None
    for line in process.stdout:
        if mark in line:
            return line
    pytest.fail(f"it ended without {mark!r}: {process.communicate()[1]}")


def complaint(done: subprocess.CompletedProcess[str]) -> str:
    """Return the one line that says why the demo failed."""
    assert done.returncode == 1, done
    line, end, rest = done.stderr.partition("\n")
    assert (line[:7], end, rest) == ("Error: ", "\n", "")
    return line


def test_once_with_standard_input_closed(tmp_path: Path, own_state: dict[str, str]) -> None:
    """It ends with 0, the list, the recording and its file, whose SHA-256 is that of the row; the
    data stays, no process does, and the key is not shown.
    """
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
    assert re.search(r"1000 +│ +[34]\.\d\d │ available │ +1\d\d,\d{3} │", done.stdout)
    recording = json.loads(done.stdout[done.stdout.index("\n{\n") : done.stdout.index("\n}\n") + 2])
    assert recording["queue"] == "sales"
    assert f"SHA-256  {recording['sha256']}\n" in done.stdout
    path = re.search(r"^  saved as (.+)$", done.stdout, re.MULTILINE)
    assert path is not None
    with wave.open(path[1]) as file:
        assert (file.getnchannels(), file.getnframes()) == (2, recording["samples"])
    data = tmp_path / "voxtra/demo/data"
    assert (data / "voxtra.db").is_file()
    assert (data / "admin.key").read_text().strip() not in done.stdout + done.stderr
    assert left_running(tmp_path) == {}
    assert list((tmp_path / "voxtra/labs").glob("*.json")) == []


def test_it_stays_for_more_calls_until_ctrl_c(tmp_path: Path, own_state: dict[str, str]) -> None:
    """The commands that it prints list, download and place calls, which it records, too; the usual
    port may be taken; a second demo is refused; Ctrl-C ends all.
    """
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):  # then somebody else has it already
            stack.enter_context(socket.create_server(("127.0.0.1", 8080)))
        process = stack.enter_context(started(DEMO, env=own_state))
        assert ":8080/" not in until(process, "answers at")
        recording = until(process, "recording_start").split()[-1]
        first = until(process, "    ")
        while not first.endswith("--for 5\n"):
            first = until(process, "    ")
        assert process.stdout is not None
        rest = [process.stdout.readline() for _ in range(4)]
        assert "" not in rest
        assert len(left_running(tmp_path)) == 3  # the demo, the service and Asterisk
        assert "running already" in complaint(demo(own_state))
        script = f"set -eu\nRECORDING={recording}\n{first}{''.join(rest)}"
        for printed, quicker in (
            ("--for 5", "--for 1"),
            ("answer-5", "answer-1"),
            ("curl ", "curl --silent --show-error --fail-with-body "),
            ("call.wav", str(tmp_path / "call.wav")),
        ):
            assert printed in script
            script = script.replace(printed, quicker)
        ran = subprocess.run(
            ["bash", "-c", script],
            cwd=ROOT,
            env={**os.environ, **own_state},
            capture_output=True,
            text=True,
            timeout=40,
            check=False,
        )
        assert ran.returncode == 0, ran
        assert f'"id":"{recording}"' in ran.stdout
        with wave.open(str(tmp_path / "call.wav")) as file:
            assert file.getnchannels() == 2
        until(process, "saved as")
        until(process, "saved as")
        os.killpg(process.pid, signal.SIGINT)
        _, problems = process.communicate(timeout=40)
    assert process.returncode == 0, problems
    assert left_running(tmp_path) == {}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_before_the_call(
    tmp_path: Path, own_state: dict[str, str], number: signal.Signals
) -> None:
    """Interrupted before anything was shown to work it does not say 0, and nothing is left."""
    with started(DEMO, env=own_state) as process:
        until(process, "is up at")
        os.killpg(process.pid, number)
        _, problems = process.communicate(timeout=40)
    assert process.returncode == 130, problems
    assert "Traceback" not in problems
    assert left_running(tmp_path) == {}


def test_a_service_that_dies_fails_the_demo_and_the_next_finds_all(
    tmp_path: Path, own_state: dict[str, str]
) -> None:
    """A service that is killed during the call is told as such; the next demo lists its recording
    beside its own.
    """
    with started(
        sys.executable, "-m", "voxtra.lab.demo", SERVICE / "voxtra.yaml", env=own_state
    ) as (process):
        until(process, "the recording began")
        (pid,) = [pid for pid, it in left_running(tmp_path).items() if " serve " in it]
        os.kill(pid, signal.SIGKILL)
        out, problems = process.communicate(timeout=40)
    assert problems == "Error: voxtra serve has ended with code -9\n", out
    assert process.returncode == 1
    assert left_running(tmp_path) == {}
    done = demo(own_state)
    assert done.returncode == 0, done
    assert done.stdout.count("│ +15550100 │ 1000") == 2


def test_a_call_that_goes_otherwise_fails_the_demo(
    tmp_path: Path, own_state: dict[str, str]
) -> None:
    """A recording that is not as it should be is an error with the reason."""
    silent = service(
        tmp_path / "silent",
        "async def answer(call):\n    await call.answer()\n    await call.wait_ended()\n",
    )
    line = complaint(demo(own_state, silent))
    assert "not recorded as it should be" in line
    assert "880 Hz is not on the right" in line
    assert left_running(tmp_path) == {}


def test_a_call_that_is_not_answered_fails_the_demo(
    tmp_path: Path, own_state: dict[str, str]
) -> None:
    """A handler that lets nobody in is an error with the cause; what the app prints is shown."""
    refusing = service(
        tmp_path / "refusing",
        "print('loaded', flush=True)\nasync def answer(call):\n    await call.hangup('busy')\n",
    )
    done = demo(own_state, refusing)
    assert "it was not answered (cause 17)" in complaint(done)
    assert "serve │ loaded\n" in done.stdout
    assert left_running(tmp_path) == {}


def test_a_broken_app_fails_the_demo(tmp_path: Path, own_state: dict[str, str]) -> None:
    """A service that can't start is told in its own words, and a key that is lost by its file."""
    broken = service(tmp_path / "broken", "raise SystemExit('no licence')\n")
    line = complaint(demo(own_state, broken))
    assert "voxtra serve has ended with code 1; it said: no licence" in line
    key = tmp_path / "voxtra/demo/data/admin.key"
    key.unlink()
    assert f"{key}: can't be read: No such file" in complaint(demo(own_state))
    assert left_running(tmp_path) == {}


def test_a_port_that_somebody_has_fails_the_demo(tmp_path: Path, own_state: dict[str, str]) -> None:
    """A port that is asked for is not replaced by another one."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        line = complaint(demo({**own_state, "VOXTRA_PORT": port}))
    assert f"127.0.0.1:{port} can't be listened on" in line
    assert left_running(tmp_path) == {}


def test_what_is_judged_of_a_recording(tmp_path: Path) -> None:
    """Each fault of a file, or of what is said of it, is named."""
    left, right = sine(440, 4), np.concatenate([sine(880, 2.5), np.zeros(12_000, np.int16)])
    placed = PlacedCall("call-1", answered=True, seconds=4.0, cause=16)

    def judged(left: np.ndarray, right: np.ndarray, **told: object) -> str:
        path = tmp_path / "x.wav"
        with wave.open(str(path), "wb") as file:
            file.setparams((2, 2, 8000, 0, "NONE", ""))
            file.writeframes(np.stack([left, right], axis=1).astype("<i2").tobytes())
        row = {"call_id": "call-1", "format": "wav", "duration": len(left) / 8000, "sha256": "5f"}
        return "; ".join(problems_of({**row, **told}, path, "5f", placed))

    assert judged(left, right) == ""
    assert judged(left[4000:], right[4000:]) == ""  # a request takes its time
    assert "880 Hz is on the left" in judged(right, left)
    assert "440 Hz is on the right" in judged(left, (left // 2 + right // 2))
    assert "880 Hz is not on the right" in judged(left, np.zeros_like(right))
    assert "2.50 s of a call of 4.00 s" in judged(left[:20_000], right[:20_000])
    assert "its row says 3 s, its file 4.000 s" in judged(left, right, duration=3)
    assert "names call other" in judged(left, right, call_id="other")
    assert "its SHA-256 is 5f, its row says 00" in judged(left, right, sha256="00")
    empty = tmp_path / "empty.wav"
    empty.touch()
    assert "the file is empty" in "; ".join(problems_of({"format": "wav"}, empty, "", placed))


async def test_record_call(lab: Pbx) -> None:
    """`examples/record_call.py`: the sink prints where a file with both sides is."""
    env = environment_of(lab, PROMPT="hello-world")
    with started(sys.executable, ROOT / "examples/record_call.py", env=env) as app:
        assert app.stderr is not None
        assert app.stdout is not None
        while "connected to Asterisk" not in await asyncio.to_thread(app.stderr.readline):
            assert app.poll() is None
        placed = await place_call(lab, seconds=1.0)
        told = json.loads(await asyncio.to_thread(app.stdout.readline))
        app.send_signal(signal.SIGTERM)
        _, log = await asyncio.to_thread(app.communicate, timeout=15)
    assert told["session_id"] == placed.call_id
    with wave.open(told["file_path"]) as file:
        assert file.getnchannels() == 2
    assert app.returncode == 0
    assert "Traceback" not in log


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
