"""The commands `voxtra recordings ls|show|hold|release|delete`; the longer ones stand beside."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

import click
from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from voxtra.commands import options
from voxtra.commands.adopt import adopt
from voxtra.commands.export import export
from voxtra.commands.filters import add_filters, filter_of, matching
from voxtra.commands.get import get
from voxtra.commands.opened import ACTOR, note, opened, run
from voxtra.commands.show import facts, print_json, say, table
from voxtra.commands.text import local, long, sized
from voxtra.commands.verify import verify
from voxtra.exceptions import RecordingError
from voxtra.store import holds, library, tombstones
from voxtra.store.schema import utc_now
from voxtra.web.resources import recording_resource

__all__ = ["recordings"]

_ids = click.argument("recording_ids", metavar="ID...", nargs=-1, required=True)

_HEAD = (
    *("id", "time", "length", "state", "held"),
    *("caller", "callee", "direction", "queue", "agent", "cause"),
)


@click.group()
def recordings() -> None:
    """Find, get, check, keep and delete recordings."""


for _command in (get, verify, export, adopt):
    recordings.add_command(_command)


@recordings.command()
@options.config
@add_filters
@click.option(
    "--limit", default=50, show_default=True, type=click.IntRange(min=1), help="At most so many."
)
@options.tenant
@options.json_lines
def ls(path: Path, *, limit: int, tenant_id: str, as_json: bool, **given: Any) -> None:
    """List recordings, the newest first."""
    wanted = filter_of(given)

    async def work() -> None:
        async with opened(path) as at, at.database.read() as connection:
            await at.check_tenant(connection, tenant_id)
            found = [row async for row in matching(connection, tenant_id, wanted, limit)]
        if as_json:
            for row in found:
                print_json(recording_resource(row))
        else:
            table(_HEAD, map(_line, found), whole=4)

    run(work)


@recordings.command()
@options.config
@click.argument("recording_id", metavar="ID")
@options.tenant
@options.json_object
def show(path: Path, recording_id: str, *, tenant_id: str, as_json: bool) -> None:
    """Show all that is known of a recording, and its holds.

    Of a deleted one that is its tombstone.
    """

    async def work() -> None:
        async with opened(path) as at, at.database.read() as connection:
            row = await library.get(connection, tenant_id, recording_id)
            placed = [
                asdict(each) for each in await holds.history(connection, tenant_id, recording_id)
            ]
            place = str(at.blobs.local_path(row.blob_key) or row.blob_key) if row.blob_key else ""
        shown = {**recording_resource(row), "node": row.node, "blob": place}
        if as_json:
            print_json({**shown, "holds": placed})
            return
        facts((name, _readable(name, value)) for name, value in shown.items())
        for each in placed:
            until = f" until {local(each['released_at'])}" if each["released_at"] else ""
            reasons = " / ".join(filter(None, (each["reason"], each["release_reason"])))
            say(f"{'hold':<16} {local(each['placed_at'])}{until}: {reasons}")

    run(work)


@recordings.command()
@options.config
@_ids
@options.reason
@options.tenant
@options.json_lines
def hold(
    path: Path, recording_ids: tuple[str, ...], *, reason: str, tenant_id: str, as_json: bool
) -> None:
    """Put a legal hold on recordings: nobody and nothing removes them until the release.

    All of them, or none if one can't be held.
    """

    async def act(connection: AsyncConnection, recording_id: str) -> None:
        await holds.place(
            connection, tenant_id, recording_id, actor=ACTOR, reason=reason, now=utc_now()
        )
        await note(connection, tenant_id, "recording.held", recording_id, reason=reason)

    _each(path, recording_ids, tenant_id, act, "is held", in_json=as_json)


@recordings.command()
@options.config
@_ids
@options.reason
@options.tenant
@options.json_lines
def release(
    path: Path, recording_ids: tuple[str, ...], *, reason: str, tenant_id: str, as_json: bool
) -> None:
    """End the legal hold of recordings; those whose time is over go with the next retention.

    All of them, or none if one is not held.
    """

    async def act(connection: AsyncConnection, recording_id: str) -> None:
        released = await holds.release(
            connection, tenant_id, recording_id, actor=ACTOR, reason=reason, now=utc_now()
        )
        if released is None:
            raise RecordingError(f"recording {recording_id} is not held; nothing was changed")
        await note(connection, tenant_id, "recording.released", recording_id, reason=reason)

    _each(path, recording_ids, tenant_id, act, "is released", in_json=as_json)


@recordings.command()
@options.config
@_ids
@options.reason
@click.option("--yes", is_flag=True, help="Do not ask.")
@options.tenant
@options.json_lines
def delete(
    path: Path,
    recording_ids: tuple[str, ...],
    *,
    reason: str,
    yes: bool,
    tenant_id: str,
    as_json: bool,
) -> None:
    """Delete recordings for ever, with all that was made of them; tombstones stay.

    All of them, or none if one is held, being made or being finished. The running service removes
    the files.
    """
    if not yes:
        _ask(path, recording_ids, tenant_id)

    async def act(connection: AsyncConnection, recording_id: str) -> None:
        row = await library.get(connection, tenant_id, recording_id)
        await tombstones.delete(
            connection, tenant_id, recording_id, actor=ACTOR, reason=reason, now=utc_now()
        )
        if row.deleted_at is None:
            await note(connection, tenant_id, "recording.deleted", recording_id, reason=reason)

    _each(path, recording_ids, tenant_id, act, "is deleted", in_json=as_json)


def _each(
    path: Path,
    recording_ids: Sequence[str],
    tenant_id: str,
    act: Callable[[AsyncConnection, str], Awaitable[None]],
    done: str,
    *,
    in_json: bool,
) -> None:
    """Do something to all of some recordings in one transaction, and say what became of them."""

    async def work() -> None:
        ids = list(dict.fromkeys(recording_ids))
        async with opened(path) as at, at.database.write() as connection:
            for recording_id in ids:
                await act(connection, recording_id)
            rows = [await library.get(connection, tenant_id, each) for each in ids]
        for row in rows:
            if in_json:
                print_json(recording_resource(row))
            else:
                say(f"{row.id} {done}")

    run(work)


def _ask(path: Path, recording_ids: Sequence[str], tenant_id: str) -> None:
    """Show what would be deleted, and go on only when somebody says yes."""
    if not sys.stdin.isatty():
        raise click.UsageError("Nobody can be asked here: add --yes to delete without a question.")

    async def look() -> None:
        async with opened(path) as at, at.database.read() as connection:
            rows = [await library.get(connection, tenant_id, each) for each in recording_ids]
        table(_HEAD, map(_line, rows), whole=4, to_stderr=True)

    run(look)
    count = len(recording_ids)
    what = "this recording" if count == 1 else f"these {count} recordings"
    click.confirm(f"Delete {what} for ever?", abort=True, err=True)


def _line(row: Row[Any]) -> tuple[object, ...]:
    """Return the line of a recording in a table."""
    return (
        row.id,
        local(row.started_at or row.requested_at),
        long(row.duration_ms),
        "deleted" if row.deleted_at is not None else row.state,
        "held" if row.held else "",
        row.caller,
        row.callee,
        row.direction,
        row.queue,
        row.agent,
        row.cause,
    )


def _pause(pause: dict[str, Any]) -> str:
    until = local(datetime.fromisoformat(pause["until"])) if pause["until"] else "the end"
    muted = ", muted" if pause["muted"] else ""
    return f"{local(datetime.fromisoformat(pause['since']))} to {until}{muted}"


def _readable(name: str, value: object) -> object:
    """Return a value of a recording for people."""
    if isinstance(value, datetime):
        return local(value)
    if name == "pauses" and isinstance(value, list):
        return "; ".join(map(_pause, value))
    if name == "duration" and isinstance(value, float):
        return long(round(value * 1000))
    if name == "size" and isinstance(value, int):
        return sized(value)
    if isinstance(value, bool):
        return "yes" if value else ""
    return value
