"""The commands `voxtra retention show|dry-run`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from voxtra.commands import options
from voxtra.commands.opened import opened, run
from voxtra.commands.show import print_json, say, table
from voxtra.commands.text import local, sized
from voxtra.service.retention import Purger
from voxtra.store.retention import FOR_EVER, Due, policy_of
from voxtra.store.schema import utc_now

__all__ = ["retention"]


@click.group()
def retention() -> None:
    """Show how long recordings are kept, and which ones go next."""


@retention.command()
@options.config
@options.tenant
@options.json_object
def show(path: Path, *, tenant_id: str, as_json: bool) -> None:
    """Show a tenant's days, and the rules before them: the first that fits decides."""

    async def work() -> None:
        async with opened(path) as at, at.database.read() as connection:
            await at.check_tenant(connection, tenant_id)
            policy = await policy_of(connection, tenant_id)
        if as_json:
            print_json(asdict(policy))
            return
        rows = [(each.direction, each.queue, each.tag, _kept(each.days)) for each in policy.rules]
        everything = ("any", "any", "any")
        table(
            ("direction", "queue", "tag", "kept"),
            [
                *((*(each or "any" for each in fits), kept) for *fits, kept in rows),
                (*everything, _kept(policy.days)),
            ],
            whole=0,
        )

    run(work)


@retention.command("dry-run")
@options.config
@options.tenant
@click.option("--every-tenant", is_flag=True, help="Of all tenants, as the service does it.")
@options.json_object
def dry_run(path: Path, *, tenant_id: str, every_tenant: bool, as_json: bool) -> None:
    """List the recordings that the next run of retention deletes; nothing is changed.

    The service makes a run about every ten minutes. What is held, or still to be told to a sink, is
    not among them.
    """

    async def work() -> None:
        due: list[Due] = []
        async with opened(path) as at:
            if not every_tenant:
                async with at.database.read() as connection:
                    await at.check_tenant(connection, tenant_id)
            report = await Purger(at.database).run(
                utc_now(),
                dry_run=True,
                tenant_id="" if every_tenant else tenant_id,
                tell=due.append,
            )
        if as_json:
            print_json(
                {
                    "deleted": report.deleted,
                    "size": report.size,
                    "recordings": [asdict(each) for each in due],
                }
            )
            return
        if due:
            table(
                ("id", "tenant", "expired", "size"),
                (
                    (each.recording_id, each.tenant_id, local(each.expires_at), sized(each.size))
                    for each in due
                ),
            )
        count = f"{report.deleted} recording{'' if report.deleted == 1 else 's'}"
        say(f"{count} would be deleted ({sized(report.size)})")

    run(work)


def _kept(days: int) -> str:
    return "for ever" if days == FOR_EVER else f"{days} days"
