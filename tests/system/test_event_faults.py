"""Events are lost, doubled and disordered: after one look at the PBX everything agrees."""

from __future__ import annotations

import asyncio
import contextlib
import random
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.system.event_proxy import EventProxy
from tests.system.serving import Served, serving
from tests.system.support import eventually
from voxtra.ari import ARIClient

CALLS = 24


class Behind(NamedTuple):
    """The PBX as it is seen through the proxy."""

    ari_url: str
    ari_user: str
    ari_password: str
    recording_dir: Path
    sounds_dir: Path
    sounds_prefix: str
    sip_port: int


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_one_look_makes_all_agree(lab, app_name, place_call, tmp_path, seed: int):
    """Whatever was done to the events, each recording is available or has failed with a cause, no
    call is open that is over, no file is left on the PBX, and nothing was recorded twice.
    """
    chance = random.Random(seed)
    proxy = EventProxy(lab, seed, lost=0.15, doubled=0.1, delayed=0.2)
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(proxy.running())
        behind = Behind(
            proxy.url,
            lab.ari_user,
            lab.ari_password,
            lab.recording_dir,
            lab.sounds_dir,
            lab.sounds_prefix,
            lab.sip_port,
        )
        it = await stack.enter_async_context(serving(Served(behind, app_name, tmp_path)))

        async def call(number: int) -> None:
            await asyncio.sleep(chance.uniform(0, 3))
            await place_call(
                to="2000",
                call_id=f"{app_name}-{number:02}",  # Asterisk takes an id for that of one it begins
                seconds=chance.uniform(0.3, 2.0),
                ring_seconds=6,
            )

        await asyncio.gather(*(call(number) for number in range(CALLS)))
        proxy.faulty = False
        await proxy.cut()

        async def agreed() -> list[dict[str, Any]] | None:
            rows = await it.recordings()
            open_calls = (await it.get("/v1.0/calls", active="true"))["result"]
            over = {row["state"] for row in rows} <= {"available", "failed"}
            return rows if over and not open_calls else None

        rows = await eventually(agreed, timeout=60)
        assert min(proxy.touched.values()) > 5, proxy.touched
        assert [row for row in rows if row["state"] == "failed" and not row["cause"]] == []
        heard = [row["call_id"] for row in rows if row["state"] == "available"]
        assert len(heard) == len(set(heard)) > CALLS / 3
        names = {row["name"] for row in rows if row["state"] == "available"}
        left = [path.name for path in lab.recording_dir.iterdir() if path.stem in names]
        assert left == []
        async with ARIClient(
            lab.ari_url, lab.ari_user, lab.ari_password, app_name="looking"
        ) as client:
            ours = [
                channel.id
                for channel in await client.list_channels()
                if channel.dialplan.app_data.split(",")[0] == app_name
            ]
        assert ours == []
