"""The commands `voxtra start, check, info, init`, as a person types them."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.commandline import VOXTRA, complaint, environment_of, run, started
from tests.conftest import CallPlacer
from voxtra.audio.formats import lookup
from voxtra.audio.measure import measure
from voxtra.lab.pbx import Pbx
from voxtra.scaffold import scaffold
from voxtra.version import __version__


@pytest.fixture
def app_folder(tmp_path: Path, app_name: str) -> Path:
    """Return a folder with the scaffolded app, which serves the test's own application."""
    scaffold(tmp_path)
    file = tmp_path / "voxtra.yaml"
    file.write_text(file.read_text().replace("app_name: voxtra", f"app_name: {app_name}"))
    return tmp_path


def test_version_and_help() -> None:
    """`--version` names it; without a command the commands are shown."""
    assert run("--version").stdout == f"voxtra {__version__}\n"
    shown = run()
    assert shown.returncode == 0
    assert run("-h").stdout == shown.stdout
    for command in ("start", "check", "info", "init", "lab"):
        assert f"\n  {command} " in shown.stdout
    assert "...\n" not in shown.stdout.partition("Commands:")[2]
    lab = run("lab")
    assert lab.returncode == 0
    assert "status" in lab.stdout
    assert "...\n" not in lab.stdout.partition("Commands:")[2]


def test_info() -> None:
    """The version, Python, the providers by kind and the formats, as text and as JSON."""
    facts = json.loads(run("info", "--json").stdout)
    assert facts["version"] == __version__
    assert facts["providers"]["telephony"] == ["asterisk"]
    assert {"wav", "gsm", "opus"} <= set(facts["formats"])
    text = run("info").stdout
    assert f"voxtra     {__version__}" in text
    assert "telephony  asterisk" in text


def test_the_lab_is_imported_only_when_asked_for() -> None:
    """`voxtra info` does without the lab."""
    code = (
        "import sys; from voxtra.cli import main; main(['info', '--json']); "
        "sys.exit(any(name.startswith('voxtra.lab') for name in sys.modules))"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_a_wrong_command_or_option_is_one_line() -> None:
    """What is meant is suggested, with the command that explains it."""
    assert "'start'" in complaint(run("strat"))
    assert "voxtra check --help" in complaint(run("check", "--conifg", "x"))


def test_a_problem_of_the_lab_is_one_line(tmp_path: Path) -> None:
    """The lab's errors have the same form and code as all others."""
    env = {"XDG_STATE_HOME": str(tmp_path)}
    line = complaint(run("lab", "logs", "--name", "nowhere", env=env))
    assert "voxtra lab up --name nowhere" in line


def test_init_writes_an_app_and_refuses_to_overwrite_it(tmp_path: Path) -> None:
    """The files are named; a second time nothing is touched."""
    folder = tmp_path / "app"
    wrote = json.loads(run("init", str(folder), "--json").stdout)
    assert wrote["folder"] == str(folder)
    assert sorted(wrote["files"]) == sorted(path.name for path in folder.iterdir())
    assert "exists already" in complaint(run("init", str(folder)))
    here = tmp_path / "here"
    here.mkdir()
    assert "wrote voxtra.yaml" in run("init", folder=here).stdout
    assert (here / "voxtra.yaml").exists()


async def test_the_new_app_serves_and_records_a_call(
    lab: Pbx, app_folder: Path, place_call: CallPlacer
) -> None:
    """`voxtra init`, `voxtra start`, a call: it is answered and recorded; SIGTERM ends with 0."""
    with started(VOXTRA, "start", "--json", env=environment_of(lab), folder=app_folder) as app:
        assert app.stdout is not None
        config = await asyncio.to_thread(app.stdout.readline)
        serving = json.loads(config)
        assert serving["routes"] == 1
        assert serving["pid"] == app.pid
        placed = await place_call(seconds=2)
        assert placed.answered
        app.send_signal(signal.SIGTERM)
        out, log = await asyncio.to_thread(app.communicate, timeout=15)
    assert (app.returncode, out) == (0, "")
    assert "Traceback" not in log
    name = log.partition("recorded as ")[2].split()[0]
    measured = measure(lab.recording_dir / f"{name}.wav", lookup("wav"))
    assert measured.channels == 2
    assert measured.seconds == pytest.approx(placed.seconds, abs=0.3)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_start_ends_with_0_while_there_is_no_asterisk(
    app_folder: Path, free_port: Callable[[], int], number: signal.Signals
) -> None:
    """An Asterisk that is not there yet is a log line and tried again, not an error."""
    url = f"http://127.0.0.1:{free_port()}"
    env = {"VOXTRA_ARI_URL": url, "VOXTRA_ARI_PASSWORD": "secret"}
    with started(VOXTRA, "start", env=env, folder=app_folder) as app:
        assert app.stderr is not None
        line = app.stderr.readline()
        assert "can't be reached" in line
        assert "next try in" in line
        app.send_signal(number)
        out, log = app.communicate(timeout=15)
    assert (app.returncode, out) == (0, "")
    assert "Traceback" not in log


async def test_debug_logs_the_events_of_a_call(
    lab: Pbx, app_folder: Path, place_call: CallPlacer
) -> None:
    """`--debug` shows what happens; the password is not in it."""
    command = (VOXTRA, "start", "--debug")
    with started(*command, env=environment_of(lab), folder=app_folder) as app:
        assert app.stdout is not None
        assert "serving calls" in await asyncio.to_thread(app.stdout.readline)
        await place_call(seconds=0.5)
        app.send_signal(signal.SIGINT)
        _, log = await asyncio.to_thread(app.communicate, timeout=15)
    assert app.returncode == 0
    assert "DEBUG voxtra" in log
    assert "call.ended" in log
    assert lab.ari_password not in log


def test_check_passes_on_a_good_asterisk(lab: Pbx, app_folder: Path) -> None:
    """Every check is a line, or an entry of the JSON object."""
    env = environment_of(lab)
    done = run("check", env=env, folder=app_folder)
    assert done.returncode == 0, done
    assert "ok       recording" in done.stdout
    assert done.stderr == ""
    answer = json.loads(run("check", "--json", env=env, folder=app_folder).stdout)
    assert answer["ok"]
    assert {check["name"] for check in answer["checks"]} >= {"config", "version", "recording"}


def test_check_fails_with_cause_and_fix(lab: Pbx, app_folder: Path, tmp_path: Path) -> None:
    """A check that fails is exit code 1, with what to do below it."""
    env = environment_of(lab, VOXTRA_RECORDING_DIR=str(tmp_path))
    done = run("check", env=env, folder=app_folder)
    assert done.returncode == 1
    assert "FAILED   recording" in done.stdout
    assert "Set recording_dir" in done.stdout
    answer = run("check", "--json", env=env, folder=app_folder)
    assert answer.returncode == 1
    assert not json.loads(answer.stdout)["ok"]


def test_check_leaves_a_running_app_alone(lab: Pbx, app_folder: Path) -> None:
    """A check beside a running app of the same file does not take over its calls."""
    env = environment_of(lab)
    with started(VOXTRA, "start", env=env, folder=app_folder) as app:
        assert app.stdout is not None
        assert "serving calls" in app.stdout.readline()
        assert run("check", env=env, folder=app_folder).returncode == 0
        app.send_signal(signal.SIGTERM)
        _, log = app.communicate(timeout=15)
    assert "another program" not in log


def test_handlers_are_found_beside_the_file(lab: Pbx, app_folder: Path, tmp_path: Path) -> None:
    """The configuration may be named from any folder."""
    path = os.path.relpath(app_folder / "voxtra.yaml", tmp_path.parent)
    done = run("check", "-c", path, env=environment_of(lab), folder=tmp_path.parent)
    assert done.returncode == 0, done


def test_another_provider_has_no_checks(tmp_path: Path) -> None:
    """The provider of a package is resolved; what can't be examined is said."""
    (tmp_path / "other.py").write_text(
        "from voxtra.registry import registry\n"
        "from voxtra.telephony.asterisk import AsteriskAdapter\n"
        "@registry.register_telephony('other')\n"
        "class Other(AsteriskAdapter):\n"
        "    @classmethod\n"
        "    def from_config(cls, config, **options):\n"
        "        return cls()\n"
    )
    (tmp_path / "handlers.py").write_text("async def answer(call): ...\n")
    code = "import other, sys; from voxtra.cli import main; sys.exit(main(['check']))"
    (tmp_path / "voxtra.yaml").write_text(
        "telephony: {provider: other}\nroutes: [{number: '*', handler: 'handlers:answer'}]\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert "no checks for the provider 'other'" in done.stdout
