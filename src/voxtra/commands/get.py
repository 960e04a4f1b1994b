"""The command `voxtra recordings get`."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any

import click
from sqlalchemy import Row

from voxtra.audio.render import Channel
from voxtra.blobs.base import BlobError, BlobStore
from voxtra.commands import options
from voxtra.commands.opened import Opened, note, opened, run
from voxtra.commands.saving import check_free, saved
from voxtra.commands.show import print_json, progress, say
from voxtra.commands.text import sized
from voxtra.service.files import Audio, AudioFiles, Shape
from voxtra.service.manifest import file_name
from voxtra.service.verify import Verifier, check_stored
from voxtra.store import library

__all__ = ["get"]

_SHAPES = [shape.value for shape in Shape if shape is not Shape.ORIGINAL]


@click.command()
@options.config
@click.argument("recording_id", metavar="ID")
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    help="Where to, a file or a folder; - is standard output. Without it: a name that says when "
    "and who, in this folder.",
)
@click.option(
    "--format",
    "shape",
    type=click.Choice(_SHAPES),
    help="What it is made into; without it: the stored file as it is.",
)
@click.option(
    "--channel",
    type=click.Choice([each.value for each in Channel]),
    help="Of a stereo recording: one side, or both as one.",
)
@click.option("--force", is_flag=True, help="Replace a file that is there.")
@options.tenant
@options.json_object
def get(
    path: Path,
    recording_id: str,
    *,
    output: str | None,
    shape: str | None,
    channel: str | None,
    force: bool,
    tenant_id: str,
    as_json: bool,
) -> None:
    """Copy the audio of a recording into a file.

    The SHA-256 of what is stored is compared with the one of its recording; a file that is not what
    was recorded is not handed out.
    """
    if output == "-" and (as_json or sys.stdout.isatty()):
        reason = "--json prints there" if as_json else "it is a terminal; send it to a program"
        raise click.UsageError(f"-o -: the audio can't go to standard output: {reason}.")
    wanted = Shape(shape) if shape else Shape.WAV if channel else Shape.ORIGINAL

    async def work() -> None:
        async with opened(path) as at:
            async with at.database.read() as connection:
                row = await library.get(connection, tenant_id, recording_id)
            check_stored(row)
            async with _audio(at, row, wanted, Channel(channel) if channel else None) as audio:
                await _note(at, row)
                if output == "-":
                    await _copy(row, audio, wanted, sys.stdout.buffer)
                    sys.stdout.buffer.flush()
                    return
                target = _target(output, row, audio)
                check_free(target, force=force)
                with saved(target, force=force) as file:
                    digest = await _copy(row, audio, wanted, file)
        if as_json:
            print_json({"file": str(target), "size": audio.size, "sha256": digest})
        else:
            say(f"wrote {target} ({sized(audio.size)})")

    run(work)


@asynccontextmanager
async def _audio(
    at: Opened, row: Row[Any], wanted: Shape, channel: Channel | None
) -> AsyncIterator[Audio]:
    """Give the audio in the shape that is wanted; what is made for it is gone afterwards: the
    folder of the running service's is not this user's to write to.
    """
    with TemporaryDirectory(prefix="voxtra-") as folder:
        files = AudioFiles(at.blobs, Path(folder))
        try:
            if wanted is not Shape.ORIGINAL:
                await _verify(at, at.blobs, row)
            with progress(f"making {wanted}", None):
                audio = await files.open(row, wanted, channel)
            yield audio
        except BlobError as error:
            raise _broken(row, error.cause) from error
        finally:
            await files.close()


async def _verify(at: Opened, blobs: BlobStore, row: Row[Any]) -> None:
    """Raise unless the stored file, which others are made of, is what was recorded."""
    with progress("comparing", row.size, size=True) as bar:
        found = await Verifier(at.database, blobs, bar.advance).check(row)
    for each in found:
        if each.key == row.blob_key:
            raise _broken(row, each.cause)


async def _copy(row: Row[Any], audio: Audio, wanted: Shape, file: IO[bytes]) -> str:
    """Copy the audio and return its SHA-256; that of a stored file has to be the right one."""
    digest = hashlib.sha256()
    with progress(row.id, audio.size, size=True) as bar:
        async for piece in audio.stream(0, audio.size):
            digest.update(piece)
            file.write(piece)
            bar.advance(len(piece))
    found = digest.hexdigest()
    if wanted is Shape.ORIGINAL and found != row.sha256:
        raise _broken(row, "it is not what was stored: the SHA-256 differs")
    return found


async def _note(at: Opened, row: Row[Any]) -> None:
    async with at.database.write() as connection:
        await note(connection, row.tenant_id, "recording.downloaded", row.id)


def _target(output: str | None, row: Row[Any], audio: Audio) -> Path:
    name = str(Path(file_name(row)).with_suffix(f".{audio.extension}"))
    target = Path(output) if output else Path(name)
    return target / name if target.is_dir() else target


def _broken(row: Row[Any], cause: str) -> click.ClickException:
    return click.ClickException(
        f"the file of recording {row.id} can't be had: {cause}. "
        f"See voxtra recordings verify {row.id}"
    )
