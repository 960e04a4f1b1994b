"""Start, watch and end the Asterisk process by its pid."""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from voxtra.lab.errors import LabError

__all__ = ["end", "is_alive", "run", "spawn", "wait_exit"]

# The kernel's parent-death signal is sent when the *thread* that started the child ends. This one
# lives as long as our process, so a lab may be started from any short-lived thread.
_starter = ThreadPoolExecutor(max_workers=1, thread_name_prefix="voxtra-lab")


def run(
    command: Sequence[str], *, stdin: bytes = b"", timeout: float | None = None
) -> subprocess.CompletedProcess[bytes]:
    """Run a command to its end and return what it printed; raises only when it can't be run."""
    return subprocess.run(  # noqa: S603  # no shell; the commands are ours
        command, input=stdin, capture_output=True, timeout=timeout, check=False
    )


def spawn(command: Sequence[str], output: Path, *, dies_with_us: bool) -> int:
    """Start a program in its own session, with its output appended to a file, and return its pid.

    With `dies_with_us` the kernel kills it when our process ends, whatever ended that.
    Raises LabError when setpriv (util-linux) is needed and missing.
    """
    if dies_with_us:
        setpriv = shutil.which("setpriv")
        if setpriv is None:
            msg = "setpriv is missing: apt-get install util-linux"
            raise LabError(msg)
        arguments = [setpriv, "--pdeathsig", "KILL", *command]
    else:
        arguments = list(command)
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, str(output), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ]

    def start() -> int:
        return os.posix_spawn(
            arguments[0], arguments, os.environ, file_actions=actions, setsid=True
        )

    return _starter.submit(start).result()


def wait_exit(pid: int, seconds: float) -> bool:
    """Wait at most `seconds` for the process to be gone; tell whether it is. Reaps our child."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        poll = select.poll()
        poll.register(handle, select.POLLIN)
        if not poll.poll(seconds * 1000):
            return False
        try:
            os.waitid(os.P_PIDFD, handle, os.WEXITED)
        except ChildProcessError:
            return True  # started by another process, which reaps it
        return True
    finally:
        os.close(handle)


def is_alive(pid: int, mark: str) -> bool:
    """Tell whether the process runs with `mark` as an argument: a pid may be given anew."""
    if wait_exit(pid, 0):
        return False
    try:
        arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except FileNotFoundError:
        return False
    return os.fsencode(mark) in arguments


def end(pid: int, *, grace: float) -> None:
    """End the process: politely, and after `grace` seconds by force."""
    try:
        if grace > 0:
            os.kill(pid, signal.SIGTERM)
            if wait_exit(pid, grace):
                return
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    if not wait_exit(pid, 10):
        msg = f"process {pid} did not end within 10 s of SIGKILL"
        raise LabError(msg)
