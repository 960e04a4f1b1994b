"""The lab's Asterisk: the installed one if there is one, else Debian's packages in a cache folder.

Debian 12 carries no Asterisk, a later suite does. Its packages are fetched with a private apt state
and unpacked with dpkg-deb: no root, no chroot, nothing installed on the host. They bring their own
C library, so the programs run through the loader that comes along.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from subprocess import TimeoutExpired

from voxtra.lab import process
from voxtra.lab.errors import LabError
from voxtra.lab.fetch import fetch

__all__ = ["MINIMUM_VERSION", "Asterisk", "cache_root", "ensure", "find_cached", "find_installed"]

MINIMUM_VERSION = 20

_PROGRAM_PLACES = ("/usr/sbin", "/usr/local/sbin", "/usr/bin", "/usr/local/bin")
_VERSION = re.compile(r"Asterisk (?:certified/|GIT-)?(\d+(?:\.\d+)*)")


@dataclass(frozen=True, slots=True)
class Asterisk:
    """A usable Asterisk: how to run it and where its modules and data are.

    `command` is the program with what must come before its arguments, `sounds` the folder of the
    English prompts.
    """

    command: tuple[str, ...]
    version: str
    modules: Path
    data: Path
    sounds: Path


def ensure() -> Asterisk:
    """Return an Asterisk to run: installed, else cached, else fetched now (80 MB, 180 on disk).

    Any number of processes may ask at once: one fetches, the others wait for it.
    Raises LabError that says what to install when none can be had.
    """
    installed = find_installed()
    if installed is not None:
        return installed
    root = cache_root()
    cached = find_cached(root)
    if cached is not None:
        return cached
    root.parent.mkdir(parents=True, exist_ok=True)
    with (root.parent / "asterisk.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # freed by the kernel, however this process ends
        cached = find_cached(root)
        if cached is not None:
            return cached
        fetch(root)
    fetched = find_cached(root)
    if fetched is None:
        msg = f"the Asterisk fetched into {root} is not complete; remove that folder and try again"
        raise LabError(msg)
    return fetched


def cache_root() -> Path:
    """Return the folder in which the fetched Asterisk is (or will be) unpacked."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "voxtra" / "asterisk"


def find_installed(path: str | None = None) -> Asterisk | None:
    """Return the Asterisk on `path` (default: PATH and the sbin folders), if it is complete.

    It counts when its version is at least `MINIMUM_VERSION` and its modules, ARI and English sounds
    are there.
    """
    if path is None:
        path = os.pathsep.join([os.environ.get("PATH", ""), *_PROGRAM_PLACES])
    program = shutil.which("asterisk", path=path)
    if program is None:
        return None
    version = _version_of((program,))
    if version is None or int(version.split(".", 1)[0]) < MINIMUM_VERSION:
        return None
    prefix = Path(program).resolve().parent.parent
    modules = _first_with(
        "res_ari.so",
        [
            *sorted(prefix.glob("lib/*-linux-*/asterisk/modules")),
            prefix / "lib64/asterisk/modules",
            prefix / "lib/asterisk/modules",
        ],
    )
    data = _first_with(
        "rest-api",
        [prefix / "share/asterisk", Path("/var/lib/asterisk"), prefix / "var/lib/asterisk"],
    )
    if modules is None or data is None:
        return None
    sounds = _english_sounds(data)
    if sounds is None:
        return None
    return Asterisk((program,), version, modules, data, sounds)


def find_cached(root: Path) -> Asterisk | None:
    """Return the Asterisk that was unpacked at `root`, if it is complete and runs."""
    loader = next(iter(sorted(root.glob("usr/lib/*-linux-*/ld-linux*.so.*"))), None)
    program = root / "usr/sbin/asterisk"
    if loader is None or not program.is_file():
        return None
    libraries = loader.parent
    data = root / "usr/share/asterisk"
    sounds = _english_sounds(data)
    command = (str(loader), "--library-path", str(libraries), str(program))
    version = _version_of(command)
    if sounds is None or version is None:
        return None
    return Asterisk(command, version, libraries / "asterisk/modules", data, sounds)


def _version_of(command: tuple[str, ...]) -> str | None:
    """Ask the program for its version, such as "22.10.1"; None when it says something else."""
    try:
        answer = process.run([*command, "-V"], timeout=20)
    except (OSError, TimeoutExpired) as error:
        raise LabError(f"{command[-1]} is there but does not run: {error}") from error
    match = _VERSION.search(answer.stdout.decode(errors="replace"))
    return match.group(1) if match else None


def _english_sounds(data: Path) -> Path | None:
    return _first_with("hello-world.*", [data / "sounds/en", data / "sounds/en_US_f_Allison"])


def _first_with(pattern: str, folders: list[Path]) -> Path | None:
    return next((folder for folder in folders if any(folder.glob(pattern))), None)


def main() -> None:
    """Make sure that there is an Asterisk for the lab, and say which."""
    try:
        asterisk = ensure()
    except LabError as error:
        sys.exit(f"lab: {error}")
    print(f"lab: Asterisk {asterisk.version} ({asterisk.command[-1]})", file=sys.stderr)


if __name__ == "__main__":
    main()
