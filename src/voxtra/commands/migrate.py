"""The command `voxtra migrate`."""

from __future__ import annotations

from pathlib import Path

import click

from voxtra.commands import options
from voxtra.commands.opened import note, opened, run
from voxtra.commands.show import print_json, say
from voxtra.exceptions import ConfigurationError
from voxtra.model import DEFAULT_TENANT
from voxtra.store import migrate as store
from voxtra.store.database import Database

__all__ = ["migrate"]


@click.command()
@options.config
@click.option("--check", is_flag=True, help="Change nothing; exit code 1 unless it is up to date.")
@options.json_object
def migrate(path: Path, *, check: bool, as_json: bool) -> None:
    """Bring the database to the tables of this version.

    It is done in one transaction, or not at all; once more changes nothing. Stop the service of the
    older version first.
    """

    async def work() -> int:
        async with opened(path, any_revision=True) as at:
            if check:
                return await _check(at.database, in_json=as_json)
            await _migrate(at.database, in_json=as_json)
            return 0

    run(work)


async def _check(database: Database, *, in_json: bool) -> int:
    problem = ""
    try:
        await store.check(database)
    except ConfigurationError as error:
        problem = str(error)
    revision = await store.current(database)
    if in_json:
        print_json({"ok": not problem, "revision": revision, "problem": problem})
    else:
        say(problem or f"the database is at revision {revision}, as this version needs")
    return 1 if problem else 0


async def _migrate(database: Database, *, in_json: bool) -> None:
    done = await store.migrate(database)
    changed = done.from_revision != done.to_revision
    if changed:
        async with database.write() as connection:
            await note(
                connection,
                DEFAULT_TENANT,
                "database.migrated",
                "",
                before=done.from_revision,
                after=done.to_revision,
            )
    if in_json:
        print_json({"from": done.from_revision, "to": done.to_revision})
    elif changed:
        before = f"was at {done.from_revision}" if done.from_revision else "was empty"
        say(f"the database {before} and is now at revision {done.to_revision}")
    else:
        say(f"the database is at revision {done.to_revision} already")
