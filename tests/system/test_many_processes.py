"""Two processes that serve calls and one that only works, on PostgreSQL and an object store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from tests.objectstore import FaultyProxy
from tests.system.calls import talk
from tests.system.serving import Served, free_server, serving
from tests.system.support import eventually
from voxtra.store.database import Database
from voxtra.store.jobs import LEASE
from voxtra.store.schema import jobs


class House:
    """What three processes share: one PBX, one database, one bucket."""

    def __init__(self, pbx: Any, url: str, store: Any, app_name: str, folder: Path) -> None:
        self.pbx, self.url, self.store = pbx, url, store
        self.app_name, self.folder = app_name, folder
        self.bucket = store.bucket()

    def process(self, name: str, *, command: str = "serve", endpoint: str = "") -> Served:
        """Make a process that is not started yet; those that serve have an application each."""
        return Served(
            self.pbx,
            f"{self.app_name}{name}",
            self.folder / name,
            command=command,
            database={"url": self.url},
            storage={
                "url": f"s3://{self.bucket}/calls",
                "options": self.store.options(endpoint),
            },
            server=free_server(),
        )


@pytest.fixture
def house(lab, postgres_url, object_store, app_name, tmp_path) -> House:
    """Return what the processes of a test share."""
    return House(lab, postgres_url, object_store, app_name, tmp_path)


async def test_any_process_records_any_call(house, place_call, app_name):
    """A call that one process serves is recorded through the other, brought home by whoever has
    time, and heard through either.
    """
    one, two, worker = (
        house.process(""),
        house.process("-two"),
        house.process("-w", command="worker"),
    )
    async with serving(one), serving(two), serving(worker):
        two.data = one.data  # the first process to start has made the key
        place_call(call_id=f"{app_name}-far", seconds=30.0)
        await two.call_is(f"{app_name}-far")
        path = f"/v1.0/calls/{app_name}-far"
        started = await two.post(f"{path}/recording_start")
        assert started["recording"]["state"] == "recording"
        refused = await two.ask("POST", f"{path}/recording_start")
        assert (refused.status_code, refused.json()["code"]) == (409, "recording_active")
        await talk(0.5)
        await two.post(f"{path}/recording_pause")
        assert (await one.recording(started["recording_id"]))["paused"]
        await two.post(f"{path}/recording_resume")
        stopped = await two.post(f"{path}/recording_stop")
        assert stopped["recording_id"] == ""
        row = await two.until(started["recording_id"])
        heard = [
            (await each.ask("GET", f"/v1.0/recordings/{row['id']}/file")).content
            for each in (one, two)
        ]
        assert heard[0] == heard[1]
        assert len(heard[0]) == row["size"]
        assert house.store.objects(house.bucket).count(row["id"]) >= 1
        hung_up = await two.ask("POST", f"{path}/hangup")
        assert hung_up.status_code < 300
        await one.call_is(f"{app_name}-far", "completed")


async def test_a_call_of_a_process_that_is_gone(house, place_call, app_name):
    """What is asked of a call whose process is dead is refused at once, with what to do."""
    one, two = house.process(""), house.process("-two")
    async with serving(one), serving(two):
        two.data = one.data
        place_call(call_id=f"{app_name}-orphan", seconds=60.0)
        await two.call_is(f"{app_name}-orphan")
        await one.kill()

        async def refused() -> Any:
            answer = await two.ask("POST", f"/v1.0/calls/{app_name}-orphan/recording_start")
            return answer if answer.status_code == 503 else None

        answer = await eventually(refused, timeout=45)
        assert answer.json()["code"] == "node_unreachable"


async def test_a_dead_worker_s_job_is_taken_over(house, place_call, app_name, object_store):
    """The process that was bringing a recording home is killed; another does it when the lease is
    over.
    """
    async with FaultyProxy.before(object_store) as proxy:
        one = house.process("")
        worker = house.process("-w", command="worker")
        # Only the worker's way to the store is blocked, and only it has time.
        stuck = house.process("-s", command="worker", endpoint=proxy.url)
        async with serving(one), serving(stuck):
            proxy.fault = lambda request, body: _never(proxy)
            holder = ""
            number = 0
            while not holder.startswith(f"{app_name}-s"):
                number += 1
                await place_call(call_id=f"{app_name}-{number}", to="2000", seconds=0.3)
                holder = await _holder(house.url)
            await stuck.kill()
            async with serving(worker):

                async def all_home() -> bool:
                    rows = await one.recordings()
                    return len(rows) == number and {row["state"] for row in rows} == {"available"}

                await eventually(all_home, timeout=LEASE.total_seconds() + 45)


async def _never(proxy: FaultyProxy) -> None:
    await proxy.open.wait()


async def _holder(url: str) -> str:
    """Return who has the newest ingest, "" when it is done."""
    database = Database(url)
    try:

        async def claimed() -> tuple[str, str] | None:
            query = (
                select(jobs.c.leased_by, jobs.c.state)
                .where(jobs.c.kind == "ingest")
                .order_by(jobs.c.id.desc())
            )
            async with database.read() as connection:
                row = (await connection.execute(query)).first()
            if row is None or (row.state == "waiting" and not row.leased_by):
                return None
            return row.leased_by, row.state

        holder, state = await eventually(claimed, timeout=10)
        return str(holder) if state == "waiting" else ""
    finally:
        await database.close()
