"""The commands `voxtra lab ...`, as a person types them."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from voxtra.ari import ARIClient
from voxtra.ari.decode import decode
from voxtra.ari.schema import ChannelStateChange, StasisEnd, StasisStart
from voxtra.lab import process, state
from voxtra.lab.commands import lab as lab_group

pytestmark = pytest.mark.asterisk


@pytest.fixture(autouse=True)
def _own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Keep the user's own labs out of the tests, and leave none of ours."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    yield
    for name in state.names():
        state.down(name)


def run(*arguments: str) -> Result:
    """Run `voxtra lab ...`."""
    return CliRunner().invoke(lab_group, list(arguments))


def run_json(*arguments: str) -> Any:
    """Run `voxtra lab ... --json` and return what it prints."""
    result = run(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.output)


def test_two_labs_up_and_down() -> None:
    """Labs go up, are seen, and go down one by one without a trace."""
    one = run_json("up", "--name", "one")
    two = run_json("up", "--name", "two")
    assert one["ari_url"] != two["ari_url"]
    assert one["started"]
    seen = run_json("status")
    assert [(facts["name"], facts["running"]) for facts in seen] == [("one", True), ("two", True)]
    assert run_json("down", "--name", "one") == {"down": ["one"]}
    assert process.wait_exit(one["pid"], 0)
    assert not Path(one["recordings"]).exists()
    assert run_json("down", "--all") == {"down": ["two"]}
    assert process.wait_exit(two["pid"], 0)
    assert run_json("status") == []
    assert [path.name for path in state.state_root().iterdir()] == ["lock"]


def test_up_again_changes_nothing() -> None:
    """A second `up` finds the running lab."""
    first = run_json("up")
    again = run_json("up")
    assert not again["started"]
    assert again["pid"] == first["pid"]


def test_up_after_a_crash_starts_anew() -> None:
    """A lab that was killed is shown as down and replaced by the next `up`."""
    first = run_json("up")
    process.end(first["pid"], grace=0)
    assert not run_json("status")[0]["running"]
    assert "is DOWN" in run("status").output
    assert "not running" in run("call").output
    again = run_json("up")
    assert again["started"]
    assert again["pid"] != first["pid"]


def test_up_clears_what_a_killed_up_has_left() -> None:
    """An Asterisk whose state was never written is ended and replaced."""
    first = run_json("up")
    (state.state_root() / "lab.json").unlink()
    again = run_json("up")
    assert again["started"]
    assert process.wait_exit(first["pid"], 0)


def test_a_lab_outlives_its_command() -> None:
    """What `up` has started goes on when the command has ended."""
    command = "from voxtra.lab.commands import lab; lab()"
    done = subprocess.run(
        [sys.executable, "-c", command, "up", "--json"], check=True, capture_output=True
    )
    assert not process.wait_exit(json.loads(done.stdout)["pid"], 0.3)
    assert "System uptime" in state.find("lab").cli("core show uptime")


def test_no_command_shows_a_password() -> None:
    """The password is in files of their owner alone, and sourcing one of them sets it."""
    shown = [run("up").output, run("status").output, run("status", "--json").output]
    shown += [run("logs").output, run("logs", "--json").output]
    lab = state.find("lab")
    for text in shown:
        assert lab.ari_password not in text
        assert lab.reader_password not in text
    for file in (state.env_file(lab), state.state_root() / "lab.json"):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    script = f". {shlex.quote(str(state.env_file(lab)))}; env"
    environment = subprocess.run(["sh", "-c", script], check=True, capture_output=True, text=True)
    assert f"VOXTRA_ARI_PASSWORD={lab.ari_password}\n" in environment.stdout
    assert f"VOXTRA_ARI_URL={lab.ari_url}\n" in environment.stdout
    assert f"VOXTRA_ARI_USER={lab.ari_user}\n" in environment.stdout


def test_logs_shows_the_last_lines() -> None:
    """`logs -n` shows that many lines, `--json` one object a line."""
    run("up")
    lines = run("logs", "-n", "2").output.splitlines()
    assert len(lines) == 2
    parsed = [
        json.loads(line)["line"]
        for line in run("logs", "-n", "2", "--json").output.split("\n")[:-1]
    ]
    assert parsed == lines


async def test_logs_follows_until_the_lab_ends() -> None:
    """`logs --follow` shows what comes and ends with the lab."""
    await asyncio.to_thread(run, "up")
    lab = state.find("lab")
    command = "from voxtra.lab.commands import lab; lab()"
    follower = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-c", command, "logs", "-n", "1", "--follow"),
        stdout=asyncio.subprocess.PIPE,
    )
    assert follower.stdout is not None
    try:
        async with asyncio.timeout(20):
            assert await follower.stdout.readline()
            async with ARIClient(lab.ari_url, lab.ari_user, lab.ari_password) as client:
                await client.originate("Local/nobody@nowhere/n", formats="slin")
            await follower.stdout.readuntil(b"nobody@nowhere")
            await asyncio.to_thread(run, "down")
            await follower.communicate()
        assert follower.returncode == 0
    finally:
        if follower.returncode is None:
            follower.kill()
            await follower.communicate()


def test_a_lab_that_is_not_there_is_one_clear_line() -> None:
    """An unknown lab names the known ones and the command that starts it."""
    result = run("down", "--name", "nowhere")
    assert result.exit_code == 1
    assert result.output == (
        "Error: there is no lab 'nowhere' (known: none); start it: voxtra lab up --name nowhere\n"
    )
    assert "small letters" in run("up", "--name", "../x").output


def test_a_call_nobody_serves_says_what_to_start() -> None:
    """Without the application the call's end says so, and fails."""
    run("up")
    result = run("call", "--app", "my-app", "--for", "1")
    assert result.exit_code == 1
    assert "no application 'my-app' is connected to the lab; start your app first" in result.output
    wrong = run("call", "--say", "music").output
    assert wrong.startswith("Error: 'music' is no sound; write tone:440")


@pytest.mark.parametrize("interrupted", [False, True])
async def test_a_call_reaches_the_application(interrupted: bool) -> None:
    """A call is answered and ends after its time; Ctrl-C hangs up before."""
    await asyncio.to_thread(run, "up")
    lab = state.find("lab")
    seconds = "60" if interrupted else "1"
    command = "from voxtra.lab.commands import lab; lab()"
    async with (
        asyncio.timeout(20),
        ARIClient(lab.ari_url, lab.ari_user, lab.ari_password, app_name="voxtra") as client,
    ):
        events = await client.events_websocket(heartbeat=10)
        caller = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-c", command, "call", "--to", "7", "--for", seconds, "--json"),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=dict(os.environ),
        )
        async for message in events:
            event = decode(message.data)
            if isinstance(event, StasisStart):
                assert event.channel.dialplan.exten == "7"
                await client.answer_channel(event.channel.id)
            elif isinstance(event, ChannelStateChange) and interrupted:
                caller.send_signal(signal.SIGINT)
            elif isinstance(event, StasisEnd):
                break
        printed, _ = await caller.communicate()
        await events.close()
    if interrupted:
        assert caller.returncode == 1
        assert printed == b""
    else:
        assert caller.returncode == 0
        assert json.loads(printed)["answered"]
        assert json.loads(printed)["seconds"] == pytest.approx(1, abs=0.3)
