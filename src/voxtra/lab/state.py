"""Labs that go on running after the command that started them: found again by name.

What is known of a lab lies in `<state>/labs/<name>.json`, readable by its owner alone, since it
holds the passwords; the lab's folder lies beside it.
"""

from __future__ import annotations

import fcntl
import json
import os
import shlex
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from voxtra.lab import process
from voxtra.lab.config import Settings
from voxtra.lab.errors import LabError
from voxtra.lab.instance import Lab, check_name

__all__ = ["down", "env_file", "find", "names", "state_root", "up"]


def state_root() -> Path:
    """Return the folder of the lasting labs."""
    base = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local/state")
    return Path(base).absolute() / "voxtra/labs"


def names() -> list[str]:
    """Return the names of the labs that were started and not taken down, sorted."""
    return sorted(path.stem for path in state_root().glob("*.json"))


def find(name: str) -> Lab:
    """Return the lab of that name, running or not. Raises LabError when there is none."""
    check_name(name)
    try:
        text = _file(name).read_text(encoding="utf-8")
    except FileNotFoundError as error:
        known = ", ".join(names()) or "none"
        msg = f"there is no lab {name!r} (known: {known}); start it: voxtra lab up --name {name}"
        raise LabError(msg) from error
    return _decode(text)


def up(name: str) -> tuple[Lab, bool]:
    """Start the lab of that name unless it runs; return it and whether it was started now."""
    check_name(name)
    with _lock():
        if _file(name).exists():
            lab = find(name)
            if lab.is_running:
                return lab, False
        folder = state_root() / name
        _clear(folder)
        lab = Lab.start(name=name, folder=folder, detached=True)
        try:
            _write(env_file(lab), _environment(lab))
            _write(_file(name), _encode(lab))
        except BaseException:
            lab.stop()
            raise
        return lab, True


def down(name: str) -> None:
    """Stop the lab of that name and remove all of it, its recordings too. Raises LabError."""
    with _lock():
        find(name).stop()
        _file(name).unlink()


def _clear(folder: Path) -> None:
    """Remove what a crash, a reboot or a killed `up` has left of a lab, its Asterisk too."""
    pid_file = folder / "run/asterisk.pid"
    if pid_file.exists():
        pid = int(pid_file.read_text())
        if process.is_alive(pid, str(folder / "etc/asterisk.conf")):
            process.end(pid, grace=10)
    if folder.exists():
        shutil.rmtree(folder)


def env_file(lab: Lab) -> Path:
    """Return the shell file that sets the VOXTRA_ARI_... variables for the lab."""
    return lab.folder / "env"


def _environment(lab: Lab) -> str:
    values = {
        "VOXTRA_ARI_URL": lab.ari_url,
        "VOXTRA_ARI_USER": lab.ari_user,
        "VOXTRA_ARI_PASSWORD": lab.ari_password,
        "VOXTRA_RECORDING_DIR": str(lab.recording_dir),
    }
    return "".join(f"export {name}={shlex.quote(value)}\n" for name, value in values.items())


def _write(path: Path, text: str) -> None:
    """Write a file that only its owner may read; it is there wholly or not at all."""
    part = path.with_name(f"{path.name}.part")
    part.touch(mode=0o600)
    part.write_text(text, encoding="utf-8")
    part.rename(path)


def _file(name: str) -> Path:
    return state_root() / f"{name}.json"


@contextmanager
def _lock() -> Iterator[None]:
    state_root().mkdir(mode=0o700, parents=True, exist_ok=True)
    with (state_root() / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _encode(lab: Lab) -> str:
    facts = asdict(lab.settings)
    facts["folder"] = str(lab.folder)
    del facts["outbound"]  # of no use to those who find the lab: none that lasts has one
    return json.dumps({"pid": lab.pid, "command": lab.command, "settings": facts}, indent=2)


def _decode(text: str) -> Lab:
    facts = json.loads(text)
    values = facts["settings"]
    values["folder"] = Path(values["folder"])
    values["rtp_ports"] = tuple(values["rtp_ports"])
    return Lab(Settings(**values), facts["command"], facts["pid"], keep=False, detached=True)
