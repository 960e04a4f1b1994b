"""The other side of every comparison: what a careful programmer writes by hand on aiohttp and
msgspec for this job alone.

It sends the requests that Voxtra sends, with the same parameters, asks for the same events, types
the fields it needs, and does nothing else: no states, no reconnect, no deadlines, no typed errors.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self
from urllib.parse import urlencode

import aiohttp
import msgspec

from bench.stamp import StampedSocket
from voxtra.ids import new_id

__all__ = ["DECODER", "ChannelEvent", "RawClient", "StasisEnd", "StasisStart"]


class Channel(msgspec.Struct, gc=False):
    id: str
    name: str
    state: str


class Recording(msgspec.Struct, gc=False):
    name: str
    state: str


class ChannelEvent(msgspec.Struct, tag_field="type", tag=True, gc=False):
    channel: Channel


class RecordingEvent(msgspec.Struct, tag_field="type", tag=True, gc=False):
    recording: Recording


class StasisStart(ChannelEvent, gc=False):
    pass


class StasisEnd(ChannelEvent, gc=False):
    pass


class ChannelDestroyed(ChannelEvent, gc=False):
    pass


class ChannelStateChange(ChannelEvent, gc=False):
    pass


class ChannelHangupRequest(ChannelEvent, gc=False):
    pass


class RecordingStarted(RecordingEvent, gc=False):
    pass


class RecordingFinished(RecordingEvent, gc=False):
    pass


class RecordingFailed(RecordingEvent, gc=False):
    pass


Event = (
    StasisStart
    | StasisEnd
    | ChannelDestroyed
    | ChannelStateChange
    | ChannelHangupRequest
    | RecordingStarted
    | RecordingFinished
    | RecordingFailed
)

DECODER: Final = msgspec.json.Decoder(Event)
_KINDS: Final = (
    "StasisStart",
    "StasisEnd",
    "ChannelDestroyed",
    "ChannelStateChange",
    "ChannelHangupRequest",
    "RecordingStarted",
    "RecordingFinished",
    "RecordingFailed",
)


class RawClient:
    """Calls `on_call` with the id of each caller and wakes who waits for an event of an id."""

    def __init__(
        self,
        url: str,
        user: str,
        password: str,
        app: str,
        on_call: Callable[[str], None] = lambda _call_id: None,
    ) -> None:
        self.app = app
        self.on_call = on_call
        self._base = f"{url}/ari"
        secret = base64.b64encode(f"{user}:{password}".encode()).decode()
        self._headers = {"Authorization": f"Basic {secret}"}
        self._waiting: dict[tuple[type[object], str], asyncio.Future[None]] = {}

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(headers=self._headers)
        self.socket = StampedSocket(
            await self._session.ws_connect(
                f"{self._base}/events?app={self.app}", heartbeat=10, compress=0
            )
        )
        self._reader = asyncio.create_task(self._read())
        allowed = {"allowed": [{"type": kind} for kind in _KINDS]}
        path = f"{self._base}/applications/{self.app}/eventFilter"
        async with self._session.put(path, json=allowed) as response:
            response.raise_for_status()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.socket.close()
        await self._reader
        await self._session.close()

    async def _read(self) -> None:
        while True:
            message = await self.socket.receive()
            if message.type is not aiohttp.WSMsgType.TEXT:
                return
            self.handle(message.data)

    def handle(self, frame: str) -> None:
        event = DECODER.decode(frame)
        key = event.recording.name if isinstance(event, RecordingEvent) else event.channel.id
        future = self._waiting.pop((type(event), key), None)
        if future is not None:
            future.set_result(None)
        elif type(event) is StasisStart and not event.channel.name.startswith("Snoop/"):
            self.on_call(key)

    def expect(self, kind: type[object], key: str) -> asyncio.Future[None]:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[kind, key] = future
        return future

    async def request(self, method: str, path: str, **query: str) -> None:
        url = f"{self._base}{path}"
        if query:
            url += f"?{urlencode(query)}"
        async with self._session.request(method, url) as response:
            await response.read()
            response.raise_for_status()

    # -- what one recorded call takes

    async def originate(self, endpoint: str) -> str:
        """Dial, return the answered call's id."""
        call_id = f"raw-call-{new_id()}"
        started = self.expect(StasisStart, call_id)
        await self.request(
            "POST",
            "/channels",
            endpoint=endpoint,
            timeout="30",
            channelId=call_id,
            formats="slin",
            app=self.app,
        )
        await started
        return call_id

    async def answer(self, call_id: str) -> None:
        await self.request("POST", f"/channels/{call_id}/answer")

    async def record(self, call_id: str) -> asyncio.Future[None]:
        """Record both directions; return, when it has begun, what is done when it has finished."""
        snoop, name = f"raw-snoop-{new_id()}", f"raw-{new_id()}"
        snooping = self.expect(StasisStart, snoop)
        await self.request(
            "POST",
            f"/channels/{call_id}/snoop",
            app=self.app,
            spy="both",
            whisper="none",
            snoopId=snoop,
        )
        await snooping
        started = self.expect(RecordingStarted, name)
        finished = self.expect(RecordingFinished, name)
        await self.request(
            "POST",
            f"/channels/{snoop}/record",
            name=name,
            format="wav",
            maxDurationSeconds="86400",
            ifExists="fail",
            terminateOn="none",
        )
        await started
        return finished

    async def hang_up(self, call_id: str) -> None:
        """Hang up, return when the call is over."""
        ended = self.expect(StasisEnd, call_id)
        await self.request("DELETE", f"/channels/{call_id}", reason_code="16")
        await ended
