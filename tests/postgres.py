"""A PostgreSQL of the tests' own: on loopback, in a temporary folder, gone with the process."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import asyncpg
from sqlalchemy import URL, make_url

__all__ = ["MISSING", "PostgresServer", "find_programs"]

MISSING: Final = "needs PostgreSQL 15 or newer: apt-get install postgresql"

_START_SECONDS: Final = 30.0
_TRIES: Final = 5

_SETTINGS: Final = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    # What makes a database safe in a power failure makes a test slow, and proves nothing here.
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "shared_buffers": "64MB",
    "max_connections": "200",
}


def find_programs() -> Path | None:
    """Return the folder of the newest PostgreSQL's programs, 15 or above, or None."""
    found = [
        (int(each.parent.parent.name), each.parent)
        for each in Path("/usr/lib/postgresql").glob("*/bin/postgres")
        if each.parent.parent.name.isdecimal() and (each.parent / "initdb").exists()
    ]
    return max((each for each in found if each[0] >= 15), default=(0, None))[1]


class PostgresServer:
    """A server in which each test has a database of its own; `url` is that of its administrator."""

    def __init__(self, url: URL) -> None:
        self.url = url.set(drivername="postgresql")

    @classmethod
    @contextlib.contextmanager
    def start(cls, programs: Path) -> Iterator[PostgresServer]:
        """Start a new server, and end it at the end."""
        folder = Path(tempfile.mkdtemp(prefix="voxtra-postgres-"))
        try:
            as_user = _as_postgres(folder)
            password = secrets.token_hex(16)
            _make_cluster(programs, folder, as_user, password)
            process, port = _serve(programs, folder, as_user)
            try:
                url = URL.create(
                    "postgresql",
                    "voxtra",
                    password,
                    host="127.0.0.1",
                    port=port,
                    database="postgres",
                )
                yield cls(url)
            finally:
                # SIGINT is PostgreSQL's "fast": open sessions are rolled back, not waited for.
                process.send_signal(signal.SIGINT)
                process.wait(_START_SECONDS)
        finally:
            shutil.rmtree(folder)

    def database(self, name: str) -> str:
        """Return the URL of one of its databases."""
        return self.url.set(database=name).render_as_string(hide_password=False)

    def create(self, name: str, *, template: str = "template0") -> str:
        """Make a database, empty or a copy of another, and return its URL."""
        self.run(f"CREATE DATABASE {name} TEMPLATE {template}")
        return self.database(name)

    def drop(self, name: str) -> None:
        """Remove a database, whoever is still connected to it."""
        self.run(f"DROP DATABASE {name} WITH (FORCE)")

    def run(self, statement: str, *arguments: Any) -> list[Any]:
        """Run one statement as the administrator and return its rows."""

        async def ask() -> list[Any]:
            connection = await asyncpg.connect(self.url.render_as_string(hide_password=False))
            try:
                return list(await connection.fetch(statement, *arguments))
            finally:
                await connection.close()

        return asyncio.run(ask())

    @classmethod
    def of(cls, url: str) -> PostgresServer:
        """Return the server of a URL, whose user may create databases."""
        return cls(make_url(url))


def _as_postgres(folder: Path) -> list[str]:
    """Return what a command begins with to run as a user whom PostgreSQL serves, never root.

    The kernel ends the server with us, whatever ended us: SIGQUIT is its immediate shutdown.
    """
    command = ["setpriv", "--pdeathsig", "QUIT"]
    if os.getuid() != 0:
        return command
    user = pwd.getpwnam("postgres")
    os.chown(folder, user.pw_uid, user.pw_gid)
    return [*command, "--reuid", "postgres", "--regid", str(user.pw_gid), "--init-groups"]


def _make_cluster(programs: Path, folder: Path, as_user: list[str], password: str) -> None:
    word = folder / "password"
    word.write_text(password)
    if os.getuid() == 0:
        shutil.chown(word, "postgres")
    subprocess.run(
        [
            *as_user,
            str(programs / "initdb"),
            "--no-sync",
            "--username=voxtra",
            f"--pwfile={word}",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            # Not "C": there, letters beyond ASCII are no letters to a text search.
            "--locale=C.UTF-8",
            str(folder / "data"),
        ],
        cwd=folder,
        check=True,
        stdout=subprocess.DEVNULL,
    )
    word.unlink()


def _serve(programs: Path, folder: Path, as_user: list[str]) -> tuple[subprocess.Popen[bytes], int]:
    """Start the server on a free port; another program may take that first, so try again."""
    log = folder / "log"
    for _ in range(_TRIES):
        port = _free_port()
        settings = [f"--{name}={value}" for name, value in _SETTINGS.items()]
        with log.open("ab") as output:
            process = subprocess.Popen(
                [
                    *as_user,
                    str(programs / "postgres"),
                    f"-D{folder / 'data'}",
                    f"-p{port}",
                    *settings,
                ],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        if _is_ready(process, folder):
            return process, port
    raise RuntimeError(f"PostgreSQL did not start:\n{log.read_text()}")


def _is_ready(process: subprocess.Popen[bytes], folder: Path) -> bool:
    """Wait until the server says in its pid file that it takes connections, or has ended."""
    deadline = time.monotonic() + _START_SECONDS
    while process.poll() is None:
        with contextlib.suppress(FileNotFoundError):
            lines = (folder / "data" / "postmaster.pid").read_text().splitlines()
            if len(lines) >= 8 and lines[0] == str(process.pid) and lines[7].strip() == "ready":
                return True
        if time.monotonic() > deadline:
            process.kill()
            process.wait()
            return False
        time.sleep(0.02)
    return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
