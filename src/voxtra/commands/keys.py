"""The commands `voxtra keys create|ls|revoke`."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import click
from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from voxtra.commands import options
from voxtra.commands.opened import Opened, note, opened, run
from voxtra.commands.show import print_json, say, table, warn
from voxtra.commands.text import local
from voxtra.exceptions import ConfigurationError
from voxtra.service.access import ROLES, SCOPES, granted
from voxtra.store import access
from voxtra.store.schema import utc_now

__all__ = ["keys"]

_PAGE = 100
_LONGEST_NAME = 100


@click.group()
def keys() -> None:
    """Make, list and revoke keys of the REST API."""


@keys.command()
@options.config
@click.option("--name", required=True, help="What the key is for, and whose it is.")
@click.option("--role", required=True, type=click.Choice(sorted(ROLES)), help="What it may do.")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    type=click.Choice(sorted(SCOPES)),
    help="Only this of its role; may be given several times.",
)
@options.moment("--expires", "When it ends: a date, or 90d; without it never.", ahead=True)
@options.tenant
@click.option("--new-tenant", is_flag=True, help="Make the tenant if there is none of that name.")
@options.json_object
def create(
    path: Path,
    *,
    name: str,
    role: str,
    scopes: tuple[str, ...],
    expires: datetime | None,
    tenant_id: str,
    new_tenant: bool,
    as_json: bool,
) -> None:
    """Make a key and print it, this once: it is kept nowhere.

    It works at once, also while the service runs.
    """
    _check(name, role, scopes, expires)

    async def work() -> None:
        async with opened(path) as at, at.database.write() as connection:
            await _tenant(at, connection, tenant_id, make=new_tenant)
            made = await access.create_key(
                connection,
                tenant_id=tenant_id,
                name=name,
                role=role,
                scopes=scopes,
                expires_at=expires,
                now=utc_now(),
            )
            await note(connection, tenant_id, "key.created", made.id, role=role)
            row = await access.get_key(connection, tenant_id, made.id)
        # After the commit: a key that was shown is one that works.
        if as_json:
            print_json({"key": made.secret, **_shown(row)})
        else:
            say(made.secret)
            warn(f"key {made.id} of the tenant {tenant_id}; it can't be shown again")

    run(work)


@keys.command()
@options.config
@options.tenant
@options.json_lines
def ls(path: Path, *, tenant_id: str, as_json: bool) -> None:
    """List the keys of a tenant, the newest first."""

    async def work() -> None:
        async with opened(path) as at, at.database.read() as connection:
            await at.check_tenant(connection, tenant_id)
            found = [_shown(row) for row in await _all(connection, tenant_id)]
        if as_json:
            for each in found:
                print_json(each)
            return
        head = ("id", "name", "role", "scopes", "prefix", "expires", "last used", "revoked")
        table(
            head,
            (
                (
                    each["id"],
                    each["name"],
                    each["role"],
                    _scopes(each),
                    each["prefix"],
                    local(each["expires_at"]) or "never",
                    local(each["used_at"]),
                    local(each["revoked_at"]),
                )
                for each in found
            ),
        )

    run(work)


@keys.command()
@options.config
@click.argument("key_id", metavar="ID")
@options.tenant
@options.json_object
def revoke(path: Path, key_id: str, *, tenant_id: str, as_json: bool) -> None:
    """Take a key out of use, from this moment on and for ever."""

    async def work() -> None:
        async with opened(path) as at, at.database.write() as connection:
            await at.check_tenant(connection, tenant_id)
            fresh = await access.revoke_key(connection, tenant_id, key_id, now=utc_now())
            if fresh:
                await note(connection, tenant_id, "key.revoked", key_id)
            row = await access.get_key(connection, tenant_id, key_id)
            if row is None:
                raise click.ClickException(f"there is no key {key_id}; see voxtra keys ls")
        if as_json:
            print_json(_shown(row))
        elif fresh:
            say(f"the key {row.name!r} is revoked")
        else:
            say(f"the key {row.name!r} was revoked at {local(row.revoked_at)}")

    run(work)


def _check(name: str, role: str, scopes: tuple[str, ...], expires_at: datetime | None) -> None:
    """Refuse what the API refuses as well."""
    if not name.strip() or len(name) > _LONGEST_NAME or not name.isprintable():
        raise click.UsageError(f"--name: write 1 to {_LONGEST_NAME} visible characters.")
    outside = sorted(set(scopes) - ROLES[role])
    if outside:
        raise click.UsageError(
            f"--scope: {outside[0]} is no scope of the role {role}, which has "
            f"{', '.join(sorted(ROLES[role]))}."
        )
    if expires_at is not None and expires_at <= utc_now():
        raise click.UsageError("--expires: that is over already; give a later time.")


async def _tenant(at: Opened, connection: AsyncConnection, tenant_id: str, *, make: bool) -> None:
    if make:
        _check_tenant_name(tenant_id)
        days = at.config.retention.days
        if await access.create_tenant(connection, tenant_id, now=utc_now(), retention_days=days):
            await note(connection, tenant_id, "tenant.created", tenant_id)
            kept = f"{days} days" if days else "for ever"
            warn(f"the tenant {tenant_id} is new; its recordings are kept {kept}")
    await at.check_tenant(connection, tenant_id)


def _check_tenant_name(tenant_id: str) -> None:
    """A tenant's name is a part of the keys of its blobs."""
    plain = tenant_id.isascii() and tenant_id.replace("-", "").replace("_", "").isalnum()
    if not plain or len(tenant_id) > _LONGEST_NAME:
        raise ConfigurationError(
            f"{tenant_id!r} is no name for a tenant",
            field="--tenant",
            fix="Write letters, digits, - and _",
        )


async def _all(connection: AsyncConnection, tenant_id: str) -> list[Row[Any]]:
    found: list[Row[Any]] = []
    while True:
        before = found[-1].id if found else ""
        some = await access.list_keys(connection, tenant_id, before=before, limit=_PAGE)
        found += some
        if len(some) < _PAGE:
            return found


def _scopes(key: dict[str, Any]) -> str:
    """Return what a key grants; "all" is all of its role."""
    return "all" if set(key["scopes"]) == ROLES[key["role"]] else ", ".join(key["scopes"])


def _shown(row: Any) -> dict[str, Any]:
    """Return what the API shows of a key."""
    return {
        "id": row.id,
        "name": row.name,
        "principal_id": row.principal_id,
        "principal": row.principal,
        "role": row.role,
        "scopes": sorted(granted(row.role, row.scopes)),
        "prefix": f"vx_{row.prefix}",
        "created_at": row.created_at,
        "expires_at": row.expires_at,
        "used_at": row.used_at,
        "revoked_at": row.revoked_at,
    }
