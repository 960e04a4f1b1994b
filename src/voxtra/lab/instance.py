"""One disposable Asterisk: own folder, own ports, generated passwords, loopback only."""

from __future__ import annotations

import base64
import http.client
import os
import re
import secrets
import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from voxtra.lab import config, process
from voxtra.lab.config import Outbound, Settings
from voxtra.lab.errors import LabError
from voxtra.lab.install import ensure
from voxtra.lab.ports import Ports

__all__ = ["BOOT_TIMEOUT", "Lab", "check_name"]

BOOT_TIMEOUT = 30.0
"""Seconds until a lab that does not come up is an error; it takes 0.4 on an idle machine."""

_STOP_TIMEOUT = 10.0
_COMMAND_TIMEOUT = 15.0
_SOCKET_PATH_MAX = 107  # bytes: Linux's limit for the control socket's path
_CLOSE_FRAME = (
    b"\x88\x80\0\0\0\0"  # websocket: close, masked as a client's frame must be, no payload
)
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,30}")


class Lab:
    """A running Asterisk that is ours alone.

    `Lab.start()` makes one; as a context manager it is stopped and removed at the end. Unless
    `detached`, the kernel kills it when our process ends. `keep` leaves its folder after `stop`.
    """

    def __init__(
        self, settings: Settings, command: Sequence[str], pid: int, *, keep: bool, detached: bool
    ) -> None:
        self.settings = settings
        self.command = tuple(command)
        self.pid = pid
        self._keep = keep
        self._detached = detached
        self._ports: Ports | None = None

    @classmethod
    def start(
        cls,
        *,
        name: str = "lab",
        folder: Path | None = None,
        keep: bool = False,
        detached: bool = False,
        outbound_ws: str = "",
        apps: Sequence[str] = (),
        outbound_user: str = "",
        outbound_password: str = "",
        ari_transfers: bool = False,
        additions: Mapping[str, str] | None = None,
    ) -> Lab:
        """Start an Asterisk and return when it is fully booted and ARI's websocket answers.

        `folder` is made when it does not exist (default: a temporary one). `outbound_ws`
        ("ws://host:port/path") makes Asterisk open a persistent websocket there for `apps`.
        `ari_transfers` hands SIP transfers to the application (ChannelTransfer) instead of carrying
        them out. `additions` maps configuration file names to text that is appended to them. Raises
        LabError, with the log's last lines, when it does not come up.
        """
        check_name(name)
        if bool(outbound_ws) != bool(apps):
            msg = (
                "outbound_ws and apps belong together: the address, and the applications it serves"
            )
            raise LabError(msg)
        asterisk = ensure()
        folder = _make_folder(folder)
        ports = Ports.reserve()
        settings = Settings(
            name=name,
            folder=folder,
            http_port=ports.http,
            sip_port=ports.sip,
            rtp_ports=ports.rtp,
            user="voxtra",
            password=secrets.token_urlsafe(24),
            reader="reader",
            reader_password=secrets.token_urlsafe(24),
            outbound=Outbound(outbound_ws, tuple(apps), outbound_user, outbound_password)
            if outbound_ws
            else None,
            ari_transfers=ari_transfers,
        )
        lab = cls(settings, asterisk.command, 0, keep=keep, detached=detached)
        lab._ports = ports
        try:
            config.write(asterisk, settings, additions or {})
            lab._boot()
        except BaseException:
            lab.stop()
            raise
        if detached:
            lab._release_ports()
        return lab

    @property
    def name(self) -> str:
        """The lab's name; it begins every channel id."""
        return self.settings.name

    @property
    def folder(self) -> Path:
        """The folder of everything that belongs to the lab."""
        return self.settings.folder

    @property
    def ari_url(self) -> str:
        """Where ARI is: http://127.0.0.1:port."""
        return f"http://127.0.0.1:{self.settings.http_port}"

    @property
    def ari_user(self) -> str:
        """The ARI user who may do everything."""
        return self.settings.user

    @property
    def ari_password(self) -> str:
        """The password of `ari_user`."""
        return self.settings.password

    @property
    def reader(self) -> str:
        """An ARI user who may only read."""
        return self.settings.reader

    @property
    def reader_password(self) -> str:
        """The password of `reader`."""
        return self.settings.reader_password

    @property
    def sip_port(self) -> int:
        """The UDP port on 127.0.0.1 that takes SIP calls from anybody on this machine."""
        return self.settings.sip_port

    @property
    def recording_dir(self) -> Path:
        """Where Asterisk stores recordings."""
        return self.folder / "spool/recording"

    @property
    def sounds_dir(self) -> Path:
        """Where sounds for this lab can be put: `x.wav` there is the sound `lab/x`."""
        return self.folder / "data/sounds/lab"

    @property
    def sounds_prefix(self) -> str:
        """What comes before the name of a sound in `sounds_dir`."""
        return "lab/"

    @property
    def log_file(self) -> Path:
        """Asterisk's notices, warnings and errors."""
        return self.folder / "log/messages"

    @property
    def is_running(self) -> bool:
        """Whether the Asterisk process of this lab is there."""
        return self.pid > 0 and process.is_alive(self.pid, str(self._configuration))

    def stop(self) -> None:
        """End Asterisk, by force after 10 s, and remove the folder unless it is to be kept."""
        if self.is_running:
            process.end(self.pid, grace=_STOP_TIMEOUT)
        self._release_ports()
        if not self._keep:
            shutil.rmtree(self.folder, ignore_errors=True)

    def kill(self) -> None:
        """Kill Asterisk on the spot, as a crash would; `restart` brings it back."""
        if self.is_running:
            process.end(self.pid, grace=0)

    def restart(self) -> None:
        """Start Asterisk with the same folder, ports and passwords; end a running one first."""
        if self.is_running:
            process.end(self.pid, grace=_STOP_TIMEOUT)
        self._boot()

    def cli(self, command: str) -> str:
        """Run a console command ("core show channels") and return its output. Raises LabError."""
        try:
            done = self._remote(command, _COMMAND_TIMEOUT)
        except subprocess.TimeoutExpired as error:
            msg = f"{command!r}: lab {self.name} did not answer within {_COMMAND_TIMEOUT:g} s"
            raise LabError(msg) from error
        if done.returncode != 0:
            said = (done.stderr or done.stdout).decode(errors="replace").strip()
            msg = f"{command!r}: lab {self.name} can't be reached: {said}"
            raise LabError(msg)
        return done.stdout.decode(errors="replace")

    def log_tail(self, lines: int = 20) -> list[str]:
        """Return the last lines of Asterisk's log, or of its output if it never got to logging."""
        for path in (self.log_file, self._console):
            if path.is_file():
                tail = path.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:]
                if tail:
                    return tail
        return []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def __repr__(self) -> str:
        return f"<Lab {self.name} {self.ari_url} pid {self.pid}>"

    @property
    def _configuration(self) -> Path:
        return self.folder / "etc/asterisk.conf"

    @property
    def _console(self) -> Path:
        return self.folder / "log/console"

    def _remote(self, command: str, timeout: float) -> subprocess.CompletedProcess[bytes]:
        # -n: without the colours of a terminal
        arguments = ["-C", str(self._configuration), "-n", "-rx", command]
        return process.run([*self.command, *arguments], timeout=timeout)

    def _boot(self) -> None:
        arguments = [*self.command, "-C", str(self._configuration), "-f"]
        self.pid = process.spawn(arguments, self._console, dies_with_us=not self._detached)
        deadline = time.monotonic() + BOOT_TIMEOUT
        reason = "it has not booted"
        while time.monotonic() < deadline:
            # The control socket appears during boot; until then the command fails at once.
            if process.wait_exit(self.pid, 0.02):
                reason = "the process ended"
                break
            try:
                booted = self._remote("core waitfullybooted", max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                break
            if booted.returncode == 0:
                reason = self._websocket_problem()
                if not reason:
                    return
                break
        tail = "\n  ".join(self.log_tail() or ["(the log is empty)"])
        self.kill()
        msg = f"lab {self.name} did not come up: {reason}. The end of Asterisk's log:\n  {tail}"
        raise LabError(msg)

    def _websocket_problem(self) -> str:
        """Open ARI's events websocket as a client would; return what is wrong with it, or ""."""
        login = base64.b64encode(f"{self.ari_user}:{self.ari_password}".encode()).decode()
        headers = {
            "Authorization": f"Basic {login}",
            "Connection": "Upgrade",
            "Upgrade": "websocket",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(),
        }
        connection = http.client.HTTPConnection("127.0.0.1", self.settings.http_port, timeout=10)
        try:
            connection.request("GET", "/ari/events?app=voxtra-lab-ready", headers=headers)
            status = connection.getresponse().status
            if status == http.HTTPStatus.SWITCHING_PROTOCOLS:
                connection.sock.sendall(_CLOSE_FRAME)
        except (OSError, http.client.HTTPException) as error:
            return f"ARI does not answer on port {self.settings.http_port} ({error})"
        finally:
            connection.close()
        if status != http.HTTPStatus.SWITCHING_PROTOCOLS:
            return f"ARI's events websocket answers with status {status}"
        return ""

    def _release_ports(self) -> None:
        if self._ports is not None:
            self._ports.release()
            self._ports = None


def check_name(name: str) -> None:
    """Raise LabError unless `name` can name a lab, and so a file and a channel's id."""
    if not _NAME.fullmatch(name):
        msg = f"lab name {name!r}: use up to 31 small letters, digits and dashes"
        raise LabError(msg)


def _make_folder(folder: Path | None) -> Path:
    """Make the lab's folder, readable by us alone. Raises LabError when it can't serve."""
    if folder is None:
        return Path(tempfile.mkdtemp(prefix="voxtra-lab-"))
    folder = folder.absolute()
    if re.search(r"[;\n\r]|=>", str(folder)):
        msg = f"folder {folder}: Asterisk's configuration can't hold a path with ; or => in it"
        raise LabError(msg)
    if len(os.fsencode(folder / "run/asterisk.ctl")) > _SOCKET_PATH_MAX:
        msg = f"folder {folder}: too long for Asterisk's control socket; choose a shorter path"
        raise LabError(msg)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if any(folder.iterdir()):
        msg = f"folder {folder} is not empty; give a new one"
        raise LabError(msg)
    return folder
