"""A whole node on a PBX in memory: how it begins, works, and ends, well or badly."""

from __future__ import annotations

import asyncio
import stat
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, Self

import pytest
from sqlalchemy import select

from tests.service.place import Office, Pbx, away, rows
from tests.system.support import eventually
from voxtra import RecordingMetadata, RecordingSink, outcome
from voxtra.config import VoxtraConfig
from voxtra.exceptions import AuthenticationFailed, ConfigurationError, RecordingFailed
from voxtra.record_options import RecordOptions
from voxtra.registry import registry
from voxtra.service import disk
from voxtra.service import node as module
from voxtra.service.context import Service
from voxtra.service.node import Node, data_dir_of, database_of, open_blobs
from voxtra.store import nodes, tombstones
from voxtra.store.database import Database
from voxtra.store.schema import calls, events, jobs, recordings, utc_now


class Told(RecordingSink):
    """Remembers of which recordings it was told."""

    def __init__(self) -> None:
        self.of: list[RecordingMetadata] = []

    async def on_recording_complete(self, metadata: RecordingMetadata) -> None:
        """Remember."""
        self.of.append(metadata)


told = Told()

SEEN: dict[str, Pbx] = {}


@registry.register_telephony("toy")
class Toy(Pbx):
    """The PBX that the configuration names; it outlives the nodes on it."""

    @classmethod
    def from_config(cls, config: Any, **options: Any) -> Self:
        """Return the one of this folder."""
        folder = config.extra["folder"]
        found = SEEN.setdefault(folder, cls(Path(folder)))
        assert isinstance(found, cls)
        return found


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setattr(outcome, "EVENT_GRACE", 0.05)
    monkeypatch.setenv("VOXTRA_RECORDING_DIR", str(tmp_path / "spool"))
    yield
    SEEN.clear()
    told.of.clear()


def config_of(folder: Path, url: str, **blocks: Any) -> VoxtraConfig:
    """Return the configuration of a node with all its files in a folder."""
    return VoxtraConfig.model_validate(
        {
            "telephony": {"provider": "toy", "extra": {"folder": str(folder / "spool")}},
            "routes": [{"number": "*", "handler": "tests.service.place:stay"}],
            "recording": {"sink": "tests.service.test_node:told", "grace_seconds": 2},
            "database": {"url": url},
            "service": {"data_dir": str(folder / "data"), "node": "n1"},
            **blocks,
        }
    )


@pytest.fixture
def config(tmp_path: Path, database_url: str) -> VoxtraConfig:
    """Return the configuration of a node on each kind of database."""
    return config_of(tmp_path, database_url)


def pbx_of(config: VoxtraConfig) -> Pbx:
    """Return the PBX of a node."""
    return SEEN[config.telephony.extra["folder"]]


async def call(service: Service, config: VoxtraConfig, call_id: str = "c") -> None:
    """Have somebody call, and be answered."""
    await eventually(lambda: service.control.connected)
    pbx_of(config).call(call_id)

    async def up() -> bool:
        found = await rows(service.database, calls)
        return any(row.id == call_id and row.answered_at for row in found)

    await eventually(up)


async def until(service: Service, recording_id: str, state: str = "available") -> Any:
    """Return a recording's row as soon as it is in a state."""

    async def reached() -> Any:
        found = await rows(service.database, recordings)
        return next((row for row in found if (row.id, row.state) == (recording_id, state)), None)

    return await eventually(reached, timeout=15)


async def test_a_call_is_recorded(config: VoxtraConfig) -> None:
    """From the call to the blob and the sink, by what a node does by itself."""
    async with Node(config).running() as service:
        await call(service, config)
        made = await service.control.start_recording("default", "c", RecordOptions())
        pbx_of(config).end("c")
        row = await until(service, made)
        assert await service.blobs.size(row.blob_key) == row.size
        await eventually(lambda: [each.extra["recording_id"] for each in told.of] == [made])
        assert list(pbx_of(config).folder.iterdir()) == []
        (found,) = await rows(service.database, calls)
        assert (found.state, found.node) == ("completed", "n1")


async def test_an_end_with_work_under_way(config: VoxtraConfig) -> None:
    """Calls are hung up, recordings finished; what is not home by then is brought home by the next
    start, and its sink told once.
    """
    async with Node(config).running() as service:
        await call(service, config)
        made = await service.control.start_recording("default", "c", RecordOptions())
        paths = [task for task in asyncio.all_tasks() if task.get_name() == "jobs"]
        assert len(paths) == 2
    assert pbx_of(config).up == set()
    assert not pbx_of(config).live
    async with Node(config).running() as service:
        await until(service, made)
        await eventually(lambda: [each.extra["recording_id"] for each in told.of] == [made])
        (found,) = await rows(service.database, calls)
        assert found.ended_at is not None


async def test_nothing_is_left_running(config: VoxtraConfig) -> None:
    """The end of a node is the end of all its tasks."""
    before = asyncio.all_tasks()
    async with Node(config).running() as service:
        await call(service, config)
        assert len(asyncio.all_tasks()) > len(before)
    assert asyncio.all_tasks() - before == set()


async def test_an_end_without_the_database(
    config: VoxtraConfig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is bounded, and says what it could not write; the next start finds the recording."""
    monkeypatch.setattr(module, "GRACE", 0.2)
    loop = asyncio.get_running_loop()
    async with Node(config).running() as service:
        await call(service, config)
        made = await service.control.start_recording("default", "c", RecordOptions())
        blocking = away(service.database)
        blocking.__enter__()
        began = loop.time()
    assert loop.time() - began < 15
    assert "calls is not written" in caplog.text
    async with Node(config).running() as service:
        await until(service, made)


async def test_a_pbx_that_refuses_us(config: VoxtraConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    """The node can't go on: whoever runs it is told why, and it ends in good order."""

    async def refuse(self: Pbx) -> None:
        raise AuthenticationFailed("the PBX refused the password")

    monkeypatch.setattr(Toy, "connect", refuse)
    node = Node(config)
    async with node.running():
        with pytest.raises(AuthenticationFailed):
            await asyncio.wait_for(node.failed, 5)


async def test_a_pbx_that_is_away(config: VoxtraConfig) -> None:
    """The node begins, does jobs, and says that it is not connected; it ends all the same."""
    Toy.from_config(config.telephony).listens.clear()
    async with Node(config).running() as service:
        assert service.control.connected is False
    Toy.from_config(config.telephony).listens.set()


async def test_a_worker_without_calls(
    config: VoxtraConfig, database: Database, tmp_path: Path
) -> None:
    """It brings home what a node with calls has recorded, and leaves sinks to that one."""
    async with Office(database, tmp_path, sink=told).open() as office:
        session = await office.call()
        await session.record_start()
        assert session.recording is not None
        made = session.recording.id
    async with Node(config, calls=False).running() as service:
        assert service.control.connected is None
        await until(service, made)
    assert told.of == []


async def test_a_sign_of_life(config: VoxtraConfig) -> None:
    """Others see that a node lives, and what it is."""
    async with Node(config).running() as service:

        async def seen() -> list[nodes.Node]:
            async with service.database.read() as connection:
                return await nodes.every(connection)

        (found,) = await eventually(seen)
        assert (found.name, found.app_name, found.facts["calls"]) == ("n1", "voxtra", True)
    async with Node(config, calls=False).running() as service:
        both = await eventually(lambda: _two(seen))
        assert [each.seen_at for each in both if each.name == "n1"] == [found.seen_at]


async def test_a_full_disk(config: VoxtraConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    """No recording begins, with the cause; the tenant that looks after the service is told."""
    monkeypatch.setattr(disk, "FLOOR", 2**60)
    monkeypatch.setattr(module, "DISK_EVERY", 0.05)
    async with Node(config).running() as service:
        await call(service, config)

        async def said() -> bool:
            return any(row.type == "disk.low" for row in await rows(service.database, events))

        await eventually(said)

        async def refused() -> str:
            try:
                await service.control.start_recording("default", "c", RecordOptions())
            except RecordingFailed as error:
                return error.cause
            await service.control.stop_recording("default", "c")
            return ""

        assert "no new recording begins" in await eventually(refused)


async def test_a_deleted_recording_whose_name_is_used_again(config: VoxtraConfig) -> None:
    """The file of the newer one stays: only what belongs to the deleted one goes."""
    async with Node(config).running() as service:
        await call(service, config)
        first = await service.control.start_recording("default", "c", RecordOptions(name="x"))
        await service.control.stop_recording("default", "c")
        row = await until(service, first)
        await eventually(lambda: not pbx_of(config).path("x").exists())
        second = await service.control.start_recording("default", "c", RecordOptions(name="x"))
        path = pbx_of(config).path("x")
        path.write_bytes(b"the PBX is writing it")
        async with service.database.write() as connection:
            await tombstones.delete(
                connection, "default", first, actor="p", reason="asked", now=utc_now()
            )

        async def purged() -> bool:
            async with service.database.read() as connection:
                found = await connection.execute(
                    select(jobs.c.state).where(jobs.c.kind == tombstones.JOB)
                )
                return found.scalar() == "done"

        await eventually(purged)
        assert path.exists()
        local = service.blobs.local_path(row.blob_key)
        assert local is not None
        assert not local.exists()
        await service.control.stop_recording("default", "c")
        assert (await until(service, second)).samples == 800


async def _two(seen: Callable[[], Awaitable[list[nodes.Node]]]) -> list[nodes.Node]:
    found = await seen()
    return found if len(found) == 2 else []


# -- what is configured


async def test_the_first_start_of_a_user(tmp_path: Path) -> None:
    """Without a word about databases and stores both are in the data folder, for nobody else."""
    config = config_of(tmp_path, "")
    async with Node(config).running() as service:
        assert service.data_dir == tmp_path / "data"
        assert service.node == "n1"
    assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "data" / "voxtra.db").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "data" / "admin.key").stat().st_mode) == 0o600


def test_where_things_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The data folder is the configured one, else the user's own folder for such things."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    bare = VoxtraConfig()
    assert data_dir_of(bare) == tmp_path / "state" / "voxtra"
    assert database_of(bare).url.database == str(tmp_path / "state" / "voxtra" / "voxtra.db")
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert data_dir_of(bare) == tmp_path / ".local" / "state" / "voxtra"


@pytest.mark.parametrize(
    ("blocks", "field"),
    [
        ({"storage": {"url": "ftp://nowhere"}}, "storage.url"),
        ({"recording": {"sink": "tests.service.test_node:nobody"}}, "recording.sink"),
        ({"backend": {"webhook": {"url": "http://127.0.0.1/x"}}}, ""),
        ({"telephony": {"provider": "tin can"}}, ""),
    ],
)
async def test_what_is_configured_wrong(
    tmp_path: Path, database_url: str, blocks: dict[str, Any], field: str
) -> None:
    """It is one error that names the setting, and nothing is left behind."""
    before = asyncio.all_tasks()
    with pytest.raises(ConfigurationError) as wrong:
        async with Node(config_of(tmp_path, database_url, **blocks)).running():
            pytest.fail("it began")
    assert wrong.value.field == field or not field
    assert asyncio.all_tasks() - before == set()


async def test_a_data_folder_that_can_not_be_made(tmp_path: Path, database_url: str) -> None:
    """The error names the setting."""
    (tmp_path / "file").touch()
    service = {"data_dir": str(tmp_path / "file" / "data")}
    with pytest.raises(ConfigurationError, match=r"service\.data_dir: .* can't be made"):
        async with Node(config_of(tmp_path, database_url, service=service)).running():
            pytest.fail("it began")


def test_no_secret_is_shown(tmp_path: Path) -> None:
    """What prints a node's database or configuration prints no password."""
    url = "postgresql://user:s3cret@localhost/x"
    config = config_of(tmp_path, url)
    assert "s3cret" not in repr(config)
    assert "s3cret" not in repr(Database(url))
    wrong = config_of(
        tmp_path, url, storage={"url": "s3://", "options": {"secret_access_key": "s"}}
    )
    with pytest.raises(ConfigurationError):
        open_blobs(wrong)
