"""`voxtra serve` as a process of its own on a real Asterisk: started, asked, killed, restarted."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import yaml

from tests.system.support import eventually
from voxtra.lab.pbx import Pbx
from voxtra.service.first_start import ADMIN_KEY

HANDLERS = '''\
"""What serves the calls of the tests."""

import json
import os

from voxtra import LocalFileSink, RecordingSink


class TellTale(RecordingSink):
    """Writes down each recording that it is told of, and makes sure that it stays written."""

    async def on_recording_complete(self, metadata):
        line = json.dumps({
            "recording_id": metadata.extra["recording_id"],
            "state": metadata.extra["state"],
            "call": metadata.session_id,
        })
        with open(os.path.join(os.path.dirname(__file__), "told.jsonl"), "a") as file:
            file.write(line + "\\n")
            file.flush()
            os.fsync(file.fileno())


told = TellTale()


async def answer(call):
    await call.answer()
    await call.wait_ended()


async def ring(call):
    await call.wait_ended()


async def recorded(call):
    await call.answer()
    await call.record_start(sink=TellTale())
    await call.wait_ended()


async def keyed(call):
    await call.answer()
    await call.record_start(terminate_on="5")
    await call.wait_ended()
'''

ROUTES = [
    {"extension": "1000", "handler": "handlers:answer"},
    {"extension": "1001", "handler": "handlers:ring"},
    {"extension": "2000", "handler": "handlers:recorded"},
]


def free_server() -> dict[str, Any]:
    """Return the block `server` with a port that nobody has."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return {"port": int(found.getsockname()[1])}


class Served:
    """One `voxtra serve` (or `voxtra worker`), its folder, and its API.

    What a test does not say is as a first user would have it: SQLite, blobs on the local disk.
    """

    def __init__(
        self, pbx: Pbx, app_name: str, folder: Path, *, command: str = "serve", **blocks: Any
    ) -> None:
        self.folder = folder
        self.command = command
        self.data = folder / "data"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "handlers.py").write_text(HANDLERS)
        config: dict[str, Any] = {
            "app_name": app_name,
            "reconnect_interval": 0.1,
            "routes": ROUTES,
            "telephony": {
                "asterisk": {
                    "base_url": pbx.ari_url,
                    "username": pbx.ari_user,
                    "password": pbx.ari_password,
                    "recording_dir": str(pbx.recording_dir),
                }
            },
            "recording": {"sink": "handlers:told"},
            "service": {"data_dir": str(self.data)},
            "delivery": {"allow": ["127.0.0.0/8"]},
            **blocks,
        }
        config["server"] = {
            "requests_per_second": 10_000.0,
            "burst": 10_000,
            **config.get("server", free_server()),
        }
        self.path = folder / "voxtra.yaml"
        self.path.write_text(yaml.safe_dump(config))
        self.url = ""
        self.log = folder / "serve.log"
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int:
        """The process that runs now."""
        if self._process is None:
            raise RuntimeError("it is not running")
        return self._process.pid

    @property
    def key(self) -> str:
        """The administrator's key."""
        return (self.data / ADMIN_KEY).read_text().strip()

    async def start(self) -> None:
        """Start, and return when it serves calls."""
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "voxtra", self.command, "-c", str(self.path), "--json"),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                start_new_session=True,
                env={**os.environ, "PYTHONWARNINGS": "default"},
            )
        assert self._process.stdout is not None
        async with asyncio.timeout(30):
            line = await self._process.stdout.readline()
        if not line:
            raise AssertionError(f"it ended before it served:\n{self.log.read_text()[-3000:]}")
        self.url = json.loads(line).get("url", "")
        if self.url:
            await eventually(self._ready, timeout=30)

    async def _ready(self) -> bool:
        async with httpx.AsyncClient(base_url=self.url) as client:
            return (await client.get("/readyz")).status_code == 200

    async def kill(self) -> None:
        """End it as a power cut would."""
        await self._end(signal.SIGKILL)

    async def stop(self) -> None:
        """End it in good order."""
        await self._end(signal.SIGTERM)

    async def _end(self, number: int) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(number)
        async with asyncio.timeout(40):
            await process.wait()

    @contextlib.asynccontextmanager
    async def client(self, key: str | None = None) -> AsyncIterator[httpx.AsyncClient]:
        """Give a client of the API that shows the administrator's key, or another."""
        headers = {"Authorization": f"Bearer {self.key if key is None else key}"}
        async with httpx.AsyncClient(base_url=self.url, headers=headers, timeout=30) as client:
            yield client

    async def ask(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        """Send one request as the administrator."""
        async with self.client() as client:
            return await client.request(method, path, **arguments)

    async def get(self, path: str, **query: Any) -> Any:
        """Return the JSON of a resource; the request must succeed."""
        answer = await self.ask("GET", path, params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def post(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Return the JSON that a POST answers; it must succeed."""
        answer = await self.ask("POST", path, json=body)
        assert answer.status_code < 300, answer.text
        return answer.json()

    async def recordings(self, **query: Any) -> list[dict[str, Any]]:
        """Return all recordings of a query, page by page."""
        found: list[dict[str, Any]] = []
        token = ""
        while True:
            page = await self.get(
                "/v1.0/recordings",
                page_size=100,
                **query,
                **({"page_token": token} if token else {}),
            )
            found += page["result"]
            token = page["next_page_token"]
            if not token:
                return found

    async def recording(self, recording_id: str) -> dict[str, Any]:
        """Return one recording as it stands."""
        found: dict[str, Any] = await self.get(f"/v1.0/recordings/{recording_id}")
        return found

    async def until(
        self, recording_id: str, state: str = "available", timeout: float = 20.0
    ) -> dict[str, Any]:
        """Return a recording as soon as it is in a state."""

        async def reached() -> dict[str, Any] | None:
            found = await self.recording(recording_id)
            if found["state"] == "failed" and state != "failed":
                raise AssertionError(f"it failed: {found['cause']}")
            return found if found["state"] == state else None

        result: dict[str, Any] = await eventually(reached, timeout=timeout)
        return result

    async def call_is(self, call_id: str, state: str = "answered", timeout: float = 10.0) -> Any:
        """Return a call as soon as it is known and in a state."""

        async def reached() -> Any:
            answer = await self.ask("GET", f"/v1.0/calls/{call_id}")
            return (
                answer.json()
                if answer.status_code == 200 and answer.json()["state"] == state
                else None
            )

        return await eventually(reached, timeout=timeout)

    def told(self) -> list[dict[str, Any]]:
        """Return what the handlers' sink was told, in order."""
        path = self.folder / "told.jsonl"
        if not path.exists():
            return []
        return [json.loads(line) for line in path.read_text().splitlines()]


@contextlib.asynccontextmanager
async def serving(served: Served) -> AsyncIterator[Served]:
    """Start it, give it, and end it whatever happens."""
    try:
        await served.start()
        yield served
    finally:
        await served.stop()


__all__ = ["Served", "free_server", "serving"]
