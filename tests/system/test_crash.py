"""The service is killed at random instants while it records: nothing is lost, stuck or doubled.

Twenty kills; two hundred in the long mode (`script/test --long`).
"""

from __future__ import annotations

import asyncio
import os
import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.receiver import Receiver, receiving
from tests.system.serving import Served
from tests.system.support import eventually
from voxtra.lab.call import PlacedCall
from voxtra.lab.call import place_call as place
from voxtra.lab.instance import Lab

RUNS = 200 if os.environ.get("VOXTRA_TEST_LONG") else 20

PBX_RUNS = 40 if os.environ.get("VOXTRA_TEST_LONG") else 4

LOST = 2.1
"""Seconds that a killed Asterisk loses at most: 32 KiB of 8 kHz audio wait in its memory."""

CALLERS = 3
"""Calls at once in each run."""

SERVED_AGAIN = timedelta(seconds=1.5)
"""What a busy machine may take to serve again the callers who stayed."""

LATE = 0.5
"""Seconds within which the service, on a busy machine, hears that a recording has begun."""


@pytest.mark.timeout(180 + RUNS * 15)
async def test_our_own_death_loses_nothing(lab, app_name, place_call, tmp_path):
    """However often the process dies, each recorded call has its one recording, whole, and its sink
    and webhook know of it.
    """
    chance = random.Random(20)
    ended: dict[str, datetime] = {}
    stayed: set[str] = set()

    async def follow(number: int) -> PlacedCall:
        call_id = f"{app_name}-{number}"
        seconds = chance.uniform(0.2, 5.0)
        placed: PlacedCall = await place_call(to="2000", call_id=call_id, seconds=seconds)
        ended[call_id] = datetime.now(UTC)
        return placed

    async with receiving() as receiver:
        served = Served(lab, app_name, tmp_path, backend={"webhook": {"url": receiver.url}})
        try:
            await served.start()
            for run in range(RUNS):
                calls = [
                    asyncio.create_task(follow(run * CALLERS + number)) for number in range(CALLERS)
                ]
                await asyncio.sleep(chance.uniform(0.0, 1.5))
                await served.kill()
                await served.start()
                back = datetime.now(UTC)
                for placed in await asyncio.gather(*calls):
                    if placed.answered and ended[placed.call_id] - back > SERVED_AGAIN:
                        stayed.add(placed.call_id)
            rows = await _settled(served)
            _judge(rows, stayed, ended)
            await _everybody_told(served, receiver, rows)
            # A kill between the commit and the deletion leaves a file, which the next start finds.
            await served.stop()
            await served.start()
            await eventually(lambda: _files(lab, rows) == [], timeout=30)
        finally:
            await served.stop()


@pytest.mark.timeout(120 + PBX_RUNS * 40)
async def test_the_death_of_asterisk_costs_two_seconds(fresh_lab: Lab, app_name, tmp_path):
    """However often Asterisk dies, what it had written is kept, and the row says what is missing:
    at most 2.1 s, which it holds in memory.
    """
    chance = random.Random(7)
    served = Served(fresh_lab, app_name, tmp_path)
    died: dict[str, datetime] = {}
    try:
        await served.start()
        for run in range(PBX_RUNS):
            names = [f"{app_name}-{run:02}-{number}" for number in range(CALLERS)]
            calls = [
                asyncio.create_task(
                    place(fresh_lab, app=app_name, to="2000", call_id=name, seconds=60)
                )
                for name in names
            ]
            for name in names:
                await served.call_is(name)
            await asyncio.sleep(chance.uniform(0.3, 6.0))
            await asyncio.to_thread(fresh_lab.kill)
            died |= dict.fromkeys(names, datetime.now(UTC))
            await asyncio.gather(*calls, return_exceptions=True)
            await asyncio.to_thread(fresh_lab.restart)
            for name in names:
                await served.call_is(name, "completed", timeout=30)
        rows = await _settled(served)
        assert len(rows) == PBX_RUNS * CALLERS
        for row in rows:
            assert row["end_reason"] == "pbx_lost", row
            assert 0 <= row["lost_seconds"] <= LOST, row
            talked = died[row["call_id"]] - datetime.fromisoformat(row["started_at"])
            kept = row["duration"] or 0.0
            assert kept + row["lost_seconds"] == pytest.approx(talked.total_seconds(), abs=LATE)
            if row["state"] == "failed":
                assert talked.total_seconds() < LOST + LATE, row
                assert row["cause"], row
    finally:
        await served.stop()


async def _settled(served: Served) -> list[dict[str, Any]]:
    """Return all recordings as soon as each is over."""

    async def over() -> list[dict[str, Any]] | None:
        rows = await served.recordings()
        return rows if {row["state"] for row in rows} <= {"available", "failed"} else None

    rows: list[dict[str, Any]] = await eventually(over, timeout=90)
    return rows


def _judge(rows: list[dict[str, Any]], stayed: set[str], ended: dict[str, datetime]) -> None:
    begun = [row for row in rows if row["started_at"]]
    assert len(begun) > len(ended) / 2, "the kills came before anything was recorded"
    of_call: dict[str, list[dict[str, Any]]] = {}
    for row in begun:
        of_call.setdefault(row["call_id"], []).append(row)
        if row["state"] == "failed":
            # A call of a moment: there was nothing to be lost.
            assert _seconds(row["started_at"], row["ended_at"]) < LATE, row
            continue
        # Nothing of what was said since its start is missing.
        since_start = ended[row["call_id"]] - datetime.fromisoformat(row["started_at"])
        assert row["duration"] > since_start.total_seconds() - LATE, row
    assert [call for call, found in of_call.items() if len(found) > 1] == []
    assert [row for row in rows if row["state"] == "failed" and not row["cause"]] == []
    # Who was still there when the service came back is recorded, by the one run or the other.
    assert stayed - set(of_call) == set()


def _seconds(since: str, until: str) -> float:
    return (datetime.fromisoformat(until) - datetime.fromisoformat(since)).total_seconds()


async def _everybody_told(served: Served, receiver: Receiver, rows: list[dict[str, Any]]) -> None:
    begun = {row["id"] for row in rows if row["started_at"] and row["state"] == "available"}

    def sinks() -> bool:
        return begun <= {told["recording_id"] for told in served.told()}

    def webhooks() -> bool:
        told = [each.json for each in receiver.requests]
        return begun <= {
            each["data"]["recording_id"] for each in told if each["type"] == "recording.available"
        }

    await eventually(sinks, timeout=60)
    await eventually(webhooks, timeout=60)


def _files(lab: Any, rows: list[dict[str, Any]]) -> list[str]:
    """Return what is left in the PBX's folder of these recordings."""
    names = {row["name"] for row in rows if row["state"] == "available"}
    return [path.name for path in lab.recording_dir.iterdir() if path.stem in names]
