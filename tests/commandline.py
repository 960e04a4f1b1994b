"""The real command line, as a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from voxtra.lab.pbx import Pbx

VOXTRA = Path(sys.executable).with_name("voxtra")


def environment_of(pbx: Pbx, **more: str) -> dict[str, str]:
    """Return the variables with which a program finds the PBX."""
    return {
        "VOXTRA_ARI_URL": pbx.ari_url,
        "VOXTRA_ARI_USER": pbx.ari_user,
        "VOXTRA_ARI_PASSWORD": pbx.ari_password,
        "VOXTRA_RECORDING_DIR": str(pbx.recording_dir),
        **more,
    }


def run(
    *arguments: str, env: Mapping[str, str] | None = None, folder: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run `voxtra ...` to its end."""
    return subprocess.run(
        [VOXTRA, *arguments],
        env={**os.environ, **(env or {})},
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


@contextmanager
def started(
    *command: str | Path, env: Mapping[str, str] | None = None, folder: Path | None = None
) -> Iterator[subprocess.Popen[str]]:
    """Run a command beside the test, in a process group of its own; kill it at the end."""
    with subprocess.Popen(
        command,
        env={**os.environ, **(env or {})},
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def complaint(done: subprocess.CompletedProcess[str]) -> str:
    """Return the one line of a command that could not be carried out."""
    assert done.returncode == 2, done
    assert done.stdout == ""
    line, end, rest = done.stderr.partition("\n")
    assert (end, rest) == ("\n", ""), done.stderr
    return line.removeprefix("Error: ")
