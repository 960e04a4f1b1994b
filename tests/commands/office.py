"""A service's database, blobs and configuration, and the command line on them."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import pytest
from sqlalchemy import Row, select
from sqlalchemy.ext.asyncio import AsyncConnection

from tests.store import making
from voxtra.blobs.local import LocalStore
from voxtra.cli import main
from voxtra.ids import new_id
from voxtra.model import DEFAULT_TENANT
from voxtra.store import access
from voxtra.store.database import Database
from voxtra.store.schema import audit, recordings

T = TypeVar("T")


@dataclass
class Said:
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[dict[str, Any]]:
        """What it printed as JSON, one object on a line."""
        assert self.code == 0, self
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def complaint(self) -> str:
        """The one line of a command that could not be carried out."""
        assert (self.code, self.out) == (2, ""), self
        line, end, rest = self.err.partition("\n")
        assert (end, rest) == ("\n", ""), self
        return line.removeprefix("Error: ")


@dataclass
class Office:
    """What an operator has in front of them."""

    url: str
    folder: Path
    capsys: pytest.CaptureFixture[str]

    @property
    def config(self) -> Path:
        """The configuration file."""
        return self.folder / "voxtra.yaml"

    @property
    def spool(self) -> Path:
        """The PBX's recording folder."""
        return self.folder / "spool"

    def write_config(self) -> None:
        """Write the configuration file."""
        self.config.write_text(
            f"database: {{url: '{self.url}'}}\n"
            f"service: {{data_dir: '{self.folder / 'data'}', node: desk}}\n"
            f"telephony: {{asterisk: {{recording_dir: '{self.spool}'}}}}\n"
        )

    def run(self, *arguments: str) -> Said:
        """Type a command."""
        handlers = logging.getLogger().handlers[:]
        self.capsys.readouterr()
        code = main([*arguments, "-c", str(self.config)])
        assert logging.getLogger().handlers == handlers
        printed = self.capsys.readouterr()
        return Said(code, printed.out, printed.err)

    def lines(self, *arguments: str) -> list[dict[str, Any]]:
        """Type a command with --json, and return what it printed."""
        return self.run(*arguments, "--json").lines

    def write(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        """Do something in a transaction of another process."""

        async def do() -> T:
            database = Database(self.url)
            try:
                async with database.write() as connection:
                    return await work(connection)
            finally:
                await database.close()

        return asyncio.run(do())

    def blob(self, key: str) -> Path:
        """Return where the file of a blob is."""
        return self.folder / "data" / "blobs" / key

    def put(self, key: str, data: bytes) -> None:
        """Store a blob."""

        async def do() -> None:
            store = LocalStore(self.folder / "data" / "blobs")
            await store.write(key, [data])
            store.close()

        asyncio.run(do())

    def record(self, data: bytes = b"RIFF", **columns: Any) -> str:
        """Make a recording with its file, as after everything went well; return its id."""
        recording_id = new_id()
        values: dict[str, Any] = {"tenant_id": DEFAULT_TENANT, "id": recording_id, **columns}
        if values.get("state", "available") == "available" and "blob_key" not in values:
            key = f"recordings/{values['tenant_id']}/2026/03/01/{recording_id}.wav"
            self.put(key, data)
            values |= {
                "blob_key": key,
                "size": len(data),
                "sha256": hashlib.sha256(data).hexdigest(),
                "available_at": making.ENDED,
                "duration_ms": 60_000,
            }
        return self.write(lambda connection: making.add_recording(connection, **values))

    def row(self, recording_id: str) -> Row[Any]:
        """Return a recording's row."""

        async def read(connection: AsyncConnection) -> Row[Any]:
            found = await connection.execute(
                select(recordings).where(recordings.c.id == recording_id)
            )
            return found.one()

        return self.write(read)

    def acts(self) -> list[tuple[str, str, str]]:
        """Return who did what to which thing, the oldest first."""

        async def read(connection: AsyncConnection) -> list[tuple[str, str, str]]:
            query = select(audit.c.actor, audit.c.action, audit.c.subject_id)
            return [tuple(row) for row in await connection.execute(query.order_by(audit.c.seq))]

        return self.write(read)


def office_on(url: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> Office:
    """Open an office on a database, with the default tenant in it."""
    made = Office(url, folder, capsys)
    made.spool.mkdir()
    made.write_config()

    async def begin(connection: AsyncConnection) -> None:
        await access.ensure_default(connection, datetime.fromisoformat("2026-01-01T00:00Z"))

    made.write(begin)
    return made
