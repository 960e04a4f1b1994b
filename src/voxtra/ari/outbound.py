"""The events websocket that Asterisk opens to us: the mode without gaps.

While we are away, Asterisk queues the events of a *persistent* outbound websocket, without bound
and with their timestamps, and delivers them in order when we are back. It needs two files on
Asterisk's side:

    ; ari.conf                                  ; websocket_client.conf
    [voxtra-events]                             [voxtra]
    type = outbound_websocket                   type = websocket_client
    websocket_client_id = voxtra                uri = ws://127.0.0.1:8099/events
    apps = voxtra                               protocols = ari
    local_ari_user = voxtra                     username = asterisk
                                                password = secret
                                                connection_type = persistent
                                                reconnect_interval = 500

Requests go over HTTP as always. `connection_type = per_call_config` is not supported: it adds
500 ms before every call and loses events. What Asterisk had sent and we had not read when we died
is lost in this mode too, so look at the state of things after a start here as well.
"""

from __future__ import annotations

import asyncio
import base64
import hmac
import logging
from collections.abc import AsyncIterator
from typing import Final, Self

from aiohttp import web

from voxtra.ari.connection import HEARTBEAT, Link
from voxtra.ari.http import CLOSE_TIMEOUT
from voxtra.exceptions import ConfigurationError

__all__ = ["OutboundListener"]

log = logging.getLogger(__name__)

_PROTOCOL: Final = "ari"


class OutboundListener:
    """Waits for Asterisk's websocket; iterating yields a `Link` each, as `EventConnection` does.

    `port` 0 takes a free one (see `url`). `username` and `password` are what Asterisk must present.
    A new connection ends the one before it: Asterisk opens one only when it has lost that one.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 8099,
        path: str = "/events",
        *,
        username: str,
        password: str,
        heartbeat: float = HEARTBEAT,
    ) -> None:
        if not username or not password:
            problem = "the listener for Asterisk's outbound websocket needs a user and a password"
            raise ConfigurationError(problem, fix="Set both, here and in websocket_client.conf")
        self.host = host
        self.port = port
        self.path = path
        self._heartbeat = heartbeat
        credentials = base64.b64encode(f"{username}:{password}".encode())
        self._expected = b"Basic " + credentials
        self._links: asyncio.Queue[Link | None] = asyncio.Queue()
        self._link: Link | None = None
        self._runner: web.AppRunner | None = None
        self._site: web.TCPSite | None = None

    def __repr__(self) -> str:
        return f"<OutboundListener {self.url}>"

    @property
    def url(self) -> str:
        """The `uri` for websocket_client.conf."""
        return f"ws://{self.host}:{self.port}{self.path}"

    async def start(self) -> None:
        """Listen. Raises OSError when the address is taken."""
        app = web.Application()
        app.router.add_get(self.path, self._serve)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=CLOSE_TIMEOUT)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self.host, self.port)
        try:
            await site.start()
        except OSError:
            await self._runner.cleanup()
            raise
        self._site = site
        self.port = self._runner.addresses[0][1]

    async def close(self) -> None:
        """Stop listening, end the link and the iteration. Closing twice is fine."""
        self._links.put_nowait(None)
        if self._site is not None:
            # Before the link: Asterisk connects again within a millisecond, and would wait for ever
            # for the answer to a handshake that came in while we were closing.
            site, self._site = self._site, None
            await site.stop()
        if self._link is not None:
            await self._link.close()
        if self._runner is not None:
            await self._runner.cleanup()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def __aiter__(self) -> AsyncIterator[Link]:
        while (link := await self._links.get()) is not None:
            yield link
            await link.close()
            log.warning("Asterisk's outbound websocket has ended: %s", link.ending)

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        presented = request.headers.get("Authorization", "").encode(errors="surrogateescape")
        if not hmac.compare_digest(presented, self._expected):
            log.error("%s tried to deliver events with a wrong user or password", request.remote)
            return web.Response(status=401, headers={"WWW-Authenticate": 'Basic realm="voxtra"'})
        offered = request.headers.get("Sec-WebSocket-Protocol", "")
        if _PROTOCOL not in (name.strip() for name in offered.split(",")):
            log.error("%s offers websocket protocols %r, not `ari`", request.remote, offered)
            return web.Response(status=400, text="set protocols = ari in websocket_client.conf")
        socket = web.WebSocketResponse(
            protocols=(_PROTOCOL,), compress=False, heartbeat=self._heartbeat, timeout=CLOSE_TIMEOUT
        )
        await socket.prepare(request)
        previous, self._link = self._link, Link(socket)
        link = self._link
        if previous is not None:
            await previous.close()
        log.info("Asterisk's outbound websocket from %s is up", request.remote)
        self._links.put_nowait(link)
        await link.wait_ended()
        return socket
