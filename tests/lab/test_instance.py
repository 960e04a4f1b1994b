"""A lab: a real Asterisk that comes up, is ours alone and goes without a trace."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from voxtra.ari import ARIClient
from voxtra.exceptions import AuthenticationFailed, Forbidden
from voxtra.lab import process
from voxtra.lab.errors import LabError
from voxtra.lab.instance import Lab
from voxtra.lab.ports import Ports

pytestmark = pytest.mark.asterisk


async def test_two_labs_run_side_by_side(fresh_lab: Lab) -> None:
    """Each lab has its own ports and password, and does not let the other's user in."""
    with Lab.start(name="second") as second:
        assert second.ari_url != fresh_lab.ari_url
        for lab in (fresh_lab, second):
            async with ARIClient(lab.ari_url, lab.ari_user, lab.ari_password) as client:
                assert client.is_connected
        stranger = ARIClient(second.ari_url, fresh_lab.ari_user, fresh_lab.ari_password)
        with pytest.raises(AuthenticationFailed):
            await stranger.connect()


def test_stop_leaves_nothing() -> None:
    """After a stop there is no process, no folder, and the ports are free again."""
    lab = Lab.start()
    pid, folder = lab.pid, lab.folder
    lab.stop()
    assert process.wait_exit(pid, 0)
    assert not folder.exists()
    lab.stop()  # once more does no harm
    ports = [Ports.reserve() for _ in range(3)]
    assert len({port.http for port in ports}) == 3
    for port in ports:
        port.release()


def test_a_kept_folder_stays(tmp_path: Path) -> None:
    """With `keep` the folder and what was recorded outlive the lab."""
    lab = Lab.start(folder=tmp_path / "lab", keep=True)
    (lab.recording_dir / "call.wav").touch()
    lab.stop()
    assert (tmp_path / "lab/spool/recording/call.wav").exists()


def test_the_error_of_a_lab_that_does_not_come_up_ends_with_its_log(tmp_path: Path) -> None:
    """A failed start shows why, from Asterisk's own log, and leaves nothing behind."""
    folder = tmp_path / "lab"
    with pytest.raises(LabError, match=r"did not come up(.|\n)*no-such-module") as caught:
        Lab.start(folder=folder, additions={"modules.conf": "require => no-such-module.so"})
    assert not folder.exists()
    assert "password" not in str(caught.value)


async def test_a_killed_lab_comes_back_as_it_was(fresh_lab: Lab) -> None:
    """After SIGKILL a restart has the same address and password, and the recordings."""
    (fresh_lab.recording_dir / "before.wav").touch()
    url, pid = fresh_lab.ari_url, fresh_lab.pid
    fresh_lab.kill()
    assert not fresh_lab.is_running
    fresh_lab.restart()
    assert fresh_lab.ari_url == url
    assert fresh_lab.pid != pid
    async with ARIClient(url, fresh_lab.ari_user, fresh_lab.ari_password) as client:
        assert [stored.name for stored in await client.list_stored_recordings()] == ["before"]


def test_a_lab_dies_with_the_process_that_started_it() -> None:
    """When its parent is killed, the kernel ends Asterisk at once."""
    script = (
        "import sys\n"
        "from voxtra.lab.instance import Lab\n"
        "lab = Lab.start()\n"
        "print(lab.pid, lab.folder, flush=True)\n"
        "sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        pid, folder = parent.stdout.readline().split()
        assert not process.wait_exit(int(pid), 0)
        parent.send_signal(signal.SIGKILL)
        parent.wait()
        assert process.wait_exit(int(pid), 10)
    for path in sorted(Path(folder).rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
    Path(folder).rmdir()


def test_a_lab_outlives_the_thread_that_started_it() -> None:
    """Only the end of the whole process ends the lab, not that of a thread in it."""
    started: list[Lab] = []
    thread = threading.Thread(target=lambda: started.append(Lab.start()))
    thread.start()
    thread.join()
    with started[0] as lab:
        assert not process.wait_exit(lab.pid, 0.3)
        assert "System uptime" in lab.cli("core show uptime")


def test_no_password_is_shown(fresh_lab: Lab) -> None:
    """No text of a lab shows a password, and only the owner may read its files."""
    shown = f"{fresh_lab!r} {fresh_lab} {fresh_lab.settings!r}"
    assert fresh_lab.ari_password not in shown
    assert fresh_lab.reader_password not in shown
    assert stat.S_IMODE(fresh_lab.folder.stat().st_mode) == 0o700
    for file in (fresh_lab.folder / "etc").iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file.name
    assert fresh_lab.ari_password not in fresh_lab.log_file.read_text()


def test_it_listens_on_loopback_alone(fresh_lab: Lab) -> None:
    """Nobody from outside this machine reaches the lab's HTTP or SIP."""
    tcp = listening(fresh_lab.pid, "tcp", "tcp6")
    udp = listening(fresh_lab.pid, "udp", "udp6")
    assert tcp == {("127.0.0.1", int(fresh_lab.ari_url.rpartition(":")[2]))}
    # pjproject's resolver holds two sockets of ports it was given to ask DNS from; no service.
    below_ephemeral = {(host, port) for host, port in udp if port < 32768}
    assert below_ephemeral == {("127.0.0.1", fresh_lab.sip_port)}


def listening(pid: int, *tables: str) -> set[tuple[str, int]]:
    """Return the addresses at which a process takes TCP connections or UDP packets."""
    inodes = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        target = os.readlink(link)
        if target.startswith("socket:["):
            inodes.add(target[8:-1])
    found = set()
    for table in tables:
        for row in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            fields = row.split()
            if fields[9] in inodes and fields[3] in ("0A", "07"):  # LISTEN, unconnected UDP
                address, port = fields[1].split(":")
                host = ".".join(str(byte) for byte in reversed(bytes.fromhex(address[-8:])))
                found.add((host, int(port, 16)))
    return found


async def test_the_reader_may_not_write(fresh_lab: Lab) -> None:
    """The second ARI user may ask, but not place a call."""
    async with ARIClient(fresh_lab.ari_url, fresh_lab.reader, fresh_lab.reader_password) as client:
        assert await client.list_channels() == []
        with pytest.raises(Forbidden):
            await client.originate("Local/answer@lab-phone/n", formats="slin")


def test_a_console_command_to_a_dead_lab_is_an_error(fresh_lab: Lab) -> None:
    """The console says that Asterisk is not there instead of printing nothing."""
    fresh_lab.kill()
    with pytest.raises(LabError, match="can't be reached"):
        fresh_lab.cli("core show channels")


@pytest.mark.parametrize("name", ["", "-x", "a/b", "../x", "Lab", "x" * 32])
def test_a_bad_name_is_refused(name: str) -> None:
    """A name that can't be part of a file name and of a channel's id is refused before anything."""
    with pytest.raises(LabError, match="small letters, digits and dashes"):
        Lab.start(name=name)


def test_a_bad_folder_is_refused(tmp_path: Path) -> None:
    """A folder in use, too long for a socket or with a ; in it is refused."""
    (tmp_path / "used").mkdir()
    (tmp_path / "used/file").touch()
    with pytest.raises(LabError, match="not empty"):
        Lab.start(folder=tmp_path / "used")
    with pytest.raises(LabError, match="shorter"):
        Lab.start(folder=tmp_path / ("x" * 100))
    with pytest.raises(LabError, match="can't hold"):
        Lab.start(folder=tmp_path / "a;b")
    assert [path.name for path in tmp_path.iterdir()] == ["used"]


def test_additions_extend_the_configuration() -> None:
    """What is added to a file is in effect; what is no configuration file is refused."""
    extra = "[extra]\nexten => 1,1,Hangup()\n"
    with Lab.start(additions={"extensions.conf": extra}) as lab:
        assert "Hangup" in lab.cli("dialplan show extra")
    with pytest.raises(LabError, match="name of a configuration file"):
        Lab.start(additions={"../x.conf": ""})
