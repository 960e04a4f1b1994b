"""The pre-flight, on Asterisks that are right and on ones that are not."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from voxtra import preflight
from voxtra.ari import ARIClient
from voxtra.exceptions import (
    AuthenticationFailed,
    ConfigurationError,
    TelephonyConnectionError,
)
from voxtra.ids import own_id
from voxtra.lab.instance import Lab
from voxtra.lab.pbx import Pbx
from voxtra.preflight import Check, run_checks


def client_of(pbx: Pbx, user: str = "", password: str = "") -> ARIClient:
    """Return a client for the checks alone."""
    return ARIClient(
        pbx.ari_url,
        user or pbx.ari_user,
        password or pbx.ari_password,
        app_name=own_id("check"),
    )


async def checks_of(pbx: Pbx, folder: Path | None = None) -> dict[str, Check]:
    """Run the checks and return them by name."""
    async with client_of(pbx) as client:
        found = await run_checks(client, folder or pbx.recording_dir)
    return {check.name: check for check in found}


async def test_a_good_asterisk_passes_and_nothing_is_left(fresh_lab: Lab) -> None:
    """Every check is passed, the test recording has a length, and no channel or file stays."""
    found = await checks_of(fresh_lab)
    assert list(found) == [
        *("version", "user", "modules", "formats", "sounds", "events", "recording", "disk")
    ]
    assert [check for check in found.values() if not check.ok or check.fix] == []
    assert "wav" in found["formats"].detail
    assert str(fresh_lab.recording_dir) in found["recording"].detail
    assert list(fresh_lab.recording_dir.iterdir()) == []
    assert "0 active channels" in fresh_lab.cli("core show channels")


async def test_checks_side_by_side_do_not_disturb_each_other(lab: Pbx) -> None:
    """Several pre-flights at once each find their own recording."""
    found = await asyncio.gather(*(checks_of(lab) for _ in range(4)))
    assert all(check.ok for each in found for check in each.values())


async def test_a_folder_that_is_not_asterisks(lab: Pbx, tmp_path: Path) -> None:
    """A folder that exists but is not the one Asterisk writes to is named with the setting."""
    check = (await checks_of(lab, tmp_path))["recording"]
    assert not check.ok
    assert str(tmp_path) in check.detail
    assert "VOXTRA_RECORDING_DIR" in check.fix


async def test_a_folder_that_is_out_of_reach_is_a_warning(lab: Pbx, tmp_path: Path) -> None:
    """Without the folder the recording is fetched over ARI: it works, and is said."""
    found = await checks_of(lab, tmp_path / "nowhere")
    assert found["recording"].ok
    assert "recording_dir" in found["recording"].fix
    assert "can't be seen from here" in found["disk"].detail


async def test_a_removed_folder(fresh_lab: Lab) -> None:
    """Asterisk without its recording folder: cause and fix, and no channel left."""
    shutil.rmtree(fresh_lab.recording_dir)
    check = (await checks_of(fresh_lab))["recording"]
    assert not check.ok
    assert "folder is not there" in check.detail
    assert "astspooldir" in check.fix
    assert "0 active channels" in fresh_lab.cli("core show channels")


async def test_a_folder_that_asterisk_cannot_write(fresh_lab: Lab) -> None:
    """RecordingFinished says done, there is no file, and the check says why."""
    fresh_lab.recording_dir.rmdir()
    fresh_lab.recording_dir.touch()
    check = (await checks_of(fresh_lab))["recording"]
    assert not check.ok
    assert "can't write" in check.detail
    assert f"{fresh_lab.recording_dir} is no folder" in check.detail
    assert "astspooldir" in check.fix


async def test_missing_modules_are_named(fresh_lab: Lab) -> None:
    """What is not loaded is named with the line that loads it."""
    fresh_lab.cli("module unload chan_rtp.so")
    fresh_lab.cli("module unload format_wav.so")
    found = await checks_of(fresh_lab)
    assert not found["modules"].ok
    assert "chan_rtp.so" in found["modules"].fix
    assert not found["formats"].ok
    assert "format_wav.so" in found["formats"].fix
    assert not found["recording"].ok


async def test_missing_prompts_are_a_failure(fresh_lab: Lab) -> None:
    """An Asterisk without prompts can't play any."""
    (fresh_lab.folder / "data/sounds/en").unlink()
    fresh_lab.restart()
    check = (await checks_of(fresh_lab))["sounds"]
    assert not check.ok
    assert "asterisk-core-sounds" in check.fix


async def test_a_user_who_may_only_read(fresh_lab: Lab) -> None:
    """The section of ari.conf that has to change is named, and nothing is tried."""
    async with client_of(fresh_lab, fresh_lab.reader, fresh_lab.reader_password) as client:
        found = {check.name: check for check in await run_checks(client, fresh_lab.recording_dir)}
    assert not found["user"].ok
    assert f"[{fresh_lab.reader}]" in found["user"].fix
    assert "recording" not in found


@pytest.mark.parametrize(
    ("newest", "oldest", "ok", "word"),
    [(1, 1, True, "tested up to 1"), (99, 99, False, "Install Asterisk 99")],
)
async def test_versions_other_than_the_tested_ones(
    lab: Pbx, monkeypatch: pytest.MonkeyPatch, newest: int, oldest: int, ok: bool, word: str
) -> None:
    """A newer version than the tested ones is a warning, an older one a failure."""
    monkeypatch.setattr(preflight, "NEWEST_TESTED", newest)
    monkeypatch.setattr(preflight, "OLDEST_SUPPORTED", oldest)
    check = (await checks_of(lab))["version"]
    assert check.ok is ok
    assert word in check.fix


async def test_little_space_is_a_failure(lab: Pbx, monkeypatch: pytest.MonkeyPatch) -> None:
    """Less than the mark is reported with what is there."""
    monkeypatch.setattr(preflight, "FREE_SPACE_MARK", 10**18)
    check = (await checks_of(lab))["disk"]
    assert not check.ok
    assert "GB free" in check.detail


async def test_a_served_application_is_left_alone(lab: Pbx, app_name: str) -> None:
    """The checks refuse to take over the name of a running program."""
    running = ARIClient(lab.ari_url, lab.ari_user, lab.ari_password, app_name=app_name)
    async with running:
        events = await running.events_websocket(heartbeat=10)
        with pytest.raises(ConfigurationError, match="served by a running program"):
            await run_checks(running, lab.recording_dir)
        await events.close()


async def test_a_wrong_password(lab: Pbx) -> None:
    """Without a valid user nothing can be checked: the error says whom Asterisk refused."""
    client = client_of(lab, password="wrong")
    with pytest.raises(AuthenticationFailed, match=lab.ari_user):
        await run_checks(client, lab.recording_dir)
    await client.close()


async def test_no_asterisk(free_port: Callable[[], int], tmp_path: Path) -> None:
    """Without an Asterisk the error names where it was looked for."""
    port = free_port()
    client = ARIClient(f"http://127.0.0.1:{port}", "user", "password", app_name=own_id("check"))
    with pytest.raises(TelephonyConnectionError, match=str(port)):
        await run_checks(client, tmp_path)
    await client.close()
