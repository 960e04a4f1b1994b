"""The command `voxtra recordings adopt`."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, Protocol

import click
from sqlalchemy import Row, select
from sqlalchemy.ext.asyncio import AsyncConnection

from voxtra.ari import ARIClient
from voxtra.audio.formats import lookup
from voxtra.commands import options
from voxtra.commands.opened import Opened, note, opened, run
from voxtra.commands.show import print_json, say, table
from voxtra.config import VoxtraConfig
from voxtra.exceptions import ConfigurationError
from voxtra.ids import own_id
from voxtra.service import recovery
from voxtra.service.recovery import Found, grouped, rows_of
from voxtra.store import library
from voxtra.store.schema import recordings, utc_now
from voxtra.telephony.stored import StoredTracks
from voxtra.web.resources import recording_resource

__all__ = ["adopt"]

QUIET: Final = timedelta(seconds=60)
"""A file that was written to in this time is still being made."""

_SIDES: Final = ("-in", "-out")


@click.command()
@options.config
@click.argument("names", metavar="[NAME]...", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="All files that have no row, after asking.")
@click.option("--format", "fmt", default="", help="Only those of this format, for example wav.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@options.tenant
@options.json_lines
def adopt(
    path: Path,
    names: tuple[str, ...],
    *,
    everything: bool,
    fmt: str,
    yes: bool,
    tenant_id: str,
    as_json: bool,
) -> None:
    """Take in files of the PBX's recording folder that have no row: each becomes a recording.

    A name is the file's, in the folder, without its extension. The running service brings the audio
    home and frees the folder of it. All that are named, or none if one can't be taken in.
    """
    if bool(names) == everything:
        raise click.UsageError("Name files, or all that have no row by --all.")
    if everything and not yes and not sys.stdin.isatty():
        raise click.UsageError("Nobody can be asked here: add --yes to take them in.")
    if fmt:
        lookup(fmt)

    async def work() -> None:
        async with opened(path) as at:
            async with at.database.read() as connection:
                await at.check_tenant(connection, tenant_id)
            async with _files(at.config) as files:
                found = [each async for each in _wanted(files, fmt)]
                chosen = await _strangers(at, found) if everything else _named(found, names)
                if everything and chosen and not yes:
                    _ask(chosen)
                ended = {each: await _ended(files, each) for each in chosen}
            rows = await _adopt(at, ended, tenant_id)
        for row in rows:
            if as_json:
                print_json(recording_resource(row))
            else:
                say(f"{row.name} is recording {row.id}; the service takes it in")
        if not rows and not as_json:
            say("every file has its row")

    run(work)


class _Files(Protocol):
    """The PBX's recording folder."""

    async def names(self) -> Iterable[tuple[str, str]]:
        """Return name and format of every file."""
        ...

    async def ended_at(self, found: Found) -> datetime | None:
        """Return when files were finished; None while they are being written."""
        ...


@dataclass(frozen=True)
class _Folder:
    """The folder, where it can be seen."""

    folder: Path

    async def names(self) -> Iterable[tuple[str, str]]:
        """See `_Files.names`."""
        paths = sorted(path for path in self.folder.rglob("*") if path.is_file())
        inside = (path.relative_to(self.folder) for path in paths)
        return [(str(path.with_suffix("")), path.suffix[1:]) for path in inside]

    async def ended_at(self, found: Found) -> datetime | None:
        """See `_Files.ended_at`."""
        extension = lookup(found.format).extension
        paths = [self.folder / f"{track.name}.{extension}" for track in found.tracks]
        last = max(datetime.fromtimestamp(path.stat().st_mtime, UTC) for path in paths)
        return None if utc_now() - last < QUIET else last


@dataclass(frozen=True)
class _Remote:
    """The folder of a PBX on another machine."""

    ari: ARIClient

    async def names(self) -> Iterable[tuple[str, str]]:
        """See `_Files.names`."""
        return [(each.name, each.format) for each in await self.ari.list_stored_recordings()]

    async def ended_at(self, found: Found) -> datetime | None:
        """See `_Files.ended_at`. When that was is not told: at the latest now."""
        tracks = StoredTracks(self.ari)
        live = [(await tracks.probe_track(track)).live for track in found.tracks]
        return None if any(live) else utc_now()


@asynccontextmanager
async def _files(config: VoxtraConfig) -> AsyncIterator[_Files]:
    asterisk = config.telephony.asterisk
    folder = Path(asterisk.recording_dir)
    if await asyncio.to_thread(folder.is_dir):
        yield _Folder(folder)
        return
    if config.telephony.provider != "asterisk":
        raise ConfigurationError(
            f"{folder} is not there, and only Asterisk can be asked what it has stored",
            field="telephony.provider",
        )
    client = ARIClient(
        asterisk.base_url,
        asterisk.username,
        asterisk.password,
        app_name=own_id("adopt"),  # under the app's own name it would take over its calls
        timeout=asterisk.request_timeout,
    )
    async with client:
        yield _Remote(client)


async def _wanted(files: _Files, fmt: str) -> AsyncIterator[Found]:
    for each in grouped(await files.names()):
        if not fmt or lookup(each.format) is lookup(fmt):
            yield each


def _named(found: list[Found], names: Iterable[str]) -> list[Found]:
    """Return what is meant by names: of a recording, of one of its files, with or without its
    extension.
    """
    by_name: dict[str, dict[Found, None]] = {}
    for each in found:
        extension = lookup(each.format).extension
        for name in {each.name, *(track.name for track in each.tracks)}:
            for spelt in (name, f"{name}.{extension}"):
                by_name.setdefault(spelt, {})[each] = None
    chosen: dict[Found, None] = {}
    for name in names:
        meant = list(by_name.get(name, {}))
        if not meant:
            raise click.ClickException(
                f"there is no file {name} in the PBX's recording folder, or it is of no known "
                "format; see telephony.asterisk.recording_dir"
            )
        if len(meant) > 1:
            formats = " or ".join(each.format for each in meant)
            raise click.ClickException(f"there are several {name}: add --format {formats}")
        chosen[meant[0]] = None
    return list(chosen)


async def _strangers(at: Opened, found: list[Found]) -> list[Found]:
    """Return what has no row."""
    async with at.database.read() as connection:
        return [each for each in found if not await _row_of(connection, each)]


async def _row_of(connection: AsyncConnection, found: Found) -> str:
    """Return the id of the recording that files belong to, "" for none; a deleted one counts."""
    names = [found.name, *(found.name.removesuffix(side) for side in _SIDES)]
    known = await rows_of(connection, list(dict.fromkeys(names)))
    if known:
        return next(iter(known.values()))[0]
    same = await connection.execute(select(recordings.c.id).where(recordings.c.id == found.own_id))
    return str(same.scalar() or "")


def _ask(chosen: list[Found]) -> None:
    table(("name", "format"), ((each.name, each.format) for each in chosen), to_stderr=True)
    files = "this file" if len(chosen) == 1 else f"these {len(chosen)} files"
    click.confirm(f"Take {files} in?", abort=True, err=True)


async def _ended(files: _Files, found: Found) -> datetime:
    ended_at = await files.ended_at(found)
    if ended_at is None:
        raise click.ClickException(
            f"{found.name} is still being written; try again a minute after its end"
        )
    return ended_at


async def _adopt(
    at: Opened, ended: dict[Found, datetime], tenant_id: str
) -> list[Row[tuple[object, ...]]]:
    async with at.database.write() as connection:
        made = []
        for found, ended_at in ended.items():
            recording_id = await _row_of(connection, found)
            if recording_id:
                raise click.ClickException(
                    f"{found.name} has a row already: recording {recording_id}"
                )
            recording = await recovery.adopt(
                connection, found, at.node, ended_at=ended_at, tenant_id=tenant_id
            )
            await note(
                connection, tenant_id, "recording.adopted", recording.id, name=recording.name
            )
            made.append(recording.id)
        return [await library.get(connection, tenant_id, each) for each in made]
