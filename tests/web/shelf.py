"""Recordings and exports as tests of the API find them: rows, with their files."""

from __future__ import annotations

import io
from datetime import datetime
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import soundfile
from sqlalchemy import insert

from voxtra.audio.formats import FORMATS
from voxtra.audio.peaks import PeaksMaker
from voxtra.audio.tone import sine
from voxtra.ids import new_id
from voxtra.service.context import Service
from voxtra.store.access import DEFAULT_TENANT
from voxtra.store.schema import recordings

__all__ = ["add_peaks", "add_recording", "wav"]


def wav(seconds: float = 1.0, *, stereo: bool = False) -> bytes:
    """Return a WAV file of a tone; stereo: 440 Hz on the left, 1000 Hz on the right."""
    left = sine(440, seconds, level_dbfs=-12)
    samples = np.stack([left, sine(1000, seconds, level_dbfs=-12)], axis=1) if stereo else left
    made = io.BytesIO()
    soundfile.write(made, samples, 8000, format="WAV", subtype="PCM_16")
    return made.getvalue()


async def add_recording(
    service: Service, data: bytes | None = None, extension: str = "wav", **columns: Any
) -> str:
    """Write a recording, available with `data` for its file unless `columns` say otherwise."""
    now: datetime = columns.pop("now", service.clock())
    recording_id = columns.pop("id", None) or new_id()
    values: dict[str, Any] = {
        "id": recording_id,
        "tenant_id": DEFAULT_TENANT,
        "name": f"voxtra-{recording_id}",
        "holder_id": recording_id,
        "target": "snoop",
        "target_id": recording_id,
        "format": extension,
        "layout": "mono",
        "requested_at": now,
        "state": "available",
    }
    if columns.get("state", "available") in ("available", "failed"):
        values |= {"ended_at": now}
    if data is not None:
        key = f"recordings/{columns.get('tenant_id', DEFAULT_TENANT)}/{recording_id}.{extension}"
        stored = await service.blobs.write(key, [data])
        values |= {
            "started_at": now,
            "available_at": now,
            "blob_key": key,
            "size": stored.size,
            "sha256": stored.sha256,
            "sample_rate": FORMATS[extension].sample_rate,
            "channels": 1,
            "duration_ms": 1000,
            "samples": 8000,
        }
    async with service.database.write() as connection:
        await connection.execute(insert(recordings).values(values | columns))
    return recording_id


async def add_peaks(service: Service, blob: str) -> str:
    """Store the peaks of a stereo recording beside its blob, and return their key."""
    maker = PeaksMaker(8000, 2, 80_000, 0)
    quiet = sine(440, 10.0, level_dbfs=-40)
    maker.hear(np.stack([sine(440, 10.0, level_dbfs=-6), quiet]))
    key = str(PurePosixPath(blob).with_suffix(".peaks"))
    await service.blobs.write(key, [maker.peaks().encode()])
    return key
