"""The process of `voxtra serve`: a node and, on one loop with it, its REST API."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import Callable, Iterator
from typing import Final

import uvicorn

from voxtra.config import VoxtraConfig
from voxtra.exceptions import ConfigurationError
from voxtra.service.node import Node
from voxtra.web.site import make_site

__all__ = ["serve", "work"]

log = logging.getLogger(__name__)

GRACE: Final = 5
"""Seconds for requests under way at the end."""

BACKLOG: Final = 2048


class _Server(uvicorn.Server):
    """A server that leaves the signals to us: they end the whole process in its order."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield


async def serve(config: VoxtraConfig, ready: Callable[[str], None]) -> None:
    """Serve calls and the REST API until SIGINT or SIGTERM; `ready` is told the URL of the API when
    it answers. Raises `ConfigurationError`, and what the node could not go on with.
    """
    stop = _stop_signal()
    node = Node(config)
    with contextlib.closing(_listen(config)) as listener:
        async with node.running() as service:
            site = make_site(service)
            server = _Server(
                uvicorn.Config(
                    site,
                    log_config=None,  # its lines would hold the `?token=` of a request
                    access_log=False,
                    server_header=False,
                    lifespan="off",
                    timeout_graceful_shutdown=GRACE,
                )
            )
            serving = asyncio.create_task(server.serve(sockets=[listener]))
            try:
                host, port = listener.getsockname()[:2]
                ready(f"http://{f'[{host}]' if ':' in host else host}:{port}")
                await _first_of(stop, node.failed, serving)
            finally:
                site.state.closing.set()
                server.should_exit = True
                await asyncio.gather(serving, return_exceptions=True)


async def work(config: VoxtraConfig, ready: Callable[[], None]) -> None:
    """Do the jobs and deliveries of the service, without calls and API, until SIGINT or SIGTERM."""
    stop = _stop_signal()
    node = Node(config, calls=False)
    async with node.running():
        ready()
        await _first_of(stop, node.failed)


def _stop_signal() -> asyncio.Future[None]:
    """Return what completes at the first SIGINT or SIGTERM."""
    loop = asyncio.get_running_loop()
    stop: asyncio.Future[None] = loop.create_future()

    def ask() -> None:
        if not stop.done():
            stop.set_result(None)

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ask)
    return stop


async def _first_of(*ends: asyncio.Future[None]) -> None:
    """Wait for the first of some ends; raise what it raises."""
    done, _ = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    for each in done:
        each.result()


def _listen(config: VoxtraConfig) -> socket.socket:
    """Take the port before anything else begins: most often it is another one that has it."""
    host, port = config.server.host, config.server.port
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        return socket.create_server(address[:2], family=family, backlog=BACKLOG)
    except OSError as error:
        raise ConfigurationError(
            f"{host}:{port} can't be listened on: {error.strerror or error}",
            field="server",
            fix="Choose another server.port, or end what has it",
        ) from None
