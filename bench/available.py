"""From the hang-up to a recording that is available, with all that a lab can carry at once.

Ours is the service with nothing left away: rows on SQLite that are on the disk when they are
answered, the file read, judged, stored, read back, its events and deliveries written. Raw is what
the call itself takes to end: from the phone's hang-up to Asterisk's word that the file is finished,
which nobody can be faster than.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from sqlalchemy import func, select

from bench.report import Row, percentile
from voxtra.config import VoxtraConfig
from voxtra.ids import new_id
from voxtra.lab.call import place_call
from voxtra.lab.pbx import Pbx
from voxtra.service.context import Service
from voxtra.service.node import Node
from voxtra.session import CallSession
from voxtra.store.schema import recordings

__all__ = ["measure"]

AT_ONCE: Final = 40
"""Calls at a time; with more, two cores that carry PBX, phones and service have no idle time."""

SECONDS: Final = 5.0

PATIENCE: Final = 60.0


async def recorded(call: CallSession) -> None:
    """Record the whole call."""
    await call.answer()
    await call.record_start()
    await call.wait_ended()


async def measure(pbx: Pbx, count: int) -> list[Row]:
    """Record `count` calls, `AT_ONCE` at a time, their ends spread over seconds as people's are."""
    with tempfile.TemporaryDirectory(prefix="voxtra-bench-", dir=Path.home()) as folder:
        node = Node(_config(pbx, folder))
        hung_up: dict[str, datetime] = {}
        async with node.running() as service:
            async with asyncio.timeout(PATIENCE):
                while not service.control.connected:  # noqa: ASYNC110  # nobody tells
                    await asyncio.sleep(0.05)
            gate = asyncio.Semaphore(AT_ONCE)

            async def call(number: int) -> None:
                async with gate:
                    call_id = f"bench-{new_id()}"
                    seconds = SECONDS * (0.5 + number * 0.618 % 1)
                    await place_call(pbx, app=node.name, call_id=call_id, seconds=seconds)
                    hung_up[call_id] = datetime.now(UTC)

            await asyncio.gather(*(call(number) for number in range(count)))
            await _all_home(service, count)
            query = select(
                recordings.c.call_id, recordings.c.ended_at, recordings.c.available_at
            ).where(recordings.c.state == "available")
            async with service.database.read() as connection:
                rows = (await connection.execute(query)).all()
    ours = [_ms(row.available_at - row.ended_at) for row in rows]
    raw = [abs(_ms(row.ended_at - hung_up[row.call_id])) for row in rows]
    return [
        Row(
            "available",
            f"hang-up to available, {AT_ONCE} calls, p{percent}",
            "ms",
            percentile(ours, percent),
            percentile(raw, percent),
            ("<=", aim),
            "ours",
        )
        for percent, aim in ((50, 300.0), (99, 1500.0))
    ]


def _config(pbx: Pbx, folder: str) -> VoxtraConfig:
    return VoxtraConfig.model_validate(
        {
            "app_name": f"bench-{os.getpid()}",
            "routes": [{"number": "*", "handler": "bench.available:recorded"}],
            "telephony": {
                "asterisk": {
                    "base_url": pbx.ari_url,
                    "username": pbx.ari_user,
                    "password": pbx.ari_password,
                    "recording_dir": str(pbx.recording_dir),
                }
            },
            "service": {"data_dir": folder},
        }
    )


async def _all_home(service: Service, count: int) -> None:
    query = select(func.count()).where(recordings.c.available_at.is_not(None))
    async with asyncio.timeout(PATIENCE):
        while True:
            async with service.database.read() as connection:
                if (await connection.execute(query)).scalar_one() >= count:
                    return
            await asyncio.sleep(0.1)


def _ms(span: timedelta) -> float:
    return span.total_seconds() * 1000
