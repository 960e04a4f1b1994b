"""The PBX's recording folder: from the files that Asterisk left there to one file that is known to
be right.

Success is judged here, by the file, and never by the event: RecordingFinished says `done` also for
a full disk, a folder that can't be written, a codec without an encoder and a silent line, and its
duration is wrong for most formats.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, ParamSpec, TypeVar

from voxtra.audio.formats import AudioFormat, Container, lookup
from voxtra.audio.measure import Measurement, measure
from voxtra.audio.mix import interleave
from voxtra.audio.repair import repair
from voxtra.exceptions import ConfigurationError, NotFound, RecordingFailed, TelephonyError
from voxtra.model import Layout, Recording, Track
from voxtra.telephony.base import BaseTelephonyAdapter

__all__ = ["DEFAULT_FOLDER", "Finished", "Spool", "check_format"]

log = logging.getLogger(__name__)

DEFAULT_FOLDER: Final = "/var/spool/asterisk/recording"


def check_format(fmt: str, layout: Layout) -> AudioFormat:
    """Return a format that Asterisk can record in this layout, or raise `ConfigurationError`."""
    found = lookup(fmt)
    if layout is Layout.STEREO and not (found.stereo_capable and found.container is Container.RIFF):
        raise ConfigurationError(
            f"{fmt} can't hold two sides",
            field="layout",
            fix='use fmt="wav" or "wav16" for layout="stereo"',
        )
    return found


FILE_THREADS: Final = 2
"""More threads finish no file sooner on few cores, but compete with the event loop: with the
default pool a cycle of call and recording took 1.4 times the CPU.
"""

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Finished:
    """One finished recording as a file. `seconds` None: the file is out of reach, only the PBX
    knows.
    """

    path: Path
    size: int | None = None
    sha256: str = ""
    seconds: float | None = None
    samples: int | None = None
    sample_rate: int | None = None
    channels: int = 1
    repaired: bool = False


class Spool:
    """Finished recordings, in a folder shared with Asterisk or fetched from it over ARI.

    `folder` is Asterisk's recording folder as this process sees it; it need not exist here.
    `download_dir` takes what has to be fetched from a PBX whose folder is out of reach.
    """

    def __init__(self, folder: Path, download_dir: Path) -> None:
        self.folder = folder
        self.download_dir = download_dir
        self._threads = ThreadPoolExecutor(FILE_THREADS, thread_name_prefix="voxtra-spool")

    def path_of(self, name: str, fmt: str) -> Path:
        """Return where Asterisk puts a recording of this name and format."""
        return self.folder / f"{name}.{lookup(fmt).extension}"

    def check_free(self, recording: Recording) -> None:
        """Raise `RecordingFailed` when the file that a stereo recording's sides are joined to is
        there already; the PBX, which refuses a name it has, does not know of that one.
        """
        if recording.layout is Layout.STEREO:
            here = self.path_of(recording.name, recording.format)
            if here.exists() or (self.download_dir / here.relative_to(self.folder)).exists():
                raise RecordingFailed(
                    recording.name, f"{here.name} exists already; choose another name"
                )

    async def finish(
        self, recording: Recording, adapter: BaseTelephonyAdapter, hint: int
    ) -> Finished:
        """Make one verified file of a recording's tracks.

        `hint` is the duration that the PBX reports, in seconds. Raises `RecordingFailed` with the
        cause when there is no audio.
        """
        fmt = lookup(recording.format)
        paths = [await self._reach(recording, track, adapter, hint) for track in recording.tracks]
        local = [path for path in paths if path is not None]
        if len(local) < len(paths):
            return Finished(self.path_of(recording.name, recording.format))
        if recording.layout is not Layout.STEREO or len(local) == 1:
            return await self._off_loop(_judge, recording, local[0], fmt)
        out = local[0].parent / f"{Path(recording.name).name}.{fmt.extension}"
        finished = await self._off_loop(_join, recording, local[0], local[1], out, fmt)
        for track, path in zip(recording.tracks, local, strict=True):
            # Both sides are in the stereo file, read back and counted: the tracks are no longer the
            # only copy.
            try:
                if path.is_relative_to(self.download_dir):
                    path.unlink(missing_ok=True)
                await adapter.delete_track(track)
            except (TelephonyError, OSError) as error:
                log.warning("track %s is left behind on the PBX: %s", track.name, error)
        return finished

    async def _off_loop(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Do what reads and writes files on one of a few threads of its own."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, partial(work, *args, **kwargs))

    async def _reach(
        self, recording: Recording, track: Track, adapter: BaseTelephonyAdapter, hint: int
    ) -> Path | None:
        """Return a track's file where this process can read it; None when that is not needed."""
        path = self.path_of(track.name, recording.format)
        if path.is_file():
            return path
        missing = RecordingFailed(
            recording.name,
            f"the PBX says it finished {track.name} but has no file; "
            "is its recording folder writable, its disk full, "
            "or was the file removed?",
        )
        if not (await adapter.probe_track(track)).stored:
            raise missing
        if recording.layout is not Layout.STEREO and hint > 0:
            return None
        copy = self.download_dir / path.relative_to(self.folder)
        copy.parent.mkdir(parents=True, exist_ok=True)
        try:
            await adapter.fetch_track(track, copy)
        except NotFound:
            raise missing from None  # it went between the two questions
        return copy


def _judge(recording: Recording, path: Path, fmt: AudioFormat) -> Finished:
    repaired = repair(path, fmt)
    measured = measure(path, fmt)
    if measured.samples == 0:
        raise RecordingFailed(
            recording.name, f"{measured.problem} ({measured.size} bytes at {path})"
        )
    return _finished(path, measured, repaired=repaired)


def _join(recording: Recording, left: Path, right: Path, out: Path, fmt: AudioFormat) -> Finished:
    repaired = [repair(path, fmt) for path in (left, right)]
    samples = [measure(path, fmt).samples for path in (left, right)]
    if max(samples) == 0:
        raise RecordingFailed(
            recording.name, f"neither side has any audio in it ({left} and {right})"
        )
    if out.exists():
        raise RecordingFailed(
            recording.name,
            f"{out} exists already; both sides are kept as {left.name} and {right.name}",
        )
    interleave(left, right, out, fmt)
    measured = measure(out, lookup("wav"))
    if measured.samples != max(samples):
        raise RecordingFailed(
            recording.name,
            f"{out} has {measured.samples} samples instead of {max(samples)}; both sides are kept",
        )
    return _finished(out, measured, repaired=any(repaired))


def _finished(path: Path, measured: Measurement, *, repaired: bool) -> Finished:
    return Finished(
        path=path,
        size=measured.size,
        sha256=measured.sha256,
        seconds=measured.seconds,
        samples=measured.samples,
        sample_rate=measured.sample_rate,
        channels=measured.channels,
        repaired=repaired,
    )
