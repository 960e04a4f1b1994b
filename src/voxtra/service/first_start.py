"""What a service does before it serves: the tables, the first tenant, the first key, and the
webhook of the configuration.
"""

from __future__ import annotations

import asyncio
import logging
import os
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Row, select
from sqlalchemy.ext.asyncio import AsyncConnection

from voxtra.config import VoxtraConfig, WebhookConfig
from voxtra.model import DEFAULT_TENANT
from voxtra.service.addresses import AddressGuard
from voxtra.store import access, endpoints
from voxtra.store.database import Database
from voxtra.store.migrate import check, current, migrate
from voxtra.store.schema import keys, tenants, utc_now, webhook_endpoints

__all__ = ["ADMIN_KEY", "begin"]

log = logging.getLogger(__name__)

ADMIN_KEY: Final = "admin.key"
"""The file in the data folder that holds the first key, readable by its owner alone."""

_FROM_CONFIG: Final = "backend.webhook of the configuration"


async def begin(database: Database, config: VoxtraConfig, folder: Path) -> None:
    """Have all that a service needs in its database.

    An empty database gets its tables; one of another version is left to `voxtra migrate`. Raises
    `ConfigurationError`.
    """
    if await current(database) is None:
        await migrate(database)
    await check(database)
    async with database.write() as connection:
        new = await access.ensure_default(
            connection, utc_now(), retention_days=config.retention.days
        )
    if new:
        _say_how_long(config.retention.days)
    await _first_key(database, folder)
    await _webhook(database, config)


def _say_how_long(days: int) -> None:
    if days:
        log.warning(
            "recordings are DELETED %d days after their end; to keep them longer, change the "
            "tenant's retention (`PUT /v1.0/retention`), 0 keeps them for ever",
            days,
        )
    else:
        log.warning("recordings are kept for ever; see that the disk is large enough")


async def _first_key(database: Database, folder: Path) -> None:
    """Make a key for the administrator when there is none at all; it goes into a file, never into a
    log.
    """
    path = folder / ADMIN_KEY
    async with database.write() as connection:
        await _one_at_a_time(connection)
        if (await connection.execute(select(keys.c.id).limit(1))).first() is not None:
            return
        made = await access.create_key(
            connection, tenant_id=DEFAULT_TENANT, name="admin", role="admin", now=utc_now()
        )
        # Before the commit: a key that nobody could read would be the only one for ever.
        await asyncio.to_thread(_write_secret, path, made.secret)
    log.warning("the administrator's key is in %s", path)


def _write_secret(path: Path, secret: str) -> None:
    part = path.with_suffix(".part")
    part.unlink(missing_ok=True)
    with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(f"{secret}\n")
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


async def _webhook(database: Database, config: VoxtraConfig) -> None:
    """Have the webhook of the configuration as an endpoint, and none of an older configuration.

    One that has changed keeps what waits for it.
    """
    wanted = config.backend.webhook
    if wanted.url:
        AddressGuard(config.delivery.allow).check_url(wanted.url)
    async with database.write() as connection:
        await _one_at_a_time(connection)
        row = (
            await connection.execute(
                select(webhook_endpoints).where(
                    webhook_endpoints.c.tenant_id == DEFAULT_TENANT,
                    webhook_endpoints.c.description == _FROM_CONFIG,
                    webhook_endpoints.c.deleted_at.is_(None),
                )
            )
        ).first()
        if row is None and wanted.url:
            await endpoints.create(
                connection,
                DEFAULT_TENANT,
                url=wanted.url,
                now=utc_now(),
                events=wanted.events,
                secret=wanted.signing_secret,
                description=_FROM_CONFIG,
            )
        elif row is not None and not wanted.url:
            await endpoints.delete(connection, DEFAULT_TENANT, row.id, now=utc_now())
        elif row is not None:
            await _renew(connection, row, wanted)


async def _renew(connection: AsyncConnection, row: Row[Any], wanted: WebhookConfig) -> None:
    """Bring the endpoint of an older configuration to this one."""
    if (row.url, list(row.events)) != (wanted.url, wanted.events):
        await endpoints.change(
            connection, DEFAULT_TENANT, row.id, url=wanted.url, events=wanted.events
        )
    if wanted.signing_secret and wanted.signing_secret != row.secret:
        await endpoints.rotate(
            connection, DEFAULT_TENANT, row.id, now=utc_now(), secret=wanted.signing_secret
        )


async def _one_at_a_time(connection: AsyncConnection) -> None:
    """Let another process that begins at the same moment wait for this transaction's end."""
    await connection.execute(
        select(tenants.c.id).where(tenants.c.id == DEFAULT_TENANT).with_for_update()
    )
