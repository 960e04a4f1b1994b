"""`voxtra serve` as a process of its own, and its REST API as a client sees it."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import shutil
import socket
import sys
from asyncio import FIRST_COMPLETED
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any, Final

import aiohttp

from voxtra.lab.errors import LabError

__all__ = ["Served"]

USUAL_PORT: Final = 8080

_READY_TIMEOUT: Final = 40.0  # the first start makes the tables
_END_TIMEOUT: Final = 40.0  # calls, jobs and deliveries have 10 s each
_REQUEST_TIMEOUT: Final = aiohttp.ClientTimeout(total=20)
_STREAM_TIMEOUT: Final = aiohttp.ClientTimeout(total=None, sock_read=60)  # it beats every 15 s


class Served:
    """`voxtra serve -c config` while the block lasts, with its data in the folder `data`.

    `show` is called with each line of its log that people want to see. Once `ready`, `url` is where
    its API answers. A request that is refused raises LabError with what the API says; one that
    finds nobody raises `aiohttp.ClientError`. `ended` is done, with a sentence about it, when the
    process has ended.
    """

    ended: asyncio.Task[str]

    def __init__(
        self, config: Path, data: Path, environment: Mapping[str, str], show: Callable[[str], None]
    ) -> None:
        self.config = config
        self.key_file = data / "admin.key"
        self.url = ""
        self._environment = {**environment, "VOXTRA_DATA_DIR": str(data)}
        self._show = show
        self._last_words = ""

    async def __aenter__(self) -> Served:
        setpriv = shutil.which("setpriv")
        if setpriv is None:
            msg = "setpriv is missing: apt-get install util-linux"
            raise LabError(msg)
        port = os.environ.get("VOXTRA_PORT") or str(_free_port())
        self._process = await asyncio.create_subprocess_exec(
            *(setpriv, "--pdeathsig", "TERM", sys.executable, "-m", "voxtra"),
            *("serve", "--json", "-c", str(self.config)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**self._environment, "VOXTRA_PORT": port},
            start_new_session=True,  # Ctrl-C is for us; we end it in good order
        )
        self._address: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.ended = asyncio.create_task(self._run())
        self._http = aiohttp.ClientSession()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.close()
        if self._process.returncode is None:
            self._process.terminate()
        try:
            async with asyncio.timeout(_END_TIMEOUT):
                await asyncio.wait({self.ended})
        except TimeoutError:
            self._process.kill()
            await asyncio.wait({self.ended})

    async def ready(self) -> None:
        """Return when it serves calls and requests. Raises LabError when it does not come to it."""
        problem = "it does not answer"
        try:
            async with asyncio.timeout(_READY_TIMEOUT):
                await asyncio.wait({self._address, self.ended}, return_when=FIRST_COMPLETED)
                if not self._address.done():
                    raise LabError(self.ended.result())
                self.url = self._address.result()
                while True:
                    async with self._http.get(f"{self.url}/readyz") as answer:
                        health = await answer.json()
                    if answer.status == 200:
                        break
                    problem = "; ".join(f"{part}: {it}" for part, it in health["problems"].items())
                    await asyncio.sleep(0.1)
        except TimeoutError:
            msg = f"voxtra serve is not ready after {_READY_TIMEOUT:g} s: {problem}"
            raise LabError(msg) from None
        try:
            key = self.key_file.read_text(encoding="utf-8").strip()
        except OSError as error:
            msg = (
                f"{self.key_file}: can't be read: {error.strerror}; remove the folder "
                f"{self.key_file.parent} to begin anew"
            )
            raise LabError(msg) from None
        self._http.headers["Authorization"] = f"Bearer {key}"

    async def get(self, path: str, **query: str) -> dict[str, Any]:
        """Return a resource."""
        return await self._json("GET", path, params=query)

    async def post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Return what is answered to a body."""
        return await self._json("POST", path, json=body)

    async def download(self, path: str, target: Path) -> str:
        """Save what is answered as `target`, wholly or not at all, and return its SHA-256."""
        digest = hashlib.sha256()
        part = target.with_name(f"{target.name}.part")
        async with self._answer("GET", path) as answer:
            with part.open("wb") as file:
                async for data in answer.content.iter_any():
                    digest.update(data)
                    file.write(data)
        part.replace(target)
        return digest.hexdigest()

    @contextlib.asynccontextmanager
    async def events(self, *types: str) -> AsyncIterator[AsyncIterator[dict[str, Any]]]:
        """Give the events of some types that happen from now on."""
        async with self._answer(
            "GET", "/v1.0/events", params={"types": ",".join(types)}, timeout=_STREAM_TIMEOUT
        ) as answer:
            yield _events(answer)

    async def _json(self, method: str, path: str, **arguments: Any) -> dict[str, Any]:
        async with self._answer(method, path, **arguments) as answer:
            found: dict[str, Any] = await answer.json()
            return found

    @contextlib.asynccontextmanager
    async def _answer(
        self, method: str, path: str, **arguments: Any
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        options = {"timeout": _REQUEST_TIMEOUT, **arguments}
        async with self._http.request(method, f"{self.url}{path}", **options) as answer:
            if not answer.ok:
                problem = await answer.json()
                msg = f"{method} {path}: {problem['detail'] or problem['title']} {problem['fix']}"
                raise LabError(msg)
            yield answer

    async def _run(self) -> str:
        """Read what it prints until it ends, and say how it ended."""
        await asyncio.gather(self._read_output(), self._read_log())
        code = await self._process.wait()
        said = f"; it said: {self._last_words}" if self._last_words else ""
        return f"voxtra serve has ended with code {code}{said}"

    async def _read_output(self) -> None:
        """Find the address of the API among what it prints; the rest is of the app's own code."""
        async for line in _lines(self._process.stdout):
            found = _object(line)
            if "url" in found and not self._address.done():
                self._address.set_result(found["url"])
            else:
                self._show(line)

    async def _read_log(self) -> None:
        """Show warnings, and what our own code says but for requests: they are known here. What is
        no log line is printed by a process that can't go on.
        """
        async for line in _lines(self._process.stderr):
            match _object(line):
                case {"level": "info", "event": text, "logger": logger}:
                    if logger.startswith("voxtra.") and logger != "voxtra.access":
                        self._show(text)
                case {"level": level, "event": text}:
                    self._show(f"{level}: {text}")
                case _:
                    self._last_words = line.removeprefix("Error: ") or self._last_words
                    self._show(line)


async def _lines(pipe: asyncio.StreamReader | None) -> AsyncIterator[str]:
    if pipe is None:
        raise RuntimeError("it was started without a pipe")
    async for line in pipe:
        yield line.decode(errors="replace").rstrip()


def _object(line: str) -> dict[str, str]:
    """Return the JSON object that is the line, an empty one when it is something else."""
    try:
        found = json.loads(line)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


async def _events(answer: aiohttp.ClientResponse) -> AsyncIterator[dict[str, Any]]:
    async for line in answer.content:
        if line.startswith(b"data: "):
            yield json.loads(line.removeprefix(b"data: "))
    msg = "the stream of events has ended"
    raise aiohttp.ClientPayloadError(msg)


def _free_port() -> int:
    """Return the usual port of the API when nobody has it, otherwise a free one."""
    try:
        with socket.create_server(("127.0.0.1", USUAL_PORT)):
            return USUAL_PORT
    except OSError:
        with socket.create_server(("127.0.0.1", 0)) as found:
            return int(found.getsockname()[1])
