"""What tests of recordings share: calls that the test itself drives, and an ear for tones."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxtra import CallSession, RecordingMetadata, VoxtraApp
from voxtra.audio.decode import decode
from voxtra.audio.formats import lookup
from voxtra.audio.tone import level
from voxtra.ids import new_id
from voxtra.lab import sound
from voxtra.lab.pbx import Pbx

SOUNDS = "sounds-of-the-tests"
"""The folder of what the tests play, below the recordings."""

FRAMES = 0.06
"""Seconds that a length may differ from the truth: three packets of speech. Asterisk looks at its
clock when a packet has been written, so that 2.02 s were seen where 2 are the most.
"""

HEARD = -30.0
"""dBFS: a tone of the lab has -12 when it is alone, and a little less after a codec."""

UNHEARD = -50.0
"""dBFS: what is below is not there."""


class Line:
    """Places calls to an app that answers all of them, and gives their sessions to the test."""

    def __init__(self, app: VoxtraApp, place_call: Any) -> None:
        self._place = place_call
        self._awaited: dict[str, asyncio.Future[CallSession]] = {}
        app.default()(self._take)

    async def call(self, **arguments: Any) -> CallSession:
        """Call the app and return the session when it has answered; the caller says a 440 Hz tone
        and stays for 30 s unless told otherwise.
        """
        call_id = f"call-{new_id()}"
        self._awaited[call_id] = asyncio.get_running_loop().create_future()
        self._place(**{"call_id": call_id, "seconds": 30.0, **arguments})
        async with asyncio.timeout(10):
            return await self._awaited[call_id]

    async def calls(self, count: int) -> list[CallSession]:
        """Place several calls at once."""
        return await asyncio.gather(*(self.call() for _ in range(count)))

    async def _take(self, call: CallSession) -> None:
        await call.answer()
        self._awaited.pop(call.id).set_result(call)
        await call.wait_ended()


async def talk(seconds: float) -> None:
    """Let everybody talk on for that time: it is the length that is recorded."""
    await asyncio.sleep(seconds)


def make_sound(pbx: Pbx, spec: str, seconds: float) -> str:
    """Have a sound in the PBX's reach; return the media name it is played by.

    It lies among the recordings, the one folder of any PBX that the tests may write to.
    """
    name = f"{SOUNDS}/{spec.replace(':', '-')}-{seconds:g}"
    path = pbx.recording_dir / f"{name}.wav"
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        sound.write(spec, path, seconds=seconds)
    return f"recording:{name}"


class Heard:
    """The audio of a recording."""

    def __init__(self, told: RecordingMetadata) -> None:
        # Two sides are always joined to a WAV file.
        fmt = "wav" if told.extra["layout"] == "stereo" else told.format
        self.samples, self.rate = decode(Path(told.file_path), lookup(fmt))

    @property
    def seconds(self) -> float:
        """Length in seconds."""
        return len(self.samples) / self.rate

    def level(
        self, hz: float, start: float = 0.0, end: float | None = None, side: int = 0
    ) -> float:
        """Return how loud a tone is between two times (seconds) on a side, in dBFS."""
        return level(self._cut(start, end, side), hz, self.rate)

    def peak(self, start: float, end: float, side: int = 0) -> int:
        """Return the loudest sample between two times."""
        return int(np.abs(self._cut(start, end, side).astype(np.int32)).max())

    def begin(self, hz: float, side: int = 0) -> float:
        """Return the time (seconds) of the first 40 ms in which a tone is heard."""
        for start in np.arange(0.0, self.seconds - 0.04, 0.02):
            if self.level(hz, start, start + 0.04, side) > HEARD:
                return float(start)
        raise AssertionError(f"{hz} Hz is not in the recording")

    def _cut(self, start: float, end: float | None, side: int) -> NDArray[np.int16]:
        last = len(self.samples) if end is None else round(end * self.rate)
        return self.samples[round(start * self.rate) : last, side]
