"""A service's database and blobs, opened for a command: also while the service runs, or is down."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import pwd
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import asyncpg
import click
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from voxtra.blobs.base import BlobStore
from voxtra.commands.show import Lines
from voxtra.config import VoxtraConfig
from voxtra.exceptions import ConfigurationError
from voxtra.model import DEFAULT_TENANT
from voxtra.service.node import data_dir_of, database_of, open_blobs
from voxtra.store import audit
from voxtra.store.database import Database
from voxtra.store.migrate import check
from voxtra.store.schema import recordings, tenants, utc_now

__all__ = ["ACTOR", "Opened", "note", "opened", "run"]

ACTOR: Final = "cli"
"""Who acts, in the audit trail."""

_SQLITE: Final = "sqlite:///"


@dataclass(frozen=True)
class Opened:
    """What a command works with."""

    config: VoxtraConfig
    database: Database
    data_dir: Path

    @property
    def node(self) -> str:
        """The name of the process of the service that has this configuration."""
        return self.config.service.node or self.config.app_name

    @cached_property
    def blobs(self) -> BlobStore:
        """Where recordings are stored. Raises `ConfigurationError`."""
        return open_blobs(self.config)

    async def check_tenant(self, connection: AsyncConnection, tenant_id: str) -> None:
        """Raise `click.UsageError` when there is no such tenant: one that is misspelt would look as
        if it had nothing. One that a route names has recordings, if perhaps no row of its own.
        """
        known = (await connection.execute(select(tenants.c.id).order_by(tenants.c.id))).scalars()
        names = list(dict.fromkeys([DEFAULT_TENANT, *known]))
        of_route = select(recordings.c.id).where(recordings.c.tenant_id == tenant_id).limit(1)
        if tenant_id not in names and (await connection.execute(of_route)).first() is None:
            there = ", ".join(names)
            raise click.UsageError(
                f"--tenant: there is no tenant {tenant_id!r}. There are: {there}."
            )


async def note(
    connection: AsyncConnection, tenant_id: str, action: str, subject_id: str, **detail: Any
) -> None:
    """Note an act in the audit trail, in its transaction; the subject's kind is what stands before
    the dot.
    """
    await audit.record(
        connection,
        tenant_id=tenant_id,
        actor=ACTOR,
        action=action,
        subject_kind=action.partition(".")[0],
        subject_id=subject_id,
        detail=detail,
        at=utc_now(),
    )


@contextlib.asynccontextmanager
async def opened(path: Path, *, any_revision: bool = False) -> AsyncIterator[Opened]:
    """Open what a configuration file names; the database has to be of this version unless
    `any_revision`. Raises `ConfigurationError`.
    """
    config = VoxtraConfig.from_yaml(path)
    data_dir = data_dir_of(config)
    _check_owner(data_dir)
    file = _file_of(config, data_dir)
    if file is not None and not any_revision and not file.exists():
        raise ConfigurationError(
            f"{file} is not there",
            field="database.url",
            fix="Name the service's own configuration with -c, or run voxtra migrate to begin",
        )
    made = Opened(config, database_of(config), data_dir)
    try:
        if not any_revision:
            await check(made.database)
        yield made
    finally:
        await made.database.close()
        if "blobs" in made.__dict__:
            made.blobs.close()


def run(work: Callable[[], Coroutine[Any, Any, int | None]]) -> None:
    """Do the work of a command; what it returns is the exit code.

    A database that can't be used is one line, as every other error.
    """
    root = logging.getLogger()
    lines = Lines(logging.WARNING)
    root.addHandler(lines)
    try:
        code = asyncio.run(work())
    except (SQLAlchemyError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise _unusable(error) from error
    except BrokenPipeError:
        raise
    except OSError as error:
        raise _unusable(error) from error
    finally:
        root.removeHandler(lines)
    if code:
        raise click.exceptions.Exit(code)


def _unusable(error: Exception) -> click.ClickException:
    """Return the error for what a database or the operating system refuses."""
    said = str(getattr(error, "orig", None) or error).partition("\n")[0]
    file = getattr(error, "filename", None)
    if isinstance(error, OSError) and file:
        return click.ClickException(f"{file}: {error.strerror}")
    return click.ClickException(
        f"the database can't be used: {said or type(error).__name__}. See database.url"
    )


def _file_of(config: VoxtraConfig, data_dir: Path) -> Path | None:
    """Return the file of a database that is one."""
    url = config.database.url
    if url.startswith(_SQLITE):
        return Path(url.removeprefix(_SQLITE))
    return None if url else data_dir / "voxtra.db"


def _check_owner(data_dir: Path) -> None:
    """Refuse to work as root on what belongs to the service's user: files that root makes there
    would be out of that user's reach.
    """
    if os.geteuid() != 0 or not data_dir.is_dir():
        return
    owner = data_dir.stat().st_uid
    if owner != 0:
        try:
            name = pwd.getpwuid(owner).pw_name
        except KeyError:
            name = f"#{owner}"
        raise ConfigurationError(
            f"{data_dir} belongs to the user {name}, and you are root",
            field="service.data_dir",
            fix=f"Run this as the service's own user: sudo -u '{name}' voxtra ...",
        )
