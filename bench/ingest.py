"""Bringing home a stereo call of ten minutes: from two tracks in the spool to a proven blob.

Ours joins the tracks, finds levels and peaks, hashes, writes, syncs, and reads back what it wrote,
from the disk. Raw is `sha256sum` and then `cp` of the finished stereo file, which neither syncs nor
reads back. Both work in the temporary folder (TMPDIR), one after the other in every round.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Final

import numpy as np

from bench.report import Row
from voxtra.audio.formats import lookup
from voxtra.audio.wav import virtual_header
from voxtra.blobs.local import LocalStore
from voxtra.lab.pbx import Pbx
from voxtra.model import Layout, Recording, RecordingTarget, Track
from voxtra.service.ingest import ingest
from voxtra.service.sources import Sources
from voxtra.spool import Spool

__all__ = ["measure"]

SECONDS: Final = 600
RATE: Final = 8000

_RECORDING: Final = Recording(
    "r",
    "call",
    "call",
    RecordingTarget.SNOOP,
    "channel",
    layout=Layout.STEREO,
    tracks=(Track("call-in", "in"), Track("call-out", "out")),
)


async def measure(_pbx: Pbx, count: int) -> list[Row]:
    """Ingest the call `count` times, and hash and copy its file as often."""
    with tempfile.TemporaryDirectory(prefix="voxtra-bench-") as name:
        folder = Path(name)
        _record(folder / "spool")
        blobs = LocalStore(folder / "blobs")
        sources = Sources(Spool(folder / "spool", folder / "work"))
        stereo = blobs.local_path("call.wav")

        async def ours() -> None:
            await ingest(_RECORDING, sources, blobs, "call.wav", "call.peaks")

        async def raw() -> None:
            for command in (["sha256sum", str(stereo)], ["cp", str(stereo), str(folder / "copy")]):
                process = await asyncio.create_subprocess_exec(
                    *command, stdout=asyncio.subprocess.DEVNULL
                )
                if await process.wait():
                    raise RuntimeError(f"{command[0]} failed")

        await ours()
        await raw()
        times: dict[str, list[float]] = {"ours": [], "raw": []}
        for _ in range(count):
            times["ours"].append(await _timed(ours))
            times["raw"].append(await _timed(raw))
        blobs.close()
    what = f"{SECONDS // 60} minutes in stereo, p50"
    return [Row("ingest", what, "ms", median(times["ours"]), median(times["raw"]), ("<=", 3.0))]


def _record(spool: Path) -> None:
    """Write both tracks: noise with pauses, as of a conversation."""
    spool.mkdir()
    noise = np.random.default_rng(1)
    for side, share in (("in", 0.4), ("out", 0.6)):
        samples = noise.integers(-6000, 6000, (SECONDS, RATE), np.int16)
        samples[noise.random(SECONDS) > share] //= 200
        data = samples.astype("<i2").tobytes()
        path = spool / f"call-{side}.wav"
        path.write_bytes(virtual_header(lookup("wav"), len(data)) + data)


async def _timed(work: Callable[[], Awaitable[None]]) -> float:
    """Return how many milliseconds it takes."""
    begun = perf_counter()
    await work()
    return (perf_counter() - begun) * 1000
