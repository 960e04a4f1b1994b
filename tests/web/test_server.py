"""The process of `voxtra serve`: its port, its signals, and an end in good order."""

from __future__ import annotations

import asyncio
import io
import json
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.service.test_node import SEEN, Toy, config_of, pbx_of
from tests.system.support import eventually
from voxtra import outcome
from voxtra.config import VoxtraConfig
from voxtra.exceptions import AuthenticationFailed, ConfigurationError
from voxtra.service.first_start import ADMIN_KEY
from voxtra.web import logs
from voxtra.web.server import serve, work


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setattr(outcome, "EVENT_GRACE", 0.05)
    monkeypatch.setenv("VOXTRA_RECORDING_DIR", str(tmp_path / "spool"))
    yield
    SEEN.clear()


@pytest.fixture
def config(tmp_path: Path, sqlite_url: str, free_port: Callable[[], int]) -> VoxtraConfig:
    """Return the configuration of a service on a port that nobody has."""
    return config_of(tmp_path, sqlite_url, server={"port": free_port()})


class Serving:
    """A service in this process, until it is told to end."""

    def __init__(self, config: VoxtraConfig) -> None:
        self.config = config
        self.url = ""
        self.task = asyncio.create_task(serve(config, self._ready))

    def _ready(self, url: str) -> None:
        self.url = url

    async def begun(self) -> None:
        """Wait until it answers, or has failed."""
        await eventually(lambda: self.url or self.task.done(), timeout=15)
        if self.task.done():
            await self.task

    async def ended(self) -> None:
        """Ask for the end as a shell does, and wait for it."""
        if not self.task.done():
            os.kill(os.getpid(), signal.SIGTERM)
        async with asyncio.timeout(20):
            await self.task

    def client(self) -> httpx.AsyncClient:
        """Return a client of the administrator's."""
        folder = Path(self.config.service.data_dir)
        key = (folder / ADMIN_KEY).read_text().strip()
        return httpx.AsyncClient(base_url=self.url, headers={"Authorization": f"Bearer {key}"})


@pytest.fixture
async def serving(config: VoxtraConfig) -> AsyncIterator[Serving]:
    """Serve."""
    made = Serving(config)
    await made.begun()
    yield made
    await made.ended()


async def test_it_answers_when_it_says_so(serving: Serving) -> None:
    """At the URL that it tells, on loopback unless it was configured otherwise."""
    assert serving.url == f"http://127.0.0.1:{serving.config.server.port}"
    async with serving.client() as client:
        assert (await client.get("/healthz")).status_code == 200
        assert (await client.get("/v1.0/recordings")).json()["result"] == []
        answer = await client.get("/v1.0/recordings", headers={"Authorization": "Bearer x"})
        assert answer.status_code == 401
        assert "server" not in answer.headers


async def test_a_signal_ends_calls_and_streams(serving: Serving) -> None:
    """Who listens to events is let go, calls are hung up, and the port is free afterwards."""
    async with serving.client() as client:
        await eventually(lambda: _ready(client))
        pbx_of(serving.config).call("c")
        async with client.stream("GET", "/v1.0/events") as stream:
            assert stream.status_code == 200
            await serving.ended()
    assert pbx_of(serving.config).up == set()
    with socket.create_server(("127.0.0.1", serving.config.server.port)):
        pass


async def _ready(client: httpx.AsyncClient) -> bool:
    return (await client.get("/readyz")).status_code == 200


async def test_a_second_signal_changes_nothing(serving: Serving) -> None:
    """It ends in its order all the same."""
    for _ in range(2):
        os.kill(os.getpid(), signal.SIGINT)
    async with asyncio.timeout(20):
        await serving.task


async def test_a_port_that_is_taken(config: VoxtraConfig) -> None:
    """It is an error that names the setting, before anything else has begun."""
    with (
        socket.create_server(("127.0.0.1", config.server.port)),
        pytest.raises(ConfigurationError, match=r"server: 127\.0\.0\.1:\d+ can't be listened on"),
    ):
        await serve(config, lambda url: pytest.fail("it began"))
    assert not Path(config.service.data_dir).exists()


async def test_a_host_that_there_is_not(tmp_path: Path, sqlite_url: str) -> None:
    """So is a name that leads nowhere."""
    config = config_of(tmp_path, sqlite_url, server={"host": "203.0.113.1"})
    with pytest.raises(ConfigurationError, match=r"203\.0\.113\.1:8080"):
        await serve(config, lambda url: pytest.fail("it began"))


async def test_a_node_that_can_not_begin_leaves_the_port(
    tmp_path: Path, sqlite_url: str, free_port: Callable[[], int]
) -> None:
    """What fails later gives back what was taken before."""
    port = free_port()
    config = config_of(
        tmp_path, sqlite_url, server={"port": port}, storage={"url": "ftp://nowhere"}
    )
    with pytest.raises(ConfigurationError, match="storage"):
        await serve(config, lambda url: pytest.fail("it began"))
    with socket.create_server(("127.0.0.1", port)):
        pass


async def test_what_a_node_can_not_go_on_with(
    config: VoxtraConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends the process, with the error."""

    async def refuse(self: Any) -> None:
        raise AuthenticationFailed("the PBX refused the password")

    monkeypatch.setattr(Toy, "connect", refuse)
    async with asyncio.timeout(20):
        with pytest.raises(AuthenticationFailed):
            await serve(config, lambda url: None)


async def test_ipv6(tmp_path: Path, sqlite_url: str, free_port: Callable[[], int]) -> None:
    """An address with colons is told as a URL that can be opened."""
    if not _has_ipv6():
        pytest.skip("there is no IPv6 here")
    server = {"host": "::1", "port": free_port()}
    made = Serving(config_of(tmp_path, sqlite_url, server=server))
    await made.begun()
    assert made.url == f"http://[::1]:{server['port']}"
    async with made.client() as client:
        assert (await client.get("/healthz")).status_code == 200
    await made.ended()


def _has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


async def test_a_worker(config: VoxtraConfig) -> None:
    """It says that it works, serves no port, and ends at a signal."""
    begun = asyncio.Event()
    task = asyncio.create_task(work(config, begun.set))
    await asyncio.wait_for(begun.wait(), 15)
    with pytest.raises(OSError, match=r"refused|failed"):
        await asyncio.open_connection("127.0.0.1", config.server.port)
    os.kill(os.getpid(), signal.SIGTERM)
    async with asyncio.timeout(20):
        await task


async def test_no_log_line_has_a_secret(config: VoxtraConfig) -> None:
    """Not the administrator's key, not the token of a request, not a value of a row; not with
    DEBUG either.
    """
    lines = io.StringIO()
    logs.configure(json=True, level="DEBUG", stream=lines)
    try:
        made = Serving(config)
        await made.begun()
        async with made.client() as client:
            key = client.headers["Authorization"].removeprefix("Bearer ")
            await client.get("/v1.0/recordings", params={"token": key, "caller": "+4930987654"})
            made_hook = await client.post(
                "/v1.0/webhooks", json={"url": "https://203.0.114.1/h?token=tellnobody"}
            )
        await made.ended()
    finally:
        logs.configure(json=False, level="WARNING", stream=io.StringIO())
    said = lines.getvalue()
    assert all(json.loads(line) for line in said.splitlines())
    assert key not in said
    assert key.split("_", 2)[2] not in said
    assert "tellnobody" not in said
    assert made_hook.json()["secret"] not in said
    assert "INSERT INTO" not in said
