"""A download of 100 MB: the file of a recording by the REST API, and the same file by nginx.

Ours is the whole way: the site with its key and its audit, on uvicorn in a process of its own, as
`voxtra serve` runs it. Both serve one client, in turn, over loopback, from the page cache. nginx
has one worker, sendfile and no log.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from statistics import median
from typing import Any, Final

import uvicorn
from sqlalchemy import insert

from bench.report import Row
from voxtra.audio.formats import lookup
from voxtra.audio.wav import virtual_header
from voxtra.blobs.local import LocalStore
from voxtra.config import VoxtraConfig
from voxtra.ids import new_id
from voxtra.lab.pbx import Pbx
from voxtra.service.context import Service
from voxtra.service.files import AudioFiles
from voxtra.store import access
from voxtra.store.database import Database
from voxtra.store.migrate import migrate
from voxtra.store.schema import recordings, utc_now
from voxtra.web.site import make_site

__all__ = ["free_port", "measure", "running"]

SIZE: Final = 100_000_000
"""Bytes: 52 minutes of a stereo call."""

PATIENCE: Final = 30.0
"""Seconds for a server to listen."""

_RECORDING: Final = "recordings/default/call.wav"

_NGINX: Final = """\
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/nginx.log;
events {{ worker_connections 64; }}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
    types {{ audio/wav wav; }}
    server {{ listen 127.0.0.1:{port}; root {folder}/blobs; }}
}}
"""


async def measure(_pbx: Pbx, count: int) -> list[Row]:
    """Download the file `count` times from each."""
    nginx = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if nginx is None:
        raise RuntimeError("nginx is not installed: the benchmark compares with it")
    with tempfile.TemporaryDirectory(prefix="voxtra-bench-") as name:
        folder = Path(name)
        recording_id, key = await _prepare(folder)
        ours, raw = free_port(), free_port()
        configuration = _configure_nginx(folder, raw)
        path = f"/v1.0/recordings/{recording_id}/file?token={key}"
        speeds: dict[str, list[float]] = {"ours": [], "raw": []}
        with (
            running(ours, sys.executable, "-m", "bench.download", name, str(ours)),
            running(raw, nginx, "-c", str(configuration), "-p", name),
        ):
            _download(ours, path)
            _download(raw, f"/{_RECORDING}")
            for _ in range(count):
                speeds["ours"].append(_download(ours, path))
                speeds["raw"].append(_download(raw, f"/{_RECORDING}"))
    medians = {side: median(values) for side, values in speeds.items()}
    return [
        Row("download", "100 MB, p50", "MB/s", medians["ours"], medians["raw"], (">=", 0.7)),
    ]


async def _prepare(folder: Path) -> tuple[str, str]:
    """Store the recording, and return its id and a key."""
    service = _service(folder)
    await migrate(service.database)
    now = utc_now()
    header = virtual_header(lookup("wav"), SIZE - 44, channels=2)
    stored = await service.blobs.write(_RECORDING, [header, os.urandom(SIZE - 44)])
    values: dict[str, Any] = {
        "id": new_id(),
        "tenant_id": access.DEFAULT_TENANT,
        "name": "call",
        "holder_id": "call",
        "target": "snoop",
        "target_id": "call",
        "format": "wav",
        "layout": "stereo",
        "state": "available",
        "blob_key": _RECORDING,
        "size": stored.size,
        "sha256": stored.sha256,
        "channels": 2,
        **dict.fromkeys(("requested_at", "ended_at", "available_at"), now),
    }
    async with service.database.write() as connection:
        await access.create_tenant(connection, access.DEFAULT_TENANT, now=now)
        made = await access.create_key(
            connection,
            tenant_id=access.DEFAULT_TENANT,
            name="bench",
            role="agent",
            expires_at=now + timedelta(hours=1),
            now=now,
        )
        await connection.execute(insert(recordings).values(values))
    await service.audio.close()
    await service.database.close()
    service.blobs.close()
    return str(values["id"]), made.secret


def _service(folder: Path) -> Service:
    blobs = LocalStore(folder / "blobs")
    parts: dict[str, Any] = {
        "config": VoxtraConfig.model_validate(
            {"server": {"requests_per_second": 1e6, "burst": 1_000_000}}
        ),
        "database": Database(f"sqlite:///{folder / 'voxtra.db'}"),
        "blobs": blobs,
        "audio": AudioFiles(blobs, folder / "derived"),
        "control": None,  # no route of a recording asks for it
        "node": "bench",
        "data_dir": folder,
    }
    return Service(**parts)


def _configure_nginx(folder: Path, port: int) -> Path:
    """Write its configuration, and let it read what it serves, whoever it runs as."""
    path = folder / "nginx.conf"
    path.write_text(_NGINX.format(folder=folder, port=port))
    blob = folder / "blobs" / _RECORDING
    blob.chmod(0o644)
    for parent in (folder, *blob.parents[:3]):
        parent.chmod(0o755)
    return path


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


@contextlib.contextmanager
def running(port: int, *command: str) -> Iterator[None]:
    """Run a server while the block lasts, from when it listens."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except ConnectionRefusedError:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"{command[0]} does not listen") from None
                time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait(30)


def _download(port: int, path: str) -> float:
    """Return how many megabytes come in a second, from the request to the last byte."""
    buffer = bytearray(1024 * 1024)
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        begun = time.perf_counter()
        request = f"GET {path} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n"
        connection.sendall(request.encode())
        total = 0
        while count := connection.recv_into(buffer):
            total += count
        seconds = time.perf_counter() - begun
    if total < SIZE:
        raise RuntimeError(f"{total} bytes came: {bytes(buffer[:200])!r}")
    return total / seconds / 1e6


def _serve(folder: str, port: str) -> None:
    """Serve the site, as `voxtra serve` does."""
    site = make_site(_service(Path(folder)))
    config = uvicorn.Config(
        site,
        port=int(port),
        log_config=None,
        access_log=False,
        server_header=False,
        lifespan="off",
    )
    asyncio.run(uvicorn.Server(config).serve())


if __name__ == "__main__":
    _serve(*sys.argv[1:])
